// A board out of exported lines (board_transfer.hpp) into a data directory. Loop thread.
#pragma once

#include <iosfwd>
#include <string>

#include "runtime/data_directory.hpp"
#include "scheduler/scheduler.hpp"

namespace stele {

/// All of it or nothing. An empty name is that of the export. Fails as read_board_lines does, and with
/// already_exists.
Status import_board(DataDirectory& data, std::istream& lines, const std::string& name, TimeMs now,
                    const CrewReader& read_crew);

}  // namespace stele

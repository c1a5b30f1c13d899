// A new board that goes on from a version of another: it shares everything up to there and copies nothing but
// the table of regions and what the newest segment of the index is made of. docs/decisions/0017.
#pragma once

#include <string>

#include "runtime/data_directory.hpp"
#include "scheduler/scheduler.hpp"

namespace stele {

/// `at` is a record that is on disk. Fails with invalid_argument for a version that cannot be forked,
/// already_exists for a name that is taken, corrupt when the board's state is not what its log says.
Result<BoardInfo> fork_board(DataDirectory& data, const BoardInfo& parent, Position at, const std::string& name,
                             TimeMs now, const CrewReader& read_crew);

/// What the child has of its own from the outset, into `batch`. `parent_store` is what the parent is read from.
Status fill_fork(StateStore& parent_store, const BoardInfo& parent, Position parent_last, const BoardInfo& child,
                 const CrewReader& read_crew, StoreBatch& batch);

}  // namespace stele

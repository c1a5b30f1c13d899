// A board opened by a command that only reads, beside an owner or without one. One thread.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "board/entry_store.hpp"
#include "board/provenance.hpp"
#include "board/record_codec.hpp"
#include "runtime/commands.hpp"
#include "runtime/data_directory.hpp"
#include "runtime/record_text.hpp"
#include "scheduler/crew_spec.hpp"

namespace stele {

/// A board as another process may read it: nothing beyond what was synced.
struct OpenBoard {
    std::unique_ptr<DataDirectory> data;
    BoardInfo info;
    std::unique_ptr<EntryStore> entries;
    StateStore* store = nullptr;  // with its parent's, where it is a fork
    Position last;                // of the records that may be read

    [[nodiscard]] Provenance provenance() const { return {*entries, info.family, last}; }
};

/// Empty name: the newest. A wrong one is an error that names the nearest.
Result<BoardInfo> choose_board(const DataDirectory& data, const std::string& name);
Result<OpenBoard> open_board(const CommonOptions& options);
/// Every record from `from` to `until`, decoded as deep as asked, until `visit` returns false. Fails at the
/// first that cannot be read.
Status visit_log(const OpenBoard& board, Position from, Position until, DecodeDepth depth,
                 const std::function<bool(const LoggedRecord&)>& visit);

/// The crew that was in force at a position; null where none can be read.
std::shared_ptr<const CrewSpec> crew_at(const OpenBoard& board, Position at);
/// `version` (0: the newest), or not_found when the board is not there yet.
Result<Position> version_or_newest(const OpenBoard& board, std::uint64_t version);

/// "evidence/12".
Result<EntryId> parse_entry_id(const std::string& text);

/// How to print to standard output; times count from the board's first record.
TextOptions text_options(const CommonOptions& options);
TextOptions text_options(const CommonOptions& options, const OpenBoard& board);

}  // namespace stele

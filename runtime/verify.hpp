// Is a board's log whole, and is what was derived from it what the log makes of itself? Reads only; what
// was derived can be made anew. docs/cli.md: `stele verify`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/data_directory.hpp"
#include "runtime/replay.hpp"

namespace stele {

struct VerifyReport {
    std::uint64_t records = 0;
    std::uint64_t keys = 0;  // of what was derived, compared
    Hash128 state_hash;
    /// What is wrong with the log: a broken chain, a damaged record, another head mark. Nothing here can
    /// mend it.
    std::vector<std::string> damage;
    /// Where the log and the core part; see ReplayReport.
    std::optional<std::string> difference;
    /// What was derived and is not as the log makes it, by what it is.
    std::vector<std::string> stale;

    [[nodiscard]] bool is_whole() const { return damage.empty() && !difference && stale.empty(); }
    /// All that is wrong can be made anew from the log.
    [[nodiscard]] bool is_repairable() const { return damage.empty() && !difference && !stale.empty(); }
};

/// Fails only when the store cannot be read at all. `mark`: how far the log had been synced.
Result<VerifyReport> verify_board(StateStore& store, const BoardInfo& board, const std::optional<HeadMark>& mark,
                                  const CrewReader& read_crew);

/// Puts what the log makes of itself in the place of what was derived. Nobody else may write the board; its
/// log must be whole.
Status repair_board(StateStore& store, const BoardInfo& board, const CrewReader& read_crew);

}  // namespace stele

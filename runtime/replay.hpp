// Runs the whole core again over a board's log, with the recorded outputs: the same verdicts, the
// same decisions in the same order, the same state hash at each version, or the first difference.
// Reads only. docs/cli.md: `stele replay --verify`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "board/log/store.hpp"
#include "runtime/data_directory.hpp"
#include "scheduler/scheduler.hpp"

namespace stele {

struct ReplayReport {
    std::uint64_t records = 0;
    std::uint64_t commits = 0;
    std::uint64_t decisions = 0;  // records that the core caused, each decided again
    /// Records without some of their payload. From the first on, what the core decides cannot be worked out again: the
    /// log's word is taken for it, and what commits come to is compared all the same.
    std::uint64_t purged = 0;
    std::uint64_t taken_at_its_word = 0;
    Hash128 state_hash;
    /// Where the log and the second run part, in a sentence; nothing when they agree.
    std::optional<std::string> difference;
    Position differs_at;
};

/// Up to `until`. Fails when the log cannot be read. With `rebuilt`, that store, which must be empty, then
/// holds the board as the log alone makes it, index included; and a checkpoint as of record `checkpoint`, unless
/// something of what it rests on was purged.
Result<ReplayReport> verify_replay(StateStore& store, const BoardInfo& board, Position until,
                                   const CrewReader& read_crew, StateStore* rebuilt = nullptr,
                                   Position checkpoint = {});

}  // namespace stele

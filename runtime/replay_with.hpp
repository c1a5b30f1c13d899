// "What if" over a log: which preconditions would have come true, and when, had the crew been another one, on the
// board as it was. Nothing is called, and what a wake that never happened would have written is not guessed at:
// each difference stands for itself. One thread, like the store.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "board/log/store.hpp"
#include "runtime/data_directory.hpp"
#include "scheduler/scheduler.hpp"

namespace stele {

/// A match that came true under one crew and not under the other.
struct WakeDifference {
    Position at;
    TimeMs time;
    std::string source;
    std::vector<BoundEntry> bound;
    /// True: under the other crew alone. False: under the crew of the log alone.
    bool other = false;
    /// The crew that did not have it had it later.
    Position later;
};

struct SourceWakes {
    std::string source;
    bool in_log = false;
    bool in_other = false;
    /// It waits for the run to be at rest, which a board alone does not tell: such terms count as true.
    bool waits_for_rest = false;
    std::uint64_t ran = 0;  // activations in the log
    std::uint64_t both = 0;
    std::uint64_t only_log = 0;
    std::uint64_t only_other = 0;
};

struct WakeComparison {
    /// By source: those of the other crew in its order, then those that only the log's crew has.
    std::vector<SourceWakes> sources;
    /// In order; the first `differences_max`.
    std::vector<WakeDifference> differences;
    std::uint64_t difference_count = 0;
    std::uint64_t records = 0;
};

/// Up to `until`. Fails when the log cannot be read.
Result<WakeComparison> compare_wakes(StateStore& store, const BoardInfo& board, Position until, const CrewSpec& other,
                                     const CrewReader& read_crew, std::size_t differences_max);

}  // namespace stele

// Why a condition does not hold: what each of its terms comes to on a given board, how near it is, and the
// fewest writes that would make it hold. Looks at entries in the plain way, one by one, within bounds; that
// the writes do what they should is checked with a matcher. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "board/entry.hpp"
#include "board/region_spec.hpp"
#include "board/write.hpp"
#include "scheduler/condition.hpp"
#include "scheduler/matcher.hpp"
#include "scheduler/term_truth.hpp"

namespace stele {

/// A board as a condition sees it.
struct BoardMoment {
    Position version;
    /// None: no run has begun.
    Position run;
    TimeMs run_time;
    TimeMs now;
    RegionMemories regions;
};

/// The regions that a condition looks at, each once.
std::vector<std::string> regions_of(const Condition& condition);

/// One test on one entry that fails.
struct FailedTest {
    const Comparison* comparison = nullptr;
    std::optional<Value> value;
    /// What it is compared with.
    std::optional<Value> wanted;
};

struct TermState {
    const Term* term = nullptr;
    /// Nothing: it refers to a variable that nothing is bound to, so nobody can say.
    std::optional<bool> holds;
    /// Terms over a region: how many entries it has, and how many of them pass the filter.
    std::uint64_t entries = 0;
    std::uint64_t passing = 0;
    /// each, changed: what it is bound to in the binding that comes nearest.
    EntryPtr bound;
    /// The entry of the region that fails the fewest tests, when none passes, and those tests.
    EntryPtr nearest;
    std::vector<FailedTest> failed;
    /// Entries that stand in the way of a `none`, the first few.
    std::vector<EntryPtr> in_the_way;
    /// Aggregates: the result; nothing where there is none.
    std::optional<Value> value;
    /// quiet, after, every: when it would hold if nothing else happened.
    std::optional<TimeMs> due;
};

struct WhyNot {
    /// In the order of the condition's terms, for the binding that comes nearest.
    std::vector<TermState> terms;
    /// It holds: for at least one binding every term does.
    bool holds = false;
    /// Bound what was looked at: another binding may come nearer.
    bool cut = false;
    /// Writes, in this order, after which it holds. Empty: it holds, or `no_edit` says why there are none.
    std::vector<Write> edit;
    /// It holds with no write at all once this time has come, or after `edit` and then.
    std::optional<TimeMs> wait_until;
    std::string no_edit;
};

/// The matches that a matcher offers which is told of this board: at least one when any holds that is not
/// refracted. What a term did before is not known to it, so keys and episodes are not those of a run.
std::vector<MatchPtr> offered_matches(const Condition& condition, const BoardMoment& moment,
                                      const Matcher::Refracted& refracted);

/// `spec` gives the declaration of a region, or null.
WhyNot why_not(const Condition& condition, const BoardMoment& moment,
               const std::function<const RegionSpec*(const std::string&)>& spec);

}  // namespace stele

// Notices which preconditions hold. Fed every commit in log order and the board's time; answers
// with the matches that came and went. Deterministic: the same feed gives the same matches with
// the same keys on any machine. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "board/entry.hpp"
#include "board/record.hpp"
#include "scheduler/condition.hpp"
#include "scheduler/evaluate.hpp"

namespace stele {

class CheckpointReader;
class CheckpointWriter;

/// One way in which a condition holds.
struct Match {
    std::uint32_t condition = 0;  // index given to the matcher
    Bindings entries;
    std::vector<BoundEntry> bound;
    /// Per term that binds nothing, in term order: since when it has held. An `idle` term's is
    /// none: the scheduler knows it and the matcher does not.
    std::vector<Position> episodes;
    /// The largest position among bound versions and episodes: how new what woke it is.
    Position age;
    /// What refraction goes by; see match_key().
    Hash128 key;
};
using MatchPtr = std::shared_ptr<const Match>;

/// Two matches are the same when the name (of the source), the ids and versions bound and the
/// episodes are.
Hash128 match_key(std::string_view name, const std::vector<BoundEntry>& bound, const std::vector<Position>& episodes);

struct MatchDelta {
    std::vector<MatchPtr> added;
    std::vector<MatchPtr> removed;
};

/// A condition to watch, under a name that match keys are made with.
struct WatchedCondition {
    std::string name;
    const Condition* condition = nullptr;  // outlives the matcher
    /// Offer every match at once: its matches have ratings of their own, or are counted or gathered.
    bool offer_all = false;
};

/// Offers matches in such an order that a cross product is never held: a condition whose matches all
/// have the same rating may keep back those that come later in the agenda's order (of one age: by bound
/// ids, the lower or the higher first) than one it offers. What is kept back is offered when what stands
/// before it is withdrawn or gone.
class Matcher {
public:
    /// Is a match refracted, that is claimed, closed or dead? Asked when one is about to be offered.
    using Refracted = std::function<bool(const Match&)>;

    /// Tells of every active entry of a region.
    using RegionReader = std::function<void(const std::string& region, const std::function<void(const EntryPtr&)>&)>;

    virtual ~Matcher() = default;
    /// `start`, `after` and `every` count from here.
    virtual void begin_run(Position run, TimeMs time) = 0;
    virtual void commit(Position position, TimeMs time, std::span<const EntryChange> changes) = 0;
    /// The board's time has moved on with the record at `position`.
    virtual void clock(Position position, TimeMs now) = 0;
    /// What is offered since the last call and what is no more, in an order that depends on the feed alone.
    virtual MatchDelta take_delta() = 0;
    /// The match behind a record, if it holds now, offered or not.
    [[nodiscard]] virtual MatchPtr find(std::uint32_t condition, const MatchRecord& record) const = 0;
    /// Which of the matches of one age come first: those with lower bound ids, as from the outset, or with
    /// higher ones.
    virtual void set_order(bool higher_first) = 0;
    /// An offered match was taken up. It is not told as removed; what it kept back is offered in its place.
    virtual void withdraw(const Match& match) = 0;
    /// A match that was withdrawn may run again: it is offered once more, if it holds.
    virtual void offer(const MatchPtr& match) = 0;
    /// Every match that holds, offered or not, refracted or not, by key. For inspection: costs what it returns and
    /// more.
    [[nodiscard]] virtual std::vector<MatchPtr> all_matches(std::uint32_t condition) const = 0;
    /// A condition that comes while the board is full: what its terms did before that is not known, so
    /// what holds has held since its bindings came to be. Costs what its own patterns cost. `entries` is
    /// asked for regions that nobody has watched so far; without it they are taken to be empty.
    virtual void add(std::uint32_t index, const WatchedCondition& condition, const RegionReader& entries) = 0;
    /// Its matches are told as removed.
    virtual void remove(std::uint32_t index) = 0;
    /// The next time at which a term could change by time alone.
    [[nodiscard]] virtual std::optional<TimeMs> next_due() const = 0;
    /// Is a `quiet` or `after` still to come true for which everything else holds?
    [[nodiscard]] virtual bool holds_due() const = 0;
    /// The bound version of an entry of a watched region, 0 when it is not active.
    [[nodiscard]] virtual std::uint32_t current_version(const EntryId& id) const = 0;
};

/// One whose state can be written down and taken up again.
class ResumableMatcher : public Matcher {
public:
    /// Which entries are active, and what they do not tell: since when what holds of them has held.
    virtual void save(CheckpointWriter& out) const = 0;
    /// Into a matcher of the same conditions that was fed nothing; the order (set_order) and what is refracted must
    /// be as they were. `on_entry` is told of every active entry. What is offered is told by take_delta(); among what
    /// stands first in the agenda's order it is what the other would offer. Costs the active entries of watched
    /// regions.
    virtual void load(CheckpointReader& in, const std::function<void(const EntryPtr&)>& on_entry) = 0;
    /// The same from another one, as if this one had been fed what the other was; with `new_run`, as if no run had
    /// begun. False, and nothing is done, where the other watches something else, or does not know how it would be
    /// without its run: where a term of time stands inside `any` or `not`.
    virtual bool take_over(const ResumableMatcher& other, bool new_run,
                           const std::function<void(const EntryPtr&)>& on_entry) = 0;
};

/// Re-evaluates what a commit touched and offers every match at once: simple enough to believe, and so
/// the oracle of the incremental one.
std::unique_ptr<Matcher> make_reevaluating_matcher(std::vector<WatchedCondition> conditions);

/// Indexes entries, groups and preconditions, so that the cost of a commit depends on what it touches and
/// not on how many conditions or entries there are. docs/architecture.md, "The matcher", says how.
std::unique_ptr<ResumableMatcher> make_incremental_matcher(std::vector<WatchedCondition> conditions,
                                                           Matcher::Refracted refracted);

}  // namespace stele

// Notices which preconditions hold. Fed every commit in log order and the board's time; answers
// with the matches that came and went. Deterministic: the same feed gives the same matches with
// the same keys on any machine. Loop thread only.
#pragma once

#include <cstdint>
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
};

class Matcher {
public:
    virtual ~Matcher() = default;
    /// `start`, `after` and `every` count from here.
    virtual void begin_run(Position run, TimeMs time) = 0;
    virtual void commit(Position position, TimeMs time, std::span<const EntryChange> changes) = 0;
    /// The board's time has moved on with the record at `position`.
    virtual void clock(Position position, TimeMs now) = 0;
    /// What changed since the last call, in an order that depends on the feed alone.
    virtual MatchDelta take_delta() = 0;
    /// The next time at which a term could change by time alone.
    [[nodiscard]] virtual std::optional<TimeMs> next_due() const = 0;
    /// Is a `quiet` or `after` still to come true for which everything else holds?
    [[nodiscard]] virtual bool holds_due() const = 0;
    /// The bound version of an entry of a watched region, 0 when it is not active.
    [[nodiscard]] virtual std::uint32_t current_version(const EntryId& id) const = 0;
};

/// Re-evaluates what a commit touched: simple enough to believe, and so the oracle of anything
/// faster. New and changed entries are bound first and joined outward; terms that bind nothing are
/// asked again for each binding when their region changed.
std::unique_ptr<Matcher> make_reevaluating_matcher(std::vector<WatchedCondition> conditions);

}  // namespace stele

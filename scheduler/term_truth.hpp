// What the terms of a precondition come to on a board, worked out in the plain way: by looking at every
// entry. For the re-evaluating matcher and for explanations. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "board/entry.hpp"
#include "scheduler/condition.hpp"
#include "scheduler/evaluate.hpp"

namespace stele {

struct RegionMemory {
    std::map<std::uint64_t, EntryPtr> active;
    /// None: never.
    std::optional<TimeMs> last_change;
};
using RegionMemories = std::map<std::string, RegionMemory, std::less<>>;

/// What a non-binding term is asked against.
struct Moment {
    const RegionMemories& regions;
    /// None: no run has begun.
    Position run;
    TimeMs run_time;
    TimeMs now;
};

/// An empty one where the region is not known.
const RegionMemory& memory_of(const Moment& moment, const std::string& region);
/// The result of count, sum, min, max or avg; nothing where there is none.
std::optional<Value> aggregate(const Term& term, const RegionMemory& memory, const Bindings& bindings);
/// From when on an `after` or a `quiet` holds, if nothing else happens.
TimeMs after_due(const Term& term, const Moment& moment, const Bindings& bindings);
TimeMs quiet_due(const Term& term, const Moment& moment);
/// How often an `every` has come round since the run began.
std::int64_t ticks(const Term& term, const Moment& moment);
/// Terms that bind, and `idle` and `impasse`, are true.
bool truth(const Term& term, const Moment& moment, const Bindings& bindings);

}  // namespace stele

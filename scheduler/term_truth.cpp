#include "scheduler/term_truth.hpp"

#include <algorithm>

#include "scheduler/exact_sum.hpp"

namespace stele {

const RegionMemory& memory_of(const Moment& moment, const std::string& region) {
    static const RegionMemory empty;
    const auto found = moment.regions.find(region);
    return found == moment.regions.end() ? empty : found->second;
}

std::optional<Value> aggregate(const Term& term, const RegionMemory& memory, const Bindings& bindings) {
    if (term.kind == TermKind::count) {
        std::int64_t count = 0;
        for (const auto& [number, entry] : memory.active) count += passes(term.where, *entry, bindings) ? 1 : 0;
        return Value(count);
    }
    ExactSum sum;
    std::optional<Value> extreme;
    for (const auto& [number, entry] : memory.active) {
        if (!passes(term.where, *entry, bindings)) continue;
        const std::optional<Value> value = value_at(*entry, Attribute::content, term.field);
        if (!value || !value->is_number()) continue;
        sum.add(*value);
        const bool better =
            !extreme || (term.kind == TermKind::min ? compare(*value, *extreme) < 0 : compare(*value, *extreme) > 0);
        if (better) extreme = value;
    }
    switch (term.kind) {
        case TermKind::sum:
            return sum.sum();
        case TermKind::avg:
            return sum.count() == 0 ? std::nullopt : std::optional<Value>(sum.average());
        default:
            return extreme;
    }
}

TimeMs after_due(const Term& term, const Moment& moment, const Bindings& bindings) {
    TimeMs base = moment.run_time;
    bool bound = false;
    for (const EntryPtr& entry : bindings) {
        if (!entry) continue;
        base = bound ? std::max(base, entry->time) : entry->time;
        bound = true;
    }
    return {base.ms + term.duration_ms};
}

TimeMs quiet_due(const Term& term, const Moment& moment) {
    const RegionMemory& memory = memory_of(moment, term.region);
    return {memory.last_change.value_or(moment.run_time).ms + term.duration_ms};
}

std::int64_t ticks(const Term& term, const Moment& moment) {
    return term.duration_ms <= 0 ? 0 : (moment.now.ms - moment.run_time.ms) / term.duration_ms;
}

bool truth(const Term& term, const Moment& moment, const Bindings& bindings) {
    switch (term.kind) {
        case TermKind::each:
        case TermKind::changed:
            return true;
        case TermKind::none:
        case TermKind::exists: {
            const RegionMemory& memory = memory_of(moment, term.region);
            const bool found = std::any_of(memory.active.begin(), memory.active.end(), [&](const auto& numbered) {
                return passes(term.where, *numbered.second, bindings);
            });
            return found == (term.kind == TermKind::exists);
        }
        case TermKind::count:
        case TermKind::sum:
        case TermKind::min:
        case TermKind::max:
        case TermKind::avg: {
            const std::optional<Value> result = aggregate(term, memory_of(moment, term.region), bindings);
            return result && std::all_of(term.is.begin(), term.is.end(), [&](const Comparison& comparison) {
                       return holds(comparison, result, bindings);
                   });
        }
        case TermKind::quiet:
            return moment.run && moment.now >= quiet_due(term, moment);
        case TermKind::start:
            return static_cast<bool>(moment.run);
        case TermKind::idle:
        case TermKind::impasse:
            return true;
        case TermKind::after:
            return moment.run && moment.now >= after_due(term, moment, bindings);
        case TermKind::every:
            return moment.run && ticks(term, moment) >= 1;
        case TermKind::any:
            return std::any_of(term.alternatives.begin(), term.alternatives.end(), [&](const auto& alternative) {
                return std::all_of(alternative.begin(), alternative.end(),
                                   [&](const Term& inner) { return truth(inner, moment, bindings); });
            });
        case TermKind::negation:
            return !truth(term.alternatives.front().front(), moment, bindings);
    }
    return false;
}

}  // namespace stele

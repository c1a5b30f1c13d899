#include "scheduler/goal_meter.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "scheduler/checkpoint.hpp"
#include "scheduler/evaluate.hpp"

namespace stele {
namespace {

constexpr double unmet = 1;
constexpr double unknown = std::numeric_limits<double>::infinity();

// By how much a test fails; 0: it passes.
double gap(const Comparison& comparison, const std::optional<Value>& value) {
    if (holds(comparison, value, {})) return 0;
    const Value& wanted = comparison.operand.literal;
    if (!value || !value->is_number() || !wanted.is_number()) return unmet;
    // A bound that is not part of what passes is a little further away than the number itself.
    return std::max(std::abs(value->as_double() - wanted.as_double()), std::numeric_limits<double>::min());
}

bool is_measured(const Comparison& comparison) { return !comparison.operand.reference; }

double gap(const Filter& filter, const Entry& entry) {
    double sum = 0;
    for (const Comparison& comparison : filter) {
        if (is_measured(comparison)) sum += gap(comparison, value_at(entry, comparison.attribute, comparison.path));
    }
    return sum;
}

bool counts(const Term& term, const EntryPtr& entry) { return entry && passes_what_is_bound(term.where, *entry, {}); }

}  // namespace

GoalMeter::GoalMeter(const Condition& goal) {
    add_terms(goal.terms);
    for (Gauge& gauge : gauges_) gauge.now = gauge.best = distance(gauge);
}

void GoalMeter::add_terms(const std::vector<Term>& terms) {
    for (const Term& term : terms) {
        switch (term.kind) {
            case TermKind::each:
            case TermKind::changed:
            case TermKind::exists:
            case TermKind::none:
            case TermKind::count:
            case TermKind::sum:
            case TermKind::min:
            case TermKind::max:
            case TermKind::avg: {
                Gauge gauge;
                gauge.term = &term;
                gauge.nearest = unknown;
                gauges_.push_back(std::move(gauge));
                break;
            }
            case TermKind::any:
                for (const std::vector<Term>& alternative : term.alternatives) add_terms(alternative);
                break;
            default:
                break;
        }
    }
}

bool GoalMeter::commit(std::span<const EntryChange> changes, bool outside) {
    bool nearer = false;
    for (Gauge& gauge : gauges_) {
        bool touched = false;
        for (const EntryChange& change : changes) {
            if (change.id.region != gauge.term->region) continue;
            take(gauge, change);
            touched = true;
        }
        if (!touched) continue;
        gauge.now = distance(gauge);
        if (gauge.now < gauge.best || outside) {
            gauge.best = gauge.now;
            nearer = true;
        }
    }
    return nearer;
}

void GoalMeter::take(Gauge& gauge, const EntryChange& change) {
    const Term& term = *gauge.term;
    const bool was = counts(term, change.before);
    const bool is = counts(term, change.after);
    gauge.count += (is ? 1 : 0) - (was ? 1 : 0);
    if (term.binds() || term.kind == TermKind::exists) {
        if (change.after) gauge.nearest = std::min(gauge.nearest, gap(term.where, *change.after));
        return;
    }
    if (term.field.empty()) return;
    const bool ordered = term.kind == TermKind::min || term.kind == TermKind::max;
    const auto number = [&](const EntryPtr& entry) {
        const Value* found = content_at(*entry, term.field);
        return found != nullptr && found->is_number() ? found : nullptr;
    };
    if (const Value* before = was ? number(change.before) : nullptr) {
        if (!ordered) {
            gauge.sum.remove(*before);
        } else if (const auto found = gauge.numbers.find(*before); found != gauge.numbers.end()) {
            if (--found->second == 0) gauge.numbers.erase(found);
        }
    }
    if (const Value* after = is ? number(change.after) : nullptr) {
        if (ordered) {
            ++gauge.numbers[*after];
        } else {
            gauge.sum.add(*after);
        }
    }
}

double GoalMeter::distance(const Gauge& gauge) {
    const Term& term = *gauge.term;
    std::optional<Value> value;
    switch (term.kind) {
        case TermKind::none:
            return static_cast<double>(gauge.count);
        case TermKind::count:
            value = Value(gauge.count);
            break;
        case TermKind::sum:
            value = gauge.sum.sum();
            break;
        case TermKind::avg:
            if (gauge.sum.count() > 0) value = gauge.sum.average();
            break;
        case TermKind::min:
            if (!gauge.numbers.empty()) value = gauge.numbers.begin()->first;
            break;
        case TermKind::max:
            if (!gauge.numbers.empty()) value = std::prev(gauge.numbers.end())->first;
            break;
        default:
            return gauge.count > 0 ? 0 : gauge.nearest;
    }
    double sum = 0;
    for (const Comparison& comparison : term.is) {
        if (is_measured(comparison)) sum += value ? gap(comparison, value) : unknown;
    }
    return sum;
}

void GoalMeter::take_over(const GoalMeter& other) {
    for (std::size_t i = 0; i < gauges_.size(); ++i) {
        gauges_[i].nearest = other.gauges_[i].nearest;
        gauges_[i].now = gauges_[i].best = distance(gauges_[i]);
    }
}

void GoalMeter::save(CheckpointWriter& out) const {
    for (const Gauge& gauge : gauges_) out(gauge.nearest, gauge.now, gauge.best);
}

void GoalMeter::load(CheckpointReader& in) {
    for (Gauge& gauge : gauges_) in(gauge.nearest, gauge.now, gauge.best);
}

}  // namespace stele

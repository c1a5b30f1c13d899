#include "scheduler/group_table.hpp"

#include <algorithm>
#include <cassert>

#include "scheduler/evaluate.hpp"

namespace stele::matching {
namespace {

constexpr std::uint32_t no_aggregate = ~std::uint32_t{0};

bool same_tests(const Filter& a, const Filter& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Comparison& x, const Comparison& y) {
        return x.op == y.op && x.operand.literal == y.operand.literal;
    });
}

bool is_of_lower(const std::pair<std::uint32_t, Position>& noted, std::uint32_t predicate) {
    return noted.first < predicate;
}

// Does it compare a number with constants, so that passing one of them is the only way to another answer?
bool is_threshold(const Predicate& predicate) {
    if (predicate.kind == TermKind::none || predicate.kind == TermKind::exists || predicate.again_on_change)
        return false;
    return std::all_of(predicate.is.begin(), predicate.is.end(), [](const Comparison& comparison) {
        switch (comparison.op) {
            case CompareOp::eq:
            case CompareOp::ne:
            case CompareOp::lt:
            case CompareOp::lte:
            case CompareOp::gt:
            case CompareOp::gte:
                return comparison.operand.literal.is_number();
            default:
                return false;
        }
    });
}

}  // namespace

std::uint32_t GroupTable::predicate(const Term& term, const EntryTable& entries) {
    for (std::uint32_t i = 0; i < predicates_.size(); ++i) {
        const Predicate& known = predicates_[i];
        if (known.kind == term.kind && known.again_on_change == term.again_on_change && known.field == term.field &&
            same_tests(known.is, term.is)) {
            return i;
        }
    }
    predicates_.push_back({term.kind, term.is, term.field, term.again_on_change});
    std::uint32_t which = no_aggregate;
    if (term.kind != TermKind::none && term.kind != TermKind::exists && term.kind != TermKind::count) {
        const bool ordered = term.kind == TermKind::min || term.kind == TermKind::max;
        for (which = 0; which < aggregates_.size(); ++which) {
            if (aggregates_[which].field == term.field && aggregates_[which].ordered == ordered) break;
        }
        if (which == aggregates_.size()) {
            aggregates_.push_back({term.field, !ordered, ordered});
            for (Group& group : groups_) {
                if (group.extra) group.extra->aggregates.resize(aggregates_.size());
            }
            for (std::uint64_t number = entries.next(1); number != 0; number = entries.next(number + 1)) {
                const Entry& entry = *entries.find(number);
                if (!passes(filter_, entry, {})) continue;
                Group* group = find(key_of(entry, fields_));
                if (group == nullptr) continue;
                if (!group->extra) group->extra = std::make_unique<Group::Extra>();
                group->extra->aggregates.resize(aggregates_.size());
                change(aggregates_[which], group->extra->aggregates[which], entry, true);
            }
        }
    }
    aggregate_of_.push_back(which);
    const auto index = static_cast<std::uint32_t>(predicates_.size() - 1);
    index_predicate(index);
    return index;
}

void GroupTable::index_predicate(std::uint32_t predicate) {
    const Predicate& asked = predicates_[predicate];
    if (!is_threshold(asked)) return asked_singly_.push_back(predicate);
    auto measure = std::find_if(measures_.begin(), measures_.end(), [&](const Measure& known) {
        const std::uint32_t other = known.predicates.front();
        return predicates_[other].kind == asked.kind && aggregate_of_[other] == aggregate_of_[predicate];
    });
    if (measure == measures_.end()) measure = measures_.insert(measure, Measure{});
    measure->predicates.push_back(predicate);
    for (const Comparison& comparison : asked.is) {
        const std::pair<double, std::uint32_t> constant(comparison.operand.literal.as_double(), predicate);
        measure->constants.insert(std::upper_bound(measure->constants.begin(), measure->constants.end(), constant),
                                  constant);
    }
}

std::optional<Value> GroupTable::measure(std::size_t which, const Group* group) const {
    return result(measures_[which].predicates.front(), group);
}

void GroupTable::find_passed(std::size_t measure, const std::optional<Value>& before, const std::optional<Value>& after,
                             std::vector<std::uint32_t>& predicates) const {
    const Measure& looked_at = measures_[measure];
    if (before.has_value() != after.has_value()) {
        predicates.insert(predicates.end(), looked_at.predicates.begin(), looked_at.predicates.end());
        return;
    }
    if (!before) return;
    // Rounding keeps the order, so with both ends counted in nothing is missed.
    const auto [low, high] = std::minmax({before->as_double(), after->as_double()});
    auto at = std::lower_bound(looked_at.constants.begin(), looked_at.constants.end(),
                               std::pair<double, std::uint32_t>(low, 0));
    for (; at != looked_at.constants.end() && at->first <= high; ++at) predicates.push_back(at->second);
}

bool GroupTable::holds_at(std::uint32_t predicate, const std::optional<Value>& value) const {
    const Predicate& asked = predicates_[predicate];
    return value && std::all_of(asked.is.begin(), asked.is.end(),
                                [&](const Comparison& comparison) { return stele::holds(comparison, value, {}); });
}

Group* GroupTable::find(const Hash128& key) {
    const auto found = by_key_.find(key);
    return found == by_key_.end() ? nullptr : &groups_[found->second];
}

Group& GroupTable::get(const Hash128& key) {
    const auto [at, fresh] = by_key_.try_emplace(key, 0);
    if (!fresh) return groups_[at->second];
    if (free_.empty()) {
        at->second = static_cast<std::uint32_t>(groups_.size());
        groups_.emplace_back();
    } else {
        at->second = free_.back();
        free_.pop_back();
    }
    groups_[at->second].key = key;
    return groups_[at->second];
}

void GroupTable::forget_if_plain(Group& group) {
    if (group.count != 0 || group.first_node != 0 || group.touched != 0) return;
    // Since when counts as long as it is so.
    const bool counts = group.extra && std::any_of(group.extra->since.begin(), group.extra->since.end(),
                                                   [&](const auto& noted) { return holds(noted.first, &group); });
    if (counts) return;
    const auto at = by_key_.find(group.key);
    const std::uint32_t index = at->second;
    by_key_.erase(at);
    groups_[index] = Group{};
    free_.push_back(index);
}

void GroupTable::change(const AggregateSpec& spec, Aggregate& aggregate, const Entry& entry, bool add) {
    const Value* value = content_at(entry, spec.field);
    if (value == nullptr || !value->is_number()) return;
    if (spec.ordered) {
        if (add) {
            ++aggregate.numbers[*value];
        } else if (const auto at = aggregate.numbers.find(*value); at != aggregate.numbers.end() && --at->second == 0) {
            aggregate.numbers.erase(at);
        }
    } else if (add) {
        aggregate.sum.add(*value);
    } else {
        aggregate.sum.remove(*value);
    }
}

void GroupTable::add(Group& group, const Entry& entry) {
    ++group.count;
    if (aggregates_.empty()) return;
    if (!group.extra) group.extra = std::make_unique<Group::Extra>();
    group.extra->aggregates.resize(aggregates_.size());
    for (std::size_t i = 0; i < aggregates_.size(); ++i) {
        change(aggregates_[i], group.extra->aggregates[i], entry, true);
    }
}

void GroupTable::remove(Group& group, const Entry& entry) {
    assert(group.count > 0);
    --group.count;
    for (std::size_t i = 0; i < aggregates_.size(); ++i) {
        change(aggregates_[i], group.extra->aggregates[i], entry, false);
    }
}

std::optional<Value> GroupTable::result(std::uint32_t predicate, const Group* group) const {
    static const Aggregate nothing;
    const TermKind kind = predicates_[predicate].kind;
    if (kind == TermKind::count) return Value(group == nullptr ? std::int64_t{0} : group->count);
    const std::uint32_t which = aggregate_of_[predicate];
    const bool kept = group != nullptr && group->extra && which < group->extra->aggregates.size();
    const Aggregate& aggregate = kept ? group->extra->aggregates[which] : nothing;
    switch (kind) {
        case TermKind::sum:
            return aggregate.sum.sum();
        case TermKind::avg:
            return aggregate.sum.count() == 0 ? std::nullopt : std::optional<Value>(aggregate.sum.average());
        case TermKind::min:
            return aggregate.numbers.empty() ? std::nullopt : std::optional<Value>(aggregate.numbers.begin()->first);
        default:
            return aggregate.numbers.empty() ? std::nullopt : std::optional<Value>(aggregate.numbers.rbegin()->first);
    }
}

bool GroupTable::holds(std::uint32_t predicate, const Group* group) const {
    const Predicate& asked = predicates_[predicate];
    if (asked.kind == TermKind::none) return group == nullptr || group->count == 0;
    if (asked.kind == TermKind::exists) return group != nullptr && group->count > 0;
    return holds_at(predicate, result(predicate, group));
}

Position GroupTable::since(std::uint32_t predicate, const Group* group) const {
    if (group == nullptr || !group->extra) return {};
    const auto& since = group->extra->since;
    const auto at = std::lower_bound(since.begin(), since.end(), predicate, is_of_lower);
    return at != since.end() && at->first == predicate ? at->second : Position{};
}

void GroupTable::note_since(std::uint32_t predicate, Group& group, Position position) {
    if (!group.extra) group.extra = std::make_unique<Group::Extra>();
    auto& since = group.extra->since;
    const auto at = std::lower_bound(since.begin(), since.end(), predicate, is_of_lower);
    if (at != since.end() && at->first == predicate) {
        at->second = position;
    } else {
        since.insert(at, {predicate, position});
    }
}

std::vector<GroupTable::Standing> GroupTable::standing() const {
    std::vector<Standing> all;
    for (const auto& [key, index] : by_key_) {
        const Group& group = groups_[index];
        if (!group.extra) continue;
        Standing standing;
        for (const auto& noted : group.extra->since) {
            if (holds(noted.first, &group)) standing.since.push_back(noted);
        }
        if (standing.since.empty()) continue;
        standing.key = key;
        if (group.count == 0) {
            assert(group.extra->values);
            standing.values = *group.extra->values;
        }
        all.push_back(std::move(standing));
    }
    std::sort(all.begin(), all.end(), [](const Standing& a, const Standing& b) { return a.key < b.key; });
    return all;
}

}  // namespace stele::matching

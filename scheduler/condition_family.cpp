#include "scheduler/condition_family.hpp"

#include <algorithm>
#include <cassert>
#include <limits>

#include "scheduler/evaluate.hpp"

namespace stele::matching {
namespace {

bool is_range(CompareOp op) {
    return op == CompareOp::lt || op == CompareOp::lte || op == CompareOp::gt || op == CompareOp::gte;
}

bool asks_groups(TermKind kind) {
    switch (kind) {
        case TermKind::none:
        case TermKind::exists:
        case TermKind::count:
        case TermKind::sum:
        case TermKind::min:
        case TermKind::max:
        case TermKind::avg:
            return true;
        default:
            return false;
    }
}

Field field_of(const Comparison& comparison) { return {comparison.attribute, comparison.path}; }
Field field_of(const VariableRef& reference) { return {reference.attribute, reference.path}; }

void append(const Field& field, std::string& out) {
    out += static_cast<char>('0' + static_cast<int>(field.attribute));
    for (const std::string& step : field.path) {
        out += '/';
        out += std::to_string(step.size());
        out += ':';
        out += step;
    }
}

// Literals of equalities differ within a family, and where `ranges` those of ranges and memberships.
bool differs(CompareOp op, bool ranges) {
    return op == CompareOp::eq || (ranges && (is_range(op) || op == CompareOp::in));
}

void append(const Filter& filter, bool ranges, std::string& out) {
    for (const Comparison& comparison : filter) {
        out += '(';
        append(field_of(comparison), out);
        out += ' ';
        out += to_text(comparison.op);
        out += ' ';
        const bool varies = differs(comparison.op, ranges);
        if (comparison.operand.reference) {
            out += '$' + std::to_string(comparison.operand.reference->variable);
            append(field_of(*comparison.operand.reference), out);
        } else {
            out += varies ? "?" : to_json(comparison.operand.literal);
        }
        out += ')';
    }
}

// A text's first six bytes as a number: text that comes later never gets a smaller one.
double text_number(const std::string& text) {
    double number = 0;
    for (std::size_t i = 0; i < 6; ++i) {
        number = number * 256 + (i < text.size() ? static_cast<unsigned char>(text[i]) : 0);
    }
    return number;
}

// All tests against constants on one field as a closed interval: never too small.
struct Interval {
    double low = -std::numeric_limits<double>::infinity();
    double high = std::numeric_limits<double>::infinity();
    bool text = false;
};

Interval interval_of(const Term& term, const Field& field) {
    Interval interval;
    bool first = true;
    for (const Comparison& comparison : term.where) {
        if (!is_range(comparison.op) || comparison.operand.reference || field_of(comparison) != field) continue;
        const Value& bound = comparison.operand.literal;
        if (!bound.is_number() && !bound.is_string()) continue;
        if (first) interval.text = bound.is_string();
        first = false;
        if (bound.is_string() != interval.text) continue;
        const double number = bound.is_string() ? text_number(bound.as_string()) : bound.as_double();
        const bool above = comparison.op == CompareOp::gt || comparison.op == CompareOp::gte;
        if (above) {
            interval.low = std::max(interval.low, number);
        } else {
            interval.high = std::min(interval.high, number);
        }
    }
    return interval;
}

}  // namespace

bool is_indexable(const Condition& condition) {
    for (const Term& term : condition.terms) {
        if (term.binds() || term.kind == TermKind::start || is_idleness(term.kind)) continue;
        if (!asks_groups(term.kind)) return false;
        for (const Comparison& comparison : term.where) {
            if (comparison.operand.reference && comparison.op != CompareOp::eq) return false;
        }
        for (const Comparison& comparison : term.is) {
            if (comparison.operand.reference) return false;
        }
    }
    return true;
}

std::string family_identity(const Condition& condition) {
    std::string out;
    for (const Term& term : condition.terms) {
        out += to_text(term.kind);
        out += ' ' + std::to_string(term.region.size()) + ':' + term.region + ' ';
        append(term.where, term.binds(), out);
        append(Field{Attribute::content, term.field}, out);
        append(term.is, false, out);
        for (const Comparison& comparison : term.is) out += '=' + to_json(comparison.operand.literal);
        out += term.again_on_change ? "a;" : ";";
    }
    return out;
}

bool is_own_literal(const Term& term, const Comparison& comparison) {
    return !comparison.operand.reference && differs(comparison.op, term.binds());
}

std::vector<Value> own_literals(const Condition& condition) {
    std::vector<Value> literals;
    for (const Term& term : condition.terms) {
        for (const Comparison& comparison : term.where) {
            if (is_own_literal(term, comparison)) literals.push_back(comparison.operand.literal);
        }
    }
    return literals;
}

std::uint64_t key_hash(const std::vector<Value>& values) {
    KeyHasher hasher;
    for (const Value& value : values) hasher.add(value);
    return hasher.finish().low;
}

// ---- dispatch ------------------------------------------------------------------------------------

Dispatch Dispatch::over_entries(const Term& term) {
    Dispatch dispatch;
    for (std::size_t i = 0; i < term.where.size(); ++i) {
        const Comparison& comparison = term.where[i];
        if (comparison.operand.reference) continue;
        const bool is_in = comparison.op == CompareOp::in && comparison.operand.literal.is_array() && !dispatch.in_;
        if (comparison.op == CompareOp::eq || is_in) {
            if (is_in) dispatch.in_ = dispatch.fields_.size();
            dispatch.fields_.push_back(field_of(comparison));
            dispatch.comparisons_.push_back(i);
        } else if (is_range(comparison.op) && !dispatch.ranged_) {
            dispatch.ranged_ = field_of(comparison);
        }
    }
    return dispatch;
}

Dispatch Dispatch::over_groups(const Term& term, const std::vector<std::size_t>& comparisons) {
    Dispatch dispatch;
    for (std::size_t field = 0; field < comparisons.size(); ++field) {
        if (term.where[comparisons[field]].operand.reference) continue;
        dispatch.fields_.push_back(field_of(term.where[comparisons[field]]));
        dispatch.comparisons_.push_back(comparisons[field]);
        dispatch.group_fields_.push_back(field);
    }
    return dispatch;
}

std::vector<std::uint64_t> Dispatch::keys_of(const Term& term) const {
    std::vector<std::uint64_t> keys;
    const Value::Array one(1);
    const Value::Array& alternatives = in_ ? term.where[comparisons_[*in_]].operand.literal.as_array() : one;
    for (const Value& alternative : alternatives) {
        KeyHasher hasher;
        for (std::size_t i = 0; i < fields_.size(); ++i) {
            hasher.add(in_ && *in_ == i ? alternative : term.where[comparisons_[i]].operand.literal);
        }
        keys.push_back(hasher.finish().low);
    }
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    return keys;
}

void Dispatch::add(const Term& term, std::uint32_t member) {
    for (const std::uint64_t key : keys_of(term)) {
        Set& set = sets_[key];
        if (!ranged_) {
            set.members.push_back(member);
            continue;
        }
        const Interval interval = interval_of(term, *ranged_);
        (interval.text ? set.texts : set.numbers).add(interval.low, interval.high, member);
    }
}

void Dispatch::remove(const Term& term, std::uint32_t member) {
    for (const std::uint64_t key : keys_of(term)) {
        const auto at = sets_.find(key);
        if (at == sets_.end()) continue;
        Set& set = at->second;
        if (ranged_) {
            (interval_of(term, *ranged_).text ? set.texts : set.numbers).remove(member);
        } else {
            set.members.erase(std::remove(set.members.begin(), set.members.end(), member), set.members.end());
        }
        if (set.members.empty() && set.numbers.size() == 0 && set.texts.size() == 0) sets_.erase(at);
    }
}

void Dispatch::find(std::uint64_t key, const Entry* entry, std::vector<std::uint32_t>& members) const {
    const auto at = sets_.find(key);
    if (at == sets_.end()) return;
    if (!ranged_) {
        members.insert(members.end(), at->second.members.begin(), at->second.members.end());
        return;
    }
    std::optional<Value> held;
    const Value* value = nullptr;
    if (ranged_->attribute == Attribute::content) {
        value = content_at(*entry, ranged_->path);
    } else {
        held = value_at(*entry, ranged_->attribute, ranged_->path);
        value = held ? &*held : nullptr;
    }
    if (value == nullptr) return;
    if (value->is_number()) at->second.numbers.find(value->as_double(), members);
    if (value->is_string()) at->second.texts.find(text_number(value->as_string()), members);
}

void Dispatch::find(const Entry& entry, std::vector<std::uint32_t>& members) const {
    find(key_of(entry, fields_).low, &entry, members);
}

void Dispatch::find(const std::vector<Value>& group_key, std::vector<std::uint32_t>& members) const {
    KeyHasher hasher;
    for (const std::size_t field : group_fields_) hasher.add(group_key[field]);
    find(hasher.finish().low, nullptr, members);
}

// ---- families ------------------------------------------------------------------------------------

namespace {

// What ties a variable down, given what is bound.
struct Tie {
    Field field;
    KeyPart part;
};

class FamilyMaker {
public:
    FamilyMaker(const Condition& condition, Family& family, IndexMaker& maker)
        : condition_(condition), family_(family), maker_(maker) {}

    void make() {
        for (std::uint32_t i = 0; i < condition_.terms.size(); ++i) {
            const Term& term = condition_.terms[i];
            if (!term.binds()) continue;
            family_.binding.push_back(i);
            family_.tables.push_back(&maker_.table(term.region));
            family_.regions.push_back(term.region);
            family_.dispatch.push_back(Dispatch::over_entries(term));
            if (family_.tables.back()->size() == 0) ++family_.empty_sides;
        }
        for (std::uint32_t i = 0; i < condition_.terms.size(); ++i) {
            const Term& term = condition_.terms[i];
            if (term.kind == TermKind::start) family_.starts.push_back(i);
            if (asks_groups(term.kind)) make_group_term(i);
        }
        const std::size_t variables = family_.binding.size();
        family_.whole = plan(std::vector<bool>(variables), nullptr, true);
        for (std::uint32_t variable = 0; variable < variables; ++variable) {
            std::vector<bool> bound(variables);
            bound[variable] = true;
            family_.from_variable.push_back(plan(bound, nullptr, true));
            family_.refine.push_back(refinement_from(variable));
        }
        for (Family::GroupTerm& group : family_.groups) {
            group.plan = plan(std::vector<bool>(variables), &group, false);
            group.refine = refinement_of(group);
        }
        find_gates(family_.whole);
        for (const Plan& plan : family_.from_variable) find_gates(plan);
        for (const Family::GroupTerm& group : family_.groups) find_gates(group.plan);
    }

private:
    const Term& term_of(std::uint32_t variable) const { return condition_.terms[family_.binding[variable]]; }

    void make_group_term(std::uint32_t index) {
        const Term& term = condition_.terms[index];
        Family::GroupTerm group;
        group.term = index;
        std::vector<Field> fields;
        std::vector<std::size_t> comparisons;
        Filter rest;
        for (std::size_t i = 0; i < term.where.size(); ++i) {
            const Comparison& comparison = term.where[i];
            if (comparison.op != CompareOp::eq) {
                rest.push_back(comparison);
                continue;
            }
            fields.push_back(field_of(comparison));
            comparisons.push_back(i);
            KeyPart part;
            if (comparison.operand.reference) {
                part.from = KeyPart::From::variable;
                part.reference = *comparison.operand.reference;
            } else {
                part.comparison = i;
            }
            group.parts.push_back(std::move(part));
        }
        group.table = maker_.groups(term.region, fields, rest);
        ++group.table->users;
        group.predicate = group.table->predicate(term, maker_.table(term.region));
        group.dispatch = Dispatch::over_groups(term, comparisons);
        family_.groups.push_back(std::move(group));
    }

    void find_gates(const Plan& plan) {
        for (const PlanStep& step : plan.steps) {
            const bool constant = std::all_of(step.parts.begin(), step.parts.end(),
                                              [](const KeyPart& part) { return part.from == KeyPart::From::constant; });
            const bool known = std::any_of(family_.gates.begin(), family_.gates.end(),
                                           [&](const Family::Gate& gate) { return gate.variable == step.variable; });
            if (step.arrangement != nullptr && constant && !known) {
                family_.gates.push_back({step.variable, step.arrangement, step.parts});
            }
        }
    }

    // Everything that ties `variable` down when the variables marked are bound.
    std::vector<Tie> ties(std::uint32_t variable, const std::vector<bool>& bound, const Family::GroupTerm* group,
                          bool constants) const {
        std::vector<Tie> ties;
        const auto add = [&](Field field, KeyPart part) {
            for (const Tie& known : ties) {
                if (known.field == field) return;
            }
            ties.push_back({std::move(field), std::move(part)});
        };
        const Term& term = term_of(variable);
        for (const Comparison& comparison : term.where) {
            if (comparison.op != CompareOp::eq || !comparison.operand.reference) continue;
            if (!bound[comparison.operand.reference->variable]) continue;
            add(field_of(comparison), {KeyPart::From::variable, 0, *comparison.operand.reference, 0});
        }
        for (std::uint32_t other = 0; other < family_.binding.size(); ++other) {
            if (!bound[other] || other == variable) continue;
            for (const Comparison& comparison : term_of(other).where) {
                if (comparison.op != CompareOp::eq || !comparison.operand.reference) continue;
                if (comparison.operand.reference->variable != variable) continue;
                const VariableRef back{other, comparison.attribute, comparison.path};
                add(field_of(*comparison.operand.reference), {KeyPart::From::variable, 0, back, 0});
            }
        }
        for (std::size_t field = 0; group != nullptr && field < group->parts.size(); ++field) {
            const KeyPart& part = group->parts[field];
            if (part.from != KeyPart::From::variable || part.reference.variable != variable) continue;
            add(field_of(part.reference), {KeyPart::From::group, 0, {}, field});
        }
        for (std::size_t i = 0; constants && i < term.where.size(); ++i) {
            const Comparison& comparison = term.where[i];
            if (comparison.op != CompareOp::eq || comparison.operand.reference) continue;
            add(field_of(comparison), {KeyPart::From::constant, i, {}, 0});
        }
        return ties;
    }

    Arrangement* arrange(std::uint32_t variable, std::vector<Tie>& ties) {
        std::sort(ties.begin(), ties.end(), [](const Tie& a, const Tie& b) { return a.field < b.field; });
        std::vector<Field> fields;
        for (const Tie& tie : ties) fields.push_back(tie.field);
        Arrangement* arrangement = family_.tables[variable]->arrange(fields);
        family_.arranged.emplace_back(family_.tables[variable], arrangement);
        return arrangement;
    }

    struct Order {
        std::vector<std::uint32_t> variables;
        std::size_t scans = 0;
        [[nodiscard]] bool is_ascending() const { return std::is_sorted(variables.begin(), variables.end()); }
    };

    Order order(std::vector<bool> bound, const Family::GroupTerm* group, bool ascending) const {
        Order order;
        const auto variables = static_cast<std::uint32_t>(bound.size());
        while (true) {
            std::optional<std::uint32_t> best;
            std::size_t best_weight = 0;
            bool best_tied = false;
            for (std::uint32_t variable = 0; variable < variables; ++variable) {
                if (bound[variable]) continue;
                const std::size_t joins = ties(variable, bound, group, false).size();
                const std::size_t all = ties(variable, bound, group, true).size();
                // What is joined to what is bound comes first. From a group, constants do: they tell the
                // members of a family apart.
                const bool from_group = group != nullptr && order.variables.empty();
                const std::size_t weight =
                    from_group ? joins + 2 * (all - joins) : (joins > 0 ? 1'000 + joins : 0) + all;
                if (!best || (!ascending && weight > best_weight)) {
                    best = variable;
                    best_weight = weight;
                    best_tied = all > 0;
                }
                if (ascending) break;
            }
            if (!best) return order;
            order.scans += best_tied ? 0 : 1;
            order.variables.push_back(*best);
            bound[*best] = true;
        }
    }

    Plan plan(std::vector<bool> bound, const Family::GroupTerm* group, bool prefer_ascending) {
        const Order outward = order(bound, group, false);
        const Order ascending = order(bound, group, true);
        // By ascending ids nothing need be gathered and sorted, so a cross product is never held. Where it
        // would mean to try every entry of a region that can be looked up, the matches of one seed are.
        const bool lazy =
            outward.is_ascending() || ((prefer_ascending || outward.scans > 0) && ascending.scans <= outward.scans);
        Plan plan;
        plan.ascending = lazy;
        std::vector<bool> asked(condition_.terms.size());
        plan.ready_terms = ready(bound, asked);
        for (const std::uint32_t variable : (lazy ? ascending : outward).variables) {
            PlanStep step;
            step.variable = variable;
            std::vector<Tie> keys = ties(variable, bound, group, true);
            const auto by_id = std::find_if(keys.begin(), keys.end(),
                                            [](const Tie& tie) { return tie.field.attribute == Attribute::id; });
            if (by_id != keys.end()) {
                step.id = by_id->part;
            } else if (!keys.empty()) {
                step.arrangement = arrange(variable, keys);
                for (Tie& key : keys) step.parts.push_back(std::move(key.part));
            }
            for (std::uint32_t other = 0; other < bound.size(); ++other) {
                if (bound[other] && refers(term_of(other), variable)) step.tested_again.push_back(other);
            }
            bound[variable] = true;
            step.ready_terms = ready(bound, asked);
            plan.steps.push_back(std::move(step));
        }
        return plan;
    }

    static bool refers(const Term& term, std::uint32_t variable) {
        return std::any_of(term.where.begin(), term.where.end(), [&](const Comparison& comparison) {
            return comparison.operand.reference && comparison.operand.reference->variable == variable;
        });
    }

    // Indices into Family::groups.
    std::vector<std::uint32_t> ready(const std::vector<bool>& bound, std::vector<bool>& asked) const {
        std::vector<std::uint32_t> terms;
        for (std::uint32_t i = 0; i < family_.groups.size(); ++i) {
            if (asked[i]) continue;
            const auto& parts = family_.groups[i].parts;
            const bool known = std::all_of(parts.begin(), parts.end(), [&](const KeyPart& part) {
                return part.from != KeyPart::From::variable || bound[part.reference.variable];
            });
            if (!known) continue;
            asked[i] = true;
            terms.push_back(i);
        }
        return terms;
    }

    std::optional<Family::Refinement> refinement_from(std::uint32_t variable) {
        if (family_.dispatch[variable].tells_apart()) return std::nullopt;
        std::vector<bool> bound(family_.binding.size());
        bound[variable] = true;
        for (std::uint32_t other = 0; other < bound.size(); ++other) {
            if (other == variable || !family_.dispatch[other].tells_apart()) continue;
            std::vector<Tie> keys = ties(other, bound, nullptr, false);
            if (keys.empty()) continue;
            return refinement(other, std::move(keys));
        }
        return std::nullopt;
    }

    std::optional<Family::Refinement> refinement_of(const Family::GroupTerm& group) {
        if (group.dispatch.tells_apart()) return std::nullopt;
        const std::vector<bool> bound(family_.binding.size());
        std::optional<Family::Refinement> best;
        for (std::uint32_t variable = 0; variable < bound.size(); ++variable) {
            std::vector<Tie> keys = ties(variable, bound, &group, false);
            if (keys.empty()) continue;
            const bool useful = family_.dispatch[variable].tells_apart() || family_.refine[variable].has_value();
            if (useful) return refinement(variable, std::move(keys));
        }
        return best;
    }

    Family::Refinement refinement(std::uint32_t variable, std::vector<Tie> keys) {
        Family::Refinement refinement;
        refinement.variable = variable;
        refinement.arrangement = arrange(variable, keys);
        for (Tie& key : keys) refinement.parts.push_back(std::move(key.part));
        return refinement;
    }

    const Condition& condition_;
    Family& family_;
    IndexMaker& maker_;
};

}  // namespace

std::unique_ptr<Family> make_family(const Condition& condition, std::uint32_t id, IndexMaker& maker) {
    auto family = std::make_unique<Family>();
    family->id = id;
    family->identity = family_identity(condition);
    std::uint32_t literals = 0;
    for (const Term& term : condition.terms) {
        Family::Shape shape{term, {}};
        for (const Comparison& comparison : term.where) {
            shape.literal.push_back(is_own_literal(term, comparison) ? literals++ : Family::shared);
        }
        family->terms.push_back(std::move(shape));
    }
    FamilyMaker(condition, *family, maker).make();
    return family;
}

}  // namespace stele::matching

// Random preconditions and random histories of a small board, for the tests of matchers.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "scheduler/condition.hpp"
#include "scheduler/matcher.hpp"
#include "scheduler/pattern.hpp"

namespace stele::match_worlds {

using Dice = std::mt19937;
inline std::uint32_t roll(Dice& dice, std::uint32_t below) {
    return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(dice);
}

inline const std::vector<std::string> region_names = {"facts", "notes", "plans"};

using State = std::map<EntryId, EntryPtr>;
struct Version {
    Position position;
    State state;
    std::vector<EntryChange> changes;
};

inline Value random_field(Dice& dice) {
    switch (roll(dice, 9)) {
        case 0:
            return Value();
        case 1:
            return Value(roll(dice, 2) == 0 ? "x" : "facts/2");
        case 2:
        case 3:
            return Value::number(static_cast<double>(roll(dice, 12)) / 4 - 1);
        case 4:
            return Value(Value::Array{Value(1), Value("x")});
        default:
            return Value(static_cast<std::int64_t>(roll(dice, 3)));
    }
}

inline std::vector<std::string> random_path(Dice& dice) {
    switch (roll(dice, 7)) {
        case 0:
            return {"deep", "a"};
        case 1:
        case 2:
        case 3:
            return {"b"};
        default:
            return {"a"};
    }
}

inline Value random_content(Dice& dice) {
    std::vector<Value::Member> members;
    for (const char* name : {"a", "b"}) {
        if (roll(dice, 6) != 0) members.emplace_back(name, random_field(dice));
    }
    if (roll(dice, 2) == 0) members.emplace_back("deep", Value::object({{"a", random_field(dice)}}));
    return Value::object(std::move(members));
}

inline void give_literal(Dice& dice, Comparison& comparison) {
    if (comparison.op == CompareOp::exists) {
        comparison.operand.literal = Value(roll(dice, 2) == 0);
    } else if (comparison.op == CompareOp::matches) {
        comparison.operand.literal = Value(roll(dice, 2) == 0 ? "x" : "/[0-9]");
        comparison.pattern = *Pattern::compile(comparison.operand.literal.as_string());
    } else if (comparison.op == CompareOp::in) {
        Value::Array alternatives;
        for (std::uint32_t i = 1 + roll(dice, 3); i > 0; --i) alternatives.push_back(random_field(dice));
        comparison.operand.literal = Value(std::move(alternatives));
    } else if (comparison.attribute == Attribute::version) {
        comparison.operand.literal = Value(static_cast<std::int64_t>(1 + roll(dice, 2)));
    } else {
        comparison.operand.literal = random_field(dice);
    }
}

inline Comparison random_comparison(Dice& dice, std::uint32_t variables) {
    Comparison comparison;
    static constexpr CompareOp ops[] = {CompareOp::eq,  CompareOp::eq,     CompareOp::eq,  CompareOp::ne,
                                        CompareOp::lt,  CompareOp::gt,     CompareOp::lte, CompareOp::in,
                                        CompareOp::gte, CompareOp::exists, CompareOp::has, CompareOp::matches};
    comparison.op = ops[roll(dice, 12)];
    if (roll(dice, 8) == 0) {
        comparison.attribute = roll(dice, 2) == 0 ? Attribute::version : Attribute::id;
    } else {
        comparison.path = random_path(dice);
    }
    const bool may_refer = comparison.op != CompareOp::exists && comparison.op != CompareOp::matches;
    if (may_refer && variables > 0 && roll(dice, 2) == 0) {
        VariableRef reference;
        reference.variable = roll(dice, variables);
        if (roll(dice, 5) == 0) {
            reference.attribute = roll(dice, 2) == 0 ? Attribute::version : Attribute::id;
        } else {
            reference.path = random_path(dice);
        }
        // Joins are mostly equalities; the others must work all the same.
        if (roll(dice, 3) != 0) comparison.op = CompareOp::eq;
        comparison.operand.reference = std::move(reference);
    } else {
        give_literal(dice, comparison);
    }
    return comparison;
}

inline Filter random_filter(Dice& dice, std::uint32_t variables) {
    Filter filter;
    for (std::uint32_t i = roll(dice, 3); i > 0; --i) filter.push_back(random_comparison(dice, variables));
    return filter;
}

inline Term random_test(Dice& dice, std::uint32_t variables, int depth) {
    Term term;
    static constexpr TermKind kinds[] = {TermKind::none,  TermKind::none,    TermKind::exists, TermKind::count,
                                         TermKind::sum,   TermKind::min,     TermKind::max,    TermKind::avg,
                                         TermKind::start, TermKind::quiet,   TermKind::after,  TermKind::every,
                                         TermKind::any,   TermKind::negation};
    term.kind = kinds[roll(dice, depth > 0 && roll(dice, 3) == 0 ? 14 : 9)];
    if (term.kind == TermKind::start) return term;
    term.again_on_change = roll(dice, 4) == 0;
    if (term.kind == TermKind::any) {
        for (std::uint32_t i = 1 + roll(dice, 2); i > 0; --i) {
            std::vector<Term> alternative;
            for (std::uint32_t k = 1 + roll(dice, 2); k > 0; --k) {
                alternative.push_back(random_test(dice, variables, depth - 1));
            }
            term.alternatives.push_back(std::move(alternative));
        }
        return term;
    }
    if (term.kind == TermKind::negation) {
        term.alternatives.push_back({random_test(dice, variables, depth - 1)});
        return term;
    }
    if (term.kind == TermKind::after || term.kind == TermKind::every || term.kind == TermKind::quiet) {
        term.duration_ms = 20 + 10 * roll(dice, 12);
        if (term.kind != TermKind::quiet) return term;
    }
    term.region = region_names[roll(dice, 3)];
    if (term.kind == TermKind::quiet) return term;
    term.where = random_filter(dice, variables);
    if (term.kind == TermKind::none || term.kind == TermKind::exists) return term;
    if (term.kind != TermKind::count) term.field = random_path(dice);
    Comparison is;
    static constexpr CompareOp ops[] = {CompareOp::eq, CompareOp::ne, CompareOp::lt, CompareOp::gte};
    is.op = ops[roll(dice, 4)];
    is.operand.literal = Value(static_cast<std::int64_t>(roll(dice, 4)));
    term.is = {is};
    return term;
}

inline Condition random_condition(Dice& dice) {
    Condition condition;
    for (std::uint32_t i = 1 + roll(dice, 4); i > 0; --i) {
        const auto variables = static_cast<std::uint32_t>(condition.variables.size());
        if (variables < 3 && roll(dice, 5) < 3) {
            Term term;
            term.kind = roll(dice, 5) == 0 ? TermKind::changed : TermKind::each;
            term.region = region_names[roll(dice, 3)];
            term.variable = variables;
            term.where = random_filter(dice, variables);
            condition.variables.push_back("v" + std::to_string(variables));
            condition.terms.push_back(std::move(term));
        } else {
            condition.terms.push_back(random_test(dice, variables, 1));
        }
    }
    return condition;
}

// The same pattern, cut anew.
inline Condition with_other_constants(Dice& dice, Condition condition) {
    for (Term& term : condition.terms) {
        for (Comparison& comparison : term.where) {
            if (!comparison.operand.reference) give_literal(dice, comparison);
        }
    }
    return condition;
}

inline EntryPtr made(const EntryId& id, std::uint32_t version, Position position, std::int64_t time, Value content) {
    auto entry = std::make_shared<Entry>();
    entry->id = id;
    entry->version = version;
    entry->position = position;
    entry->time = {time};
    entry->author = "anyone";
    entry->content = std::move(content);
    return entry;
}

// Writes of any kind to any entry: new ones, new versions, retractions, and returns of what was retracted.
inline Version random_version(Dice& dice, const State& before, Position position,
                              std::map<EntryId, std::uint32_t>& versions, std::int64_t time) {
    Version next;
    next.position = position;
    next.state = before;
    std::set<EntryId> touched;
    for (std::uint32_t i = 1 + roll(dice, 4); i > 0; --i) {
        const EntryId id{region_names[roll(dice, 3)], 1 + roll(dice, 6)};
        if (!touched.insert(id).second) continue;
        EntryChange change;
        change.id = id;
        const auto known = next.state.find(id);
        if (known != next.state.end()) change.before = known->second;
        if (change.before && roll(dice, 3) == 0) {
            next.state.erase(id);
            change.kind = EntryChange::Kind::removed;
        } else {
            change.kind = change.before ? EntryChange::Kind::updated : EntryChange::Kind::added;
            change.after = made(id, ++versions[id], position, time, random_content(dice));
            next.state[id] = change.after;
        }
        next.changes.push_back(std::move(change));
    }
    return next;
}

// A condition in a line, for the message of a failing program.
inline std::string told(const Term& term) {
    std::string text = to_text(term.kind);
    if (!term.region.empty()) text += " " + term.region;
    if (term.again_on_change) text += " again";
    if (term.duration_ms != 0) text += " " + std::to_string(term.duration_ms) + " ms";
    for (const Comparison& comparison : term.where) {
        text += " [" + std::string(comparison.attribute == Attribute::content ? "" : "@");
        for (const std::string& step : comparison.path) text += "." + step;
        text += " " + std::string(to_text(comparison.op)) + " ";
        if (comparison.operand.reference) {
            text += "$" + std::to_string(comparison.operand.reference->variable);
            for (const std::string& step : comparison.operand.reference->path) text += "." + step;
        } else {
            text += to_json(comparison.operand.literal);
        }
        text += "]";
    }
    for (const Comparison& comparison : term.is) {
        text += " is " + std::string(to_text(comparison.op)) + " " + to_json(comparison.operand.literal);
    }
    if (!term.field.empty()) text += " of ." + term.field.back();
    for (const auto& alternative : term.alternatives) {
        text += " {";
        for (const Term& inner : alternative) text += told(inner) + "; ";
        text += "}";
    }
    return text;
}
inline std::string told(const Condition& condition) {
    std::string text;
    for (const Term& term : condition.terms) text += (text.empty() ? "" : ", ") + told(term);
    return text;
}

}  // namespace stele::match_worlds

#include "scheduler/evaluate.hpp"

#include <algorithm>
#include <charconv>

#include "scheduler/pattern.hpp"

namespace stele {
namespace {

const Value* walk(const Value& from, const std::vector<std::string>& path) {
    const Value* at = &from;
    for (const std::string& step : path) {
        if (at->is_array()) {
            std::size_t index = 0;
            const auto [end, error] = std::from_chars(step.data(), step.data() + step.size(), index);
            if (error != std::errc() || end != step.data() + step.size() || index >= at->as_array().size())
                return nullptr;
            at = &at->as_array()[index];
        } else {
            at = at->find(step);
            if (at == nullptr) return nullptr;
        }
    }
    return at;
}

bool comparable(const Value& a, const Value& b) {
    return (a.is_number() && b.is_number()) || (a.is_string() && b.is_string());
}

bool contains(const Value& list, const Value& value) {
    return list.is_array() && std::find(list.as_array().begin(), list.as_array().end(), value) != list.as_array().end();
}

bool has(const Value& value, const Value& wanted) {
    if (value.is_string() && wanted.is_string()) return value.as_string().find(wanted.as_string()) != std::string::npos;
    return contains(value, wanted);
}

bool test(const Comparison& comparison, const Value* value, const Value& wanted) {
    static const Value null;
    const Value& shown = value == nullptr ? null : *value;
    switch (comparison.op) {
        case CompareOp::eq:
            return shown == wanted;
        case CompareOp::ne:
            return shown != wanted;
        case CompareOp::lt:
            return comparable(shown, wanted) && compare(shown, wanted) < 0;
        case CompareOp::lte:
            return comparable(shown, wanted) && compare(shown, wanted) <= 0;
        case CompareOp::gt:
            return comparable(shown, wanted) && compare(shown, wanted) > 0;
        case CompareOp::gte:
            return comparable(shown, wanted) && compare(shown, wanted) >= 0;
        case CompareOp::in:
            return value != nullptr && contains(wanted, shown);
        case CompareOp::has:
            return value != nullptr && has(shown, wanted);
        case CompareOp::matches:
            return shown.is_string() && comparison.pattern && comparison.pattern->found_in(shown.as_string());
        case CompareOp::exists:
            return wanted.is_bool() && wanted.as_bool() == (value != nullptr && !value->is_null());
    }
    return false;
}

}  // namespace

std::optional<Value> value_at(const Entry& entry, Attribute attribute, const std::vector<std::string>& path) {
    switch (attribute) {
        case Attribute::content: {
            const Value* found = walk(entry.content, path);
            return found == nullptr ? std::nullopt : std::optional<Value>(*found);
        }
        case Attribute::id:
            return Value(to_text(entry.id));
        case Attribute::version:
            return Value(static_cast<std::int64_t>(entry.version));
        case Attribute::author:
            return Value(entry.author);
        case Attribute::time:
            return Value(entry.time.ms);
    }
    return std::nullopt;
}

std::optional<Value> value_of(const VariableRef& reference, const Bindings& bindings) {
    if (reference.variable >= bindings.size() || !bindings[reference.variable]) return std::nullopt;
    return value_at(*bindings[reference.variable], reference.attribute, reference.path);
}

bool holds(const Comparison& comparison, const std::optional<Value>& value, const Bindings& bindings) {
    if (!comparison.operand.reference) return test(comparison, value ? &*value : nullptr, comparison.operand.literal);
    const std::optional<Value> wanted = value_of(*comparison.operand.reference, bindings);
    return test(comparison, value ? &*value : nullptr, wanted ? *wanted : Value());
}

bool passes_one(const Comparison& comparison, const Value& literal, const Entry& entry, const Bindings& bindings) {
    // Content is looked at in place: this is the inner loop of every join.
    if (comparison.attribute != Attribute::content) {
        const std::optional<Value> value = value_at(entry, comparison.attribute, comparison.path);
        if (comparison.operand.reference) return holds(comparison, value, bindings);
        return test(comparison, value ? &*value : nullptr, literal);
    }
    const Value* value = walk(entry.content, comparison.path);
    if (!comparison.operand.reference) return test(comparison, value, literal);
    const VariableRef& reference = *comparison.operand.reference;
    static const Value null;
    if (reference.attribute == Attribute::content) {
        const Entry* bound = reference.variable < bindings.size() ? bindings[reference.variable].get() : nullptr;
        const Value* wanted = bound == nullptr ? nullptr : walk(bound->content, reference.path);
        return test(comparison, value, wanted == nullptr ? null : *wanted);
    }
    const std::optional<Value> wanted = value_of(reference, bindings);
    return test(comparison, value, wanted ? *wanted : null);
}

const Value* content_at(const Entry& entry, const std::vector<std::string>& path) { return walk(entry.content, path); }

bool passes(const Filter& filter, const Entry& entry, const Bindings& bindings) {
    for (const Comparison& comparison : filter) {
        if (!passes_one(comparison, comparison.operand.literal, entry, bindings)) return false;
    }
    return true;
}

bool passes_what_is_bound(const Filter& filter, const Entry& entry, const Bindings& bindings) {
    for (const Comparison& comparison : filter) {
        const std::optional<VariableRef>& reference = comparison.operand.reference;
        if (reference && (reference->variable >= bindings.size() || !bindings[reference->variable])) continue;
        if (!passes_one(comparison, comparison.operand.literal, entry, bindings)) return false;
    }
    return true;
}

}  // namespace stele

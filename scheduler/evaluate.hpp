// Filters and comparisons on entries, given the variables bound so far. Pure.
#pragma once

#include <optional>
#include <vector>

#include "board/entry.hpp"
#include "scheduler/condition.hpp"

namespace stele {

/// Entries by variable index; null where not bound yet.
using Bindings = std::vector<EntryPtr>;

/// What an entry shows at an attribute or path; nothing where the path leads nowhere.
std::optional<Value> value_at(const Entry& entry, Attribute attribute, const std::vector<std::string>& path);
/// The same for content, looked at in place: null where the path leads nowhere.
const Value* content_at(const Entry& entry, const std::vector<std::string>& path);
std::optional<Value> value_of(const VariableRef& reference, const Bindings& bindings);

/// One test on a value. A missing value passes `ne` (unless against null), `exists: false` and
/// `eq: null`, and nothing else.
bool holds(const Comparison& comparison, const std::optional<Value>& value, const Bindings& bindings);

/// Does the entry pass every test?
bool passes(const Filter& filter, const Entry& entry, const Bindings& bindings);

/// One test, with `literal` for its own where it compares with a constant.
bool passes_one(const Comparison& comparison, const Value& literal, const Entry& entry, const Bindings& bindings);

/// The same, leaving out the tests against variables that are not bound.
bool passes_what_is_bound(const Filter& filter, const Entry& entry, const Bindings& bindings);

}  // namespace stele

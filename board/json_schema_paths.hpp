// Ways through a JSON Schema document that need no library: local references, and what a schema
// says of the type along a path. Internal to board/json_schema*.cpp. Any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "board/schema.hpp"
#include "board/value.hpp"

namespace stele {

/// How many schemas of a document references may lead to, and how long a chain of them may be.
inline constexpr std::size_t json_definitions_max = 1'000;

/// A schema inside a document, which owns it, and its JSON Pointer.
struct JsonTarget {
    const Value* schema = nullptr;
    std::string pointer;
};

/// The schema that a reference leads to in the end. Null if it leads nowhere; then `refusal` is
/// the reason, to complete "the reference ... which".
JsonTarget follow_reference(const Value& document, const std::string& reference, std::string& refusal);

/// A member or item, or null.
const Value* step_into(const Value& from, const std::string& part);

/// What EntrySchema::type_at promises. The document has been found to be well-formed.
std::optional<FieldType> type_along(const Value& document, std::string_view dotted_path);

/// `schema` itself, or what it refers to.
const Value& resolved_schema(const Value& document, const Value& schema);

}  // namespace stele

// Checks a JSON Schema document and writes it anew with only what the library behind
// json_schema.cpp does well. Internal to it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "board/json_schema_rules.hpp"
#include "board/value.hpp"

namespace stele {

struct RewrittenJsonSchema {
    /// Each schema is the keywords that lead to other schemas plus the index of its rules under
    /// `json_rules_keyword`; each reference leads into one flat list of definitions.
    Value document;
    std::vector<std::unique_ptr<const JsonRules>> rules;
    bool uses_pattern_properties = false;
    /// A sentence; empty when the document is a JSON Schema.
    std::string refusal;
};

inline constexpr std::string_view json_rules_keyword = "rules";

RewrittenJsonSchema rewrite_json_schema(const Value& document);

}  // namespace stele

// The keywords of one JSON Schema object that look at a single value: its type, range, length,
// text and names. Judged here rather than by the library behind json_schema.cpp, so that numbers
// compare exactly, patterns take linear time and every complaint says what was expected and what
// came. Internal to board/json_schema.cpp. Immutable after loading; any thread may judge with it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "board/value.hpp"

namespace stele {

struct JsonRules {
    enum class Relation { at_least, above, at_most, below };
    struct Bound {
        Relation relation = Relation::at_least;
        Value limit;
    };
    enum class Measure { characters, items, fields };
    struct Count {
        Measure measure = Measure::characters;
        bool is_max = false;
        std::int64_t limit = 0;
    };
    class TextPattern;

    bool never = false;              // the schema `false`
    std::vector<std::string> types;  // empty: any
    std::optional<std::vector<Value>> choices;
    std::vector<Bound> bounds;
    std::vector<Count> counts;
    std::optional<Value> multiple_of;
    std::shared_ptr<const TextPattern> pattern;
    std::string format;
    bool unique_items = false;
    std::vector<std::string> required;
    /// Set when no other names are allowed.
    std::optional<std::vector<std::string>> known_names;

    /// Takes up the keyword if it is one of these. The error completes "the keyword ...".
    std::optional<std::string> load(std::string_view keyword, const Value& argument, const Value& schema);

    /// True when arrays and objects have to be looked at as a whole.
    [[nodiscard]] bool compares_whole() const { return choices.has_value() || unique_items; }
    /// True when nothing is asked of a value but perhaps its type.
    [[nodiscard]] bool only_type() const;

    [[nodiscard]] bool fits_type(const char* type_name) const;
    [[nodiscard]] std::string type_expected() const;
    /// What was expected, without what came; none if the value fits. Leaves type and names aside.
    [[nodiscard]] std::optional<std::string> judge(const Value& value) const;
    /// The same for the number of elements or fields.
    [[nodiscard]] std::optional<std::string> judge_size(Measure measure, std::size_t size) const;
};

/// An explanation, or none if the text is a regular expression that can be used for names.
std::optional<std::string> refuse_name_pattern(const std::string& pattern);

}  // namespace stele

#include "board/json_schema_rules.hpp"

#include "board/json_schema.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <compare>
#include <regex>

namespace stele {

// The matcher that keeps all alternatives in step: its time grows with the text times the pattern
// and its stack does not, where the backtracking one can be hung or overflowed by an entry.
class JsonRules::TextPattern {
public:
    /// Longer texts would hold the caller up for too long.
    static constexpr std::size_t text_bytes_max = 64U << 10;

    /// Throws std::regex_error. The prefix makes one pass of it look everywhere in the text.
    explicit TextPattern(const std::string& pattern)
        : shown_(pattern),
          regex_("[\\s\\S]*?(?:" + pattern + ")",
                 std::regex::ECMAScript | std::regex::nosubs | std::regex_constants::__polynomial) {}

    bool found_in(const std::string& text) const {
        return std::regex_search(text, regex_, std::regex_constants::match_continuous);
    }
    const std::string& shown() const { return shown_; }

private:
    std::string shown_;
    std::regex regex_;
};

namespace {

using Loading = std::optional<std::string>;

std::string in_quotes(std::string_view text) { return to_json(Value(text)); }

Loading wants(const char* what, const Value& argument) {
    return std::string("takes ") + what + ", not " + found_text(argument);
}

Loading load_types(const Value& argument, std::vector<std::string>& types) {
    const Value::Array one = {argument};
    const Value::Array& words = argument.is_array() ? argument.as_array() : one;
    if (words.empty()) return wants("at least one type", argument);
    for (const Value& word : words) {
        if (!word.is_string()) return wants("a type word or an array of them", word);
        const std::optional<FieldType> type = field_type_from(word.as_string());
        if (!type || *type == FieldType::any) {
            static const std::vector<std::string> known = {"string", "integer", "number", "boolean",
                                                           "array",  "object",  "null"};
            return "names an unknown type " + unknown_text(word.as_string(), known);
        }
        types.push_back(word.as_string());
    }
    return std::nullopt;
}

Loading load_names(const Value& argument, std::vector<std::string>& names) {
    if (!argument.is_array()) return wants("an array of field names", argument);
    for (const Value& name : argument.as_array()) {
        if (!name.is_string()) return wants("an array of field names", name);
        names.push_back(name.as_string());
    }
    return std::nullopt;
}

bool is_true(const Value* value) { return value != nullptr && value->is_bool() && value->as_bool(); }

/// Draft 4 writes an exclusive bound as a boolean beside the bound, later drafts as a number.
Loading load_bound(std::string_view keyword, const Value& argument, const Value& schema, JsonRules& rules) {
    using Relation = JsonRules::Relation;
    const bool exclusive = keyword.starts_with("exclusive");
    const bool is_max = keyword.ends_with("aximum");
    if (exclusive && argument.is_bool()) {
        const bool beside = schema.find(is_max ? "maximum" : "minimum") != nullptr;
        return beside ? Loading() : Loading("is a boolean without the bound that it belongs to");
    }
    if (!argument.is_number()) return wants("a number", argument);
    const bool strict = exclusive || is_true(schema.find(is_max ? "exclusiveMaximum" : "exclusiveMinimum"));
    const Relation relation =
        is_max ? (strict ? Relation::below : Relation::at_most) : (strict ? Relation::above : Relation::at_least);
    rules.bounds.push_back({relation, argument});
    return std::nullopt;
}

Loading load_count(std::string_view keyword, const Value& argument, JsonRules& rules) {
    using Measure = JsonRules::Measure;
    if (!argument.is_int() || argument.as_int() < 0) return wants("an integer from 0 on", argument);
    const Measure measure = keyword.ends_with("Length")  ? Measure::characters
                            : keyword.ends_with("Items") ? Measure::items
                                                         : Measure::fields;
    rules.counts.push_back({measure, keyword.starts_with("max"), argument.as_int()});
    return std::nullopt;
}

Loading load_pattern(const Value& argument, std::shared_ptr<const JsonRules::TextPattern>& pattern) {
    if (!argument.is_string()) return wants("a regular expression", argument);
    // Compiled alone first: a stray bracket could otherwise pair up with the ones put around it.
    if (std::optional<std::string> refusal = refuse_name_pattern(argument.as_string())) return refusal;
    try {
        pattern = std::make_shared<const JsonRules::TextPattern>(argument.as_string());
    } catch (const std::exception& failure) {
        return "has a regular expression that cannot be used, " + in_quotes(argument.as_string()) + ": " +
               failure.what();
    }
    return std::nullopt;
}

struct Digits {
    std::string_view rest;

    /// The next `count` digits as a number; -1 if there are none such.
    int take(std::size_t count) {
        int number = 0;
        if (rest.size() < count) return -1;
        for (const char c : rest.substr(0, count)) {
            if (c < '0' || c > '9') return -1;
            number = number * 10 + (c - '0');
        }
        rest.remove_prefix(count);
        return number;
    }
    bool take_any_of(std::string_view letters) {
        if (rest.empty() || letters.find(rest.front()) == std::string_view::npos) return false;
        rest.remove_prefix(1);
        return true;
    }
};

bool take_date(Digits& digits) {
    constexpr std::array days = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const int year = digits.take(4);
    if (year < 0 || !digits.take_any_of("-")) return false;
    const int month = digits.take(2);
    if (month < 1 || month > 12 || !digits.take_any_of("-")) return false;
    const int day = digits.take(2);
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return day >= 1 && day <= days[static_cast<std::size_t>(month - 1)] + (leap && month == 2 ? 1 : 0);
}

bool take_hour_and_minute(Digits& digits) {
    const int hour = digits.take(2);
    if (hour < 0 || hour > 23 || !digits.take_any_of(":")) return false;
    const int minute = digits.take(2);
    return minute >= 0 && minute <= 59;
}

bool take_time(Digits& digits) {
    if (!take_hour_and_minute(digits) || !digits.take_any_of(":")) return false;
    const int second = digits.take(2);
    if (second < 0 || second > 60) return false;
    if (digits.take_any_of(".")) {
        if (digits.take(1) < 0) return false;
        while (digits.take(1) >= 0) continue;
    }
    return digits.take_any_of("Zz") || (digits.take_any_of("+-") && take_hour_and_minute(digits));
}

/// Formats other than these are notes for people, as drafts 6 and 7 allow.
bool has_format(std::string_view text, std::string_view format) {
    Digits digits = {text};
    if (format == "date") return take_date(digits) && digits.rest.empty();
    if (format == "time") return take_time(digits) && digits.rest.empty();
    if (format != "date-time") return true;
    return take_date(digits) && digits.take_any_of("Tt ") && take_time(digits) && digits.rest.empty();
}

std::size_t characters_in(std::string_view text) {
    return static_cast<std::size_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool is_multiple(const Value& value, const Value& of) {
    if (value.is_int() && of.is_int()) return value.as_int() % of.as_int() == 0;
    // Decimal steps such as 0.01 are not exact in binary, so the quotient may be off by its last bits.
    const double quotient = value.as_double() / of.as_double();
    if (!std::isfinite(quotient)) return false;
    return std::fabs(quotient - std::round(quotient)) <= 1e-9 * std::max(1.0, std::fabs(quotient));
}

bool has_twins(const Value::Array& items) {
    std::vector<const Value*> sorted;
    sorted.reserve(items.size());
    for (const Value& item : items) sorted.push_back(&item);
    std::sort(sorted.begin(), sorted.end(), [](const Value* a, const Value* b) { return compare(*a, *b) < 0; });
    return std::adjacent_find(sorted.begin(), sorted.end(), [](const Value* a, const Value* b) { return *a == *b; }) !=
           sorted.end();
}

std::optional<std::string> judge_number(const JsonRules& rules, const Value& value) {
    using Relation = JsonRules::Relation;
    for (const JsonRules::Bound& bound : rules.bounds) {
        const auto order = compare(value, bound.limit);
        const Value& limit = bound.limit;
        if (bound.relation == Relation::at_least && order < 0) return "a number of at least " + to_json(limit);
        if (bound.relation == Relation::above && order <= 0) return "a number above " + to_json(limit);
        if (bound.relation == Relation::at_most && order > 0) return "a number of at most " + to_json(limit);
        if (bound.relation == Relation::below && order >= 0) return "a number below " + to_json(limit);
    }
    if (rules.multiple_of && !is_multiple(value, *rules.multiple_of)) {
        return "a multiple of " + to_json(*rules.multiple_of);
    }
    return std::nullopt;
}

std::optional<std::string> judge_text(const JsonRules& rules, const std::string& text) {
    if (!has_format(text, rules.format)) return "a " + rules.format + " as in RFC 3339";
    if (!rules.counts.empty()) {
        if (auto complaint = rules.judge_size(JsonRules::Measure::characters, characters_in(text))) return complaint;
    }
    if (rules.pattern == nullptr) return std::nullopt;
    if (text.size() > JsonRules::TextPattern::text_bytes_max) {
        return "a text of at most " + std::to_string(JsonRules::TextPattern::text_bytes_max) +
               " bytes, as it is held against a pattern";
    }
    if (!rules.pattern->found_in(text)) return "a text with the pattern " + in_quotes(rules.pattern->shown());
    return std::nullopt;
}

std::string choices_expected(const std::vector<Value>& choices) {
    constexpr std::size_t shown_max = 12;
    if (choices.size() == 1) return to_json(choices.front());
    std::string text = "one of ";
    for (std::size_t i = 0; i < std::min(choices.size(), shown_max); ++i) {
        if (i > 0) text += ", ";
        append_json(choices[i], text);
    }
    if (choices.size() > shown_max) text += " and " + std::to_string(choices.size() - shown_max) + " more";
    return text;
}

}  // namespace

std::optional<std::string> JsonRules::load(std::string_view keyword, const Value& argument, const Value& schema) {
    if (keyword == "type") return load_types(argument, types);
    if (keyword == "enum") {
        if (!argument.is_array() || argument.as_array().empty()) return wants("an array of at least one", argument);
        if (!choices) choices = argument.as_array();
        return std::nullopt;
    }
    if (keyword == "const") {
        choices = {argument};
        return std::nullopt;
    }
    if (keyword == "minimum" || keyword == "maximum" || keyword == "exclusiveMinimum" ||
        keyword == "exclusiveMaximum") {
        return load_bound(keyword, argument, schema, *this);
    }
    if (keyword == "minLength" || keyword == "maxLength" || keyword == "minItems" || keyword == "maxItems" ||
        keyword == "minProperties" || keyword == "maxProperties") {
        return load_count(keyword, argument, *this);
    }
    if (keyword == "multipleOf") {
        if (!argument.is_number() || argument.as_double() <= 0) return wants("a number above 0", argument);
        multiple_of = argument;
        return std::nullopt;
    }
    if (keyword == "pattern") return load_pattern(argument, pattern);
    if (keyword == "format") {
        if (!argument.is_string()) return wants("the name of a format", argument);
        format = argument.as_string();
        return std::nullopt;
    }
    if (keyword == "uniqueItems") {
        if (!argument.is_bool()) return wants("true or false", argument);
        unique_items = argument.as_bool();
        return std::nullopt;
    }
    if (keyword == "required") return load_names(argument, required);
    return std::nullopt;
}

bool JsonRules::only_type() const {
    return !choices && bounds.empty() && counts.empty() && !multiple_of && pattern == nullptr && format.empty() &&
           !unique_items;
}

bool JsonRules::fits_type(const char* type_name) const {
    if (types.empty()) return true;
    const std::string_view found = type_name;
    for (const std::string& type : types) {
        if (type == found || (type == "number" && found == "integer")) return true;
    }
    return false;
}

std::string JsonRules::type_expected() const {
    std::string text;
    for (std::size_t i = 0; i < types.size(); ++i) {
        if (i > 0) text += i + 1 == types.size() ? " or " : ", ";
        text += types[i];
    }
    return text;
}

std::optional<std::string> JsonRules::judge(const Value& value) const {
    if (choices && std::find(choices->begin(), choices->end(), value) == choices->end()) {
        return choices_expected(*choices);
    }
    if (value.is_number()) return judge_number(*this, value);
    if (value.is_string()) return judge_text(*this, value.as_string());
    if (value.is_array() && unique_items && has_twins(value.as_array())) return "an array without equal items";
    return std::nullopt;
}

std::optional<std::string> JsonRules::judge_size(Measure measure, std::size_t size) const {
    static constexpr const char* names[] = {"a text", "an array", "an object"};
    static constexpr const char* units[] = {" characters", " items", " fields"};
    for (const Count& count : counts) {
        if (count.measure != measure) continue;
        const auto limit = static_cast<std::uint64_t>(count.limit);
        if (count.is_max ? size <= limit : size >= limit) continue;
        const auto index = static_cast<std::size_t>(measure);
        return std::string(names[index]) + " of at " + (count.is_max ? "most " : "least ") + std::to_string(limit) +
               units[index];
    }
    return std::nullopt;
}

std::optional<std::string> refuse_name_pattern(const std::string& pattern) {
    // The library's compiler recurses into brackets.
    constexpr std::size_t pattern_bytes_max = 4'096;
    if (pattern.size() > pattern_bytes_max) {
        return "has a regular expression of more than " + std::to_string(pattern_bytes_max) + " bytes";
    }
    try {
        const std::regex compiled(pattern);
        return std::nullopt;
    } catch (const std::exception& failure) {
        return "has a regular expression that cannot be used, " + in_quotes(pattern) + ": " + failure.what();
    }
}

}  // namespace stele

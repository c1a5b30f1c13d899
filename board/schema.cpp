#include "board/schema.hpp"

#include "board/json_schema.hpp"
#include "board/nearest.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

namespace stele {

namespace {

constexpr std::array field_types = {FieldType::any,     FieldType::string, FieldType::integer, FieldType::number,
                                    FieldType::boolean, FieldType::array,  FieldType::object,  FieldType::null};

bool fits(const Value& value, FieldType type) {
    switch (type) {
        case FieldType::any:
            return true;
        case FieldType::string:
            return value.is_string();
        case FieldType::integer:
            return value.is_int();
        case FieldType::number:
            return value.is_number();
        case FieldType::boolean:
            return value.is_bool();
        case FieldType::array:
            return value.is_array();
        case FieldType::object:
            return value.is_object();
        case FieldType::null:
            return value.is_null();
    }
    return false;
}

std::string in_quotes(std::string_view text) { return to_json(Value(text)); }

/// "integer", `"low" or "high"`, "array of string".
std::string expected_text(const FieldSpec& field) {
    std::string text;
    for (std::size_t i = 0; i < field.choices.size(); ++i) {
        if (i > 0) text += i + 1 == field.choices.size() ? " or " : ", ";
        text += in_quotes(field.choices[i]);
    }
    if (field.choices.empty()) text = to_text(field.type);
    if (field.element != FieldType::any) text += std::string(" of ") + to_text(field.element);
    if (field.optional) text += ", or nothing";
    return text;
}

std::optional<SchemaProblem> unfit(std::string path, std::string_view expected, const Value& found) {
    return SchemaProblem{std::move(path), "expected " + std::string(expected) + ", found " + found_text(found)};
}

bool is_choice(const FieldSpec& field, const std::string& text) {
    return field.choices.empty() || std::find(field.choices.begin(), field.choices.end(), text) != field.choices.end();
}

std::optional<SchemaProblem> check_field(const FieldSpec& field, const Value& value) {
    if (field.optional && value.is_null()) return std::nullopt;
    std::size_t wrong = 0;
    bool element_fits = true;
    if (field.element != FieldType::any && value.is_array()) {
        const Value::Array& elements = value.as_array();
        while (wrong < elements.size() && fits(elements[wrong], field.element)) ++wrong;
        element_fits = wrong == elements.size();
    }
    const bool value_fits = fits(value, field.type) && (!value.is_string() || is_choice(field, value.as_string()));
    if (value_fits && element_fits) return std::nullopt;

    std::string path;
    append_pointer(path, field.name);
    if (!value_fits) return unfit(std::move(path), expected_text(field), value);
    append_pointer(path, std::to_string(wrong));
    return unfit(std::move(path), to_text(field.element), value.as_array()[wrong]);
}

/// The type of what lies at the rest of a path below something of `type`.
std::optional<FieldType> type_below(FieldType type, FieldType element, std::string_view rest) {
    if (rest.empty()) return type;
    if (type == FieldType::any || type == FieldType::object) return FieldType::any;
    if (type != FieldType::array || !is_index(next_path_part(rest))) return std::nullopt;
    return type_below(element, FieldType::any, rest);
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

std::optional<FieldType> short_form_type(std::string_view word) {
    const std::optional<FieldType> type = field_type_from(word);
    return type == FieldType::null ? std::nullopt : type;
}

Error unknown_type(std::string_view name, std::string_view word) {
    std::vector<std::string> words;
    for (const FieldType type : field_types) {
        if (type != FieldType::null) words.emplace_back(to_text(type));
    }
    return Error{ErrorCode::invalid_argument,
                 "the field " + in_quotes(name) + " has an unknown type " + unknown_text(word, words) +
                     " Allowed are string, integer, number, boolean, array, object, any, a list like [string], "
                     "choices like low | high, and each of them with ? where the field may be left out."};
}

Value document_of(const FieldSpec& field) {
    Value document = Value::object({});
    if (field.type != FieldType::any) document.set("type", to_text(field.type));
    if (field.element != FieldType::any) document.set("items", Value::object({{"type", to_text(field.element)}}));
    if (!field.choices.empty()) document.set("enum", Value::Array(field.choices.begin(), field.choices.end()));
    return document;
}

Result<FieldSpec> parse_choices(FieldSpec field, std::string_view words) {
    const auto fail = [&field](const std::string& what) {
        return Error{ErrorCode::invalid_argument, "the field " + in_quotes(field.name) + " " + what};
    };
    bool types_only = true;
    for (bool more = true; more;) {
        const std::size_t bar = words.find('|');
        more = bar != std::string_view::npos;
        const std::string choice(trimmed(words.substr(0, bar)));
        if (more) words.remove_prefix(bar + 1);
        if (choice.empty()) return fail("has an empty choice; choices are written like low | high");
        if (std::find(field.choices.begin(), field.choices.end(), choice) != field.choices.end()) {
            return fail("has the choice " + in_quotes(choice) + " twice");
        }
        types_only = types_only && field_type_from(choice).has_value();
        field.choices.push_back(choice);
    }
    if (types_only) {
        return fail(
            "lists only type words as its choices, which would allow just these words as text; for several "
            "types take any, and for a field that may be left out a type with ? such as string?");
    }
    field.type = FieldType::string;
    return field;
}

}  // namespace

// --- shared with json_schema.cpp ---

std::optional<FieldType> field_type_from(std::string_view word) {
    for (const FieldType type : field_types) {
        if (word == to_text(type)) return type;
    }
    return std::nullopt;
}

std::string found_text(const Value& value) {
    constexpr std::size_t shown_max = 60;
    std::string text = value.type_name();
    if (value.is_string() && value.as_string().size() > shown_max) {
        const std::string& whole = value.as_string();
        std::size_t shown = shown_max;
        while (shown > 0 && (static_cast<unsigned char>(whole[shown]) & 0xC0) == 0x80) --shown;
        return text + " " + in_quotes(std::string_view(whole).substr(0, shown)) + "...";
    }
    if (value.is_null() || value.is_array() || value.is_object()) return text;
    return text + " " + to_json(value);
}

void append_pointer(std::string& pointer, std::string_view part) {
    pointer += '/';
    for (const char c : part) {
        if (c == '~') {
            pointer += "~0";
        } else if (c == '/') {
            pointer += "~1";
        } else {
            pointer += c;
        }
    }
}

std::string unknown_text(std::string_view name, const std::vector<std::string>& known) {
    const std::string nearest = nearest_name(name, known);
    return in_quotes(name) + (nearest.empty() ? "." : "; did you mean " + in_quotes(nearest) + "?");
}

std::string_view next_path_part(std::string_view& dotted_path) {
    const std::size_t dot = dotted_path.find('.');
    const std::string_view part = dotted_path.substr(0, dot);
    dotted_path.remove_prefix(dot == std::string_view::npos ? dotted_path.size() : dot + 1);
    return part;
}

bool is_index(std::string_view path_part) {
    return !path_part.empty() && path_part.find_first_not_of("0123456789") == std::string_view::npos;
}

// --- EntrySchema ---

const char* to_text(FieldType type) {
    switch (type) {
        case FieldType::any:
            return "any";
        case FieldType::string:
            return "string";
        case FieldType::integer:
            return "integer";
        case FieldType::number:
            return "number";
        case FieldType::boolean:
            return "boolean";
        case FieldType::array:
            return "array";
        case FieldType::object:
            return "object";
        case FieldType::null:
            return "null";
    }
    return "unknown";
}

struct EntrySchema::Implementation {
    bool flat = false;
    std::vector<FieldSpec> fields;       // as declared
    std::vector<std::uint32_t> by_name;  // indices into `fields`, in the order of an object's keys
    std::shared_ptr<const JsonSchema> json;

    std::optional<SchemaProblem> check_flat(const Value::Object& members) const;
    SchemaProblem missing(const FieldSpec& field) const;
    SchemaProblem unknown(const std::string& name) const;
    std::vector<std::string> names() const;
};

/// Both sides are sorted, so one walk along them finds what is missing, unknown or wrong.
std::optional<SchemaProblem> EntrySchema::Implementation::check_flat(const Value::Object& members) const {
    auto member = members.begin();
    auto next = by_name.begin();
    while (member != members.end() || next != by_name.end()) {
        const FieldSpec* field = next == by_name.end() ? nullptr : &fields[*next];
        const int order = field == nullptr ? -1 : member == members.end() ? 1 : member->first.compare(field->name);
        if (order < 0) return unknown(member->first);
        if (order > 0) {
            if (!field->optional) return missing(*field);
            ++next;
            continue;
        }
        if (std::optional<SchemaProblem> problem = check_field(*field, member->second)) return problem;
        ++member;
        ++next;
    }
    return std::nullopt;
}

SchemaProblem EntrySchema::Implementation::missing(const FieldSpec& field) const {
    return {"", "the field " + in_quotes(field.name) + " is missing; expected " + expected_text(field)};
}

SchemaProblem EntrySchema::Implementation::unknown(const std::string& name) const {
    SchemaProblem problem;
    append_pointer(problem.path, name);
    problem.message = "there is no field " + unknown_text(name, names());
    return problem;
}

std::vector<std::string> EntrySchema::Implementation::names() const {
    std::vector<std::string> names;
    names.reserve(fields.size());
    for (const FieldSpec& field : fields) names.push_back(field.name);
    return names;
}

EntrySchema::EntrySchema() {
    static const auto open = std::make_shared<const Implementation>();
    implementation_ = open;
}
EntrySchema::~EntrySchema() = default;
EntrySchema::EntrySchema(const EntrySchema&) = default;
EntrySchema& EntrySchema::operator=(const EntrySchema&) = default;

EntrySchema EntrySchema::from_fields(std::vector<FieldSpec> fields) {
    auto implementation = std::make_shared<Implementation>();
    implementation->flat = true;
    implementation->fields = std::move(fields);
    const std::vector<FieldSpec>& kept = implementation->fields;
    std::vector<std::uint32_t>& by_name = implementation->by_name;
    for (std::size_t i = 0; i < kept.size(); ++i) by_name.push_back(static_cast<std::uint32_t>(i));
    std::sort(by_name.begin(), by_name.end(),
              [&kept](std::uint32_t a, std::uint32_t b) { return kept[a].name < kept[b].name; });
    assert(std::adjacent_find(by_name.begin(), by_name.end(), [&kept](std::uint32_t a, std::uint32_t b) {
               return kept[a].name == kept[b].name;
           }) == by_name.end());
    EntrySchema schema;
    schema.implementation_ = std::move(implementation);
    return schema;
}

Result<EntrySchema> EntrySchema::from_json_schema(const Value& document) {
    Result<std::shared_ptr<const JsonSchema>> json = JsonSchema::parse(document);
    if (!json) return json.error();
    auto implementation = std::make_shared<Implementation>();
    implementation->json = std::move(*json);
    EntrySchema schema;
    schema.implementation_ = std::move(implementation);
    return schema;
}

Result<FieldSpec> EntrySchema::parse_field(std::string_view name, std::string_view type) {
    FieldSpec field;
    field.name = name;
    std::string_view word = trimmed(type);
    if (!word.empty() && word.back() == '?') {
        field.optional = true;
        word = trimmed(word.substr(0, word.size() - 1));
    }
    if (word.find('|') != std::string_view::npos) return parse_choices(std::move(field), word);
    if (word.size() >= 2 && word.front() == '[' && word.back() == ']') {
        const std::string_view element_word = trimmed(word.substr(1, word.size() - 2));
        const std::optional<FieldType> element = short_form_type(element_word);
        if (!element) return unknown_type(name, element_word);
        field.type = FieldType::array;
        field.element = *element;
        return field;
    }
    const std::optional<FieldType> plain = short_form_type(word);
    if (!plain) return unknown_type(name, word);
    field.type = *plain;
    return field;
}

std::optional<SchemaProblem> EntrySchema::check(const Value& entry) const {
    if (!entry.is_object()) return unfit("", "object", entry);
    if (implementation_->flat) return implementation_->check_flat(entry.as_object());
    if (implementation_->json != nullptr) return implementation_->json->check(entry);
    return std::nullopt;
}

std::optional<FieldType> EntrySchema::type_at(std::string_view dotted_path) const {
    if (implementation_->json != nullptr) return implementation_->json->type_at(dotted_path);
    if (dotted_path.empty()) return FieldType::object;
    if (!implementation_->flat) return FieldType::any;
    std::string_view rest = dotted_path;
    const std::string_view name = next_path_part(rest);
    for (const FieldSpec& field : implementation_->fields) {
        if (field.name == name) return type_below(field.type, field.element, rest);
    }
    return std::nullopt;
}

std::vector<std::string> EntrySchema::field_names() const {
    return implementation_->json != nullptr ? implementation_->json->field_names() : implementation_->names();
}

bool EntrySchema::is_flat() const { return implementation_->flat; }
const std::vector<FieldSpec>& EntrySchema::fields() const { return implementation_->fields; }

Value EntrySchema::document() const {
    if (implementation_->json != nullptr) return implementation_->json->document();
    Value document = Value::object({{"type", "object"}});
    if (!implementation_->flat) return document;
    Value properties = Value::object({});
    Value::Array required;
    for (const FieldSpec& field : implementation_->fields) {
        properties.set(field.name, document_of(field));
        if (!field.optional) required.emplace_back(field.name);
    }
    document.set("properties", std::move(properties));
    document.set("required", std::move(required));
    document.set("additionalProperties", false);
    return document;
}

}  // namespace stele

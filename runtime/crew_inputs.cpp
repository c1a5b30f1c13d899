#include <algorithm>
#include <filesystem>
#include <system_error>

#include "runtime/crew_draft.hpp"

namespace stele {
namespace {

constexpr std::string_view opening = "${inputs.";
constexpr std::string_view environment_escape = "$${env.";
// An input may be long and be used often.
constexpr std::size_t substituted_bytes_max = 8 * limits::crew_text_bytes_max;

enum class InputType { string, path, integer, number, boolean };
const std::vector<std::string>& input_type_words() {
    static const std::vector<std::string> words = {"string", "path", "integer", "number", "boolean"};
    return words;
}

std::string input_called(std::string_view name) { return "input " + in_quotes(name); }

// Relative to the caller's working directory, as a path on the command line is.
std::optional<Value> absolute_path(const std::string& path) {
    std::error_code failure;
    const std::filesystem::path absolute = std::filesystem::absolute(path, failure);
    if (failure) return std::nullopt;
    std::filesystem::path without_dots;
    for (const std::filesystem::path& part : absolute) {
        if (part != ".") without_dots /= part;
    }
    return Value(without_dots.string());
}

std::optional<Value> of_type(InputType type, const YamlNode& scalar) {
    const std::optional<Value> value = scalar_value(scalar);
    switch (type) {
        case InputType::string:
            return Value(scalar.text);
        case InputType::path:
            return absolute_path(scalar.text);
        case InputType::integer:
            return value.has_value() && value->is_int() ? value : std::nullopt;
        case InputType::number:
            return value.has_value() && value->is_number() ? value : std::nullopt;
        case InputType::boolean:
            return value.has_value() && value->is_bool() ? value : std::nullopt;
    }
    return std::nullopt;
}

std::string expected_for(InputType type) {
    switch (type) {
        case InputType::string:
            return "text";
        case InputType::path:
            return "a path";
        case InputType::integer:
            return "an integer";
        case InputType::number:
            return "a number";
        case InputType::boolean:
            return "true or false";
    }
    return {};
}

const CrewInput* given_value(const std::vector<CrewInput>& given, std::string_view name) {
    for (const CrewInput& input : given) {
        if (input.name == name) return &input;
    }
    return nullptr;
}

std::optional<Value> read_given(CrewDraft& draft, const CrewInput& input, InputType type) {
    YamlNode scalar;
    scalar.kind = YamlNode::Kind::scalar;
    scalar.plain = true;
    scalar.text = input.value;
    std::optional<Value> value = first_bad_byte(input.value).has_value() ? std::nullopt : of_type(type, scalar);
    if (!value.has_value()) {
        draft.problems.error(
            {}, "--input " + input.name + "=" + in_quotes(input.value) + ": expected " + expected_for(type));
    }
    return value;
}

std::optional<Value> read_default(CrewDraft& draft, const YamlNode& node, InputType type, std::string_view what) {
    std::optional<Value> value = node.is_scalar() ? of_type(type, node) : std::nullopt;
    if (!value.has_value()) draft.problems.error(node.place, unexpected(what, expected_for(type), node));
    return value;
}

std::optional<Value> read_input(CrewDraft& draft, const YamlMember& member, const std::vector<CrewInput>& given) {
    check_name(member.key, member.place, "an input", draft.problems);
    MapReader map(member.value, input_called(member.key), draft.problems, member.place);
    std::optional<InputType> type;
    if (const YamlNode* word = map.required("type")) {
        const std::optional<std::size_t> index = read_word(*word, map.part("type"), input_type_words(), draft.problems);
        if (index.has_value()) type = static_cast<InputType>(*index);
    }
    const YamlNode* fallback = map.optional("default");
    if (const YamlNode* help = map.optional("help")) read_text(*help, map.part("help"), draft.problems);
    map.finish();
    std::optional<Value> value;
    if (type.has_value() && fallback != nullptr) {
        value = read_default(draft, *fallback, *type, map.part("default"));
    }
    const CrewInput* input = given_value(given, member.key);
    if (input != nullptr) return type.has_value() ? read_given(draft, *input, *type) : std::nullopt;
    if (fallback == nullptr && map.is_map()) {
        draft.problems.error(member.place,
                             map.what() + " has no default and was not given; add --input " + member.key + "=...");
    }
    return value;
}

std::vector<std::string> input_names(const CrewDraft& draft) {
    std::vector<std::string> names;
    for (const auto& [name, value] : draft.inputs) names.push_back(name);
    return names;
}

void check_given_names(CrewDraft& draft, const std::vector<CrewInput>& given) {
    const std::vector<std::string> names = input_names(draft);
    for (std::size_t i = 0; i < given.size(); ++i) {
        const std::string& name = given[i].name;
        if (std::find(names.begin(), names.end(), name) == names.end()) {
            draft.problems.error(
                {}, "--input " + name + ": the crew has no input of that name" + nearest_hint(name, names));
        }
        if (given_value(given, name) != &given[i]) {
            draft.problems.error({}, "--input " + name + " is given twice");
        }
    }
}

// The value of `${inputs.name}`; nothing when there is none, which was or is now reported.
const Value* input_value(CrewDraft& draft, std::string_view name, SourcePlace place) {
    for (const auto& [known, value] : draft.inputs) {
        if (known == name) return value.has_value() ? &*value : nullptr;
    }
    if (draft.inputs_known && !draft.problems.is_full()) {
        draft.problems.error(place, "there is no " + input_called(name) + nearest_hint(name, input_names(draft)));
    }
    return nullptr;
}

// Charges what an input adds to the crew.
bool fits(CrewDraft& draft, std::size_t bytes, SourcePlace place) {
    draft.substituted_bytes += bytes;
    if (draft.substituted_bytes <= substituted_bytes_max) return true;
    draft.problems.error(
        place, "the inputs filled in are longer than " + std::to_string(substituted_bytes_max) + " bytes together");
    return false;
}

}  // namespace

void read_inputs(CrewDraft& draft, const YamlNode* node, const std::vector<CrewInput>& given) {
    if (node != nullptr && !node->is_map()) {
        draft.problems.error(node->place, unexpected("inputs", "a map from name to input", *node));
        draft.inputs_known = false;
        return;
    }
    if (node != nullptr) {
        for (const YamlMember& member : node->members) {
            std::optional<Value> value = read_input(draft, member, given);
            draft.inputs.emplace_back(member.key, std::move(value));
        }
    }
    check_given_names(draft, given);
    for (const auto& [name, value] : draft.inputs) {
        if (value.has_value()) draft.crew.inputs.emplace_back(name, *value);
    }
}

std::optional<std::string> substituted_text(CrewDraft& draft, std::string_view text, SourcePlace place) {
    std::string out;
    bool is_complete = true;
    while (true) {
        const std::size_t at = text.find(opening);
        const std::size_t escape = text.find(environment_escape);
        if (escape < at) {
            out += text.substr(0, escape);
            out += environment_escape.substr(1);
            text.remove_prefix(escape + environment_escape.size());
            continue;
        }
        const std::size_t end = at == std::string_view::npos ? at : text.find('}', at);
        if (end == std::string_view::npos) break;
        if (at > 0 && text[at - 1] == '$') {
            // `$${inputs.x}` is the text `${inputs.x}`.
            out += text.substr(0, at - 1);
            out += text.substr(at, end + 1 - at);
        } else {
            out += text.substr(0, at);
            const std::string_view name = text.substr(at + opening.size(), end - at - opening.size());
            const Value* value = input_value(draft, name, place);
            if (value == nullptr) {
                is_complete = false;
            } else {
                const std::string added = value->is_string() ? value->as_string() : to_json(*value);
                if (!fits(draft, added.size(), place)) return std::nullopt;
                out += added;
            }
        }
        text.remove_prefix(end + 1);
    }
    if (!is_complete) return std::nullopt;
    out += text;
    return out;
}

std::optional<Value> substituted_scalar(CrewDraft& draft, const YamlNode& scalar) {
    const std::string_view text = scalar.text;
    if (text.find(opening) == std::string_view::npos && text.find(environment_escape) == std::string_view::npos) {
        std::optional<Value> value = scalar_value(scalar);
        if (!value.has_value()) {
            draft.problems.error(scalar.place,
                                 "the number " + scalar.text.substr(0, limits::name_bytes_max) +
                                     " is out of range: integers are 64 bits, other numbers finite doubles");
        }
        return value;
    }
    if (text.starts_with(opening) && text.find('}') == text.size() - 1) {
        const std::string_view name = text.substr(opening.size(), text.size() - 1 - opening.size());
        const Value* value = input_value(draft, name, scalar.place);
        if (value == nullptr) return std::nullopt;
        if (value->is_string() && !fits(draft, value->as_string().size(), scalar.place)) return std::nullopt;
        return *value;
    }
    std::optional<std::string> filled = substituted_text(draft, text, scalar.place);
    if (!filled.has_value()) return std::nullopt;
    return Value(std::move(*filled));
}

bool names_environment(std::string_view text) {
    const std::string_view name = environment_escape.substr(1);
    for (std::size_t at = text.find(name); at != std::string_view::npos; at = text.find(name, at + 1)) {
        if (at == 0 || text[at - 1] != '$') return true;
    }
    return false;
}

std::optional<Value> value_from(const YamlNode& node, const ReadScalar& read_scalar) {
    switch (node.kind) {
        case YamlNode::Kind::null:
            return Value();
        case YamlNode::Kind::scalar:
            return read_scalar(node);
        case YamlNode::Kind::list: {
            Value::Array elements;
            bool is_complete = true;
            for (const YamlNode& item : node.items) {
                std::optional<Value> element = value_from(item, read_scalar);
                is_complete = is_complete && element.has_value();
                if (is_complete) elements.push_back(std::move(*element));
            }
            if (!is_complete) return std::nullopt;
            return Value(std::move(elements));
        }
        case YamlNode::Kind::map: {
            std::vector<Value::Member> members;
            bool is_complete = true;
            for (const YamlMember& member : node.members) {
                std::optional<Value> value = value_from(member.value, read_scalar);
                is_complete = is_complete && value.has_value();
                if (is_complete) members.emplace_back(member.key, std::move(*value));
            }
            if (!is_complete) return std::nullopt;
            return Value::object(std::move(members));
        }
    }
    return std::nullopt;
}

std::optional<Value> substituted_value(CrewDraft& draft, const YamlNode& node) {
    return value_from(node, [&draft](const YamlNode& scalar) { return substituted_scalar(draft, scalar); });
}

Value plain_value(const YamlNode& node) {
    switch (node.kind) {
        case YamlNode::Kind::null:
            return {};
        case YamlNode::Kind::scalar:
            return scalar_value(node).value_or(Value(node.text));
        case YamlNode::Kind::list: {
            Value::Array elements;
            for (const YamlNode& item : node.items) elements.push_back(plain_value(item));
            return Value(std::move(elements));
        }
        case YamlNode::Kind::map: {
            std::vector<Value::Member> members;
            for (const YamlMember& member : node.members) members.emplace_back(member.key, plain_value(member.value));
            return Value::object(std::move(members));
        }
    }
    return {};
}

}  // namespace stele

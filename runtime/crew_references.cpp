#include <algorithm>

#include "runtime/crew_draft.hpp"

namespace stele {
namespace {

const std::vector<std::string>& attribute_words() {
    static const std::vector<std::string> words = {"@id", "@version", "@author", "@time"};
    return words;
}

std::optional<Attribute> attribute_from(std::string_view word) {
    if (word == "@id") return Attribute::id;
    if (word == "@version") return Attribute::version;
    if (word == "@author") return Attribute::author;
    if (word == "@time") return Attribute::time;
    return std::nullopt;
}

std::vector<std::string> variable_names(const Scope& scope) {
    std::vector<std::string> names;
    for (const BoundVariable& variable : scope.variables) {
        if (!variable.name.empty()) names.push_back("$" + variable.name);
    }
    return names;
}

std::optional<std::uint32_t> find_variable(CrewDraft& draft, const Scope& scope, std::string_view name,
                                           SourcePlace place) {
    for (std::size_t i = 0; i < scope.variables.size(); ++i) {
        if (scope.variables[i].name == name) return static_cast<std::uint32_t>(i);
    }
    if (!scope.is_incomplete && !draft.problems.is_full()) {
        const std::string variable = "$" + std::string(name);
        const std::vector<std::string> known = variable_names(scope);
        draft.problems.error(
            place,
            "the variable " + in_quotes(variable) + " is not bound before this place" + nearest_hint(variable, known) +
                (known.empty() ? "; bind it with \"each: REGION as " + std::string(name) + "\"" : std::string()));
    }
    return std::nullopt;
}

// Splits `$name` from `.path`; nothing when the name is no identifier.
std::optional<std::string_view> name_in(std::string_view text) {
    const std::string_view name =
        text.substr(1, text.find('.') == std::string_view::npos ? text.npos : text.find('.') - 1);
    if (!is_identifier(name)) return std::nullopt;
    return name;
}

const std::vector<std::string>& result_fields() {
    static const std::vector<std::string> fields = {"text", "data", "is_error"};
    return fields;
}

// Below `data` there may be anything; text and is_error have nothing below them.
bool is_result_path(const FieldPath& path) {
    if (path.attribute != Attribute::content) return false;
    if (path.path.empty() || path.path[0] == "data") return true;
    return path.path.size() == 1 && (path.path[0] == "text" || path.path[0] == "is_error");
}

void report_malformed(CrewDraft& draft, const YamlNode& node) {
    draft.problems.error(node.place, in_quotes(node.text) +
                                         " is no variable such as \"$q\", \"$q.field\" or \"$q.@id\"; " +
                                         "for a text that begins with a dollar, double it: " +
                                         in_quotes("$" + node.text.substr(0, limits::name_bytes_max)));
}

}  // namespace

bool is_reference(const YamlNode& node) {
    return node.is_scalar() && node.text.size() > 1 && node.text[0] == '$' && node.text[1] != '$' &&
           node.text[1] != '{';
}

std::optional<FieldPath> read_path(CrewDraft& draft, std::string_view text, SourcePlace place) {
    FieldPath result;
    if (text.starts_with('@')) {
        const std::optional<Attribute> attribute = attribute_from(text);
        if (!attribute.has_value()) {
            const std::string hint = nearest_hint(text, attribute_words());
            draft.problems.error(place, "entries have no attribute " + in_quotes(text) + hint +
                                            (hint.empty() ? "; expected " : " Expected ") + any_of(attribute_words()));
            return std::nullopt;
        }
        result.attribute = *attribute;
        return result;
    }
    while (true) {
        const std::size_t dot = text.find('.');
        const std::string_view part = text.substr(0, dot);
        if (part.empty() || part.starts_with('@') || part.starts_with('$')) {
            draft.problems.error(place, "a path is fields with dots between them, or one attribute such as \"@id\"");
            return std::nullopt;
        }
        result.path.emplace_back(part);
        if (dot == std::string_view::npos) return result;
        text.remove_prefix(dot + 1);
    }
}

std::optional<VariableRef> read_reference(CrewDraft& draft, const Scope& scope, const YamlNode& node) {
    const std::string_view text = node.text;
    const std::optional<std::string_view> name = is_reference(node) ? name_in(text) : std::nullopt;
    if (!name.has_value()) {
        report_malformed(draft, node);
        return std::nullopt;
    }
    FieldPath path;
    if (name->size() + 1 < text.size()) {
        const std::optional<FieldPath> read = read_path(draft, text.substr(name->size() + 2), node.place);
        if (!read.has_value()) return std::nullopt;
        path = *read;
    }
    const std::optional<std::uint32_t> variable = find_variable(draft, scope, *name, node.place);
    if (!variable.has_value()) return std::nullopt;
    const BoundVariable& bound = scope.variables[*variable];
    if (bound.is_tool_result && !is_result_path(path)) {
        draft.problems.error(node.place, in_quotes(text) + ": the result of a tool has " + any_of(result_fields()) +
                                             ", and no attributes");
        return std::nullopt;
    }
    const RegionSpec* region = bound.region;
    if (region != nullptr && !path.path.empty() && !type_of_field(*region, path.path).has_value()) {
        draft.problems.error(node.place, in_quotes(text) + ": " + no_such_field(*region, path.path));
        return std::nullopt;
    }
    VariableRef reference;
    reference.variable = *variable;
    reference.attribute = path.attribute;
    reference.path = std::move(path.path);
    return reference;
}

std::optional<std::uint32_t> read_variable(CrewDraft& draft, const Scope& scope, const YamlNode& node,
                                           std::string_view what) {
    const std::optional<std::string_view> name = is_reference(node) ? name_in(node.text) : std::nullopt;
    if (!name.has_value() || name->size() + 1 != node.text.size()) {
        draft.problems.error(node.place, unexpected(what, "a variable such as \"$q\"", node));
        return std::nullopt;
    }
    const std::optional<std::uint32_t> variable = find_variable(draft, scope, *name, node.place);
    if (variable.has_value() && scope.variables[*variable].is_tool_result) {
        draft.problems.error(node.place, std::string(what) + ": " + in_quotes(node.text) +
                                             " is what the tool answered, and no entry of the board");
        return std::nullopt;
    }
    return variable;
}

TypeFact type_of_reference(const Scope& scope, const VariableRef& reference) {
    if (reference.variable >= scope.variables.size()) return {};
    const BoundVariable& variable = scope.variables[reference.variable];
    if (reference.attribute != Attribute::content || reference.path.empty()) {
        return type_of_attribute(reference.attribute);
    }
    if (variable.is_tool_result) {
        TypeFact fact;
        fact.may_be_absent = true;
        if (reference.path.size() == 1 && reference.path[0] == "text") fact.type = FieldType::string;
        if (reference.path.size() == 1 && reference.path[0] == "is_error") fact.type = FieldType::boolean;
        return fact;
    }
    if (variable.region == nullptr) return {};
    return type_of_field(*variable.region, reference.path).value_or(TypeFact{});
}

std::optional<Value> read_literal(CrewDraft& draft, const YamlNode& scalar) {
    if (!scalar.text.starts_with("$$")) return substituted_scalar(draft, scalar);
    const std::string_view text = scalar.text;
    // `$${inputs.x}` and `$${env.X}` are escapes of their own, and leave one dollar as well.
    if (text.starts_with("$${inputs.") || text.starts_with("$${env.")) return substituted_scalar(draft, scalar);
    std::optional<std::string> rest = substituted_text(draft, text.substr(2), scalar.place);
    if (!rest.has_value()) return std::nullopt;
    return Value("$" + *rest);
}

std::optional<Value> read_whole_literal(CrewDraft& draft, const YamlNode& node) {
    return value_from(node, [&draft](const YamlNode& scalar) -> std::optional<Value> {
        if (!is_reference(scalar)) return read_literal(draft, scalar);
        draft.problems.error(scalar.place, "the variable " + in_quotes(scalar.text) +
                                               " cannot stand inside a list or map here; for a dollar, double it");
        return std::nullopt;
    });
}

}  // namespace stele

#include "board/json_schema_paths.hpp"

#include "board/json_schema.hpp"

#include <algorithm>
#include <charconv>
#include <set>
#include <vector>

namespace stele {

namespace {

std::vector<std::string> types_of(const Value& schema) {
    std::vector<std::string> types;
    const Value* type = schema.find("type");
    if (type == nullptr) return types;
    if (type->is_string()) return {type->as_string()};
    for (const Value& word : type->as_array()) types.push_back(word.as_string());
    return types;
}

FieldType plain_type(std::vector<std::string> types) {
    std::erase(types, "null");
    const bool numeric = std::all_of(types.begin(), types.end(),
                                     [](const std::string& type) { return type == "number" || type == "integer"; });
    if (types.size() == 2 && numeric) return FieldType::number;
    return types.size() == 1 ? field_type_from(types.front()).value_or(FieldType::any) : FieldType::any;
}

FieldType plain_type_of(const Value& schema) {
    const std::vector<std::string> types = types_of(schema);
    if (types.size() == 1) return field_type_from(types.front()).value_or(FieldType::any);
    if (!types.empty()) return plain_type(types);
    const Value* choices = schema.find("enum");
    if (choices == nullptr) return FieldType::any;
    std::set<std::string> kinds;
    for (const Value& choice : choices->as_array()) kinds.insert(choice.type_name());
    return plain_type({kinds.begin(), kinds.end()});
}

/// A schema, or word that there is none: anything goes (`open`), or nothing does.
struct Below {
    const Value* schema = nullptr;
    bool open = true;
};

Below undeclared_field(const Value& schema) {
    if (schema.find("patternProperties") != nullptr) return {};
    const Value* extras = schema.find("additionalProperties");
    if (extras == nullptr) return {};
    if (extras->is_bool()) return {nullptr, extras->as_bool()};
    return {extras};
}

Below part_below(const Value& schema, const std::string& part) {
    const std::vector<std::string> types = types_of(schema);
    const auto may_be = [&types](const char* type) {
        return types.empty() || std::find(types.begin(), types.end(), type) != types.end();
    };
    const Value* properties = schema.find("properties");
    const Value* field = properties == nullptr ? nullptr : properties->find(part);
    if (may_be("object") && field != nullptr) return {field};
    const bool item = may_be("array") && is_index(part);
    if (may_be("object")) return item ? Below() : undeclared_field(schema);
    if (!item) return {nullptr, false};
    const Value* items = schema.find("items");
    return {items == nullptr || items->is_array() ? nullptr : items};
}

}  // namespace

std::optional<FieldType> type_along(const Value& document, std::string_view dotted_path) {
    if (dotted_path.empty()) return FieldType::object;  // every entry is one
    const Value* schema = &resolved_schema(document, document);
    while (!dotted_path.empty() && schema->is_object()) {
        const Below below = part_below(*schema, std::string(next_path_part(dotted_path)));
        if (below.schema == nullptr) return below.open ? std::optional(FieldType::any) : std::nullopt;
        schema = &resolved_schema(document, *below.schema);
    }
    if (schema->is_bool()) return schema->as_bool() ? std::optional(FieldType::any) : std::nullopt;
    return plain_type_of(*schema);
}

const Value& resolved_schema(const Value& document, const Value& schema) {
    const Value* reference = schema.find("$ref");
    if (reference == nullptr || !reference->is_string()) return schema;
    std::string unused;
    const JsonTarget target = follow_reference(document, reference->as_string(), unused);
    return target.schema == nullptr ? schema : *target.schema;
}

namespace {

std::string percent_decoded(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        unsigned code = 0;
        const char* const digits = text.data() + i + 1;
        const bool escape =
            text[i] == '%' && i + 2 < text.size() && std::from_chars(digits, digits + 2, code, 16).ptr == digits + 2;
        out += escape ? static_cast<char>(code) : text[i];
        if (escape) i += 2;
    }
    return out;
}

std::string pointer_part(std::string_view escaped) {
    std::string out;
    for (std::size_t i = 0; i < escaped.size(); ++i) {
        const char next = escaped[i] == '~' && i + 1 < escaped.size() ? escaped[i + 1] : ' ';
        const bool escape = next == '0' || next == '1';
        out += !escape ? escaped[i] : next == '0' ? '~' : '/';
        if (escape) ++i;
    }
    return out;
}

}  // namespace

const Value* step_into(const Value& from, const std::string& part) {
    if (from.is_object()) return from.find(part);
    std::size_t index = 0;
    if (!from.is_array() || !is_index(part)) return nullptr;
    const auto parsed = std::from_chars(part.data(), part.data() + part.size(), index);
    return parsed.ec == std::errc() && index < from.as_array().size() ? &from.as_array()[index] : nullptr;
}

JsonTarget follow_reference(const Value& document, const std::string& reference, std::string& refusal) {
    std::string next = reference;
    for (std::size_t hops = 0; hops <= json_definitions_max; ++hops) {
        if (next.empty() || next.front() != '#') {
            refusal = "leads out of the document; only references like #/definitions/name are followed";
            return {};
        }
        const std::string path = percent_decoded(std::string_view(next).substr(1));
        if (!path.empty() && path.front() != '/') {
            refusal = "names an anchor; only references like #/definitions/name are followed";
            return {};
        }
        JsonTarget target = {&document, ""};
        for (std::size_t at = 0; at < path.size() && target.schema != nullptr;) {
            const std::size_t end = std::min(path.find('/', at + 1), path.size());
            const std::string part = pointer_part(std::string_view(path).substr(at + 1, end - at - 1));
            append_pointer(target.pointer, part);
            target.schema = step_into(*target.schema, part);
            at = end;
        }
        if (target.schema == nullptr) {
            refusal = "leads nowhere: there is no " + target.pointer;
            return {};
        }
        const Value* onward = target.schema->find("$ref");
        if (onward == nullptr || !onward->is_string()) return target;
        next = onward->as_string();
    }
    refusal = "leads in a circle";
    return {};
}

}  // namespace stele

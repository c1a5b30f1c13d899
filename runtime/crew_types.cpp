#include "runtime/crew_draft.hpp"

namespace stele {

std::string with_article(FieldType type) {
    switch (type) {
        case FieldType::any:
            return "any value";
        case FieldType::string:
            return "a string";
        case FieldType::integer:
            return "an integer";
        case FieldType::number:
            return "a number";
        case FieldType::boolean:
            return "a boolean";
        case FieldType::array:
            return "a list";
        case FieldType::object:
            return "an object";
        case FieldType::null:
            return "null";
    }
    return {};
}

TypeFact type_of_value(const Value& value) {
    TypeFact fact;
    if (value.is_null()) fact.type = FieldType::null;
    if (value.is_bool()) fact.type = FieldType::boolean;
    if (value.is_int()) fact.type = FieldType::integer;
    if (value.is_double()) fact.type = FieldType::number;
    if (value.is_string()) fact.type = FieldType::string;
    if (value.is_object()) fact.type = FieldType::object;
    if (value.is_array()) {
        fact.type = FieldType::array;
        const Value::Array& elements = value.as_array();
        if (!elements.empty()) fact.element = type_of_value(elements[0]).type;
        for (const Value& element : elements) {
            if (type_of_value(element).type != fact.element) fact.element = FieldType::any;
        }
    }
    return fact;
}

TypeFact type_of_attribute(Attribute attribute) {
    TypeFact fact;
    switch (attribute) {
        case Attribute::content:
            fact.type = FieldType::object;
            break;
        case Attribute::id:
        case Attribute::author:
            fact.type = FieldType::string;
            break;
        case Attribute::version:
        case Attribute::time:
            fact.type = FieldType::integer;
            break;
    }
    return fact;
}

std::optional<TypeFact> type_of_field(const RegionSpec& region, const std::vector<std::string>& path) {
    TypeFact fact;
    const std::optional<FieldType> type = region.schema.type_at(joined_path(path));
    if (!type.has_value()) return std::nullopt;
    fact.type = *type;
    fact.may_be_absent = true;
    if (!region.schema.is_flat() || path.size() != 1) return fact;
    for (const FieldSpec& field : region.schema.fields()) {
        if (field.name != path[0]) continue;
        fact.element = field.element;
        fact.choices = field.choices;
        fact.may_be_absent = field.optional;
    }
    return fact;
}

bool may_be_number(FieldType type) {
    return type == FieldType::any || type == FieldType::integer || type == FieldType::number;
}

bool may_be_equal(FieldType a, FieldType b) {
    if (a == b || a == FieldType::any || b == FieldType::any) return true;
    return may_be_number(a) && may_be_number(b);
}

std::string joined_path(const std::vector<std::string>& path) {
    std::string joined;
    for (const std::string& part : path) {
        if (!joined.empty()) joined += '.';
        joined += part;
    }
    return joined;
}

std::string no_such_field(const RegionSpec& region, const std::vector<std::string>& path) {
    constexpr std::size_t fields_listed_max = 8;
    const std::vector<std::string> fields = region.schema.field_names();
    const std::string name = joined_path(path);
    std::string message = "region " + in_quotes(region.name) + " has no field " + in_quotes(name);
    const std::string hint = nearest_hint(name, fields);
    if (!hint.empty()) return message + hint;
    if (fields.empty() || fields.size() > fields_listed_max) return message;
    return message + "; it has " + any_of(fields);
}

}  // namespace stele

#include "board/json_schema_rewriter.hpp"

#include "board/json_schema.hpp"
#include "board/json_schema_paths.hpp"
#include "board/limits.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace stele {

namespace {

constexpr std::size_t references_in_place_max = 32;

std::string in_quotes(std::string_view text) { return to_json(Value(text)); }

enum class Shape { rule, schema, schemas, schema_map, items, extras, dependencies, unused, later_draft };

struct Keyword {
    std::string_view name;
    Shape shape;
    /// Applied to the same value rather than to a part of it: a circle of these would never end.
    bool in_place = false;
};

constexpr Keyword keywords[] = {
    {"$defs", Shape::unused},
    {"$dynamicRef", Shape::later_draft},
    {"$recursiveRef", Shape::later_draft},
    {"additionalItems", Shape::extras},
    {"additionalProperties", Shape::extras},
    {"allOf", Shape::schemas, true},
    {"anyOf", Shape::schemas, true},
    {"const", Shape::rule},
    {"contains", Shape::schema},
    {"definitions", Shape::unused},
    {"dependencies", Shape::dependencies, true},
    {"dependentRequired", Shape::later_draft},
    {"dependentSchemas", Shape::later_draft},
    {"else", Shape::schema, true},
    {"enum", Shape::rule},
    {"exclusiveMaximum", Shape::rule},
    {"exclusiveMinimum", Shape::rule},
    {"format", Shape::rule},
    {"if", Shape::schema, true},
    {"items", Shape::items},
    {"maxContains", Shape::later_draft},
    {"maxItems", Shape::rule},
    {"maxLength", Shape::rule},
    {"maxProperties", Shape::rule},
    {"maximum", Shape::rule},
    {"minContains", Shape::later_draft},
    {"minItems", Shape::rule},
    {"minLength", Shape::rule},
    {"minProperties", Shape::rule},
    {"minimum", Shape::rule},
    {"multipleOf", Shape::rule},
    {"not", Shape::schema, true},
    {"oneOf", Shape::schemas, true},
    {"pattern", Shape::rule},
    {"patternProperties", Shape::schema_map},
    {"prefixItems", Shape::later_draft},
    {"properties", Shape::schema_map},
    {"propertyNames", Shape::schema},
    {"required", Shape::rule},
    {"then", Shape::schema, true},
    {"type", Shape::rule},
    {"unevaluatedItems", Shape::later_draft},
    {"unevaluatedProperties", Shape::later_draft},
    {"uniqueItems", Shape::rule},
};

const Keyword* find_keyword(std::string_view name) {
    for (const Keyword& keyword : keywords) {
        if (keyword.name == name) return &keyword;
    }
    return nullptr;
}

/// Stops working at the first mistake.
class Rewriter {
public:
    explicit Rewriter(const Value& document) : document_(document) {}

    RewrittenJsonSchema rewrite() {
        define({&document_, ""});
        Value definitions = empty_object();
        for (std::size_t i = 0; i < targets_.size() && refusal_.empty(); ++i) {
            const JsonTarget target = targets_[i];
            definitions.set(std::to_string(i), schema(*target.schema, {target.pointer, i, true}));
        }
        if (refusal_.empty()) refuse_endless();
        RewrittenJsonSchema rewritten;
        rewritten.document.set("$ref", "#/definitions/0");
        rewritten.document.set("definitions", std::move(definitions));
        rewritten.rules = std::move(rules_);
        rewritten.uses_pattern_properties = uses_pattern_properties_;
        rewritten.refusal = std::move(refusal_);
        return rewritten;
    }

private:
    struct Place {
        std::string pointer;
        std::size_t definition = 0;
        bool in_place = false;  // nothing but in-place keywords between here and the definition

        Place below(std::string_view part, bool stays) const {
            Place place = {pointer, definition, in_place && stays};
            append_pointer(place.pointer, part);
            return place;
        }
    };

    Value schema(const Value& node, const Place& place) {
        if (!refusal_.empty()) return {};
        constexpr auto parts_max = static_cast<std::ptrdiff_t>(2 * limits::json_depth_max);
        if (std::count(place.pointer.begin(), place.pointer.end(), '/') > parts_max) {
            refuse(place, "is nested too deeply");
            return {};
        }
        if (node.is_bool()) return boolean_schema(node.as_bool());
        if (!node.is_object()) {
            refuse(place, std::string("is no schema: expected an object, true or false, found ") + found_text(node));
            return {};
        }
        if (const Value* reference = node.find("$ref")) return reference_to(*reference, place);
        JsonRules rules;
        Value out = empty_object();
        for (const auto& [name, argument] : node.as_object()) {
            const Keyword* keyword = find_keyword(name);
            if (keyword == nullptr) continue;
            const Place inside = place.below(name, keyword->in_place);
            if (keyword->shape == Shape::rule) {
                if (const auto wrong = rules.load(name, argument, node)) refuse(inside, *wrong);
            } else {
                load(*keyword, argument, inside, out);
            }
        }
        close(node, rules, out);
        add_rules(std::move(rules), out);
        return out;
    }

    void load(const Keyword& keyword, const Value& argument, const Place& place, Value& out) {
        const std::string_view name = keyword.name;
        switch (keyword.shape) {
            case Shape::schema:
                out.set(name, schema(argument, place));
                return;
            case Shape::schemas:
                out.set(name, schemas(argument, place));
                return;
            case Shape::schema_map:
                out.set(name, schema_map(name, argument, place));
                return;
            case Shape::dependencies:
                out.set(name, dependencies(argument, place));
                return;
            case Shape::unused:
                schema_map(name, argument, place);
                return;
            case Shape::later_draft:
                refuse(place, "is of a later draft; drafts 4 to 7 are understood");
                return;
            case Shape::rule:
                return;
            case Shape::items:
                if (argument.is_array()) {
                    out.set(name, schemas(argument, place));
                } else {
                    out.set(name, schema(argument, place));
                }
                return;
            case Shape::extras:
                if (argument.is_bool() && argument.as_bool()) {
                    out.set(name, true);
                } else {
                    out.set(name, schema(argument, place));
                }
                return;
        }
    }

    Value schemas(const Value& argument, const Place& place) {
        Value::Array out;
        if (!argument.is_array() || argument.as_array().empty()) {
            refuse(place, "takes an array of at least one schema, not " + found_text(argument));
            return out;
        }
        for (std::size_t i = 0; i < argument.as_array().size(); ++i) {
            out.push_back(schema(argument.as_array()[i], place.below(std::to_string(i), true)));
        }
        return out;
    }

    Value schema_map(std::string_view keyword, const Value& argument, const Place& place) {
        Value out = empty_object();
        if (!argument.is_object()) {
            refuse(place, "takes an object of schemas, not " + found_text(argument));
            return out;
        }
        const bool patterns = keyword == "patternProperties";
        uses_pattern_properties_ = uses_pattern_properties_ || patterns;
        for (const auto& [name, member] : argument.as_object()) {
            const Place inside = place.below(name, false);
            if (has_nul(name)) refuse(inside, "has a name with U+0000 in it, which cannot be checked");
            if (patterns) {
                if (const auto wrong = refuse_name_pattern(name)) refuse(inside, *wrong);
            }
            out.set(name, schema(member, inside));
        }
        return out;
    }

    Value dependencies(const Value& argument, const Place& place) {
        Value out = empty_object();
        if (!argument.is_object()) {
            refuse(place, "takes an object of schemas or arrays of field names, not " + found_text(argument));
            return out;
        }
        for (const auto& [name, member] : argument.as_object()) {
            const Place inside = place.below(name, true);
            if (has_nul(name)) refuse(inside, "has a name with U+0000 in it, which cannot be checked");
            if (!member.is_array()) {
                out.set(name, schema(member, inside));
                continue;
            }
            Value::Array names;
            for (const Value& needed : member.as_array()) {
                if (!needed.is_string() || has_nul(needed.as_string())) {
                    refuse(inside, "takes field names, not " + found_text(needed));
                    return out;
                }
                names.push_back(needed);
            }
            out.set(name, std::move(names));
        }
        return out;
    }

    Value boolean_schema(bool allows) {
        Value out = empty_object();
        if (allows) return out;
        JsonRules rules;
        rules.never = true;
        add_rules(std::move(rules), out);
        return out;
    }

    Value reference_to(const Value& reference, const Place& place) {
        if (!reference.is_string()) {
            refuse(place, "has a $ref that is no text but " + found_text(reference));
            return {};
        }
        std::string why_not;
        const JsonTarget target = follow_reference(document_, reference.as_string(), why_not);
        if (target.schema == nullptr) {
            refuse(place, "has the $ref " + in_quotes(reference.as_string()) + ", which " + why_not);
            return {};
        }
        const std::size_t definition = define(target);
        if (place.in_place) in_place_[place.definition].insert(definition);
        Value out = empty_object();
        out.set("$ref", "#/definitions/" + std::to_string(definition));
        return out;
    }

    std::size_t define(const JsonTarget& target) {
        const auto [known, added] = definition_at_.emplace(target.pointer, targets_.size());
        if (added) {
            targets_.push_back(target);
            in_place_.emplace_back();
            if (targets_.size() > json_definitions_max) refusal_ = "the JSON Schema has too many references.";
        }
        return known->second;
    }

    /// With no patterns about, the names that a closed object may have are a plain list, and the
    /// complaint can name the nearest.
    void close(const Value& node, JsonRules& rules, Value& out) {
        const Value* extras = node.find("additionalProperties");
        if (extras == nullptr || !extras->is_bool() || extras->as_bool()) return;
        if (node.find("patternProperties") != nullptr) return;
        out.set("additionalProperties", true);
        rules.known_names.emplace();
        const Value* properties = node.find("properties");
        if (properties != nullptr && properties->is_object()) {
            for (const auto& [name, unused] : properties->as_object()) rules.known_names->push_back(name);
        }
    }

    void add_rules(JsonRules rules, Value& out) {
        out.set(json_rules_keyword, static_cast<std::int64_t>(rules_.size()));
        rules_.push_back(std::make_unique<const JsonRules>(std::move(rules)));
    }

    /// A definition that refers to itself without going into a part of the value cannot be decided.
    void refuse_endless() {
        std::vector<std::size_t> height(targets_.size(), 0);
        // In a circle some height grows in every round.
        for (std::size_t round = 0; round <= references_in_place_max; ++round) {
            bool grew = false;
            for (std::size_t from = 0; from < targets_.size(); ++from) {
                for (const std::size_t to : in_place_[from]) {
                    if (height[from] > height[to]) continue;
                    height[from] = height[to] + 1;
                    grew = true;
                }
            }
            if (!grew) break;
        }
        const auto worst = std::max_element(height.begin(), height.end());
        if (*worst <= references_in_place_max) return;
        refuse({targets_[static_cast<std::size_t>(worst - height.begin())].pointer, 0, false},
               "refers to itself without going into a field or item, or through more than " +
                   std::to_string(references_in_place_max) + " references");
    }

    static Value empty_object() { return Value::object({}); }
    static bool has_nul(const std::string& text) { return text.find('\0') != std::string::npos; }

    void refuse(const Place& place, const std::string& what) {
        if (!refusal_.empty()) return;
        refusal_ = "the JSON Schema is malformed: ";
        refusal_ += (place.pointer.empty() ? "the document" : place.pointer) + " " + what;
        if (refusal_.back() != '?' && refusal_.back() != '.') refusal_ += ".";
    }

    const Value& document_;
    std::vector<JsonTarget> targets_;
    std::map<std::string, std::size_t> definition_at_;
    std::vector<std::set<std::size_t>> in_place_;  // per definition: those it refers to in place
    std::vector<std::unique_ptr<const JsonRules>> rules_;
    bool uses_pattern_properties_ = false;
    std::string refusal_;
};

}  // namespace

RewrittenJsonSchema rewrite_json_schema(const Value& document) { return Rewriter(document).rewrite(); }

}  // namespace stele

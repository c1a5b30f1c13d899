#include "board/json_schema.hpp"

#include "board/json_schema_paths.hpp"
#include "board/json_schema_rewriter.hpp"
#include "board/json_schema_rules.hpp"
#include "board/limits.hpp"

// Without it the library ends the process where it would throw.
#define VALIJSON_USE_EXCEPTIONS 1

#include <boost/json.hpp>
#include <valijson/adapters/boost_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validator.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace stele {

namespace {

namespace json = boost::json;
using valijson::adapters::Adapter;
using valijson::adapters::BoostJsonAdapter;

/// The library's matcher for names of `patternProperties` recurses once per letter.
constexpr std::size_t pattern_name_bytes_max = 256;
/// Past these nobody learns more, and a large entry could have millions.
constexpr std::size_t problems_max = 64;

std::string in_quotes(std::string_view text) { return to_json(Value(text)); }

// --- our constraint inside the library ---

Value value_of(const Adapter& adapter) {
    if (adapter.isString()) return Value(adapter.asString());
    if (adapter.isInteger()) return Value(adapter.asInteger());
    if (adapter.isDouble()) return Value::number(adapter.asDouble());
    if (adapter.isBool()) return Value(adapter.asBool());
    if (adapter.isArray()) {
        Value::Array items;
        adapter.applyToArray([&items](const Adapter& item) {
            items.push_back(value_of(item));
            return true;
        });
        return Value(std::move(items));
    }
    std::vector<Value::Member> members;
    if (!adapter.isObject()) return Value();
    adapter.applyToObject([&members](const std::string& name, const Adapter& member) {
        members.emplace_back(name, value_of(member));
        return true;
    });
    return Value::object(std::move(members));
}

const char* type_name_of(const Adapter& adapter) {
    if (adapter.isString()) return "string";
    if (adapter.isInteger()) return "integer";
    if (adapter.isDouble()) return "number";
    if (adapter.isBool()) return "boolean";
    if (adapter.isArray()) return "array";
    return adapter.isObject() ? "object" : "null";
}

/// Thrown by us through the library once there are `problems_max` of them.
struct Enough {};

struct Complaint {
    std::string field;  // empty: the value itself
    std::string message;
};

class RulesConstraint : public valijson::constraints::PolyConstraint {
public:
    explicit RulesConstraint(const JsonRules* rules) : rules_(rules) {}

    bool validate(const Adapter& target, const std::vector<std::string>& context,
                  valijson::ValidationResults* results) const override {
        const std::optional<Complaint> complaint = judge(target);
        if (!complaint) return true;
        if (results == nullptr) return false;
        if (results->numErrors() >= problems_max) throw Enough{};
        std::vector<std::string> place = context;
        if (!complaint->field.empty()) place.push_back("[" + complaint->field + "]");
        results->pushError(place, complaint->message);
        return false;
    }

private:
    std::optional<Complaint> judge(const Adapter& target) const {
        if (rules_->never) return Complaint{"", "nothing is allowed here, found " + found_text(value_of(target))};
        if (!rules_->types.empty() && !rules_->fits_type(type_name_of(target))) {
            return expected(rules_->type_expected(), target);
        }
        const bool scalar = !target.isArray() && !target.isObject();
        if (!rules_->only_type() && (scalar || rules_->compares_whole())) {
            if (const auto wanted = rules_->judge(value_of(target))) return expected(*wanted, target);
        }
        if (target.isArray()) {
            if (const auto wanted = rules_->judge_size(JsonRules::Measure::items, target.getArraySize())) {
                return expected(*wanted, target);
            }
        }
        return target.isObject() ? judge_object(target) : std::nullopt;
    }

    std::optional<Complaint> judge_object(const Adapter& target) const {
        if (const auto wanted = rules_->judge_size(JsonRules::Measure::fields, target.getObjectSize())) {
            return expected(*wanted, target);
        }
        if (rules_->required.empty() && !rules_->known_names) return std::nullopt;
        const auto& object = static_cast<const BoostJsonAdapter&>(target).getObject();
        for (const std::string& name : rules_->required) {
            if (object.find(name) == object.end()) {
                return Complaint{"", "the field " + in_quotes(name) + " is missing"};
            }
        }
        if (!rules_->known_names) return std::nullopt;
        for (const auto& member : object) {
            const std::vector<std::string>& known = *rules_->known_names;
            if (!std::binary_search(known.begin(), known.end(), member.first)) {
                return Complaint{member.first, "there is no field " + unknown_text(member.first, known)};
            }
        }
        return std::nullopt;
    }

    static Complaint expected(const std::string& what, const Adapter& target) {
        return Complaint{"", "expected " + what + ", found " + found_text(value_of(target))};
    }

    Constraint* cloneInto(void* place) const override { return new (place) RulesConstraint(rules_); }
    std::size_t sizeOf() const override { return sizeof(RulesConstraint); }

    const JsonRules* rules_;
};

class RulesBuilder : public valijson::ConstraintBuilder {
public:
    explicit RulesBuilder(const std::vector<std::unique_ptr<const JsonRules>>& rules) : rules_(rules) {}
    valijson::constraints::Constraint* make(const Adapter& index) const override {
        return new RulesConstraint(rules_[static_cast<std::size_t>(index.asInteger())].get());
    }

private:
    const std::vector<std::unique_ptr<const JsonRules>>& rules_;
};

// --- from our values to the library's ---

/// The library reads texts up to the first U+0000, so entries with one are not handed to it.
class Converter {
public:
    Converter(json::storage_ptr storage, std::size_t name_bytes_max)
        : storage_(std::move(storage)), name_bytes_max_(name_bytes_max) {}

    json::value convert(const Value& value) {
        if (value.is_string()) {
            check_text(value.as_string());
            return json::value(json::string_view(value.as_string()), storage_);
        }
        if (value.is_int()) return json::value(value.as_int(), storage_);
        if (value.is_double()) return json::value(value.as_double(), storage_);
        if (value.is_bool()) return json::value(value.as_bool(), storage_);
        if (value.is_array()) return convert_array(value.as_array());
        if (value.is_object()) return convert_object(value.as_object());
        return json::value(nullptr, storage_);
    }

    std::optional<SchemaProblem> take_problem() { return std::move(problem_); }

private:
    json::value convert_array(const Value::Array& items) {
        json::array out(storage_);
        out.reserve(items.size());
        for (std::size_t i = 0; i < items.size() && !problem_; ++i) {
            out.push_back(convert(items[i]));
            if (problem_) prefix(std::to_string(i));
        }
        return out;
    }

    json::value convert_object(const Value::Object& members) {
        json::object out(storage_);
        out.reserve(members.size());
        for (const auto& [name, member] : members) {
            check_text(name);
            if (name.size() > name_bytes_max_ && !problem_) {
                problem_ = {"", "has a name of more than " + std::to_string(name_bytes_max_) +
                                    " bytes, which is too long to be held against patternProperties"};
            }
            if (!problem_) out.emplace(name, convert(member));
            if (problem_) {
                prefix(name);
                return out;
            }
        }
        return out;
    }

    void check_text(const std::string& text) {
        if (text.find('\0') == std::string::npos || problem_) return;
        problem_ = {"", "holds U+0000, which cannot be checked against a JSON Schema"};
    }

    void prefix(std::string_view part) {
        std::string path;
        append_pointer(path, part);
        problem_->path.insert(0, path);
    }

    json::storage_ptr storage_;
    std::size_t name_bytes_max_;
    std::optional<SchemaProblem> problem_;
};

// --- from the library's findings to a sentence ---

using Finding = valijson::ValidationResults::Error;

/// The part of the entry where a finding is, and its JSON Pointer.
std::string locate(const Finding& finding, const Value& entry, const Value*& found) {
    std::string pointer;
    found = &entry;
    for (std::size_t i = 1; i < finding.context.size(); ++i) {
        const std::string& bracketed = finding.context[i];
        const std::string part = bracketed.substr(1, bracketed.size() - 2);
        append_pointer(pointer, part);
        if (found != nullptr) found = step_into(*found, part);
    }
    return pointer;
}

bool is_prefix(const std::vector<std::string>& whole, const std::vector<std::string>& longer) {
    return whole.size() <= longer.size() && std::equal(whole.begin(), whole.end(), longer.begin());
}

/// The library's own sentences, told as what was expected; empty: ours already.
std::string expectation(std::string_view description) {
    if (description.starts_with("Failed to validate against any")) return "a value that fits one of the alternatives";
    if (description.starts_with("Failed to validate against exactly one")) {
        return "a value that fits exactly one of the alternatives, not several";
    }
    if (description.starts_with("Target should not validate")) return "a value that does not fit the schema under not";
    if (description.starts_with("Failed to any values")) return "at least one item that fits the schema under contains";
    if (description.starts_with("Failed to validate against schema associated")) return "other field names in it";
    if (description.starts_with("Missing dependency")) {
        const std::size_t quote = description.find('\'');
        const std::size_t end = description.rfind('\'');
        return "the field " + in_quotes(description.substr(quote + 1, end - quote - 1)) + " beside the others";
    }
    if (description.starts_with("Failed to") || description.starts_with("Array contains")) {
        return "a value that fits its schema";
    }
    return {};
}

SchemaProblem told(const Finding& finding, const Value& entry) {
    const Value* found = nullptr;
    SchemaProblem problem = {locate(finding, entry, found), finding.description};
    const std::string expected = expectation(finding.description);
    if (expected.empty()) return problem;
    problem.message = "expected " + expected;
    if (found != nullptr) problem.message += ", found " + found_text(*found);
    return problem;
}

/// The library lists the deepest finding first. Where that is the complaint of one alternative of
/// several, the choice between them is the problem, and the finding only a hint.
SchemaProblem first_problem(const valijson::ValidationResults& results, const Value& entry) {
    if (results.numErrors() == 0) return {"", "the entry does not fit the JSON Schema"};
    const Finding& first = *results.begin();
    for (const Finding& finding : results) {
        const bool alternatives = finding.description.starts_with("Failed to validate against any");
        if (!alternatives || &finding == &first || !is_prefix(finding.context, first.context)) continue;
        SchemaProblem problem = told(finding, entry);
        const SchemaProblem hint = told(first, entry);
        const std::string where = hint.path.empty() ? "" : " at " + hint.path;
        problem.message += " (the first fails" + where + ": " + hint.message + ")";
        return problem;
    }
    return told(first, entry);
}

}  // namespace

struct JsonSchema::Implementation {
    Value document;
    std::vector<std::unique_ptr<const JsonRules>> rules;  // outlives `schema`, which points into it
    valijson::Schema schema;
    std::size_t name_bytes_max = limits::entry_bytes_max;
};

Result<std::shared_ptr<const JsonSchema>> JsonSchema::parse(const Value& document) {
    try {
        auto implementation = std::make_unique<Implementation>();
        implementation->document = document;
        RewrittenJsonSchema rewritten = rewrite_json_schema(document);
        if (!rewritten.refusal.empty()) return Error{ErrorCode::invalid_argument, rewritten.refusal};
        implementation->rules = std::move(rewritten.rules);
        if (rewritten.uses_pattern_properties) implementation->name_bytes_max = pattern_name_bytes_max;

        valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
        parser.addConstraintBuilder(std::string(json_rules_keyword), new RulesBuilder(implementation->rules));
        const json::value converted = Converter({}, limits::entry_bytes_max).convert(rewritten.document);
        parser.populateSchema(BoostJsonAdapter(converted), implementation->schema);
        return std::shared_ptr<const JsonSchema>(new JsonSchema(std::move(implementation)));
    } catch (const std::exception& failure) {
        return Error{ErrorCode::invalid_argument,
                     std::string("the JSON Schema could not be read: ") + failure.what() + "."};
    }
}

JsonSchema::JsonSchema(std::unique_ptr<const Implementation> implementation)
    : implementation_(std::move(implementation)) {}
JsonSchema::~JsonSchema() = default;

std::optional<SchemaProblem> JsonSchema::check(const Value& entry) const {
    valijson::ValidationResults results;
    try {
        std::array<unsigned char, 8'192> buffer;
        json::monotonic_resource memory(buffer.data(), buffer.size());
        Converter converter(&memory, implementation_->name_bytes_max);
        const json::value converted = converter.convert(entry);
        if (std::optional<SchemaProblem> problem = converter.take_problem()) return problem;

        // Collecting findings is slow and most entries have none. The validator keeps state: one per check.
        const BoostJsonAdapter target(converted);
        if (valijson::Validator().validate(implementation_->schema, target, nullptr)) return std::nullopt;
        valijson::Validator().validate(implementation_->schema, target, &results);
    } catch (const Enough&) {
        // The first findings are there.
    } catch (const std::exception& failure) {
        return SchemaProblem{"", std::string("the entry could not be checked: ") + failure.what()};
    }
    return first_problem(results, entry);
}

std::optional<FieldType> JsonSchema::type_at(std::string_view dotted_path) const {
    return type_along(implementation_->document, dotted_path);
}

const Value& JsonSchema::document() const { return implementation_->document; }

std::vector<std::string> JsonSchema::field_names() const {
    const Value& schema = resolved_schema(implementation_->document, implementation_->document);
    const Value* extras = schema.find("additionalProperties");
    const bool closed = extras != nullptr && extras->is_bool() && !extras->as_bool();
    std::vector<std::string> names;
    if (!closed || schema.find("patternProperties") != nullptr) return names;
    if (const Value* properties = schema.find("properties")) {
        for (const auto& [name, unused] : properties->as_object()) names.push_back(name);
    }
    return names;
}

}  // namespace stele

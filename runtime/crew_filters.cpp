#include <algorithm>

#include "runtime/crew_draft.hpp"
#include "scheduler/pattern.hpp"

namespace stele {
namespace {

const std::vector<std::string>& op_words() {
    static const std::vector<std::string> words = {"eq",  "ne", "lt",  "lte",     "gt",
                                                   "gte", "in", "has", "matches", "exists"};
    return words;
}

// What one comparison is made on: its name in messages and what is known of its type.
struct Subject {
    std::string name;  // "field \"value\" of region \"evidence\""
    TypeFact fact;
    bool is_aggregate = false;
};

// The right-hand side as it was read, with what is known of it.
struct RightSide {
    Operand operand;
    TypeFact fact;
    bool is_literal = true;
};

std::string named(const RightSide& side, const YamlNode& node) {
    const std::string type = with_article(side.fact.type);
    if (!node.is_scalar()) return type;
    // Written otherwise than it reads: a variable, or an input filled in.
    if (!side.is_literal || node.text.starts_with("${")) return in_quotes(node.text) + ", which is " + type;
    return side.fact.type == FieldType::string ? "the string " + in_quotes(node.text) : describe(node);
}

bool is_ordered(FieldType type) { return may_be_number(type) || type == FieldType::string; }

void report_types(CrewDraft& draft, const Subject& subject, CompareOp op, const RightSide& side, const YamlNode& node) {
    std::string message = subject.name + " is " + with_article(subject.fact.type) + "; it cannot be compared by \"" +
                          to_text(op) + "\" with " + named(side, node);
    if (side.fact.type == FieldType::null) message += ", since it is always there";
    draft.problems.error(node.place, std::move(message));
}

void check_choice(CrewDraft& draft, const Subject& subject, const Value& literal, SourcePlace place) {
    const std::vector<std::string>& choices = subject.fact.choices;
    if (choices.empty() || !literal.is_string()) return;
    if (std::find(choices.begin(), choices.end(), literal.as_string()) != choices.end()) return;
    draft.problems.error(place, subject.name + " is never " + in_quotes(literal.as_string()) + "; it is " +
                                    any_of(choices) + nearest_hint(literal.as_string(), choices));
}

void check_equality(CrewDraft& draft, const Subject& subject, CompareOp op, const RightSide& side,
                    const YamlNode& node) {
    if (subject.fact.may_be_absent && side.fact.type == FieldType::null) return;
    if (!may_be_equal(subject.fact.type, side.fact.type)) {
        report_types(draft, subject, op, side, node);
    } else if (side.is_literal) {
        check_choice(draft, subject, side.operand.literal, node.place);
    }
}

void check_order(CrewDraft& draft, const Subject& subject, CompareOp op, const RightSide& side, const YamlNode& node) {
    if (!is_ordered(subject.fact.type)) {
        draft.problems.error(node.place, subject.name + " is " + with_article(subject.fact.type) +
                                             ", which has no order; \"" + to_text(op) +
                                             "\" needs a number or a string");
    } else if (!is_ordered(side.fact.type) || !may_be_equal(subject.fact.type, side.fact.type)) {
        report_types(draft, subject, op, side, node);
    }
}

void check_membership(CrewDraft& draft, const Subject& subject, const RightSide& side, const YamlNode& node) {
    if (!may_be_equal(side.fact.type, FieldType::array)) {
        draft.problems.error(node.place, "\"in\" needs a list, found " + named(side, node));
        return;
    }
    if (!side.is_literal) {
        if (!may_be_equal(subject.fact.type, side.fact.element))
            report_types(draft, subject, CompareOp::in, side, node);
        return;
    }
    const Value::Array& elements = side.operand.literal.as_array();
    for (std::size_t i = 0; i < elements.size(); ++i) {
        const YamlNode& item = node.is_list() ? node.items[i] : node;
        RightSide element;
        element.operand.literal = elements[i];
        element.fact = type_of_value(elements[i]);
        check_equality(draft, subject, CompareOp::eq, element, item);
    }
}

void check_has(CrewDraft& draft, const Subject& subject, const RightSide& side, const YamlNode& node) {
    const FieldType type = subject.fact.type;
    if (type != FieldType::any && type != FieldType::array && type != FieldType::string) {
        draft.problems.error(node.place,
                             subject.name + " is " + with_article(type) + "; \"has\" looks into a list or a string");
        return;
    }
    const FieldType wanted = type == FieldType::string  ? FieldType::string
                             : type == FieldType::array ? subject.fact.element
                                                        : FieldType::any;
    if (may_be_equal(wanted, side.fact.type)) return;
    draft.problems.error(node.place,
                         subject.name + " holds " + with_article(wanted) + " each; it never has " + named(side, node));
}

void compile_pattern(CrewDraft& draft, const Subject& subject, const RightSide& side, const YamlNode& node,
                     Comparison& comparison) {
    if (!may_be_equal(subject.fact.type, FieldType::string)) {
        draft.problems.error(
            node.place, subject.name + " is " + with_article(subject.fact.type) + "; \"matches\" looks into a string");
        return;
    }
    if (!side.is_literal || !side.operand.literal.is_string()) {
        draft.problems.error(node.place, "\"matches\" needs a regular expression as text, found " + named(side, node));
        return;
    }
    Result<std::shared_ptr<const Pattern>> pattern = Pattern::compile(side.operand.literal.as_string());
    if (pattern.ok()) {
        comparison.pattern = std::move(*pattern);
    } else {
        draft.problems.error(node.place, pattern.error().message);
    }
}

void check_types(CrewDraft& draft, const Subject& subject, const RightSide& side, const YamlNode& node,
                 Comparison& comparison) {
    switch (comparison.op) {
        case CompareOp::eq:
        case CompareOp::ne:
            return check_equality(draft, subject, comparison.op, side, node);
        case CompareOp::lt:
        case CompareOp::lte:
        case CompareOp::gt:
        case CompareOp::gte:
            return check_order(draft, subject, comparison.op, side, node);
        case CompareOp::in:
            return check_membership(draft, subject, side, node);
        case CompareOp::has:
            return check_has(draft, subject, side, node);
        case CompareOp::matches:
            return compile_pattern(draft, subject, side, node, comparison);
        case CompareOp::exists:
            if (side.is_literal && side.operand.literal.is_bool()) return;
            draft.problems.error(node.place, "\"exists\" needs true or false, found " + named(side, node));
            return;
    }
}

std::optional<RightSide> read_right_side(CrewDraft& draft, const Scope& scope, const YamlNode& node) {
    RightSide side;
    if (is_reference(node)) {
        std::optional<VariableRef> reference = read_reference(draft, scope, node);
        if (!reference.has_value()) return std::nullopt;
        side.is_literal = false;
        side.fact = type_of_reference(scope, *reference);
        side.operand.reference = std::move(*reference);
        return side;
    }
    std::optional<Value> literal = read_whole_literal(draft, node);
    if (!literal.has_value()) return std::nullopt;
    side.fact = type_of_value(*literal);
    side.operand.literal = std::move(*literal);
    return side;
}

void read_comparison(CrewDraft& draft, const Scope& scope, const Subject* subject, const YamlNode& node,
                     Comparison comparison, Filter& filter) {
    std::optional<RightSide> side = read_right_side(draft, scope, node);
    if (!side.has_value()) return;
    comparison.place = node.place;
    static const Subject unknown{"this field", {}};
    check_types(draft, subject == nullptr ? unknown : *subject, *side, node, comparison);
    comparison.operand = std::move(side->operand);
    filter.push_back(std::move(comparison));
}

// `literal`, `$variable.path` or `{op: operand, ...}`.
void read_tests(CrewDraft& draft, const Scope& scope, const Subject* subject, const YamlNode& node,
                const FieldPath& path, Filter& filter) {
    Comparison comparison;
    comparison.attribute = path.attribute;
    comparison.path = path.path;
    if (!node.is_map()) {
        read_comparison(draft, scope, subject, node, std::move(comparison), filter);
        return;
    }
    if (node.members.empty()) {
        draft.problems.error(node.place, "a test is missing; expected one of " + any_of(op_words()));
    }
    for (const YamlMember& member : node.members) {
        const std::optional<CompareOp> op = compare_op_from(member.key);
        if (!op.has_value()) {
            const std::string hint = nearest_hint(member.key, op_words());
            draft.problems.error(member.place, "unknown comparison " + in_quotes(member.key) + hint +
                                                   (hint.empty() ? "; expected " : " Expected ") + any_of(op_words()));
            continue;
        }
        const bool fits_aggregate = *op != CompareOp::has && *op != CompareOp::matches && *op != CompareOp::exists;
        if (subject != nullptr && subject->is_aggregate && !fits_aggregate) {
            draft.problems.error(member.place,
                                 subject->name + " is a number; it cannot be tested by " + in_quotes(member.key));
            continue;
        }
        comparison.op = *op;
        read_comparison(draft, scope, subject, member.value, comparison, filter);
    }
}

std::string attribute_name(Attribute attribute) {
    switch (attribute) {
        case Attribute::content:
            return "the content";
        case Attribute::id:
            return "\"@id\"";
        case Attribute::version:
            return "\"@version\"";
        case Attribute::author:
            return "\"@author\"";
        case Attribute::time:
            return "\"@time\"";
    }
    return {};
}

// Nothing when the region has no such field, which is then reported.
std::optional<Subject> subject_of(CrewDraft& draft, const RegionSpec& region, const FieldPath& path,
                                  SourcePlace place) {
    Subject subject;
    if (path.attribute != Attribute::content) {
        subject.name = attribute_name(path.attribute) + " of region " + in_quotes(region.name);
        subject.fact = type_of_attribute(path.attribute);
        return subject;
    }
    const std::optional<TypeFact> fact = type_of_field(region, path.path);
    if (!fact.has_value()) {
        draft.problems.error(place, no_such_field(region, path.path));
        return std::nullopt;
    }
    subject.name = "field " + in_quotes(joined_path(path.path)) + " of region " + in_quotes(region.name);
    subject.fact = *fact;
    return subject;
}

}  // namespace

Filter read_filter(CrewDraft& draft, const Scope& scope, const RegionSpec* region, const YamlNode& node,
                   std::string_view what) {
    Filter filter;
    if (!node.is_map()) {
        draft.problems.error(node.place, unexpected(what, "a map from field to test", node));
        return filter;
    }
    for (const YamlMember& member : node.members) {
        const std::optional<FieldPath> path = read_path(draft, member.key, member.place);
        if (!path.has_value()) continue;
        std::optional<Subject> subject;
        if (region != nullptr) subject = subject_of(draft, *region, *path, member.place);
        read_tests(draft, scope, subject.has_value() ? &*subject : nullptr, member.value, *path, filter);
    }
    return filter;
}

Filter read_aggregate_tests(CrewDraft& draft, const Scope& scope, const YamlNode& node, std::string_view what) {
    Filter filter;
    Subject subject;
    subject.name = what;
    subject.fact.type = FieldType::number;
    subject.is_aggregate = true;
    read_tests(draft, scope, &subject, node, FieldPath{}, filter);
    return filter;
}

}  // namespace stele

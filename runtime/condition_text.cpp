#include "runtime/condition_text.hpp"

#include "runtime/crew_sheet.hpp"

namespace stele {

using sheet::duration;
using sheet::joined;

namespace {

std::string attribute_or_path(Attribute attribute, const std::vector<std::string>& path) {
    switch (attribute) {
        case Attribute::content:
            return joined(path, ".", "");
        case Attribute::id:
            return "@id";
        case Attribute::version:
            return "@version";
        case Attribute::author:
            return "@author";
        case Attribute::time:
            return "@time";
    }
    return {};
}

const char* op_text(CompareOp op) {
    switch (op) {
        case CompareOp::eq:
            return "=";
        case CompareOp::ne:
            return "!=";
        case CompareOp::lt:
            return "<";
        case CompareOp::lte:
            return "<=";
        case CompareOp::gt:
            return ">";
        case CompareOp::gte:
            return ">=";
        case CompareOp::in:
        case CompareOp::has:
        case CompareOp::matches:
        case CompareOp::exists:
            break;
    }
    return to_text(op);
}

}  // namespace

std::string reference_text(const VariableRef& reference, const std::vector<std::string>& variables) {
    const std::string path = attribute_or_path(reference.attribute, reference.path);
    return "$" + variables[reference.variable] + (path.empty() ? "" : "." + path);
}

std::string comparison_text(const Comparison& comparison, const std::vector<std::string>& variables) {
    const std::string subject = attribute_or_path(comparison.attribute, comparison.path);
    const std::string before = subject.empty() ? std::string() : subject + " ";
    if (comparison.op == CompareOp::exists) {
        return before + (comparison.operand.literal == Value(true) ? "is present" : "is absent");
    }
    const std::string operand = comparison.operand.reference.has_value()
                                    ? reference_text(*comparison.operand.reference, variables)
                                    : to_json(comparison.operand.literal);
    return before + op_text(comparison.op) + " " + operand;
}

std::string filter_text(const Filter& filter, const std::vector<std::string>& variables) {
    std::vector<std::string> parts;
    for (const Comparison& comparison : filter) parts.push_back(comparison_text(comparison, variables));
    return joined(parts, " and ", "");
}

std::string where_text(const Filter& filter, const std::vector<std::string>& variables) {
    return filter.empty() ? std::string() : " where " + filter_text(filter, variables);
}

static std::string alternatives_text(const Term& term, const std::vector<std::string>& variables) {
    std::vector<std::string> alternatives;
    for (const std::vector<Term>& alternative : term.alternatives) {
        std::vector<std::string> parts;
        for (const Term& part : alternative) parts.push_back(term_text(part, variables));
        alternatives.push_back("(" + joined(parts, " and ", "") + ")");
    }
    return joined(alternatives, " or ", "");
}

static std::string term_words(const Term& term, const std::vector<std::string>& variables) {
    const std::string where = where_text(term.where, variables);
    const std::string is = filter_text(term.is, variables);
    const std::string field = joined(term.field, ".", "");
    const std::string named = term.variable.has_value() && !variables[*term.variable].empty()
                                  ? " as " + variables[*term.variable]
                                  : std::string();
    switch (term.kind) {
        case TermKind::each:
            return "each " + term.region + named + where;
        case TermKind::changed:
            return "each new version in " + term.region + named + where;
        case TermKind::none:
            return "no " + term.region + where;
        case TermKind::exists:
            return "some " + term.region + where;
        case TermKind::count:
            return "the count of " + term.region + where + " is " + is;
        case TermKind::sum:
            return "the sum of " + field + " over " + term.region + where + " is " + is;
        case TermKind::min:
            return "the least " + field + " in " + term.region + where + " is " + is;
        case TermKind::max:
            return "the greatest " + field + " in " + term.region + where + " is " + is;
        case TermKind::avg:
            return "the average of " + field + " over " + term.region + where + " is " + is;
        case TermKind::quiet:
            return term.region + " has not changed for " + duration(term.duration_ms);
        case TermKind::start:
            return "the run has begun";
        case TermKind::idle:
            return "nothing else is queued, running or due";
        case TermKind::impasse:
            return "nothing can go on, and the goal is not reached";
        case TermKind::after:
            return duration(term.duration_ms) + " have passed since " +
                   (variables.empty() ? "the run began" : "the newest bound entry was written");
        case TermKind::every:
            return duration(term.duration_ms) + " have passed once more since the run began";
        case TermKind::any:
            return "one of " + alternatives_text(term, variables);
        case TermKind::negation:
            return "not " + alternatives_text(term, variables);
    }
    return {};
}

std::string term_text(const Term& term, const std::vector<std::string>& variables) {
    return term_words(term, variables) + (term.again_on_change ? ", again at each change" : "");
}

}  // namespace stele

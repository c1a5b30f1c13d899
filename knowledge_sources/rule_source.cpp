#include "knowledge_sources/rule_source.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "scheduler/evaluate.hpp"

namespace stele {

namespace {

/// Makes the writes of one member.
class RuleMember {
public:
    RuleMember(const SourceSpec& source, const Binding& member) : source_(source), member_(member) {}

    Result<Write> make(const RuleWrite& rule) const {
        Write write;
        write.op = rule.op;
        write.region = rule.region;
        write.why = rule.why;
        if (rule.target) {
            const Entry* target = bound(*rule.target);
            if (target == nullptr) return unbound(rule, *rule.target);
            write.region = target->id.region;
            write.number = target->id.number;
            // A retraction of what has meanwhile been replaced would take back the wrong thing.
            if (rule.op != WriteOp::remove) write.expected_version = target->version;
        }
        Status content = fill_content(rule, write);
        if (!content) return content.error();
        for (const std::uint32_t variable : rule.cites) {
            const Entry* cited = bound(variable);
            if (cited == nullptr) return unbound(rule, variable);
            Cite cite{cited->id, 0};
            const bool repeated = std::find(write.cites.begin(), write.cites.end(), cite) != write.cites.end();
            if (!repeated) write.cites.push_back(std::move(cite));
        }
        write.seal();
        return write;
    }

private:
    Status fill_content(const RuleWrite& rule, Write& write) const {
        if (rule.op == WriteOp::increment) {
            write.content = Value::object({{"by", rule.by}});
            return Done{};
        }
        const bool takes_entry = rule.op != WriteOp::retract && !(rule.op == WriteOp::remove && rule.target);
        if (!takes_entry) return Done{};
        std::optional<Value> content = evaluate_template(rule.entry, member_.entries);
        if (!content) {
            return Error{ErrorCode::invalid_argument, name_of(rule) +
                                                          " has no entry to write: " + text_of(rule.entry.reference) +
                                                          " is not in the entry that is bound"};
        }
        write.content = std::move(*content);
        return Done{};
    }

    const Entry* bound(std::uint32_t variable) const {
        return variable < member_.entries.size() ? member_.entries[variable].get() : nullptr;
    }

    std::string name_of(const RuleWrite& rule) const {
        std::string name = "rule \"" + source_.name + "\", " + to_text(rule.op) + " into \"" + rule.region + "\"";
        if (rule.place.line > 0) name += " (line " + std::to_string(rule.place.line) + ")";
        return name;
    }

    std::string variable_name(std::uint32_t variable) const {
        const std::vector<std::string>& names = source_.when.variables;
        if (variable < names.size() && !names[variable].empty()) return "$" + names[variable];
        if (source_.kind == SourceKind::mcp && variable == names.size()) return "$" + std::string(mcp_result_name);
        return "variable " + std::to_string(variable + 1);
    }

    std::string text_of(const VariableRef& reference) const {
        std::string text = variable_name(reference.variable);
        for (const std::string& step : reference.path) text += "." + step;
        return text;
    }

    Error unbound(const RuleWrite& rule, std::uint32_t variable) const {
        return Error{ErrorCode::invalid_argument,
                     name_of(rule) + " names " + variable_name(variable) + ", which the match does not bind"};
    }

    const SourceSpec& source_;
    const Binding& member_;
};

}  // namespace

Result<std::vector<Write>> apply_rule(const SourceSpec& source, const std::vector<Binding>& members) {
    std::vector<Write> writes;
    writes.reserve(members.size() * source.then.size());
    for (const Binding& member : members) {
        const RuleMember maker(source, member);
        for (const RuleWrite& rule : source.then) {
            Result<Write> write = maker.make(rule);
            if (!write) return write.error();
            writes.push_back(std::move(*write));
        }
    }
    return writes;
}

std::optional<Value> evaluate_template(const TemplateNode& node, const std::vector<EntryPtr>& entries) {
    switch (node.kind) {
        case TemplateNode::Kind::literal:
            return node.literal;
        case TemplateNode::Kind::reference:
            return value_of(node.reference, entries);
        case TemplateNode::Kind::object: {
            std::vector<Value::Member> members;
            members.reserve(node.members.size());
            for (const auto& [key, child] : node.members) {
                std::optional<Value> value = evaluate_template(child, entries);
                if (value) members.emplace_back(key, std::move(*value));
            }
            return Value::object(std::move(members));
        }
        case TemplateNode::Kind::array: {
            Value::Array elements;
            elements.reserve(node.elements.size());
            for (const TemplateNode& child : node.elements) {
                std::optional<Value> value = evaluate_template(child, entries);
                // A list keeps its places: the third element stays the third.
                elements.push_back(value ? std::move(*value) : Value());
            }
            return Value(std::move(elements));
        }
    }
    return std::nullopt;
}

}  // namespace stele

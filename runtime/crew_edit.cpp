#include "runtime/crew_edit.hpp"

#include <algorithm>

#include "board/nearest.hpp"
#include "runtime/crew_yaml.hpp"

namespace stele {
namespace {

std::string first_problem(CrewProblems& problems) {
    for (const CrewProblem& problem : problems.take()) {
        if (!problem.warning) return to_text(problem);
    }
    return {};
}

std::string quoted(const std::string& text) { return to_json(Value(text)); }

std::string scalar_text(const YamlNode& node) {
    if (!node.plain) return quoted(node.text);
    // A plain word is a string unless the schema makes it something else, and that is written as it was.
    const std::optional<Value> value = scalar_value(node);
    return value && value->is_string() ? quoted(node.text) : node.text;
}

std::string key_text(const std::string& key) { return is_identifier(key) ? key : quoted(key); }

void write(const YamlNode& node, std::size_t indent, std::string& out) {
    const std::string lead(indent, ' ');
    switch (node.kind) {
        case YamlNode::Kind::null:
            out += " null\n";
            return;
        case YamlNode::Kind::scalar:
            out += " " + scalar_text(node) + "\n";
            return;
        case YamlNode::Kind::list:
            if (node.items.empty()) {
                out += " []\n";
                return;
            }
            out += "\n";
            for (const YamlNode& item : node.items) {
                out += lead + "-";
                write(item, indent + 2, out);
            }
            return;
        case YamlNode::Kind::map:
            if (node.members.empty()) {
                out += " {}\n";
                return;
            }
            out += "\n";
            for (const YamlMember& member : node.members) {
                out += lead + key_text(member.key) + ":";
                write(member.value, indent + 2, out);
            }
            return;
    }
}

YamlMember* member_of(YamlNode& map, const std::string& key) {
    for (YamlMember& member : map.members) {
        if (member.key == key) return &member;
    }
    return nullptr;
}

std::vector<std::string> split_path(const std::string& path) {
    std::vector<std::string> steps(1);
    for (const char c : path) {
        if (c == '.') {
            steps.emplace_back();
        } else {
            steps.back() += c;
        }
    }
    return steps;
}

Error wrong(const std::string& setting, const std::string& why) {
    return Error{ErrorCode::invalid_argument, "--set " + setting + ": " + why};
}

Status set_one(YamlNode& document, const std::string& setting) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) {
        return wrong(setting, "write PATH=VALUE, as in critic.priority=5 or stop.limits.activations=100");
    }
    std::vector<std::string> path = split_path(setting.substr(0, equals));
    if (std::any_of(path.begin(), path.end(), [](const std::string& step) { return step.empty(); })) {
        return wrong(setting, "the path has an empty step");
    }
    CrewProblems problems("--set");
    std::optional<YamlNode> value = parse_yaml(setting.substr(equals + 1), problems);
    const std::string problem = first_problem(problems);
    if (!problem.empty()) return wrong(setting, "the value is no YAML: " + problem);
    if (!value) value.emplace();

    YamlMember* sources = member_of(document, "sources");
    if (sources != nullptr && sources->value.is_map() && member_of(sources->value, path.front()) != nullptr) {
        if (path.size() == 1) return wrong(setting, "name a field of the source: " + path.front() + ".FIELD=VALUE");
        path.insert(path.begin(), "sources");
    } else if (member_of(document, path.front()) == nullptr) {
        std::vector<std::string> names;
        for (const YamlMember& member : document.members) names.push_back(member.key);
        if (sources != nullptr) {
            for (const YamlMember& member : sources->value.members) names.push_back(member.key);
        }
        const std::string near = nearest_name(path.front(), names);
        return wrong(setting, "the crew has no source and no key " + in_quotes(path.front()) +
                                  (near.empty() ? std::string() : "; did you mean " + near + "?"));
    }
    YamlNode* at = &document;
    for (std::size_t i = 0; i < path.size(); ++i) {
        if (at->is_list()) {
            const bool digits = path[i].find_first_not_of("0123456789") == std::string::npos && path[i].size() < 7;
            const std::size_t index = digits ? std::stoul(path[i]) : at->items.size();
            if (index >= at->items.size()) {
                return wrong(setting, "the list before " + in_quotes(path[i]) + " has " +
                                          std::to_string(at->items.size()) + " items, from 0");
            }
            at = &at->items[index];
            continue;
        }
        if (at->is_null()) at->kind = YamlNode::Kind::map;
        if (!at->is_map()) return wrong(setting, "what stands before " + in_quotes(path[i]) + " has no fields");
        YamlMember* member = member_of(*at, path[i]);
        if (member == nullptr) member = &at->members.emplace_back(YamlMember{path[i], {}, {}});
        at = &member->value;
    }
    *at = std::move(*value);
    return Done{};
}

}  // namespace

Result<std::string> edit_crew(const std::string& text, const std::vector<std::string>& settings) {
    CrewProblems problems("crew");
    std::optional<YamlNode> document = parse_yaml(text, problems);
    const std::string problem = first_problem(problems);
    if (!problem.empty()) return Error{ErrorCode::invalid_argument, problem};
    if (!document || !document->is_map()) return Error{ErrorCode::invalid_argument, "the crew is no map"};
    for (const std::string& setting : settings) {
        const Status set = set_one(*document, setting);
        if (!set.ok()) return set.error();
    }
    std::string out;
    write(*document, 0, out);
    out.erase(0, 1);  // the document's own line break
    return out;
}

}  // namespace stele

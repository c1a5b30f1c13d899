#include "scheduler/control.hpp"

#include <algorithm>
#include <cassert>

namespace stele {
namespace {

constexpr std::string_view pause_prefix = "pause/";
constexpr std::string_view focus_prefix = "focus/";

// What each key may hold.
constexpr std::string_view schema_text = R"({
  "type": "object",
  "required": ["key", "value"],
  "additionalProperties": false,
  "properties": {"key": {"type": "string"}, "value": {}},
  "oneOf": [
    {"properties": {"key": {"enum": ["strategy"]},
                    "value": {"enum": ["priority", "fifo", "lifo", "fair", "depth", "breadth", "score"]}}},
    {"properties": {"key": {"type": "string", "pattern": "^pause/.+"}, "value": {"type": "boolean"}}},
    {"properties": {"key": {"type": "string", "pattern": "^focus/.+"},
                    "value": {"type": "object", "required": ["weight"], "additionalProperties": false,
                              "properties": {"weight": {"type": "number"}, "source": {"type": "string"},
                                             "region": {"type": "string"}}}}}
  ]
})";

std::string text_at(const Value& value, std::string_view key) {
    const Value* found = value.find(key);
    return found != nullptr && found->is_string() ? found->as_string() : std::string();
}

}  // namespace

RegionSpec control_region() {
    static const EntrySchema schema = [] {
        const Result<Value> document = parse_json(schema_text);
        assert(document.ok());
        Result<EntrySchema> made = EntrySchema::from_json_schema(*document);
        assert(made.ok());
        return *made;
    }();
    RegionSpec spec;
    spec.name = control_region_name;
    spec.policy = PolicyKind::last_writer_wins;
    spec.schema = schema;
    spec.key = {"key"};
    spec.help = "how the agenda is ranked and who may run";
    return spec;
}

bool ControlBoard::change(const EntryChange& change) {
    const Entry& said = change.after ? *change.after : *change.before;
    const std::string key = text_at(said.content, "key");
    const Value* value = change.after ? change.after->content.find("value") : nullptr;
    if (key == "strategy") {
        strategy_ = value != nullptr && value->is_string() ? strategy_from(value->as_string()) : std::nullopt;
        return true;
    }
    if (key.rfind(pause_prefix, 0) == 0) {
        const std::string source = key.substr(pause_prefix.size());
        if (value != nullptr && value->is_bool() && value->as_bool()) {
            paused_.insert(source);
        } else {
            paused_.erase(source);
        }
        return true;
    }
    if (key.rfind(focus_prefix, 0) != 0) return false;
    const std::string name = key.substr(focus_prefix.size());
    focus_.erase(name);
    if (value == nullptr) return true;
    const Value* weight = value->find("weight");
    if (weight == nullptr || !weight->is_number()) return true;
    focus_[name] = {name, weight->as_double(), text_at(*value, "source"), text_at(*value, "region")};
    return true;
}

std::vector<const Focus*> ControlBoard::focus_on(std::string_view source, const Match& match) const {
    std::vector<const Focus*> applying;
    for (const auto& [name, focus] : focus_) {
        if (!focus.source.empty() && focus.source != source) continue;
        const bool bound = focus.region.empty() ||
                           std::any_of(match.bound.begin(), match.bound.end(),
                                       [&](const BoundEntry& entry) { return entry.id.region == focus.region; });
        if (bound) applying.push_back(&focus);
    }
    return applying;
}

}  // namespace stele

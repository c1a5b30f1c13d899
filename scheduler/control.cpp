#include "scheduler/control.hpp"

#include <algorithm>
#include <charconv>

#include "scheduler/checkpoint.hpp"
#include "scheduler/reserved_schema.hpp"

namespace stele {
namespace {

constexpr std::string_view pause_prefix = "pause/";
constexpr std::string_view focus_prefix = "focus/";
constexpr std::string_view rank_prefix = "rank/";

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
                                             "region": {"type": "string"}}}}},
    {"properties": {"key": {"type": "string", "pattern": "^rank/[0-9]{1,18}$"}, "value": {"type": "number"}}},
    {"properties": {"key": {"type": "string", "pattern": "^cycle/[0-9]+$"},
                    "value": {"type": "object", "required": ["sources", "message"], "additionalProperties": false,
                              "properties": {"sources": {"type": "array", "items": {"type": "string"}},
                                             "entries": {"type": "array", "items": {"type": "string"}},
                                             "message": {"type": "string"}}}}}
  ]
})";

constexpr std::string_view agenda_schema_text = R"({
  "type": "object",
  "required": ["match", "source", "rating", "age", "bound"],
  "additionalProperties": false,
  "properties": {"match": {"type": "string"}, "source": {"type": "string"}, "rating": {"type": "number"},
                 "age": {"type": "integer"},
                 "bound": {"type": "object", "additionalProperties": {"type": "string"}}}
})";

std::string text_at(const Value& value, std::string_view key) {
    const Value* found = value.find(key);
    return found != nullptr && found->is_string() ? found->as_string() : std::string();
}

}  // namespace

RegionSpec agenda_region() {
    static const EntrySchema schema = reserved_schema(agenda_schema_text);
    RegionSpec spec;
    spec.name = agenda_region_name;
    spec.policy = PolicyKind::last_writer_wins;
    spec.schema = schema;
    spec.key = {"match"};
    spec.help = "what could start, for the source that ranks it";
    return spec;
}

RegionSpec control_region() {
    static const EntrySchema schema = reserved_schema(schema_text);
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
    if (key.rfind(rank_prefix, 0) == 0) {
        std::uint64_t number = 0;
        const char* begin = key.data() + rank_prefix.size();
        if (std::from_chars(begin, key.data() + key.size(), number).ec != std::errc()) return false;
        if (value != nullptr && value->is_number()) {
            ranks_[number] = {value->as_double(), change.id.number};
        } else {
            ranks_.erase(number);
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

std::optional<double> ControlBoard::rank_of(std::uint64_t number) const {
    const auto found = ranks_.find(number);
    return found == ranks_.end() ? std::nullopt : std::optional<double>(found->second.value);
}

std::uint64_t ControlBoard::rank_entry_of(std::uint64_t number) const {
    const auto found = ranks_.find(number);
    return found == ranks_.end() ? 0 : found->second.entry;
}

void ShownAgenda::change(const EntryChange& change) {
    if (change.before) entries_.erase(text_at(change.before->content, "match"));
    if (change.after) entries_[text_at(change.after->content, "match")] = change.id.number;
}

std::uint64_t ShownAgenda::number_of(const Hash128& match_key) const {
    if (entries_.empty()) return 0;
    const auto found = entries_.find(to_hex(match_key));
    return found == entries_.end() ? 0 : found->second;
}

std::vector<const Focus*> ControlBoard::focus_on(std::string_view source, const Match& match) const {
    std::vector<const Focus*> applying;
    for (const auto& [name, focus] : focus_) {
        if (!focus.source.empty() && focus.source != source) continue;
        const bool bound = focus.region.empty() || std::any_of(match.bound.begin(), match.bound.end(),
                                                               [&region = focus.region](const BoundEntry& entry) {
                                                                   return entry.id.region == region;
                                                               });
        if (bound) applying.push_back(&focus);
    }
    return applying;
}

void ShownAgenda::save(CheckpointWriter& out) const { out(entries_); }
void ShownAgenda::load(CheckpointReader& in) { in(entries_); }

template <class Archive, TransferOf<Focus> T>
void transfer(Archive& archive, T& focus) {
    archive(focus.name, focus.weight, focus.source, focus.region);
}

template <class Archive, class Self>
void ControlBoard::Rank::transfer(Archive& archive, Self& self) {
    archive(self.value, self.entry);
}

void ControlBoard::save(CheckpointWriter& out) const { out(strategy_, paused_, focus_, ranks_); }
void ControlBoard::load(CheckpointReader& in) { in(strategy_, paused_, focus_, ranks_); }

}  // namespace stele

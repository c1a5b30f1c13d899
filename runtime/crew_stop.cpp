#include <algorithm>

#include "runtime/crew_draft.hpp"
#include "scheduler/control.hpp"

namespace stele {
namespace {

constexpr std::uint64_t activations_max = 1'000'000'000;
constexpr std::uint64_t window_max = 100'000;

void read_goal(CrewDraft& draft, const YamlNode& node) {
    Reader reader;
    reader.name = "the goal";
    Scope scope;
    draft.crew.stop.goal = read_condition(draft, reader, node, scope);
}

void read_limits(CrewDraft& draft, const YamlNode& node) {
    StopSpec& stop = draft.crew.stop;
    MapReader map(node, "limits of stop", draft.problems);
    if (const YamlNode* activations = map.optional("activations")) {
        stop.activations =
            read_count(*activations, map.part("activations"), {.min = 1, .max = activations_max}, draft.problems)
                .value_or(0);
    }
    if (const YamlNode* wall = map.optional("wall")) {
        stop.wall_ms = read_duration(*wall, map.part("wall"), 1, draft.problems).value_or(0);
    }
    if (const std::optional<SourcePlace> money = read_call_caps(draft, map, stop.calls)) {
        draft.money_caps.push_back({map.part("money"), *money, std::nullopt, std::nullopt});
    }
    map.finish();
}

// `10%` or `0.1`.
std::optional<double> share(const YamlNode& node) {
    if (!node.is_scalar()) return std::nullopt;
    YamlNode number = node;
    const bool is_percent = number.text.ends_with('%');
    if (is_percent) number.text.pop_back();
    number.plain = true;
    const std::optional<Value> value = scalar_value(number);
    if (!value.has_value() || !value->is_number()) return std::nullopt;
    const double share = is_percent ? value->as_double() / 100 : value->as_double();
    if (share < 0 || share >= 1) return std::nullopt;
    return share;
}

void read_exceed(CrewDraft& draft, MapReader& map) {
    StopSpec& stop = draft.crew.stop;
    if (const YamlNode* on_exceed = map.optional("on_exceed")) {
        const auto index = read_word(*on_exceed, map.part("on_exceed"), {"stop", "wrap_up", "ask"}, draft.problems);
        stop.on_exceed = static_cast<OnExceed>(index.value_or(0));
    }
    const YamlMember* reserve = map.optional_member("reserve");
    if (reserve == nullptr) return;
    const std::optional<double> read = share(reserve->value);
    if (!read.has_value()) {
        draft.problems.error(
            reserve->value.place,
            unexpected(map.part("reserve"), "a share such as 10% or 0.1, below the whole", reserve->value));
    } else if (stop.on_exceed != OnExceed::wrap_up) {
        draft.problems.error(reserve->place,
                             "stop keeps something back only to wrap up: \"reserve\" goes with"
                             " \"on_exceed: wrap_up\"");
    }
    stop.reserve = read.value_or(stop.reserve);
}

bool sees_control(const std::vector<Term>& terms) {
    return std::any_of(terms.begin(), terms.end(), [](const Term& term) {
        return term.region == control_region_name ||
               std::any_of(term.alternatives.begin(), term.alternatives.end(), sees_control);
    });
}

// `wake: SOURCE`.
void read_wake(CrewDraft& draft, const YamlNode& node) {
    CycleSpec& cycle = draft.crew.stop.cycle;
    if (!draft.sources_known) return;
    if (!node.is_scalar() || !std::binary_search(draft.source_names.begin(), draft.source_names.end(), node.text)) {
        const std::string hint = node.is_scalar() ? nearest_hint(node.text, draft.source_names) : std::string();
        draft.problems.error(node.place, unexpected("wake of on_cycle", "a source of this crew", node) + hint);
        return;
    }
    cycle.on_cycle = OnCycle::wake;
    cycle.wake = node.text;
    const SourceSpec* source = draft.crew.source(node.text);
    if (source == nullptr || sees_control(source->when.terms)) return;
    draft.problems.error(node.place, "nothing of a loop would wake " + in_quotes(node.text) +
                                         ": what is found is written to the region control, so its \"when\" needs"
                                         " a term such as {each: control as c, where: {key: {matches: ^cycle/}}}");
}

void read_on_cycle(CrewDraft& draft, const YamlNode& node, const std::string& what) {
    CycleSpec& cycle = draft.crew.stop.cycle;
    if (node.is_map()) {
        MapReader map(node, what, draft.problems);
        if (const YamlNode* wake = map.required("wake")) read_wake(draft, *wake);
        map.finish();
        return;
    }
    const std::vector<OnCycle> words = {OnCycle::stop, OnCycle::pause, OnCycle::damp};
    const auto found = std::find_if(words.begin(), words.end(),
                                    [&](OnCycle word) { return node.is_scalar() && node.text == to_text(word); });
    if (found == words.end()) {
        draft.problems.error(node.place, unexpected(what, "\"stop\", \"pause\", \"damp\" or {wake: SOURCE}", node));
        return;
    }
    cycle.on_cycle = *found;
}

void read_cycle(CrewDraft& draft, const YamlNode& node) {
    CycleSpec& cycle = draft.crew.stop.cycle;
    if (node.is_scalar() && node.text == "off") {
        cycle.enabled = false;
        return;
    }
    if (!node.is_map()) {
        draft.problems.error(node.place, unexpected("cycle of stop", "a map, or off", node));
        return;
    }
    MapReader map(node, "cycle of stop", draft.problems);
    if (const YamlNode* window = map.optional("window")) {
        const auto count = read_count(*window, map.part("window"), {.min = 2, .max = window_max}, draft.problems);
        if (count.has_value()) cycle.window = static_cast<std::uint32_t>(*count);
    }
    if (const YamlNode* similarity = map.optional("similarity")) {
        const std::optional<double> number = read_number(*similarity, map.part("similarity"), draft.problems);
        if (number.has_value() && (*number <= 0 || *number > 1)) {
            draft.problems.error(similarity->place,
                                 unexpected(map.part("similarity"), "a number above 0 and up to 1", *similarity));
        }
        cycle.similarity = number.value_or(cycle.similarity);
    }
    if (const YamlNode* rounds = map.optional("rounds")) {
        if (rounds->is_scalar() && rounds->text == "off") {
            cycle.rounds = 0;
        } else {
            const auto count =
                read_count(*rounds, map.part("rounds"), {.min = 1, .max = activations_max}, draft.problems);
            if (count.has_value()) cycle.rounds = *count;
        }
    }
    if (const YamlNode* on_cycle = map.optional("on_cycle")) read_on_cycle(draft, *on_cycle, map.part("on_cycle"));
    map.finish();
}

}  // namespace

void read_stop(CrewDraft& draft, const YamlNode* node) {
    if (node == nullptr) return;
    MapReader map(*node, "stop", draft.problems);
    if (const YamlNode* goal = map.optional("goal")) read_goal(draft, *goal);
    if (const YamlNode* limits = map.optional("limits")) read_limits(draft, *limits);
    read_exceed(draft, map);
    if (const YamlNode* grace = map.optional("grace")) {
        const auto duration = read_duration(*grace, map.part("grace"), 0, draft.problems);
        if (duration.has_value()) draft.crew.stop.grace_ms = *duration;
    }
    if (const YamlNode* cycle = map.optional("cycle")) read_cycle(draft, *cycle);
    map.finish();
}

}  // namespace stele

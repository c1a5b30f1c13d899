#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include "board/hash.hpp"
#include "board/region_policy.hpp"
#include "runtime/crew_draft.hpp"

namespace stele {
namespace {

constexpr std::uint64_t count_max = 1'000'000'000;
constexpr std::uint64_t concurrency_max = 10'000;
constexpr WriteOp all_ops[] = {WriteOp::insert,  WriteOp::add,     WriteOp::remove,   WriteOp::put,
                               WriteOp::replace, WriteOp::retract, WriteOp::increment};

std::string hash_of(const YamlNode& node) {
    const Digest256 digest = Sha256().update(to_json(plain_value(node))).finish();
    constexpr std::size_t bytes_kept = 8;
    return to_hex(std::string_view(reinterpret_cast<const char*>(digest.data()), bytes_kept));
}

class SourceReader {
public:
    SourceReader(CrewDraft& draft, const YamlMember& member)
        : draft_(draft),
          problems_(draft.problems),
          member_(member),
          map_(member.value, "source " + in_quotes(member.key), draft.problems, member.place) {
        reader_.name = map_.what();
        reader_.source = &spec_;
        spec_.name = member.key;
        spec_.place = member.place;
    }

    SourceSpec read();

private:
    void read_kind();
    void read_grants();
    void read_read_grants(const YamlNode& node);
    void read_write_grants(const YamlNode& node);
    std::vector<WriteOp> read_ops(const RegionSpec& region, const YamlNode& node);
    void read_op(const RegionSpec& region, const YamlNode& node, std::vector<WriteOp>& ops);
    void read_wake();
    void read_limits();
    void read_priority();
    void read_score();
    void read_habits();
    void read_kind_keys();
    void refuse_key(const YamlMember& member, const std::vector<SourceKind>& kinds);
    void read_process();
    void warn_about_silence();
    [[nodiscard]] YamlNode declared() const;
    void check_limit(const YamlNode& node, std::string_view key, bool fits, std::string_view why);

    CrewDraft& draft_;
    CrewProblems& problems_;
    const YamlMember& member_;
    MapReader map_;
    SourceSpec spec_;
    Reader reader_;
    Scope scope_;
    bool kind_known_ = false;
};

// Grants come first, since everything that follows is held against them.
SourceSpec SourceReader::read() {
    check_name(member_.key, member_.place, "a source", problems_);
    read_kind();
    if (const YamlNode* help = map_.optional("help")) {
        spec_.help = read_text(*help, map_.part("help"), problems_).value_or("");
    }
    read_grants();
    if (const YamlNode* when = map_.required("when")) {
        spec_.when = read_condition(draft_, reader_, *when, scope_);
    } else {
        scope_.is_incomplete = true;
    }
    read_wake();
    const bool has_view = !kind_known_ || (spec_.kind != SourceKind::rule && spec_.kind != SourceKind::mcp);
    if (const YamlNode* view = has_view ? map_.optional("view") : nullptr) {
        SourceParts parts{draft_, map_, spec_, reader_, scope_, member_.place};
        read_view(parts, *view, kind_known_);
    }
    read_limits();
    read_priority();
    read_score();
    read_habits();
    read_kind_keys();
    warn_about_silence();
    map_.finish();
    spec_.configuration_hash = hash_of(declared());
    return std::move(spec_);
}

void SourceReader::read_kind() {
    const YamlNode* kind = map_.required("kind");
    if (kind == nullptr) return;
    const std::optional<std::size_t> index =
        read_word(*kind, map_.part("kind"), {"process", "rule", "llm", "http", "mcp"}, problems_);
    kind_known_ = index.has_value();
    constexpr SourceKind kinds[] = {SourceKind::process, SourceKind::rule, SourceKind::llm, SourceKind::http,
                                    SourceKind::mcp};
    if (index.has_value()) spec_.kind = kinds[*index];
    if (spec_.kind == SourceKind::llm) spec_.limits.timeout_ms = limits::llm_source_timeout_default_ms;
}

void SourceReader::read_grants() {
    const YamlNode* may = map_.optional("may");
    if (may == nullptr) return;
    const std::size_t errors_before = problems_.error_count();
    MapReader map(*may, map_.part("may"), problems_);
    if (const YamlNode* read = map.optional("read")) read_read_grants(*read);
    reader_.reads_known = problems_.error_count() == errors_before;
    const std::size_t errors_between = problems_.error_count();
    if (const YamlNode* write = map.optional("write")) read_write_grants(*write);
    reader_.writes_known = problems_.error_count() == errors_between && may->is_map();
    map.finish();
}

void SourceReader::read_read_grants(const YamlNode& node) {
    const std::string what = "may.read of " + map_.what();
    const std::vector<YamlNode>* items = read_list(node, what, problems_);
    if (items == nullptr) return;
    for (const YamlNode& item : *items) {
        const std::optional<std::string> name = read_text(item, what, problems_);
        if (!name.has_value()) continue;
        if (*name == scratch_name) {
            problems_.error(item.place, "\"scratch\" is every source's own and needs no grant; leave it out");
        } else if (spec_.may.may_read(*name)) {
            problems_.error(item.place, what + ": " + in_quotes(*name) + " is named twice");
        } else if (draft_.resolve_region(*name, item.place) != nullptr) {
            spec_.may.read.push_back(*name);
        }
    }
}

void SourceReader::read_write_grants(const YamlNode& node) {
    if (!node.is_map()) {
        problems_.error(node.place, unexpected("may.write of " + map_.what(), "a map from region to operations", node));
        return;
    }
    for (const YamlMember& member : node.members) {
        if (member.key == scratch_name) {
            problems_.error(member.place, "\"scratch\" is every source's own and needs no grant; leave it out");
            continue;
        }
        const RegionSpec* region = draft_.resolve_region(member.key, member.place);
        if (region == nullptr) continue;
        std::vector<WriteOp> ops = read_ops(*region, member.value);
        if (!ops.empty()) spec_.may.write.emplace_back(member.key, std::move(ops));
    }
}

std::vector<WriteOp> SourceReader::read_ops(const RegionSpec& region, const YamlNode& node) {
    std::vector<WriteOp> ops;
    const std::string what = "may.write." + region.name + " of " + map_.what();
    const std::vector<YamlNode>* items = read_list(node, what, problems_);
    if (items == nullptr) return ops;
    if (items->empty()) problems_.error(node.place, what + ": expected at least one operation, found an empty list");
    for (const YamlNode& item : *items) read_op(region, item, ops);
    return ops;
}

void SourceReader::read_op(const RegionSpec& region, const YamlNode& node, std::vector<WriteOp>& ops) {
    const bool policy_known = draft_.policy_known(region);
    std::vector<WriteOp> allowed = operations_of(region.policy);
    if (!policy_known) allowed.assign(std::begin(all_ops), std::end(all_ops));
    std::vector<std::string> words;
    for (const WriteOp op : allowed) words.emplace_back(to_text(op));
    const std::string policy = policy_known ? ", which is " + std::string(to_text(region.policy)) : std::string();
    const std::string what = "an operation on region " + in_quotes(region.name) + policy;
    const std::optional<std::size_t> index = read_word(node, what, words, problems_);
    if (!index.has_value()) return;
    const WriteOp op = allowed[*index];
    if (std::find(ops.begin(), ops.end(), op) != ops.end()) {
        problems_.error(node.place, "may.write." + region.name + " of " + map_.what() + ": " + in_quotes(node.text) +
                                        " is named twice");
        return;
    }
    const bool has_owner = policy_known && region.policy == PolicyKind::single_writer && !region.owner.empty();
    if (has_owner && op != WriteOp::retract && region.owner != spec_.name) {
        problems_.error(node.place, map_.what() + " may not " + to_text(op) + " in region " + in_quotes(region.name) +
                                        ", which is single_writer and owned by source " + in_quotes(region.owner));
        return;
    }
    ops.push_back(op);
}

void SourceReader::read_wake() {
    const YamlMember* wake = map_.optional_member("wake");
    const YamlMember* batch = map_.optional_member("batch");
    std::optional<std::size_t> mode;
    if (wake != nullptr) mode = read_word(wake->value, map_.part("wake"), {"each", "once", "batch"}, problems_);
    if (mode.has_value()) spec_.wake = static_cast<WakeMode>(*mode);
    if (batch == nullptr) return;
    if (mode.has_value() && spec_.wake != WakeMode::batch) {
        problems_.error(batch->place, map_.what() + " has \"wake: " + to_text(spec_.wake) +
                                          "\"; \"batch\" goes with \"wake: batch\"");
    }
    spec_.wake = WakeMode::batch;
    MapReader map(batch->value, map_.part("batch"), problems_);
    if (const YamlNode* max = map.optional("max")) {
        const auto count = read_count(*max, map.part("max"), {.min = 1, .max = 100'000}, problems_);
        if (count.has_value()) spec_.batch_max = static_cast<std::uint32_t>(*count);
    }
    if (const YamlNode* within = map.optional("within")) {
        const auto duration = read_duration(*within, map.part("within"), 0, problems_);
        if (duration.has_value()) spec_.batch_within_ms = *duration;
    }
    map.finish();
}

void SourceReader::read_limits() {
    const YamlNode* node = map_.optional("limits");
    if (node == nullptr) return;
    SourceLimits& limits = spec_.limits;
    MapReader map(*node, map_.part("limits"), problems_);
    const auto count = [&](std::string_view key, CountRange range, auto& target) {
        const YamlNode* value = map.optional(key);
        if (value == nullptr) return;
        const std::optional<std::uint64_t> read = read_count(*value, map.part(key), range, problems_);
        if (read.has_value()) target = static_cast<std::remove_reference_t<decltype(target)>>(*read);
    };
    const auto duration = [&](std::string_view key, std::int64_t min_ms, std::int64_t& target) {
        const YamlNode* value = map.optional(key);
        if (value == nullptr) return;
        target = read_duration(*value, map.part(key), min_ms, problems_).value_or(target);
    };
    const auto size = [&](std::string_view key, auto& target) {
        const YamlNode* value = map.optional(key);
        if (value != nullptr) target = read_size(*value, map.part(key), problems_).value_or(target);
    };
    count("attempts", {.min = 1, .max = 1'000}, limits.attempts);
    count("conflicts", {.min = 1, .max = 100'000}, limits.conflicts);
    duration("backoff", 0, limits.backoff_ms);
    count("concurrency", {.min = 1, .max = concurrency_max}, limits.concurrency);
    count("activations", {.min = 1, .max = count_max}, limits.activations);
    duration("wall", 1, limits.wall_ms);
    duration("timeout", 1, limits.timeout_ms);
    size("output", limits.output_bytes);
    size("memory", limits.memory_bytes);
    if (const std::optional<SourcePlace> money = read_call_caps(draft_, map, limits.calls)) {
        draft_.money_caps.push_back(
            {map.part("money"), *money, std::nullopt, static_cast<std::uint32_t>(draft_.crew.sources.size())});
    }
    if (kind_known_) {
        const bool is_rule = spec_.kind == SourceKind::rule;
        const bool is_process = spec_.kind == SourceKind::process;
        for (const std::string_view key : {"timeout", "output"}) {
            check_limit(*node, key, !is_rule, "is a rule, which runs no process");
        }
        check_limit(*node, "memory", is_process,
                    is_rule ? "is a rule, which runs no process" : "runs no process whose memory could be bounded");
        for (const std::string_view key : {"tokens", "money", "calls"}) {
            check_limit(*node, key, !is_rule && !is_process, "calls no model, service or tool");
        }
    }
    map.finish();
}

void SourceReader::check_limit(const YamlNode& node, std::string_view key, bool fits, std::string_view why) {
    const YamlMember* member = node.find(key);
    if (member == nullptr || fits) return;
    problems_.error(member->place, map_.what() + " " + std::string(why) + "; leave out " + in_quotes(key));
}

// A prompt that stands in a file counts as if it stood in the crew.
YamlNode SourceReader::declared() const {
    YamlNode node = member_.value;
    for (YamlMember& member : node.members) {
        const YamlMember* file = member.key == "prompt" ? member.value.find("file") : nullptr;
        if (file == nullptr) continue;
        const auto found = draft_.files.find(file->value.text);
        if (found == draft_.files.end()) continue;
        YamlNode content;
        content.kind = YamlNode::Kind::scalar;
        content.text = found->second.content;
        member.value = std::move(content);
    }
    return node;
}

void SourceReader::read_priority() {
    const YamlNode* priority = map_.optional("priority");
    if (priority == nullptr) return;
    if (!is_reference(*priority)) {
        spec_.priority = read_number(*priority, map_.part("priority"), problems_).value_or(0);
        return;
    }
    spec_.priority_field = read_reference(draft_, scope_, *priority);
    if (!spec_.priority_field.has_value()) return;
    const TypeFact fact = type_of_reference(scope_, *spec_.priority_field);
    if (may_be_number(fact.type)) return;
    problems_.error(priority->place, map_.part("priority") + ": " + in_quotes(priority->text) + " is " +
                                         with_article(fact.type) + "; a rating is a number");
}

void SourceReader::read_score() {
    if (const YamlNode* cost = map_.optional("cost")) {
        MapReader map(*cost, map_.part("cost"), problems_);
        const auto read = [&](const char* key) {
            const YamlNode* node = map.optional(key);
            const double number = node == nullptr ? 0 : read_number(*node, map.part(key), problems_).value_or(0);
            if (number < 0) problems_.error(node->place, map.part(key) + ": a cost is not negative");
            return number;
        };
        spec_.cost_money = read("money");
        spec_.cost_tokens = read("tokens");
        map.finish();
    }
    const YamlNode* score = map_.optional("score");
    if (score == nullptr) return;
    const std::optional<std::string> text = read_text(*score, map_.part("score"), problems_);
    if (!text.has_value()) return;
    bool reported = false;
    const Score::Resolve resolve = [&](std::string_view reference) -> Result<VariableRef> {
        YamlNode node = *score;
        node.text = reference;
        std::optional<VariableRef> found = read_reference(draft_, scope_, node);
        if (found.has_value()) return *found;
        reported = true;
        return Error{ErrorCode::invalid_argument, "no such reference"};
    };
    Result<std::shared_ptr<const Score>> parsed = Score::parse(*text, resolve);
    if (parsed.ok()) {
        spec_.score = std::move(*parsed);
    } else if (!reported) {
        problems_.error(score->place, map_.part("score") + ": " + parsed.error().message);
    }
}

void SourceReader::read_habits() {
    if (const YamlNode* node = map_.optional("on_stale")) {
        const auto index = read_word(*node, map_.part("on_stale"), {"discard", "strict", "commit"}, problems_);
        spec_.on_stale = static_cast<OnStale>(index.value_or(0));
    }
    if (const YamlNode* node = map_.optional("on_crash")) {
        const auto index = read_word(*node, map_.part("on_crash"), {"retry", "skip"}, problems_);
        spec_.on_crash = static_cast<OnCrash>(index.value_or(0));
    }
    if (const YamlNode* node = map_.optional("exclusive")) {
        const std::optional<std::string> group = read_text(*node, map_.part("exclusive"), problems_);
        if (group.has_value()) {
            check_name(*group, node->place, "an exclusive group", problems_);
            spec_.exclusive = *group;
        }
    }
    if (const YamlNode* node = map_.optional("wrap_up")) {
        spec_.wrap_up = read_flag(draft_, *node, map_.part("wrap_up")).value_or(false);
    }
    RegionSpec scratch = scratch_region(spec_.name);
    if (const YamlNode* node = map_.optional("scratch")) {
        scratch.durable_scratch = read_word(*node, map_.part("scratch"), {"durable"}, problems_).has_value();
    }
    draft_.scratch_regions.push_back(std::move(scratch));
}

// Which keys a kind has is told here once, so that a key of another kind is named as such.
void SourceReader::read_kind_keys() {
    struct KeyOfKinds {
        std::string_view key;
        std::initializer_list<SourceKind> kinds;
    };
    static const KeyOfKinds keys[] = {
        {"command", {SourceKind::process}},
        {"env", {SourceKind::process}},
        {"pass_env", {SourceKind::process}},
        {"then", {SourceKind::rule, SourceKind::mcp}},
        {"view", {SourceKind::process, SourceKind::llm, SourceKind::http}},
        {"model", {SourceKind::llm}},
        {"llm", {SourceKind::llm}},
        {"fallback", {SourceKind::llm}},
        {"role", {SourceKind::llm}},
        {"goal", {SourceKind::llm}},
        {"backstory", {SourceKind::llm}},
        {"prompt", {SourceKind::llm}},
        {"description", {SourceKind::llm}},
        {"expected_output", {SourceKind::llm}},
        {"tools", {SourceKind::llm}},
        {"max_turns", {SourceKind::llm}},
        {"max_iter", {SourceKind::llm}},
        {"reuse", {SourceKind::llm}},
        {"view_tokens", {SourceKind::llm}},
        {"url", {SourceKind::http}},
        {"headers", {SourceKind::http}},
        {"secret_env", {SourceKind::http}},
        {"tries", {SourceKind::http}},
        {"tool", {SourceKind::mcp}},
        {"arguments", {SourceKind::mcp}},
        {"pure", {SourceKind::http, SourceKind::mcp}},
    };
    for (const KeyOfKinds& entry : keys) {
        const YamlMember* member = member_.value.find(entry.key);
        if (member == nullptr) continue;
        const bool fits = std::find(entry.kinds.begin(), entry.kinds.end(), spec_.kind) != entry.kinds.end();
        if (kind_known_ && fits) continue;
        (void)map_.optional(entry.key);
        if (kind_known_) refuse_key(*member, {entry.kinds.begin(), entry.kinds.end()});
    }
    if (!kind_known_) {
        read_process();
        if (const YamlNode* then = map_.optional("then")) spec_.then = read_rule(draft_, reader_, scope_, *then);
        return;
    }
    SourceParts parts{draft_, map_, spec_, reader_, scope_, member_.place};
    switch (spec_.kind) {
        case SourceKind::process:
            read_process();
            break;
        case SourceKind::rule:
            if (const YamlNode* then = map_.required("then")) {
                spec_.then = read_rule(draft_, reader_, scope_, *then);
            }
            break;
        case SourceKind::llm:
            read_llm(parts);
            break;
        case SourceKind::http:
            read_http(parts);
            break;
        case SourceKind::mcp:
            read_mcp(parts);
            break;
        case SourceKind::native:
            break;
    }
}

void SourceReader::refuse_key(const YamlMember& member, const std::vector<SourceKind>& kinds) {
    const std::string& key = member.key;
    std::string why;
    if (spec_.kind == SourceKind::rule && (kinds.front() == SourceKind::process)) {
        why = " is a rule, which runs no process";
    } else if (spec_.kind == SourceKind::process && key == "then") {
        why = " is a process, whose output is what it writes";
    } else {
        std::string words;
        for (std::size_t i = 0; i < kinds.size(); ++i) {
            if (i > 0) words += i + 1 == kinds.size() ? " and " : ", ";
            words += to_text(kinds[i]);
        }
        why = " is of kind " + std::string(to_text(spec_.kind)) + ", and " + in_quotes(key) + " goes with " + words;
    }
    problems_.error(member.place, map_.what() + why + "; leave out " + in_quotes(key));
}

void SourceReader::read_process() {
    const YamlNode* command = kind_known_ ? map_.required("command") : map_.optional("command");
    if (command != nullptr) spec_.command = read_command(draft_, *command, map_.part("command"));
    if (const YamlNode* environment = map_.optional("env")) {
        spec_.environment = read_environment(draft_, *environment, map_.part("env"), false);
    }
    if (const YamlNode* passed = map_.optional("pass_env")) {
        spec_.pass_environment = read_passed_environment(draft_, *passed, map_.part("pass_env"), spec_.environment);
    }
}

void SourceReader::warn_about_silence() {
    if (!kind_known_ || !spec_.may.write.empty() || !reader_.writes_known) return;
    if (spec_.kind == SourceKind::rule || spec_.kind == SourceKind::mcp) return;
    const std::string_view says = spec_.kind == SourceKind::process ? "outputs" : "answers";
    problems_.warn(member_.place,
                   map_.what() + " has no may.write, so nothing it " + std::string(says) + " can reach the board");
}

}  // namespace

void read_sources(CrewDraft& draft, const YamlNode* node) {
    if (node == nullptr || !node->is_map()) {
        if (node != nullptr)
            draft.problems.error(node->place, unexpected("sources", "a map from name to source", *node));
        return;
    }
    if (node->members.empty()) draft.problems.error(node->place, "sources: a crew needs at least one source");
    for (const YamlMember& member : node->members) {
        draft.crew.sources.push_back(SourceReader(draft, member).read());
    }
}

}  // namespace stele

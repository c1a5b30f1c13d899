#include "board/region_policy.hpp"

#include <array>
#include <cassert>

#include "board/policies.hpp"

namespace stele {

const RegionPolicy& policy_of(PolicyKind kind) {
    static const std::array<const RegionPolicy*, 6> registered = {
        &append_only_policy(), &set_union_policy(),        &single_writer_policy(),
        &cas_policy(),         &last_writer_wins_policy(), &counter_policy(),
    };
    for (const RegionPolicy* policy : registered) {
        if (policy->kind() == kind) return *policy;
    }
    assert(false && "a policy without registration");
    return *registered[0];
}

std::vector<WriteOp> operations_of(PolicyKind kind) {
    const std::span<const WriteOp> own = policy_of(kind).operations();
    std::vector<WriteOp> all(own.begin(), own.end());
    all.push_back(WriteOp::retract);
    return all;
}

Result<PolicyAnswer> decide_retract(const RegionAccess& region, const WriteContext& context, const Write& write) {
    const RegionSpec& spec = region.spec();
    const EntryId id{spec.name, write.number};
    const std::uint32_t line = context.line + 1;
    const Result<std::optional<EntryState>> found = region.entry(write.number);
    if (!found.ok()) return found.error();
    if (!found->has_value()) {
        return PolicyAnswer(Refusal{line, RefusalRule::unknown, "there is no entry " + to_text(id), {}});
    }
    const EntryState& current = **found;
    if (!current.active) {
        return PolicyAnswer(Refusal{line,
                                    RefusalRule::unknown,
                                    to_text(id) + " was already retracted at version " +
                                        std::to_string(current.position.number) + " of the board",
                                    {}});
    }
    if (current.author != context.author && !context.may_retract_others) {
        return PolicyAnswer(Refusal{line,
                                    RefusalRule::grant,
                                    context.author + " may not retract " + to_text(id) + ", which " + current.author +
                                        " wrote: grant it `retract` on " + spec.name,
                                    {}});
    }
    if (write.expected_version != 0 && write.expected_version != current.version) {
        return conflict_with(region, context, current,
                             "expected version " + std::to_string(write.expected_version) + " of " + to_text(id) +
                                 ", found " + std::to_string(current.version));
    }
    // Where entries change under their id, a retraction means the version its author had read.
    const bool changes_under_id = has_keys(spec) || spec.policy == PolicyKind::cas;
    bool unseen = current.position > context.snapshot && current.position != context.position;
    if (spec.policy == PolicyKind::set_union && !unseen) {
        // An equal add makes no new version, but it is somebody's word all the same.
        const Result<std::vector<AddTag>> adds = region.adds(write.number);
        if (!adds.ok()) return adds.error();
        for (const AddTag& add : *adds) {
            unseen = unseen || (add.position > context.snapshot && add.position != context.position);
        }
    }
    if (write.expected_version == 0 && changes_under_id && unseen) {
        return conflict_with(region, context, current, to_text(id) + " has a version that its retractor had not read");
    }
    PolicyDecision decision;
    decision.effect = WriteOutcome::Effect::removed;
    decision.after = current;
    decision.after.active = false;
    decision.after.position = context.position;
    if (spec.policy == PolicyKind::set_union) decision.adds.emplace();
    if (spec.policy == PolicyKind::counter) {
        const Result<std::string> text = region.content(current);
        if (!text.ok()) return text.error();
        const Result<Value> content = parse_json(*text);
        if (!content.ok()) return content.error();
        std::int64_t sum = 0;
        if (__builtin_sub_overflow(region.sum(), content->find("by")->as_int(), &sum)) {
            return PolicyAnswer(
                Refusal{line,
                        RefusalRule::overflow,
                        "retracting " + to_text(id) + " takes the sum of " + spec.name + " beyond int64",
                        {}});
        }
        decision.new_sum = sum;
    }
    return PolicyAnswer(std::move(decision));
}

std::string key_text_of(const RegionSpec& spec, const Value& content, std::string_view content_text) {
    if (spec.policy == PolicyKind::set_union && spec.key.empty()) return std::string(content_text);
    Value::Array key;
    key.reserve(spec.key.size());
    for (const std::string& field : spec.key) {
        const Value* value = content.find(field);
        key.push_back(value == nullptr ? Value() : *value);
    }
    return to_json(Value(std::move(key)));
}

Result<std::optional<std::uint64_t>> number_meant(const RegionAccess& region, const Write& write,
                                                  std::string_view key_text) {
    if (!write.purged) return region.number_of_key(key_text);
    const bool known = write.number != 0 && write.number < region.next_number();
    return known ? std::optional<std::uint64_t>(write.number) : std::nullopt;
}

bool has_keys(const RegionSpec& spec) {
    switch (spec.policy) {
        case PolicyKind::set_union:
        case PolicyKind::single_writer:
        case PolicyKind::last_writer_wins:
            return true;
        case PolicyKind::cas:
            return !spec.key.empty();
        case PolicyKind::append_only:
        case PolicyKind::counter:
            return false;
    }
    return false;
}

PolicyDecision fresh_entry(const RegionAccess& region, const WriteContext& context) {
    PolicyDecision decision;
    decision.effect = WriteOutcome::Effect::added;
    decision.after.number = region.next_number();
    decision.after.version = 1;
    decision.after.position = context.position;
    decision.after.content_position = context.position;
    decision.after.content_line = context.line;
    decision.after.author = context.author;
    return decision;
}

PolicyDecision next_version(const EntryState& before, const WriteContext& context) {
    PolicyDecision decision;
    decision.effect = before.active ? WriteOutcome::Effect::updated : WriteOutcome::Effect::added;
    decision.after = before;
    decision.after.version = before.version + 1;
    decision.after.active = true;
    decision.after.position = context.position;
    decision.after.content_position = context.position;
    decision.after.content_line = context.line;
    decision.after.merged_text.reset();
    decision.after.author = context.author;
    return decision;
}

Result<PolicyAnswer> conflict_with(const RegionAccess& region, const WriteContext& context, const EntryState& current,
                                   std::string why) {
    const Result<std::string> text = region.content(current);
    if (!text.ok()) return text.error();
    Result<Value> content = parse_json(*text);
    if (!content.ok()) return content.error();
    Refusal refusal;
    refusal.line = context.line + 1;
    refusal.rule = RefusalRule::conflict;
    refusal.message = "region \"" + region.spec().name + "\": " + std::move(why);
    refusal.current = Value::object({{"id", to_text(EntryId{region.spec().name, current.number})},
                                     {"version", static_cast<std::int64_t>(current.version)},
                                     {"entry", std::move(*content)},
                                     {"active", current.active}});
    return PolicyAnswer(std::move(refusal));
}

}  // namespace stele

// An observed-remove set: a remove takes away the adds that its author had seen, so an add made at
// the same time wins. After Shapiro et al., "A comprehensive study of Convergent and Commutative
// Replicated Data Types" (2011), section 3.3.5; here the log's positions are the unique tags.
#include <algorithm>

#include "board/policies.hpp"

namespace stele {
namespace {

Value merge_values(MergeLaw law, const Value& a, const Value& b) {
    switch (law) {
        case MergeLaw::min:
            return compare(a, b) <= 0 ? a : b;
        case MergeLaw::max:
            return compare(a, b) >= 0 ? a : b;
        case MergeLaw::set_union: {
            Value::Array all = a.is_array() ? a.as_array() : Value::Array{a};
            const Value::Array more = b.is_array() ? b.as_array() : Value::Array{b};
            all.insert(all.end(), more.begin(), more.end());
            std::sort(all.begin(), all.end(), [](const Value& x, const Value& y) { return compare(x, y) < 0; });
            all.erase(std::unique(all.begin(), all.end()), all.end());
            return Value(std::move(all));
        }
    }
    return a;
}

// What equal keys with these contents amount to. Null stands for a field that an add left out.
Result<std::string> merged_content(const RegionSpec& spec, const std::vector<AddTag>& adds) {
    Value merged;
    for (const AddTag& add : adds) {
        Result<Value> content = parse_json(add.text);
        if (!content.ok()) return content.error();
        if (content->is_null()) return std::string("null");  // purged, and so are all the others
        if (merged.is_null()) {
            merged = Value::object({});
            for (const std::string& field : spec.key) {
                const Value* value = content->find(field);
                // Null and absent are one key, so the merged entry must not depend on who came first.
                if (value != nullptr && !value->is_null()) merged.set(field, *value);
            }
        }
        for (const auto& [field, law] : spec.merge) {
            const Value* theirs = content->find(field);
            if (theirs == nullptr || theirs->is_null()) continue;
            const Value* ours = merged.find(field);
            // Merging a union with itself puts it in its sorted form.
            merged.set(field, merge_values(law, ours == nullptr ? *theirs : *ours, *theirs));
        }
    }
    return to_json(merged);
}

bool whole_entry_is_key(const RegionSpec& spec) { return spec.key.empty(); }

class SetUnionPolicy final : public RegionPolicy {
public:
    PolicyKind kind() const override { return PolicyKind::set_union; }
    std::span<const WriteOp> operations() const override {
        static constexpr WriteOp own[] = {WriteOp::add, WriteOp::remove};
        return own;
    }
    Result<PolicyAnswer> decide(const RegionAccess& region, const WriteContext& context,
                                const Write& write) const override {
        return write.op == WriteOp::add ? decide_add(region, context, write) : decide_remove(region, context, write);
    }

private:
    static Result<PolicyAnswer> decide_add(const RegionAccess& region, const WriteContext& context,
                                           const Write& write) {
        const RegionSpec& spec = region.spec();
        std::string key = key_text_of(spec, write.content, write.text);
        AddTag add{context.position, context.author, whole_entry_is_key(spec) ? std::string() : write.text};
        const Result<std::optional<std::uint64_t>> number = number_meant(region, write, key);
        if (!number.ok()) return number.error();
        if (!number->has_value()) {
            PolicyDecision decision = fresh_entry(region, context);
            if (!write.purged) decision.new_key = std::move(key);
            decision.adds = {std::move(add)};
            const Status settled = settle_content(spec, decision);
            if (!settled.ok()) return settled.error();
            return PolicyAnswer(std::move(decision));
        }
        const Result<std::optional<EntryState>> current = region.entry(**number);
        if (!current.ok()) return current.error();
        Result<std::vector<AddTag>> adds = region.adds(**number);
        if (!adds.ok()) return adds.error();
        record_add(*adds, std::move(add));
        if (!(*current)->active) {
            PolicyDecision decision = next_version(**current, context);
            decision.adds = std::move(*adds);
            const Status settled = settle_content(spec, decision);
            if (!settled.ok()) return settled.error();
            return PolicyAnswer(std::move(decision));
        }
        return changed_content(region, context, **current, write, std::move(*adds));
    }

    static Result<PolicyAnswer> decide_remove(const RegionAccess& region, const WriteContext& context,
                                              const Write& write) {
        const RegionSpec& spec = region.spec();
        std::uint64_t number = write.number;
        if (number == 0) {
            const Result<std::optional<std::uint64_t>> found =
                number_meant(region, write, key_text_of(spec, write.content, write.text));
            if (!found.ok()) return found.error();
            number = found->value_or(0);
        }
        const Result<std::optional<EntryState>> current = region.entry(number);
        if (!current.ok()) return current.error();
        if (number != 0 && !current->has_value()) {
            return PolicyAnswer(Refusal{context.line + 1,
                                        RefusalRule::unknown,
                                        "there is no entry " + to_text(EntryId{spec.name, number}),
                                        {}});
        }
        // Removing what is not there is what two removers at once look like: nothing to do.
        if (!current->has_value() || !(*current)->active) {
            PolicyDecision decision;
            if (current->has_value()) decision.after = **current;
            return PolicyAnswer(std::move(decision));
        }
        Result<std::vector<AddTag>> adds = region.adds(number);
        if (!adds.ok()) return adds.error();
        const auto seen = [&](const AddTag& add) {
            return add.position <= context.snapshot || add.position == context.position;
        };
        adds->erase(std::remove_if(adds->begin(), adds->end(), seen), adds->end());
        if (!adds->empty()) return changed_content(region, context, **current, write, std::move(*adds));
        PolicyDecision decision;
        decision.effect = WriteOutcome::Effect::removed;
        decision.after = **current;
        decision.after.active = false;
        decision.after.position = context.position;
        decision.adds.emplace();
        return PolicyAnswer(std::move(decision));
    }

    // A new version only if what the adds amount to differs from what stands there.
    static Result<PolicyAnswer> changed_content(const RegionAccess& region, const WriteContext& context,
                                                const EntryState& current, const Write& write,
                                                std::vector<AddTag> adds) {
        const RegionSpec& spec = region.spec();
        PolicyDecision decision;
        decision.after = current;
        if (!whole_entry_is_key(spec)) {
            Result<std::string> merged = merged_content(spec, adds);
            if (!merged.ok()) return merged.error();
            const Result<std::string> before = region.content(current);
            if (!before.ok()) return before.error();
            const bool differs = write.purged ? write.expected_version > current.version : *merged != *before;
            if (differs) {
                decision = next_version(current, context);
                decision.after.merged_text = std::move(*merged);
            }
        }
        decision.adds = std::move(adds);
        return PolicyAnswer(std::move(decision));
    }

    static Status settle_content(const RegionSpec& spec, PolicyDecision& decision) {
        if (whole_entry_is_key(spec)) return Done{};
        Result<std::string> merged = merged_content(spec, *decision.adds);
        if (!merged.ok()) return merged.error();
        decision.after.merged_text = std::move(*merged);
        return Done{};
    }
};

}  // namespace

// The same author saying the same again: the newer add stands for both, since whatever remove
// misses the newer one leaves the entry anyway. Keeps the tags bounded by authors and contents.
void record_add(std::vector<AddTag>& adds, AddTag add) {
    for (AddTag& known : adds) {
        if (known.author == add.author && known.text == add.text) {
            known.position = add.position;
            return;
        }
    }
    adds.push_back(std::move(add));
}

const RegionPolicy& set_union_policy() {
    static const SetUnionPolicy policy;
    return policy;
}

}  // namespace stele

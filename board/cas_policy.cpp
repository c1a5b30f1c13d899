#include "board/policies.hpp"

namespace stele {
namespace {

// Compare-and-set: a replace names the version it had read, and loses if that has moved on.
class CasPolicy final : public RegionPolicy {
public:
    PolicyKind kind() const override { return PolicyKind::cas; }
    std::span<const WriteOp> operations() const override {
        static constexpr WriteOp own[] = {WriteOp::insert, WriteOp::replace};
        return own;
    }
    Result<PolicyAnswer> decide(const RegionAccess& region, const WriteContext& context,
                                const Write& write) const override {
        return write.op == WriteOp::insert ? decide_insert(region, context, write)
                                           : decide_replace(region, context, write);
    }

private:
    static Result<PolicyAnswer> decide_insert(const RegionAccess& region, const WriteContext& context,
                                              const Write& write) {
        const RegionSpec& spec = region.spec();
        if (spec.key.empty()) return PolicyAnswer(fresh_entry(region, context));
        std::string key = key_text_of(spec, write.content, write.text);
        const Result<std::optional<std::uint64_t>> number = region.number_of_key(key);
        if (!number.ok()) return number.error();
        if (number->has_value()) {
            const Result<std::optional<EntryState>> current = region.entry(**number);
            if (!current.ok()) return current.error();
            if ((*current)->active) {
                return conflict_with(region, context, **current,
                                     "there is an entry with the key " + key + " already, " +
                                         to_text(EntryId{spec.name, (*current)->number}) + "; replace it instead");
            }
            return PolicyAnswer(next_version(**current, context));
        }
        PolicyDecision decision = fresh_entry(region, context);
        decision.new_key = std::move(key);
        return PolicyAnswer(std::move(decision));
    }

    static Result<PolicyAnswer> decide_replace(const RegionAccess& region, const WriteContext& context,
                                               const Write& write) {
        const RegionSpec& spec = region.spec();
        const EntryId id{spec.name, write.number};
        const std::uint32_t line = context.line + 1;
        if (write.expected_version == 0) {
            return PolicyAnswer(Refusal{
                line, RefusalRule::unknown, "replace of " + to_text(id) + " must name the version that was read", {}});
        }
        const Result<std::optional<EntryState>> current = region.entry(write.number);
        if (!current.ok()) return current.error();
        if (!current->has_value()) {
            return PolicyAnswer(Refusal{line, RefusalRule::unknown, "there is no entry " + to_text(id), {}});
        }
        const EntryState& state = **current;
        if (!state.active) {
            return conflict_with(region, context, state, to_text(id) + " has been retracted");
        }
        if (state.version != write.expected_version) {
            return conflict_with(region, context, state,
                                 "expected version " + std::to_string(write.expected_version) + " of " + to_text(id) +
                                     ", found " + std::to_string(state.version));
        }
        if (!spec.key.empty()) {
            const Result<std::string> text = region.content(state);
            if (!text.ok()) return text.error();
            const Result<Value> content = parse_json(*text);
            if (!content.ok()) return content.error();
            if (key_text_of(spec, *content, *text) != key_text_of(spec, write.content, write.text)) {
                return PolicyAnswer(
                    Refusal{line, RefusalRule::schema, "replace may not change the key of " + to_text(id), {}});
            }
        }
        return PolicyAnswer(next_version(state, context));
    }
};

}  // namespace

const RegionPolicy& cas_policy() {
    static const CasPolicy policy;
    return policy;
}

}  // namespace stele

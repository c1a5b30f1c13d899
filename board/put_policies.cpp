// The two laws of `put`: by the declared owner only, or by anyone with the last one winning.
#include "board/policies.hpp"

namespace stele {
namespace {

Result<PolicyAnswer> decide_put(const RegionAccess& region, const WriteContext& context, const Write& write,
                                bool conflict_when_unseen) {
    const RegionSpec& spec = region.spec();
    std::string key = key_text_of(spec, write.content, write.text);
    const Result<std::optional<std::uint64_t>> number = number_meant(region, write, key);
    if (!number.ok()) return number.error();
    if (!number->has_value()) {
        PolicyDecision decision = fresh_entry(region, context);
        if (!write.purged) decision.new_key = std::move(key);
        return PolicyAnswer(std::move(decision));
    }
    const Result<std::optional<EntryState>> current = region.entry(**number);
    if (!current.ok()) return current.error();
    const EntryState& state = **current;
    const bool unseen = state.position > context.snapshot && state.position != context.position;
    if (conflict_when_unseen && unseen) {
        return conflict_with(region, context, state,
                             to_text(EntryId{spec.name, state.number}) + " is at version " +
                                 std::to_string(state.version) + ", newer than the owner's snapshot");
    }
    return PolicyAnswer(next_version(state, context));
}

class SingleWriterPolicy final : public RegionPolicy {
public:
    PolicyKind kind() const override { return PolicyKind::single_writer; }
    std::span<const WriteOp> operations() const override {
        static constexpr WriteOp own[] = {WriteOp::put};
        return own;
    }
    Result<PolicyAnswer> decide(const RegionAccess& region, const WriteContext& context,
                                const Write& write) const override {
        const RegionSpec& spec = region.spec();
        if (context.author != spec.owner && !context.acts_as_owner) {
            return PolicyAnswer(Refusal{context.line + 1,
                                        RefusalRule::owner,
                                        "region \"" + spec.name + "\" is written by its owner " + spec.owner +
                                            " only, not by " + context.author,
                                        {}});
        }
        return decide_put(region, context, write, true);
    }
};

class LastWriterWinsPolicy final : public RegionPolicy {
public:
    PolicyKind kind() const override { return PolicyKind::last_writer_wins; }
    std::span<const WriteOp> operations() const override {
        static constexpr WriteOp own[] = {WriteOp::put};
        return own;
    }
    Result<PolicyAnswer> decide(const RegionAccess& region, const WriteContext& context,
                                const Write& write) const override {
        return decide_put(region, context, write, false);
    }
};

}  // namespace

const RegionPolicy& single_writer_policy() {
    static const SingleWriterPolicy policy;
    return policy;
}

const RegionPolicy& last_writer_wins_policy() {
    static const LastWriterWinsPolicy policy;
    return policy;
}

}  // namespace stele

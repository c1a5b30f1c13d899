#include "board/policies.hpp"

namespace stele {
namespace {

// The value is the sum of the active increments, so increments commute and can be taken back.
class CounterPolicy final : public RegionPolicy {
public:
    PolicyKind kind() const override { return PolicyKind::counter; }
    std::span<const WriteOp> operations() const override {
        static constexpr WriteOp own[] = {WriteOp::increment};
        return own;
    }
    Result<PolicyAnswer> decide(const RegionAccess& region, const WriteContext& context,
                                const Write& write) const override {
        const Value* by = write.content.find("by");
        const std::uint32_t line = context.line + 1;
        if (by == nullptr || !by->is_int() || write.content.as_object().size() != 1) {
            return PolicyAnswer(
                Refusal{line, RefusalRule::schema, "an increment is {\"by\": integer}, got " + write.text, {}});
        }
        std::int64_t sum = 0;
        if (__builtin_add_overflow(region.sum(), by->as_int(), &sum)) {
            return PolicyAnswer(Refusal{line,
                                        RefusalRule::overflow,
                                        "counter \"" + region.spec().name + "\" is at " + std::to_string(region.sum()) +
                                            "; adding " + std::to_string(by->as_int()) + " passes int64",
                                        {}});
        }
        PolicyDecision decision = fresh_entry(region, context);
        decision.new_sum = sum;
        return PolicyAnswer(std::move(decision));
    }
};

}  // namespace

const RegionPolicy& counter_policy() {
    static const CounterPolicy policy;
    return policy;
}

}  // namespace stele

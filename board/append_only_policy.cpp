#include "board/policies.hpp"

namespace stele {
namespace {

// Every insert stays, in log order; nothing about two writers can conflict.
class AppendOnlyPolicy final : public RegionPolicy {
public:
    PolicyKind kind() const override { return PolicyKind::append_only; }
    std::span<const WriteOp> operations() const override {
        static constexpr WriteOp own[] = {WriteOp::insert};
        return own;
    }
    Result<PolicyAnswer> decide(const RegionAccess& region, const WriteContext& context, const Write&) const override {
        return PolicyAnswer(fresh_entry(region, context));
    }
};

}  // namespace

const RegionPolicy& append_only_policy() {
    static const AppendOnlyPolicy policy;
    return policy;
}

}  // namespace stele

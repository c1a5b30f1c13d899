#include "board/log/memory_store.hpp"

#include <array>
#include <cassert>
#include <map>

namespace stele {
namespace {

class MemoryStore final : public StateStore {
public:
    Result<std::optional<std::string>> get(Column column, std::string_view key) const override {
        const Keys& keys = keys_of(column);
        const auto found = keys.find(key);
        if (found == keys.end()) return std::optional<std::string>();
        return std::optional<std::string>(found->second);
    }

    Status scan(Column column, std::string_view from, std::string_view to, bool reverse,
                const std::function<bool(std::string_view, std::string_view)>& visit) const override {
        if (from >= to) return Done{};
        const Keys& keys = keys_of(column);
        const auto first = keys.lower_bound(from);
        const auto end = keys.lower_bound(to);
        ++scans_running_;
        if (reverse) {
            for (auto at = end; at != first;) {
                --at;
                if (!visit(at->first, at->second)) break;
            }
        } else {
            for (auto at = first; at != end; ++at) {
                if (!visit(at->first, at->second)) break;
            }
        }
        --scans_running_;
        return Done{};
    }

    Status apply(const StoreBatch& batch) override {
        assert(scans_running_ == 0);
        for (const StoreBatch::Operation& operation : batch.operations) {
            Keys& keys = columns_[static_cast<std::size_t>(operation.column)];
            if (operation.value) {
                keys.insert_or_assign(operation.key, *operation.value);
            } else {
                keys.erase(operation.key);
            }
        }
        return Done{};
    }

    Status sync() override { return Done{}; }
    bool is_durable() const override { return false; }

private:
    using Keys = std::map<std::string, std::string, std::less<>>;

    const Keys& keys_of(Column column) const { return columns_[static_cast<std::size_t>(column)]; }

    std::array<Keys, column_count> columns_;
    mutable int scans_running_ = 0;
};

}  // namespace

std::unique_ptr<StateStore> make_memory_store() { return std::make_unique<MemoryStore>(); }

}  // namespace stele

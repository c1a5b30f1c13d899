// Gathers the batches of one turn of the loop, so that they reach the engine as one write. Reads
// see what is gathered as well as what is stored. Loop thread only; sync() as the engine's.
#pragma once

#include <array>
#include <map>
#include <string>

#include "board/log/store.hpp"

namespace stele {

class BufferedStore final : public StateStore {
public:
    explicit BufferedStore(StateStore& engine) : engine_(engine) {}

    Result<std::optional<std::string>> get(Column column, std::string_view key) const override;
    Status scan(Column column, std::string_view from, std::string_view to, bool reverse,
                const std::function<bool(std::string_view key, std::string_view value)>& visit) const override;
    /// Gathers only.
    Status apply(const StoreBatch& batch) override;
    /// Hands everything gathered to the engine as one batch.
    Status flush();
    Status sync() override { return engine_.sync(); }
    [[nodiscard]] bool is_durable() const override { return engine_.is_durable(); }
    [[nodiscard]] bool has_gathered() const { return count_ > 0; }

private:
    using Pending = std::map<std::string, std::optional<std::string>, std::less<>>;

    StateStore& engine_;
    std::array<Pending, column_count> pending_;
    std::size_t count_ = 0;
};

}  // namespace stele

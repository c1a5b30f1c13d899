// A store that hands everything on to another; tests and benchmarks override what they look at.
#pragma once

#include "board/log/store.hpp"

namespace stele {

class ForwardingStore : public StateStore {
public:
    explicit ForwardingStore(StateStore& store) : store_(store) {}

    Result<std::optional<std::string>> get(Column column, std::string_view key) const override {
        return store_.get(column, key);
    }
    Status scan(Column column, std::string_view from, std::string_view to, bool reverse,
                const std::function<bool(std::string_view, std::string_view)>& visit) const override {
        return store_.scan(column, from, to, reverse, visit);
    }
    Status apply(const StoreBatch& batch) override { return store_.apply(batch); }
    Status sync() override { return store_.sync(); }
    [[nodiscard]] bool is_durable() const override { return store_.is_durable(); }

private:
    StateStore& store_;
};

}  // namespace stele

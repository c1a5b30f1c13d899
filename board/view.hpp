// The board as of one version. Readers keep it as long as they like: old versions stay readable
// while writers go on. Cheap to copy; valid as long as the EntryStore it reads from, same thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "board/entry_store.hpp"

namespace stele {

class View {
public:
    View(const EntryStore& entries, Position at) : entries_(&entries), at_(at) {}

    [[nodiscard]] Position version() const { return at_; }

    /// The entry as it was then; none if it was not there or had been retracted.
    [[nodiscard]] Result<EntryPtr> find(const EntryId& id) const;
    /// The same, tombstones included.
    [[nodiscard]] Result<EntryPtr> find_any(const EntryId& id) const;
    /// Active entries by number, ascending or in reverse, until `visit` returns false.
    Status for_each(std::string_view region, bool reverse, const std::function<bool(const EntryPtr&)>& visit) const;
    [[nodiscard]] Result<std::uint64_t> count(std::string_view region) const;

private:
    const EntryStore* entries_;
    Position at_;
};

}  // namespace stele

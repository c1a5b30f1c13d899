#include "board/view.hpp"

namespace stele {

Result<EntryPtr> View::find(const EntryId& id) const {
    Result<EntryPtr> found = find_any(id);
    if (found.ok() && *found && !(*found)->active) return EntryPtr();
    return found;
}

Result<EntryPtr> View::find_any(const EntryId& id) const {
    const RegionState* region = entries_->region(id.region);
    if (region == nullptr) return EntryPtr();
    const Result<std::optional<EntryState>> state = entries_->at(region->number, id.number, at_);
    if (!state.ok()) return state.error();
    if (!state->has_value()) return EntryPtr();
    return entries_->load(region->number, **state);
}

Status View::for_each(std::string_view region, bool reverse, const std::function<bool(const EntryPtr&)>& visit) const {
    const RegionState* known = entries_->region(region);
    if (known == nullptr) return Done{};
    Status loaded = Done{};
    const Status scanned = entries_->for_each(known->number, at_, reverse, [&](const EntryState& state) {
        if (!state.active) return true;
        const Result<EntryPtr> entry = entries_->load(known->number, state);
        if (!entry.ok()) {
            loaded = entry.error();
            return false;
        }
        return visit(*entry);
    });
    if (!scanned.ok()) return scanned;
    return loaded;
}

Result<std::uint64_t> View::count(std::string_view region) const {
    const RegionState* known = entries_->region(region);
    if (known == nullptr) return std::uint64_t{0};
    // The fold keeps the count of the newest version.
    if (at_ >= known->last_change) return known->active_entries;
    std::uint64_t count = 0;
    const Status scanned = entries_->for_each(known->number, at_, false, [&](const EntryState& state) {
        count += state.active ? 1 : 0;
        return true;
    });
    if (!scanned.ok()) return scanned.error();
    return count;
}

}  // namespace stele

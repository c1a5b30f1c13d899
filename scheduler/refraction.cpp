#include "scheduler/refraction.hpp"

#include <utility>

#include "scheduler/checkpoint.hpp"

namespace stele {
namespace {

// Entry numbers stay far below 2^40, region counts below 2^24.
constexpr int region_shift = 40;

// What is newest is what is likeliest to change next: one entry is enough to know a match by, and lists of entries
// that many matches share stay short.
const EntryPtr* newest_of(const Match& match) {
    const EntryPtr* newest = nullptr;
    for (const EntryPtr& entry : match.entries) {
        if (entry && (newest == nullptr || entry->position > (*newest)->position)) newest = &entry;
    }
    return newest;
}

}  // namespace

std::optional<MatchStatus> Refraction::of(const Hash128& key) const {
    const auto found = known_.find(key);
    return found == known_.end() ? std::nullopt : std::optional<MatchStatus>(found->second.status);
}

std::uint64_t Refraction::place_of(const EntryId& id) {
    const auto [region, first] = regions_.try_emplace(id.region, static_cast<std::uint32_t>(regions_.size() + 1));
    return (std::uint64_t{region->second} << region_shift) | id.number;
}

void Refraction::note(const SourceSpec& source, const Match& match, MatchStatus status) {
    const auto [at, fresh] = known_.try_emplace(match.key);
    Known& known = at->second;
    if (fresh) {
        if (const EntryPtr* newest = newest_of(match)) known.place = place_of((*newest)->id);
        for (const Position episode : match.episodes) {
            if (!source.when.hides_time()) known.episodes += episode.number;
        }
        if (known.episodes != 0) {
            known.binding = match_key(source.name + '\0' + source.configuration_hash, match.bound, {});
        }
        if (known.place != 0) bound_[known.place].push_back(match.key);
    }
    if (known.gone && status != MatchStatus::claimed) return forget(match.key);
    known.status = status;
    if (status == MatchStatus::claimed || known.episodes == 0) return;
    const auto [latest, only] = latest_.try_emplace(known.binding, match.key);
    if (only || latest->second == match.key) return;
    // One that took long may end after a later one.
    const auto other = known_.find(latest->second);
    if (other != known_.end() && other->second.episodes > known.episodes) return forget(match.key);
    known_.erase(std::exchange(latest->second, match.key));
}

void Refraction::forget(const Hash128& key) {
    const auto known = known_.find(key);
    if (known == known_.end()) return;
    const auto latest = latest_.find(known->second.binding);
    if (latest != latest_.end() && latest->second == key) latest_.erase(latest);
    known_.erase(known);
}

void Refraction::forget_claimed() {
    for (auto known = known_.begin(); known != known_.end();) {
        known = known->second.status == MatchStatus::claimed ? known_.erase(known) : std::next(known);
    }
}

void Refraction::moved(const EntryId& id) {
    const auto region = regions_.find(id.region);
    if (region == regions_.end()) return;
    const auto bound = bound_.find((std::uint64_t{region->second} << region_shift) | id.number);
    if (bound == bound_.end()) return;
    for (const Hash128& key : bound->second) {
        const auto known = known_.find(key);
        if (known == known_.end()) continue;
        if (known->second.status == MatchStatus::claimed) {
            known->second.gone = true;
        } else {
            forget(key);
        }
    }
    bound_.erase(bound);
}

template <class Archive, class Self>
void Refraction::Known::transfer(Archive& archive, Self& self) {
    archive(self.status, self.gone, self.episodes, self.place, self.binding);
}

void Refraction::save(CheckpointWriter& out) const { out(regions_, known_); }

void Refraction::load(CheckpointReader& in) {
    in(regions_, known_);
    for (const auto& [key, known] : known_) {
        if (known.place != 0 && !known.gone) bound_[known.place].push_back(key);
        if (known.status != MatchStatus::claimed && known.episodes != 0) latest_[known.binding] = key;
    }
}

}  // namespace stele

#include "scheduler/content_hash.hpp"

#include "scheduler/checkpoint.hpp"
#include "scheduler/fingerprint.hpp"

namespace stele {
namespace {

std::uint64_t increment_of(const EntryPtr& entry) {
    return entry ? static_cast<std::uint64_t>(entry->content.find("by")->as_int()) : 0;
}

}  // namespace

Hash128 counter_fingerprint(const RegionSpec& region, std::int64_t sum) {
    return fixed_digest(region.name + '\0' + std::to_string(sum));
}

std::uint32_t ContentHashes::change(const RegionSpec& spec, const EntryChange& change) {
    const auto [at, is_new] = numbers_.try_emplace(spec.name, static_cast<std::uint32_t>(regions_.size()));
    if (is_new) {
        regions_.push_back({spec.name, {}, 0});
        if (spec.policy == PolicyKind::counter) {
            regions_.back().hash = counter_fingerprint(spec, 0);
            board_ += regions_.back().hash;
        }
    }
    Region& region = regions_[at->second];
    const Hash128 before = region.hash;
    if (spec.policy == PolicyKind::counter) {
        region.sum = static_cast<std::int64_t>(static_cast<std::uint64_t>(region.sum) + increment_of(change.after) -
                                               increment_of(change.before));
        region.hash = counter_fingerprint(spec, region.sum);
    } else {
        if (change.before) region.hash -= exact_fingerprint(spec, *change.before, false);
        if (change.after) region.hash += exact_fingerprint(spec, *change.after, false);
    }
    board_ -= before;
    board_ += region.hash;
    return at->second;
}

template <class Archive, class Self>
void ContentHashes::Region::transfer(Archive& archive, Self& self) {
    archive(self.name, self.hash, self.sum);
}

void ContentHashes::save(CheckpointWriter& out) const { out(regions_, board_); }

void ContentHashes::load(CheckpointReader& in) {
    in(regions_, board_);
    numbers_.clear();
    for (const Region& region : regions_) numbers_.emplace(region.name, static_cast<std::uint32_t>(numbers_.size()));
}

}  // namespace stele

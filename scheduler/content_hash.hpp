// The content of regions and of the board as hashes that commits keep up to date: sums over entries, so
// they depend on no order, on no id, author or time, and not on volatile fields. Two boards that say the
// same have the same. Loop thread only.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "board/entry.hpp"
#include "board/hash.hpp"
#include "board/region_spec.hpp"

namespace stele {

class CheckpointReader;
class CheckpointWriter;

class ContentHashes {
public:
    /// Takes one change in. Answers with the region's number, which stays the same for a name.
    std::uint32_t change(const RegionSpec& region, const EntryChange& change);

    [[nodiscard]] Hash128 board() const { return board_; }
    [[nodiscard]] Hash128 region(std::uint32_t number) const { return regions_[number].hash; }
    [[nodiscard]] const std::string& name(std::uint32_t number) const { return regions_[number].name; }
    [[nodiscard]] std::size_t size() const { return regions_.size(); }

    void save(CheckpointWriter& out) const;
    void load(CheckpointReader& in);

private:
    struct Region {
        template <class Archive, class Self>
        static void transfer(Archive& archive, Self& self);
        std::string name;
        Hash128 hash;
        std::int64_t sum = 0;  // counter: increments never repeat; what a counter says is its sum
    };
    std::unordered_map<std::string, std::uint32_t> numbers_;
    std::vector<Region> regions_;
    Hash128 board_;
};

/// What a counter says when its sum is this.
Hash128 counter_fingerprint(const RegionSpec& region, std::int64_t sum);

}  // namespace stele

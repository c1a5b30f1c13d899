// What a write says, for comparison with other writes: equal, or nearly equal where it is prose. For the
// cycle detector. The same on every machine, since a run must stop at the same place in replay. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "board/entry.hpp"
#include "board/hash.hpp"
#include "board/region_spec.hpp"
#include "board/value.hpp"

namespace stele {

/// `exact`: everything but volatile fields. `hard`: what must be equal even in a rephrased write (region,
/// keys, shape, numbers, identifiers). `soft`: SimHash of the prose with its digits and times masked
/// (Charikar, "Similarity Estimation Techniques from Rounding Algorithms", 2002). `words`: hashes of the
/// masked words of the prose, ascending, each once.
struct Fingerprint {
    Hash128 exact;
    Hash128 hard;
    std::uint64_t soft = 0;
    std::vector<std::uint32_t> words;
    bool operator==(const Fingerprint&) const = default;
};

/// `removed`: the entry left; its content counts as what was written.
Fingerprint fingerprint(const RegionSpec& region, const Entry& entry, bool removed);
/// Of content that no board made.
Fingerprint fingerprint(const RegionSpec& region, const Value& content, bool removed);
/// The same but for `exact` alone, which costs next to nothing where a board made the entry and the region
/// has no volatile fields.
Hash128 exact_fingerprint(const RegionSpec& region, const Entry& entry, bool removed);

/// 1 for equal, 0 where anything in `hard` differs, else the cosine of the two texts' words and word pairs
/// as their SimHashes estimate it, 0 to 1.
double similarity(const Fingerprint& a, const Fingerprint& b);

}  // namespace stele

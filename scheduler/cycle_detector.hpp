// Stops loops by looking at the state. Two signs, both over content and not over ids or times:
// (a) the board's content returns to what it was a few states ago, by a source waking itself
// through others, and nothing written between was new; (b) along one wake chain, activation after
// activation writes only what, or nearly what, its ancestors in the chain wrote. Deterministic;
// fed accepted commits in log order. Loop thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "board/entry.hpp"
#include "board/hash.hpp"
#include "board/ids.hpp"
#include "board/region_spec.hpp"
#include "board/value.hpp"
#include "scheduler/crew_spec.hpp"

namespace stele {

/// What one write says, for comparison with others. `hard` covers everything that must be equal:
/// region, shape, numbers, identifiers. `soft` is a SimHash of the free text with its digits and
/// times masked (Charikar, "Similarity Estimation Techniques from Rounding Algorithms", 2002).
struct Fingerprint {
    Hash128 exact;
    Hash128 hard;
    std::uint64_t soft = 0;
    bool operator==(const Fingerprint&) const = default;
};

/// `removed`: the entry left; its content counts as what was written.
Fingerprint fingerprint(const RegionSpec& region, const Entry& entry, bool removed);
/// Of content that no board made.
Fingerprint fingerprint(const RegionSpec& region, const Value& content, bool removed);
/// The same but for `exact` alone, which costs next to nothing where a board made the entry.
Hash128 exact_fingerprint(const RegionSpec& region, const Entry& entry, bool removed);
/// 1 for equal, 0 where anything in `hard` differs, else the share of equal SimHash bits.
double similarity(const Fingerprint& a, const Fingerprint& b);

struct CommitTrace {
    Position position;
    /// The activation's source; empty for a commit from outside, whose writes need only `exact`.
    std::string source;
    /// Newest position that its match was made of: the commit that woke it, or none.
    Position woken_by;
    std::vector<Fingerprint> writes;
    /// "region/number" of what it wrote, for the message.
    std::vector<std::string> entries;
    /// The board's shared content after it.
    Hash128 state;
};

struct CycleVerdict {
    /// The sources of one round, in order.
    std::vector<std::string> sources;
    /// A sentence that names sources, entries and versions.
    std::string message;
};

class CycleDetector {
public:
    explicit CycleDetector(const CycleSpec& spec) : spec_(spec) {}
    /// Says so when this commit closes a loop.
    std::optional<CycleVerdict> on_commit(CommitTrace trace);

private:
    struct Step {
        CommitTrace trace;
        std::uint32_t repeats = 0;  // steps in a row, up to this one, that said nothing new
    };
    [[nodiscard]] const Step* step_at(Position position) const;
    [[nodiscard]] std::vector<const Step*> ancestors_of(const CommitTrace& trace, std::size_t most) const;
    [[nodiscard]] std::optional<CycleVerdict> returning_state(const Step& step,
                                                              const std::vector<const Step*>& ancestors) const;
    [[nodiscard]] std::optional<CycleVerdict> repeating_chain(const Step& step,
                                                              const std::vector<const Step*>& ancestors) const;
    [[nodiscard]] bool says_nothing_new(const CommitTrace& trace, const std::vector<const Step*>& ancestors) const;

    CycleSpec spec_;
    std::unordered_map<Position, Step> steps_;
    std::deque<Position> order_;
    struct State {
        Position position;
        Hash128 hash;
    };
    std::deque<State> states_;
    std::unordered_map<Hash128, Position> first_written_;
};

}  // namespace stele

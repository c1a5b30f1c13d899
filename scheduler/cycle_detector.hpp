// Stops loops by looking at the state. Three signs, over content and not over ids or times: (a) what a
// chain of activations writes to is again as it was a few steps ago, and nothing written since was new;
// (b) along one wake chain, activation after activation reads nothing new and writes only what, or nearly
// what, its ancestors in the chain wrote; (c) the same chain of sources goes round more than so many times
// while no stop condition comes nearer. Deterministic; fed accepted commits in log order. Loop thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "board/hash.hpp"
#include "board/ids.hpp"
#include "scheduler/crew_spec.hpp"
#include "scheduler/fingerprint.hpp"

namespace stele {

class CheckpointReader;
class CheckpointWriter;

struct CommitTrace {
    struct Read {
        Position position;  // the commit that made the bound version
        Hash128 exact;      // of its content
    };

    Position position;
    /// The activation's source; empty for a commit from outside, whose writes need only `exact`.
    std::string source;
    /// Positions that its match was made of, newest first: the commits that woke it.
    std::vector<Position> causes;
    /// The entries bound by its match.
    std::vector<Read> reads;
    std::vector<Fingerprint> writes;
    /// "region/number" of what it wrote, for the message.
    std::vector<std::string> entries;
    /// The regions it wrote to, by number, and their content after it.
    std::vector<std::pair<std::uint32_t, Hash128>> regions;
    /// A stop condition is nearer than it ever was, or was moved.
    bool nearer = false;
};

struct CycleVerdict {
    /// The sources of one round, in order.
    std::vector<std::string> sources;
    /// What they wrote in it.
    std::vector<std::string> entries;
    /// The commit that closed it.
    Position at;
    /// A sentence that names sources, entries and versions.
    std::string message;
};

class CycleDetector {
public:
    /// `rounds`: how often a chain may go round while nothing comes nearer; 0: for ever.
    CycleDetector(const CycleSpec& spec, std::uint64_t rounds) : spec_(spec), rounds_max_(rounds) {}
    /// Says so when this commit closes a loop.
    std::optional<CycleVerdict> on_commit(CommitTrace trace);

    void save(CheckpointWriter& out) const;
    /// Into a detector with the same settings.
    void load(CheckpointReader& in);

private:
    struct Step {
        template <class Archive, class Self>
        static void transfer(Archive& archive, Self& self);
        CommitTrace trace;
        Position parent;           // the step before it in its chain, or none
        Hash128 said;              // source and writes
        std::uint32_t period = 0;  // steps back to the same source in the chain; 0: not there
        std::uint32_t same = 0;    // steps in a row, up to this one, that said what had been said
        std::uint32_t alike = 0;   // or nearly
        std::uint32_t echo = 0;    // steps back to where what it says was last said, or nearly
        std::uint64_t rounds = 0;  // how often its source came by since anything came nearer
    };
    using Chain = std::vector<const Step*>;  // from the nearest ancestor backwards
    struct State {
        template <class Archive, class Self>
        static void transfer(Archive& archive, Self& self);
        Position position;
        Hash128 hash;
    };
    enum class News { none, hardly, some };

    [[nodiscard]] const Step* step_at(Position position) const;
    [[nodiscard]] Chain chain_from(Position cause) const;
    [[nodiscard]] Chain choose_chain(const CommitTrace& trace) const;
    void count(Step& step, const Chain& chain) const;
    [[nodiscard]] News news_in(Step& step, const Chain& chain) const;
    [[nodiscard]] std::optional<Hash128> region_at(std::uint32_t region, Position position) const;
    [[nodiscard]] bool was_written(const Fingerprint& write, Position at_last) const;
    [[nodiscard]] std::optional<CycleVerdict> returning_state(const Step& step, const Chain& chain) const;
    [[nodiscard]] static std::size_t reach(const Step& step, const Chain& chain);
    [[nodiscard]] static std::size_t repetition(const Step& step, const Chain& chain);
    [[nodiscard]] std::optional<CycleVerdict> repeating_chain(const Step& step, const Chain& chain) const;
    [[nodiscard]] std::optional<CycleVerdict> endless_chain(const Step& step, const Chain& chain) const;
    void remember(Step step);
    void remember_writes(const CommitTrace& trace);

    CycleSpec spec_;
    std::uint64_t rounds_max_;
    Position last_nearer_;
    std::unordered_map<Position, Step> steps_;
    std::deque<Position> order_;
    std::size_t writes_kept_ = 0;
    std::vector<std::deque<State>> states_;  // per region
    // Two generations, so that forgetting is no pause.
    std::unordered_map<Hash128, Position> first_written_;
    std::unordered_map<Hash128, Position> first_written_before_;
};

}  // namespace stele

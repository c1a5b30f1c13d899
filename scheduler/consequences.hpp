// What follows when an entry is taken back: what rested on it becomes suspect, is taken back as well, or
// is worked out again, as the crew declares with `on_retract`. Fed with every record in log order; what
// it decides is a function of the log. Keeps the support of every entry in memory, so only crews that
// declare `on_retract` have one. Loop thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "board/record_index.hpp"
#include "board/region_spec.hpp"
#include "board/support_graph.hpp"
#include "scheduler/crew_spec.hpp"

namespace stele {

class CheckpointReader;
class CheckpointWriter;

inline constexpr std::string_view suspects_region_name = "suspects";

/// What a crew with `on_retract` has beside the regions it declares: one entry {entry, region, because} for
/// each entry that rests on nothing any more. Sources may wake on it, and retract what they have dealt with.
RegionSpec suspects_region();

class Consequences {
public:
    /// `load` gives records of the log for positions that were fed.
    Consequences(OnRetract mode, RecordLoader load) : mode_(mode), load_(std::move(load)) {}

    void set_mode(OnRetract mode);
    void feed(const LoggedRecord& logged);
    /// Something must follow before the run goes on.
    [[nodiscard]] bool owes() const { return !owed_.empty() || !to_rerun_.empty(); }
    /// The record that must come next; call only when something is owed. `version`: the board's.
    [[nodiscard]] Result<Record> next(Position at, Position version) const;

    [[nodiscard]] const SupportGraph& graph() const { return graph_; }

    void save(CheckpointWriter& out) const;
    /// Into consequences in the same mode that have been fed nothing.
    void load(CheckpointReader& in);

private:
    /// The activation that gave a justification: the record with its members, none for what came from outside.
    struct Origin {
        template <class Archive, class Self>
        static void transfer(Archive& archive, Self& self);
        ActivationId activation;
        Position claimed;
    };
    struct Claim {
        template <class Archive, class Self>
        static void transfer(Archive& archive, Self& self);
        Position position;
        std::vector<std::vector<EntryId>> members;  // what each member is bound to
    };
    struct Rerun {
        template <class Archive, class Self>
        static void transfer(Archive& archive, Self& self);
        ActivationId activation;
        Position claimed;
        EntryId entry;
        auto operator<=>(const Rerun&) const = default;
    };

    void feed_commit(const LoggedRecord& logged);
    void feed_marks(const LoggedRecord& logged);
    void settle(const std::vector<EntryId>& changed);
    [[nodiscard]] bool is_owed(const EntryId& id) const;
    [[nodiscard]] std::optional<Origin> origin_of(const EntryId& id) const;
    [[nodiscard]] bool is_taken_back(const EntryId& id) const;

    OnRetract mode_;
    RecordLoader load_;
    SupportGraph graph_;
    std::unordered_map<ActivationId, Claim> claims_;  // of activations that have not committed
    std::map<Position, Origin> origins_;              // by commit
    std::map<EntryId, std::uint64_t> marks_;          // entry number in `suspects`
    std::map<std::uint64_t, EntryId> marked_;         // and back
    std::set<EntryId> dealt_with_;                    // a source has retracted its mark
    /// Left the board by `remove`, which is no retraction: what rests on them stays held up.
    std::set<EntryId> removed_;
    std::set<EntryId> owed_;
    std::deque<Rerun> to_rerun_;
};

}  // namespace stele

// Control as data on the board, as in BB1 (Hayes-Roth, "A Blackboard Architecture for Control", 1985):
// what the reserved region `control` holds decides how the agenda is ranked and who may run. One granted
// write changes it in the middle of a run; like any write it is logged, replayed and blamed. Loop thread.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "board/entry.hpp"
#include "board/region_spec.hpp"
#include "scheduler/crew_spec.hpp"
#include "scheduler/matcher.hpp"

namespace stele {

class CheckpointReader;
class CheckpointWriter;

inline constexpr std::string_view control_region_name = "control";

/// Entries {key, value}, one per key: `strategy` (a word), `pause/SOURCE` (true or false), `focus/NAME`
/// ({weight, source?, region?}), `rank/N` (a number: the rating of what entry N of `agenda` stands for),
/// `cycle/VERSION` ({sources, entries, message}: a loop, closed by that version). What fits none of them is
/// refused like any entry that does not fit.
RegionSpec control_region();

inline constexpr std::string_view agenda_region_name = "agenda";

/// What a crew whose agenda a source ranks has beside `control`: the first matches of the agenda, each as
/// {match, source, rating, age, bound}, kept up to date by commits of "system".
RegionSpec agenda_region();

/// The region `agenda`, as commits left it.
class ShownAgenda {
public:
    void change(const EntryChange& change);
    /// The entry that stands for a match; 0: none.
    [[nodiscard]] std::uint64_t number_of(const Hash128& match_key) const;
    /// Match key, as in the entry, to the entry's number.
    [[nodiscard]] const std::map<std::string, std::uint64_t>& entries() const { return entries_; }

    void save(CheckpointWriter& out) const;
    void load(CheckpointReader& in);

private:
    std::map<std::string, std::uint64_t> entries_;
};

/// A heuristic: adds its weight to the rating of every match it applies to.
struct Focus {
    std::string name;
    double weight = 0;
    std::string source;  // only this one's; empty: any
    std::string region;  // only with an entry of this one bound; empty: any
};

class ControlBoard {
public:
    /// Takes in what a commit did to the region; true when anything is different now.
    bool change(const EntryChange& change);

    [[nodiscard]] std::optional<Strategy> strategy() const { return strategy_; }
    [[nodiscard]] bool is_paused(std::string_view source) const { return paused_.count(source) > 0; }
    /// Those that apply to a match of this source, by name.
    [[nodiscard]] std::vector<const Focus*> focus_on(std::string_view source, const Match& match) const;
    /// What a source gave entry `number` of the agenda.
    [[nodiscard]] std::optional<double> rank_of(std::uint64_t number) const;
    /// The entry of `control` that says so; 0: none.
    [[nodiscard]] std::uint64_t rank_entry_of(std::uint64_t number) const;

    void save(CheckpointWriter& out) const;
    void load(CheckpointReader& in);

private:
    std::optional<Strategy> strategy_;
    std::set<std::string, std::less<>> paused_;
    std::map<std::string, Focus> focus_;
    struct Rank {
        template <class Archive, class Self>
        static void transfer(Archive& archive, Self& self);
        double value = 0;
        std::uint64_t entry = 0;
    };
    std::map<std::uint64_t, Rank> ranks_;
};

}  // namespace stele

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

inline constexpr std::string_view control_region_name = "control";

/// Entries {key, value}, one per key: `strategy` (a word), `pause/SOURCE` (true or false), `focus/NAME`
/// ({weight, source?, region?}). What fits none of them is refused like any entry that does not fit.
RegionSpec control_region();

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
    [[nodiscard]] bool is_empty() const { return !strategy_ && paused_.empty() && focus_.empty(); }

private:
    std::optional<Strategy> strategy_;
    std::set<std::string, std::less<>> paused_;
    std::map<std::string, Focus> focus_;
};

}  // namespace stele

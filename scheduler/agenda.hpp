// The queued activations, ordered by the control strategy. The order is a pure function of the
// matches: rating, age, the source's place in the crew, bound ids (lower first, or higher first where
// the newest goes first); never of arrival. The first one
// costs the logarithm of the sources with anything queued, not their number. Loop thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "scheduler/crew_spec.hpp"
#include "scheduler/matcher.hpp"

namespace stele {

class CheckpointReader;
class CheckpointWriter;

/// `lifo` and `depth`: the newest first, and of one age those with the higher bound ids.
bool goes_by_newest(Strategy strategy);

/// A match that could run.
struct AgendaItem {
    std::uint32_t source = 0;
    double rating = 0;
    MatchPtr match;
};

class Agenda {
public:
    /// `needs_slot`: by source, whether its activations take a place among those that run at one time;
    /// sources beyond its end do not.
    explicit Agenda(Strategy strategy, std::vector<bool> needs_slot = {});

    void add(AgendaItem item);
    /// Takes a match off; false when it is not queued.
    bool remove(const Hash128& match_key);
    /// Another strategy, or other ratings: everything is ranked anew.
    void rank_again(Strategy strategy, const std::function<double(const AgendaItem&)>& rate);

    /// The first item among the sources that `eligible` accepts; without `slots_free` only among those that
    /// need none. Asks in order, so what it turns down costs a step each.
    [[nodiscard]] std::optional<AgendaItem> first(const std::function<bool(std::uint32_t source)>& eligible,
                                                  bool slots_free = true) const;
    /// The first `most` matches of a source.
    [[nodiscard]] std::vector<AgendaItem> of_source(std::uint32_t source, std::size_t most) const;
    /// The first `most` matches of all sources that `wanted` accepts. Whose turn it is does not count.
    [[nodiscard]] std::vector<AgendaItem> first_of_all(std::size_t most,
                                                       const std::function<bool(std::uint32_t source)>& wanted) const;
    [[nodiscard]] std::size_t size_of(std::uint32_t source) const;
    [[nodiscard]] std::size_t size() const { return size_; }
    /// Is there a source with anything queued that `wanted` accepts?
    [[nodiscard]] bool any_source(const std::function<bool(std::uint32_t source)>& wanted) const;
    /// `fair` goes by who had their turn longest ago.
    void note_turn(std::uint32_t source);
    [[nodiscard]] Strategy strategy() const { return strategy_; }

    /// Whose turn was when. What is queued comes from the matcher.
    void save(CheckpointWriter& out) const;
    /// Into an agenda with nothing on it.
    void load(CheckpointReader& in);

private:
    struct Before {
        Strategy strategy;
        bool operator()(const AgendaItem& a, const AgendaItem& b) const;
    };
    using Queue = std::set<AgendaItem, Before>;
    /// The first of a source's queue; `turn`: when it last had one, where that counts.
    struct Head {
        std::uint64_t turn = 0;
        AgendaItem item;
    };
    struct HeadBefore {
        Strategy strategy;
        bool operator()(const Head& a, const Head& b) const;
    };
    using Heads = std::set<Head, HeadBefore>;

    [[nodiscard]] std::size_t lane_of(std::uint32_t source) const;
    [[nodiscard]] Head head_of(const Queue& queue) const;
    /// Around every change of a queue: its old head goes, its new one comes.
    void take_head(std::uint32_t source);
    void put_head(std::uint32_t source);

    Strategy strategy_;
    std::vector<bool> needs_slot_;
    std::map<std::uint32_t, Queue> queues_;
    std::vector<Heads> heads_;  // 0: needs no slot, 1: needs one
    std::unordered_map<Hash128, AgendaItem> by_match_;
    std::map<std::uint32_t, std::uint64_t> turns_;
    std::uint64_t turn_ = 0;
    std::size_t size_ = 0;
};

}  // namespace stele

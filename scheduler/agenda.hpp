// The queued activations, ordered by the control strategy. The order is a pure function of the
// matches: rating, age, the source's place in the crew, bound ids; never of arrival. Loop thread.
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

/// A match that could run.
struct AgendaItem {
    std::uint32_t source = 0;
    double rating = 0;
    MatchPtr match;
};

class Agenda {
public:
    explicit Agenda(Strategy strategy) : strategy_(strategy) {}

    void add(AgendaItem item);
    /// Takes a match off; false when it is not queued.
    bool remove(const Hash128& match_key);

    /// The first item among the sources that `eligible` accepts.
    [[nodiscard]] std::optional<AgendaItem> first(const std::function<bool(std::uint32_t source)>& eligible) const;
    /// The first `most` matches of a source.
    [[nodiscard]] std::vector<AgendaItem> of_source(std::uint32_t source, std::size_t most) const;
    [[nodiscard]] std::size_t size_of(std::uint32_t source) const;
    [[nodiscard]] std::size_t size() const { return size_; }
    /// Sources with anything queued, ascending.
    [[nodiscard]] std::vector<std::uint32_t> sources() const;
    /// `fair` goes by who had their turn longest ago.
    void note_turn(std::uint32_t source);

private:
    struct Before {
        Strategy strategy;
        bool operator()(const AgendaItem& a, const AgendaItem& b) const;
    };
    using Queue = std::set<AgendaItem, Before>;

    Strategy strategy_;
    std::map<std::uint32_t, Queue> queues_;
    std::unordered_map<Hash128, AgendaItem> by_match_;
    std::map<std::uint32_t, std::uint64_t> turns_;
    std::uint64_t turn_ = 0;
    std::size_t size_ = 0;
};

}  // namespace stele

// Which entries still have something to rest on. An entry is supported when it is active and all entries
// of at least one of its justifications are supported; the support of a cycle that nothing outside holds
// up is none (the least fixed point). Kept up incrementally in the way of a justification-based truth
// maintenance system (Doyle, "A Truth Maintenance System", 1979): each supported entry relies on one
// justification, so taking one away touches only what relied on it, and what can be derived anew is.
// Costs the entries touched and their edges. Pure, in memory; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "board/ids.hpp"

namespace stele {

/// What one write rests on: all of it. Nothing: it rests on itself, as what comes from outside does.
struct Justification {
    /// The commit that gave it.
    Position position;
    std::vector<EntryId> supports;
    bool operator==(const Justification&) const = default;
};

/// An entry as it is from now on.
struct SupportChange {
    EntryId id;
    bool active = true;
    std::vector<Justification> justifications;
};

class SupportGraph {
public:
    /// Takes in what one commit changed; answers with the entries whose being suspect changed, in order.
    std::vector<EntryId> apply(std::span<const SupportChange> changes);

    /// Active and not supported.
    [[nodiscard]] bool is_suspect(const EntryId& id) const;
    [[nodiscard]] const std::set<EntryId>& suspects() const { return suspects_; }
    /// What an entry rests on and which of it does not hold any more, each once.
    [[nodiscard]] std::vector<EntryId> failed_supports(const EntryId& id) const;
    [[nodiscard]] const std::vector<Justification>* justifications(const EntryId& id) const;
    [[nodiscard]] bool is_active(const EntryId& id) const;
    [[nodiscard]] std::size_t size() const { return nodes_.size(); }
    /// Every entry that is active or was justified, in order: applied to an empty graph they make this one.
    [[nodiscard]] std::vector<SupportChange> all() const;

private:
    using Index = std::uint32_t;
    static constexpr Index none = UINT32_MAX;

    struct Node {
        EntryId id;
        bool active = false;
        bool supported = false;
        /// supported: the justification it relies on.
        Index relied = none;
        std::vector<Justification> justifications;
        /// The same, by index.
        std::vector<std::vector<Index>> supports;
        /// Entries that have this one in a justification; some may have had it once.
        std::vector<Index> dependents;
    };

    Index index_of(const EntryId& id);
    [[nodiscard]] const Node* find(const EntryId& id) const;
    void replace(Node& node, Index index, const SupportChange& change);
    [[nodiscard]] Index holding_justification(const Node& node) const;

    std::vector<Node> nodes_;
    std::map<std::string, std::uint32_t, std::less<>> regions_;
    std::unordered_map<std::uint64_t, Index> by_place_;  // looked up only
    std::set<EntryId> suspects_;
};

}  // namespace stele

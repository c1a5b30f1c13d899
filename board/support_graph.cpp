#include "board/support_graph.hpp"

#include <algorithm>

namespace stele {
namespace {

// Entry numbers stay far below 2^40, region counts below 2^24.
constexpr int region_shift = 40;

}  // namespace

SupportGraph::Index SupportGraph::index_of(const EntryId& id) {
    const auto [region, first] = regions_.try_emplace(id.region, static_cast<std::uint32_t>(regions_.size()));
    const std::uint64_t place = (std::uint64_t{region->second} << region_shift) | id.number;
    const auto [found, added] = by_place_.try_emplace(place, static_cast<Index>(nodes_.size()));
    if (added) {
        nodes_.emplace_back();
        nodes_.back().id = id;
    }
    return found->second;
}

const SupportGraph::Node* SupportGraph::find(const EntryId& id) const {
    const auto region = regions_.find(id.region);
    if (region == regions_.end()) return nullptr;
    const auto found = by_place_.find((std::uint64_t{region->second} << region_shift) | id.number);
    return found == by_place_.end() ? nullptr : &nodes_[found->second];
}

void SupportGraph::replace(Node& node, Index index, const SupportChange& change) {
    // What it relied on may still be there, under another number.
    const Justification* relied = node.supported ? &node.justifications[node.relied] : nullptr;
    Index kept = none;
    if (change.active && relied != nullptr) {
        const auto found = std::find(change.justifications.begin(), change.justifications.end(), *relied);
        if (found != change.justifications.end()) {
            kept = static_cast<Index>(found - change.justifications.begin());
        }
    }
    node.active = change.active;
    node.justifications = change.justifications;
    node.relied = kept;
    std::vector<std::vector<Index>> supports;
    for (const Justification& justification : change.justifications) {
        supports.emplace_back();
        for (const EntryId& id : justification.supports) supports.back().push_back(index_of(id));
    }
    // index_of may have moved the nodes.
    Node& moved = nodes_[index];
    moved.supports = std::move(supports);
    for (const std::vector<Index>& one : moved.supports) {
        for (const Index support : one) {
            std::vector<Index>& dependents = nodes_[support].dependents;
            if (dependents.empty() || dependents.back() != index) dependents.push_back(index);
        }
    }
}

SupportGraph::Index SupportGraph::holding_justification(const Node& node) const {
    for (Index i = 0; i < node.supports.size(); ++i) {
        const std::vector<Index>& supports = node.supports[i];
        if (std::all_of(supports.begin(), supports.end(), [&](Index one) { return nodes_[one].supported; })) return i;
    }
    return none;
}

std::vector<EntryId> SupportGraph::apply(std::span<const SupportChange> changes) {
    std::vector<Index> touched;
    std::vector<Index> work;
    for (const SupportChange& change : changes) {
        const Index index = index_of(change.id);
        replace(nodes_[index], index, change);
        touched.push_back(index);
    }
    // Away with what relied on what is gone.
    std::vector<Index> away;
    for (std::size_t i = 0; i < changes.size(); ++i) {
        Node& node = nodes_[touched[i]];
        if (!node.supported || node.relied != none) continue;
        node.supported = false;
        away.push_back(touched[i]);
    }
    for (std::size_t at = 0; at < away.size(); ++at) {
        for (const Index dependent : nodes_[away[at]].dependents) {
            Node& node = nodes_[dependent];
            if (!node.supported) continue;
            const std::vector<Index>& relied = node.supports[node.relied];
            if (std::find(relied.begin(), relied.end(), away[at]) == relied.end()) continue;
            node.supported = false;
            node.relied = none;
            away.push_back(dependent);
            touched.push_back(dependent);
        }
    }
    // And back with what rests on something else as well. What is derived here relies only on what is
    // supported already, so no cycle comes to hold itself up.
    work = touched;
    while (!work.empty()) {
        const Index index = work.back();
        work.pop_back();
        Node& node = nodes_[index];
        if (node.supported || !node.active) continue;
        const Index holding = holding_justification(node);
        if (holding == none) continue;
        node.supported = true;
        node.relied = holding;
        touched.push_back(index);
        for (const Index dependent : node.dependents) {
            if (!nodes_[dependent].supported) work.push_back(dependent);
        }
    }
    std::vector<EntryId> changed;
    for (const Index index : touched) {
        const Node& node = nodes_[index];
        const bool suspect = node.active && !node.supported;
        if (suspect ? suspects_.insert(node.id).second : suspects_.erase(node.id) > 0) changed.push_back(node.id);
    }
    std::sort(changed.begin(), changed.end());
    changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
    return changed;
}

bool SupportGraph::is_suspect(const EntryId& id) const { return suspects_.count(id) > 0; }

std::vector<EntryId> SupportGraph::failed_supports(const EntryId& id) const {
    std::vector<EntryId> failed;
    const Node* node = find(id);
    if (node == nullptr) return failed;
    for (const std::vector<Index>& supports : node->supports) {
        for (const Index support : supports) {
            if (!nodes_[support].supported) failed.push_back(nodes_[support].id);
        }
    }
    std::sort(failed.begin(), failed.end());
    failed.erase(std::unique(failed.begin(), failed.end()), failed.end());
    return failed;
}

const std::vector<Justification>* SupportGraph::justifications(const EntryId& id) const {
    const Node* node = find(id);
    return node == nullptr ? nullptr : &node->justifications;
}

bool SupportGraph::is_active(const EntryId& id) const {
    const Node* node = find(id);
    return node != nullptr && node->active;
}

std::vector<SupportChange> SupportGraph::all() const {
    std::vector<SupportChange> all;
    for (const Node& node : nodes_) {
        if (node.active || !node.justifications.empty()) all.push_back({node.id, node.active, node.justifications});
    }
    std::sort(all.begin(), all.end(), [](const SupportChange& a, const SupportChange& b) { return a.id < b.id; });
    return all;
}

}  // namespace stele

#include "runtime/wake_graph.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "board/record_terms.hpp"

namespace stele {
namespace {

struct Wakes {
    std::uint64_t activations = 0;
    std::uint64_t committed = 0;
};

// What an activation is woken by that binds no entry: the run itself, or time.
const char* const the_run = "the run";

}  // namespace

Result<Graph> wake_graph(const std::string& board, const EntryStore& entries, const RecordWalk& walk) {
    std::map<std::string, Wakes> sources;
    std::map<std::pair<std::string, std::string>, std::map<std::string, std::uint64_t>> edges;  // regions
    std::set<std::string> starters;
    Status bad = Done{};
    const Status walked = walk([&](const LoggedRecord& logged) {
        const Record& record = logged.record;
        if (!logged.verdict.accepted) return true;
        if (record.kind == RecordKind::commit && activation_of(logged)) ++sources[record.author].committed;
        const bool begins = record.kind == RecordKind::claimed || is_rule_commit(record);
        if (!begins || activation_of(logged).number != logged.position.number) return true;
        ++sources[record.author].activations;
        // Each of those that woke it counts once for an activation, however many of its entries did.
        std::set<std::pair<std::string, std::string>> by;
        for (const MatchRecord& member : record.members) {
            if (member.bound.empty()) by.emplace(the_run, "");
            for (const BoundEntry& bound : member.bound) {
                const RegionState* region = entries.region(bound.id.region);
                if (region == nullptr) continue;
                const Result<std::optional<EntryState>> state =
                    entries.at(region->number, bound.id.number, {logged.position.number - 1});
                if (!state.ok()) return bad = state.error(), false;
                if (state->has_value()) by.emplace((*state)->author, bound.id.region);
            }
        }
        for (const auto& [author, region] : by) ++edges[{author, record.author}][region];
        return true;
    });
    if (!walked.ok()) return walked.error();
    if (!bad.ok()) return bad.error();

    Graph graph;
    graph.title = "who woke whom on board " + board;
    std::map<std::string, std::size_t> place;
    const auto node_of = [&](const std::string& name) {
        const auto [known, fresh] = place.try_emplace(name, graph.nodes.size());
        if (!fresh) return known->second;
        Graph::Node node;
        node.lines.push_back(name);
        if (const auto wakes = sources.find(name); wakes != sources.end()) {
            node.lines.push_back(std::to_string(wakes->second.activations) + " woken, " +
                                 std::to_string(wakes->second.committed) + " committed");
        }
        graph.nodes.push_back(std::move(node));
        return known->second;
    };
    for (const auto& [pair, regions] : edges) {
        std::string label;
        for (const auto& [region, count] : regions) {
            label += (label.empty() ? "" : ", ") + (region.empty() ? std::string() : region + " ") + "x" +
                     std::to_string(count);
        }
        const std::size_t from = node_of(pair.first);
        graph.edges.push_back({from, node_of(pair.second), label});
    }
    for (const auto& [name, wakes] : sources) node_of(name);

    // Rows by distance from what was not woken itself, so that most arrows point down.
    std::vector<std::size_t> rank(graph.nodes.size(), SIZE_MAX);
    std::deque<std::size_t> next;
    std::vector<bool> is_woken(graph.nodes.size(), false);
    for (const Graph::Edge& edge : graph.edges) is_woken[edge.to] = true;
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
        if (is_woken[i]) continue;
        rank[i] = 0;
        next.push_back(i);
    }
    if (next.empty() && !graph.nodes.empty()) {
        rank[0] = 0;
        next.push_back(0);
    }
    for (; !next.empty(); next.pop_front()) {
        for (const Graph::Edge& edge : graph.edges) {
            if (edge.from != next.front() || rank[edge.to] != SIZE_MAX) continue;
            rank[edge.to] = rank[edge.from] + 1;
            next.push_back(edge.to);
        }
    }
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) graph.nodes[i].rank = rank[i] == SIZE_MAX ? 0 : rank[i];
    return graph;
}

}  // namespace stele

// Support kept up from commit to commit against its oracle: the least fixed point worked out from nothing.
#include "board/support_graph.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <random>

using namespace stele;

namespace {

struct Model {
    std::map<EntryId, SupportChange> entries;

    [[nodiscard]] std::set<EntryId> suspects() const {
        std::set<EntryId> supported;
        for (bool more = true; more;) {
            more = false;
            for (const auto& [id, entry] : entries) {
                if (!entry.active || supported.count(id) > 0) continue;
                for (const Justification& justification : entry.justifications) {
                    bool all = true;
                    for (const EntryId& support : justification.supports) all = all && supported.count(support) > 0;
                    if (!all) continue;
                    supported.insert(id);
                    more = true;
                    break;
                }
            }
        }
        std::set<EntryId> suspects;
        for (const auto& [id, entry] : entries) {
            if (entry.active && supported.count(id) == 0) suspects.insert(id);
        }
        return suspects;
    }
};

// The same fixed point by a worklist, for what is too large to go over again and again: each justification
// counts what it still waits for.
std::set<EntryId> suspects_of_many(const Model& model) {
    std::map<EntryId, std::vector<std::pair<EntryId, std::size_t>>> waits;
    std::map<std::pair<EntryId, std::size_t>, std::size_t> missing;
    std::set<EntryId> supported;
    std::vector<EntryId> work;
    const auto support = [&](const EntryId& id) {
        if (supported.insert(id).second) work.push_back(id);
    };
    for (const auto& [id, entry] : model.entries) {
        if (!entry.active) continue;
        for (std::size_t j = 0; j < entry.justifications.size(); ++j) {
            const std::vector<EntryId>& supports = entry.justifications[j].supports;
            missing[{id, j}] = supports.size();
            for (const EntryId& one : supports) waits[one].emplace_back(id, j);
            if (supports.empty()) support(id);
        }
    }
    while (!work.empty()) {
        const EntryId id = work.back();
        work.pop_back();
        for (const auto& waiting : waits[id]) {
            if (--missing[waiting] == 0) support(waiting.first);
        }
    }
    std::set<EntryId> suspects;
    for (const auto& [id, entry] : model.entries) {
        if (entry.active && supported.count(id) == 0) suspects.insert(id);
    }
    return suspects;
}

EntryId id(std::uint64_t number) { return {number % 3 == 0 ? "claims" : "evidence", number}; }

}  // namespace

TEST_CASE("suspects after each change are those of the fixed point, cycles and several supports included") {
    std::mt19937 random(23);
    for (int round = 0; round < 150; ++round) {
        SupportGraph graph;
        Model model;
        const std::uint64_t entries = random() % 25 + 3;
        for (int commit = 0; commit < 120; ++commit) {
            std::map<EntryId, SupportChange> changes;
            for (std::uint64_t i = random() % 3 + 1; i > 0; --i) {
                SupportChange change;
                change.id = id(random() % entries + 1);
                change.active = random() % 4 != 0;
                for (std::uint64_t j = random() % 3; change.active && j > 0; --j) {
                    Justification justification;
                    justification.position = {random() % 4 + 1};
                    for (std::uint64_t s = random() % 4; s > 0; --s) {
                        justification.supports.push_back(id(random() % entries + 1));
                    }
                    change.justifications.push_back(std::move(justification));
                }
                changes[change.id] = std::move(change);
            }
            std::vector<SupportChange> list;
            for (const auto& [changed, change] : changes) {
                // Some keep a justification that they had.
                list.push_back(change);
                const auto before = model.entries.find(changed);
                if (before != model.entries.end() && change.active && random() % 2 == 0 &&
                    !before->second.justifications.empty()) {
                    list.back().justifications.push_back(before->second.justifications.front());
                }
                model.entries[changed] = list.back();
            }
            const std::set<EntryId> before = graph.suspects();
            const std::vector<EntryId> told = graph.apply(list);
            const std::set<EntryId> now = model.suspects();
            REQUIRE(graph.suspects() == now);
            REQUIRE(suspects_of_many(model) == now);
            std::vector<EntryId> expected;
            std::set_symmetric_difference(before.begin(), before.end(), now.begin(), now.end(),
                                          std::back_inserter(expected));
            CHECK(told == expected);
        }
    }
}

TEST_CASE("a cycle does not hold itself up, and comes back with what held it") {
    SupportGraph graph;
    const auto entry = [](std::uint64_t number, std::vector<std::vector<std::uint64_t>> supports, bool active = true) {
        SupportChange change{{"e", number}, active, {}};
        for (const std::vector<std::uint64_t>& one : supports) {
            change.justifications.push_back({{number}, {}});
            for (const std::uint64_t support : one) change.justifications.back().supports.push_back({"e", support});
        }
        return change;
    };
    const std::vector<SupportChange> all = {entry(1, {{}}), entry(2, {{1}, {3}}), entry(3, {{2}}), entry(4, {{3, 1}})};
    CHECK(graph.apply(all).empty());
    const SupportChange gone = entry(1, {}, false);
    CHECK(graph.apply({&gone, 1}) == std::vector<EntryId>{{"e", 2}, {"e", 3}, {"e", 4}});
    CHECK(graph.failed_supports({"e", 4}) == std::vector<EntryId>{{"e", 1}, {"e", 3}});
    const SupportChange back = entry(1, {{}});
    CHECK(graph.apply({&back, 1}) == std::vector<EntryId>{{"e", 2}, {"e", 3}, {"e", 4}});
    CHECK(graph.suspects().empty());
}

TEST_CASE("on a hundred thousand entries a retraction costs what it touches") {
    SupportGraph graph;
    Model model;
    std::mt19937 random(8);
    constexpr std::uint64_t entries = 100'000;
    for (std::uint64_t number = 1; number <= entries; ++number) {
        SupportChange change{{"e", number}, true, {}};
        // A third comes from outside. The rest cites entries of its neighbourhood, some written later: cycles.
        for (std::uint64_t j = random() % 3 == 0 ? 0 : random() % 2 + 1; j > 0; --j) {
            Justification justification{{number}, {}};
            for (std::uint64_t s = random() % 2 + 1; s > 0; --s) {
                const std::uint64_t low = number > 60 ? number - 60 : 1;
                justification.supports.push_back({"e", low + random() % 70});
            }
            change.justifications.push_back(std::move(justification));
        }
        if (change.justifications.empty()) change.justifications.push_back({{number}, {}});
        graph.apply({&change, 1});
        model.entries[change.id] = std::move(change);
    }
    REQUIRE(graph.suspects() == suspects_of_many(model));
    std::vector<double> us_per_hundred;
    for (int i = 0; i < 2'000; ++i) {
        const EntryId id{"e", random() % entries + 1};
        SupportChange change = model.entries.at(id);
        change.active = !change.active;
        const auto start = std::chrono::steady_clock::now();
        const std::size_t affected = graph.apply({&change, 1}).size() + 1;
        const double us = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
        us_per_hundred.push_back(us * 100 / static_cast<double>(std::max<std::size_t>(affected, 100)));
        model.entries[id] = change;
    }
    CHECK(graph.suspects() == suspects_of_many(model));
    std::sort(us_per_hundred.begin(), us_per_hundred.end());
    MESSAGE("p99 of a retraction: " << us_per_hundred[us_per_hundred.size() * 99 / 100] << " us for 100 entries");
}

#include "scheduler/agenda.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

using namespace stele;

namespace {

MatchPtr match(std::uint32_t source, std::uint64_t age, std::uint64_t entry) {
    auto made = std::make_shared<Match>();
    made->condition = source;
    made->bound = {{{"notes", entry}, 1}};
    made->age = {age};
    made->key = match_key("source" + std::to_string(source), made->bound, {});
    return made;
}

AgendaItem item(std::uint32_t source, double rating, std::uint64_t age, std::uint64_t entry) {
    return {source, rating, match(source, age, entry)};
}

bool all(std::uint32_t) { return true; }

// Takes everything off, first to last; each turn is noted.
std::vector<std::uint64_t> drained(Agenda agenda) {
    std::vector<std::uint64_t> entries;
    while (const std::optional<AgendaItem> next = agenda.first(all)) {
        entries.push_back(next->match->bound[0].id.number);
        REQUIRE(agenda.remove(next->match->key));
        agenda.note_turn(next->source);
    }
    CHECK(agenda.size() == 0);
    return entries;
}

Agenda filled(Strategy strategy, const std::vector<AgendaItem>& items) {
    Agenda agenda(strategy);
    for (const AgendaItem& one : items) agenda.add(one);
    return agenda;
}

using Entries = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("each strategy has its order, and ties go by source and by what is bound") {
    const std::vector<AgendaItem> items = {item(0, 1, 10, 1), item(0, 5, 30, 2), item(1, 5, 20, 3),
                                           item(1, 1, 10, 4), item(0, 1, 10, 5), item(2, 9, 40, 6)};
    CHECK(drained(filled(Strategy::priority, items)) == Entries{6, 3, 2, 1, 5, 4});
    CHECK(drained(filled(Strategy::fifo, items)) == Entries{1, 5, 4, 3, 2, 6});
    CHECK(drained(filled(Strategy::lifo, items)) == Entries{6, 2, 3, 5, 1, 4});
    CHECK(drained(filled(Strategy::fair, items)) == Entries{6, 3, 2, 4, 1, 5});
    CHECK(drained(filled(Strategy::depth, items)) == Entries{6, 2, 3, 5, 1, 4});
    CHECK(drained(filled(Strategy::breadth, items)) == Entries{6, 3, 2, 1, 5, 4});
    CHECK(drained(filled(Strategy::score, items)) == Entries{6, 3, 2, 1, 5, 4});
}

TEST_CASE("the order of arrival never matters") {
    for (std::uint32_t seed = 1; seed <= 200; ++seed) {
        CAPTURE(seed);
        std::mt19937 dice(seed);
        std::vector<AgendaItem> items;
        for (std::uint64_t entry = 1; entry <= 20; ++entry)
            items.push_back(item(dice() % 4, dice() % 3, dice() % 5, entry));
        for (const Strategy strategy :
             {Strategy::priority, Strategy::fifo, Strategy::lifo, Strategy::fair, Strategy::depth}) {
            const Entries expected = drained(filled(strategy, items));
            CHECK(expected.size() == 20);
            std::shuffle(items.begin(), items.end(), dice);
            REQUIRE(drained(filled(strategy, items)) == expected);
        }
    }
}

TEST_CASE("the first is the best in a plain sort, whatever comes and goes") {
    for (std::uint32_t seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        std::mt19937 dice(seed);
        // Source 1 needs a slot, and sometimes none is free.
        Agenda agenda(Strategy::priority, {false, true});
        std::map<std::uint64_t, AgendaItem> model;
        for (int step = 0; step < 200; ++step) {
            const std::uint64_t entry = 1 + dice() % 30;
            if (const auto known = model.find(entry); known != model.end()) {
                REQUIRE(agenda.remove(known->second.match->key));
                REQUIRE_FALSE(agenda.remove(known->second.match->key));
                model.erase(known);
            } else {
                const AgendaItem made = item(dice() % 3, dice() % 3, dice() % 9, entry);
                agenda.add(made);
                agenda.add(made);  // twice is once
                model.emplace(entry, made);
            }
            const std::uint32_t barred = dice() % 4;
            const bool slots_free = dice() % 2 == 0;
            const AgendaItem* best = nullptr;
            std::map<std::uint32_t, std::size_t> sizes;
            for (const auto& [number, one] : model) {
                ++sizes[one.source];
                if (one.source == barred || (one.source == 1 && !slots_free)) continue;
                const auto order = [](const AgendaItem& a) {
                    return std::make_tuple(-a.rating, a.match->age, a.source, a.match->bound[0].id.number);
                };
                if (best == nullptr || order(one) < order(*best)) best = &one;
            }
            const std::optional<AgendaItem> first =
                agenda.first([&](std::uint32_t source) { return source != barred; }, slots_free);
            REQUIRE(first.has_value() == (best != nullptr));
            if (best != nullptr) REQUIRE(first->match->key == best->match->key);
            REQUIRE(agenda.size() == model.size());
            for (std::uint32_t source = 0; source < 4; ++source) {
                REQUIRE(agenda.size_of(source) == (sizes.count(source) > 0 ? sizes.at(source) : 0));
                REQUIRE(agenda.any_source([=](std::uint32_t one) { return one == source; }) ==
                        (sizes.count(source) > 0));
            }
        }
    }
}

TEST_CASE("the matches of a source come in its order, no more than asked for") {
    Agenda agenda(Strategy::priority);
    for (std::uint64_t entry = 1; entry <= 5; ++entry) agenda.add(item(1, entry == 3 ? 7 : 0, 10 - entry, entry));
    agenda.add(item(0, 99, 1, 9));
    Entries entries;
    for (const AgendaItem& one : agenda.of_source(1, 3)) entries.push_back(one.match->bound[0].id.number);
    CHECK(entries == Entries{3, 5, 4});
    CHECK(agenda.of_source(1, 100).size() == 5);
    CHECK(agenda.of_source(7, 100).empty());
    CHECK_FALSE(agenda.first([](std::uint32_t source) { return source == 7; }).has_value());
}

TEST_CASE("ranked again, the agenda is as if it had been filled that way") {
    for (std::uint32_t seed = 1; seed <= 100; ++seed) {
        CAPTURE(seed);
        std::mt19937 dice(seed);
        std::vector<AgendaItem> items;
        for (std::uint64_t entry = 1; entry <= 20; ++entry) {
            items.push_back(item(dice() % 4, dice() % 3, dice() % 5, entry));
        }
        Agenda agenda = filled(Strategy::priority, items);
        agenda.rank_again(Strategy::depth, [](const AgendaItem& one) { return 7 - one.rating; });
        for (AgendaItem& one : items) one.rating = 7 - one.rating;
        CHECK(agenda.size() == items.size());
        REQUIRE(drained(agenda) == drained(filled(Strategy::depth, items)));
    }
}

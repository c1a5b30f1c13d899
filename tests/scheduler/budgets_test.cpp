// Budgets: room, reservations and what is settled, against sums worked out the slow way.
#include "scheduler/budgets.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <random>
#include <vector>

using namespace stele;

namespace {

CrewSpec crew_of_two() {
    CrewSpec crew;
    for (const char* name : {"a", "b"}) {
        SourceSpec source;
        source.name = name;
        source.kind = SourceKind::llm;
        crew.sources.push_back(source);
    }
    for (const char* name : {"m", "n"}) {
        ModelSpec model;
        model.name = name;
        crew.models.push_back(model);
    }
    return crew;
}

}  // namespace

TEST_CASE("a cap of each owner and of each thing that is counted is held, and the refusal says which") {
    struct Case {
        const char* budget;
        std::function<void(CrewSpec&)> set;
        Amounts wanted;
    };
    const std::vector<Case> cases = {
        {"crew tokens", [](CrewSpec& c) { c.stop.calls.tokens = 100; }, {1, 101, 0, 0}},
        {"crew calls", [](CrewSpec& c) { c.stop.calls.calls = 2; }, {3, 0, 0, 0}},
        {"crew money", [](CrewSpec& c) { c.stop.calls.money_micros = 50; }, {1, 0, 51, 0}},
        {"source tokens", [](CrewSpec& c) { c.sources[0].limits.calls.tokens = 100; }, {1, 101, 0, 0}},
        {"source money", [](CrewSpec& c) { c.sources[0].limits.calls.money_micros = 50; }, {1, 0, 51, 0}},
        {"model m tokens", [](CrewSpec& c) { c.models[0].caps.tokens = 100; }, {1, 101, 0, 0}},
        {"model m calls", [](CrewSpec& c) { c.models[0].caps.calls = 1; }, {2, 0, 0, 0}},
    };
    for (const Case& one : cases) {
        CAPTURE(one.budget);
        CrewSpec crew = crew_of_two();
        one.set(crew);
        Budgets budgets;
        budgets.configure(crew);
        const BudgetRoom room = budgets.room({"a", "m"}, one.wanted);
        CHECK(room.kind == BudgetRoom::Kind::spent);
        CHECK(room.budget == one.budget);
        CHECK(room.message.find("budget of") != std::string::npos);
        CHECK(budgets.room({"b", "n"}, {1, 1, 1, 0}).kind == BudgetRoom::Kind::fits);
    }
}

TEST_CASE("what is reserved may come free, so a call waits for it and is not refused") {
    CrewSpec crew = crew_of_two();
    crew.stop.calls.tokens = 100;
    Budgets budgets;
    budgets.configure(crew);
    budgets.reserve({"a", "m"}, {1, 60, 0, 0});
    CHECK(budgets.room({"b", "n"}, {1, 40, 0, 0}).kind == BudgetRoom::Kind::fits);
    CHECK(budgets.room({"b", "n"}, {1, 41, 0, 0}).kind == BudgetRoom::Kind::wait);
    CHECK(budgets.room({"b", "n"}, {1, 101, 0, 0}).kind == BudgetRoom::Kind::spent);
    budgets.settle({"a", "m"}, {1, 60, 0, 0}, {1, 10, 0, 0}, false);
    CHECK(budgets.room({"b", "n"}, {1, 90, 0, 0}).kind == BudgetRoom::Kind::fits);
    // The provider counted more than was reserved: it is told as it is, and nothing more fits.
    budgets.settle({"a", "m"}, {}, {1, 200, 0, 0}, false);
    CHECK(budgets.room({"b", "n"}, {1, 1, 0, 0}).kind == BudgetRoom::Kind::spent);
    CHECK(budgets.crew().spent.tokens == 210);
}

TEST_CASE("only sources that wrap up may use what the crew keeps back") {
    CrewSpec crew = crew_of_two();
    crew.stop.calls.tokens = 1000;
    crew.stop.on_exceed = OnExceed::wrap_up;
    crew.stop.reserve = 0.25;
    crew.sources[1].wrap_up = true;
    Budgets budgets;
    budgets.configure(crew);
    CHECK(budgets.room({"a", "m"}, {1, 750, 0, 0}).kind == BudgetRoom::Kind::fits);
    CHECK(budgets.room({"a", "m"}, {1, 751, 0, 0}).kind == BudgetRoom::Kind::spent);
    CHECK(budgets.room({"b", "m"}, {1, 1000, 0, 0}).kind == BudgetRoom::Kind::fits);
    crew.stop.reserve = 1.0;
    crew.stop.calls.tokens = 5;
    CHECK(budgets.room({"a", "m"}, {1, 2, 0, 0}).kind == BudgetRoom::Kind::spent);
}

TEST_CASE("the greatest numbers neither wrap around nor let anything through") {
    CrewSpec crew = crew_of_two();
    crew.stop.calls.tokens = std::numeric_limits<std::uint64_t>::max() - 1;
    Budgets budgets;
    budgets.configure(crew);
    const std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    CHECK(budgets.room({"a", "m"}, {1, most, 0, 0}).kind == BudgetRoom::Kind::spent);
    budgets.reserve({"a", "m"}, {1, most - 1, std::numeric_limits<std::int64_t>::max(), 0});
    CHECK(budgets.room({"a", "m"}, {1, most - 1, 0, 0}).kind == BudgetRoom::Kind::wait);
    budgets.settle({"a", "m"}, {}, {1, most, std::numeric_limits<std::int64_t>::max(), 0}, true);
    CHECK(budgets.crew().spent.tokens == most);
    CHECK(budgets.crew().uncertain == 1);
}

TEST_CASE("at no instant do spent and reserved pass a cap, whatever is asked in whatever order") {
    for (std::uint32_t seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        std::mt19937 dice(seed);
        const auto roll = [&](std::uint64_t below) {
            return std::uniform_int_distribution<std::uint64_t>(0, below - 1)(dice);
        };
        CrewSpec crew = crew_of_two();
        const auto caps = [&]() -> CallCaps {
            return {roll(3) == 0 ? 0 : 1 + roll(60), roll(3) == 0 ? 0 : 1 + roll(4000),
                    roll(3) == 0 ? 0 : static_cast<std::int64_t>(1 + roll(9000)), 0};
        };
        crew.stop.calls = caps();
        for (SourceSpec& source : crew.sources) source.limits.calls = caps();
        for (ModelSpec& model : crew.models) model.caps = caps();
        Budgets budgets;
        budgets.configure(crew);
        struct Open {
            std::size_t source, model;
            Amounts reserved;
        };
        std::vector<Open> open;
        Amounts spent[2][2];
        for (int step = 0; step < 200; ++step) {
            if (!open.empty() && roll(2) == 0) {
                const std::size_t which = roll(open.size());
                const Open ended = open[which];
                open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
                const Amounts cost{
                    1, roll(ended.reserved.tokens + 1),
                    static_cast<std::int64_t>(roll(static_cast<std::uint64_t>(ended.reserved.money_micros) + 1)), 0};
                budgets.settle({crew.sources[ended.source].name, crew.models[ended.model].name}, ended.reserved, cost,
                               false);
                spent[ended.source][ended.model] = add(spent[ended.source][ended.model], cost);
            } else {
                const Open asked{roll(2), roll(2), {1, roll(600), static_cast<std::int64_t>(roll(1500)), 0}};
                const Caller caller{crew.sources[asked.source].name, crew.models[asked.model].name};
                if (budgets.room(caller, asked.reserved).kind != BudgetRoom::Kind::fits) continue;
                budgets.reserve(caller, asked.reserved);
                open.push_back(asked);
            }
            // The slow way: everything that is open or was spent, summed for each owner.
            const auto taken = [&](auto counts) {
                Amounts sum;
                for (std::size_t s = 0; s < 2; ++s) {
                    for (std::size_t m = 0; m < 2; ++m) {
                        if (counts(s, m)) sum = add(sum, spent[s][m]);
                    }
                }
                for (const Open& one : open) {
                    if (counts(one.source, one.model)) sum = add(sum, one.reserved);
                }
                return sum;
            };
            const auto holds = [](const CallCaps& cap, const Amounts& sum) {
                return (cap.calls == 0 || sum.calls <= cap.calls) && (cap.tokens == 0 || sum.tokens <= cap.tokens) &&
                       (cap.money_micros == 0 || sum.money_micros <= cap.money_micros);
            };
            REQUIRE(holds(crew.stop.calls, taken([](std::size_t, std::size_t) { return true; })));
            for (std::size_t i = 0; i < 2; ++i) {
                REQUIRE(holds(crew.sources[i].limits.calls, taken([i](std::size_t s, std::size_t) { return s == i; })));
                REQUIRE(holds(crew.models[i].caps, taken([i](std::size_t, std::size_t m) { return m == i; })));
            }
            const Amounts all = taken([](std::size_t, std::size_t) { return true; });
            REQUIRE(budgets.crew().spent.tokens + budgets.crew().reserved.tokens == all.tokens);
        }
    }
}

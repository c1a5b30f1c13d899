// The meter of a goal that was taken up from a checkpoint against the one that saw everything.
#include "scheduler/goal_meter.hpp"

#include <doctest/doctest.h>

#include <string>

#include "scheduler/checkpoint.hpp"
#include "tests/scheduler/match_worlds.hpp"

using namespace stele;
using namespace stele::match_worlds;

TEST_CASE("a goal whose terms depend on one another is measured by what each asks alone") {
    Condition goal;
    goal.variables = {"t"};
    Term each;
    each.kind = TermKind::each;
    each.region = "tasks";
    Term exists;
    exists.kind = TermKind::exists;
    exists.region = "done";
    Comparison same;
    same.path = {"task"};
    same.operand.reference = VariableRef{0, Attribute::id, {}};
    exists.where = {same};
    goal.terms = {each, exists};
    GoalMeter meter(goal);
    const auto entry = [](const char* region) {
        auto made = std::make_shared<Entry>();
        made->id = {region, 1};
        return EntryChange{EntryChange::Kind::added, made->id, nullptr, made};
    };
    const EntryChange task = entry("tasks");
    const EntryChange done = entry("done");
    CHECK(meter.commit({&task, 1}, false));
    CHECK(meter.commit({&done, 1}, false));
    CHECK_FALSE(meter.commit({&done, 1}, false));
}

TEST_CASE("a meter taken up from a checkpoint says nearer when the one that saw everything does") {
    std::size_t nearer = 0;
    for (std::uint32_t seed = 1; seed <= 2'000; ++seed) {
        CAPTURE(seed);
        Dice dice(seed);
        const Condition goal = random_condition(dice);
        GoalMeter all(goal);
        GoalMeter from_outside(goal);
        std::optional<GoalMeter> resumed;
        std::map<EntryId, std::uint32_t> versions;
        Version now;
        for (std::uint64_t step = 1; step <= 20; ++step) {
            now = random_version(dice, now.state, {step}, versions, static_cast<std::int64_t>(step));
            const bool outside = roll(dice, 4) == 0;
            const bool said = all.commit(now.changes, outside);
            nearer += said ? 1 : 0;
            from_outside.commit(now.changes, true);
            if (resumed) {
                REQUIRE(resumed->commit(now.changes, outside) == said);
                REQUIRE(checkpoint_of(*resumed) == checkpoint_of(all));
            }
            if (roll(dice, 4) != 0) continue;
            resumed.emplace(goal);
            for (const auto& [id, entry] : now.state) {
                const EntryChange change{EntryChange::Kind::added, id, nullptr, entry};
                resumed->commit({&change, 1}, true);
            }
            GoalMeter anew = *resumed;
            anew.take_over(all);
            REQUIRE(checkpoint_of(anew) == checkpoint_of(from_outside));
            const std::string bytes = checkpoint_of(all);
            const CheckpointLoaders none;
            CheckpointReader in(bytes, none);
            resumed->load(in);
            REQUIRE(in.finish().ok());
        }
    }
    CHECK(nearer > 1'000);
}

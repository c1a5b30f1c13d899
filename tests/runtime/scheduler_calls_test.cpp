// Calls in the activation protocol: budgets that hold, answers that serve twice, and what becomes of both
// over crashes. Worlds of virtual time, replayed from their logs.
#include <doctest/doctest.h>

#include "runtime/crew_loader.hpp"
#include "tests/scheduler/simulation.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

CrewSpec askers(const std::string& more_sources = {}) {
    const LoadedCrew loaded = load_crew(R"(
stele: 1
crew: test
regions:
  tasks: {policy: append_only, entry: {n: integer}}
  done:  {policy: append_only, entry: {n: integer}}
  brief: {policy: append_only, entry: {n: integer}}
sources:
  worker:
    kind: process
    command: [worker]
    when: [{each: tasks as t}]
    limits: {backoff: 10ms}
    may: {read: [tasks], write: {done: [insert]}}
)" + more_sources,
                                        "crew.yaml", "/crews", {});
    for (const CrewProblem& problem : loaded.problems) {
        if (!problem.warning) FAIL(to_text(problem));
    }
    return *loaded.crew;
}

constexpr const char* closer = R"(  closer:
    kind: process
    command: [closer]
    when: [{idle: true}, {exists: done}]
    may: {read: [done], write: {brief: [insert]}}
)";

Write task(int n) { return insert("tasks", "{\"n\":" + std::to_string(n) + "}"); }

Answer asks(const Call& call, std::vector<ModelAsk> asked) {
    Answer made = answer({write(WriteOp::insert, "done", call.bound(0).content)});
    made.asks = std::move(asked);
    return made;
}

void check_log(const World& world) {
    const std::optional<std::string> difference = world.replay_difference();
    CHECK_MESSAGE(!difference, difference.value_or(""));
    const std::optional<std::string> violation = world.protocol_violation();
    CHECK_MESSAGE(!violation, violation.value_or(""));
}

std::size_t calls_made(const World& world) {
    std::size_t made = 0;
    for (const LoggedRecord& called : world.of(RecordKind::called)) {
        made += called.verdict.accepted && !called.record.answered_by ? 1 : 0;
    }
    return made;
}

}  // namespace

TEST_CASE("sixteen at once never pass the cap, and wait for what comes free") {
    CrewSpec spec = askers();
    spec.concurrency = 16;
    spec.stop.calls.tokens = 1'000;
    World world(spec);
    world.watch = [](const Scheduler& scheduler) {
        const Ledger& crew = scheduler.budgets().crew();
        REQUIRE(crew.spent.tokens + crew.reserved.tokens <= 1'000);
    };
    world.script("worker", [](const Call& call) { return asks(call, {{"m", {1, 200, 0, 0}, {1, 50, 0, 0}, {}}}); });
    std::vector<Write> tasks;
    for (int n = 0; n < 30; ++n) tasks.push_back(task(n));
    world.commit(tasks);
    world.start_run();
    world.run();
    // 1,000 have room for sixteen of 50 with 200 left to reserve, and for a seventeenth.
    CHECK(world.stopped_by() == "budget");
    CHECK(world.stop_message().find("the crew's budget of 1000 tokens has") != std::string::npos);
    CHECK(world.scheduler().budgets().crew().spent.tokens == 850);
    CHECK(world.contents("done").size() == 17);
    CHECK(world.of(RecordKind::dead).empty());
    check_log(world);

    // More to spend: the matches that were left are taken up, and nothing twice.
    spec.stop.calls.tokens = 10'000;
    spec.text = "with more";
    world.watch = nullptr;
    world.reconfigure(spec);
    world.signal("resume");
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.contents("done").size() == 30);
    check_log(world);
}

TEST_CASE("a source that has spent its own budget stops alone") {
    CrewSpec spec = askers(closer);
    spec.sources[0].limits.calls.calls = 3;
    World world(spec);
    world.script("worker", [](const Call& call) { return asks(call, {{"m", {1, 10, 0, 0}, {1, 10, 0, 0}, {}}}); });
    world.script("closer", [](const Call&) { return answer({insert("brief", R"({"n":1})")}); });
    world.commit({task(1), task(2), task(3), task(4), task(5)});
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "budget");
    CHECK(world.stop_message() == "stopped by their own budget: worker with 2 matches left");
    CHECK(world.contents("done").size() == 3);
    CHECK(world.contents("brief").size() == 1);
    check_log(world);
}

TEST_CASE("when the money runs out, who wraps up still comes to a conclusion, out of what was kept back") {
    CrewSpec spec = askers(closer);
    spec.stop.calls.money_micros = 1'000;
    spec.stop.on_exceed = OnExceed::wrap_up;
    spec.stop.reserve = 0.3;
    spec.sources[1].wrap_up = true;
    World world(spec);
    world.watch = [](const Scheduler& scheduler) {
        const Ledger& crew = scheduler.budgets().crew();
        REQUIRE(crew.spent.money_micros + crew.reserved.money_micros <= 1'000);
    };
    world.script("worker", [](const Call& call) { return asks(call, {{"m", {1, 10, 200, 0}, {1, 10, 150, 0}, {}}}); });
    world.script("closer", [](const Call&) {
        Answer made = answer({insert("brief", R"({"n":1})")});
        made.asks = {{"m", {1, 10, 300, 0}, {1, 10, 250, 0}, {}}};
        return made;
    });
    std::vector<Write> tasks;
    for (int n = 0; n < 20; ++n) tasks.push_back(task(n));
    world.commit(tasks);
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "budget");
    CHECK(world.stop_message().find("the run was wrapped up") != std::string::npos);
    CHECK(world.contents("brief").size() == 1);
    CHECK(world.contents("done").size() == 4);
    check_log(world);
}

TEST_CASE("a crew that asks stops as waiting and goes on with a higher cap") {
    CrewSpec spec = askers();
    spec.stop.calls.calls = 2;
    spec.stop.on_exceed = OnExceed::ask;
    World world(spec);
    world.script("worker", [](const Call& call) { return asks(call, {{"m", {1, 1, 0, 0}, {1, 1, 0, 0}, {}}}); });
    world.commit({task(1), task(2), task(3)});
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "waiting");
    CHECK(world.stop_message().find("stele resume --crew") != std::string::npos);
    spec.stop.calls.calls = 20;
    spec.text = "raised";
    world.reconfigure(spec);
    world.signal("resume");
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.contents("done").size() == 3);
    check_log(world);
}

TEST_CASE("a quota or a refused key stops the run as waiting, costs no attempt, and resume tries again") {
    World world(askers());
    bool key_is_good = false;
    world.script("worker", [&](const Call& call) {
        if (!key_is_good) return failure("the key was refused (401)", OutcomeKind::blocked);
        return asks(call, {});
    });
    world.commit({task(1)});
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "waiting");
    CHECK(world.stop_message() == "worker: the key was refused (401)");
    CHECK(world.of(RecordKind::dead).empty());
    key_is_good = true;
    world.signal("resume");
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.contents("done").size() == 1);
    check_log(world);
}

TEST_CASE("six identical calls of two sources become one, also over runs of the board") {
    CrewSpec spec = askers(R"(  other:
    kind: process
    command: [other]
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {done: [insert]}}
)");
    spec.concurrency = 1;
    World world(spec);
    const auto same = [](const Call& call) {
        return asks(call, {{"", {1, 0, 0, 0}, {1, 0, 0, 0}, fixed_digest("search")}});
    };
    world.script("worker", same).script("other", same);
    world.commit({task(1), task(2), task(3)});
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.contents("done").size() == 6);
    CHECK(calls_made(world) == 1);
    CHECK(world.scheduler().budgets().crew().spent.calls == calls_made(world));
    const std::size_t made = calls_made(world);
    world.commit({task(4)});
    world.start_run();
    world.run();
    CHECK(calls_made(world) == made);
    check_log(world);
}

TEST_CASE("an answer that an attempt failed by is not given to the next one") {
    World world(askers());
    int attempts = 0;
    world.script("worker", [&](const Call& call) {
        Answer made = asks(call, {{"m", {1, 10, 0, 0}, {1, 10, 0, 0}, fixed_digest("prompt")}});
        // The answer says what does not fit the region.
        if (++attempts == 1) made.writes = {insert("done", R"({"wrong":1})")};
        return made;
    });
    world.commit({task(1)});
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    CHECK(attempts == 2);
    CHECK(calls_made(world) == 2);
    check_log(world);
}

TEST_CASE("a call that a crash cut off counts in full, and one that had returned is not paid again") {
    CrewSpec spec = askers();
    spec.stop.calls.tokens = 100'000;
    World world(spec);
    world.script("worker", [](const Call& call) {
        return asks(call, {{"m", {1, 70, 0, 0}, {1, 7, 0, 0}, fixed_digest("first")},
                           {"m", {1, 500, 0, 0}, {1, 5, 0, 0}, fixed_digest("second")}});
    });
    world.commit({task(1)});
    world.start_run();
    while (world.of(RecordKind::called).size() < 2) REQUIRE(world.turn());
    world.crash();
    CHECK(world.scheduler().budgets().crew().spent.tokens == 7 + 500);
    CHECK(world.scheduler().budgets().crew().uncertain == 1);
    CHECK(world.scheduler().budgets().crew().reserved.tokens == 0);
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.contents("done").size() == 1);
    CHECK(world.scheduler().budgets().crew().spent.tokens == 7 + 500 + 5);
    check_log(world);
}

TEST_CASE("random crews that call, crash and run out keep their caps and replay") {
    for (std::uint32_t seed = 1; seed <= 60; ++seed) {
        CAPTURE(seed);
        std::mt19937 dice(seed);
        const auto roll = [&](std::uint32_t below) {
            return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(dice);
        };
        CrewSpec spec = askers(closer);
        spec.concurrency = 1 + roll(8);
        spec.stop.calls.tokens = 200 + roll(3'000);
        spec.stop.on_exceed = static_cast<OnExceed>(roll(3));
        spec.sources[1].wrap_up = true;
        World world(spec, seed);
        world.random_order = roll(2) == 0;
        world.displaces = true;
        const std::uint64_t cap = spec.stop.calls.tokens;
        world.watch = [cap](const Scheduler& scheduler) {
            const Ledger& crew = scheduler.budgets().crew();
            REQUIRE(crew.spent.tokens + crew.reserved.tokens <= cap);
        };
        world.script("worker", [](const Call& call) {
            std::vector<ModelAsk> asked;
            for (std::uint32_t i = call.dice() % 4; i > 0; --i) {
                const std::uint64_t most = 1 + call.dice() % 120;
                const Hash128 key = call.dice() % 2 == 0 ? Hash128{1 + call.dice() % 5, 9} : Hash128{};
                asked.push_back({"m", {1, most, 0, 0}, {1, call.dice() % (most + 1), 0, 0}, key});
            }
            return asks(call, std::move(asked));
        });
        world.script("closer", [](const Call&) { return answer({insert("brief", R"({"n":1})")}); });
        std::vector<Write> tasks;
        for (int n = 0; n < 20; ++n) tasks.push_back(task(n));
        world.commit(tasks);
        world.start_run();
        for (int i = 0; i < 400 && world.scheduler().is_running(); ++i) {
            if (!world.turn()) break;
            if (roll(40) == 0) world.crash();
        }
        world.run();
        CHECK(!world.scheduler().is_running());
        check_log(world);
    }
}

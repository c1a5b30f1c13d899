// What the scheduler promises, each promise in a small world: a crew as its author would write it,
// sources as scripts, virtual time. Every world is also replayed from its log, decision by decision.
#include <doctest/doctest.h>

#include "knowledge_sources/rule_source.hpp"
#include "runtime/crew_loader.hpp"
#include "tests/scheduler/simulation.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

CrewSpec crew(const std::string& text) {
    const LoadedCrew loaded = load_crew("stele: 1\ncrew: test\n" + text, "crew.yaml", "/crews", {});
    std::string problems;
    for (const CrewProblem& problem : loaded.problems) {
        if (!problem.warning) problems += to_text(problem) + "\n";
    }
    REQUIRE_MESSAGE(loaded.crew != nullptr, problems);
    return *loaded.crew;
}

// A world whose rules are the real ones, and whose log must replay when it ends.
class CrewWorld : public World {
public:
    explicit CrewWorld(const std::string& text, std::uint32_t seed = 1) : CrewWorld(crew(text), seed) {}
    explicit CrewWorld(CrewSpec spec, std::uint32_t seed = 1) : World(std::move(spec), seed) {
        rules([](const SourceSpec& source, const std::vector<MatchPtr>& members) {
            std::vector<Binding> bindings;
            for (const MatchPtr& member : members) bindings.push_back({member->entries});
            return apply_rule(source, bindings);
        });
    }
    ~CrewWorld() {
        const std::optional<std::string> difference = replay_difference();
        CHECK_MESSAGE(!difference, difference.value_or(""));
        const std::optional<std::string> violation = protocol_violation();
        CHECK_MESSAGE(!violation, violation.value_or(""));
    }
};

using Names = std::vector<std::string>;
using Texts = std::vector<std::string>;

const std::string tasks_region = R"(
regions:
  tasks: {policy: append_only, entry: {name: string, size: number?}}
  done:  {policy: append_only, entry: {name: string}}
  state: {policy: last_writer_wins, key: [name], entry: {name: string, value: any}}
)";

const std::string all_grants =
    "    may: {read: [tasks, done, state], write: {tasks: [insert], done: [insert], state: [put]}}\n";

// One process called `worker`, woken by `when`.
std::string one_worker(const std::string& when, const std::string& more = {}) {
    return tasks_region + "sources:\n  worker:\n    kind: process\n    command: [worker]\n    when: " + when + "\n" +
           all_grants + more;
}

}  // namespace

// ---- terms ---------------------------------------------------------------------------------------

TEST_CASE("each wakes a source once for each entry that passes, and never twice for one") {
    CrewWorld world(one_worker("[{each: tasks as t, where: {size: {gte: 2}}}]"));
    world.commit({insert("tasks", R"({"name":"a","size":1})"), insert("tasks", R"({"name":"b","size":2})")});
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.wakes("worker") == 1);
    world.commit({insert("tasks", R"({"name":"c","size":3})")});
    world.signal("resume");
    world.run();
    CHECK(world.wakes("worker") == 2);
    world.signal("resume");
    world.run();
    CHECK(world.wakes("worker") == 2);
}

TEST_CASE("refraction holds over two runs, and start is once per run") {
    const std::string text = tasks_region + R"(
sources:
  worker:
    kind: process
    command: [worker]
    when: [{each: tasks as t}]
    may: {read: [tasks]}
  starter:
    kind: process
    command: [starter]
    when: [{start: true}]
)";
    CrewWorld world(text);
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.run();
    world.start_run();
    world.run();
    CHECK(world.wakes("worker") == 1);
    CHECK(world.wakes("starter") == 2);
}

TEST_CASE("a second run sees the entries that are, not those that have been") {
    CrewWorld world(one_worker("[{each: state as s, where: {value: open}}]"));
    world.commit({put("state", R"({"name":"door","value":"open"})")});
    world.commit({put("state", R"({"name":"door","value":"shut"})")});
    world.start_run();
    world.run();
    CHECK(world.wakes("worker") == 0);
    CHECK(world.stopped_by() == "quiescence");
}

TEST_CASE("changed wakes for each version after an entry's first") {
    CrewWorld world(one_worker("[{changed: state as s}]"));
    world.start_run();
    for (const char* value : {"1", "2", "3"}) {
        world.commit({put("state", R"({"name":"n","value":)" + std::string(value) + "}")});
        world.signal("resume");
        world.run();
    }
    CHECK(world.wakes("worker") == 2);
}

TEST_CASE("evidence that comes and is retracted makes none a new match") {
    CrewWorld world(one_worker("[{each: tasks as t}, {none: done, where: {name: $t.name}}]"));
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.run();
    CHECK(world.wakes("worker") == 1);
    world.commit({insert("done", R"({"name":"a"})")});
    world.signal("resume");
    world.run();
    CHECK(world.wakes("worker") == 1);
    world.commit({retract({"done", 1})});
    world.signal("resume");
    world.run();
    CHECK(world.wakes("worker") == 2);
}

TEST_CASE("exists is one match however many entries there are, until there is none") {
    CrewWorld world(one_worker("[{exists: done}]"));
    world.start_run();
    const auto go_on = [&] {
        world.signal("resume");
        world.run();
        return world.wakes("worker");
    };
    world.commit({insert("done", R"({"name":"a"})")});
    CHECK(go_on() == 1);
    world.commit({insert("done", R"({"name":"b"})")});
    world.commit({retract({"done", 1})});
    CHECK(go_on() == 1);
    world.commit({retract({"done", 2})});
    CHECK(go_on() == 1);
    world.commit({insert("done", R"({"name":"c"})")});
    CHECK(go_on() == 2);
}

TEST_CASE("again: on_change makes a new match at each change while the term holds") {
    CrewWorld world(one_worker("[{count: tasks, is: {gte: 2}, again: on_change}]"));
    world.start_run();
    for (int i = 0; i < 4; ++i) {
        world.commit({insert("tasks", R"({"name":"a"})")});
        world.signal("resume");
        world.run();
    }
    CHECK(world.wakes("worker") == 3);
    world.commit({insert("done", R"({"name":"a"})")});
    world.signal("resume");
    world.run();
    CHECK(world.wakes("worker") == 3);
}

TEST_CASE("aggregates hold while their result passes, and over nothing only count and sum do") {
    for (const auto& [term, sizes, wakes] : std::vector<std::tuple<std::string, std::vector<double>, std::size_t>>{
             {"count: tasks, is: {gte: 2}", {1, 1}, 1},
             {"count: tasks, is: 0", {}, 1},
             {"sum: tasks, field: size, is: 0.6", {0.1, 0.2, 0.3}, 1},
             {"sum: tasks, field: size, is: 0", {}, 1},
             {"min: tasks, field: size, is: {lt: 5}", {}, 0},
             {"min: tasks, field: size, is: {lt: 5}", {7, 4.5}, 1},
             {"max: tasks, field: size, is: {gt: 5}", {7, 4.5}, 1},
             {"max: tasks, field: size, is: {lt: 7}", {7, 4.5}, 0},
             {"avg: tasks, field: size, is: 2", {1, 3}, 1},
             {"avg: tasks, field: size, is: {lt: 100}", {}, 0},
         }) {
        CAPTURE(term);
        CrewWorld world(one_worker("[{" + term + "}]"));
        for (const double size : sizes) {
            world.commit({write(WriteOp::insert, "tasks",
                                Value::object({{"name", Value("a")}, {"size", Value::number(size)}}))});
        }
        world.start_run();
        world.run();
        CHECK(world.wakes("worker") == wakes);
    }
}

TEST_CASE("quiet wakes once for each silence, and holds the run until it comes") {
    CrewWorld world(one_worker("[{exists: tasks}, {quiet: {region: tasks, for: 2s}}]"));
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    const std::int64_t began = world.clock.ms;
    world.advance(1'500);
    world.commit({insert("tasks", R"({"name":"b"})")});
    world.advance(1'500);
    CHECK(world.wakes("worker") == 0);
    world.run();
    CHECK(world.wakes("worker") == 1);
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.clock.ms == began + 3'510);
    world.commit({insert("tasks", R"({"name":"c"})")});
    world.signal("resume");
    world.run();
    CHECK(world.wakes("worker") == 2);
}

TEST_CASE("after wakes that long after the newest bound entry, or after the run began") {
    CrewWorld bound(one_worker("[{each: tasks as t}, {after: 5s}]"));
    bound.commit({insert("tasks", R"({"name":"a"})")});
    const std::int64_t written = bound.clock.ms;
    bound.advance(1'000);
    bound.start_run();
    bound.run();
    CHECK(bound.of(RecordKind::claimed, "worker").at(0).record.time.ms == written + 5'000);

    CrewWorld free(one_worker("[{after: 5s}]"));
    free.start_run();
    const std::int64_t began = free.clock.ms;
    free.run();
    CHECK(free.of(RecordKind::claimed, "worker").at(0).record.time.ms == began + 5'000);
    CHECK(free.wakes("worker") == 1);
}

TEST_CASE("every wakes at each tick, missed ticks count once, and it alone does not hold a run") {
    const std::string text = one_worker("[{every: 1s}]", R"(
  long:
    kind: process
    command: [long]
    when: [{start: true}]
)");
    CrewWorld world(text);
    world.script("long", [](const Call&) { return answer({}, 9'500); });
    world.script("worker", [](const Call&) { return answer({}, 250); });
    world.start_run();
    world.run();
    CHECK(world.wakes("worker") == 9);
    CHECK(world.stopped_by() == "quiescence");

    CrewWorld alone(one_worker("[{every: 1s}]"));
    alone.start_run();
    alone.run();
    CHECK(alone.wakes("worker") == 0);
    CHECK(alone.stopped_by() == "quiescence");
}

TEST_CASE("ticks that pass while nobody owns the board count once") {
    CrewWorld world(one_worker("[{every: 1s}]", R"(
  long:
    kind: process
    command: [long]
    when: [{start: true}]
    limits: {attempts: 5}
)"));
    world.script("long", [](const Call&) { return answer({}, 5'000); });
    world.start_run();
    world.advance(2'100);
    CHECK(world.wakes("worker") == 2);
    world.clock.ms += 10'000;
    world.crash();
    CHECK(world.wakes("worker") == 3);
}

TEST_CASE("every inside any wakes at each tick as well") {
    CrewWorld world(one_worker("[{any: [{every: 1s}, {exists: done}]}]", R"(
  long:
    kind: process
    command: [long]
    when: [{start: true}]
)"));
    world.script("long", [](const Call&) { return answer({}, 4'500); });
    world.start_run();
    world.run();
    CHECK(world.wakes("worker") == 4);
}

TEST_CASE("any holds while one of its items does, and not while its term does not") {
    CrewWorld world(one_worker("[{any: [[{exists: tasks}, {not: {exists: done}}], {exists: state}]}]"));
    world.start_run();
    const auto go_on = [&] {
        world.signal("resume");
        world.run();
        return world.wakes("worker");
    };
    CHECK(go_on() == 0);
    world.commit({insert("tasks", R"({"name":"a"})")});
    CHECK(go_on() == 1);
    // The other item takes over in the same commit: it never stopped holding.
    world.commit({insert("done", R"({"name":"a"})"), put("state", R"({"name":"n","value":1})")});
    CHECK(go_on() == 1);
    world.commit({retract({"state", 1}, 1)});
    CHECK(go_on() == 1);
    world.commit({retract({"done", 1})});
    CHECK(go_on() == 2);
}

TEST_CASE("a wait that could make no match does not hold the run") {
    CrewWorld world(one_worker("[{any: [{exists: tasks}, {after: 1h}]}]"));
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    const std::int64_t began = world.clock.ms;
    world.run();
    CHECK(world.wakes("worker") == 1);
    CHECK(world.clock.ms < began + 1'000);
}

TEST_CASE("idle comes exactly once for each content change that a source not woken by idle made") {
    CrewWorld world(one_worker("[{each: tasks as t}]", R"(
  tidy:
    kind: process
    command: [tidy]
    when: [{idle: true}]
    may: {read: [done], write: {done: [insert]}}
)"));
    world.script("worker", [](const Call& call) {
        return answer({insert("done", R"({"name":")" + call.bound(0).content.find("name")->as_string() + "\"}")}, 100);
    });
    world.script("tidy", [](const Call&) { return answer({insert("done", R"({"name":"tidied"})")}); });
    world.commit({insert("tasks", R"({"name":"a"})"), insert("tasks", R"({"name":"b"})")});
    world.start_run();
    world.run();
    // Once, after both; its own write is no reason to come again.
    CHECK(world.woken() == Names{"worker", "worker", "tidy"});
    world.commit({insert("tasks", R"({"name":"c"})")});
    world.signal("resume");
    world.run();
    CHECK(world.woken() == Names{"worker", "worker", "tidy", "worker", "tidy"});
    world.signal("resume");
    world.run();
    CHECK(world.wakes("tidy") == 2);
}

TEST_CASE("idle waits for retries, batch windows and quiet") {
    CrewWorld world(one_worker("[{each: tasks as t}]", R"(
    limits: {backoff: 3s}
  gather:
    kind: process
    command: [gather]
    when: [{each: tasks as t}]
    wake: batch
    batch: {max: 10, within: 5s}
    may: {read: [tasks]}
  calm:
    kind: process
    command: [calm]
    when: [{quiet: {region: tasks, for: 7s}}, {exists: tasks}]
    may: {read: [tasks]}
  tidy:
    kind: process
    command: [tidy]
    when: [{idle: true}]
)"));
    world.script("worker", [](const Call& call) { return call.activation.attempt == 1 ? failure("no") : answer({}); });
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.run();
    CHECK(world.woken() == Names{"worker", "worker", "gather", "calm", "tidy"});
}

TEST_CASE("idle matches of several sources go by the control strategy as well") {
    CrewWorld world(tasks_region + R"(
sources:
  low:
    kind: process
    command: [low]
    when: [{idle: true}]
    priority: 1
  high:
    kind: process
    command: [high]
    when: [{idle: true}]
    priority: 2
limits: {concurrency: 1}
)");
    world.start_run();
    world.run();
    CHECK(world.woken() == Names{"high", "low"});
}

// ---- waking once and in batches ------------------------------------------------------------------

TEST_CASE("wake: once is one activation in a run") {
    CrewWorld world(one_worker("[{each: tasks as t}]", "    wake: once\n"));
    for (int i = 0; i < 3; ++i) world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.run();
    CHECK(world.wakes("worker") == 1);
    CHECK(world.stopped_by() == "quiescence");
    world.start_run();
    world.run();
    CHECK(world.wakes("worker") == 2);
}

TEST_CASE("a source that wakes once and was cut off by a stop runs when the run is resumed") {
    CrewWorld world(one_worker("[{each: tasks as t}]", "    wake: once\nstop: {grace: 1s}\n"));
    world.script("worker", [](const Call&) { return answer({insert("done", R"({"name":"a"})")}, 5'000); });
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.signal("interrupt");
    world.run();
    CHECK(world.stopped_by() == "interrupt");
    CHECK(world.contents("done").empty());
    world.signal("resume");
    world.run();
    CHECK(world.contents("done").size() == 1);
}

TEST_CASE("a batch starts when it is full or its window has passed, and closes each member") {
    CrewWorld world(one_worker("[{each: tasks as t}]", "    wake: batch\n    batch: {max: 3, within: 5s}\n"));
    for (int i = 0; i < 4; ++i) world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    const std::int64_t began = world.clock.ms;
    world.run();
    const std::vector<LoggedRecord> claims = world.of(RecordKind::claimed, "worker");
    REQUIRE(claims.size() == 2);
    CHECK(claims[0].record.members.size() == 3);
    CHECK(claims[0].record.time.ms == began);
    CHECK(claims[1].record.members.size() == 1);
    CHECK(claims[1].record.time.ms == began + 5'000);
    world.signal("resume");
    world.run();
    CHECK(world.wakes("worker") == 2);
}

// ---- floods of small writes ----------------------------------------------------------------------

namespace {

const std::string keeper = "  keeper:\n    kind: process\n    command: [keeper]\n    when: [{start: true}]\n";

void keep_running(CrewWorld& world) {
    world.script("keeper", [](const Call&) { return answer({}, 20'000); });
}

std::vector<Write> fifty_tasks() {
    std::vector<Write> writes;
    for (int i = 0; i < 50; ++i) writes.push_back(insert("tasks", R"({"name":"t)" + std::to_string(i) + "\"}"));
    return writes;
}

}  // namespace

TEST_CASE("fifty small writes are one wake: in one commit, and in fifty commits within a window") {
    const std::string batch = "    wake: batch\n    batch: {max: 100, within: 5s}\n";
    for (const bool one_commit : {true, false}) {
        CrewWorld world(one_worker("[{each: tasks as t}]", batch + keeper));
        keep_running(world);
        world.start_run();
        if (one_commit) {
            world.commit(fifty_tasks());
        } else {
            for (const Write& write : fifty_tasks()) {
                world.commit({write});
                world.advance(50);
            }
        }
        world.run();
        const std::vector<LoggedRecord> claims = world.of(RecordKind::claimed, "worker");
        REQUIRE(claims.size() == 1);
        CHECK(claims[0].record.members.size() == 50);
    }
}

TEST_CASE("a source that waits for a number of writes, or for any, wakes once for fifty in one commit") {
    for (const char* when :
         {"[{count: tasks, is: {gte: 10}}]", "[{exists: tasks}]", "[{count: tasks, is: {gte: 1}, again: on_change}]",
          "[{exists: tasks}, {quiet: {region: tasks, for: 2s}}]"}) {
        CAPTURE(std::string(when));
        CrewWorld world(one_worker(when, keeper));
        keep_running(world);
        world.start_run();
        world.commit(fifty_tasks());
        world.run();
        CHECK(world.wakes("worker") == 1);
    }
}

TEST_CASE("a source watches only its regions") {
    CrewWorld world(one_worker("[{each: tasks as t}]", keeper));
    keep_running(world);
    world.start_run();
    for (int i = 0; i < 200; ++i) {
        world.commit({insert("done", R"({"name":"d)" + std::to_string(i) + "\"}")});
        world.commit({put("state", R"({"name":"a","value":"v)" + std::to_string(i) + "\"}")});
    }
    CHECK(world.wakes("worker") == 0);
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.run();
    CHECK(world.wakes("worker") == 1);
}

TEST_CASE("a retry does not make the next batch wait longer") {
    CrewWorld world(
        one_worker("[{each: tasks as t}]",
                   "    wake: batch\n    batch: {max: 3, within: 5s}\n    limits: {backoff: 4s, attempts: 5}\n"));
    world.script("worker", [](const Call& call) {
        return call.activation.members.size() == 3 && call.activation.attempt < 4 ? failure("no") : answer({});
    });
    for (int i = 0; i < 4; ++i) world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    const std::int64_t began = world.clock.ms;
    world.run();
    for (const LoggedRecord& claim : world.of(RecordKind::claimed, "worker")) {
        if (claim.record.members.size() == 1) CHECK(claim.record.time.ms == began + 5'000);
    }
}

TEST_CASE("a batch loses its stale members and commits for the rest") {
    CrewWorld world(one_worker("[{each: state as s}]", "    wake: batch\n    batch: {max: 2, within: 1s}\n"));
    world.script("worker", [](const Call&) { return answer({insert("done", R"({"name":"a"})")}, 1'000); });
    world.commit({put("state", R"({"name":"x","value":1})"), put("state", R"({"name":"y","value":1})")});
    world.start_run();
    world.advance(10);
    world.commit({put("state", R"({"name":"x","value":2})")});
    world.run();
    const std::vector<LoggedRecord> commits = world.of(RecordKind::commit, "worker");
    REQUIRE(commits.size() == 2);
    CHECK(commits[0].verdict.stale_members == std::vector<std::uint32_t>{0});
    CHECK(commits[1].record.activation != commits[0].record.activation);
    const std::vector<LoggedRecord> claims = world.of(RecordKind::claimed, "worker");
    REQUIRE(claims.size() == 2);
    CHECK(claims[1].record.members.size() == 1);
    CHECK(claims[1].record.members[0].bound[0].version == 2);
}

// ---- attempts ------------------------------------------------------------------------------------

TEST_CASE("a failed attempt is tried again with a growing wait, and dead after its attempts") {
    CrewWorld world(one_worker("[{each: tasks as t}]", "    limits: {attempts: 4, backoff: 1s}\n"));
    world.script("worker", [](const Call&) { return failure("no luck", OutcomeKind::failed, 0); });
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    const std::int64_t began = world.clock.ms;
    world.run();
    std::vector<std::int64_t> waits;
    for (const LoggedRecord& claim : world.of(RecordKind::claimed)) waits.push_back(claim.record.time.ms - began);
    CHECK(waits == std::vector<std::int64_t>{0, 1'000, 3'000, 7'000});
    CHECK(world.stopped_by() == "incomplete");
    CHECK(world.stop_message() == "1 activation is dead; the last of worker: no luck");
    REQUIRE(world.of(RecordKind::dead).size() == 1);

    world.script("worker", [](const Call&) { return answer({}); });
    world.signal("resume");
    world.run();
    CHECK(world.stopped_by() == "incomplete");
    world.signal("retry");
    world.signal("resume");
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.wakes("worker") == 5);
}

TEST_CASE("an attempt that is too late, garbled or floods is a failed one, and its refusals are told to the next") {
    CrewWorld world(one_worker("[{each: tasks as t}]", "    limits: {attempts: 9, backoff: 1ms, timeout: 1s}\n"));
    std::vector<std::size_t> told;
    world.script("worker", [&](const Call& call) {
        told.push_back(call.activation.previous.size());
        switch (call.activation.attempt) {
            case 1:
                return answer({}, 5'000);
            case 2:
                return failure("not the protocol", OutcomeKind::malformed);
            case 3:
                return failure("too much", OutcomeKind::flooded);
            case 4:
                return answer({insert("tasks", R"({"nobody":"knows this field"})"), insert("nowhere", "{}")});
            default:
                return answer({});
        }
    });
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.run();
    CHECK(told == std::vector<std::size_t>{0, 0, 1, 0, 2});
    CHECK(world.stopped_by() == "quiescence");
}

TEST_CASE("conflicts have a bound of their own, apart from attempts") {
    const std::string text = R"(
regions:
  tasks: {policy: append_only, entry: {name: string}}
  plans: {policy: cas, key: [name], entry: {name: string, step: integer}}
sources:
  worker:
    kind: process
    command: [worker]
    when: [{each: tasks as t}]
    may: {read: [tasks, plans], write: {plans: [insert, replace]}}
    limits: {attempts: 1, conflicts: 3, backoff: 1ms}
)";
    CrewWorld world(text);
    world.commit({insert("plans", R"({"name":"p","step":0})"), insert("tasks", R"({"name":"a"})")});
    std::vector<std::uint32_t> read;
    world.script("worker", [&](const Call& call) {
        const Result<EntryPtr> plan = call.view.find({"plans", 1});
        REQUIRE(plan.ok());
        read.push_back((*plan)->version);
        return answer({replace({"plans", 1}, (*plan)->version, R"({"name":"p","step":7})")}, 100);
    });
    world.start_run();
    for (int i = 0; i < 3; ++i) {
        world.advance(50);
        world.commit({replace({"plans", 1}, static_cast<std::uint32_t>(i + 1), R"({"name":"p","step":1})")});
        world.advance(55);
    }
    world.run();
    CHECK(read == std::vector<std::uint32_t>{1, 2, 3, 4});
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.contents("plans") == Texts{R"({"name":"p","step":7})"});

    CrewWorld lost(text);
    lost.commit({insert("plans", R"({"name":"p","step":0})"), insert("tasks", R"({"name":"a"})")});
    lost.script("worker", [&](const Call&) { return answer({replace({"plans", 1}, 9, R"({"name":"p","step":7})")}); });
    lost.start_run();
    lost.run();
    CHECK(lost.of(RecordKind::claimed).size() == 4);
    CHECK(lost.stopped_by() == "incomplete");
    CHECK(lost.scheduler().dead().at(0).error.find("more than 3 conflicts") == 0);
}

TEST_CASE("on_stale says what happens when the board has moved on before the commit") {
    const auto run = [](const std::string& on_stale, std::vector<Write> meanwhile) {
        CrewWorld world(one_worker("[{each: state as s}, {none: done}]", "    on_stale: " + on_stale + "\n"));
        world.script("worker", [](const Call&) { return answer({insert("tasks", R"({"name":"said"})")}, 1'000); });
        world.commit({put("state", R"({"name":"x","value":1})")});
        world.start_run();
        world.advance(10);
        world.commit(std::move(meanwhile));
        world.run();
        CHECK(world.stopped_by() == "quiescence");
        return std::make_pair(world.contents("tasks").size(), world.wakes("worker"));
    };
    const Write other_version = put("state", R"({"name":"x","value":2})");
    const Write other_condition = insert("done", R"({"name":"a"})");
    using Counts = std::pair<std::size_t, std::size_t>;  // commits, wakes
    // discard: only the bound versions count; the source wakes again on the new one.
    CHECK(run("discard", {other_version}) == Counts{1, 2});
    CHECK(run("discard", {other_condition}) == Counts{1, 1});
    CHECK(run("strict", {other_condition}) == Counts{0, 1});
    CHECK(run("strict", {other_version}) == Counts{1, 2});
    CHECK(run("commit", {other_version}) == Counts{2, 2});
    CHECK(run("commit", {other_condition}) == Counts{1, 1});
}

TEST_CASE("a queued match that no longer holds never starts") {
    CrewWorld world(
        one_worker("[{each: tasks as t}, {none: done, where: {name: $t.name}}]", "limits: {concurrency: 1}\n"));
    world.script("worker", [](const Call&) { return answer({insert("done", R"({"name":"a"})")}, 100); });
    world.commit(
        {insert("tasks", R"({"name":"a"})"), insert("tasks", R"({"name":"a"})"), insert("tasks", R"({"name":"b"})")});
    world.start_run();
    world.run();
    CHECK(world.wakes("worker") == 2);
}

TEST_CASE("a retry whose match no longer holds is given up without a word") {
    CrewWorld world(one_worker("[{each: tasks as t}, {none: done}]", "    limits: {backoff: 5s}\n"));
    world.script("worker", [](const Call&) { return failure("no"); });
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.advance(1'000);
    world.commit({insert("done", R"({"name":"a"})")});
    world.run();
    CHECK(world.wakes("worker") == 1);
    CHECK(world.stopped_by() == "quiescence");
}

// ---- who runs when -------------------------------------------------------------------------------

TEST_CASE("the crew and each source run no more than they may at one time") {
    CrewWorld world(one_worker("[{each: tasks as t}]", R"(    limits: {concurrency: 2}
  helper:
    kind: process
    command: [helper]
    when: [{each: tasks as t}]
    may: {read: [tasks]}
limits: {concurrency: 5}
)"));
    for (int i = 0; i < 12; ++i) world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.run();
    CHECK(world.most_running["worker"] == 2);
    CHECK(world.most_running["helper"] >= 3);
    CHECK(world.most_running[""] == 5);
    CHECK(world.wakes("worker") + world.wakes("helper") == 24);
}

TEST_CASE("sources of one exclusive group never run at the same time") {
    CrewWorld world(one_worker("[{each: tasks as t}]", R"(    exclusive: disk
  helper:
    kind: process
    command: [helper]
    when: [{each: tasks as t}]
    may: {read: [tasks]}
    exclusive: disk
  free:
    kind: process
    command: [free]
    when: [{each: tasks as t}]
    may: {read: [tasks]}
)"));
    for (int i = 0; i < 5; ++i) world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    std::size_t together = 0;
    while (world.scheduler().is_running()) {
        std::size_t running = 0;
        for (const auto& [id, live] : world.scheduler().activations()) {
            const bool grouped = world.scheduler().crew()->sources[live.source].exclusive == "disk";
            running += grouped && live.state == Activation::State::running ? 1 : 0;
        }
        together = std::max(together, running);
        if (!world.turn()) break;
    }
    CHECK(together == 1);
    CHECK(world.most_running["free"] == 5);
    CHECK(world.wakes("worker") == 5);
    CHECK(world.wakes("helper") == 5);
}

TEST_CASE("the agenda is ordered as the crew's control says") {
    const auto order = [](const std::string& control, const std::string& priority) {
        CrewWorld world(one_worker("[{each: tasks as t}]", "    priority: " + priority + R"(
  other:
    kind: process
    command: [other]
    when: [{each: done as d}]
    may: {read: [done]}
    priority: 2
limits: {concurrency: 1}
control: )" + control + "\n"));
        std::string told;
        world.script("worker", [&](const Call& call) {
            told += call.bound(0).content.find("name")->as_string();
            return answer({});
        });
        world.script("other", [&](const Call& call) {
            told += call.bound(0).content.find("name")->as_string();
            return answer({});
        });
        world.commit({insert("tasks", R"({"name":"a","size":1})"), insert("done", R"({"name":"X"})")});
        world.commit({insert("tasks", R"({"name":"b","size":3})"), insert("done", R"({"name":"Y"})")});
        world.commit({insert("tasks", R"({"name":"c","size":2})")});
        world.start_run();
        world.run();
        return told;
    };
    CHECK(order("priority", "1") == "XYabc");
    CHECK(order("priority", "3") == "abcXY");
    CHECK(order("priority", "2") == "aXbYc");
    CHECK(order("priority", "$t.size") == "bXYca");
    CHECK(order("fifo", "1") == "aXbYc");
    CHECK(order("lifo", "1") == "cbYaX");
    CHECK(order("fair", "1") == "XaYbc");
}

// ---- budgets and stops ---------------------------------------------------------------------------

TEST_CASE("a run that has had its activations stops for its budget") {
    CrewWorld world(one_worker("[{each: tasks as t}]", "stop: {limits: {activations: 3}}\n"));
    for (int i = 0; i < 5; ++i) world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.run();
    CHECK(world.wakes("worker") == 3);
    CHECK(world.stopped_by() == "budget");
    CHECK(world.stop_message() == "the run has had its 3 activations");
}

TEST_CASE("retries are part of an activation, not new ones") {
    CrewWorld world(one_worker("[{each: tasks as t}]",
                               "    limits: {attempts: 5, backoff: 1ms}\nstop: {limits: {activations: 1}}\n"));
    world.script("worker", [](const Call& call) { return call.activation.attempt < 4 ? failure("no") : answer({}); });
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.run();
    CHECK(world.wakes("worker") == 4);
    CHECK(world.stopped_by() == "quiescence");
}

TEST_CASE("a source that has spent its own budget wakes no more, and the run says so") {
    CrewWorld by_count(one_worker("[{each: tasks as t}]", "    limits: {activations: 2}\n"));
    CrewWorld by_time(one_worker("[{each: tasks as t}]", "    limits: {wall: 15ms, concurrency: 1}\n"));
    for (CrewWorld* world : {&by_count, &by_time}) {
        for (int i = 0; i < 5; ++i) world->commit({insert("tasks", R"({"name":"a"})")});
        world->start_run();
        world->run();
        CHECK(world->wakes("worker") == 2);
        CHECK(world->stopped_by() == "budget");
        CHECK(world->stop_message() == "stopped by their own budget: worker with 3 matches left");
    }
}

TEST_CASE("what an idle source woke for before there was any content is gone when it does not hold any more") {
    CrewWorld world(one_worker("[{idle: true}, {none: tasks}]"));
    world.start_run();
    world.run();
    CHECK(world.wakes("worker") == 1);
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.signal("resume");
    world.run();
    CHECK(world.wakes("worker") == 1);
}

TEST_CASE("a budget that keeps an idle source from running is the reason of the stop") {
    CrewWorld world(one_worker("[{idle: true}]", "    limits: {activations: 1}\n"));
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.signal("resume");
    world.run();
    CHECK(world.wakes("worker") == 1);
    CHECK(world.stopped_by() == "budget");
}

TEST_CASE("a source that is over its wall budget stays so when the crew is reconfigured") {
    const std::string text = one_worker("[{each: tasks as t}]", "    limits: {wall: 15ms, concurrency: 1}\n");
    CrewWorld world(text);
    for (int i = 0; i < 5; ++i) world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.run();
    world.reconfigure(crew(text + "help: the same\n"));
    world.signal("resume");
    world.run();
    CHECK(world.wakes("worker") == 2);
    CHECK(world.stopped_by() == "budget");
}

TEST_CASE("a goal stops the run: nothing new starts, and what runs may finish") {
    CrewWorld world(one_worker("[{each: tasks as t}]", R"(
limits: {concurrency: 2}
stop:
  goal: [{exists: done}]
)"));
    world.script("worker", [](const Call& call) {
        const std::string name = call.bound(0).content.find("name")->as_string();
        return answer({insert("done", R"({"name":")" + name + "\"}")}, name == "a" ? 10 : 100);
    });
    for (const char* name : {"a", "b", "c"})
        world.commit({insert("tasks", R"({"name":")" + std::string(name) + "\"}")});
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "goal");
    CHECK(world.contents("done") == Texts{R"({"name":"a"})", R"({"name":"b"})"});
}

TEST_CASE("a run that has taken its wall time stops at its deadline, downtime not counted") {
    CrewWorld world(one_worker("[{every: 1s}]", R"(
  long:
    kind: process
    command: [long]
    when: [{start: true}]
    limits: {attempts: 9, timeout: 1h, backoff: 1ms}
stop: {limits: {wall: 10s}, grace: 1s}
)"));
    world.script("long", [](const Call&) { return answer({}, 1'000'000); });
    const std::int64_t began = world.clock.ms;
    world.start_run();
    world.advance(4'000);
    world.clock.ms += 100'000;
    world.crash();
    world.run();
    CHECK(world.stopped_by() == "deadline");
    const std::int64_t took = world.clock.ms - began - 100'000;
    CHECK(took >= 10'000);
    CHECK(took <= 11'100);
}

TEST_CASE("an interrupt gives what runs its grace, and abandons the rest") {
    CrewWorld world(one_worker("[{each: tasks as t}]", "stop: {grace: 5s}\n"));
    world.script("worker", [](const Call& call) {
        const std::string name = call.bound(0).content.find("name")->as_string();
        return answer({insert("done", R"({"name":")" + name + "\"}")}, name == "quick" ? 3'000 : 30'000);
    });
    world.commit({insert("tasks", R"({"name":"quick"})"), insert("tasks", R"({"name":"slow"})")});
    world.start_run();
    world.advance(1'000);
    const std::int64_t asked = world.clock.ms;
    world.signal("interrupt");
    world.commit({insert("tasks", R"({"name":"new"})")});
    world.run();
    CHECK(world.stopped_by() == "interrupt");
    CHECK(world.clock.ms == asked + 5'000);
    CHECK(world.contents("done") == Texts{R"({"name":"quick"})"});
    CHECK(world.of(RecordKind::abandoned).size() == 1);
    CHECK(world.in_flight() == 0);
    // The abandoned one is taken up again, the finished one is not.
    world.signal("resume");
    world.run();
    CHECK(world.contents("done").size() == 3);
    CHECK(world.wakes("worker") == 4);
}

TEST_CASE("a second interrupt ends the grace, and the first reason stands") {
    CrewWorld world(one_worker("[{each: tasks as t}]", "stop: {grace: 1h}\n"));
    world.script("worker", [](const Call&) { return answer({}, 30'000); });
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.advance(1'000);
    const std::int64_t asked = world.clock.ms;
    world.signal("interrupt", "first");
    world.advance(500);
    CHECK(world.scheduler().is_running());
    world.signal("kill", "second");
    CHECK_FALSE(world.scheduler().is_running());
    CHECK(world.clock.ms == asked + 500);
    CHECK(world.stopped_by() == "interrupt");
    CHECK(world.stop_message() == "first");
}

TEST_CASE("scratch is gone with the run, and kept where it is durable") {
    const std::string text = R"(
regions:
  tasks: {policy: append_only, entry: {name: string}}
sources:
  worker:
    kind: process
    command: [worker]
    when: [{start: true}]
  keeper:
    kind: process
    command: [keeper]
    when: [{start: true}]
    scratch: durable
)";
    CrewWorld world(text);
    for (const char* name : {"worker", "keeper"}) {
        world.script(name, [](const Call&) { return answer({put("scratch", R"({"key":"k","value":1})")}); });
    }
    world.start_run();
    world.run();
    CHECK(world.contents("scratch/worker").empty());
    CHECK(world.contents("scratch/keeper").size() == 1);
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.board().entries().region("scratch/worker")->active_entries == 0);
}

TEST_CASE("scratch outlives an interrupt, and a new run begins without it") {
    CrewWorld world(one_worker("[{each: tasks as t}]"));
    world.script("worker", [](const Call&) { return answer({put("scratch", R"({"key":"k","value":1})")}, 100); });
    world.commit({insert("tasks", R"({"name":"a"})"), insert("tasks", R"({"name":"b"})")});
    world.start_run();
    world.advance(50);
    world.signal("interrupt");
    world.run();
    CHECK(world.contents("scratch/worker").size() == 1);
    world.crash(false);
    world.start_run();
    CHECK(world.contents("scratch/worker").empty());
    world.run();
    world.crash(false);
}

TEST_CASE("a run that was cut short keeps its scratch, and comes back from its log as it was") {
    CrewWorld world(one_worker("[{each: tasks as t}]", "stop: {limits: {activations: 1}}\n"));
    world.script("worker", [](const Call&) { return answer({put("scratch", R"({"key":"k","value":1})")}); });
    world.commit({insert("tasks", R"({"name":"a"})"), insert("tasks", R"({"name":"b"})")});
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "budget");
    CHECK(world.contents("scratch/worker").size() == 1);
    world.crash(false);
    CHECK(world.contents("scratch/worker").size() == 1);
}

TEST_CASE("a rule whose writes are refused is not tried again, and the run says so") {
    CrewWorld world(R"(
regions:
  tasks: {policy: append_only, entry: {name: string}}
  plans: {policy: cas, key: [name], entry: {name: string}}
sources:
  planner:
    kind: rule
    when: [{each: tasks as t}]
    then: [{insert: plans, entry: {name: $t.name}}]
    may: {read: [tasks], write: {plans: [insert]}}
seed: {tasks: [{name: a}, {name: b}, {name: a}]}
)");
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "incomplete");
    CHECK(world.contents("plans") == Texts{R"({"name":"a"})", R"({"name":"b"})"});
    REQUIRE(world.scheduler().dead().size() == 1);
    CHECK(world.scheduler().dead()[0].error.find("there is an entry with the key") != std::string::npos);
    CHECK(world.of(RecordKind::commit, "planner").size() == 3);
}

// ---- owners --------------------------------------------------------------------------------------

TEST_CASE("a record written under an epoch that is over is refused and changes nothing") {
    CrewWorld world(one_worker("[{each: tasks as t}]"));
    world.script("worker", [](const Call&) { return answer({}, 1'000); });
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    const Activation live = world.scheduler().activations().begin()->second;
    const Position old_epoch = world.scheduler().epoch();
    world.crash();
    const std::string before = describe(world.scheduler());
    for (const RecordKind kind : {RecordKind::commit, RecordKind::result, RecordKind::abandoned, RecordKind::signal}) {
        Record late;
        late.kind = kind;
        late.epoch = old_epoch;
        late.author = "worker";
        late.word = "interrupt";
        late.activation = live.id;
        late.attempt = live.attempt;
        const LoggedRecord refused = world.propose(std::move(late));
        REQUIRE_FALSE(refused.verdict.accepted);
        CHECK(refused.verdict.refusals.at(0).rule == RefusalRule::epoch);
    }
    Record rule;
    rule.kind = RecordKind::commit;
    rule.epoch = old_epoch;
    rule.author = "worker";
    for (const MatchPtr& member : live.members) rule.members.push_back({member->key, member->bound, member->episodes});
    CHECK_FALSE(world.propose(std::move(rule)).verdict.accepted);
    CHECK(describe(world.scheduler()) == before);
    world.run();
    CHECK(world.stopped_by() == "quiescence");
}

TEST_CASE("a result that comes after its attempt was abandoned is refused") {
    CrewWorld world(one_worker("[{each: tasks as t}]", "    limits: {attempts: 5, backoff: 1ms}\n"));
    world.script("worker", [](const Call&) { return answer({insert("done", R"({"name":"a"})")}, 1'000); });
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    const Activation first = world.scheduler().activations().begin()->second;
    world.crash();
    world.advance(10);
    for (const RecordKind kind : {RecordKind::result, RecordKind::commit}) {
        Record late;
        late.kind = kind;
        late.author = "worker";
        late.activation = first.id;
        late.attempt = first.attempt;
        late.snapshot = first.snapshot;
        late.outcome = static_cast<OutcomeCode>(OutcomeKind::ok);
        if (kind == RecordKind::commit) late.writes = {insert("done", R"({"name":"late"})")};
        const LoggedRecord refused = world.propose(std::move(late));
        REQUIRE_FALSE(refused.verdict.accepted);
        CHECK(refused.verdict.refusals.at(0).rule == RefusalRule::attempt);
    }
    world.run();
    CHECK(world.contents("done") == Texts{R"({"name":"a"})"});
    CHECK(world.of(RecordKind::claimed).at(1).record.attempt == 2);
}

TEST_CASE("what a crash cut off is tried again, or left dead where the source says skip") {
    for (const bool skip : {false, true}) {
        CrewWorld world(
            one_worker("[{each: tasks as t}]", std::string("    on_crash: ") + (skip ? "skip" : "retry") + "\n"));
        world.script("worker", [](const Call&) { return answer({}, 1'000); });
        world.commit({insert("tasks", R"({"name":"a"})")});
        world.start_run();
        world.crash();
        world.run();
        CHECK(world.wakes("worker") == (skip ? 1 : 2));
        CHECK(world.stopped_by() == (skip ? "incomplete" : "quiescence"));
    }
}

TEST_CASE("nothing is decided between a new owner's fence and its resume") {
    CrewWorld world(one_worker("[{each: tasks as t}]"));
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.crash(false);
    const std::size_t wakes = world.wakes("worker");
    world.commit({insert("tasks", R"({"name":"b"})")});
    world.advance(60'000);
    CHECK(world.wakes("worker") == wakes);
    world.signal("resume");
    world.run();
    CHECK(world.wakes("worker") == wakes + 2);
}

// ---- reconfiguring -------------------------------------------------------------------------------

TEST_CASE("a crew that is reconfigured without a change wakes nobody again") {
    const std::string text = one_worker("[{each: tasks as t}, {none: done}, {after: 1s}]", R"(
  ticker:
    kind: process
    command: [ticker]
    when: [{every: 10s}]
  calm:
    kind: process
    command: [calm]
    when: [{quiet: {region: tasks, for: 3s}}]
    may: {read: [tasks]}
  starter:
    kind: process
    command: [starter]
    when: [{start: true}]
)");
    CrewWorld world(text);
    world.script("starter", [](const Call&) { return answer({}, 30'000); });
    world.start_run();
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.advance(15'000);
    const Names woken = world.woken();
    CHECK(woken.size() == 4);
    world.reconfigure(crew(text + "help: the same\n"));
    world.advance(3'000);
    CHECK(world.woken() == woken);
    world.run();
    CHECK(world.wakes("ticker") == 3);
}

TEST_CASE("what was waited for when the crew is reconfigured still comes") {
    const std::string text = one_worker("[{each: tasks as t}, {after: 5s}]", R"(
  ticker:
    kind: process
    command: [ticker]
    when: [{every: 1s}]
  long:
    kind: process
    command: [long]
    when: [{start: true}]
    limits: {timeout: 1h}
)");
    CrewWorld world(text);
    world.script("long", [](const Call&) { return answer({}, 60'000); });
    world.start_run();
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.advance(4'999);
    CHECK(world.wakes("worker") == 0);
    world.reconfigure(crew(text + "help: the same\n"));
    world.advance(2);
    CHECK(world.wakes("worker") == 1);
}

TEST_CASE("a source that leaves the crew is told to stop, and its late result is refused") {
    const std::string kept = one_worker("[{each: tasks as t}]");
    CrewWorld world(kept + R"(
  leaver:
    kind: process
    command: [leaver]
    when: [{start: true}]
)");
    world.script("leaver", [](const Call&) { return answer({}, 30'000); });
    world.start_run();
    CHECK(world.in_flight() == 1);
    world.reconfigure(crew(kept));
    CHECK(world.in_flight() == 0);
    world.run();
    CHECK(world.stopped_by() == "quiescence");
}

TEST_CASE("a crew that gives a region with entries another policy is refused, and the old one goes on") {
    const std::string text = one_worker("[{each: tasks as t}]");
    CrewWorld world(text);
    world.start_run();
    world.run();
    world.commit({insert("tasks", R"({"name":"a"})")});
    CrewSpec other = crew(text + "help: other\n");
    other.regions.at(0).policy = PolicyKind::set_union;
    world.reconfigure(std::move(other));
    CHECK_FALSE(world.of(RecordKind::reconfigured).at(0).verdict.accepted);
    world.signal("resume");
    world.run();
    CHECK(world.wakes("worker") == 1);
}

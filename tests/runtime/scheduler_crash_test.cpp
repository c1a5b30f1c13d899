// Random crews in random worlds where the power fails at any moment: the activation protocol keeps
// its promises, the scheduler comes back as it was, and the log replays to the same decisions.
#include <doctest/doctest.h>

#include "knowledge_sources/rule_source.hpp"
#include "runtime/crew_loader.hpp"
#include "tests/scheduler/simulation.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

const std::string regions_text = R"(stele: 1
crew: storm
regions:
  tasks: {policy: append_only, entry: {n: integer}}
  marks: {policy: set_union, entry: {n: integer}}
  state: {policy: last_writer_wins, key: [n], entry: {n: integer, v: integer}}
  plans: {policy: cas, key: [n], entry: {n: integer, v: integer}}
  hits:  {policy: counter}
sources:
)";

const std::vector<std::string> conditions = {
    "[{each: tasks as t}]",
    "[{each: tasks as t, where: {n: {lt: 3}}}, {none: marks, where: {n: $t.n}}]",
    "[{each: state as s}]",
    "[{changed: plans as p}]",
    "[{each: tasks as t}, {each: state as s, where: {n: $t.n}}]",
    "[{count: tasks, is: {gte: 2}, again: on_change}]",
    "[{exists: marks}, {start: true}]",
    "[{each: marks as m}, {after: 40ms}]",
    "[{quiet: {region: tasks, for: 60ms}}]",
    "[{every: 70ms}]",
    "[{idle: true}, {exists: tasks}]",
    "[{each: plans as p}, {idle: true}]",
    "[{each: hits as h}]",
    "[{any: [{exists: marks}, {every: 90ms}]}]",
    "[{each: state as s}, {not: {exists: marks, where: {n: $s.n}}}]",
};

std::string pick(World& world, const std::vector<std::string>& words) {
    return words[world.roll(static_cast<std::uint32_t>(words.size()))];
}

// The world lends its dice, so that one seed tells the whole story.
std::string random_crew_text(std::mt19937& dice, int variant) {
    const auto roll = [&](std::uint32_t below) {
        return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(dice);
    };
    const auto one_of = [&](std::vector<std::string> words) {
        return words[roll(static_cast<std::uint32_t>(words.size()))];
    };
    std::string text = regions_text;
    const std::uint32_t count = 2 + roll(4);
    for (std::uint32_t i = 0; i < count; ++i) {
        text += "  s" + std::to_string(i) +
                ":\n    when: " + conditions[roll(static_cast<std::uint32_t>(conditions.size()))] + "\n";
        text +=
            "    may: {read: [tasks, marks, state, plans, hits], write: {tasks: [insert], marks: [add, remove], "
            "state: [put], plans: [insert, replace], hits: [increment]}}\n";
        text += one_of({"", "    wake: once\n", "    batch: {max: 3, within: 30ms}\n", ""});
        text += one_of({"", "    priority: 2\n"});
        if (roll(4) == 0) {
            text += "    kind: rule\n    then:\n" +
                    one_of({"      - {increment: hits}\n", "      - {put: state, entry: {n: 1, v: 2}}\n",
                            "      - {insert: plans, entry: {n: 1, v: 2}}\n"});
        } else {
            text += "    kind: process\n    command: [x]\n";
            text += one_of({"", "    on_stale: strict\n", "    on_stale: commit\n"});
            text += one_of({"", "    on_crash: skip\n"});
            text += one_of({"", "    exclusive: one\n"});
            text += one_of({"", "    scratch: durable\n"});
            text += "    limits: {attempts: " + one_of({"1", "3"}) +
                    ", conflicts: 2, timeout: 50ms, backoff: " + one_of({"1ms", "20ms"}) +
                    one_of({"", ", concurrency: 1", ", activations: 5", ", wall: 40ms"}) + "}\n";
        }
    }
    text += one_of({"", "limits: {concurrency: 2}\n"}) +
            one_of({"", "control: fifo\n", "control: lifo\n", "control: fair\n"});
    text += one_of({"", "seed: {tasks: [{n: 1}, {n: 2}]}\n"});
    text += "stop:\n  grace: 20ms\n  limits: {activations: 40" + one_of({"", ", wall: 900ms"}) + "}\n";
    text += one_of({"", "  goal: [{count: marks, is: {gte: 3}}]\n"}) +
            one_of({"", "  cycle: {on_cycle: pause}\n", "  cycle: off\n"});
    return text + "help: variant " + std::to_string(variant) + "\n";
}

CrewSpec load(const std::string& text) {
    const LoadedCrew loaded = load_crew(text, "crew.yaml", "/crews", {});
    std::string problems;
    for (const CrewProblem& problem : loaded.problems) {
        if (!problem.warning) problems += to_text(problem) + "\n";
    }
    REQUIRE_MESSAGE(loaded.crew != nullptr, problems << text);
    return *loaded.crew;
}

Write random_write(World& world, const View& view) {
    const std::string n = std::to_string(world.roll(4));
    switch (world.roll(9)) {
        case 0:
        case 1:
            return insert("tasks", "{\"n\":" + n + "}");
        case 2:
            return add("marks", "{\"n\":" + n + "}");
        case 3:
            return remove("marks", "{\"n\":" + n + "}");
        case 4:
            return put("state", "{\"n\":" + n + ",\"v\":" + std::to_string(world.roll(3)) + "}");
        case 5:
            return increment("hits", 1);
        case 6: {
            const EntryId plan{"plans", 1 + world.roll(2)};
            const Result<EntryPtr> seen = view.find(plan);
            REQUIRE(seen.ok());
            if (!*seen) return insert("plans", "{\"n\":" + n + ",\"v\":0}");
            return replace(plan, (*seen)->version, to_json((*seen)->content));
        }
        case 7: {
            // What was inserted last, when it is there: refused to whoever did not write it.
            const EntryId task{"tasks", 1 + world.roll(6)};
            const Result<EntryPtr> seen = view.find(task);
            REQUIRE(seen.ok());
            return *seen ? retract(task) : insert("tasks", "{\"n\":" + n + "}");
        }
        default:
            return insert("tasks", world.roll(10) == 0 ? R"({"n":"no number"})" : "{\"n\":" + n + "}");
    }
}

Answer random_answer(World& world, const Call& call) {
    const std::int64_t latency = world.roll(40);
    switch (world.roll(10)) {
        case 0:
            return failure("failed", OutcomeKind::failed, latency);
        case 1:
            return failure("garbled", OutcomeKind::malformed, latency);
        case 2:
            return answer({}, 100);  // too late
        case 3:
            return answer({put("scratch", R"({"key":"k","value":1})")}, latency);
        default:
            break;
    }
    std::vector<Write> writes;
    for (std::uint32_t i = world.roll(3); i > 0; --i) writes.push_back(random_write(world, call.view));
    return answer(std::move(writes), latency);
}

void storm(std::uint32_t seed) {
    std::mt19937 crew_dice(seed);
    const std::string text = random_crew_text(crew_dice, 0);
    CAPTURE(text);
    World world(load(text), seed);
    world.random_order = true;
    world.displaces = true;
    world.rules([](const SourceSpec& source, const std::vector<MatchPtr>& members) {
        std::vector<Binding> bindings;
        for (const MatchPtr& member : members) bindings.push_back({member->entries});
        return apply_rule(source, bindings);
    });
    for (int i = 0; i < 6; ++i) {
        world.script("s" + std::to_string(i), [&world](const Call& call) { return random_answer(world, call); });
    }
    world.start_run();
    int runs = 1;
    for (int action = 0; action < 160; ++action) {
        switch (world.roll(16)) {
            case 0:
                world.post({random_write(world, world.board().view(world.board().meta().last))});
                break;
            case 1:
                if (world.roll(2) == 0) world.crash(world.roll(4) != 0);
                break;
            case 2:
                world.post_signal(pick(world, {"interrupt", "resume", "resume", "retry", "kill"}));
                break;
            case 3:
                if (world.roll(3) == 0)
                    world.reconfigure(load(world.roll(2) == 0 ? text + "#\n" : random_crew_text(crew_dice, action)));
                break;
            case 4:
                if (!world.scheduler().is_running() && runs++ < 3) world.start_run();
                break;
            case 5:
            case 6:
                world.ring_if_due();
                break;
            case 7:
            case 8:
            case 9:
            case 10:
                world.end_some_attempt();
                break;
            default:
                world.fold_next();
                break;
        }
    }
    world.crash();
    world.signal("resume");
    for (int i = 0; i < 2'000 && world.scheduler().is_running() && world.turn(); ++i) continue;
    const std::optional<std::string> violation = world.protocol_violation();
    REQUIRE_MESSAGE(!violation, violation.value_or(""));
    const std::optional<std::string> difference = world.replay_difference();
    REQUIRE_MESSAGE(!difference, difference.value_or(""));
}

}  // namespace

TEST_CASE("over random crashes a match has at most one live attempt and one commit, and the log replays alike") {
    const char* more = std::getenv("STELE_STORMS");
    const std::uint32_t count = more == nullptr ? 300 : static_cast<std::uint32_t>(std::strtoul(more, nullptr, 10));
    for (std::uint32_t seed = 1; seed <= count; ++seed) {
        CAPTURE(seed);
        storm(seed);
    }
}

TEST_CASE("a crew of which nothing was lost runs on after a crash at any of its records") {
    const std::string text = regions_text + R"(  first:
    kind: process
    command: [x]
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {marks: [add]}}
    limits: {attempts: 50, backoff: 1ms}
  second:
    kind: rule
    when: [{each: marks as m}]
    then: [{put: state, entry: {n: $m.n, v: 1}}]
    may: {read: [marks], write: {state: [put]}}
  last:
    kind: process
    command: [x]
    when: [{idle: true}, {exists: state}]
    may: {read: [state], write: {hits: [increment]}}
    limits: {attempts: 50, backoff: 1ms}
seed: {tasks: [{n: 1}, {n: 2}, {n: 3}]}
)";
    for (std::size_t cut = 1; cut < 40; ++cut) {
        CAPTURE(cut);
        World world(load(text));
        world.rules([](const SourceSpec& source, const std::vector<MatchPtr>& members) {
            std::vector<Binding> bindings;
            for (const MatchPtr& member : members) bindings.push_back({member->entries});
            return apply_rule(source, bindings);
        });
        world.script("first",
                     [](const Call& call) { return answer({add("marks", to_json(call.bound(0).content))}, 10); });
        world.script("last", [](const Call&) { return answer({increment("hits", 1)}); });
        world.start_run();
        // Every record from there on is followed by a crash, once.
        bool crashed = false;
        while (world.scheduler().is_running()) {
            if (!crashed && world.log.size() >= cut) {
                world.crash();
                crashed = true;
            }
            if (world.fold_next()) continue;
            if (!world.end_some_attempt() && !world.ring_if_due()) break;
        }
        CHECK(world.stopped_by() == "quiescence");
        CHECK(world.contents("state").size() == 3);
        CHECK(world.contents("hits").size() == 1);
        REQUIRE_FALSE(world.protocol_violation());
        REQUIRE_FALSE(world.replay_difference());
    }
}

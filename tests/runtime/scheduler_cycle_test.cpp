// Loops of whole crews, made of rules and scripted sources: which are stopped, which go on.
#include <doctest/doctest.h>

#include "knowledge_sources/rule_source.hpp"
#include "runtime/crew_loader.hpp"
#include "tests/scheduler/simulation.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

CrewSpec crew(const std::string& text) {
    const LoadedCrew loaded = load_crew("stele: 1\ncrew: loops\n" + text, "crew.yaml", "/crews", {});
    std::string problems;
    for (const CrewProblem& problem : loaded.problems) {
        if (!problem.warning) problems += to_text(problem) + "\n";
    }
    REQUIRE_MESSAGE(loaded.crew != nullptr, problems);
    return *loaded.crew;
}

class RuleWorld : public World {
public:
    explicit RuleWorld(const std::string& text) : World(crew(text)) {
        rules([](const SourceSpec& source, const std::vector<MatchPtr>& members) {
            std::vector<Binding> bindings;
            for (const MatchPtr& member : members) bindings.push_back({member->entries});
            return apply_rule(source, bindings);
        });
    }
};

const std::string ping_pong = R"(
regions:
  pings: {policy: append_only, entry: {text: string}}
  pongs: {policy: append_only, entry: {text: string}}
  work:  {policy: append_only, entry: {n: integer}}
seed: {pings: [{text: your turn}]}
)";

}  // namespace

TEST_CASE("rules that wake each other for ever are stopped after a few rounds, both named") {
    RuleWorld world(ping_pong + R"(
sources:
  ping:
    kind: rule
    when: [{each: pongs as p}]
    then: [{insert: pings, entry: {text: your turn}}]
    may: {read: [pongs], write: {pings: [insert]}}
  pong:
    kind: rule
    when: [{each: pings as p}]
    then: [{insert: pongs, entry: {text: $p.text}}]
    may: {read: [pings], write: {pongs: [insert]}}
)");
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "cycle");
    CHECK(world.stop_message().find("ping") != std::string::npos);
    CHECK(world.stop_message().find("pong") != std::string::npos);
    CHECK(world.stop_message().find("pings/") != std::string::npos);
    CHECK(world.wakes("ping") + world.wakes("pong") <= 8);
    CHECK_FALSE(world.replay_difference());
}

TEST_CASE("a loop that waits between its rounds is one all the same") {
    for (const std::string& wait : {std::string("{after: 1s}"), std::string("{every: 1s}")}) {
        CAPTURE(wait);
        RuleWorld world(ping_pong + R"(
sources:
  ping:
    kind: rule
    when: [{each: pongs as p}, )" +
                        wait + R"(]
    then: [{insert: pings, entry: {text: your turn}}]
    may: {read: [pongs], write: {pings: [insert]}}
  pong:
    kind: rule
    when: [{each: pings as p}, )" +
                        wait + R"(]
    then: [{insert: pongs, entry: {text: $p.text}}]
    may: {read: [pings], write: {pongs: [insert]}}
  holder:
    kind: process
    command: [x]
    when: [{start: true}]
    limits: {timeout: 1h}
stop: {limits: {activations: 500}}
)");
        world.script("holder", [](const Call&) { return answer({}, 100'000); });
        world.start_run();
        world.run();
        CHECK(world.stopped_by() == "cycle");
        CHECK(world.wakes("ping") + world.wakes("pong") <= 12);
    }
}

TEST_CASE("a set entry that two rules add and remove in turns is a loop") {
    RuleWorld world(R"(
regions:
  marks: {policy: set_union, entry: {n: integer}}
sources:
  adder:
    kind: rule
    when: [{none: marks}]
    then: [{add: marks, entry: {n: 1}}]
    may: {read: [marks], write: {marks: [add]}}
  remover:
    kind: rule
    when: [{each: marks as m}]
    then: [{remove: $m}]
    may: {read: [marks], write: {marks: [remove]}}
)");
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "cycle");
    CHECK(world.wakes("adder") + world.wakes("remover") <= 8);
}

TEST_CASE("a source that puts what stands there already wakes itself, and is stopped") {
    RuleWorld world(R"(
regions:
  state: {policy: last_writer_wins, entry: {value: string}}
sources:
  echo:
    kind: rule
    when: [{each: state as s}]
    then: [{put: state, entry: {value: $s.value}}]
    may: {read: [state], write: {state: [put]}}
seed: {state: [{value: same}]}
)");
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "cycle");
    CHECK(world.wakes("echo") <= 6);
}

TEST_CASE("a paused loop lets the rest of the crew go on, and is named at the end") {
    RuleWorld world(ping_pong + R"(
sources:
  ping:
    kind: rule
    when: [{each: pongs as p}]
    then: [{insert: pings, entry: {text: your turn}}]
    may: {read: [pongs], write: {pings: [insert]}}
  pong:
    kind: rule
    when: [{each: pings as p}]
    then: [{insert: pongs, entry: {text: $p.text}}]
    may: {read: [pings], write: {pongs: [insert]}}
  worker:
    kind: process
    command: [x]
    when: [{any: [{start: true}, {exists: work}]}, {count: work, is: {lt: 20}, again: on_change}]
    may: {read: [work], write: {work: [insert]}}
stop: {cycle: {on_cycle: pause}}
)");
    int n = 0;
    world.script("worker",
                 [&](const Call&) { return answer({insert("work", "{\"n\":" + std::to_string(++n) + "}")}, 50); });
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "cycle");
    CHECK(world.contents("work").size() == 20);
    CHECK(world.wakes("ping") + world.wakes("pong") <= 8);
    CHECK_FALSE(world.replay_difference());
}

TEST_CASE("failed activations do not count as rounds") {
    RuleWorld world(R"(
regions:
  tasks: {policy: append_only, entry: {text: string}}
sources:
  worker:
    kind: process
    command: [x]
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {tasks: [insert]}}
    limits: {attempts: 40, backoff: 1ms}
seed: {tasks: [{text: do it now}]}
)");
    world.script("worker", [](const Call& call) {
        if (call.activation.attempt < 40) return failure("not yet");
        return call.view.version().number < 60 ? answer({insert("tasks", R"({"text":"do it now"})")}) : answer({});
    });
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "quiescence");
}

TEST_CASE("polling goes on while it brings something new, and while it brings nothing at all") {
    RuleWorld world(R"(
regions:
  news:   {policy: append_only, entry: {title: string}}
  status: {policy: last_writer_wins, entry: {text: string}}
sources:
  poll:
    kind: process
    command: [x]
    when: [{every: 1s}]
    may: {read: [news], write: {news: [insert], status: [put]}}
  holder:
    kind: process
    command: [x]
    when: [{start: true}]
    limits: {timeout: 2h}
)");
    int polls = 0;
    world.script("poll", [&](const Call&) {
        ++polls;
        if (polls % 3 == 0) return answer({insert("news", R"({"title":"item-)" + std::to_string(polls) + "\"}")});
        return answer({put("status", R"({"text":"nothing new under the sun"})")});
    });
    world.script("holder", [](const Call&) { return answer({}, 600'500); });
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    CHECK(polls == 600);
}

TEST_CASE("a crew that makes progress for five thousand activations is not stopped") {
    RuleWorld world(R"(
regions:
  steps: {policy: append_only, entry: {n: integer, text: string}}
sources:
  odd:
    kind: process
    command: [x]
    when: [{each: steps as s, where: {n: {lt: 5000}}}]
    may: {read: [steps], write: {steps: [insert]}}
seed: {steps: [{n: 0, text: one more step on the way}]}
)");
    world.script("odd", [](const Call& call) {
        const std::int64_t n = call.bound(0).content.find("n")->as_int() + 1;
        return answer({insert("steps", "{\"n\":" + std::to_string(n) + R"(,"text":"one more step on the way"})")});
    });
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.wakes("odd") == 5'000);
}

TEST_CASE("two hundred equal answers to one question are no loop") {
    RuleWorld world(R"(
regions:
  asked:    {policy: append_only, entry: {n: integer}}
  answered: {policy: append_only, entry: {text: string}}
sources:
  split:
    kind: process
    command: [x]
    when: [{start: true}]
    may: {write: {asked: [insert]}}
  reply:
    kind: process
    command: [x]
    when: [{each: asked as a}]
    may: {read: [asked], write: {answered: [insert]}}
  again:
    kind: rule
    when: [{each: answered as a}, {none: asked, where: {n: -1}}]
    then: [{insert: asked, entry: {n: -1}}]
    may: {read: [answered, asked], write: {asked: [insert]}}
)");
    world.script("split", [](const Call&) {
        std::vector<Write> writes;
        for (int i = 0; i < 200; ++i) writes.push_back(insert("asked", "{\"n\":" + std::to_string(i) + "}"));
        return answer(std::move(writes));
    });
    world.script("reply",
                 [](const Call&) { return answer({insert("answered", R"({"text":"there is nothing to say"})")}); });
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.wakes("reply") == 201);
}

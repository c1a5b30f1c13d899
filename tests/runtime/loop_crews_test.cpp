// The cycle detector in both directions, on whole crews. A thousand seeded crews hide a loop among
// bystanders who do honest work: each is stopped, the loop is named and nobody else is, and without the
// detector only the budget stops them. Then what must not be stopped. Cases that users of other frameworks
// have reported carry the report's address.
#include <doctest/doctest.h>

#include <set>
#include <sstream>

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
    REQUIRE_MESSAGE(loaded.crew != nullptr, problems << text);
    return *loaded.crew;
}

class LoopWorld : public World {
public:
    explicit LoopWorld(const std::string& text, std::uint32_t seed = 1) : World(crew(text), seed) {
        rules([](const SourceSpec& source, const std::vector<MatchPtr>& members) {
            std::vector<Binding> bindings;
            for (const MatchPtr& member : members) bindings.push_back({member->entries});
            return apply_rule(source, bindings);
        });
    }
};

std::string quoted(const std::string& text) { return to_json(Value(text)); }

// ---- a thousand crews ----------------------------------------------------------------------------

enum class LoopKind { no_op, ring, state, noise, rephrased };
constexpr int loop_kinds = 5;
const char* name_of(LoopKind kind) {
    constexpr const char* names[] = {"no-op writer", "ring", "state", "volatile noise", "rephrased"};
    return names[static_cast<int>(kind)];
}

struct LoopCrew {
    LoopKind kind{};
    std::size_t sources = 1;
    /// Who takes each step of a round; as many steps as the loop's period.
    std::vector<std::size_t> steps = {0};
    std::size_t bystanders = 0;
    bool shares_region = false;  // bystanders write where the loop does
    bool by_turns = true;        // ends in any order

    [[nodiscard]] std::string text(bool detects) const {
        std::ostringstream out;
        out << "regions:\n";
        if (kind == LoopKind::state || kind == LoopKind::no_op) {
            out << "  ball: {policy: last_writer_wins, key: [who], entry: {who: string, to: integer, value: string}}\n";
        } else {
            out << "  ball: {policy: append_only, entry: {to: integer, text: string, stamp: integer},"
                << " volatile: [stamp]}\n";
        }
        out << "  work: {policy: append_only, entry: {who: string, n: integer, text: string}}\n"
            << "sources:\n";
        for (std::size_t i = 0; i < sources; ++i) {
            out << "  loop_" << i << ":\n    kind: process\n    command: [x]\n"
                << "    when: [{each: ball as b, where: {to: " << i << "}}]\n"
                << "    may: {read: [ball], write: {ball: [" << (is_keyed() ? "put" : "insert") << "]}}\n";
        }
        for (std::size_t i = 0; i < bystanders; ++i) {
            out << "  by_" << i << ":\n    kind: process\n    command: [x]\n"
                << "    when: [{each: work as w, where: {who: by_" << i << ", n: {lt: 40}}}]\n"
                << "    may: {read: [work], write: {work: [insert]"
                << (shares_region && !is_keyed() ? ", ball: [insert]" : "") << "}}\n";
        }
        out << "limits: {concurrency: 16}\n"
            << "stop: {limits: {activations: " << 1000 + 40 * bystanders << "}" << (detects ? "" : ", cycle: \"off\"")
            << "}\n"
            << "seed:\n  ball: ["
            << (is_keyed() ? "{who: loop, to: 0, value: said 0}" : "{to: 0, text: begin, stamp: 0}") << "]\n"
            << "  work: [{who: nobody, n: 0, text: begin}";
        for (std::size_t i = 0; i < bystanders; ++i) out << ", {who: by_" << i << ", n: 0, text: begin}";
        out << "]\n";
        return out.str();
    }
    [[nodiscard]] bool is_keyed() const { return kind == LoopKind::state || kind == LoopKind::no_op; }

    // What the loop says at its `turn`.
    [[nodiscard]] std::string said(std::size_t turn, std::mt19937& dice) const {
        if (kind == LoopKind::no_op) return "said 0";
        if (kind == LoopKind::rephrased) {
            const std::vector<std::vector<std::string>> slots = {{"thank you so much", "thanks a lot"},
                                                                 {"for the careful review", "for looking at this"},
                                                                 {"of the whole draft", "of this long document"},
                                                                 {"I really do agree", "I fully agree"},
                                                                 {"with every single point", "with all of it"}};
            std::string text;
            for (const auto& slot : slots) text += slot[dice() % 2] + " ";
            return text + "(" + std::to_string(turn) + ")";
        }
        return "word" + std::string(1, static_cast<char>('a' + turn % steps.size()));
    }

    void play(World& world) const {
        auto turn = std::make_shared<std::size_t>(0);
        const LoopCrew self = *this;
        for (std::size_t i = 0; i < sources; ++i) {
            world.script("loop_" + std::to_string(i), [self, turn](const Call& call) {
                const std::string next = std::to_string(self.steps[(*turn + 1) % self.steps.size()]);
                const std::string text = self.said((*turn)++, call.dice);
                if (self.is_keyed()) {
                    return answer({put("ball", R"({"who":"loop","to":)" + next + R"(,"value":)" + quoted(text) + "}")});
                }
                const std::string stamp = self.kind == LoopKind::noise ? std::to_string(call.dice() % 100'000) : "0";
                return answer(
                    {insert("ball", R"({"to":)" + next + R"(,"text":)" + quoted(text) + R"(,"stamp":)" + stamp + "}")});
            });
        }
        for (std::size_t i = 0; i < bystanders; ++i) {
            const std::string who = "by_" + std::to_string(i);
            world.script(who, [self, who](const Call& call) {
                const std::int64_t n = call.bound(0).content.find("n")->as_int() + 1;
                std::vector<Write> writes = {insert("work", R"({"who":")" + who + R"(","n":)" + std::to_string(n) +
                                                                R"(,"text":"step of )" + who + R"( on its way"})")};
                if (self.shares_region && !self.is_keyed() && n % 3 == 0) {
                    writes.push_back(insert("ball", R"({"to":-1,"text":"note )" + who + std::to_string(n) +
                                                        R"(","stamp":)" + std::to_string(call.dice() % 1'000) + "}"));
                }
                return answer(std::move(writes), 1 + static_cast<std::int64_t>(call.dice() % 20));
            });
        }
    }
};

LoopCrew random_crew(std::uint32_t seed) {
    std::mt19937 dice(seed * 2'654'435'761U + 17);
    const auto roll = [&](std::size_t least, std::size_t most) { return least + dice() % (most - least + 1); };
    LoopCrew made;
    made.kind = static_cast<LoopKind>(seed % loop_kinds);
    made.sources = made.kind == LoopKind::rephrased ? roll(1, 3) : roll(1, 17);
    const bool is_ring = made.kind == LoopKind::rephrased || roll(0, 1) == 0;
    const std::size_t period = made.kind == LoopKind::no_op ? 1 : is_ring ? made.sources : roll(1, 16);
    for (std::size_t i = 1; i < period; ++i) made.steps.push_back(is_ring ? i : roll(0, made.sources - 1));
    made.bystanders = roll(0, 6);
    made.shares_region = roll(0, 1) == 1;
    made.by_turns = roll(0, 1) == 1;
    return made;
}

std::set<std::string> loop_names(const LoopCrew& made) {
    std::set<std::string> names;
    for (const std::size_t source : made.steps) names.insert("loop_" + std::to_string(source));
    return names;
}

std::size_t loop_wakes(const LoopCrew& made, const World& world) {
    std::size_t wakes = 0;
    for (const std::string& name : loop_names(made)) wakes += world.wakes(name);
    return wakes;
}

}  // namespace

TEST_CASE("a thousand crews with a hidden loop are stopped, and only the loop is blamed") {
    std::map<LoopKind, std::pair<std::size_t, std::size_t>> rounds;  // most wakes, crews
    for (std::uint32_t seed = 0; seed < 1'000; seed += one_crew_in) {
        const LoopCrew made = random_crew(seed);
        CAPTURE(seed);
        CAPTURE(std::string(name_of(made.kind)));
        CAPTURE(made.sources);
        CAPTURE(made.steps.size());
        LoopWorld world(made.text(true), seed);
        world.random_order = !made.by_turns;
        made.play(world);
        world.start_run();
        world.run();
        CHECK(world.stopped_by() == "cycle");
        CHECK(world.stop_message().find("by_") == std::string::npos);
        for (const std::string& name : loop_names(made)) {
            CHECK(world.stop_message().find(name + " ") != std::string::npos);
        }
        CHECK(world.stop_message().find("ball/") != std::string::npos);
        // Two rounds, and what was said at the start may have been something else.
        const std::size_t wakes = loop_wakes(made, world);
        CHECK(wakes <= (made.kind == LoopKind::rephrased ? 64 : std::max<std::size_t>(3, 2 * made.steps.size()) + 1));
        auto& [most, crews] = rounds[made.kind];
        most = std::max(most, wakes);
        ++crews;
        if (seed % 50 == 0) CHECK_FALSE(world.replay_difference());
    }
    for (const auto& [kind, counted] : rounds) {
        MESSAGE(std::string(name_of(kind))
                << ": " << counted.second << " crews, at most " << counted.first << " wakes of the loop");
    }
}

TEST_CASE("without the detector the same crews go on until their budget is spent") {
    for (std::uint32_t seed = 0; seed < 1'000; seed += 97) {
        const LoopCrew made = random_crew(seed);
        CAPTURE(seed);
        LoopWorld world(made.text(false), seed);
        made.play(world);
        world.start_run();
        world.run();
        CHECK(world.stopped_by() == "budget");
    }
}

TEST_CASE("bystanders alone are never stopped") {
    for (std::uint32_t seed = 0; seed < 100; seed += one_crew_in) {
        LoopCrew made = random_crew(seed);
        made.bystanders = 6;
        CAPTURE(seed);
        LoopWorld world(made.text(true), seed);
        world.random_order = !made.by_turns;
        made.play(world);
        // The loop's sources say nothing.
        for (std::size_t i = 0; i < made.sources; ++i) {
            world.script("loop_" + std::to_string(i), [](const Call&) { return answer({}); });
        }
        world.start_run();
        world.run();
        CHECK(world.stopped_by() == "quiescence");
        CHECK(world.contents("work").size() == 1 + 6 * 41);
    }
}

// ---- reported loops ------------------------------------------------------------------------------

// openclaw/openclaw#37842: seventeen agents, of which three pass a question around; a guard that looks at
// pairs let 398 messages pass.
TEST_CASE("three of seventeen agents that pass a question on are stopped within six sends") {
    std::string text = "regions:\n  mail: {policy: append_only, entry: {to: string, text: string}}\nsources:\n";
    const auto add = [&text](const std::string& name) {
        text += "  " + name +
                ":\n    kind: process\n    command: [x]\n    when: [{each: mail as m, where: {to: " + name +
                "}}]\n    may: {read: [mail], write: {mail: [insert]}}\n";
    };
    for (const char* name : {"a", "b", "c"}) add(name);
    for (int i = 0; i < 14; ++i) add("other_" + std::to_string(i));
    text += "stop: {limits: {activations: 500}}\nseed: {mail: [{to: a, text: who knows about this}";
    for (int i = 0; i < 14; ++i) text += ", {to: other_" + std::to_string(i) + ", text: do your part}";
    LoopWorld world(text + "]}\n");
    std::size_t sends = 0;
    for (const auto& [from, to] : {std::pair{"a", "b"}, std::pair{"b", "c"}, std::pair{"c", "a"}}) {
        world.script(from, [&sends, to = std::string(to)](const Call&) {
            ++sends;
            return answer({insert("mail", R"({"to":")" + to + R"(","text":"I believe this one is for you"})")});
        });
    }
    for (int i = 0; i < 14; ++i) {
        world.script("other_" + std::to_string(i), [](const Call&) { return answer({}, 35); });
    }
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "cycle");
    CHECK(sends <= 6);
    for (int i = 0; i < 14; ++i) CHECK(world.wakes("other_" + std::to_string(i)) == 1);
    CHECK(world.stop_message().find("other_") == std::string::npos);
}

// crewAIInc/crewAI#737, #518, superplanehq/superplane#4123: the same tool call again and again.
TEST_CASE("an agent that asks a tool the same and gets the same is stopped") {
    LoopWorld world(R"(
regions:
  calls:   {policy: append_only, entry: {tool: string, argument: string}}
  results: {policy: append_only, entry: {tool: string, text: string}}
sources:
  agent:
    kind: process
    command: [x]
    when: [{each: results as r}]
    may: {read: [results], write: {calls: [insert]}}
  tool:
    kind: process
    command: [x]
    when: [{each: calls as c}]
    may: {read: [calls], write: {results: [insert]}}
seed: {results: [{tool: none, text: begin}]}
stop: {limits: {activations: 200}}
)");
    world.script("agent",
                 [](const Call&) { return answer({insert("calls", R"({"tool":"search","argument":"churn"})")}); });
    world.script("tool", [](const Call&) { return answer({insert("results", R"({"tool":"search","text":"none"})")}); });
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "cycle");
    CHECK(world.wakes("agent") <= 3);
}

// microsoft/autogen#108, #254, #5317: agents that thank each other, and blank messages.
TEST_CASE("thanks for thanks, and blank for blank, are stopped") {
    for (const bool blank : {false, true}) {
        LoopWorld world(R"(
regions:
  chat: {policy: append_only, entry: {to: string, text: string}}
sources:
  alice:
    kind: process
    command: [x]
    when: [{each: chat as m, where: {to: alice}}]
    may: {read: [chat], write: {chat: [insert]}}
  bob:
    kind: process
    command: [x]
    when: [{each: chat as m, where: {to: bob}}]
    may: {read: [chat], write: {chat: [insert]}}
seed: {chat: [{to: alice, text: the report is done}]}
stop: {limits: {activations: 200}}
)");
        const std::vector<std::string> thanks = {"You are welcome! Happy to help.", "Thank you, happy to help!",
                                                 "Thank you! You are welcome.", "Happy to help, thank you."};
        for (const auto& [from, to] : {std::pair{"alice", "bob"}, std::pair{"bob", "alice"}}) {
            world.script(from, [&, to = std::string(to)](const Call& call) {
                const std::string text = blank ? "" : thanks[call.dice() % thanks.size()];
                return answer({insert("chat", R"({"to":")" + to + R"(","text":)" + quoted(text) + "}")});
            });
        }
        world.start_run();
        world.run();
        CHECK(world.stopped_by() == "cycle");
        CHECK(world.wakes("alice") + world.wakes("bob") <= 20);
    }
}

// conductor-oss/conductor PR#1279: a router and a worker that hand a task back and forth.
// willdady/platypus#267: a source that wakes itself by its own write.
TEST_CASE("a task handed back and forth is stopped, and so is a source that wakes itself") {
    LoopWorld router(R"(
regions:
  task: {policy: last_writer_wins, entry: {state: string, by: string}}
sources:
  router:
    kind: rule
    when: [{each: task as t, where: {state: returned}}]
    then: [{put: task, entry: {state: assigned, by: router}}]
    may: {read: [task], write: {task: [put]}}
  worker:
    kind: rule
    when: [{each: task as t, where: {state: assigned}}]
    then: [{put: task, entry: {state: returned, by: worker}}]
    may: {read: [task], write: {task: [put]}}
seed: {task: [{state: returned, by: nobody}]}
stop: {limits: {activations: 200}}
)");
    router.start_run();
    router.run();
    CHECK(router.stopped_by() == "cycle");
    CHECK(router.wakes("router") + router.wakes("worker") <= 5);

    LoopWorld itself(R"(
regions:
  log: {policy: append_only, entry: {text: string}}
sources:
  writer:
    kind: rule
    when: [{each: log as l}]
    then: [{insert: log, entry: {text: I have seen a new line}}]
    may: {read: [log], write: {log: [insert]}}
seed: {log: [{text: begin}]}
stop: {limits: {activations: 200}}
)");
    itself.start_run();
    itself.run();
    CHECK(itself.stopped_by() == "cycle");
    CHECK(itself.wakes("writer") <= 4);
}

// macanderson/stella#1851: one call that varies, in the middle of the loop's, blinded the detector.
TEST_CASE("a call that varies between those of a loop does not hide it") {
    LoopWorld world(R"(
regions:
  ball:  {policy: append_only, entry: {to: string}}
  clock: {policy: append_only, entry: {n: integer}}
sources:
  ping:
    kind: process
    command: [x]
    when: [{each: ball as b, where: {to: ping}}]
    may: {read: [ball], write: {ball: [insert]}}
  pong:
    kind: process
    command: [x]
    when: [{each: ball as b, where: {to: pong}}]
    may: {read: [ball], write: {ball: [insert]}}
  ticker:
    kind: process
    command: [x]
    when: [{each: ball as b}]
    may: {read: [ball], write: {clock: [insert]}}
seed: {ball: [{to: ping}]}
stop: {limits: {activations: 200}}
)");
    world.script("ping", [](const Call&) { return answer({insert("ball", R"({"to":"pong"})")}); });
    world.script("pong", [](const Call&) { return answer({insert("ball", R"({"to":"ping"})")}); });
    int ticks = 0;
    world.script("ticker",
                 [&](const Call&) { return answer({insert("clock", "{\"n\":" + std::to_string(++ticks) + "}")}, 3); });
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "cycle");
    CHECK(world.wakes("ping") + world.wakes("pong") <= 6);
    CHECK(world.stop_message().find("ticker") == std::string::npos);
}

// bytedance/deer-flow#1849, langmanus/langmanus#61: agents that make a new plan each time and come no nearer;
// their users could only raise a number. Toloka/tolokaforge#1141: a threshold beyond what a run ever reaches.
TEST_CASE(
    "a chain that always says something new is stopped when the goal comes no nearer, after the declared rounds") {
    const std::string text = R"(
regions:
  plans:   {policy: append_only, entry: {n: integer}}
  reviews: {policy: append_only, entry: {of: integer, verdict: string}}
  done:    {policy: append_only, entry: {n: integer}}
sources:
  planner:
    kind: process
    command: [x]
    when: [{each: reviews as r}]
    may: {read: [reviews], write: {plans: [insert], done: [insert]}}
  reviewer:
    kind: process
    command: [x]
    when: [{each: plans as p}]
    may: {read: [plans], write: {reviews: [insert]}}
seed: {reviews: [{of: 0, verdict: begin}]}
stop:
  goal: [{count: done, is: {gte: 60}}]
  cycle: {rounds: 25}
  limits: {activations: 1000}
)";
    for (const bool progresses : {false, true}) {
        LoopWorld world(text);
        std::int64_t plans = 0;
        world.script("planner", [&](const Call&) {
            ++plans;
            std::vector<Write> writes = {insert("plans", "{\"n\":" + std::to_string(plans) + "}")};
            // A step towards the goal now and then is enough.
            if (progresses && plans % 7 == 0) writes.push_back(insert("done", "{\"n\":" + std::to_string(plans) + "}"));
            return answer(std::move(writes));
        });
        world.script("reviewer", [&](const Call&) {
            return answer({insert("reviews", "{\"of\":" + std::to_string(plans) + R"(,"verdict":"not yet good"})")});
        });
        world.start_run();
        world.run();
        if (progresses) {
            CHECK(world.stopped_by() == "goal");
            CHECK(plans == 420);
        } else {
            CHECK(world.stopped_by() == "cycle");
            CHECK(world.wakes("planner") + world.wakes("reviewer") <= 2 * 26 + 2);
            CHECK(world.stop_message().find("no stop condition came nearer") != std::string::npos);
            CHECK_FALSE(world.replay_difference());
        }
    }
}

// ---- reported false alarms -----------------------------------------------------------------------

// macanderson/stella#359: polling that was taken for a loop. It asks the same each time, and what it is told
// is sometimes the same.
TEST_CASE("polling of a job that takes long is left alone") {
    LoopWorld world(R"(
regions:
  job:    {policy: last_writer_wins, entry: {status: string, percent: integer}}
  report: {policy: append_only, entry: {text: string}}
sources:
  poll:
    kind: process
    command: [x]
    when: [{every: 1s}, {none: report}]
    may: {read: [job, report], write: {job: [put], report: [insert]}}
  give_up:
    kind: process
    command: [x]
    when: [{after: 1h}, {none: report}]
    may: {read: [report], write: {report: [insert]}}
stop: {goal: [{exists: report}], cycle: {rounds: 50}}
)");
    int polls = 0;
    world.script("poll", [&](const Call&) {
        ++polls;
        std::vector<Write> writes = {
            put("job", R"({"status":"still running","percent":)" + std::to_string(polls / 40) + "}")};
        if (polls == 400) writes.push_back(insert("report", R"({"text":"the job is done"})"));
        return answer(std::move(writes));
    });
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "goal");
    CHECK(polls == 400);
}

// Intrect-io/OpenSwarm PR#262, DraconDev/pi-goal-list-loop-audit#30: answers of 429 and 503 counted as a loop.
TEST_CASE("a storm of refused calls is no loop, and the work behind it is done") {
    LoopWorld world(R"(
regions:
  tasks: {policy: append_only, entry: {n: integer}}
  done:  {policy: append_only, entry: {n: integer}}
sources:
  worker:
    kind: process
    command: [x]
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {done: [insert]}}
    limits: {attempts: 200, backoff: 1ms, concurrency: 4}
seed: {tasks: [{n: 1}, {n: 2}, {n: 3}, {n: 4}, {n: 5}, {n: 6}, {n: 7}, {n: 8}]}
)");
    world.script("worker", [](const Call& call) {
        if (call.activation.attempt <= 60) return failure("HTTP 429: rate limited, try again in 1 s");
        return answer({insert("done", "{\"n\":" + std::to_string(call.bound(0).content.find("n")->as_int()) + "}")});
    });
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.contents("done").size() == 8);
}

// Runfusion/Fusion PR#2404: long work that makes progress, taken for a loop and killed. The words are always
// the same, and only what they are about is not.
TEST_CASE("long work with always the same words is left alone while it moves on") {
    LoopWorld world(R"(
regions:
  files:  {policy: append_only, entry: {name: string}}
  status: {policy: last_writer_wins, entry: {text: string}}
  edits:  {policy: append_only, entry: {name: string, note: string}}
sources:
  editor:
    kind: process
    command: [x]
    when: [{each: files as f}]
    may: {read: [files], write: {files: [insert], edits: [insert], status: [put]}}
seed: {files: [{name: a}]}
stop: {goal: [{count: edits, is: {gte: 3000}}]}
)");
    world.script("editor", [](const Call& call) {
        std::string name = call.bound(0).content.find("name")->as_string();
        std::size_t i = 0;
        while (i < name.size() && name[i] == 'z') name[i++] = 'a';
        if (i == name.size()) {
            name += 'a';
        } else {
            ++name[i];
        }
        return answer({insert("files", R"({"name":")" + name + "\"}"),
                       insert("edits", R"({"name":")" + name + R"(","note":"tests pass, nothing else to report"})"),
                       put("status", R"({"text":"working on the next file"})")},
                      1);
    });
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "goal");
}

// ---- what is done about a loop --------------------------------------------------------------------

namespace {

const std::string two_players = R"(
regions:
  ball:  {policy: append_only, entry: {to: string}}
  notes: {policy: append_only, entry: {text: string}}
sources:
  ping:
    kind: process
    command: [x]
    when: [{each: ball as b, where: {to: ping}}]
    may: {read: [ball], write: {ball: [insert]}}
  pong:
    kind: process
    command: [x]
    when: [{each: ball as b, where: {to: pong}}]
    may: {read: [ball], write: {ball: [insert]}}
)";

void play_ball(World& world) {
    world.script("ping", [](const Call&) { return answer({insert("ball", R"({"to":"pong"})")}); });
    world.script("pong", [](const Call&) { return answer({insert("ball", R"({"to":"ping"})")}); });
}

}  // namespace

TEST_CASE("a damped loop goes on more and more slowly, and nobody else does") {
    LoopWorld world(two_players + R"(
  worker:
    kind: process
    command: [x]
    when: [{every: 1s}]
    may: {read: [notes], write: {notes: [insert]}}
seed: {ball: [{to: ping}]}
stop: {cycle: {on_cycle: damp}, limits: {wall: 10m}}
)");
    play_ball(world);
    int n = 0;
    world.script("worker", [&](const Call&) {
        return answer({insert("notes", R"({"text":"note)" + std::to_string(++n) + "\"}")});
    });
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "deadline");
    CHECK(n >= 599);
    const std::size_t rounds = world.wakes("ping") + world.wakes("pong");
    CHECK(rounds >= 8);
    CHECK(rounds <= 24);
    CHECK_FALSE(world.replay_difference());
}

TEST_CASE("a loop wakes the source that was named for it, which lets go of it with another word") {
    const std::string text = two_players + R"(
  referee:
    kind: process
    command: [x]
    when: [{each: control as c, where: {key: {matches: ^cycle/}}}]
    may: {read: [control, ball], write: {control: [put], notes: [insert]}}
seed: {ball: [{to: ping}]}
stop: {cycle: {on_cycle: {wake: referee}}, limits: {activations: 300}}
)";
    for (const bool lets_go : {false, true}) {
        LoopWorld world(text);
        play_ball(world);
        bool played_on = false;
        if (lets_go) {
            // Once it was let go, the ball is out.
            world.script("pong", [&](const Call&) {
                return played_on ? answer({}) : answer({insert("ball", R"({"to":"ping"})")});
            });
        }
        std::string told;
        world.script("referee", [&](const Call& call) {
            told = to_json(call.bound(0).content);
            played_on = lets_go;
            std::vector<Write> writes = {insert("notes", R"({"text":"I have seen it"})")};
            if (lets_go) {
                for (const char* name : {"ping", "pong"}) {
                    writes.push_back(put("control", R"({"key":"pause/)" + std::string(name) + R"(","value":false})"));
                }
            }
            return answer(std::move(writes));
        });
        world.start_run();
        world.run();
        CHECK(world.wakes("referee") == 1);
        CHECK(world.contents("notes").size() == 1);
        const bool names_both = told.find(R"("sources":["ping","pong"])") != std::string::npos ||
                                told.find(R"("sources":["pong","ping"])") != std::string::npos;
        CHECK_MESSAGE(names_both, told);
        CHECK(told.find("ball/") != std::string::npos);
        CHECK(world.stopped_by() == (lets_go ? "quiescence" : "cycle"));
        CHECK_FALSE(world.replay_difference());
    }
}

TEST_CASE("a source that lets go of the same loop again and again is not asked for ever") {
    LoopWorld world(two_players + R"(
  referee:
    kind: rule
    when: [{each: control as c, where: {key: {matches: ^cycle/}}}]
    may: {read: [control], write: {control: [put]}}
    then: [{put: control, entry: {key: pause/ping, value: false}}, {put: control, entry: {key: pause/pong, value: false}}]
seed: {ball: [{to: ping}]}
stop: {cycle: {on_cycle: {wake: referee}}, limits: {activations: 3000}}
)");
    play_ball(world);
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "cycle");
    CHECK(world.wakes("referee") == 3);
    CHECK(world.stop_message().find("referee was woken for it 3 times and let it go on") != std::string::npos);
    CHECK_FALSE(world.replay_difference());
}

TEST_CASE("a loop of nobody but the source that is woken for loops stops the run") {
    LoopWorld world(two_players + R"(
  referee:
    kind: process
    command: [x]
    when: [{each: control as c, where: {key: {eq: pause/nobody}}}, {each: ball as b, where: {to: referee}}]
    may: {read: [control, ball], write: {ball: [insert]}}
seed: {ball: [{to: referee}], control: [{key: pause/nobody, value: false}]}
stop: {cycle: {on_cycle: {wake: referee}}, limits: {activations: 3000}}
)");
    world.script("referee", [](const Call&) { return answer({insert("ball", R"({"to":"referee"})")}); });
    world.start_run();
    world.run();
    CHECK(world.stopped_by() == "cycle");
    CHECK(world.wakes("referee") <= 4);
}

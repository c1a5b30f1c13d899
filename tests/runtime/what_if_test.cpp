// Replays that ask: the stepper is at each record where the live scheduler was, and the comparison of wakes is
// that of matchers made anew for every record.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "runtime/replay_with.hpp"
#include "runtime/stepper.hpp"
#include "tests/runtime/crew_world.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

std::string crew_text(const std::string& size, const std::string& more = "") {
    return R"(
stele: 1
crew: test
regions:
  facts:  {policy: append_only, entry: {name: string, size: integer}}
  claims: {policy: last_writer_wins, key: [name], entry: {name: string, n: integer}}
sources:
  scout:
    kind: process
    command: [scout]
    when: [{each: facts as f, where: {size: {lt: )" +
           size + R"(}}}]
    priority: $f.size
    may: {read: [facts], write: {facts: [insert], claims: [put]}}
  pairs:
    kind: rule
    when:
      - each: claims as c
      - count: facts
        where: {size: $c.n}
        is: {gte: 1}
      - none: facts
        where: {name: stop}
    then:
      - put: claims
        entry: {name: $c.name, n: 9}
    may: {read: [facts, claims], write: {claims: [put]}}
  later:
    kind: process
    command: [later]
    when: [{quiet: {region: facts, for: 40ms}}]
    may: {read: [facts], write: {claims: [put]}}
)" + more + R"(
stop: {limits: {activations: 25}}
)";
}

struct Told {
    std::unique_ptr<World> world;
    std::map<std::uint64_t, std::string> descriptions;  // of the scheduler, by position
};

Told run(std::uint32_t seed) {
    Told told;
    told.world = std::make_unique<World>(crew_from(crew_text("3")), seed);
    World& world = *told.world;
    world.rules(declared_rules);
    const auto fact = [](std::uint32_t size) {
        return insert("facts", R"({"name":"x","size":)" + std::to_string(size) + "}");
    };
    world.script("scout", [&](const Call& call) {
        if (call.dice() % 5 == 0) return failure("not today");
        return answer({fact(call.dice() % 6), put("claims", R"({"name":"c)" + std::to_string(call.dice() % 3) +
                                                                R"(","n":)" + std::to_string(call.dice() % 5) + "}")},
                      5 + call.dice() % 30);
    });
    world.script("later", [&](const Call&) { return answer({put("claims", R"({"name":"late","n":0})")}); });
    world.watch = [&told](const Scheduler& scheduler) {
        told.descriptions[told.world->log.back().position.number] = describe(scheduler);
    };
    world.commit({fact(1), fact(2), fact(5)});
    world.start_run();
    world.run();
    world.signal("resume");
    world.reconfigure(crew_from(crew_text("4")));
    world.commit({fact(3)});
    world.run();
    world.watch = {};
    return told;
}

}  // namespace

TEST_CASE("a stepper is at each record where the scheduler was, forward and backward") {
    for (std::uint32_t seed = 1; seed < 6; ++seed) {
        const Told told = run(seed);
        const Position last = told.world->board().meta().last;
        Result<std::unique_ptr<Stepper>> stepper =
            Stepper::open(told.world->store(), world_board(), last, told.world->reader());
        REQUIRE(stepper.ok());
        CHECK_FALSE((*stepper)->record());
        std::mt19937 dice(seed);
        std::uint64_t at = 0;
        for (int i = 0; i < 60; ++i) {
            const std::uint64_t to = i < 20 ? at + 1 : dice() % (last.number + 3);
            REQUIRE((*stepper)->go_to({to}).ok());
            at = std::min(to, last.number);
            REQUIRE((*stepper)->at().number == at);
            if (at == 0) continue;
            CHECK_FALSE((*stepper)->reason().empty());
            const auto known = told.descriptions.find(at);
            if (known != told.descriptions.end()) CHECK(describe((*stepper)->scheduler()) == known->second);
        }
    }
}

TEST_CASE("breakpoints stop at what they name, in both directions") {
    const Told told = run(2);
    const Position last = told.world->board().meta().last;
    Result<std::unique_ptr<Stepper>> opened =
        Stepper::open(told.world->store(), world_board(), last, told.world->reader());
    REQUIRE(opened.ok());
    Stepper& stepper = **opened;
    std::vector<Position> wanted;
    for (const LoggedRecord& logged : told.world->log) {
        if (logged.record.author == "scout") wanted.push_back(logged.position);
    }
    REQUIRE(wanted.size() > 5);
    Breakpoint breakpoint;
    breakpoint.text = breakpoint.source = "scout";
    REQUIRE(stepper.add(breakpoint).ok());
    for (const Position at : wanted) {
        REQUIRE(stepper.go_on().ok());
        CHECK(stepper.at() == at);
        CHECK(stepper.hits() == std::vector<std::string>{"scout"});
    }
    REQUIRE(stepper.go_on().ok());
    CHECK(stepper.at() == last);
    for (auto at = wanted.rbegin(); at != wanted.rend(); ++at) {
        if (*at == last) continue;
        REQUIRE(stepper.go_back().ok());
        CHECK(stepper.at() == *at);
    }
    REQUIRE(stepper.go_back().ok());
    CHECK(stepper.at() == Position{});

    // A condition: the commit by which there are five facts.
    stepper.clear();
    std::size_t facts = 0;
    Position fifth;
    for (const LoggedRecord& logged : told.world->log) {
        if (logged.record.kind != RecordKind::commit || !logged.verdict.accepted) continue;
        for (const Write& write : logged.record.writes) facts += write.region == "facts" ? 1 : 0;
        if (facts >= 5 && !fifth) fifth = logged.position;
    }
    REQUIRE(fifth);
    Breakpoint when;
    when.text = "five facts";
    when.holder = std::make_shared<const CrewSpec>(crew_from(crew_text("3", R"(
  watch:
    kind: process
    command: ["true"]
    when: [{count: facts, is: {gte: 5}}]
    may: {read: [facts]}
)")));
    when.condition = &when.holder->source("watch")->when;
    REQUIRE(stepper.go_to({3}).ok());
    REQUIRE(stepper.add(when).ok());
    CHECK(stepper.at() == Position{3});
    REQUIRE(stepper.go_on().ok());
    CHECK(stepper.at() == fifth);

    Breakpoint region;
    region.text = region.region = "claims";
    stepper.clear();
    REQUIRE(stepper.add(region).ok());
    REQUIRE(stepper.go_to({}).ok());
    REQUIRE(stepper.go_on().ok());
    REQUIRE(stepper.record());
    const std::vector<Write>& writes = stepper.record()->record.writes;
    CHECK(std::any_of(writes.begin(), writes.end(), [](const Write& write) { return write.region == "claims"; }));
}

// For every record a matcher that is told all from the start again.
TEST_CASE("wakes are compared as matchers made anew for every record would have them") {
    for (std::uint32_t seed = 1; seed < 4; ++seed) {
        CAPTURE(seed);
        const Told told = run(seed);
        World& world = *told.world;
        const CrewSpec other = crew_from(crew_text("5", R"(
  extra:
    kind: process
    command: [extra]
    when: [{each: claims as c, where: {n: {gte: 2}}}]
    may: {read: [claims]}
)"));
        const Position last = world.board().meta().last;
        const Result<WakeComparison> compared =
            compare_wakes(world.store(), world_board(), last, other, world.reader(), SIZE_MAX);
        REQUIRE(compared.ok());

        using Key = std::pair<std::string, Hash128>;
        std::map<Key, std::uint64_t> in_log;  // first position
        std::map<Key, std::uint64_t> in_other;
        std::vector<std::pair<LoggedRecord, std::vector<EntryChange>>> past;
        std::shared_ptr<const CrewSpec> crew;
        std::map<std::string, std::uint64_t> ran;
        for (const LoggedRecord& logged : world.log) {
            std::vector<EntryChange> changes;
            if (logged.record.kind == RecordKind::commit && logged.verdict.accepted) {
                changes = *world.board().changes_of(logged);
            }
            past.emplace_back(logged, std::move(changes));
            const RecordKind kind = logged.record.kind;
            if ((kind == RecordKind::run_started || kind == RecordKind::reconfigured) && logged.verdict.accepted) {
                crew = *world.reader()(logged.record.parts.front(), {}, {});
            }
            if (!crew) continue;
            const auto note = [&](const CrewSpec& spec, std::map<Key, std::uint64_t>& seen) {
                std::vector<WatchedCondition> conditions;
                for (const SourceSpec& source : spec.sources) conditions.push_back({source.name, &source.when, true});
                const std::unique_ptr<Matcher> matcher = make_reevaluating_matcher(conditions);
                for (const auto& [then, changed] : past) {
                    if (then.record.kind == RecordKind::run_started && then.verdict.accepted) {
                        matcher->begin_run(then.position, then.record.time);
                    }
                    if (changed.empty()) {
                        matcher->clock(then.position, then.record.time);
                    } else {
                        matcher->commit(then.position, then.record.time, changed);
                    }
                }
                for (std::uint32_t i = 0; i < spec.sources.size(); ++i) {
                    for (const MatchPtr& match : matcher->all_matches(i)) {
                        seen.try_emplace({spec.sources[i].name, match->key}, logged.position.number);
                    }
                }
            };
            note(*crew, in_log);
            note(other, in_other);
        }
        std::map<std::string, std::array<std::uint64_t, 3>> wanted;  // both, only log, only other
        std::uint64_t first = UINT64_MAX;
        for (const auto& [key, at] : in_log) {
            const auto there = in_other.find(key);
            ++wanted[key.first][there == in_other.end() ? 1 : 0];
            if (there == in_other.end() || there->second != at) first = std::min(first, at);
        }
        for (const auto& [key, at] : in_other) {
            const auto there = in_log.find(key);
            if (there == in_log.end()) ++wanted[key.first][2];
            if (there == in_log.end() || there->second != at) first = std::min(first, at);
        }
        REQUIRE(first != UINT64_MAX);
        for (const SourceWakes& wakes : compared->sources) {
            CAPTURE(wakes.source);
            CHECK(wakes.both == wanted[wakes.source][0]);
            CHECK(wakes.only_log == wanted[wakes.source][1]);
            CHECK(wakes.only_other == wanted[wakes.source][2]);
            CHECK(wakes.in_log == (wakes.source != "extra"));
            CHECK(wakes.in_other);
        }
        REQUIRE_FALSE(compared->differences.empty());
        CHECK(compared->differences.front().at.number == first);

        // The log's last crew against a log of that crew alone differs in nothing.
        const Result<WakeComparison> same = compare_wakes(world.store(), world_board(), {world.log.size() / 3},
                                                          crew_from(crew_text("3")), world.reader(), SIZE_MAX);
        REQUIRE(same.ok());
        CHECK(same->difference_count == 0);
    }
}

// What follows when an entry is taken back, in simulated runs: marked, taken back as well, or worked out
// again, each compared with what the log says rests on what.
#include <doctest/doctest.h>

#include <map>
#include <set>

#include "board/provenance.hpp"
#include "knowledge_sources/rule_source.hpp"
#include "scheduler/consequences.hpp"
#include "tests/runtime/crew_world.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

std::string crew_text(const std::string& on_retract, const std::string& more = {}) {
    return "stele: 1\ncrew: test\non_retract: " + on_retract + R"(
regions:
  evidence: {policy: append_only, entry: {name: string, n: integer}}
  claims:   {policy: append_only, entry: {name: string}}
  report:   {policy: last_writer_wins, key: [name], entry: {name: string, claims: integer}}
sources:
  analyst:
    kind: process
    command: [analyst]
    when: [{each: evidence as e}]
    view: [evidence]
    may: {read: [evidence], write: {claims: [insert]}}
  reporter:
    kind: rule
    when: [{each: claims as c}]
    then: [{put: report, entry: {name: $c.name, claims: 1}, cites: [$c]}]
    may: {read: [claims], write: {report: [put]}}
)" + more;
}

const std::string auditor = R"(
  auditor:
    kind: process
    command: [auditor]
    when: [{each: suspects as s, where: {region: report}}]
    may: {read: [suspects], write: {claims: [insert], suspects: [retract]}}
)";

struct Retractions : World {
    explicit Retractions(const std::string& text) : World(crew_from(text)) {
        rules([](const SourceSpec& source, const std::vector<MatchPtr>& members) {
            std::vector<Binding> bindings;
            for (const MatchPtr& member : members) bindings.push_back({member->entries});
            return apply_rule(source, bindings);
        });
        script("analyst", [this](const Call& call) {
            ++analysed;
            Write claim = insert("claims", R"({"name":")" + call.bound(0).content.find("name")->as_string() + "\"}");
            claim.cites.push_back({call.bound(0).id, 0});
            return answer({claim});
        });
    }
    ~Retractions() {
        const std::optional<std::string> difference = replay_difference();
        CHECK_MESSAGE(!difference, difference.value_or(""));
    }
    int analysed = 0;
};

}  // namespace

TEST_CASE("flag: what rested on a retracted entry is named, transitively, and sources wake on it") {
    Retractions world(crew_text("flag", auditor));
    int audited = 0;
    world.script("auditor", [&](const Call& call) {
        ++audited;
        CHECK(call.bound(0).content.find("entry")->as_string() == "report/1");
        return answer({});
    });
    world.commit({insert("evidence", R"({"name":"a","n":1})"), insert("evidence", R"({"name":"b","n":2})")});
    world.start_run();
    world.run();
    CHECK(world.contents("suspects").empty());
    world.commit({retract({"evidence", 1})});
    CHECK(world.contents("suspects") ==
          std::vector<std::string>{R"({"because":["evidence/1"],"entry":"claims/1","region":"claims"})",
                                   R"({"because":["claims/1"],"entry":"report/1","region":"report"})"});
    world.signal("resume");
    world.run();
    CHECK(audited == 1);
    CHECK(world.contents("claims").size() == 2);
    // Held up again: the same report for a claim that stands.
    world.commit({put("report", R"({"name":"a","claims":0})")});
    CHECK(world.contents("suspects").size() == 1);
    // Gone: nothing to mark.
    world.commit({retract({"claims", 1})});
    CHECK(world.contents("suspects").empty());
}

TEST_CASE("flag: a mark that a source has dealt with does not come back, until the entry changes") {
    Retractions world(crew_text("flag", auditor));
    world.script("auditor", [&](const Call& call) { return answer({retract(call.bound(0).id)}); });
    world.commit({insert("evidence", R"({"name":"a","n":1})")});
    world.start_run();
    world.run();
    world.commit({retract({"evidence", 1})});
    world.signal("resume");
    world.run();
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.contents("suspects").size() == 1);  // claims/1; the report's mark was dealt with
    CHECK(world.wakes("auditor") == 1);
}

TEST_CASE("cascade: what rested on a retracted entry goes with it, what rests on something else stays") {
    Retractions world(crew_text("cascade"));
    world.commit({insert("evidence", R"({"name":"a","n":1})"), insert("evidence", R"({"name":"b","n":2})")});
    world.start_run();
    world.run();
    CHECK(world.contents("report").size() == 2);
    const LoggedRecord taken = world.commit({retract({"evidence", 1})});
    CHECK(world.contents("claims") == std::vector<std::string>{R"({"name":"b"})"});
    CHECK(world.contents("report") == std::vector<std::string>{R"({"claims":1,"name":"b"})"});
    // One commit took both, and says why.
    const LoggedRecord& followed = world.log[taken.position.number];
    CHECK(followed.record.author == "system");
    CHECK(followed.record.writes.size() == 2);
    CHECK(followed.record.writes[0].why == "rested on evidence/1, which is not held up any more");
    CHECK(world.contents("suspects").empty());
}

TEST_CASE("rerun: who wrote it runs again where what woke it still holds") {
    Retractions world(crew_text("rerun"));
    bool cites_second = true;
    world.script("analyst", [&](const Call& call) {
        ++world.analysed;
        Write claim = insert("claims", R"({"name":"c)" + std::to_string(world.analysed) + "\"}");
        // Woken by the first entry, it rests on the second, which it saw.
        const Result<EntryPtr> second = call.view.find({"evidence", 2});
        const bool sees = second.ok() && *second;
        if (cites_second && sees) claim.cites.push_back({{"evidence", 2}, 0});
        return answer({claim});
    });
    world.commit({insert("evidence", R"({"name":"a","n":1})"), insert("evidence", R"({"name":"b","n":2})")});
    world.start_run();
    world.run();
    CHECK(world.analysed == 2);
    CHECK(world.contents("claims").size() == 2);
    world.commit({retract({"evidence", 2})});
    CHECK(world.contents("claims").empty());
    CHECK(world.contents("report").empty());
    world.signal("resume");
    world.run();
    // The activation of evidence/1 again, without the entry that is gone; that of evidence/2 has lost its match.
    CHECK(world.analysed == 3);
    CHECK(world.contents("claims") == std::vector<std::string>{R"({"name":"c3"})"});
    CHECK(world.contents("report").size() == 1);
    CHECK(world.stopped_by() == "quiescence");
    CHECK(world.of(RecordKind::signal).size() >= 3);
}

TEST_CASE("removing from a set is no retraction, nor is the end of private notes") {
    Retractions world("stele: 1\ncrew: test\non_retract: flag\n" + std::string(R"(
regions:
  tasks: {policy: set_union, entry: {name: string}}
  done:  {policy: append_only, entry: {name: string}}
sources:
  worker:
    kind: process
    command: [worker]
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {tasks: [remove], done: [insert]}}
  noter:
    kind: process
    command: [noter]
    when: [{each: done as d}]
    may: {read: [done], write: {done: [insert]}}
    limits: {activations: 3}
)"));
    world.script("worker", [](const Call& call) {
        return answer({insert("done", R"({"name":"x"})"), remove("tasks", to_json(call.bound(0).content))});
    });
    world.script("noter", [](const Call&) { return answer({put("scratch", R"({"key":"k","value":1})")}); });
    world.commit({add("tasks", R"({"name":"a"})"), add("tasks", R"({"name":"b"})")});
    world.start_run();
    world.run();
    CHECK(world.contents("tasks").empty());
    CHECK(world.contents("done").size() == 2);
    CHECK(world.contents("suspects").empty());
}

TEST_CASE("a crew that declares on_retract on an old board learns what rests on what from its log") {
    Retractions world(crew_text("none"));
    world.commit({insert("evidence", R"({"name":"a","n":1})"), insert("evidence", R"({"name":"b","n":2})")});
    world.start_run();
    world.run();
    world.commit({retract({"evidence", 1})});
    CHECK(world.contents("report").size() == 2);
    world.reconfigure(crew_from(crew_text("flag")));
    CHECK(world.contents("suspects").size() == 2);
    world.crash();
    world.run();
    CHECK(world.contents("suspects").size() == 2);
    world.reconfigure(crew_from(crew_text("cascade")));
    CHECK(world.contents("suspects").empty());
    CHECK(world.contents("report").size() == 1);
}

TEST_CASE("random retractions leave marked exactly what the whole log says rests on nothing") {
    for (std::uint32_t seed = 1; seed <= 30; ++seed) {
        CAPTURE(seed);
        Retractions world(crew_text("flag"));
        world.dice.seed(seed);
        world.script("analyst", [&](const Call& call) {
            std::vector<Write> writes;
            for (std::uint32_t i = 0; i <= call.dice() % 2; ++i) {
                writes.push_back(insert("claims", R"({"name":"n)" + std::to_string(call.dice() % 4) + "\"}"));
                const Status read = call.view.for_each("evidence", true, [&](const EntryPtr& entry) {
                    if (call.dice() % 3 == 0) writes.back().cites.push_back({entry->id, 0});
                    return true;
                });
                REQUIRE(read.ok());
            }
            return answer(std::move(writes));
        });
        world.start_run();
        for (int step = 0; step < 25; ++step) {
            const Board& board = world.board();
            const auto count = [&](const char* region) { return board.entries().region(region)->next_entry; };
            switch (world.dice() % 4) {
                case 0:
                    if (count("evidence") > 1) world.commit({retract({"evidence", world.dice() % count("evidence")})});
                    break;
                case 1:
                    if (count("claims") > 1) world.commit({retract({"claims", world.dice() % count("claims")})});
                    break;
                default:
                    world.commit({insert("evidence", R"({"name":"e","n":)" + std::to_string(step) + "}")});
            }
            if (world.dice() % 3 == 0) {
                world.signal("resume");
                world.run();
            }
            if (world.dice() % 9 == 0) world.crash();
        }
        // The oracle: each active entry with the supports of its newest version, and the least fixed point.
        const Position last = world.board().meta().last;
        const Provenance provenance(world.board().entries(), World::family(), last);
        std::map<EntryId, std::vector<EntryId>> supports;
        for (const char* region : {"evidence", "claims", "report"}) {
            const Status read = world.board().view(last).for_each(region, false, [&](const EntryPtr& entry) {
                const Result<Derivation> derivation = provenance.derivation(entry->id, last);
                REQUIRE(derivation.ok());
                for (const Support& support : derivation->supports) supports[entry->id].push_back(support.entry.id);
                supports[entry->id];
                return true;
            });
            REQUIRE(read.ok());
        }
        std::set<EntryId> held;
        for (bool more = true; more;) {
            more = false;
            for (const auto& [id, on] : supports) {
                const bool all =
                    std::all_of(on.begin(), on.end(), [&](const EntryId& one) { return held.count(one) > 0; });
                if (all && held.insert(id).second) more = true;
            }
        }
        std::set<std::string> expected;
        for (const auto& [id, on] : supports) {
            if (held.count(id) == 0) expected.insert(to_text(id));
        }
        std::set<std::string> marked;
        for (const std::string& text : world.contents("suspects")) marked.insert(json(text).find("entry")->as_string());
        CHECK(marked == expected);
    }
}

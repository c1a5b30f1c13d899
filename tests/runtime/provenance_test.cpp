// Where entries come from and what came of them, in simulated runs: by way of the index, and by reading
// the whole log, which is the oracle.
#include "board/provenance.hpp"

#include <doctest/doctest.h>

#include <map>
#include <set>

#include "tests/runtime/crew_world.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

const std::string chain_crew = R"(
stele: 1
crew: test
regions:
  facts:  {policy: append_only, entry: {name: string, size: number?}}
  claims: {policy: set_union, key: [name], merge: {size: max}, entry: {name: string, size: number?}}
  state:  {policy: last_writer_wins, key: [name], entry: {name: string, size: number?}}
sources:
  scout:
    kind: process
    command: [scout]
    when: [{each: facts as f, where: {size: {lt: 3}}}]
    view: [facts, claims]
    may: {read: [facts, claims], write: {facts: [insert], claims: [add]}}
  pairs:
    kind: rule
    when:
      - each: claims as c
      - each: facts as f
        where: {size: $c.size}
    then:
      - put: state
        entry: {name: $f.name, size: $c.size}
      - insert: facts
        entry: {name: pair, size: 9}
        cites: [$c]
    may: {read: [facts, claims], write: {state: [put], facts: [insert]}}
  batcher:
    kind: process
    command: [batcher]
    when: [{each: state as s}]
    wake: batch
    batch: {max: 4, within: 1s}
    view: [state]
    may: {read: [state], write: {claims: [add, remove]}}
stop: {limits: {activations: 60}}
)";

// A run in which sources cite at random, from their view, their match or their own lines.
std::unique_ptr<World> random_run(std::uint32_t seed) {
    auto world = std::make_unique<World>(crew_from(chain_crew), seed);
    world->rules(declared_rules);
    const auto cite_some = [](const Call& call, Write& write, std::uint32_t line, const char* region) {
        if (call.dice() % 2 == 0) return;
        const Status read = call.view.for_each(region, true, [&](const EntryPtr& entry) {
            if (call.dice() % 3 == 0) write.cites.push_back({entry->id, 0});
            return call.dice() % 4 != 0;
        });
        REQUIRE(read.ok());
        if (line > 1 && call.dice() % 3 == 0) write.cites.push_back({{}, line - 1});
    };
    world->script("scout", [cite_some](const Call& call) {
        if (call.dice() % 8 == 0) return failure("no luck");
        std::vector<Write> writes;
        for (std::uint32_t line = 1; line <= 1 + call.dice() % 3; ++line) {
            const std::string content = R"({"name":"n)" + std::to_string(call.dice() % 6) + R"(","size":)" +
                                        std::to_string(call.dice() % 6) + "}";
            writes.push_back(call.dice() % 2 == 0 ? insert("facts", content) : add("claims", content));
            cite_some(call, writes.back(), line, "facts");
        }
        return answer(std::move(writes), 10 + call.dice() % 40);
    });
    world->script("batcher", [cite_some](const Call& call) {
        std::vector<Write> writes = {add("claims", R"({"name":"b","size":)" + std::to_string(call.dice() % 6) + "}")};
        cite_some(call, writes.back(), 1, "state");
        if (call.dice() % 4 == 0) writes.push_back(remove("claims", R"({"name":"b"})"));
        return answer(std::move(writes), 10 + call.dice() % 40);
    });
    world->commit({insert("facts", R"({"name":"a","size":1})"), insert("facts", R"({"name":"b","size":2})")});
    world->start_run();
    world->run();
    return world;
}

// The oracle: what each written version rests on, told from the whole log, one record after the other.
using Supports = std::set<std::pair<SupportKind, EntryId>>;
std::map<std::pair<Position, std::size_t>, Supports> read_whole_log(const World& world) {
    std::map<std::uint64_t, std::vector<MatchRecord>> claimed;  // newest claim by activation
    std::map<std::pair<Position, std::size_t>, Supports> supports;
    for (const LoggedRecord& logged : world.log) {
        const Record& record = logged.record;
        if (!logged.verdict.accepted) continue;
        if (record.kind == RecordKind::claimed) {
            claimed[record.activation ? record.activation.number : logged.position.number] = record.members;
        }
        if (record.kind != RecordKind::commit) continue;
        const std::vector<MatchRecord>& members =
            record.activation ? claimed[record.activation.number] : record.members;
        for (std::size_t line = 0; line < record.writes.size(); ++line) {
            if (logged.verdict.outcomes[line].effect == WriteOutcome::Effect::none) continue;
            Supports& found = supports[{logged.position, line}];
            for (const Cite& cite : record.writes[line].cites) {
                const EntryId id = cite.line == 0 ? cite.entry
                                                  : EntryId{record.writes[cite.line - 1].region,
                                                            logged.verdict.outcomes[cite.line - 1].number};
                found.emplace(SupportKind::cited, id);
            }
            if (!record.writes[line].cites.empty()) continue;
            for (std::uint32_t member = 0; member < members.size(); ++member) {
                const std::vector<std::uint32_t>& stale = logged.verdict.stale_members;
                if (std::find(stale.begin(), stale.end(), member) != stale.end()) continue;
                for (const BoundEntry& bound : members[member].bound) found.emplace(SupportKind::bound, bound.id);
            }
        }
    }
    return supports;
}

}  // namespace

TEST_CASE("support, forward and backward, is what the whole log says") {
    std::size_t versions = 0;
    std::size_t edges = 0;
    std::size_t later = 0;
    for (std::uint32_t seed = 1; seed <= 25; ++seed) {
        CAPTURE(seed);
        const std::unique_ptr<World> world = random_run(seed);
        const Provenance provenance(world->board().entries(), World::family(), world->board().meta().last);
        const std::uint64_t last = world->board().meta().last.number;
        const auto oracle = read_whole_log(*world);
        std::map<EntryId, std::set<std::tuple<Position, EntryId, SupportKind>>> derived;
        std::map<EntryId, std::map<std::pair<Position, EntryId>, Position>> read_at;  // by what was derived
        for (const auto& [place, supports] : oracle) {
            const LoggedRecord& logged = world->log[place.first.number - 1];
            const EntryId id = written_entry(logged, place.second);
            REQUIRE(id.number != 0);
            for (const auto& [kind, support] : supports) derived[support].emplace(place.first, id, kind);
            // A later line of the same commit may have written the entry again.
            bool is_last = true;
            for (std::size_t line = place.second + 1; line < logged.record.writes.size(); ++line) {
                is_last = is_last && written_entry(logged, line) != id;
            }
            if (!is_last) continue;
            const Result<Derivation> derivation = provenance.derivation(id, place.first);
            REQUIRE(derivation.ok());
            Supports found;
            for (const Support& support : derivation->supports) {
                found.emplace(support.kind, support.entry.id);
                CHECK(support.at <= place.first);
                const Result<Derivation> below = provenance.derivation(support.entry.id, support.at);
                REQUIRE(below.ok());
                CHECK(below->entry->version == support.entry.version);
                Position& read = read_at[support.entry.id][{place.first, id}];
                read = std::max(read, support.at);
            }
            CHECK(found == supports);
            CHECK(derivation->entry->position == place.first);
            ++versions;
        }
        for (const RegionState& region : world->board().entries().regions()) {
            for (std::uint64_t number = 1; number < region.next_entry; ++number) {
                const EntryId id{region.name, number};
                std::set<std::tuple<Position, EntryId, SupportKind>> found;
                const auto collect = [&](Position since) {
                    found.clear();
                    const Status walked = provenance.for_each_derived(id, since, [&](const Derived& one) {
                        found.emplace(one.position, one.entry.id, one.kind);
                        const auto known = read_at[id].find({one.position, one.entry.id});
                        if (since && known != read_at[id].end()) CHECK(one.read == known->second);
                        return true;
                    });
                    REQUIRE(walked.ok());
                };
                collect({});
                CHECK(found == derived[id]);
                edges += found.size();
                const std::set<std::tuple<Position, EntryId, SupportKind>> whole = found;
                for (const std::uint64_t since : {std::uint64_t{seed}, std::uint64_t{5} * seed, last / 2}) {
                    collect({since});
                    for (const auto& one : whole) {
                        const auto known = read_at[id].find({std::get<0>(one), std::get<1>(one)});
                        if (known == read_at[id].end()) continue;  // written again in the same commit
                        CHECK((found.count(one) > 0) == (known->second.number >= since));
                        ++later;
                    }
                    CHECK(std::includes(whole.begin(), whole.end(), found.begin(), found.end()));
                }
            }
        }
    }
    CHECK(versions > 500);
    CHECK(edges > 500);
    CHECK(later > 1'000);
}

TEST_CASE("the story of an activation tells what it read, which attempt it was and what it spent") {
    World world(crew_from(R"(
stele: 1
crew: test
models: {m: {model: "ollama/small"}}
regions:
  tasks: {policy: append_only, entry: {name: string}}
  done:  {policy: append_only, entry: {name: string}}
sources:
  worker:
    kind: process
    command: [worker]
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {done: [insert]}}
    limits: {attempts: 3, backoff: 1s}
)"));
    world.script("worker", [](const Call& call) {
        Answer made =
            call.activation.attempt == 1 ? failure("not yet") : answer({insert("done", R"({"name":"x"})")}, 40);
        ModelAsk ask;
        ask.reserve.tokens = 100;
        ask.spent.calls = 1;
        ask.spent.tokens = call.activation.attempt == 1 ? 7 : 30;
        made.asks = {ask, ask};
        return made;
    });
    world.commit({insert("tasks", R"({"name":"a"})")});
    world.start_run();
    world.run();
    const Provenance provenance(world.board().entries(), World::family(), world.board().meta().last);
    const Result<Derivation> derivation = provenance.derivation({"done", 1}, world.board().meta().last);
    REQUIRE(derivation.ok());
    const ActivationStory& story = derivation->story;
    CHECK(story.author == "worker");
    CHECK(story.attempt == 2);
    CHECK(story.bound == std::vector<EntryVersion>{{{"tasks", 1}, 1}});
    CHECK(story.models == std::vector<std::string>{"m"});
    CHECK(story.spent.tokens == 60);  // of the attempt that wrote it, not of the one that failed
    CHECK(story.duration_ms >= 40);
    CHECK(derivation->supports.size() == 1);
    CHECK(provenance.derivation({"done", 2}, world.board().meta().last).error().code == ErrorCode::not_found);
    CHECK(provenance.derivation({"nowhere", 1}, world.board().meta().last).error().code == ErrorCode::not_found);
    // From outside: nothing woke it.
    const Result<Derivation> task = provenance.derivation({"tasks", 1}, world.board().meta().last);
    REQUIRE(task.ok());
    CHECK_FALSE(task->story.id);
    CHECK(task->supports.empty());

    std::vector<Woken> woken;
    REQUIRE(provenance.for_each_woken({"tasks", 1}, [&](const Woken& one) { return woken.push_back(one), true; }).ok());
    REQUIRE(woken.size() == 1);
    CHECK(woken[0].author == "worker");
    CHECK(woken[0].committed == derivation->entry->position);
}

TEST_CASE("a text is followed from its first write, and the position of a time is found") {
    const std::unique_ptr<World> world = random_run(3);
    const Position last = world->board().meta().last;
    const Provenance provenance(world->board().entries(), World::family(), last);
    for (const char* text : {"pair", "9", "n1", "nowhere to be found"}) {
        CAPTURE(text);
        const Result<TextQuery> query = TextQuery::parse(text);
        REQUIRE(query.ok());
        std::vector<std::pair<std::uint64_t, std::size_t>> found;
        REQUIRE(provenance
                    .for_each_hit(*query, {1},
                                  [&](const TextHit& hit) {
                                      found.emplace_back(hit.position.number, hit.line);
                                      return true;
                                  })
                    .ok());
        std::vector<std::pair<std::uint64_t, std::size_t>> expected;
        for (const LoggedRecord& logged : world->log) {
            for (std::size_t line = 0; line < logged.record.writes.size(); ++line) {
                if (query->is_in_value(content_of(logged.record.writes[line]))) {
                    expected.emplace_back(logged.position.number, line);
                }
            }
        }
        CHECK(found == expected);
    }
    for (std::int64_t ms = world->log.front().record.time.ms - 5; ms < world->clock.ms + 20; ms += 7) {
        std::uint64_t expected = 1;
        while (expected <= last.number && world->log[expected - 1].record.time.ms < ms) ++expected;
        const Result<Position> found = provenance.position_at({ms});
        REQUIRE(found.ok());
        CHECK(found->number == expected);
    }
}

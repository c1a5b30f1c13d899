// What is purged is nowhere any more, and everything else is as it was: contents, chain, verdicts, and all that is
// derived, held against what the purged log makes.
#include "runtime/purge.hpp"

#include <doctest/doctest.h>

#include <sstream>

#include "board/limits.hpp"
#include "runtime/board_transfer.hpp"
#include "runtime/stepper.hpp"
#include "runtime/verify.hpp"
#include "tests/runtime/crew_world.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

const char* const crew_text = R"(
stele: 1
crew: test
on_retract: flag
regions:
  facts:  {policy: append_only, entry: {name: string, text: string}}
  names:  {policy: set_union, key: [name], merge: {all: union}, entry: {name: string, all: [string]}}
  state:  {policy: last_writer_wins, key: [name], entry: {name: string, text: string}}
  items:  {policy: cas, entry: {text: string}}
  copies: {policy: append_only, entry: {text: string}}
  count:  {policy: counter}
sources:
  copy:
    kind: rule
    when:
      - each: facts as f
      - none: state
        where: {text: $f.text}
    then:
      - add: names
        entry: {name: $f.name, all: [$f.text]}
      - increment: count
        by: 1
    may: {read: [facts, state], write: {names: [add], count: [increment]}}
  tell:
    kind: process
    command: [tell]
    when: [{each: facts as f, where: {text: {has: secret}}}]
    may: {read: [facts], write: {copies: [insert]}}
stop: {limits: {activations: 60}}
)";

std::string secret(std::uint32_t number) { return "secret-" + std::to_string(100'000 + number) + "-of-nobody"; }

struct Purged {
    std::unique_ptr<World> world;
    std::uint32_t secrets = 0;
};

Purged busy_board(std::uint32_t seed) {
    Purged made;
    made.world = std::make_unique<World>(crew_from(crew_text), seed);
    World& world = *made.world;
    world.rules(declared_rules);
    world.script("tell", [](const Call& call) {
        if (call.dice() % 4 == 0) return failure("could not say it");
        return answer({insert("copies", R"({"text":"told"})")});
    });
    world.start_run();
    const auto fresh = [&] { return secret(made.secrets++); };
    for (int i = 0; i < 40; ++i) {
        const std::string name = "n" + std::to_string(world.roll(5));
        const std::string author = world.roll(2) == 0 ? "person" : "other";
        std::string text = fresh();
        if (world.roll(8) == 0) text += std::string(limits::blob_bytes_min, 'y');
        switch (world.roll(7)) {
            case 0:
            case 1:
                world.commit({insert("facts", R"({"name":")" + name + R"(","text":")" + text + "\"}")});
                break;
            case 2:
                world.commit({add("names", R"({"name":")" + name + R"(","all":[")" + text + "\"]}")}, author);
                break;
            case 3:
                world.commit({put("state", R"({"name":")" + name + R"(","text":")" + text + "\"}")}, author);
                break;
            case 4:
                world.commit({insert("items", R"({"text":")" + text + "\"}")});
                break;
            case 5:
                world.commit({remove("names", R"({"name":")" + name + R"(","all":[]})")}, author);
                break;
            default:
                world.commit({retract({world.roll(2) == 0 ? "facts" : "state", 1 + world.roll(6)})});
        }
        if (world.roll(10) == 0) {
            world.signal("resume");
            world.run();
        }
    }
    world.signal("resume");
    world.run();
    return made;
}

std::set<std::string> secrets_in(const StateStore& store) {
    std::set<std::string> found;
    for (const Column column : {Column::log, Column::entries, Column::meta, Column::blobs, Column::terms}) {
        REQUIRE(store
                    .scan(column, "", std::string(64, '\xff'), false,
                          [&](std::string_view key, std::string_view value) {
                              for (const std::string_view bytes : {key, value}) {
                                  for (std::size_t at = bytes.find("secret-"); at != std::string_view::npos;
                                       at = bytes.find("secret-", at + 1)) {
                                      found.insert(std::string(bytes.substr(at, secret(0).size())));
                                  }
                              }
                              return true;
                          })
                    .ok());
    }
    return found;
}

std::map<std::string, std::string> contents(StateStore& store, Position at) {
    std::map<std::string, std::string> found;
    EntryStore entries(store, {1}, World::family());
    REQUIRE(entries.load().ok());
    for (const RegionState& region : entries.regions()) {
        REQUIRE(View(entries, at)
                    .for_each(region.name, false,
                              [&](const EntryPtr& entry) {
                                  found[to_text(entry->id) + "v" + std::to_string(entry->version)] =
                                      to_json(entry->content);
                                  return true;
                              })
                    .ok());
    }
    return found;
}

}  // namespace

TEST_CASE("what is purged is nowhere any more, and all else is as it was") {
    std::size_t purged_entries = 0;
    std::size_t purged_payloads = 0;
    for (std::uint32_t seed = 1; seed < 25; ++seed) {
        CAPTURE(seed);
        const Purged made = busy_board(seed);
        World& world = *made.world;
        const Position before = world.board().meta().last;

        PurgeWish wish;
        const char* const regions[] = {"facts", "names", "state", "items"};
        for (int i = 0; i < 3; ++i) {
            const EntryId id{regions[world.roll(4)], 1 + world.roll(4)};
            const RegionState* region = world.board().entries().region(id.region);
            if (region != nullptr && id.number < region->next_entry) wish.entries.push_back(id);
        }
        if (world.roll(2) == 0) wish.texts.push_back(secret(world.roll(made.secrets)));
        if (wish.entries.empty() && wish.texts.empty()) continue;
        // As the owner does it: what is still active is retracted, and the purge goes on record.
        Result<PurgePlan> plan = plan_purge(world.store(), world_board(), before, wish);
        REQUIRE_MESSAGE(plan.ok(), (plan.ok() ? "" : plan.error().message));
        CHECK(plan->stays.empty());
        if (plan->parts.empty()) continue;
        // The secrets of what goes.
        std::set<std::string> gone;
        for (const LoggedRecord& logged : world.log) {
            for (std::size_t line = 0; line < logged.record.writes.size(); ++line) {
                if (!logged.verdict.accepted) continue;
                const EntryId id{resolve_region(logged.record.writes[line].region, logged.record.author),
                                 logged.verdict.outcomes[line].number};
                const std::string& text = logged.record.writes[line].text;
                const bool asked = std::find(wish.entries.begin(), wish.entries.end(), id) != wish.entries.end();
                if (!asked) continue;
                for (std::size_t at = text.find("secret-"); at != std::string::npos;
                     at = text.find("secret-", at + 1)) {
                    gone.insert(text.substr(at, secret(0).size()));
                }
            }
        }
        std::vector<Write> retracts;
        for (const EntryId& id : plan->active) retracts.push_back(retract(id));
        if (!retracts.empty()) REQUIRE(world.commit(retracts).verdict.accepted);
        Record record;
        record.kind = RecordKind::purged;
        record.author = "person";
        record.seen.assign(plan->entries.begin(), plan->entries.end());
        for (const auto& [position, parts] : plan->parts) {
            if (!parts.empty()) record.positions.push_back(position);
        }
        REQUIRE(world.propose(record).verdict.accepted);
        const Position last = world.board().meta().last;
        // Cut short here, it is noticed.
        if (!record.positions.empty() && seed % 4 == 0) {
            const Result<VerifyReport> cut = verify_board(world.store(), world_board(), std::nullopt, world.reader());
            REQUIRE(cut.ok());
            REQUIRE_FALSE(cut->damage.empty());
            CHECK(cut->damage.front().find("run it again") != std::string::npos);
        }
        const std::map<std::string, std::string> contents_before = contents(world.store(), last);
        std::map<std::string, std::string> old_contents = contents(world.store(), before);

        EntryStore& entries = world.board().entries();
        StoreBatch batch;
        entries.put_checkpoint({last, world.board().meta().link, world.checkpoint()}, batch);
        REQUIRE(world.store().apply(batch).ok());
        const Status done = purge_payloads(world.store(), world_board(), *plan, world.reader());
        REQUIRE_MESSAGE(done.ok(), (done.ok() ? "" : done.error().message));
        const Result<std::optional<StoredCheckpoint>> checkpoint = entries.checkpoint();
        REQUIRE(checkpoint.ok());
        CHECK_FALSE(checkpoint->has_value());  // what it was told of is not all there any more
        const std::set<std::string> left = secrets_in(world.store());
        for (const std::string& text : wish.texts) CHECK(left.count(text) == 0);
        for (const std::string& text : gone) {
            CAPTURE(text);
            // Unless another entry says it too, and the plan says so.
            if (left.count(text) > 0) CHECK_FALSE(plan->also_in.empty());
        }
        if (plan->also_in.empty()) {
            for (const std::string& text : gone) CHECK(left.count(text) == 0);
        }
        CHECK((contents(world.store(), last) == contents_before));
        for (auto& [id, content] : contents(world.store(), before)) {
            CAPTURE(id);
            if (content != "null") CHECK((content == old_contents.at(id)));
        }

        const Result<VerifyReport> report = verify_board(world.store(), world_board(), std::nullopt, world.reader());
        REQUIRE(report.ok());
        for (const std::string& text : report->damage) FAIL_CHECK(text);
        for (const std::string& text : report->stale) FAIL_CHECK(text);
        if (report->difference) FAIL_CHECK(*report->difference);
        CHECK(report->state_hash == world.board().state_hash());
        CHECK(report->records == last.number);

        // Nothing is left to do, and doing it again changes nothing.
        const Result<PurgePlan> again = plan_purge(world.store(), world_board(), last, wish);
        REQUIRE(again.ok());
        CHECK(again->parts.empty());
        // A run can go on: the core takes the whole log in.
        Result<std::unique_ptr<Stepper>> stepper = Stepper::open(world.store(), world_board(), last, world.reader());
        REQUIRE(stepper.ok());
        CHECK((*stepper)->go_to(last).ok());
        // What goes out and comes in is the same board.
        std::ostringstream out;
        REQUIRE(write_board_lines(world.store(), world_board(), last, out).ok());
        std::istringstream in(out.str());
        const std::unique_ptr<StateStore> into = make_memory_store();
        const Result<BoardLines> taken = read_board_lines(in, {1}, world.reader(), *into);
        REQUIRE_MESSAGE(taken.ok(), (taken.ok() ? "" : taken.error().message));
        CHECK(taken->records == last.number);
        purged_entries += plan->entries.size();
        purged_payloads += plan->parts.size();
    }
    CHECK(purged_entries > 30);
    CHECK(purged_payloads > purged_entries);
}

TEST_CASE("a payload that went without a word is damage, and what cannot be purged is said") {
    const Purged made = busy_board(4);
    World& world = *made.world;
    const Position last = world.board().meta().last;
    CHECK(plan_purge(world.store(), world_board(), last, {{{"facts", 999}}, {}}).error().code == ErrorCode::not_found);
    CHECK(plan_purge(world.store(), world_board(), last, {{{"nothing", 1}}, {}}).error().code == ErrorCode::not_found);
    CHECK(plan_purge(world.store(), world_board(), last, {{{"count", 1}}, {}}).error().code ==
          ErrorCode::invalid_argument);
    CHECK(plan_purge(world.store(), world_board(), last, {{}, {"ab"}}).error().code == ErrorCode::invalid_argument);
    const Result<PurgePlan> crew = plan_purge(world.store(), world_board(), last, {{}, {"on_retract"}});
    REQUIRE(crew.ok());
    CHECK(crew->parts.empty());
    Result<PurgePlan> reason = plan_purge(world.store(), world_board(), last, {{}, {"could not say it"}});
    REQUIRE(reason.ok());
    REQUIRE_FALSE(reason->stays.empty());
    CHECK(reason->stays.front().find("its reason") != std::string::npos);

    const Result<PurgePlan> plan = plan_purge(world.store(), world_board(), last, {{{"facts", 1}}, {}});
    REQUIRE(plan.ok());
    REQUIRE_FALSE(plan->parts.empty());
    // No record says so.
    REQUIRE(purge_payloads(world.store(), world_board(), *plan, world.reader()).ok());
    const Result<VerifyReport> report = verify_board(world.store(), world_board(), std::nullopt, world.reader());
    REQUIRE(report.ok());
    REQUIRE_FALSE(report->damage.empty());
    CHECK(report->damage.front().find("no record says that it was purged") != std::string::npos);
}

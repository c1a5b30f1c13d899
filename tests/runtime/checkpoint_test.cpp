// Checkpoints at the edges: of a crew that does everything at once, with bytes that are not as they were written, and
// stored on a board. That a board resumed from one knows what a board that read its whole log knows is checked by every
// simulated world (tests/scheduler/simulation.hpp).
#include <doctest/doctest.h>

#include <random>
#include <string>

#include "runtime/verify.hpp"
#include "tests/runtime/crew_world.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

constexpr const char* everything = R"(
stele: 1
crew: everything
on_retract: flag
limits: {concurrency: 3}
regions:
  tasks:  {policy: append_only, entry: {n: integer}}
  state:  {policy: last_writer_wins, key: [name], entry: {name: string, n: integer}}
  found:  {policy: set_union, entry: {n: integer}}
  done:   {policy: append_only, entry: {n: integer}}
  spent:  {policy: counter}
sources:
  worker:
    kind: process
    command: [worker]
    when: [{each: tasks as t}, {none: state, where: {name: stop}}]
    limits: {attempts: 3}
    may: {read: [tasks, state], write: {done: [insert], found: [add], spent: [increment], state: [put]}}
  batcher:
    kind: process
    command: [batcher]
    wake: batch
    batch: {max: 4, within: 2s}
    when: [{each: done as d}]
    may: {read: [done], write: {state: [put]}}
  ticker:
    kind: process
    command: [ticker]
    when: [{every: 5s}]
    limits: {activations: 6}
    may: {read: [done], write: {state: [put]}}
  closer:
    kind: process
    command: [closer]
    when: [{idle: true}, {count: done, is: {gte: 3}}]
    may: {read: [done], write: {state: [put]}}
  quiet:
    kind: process
    command: [quiet]
    when: [{quiet: {region: tasks, for: 3s}}]
    may: {read: [tasks], write: {state: [put]}}
)";

std::unique_ptr<World> busy_world(std::uint32_t seed) {
    auto world = std::make_unique<World>(crew_from(everything), seed);
    world->script("worker", [](const Call& call) {
        Answer made = answer({write(WriteOp::insert, "done", call.bound(0).content), increment("spent", 2)});
        made.latency_ms = 5 + call.dice() % 40;
        if (call.dice() % 5 == 0) made = failure("broke");
        // A service, a model, and a model that others have asked the same.
        made.asks = {{"", {1, 0, 0, 0}, {1, 0, 0, 0}, {}}, {"m", {1, 10, 0, 0}, {1, 5, 0, 0}, {}}};
        made.asks.push_back({call.dice() % 2 == 0 ? "m" : "", {1, 10, 0, 0}, {1, 5, 0, 0}, {7, call.dice() % 3 + 1}});
        return made;
    });
    for (const char* name : {"batcher", "ticker", "closer", "quiet"}) {
        world->script(name, [name](const Call& call) {
            const std::string n = std::to_string(call.dice() % 4);
            return answer({put("state", R"({"name":")" + std::string(name) + R"(","n":)" + n + "}")});
        });
    }
    world->start_run();
    for (int round = 0; round < 12; ++round) {
        const std::string n = std::to_string(world->roll(5));
        switch (world->roll(5)) {
            case 0:
                world->commit({put("state", R"({"name":"stop","n":1})")});
                break;
            case 1:
                if (const std::size_t tasks = world->contents("tasks").size(); tasks > 0) {
                    world->commit({retract({"tasks", 1 + world->roll(static_cast<std::uint32_t>(tasks))})});
                }
                break;
            case 2:
                world->crash();
                break;
            default:
                world->commit({insert("tasks", "{\"n\":" + n + "}"), add("found", "{\"n\":" + n + "}")});
        }
        for (std::uint32_t steps = world->roll(6); steps > 0; --steps) {
            if (!world->end_some_attempt()) world->ring_if_due();
            for (std::uint32_t records = world->roll(8); records > 0; --records) world->fold_next();
        }
        if (!world->scheduler().is_running()) world->signal("resume");
    }
    return world;
}

}  // namespace

TEST_CASE("a crew that does everything at once is the same from its checkpoints") {
    for (std::uint32_t seed = 1; seed <= 40; ++seed) {
        CAPTURE(seed);
        const std::unique_ptr<World> world = busy_world(seed);
        const std::optional<std::string> difference = world->replay_difference();
        CHECK_MESSAGE(!difference, difference.value_or(""));
    }
}

TEST_CASE("bytes that are no checkpoint are refused or read, and never more than that") {
    const std::unique_ptr<World> world = busy_world(3);
    const std::string bytes = world->checkpoint();
    REQUIRE(world->load_checkpoint(bytes).ok());
    for (std::size_t size = 0; size < bytes.size(); size += 1 + size / 40) {
        CHECK_FALSE(world->load_checkpoint(bytes.substr(0, size)).ok());
    }
    CHECK_FALSE(world->load_checkpoint(bytes + "x").ok());
    std::mt19937 dice(1);
    std::size_t refused = 0;
    for (int i = 0; i < 1'500; ++i) {
        std::string other = bytes;
        for (std::uint32_t changes = 1 + dice() % 3; changes > 0; --changes) {
            other[dice() % other.size()] = static_cast<char>(dice() % 4 == 0 ? 0xff : dice());
        }
        refused += world->load_checkpoint(other).ok() ? 0 : 1;
    }
    CHECK(refused > 500);
}

TEST_CASE("a stored checkpoint is read back, and one that was touched is none") {
    const std::unique_ptr<World> world = busy_world(5);
    EntryStore& entries = world->board().entries();
    StoreBatch batch;
    const StoredCheckpoint kept{world->board().meta().last, world->board().meta().link, world->checkpoint()};
    entries.put_checkpoint(kept, batch);
    REQUIRE(world->store().apply(batch).ok());
    const Result<std::optional<StoredCheckpoint>> read = entries.checkpoint();
    REQUIRE(read.ok());
    REQUIRE(read->has_value());
    CHECK((*read)->at == kept.at);
    CHECK((*read)->link == kept.link);
    CHECK((*read)->state == kept.state);

    // `verify` makes the same from the log; another is stale and made anew.
    const auto verify = [&] {
        Result<VerifyReport> report = verify_board(world->store(), world_board(), std::nullopt, world->reader());
        REQUIRE(report.ok());
        for (const std::string& text : report->stale) INFO(text);
        return *report;
    };
    CHECK(verify().is_whole());
    StoredCheckpoint other = kept;
    other.state.back() ^= 1;
    batch.clear();
    entries.put_checkpoint(other, batch);
    REQUIRE(world->store().apply(batch).ok());
    REQUIRE(verify().stale.size() == 1);
    CHECK(verify().stale.front().starts_with("the checkpoint"));
    REQUIRE(repair_board(world->store(), world_board(), world->reader()).ok());
    CHECK(verify().is_whole());
    REQUIRE(entries.checkpoint().ok());
    CHECK((*entries.checkpoint())->state == kept.state);

    std::string key;
    std::string value;
    REQUIRE(world->store()
                .scan(Column::meta, "C", "D", false,
                      [&](std::string_view found, std::string_view stored) {
                          key = found;
                          value = stored;
                          return true;
                      })
                .ok());
    for (std::size_t at = 0; at < value.size(); at += 1 + at / 8) {
        std::string touched = value;
        touched[at] ^= 4;
        batch.clear();
        batch.put(Column::meta, key, touched);
        REQUIRE(world->store().apply(batch).ok());
        const Result<std::optional<StoredCheckpoint>> damaged = entries.checkpoint();
        // Its place and its link are held against the log by whoever takes it up.
        const bool is_head = damaged.ok() && ((*damaged)->at != kept.at || (*damaged)->link != kept.link);
        CHECK((is_head || !damaged.ok()));
        if (!damaged.ok()) CHECK(damaged.error().code == ErrorCode::corrupt);
    }
}

// Damage of every kind to a small board: each flipped bit of the log is found, each of what was derived is
// found and mended from the log.
#include "runtime/verify.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <map>

#include "board/limits.hpp"
#include "tests/runtime/crew_world.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

const char* const crew_text = R"(
stele: 1
crew: test
on_retract: flag
regions:
  facts:  {policy: append_only, entry: {name: string}}
  names:  {policy: set_union, key: [name], merge: {n: max}, entry: {name: string, n: integer}}
  state:  {policy: last_writer_wins, key: [name], entry: {name: string}}
  count:  {policy: counter}
sources:
  copy:
    kind: rule
    when: [{each: facts as f}]
    then:
      - add: names
        entry: {name: $f.name, n: 1}
      - put: state
        entry: {name: $f.name}
      - increment: count
        by: 2
    may: {read: [facts], write: {names: [add], state: [put], count: [increment]}}
)";

std::unique_ptr<World> small_board(int facts) {
    auto world = std::make_unique<World>(crew_from(crew_text));
    world->rules(declared_rules);
    for (int i = 0; i < facts; ++i) {
        world->commit({insert("facts", R"({"name":"f)" + std::to_string(i % 7) + "\"}")});
    }
    world->commit({insert("facts", R"({"name":")" + std::string(limits::blob_bytes_min, 'x') + "\"}")});
    world->start_run();
    world->run();
    world->commit({retract({"facts", 2})});
    world->signal("resume");
    world->run();
    return world;
}

VerifyReport verify(World& world) {
    Result<VerifyReport> report = verify_board(world.store(), world_board(), std::nullopt, world.reader());
    REQUIRE_MESSAGE(report.ok(), (report.ok() ? "" : report.error().message));
    return *report;
}

using Keys = std::map<std::string, std::string>;
Keys keys_of(const StateStore& store, Column column) {
    Keys keys;
    REQUIRE(store
                .scan(column, "", std::string(64, '\xff'), false,
                      [&](std::string_view key, std::string_view value) {
                          keys.emplace(key, value);
                          return true;
                      })
                .ok());
    return keys;
}

void put(StateStore& store, Column column, const std::string& key, std::optional<std::string> value) {
    StoreBatch batch;
    if (value) {
        batch.put(column, key, *value);
    } else {
        batch.erase(column, key);
    }
    REQUIRE(store.apply(batch).ok());
}

bool is_derived(Column column) {
    return column == Column::entries || column == Column::meta || column == Column::terms;
}

}  // namespace

TEST_CASE("a board as its run left it is whole, also where its index has sealed segments") {
    for (const int facts : {3, 400}) {
        const std::unique_ptr<World> world = small_board(facts);
        const VerifyReport report = verify(*world);
        CHECK(report.is_whole());
        CHECK(report.records == world->board().meta().last.number);
        CHECK(report.state_hash == world->board().state_hash());
        CHECK(report.keys > 20);
        for (const std::string& text : report.stale) MESSAGE(text);
        if (report.difference) MESSAGE(*report.difference);
    }
}

TEST_CASE("no flipped bit of a board goes unseen, and what was derived is mended") {
    const std::unique_ptr<World> world = small_board(3);
    REQUIRE(verify(*world).is_whole());
    StateStore& store = world->store();
    // Some bits of each value; every one with STELE_FLIP_ALL (scripts/long_tests.sh).
    const std::size_t stride = std::getenv("STELE_FLIP_ALL") == nullptr ? 41 : 1;
    std::size_t flips = 0;
    std::size_t step = 0;
    for (const Column column : {Column::log, Column::entries, Column::meta, Column::blobs, Column::terms}) {
        for (const auto& [key, value] : keys_of(store, column)) {
            // How often a blob is used is not asked by anything that answers.
            if (column == Column::blobs && key[8] == 'c') continue;
            for (std::size_t bit = step++ % stride; bit < value.size() * 8;
                 bit += stride == 1 ? 1 : stride + step++ % 5) {
                std::string damaged = value;
                damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
                put(store, column, key, damaged);
                const VerifyReport report = verify(*world);
                CHECK_MESSAGE(!report.is_whole(), "column " << int(column) << " bit " << bit);
                CHECK(report.is_repairable() == is_derived(column));
                put(store, column, key, value);
                ++flips;
            }
        }
    }
    CHECK(flips > 300);
    CHECK(verify(*world).is_whole());
}

TEST_CASE("what was derived is made anew from the log alone") {
    const std::unique_ptr<World> world = small_board(300);
    StateStore& store = world->store();
    std::map<Column, Keys> before;
    for (const Column column : {Column::entries, Column::meta, Column::terms}) {
        before[column] = keys_of(store, column);
        std::size_t i = 0;
        for (const auto& [key, value] : before[column]) {
            if (++i % 3 == 0) put(store, column, key, std::nullopt);
            if (i % 3 == 1) put(store, column, key, value + "x");
        }
    }
    put(store, Column::terms, before[Column::terms].begin()->first + "more", "new");
    const VerifyReport report = verify(*world);
    CHECK(report.is_repairable());
    CHECK(report.stale.size() >= 5);
    REQUIRE(repair_board(store, world_board(), world->reader()).ok());
    for (const auto& [column, keys] : before) CHECK(keys_of(store, column) == keys);
    CHECK(verify(*world).is_whole());
}

TEST_CASE("a record that is missing, exchanged or cut off is damage that names its place") {
    const std::unique_ptr<World> world = small_board(5);
    StateStore& store = world->store();
    const Keys log = keys_of(store, Column::log);
    const auto third = std::next(log.begin(), 2);
    put(store, Column::log, third->first, std::nullopt);
    REQUIRE(verify(*world).damage.size() == 1);
    CHECK(verify(*world).damage[0].find("3") != std::string::npos);
    put(store, Column::log, third->first, std::next(third)->second);
    CHECK(verify(*world).damage.size() == 1);
    put(store, Column::log, third->first, third->second);
    REQUIRE(verify(*world).is_whole());
    const HeadMark mark{world->board().meta().last, std::string(32, 'x')};
    const Result<VerifyReport> wrong = verify_board(store, world_board(), mark, world->reader());
    REQUIRE(wrong.ok());
    CHECK(wrong->damage.at(0).find("head mark") != std::string::npos);
    const HeadMark beyond{{world->board().meta().last.number + 1}, std::string(32, 'x')};
    const Result<VerifyReport> shorter = verify_board(store, world_board(), beyond, world->reader());
    REQUIRE(shorter.ok());
    CHECK(shorter->damage.at(0).find("had been written to disk") != std::string::npos);
    CHECK_FALSE(shorter->is_repairable());
}

// A fork has at every version what the log up to there makes of a board, down to the last derived key, and goes
// the way its parent went when it is told the same.
#include "runtime/fork.hpp"

#include <doctest/doctest.h>

#include "board/log/fork_store.hpp"
#include "runtime/crew_edit.hpp"
#include "runtime/verify.hpp"
#include "tests/runtime/crew_world.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

const std::string crew_head = R"(
stele: 1
crew: test
on_retract: flag
regions:
  facts:  {policy: append_only, entry: {name: string}}
  names:  {policy: set_union, key: [name], merge: {n: max}, entry: {name: string, n: integer}}
  words:  {policy: set_union, entry: {name: string}}
  state:  {policy: last_writer_wins, key: [name], entry: {name: string, n: integer?}}
  items:  {policy: cas, entry: {n: integer}}
  count:  {policy: counter}
)";
const std::string crew_tail = R"(
sources:
  copy:
    kind: rule
    when: [{each: facts as f}]
    then:
      - add: names
        entry: {name: $f.name, n: 1}
      - put: state
        entry: {name: $f.name}
    may: {read: [facts], write: {names: [add], state: [put]}}
)";

void write_at_random(World& world, int writes) {
    std::uint32_t facts = 0;
    for (int i = 0; i < writes; ++i) {
        const std::string name = "n" + std::to_string(world.roll(6));
        const std::string entry = R"({"name":")" + name + "\"}";
        const std::string counted = R"({"name":")" + name + R"(","n":)" + std::to_string(world.roll(4)) + "}";
        const std::string author = world.roll(2) == 0 ? "person" : "other";
        switch (world.roll(10)) {
            case 0:
                world.commit({insert("facts", entry)});
                ++facts;
                break;
            case 1:
            case 2:
                world.commit({add("names", counted)}, author);
                break;
            case 3:
                world.commit({remove("names", counted)}, author);
                break;
            case 4:
                world.commit({add("words", entry), put("state", counted)}, author);
                break;
            case 5:
                world.commit({remove("words", entry)}, author);
                break;
            case 6:
                world.commit({increment("count", static_cast<std::int64_t>(world.roll(5)) - 2)});
                break;
            case 7:
                if (facts > 0) world.commit({retract({"facts", 1 + world.roll(facts)})});
                break;
            case 8:
                world.commit({retract({world.roll(2) == 0 ? "names" : "words", 1 + world.roll(6)})});
                break;
            default:
                world.commit({insert("items", R"({"n":1})")});
        }
    }
}

std::unique_ptr<World> busy_board(std::uint32_t seed, int writes) {
    auto world = std::make_unique<World>(crew_from(crew_head + crew_tail), seed);
    world->rules(declared_rules);
    world->start_run();
    write_at_random(*world, writes);
    world->run();
    // Another crew, which knows a region more.
    world->signal("resume");
    world->reconfigure(crew_from(crew_head + "  extra: {policy: append_only, entry: {name: string}}\n" + crew_tail));
    world->commit({insert("extra", R"({"name":"late"})")});
    write_at_random(*world, writes);
    world->run();
    return world;
}

BoardInfo board_of(std::uint64_t number, const BoardInfo* parent, Position at) {
    BoardInfo board = world_board(number);
    board.address.board += std::to_string(number);
    if (parent != nullptr) {
        board.parent = parent->number;
        board.parent_name = parent->address.board;
        board.forked_at = at;
    }
    return board;
}

std::unique_ptr<StateStore> make_fork(StateStore& store, const BoardInfo& parent, Position last, const BoardInfo& child,
                                      const CrewReader& reader) {
    StoreBatch batch;
    const Status filled = fill_fork(store, parent, last, child, reader, batch);
    REQUIRE_MESSAGE(filled.ok(), (filled.ok() ? "" : filled.error().message));
    REQUIRE(store.apply(batch).ok());
    return make_fork_store(store, {child.number, parent.number, child.forked_at});
}

void check_whole(StateStore& store, const BoardInfo& board, const CrewReader& reader, Position records,
                 const Hash128& hash) {
    const Result<VerifyReport> report = verify_board(store, board, std::nullopt, reader);
    REQUIRE_MESSAGE(report.ok(), (report.ok() ? "" : report.error().message));
    for (const std::string& text : report->damage) FAIL_CHECK(text);
    for (const std::string& text : report->stale) FAIL_CHECK(text);
    if (report->difference) FAIL_CHECK(*report->difference);
    CHECK(report->records == records.number);
    CHECK(report->state_hash == hash);
}

// Tells a fork what was told its parent after it.
void go_on(StateStore& store, const BoardInfo& board, const CrewReader& reader, const std::vector<LoggedRecord>& log) {
    Result<std::unique_ptr<Board>> opened = Board::open(store, board.number, board.family);
    REQUIRE(opened.ok());
    Fold fold(**opened, reader);
    const std::unique_ptr<WriteLog> writer = make_store_log(store, board.number);
    Position last;
    REQUIRE(writer
                ->read({1},
                       [&](Position at, std::string_view bytes) {
                           Result<LoggedRecord> logged =
                               decode_frame(at, bytes, DecodeDepth::full, (*opened)->entries().blob_loader());
                           REQUIRE(logged.ok());
                           Result<Folded> folded = fold.feed(std::make_shared<const LoggedRecord>(std::move(*logged)));
                           REQUIRE(folded.ok());
                           REQUIRE(fold.step(*folded).ok());
                           last = at;
                           return true;
                       })
                .ok());
    REQUIRE(last == (*opened)->meta().last);
    REQUIRE(fold.keep_index(board.family).ok());
    for (const LoggedRecord& logged : log) {
        if (logged.position <= last) continue;
        StoreBatch batch;
        std::string frame;
        Result<Folded> folded = fold.take(logged.record, Salt{}, batch, frame);
        REQUIRE(folded.ok());
        CHECK(folded->logged->verdict == logged.verdict);
        const LogFrame frames[] = {{logged.position, std::move(frame)}};
        REQUIRE(writer->append(frames, std::move(batch)).ok());
        REQUIRE(fold.step(*folded).ok());
    }
}

Hash128 hash_at(const World& world, Position at) { return world.log[at.number - 1].verdict.state_hash; }

}  // namespace

TEST_CASE("a fork is at every version what the log up to there makes") {
    const std::unique_ptr<World> world = busy_board(7, 60);
    const BoardInfo parent = board_of(1, nullptr, {});
    const Position last = world->board().meta().last;
    check_whole(world->store(), parent, world->reader(), last, world->board().state_hash());
    std::uint64_t number = 2;
    Position first = world->scheduler().run();
    REQUIRE(first);
    for (Position at = first; at <= last; at.number += 2 + at.number % 5) {
        CAPTURE(at.number);
        const BoardInfo child = board_of(number++, &parent, at);
        const std::unique_ptr<StateStore> store = make_fork(world->store(), parent, last, child, world->reader());
        check_whole(*store, child, world->reader(), at, hash_at(*world, at));
    }
}

TEST_CASE("a fork of a log with sealed segments, and of another fork, goes the way of its parent") {
    const std::unique_ptr<World> world = busy_board(3, 4'900);
    const BoardInfo parent = board_of(1, nullptr, {});
    const Position last = world->board().meta().last;
    const IndexShape index;
    const std::uint64_t sealed = index.segment_records + index.segment_lag;
    REQUIRE(last.number > sealed + index.block_records + index.block_lag);
    std::uint64_t number = 2;
    // The index of records is that of the version, whatever its parent has stored since.
    for (const std::uint64_t at : {sealed - 1, sealed, sealed + index.block_lag - 1, sealed + index.block_lag}) {
        CAPTURE(at);
        const BoardInfo child = board_of(number++, &parent, {at});
        const std::unique_ptr<StateStore> store = make_fork(world->store(), parent, last, child, world->reader());
        check_whole(*store, child, world->reader(), {at}, hash_at(*world, {at}));
    }
    for (const std::uint64_t at : {std::uint64_t{index.segment_records} + 40}) {
        CAPTURE(at);
        const BoardInfo child = board_of(number++, &parent, {at});
        const std::unique_ptr<StateStore> store = make_fork(world->store(), parent, last, child, world->reader());
        const BoardInfo grandchild = board_of(number++, &child, {at - 300});
        const std::unique_ptr<StateStore> second = make_fork(*store, child, {at}, grandchild, world->reader());
        go_on(*second, grandchild, world->reader(), world->log);
        check_whole(*second, grandchild, world->reader(), last, world->board().state_hash());
        // What the grandchild wrote is its own.
        EntryStore untouched(*store, child.number, child.family);
        REQUIRE(untouched.load().ok());
        CHECK(untouched.meta().last == Position{at});
        // Nothing of what is shared was copied.
        std::uint64_t records = 0;
        std::string from;
        std::string to;
        for (int shift = 56; shift >= 0; shift -= 8) {
            from.push_back(static_cast<char>(grandchild.number.number >> shift & 0xff));
            to.push_back(static_cast<char>((grandchild.number.number + 1) >> shift & 0xff));
        }
        REQUIRE(
            world->store()
                .scan(Column::log, from, to, false, [&](std::string_view, std::string_view) { return ++records > 0; })
                .ok());
        CHECK(records == last.number - (at - 300));
    }
}

TEST_CASE("a scan over a fork gives what a scan over the whole board gives, in both directions and in part") {
    const std::unique_ptr<World> world = busy_board(11, 40);
    const BoardInfo parent = board_of(1, nullptr, {});
    const Position last = world->board().meta().last;
    const BoardInfo child = board_of(2, &parent, {last.number / 2});
    const std::unique_ptr<StateStore> store = make_fork(world->store(), parent, last, child, world->reader());
    go_on(*store, child, world->reader(), world->log);
    for (const Column column : {Column::log, Column::entries, Column::meta, Column::terms}) {
        for (const std::string kind : {"", "B", "R", "K", "A", "I", "H", "s", "y"}) {
            const bool has_kind = column == Column::meta || column == Column::terms;
            if (has_kind == kind.empty()) continue;
            const auto keys = [&](std::uint64_t board, StateStore& read, bool reverse, std::size_t most) {
                std::string from = kind;
                std::string to = kind;
                for (int shift = 56; shift >= 0; shift -= 8) {
                    from.push_back(static_cast<char>(board >> shift & 0xff));
                    to.push_back(static_cast<char>((board + 1) >> shift & 0xff));
                }
                std::vector<std::string> found;
                REQUIRE(read.scan(column, from, to, reverse,
                                  [&](std::string_view key, std::string_view) {
                                      found.push_back(std::string(key.substr(from.size())));
                                      return found.size() < most;
                                  })
                            .ok());
                return found;
            };
            for (const bool reverse : {false, true}) {
                for (const std::size_t most : {std::size_t{1}, std::size_t{7}, SIZE_MAX}) {
                    CHECK(keys(2, *store, reverse, most) == keys(1, world->store(), reverse, most));
                }
            }
        }
    }
}

TEST_CASE("settings change a crew in their places and nothing else") {
    const std::string text = R"(
stele: 1
crew: test
regions:
  facts:
    policy: append_only
    schema: {type: object, properties: {on: {enum: ["yes", 'no']}}}
sources:
  critic:
    kind: process
    command: [critic, "1", '0x10', "a: b # c"]
    when:
      - each: facts as f
        where: {name: {in: ["true", "null", 1, 1.5, true, null]}}
    limits: {timeout: 30s}
    may: {read: [facts]}
stop: {limits: {activations: 60}}
)";
    const Result<std::string> same = edit_crew(text, {});
    REQUIRE(same.ok());
    CHECK(crew_from(*same).sources[0].configuration_hash == crew_from(text).sources[0].configuration_hash);
    CHECK(crew_from(*same).sources[0].command == std::vector<std::string>{"critic", "1", "0x10", "a: b # c"});
    CHECK(*edit_crew(*same, {}) == *same);

    const Result<std::string> changed =
        edit_crew(text, {"critic.limits.timeout=5s", "critic.when.0.where.name.in.3=2.5", "stop.limits.activations=7",
                         "critic.priority=3", "critic.command=[other, x]"});
    REQUIRE_MESSAGE(changed.ok(), (changed.ok() ? "" : changed.error().message));
    const CrewSpec crew = crew_from(*changed);
    CHECK(crew.sources[0].limits.timeout_ms == 5'000);
    CHECK(crew.sources[0].priority == 3);
    CHECK(crew.sources[0].command == std::vector<std::string>{"other", "x"});
    CHECK(crew.stop.activations == 7);
    CHECK(to_json(crew.sources[0].when.terms[0].where[0].operand.literal) == R"(["true","null",1,2.5,true,null])");

    for (const char* wrong :
         {"critic", "=1", "critic=1", "crtic.timeout=5s", "critic..timeout=1", "critic.limits.timeout.x=1",
          "critic.command.9=x", "critic.command.x=y", "critic.limits=[", "critic.limits=*a"}) {
        CAPTURE(wrong);
        CHECK_FALSE(edit_crew(text, {wrong}).ok());
    }
}

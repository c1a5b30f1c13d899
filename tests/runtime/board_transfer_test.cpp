// A board that went out as JSON lines comes in as it was, and nothing that was done to the lines goes unseen.
#include "runtime/board_transfer.hpp"

#include <doctest/doctest.h>

#include <map>
#include <sstream>

#include "board/limits.hpp"
#include "board/log/keys.hpp"
#include "knowledge_sources/encodings.hpp"
#include "runtime/verify.hpp"
#include "runtime/wake_graph.hpp"
#include "tests/runtime/crew_world.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

const char* const crew_text = R"(
stele: 1
crew: test
regions:
  facts:  {policy: append_only, entry: {name: string}}
  names:  {policy: set_union, key: [name], merge: {n: max}, entry: {name: string, n: number}}
  count:  {policy: counter}
sources:
  copy:
    kind: rule
    when: [{each: facts as f}]
    then:
      - add: names
        entry: {name: $f.name, n: 0.5}
      - increment: count
        by: 2
    may: {read: [facts], write: {names: [add], count: [increment]}}
  ask:
    kind: process
    command: [ask]
    when: [{each: names as n}]
    may: {read: [names], write: {facts: [insert]}}
stop: {limits: {activations: 20}}
)";

std::unique_ptr<World> board() {
    auto world = std::make_unique<World>(crew_from(crew_text));
    world->rules(declared_rules);
    world->script("ask", [](const Call& call) {
        if (call.dice() % 2 == 0) return failure("said \"no\"\nand \xff");
        return answer({insert("facts", R"({"name":"\u2028 é)" + std::to_string(call.dice() % 3) + "\"}")});
    });
    for (int i = 0; i < 3; ++i) world->commit({insert("facts", R"({"name":"f)" + std::to_string(i) + "\"}")});
    const std::string large(limits::blob_bytes_min, 'x');
    world->commit({insert("facts", R"({"name":")" + large + "\"}"), insert("facts", R"({"name":")" + large + "\"}")});
    world->start_run();
    world->run();
    world->commit({retract({"facts", 2})});
    return world;
}

BoardInfo info(std::uint64_t number) {
    BoardInfo board = world_board(number);
    board.created = {77};
    return board;
}

std::string lines_of(World& world) {
    std::ostringstream out;
    REQUIRE(write_board_lines(world.store(), info(1), world.board().meta().last, out).ok());
    return out.str();
}

Result<BoardLines> read(const std::string& lines, World& world, StateStore& into) {
    std::istringstream in(lines);
    return read_board_lines(in, {9}, world.reader(), into);
}

std::map<std::string, std::string> keys_of(const StateStore& store, Column column, std::uint64_t board) {
    std::map<std::string, std::string> keys;
    std::string name;
    append_be64(name, board);
    REQUIRE(store
                .scan(column, "", std::string(64, '\xff'), false,
                      [&](std::string_view key, std::string_view value) {
                          std::string anonymous(key);
                          const std::size_t at = anonymous.find(name);
                          REQUIRE(at != std::string::npos);
                          keys.emplace(anonymous.erase(at, name.size()), value);
                          return true;
                      })
                .ok());
    return keys;
}

}  // namespace

TEST_CASE("a board that went out comes in as it was, to the last byte") {
    const std::unique_ptr<World> world = board();
    const std::string lines = lines_of(*world);
    const std::unique_ptr<StateStore> into = make_memory_store();
    const Result<BoardLines> taken = read(lines, *world, *into);
    REQUIRE_MESSAGE(taken.ok(), (taken.ok() ? "" : taken.error().message));
    CHECK(taken->header.board == "test");
    CHECK(taken->header.created == TimeMs{77});
    CHECK(taken->records == world->board().meta().last.number);
    for (const Column column : {Column::log, Column::entries, Column::meta, Column::blobs, Column::terms}) {
        CAPTURE(int(column));
        CHECK(keys_of(*into, column, 9) == keys_of(world->store(), column, 1));
    }
    const Result<VerifyReport> report = verify_board(*into, info(9), std::nullopt, world->reader());
    REQUIRE(report.ok());
    CHECK(report->is_whole());
    // And out again.
    std::ostringstream again;
    REQUIRE(write_board_lines(*into, info(9), {taken->records}, again).ok());
    CHECK(again.str() == lines);
    // A payload that two records share went out once.
    std::size_t blobs = 0;
    for (std::size_t at = lines.find("{\"blob\""); at != std::string::npos; at = lines.find("{\"blob\"", at + 1))
        ++blobs;
    CHECK(blobs == keys_of(world->store(), Column::blobs, 1).size() / 2);
}

TEST_CASE("every line is JSON for any reader") {
    const std::unique_ptr<World> world = board();
    std::istringstream in(lines_of(*world));
    std::size_t lines = 0;
    for (std::string line; std::getline(in, line); ++lines) {
        const Result<Value> value = parse_json(line);
        REQUIRE(value.ok());
        CHECK(value->is_object());
        CHECK(line.find("\xe2\x80\xa8") == std::string::npos);  // a line end to some
    }
    CHECK(lines > world->log.size());
}

TEST_CASE("no change to exported lines goes unseen") {
    const std::unique_ptr<World> world = board();
    const std::string lines = lines_of(*world);
    std::vector<std::string> split;
    std::istringstream in(lines);
    for (std::string line; std::getline(in, line);) split.push_back(line + "\n");
    const auto refused = [&](const std::string& changed) {
        const std::unique_ptr<StateStore> into = make_memory_store();
        const Result<BoardLines> taken = read(changed, *world, *into);
        if (taken.ok()) return false;
        CHECK_FALSE(taken.error().message.empty());
        return true;
    };
    const auto joined = [&] {
        std::string text;
        for (const std::string& line : split) text += line;
        return text;
    };
    CHECK(refused(""));
    CHECK(refused("{}\n"));
    CHECK(refused("not json\n"));
    CHECK(refused("{\"stele_board\":2}\n"));
    CHECK(refused(lines + "{}\n"));
    CHECK(refused(lines + "\n"));
    // A line is lost, comes twice, or changes places.
    for (std::size_t i = 0; i < split.size(); ++i) {
        CAPTURE(i);
        const std::string line = split[i];
        split[i].clear();
        CHECK(refused(joined()));
        split[i] = line + line;
        // The same blob twice harms nobody.
        if (line.rfind("{\"blob\"", 0) != 0) CHECK(refused(joined()));
        split[i] = line;
        if (i + 1 < split.size() && line.rfind("{\"blob\"", 0) != 0 && split[i + 1].rfind("{\"blob\"", 0) != 0) {
            std::swap(split[i], split[i + 1]);
            CHECK(refused(joined()));
            std::swap(split[i], split[i + 1]);
        }
    }
    // A character is another one. What the first line tells of the board's name, and white space, is nobody's.
    std::mt19937 dice(5);
    std::size_t unseen = 0;
    for (int i = 0; i < 400; ++i) {
        std::string changed = lines;
        const std::size_t at = split.front().size() + dice() % (lines.size() - split.front().size());
        const char was = changed[at];
        changed[at] = static_cast<char>(dice() % 256);
        if (changed[at] == was) continue;
        const bool seen = refused(changed);
        // The same value in another spelling, as \u0041 for A, is the same export.
        if (!seen) ++unseen;
    }
    CHECK(unseen == 0);
    for (std::size_t at = 0; at < lines.size(); at += 1 + lines.size() / 50) CHECK(refused(lines.substr(0, at)));
}

TEST_CASE("base64 has one spelling for each text") {
    std::mt19937 dice(1);
    for (int i = 0; i < 2'000; ++i) {
        std::string bytes(dice() % 40, '\0');
        for (char& c : bytes) c = static_cast<char>(dice());
        const std::string text = to_base64(bytes);
        CHECK(from_base64(text) == std::optional<std::string>(bytes));
        std::string other = text;
        if (other.empty()) continue;
        other[dice() % other.size()] = static_cast<char>(dice());
        const std::optional<std::string> read = from_base64(other);
        if (read) CHECK(to_base64(*read) == other);
    }
    for (const char* wrong : {"A", "AA", "AAA", "A===", "====", "AB==AAAA", "AA=A", "AAA\n", "AB==", "AAB="}) {
        CAPTURE(wrong);
        CHECK_FALSE(from_base64(wrong));
    }
}

TEST_CASE("the wake graph counts who woke whom") {
    const std::unique_ptr<World> world = board();
    const RecordWalk walk = [&](const std::function<bool(const LoggedRecord&)>& visit) -> Status {
        for (const LoggedRecord& logged : world->log) {
            if (!visit(logged)) break;
        }
        return Done{};
    };
    const Result<Graph> graph = wake_graph("test", world->board().entries(), walk);
    REQUIRE(graph.ok());
    // The slow way.
    std::map<std::pair<std::string, std::string>, std::set<std::uint64_t>> wanted;
    for (const LoggedRecord& logged : world->log) {
        const Record& record = logged.record;
        if (!logged.verdict.accepted || record.members.empty()) continue;
        if (record.kind == RecordKind::claimed ? record.attempt != 1 : record.kind != RecordKind::commit) continue;
        for (const MatchRecord& member : record.members) {
            for (const BoundEntry& bound : member.bound) {
                std::string author;
                for (const LoggedRecord& before : world->log) {
                    if (before.position >= logged.position) break;
                    for (std::size_t line = 0; line < before.record.writes.size(); ++line) {
                        if (written_entry(before, line) == bound.id &&
                            before.verdict.outcomes[line].effect != WriteOutcome::Effect::none) {
                            author = before.record.author;
                        }
                    }
                }
                wanted[{author, record.author}].insert(logged.position.number);
            }
        }
    }
    CHECK(wanted.size() == graph->edges.size());
    for (const Graph::Edge& edge : graph->edges) {
        const auto found = wanted.find({graph->nodes[edge.from].lines.front(), graph->nodes[edge.to].lines.front()});
        REQUIRE(found != wanted.end());
        CHECK(edge.label.substr(edge.label.rfind('x') + 1) == std::to_string(found->second.size()));
    }
}

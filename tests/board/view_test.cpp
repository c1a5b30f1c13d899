// Snapshots stay as they were while writers go on, and the store holds all that a board needs.
#include <random>

#include "board/limits.hpp"
#include "tests/board/support.hpp"
#include "tests/support/forwarding_store.hpp"

using namespace stele;
using namespace stele::board_test;

namespace {

std::vector<RegionSpec> regions_of_versions() {
    RegionSpec facts = region("facts", PolicyKind::set_union, {"k"});
    facts.merge = {{"n", MergeLaw::max}};
    return {region("notes", PolicyKind::append_only), region("status", PolicyKind::last_writer_wins, {"k"}), facts};
}

std::vector<Write> random_writes(std::mt19937_64& dice, const ModelState& state) {
    std::vector<Write> writes;
    for (std::uint64_t left = 1 + dice() % 3; left > 0; --left) {
        const std::int64_t k = static_cast<std::int64_t>(dice() % 7);
        const std::int64_t n = static_cast<std::int64_t>(dice() % 50);
        const Value content = Value::object({{"k", k}, {"n", n}});
        switch (dice() % 5) {
            case 0:
                writes.push_back(write(WriteOp::insert, "notes", content));
                break;
            case 1:
                writes.push_back(write(WriteOp::put, "status", content));
                break;
            case 2:
                writes.push_back(write(WriteOp::add, "facts", content));
                break;
            case 3:
                writes.push_back(write(WriteOp::remove, "facts", content));
                break;
            default: {
                const std::string name = dice() % 2 == 0 ? "notes" : "status";
                const std::uint64_t number = 1 + dice() % (state.at(name).size() + 1);
                const auto found = state.at(name).find(number);
                if (found != state.at(name).end() && found->second.active) {
                    writes.push_back(take(WriteOp::retract, name, number));
                }
            }
        }
    }
    return writes;
}

// What the newest record took the place of is known without reading; reading is the oracle.
void check_before(const EntryStore& entries) {
    const Position last = entries.meta().last;
    for (const RegionState& region : entries.regions()) {
        for (std::uint64_t number = 1; number < region.next_entry; ++number) {
            const Result<std::optional<EntryState>> known = entries.before(region.number, number, last);
            const Result<std::optional<EntryState>> read = entries.at(region.number, number, Position{last.number - 1});
            REQUIRE(known.ok());
            REQUIRE(read.ok());
            REQUIRE(known->has_value() == read->has_value());
            if (!known->has_value()) continue;
            CHECK((*known)->position == (*read)->position);
            CHECK((*known)->version == (*read)->version);
            CHECK((*known)->active == (*read)->active);
        }
    }
}

// Counts the keys that walks pass.
class CountingStore final : public ForwardingStore {
public:
    using ForwardingStore::ForwardingStore;
    Status scan(Column column, std::string_view from, std::string_view to, bool reverse,
                const std::function<bool(std::string_view, std::string_view)>& visit) const override {
        return ForwardingStore::scan(column, from, to, reverse, [&](std::string_view key, std::string_view value) {
            ++passed;
            return visit(key, value);
        });
    }

    mutable std::size_t passed = 0;
};

void check_view(const TestBoard& board, Position at, const ModelState& then) {
    CAPTURE(at.number);
    const View view = board.view(at);
    for (const auto& [name, region] : then) {
        CAPTURE(name);
        const std::vector<EntryPtr> forward = TestBoard::entries(view, name);
        REQUIRE_MESSAGE(difference(forward, region).empty(), difference(forward, region));
        std::vector<EntryPtr> backward = TestBoard::entries(view, name, true);
        std::reverse(backward.begin(), backward.end());
        REQUIRE_MESSAGE(difference(backward, region).empty(), difference(backward, region));
        const Result<std::uint64_t> count = view.count(name);
        REQUIRE(count.ok());
        REQUIRE(*count == forward.size());
        for (std::uint64_t number = 0; number <= region.size() + 2; ++number) {
            const auto expected = region.find(number);
            const Result<EntryPtr> any = view.find_any({name, number});
            const Result<EntryPtr> active = view.find({name, number});
            REQUIRE(any.ok());
            REQUIRE(active.ok());
            REQUIRE((*any != nullptr) == (expected != region.end()));
            REQUIRE((*active != nullptr) == (expected != region.end() && expected->second.active));
            if (*any == nullptr) continue;
            REQUIRE((*any)->active == expected->second.active);
            REQUIRE((*any)->version == expected->second.version);
            REQUIRE((*any)->position.number == expected->second.position);
            REQUIRE((*any)->content == expected->second.content);
        }
    }
}

}  // namespace

TEST_CASE("a view of any old version shows what the board was then, while writers go on") {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 dice(seed);
        const std::vector<RegionSpec> regions = regions_of_versions();
        TestBoard board(regions);
        const auto all_granted = [](std::string_view, std::string_view, WriteOp) { return true; };
        board.may_write = all_granted;
        ModelBoard model(regions, all_granted);
        std::map<std::uint64_t, ModelState> history = {{0, model.state()}, {board.last().number, model.state()}};
        for (int i = 0; i < 150; ++i) {
            const std::vector<Write> writes = random_writes(dice, model.state());
            const Position position = board.board().next_position();
            const auto refused = model.commit("web", writes, board.last().number, position.number);
            REQUIRE(board.commit("web", writes).accepted() == refused.empty());
            history[position.number] = model.state();
            check_before(board.board().entries());
            const auto some = std::next(history.begin(), static_cast<std::ptrdiff_t>(dice() % history.size()));
            check_view(board, {some->first}, some->second);
        }
        for (const auto& [position, state] : history) check_view(board, {position}, state);
        board.reopen();
        for (const auto& [position, state] : history) check_view(board, {position}, state);
    }
}

TEST_CASE("entries with long histories are walked over as short ones are, at every version and in both directions") {
    std::mt19937_64 dice(5);
    TestBoard board({region("status", PolicyKind::last_writer_wins, {"k"})});
    std::map<std::int64_t, std::int64_t> now;
    std::vector<std::pair<Position, std::map<std::int64_t, std::int64_t>>> history;
    for (std::int64_t i = 0; i < 600; ++i) {
        // Few keys at first, so that some entries have hundreds of versions and others come after those.
        const std::int64_t k = static_cast<std::int64_t>(dice() % static_cast<std::uint64_t>(2 + i / 100));
        board.commit("web", {write(WriteOp::put, "status", Value::object({{"k", k}, {"n", i}}))});
        now[k] = i;
        history.emplace_back(board.last(), now);
    }
    for (std::size_t i = 0; i < history.size(); i += 1 + dice() % 9) {
        const auto& [at, expected] = history[i];
        CAPTURE(at.number);
        std::map<std::int64_t, std::int64_t> seen;
        const std::vector<EntryPtr> forward = TestBoard::entries(board.view(at), "status");
        for (const EntryPtr& entry : forward)
            seen[entry->content.find("k")->as_int()] = entry->content.find("n")->as_int();
        CHECK(seen == expected);
        CHECK(forward.size() == expected.size());
        std::vector<EntryPtr> backward = TestBoard::entries(board.view(at), "status", true);
        std::reverse(backward.begin(), backward.end());
        CHECK(std::equal(
            forward.begin(), forward.end(), backward.begin(), backward.end(),
            [](const EntryPtr& a, const EntryPtr& b) { return a->id == b->id && a->content == b->content; }));
        std::size_t visits = 0;
        const Status walked = board.view(at).for_each("status", true, [&](const EntryPtr&) { return ++visits < 2; });
        REQUIRE(walked.ok());
        CHECK(visits == std::min<std::size_t>(2, expected.size()));
    }
}

TEST_CASE("a walk over a region costs what is there, and not what it was before") {
    TestBoard board({region("status", PolicyKind::last_writer_wins, {"k"})});
    for (std::int64_t i = 0; i < 3'000; ++i) {
        board.commit("web", {write(WriteOp::put, "status", Value::object({{"k", i % 3}, {"n", i}}))});
    }
    CountingStore counting(board.store());
    EntryStore entries(counting, board.board().entries().board(), FamilyKey{1, 2, 3});
    REQUIRE(entries.load().ok());
    for (const Position at : {board.last(), Position{board.last().number / 2}, Position{10}}) {
        for (const bool reverse : {false, true}) {
            CAPTURE(at.number);
            CAPTURE(reverse);
            counting.passed = 0;
            const Status walked = View(entries, at).for_each("status", reverse, [](const EntryPtr&) { return true; });
            REQUIRE(walked.ok());
            CHECK(counting.passed < 3 * 3 * 40);
        }
    }
}

TEST_CASE("an entry that a reader holds does not change under it") {
    TestBoard board({region("status", PolicyKind::last_writer_wins)});
    board.commit("web", {write(WriteOp::put, "status", R"({"v":1})")});
    const EntryPtr held = board.entry("status", 1);
    const View snapshot = board.view();
    board.commit("web", {write(WriteOp::put, "status", R"({"v":2})")});
    board.commit("web", {take(WriteOp::retract, "status", 1)});
    CHECK(held->content == json(R"({"v":1})"));
    const Result<EntryPtr> again = snapshot.find({"status", 1});
    REQUIRE(again.ok());
    REQUIRE(*again != nullptr);
    CHECK((*again)->content == json(R"({"v":1})"));
    CHECK((*again)->active);
}

TEST_CASE("walking over a region stops where the visitor says") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    for (int i = 0; i < 5; ++i) board.commit("web", {write(WriteOp::insert, "notes", Value::object({{"i", i}}))});
    board.commit("web", {take(WriteOp::retract, "notes", 5)});
    for (const bool reverse : {false, true}) {
        for (std::size_t stop_after = 1; stop_after <= 4; ++stop_after) {
            CAPTURE(reverse);
            std::vector<std::uint64_t> seen;
            const Status walked = board.view().for_each("notes", reverse, [&](const EntryPtr& entry) {
                seen.push_back(entry->id.number);
                return seen.size() < stop_after;
            });
            REQUIRE(walked.ok());
            REQUIRE(seen.size() == stop_after);
            for (std::size_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == (reverse ? 4 - i : 1 + i));
        }
    }
    CHECK(TestBoard::entries(board.view(), "nowhere").empty());
    const Result<std::uint64_t> nowhere = board.view().count("nowhere");
    REQUIRE(nowhere.ok());
    CHECK(*nowhere == 0);
}

TEST_CASE("regions and boards beside one another do not show each other's entries") {
    TestBoard board({region("a", PolicyKind::append_only), region("b", PolicyKind::append_only)});
    board.commit("web", {write(WriteOp::insert, "a", R"({"in":"a"})"), write(WriteOp::insert, "b", R"({"in":"b"})")});
    CHECK(board.entries("a").size() == 1);
    CHECK(board.entries("b").size() == 1);
    const Result<std::unique_ptr<Board>> neighbour = Board::open(board.store(), BoardNumber{4}, FamilyKey{1, 2, 3});
    REQUIRE(neighbour.ok());
    CHECK((*neighbour)->meta().last == Position{});
    CHECK((*neighbour)->entries().regions().empty());
}

TEST_CASE("a board opened again has the same head, regions, hashes and entries") {
    TestBoard board({region("notes", PolicyKind::append_only), region("tags", PolicyKind::set_union),
                     region("spend", PolicyKind::counter), scratch_region("web", PolicyKind::append_only),
                     region("untouched", PolicyKind::cas)});
    Write large =
        write(WriteOp::insert, "notes", Value::object({{"text", std::string(3 * limits::blob_bytes_min, 'x')}}));
    large.why = "kept whole";
    board.commit("web", {large, write(WriteOp::add, "tags", R"({"t":1})"), increment("spend", 7)});
    board.commit("docs", {write(WriteOp::add, "tags", R"({"t":1})"), large});
    board.commit("web", {write(WriteOp::insert, "scratch", "{}"), take(WriteOp::retract, "notes", 1)});
    board.commit("web", {write(WriteOp::insert, "nowhere", "{}")});

    const BoardMeta meta = board.board().meta();
    const std::vector<RegionState> regions = board.board().entries().regions();
    const Hash128 hash = board.board().state_hash();
    board.reopen();

    const BoardMeta& again = board.board().meta();
    CHECK(again.last == meta.last);
    CHECK(again.version == meta.version);
    CHECK(again.version < again.last);
    CHECK(again.link == meta.link);
    CHECK(again.time == meta.time);
    CHECK(board.board().state_hash() == hash);
    REQUIRE(board.board().entries().regions().size() == regions.size());
    for (std::size_t i = 0; i < regions.size(); ++i) {
        const RegionState& region = board.board().entries().regions()[i];
        CAPTURE(region.name);
        CHECK(region.name == regions[i].name);
        CHECK(region.number == regions[i].number);
        CHECK(region.next_entry == regions[i].next_entry);
        CHECK(region.active_entries == regions[i].active_entries);
        CHECK(region.sum == regions[i].sum);
        CHECK(region.digest == regions[i].digest);
        CHECK(region.last_change == regions[i].last_change);
        CHECK(region.scratch == regions[i].scratch);
        CHECK(region.has_adds == regions[i].has_adds);
    }
    CHECK(board.entry("tags", 1)->authors == std::vector<std::string>{"web", "docs"});
    CHECK(board.entry("notes", 2)->content == large.content);
    CHECK(board.entry("notes", 2)->reason == "kept whole");
    CHECK_FALSE(board.is_active("notes", 1));
    check_accepted(
        board.commit("web", {write(WriteOp::insert, "untouched", "{}"), write(WriteOp::add, "tags", R"({"t":1})")}));
    CHECK(board.entries("tags").size() == 1);
}

TEST_CASE("a reader that has caught up shows new authors of an entry whose version stayed the same") {
    TestBoard board({region("tags", PolicyKind::set_union)});
    board.commit("web", {write(WriteOp::add, "tags", R"({"t":1})")});
    EntryStore reader(board.store(), BoardNumber{3}, FamilyKey{1, 2, 3});
    REQUIRE(reader.load().ok());
    const Result<EntryPtr> before = View(reader, reader.meta().last).find({"tags", 1});
    REQUIRE(before.ok());
    CHECK((*before)->authors.size() == 1);

    board.commit("docs", {write(WriteOp::add, "tags", R"({"t":1})")});
    REQUIRE(reader.load().ok());
    const Result<EntryPtr> after = View(reader, reader.meta().last).find({"tags", 1});
    REQUIRE(after.ok());
    CHECK((*after)->authors == std::vector<std::string>{"web", "docs"});
}

TEST_CASE("one large payload is stored once and counted, whoever writes it") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    const Write large =
        write(WriteOp::insert, "notes", Value::object({{"text", std::string(limits::blob_bytes_min, 'x')}}));
    board.commit("web", {large, large});
    board.commit("docs", {large});
    std::vector<std::string> values;
    const Status walked = board.store().scan(Column::blobs, "", std::string(40, '\xff'), false,
                                             [&](std::string_view, std::string_view value) {
                                                 values.emplace_back(value);
                                                 return true;
                                             });
    REQUIRE(walked.ok());
    REQUIRE(values.size() == 2);
    CHECK((values[0] == large.text) != (values[1] == large.text));
    CHECK((values[0] == "\3") != (values[1] == "\3"));
    board.reopen();
    for (const EntryPtr& entry : board.entries("notes")) CHECK(entry->content == large.content);
}

TEST_CASE("what no longer fits the caches is read from the store") {
    constexpr std::int64_t count = limits::entry_cache_entries_max + 2'000;
    TestBoard board({region("items", PolicyKind::cas, {"k"}), region("notes", PolicyKind::append_only)});
    std::vector<Write> writes;
    for (std::int64_t k = 0; k < count; ++k) {
        writes.push_back(write(WriteOp::insert, "items", Value::object({{"k", k}})));
    }
    check_accepted(board.commit("seed", std::move(writes)));
    CHECK(board.changes(*board.logged().back()).size() == count);
    const Hash128 full = board.board().state_hash();

    for (const std::int64_t k : {std::int64_t{0}, count / 2, count - 1}) {
        const std::uint64_t number = static_cast<std::uint64_t>(k) + 1;
        check_refused(board.commit("web", {write(WriteOp::insert, "items", Value::object({{"k", k}}))}), 1,
                      RefusalRule::conflict, "replace it instead");
        check_accepted(board.commit("web", {replace("items", number, 1, Value::object({{"k", k}, {"v", 1}}))}));
        check_refused(board.commit("docs", {replace("items", number, 1, Value::object({{"k", k}, {"v", 2}}))}), 1,
                      RefusalRule::conflict, "expected version 1 of items/" + std::to_string(number) + ", found 2");
        check_accepted(board.commit("docs", {replace("items", number, 2, Value::object({{"k", k}}))}));
    }
    CHECK(board.board().state_hash() == full);
    std::uint64_t walked = 0;
    const Status status = board.view().for_each("items", false, [&](const EntryPtr& entry) {
        ++walked;
        return entry->content.find("k")->as_int() + 1 == static_cast<std::int64_t>(entry->id.number);
    });
    REQUIRE(status.ok());
    CHECK(walked == count);
    CHECK(board.state("items").active_entries == count);
}

TEST_CASE("a record that the log lost is named when an entry needs it") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    board.commit("web", {write(WriteOp::insert, "notes", "{}")});
    std::string key;
    const Status walked = board.store().scan(Column::log, "", std::string(17, '\xff'), true,
                                             [&](std::string_view last, std::string_view) {
                                                 key = last;
                                                 return false;
                                             });
    REQUIRE(walked.ok());
    StoreBatch batch;
    batch.erase(Column::log, key);
    REQUIRE(board.store().apply(batch).ok());
    board.reopen();
    const Result<EntryPtr> lost = board.view().find({"notes", 1});
    REQUIRE_FALSE(lost.ok());
    CHECK(lost.error().code == ErrorCode::corrupt);
    CHECK(lost.error().message == "record 2 is missing from the log");
    const Status walk = board.view().for_each("notes", false, [](const EntryPtr&) { return true; });
    CHECK_FALSE(walk.ok());
}

TEST_CASE("a damaged head, region, entry or key is refused and not guessed") {
    TestBoard board({region("tags", PolicyKind::set_union)});
    board.commit("web", {write(WriteOp::add, "tags", R"({"t":1})")}, {}, "once");
    struct Damage {
        Column column;
        const char* begins;
    };
    for (const Damage& damage : {Damage{Column::meta, "B"}, Damage{Column::meta, "R"}, Damage{Column::meta, "A"},
                                 Damage{Column::meta, "K"}, Damage{Column::meta, "I"}, Damage{Column::entries, ""}}) {
        CAPTURE(damage.begins);
        std::string key;
        std::string value;
        const std::string from = damage.begins;
        const Status walked = board.store().scan(damage.column, from, from + std::string(40, '\xff'), false,
                                                 [&](std::string_view found, std::string_view bytes) {
                                                     key = found;
                                                     value = bytes;
                                                     return false;
                                                 });
        REQUIRE(walked.ok());
        REQUIRE_FALSE(key.empty());
        StoreBatch cut;
        cut.put(damage.column, key, value.substr(0, value.size() - 1));
        REQUIRE(board.store().apply(cut).ok());

        const Result<std::unique_ptr<Board>> opened = Board::open(board.store(), BoardNumber{3}, FamilyKey{1, 2, 3});
        std::vector<ErrorCode> codes;
        if (!opened.ok()) {
            codes.push_back(opened.error().code);
        } else {
            const EntryStore& entries = (*opened)->entries();
            const Result<EntryPtr> entry = (*opened)->view((*opened)->meta().last).find({"tags", 1});
            const Result<std::optional<std::uint64_t>> number = entries.number_of_key(0, R"({"t":1})");
            const Result<std::optional<Position>> used = entries.position_of_key("once");
            if (!entry.ok()) codes.push_back(entry.error().code);
            if (!number.ok()) codes.push_back(number.error().code);
            if (!used.ok()) codes.push_back(used.error().code);
        }
        CHECK(codes == std::vector<ErrorCode>{ErrorCode::corrupt});
        StoreBatch whole;
        whole.put(damage.column, key, value);
        REQUIRE(board.store().apply(whole).ok());
    }
}

TEST_CASE("how full a region was at any version is what counting its entries there says") {
    TestBoard board({region("notes", PolicyKind::append_only), region("status", PolicyKind::last_writer_wins, {"k"}),
                     region("budget", PolicyKind::counter), region("rare", PolicyKind::append_only)});
    board.may_write = [](std::string_view, std::string_view, WriteOp) { return true; };
    std::mt19937_64 dice(17);
    for (int i = 0; i < 700; ++i) {
        std::vector<Write> writes;
        const std::uint64_t known = board.state("notes").next_entry;
        switch (dice() % 6) {
            case 0:
                writes.push_back(write(WriteOp::insert, "notes", Value::object({{"n", i}})));
                writes.push_back(write(WriteOp::insert, "notes", Value::object({{"n", -i}})));
                break;
            case 1:
                writes.push_back(increment("budget", static_cast<std::int64_t>(dice() % 100) - 50));
                break;
            case 2:
                writes.push_back(take(WriteOp::retract, "notes", 1 + dice() % known));
                break;
            case 3:
                writes.push_back(take(WriteOp::retract, "budget", 1 + dice() % board.state("budget").next_entry));
                break;
            case 4:
                writes.push_back(take(WriteOp::retract, "status", 1 + dice() % board.state("status").next_entry));
                break;
            default:
                writes.push_back(write(WriteOp::put, "status",
                                       Value::object({{"k", static_cast<std::int64_t>(dice() % 5)}, {"n", i}})));
        }
        if (i == 100) writes.push_back(write(WriteOp::insert, "rare", Value::object({{"n", i}})));
        board.commit("scout", std::move(writes));
    }
    board.reopen();
    for (std::uint64_t at = 1; at <= board.last().number; at += 1 + dice() % 9) {
        CAPTURE(at);
        for (const char* name : {"notes", "status", "budget", "rare"}) {
            CAPTURE(name);
            const std::vector<EntryPtr> entries = TestBoard::entries(board.view({at}), name);
            std::int64_t sum = 0;
            if (std::string(name) == "budget") {
                for (const EntryPtr& entry : entries) sum += entry->content.find("by")->as_int();
            }
            const Result<RegionCount> count = board.board().entries().count_at(board.state(name).number, {at});
            REQUIRE(count.ok());
            CHECK(count->active_entries == entries.size());
            CHECK(count->sum == sum);
        }
    }
}

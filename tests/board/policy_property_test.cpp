// What the merge laws promise under any interleaving of writers with old snapshots, tried at
// random. Every failure prints the seed that leads to it.
#include <random>
#include <set>

#include "tests/board/support.hpp"

using namespace stele;
using namespace stele::board_test;

namespace {

class Dice {
public:
    explicit Dice(std::uint64_t seed) : engine_(seed) {}
    /// 0 to below `sides`.
    std::uint64_t roll(std::uint64_t sides) { return engine_() % sides; }
    bool one_in(std::uint64_t sides) { return roll(sides) == 0; }
    template <class T>
    const T& pick(const std::vector<T>& choices) {
        return choices[roll(choices.size())];
    }
    std::mt19937_64& engine() { return engine_; }

private:
    std::mt19937_64 engine_;
};

/// Anything from `age_max` versions ago until now.
Position some_snapshot(Dice& dice, Position last, std::uint64_t age_max) {
    const std::uint64_t age = dice.roll(std::min(age_max, last.number) + 1);
    return {last.number - age};
}

const std::vector<std::string> writers = {"web", "docs", "planner"};

std::vector<RegionSpec> one_region_of_each_law() {
    RegionSpec facts = region("facts", PolicyKind::set_union, {"k", "unit"});
    facts.merge = {{"low", MergeLaw::min}, {"high", MergeLaw::max}, {"all", MergeLaw::set_union}};
    return {region("notes", PolicyKind::append_only),
            region("tags", PolicyKind::set_union),
            facts,
            owned_region("plan", "planner", {"k"}),
            owned_region("focus", "planner"),
            region("cell", PolicyKind::cas),
            region("items", PolicyKind::cas, {"k"}),
            region("status", PolicyKind::last_writer_wins, {"k"}),
            region("flag", PolicyKind::last_writer_wins),
            region("spend", PolicyKind::counter),
            scratch_region("web", PolicyKind::last_writer_wins, {"k"}),
            scratch_region("docs", PolicyKind::set_union)};
}

bool random_grants(std::string_view author, std::string_view region, WriteOp op) {
    if (op == WriteOp::retract) return author == "planner";
    return !(author == "docs" && region == "flag");
}

Value random_content(Dice& dice) {
    Value content = Value::object({{"k", static_cast<std::int64_t>(dice.roll(5))}});
    if (dice.one_in(4)) content.set("unit", dice.one_in(2) ? Value() : Value("km"));
    if (dice.one_in(2)) content.set("low", static_cast<std::int64_t>(dice.roll(4)));
    if (dice.one_in(2)) content.set("high", Value::number(static_cast<double>(dice.roll(8)) / 2));
    if (dice.one_in(3)) {
        content.set("all",
                    dice.one_in(3) ? Value("a") : Value(Value::Array{Value("b"), Value(std::int64_t(dice.roll(3)))}));
    }
    return content;
}

/// The version that an entry has, had, or never had.
std::uint32_t some_version(Dice& dice, const ModelState& state, const std::string& region, std::uint64_t number) {
    const auto found = state.at(region).find(number);
    const std::uint32_t version = found == state.at(region).end() ? 1 : found->second.version;
    if (dice.one_in(6)) return 0;
    return dice.one_in(4) ? version + 1 - static_cast<std::uint32_t>(dice.roll(3)) : version;
}

Write random_write(Dice& dice, const std::string& author, const ModelBoard& model) {
    static const std::vector<std::string> names = {"notes", "tags",   "facts", "plan",  "focus",  "cell",
                                                   "items", "status", "flag",  "spend", "scratch"};
    static const std::vector<WriteOp> all = {WriteOp::insert,  WriteOp::add,     WriteOp::remove,   WriteOp::put,
                                             WriteOp::replace, WriteOp::retract, WriteOp::increment};
    if (dice.one_in(300)) return write(WriteOp::insert, dice.one_in(2) ? "nowhere" : "scratch/web", Value::object({}));
    const std::string& name = dice.pick(names);
    const std::string actual = resolve_region(name, author);
    const auto spec = model.specs().find(actual);
    const std::vector<WriteOp> lawful = spec == model.specs().end() ? all : operations_of(spec->second.policy);
    const WriteOp op = dice.one_in(100) ? dice.pick(all) : dice.pick(lawful);
    if (op == WriteOp::increment) {
        if (dice.one_in(12)) return increment(name, dice.one_in(2) ? INT64_MAX : INT64_MIN);
        return increment(name, static_cast<std::int64_t>(dice.roll(2000)) - 1000);
    }
    Write made = write(op, name, random_content(dice));
    const bool names_entry =
        op == WriteOp::retract || op == WriteOp::replace || (op == WriteOp::remove && dice.one_in(2));
    if (names_entry && spec != model.specs().end()) {
        made.number = 1 + dice.roll(model.state().at(actual).size() + (dice.one_in(20) ? 1 : 0) + 1);
        if (made.number > 12 && !dice.one_in(4)) made.number = model.state().at(actual).size() - dice.roll(8);
        made.expected_version = some_version(dice, model.state(), actual, made.number);
    }
    return made;
}

Hash128 hash_from_scratch(const ModelBoard& model, const EntryStore& entries) {
    Hash128 hash;
    for (const auto& [name, region] : model.state()) {
        if (model.specs().at(name).policy == PolicyKind::counter) {
            const std::int64_t sum = ModelBoard::sum(region).value_or(0);
            if (sum != 0) hash += entries.digest_of(name, std::to_string(sum));
            continue;
        }
        for (const auto& [number, entry] : region) {
            if (entry.active) hash += entries.digest_of(name, to_json(entry.content));
        }
    }
    return hash;
}

void check_same(TestBoard& board, const ModelBoard& model) {
    for (const auto& [name, region] : model.state()) {
        CAPTURE(name);
        const std::string different = difference(board.entries(name), region);
        REQUIRE_MESSAGE(different.empty(), different);
        const RegionState& state = board.state(name);
        const auto active = std::count_if(region.begin(), region.end(), [](const auto& e) { return e.second.active; });
        REQUIRE(state.active_entries == static_cast<std::uint64_t>(active));
        REQUIRE(state.next_entry == region.size() + 1);
        if (model.specs().at(name).policy == PolicyKind::counter) REQUIRE(state.sum == ModelBoard::sum(region));
    }
    REQUIRE(board.board().state_hash() == hash_from_scratch(model, board.board().entries()));
}

// What changes_of says must be the difference between the model before and after.
void check_changes(const TestBoard& board, const ModelState& before, const ModelState& after) {
    std::map<EntryId, std::pair<std::uint32_t, std::uint32_t>> expected;  // versions, 0: not active
    for (const auto& [name, region] : after) {
        for (const auto& [number, entry] : region) {
            const auto old = before.at(name).find(number);
            const bool was = old != before.at(name).end() && old->second.active;
            const std::uint32_t was_version = was ? old->second.version : 0;
            const std::uint32_t is_version = entry.active ? entry.version : 0;
            if (was_version != is_version) expected[{name, number}] = {was_version, is_version};
        }
    }
    std::map<EntryId, std::pair<std::uint32_t, std::uint32_t>> said;
    for (const EntryChange& change : board.changes(*board.logged().back())) {
        const auto kind = !change.before ? EntryChange::Kind::added
                          : change.after ? EntryChange::Kind::updated
                                         : EntryChange::Kind::removed;
        REQUIRE(change.kind == kind);
        const bool first = said.emplace(change.id, std::pair(change.before ? change.before->version : 0U,
                                                             change.after ? change.after->version : 0U))
                               .second;
        REQUIRE(first);
    }
    REQUIRE(said == expected);
}

void compare_with_model(std::uint64_t seed, int commits) {
    CAPTURE(seed);
    Dice dice(seed);
    const std::vector<RegionSpec> regions = one_region_of_each_law();
    TestBoard board(regions);
    board.may_write = random_grants;
    ModelBoard model(regions, random_grants);
    for (int round = 0; round < commits; ++round) {
        CAPTURE(round);
        const std::string& author = dice.pick(writers);
        const Position snapshot = some_snapshot(dice, board.last(), dice.one_in(3) ? 30 : 2);
        std::vector<Write> writes;
        const std::uint64_t count = 1 + dice.roll(dice.one_in(3) ? 6 : 2);
        while (writes.size() < count) {
            Write made = random_write(dice, author, model);
            // Most writes lawful by themselves, or hardly any commit of several would get through.
            ModelBoard trial = model;
            const bool lawful = trial.commit(author, {made}, snapshot.number, board.last().number + 1).empty();
            if (lawful || dice.one_in(12)) writes.push_back(std::move(made));
        }

        const ModelState before = model.state();
        const Position position = board.board().next_position();
        const std::map<std::uint32_t, RefusalRule> expected =
            model.commit(author, writes, snapshot.number, position.number);
        const Decision decision = board.commit(author, writes, snapshot);
        std::map<std::uint32_t, RefusalRule> refused;
        for (const Refusal& refusal : decision.refusals) refused[refusal.line] = refusal.rule;
        REQUIRE_MESSAGE(refused == expected, refusals_text(decision));
        if (decision.accepted()) {
            for (std::size_t i = 0; i < writes.size(); ++i) {
                const ModelOutcome& outcome = model.outcomes()[i];
                CAPTURE(i);
                REQUIRE(decision.outcomes[i].effect == outcome.effect);
                REQUIRE(decision.outcomes[i].number == outcome.number);
                REQUIRE(decision.outcomes[i].version == outcome.version);
            }
        }
        check_same(board, model);
        check_changes(board, before, model.state());
        if (dice.one_in(200)) board.reopen();
    }
    const auto accepted = std::count_if(board.logged().begin(), board.logged().end(),
                                        [](const auto& logged) { return logged->verdict.accepted; });
    CHECK(accepted > commits / 2);
    CHECK(accepted < commits);
    // The model once more, from nothing but the accepted commits.
    ModelBoard again(regions, random_grants);
    for (const auto& logged : board.logged()) {
        const Record& record = logged->record;
        if (record.kind != RecordKind::commit || !logged->verdict.accepted) continue;
        REQUIRE(again.commit(record.author, record.writes, record.snapshot.number, logged->position.number).empty());
    }
    check_same(board, again);
}

/// The active contents of a region, whatever their numbers and order.
std::multiset<std::string> contents(const TestBoard& board, const std::string& region) {
    std::multiset<std::string> texts;
    for (const EntryPtr& entry : board.entries(region)) texts.insert(to_json(entry->content));
    return texts;
}

}  // namespace

TEST_CASE("a board does what a naive model of its laws does, commit by commit") {
    for (std::uint64_t seed = 1; seed <= 4; ++seed) compare_with_model(seed, 500);
}

TEST_CASE("append_only regions lose nothing, however old the writers' snapshots are") {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        CAPTURE(seed);
        Dice dice(seed);
        TestBoard board({region("notes", PolicyKind::append_only)});
        std::vector<std::string> written;
        for (std::int64_t i = 0; i < 400; ++i) {
            std::vector<Write> writes;
            for (std::uint64_t n = dice.roll(3) + 1; n > 0; --n) {
                writes.push_back(write(WriteOp::insert, "notes", Value::object({{"i", i}, {"n", std::int64_t(n)}})));
                written.push_back(writes.back().text);
            }
            REQUIRE(board.commit(dice.pick(writers), writes, some_snapshot(dice, board.last(), 100)).accepted());
        }
        std::vector<std::string> found;
        for (const EntryPtr& entry : board.entries("notes")) found.push_back(to_json(entry->content));
        CHECK(found == written);
    }
}

TEST_CASE("a set_union converges whatever the order of its adds") {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
        CAPTURE(seed);
        Dice dice(seed);
        struct Add {
            std::string author;
            Write write;
        };
        std::vector<Add> adds;
        for (int i = 0; i < 60; ++i) {
            adds.push_back(
                {dice.pick(writers), write(WriteOp::add, dice.one_in(3) ? "tags" : "facts", random_content(dice))});
        }
        std::optional<Hash128> hash;
        std::optional<std::multiset<std::string>> tags;
        std::optional<std::multiset<std::string>> facts;
        for (int order = 0; order < 5; ++order) {
            TestBoard board(one_region_of_each_law());
            for (const Add& add : adds) {
                REQUIRE(board.commit(add.author, {add.write}, some_snapshot(dice, board.last(), 60)).accepted());
            }
            if (!hash) hash = board.board().state_hash();
            if (!tags) tags = contents(board, "tags");
            if (!facts) facts = contents(board, "facts");
            CHECK(board.board().state_hash() == *hash);
            CHECK(contents(board, "tags") == *tags);
            CHECK(contents(board, "facts") == *facts);
            std::shuffle(adds.begin(), adds.end(), dice.engine());
        }
    }
}

TEST_CASE("authors of a set_union entry are those whose adds no remove has taken away") {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        CAPTURE(seed);
        Dice dice(seed);
        TestBoard board({region("tags", PolicyKind::set_union)});
        std::map<std::uint64_t, std::string> adds;  // by position
        std::string version_author;
        bool active = false;
        for (int i = 0; i < 300; ++i) {
            CAPTURE(i);
            const std::string& author = dice.pick(writers);
            const Position snapshot = some_snapshot(dice, board.last(), 6);
            const bool is_add = !dice.one_in(3);
            board.commit(author, {write(is_add ? WriteOp::add : WriteOp::remove, "tags", R"({"t":1})")}, snapshot);
            if (is_add) {
                if (!active) version_author = author;
                adds[board.last().number] = author;
            } else {
                adds.erase(adds.begin(), adds.upper_bound(snapshot.number));
            }
            active = !adds.empty();
            const std::vector<EntryPtr> shown = board.entries("tags");
            REQUIRE(shown.size() == (active ? 1 : 0));
            if (!active) continue;
            std::set<std::string> expected = {version_author};
            for (const auto& [position, name] : adds) expected.insert(name);
            REQUIRE(std::set<std::string>(shown[0]->authors.begin(), shown[0]->authors.end()) == expected);
        }
    }
}

TEST_CASE("compare-and-set loses no update among writers with stale snapshots") {
    constexpr int updates = 10'000;
    const std::uint64_t seed = 11;
    CAPTURE(seed);
    Dice dice(seed);
    TestBoard board({region("cell", PolicyKind::cas)});
    board.commit("web", {write(WriteOp::insert, "cell", R"({"n":0})")});
    std::int64_t accepted = 0;
    int conflicts = 0;
    for (int i = 0; i < updates; ++i) {
        Position snapshot = some_snapshot(dice, board.last(), 3);
        if (snapshot < Position{2}) snapshot = {2};
        const Result<EntryPtr> read = board.view(snapshot).find({"cell", 1});
        REQUIRE(read.ok());
        REQUIRE(*read != nullptr);
        const std::int64_t next = (*read)->content.find("n")->as_int() + 1;
        const Decision decision = board.commit(
            dice.pick(writers), {replace("cell", 1, (*read)->version, Value::object({{"n", next}}))}, snapshot);
        if (decision.accepted()) {
            REQUIRE(next == ++accepted);
            continue;
        }
        ++conflicts;
        REQUIRE(decision.refusals.size() == 1);
        REQUIRE(decision.refusals[0].rule == RefusalRule::conflict);
        REQUIRE(*decision.refusals[0].current.find("entry") == Value::object({{"n", accepted}}));
        REQUIRE(*decision.refusals[0].current.find("version") == Value(accepted + 1));
    }
    CHECK(board.entry("cell", 1)->content == Value::object({{"n", accepted}}));
    CHECK(accepted > updates / 10);
    CHECK(conflicts > updates / 10);
}

TEST_CASE("nobody but its owner ever changes a single_writer region, and never over what it had not seen") {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        CAPTURE(seed);
        Dice dice(seed);
        TestBoard board({owned_region("plan", "planner", {"k"})});
        std::map<std::int64_t, Position> written;
        for (int i = 0; i < 500; ++i) {
            const std::string& author = dice.pick(writers);
            const Position snapshot = some_snapshot(dice, board.last(), 8);
            const std::int64_t key = static_cast<std::int64_t>(dice.roll(4));
            const Decision decision =
                board.commit(author, {write(WriteOp::put, "plan", Value::object({{"k", key}, {"i", i}}))}, snapshot);
            const bool lawful = author == "planner" && (written.count(key) == 0 || written[key] <= snapshot);
            REQUIRE(decision.accepted() == lawful);
            if (lawful) written[key] = board.last();
        }
        for (const EntryPtr& entry : board.entries("plan")) CHECK(entry->author == "planner");
    }
}

TEST_CASE("last_writer_wins keeps every version that it overwrote readable at its own time") {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        CAPTURE(seed);
        Dice dice(seed);
        TestBoard board({region("status", PolicyKind::last_writer_wins)});
        std::vector<std::pair<Position, std::int64_t>> history;
        for (std::int64_t i = 0; i < 200; ++i) {
            REQUIRE(board
                        .commit(dice.pick(writers), {write(WriteOp::put, "status", Value::object({{"i", i}}))},
                                some_snapshot(dice, board.last(), 50))
                        .accepted());
            history.emplace_back(board.last(), i);
        }
        for (const auto& [position, i] : history) {
            const Result<EntryPtr> then = board.view(position).find({"status", 1});
            REQUIRE(then.ok());
            REQUIRE(*then != nullptr);
            CHECK((*then)->content == Value::object({{"i", i}}));
            CHECK((*then)->version == static_cast<std::uint32_t>(i + 1));
        }
    }
}

TEST_CASE("a counter is the sum of its active increments and never leaves int64") {
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        CAPTURE(seed);
        Dice dice(seed);
        TestBoard board({region("spend", PolicyKind::counter)});
        board.may_write = [](std::string_view, std::string_view, WriteOp) { return true; };
        std::map<std::uint64_t, std::int64_t> active;
        std::uint64_t next = 1;
        for (int i = 0; i < 500; ++i) {
            CAPTURE(i);
            std::map<std::uint64_t, std::int64_t> then = active;
            Write made;
            if (dice.one_in(3) && !active.empty()) {
                const auto taken = std::next(then.begin(), static_cast<std::ptrdiff_t>(dice.roll(then.size())));
                made = take(WriteOp::retract, "spend", taken->first);
                then.erase(taken);
            } else {
                const std::int64_t by = static_cast<std::int64_t>(dice.engine()()) >> dice.roll(8);
                made = increment("spend", by);
                then[next] = by;
            }
            __extension__ __int128 sum = 0;
            for (const auto& [number, by] : then) sum += by;
            const bool fits = sum >= INT64_MIN && sum <= INT64_MAX;
            const Decision decision = board.commit(dice.pick(writers), {made});
            REQUIRE(decision.accepted() == fits);
            if (!fits) {
                REQUIRE(decision.refusals[0].rule == RefusalRule::overflow);
                continue;
            }
            if (made.op == WriteOp::increment) ++next;
            active = then;
            REQUIRE(board.state("spend").sum == static_cast<std::int64_t>(sum));
        }
    }
}

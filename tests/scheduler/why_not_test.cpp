// Explanations of random conditions on random boards: they say "holds" exactly when the re-evaluating matcher
// finds a match, and the writes they offer make it find one.
#include "scheduler/why_not.hpp"

#include <doctest/doctest.h>

#include "board/schema.hpp"
#include "tests/scheduler/match_worlds.hpp"

using namespace stele;
using namespace stele::match_worlds;

namespace {

constexpr std::int64_t run_began = 1'000;

std::map<std::string, RegionSpec> random_laws(Dice& dice) {
    std::map<std::string, RegionSpec> laws;
    static constexpr PolicyKind kinds[] = {PolicyKind::append_only, PolicyKind::cas, PolicyKind::last_writer_wins,
                                           PolicyKind::set_union};
    for (const std::string& name : region_names) {
        RegionSpec spec;
        spec.name = name;
        spec.policy = kinds[roll(dice, 4)];
        if (spec.policy == PolicyKind::last_writer_wins) spec.key = {"b"};
        laws[name] = std::move(spec);
    }
    return laws;
}

BoardMoment random_board(Dice& dice, const std::map<std::string, RegionSpec>& laws) {
    BoardMoment board;
    board.version = {10'000};
    board.run = {run_began - 1};
    board.run_time = {run_began};
    board.now = {run_began + roll(dice, 300)};
    for (const auto& [name, spec] : laws) {
        RegionMemory& memory = board.regions[name];
        std::set<std::string> keys;
        for (std::uint32_t i = roll(dice, 6); i > 0; --i) {
            Value content = random_content(dice);
            const Value* b = content.find("b");
            const std::string key = spec.key.empty() ? to_json(content) : b == nullptr ? "null" : to_json(*b);
            const bool keyed = spec.policy == PolicyKind::set_union || !spec.key.empty();
            if (keyed && !keys.insert(key).second) continue;
            const std::int64_t time = run_began + roll(dice, static_cast<std::uint32_t>(board.now.ms - run_began) + 1);
            const std::uint32_t version = spec.policy == PolicyKind::append_only ? 1 : 1 + roll(dice, 2);
            memory.active[i] = made({name, i}, version, {static_cast<std::uint64_t>(time)}, time, std::move(content));
            memory.last_change = std::max(memory.last_change.value_or(TimeMs{}), TimeMs{time});
        }
    }
    return board;
}

bool matches(const Condition& condition, const BoardMoment& board) {
    WatchedCondition watched;
    watched.name = "test";
    watched.condition = &condition;
    const std::unique_ptr<Matcher> matcher = make_reevaluating_matcher({watched});
    std::multimap<TimeMs, const RegionMemory*> by_time;
    for (const auto& [name, memory] : board.regions) by_time.emplace(memory.last_change.value_or(TimeMs{}), &memory);
    matcher->begin_run(board.run, board.run_time);
    std::uint64_t position = 2;
    for (const auto& [time, memory] : by_time) {
        std::vector<EntryChange> changes;
        for (const auto& [number, entry] : memory->active) {
            changes.push_back({EntryChange::Kind::added, entry->id, nullptr, entry});
        }
        if (!changes.empty()) matcher->commit({position++}, time, changes);
    }
    matcher->clock({position}, board.now);
    return !matcher->all_matches(0).empty();
}

// As the laws of the regions have it.
void apply(BoardMoment& board, const std::map<std::string, RegionSpec>& laws, const Write& write, std::int64_t time) {
    RegionMemory& memory = board.regions[write.region];
    const RegionSpec& spec = laws.at(write.region);
    memory.last_change = TimeMs{time};
    if (write.op == WriteOp::retract) {
        REQUIRE(memory.active.erase(write.number) == 1);
        return;
    }
    std::uint64_t number = 1'000 + memory.active.size();
    std::uint32_t version = 1;
    if (write.op == WriteOp::replace) {
        REQUIRE(memory.active.count(write.number) == 1);
        number = write.number;
        version = memory.active[number]->version + 1;
        REQUIRE(write.expected_version == version - 1);
    } else if (write.op == WriteOp::put) {
        REQUIRE(spec.policy == PolicyKind::last_writer_wins);
        const Value* key = write.content.find("b");
        for (const auto& [known, entry] : memory.active) {
            const Value* theirs = entry->content.find("b");
            if ((key == nullptr ? Value() : *key) != (theirs == nullptr ? Value() : *theirs)) continue;
            number = known;
            version = entry->version + 1;
        }
    } else if (write.op == WriteOp::add) {
        REQUIRE(spec.policy == PolicyKind::set_union);
        for (const auto& [known, entry] : memory.active) REQUIRE(entry->content != write.content);
    } else {
        REQUIRE(write.op == WriteOp::insert);
        REQUIRE((spec.policy == PolicyKind::append_only || spec.policy == PolicyKind::cas));
    }
    memory.active[number] = made({write.region, number}, version, {20'000}, time, write.content);
}

}  // namespace

TEST_CASE("an explanation holds when the matcher says so, and the edit it offers makes it hold") {
    int held = 0;
    int not_held = 0;
    int edited = 0;
    int waited = 0;
    for (std::uint32_t seed = 0; seed < 6'000; ++seed) {
        CAPTURE(seed);
        Dice dice(seed);
        const std::map<std::string, RegionSpec> laws = random_laws(dice);
        const BoardMoment board = random_board(dice, laws);
        const Condition condition = random_condition(dice);
        const WhyNot answer = why_not(condition, board, [&](const std::string& name) {
            const auto found = laws.find(name);
            return found == laws.end() ? nullptr : &found->second;
        });
        REQUIRE(answer.holds == matches(condition, board));
        REQUIRE(answer.terms.size() == condition.terms.size());
        const bool all = std::all_of(answer.terms.begin(), answer.terms.end(),
                                     [](const TermState& state) { return state.holds.value_or(false); });
        REQUIRE(all == answer.holds);
        if (answer.holds) {
            ++held;
            CHECK(answer.edit.empty());
            continue;
        }
        ++not_held;
        if (answer.edit.empty() && !answer.wait_until) {
            CHECK_FALSE(answer.no_edit.empty());
            continue;
        }
        BoardMoment after = board;
        for (const Write& write : answer.edit) apply(after, laws, write, board.now.ms);
        if (answer.wait_until) {
            after.now = std::max(after.now, *answer.wait_until);
            ++waited;
        }
        ++edited;
        CHECK(matches(condition, after));
    }
    MESSAGE(held << " held, " << not_held << " did not, for " << edited << " of them an edit was found, " << waited
                 << " with a wait");
    CHECK(held > 500);
    // Most of these conditions ask for what contradicts itself.
    CHECK(edited > 1'000);
    CHECK(waited > 50);
}

TEST_CASE("a term tells what is nearest and what it lacks") {
    Condition condition;
    Term term;
    term.kind = TermKind::each;
    term.region = "facts";
    term.variable = 0;
    condition.variables = {"f"};
    Comparison topic;
    topic.path = {"topic"};
    topic.operand.literal = Value("churn");
    Comparison size;
    size.path = {"size"};
    size.op = CompareOp::gt;
    size.operand.literal = Value(3);
    term.where = {topic, size};
    condition.terms = {term};
    RegionSpec spec;
    spec.name = "facts";
    BoardMoment board;
    board.version = {9};
    board.run = {1};
    board.now = {50};
    RegionMemory& facts = board.regions["facts"];
    facts.last_change = TimeMs{40};
    facts.active[1] = made({"facts", 1}, 1, {3}, 30, Value::object({{"topic", "price"}, {"size", 1}}));
    facts.active[2] = made({"facts", 2}, 1, {4}, 35, Value::object({{"topic", "churn"}, {"size", 2}}));
    facts.active[3] = made({"facts", 3}, 1, {5}, 40, Value::object({{"topic", "price"}, {"size", 2}}));
    const WhyNot answer = why_not(condition, board, [&](const std::string&) { return &spec; });
    REQUIRE(answer.terms.size() == 1);
    const TermState& state = answer.terms.front();
    CHECK(state.holds == std::optional<bool>(false));
    CHECK(state.entries == 3);
    CHECK(state.passing == 0);
    REQUIRE(state.nearest);
    CHECK(state.nearest->id.number == 2);
    REQUIRE(state.failed.size() == 1);
    CHECK(state.failed.front().comparison == &condition.terms.front().where[1]);
    CHECK(state.failed.front().value == std::optional<Value>(Value(2)));
    CAPTURE(answer.no_edit);
    REQUIRE(answer.edit.size() == 1);
    CHECK(answer.edit.front().op == WriteOp::insert);
    CHECK(to_json(answer.edit.front().content) == R"({"size":4,"topic":"churn"})");
}

TEST_CASE("no edit is offered where nobody could write it") {
    Condition condition;
    Term term;
    term.kind = TermKind::exists;
    term.region = "facts";
    Comparison author;
    author.attribute = Attribute::author;
    author.operand.literal = Value("scout");
    term.where = {author};
    condition.terms = {term};
    RegionSpec spec;
    spec.name = "facts";
    BoardMoment board;
    board.version = {9};
    board.run = {1};
    board.now = {50};
    WhyNot answer = why_not(condition, board, [&](const std::string&) { return &spec; });
    CHECK(answer.edit.empty());
    CHECK(answer.no_edit.find("author") != std::string::npos);

    // What would do does not fit the schema.
    Comparison& level = condition.terms.front().where.front();
    level.attribute = Attribute::content;
    level.path = {"level"};
    level.op = CompareOp::gt;
    level.operand.literal = Value(3);
    spec.schema = EntrySchema::from_fields({*EntrySchema::parse_field("name", "string")});
    answer = why_not(condition, board, [&](const std::string&) { return &spec; });
    CHECK(answer.edit.empty());
    CHECK(answer.no_edit.find("schema") != std::string::npos);
}

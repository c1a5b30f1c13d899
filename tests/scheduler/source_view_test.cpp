// What a source sees, against the slow and obvious way: list everything that passes, sort, cut.
#include <doctest/doctest.h>

#include <algorithm>
#include <random>

#include "scheduler/evaluate.hpp"
#include "scheduler/source_view.hpp"
#include "tests/board/support.hpp"

using namespace stele;
using namespace stele::board_test;

namespace {

/// Ranks by a shuffled list that is made beforehand, holding numbers that are on no board as well.
class FakeRanker : public TextRanker {
public:
    Result<std::vector<std::uint64_t>> rank(std::string_view, std::string_view text, std::size_t most) override {
        asked_text = text;
        asked_most = most;
        std::vector<std::uint64_t> first(order.begin(),
                                         order.begin() + static_cast<std::ptrdiff_t>(std::min(most, order.size())));
        return first;
    }
    std::vector<std::uint64_t> order;
    std::string asked_text;
    std::size_t asked_most = 0;
};

Comparison at_least(const char* field, int value) {
    Comparison comparison;
    comparison.path = {field};
    comparison.op = CompareOp::gte;
    comparison.operand.literal = Value(value);
    return comparison;
}

SourceSpec source_with(ViewPart part) {
    SourceSpec source;
    source.name = "reader";
    source.view_declared = true;
    source.view.push_back(std::move(part));
    return source;
}

ViewPart part_of(std::string region) {
    ViewPart part;
    part.region = std::move(region);
    return part;
}

std::vector<std::uint64_t> numbers(const std::vector<EntryPtr>& entries) {
    std::vector<std::uint64_t> found;
    for (const EntryPtr& entry : entries) found.push_back(entry->id.number);
    return found;
}

using Numbers = std::vector<std::uint64_t>;

/// Everything that passes, best first by sorting all of it; then the cuts, one after the other.
ViewRegion slowly(const ViewPart& part, const View& view, const std::vector<EntryPtr>& bindings,
                  const std::vector<std::uint64_t>& order) {
    std::vector<EntryPtr> passing;
    for (const EntryPtr& entry : TestBoard::entries(view, part.region)) {
        if (passes(part.where, *entry, bindings)) passing.push_back(entry);
    }
    std::vector<EntryPtr> left = passing;
    if (part.relevant_to) {
        left.clear();
        for (std::size_t i = 0; i < order.size() && i < part.relevant * 4 + 64; ++i) {
            for (const EntryPtr& entry : passing) {
                if (entry->id.number == order[i] && left.size() < part.relevant) left.push_back(entry);
            }
        }
    }
    if (!part.top_by.empty()) {
        const auto rank_of = [&](const EntryPtr& entry) {
            const std::optional<Value> value = value_at(*entry, Attribute::content, part.top_by);
            const bool is_number = value && value->is_number();
            return std::make_tuple(is_number ? 0 : 1, is_number ? -value->as_double() : 0.0,
                                   -static_cast<double>(entry->id.number));
        };
        std::sort(left.begin(), left.end(),
                  [&](const EntryPtr& a, const EntryPtr& b) { return rank_of(a) < rank_of(b); });
        if (left.size() > part.top) left.resize(part.top);
    }
    std::sort(left.begin(), left.end(),
              [](const EntryPtr& a, const EntryPtr& b) { return a->id.number < b->id.number; });
    const bool is_ranked = part.relevant_to || !part.top_by.empty();
    if (!is_ranked || part.last_declared) {
        while (left.size() > part.last) left.erase(left.begin());
    }
    return {part.region, left, passing.size() - left.size()};
}

}  // namespace

TEST_CASE("top shows the entries with the greatest numbers, the newer of two equals, in order of number") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    board.commit("a", {write(WriteOp::insert, "notes", R"({"s":3})"), write(WriteOp::insert, "notes", R"({"s":"9"})"),
                       write(WriteOp::insert, "notes", R"({"s":7.5})"), write(WriteOp::insert, "notes", R"({"s":3})"),
                       write(WriteOp::insert, "notes", R"({})")});
    ViewPart part = part_of("notes");
    part.top_by = {"s"};
    const auto top = [&](std::uint64_t most) {
        part.top = most;
        const Result<std::vector<ViewRegion>> seen = look(source_with(part), {}, board.view());
        REQUIRE(seen.ok());
        REQUIRE(seen->size() == 1);
        CHECK(seen->front().omitted == 5 - seen->front().entries.size());
        return numbers(seen->front().entries);
    };
    CHECK(top(1) == Numbers{3});
    CHECK(top(2) == Numbers{3, 4});
    CHECK(top(3) == Numbers{1, 3, 4});
    CHECK(top(4) == Numbers{1, 3, 4, 5});  // no number: the newest of these, because there is room
    CHECK(top(9) == Numbers{1, 2, 3, 4, 5});
    CHECK(top(0).empty());
    part.last_declared = true;
    part.last = 1;
    CHECK(top(3) == Numbers{4});
}

TEST_CASE("relevant shows the nearest that the snapshot holds and the filter lets pass") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    for (int i = 1; i <= 6; ++i) board.commit("a", {write(WriteOp::insert, "notes", Value::object({{"n", i}}))});
    const Position before = board.last();
    board.commit("a", {write(WriteOp::insert, "notes", R"({"n":7})")});
    FakeRanker ranker;
    ranker.order = {7, 99, 5, 1, 6, 2};
    ViewPart part = part_of("notes");
    part.relevant_to = Operand{Value("some words"), std::nullopt};
    part.relevant = 2;
    part.where = {at_least("n", 2)};
    const Result<std::vector<ViewRegion>> seen = look(source_with(part), {}, board.view(before), &ranker);
    REQUIRE(seen.ok());
    CHECK(numbers(seen->front().entries) == Numbers{5, 6});
    CHECK(seen->front().omitted == 3);
    CHECK(ranker.asked_text == "some words");
    CHECK(ranker.asked_most == 2 * 4 + 64);
}

TEST_CASE("without a ranker, a part that ranks by text shows nothing and counts all as left out") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    board.commit("a", {write(WriteOp::insert, "notes", R"({"n":1})"), write(WriteOp::insert, "notes", R"({"n":2})")});
    ViewPart part = part_of("notes");
    part.relevant_to = Operand{Value("words"), std::nullopt};
    part.relevant = 5;
    const Result<std::vector<ViewRegion>> seen = look(source_with(part), {}, board.view());
    REQUIRE(seen.ok());
    CHECK(seen->front().entries.empty());
    CHECK(seen->front().omitted == 2);
    const Result<std::set<EntryId>> ids = shown_ids(source_with(part), {}, board.view());
    REQUIRE(ids.ok());
    CHECK(ids->empty());
}

TEST_CASE("the text that is ranked by is the bound string, or all strings of what is bound") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    board.commit("a", {write(WriteOp::insert, "notes", R"({"n":4,"text":"why so","tags":["x","y z"]})")});
    const std::vector<EntryPtr> bindings = {board.entry("notes", 1)};
    FakeRanker ranker;
    ViewPart part = part_of("notes");
    part.relevant = 1;
    const auto asked = [&](Operand operand) {
        part.relevant_to = std::move(operand);
        ranker.asked_text = "not asked";
        REQUIRE(look(source_with(part), bindings, board.view(), &ranker).ok());
        return ranker.asked_text;
    };
    VariableRef reference;
    reference.path = {"text"};
    CHECK(asked({Value(), reference}) == "why so");
    reference.path = {};
    CHECK(asked({Value(), reference}) == "x\ny z\nwhy so");
    reference.path = {"absent"};
    CHECK(asked({Value(), reference}) == "not asked");
    reference.variable = 7;
    CHECK(asked({Value(), reference}) == "not asked");
}

TEST_CASE("views agree with listing, sorting and cutting everything") {
    const std::uint32_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto below = [&](std::uint32_t n) { return static_cast<int>(random() % n); };
    for (int round = 0; round < 60; ++round) {
        TestBoard board({region("notes", PolicyKind::append_only)});
        std::vector<Position> versions = {board.last()};
        std::uint64_t written = 0;
        for (int i = below(80); i > 0; --i) {
            if (written > 0 && below(6) == 0) {
                board.may_write = [](std::string_view, std::string_view, WriteOp) { return true; };
                Write retract = take(WriteOp::retract, "notes", 1 + random() % written);
                retract.why = "wrong";
                board.commit("a", {retract});
            } else {
                Value content = Value::object({{"n", below(9)}});
                if (below(5) != 0) content.set("s", below(3) == 0 ? Value::number(below(7) + 0.5) : Value(below(7)));
                if (below(9) == 0) content.set("s", "no number");
                board.commit("a", {write(WriteOp::insert, "notes", content)});
                ++written;
            }
            versions.push_back(board.last());
        }
        FakeRanker ranker;
        for (std::uint64_t number = 1; number <= written + 5; ++number) ranker.order.push_back(number);
        std::shuffle(ranker.order.begin(), ranker.order.end(), random);
        for (int asked = 0; asked < 12; ++asked) {
            ViewPart part = part_of("notes");
            if (below(2) == 0) part.where = {at_least("n", below(9))};
            if (below(2) == 0) {
                part.top_by = {"s"};
                part.top = random() % 12;
            }
            if (below(2) == 0) {
                part.relevant_to = Operand{Value("words"), std::nullopt};
                part.relevant = random() % 12;
            }
            if (below(2) == 0) {
                part.last_declared = true;
                part.last = random() % 20;
            }
            const View view = board.view(versions[random() % versions.size()]);
            const Result<std::vector<ViewRegion>> seen = look(source_with(part), {}, view, &ranker);
            REQUIRE(seen.ok());
            const ViewRegion expected = slowly(part, view, {}, ranker.order);
            REQUIRE(numbers(seen->front().entries) == numbers(expected.entries));
            REQUIRE(seen->front().omitted == expected.omitted);
        }
    }
}

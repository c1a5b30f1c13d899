// What a write asks of groups: which answers changed, found by the numbers that it passed, against asking
// every predicate before and after.
#include "scheduler/group_table.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <set>
#include <vector>

using namespace stele;
using namespace stele::matching;

namespace {

EntryPtr entry_with(std::uint64_t number, Value amount) {
    auto entry = std::make_shared<Entry>();
    entry->id = {"e", number};
    entry->version = 1;
    entry->content = Value::object({{"amount", std::move(amount)}});
    return entry;
}

Term asking(TermKind kind, std::vector<std::pair<CompareOp, Value>> is) {
    Term term;
    term.kind = kind;
    term.region = "e";
    if (kind != TermKind::none && kind != TermKind::exists && kind != TermKind::count) term.field = {"amount"};
    for (auto& [op, value] : is) {
        Comparison comparison;
        comparison.op = op;
        comparison.operand.literal = std::move(value);
        term.is.push_back(std::move(comparison));
    }
    return term;
}

std::vector<std::optional<Value>> measures_of(const GroupTable& table, const Group& group) {
    std::vector<std::optional<Value>> values;
    for (std::size_t i = 0; i < table.measures(); ++i) values.push_back(table.measure(i, &group));
    return values;
}

std::vector<bool> answers_of(const GroupTable& table, const Group& group) {
    std::vector<bool> answers;
    for (std::uint32_t i = 0; i < table.predicates().size(); ++i) answers.push_back(table.holds(i, &group));
    return answers;
}

}  // namespace

TEST_CASE("no answer changes unless a constant was passed") {
    constexpr CompareOp ops[] = {CompareOp::eq,  CompareOp::ne, CompareOp::lt,
                                 CompareOp::lte, CompareOp::gt, CompareOp::gte};
    constexpr TermKind kinds[] = {TermKind::none, TermKind::exists, TermKind::count, TermKind::sum,
                                  TermKind::avg,  TermKind::min,    TermKind::max};
    for (std::uint32_t seed = 1; seed <= 60; ++seed) {
        std::mt19937 dice(seed);
        const auto roll = [&](std::uint32_t sides) { return static_cast<std::uint32_t>(dice() % sides); };
        const auto number = [&]() -> Value {
            switch (roll(5)) {
                case 0:
                    return Value(static_cast<std::int64_t>(roll(9)) - 4);
                case 1:
                    return Value::number((static_cast<double>(roll(9)) - 4) / 2);
                // Where doubles round whole numbers: order must hold nevertheless.
                case 2:
                    return Value((std::int64_t{1} << 53) + static_cast<std::int64_t>(roll(4)));
                case 3:
                    return Value::number(1e300);
                default:
                    return Value(std::int64_t{0});
            }
        };
        GroupTable table("e", {}, {}, "all");
        const EntryTable nothing;
        for (std::uint32_t i = 0; i < 40; ++i) {
            const TermKind kind = kinds[roll(7)];
            std::vector<std::pair<CompareOp, Value>> is;
            if (kind != TermKind::none && kind != TermKind::exists) {
                for (std::uint32_t j = roll(3); j-- > 0;) is.emplace_back(ops[roll(6)], number());
            }
            Term term = asking(kind, std::move(is));
            term.again_on_change = roll(8) == 0;
            table.predicate(term, nothing);
        }
        Group& group = table.get({1, 1});
        std::vector<EntryPtr> entries;
        for (std::uint32_t step = 0; step < 80; ++step) {
            const auto before = measures_of(table, group);
            const std::vector<bool> was = answers_of(table, group);
            if (entries.empty() || roll(2) == 0) {
                entries.push_back(entry_with(step + 1, roll(6) == 0 ? Value("no number") : number()));
                table.add(group, *entries.back());
            } else {
                const std::size_t which = roll(static_cast<std::uint32_t>(entries.size()));
                table.remove(group, *entries[which]);
                entries.erase(entries.begin() + static_cast<long>(which));
            }
            const auto after = measures_of(table, group);
            const std::vector<bool> now = answers_of(table, group);
            std::vector<std::uint32_t> found(table.asked_singly());
            for (std::size_t i = 0; i < table.measures(); ++i) {
                std::vector<std::uint32_t> passed;
                table.find_passed(i, before[i], after[i], passed);
                for (const std::uint32_t predicate : passed) {
                    CHECK(table.holds_at(predicate, before[i]) == was[predicate]);
                    CHECK(table.holds_at(predicate, after[i]) == now[predicate]);
                }
                found.insert(found.end(), passed.begin(), passed.end());
            }
            const std::set<std::uint32_t> asked(found.begin(), found.end());
            for (std::uint32_t i = 0; i < was.size(); ++i) {
                if (was[i] != now[i]) CHECK_MESSAGE(asked.count(i) == 1, "seed ", seed, ", predicate ", i);
            }
        }
    }
}

TEST_CASE("of ten thousand thresholds a write asks those that it passed") {
    GroupTable table("e", {}, {}, "all");
    const EntryTable nothing;
    for (std::int64_t i = 1; i <= 10'000; ++i) {
        table.predicate(asking(TermKind::count, {{CompareOp::gte, Value(i)}}), nothing);
    }
    CHECK(table.asked_singly().empty());
    REQUIRE(table.measures() == 1);
    Group& group = table.get({1, 1});
    for (std::uint64_t number = 1; number <= 100; ++number) {
        const auto before = table.measure(0, &group);
        table.add(group, *entry_with(number, Value(std::int64_t{1})));
        std::vector<std::uint32_t> passed;
        table.find_passed(0, before, table.measure(0, &group), passed);
        CHECK(passed.size() <= 2);
    }
}

TEST_CASE("an emptied group is kept only for what holds of an empty one") {
    GroupTable table("e", {}, {}, "all");
    const EntryTable nothing;
    const std::uint32_t exists = table.predicate(asking(TermKind::exists, {}), nothing);
    const std::uint32_t many = table.predicate(asking(TermKind::count, {{CompareOp::gte, Value(2)}}), nothing);
    const EntryPtr entry = entry_with(1, Value(1));
    const auto fill_and_empty = [&] {
        Group& group = table.get({1, 1});
        table.add(group, *entry);
        table.note_since(exists, group, {1});
        table.note_since(many, group, {1});
        table.remove(group, *entry);
        table.forget_if_plain(group);
    };
    fill_and_empty();
    CHECK(table.find({1, 1}) == nullptr);
    const std::uint32_t none = table.predicate(asking(TermKind::none, {}), nothing);
    Group& group = table.get({1, 1});
    table.note_since(none, group, {2});
    fill_and_empty();
    REQUIRE(table.find({1, 1}) != nullptr);
    CHECK(table.since(none, table.find({1, 1})) == Position{2});
}

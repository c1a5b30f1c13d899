#include "scheduler/score.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>

using namespace stele;

namespace {

Result<VariableRef> resolve(std::string_view reference) {
    if (reference != "$q.value" && reference != "$q.name" && reference != "$q.gone") {
        return Error{ErrorCode::invalid_argument, "no such variable"};
    }
    VariableRef found;
    found.path = {std::string(reference.substr(3))};
    return found;
}

Bindings bound(double value) {
    auto entry = std::make_shared<Entry>();
    entry->content = Value::object({{"value", Value::number(value)}, {"name", "x"}});
    return {entry};
}

double worked_out(std::string_view text, double value = 3, const ScoreFacts& facts = {}) {
    const Result<std::shared_ptr<const Score>> score = Score::parse(text, resolve);
    REQUIRE_MESSAGE(score.ok(), (score.ok() ? "" : score.error().message));
    return (*score)->value(bound(value), facts);
}

std::string refused(std::string_view text) {
    const Result<std::shared_ptr<const Score>> score = Score::parse(text, resolve);
    return score.ok() ? "" : score.error().message;
}

// An expression and its value, grown together.
struct Grown {
    std::string text;
    double value = 0;
};
Grown grow(std::mt19937& dice, int depth) {
    const auto number = static_cast<double>(dice() % 20) / 4;
    if (depth == 0 || dice() % 4 == 0) return {to_json(Value::number(number)), number};
    const Grown a = grow(dice, depth - 1);
    const Grown b = grow(dice, depth - 1);
    switch (dice() % 6) {
        case 0:
            return {"(" + a.text + " + " + b.text + ")", a.value + b.value};
        case 1:
            return {"(" + a.text + "-" + b.text + ")", a.value - b.value};
        case 2:
            return {a.text + "*(" + b.text + ")", a.value * b.value};
        case 3:
            return {"(" + a.text + ")/(" + b.text + ")", b.value == 0 ? 0 : a.value / b.value};
        case 4:
            return {"min(" + a.text + "," + b.text + ")", std::min(a.value, b.value)};
        default:
            return {"- (" + a.text + ")", 0 - a.value};
    }
}

}  // namespace

TEST_CASE("a score is arithmetic over fields, facts and numbers") {
    ScoreFacts facts;
    facts.cost_money = 0.5;
    facts.budget_money = 4;
    facts.age = -17;
    CHECK(worked_out("1 + 2 * 3 - 4 / 2") == 5);
    CHECK(worked_out("$q.value * 2 - cost.money / budget.money", 3, facts) == 5.875);
    CHECK(worked_out("max(1, $q.value, min(9, 7))") == 7);
    CHECK(worked_out("--3") == 3);
    CHECK(worked_out("age", 3, facts) == -17);
    CHECK(worked_out(" 1e3 ") == 1000);
}

TEST_CASE("what cannot be worked out counts as nothing") {
    CHECK(worked_out("$q.gone + 1") == 1);
    CHECK(worked_out("$q.name + 1") == 1);
    CHECK(worked_out("1 / 0 + 2") == 2);
    CHECK(worked_out("1e308 * 10") == 0);
}

TEST_CASE("a wrong expression is refused with its column") {
    CHECK(refused("") == "column 1: the expression ends too early");
    CHECK(refused("1 +") == "column 4: the expression ends too early");
    CHECK(refused("1 2") == "column 3: expected an operator, found \"2\"");
    CHECK(refused("(1") == "column 3: expected \")\", found its end");
    CHECK(refused("$p.value") == "column 1: no such variable");
    CHECK(refused("budget.mony") == "column 1: there is no name \"budget.mony\"; did you mean \"budget.money\"?");
    CHECK(refused(std::string(10'000, '(')) == "column 66: the expression is nested too deeply");
    CHECK(refused(std::string(10'000, '-') + "1").find("nested too deeply") != std::string::npos);
    std::string sum = "1";
    for (int i = 0; i < 2'000; ++i) sum += "+1";
    CHECK(refused(sum).find("too long") != std::string::npos);
}

TEST_CASE("the terms of a score are told by name, each once") {
    const auto score = *Score::parse("$q.value + priority * $q.value - budget.tokens", resolve);
    ScoreFacts facts;
    facts.priority = 2;
    const std::vector<std::pair<std::string, double>> expected = {
        {"$q.value", 3}, {"priority", 2}, {"budget.tokens", 0}};
    CHECK(score->terms(bound(3), facts) == expected);
    CHECK(score->depends_on_budget());
    CHECK_FALSE((*Score::parse("cost.money", resolve))->depends_on_budget());
}

TEST_CASE("random expressions have the value they were grown with, and random texts never crash") {
    for (std::uint32_t seed = 1; seed <= 2'000; ++seed) {
        CAPTURE(seed);
        std::mt19937 dice(seed);
        const Grown grown = grow(dice, 5);
        if (std::isfinite(grown.value)) REQUIRE(worked_out(grown.text) == grown.value);
        std::string noise = grown.text;
        for (std::uint32_t i = 0; i <= dice() % 4; ++i) {
            const std::size_t at = dice() % (noise.size() + 1);
            noise.insert(at, 1, "()+-*/$.,q1 e@\x80"[dice() % 15]);
        }
        (void)refused(noise);
    }
}

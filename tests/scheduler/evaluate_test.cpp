#include "scheduler/evaluate.hpp"

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "scheduler/pattern.hpp"

using namespace stele;

namespace {

Value json(std::string_view text) {
    Result<Value> value = parse_json(text);
    REQUIRE_MESSAGE(value.ok(), std::string(text));
    return *value;
}

EntryPtr entry(std::string_view content) {
    auto made = std::make_shared<Entry>();
    made->id = {"notes", 12};
    made->version = 3;
    made->time = {1'700'000'000'123};
    made->author = "worker";
    made->content = json(content);
    return made;
}

// Does `{"v": value}` pass `v: {op: wanted}`? An empty value: the field is absent.
bool test(std::string_view value, CompareOp op, std::string_view wanted) {
    Comparison comparison;
    comparison.path = {"v"};
    comparison.op = op;
    comparison.operand.literal = json(wanted);
    const std::string content = value.empty() ? std::string("{}") : "{\"v\":" + std::string(value) + "}";
    const EntryPtr made = entry(content);
    const bool by_filter = passes({comparison}, *made, {});
    CHECK(holds(comparison, value_at(*made, Attribute::content, {"v"}), {}) == by_filter);
    return by_filter;
}

Comparison compare_with(std::vector<std::string> path, CompareOp op, VariableRef reference) {
    Comparison comparison;
    comparison.path = std::move(path);
    comparison.op = op;
    comparison.operand.reference = std::move(reference);
    return comparison;
}

VariableRef variable(std::uint32_t index, std::vector<std::string> path, Attribute attribute = Attribute::content) {
    VariableRef reference;
    reference.variable = index;
    reference.attribute = attribute;
    reference.path = std::move(path);
    return reference;
}

}  // namespace

TEST_CASE("eq and ne go by value, and an absent field is null to them") {
    CHECK(test("1", CompareOp::eq, "1"));
    CHECK(test("1.0", CompareOp::eq, "1"));
    CHECK(test("0.5", CompareOp::eq, "5e-1"));
    CHECK_FALSE(test("1", CompareOp::eq, "\"1\""));
    CHECK_FALSE(test("true", CompareOp::eq, "1"));
    CHECK(test(R"({"b":1,"a":[2]})", CompareOp::eq, R"({"a":[2],"b":1})"));
    CHECK_FALSE(test("[1,2]", CompareOp::eq, "[2,1]"));
    CHECK(test("", CompareOp::eq, "null"));
    CHECK(test("null", CompareOp::eq, "null"));
    CHECK_FALSE(test("", CompareOp::eq, "0"));
    CHECK_FALSE(test("", CompareOp::eq, "\"\""));
    CHECK(test("", CompareOp::ne, "0"));
    CHECK(test("2", CompareOp::ne, "1"));
    CHECK(test("\"1\"", CompareOp::ne, "1"));
    CHECK_FALSE(test("", CompareOp::ne, "null"));
    CHECK_FALSE(test("null", CompareOp::ne, "null"));
    CHECK_FALSE(test("1.0", CompareOp::ne, "1"));
}

TEST_CASE("order is between numbers or between strings, never across, and never for what is absent") {
    CHECK(test("1", CompareOp::lt, "1.5"));
    CHECK(test("-0.25", CompareOp::lt, "0"));
    CHECK_FALSE(test("1", CompareOp::lt, "1"));
    CHECK(test("1", CompareOp::lte, "1"));
    CHECK(test("9007199254740993", CompareOp::gt, "9007199254740992.0"));
    CHECK(test("9223372036854775807", CompareOp::lt, "9223372036854775808.0"));
    CHECK(test("\"a\"", CompareOp::lt, "\"b\""));
    CHECK(test("\"B\"", CompareOp::lt, "\"a\""));
    CHECK(test("\"10\"", CompareOp::lt, "\"9\""));
    CHECK(test("\"a\"", CompareOp::gte, "\"a\""));
    CHECK_FALSE(test("\"a\"", CompareOp::gt, "\"a\""));
    for (const CompareOp op : {CompareOp::lt, CompareOp::lte, CompareOp::gt, CompareOp::gte}) {
        for (const char* value : {"", "null", "true", "[1]", "{}", "\"1\""}) CHECK_FALSE(test(value, op, "1"));
        for (const char* value : {"", "null", "1", "false"}) CHECK_FALSE(test(value, op, "\"1\""));
        CHECK_FALSE(test("null", op, "null"));
        CHECK_FALSE(test("true", op, "true"));
        CHECK_FALSE(test("[1]", op, "[1]"));
    }
}

TEST_CASE("in looks for the value in a list, has for an element or a piece of text in the value") {
    CHECK(test("\"b\"", CompareOp::in, R"(["a","b"])"));
    CHECK(test("2.0", CompareOp::in, "[1,2]"));
    CHECK(test("null", CompareOp::in, "[null]"));
    CHECK_FALSE(test("", CompareOp::in, "[null]"));
    CHECK_FALSE(test("\"b\"", CompareOp::in, "[]"));
    CHECK_FALSE(test("\"a\"", CompareOp::in, "\"abc\""));
    CHECK(test(R"(["a","b"])", CompareOp::has, "\"a\""));
    CHECK_FALSE(test(R"(["abc"])", CompareOp::has, "\"a\""));
    CHECK(test("[[1],2]", CompareOp::has, "[1]"));
    CHECK(test("\"a needle there\"", CompareOp::has, "\"needle\""));
    CHECK_FALSE(test("\"12\"", CompareOp::has, "1"));
    CHECK_FALSE(test("", CompareOp::has, "\"\""));
    CHECK_FALSE(test("7", CompareOp::has, "7"));
    CHECK_FALSE(test(R"({"a":1})", CompareOp::has, "\"a\""));
}

TEST_CASE("exists tells whether there is anything but null") {
    CHECK(test("0", CompareOp::exists, "true"));
    CHECK(test("\"\"", CompareOp::exists, "true"));
    CHECK(test("[]", CompareOp::exists, "true"));
    CHECK_FALSE(test("null", CompareOp::exists, "true"));
    CHECK_FALSE(test("", CompareOp::exists, "true"));
    CHECK(test("null", CompareOp::exists, "false"));
    CHECK(test("", CompareOp::exists, "false"));
    CHECK_FALSE(test("false", CompareOp::exists, "false"));
}

TEST_CASE("matches looks for the pattern anywhere in a string, and in nothing else") {
    Comparison comparison;
    comparison.path = {"v"};
    comparison.op = CompareOp::matches;
    comparison.operand.literal = Value("^v[0-9]+");
    comparison.pattern = *Pattern::compile("^v[0-9]+");
    CHECK(passes({comparison}, *entry(R"({"v":"v12-rc"})"), {}));
    CHECK_FALSE(passes({comparison}, *entry(R"({"v":"a v12"})"), {}));
    CHECK_FALSE(passes({comparison}, *entry(R"({"v":["v12"]})"), {}));
    CHECK_FALSE(passes({comparison}, *entry(R"({"v":12})"), {}));
    CHECK_FALSE(passes({comparison}, *entry("{}"), {}));
}

TEST_CASE("paths go through objects and lists, and lead nowhere without harm") {
    const EntryPtr made = entry(R"({"a":{"b":[10,{"c":"deep"}]},"0":"zero","n":null})");
    const auto at = [&](std::vector<std::string> path) { return value_at(*made, Attribute::content, path); };
    CHECK(at({}) == std::optional<Value>(made->content));
    CHECK(at({"a", "b", "0"}) == std::optional<Value>(Value(10)));
    CHECK(at({"a", "b", "1", "c"}) == std::optional<Value>(Value("deep")));
    CHECK(at({"0"}) == std::optional<Value>(Value("zero")));
    CHECK(at({"n"}) == std::optional<Value>(Value()));
    for (const std::vector<std::string>& path :
         std::vector<std::vector<std::string>>{{"x"},
                                               {"a", "x"},
                                               {"a", "b", "2"},
                                               {"a", "b", "-1"},
                                               {"a", "b", "1x"},
                                               {"a", "b", ""},
                                               {"a", "b", "99999999999999999999"},
                                               {"0", "0"},
                                               {"n", "x"},
                                               {"a", "b", "0", "0"}}) {
        CHECK_FALSE(at(path).has_value());
    }
}

TEST_CASE("attributes belong to the entry, not to its content") {
    const EntryPtr made = entry(R"({"id":"mine","version":9})");
    CHECK(value_at(*made, Attribute::id, {}) == std::optional<Value>(Value("notes/12")));
    CHECK(value_at(*made, Attribute::version, {}) == std::optional<Value>(Value(3)));
    CHECK(value_at(*made, Attribute::author, {}) == std::optional<Value>(Value("worker")));
    CHECK(value_at(*made, Attribute::time, {}) == std::optional<Value>(Value(1'700'000'000'123)));
    Comparison comparison;
    comparison.attribute = Attribute::version;
    comparison.op = CompareOp::gte;
    comparison.operand.literal = Value(3);
    CHECK(passes({comparison}, *made, {}));
    comparison.op = CompareOp::gt;
    CHECK_FALSE(passes({comparison}, *made, {}));
}

TEST_CASE("what was bound before is compared by its value, and its absent field is null") {
    const Bindings bindings = {entry(R"({"topic":"churn","limits":[1,2]})"), nullptr};
    const EntryPtr made = entry(R"({"question":"notes/12","topic":"churn","n":2})");
    CHECK(passes({compare_with({"question"}, CompareOp::eq, variable(0, {}, Attribute::id))}, *made, bindings));
    CHECK(passes({compare_with({"topic"}, CompareOp::eq, variable(0, {"topic"}))}, *made, bindings));
    CHECK(passes({compare_with({"n"}, CompareOp::in, variable(0, {"limits"}))}, *made, bindings));
    CHECK_FALSE(passes({compare_with({"n"}, CompareOp::eq, variable(0, {"topic"}))}, *made, bindings));
    CHECK(passes({compare_with({"gone"}, CompareOp::eq, variable(0, {"gone"}))}, *made, bindings));
    CHECK_FALSE(passes({compare_with({"n"}, CompareOp::gt, variable(0, {"gone"}))}, *made, bindings));
    CHECK(passes({compare_with({"n"}, CompareOp::ne, variable(0, {"gone"}))}, *made, bindings));
    // Not bound yet, or no such variable: nothing.
    CHECK_FALSE(value_of(variable(1, {}), bindings).has_value());
    CHECK_FALSE(value_of(variable(7, {}), bindings).has_value());
}

TEST_CASE("a filter passes when each of its tests does, and an empty one always") {
    const EntryPtr made = entry(R"({"a":1,"b":2})");
    Comparison a;
    a.path = {"a"};
    a.operand.literal = Value(1);
    Comparison b;
    b.path = {"b"};
    b.operand.literal = Value(1);
    CHECK(passes({}, *made, {}));
    CHECK(passes({a}, *made, {}));
    CHECK_FALSE(passes({a, b}, *made, {}));
    CHECK_FALSE(passes({b, a}, *made, {}));
}

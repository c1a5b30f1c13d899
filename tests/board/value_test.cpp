#include <doctest/doctest.h>

#include <cmath>
#include <compare>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "board/limits.hpp"
#include "board/value.hpp"

using namespace stele;

namespace {

std::string canonical(std::string_view text) {
    const Result<Value> parsed = parse_json(text);
    return parsed ? to_json(*parsed) : "refused: " + parsed.error().message;
}

std::string random_text(std::mt19937_64& random) {
    static const std::vector<std::string> pieces = {"a",
                                                    "key",
                                                    "\"",
                                                    "\\",
                                                    "/",
                                                    "\n",
                                                    "\t",
                                                    "\b",
                                                    "\f",
                                                    "\r",
                                                    std::string(1, '\0'),
                                                    "\x1f",
                                                    "\x7f",
                                                    "\xc3\xa9",
                                                    "\xe2\x82\xac",
                                                    "\xf0\x9f\x98\x80",
                                                    "a longer run of plain text",
                                                    " "};
    std::string text;
    for (std::size_t n = random() % 6; n > 0; --n) text += pieces[random() % pieces.size()];
    return text;
}

double random_double(std::mt19937_64& random) {
    const std::uint64_t bits = random();
    double number = 0;
    std::memcpy(&number, &bits, sizeof number);
    return std::isfinite(number) ? number : 0.5;
}

Value random_value(std::mt19937_64& random, int depth) {
    switch (random() % (depth > 0 ? 8 : 6)) {
        case 0:
            return Value();
        case 1:
            return Value(random() % 2 == 0);
        case 2:
            return Value(static_cast<std::int64_t>(random()));
        case 3:
            return Value::number(random_double(random));
        case 4:
            return Value(static_cast<std::int64_t>(random() % 20) - 10);
        case 5:
            return Value(random_text(random));
        case 6: {
            Value::Array items;
            for (std::size_t n = random() % 5; n > 0; --n) items.push_back(random_value(random, depth - 1));
            return Value(std::move(items));
        }
        default:
            break;
    }
    std::vector<Value::Member> members;
    for (std::size_t n = random() % 5; n > 0; --n) {
        members.emplace_back(random_text(random), random_value(random, depth - 1));
    }
    return Value::object(std::move(members));
}

std::string nested(std::size_t levels, char open, char close) {
    return std::string(levels, open) + std::string(levels, close);
}

}  // namespace

TEST_CASE("every value has one canonical text") {
    CHECK(canonical(" { \"b\" : [ 1 , 2.50 ] , \"a\" : null } ") == R"({"a":null,"b":[1,2.5]})");
    CHECK(canonical("[]") == "[]");
    CHECK(canonical("{}") == "{}");
    CHECK(canonical("[true,false,null]") == "[true,false,null]");
    CHECK(canonical("0.7") == "0.7");
    CHECK(canonical("7E-1") == "0.7");
    CHECK(canonical("1e300") == "1e+300");
    CHECK(canonical("-0") == "0");
    CHECK(canonical("-0.0") == "0");
    CHECK(canonical("-0e5") == "0");
    CHECK(canonical("100.0") == "100");
    CHECK(canonical("1e2") == "100");
    CHECK(canonical("1e18") == "1000000000000000000");
    CHECK(canonical("9223372036854775807") == "9223372036854775807");
    CHECK(canonical("-9223372036854775808") == "-9223372036854775808");
    CHECK(canonical("-9223372036854775808.0") == "-9223372036854775808");
    CHECK(canonical("5e-324") == "5e-324");
    CHECK(canonical("1e-400") == "0");
    CHECK(canonical("0.1000000000000000055511151231257827") == "0.1");
}

TEST_CASE("only the escapes that JSON requires are written") {
    CHECK(canonical(R"("\/ \u0041 é \" \\ \b\f\n\r\t \u0000\u001F")") == R"("/ A é \" \\ \b\f\n\r\t \u0000\u001f")");
    CHECK(canonical("\"\\u007f\"") == "\"\x7f\"");
    CHECK(canonical(R"("\ud83d\ude00")") == "\"\xf0\x9f\x98\x80\"");
    const Result<Value> nul = parse_json(R"({"a\u0000b":"\u0000"})");
    REQUIRE(nul.ok());
    REQUIRE(nul->find(std::string_view("a\0b", 3)) != nullptr);
    CHECK(nul->find(std::string_view("a\0b", 3))->as_string() == std::string(1, '\0'));
    // Escapes at every offset of the word that is looked at together.
    for (std::size_t at = 0; at < 20; ++at) {
        std::string text(20, 'x');
        text[at] = '\n';
        const std::string written = to_json(Value(text));
        CHECK(written == "\"" + text.substr(0, at) + "\\n" + text.substr(at + 1) + "\"");
    }
}

TEST_CASE("numbers from 2^63 on are written so that they read as numbers again") {
    for (const char* text :
         {"9223372036854775808.0", "-9223372036854777856.0", "1.8446744073709552e19", "1e19", "1e22"}) {
        const Result<Value> first = parse_json(text);
        REQUIRE(first.ok());
        CHECK(first->is_double());
        const Result<Value> again = parse_json(to_json(*first));
        REQUIRE(again.ok());
        CHECK(*again == *first);
        CHECK(first->as_double() == std::strtod(text, nullptr));
    }
}

TEST_CASE("Value::number makes integers of what is one") {
    CHECK(Value::number(3.0) == Value(3));
    CHECK(Value::number(-0.0).is_int());
    CHECK(Value::number(-9223372036854775808.0) == Value(std::numeric_limits<std::int64_t>::min()));
    CHECK(Value::number(9223372036854775808.0).is_double());
    CHECK(Value::number(0.5).is_double());
    CHECK(Value::number(1e300).is_double());
}

TEST_CASE("every refusal names the byte and the reason") {
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"", "byte 0: the text ends before the value does"},
        {"  ", "byte 2: the text ends before the value does"},
        {"{\"a\":1, \"b\":2, \"a\":3}", "byte 15: duplicate key \"a\""},
        {"[{\"x\":{\"k\":1,\"k\":1}}]", "byte 13: duplicate key \"k\""},
        {"{\"\\u0061\":1,\"a\":2}", "byte 12: duplicate key \"a\""},
        {"9223372036854775808", "byte 0: the integer 9223372036854775808 is beyond 64 bits"},
        {"[-9223372036854775809]", "byte 1: the integer -9223372036854775809 is beyond 64 bits"},
        {"18446744073709551616", "byte 0: the integer 18446744073709551616 is beyond 64 bits"},
        {"1e400", "byte 0: the number 1e400 is beyond a double"},
        {"[1,-1e400]", "byte 3: the number -1e400 is beyond a double"},
        {"1e99999999999", "byte 11: the exponent of a number is out of range"},
        {"[1,]", "byte 3: unexpected character ']'"},
        {"{\"a\":1,}", "byte 7: unexpected character '}'"},
        {"[1 2]", "byte 3: unexpected character '2'"},
        {"1 2", "byte 2: there is more text after the value"},
        {"01", "byte 1: there is more text after the value"},
        {"+1", "byte 0: unexpected character '+'"},
        {".5", "byte 0: unexpected character '.'"},
        {"1.", "byte 2: the text ends before the value does"},
        {"1.x", "byte 2: unexpected character 'x'"},
        {"-", "byte 1: the text ends before the value does"},
        {"NaN", "byte 0: unexpected character 'N'"},
        {"-Infinity", "byte 1: unexpected character 'I'"},
        {"{a:1}", "byte 1: unexpected character 'a'"},
        {"{\"a\" 1}", "byte 5: unexpected character '1'"},
        {"'a'", "byte 0: unexpected character '\''"},
        {"/*c*/1", "byte 0: unexpected character '/'"},
        {"\"abc", "byte 4: the text ends before the value does"},
        {"\"a\nb\"", "byte 2: unexpected control character 0x0a"},
        {"\"\\x\"", "byte 2: unexpected character 'x'"},
        {"\"\\u12g4\"", "byte 5: expected four hexadecimal digits after \\u"},
        {"\"\xff\"", "byte 1: unexpected byte 0xff: bad UTF-8, or a character outside a string"},
        {"\"\xc0\xaf\"", "byte 1: unexpected byte 0xc0: bad UTF-8, or a character outside a string"},
        {"\"\xed\xa0\x80\"", "byte 1: unexpected byte 0xed: bad UTF-8, or a character outside a string"},
        {"\"\xf4\x90\x80\x80\"", "byte 1: unexpected byte 0xf4: bad UTF-8, or a character outside a string"},
        {"\xef\xbb\xbf"
         "1",
         "byte 0: unexpected byte 0xef: bad UTF-8, or a character outside a string"},
        {std::string("[\0]", 3), "byte 1: unexpected control character 0x00"},
    };
    for (const auto& [text, message] : cases) {
        CAPTURE(text);
        const Result<Value> parsed = parse_json(text);
        REQUIRE_FALSE(parsed.ok());
        CHECK(parsed.error().code == ErrorCode::invalid_argument);
        CHECK(parsed.error().message == message);
    }
}

TEST_CASE("a surrogate escape without its other half is refused wherever it stands") {
    for (const char* text :
         {R"("\ud800")", R"("\udc00")", R"("\udc00 and more text after it")", R"("\ud800 and more text after it")",
          R"("\ud800\u0041 and more text")", R"("\ud800\ud800 and more text")", R"("\ud83d\n and more text here")",
          R"({"\ud800":1})"}) {
        CAPTURE(text);
        CHECK_FALSE(parse_json(text).ok());
    }
    CHECK(parse_json(R"("\udc00 and more text after it")").error().message ==
          "byte 2: a surrogate escape without its other half");
}

TEST_CASE("nesting is allowed up to the limit and refused past it, however deep") {
    const std::size_t max = limits::json_depth_max;
    CHECK(canonical(nested(max, '[', ']')) == nested(max, '[', ']'));
    const std::string refusal = "refused: byte 64: more than 64 levels of arrays and objects";
    CHECK(canonical(nested(max + 1, '[', ']')) == refusal);
    CHECK(canonical(std::string(100'000, '[')) == refusal);
    std::string objects;
    for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
    CHECK_FALSE(parse_json(objects).ok());
}

TEST_CASE("very long numbers and keys are read or refused like short ones") {
    const std::string nines(1'000'000, '9');
    CHECK(canonical(nines) == "refused: byte 0: the integer " + std::string(40, '9') + "... is beyond 64 bits");
    CHECK(canonical("0." + nines) == "1");
    CHECK(canonical(nines + ".0e-999999") == "10");
    CHECK(canonical("0." + std::string(1'000'000, '0') + "1") == "0");
    const std::string key(100'000, 'k');
    const Result<Value> twice = parse_json("{\"" + key + "\":1,\"" + key + "\":2}");
    REQUIRE_FALSE(twice.ok());
    CHECK(twice.error().message == "byte 100006: duplicate key \"" + std::string(60, 'k') + "\"...");
}

TEST_CASE("doubles read exactly as strtod reads them") {
    const std::uint64_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    std::size_t wrong = 0;
    std::string example;
    for (int i = 0; i < 200'000; ++i) {
        char text[64];
        double number = random_double(random);
        if (i % 4 == 0) number = std::ldexp(static_cast<double>(random() >> 12), -1074);  // denormals
        if (i % 4 == 1) number = static_cast<double>(random() >> 11) / static_cast<double>(random() % 1'000'000 + 1);
        std::snprintf(text, sizeof text, i % 2 == 0 ? "%.17g" : "%.25e", number);
        if (std::strpbrk(text, ".e") == nullptr) continue;  // an integer literal
        const Result<Value> parsed = parse_json(text);
        if (parsed && parsed->as_double() == std::strtod(text, nullptr)) continue;
        ++wrong;
        example = text;
    }
    CAPTURE(example);
    CHECK(wrong == 0);
}

TEST_CASE("what is written reads as the same value and is written the same again") {
    const std::uint64_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    for (int i = 0; i < 20'000; ++i) {
        const Value value = random_value(random, 4);
        const std::string text = to_json(value);
        const Result<Value> again = parse_json(text);
        REQUIRE_MESSAGE(again.ok(), text);
        REQUIRE(*again == value);
        REQUIRE(to_json(*again) == text);
        const Result<Value> pretty = parse_json(to_pretty_json(value));
        REQUIRE(pretty.ok());
        REQUIRE(*pretty == value);
    }
}

TEST_CASE("random and damaged texts are refused or read, and what is read is canonical") {
    const std::uint64_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    static constexpr std::string_view letters = "{}[]\",:0123456789.eE+-\\utrfalsn \n\x01\xc3\xff";
    for (int i = 0; i < 100'000; ++i) {
        std::string text = i % 2 == 0 ? to_json(random_value(random, 3)) : std::string();
        const std::size_t changes = i % 2 == 0 ? 1 + random() % 3 : 1 + random() % 40;
        for (std::size_t n = 0; n < changes; ++n) {
            const char letter = random() % 8 == 0 ? static_cast<char>(random()) : letters[random() % letters.size()];
            text.insert(text.begin() + static_cast<std::ptrdiff_t>(random() % (text.size() + 1)), letter);
        }
        const Result<Value> parsed = parse_json(text);
        if (!parsed) {
            REQUIRE(parsed.error().message.starts_with("byte "));
            continue;
        }
        const Result<Value> again = parse_json(to_json(*parsed));
        REQUIRE(again.ok());
        REQUIRE(*again == *parsed);
    }
}

TEST_CASE("the order of values is total and exact between integers and doubles") {
    const std::int64_t large = 9007199254740993;  // 2^53 + 1 has no double
    CHECK(compare(Value(large), Value::number(9007199254740992.0)) > 0);
    CHECK(compare(Value(std::numeric_limits<std::int64_t>::max()), Value::number(9223372036854775808.0)) < 0);
    CHECK(compare(Value::number(-1e300), Value(std::numeric_limits<std::int64_t>::min())) < 0);
    CHECK(compare(Value(1), Value::number(1.5)) < 0);
    CHECK(compare(Value(-1), Value::number(-1.5)) > 0);
    CHECK(compare(Value::number(0.5), Value(0)) > 0);
    CHECK(compare(Value::number(5e-324), Value(0)) > 0);

    // Ascending; each is compared with each.
    const std::vector<Value> sorted = {Value(),
                                       Value(false),
                                       Value(true),
                                       Value::number(-1e300),
                                       Value(-2),
                                       Value::number(-1.5),
                                       Value(0),
                                       Value::number(0.25),
                                       Value(large - 1),
                                       Value(large),
                                       Value::number(1e19),
                                       Value(""),
                                       Value("a"),
                                       Value("a\xc3\xa9"),
                                       Value("b"),
                                       Value("\xff"),
                                       *parse_json("[]"),
                                       *parse_json("[1]"),
                                       *parse_json("[1,0]"),
                                       *parse_json("[2]"),
                                       *parse_json("{}"),
                                       *parse_json(R"({"a":1})"),
                                       *parse_json(R"({"a":1,"b":0})"),
                                       *parse_json(R"({"a":2})"),
                                       *parse_json(R"({"b":0})")};
    for (std::size_t i = 0; i < sorted.size(); ++i) {
        for (std::size_t j = 0; j < sorted.size(); ++j) {
            CAPTURE(i);
            CAPTURE(j);
            CHECK(compare(sorted[i], sorted[j]) == (i <=> j));
            CHECK((sorted[i] == sorted[j]) == (i == j));
        }
    }
}

TEST_CASE("objects keep their keys sorted and unique") {
    Value built = Value::object({{"b", 1}, {"a", 2}, {"b", 3}, {"a", 4}, {"c", 5}});
    CHECK(to_json(built) == R"({"a":4,"b":3,"c":5})");
    built.set("aa", "new");
    built.set("c", Value());
    CHECK(to_json(built) == R"({"a":4,"aa":"new","b":3,"c":null})");
    CHECK(built.find("aa")->as_string() == "new");
    CHECK(built.find("ab") == nullptr);
    CHECK(Value(1).find("a") == nullptr);
    Value grown;
    grown.push_back(1);
    grown.push_back("x");
    Value object;
    object.set("list", grown);
    CHECK(to_json(object) == R"({"list":[1,"x"]})");
    CHECK(std::string(object.type_name()) == "object");
    CHECK(std::string(Value::number(0.5).type_name()) == "number");
    CHECK(std::string(Value(5).type_name()) == "integer");
}

TEST_CASE("the text for people has two spaces a level") {
    CHECK(to_pretty_json(*parse_json(R"({"b":[],"a":[1,{"x":{}}]})")) ==
          "{\n  \"a\": [\n    1,\n    {\n      \"x\": {}\n    }\n  ],\n  \"b\": []\n}");
    CHECK(to_pretty_json(Value("x")) == "\"x\"");
}

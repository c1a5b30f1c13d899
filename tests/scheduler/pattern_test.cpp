#include <doctest/doctest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "scheduler/pattern.hpp"

using namespace stele;

namespace {

std::shared_ptr<const Pattern> pattern(std::string_view expression) {
    Result<std::shared_ptr<const Pattern>> compiled = Pattern::compile(expression);
    REQUIRE_MESSAGE(compiled.ok(), std::string(expression));
    return *compiled;
}

std::string refusal(std::string_view expression) {
    const Result<std::shared_ptr<const Pattern>> compiled = Pattern::compile(expression);
    if (compiled) return "accepted";
    CHECK(compiled.error().code == ErrorCode::invalid_argument);
    return compiled.error().message;
}

}  // namespace

TEST_CASE("a pattern is found anywhere in the text unless it is anchored") {
    CHECK(pattern("risk")->found_in("where is the risk?"));
    CHECK_FALSE(pattern("^risk")->found_in("where is the risk?"));
    CHECK(pattern("^risk$")->found_in("risk"));
    CHECK(pattern("")->found_in(""));
    CHECK(pattern("")->found_in("anything"));
    CHECK_FALSE(pattern("x")->found_in(""));
    CHECK(pattern("(?i)RISK")->found_in("a risk"));
    CHECK(
        pattern("a.c")->found_in("a\xc3\xa9"
                                 "c"));
    CHECK(pattern("^.$")->found_in("\xf0\x9f\x98\x80"));
    CHECK(pattern("\\d+ %")->found_in("12 %"));
    CHECK(pattern("b")->found_in(std::string_view("a\0b", 3)));
    CHECK_FALSE(pattern("a.b")->found_in("a\nb"));
}

TEST_CASE("a text that is no pattern is refused with the reason") {
    CHECK(refusal("(a") == "the pattern \"(a\" is no regular expression: missing ): (a");
    CHECK(refusal("*").find("no argument for repetition operator") != std::string::npos);
    CHECK(refusal("[b-a]").find("invalid character class range") != std::string::npos);
    CHECK(refusal("(a)\\1").find("invalid escape sequence") != std::string::npos);
    CHECK(refusal("a{1001}").find("repetition") != std::string::npos);
    CHECK(refusal("((a{100}){100}){100}") != "accepted");
    CHECK(refusal("\xff").find("invalid UTF-8") != std::string::npos);
}

TEST_CASE("a pattern takes time in proportion to the text") {
    const auto nested = pattern("^(a+)+$");
    const auto wide = pattern("(.*x.*)*y");
    const auto start = std::chrono::steady_clock::now();
    CHECK(nested->found_in(std::string(1'000'000, 'a')));
    CHECK_FALSE(nested->found_in(std::string(1'000'000, 'a') + "!"));
    CHECK_FALSE(wide->found_in(std::string(1'000'000, 'x')));
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

TEST_CASE("several threads may look for one pattern") {
    const auto shared = pattern("(a|b)*c");
    std::vector<int> wrong(4, 0);
    std::vector<std::thread> threads;
    for (int& count : wrong) {
        threads.emplace_back([&shared, &count] {
            for (int i = 0; i < 2'000; ++i) {
                if (!shared->found_in("ababababc") || shared->found_in("abababab")) ++count;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(4, 0));
}

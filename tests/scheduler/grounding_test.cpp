#include "scheduler/grounding.hpp"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

using namespace stele;

namespace {

Value json(std::string_view text) {
    Result<Value> value = parse_json(text);
    REQUIRE(value.ok());
    return *value;
}

std::string found(std::string_view content, const SeenTexts& seen, const std::vector<std::string>& fields = {}) {
    std::string text;
    for (const Phantom& phantom : phantoms_in(json(content), fields, seen)) {
        text +=
            (text.empty() ? "" : "; ") + std::string(to_text(phantom.kind)) + " " + phantom.text + " " + phantom.path;
    }
    return text;
}

SeenTexts survey() {
    SeenTexts seen;
    seen.add(json(
        R"({"topic":"pricing","text":"Prices rose by 3 percent; 124 of 1,000 customers left. See https://a.test/p?q=1."})"));
    seen.add(json(R"({"file":"src/main.cpp","value":0.12381,"ticket":"ABC-17"})"));
    seen.add_text("He said: we will not raise it again");
    seen.add_name("evidence/12");
    seen.add_count(2);
    return seen;
}

}  // namespace

TEST_CASE("what was seen is no phantom, in any spelling") {
    const SeenTexts seen = survey();
    const std::vector<std::string> contents = {
        R"_({"text":"prices rose by 3 %"})_",
        R"_({"text":"prices rose by 0.03"})_",
        R"_({"text":"a factor of 0.124 (rounded), or 12.4 %"})_",
        R"_({"text":"of 1000 customers, 124.0 left"})_",
        R"_({"text":"he said \"We will not raise it again\""})_",
        R"_({"text":"see https://a.test/p?q=1, and src/main.cpp (ABC-17)"})_",
        R"_({"text":"evidence/12 says so, in 2 entries"})_",
        R"_({"n":124,"list":[1000,3]})_",
        R"_({"text":"no figures here, and/or a \"nice\" word; e.g. this one"})_",
    };
    for (const std::string& content : contents) {
        CAPTURE(content);
        CHECK(found(content, seen) == "");
    }
}

TEST_CASE("simple arithmetic stated with its operands is no phantom") {
    const SeenTexts seen = survey();
    CHECK(found(R"({"text":"124 of 1000, which is 12.4 %"})", seen) == "");
    CHECK(found(R"({"text":"124 + 1000 = 1124"})", seen) == "");
    CHECK(found(R"({"text":"1000 less 124 leaves 876"})", seen) == "");
    CHECK(found(R"({"all":1000,"left":124,"stay":876})", seen) == "");
    CHECK(found(R"({"text":"three times 124 is 372"})", seen) != "");  // 3 is written as a word
    CHECK(found(R"({"text":"3 times 124 is 372"})", seen) == "");
    // Without its operands it is only a number.
    CHECK(found(R"({"text":"876 stay"})", seen) == "number 876 /text");
}

TEST_CASE("what nobody showed is a phantom, each once, with its place") {
    const SeenTexts seen = survey();
    CHECK(found(R"({"text":"churn is 17.9 %, yes 17.9 %"})", seen) == "number 17.9 % /text");
    CHECK(found(R"({"a":{"b":[1000,55]}})", seen) == "number 55 /a/b/1");
    CHECK(found(R"({"text":"he said \"we will raise it again\""})", seen) == "quotation we will raise it again /text");
    CHECK(found(R"({"text":"see https://a.test/q."})", seen) == "URL https://a.test/q /text");
    CHECK(found(R"({"text":"in src/other.cpp and ABC-18, evidence/13"})", seen) ==
          "identifier src/other.cpp /text; identifier ABC-18 /text; identifier evidence/13 /text");
    CHECK(found(R"({"text":"1200"})", seen) == "number 1200 /text");
    CHECK(found(R"({"text":"churn is 17.9 %","confidence":0.6})", seen, {"text"}) == "number 17.9 % /text");
    CHECK(found(R"({"confidence":0.6,"text":"fine"})", seen, {"text"}) == "");
    CHECK(phantom_text({PhantomKind::number, "17.9 %", "/text"}, "lead") ==
          "number \"17.9 %\" at /text is in nothing that lead had seen");
}

TEST_CASE("texts that were seen are never phantoms, whatever is in them, and any text is survived") {
    std::mt19937 random(31);
    const std::vector<std::string> pieces = {"a",      "b",      "z",      "0",       "1",  "9",     " ",  ".", ",",
                                             "%",      "\"",     "'",      "/",       "_",  "-",     ":",  "(", ")",
                                             "\u201c", "\u201d", "\u00a0", "http://", "12", "ABC-1", "e-2"};
    for (int round = 0; round < 3'000; ++round) {
        std::string text;
        for (std::size_t i = random() % 40; i > 0; --i) text += pieces[random() % pieces.size()];
        SeenTexts seen;
        seen.add(Value(text));
        CAPTURE(text);
        CHECK(phantoms_in(Value(text), {}, seen).empty());
        phantoms_in(Value(text), {}, SeenTexts{});
    }
}

#include "board/text_tokens.hpp"

#include <doctest/doctest.h>

#include <random>

using namespace stele;

namespace {

std::string spelled(std::string_view text) {
    std::string out;
    for (const TextToken& token : tokens_of(text)) {
        out += out.empty() ? "" : " ";
        if (token.kind == TokenKind::number) out += "#";
        if (token.kind == TokenKind::percent) out += "%";
        out += token.text;
    }
    return out;
}

bool finds(std::string_view query, std::string_view text) {
    const Result<TextQuery> parsed = TextQuery::parse(query);
    REQUIRE(parsed.ok());
    return parsed->is_in(text);
}

}  // namespace

TEST_CASE("a text is words in lower case and numbers in one spelling") {
    CHECK(spelled("Churn ROSE, twice.") == "churn rose twice");
    CHECK(spelled("über_Straße-9") == "über_straße #9e0");
    CHECK(spelled("0.124 12.40 1,234,567 1200 0 0.00 7E-1 1.5e+3") ==
          "#124e-3 #124e-1 #1234567e0 #12e2 #0e0 #0e0 #7e-1 #15e2");
    CHECK(spelled("12.4 % 12.4% 12.40 percent 3 per cent 12 persons") == "%124e-3 %124e-3 %124e-3 %3e-2 #12e0 persons");
    CHECK(spelled("12.4\u00a0% and 9\u202f%") == "%124e-3 and %9e-2");
    CHECK(spelled("\u201cas said\u201d\u2014twice\u2026 \u00abhier\u00bb 5\u20ac") == "as said twice hier #5e0");
    CHECK(spelled("3rd 10k x86_64 v1.2.3 1,23 1234,567") == "3rd 10k x86_64 v1 #23e-1 #1e0 #23e0 #1234e0 #567e0");
    CHECK(spelled("2026-11-25 -5") == "#2026e0 #11e0 #25e0 #5e0");
    CHECK(spelled("") == "");
    CHECK(spelled("%,.") == "");
    CHECK(spelled("9e99999 1.") == "9e99999 #1e0");
    CHECK(tokens_of(std::string(1000, 'a')).front().text.size() == token_bytes_max);
}

TEST_CASE("the words of any text are what is left between its signs") {
    std::mt19937 random(3);
    const std::vector<std::string> signs = {" ", ".", "-",      "\n",     "%",      "@",      "[",      "`",
                                            "{", "/", "\u2014", "\u201c", "\u20ac", "\u00a0", "\u00bb", "\u3002"};
    const std::vector<std::string> letters = {"a",      "z",      "A",      "Z",    "_", "\u00e9", "\u00aa",
                                              "\u00ba", "\u2192", "\u4e2d", "\xff", "m", "Q"};
    for (int round = 0; round < 2'000; ++round) {
        std::string text;
        std::string expected;
        for (std::size_t words = random() % 6; words > 0; --words) {
            for (std::size_t i = random() % 3 + 1; i > 0; --i) text += signs[random() % signs.size()];
            std::string word;
            for (std::size_t i = random() % (random() % 10 == 0 ? 80 : 8) + 1; i > 0; --i) {
                word += letters[random() % letters.size()];
            }
            text += word;
            for (char& c : word) {
                if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
            }
            expected += (expected.empty() ? "" : " ") + word.substr(0, token_bytes_max);
        }
        CHECK(spelled(text) == expected);
    }
}

TEST_CASE("a number is found in every spelling, and no other number is") {
    for (const char* text : {"churn is 12.4 %", "0.124", "12.40 percent", ".124 of all; 0.1240", "1.24e-1"}) {
        CAPTURE(text);
        CHECK(finds("12.4 %", text) == (std::string(text) != ".124 of all; 0.1240" || finds("0.124", text)));
    }
    CHECK(finds("12.4 %", "churn_percent 12.4"));
    CHECK(finds("0.124", "churn is 12.4 %"));
    CHECK_FALSE(finds("0.124", "12.4"));
    CHECK_FALSE(finds("12.4", "112.4 12.41 1.24"));
    CHECK(finds("1234567", "1,234,567 users"));
    CHECK(finds("1,234", "1234.0"));
}

TEST_CASE("a phrase is found whatever its case and punctuation, whole and in order") {
    CHECK(finds("churn rose", "We saw: Churn (rose) again"));
    CHECK_FALSE(finds("churn rose", "rose churn"));
    CHECK_FALSE(finds("churn rose", "churn has rose"));
    CHECK_FALSE(finds("churn", "churned"));
    CHECK(finds("src/main.cpp", "in SRC/main.cpp:12"));
    CHECK_FALSE(TextQuery::parse(" ,.; ").ok());
}

TEST_CASE("a value is looked through, its names left out, and the place is told") {
    const Result<Value> value = parse_json(R"({"churn":{"rates":[0.5,{"q3":0.124}],"note":"as said"},"done":true})");
    REQUIRE(value.ok());
    std::string path;
    CHECK(TextQuery::parse("12.4%")->is_in_value(*value, &path));
    CHECK(path == "/churn/rates/1/q3");
    CHECK(TextQuery::parse("AS SAID")->is_in_value(*value, &path));
    CHECK(path == "/churn/note");
    CHECK_FALSE(TextQuery::parse("churn")->is_in_value(*value, &path));
    CHECK_FALSE(TextQuery::parse("said done")->is_in_value(*value));
}

TEST_CASE("tokens of random bytes end, and a number keeps its value through spellings") {
    std::mt19937 random(7);
    const std::string alphabet = "0123456789.,% eE+-ab\xc2\xa0\xe2\x80\xaf\xff";
    for (int round = 0; round < 5'000; ++round) {
        std::string bytes;
        for (std::size_t i = random() % 40; i > 0; --i) bytes += alphabet[random() % alphabet.size()];
        std::size_t size = 0;
        for (const TextToken& token : tokens_of(bytes)) size += token.text.size();
        CHECK(size <= bytes.size() * 8 + 8);
    }
    for (int round = 0; round < 2'000; ++round) {
        const std::string digits = std::to_string(random() % 100'000);
        const std::string fraction = std::to_string(random() % 1'000);
        const std::string plain = digits + "." + fraction;
        CHECK(spelled(plain) == spelled(plain + "000"));
        CHECK(spelled(plain + "e2") == "#" + shifted_number(tokens_of(plain).front().text, 2));
        CHECK(spelled(plain + "%") == "%" + shifted_number(tokens_of(plain).front().text, -2));
    }
}

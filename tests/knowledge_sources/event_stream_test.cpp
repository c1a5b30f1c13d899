#include "knowledge_sources/event_stream.hpp"

#include <doctest/doctest.h>

#include <random>
#include <vector>

using namespace stele;

namespace {

std::vector<std::pair<std::string, std::string>> read(const std::string& bytes, std::size_t piece) {
    std::vector<std::pair<std::string, std::string>> events;
    EventStream stream;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
        REQUIRE(stream.feed(std::string_view(bytes).substr(at, piece), [&](const StreamEvent& event) {
            events.emplace_back(event.name, event.data);
            return true;
        }));
    }
    return events;
}

using Events = std::vector<std::pair<std::string, std::string>>;

}  // namespace

TEST_CASE("events are read as the specification has them, however they are cut") {
    const std::string bytes =
        "\xEF\xBB\xBF: hello\r\n\r\nevent: a\r\ndata: one\r\ndata:two\r\n\r\ndata\n\nid: 7\nretry: 10\n\n"
        "data:  spaced \n\n:data: no\nevent:b\rdata:x\r\revent: lost\n\ndata: cut off";
    const Events expected = {{"a", "one\ntwo"}, {"", ""}, {"", " spaced "}, {"b", "x"}};
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
        CAPTURE(piece);
        CHECK(read(bytes, piece) == expected);
    }
}

TEST_CASE("a line and an event have bounds, and reaching them is said") {
    EventStream stream(100);
    const auto none = [](const StreamEvent&) { return true; };
    CHECK(stream.feed("data: " + std::string(80, 'x') + "\n", none));
    CHECK_FALSE(stream.is_too_long());
    CHECK_FALSE(stream.feed("data: " + std::string(80, 'x') + "\n", none));
    CHECK(stream.is_too_long());
    LineSplitter lines(10);
    CHECK_FALSE(lines.feed("0123456789a", [](std::string_view) { return true; }));
    CHECK(lines.is_too_long());
}

TEST_CASE("any bytes are read without harm, the same in pieces as at once") {
    const std::uint32_t seed = std::random_device{}();
    MESSAGE("seed ", seed);
    std::mt19937 dice(seed);
    constexpr char letters[] = "data:event: \r\n\n\r\n\xC3\xBC\x00\xFF{}";
    const std::string alphabet(letters, sizeof letters - 1);
    for (int round = 0; round < 2'000; ++round) {
        std::string bytes;
        for (std::uint32_t i = dice() % 60; i > 0; --i) bytes += alphabet[dice() % alphabet.size()];
        CAPTURE(round);
        CHECK(read(bytes, 1) == read(bytes, bytes.size() + 1));
    }
}

#include <doctest/doctest.h>

#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "board/value.hpp"
#include "runtime/terminal.hpp"

using namespace stele;

namespace {

TerminalFacts window(std::size_t columns, std::size_t rows) {
    TerminalFacts facts;
    facts.is_tty = true;
    facts.window_columns = columns;
    facts.window_rows = rows;
    facts.term_variable = "xterm-256color";
    return facts;
}

std::string random_bytes(std::mt19937_64& random) {
    static const std::vector<std::string> pieces = {"a",
                                                    "plain text ",
                                                    "\x1b[2J",
                                                    "\x1b]0;title\x07",
                                                    "\xc2\x9b"
                                                    "31m",
                                                    "\r",
                                                    "\n",
                                                    "\t",
                                                    std::string(1, '\0'),
                                                    "\x7f",
                                                    "\xe4\xb8\xad\xe6\x96\x87",
                                                    "\xf0\x9f\x98\x80",
                                                    "e\xcc\x81",
                                                    "\xcc\x81",
                                                    "\xe2\x80\xae",
                                                    "\xef\xb8\x8f",
                                                    "\xff",
                                                    "\xc3",
                                                    "\xe2\x82",
                                                    "\xed\xa0\x80",
                                                    "\xf4\x90\x80\x80",
                                                    "\xc0\xaf",
                                                    "\xf3\xa0\x81\x81",
                                                    "\xe2\x80\xa8"};
    std::string text;
    for (std::size_t n = random() % 30; n > 0; --n) text += pieces[random() % pieces.size()];
    return text;
}

bool has_commands(std::string_view text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if (byte < 0x20 || byte == 0x7F) return true;
        const auto next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0;
        if (byte == 0xC2 && next >= 0x80 && next < 0xA0) return true;
    }
    return text.find("\xe2\x80\xae") != std::string_view::npos;
}

struct Variable {
    Variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
    ~Variable() { ::unsetenv(name_); }
    const char* name_;
};

}  // namespace

TEST_CASE("a file or pipe gets no colour, no width and no live lines") {
    TerminalFacts facts = window(120, 40);
    facts.is_tty = false;
    const Terminal terminal = terminal_from(facts, ColorChoice::automatic);
    CHECK_FALSE(terminal.is_tty);
    CHECK_FALSE(terminal.live);
    CHECK_FALSE(terminal.color);
    CHECK(terminal.columns == 0);
    CHECK(terminal_from(facts, ColorChoice::always).color);
}

TEST_CASE("a window that does not say its width is as wide as COLUMNS says, or 80") {
    TerminalFacts facts = window(0, 0);
    CHECK(terminal_from(facts, ColorChoice::automatic).columns == 80);
    CHECK(terminal_from(facts, ColorChoice::automatic).rows == 24);
    facts.columns_variable = "132";
    CHECK(terminal_from(facts, ColorChoice::automatic).columns == 132);
    facts.columns_variable = "132x";
    CHECK(terminal_from(facts, ColorChoice::automatic).columns == 80);
    facts.window_columns = 40;
    CHECK(terminal_from(facts, ColorChoice::automatic).columns == 40);
}

TEST_CASE("NO_COLOR and a dumb terminal turn colour off unless it is asked for") {
    TerminalFacts facts = window(80, 24);
    CHECK(terminal_from(facts, ColorChoice::automatic).color);
    CHECK_FALSE(terminal_from(facts, ColorChoice::never).color);
    facts.no_color_variable = "1";
    CHECK_FALSE(terminal_from(facts, ColorChoice::automatic).color);
    CHECK(terminal_from(facts, ColorChoice::automatic).live);
    CHECK(terminal_from(facts, ColorChoice::always).color);
    facts = window(80, 24);
    facts.term_variable = "dumb";
    CHECK_FALSE(terminal_from(facts, ColorChoice::automatic).color);
    CHECK_FALSE(terminal_from(facts, ColorChoice::automatic).live);
    CHECK(color_choice_from("always") == ColorChoice::always);
    CHECK_FALSE(color_choice_from("yes").has_value());
}

TEST_CASE("a real terminal is recognised, and its new size is taken over") {
    int master = -1;
    int slave = -1;
    winsize size{};
    size.ws_col = 97;
    size.ws_row = 31;
    REQUIRE(::openpty(&master, &slave, nullptr, nullptr, &size) == 0);
    {
        const Variable term("TERM", "xterm");
        Terminal terminal = detect_terminal(slave, ColorChoice::automatic);
        CHECK(terminal.is_tty);
        CHECK(terminal.live);
        CHECK(terminal.columns == 97);
        CHECK(terminal.rows == 31);
        size.ws_col = 50;
        REQUIRE(::ioctl(slave, TIOCSWINSZ, &size) == 0);
        terminal.refresh();
        CHECK(terminal.columns == 50);
    }
    ::close(master);
    ::close(slave);
}

TEST_CASE("what a terminal would obey is shown instead") {
    CHECK(printable("\x1b[2Jgone\x1b[1A") == "\\x1b[2Jgone\\x1b[1A");
    CHECK(printable("a\nb\tc\rd") == "a\\nb\\tc\\rd");
    CHECK(printable(std::string_view("\0\x7f", 2)) == "\\x00\\x7f");
    CHECK(printable("\xc2\x9b"
                    "31m") == "\\u009b31m");
    CHECK(printable("\xe2\x80\xae"
                    "txt.exe") == "\\u202etxt.exe");
    CHECK(printable("\xff\xc3(") == "\\xff\\xc3(");
    CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");
    CHECK(printable("\xf3\xa0\x81\x81") == "\\u{e0041}");
    CHECK(printable("\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80") == "\xc3\xa9 \xe4\xb8\xad \xf0\x9f\x98\x80");
}

TEST_CASE("wide characters take two columns and marks none, whatever the locale") {
    CHECK(display_columns("abc") == 3);
    CHECK(display_columns("\xe4\xb8\xad\xe6\x96\x87") == 4);
    CHECK(display_columns("e\xcc\x81") == 1);
    CHECK(display_columns("\xf0\x9f\x98\x80") == 2);
    CHECK(display_columns("\xe2\x9d\xa4\xef\xb8\x8f") == 2);
    CHECK(display_columns("\x1b[m") == 6);
}

TEST_CASE("a letter with a thousand marks takes room like any other text") {
    std::string text = "a";
    for (int i = 0; i < 1'000; ++i) text += "\xcc\x81";
    CHECK(display_columns(text) > 1'000);
    CHECK(truncated(text, 40).size() < 100);
}

TEST_CASE("a text is cut with an ellipsis only where it does not fit") {
    CHECK(truncated("abcde", 5) == "abcde");
    CHECK(truncated("abcdef", 5) == "abcd\u2026");
    CHECK(truncated("\xe4\xb8\xad\xe6\x96\x87", 4) == "\xe4\xb8\xad\xe6\x96\x87");
    CHECK(truncated("\xe4\xb8\xad\xe6\x96\x87", 3) == "\xe4\xb8\xad\u2026");
    CHECK(truncated("\xe4\xb8\xad\xe6\x96\x87"
                    "a",
                    4) == "\xe4\xb8\xad\u2026");
    CHECK(truncated("abc", 1) == "\u2026");
    CHECK(truncated("ab\x1b", 4) == "ab\u2026");
    CHECK(truncated("abc", 0) == "abc");
    CHECK(truncated("", 5).empty());
}

TEST_CASE("nothing that goes through a line is obeyed, and no line is wider than it may be") {
    const std::uint64_t seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937_64 random(seed);
    for (int round = 0; round < 3'000; ++round) {
        const std::size_t columns = random() % 50;
        Line line(columns);
        for (std::size_t n = random() % 4; n > 0; --n) line.add(random_bytes(random), Style::red);
        const std::string text = line.text(false);
        CHECK_FALSE(has_commands(text));
        CHECK(valid_utf8(text) == text);
        CHECK(display_columns(text) == line.columns());
        if (columns > 0) CHECK(line.columns() <= columns);
        CHECK(printable(text) == text);
    }
}

TEST_CASE("colour codes take no columns and end with the piece they began with") {
    Line line(8);
    line.add("red", Style::red).add(" and more");
    CHECK(line.text(true) == "\x1b[31mred\x1b[0m and\u2026");
    CHECK(line.text(false) == "red and\u2026");
    CHECK(line.is_cut());
}

TEST_CASE("JSON for a terminal means the same and commands nothing") {
    const std::uint64_t seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937_64 random(seed);
    for (int round = 0; round < 1'000; ++round) {
        const Value value(valid_utf8(random_bytes(random)));
        const std::string json = escaped_json(to_json(value));
        CHECK_FALSE(has_commands(json));
        const Result<Value> again = parse_json(json);
        REQUIRE(again.ok());
        CHECK(*again == value);
    }
    CHECK(escaped_json("\"\xf3\xa0\x81\x81\"") == "\"\\udb40\\udc41\"");
}

TEST_CASE("lines are told apart and the last one that says anything is found") {
    CHECK(lines_of("a\r\n\nb\n\n") == std::vector<std::string_view>{"a", "", "b"});
    CHECK(lines_of("").empty());
    CHECK(last_line_of("first\nsecond\n \n") == "second");
    CHECK(last_line_of("progress\rdone") == "done");
    CHECK(last_line_of(" \n").empty());
}

TEST_CASE("durations, times and counts read well") {
    CHECK(duration_text(0) == "0 ms");
    CHECK(duration_text(340) == "340 ms");
    CHECK(duration_text(1'299) == "1.2 s");
    CHECK(duration_text(59'999) == "59.9 s");
    CHECK(duration_text(184'000) == "3 m 04 s");
    CHECK(duration_text(7'384'000) == "2 h 03 m 04 s");
    CHECK(duration_text(-1'500) == "-1.5 s");
    CHECK_FALSE(duration_text(std::numeric_limits<std::int64_t>::min()).empty());
    CHECK(since_text(340) == "+0:00.340");
    CHECK(since_text(723'000) == "+12:03.000");
    CHECK(since_text(3'723'004) == "+1:02:03.004");
    CHECK(utc_time_text({1'700'000'000'123}) == "2023-11-14T22:13:20.123Z");
    CHECK(utc_time_text({-1}) == "1969-12-31T23:59:59.999Z");
    CHECK(utc_time_text({std::numeric_limits<std::int64_t>::max()}) == "9223372036854775807 ms since 1970");
    CHECK_FALSE(local_time_text({std::numeric_limits<std::int64_t>::min()}).empty());
    CHECK(count_text(7) == "7");
    CHECK(count_text(1'234'567) == "1,234,567");
    CHECK(counted(1, "entry", "entries") == "1 entry");
    CHECK(counted(1'200, "entry", "entries") == "1,200 entries");
    CHECK(bytes_text(512) == "512 bytes");
    CHECK(bytes_text(1'536) == "1.5 KiB");
    CHECK(bytes_text(1'300'000) == "1.2 MiB");
    CHECK(bytes_text(std::numeric_limits<std::uint64_t>::max()) == "15.9 EiB");
}

TEST_CASE("a table is aligned, and gives way from the last column on") {
    Table table({{"region", Align::left}, {"entries", Align::right}, {"note", Align::left}});
    table.add({{"evidence", Style::plain}, {"1,234", Style::plain}, {"measured facts, never changed", Style::plain}});
    table.add({{"\xe4\xb8\xad", Style::plain}, {"7", Style::plain}, {"\x1b[2J", Style::plain}});
    CHECK(table.text(Terminal{}) ==
          "region    entries  note\n"
          "evidence    1,234  measured facts, never changed\n"
          "\xe4\xb8\xad              7  \\x1b[2J\n");
    Terminal narrow;
    narrow.columns = 30;
    CHECK(table.text(narrow, 2) ==
          "  region    entries  note\n"
          "  evidence    1,234  measured\u2026\n"
          "  \xe4\xb8\xad              7  \\x1b[2J\n");
    narrow.columns = 16;
    const std::string text = table.text(narrow);
    for (const std::string_view line : lines_of(text)) CHECK(display_columns(line) <= 16);
}

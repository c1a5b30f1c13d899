#include "runtime/terminal.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <charconv>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <cwchar>
#include <utility>

namespace stele {

namespace {

constexpr std::string_view ellipsis = "\u2026";
constexpr std::size_t default_columns = 80;
constexpr std::size_t default_rows = 24;
// More marks than this on one letter serve no script, but hide any amount of text in no width.
constexpr std::size_t marks_per_letter_max = 8;

struct WindowSize {
    std::size_t columns = 0;
    std::size_t rows = 0;
};

WindowSize ask_window(int fd) {
    winsize size{};
    if (fd < 0 || ::ioctl(fd, TIOCGWINSZ, &size) != 0) return {};
    return {size.ws_col, size.ws_row};
}

std::size_t number_in(const std::string& text) {
    std::size_t number = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    return failure == std::errc() && end == text.data() + text.size() && number < 100'000 ? number : 0;
}

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

// ---- characters ----

struct Character {
    char32_t code = 0;
    std::size_t bytes = 1;
    bool valid = false;
};

bool is_continuation(std::string_view text, std::size_t at) {
    return at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
}

/// The first character of a text that is not empty; one byte where it is no UTF-8.
Character first_character(std::string_view text) {
    const auto lead = static_cast<unsigned char>(text[0]);
    if (lead < 0x80) return {lead, 1, true};
    const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4) return {};
    char32_t code = lead & (0x7Fu >> bytes);
    for (std::size_t i = 1; i < bytes; ++i) {
        if (!is_continuation(text, i)) return {};
        code = (code << 6) | (static_cast<unsigned char>(text[i]) & 0x3Fu);
    }
    const bool overlong = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (overlong || surrogate || code > 0x10FFFF) return {};
    return {code, bytes, true};
}

/// What a terminal or an editor obeys rather than shows.
bool is_command(char32_t code) {
    if (code < 0x20 || (code >= 0x7F && code < 0xA0)) return true;
    if (code < 0x61C) return false;
    return code == 0x61C || code == 0x200E || code == 0x200F || (code >= 0x2028 && code <= 0x202E) ||
           (code >= 0x2066 && code <= 0x2069) || code == 0xFEFF || (code >= 0xFFF9 && code <= 0xFFFB) ||
           (code >= 0xE0000 && code <= 0xE007F);
}

/// Character widths as in the C library's UTF-8 locale, whatever locale the process is in.
int library_width(char32_t code) {
    static const locale_t utf8 = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    if (utf8 == nullptr) return -1;
    const locale_t before = ::uselocale(utf8);
    const int width = ::wcwidth(static_cast<wchar_t>(code));
    ::uselocale(before);
    return width;
}

std::size_t width_of(char32_t code) {
    if (code < 0x300) return 1;
    // It makes some narrow emoji wide; too wide a guess only cuts a line early.
    if (code == 0xFE0F) return 1;
    const int width = library_width(code);
    if (width >= 0) return static_cast<std::size_t>(width);
    // Newer than the library's tables.
    return code >= 0x1100 ? 2 : 1;
}

std::string hex(std::uint32_t number, int digits) {
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "%0*x", digits, static_cast<unsigned>(number));
    return text.data();
}

std::string escape_of(char32_t code) {
    switch (code) {
        case '\n':
            return "\\n";
        case '\r':
            return "\\r";
        case '\t':
            return "\\t";
        default:
            break;
    }
    if (code < 0x80) return "\\x" + hex(code, 2);
    return code < 0x10000 ? "\\u" + hex(code, 4) : "\\u{" + hex(code, 5) + "}";
}

/// Hands on pieces that must stay whole, with the columns they take, until `emit` returns false.
/// `marks` counts those on the letter before, also when a text comes in parts.
template <class Emit>
void for_each_piece(std::string_view text, std::size_t& marks, Emit emit) {
    while (!text.empty()) {
        const auto byte = static_cast<unsigned char>(text[0]);
        if (byte >= 0x20 && byte < 0x7F) {
            if (!emit(text.substr(0, 1), std::size_t{1})) return;
            text.remove_prefix(1);
            marks = 0;
            continue;
        }
        const Character character = first_character(text);
        const std::string_view bytes = text.substr(0, character.bytes);
        text.remove_prefix(character.bytes);
        const bool shown = character.valid && !is_command(character.code);
        const std::size_t width = shown ? width_of(character.code) : 0;
        if (shown && width > 0) marks = 0;
        if (shown && (width > 0 || ++marks <= marks_per_letter_max)) {
            if (!emit(bytes, width)) return;
            continue;
        }
        const std::string escape = character.valid ? escape_of(character.code) : "\\x" + hex(byte, 2);
        if (!emit(std::string_view(escape), escape.size())) return;
    }
}

const char* code_of(Style style) {
    switch (style) {
        case Style::plain:
            return "";
        case Style::bold:
            return "1";
        case Style::dim:
            return "2";
        case Style::red:
            return "31";
        case Style::green:
            return "32";
        case Style::yellow:
            return "33";
        case Style::cyan:
            return "36";
    }
    return "";
}

// ---- numbers ----

std::string padded(std::uint64_t number, std::size_t digits) {
    std::string text = std::to_string(number);
    return text.size() < digits ? std::string(digits - text.size(), '0') + text : text;
}

/// Without overflow for the one number that has no positive counterpart.
std::uint64_t magnitude(std::int64_t number) {
    return number < 0 ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
}

std::string time_text(TimeMs time, bool utc) {
    std::int64_t seconds = time.ms / 1000;
    std::int64_t rest = time.ms % 1000;
    if (rest < 0) {
        --seconds;
        rest += 1000;
    }
    const auto stamp = static_cast<std::time_t>(seconds);
    std::tm parts{};
    const std::tm* known = utc ? ::gmtime_r(&stamp, &parts) : ::localtime_r(&stamp, &parts);
    std::array<char, 64> text{};
    if (known == nullptr || parts.tm_year > 8'099 || parts.tm_year < -1'900 ||
        std::strftime(text.data(), text.size(), utc ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &parts) == 0) {
        return std::to_string(time.ms) + " ms since 1970";
    }
    return std::string(text.data()) + "." + padded(static_cast<std::uint64_t>(rest), 3) + (utc ? "Z" : "");
}

}  // namespace

std::optional<ColorChoice> color_choice_from(std::string_view text) {
    if (text == "auto") return ColorChoice::automatic;
    if (text == "always") return ColorChoice::always;
    if (text == "never") return ColorChoice::never;
    return std::nullopt;
}

Terminal terminal_from(const TerminalFacts& facts, ColorChoice choice) {
    const bool dumb = facts.term_variable.empty() || facts.term_variable == "dumb";
    Terminal terminal;
    terminal.is_tty = facts.is_tty;
    terminal.live = facts.is_tty && !dumb;
    switch (choice) {
        case ColorChoice::automatic:
            terminal.color = terminal.live && facts.no_color_variable.empty();
            break;
        case ColorChoice::always:
            terminal.color = true;
            break;
        case ColorChoice::never:
            terminal.color = false;
            break;
    }
    if (!facts.is_tty) return terminal;
    terminal.columns = facts.window_columns;
    if (terminal.columns == 0) terminal.columns = number_in(facts.columns_variable);
    if (terminal.columns == 0) terminal.columns = default_columns;
    terminal.rows = facts.window_rows != 0 ? facts.window_rows : default_rows;
    return terminal;
}

Terminal detect_terminal(int fd, ColorChoice choice) {
    TerminalFacts facts;
    facts.is_tty = ::isatty(fd) == 1;
    const WindowSize size = ask_window(fd);
    facts.window_columns = size.columns;
    facts.window_rows = size.rows;
    facts.columns_variable = environment("COLUMNS");
    facts.term_variable = environment("TERM");
    facts.no_color_variable = environment("NO_COLOR");
    Terminal terminal = terminal_from(facts, choice);
    terminal.fd = fd;
    return terminal;
}

void Terminal::refresh() {
    if (!is_tty) return;
    const WindowSize size = ask_window(fd);
    if (size.columns != 0) columns = size.columns;
    if (size.rows != 0) rows = size.rows;
}

std::string printable(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    std::size_t marks = 0;
    for_each_piece(text, marks, [&](std::string_view piece, std::size_t) {
        out += piece;
        return true;
    });
    return out;
}

std::size_t display_columns(std::string_view text) {
    std::size_t columns = 0;
    std::size_t marks = 0;
    for_each_piece(text, marks, [&](std::string_view, std::size_t width) {
        columns += width;
        return true;
    });
    return columns;
}

std::string truncated(std::string_view text, std::size_t columns_max) {
    return Line(columns_max).add(text).text(false);
}

std::string escaped_json(std::string_view json) {
    std::string out;
    out.reserve(json.size());
    while (!json.empty()) {
        const Character character = first_character(json);
        if (!character.valid) {
            out += "\xEF\xBF\xBD";
        } else if (character.code >= 0x7F && is_command(character.code)) {
            if (character.code < 0x10000) {
                out += "\\u" + hex(character.code, 4);
            } else {
                const char32_t rest = character.code - 0x10000;
                out += "\\u" + hex(0xD800 + (rest >> 10), 4) + "\\u" + hex(0xDC00 + (rest & 0x3FF), 4);
            }
        } else {
            out += json.substr(0, character.bytes);
        }
        json.remove_prefix(character.bytes);
    }
    return out;
}

std::vector<std::string_view> lines_of(std::string_view text) {
    std::vector<std::string_view> lines;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        if (line.ends_with('\r')) line.remove_suffix(1);
        lines.push_back(line);
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    while (!lines.empty() && lines.back().empty()) lines.pop_back();
    return lines;
}

std::string_view last_line_of(std::string_view text) {
    const std::size_t end = text.find_last_not_of(std::string_view(" \t\r\n\0", 5));
    if (end == std::string_view::npos) return {};
    text = text.substr(0, end + 1);
    const std::size_t before = text.find_last_of("\r\n");
    return before == std::string_view::npos ? text : text.substr(before + 1);
}

// ---- lines ----

Line& Line::add(std::string_view text, Style style) {
    if (cut_ || text.empty()) return *this;
    pieces_.push_back({{}, style});
    for_each_piece(text, marks_, [&](std::string_view piece, std::size_t width) {
        if (columns_max_ != 0 && columns_ + width > columns_max_) {
            cut();
            return false;
        }
        pieces_.back().text += piece;
        columns_ += width;
        if (columns_ < columns_max_) {
            room_pieces_ = pieces_.size();
            room_bytes_ = pieces_.back().text.size();
            room_columns_ = columns_;
        }
        return true;
    });
    return *this;
}

void Line::cut() {
    cut_ = true;
    pieces_.resize(room_pieces_, {{}, Style::plain});
    if (!pieces_.empty()) pieces_.back().text.resize(room_bytes_);
    pieces_.push_back({std::string(ellipsis), Style::plain});
    columns_ = room_columns_ + 1;
}

Line& Line::pad_to(std::size_t column) {
    const std::size_t missing = column > columns_ ? column - columns_ : columns_ > 0 ? 1 : 0;
    return add(std::string(missing, ' '));
}

std::string Line::text(bool color) const {
    std::string out;
    for (const Piece& piece : pieces_) {
        const bool styled = color && piece.style != Style::plain && !piece.text.empty();
        if (styled) out += std::string("\x1b[") + code_of(piece.style) + "m";
        out += piece.text;
        if (styled) out += "\x1b[0m";
    }
    return out;
}

// ---- durations, times, counts ----

std::string duration_text(std::int64_t ms) {
    const std::string sign = ms < 0 ? "-" : "";
    const std::uint64_t whole = magnitude(ms);
    if (whole < 1'000) return sign + std::to_string(whole) + " ms";
    const std::uint64_t seconds = whole / 1'000;
    if (seconds < 60) return sign + std::to_string(seconds) + "." + std::to_string(whole % 1'000 / 100) + " s";
    const std::string tail =
        padded(seconds / 60 % 60, seconds < 3'600 ? 1 : 2) + " m " + padded(seconds % 60, 2) + " s";
    if (seconds < 3'600) return sign + tail;
    return sign + std::to_string(seconds / 3'600) + " h " + tail;
}

std::string since_text(std::int64_t ms) {
    const std::uint64_t whole = magnitude(ms);
    const std::uint64_t seconds = whole / 1'000;
    const std::string tail = padded(seconds / 60 % 60, seconds < 3'600 ? 1 : 2) + ":" + padded(seconds % 60, 2) + "." +
                             padded(whole % 1'000, 3);
    return (ms < 0 ? "-" : "+") + (seconds < 3'600 ? tail : std::to_string(seconds / 3'600) + ":" + tail);
}

std::string local_time_text(TimeMs time) { return time_text(time, false); }
std::string utc_time_text(TimeMs time) { return time_text(time, true); }

std::string count_text(std::uint64_t count) {
    std::string text = std::to_string(count);
    for (std::size_t at = text.size(); at > 3;) {
        at -= 3;
        text.insert(at, 1, ',');
    }
    return text;
}

std::string counted(std::uint64_t count, std::string_view one, std::string_view many) {
    return count_text(count) + " " + std::string(count == 1 ? one : many);
}

std::string bytes_text(std::uint64_t bytes) {
    if (bytes < 1'024) return counted(bytes, "byte", "bytes");
    static constexpr std::array units = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    std::size_t unit = 0;
    std::uint64_t rest = bytes;
    while (rest >= 1'024 * 1'024 && unit + 1 < units.size()) {
        rest /= 1'024;
        ++unit;
    }
    return std::to_string(rest / 1'024) + "." + std::to_string(rest % 1'024 * 10 / 1'024) + " " + units[unit];
}

// ---- tables ----

namespace {
constexpr std::size_t table_gap = 2;
constexpr std::size_t table_column_min = 4;
}  // namespace

void Table::add(std::vector<Cell> row) {
    assert(row.size() == columns_.size());
    rows_.push_back(std::move(row));
}

std::vector<std::size_t> Table::widths(std::size_t columns_max) const {
    std::vector<std::size_t> widths;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        std::size_t width = display_columns(columns_[i].title);
        for (const std::vector<Cell>& row : rows_) width = std::max(width, display_columns(row[i].text));
        widths.push_back(width);
    }
    if (columns_max == 0 || widths.empty()) return widths;
    std::size_t total = table_gap * (widths.size() - 1);
    for (const std::size_t width : widths) total += width;
    const auto shrink = [&](std::size_t& width) {
        const std::size_t spare = width > table_column_min ? width - table_column_min : 0;
        const std::size_t by = std::min(spare, total > columns_max ? total - columns_max : 0);
        width -= by;
        total -= by;
        return by > 0;
    };
    shrink(widths.back());
    while (total > columns_max && shrink(*std::max_element(widths.begin(), widths.end()))) {
    }
    return widths;
}

std::string Table::text(const Terminal& terminal, std::size_t indent) const {
    const std::size_t columns_max = terminal.columns == 0 ? 0 : std::max<std::size_t>(terminal.columns, indent + 1);
    const std::vector<std::size_t> width = widths(columns_max == 0 ? 0 : columns_max - indent);
    std::string out;
    const auto write = [&](std::size_t i, const std::string& text, Style style, Line& line) {
        const std::string cell = truncated(text, width[i]);
        const std::size_t missing = width[i] - std::min(width[i], display_columns(cell));
        if (columns_[i].align == Align::right) line.add(std::string(missing, ' '));
        line.add(cell, style);
        if (i + 1 == columns_.size()) return;
        line.add(std::string(table_gap + (columns_[i].align == Align::left ? missing : 0), ' '));
    };
    const auto finish = [&](const Line& line) {
        std::string text = line.text(terminal.color);
        while (text.ends_with(' ')) text.pop_back();
        out += text + "\n";
    };
    Line titles(columns_max);
    titles.add(std::string(indent, ' '));
    for (std::size_t i = 0; i < columns_.size(); ++i) write(i, columns_[i].title, Style::dim, titles);
    finish(titles);
    for (const std::vector<Cell>& row : rows_) {
        Line line(columns_max);
        line.add(std::string(indent, ' '));
        for (std::size_t i = 0; i < row.size(); ++i) write(i, row[i].text, row[i].style, line);
        finish(line);
    }
    return out;
}

}  // namespace stele

// What the output is (how wide, whether a person watches, whether colour is wanted), and text made
// fit for it. What sources write is never trusted: nothing that goes through `Line` or `printable`
// can move a cursor, change a colour or reverse the reading order. Plain values, any thread; only
// `detect_terminal` and `Terminal::refresh` ask the operating system.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "board/ids.hpp"
#include "board/utf8.hpp"

namespace stele {

enum class ColorChoice { automatic, always, never };
/// "auto", "always" or "never".
std::optional<ColorChoice> color_choice_from(std::string_view text);

/// Plain values: tests make their own.
struct Terminal {
    bool is_tty = false;
    /// The cursor can be moved, so lines may be drawn again in place.
    bool live = false;
    bool color = false;
    /// What a line may take; 0: as much as it likes.
    std::size_t columns = 0;
    std::size_t rows = 0;
    /// Where the size is asked for; -1: nowhere.
    int fd = -1;

    /// Takes over the size that the window has now.
    void refresh();
};

/// What is known about an output before anything is decided.
struct TerminalFacts {
    bool is_tty = false;
    std::size_t window_columns = 0;  // 0: the window does not say
    std::size_t window_rows = 0;
    std::string columns_variable;   // COLUMNS
    std::string term_variable;      // TERM
    std::string no_color_variable;  // NO_COLOR
};
/// Decides only. What is no terminal has no width: nothing is cut for a pipe or a file.
Terminal terminal_from(const TerminalFacts& facts, ColorChoice choice);
Terminal detect_terminal(int fd, ColorChoice choice = ColorChoice::automatic);

enum class Style { plain, bold, dim, red, green, yellow, cyan };

/// Control characters, escape sequences, marks that reverse the reading order and bytes that are no
/// UTF-8 become visible text ("\x1b", "\n", "\u202e", "\xff"); everything else stays as it is.
std::string printable(std::string_view text);
/// Columns that printable(text) takes.
std::size_t display_columns(std::string_view text);
/// printable(text), cut with an ellipsis where it takes more than `columns_max` (0: never).
std::string truncated(std::string_view text, std::size_t columns_max);
/// JSON text that a terminal can be shown: inside its strings, what a terminal would obey becomes
/// the \u escape that means the same. Line breaks between values stay.
std::string escaped_json(std::string_view json);
/// The pieces between line breaks; without empty ones at the end.
std::vector<std::string_view> lines_of(std::string_view text);
/// The last line that says anything, or nothing.
std::string_view last_line_of(std::string_view text);

/// One line in the making. Whatever is added is made printable; what passes `columns_max` is cut
/// with an ellipsis (0: never).
class Line {
public:
    explicit Line(std::size_t columns_max = 0) : columns_max_(columns_max) {}

    Line& add(std::string_view text, Style style = Style::plain);
    /// Spaces up to this column; at least one when the line is not empty.
    Line& pad_to(std::size_t column);
    [[nodiscard]] std::size_t columns() const { return columns_; }
    [[nodiscard]] bool is_cut() const { return cut_; }
    /// Without a line break.
    [[nodiscard]] std::string text(bool color) const;

private:
    struct Piece {
        std::string text;
        Style style;
    };

    void cut();

    std::size_t columns_max_;
    std::size_t columns_ = 0;
    std::size_t marks_ = 0;
    bool cut_ = false;
    std::vector<Piece> pieces_;
    // The last place where an ellipsis still has room.
    std::size_t room_pieces_ = 0;
    std::size_t room_bytes_ = 0;
    std::size_t room_columns_ = 0;
};

std::string duration_text(std::int64_t ms);   // "340 ms", "1.2 s", "3 m 04 s", "2 h 03 m 04 s"
std::string since_text(std::int64_t ms);      // "+0:00.340", "+12:03.000", "+1:02:03.000"
std::string local_time_text(TimeMs time);     // "2026-01-31 14:03:07.120"
std::string utc_time_text(TimeMs time);       // "2026-01-31T13:03:07.120Z"
std::string count_text(std::uint64_t count);  // "1,234,567"
std::string counted(std::uint64_t count, std::string_view one, std::string_view many);  // "1,234 entries"
std::string bytes_text(std::uint64_t bytes);                                            // "512 bytes", "1.2 MiB"

enum class Align { left, right };

/// A table that fits the width: the last column is cut first, then the widest of the others.
class Table {
public:
    struct Column {
        std::string title;
        Align align = Align::left;
    };
    struct Cell {
        std::string text;
        Style style = Style::plain;
    };

    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

    /// One cell per column.
    void add(std::vector<Cell> row);
    /// Every line begins with `indent` spaces and ends with a line break; the first holds the titles.
    [[nodiscard]] std::string text(const Terminal& terminal, std::size_t indent = 0) const;

private:
    [[nodiscard]] std::vector<std::size_t> widths(std::size_t columns_max) const;

    std::vector<Column> columns_;
    std::vector<std::vector<Cell>> rows_;
};

}  // namespace stele

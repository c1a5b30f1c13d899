// Streams of events inside HTTP bodies, in pieces of any size: server-sent events, and JSON lines. Never
// fail on bytes; a line beyond its bound is a state that the caller asks for. Plain objects, any thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "board/limits.hpp"

namespace stele {

struct StreamEvent {
    std::string name;  // of `event:`, or empty
    std::string data;  // the `data:` lines, joined by line breaks
};

/// Lines end with LF, CR LF or CR, wherever the pieces are cut.
class LineSplitter {
public:
    explicit LineSplitter(std::size_t line_bytes_max = limits::response_line_bytes_max)
        : line_bytes_max_(line_bytes_max) {}
    /// Calls `line` for each whole line; stops early when it returns false. False also when a line is too long.
    bool feed(std::string_view bytes, const std::function<bool(std::string_view)>& line);
    /// What stands after the last line break.
    [[nodiscard]] const std::string& rest() const { return rest_; }
    [[nodiscard]] bool is_too_long() const { return too_long_; }

private:
    std::size_t line_bytes_max_;
    std::string rest_;
    bool after_cr_ = false;
    bool too_long_ = false;
};

class EventStream {
public:
    explicit EventStream(std::size_t event_bytes_max = limits::response_line_bytes_max)
        : lines_(event_bytes_max), event_bytes_max_(event_bytes_max) {}
    /// Calls `event` for each event that an empty line has ended; stops early when it returns false. An
    /// event that is not ended yet is not told: whoever sends it may have been cut off.
    bool feed(std::string_view bytes, const std::function<bool(const StreamEvent&)>& event);
    [[nodiscard]] bool is_too_long() const { return too_long_ || lines_.is_too_long(); }

private:
    LineSplitter lines_;
    std::size_t event_bytes_max_;
    StreamEvent event_;
    bool has_data_ = false;
    bool first_ = true;
    bool too_long_ = false;
};

}  // namespace stele

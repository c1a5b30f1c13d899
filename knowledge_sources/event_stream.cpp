#include "knowledge_sources/event_stream.hpp"

namespace stele {

bool LineSplitter::feed(std::string_view bytes, const std::function<bool(std::string_view)>& line) {
    while (!bytes.empty() && !too_long_) {
        if (after_cr_) {
            after_cr_ = false;
            if (bytes.front() == '\n') {
                bytes.remove_prefix(1);
                continue;
            }
        }
        const std::size_t end = bytes.find_first_of("\r\n");
        const std::string_view piece = bytes.substr(0, end);
        if (rest_.size() + piece.size() > line_bytes_max_) {
            too_long_ = true;
            break;
        }
        if (end == std::string_view::npos) {
            rest_.append(piece);
            break;
        }
        after_cr_ = bytes[end] == '\r';
        bytes.remove_prefix(end + 1);
        bool go_on = true;
        if (rest_.empty()) {
            go_on = line(piece);
        } else {
            rest_.append(piece);
            const std::string whole = std::move(rest_);
            rest_.clear();
            go_on = line(whole);
        }
        if (!go_on) return false;
    }
    return !too_long_;
}

bool EventStream::feed(std::string_view bytes, const std::function<bool(const StreamEvent&)>& event) {
    const bool went_on = lines_.feed(bytes, [&](std::string_view line) {
        if (first_) {
            first_ = false;
            constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
            if (line.substr(0, byte_order_mark.size()) == byte_order_mark) line.remove_prefix(byte_order_mark.size());
        }
        if (line.empty()) {
            const StreamEvent whole = std::move(event_);
            event_ = {};
            const bool is_event = has_data_;
            has_data_ = false;
            return !is_event || event(whole);
        }
        if (line.front() == ':') return true;  // a comment, sent to keep the connection open
        const std::size_t colon = line.find(':');
        const std::string_view field = line.substr(0, colon);
        std::string_view value = colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
        if (!value.empty() && value.front() == ' ') value.remove_prefix(1);
        if (field == "data") {
            if (event_.data.size() + value.size() + 1 > event_bytes_max_) {
                too_long_ = true;
                return false;
            }
            if (has_data_) event_.data += '\n';
            event_.data.append(value);
            has_data_ = true;
        } else if (field == "event") {
            event_.name = value;
        }
        return true;
    });
    return went_on && !is_too_long();
}

}  // namespace stele

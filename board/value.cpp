#include "board/value.hpp"

#include <boost/json/basic_parser_impl.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <compare>
#include <cstring>
#include <exception>
#include <functional>
#include <limits>

#include "board/limits.hpp"

namespace stele {

namespace {

constexpr double two_to_63 = 9223372036854775808.0;

bool key_less(const Value::Member& a, const Value::Member& b) { return a.first < b.first; }

bool before_key(const Value::Member& member, std::string_view key) { return member.first < key; }

bool strictly_ascending(const Value::Object& members) {
    for (std::size_t i = 1; i < members.size(); ++i) {
        if (!key_less(members[i - 1], members[i])) return false;
    }
    return true;
}

void sort_keeping_last(Value::Object& members) {
    std::stable_sort(members.begin(), members.end(), key_less);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < members.size(); ++i) {
        if (kept > 0 && members[kept - 1].first == members[i].first) --kept;
        if (kept != i) members[kept] = std::move(members[i]);
        ++kept;
    }
    members.resize(kept);
}

}  // namespace

Value Value::number(double d) {
    assert(std::isfinite(d));
    Value value;
    if (d >= -two_to_63 && d < two_to_63 && d == std::trunc(d)) {
        value.data_ = static_cast<std::int64_t>(d);
    } else {
        value.data_ = d;
    }
    return value;
}

Value Value::object(std::vector<Member> members) {
    if (!strictly_ascending(members)) sort_keeping_last(members);
    Value value;
    value.data_ = std::move(members);
    return value;
}

const Value* Value::find(std::string_view key) const {
    const Object* members = std::get_if<Object>(&data_);
    if (members == nullptr) return nullptr;
    // Stops where it meets the key, and so looks at as little memory as it can: joins ask objects that are in no cache.
    auto low = members->begin();
    auto high = members->end();
    while (low != high) {
        const auto middle = low + (high - low) / 2;
        const int order = key.compare(middle->first);
        if (order == 0) return &middle->second;
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return nullptr;
}

void Value::set(std::string_view key, Value value) {
    if (is_null()) data_ = Object();
    assert(is_object());
    Object& members = std::get<Object>(data_);
    const auto at = std::lower_bound(members.begin(), members.end(), key, before_key);
    if (at != members.end() && at->first == key) {
        at->second = std::move(value);
    } else {
        members.emplace(at, std::string(key), std::move(value));
    }
}

void Value::push_back(Value value) {
    if (is_null()) data_ = Array();
    assert(is_array());
    std::get<Array>(data_).push_back(std::move(value));
}

const char* Value::type_name() const {
    static constexpr const char* names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    return names[data_.index()];
}

// --- order ---

namespace {

/// Exact: converting either side would round above 2^53.
std::strong_ordering compare_int_double(std::int64_t i, double d) {
    if (d >= two_to_63) return std::strong_ordering::less;
    if (d < -two_to_63) return std::strong_ordering::greater;
    const double whole = std::trunc(d);
    const auto truncated = static_cast<std::int64_t>(whole);
    if (i != truncated) return i <=> truncated;
    if (d > whole) return std::strong_ordering::less;
    if (d < whole) return std::strong_ordering::greater;
    return std::strong_ordering::equal;
}

std::strong_ordering compare_numbers(const Value& a, const Value& b) {
    if (a.is_int() && b.is_int()) return a.as_int() <=> b.as_int();
    if (a.is_int()) return compare_int_double(a.as_int(), b.as_double());
    if (b.is_int()) return 0 <=> compare_int_double(b.as_int(), a.as_double());
    if (a.as_double() < b.as_double()) return std::strong_ordering::less;
    if (a.as_double() > b.as_double()) return std::strong_ordering::greater;
    return std::strong_ordering::equal;
}

std::strong_ordering compare_arrays(const Value::Array& a, const Value::Array& b) {
    const std::size_t shared = std::min(a.size(), b.size());
    for (std::size_t i = 0; i < shared; ++i) {
        if (const auto order = compare(a[i], b[i]); order != 0) return order;
    }
    return a.size() <=> b.size();
}

std::strong_ordering compare_objects(const Value::Object& a, const Value::Object& b) {
    const std::size_t shared = std::min(a.size(), b.size());
    for (std::size_t i = 0; i < shared; ++i) {
        if (const auto order = a[i].first <=> b[i].first; order != 0) return order;
        if (const auto order = compare(a[i].second, b[i].second); order != 0) return order;
    }
    return a.size() <=> b.size();
}

int rank_of(const Value& value) {
    if (value.is_null()) return 0;
    if (value.is_bool()) return 1;
    if (value.is_number()) return 2;
    if (value.is_string()) return 3;
    return value.is_array() ? 4 : 5;
}

}  // namespace

std::strong_ordering compare(const Value& a, const Value& b) {
    const int rank = rank_of(a);
    if (const int other = rank_of(b); rank != other) return rank <=> other;
    switch (rank) {
        case 0:
            return std::strong_ordering::equal;
        case 1:
            return a.as_bool() <=> b.as_bool();
        case 2:
            return compare_numbers(a, b);
        case 3:
            return a.as_string() <=> b.as_string();
        case 4:
            return compare_arrays(a.as_array(), b.as_array());
        default:
            return compare_objects(a.as_object(), b.as_object());
    }
}

// --- writing ---

namespace {

bool needs_escape(char c) { return static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\'; }

/// Eight bytes at a time: most text has nothing to escape, and every commit passes through here.
bool word_needs_escape(const char* at) {
    constexpr std::uint64_t ones = 0x0101010101010101;
    constexpr std::uint64_t highs = 0x8080808080808080;
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    const std::uint64_t quote = word ^ (ones * '"');
    const std::uint64_t slash = word ^ (ones * '\\');
    const std::uint64_t control = (word - ones * 0x20) & ~word;
    return ((((quote - ones) & ~quote) | ((slash - ones) & ~slash) | control) & highs) != 0;
}

void append_escape(char c, std::string& out) {
    static constexpr char digits[] = "0123456789abcdef";
    switch (c) {
        case '"':
            out += "\\\"";
            return;
        case '\\':
            out += "\\\\";
            return;
        case '\b':
            out += "\\b";
            return;
        case '\f':
            out += "\\f";
            return;
        case '\n':
            out += "\\n";
            return;
        case '\r':
            out += "\\r";
            return;
        case '\t':
            out += "\\t";
            return;
        default:
            break;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += "\\u00";
    out += digits[byte >> 4];
    out += digits[byte & 15];
}

void append_string(std::string_view text, std::string& out) {
    out += '"';
    const char* at = text.data();
    const char* const end = at + text.size();
    while (at != end) {
        const char* const run = at;
        while (end - at >= 8 && !word_needs_escape(at)) at += 8;
        while (at != end && !needs_escape(*at)) ++at;
        out.append(run, static_cast<std::size_t>(at - run));
        if (at != end) append_escape(*at++, out);
    }
    out += '"';
}

void append_int(std::int64_t i, std::string& out) {
    std::array<char, 24> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), i).ptr;
    out.append(digits.data(), end);
}

void append_double(double d, std::string& out) {
    assert(std::isfinite(d));
    std::array<char, 64> digits;
    char* const begin = digits.data();
    char* const limit = begin + digits.size();
    // From 2^63 on the shortest form can be plain digits, which would read as an integer beyond int64.
    const bool large = d >= two_to_63 || d <= -two_to_63;
    const auto end =
        large ? std::to_chars(begin, limit, d, std::chars_format::scientific).ptr : std::to_chars(begin, limit, d).ptr;
    out.append(begin, end);
}

bool append_scalar(const Value& value, std::string& out) {
    if (value.is_string()) {
        append_string(value.as_string(), out);
    } else if (value.is_int()) {
        append_int(value.as_int(), out);
    } else if (value.is_double()) {
        append_double(value.as_double(), out);
    } else if (value.is_bool()) {
        out += value.as_bool() ? "true" : "false";
    } else if (value.is_null()) {
        out += "null";
    } else {
        return false;
    }
    return true;
}

void append_pretty(const Value& value, std::size_t indent, std::string& out) {
    if (append_scalar(value, out)) return;
    const bool array = value.is_array();
    const std::size_t size = array ? value.as_array().size() : value.as_object().size();
    if (size == 0) {
        out += array ? "[]" : "{}";
        return;
    }
    out += array ? '[' : '{';
    for (std::size_t i = 0; i < size; ++i) {
        out += i == 0 ? "\n" : ",\n";
        out.append(indent + 2, ' ');
        if (array) {
            append_pretty(value.as_array()[i], indent + 2, out);
        } else {
            append_string(value.as_object()[i].first, out);
            out += ": ";
            append_pretty(value.as_object()[i].second, indent + 2, out);
        }
    }
    out += '\n';
    out.append(indent, ' ');
    out += array ? ']' : '}';
}

}  // namespace

void append_json(const Value& value, std::string& out) {
    if (append_scalar(value, out)) return;
    if (value.is_array()) {
        char before = '[';
        for (const Value& element : value.as_array()) {
            out += before;
            append_json(element, out);
            before = ',';
        }
        out += before == '[' ? "[]" : "]";
        return;
    }
    char before = '{';
    for (const auto& [key, member] : value.as_object()) {
        out += before;
        append_string(key, out);
        out += ':';
        append_json(member, out);
        before = ',';
    }
    out += before == '{' ? "{}" : "}";
}

std::string to_json(const Value& value) {
    std::string out;
    append_json(value, out);
    return out;
}

std::string to_pretty_json(const Value& value) {
    std::string out;
    append_pretty(value, 0, out);
    return out;
}

// --- reading ---

namespace {

namespace json = boost::json;

constexpr std::size_t nowhere = std::numeric_limits<std::size_t>::max();

/// A text out of the input, quoted and cut to a length that a person reads.
std::string in_quotes(std::string_view text) {
    constexpr std::size_t shown_max = 60;
    std::string out;
    if (text.size() <= shown_max) {
        append_string(text, out);
        return out;
    }
    std::size_t shown = shown_max;
    while (shown > 0 && (static_cast<unsigned char>(text[shown]) & 0xC0) == 0x80) --shown;
    append_string(text.substr(0, shown), out);
    return out + "...";
}

/// Builds the value from the parser's events. The parser hands over each number whole, because
/// the text is written to it in one piece; on_number_part comes only before it gives up.
class Builder {
public:
    static constexpr std::size_t max_object_size = nowhere;
    static constexpr std::size_t max_array_size = nowhere;
    static constexpr std::size_t max_key_size = nowhere;
    static constexpr std::size_t max_string_size = nowhere;

    explicit Builder(std::string_view text) : text_(text) {}

    bool on_document_begin(json::error_code&) { return true; }
    bool on_document_end(json::error_code&) { return true; }
    bool on_comment_part(json::string_view, json::error_code&) { return true; }
    bool on_comment(json::string_view, json::error_code&) { return true; }

    bool on_object_begin(json::error_code&) { return begin(true); }
    bool on_array_begin(json::error_code&) { return begin(false); }

    bool on_object_end(std::size_t, json::error_code& code) {
        const Frame frame = frames_.back();
        frames_.pop_back();
        const auto first = pending_.begin() + static_cast<std::ptrdiff_t>(frame.first);
        if (!sorted(first)) {
            std::stable_sort(first, pending_.end(), [](const Pending& a, const Pending& b) { return a.key < b.key; });
            const auto same_key = [](const Pending& a, const Pending& b) { return a.key == b.key; };
            const auto twin = std::adjacent_find(first, pending_.end(), same_key);
            if (twin != pending_.end()) {
                return refuse((twin + 1)->at, "duplicate key " + in_quotes(twin->key), code);
            }
        }
        std::vector<Value::Member> members;
        members.reserve(pending_.size() - frame.first);
        for (auto next = first; next != pending_.end(); ++next) {
            members.emplace_back(std::move(next->key), std::move(next->value));
        }
        pending_.resize(frame.first);
        add(Value::object(std::move(members)));
        return true;
    }

    bool on_array_end(std::size_t, json::error_code&) {
        const Frame frame = frames_.back();
        frames_.pop_back();
        Value::Array elements;
        elements.reserve(pending_.size() - frame.first);
        for (std::size_t i = frame.first; i < pending_.size(); ++i) elements.push_back(std::move(pending_[i].value));
        pending_.resize(frame.first);
        add(Value(std::move(elements)));
        return true;
    }

    bool on_key_part(json::string_view part, std::size_t, json::error_code&) { return collect(part); }
    bool on_key(json::string_view part, std::size_t, json::error_code&) {
        collect(part);
        pending_.push_back({std::move(collected_), at_ == nowhere ? nowhere : at_ - 1, Value()});
        clear_collected();
        return true;
    }

    bool on_string_part(json::string_view part, std::size_t, json::error_code&) { return collect(part); }
    bool on_string(json::string_view part, std::size_t, json::error_code&) {
        collect(part);
        add(Value(std::move(collected_)));
        clear_collected();
        return true;
    }

    bool on_number_part(json::string_view, json::error_code&) { return true; }
    bool on_int64(std::int64_t, json::string_view text, json::error_code& code) { return integer(text, code); }
    bool on_uint64(std::uint64_t, json::string_view text, json::error_code& code) { return integer(text, code); }
    bool on_double(double estimate, json::string_view text, json::error_code& code) {
        if (text.find_first_of(".eE") == json::string_view::npos) return integer(text, code);
        double number = 0;
        const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
        assert(end == text.data() + text.size());
        static_cast<void>(end);
        // Too small for a double is the nearest double, zero; the parser's estimate tells it from too large.
        if (failure == std::errc::result_out_of_range && std::fabs(estimate) < 1)
            number = 0;
        else if (failure != std::errc())
            number = std::numeric_limits<double>::infinity();
        if (!std::isfinite(number)) {
            return refuse(offset_of(text), "the number " + shortened(text) + " is beyond a double", code);
        }
        add(Value::number(number));
        return true;
    }

    bool on_bool(bool b, json::error_code&) {
        add(Value(b));
        return true;
    }
    bool on_null(json::error_code&) {
        add(Value());
        return true;
    }

    Value take() { return std::move(root_); }
    /// A refusal of ours, empty when the parser itself gave up.
    const std::string& refusal() const { return refusal_; }
    std::size_t refused_at() const { return refused_at_; }

private:
    struct Frame {
        bool object = false;
        std::size_t first = 0;  // index into pending_
    };
    /// An element, or a member whose value may still be in the making.
    struct Pending {
        std::string key;
        std::size_t at = nowhere;
        Value value;
    };

    bool begin(bool object) {
        frames_.push_back({object, pending_.size()});
        return true;
    }

    void add(Value value) {
        if (frames_.empty()) {
            root_ = std::move(value);
        } else if (frames_.back().object) {
            pending_.back().value = std::move(value);
        } else {
            pending_.push_back({std::string(), nowhere, std::move(value)});
        }
    }

    bool collect(json::string_view part) {
        if (collected_.empty()) at_ = offset_of(part);
        collected_.append(part.data(), part.size());
        return true;
    }
    void clear_collected() {
        collected_.clear();
        at_ = nowhere;
    }

    bool integer(json::string_view text, json::error_code& code) {
        std::int64_t number = 0;
        const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (failure != std::errc() || end != text.data() + text.size()) {
            return refuse(offset_of(text), "the integer " + shortened(text) + " is beyond 64 bits", code);
        }
        add(Value(number));
        return true;
    }

    bool sorted(std::vector<Pending>::const_iterator first) const {
        if (first == pending_.end()) return true;
        for (auto next = first + 1; next != pending_.end(); ++next) {
            if (!((next - 1)->key < next->key)) return false;
        }
        return true;
    }

    bool refuse(std::size_t at, std::string sentence, json::error_code& code) {
        refused_at_ = at;
        refusal_ = std::move(sentence);
        code = json::make_error_code(json::error::input_error);
        return false;
    }

    /// Unescaped parts lie in the text itself; others are in a buffer of the parser's.
    std::size_t offset_of(json::string_view part) const {
        const std::less<const char*> before;
        const char* const begin = text_.data();
        if (before(part.data(), begin) || !before(part.data(), begin + text_.size())) return nowhere;
        return static_cast<std::size_t>(part.data() - begin);
    }

    static std::string shortened(json::string_view number) {
        constexpr std::size_t shown_max = 40;
        if (number.size() <= shown_max) return std::string(number.data(), number.size());
        return std::string(number.data(), shown_max) + "...";
    }

    std::string_view text_;
    std::vector<Frame> frames_;
    std::vector<Pending> pending_;
    std::string collected_;
    std::size_t at_ = nowhere;
    Value root_;
    std::string refusal_;
    std::size_t refused_at_ = nowhere;
};

std::string describe_unexpected(std::string_view text, std::size_t at) {
    if (at >= text.size()) return "the text ends before the value does";
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte >= 0x20 && byte < 0x7F) return std::string("unexpected character '") + text[at] + "'";
    static constexpr char digits[] = "0123456789abcdef";
    const std::string hex = {'0', 'x', digits[byte >> 4], digits[byte & 15]};
    if (byte >= 0x80) return "unexpected byte " + hex + ": bad UTF-8, or a character outside a string";
    return "unexpected control character " + hex;
}

std::string describe(const json::error_code& code, std::string_view text, std::size_t at) {
    if (code == json::error::incomplete) return "the text ends before the value does";
    if (code == json::error::too_deep) {
        return "more than " + std::to_string(limits::json_depth_max) + " levels of arrays and objects";
    }
    if (code == json::error::exponent_overflow) return "the exponent of a number is out of range";
    if (code == json::error::expected_hex_digit) return "expected four hexadecimal digits after \\u";
    if (code == json::error::illegal_leading_surrogate || code == json::error::illegal_trailing_surrogate ||
        code == json::error::expected_utf16_escape) {
        return "a surrogate escape without its other half";
    }
    return describe_unexpected(text, at);
}

Error error_at(std::size_t at, const std::string& sentence) {
    return Error{ErrorCode::invalid_argument, "byte " + std::to_string(at) + ": " + sentence};
}

}  // namespace

Result<Value> parse_json(std::string_view text) {
    if (text.size() > limits::record_bytes_max) {
        return error_at(limits::record_bytes_max,
                        "a JSON text of " + std::to_string(text.size()) + " bytes is longer than allowed");
    }
    try {
        json::parse_options options;
        options.max_depth = limits::json_depth_max;
        json::basic_parser<Builder> parser(options, text);
        json::error_code code;
        const std::size_t used = parser.write_some(false, text.data(), text.size(), code);
        const Builder& builder = parser.handler();
        if (!builder.refusal().empty()) {
            return error_at(builder.refused_at() == nowhere ? used : builder.refused_at(), builder.refusal());
        }
        if (code) return error_at(used, describe(code, text, used));
        if (used < text.size()) return error_at(used, "there is more text after the value");
        return parser.handler().take();
    } catch (const std::exception& failure) {
        return Error{ErrorCode::internal, std::string("a JSON text could not be read: ") + failure.what()};
    }
}

}  // namespace stele

#include "runtime/crew_yaml.hpp"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cmath>
#include <limits>
#include <system_error>
#include <tuple>

#include "board/nearest.hpp"

namespace stele {
namespace {

constexpr std::size_t shown_bytes_max = 60;
constexpr std::size_t keys_listed_max = 8;
// Among more, looking for the nearest would cost more than the rest of the load.
constexpr std::size_t hint_names_max = 2'000;
// Ten years: far beyond any run, and far from overflow in sums of deadlines.
constexpr std::int64_t duration_max_ms = std::int64_t{10} * 365 * 24 * 3'600'000;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool all_digits(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_digit); }

struct Unit {
    std::string_view name;
    std::uint64_t factor;
};

// `12ms` as 12 times the factor of `ms`; nothing when it has another shape or does not fit.
template <std::size_t count>
std::optional<std::uint64_t> with_unit(std::string_view text, const Unit (&units)[count]) {
    const std::size_t digits =
        static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_digit) - text.begin());
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + digits, number);
    if (digits == 0 || parsed.ec != std::errc()) return std::nullopt;
    for (const Unit& unit : units) {
        if (text.substr(digits) != unit.name) continue;
        std::uint64_t product = 0;
        if (__builtin_mul_overflow(number, unit.factor, &product)) return std::nullopt;
        return product;
    }
    return std::nullopt;
}

bool looks_like_float(std::string_view text) {
    std::size_t at = 0;
    std::size_t digits = 0;
    for (; at < text.size() && is_digit(text[at]); ++at) ++digits;
    if (at < text.size() && text[at] == '.') {
        for (++at; at < text.size() && is_digit(text[at]); ++at) ++digits;
    }
    if (digits == 0) return false;
    if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
        ++at;
        if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
        return all_digits(text.substr(at));
    }
    return at == text.size();
}

std::optional<Value> integer_value(std::string_view digits, int base) {
    std::int64_t number = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
    if (parsed.ec != std::errc() || parsed.ptr != digits.data() + digits.size()) return std::nullopt;
    return Value(number);
}

bool all_in_base(std::string_view digits, int base) {
    if (digits.empty()) return false;
    for (const char c : digits) {
        const bool octal = c >= '0' && c <= '7';
        const bool hexadecimal = is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (base == 8 ? !octal : !hexadecimal) return false;
    }
    return true;
}

}  // namespace

const YamlMember* YamlNode::find(std::string_view key) const {
    for (const YamlMember& member : members) {
        if (member.key == key) return &member;
    }
    return nullptr;
}

void CrewProblems::error(SourcePlace place, std::string message) {
    ++error_count_;
    add(place, std::move(message), false);
}

void CrewProblems::warn(SourcePlace place, std::string message) { add(place, std::move(message), true); }

void CrewProblems::add(SourcePlace place, std::string message, bool warning) {
    if (full_) return;
    problems_.push_back(CrewProblem{file_, place, std::move(message), warning});
    full_ = problems_.size() >= limits::crew_problems_max;
}

std::vector<CrewProblem> CrewProblems::take() {
    const auto order = [](const CrewProblem& problem) { return std::tie(problem.place.line, problem.place.column); };
    std::stable_sort(problems_.begin(), problems_.end(),
                     [&](const CrewProblem& a, const CrewProblem& b) { return order(a) < order(b); });
    const auto same = [&](const CrewProblem& a, const CrewProblem& b) {
        return order(a) == order(b) && a.message == b.message;
    };
    problems_.erase(std::unique(problems_.begin(), problems_.end(), same), problems_.end());
    if (full_) {
        CrewProblem last{file_,
                         {},
                         "there may be more problems; only the first " + std::to_string(limits::crew_problems_max) +
                             " found are listed",
                         false};
        last.warning = error_count_ == 0;
        problems_.push_back(std::move(last));
    }
    return std::move(problems_);
}

std::string in_quotes(std::string_view text) {
    std::string out = "\"";
    bool cut = false;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        // Never within a character.
        if (out.size() > shown_bytes_max && (byte & 0xC0) != 0x80) {
            cut = true;
            break;
        }
        if (byte < 0x20 || byte == 0x7F) {
            static constexpr char hex[] = "0123456789abcdef";
            out += c == '\n' ? std::string("\\n") : std::string("\\x") + hex[byte >> 4] + hex[byte & 15];
        } else {
            if (c == '"' || c == '\\') out += '\\';
            out += c;
        }
    }
    if (cut) out += "...";
    return out + "\"";
}

std::string any_of(const std::vector<std::string>& words) {
    std::string out;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (i > 0) out += i + 1 == words.size() ? " or " : ", ";
        out += in_quotes(words[i]);
    }
    return out;
}

std::string nearest_of(std::string_view name, const std::vector<std::string>& known) {
    if (name.empty() || name.size() > limits::name_bytes_max || known.size() > hint_names_max) return {};
    return nearest_name(name, known);
}

std::string nearest_hint(std::string_view name, const std::vector<std::string>& known) {
    const std::string near = nearest_of(name, known);
    return near.empty() ? std::string() : "; did you mean " + in_quotes(near) + "?";
}

std::string describe(const YamlNode& node) {
    switch (node.kind) {
        case YamlNode::Kind::null:
            return "nothing";
        case YamlNode::Kind::list:
            return "a list";
        case YamlNode::Kind::map:
            return "a map";
        case YamlNode::Kind::scalar:
            break;
    }
    const std::optional<Value> value = scalar_value(node);
    if (value.has_value() && value->is_number()) return "the number " + node.text;
    if (value.has_value() && value->is_bool()) return node.text;
    return in_quotes(node.text);
}

std::string unexpected(std::string_view what, std::string_view expected, const YamlNode& found) {
    return std::string(what) + ": expected " + std::string(expected) + ", found " + describe(found);
}

std::optional<Value> scalar_value(const YamlNode& scalar) {
    assert(scalar.is_scalar());
    const std::string_view text = scalar.text;
    if (!scalar.plain) return Value(text);
    if (text == "true" || text == "True" || text == "TRUE") return Value(true);
    if (text == "false" || text == "False" || text == "FALSE") return Value(false);
    if (text.starts_with("0x") && all_in_base(text.substr(2), 16)) return integer_value(text.substr(2), 16);
    if (text.starts_with("0o") && all_in_base(text.substr(2), 8)) return integer_value(text.substr(2), 8);
    const bool has_sign = text.starts_with('-') || text.starts_with('+');
    const std::string_view unsigned_text = text.substr(has_sign ? 1 : 0);
    // from_chars knows no leading plus.
    const std::string_view number_text = text.starts_with('+') ? unsigned_text : text;
    if (all_digits(unsigned_text)) return integer_value(number_text, 10);
    if (looks_like_float(unsigned_text)) {
        double number = 0;
        const auto parsed = std::from_chars(number_text.data(), number_text.data() + number_text.size(), number);
        if (parsed.ec != std::errc() || !std::isfinite(number)) return std::nullopt;
        return Value::number(number);
    }
    for (const std::string_view word : {".inf", ".Inf", ".INF"}) {
        if (unsigned_text == word) return std::nullopt;
    }
    if (text == ".nan" || text == ".NaN" || text == ".NAN") return std::nullopt;
    return Value(text);
}

MapReader::MapReader(const YamlNode& node, std::string what, CrewProblems& problems, SourcePlace place)
    : node_(&node), what_(std::move(what)), problems_(&problems), place_(place.line > 0 ? place : node.place) {
    if (!node.is_map()) problems.error(node.place, unexpected(what_, "a map", node));
}

const YamlMember* MapReader::optional_member(std::string_view key) {
    known_.emplace_back(key);
    return node_->find(key);
}

const YamlNode* MapReader::optional(std::string_view key) {
    const YamlMember* member = optional_member(key);
    return member == nullptr ? nullptr : &member->value;
}

const YamlNode* MapReader::required(std::string_view key) {
    const YamlNode* found = optional(key);
    if (found == nullptr && node_->is_map()) missing_.emplace_back(key);
    return found;
}

void MapReader::finish() {
    for (const YamlMember& member : node_->members) {
        if (problems_->is_full()) return;
        if (std::find(known_.begin(), known_.end(), member.key) != known_.end()) continue;
        const std::string near = nearest_of(member.key, known_);
        // Misspelt, so not missing as well.
        missing_.erase(std::remove(missing_.begin(), missing_.end(), near), missing_.end());
        std::string message = what_ + ": unknown key " + in_quotes(member.key);
        if (!near.empty()) message += "; did you mean " + in_quotes(near) + "?";
        if (near.empty() || known_.size() <= keys_listed_max) {
            message += (near.empty() ? "; expected " : " Expected ") + any_of(known_);
        }
        problems_->error(member.place, std::move(message));
    }
    for (const std::string& key : missing_) problems_->error(place_, what_ + ": " + in_quotes(key) + " is missing");
}

std::string MapReader::part(std::string_view key) const { return std::string(key) + " of " + what_; }

std::optional<std::string> read_text(const YamlNode& node, std::string_view what, CrewProblems& problems) {
    if (node.is_scalar()) return node.text;
    problems.error(node.place, unexpected(what, "text", node));
    return std::nullopt;
}

std::optional<std::size_t> read_word(const YamlNode& node, std::string_view what, const std::vector<std::string>& words,
                                     CrewProblems& problems) {
    if (node.is_scalar()) {
        for (std::size_t i = 0; i < words.size(); ++i) {
            if (node.text == words[i]) return i;
        }
    }
    const std::string hint = node.is_scalar() ? nearest_hint(node.text, words) : std::string();
    problems.error(node.place, unexpected(what, any_of(words), node) + hint);
    return std::nullopt;
}

std::optional<std::uint64_t> read_count(const YamlNode& node, std::string_view what, CountRange range,
                                        CrewProblems& problems) {
    if (node.is_scalar()) {
        const std::optional<Value> value = scalar_value(node);
        if (value.has_value() && value->is_int() && value->as_int() >= 0) {
            const auto number = static_cast<std::uint64_t>(value->as_int());
            if (number >= range.min && number <= range.max) return number;
        }
    }
    problems.error(
        node.place,
        unexpected(what, "a whole number from " + std::to_string(range.min) + " to " + std::to_string(range.max),
                   node));
    return std::nullopt;
}

std::optional<double> read_number(const YamlNode& node, std::string_view what, CrewProblems& problems) {
    if (node.is_scalar()) {
        const std::optional<Value> value = scalar_value(node);
        if (value.has_value() && value->is_number()) return value->as_double();
    }
    problems.error(node.place, unexpected(what, "a number", node));
    return std::nullopt;
}

std::optional<std::int64_t> read_duration(const YamlNode& node, std::string_view what, std::int64_t min_ms,
                                          CrewProblems& problems) {
    static constexpr Unit units[] = {{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}};
    const std::optional<std::uint64_t> ms = node.is_scalar() ? with_unit(node.text, units) : std::nullopt;
    if (!ms.has_value()) {
        problems.error(node.place, unexpected(what, "a duration such as 500ms, 2s, 10m or 1h", node));
        return std::nullopt;
    }
    if (*ms > static_cast<std::uint64_t>(duration_max_ms) || *ms < static_cast<std::uint64_t>(min_ms)) {
        const std::string bounds = "a duration from " + std::to_string(min_ms) + "ms to 87600h";
        problems.error(node.place, unexpected(what, bounds, node));
        return std::nullopt;
    }
    return static_cast<std::int64_t>(*ms);
}

std::optional<std::uint64_t> read_size(const YamlNode& node, std::string_view what, CrewProblems& problems) {
    static constexpr Unit units[] = {{"", 1}, {"KiB", 1U << 10}, {"MiB", 1U << 20}, {"GiB", 1U << 30}};
    const std::optional<std::uint64_t> bytes = node.is_scalar() ? with_unit(node.text, units) : std::nullopt;
    const auto bytes_max = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (bytes.has_value() && *bytes > 0 && *bytes <= bytes_max) return bytes;
    problems.error(node.place, unexpected(what, "a size such as 512KiB, 10MiB, 1GiB or a number of bytes", node));
    return std::nullopt;
}

const std::vector<YamlNode>* read_list(const YamlNode& node, std::string_view what, CrewProblems& problems) {
    if (node.is_list()) return &node.items;
    problems.error(node.place, unexpected(what, "a list", node));
    return nullptr;
}

void check_name(std::string_view name, SourcePlace place, std::string_view what, CrewProblems& problems) {
    if (name.size() > limits::name_bytes_max) {
        problems.error(place, "the name of " + std::string(what) + " is longer than " +
                                  std::to_string(limits::name_bytes_max) + " bytes");
        return;
    }
    const bool starts_well = !name.empty() && name[0] >= 'a' && name[0] <= 'z';
    const bool goes_on_well =
        std::all_of(name.begin(), name.end(), [](char c) { return (c >= 'a' && c <= 'z') || is_digit(c) || c == '_'; });
    if (starts_well && goes_on_well) return;
    problems.error(place, in_quotes(name) + " cannot be the name of " + std::string(what) +
                              ": a name is lower-case letters, digits and _, and begins with a letter");
}

bool is_identifier(std::string_view text) {
    const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
    return !text.empty() && is_letter(text[0]) &&
           std::all_of(text.begin(), text.end(), [&](char c) { return is_letter(c) || is_digit(c); });
}

}  // namespace stele

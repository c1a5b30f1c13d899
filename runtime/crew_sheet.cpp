#include "runtime/crew_sheet.hpp"

#include <algorithm>

namespace stele {
namespace {

constexpr std::size_t columns_max = 100;
constexpr std::size_t label_columns = 14;

std::size_t columns_of(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string_view fitting(std::string_view word, std::size_t columns) {
    std::size_t seen = 0;
    for (std::size_t i = 0; i < word.size(); ++i) {
        if ((word[i] & 0xC0) != 0x80 && ++seen > columns) return word.substr(0, i);
    }
    return word;
}

}  // namespace

void Sheet::heading(std::string_view text) {
    if (!out_.empty()) out_ += '\n';
    wrap({}, text, 0);
}

void Sheet::paragraph(std::string_view text) { wrap({}, text, 0); }

void Sheet::line(std::string label, std::string_view text) {
    label = "    " + label;
    label.resize(std::max(label.size() + 1, 4 + label_columns), ' ');
    wrap(label, text, 4 + label_columns);
}

void Sheet::wrap(std::string_view label, std::string_view text, std::size_t indent) {
    std::string current(label);
    bool has_word = false;
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t begin = std::min(text.find_first_not_of(" \n\t", at), text.size());
        const std::size_t end = std::min(text.find_first_of(" \n\t", begin), text.size());
        at = end;
        std::string_view word = text.substr(begin, end - begin);
        while (!word.empty()) {
            if (has_word && columns_of(current) + 1 + columns_of(word) > columns_max) {
                finish(current);
                current.assign(indent, ' ');
                has_word = false;
            }
            if (has_word) current += ' ';
            // A word wider than the sheet is cut.
            const std::string_view part = fitting(word, columns_max - columns_of(current));
            current += part;
            word.remove_prefix(part.size());
            has_word = true;
        }
    }
    finish(current);
}

// Help texts may hold anything; a terminal must not obey them.
void Sheet::finish(const std::string& text) {
    for (const char c : text) out_ += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
    while (out_.ends_with(' ')) out_.pop_back();
    out_ += '\n';
}

namespace sheet {

std::string joined(const std::vector<std::string>& parts, std::string_view between, std::string_view otherwise) {
    if (parts.empty()) return std::string(otherwise);
    std::string out;
    for (const std::string& part : parts) {
        if (!out.empty()) out += between;
        out += part;
    }
    return out;
}

std::string counted(std::uint64_t number, std::string_view one, std::string_view many) {
    return std::to_string(number) + " " + std::string(number == 1 ? one : many);
}

std::string duration(std::int64_t ms) {
    struct Unit {
        std::int64_t ms;
        const char* name;
    };
    static constexpr Unit units[] = {{3'600'000, "h"}, {60'000, "m"}, {1'000, "s"}};
    for (const Unit& unit : units) {
        if (ms >= unit.ms && ms % unit.ms == 0) return std::to_string(ms / unit.ms) + unit.name;
    }
    return std::to_string(ms) + "ms";
}

std::string size(std::uint64_t bytes) {
    struct Unit {
        std::uint64_t bytes;
        const char* name;
    };
    static constexpr Unit units[] = {{1U << 30, "GiB"}, {1U << 20, "MiB"}, {1U << 10, "KiB"}};
    for (const Unit& unit : units) {
        if (bytes >= unit.bytes && bytes % unit.bytes == 0) return std::to_string(bytes / unit.bytes) + unit.name;
    }
    return counted(bytes, "byte", "bytes");
}

std::string money(std::int64_t micros) {
    std::string places = std::to_string(1'000'000 + micros % 1'000'000).substr(1);
    while (places.ends_with('0')) places.pop_back();
    return std::to_string(micros / 1'000'000) + (places.empty() ? "" : "." + places);
}

std::vector<std::string> caps(const CallCaps& caps) {
    std::vector<std::string> parts;
    if (caps.tokens > 0) parts.push_back(counted(caps.tokens, "token", "tokens"));
    if (caps.money_micros > 0) parts.push_back(money(caps.money_micros) + " of money");
    if (caps.calls > 0) parts.push_back(counted(caps.calls, "call", "calls"));
    return parts;
}

}  // namespace sheet
}  // namespace stele

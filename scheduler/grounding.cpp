#include "scheduler/grounding.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <utility>

#include "board/text_tokens.hpp"
#include "scheduler/reserved_schema.hpp"

namespace stele {
namespace {

constexpr std::size_t quotation_tokens_min = 3;
constexpr std::size_t operands_max = 64;  // numbers of one text that arithmetic is tried on
constexpr std::size_t identifier_bytes_max = 200;

double value_of(std::string_view canonical) { return std::strtod(std::string(canonical).c_str(), nullptr); }

// Half of the last decimal that the number states: what rounds to it is as good.
double tolerance_of(std::string_view canonical) {
    const std::size_t mark = canonical.rfind('e');
    int exponent = 0;
    std::from_chars(canonical.data() + mark + 1, canonical.data() + canonical.size(), exponent);
    return 0.5 * std::pow(10.0, exponent) * (1 + 1e-9);
}

// Integers are counts and names: 1200 is not what 1234 rounds to, but 12.4 is what 12.38 does.
bool may_be_rounded(std::string_view canonical) { return canonical.find("e-") != std::string_view::npos; }

bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           static_cast<unsigned char>(c) >= 0x80;
}
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct Range {
    std::size_t from = 0;
    std::size_t to = 0;
};

std::vector<Range> urls_in(std::string_view text) {
    std::vector<Range> urls;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t http = std::min(text.find("http://", at), text.find("https://", at));
        if (http == std::string_view::npos) break;
        std::size_t end = http;
        while (end < text.size() && static_cast<unsigned char>(text[end]) > 0x20 && text[end] != '"' &&
               text[end] != '<' && text[end] != '>' && text[end] != '`') {
            ++end;
        }
        // Punctuation at its end belongs to the sentence.
        while (end > http && std::string_view(".,;:!?)]}'").find(text[end - 1]) != std::string_view::npos) --end;
        urls.push_back({http, end});
        at = std::max(end, http + 1);
    }
    return urls;
}

// Between marks of one kind, without the marks; only what is long enough to be somebody's words.
std::vector<Range> quotations_in(std::string_view text) {
    static const std::pair<std::string_view, std::string_view> marks[] = {
        {"\"", "\""}, {"\u201c", "\u201d"}, {"\u201e", "\u201c"}, {"\u00ab", "\u00bb"}};
    std::vector<Range> quotations;
    for (const auto& [open, close] : marks) {
        for (std::size_t at = text.find(open); at != std::string_view::npos; at = text.find(open, at)) {
            const std::size_t from = at + open.size();
            const std::size_t to = text.find(close, from);
            if (to == std::string_view::npos) break;
            if (tokens_of(text.substr(from, to - from)).size() >= quotation_tokens_min)
                quotations.push_back({from, to});
            at = to + close.size();
        }
    }
    return quotations;
}

// Names that are made, not words: with an underscore, a path with an extension, letters joined with digits
// by a mark (CVE-2024-1234, src/main.cpp, v1.2.3, evidence/12).
std::vector<Range> identifiers_in(std::string_view text) {
    std::vector<Range> identifiers;
    const auto belongs = [&](std::size_t at) {
        if (is_word(text[at])) return true;
        const bool joins = text[at] == '-' || text[at] == '/' || text[at] == '.' || text[at] == ':';
        return joins && at + 1 < text.size() && is_word(text[at + 1]);
    };
    for (std::size_t at = 0; at < text.size();) {
        if (!is_word(text[at])) {
            ++at;
            continue;
        }
        std::size_t end = at;
        bool letters = false;
        bool digits = false;
        bool joined = false;
        bool path = false;
        bool underscore = false;
        while (end < text.size() && belongs(end)) {
            letters = letters || is_letter(text[end]);
            digits = digits || is_digit(text[end]);
            underscore = underscore || text[end] == '_';
            joined = joined || text[end] == '-' || text[end] == '/' || text[end] == '.' || text[end] == ':';
            path = path || text[end] == '/';
            ++end;
        }
        const std::string_view name = text.substr(at, end - at);
        const bool has_extension =
            path && name.rfind('.') != std::string_view::npos && name.rfind('.') > name.rfind('/');
        const bool is_made = letters && ((digits && joined) || underscore || has_extension);
        if (is_made && name.size() <= identifier_bytes_max) identifiers.push_back({at, end});
        at = end;
    }
    return identifiers;
}

bool overlaps(const std::vector<Range>& ranges, std::size_t from, std::size_t to) {
    return std::any_of(ranges.begin(), ranges.end(),
                       [&](const Range& range) { return from < range.to && to > range.from; });
}

// The same length with spaces where the ranges were, so that places stay.
std::string without(std::string_view text, const std::vector<Range>& ranges) {
    std::string rest(text);
    for (const Range& range : ranges) {
        for (std::size_t i = range.from; i < range.to; ++i) rest[i] = ' ';
    }
    return rest;
}

// The parts that are looked for as they are, and the text without them.
struct Parts {
    std::vector<Range> urls;
    std::vector<Range> quotations;
    std::vector<Range> identifiers;
    std::string rest;
};

Parts parts_of(std::string_view text) {
    Parts parts;
    parts.urls = urls_in(text);
    std::vector<Range> taken = parts.urls;
    const auto take = [&](const std::vector<Range>& found, std::vector<Range>& into) {
        for (const Range& range : found) {
            if (overlaps(taken, range.from, range.to)) continue;
            into.push_back(range);
            taken.push_back(range);
        }
    };
    take(quotations_in(text), parts.quotations);
    take(identifiers_in(text), parts.identifiers);
    parts.rest = without(text, taken);
    return parts;
}

// Is it the sum, difference, product or share of numbers that stand beside it and were seen?
bool is_arithmetic(std::string_view canonical, const std::vector<double>& operands) {
    const double wanted = value_of(canonical);
    const double tolerance = std::max(tolerance_of(canonical), std::abs(wanted) * 1e-9);
    const auto is_it = [&](double value) { return std::isfinite(value) && std::abs(value - wanted) <= tolerance; };
    double sum = 0;
    for (std::size_t i = 0; i < operands.size(); ++i) {
        sum += operands[i];
        if (i > 0 && is_it(sum)) return true;
        for (std::size_t j = 0; j < operands.size(); ++j) {
            if (i == j) continue;
            const double a = operands[i];
            const double b = operands[j];
            if (is_it(a + b) || is_it(a - b) || is_it(a * b)) return true;
            // A share, as such and in percent, and a change in percent.
            if (b != 0 && (is_it(a / b) || is_it(100 * a / b) || is_it(a / b - 1) || is_it(100 * (a / b - 1)))) {
                return true;
            }
        }
    }
    return operands.size() > 1 && is_it(sum / static_cast<double>(operands.size()));
}

void visit_texts(const Value& value, const std::string& path,
                 const std::function<void(const std::string& path, std::string_view text, bool is_number)>& visit) {
    if (value.is_string()) return visit(path, value.as_string(), false);
    if (value.is_number()) return visit(path, to_json(value), true);
    if (value.is_array()) {
        for (std::size_t i = 0; i < value.as_array().size(); ++i) {
            visit_texts(value.as_array()[i], path + "/" + std::to_string(i), visit);
        }
    }
    if (value.is_object()) {
        for (const auto& [name, member] : value.as_object()) visit_texts(member, path + "/" + name, visit);
    }
}

bool is_among(const std::string& path, const std::vector<std::string>& fields) {
    return fields.empty() || std::any_of(fields.begin(), fields.end(), [&](const std::string& field) {
               return path == "/" + field || path.starts_with("/" + field + "/");
           });
}

}  // namespace

RegionSpec phantoms_region() {
    static const EntrySchema schema = reserved_schema(R"({
            "type": "object", "required": ["entry", "author", "kind", "text", "path"], "additionalProperties": false,
            "properties": {"entry": {"type": "string"}, "author": {"type": "string"}, "kind": {"type": "string"},
                           "text": {"type": "string"}, "path": {"type": "string"}}
        })");
    RegionSpec spec;
    spec.name = phantoms_region_name;
    spec.policy = PolicyKind::last_writer_wins;
    spec.schema = schema;
    spec.key = {"entry", "path", "text"};
    spec.help = "what entries say and their authors had not seen";
    return spec;
}

void SeenTexts::add(const Value& content) {
    for_each_text(content, [this](std::string_view text) { add_text(text); });
}

void SeenTexts::add_text(std::string_view text) {
    text_ += text;
    text_ += '\n';
    tokens_ += '\n';
    const auto add_number = [this](TokenKind kind, std::string_view token) {
        if (kind == TokenKind::word) return;
        numbers_.emplace(token);
        values_.push_back(value_of(token));
        // 12.4 % may be said as 0.124 and as 12.4.
        if (kind == TokenKind::percent) {
            numbers_.insert(shifted_number(token, 2));
            values_.push_back(values_.back() * 100);
        }
    };
    for_each_token(text, [&](TokenKind kind, std::string_view token) {
        tokens_ += token;
        tokens_ += '\n';
        add_number(kind, token);
    });
    tokens_ += '\n';
    // As a text is looked through that is checked.
    for_each_token(parts_of(text).rest, add_number);
}

void SeenTexts::add_name(std::string_view name) {
    text_ += name;
    text_ += '\n';
}

void SeenTexts::add_count(std::uint64_t count) {
    const std::string text = std::to_string(count);
    for_each_token(text, [this](TokenKind, std::string_view token) { numbers_.emplace(token); });
}

bool SeenTexts::has_number(std::string_view canonical) const {
    if (numbers_.count(std::string(canonical)) > 0) return true;
    if (!may_be_rounded(canonical)) return false;
    const double wanted = value_of(canonical);
    const double tolerance = tolerance_of(canonical);
    return std::any_of(values_.begin(), values_.end(),
                       [&](double value) { return std::abs(value - wanted) <= tolerance; });
}

bool SeenTexts::has_phrase(std::string_view text) const {
    std::string wanted = "\n";
    for_each_token(text, [&](TokenKind, std::string_view token) {
        wanted += token;
        wanted += '\n';
    });
    return tokens_.find(wanted) != std::string::npos;
}

bool SeenTexts::has_exactly(std::string_view text) const { return text_.find(text) != std::string::npos; }

const char* to_text(PhantomKind kind) {
    switch (kind) {
        case PhantomKind::number:
            return "number";
        case PhantomKind::quotation:
            return "quotation";
        case PhantomKind::url:
            return "URL";
        case PhantomKind::identifier:
            return "identifier";
    }
    return "unknown";
}

std::vector<Phantom> phantoms_in(const Value& content, const std::vector<std::string>& fields, const SeenTexts& seen) {
    // What arithmetic may be done on: the seen numbers that the entry itself states, wherever in it.
    std::vector<double> operands;
    visit_texts(content, "", [&](const std::string&, std::string_view text, bool) {
        for_each_token(text, [&](TokenKind kind, std::string_view token) {
            if (kind == TokenKind::word || operands.size() == operands_max || !seen.has_number(token)) return;
            operands.push_back(value_of(token));
        });
    });
    std::vector<Phantom> phantoms;
    const auto add = [&](PhantomKind kind, std::string_view text, const std::string& path) {
        Phantom phantom{kind, std::string(text), path};
        if (std::find(phantoms.begin(), phantoms.end(), phantom) == phantoms.end()) {
            phantoms.push_back(std::move(phantom));
        }
    };
    visit_texts(content, "", [&](const std::string& path, std::string_view text, bool is_number) {
        if (!is_among(path, fields)) return;
        const Parts parts = is_number ? Parts{{}, {}, {}, std::string(text)} : parts_of(text);
        const auto words = [&](const Range& range) { return text.substr(range.from, range.to - range.from); };
        for (const Range& url : parts.urls) {
            if (!seen.has_exactly(words(url))) add(PhantomKind::url, words(url), path);
        }
        // A quotation that is found speaks for the numbers in it.
        for (const Range& quotation : parts.quotations) {
            if (!seen.has_phrase(words(quotation))) add(PhantomKind::quotation, words(quotation), path);
        }
        for (const Range& identifier : parts.identifiers) {
            if (!seen.has_exactly(words(identifier))) add(PhantomKind::identifier, words(identifier), path);
        }
        for_each_token(parts.rest, [&](TokenKind kind, std::string_view token) {
            if (kind == TokenKind::word || seen.has_number(token) || is_arithmetic(token, operands)) return;
            // A share stands for a hundred times the bare number, too.
            if (kind == TokenKind::percent && seen.has_number(shifted_number(token, 2))) return;
            const bool percent = kind == TokenKind::percent;
            const std::string shown = to_json(Value::number(value_of(percent ? shifted_number(token, 2) : token)));
            add(PhantomKind::number, is_number ? std::string(text) : shown + (percent ? " %" : ""), path);
        });
    });
    return phantoms;
}

std::string phantom_text(const Phantom& phantom, std::string_view author) {
    return std::string(to_text(phantom.kind)) + " \"" + phantom.text + "\" at " +
           (phantom.path.empty() ? std::string("the entry") : phantom.path) + " is in nothing that " +
           std::string(author) + " had seen";
}

}  // namespace stele

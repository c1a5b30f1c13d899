#include "board/text_tokens.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace stele {
namespace {

constexpr std::size_t exponent_digits_max = 4;
constexpr std::size_t group_digits = 3;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_ascii(char c) { return static_cast<unsigned char>(c) < 0x80; }

// What a byte is within a word: in lower case, or 0 where it ends one. Bytes beyond ASCII are letters of some
// script: nobody looks for half a word.
constexpr std::array<char, 256> word_chars = [] {
    std::array<char, 256> chars{};
    for (std::size_t i = 0; i < chars.size(); ++i) {
        const char c = static_cast<char>(i);
        const bool is_upper = c >= 'A' && c <= 'Z';
        const bool is_other = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || i >= 0x80;
        if (is_upper) chars[i] = static_cast<char>(c - 'A' + 'a');
        if (is_other) chars[i] = c;
    }
    return chars;
}();

char word_char(char c) { return word_chars[static_cast<unsigned char>(c)]; }
bool is_word_char(char c) { return word_char(c) != 0; }

std::size_t digits_at(std::string_view text, std::size_t at) {
    std::size_t end = at;
    while (end < text.size() && is_digit(text[end])) ++end;
    return end - at;
}

std::string canonical_number(std::string_view digits, int exponent) {
    const std::size_t first = digits.find_first_not_of('0');
    if (first == std::string_view::npos) return "0e0";
    const std::size_t last = digits.find_last_not_of('0');
    exponent += static_cast<int>(digits.size() - 1 - last);
    return std::string(digits.substr(first, last - first + 1)) + "e" + std::to_string(exponent);
}

// Bytes of the sign at `at` that is no letter though it is beyond ASCII: typographic quotation marks and
// dashes, no-break spaces, currencies, signs of Latin-1, punctuation of East Asian scripts. 0: none.
std::size_t sign_bytes(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) {
        return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0U;
    };
    if (byte(0) == 0xe2 && (byte(1) == 0x80 || byte(1) == 0x81) && byte(2) >= 0x80) return 3;
    if (byte(0) == 0xe2 && byte(1) == 0x82 && byte(2) >= 0xa0) return 3;
    if (byte(0) == 0xe3 && byte(1) == 0x80 && byte(2) >= 0x80) return 3;
    const bool is_letter = byte(1) == 0xaa || byte(1) == 0xb5 || byte(1) == 0xba;
    if (byte(0) == 0xc2 && byte(1) >= 0x80 && byte(1) <= 0xbf && !is_letter) return 2;
    return 0;
}

// Spaces, the no-break ones too, that may stand between a number and its percent sign.
std::size_t skip_spaces(std::string_view text, std::size_t at) {
    while (at < text.size()) {
        if (text[at] == ' ') {
            at += 1;
        } else if (text.substr(at, 2) == "\u00a0") {
            at += 2;
        } else if (text.substr(at, 3) == "\u202f" || text.substr(at, 3) == "\u2009") {
            at += 3;
        } else {
            break;
        }
    }
    return at;
}

bool starts_with_word(std::string_view text, std::size_t at, std::string_view word) {
    if (text.size() - at < word.size()) return false;
    for (std::size_t i = 0; i < word.size(); ++i) {
        const char c = text[at + i];
        if ((c == ' ' ? c : word_char(c)) != word[i]) return false;
    }
    return at + word.size() == text.size() || !is_word_char(text[at + word.size()]);
}

// Where the percent mark after `at` ends; `at` itself when there is none.
std::size_t percent_end(std::string_view text, std::size_t at) {
    const std::size_t mark = skip_spaces(text, at);
    if (mark < text.size() && text[mark] == '%') return mark + 1;
    for (const std::string_view word : {"percent", "per cent"}) {
        if (mark > at && starts_with_word(text, mark, word)) return mark + word.size();
    }
    return at;
}

struct ScannedNumber {
    std::size_t end = 0;
    std::string digits;
    int exponent = 0;
};

// A number that begins at a digit; false where the digits are the beginning of a word.
bool scan_number(std::string_view text, std::size_t at, ScannedNumber& number) {
    std::size_t length = digits_at(text, at);
    number.digits = std::string(text.substr(at, length));
    std::size_t end = at + length;
    if (length <= group_digits) {
        while (end < text.size() && text[end] == ',' && digits_at(text, end + 1) == group_digits) {
            number.digits += text.substr(end + 1, group_digits);
            end += 1 + group_digits;
        }
    }
    if (end < text.size() && text[end] == '.') {
        length = digits_at(text, end + 1);
        if (length > 0) {
            number.digits += text.substr(end + 1, length);
            number.exponent = -static_cast<int>(length);
            end += 1 + length;
        }
    }
    if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
        std::size_t from = end + 1;
        const bool negative = from < text.size() && text[from] == '-';
        if (from < text.size() && (text[from] == '-' || text[from] == '+')) ++from;
        length = digits_at(text, from);
        if (length > 0 && length <= exponent_digits_max) {
            int power = 0;
            std::from_chars(text.data() + from, text.data() + from + length, power);
            number.exponent += negative ? -power : power;
            end = from + length;
        }
    }
    number.end = end;
    const bool goes_on = end < text.size() && is_word_char(text[end]) && sign_bytes(text, end) == 0;
    return !goes_on && number.digits.size() <= token_bytes_max;
}

// The exponent of a canonical number and where its "e" stands.
int exponent_of(std::string_view canonical, std::size_t& mark) {
    mark = canonical.rfind('e');
    int exponent = 0;
    std::from_chars(canonical.data() + mark + 1, canonical.data() + canonical.size(), exponent);
    return exponent;
}

bool any_text(const Value& value, std::string* path, const std::function<bool(std::string_view)>& is_it) {
    if (value.is_string()) return is_it(value.as_string());
    if (value.is_array()) {
        for (std::size_t i = 0; i < value.as_array().size(); ++i) {
            if (any_text(value.as_array()[i], path, is_it)) {
                if (path != nullptr) *path = "/" + std::to_string(i) + *path;
                return true;
            }
        }
        return false;
    }
    if (value.is_object()) {
        for (const auto& [name, member] : value.as_object()) {
            if (any_text(member, path, is_it)) {
                if (path != nullptr) *path = "/" + name + *path;
                return true;
            }
        }
        return false;
    }
    if (value.is_null() || value.is_bool()) return false;
    return is_it(to_json(value));
}

}  // namespace

void for_each_token(std::string_view text, const std::function<void(TokenKind, std::string_view)>& visit) {
    std::array<char, token_bytes_max> word;
    std::size_t at = 0;
    while (at < text.size()) {
        if (!is_word_char(text[at])) {
            ++at;
            continue;
        }
        if (!is_ascii(text[at])) {
            if (const std::size_t sign = sign_bytes(text, at); sign > 0) {
                at += sign;
                continue;
            }
        }
        if (is_digit(text[at])) {
            ScannedNumber number;
            if (scan_number(text, at, number)) {
                const std::size_t end = percent_end(text, number.end);
                const bool percent = end != number.end;
                visit(percent ? TokenKind::percent : TokenKind::number,
                      canonical_number(number.digits, number.exponent - (percent ? 2 : 0)));
                at = end;
                continue;
            }
        }
        std::size_t length = 0;
        for (; at < text.size(); ++at) {
            const char c = word_char(text[at]);
            if (c == 0 || (!is_ascii(c) && sign_bytes(text, at) > 0)) break;
            if (length < word.size()) word[length++] = c;
        }
        visit(TokenKind::word, std::string_view(word.data(), length));
    }
}

std::vector<TextToken> tokens_of(std::string_view text) {
    std::vector<TextToken> tokens;
    for_each_token(text, [&](TokenKind kind, std::string_view token) { tokens.push_back({kind, std::string(token)}); });
    return tokens;
}

std::string shifted_number(std::string_view canonical, int power) {
    if (canonical == "0e0") return "0e0";
    std::size_t mark = 0;
    const int exponent = exponent_of(canonical, mark);
    return std::string(canonical.substr(0, mark)) + "e" + std::to_string(exponent + power);
}

void for_each_text(const Value& value, const std::function<void(std::string_view)>& visit) {
    any_text(value, nullptr, [&](std::string_view text) {
        visit(text);
        return false;
    });
}

Result<TextQuery> TextQuery::parse(std::string_view text) {
    TextQuery query;
    for (TextToken& token : tokens_of(text)) {
        std::vector<TextToken> spellings;
        const TokenKind kind = token.kind;
        const std::string number = token.text;
        spellings.push_back({kind == TokenKind::word ? TokenKind::word : TokenKind::number, std::move(token.text)});
        // A share may stand without its sign, in a field that is called so; and a plain 0.124 may have been 12.4 %.
        if (kind == TokenKind::percent) spellings.push_back({TokenKind::number, shifted_number(number, 2)});
        query.tokens_.push_back(std::move(spellings));
    }
    if (query.tokens_.empty()) {
        return Error{ErrorCode::invalid_argument,
                     "there is no word and no number in \"" + std::string(text) + "\" to look for"};
    }
    return query;
}

bool TextQuery::is_in(std::string_view text) const {
    const std::vector<TextToken> found = tokens_of(text);
    const auto fits = [](const TextToken& token, const std::vector<TextToken>& spellings) {
        return std::any_of(spellings.begin(), spellings.end(), [&](const TextToken& spelling) {
            return (spelling.kind == TokenKind::word) == (token.kind == TokenKind::word) && spelling.text == token.text;
        });
    };
    return std::search(found.begin(), found.end(), tokens_.begin(), tokens_.end(), fits) != found.end();
}

bool TextQuery::is_in_value(const Value& value, std::string* path) const {
    if (path != nullptr) path->clear();
    return any_text(value, path, [this](std::string_view text) { return is_in(text); });
}

}  // namespace stele

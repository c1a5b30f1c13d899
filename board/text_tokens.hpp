// Words and numbers of a text, in the spelling that texts are compared by: what `blame` and the
// index of records look for. Words are in lower case (ASCII; other letters stay as they are).
// Numbers are exact decimals in one spelling, so that "12.4 %", "12.40 percent" and 0.124 are equal,
// and "1,234" is 1234. Signs are no part of a number. Pure; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "board/value.hpp"

namespace stele {

enum class TokenKind : std::uint8_t {
    word,
    number,   // as it stands
    percent,  // a number with a percent sign or word after it; the value is a hundredth of what stands there
};

struct TextToken {
    TokenKind kind = TokenKind::word;
    /// The word, or the number as "DIGITSeEXPONENT" without zeros at either end of the digits: "124e-3".
    std::string text;
    bool operator==(const TextToken&) const = default;
};

/// Words longer than this many bytes count as their beginning.
inline constexpr std::size_t token_bytes_max = 64;

/// Visits the tokens in order. The view is valid during the call only.
void for_each_token(std::string_view text, const std::function<void(TokenKind, std::string_view)>& visit);
std::vector<TextToken> tokens_of(std::string_view text);

/// A canonical number times ten to the `power`: "124e-3", 2 is "124e-1".
std::string shifted_number(std::string_view canonical, int power);

/// Visits the strings and numbers of a value, numbers as text. Names of fields are left out.
void for_each_text(const Value& value, const std::function<void(std::string_view)>& visit);

/// A text that is looked for: a number in any of its spellings, or words that follow each other.
class TextQuery {
public:
    /// Fails with invalid_argument when there is no word and no number in it.
    static Result<TextQuery> parse(std::string_view text);

    /// For each token the canonical spellings that will do, each with its kind (word or number).
    [[nodiscard]] const std::vector<std::vector<TextToken>>& tokens() const { return tokens_; }
    /// Is it in this text?
    [[nodiscard]] bool is_in(std::string_view text) const;
    /// In any text of a value? `path` gets where (a JSON pointer), when it is given.
    [[nodiscard]] bool is_in_value(const Value& value, std::string* path = nullptr) const;

private:
    std::vector<std::vector<TextToken>> tokens_;
};

}  // namespace stele

// Does what a source writes stand on what it had seen? The checkable parts of an entry (numbers,
// quotations, URLs, identifiers) are looked for in the texts that its author was shown; what is found
// nowhere is a phantom. Simple arithmetic that is stated with its operands (a sum, a difference, a share)
// is no phantom, nor is a seen number rounded or spelt otherwise. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "board/region_spec.hpp"
#include "board/value.hpp"

namespace stele {

/// All that an author had seen.
class SeenTexts {
public:
    void add(const Value& content);
    void add_text(std::string_view text);
    /// A name that may be written as it is: the id of an entry that was shown.
    void add_name(std::string_view name);
    /// How many of something there are, which whoever sees them may say.
    void add_count(std::uint64_t count);

    /// The same number in some spelling, or one that rounds to it.
    [[nodiscard]] bool has_number(std::string_view canonical) const;
    /// These words and numbers one after the other.
    [[nodiscard]] bool has_phrase(std::string_view text) const;
    /// Letter by letter.
    [[nodiscard]] bool has_exactly(std::string_view text) const;

private:
    std::string text_;                         // one text a line
    std::string tokens_;                       // the same as tokens, each between line breaks
    std::unordered_set<std::string> numbers_;  // looked up only
    std::vector<double> values_;
};

inline constexpr std::string_view phantoms_region_name = "phantoms";

/// What a crew with a region that flags has beside those it declares: {entry, author, kind, text, path}.
RegionSpec phantoms_region();

enum class PhantomKind : std::uint8_t { number, quotation, url, identifier };
const char* to_text(PhantomKind kind);

struct Phantom {
    PhantomKind kind = PhantomKind::number;
    /// As it was written.
    std::string text;
    /// Where in the entry, as a JSON pointer.
    std::string path;
    bool operator==(const Phantom&) const = default;
};

/// In the order of the content, each once. `fields`: only these of its fields; empty: all.
std::vector<Phantom> phantoms_in(const Value& content, const std::vector<std::string>& fields, const SeenTexts& seen);

/// `number "12.4 %" at /text is in nothing that reporter had seen`.
std::string phantom_text(const Phantom& phantom, std::string_view author);

}  // namespace stele

// What a source of kind llm is told: who it is, what it may write and under which laws, what of the
// board it sees, and what woke it. A pure function of the request: equal requests give equal bytes.
//
// The order is made for providers' prompt caches: what never changes first, then the entries of all
// regions in one sequence by the position of their version, oldest first, so that what is new comes
// last; then what was left out, then the match. Entries are data, fenced, one JSON object a line.
//
// Where not all fits, the oldest entries of the regions with the least priority go first; regions of
// equal priority share alike. A part that is not ranked begins at the roundest number that leaves
// between three quarters of its room and all of it filled, so that while new entries come the beginning
// stays where it was for a while, and with it the prefix that a cache knows. The same goes for the
// window of the newest entries, from `window_sliding_min` on; a smaller one is shown whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "board/value.hpp"
#include "knowledge_sources/chat.hpp"
#include "knowledge_sources/knowledge_source.hpp"

namespace stele {

inline constexpr std::size_t window_sliding_min = 64;

struct PromptOptions {
    /// Tokens that the entries of the view may take together; 0: no bound.
    std::uint64_t view_tokens = 0;
    /// Tokens of that many bytes, at most. Asked line by line. None: one for each three bytes.
    std::function<std::uint64_t(std::size_t bytes)> count_tokens;
    /// The answer's schema goes into the text as well (providers without a schema mode).
    bool schema_in_text = false;
    /// The answer is asked for at the end of a tool loop, as text.
    bool has_tools = false;
    /// Nobody who writes to this board can guess it; the same for every prompt of the board. At least eight
    /// letters, digits and "-", with a letter that no number and no literal of JSON has.
    std::string fence;
};

struct RenderedPrompt {
    std::vector<ChatMessage> messages;  // system, user
    Value answer_schema;                // JSON Schema of the answer
    /// Entries shown in the view, for cites; the match's are citable anyhow.
    std::vector<EntryId> shown;
    /// Per region, how many entries passed its filter and are not shown.
    std::vector<std::pair<std::string, std::uint64_t>> left_out;
};

RenderedPrompt render_prompt(const ActivationRequest& request, const PromptOptions& options);

/// The text of one entry in a prompt: one line. Its version is of use where a write must name it.
std::string prompt_line(const Entry& entry, bool with_version = false);
/// True for regions whose entries show their version.
bool shows_version(const RegionSpec& region);

/// The line, a JSON text, with the fence nowhere in it: where a text holds it, a letter of it is escaped.
/// Reads as the same JSON.
std::string without_fence(std::string line, std::string_view fence);

}  // namespace stele

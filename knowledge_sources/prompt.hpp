// What a source of kind llm is told: who it is, what it may write and under which laws, what of the
// board it sees, and what woke it. A pure function of the request: equal requests give equal bytes.
//
// The order is made for providers' prompt caches: what never changes first, then the entries of all
// regions in one sequence by the position of their version, oldest first, so that what is new comes
// last; then what was left out, then the match. Entries are data, fenced, one JSON object a line.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "board/value.hpp"
#include "knowledge_sources/chat.hpp"
#include "knowledge_sources/knowledge_source.hpp"

namespace stele {

struct PromptOptions {
    /// Tokens that the entries of the view may take together; 0: no bound.
    std::uint64_t view_tokens = 0;
    /// Tokens of that many bytes, at most.
    std::function<std::uint64_t(std::size_t bytes)> count_tokens;
    /// The answer's schema goes into the text as well (providers without a schema mode).
    bool schema_in_text = false;
    /// The answer is asked for at the end of a tool loop, as text.
    bool has_tools = false;
    /// Nobody who writes to this board can guess it; the same for every prompt of the board.
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

/// The text of one entry in a prompt: one line.
std::string prompt_line(const Entry& entry);

}  // namespace stele

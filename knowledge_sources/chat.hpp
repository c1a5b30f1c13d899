// A conversation with a model, in words that are no provider's: what is asked, what came, what went
// wrong. The chat_wire files turn it into each provider's HTTP and back. Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "board/value.hpp"

namespace stele {

struct ChatToolCall {
    std::string id;  // made up here where the provider gives none
    std::string name;
    /// The arguments as text, as the model wrote them: JSON if it kept to it.
    std::string arguments;
};

struct ChatMessage {
    enum class Role { system, user, assistant, tool } role = Role::user;
    std::string text;
    std::vector<ChatToolCall> tool_calls;  // assistant
    std::string tool_call_id;              // tool
    std::string tool_name;                 // tool
    bool is_error = false;                 // tool
    /// assistant: what the provider wants to have back unchanged (thinking blocks, reasoning items), an
    /// array in the provider's own words; null when there is nothing.
    Value provider_items;
};

struct ChatTool {
    std::string name;  // [A-Za-z0-9_-], at most 64 bytes
    std::string description;
    Value parameters;  // JSON Schema, an object
};

struct ChatRequest {
    std::vector<ChatMessage> messages;
    std::vector<ChatTool> tools;
    /// JSON Schema that the answer must fit; null: free text. Not sent together with tools to providers
    /// that cannot have both.
    Value answer_schema;
    std::string answer_schema_name = "answer";
    std::uint64_t max_tokens = 0;  // 0: the model's
};

struct ChatUsage {
    bool known = false;
    std::uint64_t input_tokens = 0;   // all of the prompt, cached or not
    std::uint64_t output_tokens = 0;  // reasoning included
    std::uint64_t cached_input_tokens = 0;
    std::uint64_t cache_write_tokens = 0;
    std::uint64_t reasoning_tokens = 0;
};

enum class ChatStop {
    end,         // it said all
    length,      // max_tokens or the context ended it
    tool_calls,  // it wants tools
    refusal,     // it will not
    filter,      // the provider's filter cut it
    other,
};
const char* to_text(ChatStop stop);

struct ChatResponse {
    std::string text;
    /// Only whole ones: a call that the length cut off is not here.
    std::vector<ChatToolCall> tool_calls;
    ChatStop stop = ChatStop::end;
    std::string refusal;
    ChatUsage usage;
    Value provider_items;
    std::string id;
    std::string model;  // as the provider calls what answered
};

/// Canonical JSON of a response and back, for the log: what a call answered from the board brings.
Value to_value(const ChatResponse& response);
std::optional<ChatResponse> chat_response_from(const Value& value);

enum class ChatErrorKind {
    overloaded,        // 529, 503, queue full: later, or another model
    rate_limited,      // 429 that passes by itself
    quota,             // money or a month's allowance is used up: a person must act, or another model
    authentication,    // 401, 403: a person must act
    bad_request,       // asking again will not help
    context_overflow,  // the prompt is too long for the model
    not_found,         // no such model or path
    server,            // 500, 502, 504
    unreachable,       // no connection, no TLS
    interrupted,       // the answer broke off: what came may have been paid for
    malformed,         // what came is no answer of this API (HTML of a proxy, broken JSON)
    timeout,
    cancelled,
};
const char* to_text(ChatErrorKind kind);

struct ChatError {
    ChatErrorKind kind = ChatErrorKind::malformed;
    /// A sentence: who said what, with the status. Cut to a bound; never holds the request.
    std::string message;
    int status = 0;
    /// The provider said how long to wait.
    std::optional<std::int64_t> retry_after_ms;
    /// The provider said whether asking again helps.
    std::optional<bool> should_retry;
    std::string request_id;
    /// What had come when it broke off: for estimating what it cost.
    std::uint64_t received_bytes = 0;
    ChatUsage usage;

    /// May the same be asked again of the same model, nothing having been answered?
    [[nodiscard]] bool may_retry() const;
    /// May another model be asked instead? On overload and quota, never on a bad request.
    [[nodiscard]] bool may_fall_back() const;
};

/// What a provider's headers say of its limits; absent where they say nothing.
struct RateHeaders {
    std::optional<std::uint64_t> requests_limit, requests_remaining;
    std::optional<std::uint64_t> tokens_limit, tokens_remaining;
    std::optional<std::int64_t> requests_reset_ms, tokens_reset_ms;  // from now
};

}  // namespace stele

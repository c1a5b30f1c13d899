// One provider's HTTP API: a chat request to a body, and the bytes that come back to a response, in
// pieces or whole, with every way in which it can go wrong told apart. One file per API, registered in
// chat_wire.cpp. Pure: no I/O, no clock but the one it is told (for dates in headers).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "knowledge_sources/chat.hpp"
#include "knowledge_sources/http_client.hpp"
#include "scheduler/call_spec.hpp"

namespace stele {

/// What came: a response, or what went wrong.
using ChatResult = std::variant<ChatResponse, ChatError>;

/// Reads one HTTP answer. Never fails on bytes.
class ChatDecoder {
public:
    virtual ~ChatDecoder() = default;
    virtual void head(const HttpHead& head) = 0;
    /// False: no more is wanted, `finish` has the answer (a terminal event came, or an error).
    virtual bool data(std::string_view bytes) = 0;
    /// Text that came since the last call, for showing progress.
    virtual std::string take_text() = 0;
    /// Call once, when the exchange ended.
    virtual ChatResult finish(const HttpEnd& end) = 0;
    [[nodiscard]] virtual const RateHeaders& rates() const = 0;
};

class ChatWire {
public:
    virtual ~ChatWire() = default;
    /// Path after the base URL, as in "/chat/completions".
    [[nodiscard]] virtual std::string path() const = 0;
    /// Headers that carry the key; `key` may be empty.
    [[nodiscard]] virtual HttpHeaders headers(const ModelSpec& model, const std::string& key) const = 0;
    /// The body, canonical JSON: equal requests give equal bytes.
    [[nodiscard]] virtual std::string body(const ModelSpec& model, const ChatRequest& request) const = 0;
    /// `now_ms`: Unix time, for headers that hold dates.
    [[nodiscard]] virtual std::unique_ptr<ChatDecoder> decoder(const ModelSpec& model, std::int64_t now_ms) const = 0;
};

const ChatWire& wire_of(ModelApi api);

/// The schema as OpenAI's strict mode wants it: every object closed, every property required, optional
/// ones nullable. Nothing when the schema uses what strict mode does not know.
std::optional<Value> strict_schema(const Value& schema);

/// The schema as Anthropic's structured output takes it: every object closed, without bounds on numbers,
/// texts and lists. Nothing when that cannot be said; then the prompt has to.
std::optional<Value> closed_schema(const Value& schema);

}  // namespace stele

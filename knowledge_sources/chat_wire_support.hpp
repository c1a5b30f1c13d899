// What the chat_wire files share: reading fields of what may be anything, the way from a status and a
// body to an error, headers that speak of time, and the skeleton of a decoder. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "knowledge_sources/chat_wire.hpp"
#include "knowledge_sources/event_stream.hpp"

namespace stele {

// Fields of a value that may be missing, of another type, or no object at all.
const Value* member(const Value* value, std::string_view key);
const Value* element(const Value* value, std::size_t index);
std::string text_in(const Value* value, std::string_view key);
std::uint64_t count_in(const Value* value, std::string_view key);
bool has_count(const Value* value, std::string_view key);

/// "12ms", "1.5s", "6m0s", "1h": milliseconds.
std::optional<std::int64_t> duration_ms_from(std::string_view text);
/// RFC 3339 and HTTP dates: Unix time in milliseconds.
std::optional<std::int64_t> time_ms_from(std::string_view text);
/// `retry-after-ms`, `retry-after` (seconds or a date).
std::optional<std::int64_t> retry_after_ms(const HttpHead& head, std::int64_t now_ms);

/// The error that a status and a body stand for. `who` is the provider, for the message.
ChatError error_from_answer(std::string_view who, const HttpHead& head, std::string_view body, std::int64_t now_ms);
/// The same for an error object inside a stream with status 200.
ChatError error_from_object(std::string_view who, const Value& error);
/// Printable, on one line, cut to a bound.
std::string short_text(std::string_view text);

/// Puts the members of `options` over those of the body.
void merge_options(Value& body, const Value& options);

/// Reads status and framing; what stands inside is the derived class's business.
class WireDecoder : public ChatDecoder {
public:
    WireDecoder(const ModelSpec& model, std::int64_t now_ms) : who_(model.provider), now_ms_(now_ms) {}
    void head(const HttpHead& head) final;
    bool data(std::string_view bytes) final;
    std::string take_text() final { return std::exchange(new_text_, {}); }
    ChatResult finish(const HttpEnd& end) final;
    [[nodiscard]] const RateHeaders& rates() const final { return rates_; }

protected:
    /// One event of a stream (for JSON lines: data is the line). False: no more is wanted.
    virtual bool on_event(const StreamEvent& event) = 0;
    /// The whole body of an answer that is no stream.
    virtual void on_body(const Value& body) = 0;
    /// The stream has said all that it had to; only then is there a response.
    [[nodiscard]] virtual bool is_whole() const = 0;
    virtual ChatResponse take_response() = 0;
    virtual void read_rates(const HttpHead&, RateHeaders&) const {}
    /// What only this provider means by an answer that is an error.
    virtual void adjust(ChatError&, const HttpHead&) const {}

    [[nodiscard]] std::string_view who() const { return who_; }
    [[nodiscard]] std::int64_t now_ms() const { return now_ms_; }
    bool fail(ChatError error);
    bool fail_malformed(std::string_view what);
    void add_text(std::string_view text, std::string& whole) {
        whole.append(text);
        new_text_.append(text);
    }
    ChatUsage usage_;

private:
    enum class Framing { whole, events, lines };

    std::string who_;
    std::int64_t now_ms_;
    std::optional<HttpHead> head_;
    Framing framing_ = Framing::whole;
    EventStream events_;
    LineSplitter lines_;
    std::string body_;
    std::string new_text_;
    std::uint64_t received_ = 0;
    RateHeaders rates_;
    std::optional<ChatError> error_;
};

const ChatWire& openai_chat_wire();
const ChatWire& openai_responses_wire();
const ChatWire& anthropic_wire();
const ChatWire& ollama_wire();

/// OpenAI's x-ratelimit headers, which many speak.
void read_openai_rates(const HttpHead& head, RateHeaders& rates);

}  // namespace stele

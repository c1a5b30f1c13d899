// Asks a model over HTTP: key, headers and URL from the model's declaration, turns at its rate limits,
// tries again where nothing was answered. One call here is one `called` record. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "knowledge_sources/chat.hpp"
#include "knowledge_sources/chat_wire.hpp"
#include "knowledge_sources/http_client.hpp"
#include "knowledge_sources/secrets.hpp"
#include "scheduler/call_spec.hpp"

namespace stele {

struct ChatEnd {
    ChatResult result;
    std::string request_id;
    /// How often the provider was asked; more than 1 only where the earlier tries were refused unpaid.
    std::uint32_t tries = 0;
    std::int64_t duration_ms = 0;
};

struct ChatEvents {
    /// Text of the answer as it comes.
    std::function<void(std::string_view)> text;
    /// Exactly once, posted.
    std::function<void(ChatEnd)> finished;
};

/// A call in flight. Destroying it cancels it in the middle of its answer; nothing is called any more.
class ChatExchange {
public:
    virtual ~ChatExchange() = default;
};

class ChatClient {
public:
    virtual ~ChatClient() = default;
    /// `model` outlives the exchange. `secrets` gives the key and takes care that it is not shown.
    virtual std::unique_ptr<ChatExchange> start(const ModelSpec& model, ChatRequest request, Secrets& secrets,
                                                std::int64_t deadline_ms, ChatEvents events) = 0;
};

/// `http` outlives the client. Rate limits and concurrency are kept per model name.
std::unique_ptr<ChatClient> make_chat_client(boost::asio::io_context& loop, HttpClient& http);

/// The URL that a model is asked at: base_url, else its variable, else its default; OLLAMA_HOST may lack
/// the scheme, the host or the port. Fails when a `${env.X}` has no value or it is no http(s) URL.
Result<std::string> model_url(const ModelSpec& model, Secrets& secrets);

/// How many tokens a text has at most, for reserving: a count by bytes, raised to the greatest ratio
/// that the model's own counts have shown.
class TokenEstimate {
public:
    [[nodiscard]] std::uint64_t tokens(std::string_view model, std::size_t bytes) const;
    /// A provider counted `tokens` for a prompt of `bytes`.
    void learn(std::string_view model, std::size_t bytes, std::uint64_t tokens);

private:
    std::vector<std::pair<std::string, double>> ratios_;
};

/// What a usage costs by a price, rounded up to a millionth.
std::int64_t money_micros(const Price& price, const ChatUsage& usage);

}  // namespace stele

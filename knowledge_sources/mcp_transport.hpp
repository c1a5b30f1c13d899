// How messages reach an MCP server and come back: over the standard streams of a child process, or by
// HTTP. Internal to the MCP client. Loop thread only.
//
// Events come from the loop, never from within a call of the transport's; any of them may destroy it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "board/result.hpp"
#include "knowledge_sources/child_process.hpp"
#include "knowledge_sources/http_client.hpp"
#include "knowledge_sources/json_rpc.hpp"

namespace stele {

struct McpOutgoing {
    std::string text;  // one message, without a newline
    /// Of a request; nothing for notifications and answers.
    std::optional<std::int64_t> id;
    /// HTTP only.
    HttpHeaders headers;
    std::int64_t timeout_ms = 0;
    /// It belongs to no session, and its answer may open one that all that follows belongs to.
    bool opens_session = false;
};

/// A request of which it is known that no answer comes.
struct McpFailure {
    std::string message;
    int status = 0;  // HTTP; 0: there was no answer at all
    /// Its session is over; nothing was done.
    bool session_lost = false;
    /// That session, and another has taken its place since.
    bool session_renewed = false;
};

struct McpTransportEvents {
    std::function<void(const RpcMessage&)> message;
    std::function<void(std::int64_t id, const McpFailure&)> failed;
    /// The other side is gone for good, with a sentence's end that says how.
    std::function<void(const std::string&)> ended;
};

class McpTransport {
public:
    /// At once: a child is killed, an exchange is dropped. No event follows.
    virtual ~McpTransport() = default;
    virtual void send(McpOutgoing outgoing) = 0;
    /// The answer to a request is of no use any more. True when the other side is told by that alone.
    virtual bool drop(std::int64_t id) = 0;
    /// In good order; `done` comes from the loop, and no other event.
    virtual void close(std::function<void()> done) = 0;
    /// What may explain that no answer comes: the last line of an error output, lines that could not be read.
    [[nodiscard]] virtual std::string last_words() const = 0;
};

Result<std::unique_ptr<McpTransport>> start_mcp_stdio(boost::asio::io_context& loop, LaunchOptions options,
                                                      McpTransportEvents events);
std::unique_ptr<McpTransport> make_mcp_http(boost::asio::io_context& loop, HttpClient& http, std::string url,
                                            HttpHeaders headers, McpTransportEvents events);

/// A header's value that carries any text: as it is where that is safe, else in base64 between marks.
std::string mcp_header_value(const std::string& text);

}  // namespace stele

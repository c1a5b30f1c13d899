// A client of the Model Context Protocol: servers as child processes on standard streams, or over
// streamable HTTP, of the 2025 revisions (initialize) and of 2026-07-28 (stateless, server/discover).
// A server is started at its first use and ends with the client, by the close ladder: close its input,
// wait, SIGTERM, SIGKILL. Loop thread only; to be destroyed before the loop and the HttpClient.
//
// One connection for each crew and server, shared by all calls. A server that died is started again at
// the next call; a call that was in flight then is an error, for it may have been acted on. A server that
// is up keeps the loop busy, so the loop runs out of work only after close().
//
// A server's environment: this process's PATH, HOME and LANG, what `pass_environment` names, and what is
// declared; nothing else.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "board/result.hpp"
#include "board/value.hpp"
#include "knowledge_sources/http_client.hpp"
#include "knowledge_sources/secrets.hpp"
#include "scheduler/crew_spec.hpp"

namespace stele {

struct McpTool {
    std::string name;
    std::string description;
    Value input_schema;
    bool read_only = false;   // annotations.readOnlyHint
    bool idempotent = false;  // annotations.idempotentHint
};

struct McpServerInfo {
    std::string name;
    std::string version;
    std::string protocol_version;
    std::vector<McpTool> tools;
};

struct McpToolResult {
    /// The text parts, one after the other; other parts as one line that says what they are.
    std::string text;
    /// structuredContent, or null.
    Value data;
    bool is_error = false;
};

/// A request in flight; destroying it cancels it (notifications/cancelled) and nothing is called.
class McpCall {
public:
    virtual ~McpCall() = default;
};

class McpClient {
public:
    virtual ~McpClient() = default;
    /// `finished` is posted, exactly once. `secrets` must outlive the call. Starts the server if need be. An error is a
    /// sentence with the server's name and the last line of its error output.
    virtual std::unique_ptr<McpCall> info(const CrewSpec& crew, std::uint32_t server, Secrets& secrets,
                                          std::function<void(Result<McpServerInfo>)> finished) = 0;
    virtual std::unique_ptr<McpCall> call(const CrewSpec& crew, std::uint32_t server, const std::string& tool,
                                          const Value& arguments, Secrets& secrets, std::int64_t timeout_ms,
                                          std::function<void(Result<McpToolResult>)> finished) = 0;
    /// Ends every server; what is in flight fails, and `done` is posted when all of them have gone. A call
    /// after it starts its server again. A client that is destroyed kills what is left.
    virtual void close(std::function<void()> done) = 0;
};

std::unique_ptr<McpClient> make_mcp_client(boost::asio::io_context& loop, HttpClient& http);

}  // namespace stele

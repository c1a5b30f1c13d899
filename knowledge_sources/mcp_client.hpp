// A client of the Model Context Protocol: servers as child processes on standard streams, or over
// streamable HTTP, of the 2025 revisions (initialize) and of 2026-07-28 (stateless, server/discover).
// A server is started at its first use and ends with the client, by the close ladder: close its input,
// wait, SIGTERM, SIGKILL. Loop thread only.
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
    /// `finished` is posted, exactly once. Starts the server if need be. An error is a sentence with the
    /// server's name and the last line of its error output.
    virtual std::unique_ptr<McpCall> info(const CrewSpec& crew, std::uint32_t server, Secrets& secrets,
                                          std::function<void(Result<McpServerInfo>)> finished) = 0;
    virtual std::unique_ptr<McpCall> call(const CrewSpec& crew, std::uint32_t server, const std::string& tool,
                                          const Value& arguments, Secrets& secrets, std::int64_t timeout_ms,
                                          std::function<void(Result<McpToolResult>)> finished) = 0;
    /// Ends every server; `done` is posted when all of them have gone.
    virtual void close(std::function<void()> done) = 0;
};

std::unique_ptr<McpClient> make_mcp_client(boost::asio::io_context& loop, HttpClient& http);

}  // namespace stele

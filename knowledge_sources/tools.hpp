// The tools that a source of kind llm may call, whatever is behind them: a program, an HTTP endpoint or
// a tool of an MCP server. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "board/hash.hpp"
#include "board/value.hpp"
#include "knowledge_sources/chat.hpp"
#include "knowledge_sources/mcp_client.hpp"
#include "knowledge_sources/secrets.hpp"
#include "scheduler/crew_spec.hpp"

namespace stele {

/// One tool as a model sees it and as the log names it.
struct OfferedTool {
    ChatTool chat;
    /// "search", or "mcp:server/tool".
    std::string name;
    bool pure = false;
    ToolRef ref;  // one tool, never "*"
};

struct ToolAnswer {
    bool is_error = false;
    std::string text;
    Value data;  // structured content, or null
};

class ToolRun {
public:
    virtual ~ToolRun() = default;  // destroying it ends the call
};

class ToolBox {
public:
    virtual ~ToolBox() = default;
    /// What a source's `tools:` come to, "*" spelled out by asking the servers. Posted, exactly once. Two
    /// names that a model could not tell apart get a number.
    virtual std::unique_ptr<ToolRun> offer(std::shared_ptr<const CrewSpec> crew, const SourceSpec& source,
                                           Secrets& secrets,
                                           std::function<void(Result<std::vector<OfferedTool>>)> finished) = 0;
    /// Calls one. What a tool says is wrong is an answer with is_error; posted, exactly once.
    virtual std::unique_ptr<ToolRun> call(std::shared_ptr<const CrewSpec> crew, const ToolRef& ref,
                                          const Value& arguments, Secrets& secrets, const std::string& idempotency_key,
                                          std::function<void(ToolAnswer)> finished) = 0;
};

/// CallIntent::key of a pure tool: equal for equal arguments, whichever source asks. `name` as in OfferedTool.
Hash128 tool_call_key(std::string_view name, const Value& arguments);
/// "mcp:server/tool", or the name of one of the crew's tools.
std::string tool_name(const CrewSpec& crew, const ToolRef& ref);

/// The box must be destroyed before what it is made of.
std::unique_ptr<ToolBox> make_tool_box(boost::asio::io_context& loop, HttpClient& http, McpClient& mcp);

}  // namespace stele

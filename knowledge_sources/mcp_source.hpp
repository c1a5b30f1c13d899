// `kind: mcp`: one call of one tool of an MCP server for each match, its arguments made from what the match
// bound, its result made into writes by `then:` as a rule's. The call goes on record before it is made.
// Loop thread only.
#pragma once

#include <functional>
#include <memory>

#include "knowledge_sources/knowledge_source.hpp"
#include "knowledge_sources/mcp_client.hpp"
#include "knowledge_sources/secrets.hpp"

namespace boost::asio {
class io_context;
}

namespace stele {

/// Attempts call `started` never, `call` and `returned` once for each member at most. `finished` is always
/// posted. Raw output are the writes in the words of the process protocol. `mcp` and what `secrets` gives
/// must outlive the attempts.
std::unique_ptr<KnowledgeSource> make_mcp_source(boost::asio::io_context& loop, McpClient& mcp,
                                                 std::function<Secrets&(const CrewSpec&)> secrets);

}  // namespace stele

#include "runtime/source_registry.hpp"

#include <boost/asio/io_context.hpp>
#include <map>

#include "knowledge_sources/chat_client.hpp"
#include "knowledge_sources/http_client.hpp"
#include "knowledge_sources/http_source.hpp"
#include "knowledge_sources/llm_source.hpp"
#include "knowledge_sources/mcp_client.hpp"
#include "knowledge_sources/mcp_source.hpp"
#include "knowledge_sources/process_source.hpp"
#include "knowledge_sources/secrets.hpp"
#include "knowledge_sources/tools.hpp"

namespace stele {
namespace {

struct Shared {
    explicit Shared(boost::asio::io_context& loop)
        : http(make_http_client(loop)),
          chat(make_chat_client(loop, *http)),
          mcp(make_mcp_client(loop, *http)),
          tools(make_tool_box(loop, *http, *mcp)) {}

    /// By the folder that a crew's `.env` is in. One that cannot be read was told before the run began; then only
    /// the environment counts.
    Secrets& secrets_of(const CrewSpec& crew) {
        const auto known = secrets.find(crew.base_directory);
        if (known != secrets.end()) return known->second;
        Result<Secrets> loaded = Secrets::load(crew.base_directory);
        if (!loaded.ok()) loaded = Secrets::load({});
        return secrets.emplace(crew.base_directory, loaded.ok() ? std::move(*loaded) : Secrets()).first->second;
    }

    std::unique_ptr<HttpClient> http;
    std::unique_ptr<ChatClient> chat;
    std::unique_ptr<McpClient> mcp;
    std::unique_ptr<ToolBox> tools;
    TokenEstimate estimate;
    std::map<std::string, Secrets> secrets;
};

}  // namespace

std::unique_ptr<SourceRegistry> make_source_registry(boost::asio::io_context& loop) {
    auto registry = std::make_unique<SourceRegistry>();
    auto shared = std::make_shared<Shared>(loop);
    const auto secrets = [shared = shared.get()](const CrewSpec& crew) -> Secrets& { return shared->secrets_of(crew); };
    registry->kinds.emplace(SourceKind::process, make_process_source(loop));
    registry->kinds.emplace(SourceKind::http, make_http_source(loop, *shared->http, secrets));
    registry->kinds.emplace(SourceKind::mcp, make_mcp_source(loop, *shared->mcp, secrets));
    registry->kinds.emplace(
        SourceKind::llm, make_llm_source(loop, {shared->chat.get(), shared->tools.get(), &shared->estimate, secrets}));
    registry->redact = [secrets](const CrewSpec& crew, std::string text) {
        return secrets(crew).redact(std::move(text));
    };
    registry->close = [shared = shared.get()](std::function<void()> done) { shared->mcp->close(std::move(done)); };
    registry->shared = std::move(shared);
    return registry;
}

}  // namespace stele

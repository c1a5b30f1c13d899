#include "knowledge_sources/mcp_client.hpp"

#include <cassert>
#include <map>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "knowledge_sources/mcp_connection.hpp"

namespace stele {

namespace {

class Handle : public McpCall {
public:
    explicit Handle(McpOperationPtr operation) : operation_(std::move(operation)) {}
    ~Handle() override {
        operation_->info = nullptr;
        operation_->call = nullptr;
        operation_->is_unwanted = true;
        if (const std::shared_ptr<McpConnection> connection = operation_->connection.lock()) {
            connection->cancel(*operation_);
        }
    }

private:
    McpOperationPtr operation_;
};

/// Everything that makes two servers of the same crew different ones, so that a crew that was loaded again
/// finds its servers and one that declares them anew does not.
std::string key_of(const CrewSpec& crew, const McpServerSpec& server) {
    Value::Array parts = {crew.name, crew.base_directory, server.name, server.command, server.directory, server.url};
    const auto add_all = [&parts](const std::vector<std::string>& texts) {
        Value::Array list;
        for (const std::string& text : texts) list.emplace_back(text);
        parts.emplace_back(std::move(list));
    };
    const auto add_pairs = [&parts](const std::vector<std::pair<std::string, std::string>>& pairs) {
        Value::Array list;
        for (const auto& [name, value] : pairs) list.emplace_back(Value::Array{name, value});
        parts.emplace_back(std::move(list));
    };
    add_all(server.args);
    add_all(server.pass_environment);
    add_pairs(server.environment);
    add_pairs(server.headers);
    return to_json(Value(std::move(parts)));
}

class Client : public McpClient {
public:
    Client(boost::asio::io_context& loop, HttpClient& http) : loop_(loop), http_(http) {}

    std::unique_ptr<McpCall> info(const CrewSpec& crew, std::uint32_t server, Secrets& secrets,
                                  std::function<void(Result<McpServerInfo>)> finished) override {
        auto operation = std::make_shared<McpOperation>();
        operation->secrets = &secrets;
        operation->info = std::move(finished);
        connection_to(crew, server).run(operation);
        return std::make_unique<Handle>(std::move(operation));
    }

    std::unique_ptr<McpCall> call(const CrewSpec& crew, std::uint32_t server, const std::string& tool,
                                  const Value& arguments, Secrets& secrets, std::int64_t timeout_ms,
                                  std::function<void(Result<McpToolResult>)> finished) override {
        assert(!tool.empty());
        auto operation = std::make_shared<McpOperation>();
        operation->tool = tool;
        operation->arguments = arguments;
        operation->secrets = &secrets;
        operation->timeout_ms = timeout_ms;
        operation->call = std::move(finished);
        connection_to(crew, server).run(operation);
        return std::make_unique<Handle>(std::move(operation));
    }

    void close(std::function<void()> done) override {
        auto connections = std::move(connections_);
        connections_.clear();
        auto left = std::make_shared<std::size_t>(connections.size());
        if (connections.empty()) {
            boost::asio::post(loop_, std::move(done));
            return;
        }
        for (auto& [key, connection] : connections) {
            closing_.push_back(connection);
            connection->close([left, done] {
                if (--*left == 0) done();
            });
        }
        // Kept so that a client that is destroyed before they have gone takes them with it.
        std::vector<std::weak_ptr<McpConnection>> alive;
        for (const std::weak_ptr<McpConnection>& connection : closing_) {
            if (!connection.expired()) alive.push_back(connection);
        }
        closing_ = std::move(alive);
    }

    ~Client() override {
        for (const std::weak_ptr<McpConnection>& weak : closing_) {
            if (const std::shared_ptr<McpConnection> connection = weak.lock()) connection->kill();
        }
        for (auto& [key, connection] : connections_) connection->kill();
    }

private:
    McpConnection& connection_to(const CrewSpec& crew, std::uint32_t server) {
        assert(server < crew.mcp_servers.size());
        const McpServerSpec& spec = crew.mcp_servers[server];
        std::shared_ptr<McpConnection>& connection = connections_[key_of(crew, spec)];
        if (!connection) connection = std::make_shared<McpConnection>(loop_, http_, spec, crew.base_directory);
        return *connection;
    }

    boost::asio::io_context& loop_;
    HttpClient& http_;
    std::map<std::string, std::shared_ptr<McpConnection>> connections_;
    std::vector<std::weak_ptr<McpConnection>> closing_;
};

}  // namespace

std::unique_ptr<McpClient> make_mcp_client(boost::asio::io_context& loop, HttpClient& http) {
    return std::make_unique<Client>(loop, http);
}

}  // namespace stele

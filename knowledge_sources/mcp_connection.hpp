// One MCP server as long as it lives: started at its first use, asked which revision it speaks, asked for
// its tools, then shared by all calls. What has died is started again at the next call. Internal to the
// MCP client. Loop thread only.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "knowledge_sources/mcp_client.hpp"
#include "knowledge_sources/mcp_transport.hpp"

namespace stele {

class McpConnection;

/// What is wanted of a server: its tools, or a call of one. Ends once, by a posted function.
struct McpOperation {
    std::string tool;  // empty: info
    Value arguments;
    Secrets* secrets = nullptr;
    std::int64_t timeout_ms = 0;
    std::function<void(Result<McpServerInfo>)> info;
    std::function<void(Result<McpToolResult>)> call;
    std::weak_ptr<McpConnection> connection;
    /// The request in flight.
    std::optional<std::int64_t> request;
    bool was_tried = false;
    bool is_over = false;      // its end is posted
    bool is_unwanted = false;  // nobody waits for it any more
};
using McpOperationPtr = std::shared_ptr<McpOperation>;

class McpConnection : public std::enable_shared_from_this<McpConnection> {
public:
    McpConnection(boost::asio::io_context& loop, HttpClient& http, McpServerSpec spec, std::string directory);

    void run(McpOperationPtr operation);
    /// The operation is of no use any more.
    void cancel(McpOperation& operation);
    /// Ends the server in good order; what is in flight fails. `done` comes from the loop.
    void close(std::function<void()> done);
    /// Ends it at once, and nothing is called any more.
    void kill();

private:
    enum class Phase { idle, starting, ready };
    enum class Era { unknown, legacy, modern };

    /// What became of a request.
    struct Reply {
        enum class Kind { result, error, failed, timeout } kind = Kind::result;
        Value result;
        RpcMessage error;
        McpFailure failure;
    };
    using ReplyTo = std::function<void(const Reply&)>;
    struct Timer;
    struct Pending {
        ReplyTo reply_to;
        std::shared_ptr<Timer> timer;
    };
    /// Arguments that HTTP headers repeat: the path to each, and its header.
    using ParameterHeaders = std::vector<std::pair<std::vector<std::string>, std::string>>;

    // Its start, step by step.
    void start(Secrets& secrets);
    Result<std::unique_ptr<McpTransport>> open_transport(Secrets& secrets);
    Result<LaunchOptions> launch_options(Secrets& secrets) const;
    McpTransportEvents transport_events();
    void watch_start();
    void restart_without_probe();
    void renew_session();
    void probe();
    void judge_probe(const Reply& reply);
    bool choose_version(const Value* offered);
    void initialize(const std::string& version);
    void judge_initialize(const std::string& asked, const Reply& reply);
    void list_tools();
    void list_page(std::shared_ptr<std::vector<McpTool>> tools, std::shared_ptr<std::set<std::string>> cursors,
                   Value cursor);
    void become_ready(std::vector<McpTool> tools);
    void fail_start(const std::string& why);

    // Operations.
    void perform(const McpOperationPtr& operation);
    void judge_call(const McpOperationPtr& operation, const Reply& reply);
    void finish(const McpOperationPtr& operation, Result<McpServerInfo> info);
    void finish(const McpOperationPtr& operation, Result<McpToolResult> result);
    void fail(const McpOperationPtr& operation, const std::string& why);

    // Messages.
    std::int64_t request(std::string method, Value params, std::int64_t timeout_ms, ReplyTo reply_to,
                         bool opens_session = false);
    void notify(std::string_view method, Value params);
    void send(std::string text, std::optional<std::int64_t> id, std::string_view method, const Value& params,
              std::int64_t timeout_ms, bool opens_session);
    HttpHeaders headers_of(std::string_view method, const Value& params) const;
    void on_message(const RpcMessage& message);
    void on_failed(std::int64_t id, const McpFailure& failure);
    void on_ended(const std::string& how);
    void answer(const RpcMessage& request);
    void reply(std::int64_t id, const Reply& reply);
    void on_timeout(std::int64_t id);
    void forget_requests();
    std::shared_ptr<Timer> timer_for(std::int64_t wait_ms, std::function<void(McpConnection&)> act);

    [[nodiscard]] bool is_http() const { return !spec_.url.empty(); }
    [[nodiscard]] std::string sentence(const std::string& what) const;
    [[nodiscard]] std::string failure_text(const Reply& reply, std::int64_t waited_ms) const;
    Result<std::vector<McpTool>> tools_of(const Value& result);

    boost::asio::io_context& loop_;
    HttpClient& http_;
    McpServerSpec spec_;
    std::string directory_;
    std::unique_ptr<McpTransport> transport_;
    /// Events of a transport that was given up say another number.
    std::uint64_t generation_ = 0;
    Phase phase_ = Phase::idle;
    Era era_ = Era::unknown;
    /// A server that was found to be of the old kind is not asked again when it is started again.
    bool skip_probe_ = false;
    std::optional<LaunchOptions> launch_;
    std::string version_;
    std::optional<std::int64_t> probe_;  // may still be answered, late
    bool has_tools_ = false;
    bool tools_changed_ = false;
    McpServerInfo info_;
    std::map<std::string, ParameterHeaders> parameter_headers_;
    std::int64_t last_id_ = 0;
    std::map<std::int64_t, Pending> pending_;
    std::deque<McpOperationPtr> waiting_;
    std::set<McpOperationPtr> in_flight_;
    std::shared_ptr<Timer> start_timer_;
};

/// A tool's `content` as one text: text parts, one after the other; of others one line that says what they are.
std::string mcp_content_text(const Value* content);

}  // namespace stele

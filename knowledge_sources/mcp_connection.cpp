#include "knowledge_sources/mcp_connection.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "board/limits.hpp"

namespace stele {

namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr const char* client_name = "stele";
constexpr const char* client_version = "0.1.0";
constexpr const char* modern_version = "2026-07-28";
/// Newest first. The first is proposed; what the server answers may be any of them.
constexpr const char* legacy_versions[] = {"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"};
constexpr std::int64_t probe_timeout_ms = 2'000;
constexpr std::int64_t wait_ms_max = 1'000'000'000'000;
constexpr std::size_t message_bytes_shown = 500;

constexpr std::int64_t header_mismatch = -32020;
constexpr std::int64_t missing_client_capability = -32021;
constexpr std::int64_t unsupported_version = -32022;

bool is_modern_error(std::int64_t code) {
    return code == header_mismatch || code == missing_client_capability || code == unsupported_version;
}

bool is_legacy_version(std::string_view version) {
    return std::find(std::begin(legacy_versions), std::end(legacy_versions), version) != std::end(legacy_versions);
}

std::string text_at(const Value* object, std::string_view name) {
    const Value* member = object == nullptr ? nullptr : object->find(name);
    return member != nullptr && member->is_string() ? member->as_string() : std::string();
}

bool flag_at(const Value* object, std::string_view name) {
    const Value* member = object == nullptr ? nullptr : object->find(name);
    return member != nullptr && member->is_bool() && member->as_bool();
}

std::string cut(std::string text) {
    if (text.size() <= message_bytes_shown) return text;
    std::size_t end = message_bytes_shown;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
    return text.substr(0, end) + "...";
}

Value client_info() { return Value::object({{"name", client_name}, {"version", client_version}}); }

// ---- arguments that headers repeat ----

constexpr std::string_view header_keyword = "x-mcp-header";

bool is_token(std::string_view text) {
    constexpr std::string_view others = "!#$%&'*+-.^_`|~";
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               others.find(c) != std::string_view::npos;
    });
}

std::size_t count_header_keywords(const Value& schema) {
    std::size_t count = 0;
    if (schema.is_array()) {
        for (const Value& element : schema.as_array()) count += count_header_keywords(element);
    } else if (schema.is_object()) {
        for (const auto& [key, value] : schema.as_object()) {
            count += (key == header_keyword && value.is_string() ? 1 : 0) + count_header_keywords(value);
        }
    }
    return count;
}

using Paths = std::vector<std::pair<std::vector<std::string>, std::string>>;

/// False when an annotation breaks a rule, which makes the tool unusable over HTTP.
bool collect_headers(const Value& schema, std::vector<std::string>& path, Paths& found) {
    const Value* properties = schema.find("properties");
    if (properties == nullptr || !properties->is_object()) return true;
    for (const auto& [name, property] : properties->as_object()) {
        path.push_back(name);
        if (const Value* header = property.find(header_keyword)) {
            const std::string type = text_at(&property, "type");
            const bool good_type = type == "string" || type == "integer" || type == "boolean";
            if (!header->is_string() || !is_token(header->as_string()) || !good_type) return false;
            found.emplace_back(path, header->as_string());
        }
        if (!collect_headers(property, path, found)) return false;
        path.pop_back();
    }
    return true;
}

std::string lower(std::string text) {
    for (char& c : text) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    }
    return text;
}

std::optional<Paths> parameter_headers(const Value& schema) {
    Paths found;
    std::vector<std::string> path;
    if (!collect_headers(schema, path, found) || found.size() != count_header_keywords(schema)) return std::nullopt;
    std::set<std::string> names;
    for (const auto& [where, header] : found) {
        if (!names.insert(lower(header)).second) return std::nullopt;
    }
    return found;
}

}  // namespace

struct McpConnection::Timer {
    explicit Timer(boost::asio::io_context& loop) : timer(loop) {}
    boost::asio::steady_timer timer;
};

McpConnection::McpConnection(boost::asio::io_context& loop, HttpClient& http, McpServerSpec spec, std::string directory)
    : loop_(loop), http_(http), spec_(std::move(spec)), directory_(std::move(directory)) {}

void McpConnection::run(McpOperationPtr operation) {
    operation->connection = weak_from_this();
    Secrets& secrets = *operation->secrets;
    if (phase_ == Phase::ready && !tools_changed_) {
        perform(operation);
        return;
    }
    waiting_.push_back(std::move(operation));
    if (phase_ == Phase::idle) {
        start(secrets);
    } else if (phase_ == Phase::ready) {
        phase_ = Phase::starting;
        list_tools();
    }
}

// ---- its start ----

void McpConnection::start(Secrets& secrets) {
    phase_ = Phase::starting;
    version_.clear();
    tools_changed_ = false;
    watch_start();
    Result<std::unique_ptr<McpTransport>> transport = open_transport(secrets);
    if (!transport) {
        fail_start(transport.error().message);
        return;
    }
    transport_ = std::move(*transport);
    if (skip_probe_) {
        era_ = Era::legacy;
        initialize(legacy_versions[0]);
    } else {
        probe();
    }
}

Result<std::unique_ptr<McpTransport>> McpConnection::open_transport(Secrets& secrets) {
    if (is_http()) {
        Result<std::string> url = secrets.fill(spec_.url);
        if (!url) return url.error();
        HttpHeaders headers;
        for (const auto& [name, value] : spec_.headers) {
            Result<std::string> filled = secrets.fill(value);
            if (!filled) return filled.error();
            headers.emplace_back(name, std::move(*filled));
        }
        McpTransportEvents events = transport_events();
        return make_mcp_http(loop_, http_, std::move(*url), std::move(headers), std::move(events));
    }
    Result<LaunchOptions> options = launch_options(secrets);
    if (!options) return options.error();
    launch_ = std::move(*options);
    return start_mcp_stdio(loop_, *launch_, transport_events());
}

Result<LaunchOptions> McpConnection::launch_options(Secrets& secrets) const {
    LaunchOptions options;
    if (spec_.command.empty()) return Error{ErrorCode::invalid_argument, "has neither a command nor a url"};
    options.command.push_back(spec_.command);
    options.command.insert(options.command.end(), spec_.args.begin(), spec_.args.end());
    options.environment = bare_environment();
    // Servers are installed where people install things: npx and uvx look beside themselves and in HOME.
    pass_variables(options.environment, {"PATH", "HOME", "LANG"});
    pass_variables(options.environment, spec_.pass_environment);
    for (const auto& [name, value] : spec_.environment) {
        Result<std::string> filled = secrets.fill(value);
        if (!filled) return filled.error();
        set_variable(options.environment, name, *filled);
    }
    options.directory = directory_;
    if (!spec_.directory.empty()) {
        options.directory = (std::filesystem::path(directory_) / spec_.directory).string();
    }
    return options;
}

McpTransportEvents McpConnection::transport_events() {
    const std::uint64_t generation = ++generation_;
    const std::weak_ptr<McpConnection> weak = weak_from_this();
    McpTransportEvents events;
    events.message = [weak, generation](const RpcMessage& message) {
        const std::shared_ptr<McpConnection> self = weak.lock();
        if (self && self->generation_ == generation) self->on_message(message);
    };
    events.failed = [weak, generation](std::int64_t id, const McpFailure& failure) {
        const std::shared_ptr<McpConnection> self = weak.lock();
        if (self && self->generation_ == generation) self->on_failed(id, failure);
    };
    events.ended = [weak, generation](const std::string& how) {
        const std::shared_ptr<McpConnection> self = weak.lock();
        if (self && self->generation_ == generation) self->on_ended(how);
    };
    return events;
}

void McpConnection::renew_session() {
    phase_ = Phase::starting;
    watch_start();
    initialize(legacy_versions[0]);
}

void McpConnection::watch_start() {
    start_timer_ = timer_for(spec_.start_timeout_ms, [](McpConnection& self) {
        const std::string words = self.transport_ ? self.transport_->last_words() : std::string();
        self.fail_start("was not ready within " + std::to_string(self.spec_.start_timeout_ms) + " ms" +
                        (words.empty() ? "" : ": " + words));
    });
}

/// Some servers of the old kind end when the first they hear is not `initialize`.
void McpConnection::restart_without_probe() {
    forget_requests();
    probe_.reset();
    Result<std::unique_ptr<McpTransport>> transport = start_mcp_stdio(loop_, *launch_, transport_events());
    if (!transport) {
        fail_start(transport.error().message);
        return;
    }
    transport_ = std::move(*transport);
    era_ = Era::legacy;
    initialize(legacy_versions[0]);
}

void McpConnection::probe() {
    era_ = Era::modern;
    version_ = modern_version;
    probe_ = request("server/discover", Value::object({}), probe_timeout_ms,
                     [this](const Reply& reply) { judge_probe(reply); });
}

void McpConnection::judge_probe(const Reply& reply) {
    switch (reply.kind) {
        case Reply::Kind::result:
            probe_.reset();
            info_.name = text_at(reply.result.find("serverInfo"), "name");
            info_.version = text_at(reply.result.find("serverInfo"), "version");
            if (const Value* meta = reply.result.find("_meta"); meta != nullptr && info_.name.empty()) {
                info_.name = text_at(meta->find("io.modelcontextprotocol/serverInfo"), "name");
                info_.version = text_at(meta->find("io.modelcontextprotocol/serverInfo"), "version");
            }
            if (const Value* capabilities = reply.result.find("capabilities")) {
                has_tools_ = capabilities->find("tools") != nullptr;
            } else {
                has_tools_ = true;
            }
            if (choose_version(reply.result.find("supportedVersions"))) list_tools();
            return;
        case Reply::Kind::error:
            probe_.reset();
            if (reply.error.code == unsupported_version) {
                // It has just refused the one modern version that is known here.
                if (choose_version(reply.error.data.find("supported"))) fail_start(failure_text(reply, 0));
                return;
            }
            if (is_modern_error(reply.error.code)) {
                fail_start(failure_text(reply, 0));
                return;
            }
            break;
        case Reply::Kind::failed:
            probe_.reset();
            if (reply.failure.status == 0 || reply.failure.status == 401 || reply.failure.status == 403) {
                fail_start(failure_text(reply, 0));
                return;
            }
            break;
        case Reply::Kind::timeout:
            // A slow start may bring a DiscoverResult yet.
            if (is_http()) probe_.reset();
            break;
    }
    era_ = Era::legacy;
    initialize(legacy_versions[0]);
}

/// True when the modern version is offered; else it has gone another way already.
bool McpConnection::choose_version(const Value* offered) {
    std::vector<std::string> versions;
    if (offered != nullptr && offered->is_array()) {
        for (const Value& version : offered->as_array()) {
            if (version.is_string()) versions.push_back(version.as_string());
        }
    }
    if (std::find(versions.begin(), versions.end(), modern_version) != versions.end()) {
        era_ = Era::modern;
        version_ = modern_version;
        return true;
    }
    for (const char* known : legacy_versions) {
        if (std::find(versions.begin(), versions.end(), known) == versions.end()) continue;
        era_ = Era::legacy;
        initialize(known);
        return false;
    }
    if (versions.empty()) {
        // Something answered, but it was no DiscoverResult.
        era_ = Era::legacy;
        initialize(legacy_versions[0]);
        return false;
    }
    std::string list;
    for (const std::string& version : versions) list += (list.empty() ? "" : ", ") + version;
    fail_start("speaks no revision of MCP that is known here, only " + cut(list));
    return false;
}

void McpConnection::initialize(const std::string& version) {
    version_.clear();
    Value params = Value::object(
        {{"protocolVersion", version}, {"capabilities", Value::object({})}, {"clientInfo", client_info()}});
    request(
        "initialize", std::move(params), spec_.start_timeout_ms,
        [this, version](const Reply& reply) { judge_initialize(version, reply); }, true);
}

void McpConnection::judge_initialize(const std::string& asked, const Reply& reply) {
    if (reply.kind == Reply::Kind::error) {
        // Some refuse what they do not know instead of proposing what they do.
        if (const Value* supported = reply.error.data.find("supported");
            supported != nullptr && supported->is_array()) {
            for (const char* known : legacy_versions) {
                const Value::Array& offered = supported->as_array();
                if (std::find(offered.begin(), offered.end(), Value(known)) == offered.end() || asked == known)
                    continue;
                initialize(known);
                return;
            }
        } else if (reply.error.code == rpc_invalid_params && asked == legacy_versions[0]) {
            initialize(legacy_versions[1]);
            return;
        }
    }
    if (reply.kind != Reply::Kind::result) {
        skip_probe_ = false;
        fail_start(failure_text(reply, spec_.start_timeout_ms));
        return;
    }
    const std::string version = text_at(&reply.result, "protocolVersion");
    if (!is_legacy_version(version)) {
        fail_start(version.empty() ? "answered initialize without a protocol version"
                                   : "speaks MCP \"" + cut(version) + "\", which is not known here");
        return;
    }
    probe_.reset();
    version_ = version;
    skip_probe_ = true;
    info_.name = text_at(reply.result.find("serverInfo"), "name");
    info_.version = text_at(reply.result.find("serverInfo"), "version");
    const Value* capabilities = reply.result.find("capabilities");
    has_tools_ = capabilities != nullptr && capabilities->find("tools") != nullptr;
    notify("notifications/initialized", Value());
    list_tools();
}

void McpConnection::list_tools() {
    tools_changed_ = false;
    if (!has_tools_) {
        become_ready({});
        return;
    }
    list_page(std::make_shared<std::vector<McpTool>>(), std::make_shared<std::set<std::string>>(), Value());
}

void McpConnection::list_page(std::shared_ptr<std::vector<McpTool>> tools,
                              std::shared_ptr<std::set<std::string>> cursors, Value cursor) {
    Value params = Value::object({});
    if (!cursor.is_null()) params.set("cursor", std::move(cursor));
    request("tools/list", std::move(params), spec_.start_timeout_ms, [this, tools, cursors](const Reply& reply) {
        if (reply.kind != Reply::Kind::result) {
            fail_start("cannot tell its tools: " + failure_text(reply, spec_.start_timeout_ms));
            return;
        }
        Result<std::vector<McpTool>> page = tools_of(reply.result);
        if (!page) {
            fail_start(page.error().message);
            return;
        }
        for (McpTool& tool : *page) tools->push_back(std::move(tool));
        const std::string next = text_at(&reply.result, "nextCursor");
        if (tools->size() > limits::mcp_tools_max || cursors->size() > limits::mcp_tools_max) {
            fail_start("has more than " + std::to_string(limits::mcp_tools_max) + " tools");
        } else if (next.empty()) {
            become_ready(std::move(*tools));
        } else if (!cursors->insert(next).second) {
            fail_start("tells its tools in a circle: the page \"" + cut(next) + "\" comes again");
        } else {
            list_page(tools, cursors, next);
        }
    });
}

Result<std::vector<McpTool>> McpConnection::tools_of(const Value& result) {
    const Value* list = result.find("tools");
    if (list == nullptr || !list->is_array()) {
        return Error{ErrorCode::io, "answered tools/list without a list of tools"};
    }
    std::vector<McpTool> tools;
    for (const Value& given : list->as_array()) {
        McpTool tool;
        tool.name = text_at(&given, "name");
        if (tool.name.empty()) continue;
        tool.description = text_at(&given, "description");
        if (tool.description.empty()) tool.description = text_at(&given, "title");
        const Value* schema = given.find("inputSchema");
        tool.input_schema = schema != nullptr && schema->is_object() ? *schema : Value::object({{"type", "object"}});
        tool.read_only = flag_at(given.find("annotations"), "readOnlyHint");
        tool.idempotent = flag_at(given.find("annotations"), "idempotentHint");
        if (is_http() && era_ == Era::modern) {
            // Without its headers right every call of it would be refused.
            std::optional<Paths> headers = parameter_headers(tool.input_schema);
            if (!headers) continue;
            parameter_headers_[tool.name] = std::move(*headers);
        }
        tools.push_back(std::move(tool));
    }
    return tools;
}

void McpConnection::become_ready(std::vector<McpTool> tools) {
    phase_ = Phase::ready;
    start_timer_.reset();
    info_.protocol_version = version_;
    info_.tools = std::move(tools);
    std::deque<McpOperationPtr> waiting = std::move(waiting_);
    waiting_.clear();
    for (const McpOperationPtr& operation : waiting) {
        if (!operation->is_unwanted) perform(operation);
    }
}

/// The server goes at once: what does not start need not be asked to end.
void McpConnection::fail_start(const std::string& why) {
    ++generation_;
    start_timer_.reset();
    probe_.reset();
    forget_requests();
    const std::unique_ptr<McpTransport> transport = std::move(transport_);
    phase_ = Phase::idle;
    std::deque<McpOperationPtr> waiting = std::move(waiting_);
    waiting_.clear();
    for (const McpOperationPtr& operation : in_flight_) waiting.push_back(operation);
    in_flight_.clear();
    for (const McpOperationPtr& operation : waiting) fail(operation, why);
}

// ---- operations ----

void McpConnection::perform(const McpOperationPtr& operation) {
    if (operation->tool.empty()) {
        finish(operation, Result<McpServerInfo>(info_));
        return;
    }
    Value params = Value::object({{"name", operation->tool}, {"arguments", operation->arguments}});
    in_flight_.insert(operation);
    operation->request = request("tools/call", std::move(params), operation->timeout_ms,
                                 [this, operation](const Reply& reply) { judge_call(operation, reply); });
}

void McpConnection::judge_call(const McpOperationPtr& operation, const Reply& reply) {
    operation->request.reset();
    in_flight_.erase(operation);
    if (reply.kind == Reply::Kind::failed && reply.failure.session_lost && !operation->was_tried) {
        operation->was_tried = true;
        // Whoever finds out first asks for a new session; those who were sent into the old one will follow.
        if (phase_ == Phase::ready && !reply.failure.session_renewed) {
            waiting_.push_back(operation);
            renew_session();
        } else {
            run(operation);
        }
        return;
    }
    if (reply.kind == Reply::Kind::error && reply.error.code == header_mismatch && !operation->was_tried) {
        // Its tools may want other headers than when they were listed; nothing was done.
        operation->was_tried = true;
        tools_changed_ = true;
        run(operation);
        return;
    }
    const std::string tool = "tool \"" + operation->tool + "\": ";
    if (reply.kind != Reply::Kind::result) {
        fail(operation, tool + failure_text(reply, operation->timeout_ms));
        return;
    }
    if (text_at(&reply.result, "resultType") == "input_required") {
        fail(operation, tool + "wants input from a person, which cannot be given here");
        return;
    }
    McpToolResult result;
    result.text = mcp_content_text(reply.result.find("content"));
    if (const Value* data = reply.result.find("structuredContent")) result.data = *data;
    result.is_error = flag_at(&reply.result, "isError");
    finish(operation, Result<McpToolResult>(std::move(result)));
}

void McpConnection::finish(const McpOperationPtr& operation, Result<McpServerInfo> info) {
    if (std::exchange(operation->is_over, true)) return;
    boost::asio::post(loop_, [operation, info = std::move(info)]() mutable {
        if (operation->is_unwanted) return;
        const auto finished = std::move(operation->info);
        if (finished) finished(std::move(info));
    });
}

void McpConnection::finish(const McpOperationPtr& operation, Result<McpToolResult> result) {
    if (std::exchange(operation->is_over, true)) return;
    boost::asio::post(loop_, [operation, result = std::move(result)]() mutable {
        if (operation->is_unwanted) return;
        const auto finished = std::move(operation->call);
        if (finished) finished(std::move(result));
    });
}

void McpConnection::fail(const McpOperationPtr& operation, const std::string& why) {
    if (operation->is_unwanted) return;
    Error error{ErrorCode::io, operation->secrets->redact(sentence(why))};
    if (operation->tool.empty()) {
        finish(operation, Result<McpServerInfo>(std::move(error)));
    } else {
        finish(operation, Result<McpToolResult>(std::move(error)));
    }
}

void McpConnection::cancel(McpOperation& operation) {
    operation.is_unwanted = true;
    for (auto at = waiting_.begin(); at != waiting_.end(); ++at) {
        if (at->get() != &operation) continue;
        waiting_.erase(at);
        break;
    }
    if (!operation.request) return;
    const std::int64_t id = *operation.request;
    operation.request.reset();
    for (auto at = in_flight_.begin(); at != in_flight_.end(); ++at) {
        if (at->get() != &operation) continue;
        in_flight_.erase(at);
        break;
    }
    pending_.erase(id);
    if (!transport_) return;
    const bool is_told = transport_->drop(id) && era_ == Era::modern;
    if (!is_told) {
        notify("notifications/cancelled", Value::object({{"requestId", id}, {"reason", "no longer needed"}}));
    }
}

void McpConnection::close(std::function<void()> done) {
    ++generation_;
    start_timer_.reset();
    forget_requests();
    phase_ = Phase::idle;
    std::deque<McpOperationPtr> operations = std::move(waiting_);
    waiting_.clear();
    for (const McpOperationPtr& operation : in_flight_) operations.push_back(operation);
    in_flight_.clear();
    for (const McpOperationPtr& operation : operations) {
        operation->request.reset();
        fail(operation, "is being closed");
    }
    if (!transport_) {
        boost::asio::post(loop_, std::move(done));
        return;
    }
    transport_->close([self = shared_from_this(), done = std::move(done)] {
        // The transport may be in this very function.
        boost::asio::post(self->loop_, [self, done] {
            self->transport_.reset();
            done();
        });
    });
}

void McpConnection::kill() {
    ++generation_;
    start_timer_.reset();
    forget_requests();
    waiting_.clear();
    in_flight_.clear();
    transport_.reset();
    phase_ = Phase::idle;
}

// ---- messages ----

std::int64_t McpConnection::request(std::string method, Value params, std::int64_t timeout_ms, ReplyTo reply_to,
                                    bool opens_session) {
    const std::int64_t id = ++last_id_;
    if (era_ == Era::modern) {
        params.set("_meta", Value::object({{"io.modelcontextprotocol/protocolVersion", version_},
                                           {"io.modelcontextprotocol/clientInfo", client_info()},
                                           {"io.modelcontextprotocol/clientCapabilities", Value::object({})}}));
    }
    Pending pending;
    pending.reply_to = std::move(reply_to);
    pending.timer = timer_for(timeout_ms, [id](McpConnection& self) { self.on_timeout(id); });
    pending_[id] = std::move(pending);
    send(rpc_request(id, method, params), id, method, params, timeout_ms, opens_session);
    return id;
}

void McpConnection::notify(std::string_view method, Value params) {
    send(rpc_notification(method, params), std::nullopt, method, params, spec_.call_timeout_ms, false);
}

void McpConnection::send(std::string text, std::optional<std::int64_t> id, std::string_view method, const Value& params,
                         std::int64_t timeout_ms, bool opens_session) {
    McpOutgoing outgoing;
    outgoing.text = std::move(text);
    outgoing.id = id;
    if (is_http()) outgoing.headers = headers_of(method, params);
    outgoing.timeout_ms = std::clamp<std::int64_t>(timeout_ms, 1, wait_ms_max);
    outgoing.opens_session = opens_session;
    transport_->send(std::move(outgoing));
}

HttpHeaders McpConnection::headers_of(std::string_view method, const Value& params) const {
    HttpHeaders headers;
    if (!version_.empty()) headers.emplace_back("MCP-Protocol-Version", version_);
    if (era_ != Era::modern || method.empty()) return headers;
    headers.emplace_back("Mcp-Method", std::string(method));
    if (method != "tools/call") return headers;
    const std::string name = text_at(&params, "name");
    headers.emplace_back("Mcp-Name", mcp_header_value(name));
    const auto found = parameter_headers_.find(name);
    if (found == parameter_headers_.end()) return headers;
    for (const auto& [path, header] : found->second) {
        const Value* value = params.find("arguments");
        for (const std::string& step : path) value = value == nullptr ? nullptr : value->find(step);
        if (value == nullptr || value->is_null()) continue;
        const std::string text = value->is_string() ? value->as_string() : to_json(*value);
        headers.emplace_back("Mcp-Param-" + header, mcp_header_value(text));
    }
    return headers;
}

void McpConnection::on_message(const RpcMessage& message) {
    switch (message.kind) {
        case RpcMessage::Kind::request:
            answer(message);
            return;
        case RpcMessage::Kind::notification:
            if (message.method == "notifications/tools/list_changed") tools_changed_ = has_tools_;
            return;
        case RpcMessage::Kind::result:
        case RpcMessage::Kind::error:
            break;
    }
    // Ids that are not ours, or that were answered before, are nobody's.
    if (!message.id.is_int()) return;
    const std::int64_t id = message.id.as_int();
    Reply reply_with;
    if (message.kind == RpcMessage::Kind::result) {
        reply_with.result = message.result;
    } else {
        reply_with.kind = Reply::Kind::error;
        reply_with.error = message;
    }
    if (probe_ == id && pending_.find(id) == pending_.end()) {
        if (message.kind != RpcMessage::Kind::result || message.result.find("supportedVersions") == nullptr) return;
        forget_requests();
        judge_probe(reply_with);
        return;
    }
    reply(id, reply_with);
}

void McpConnection::answer(const RpcMessage& request) {
    std::string text;
    if (request.method == "ping") {
        text = rpc_result(request.id, Value::object({}));
    } else {
        text = rpc_error(request.id, rpc_method_not_found, "this client offers no \"" + cut(request.method) + "\"");
    }
    send(std::move(text), std::nullopt, {}, Value(), spec_.call_timeout_ms, false);
}

void McpConnection::on_failed(std::int64_t id, const McpFailure& failure) {
    Reply failed;
    failed.kind = Reply::Kind::failed;
    failed.failure = failure;
    reply(id, failed);
}

void McpConnection::on_timeout(std::int64_t id) {
    // `initialize` must not be cancelled, and a probe may be answered late.
    const bool may_cancel = phase_ == Phase::ready;
    const bool is_told = transport_ && (transport_->drop(id) && era_ == Era::modern);
    if (transport_ && may_cancel && !is_told) {
        notify("notifications/cancelled", Value::object({{"requestId", id}, {"reason", "it took too long"}}));
    }
    Reply timeout;
    timeout.kind = Reply::Kind::timeout;
    reply(id, timeout);
}

void McpConnection::reply(std::int64_t id, const Reply& reply) {
    const auto found = pending_.find(id);
    if (found == pending_.end()) return;
    // Kept here, for what is called may start anew and throw all requests away.
    const Pending pending = std::move(found->second);
    pending_.erase(found);
    pending.reply_to(reply);
}

void McpConnection::on_ended(const std::string& how) {
    if (phase_ == Phase::starting && launch_ && era_ == Era::modern && probe_ && !skip_probe_ &&
        how.rfind("cannot run", 0) != 0) {
        transport_.reset();
        restart_without_probe();
        return;
    }
    fail_start(how.rfind("cannot run", 0) == 0 ? how : "has ended: it " + how);
}

void McpConnection::forget_requests() { pending_.clear(); }

std::shared_ptr<McpConnection::Timer> McpConnection::timer_for(std::int64_t wait_ms,
                                                               std::function<void(McpConnection&)> act) {
    auto timer = std::make_shared<Timer>(loop_);
    timer->timer.expires_after(Milliseconds(std::clamp<std::int64_t>(wait_ms, 1, wait_ms_max)));
    const std::weak_ptr<Timer> alive = timer;
    const std::weak_ptr<McpConnection> weak = weak_from_this();
    timer->timer.async_wait([weak, alive, act = std::move(act)](const boost::system::error_code& error) {
        // One that was thrown away after it had expired means nothing any more.
        const std::shared_ptr<Timer> still = alive.lock();
        const std::shared_ptr<McpConnection> self = weak.lock();
        if (!error && still && self) act(*self);
    });
    return timer;
}

std::string McpConnection::sentence(const std::string& what) const {
    return "MCP server \"" + spec_.name + "\": " + what;
}

std::string McpConnection::failure_text(const Reply& reply, std::int64_t waited_ms) const {
    switch (reply.kind) {
        case Reply::Kind::result:
            break;
        case Reply::Kind::error:
            return "error " + std::to_string(reply.error.code) + ": " + cut(reply.error.message);
        case Reply::Kind::failed:
            return reply.failure.message;
        case Reply::Kind::timeout: {
            const std::string words = transport_ ? transport_->last_words() : std::string();
            return "no answer within " + std::to_string(waited_ms) + " ms" + (words.empty() ? "" : ": " + words);
        }
    }
    return "an answer that makes no sense";
}

std::string mcp_content_text(const Value* content) {
    std::string text;
    if (content == nullptr || !content->is_array()) return text;
    bool is_first = true;
    for (const Value& part : content->as_array()) {
        if (!std::exchange(is_first, false)) text += '\n';
        const std::string type = text_at(&part, "type");
        if (type == "text") {
            text += text_at(&part, "text");
            continue;
        }
        const Value* resource = part.find("resource");
        std::string uri = text_at(&part, "uri");
        if (uri.empty()) uri = text_at(resource, "uri");
        std::string mime = text_at(&part, "mimeType");
        if (mime.empty()) mime = text_at(resource, "mimeType");
        text += "[" + (type.empty() ? std::string("part of no type") : type);
        if (!uri.empty()) text += " " + uri;
        if (!mime.empty()) text += " " + mime;
        const std::string data = text_at(&part, "data");
        if (!data.empty()) text += ", " + std::to_string(data.size()) + " bytes of base64";
        text += "]";
    }
    return text;
}

}  // namespace stele

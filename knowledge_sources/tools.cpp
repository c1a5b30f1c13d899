#include "knowledge_sources/tools.hpp"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "board/bytes.hpp"
#include "board/limits.hpp"
#include "board/nearest.hpp"
#include "board/schema.hpp"
#include "knowledge_sources/child_runner.hpp"
#include "knowledge_sources/json_rpc.hpp"

namespace stele {

namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr std::size_t chat_name_bytes_max = 64;
constexpr std::int64_t timeout_ms_max = 1'000'000'000'000;
constexpr std::size_t error_bytes_shown = 300;

ToolAnswer error_answer(std::string text) {
    ToolAnswer answer;
    answer.is_error = true;
    answer.text = std::move(text);
    return answer;
}

/// What is wrong with the arguments; nothing when they fit, or when the schema is beyond what can be checked.
std::optional<std::string> misfit_of(const Value& schema, const Value& arguments) {
    if (!arguments.is_object()) {
        return std::string("the arguments must be an object, not of type ") + arguments.type_name();
    }
    const Result<EntrySchema> parsed = EntrySchema::from_json_schema(schema);
    if (!parsed) return std::nullopt;
    const std::optional<SchemaProblem> problem = parsed->check(arguments);
    if (!problem) return std::nullopt;
    return "the arguments do not fit the tool: " + (problem->path.empty() ? std::string() : problem->path + ": ") +
           problem->message;
}

std::string plain_name(std::string_view text) {
    std::string name;
    for (const char c : text.substr(0, chat_name_bytes_max)) {
        const bool allowed =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
        name += allowed ? c : '_';
    }
    return name.empty() ? std::string("tool") : name;
}

void name_apart(std::vector<OfferedTool>& tools) {
    std::set<std::string> taken;
    for (OfferedTool& tool : tools) {
        const std::string wanted = plain_name(tool.chat.name);
        std::string name = wanted;
        for (int number = 2; !taken.insert(name).second; ++number) {
            const std::string suffix = "_" + std::to_string(number);
            name = wanted.substr(0, chat_name_bytes_max - suffix.size()) + suffix;
        }
        tool.chat.name = name;
    }
}

// ---- offering ----

struct OfferState {
    std::shared_ptr<const CrewSpec> crew;
    std::vector<ToolRef> refs;
    /// By the ref; joined in their order at the end.
    std::vector<std::vector<OfferedTool>> tools;
    std::map<std::uint32_t, std::unique_ptr<McpCall>> calls;  // by server
    std::size_t open = 0;
    std::function<void(Result<std::vector<OfferedTool>>)> finished;
};

OfferedTool offered(const CrewSpec& crew, std::uint32_t server, const McpTool& tool, const ToolRef& ref) {
    OfferedTool made;
    made.ref = ref;
    made.ref.name = tool.name;
    made.ref.pure = ref.pure || tool.read_only;
    made.pure = made.ref.pure;
    made.name = tool_name(crew, made.ref);
    made.chat.name = crew.mcp_servers[server].name + "_" + tool.name;
    made.chat.description = tool.description;
    made.chat.parameters = tool.input_schema;
    return made;
}

OfferedTool offered(const CrewSpec& crew, std::uint32_t index, const ToolRef& ref) {
    const ToolSpec& tool = crew.tools[index];
    OfferedTool made;
    made.ref = ref;
    made.ref.name = tool.name;
    made.pure = tool.pure || ref.pure;
    made.ref.pure = made.pure;
    made.name = tool.name;
    made.chat.name = tool.name;
    made.chat.description = tool.description;
    made.chat.parameters = tool.parameters.is_object() ? tool.parameters : Value::object({{"type", "object"}});
    return made;
}

Status add_from_server(OfferState& state, std::uint32_t server, const McpServerInfo& info) {
    for (std::size_t i = 0; i < state.refs.size(); ++i) {
        const ToolRef& ref = state.refs[i];
        if (ref.server != server) continue;
        std::vector<std::string> known;
        for (const McpTool& tool : info.tools) {
            known.push_back(tool.name);
            if (ref.name == "*" || ref.name == tool.name) {
                state.tools[i].push_back(offered(*state.crew, server, tool, ref));
            }
        }
        if (ref.name == "*" || !state.tools[i].empty()) continue;
        const std::string meant = nearest_name(ref.name, known);
        return Error{ErrorCode::not_found, "MCP server \"" + state.crew->mcp_servers[server].name +
                                               "\" has no tool \"" + ref.name + "\"" +
                                               (meant.empty() ? "" : "; did you mean \"" + meant + "\"?")};
    }
    return Done{};
}

std::vector<OfferedTool> joined(OfferState& state) {
    std::vector<OfferedTool> all;
    std::set<std::string> known;
    for (std::vector<OfferedTool>& part : state.tools) {
        for (OfferedTool& tool : part) {
            // Named by itself and once more by "*": the same tool.
            if (known.insert(tool.name).second) all.push_back(std::move(tool));
        }
    }
    name_apart(all);
    return all;
}

class OfferRun : public ToolRun {
public:
    explicit OfferRun(std::shared_ptr<OfferState> state) : state_(std::move(state)) {}
    ~OfferRun() override {
        state_->finished = nullptr;
        state_->calls.clear();
    }

private:
    std::shared_ptr<OfferState> state_;
};

// ---- calling ----

/// One call, whatever is behind it. Everything in it goes with it.
struct CallState {
    explicit CallState(boost::asio::io_context& loop_) : loop(loop_), timer(loop_) {}

    boost::asio::io_context& loop;
    boost::asio::steady_timer timer;
    std::shared_ptr<const CrewSpec> crew;
    ToolRef ref;
    Value arguments;
    Secrets* secrets = nullptr;
    std::function<void(ToolAnswer)> finished;
    std::unique_ptr<RunningChild> child;
    std::unique_ptr<HttpExchange> exchange;
    std::unique_ptr<McpCall> mcp_call;
    std::string output;
    int status = 0;
    bool is_over = false;
};
using CallStatePtr = std::shared_ptr<CallState>;

void finish(const CallStatePtr& state, ToolAnswer answer) {
    if (std::exchange(state->is_over, true)) return;
    state->timer.cancel();
    state->child.reset();
    answer.text = state->secrets->redact(std::move(answer.text));
    boost::asio::post(state->loop, [state, answer = std::move(answer)]() mutable {
        state->exchange.reset();
        state->mcp_call.reset();
        const std::function<void(ToolAnswer)> finished = std::move(state->finished);
        state->finished = nullptr;
        if (finished) finished(std::move(answer));
    });
}

class CallRun : public ToolRun {
public:
    explicit CallRun(CallStatePtr state) : state_(std::move(state)) {}
    ~CallRun() override {
        state_->is_over = true;
        state_->finished = nullptr;
        state_->timer.cancel();
        state_->child.reset();
        state_->exchange.reset();
        state_->mcp_call.reset();
    }

private:
    CallStatePtr state_;
};

std::string too_much(std::size_t bytes) {
    return "the tool answered more than its limit of " + std::to_string(bytes) + " bytes";
}

std::string too_late(std::int64_t ms) {
    return "the tool did not answer within its limit of " + std::to_string(ms) + " ms";
}

Result<LaunchOptions> launch_options(const CrewSpec& crew, const ToolSpec& tool, Secrets& secrets) {
    LaunchOptions options;
    if (tool.command.empty() || tool.command.front().empty()) {
        return Error{ErrorCode::invalid_argument, "cannot run tool \"" + tool.name + "\": its command is empty"};
    }
    options.command = tool.command;
    options.environment = bare_environment();
    pass_variables(options.environment, tool.pass_environment);
    for (const auto& [name, value] : tool.environment) {
        Result<std::string> filled = secrets.fill(value);
        if (!filled) return filled.error();
        set_variable(options.environment, name, *filled);
    }
    options.directory = crew.base_directory;
    return options;
}

void run_program(const CallStatePtr& state, const ToolSpec& tool) {
    Result<LaunchOptions> options = launch_options(*state->crew, tool, *state->secrets);
    if (!options) return finish(state, error_answer(options.error().message));
    const std::size_t bytes_max = tool.output_bytes;
    ChildEvents events;
    events.output = [state, bytes_max](std::string_view bytes) {
        if (state->output.size() + bytes.size() > bytes_max) {
            finish(state, error_answer(too_much(bytes_max)));
            return false;
        }
        state->output.append(bytes);
        return true;
    };
    events.ended = [state](const ChildEnd& end) {
        const bool good = !end.not_started && end.exit.known && end.exit.signal == 0 && end.exit.code == 0;
        ToolAnswer answer;
        answer.is_error = !good;
        answer.text = good ? valid_utf8(state->output) : end.not_started ? end.message : "the tool " + end.message;
        finish(state, std::move(answer));
    };
    Result<std::unique_ptr<RunningChild>> child =
        RunningChild::start(state->loop, std::move(*options), std::move(events));
    if (!child) return finish(state, error_answer(child.error().message));
    state->child = std::move(*child);
    state->child->write(to_json(state->arguments) + "\n");
    state->child->close_input();
    const std::int64_t timeout_ms = std::clamp<std::int64_t>(tool.timeout_ms, 1, timeout_ms_max);
    state->timer.expires_after(Milliseconds(timeout_ms));
    state->timer.async_wait([state, timeout_ms](const boost::system::error_code& error) {
        if (!error) finish(state, error_answer(too_late(timeout_ms)));
    });
}

void end_exchange(const CallStatePtr& state, const HttpEnd& end, std::size_t bytes_max) {
    if (end.kind == HttpEndKind::too_large) return finish(state, error_answer(too_much(bytes_max)));
    if (end.kind != HttpEndKind::complete) {
        return finish(state, error_answer("the tool could not be asked: " +
                                          (end.message.empty() ? std::string(to_text(end.kind)) : end.message)));
    }
    ToolAnswer answer;
    answer.text = valid_utf8(state->output);
    if (state->status / 100 != 2) {
        answer.is_error = true;
        answer.text = "the tool answered with status " + std::to_string(state->status) +
                      (answer.text.empty() ? "" : ": " + valid_utf8(answer.text.substr(0, error_bytes_shown)));
    }
    finish(state, std::move(answer));
}

void ask_service(const CallStatePtr& state, const ToolSpec& tool, HttpClient& http, const std::string& key) {
    HttpRequest request;
    Result<std::string> url = state->secrets->fill(tool.url);
    if (!url) return finish(state, error_answer(url.error().message));
    request.url = std::move(*url);
    request.headers = {{"Content-Type", "application/json"}, {"Idempotency-Key", key}};
    for (const auto& [name, value] : tool.headers) {
        Result<std::string> filled = state->secrets->fill(value);
        if (!filled) return finish(state, error_answer(filled.error().message));
        request.headers.emplace_back(name, std::move(*filled));
    }
    request.body = to_json(state->arguments);
    request.timeout_ms = std::clamp<std::int64_t>(tool.timeout_ms, 1, timeout_ms_max);
    request.idle_timeout_ms = request.timeout_ms;
    request.body_bytes_max = tool.output_bytes;
    HttpEvents events;
    events.head = [state](const HttpHead& head) { state->status = head.status; };
    events.data = [state](std::string_view bytes) {
        state->output.append(bytes);
        return !state->is_over;
    };
    events.finished = [state, bytes_max = tool.output_bytes](const HttpEnd& end) {
        end_exchange(state, end, bytes_max);
    };
    state->exchange = http.start(std::move(request), std::move(events));
}

void call_server(const CallStatePtr& state, McpClient& mcp, const McpServerInfo& info) {
    const std::uint32_t server = *state->ref.server;
    for (const McpTool& tool : info.tools) {
        if (tool.name != state->ref.name) continue;
        const std::optional<std::string> misfit = misfit_of(tool.input_schema, state->arguments);
        if (misfit) return finish(state, error_answer(*misfit));
    }
    state->mcp_call = mcp.call(*state->crew, server, state->ref.name, state->arguments, *state->secrets,
                               state->crew->mcp_servers[server].call_timeout_ms, [state](Result<McpToolResult> result) {
                                   if (!result) return finish(state, error_answer(result.error().message));
                                   ToolAnswer answer;
                                   answer.is_error = result->is_error;
                                   answer.text = std::move(result->text);
                                   answer.data = std::move(result->data);
                                   finish(state, std::move(answer));
                               });
}

class Box : public ToolBox {
public:
    Box(boost::asio::io_context& loop, HttpClient& http, McpClient& mcp) : loop_(loop), http_(http), mcp_(mcp) {}

    std::unique_ptr<ToolRun> offer(std::shared_ptr<const CrewSpec> crew, const SourceSpec& source, Secrets& secrets,
                                   std::function<void(Result<std::vector<OfferedTool>>)> finished) override {
        auto state = std::make_shared<OfferState>();
        state->crew = std::move(crew);
        state->refs = source.llm.tools;
        state->tools.resize(state->refs.size());
        state->finished = std::move(finished);
        std::set<std::uint32_t> servers;
        for (std::size_t i = 0; i < state->refs.size(); ++i) {
            const ToolRef& ref = state->refs[i];
            if (ref.tool) state->tools[i].push_back(offered(*state->crew, *ref.tool, ref));
            if (ref.server) servers.insert(*ref.server);
        }
        state->open = servers.size();
        for (const std::uint32_t server : servers) {
            state->calls[server] =
                mcp_.info(*state->crew, server, secrets, [state, server](Result<McpServerInfo> info) {
                    if (!state->finished) return;
                    Status added = info ? add_from_server(*state, server, *info) : Status(info.error());
                    if (added && --state->open > 0) return;
                    const auto told = std::move(state->finished);
                    state->finished = nullptr;
                    if (!added) {
                        told(added.error());
                    } else {
                        told(joined(*state));
                    }
                });
        }
        if (servers.empty()) {
            boost::asio::post(loop_, [state] {
                const auto told = std::move(state->finished);
                state->finished = nullptr;
                if (told) told(joined(*state));
            });
        }
        return std::make_unique<OfferRun>(std::move(state));
    }

    std::unique_ptr<ToolRun> call(std::shared_ptr<const CrewSpec> crew, const ToolRef& ref, const Value& arguments,
                                  Secrets& secrets, const std::string& idempotency_key,
                                  std::function<void(ToolAnswer)> finished) override {
        auto state = std::make_shared<CallState>(loop_);
        state->crew = std::move(crew);
        state->ref = ref;
        state->arguments = arguments;
        state->secrets = &secrets;
        state->finished = std::move(finished);
        auto run = std::make_unique<CallRun>(state);
        if (ref.server) {
            state->mcp_call =
                mcp_.info(*state->crew, *ref.server, secrets, [state, &mcp = mcp_](Result<McpServerInfo> info) {
                    if (!info) return finish(state, error_answer(info.error().message));
                    call_server(state, mcp, *info);
                });
            return run;
        }
        assert(ref.tool);
        const ToolSpec& tool = state->crew->tools[*ref.tool];
        const std::optional<std::string> misfit = misfit_of(tool.parameters, arguments);
        if (misfit) {
            finish(state, error_answer(*misfit));
        } else if (tool.kind == ToolSpec::Kind::process) {
            run_program(state, tool);
        } else {
            ask_service(state, tool, http_, idempotency_key);
        }
        return run;
    }

private:
    boost::asio::io_context& loop_;
    HttpClient& http_;
    McpClient& mcp_;
};

}  // namespace

Hash128 tool_call_key(std::string_view name, const Value& arguments) {
    ByteWriter bytes;
    bytes.text("tool");
    bytes.text(name);
    bytes.text(to_json(arguments));
    return fixed_digest(bytes.bytes());
}

std::string tool_name(const CrewSpec& crew, const ToolRef& ref) {
    if (ref.server) return "mcp:" + crew.mcp_servers[*ref.server].name + "/" + ref.name;
    assert(ref.tool);
    return crew.tools[*ref.tool].name;
}

std::unique_ptr<ToolBox> make_tool_box(boost::asio::io_context& loop, HttpClient& http, McpClient& mcp) {
    return std::make_unique<Box>(loop, http, mcp);
}

}  // namespace stele

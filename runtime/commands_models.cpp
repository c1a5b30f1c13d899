// `stele doctor` and `stele run --dry`: what a crew needs of the world outside, and what it would send.
#include <boost/asio/io_context.hpp>
#include <iostream>
#include <set>

#include "knowledge_sources/chat_client.hpp"
#include "knowledge_sources/chat_wire.hpp"
#include "knowledge_sources/http_client.hpp"
#include "knowledge_sources/mcp_client.hpp"
#include "knowledge_sources/secrets.hpp"
#include "runtime/commands.hpp"
#include "runtime/dry_run.hpp"
#include "runtime/record_json.hpp"
#include "runtime/record_text.hpp"
#include "runtime/wall_clock.hpp"

namespace stele {
namespace {

constexpr std::int64_t probe_timeout_ms = 10'000;
constexpr std::size_t probe_bytes_max = 4U << 20;

/// What one thing outside came to.
struct Finding {
    Value facts = Value::object({});
    bool good = true;

    Finding& set(std::string_view name, Value value) {
        facts.set(name, std::move(value));
        return *this;
    }
    Finding& state(bool is_good, std::string text) {
        good = good && is_good;
        return set("state", std::move(text));
    }
};

std::string listing_path(ModelApi api) {
    switch (api) {
        case ModelApi::openai_chat:
        case ModelApi::openai_responses:
            return "/models";
        case ModelApi::anthropic_messages:
            return "/v1/models";
        case ModelApi::ollama_chat:
            return "/api/tags";
    }
    return "/";
}

// Does the provider's list hold the model? Nothing when this is no list.
std::optional<bool> lists_model(const std::string& body, const std::string& wanted) {
    const Result<Value> value = parse_json(body);
    if (!value.ok()) return std::nullopt;
    const Value* list = value->find("data");
    if (list == nullptr) list = value->find("models");
    if (list == nullptr || !list->is_array()) return std::nullopt;
    for (const Value& one : list->as_array()) {
        for (const char* key : {"id", "name", "model"}) {
            const Value* name = one.find(key);
            if (name != nullptr && name->is_string() &&
                (name->as_string() == wanted || name->as_string() == wanted + ":latest")) {
                return true;
            }
        }
    }
    return false;
}

class Doctor {
public:
    Doctor(std::shared_ptr<const CrewSpec> crew, Secrets& secrets)
        : crew_(std::move(crew)),
          secrets_(secrets),
          http_(make_http_client(loop_)),
          mcp_(make_mcp_client(loop_, *http_)) {}

    // Everything is asked at the same time, and waited for together.
    void examine() {
        std::set<std::uint32_t> models;
        std::set<std::uint32_t> servers;
        for (const SourceSpec& source : crew_->sources) {
            models.insert(source.llm.models.begin(), source.llm.models.end());
            if (source.kind == SourceKind::mcp && source.tool.server) servers.insert(*source.tool.server);
            for (const ToolRef& tool : source.llm.tools) {
                if (tool.server) servers.insert(*tool.server);
            }
        }
        for (const std::uint32_t model : models) examine_model(crew_->models[model]);
        for (const std::uint32_t server : servers) examine_server(server);
        for (const SourceSpec& source : crew_->sources) {
            if (source.kind == SourceKind::http) examine_url(source.name, source.http.url, source.http.secret_env);
        }
        // A server that answers keeps the loop busy, so the loop alone does not tell when all is known.
        while (open_ > 0 && loop_.run_one() > 0) continue;
        bool closed = false;
        mcp_->close([&closed] { closed = true; });
        loop_.restart();
        while (!closed && loop_.run_one() > 0) continue;
    }

    std::map<std::string, Finding> models;
    std::map<std::string, Finding> servers;
    std::map<std::string, Finding> services;

private:
    void set_key(Finding& finding, const std::string& variable, bool optional) {
        if (variable.empty()) return;
        const std::string origin = secrets_.origin(variable);
        finding.set("key_from", variable).set("key_found_in", origin.empty() ? Value() : Value(origin));
        if (origin.empty() && !optional) finding.state(false, variable + " is not set");
    }

    void examine_model(const ModelSpec& model) {
        Finding& finding = models[model.name];
        finding.set("provider", model.provider)
            .set("model", model.model)
            .set("api", to_text(model.api))
            .set("structured_output", to_text(model.structured))
            .set("context_tokens",
                 model.context_tokens == 0 ? Value() : Value(static_cast<std::int64_t>(model.context_tokens)));
        const Result<std::string> url = model_url(model, secrets_);
        if (!url.ok()) {
            finding.state(false, url.error().message);
            return;
        }
        finding.set("url", secrets_.redact(*url));
        set_key(finding, model.key_env, model.key_optional);
        if (!finding.good) return;
        HttpRequest request;
        request.method = "GET";
        request.url = *url + listing_path(model.api);
        const std::optional<std::string> key = model.key_env.empty() ? std::nullopt : secrets_.secret(model.key_env);
        request.headers = wire_of(model.api).headers(model, key.value_or(""));
        probe(std::move(request), finding, [&finding, name = model.model](int status, const std::string& body) {
            if (status == 401 || status == 403)
                return finding.state(false, "reachable, but the key is refused (" + std::to_string(status) + ")"),
                       void();
            if (status != 200)
                return finding.state(true, "reachable; does not list its models (" + std::to_string(status) + ")"),
                       void();
            const std::optional<bool> listed = lists_model(body, name);
            finding.state(listed.value_or(true), !listed   ? "reachable; its list of models cannot be read"
                                                 : *listed ? "reachable, has the model"
                                                           : "reachable, but it does not list " + name);
        });
    }

    void examine_url(const std::string& source, const std::string& url, const std::string& secret) {
        Finding& finding = services[source];
        const Result<std::string> filled = secrets_.fill(url);
        if (!filled.ok()) {
            finding.set("url", url).state(false, filled.error().message);
            return;
        }
        finding.set("url", secrets_.redact(*filled));
        set_key(finding, secret, false);
        if (!finding.good) return;
        HttpRequest request;
        request.method = "OPTIONS";
        request.url = *filled;
        probe(std::move(request), finding, [&finding](int, const std::string&) { finding.state(true, "reachable"); });
    }

    void examine_server(std::uint32_t index) {
        const McpServerSpec& server = crew_->mcp_servers[index];
        Finding& finding = servers[server.name];
        finding.set(server.url.empty() ? "command" : "url", server.url.empty() ? server.command : server.url);
        ++open_;
        calls_.push_back(mcp_->info(*crew_, index, secrets_, [this, &finding](Result<McpServerInfo> info) {
            --open_;
            if (!info.ok()) return finding.state(false, secrets_.redact(info.error().message)), void();
            Value::Array tools;
            for (const McpTool& tool : info->tools) tools.emplace_back(tool.name);
            finding.set("name", info->name)
                .set("version", info->version)
                .set("protocol", info->protocol_version)
                .set("tools", std::move(tools))
                .state(true, "answers");
        }));
    }

    void probe(HttpRequest request, Finding& finding, std::function<void(int, const std::string&)> read) {
        request.timeout_ms = request.idle_timeout_ms = request.connect_timeout_ms = probe_timeout_ms;
        request.body_bytes_max = probe_bytes_max;
        auto status = std::make_shared<int>(0);
        auto body = std::make_shared<std::string>();
        HttpEvents events;
        events.head = [status](const HttpHead& head) { *status = head.status; };
        events.data = [body](std::string_view bytes) {
            body->append(bytes);
            return true;
        };
        ++open_;
        events.finished = [this, &finding, status, body, read = std::move(read)](const HttpEnd& end) {
            --open_;
            if (*status == 0) return finding.state(false, "not reachable: " + secrets_.redact(end.message)), void();
            read(*status, *body);
        };
        exchanges_.push_back(http_->start(std::move(request), std::move(events)));
    }

    std::shared_ptr<const CrewSpec> crew_;
    Secrets& secrets_;
    boost::asio::io_context loop_;
    std::unique_ptr<HttpClient> http_;
    std::unique_ptr<McpClient> mcp_;
    std::vector<std::unique_ptr<HttpExchange>> exchanges_;
    std::vector<std::unique_ptr<McpCall>> calls_;
    std::size_t open_ = 0;
};

std::string fact_text(const Value& value) {
    if (value.is_string()) return value.as_string();
    if (value.is_null()) return "not known";
    if (!value.is_array()) return to_json(value);
    std::string text;
    for (const Value& one : value.as_array()) text += (text.empty() ? "" : ", ") + fact_text(one);
    return text.empty() ? "none" : text;
}

void print(const char* what, const std::map<std::string, Finding>& findings, const CommonOptions& options,
           const Terminal& terminal) {
    for (const auto& [name, finding] : findings) {
        if (options.json) {
            Value line = finding.facts;
            line.set(what, name);
            line.set("good", finding.good);
            std::cout << to_json_line(line) << "\n";
            continue;
        }
        Line head;
        head.add(std::string(what) + " ").add(name, Style::bold).add("  ");
        const Value* state = finding.facts.find("state");
        head.add(state == nullptr ? "not asked" : state->as_string(), finding.good ? Style::green : Style::red);
        std::cout << head.text(terminal.color) << "\n";
        for (const auto& [fact, value] : finding.facts.as_object()) {
            if (fact == "state") continue;
            constexpr std::size_t label_columns = 22;
            Line line;
            line.add("    ").add(fact, Style::dim).pad_to(label_columns).add(fact_text(value));
            std::cout << line.text(terminal.color) << "\n";
        }
    }
}

std::string left_out_text(const DryStart& start) {
    std::string text;
    for (const auto& [region, count] : start.left_out) {
        if (count > 0) text += (text.empty() ? "" : ", ") + region + " " + std::to_string(count);
    }
    return text;
}

void print(const DryStart& start, const CommonOptions& options, const Terminal& terminal) {
    const ModelCall& call = start.call;
    if (options.json) {
        Value line = Value::object({{"event", "would_start"}, {"source", start.source}, {"kind", to_text(start.kind)}});
        Value::Array bound;
        for (const std::string& entry : start.bound) bound.emplace_back(entry);
        line.set("bound", std::move(bound));
        if (call.model != nullptr) {
            line.set("model", call.model->name);
            line.set("prompt_tokens_at_most", static_cast<std::int64_t>(call.prompt_tokens));
            line.set("tokens_at_most", static_cast<std::int64_t>(call.reserve.tokens));
            line.set("money_micros_at_most", call.reserve.money_micros);
            Value::Array messages;
            for (const ChatMessage& message : call.request.messages) messages.emplace_back(message.text);
            line.set("messages", std::move(messages));
            line.set("answer_schema", call.request.answer_schema);
        }
        std::cout << to_json_line(line) << "\n";
        return;
    }
    Line head;
    head.add(start.source, Style::bold).add(std::string(" (") + to_text(start.kind) + ") would start");
    for (std::size_t i = 0; i < start.bound.size() && i < 4; ++i) head.add(i == 0 ? " on " : " ").add(start.bound[i]);
    if (start.bound.size() > 4) head.add(" and " + std::to_string(start.bound.size() - 4) + " more");
    std::cout << head.text(terminal.color) << "\n";
    if (call.model == nullptr) return;
    Line cost;
    cost.add("    asks " + call.model->name + ": prompt at most " + counted(call.prompt_tokens, "token", "tokens") +
             ", answer at most " + counted(call.request.max_tokens, "token", "tokens"));
    if (call.model->price) cost.add(", together at most " + money_text(call.reserve.money_micros) + " of money");
    std::cout << cost.text(terminal.color) << "\n";
    if (const std::string left = left_out_text(start); !left.empty()) std::cout << "    left out: " << left << "\n";
    for (const ChatMessage& message : call.request.messages) {
        Line role;
        role.add(message.role == ChatMessage::Role::system ? "  system" : "  user", Style::cyan);
        std::cout << role.text(terminal.color) << "\n";
        for (const std::string_view text : lines_of(message.text)) {
            Line line;
            std::cout << line.add("    ").add(text).text(terminal.color) << "\n";
        }
    }
    std::cout << "\n";
}

Result<std::shared_ptr<const CrewSpec>> load(const CheckOptions& options) {
    const Result<std::vector<CrewInput>> inputs = parse_inputs(options.inputs);
    if (!inputs.ok()) return inputs.error();
    LoadedCrew loaded = load_crew_file(options.crew_file, *inputs);
    for (const CrewProblem& problem : loaded.problems) std::cerr << to_text(problem) << "\n";
    if (!loaded.crew) return Error{ErrorCode::invalid_argument, {}};
    return std::move(loaded.crew);
}

}  // namespace

ExitCode command_doctor(const CheckOptions& options) {
    const Result<std::shared_ptr<const CrewSpec>> crew = load(options);
    if (!crew.ok()) return crew.error().message.empty() ? ExitCode::usage : complain(crew.error());
    Result<Secrets> secrets = Secrets::load((*crew)->base_directory);
    if (!secrets.ok()) return complain(secrets.error());
    Doctor doctor(*crew, *secrets);
    doctor.examine();
    const Terminal terminal = detect_terminal(1, options.common.color);
    for (const SourceSpec& source : (*crew)->sources) {
        if (source.kind != SourceKind::llm) continue;
        std::string asks;
        for (const std::uint32_t model : source.llm.models) {
            asks += (asks.empty() ? "" : ", else ") + (*crew)->models[model].name;
        }
        if (options.common.json) {
            std::cout << to_json_line(Value::object({{"source", source.name}, {"asks", asks}})) << "\n";
        } else {
            Line line;
            line.add("source ").add(source.name, Style::bold).add("  asks " + asks);
            std::cout << line.text(terminal.color) << "\n";
        }
    }
    bool good = true;
    std::size_t found = 0;
    for (const auto* findings : {&doctor.models, &doctor.servers, &doctor.services}) {
        const char* what = findings == &doctor.models ? "model" : findings == &doctor.servers ? "server" : "service";
        print(what, *findings, options.common, terminal);
        for (const auto& [name, finding] : *findings) {
            good = good && finding.good;
            ++found;
        }
    }
    if (found == 0 && !options.common.json) std::cout << "this crew asks nothing of the world outside\n";
    return good ? ExitCode::done : ExitCode::failure;
}

ExitCode command_dry_run(const CheckOptions& options) {
    const Result<std::shared_ptr<const CrewSpec>> crew = load(options);
    if (!crew.ok()) return crew.error().message.empty() ? ExitCode::usage : complain(crew.error());
    const Result<DryReport> report = dry_run(*crew, wall_clock());
    if (!report.ok()) return complain(report.error());
    const Terminal terminal = detect_terminal(1, options.common.color);
    for (const DryStart& start : report->starts) print(start, options.common, terminal);
    const Amounts& most = report->most;
    if (options.common.json) {
        std::cout << to_json_line(Value::object({{"event", "dry"},
                                                 {"starts", static_cast<std::int64_t>(report->starts.size())},
                                                 {"rules_fired", static_cast<std::int64_t>(report->rules_fired)},
                                                 {"tokens_at_most", static_cast<std::int64_t>(most.tokens)},
                                                 {"money_micros_at_most", most.money_micros}}))
                  << "\n";
        return ExitCode::done;
    }
    std::string text = counted(report->starts.size(), "activation", "activations") + " would start, " +
                       counted(report->rules_fired, "rule firing", "rule firings") + " before them";
    if (most.tokens > 0) text += "; their first calls take at most " + counted(most.tokens, "token", "tokens");
    if (most.money_micros > 0) text += " and " + money_text(most.money_micros) + " of money";
    std::cout << text << "; nothing was started or sent\n";
    return ExitCode::done;
}

}  // namespace stele

// The part of `stele check` about what a crew calls. Names of variables are told, what they hold is
// not; of headers, only their names.
#include "runtime/crew_sheet.hpp"

namespace stele {
namespace {

using sheet::caps;
using sheet::counted;
using sheet::duration;
using sheet::joined;
using sheet::money;

using Pairs = std::vector<std::pair<std::string, std::string>>;

std::string names_of(const Pairs& pairs) {
    std::vector<std::string> names;
    for (const auto& [name, value] : pairs) names.push_back(name);
    return joined(names, ", ", "");
}

std::string address_text(const ModelSpec& model) {
    if (!model.base_url.empty()) return model.base_url;
    if (model.base_url_env.empty()) return model.base_url_default;
    if (model.base_url_default.empty()) return "what " + model.base_url_env + " holds";
    return model.base_url_default + ", or what " + model.base_url_env + " holds";
}

std::string answer_text(const ModelSpec& model) {
    std::string text = "at most " + counted(model.max_tokens, "token", "tokens");
    if (model.context_tokens > 0) text += " of a context of " + std::to_string(model.context_tokens);
    switch (model.structured) {
        case StructuredOutput::schema:
            text += ", by the provider's own JSON Schema";
            break;
        case StructuredOutput::json:
            text += ", by the provider's JSON mode";
            break;
        case StructuredOutput::prompt:
            text += ", as the prompt asks";
            break;
    }
    if (model.temperature.has_value()) text += ", temperature " + to_json(Value::number(*model.temperature));
    if (model.seed.has_value()) text += ", seed " + std::to_string(*model.seed);
    return text + (model.stream ? ", streamed" : ", in one piece");
}

std::string price_text(const Price& price) {
    return money(price.input_pico) + " in, " + money(price.output_pico) + " out, " + money(price.cached_input_pico) +
           " cached, for a million tokens";
}

std::string model_limits(const ModelSpec& model) {
    std::vector<std::string> parts = caps(model.caps);
    if (model.caps.wall_ms > 0) parts.push_back(duration(model.caps.wall_ms) + " of calling time");
    if (model.concurrency > 0) parts.push_back(std::to_string(model.concurrency) + " at a time");
    if (model.requests_per_minute > 0) {
        parts.push_back(counted(model.requests_per_minute, "request", "requests") + " a minute");
    }
    if (model.tokens_per_minute > 0) {
        parts.push_back(counted(model.tokens_per_minute, "token", "tokens") + " a minute");
    }
    parts.push_back("timeout " + duration(model.timeout_ms));
    parts.push_back("idle timeout " + duration(model.idle_timeout_ms));
    return joined(parts, ", ", "");
}

void describe_model(Sheet& out, const ModelSpec& model) {
    const std::string full = model.provider + "/" + model.model;
    out.heading("Model " + model.name + (model.name == full ? "" : " (" + full + ")"));
    out.line("asked", "by the API \"" + std::string(to_text(model.api)) + "\" at " + address_text(model));
    if (!model.key_env.empty()) out.line("key", "in " + model.key_env + (model.key_optional ? ", if it is set" : ""));
    if (!model.headers.empty()) out.line("headers", names_of(model.headers));
    if (model.options.is_object()) out.line("options", to_json(model.options));
    out.line("answers", answer_text(model));
    out.line("limits", model_limits(model));
    out.line("price", model.price.has_value() ? price_text(*model.price) : "not known");
}

std::string environment_text(const Pairs& set, const std::vector<std::string>& passed) {
    std::vector<std::string> names;
    for (const auto& [name, value] : set) names.push_back(name);
    names.insert(names.end(), passed.begin(), passed.end());
    return joined(names, ", ", "");
}

void describe_server(Sheet& out, const McpServerSpec& server) {
    out.heading("MCP server " + server.name);
    if (!server.url.empty()) {
        out.line("reached", "at " + server.url);
        if (!server.headers.empty()) out.line("headers", names_of(server.headers));
    } else {
        out.line("runs", server.command + (server.args.empty() ? "" : " ") + joined(server.args, " ", ""));
        const std::string environment = environment_text(server.environment, server.pass_environment);
        if (!environment.empty()) out.line("environment", environment);
        if (!server.directory.empty()) out.line("directory", server.directory);
    }
    out.line("limits", (server.url.empty() ? "ready within " + duration(server.start_timeout_ms) + ", " : "") +
                           "timeout " + duration(server.call_timeout_ms));
}

void describe_tool(Sheet& out, const ToolSpec& tool) {
    const bool is_http = tool.kind == ToolSpec::Kind::http;
    out.heading("Tool " + tool.name + (is_http ? " (http" : " (process") + (tool.pure ? ", pure)" : ")"));
    out.line("help", tool.description);
    out.line(is_http ? "calls" : "runs", is_http ? tool.url : joined(tool.command, " ", ""));
    const std::string environment = environment_text(tool.environment, tool.pass_environment);
    if (!environment.empty()) out.line("environment", environment);
    if (!tool.headers.empty()) out.line("headers", names_of(tool.headers));
    out.line("arguments", to_json(tool.parameters));
    out.line("limits", "timeout " + duration(tool.timeout_ms) + ", output " + sheet::size(tool.output_bytes));
}

std::string tool_text(const CrewSpec& crew, const ToolRef& ref) {
    const std::string name =
        ref.server.has_value() ? "mcp:" + crew.mcp_servers[*ref.server].name + "/" + ref.name : ref.name;
    return name + (ref.pure ? " (pure)" : "");
}

void describe_llm(Sheet& out, const CrewSpec& crew, const LlmSpec& llm) {
    std::vector<std::string> models;
    for (const std::uint32_t index : llm.models) models.push_back(crew.models[index].name);
    out.line("asks", joined(models, ", then ", ""));
    if (!llm.role.empty()) out.line("role", llm.role);
    const std::size_t bytes =
        llm.role.size() + llm.goal.size() + llm.backstory.size() + llm.prompt.size() + llm.expected_output.size();
    out.line("prompt", counted(bytes, "byte", "bytes") + " of its own");
    std::vector<std::string> tools;
    for (const ToolRef& ref : llm.tools) tools.push_back(tool_text(crew, ref));
    if (!tools.empty()) {
        out.line("tools", joined(tools, ", ", "") + "; at most " + counted(llm.turns_max, "turn", "turns"));
    }
    out.line("reuse", llm.reuse ? "the same prompt is answered from the board" : "the same prompt is asked again");
    if (llm.view_tokens > 0) out.line("view", "at most " + counted(llm.view_tokens, "token", "tokens") + " of entries");
}

}  // namespace

void describe_outside(Sheet& out, const CrewSpec& crew) {
    for (const ModelSpec& model : crew.models) describe_model(out, model);
    for (const McpServerSpec& server : crew.mcp_servers) describe_server(out, server);
    for (const ToolSpec& tool : crew.tools) describe_tool(out, tool);
    if (!crew.callbacks.has_value()) return;
    out.heading("Answers that come later");
    out.line("listens", "on " + crew.callbacks->listen);
    if (!crew.callbacks->url.empty()) out.line("told as", crew.callbacks->url);
}

void describe_calls(Sheet& out, const CrewSpec& crew, const SourceSpec& source) {
    if (source.kind == SourceKind::llm) describe_llm(out, crew, source.llm);
    if (source.kind == SourceKind::http) {
        out.line("calls", source.http.url + ", in up to " + counted(source.http.tries, "try", "tries"));
        if (!source.http.headers.empty()) out.line("headers", names_of(source.http.headers));
        if (!source.http.secret_env.empty()) {
            out.line("later", "answers may be called back, signed with what " + source.http.secret_env + " holds");
        }
    }
    if (source.kind == SourceKind::mcp) {
        std::vector<std::string> names;
        for (const auto& [name, value] : source.arguments.members) names.push_back(name);
        out.line("calls", tool_text(crew, source.tool) + (names.empty() ? "" : " with " + joined(names, ", ", "")));
    }
    if (source.wrap_up) out.line("wrap-up", "goes on, and may use what the budget keeps back");
}

void describe_budget(Sheet& out, const CrewSpec& crew) {
    const StopSpec& stop = crew.stop;
    const std::vector<std::string> parts = caps(stop.calls);
    if (parts.empty()) return;
    std::string text = "calls may cost " + joined(parts, ", ", "") + "; ";
    switch (stop.on_exceed) {
        case OnExceed::stop:
            text += "without room for the next one the run stops";
            break;
        case OnExceed::wrap_up:
            text += to_json(Value::number(stop.reserve * 100)) +
                    "% is kept back, and without room for the next one the run wraps up";
            break;
        case OnExceed::ask:
            text += "without room for the next one the run pauses and asks";
            break;
    }
    out.line("calls", text);
}

}  // namespace stele

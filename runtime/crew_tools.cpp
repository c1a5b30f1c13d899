// Reads `mcpServers:`, `tools:` and `callbacks:`, and what sources name of them.
#include <algorithm>
#include <charconv>

#include "runtime/crew_draft.hpp"

namespace stele {
namespace {

std::vector<std::string> server_names(const CrewDraft& draft) {
    std::vector<std::string> names;
    for (const McpServerSpec& server : draft.crew.mcp_servers) names.push_back(server.name);
    return names;
}

void duration(CrewDraft& draft, MapReader& map, std::string_view key, std::int64_t& target) {
    const YamlNode* node = map.optional(key);
    if (node != nullptr) target = read_duration(*node, map.part(key), 1, draft.problems).value_or(target);
}

// Reports keys that go with the other of two ways.
void refuse(CrewDraft& draft, MapReader& map, const YamlNode& node, std::initializer_list<std::string_view> keys,
            std::string_view way) {
    for (const std::string_view key : keys) {
        const YamlMember* member = node.find(key);
        if (member == nullptr) continue;
        (void)map.optional(key);
        draft.problems.error(member->place, map.what() + " " + std::string(way) + "; leave out " + in_quotes(key));
    }
}

// Configurations written for other programs say how a server is reached, though it can be seen.
void check_transport(CrewDraft& draft, MapReader& map, bool has_url, std::string_view key) {
    const YamlNode* node = map.optional(key);
    if (node == nullptr) return;
    const std::string what = map.part(key);
    if (node->is_scalar() && node->text == "sse") {
        draft.problems.error(node->place, what +
                                              ": the older transport over \"sse\" is not spoken; expected \"stdio\""
                                              " or \"http\"");
        return;
    }
    const std::vector<std::string> words = {"stdio", "http", "streamable-http", "streamableHttp", "streamable_http"};
    const std::optional<std::size_t> index = read_word(*node, what, words, draft.problems);
    if (!index.has_value() || (*index > 0) == has_url) return;
    draft.problems.error(node->place, what + " is " + in_quotes(node->text) + ", and the server has " +
                                          (has_url ? "a \"url\"" : "no \"url\""));
}

McpServerSpec read_server(CrewDraft& draft, const YamlMember& member) {
    McpServerSpec server;
    server.name = member.key;
    server.place = member.place;
    const YamlNode& node = member.value;
    MapReader map(node, "MCP server " + in_quotes(member.key), draft.problems, member.place);
    check_outside_name(draft, member.key, member.place, "an MCP server");
    const bool has_url = node.find("url") != nullptr;
    const bool has_command = node.find("command") != nullptr;
    if (map.is_map() && !has_url && !has_command) {
        draft.problems.error(member.place, map.what() + " needs \"command\" or \"url\"");
    }
    if (const YamlNode* command = map.optional("command")) {
        server.command = read_argument(draft, *command, map.part("command")).value_or("");
        if (command->is_scalar() && command->text.empty()) {
            draft.problems.error(command->place, map.part("command") + ": the program to run is missing");
        }
    }
    if (has_url) {
        refuse(draft, map, node, {"command", "args", "env", "pass_env", "cwd", "start_timeout"},
               "is reached by its \"url\" and runs nothing");
    } else {
        refuse(draft, map, node, {"headers"}, "has no \"url\"");
    }
    if (const YamlNode* args = has_url ? nullptr : map.optional("args")) {
        const std::vector<YamlNode>* items = read_list(*args, map.part("args"), draft.problems);
        for (std::size_t i = 0; items != nullptr && i < items->size(); ++i) {
            server.args.push_back(read_argument(draft, (*items)[i], map.part("args")).value_or(""));
        }
    }
    if (const YamlNode* environment = has_url ? nullptr : map.optional("env")) {
        server.environment = read_environment(draft, *environment, map.part("env"), true);
    }
    if (const YamlNode* passed = has_url ? nullptr : map.optional("pass_env")) {
        server.pass_environment = read_passed_environment(draft, *passed, map.part("pass_env"), server.environment);
    }
    if (const YamlNode* directory = has_url ? nullptr : map.optional("cwd")) {
        server.directory = read_argument(draft, *directory, map.part("cwd")).value_or("");
    }
    if (const YamlNode* url = map.optional("url")) {
        server.url = read_url(draft, *url, map.part("url")).value_or("");
    }
    if (const YamlNode* headers = has_url ? map.optional("headers") : nullptr) {
        server.headers = read_headers(draft, *headers, map.part("headers"));
    }
    for (const std::string_view key : {"type", "transport"}) check_transport(draft, map, has_url, key);
    if (!has_url) duration(draft, map, "start_timeout", server.start_timeout_ms);
    duration(draft, map, "timeout", server.call_timeout_ms);
    map.finish();
    return server;
}

// --- tools -----------------------------------------------------------------------------------

bool is_json_schema(const YamlNode& node) {
    const YamlMember* type = node.find("type");
    const YamlMember* properties = node.find("properties");
    return (type != nullptr && type->value.is_scalar() && type->value.text == "object") ||
           (properties != nullptr && properties->value.is_map()) || node.find("$schema") != nullptr;
}

Value json_schema_of(const FieldSpec& field) {
    if (!field.choices.empty()) {
        Value::Array choices;
        for (const std::string& choice : field.choices) choices.emplace_back(choice);
        return Value::object({{"type", "string"}, {"enum", Value(std::move(choices))}});
    }
    if (field.type == FieldType::any) return Value::object({});
    Value schema = Value::object({{"type", to_text(field.type)}});
    if (field.type == FieldType::array && field.element != FieldType::any) {
        schema.set("items", Value::object({{"type", to_text(field.element)}}));
    }
    return schema;
}

Value json_schema_of(const std::vector<FieldSpec>& fields) {
    std::vector<Value::Member> properties;
    Value::Array required;
    for (const FieldSpec& field : fields) {
        properties.emplace_back(field.name, json_schema_of(field));
        if (!field.optional) required.emplace_back(field.name);
    }
    return Value::object({{"type", "object"},
                          {"properties", Value::object(std::move(properties))},
                          {"required", Value(std::move(required))},
                          {"additionalProperties", false}});
}

Value read_parameters(CrewDraft& draft, const YamlNode& node, const MapReader& map) {
    if (!node.is_map() || !is_json_schema(node)) {
        return json_schema_of(read_short_form(draft, node, map.what(), map.part("parameters")));
    }
    Value document = plain_value(node);
    if (document.find("type") == nullptr) document.set("type", "object");
    const Result<EntrySchema> schema = EntrySchema::from_json_schema(document);
    if (!schema.ok()) draft.problems.error(node.place, map.part("parameters") + ": " + schema.error().message);
    if (*document.find("type") != Value("object")) {
        draft.problems.error(node.place, map.part("parameters") + ": the arguments of a tool are an object");
    }
    return document;
}

ToolSpec read_tool(CrewDraft& draft, const YamlMember& member) {
    ToolSpec tool;
    tool.name = member.key;
    tool.place = member.place;
    const YamlNode& node = member.value;
    MapReader map(node, "tool " + in_quotes(member.key), draft.problems, member.place);
    check_name(member.key, member.place, "a tool", draft.problems);
    std::optional<std::size_t> kind;
    if (const YamlNode* word = map.required("kind")) {
        kind = read_word(*word, map.part("kind"), {"process", "http"}, draft.problems);
        tool.kind = static_cast<ToolSpec::Kind>(kind.value_or(0));
    }
    if (const YamlNode* description = map.required("description")) {
        tool.description = read_filled_text(draft, *description, map.part("description")).value_or("");
    }
    tool.parameters = json_schema_of(std::vector<FieldSpec>());
    if (const YamlNode* parameters = map.optional("parameters")) {
        tool.parameters = read_parameters(draft, *parameters, map);
    }
    if (const YamlNode* pure = map.optional("pure")) {
        tool.pure = read_flag(draft, *pure, map.part("pure")).value_or(false);
    }
    const bool is_process = kind != std::size_t{1};
    const bool is_http = kind != std::size_t{0};
    if (!is_process) refuse(draft, map, node, {"command", "env", "pass_env"}, "is an address and runs no process");
    if (!is_http) refuse(draft, map, node, {"url", "headers"}, "is a process and has no address");
    if (const YamlNode* command = !is_process ? nullptr : is_http ? map.optional("command") : map.required("command")) {
        tool.command = read_command(draft, *command, map.part("command"));
    }
    if (const YamlNode* environment = is_process ? map.optional("env") : nullptr) {
        tool.environment = read_environment(draft, *environment, map.part("env"), true);
    }
    if (const YamlNode* passed = is_process ? map.optional("pass_env") : nullptr) {
        tool.pass_environment = read_passed_environment(draft, *passed, map.part("pass_env"), tool.environment);
    }
    if (const YamlNode* url = !is_http ? nullptr : is_process ? map.optional("url") : map.required("url")) {
        tool.url = read_url(draft, *url, map.part("url")).value_or("");
    }
    if (const YamlNode* headers = is_http ? map.optional("headers") : nullptr) {
        tool.headers = read_headers(draft, *headers, map.part("headers"));
    }
    duration(draft, map, "timeout", tool.timeout_ms);
    if (const YamlNode* output = map.optional("output")) {
        tool.output_bytes = read_size(*output, map.part("output"), draft.problems).value_or(tool.output_bytes);
    }
    map.finish();
    return tool;
}

bool is_address(std::string_view text) {
    const std::size_t colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0) return false;
    std::uint32_t port = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + colon + 1, end, port);
    const std::string_view host = text.substr(0, colon);
    return parsed.ec == std::errc() && parsed.ptr == end && port <= 65'535 && host.find('/') == host.npos &&
           host.find(' ') == host.npos;
}

}  // namespace

void read_servers(CrewDraft& draft, const YamlNode* node) {
    if (node == nullptr) return;
    if (!node->is_map()) {
        draft.problems.error(node->place, unexpected("mcpServers", "a map from name to server", *node));
        draft.servers_known = false;
        return;
    }
    for (const YamlMember& member : node->members) {
        draft.crew.mcp_servers.push_back(read_server(draft, member));
    }
}

void read_tools(CrewDraft& draft, const YamlNode* node) {
    if (node == nullptr) return;
    if (!node->is_map()) {
        draft.problems.error(node->place, unexpected("tools", "a map from name to tool", *node));
        draft.tools_known = false;
        return;
    }
    for (const YamlMember& member : node->members) draft.crew.tools.push_back(read_tool(draft, member));
}

void read_callbacks(CrewDraft& draft, const YamlNode* node) {
    if (node == nullptr) return;
    CallbackSpec callbacks;
    MapReader map(*node, "callbacks", draft.problems);
    if (const YamlNode* listen = map.required("listen")) {
        callbacks.listen = read_filled_text(draft, *listen, map.part("listen")).value_or("");
        if (listen->is_scalar() && !callbacks.listen.empty() && !is_address(callbacks.listen)) {
            draft.problems.error(listen->place,
                                 unexpected(map.part("listen"), "an address such as \"127.0.0.1:8181\"", *listen));
        }
    }
    if (const YamlNode* url = map.optional("url")) {
        callbacks.url = read_url(draft, *url, map.part("url")).value_or("");
    }
    map.finish();
    draft.crew.callbacks = std::move(callbacks);
}

std::optional<ToolRef> resolve_server_tool(CrewDraft& draft, std::string_view text, SourcePlace place,
                                           const std::string& what) {
    const std::size_t slash = text.find('/');
    const std::string server(text.substr(0, slash));
    const std::string tool(slash == std::string_view::npos ? std::string_view() : text.substr(slash + 1));
    if (server.empty() || tool.empty()) {
        draft.problems.error(place, what + ": " + in_quotes(text) + " is no \"server/tool\"");
        return std::nullopt;
    }
    const std::vector<std::string> names = server_names(draft);
    const auto found = std::find(names.begin(), names.end(), server);
    if (found == names.end()) {
        if (draft.servers_known) {
            draft.problems.error(place, "there is no MCP server " + in_quotes(server) + " under \"mcpServers\"" +
                                            nearest_hint(server, names));
        }
        return std::nullopt;
    }
    ToolRef ref;
    ref.server = static_cast<std::uint32_t>(found - names.begin());
    ref.name = tool;
    ref.place = place;
    return ref;
}

std::optional<ToolRef> resolve_tool(CrewDraft& draft, const std::string& text, SourcePlace place,
                                    const std::string& what) {
    constexpr std::string_view prefix = "mcp:";
    if (text.starts_with(prefix)) {
        return resolve_server_tool(draft, std::string_view(text).substr(prefix.size()), place, what);
    }
    std::vector<std::string> names;
    for (const ToolSpec& tool : draft.crew.tools) names.push_back(tool.name);
    const auto found = std::find(names.begin(), names.end(), text);
    if (found == names.end()) {
        if (draft.tools_known) {
            const std::string hint = nearest_hint(text, names);
            draft.problems.error(place, "there is no tool " + in_quotes(text) + " under \"tools\"" +
                                            (hint.empty() ? "; one of a server is named \"mcp:server/tool\"" : hint));
        }
        return std::nullopt;
    }
    ToolRef ref;
    ref.tool = static_cast<std::uint32_t>(found - names.begin());
    ref.name = text;
    ref.pure = draft.crew.tools[*ref.tool].pure;
    ref.place = place;
    return ref;
}

void warn_about_tools(CrewDraft& draft) {
    std::vector<bool> tools(draft.crew.tools.size(), false);
    std::vector<bool> servers(draft.crew.mcp_servers.size(), false);
    const auto use = [&](const ToolRef& ref) {
        if (ref.tool.has_value()) tools[*ref.tool] = true;
        if (ref.server.has_value()) servers[*ref.server] = true;
    };
    bool has_secret = false;
    for (const SourceSpec& source : draft.crew.sources) {
        for (const ToolRef& ref : source.llm.tools) use(ref);
        use(source.tool);
        has_secret = has_secret || !source.http.secret_env.empty();
    }
    for (std::size_t i = 0; i < tools.size(); ++i) {
        if (tools[i]) continue;
        const ToolSpec& tool = draft.crew.tools[i];
        draft.problems.warn(tool.place, "tool " + in_quotes(tool.name) + " is used by no source");
    }
    for (std::size_t i = 0; i < servers.size(); ++i) {
        if (servers[i]) continue;
        const McpServerSpec& server = draft.crew.mcp_servers[i];
        draft.problems.warn(server.place, "MCP server " + in_quotes(server.name) + " is used by no source");
    }
    if (draft.crew.callbacks.has_value() && !has_secret) {
        draft.problems.warn({}, "\"callbacks\" are listened for, but no source has a \"secret_env\"");
    }
}

}  // namespace stele

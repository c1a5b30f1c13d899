// Reads what is particular to the kinds that call something outside: llm, http and mcp.
#include <algorithm>

#include "runtime/crew_draft.hpp"

namespace stele {
namespace {

constexpr std::uint64_t count_max = 1'000'000'000;
constexpr std::uint64_t turns_max = 1'000;
constexpr std::uint64_t tries_max = 100;

// Where one has no capacity, the other has none either.
bool is_same_service(const ModelSpec& a, const ModelSpec& b) {
    return !a.model.empty() && a.provider == b.provider && a.model == b.model && a.base_url == b.base_url &&
           a.key_env == b.key_env;
}

class LlmReader {
public:
    explicit LlmReader(SourceParts& source)
        : source_(source),
          draft_(source.draft),
          problems_(source.draft.problems),
          map_(source.map),
          llm_(source.spec.llm) {}

    void read();

private:
    /// The one of two names under which it is given. Reports both.
    const YamlMember* one_of(std::string_view key, std::string_view other);
    void read_model(const YamlNode& node, std::string_view key);
    void read_models();
    void text(std::string_view key, std::string& target);
    void read_task();
    void read_file(const YamlNode& node);
    void read_tools(const YamlNode& node);
    void read_tool(const YamlNode& node);
    void read_view_tokens();

    SourceParts& source_;
    CrewDraft& draft_;
    CrewProblems& problems_;
    MapReader& map_;
    LlmSpec& llm_;
};

void LlmReader::read() {
    read_models();
    text("role", llm_.role);
    text("goal", llm_.goal);
    text("backstory", llm_.backstory);
    read_task();
    text("expected_output", llm_.expected_output);
    if (const YamlNode* tools = map_.optional("tools")) read_tools(*tools);
    if (const YamlMember* turns = one_of("max_turns", "max_iter")) {
        const auto count = read_count(turns->value, map_.part(turns->key), {.min = 1, .max = turns_max}, problems_);
        llm_.turns_max = static_cast<std::uint32_t>(count.value_or(llm_.turns_max));
    }
    if (const YamlNode* reuse = map_.optional("reuse")) {
        llm_.reuse = read_flag(draft_, *reuse, map_.part("reuse")).value_or(true);
    }
    read_view_tokens();
}

const YamlMember* LlmReader::one_of(std::string_view key, std::string_view other) {
    const YamlMember* first = map_.optional_member(key);
    const YamlMember* second = map_.optional_member(other);
    if (first != nullptr && second != nullptr) {
        problems_.error(second->place, map_.what() + " has both " + in_quotes(key) + " and " + in_quotes(other) +
                                           ", which mean the same; keep one of them");
    }
    return first != nullptr ? first : second;
}

void LlmReader::read_models() {
    const YamlMember* model = one_of("model", "llm");
    if (model != nullptr) {
        read_model(model->value, model->key);
    } else {
        (void)map_.required("model");
    }
    const YamlNode* fallback = map_.optional("fallback");
    if (fallback == nullptr) return;
    if (fallback->is_list()) {
        for (const YamlNode& item : fallback->items) read_model(item, "fallback");
    } else {
        read_model(*fallback, "fallback");
    }
}

void LlmReader::read_model(const YamlNode& node, std::string_view key) {
    const std::optional<std::string> name = read_filled_text(draft_, node, map_.part(key));
    if (!name.has_value()) return;
    const std::optional<std::uint32_t> model = resolve_model(draft_, *name, node.place);
    if (!model.has_value()) return;
    if (std::find(llm_.models.begin(), llm_.models.end(), *model) != llm_.models.end()) {
        problems_.error(node.place, map_.part(key) + ": " + in_quotes(*name) +
                                        (llm_.models.front() == *model ? " is the model itself" : " is named twice"));
        return;
    }
    for (const std::uint32_t known : llm_.models) {
        const ModelSpec& before = draft_.crew.models[known];
        if (!is_same_service(before, draft_.crew.models[*model])) continue;
        problems_.error(node.place, map_.part(key) + ": " + in_quotes(*name) + " is the model " +
                                        in_quotes(before.name) + " again");
        return;
    }
    llm_.models.push_back(*model);
}

void LlmReader::text(std::string_view key, std::string& target) {
    const YamlNode* node = map_.optional(key);
    if (node != nullptr) target = read_filled_text(draft_, *node, map_.part(key)).value_or("");
}

// CrewAI's `description` is the task as well as `prompt` is.
void LlmReader::read_task() {
    const YamlMember* prompt = map_.optional_member("prompt");
    std::string description;
    text("description", description);
    if (prompt != nullptr && prompt->value.is_map()) {
        read_file(prompt->value);
    } else if (prompt != nullptr && !prompt->value.is_scalar()) {
        problems_.error(prompt->value.place, unexpected(map_.part("prompt"), "text, or {file: PATH}", prompt->value));
    } else {
        text("prompt", llm_.prompt);
    }
    if (!llm_.prompt.empty() && !description.empty()) llm_.prompt += "\n\n";
    llm_.prompt += description;
    for (const std::string_view key : {"prompt", "description", "goal"}) {
        if (map_.optional(key) != nullptr) return;
    }
    if (map_.is_map()) problems_.error(source_.place, map_.what() + " is not told what to do; add \"prompt\"");
}

void LlmReader::read_file(const YamlNode& node) {
    MapReader map(node, map_.part("prompt"), problems_);
    const YamlNode* file = map.required("file");
    map.finish();
    if (file == nullptr) return;
    const std::optional<std::string> path = read_text(*file, map.part("file"), problems_);
    if (!path.has_value()) return;
    const std::optional<std::string> content = file_content(draft_, *path, file->place);
    if (!content.has_value()) return;
    if (names_environment(*content)) {
        problems_.error(file->place, "the file " + in_quotes(*path) +
                                         " names \"${env.\", which is not filled in in prompts; for these letters as"
                                         " text, double the dollar");
        return;
    }
    llm_.prompt = substituted_text(draft_, *content, file->place).value_or("");
}

void LlmReader::read_tools(const YamlNode& node) {
    const std::vector<YamlNode>* items = read_list(node, map_.part("tools"), problems_);
    if (items == nullptr) return;
    for (const YamlNode& item : *items) read_tool(item);
}

void LlmReader::read_tool(const YamlNode& node) {
    const std::string what = map_.part("tools");
    const YamlNode* name = &node;
    bool is_pure = false;
    if (node.is_map()) {
        MapReader map(node, "a tool of " + map_.what(), problems_);
        name = map.required("name");
        if (const YamlNode* pure = map.optional("pure")) {
            is_pure = read_flag(draft_, *pure, map.part("pure")).value_or(false);
        }
        map.finish();
    }
    if (name == nullptr) return;
    const std::optional<std::string> text = read_text(*name, what, problems_);
    if (!text.has_value()) return;
    std::optional<ToolRef> ref = resolve_tool(draft_, *text, name->place, what);
    if (!ref.has_value()) return;
    ref->pure = ref->pure || is_pure;
    for (const ToolRef& known : llm_.tools) {
        if (known.tool != ref->tool || known.server != ref->server || known.name != ref->name) continue;
        problems_.error(name->place, what + ": " + in_quotes(*text) + " is named twice");
        return;
    }
    llm_.tools.push_back(std::move(*ref));
}

void LlmReader::read_view_tokens() {
    const YamlNode* node = map_.optional("view_tokens");
    if (node == nullptr) return;
    llm_.view_tokens = read_count(*node, map_.part("view_tokens"), {.min = 1, .max = count_max}, problems_).value_or(0);
    if (llm_.view_tokens == 0) return;
    for (const ViewPart& part : source_.spec.view) {
        if (part.tokens <= llm_.view_tokens) continue;
        problems_.error(node->place, map_.part("view_tokens") + ": region " + in_quotes(part.region) +
                                         " alone may have " + std::to_string(part.tokens) + " tokens of these " +
                                         std::to_string(llm_.view_tokens));
    }
    for (const std::uint32_t index : llm_.models) {
        const ModelSpec& model = draft_.crew.models[index];
        if (model.context_tokens == 0 || model.max_tokens >= model.context_tokens) continue;
        const std::uint64_t room = model.context_tokens - model.max_tokens;
        if (llm_.view_tokens < room) continue;
        problems_.error(node->place, map_.part("view_tokens") + ": model " + in_quotes(model.name) + " leaves " +
                                         std::to_string(room) + " tokens for the prompt (a context of " +
                                         std::to_string(model.context_tokens) + ", of which an answer may take " +
                                         std::to_string(model.max_tokens) + ")");
    }
}

}  // namespace

void read_llm(SourceParts& source) { LlmReader(source).read(); }

void read_http(SourceParts& source) {
    CrewDraft& draft = source.draft;
    MapReader& map = source.map;
    HttpSourceSpec& http = source.spec.http;
    if (const YamlNode* url = map.required("url")) http.url = read_url(draft, *url, map.part("url")).value_or("");
    if (const YamlNode* headers = map.optional("headers")) {
        http.headers = read_headers(draft, *headers, map.part("headers"));
    }
    if (const YamlMember* secret = map.optional_member("secret_env")) {
        http.secret_env = read_secret_variable(draft, secret->value, map.part("secret_env")).value_or("");
        if (!draft.crew.callbacks.has_value()) {
            draft.problems.error(secret->place, map.what() +
                                                    " has a \"secret_env\" for answers that come later, but the crew"
                                                    " listens for none; add \"callbacks\"");
        }
    }
    if (const YamlNode* pure = map.optional("pure")) {
        source.spec.pure = read_flag(draft, *pure, map.part("pure")).value_or(false);
    }
    if (const YamlNode* tries = map.optional("tries")) {
        const auto count = read_count(*tries, map.part("tries"), {.min = 1, .max = tries_max}, draft.problems);
        http.tries = static_cast<std::uint32_t>(count.value_or(http.tries));
    }
}

void read_mcp(SourceParts& source) {
    CrewDraft& draft = source.draft;
    CrewProblems& problems = draft.problems;
    MapReader& map = source.map;
    SourceSpec& spec = source.spec;
    if (spec.wake == WakeMode::batch) {
        problems.error(source.place, map.what() + " makes one call for one match and cannot have \"wake: batch\"");
    }
    if (const YamlNode* tool = map.required("tool")) {
        const std::optional<std::string> text = read_text(*tool, map.part("tool"), problems);
        const std::string_view prefix = "mcp:";
        std::string_view name = text.has_value() ? std::string_view(*text) : std::string_view();
        if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
        if (text.has_value()) {
            spec.tool = resolve_server_tool(draft, name, tool->place, map.part("tool")).value_or(ToolRef{});
        }
        if (spec.tool.name == "*") {
            problems.error(tool->place, map.part("tool") + ": expected one tool of the server, found all of them");
        }
    }
    spec.arguments.kind = TemplateNode::Kind::object;
    if (const YamlNode* arguments = map.optional("arguments")) {
        spec.arguments = read_template(draft, source.scope, *arguments);
        const bool is_object =
            spec.arguments.kind == TemplateNode::Kind::object ||
            (spec.arguments.kind == TemplateNode::Kind::reference &&
             may_be_equal(type_of_reference(source.scope, spec.arguments.reference).type, FieldType::object));
        if (!is_object) {
            problems.error(arguments->place, unexpected(map.part("arguments"), "a map from name to value", *arguments));
        }
    }
    if (const YamlNode* pure = map.optional("pure")) {
        spec.pure = read_flag(draft, *pure, map.part("pure")).value_or(false);
        spec.tool.pure = spec.pure;
    }
    Scope scope = source.scope;
    for (const BoundVariable& variable : scope.variables) {
        if (variable.name != mcp_result_name) continue;
        problems.error(variable.place,
                       "\"$result\" is what the tool of " + map.what() + " answers; call this variable something else");
    }
    BoundVariable result;
    result.name = mcp_result_name;
    result.is_tool_result = true;
    scope.variables.push_back(std::move(result));
    if (const YamlNode* then = map.required("then")) spec.then = read_rule(draft, source.reader, scope, *then);
}

}  // namespace stele

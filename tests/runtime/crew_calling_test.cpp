// What a crew says of models, tools, servers and the sources that call them arrives in the CrewSpec,
// a crew carries its prompt files, and no secret is shown.
#include <doctest/doctest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "runtime/crew_check.hpp"
#include "runtime/crew_loader.hpp"

using namespace stele;

namespace {

LoadedCrew load(const std::string& text, const std::vector<CrewInput>& inputs = {}) {
    return load_crew(text, "crew.yaml", "/crews", inputs);
}

std::string listed(const std::vector<CrewProblem>& problems) {
    std::string out;
    for (const CrewProblem& problem : problems) out += to_text(problem) + "\n";
    return out;
}

std::shared_ptr<const CrewSpec> good(const std::string& text, const std::vector<CrewInput>& inputs = {}) {
    const LoadedCrew loaded = load(text, inputs);
    REQUIRE_MESSAGE(loaded.crew != nullptr, listed(loaded.problems));
    return loaded.crew;
}

std::string problems_of(const std::string& text, const std::vector<CrewInput>& inputs = {}) {
    return listed(load(text, inputs).problems);
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string flat(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c != '\n' && !(c == ' ' && out.ends_with(' '))) out += c;
        if (c == '\n' && !out.ends_with(' ')) out += ' ';
    }
    return out;
}

const std::string regions_text = R"(
regions:
  notes: {policy: append_only, entry: {text: string, score: number, note: string?}}
  links: {policy: set_union, key: [url], entry: {url: string}}
)";

// A crew of one source `worker`, with these lines of its own, and these at the end.
std::string crew_of(const std::string& source_lines, const std::string& rest = {}) {
    return "stele: 1\ncrew: calls\n" + regions_text +
           "sources:\n  worker:\n    when: [{each: notes as n}]\n"
           "    may: {read: [notes, links], write: {notes: [insert], links: [add]}}\n" +
           source_lines + rest;
}

std::string llm(const std::string& lines, const std::string& rest = {}) {
    return crew_of("    kind: llm\n" + lines, rest);
}

const ModelSpec& model_of(const CrewSpec& crew, std::size_t index = 0) {
    return crew.models[crew.sources[0].llm.models[index]];
}

// A folder of its own that is gone at the end.
struct Folder {
    std::filesystem::path path;
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "stele_crew_XXXXXX").string();
        REQUIRE(mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~Folder() { std::filesystem::remove_all(path); }
    void write(const std::string& name, const std::string& content) const {
        std::filesystem::create_directories((path / name).parent_path());
        std::ofstream(path / name, std::ios::binary) << content;
    }
    [[nodiscard]] LoadedCrew load() const { return load_crew_file((path / "crew.yaml").string(), {}); }
};

}  // namespace

TEST_CASE("a declared model arrives with all that it says") {
    const auto crew = good(llm("    model: main\n    prompt: go\n", R"(
models:
  main:
    model: mybox/org/name:7b
    base_url: "${env.BOX}/v1"
    api: responses
    key_env: BOX_TOKEN
    headers: {X-Team: "${env.TEAM}-${inputs.team}"}
    context: 32768
    max_tokens: 1000
    temperature: 0.2
    seed: -7
    options: {top_k: 5, think: false, deep: {er: [1]}}
    structured: json
    stream: false
    timeout: 5m
    idle_timeout: 30s
    limits: {tokens: 50000, money: 0.25, calls: 7, wall: 1h, concurrency: 2, requests_per_minute: 60, tokens_per_minute: 90000}
    price: {input: 3, output: 15.00, cached_input: 0.3}
inputs: {team: {type: string, default: red}}
)"));
    const ModelSpec& model = model_of(*crew);
    CHECK(model.name == "main");
    CHECK(model.provider == "mybox");
    CHECK(model.model == "org/name:7b");
    CHECK(model.api == ModelApi::openai_responses);
    CHECK(model.base_url == "${env.BOX}/v1");
    CHECK(model.key_env == "BOX_TOKEN");
    CHECK_FALSE(model.key_optional);
    CHECK(model.headers == std::vector<std::pair<std::string, std::string>>{{"X-Team", "${env.TEAM}-red"}});
    CHECK(model.context_tokens == 32'768);
    CHECK(model.max_tokens == 1'000);
    CHECK(model.temperature == 0.2);
    CHECK(model.seed == -7);
    CHECK(to_json(model.options) == R"({"deep":{"er":[1]},"think":false,"top_k":5})");
    CHECK(model.structured == StructuredOutput::json);
    CHECK_FALSE(model.stream);
    CHECK(model.timeout_ms == 300'000);
    CHECK(model.idle_timeout_ms == 30'000);
    CHECK(model.caps == Amounts{.calls = 7, .tokens = 50'000, .money_micros = 250'000, .wall_ms = 3'600'000});
    CHECK(model.concurrency == 2);
    CHECK(model.requests_per_minute == 60);
    CHECK(model.tokens_per_minute == 90'000);
    REQUIRE(model.price.has_value());
    CHECK(model.price->input_pico == 3'000'000);
    CHECK(model.price->output_pico == 15'000'000);
    CHECK(model.price->cached_input_pico == 300'000);
    CHECK(model.place.line > 0);
}

TEST_CASE("known providers need nothing but a model's name, and there is no default provider") {
    struct Known {
        const char* name;
        ModelApi api;
        const char* base_url_default;
        const char* base_url_env;
        const char* key_env;
        bool key_optional;
    };
    const Known known[] = {
        {"openai/gpt", ModelApi::openai_chat, "https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY", false},
        {"anthropic/c", ModelApi::anthropic_messages, "https://api.anthropic.com", "ANTHROPIC_BASE_URL",
         "ANTHROPIC_API_KEY", false},
        {"ollama/q:8b", ModelApi::ollama_chat, "http://127.0.0.1:11434", "OLLAMA_HOST", "OLLAMA_API_KEY", true},
        {"openrouter/a/b", ModelApi::openai_chat, "https://openrouter.ai/api/v1", "", "OPENROUTER_API_KEY", false},
        {"groq/x", ModelApi::openai_chat, "https://api.groq.com/openai/v1", "", "GROQ_API_KEY", false},
        {"gemini/x", ModelApi::openai_chat, "https://generativelanguage.googleapis.com/v1beta/openai", "",
         "GEMINI_API_KEY", false},
        {"vllm/x", ModelApi::openai_chat, "", "VLLM_BASE_URL", "VLLM_API_KEY", true},
        {"hosted_vllm/x", ModelApi::openai_chat, "", "VLLM_BASE_URL", "VLLM_API_KEY", true},
    };
    for (const Known& provider : known) {
        CAPTURE(provider.name);
        const auto crew = good(llm("    model: " + std::string(provider.name) + "\n    prompt: go\n"));
        const ModelSpec& model = model_of(*crew);
        CHECK(model.name == provider.name);
        CHECK(model.provider + "/" + model.model == provider.name);
        CHECK(model.api == provider.api);
        CHECK(model.base_url.empty());
        CHECK(model.base_url_default == provider.base_url_default);
        CHECK(model.base_url_env == provider.base_url_env);
        CHECK(model.key_env == provider.key_env);
        CHECK(model.key_optional == provider.key_optional);
        CHECK(model.max_tokens == limits::model_tokens_default);
    }
    CHECK(has(problems_of(llm("    model: gpt\n    prompt: go\n")),
              "there is no model \"gpt\"; expected provider/name such as"));
    CHECK(has(problems_of(llm("    model: opnai/gpt\n    prompt: go\n")), "did you mean \"openai\"?"));
    CHECK(has(problems_of(llm("    model: llamacpp/x\n    prompt: go\n")), "\"base_url\""));
}

TEST_CASE("a model's short form, other providers' keys, and prices by either name") {
    const auto crew = good(llm("    model: fast\n    fallback: [box, openai/gpt-4o, local]\n    prompt: go\n", R"(
models:
  fast: ollama/qwen3:8b
  box: {model: my-box.2/m, base_url: "http://box:8000/v1"}
  local: {model: llamacpp/m, base_url: "http://127.0.0.1:8080/v1", key_env: null}
prices:
  fast: {in: 0, out: 0}
  my-box.2/m: {input: 0.000001, output: 1.5}
  openai/gpt-4o: {in: 2.50, out: 10.0000000, cached_input: 1.25}
)"));
    const SourceSpec& worker = crew->sources[0];
    REQUIRE(worker.llm.models.size() == 4);
    CHECK(model_of(*crew).model == "qwen3:8b");
    CHECK(model_of(*crew).price->output_pico == 0);
    CHECK(model_of(*crew, 1).key_env == "MY_BOX_2_API_KEY");
    CHECK(model_of(*crew, 1).key_optional);
    CHECK(model_of(*crew, 1).price->input_pico == 1);
    CHECK(model_of(*crew, 1).price->cached_input_pico == 1);
    CHECK(model_of(*crew, 1).price->output_pico == 1'500'000);
    CHECK(model_of(*crew, 2).name == "openai/gpt-4o");
    CHECK(model_of(*crew, 2).price->cached_input_pico == 1'250'000);
    CHECK(model_of(*crew, 3).key_env.empty());
    CHECK_FALSE(model_of(*crew, 3).price.has_value());
    CHECK(worker.limits.timeout_ms == limits::llm_source_timeout_default_ms);
}

TEST_CASE("what an llm source is told, shown and given arrives") {
    const auto crew = good(llm(R"(    model: openai/gpt
    role: "a ${inputs.topic} expert"
    goal: know
    backstory: long ago
    prompt: "Answer about ${inputs.topic}, with $${env.HOME} as text."
    expected_output: a list
    tools: [search, "mcp:docs/*", {name: "mcp:docs-2/read", pure: true}]
    max_turns: 3
    reuse: false
    view_tokens: 5000
    wrap_up: true
    view:
      - {region: notes, last: 7, top: {by: score, most: 5}, relevant: {to: $n.text, most: 6}, tokens: 3000, priority: 2}
      - {region: links, relevant: {to: "about ${inputs.topic}", most: 2}}
    limits: {tokens: 1000, calls: 5, timeout: 2m, output: 1MiB}
)",
                               R"(
inputs: {topic: {type: string, default: birds}}
tools:
  search:
    kind: process
    description: finds
    command: [grep, "${inputs.topic}"]
    env: {KEY: "${env.SEARCH_KEY}"}
    pass_env: [PATH]
    parameters: {query: string, most: integer?, how: near | far, words: "[string]?", more: any}
    pure: true
    timeout: 9s
    output: 1KiB
mcpServers:
  docs: {command: npx, args: [-y, "@x/server", "${inputs.topic}"], env: {TOKEN: "${env.T}"}, cwd: docs, type: stdio, timeout: 4s}
  docs-2: {url: "https://example.org/mcp", headers: {Authorization: "Bearer ${env.DOCS}"}, transport: streamable-http}
)"));
    const SourceSpec& worker = crew->sources[0];
    CHECK(worker.llm.role == "a birds expert");
    CHECK(worker.llm.goal == "know");
    CHECK(worker.llm.backstory == "long ago");
    CHECK(worker.llm.prompt == "Answer about birds, with ${env.HOME} as text.");
    CHECK(worker.llm.expected_output == "a list");
    CHECK(worker.llm.turns_max == 3);
    CHECK_FALSE(worker.llm.reuse);
    CHECK(worker.llm.view_tokens == 5'000);
    CHECK(worker.wrap_up);
    CHECK(worker.limits.calls == Amounts{.calls = 5, .tokens = 1'000});
    CHECK(worker.limits.timeout_ms == 120'000);
    REQUIRE(worker.llm.tools.size() == 3);
    CHECK(worker.llm.tools[0].tool == 0U);
    CHECK(worker.llm.tools[0].pure);
    CHECK(worker.llm.tools[1].server == 0U);
    CHECK(worker.llm.tools[1].name == "*");
    CHECK_FALSE(worker.llm.tools[1].pure);
    CHECK(worker.llm.tools[2].server == 1U);
    CHECK(worker.llm.tools[2].pure);
    REQUIRE(worker.view.size() == 2);
    CHECK(worker.view[0].last == 7);
    CHECK(worker.view[0].last_declared);
    CHECK(worker.view[0].top_by == std::vector<std::string>{"score"});
    CHECK(worker.view[0].top == 5);
    CHECK(worker.view[0].relevant_to->reference->path == std::vector<std::string>{"text"});
    CHECK(worker.view[0].relevant == 6);
    CHECK(worker.view[0].tokens == 3'000);
    CHECK(worker.view[0].priority == 2);
    CHECK_FALSE(worker.view[1].last_declared);
    CHECK(worker.view[1].relevant_to->literal == Value("about birds"));

    const ToolSpec& tool = crew->tools[0];
    CHECK(tool.command == std::vector<std::string>{"grep", "birds"});
    CHECK(tool.environment[0].second == "${env.SEARCH_KEY}");
    CHECK(tool.pass_environment == std::vector<std::string>{"PATH"});
    CHECK(tool.timeout_ms == 9'000);
    CHECK(tool.output_bytes == 1'024);
    CHECK(to_json(tool.parameters) ==
          R"({"additionalProperties":false,"properties":{"how":{"enum":["near","far"],"type":"string"},)"
          R"("more":{},"most":{"type":"integer"},"query":{"type":"string"},)"
          R"("words":{"items":{"type":"string"},"type":"array"}},"required":["query","how","more"],"type":"object"})");
    const McpServerSpec& docs = crew->mcp_servers[0];
    CHECK(docs.command == "npx");
    CHECK(docs.args == std::vector<std::string>{"-y", "@x/server", "birds"});
    CHECK(docs.directory == "docs");
    CHECK(docs.environment[0].second == "${env.T}");
    CHECK(docs.call_timeout_ms == 4'000);
    CHECK(crew->mcp_servers[1].url == "https://example.org/mcp");
    CHECK(crew->mcp_servers[1].headers[0].second == "Bearer ${env.DOCS}");
}

TEST_CASE("the keys of a CrewAI agent and its task work as they are") {
    const auto crew = good(llm(R"(    llm: ollama/qwen3:8b
    role: researcher
    goal: find out
    backstory: careful
    description: Look into it.
    expected_output: bullets
    max_iter: 4
)"));
    CHECK(model_of(*crew).provider == "ollama");
    CHECK(crew->sources[0].llm.prompt == "Look into it.");
    CHECK(crew->sources[0].llm.turns_max == 4);
    const auto both = good(llm("    model: ollama/m\n    prompt: First.\n    description: Then.\n"));
    CHECK(both->sources[0].llm.prompt == "First.\n\nThen.");
}

TEST_CASE("a JSON Schema of a tool's arguments stays as it is, and none means no arguments") {
    const auto crew = good(llm("    model: ollama/m\n    prompt: go\n    tools: [fetch, clock]\n", R"(
tools:
  fetch:
    kind: http
    description: gets
    url: "https://tools/${inputs.which}"
    headers: {X-Key: "${env.K}"}
    parameters: {properties: {url: {type: string, format: uri}}, required: [url]}
  clock: {kind: http, description: tells the time, url: "${env.CLOCK}"}
inputs: {which: {type: string, default: fetch}}
)"));
    CHECK(crew->tools[0].kind == ToolSpec::Kind::http);
    CHECK(crew->tools[0].url == "https://tools/fetch");
    CHECK(to_json(crew->tools[0].parameters) ==
          R"({"properties":{"url":{"format":"uri","type":"string"}},"required":["url"],"type":"object"})");
    CHECK(to_json(crew->tools[1].parameters) ==
          R"({"additionalProperties":false,"properties":{},"required":[],"type":"object"})");
}

TEST_CASE("a source of kind http and the callbacks that it waits for arrive") {
    const auto crew = good(crew_of(R"(    kind: http
    url: "https://${env.SERVICE}/work"
    headers: {X-A: b}
    secret_env: HOOK_SECRET
    tries: 5
    view: [{region: notes, top: {by: score, most: 3}}]
    limits: {calls: 9, money: 5}
)",
                                   "callbacks: {listen: \"127.0.0.1:0\", url: \"https://me/hooks\"}\n"));
    const SourceSpec& worker = crew->sources[0];
    CHECK(worker.kind == SourceKind::http);
    CHECK(worker.http.url == "https://${env.SERVICE}/work");
    CHECK(worker.http.headers[0].first == "X-A");
    CHECK(worker.http.secret_env == "HOOK_SECRET");
    CHECK(worker.http.tries == 5);
    CHECK(worker.limits.calls == Amounts{.calls = 9, .money_micros = 5'000'000});
    CHECK(worker.limits.timeout_ms == limits::timeout_default_ms);
    REQUIRE(crew->callbacks.has_value());
    CHECK(crew->callbacks->listen == "127.0.0.1:0");
    CHECK(crew->callbacks->url == "https://me/hooks");
}

TEST_CASE("a source of kind mcp makes its arguments of the match and its writes of the result") {
    const std::string servers = "mcpServers: {docs: {command: server}}\n";
    const auto crew = good(crew_of(R"(    kind: mcp
    tool: docs/get/page
    arguments: {path: $n.text, depth: 2, ids: [$n.@id]}
    pure: true
    then:
      - insert: notes
        entry: {text: $result.text, score: $result.data.score, note: $n.note}
        cites: [$n]
      - add: links
        entry: {url: $result.data.links.0}
)",
                                   servers));
    const SourceSpec& worker = crew->sources[0];
    CHECK(worker.tool.server == 0U);
    CHECK(worker.tool.name == "get/page");
    CHECK(worker.pure);
    REQUIRE(worker.arguments.kind == TemplateNode::Kind::object);
    CHECK(worker.arguments.members[0].second.reference.variable == 0);
    CHECK(worker.arguments.members[1].second.literal == Value(2));
    REQUIRE(worker.then.size() == 2);
    const TemplateNode& entry = worker.then[0].entry;
    CHECK(entry.members[0].second.reference.variable == worker.when.variables.size());
    CHECK(entry.members[1].second.reference.path == std::vector<std::string>{"data", "score"});
    CHECK(entry.members[2].second.reference.variable == 0);
    const auto same = good(
        crew_of("    kind: mcp\n    tool: \"mcp:docs/t\"\n    then: [{add: links, entry: $result.data}]\n", servers));
    CHECK(same->sources[0].tool.name == "t");
    CHECK(same->sources[0].arguments.members.empty());
}

TEST_CASE("what the calls of a run may cost arrives, to the last place") {
    const std::string one = "    model: ollama/m\n    prompt: go\n";
    const std::string price = "prices: {ollama/m: {in: 0, out: 0}}\n";
    const auto crew = good(llm(
        one, price + "stop: {limits: {tokens: 7, money: 12.345678, calls: 9}, on_exceed: wrap_up, reserve: 12.5%}\n"));
    CHECK(crew->stop.calls == Amounts{.calls = 9, .tokens = 7, .money_micros = 12'345'678});
    CHECK(crew->stop.on_exceed == OnExceed::wrap_up);
    CHECK(crew->stop.reserve == doctest::Approx(0.125));
    CHECK(good(llm(one, "stop: {on_exceed: wrap_up, reserve: 0.3}\n"))->stop.reserve == doctest::Approx(0.3));
    CHECK(good(llm(one, "stop: {on_exceed: ask}\n"))->stop.on_exceed == OnExceed::ask);
    CHECK(good(llm(one))->stop.on_exceed == OnExceed::stop);
    struct Amount {
        std::string text;
        std::int64_t micros;
    };
    for (const Amount& amount : std::vector<Amount>{{"1", 1'000'000},
                                                    {"0.000001", 1},
                                                    {"5.0", 5'000'000},
                                                    {"1000000000", 1'000'000'000'000'000},
                                                    {"\"2.50\"", 2'500'000}}) {
        CAPTURE(amount.text);
        CHECK(good(llm(one, price + "stop: {limits: {money: " + amount.text + "}}\n"))->stop.calls.money_micros ==
              amount.micros);
    }
    for (const std::string text : {"0", "-1", "0.0000001", "1e3", "1000000001", "99999999999999999999999", ".5", "5.",
                                   "5 EUR", "1.2.3", "[]", "\"\"", "."}) {
        CAPTURE(text);
        CHECK(has(problems_of(llm(one, price + "stop: {limits: {money: " + text + "}}\n")),
                  "money of limits of stop: expected an amount above 0"));
    }
}

TEST_CASE("a cap on money is an error where a model that it covers has no price") {
    const std::string models = "models: {a: ollama/a, b: ollama/b}\n";
    const std::string source = "    model: a\n    fallback: b\n    prompt: go\n";
    const std::string cap = "stop: {limits: {money: 1}}\n";
    CHECK(has(problems_of(llm(source, models + cap)),
              "money of limits of stop cannot be held without a price of"
              " \"a\", \"b\""));
    CHECK(has(problems_of(llm(source, models + cap + "prices: {a: {in: 0, out: 0}}\n")), "a price of \"b\""));
    CHECK(load(llm(source, models + cap + "prices: {a: {in: 0, out: 0}, ollama/b: {in: 1, out: 1}}\n")).crew);
    CHECK(has(problems_of(llm(source + "    limits: {money: 1}\n", models)),
              "money of limits of source \"worker\" cannot"));
    CHECK(has(problems_of(llm(source, "models: {a: {model: ollama/a, limits: {money: 2}}, b: ollama/b}\n")),
              "money of limits of model \"a\" cannot be held without a price of \"a\";"));
}

TEST_CASE("the environment is named only where it is filled in, and no input can name it") {
    const std::string one = "    model: ollama/m\n    prompt: go\n";
    const std::string url = "    kind: http\n    url: \"https://h/${inputs.x}\"\n";
    const std::string input = "inputs: {x: {type: string, default: a}}\n";
    CHECK(load(crew_of(url, input)).crew);
    CHECK(has(problems_of(crew_of(url, input), {{"x", "${env.SECRET}"}}),
              "url of source \"worker\": an input that is filled in here may not hold \"${env.\""));
    // Not even in two halves.
    CHECK(has(problems_of(crew_of("    kind: http\n    url: \"https://h/${${inputs.x}\"\n", input), {{"x", "env.A}"}}),
              "may not hold"));
    CHECK(has(problems_of(crew_of("    kind: http\n    url: \"https://h/${env.${inputs.x}}\"\n", input)),
              "names no environment variable"));
    CHECK(has(problems_of(crew_of("    kind: http\n    url: \"https://h/$${env.A}\"\n")), "cannot stand here as text"));
    CHECK(has(problems_of(crew_of("    kind: http\n    url: \"https://h\"\n    headers: {A: \"b\\r\\nC: d\"}\n")),
              "no control characters"));
    for (const std::string line :
         {"    role: \"${env.A}\"\n", "    help: \"a ${env.A}\"\n", "    tools: [\"${env.A}\"]\n"}) {
        CAPTURE(line);
        CHECK(has(problems_of(llm(one + line)), "is filled in only in base_url and headers of models"));
    }
    CHECK(has(problems_of(llm(one, "seed: {links: [{url: \"${env.A}\"}]}\n")), "is filled in only in"));
    CHECK(good(llm(one, "seed: {links: [{url: \"$${env.A}\"}]}\n"))->seed[0].second ==
          Value::object({{"url", "${env.A}"}}));
}

TEST_CASE("a crew read from its file carries its prompt files, and is the same crew without them") {
    const Folder folder;
    const std::string prompt =
        "Answer ${inputs.topic}.\r\n\n\t\"quoted\" \\ back, # no comment: ? [x]\n  ünï 漢 $${env.A}\n";
    folder.write("prompts/a b.md", prompt);
    folder.write("two.md", "the second\n");
    const std::string text = crew_of(
        "    kind: llm\n    model: ollama/m\n    prompt: {file: prompts/a b.md}\n"
        "  second:\n    kind: llm\n    model: ollama/m\n    when: [{start: true}]\n"
        "    may: {write: {links: [add]}}\n    prompt: {file: two.md}\n",
        "inputs: {topic: {type: string, default: birds}}\n# the end, without a line's end");
    folder.write("crew.yaml", text);
    const LoadedCrew first = folder.load();
    REQUIRE_MESSAGE(first.crew != nullptr, listed(first.problems));
    CHECK(first.crew->sources[0].llm.prompt ==
          "Answer birds.\r\n\n\t\"quoted\" \\ back, # no comment: ? [x]\n  ünï 漢 ${env.A}\n");
    CHECK(first.crew->text.starts_with(text));
    CHECK(has(first.crew->text, "\nfiles:\n"));
    // The log has nothing but the text.
    const LoadedCrew again = load_crew(first.crew->text, "crew", "/elsewhere", {});
    REQUIRE_MESSAGE(again.crew != nullptr, listed(again.problems));
    CHECK(listed(again.problems) == listed(first.problems));
    CHECK(again.crew->text == first.crew->text);
    CHECK(again.crew->sources[0].llm.prompt == first.crew->sources[0].llm.prompt);
    CHECK(again.crew->sources[1].llm.prompt == "the second\n");
    CHECK(again.crew->sources[0].configuration_hash == first.crew->sources[0].configuration_hash);
    CHECK(describe_consistency(*again.crew) == describe_consistency(*first.crew));
    // Another prompt is another declaration.
    folder.write("prompts/a b.md", prompt + "More.");
    const LoadedCrew other = folder.load();
    REQUIRE(other.crew != nullptr);
    CHECK(other.crew->sources[0].configuration_hash != first.crew->sources[0].configuration_hash);
    CHECK(other.crew->sources[1].configuration_hash == first.crew->sources[1].configuration_hash);
}

TEST_CASE("files are carried at the end of an indented crew, and of one that ends in a block of text") {
    const Folder folder;
    folder.write("p.md", "go");
    std::string indented;
    std::istringstream lines(llm("    model: ollama/m\n    prompt: {file: p.md}\n"));
    for (std::string line; std::getline(lines, line);) indented += "   " + line + "\n";
    const std::string plain = llm("    model: ollama/m\n    prompt: {file: p.md}\n");
    for (const std::string& text :
         {indented, plain + "help: |\n  a\n  b\n", plain + "help: |+\n  a\n\n\n", plain + "help: >-\n  a\n",
          plain + "help: a\n  b", plain + "help: \"a\n  b\"", plain + "# files: {}\n"}) {
        CAPTURE(text);
        folder.write("crew.yaml", text);
        const LoadedCrew first = folder.load();
        REQUIRE_MESSAGE(first.crew != nullptr, listed(first.problems));
        const auto again = good(first.crew->text);
        CHECK(again->help == first.crew->help);
        CHECK(again->sources[0].llm.prompt == "go");
    }
}

TEST_CASE("a prompt file counts as the same declaration as its text would") {
    const auto carried = good(llm("    model: ollama/m\n    prompt: {file: p.md}\n", "files: {p.md: \"Go on.\"}\n"));
    const auto direct = good(llm("    model: ollama/m\n    prompt: Go on.\n"));
    CHECK(carried->sources[0].llm.prompt == "Go on.");
    CHECK(carried->sources[0].configuration_hash == direct->sources[0].configuration_hash);
}

TEST_CASE("any text that may be a prompt comes back from the log as it was") {
    const std::uint64_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const Folder folder;
    const std::vector<std::string> bits = {"a",  " ",        "\n",           "\r",      "\t", "\"",    "'", "\\", "#",
                                           ": ", "?",        "- ",           "|",       "{",  "}",     "[", "]",  "%",
                                           "@",  "\xC3\xA4", "...",          "&x",      "*",  "---\n", "~", "!",  ">",
                                           "<<", ",",        "\xE2\x80\xA8", "\xC2\x85"};
    for (int round = 0; round < 60; ++round) {
        std::string prompt;
        for (std::uint64_t left = random() % 40; left > 0; --left) prompt += bits[random() % bits.size()];
        CAPTURE(prompt);
        folder.write("p.md", prompt);
        folder.write("crew.yaml", llm("    model: ollama/m\n    prompt: {file: p.md}\n"));
        const LoadedCrew first = folder.load();
        REQUIRE_MESSAGE(first.crew != nullptr, listed(first.problems));
        CHECK(first.crew->sources[0].llm.prompt == prompt);
        const LoadedCrew again = load(first.crew->text);
        REQUIRE_MESSAGE(again.crew != nullptr, listed(again.problems));
        CHECK(again.crew->sources[0].llm.prompt == prompt);
    }
}

TEST_CASE("a prompt file that cannot be had, or not be carried, is one error") {
    const Folder folder;
    const std::string source = "    model: ollama/m\n    prompt: {file: p.md}\n";
    folder.write("crew.yaml", llm(source));
    CHECK(has(listed(folder.load().problems), "the file p.md cannot be read: No such file or directory"));
    folder.write("p.md", "bad \xFF");
    CHECK(has(listed(folder.load().problems), "is not UTF-8 text without control characters: see its line 1"));
    folder.write("p.md", "${env.HOME}");
    CHECK(has(listed(folder.load().problems), "not filled in in prompts"));
    folder.write("p.md", "${inputs.none}");
    CHECK(has(listed(folder.load().problems), "there is no input \"none\""));
    folder.write("p.md", std::string(limits::crew_text_bytes_max - 100, 'x'));
    CHECK(has(listed(folder.load().problems), "larger than 16777216 bytes together"));
    folder.write("p.md", std::string(limits::crew_text_bytes_max + 1, 'x'));
    CHECK(has(listed(folder.load().problems), "the file p.md is larger"));
    folder.write("p.md", "fine");
    CHECK(folder.load().crew != nullptr);
    folder.write("crew.yaml", llm(source) + "...\n");
    CHECK(has(listed(folder.load().problems), "cannot be put at the end of this crew file"));
    folder.write("crew.yaml",
                 "{stele: 1, crew: a, regions: {r: {policy: append_only}}, sources: {s: {kind: llm, model: ollama/m, "
                 "prompt: {file: p.md}, when: [{start: true}]}}}\n");
    CHECK(has(listed(folder.load().problems), "without braces around it"));
    folder.write("crew.yaml", llm(source, "files: {q.md: x}\n"));
    CHECK(has(listed(folder.load().problems), "there is no file \"p.md\" under \"files\"; did you mean \"q.md\"?"));
    CHECK(has(problems_of(llm(source)), "is not at hand"));
}

TEST_CASE("what is allowed of models and tools but seldom meant is warned about") {
    const std::string problems = problems_of("stele: 1\ncrew: w\n" + regions_text + R"(sources:
  silent: {kind: llm, model: ollama/m, prompt: go, when: [{start: true}], wrap_up: true}
  other:
    kind: http
    url: http://h
    headers: {X-Api-Key: abc, X-Plain: abc}
    when: [{start: true}]
    may: {read: [notes, links], write: {notes: [insert], links: [add]}}
models: {spare: ollama/x}
prices: {ollama/y: {in: 1, out: 1}}
tools: {idle: {kind: http, description: d, url: http://h, headers: {Authorization: "Bearer ${env.T}"}}}
mcpServers: {unused: {command: c, env: {API_TOKEN: abc, LEVEL: "3"}}}
callbacks: {listen: "127.0.0.1:1"}
files: {p.md: x}
)");
    for (const std::string part :
         {"\"silent\" has no may.write, so nothing it answers", "\"silent\" has \"wrap_up: true\"",
          "model \"spare\" is used by no source", "the price of \"ollama/y\" is of no model",
          "tool \"idle\" is used by no source", "MCP server \"unused\" is used by no source",
          "\"callbacks\" are listened for", "file \"p.md\" is used by no source",
          "X-Api-Key in headers of source \"other\" looks like a secret",
          "API_TOKEN in env of MCP server \"unused\" looks like a secret"}) {
        CHECK_MESSAGE(has(problems, part), problems, " has no ", part);
    }
    CHECK_FALSE(has(problems, "abc"));
    CHECK_FALSE(has(problems, "X-Plain"));
    CHECK_FALSE(has(problems, "Authorization"));
    std::istringstream lines(problems);
    for (std::string line; std::getline(lines, line);) CHECK_MESSAGE(has(line, ": warning: "), line);
}

TEST_CASE("the second example of the reference loads without a word, and its description tells all but values") {
    std::ifstream file(std::filesystem::path(STELE_PROJECT_DIR) / "docs" / "crew_reference.md");
    std::stringstream all;
    all << file.rdbuf();
    const std::string reference = all.str();
    const std::string fence = "```yaml\n";
    const std::size_t begin = reference.find(fence + "stele: 1\ncrew: research\n");
    REQUIRE(begin != std::string::npos);
    const std::size_t end = reference.find("```", begin + fence.size());
    const LoadedCrew loaded = load(reference.substr(begin + fence.size(), end - begin - fence.size()));
    REQUIRE_MESSAGE(loaded.crew != nullptr, listed(loaded.problems));
    CHECK_MESSAGE(loaded.problems.empty(), listed(loaded.problems));
    const std::string sheet = describe_consistency(*loaded.crew);
    std::istringstream lines(sheet);
    for (std::string line; std::getline(lines, line);) CHECK(line.size() <= 100);
    const std::string text = flat(sheet);
    for (const std::string part :
         {"Model clever (anthropic/", "in ANTHROPIC_API_KEY", "https://api.anthropic.com, or what ANTHROPIC_BASE_URL",
          "3 in, 15 out, 0.3 cached, for a million tokens", "Model fast (ollama/qwen3:8b)",
          "in OLLAMA_API_KEY, if it is set", "MCP server docs", "Tool word_count (process, pure)", "clever, then fast",
          "mcp:docs/search", "calls may cost 200000 tokens, 1.5 of money; 10% is kept back",
          "goes on, and may use what the budget keeps back", "nearest to $q.text", "at most 2000 tokens"}) {
        CHECK_MESSAGE(has(text, part), sheet, " has no ", part);
    }
}

TEST_CASE("no header's or variable's value is in the description of a crew") {
    const auto crew = good(crew_of(
        "    kind: http\n    url: http://h\n    headers: {X-Key: hidden_one}\n",
        "mcpServers: {a: {command: c, env: {B: hidden_two}}, d: {url: http://h, headers: {E: hidden_three}}}\n"));
    const std::string text = describe_consistency(*crew);
    CHECK(has(text, "X-Key"));
    CHECK_FALSE(has(text, "hidden"));
}

TEST_CASE("no damage to a crew that calls makes the loader throw or accept without a crew") {
    const std::uint64_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    std::ifstream file(std::filesystem::path(STELE_PROJECT_DIR) / "docs" / "crew_reference.md");
    std::stringstream all;
    all << file.rdbuf();
    const std::string reference = all.str();
    const std::size_t begin = reference.find("stele: 1\ncrew: research\n");
    REQUIRE(begin != std::string::npos);
    const std::string crew = reference.substr(begin, reference.find("```", begin) - begin);
    const std::string marks = "{}[]:,?-*&!|>'\"#%@` \n$./0a";
    const auto judge = [](const std::string& text) {
        const LoadedCrew loaded = load(text);
        bool has_errors = false;
        for (const CrewProblem& problem : loaded.problems) has_errors = has_errors || !problem.warning;
        CHECK((loaded.crew == nullptr) == has_errors);
        if (loaded.crew != nullptr) CHECK_FALSE(describe_consistency(*loaded.crew).empty());
    };
    for (int round = 0; round < 500; ++round) {
        std::string text = crew;
        for (std::uint64_t edits = 1 + random() % 3; edits > 0; --edits) {
            const std::size_t at = random() % text.size();
            const std::uint64_t way = random() % 3;
            if (way == 0) text[at] = marks[random() % marks.size()];
            if (way == 1) text.erase(at, 1 + random() % 8);
            if (way == 2) text.insert(at, 1, marks[random() % marks.size()]);
        }
        judge(text);
    }
    for (std::size_t size = 0; size < crew.size(); size += 7) judge(crew.substr(0, size));
}

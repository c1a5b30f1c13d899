// What a crew declares about the world outside: models, tools, MCP servers, prices and what calls may
// cost. Made by runtime/crew_loader, immutable afterwards. Nothing here is a secret: keys stand in
// the environment, and `${env.X}` in a field is filled in only when the call is made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "board/limits.hpp"
#include "board/record.hpp"
#include "board/value.hpp"
#include "scheduler/condition.hpp"

namespace stele {

/// Caps on the same; 0: none.
using CallCaps = Amounts;

/// What happens when a cap of the whole crew leaves no room for the next call.
enum class OnExceed { stop, wrap_up, ask };

/// In millionths of a millionth of the currency, per token: a price of 3.00 for a million is 3,000,000.
struct Price {
    std::int64_t input_pico = 0;
    std::int64_t output_pico = 0;
    std::int64_t cached_input_pico = 0;
};

enum class ModelApi { openai_chat, openai_responses, anthropic_messages, ollama_chat };
const char* to_text(ModelApi api);

/// How the shape of an answer is asked for: by the provider's own JSON Schema mode, by its JSON mode
/// with the schema in the prompt, or in the prompt alone.
enum class StructuredOutput { schema, json, prompt };
const char* to_text(StructuredOutput structured);

struct ModelSpec {
    /// Its name under `models:`, or "provider/model" as a source gave it. Budgets go by it.
    std::string name;
    /// Up to the first slash: "openai", "anthropic", "ollama", "openrouter", ...
    std::string provider;
    /// After the first slash, as the provider knows it.
    std::string model;
    ModelApi api = ModelApi::openai_chat;
    /// Without the path of the API ("https://api.openai.com/v1"); `${env.X}` is filled in at the call.
    /// Empty: what `base_url_env` holds, else `base_url_default`.
    std::string base_url;
    std::string base_url_env;
    std::string base_url_default;
    /// Variable that the key comes from; empty: the server wants none.
    std::string key_env;
    /// A missing key is no error (local servers).
    bool key_optional = false;
    std::vector<std::pair<std::string, std::string>> headers;  // values may hold `${env.X}`
    /// Tokens that prompt and answer may have together; 0: not known.
    std::uint64_t context_tokens = 0;
    /// The longest answer, in tokens.
    std::uint64_t max_tokens = limits::model_tokens_default;
    std::optional<double> temperature;
    std::optional<std::int64_t> seed;
    /// Members put into the request as they are; an object or null.
    Value options;
    StructuredOutput structured = StructuredOutput::schema;
    bool stream = true;
    std::int64_t timeout_ms = limits::model_timeout_default_ms;
    std::int64_t idle_timeout_ms = limits::model_idle_timeout_default_ms;
    CallCaps caps;
    std::uint32_t concurrency = 0;  // 0: no limit; likewise below
    std::uint64_t requests_per_minute = 0;
    std::uint64_t tokens_per_minute = 0;
    std::optional<Price> price;
    SourcePlace place;
};

/// One server of `mcpServers:`: a command to start, or a URL.
struct McpServerSpec {
    std::string name;
    std::string command;
    std::vector<std::string> args;
    std::vector<std::pair<std::string, std::string>> environment;  // values may hold `${env.X}`
    std::vector<std::string> pass_environment;
    std::string directory;                                     // empty: the crew's
    std::string url;                                           // may hold `${env.X}`
    std::vector<std::pair<std::string, std::string>> headers;  // values may hold `${env.X}`
    std::int64_t start_timeout_ms = limits::mcp_start_timeout_default_ms;
    std::int64_t call_timeout_ms = limits::tool_timeout_default_ms;
    SourcePlace place;
};

/// A tool declared under the crew's `tools:`, for sources of kind llm to call.
struct ToolSpec {
    enum class Kind { process, http } kind = Kind::process;
    std::string name;
    std::string description;
    /// JSON Schema of its arguments, an object.
    Value parameters;
    /// The same arguments always give the same answer, and nothing else comes of it: one call of it
    /// serves every source.
    bool pure = false;
    // process: arguments as JSON on standard input; what it prints is the answer.
    std::vector<std::string> command;
    std::vector<std::pair<std::string, std::string>> environment;
    std::vector<std::string> pass_environment;
    // http: POST of the arguments as JSON; the body is the answer.
    std::string url;                                           // may hold `${env.X}`
    std::vector<std::pair<std::string, std::string>> headers;  // values may hold `${env.X}`
    std::int64_t timeout_ms = limits::tool_timeout_default_ms;
    std::size_t output_bytes = limits::tool_output_bytes_default;
    SourcePlace place;
};

/// A tool as a source names it: one of the crew's, or `mcp:server/tool` (tool `*`: all it has).
struct ToolRef {
    std::optional<std::uint32_t> tool;    // index into CrewSpec::tools
    std::optional<std::uint32_t> server;  // index into CrewSpec::mcp_servers
    std::string name;                     // of the tool; "*": all of the server's
    bool pure = false;
    SourcePlace place;
};

/// kind: llm
struct LlmSpec {
    /// Indexes into CrewSpec::models: the model, then what `fallback:` names.
    std::vector<std::uint32_t> models;
    std::string role;
    std::string goal;
    std::string backstory;
    /// The task. `prompt:` inline or from a file, or CrewAI's `description:`.
    std::string prompt;
    std::string expected_output;
    std::vector<ToolRef> tools;
    /// Model calls of one attempt, the repair turn not counted.
    std::uint32_t turns_max = limits::llm_turns_default;
    /// The same rendered input is answered from the board.
    bool reuse = true;
    /// Tokens that all regions of the view may take together; 0: what the context leaves.
    std::uint64_t view_tokens = 0;
};

/// kind: http
struct HttpSourceSpec {
    std::string url;                                           // may hold `${env.X}`
    std::vector<std::pair<std::string, std::string>> headers;  // values may hold `${env.X}`
    /// Variable with the secret that callbacks are signed with; empty: answers come at once only.
    std::string secret_env;
    /// Tries at reaching the service within one attempt.
    std::uint32_t tries = 3;
};

/// Where answers that come later are taken in (`callbacks:` of the crew).
struct CallbackSpec {
    std::string listen;  // "127.0.0.1:8181"; port 0: any
    /// What services are told to answer to; empty: http:// and the address.
    std::string url;
};

}  // namespace stele

// Each provider's bytes to responses and errors: whole, in pieces, and cut off anywhere.
#include "knowledge_sources/chat_wire.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "knowledge_sources/chat_wire_support.hpp"
#include "knowledge_sources/event_stream.hpp"

using namespace stele;

namespace {

ModelSpec model_for(ModelApi api) {
    ModelSpec model;
    model.name = "m";
    model.provider = api == ModelApi::anthropic_messages ? "anthropic"
                     : api == ModelApi::ollama_chat      ? "ollama"
                                                         : "openai";
    model.model = "gpt";
    model.api = api;
    model.max_tokens = 100;
    return model;
}

HttpHead head_of(int status, std::string type, HttpHeaders more = {}) {
    HttpHead head;
    head.status = status;
    head.headers = std::move(more);
    head.headers.emplace_back("content-type", std::move(type));
    return head;
}

struct Bytes {
    ModelApi api;
    std::string type;
    std::string body;
};

ChatResult decode(const Bytes& bytes, std::size_t piece, std::size_t length, HttpEndKind kind, int status = 200,
                  HttpHeaders headers = {}) {
    const ModelSpec model = model_for(bytes.api);
    const std::unique_ptr<ChatDecoder> decoder = wire_of(bytes.api).decoder(model, 1'700'000'000'000);
    decoder->head(head_of(status, bytes.type, std::move(headers)));
    for (std::size_t at = 0; at < length; at += piece) {
        if (!decoder->data(std::string_view(bytes.body).substr(at, std::min(piece, length - at)))) {
            kind = HttpEndKind::stopped;
            break;
        }
    }
    HttpEnd end;
    end.kind = kind;
    return decoder->finish(end);
}

ChatResult whole(const Bytes& bytes, int status = 200, HttpHeaders headers = {}) {
    return decode(bytes, bytes.body.size() + 1, bytes.body.size(), HttpEndKind::complete, status, std::move(headers));
}

const ChatResponse& good(const ChatResult& result) {
    const ChatError* error = std::get_if<ChatError>(&result);
    REQUIRE_MESSAGE(error == nullptr, (error == nullptr ? "" : error->message));
    return std::get<ChatResponse>(result);
}

ChatError bad(const ChatResult& result) {
    const ChatError* error = std::get_if<ChatError>(&result);
    REQUIRE(error != nullptr);
    return *error;
}

std::string event(const std::string& data, const std::string& name = {}) {
    return (name.empty() ? "" : "event: " + name + "\n") + "data: " + data + "\n\n";
}

// Two calls that come in turns, an umlaut, and the count at the end.
Bytes chat_stream() {
    return {
        ModelApi::openai_chat, "text/event-stream; charset=utf-8",
        ": ping\n\n" +
            event(
                R"({"id":"c1","model":"gpt-9","choices":[{"index":0,"delta":{"role":"assistant","content":"Gr\u00fc\u00dfe, gr)"
                "\xC3\xBC\xC3\x9F"
                R"("},"finish_reason":null}],"usage":null})") +
            event(
                R"({"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"write","arguments":"{\"q\""}}]}}]})") +
            event(
                R"({"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"read","arguments":"{}"}},{"index":0,"function":{"arguments":":1}"}}]}}],"obfuscation":"xy"})") +
            event(R"({"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]})") +
            event(
                R"({"choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":7},"completion_tokens_details":{"reasoning_tokens":3}}})") +
            event("[DONE]")};
}

Bytes responses_stream() {
    return {
        ModelApi::openai_responses, "text/event-stream",
        event(R"({"type":"response.created","sequence_number":0,"response":{"id":"r1","status":"in_progress"}})",
              "response.created") +
            event(R"({"type":"response.output_text.delta","delta":"Hel"})") +
            event(
                R"({"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","id":"rs","encrypted_content":"zz"}})") +
            event(
                R"({"type":"response.output_item.done","output_index":1,"item":{"type":"message","content":[{"type":"output_text","text":"Hello"}]}})") +
            event(
                R"({"type":"response.output_item.done","output_index":2,"item":{"type":"function_call","call_id":"a","name":"write","arguments":"{\"q\":1}","status":"completed"}})") +
            event(
                R"({"type":"response.completed","response":{"id":"r1","model":"gpt-9","status":"completed","output":[],"usage":{"input_tokens":19,"output_tokens":10,"input_tokens_details":{"cached_tokens":4}}}})")};
}

Bytes messages_stream() {
    return {
        ModelApi::anthropic_messages, "text/event-stream",
        event(
            R"({"type":"message_start","message":{"id":"msg","model":"claude","content":[],"stop_reason":null,"usage":{"input_tokens":377,"cache_creation_input_tokens":5,"cache_read_input_tokens":20,"output_tokens":1}}})",
            "message_start") +
            event(R"({"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}})") +
            event(R"({"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}})") +
            event(R"({"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig"}})") +
            event(R"({"type":"content_block_stop","index":0})") + event(R"({"type": "ping"})", "ping") +
            event(R"({"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}})") +
            event(R"({"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"I will"}}   )") +
            event(R"({"type":"content_block_stop","index":1})") +
            event(
                R"({"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t","name":"write","input":{}}})") +
            event(R"({"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}})") +
            event(
                R"({"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"q\":1}"}})") +
            event(R"({"type":"content_block_stop","index":2})") +
            event(R"({"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":65}})") +
            event(R"({"type":"message_stop"})")};
}

Bytes ollama_stream() {
    return {ModelApi::ollama_chat, "application/x-ndjson",
            "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"Hi\"},\"done\":false}\n"
            "{\"message\":{\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"write\",\"arguments\":{\"q\":1}}}"
            "]},\"done\":false}\n"
            "{\"message\":{\"content\":\"\"},\"done_reason\":\"stop\",\"done\":true,\"prompt_eval_count\":169,\"eval_"
            "count\":15}\n"};
}

std::vector<Bytes> streams() { return {chat_stream(), responses_stream(), messages_stream(), ollama_stream()}; }

ChatRequest simple_request() {
    ChatRequest request;
    request.messages = {{ChatMessage::Role::system, "be short", {}, {}, {}, false, {}},
                        {ChatMessage::Role::user, "hello", {}, {}, {}, false, {}}};
    return request;
}

Value body_of(ModelApi api, const ChatRequest& request, const std::function<void(ModelSpec&)>& change = {}) {
    ModelSpec model = model_for(api);
    if (change) change(model);
    const Result<Value> body = parse_json(wire_of(api).body(model, request));
    REQUIRE(body.ok());
    return *body;
}

const Value& at(const Value& value, std::string_view key) {
    const Value* found = value.find(key);
    REQUIRE_MESSAGE(found != nullptr, (std::string(key) + " in " + to_json(value)));
    return *found;
}

constexpr ModelApi all_apis[] = {ModelApi::openai_chat, ModelApi::openai_responses, ModelApi::anthropic_messages,
                                 ModelApi::ollama_chat};

}  // namespace

TEST_CASE("each provider's stream is read, with its calls, counts and what it wants back") {
    const ChatResponse chat = good(whole(chat_stream()));
    CHECK(chat.text == "Grüße, grüß");
    CHECK(chat.stop == ChatStop::tool_calls);
    REQUIRE(chat.tool_calls.size() == 2);
    CHECK(chat.tool_calls[0].arguments == R"({"q":1})");
    CHECK(chat.tool_calls[1].name == "read");
    CHECK(chat.usage.known);
    CHECK(chat.usage.input_tokens == 19);
    CHECK(chat.usage.cached_input_tokens == 7);
    CHECK(chat.usage.reasoning_tokens == 3);

    const ChatResponse responses = good(whole(responses_stream()));
    CHECK(responses.text == "Hello");
    CHECK(responses.tool_calls.at(0).id == "a");
    CHECK(to_json(responses.provider_items) == R"([{"encrypted_content":"zz","id":"rs","type":"reasoning"}])");
    CHECK(responses.usage.cached_input_tokens == 4);

    const ChatResponse messages = good(whole(messages_stream()));
    CHECK(messages.text == "I will");
    CHECK(messages.tool_calls.at(0).arguments == R"({"q":1})");
    CHECK(messages.usage.input_tokens == 377 + 5 + 20);
    CHECK(messages.usage.output_tokens == 65);
    CHECK(to_json(messages.provider_items) == R"([{"signature":"sig","thinking":"hm","type":"thinking"}])");

    const ChatResponse ollama = good(whole(ollama_stream()));
    CHECK(ollama.text == "Hi");
    CHECK(ollama.stop == ChatStop::tool_calls);
    CHECK(ollama.tool_calls.at(0).arguments == R"({"q":1})");
    CHECK_FALSE(ollama.tool_calls.at(0).id.empty());
    CHECK(ollama.usage.input_tokens == 169);
}

TEST_CASE("however the bytes are cut into pieces, the response is the same, with any line ends") {
    for (const Bytes& bytes : streams()) {
        CAPTURE(to_text(bytes.api));
        const std::string expected = to_json(to_value(good(whole(bytes))));
        for (std::size_t piece = 1; piece <= 40; ++piece) {
            CHECK(to_json(to_value(good(decode(bytes, piece, bytes.body.size(), HttpEndKind::complete)))) == expected);
        }
        for (const char* line_end : {"\r\n", "\r"}) {
            Bytes other = bytes;
            other.body.clear();
            for (const char c : bytes.body) c == '\n' ? other.body += line_end : other.body += c;
            for (const std::size_t piece : {1, 2, 3, 1'000'000}) {
                CHECK(to_json(to_value(good(decode(other, piece, other.body.size(), HttpEndKind::complete)))) ==
                      expected);
            }
        }
        Bytes tight = bytes;
        for (std::size_t i = 0; (i = tight.body.find("data: ", i)) != std::string::npos;) tight.body.erase(i + 5, 1);
        CHECK(to_json(to_value(good(whole(tight)))) == expected);
        CHECK(to_json(*parse_json(expected)) == to_json(to_value(*chat_response_from(*parse_json(expected)))));
    }
}

TEST_CASE("an answer that was cut off anywhere before its end is interrupted, and never taken for whole") {
    for (const Bytes& bytes : streams()) {
        CAPTURE(to_text(bytes.api));
        // From here on all has been said; what may follow is no part of it.
        const char* last = bytes.api == ModelApi::openai_chat          ? "\"finish_reason\":\"tool_calls\""
                           : bytes.api == ModelApi::openai_responses   ? "response.completed"
                           : bytes.api == ModelApi::anthropic_messages ? "message_stop"
                                                                       : "\"done\":true";
        const std::size_t terminal = bytes.body.find(last);
        REQUIRE(terminal != std::string::npos);
        for (std::size_t length = 0; length < terminal; ++length) {
            CAPTURE(length);
            for (const HttpEndKind kind : {HttpEndKind::closed_early, HttpEndKind::complete}) {
                const ChatError error = bad(decode(bytes, 64, length, kind));
                // A whole HTTP answer whose last line is half a JSON is told as such.
                const bool half_a_line = bytes.api == ModelApi::ollama_chat && kind == HttpEndKind::complete;
                CHECK((error.kind == ChatErrorKind::interrupted ||
                       (half_a_line && error.kind == ChatErrorKind::malformed)));
                CHECK(error.received_bytes == length);
            }
        }
        CHECK(bad(decode(bytes, 64, terminal / 2, HttpEndKind::idle_timeout)).kind == ChatErrorKind::timeout);
        CHECK(bad(decode(bytes, 64, terminal / 2, HttpEndKind::cancelled)).kind == ChatErrorKind::cancelled);
    }
}

TEST_CASE("answers that are no stream are read as well") {
    const Bytes chat{
        ModelApi::openai_chat, "application/json",
        R"({"id":"c","model":"g","choices":[{"message":{"content":null,"refusal":"no"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}})"};
    CHECK(good(whole(chat)).stop == ChatStop::refusal);
    const Bytes responses{
        ModelApi::openai_responses, "application/json",
        R"({"id":"r","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[{"type":"message","content":[{"type":"output_text","text":"{\"wr"}]},{"type":"function_call","call_id":"x","name":"w","arguments":"{","status":"incomplete"}],"usage":{"input_tokens":1,"output_tokens":2}})"};
    CHECK(good(whole(responses)).stop == ChatStop::length);
    CHECK(good(whole(responses)).tool_calls.empty());
    const Bytes messages{
        ModelApi::anthropic_messages, "application/json",
        R"({"id":"m","type":"message","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":4}})"};
    CHECK(good(whole(messages)).text == "hi");
    const Bytes ollama{ModelApi::ollama_chat, "application/json",
                       R"({"message":{"content":"hi"},"done":true,"done_reason":"length"})"};
    CHECK(good(whole(ollama)).stop == ChatStop::length);
    CHECK_FALSE(good(whole(ollama)).usage.known);
    for (const ModelApi api : all_apis) {
        CHECK(bad(whole({api, "text/html", "<html>login</html>"})).kind == ChatErrorKind::malformed);
        CHECK(bad(whole({api, "application/json", "{}"})).kind == ChatErrorKind::malformed);
        CHECK(bad(whole({api, "application/json", "[1,2"})).kind == ChatErrorKind::malformed);
    }
}

TEST_CASE("a call that the length cut off is not made") {
    const Bytes chat{
        ModelApi::openai_chat, "text/event-stream",
        event(
            R"({"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"w","arguments":"{\"q"}}]}}]})") +
            event(R"({"choices":[{"delta":{},"finish_reason":"length"}]})")};
    CHECK(good(whole(chat)).stop == ChatStop::length);
    CHECK(good(whole(chat)).tool_calls.empty());
    const Bytes messages{
        ModelApi::anthropic_messages, "text/event-stream",
        event(
            R"({"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"w","input":{}}})") +
            event(
                R"({"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{\"q"}})") +
            event(R"({"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":9}})") +
            event(R"({"type":"message_stop"})")};
    CHECK(good(whole(messages)).tool_calls.empty());
    const Bytes empty{
        ModelApi::anthropic_messages, "text/event-stream",
        event(
            R"({"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"w","input":{}}})") +
            event(R"({"type":"content_block_stop","index":0})") +
            event(R"({"type":"message_delta","delta":{"stop_reason":"tool_use"}})") +
            event(R"({"type":"message_stop"})")};
    CHECK(good(whole(empty)).tool_calls.at(0).arguments == "{}");
}

TEST_CASE("every error of a provider is told apart") {
    struct Case {
        ModelApi api;
        int status;
        const char* body;
        HttpHeaders headers;
        ChatErrorKind kind;
        bool retry;
        bool fall_back;
    };
    constexpr ModelApi chat = ModelApi::openai_chat;
    constexpr ModelApi messages = ModelApi::anthropic_messages;
    constexpr ModelApi ollama = ModelApi::ollama_chat;
    const std::vector<Case> cases = {
        {chat,
         401,
         R"({"error":{"message":"bad key","code":"invalid_api_key"}})",
         {},
         ChatErrorKind::authentication,
         false,
         false},
        {chat,
         429,
         R"({"error":{"message":"slow down","code":"rate_limit_exceeded"}})",
         {{"retry-after-ms", "1500"}},
         ChatErrorKind::rate_limited,
         true,
         true},
        {chat,
         429,
         R"({"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}})",
         {},
         ChatErrorKind::quota,
         false,
         true},
        {chat,
         400,
         R"({"error":{"message":"too long","code":"context_length_exceeded"}})",
         {},
         ChatErrorKind::context_overflow,
         false,
         false},
        {chat,
         400,
         R"({"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error","n_prompt_tokens":9000}})",
         {},
         ChatErrorKind::context_overflow,
         false,
         false},
        {chat,
         400,
         R"({"error":{"message":"unknown parameter","code":"unsupported_parameter"}})",
         {},
         ChatErrorKind::bad_request,
         false,
         false},
        {chat,
         404,
         R"({"error":{"message":"no such model","code":"model_not_found"}})",
         {},
         ChatErrorKind::not_found,
         false,
         false},
        {chat, 500, R"({"error":"plain text"})", {}, ChatErrorKind::server, true, true},
        {chat, 500, "", {{"x-should-retry", "false"}}, ChatErrorKind::server, false, true},
        {chat, 400, "", {{"x-should-retry", "true"}}, ChatErrorKind::bad_request, true, false},
        {chat, 502, "<html>bad gateway</html>", {}, ChatErrorKind::server, true, true},
        {chat,
         503,
         R"({"error":{"code":503,"message":"Loading model","type":"unavailable_error"}})",
         {},
         ChatErrorKind::overloaded,
         true,
         true},
        {chat, 408, "", {}, ChatErrorKind::bad_request, true, false},
        {chat, 302, "", {{"location", "http://elsewhere"}}, ChatErrorKind::malformed, false, false},
        {messages,
         429,
         R"({"type":"error","error":{"type":"rate_limit_error","message":"slow"}})",
         {{"retry-after", "7"}},
         ChatErrorKind::rate_limited,
         true,
         true},
        {messages,
         429,
         R"({"type":"error","error":{"type":"rate_limit_error","message":"monthly"}})",
         {},
         ChatErrorKind::quota,
         false,
         true},
        {messages,
         529,
         R"({"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}})",
         {},
         ChatErrorKind::overloaded,
         true,
         true},
        {messages,
         402,
         R"({"type":"error","error":{"type":"billing_error","message":"pay"}})",
         {},
         ChatErrorKind::quota,
         false,
         true},
        {messages,
         400,
         R"({"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens"}})",
         {},
         ChatErrorKind::context_overflow,
         false,
         false},
        {ollama,
         404,
         R"({"error":"model \"x\" not found, try pulling it first"})",
         {},
         ChatErrorKind::not_found,
         false,
         false},
        {ollama, 503, R"({"error":"server busy"})", {}, ChatErrorKind::overloaded, true, true},
    };
    for (const Case& one : cases) {
        CAPTURE(one.status);
        CAPTURE(one.body);
        const ChatError error = bad(whole({one.api, "application/json", one.body}, one.status, one.headers));
        CHECK(std::string(to_text(error.kind)) == to_text(one.kind));
        CHECK(error.may_retry() == one.retry);
        CHECK(error.may_fall_back() == one.fall_back);
        CHECK(error.status == one.status);
        CHECK(error.message.find(std::to_string(one.status)) != std::string::npos);
        CHECK(error.received_bytes == 0);
    }
    // Inside a stream with status 200.
    CHECK(
        bad(whole({chat, "text/event-stream", event(R"({"error":{"message":"oops","type":"server_error"}})")})).kind ==
        ChatErrorKind::server);
    CHECK(bad(whole({messages, "text/event-stream",
                     event(R"({"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}})", "error")}))
              .kind == ChatErrorKind::overloaded);
    CHECK(bad(whole({ollama, "application/x-ndjson", "{\"error\":\"an error was encountered\"}\n"})).kind ==
          ChatErrorKind::server);
    CHECK(bad(whole({ModelApi::openai_responses, "text/event-stream",
                     event(R"({"type":"error","code":"rate_limit_exceeded","message":"slow"})")}))
              .kind == ChatErrorKind::rate_limited);
}

TEST_CASE("times in headers are read in each of their forms") {
    CHECK(duration_ms_from("12ms") == 12);
    CHECK(duration_ms_from("1s") == 1'000);
    CHECK(duration_ms_from("6m0s") == 360'000);
    CHECK(duration_ms_from("1h2m3.5s") == 3'723'500);
    CHECK_FALSE(duration_ms_from("").has_value());
    CHECK_FALSE(duration_ms_from("soon").has_value());
    CHECK_FALSE(duration_ms_from("1e999s").has_value());
    CHECK(time_ms_from("2015-10-21T07:28:00Z") == 1'445'412'480'000);
    CHECK(time_ms_from("2015-10-21T09:28:00.25+02:00") == 1'445'412'480'250);
    CHECK(time_ms_from("Wed, 21 Oct 2015 07:28:00 GMT") == 1'445'412'480'000);
    CHECK_FALSE(time_ms_from("2015-13-21T07:28:00Z").has_value());
    CHECK_FALSE(time_ms_from("tomorrow").has_value());
    const auto after = [](HttpHeaders headers) {
        HttpHead head;
        head.headers = std::move(headers);
        return retry_after_ms(head, 1'445'412'470'000);
    };
    CHECK(after({{"retry-after-ms", "250.4"}, {"retry-after", "9"}}) == 250);
    CHECK(after({{"retry-after", "9"}}) == 9'000);
    CHECK(after({{"retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"}}) == 10'000);
    CHECK_FALSE(after({{"retry-after", "later"}}).has_value());
    CHECK_FALSE(after({}).has_value());
    const std::unique_ptr<ChatDecoder> decoder =
        wire_of(ModelApi::openai_chat).decoder(model_for(ModelApi::openai_chat), 0);
    decoder->head(head_of(200, "application/json",
                          {{"x-ratelimit-remaining-requests", "0"},
                           {"x-ratelimit-reset-requests", "12ms"},
                           {"x-ratelimit-remaining-tokens", "-1"}}));
    CHECK(decoder->rates().requests_remaining == 0u);
    CHECK(decoder->rates().requests_reset_ms == 12);
    CHECK_FALSE(decoder->rates().tokens_remaining.has_value());
}

TEST_CASE("requests have the shape that each provider wants") {
    ChatRequest request = simple_request();
    request.answer_schema =
        Value::object({{"type", "object"},
                       {"additionalProperties", false},
                       {"required", Value(Value::Array{Value("a")})},
                       {"properties", Value::object({{"a", Value::object({{"type", "string"}, {"minLength", 1}})},
                                                     {"b", Value::object({{"type", "integer"}})}})}});
    const Value chat = body_of(ModelApi::openai_chat, request);
    CHECK(at(chat, "max_completion_tokens").as_int() == 100);
    CHECK(at(at(chat, "stream_options"), "include_usage").as_bool());
    // minLength is more than strict mode knows, so the schema goes as it is.
    CHECK_FALSE(at(at(at(chat, "response_format"), "json_schema"), "strict").as_bool());
    const Value other = body_of(ModelApi::openai_chat, request, [](ModelSpec& m) { m.provider = "vllm"; });
    CHECK(at(other, "max_tokens").as_int() == 100);
    CHECK(other.find("max_completion_tokens") == nullptr);

    const Value responses = body_of(ModelApi::openai_responses, request);
    CHECK_FALSE(at(responses, "store").as_bool());
    CHECK(at(at(at(responses, "text"), "format"), "type").as_string() == "json_schema");

    const Value messages = body_of(ModelApi::anthropic_messages, request);
    CHECK(at(messages, "max_tokens").as_int() == 100);
    CHECK(at(messages, "system").as_array().at(0).find("cache_control") != nullptr);
    const Value& schema = at(at(at(messages, "output_config"), "format"), "schema");
    CHECK(at(at(schema, "properties"), "a").find("minLength") == nullptr);

    const Value ollama = body_of(ModelApi::ollama_chat, request, [](ModelSpec& m) {
        m.context_tokens = 4096;
        m.options = Value::object({{"keep_alive", "5m"}, {"top_k", 3}});
    });
    CHECK(at(at(ollama, "options"), "num_predict").as_int() == 100);
    CHECK(at(at(ollama, "options"), "num_ctx").as_int() == 4096);
    CHECK(at(at(ollama, "options"), "top_k").as_int() == 3);
    CHECK(at(ollama, "keep_alive").as_string() == "5m");
    CHECK(at(ollama, "format").is_object());

    for (const ModelApi api : all_apis) {
        // Tools and a schema exclude each other; equal requests are equal bytes.
        ChatRequest with_tools = request;
        with_tools.tools = {{"search", "finds", Value::object({{"type", "object"}})}};
        const Value body = body_of(api, with_tools);
        CHECK(at(body, "tools").as_array().size() == 1);
        for (const char* key : {"response_format", "text", "output_config", "format"}) CHECK(body.find(key) == nullptr);
        CHECK(to_json(body_of(api, with_tools)) == to_json(body));
        const Value told = body_of(api, request, [](ModelSpec& m) { m.structured = StructuredOutput::prompt; });
        for (const char* key : {"response_format", "text", "output_config", "format"}) CHECK(told.find(key) == nullptr);
    }
}

TEST_CASE("a turn of tools goes back as each provider wants it") {
    ChatRequest request = simple_request();
    ChatMessage said;
    said.role = ChatMessage::Role::assistant;
    said.tool_calls = {{"a", "one", R"({"q":1})"}, {"b", "two", "not json"}};
    said.provider_items =
        Value(Value::Array{Value::object({{"type", "thinking"}, {"thinking", "hm"}, {"signature", "s"}})});
    request.messages.push_back(said);
    for (const char* id : {"a", "b"}) {
        ChatMessage result;
        result.role = ChatMessage::Role::tool;
        result.tool_call_id = id;
        result.tool_name = "one";
        result.text = "found";
        result.is_error = *id == 'b';
        request.messages.push_back(result);
    }
    const Value messages = body_of(ModelApi::anthropic_messages, request);
    const Value::Array& turns = at(messages, "messages").as_array();
    REQUIRE(turns.size() == 3);
    CHECK(at(at(turns[1], "content").as_array().at(0), "type").as_string() == "thinking");
    CHECK(to_json(at(at(turns[1], "content").as_array().at(2), "input")) == "{}");
    REQUIRE(at(turns[2], "content").as_array().size() == 2);
    CHECK(at(at(turns[2], "content").as_array().at(1), "is_error").as_bool());

    const Value chat_body = body_of(ModelApi::openai_chat, request);
    const Value::Array& chat = at(chat_body, "messages").as_array();
    CHECK(at(chat.at(2), "content").is_null());
    CHECK(at(at(at(chat.at(2), "tool_calls").as_array().at(1), "function"), "arguments").as_string() == "not json");
    CHECK(at(chat.at(4), "tool_call_id").as_string() == "b");

    const Value items_body = body_of(ModelApi::openai_responses, request);
    const Value::Array& items = at(items_body, "input").as_array();
    CHECK(at(items.at(3), "type").as_string() == "function_call");
    CHECK(at(items.at(5), "type").as_string() == "function_call_output");

    const Value ollama_body = body_of(ModelApi::ollama_chat, request);
    const Value::Array& ollama = at(ollama_body, "messages").as_array();
    CHECK(at(at(at(ollama.at(2), "tool_calls").as_array().at(0), "function"), "arguments").is_object());
    CHECK(at(ollama.at(3), "tool_name").as_string() == "one");
}

TEST_CASE("a schema becomes strict where strict mode can say it") {
    const Result<Value> schema = parse_json(
        R"({"type":"object","additionalProperties":false,"required":["a"],"properties":{"a":{"type":"string"},"b":{"type":"integer"},"c":{"enum":["x"]},"d":{"type":"array","items":{"type":"string"}}}})");
    const std::optional<Value> strict = strict_schema(*schema);
    REQUIRE(strict.has_value());
    CHECK(to_json(at(*strict, "required")) == R"(["a","b","c","d"])");
    CHECK(to_json(at(at(*strict, "properties"), "b")) == R"({"type":["integer","null"]})");
    CHECK(to_json(at(at(*strict, "properties"), "c")) == R"({"anyOf":[{"enum":["x"]},{"type":"null"}]})");
    for (const char* open :
         {R"({"type":"object"})", R"({"type":"object","properties":{}})", R"({"oneOf":[]})", R"({})",
          R"({"type":"array"})", R"({"type":"object","additionalProperties":false,"properties":{"a":{}}})"}) {
        CAPTURE(open);
        CHECK_FALSE(strict_schema(*parse_json(open)).has_value());
    }
    CHECK_FALSE(closed_schema(*parse_json(R"({"type":"object"})")).has_value());
}

// Ollama's own API: JSON lines instead of events, arguments as objects, no ids.
#include <algorithm>
#include <array>

#include "knowledge_sources/chat_wire_support.hpp"

namespace stele {
namespace {

/// Members of a request beside `options`; what else a crew puts into `options:` is an option of the model.
constexpr std::array<std::string_view, 4> request_members = {"keep_alive", "think", "format", "truncate"};

Value message_value(const ChatMessage& message) {
    const char* role = message.role == ChatMessage::Role::system      ? "system"
                       : message.role == ChatMessage::Role::assistant ? "assistant"
                       : message.role == ChatMessage::Role::tool      ? "tool"
                                                                      : "user";
    Value value = Value::object({{"role", role}, {"content", message.text}});
    if (!message.tool_name.empty()) value.set("tool_name", message.tool_name);
    if (message.tool_calls.empty()) return value;
    Value::Array calls;
    for (const ChatToolCall& call : message.tool_calls) {
        Result<Value> arguments = parse_json(call.arguments.empty() ? "{}" : call.arguments);
        const bool is_object = arguments.ok() && arguments->is_object();
        calls.push_back(Value::object(
            {{"function", Value::object({{"name", call.name},
                                         {"arguments", is_object ? std::move(*arguments) : Value::object({})}})}}));
    }
    value.set("tool_calls", std::move(calls));
    return value;
}

class OllamaDecoder final : public WireDecoder {
public:
    using WireDecoder::WireDecoder;

private:
    bool on_event(const StreamEvent& event) override {
        const Result<Value> value = parse_json(event.data);
        if (!value.ok()) return fail_malformed("a line that is no JSON: " + value.error().message);
        if (value->find("error") != nullptr) return fail(error_from_object(who(), *value));
        take(*value);
        return true;
    }

    void on_body(const Value& body) override { take(body); }

    void take(const Value& value) {
        const Value* message = value.find("message");
        add_text(text_in(message, "content"), response_.text);
        if (const Value* calls = member(message, "tool_calls"); calls != nullptr && calls->is_array()) {
            for (const Value& call : calls->as_array()) {
                if (response_.tool_calls.size() >= limits::tool_calls_per_turn_max) break;
                const Value* function = call.find("function");
                const Value* arguments = member(function, "arguments");
                ChatToolCall made;
                made.id = text_in(&call, "id");
                if (made.id.empty()) made.id = "call_" + std::to_string(response_.tool_calls.size());
                made.name = text_in(function, "name");
                if (arguments != nullptr) {
                    made.arguments = arguments->is_string() ? arguments->as_string() : to_json(*arguments);
                }
                response_.tool_calls.push_back(std::move(made));
            }
        }
        if (response_.model.empty()) response_.model = text_in(&value, "model");
        const Value* done = value.find("done");
        if (done == nullptr || !done->is_bool() || !done->as_bool()) return;
        done_ = true;
        reason_ = text_in(&value, "done_reason");
        // A prompt that was cached whole is not counted at all.
        usage_.known = has_count(&value, "eval_count") || has_count(&value, "prompt_eval_count");
        usage_.input_tokens = count_in(&value, "prompt_eval_count");
        usage_.output_tokens = count_in(&value, "eval_count");
    }

    [[nodiscard]] bool is_whole() const override { return done_; }

    ChatResponse take_response() override {
        response_.usage = usage_;
        // The reason says "stop" even where tools are wanted.
        if (reason_ == "length") {
            response_.stop = ChatStop::length;
            response_.tool_calls.clear();
        } else if (!response_.tool_calls.empty()) {
            response_.stop = ChatStop::tool_calls;
        } else if (reason_ != "stop" && !reason_.empty()) {
            response_.stop = ChatStop::other;
        }
        return std::move(response_);
    }

    ChatResponse response_;
    std::string reason_;
    bool done_ = false;
};

class OllamaWire final : public ChatWire {
public:
    [[nodiscard]] std::string path() const override { return "/api/chat"; }

    [[nodiscard]] HttpHeaders headers(const ModelSpec&, const std::string& key) const override {
        if (key.empty()) return {};
        return {{"Authorization", "Bearer " + key}};
    }

    [[nodiscard]] std::string body(const ModelSpec& model, const ChatRequest& request) const override {
        Value::Array messages;
        for (const ChatMessage& message : request.messages) messages.push_back(message_value(message));
        const std::uint64_t most = request.max_tokens != 0 ? request.max_tokens : model.max_tokens;
        Value options = Value::object({{"num_predict", static_cast<std::int64_t>(most)}});
        if (model.context_tokens != 0) options.set("num_ctx", static_cast<std::int64_t>(model.context_tokens));
        if (model.temperature) options.set("temperature", Value::number(*model.temperature));
        if (model.seed) options.set("seed", *model.seed);
        Value body =
            Value::object({{"model", model.model}, {"messages", std::move(messages)}, {"stream", model.stream}});
        if (!request.tools.empty()) {
            Value::Array tools;
            for (const ChatTool& tool : request.tools) {
                tools.push_back(Value::object({{"type", "function"},
                                               {"function", Value::object({{"name", tool.name},
                                                                           {"description", tool.description},
                                                                           {"parameters", tool.parameters}})}}));
            }
            body.set("tools", std::move(tools));
        } else if (!request.answer_schema.is_null() && model.structured != StructuredOutput::prompt) {
            body.set("format", model.structured == StructuredOutput::json ? Value("json") : request.answer_schema);
        }
        if (model.options.is_object()) {
            for (const auto& [key, value] : model.options.as_object()) {
                const bool beside =
                    std::find(request_members.begin(), request_members.end(), key) != request_members.end();
                (beside ? body : options).set(key, value);
            }
        }
        body.set("options", std::move(options));
        return to_json(body);
    }

    [[nodiscard]] std::unique_ptr<ChatDecoder> decoder(const ModelSpec& model, std::int64_t now_ms) const override {
        return std::make_unique<OllamaDecoder>(model, now_ms);
    }
};

}  // namespace

const ChatWire& ollama_wire() {
    static const OllamaWire wire;
    return wire;
}

}  // namespace stele

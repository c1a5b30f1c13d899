// OpenAI's chat completions, and the many servers that speak them (llama.cpp, vLLM, OpenRouter, Groq).
#include <map>

#include "knowledge_sources/chat_wire_support.hpp"

namespace stele {
namespace {

const char* role_name(ChatMessage::Role role) {
    switch (role) {
        case ChatMessage::Role::system:
            return "system";
        case ChatMessage::Role::user:
            return "user";
        case ChatMessage::Role::assistant:
            return "assistant";
        case ChatMessage::Role::tool:
            return "tool";
    }
    return "user";
}

Value message_value(const ChatMessage& message) {
    Value value = Value::object({{"role", role_name(message.role)}, {"content", message.text}});
    if (message.role == ChatMessage::Role::tool) value.set("tool_call_id", message.tool_call_id);
    if (message.tool_calls.empty()) return value;
    if (message.text.empty()) value.set("content", Value());
    Value::Array calls;
    for (const ChatToolCall& call : message.tool_calls) {
        calls.push_back(
            Value::object({{"id", call.id},
                           {"type", "function"},
                           {"function", Value::object({{"name", call.name}, {"arguments", call.arguments}})}}));
    }
    value.set("tool_calls", std::move(calls));
    return value;
}

Value response_format(const ModelSpec& model, const ChatRequest& request) {
    if (model.structured == StructuredOutput::json) return Value::object({{"type", "json_object"}});
    const std::optional<Value> strict = strict_schema(request.answer_schema);
    return Value::object({{"type", "json_schema"},
                          {"json_schema", Value::object({{"name", request.answer_schema_name},
                                                         {"schema", strict ? *strict : request.answer_schema},
                                                         {"strict", strict.has_value()}})}});
}

class OpenaiChatDecoder final : public WireDecoder {
public:
    using WireDecoder::WireDecoder;

private:
    bool on_event(const StreamEvent& event) override {
        // Whether all was said is told by the finish reason; some servers leave this line out.
        if (event.data.rfind("[DONE]", 0) == 0) return true;
        const Result<Value> chunk = parse_json(event.data);
        if (!chunk.ok()) return fail_malformed("an event that is no JSON: " + chunk.error().message);
        if (const Value* error = chunk->find("error"); error != nullptr && !error->is_null()) {
            return fail(error_from_object(who(), *chunk));
        }
        read_common(*chunk);
        const Value* choice = element(member(&*chunk, "choices"), 0);
        const Value* delta = member(choice, "delta");
        add_text(text_in(delta, "content"), response_.text);
        response_.refusal += text_in(delta, "refusal");
        if (const Value* calls = member(delta, "tool_calls"); calls != nullptr && calls->is_array()) {
            for (std::size_t i = 0; i < calls->as_array().size(); ++i) add_call(calls->as_array()[i], i);
        }
        take_finish(text_in(choice, "finish_reason"));
        return true;
    }

    void add_call(const Value& piece, std::size_t place) {
        const std::uint64_t index = has_count(&piece, "index") ? count_in(&piece, "index") : place;
        if (calls_.count(index) == 0 && calls_.size() >= limits::tool_calls_per_turn_max) return;
        ChatToolCall& call = calls_[index];
        if (const std::string id = text_in(&piece, "id"); !id.empty()) call.id = id;
        const Value* function = member(&piece, "function");
        // Some servers send the name with every piece.
        if (const std::string name = text_in(function, "name"); !name.empty()) call.name = name;
        call.arguments += text_in(function, "arguments");
    }

    void on_body(const Value& body) override {
        read_common(body);
        const Value* choice = element(member(&body, "choices"), 0);
        const Value* message = member(choice, "message");
        if (message == nullptr || !message->is_object()) return;
        add_text(text_in(message, "content"), response_.text);
        response_.refusal = text_in(message, "refusal");
        if (const Value* calls = member(message, "tool_calls"); calls != nullptr && calls->is_array()) {
            for (std::size_t i = 0; i < calls->as_array().size(); ++i) {
                Value call = calls->as_array()[i];
                call.set("index", static_cast<std::int64_t>(i));
                add_call(call, i);
            }
        }
        take_finish(text_in(choice, "finish_reason"));
        if (finish_.empty()) finish_ = "stop";
    }

    void read_common(const Value& body) {
        if (response_.id.empty()) response_.id = text_in(&body, "id");
        if (response_.model.empty()) response_.model = text_in(&body, "model");
        const Value* usage = member(&body, "usage");
        if (!has_count(usage, "prompt_tokens")) return;
        usage_.known = true;
        usage_.input_tokens = count_in(usage, "prompt_tokens");
        usage_.output_tokens = count_in(usage, "completion_tokens");
        const Value* prompt = member(usage, "prompt_tokens_details");
        usage_.cached_input_tokens = count_in(prompt, "cached_tokens");
        usage_.cache_write_tokens = count_in(prompt, "cache_write_tokens");
        usage_.reasoning_tokens = count_in(member(usage, "completion_tokens_details"), "reasoning_tokens");
    }

    void take_finish(std::string reason) {
        if (!reason.empty()) finish_ = std::move(reason);
    }

    [[nodiscard]] bool is_whole() const override { return !finish_.empty(); }

    ChatResponse take_response() override {
        response_.usage = usage_;
        if (finish_ == "length") {
            response_.stop = ChatStop::length;
        } else if (finish_ == "content_filter") {
            response_.stop = ChatStop::filter;
        } else if (!response_.refusal.empty() && response_.text.empty()) {
            response_.stop = ChatStop::refusal;
        } else if (!calls_.empty()) {
            response_.stop = ChatStop::tool_calls;
        } else if (finish_ == "stop" || finish_ == "tool_calls" || finish_ == "function_call") {
            response_.stop = ChatStop::end;
        } else {
            response_.stop = ChatStop::other;
        }
        // A call that the length cut off must not be made.
        if (response_.stop == ChatStop::tool_calls) {
            for (auto& [index, call] : calls_) {
                if (call.id.empty()) call.id = "call_" + std::to_string(index);
                response_.tool_calls.push_back(std::move(call));
            }
        }
        return std::move(response_);
    }

    void read_rates(const HttpHead& head, RateHeaders& rates) const override { read_openai_rates(head, rates); }

    ChatResponse response_;
    std::map<std::uint64_t, ChatToolCall> calls_;
    std::string finish_;
};

class OpenaiChatWire final : public ChatWire {
public:
    [[nodiscard]] std::string path() const override { return "/chat/completions"; }

    [[nodiscard]] HttpHeaders headers(const ModelSpec&, const std::string& key) const override {
        if (key.empty()) return {};
        return {{"Authorization", "Bearer " + key}};
    }

    [[nodiscard]] std::string body(const ModelSpec& model, const ChatRequest& request) const override {
        Value::Array messages;
        for (const ChatMessage& message : request.messages) messages.push_back(message_value(message));
        const std::uint64_t most = request.max_tokens != 0 ? request.max_tokens : model.max_tokens;
        Value body =
            Value::object({{"model", model.model}, {"messages", std::move(messages)}, {"stream", model.stream}});
        // OpenAI's newer models refuse the old name; many others know only that one.
        body.set(model.provider == "openai" ? "max_completion_tokens" : "max_tokens", static_cast<std::int64_t>(most));
        if (model.stream) body.set("stream_options", Value::object({{"include_usage", true}}));
        if (model.temperature) body.set("temperature", Value::number(*model.temperature));
        if (model.seed) body.set("seed", *model.seed);
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
            // Not beside tools: grammar and tool calls exclude each other on llama.cpp and its like.
            body.set("response_format", response_format(model, request));
        }
        merge_options(body, model.options);
        return to_json(body);
    }

    [[nodiscard]] std::unique_ptr<ChatDecoder> decoder(const ModelSpec& model, std::int64_t now_ms) const override {
        return std::make_unique<OpenaiChatDecoder>(model, now_ms);
    }
};

}  // namespace

const ChatWire& openai_chat_wire() {
    static const OpenaiChatWire wire;
    return wire;
}

}  // namespace stele

// OpenAI's Responses API, stateless: nothing is kept at the provider.
#include <map>

#include "knowledge_sources/chat_wire_support.hpp"

namespace stele {
namespace {

void add_items(const ChatMessage& message, Value::Array& items) {
    switch (message.role) {
        case ChatMessage::Role::system:
        case ChatMessage::Role::user:
            items.push_back(Value::object(
                {{"role", message.role == ChatMessage::Role::system ? "system" : "user"}, {"content", message.text}}));
            return;
        case ChatMessage::Role::tool:
            items.push_back(Value::object(
                {{"type", "function_call_output"}, {"call_id", message.tool_call_id}, {"output", message.text}}));
            return;
        case ChatMessage::Role::assistant:
            break;
    }
    if (message.provider_items.is_array()) {
        for (const Value& item : message.provider_items.as_array()) items.push_back(item);
    }
    if (!message.text.empty()) items.push_back(Value::object({{"role", "assistant"}, {"content", message.text}}));
    for (const ChatToolCall& call : message.tool_calls) {
        items.push_back(Value::object(
            {{"type", "function_call"}, {"call_id", call.id}, {"name", call.name}, {"arguments", call.arguments}}));
    }
}

Value text_format(const ModelSpec& model, const ChatRequest& request) {
    if (model.structured == StructuredOutput::json) return Value::object({{"type", "json_object"}});
    const std::optional<Value> strict = strict_schema(request.answer_schema);
    return Value::object({{"type", "json_schema"},
                          {"name", request.answer_schema_name},
                          {"schema", strict ? *strict : request.answer_schema},
                          {"strict", strict.has_value()}});
}

class OpenaiResponsesDecoder final : public WireDecoder {
public:
    using WireDecoder::WireDecoder;

private:
    bool on_event(const StreamEvent& event) override {
        // Compatible servers end with it; the terminal event has said all.
        if (event.data.rfind("[DONE]", 0) == 0) return true;
        const Result<Value> value = parse_json(event.data);
        if (!value.ok()) return fail_malformed("an event that is no JSON: " + value.error().message);
        const std::string type = text_in(&*value, "type");
        if (type == "error") {
            const Value* error = value->find("error");
            return fail(error_from_object(who(), error != nullptr ? *value : Value::object({{"error", *value}})));
        }
        if (type == "response.output_text.delta") {
            std::string shown;
            add_text(text_in(&*value, "delta"), shown);
        } else if (type == "response.output_item.done") {
            if (const Value* item = value->find("item")) {
                items_[has_count(&*value, "output_index") ? count_in(&*value, "output_index") : items_.size()] = *item;
            }
        } else if (type == "response.completed" || type == "response.incomplete" || type == "response.failed") {
            const Value* response = value->find("response");
            if (response == nullptr || !response->is_object()) return fail_malformed("a last event without a response");
            take(*response);
        }
        return true;
    }

    void on_body(const Value& body) override { take(body); }

    void take(const Value& response) {
        status_ = text_in(&response, "status");
        response_.id = text_in(&response, "id");
        response_.model = text_in(&response, "model");
        incomplete_ = text_in(member(&response, "incomplete_details"), "reason");
        const Value* usage = member(&response, "usage");
        if (has_count(usage, "input_tokens")) {
            usage_.known = true;
            usage_.input_tokens = count_in(usage, "input_tokens");
            usage_.output_tokens = count_in(usage, "output_tokens");
            usage_.cached_input_tokens = count_in(member(usage, "input_tokens_details"), "cached_tokens");
            usage_.cache_write_tokens = count_in(member(usage, "input_tokens_details"), "cache_write_tokens");
            usage_.reasoning_tokens = count_in(member(usage, "output_tokens_details"), "reasoning_tokens");
        }
        if (const Value* error = member(&response, "error"); error != nullptr && !error->is_null()) {
            fail(error_from_object(who(), response));
            return;
        }
        const Value* output = member(&response, "output");
        if (output != nullptr && output->is_array() && !output->as_array().empty()) {
            items_.clear();
            for (const Value& item : output->as_array()) items_[items_.size()] = item;
        }
    }

    [[nodiscard]] bool is_whole() const override { return status_ == "completed" || status_ == "incomplete"; }

    ChatResponse take_response() override {
        response_.usage = usage_;
        Value::Array kept;
        for (const auto& [index, item] : items_) take_item(item, kept);
        if (!kept.empty()) response_.provider_items = Value(std::move(kept));
        if (status_ == "incomplete") {
            response_.stop = incomplete_ == "content_filter" ? ChatStop::filter : ChatStop::length;
            response_.tool_calls.clear();
        } else if (!response_.tool_calls.empty()) {
            response_.stop = ChatStop::tool_calls;
        } else if (!response_.refusal.empty() && response_.text.empty()) {
            response_.stop = ChatStop::refusal;
        }
        return std::move(response_);
    }

    void take_item(const Value& item, Value::Array& kept) {
        const std::string type = text_in(&item, "type");
        if (type == "function_call") {
            // Cut off in the middle, it must not be made.
            const std::string status = text_in(&item, "status");
            if (!status.empty() && status != "completed") return;
            response_.tool_calls.push_back(
                {text_in(&item, "call_id"), text_in(&item, "name"), text_in(&item, "arguments")});
        } else if (type == "reasoning") {
            // What the provider does not keep it must be given back whole; the bare id would lead nowhere.
            if (!text_in(&item, "encrypted_content").empty()) kept.push_back(item);
        } else if (type == "message") {
            const Value* content = item.find("content");
            if (content == nullptr || !content->is_array()) return;
            for (const Value& part : content->as_array()) {
                const std::string kind = text_in(&part, "type");
                if (kind == "output_text") response_.text += text_in(&part, "text");
                if (kind == "refusal") response_.refusal += text_in(&part, "refusal");
            }
        }
    }

    void read_rates(const HttpHead& head, RateHeaders& rates) const override { read_openai_rates(head, rates); }

    ChatResponse response_;
    std::map<std::uint64_t, Value> items_;
    std::string status_;
    std::string incomplete_;
};

class OpenaiResponsesWire final : public ChatWire {
public:
    [[nodiscard]] std::string path() const override { return "/responses"; }

    [[nodiscard]] HttpHeaders headers(const ModelSpec&, const std::string& key) const override {
        if (key.empty()) return {};
        return {{"Authorization", "Bearer " + key}};
    }

    [[nodiscard]] std::string body(const ModelSpec& model, const ChatRequest& request) const override {
        Value::Array items;
        for (const ChatMessage& message : request.messages) add_items(message, items);
        const std::uint64_t most = request.max_tokens != 0 ? request.max_tokens : model.max_tokens;
        Value body = Value::object({{"model", model.model},
                                    {"input", std::move(items)},
                                    {"max_output_tokens", static_cast<std::int64_t>(most)},
                                    {"store", false},
                                    {"stream", model.stream}});
        if (model.temperature) body.set("temperature", Value::number(*model.temperature));
        if (!request.tools.empty()) {
            Value::Array tools;
            for (const ChatTool& tool : request.tools) {
                const std::optional<Value> strict = strict_schema(tool.parameters);
                tools.push_back(Value::object({{"type", "function"},
                                               {"name", tool.name},
                                               {"description", tool.description},
                                               {"parameters", strict ? *strict : tool.parameters},
                                               {"strict", strict.has_value()}}));
            }
            body.set("tools", std::move(tools));
        } else if (!request.answer_schema.is_null() && model.structured != StructuredOutput::prompt) {
            body.set("text", Value::object({{"format", text_format(model, request)}}));
        }
        merge_options(body, model.options);
        return to_json(body);
    }

    [[nodiscard]] std::unique_ptr<ChatDecoder> decoder(const ModelSpec& model, std::int64_t now_ms) const override {
        return std::make_unique<OpenaiResponsesDecoder>(model, now_ms);
    }
};

}  // namespace

const ChatWire& openai_responses_wire() {
    static const OpenaiResponsesWire wire;
    return wire;
}

}  // namespace stele

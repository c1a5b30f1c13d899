// Anthropic's Messages API.
#include <charconv>
#include <map>

#include "knowledge_sources/chat_wire_support.hpp"

namespace stele {
namespace {

Value cached(Value block) {
    block.set("cache_control", Value::object({{"type", "ephemeral"}}));
    return block;
}

Value text_block(const std::string& text) { return Value::object({{"type", "text"}, {"text", text}}); }

Value::Array blocks_of(const ChatMessage& message) {
    Value::Array blocks;
    if (message.role == ChatMessage::Role::tool) {
        Value result =
            Value::object({{"type", "tool_result"}, {"tool_use_id", message.tool_call_id}, {"content", message.text}});
        if (message.is_error) result.set("is_error", true);
        blocks.push_back(std::move(result));
        return blocks;
    }
    // Thinking goes back as it came, before what followed from it.
    if (message.provider_items.is_array()) blocks = message.provider_items.as_array();
    if (!message.text.empty()) blocks.push_back(text_block(message.text));
    for (const ChatToolCall& call : message.tool_calls) {
        Result<Value> input = parse_json(call.arguments.empty() ? "{}" : call.arguments);
        const bool is_object = input.ok() && input->is_object();
        blocks.push_back(Value::object({{"type", "tool_use"},
                                        {"id", call.id},
                                        {"name", call.name},
                                        {"input", is_object ? std::move(*input) : Value::object({})}}));
    }
    return blocks;
}

class AnthropicDecoder final : public WireDecoder {
public:
    using WireDecoder::WireDecoder;

private:
    struct Block {
        Value start;
        std::string text;  // of a text block, of thinking, or the input of a tool as JSON
        std::string signature;
        bool ended = false;
    };

    bool on_event(const StreamEvent& event) override {
        const Result<Value> value = parse_json(event.data);
        if (!value.ok()) return fail_malformed("an event that is no JSON: " + value.error().message);
        const std::string type = text_in(&*value, "type");
        if (type == "error") return fail(error_from_object(who(), *value));
        if (type == "message_start") {
            const Value* message = value->find("message");
            response_.id = text_in(message, "id");
            response_.model = text_in(message, "model");
            read_usage(member(message, "usage"));
        } else if (type == "content_block_start") {
            if (blocks_.size() >= blocks_max) return fail_malformed("too many blocks");
            Block block;
            if (const Value* start = value->find("content_block")) block.start = *start;
            block.text = text_in(&block.start, text_in(&block.start, "type") == "thinking" ? "thinking" : "text");
            if (text_in(&block.start, "type") == "text") show(block.text);
            blocks_[count_in(&*value, "index")] = std::move(block);
        } else if (type == "content_block_delta") {
            add_delta(count_in(&*value, "index"), member(&*value, "delta"));
        } else if (type == "content_block_stop") {
            if (const auto block = blocks_.find(count_in(&*value, "index")); block != blocks_.end()) {
                block->second.ended = true;
            }
        } else if (type == "message_delta") {
            if (std::string reason = text_in(member(&*value, "delta"), "stop_reason"); !reason.empty()) {
                stop_reason_ = std::move(reason);
            }
            read_usage(value->find("usage"));
        } else if (type == "message_stop") {
            stopped_ = true;
        }
        return true;
    }

    void add_delta(std::uint64_t index, const Value* delta) {
        const auto found = blocks_.find(index);
        if (found == blocks_.end()) return;
        const std::string type = text_in(delta, "type");
        if (type == "text_delta") {
            const std::string text = text_in(delta, "text");
            found->second.text += text;
            show(text);
        } else if (type == "input_json_delta") {
            found->second.text += text_in(delta, "partial_json");
        } else if (type == "thinking_delta") {
            found->second.text += text_in(delta, "thinking");
        } else if (type == "signature_delta") {
            found->second.signature += text_in(delta, "signature");
        }
    }

    void show(const std::string& text) {
        std::string unused;
        add_text(text, unused);
    }

    void on_body(const Value& body) override {
        response_.id = text_in(&body, "id");
        response_.model = text_in(&body, "model");
        stop_reason_ = text_in(&body, "stop_reason");
        read_usage(body.find("usage"));
        const Value* content = body.find("content");
        if (content == nullptr || !content->is_array()) return;
        for (const Value& one : content->as_array()) {
            Block block;
            block.start = one;
            block.ended = true;
            block.text = text_in(&one, text_in(&one, "type") == "thinking" ? "thinking" : "text");
            block.signature = text_in(&one, "signature");
            if (const Value* input = one.find("input")) block.text = to_json(*input);
            blocks_[blocks_.size()] = std::move(block);
        }
        stopped_ = !stop_reason_.empty();
    }

    // The parts come one after the other, and each count is of all so far.
    void read_usage(const Value* usage) {
        if (has_count(usage, "input_tokens")) {
            input_ = count_in(usage, "input_tokens");
            usage_.known = true;
        }
        if (has_count(usage, "cache_creation_input_tokens")) {
            usage_.cache_write_tokens = count_in(usage, "cache_creation_input_tokens");
        }
        if (has_count(usage, "cache_read_input_tokens")) {
            usage_.cached_input_tokens = count_in(usage, "cache_read_input_tokens");
        }
        if (has_count(usage, "output_tokens")) usage_.output_tokens = count_in(usage, "output_tokens");
        usage_.input_tokens = input_ + usage_.cache_write_tokens + usage_.cached_input_tokens;
    }

    [[nodiscard]] bool is_whole() const override { return stopped_ && !stop_reason_.empty(); }

    ChatResponse take_response() override {
        response_.usage = usage_;
        Value::Array kept;
        for (auto& [index, block] : blocks_) {
            const std::string type = text_in(&block.start, "type");
            if (type == "text") {
                response_.text += block.text;
            } else if (type == "tool_use") {
                // One that never ended was cut off by the length.
                if (!block.ended) continue;
                response_.tool_calls.push_back({text_in(&block.start, "id"), text_in(&block.start, "name"),
                                                block.text.empty() ? "{}" : std::move(block.text)});
            } else if (type == "thinking") {
                Value thinking = block.start;
                thinking.set("thinking", block.text);
                if (!block.signature.empty()) thinking.set("signature", block.signature);
                kept.push_back(std::move(thinking));
            } else if (type == "redacted_thinking") {
                kept.push_back(block.start);
            }
        }
        if (!kept.empty()) response_.provider_items = Value(std::move(kept));
        if (stop_reason_ == "max_tokens" || stop_reason_ == "model_context_window_exceeded") {
            response_.stop = ChatStop::length;
            response_.tool_calls.clear();
        } else if (stop_reason_ == "tool_use") {
            response_.stop = ChatStop::tool_calls;
        } else if (stop_reason_ == "refusal") {
            response_.stop = ChatStop::refusal;
            response_.refusal = response_.text;
        } else if (stop_reason_ != "end_turn" && stop_reason_ != "stop_sequence") {
            response_.stop = ChatStop::other;
        }
        return std::move(response_);
    }

    void read_rates(const HttpHead& head, RateHeaders& rates) const override {
        const auto count = [&](const char* name, std::optional<std::uint64_t>& target) {
            std::uint64_t number = 0;
            const std::string* text = head.find(name);
            if (text == nullptr) return;
            const auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), number);
            if (code == std::errc{} && end == text->data() + text->size()) target = number;
        };
        const auto reset = [&](const char* name, std::optional<std::int64_t>& target) {
            const std::string* text = head.find(name);
            const std::optional<std::int64_t> time = text == nullptr ? std::nullopt : time_ms_from(*text);
            if (time) target = std::max<std::int64_t>(0, *time - now_ms());
        };
        count("anthropic-ratelimit-requests-limit", rates.requests_limit);
        count("anthropic-ratelimit-requests-remaining", rates.requests_remaining);
        reset("anthropic-ratelimit-requests-reset", rates.requests_reset_ms);
        count("anthropic-ratelimit-tokens-limit", rates.tokens_limit);
        count("anthropic-ratelimit-tokens-remaining", rates.tokens_remaining);
        reset("anthropic-ratelimit-tokens-reset", rates.tokens_reset_ms);
    }

    // A rate limit says when to come back; a spending limit of the month says nothing.
    void adjust(ChatError& error, const HttpHead&) const override {
        if (error.status != 429 || error.retry_after_ms || error.should_retry == true) return;
        error.kind = ChatErrorKind::quota;
        error.should_retry = false;
    }

    static constexpr std::size_t blocks_max = 4'096;

    ChatResponse response_;
    std::map<std::uint64_t, Block> blocks_;
    std::uint64_t input_ = 0;
    std::string stop_reason_;
    bool stopped_ = false;
};

class AnthropicWire final : public ChatWire {
public:
    [[nodiscard]] std::string path() const override { return "/v1/messages"; }

    [[nodiscard]] HttpHeaders headers(const ModelSpec& model, const std::string& key) const override {
        HttpHeaders headers = {{"anthropic-version", "2023-06-01"}};
        if (key.empty()) return headers;
        const bool is_token = model.key_env == "ANTHROPIC_AUTH_TOKEN";
        headers.emplace_back(is_token ? "Authorization" : "x-api-key", is_token ? "Bearer " + key : key);
        return headers;
    }

    [[nodiscard]] std::string body(const ModelSpec& model, const ChatRequest& request) const override {
        Value::Array system;
        Value::Array messages;
        for (const ChatMessage& message : request.messages) {
            if (message.role == ChatMessage::Role::system) {
                system.push_back(text_block(message.text));
                continue;
            }
            const char* role = message.role == ChatMessage::Role::assistant ? "assistant" : "user";
            Value::Array blocks = blocks_of(message);
            if (blocks.empty()) continue;
            // Turns of one role are one message: all results of tools belong into a single one.
            if (!messages.empty() && text_in(&messages.back(), "role") == role) {
                Value::Array all = messages.back().find("content")->as_array();
                all.insert(all.end(), blocks.begin(), blocks.end());
                messages.back().set("content", std::move(all));
            } else {
                messages.push_back(Value::object({{"role", role}, {"content", std::move(blocks)}}));
            }
        }
        // The instructions, and all of the conversation so far: what comes next begins the same.
        if (!system.empty()) system.back() = cached(std::move(system.back()));
        if (!messages.empty()) {
            Value::Array blocks = messages.back().find("content")->as_array();
            blocks.back() = cached(std::move(blocks.back()));
            messages.back().set("content", std::move(blocks));
        }
        const std::uint64_t most = request.max_tokens != 0 ? request.max_tokens : model.max_tokens;
        Value body = Value::object({{"model", model.model},
                                    {"max_tokens", static_cast<std::int64_t>(most)},
                                    {"messages", std::move(messages)},
                                    {"stream", model.stream}});
        if (!system.empty()) body.set("system", std::move(system));
        if (model.temperature) body.set("temperature", Value::number(*model.temperature));
        if (!request.tools.empty()) {
            Value::Array tools;
            for (const ChatTool& tool : request.tools) {
                tools.push_back(Value::object(
                    {{"name", tool.name}, {"description", tool.description}, {"input_schema", tool.parameters}}));
            }
            body.set("tools", std::move(tools));
        } else if (!request.answer_schema.is_null() && model.structured == StructuredOutput::schema) {
            if (std::optional<Value> schema = closed_schema(request.answer_schema)) {
                body.set("output_config",
                         Value::object(
                             {{"format", Value::object({{"type", "json_schema"}, {"schema", std::move(*schema)}})}}));
            }
        }
        merge_options(body, model.options);
        return to_json(body);
    }

    [[nodiscard]] std::unique_ptr<ChatDecoder> decoder(const ModelSpec& model, std::int64_t now_ms) const override {
        return std::make_unique<AnthropicDecoder>(model, now_ms);
    }
};

}  // namespace

const ChatWire& anthropic_wire() {
    static const AnthropicWire wire;
    return wire;
}

}  // namespace stele

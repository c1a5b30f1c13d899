#include "knowledge_sources/chat.hpp"

#include <array>

namespace stele {
namespace {

constexpr std::array all_stops = {ChatStop::end,     ChatStop::length, ChatStop::tool_calls,
                                  ChatStop::refusal, ChatStop::filter, ChatStop::other};

std::string text_of(const Value& value, std::string_view key) {
    const Value* found = value.find(key);
    return found != nullptr && found->is_string() ? found->as_string() : std::string();
}

std::uint64_t count_of(const Value& value, std::string_view key) {
    const Value* found = value.find(key);
    return found != nullptr && found->is_int() && found->as_int() > 0 ? static_cast<std::uint64_t>(found->as_int()) : 0;
}

Value count_value(std::uint64_t count) { return static_cast<std::int64_t>(count); }

}  // namespace

const char* to_text(ChatStop stop) {
    switch (stop) {
        case ChatStop::end:
            return "end";
        case ChatStop::length:
            return "length";
        case ChatStop::tool_calls:
            return "tool_calls";
        case ChatStop::refusal:
            return "refusal";
        case ChatStop::filter:
            return "filter";
        case ChatStop::other:
            return "other";
    }
    return "other";
}

const char* to_text(ChatErrorKind kind) {
    switch (kind) {
        case ChatErrorKind::overloaded:
            return "overloaded";
        case ChatErrorKind::rate_limited:
            return "rate_limited";
        case ChatErrorKind::quota:
            return "quota";
        case ChatErrorKind::authentication:
            return "authentication";
        case ChatErrorKind::bad_request:
            return "bad_request";
        case ChatErrorKind::context_overflow:
            return "context_overflow";
        case ChatErrorKind::not_found:
            return "not_found";
        case ChatErrorKind::server:
            return "server";
        case ChatErrorKind::unreachable:
            return "unreachable";
        case ChatErrorKind::interrupted:
            return "interrupted";
        case ChatErrorKind::malformed:
            return "malformed";
        case ChatErrorKind::timeout:
            return "timeout";
        case ChatErrorKind::cancelled:
            return "cancelled";
    }
    return "unknown";
}

Value to_value(const ChatResponse& response) {
    Value value = Value::object({{"text", response.text}, {"stop", to_text(response.stop)}});
    Value::Array calls;
    for (const ChatToolCall& call : response.tool_calls) {
        calls.push_back(Value::object({{"id", call.id}, {"name", call.name}, {"arguments", call.arguments}}));
    }
    if (!calls.empty()) value.set("tool_calls", std::move(calls));
    if (!response.refusal.empty()) value.set("refusal", response.refusal);
    if (!response.provider_items.is_null()) value.set("provider_items", response.provider_items);
    if (!response.id.empty()) value.set("id", response.id);
    if (!response.model.empty()) value.set("model", response.model);
    const ChatUsage& usage = response.usage;
    if (usage.known) {
        value.set("usage", Value::object({{"input_tokens", count_value(usage.input_tokens)},
                                          {"output_tokens", count_value(usage.output_tokens)},
                                          {"cached_input_tokens", count_value(usage.cached_input_tokens)},
                                          {"cache_write_tokens", count_value(usage.cache_write_tokens)},
                                          {"reasoning_tokens", count_value(usage.reasoning_tokens)}}));
    }
    return value;
}

std::optional<ChatResponse> chat_response_from(const Value& value) {
    const Value* text = value.find("text");
    const Value* stop = value.find("stop");
    if (text == nullptr || !text->is_string() || stop == nullptr || !stop->is_string()) return std::nullopt;
    ChatResponse response;
    response.text = text->as_string();
    response.stop = ChatStop::other;
    for (const ChatStop one : all_stops) {
        if (stop->as_string() == to_text(one)) response.stop = one;
    }
    response.refusal = text_of(value, "refusal");
    response.id = text_of(value, "id");
    response.model = text_of(value, "model");
    if (const Value* items = value.find("provider_items")) response.provider_items = *items;
    if (const Value* calls = value.find("tool_calls"); calls != nullptr && calls->is_array()) {
        for (const Value& call : calls->as_array()) {
            response.tool_calls.push_back({text_of(call, "id"), text_of(call, "name"), text_of(call, "arguments")});
        }
    }
    if (const Value* usage = value.find("usage"); usage != nullptr && usage->is_object()) {
        response.usage = {true,
                          count_of(*usage, "input_tokens"),
                          count_of(*usage, "output_tokens"),
                          count_of(*usage, "cached_input_tokens"),
                          count_of(*usage, "cache_write_tokens"),
                          count_of(*usage, "reasoning_tokens")};
    }
    return response;
}

bool ChatError::may_retry() const {
    if (should_retry) return *should_retry;
    switch (kind) {
        case ChatErrorKind::overloaded:
        case ChatErrorKind::rate_limited:
        case ChatErrorKind::server:
        case ChatErrorKind::unreachable:
            return true;
        default:
            return status == 408 || status == 409;
    }
}

bool ChatError::may_fall_back() const {
    switch (kind) {
        case ChatErrorKind::overloaded:
        case ChatErrorKind::rate_limited:
        case ChatErrorKind::quota:
        case ChatErrorKind::server:
        case ChatErrorKind::unreachable:
            return true;
        default:
            return false;
    }
}

}  // namespace stele

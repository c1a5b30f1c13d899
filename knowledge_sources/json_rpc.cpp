#include "knowledge_sources/json_rpc.hpp"

#include <utility>

namespace stele {

namespace {

Error no_rpc(std::string why) { return Error{ErrorCode::invalid_argument, "this is no JSON-RPC message: " + why}; }

Result<RpcMessage> message_of(const Value& value) {
    if (!value.is_object()) return no_rpc(std::string("it is of type ") + value.type_name());
    RpcMessage message;
    if (const Value* id = value.find("id")) {
        if (!id->is_string() && !id->is_number() && !id->is_null()) {
            return no_rpc(std::string("its id is of type ") + id->type_name());
        }
        message.id = *id;
    }
    const Value* method = value.find("method");
    const Value* result = value.find("result");
    const Value* error = value.find("error");
    if (method != nullptr) {
        if (!method->is_string()) return no_rpc(std::string("its method is of type ") + method->type_name());
        message.kind = message.id.is_null() ? RpcMessage::Kind::notification : RpcMessage::Kind::request;
        message.method = method->as_string();
        if (const Value* params = value.find("params")) message.params = *params;
        return message;
    }
    // Some servers send both, one of them null.
    if (error != nullptr && !error->is_null()) {
        if (!error->is_object()) return no_rpc(std::string("its error is of type ") + error->type_name());
        message.kind = RpcMessage::Kind::error;
        const Value* code = error->find("code");
        if (code != nullptr && code->is_int()) message.code = code->as_int();
        const Value* text = error->find("message");
        if (text != nullptr && text->is_string()) message.message = text->as_string();
        if (const Value* data = error->find("data")) message.data = *data;
        return message;
    }
    if (result != nullptr) {
        message.kind = RpcMessage::Kind::result;
        message.result = *result;
        return message;
    }
    return no_rpc("it has no method, result or error");
}

Value envelope() { return Value::object({{"jsonrpc", "2.0"}}); }

}  // namespace

Result<std::vector<RpcMessage>> parse_rpc(std::string_view text) {
    Result<Value> value = parse_json(text);
    if (!value) return no_rpc(value.error().message);
    std::vector<RpcMessage> messages;
    if (!value->is_array()) {
        Result<RpcMessage> message = message_of(*value);
        if (!message) return message.error();
        messages.push_back(std::move(*message));
        return messages;
    }
    for (const Value& element : value->as_array()) {
        Result<RpcMessage> message = message_of(element);
        if (!message) return message.error();
        messages.push_back(std::move(*message));
    }
    if (messages.empty()) return no_rpc("it is an empty batch");
    return messages;
}

std::string rpc_request(std::int64_t id, std::string_view method, const Value& params) {
    Value message = envelope();
    message.set("id", id);
    message.set("method", method);
    if (!params.is_null()) message.set("params", params);
    return to_json(message);
}

std::string rpc_notification(std::string_view method, const Value& params) {
    Value message = envelope();
    message.set("method", method);
    if (!params.is_null()) message.set("params", params);
    return to_json(message);
}

std::string rpc_result(const Value& id, const Value& result) {
    Value message = envelope();
    message.set("id", id);
    message.set("result", result);
    return to_json(message);
}

std::string rpc_error(const Value& id, std::int64_t code, std::string_view message_text) {
    Value message = envelope();
    message.set("id", id);
    message.set("error", Value::object({{"code", code}, {"message", message_text}}));
    return to_json(message);
}

bool LineReader::feed(std::string_view bytes) {
    if (too_long_) return false;
    // What was read is thrown away here and not in next(), where each line would move all that follow.
    buffer_.erase(0, begin_);
    scanned_ -= begin_;
    begin_ = 0;
    // Checked line by line, so that how the bytes are split does not decide.
    for (std::size_t at = 0; at < bytes.size();) {
        const std::size_t newline = bytes.find('\n', at);
        const std::size_t end = newline == std::string_view::npos ? bytes.size() : newline;
        open_ += end - at;
        if (open_ > line_bytes_max_) {
            too_long_ = true;
            buffer_.append(bytes.substr(0, at));
            return false;
        }
        if (newline == std::string_view::npos) break;
        open_ = 0;
        at = newline + 1;
    }
    buffer_.append(bytes);
    return true;
}

std::optional<std::string> LineReader::next() {
    const std::size_t newline = buffer_.find('\n', scanned_);
    if (newline == std::string::npos) {
        scanned_ = buffer_.size();
        return std::nullopt;
    }
    std::size_t end = newline;
    if (end > begin_ && buffer_[end - 1] == '\r') --end;
    std::string line = buffer_.substr(begin_, end - begin_);
    begin_ = newline + 1;
    scanned_ = begin_;
    return line;
}

bool EventStreamReader::feed(std::string_view bytes) {
    return stream_.feed(bytes, [this](const StreamEvent& event) {
        if (!event.data.empty()) ready_.push_back(event.data);
        return true;
    });
}

std::optional<std::string> EventStreamReader::next() {
    if (given_ == ready_.size()) return std::nullopt;
    return std::move(ready_[given_++]);
}

void EventStreamReader::end() { (void)feed("\n\n"); }

}  // namespace stele

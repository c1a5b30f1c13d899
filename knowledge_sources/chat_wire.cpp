#include "knowledge_sources/chat_wire.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <utility>

#include "knowledge_sources/chat_wire_support.hpp"

namespace stele {

const ChatWire& wire_of(ModelApi api) {
    switch (api) {
        case ModelApi::openai_chat:
            return openai_chat_wire();
        case ModelApi::openai_responses:
            return openai_responses_wire();
        case ModelApi::anthropic_messages:
            return anthropic_wire();
        case ModelApi::ollama_chat:
            return ollama_wire();
    }
    return openai_chat_wire();
}

// ---- strict schemas ----

namespace {

constexpr std::array<std::string_view, 20> strict_keywords = {"type",
                                                              "properties",
                                                              "required",
                                                              "additionalProperties",
                                                              "items",
                                                              "enum",
                                                              "const",
                                                              "anyOf",
                                                              "description",
                                                              "title",
                                                              "pattern",
                                                              "format",
                                                              "minimum",
                                                              "maximum",
                                                              "exclusiveMinimum",
                                                              "minItems",
                                                              "exclusiveMaximum",
                                                              "maxItems",
                                                              "multipleOf",
                                                              "$schema"};

Value nullable(Value schema) {
    const Value* type = schema.find("type");
    if (type != nullptr && type->is_string() && schema.find("enum") == nullptr && schema.find("const") == nullptr) {
        schema.set("type", Value(Value::Array{*type, Value("null")}));
        return schema;
    }
    return Value::object({{"anyOf", Value(Value::Array{std::move(schema), Value::object({{"type", "null"}})})}});
}

std::optional<Value> strict(const Value& schema) {
    if (!schema.is_object()) return std::nullopt;
    Value made = Value::object({});
    for (const auto& [key, value] : schema.as_object()) {
        if (std::find(strict_keywords.begin(), strict_keywords.end(), key) == strict_keywords.end())
            return std::nullopt;
        if (key == "$schema") continue;
        if (key == "anyOf") {
            if (!value.is_array()) return std::nullopt;
            Value::Array choices;
            for (const Value& choice : value.as_array()) {
                std::optional<Value> one = strict(choice);
                if (!one) return std::nullopt;
                choices.push_back(std::move(*one));
            }
            made.set(key, std::move(choices));
        } else if (key == "items") {
            std::optional<Value> items = strict(value);
            if (!items) return std::nullopt;
            made.set(key, std::move(*items));
        } else if (key != "properties" && key != "required" && key != "additionalProperties") {
            made.set(key, value);
        }
    }
    const Value* type = schema.find("type");
    const bool says_object = type != nullptr && type->is_string() && type->as_string() == "object";
    const Value* properties = schema.find("properties");
    if (!says_object && properties == nullptr) {
        // A list of anything, or anything at all, is more than strict mode knows.
        const bool is_list = type != nullptr && type->is_string() && type->as_string() == "array";
        const bool says_something = type != nullptr || schema.find("anyOf") != nullptr ||
                                    schema.find("enum") != nullptr || schema.find("const") != nullptr;
        if (!says_something || (is_list && schema.find("items") == nullptr)) return std::nullopt;
        return made;
    }
    const Value* open = schema.find("additionalProperties");
    if (properties == nullptr || !properties->is_object() || open == nullptr || !open->is_bool() || open->as_bool()) {
        return std::nullopt;
    }
    const Value* required = schema.find("required");
    Value::Array all;
    Value fields = Value::object({});
    for (const auto& [name, field] : properties->as_object()) {
        std::optional<Value> one = strict(field);
        if (!one) return std::nullopt;
        const bool must = required != nullptr && required->is_array() &&
                          std::find(required->as_array().begin(), required->as_array().end(), Value(name)) !=
                              required->as_array().end();
        fields.set(name, must ? std::move(*one) : nullable(std::move(*one)));
        all.emplace_back(name);
    }
    made.set("properties", std::move(fields));
    made.set("required", std::move(all));
    made.set("additionalProperties", false);
    return made;
}

}  // namespace

std::optional<Value> strict_schema(const Value& schema) { return strict(schema); }

std::optional<Value> closed_schema(const Value& schema) {
    constexpr std::array<std::string_view, 11> bounds = {"minimum",          "maximum",   "exclusiveMinimum", "$schema",
                                                         "exclusiveMaximum", "minLength", "maxLength",        "pattern",
                                                         "minItems",         "maxItems",  "multipleOf"};
    constexpr std::array<std::string_view, 5> unknown = {"oneOf", "allOf", "not", "if", "patternProperties"};
    if (!schema.is_object()) return std::nullopt;
    Value made = Value::object({});
    for (const auto& [key, value] : schema.as_object()) {
        if (std::find(unknown.begin(), unknown.end(), key) != unknown.end()) return std::nullopt;
        if (std::find(bounds.begin(), bounds.end(), key) != bounds.end()) continue;
        if (key == "properties" && value.is_object()) {
            Value fields = Value::object({});
            for (const auto& [name, field] : value.as_object()) {
                std::optional<Value> one = closed_schema(field);
                if (!one) return std::nullopt;
                fields.set(name, std::move(*one));
            }
            made.set(key, std::move(fields));
        } else if (key == "items") {
            std::optional<Value> items = closed_schema(value);
            if (!items) return std::nullopt;
            made.set(key, std::move(*items));
        } else if (key == "anyOf" && value.is_array()) {
            Value::Array choices;
            for (const Value& choice : value.as_array()) {
                std::optional<Value> one = closed_schema(choice);
                if (!one) return std::nullopt;
                choices.push_back(std::move(*one));
            }
            made.set(key, std::move(choices));
        } else {
            made.set(key, value);
        }
    }
    const Value* type = schema.find("type");
    if (type != nullptr && type->is_string() && type->as_string() == "object") {
        const Value* open = schema.find("additionalProperties");
        if (open == nullptr || !open->is_bool() || open->as_bool()) return std::nullopt;
    }
    return made;
}

// ---- fields ----

const Value* member(const Value* value, std::string_view key) { return value == nullptr ? nullptr : value->find(key); }

const Value* element(const Value* value, std::size_t index) {
    if (value == nullptr || !value->is_array() || index >= value->as_array().size()) return nullptr;
    return &value->as_array()[index];
}

std::string text_in(const Value* value, std::string_view key) {
    const Value* found = member(value, key);
    return found != nullptr && found->is_string() ? found->as_string() : std::string();
}

bool has_count(const Value* value, std::string_view key) {
    const Value* found = member(value, key);
    return found != nullptr && found->is_int() && found->as_int() >= 0;
}

std::uint64_t count_in(const Value* value, std::string_view key) {
    return has_count(value, key) ? static_cast<std::uint64_t>(member(value, key)->as_int()) : 0;
}

std::string short_text(std::string_view text) {
    constexpr std::size_t shown_max = 300;
    std::string shown;
    for (const char c : text.substr(0, shown_max)) {
        const bool blank = static_cast<unsigned char>(c) <= 0x20;
        if (!blank) shown += c;
        if (blank && !shown.empty() && shown.back() != ' ') shown += ' ';
    }
    if (text.size() > shown_max) {
        while (!shown.empty() && (static_cast<unsigned char>(shown.back()) & 0xC0U) == 0x80U) shown.pop_back();
        shown += "...";
    }
    while (!shown.empty() && shown.back() == ' ') shown.pop_back();
    return shown;
}

void merge_options(Value& body, const Value& options) {
    if (!options.is_object()) return;
    for (const auto& [key, value] : options.as_object()) body.set(key, value);
}

// ---- times ----

std::optional<std::int64_t> duration_ms_from(std::string_view text) {
    double total = 0;
    if (text.empty()) return std::nullopt;
    while (!text.empty()) {
        double number = 0;
        const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (code != std::errc{} || !std::isfinite(number) || number < 0) return std::nullopt;
        text.remove_prefix(static_cast<std::size_t>(end - text.data()));
        if (text.substr(0, 2) == "ms") {
            total += number;
            text.remove_prefix(2);
        } else if (text.empty() || text.front() == 's') {
            total += number * 1'000;
            if (!text.empty()) text.remove_prefix(1);
        } else if (text.front() == 'm') {
            total += number * 60'000;
            text.remove_prefix(1);
        } else if (text.front() == 'h') {
            total += number * 3'600'000;
            text.remove_prefix(1);
        } else {
            return std::nullopt;
        }
    }
    constexpr double most = 1e15;
    return total > most ? std::nullopt : std::optional<std::int64_t>(std::llround(total));
}

namespace {

bool read_number(std::string_view& text, std::size_t digits, int& number) {
    if (text.size() < digits) return false;
    const auto [end, code] = std::from_chars(text.data(), text.data() + digits, number);
    if (code != std::errc{} || end != text.data() + digits) return false;
    text.remove_prefix(digits);
    return true;
}

bool read_mark(std::string_view& text, char mark) {
    if (text.empty() || text.front() != mark) return false;
    text.remove_prefix(1);
    return true;
}

std::optional<std::int64_t> unix_ms(int year, int month, int day, int hour, int minute, int second) {
    if (year < 1970 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31) return std::nullopt;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) return std::nullopt;
    std::tm parts{};
    parts.tm_year = year - 1900;
    parts.tm_mon = month - 1;
    parts.tm_mday = day;
    parts.tm_hour = hour;
    parts.tm_min = minute;
    parts.tm_sec = second;
    return static_cast<std::int64_t>(timegm(&parts)) * 1'000;
}

std::optional<std::int64_t> rfc3339_ms(std::string_view text) {
    int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
    if (!read_number(text, 4, year) || !read_mark(text, '-') || !read_number(text, 2, month) || !read_mark(text, '-') ||
        !read_number(text, 2, day) || text.empty()) {
        return std::nullopt;
    }
    text.remove_prefix(1);
    if (!read_number(text, 2, hour) || !read_mark(text, ':') || !read_number(text, 2, minute) ||
        !read_mark(text, ':') || !read_number(text, 2, second)) {
        return std::nullopt;
    }
    std::optional<std::int64_t> time = unix_ms(year, month, day, hour, minute, second);
    if (!time) return std::nullopt;
    if (read_mark(text, '.')) {
        int factor = 100;
        while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
            *time += (text.front() - '0') * factor;
            factor /= 10;
            text.remove_prefix(1);
        }
    }
    if (text == "Z" || text == "z") return time;
    if (text.empty() || (text.front() != '+' && text.front() != '-')) return std::nullopt;
    const int sign = text.front() == '-' ? 1 : -1;
    text.remove_prefix(1);
    int hours = 0, minutes = 0;
    if (!read_number(text, 2, hours) || !read_mark(text, ':') || !read_number(text, 2, minutes) || !text.empty()) {
        return std::nullopt;
    }
    return *time + sign * (hours * 3'600'000LL + minutes * 60'000LL);
}

// "Wed, 21 Oct 2015 07:28:00 GMT"
std::optional<std::int64_t> http_date_ms(std::string_view text) {
    constexpr std::array<std::string_view, 12> months = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const std::size_t comma = text.find(", ");
    if (comma == std::string_view::npos) return std::nullopt;
    text.remove_prefix(comma + 2);
    int day = 0, year = 0, hour = 0, minute = 0, second = 0;
    if (!read_number(text, 2, day) || !read_mark(text, ' ') || text.size() < 4) return std::nullopt;
    const auto month = std::find(months.begin(), months.end(), text.substr(0, 3));
    if (month == months.end()) return std::nullopt;
    text.remove_prefix(3);
    if (!read_mark(text, ' ') || !read_number(text, 4, year) || !read_mark(text, ' ') || !read_number(text, 2, hour) ||
        !read_mark(text, ':') || !read_number(text, 2, minute) || !read_mark(text, ':') ||
        !read_number(text, 2, second)) {
        return std::nullopt;
    }
    return unix_ms(year, static_cast<int>(month - months.begin()) + 1, day, hour, minute, second);
}

}  // namespace

std::optional<std::int64_t> time_ms_from(std::string_view text) {
    if (const std::optional<std::int64_t> time = rfc3339_ms(text)) return time;
    return http_date_ms(text);
}

std::optional<std::int64_t> retry_after_ms(const HttpHead& head, std::int64_t now_ms) {
    for (const auto& [name, unit] : {std::pair<const char*, double>{"retry-after-ms", 1}, {"retry-after", 1'000}}) {
        const std::string* text = head.find(name);
        if (text == nullptr) continue;
        double number = 0;
        const auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), number);
        if (code == std::errc{} && end == text->data() + text->size() && number >= 0 && number < 1e12) {
            return std::llround(number * unit);
        }
        if (const std::optional<std::int64_t> time = time_ms_from(*text))
            return std::max<std::int64_t>(0, *time - now_ms);
    }
    return std::nullopt;
}

// ---- errors ----

namespace {

bool holds(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

struct ErrorText {
    std::string message;
    std::string type;
    std::string code;
};

ErrorText read_error(const Value& body) {
    ErrorText text;
    const Value* error = body.find("error");
    if (error == nullptr) error = &body;
    if (error->is_string()) {
        text.message = error->as_string();
        return text;
    }
    for (const char* key : {"message", "detail", "error"}) {
        if (text.message.empty()) text.message = text_in(error, key);
    }
    text.type = text_in(error, "type");
    const Value* code = error->find("code");
    if (code != nullptr && code->is_string()) text.code = code->as_string();
    return text;
}

std::optional<ChatErrorKind> kind_by_words(const ErrorText& text) {
    for (const std::string* word : {&text.code, &text.type}) {
        if (holds(*word, "insufficient_quota") || holds(*word, "billing")) return ChatErrorKind::quota;
        if (holds(*word, "context_length_exceeded") || holds(*word, "exceed_context_size")) {
            return ChatErrorKind::context_overflow;
        }
        if (holds(*word, "invalid_api_key") || holds(*word, "authentication") || holds(*word, "permission")) {
            return ChatErrorKind::authentication;
        }
        if (holds(*word, "rate_limit")) return ChatErrorKind::rate_limited;
        if (holds(*word, "overloaded") || holds(*word, "unavailable")) return ChatErrorKind::overloaded;
        if (holds(*word, "not_found")) return ChatErrorKind::not_found;
        if (*word == "server_error" || *word == "api_error") return ChatErrorKind::server;
    }
    for (const char* words : {"context length", "maximum context", "context window", "prompt is too long",
                              "available context size", "too many tokens"}) {
        if (holds(text.message, words)) return ChatErrorKind::context_overflow;
    }
    return std::nullopt;
}

ChatErrorKind kind_by_status(int status) {
    switch (status) {
        case 401:
        case 403:
            return ChatErrorKind::authentication;
        case 402:
            return ChatErrorKind::quota;
        case 404:
            return ChatErrorKind::not_found;
        case 429:
            return ChatErrorKind::rate_limited;
        case 503:
        case 529:
            return ChatErrorKind::overloaded;
        default:
            break;
    }
    if (status >= 500) return ChatErrorKind::server;
    if (status >= 400) return ChatErrorKind::bad_request;
    return ChatErrorKind::malformed;
}

}  // namespace

ChatError error_from_answer(std::string_view who, const HttpHead& head, std::string_view body, std::int64_t now_ms) {
    ChatError error;
    error.status = head.status;
    error.kind = kind_by_status(head.status);
    error.message = std::string(who) + " answered " + std::to_string(head.status);
    const Result<Value> parsed = parse_json(body);
    if (parsed.ok()) {
        const ErrorText text = read_error(*parsed);
        // The words of a 200, 404 or 429 tell more than the number; a 5xx stays one whatever it says of itself.
        if (const std::optional<ChatErrorKind> kind = kind_by_words(text)) {
            const bool by_number =
                head.status == 401 || head.status == 403 || (head.status >= 500 && *kind != ChatErrorKind::overloaded);
            if (!by_number) error.kind = *kind;
        }
        const std::string& word = text.code.empty() ? text.type : text.code;
        if (!word.empty()) error.message += " " + short_text(word);
        if (!text.message.empty()) error.message += ": " + short_text(text.message);
    } else if (!body.empty()) {
        const std::size_t first = body.find_first_not_of(" \t\r\n");
        const bool is_page = first != std::string_view::npos && body[first] == '<';
        error.message += is_page ? " with a web page; is there a proxy in between?" : ": " + short_text(body);
    }
    error.retry_after_ms = retry_after_ms(head, now_ms);
    if (const std::string* should = head.find("x-should-retry")) {
        if (*should == "true") error.should_retry = true;
        if (*should == "false") error.should_retry = false;
    }
    if (error.kind == ChatErrorKind::quota) error.should_retry = false;
    return error;
}

ChatError error_from_object(std::string_view who, const Value& object) {
    const ErrorText text = read_error(object);
    ChatError error;
    error.kind = kind_by_words(text).value_or(ChatErrorKind::server);
    const std::string& word = text.code.empty() ? text.type : text.code;
    error.message = std::string(who) + " broke its answer off with an error";
    if (!word.empty()) error.message += " " + short_text(word);
    if (!text.message.empty()) error.message += ": " + short_text(text.message);
    return error;
}

void read_openai_rates(const HttpHead& head, RateHeaders& rates) {
    const auto count = [&](const char* name, std::optional<std::uint64_t>& target) {
        const std::string* text = head.find(name);
        std::uint64_t number = 0;
        if (text == nullptr) return;
        // Some send -1 for what they do not know.
        const auto [end, code] = std::from_chars(text->data(), text->data() + text->size(), number);
        if (code == std::errc{} && end == text->data() + text->size()) target = number;
    };
    const auto reset = [&](const char* name, std::optional<std::int64_t>& target) {
        if (const std::string* text = head.find(name)) target = duration_ms_from(*text);
    };
    count("x-ratelimit-limit-requests", rates.requests_limit);
    count("x-ratelimit-remaining-requests", rates.requests_remaining);
    reset("x-ratelimit-reset-requests", rates.requests_reset_ms);
    count("x-ratelimit-limit-tokens", rates.tokens_limit);
    count("x-ratelimit-remaining-tokens", rates.tokens_remaining);
    reset("x-ratelimit-reset-tokens", rates.tokens_reset_ms);
}

// ---- the skeleton of a decoder ----

void WireDecoder::head(const HttpHead& head) {
    head_ = head;
    read_rates(head, rates_);
    if (head.status < 200 || head.status > 299) return;
    const std::string* type = head.find("content-type");
    if (type == nullptr) return;
    if (type->rfind("text/event-stream", 0) == 0) framing_ = Framing::events;
    if (type->rfind("application/x-ndjson", 0) == 0) framing_ = Framing::lines;
}

bool WireDecoder::data(std::string_view bytes) {
    received_ += bytes.size();
    if (error_) return false;
    switch (framing_) {
        case Framing::whole:
            if (body_.size() + bytes.size() > limits::response_bytes_max) {
                return fail_malformed("more than " + std::to_string(limits::response_bytes_max) + " bytes");
            }
            body_.append(bytes);
            return true;
        case Framing::events: {
            const bool more = events_.feed(bytes, [this](const StreamEvent& event) { return on_event(event); });
            if (events_.is_too_long()) return fail_malformed("an event that is too long");
            return more;
        }
        case Framing::lines: {
            const bool more = lines_.feed(bytes, [this](std::string_view line) {
                return line.empty() || on_event({{}, std::string(line)});
            });
            if (lines_.is_too_long()) return fail_malformed("a line that is too long");
            return more;
        }
    }
    return false;
}

bool WireDecoder::fail(ChatError error) {
    if (!error_) error_ = std::move(error);
    return false;
}

bool WireDecoder::fail_malformed(std::string_view what) {
    ChatError error;
    error.kind = ChatErrorKind::malformed;
    error.message = who_ + " answered with " + std::string(what);
    return fail(std::move(error));
}

ChatResult WireDecoder::finish(const HttpEnd& end) {
    const auto finished = [&](ChatError error) -> ChatResult {
        error.received_bytes = head_ && head_->status >= 200 && head_->status <= 299 ? received_ : 0;
        error.usage = usage_;
        if (error.status == 0 && head_) error.status = head_->status;
        return error;
    };
    const auto broken = [&](ChatErrorKind kind, std::string message) {
        ChatError error;
        error.kind = kind;
        error.message = std::move(message);
        return finished(std::move(error));
    };
    if (error_) return finished(*error_);
    const bool is_good = head_ && head_->status >= 200 && head_->status <= 299;
    if (is_good && framing_ == Framing::lines && !lines_.rest().empty() && end.kind == HttpEndKind::complete) {
        // The last line may lack its line break.
        (void)on_event({{}, lines_.rest()});
        if (error_) return finished(*error_);
    }
    if (is_good && framing_ != Framing::whole && is_whole()) return take_response();
    switch (end.kind) {
        case HttpEndKind::cancelled:
            return broken(ChatErrorKind::cancelled, "was cancelled");
        case HttpEndKind::timeout:
        case HttpEndKind::idle_timeout:
            return broken(ChatErrorKind::timeout, end.message);
        case HttpEndKind::connect_failed:
        case HttpEndKind::tls_failed:
            return broken(ChatErrorKind::unreachable, end.message);
        case HttpEndKind::too_large:
        case HttpEndKind::malformed:
            return broken(ChatErrorKind::malformed, end.message);
        case HttpEndKind::closed_early:
        case HttpEndKind::stopped:
        case HttpEndKind::complete:
            break;
    }
    if (!head_) {
        return broken(end.nothing_sent ? ChatErrorKind::unreachable : ChatErrorKind::interrupted,
                      end.message.empty() ? who_ + " closed the connection without an answer" : end.message);
    }
    if (!is_good) {
        ChatError error = error_from_answer(who_, *head_, body_, now_ms_);
        adjust(error, *head_);
        return finished(std::move(error));
    }
    if (framing_ != Framing::whole) {
        return broken(ChatErrorKind::interrupted, who_ + " broke its answer off after " + std::to_string(received_) +
                                                      " bytes" + (end.message.empty() ? "" : ": " + end.message));
    }
    if (end.kind != HttpEndKind::complete) {
        return broken(ChatErrorKind::interrupted,
                      who_ + " broke its answer off after " + std::to_string(received_) + " bytes");
    }
    const Result<Value> body = parse_json(body_);
    if (!body.ok() || !body->is_object()) {
        const std::size_t first = body_.find_first_not_of(" \t\r\n");
        const bool is_page = first != std::string::npos && body_[first] == '<';
        return broken(ChatErrorKind::malformed,
                      who_ + (is_page ? " answered with a web page; is there a proxy in between?"
                                      : " answered with what is no JSON object: " + short_text(body_)));
    }
    if (const Value* error = body->find("error"); error != nullptr && !error->is_null()) {
        return finished(error_from_object(who_, *body));
    }
    on_body(*body);
    if (error_) return finished(*error_);
    if (!is_whole()) return broken(ChatErrorKind::malformed, who_ + " answered with JSON that is no answer of its API");
    return take_response();
}

}  // namespace stele

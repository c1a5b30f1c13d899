#include <algorithm>
#include <map>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "board/limits.hpp"
#include "knowledge_sources/mcp_transport.hpp"

namespace stele {

namespace {

constexpr std::int64_t close_timeout_ms = 2'000;
constexpr std::size_t error_bytes_shown = 200;

/// One POST and what came of it so far.
struct Exchange {
    std::unique_ptr<HttpExchange> http;
    std::optional<std::int64_t> id;
    bool opens_session = false;
    std::string session;
    int status = 0;
    bool is_stream = false;
    EventStreamReader events{limits::response_line_bytes_max};
    std::string body;
    bool answered = false;
    bool in_bounds = true;
    bool in_callback = false;
};

struct HttpState {
    McpTransportEvents events;
    std::string url;
    HttpHeaders headers;
    std::string session;
    std::map<std::uint64_t, std::shared_ptr<Exchange>> exchanges;
    std::uint64_t last_number = 0;
    std::unique_ptr<HttpExchange> closing;
};

std::string base64_of(std::string_view bytes) {
    constexpr const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        std::uint32_t group = 0;
        for (std::size_t i = 0; i < 3; ++i) {
            group = group << 8 | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0U);
        }
        const std::size_t known = std::min<std::size_t>(bytes.size() - at, 3);
        for (std::size_t i = 0; i < 4; ++i) {
            text += i <= known ? digits[group >> (18 - 6 * i) & 63U] : '=';
        }
    }
    return text;
}

/// Answers to a request are its own whatever id they bear: errors often bear none.
void tell(HttpState& state, Exchange& exchange, RpcMessage message) {
    const bool is_answer = message.kind == RpcMessage::Kind::result || message.kind == RpcMessage::Kind::error;
    if (is_answer) {
        if (!exchange.id || exchange.answered) return;
        if (message.id.is_null()) message.id = *exchange.id;
        if (message.id != Value(*exchange.id)) return;
        exchange.answered = true;
    }
    const std::function<void(const RpcMessage&)> told = state.events.message;
    if (told) told(message);
}

bool tell_all(HttpState& state, Exchange& exchange, std::string_view text) {
    Result<std::vector<RpcMessage>> messages = parse_rpc(text);
    if (!messages) return false;
    for (RpcMessage& message : *messages) tell(state, exchange, std::move(message));
    return true;
}

bool take_bytes(HttpState& state, Exchange& exchange, std::string_view bytes) {
    if (!exchange.is_stream) {
        exchange.in_bounds = exchange.body.size() + bytes.size() <= limits::response_line_bytes_max;
        if (exchange.in_bounds) exchange.body.append(bytes);
        return exchange.in_bounds;
    }
    exchange.in_bounds = exchange.events.feed(bytes);
    while (std::optional<std::string> data = exchange.events.next()) tell_all(state, exchange, *data);
    return exchange.in_bounds;
}

std::string failure_of(const Exchange& exchange, const HttpEnd& end) {
    if (!exchange.in_bounds) {
        return "answered more than " + std::to_string(limits::response_line_bytes_max) + " bytes at once";
    }
    if (end.kind != HttpEndKind::complete) return end.message.empty() ? to_text(end.kind) : end.message;
    std::string message = "answered with status " + std::to_string(exchange.status);
    if (exchange.status == 401 || exchange.status == 403) message += ", so it wants other credentials";
    if (exchange.status / 100 == 2) return message + " and nothing that is an answer";
    std::string_view shown = std::string_view(exchange.body).substr(0, error_bytes_shown);
    shown = shown.substr(0, shown.find_first_of("\r\n"));
    if (!shown.empty()) message += ": " + valid_utf8(shown);
    return message;
}

void finish_exchange(HttpState& state, Exchange& exchange, const HttpEnd& end) {
    if (end.kind == HttpEndKind::complete) {
        if (exchange.is_stream) {
            exchange.events.end();
            while (std::optional<std::string> data = exchange.events.next()) tell_all(state, exchange, *data);
        } else if (!(exchange.status == 404 && !exchange.session.empty())) {
            tell_all(state, exchange, exchange.body);
        }
    }
    if (!exchange.id || exchange.answered) return;
    McpFailure failure;
    failure.message = failure_of(exchange, end);
    failure.status = exchange.status;
    failure.session_lost = exchange.status == 404 && !exchange.session.empty();
    failure.session_renewed = failure.session_lost && exchange.session != state.session;
    const std::function<void(std::int64_t, const McpFailure&)> failed = state.events.failed;
    if (failed) failed(*exchange.id, failure);
}

void begin_exchange(HttpClient& http, const std::shared_ptr<HttpState>& state, HttpRequest request,
                    const std::shared_ptr<Exchange>& exchange) {
    const std::uint64_t number = ++state->last_number;
    state->exchanges[number] = exchange;
    HttpEvents events;
    events.head = [state, exchange](const HttpHead& head) {
        exchange->status = head.status;
        if (const std::string* type = head.find("content-type")) {
            std::string word = type->substr(0, type->find(';'));
            std::transform(word.begin(), word.end(), word.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
            word.erase(word.find_last_not_of(' ') + 1);
            exchange->is_stream = word == "text/event-stream";
        }
        const std::string* session = head.find("mcp-session-id");
        if (exchange->opens_session && session != nullptr && head.status / 100 == 2) state->session = *session;
    };
    events.data = [state, exchange, number](std::string_view bytes) {
        exchange->in_callback = true;
        const bool goes_on = take_bytes(*state, *exchange, bytes);
        exchange->in_callback = false;
        return goes_on && state->exchanges.count(number) > 0;
    };
    events.finished = [state, exchange, number](const HttpEnd& end) {
        exchange->in_callback = true;
        finish_exchange(*state, *exchange, end);
        state->exchanges.erase(number);
        // Kept to here, because this function is a part of it.
        const std::unique_ptr<HttpExchange> over = std::move(exchange->http);
    };
    exchange->http = http.start(std::move(request), std::move(events));
}

class HttpTransport : public McpTransport {
public:
    HttpTransport(boost::asio::io_context& loop, HttpClient& http, std::shared_ptr<HttpState> state)
        : loop_(loop), http_(http), state_(std::move(state)) {}

    ~HttpTransport() override {
        state_->events = McpTransportEvents{};
        drop_if([](const Exchange&) { return true; });
        state_->closing.reset();
    }

    void send(McpOutgoing outgoing) override {
        if (outgoing.opens_session) state_->session.clear();
        HttpRequest request = request_of("POST", outgoing.timeout_ms);
        request.headers.emplace_back("Content-Type", "application/json");
        request.headers.emplace_back("Accept", "application/json, text/event-stream");
        for (auto& header : outgoing.headers) request.headers.push_back(std::move(header));
        request.body = std::move(outgoing.text);
        auto exchange = std::make_shared<Exchange>();
        exchange->id = outgoing.id;
        exchange->opens_session = outgoing.opens_session;
        exchange->session = state_->session;
        begin_exchange(http_, state_, std::move(request), exchange);
    }

    bool drop(std::int64_t id) override {
        drop_if([id](const Exchange& exchange) { return exchange.id == id; });
        return true;
    }

    void close(std::function<void()> done) override {
        state_->events = McpTransportEvents{};
        drop_if([](const Exchange&) { return true; });
        if (state_->session.empty()) {
            boost::asio::post(loop_, std::move(done));
            return;
        }
        HttpEvents events;
        // Whatever it answers: it need not let its sessions be ended.
        events.finished = [&loop = loop_, done = std::move(done)](const HttpEnd&) { boost::asio::post(loop, done); };
        state_->closing = http_.start(request_of("DELETE", close_timeout_ms), std::move(events));
    }

    std::string last_words() const override { return {}; }

private:
    HttpRequest request_of(const char* method, std::int64_t timeout_ms) const {
        HttpRequest request;
        request.method = method;
        request.url = state_->url;
        request.headers = state_->headers;
        if (!state_->session.empty()) request.headers.emplace_back("Mcp-Session-Id", state_->session);
        request.timeout_ms = timeout_ms;
        request.idle_timeout_ms = timeout_ms;
        return request;
    }

    template <class Unwanted>
    void drop_if(Unwanted unwanted) {
        for (auto at = state_->exchanges.begin(); at != state_->exchanges.end();) {
            const std::shared_ptr<Exchange> exchange = at->second;
            if (!unwanted(*exchange)) {
                ++at;
                continue;
            }
            at = state_->exchanges.erase(at);
            exchange->answered = true;
            // In a callback of its own it ends by what that returns.
            if (!exchange->in_callback) {
                const std::unique_ptr<HttpExchange> over = std::move(exchange->http);
            }
        }
    }

    boost::asio::io_context& loop_;
    HttpClient& http_;
    std::shared_ptr<HttpState> state_;
};

}  // namespace

std::unique_ptr<McpTransport> make_mcp_http(boost::asio::io_context& loop, HttpClient& http, std::string url,
                                            HttpHeaders headers, McpTransportEvents events) {
    auto state = std::make_shared<HttpState>();
    state->events = std::move(events);
    state->url = std::move(url);
    state->headers = std::move(headers);
    return std::make_unique<HttpTransport>(loop, http, std::move(state));
}

std::string mcp_header_value(const std::string& text) {
    const bool padded =
        !text.empty() && (text.front() == ' ' || text.back() == ' ' || text.front() == '\t' || text.back() == '\t');
    const bool plain =
        std::all_of(text.begin(), text.end(), [](char c) { return (c >= 0x20 && c < 0x7f) || c == '\t'; });
    const bool looks_marked = text.starts_with("=?base64?") && text.ends_with("?=");
    if (plain && !padded && !looks_marked) return text;
    return "=?base64?" + base64_of(text) + "?=";
}

}  // namespace stele

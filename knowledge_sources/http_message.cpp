#include "knowledge_sources/http_message.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

#include "board/limits.hpp"
#include "knowledge_sources/inflate.hpp"

namespace stele {

namespace {

namespace http = boost::beast::http;
using ErrorOf = boost::system::error_code;
using BeastText = boost::beast::string_view;

constexpr int interim_answers_max = 32;
/// Compression makes tiny bodies longer.
constexpr std::size_t encoding_bytes_more_max = 1'024;

std::string_view text_of(BeastText text) { return {text.data(), text.size()}; }

std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return out;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

const std::string* find_header(const HttpHeaders& headers, std::string_view name) {
    for (const auto& [known, value] : headers) {
        if (known == name) return &value;
    }
    return nullptr;
}

bool is_too_large(const ErrorOf& error) {
    return error == http::error::header_limit || error == http::error::body_limit ||
           error == http::error::buffer_overflow;
}

/// Ends a parse from within a callback; who set it has noted why.
ErrorOf stop_parsing() { return boost::system::errc::make_error_code(boost::system::errc::operation_canceled); }

/// Beast's parser with everything that it finds sent to `Owner`.
template <bool isRequest, class Owner>
class Parser : public http::basic_parser<isRequest> {
public:
    explicit Parser(Owner& owner) : owner_(owner) {
        this->eager(true);
        this->header_limit(static_cast<std::uint32_t>(limits::response_head_bytes_max));
        this->body_limit(boost::none);
    }

private:
    void on_request_impl(http::verb, BeastText method, BeastText target, int, ErrorOf& error) override {
        error = {};
        if constexpr (isRequest) owner_.on_request(text_of(method), text_of(target));
    }
    void on_response_impl(int status, BeastText, int, ErrorOf& error) override {
        error = {};
        if constexpr (!isRequest) owner_.on_status(status);
    }
    void on_field_impl(http::field, BeastText name, BeastText value, ErrorOf& error) override {
        error = {};
        if (!is_headed_) owner_.on_field(text_of(name), text_of(value));
    }
    void on_header_impl(ErrorOf& error) override {
        is_headed_ = true;
        error = owner_.on_head() ? ErrorOf{} : stop_parsing();
    }
    void on_body_init_impl(const boost::optional<std::uint64_t>&, ErrorOf& error) override { error = {}; }
    std::size_t on_body_impl(BeastText body, ErrorOf& error) override {
        error = owner_.on_body(text_of(body)) ? ErrorOf{} : stop_parsing();
        return body.size();
    }
    void on_chunk_header_impl(std::uint64_t, BeastText, ErrorOf& error) override { error = {}; }
    std::size_t on_chunk_body_impl(std::uint64_t, BeastText body, ErrorOf& error) override {
        error = owner_.on_body(text_of(body)) ? ErrorOf{} : stop_parsing();
        return body.size();
    }
    void on_finish_impl(ErrorOf& error) override { error = {}; }

    Owner& owner_;
    bool is_headed_ = false;  // what comes later in the form of a field is a trailer
};

}  // namespace

const std::string* HttpHead::find(std::string_view name) const { return find_header(headers, name); }
const std::string* ReceivedRequest::find(std::string_view name) const { return find_header(headers, name); }

// ---- answers ----

struct HttpAnswerReader::Reading {
    Reading(Options given, Events told) : options(given), events(std::move(told)) { begin_message(); }

    void feed(std::string_view bytes);
    std::size_t consume(std::string_view bytes);
    void end();
    void begin_message();
    void complete_message();
    void settle(State verdict, std::string why) {
        state = verdict;
        problem = std::move(why);
    }
    void settle_as_too_long() {
        settle(State::too_large,
               "its body is longer than the " + std::to_string(options.body_bytes_max) + " bytes that are allowed");
    }

    void on_status(int status) { head.status = status; }
    void on_field(std::string_view name, std::string_view value) { head.headers.emplace_back(lower(name), value); }
    bool on_head();
    bool on_body(std::string_view bytes);
    bool choose_encoding();
    bool hand_on(std::string_view bytes);

    Options options;
    Events events;
    std::optional<Parser<false, Reading>> parser;
    std::optional<Inflater> inflater;
    HttpHead head;
    State state = State::more;
    std::string problem;
    std::string waiting;  // the beginning of a head or of a chunk's line
    std::uint64_t encoded_bytes = 0;
    std::uint64_t body_bytes = 0;
    int interim_answers = 0;
    bool is_interim = false;
    bool keeps_connection = false;
    bool has_more = false;
};

HttpAnswerReader::HttpAnswerReader(Options options, Events events)
    : reading_(std::make_unique<Reading>(options, std::move(events))) {}
HttpAnswerReader::~HttpAnswerReader() = default;

HttpAnswerReader::State HttpAnswerReader::feed(std::string_view bytes) {
    reading_->feed(bytes);
    return reading_->state;
}

HttpAnswerReader::State HttpAnswerReader::end() {
    reading_->end();
    return reading_->state;
}

HttpAnswerReader::State HttpAnswerReader::state() const { return reading_->state; }
const std::string& HttpAnswerReader::problem() const { return reading_->problem; }
bool HttpAnswerReader::has_more_than_answer() const { return reading_->has_more; }
bool HttpAnswerReader::is_reusable() const {
    return reading_->state == State::complete && reading_->keeps_connection && !reading_->has_more;
}

void HttpAnswerReader::Reading::feed(std::string_view bytes) {
    if (bytes.empty()) return;
    if (state != State::more) {
        has_more = true;
        return;
    }
    if (waiting.empty()) {
        waiting = bytes.substr(consume(bytes));
    } else {
        waiting += bytes;
        waiting.erase(0, consume(waiting));
    }
    if (state == State::complete && !waiting.empty()) has_more = true;
    if (state == State::more && waiting.size() > limits::response_head_bytes_max) {
        settle(State::too_large,
               "a head or a chunk's line is longer than " + std::to_string(limits::response_head_bytes_max) + " bytes");
    }
}

/// How many of the bytes are done with.
std::size_t HttpAnswerReader::Reading::consume(std::string_view bytes) {
    std::size_t consumed = 0;
    while (state == State::more && consumed < bytes.size()) {
        ErrorOf error;
        const std::size_t count =
            parser->put(boost::asio::const_buffer(bytes.data() + consumed, bytes.size() - consumed), error);
        consumed += count;
        if (state != State::more) break;
        if (error && error != http::error::need_more) {
            if (is_too_large(error)) {
                settle(State::too_large,
                       "its head is longer than " + std::to_string(limits::response_head_bytes_max) + " bytes");
            } else {
                settle(State::malformed, error.message());
            }
            break;
        }
        if (parser->is_done()) {
            complete_message();
            continue;
        }
        if (error == http::error::need_more || count == 0) break;
    }
    return consumed;
}

void HttpAnswerReader::Reading::end() {
    if (state != State::more) return;
    const bool headed = parser->is_header_done() && !is_interim;
    ErrorOf error;
    if (headed) parser->put_eof(error);
    if (!headed || error || !parser->is_done()) {
        settle(State::closed_early, headed ? "its body is cut" : "its head is cut");
        return;
    }
    complete_message();
    // What a length vouches for and is broken is the sender's fault; here the rest may be on its way no more.
    if (state == State::malformed && inflater && inflater->state() == Inflater::State::more) {
        settle(State::closed_early, "its body is cut");
    }
}

void HttpAnswerReader::Reading::begin_message() {
    parser.emplace(*this);
    parser->skip(options.head_only);
    head = HttpHead{};
    is_interim = false;
}

void HttpAnswerReader::Reading::complete_message() {
    if (is_interim) {
        if (++interim_answers > interim_answers_max) {
            settle(State::malformed, "there is no end to its interim answers");
            return;
        }
        begin_message();
        return;
    }
    if (inflater && encoded_bytes > 0 && inflater->state() != Inflater::State::complete) {
        settle(State::malformed, "its compressed body ends before its end");
        return;
    }
    keeps_connection = parser->keep_alive();
    settle(State::complete, {});
}

bool HttpAnswerReader::Reading::on_head() {
    if (head.status == 101) {
        settle(State::malformed, "it changes to a protocol that nobody asked for");
        return false;
    }
    is_interim = head.status / 100 == 1;
    if (is_interim) return true;
    if (!choose_encoding()) return false;
    const auto length = parser->content_length();
    if (!inflater && !parser->is_done() && length && *length > options.body_bytes_max) {
        settle_as_too_long();
        return false;
    }
    if (!events.head || events.head(head)) return true;
    settle(State::stopped, {});
    return false;
}

bool HttpAnswerReader::Reading::choose_encoding() {
    for (const auto& [name, value] : head.headers) {
        const std::string encoding = lower(trimmed(value));
        if (name == "transfer-encoding" && encoding != "chunked" && !options.head_only) {
            settle(State::malformed, "its body has a transfer encoding other than chunked");
            return false;
        }
        if (name != "content-encoding" || encoding.empty() || encoding == "identity" || options.head_only) continue;
        const bool is_gzip = encoding == "gzip" || encoding == "x-gzip";
        if (inflater || (!is_gzip && encoding != "deflate")) {
            settle(State::malformed, "its body is encoded in a way that nobody asked for");
            return false;
        }
        inflater.emplace(is_gzip ? Inflater::Coding::gzip : Inflater::Coding::deflate);
    }
    return true;
}

bool HttpAnswerReader::Reading::on_body(std::string_view bytes) {
    if (bytes.empty()) return true;
    if (!inflater) return hand_on(bytes);
    encoded_bytes += bytes.size();
    // A body may also be long and stand for nothing.
    if (encoded_bytes > std::uint64_t{options.body_bytes_max} + encoding_bytes_more_max) {
        settle_as_too_long();
        return false;
    }
    const Inflater::State unpacked = inflater->feed(bytes, [this](std::string_view piece) { return hand_on(piece); });
    if (unpacked == Inflater::State::broken) settle(State::malformed, "its compressed body is broken");
    return state == State::more;
}

bool HttpAnswerReader::Reading::hand_on(std::string_view bytes) {
    body_bytes += bytes.size();
    if (body_bytes > options.body_bytes_max) {
        settle_as_too_long();
        return false;
    }
    if (!events.data || events.data(bytes)) return true;
    settle(State::stopped, {});
    return false;
}

// ---- requests ----

struct HttpRequestReader::Reading {
    explicit Reading(std::size_t bytes_max) : body_bytes_max(bytes_max) { begin_message(); }

    void consume();
    void begin_message() {
        parser.emplace(*this);
        request = ReceivedRequest{};
        is_begun = false;
        wishes_to_continue = false;
        state = State::more;
    }

    void on_request(std::string_view method, std::string_view target) {
        request.method = method;
        request.target = target;
    }
    void on_field(std::string_view name, std::string_view value) { request.headers.emplace_back(lower(name), value); }
    bool on_head();
    bool on_body(std::string_view bytes);

    std::size_t body_bytes_max;
    std::optional<Parser<true, Reading>> parser;
    ReceivedRequest request;
    State state = State::more;
    std::string waiting;
    bool is_begun = false;
    bool keeps_connection = false;
    bool wishes_to_continue = false;
};

HttpRequestReader::HttpRequestReader(std::size_t body_bytes_max)
    : reading_(std::make_unique<Reading>(body_bytes_max)) {}
HttpRequestReader::~HttpRequestReader() = default;

HttpRequestReader::State HttpRequestReader::feed(std::string_view bytes) {
    reading_->waiting += bytes;
    reading_->consume();
    return reading_->state;
}

ReceivedRequest HttpRequestReader::take() {
    ReceivedRequest request = std::move(reading_->request);
    reading_->begin_message();
    reading_->consume();
    return request;
}

HttpRequestReader::State HttpRequestReader::state() const { return reading_->state; }
bool HttpRequestReader::is_begun() const { return reading_->is_begun; }
bool HttpRequestReader::keeps_connection() const { return reading_->keeps_connection; }
bool HttpRequestReader::take_wish_to_continue() { return std::exchange(reading_->wishes_to_continue, false); }

void HttpRequestReader::Reading::consume() {
    std::size_t consumed = 0;
    while (state == State::more && consumed < waiting.size()) {
        is_begun = true;
        ErrorOf error;
        const std::size_t count =
            parser->put(boost::asio::const_buffer(waiting.data() + consumed, waiting.size() - consumed), error);
        consumed += count;
        if (state != State::more) break;
        if (error && error != http::error::need_more) {
            state = is_too_large(error) ? State::head_too_large : State::malformed;
        } else if (parser->is_done()) {
            state = State::complete;
            keeps_connection = parser->keep_alive();
            wishes_to_continue = false;
        } else if (error == http::error::need_more || count == 0) {
            break;
        }
    }
    waiting.erase(0, consumed);
    if (state == State::more && waiting.size() > limits::response_head_bytes_max) state = State::head_too_large;
}

bool HttpRequestReader::Reading::on_head() {
    const std::string* encoding = request.find("transfer-encoding");
    if (encoding != nullptr && lower(trimmed(*encoding)) != "chunked") {
        state = State::malformed;
        return false;
    }
    const auto length = parser->content_length();
    if (length && *length > body_bytes_max) {
        state = State::body_too_large;
        return false;
    }
    const std::string* expectation = request.find("expect");
    wishes_to_continue = expectation != nullptr && lower(trimmed(*expectation)) == "100-continue";
    return true;
}

bool HttpRequestReader::Reading::on_body(std::string_view bytes) {
    if (bytes.size() > body_bytes_max - request.body.size()) {
        state = State::body_too_large;
        return false;
    }
    request.body += bytes;
    return true;
}

}  // namespace stele

#include "knowledge_sources/http_listener.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <set>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

#include "knowledge_sources/http_message.hpp"
#include "knowledge_sources/http_route.hpp"

namespace stele {

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Milliseconds = std::chrono::milliseconds;
using ErrorOf = boost::system::error_code;
using Answer = std::function<HttpReply(const ReceivedRequest&)>;

constexpr std::size_t read_bytes = 8U << 10;
constexpr Milliseconds accept_pause{100};
/// A refusal reaches who is still sending only if what he sends is read for a while.
constexpr Milliseconds linger_wait{1'000};
constexpr std::size_t linger_bytes_max = 1U << 20;

const char* reason_of(int status) {
    switch (status) {
        case 200:
            return "OK";
        case 202:
            return "Accepted";
        case 204:
            return "No Content";
        case 400:
            return "Bad Request";
        case 401:
            return "Unauthorized";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 408:
            return "Request Timeout";
        case 409:
            return "Conflict";
        case 410:
            return "Gone";
        case 413:
            return "Content Too Large";
        case 431:
            return "Request Header Fields Too Large";
        case 500:
            return "Internal Server Error";
        case 503:
            return "Service Unavailable";
        default:
            return "Status";
    }
}

bool is_bodiless(int status) { return status / 100 == 1 || status == 204 || status == 304; }

std::string reply_text(const HttpReply& reply, bool keeps_connection, bool is_head_request) {
    std::string text = "HTTP/1.1 " + std::to_string(reply.status) + " " + reason_of(reply.status) + "\r\n";
    for (const auto& [name, value] : reply.headers) {
        // What a reply repeats of a request must not write headers of its own.
        constexpr std::string_view breaks("\r\n\0", 3);
        if ((name + value).find_first_of(breaks) != std::string::npos) continue;
        text += name + ": " + value + "\r\n";
    }
    if (!is_bodiless(reply.status)) text += "Content-Length: " + std::to_string(reply.body.size()) + "\r\n";
    text += keeps_connection ? "\r\n" : "Connection: close\r\n\r\n";
    if (!is_bodiless(reply.status) && !is_head_request) text += reply.body;
    return text;
}

// ---- one connection ----

class Session;

/// What the sessions of a listener share; outlives it until the last handler has run.
struct Sessions {
    ListenOptions options;
    Answer answer;
    std::set<std::shared_ptr<Session>> all;
    std::function<void()> on_room;
    bool is_closed = false;
};

class Session : public std::enable_shared_from_this<Session> {
public:
    Session(tcp::socket socket, std::shared_ptr<Sessions> sessions)
        : socket_(std::move(socket)),
          timer_(socket_.get_executor()),
          sessions_(std::move(sessions)),
          reader_(sessions_->options.body_bytes_max) {}

    void begin() {
        wait(Milliseconds(std::max<std::int64_t>(0, sessions_->options.request_timeout_ms)));
        read();
    }
    void close() {
        is_over_ = true;
        ErrorOf ignored;
        socket_.close(ignored);
        timer_.cancel();
    }

private:
    void read();
    void on_bytes(HttpRequestReader::State state);
    void answer();
    void refuse(int status, std::string why);
    void write(std::string text, bool keeps_connection);
    void go_on();
    void linger();
    void wait(Milliseconds time);
    void on_timeout();
    void leave();

    tcp::socket socket_;
    asio::steady_timer timer_;
    std::shared_ptr<Sessions> sessions_;
    HttpRequestReader reader_;
    std::array<char, read_bytes> buffer_;
    std::string text_;
    std::size_t lingered_bytes_ = 0;
    bool is_replying_ = false;
    bool is_over_ = false;
};

void Session::read() {
    socket_.async_read_some(asio::buffer(buffer_), [self = shared_from_this()](const ErrorOf& error, std::size_t size) {
        if (self->is_over_ || self->is_replying_) return;
        if (error) {
            self->leave();
            return;
        }
        self->on_bytes(self->reader_.feed(std::string_view(self->buffer_.data(), size)));
    });
}

void Session::on_bytes(HttpRequestReader::State state) {
    switch (state) {
        case HttpRequestReader::State::complete:
            answer();
            return;
        case HttpRequestReader::State::head_too_large:
            refuse(431, "the head of the request is too large\n");
            return;
        case HttpRequestReader::State::body_too_large:
            refuse(413, "the body of the request is longer than " + std::to_string(sessions_->options.body_bytes_max) +
                            " bytes\n");
            return;
        case HttpRequestReader::State::malformed:
            refuse(400, "this is no HTTP/1.1 request\n");
            return;
        case HttpRequestReader::State::more:
            break;
    }
    if (!reader_.take_wish_to_continue()) {
        read();
        return;
    }
    text_ = "HTTP/1.1 100 Continue\r\n\r\n";
    asio::async_write(socket_, asio::buffer(text_), [self = shared_from_this()](const ErrorOf& error, std::size_t) {
        if (self->is_over_ || self->is_replying_) return;
        if (error) {
            self->leave();
        } else {
            self->read();
        }
    });
}

void Session::answer() {
    // With many connections each is for one request, so that idle ones do not keep others out.
    const bool keeps_connection =
        reader_.keeps_connection() && sessions_->all.size() * 2 <= sessions_->options.connections_max;
    const ReceivedRequest request = reader_.take();
    const std::shared_ptr<Sessions> sessions = sessions_;
    const HttpReply reply = sessions->answer(request);
    if (is_over_) return;
    write(reply_text(reply, keeps_connection, request.method == "HEAD"), keeps_connection);
}

void Session::refuse(int status, std::string why) {
    HttpReply reply;
    reply.status = status;
    reply.headers = {{"Content-Type", "text/plain; charset=utf-8"}};
    reply.body = std::move(why);
    write(reply_text(reply, false, false), false);
}

void Session::write(std::string text, bool keeps_connection) {
    is_replying_ = true;
    text_ = std::move(text);
    wait(Milliseconds(std::max<std::int64_t>(0, sessions_->options.request_timeout_ms)));
    asio::async_write(socket_, asio::buffer(text_),
                      [self = shared_from_this(), keeps_connection](const ErrorOf& error, std::size_t) {
                          if (self->is_over_) return;
                          if (error) {
                              self->leave();
                          } else if (keeps_connection) {
                              self->go_on();
                          } else {
                              self->linger();
                          }
                      });
}

/// With the next request, which may be there already.
void Session::go_on() {
    is_replying_ = false;
    text_ = std::string();
    wait(Milliseconds(std::max<std::int64_t>(0, sessions_->options.request_timeout_ms)));
    on_bytes(reader_.state());
}

void Session::linger() {
    ErrorOf error;
    if (lingered_bytes_ == 0) {
        socket_.shutdown(tcp::socket::shutdown_send, error);
        wait(linger_wait);
    }
    socket_.async_read_some(asio::buffer(buffer_),
                            [self = shared_from_this()](const ErrorOf& failed, std::size_t size) {
                                if (self->is_over_) return;
                                self->lingered_bytes_ += size;
                                if (failed || self->lingered_bytes_ > linger_bytes_max) {
                                    self->leave();
                                } else {
                                    self->linger();
                                }
                            });
}

void Session::wait(Milliseconds time) {
    timer_.expires_after(time);
    timer_.async_wait([self = shared_from_this()](const ErrorOf& error) {
        if (!error && !self->is_over_) self->on_timeout();
    });
}

void Session::on_timeout() {
    if (is_replying_ || !reader_.is_begun()) {
        leave();
        return;
    }
    refuse(408, "the request did not come within its time\n");
}

void Session::leave() {
    close();
    const std::shared_ptr<Sessions> sessions = sessions_;
    sessions->all.erase(shared_from_this());
    if (!sessions->is_closed && sessions->on_room) sessions->on_room();
}

// ---- who accepts them ----

class Acceptor : public std::enable_shared_from_this<Acceptor> {
public:
    Acceptor(asio::io_context& loop, std::shared_ptr<Sessions> sessions)
        : acceptor_(loop), timer_(loop), sessions_(std::move(sessions)) {}

    Status open(const tcp::endpoint& endpoint);
    void accept();
    void close();
    [[nodiscard]] tcp::endpoint endpoint() const {
        ErrorOf ignored;
        return acceptor_.local_endpoint(ignored);
    }

private:
    void on_accepted(const ErrorOf& error, tcp::socket socket);

    tcp::acceptor acceptor_;
    asio::steady_timer timer_;
    std::shared_ptr<Sessions> sessions_;
    bool is_accepting_ = false;
};

Status Acceptor::open(const tcp::endpoint& endpoint) {
    ErrorOf error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
    if (!error) return Done{};
    ErrorCode code = ErrorCode::io;
    if (error == asio::error::address_in_use) code = ErrorCode::in_use;
    if (error == asio::error::access_denied) code = ErrorCode::permission;
    if (error == boost::system::errc::address_not_available) code = ErrorCode::invalid_argument;
    if (error == asio::error::address_family_not_supported) code = ErrorCode::invalid_argument;
    return Error{code, "cannot listen on " + sessions_->options.address + ": " + error.message()};
}

/// One at a time, and none while all places are taken: then they wait with the operating system.
void Acceptor::accept() {
    if (is_accepting_ || sessions_->is_closed) return;
    if (sessions_->all.size() >= std::max<std::size_t>(1, sessions_->options.connections_max)) return;
    is_accepting_ = true;
    acceptor_.async_accept([self = shared_from_this()](const ErrorOf& error, tcp::socket socket) {
        self->is_accepting_ = false;
        if (!self->sessions_->is_closed) self->on_accepted(error, std::move(socket));
    });
}

void Acceptor::on_accepted(const ErrorOf& error, tcp::socket socket) {
    if (error) {
        // Most likely there is no descriptor left; trying at once would spin.
        timer_.expires_after(accept_pause);
        timer_.async_wait([self = shared_from_this()](const ErrorOf& cancelled) {
            if (!cancelled) self->accept();
        });
        return;
    }
    ErrorOf ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    auto session = std::make_shared<Session>(std::move(socket), sessions_);
    sessions_->all.insert(session);
    session->begin();
    accept();
}

void Acceptor::close() {
    sessions_->is_closed = true;
    sessions_->on_room = nullptr;
    ErrorOf ignored;
    acceptor_.close(ignored);
    timer_.cancel();
    const std::set<std::shared_ptr<Session>> all = std::exchange(sessions_->all, {});
    for (const std::shared_ptr<Session>& session : all) session->close();
}

class Listener : public HttpListener {
public:
    Listener(std::shared_ptr<Acceptor> acceptor, std::string address)
        : acceptor_(std::move(acceptor)), address_(std::move(address)) {}
    ~Listener() override { acceptor_->close(); }
    [[nodiscard]] const std::string& address() const override { return address_; }

private:
    std::shared_ptr<Acceptor> acceptor_;
    std::string address_;
};

Result<tcp::endpoint> parse_endpoint(const std::string& text) {
    const Error error{ErrorCode::invalid_argument, "cannot listen on \"" + text +
                                                       "\": an address looks like 127.0.0.1:8181, [::1]:8181 or "
                                                       "localhost:8181, and port 0 takes any that is free"};
    const std::size_t colon = text.rfind(':');
    if (colon == std::string::npos) return error;
    std::string host = text.substr(0, colon);
    const bool has_brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
    if (has_brackets) host = host.substr(1, host.size() - 2);
    if (host == "localhost") host = "127.0.0.1";
    std::uint16_t port = 0;
    const char* const end = text.data() + text.size();
    const auto [last, code] = std::from_chars(text.data() + colon + 1, end, port);
    ErrorOf failed;
    const asio::ip::address address = asio::ip::make_address(host, failed);
    if (code != std::errc{} || last != end || failed || address.is_v6() != has_brackets) return error;
    return tcp::endpoint(address, port);
}

}  // namespace

Result<std::unique_ptr<HttpListener>> listen_http(asio::io_context& loop, const ListenOptions& options,
                                                  std::function<HttpReply(const ReceivedRequest&)> answer) {
    Result<tcp::endpoint> endpoint = parse_endpoint(options.address);
    if (!endpoint) return endpoint.error();
    auto sessions = std::make_shared<Sessions>();
    sessions->options = options;
    sessions->answer = std::move(answer);
    auto acceptor = std::make_shared<Acceptor>(loop, sessions);
    Status opened = acceptor->open(*endpoint);
    if (!opened) return opened.error();
    sessions->on_room = [weak = std::weak_ptr<Acceptor>(acceptor)] {
        if (const std::shared_ptr<Acceptor> acceptor = weak.lock()) acceptor->accept();
    };
    acceptor->accept();
    const tcp::endpoint taken = acceptor->endpoint();
    return std::unique_ptr<HttpListener>(
        std::make_unique<Listener>(std::move(acceptor), authority(taken.address().to_string(), taken.port())));
}

}  // namespace stele

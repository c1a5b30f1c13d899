#include "knowledge_sources/http_client.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <list>
#include <optional>
#include <utility>

#include <sys/socket.h>

#include <openssl/ssl.h>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

#include "knowledge_sources/http_message.hpp"
#include "knowledge_sources/http_route.hpp"

namespace stele {

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;
using ErrorOf = boost::system::error_code;

/// Thirty years; more would overflow the clock's nanoseconds.
constexpr std::int64_t wait_ms_max = 1'000'000'000'000;
/// Small, because each of a thousand exchanges that wait has one.
constexpr std::size_t read_bytes = 8U << 10;

Milliseconds wait_of(std::int64_t ms) { return Milliseconds(std::clamp<std::int64_t>(ms, 0, wait_ms_max)); }

/// One connection, with TLS or without. Handlers of what it has in flight keep it alive.
struct Connection {
    explicit Connection(asio::io_context& loop) : socket(loop) {}

    template <class Buffers, class Handler>
    void read_some(const Buffers& buffers, Handler handler) {
        if (tls) {
            tls->async_read_some(buffers, std::move(handler));
        } else {
            socket.async_read_some(buffers, std::move(handler));
        }
    }
    template <class Buffers, class Handler>
    void write(const Buffers& buffers, Handler handler) {
        if (tls) {
            asio::async_write(*tls, buffers, std::move(handler));
        } else {
            asio::async_write(socket, buffers, std::move(handler));
        }
    }
    void close() {
        ErrorOf ignored;
        socket.close(ignored);
    }

    tcp::socket socket;
    std::unique_ptr<asio::ssl::stream<tcp::socket&>> tls;
};
using ConnectionPtr = std::shared_ptr<Connection>;

// ---- what the exchanges of a client share ----

class Shared : public std::enable_shared_from_this<Shared> {
public:
    Shared(asio::io_context& loop, HttpClientOptions options)
        : loop_(loop), options_(std::move(options)), timer_(loop) {
        if (!options_.environment) options_.environment = [](const char* name) { return std::getenv(name); };
    }

    [[nodiscard]] asio::io_context& loop() const { return loop_; }
    [[nodiscard]] const HttpClientOptions& options() const { return options_; }

    /// Made when it is first needed, since it reads hundreds of certificates. nullptr: see tls_problem().
    asio::ssl::context* tls_context();
    [[nodiscard]] const std::string& tls_problem() const { return tls_problem_; }

    ConnectionPtr take(const std::string& key);
    void keep(const std::string& key, ConnectionPtr connection);
    /// Nothing is kept any more.
    void close();

private:
    struct Idle {
        std::string key;
        ConnectionPtr connection;
        Clock::time_point until;
        std::uint64_t id = 0;
    };

    void watch(const Idle& idle);
    void drop(std::uint64_t id);
    void wait_for_oldest();

    asio::io_context& loop_;
    HttpClientOptions options_;
    std::optional<asio::ssl::context> tls_;
    std::string tls_problem_;
    std::list<Idle> idle_;  // the oldest first
    asio::steady_timer timer_;
    std::uint64_t last_id_ = 0;
    bool is_closed_ = false;
};

asio::ssl::context* Shared::tls_context() {
    if (tls_) return &*tls_;
    const auto place = [this](const char* variable, const char* fallback) {
        const char* value = options_.environment(variable);
        return std::string(value != nullptr && *value != '\0' ? value : fallback);
    };
    asio::ssl::context context(asio::ssl::context::tls_client);
    SSL_CTX* const native = context.native_handle();
    SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
    SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
    // Tickets would be kept and never used.
    SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
    context.set_verify_mode(asio::ssl::verify_peer);
    const std::string file = place("SSL_CERT_FILE", X509_get_default_cert_file());
    const std::string directory = place("SSL_CERT_DIR", X509_get_default_cert_dir());
    const bool has_file = SSL_CTX_load_verify_file(native, file.c_str()) == 1;
    const char* const wanted = options_.environment("SSL_CERT_FILE");
    if (!has_file && wanted != nullptr && *wanted != '\0') {
        tls_problem_ = "no certificates could be read from \"" + file + "\", which SSL_CERT_FILE names";
        return nullptr;
    }
    SSL_CTX_load_verify_dir(native, directory.c_str());
    tls_.emplace(std::move(context));
    return &*tls_;
}

/// The connection is readable when the other side has closed it, or says what nobody has asked.
bool is_quiet(Connection& connection) {
    char byte = 0;
    const ssize_t count = ::recv(connection.socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

ConnectionPtr Shared::take(const std::string& key) {
    const Clock::time_point now = Clock::now();
    for (auto at = idle_.end(); at != idle_.begin();) {
        --at;
        if (at->key != key) continue;
        const ConnectionPtr connection = at->connection;
        const bool is_fresh = at->until > now;
        at = idle_.erase(at);
        ErrorOf ignored;
        connection->socket.cancel(ignored);
        if (is_fresh && is_quiet(*connection)) return connection;
        connection->close();
    }
    return nullptr;
}

void Shared::keep(const std::string& key, ConnectionPtr connection) {
    if (is_closed_ || options_.idle_connections_max == 0 || !is_quiet(*connection)) {
        connection->close();
        return;
    }
    if (idle_.size() >= options_.idle_connections_max) drop(idle_.front().id);
    idle_.push_back({key, std::move(connection), Clock::now() + wait_of(options_.idle_connection_ms), ++last_id_});
    watch(idle_.back());
    if (idle_.size() == 1) wait_for_oldest();
}

void Shared::close() {
    is_closed_ = true;
    for (const Idle& idle : idle_) idle.connection->close();
    idle_.clear();
    timer_.cancel();
}

void Shared::watch(const Idle& idle) {
    idle.connection->socket.async_wait(tcp::socket::wait_read,
                                       [weak = weak_from_this(), id = idle.id](const ErrorOf& error) {
                                           const std::shared_ptr<Shared> self = weak.lock();
                                           if (self && error != asio::error::operation_aborted) self->drop(id);
                                       });
}

/// Nothing, when the connection has been taken in the meantime.
void Shared::drop(std::uint64_t id) {
    const auto at = std::find_if(idle_.begin(), idle_.end(), [id](const Idle& idle) { return idle.id == id; });
    if (at == idle_.end()) return;
    at->connection->close();
    idle_.erase(at);
}

void Shared::wait_for_oldest() {
    if (idle_.empty()) return;
    timer_.expires_at(idle_.front().until);
    timer_.async_wait([weak = weak_from_this()](const ErrorOf& error) {
        const std::shared_ptr<Shared> self = weak.lock();
        if (!self || error) return;
        while (!self->idle_.empty() && self->idle_.front().until <= Clock::now()) self->drop(self->idle_.front().id);
        self->wait_for_oldest();
    });
}

// ---- what is sent ----

bool is_same_name(std::string_view one, std::string_view other) {
    return std::equal(one.begin(), one.end(), other.begin(), other.end(), [](char a, char b) {
        const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
        return lower(a) == lower(b);
    });
}

bool has_header(const HttpHeaders& headers, std::string_view name) {
    return std::any_of(headers.begin(), headers.end(),
                       [name](const auto& header) { return is_same_name(header.first, name); });
}

/// A line break in a key, say, would let it write headers of its own.
bool is_sendable(const HttpRequest& request) {
    const auto is_token = [](std::string_view text) {
        return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
            return c > ' ' && c < 0x7F && std::string_view("()<>@,;:\\\"/[]?={}").find(c) == std::string_view::npos;
        });
    };
    if (!is_token(request.method)) return false;
    for (const auto& [name, value] : request.headers) {
        if (!is_token(name)) return false;
        const bool has_control = std::any_of(value.begin(), value.end(), [](char c) {
            return (static_cast<unsigned char>(c) < ' ' && c != '\t') || c == 0x7F;
        });
        if (has_control) return false;
    }
    return true;
}

std::string head_text(const HttpRequest& request, const UrlParts& url, const HttpProxy* proxy,
                      const std::string& user_agent) {
    const bool is_absolute = proxy != nullptr && !url.tls;
    std::string text = request.method + " ";
    if (is_absolute) text += "http://" + host_header(url);
    text += url.target + " HTTP/1.1\r\n";
    if (!has_header(request.headers, "host")) text += "Host: " + host_header(url) + "\r\n";
    if (!has_header(request.headers, "user-agent")) text += "User-Agent: " + user_agent + "\r\n";
    if (!has_header(request.headers, "accept-encoding")) text += "Accept-Encoding: gzip, deflate\r\n";
    for (const auto& [name, value] : request.headers) {
        if (is_same_name(name, "content-length") || is_same_name(name, "connection")) continue;
        if (is_same_name(name, "transfer-encoding") || is_same_name(name, "expect")) continue;
        text.append(name).append(": ").append(value).append("\r\n");
    }
    if (is_absolute && !proxy->authorization.empty()) text += "Proxy-Authorization: " + proxy->authorization + "\r\n";
    const bool is_bodiless = request.method == "GET" || request.method == "DELETE";
    if (!request.body.empty() || !is_bodiless) {
        text += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
    }
    return text + "Connection: keep-alive\r\n\r\n";
}

std::string connect_text(const UrlParts& url, const HttpProxy& proxy, const std::string& user_agent) {
    const std::string host = authority(url.host, url.port);
    std::string text = "CONNECT " + host + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: " + user_agent + "\r\n";
    if (!proxy.authorization.empty()) text += "Proxy-Authorization: " + proxy.authorization + "\r\n";
    return text + "\r\n";
}

// ---- one exchange ----

/// Alive while its handle or one of its handlers is. What the owner gave is called out of a copy, because
/// the owner may destroy the handle, and with it what is being called, from within.
class Exchange : public std::enable_shared_from_this<Exchange> {
public:
    Exchange(std::shared_ptr<Shared> shared, HttpRequest request, HttpEvents events)
        : shared_(std::move(shared)),
          loop_(shared_->loop()),
          request_(std::move(request)),
          events_(std::make_shared<HttpEvents>(std::move(events))),
          resolver_(loop_),
          timer_(loop_) {}

    void begin();
    void cancel();
    void abandon();

private:
    enum class Phase { connecting, answering };

    void connect();
    void resolve();
    void try_next_address();
    void on_connected();
    void ask_proxy();
    void read_proxy_answer();
    void on_proxy_answer(HttpAnswerReader::State state);
    void start_tls();
    void on_handshake(const ErrorOf& error);

    void send();
    void read();
    void on_read(const ErrorOf& error, std::size_t size);
    bool reconnects(const ErrorOf& error);
    void conclude(HttpAnswerReader::State state);
    bool tell_head(const HttpHead& head);
    bool tell_data(std::string_view bytes);

    void arm_timer();
    void on_timer();
    void finish(HttpEndKind kind, std::string message);
    void stop_work();

    /// True in a handler whose connection is no longer of interest.
    bool is_past(const ConnectionPtr& connection) const { return has_ended_ || connection_ != connection; }
    std::string first_hop() const;

    std::shared_ptr<Shared> shared_;
    asio::io_context& loop_;
    HttpRequest request_;
    std::shared_ptr<HttpEvents> events_;
    tcp::resolver resolver_;
    asio::steady_timer timer_;

    std::unique_ptr<UrlParts> url_;
    std::optional<HttpProxy> proxy_;
    std::string host_;  // for messages, with its port
    std::string pool_key_;

    Phase phase_ = Phase::connecting;
    Clock::time_point started_at_;
    Clock::time_point connect_until_;
    Clock::time_point address_until_;
    Clock::time_point last_piece_at_;
    std::vector<tcp::endpoint> addresses_;
    std::size_t next_address_ = 0;
    std::string last_failure_;

    ConnectionPtr connection_;
    std::string head_text_;
    std::unique_ptr<HttpAnswerReader> reader_;
    std::array<char, read_bytes> buffer_;
    bool is_kept_connection_ = false;
    bool has_reconnected_ = false;
    bool is_sent_ = false;  // a byte of the request has left, on whatever connection
    bool is_written_ = false;
    bool has_begun_answer_ = false;
    bool has_ended_ = false;
    bool is_abandoned_ = false;
};

void Exchange::begin() {
    started_at_ = Clock::now();
    url_ = parse_url(request_.url);
    if (!url_) {
        finish(HttpEndKind::connect_failed, "the URL of a request is no http:// or https:// one with a host");
        return;
    }
    host_ = authority(url_->host, url_->port);
    if (!is_sendable(request_)) {
        finish(HttpEndKind::connect_failed,
               "the request to " + host_ +
                   " was not sent: its method or one of its headers holds a character that "
                   "must not be there, such as a line break");
        return;
    }
    Result<std::optional<HttpProxy>> proxy = proxy_for(*url_, shared_->options().environment);
    if (!proxy) {
        finish(HttpEndKind::connect_failed, "cannot reach " + host_ + ": " + proxy.error().message);
        return;
    }
    proxy_ = std::move(*proxy);
    const HttpProxy* const through = proxy_ ? &*proxy_ : nullptr;
    head_text_ = head_text(request_, *url_, through, shared_->options().user_agent);
    pool_key_ = (url_->tls ? "https " : "http ") + host_;
    if (through) pool_key_ += " " + authority(through->host, through->port) + " " + through->authorization;
    connection_ = shared_->take(pool_key_);
    if (!connection_) {
        connect();
        return;
    }
    is_kept_connection_ = true;
    send();
}

std::string Exchange::first_hop() const {
    return proxy_ ? "the proxy " + authority(proxy_->host, proxy_->port) + " for " + host_ : host_;
}

void Exchange::connect() {
    phase_ = Phase::connecting;
    is_kept_connection_ = false;
    connect_until_ = Clock::now() + wait_of(request_.connect_timeout_ms);
    address_until_ = connect_until_;
    connection_ = std::make_shared<Connection>(loop_);
    arm_timer();
    resolve();
}

void Exchange::resolve() {
    const std::string& host = proxy_ ? proxy_->host : url_->host;
    const std::uint16_t port = proxy_ ? proxy_->port : url_->port;
    addresses_.clear();
    next_address_ = 0;
    ErrorOf is_name;
    const asio::ip::address address = asio::ip::make_address(host, is_name);
    if (!is_name) {
        addresses_.emplace_back(address, port);
        try_next_address();
        return;
    }
    resolver_.async_resolve(
        host, std::to_string(port), tcp::resolver::numeric_service,
        [self = shared_from_this()](const ErrorOf& error, const tcp::resolver::results_type& results) {
            if (self->has_ended_) return;
            if (error) {
                self->finish(HttpEndKind::connect_failed,
                             "cannot reach " + self->first_hop() + ": its name was not found: " + error.message());
                return;
            }
            for (const auto& entry : results) self->addresses_.push_back(entry.endpoint());
            self->try_next_address();
        });
}

/// Each address has its part of the time that is left, so that one that swallows everything does not
/// keep the others from being tried.
void Exchange::try_next_address() {
    connection_->close();
    if (next_address_ == addresses_.size()) {
        finish(HttpEndKind::connect_failed,
               "cannot reach " + first_hop() + ": " + (last_failure_.empty() ? "it has no address" : last_failure_));
        return;
    }
    const auto addresses_left = static_cast<std::int64_t>(addresses_.size() - next_address_);
    const Clock::time_point now = Clock::now();
    address_until_ = now + (connect_until_ - now) / addresses_left;
    connection_ = std::make_shared<Connection>(loop_);
    arm_timer();
    connection_->socket.async_connect(addresses_[next_address_++],
                                      [self = shared_from_this(), connection = connection_](const ErrorOf& error) {
                                          if (self->is_past(connection)) return;
                                          if (error) {
                                              self->last_failure_ = error.message();
                                              self->try_next_address();
                                              return;
                                          }
                                          self->on_connected();
                                      });
}

void Exchange::on_connected() {
    address_until_ = connect_until_;
    ErrorOf ignored;
    connection_->socket.set_option(tcp::no_delay(true), ignored);
    connection_->socket.set_option(asio::socket_base::keep_alive(true), ignored);
    if (proxy_ && url_->tls) {
        ask_proxy();
    } else if (url_->tls) {
        start_tls();
    } else {
        send();
    }
}

void Exchange::ask_proxy() {
    auto text = std::make_shared<std::string>(connect_text(*url_, *proxy_, shared_->options().user_agent));
    HttpAnswerReader::Options options;
    options.head_only = true;
    HttpAnswerReader::Events events;
    events.head = [this](const HttpHead& head) {
        if (head.status / 100 == 2) return true;
        last_failure_ = "it answered with status " + std::to_string(head.status);
        return false;
    };
    reader_ = std::make_unique<HttpAnswerReader>(options, std::move(events));
    // A failure to write shows when the answer is read.
    connection_->write(asio::buffer(*text),
                       [self = shared_from_this(), connection = connection_, text](const ErrorOf&, std::size_t) {});
    read_proxy_answer();
}

void Exchange::read_proxy_answer() {
    connection_->read_some(asio::buffer(buffer_), [self = shared_from_this(), connection = connection_](
                                                      const ErrorOf& error, std::size_t size) {
        if (self->is_past(connection)) return;
        if (error) {
            self->last_failure_ = error == asio::error::eof ? "it closed the connection" : error.message();
            self->on_proxy_answer(HttpAnswerReader::State::closed_early);
            return;
        }
        self->on_proxy_answer(self->reader_->feed(std::string_view(self->buffer_.data(), size)));
    });
}

void Exchange::on_proxy_answer(HttpAnswerReader::State state) {
    if (state == HttpAnswerReader::State::more) {
        read_proxy_answer();
        return;
    }
    if (state == HttpAnswerReader::State::complete && !reader_->has_more_than_answer()) {
        start_tls();
        return;
    }
    if (state == HttpAnswerReader::State::complete) last_failure_ = "it said more than its answer";
    if (!reader_->problem().empty()) last_failure_ = "its answer cannot be read: " + reader_->problem();
    finish(HttpEndKind::connect_failed, first_hop() + " did not connect: " + last_failure_);
}

void Exchange::start_tls() {
    asio::ssl::context* const context = shared_->tls_context();
    if (context == nullptr) {
        finish(HttpEndKind::tls_failed, "cannot check who " + host_ + " is: " + shared_->tls_problem());
        return;
    }
    connection_->tls = std::make_unique<asio::ssl::stream<tcp::socket&>>(connection_->socket, *context);
    SSL* const native = connection_->tls->native_handle();
    std::string host = url_->host;
    if (host.back() == '.') host.pop_back();
    ErrorOf is_name;
    asio::ip::make_address(host, is_name);
    X509_VERIFY_PARAM* const wanted = SSL_get0_param(native);
    X509_VERIFY_PARAM_set_hostflags(wanted, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    bool is_ready = false;
    if (is_name) {
        is_ready = X509_VERIFY_PARAM_set1_host(wanted, host.c_str(), host.size()) == 1 &&
                   SSL_ctrl(native, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, host.data()) == 1;
    } else {
        is_ready = X509_VERIFY_PARAM_set1_ip_asc(wanted, host.c_str()) == 1;
    }
    if (!is_ready) {
        finish(HttpEndKind::tls_failed, "cannot check who " + host_ + " is: its name does not fit TLS");
        return;
    }
    constexpr std::array<unsigned char, 9> protocols = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
    SSL_set_alpn_protos(native, protocols.data(), protocols.size());
    connection_->tls->async_handshake(asio::ssl::stream_base::client,
                                      [self = shared_from_this(), connection = connection_](const ErrorOf& error) {
                                          if (!self->is_past(connection)) self->on_handshake(error);
                                      });
}

void Exchange::on_handshake(const ErrorOf& error) {
    if (!error) {
        send();
        return;
    }
    const long verdict = SSL_get_verify_result(connection_->tls->native_handle());
    if (verdict != X509_V_OK) {
        finish(HttpEndKind::tls_failed,
               "the certificate of " + host_ + " does not hold: " + X509_verify_cert_error_string(verdict));
        return;
    }
    const bool is_closed = error == asio::error::eof || error == asio::ssl::error::stream_truncated;
    finish(HttpEndKind::tls_failed, host_ + " does not agree on TLS: " +
                                        (is_closed ? std::string("it closed the connection") : error.message()));
}

void Exchange::send() {
    phase_ = Phase::answering;
    arm_timer();
    HttpAnswerReader::Options options;
    options.body_bytes_max = request_.body_bytes_max;
    options.head_only = request_.method == "HEAD";
    HttpAnswerReader::Events events;
    events.head = [this](const HttpHead& head) { return tell_head(head); };
    events.data = [this](std::string_view bytes) { return tell_data(bytes); };
    reader_ = std::make_unique<HttpAnswerReader>(options, std::move(events));
    is_sent_ = true;
    is_written_ = false;
    const std::array<asio::const_buffer, 2> text = {asio::buffer(head_text_), asio::buffer(request_.body)};
    // A failure to write shows when the answer is read; and who refuses a long body may answer before its end.
    connection_->write(text, [self = shared_from_this(), connection = connection_](const ErrorOf& error, std::size_t) {
        if (!self->is_past(connection) && !error) self->is_written_ = true;
    });
    read();
}

void Exchange::read() {
    connection_->read_some(asio::buffer(buffer_), [self = shared_from_this(), connection = connection_](
                                                      const ErrorOf& error, std::size_t size) {
        if (!self->is_past(connection)) self->on_read(error, size);
    });
}

void Exchange::on_read(const ErrorOf& error, std::size_t size) {
    if (size > 0) {
        last_piece_at_ = Clock::now();
        const bool is_first = !std::exchange(has_begun_answer_, true);
        if (is_first) arm_timer();
        const HttpAnswerReader::State state = reader_->feed(std::string_view(buffer_.data(), size));
        if (has_ended_) return;
        if (state != HttpAnswerReader::State::more) {
            conclude(state);
            return;
        }
    }
    if (!error) {
        read();
        return;
    }
    if (reconnects(error)) return;
    // Only an end in good order can be the end of a body that has no other.
    conclude(error == asio::error::eof ? reader_->end() : HttpAnswerReader::State::closed_early);
}

/// The other side may close a kept connection at the moment in which it is used again.
bool Exchange::reconnects(const ErrorOf& error) {
    const bool is_dead = error == asio::error::eof || error == asio::ssl::error::stream_truncated ||
                         error == asio::error::connection_reset || error == asio::error::broken_pipe;
    if (!is_kept_connection_ || has_begun_answer_ || has_reconnected_ || !is_dead) return false;
    has_reconnected_ = true;
    connection_->close();
    connect();
    return true;
}

bool Exchange::tell_head(const HttpHead& head) {
    const std::shared_ptr<HttpEvents> events = events_;
    if (events->head) events->head(head);
    return !has_ended_;
}

bool Exchange::tell_data(std::string_view bytes) {
    const std::shared_ptr<HttpEvents> events = events_;
    const bool goes_on = !events->data || events->data(bytes);
    return goes_on && !has_ended_;
}

void Exchange::conclude(HttpAnswerReader::State state) {
    switch (state) {
        case HttpAnswerReader::State::complete:
            if (is_written_ && reader_->is_reusable()) shared_->keep(pool_key_, std::exchange(connection_, nullptr));
            finish(HttpEndKind::complete, {});
            return;
        case HttpAnswerReader::State::more:
        case HttpAnswerReader::State::closed_early:
            finish(HttpEndKind::closed_early,
                   host_ + " closed the connection " +
                       (has_begun_answer_ ? "before the end of its answer" : "without an answer"));
            return;
        case HttpAnswerReader::State::too_large:
            finish(HttpEndKind::too_large, "the answer of " + host_ + " is too large: " + reader_->problem());
            return;
        case HttpAnswerReader::State::malformed:
            finish(HttpEndKind::malformed, "the answer of " + host_ + " cannot be read: " + reader_->problem());
            return;
        case HttpAnswerReader::State::stopped:
            finish(HttpEndKind::stopped, "the answer of " + host_ + " was not read to its end");
            return;
    }
}

// ---- its time and its end ----

void Exchange::arm_timer() {
    Clock::time_point until = started_at_ + wait_of(request_.timeout_ms);
    if (phase_ == Phase::connecting) until = std::min({until, connect_until_, address_until_});
    if (phase_ == Phase::answering && has_begun_answer_) {
        until = std::min(until, last_piece_at_ + wait_of(request_.idle_timeout_ms));
    }
    timer_.expires_at(until);
    timer_.async_wait([self = shared_from_this()](const ErrorOf& error) {
        if (!error && !self->has_ended_) self->on_timer();
    });
}

/// The timer is not moved with each piece; it looks for what is over when it rings.
void Exchange::on_timer() {
    const Clock::time_point now = Clock::now();
    if (now >= started_at_ + wait_of(request_.timeout_ms)) {
        finish(HttpEndKind::timeout, (phase_ == Phase::connecting ? first_hop() + " could not be reached within "
                                                                  : host_ + " did not answer to the end within ") +
                                         std::to_string(request_.timeout_ms) + " ms");
        return;
    }
    if (phase_ == Phase::connecting && now >= connect_until_) {
        finish(HttpEndKind::timeout,
               first_hop() + " could not be reached within " + std::to_string(request_.connect_timeout_ms) + " ms");
        return;
    }
    if (phase_ == Phase::connecting && now >= address_until_) {
        last_failure_ = "it does not answer";
        try_next_address();
        return;
    }
    if (has_begun_answer_ && now >= last_piece_at_ + wait_of(request_.idle_timeout_ms)) {
        finish(HttpEndKind::idle_timeout,
               host_ + " fell silent within its answer for " + std::to_string(request_.idle_timeout_ms) + " ms");
        return;
    }
    arm_timer();
}

void Exchange::cancel() {
    if (!has_ended_) finish(HttpEndKind::cancelled, "the request to " + host_ + " was cancelled");
}

void Exchange::abandon() {
    is_abandoned_ = true;
    if (!has_ended_) stop_work();
    events_ = std::make_shared<HttpEvents>();
}

void Exchange::stop_work() {
    has_ended_ = true;
    timer_.cancel();
    resolver_.cancel();
    if (connection_) connection_->close();
    connection_.reset();
}

void Exchange::finish(HttpEndKind kind, std::string message) {
    stop_work();
    HttpEnd end;
    end.kind = kind;
    end.message = std::move(message);
    end.nothing_sent = !is_sent_;
    end.duration_ms = std::chrono::duration_cast<Milliseconds>(Clock::now() - started_at_).count();
    asio::post(loop_, [self = shared_from_this(), end = std::move(end)] {
        if (self->is_abandoned_) return;
        const std::shared_ptr<HttpEvents> events = std::exchange(self->events_, std::make_shared<HttpEvents>());
        if (events->finished) events->finished(end);
    });
}

class ExchangeHandle : public HttpExchange {
public:
    explicit ExchangeHandle(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
    ~ExchangeHandle() override { exchange_->abandon(); }
    void cancel() override { exchange_->cancel(); }

private:
    std::shared_ptr<Exchange> exchange_;
};

class Client : public HttpClient {
public:
    Client(asio::io_context& loop, HttpClientOptions options)
        : shared_(std::make_shared<Shared>(loop, std::move(options))) {}
    ~Client() override { shared_->close(); }

    std::unique_ptr<HttpExchange> start(HttpRequest request, HttpEvents events) override {
        auto exchange = std::make_shared<Exchange>(shared_, std::move(request), std::move(events));
        exchange->begin();
        return std::make_unique<ExchangeHandle>(std::move(exchange));
    }

private:
    std::shared_ptr<Shared> shared_;
};

}  // namespace

const char* to_text(HttpEndKind kind) {
    switch (kind) {
        case HttpEndKind::complete:
            return "complete";
        case HttpEndKind::connect_failed:
            return "connect_failed";
        case HttpEndKind::tls_failed:
            return "tls_failed";
        case HttpEndKind::timeout:
            return "timeout";
        case HttpEndKind::idle_timeout:
            return "idle_timeout";
        case HttpEndKind::closed_early:
            return "closed_early";
        case HttpEndKind::too_large:
            return "too_large";
        case HttpEndKind::malformed:
            return "malformed";
        case HttpEndKind::stopped:
            return "stopped";
        case HttpEndKind::cancelled:
            return "cancelled";
    }
    return "";
}

std::unique_ptr<HttpClient> make_http_client(asio::io_context& loop, HttpClientOptions options) {
    return std::make_unique<Client>(loop, std::move(options));
}

}  // namespace stele

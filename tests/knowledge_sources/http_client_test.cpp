// The client against a server that follows a script: which bytes it sends, when, and how it ends.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

#include "knowledge_sources/encodings.hpp"
#include "knowledge_sources/http_client.hpp"
#include "knowledge_sources/http_route.hpp"

using namespace stele;

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using ErrorOf = boost::system::error_code;
using Milliseconds = std::chrono::milliseconds;

// ---- the server ----

struct Step {
    enum class Kind { read_request, send, pause, tls, shut_tls, close, reset, hold };
    Kind kind = Kind::hold;
    std::string bytes;
    int ms = 0;
};
using Script = std::vector<Step>;

Step read_request() { return {Step::Kind::read_request, {}, 0}; }
Step send(std::string bytes) { return {Step::Kind::send, std::move(bytes), 0}; }
Step pause(int ms) { return {Step::Kind::pause, {}, ms}; }
Step tls() { return {Step::Kind::tls, {}, 0}; }
Step shut_tls() { return {Step::Kind::shut_tls, {}, 0}; }
Step close() { return {Step::Kind::close, {}, 0}; }
Step reset() { return {Step::Kind::reset, {}, 0}; }

/// What one connection does; after its last step it waits for the other side to close.
class Session : public std::enable_shared_from_this<Session> {
public:
    Session(tcp::socket socket, Script script, asio::ssl::context* context, std::vector<std::string>& requests,
            std::string& server_name)
        : socket_(std::move(socket)),
          timer_(socket_.get_executor()),
          script_(std::move(script)),
          context_(context),
          requests_(requests),
          server_name_(server_name) {}

    void next() {
        if (at_ == script_.size()) {
            hold();
            return;
        }
        const Step& step = script_[at_++];
        ErrorOf ignored;
        switch (step.kind) {
            case Step::Kind::read_request:
                read_more();
                break;
            case Step::Kind::send:
                write(step.bytes);
                break;
            case Step::Kind::pause:
                timer_.expires_after(Milliseconds(step.ms));
                timer_.async_wait([self = shared_from_this()](const ErrorOf& error) {
                    if (!error) self->next();
                });
                break;
            case Step::Kind::tls:
                tls_ = std::make_unique<asio::ssl::stream<tcp::socket&>>(socket_, *context_);
                tls_->async_handshake(
                    asio::ssl::stream_base::server, [self = shared_from_this()](const ErrorOf& error) {
                        const char* name = SSL_get_servername(self->tls_->native_handle(), TLSEXT_NAMETYPE_host_name);
                        self->server_name_ = name == nullptr ? "" : name;
                        if (!error) self->next();
                    });
                break;
            case Step::Kind::shut_tls:
                tls_->async_shutdown([self = shared_from_this()](const ErrorOf&) {});
                break;
            case Step::Kind::close:
                socket_.close(ignored);
                break;
            case Step::Kind::reset:
                socket_.set_option(asio::socket_base::linger(true, 0), ignored);
                socket_.close(ignored);
                break;
            case Step::Kind::hold:
                hold();
                break;
        }
    }
    void stop() {
        ErrorOf ignored;
        socket_.close(ignored);
        timer_.cancel();
    }

private:
    template <class Handler>
    void read_some(Handler handler) {
        if (tls_) {
            tls_->async_read_some(asio::buffer(buffer_), std::move(handler));
        } else {
            socket_.async_read_some(asio::buffer(buffer_), std::move(handler));
        }
    }
    void read_more() {
        const std::size_t head_end = input_.find("\r\n\r\n");
        if (head_end != std::string::npos) {
            std::size_t size = head_end + 4;
            const std::size_t length = input_.find("Content-Length: ");
            if (length < head_end) size += std::strtoul(input_.c_str() + length + 16, nullptr, 10);
            if (input_.size() >= size) {
                requests_.push_back(input_.substr(0, size));
                input_.erase(0, size);
                next();
                return;
            }
        }
        read_some([self = shared_from_this()](const ErrorOf& error, std::size_t size) {
            if (error) {
                self->stop();
                return;
            }
            self->input_.append(self->buffer_.data(), size);
            self->read_more();
        });
    }
    void write(const std::string& bytes) {
        const auto done = [self = shared_from_this()](const ErrorOf& error, std::size_t) {
            if (!error) {
                self->next();
            } else {
                self->stop();
            }
        };
        if (tls_) {
            asio::async_write(*tls_, asio::buffer(bytes), done);
        } else {
            asio::async_write(socket_, asio::buffer(bytes), done);
        }
    }
    void hold() {
        read_some([self = shared_from_this()](const ErrorOf& error, std::size_t) {
            if (error) {
                self->stop();
            } else {
                self->hold();
            }
        });
    }

    tcp::socket socket_;
    std::unique_ptr<asio::ssl::stream<tcp::socket&>> tls_;
    asio::steady_timer timer_;
    Script script_;
    asio::ssl::context* context_;
    std::vector<std::string>& requests_;
    std::string& server_name_;
    std::string input_;
    std::array<char, 16384> buffer_;
    std::size_t at_ = 0;
};

/// The n-th connection follows the n-th script, further ones the last.
class Server {
public:
    Server(asio::io_context& loop, std::vector<Script> scripts, asio::ssl::context* context = nullptr)
        : acceptor_(loop, tcp::endpoint(asio::ip::address_v4::loopback(), 0)),
          scripts_(std::move(scripts)),
          context_(context) {
        accept();
    }
    ~Server() { stop(); }

    [[nodiscard]] std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
    [[nodiscard]] std::string url(const std::string& scheme = "http", const std::string& host = "127.0.0.1") const {
        return scheme + "://" + host + ":" + std::to_string(port()) + "/v1/x?y=1";
    }
    void stop() {
        ErrorOf ignored;
        acceptor_.close(ignored);
        for (const std::weak_ptr<Session>& weak : sessions_) {
            if (const std::shared_ptr<Session> session = weak.lock()) session->stop();
        }
    }

    std::vector<std::string> requests;
    std::string server_name;
    std::size_t connections = 0;

private:
    void accept() {
        acceptor_.async_accept([this](const ErrorOf& error, tcp::socket socket) {
            if (error) return;
            ErrorOf ignored;
            socket.set_option(tcp::no_delay(true), ignored);
            const Script& script = scripts_[std::min(connections, scripts_.size() - 1)];
            ++connections;
            auto session = std::make_shared<Session>(std::move(socket), script, context_, requests, server_name);
            sessions_.push_back(session);
            session->next();
            accept();
        });
    }

    tcp::acceptor acceptor_;
    std::vector<Script> scripts_;
    asio::ssl::context* context_;
    std::vector<std::weak_ptr<Session>> sessions_;
};

// ---- the client's side ----

struct Outcome {
    std::vector<HttpHead> heads;
    std::string body;
    std::vector<std::string> pieces;
    HttpEnd end;
    int ends = 0;
};

/// Members die from the last to the first: what uses the loop before the loop.
struct World {
    std::map<std::string, std::string> environment;
    asio::io_context loop;
    std::unique_ptr<HttpClient> client;

    explicit World(HttpClientOptions options = {}) {
        options.environment = [this](const char* name) -> const char* {
            const auto at = environment.find(name);
            return at == environment.end() ? nullptr : at->second.c_str();
        };
        client = make_http_client(loop, std::move(options));
    }

    HttpEvents events_into(Outcome& outcome) {
        HttpEvents events;
        events.head = [&outcome](const HttpHead& head) {
            CHECK(outcome.pieces.empty());
            outcome.heads.push_back(head);
        };
        events.data = [&outcome](std::string_view bytes) {
            CHECK(outcome.ends == 0);
            outcome.body += bytes;
            outcome.pieces.emplace_back(bytes);
            return true;
        };
        events.finished = [&outcome](const HttpEnd& end) {
            outcome.end = end;
            ++outcome.ends;
        };
        return events;
    }
    /// Runs the loop until `done`, at most five seconds.
    bool run_until(const std::function<bool()>& done) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
        while (!done() && std::chrono::steady_clock::now() < until) {
            loop.restart();
            loop.run_one_for(Milliseconds(50));
        }
        return done();
    }
    void run_for(int ms) {
        loop.restart();
        loop.run_for(Milliseconds(ms));
    }
    Outcome ask(HttpRequest request) {
        Outcome outcome;
        const std::unique_ptr<HttpExchange> exchange = client->start(std::move(request), events_into(outcome));
        CHECK(outcome.ends == 0);
        run_until([&outcome] { return outcome.ends > 0; });
        loop.poll();
        CHECK(outcome.ends == 1);
        CHECK(outcome.heads.size() <= 1);
        CHECK(outcome.end.message.empty() == (outcome.end.kind == HttpEndKind::complete));
        return outcome;
    }
    Outcome ask(const std::string& url) {
        HttpRequest request;
        request.url = url;
        request.body = "{}";
        return ask(std::move(request));
    }
    /// One exchange with a server of one script.
    Outcome play(Script script) {
        script.insert(script.begin(), read_request());
        Server server(loop, {std::move(script)});
        return ask(server.url());
    }
};

const std::string hello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

std::size_t descriptors_open() {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

// ---- certificates ----

/// Certificates made with the openssl program: one for 127.0.0.1 and localhost, one for other.example.
class Certificates {
public:
    Certificates() {
        std::string name = (std::filesystem::temp_directory_path() / "stele-http-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        folder_ = name;
        make("here", "DNS:localhost,IP:127.0.0.1");
        make("other", "DNS:other.example");
    }
    ~Certificates() { std::filesystem::remove_all(folder_); }
    Certificates(const Certificates&) = delete;
    Certificates& operator=(const Certificates&) = delete;

    [[nodiscard]] std::string file(const std::string& name) const { return folder_ + "/" + name + ".pem"; }
    [[nodiscard]] const std::string& folder() const { return folder_; }
    [[nodiscard]] asio::ssl::context context(const std::string& name) const {
        asio::ssl::context context(asio::ssl::context::tls_server);
        context.use_certificate_file(file(name), asio::ssl::context::pem);
        context.use_private_key_file(folder_ + "/" + name + ".key", asio::ssl::context::pem);
        return context;
    }

private:
    void make(const std::string& name, const std::string& names) const {
        const std::string command =
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test "
            "-keyout " +
            folder_ + "/" + name + ".key -out " + file(name) + " -addext subjectAltName=" + names + " 2>/dev/null";
        REQUIRE(std::system(command.c_str()) == 0);
    }

    std::string folder_;
};

const Certificates& certificates() {
    static const Certificates made;
    return made;
}

}  // namespace

TEST_CASE("a request carries what was asked and what HTTP needs") {
    World world;
    Server server(world.loop, {{read_request(), send(hello)}});
    HttpRequest request;
    request.url = server.url();
    request.headers = {{"Content-Type", "application/json"}, {"Authorization", "Bearer k"}, {"Content-Length", "999"}};
    request.body = R"({"a":1})";
    const Outcome outcome = world.ask(std::move(request));
    CHECK(outcome.end.kind == HttpEndKind::complete);
    CHECK_FALSE(outcome.end.nothing_sent);
    CHECK(outcome.body == "hello");
    REQUIRE(outcome.heads.size() == 1);
    CHECK(outcome.heads[0].status == 200);
    REQUIRE(server.requests.size() == 1);
    CHECK(server.requests[0] == "POST /v1/x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(server.port()) +
                                    "\r\nUser-Agent: stele\r\nAccept-Encoding: gzip, deflate\r\n"
                                    "Content-Type: application/json\r\nAuthorization: Bearer k\r\n"
                                    "Content-Length: 7\r\nConnection: keep-alive\r\n\r\n{\"a\":1}");
}

TEST_CASE("a GET has no body and no length, and headers of the caller's come first") {
    World world;
    Server server(world.loop, {{read_request(), send(hello)}});
    HttpRequest request;
    request.method = "GET";
    request.url = server.url();
    request.headers = {{"user-agent", "mine"}, {"accept-encoding", "identity"}};
    CHECK(world.ask(std::move(request)).end.kind == HttpEndKind::complete);
    REQUIRE(server.requests.size() == 1);
    CHECK_FALSE(contains(server.requests[0], "Content-Length"));
    CHECK_FALSE(contains(server.requests[0], "User-Agent"));
    CHECK(contains(server.requests[0], "user-agent: mine\r\n"));
    CHECK_FALSE(contains(server.requests[0], "gzip"));
}

TEST_CASE("what cannot be sent as asked is not sent") {
    World world;
    const auto kind_of = [&world](HttpRequest request) {
        const Outcome outcome = world.ask(std::move(request));
        CHECK(outcome.end.nothing_sent);
        CHECK_FALSE(contains(outcome.end.message, "hush"));
        return outcome.end.kind;
    };
    HttpRequest request;
    request.url = "ftp://hush/";
    CHECK(kind_of(request) == HttpEndKind::connect_failed);
    request.url = "http://127.0.0.1:1/";
    request.headers = {{"Authorization", "hush\r\nX-More: 1"}};
    CHECK(kind_of(request) == HttpEndKind::connect_failed);
    request.headers = {{"hush : x", "y"}};
    CHECK(kind_of(request) == HttpEndKind::connect_failed);
    request.headers.clear();
    request.method = "GET / HTTP/1.1\r\nhush:";
    CHECK(kind_of(request) == HttpEndKind::connect_failed);
}

TEST_CASE("pieces are handed on when they come") {
    World world;
    const Outcome outcome =
        world.play({send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n"), pause(30),
                    send("4\r\ntwo\n\r\n"), pause(30), send("2\r\nth"), pause(30), send("\r\n0\r\n\r\n")});
    CHECK(outcome.end.kind == HttpEndKind::complete);
    CHECK(outcome.pieces == std::vector<std::string>{"one\n", "two\n", "th"});
    CHECK(outcome.end.duration_ms >= 85);
}

TEST_CASE("an answer that comes byte by byte is the same answer") {
    World world;
    Script script;
    for (const char c : std::string("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                    "5;a=b\r\nhello\r\n0\r\nT: x\r\n\r\n")) {
        script.push_back(send(std::string(1, c)));
    }
    const Outcome outcome = world.play(std::move(script));
    CHECK(outcome.end.kind == HttpEndKind::complete);
    CHECK(outcome.body == "hello");
}

TEST_CASE("each way in which an answer can end has its name") {
    World world;
    const std::string chunked_head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    const struct {
        const char* what;
        Script script;
        HttpEndKind kind;
        std::string body;
    } cases[] = {
        {"no length until close", {send("HTTP/1.1 200 OK\r\n\r\nhello"), close()}, HttpEndKind::complete, "hello"},
        {"no length until reset",
         {send("HTTP/1.1 200 OK\r\n\r\nhello"), pause(30), reset()},
         HttpEndKind::closed_early,
         "hello"},
        {"cut in length",
         {send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"), close()},
         HttpEndKind::closed_early,
         "hello"},
        {"cut in chunks", {send(chunked_head + "5\r\nhello\r\n"), close()}, HttpEndKind::closed_early, "hello"},
        {"cut before the last line end",
         {send(chunked_head + "5\r\nhello\r\n0\r\n"), close()},
         HttpEndKind::closed_early,
         "hello"},
        {"closed without an answer", {close()}, HttpEndKind::closed_early, ""},
        {"reset without an answer", {reset()}, HttpEndKind::closed_early, ""},
        {"closed in the head", {send("HTTP/1.1 200 O"), close()}, HttpEndKind::closed_early, ""},
        {"204", {send("HTTP/1.1 204 No Content\r\n\r\n")}, HttpEndKind::complete, ""},
        {"304", {send("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")}, HttpEndKind::complete, ""},
        {"garbage", {send("SSH-2.0-OpenSSH\r\n\r\n")}, HttpEndKind::malformed, ""},
        {"head too large", {send("HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x'))}, HttpEndKind::too_large, ""},
        {"unknown encoding",
         {send("HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx")},
         HttpEndKind::malformed,
         ""},
        {"redirect",
         {send("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 2\r\n\r\nno")},
         HttpEndKind::complete,
         "no"},
    };
    for (const auto& one : cases) {
        CAPTURE(one.what);
        const Outcome outcome = world.play(one.script);
        CAPTURE(outcome.end.message);
        CHECK(to_text(outcome.end.kind) == std::string(to_text(one.kind)));
        CHECK(outcome.body == one.body);
        CHECK_FALSE(outcome.end.nothing_sent);
        if (one.kind != HttpEndKind::complete) CHECK(contains(outcome.end.message, "127.0.0.1:"));
    }
}

TEST_CASE("a body past its bound ends the exchange") {
    World world;
    Server server(world.loop, {{read_request(), send("HTTP/1.1 200 OK\r\n\r\n" + std::string(50'000, 'x'))}});
    HttpRequest request;
    request.url = server.url();
    request.body_bytes_max = 10'000;
    const Outcome outcome = world.ask(std::move(request));
    CHECK(outcome.end.kind == HttpEndKind::too_large);
    CHECK(outcome.body.size() <= 10'000);
}

TEST_CASE("who refuses a long body before its end is heard") {
    World world;
    Server server(world.loop, {{send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"), Step{}}});
    HttpRequest request;
    request.url = server.url();
    request.body = std::string(8U << 20, 'x');
    const Outcome outcome = world.ask(std::move(request));
    CHECK(outcome.end.kind == HttpEndKind::complete);
    CHECK(outcome.body == "big");
}

TEST_CASE("a server that trickles is stopped by the total time, one that falls silent by the idle time") {
    World world;
    Script trickle = {read_request(), send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")};
    for (int i = 0; i < 100; ++i) {
        trickle.push_back(pause(20));
        trickle.push_back(send("x"));
    }
    Server slow(world.loop, {std::move(trickle)});
    Server silent(world.loop,
                  {{read_request(), send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"), pause(5'000)}});
    Server mute(world.loop, {{read_request(), pause(5'000)}});
    Server late(world.loop, {{read_request(), pause(200), send(hello)}});
    HttpRequest request;
    request.timeout_ms = 300;
    request.idle_timeout_ms = 100;
    request.url = slow.url();
    const Outcome total = world.ask(request);
    CHECK(total.end.kind == HttpEndKind::timeout);
    CHECK(total.end.duration_ms >= 300);
    CHECK(total.body.size() >= 3);
    request.url = silent.url();
    const Outcome idle = world.ask(request);
    CHECK(idle.end.kind == HttpEndKind::idle_timeout);
    CHECK(idle.body == "hello");
    request.url = mute.url();
    CHECK(world.ask(request).end.kind == HttpEndKind::timeout);
    request.url = late.url();
    CHECK(world.ask(request).end.kind == HttpEndKind::complete);  // silence before an answer is thinking
}

TEST_CASE("nobody there is a failure to connect, with nothing sent") {
    World world;
    std::uint16_t port = 0;
    {
        const Server gone(world.loop, {{close()}});
        port = gone.port();
    }
    world.run_for(10);
    const Outcome refused = world.ask("http://127.0.0.1:" + std::to_string(port) + "/");
    CHECK(refused.end.kind == HttpEndKind::connect_failed);
    CHECK(refused.end.nothing_sent);
    CHECK(contains(refused.end.message, "127.0.0.1:" + std::to_string(port)));
    const Outcome unknown = world.ask("http://no-such-name.invalid/");
    CHECK(unknown.end.kind == HttpEndKind::connect_failed);
    CHECK(unknown.end.nothing_sent);
    CHECK(contains(unknown.end.message, "no-such-name.invalid:80"));
}

TEST_CASE("a TLS server that never answers is stopped by the time to connect") {
    World world;
    Server server(world.loop, {{Step{}}});
    HttpRequest request;
    request.url = server.url("https");
    request.connect_timeout_ms = 100;
    const Outcome outcome = world.ask(std::move(request));
    CHECK(outcome.end.kind == HttpEndKind::timeout);
    CHECK(outcome.end.nothing_sent);
}

TEST_CASE("the next request takes the kept connection") {
    World world;
    Server server(world.loop,
                  {{read_request(), send(hello), read_request(), send(hello), read_request(), send(hello)}});
    for (int i = 0; i < 3; ++i) CHECK(world.ask(server.url()).body == "hello");
    CHECK(server.connections == 1);
    CHECK(server.requests.size() == 3);
}

TEST_CASE("connections that are not whole, not wanted or too old are not used again") {
    World world;
    for (const std::string answer : {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
                                     "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nmore"}) {
        Server server(world.loop, {{read_request(), send(answer), read_request(), send(answer)}});
        CHECK(world.ask(server.url()).end.kind == HttpEndKind::complete);
        CHECK(world.ask(server.url()).end.kind == HttpEndKind::complete);
        CHECK(server.connections == 2);
    }
    HttpClientOptions options;
    options.idle_connection_ms = 200;
    World brief(options);
    const std::size_t open = descriptors_open();
    Server server(brief.loop, {{read_request(), send(hello), read_request(), send(hello)}});
    CHECK(brief.ask(server.url()).body == "hello");
    CHECK(descriptors_open() > open + 1);
    brief.run_for(350);
    CHECK(descriptors_open() == open + 1);  // both ends are gone, the acceptor is there
    CHECK(brief.ask(server.url()).body == "hello");
    CHECK(server.connections == 2);
}

TEST_CASE("no more connections are kept than allowed, over all hosts") {
    HttpClientOptions options;
    options.idle_connections_max = 1;
    World world(options);
    const Script script = {read_request(), send(hello), read_request(), send(hello)};
    Server one(world.loop, {script});
    Server other(world.loop, {script});
    CHECK(world.ask(one.url()).body == "hello");
    CHECK(world.ask(other.url()).body == "hello");
    CHECK(world.ask(other.url()).body == "hello");
    CHECK(other.connections == 1);
    CHECK(world.ask(one.url()).body == "hello");
    CHECK(one.connections == 2);
}

TEST_CASE("a kept connection that turns out dead is replaced without telling, once") {
    World world;
    // Closed while idle, and closed or reset at the moment of the next request.
    for (const Script& dying :
         {Script{read_request(), send(hello), close()}, Script{read_request(), send(hello), read_request(), close()},
          Script{read_request(), send(hello), read_request(), reset()}}) {
        Server server(world.loop, {dying, {read_request(), send(hello)}});
        CHECK(world.ask(server.url()).body == "hello");
        const Outcome second = world.ask(server.url());
        CHECK(second.end.kind == HttpEndKind::complete);
        CHECK(second.body == "hello");
        CHECK(server.connections == 2);
    }
    Server dead(world.loop, {{read_request(), send(hello), read_request(), close()}, {read_request(), close()}});
    CHECK(world.ask(dead.url()).body == "hello");
    const Outcome second = world.ask(dead.url());
    CHECK(second.end.kind == HttpEndKind::closed_early);
    CHECK_FALSE(second.end.nothing_sent);
    CHECK(dead.connections == 2);
    Server half(world.loop, {{read_request(), send(hello), read_request(), send("HTTP/1.1 2"), close()}});
    CHECK(world.ask(half.url()).body == "hello");
    CHECK(world.ask(half.url()).end.kind == HttpEndKind::closed_early);
    CHECK(half.connections == 1);
}

TEST_CASE("a certificate holds when its authority is known and its name is right") {
    World world;
    asio::ssl::context context = certificates().context("here");
    asio::ssl::context other_context = certificates().context("other");
    Server server(world.loop, {{tls(), read_request(), send(hello), read_request(), send(hello)}}, &context);
    Server other(world.loop, {{tls(), read_request(), send(hello)}}, &other_context);
    const Outcome unknown = world.ask(server.url("https"));
    CHECK(unknown.end.kind == HttpEndKind::tls_failed);
    CHECK(unknown.end.nothing_sent);
    CHECK(contains(unknown.end.message, "self-signed"));
    CHECK(server.requests.empty());

    World trusting;
    trusting.environment["SSL_CERT_FILE"] = certificates().file("here");
    Server trusted(trusting.loop, {{tls(), read_request(), send(hello), read_request(), send(hello)}}, &context);
    CHECK(trusting.ask(trusted.url("https")).body == "hello");
    CHECK(trusted.server_name.empty());  // an address is no server name
    CHECK(trusting.ask(trusted.url("https")).body == "hello");
    CHECK(trusted.connections == 1);
    CHECK(trusting.ask(trusted.url("https", "localhost")).body == "hello");
    CHECK(trusted.server_name == "localhost");

    World misled;
    misled.environment["SSL_CERT_FILE"] = certificates().file("other");
    Server elsewhere(misled.loop, {{tls(), read_request(), send(hello)}}, &other_context);
    for (const char* host : {"127.0.0.1", "localhost"}) {
        const Outcome outcome = misled.ask(elsewhere.url("https", host));
        CHECK(outcome.end.kind == HttpEndKind::tls_failed);
        CHECK(outcome.end.nothing_sent);
        CHECK(contains(outcome.end.message, "mismatch"));
    }
    CHECK(elsewhere.requests.empty());
}

TEST_CASE("certificates are also found by SSL_CERT_DIR, and a file that cannot be read is said") {
    asio::ssl::context context = certificates().context("here");
    const std::string folder = certificates().folder() + "/hashed";
    std::filesystem::create_directory(folder);
    std::filesystem::copy_file(certificates().file("here"), folder + "/here.pem");
    REQUIRE(std::system(("openssl rehash " + folder).c_str()) == 0);
    World world;
    world.environment["SSL_CERT_DIR"] = folder;
    Server server(world.loop, {{tls(), read_request(), send(hello)}}, &context);
    CHECK(world.ask(server.url("https")).body == "hello");
    World wrong;
    wrong.environment["SSL_CERT_FILE"] = folder + "/none.pem";
    Server unasked(wrong.loop, {{tls(), read_request(), send(hello)}}, &context);
    const Outcome outcome = wrong.ask(unasked.url("https"));
    CHECK(outcome.end.kind == HttpEndKind::tls_failed);
    CHECK(contains(outcome.end.message, "none.pem"));
}

TEST_CASE("a server that speaks no TLS, and a body that TLS does not close, are told apart from an answer") {
    World world;
    world.environment["SSL_CERT_FILE"] = certificates().file("here");
    asio::ssl::context context = certificates().context("here");
    Server plain(world.loop, {{send("HTTP/1.1 400 Bad Request\r\n\r\n"), close()}});
    const Outcome no_tls = world.ask(plain.url("https"));
    CHECK(no_tls.end.kind == HttpEndKind::tls_failed);
    CHECK(no_tls.end.nothing_sent);
    const std::string open_end = "HTTP/1.1 200 OK\r\n\r\nhello";
    Server cut(world.loop, {{tls(), read_request(), send(open_end), close()}}, &context);
    CHECK(world.ask(cut.url("https")).end.kind == HttpEndKind::closed_early);
    Server whole(world.loop, {{tls(), read_request(), send(open_end), shut_tls()}}, &context);
    CHECK(world.ask(whole.url("https")).end.kind == HttpEndKind::complete);
    Server dead(world.loop,
                {{tls(), read_request(), send(hello), read_request(), close()}, {tls(), read_request(), send(hello)}},
                &context);
    CHECK(world.ask(dead.url("https")).body == "hello");
    CHECK(world.ask(dead.url("https")).body == "hello");
    CHECK(dead.connections == 2);
}

TEST_CASE("a proxy is asked for plain URLs in their absolute form") {
    World world;
    Server proxy(world.loop, {{read_request(), send(hello), read_request(), send(hello)}});
    world.environment["http_proxy"] = "http://us%65r:p%40ss@127.0.0.1:" + std::to_string(proxy.port()) + "/";
    CHECK(world.ask("http://api.invalid/v1?x=1").body == "hello");
    CHECK(world.ask("http://api.invalid/v1?x=1").body == "hello");
    CHECK(proxy.connections == 1);
    REQUIRE(proxy.requests.size() == 2);
    CHECK(proxy.requests[0].starts_with("POST http://api.invalid/v1?x=1 HTTP/1.1\r\nHost: api.invalid\r\n"));
    CHECK(contains(proxy.requests[0], "Proxy-Authorization: Basic " + to_base64("user:p@ss") + "\r\n"));

    Server direct(world.loop, {{read_request(), send(hello)}});
    world.environment["NO_PROXY"] = "127.0.0.1";
    CHECK(world.ask(direct.url()).body == "hello");
    CHECK(direct.connections == 1);
}

TEST_CASE("a proxy is asked to connect for https URLs, and what it refuses was not sent") {
    World world;
    world.environment["SSL_CERT_FILE"] = certificates().file("here");
    asio::ssl::context context = certificates().context("here");
    Server proxy(world.loop,
                 {{read_request(), send("HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\n"), tls(),
                   read_request(), send(hello), read_request(), send(hello)}},
                 &context);
    world.environment["HTTPS_PROXY"] = "user:pass@127.0.0.1:" + std::to_string(proxy.port());
    HttpRequest request;
    request.url = "https://localhost:9999/v1";
    request.headers = {{"Authorization", "Bearer hush"}};
    CHECK(world.ask(request).body == "hello");
    CHECK(world.ask(request).body == "hello");
    CHECK(proxy.connections == 1);
    CHECK(proxy.server_name == "localhost");
    REQUIRE(proxy.requests.size() == 3);
    CHECK(proxy.requests[0] ==
          "CONNECT localhost:9999 HTTP/1.1\r\nHost: localhost:9999\r\nUser-Agent: stele\r\n"
          "Proxy-Authorization: Basic " +
              to_base64("user:pass") + "\r\n\r\n");
    CHECK(proxy.requests[1].starts_with("POST /v1 HTTP/1.1\r\nHost: localhost:9999\r\n"));
    CHECK_FALSE(contains(proxy.requests[1], "Proxy-Authorization"));

    for (const Script& refusal : {Script{read_request(), send("HTTP/1.1 407 No\r\nContent-Length: 4\r\n\r\nhush")},
                                  Script{read_request(), close()}, Script{read_request(), send("hush\r\n\r\n")},
                                  Script{read_request(), send("HTTP/1.1 200 OK\r\n\r\nhush")}}) {
        World refused;
        Server refuser(refused.loop, {refusal});
        refused.environment["https_proxy"] = "http://user:pass@127.0.0.1:" + std::to_string(refuser.port());
        const Outcome outcome = refused.ask(request);
        CHECK(outcome.end.kind == HttpEndKind::connect_failed);
        CHECK(outcome.end.nothing_sent);
        CHECK(contains(outcome.end.message, "localhost:9999"));
        CHECK(contains(outcome.end.message, "proxy"));
        CHECK_FALSE(contains(outcome.end.message, "hush"));
        CHECK_FALSE(contains(outcome.end.message, "pass@"));
        if (refusal.size() == 2 && contains(refusal[1].bytes, "407")) CHECK(contains(outcome.end.message, "407"));
    }
}

TEST_CASE("the environment's variables choose the proxy") {
    std::map<std::string, std::string> environment;
    const auto proxy_of = [&environment](const char* url) -> std::string {
        const std::unique_ptr<UrlParts> parts = parse_url(url);
        REQUIRE(parts);
        const Result<std::optional<HttpProxy>> proxy =
            proxy_for(*parts, [&environment](const char* name) -> const char* {
                const auto at = environment.find(name);
                return at == environment.end() ? nullptr : at->second.c_str();
            });
        if (!proxy) return "error: " + proxy.error().message;
        return *proxy ? authority((*proxy)->host, (*proxy)->port) : "";
    };
    CHECK(proxy_of("http://a/").empty());
    environment["ALL_PROXY"] = "http://all:1";
    CHECK(proxy_of("http://a/") == "all:1");
    CHECK(proxy_of("https://a/") == "all:1");
    environment["HTTP_PROXY"] = "upper";
    CHECK(proxy_of("http://a/") == "upper:80");
    CHECK(proxy_of("https://a/") == "all:1");
    environment["REQUEST_METHOD"] = "GET";
    CHECK(proxy_of("http://a/") == "all:1");
    environment["http_proxy"] = "[::1]:3128";
    CHECK(proxy_of("http://a/") == "[::1]:3128");
    environment["https_proxy"] = "";
    environment["HTTPS_PROXY"] = "http://secure:8/path";
    CHECK(proxy_of("https://a/") == "secure:8");
    environment["no_proxy"] = "a";
    CHECK(proxy_of("https://a/").empty());
    environment["no_proxy"] = "";
    for (const char* wrong : {"socks5://u:hush@p:1", "https://u:hush@p", "http://u:hush@", "http://u:hush@p:99999"}) {
        environment["HTTPS_PROXY"] = wrong;
        const std::string error = proxy_of("https://a/");
        CHECK(contains(error, "error: HTTPS_PROXY"));
        CHECK_FALSE(contains(error, "hush"));
    }
}

TEST_CASE("NO_PROXY knows names, what is below them, addresses, networks and ports") {
    const struct {
        const char* list;
        const char* host;
        std::uint16_t port;
        bool exempt;
    } cases[] = {
        {"", "a.com", 80, false},
        {"*", "a.com", 80, true},
        {"a.com", "a.com", 80, true},
        {"a.com", "A.COM.", 80, true},
        {"A.com", "x.a.com", 80, true},
        {".a.com", "x.a.com", 80, true},
        {".a.com", "a.com", 80, true},
        {"*.a.com", "x.y.a.com", 80, true},
        {"a.com", "ba.com", 80, false},
        {"a.com", "a.com.evil", 80, false},
        {"x.a.com", "a.com", 80, false},
        {"b.com, a.com", "a.com", 80, true},
        {"b.com a.com", "a.com", 80, true},
        {" ,, ,", "a.com", 80, false},
        {"a.com:8080", "a.com", 8080, true},
        {"a.com:8080", "x.a.com", 8080, true},
        {"a.com:8080", "a.com", 80, false},
        {"a.com:x", "a.com", 80, false},
        {"127.0.0.1", "127.0.0.1", 80, true},
        {"127.0.0.1:81", "127.0.0.1", 80, false},
        {"127.0.0.1:80", "127.0.0.1", 80, true},
        {"0.0.1", "127.0.0.1", 80, false},
        {"10.0.0.0/8", "10.1.2.3", 80, true},
        {"10.0.0.0/8", "11.1.2.3", 80, false},
        {"10.0.0.0/8", "a.com", 80, false},
        {"10.0.0.0/99", "10.1.2.3", 80, false},
        {"0.0.0.0/0", "10.1.2.3", 80, true},
        {"::1", "::1", 80, true},
        {"[::1]", "::1", 80, true},
        {"[::1]:80", "::1", 80, true},
        {"[::1]:81", "::1", 80, false},
        {"fe80::/10", "fe80::5", 80, true},
        {"[", "a.com", 80, false},
        {".", "a.com", 80, false},
        {":", "a.com", 80, false},
    };
    for (const auto& one : cases) {
        CAPTURE(one.list);
        CAPTURE(one.host);
        CHECK(is_exempt_from_proxy(one.list, one.host, one.port) == one.exempt);
    }
}

TEST_CASE("URLs of http and https are taken apart, and no others") {
    const struct {
        const char* url;
        bool tls;
        const char* host;
        int port;
        const char* target;
    } good[] = {
        {"http://a", false, "a", 80, "/"},
        {"https://a", true, "a", 443, "/"},
        {"HTTPS://Api.Example.COM/V1", true, "api.example.com", 443, "/V1"},
        {"http://a:8080/x/y?z=1&w=%20", false, "a", 8080, "/x/y?z=1&w=%20"},
        {"http://a?x=1", false, "a", 80, "/?x=1"},
        {"http://a/x#fragment", false, "a", 80, "/x"},
        {"http://a#f", false, "a", 80, "/"},
        {"http://a:/x", false, "a", 80, "/x"},
        {"http://127.0.0.1:11434/api", false, "127.0.0.1", 11434, "/api"},
        {"http://[::1]:8080/x", false, "::1", 8080, "/x"},
        {"https://[2001:DB8::1]", true, "2001:db8::1", 443, "/"},
        {"http://under_score.x/", false, "under_score.x", 80, "/"},
        {"http://a/x@y:z", false, "a", 80, "/x@y:z"},
    };
    for (const auto& one : good) {
        CAPTURE(one.url);
        const std::unique_ptr<UrlParts> parts = parse_url(one.url);
        REQUIRE(parts);
        CHECK(parts->tls == one.tls);
        CHECK(parts->host == one.host);
        CHECK(parts->port == one.port);
        CHECK(parts->target == one.target);
    }
    for (const char* url : {"",
                            "a",
                            "a/b",
                            "http:",
                            "http:/a",
                            "http://",
                            "http:///x",
                            "http://:80/",
                            "ftp://a/",
                            "file:///etc/passwd",
                            "http://user:pass@a/",
                            "http://a b/",
                            "http://a/b c",
                            "http://a/\r\nX: y",
                            "http://a:0/",
                            "http://a:65536/",
                            "http://a:8x/",
                            "http://a:-1/",
                            "http://[::1",
                            "http://[nonsense]/",
                            "http://[::1]x/",
                            "http://a\\b/",
                            "http://\xc3\xa9/",
                            "http://a/\xc3\xa9",
                            "http://a%20b/",
                            "://a",
                            "http//a",
                            "http://.a/"}) {
        CAPTURE(url);
        CHECK_FALSE(parse_url(url));
    }
}

TEST_CASE("an exchange can be cancelled at any moment, and says so once") {
    World world;
    Server server(world.loop,
                  {{read_request(), send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"), pause(5'000)}});
    const auto start = [&](Outcome& outcome) {
        HttpRequest request;
        request.url = server.url();
        return world.client->start(std::move(request), world.events_into(outcome));
    };
    Outcome at_once;
    const auto first = start(at_once);
    first->cancel();
    first->cancel();
    CHECK(at_once.ends == 0);
    REQUIRE(world.run_until([&] { return at_once.ends > 0; }));
    CHECK(at_once.end.kind == HttpEndKind::cancelled);
    CHECK(at_once.end.nothing_sent);

    Outcome within;
    const auto second = start(within);
    REQUIRE(world.run_until([&] { return within.body == "hello"; }));
    second->cancel();
    world.run_for(50);
    CHECK(within.ends == 1);
    CHECK(within.end.kind == HttpEndKind::cancelled);
    CHECK_FALSE(within.end.nothing_sent);
    second->cancel();
    world.run_for(20);
    CHECK(within.ends == 1);
}

TEST_CASE("a destroyed exchange says nothing any more, also when its own callback destroys it") {
    World world;
    Server server(world.loop, {{read_request(), send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"), pause(30),
                                send("more")}});
    HttpRequest request;
    request.url = server.url();
    Outcome outcome;
    auto exchange = world.client->start(request, world.events_into(outcome));
    REQUIRE(world.run_until([&] { return outcome.body == "hello"; }));
    exchange.reset();
    world.run_for(80);
    CHECK(outcome.ends == 0);
    CHECK(outcome.body == "hello");

    enum class Where { head, data, finished };
    for (const Where where : {Where::head, Where::data, Where::finished}) {
        auto told = std::make_shared<int>(0);
        std::unique_ptr<HttpExchange> own;
        HttpEvents events;
        // Each holds what it uses itself, so that a closure destroyed too early shows.
        events.head = [told, &own, where](const HttpHead&) {
            if (where == Where::head) own.reset();
            ++*told;
        };
        events.data = [told, &own, where](std::string_view) {
            if (where == Where::data) own.reset();
            *told += 10;
            return true;
        };
        events.finished = [told, &own, where](const HttpEnd&) {
            if (where == Where::finished) own.reset();
            *told += 100;
        };
        own = world.client->start(request, std::move(events));
        const int expected = where == Where::head ? 1 : where == Where::data ? 11 : 121;
        REQUIRE(world.run_until([&] { return *told >= expected; }));
        world.run_for(60);
        CHECK(*told == expected);
    }
}

TEST_CASE("data that returns false ends the exchange as stopped, and cancelling within it as cancelled") {
    World world;
    const Script script = {read_request(),
                           send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n")};
    Server server(world.loop, {script});
    for (const bool cancels : {false, true}) {
        Outcome outcome;
        HttpEvents events = world.events_into(outcome);
        std::unique_ptr<HttpExchange> exchange;
        events.data = [&](std::string_view bytes) {
            outcome.body += bytes;
            if (cancels) exchange->cancel();
            CHECK(outcome.ends == 0);
            return cancels;
        };
        HttpRequest request;
        request.url = server.url();
        exchange = world.client->start(std::move(request), std::move(events));
        REQUIRE(world.run_until([&] { return outcome.ends > 0; }));
        world.run_for(20);
        CHECK(outcome.ends == 1);
        CHECK(outcome.body == "a");
        CHECK(outcome.end.kind == (cancels ? HttpEndKind::cancelled : HttpEndKind::stopped));
    }
}

TEST_CASE("exchanges outlive their client, and a loop may end with exchanges in flight") {
    World world;
    Server server(world.loop, {{read_request(), pause(30), send(hello)}});
    Outcome outcome;
    HttpRequest request;
    request.url = server.url();
    const auto exchange = world.client->start(request, world.events_into(outcome));
    world.client.reset();
    REQUIRE(world.run_until([&] { return outcome.ends > 0; }));
    CHECK(outcome.body == "hello");
    server.stop();
    world.loop.restart();
    CHECK(world.loop.run() < 100);  // nothing is kept, so nothing keeps the loop

    World cut;
    Server other(cut.loop, {{read_request(), pause(5'000)}});
    Outcome never;
    request.url = other.url();
    const auto in_flight = cut.client->start(request, cut.events_into(never));
    cut.run_for(20);
    CHECK(never.ends == 0);
}

TEST_CASE("a thousand exchanges with cancels at random leave no descriptor behind") {
    const std::uint32_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    asio::ssl::context context = certificates().context("here");
    World world;
    world.environment["SSL_CERT_FILE"] = certificates().file("here");
    world.loop.poll();
    const std::size_t open = descriptors_open();
    {
        const std::string streamed = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        Script healthy;
        for (int i = 0; i < 50; ++i) {
            healthy.insert(healthy.end(), {read_request(), send(streamed), pause(1), send("0\r\n\r\n")});
        }
        Script healthy_tls = healthy;
        healthy_tls.insert(healthy_tls.begin(), tls());
        std::vector<Script> scripts;
        std::vector<Script> tls_scripts;
        for (int i = 0; i < 2'000; ++i) {
            if (random() % 4 == 0) {
                scripts.push_back({read_request(), send(streamed), close()});
                tls_scripts.push_back({tls(), read_request(), send(streamed), reset()});
            } else {
                scripts.push_back(healthy);
                tls_scripts.push_back(healthy_tls);
            }
        }
        Server server(world.loop, std::move(scripts));
        Server secure(world.loop, std::move(tls_scripts), &context);
        struct Run {
            Outcome outcome;
            std::unique_ptr<HttpExchange> exchange;
            bool is_destroyed = false;
        };
        std::deque<std::unique_ptr<Run>> running;
        int started = 0;
        int completed = 0;
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while ((started < 1'000 || !running.empty()) && std::chrono::steady_clock::now() < until) {
            while (started < 1'000 && running.size() < 32) {
                auto run = std::make_unique<Run>();
                HttpRequest request;
                request.url = random() % 3 == 0 ? secure.url("https") : server.url();
                request.body = "{}";
                run->exchange = world.client->start(std::move(request), world.events_into(run->outcome));
                running.push_back(std::move(run));
                ++started;
            }
            world.loop.restart();
            world.loop.run_one_for(Milliseconds(5));
            if (random() % 32 == 0 && !running.empty()) {
                Run& run = *running[random() % running.size()];
                if (random() % 2 == 0 && run.exchange) {
                    run.exchange->cancel();
                } else if (run.outcome.ends == 0) {
                    run.exchange.reset();
                    run.is_destroyed = true;
                }
            }
            for (auto at = running.begin(); at != running.end();) {
                const Run& run = **at;
                if (run.outcome.ends > 1) FAIL("an exchange ended twice");
                if (run.outcome.ends == 1 && run.outcome.end.kind == HttpEndKind::complete) ++completed;
                at = run.outcome.ends == 1 || run.is_destroyed ? running.erase(at) : at + 1;
            }
        }
        CHECK(started == 1'000);
        CHECK(running.empty());
        CHECK(completed > 100);
        world.client.reset();
        server.stop();
        secure.stop();
        world.loop.restart();
        world.loop.run_for(Milliseconds(200));
    }
    CHECK(descriptors_open() == open);
}

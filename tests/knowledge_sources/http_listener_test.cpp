#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>

#include "knowledge_sources/http_listener.hpp"

using namespace stele;

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using ErrorOf = boost::system::error_code;
using Milliseconds = std::chrono::milliseconds;

/// Says what it is told to and keeps what it hears.
class Caller : public std::enable_shared_from_this<Caller> {
public:
    Caller(asio::io_context& loop, std::uint16_t port) : socket_(loop) {
        socket_.connect(tcp::endpoint(asio::ip::address_v4::loopback(), port));
        socket_.set_option(tcp::no_delay(true));
    }
    void listen() {
        socket_.async_read_some(asio::buffer(buffer_),
                                [self = shared_from_this()](const ErrorOf& error, std::size_t size) {
                                    self->heard.append(self->buffer_.data(), size);
                                    if (error) {
                                        self->is_closed = true;
                                    } else {
                                        self->listen();
                                    }
                                });
    }
    void say(const std::string& bytes) {
        auto kept = std::make_shared<std::string>(bytes);
        asio::async_write(socket_, asio::buffer(*kept),
                          [self = shared_from_this(), kept](const ErrorOf&, std::size_t) {});
    }
    void hang_up() {
        ErrorOf ignored;
        socket_.close(ignored);
    }

    std::string heard;
    bool is_closed = false;

private:
    tcp::socket socket_;
    std::array<char, 4096> buffer_;
};

struct World {
    asio::io_context loop;
    std::vector<ReceivedRequest> requests;
    HttpReply reply{200, {{"Content-Type", "text/plain"}}, "thanks"};
    std::function<void()> on_request;
    std::unique_ptr<HttpListener> listener;

    void listen(ListenOptions options = {}) {
        options.address = "127.0.0.1:0";
        Result<std::unique_ptr<HttpListener>> made = listen_http(loop, options, [this](const ReceivedRequest& request) {
            requests.push_back(request);
            if (on_request) on_request();
            return reply;
        });
        REQUIRE(made.ok());
        listener = std::move(*made);
    }
    [[nodiscard]] std::uint16_t port() const {
        const std::string& address = listener->address();
        return static_cast<std::uint16_t>(std::strtoul(address.c_str() + address.rfind(':') + 1, nullptr, 10));
    }
    std::shared_ptr<Caller> call(const std::string& bytes) {
        auto caller = std::make_shared<Caller>(loop, port());
        caller->listen();
        caller->say(bytes);
        return caller;
    }
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
    /// What a caller hears until the connection closes.
    std::string hear(const std::string& bytes) {
        const std::shared_ptr<Caller> caller = call(bytes);
        CHECK(run_until([&] { return caller->is_closed; }));
        return caller->heard;
    }
};

const std::string post = "POST /done/7?x=1 HTTP/1.1\r\nHost: h\r\nX-Key: v\r\nContent-Length: 3\r\n";
const std::string thanks = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n";

}  // namespace

TEST_CASE("a request is answered, and its connection is kept for the next") {
    World world;
    world.listen();
    const auto caller = world.call(post + "\r\nabc" + post + "\r\nd");
    REQUIRE(world.run_until([&] { return caller->heard == thanks + "\r\nthanks"; }));
    caller->say("ef");
    REQUIRE(world.run_until([&] { return caller->heard == thanks + "\r\nthanks" + thanks + "\r\nthanks"; }));
    REQUIRE(world.requests.size() == 2);
    const ReceivedRequest& request = world.requests[0];
    CHECK(request.method == "POST");
    CHECK(request.target == "/done/7?x=1");
    CHECK(request.body == "abc");
    REQUIRE(request.find("x-key") != nullptr);
    CHECK(*request.find("x-key") == "v");
    CHECK(request.find("x-none") == nullptr);
    CHECK(world.requests[1].body == "def");
    CHECK_FALSE(caller->is_closed);
}

TEST_CASE("a request that comes byte by byte is the same request") {
    World world;
    world.listen();
    const auto caller = world.call("");
    for (const char c : post + "Connection: close\r\n\r\nabc") {
        caller->say(std::string(1, c));
        world.run_for(1);
    }
    REQUIRE(world.run_until([&] { return caller->is_closed; }));
    CHECK(caller->heard == thanks + "Connection: close\r\n\r\nthanks");
    REQUIRE(world.requests.size() == 1);
    CHECK(world.requests[0].body == "abc");
}

TEST_CASE("who asks whether to go on is told to") {
    World world;
    world.listen();
    const auto caller = world.call(post + "Expect: 100-continue\r\n\r\n");
    REQUIRE(world.run_until([&] { return caller->heard == "HTTP/1.1 100 Continue\r\n\r\n"; }));
    caller->say("abc");
    REQUIRE(world.run_until([&] { return caller->heard.ends_with("thanks"); }));
    CHECK(world.requests.size() == 1);
}

TEST_CASE("a reply to HEAD and one without content have no body, and headers cannot be split") {
    World world;
    world.listen();
    world.reply.headers = {{"X-Echo", "a\r\nX-Injected: 1"}};
    CHECK(world.hear("HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n") ==
          "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n");
    world.reply.status = 204;
    CHECK(world.hear("GET / HTTP/1.1\r\nConnection: close\r\n\r\n") ==
          "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
}

TEST_CASE("what is too large or no HTTP is refused with its reason") {
    World world;
    ListenOptions options;
    options.body_bytes_max = 10;
    world.listen(options);
    CHECK(world.hear("POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n").starts_with("HTTP/1.1 413 "));
    CHECK(world.hear("POST / HTTP/1.1\r\nContent-Length: 200000\r\n\r\n" + std::string(200'000, 'x'))
              .starts_with("HTTP/1.1 413 "));
    CHECK(world.hear("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n")
              .starts_with("HTTP/1.1 413 "));
    CHECK(world.hear("GET / HTTP/1.1\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n").starts_with("HTTP/1.1 431 "));
    CHECK(world.hear("hello\r\n\r\n").starts_with("HTTP/1.1 400 "));
    CHECK(world.requests.empty());
}

TEST_CASE("a request that does not come within its time is refused, and an idle connection closed") {
    World world;
    ListenOptions options;
    options.request_timeout_ms = 100;
    world.listen(options);
    const auto idle = world.call("");
    CHECK(world.hear(post).starts_with("HTTP/1.1 408 "));
    REQUIRE(world.run_until([&] { return idle->is_closed; }));
    CHECK(idle->heard.empty());
}

TEST_CASE("no more callers are heard at once than allowed, and the others wait") {
    World world;
    ListenOptions options;
    options.connections_max = 2;
    world.listen(options);
    const auto first = world.call("");
    const auto second = world.call("");
    world.run_for(20);
    const auto third = world.call("GET / HTTP/1.1\r\n\r\n");
    world.run_for(50);
    CHECK(world.requests.empty());
    first->hang_up();
    REQUIRE(world.run_until([&] { return third->heard.ends_with("thanks"); }));
    CHECK(third->heard.find("Connection: close\r\n") != std::string::npos);  // others may be waiting
    second->hang_up();
}

TEST_CASE("a listener that is destroyed, even by its answer, hears nothing more") {
    World world;
    world.listen();
    const auto idle = world.call("");
    world.run_for(10);
    world.on_request = [&world] { world.listener.reset(); };
    const auto caller = world.call("GET / HTTP/1.1\r\n\r\n");
    REQUIRE(world.run_until([&] { return caller->is_closed && idle->is_closed; }));
    CHECK(caller->heard.empty());
    CHECK(world.requests.size() == 1);
    world.loop.restart();
    CHECK(world.loop.run() < 100);  // nothing of it keeps the loop
}

TEST_CASE("an address is checked, and one that is taken is said to be") {
    World world;
    world.listen();
    CHECK(world.listener->address().starts_with("127.0.0.1:"));
    CHECK(world.port() != 0);
    const auto error_of = [&world](const std::string& address) {
        ListenOptions options;
        options.address = address;
        const Result<std::unique_ptr<HttpListener>> made =
            listen_http(world.loop, options, [](const ReceivedRequest&) { return HttpReply{}; });
        REQUIRE_FALSE(made.ok());
        CHECK(made.error().message.find(address) != std::string::npos);
        return made.error().code;
    };
    CHECK(error_of(world.listener->address()) == ErrorCode::in_use);
    for (const char* address : {"", "8181", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "a.example:80",
                                "::1:80", "[::1]", "[127.0.0.1]:80", "192.0.2.1:0"}) {
        CAPTURE(address);
        CHECK(error_of(address) == ErrorCode::invalid_argument);
    }
    ListenOptions options;
    options.address = "localhost:0";
    CHECK(listen_http(world.loop, options, [](const ReceivedRequest&) { return HttpReply{}; }).ok());
}

TEST_CASE("client and listener understand each other") {
    World world;
    world.listen();
    world.reply.body = std::string(1U << 20, 'x');
    HttpClientOptions options;
    options.environment = [](const char*) -> const char* { return nullptr; };
    const std::unique_ptr<HttpClient> client = make_http_client(world.loop, options);
    for (int i = 0; i < 3; ++i) {
        HttpRequest request;
        request.url = "http://" + world.listener->address() + "/a?b";
        request.body = std::string(300'000, 'y');
        std::string body;
        HttpEnd end;
        bool is_over = false;
        HttpEvents events;
        events.data = [&body](std::string_view bytes) {
            body += bytes;
            return true;
        };
        events.finished = [&](const HttpEnd& told) {
            end = told;
            is_over = true;
        };
        const auto exchange = client->start(std::move(request), std::move(events));
        REQUIRE(world.run_until([&] { return is_over; }));
        CHECK(end.kind == HttpEndKind::complete);
        CHECK(body == world.reply.body);
        CHECK(world.requests.back().body.size() == 300'000);
    }
}

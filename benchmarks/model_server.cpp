#include "benchmarks/model_server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string_view>

#include "benchmarks/support.hpp"

namespace stele {
namespace {

namespace asio = boost::asio;
using Tcp = asio::ip::tcp;
using Microseconds = std::chrono::microseconds;

constexpr std::size_t pieces = 20;
constexpr std::array<const char*, 5> pace_names{"even", "spread", "quick", "now", "hold"};

std::string chunk(const std::string& data) {
    char size[24];
    std::snprintf(size, sizeof size, "%zx\r\n", data.size());
    return size + data + "\r\n";
}

std::string delta_event(const std::string& delta, const char* finish) {
    return "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,"
           "\"model\":\"clock\",\"choices\":[{\"index\":0,\"delta\":" +
           delta + ",\"finish_reason\":" + finish + "}]}\n\n";
}

std::vector<std::string> make_pieces() {
    const std::string answer = model_answer();
    std::vector<std::string> made;
    for (std::size_t i = 0; i < pieces; ++i) {
        const std::size_t from = answer.size() * i / pieces;
        const std::size_t to = answer.size() * (i + 1) / pieces;
        const Value delta = Value::object({{"content", answer.substr(from, to - from)}});
        made.push_back(chunk(delta_event(to_json(delta), "null")));
    }
    return made;
}

// Says as the tokens of the answer how long, in microseconds, the server has taken by its own will.
constexpr std::string_view time_member = "\"completion_tokens\":";

std::string last_piece(Microseconds whole) {
    return chunk(delta_event("{}", "\"stop\"")) +
           chunk(
               "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,"
               "\"model\":\"clock\",\"choices\":[],\"usage\":{\"prompt_tokens\":900," +
               std::string(time_member) + std::to_string(whole.count()) + "}}\n\n") +
           chunk("data: [DONE]\n\n") + "0\r\n\r\n";
}

const std::string head =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    "Cache-Control: no-cache\r\n\r\n";

class Session : public std::enable_shared_from_this<Session> {
public:
    Session(Tcp::socket socket, const std::vector<std::string>& made, std::uint64_t& requests)
        : socket_(std::move(socket)), timer_(socket_.get_executor()), made_(made), requests_(requests) {
        socket_.set_option(Tcp::no_delay(true));
    }

    void read() {
        socket_.async_read_some(asio::buffer(bytes_),
                                [self = shared_from_this()](const boost::system::error_code& error, std::size_t size) {
                                    if (error) return self->timer_.cancel(), void();
                                    self->received_.append(self->bytes_.data(), size);
                                    self->answer_if_whole();
                                    // Also while it answers, to notice that the other side has gone.
                                    self->read();
                                });
    }

private:
    void answer_if_whole() {
        const std::size_t head_end = received_.find("\r\n\r\n");
        if (head_end == std::string::npos) return;
        static constexpr std::string_view length = "ontent-Length: ";
        const std::size_t at = received_.find(length);
        if (at == std::string::npos || at > head_end) return socket_.close();
        const std::size_t whole = head_end + 4 + std::strtoul(received_.c_str() + at + length.size(), nullptr, 10);
        if (received_.size() < whole) return;
        const std::string path = received_.substr(received_.find('/') + 1, 16);
        received_.erase(0, whole);
        begin(path.substr(0, path.find('/')));
    }

    void begin(const std::string& pace) {
        begun_ = Steady::now();
        next_ = 0;
        const std::uint64_t request = requests_++;
        if (pace == "hold") return send(head, [] {});
        if (pace == "now") {
            std::string all = head;
            for (const std::string& piece : made_) all += piece;
            return send(all + last_piece({}), [] {});
        }
        whole_ = pace == "quick"    ? Microseconds(20'000)
                 : pace == "spread" ? Microseconds(150'000 + request * 37 % 64 * 100'000 / 63)
                                    : Microseconds(200'000);
        send(head, [self = shared_from_this()] { self->wait(); });
    }

    // At set times since the request, so that one late piece makes no other late.
    void wait() {
        timer_.expires_at(begun_ + whole_ * static_cast<int>(next_ + 1) / static_cast<int>(pieces));
        timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
            if (error) return;
            std::string piece = self->made_[self->next_++];
            if (self->next_ == pieces) piece += last_piece(self->whole_);
            self->send(std::move(piece), [self] {
                if (self->next_ < pieces) self->wait();
            });
        });
    }

    void send(std::string bytes, std::function<void()> then) {
        sending_ = std::move(bytes);
        asio::async_write(
            socket_, asio::buffer(sending_),
            [self = shared_from_this(), then = std::move(then)](const boost::system::error_code& error, std::size_t) {
                if (!error) then();
            });
    }

    Tcp::socket socket_;
    asio::steady_timer timer_;
    const std::vector<std::string>& made_;
    std::uint64_t& requests_;
    std::array<char, 16'384> bytes_{};
    std::string received_;
    std::string sending_;
    Steady::time_point begun_;
    Microseconds whole_{};
    std::size_t next_ = 0;
};

class Listener {
public:
    Listener(asio::io_context& loop, int descriptor) : acceptor_(loop, Tcp::v4(), descriptor) {}

    void accept() {
        acceptor_.async_accept([this](const boost::system::error_code& error, Tcp::socket socket) {
            if (!error) std::make_shared<Session>(std::move(socket), made_, requests_)->read();
            accept();
        });
    }

private:
    Tcp::acceptor acceptor_;
    const std::vector<std::string> made_ = make_pieces();
    std::uint64_t requests_ = 0;
};

class RawClient {
public:
    RawClient(asio::io_context& loop, Tcp::endpoint server, std::string request, std::size_t& left, RawRun& run)
        : socket_(loop), server_(std::move(server)), request_(std::move(request)), left_(left), run_(run) {}

    void begin() {
        if (left_ == 0) return;
        --left_;
        begun_ = Steady::now();
        if (socket_.is_open()) return ask();
        socket_.async_connect(server_, [this](const boost::system::error_code& error) {
            if (error) give_up("cannot connect to the model server: " + error.message());
            socket_.set_option(Tcp::no_delay(true));
            ask();
        });
    }

private:
    void ask() {
        received_.clear();
        asio::async_write(socket_, asio::buffer(request_), [this](const boost::system::error_code& error, std::size_t) {
            if (error) give_up("cannot write to the model server: " + error.message());
            read();
        });
    }

    void read() {
        socket_.async_read_some(asio::buffer(bytes_), [this](const boost::system::error_code& error, std::size_t size) {
            if (error) give_up("cannot read from the model server: " + error.message());
            received_.append(bytes_.data(), size);
            static constexpr std::string_view end = "\r\n0\r\n\r\n";
            if (received_.size() < end.size() || received_.compare(received_.size() - end.size(), end.size(), end)) {
                return read();
            }
            run_.exchange_ms.push_back(seconds_since(begun_) * 1e3);
            const std::size_t time = received_.find(time_member);
            if (time == std::string::npos) give_up("an answer does not say how long it took");
            const double own_us = std::strtod(received_.c_str() + time + time_member.size(), nullptr);
            run_.beyond_ms.push_back(run_.exchange_ms.back() - own_us / 1e3);
            begin();
        });
    }

    Tcp::socket socket_;
    Tcp::endpoint server_;
    std::string request_;
    std::size_t& left_;
    RawRun& run_;
    std::array<char, 16'384> bytes_{};
    std::string received_;
    Steady::time_point begun_;
};

}  // namespace

std::string model_answer() {
    std::string text;
    while (text.size() < 300) text += "The lease of the second flat ends in May. ";
    return to_json(Value::object(
        {{"writes", Value::Array{Value::object(
                        {{"op", "insert"}, {"region", "answers"}, {"entry", Value::object({{"text", text}})}})}}}));
}

ModelServer::ModelServer() {
    const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof address;
    if (listening < 0 || ::bind(listening, generic, size) != 0 || ::listen(listening, 4'096) != 0 ||
        ::getsockname(listening, generic, &size) != 0) {
        give_up("cannot listen");
    }
    port_ = ntohs(address.sin_port);
    std::fflush(stdout);
    child_ = ::fork();
    if (child_ < 0) give_up("cannot fork");
    if (child_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        asio::io_context loop(1);
        Listener listener(loop, listening);
        listener.accept();
        loop.run();
        ::_exit(0);
    }
    ::close(listening);
}

ModelServer::~ModelServer() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
}

std::size_t ModelServer::open_descriptors() const { return count_descriptors(std::to_string(child_)); }

std::string base_url(std::uint16_t port, Pace pace) {
    return "http://127.0.0.1:" + std::to_string(port) + "/" + pace_names[static_cast<std::size_t>(pace)] + "/v1";
}

RawRun ask_raw(std::uint16_t port, Pace pace, const std::string& body, std::size_t connections, std::size_t requests) {
    const std::string request = "POST /" + std::string(pace_names[static_cast<std::size_t>(pace)]) +
                                "/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(port) +
                                "\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
                                "\r\n\r\n" + body;
    asio::io_context loop(1);
    const Tcp::endpoint server(asio::ip::address_v4::loopback(), port);
    RawRun run;
    std::size_t left = requests;
    std::vector<std::unique_ptr<RawClient>> clients;
    const auto start = Steady::now();
    for (std::size_t i = 0; i < connections; ++i) {
        clients.push_back(std::make_unique<RawClient>(loop, server, request, left, run));
        clients.back()->begin();
    }
    loop.run();
    run.seconds = seconds_since(start);
    return run;
}

std::size_t count_descriptors(const std::string& process) {
    std::error_code error;
    std::size_t count = 0;
    for (std::filesystem::directory_iterator at("/proc/" + process + "/fd", error), end; !error && at != end;
         at.increment(error)) {
        ++count;
    }
    return count;
}

}  // namespace stele

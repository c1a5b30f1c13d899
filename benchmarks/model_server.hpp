// A model that is a clock: a child process that answers OpenAI's chat API over HTTP, streamed, with
// pauses that are known, so that what a client takes beyond them is the client's own. And the client
// that does no more than it must, to be held against. Each answer says in its usage, as output tokens,
// how many microseconds of pauses it had.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace stele {

/// Chosen by the first part of the URL's path.
enum class Pace {
    even,    // 20 pieces in 200 ms
    spread,  // 20 pieces in 150 to 250 ms: 64 times in turn, 200 ms in the mean
    quick,   // 20 pieces in 20 ms
    now,     // all at once
    hold,    // a head and nothing more
};

/// Forks: make it before there is a thread, or a heap worth copying.
class ModelServer {
public:
    ModelServer();
    ModelServer(const ModelServer&) = delete;
    ModelServer& operator=(const ModelServer&) = delete;
    ~ModelServer();

    [[nodiscard]] std::uint16_t port() const { return port_; }
    [[nodiscard]] std::size_t open_descriptors() const;

private:
    std::uint16_t port_ = 0;
    pid_t child_ = 0;
};

std::string base_url(std::uint16_t port, Pace pace);

/// What the model always answers: one write into the region "answers".
std::string model_answer();

struct RawRun {
    std::vector<double> exchange_ms;  // from the request, or the connecting before it, to its last byte
    std::vector<double> beyond_ms;    // the same without the server's pauses
    double seconds = 0;
};
/// Posts the body `requests` times, over so many connections at once, each kept for the next.
RawRun ask_raw(std::uint16_t port, Pace pace, const std::string& body, std::size_t connections, std::size_t requests);

/// Of a process; "self" is this one.
std::size_t count_descriptors(const std::string& process);

}  // namespace stele

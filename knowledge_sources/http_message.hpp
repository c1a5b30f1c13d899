// Reads HTTP/1.1 messages out of bytes that come in any pieces. No sockets and no clocks in here, so that
// every split and every cut can be tried. Not for two threads at once.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "knowledge_sources/http_client.hpp"
#include "knowledge_sources/http_listener.hpp"

namespace stele {

/// One answer. Interim answers (1xx) before it are passed over.
class HttpAnswerReader {
public:
    enum class State {
        more,
        complete,
        closed_early,
        too_large,
        malformed,
        stopped,  // a callback returned false
    };
    struct Options {
        std::size_t body_bytes_max = limits::response_bytes_max;  // after decoding
        bool head_only = false;                                   // no body follows, whatever the head says
    };
    struct Events {
        std::function<bool(const HttpHead&)> head;
        std::function<bool(std::string_view)> data;  // decoded, never empty
    };

    HttpAnswerReader(Options options, Events events);
    ~HttpAnswerReader();
    HttpAnswerReader(const HttpAnswerReader&) = delete;
    HttpAnswerReader& operator=(const HttpAnswerReader&) = delete;

    /// All that the bytes complete is told before this returns. Must not be called by its own callbacks.
    State feed(std::string_view bytes);
    /// The connection ended in good order: complete if the answer is one that ends so.
    State end();

    [[nodiscard]] State state() const;
    /// What is wrong, as the end of a sentence; nothing of what was sent is quoted.
    [[nodiscard]] const std::string& problem() const;
    /// Complete, nothing came after it, and the other side keeps the connection.
    [[nodiscard]] bool is_reusable() const;
    [[nodiscard]] bool has_more_than_answer() const;

private:
    struct Reading;
    std::unique_ptr<Reading> reading_;
};

/// Request after request on one connection.
class HttpRequestReader {
public:
    enum class State { more, complete, head_too_large, body_too_large, malformed };

    explicit HttpRequestReader(std::size_t body_bytes_max);
    ~HttpRequestReader();
    HttpRequestReader(const HttpRequestReader&) = delete;
    HttpRequestReader& operator=(const HttpRequestReader&) = delete;

    State feed(std::string_view bytes);
    /// The complete request; then the next one is read, beginning with the bytes already there.
    ReceivedRequest take();
    [[nodiscard]] State state() const;
    [[nodiscard]] bool is_begun() const;
    /// Of the request that was last complete.
    [[nodiscard]] bool keeps_connection() const;
    /// The head is there and its sender waits for a word before it sends the body. True once a request.
    bool take_wish_to_continue();

private:
    struct Reading;
    std::unique_ptr<Reading> reading_;
};

}  // namespace stele

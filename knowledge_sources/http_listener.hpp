// A small HTTP/1.1 server for what others send to us: callbacks of services that answer later. Bounded
// in connections, sizes and time. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "board/result.hpp"
#include "knowledge_sources/http_client.hpp"

namespace stele {

struct ReceivedRequest {
    std::string method;
    std::string target;   // path and query
    HttpHeaders headers;  // names in lower case
    std::string body;

    [[nodiscard]] const std::string* find(std::string_view name) const;
};

struct HttpReply {
    int status = 200;
    HttpHeaders headers;
    std::string body;
};

/// Destroying it closes every connection, also when `answer` does it. It dies before the loop does.
class HttpListener {
public:
    virtual ~HttpListener() = default;
    /// "127.0.0.1:8181", with the port that was really taken.
    [[nodiscard]] virtual const std::string& address() const = 0;
};

struct ListenOptions {
    std::string address;  // "127.0.0.1:8181", "[::1]:0", "localhost:8181"; port 0: any
    std::size_t body_bytes_max = limits::response_bytes_max;
    std::size_t connections_max = 256;         // further ones wait unheard until one ends
    std::int64_t request_timeout_ms = 30'000;  // for a request to come whole, and for its reply to be taken
};

/// Fails with invalid_argument (no such address), in_use, permission or io. `answer` is called on the loop
/// thread, never from within listen_http(). Content-Length and Connection are added to its reply.
Result<std::unique_ptr<HttpListener>> listen_http(boost::asio::io_context& loop, const ListenOptions& options,
                                                  std::function<HttpReply(const ReceivedRequest&)> answer);

}  // namespace stele

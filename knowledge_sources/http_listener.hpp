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

class HttpListener {
public:
    virtual ~HttpListener() = default;
    /// "127.0.0.1:8181", with the port that was really taken.
    [[nodiscard]] virtual const std::string& address() const = 0;
};

struct ListenOptions {
    std::string address;  // "127.0.0.1:8181", "[::1]:0"; port 0: any
    std::size_t body_bytes_max = limits::response_bytes_max;
    std::size_t connections_max = 256;
    std::int64_t request_timeout_ms = 30'000;
};

/// Fails with invalid_argument (no such address) or in_use. `answer` is called on the loop thread.
Result<std::unique_ptr<HttpListener>> listen_http(boost::asio::io_context& loop, const ListenOptions& options,
                                                  std::function<HttpReply(const ReceivedRequest&)> answer);

}  // namespace stele

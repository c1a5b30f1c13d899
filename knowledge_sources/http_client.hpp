// HTTP/1.1 as a client: TLS with verification, proxies from the environment, connections kept for the
// next request, bodies in pieces as they come, cancelling at any moment. Everything that models,
// services and MCP servers are asked over HTTP goes through here. Loop thread only; host names are looked
// up on a thread of Asio's, on which nothing of ours runs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "board/limits.hpp"

namespace boost::asio {
class io_context;
}

namespace stele {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
    std::string method = "POST";
    /// http:// or https://, with host, optional port, path and query.
    std::string url;
    /// Content-Length and Connection are ours alone; Host, Accept-Encoding and a User-Agent are added unless
    /// they are given. A line break or another control character in one ends the exchange unsent.
    HttpHeaders headers;
    std::string body;
    std::int64_t connect_timeout_ms = limits::connect_timeout_ms;  // resolve, connect, proxy and TLS
    std::int64_t timeout_ms = 60'000;                              // from start to the last byte
    std::int64_t idle_timeout_ms = 60'000;                         // between two pieces, once the answer has begun
    std::size_t body_bytes_max = limits::response_bytes_max;       // after decoding
};

struct HttpHead {
    int status = 0;
    HttpHeaders headers;  // names in lower case, in order

    /// The first header of this lower-case name, or nullptr.
    [[nodiscard]] const std::string* find(std::string_view name) const;
};

enum class HttpEndKind {
    complete,        // the whole body came, as its length or its last chunk says
    connect_failed,  // no such URL or address, refused, unreachable, proxy said no: nothing was sent
    tls_failed,      // the certificate does not hold, or the other side speaks no TLS: nothing was sent
    timeout,         // timeout_ms or connect_timeout_ms
    idle_timeout,
    closed_early,  // the connection ended within the answer
    too_large,     // the body passed body_bytes_max, or a head passed its bound
    malformed,     // this is no HTTP, or its encoding is broken
    stopped,       // `data` returned false
    cancelled,
};
const char* to_text(HttpEndKind kind);

struct HttpEnd {
    HttpEndKind kind = HttpEndKind::cancelled;
    /// A sentence with the host in it; never a header or a key. Empty when complete.
    std::string message;
    /// True when no byte of the request can have been acted on, so that asking again is safe.
    bool nothing_sent = false;
    std::int64_t duration_ms = 0;
};

struct HttpEvents {
    /// At most once, before data. Interim answers (1xx) are not told.
    std::function<void(const HttpHead&)> head;
    /// Pieces of the body, decoded (gzip, deflate, chunked); false ends the exchange.
    std::function<bool(std::string_view)> data;
    /// Exactly once, posted, never from within start() or cancel(); nothing follows it.
    std::function<void(const HttpEnd&)> finished;
};

/// One exchange in flight. Destroying it cancels, and nothing is called any more.
class HttpExchange {
public:
    virtual ~HttpExchange() = default;
    virtual void cancel() = 0;
};

struct HttpClientOptions {
    /// Value of an environment variable, nullptr when unset; for HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and
    /// NO_PROXY (either case; HTTP_PROXY only in lower case when REQUEST_METHOD is set), SSL_CERT_FILE and
    /// SSL_CERT_DIR. Without it: the process's own.
    std::function<const char*(const char* name)> environment;
    std::string user_agent = "stele";
    /// Idle connections kept, over all hosts, and for how long. They keep the loop's run() from returning.
    std::size_t idle_connections_max = 64;
    std::int64_t idle_connection_ms = 30'000;
};

/// Destroying it closes what is idle; exchanges in flight go on. It, and they, die before the loop does.
class HttpClient {
public:
    virtual ~HttpClient() = default;
    /// Redirects are not followed: a key must not travel to a host that the crew does not name.
    virtual std::unique_ptr<HttpExchange> start(HttpRequest request, HttpEvents events) = 0;
};

std::unique_ptr<HttpClient> make_http_client(boost::asio::io_context& loop, HttpClientOptions options = {});

/// The parts of an http or https URL; nothing for any other text, nor for one with a user's name in it.
struct UrlParts {
    bool tls = false;
    std::string host;  // in lower case, without brackets
    std::uint16_t port = 0;
    std::string target;  // path and query, at least "/"
};
std::unique_ptr<UrlParts> parse_url(std::string_view url);

}  // namespace stele

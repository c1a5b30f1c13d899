// Which way a request goes: straight to its host, or through the proxy that the environment names.
// Values only; any thread that may read the environment.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "board/result.hpp"
#include "knowledge_sources/http_client.hpp"

namespace stele {

struct HttpProxy {
    std::string host;  // without brackets
    std::uint16_t port = 80;
    std::string authorization;  // value of Proxy-Authorization, or empty; a secret

    bool operator==(const HttpProxy&) const = default;
};

using HttpEnvironment = std::function<const char*(const char* name)>;

/// The proxy for a URL; none when the environment names none or NO_PROXY takes the host out. Fails with
/// invalid_argument when the proxy named is not one over plain HTTP; the message names the variable.
Result<std::optional<HttpProxy>> proxy_for(const UrlParts& url, const HttpEnvironment& environment);

/// Whether a NO_PROXY list holds for a host: names with all that is below them, with or without a leading
/// dot or "*.", addresses, networks as in 10.0.0.0/8, each with a port or not, or "*".
bool is_exempt_from_proxy(std::string_view list, std::string_view host, std::uint16_t port);

/// "host:port", with brackets around an IPv6 address.
std::string authority(std::string_view host, std::uint16_t port);
/// The same without the port where the scheme has it anyway: the value of Host.
std::string host_header(const UrlParts& url);

}  // namespace stele

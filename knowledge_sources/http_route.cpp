#include "knowledge_sources/http_route.hpp"

#include <charconv>
#include <system_error>
#include <utility>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>

#include "knowledge_sources/encodings.hpp"

namespace stele {

namespace {

namespace ip = boost::asio::ip;
using ErrorOf = boost::system::error_code;

constexpr std::size_t host_bytes_max = 255;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lower(std::string_view text) {
    std::string out;
    for (const char c : text) out += lower(c);
    return out;
}

bool is_host_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

/// Takes "scheme://" off the front; empty when there is none.
std::string take_scheme(std::string_view& text) {
    const std::size_t end = text.find("://");
    if (end == std::string_view::npos) return {};
    std::string scheme = lower(text.substr(0, end));
    text.remove_prefix(end + 3);
    return scheme;
}

struct HostAndPort {
    std::string host;
    std::optional<std::uint16_t> port;
};

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const auto [last, code] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (code != std::errc{} || last != text.data() + text.size() || port == 0) return std::nullopt;
    return port;
}

std::optional<HostAndPort> parse_authority(std::string_view text) {
    HostAndPort parsed;
    std::string_view rest;
    if (!text.empty() && text.front() == '[') {
        const std::size_t close = text.find(']');
        if (close == std::string_view::npos) return std::nullopt;
        parsed.host = lower(text.substr(1, close - 1));
        rest = text.substr(close + 1);
        ErrorOf error;
        ip::make_address_v6(parsed.host, error);
        if (error) return std::nullopt;
    } else {
        const std::size_t colon = std::min(text.find(':'), text.size());
        parsed.host = lower(text.substr(0, colon));
        rest = text.substr(colon);
        if (parsed.host.empty() || parsed.host.size() > host_bytes_max || parsed.host.front() == '.') {
            return std::nullopt;
        }
        for (const char c : parsed.host) {
            if (!is_host_character(c)) return std::nullopt;
        }
    }
    if (rest.empty() || rest == ":") return parsed;
    if (rest.front() != ':') return std::nullopt;
    parsed.port = parse_port(rest.substr(1));
    if (!parsed.port) return std::nullopt;
    return parsed;
}

std::string_view without_end_dot(std::string_view host) {
    if (!host.empty() && host.back() == '.') host.remove_suffix(1);
    return host;
}

bool is_in_network(std::string_view network, std::string_view host) {
    ErrorOf error;
    const ip::address address = ip::make_address(host, error);
    if (error) return false;
    if (address.is_v4()) {
        const ip::network_v4 of = ip::make_network_v4(network, error);
        if (error) return false;
        return ip::network_v4(address.to_v4(), of.prefix_length()).canonical() == of.canonical();
    }
    const ip::network_v6 of = ip::make_network_v6(network, error);
    if (error) return false;
    return ip::network_v6(address.to_v6(), of.prefix_length()).canonical() == of.canonical();
}

bool is_same_address(std::string_view one, std::string_view other) {
    ErrorOf error_of_one;
    ErrorOf error_of_other;
    const ip::address address = ip::make_address(one, error_of_one);
    const ip::address other_address = ip::make_address(other, error_of_other);
    return !error_of_one && !error_of_other && address == other_address;
}

/// One word of a NO_PROXY list.
bool exempts(std::string_view word, std::string_view host, std::uint16_t port) {
    if (word == "*") return true;
    if (word.find('/') != std::string_view::npos) return is_in_network(word, host);
    if (is_same_address(word, host)) return true;
    std::string_view name = word;
    if (!name.empty() && name.front() == '[') {
        const std::size_t close = std::min(name.find(']'), name.size() - 1);
        const std::string_view rest = name.substr(close + 1);
        if (!rest.empty() && (rest.front() != ':' || parse_port(rest.substr(1)) != port)) return false;
        return is_same_address(name.substr(1, close - 1), host);
    }
    const std::size_t colon = name.rfind(':');
    if (colon != std::string_view::npos) {
        if (parse_port(name.substr(colon + 1)) != port) return false;
        name = name.substr(0, colon);
        if (name == "*" || is_same_address(name, host)) return true;
    }
    if (!name.empty() && name.front() == '*') name.remove_prefix(1);
    if (!name.empty() && name.front() == '.') name.remove_prefix(1);
    name = without_end_dot(name);
    if (name.empty()) return false;
    const std::string wanted = lower(name);
    if (host == wanted) return true;
    // The end of an address is no domain that others are below of.
    ErrorOf is_name;
    ip::make_address(host, is_name);
    return is_name && host.size() > wanted.size() && host.ends_with(wanted) &&
           host[host.size() - wanted.size() - 1] == '.';
}

struct Variable {
    std::string name;
    std::string value;
};

/// The first of the variables that is set and not empty.
Variable first_set(const std::vector<std::string>& names, const HttpEnvironment& environment) {
    for (const std::string& name : names) {
        const char* value = environment(name.c_str());
        if (value != nullptr && *value != '\0') return {name, value};
    }
    return {};
}

Result<std::optional<HttpProxy>> parse_proxy(const Variable& variable) {
    std::string_view text = variable.value;
    const std::string scheme = take_scheme(text);
    if (!scheme.empty() && scheme != "http") {
        return Error{ErrorCode::invalid_argument,
                     variable.name + " names a proxy that is not spoken to over http://, and no other can be used"};
    }
    text = text.substr(0, text.find_first_of("/?#"));
    HttpProxy proxy;
    const std::size_t at = text.rfind('@');
    if (at != std::string_view::npos) {
        const std::string_view user_info = text.substr(0, at);
        const std::size_t colon = user_info.find(':');
        std::string credentials = percent_decode(user_info.substr(0, colon)) + ":";
        if (colon != std::string_view::npos) credentials += percent_decode(user_info.substr(colon + 1));
        proxy.authorization = "Basic " + to_base64(credentials);
        text.remove_prefix(at + 1);
    }
    std::optional<HostAndPort> place = parse_authority(text);
    if (!place) return Error{ErrorCode::invalid_argument, variable.name + " is not the URL of a proxy"};
    proxy.host = std::move(place->host);
    if (place->port) proxy.port = *place->port;
    return std::optional<HttpProxy>(std::move(proxy));
}

}  // namespace

std::unique_ptr<UrlParts> parse_url(std::string_view url) {
    for (const char c : url) {
        if (static_cast<unsigned char>(c) <= ' ' || static_cast<unsigned char>(c) >= 0x7F || c == '\\') return nullptr;
    }
    const std::string scheme = take_scheme(url);
    if (scheme != "http" && scheme != "https") return nullptr;
    url = url.substr(0, url.find('#'));
    const std::size_t end = std::min(url.find_first_of("/?"), url.size());
    std::optional<HostAndPort> place = parse_authority(url.substr(0, end));
    if (!place) return nullptr;
    auto parts = std::make_unique<UrlParts>();
    parts->tls = scheme == "https";
    parts->host = std::move(place->host);
    parts->port = place->port.value_or(parts->tls ? 443 : 80);
    parts->target = url.substr(end);
    if (parts->target.empty() || parts->target.front() != '/') parts->target.insert(0, 1, '/');
    return parts;
}

Result<std::optional<HttpProxy>> proxy_for(const UrlParts& url, const HttpEnvironment& environment) {
    std::vector<std::string> names = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    if (!url.tls) {
        names = {"http_proxy", "all_proxy", "ALL_PROXY"};
        // A CGI program finds a request's "Proxy" header, which anybody can send, under the name HTTP_PROXY.
        if (environment("REQUEST_METHOD") == nullptr) names.insert(names.begin() + 1, "HTTP_PROXY");
    }
    const Variable proxy = first_set(names, environment);
    if (proxy.name.empty()) return std::optional<HttpProxy>();
    const Variable exempt = first_set({"no_proxy", "NO_PROXY"}, environment);
    if (is_exempt_from_proxy(exempt.value, url.host, url.port)) return std::optional<HttpProxy>();
    return parse_proxy(proxy);
}

bool is_exempt_from_proxy(std::string_view list, std::string_view host, std::uint16_t port) {
    const std::string wanted = lower(without_end_dot(host));
    constexpr std::string_view separators = ", \t";
    for (std::size_t begin = list.find_first_not_of(separators); begin != std::string_view::npos;) {
        const std::size_t end = std::min(list.find_first_of(separators, begin), list.size());
        if (exempts(list.substr(begin, end - begin), wanted, port)) return true;
        begin = list.find_first_not_of(separators, end);
    }
    return false;
}

std::string authority(std::string_view host, std::uint16_t port) {
    const bool is_v6 = host.find(':') != std::string_view::npos;
    return (is_v6 ? "[" + std::string(host) + "]" : std::string(host)) + ":" + std::to_string(port);
}

std::string host_header(const UrlParts& url) {
    std::string text = authority(url.host, url.port);
    if (url.port == (url.tls ? 443 : 80)) text.erase(text.rfind(':'));
    return text;
}

}  // namespace stele

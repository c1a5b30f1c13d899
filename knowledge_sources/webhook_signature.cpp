#include "knowledge_sources/webhook_signature.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <cstdlib>
#include <vector>

#include "knowledge_sources/encodings.hpp"

namespace stele {
namespace {

constexpr std::int64_t clock_skew_max_s = 300;
constexpr std::string_view encoded_prefix = "whsec_";

std::string key_of(std::string_view secret) {
    if (secret.substr(0, encoded_prefix.size()) != encoded_prefix) return std::string(secret);
    const std::string_view encoded = secret.substr(encoded_prefix.size());
    std::vector<unsigned char> key(encoded.size() / 4 * 3 + 3);
    const int size = EVP_DecodeBlock(key.data(), reinterpret_cast<const unsigned char*>(encoded.data()),
                                     static_cast<int>(encoded.size()));
    if (size < 0) return std::string(secret);
    std::size_t padding = 0;
    while (padding < 2 && padding < encoded.size() && encoded[encoded.size() - 1 - padding] == '=') ++padding;
    return std::string(reinterpret_cast<const char*>(key.data()), static_cast<std::size_t>(size) - padding);
}

}  // namespace

std::string webhook_signature(std::string_view secret, const WebhookMessage& message) {
    const std::string key = key_of(secret);
    std::string signed_text(message.id);
    signed_text += "." + std::to_string(message.time_s) + ".";
    signed_text += message.body;
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
         reinterpret_cast<const unsigned char*>(signed_text.data()), signed_text.size(), digest.data(), &size);
    return "v1," + to_base64(std::string_view(reinterpret_cast<const char*>(digest.data()), size));
}

Status verify_webhook(std::string_view secret, const WebhookMessage& message, std::string_view header,
                      std::int64_t now_s) {
    if (message.time_s < now_s - clock_skew_max_s || message.time_s > now_s + clock_skew_max_s) {
        return Error{ErrorCode::permission, "the time in webhook-timestamp is more than five minutes away"};
    }
    const std::string expected = webhook_signature(secret, message);
    while (!header.empty()) {
        const std::size_t end = header.find(' ');
        const std::string_view given = header.substr(0, end);
        if (given.size() == expected.size() && CRYPTO_memcmp(given.data(), expected.data(), expected.size()) == 0) {
            return Done{};
        }
        header = end == std::string_view::npos ? std::string_view() : header.substr(end + 1);
    }
    return Error{ErrorCode::permission, "webhook-signature does not fit the message"};
}

}  // namespace stele

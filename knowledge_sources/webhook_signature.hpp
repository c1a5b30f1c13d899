// Signatures of messages between Stele and HTTP services, in the form of the Standard Webhooks
// specification (standardwebhooks.com): HMAC-SHA256 over "id.timestamp.body". Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "board/result.hpp"

namespace stele {

struct WebhookMessage {
    std::string_view id;
    std::int64_t time_s = 0;  // Unix time
    std::string_view body;
};

/// "v1," and base64. A secret that begins with "whsec_" is base64 after it; any other is taken as it is.
std::string webhook_signature(std::string_view secret, const WebhookMessage& message);

/// Does one of the space-separated signatures in the header fit? Compared in constant time. A time further
/// than five minutes from `now_s` is refused.
Status verify_webhook(std::string_view secret, const WebhookMessage& message, std::string_view header,
                      std::int64_t now_s);

}  // namespace stele

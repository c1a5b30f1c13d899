// The text encodings that HTTP and its keys need. Values only; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace stele {

/// Standard alphabet, padded.
std::string to_base64(std::string_view bytes);
/// The reverse of exactly that; nothing for any other spelling.
std::optional<std::string> from_base64(std::string_view text);

/// Everything but letters, digits and -._~ as %XX, in upper case.
std::string percent_encode(std::string_view text);
/// %XX becomes its byte; a % without two hex digits stays as it is.
std::string percent_decode(std::string_view text);

}  // namespace stele

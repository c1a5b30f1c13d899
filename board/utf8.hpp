// Text from outside made fit for JSON and for people. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

namespace stele {

/// The text with each byte that is no part of a UTF-8 character replaced by U+FFFD. For JSON, not for terminals.
std::string valid_utf8(std::string_view bytes);

}  // namespace stele

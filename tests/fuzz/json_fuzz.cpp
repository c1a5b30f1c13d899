// Whatever parses has one canonical text: written again it reads as an equal value and is written
// the same, compactly and for people. Whatever does not parse is refused with a byte and a reason.
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "board/value.hpp"

using namespace stele;

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const Result<Value> parsed = parse_json(bytes);
    if (!parsed) {
        require(parsed.error().code == ErrorCode::invalid_argument);
        require(parsed.error().message.starts_with("byte "));
        return 0;
    }
    const std::string text = to_json(*parsed);
    const Result<Value> again = parse_json(text);
    require(again.ok());
    require(*again == *parsed);
    require(compare(*again, *parsed) == 0);
    require(to_json(*again) == text);
    const Result<Value> pretty = parse_json(to_pretty_json(*parsed));
    require(pretty.ok());
    require(*pretty == *parsed);
    return 0;
}

#include "board/utf8.hpp"

namespace stele {

std::string valid_utf8(std::string_view bytes) {
    std::string text;
    text.reserve(bytes.size());
    const auto byte = [bytes](std::size_t at) { return static_cast<unsigned char>(bytes[at]); };
    for (std::size_t at = 0; at < bytes.size();) {
        const unsigned char first = byte(at);
        std::size_t size = 0;
        if (first < 0x80) size = 1;
        if (first >= 0xC2 && first <= 0xDF) size = 2;
        if (first >= 0xE0 && first <= 0xEF) size = 3;
        if (first >= 0xF0 && first <= 0xF4) size = 4;
        bool good = size > 0 && at + size <= bytes.size();
        for (std::size_t i = 1; good && i < size; ++i) good = (byte(at + i) & 0xC0U) == 0x80U;
        if (good && size > 2) {
            const unsigned char second = byte(at + 1);
            // Spelled longer than needed, a half of a surrogate pair, or beyond the last character.
            if (first == 0xE0 && second < 0xA0) good = false;
            if (first == 0xED && second > 0x9F) good = false;
            if (first == 0xF0 && second < 0x90) good = false;
            if (first == 0xF4 && second > 0x8F) good = false;
        }
        if (good) {
            text.append(bytes.substr(at, size));
            at += size;
        } else {
            text += "\xEF\xBF\xBD";
            ++at;
        }
    }
    return text;
}

}  // namespace stele

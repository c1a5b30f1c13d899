#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace stele {

// Numbers in keys are big-endian, so that the byte order of keys is the order of the numbers.

inline void append_be64(std::string& out, std::uint64_t number) {
    for (int shift = 56; shift >= 0; shift -= 8) {
        out.push_back(static_cast<char>((number >> shift) & 0xff));
    }
}

inline void append_be32(std::string& out, std::uint32_t number) {
    for (int shift = 24; shift >= 0; shift -= 8) {
        out.push_back(static_cast<char>((number >> shift) & 0xff));
    }
}

// Bytes that are not there read as zero: callers that read foreign bytes check the length first.
inline std::uint64_t read_be64(std::string_view bytes) {
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < 8; ++i) {
        number = (number << 8) | (i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0u);
    }
    return number;
}

inline std::uint32_t read_be32(std::string_view bytes) {
    std::uint32_t number = 0;
    for (std::size_t i = 0; i < 4; ++i) {
        number = (number << 8) | (i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0u);
    }
    return number;
}

}  // namespace stele

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "board/hash.hpp"
#include "board/ids.hpp"

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

/// Of a record, in Column::log.
inline std::string log_key(BoardNumber board, Position position) {
    std::string key;
    append_be64(key, board.number);
    append_be64(key, position.number);
    return key;
}

/// In Column::blobs. Kind 'b': a payload; 'c': the count of its uses.
inline std::string blob_key(BoardNumber board, char kind, const Hash128& mac) {
    std::string key;
    append_be64(key, board.number);
    key.push_back(kind);
    append_be64(key, mac.high);
    append_be64(key, mac.low);
    return key;
}

}  // namespace stele

// Writing and reading small binary structures: varints, strings, fixed bytes. The reader checks
// every bound and remembers the offset of its first failure; after one, everything reads as zero.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

#include "board/hash.hpp"

namespace stele {

class ByteWriter {
public:
    void u8(std::uint8_t value) { bytes_ += static_cast<char>(value); }
    void varint(std::uint64_t value) {
        while (value >= 0x80) {
            u8(static_cast<std::uint8_t>(value | 0x80));
            value >>= 7;
        }
        u8(static_cast<std::uint8_t>(value));
    }
    void zigzag(std::int64_t value) {
        varint((static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63));
    }
    void real(double value) { fixed(std::bit_cast<std::uint64_t>(value)); }
    void fixed(std::uint64_t value) {
        for (int shift = 56; shift >= 0; shift -= 8) u8(static_cast<std::uint8_t>(value >> shift));
    }
    void hash(const Hash128& value) {
        fixed(value.high);
        fixed(value.low);
    }
    void text(std::string_view value) {
        varint(value.size());
        bytes_.append(value);
    }
    void raw(std::string_view value) { bytes_.append(value); }
    void reserve(std::size_t size) { bytes_.reserve(size); }

    [[nodiscard]] const std::string& bytes() const { return bytes_; }
    std::string take() { return std::move(bytes_); }

private:
    std::string bytes_;
};

class ByteReader {
public:
    explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

    std::uint8_t u8() {
        if (failed_ || at_ >= bytes_.size()) return fail("bytes end too early"), 0;
        return static_cast<std::uint8_t>(bytes_[at_++]);
    }
    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (int shift = 0; shift < 64; shift += 7) {
            const std::uint8_t byte = u8();
            if (shift == 63 && byte > 1) return fail("number too large"), 0;
            value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
            if (byte < 0x80) {
                // One spelling per number, or two encodings of one record would hash differently.
                if (byte == 0 && shift > 0) return fail("number not in its shortest form"), 0;
                return failed_ ? 0 : value;
            }
        }
        return fail("number too long"), 0;
    }
    std::int64_t zigzag() {
        const std::uint64_t value = varint();
        return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
    }
    std::uint32_t varint32() {
        const std::uint64_t value = varint();
        if (value > UINT32_MAX) return fail("number too large"), 0;
        return static_cast<std::uint32_t>(value);
    }
    double real() { return std::bit_cast<double>(fixed()); }
    std::uint64_t fixed() {
        std::uint64_t value = 0;
        for (const char byte : raw(8)) value = value << 8 | static_cast<std::uint8_t>(byte);
        return value;
    }
    Hash128 hash() {
        Hash128 value;
        value.high = fixed();
        value.low = fixed();
        return value;
    }
    std::string_view text() { return raw(varint()); }
    std::string_view raw(std::uint64_t size) {
        if (failed_ || size > bytes_.size() - at_) return fail("bytes end too early"), std::string_view{};
        const std::string_view piece = bytes_.substr(at_, size);
        at_ += size;
        return piece;
    }
    bool flag() {
        const std::uint8_t value = u8();
        if (value > 1) fail("neither yes nor no");
        return value == 1;
    }
    /// A count of things that take at least `bytes_min` bytes each, so that a damaged count cannot
    /// make the caller reserve the world.
    std::uint64_t count(std::uint64_t bytes_min) {
        const std::uint64_t value = varint();
        if (!failed_ && bytes_min > 0 && value > (bytes_.size() - at_) / bytes_min) return fail("count too large"), 0;
        return failed_ ? 0 : value;
    }

    void fail(const char* why) {
        if (failed_) return;
        failed_ = true;
        why_ = why;
        failed_at_ = at_;
    }
    [[nodiscard]] bool ok() const { return !failed_; }
    [[nodiscard]] std::size_t remaining() const { return bytes_.size() - at_; }
    [[nodiscard]] bool at_end() const { return at_ == bytes_.size(); }
    [[nodiscard]] std::size_t offset() const { return failed_ ? failed_at_ : at_; }
    [[nodiscard]] const char* why() const { return why_; }

private:
    std::string_view bytes_;
    std::size_t at_ = 0;
    std::size_t failed_at_ = 0;
    bool failed_ = false;
    const char* why_ = "";
};

}  // namespace stele

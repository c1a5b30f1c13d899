// The hashes Stele uses and what each is for. SHA-256 (OpenSSL): the log's chain and payload
// commitments. SipHash-2-4-128 (libsodium): digests of content under the board family's key, which
// nobody can try out without the key, and, under a fixed key, match keys that must agree between
// machines. Values only; any thread.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace stele {

/// 128 bits that add and subtract modulo 2^128, so that a sum over a set does not depend on order.
struct Hash128 {
    std::uint64_t low = 0;
    std::uint64_t high = 0;

    Hash128& operator+=(const Hash128& other) {
        const std::uint64_t sum = low + other.low;
        high += other.high + (sum < low ? 1 : 0);
        low = sum;
        return *this;
    }
    Hash128& operator-=(const Hash128& other) {
        high -= other.high + (low < other.low ? 1 : 0);
        low -= other.low;
        return *this;
    }
    auto operator<=>(const Hash128&) const = default;
};

/// 32 hex digits, most significant first.
std::string to_hex(const Hash128& hash);
std::string to_hex(std::string_view bytes);

using Digest256 = std::array<std::uint8_t, 32>;

/// SHA-256 over pieces. One object may be used again after finish(). Not for two threads at once.
class Sha256 {
public:
    Sha256();
    ~Sha256();
    Sha256(const Sha256&) = delete;
    Sha256& operator=(const Sha256&) = delete;
    Sha256& update(std::string_view bytes);
    Sha256& update_number(std::uint64_t number);  // 8 bytes, big-endian
    Digest256 finish();

private:
    struct Context;
    std::unique_ptr<Context> context_;
};

/// The 16-byte key of a family of boards (a board and its forks).
using FamilyKey = std::array<std::uint8_t, 16>;
FamilyKey make_random_family_key();
/// 16 random bytes for a payload's salt. From the operating system, so not for the pure core.
std::array<std::uint8_t, 16> make_random_salt();

/// SipHash-2-4-128 of `bytes` under `key`.
Hash128 keyed_digest(const FamilyKey& key, std::string_view bytes);
/// The same under a fixed key: equal on every machine.
Hash128 fixed_digest(std::string_view bytes);

}  // namespace stele

template <>
struct std::hash<stele::Hash128> {
    std::size_t operator()(const stele::Hash128& h) const noexcept { return h.low; }
};

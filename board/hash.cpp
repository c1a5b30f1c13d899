#include "board/hash.hpp"

#include <openssl/evp.h>
#include <sodium/crypto_shorthash_siphash24.h>
#include <sodium/randombytes.h>

#include <cassert>
#include <cstring>

namespace stele {

struct Sha256::Context {
    EVP_MD_CTX* md = EVP_MD_CTX_new();
    Context() = default;
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    ~Context() { EVP_MD_CTX_free(md); }
};

namespace {

// Fetched once: an implicit fetch at every digest costs more than hashing a small record.
const EVP_MD* sha256_method() {
    static const EVP_MD* const method = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    return method;
}

Hash128 siphash(const std::uint8_t* key, std::string_view bytes) {
    static_assert(crypto_shorthash_siphashx24_BYTES == sizeof(Hash128));
    unsigned char out[crypto_shorthash_siphashx24_BYTES];
    crypto_shorthash_siphashx24(out, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), key);
    Hash128 hash;
    std::memcpy(&hash.low, out, 8);
    std::memcpy(&hash.high, out + 8, 8);
    return hash;
}

}  // namespace

Sha256::Sha256() : context_(std::make_unique<Context>()) { EVP_DigestInit_ex2(context_->md, sha256_method(), nullptr); }
Sha256::~Sha256() = default;

Sha256& Sha256::update(std::string_view bytes) {
    EVP_DigestUpdate(context_->md, bytes.data(), bytes.size());
    return *this;
}

Sha256& Sha256::update_number(std::uint64_t number) {
    char bytes[8];
    for (int i = 7; i >= 0; --i, number >>= 8) bytes[i] = static_cast<char>(number & 0xff);
    return update(std::string_view(bytes, 8));
}

Digest256 Sha256::finish() {
    Digest256 digest{};
    unsigned int length = 0;
    const int done = EVP_DigestFinal_ex(context_->md, digest.data(), &length);
    assert(done == 1 && length == digest.size());
    static_cast<void>(done);
    EVP_DigestInit_ex2(context_->md, sha256_method(), nullptr);
    return digest;
}

FamilyKey make_random_family_key() {
    FamilyKey key{};
    randombytes_buf(key.data(), key.size());
    return key;
}

std::array<std::uint8_t, 16> make_random_salt() {
    // Asked for in larger pieces: a system call for each record would cost more than its hash.
    thread_local std::array<std::uint8_t, 4096> pool;
    thread_local std::size_t used = pool.size();
    std::array<std::uint8_t, 16> salt{};
    if (used + salt.size() > pool.size()) {
        randombytes_buf(pool.data(), pool.size());
        used = 0;
    }
    std::memcpy(salt.data(), pool.data() + used, salt.size());
    used += salt.size();
    return salt;
}

Hash128 keyed_digest(const FamilyKey& key, std::string_view bytes) { return siphash(key.data(), bytes); }

Hash128 fixed_digest(std::string_view bytes) {
    static constexpr std::uint8_t key[crypto_shorthash_siphashx24_KEYBYTES] = {};
    return siphash(key, bytes);
}

std::string to_hex(std::string_view bytes) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (const char byte : bytes) {
        text += digits[static_cast<std::uint8_t>(byte) >> 4];
        text += digits[static_cast<std::uint8_t>(byte) & 15];
    }
    return text;
}

std::string to_hex(const Hash128& hash) {
    std::string bytes;
    for (const std::uint64_t half : {hash.high, hash.low}) {
        for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(half >> shift & 0xff);
    }
    return to_hex(bytes);
}

}  // namespace stele

#include "scheduler/fingerprint.hpp"

#include <algorithm>
#include <bit>
#include <cctype>
#include <cmath>
#include <cstring>
#include <numbers>
#include <string>
#include <string_view>

#include <boost/endian/conversion.hpp>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "board/bytes.hpp"

namespace stele {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Digits, and what joins them in dates, clock times, decimals and versions.
bool is_time_or_number(std::string_view word) {
    bool digit = false;
    for (const char c : word) {
        if (is_digit(c)) {
            digit = true;
        } else if (std::string_view(":-./,+TZ%").find(c) == std::string_view::npos) {
            return false;
        }
    }
    return digit;
}

std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> words;
    std::size_t at = 0;
    while (at < text.size()) {
        while (at < text.size() && is_space(text[at])) ++at;
        const std::size_t begin = at;
        while (at < text.size() && !is_space(text[at])) ++at;
        if (at > begin) words.push_back(text.substr(begin, at - begin));
    }
    return words;
}

// FNV-1a, then the finaliser of MurmurHash3, since SimHash looks at every bit.
class WordHash {
public:
    void add(char c) { state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL; }
    [[nodiscard]] std::uint64_t value() const {
        std::uint64_t h = state_;
        h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdULL;
        h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53ULL;
        return h ^ (h >> 33);
    }

private:
    std::uint64_t state_ = 0xcbf29ce484222325ULL;
};

// Case and digits do not count, nor does what a sentence puts around a word.
std::uint64_t masked_hash(std::string_view word) {
    WordHash hash;
    if (is_time_or_number(word)) {
        hash.add('#');
        return hash.value();
    }
    const auto is_mark = [](char c) { return std::string_view(".,;:!?\"'()").find(c) != std::string_view::npos; };
    while (word.size() > 1 && is_mark(word.front())) word.remove_prefix(1);
    while (word.size() > 1 && is_mark(word.back())) word.remove_suffix(1);
    bool in_number = false;
    for (const char c : word) {
        if (!is_digit(c)) {
            hash.add(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
        } else if (!in_number) {
            hash.add('#');
        }
        in_number = is_digit(c);
    }
    return hash.value();
}

// A single word is a name, a path, a status: it must be equal. Several words are prose. A lone time
// stamp or number written as text says nothing by itself.
bool is_free_text(std::size_t words, std::string_view text) {
    return words > 1 || (text.size() >= 8 && is_time_or_number(text));
}

bool is_volatile(const RegionSpec& region, const std::string& field) {
    const std::vector<std::string>& fields = region.volatile_fields;
    return std::find(fields.begin(), fields.end(), field) != fields.end();
}

struct Collector {
    ByteWriter hard;
    std::vector<std::uint64_t> shingles;
    std::vector<std::uint32_t> words;

    void collect(const Value& value) {
        if (value.is_string()) return collect_text(value.as_string());
        if (value.is_array()) {
            hard.u8('[');
            for (const Value& element : value.as_array()) collect(element);
            return hard.u8(']');
        }
        if (value.is_object()) return collect_members(value.as_object(), nullptr);
        hard.u8('v');
        hard.text(to_json(value));
    }

    // Without the volatile fields of the region, if there is one.
    void collect_members(const Value::Object& members, const RegionSpec* region) {
        hard.u8('{');
        for (const auto& [key, member] : members) {
            if (region != nullptr && is_volatile(*region, key)) continue;
            hard.text(key);
            collect(member);
        }
        hard.u8('}');
    }

    void collect_text(std::string_view text) {
        // Most texts are names; they need not be split to be seen as one word.
        if (std::none_of(text.begin(), text.end(), is_space) && !is_free_text(1, text)) {
            hard.u8('s');
            return hard.text(text);
        }
        const std::vector<std::string_view> split = words_of(text);
        if (!is_free_text(split.size(), text)) {
            hard.u8('s');
            return hard.text(text);
        }
        hard.u8('t');
        std::uint64_t before = 0;
        for (const std::string_view word : split) {
            const std::uint64_t now = masked_hash(word);
            words.push_back(static_cast<std::uint32_t>(now));
            shingles.push_back(now);
            if (before != 0) shingles.push_back((before * 0x9e3779b97f4a7c15ULL ^ now) * 0xff51afd7ed558ccdULL);
            before = now;
        }
    }
};

// Counts per bit are kept in bit planes: one addition with carry counts all 64 bits at once.
std::uint64_t simhash(const std::vector<std::uint64_t>& shingles) {
    if (shingles.empty()) return 0;
    std::uint64_t planes[32] = {};
    for (const std::uint64_t hash : shingles) {
        std::uint64_t carry = hash;
        for (int plane = 0; carry != 0 && plane < 32; ++plane) {
            const std::uint64_t next = planes[plane] & carry;
            planes[plane] ^= carry;
            carry = next;
        }
    }
    std::uint64_t out = 0;
    for (int bit = 0; bit < 64; ++bit) {
        std::uint64_t count = 0;
        for (int plane = 0; plane < 32; ++plane) count |= (planes[plane] >> bit & 1) << plane;
        if (2 * count > shingles.size()) out |= std::uint64_t{1} << bit;
    }
    return out;
}

// A value's bytes, equal for equal values and for no others. Made for each write of a region with volatile
// fields, so that it neither makes text of numbers nor copies what it leaves out.
class Canonical {
public:
    void add(const Value& value) {
        if (value.is_string()) {
            text('s', value.as_string());
        } else if (value.is_int()) {
            number('i', static_cast<std::uint64_t>(value.as_int()));
        } else if (value.is_double()) {
            number('d', std::bit_cast<std::uint64_t>(value.as_double()));
        } else if (value.is_array()) {
            number('[', value.as_array().size());
            for (const Value& element : value.as_array()) add(element);
        } else if (value.is_object()) {
            number('{', value.as_object().size());
            for (const auto& [key, member] : value.as_object()) add_member(key, member);
        } else {
            *room(1) = value.is_null() ? 'n' : value.as_bool() ? 't' : 'f';
        }
    }
    void add_member(std::string_view key, const Value& value) {
        text('k', key);
        add(value);
    }
    void text(char tag, std::string_view text) {
        char* const at = room(9 + text.size());
        put_number(at, tag, text.size());
        std::memcpy(at + 9, text.data(), text.size());
    }
    [[nodiscard]] Hash128 hash() const {
        const XXH128_hash_t hash = XXH3_128bits(bytes_.data(), size_);
        return {hash.low64, hash.high64};
    }
    void clear() { size_ = 0; }

private:
    static void put_number(char* at, char tag, std::uint64_t number) {
        *at = tag;
        boost::endian::store_little_u64(reinterpret_cast<unsigned char*>(at + 1), number);
    }
    void number(char tag, std::uint64_t number) { put_number(room(9), tag, number); }
    // A string would look at its own size and end with each of the many short pieces.
    char* room(std::size_t size) {
        if (bytes_.size() - size_ < size) bytes_.resize(2 * (size_ + size));
        size_ += size;
        return bytes_.data() + size_ - size;
    }
    std::vector<char> bytes_;
    std::size_t size_ = 0;
};

}  // namespace

Hash128 exact_fingerprint(const RegionSpec& region, const Entry& entry, bool removed) {
    Hash128 exact = entry.digest;
    if (exact == Hash128{} || !region.volatile_fields.empty()) {
        static thread_local Canonical canonical;  // for its room
        canonical.clear();
        canonical.text('r', region.name);
        if (entry.content.is_object()) {
            for (const auto& [key, member] : entry.content.as_object()) {
                if (!is_volatile(region, key)) canonical.add_member(key, member);
            }
        } else {
            canonical.add(entry.content);
        }
        exact = canonical.hash();
    }
    // Taking something away is another thing to say than writing it.
    if (removed) exact += Hash128{1, 1};
    return exact;
}

Fingerprint fingerprint(const RegionSpec& region, const Entry& entry, bool removed) {
    Collector collector;
    collector.hard.u8(removed ? 'r' : 'w');
    collector.hard.text(region.name);
    // A key names which thing is meant, so however it reads, another key is another thing.
    for (const std::string& field : region.key) {
        const Value* key = entry.content.find(field);
        collector.hard.text(key == nullptr ? std::string() : to_json(*key));
    }
    if (entry.content.is_object()) {
        collector.collect_members(entry.content.as_object(), &region);
    } else {
        collector.collect(entry.content);
    }
    std::sort(collector.words.begin(), collector.words.end());
    collector.words.erase(std::unique(collector.words.begin(), collector.words.end()), collector.words.end());
    return {exact_fingerprint(region, entry, removed), fixed_digest(collector.hard.bytes()),
            simhash(collector.shingles), std::move(collector.words)};
}

Fingerprint fingerprint(const RegionSpec& region, const Value& content, bool removed) {
    Entry entry;
    entry.content = content;
    return fingerprint(region, entry, removed);
}

double similarity(const Fingerprint& a, const Fingerprint& b) {
    if (a.hard != b.hard) return 0;
    const int differing = std::popcount(a.soft ^ b.soft);
    // The chance of a differing bit is the angle between the two, as a share of a half turn.
    return differing >= 32 ? 0 : std::cos(std::numbers::pi * differing / 64.0);
}

}  // namespace stele

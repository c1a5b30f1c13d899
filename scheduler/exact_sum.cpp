// A double is a whole number of 2^-1074, so a long enough integer holds any sum of them: nothing is
// rounded before the end, nothing overflows on the way, and no order of addends is better than another.
#include "scheduler/exact_sum.hpp"

#include <bit>
#include <cmath>
#include <limits>

namespace stele {
namespace {

__extension__ using Wide = unsigned __int128;
using Words = std::vector<std::uint64_t>;  // least significant first, two's complement

// 2^1024 is bit 2098; 64 more bits for as many addends as can be counted, and the sign.
constexpr std::size_t words_count = 35;
constexpr unsigned unit_exponent = 1074;

// words +- value * 2^shift
void add_shifted(Words& words, std::uint64_t value, unsigned shift, bool negative) {
    const Wide parts = static_cast<Wide>(value) << (shift % 64);
    const std::uint64_t addends[] = {static_cast<std::uint64_t>(parts), static_cast<std::uint64_t>(parts >> 64)};
    bool carry = false;
    for (std::size_t i = 0, at = shift / 64; at < words.size() && (i < 2 || carry); ++i, ++at) {
        const Wide addend = static_cast<Wide>(i < 2 ? addends[i] : 0) + (carry ? 1 : 0);
        const Wide before = words[at];
        words[at] = static_cast<std::uint64_t>(negative ? before - addend : before + addend);
        carry = negative ? before < addend : before + addend > std::numeric_limits<std::uint64_t>::max();
    }
}

void add_double(Words& words, double value) {
    const auto bits = std::bit_cast<std::uint64_t>(value);
    const unsigned exponent = static_cast<unsigned>(bits >> 52 & 0x7ff);
    const std::uint64_t fraction = bits & ((std::uint64_t{1} << 52) - 1);
    const std::uint64_t mantissa = exponent == 0 ? fraction : fraction | std::uint64_t{1} << 52;
    add_shifted(words, mantissa, exponent == 0 ? 0 : exponent - 1, bits >> 63 != 0);
}

bool take_sign(Words& words) {
    if (words.back() >> 63 == 0) return false;
    bool carry = true;
    for (std::uint64_t& word : words) {
        word = ~word + (carry ? 1 : 0);
        carry = carry && word == 0;
    }
    return true;
}

std::uint64_t divide(Words& words, std::uint64_t divisor) {
    Wide rest = 0;
    for (std::size_t i = words.size(); i-- > 0;) {
        rest = rest << 64 | words[i];
        words[i] = static_cast<std::uint64_t>(rest / divisor);
        rest %= divisor;
    }
    return static_cast<std::uint64_t>(rest);
}

bool bit(const Words& words, unsigned at) { return (words[at / 64] >> (at % 64) & 1) != 0; }

bool any_bit_below(const Words& words, unsigned end) {
    for (unsigned at = 0; at + 64 <= end; at += 64) {
        if (words[at / 64] != 0) return true;
    }
    for (unsigned at = end - end % 64; at < end; ++at) {
        if (bit(words, at)) return true;
    }
    return false;
}

// The double nearest to words / divisor units, the even one of two that are as near.
double nearest(Words words, std::uint64_t divisor) {
    const bool negative = take_sign(words);
    const std::uint64_t rest = divide(words, divisor);
    unsigned size = static_cast<unsigned>(64 * words.size());
    while (size > 0 && words[size / 64 - 1] == 0) size -= 64;
    while (size > 0 && !bit(words, size - 1)) --size;

    const unsigned shift = size > 53 ? size - 53 : 0;
    std::uint64_t mantissa = 0;
    for (unsigned at = size; at-- > shift;) mantissa = mantissa << 1 | (bit(words, at) ? 1 : 0);
    bool above_half = false;
    bool half = false;
    if (shift > 0) {
        const bool next = bit(words, shift - 1);
        const bool more = rest != 0 || any_bit_below(words, shift - 1);
        above_half = next && more;
        half = next && !more;
    } else {
        above_half = 2 * static_cast<Wide>(rest) > divisor;
        half = 2 * static_cast<Wide>(rest) == divisor;
    }
    if (above_half || (half && mantissa % 2 == 1)) ++mantissa;
    const double size_of_it =
        std::ldexp(static_cast<double>(mantissa), static_cast<int>(shift) - static_cast<int>(unit_exponent));
    return negative ? -size_of_it : size_of_it;
}

Value to_value(double number) { return std::isfinite(number) ? Value::number(number) : Value(); }

__extension__ Words total(__int128 whole, const Words& units) {
    Words words = units;
    words.resize(words_count);
    const bool negative = whole < 0;
    const Wide size = negative ? Wide{0} - static_cast<Wide>(whole) : static_cast<Wide>(whole);
    add_shifted(words, static_cast<std::uint64_t>(size), unit_exponent, negative);
    add_shifted(words, static_cast<std::uint64_t>(size >> 64), unit_exponent + 64, negative);
    return words;
}

}  // namespace

void ExactSum::add(const Value& value) {
    ++count_;
    if (value.is_int()) {
        whole_ += value.as_int();
        return;
    }
    ++doubles_;
    units_.resize(words_count);
    add_double(units_, value.as_double());
}

void ExactSum::remove(const Value& value) {
    --count_;
    if (value.is_int()) {
        whole_ -= value.as_int();
        return;
    }
    if (--doubles_ == 0) {
        units_ = {};
        return;
    }
    add_double(units_, -value.as_double());
}

Value ExactSum::sum() const {
    if (units_.empty() && whole_ <= std::numeric_limits<std::int64_t>::max() &&
        whole_ >= std::numeric_limits<std::int64_t>::min()) {
        return Value(static_cast<std::int64_t>(whole_));
    }
    return to_value(nearest(total(whole_, units_), 1));
}

Value ExactSum::average() const { return to_value(nearest(total(whole_, units_), count_)); }

}  // namespace stele

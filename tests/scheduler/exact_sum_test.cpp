#include "scheduler/exact_sum.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

using namespace stele;

namespace {

__extension__ using Wide = __int128;

ExactSum sum_of(const std::vector<Value>& values) {
    ExactSum sum;
    for (const Value& value : values) sum.add(value);
    return sum;
}

Value value_of(double number) { return Value::number(number); }

// The double nearest to n / d, ties to even, by search: independent of any floating division.
double nearest_quotient(Wide n, Wide d) {
    const bool negative = n < 0;
    if (negative) n = -n;
    if (n == 0) return 0;
    int exponent = 0;
    // Bring n / d into [2^52, 2^53): then its whole part is the mantissa.
    while (n / d < (Wide{1} << 52)) {
        n *= 2;
        --exponent;
    }
    while (n / d >= (Wide{1} << 53)) {
        d *= 2;
        ++exponent;
    }
    Wide mantissa = n / d;
    const Wide rest = n % d;
    if (2 * rest > d || (2 * rest == d && mantissa % 2 == 1)) ++mantissa;
    const double result = std::ldexp(static_cast<double>(mantissa), exponent);
    return negative ? -result : result;
}

}  // namespace

TEST_CASE("a sum of integers is an integer while it fits, whatever is in between") {
    const std::int64_t most = std::numeric_limits<std::int64_t>::max();
    const std::int64_t least = std::numeric_limits<std::int64_t>::min();
    CHECK(ExactSum().sum() == Value(0));
    CHECK(sum_of({Value(most), Value(1), Value(-1)}).sum() == Value(most));
    CHECK(sum_of({Value(least), Value(-1), Value(1)}).sum() == Value(least));
    CHECK(sum_of({Value(most), Value(1)}).sum() == value_of(9223372036854775808.0));
    CHECK(sum_of({Value(9007199254740993), Value(1)}).sum() == Value(9007199254740994));
    CHECK(sum_of({Value(least), value_of(0.5)}).sum() == value_of(-9223372036854775808.0));
}

TEST_CASE("a sum of doubles is the exact sum, rounded once") {
    CHECK(sum_of({value_of(0.1), value_of(0.2), value_of(0.3)}).sum() == value_of(0.6));
    CHECK(sum_of(std::vector<Value>(10, value_of(0.1))).sum() == Value(1));
    CHECK(sum_of({value_of(1e100), value_of(1.5), value_of(-1e100)}).sum() == value_of(1.5));
    CHECK(sum_of({Value(9007199254740993), value_of(0.5), Value(-9007199254740993)}).sum() == value_of(0.5));
    // Half way between two doubles, and a trifle more or less.
    const double half = std::ldexp(1.0, -53);
    const double trifle = std::ldexp(1.0, -1074);
    CHECK(sum_of({value_of(1), value_of(half)}).sum() == value_of(1));
    CHECK(sum_of({value_of(1), value_of(half), value_of(trifle)}).sum() == value_of(std::nextafter(1.0, 2.0)));
    CHECK(sum_of({value_of(1), value_of(half), value_of(-trifle)}).sum() == value_of(1));
    CHECK(sum_of({value_of(-1), value_of(-half), value_of(-trifle)}).sum() == value_of(-std::nextafter(1.0, 2.0)));
    CHECK(sum_of({value_of(trifle), value_of(trifle)}).sum() == value_of(2 * trifle));
    CHECK(sum_of({value_of(trifle), value_of(-trifle)}).sum() == Value(0));
}

TEST_CASE("a sum that passes the greatest double on its way comes back") {
    const double most = std::numeric_limits<double>::max();
    std::vector<Value> values = {value_of(most), value_of(most),  value_of(-most),
                                 value_of(0.25), value_of(-most), value_of(0.5)};
    std::sort(values.begin(), values.end(), [](const Value& a, const Value& b) { return compare(a, b) < 0; });
    do {
        CHECK(sum_of(values).sum() == value_of(0.75));
    } while (std::next_permutation(values.begin(), values.end(),
                                   [](const Value& a, const Value& b) { return compare(a, b) < 0; }));
    CHECK(sum_of({value_of(most), value_of(most)}).sum().is_null());
    CHECK(sum_of({value_of(most), value_of(most)}).average() == value_of(most));
    CHECK(sum_of({value_of(-most), value_of(-most), value_of(-most)}).average() == value_of(-most));
}

TEST_CASE("an average is the double nearest to the exact quotient") {
    CHECK(sum_of({Value(1), Value(2)}).average() == value_of(1.5));
    CHECK(sum_of({Value(1), Value(3)}).average() == Value(2));
    CHECK(sum_of({value_of(0.1), value_of(0.1), value_of(0.1)}).average() == value_of(0.1));
    const double trifle = std::ldexp(1.0, -1074);
    CHECK(sum_of({value_of(trifle), Value(0), Value(0)}).average() == Value(0));
    CHECK(sum_of({value_of(trifle), value_of(trifle), Value(0)}).average() == value_of(trifle));
    // Half way between two doubles: the even one.
    CHECK(sum_of({value_of(trifle), Value(0)}).average() == Value(0));
    CHECK(sum_of({value_of(3 * trifle), Value(0)}).average() == value_of(2 * trifle));
    CHECK(sum_of({value_of(1), value_of(std::nextafter(1.0, 2.0))}).average() == value_of(1));
    // 9 integers whose mean lies half way between two doubles beyond 2^53.
    std::vector<Value> values(9, Value(9007199254740993));
    CHECK(sum_of(values).average() == value_of(9007199254740992.0));
    values.assign(9, Value(9007199254740995));
    CHECK(sum_of(values).average() == value_of(9007199254740996.0));
}

TEST_CASE("random sums and averages agree with whole arithmetic, in any order") {
    for (std::uint32_t seed = 1; seed <= 3'000; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 dice(seed);
        // Multiples of 2^-20 below 2^43 in size, so that 128 bits hold every step of the model.
        const int count = 1 + static_cast<int>(dice() % 40);
        const int bits = 1 + static_cast<int>(dice() % 52);
        std::vector<Value> values;
        Wide units = 0;
        bool all_whole = true;
        for (int i = 0; i < count; ++i) {
            const std::int64_t unit =
                static_cast<std::int64_t>(dice() % (std::uint64_t{1} << bits)) * (dice() % 2 == 0 ? 1 : -1);
            const Value value = value_of(std::ldexp(static_cast<double>(unit), -20));
            all_whole = all_whole && value.is_int();
            units += unit;
            values.push_back(value);
        }
        const ExactSum forward = sum_of(values);
        std::shuffle(values.begin(), values.end(), dice);
        const ExactSum shuffled = sum_of(values);
        const Wide scale = Wide{1} << 20;
        REQUIRE(forward.count() == static_cast<std::uint64_t>(count));
        REQUIRE(forward.sum() == value_of(nearest_quotient(units, scale)));
        REQUIRE(forward.sum() == shuffled.sum());
        REQUIRE(forward.average() == value_of(nearest_quotient(units, scale * count)));
        REQUIRE(forward.average() == shuffled.average());
        if (all_whole) REQUIRE(forward.sum() == Value(static_cast<std::int64_t>(units / scale)));
    }
}

TEST_CASE("random sums of any size are the same in any order") {
    for (std::uint32_t seed = 1; seed <= 2'000; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 dice(seed);
        std::vector<Value> values;
        const int count = 2 + static_cast<int>(dice() % 30);
        for (int i = 0; i < count; ++i) {
            const int exponent = static_cast<int>(dice() % 2098) - 1074 - 52;
            const double size = std::ldexp(static_cast<double>(dice() % (std::uint64_t{1} << 53)), exponent);
            if (!std::isfinite(size)) continue;
            values.push_back(value_of(dice() % 2 == 0 ? size : -size));
            // What is added is often taken away again, so that small things are left.
            if (dice() % 2 == 0) values.push_back(value_of(-values.back().as_double()));
        }
        if (values.empty()) continue;
        const ExactSum forward = sum_of(values);
        for (int round = 0; round < 4; ++round) {
            std::shuffle(values.begin(), values.end(), dice);
            const ExactSum shuffled = sum_of(values);
            REQUIRE(forward.sum() == shuffled.sum());
            REQUIRE(forward.average() == shuffled.average());
        }
    }
}

TEST_CASE("what is added and taken away leaves exactly the rest") {
    for (std::uint32_t seed = 1; seed <= 500; ++seed) {
        CAPTURE(seed);
        std::mt19937_64 dice(seed);
        const double rest =
            std::ldexp(static_cast<double>(dice() % (std::uint64_t{1} << 53)), static_cast<int>(dice() % 600) - 300);
        std::vector<Value> values = {value_of(rest)};
        for (int i = 0; i < 10; ++i) {
            const double other = std::ldexp(static_cast<double>(dice() % (std::uint64_t{1} << 53)),
                                            static_cast<int>(dice() % 1900) - 1000);
            values.push_back(value_of(other));
            values.push_back(value_of(-other));
        }
        std::shuffle(values.begin(), values.end(), dice);
        REQUIRE(sum_of(values).sum() == value_of(rest));
    }
}

// Shewchuk, "Adaptive Precision Floating-Point Arithmetic and Fast Robust Geometric Predicates"
// (1997): a sum kept as an expansion of non-overlapping doubles loses nothing.
#include "scheduler/exact_sum.hpp"

#include <cmath>
#include <limits>
#include <utility>

namespace stele {
namespace {

void grow(std::vector<double>& partials, double x) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < partials.size(); ++i) {
        double y = partials[i];
        if (std::fabs(x) < std::fabs(y)) std::swap(x, y);
        const double high = x + y;
        const double low = y - (high - x);
        if (low != 0) partials[kept++] = low;
        x = high;
    }
    partials.resize(kept);
    partials.push_back(x);
}

double rounded(const std::vector<double>& partials) {
    if (partials.empty()) return 0;
    std::size_t i = partials.size() - 1;
    double high = partials[i];
    double low = 0;
    while (i > 0) {
        const double x = high;
        const double y = partials[--i];
        high = x + y;
        low = y - (high - x);
        if (low != 0) break;
    }
    // A half-way case rounds by the sign of what is left below it.
    if (i > 0 && ((low < 0 && partials[i - 1] < 0) || (low > 0 && partials[i - 1] > 0))) {
        const double y = low * 2;
        const double x = high + y;
        if (y == x - high) high = x;
    }
    return high;
}

// partials - quotient * count, exactly, then rounded: how far a candidate quotient is off.
double residual(std::vector<double> partials, double quotient, double count) {
    const double product = quotient * count;
    const double error = std::fma(quotient, count, -product);
    grow(partials, -product);
    grow(partials, -error);
    return std::fabs(rounded(partials));
}

}  // namespace

void ExactSum::add(const Value& value) {
    ++count_;
    if (value.is_int()) {
        // In two halves, so that no integer is rounded on its way into a double.
        const std::int64_t whole = value.as_int();
        const std::int64_t high = whole / (std::int64_t{1} << 32) * (std::int64_t{1} << 32);
        grow(partials_, static_cast<double>(high));
        grow(partials_, static_cast<double>(whole - high));
        whole_ += whole;
    } else {
        grow(partials_, value.as_double());
        all_whole_ = false;
    }
}

Value ExactSum::sum() const {
    if (all_whole_ && whole_ <= std::numeric_limits<std::int64_t>::max() &&
        whole_ >= std::numeric_limits<std::int64_t>::min()) {
        return Value(static_cast<std::int64_t>(whole_));
    }
    const double sum = rounded(partials_);
    return std::isfinite(sum) ? Value::number(sum) : Value();
}

Value ExactSum::average() const {
    const double count = static_cast<double>(count_);
    const double guess = rounded(partials_) / count;
    if (!std::isfinite(guess)) return Value();
    double best = guess;
    for (const double candidate : {std::nextafter(guess, -HUGE_VAL), std::nextafter(guess, HUGE_VAL)}) {
        if (residual(partials_, candidate, count) < residual(partials_, best, count)) best = candidate;
    }
    return Value::number(best);
}

}  // namespace stele

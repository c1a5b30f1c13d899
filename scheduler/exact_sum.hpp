// The correctly rounded sum and average of numbers, whatever the order they come in. Plain value.
#pragma once

#include <cstdint>
#include <vector>

#include "board/value.hpp"

namespace stele {

class ExactSum {
public:
    /// A number value.
    void add(const Value& value);
    /// One that was added before.
    void remove(const Value& value);
    [[nodiscard]] std::uint64_t count() const { return count_; }
    /// An integer when every addend was one and the sum fits int64, else the nearest double; null
    /// when that is beyond the greatest double.
    [[nodiscard]] Value sum() const;
    /// The double nearest to the exact quotient. At least one addend.
    [[nodiscard]] Value average() const;

private:
    // Whole numbers and doubles are kept apart, each without loss; `units_` counts the smallest
    // doubles (2^-1074) in two's complement, and is empty while there is no double.
    __extension__ __int128 whole_ = 0;
    std::vector<std::uint64_t> units_;
    std::uint64_t count_ = 0;
    std::uint64_t doubles_ = 0;
};

}  // namespace stele

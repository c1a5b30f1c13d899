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
    [[nodiscard]] std::uint64_t count() const { return count_; }
    /// An integer when every addend was one and the sum fits int64, else the nearest double.
    [[nodiscard]] Value sum() const;
    /// The double nearest to the exact quotient. At least one addend.
    [[nodiscard]] Value average() const;

private:
    std::vector<double> partials_;
    __extension__ __int128 whole_ = 0;
    bool all_whole_ = true;
    std::uint64_t count_ = 0;
};

}  // namespace stele

// Which of many intervals hold a number: a sorted array with the greatest end of each half, so that a
// look-up costs the logarithm of their count and what it finds (the augmented tree of Cormen et al.,
// "Introduction to Algorithms", 14.3). Intervals that come are gathered, and sorted in when there are
// enough of them or they have been looked through often enough to pay for it. For the incremental matcher
// alone.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace stele::matching {

class IntervalIndex {
public:
    /// Closed at both ends; infinite ends are allowed.
    void add(double low, double high, std::uint32_t id);
    void remove(std::uint32_t id);
    /// Appends the ids whose interval holds `point`, each once, in no order that means anything but the same
    /// for the same history.
    void find(double point, std::vector<std::uint32_t>& ids) const;
    [[nodiscard]] std::size_t size() const { return sorted_.size() - gone_ + fresh_.size(); }

private:
    struct Interval {
        double low = 0;
        double high = 0;
        std::uint32_t id = 0;
        bool gone = false;
    };
    // What a look-up walks through, apart from what it finds: as little memory as can be.
    struct Fork {
        double low = 0;       // of the interval in the middle
        double greatest = 0;  // end within the subtree of which this is the middle
    };
    void rebuild() const;
    double set_greatest(std::size_t begin, std::size_t end) const;
    void find(std::size_t begin, std::size_t end, double point, std::vector<std::uint32_t>& ids) const;

    mutable std::vector<Interval> sorted_;
    mutable std::vector<Fork> forks_;  // of each of them
    mutable std::vector<Interval> fresh_;
    mutable std::size_t gone_ = 0;
    mutable std::size_t looked_through_ = 0;  // of `fresh_`, since it was last empty
};

}  // namespace stele::matching

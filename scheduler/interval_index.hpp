// Which of many intervals hold a number: a sorted array with the greatest end of each half, so that a
// look-up costs the logarithm of their count and what it finds (the augmented tree of Cormen et al.,
// "Introduction to Algorithms", 14.3). Intervals that come are gathered and sorted in when there are
// enough of them to pay for it. For the incremental matcher alone.
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
        double greatest = 0;  // end within the subtree of which this is the middle
        std::uint32_t id = 0;
        bool gone = false;
    };
    void rebuild();
    double set_greatest(std::size_t begin, std::size_t end);
    void find(std::size_t begin, std::size_t end, double point, std::vector<std::uint32_t>& ids) const;

    std::vector<Interval> sorted_;
    std::vector<Interval> fresh_;
    std::size_t gone_ = 0;
};

}  // namespace stele::matching

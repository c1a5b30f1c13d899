#include "scheduler/interval_index.hpp"

#include <algorithm>
#include <limits>

namespace stele::matching {

void IntervalIndex::add(double low, double high, std::uint32_t id) {
    fresh_.push_back({low, high, id, false});
    if (fresh_.size() > 32 + sorted_.size() / 64) rebuild();
}

void IntervalIndex::remove(std::uint32_t id) {
    const auto is_it = [id](const Interval& one) { return one.id == id && !one.gone; };
    if (const auto fresh = std::find_if(fresh_.begin(), fresh_.end(), is_it); fresh != fresh_.end()) {
        fresh_.erase(fresh);
        return;
    }
    const auto found = std::find_if(sorted_.begin(), sorted_.end(), is_it);
    if (found == sorted_.end()) return;
    found->gone = true;
    if (++gone_ > 32 + sorted_.size() / 2) rebuild();
}

void IntervalIndex::find(double point, std::vector<std::uint32_t>& ids) const {
    looked_through_ += fresh_.size();
    if (looked_through_ > 32 + 16 * sorted_.size()) rebuild();
    find(0, sorted_.size(), point, ids);
    for (const Interval& one : fresh_) {
        if (one.low <= point && point <= one.high) ids.push_back(one.id);
    }
}

void IntervalIndex::rebuild() const {
    sorted_.insert(sorted_.end(), fresh_.begin(), fresh_.end());
    fresh_.clear();
    looked_through_ = 0;
    sorted_.erase(std::remove_if(sorted_.begin(), sorted_.end(), [](const Interval& one) { return one.gone; }),
                  sorted_.end());
    gone_ = 0;
    std::sort(sorted_.begin(), sorted_.end(),
              [](const Interval& a, const Interval& b) { return a.low != b.low ? a.low < b.low : a.id < b.id; });
    forks_.resize(sorted_.size());
    set_greatest(0, sorted_.size());
}

double IntervalIndex::set_greatest(std::size_t begin, std::size_t end) const {
    if (begin == end) return -std::numeric_limits<double>::infinity();
    const std::size_t middle = begin + (end - begin) / 2;
    const double below = set_greatest(begin, middle);
    const double above = set_greatest(middle + 1, end);
    forks_[middle] = {sorted_[middle].low, std::max({sorted_[middle].high, below, above})};
    return forks_[middle].greatest;
}

void IntervalIndex::find(std::size_t begin, std::size_t end, double point, std::vector<std::uint32_t>& ids) const {
    while (begin < end) {
        const std::size_t middle = begin + (end - begin) / 2;
        const Fork& fork = forks_[middle];
        if (fork.greatest < point) return;
        // Most halves hold nothing: they are not worth a call.
        if (begin < middle && forks_[begin + (middle - begin) / 2].greatest >= point) find(begin, middle, point, ids);
        if (fork.low > point) return;
        const Interval& one = sorted_[middle];
        if (point <= one.high && !one.gone) ids.push_back(one.id);
        begin = middle + 1;
    }
}

}  // namespace stele::matching

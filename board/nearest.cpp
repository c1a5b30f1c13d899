#include "board/nearest.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

#include "board/limits.hpp"

namespace stele {

namespace {

using Row = std::array<std::size_t, limits::name_bytes_max + 1>;

std::size_t length_gap(std::string_view a, std::string_view b) {
    return a.size() > b.size() ? a.size() - b.size() : b.size() - a.size();
}

/// Both texts fit a Row. Neighbours may be swapped once, and nothing edited between them.
std::size_t distance(std::string_view a, std::string_view b) {
    Row before_last{};
    Row last{};
    Row row{};
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        before_last = last;
        last = row;
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t changed = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            row[j] = std::min({changed, last[j] + 1, row[j - 1] + 1});
            const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
        }
    }
    return row[b.size()];
}

}  // namespace

std::string nearest_name(std::string_view wanted, const std::vector<std::string>& known) {
    // Longer ones are no names, and would make a message cost more than it helps.
    if (wanted.size() > limits::name_bytes_max) return {};
    std::size_t smallest = std::max<std::size_t>(2, wanted.size() / 3) + 1;
    const std::string* nearest = nullptr;
    for (const std::string& name : known) {
        if (name.size() > limits::name_bytes_max || length_gap(wanted, name) >= smallest) continue;
        const std::size_t found = distance(wanted, name);
        // As many edits as letters would make any short name near any other.
        if (found >= smallest || found >= std::max(wanted.size(), name.size())) continue;
        smallest = found;
        nearest = &name;
    }
    return nearest == nullptr ? std::string() : *nearest;
}

}  // namespace stele

#include "board/log/buffered_store.hpp"

#include <iterator>

namespace stele {

Result<std::optional<std::string>> BufferedStore::get(Column column, std::string_view key) const {
    const Pending& pending = pending_[static_cast<std::size_t>(column)];
    if (const auto found = pending.find(key); found != pending.end()) return found->second;
    return engine_.get(column, key);
}

Status BufferedStore::scan(Column column, std::string_view from, std::string_view to, bool reverse,
                           const std::function<bool(std::string_view, std::string_view)>& visit) const {
    const Pending& pending = pending_[static_cast<std::size_t>(column)];
    auto begin = pending.lower_bound(from);
    auto end = pending.lower_bound(to);
    if (begin == end || from >= to) return engine_.scan(column, from, to, reverse, visit);

    // A merge of two ordered sequences; where both have a key, the gathered one counts.
    bool go_on = true;
    const auto give = [&](const Pending::value_type& item) { return !item.second || visit(item.first, *item.second); };
    auto ahead = begin;
    auto behind = end;
    const auto exhausted = [&] { return reverse ? behind == begin : ahead == end; };
    const auto next = [&]() -> const Pending::value_type& { return reverse ? *std::prev(behind) : *ahead; };
    const auto advance = [&] { reverse ? static_cast<void>(--behind) : static_cast<void>(++ahead); };
    const Status scanned = engine_.scan(column, from, to, reverse, [&](std::string_view key, std::string_view value) {
        while (go_on && !exhausted() && (reverse ? next().first > key : next().first < key)) {
            go_on = give(next());
            advance();
        }
        if (!go_on) return false;
        if (!exhausted() && next().first == key) {
            go_on = give(next());
            advance();
        } else {
            go_on = visit(key, value);
        }
        return go_on;
    });
    if (!scanned.ok()) return scanned;
    while (go_on && !exhausted()) {
        go_on = give(next());
        advance();
    }
    return Done{};
}

Status BufferedStore::apply(const StoreBatch& batch) {
    for (const StoreBatch::Operation& operation : batch.operations) {
        pending_[static_cast<std::size_t>(operation.column)][operation.key] = operation.value;
        ++count_;
    }
    return Done{};
}

Status BufferedStore::flush() {
    if (count_ == 0) return Done{};
    StoreBatch batch;
    batch.operations.reserve(count_);
    for (std::size_t column = 0; column < column_count; ++column) {
        while (!pending_[column].empty()) {
            auto node = pending_[column].extract(pending_[column].begin());
            batch.operations.push_back({static_cast<Column>(column), std::move(node.key()), std::move(node.mapped())});
        }
    }
    count_ = 0;
    return engine_.apply(batch);
}

}  // namespace stele

#include "board/log/fork_store.hpp"

#include <algorithm>
#include <deque>

#include "board/bytes.hpp"
#include "board/index_shape.hpp"
#include "board/log/keys.hpp"

namespace stele {
namespace {

constexpr std::size_t board_bytes = 8;
constexpr std::size_t entry_key_bytes = 28;
constexpr std::size_t page_first = 4;
constexpr std::size_t page_max = 512;

// Keys of the meta and terms columns begin with a letter for their kind.
std::size_t board_offset(Column column) { return column == Column::meta || column == Column::terms ? 1 : 0; }

// A board's own keys in a range, a page at a time.
class OwnKeys {
public:
    OwnKeys(const StateStore& store, Column column, std::string from, std::string to, bool reverse)
        : store_(store), column_(column), from_(std::move(from)), to_(std::move(to)), reverse_(reverse) {}

    struct Item {
        std::string key;
        std::string value;
    };

    // Null at the end, or at a failure.
    const Item* peek() {
        if (page_.empty() && !ended_) fetch();
        return page_.empty() ? nullptr : &page_.front();
    }
    void advance() { page_.pop_front(); }
    [[nodiscard]] const Status& status() const { return status_; }

private:
    void fetch() {
        std::size_t wanted = size_;
        status_ = store_.scan(column_, from_, to_, reverse_, [&](std::string_view key, std::string_view value) {
            page_.push_back({std::string(key), std::string(value)});
            return --wanted > 0;
        });
        ended_ = wanted > 0 || !status_.ok();
        size_ = std::min(size_ * 4, page_max);
        if (page_.empty()) return;
        if (reverse_) {
            to_ = page_.back().key;
        } else {
            from_ = page_.back().key + '\0';
        }
    }

    const StateStore& store_;
    Column column_;
    std::string from_;
    std::string to_;
    bool reverse_;
    std::deque<Item> page_;
    std::size_t size_ = page_first;
    bool ended_ = false;
    Status status_ = Done{};
};

class ForkStore final : public StateStore {
public:
    ForkStore(StateStore& store, const ForkPoint& fork) : store_(store), fork_(fork) {
        append_be64(child_, fork.child.number);
        append_be64(parent_, fork.parent.number);
        append_be64(behind_parent_, fork.parent.number + 1);
    }

    Result<std::optional<std::string>> get(Column column, std::string_view key) const override {
        Result<std::optional<std::string>> own = store_.get(column, key);
        if (!own.ok() || own->has_value() || !is_ours(column, key)) return own;
        const std::string theirs = renamed(column, key, parent_);
        Result<std::optional<std::string>> found = store_.get(column, theirs);
        if (!found.ok() || !found->has_value()) return found;
        const Result<bool> shown = shows(column, theirs, **found);
        if (!shown.ok()) return shown.error();
        return *shown ? found : std::optional<std::string>();
    }

    Status scan(Column column, std::string_view from, std::string_view to, bool reverse,
                const std::function<bool(std::string_view, std::string_view)>& visit) const override {
        if (from >= to || !is_ours(column, from)) return store_.scan(column, from, to, reverse, visit);
        std::string their_from = renamed(column, from, parent_);
        std::string their_to = is_ours(column, to) ? renamed(column, to, parent_) : end_of_parent(column, to);
        narrow(column, their_from, their_to);

        OwnKeys own(store_, column, std::string(from), std::string(to), reverse);
        bool go_on = true;
        const auto give_own = [&] {
            go_on = visit(own.peek()->key, own.peek()->value);
            own.advance();
        };
        Status failed = Done{};
        const Status scanned =
            store_.scan(column, their_from, their_to, reverse, [&](std::string_view their_key, std::string_view value) {
                const Result<bool> shown = shows(column, their_key, value);
                if (!shown.ok()) return failed = shown.error(), false;
                if (!*shown) return true;
                const std::string key = renamed(column, their_key, child_);
                while (go_on && own.peek() != nullptr && (reverse ? own.peek()->key > key : own.peek()->key < key)) {
                    give_own();
                }
                if (!go_on) return false;
                if (own.peek() != nullptr && own.peek()->key == key) {
                    give_own();
                } else {
                    go_on = visit(key, value);
                }
                return go_on;
            });
        if (!scanned.ok()) return scanned;
        if (!failed.ok()) return failed;
        while (go_on && own.peek() != nullptr) give_own();
        return own.status();
    }

    Status apply(const StoreBatch& batch) override { return store_.apply(batch); }
    Status sync() override { return store_.sync(); }
    bool is_durable() const override { return store_.is_durable(); }

private:
    [[nodiscard]] bool is_ours(Column column, std::string_view key) const {
        const std::size_t offset = board_offset(column);
        return key.size() >= offset + board_bytes && key.substr(offset, board_bytes) == child_;
    }

    static std::string renamed(Column column, std::string_view key, const std::string& board) {
        std::string name(key);
        name.replace(board_offset(column), board_bytes, board);
        return name;
    }

    [[nodiscard]] std::string end_of_parent(Column column, std::string_view to) const {
        return std::string(to.substr(0, board_offset(column))) + behind_parent_;
    }

    // What the parent wrote later need not even be looked at where the keys are in order of position.
    void narrow(Column column, std::string& from, std::string& to) const {
        if (column == Column::log) {
            std::string end = parent_;
            append_be64(end, fork_.at.number + 1);
            to = std::min(to, end);
        } else if (column == Column::entries && from.size() == entry_key_bytes) {
            std::string newest = from.substr(0, entry_key_bytes - board_bytes);
            append_be64(newest, ~fork_.at.number);
            from = std::max(from, newest);
        }
    }

    // Had the parent this key, with this value, at the fork? `key` is the parent's.
    Result<bool> shows(Column column, std::string_view key, std::string_view value) const {
        const std::uint64_t at = fork_.at.number;
        switch (column) {
            case Column::log:
                return key.size() == 2 * board_bytes && read_be64(key.substr(board_bytes)) <= at;
            case Column::entries:
                return key.size() == entry_key_bytes && ~read_be64(key.substr(entry_key_bytes - board_bytes)) <= at;
            case Column::blobs:
                return true;
            case Column::terms:
                // Segments that were there. Blocks go when their segment comes, so a fork has its own.
                return key.front() == 's' && key.size() == 15 &&
                       read_be32(key.substr(11)) < IndexShape{}.segments_due({at});
            case Column::meta:
                return shows_meta(key, value);
        }
        return false;
    }

    Result<bool> shows_meta(std::string_view key, std::string_view value) const {
        ByteReader in(value);
        switch (key.front()) {
            case 'I':
                return in.varint() <= fork_.at.number;
            case 'H':
                return key.size() == 21 && ~read_be64(key.substr(13)) <= fork_.at.number;
            case 'K':
                return key.size() >= 13 ? had_entry(key.substr(9, 4), in.varint()) : Result<bool>(false);
            case 'A':
                return key.size() == 21 ? had_entry(key.substr(9, 4), read_be64(key.substr(13))) : Result<bool>(false);
            default:
                // The head and the table of regions are the child's own from the outset.
                return false;
        }
    }

    Result<bool> had_entry(std::string_view region, std::uint64_t number) const {
        std::string from = parent_ + std::string(region);
        append_be64(from, number);
        const std::string to = from + std::string(board_bytes + 1, '\xff');
        append_be64(from, ~fork_.at.number);
        bool had = false;
        const Status scanned = store_.scan(Column::entries, from, to, false,
                                           [&](std::string_view, std::string_view) { return had = true, false; });
        if (!scanned.ok()) return scanned.error();
        return had;
    }

    StateStore& store_;
    ForkPoint fork_;
    std::string child_;
    std::string parent_;
    std::string behind_parent_;
};

}  // namespace

std::unique_ptr<StateStore> make_fork_store(StateStore& store, const ForkPoint& fork) {
    return std::make_unique<ForkStore>(store, fork);
}

}  // namespace stele

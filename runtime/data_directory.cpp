#include "runtime/data_directory.hpp"

#include <algorithm>
#include <filesystem>

#include "board/bytes.hpp"
#include "board/limits.hpp"
#include "board/log/fork_store.hpp"
#include "board/log/keys.hpp"
#include "board/log/memory_store.hpp"
#include "board/log/rocks_store.hpp"
#include "board/record_index.hpp"

namespace stele {
namespace {

constexpr char board_kind = 'D';   // address -> BoardInfo
constexpr char number_kind = 'N';  // the next board's number
constexpr std::size_t import_batch_keys = 4'096;

std::string address_key(const BoardAddress& address) {
    ByteWriter key;
    key.u8(static_cast<std::uint8_t>(board_kind));
    key.text(address.tenant);
    key.text(address.board);
    return key.take();
}

std::string encode(const BoardInfo& info) {
    ByteWriter out;
    out.varint(info.number.number);
    out.text(info.address.tenant);
    out.text(info.address.board);
    out.raw({reinterpret_cast<const char*>(info.family.data()), info.family.size()});
    out.zigzag(info.created.ms);
    if (info.parent) {
        out.varint(info.parent.number);
        out.text(info.parent_name);
        out.varint(info.forked_at.number);
    }
    return out.take();
}

Result<BoardInfo> decode(std::string_view bytes) {
    ByteReader in(bytes);
    BoardInfo info;
    info.number.number = in.varint();
    info.address.tenant = in.text();
    info.address.board = in.text();
    const std::string_view family = in.raw(info.family.size());
    info.created.ms = in.zigzag();
    if (in.ok() && !in.at_end()) {
        info.parent.number = in.varint();
        info.parent_name = in.text();
        info.forked_at.number = in.varint();
        if (!info.parent || info.parent >= info.number) in.fail("a fork of what is not there");
    }
    if (!in.ok() || !in.at_end()) return Error{ErrorCode::corrupt, "the catalog of boards is damaged"};
    std::copy(family.begin(), family.end(), info.family.begin());
    return info;
}

// Every key of a board in a column begins with this, but for the meta column's kind byte.
std::string board_prefix(BoardNumber board) {
    std::string key;
    append_be64(key, board.number);
    return key;
}

// Everything that a board has: its log, its payloads, and what is derived from them.
std::vector<DataDirectory::KeyRange> all_ranges(BoardNumber board) {
    std::vector<DataDirectory::KeyRange> ranges = DataDirectory::derived_ranges(board);
    for (const Column column : {Column::log, Column::blobs}) {
        ranges.push_back({column, board_prefix(board), board_prefix({board.number + 1})});
    }
    return ranges;
}

}  // namespace

bool is_board_name(const std::string& name) {
    const auto plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    };
    return !name.empty() && name.size() <= limits::name_bytes_max && plain(name.front()) &&
           std::all_of(name.begin(), name.end(), [&](char c) { return plain(c) || c == '.' || c == '_' || c == '-'; });
}

Error bad_board_name() {
    return Error{ErrorCode::invalid_argument,
                 "a board's name has 1 to " + std::to_string(limits::name_bytes_max) +
                     " letters, digits, '.', '_' or '-', and begins with a letter or digit"};
}

Result<std::unique_ptr<DataDirectory>> DataDirectory::own(const std::string& path, std::string& torn_tail) {
    RocksOpenReport report;
    Result<std::unique_ptr<StateStore>> store = open_rocks_store(path, report);
    if (!store.ok()) return store.error();
    torn_tail = report.torn_tail;
    return std::unique_ptr<DataDirectory>(new DataDirectory(path, std::move(*store)));
}

Result<std::unique_ptr<DataDirectory>> DataDirectory::read(const std::string& path) {
    if (!std::filesystem::exists(path)) {
        return Error{ErrorCode::not_found, "there is no data directory " + path + "; name it with --data DIR"};
    }
    Result<std::unique_ptr<StateReader>> reader = open_rocks_reader(path);
    if (!reader.ok()) return reader.error();
    return std::unique_ptr<DataDirectory>(new DataDirectory(path, std::move(*reader)));
}

Result<std::vector<BoardInfo>> DataDirectory::boards() const {
    std::vector<BoardInfo> boards;
    Status decoded = Done{};
    const Status scanned = store_->scan(Column::meta, std::string(1, board_kind), std::string(1, board_kind + 1), false,
                                        [&](std::string_view, std::string_view bytes) {
                                            Result<BoardInfo> info = decode(bytes);
                                            if (!info.ok()) {
                                                decoded = info.error();
                                                return false;
                                            }
                                            boards.push_back(std::move(*info));
                                            return true;
                                        });
    if (!scanned.ok()) return scanned.error();
    if (!decoded.ok()) return decoded.error();
    std::sort(boards.begin(), boards.end(), [](const BoardInfo& a, const BoardInfo& b) { return a.number < b.number; });
    return boards;
}

Result<std::optional<BoardInfo>> DataDirectory::find(const BoardAddress& address) const {
    const Result<std::optional<std::string>> stored = store_->get(Column::meta, address_key(address));
    if (!stored.ok()) return stored.error();
    if (!stored->has_value()) return std::optional<BoardInfo>();
    Result<BoardInfo> info = decode(**stored);
    if (!info.ok()) return info.error();
    return std::optional<BoardInfo>(std::move(*info));
}

Result<StateStore*> DataDirectory::store_of(const BoardInfo& board) {
    if (!board.parent) return store_.get();
    if (const auto known = forks_.find(board.number); known != forks_.end()) return known->second.get();
    const Result<std::vector<BoardInfo>> all = boards();
    if (!all.ok()) return all.error();
    for (const BoardInfo& parent : *all) {
        if (parent.number != board.parent) continue;
        // A parent's number is always less than its child's: this ends.
        const Result<StateStore*> below = store_of(parent);
        if (!below.ok()) return below;
        std::unique_ptr<StateStore>& store = forks_[board.number];
        store = make_fork_store(**below, {board.number, board.parent, board.forked_at});
        return store.get();
    }
    return Error{ErrorCode::corrupt, "board \"" + board.address.board + "\" was forked off a board that is gone"};
}

Result<BoardInfo> DataDirectory::create(const BoardAddress& address, TimeMs now) {
    BoardInfo info;
    info.address = address;
    info.family = make_random_family_key();
    info.created = now;
    return make(std::move(info), {}, false);
}

Result<BoardInfo> DataDirectory::create_fork(const BoardAddress& address, TimeMs now, const BoardInfo& parent,
                                             Position at, const Fill& fill) {
    BoardInfo info;
    info.address = address;
    info.family = parent.family;
    info.created = now;
    info.parent = parent.number;
    info.parent_name = parent.address.board;
    info.forked_at = at;
    return make(std::move(info), fill, false);
}

Result<BoardInfo> DataDirectory::make(BoardInfo info, const Fill& fill, bool has_keys) {
    const Result<std::optional<BoardInfo>> known = find(info.address);
    if (!known.ok()) return known.error();
    if (known->has_value()) {
        return Error{ErrorCode::already_exists, "board \"" + info.address.board + "\" exists already"};
    }
    const Result<BoardNumber> number = next_number();
    if (!number.ok()) return number.error();
    info.number = *number;
    if (!has_keys) {
        // An import that was cut short may have left some under this number.
        const Status clean = erase_keys(info.number, {});
        if (!clean.ok()) return clean.error();
    }
    ByteWriter next;
    next.varint(info.number.number + 1);
    StoreBatch batch;
    batch.put(Column::meta, std::string(1, number_kind), next.take());
    batch.put(Column::meta, address_key(info.address), encode(info));
    if (fill) {
        const Status filled = fill(info, batch);
        if (!filled.ok()) return filled.error();
    }
    Status stored_now = store_->apply(batch);
    if (stored_now.ok()) stored_now = store_->sync();
    if (!stored_now.ok()) return stored_now.error();
    return info;
}

Result<BoardNumber> DataDirectory::next_number() const {
    const Result<std::optional<std::string>> stored = store_->get(Column::meta, std::string(1, number_kind));
    if (!stored.ok()) return stored.error();
    return BoardNumber{stored->has_value() ? ByteReader(**stored).varint() : 1};
}

Result<BoardInfo> DataDirectory::create_import(
    const BoardAddress& address,
    const std::function<Result<BoardInfo>(BoardNumber number, StateStore& into)>& make_keys) {
    const Result<BoardNumber> number = next_number();
    if (!number.ok()) return number.error();
    const Status clean = erase_keys(*number, {});
    if (!clean.ok()) return clean.error();
    const std::unique_ptr<StateStore> made = make_memory_store();
    Result<BoardInfo> info = make_keys(*number, *made);
    if (!info.ok()) return info;
    if (!address.board.empty()) info->address = address;
    if (!is_board_name(info->address.board)) return bad_board_name();
    const Result<std::optional<BoardInfo>> known = find(info->address);
    if (!known.ok()) return known.error();
    if (known->has_value()) {
        return Error{ErrorCode::already_exists,
                     "board \"" + info->address.board + "\" exists already; choose another name with --name"};
    }
    Status stored = Done{};
    StoreBatch batch;
    for (const KeyRange& range : all_ranges(*number)) {
        const Status read =
            made->scan(range.column, range.from, range.to, false, [&](std::string_view key, std::string_view value) {
                batch.put(range.column, std::string(key), std::string(value));
                if (batch.operations.size() < import_batch_keys) return true;
                stored = store_->apply(batch);
                batch.clear();
                return stored.ok();
            });
        if (!read.ok()) return read.error();
        if (!stored.ok()) return stored.error();
    }
    stored = store_->apply(batch);
    if (!stored.ok()) return stored.error();
    // Only now is it a board.
    return make(std::move(*info), {}, true);
}

Status DataDirectory::erase_keys(BoardNumber board, StoreBatch batch) {
    for (const KeyRange& range : all_ranges(board)) {
        const Status erased =
            store_->scan(range.column, range.from, range.to, false, [&](std::string_view key, std::string_view) {
                batch.erase(range.column, std::string(key));
                return true;
            });
        if (!erased.ok()) return erased;
    }
    return store_->apply(batch);
}

std::vector<DataDirectory::KeyRange> DataDirectory::derived_ranges(BoardNumber board) {
    const std::string begin = board_prefix(board);
    const std::string end = board_prefix({board.number + 1});
    std::vector<KeyRange> ranges = {{Column::entries, begin, end}};
    for (const char kind : {'B', 'R', 'K', 'A', 'I', 'H', 'C'})
        ranges.push_back({Column::meta, kind + begin, kind + end});
    for (const auto& [from, to] : index_key_ranges(board)) ranges.push_back({Column::terms, from, to});
    return ranges;
}

Status DataDirectory::check_no_forks(const BoardInfo& board) const {
    const Result<std::vector<BoardInfo>> all = boards();
    if (!all.ok()) return all.error();
    for (const BoardInfo& other : *all) {
        if (other.parent != board.number) continue;
        return Error{ErrorCode::refused,
                     "board \"" + other.address.board + "\" was forked off \"" + board.address.board +
                         "\" and shares its log; remove that one first: stele boards rm " + other.address.board};
    }
    return Done{};
}

Status DataDirectory::remove(const BoardInfo& board) {
    const Status alone = check_no_forks(board);
    if (!alone.ok()) return alone;
    StoreBatch batch;
    batch.erase(Column::meta, address_key(board.address));
    Status applied = erase_keys(board.number, std::move(batch));
    if (applied.ok()) applied = store_->sync();
    if (!applied.ok()) return applied;
    forks_.erase(board.number);
    std::error_code ignored;
    std::filesystem::remove(head_path(board.number), ignored);
    return Done{};
}

Result<std::optional<HeadMark>> DataDirectory::head(BoardNumber board) const {
    return read_head_mark(head_path(board));
}

Status DataDirectory::backup(const std::string& target) { return checkpoint(*store_, target); }

}  // namespace stele

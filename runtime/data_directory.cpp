#include "runtime/data_directory.hpp"

#include <algorithm>
#include <filesystem>

#include "board/bytes.hpp"
#include "board/log/keys.hpp"
#include "board/log/rocks_store.hpp"
#include "board/record_index.hpp"

namespace stele {
namespace {

constexpr char board_kind = 'D';   // address -> BoardInfo
constexpr char number_kind = 'N';  // the next board's number

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

}  // namespace

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

Result<BoardInfo> DataDirectory::create(const BoardAddress& address, TimeMs now) {
    const Result<std::optional<BoardInfo>> known = find(address);
    if (!known.ok()) return known.error();
    if (known->has_value()) {
        return Error{ErrorCode::already_exists, "board \"" + address.board + "\" exists already"};
    }
    const std::string number_key(1, number_kind);
    const Result<std::optional<std::string>> stored = store_->get(Column::meta, number_key);
    if (!stored.ok()) return stored.error();
    BoardInfo info;
    info.number.number = stored->has_value() ? ByteReader(**stored).varint() : 1;
    info.address = address;
    info.family = make_random_family_key();
    info.created = now;
    ByteWriter next;
    next.varint(info.number.number + 1);
    StoreBatch batch;
    batch.put(Column::meta, number_key, next.take());
    batch.put(Column::meta, address_key(address), encode(info));
    Status stored_now = store_->apply(batch);
    if (stored_now.ok()) stored_now = store_->sync();
    if (!stored_now.ok()) return stored_now.error();
    return info;
}

std::vector<DataDirectory::KeyRange> DataDirectory::derived_ranges(BoardNumber board) {
    const std::string begin = board_prefix(board);
    const std::string end = board_prefix({board.number + 1});
    std::vector<KeyRange> ranges = {{Column::entries, begin, end}};
    for (const char kind : {'B', 'R', 'K', 'A', 'I', 'H'}) ranges.push_back({Column::meta, kind + begin, kind + end});
    for (const auto& [from, to] : index_key_ranges(board)) ranges.push_back({Column::terms, from, to});
    return ranges;
}

Status DataDirectory::remove(const BoardInfo& board) {
    StoreBatch batch;
    batch.erase(Column::meta, address_key(board.address));
    std::vector<KeyRange> ranges = derived_ranges(board.number);
    for (const Column column : {Column::log, Column::blobs}) {
        ranges.push_back({column, board_prefix(board.number), board_prefix({board.number.number + 1})});
    }
    for (const KeyRange& range : ranges) {
        const Status erased =
            store_->scan(range.column, range.from, range.to, false, [&](std::string_view key, std::string_view) {
                batch.erase(range.column, std::string(key));
                return true;
            });
        if (!erased.ok()) return erased;
    }
    Status applied = store_->apply(batch);
    if (applied.ok()) applied = store_->sync();
    if (!applied.ok()) return applied;
    std::error_code ignored;
    std::filesystem::remove(head_path(board.number), ignored);
    return Done{};
}

Result<std::optional<HeadMark>> DataDirectory::head(BoardNumber board) const {
    return read_head_mark(head_path(board));
}

Status DataDirectory::backup(const std::string& target) { return checkpoint(*store_, target); }

}  // namespace stele

// A data directory: one owner process, many boards. Knows which boards there are and under which
// number, and hands out the store that holds them all. docs/log_format.md has its layout.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "board/hash.hpp"
#include "board/ids.hpp"
#include "board/log/head_mark.hpp"
#include "board/log/store.hpp"
#include "board/result.hpp"

namespace stele {

struct BoardInfo {
    BoardNumber number;
    BoardAddress address;
    /// Of this board and its forks; content digests are made under it.
    FamilyKey family{};
    TimeMs created;
};

class DataDirectory {
public:
    /// Takes ownership; creates the directory when there is none. `torn_tail` is what the engine
    /// cut off the end of its write-ahead log, in words, or empty.
    static Result<std::unique_ptr<DataDirectory>> own(const std::string& path, std::string& torn_tail);
    /// Reads beside an owner, or without one. Nothing is created.
    static Result<std::unique_ptr<DataDirectory>> read(const std::string& path);

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] StateStore& store() { return *store_; }

    [[nodiscard]] Result<std::vector<BoardInfo>> boards() const;
    [[nodiscard]] Result<std::optional<BoardInfo>> find(const BoardAddress& address) const;
    /// Fails with already_exists.
    Result<BoardInfo> create(const BoardAddress& address, TimeMs now);
    /// Forgets a board and everything it wrote.
    Status remove(const BoardInfo& board);

    /// Where everything derived from a board's log is kept: column and half-open range of keys.
    struct KeyRange {
        Column column;
        std::string from;
        std::string to;
    };
    static std::vector<KeyRange> derived_ranges(BoardNumber board);

    /// How far readers may read: what had been synced. None: nothing yet.
    [[nodiscard]] Result<std::optional<HeadMark>> head(BoardNumber board) const;
    /// False: part of what it is kept in is damaged, and may have told more.
    [[nodiscard]] bool is_head_whole(BoardNumber board) const { return is_head_mark_whole(head_path(board)); }
    [[nodiscard]] std::string head_path(BoardNumber board) const { return head_mark_path(path_, board); }

    /// A copy to continue from, safe while boards are written.
    Status backup(const std::string& target);

private:
    DataDirectory(std::string path, std::unique_ptr<StateStore> store)
        : path_(std::move(path)), store_(std::move(store)) {}

    std::string path_;
    std::unique_ptr<StateStore> store_;
};

}  // namespace stele

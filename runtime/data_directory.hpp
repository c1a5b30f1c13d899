// A data directory: one owner process, many boards. Knows which boards there are and under which
// number, and hands out the store that holds them all. docs/log_format.md has its layout.
#pragma once

#include <functional>
#include <map>
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
    /// A fork: the board it was forked off, and the last record that both share. None: it is no fork.
    BoardNumber parent;
    std::string parent_name;
    Position forked_at;
};

bool is_board_name(const std::string& name);
/// What is_board_name() asks for.
Error bad_board_name();

class DataDirectory {
public:
    /// Takes ownership; creates the directory when there is none. `torn_tail` is what the engine
    /// cut off the end of its write-ahead log, in words, or empty.
    static Result<std::unique_ptr<DataDirectory>> own(const std::string& path, std::string& torn_tail);
    /// Reads beside an owner, or without one. Nothing is created.
    static Result<std::unique_ptr<DataDirectory>> read(const std::string& path);

    [[nodiscard]] const std::string& path() const { return path_; }
    /// Everything in the directory, each board under its own number.
    [[nodiscard]] StateStore& store() { return *store_; }
    /// What a board is read from and written to: for a fork, with its parent's below the version it was forked at.
    [[nodiscard]] Result<StateStore*> store_of(const BoardInfo& board);

    [[nodiscard]] Result<std::vector<BoardInfo>> boards() const;
    [[nodiscard]] Result<std::optional<BoardInfo>> find(const BoardAddress& address) const;
    /// Fails with already_exists.
    Result<BoardInfo> create(const BoardAddress& address, TimeMs now);
    /// The same for a fork; `fill` puts what the child has from the outset into the batch that makes it.
    Result<BoardInfo> create_fork(const BoardAddress& address, TimeMs now, const BoardInfo& parent, Position at,
                                  const std::function<Status(const BoardInfo& child, StoreBatch& batch)>& fill);
    /// A board that was written elsewhere, whose keys are made under the number that `make_keys` is given and are
    /// stored first. What an import left that was cut short is removed before.
    Result<BoardInfo> create_import(
        const BoardAddress& address,
        const std::function<Result<BoardInfo>(BoardNumber number, StateStore& into)>& make_keys);
    /// Forgets a board and everything it wrote. Fails with refused while there are forks of it.
    Status remove(const BoardInfo& board);

    /// Where everything derived from a board's log is kept: column and half-open range of keys.
    struct KeyRange {
        Column column;
        std::string from;
        std::string to;
    };
    static std::vector<KeyRange> derived_ranges(BoardNumber board);
    /// Fails with refused, naming one of them, when boards were forked off this one.
    [[nodiscard]] Status check_no_forks(const BoardInfo& board) const;

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

    using Fill = std::function<Status(const BoardInfo& board, StoreBatch& batch)>;
    /// `has_keys`: they are stored already, under the next number.
    Result<BoardInfo> make(BoardInfo info, const Fill& fill, bool has_keys);
    [[nodiscard]] Result<BoardNumber> next_number() const;
    Status erase_keys(BoardNumber board, StoreBatch batch);

    std::string path_;
    std::unique_ptr<StateStore> store_;
    std::map<BoardNumber, std::unique_ptr<StateStore>> forks_;  // by child
};

}  // namespace stele

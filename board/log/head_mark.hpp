// The head mark of one board in a small file of its own: how far the log had been synced. RocksDB
// cannot tell that its newest write-ahead log was lost; this file can.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "board/log/store.hpp"
#include "board/result.hpp"

namespace stele {

/// Where the mark of a board lives inside a data directory.
std::string head_mark_path(const std::string& data_directory, BoardNumber board);

/// The mark of a file that another process may be writing; none when there is no file. Fails with
/// corrupt when no slot is whole, with wrong_format for a mark of another format. Any thread.
Result<std::optional<HeadMark>> read_head_mark(const std::string& path);

/// False when one of the two slots is neither a mark nor blank: it was torn or damaged, and may have told
/// more than the other. Any thread.
bool is_head_mark_whole(const std::string& path);

/// The writer's side, of the process that owns the data directory. One thread at a time. Two slots
/// take turns, so that one whole mark survives a crash in the middle of a write.
class HeadMarkFile {
public:
    /// Fails as read_head_mark does. A missing file is made by the first write.
    static Result<HeadMarkFile> open(std::string path);

    HeadMarkFile(HeadMarkFile&& other) noexcept;
    HeadMarkFile& operator=(HeadMarkFile&& other) noexcept;
    ~HeadMarkFile();

    /// The mark last written, or found at open.
    [[nodiscard]] std::optional<HeadMark> read() const { return mark_; }

    /// At once visible to other processes; durable after sync(). A failure of either leaves the
    /// file closed for good: what a failed sync left on disk is not known.
    Status write(const HeadMark& mark);
    Status sync();

private:
    explicit HeadMarkFile(std::string path) : path_(std::move(path)) {}

    Status create(const HeadMark& mark);
    Error fail(Error cause);

    std::string path_;
    int file_ = -1;
    std::optional<HeadMark> mark_;
    std::uint64_t sequence_ = 0;
    int slot_ = 0;           // the slot that holds mark_
    bool unsynced_ = false;  // the slot in use is not yet known to be on disk
    std::optional<Error> failure_;
};

}  // namespace stele

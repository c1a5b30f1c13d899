// The embedded engine: a data directory with one RocksDB in it.
//
//   FORMAT       "stele-data 1\n"
//   owner.lock   flock'd by the owner, holds its process id
//   db/          RocksDB, one column family per Column
//   heads/       one head mark per board (head_mark.hpp)
#pragma once

#include <memory>
#include <string>

#include "board/log/store.hpp"
#include "board/result.hpp"

namespace stele {

struct RocksOpenReport {
    /// The data directory was made by this open.
    bool created = false;
    /// Empty, or a sentence saying what was cut from the end of the write-ahead log.
    std::string torn_tail;
};

/// Opens a data directory for reading and writing, and creates it where there is none. Fails with
/// in_use (the owner's process id is named), permission, no_space, corrupt (the file is named and,
/// where it can be found, the last good record of each board), wrong_format (another format, or a
/// directory that is not ours). apply, get and scan belong to the loop thread, sync to any one
/// thread at a time.
Result<std::unique_ptr<StateStore>> open_rocks_store(const std::string& directory, RocksOpenReport& report);

/// A store that follows the owner from another process. apply and sync are refused.
class StateReader : public StateStore {
public:
    /// Sees what the owner had applied by now, synced or not: head marks tell what is durable.
    virtual Status catch_up() = 0;
};

/// Opens the data directory of a running or stopped owner; caught up on return. Fails with
/// not_found where there is no data directory, else as open_rocks_store does.
Result<std::unique_ptr<StateReader>> open_rocks_reader(const std::string& directory);

/// Makes a data directory that is a consistent copy of an open one, while it runs. Loop thread.
/// Fails with already_exists when there is anything at `target_directory`; a copy that failed is
/// removed, one that was cut short by a crash has no FORMAT and does not open.
Status checkpoint(StateStore& owner_store, const std::string& target_directory);

/// Writes every file of an open data directory anew without what was erased or overwritten in it, so that nothing
/// of that is left on disk. Costs reading and writing all of it. Loop thread. A store in memory has no files.
Status scrub(StateStore& owner_store);

}  // namespace stele

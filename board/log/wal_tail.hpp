// A look at RocksDB's write-ahead log before RocksDB opens it: RocksDB cuts a torn last record
// without a word, and an operator must be told. Reads files only; any thread; safe on any bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "board/result.hpp"

namespace stele {

struct WalTail {
    std::string file;               // its name without the directory; empty when there is no file with bytes
    std::uint64_t records = 0;      // whole records
    std::uint64_t whole_bytes = 0;  // where the last whole record ends
    /// Bytes of a record that was begun at `whole_bytes` and not finished, or of a tail that is
    /// all zeros; 0 for a file that ends with a whole record, however it was left.
    std::uint64_t torn_bytes = 0;
    /// Where the structure (or, when asked for, a checksum) is wrong before the end. Nothing
    /// behind it was looked at.
    std::optional<std::uint64_t> damaged_at;
};

/// `structure` reads headers only and is what each start can afford; `checksums` finds the place
/// of a flipped bit.
enum class WalCheck { structure, checksums };

WalTail inspect_wal_bytes(std::string_view bytes, WalCheck check);
Result<WalTail> inspect_wal_file(const std::string& path, WalCheck check);

/// Names of the write-ahead logs in a database directory, oldest first.
Result<std::vector<std::string>> list_wal_files(const std::string& db_directory);
/// The newest write-ahead log that has bytes; RocksDB leaves an empty one after an early crash.
Result<WalTail> inspect_newest_wal(const std::string& db_directory, WalCheck check);

/// "cut a torn record of 17 bytes at the end of 000012.log", or empty when nothing is torn.
std::string torn_tail_sentence(const WalTail& tail);

}  // namespace stele

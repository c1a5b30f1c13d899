#include "board/log/rocks_store.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/checkpoint.h>
#include <rocksdb/write_batch.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "board/log/disk_file.hpp"
#include "board/log/keys.hpp"
#include "board/log/wal_tail.hpp"

namespace stele {
namespace {

constexpr std::uint64_t data_format = 3;
constexpr std::string_view format_prefix = "stele-data ";
constexpr std::size_t format_bytes_max = 64;
constexpr std::array<const char*, column_count> column_names = {"log", "entries", "meta", "blobs", "terms"};

constexpr std::size_t log_buffer_bytes = 64U << 20;
constexpr std::size_t other_buffer_bytes = 32U << 20;
constexpr std::size_t block_cache_bytes = 64U << 20;
constexpr std::size_t wal_bytes_max = 256U << 20;
constexpr std::size_t tables_kept_bytes = 4U << 20;  // in memory when a store is closed; with more they are written
constexpr int owner_open_files_max = 512;
constexpr double bloom_bits_per_key = 10;
constexpr int secondary_attempts_max = 5;
constexpr std::size_t boards_named_max = 8;

std::string in_quotes(const std::string& path) { return "\"" + path + "\""; }

std::string db_path(const std::string& directory) { return directory + "/db"; }

// A database that is being created; renamed to db/ once it is whole.
std::string fresh_db_path(const std::string& directory) { return directory + "/db.new"; }

std::string format_text() { return std::string(format_prefix) + std::to_string(data_format) + "\n"; }

ErrorCode code_of(const rocksdb::Status& status) {
    const std::string text = status.ToString();
    if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit) return ErrorCode::no_space;
    if (status.IsCorruption()) return ErrorCode::corrupt;
    if (status.IsNotFound() || status.IsPathNotFound()) return ErrorCode::not_found;
    if (status.IsIOError()) {
        // RocksDB gives these no code of their own, only the system's words.
        for (const int denied : {EACCES, EPERM, EROFS}) {
            if (text.find(std::strerror(denied)) != std::string::npos) return ErrorCode::permission;
        }
        if (text.find("lock ") != std::string::npos && text.find("/LOCK") != std::string::npos) {
            return ErrorCode::in_use;
        }
        return ErrorCode::io;
    }
    if (status.IsInvalidArgument() || status.IsNotSupported()) return ErrorCode::internal;
    return ErrorCode::io;
}

Error rocks_error(const std::string& what_failed, const rocksdb::Status& status) {
    return Error{code_of(status), what_failed + ": " + status.ToString()};
}

// ---- options ----------------------------------------------------------------------------------

rocksdb::DBOptions shared_options() {
    rocksdb::DBOptions options;
    options.paranoid_checks = true;
    // The defaults cut the log at a flipped bit and open without a word.
    options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
    options.recycle_log_file_num = 0;
    // With it, what was written would not survive the death of the process alone.
    options.manual_wal_flush = false;
    options.max_background_jobs = 2;
    options.keep_log_file_num = 2;
    options.max_log_file_size = 1U << 20;
    options.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
    options.stats_dump_period_sec = 0;
    options.stats_persist_period_sec = 0;
    options.skip_stats_update_on_db_open = true;
    return options;
}

rocksdb::DBOptions owner_options() {
    rocksdb::DBOptions options = shared_options();
    // Notices a lost older log. 7.8.3 can raise a false alarm if its manifest is exchanged while a
    // sync runs, so the manifest keeps its default size, which no running process reaches.
    options.track_and_verify_wals_in_manifest = true;
    options.max_total_wal_size = wal_bytes_max;
    options.max_open_files = owner_open_files_max;
    options.bytes_per_sync = 1U << 20;
    // After a failed write or sync nothing is tried again on the same files.
    options.max_bgerror_resume_count = 0;
    return options;
}

rocksdb::CompressionType best_of(std::initializer_list<rocksdb::CompressionType> wanted) {
    const std::vector<rocksdb::CompressionType> present = rocksdb::GetSupportedCompressions();
    for (const rocksdb::CompressionType type : wanted) {
        if (std::find(present.begin(), present.end(), type) != present.end()) return type;
    }
    return rocksdb::kNoCompression;
}

rocksdb::ColumnFamilyOptions family_options(Column column, const std::shared_ptr<rocksdb::Cache>& cache) {
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = cache;
    table.block_size = 16U << 10;
    table.format_version = 5;
    // Positions of a log are dense: a filter would answer yes to nearly all that is asked.
    if (column != Column::log) table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(bloom_bits_per_key));
    rocksdb::ColumnFamilyOptions options;
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    options.write_buffer_size = column == Column::log ? log_buffer_bytes : other_buffer_bytes;
    options.level_compaction_dynamic_level_bytes = true;
    options.compression = best_of({rocksdb::kLZ4Compression, rocksdb::kZSTD, rocksdb::kSnappyCompression});
    options.bottommost_compression = best_of({rocksdb::kZSTD, rocksdb::kLZ4Compression, rocksdb::kSnappyCompression});
    return options;
}

std::vector<rocksdb::ColumnFamilyDescriptor> families() {
    const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(block_cache_bytes);
    std::vector<rocksdb::ColumnFamilyDescriptor> all;
    for (std::size_t i = 0; i < column_count; ++i) {
        all.emplace_back(column_names[i], family_options(static_cast<Column>(i), cache));
    }
    // RocksDB insists on its own; nothing is kept in it.
    all.emplace_back(rocksdb::kDefaultColumnFamilyName, family_options(Column::meta, cache));
    return all;
}

// ---- an open database -------------------------------------------------------------------------

/// A RocksDB with its column families in the order of `Column`, closed in the right order.
class Database {
public:
    Database() = default;
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;
    ~Database() {
        for (rocksdb::ColumnFamilyHandle* family : families_) db_->DestroyColumnFamilyHandle(family);
        delete db_;
    }

    rocksdb::Status open(const rocksdb::DBOptions& options, const std::string& path) {
        return rocksdb::DB::Open(options, path, families(), &families_, &db_);
    }
    rocksdb::Status open_frozen(const rocksdb::DBOptions& options, const std::string& path) {
        return rocksdb::DB::OpenForReadOnly(options, path, families(), &families_, &db_);
    }
    rocksdb::Status open_following(const rocksdb::DBOptions& options, const std::string& path,
                                   const std::string& own_directory) {
        return rocksdb::DB::OpenAsSecondary(options, path, own_directory, families(), &families_, &db_);
    }

    [[nodiscard]] bool is_open() const { return db_ != nullptr; }
    rocksdb::DB& db() const { return *db_; }
    rocksdb::ColumnFamilyHandle* family(Column column) const { return families_[static_cast<std::size_t>(column)]; }

    Result<std::optional<std::string>> get(Column column, std::string_view key) const {
        std::string value;
        const rocksdb::Status status = db_->Get({}, family(column), slice(key), &value);
        if (status.IsNotFound()) return std::optional<std::string>();
        if (!status.ok()) return read_error(column, status);
        return std::optional<std::string>(std::move(value));
    }

    Status scan(Column column, std::string_view from, std::string_view to, bool reverse,
                const std::function<bool(std::string_view, std::string_view)>& visit) const {
        if (from >= to) return Done{};
        const rocksdb::Slice lower = slice(from);
        const rocksdb::Slice upper = slice(to);
        rocksdb::ReadOptions options;
        options.iterate_lower_bound = &lower;
        options.iterate_upper_bound = &upper;
        const std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator(options, family(column)));
        if (reverse) {
            for (at->SeekToLast(); at->Valid() && visit(view(at->key()), view(at->value())); at->Prev()) {
            }
        } else {
            for (at->SeekToFirst(); at->Valid() && visit(view(at->key()), view(at->value())); at->Next()) {
            }
        }
        if (!at->status().ok()) return read_error(column, at->status());
        return Done{};
    }

    static rocksdb::Slice slice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
    static std::string_view view(const rocksdb::Slice& bytes) { return {bytes.data(), bytes.size()}; }

private:
    Error read_error(Column column, const rocksdb::Status& status) const {
        return rocks_error("reading column \"" + std::string(column_names[static_cast<std::size_t>(column)]) +
                               "\" of " + in_quotes(db_->GetName()) + " failed",
                           status);
    }

    rocksdb::DB* db_ = nullptr;
    std::vector<rocksdb::ColumnFamilyHandle*> families_;
};

// ---- the data directory -----------------------------------------------------------------------

/// Held for as long as the object lives; released by the system when the process dies.
class OwnerLock {
public:
    OwnerLock() = default;
    OwnerLock(OwnerLock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
    OwnerLock& operator=(OwnerLock&&) = delete;
    ~OwnerLock() {
        if (file_ < 0) return;
        // Only the number goes: without the file, two owners could lock two files of one name.
        if (::ftruncate(file_, 0) != 0) errno = 0;
        ::close(file_);
    }

    static Result<OwnerLock> take(const std::string& directory) {
        const std::string path = directory + "/owner.lock";
        OwnerLock lock;
        const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (file < 0) return disk_error("open", path, errno);
        if (::flock(file, LOCK_EX | LOCK_NB) != 0) {
            const int failure = errno;
            ::close(file);
            if (failure != EWOULDBLOCK) return disk_error("lock", path, failure);
            return Error{ErrorCode::in_use, "data directory " + in_quotes(directory) + " is in use by " + holder(path) +
                                                "; stop it first; stele log and stele show work meanwhile"};
        }
        lock.file_ = file;
        const std::string pid = std::to_string(::getpid()) + "\n";
        if (::ftruncate(file, 0) != 0) return disk_error("write", path, errno);
        const ssize_t written = ::pwrite(file, pid.data(), pid.size(), 0);
        if (written < 0) return disk_error("write", path, errno);
        if (static_cast<std::size_t>(written) != pid.size()) return disk_error("write", path, ENOSPC);
        return lock;
    }

    /// Asks without taking it.
    static bool is_held(const std::string& directory) {
        const int file = ::open((directory + "/owner.lock").c_str(), O_RDONLY | O_CLOEXEC);
        if (file < 0) return false;
        const bool held = ::flock(file, LOCK_SH | LOCK_NB) != 0;
        ::close(file);
        return held;
    }

private:
    static std::string holder(const std::string& path) {
        const Result<std::string> text = read_file_start(path, 32);
        std::string pid = text.ok() ? *text : std::string();
        pid.erase(std::find_if_not(pid.begin(), pid.end(), [](char c) { return c >= '0' && c <= '9'; }), pid.end());
        return pid.empty() ? "another process" : "process " + pid;
    }

    int file_ = -1;
};

enum class Directory { ours, unmade };

/// Reads FORMAT. `unmade`: nothing is there but what a creation that was cut short leaves.
Result<Directory> inspect_directory(const std::string& directory) {
    const Result<std::string> text = read_file_start(directory + "/FORMAT", format_bytes_max);
    if (text.ok()) {
        if (*text == format_text()) return Directory::ours;
        std::string number;
        if (text->compare(0, format_prefix.size(), format_prefix) == 0 && text->back() == '\n') {
            number = text->substr(format_prefix.size(), text->size() - format_prefix.size() - 1);
        }
        const bool is_number =
            !number.empty() && number.size() <= 9 && number.find_first_not_of("0123456789") == std::string::npos;
        const std::string name = "data directory " + in_quotes(directory);
        if (!is_number) {
            return Error{ErrorCode::wrong_format, name + " has a FORMAT file that cannot be read; \"" +
                                                      std::string(format_prefix) + std::to_string(data_format) +
                                                      "\" is expected in it"};
        }
        const bool newer = std::stoull(number) > data_format;
        return Error{ErrorCode::wrong_format, name + " has format " + number + ", this release reads format " +
                                                  std::to_string(data_format) + "; open it with " +
                                                  (newer ? "a newer" : "an older") + " release"};
    }
    if (text.error().code != ErrorCode::not_found) return text.error();

    std::error_code failure;
    std::filesystem::directory_iterator at(directory, failure);
    while (!failure && at != std::filesystem::directory_iterator()) {
        const std::string name = at->path().filename().string();
        const bool left_by_creation = name == "owner.lock" || name == "db.new" || name == "FORMAT.new";
        if (!left_by_creation && name != "lost+found") {
            return Error{ErrorCode::wrong_format,
                         "directory " + in_quotes(directory) + " holds " + in_quotes(name) +
                             " but no FORMAT file, so it is no data directory or an unfinished copy of one; "
                             "name a new or an empty directory"};
        }
        at.increment(failure);
    }
    if (failure && failure.value() != ENOENT) return disk_error("list directory", directory, failure.value());
    return Directory::unmade;
}

/// In an order that leaves, at each point, either a directory that is made anew or one that is
/// finished at the next open: a database without FORMAT would have to be guessed at.
Status create_database(const std::string& directory) {
    const std::string fresh = fresh_db_path(directory);
    std::error_code failure;
    std::filesystem::remove_all(fresh, failure);
    if (failure) return disk_error("remove", fresh, failure.value());
    {
        rocksdb::DBOptions options = owner_options();
        options.create_if_missing = true;
        options.create_missing_column_families = true;
        Database made;
        const rocksdb::Status status = made.open(options, fresh);
        if (!status.ok()) return rocks_error("cannot create the database " + in_quotes(fresh), status);
    }
    const Status synced = sync_directory(directory);
    if (!synced.ok()) return synced;
    return replace_file(directory + "/FORMAT", format_text());
}

bool exists(const std::string& path) {
    std::error_code failure;
    return std::filesystem::exists(path, failure);
}

/// The database is under its name afterwards, whatever an earlier creation left.
Status finish_creation(const std::string& directory) {
    const std::string path = db_path(directory);
    const std::string fresh = fresh_db_path(directory);
    if (!exists(path) && exists(fresh)) {
        if (::rename(fresh.c_str(), path.c_str()) != 0) return disk_error("rename", fresh, errno);
        const Status synced = sync_directory(directory);
        if (!synced.ok()) return synced;
    }
    if (!exists(path + "/CURRENT")) {
        return Error{ErrorCode::corrupt, "data directory " + in_quotes(directory) + " has lost its database: " +
                                             in_quotes(path + "/CURRENT") + " is missing; restore the directory"};
    }
    return Done{};
}

// ---- what can be said about damage ------------------------------------------------------------

/// "000004.log is damaged at byte 812", or empty.
std::string name_damaged_wal(const std::string& path) {
    const Result<std::vector<std::string>> names = list_wal_files(path);
    if (!names.ok()) return {};
    for (const std::string& name : *names) {
        const Result<WalTail> tail = inspect_wal_file(path + "/" + name, WalCheck::checksums);
        if (tail.ok() && tail->damaged_at) {
            return name + " is damaged at byte " + std::to_string(*tail->damaged_at);
        }
    }
    return {};
}

/// "the last good record of board 1 is 499", for as many boards as a message can hold, or empty.
std::string name_last_good_records(const std::string& path) {
    rocksdb::DBOptions options = shared_options();
    options.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
    options.track_and_verify_wals_in_manifest = true;  // off, a read-only open may abort (RocksReader::open)
    Database frozen;
    if (!frozen.open_frozen(options, path).ok()) return {};
    std::string text;
    std::string below(17, '\xff');
    for (std::size_t named = 0; named < boards_named_max; ++named) {
        std::optional<std::pair<std::uint64_t, std::uint64_t>> last;
        const Status scanned = frozen.scan(Column::log, "", below, true, [&](std::string_view key, std::string_view) {
            if (key.size() == 16) last = {read_be64(key), read_be64(key.substr(8))};
            return false;
        });
        if (!scanned.ok() || !last) break;
        text += text.empty() ? "" : ", ";
        text += "the last good record of board " + std::to_string(last->first) + " is " + std::to_string(last->second);
        below.clear();
        append_be64(below, last->first);
    }
    return text;
}

Error damage_error(const std::string& directory, const std::string& cause) {
    const std::string path = db_path(directory);
    std::string message = "the database " + in_quotes(path) + " is damaged";
    const std::string place = name_damaged_wal(path);
    if (!place.empty()) message += ": " + place;
    if (!cause.empty()) message += " (" + cause + ")";
    const std::string good = name_last_good_records(path);
    if (!good.empty()) message += "; " + good;
    return Error{ErrorCode::corrupt, message};
}

// ---- owner ------------------------------------------------------------------------------------

class RocksStore final : public StateStore {
public:
    RocksStore(std::string directory, OwnerLock lock) : directory_(std::move(directory)), lock_(std::move(lock)) {}
    ~RocksStore() override;

    Status open(RocksOpenReport& report);
    Status copy_to(const std::string& target);
    Status scrub();

    Result<std::optional<std::string>> get(Column column, std::string_view key) const override {
        return database_.get(column, key);
    }
    Status scan(Column column, std::string_view from, std::string_view to, bool reverse,
                const std::function<bool(std::string_view, std::string_view)>& visit) const override {
        return database_.scan(column, from, to, reverse, visit);
    }
    Status apply(const StoreBatch& batch) override;
    Status sync() override;
    bool is_durable() const override { return true; }

private:
    Status check_alive() const;
    Error poison(const std::string& what_failed, const rocksdb::Status& status);

    std::string directory_;
    OwnerLock lock_;  // outlives the database
    Database database_;
    // sync() may fail on another thread while the loop applies.
    mutable std::mutex poison_mutex_;
    std::optional<std::string> poison_;
};

Status RocksStore::open(RocksOpenReport& report) {
    const std::string path = db_path(directory_);
    const Result<WalTail> tail = inspect_newest_wal(path, WalCheck::structure);
    if (!tail.ok()) return tail.error();
    // RocksDB would skip some kinds of damage and then delete the file it found them in.
    if (tail->damaged_at) return damage_error(directory_, "");
    const rocksdb::Status status = database_.open(owner_options(), path);
    if (status.IsCorruption() || status.IsNotFound() || status.IsPathNotFound()) {
        return damage_error(directory_, status.ToString());
    }
    if (status.IsInvalidArgument()) return damage_error(directory_, status.ToString());
    if (!status.ok()) return rocks_error("cannot open the database " + in_quotes(path), status);
    report.torn_tail = torn_tail_sentence(*tail);
    return Done{};
}

// Whoever reads next would have to make the tables in memory again from the write-ahead log. Where that fails the log
// is there as it was.
RocksStore::~RocksStore() {
    if (!database_.is_open() || !check_alive().ok()) return;
    std::uint64_t in_memory = 0;
    std::vector<rocksdb::ColumnFamilyHandle*> families;
    for (std::size_t column = 0; column < column_count; ++column) {
        families.push_back(database_.family(static_cast<Column>(column)));
        std::uint64_t bytes = 0;
        database_.db().GetIntProperty(families.back(), rocksdb::DB::Properties::kCurSizeAllMemTables, &bytes);
        in_memory += bytes;
    }
    if (in_memory >= tables_kept_bytes) (void)database_.db().Flush({}, families);
}

Status RocksStore::apply(const StoreBatch& batch) {
    const Status alive = check_alive();
    if (!alive.ok()) return alive;
    if (batch.empty()) return Done{};
    rocksdb::WriteBatch writes;
    for (const StoreBatch::Operation& operation : batch.operations) {
        rocksdb::ColumnFamilyHandle* family = database_.family(operation.column);
        const rocksdb::Status added = operation.value ? writes.Put(family, operation.key, *operation.value)
                                                      : writes.Delete(family, operation.key);
        if (!added.ok()) return poison("building a batch", added);
    }
    rocksdb::WriteOptions options;
    options.sync = false;
    options.disableWAL = false;
    const rocksdb::Status written = database_.db().Write(options, &writes);
    if (!written.ok()) return poison("writing", written);
    return Done{};
}

Status RocksStore::sync() {
    const Status alive = check_alive();
    if (!alive.ok()) return alive;
    const rocksdb::Status synced = database_.db().SyncWAL();
    if (!synced.ok()) return poison("syncing", synced);
    return Done{};
}

Status RocksStore::check_alive() const {
    const std::lock_guard<std::mutex> guard(poison_mutex_);
    if (!poison_) return Done{};
    return Error{ErrorCode::closed, "the store " + in_quotes(directory_) +
                                        " takes no more writes until it is opened anew, since " + *poison_};
}

Error RocksStore::poison(const std::string& what_failed, const rocksdb::Status& status) {
    const std::string cause = what_failed + " failed: " + status.ToString();
    const std::lock_guard<std::mutex> guard(poison_mutex_);
    if (!poison_) poison_ = cause;
    return Error{code_of(status), "the store " + in_quotes(directory_) + ": " + cause};
}

/// FORMAT comes last: without it the copy does not open.
Status RocksStore::copy_to(const std::string& target) {
    const Status alive = check_alive();
    if (!alive.ok()) return alive;
    if (::mkdir(target.c_str(), 0755) != 0) return disk_error("create directory", target, errno);
    const auto copy = [&]() -> Status {
        // Heads before the database: a head ahead of its log would mean a loss.
        const std::string heads = target + "/heads";
        std::error_code failure;
        std::filesystem::copy(directory_ + "/heads", heads, std::filesystem::copy_options::recursive, failure);
        if (failure) return disk_error("copy heads to", heads, failure.value());
        rocksdb::Checkpoint* made = nullptr;
        rocksdb::Status status = rocksdb::Checkpoint::Create(&database_.db(), &made);
        const std::unique_ptr<rocksdb::Checkpoint> maker(made);
        if (status.ok()) status = maker->CreateCheckpoint(db_path(target));
        if (!status.ok()) return rocks_error("cannot copy the database to " + in_quotes(db_path(target)), status);
        Status done = sync_directory(heads);
        if (done.ok()) done = sync_directory(target);
        if (done.ok()) done = replace_file(target + "/FORMAT", format_text());
        if (done.ok()) done = sync_directory(parent_directory(target));
        return done;
    };
    const Status copied = copy();
    if (!copied.ok()) {
        std::error_code ignored;  // the failure to copy is what the caller must hear of
        std::filesystem::remove_all(target, ignored);
    }
    return copied;
}

// ---- reader -----------------------------------------------------------------------------------

/// RocksDB wants a directory to write its own notes to, which must not be the owner's.
class TemporaryDirectory {
public:
    TemporaryDirectory() = default;
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
    ~TemporaryDirectory() {
        if (path_.empty()) return;
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    Status make() {
        std::error_code failure;
        std::string path = std::filesystem::temp_directory_path(failure).string();
        if (failure) return disk_error("find the folder for temporary files", path, failure.value());
        path += "/stele-reader-XXXXXX";
        if (::mkdtemp(path.data()) == nullptr) return disk_error("create directory", path, errno);
        path_ = path;
        return Done{};
    }
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

/// What a secondary runs into when the owner exchanges files under its eyes.
bool is_passing(const rocksdb::Status& status) {
    return status.IsTryAgain() || status.IsPathNotFound() || status.IsNotFound() ||
           (status.IsIOError() && status.ToString().find(std::strerror(ENOENT)) != std::string::npos);
}

class RocksReader final : public StateReader {
public:
    explicit RocksReader(std::string directory) : directory_(std::move(directory)) {}

    Status open() {
        const Status notes = notes_.make();
        if (!notes.ok()) return notes;
        rocksdb::DBOptions options = shared_options();
        options.max_open_files = -1;  // files that the owner has deleted stay readable
        rocksdb::Status status;
        // A secondary passes over tables that it cannot open, as if what is in them had never been.
        // Where nobody writes there is nothing to follow, and a plain open refuses them.
        if (!OwnerLock::is_held(directory_)) {
            database_ = std::make_unique<Database>();
            rocksdb::DBOptions frozen = options;
            // With it off, 7.8.3 would write to the manifest that it may only read, and aborts.
            frozen.track_and_verify_wals_in_manifest = true;
            status = database_->open_frozen(frozen, db_path(directory_));
            following_ = false;
            if (status.ok()) return Done{};
            if (!OwnerLock::is_held(directory_)) return damage_error(directory_, status.ToString());
        }
        following_ = true;
        for (int attempt = 0; attempt < secondary_attempts_max; ++attempt) {
            database_ = std::make_unique<Database>();
            status = database_->open_following(options, db_path(directory_), notes_.path());
            if (!is_passing(status)) break;
        }
        // A file that the database names and that is not there is damage, not a question of finding.
        if (status.IsCorruption() || is_passing(status)) return damage_error(directory_, status.ToString());
        if (!status.ok()) return rocks_error("cannot read the database " + in_quotes(db_path(directory_)), status);
        return catch_up();
    }

    Status catch_up() override {
        if (!following_) return Done{};
        rocksdb::Status status;
        for (int attempt = 0; attempt < secondary_attempts_max; ++attempt) {
            status = database_->db().TryCatchUpWithPrimary();
            if (!is_passing(status)) break;
        }
        if (!status.ok()) return rocks_error("following the owner of " + in_quotes(directory_) + " failed", status);
        return Done{};
    }

    Result<std::optional<std::string>> get(Column column, std::string_view key) const override {
        return database_->get(column, key);
    }
    Status scan(Column column, std::string_view from, std::string_view to, bool reverse,
                const std::function<bool(std::string_view, std::string_view)>& visit) const override {
        return database_->scan(column, from, to, reverse, visit);
    }
    Status apply(const StoreBatch&) override { return read_only(); }
    Status sync() override { return read_only(); }
    bool is_durable() const override { return false; }

private:
    Error read_only() const {
        return Error{ErrorCode::refused, "the store " + in_quotes(directory_) + " is open for reading only"};
    }

    std::string directory_;
    bool following_ = true;
    TemporaryDirectory notes_;  // outlives the database
    std::unique_ptr<Database> database_;
};

}  // namespace

Result<std::unique_ptr<StateStore>> open_rocks_store(const std::string& directory, RocksOpenReport& report) {
    report = {};
    // Looked at before anything is written, so that a foreign directory stays as it is.
    const Result<Directory> seen = inspect_directory(directory);
    if (!seen.ok()) return seen.error();
    const bool is_new = !exists(directory);
    const Status made = make_directories(directory);
    if (!made.ok()) return made.error();
    if (is_new) {
        const Status synced = sync_directory(parent_directory(directory));
        if (!synced.ok()) return synced.error();
    }
    Result<OwnerLock> lock = OwnerLock::take(directory);
    if (!lock.ok()) return lock.error();
    const Result<Directory> locked = inspect_directory(directory);
    if (!locked.ok()) return locked.error();
    if (*locked == Directory::unmade) {
        const Status created = create_database(directory);
        if (!created.ok()) return created.error();
        report.created = true;
    }
    const Status finished = finish_creation(directory);
    if (!finished.ok()) return finished.error();
    const Status heads = make_directories(directory + "/heads");
    if (!heads.ok()) return heads.error();
    const Status synced = sync_directory(directory);
    if (!synced.ok()) return synced.error();
    auto store = std::make_unique<RocksStore>(directory, std::move(*lock));
    const Status opened = store->open(report);
    if (!opened.ok()) return opened.error();
    return std::unique_ptr<StateStore>(std::move(store));
}

Result<std::unique_ptr<StateReader>> open_rocks_reader(const std::string& directory) {
    if (!exists(directory)) {
        return Error{ErrorCode::not_found, "there is no data directory " + in_quotes(directory)};
    }
    const Result<Directory> seen = inspect_directory(directory);
    if (!seen.ok()) return seen.error();
    if (*seen == Directory::unmade || (!exists(db_path(directory)) && exists(fresh_db_path(directory)))) {
        return Error{ErrorCode::not_found, "there is no data in directory " + in_quotes(directory) + " yet"};
    }
    auto reader = std::make_unique<RocksReader>(directory);
    const Status opened = reader->open();
    if (!opened.ok()) return opened.error();
    return std::unique_ptr<StateReader>(std::move(reader));
}

Status RocksStore::scrub() {
    const Status alive = check_alive();
    if (!alive.ok()) return alive;
    std::vector<rocksdb::ColumnFamilyHandle*> families;
    for (std::size_t i = 0; i < column_count; ++i) families.push_back(database_.family(static_cast<Column>(i)));
    // All at once, so that no write-ahead log is left that one of them still needs.
    rocksdb::Status done = database_.db().Flush(rocksdb::FlushOptions(), families);
    rocksdb::CompactRangeOptions options;
    // Also the lowest level, and also what the last compaction wrote.
    options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForce;
    for (rocksdb::ColumnFamilyHandle* family : families) {
        if (done.ok()) done = database_.db().CompactRange(options, family, nullptr, nullptr);
    }
    return done.ok() ? Status(Done{}) : poison("writing the files anew", done);
}

Status scrub(StateStore& owner_store) {
    auto* store = dynamic_cast<RocksStore*>(&owner_store);
    return store == nullptr ? Status(Done{}) : store->scrub();
}

Status checkpoint(StateStore& owner_store, const std::string& target_directory) {
    auto* store = dynamic_cast<RocksStore*>(&owner_store);
    if (store == nullptr) {
        return Error{ErrorCode::invalid_argument,
                     "only a store that its owner opened on disk can be copied to " + in_quotes(target_directory)};
    }
    return store->copy_to(target_directory);
}

}  // namespace stele

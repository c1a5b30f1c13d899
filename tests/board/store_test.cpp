#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "board/log/head_mark.hpp"
#include "board/log/keys.hpp"
#include "board/log/memory_store.hpp"
#include "board/log/rocks_store.hpp"
#include "board/log/write_log.hpp"
#include "tests/support/temporary_directory.hpp"

using namespace stele;

namespace {

constexpr const char* role_variable = "STELE_STORE_TEST_ROLE";
constexpr const char* directory_variable = "STELE_STORE_TEST_DIRECTORY";
constexpr std::uint64_t records_of_child = 200;

class TestFolder : public TemporaryDirectory {
public:
    /// A data directory that does not exist yet.
    std::string data() const { return path() + "/deep/data"; }
};

/// This binary again, playing `role` on `directory`; its wait status. A plain fork would take half
/// of RocksDB's threads for running.
int run_child(const std::string& role, const std::string& directory) {
    const pid_t child = fork();
    if (child == 0) {
        setenv(role_variable, role.c_str(), 1);
        setenv(directory_variable, directory.c_str(), 1);
        execl("/proc/self/exe", "store_test_child", "--no-skip", "--minimal",
              "--test-case=the other process of the store tests", static_cast<char*>(nullptr));
        _exit(99);
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    return status;
}

bool ended_well(int wait_status) { return WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0; }

bool was_killed(int wait_status) { return WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL; }

std::unique_ptr<StateStore> open_owned(const std::string& directory) {
    RocksOpenReport report;
    Result<std::unique_ptr<StateStore>> store = open_rocks_store(directory, report);
    if (!store.ok()) FAIL(store.error().message);
    return std::move(*store);
}

std::string frame_text(std::uint64_t position) {
    const std::string filler(100 + position % 7, static_cast<char>('a' + position % 26));
    return "record " + std::to_string(position) + filler;
}

Status append_one(WriteLog& log, std::uint64_t position) {
    const std::vector<LogFrame> frames = {{Position{position}, frame_text(position)}};
    return log.append(frames, StoreBatch{});
}

/// How many records can be read from position 1 on, each checked.
std::uint64_t count_records(const StateStore& store, BoardNumber board) {
    const std::unique_ptr<WriteLog> log = make_store_log(const_cast<StateStore&>(store), board);
    std::uint64_t count = 0;
    const Status read = log->read(Position{1}, [&](Position position, std::string_view bytes) {
        ++count;
        CHECK(position.number == count);
        CHECK(bytes == frame_text(count));
        return true;
    });
    if (!read.ok()) FAIL(read.error().message);
    CHECK(log->last()->number == count);
    return count;
}

std::string newest_wal(const std::string& data) {
    std::string newest;
    for (const auto& file : std::filesystem::directory_iterator(data + "/db")) {
        const std::string path = file.path().string();
        if (file.path().extension() == ".log" && file.file_size() > 0) newest = std::max(newest, path);
    }
    REQUIRE_FALSE(newest.empty());
    return newest;
}

std::string file_bytes(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void set_file_bytes(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
}

// ---- what the other process does --------------------------------------------------------------

[[noreturn]] void write_and_die(const std::string& directory) {
    const std::unique_ptr<StateStore> store = open_owned(directory);
    const std::unique_ptr<WriteLog> log = make_store_log(*store, BoardNumber{3});
    for (std::uint64_t position = 1; position <= records_of_child; ++position) {
        if (!append_one(*log, position).ok()) _exit(2);
    }
    if (!store->sync().ok()) _exit(3);
    raise(SIGKILL);
    _exit(4);
}

/// The limit on file sizes stands in for a disk that fails.
void fill_up_and_stay_closed(const std::string& directory) {
    const std::unique_ptr<StateStore> store = open_owned(directory);
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{64 << 10, 64 << 10};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    Status applied = Done{};
    StoreBatch batch;
    for (int i = 0; i < 100 && applied.ok(); ++i) {
        batch.clear();
        batch.put(Column::entries, "key " + std::to_string(i), std::string(4096, 'x'));
        applied = store->apply(batch);
    }
    REQUIRE_FALSE(applied.ok());
    CHECK(applied.error().code != ErrorCode::closed);
    const Status later = store->apply(batch);
    CHECK(later.error().code == ErrorCode::closed);
    CHECK(later.error().message.find("writing failed") != std::string::npos);
    CHECK(store->sync().error().code == ErrorCode::closed);
    CHECK(checkpoint(*store, directory + "-copy").error().code == ErrorCode::closed);
    CHECK(store->get(Column::entries, "key 1").ok());
}

void read_what_the_owner_wrote(const std::string& directory) {
    Result<std::unique_ptr<StateReader>> reader = open_rocks_reader(directory);
    REQUIRE(reader.ok());
    CHECK(count_records(**reader, BoardNumber{1}) == 50);
    CHECK((*reader)->get(Column::meta, "name")->value() == "value");
    CHECK((*reader)->apply(StoreBatch{}).error().code == ErrorCode::refused);
    CHECK((*reader)->sync().error().code == ErrorCode::refused);
    CHECK_FALSE((*reader)->is_durable());

    RocksOpenReport report;
    const Result<std::unique_ptr<StateStore>> second = open_rocks_store(directory, report);
    REQUIRE_FALSE(second.ok());
    CHECK(second.error().code == ErrorCode::in_use);
    CHECK(second.error().message.find("process " + std::to_string(getppid())) != std::string::npos);
}

}  // namespace

TEST_CASE("the other process of the store tests" * doctest::skip()) {
    const char* role = std::getenv(role_variable);
    const char* directory = std::getenv(directory_variable);
    if (role == nullptr || directory == nullptr) return;
    const std::string name = role;
    if (name == "write and die") write_and_die(directory);
    if (name == "fill up") fill_up_and_stay_closed(directory);
    if (name == "read") read_what_the_owner_wrote(directory);
}

// ---- both stores ------------------------------------------------------------------------------

namespace {

using Oracle = std::array<std::map<std::string, std::string>, column_count>;
using Pairs = std::vector<std::pair<std::string, std::string>>;

std::string random_key(std::mt19937_64& random) {
    std::string key;
    for (std::size_t length = random() % 4; length > 0; --length)
        key.push_back(
            "\x00\x01"
            "ab\xff"[random() % 5]);
    return key;
}

void apply_random_batch(StateStore& store, Oracle& oracle, std::mt19937_64& random) {
    StoreBatch batch;
    for (std::size_t left = random() % 12; left > 0; --left) {
        const std::size_t column = random() % column_count;
        std::string key = random_key(random);
        if (random() % 3 == 0) {
            oracle[column].erase(key);
            batch.erase(static_cast<Column>(column), std::move(key));
        } else {
            std::string value(random() % 40, static_cast<char>(random()));
            oracle[column][key] = value;
            batch.put(static_cast<Column>(column), std::move(key), std::move(value));
        }
    }
    REQUIRE(store.apply(batch).ok());
}

void check_random_scan(const StateStore& store, const Oracle& oracle, std::mt19937_64& random) {
    const std::size_t column = random() % column_count;
    const std::string from = random_key(random);
    const std::string to = random_key(random);
    const bool reverse = random() % 2 == 0;
    const std::size_t stop_after = random() % 8 == 0 ? random() % 5 + 1 : 1'000'000;
    Pairs expected;
    for (const auto& [key, value] : oracle[column]) {
        if (key >= from && key < to) expected.emplace_back(key, value);
    }
    if (reverse) std::reverse(expected.begin(), expected.end());
    if (expected.size() > stop_after) expected.resize(stop_after);
    Pairs found;
    const Status scanned =
        store.scan(static_cast<Column>(column), from, to, reverse, [&](std::string_view key, std::string_view value) {
            found.emplace_back(key, value);
            return found.size() < stop_after;
        });
    REQUIRE(scanned.ok());
    REQUIRE(found == expected);

    const std::string key = random_key(random);
    const Result<std::optional<std::string>> got = store.get(static_cast<Column>(column), key);
    REQUIRE(got.ok());
    const auto known = oracle[column].find(key);
    REQUIRE(got->has_value() == (known != oracle[column].end()));
    if (got->has_value()) REQUIRE(**got == known->second);
}

void check_log(StateStore& store) {
    const std::unique_ptr<WriteLog> log = make_store_log(store, BoardNumber{5});
    const std::unique_ptr<WriteLog> neighbour = make_store_log(store, BoardNumber{6});
    CHECK_FALSE(static_cast<bool>(*log->last()));
    CHECK(append_one(*log, 0).error().code == ErrorCode::internal);
    REQUIRE(append_one(*neighbour, 1).ok());
    REQUIRE(append_one(*log, 1).ok());

    StoreBatch derived;
    derived.put(Column::meta, "folded", "3");
    const std::vector<LogFrame> frames = {{Position{2}, frame_text(2)}, {Position{3}, frame_text(3)}};
    REQUIRE(log->append(frames, derived).ok());
    CHECK(store.get(Column::meta, "folded")->value() == "3");
    CHECK(log->last()->number == 3);
    CHECK(make_store_log(store, BoardNumber{5})->last()->number == 3);

    for (const std::uint64_t wrong : {std::uint64_t{3}, std::uint64_t{5}, std::uint64_t{1}}) {
        const Status gap = append_one(*log, wrong);
        REQUIRE_FALSE(gap.ok());
        CHECK(gap.error().code == ErrorCode::internal);
        CHECK(gap.error().message == "log of board 5: record " + std::to_string(wrong) + " does not follow record 3");
    }
    const std::vector<LogFrame> holed = {{Position{4}, "x"}, {Position{6}, "y"}};
    CHECK(log->append(holed, StoreBatch{}).error().code == ErrorCode::internal);
    CHECK(count_records(store, BoardNumber{5}) == 3);

    REQUIRE(append_one(*log, 4).ok());
    std::vector<std::uint64_t> seen;
    CHECK(log->read(Position{2},
                    [&](Position position, std::string_view) {
                        seen.push_back(position.number);
                        return position.number < 3;
                    })
              .ok());
    CHECK(seen == std::vector<std::uint64_t>{2, 3});
    CHECK(log->read(Position{5}, [](Position, std::string_view) { return false; }).ok());

    StoreBatch loss;
    std::string key;
    append_be64(key, 5);
    append_be64(key, 2);
    loss.erase(Column::log, key);
    REQUIRE(store.apply(loss).ok());
    std::uint64_t read_before_gap = 0;
    const Status gap = log->read(Position{1}, [&](Position position, std::string_view) {
        read_before_gap = position.number;
        return true;
    });
    REQUIRE_FALSE(gap.ok());
    CHECK(gap.error().code == ErrorCode::corrupt);
    CHECK(gap.error().message == "log of board 5: record 2 is missing");
    CHECK(read_before_gap == 1);
}

}  // namespace

TEST_CASE("big-endian keys sort as their numbers and read back") {
    const std::uint64_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    for (int round = 0; round < 1'000; ++round) {
        const std::uint64_t a = random() >> (random() % 64);
        const std::uint64_t b = random() >> (random() % 64);
        std::string a_key, b_key, short_key;
        append_be64(a_key, a);
        append_be64(b_key, b);
        append_be32(short_key, static_cast<std::uint32_t>(a));
        REQUIRE((a < b) == (a_key < b_key));
        REQUIRE(read_be64(a_key) == a);
        REQUIRE(read_be32(short_key) == static_cast<std::uint32_t>(a));
    }
}

TEST_CASE("both stores do what a map does, over random batches and scans in both directions") {
    const std::uint64_t seed = std::random_device{}();
    CAPTURE(seed);
    const TestFolder folder;
    for (const bool on_disk : {false, true}) {
        CAPTURE(on_disk);
        std::mt19937_64 random(seed);
        std::unique_ptr<StateStore> store = on_disk ? open_owned(folder.data()) : make_memory_store();
        CHECK(store->is_durable() == on_disk);
        Oracle oracle;
        for (int round = 0; round < 600; ++round) {
            apply_random_batch(*store, oracle, random);
            for (int scan = 0; scan < 4; ++scan) check_random_scan(*store, oracle, random);
            if (on_disk && round % 150 == 149) {
                if (round % 300 == 149) REQUIRE(store->sync().ok());
                store.reset();
                store = open_owned(folder.data());
            }
        }
        REQUIRE(store->sync().ok());
    }
}

TEST_CASE("a log in either store refuses a gap on append and names it on read") {
    const TestFolder folder;
    const std::unique_ptr<StateStore> memory = make_memory_store();
    check_log(*memory);
    const std::unique_ptr<StateStore> rocks = open_owned(folder.data());
    check_log(*rocks);
}

TEST_CASE("the log of a fork may begin above its parent's version and is dense from there") {
    const std::unique_ptr<StateStore> store = make_memory_store();
    const std::unique_ptr<WriteLog> log = make_store_log(*store, BoardNumber{1});
    REQUIRE(append_one(*log, 41).ok());
    CHECK(append_one(*log, 43).error().code == ErrorCode::internal);
    REQUIRE(append_one(*log, 42).ok());
    CHECK(log->last()->number == 42);
    CHECK(log->read(Position{40}, [](Position, std::string_view) { return true; }).error().message ==
          "log of board 1: record 40 is missing");
}

// ---- the data directory -----------------------------------------------------------------------

TEST_CASE("a data directory has one owner, and readers in other processes see what it wrote") {
    const TestFolder folder;
    RocksOpenReport report;
    CHECK(open_rocks_reader(folder.data()).error().code == ErrorCode::not_found);
    Result<std::unique_ptr<StateStore>> store = open_rocks_store(folder.data(), report);
    REQUIRE(store.ok());
    CHECK(report.created);
    CHECK(report.torn_tail.empty());
    const std::unique_ptr<WriteLog> log = make_store_log(**store, BoardNumber{1});
    for (std::uint64_t position = 1; position <= 50; ++position) REQUIRE(append_one(*log, position).ok());
    StoreBatch batch;
    batch.put(Column::meta, "name", "value");
    REQUIRE((*store)->apply(batch).ok());
    CHECK(ended_well(run_child("read", folder.data())));

    Result<std::unique_ptr<StateReader>> reader = open_rocks_reader(folder.data());
    REQUIRE(reader.ok());
    CHECK(count_records(**reader, BoardNumber{1}) == 50);
    for (std::uint64_t position = 51; position <= 60; ++position) REQUIRE(append_one(*log, position).ok());
    CHECK(count_records(**reader, BoardNumber{1}) == 50);
    REQUIRE((*reader)->catch_up().ok());
    CHECK(count_records(**reader, BoardNumber{1}) == 60);

    RocksOpenReport second;
    CHECK(open_rocks_store(folder.data(), second).error().code == ErrorCode::in_use);
    store->reset();
    CHECK(open_rocks_store(folder.data(), second).ok());
    CHECK_FALSE(second.created);
}

TEST_CASE("a directory of another format or of someone else is refused and left as it is") {
    const TestFolder folder;
    RocksOpenReport report;
    const auto refusal = [&](const std::string& directory) {
        const Result<std::unique_ptr<StateStore>> store = open_rocks_store(directory, report);
        REQUIRE_FALSE(store.ok());
        CHECK(store.error().code == ErrorCode::wrong_format);
        CHECK(open_rocks_reader(directory).error().code == ErrorCode::wrong_format);
        CHECK(store.error().message.find(directory) != std::string::npos);
        return store.error().message;
    };
    set_file_bytes(folder.path() + "/letter.txt", "dear reader");
    CHECK(refusal(folder.path()).find("letter.txt") != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(folder.path() + "/owner.lock"));

    open_owned(folder.data()).reset();
    set_file_bytes(folder.data() + "/FORMAT", "stele-data 4\n");
    CHECK(refusal(folder.data()).find("has format 4, this release reads format 3; open it with a newer") !=
          std::string::npos);
    set_file_bytes(folder.data() + "/FORMAT", "stele-data 0\n");
    CHECK(refusal(folder.data()).find("an older release") != std::string::npos);
    for (const char* garbled :
         {"", "stele-data 3", "stele-data \n", "stele-data 1x\n", "stele-data 99999999999999999999\n"}) {
        set_file_bytes(folder.data() + "/FORMAT", garbled);
        CHECK(refusal(folder.data()).find("cannot be read") != std::string::npos);
    }
    std::filesystem::remove(folder.data() + "/FORMAT");
    CHECK(refusal(folder.data()).find("no FORMAT file") != std::string::npos);
}

TEST_CASE("a creation that was cut short is finished, and a lost database is not made anew") {
    const TestFolder folder;
    open_owned(folder.data()).reset();
    RocksOpenReport report;
    std::filesystem::rename(folder.data() + "/db", folder.data() + "/db.new");
    CHECK(open_rocks_store(folder.data(), report).ok());
    CHECK_FALSE(report.created);

    std::filesystem::rename(folder.data() + "/db", folder.data() + "/db.new");
    std::filesystem::remove(folder.data() + "/FORMAT");
    std::filesystem::remove_all(folder.data() + "/heads");
    CHECK(open_rocks_store(folder.data(), report).ok());
    CHECK(report.created);

    std::filesystem::remove_all(folder.data() + "/db");
    const Result<std::unique_ptr<StateStore>> lost = open_rocks_store(folder.data(), report);
    REQUIRE_FALSE(lost.ok());
    CHECK(lost.error().code == ErrorCode::corrupt);
    CHECK(lost.error().message.find("CURRENT") != std::string::npos);
}

TEST_CASE("a data directory that cannot be made is said with its path") {
    const TestFolder folder;
    set_file_bytes(folder.path() + "/file", "x");
    RocksOpenReport report;
    const Result<std::unique_ptr<StateStore>> store = open_rocks_store(folder.path() + "/file/data", report);
    REQUIRE_FALSE(store.ok());
    CHECK(store.error().message.find(folder.path() + "/file/data") != std::string::npos);
    if (geteuid() != 0) {
        const std::string closed = folder.path() + "/closed";
        std::filesystem::create_directory(closed);
        std::filesystem::permissions(closed, std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
        CHECK(open_rocks_store(closed + "/data", report).error().code == ErrorCode::permission);
    }
}

TEST_CASE("a checkpoint is a data directory of its own that holds what was applied before it") {
    const TestFolder folder;
    const std::string copy = folder.path() + "/copy";
    {
        const std::unique_ptr<StateStore> store = open_owned(folder.data());
        const std::unique_ptr<WriteLog> log = make_store_log(*store, BoardNumber{2});
        for (std::uint64_t position = 1; position <= 30; ++position) REQUIRE(append_one(*log, position).ok());
        Result<HeadMarkFile> head = HeadMarkFile::open(head_mark_path(folder.data(), BoardNumber{2}));
        REQUIRE(head.ok());
        REQUIRE(head->write({Position{30}, std::string(32, 'l')}).ok());
        const Status copied = checkpoint(*store, copy);
        if (!copied.ok()) FAIL(copied.error().message);
        REQUIRE(append_one(*log, 31).ok());
        CHECK(checkpoint(*store, copy).error().code == ErrorCode::already_exists);
        const std::unique_ptr<StateStore> copied_store = open_owned(copy);
        CHECK(count_records(*copied_store, BoardNumber{2}) == 30);
        CHECK(count_records(*store, BoardNumber{2}) == 31);
        CHECK((*read_head_mark(head_mark_path(copy, BoardNumber{2})))->position.number == 30);
        CHECK(checkpoint(*make_memory_store(), folder.path() + "/none").error().code == ErrorCode::invalid_argument);
    }
    CHECK(count_records(*open_owned(folder.data()), BoardNumber{2}) == 31);
}

TEST_CASE("a sync on another thread runs beside the loop's applies") {
    const TestFolder folder;
    {
        const std::unique_ptr<StateStore> store = open_owned(folder.data());
        const std::unique_ptr<WriteLog> log = make_store_log(*store, BoardNumber{1});
        std::atomic<bool> running{true};
        std::atomic<int> failures{0};
        std::thread syncer([&] {
            while (running) failures += store->sync().ok() ? 0 : 1;
        });
        for (std::uint64_t position = 1; position <= 2'000; ++position) REQUIRE(append_one(*log, position).ok());
        running = false;
        syncer.join();
        CHECK(failures == 0);
    }
    CHECK(count_records(*open_owned(folder.data()), BoardNumber{1}) == 2'000);
}

// ---- what a crash leaves ----------------------------------------------------------------------

TEST_CASE("what was synced survives the death of the owner, and a whole end is no torn tail") {
    const TestFolder folder;
    REQUIRE(was_killed(run_child("write and die", folder.data())));
    RocksOpenReport report;
    Result<std::unique_ptr<StateStore>> store = open_rocks_store(folder.data(), report);
    REQUIRE(store.ok());
    CHECK_FALSE(report.created);
    CHECK(report.torn_tail.empty());
    CHECK(count_records(**store, BoardNumber{3}) == records_of_child);
}

TEST_CASE("a torn tail is cut, and the report says so") {
    for (const std::uint64_t cut : {1, 20, 400}) {
        CAPTURE(cut);
        const TestFolder folder;
        REQUIRE(was_killed(run_child("write and die", folder.data())));
        const std::string wal = newest_wal(folder.data());
        std::filesystem::resize_file(wal, std::filesystem::file_size(wal) - cut);
        RocksOpenReport report;
        Result<std::unique_ptr<StateStore>> store = open_rocks_store(folder.data(), report);
        REQUIRE(store.ok());
        CHECK(report.torn_tail.find("cut a torn record of ") == 0);
        CHECK(report.torn_tail.find(std::filesystem::path(wal).filename().string()) != std::string::npos);
        const std::uint64_t left = count_records(**store, BoardNumber{3});
        CHECK(left < records_of_child);
        CHECK(left >= records_of_child - 4);
        const std::unique_ptr<WriteLog> log = make_store_log(**store, BoardNumber{3});
        REQUIRE(append_one(*log, left + 1).ok());
        store->reset();
        store = open_rocks_store(folder.data(), report);
        REQUIRE(store.ok());
        CHECK(report.torn_tail.empty());
        CHECK(count_records(**store, BoardNumber{3}) == left + 1);
    }
}

TEST_CASE("a flipped bit in the write-ahead log is refused each time, with file, byte and last good record") {
    const TestFolder folder;
    REQUIRE(was_killed(run_child("write and die", folder.data())));
    const std::string wal = newest_wal(folder.data());
    const std::string whole = file_bytes(wal);
    for (const std::size_t at : {whole.size() / 2, whole.size() / 4, whole.size() - 10}) {
        std::string flipped = whole;
        flipped[at] = static_cast<char>(flipped[at] ^ 4);
        set_file_bytes(wal, flipped);
        for (int attempt = 0; attempt < 2; ++attempt) {
            RocksOpenReport report;
            const Result<std::unique_ptr<StateStore>> store = open_rocks_store(folder.data(), report);
            REQUIRE_FALSE(store.ok());
            CHECK(store.error().code == ErrorCode::corrupt);
            const std::string& message = store.error().message;
            CAPTURE(message);
            CHECK(message.find(std::filesystem::path(wal).filename().string() + " is damaged at byte ") !=
                  std::string::npos);
            CHECK(message.find("the last good record of board 3 is ") != std::string::npos);
        }
        CHECK(file_bytes(wal) == flipped);
    }
    set_file_bytes(wal, whole);
    CHECK(count_records(*open_owned(folder.data()), BoardNumber{3}) == records_of_child);
}

TEST_CASE("any one flipped bit of a write-ahead log is refused, or cuts the last record and is reported") {
    const std::uint64_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const TestFolder folder;
    REQUIRE(was_killed(run_child("write and die", folder.data())));
    const std::string wal = newest_wal(folder.data());
    const std::string whole = file_bytes(wal);
    const std::string pristine = folder.path() + "/pristine";
    std::filesystem::copy(folder.data(), pristine, std::filesystem::copy_options::recursive);
    for (int round = 0; round < 40; ++round) {
        std::filesystem::remove_all(folder.data());
        std::filesystem::copy(pristine, folder.data(), std::filesystem::copy_options::recursive);
        std::string flipped = whole;
        const std::size_t bit = random() % (8 * whole.size());
        CAPTURE(bit);
        flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
        set_file_bytes(wal, flipped);
        RocksOpenReport report;
        const Result<std::unique_ptr<StateStore>> store = open_rocks_store(folder.data(), report);
        if (store.ok()) {
            REQUIRE_FALSE(report.torn_tail.empty());
            REQUIRE(count_records(**store, BoardNumber{3}) == records_of_child - 1);
        } else {
            REQUIRE(store.error().code == ErrorCode::corrupt);
        }
    }
}

TEST_CASE("a store that failed to write stays closed and keeps the first cause") {
    const TestFolder folder;
    CHECK(ended_well(run_child("fill up", folder.data())));
    RocksOpenReport report;
    CHECK(open_rocks_store(folder.data(), report).ok());
}

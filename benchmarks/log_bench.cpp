// What a board's log costs: commits, rebuilding a board, activations; each beside a raw peer in the
// same run. Ours and the peer take turns, round by round, so that a slow moment of the disk meets
// both. Figures are medians over the rounds. docs/performance.md says what bounds each of them.
// usage: stele_bench_log [--json FILE] [--only WORD] [--rounds N]
#include <fcntl.h>
#include <poll.h>
#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/utilities/options_util.h>
#include <rocksdb/write_batch.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "benchmarks/support.hpp"
#include "board/entry_store.hpp"
#include "board/log/memory_store.hpp"
#include "runtime/board_engine.hpp"
#include "runtime/crew_loader.hpp"
#include "runtime/data_directory.hpp"
#include "runtime/owner.hpp"
#include "runtime/wall_clock.hpp"
#include "scheduler/fold.hpp"
#include "tests/support/forwarding_store.hpp"

extern char** environ;

namespace stele {
namespace {

constexpr double langgraph_us = 1'600;
constexpr std::size_t entry_bytes = 1'024;

void check(const rocksdb::Status& status) {
    if (!status.ok()) give_up("raw RocksDB: " + status.ToString());
}

// ---- our side ---------------------------------------------------------------------------------

/// Keeps what the engine writes, so that the peer can be given the same keys and bytes. The copy is
/// made inside our time.
class RecordingStore final : public ForwardingStore {
public:
    using ForwardingStore::ForwardingStore;
    Status apply(const StoreBatch& batch) override {
        batches_.push_back(batch);
        return ForwardingStore::apply(batch);
    }

    std::vector<StoreBatch> take_batches() { return std::exchange(batches_, {}); }

private:
    std::vector<StoreBatch> batches_;
};

/// A data directory with one board and its engine, driven from here.
class LiveBoard {
public:
    /// Of a directory that has a board the first one.
    LiveBoard(const std::string& directory, const std::string& crew_text, bool indexed = true) : directory_(directory) {
        std::string torn_tail;
        data_ = take(DataDirectory::own(directory, torn_tail));
        store_ = std::make_unique<RecordingStore>(data_->store());
        workers_ = std::make_unique<Workers>(loop_);
        sources_ = make_source_registry(loop_);
        LoadedCrew loaded = load_crew(crew_text, "log_bench", directory, {});
        if (!loaded.crew) give_up(join_problems(loaded.problems));
        crew_ = std::move(loaded.crew);
        const std::vector<BoardInfo> boards = take(data_->boards());
        info_ = boards.empty() ? take(data_->create({.tenant = "default", .board = "bench"}, wall_clock()))
                               : boards.front();
        EngineHooks hooks;
        hooks.on_stopped = [this] {
            stopped_ = true;
            loop_.stop();
        };
        hooks.on_failure = [](const Error& error) { give_up(error.message); };
        engine_ = std::make_unique<BoardEngine>(loop_, *store_, *workers_, info_, data_->head_path(info_.number),
                                                *sources_, make_crew_reader(), std::move(hooks), wall_clock);
        if (!indexed) engine_->leave_index_out();
        check(engine_->open());
        engine_->take_over();
    }

    /// Takes up the crew and returns once `commit` can be called.
    void start() {
        engine_->start_run(*crew_, inputs_to_json(*crew_));
        loop_.restart();
        while (!engine_->scheduler().is_running() || !engine_->is_idle()) {
            if (loop_.run_one() == 0) give_up("the run did not start");
        }
    }

    /// Seconds from the start of a run to its stop, all of it durable as the crew says.
    double run_to_its_stop() {
        stopped_ = false;
        const auto start = Steady::now();
        engine_->start_run(*crew_, inputs_to_json(*crew_));
        loop_.restart();
        loop_.run();
        if (!stopped_) give_up("the run came to no end");
        return seconds_since(start);
    }

    /// Seconds for committing all of them, with `writers` at a time waiting for their acknowledgement.
    double commit(std::vector<Record> records, std::size_t writers) {
        unsent_ = std::move(records);
        sent_ = acknowledged_ = 0;
        loop_.restart();
        const auto start = Steady::now();
        while (sent_ < std::min(writers, unsent_.size())) send_next();
        loop_.run();
        if (acknowledged_ != unsent_.size()) give_up("commits were not acknowledged");
        return seconds_since(start);
    }

    void stop() {
        engine_->signal("interrupt", "the benchmark is over");
        loop_.restart();
        loop_.run();
        if (!stopped_) give_up("the run could not be interrupted");
    }

    std::vector<StoreBatch> take_batches() { return store_->take_batches(); }
    [[nodiscard]] const Scheduler& scheduler() const { return engine_->scheduler(); }
    [[nodiscard]] std::string database_path() const { return directory_ + "/db"; }

private:
    void send_next() {
        engine_->submit(std::move(unsent_[sent_++]), [this](const LoggedRecord& logged) {
            if (!logged.verdict.accepted) give_up("a commit was refused: " + logged.verdict.refusals.front().message);
            ++acknowledged_;
            if (sent_ < unsent_.size()) {
                send_next();
            } else if (acknowledged_ == unsent_.size()) {
                loop_.stop();
            }
        });
    }

    std::string directory_;
    boost::asio::io_context loop_;
    std::unique_ptr<DataDirectory> data_;
    std::unique_ptr<RecordingStore> store_;
    std::unique_ptr<SourceRegistry> sources_;
    std::shared_ptr<const CrewSpec> crew_;
    BoardInfo info_;
    std::unique_ptr<BoardEngine> engine_;
    std::unique_ptr<Workers> workers_;  // its last job ends before the engine does
    std::vector<Record> unsent_;
    std::size_t sent_ = 0;
    std::size_t acknowledged_ = 0;
    bool stopped_ = false;
};

/// Prose, since that is what the cycle detector looks at hardest.
class NoteMaker {
public:
    NoteMaker() {
        static const std::string letters = "etaoinshrdlucmfwypvbgkjqxz";
        for (std::string& word : words_) {
            for (std::uint64_t left = 2 + random_() % 8; left > 0; --left) word += letters[random_() % letters.size()];
        }
    }

    std::string text(std::size_t bytes) {
        std::string out;
        out.reserve(bytes + 16);
        while (out.size() < bytes) out += words_[random_() % words_.size()] + ' ';
        out.resize(bytes);
        return out;
    }

    /// Commits of one note each, whose JSON is 1 KB.
    std::vector<Record> commits(std::size_t count) {
        std::vector<Record> records(count);
        for (Record& record : records) {
            record.kind = RecordKind::commit;
            record.author = "person";
            Write write;
            write.op = WriteOp::insert;
            write.region = "notes";
            write.content = Value::object({{"text", text(entry_bytes - std::string_view("{\"text\":\"\"}").size())}});
            write.seal();
            record.writes.push_back(std::move(write));
        }
        return records;
    }

private:
    std::mt19937_64 random_{20'260'101};
    std::array<std::string, 4'096> words_;
};

// What is due in an hour keeps the run from becoming quiescent, so that commits meet a live scheduler.
std::string notes_crew(const std::string& durability) {
    return "stele: 1\n"
           "crew: log_bench\n"
           "regions:\n"
           "  notes: {policy: append_only, entry: {text: string}}\n"
           "sources:\n"
           "  never:\n"
           "    kind: rule\n"
           "    when: [{each: notes as n, where: {text: no note says this}}]\n"
           "    then: [{insert: notes, entry: {text: $n.text}}]\n"
           "    may: {read: [notes], write: {notes: [insert]}}\n"
           "  in_an_hour:\n"
           "    kind: rule\n"
           "    when: [{after: 1h}]\n"
           "    then: [{insert: notes, entry: {text: an hour has passed}}]\n"
           "    may: {write: {notes: [insert]}}\n"
           "durability: " +
           durability + "\n";
}

// ---- the raw side -----------------------------------------------------------------------------

/// A RocksDB with the options and column families of one that the engine made.
class RawRocks {
public:
    RawRocks(const std::string& like, const std::string& path, bool only_read = false) {
        rocksdb::DBOptions options;
        std::vector<rocksdb::ColumnFamilyDescriptor> families;
        std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(64U << 20);
        check(rocksdb::LoadLatestOptions(rocksdb::ConfigOptions(), like, &options, &families, &cache));
        options.create_if_missing = true;
        options.create_missing_column_families = true;
        check(only_read ? rocksdb::DB::OpenForReadOnly(options, path, families, &families_, &db_)
                        : rocksdb::DB::Open(options, path, families, &families_, &db_));
        static constexpr const char* names[column_count] = {"log", "entries", "meta", "blobs", "terms"};
        for (std::size_t i = 0; i < column_count; ++i) {
            const auto named = std::find_if(families_.begin(), families_.end(),
                                            [&](const auto* family) { return family->GetName() == names[i]; });
            if (named == families_.end()) give_up("the database has no column family " + std::string(names[i]));
            columns_[i] = *named;
        }
    }
    RawRocks(const RawRocks&) = delete;
    RawRocks& operator=(const RawRocks&) = delete;
    ~RawRocks() {
        for (rocksdb::ColumnFamilyHandle* family : families_) db_->DestroyColumnFamilyHandle(family);
        delete db_;
    }

    void write(const StoreBatch::Operation* begin, const StoreBatch::Operation* end, bool sync) {
        rocksdb::WriteBatch batch;
        for (const StoreBatch::Operation* at = begin; at != end; ++at) {
            rocksdb::ColumnFamilyHandle* family = columns_[static_cast<std::size_t>(at->column)];
            check(at->value ? batch.Put(family, at->key, *at->value) : batch.Delete(family, at->key));
        }
        rocksdb::WriteOptions options;
        options.sync = sync;
        check(db_->Write(options, &batch));
    }

    /// Seconds for writing these batches again, each with one sync or none.
    double replay(const std::vector<StoreBatch>& batches, bool sync) {
        const auto start = Steady::now();
        for (const StoreBatch& batch : batches) {
            write(batch.operations.data(), batch.operations.data() + batch.operations.size(), sync);
        }
        return seconds_since(start);
    }

    struct Scanned {
        std::uint64_t records = 0;
        std::uint64_t bytes = 0;
    };
    Scanned scan_log() {
        Scanned scanned;
        const std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator({}, columns_[0]));
        for (at->SeekToFirst(); at->Valid(); at->Next()) {
            ++scanned.records;
            scanned.bytes += at->value().size();
        }
        check(at->status());
        return scanned;
    }

    void compact() {
        for (rocksdb::ColumnFamilyHandle* family : columns_) {
            check(db_->Flush({}, family));
            check(db_->CompactRange({}, family, nullptr, nullptr));
        }
    }

private:
    rocksdb::DB* db_ = nullptr;
    std::vector<rocksdb::ColumnFamilyHandle*> families_;
    std::array<rocksdb::ColumnFamilyHandle*, column_count> columns_{};
};

/// What was written, cut into equal parts: the keys and bytes of one activation, or of one commit.
class Slices {
public:
    Slices(std::vector<StoreBatch> batches, std::size_t count) : count_(count) {
        for (StoreBatch& batch : batches) {
            std::move(batch.operations.begin(), batch.operations.end(), std::back_inserter(operations_));
        }
    }
    void write_synced(RawRocks& raw, std::size_t first, std::size_t count) const {
        raw.write(at(first), at(first + count), true);
    }

private:
    [[nodiscard]] const StoreBatch::Operation* at(std::size_t slice) const {
        return operations_.data() + operations_.size() * std::min(slice, count_) / count_;
    }

    std::vector<StoreBatch::Operation> operations_;
    std::size_t count_;
};

/// Seconds for the same bytes from one thread a writer, each commit with its own synced write:
/// RocksDB groups them as it can.
double write_from_threads(RawRocks& raw, const Slices& slices, std::size_t count, std::size_t writers) {
    std::vector<std::exception_ptr> failures(writers);
    const auto start = Steady::now();
    {
        std::vector<std::jthread> threads;
        for (std::size_t writer = 0; writer < writers; ++writer) {
            threads.emplace_back([&, writer] {
                try {
                    for (std::size_t i = writer; i < count; i += writers) slices.write_synced(raw, i, 1);
                } catch (...) {
                    failures[writer] = std::current_exception();
                }
            });
        }
    }
    const double seconds = seconds_since(start);
    for (const std::exception_ptr& failure : failures) {
        if (failure) std::rethrow_exception(failure);
    }
    return seconds;
}

// ---- commits ----------------------------------------------------------------------------------

struct CommitCase {
    std::string name;
    std::string durability;
    std::size_t writers;
    std::size_t commits;  // a round
    double goal;
};

void measure_commits(Report& report, const CommitCase& which, const std::string& directory, int rounds) {
    const bool sync = which.durability == "sync";
    NoteMaker notes;
    LiveBoard ours(directory + "/ours", notes_crew(which.durability));
    RawRocks peer(ours.database_path(), directory + "/peer");
    ours.start();
    // Caches, the first allocation of a write-ahead log, and whatever else happens once.
    ours.commit(notes.commits(which.commits / 4), which.writers);
    peer.replay(ours.take_batches(), sync);

    Row row;
    row.name = which.name;
    row.unit = "commits/s";
    row.peer_name = "raw RocksDB, same batches of keys and bytes, ";
    row.peer_name += sync ? "a sync per batch" : "no sync";
    row.goal = which.goal;
    Row threads = row;
    threads.name += ", against threads";
    threads.peer_name = "raw RocksDB, the same bytes from a thread a writer, a synced write a commit";
    threads.goal = 0;
    std::size_t batches = 0;
    std::size_t bytes = 0;
    for (int round = 0; round < rounds; ++round) {
        const double our_seconds = ours.commit(notes.commits(which.commits), which.writers);
        std::vector<StoreBatch> written = ours.take_batches();
        const double peer_seconds = peer.replay(written, sync);
        row.rounds.ours.push_back(static_cast<double>(which.commits) / our_seconds);
        row.rounds.peer.push_back(static_cast<double>(which.commits) / peer_seconds);
        batches += written.size();
        for (const StoreBatch& batch : written) {
            for (const StoreBatch::Operation& put : batch.operations) {
                bytes += put.key.size() + (put.value ? put.value->size() : 0);
            }
        }
        if (!sync || which.writers == 1) continue;
        const Slices slices(std::move(written), which.commits);
        threads.rounds.ours.push_back(row.rounds.ours.back());
        threads.rounds.peer.push_back(static_cast<double>(which.commits) /
                                      write_from_threads(peer, slices, which.commits, which.writers));
    }
    ours.stop();
    report.add(row);
    const double commits = static_cast<double>(which.commits) * rounds;
    char text[120];
    std::snprintf(text, sizeof text, "%.1f commits a batch, %.0f bytes of keys and values a commit",
                  commits / static_cast<double>(batches), static_cast<double>(bytes) / commits);
    report.note(text);
    if (!threads.rounds.ours.empty()) report.add(threads);
}

/// Commits with the index of records beside commits without it.
void measure_index(Report& report, const CommitCase& which, const std::string& directory, int rounds) {
    NoteMaker notes;
    LiveBoard with(directory + "/with", notes_crew(which.durability));
    LiveBoard without(directory + "/without", notes_crew(which.durability), false);
    Row row{.name = which.name,
            .unit = "commits/s",
            .peer_name = "the same engine without the index",
            .goal = which.goal,
            .rounds = {}};
    const auto measure = [&](LiveBoard& board, std::size_t commits) {
        const double seconds = board.commit(notes.commits(commits), which.writers);
        board.take_batches();
        return static_cast<double>(commits) / seconds;
    };
    for (LiveBoard* board : {&with, &without}) {
        board->start();
        measure(*board, which.commits / 4);
    }
    for (int round = 0; round < rounds; ++round) {
        row.rounds.ours.push_back(measure(with, which.commits));
        row.rounds.peer.push_back(measure(without, which.commits));
    }
    with.stop();
    without.stop();
    report.add(row);
}

// ---- rebuilding -------------------------------------------------------------------------------

/// Seconds for folding a whole log from nothing: frames checked and decoded, the chain recomputed,
/// contents parsed, every record judged anew and held against its recorded verdict, applied, and
/// told to the scheduler. What the fold would store is made and dropped.
double fold_log(StateStore& store, const BoardInfo& info, DecodeDepth depth) {
    const std::unique_ptr<StateStore> nothing = make_memory_store();
    const auto start = Steady::now();
    const std::unique_ptr<Board> board = take(Board::open(*nothing, info.number, info.family));
    Fold fold(*board, make_crew_reader());
    const EntryStore original(store, info.number, info.family);
    const LoadBlob load_blob = original.blob_loader();
    ChainLink previous{};
    StoreBatch batch;
    const Status walked = make_store_log(store, info.number)->read({1}, [&](Position position, std::string_view bytes) {
        const ChainLink link = take(link_of_frame(position, bytes, previous));
        auto logged = std::make_shared<LoggedRecord>(take(decode_frame(position, bytes, depth, load_blob)));
        if (link != logged->link) give_up("the chain of hashes is broken");
        previous = link;
        for (Write& write : logged->record.writes) {
            if (!write.text.empty()) write.content = take(parse_json(write.text));
        }
        const Judgement judgement = take(fold.judge(logged->record));
        if (judgement.verdict != logged->verdict) give_up("the fold came to another verdict");
        Folded folded = take(fold.apply(std::move(logged), judgement, batch));
        batch.clear();
        check(fold.step(folded));
        return true;
    });
    check(walked);
    return seconds_since(start);
}

double reopen(StateStore& store, const BoardInfo& info, const std::string& head_path) {
    boost::asio::io_context loop;
    Workers workers(loop);
    SourceRegistry none;
    const auto start = Steady::now();
    BoardEngine engine(loop, store, workers, info, head_path, none, make_crew_reader(), {}, wall_clock);
    check(engine.open());
    return seconds_since(start);
}

double reopen_without_checkpoint(StateStore& store, const BoardInfo& info, const std::string& head_path) {
    std::string key;
    std::string value;
    check(store.scan(Column::meta, "C", "D", false, [&](std::string_view found, std::string_view stored) {
        key = found;
        value = stored;
        return false;
    }));
    if (key.empty()) give_up("the board has no checkpoint");
    StoreBatch batch;
    batch.erase(Column::meta, key);
    check(store.apply(batch));
    const double seconds = reopen(store, info, head_path);
    batch.clear();
    batch.put(Column::meta, key, value);
    check(store.apply(batch));
    return seconds;
}

// ---- resuming ---------------------------------------------------------------------------------

constexpr std::size_t tasks_active = 1'000;

// Tasks that go round for ever: the log grows, what is active does not.
std::string tasks_crew() {
    return "stele: 1\n"
           "crew: tasks\n"
           "regions:\n"
           "  tasks: {policy: last_writer_wins, key: [name], entry: {name: string, state: string, n: integer}}\n"
           "  seen: {policy: last_writer_wins, key: [name], entry: {name: string, n: integer}}\n"
           "sources:\n"
           "  see:\n"
           "    kind: rule\n"
           "    when: [{each: tasks as t, where: {state: open}}, {count: tasks, where: {state: open}, is: {gte: 1}}]\n"
           "    then: [{put: seen, entry: {name: $t.name, n: $t.n}}]\n"
           "    may: {read: [tasks], write: {seen: [put]}}\n"
           "  in_an_hour:\n"
           "    kind: rule\n"
           "    when: [{after: 1h}]\n"
           "    then: [{put: seen, entry: {name: hour, n: 1}}]\n"
           "    may: {write: {seen: [put]}}\n"
           "stop: {cycle: off}\n"
           "durability: memory\n";
}

std::vector<Record> task_commits(std::size_t count) {
    std::vector<Record> records(count);
    for (std::size_t i = 0; i < count; ++i) {
        Record& record = records[i];
        record.kind = RecordKind::commit;
        record.author = "person";
        Write write;
        write.op = WriteOp::put;
        write.region = "tasks";
        const std::int64_t round = static_cast<std::int64_t>(i / tasks_active);
        write.content = Value::object({{"name", Value("task " + std::to_string(i % tasks_active))},
                                       {"state", Value(round % 2 == 0 ? "open" : "done")},
                                       {"n", Value(round)}});
        write.seal();
        record.writes.push_back(std::move(write));
    }
    return records;
}

void measure_resume(Report& report, const std::string& directory, int rounds) {
    const auto make = [&](const char* name, std::size_t commits, bool stops) {
        const std::string path = directory + "/" + name;
        LiveBoard made(path, tasks_crew());
        made.start();
        made.commit(task_commits(commits), 64);
        if (stops) made.stop();
        return path;
    };
    const auto resume = [](const std::string& path, std::uint64_t& records) {
        std::string torn_tail;
        const std::unique_ptr<DataDirectory> data = take(DataDirectory::own(path, torn_tail));
        const BoardInfo info = take(data->boards()).front();
        records = take(make_store_log(data->store(), info.number)->last()).number;
        return reopen(data->store(), info, data->head_path(info.number));
    };
    const auto run_again = [](const std::string& path, std::uint64_t&) {
        LiveBoard board(path, tasks_crew());
        const auto start = Steady::now();
        board.start();
        const double seconds = seconds_since(start);
        board.stop();
        return seconds;
    };
    const auto compare = [&](const std::string& name, const std::string& lengthy, const std::string& brief,
                             const std::function<double(const std::string&, std::uint64_t&)>& run) {
        Row row;
        row.unit = "ms";
        row.more_is_better = false;
        std::uint64_t long_records = 0;
        std::uint64_t brief_records = 0;
        resume(lengthy, long_records);
        resume(brief, brief_records);
        row.name = name + ", " + std::to_string(long_records) + " records";
        row.peer_name = "the same with " + std::to_string(brief_records) + " records";
        for (int round = 0; round < rounds; ++round) {
            row.rounds.ours.push_back(run(lengthy, long_records) * 1e3);
            row.rounds.peer.push_back(run(brief, brief_records) * 1e3);
        }
        report.add(row);
    };
    for (const bool stops : {true, false}) {
        const std::string left = stops ? "stopped" : "killed";
        const std::string brief = make(("brief_" + left).c_str(), 20'000, stops);
        const std::string lengthy = make(("lengthy_" + left).c_str(), 400'000, stops);
        compare("resume: 1,000 active entries, " + left, lengthy, brief, resume);
        if (stops) compare("a new run: 1,000 active entries", lengthy, brief, run_again);
    }
}

void measure_rebuild(Report& report, const std::string& directory, int rounds) {
    constexpr std::size_t commits = 20'000;
    const std::string path = directory + "/ours";
    {
        NoteMaker notes;
        LiveBoard made(path, notes_crew("memory"));
        made.start();
        made.commit(notes.commits(commits), 64);
        made.stop();
    }
    const std::string database = path + "/db";
    { RawRocks(database, database).compact(); }

    struct Case {
        Row row;
        std::function<double(DataDirectory&, const BoardInfo&)> run;
    };
    std::vector<Case> cases(4);
    cases[0].row.name = "rebuild: fold, without storing";
    cases[0].row.goal = 0.3;
    cases[0].run = [](DataDirectory& data, const BoardInfo& info) {
        return fold_log(data.store(), info, DecodeDepth::full);
    };
    cases[1].row.name = "rebuild: the same, every payload hash checked";
    cases[1].run = [](DataDirectory& data, const BoardInfo& info) {
        return fold_log(data.store(), info, DecodeDepth::verified);
    };
    cases[2].row.name = "reopen: BoardEngine::open from the checkpoint";
    cases[2].run = [](DataDirectory& data, const BoardInfo& info) {
        return reopen(data.store(), info, data.head_path(info.number));
    };
    // Last, as it takes the checkpoint away and puts it back.
    cases[3].row.name = "reopen: the same without a checkpoint";
    cases[3].run = [](DataDirectory& data, const BoardInfo& info) {
        return reopen_without_checkpoint(data.store(), info, data.head_path(info.number));
    };
    for (Case& one : cases) {
        one.row.unit = "records/s";
        one.row.peer_name = "raw sequential scan of the same records";
    }
    // Both sides begin with an empty block cache and blocks that the system has in memory.
    for (int round = 0; round < rounds; ++round) {
        for (Case& one : cases) {
            double our_seconds = 0;
            {
                std::string torn_tail;
                const std::unique_ptr<DataDirectory> data = take(DataDirectory::own(path, torn_tail));
                our_seconds = one.run(*data, take(data->boards()).front());
            }
            RawRocks peer(database, database, true);
            const auto start = Steady::now();
            const RawRocks::Scanned scanned = peer.scan_log();
            const double peer_seconds = seconds_since(start);
            one.row.rounds.ours.push_back(static_cast<double>(scanned.records) / our_seconds);
            one.row.rounds.peer.push_back(static_cast<double>(scanned.records) / peer_seconds);
        }
    }
    for (const Case& one : cases) report.add(one.row);
}

// ---- rules ------------------------------------------------------------------------------------

// Each rule hands the token on and counts it up: a token at a new version wakes the next one.
std::string token_crew(std::size_t rules, std::size_t hops) {
    std::string text =
        "stele: 1\n"
        "crew: token\n"
        "regions:\n"
        "  token: {policy: cas, key: [name], entry: {name: string, at: string, hop: integer}}\n"
        "sources:\n";
    for (std::size_t rule = 0; rule < rules; ++rule) {
        text += "  rule_" + std::to_string(rule) +
                ":\n"
                "    kind: rule\n"
                "    when: [{each: token as t, where: {at: s" +
                std::to_string(rule) + ", hop: {lt: " + std::to_string(hops) +
                "}}}]\n"
                "    then: [{replace: $t, entry: {name: $t.name, at: s" +
                std::to_string((rule + 1) % rules) +
                ", hop: $t.@version}}]\n"
                "    may: {read: [token], write: {token: [replace]}}\n";
    }
    return text + "seed: {token: [{name: one, at: s0, hop: 0}]}\ndurability: sync\n";
}

/// Runs on a fresh board; a board keeps what has been done, and a token is counted once.
struct Run {
    double seconds;
    std::uint64_t activations;
    std::vector<StoreBatch> batches;
    std::string database_path;
};
Run run_crew(const std::string& directory, const std::string& crew, StopReason expected) {
    LiveBoard board(directory, crew);
    Run run;
    run.seconds = board.run_to_its_stop();
    run.activations = board.scheduler().activations_started();
    run.batches = board.take_batches();
    run.database_path = board.database_path();
    if (board.scheduler().stopping() != expected) give_up("the run stopped: " + board.scheduler().stop_detail());
    return run;
}

void measure_rules(Report& report, const std::string& directory, int rounds) {
    constexpr std::size_t hops = 5'000;
    constexpr std::size_t peer_writes = 150;
    for (const std::size_t rules : {std::size_t{1}, std::size_t{8}}) {
        std::string shape = "rules: one that wakes itself";
        if (rules > 1) shape = "rules: a ring of " + std::to_string(rules);
        Row row;
        row.name = shape;
        row.unit = "us";
        row.peer_name = "one raw synced write of one activation's keys and bytes";
        row.more_is_better = false;
        for (int round = 0; round < rounds; ++round) {
            const std::string place = directory + "/" + std::to_string(rules) + "_" + std::to_string(round);
            Run run = run_crew(place + "_ours", token_crew(rules, hops), StopReason::quiescence);
            if (run.activations < hops) give_up("the rules ran " + std::to_string(run.activations) + " times");
            RawRocks raw(run.database_path, place + "_peer");
            const Slices bytes(std::move(run.batches), run.activations);
            const auto start = Steady::now();
            for (std::size_t i = 0; i < peer_writes; ++i) bytes.write_synced(raw, i, 1);
            row.rounds.ours.push_back(run.seconds / static_cast<double>(run.activations) * 1e6);
            row.rounds.peer.push_back(seconds_since(start) / peer_writes * 1e6);
        }
        report.add(row);
        row.name = shape + ", LangGraph.js (not run here)";
        row.peer_name = "LangGraph.js + SQLite checkpointer, 1.6 ms a step (measured, references)";
        row.rounds.peer.assign(row.rounds.ours.size(), langgraph_us);
        row.goal = 50;
        report.add(row);
    }
}

// ---- processes --------------------------------------------------------------------------------

constexpr const char* command_line = "echo '{\"op\":\"insert\",\"region\":\"done\",\"entry\":{\"text\":\"done\"}}'";

// Woken by each entry of `woken_by`. A string of JSON is one of YAML, too.
std::string process_crew(const std::string& woken_by) {
    return "stele: 1\n"
           "crew: processes\n"
           "regions:\n"
           "  items: {policy: append_only, entry: {text: string}}\n"
           "  done: {policy: append_only, entry: {text: string}}\n"
           "sources:\n"
           "  worker:\n"
           "    kind: process\n"
           "    command: [sh, -c, " +
           to_json(Value(command_line)) +
           "]\n"
           "    when: [{each: " +
           woken_by +
           " as e}]\n"
           "    view: []\n"
           "    may: {read: [items, done], write: {done: [insert]}}\n";
}

// Each process wakes the next one. It always says the same, which the cycle detector would stop.
std::string chain_crew(std::size_t activations) {
    return process_crew("done") +
           "seed: {done: [{text: begin}]}\nstop: {cycle: off, limits: {activations: " + std::to_string(activations) +
           "}}\n";
}

std::string pool_crew(std::size_t items, std::size_t in_flight) {
    std::string text = process_crew("items");
    text += "limits: {concurrency: " + std::to_string(in_flight) + "}\nseed:\n  items:\n";
    for (std::size_t i = 0; i < items; ++i) text += "    - {text: item " + std::to_string(i) + "}\n";
    return text;
}

/// The same command with nothing around it: pipes, spawn, wait.
class RawProcesses {
public:
    struct Child {
        pid_t pid;
        int output;
    };

    static Child start() {
        int input[2];
        int output[2];
        if (::pipe2(input, O_CLOEXEC) != 0 || ::pipe2(output, O_CLOEXEC) != 0) give_up("cannot make a pipe");
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, input[0], 0);
        posix_spawn_file_actions_adddup2(&actions, output[1], 1);
        std::string shell = "sh";
        std::string option = "-c";
        std::string line = command_line;
        char* const arguments[] = {shell.data(), option.data(), line.data(), nullptr};
        Child child{};
        if (::posix_spawnp(&child.pid, "sh", &actions, nullptr, arguments, environ) != 0) give_up("cannot start sh");
        posix_spawn_file_actions_destroy(&actions);
        ::close(input[0]);
        ::close(output[1]);
        static const std::string request(400, 'x');
        if (::write(input[1], request.data(), request.size()) < 0 && errno != EPIPE) give_up("cannot write to sh");
        ::close(input[1]);
        child.output = output[0];
        return child;
    }

    /// Reads what has come; true once the child has ended.
    static bool advance(const Child& child) {
        char bytes[512];
        if (::read(child.output, bytes, sizeof bytes) > 0) return false;
        int status = 0;
        ::close(child.output);
        if (::waitpid(child.pid, &status, 0) != child.pid || status != 0) give_up("sh failed");
        return true;
    }
};

/// Seconds for running the command `count` times with `in_flight` at a time; what ended together is
/// written together, with one sync.
double run_raw(RawRocks& raw, const Slices& bytes, std::size_t count, std::size_t in_flight) {
    const auto start = Steady::now();
    std::vector<RawProcesses::Child> running;
    std::size_t begun = 0;
    std::size_t ended = 0;
    while (ended < count) {
        while (running.size() < in_flight && begun < count) {
            running.push_back(RawProcesses::start());
            ++begun;
        }
        std::vector<pollfd> waits;
        for (const RawProcesses::Child& child : running) waits.push_back({child.output, POLLIN, 0});
        if (::poll(waits.data(), waits.size(), -1) < 0) give_up("poll failed");
        std::vector<RawProcesses::Child> left;
        for (std::size_t i = 0; i < running.size(); ++i) {
            if (waits[i].revents == 0 || !RawProcesses::advance(running[i])) left.push_back(running[i]);
        }
        const std::size_t now_ended = running.size() - left.size();
        running = std::move(left);
        if (now_ended > 0) bytes.write_synced(raw, ended, now_ended);
        ended += now_ended;
    }
    return seconds_since(start);
}

void measure_processes(Report& report, const std::string& directory, int rounds) {
    for (const std::size_t in_flight : {std::size_t{1}, std::size_t{64}}) {
        const std::size_t activations = in_flight == 1 ? 100 : 512;
        const std::string crew = in_flight == 1 ? chain_crew(activations) : pool_crew(activations, in_flight);
        const std::string shape = in_flight == 1 ? "processes: a chain" : "processes: 64 in flight";
        Row row;
        row.name = shape;
        row.unit = "ms";
        row.peer_name = in_flight == 1 ? "raw spawn, exec, pipes and wait of the same command, and one synced write"
                                       : "the same, 64 at a time, what ends together synced together";
        row.more_is_better = false;
        for (int round = 0; round < rounds; ++round) {
            const std::string place = directory + "/" + std::to_string(in_flight) + "_" + std::to_string(round);
            Run run = run_crew(place + "_ours", crew, in_flight == 1 ? StopReason::budget : StopReason::quiescence);
            if (run.activations != activations) {
                give_up("there were " + std::to_string(run.activations) + " activations");
            }
            RawRocks raw(run.database_path, place + "_peer");
            const Slices bytes(std::move(run.batches), activations);
            const double peer = run_raw(raw, bytes, activations, in_flight);
            row.rounds.ours.push_back(run.seconds / static_cast<double>(activations) * 1e3);
            row.rounds.peer.push_back(peer / static_cast<double>(activations) * 1e3);
        }
        report.add(row);
        char text[80];
        std::snprintf(text, sizeof text, "%.0f MB resident here, which fork copies the page table of", resident_mb());
        report.note(text);
        if (in_flight == 1) continue;
        row.name = shape + ", LangGraph.js (not run here)";
        row.peer_name = "LangGraph.js + SQLite checkpointer, 1.6 ms a step (measured, references)";
        row.rounds.peer.assign(row.rounds.ours.size(), langgraph_us / 1e3);
        report.add(row);
    }
}

// ---- the run ----------------------------------------------------------------------------------

void run(const Options& options) {
    const WorkingDirectory work("log");
    Report report;
    const auto wanted = [&](const std::string& part) { return options.only.empty() || part.find(options.only) == 0; };
    const auto commits = [&](const CommitCase& which) {
        work.with_folder("commits",
                         [&](const std::string& folder) { measure_commits(report, which, folder, options.rounds); });
    };
    // First, while the heap is as small as in a run of its own: fork pays for what is resident.
    if (wanted("processes")) {
        report.heading("One activation of a process (sh -c \"echo ...\"), durable");
        const int rounds = std::min(options.rounds, 3);
        work.with_folder("processes", [&](const std::string& folder) { measure_processes(report, folder, rounds); });
    }
    if (wanted("durable")) {
        report.heading("Commits of one 1 KB entry from outside, on disk before they are acknowledged");
        commits({"durable, 1 writer", "sync", 1, 400, 0});
        commits({"durable, 64 writers", "sync", 64, 4'800, 0.8});
    }
    if (wanted("unsynced")) {
        report.heading("The same without sync");
        commits({"unsynced, 1 writer", "memory", 1, 5'000, 0.5});
        commits({"unsynced, 64 writers", "memory", 64, 10'000, 0.5});
    }
    if (wanted("index")) {
        report.heading("What the index of records takes of such commits, 170 words each, nothing synced");
        for (const CommitCase& which : {CommitCase{"index, 1 writer", "memory", 1, 20'000, 0.7},
                                        {"index, 64 writers", "memory", 64, 40'000, 0.7}}) {
            work.with_folder("index",
                             [&](const std::string& folder) { measure_index(report, which, folder, options.rounds); });
        }
    }
    if (wanted("rebuild")) {
        report.heading("A board from its log: 20,000 commits of 1 KB");
        work.with_folder("rebuild",
                         [&](const std::string& folder) { measure_rebuild(report, folder, options.rounds); });
    }
    if (wanted("resume")) {
        report.heading("A board whose log grows and whose tasks do not: opened to go on");
        work.with_folder("resume", [&](const std::string& folder) { measure_resume(report, folder, options.rounds); });
    }
    if (wanted("rules")) {
        report.heading("One activation of a rule, durable");
        work.with_folder("rules", [&](const std::string& folder) { measure_rules(report, folder, options.rounds); });
    }
    if (!options.json.empty()) report.write_json(options.json);
}

}  // namespace
}  // namespace stele

int main(int count, char** arguments) {
    return stele::run_benchmark(
        {.name = "log", .parts = "durable|unsynced|index|rebuild|resume|rules|processes", .rounds = 5}, count,
        arguments, stele::run);
}

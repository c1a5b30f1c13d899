// What the questions to a long log cost, beside point reads of the same database; what the index of
// records takes of the disk and of an append. docs/performance.md says what bounds each of them.
// usage: stele_bench_questions [--json FILE] [--only PART] [--rounds N]
// STELE_BENCH_WRITES: how long the log is, 10,000,000 writes unless told.
#include <rocksdb/db.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "benchmarks/support.hpp"
#include "board/log/keys.hpp"
#include "board/log/rocks_store.hpp"
#include "board/provenance.hpp"
#include "board/view.hpp"
#include "runtime/workers.hpp"
#include "tests/support/log_generator.hpp"

namespace stele {
namespace {

constexpr BoardNumber board_number{1};
constexpr FamilyKey family{9, 9, 9};
constexpr std::uint64_t writes_default = 10'000'000;
constexpr std::size_t questions = 200;
constexpr std::size_t rows_shown = 20;
constexpr std::size_t tree_depth = 4;
constexpr double point_reads_allowed = 100;

std::uint64_t writes_wanted() {
    const char* text = std::getenv("STELE_BENCH_WRITES");
    return text == nullptr ? writes_default : std::strtoull(text, nullptr, 10);
}

double us_since(Steady::time_point start) { return seconds_since(start) * 1e6; }

// ---- what the index takes -------------------------------------------------------------------------

void append_cost(Report& report, const WorkingDirectory& work, const Options& options, const char* name,
                 GeneratedLog shape) {
    Row row{.name = name, .unit = "commits/s", .peer_name = "without the index", .goal = 0.7, .rounds = {}};
    work.with_folder(name, [&](const std::string& folder) {
        RocksOpenReport opened;
        std::unique_ptr<StateStore> with = take(open_rocks_store(folder + "/with", opened));
        std::unique_ptr<StateStore> without = take(open_rocks_store(folder + "/without", opened));
        WorkerThread worker;
        shape.run = [&worker](std::function<void()> task) { worker.run(std::move(task)); };
        shape.writes = UINT64_MAX;
        LogGenerator indexed(*with, board_number, family, shape);
        shape.indexed = false;
        LogGenerator plain(*without, board_number, family, shape);
        constexpr int steps = 40'000;
        const auto measure = [](LogGenerator& generator) {
            const auto before = generator.appending();
            for (int i = 0; i < steps; ++i) generator.step();
            return steps / (generator.appending() - before).count();
        };
        for (int round = 0; round < options.rounds; ++round) {
            row.rounds.ours.push_back(measure(indexed));
            row.rounds.peer.push_back(measure(plain));
        }
    });
    report.add(row);
}

void append_costs(Report& report, const WorkingDirectory& work, const Options& options) {
    report.heading("appends, nothing synced: with the index beside without it");
    append_cost(report, work, options, "append", {});
    report.note("commits of one text of 170 words, a term each:");
    append_cost(report, work, options, "append_prose", {.writes_per_commit = 1, .words_per_text = 170});
}

std::uint64_t bytes_of(rocksdb::DB& db, rocksdb::ColumnFamilyHandle* family_handle) {
    std::uint64_t bytes = 0;
    db.GetIntProperty(family_handle, rocksdb::DB::Properties::kTotalSstFilesSize, &bytes);
    return bytes;
}

void disk_cost(Report& report, const std::string& directory) {
    rocksdb::DBOptions options;
    const std::vector<std::string> names = {"default", "log", "entries", "meta", "blobs", "terms"};
    std::vector<rocksdb::ColumnFamilyDescriptor> columns;
    for (const std::string& name : names) columns.emplace_back(name, rocksdb::ColumnFamilyOptions());
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* db = nullptr;
    const rocksdb::Status opened = rocksdb::DB::Open(options, directory + "/db", columns, &handles, &db);
    if (!opened.ok()) give_up(opened.ToString());
    std::vector<double> megabytes;
    for (std::size_t i = 0; i < handles.size(); ++i) {
        db->Flush({}, handles[i]);
        db->CompactRange({}, handles[i], nullptr, nullptr);
        megabytes.push_back(static_cast<double>(bytes_of(*db, handles[i])) / 1e6);
    }
    for (rocksdb::ColumnFamilyHandle* handle : handles) db->DestroyColumnFamilyHandle(handle);
    delete db;
    report.heading("disk, compacted");
    report.note("entries " + std::to_string(megabytes[2]) + " MB, meta " + std::to_string(megabytes[3]) +
                " MB, blobs " + std::to_string(megabytes[4]) + " MB");
    report.add({.name = "index_disk",
                .unit = "MB",
                .peer_name = "half of the log",
                .more_is_better = false,
                .goal = 1,
                .rounds = {{megabytes[5]}, {(megabytes[1] + megabytes[4]) / 2}}});
}

// ---- questions ------------------------------------------------------------------------------------

struct Reader {
    explicit Reader(const std::string& directory)
        : store(take(open_rocks_reader(directory))), entries(*store, board_number, family) {
        check(entries.load());
        last = entries.meta().last;
    }
    std::unique_ptr<StateReader> store;
    EntryStore entries;
    Position last;
};

std::size_t ask_why(const Provenance& provenance, const EntryId& id, Position at, std::size_t depth) {
    const Derivation derivation = take(provenance.derivation(id, at));
    std::size_t rows = 1;
    if (depth == 0) return rows;
    for (const Support& support : derivation.supports) {
        rows += ask_why(provenance, support.entry.id, support.at, depth - 1);
    }
    return rows;
}

std::string log_key(Position position) {
    std::string key;
    append_be64(key, board_number.number);
    append_be64(key, position.number);
    return key;
}

// Each question on a board opened anew, so that no cache of ours helps; the blocks that RocksDB keeps and
// the pages of the system are as warm for the peer.
template <class Ask>
void measure(Report& report, const std::string& name, const std::string& directory, const Options& options,
             const Ask& ask) {
    Row row{.name = name,
            .unit = "us",
            .peer_name = "100 point reads and the rows",
            .more_is_better = false,
            .goal = 1,
            .rounds = {}};
    std::mt19937_64 dice(7);
    std::vector<double> worst;
    double rows_sum = 0;
    for (int round = 0; round < options.rounds; ++round) {
        Reader reader(directory);
        std::vector<double> ours;
        std::vector<double> peer;
        std::size_t rows_all = 0;
        for (std::size_t i = 0; i < questions; ++i) {
            EntryStore fresh(*reader.store, board_number, family);
            check(fresh.load());
            const Provenance provenance(fresh, family, reader.last);
            auto start = Steady::now();
            const std::size_t rows = ask(provenance, fresh, dice);
            ours.push_back(us_since(start));
            start = Steady::now();
            constexpr int reads = 20;
            for (int read = 0; read < reads; ++read) {
                take(reader.store->get(Column::log, log_key({dice() % reader.last.number + 1})));
            }
            const double point = us_since(start) / reads;
            // What a row shows is a record, and for some the claim that led to it.
            peer.push_back(point * (point_reads_allowed + 2 * static_cast<double>(rows)));
            rows_all += rows;
        }
        rows_sum += static_cast<double>(rows_all) / questions;
        row.rounds.ours.push_back(median(ours));
        row.rounds.peer.push_back(median(peer));
        std::sort(ours.begin(), ours.end());
        worst.push_back(ours[ours.size() * 99 / 100]);
    }
    report.add(row);
    report.note(name + ": p99 " + std::to_string(median(worst)) + " us; rows on average " +
                std::to_string(rows_sum / options.rounds));
}

void ask_questions(Report& report, const std::string& directory, const std::vector<std::string>& phrases,
                   const Options& options) {
    report.heading("questions, each with at most " + std::to_string(rows_shown) + " rows");
    const auto random_entry = [](const EntryStore& entries, const char* region, std::mt19937_64& dice) {
        return EntryId{region, dice() % (entries.region(region)->next_entry - 1) + 1};
    };
    measure(report, "why", directory, options,
            [&](const Provenance& provenance, const EntryStore& entries, auto& dice) {
                return ask_why(provenance, random_entry(entries, "report", dice), entries.meta().last, tree_depth);
            });
    measure(report, "impact", directory, options,
            [&](const Provenance& provenance, const EntryStore& entries, auto& dice) {
                std::size_t rows = 0;
                check(provenance.for_each_derived(random_entry(entries, "evidence", dice), {},
                                                  [&](const Derived&) { return ++rows < rows_shown; }));
                return rows;
            });
    measure(report, "blame_phrase", directory, options,
            [&](const Provenance& provenance, const EntryStore&, auto& dice) {
                std::size_t rows = 0;
                const TextQuery query = take(TextQuery::parse(phrases[dice() % phrases.size()]));
                check(provenance.for_each_hit(query, {1}, [&](const TextHit&) { return ++rows < rows_shown; }));
                return rows;
            });
    measure(report, "blame_number", directory, options,
            [&](const Provenance& provenance, const EntryStore&, auto& dice) {
                std::size_t rows = 0;
                const TextQuery query = take(TextQuery::parse(std::to_string(dice() % 1'000) + ".3 %"));
                check(provenance.for_each_hit(query, {1}, [&](const TextHit&) { return ++rows < rows_shown; }));
                return rows;
            });
    measure(report, "show_at", directory, options, [&](const Provenance&, const EntryStore& entries, auto& dice) {
        const Position at{dice() % entries.meta().last.number + 1};
        std::size_t rows = 0;
        for (const RegionState& region : entries.regions()) {
            take(entries.count_at(region.number, at));
            ++rows;
        }
        check(View(entries, at).for_each("status", false, [&](const EntryPtr&) { return ++rows < rows_shown; }));
        return rows;
    });
    const auto filter = [&](const char* name, const std::function<IndexQuery(std::mt19937_64&)>& make, bool newest) {
        measure(report, name, directory, options, [&](const Provenance& provenance, const EntryStore&, auto& dice) {
            std::size_t rows = 0;
            check(provenance.index().find(make(dice), {1}, {UINT64_MAX}, newest,
                                          [&](const LoggedRecord&) { return ++rows < rows_shown; }));
            return rows;
        });
    };
    filter(
        "log_source",
        [](std::mt19937_64& dice) {
            return IndexQuery{{{RecordTermKind::author, "source_" + std::to_string(dice() % 200)}}};
        },
        true);
    filter(
        "log_source_region",
        [](std::mt19937_64& dice) {
            return IndexQuery{{{RecordTermKind::author, "source_" + std::to_string(dice() % 200)}},
                              {{RecordTermKind::region, "report"}}};
        },
        false);
    filter(
        "log_activation",
        [](std::mt19937_64& dice) { return IndexQuery{{activation_term({(dice() % 10'000) * 2 + 3})}}; }, false);
}

// Reading a board begins in a time that does not grow with its length.
void opening(Report& report, const std::string& directory, const std::string& short_directory, const Options& options) {
    report.heading("opening a board to read");
    Row row{.name = "open",
            .unit = "us",
            .peer_name = "a board of 10,000 writes",
            .more_is_better = false,
            .goal = 0.5,
            .rounds = {}};
    for (int round = 0; round < options.rounds * 5; ++round) {
        for (const bool is_short : {false, true}) {
            const auto start = Steady::now();
            const Reader reader(is_short ? short_directory : directory);
            (is_short ? row.rounds.peer : row.rounds.ours).push_back(us_since(start));
        }
    }
    report.add(row);
}

void run(const Options& options) {
    const WorkingDirectory work("questions");
    Report report;
    const auto wanted = [&](const char* part) { return options.only.empty() || options.only == part; };
    if (wanted("append")) append_costs(report, work, options);
    if (wanted("ask")) {
        work.with_folder("long", [&](const std::string& folder) {
            RocksOpenReport opened;
            std::vector<std::string> phrases;
            const auto start = Steady::now();
            {
                std::unique_ptr<StateStore> store = take(open_rocks_store(folder + "/data", opened));
                GeneratedLog shape;
                shape.writes = writes_wanted();
                LogGenerator generator(*store, board_number, family, shape);
                generator.run();
                phrases = generator.rare_phrases();
                report.note("a log of " + std::to_string(generator.written()) + " writes in " +
                            std::to_string(generator.last().number) + " records, made in " +
                            std::to_string(static_cast<int>(seconds_since(start))) + " s");
            }
            disk_cost(report, folder + "/data");
            ask_questions(report, folder + "/data", phrases, options);
            {
                std::unique_ptr<StateStore> store = take(open_rocks_store(folder + "/short", opened));
                GeneratedLog shape;
                shape.writes = 10'000;
                LogGenerator(*store, board_number, family, shape).run();
            }
            opening(report, folder + "/data", folder + "/short", options);
        });
    }
    if (!options.json.empty()) report.write_json(options.json);
}

}  // namespace
}  // namespace stele

int main(int count, char** arguments) {
    return stele::run_benchmark({.name = "questions", .parts = "append|ask", .rounds = 3}, count, arguments,
                                stele::run);
}

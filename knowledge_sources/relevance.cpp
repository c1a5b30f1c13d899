#include "knowledge_sources/relevance.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <map>
#include <set>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace stele {
namespace {

constexpr const char* tokenizer = "porter unicode61 remove_diacritics 2";

Error failure(sqlite3* database, const std::string& doing) {
    return Error{ErrorCode::internal, "the text index failed " + doing + ": " + sqlite3_errmsg(database)};
}

/// The beginning of a text, not cut within a character.
std::string_view beginning(std::string_view text, std::size_t bytes_max) {
    if (text.size() <= bytes_max) return text;
    std::size_t cut = bytes_max;
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0U) == 0x80U) --cut;
    return text.substr(0, cut);
}

class Statement {
public:
    Statement(sqlite3* database, const std::string& sql) : database_(database) {
        sqlite3_prepare_v3(database, sql.c_str(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement_,
                           nullptr);
    }
    ~Statement() { sqlite3_finalize(statement_); }
    Statement(const Statement&) = delete;
    Statement& operator=(const Statement&) = delete;

    [[nodiscard]] bool is_ready() const { return statement_ != nullptr; }
    void bind(int at, std::string_view text) {
        // Lives as long as the statement runs: reset() follows before the text goes.
        sqlite3_bind_text64(statement_, at, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
    }
    void bind(int at, std::int64_t number) { sqlite3_bind_int64(statement_, at, number); }
    int step() { return sqlite3_step(statement_); }
    void reset() {
        sqlite3_reset(statement_);
        sqlite3_clear_bindings(statement_);
    }
    [[nodiscard]] std::int64_t number(int column) const { return sqlite3_column_int64(statement_, column); }
    [[nodiscard]] std::string text(int column) const {
        const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
        return bytes == nullptr
                   ? std::string()
                   : std::string(bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
    }
    /// Runs a statement that gives no rows.
    Status run(const char* doing) {
        const int code = step();
        const Status status = code == SQLITE_DONE ? Status(Done{}) : Status(failure(database_, doing));
        reset();
        return status;
    }

private:
    sqlite3* database_;
    sqlite3_stmt* statement_ = nullptr;
};

/// The words of a text by the tokenizer that the index itself uses, so that what is counted here is what
/// is found there.
class Words {
public:
    ~Words() {
        if (instance_ != nullptr) module_.xDelete(instance_);
    }

    Status open(sqlite3* database) {
        fts5_api* api = nullptr;
        sqlite3_stmt* statement = nullptr;
        if (sqlite3_prepare_v2(database, "SELECT fts5(?1)", -1, &statement, nullptr) == SQLITE_OK) {
            sqlite3_bind_pointer(statement, 1, static_cast<void*>(&api), "fts5_api_ptr", nullptr);
            sqlite3_step(statement);
        }
        sqlite3_finalize(statement);
        if (api == nullptr) return Error{ErrorCode::internal, "this build of SQLite has no FTS5"};
        void* context = nullptr;
        std::array<const char*, 3> arguments = {"unicode61", "remove_diacritics", "2"};
        if (api->xFindTokenizer(api, "porter", &context, &module_) != SQLITE_OK ||
            module_.xCreate(context, arguments.data(), static_cast<int>(arguments.size()), &instance_) != SQLITE_OK) {
            return Error{ErrorCode::internal, "this build of SQLite has no tokenizer porter"};
        }
        return Done{};
    }

    /// `take(term, word as it stands in the text)` until it returns false.
    template <class Take>
    void each(std::string_view text, int purpose, Take take) const {
        struct Walk {
            Take& take;
            std::string_view text;
        } walk{take, text};
        const auto token = [](void* context, int, const char* term, int term_bytes, int start, int end) {
            const Walk& at = *static_cast<Walk*>(context);
            const auto begin = static_cast<std::size_t>(start);
            const bool more = at.take(std::string_view(term, static_cast<std::size_t>(term_bytes)),
                                      at.text.substr(begin, static_cast<std::size_t>(end) - begin));
            return more ? SQLITE_OK : SQLITE_DONE;
        };
        module_.xTokenize(instance_, &walk, purpose, text.data(), static_cast<int>(text.size()), token);
    }

private:
    fts5_tokenizer module_{};
    Fts5Tokenizer* instance_ = nullptr;
};

/// One region's texts, and in how many of them each term stands.
struct RegionIndex {
    RegionIndex(sqlite3* database, std::string table_name)
        : table(std::move(table_name)),
          insert(database, "INSERT INTO " + table + "(rowid, text) VALUES (?1, ?2)"),
          remove(database, "DELETE FROM " + table + " WHERE rowid = ?1"),
          text_of(database, "SELECT text FROM " + table + " WHERE rowid = ?1"),
          ranked(database, "SELECT rowid FROM " + table + " WHERE " + table +
                               " MATCH ?1 AND rowid >= ?2 ORDER BY bm25(" + table + "), rowid LIMIT ?3") {}

    [[nodiscard]] bool is_ready() const {
        return insert.is_ready() && remove.is_ready() && text_of.is_ready() && ranked.is_ready();
    }

    std::string table;
    Statement insert, remove, text_of, ranked;
    std::unordered_map<std::string, std::uint32_t> entries_with;
    std::uint64_t entries = 0;
    std::uint64_t newest = 0;  // greatest number ever indexed
};

class Fts5Index final : public RelevanceIndex {
public:
    ~Fts5Index() override {
        regions_.clear();
        words_.reset();
        sqlite3_close(database_);
    }

    Status declare(const CrewSpec& crew, const View& now) override {
        if (Status opened = open(); !opened.ok()) return opened;
        const std::set<std::string, std::less<>> wanted = ranked_regions(crew);
        for (auto region = regions_.begin(); region != regions_.end();) {
            if (wanted.count(region->first) > 0) {
                ++region;
                continue;
            }
            const std::string table = region->second->table;
            region = regions_.erase(region);
            if (Status dropped = execute("DROP TABLE " + table); !dropped.ok()) return dropped;
        }
        for (const std::string& name : wanted) {
            if (regions_.count(name) > 0) continue;
            if (Status taken = take_up(name, now); !taken.ok()) return taken;
        }
        return Done{};
    }

    Status apply(const std::vector<EntryChange>& changes) override {
        const auto is_indexed = [this](const EntryChange& change) { return regions_.count(change.id.region) > 0; };
        if (std::none_of(changes.begin(), changes.end(), is_indexed)) return Done{};
        return in_transaction([&]() -> Status {
            for (const EntryChange& change : changes) {
                const auto region = regions_.find(change.id.region);
                if (region == regions_.end()) continue;
                if (Status removed = take_out(*region->second, change.id.number); !removed.ok()) return removed;
                if (!change.after || !change.after->active) continue;
                if (Status put = put_in(*region->second, *change.after); !put.ok()) return put;
            }
            return Done{};
        });
    }

    Result<std::vector<std::uint64_t>> rank(std::string_view name, std::string_view text, std::size_t most) override {
        std::vector<std::uint64_t> numbers;
        const auto found = regions_.find(name);
        if (found == regions_.end() || most == 0) return numbers;
        RegionIndex& region = *found->second;
        const Query query = query_for(region, text);
        if (query.match.empty()) return numbers;
        region.ranked.bind(1, query.match);
        region.ranked.bind(2, static_cast<std::int64_t>(query.number_min));
        region.ranked.bind(3, static_cast<std::int64_t>(std::min<std::size_t>(most, INT32_MAX)));
        int code = SQLITE_ROW;
        while ((code = region.ranked.step()) == SQLITE_ROW) {
            numbers.push_back(static_cast<std::uint64_t>(region.ranked.number(0)));
        }
        const bool done = code == SQLITE_DONE;
        const Error error = done ? Error{} : failure(database_, "ranking region \"" + std::string(name) + "\"");
        region.ranked.reset();
        if (!done) return error;
        return numbers;
    }

private:
    struct Query {
        std::string match;
        std::uint64_t number_min = 0;
    };

    Status open() {
        if (words_) return Done{};
        if (database_ == nullptr &&
            sqlite3_open_v2(":memory:", &database_,
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_MEMORY,
                            nullptr) != SQLITE_OK) {
            Error error = failure(database_, "to open");
            sqlite3_close(database_);
            database_ = nullptr;
            return error;
        }
        auto words = std::make_unique<Words>();
        if (Status opened = words->open(database_); !opened.ok()) return opened;
        words_ = std::move(words);
        return Done{};
    }

    static std::set<std::string, std::less<>> ranked_regions(const CrewSpec& crew) {
        std::set<std::string, std::less<>> names;
        for (const SourceSpec& source : crew.sources) {
            for (const ViewPart& part : source.view) {
                if (part.is_ranked_by_text()) names.insert(part.region);
            }
        }
        return names;
    }

    Status take_up(const std::string& name, const View& now) {
        const std::string table = "region" + std::to_string(++tables_made_);
        const Status created =
            execute("CREATE VIRTUAL TABLE " + table + " USING fts5(text, tokenize='" + std::string(tokenizer) + "')");
        if (!created.ok()) return created;
        auto region = std::make_unique<RegionIndex>(database_, table);
        if (!region->is_ready()) return failure(database_, "to prepare region \"" + name + "\"");
        Status put = Done{};
        const Status filled = in_transaction([&]() -> Status {
            const Status scanned = now.for_each(name, false, [&](const EntryPtr& entry) {
                put = put_in(*region, *entry);
                return put.ok();
            });
            return scanned.ok() ? put : scanned;
        });
        if (!filled.ok()) return filled;
        // One segment instead of many: later questions read less.
        const Status merged = execute("INSERT INTO " + table + "(" + table + ") VALUES ('optimize')");
        if (!merged.ok()) return merged;
        regions_.emplace(name, std::move(region));
        return Done{};
    }

    Status put_in(RegionIndex& region, const Entry& entry) {
        const std::string all = searchable_text(entry.content);
        const std::string_view text = beginning(all, indexed_text_bytes_max);
        region.insert.bind(1, static_cast<std::int64_t>(entry.id.number));
        region.insert.bind(2, text);
        if (Status put = region.insert.run("to take up an entry"); !put.ok()) return put;
        for (const std::string& term : terms_of(text)) ++region.entries_with[term];
        ++region.entries;
        region.newest = std::max(region.newest, entry.id.number);
        return Done{};
    }

    Status take_out(RegionIndex& region, std::uint64_t number) {
        region.text_of.bind(1, static_cast<std::int64_t>(number));
        const int code = region.text_of.step();
        const std::string text = code == SQLITE_ROW ? region.text_of.text(0) : std::string();
        region.text_of.reset();
        if (code == SQLITE_DONE) return Done{};
        if (code != SQLITE_ROW) return failure(database_, "to find an entry");
        region.remove.bind(1, static_cast<std::int64_t>(number));
        if (Status removed = region.remove.run("to drop an entry"); !removed.ok()) return removed;
        for (const std::string& term : terms_of(text)) {
            const auto counted = region.entries_with.find(term);
            assert(counted != region.entries_with.end());
            if (counted != region.entries_with.end() && --counted->second == 0) region.entries_with.erase(counted);
        }
        --region.entries;
        return Done{};
    }

    [[nodiscard]] std::set<std::string> terms_of(std::string_view text) const {
        std::set<std::string> terms;
        words_->each(text, FTS5_TOKENIZE_DOCUMENT, [&](std::string_view term, std::string_view) {
            terms.emplace(term);
            return true;
        });
        return terms;
    }

    // The rarest words say most and cost least. They are taken until scoring would touch more entries than
    // the bound; if a single word is as common as that, only the newest entries are scored.
    [[nodiscard]] Query query_for(const RegionIndex& region, std::string_view whole) const {
        struct Word {
            std::uint32_t entries = 0;
            std::string text;
        };
        std::vector<Word> words;
        std::set<std::string> seen;
        words_->each(beginning(whole, query_text_bytes_max), FTS5_TOKENIZE_QUERY,
                     [&](std::string_view term, std::string_view word) {
                         if (!seen.emplace(term).second) return true;
                         const auto counted = region.entries_with.find(std::string(term));
                         if (counted != region.entries_with.end())
                             words.push_back({counted->second, std::string(word)});
                         return seen.size() < query_words_max;
                     });
        std::stable_sort(words.begin(), words.end(),
                         [](const Word& a, const Word& b) { return a.entries < b.entries; });
        Query query;
        std::uint64_t scored = 0;
        for (const Word& word : words) {
            if (!query.match.empty()) {
                if (scored + word.entries > scored_entries_max) break;
                query.match += " OR ";
            } else if (word.entries > scored_entries_max) {
                const std::uint64_t span = region.newest * scored_entries_max / word.entries;
                query.number_min = region.newest - std::min(span, region.newest);
            }
            scored += word.entries;
            append_quoted(word.text, query.match);
        }
        return query;
    }

    static void append_quoted(std::string_view word, std::string& match) {
        match += '"';
        for (const char c : word) {
            if (c == '"') match += '"';
            match += c;
        }
        match += '"';
    }

    template <class Work>
    Status in_transaction(Work work) {
        if (Status begun = execute("BEGIN"); !begun.ok()) return begun;
        if (Status done = work(); !done.ok()) {
            // What was counted beside the tables cannot be taken back with them.
            static_cast<void>(execute("ROLLBACK"));
            regions_.clear();
            return done;
        }
        return execute("COMMIT");
    }

    Status execute(const std::string& sql) {
        if (sqlite3_exec(database_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) {
            return failure(database_, "at " + sql);
        }
        return Done{};
    }

    sqlite3* database_ = nullptr;
    std::unique_ptr<Words> words_;
    std::map<std::string, std::unique_ptr<RegionIndex>, std::less<>> regions_;
    std::uint64_t tables_made_ = 0;
};

}  // namespace

std::unique_ptr<RelevanceIndex> make_relevance_index() { return std::make_unique<Fts5Index>(); }

}  // namespace stele

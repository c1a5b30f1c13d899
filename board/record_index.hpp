// An inverted index over a board's log: from terms (record_terms.hpp) to the positions of the records
// that have them, so that a question about the log costs what it finds and not how long the log is.
// Kept in Column::terms, written in the same batch as the records it is about.
//
// The log is cut into segments of so many records. The terms of a full segment stand in buckets by their
// hash, one key for each bucket, every term with the places of its records as a list or, where they are
// many, a bitmap. Only hashes stand there, so what the index answers is checked against the record. (A key
// for each term was three times as many keys as the records themselves have, and cost more than they do.)
// Within the newest segment, each full block of records has one key for all its terms, in the same form, and
// the blocks of a segment are merged when it is full; the rest of the log, shorter than a block, is read itself. The
// shape is that of a search engine's segments (Zobel and Moffat, "Inverted files for text search engines", 2006) with
// one merge.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "board/hash.hpp"
#include "board/index_shape.hpp"
#include "board/log/store.hpp"
#include "board/record_terms.hpp"
#include "board/text_tokens.hpp"

namespace stele {

/// A record for a position that is in the log.
using RecordLoader = std::function<Result<std::shared_ptr<const LoggedRecord>>(Position)>;

/// Runs tasks one after another, in the order given; on a thread of its own if it likes.
using TaskRunner = std::function<void(std::function<void()>)>;
/// At once.
TaskRunner make_inline_runner();

/// Loop thread only. What a block or segment holds is worked out by tasks, and waited for where it is due: what stands
/// in the index depends on the log alone and not on how fast they were.
class RecordIndexWriter {
public:
    RecordIndexWriter(BoardNumber board, const FamilyKey& family, IndexShape shape = {},
                      TaskRunner run = make_inline_runner());

    /// Takes up a log that ends at `last`, with what of its index is due. `corrupt`: a block cannot be read.
    Status open(const StateStore& store, Position last, const RecordLoader& load);
    /// The same for a log that has no blocks of its own yet: they go into `batch`.
    Status begin(Position last, const RecordLoader& load, StoreBatch& batch);
    /// The next record, in order of position. What is due with it goes into `batch`.
    void add(std::shared_ptr<const LoggedRecord> logged, StoreBatch& batch);

private:
    class Work;

    void feed(std::shared_ptr<const LoggedRecord> logged);
    void hand_over();
    void due_at(std::uint64_t position, std::function<StoreBatch(Work&)> make);
    void end_segment(std::uint64_t position);

    BoardNumber board_;
    IndexShape shape_;
    TaskRunner run_;
    std::shared_ptr<Work> work_;                            // the tasks' own
    std::vector<std::shared_ptr<const LoggedRecord>> fed_;  // and not handed over
    /// By the position at which it is due.
    std::multimap<std::uint64_t, std::future<StoreBatch>> due_;
};

/// What is looked for: records that have, for each element, at least one of its terms.
using IndexQuery = std::vector<std::vector<RecordTerm>>;

/// Cheap to make. Sees the log up to `last`, which must be a position that the store has.
class RecordIndex {
public:
    RecordIndex(const StateStore& store, BoardNumber board, const FamilyKey& family, Position last, RecordLoader load,
                IndexShape shape = {});

    /// Visits the records in [from, until] that answer the query, ascending or descending, until `visit`
    /// returns false. An empty query is answered by every record.
    Status find(const IndexQuery& query, Position from, Position until, bool reverse,
                const std::function<bool(const LoggedRecord&)>& visit) const;

private:
    struct Search;

    const StateStore& store_;
    BoardNumber board_;
    FamilyKey family_;
    Position last_;
    RecordLoader load_;
    IndexShape shape_;
};

/// Records whose writes hold each word and number of a text, in any order and any place.
IndexQuery terms_of(const TextQuery& text);

/// Does the record answer the query? The slow and certain way.
bool answers(const LoggedRecord& logged, const IndexQuery& query);

/// Begin and end of all keys of a board in Column::terms, each half-open.
std::vector<std::pair<std::string, std::string>> index_key_ranges(BoardNumber board);

}  // namespace stele

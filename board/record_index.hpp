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

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "board/hash.hpp"
#include "board/limits.hpp"
#include "board/log/store.hpp"
#include "board/record_terms.hpp"
#include "board/text_tokens.hpp"

namespace stele {

struct IndexShape {
    std::uint32_t block_records = limits::index_block_records;
    std::uint32_t segment_records = limits::index_segment_records;
};

/// A record for a position that is in the log.
using RecordLoader = std::function<Result<std::shared_ptr<const LoggedRecord>>(Position)>;

/// Loop thread only.
class RecordIndexWriter {
public:
    RecordIndexWriter(BoardNumber board, const FamilyKey& family, IndexShape shape = {});

    /// Takes up a log that ends at `last`, whose index is complete up to there. `corrupt`: a block cannot be read.
    Status open(const StateStore& store, Position last, const RecordLoader& load);
    /// The same for a log whose newest segment has no blocks of its own yet: they go into `batch`.
    Status begin(Position last, const RecordLoader& load, StoreBatch& batch);
    /// The next record, in order of position. What it completes goes into `batch`.
    void add(const LoggedRecord& logged, StoreBatch& batch);

private:
    [[nodiscard]] std::uint64_t first_block_of(Position last) const;
    void start_segment();
    void start_block();
    void note(const LoggedRecord& logged);
    void finish_block();
    void write_segment(std::uint64_t segment, StoreBatch& batch);

    BoardNumber board_;
    FamilyKey family_;
    IndexShape shape_;
    std::vector<std::uint64_t> postings_;  // of the block in the making: term above, place in the block below
    std::vector<std::uint64_t> scratch_;
    std::array<std::uint64_t, 1'024> noted_;  // the newest posting of some terms: texts say most words more than once
    std::vector<std::string> blocks_;         // of the segment in the making, as they are stored
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

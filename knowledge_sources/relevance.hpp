// Text relevance: which entries of a region are nearest to a text, by BM25 (SQLite's FTS5, in memory).
// Fed with every change of the regions that a view ranks by text, so that asking costs what is found
// and not what there is. What it answers is not a function of a snapshot alone, so the record of the
// call that it served says which entries were shown. Loop thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "board/entry.hpp"
#include "scheduler/crew_spec.hpp"
#include "scheduler/source_view.hpp"

namespace stele {

/// Of an entry's text, so much is indexed; of a text that is asked with, so much and so many different
/// words are looked at.
inline constexpr std::size_t indexed_text_bytes_max = 256U << 10;
inline constexpr std::size_t query_text_bytes_max = 64U << 10;
inline constexpr std::size_t query_words_max = 64;
/// Entries scored for one question, counted once for each word: the rarest words are taken until the next
/// would pass it. Where even the rarest word is more common, the newest entries are scored only.
inline constexpr std::uint64_t scored_entries_max = 5'000;

class RelevanceIndex : public TextRanker {
public:
    /// Takes up the regions that some view of the crew ranks by text; others are dropped. Those that it has
    /// already stay as the changes made them.
    virtual Status declare(const CrewSpec& crew, const View& now) = 0;
    /// Every change since, in order. After a failure the regions are dropped until declare() is called anew.
    virtual Status apply(const std::vector<EntryChange>& changes) = 0;
};

std::unique_ptr<RelevanceIndex> make_relevance_index();

}  // namespace stele

// Text relevance: which entries of a region are nearest to a text, by BM25 (SQLite's FTS5, in memory).
// Fed with every change of the regions that a view ranks by text, so that asking costs what is found
// and not what there is. What it answers is not a function of a snapshot alone, so the record of the
// call that it served says which entries were shown. Loop thread only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "board/entry.hpp"
#include "scheduler/crew_spec.hpp"
#include "scheduler/source_view.hpp"

namespace stele {

class RelevanceIndex : public TextRanker {
public:
    /// Takes up the regions that some view of the crew ranks by text; others are dropped.
    virtual Status declare(const CrewSpec& crew, const View& now) = 0;
    virtual Status apply(const std::vector<EntryChange>& changes) = 0;
};

std::unique_ptr<RelevanceIndex> make_relevance_index();

/// All strings of a value, one after the other: what an entry is found by.
std::string searchable_text(const Value& content);

}  // namespace stele

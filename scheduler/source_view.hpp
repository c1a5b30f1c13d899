// What a source sees of the board beside its match: the regions of its `view:`, each filtered and
// cut to its newest, greatest or nearest entries, from one snapshot. But for parts that rank by text it
// is a pure function of snapshot, declaration and bindings, so a cite can be checked against it at any
// later time.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "board/view.hpp"
#include "scheduler/crew_spec.hpp"

namespace stele {

struct ViewRegion {
    std::string region;
    std::vector<EntryPtr> entries;  // ascending by number
    std::uint64_t omitted = 0;      // passed the filter, left out by `last`, `top` or `relevant`
};

/// The view's parts: as declared, or every region in `may.read` with its newest entries, and
/// always the source's own scratch.
std::vector<ViewPart> view_parts(const SourceSpec& source);

/// Ranks the entries of a region by how near they are to a text.
class TextRanker {
public:
    virtual ~TextRanker() = default;
    /// Numbers of at most `most` entries of the region, nearest first. They are of the board as it is now;
    /// whoever reads an older snapshot leaves out what that does not hold.
    virtual Result<std::vector<std::uint64_t>> rank(std::string_view region, std::string_view text,
                                                    std::size_t most) = 0;
};

/// `bindings` are those of the match (the first member's, in a batch). Without a ranker, parts that rank
/// by text show nothing. A part that asks for both ranks by text first and takes the greatest of those;
/// `last`, where it is declared, then keeps the newest of what is left.
Result<std::vector<ViewRegion>> look(const SourceSpec& source, const std::vector<EntryPtr>& bindings, const View& view,
                                     TextRanker* ranker = nullptr);

/// All strings of a value, one a line: what an entry is found by, and what a text is taken from.
std::string searchable_text(const Value& content);

/// The entries that look() shows without a ranker: what a source may cite beside its match.
Result<std::set<EntryId>> shown_ids(const SourceSpec& source, const std::vector<EntryPtr>& bindings, const View& view);

}  // namespace stele

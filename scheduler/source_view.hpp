// What a source sees of the board beside its match: the regions of its `view:`, each filtered and
// cut to its newest entries, from one snapshot. A pure function of snapshot, declaration and
// bindings, so a cite can be checked against it at any later time.
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
    std::uint64_t omitted = 0;      // passed the filter, left out by `last`
};

/// The view's parts: as declared, or every region in `may.read` with its newest entries, and
/// always the source's own scratch.
std::vector<ViewPart> view_parts(const SourceSpec& source);

/// `bindings` are those of the match (the first member's, in a batch).
Result<std::vector<ViewRegion>> look(const SourceSpec& source, const std::vector<EntryPtr>& bindings, const View& view);

/// The entries that look() shows: what a source may cite beside its match.
Result<std::set<EntryId>> shown_ids(const SourceSpec& source, const std::vector<EntryPtr>& bindings, const View& view);

}  // namespace stele

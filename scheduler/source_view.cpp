#include "scheduler/source_view.hpp"

#include <algorithm>

#include "scheduler/evaluate.hpp"

namespace stele {

std::vector<ViewPart> view_parts(const SourceSpec& source) {
    std::vector<ViewPart> parts = source.view;
    if (!source.view_declared) {
        for (const std::string& region : source.may.read) {
            ViewPart part;
            part.region = region;
            parts.push_back(std::move(part));
        }
    }
    ViewPart scratch;
    scratch.region = scratch_region_of(source.name);
    parts.push_back(std::move(scratch));
    return parts;
}

Result<std::vector<ViewRegion>> look(const SourceSpec& source, const std::vector<EntryPtr>& bindings, const View& view,
                                     TextRanker*) {
    std::vector<ViewRegion> shown;
    for (const ViewPart& part : view_parts(source)) {
        ViewRegion region;
        region.region = part.region;
        // Without a filter the newest are enough, and the rest need only be counted.
        const bool filtered = !part.where.empty();
        const Status scanned = view.for_each(part.region, true, [&](const EntryPtr& entry) {
            if (!filtered && region.entries.size() == part.last) return false;
            if (!passes(part.where, *entry, bindings)) return true;
            if (region.entries.size() < part.last) {
                region.entries.push_back(entry);
            } else {
                ++region.omitted;
            }
            return true;
        });
        if (!scanned.ok()) return scanned.error();
        if (!filtered && region.entries.size() == part.last) {
            const Result<std::uint64_t> count = view.count(part.region);
            if (!count.ok()) return count.error();
            region.omitted = *count - region.entries.size();
        }
        std::reverse(region.entries.begin(), region.entries.end());
        if (!region.entries.empty() || region.omitted > 0 || part.region != scratch_region_of(source.name)) {
            shown.push_back(std::move(region));
        }
    }
    return shown;
}

Result<std::set<EntryId>> shown_ids(const SourceSpec& source, const std::vector<EntryPtr>& bindings, const View& view) {
    const Result<std::vector<ViewRegion>> regions = look(source, bindings, view);
    if (!regions.ok()) return regions.error();
    std::set<EntryId> ids;
    for (const ViewRegion& region : *regions) {
        for (const EntryPtr& entry : region.entries) ids.insert(entry->id);
    }
    return ids;
}

}  // namespace stele

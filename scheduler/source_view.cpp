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

Result<std::vector<ViewRegion>> look(const SourceSpec& source, const std::vector<EntryPtr>& bindings,
                                     const View& view) {
    std::vector<ViewRegion> shown;
    for (const ViewPart& part : view_parts(source)) {
        ViewRegion region;
        region.region = part.region;
        const Status scanned = view.for_each(part.region, true, [&](const EntryPtr& entry) {
            if (!passes(part.where, *entry, bindings)) return true;
            if (region.entries.size() < part.last) {
                region.entries.push_back(entry);
            } else {
                ++region.omitted;
            }
            return true;
        });
        if (!scanned.ok()) return scanned.error();
        std::reverse(region.entries.begin(), region.entries.end());
        if (!region.entries.empty() || region.omitted > 0 || part.region != scratch_region_of(source.name)) {
            shown.push_back(std::move(region));
        }
    }
    return shown;
}

Result<bool> shows(const SourceSpec& source, const std::vector<EntryPtr>& bindings, const View& view,
                   const EntryId& id) {
    const Result<EntryPtr> entry = view.find(id);
    if (!entry.ok()) return entry.error();
    if (!*entry) return false;
    for (const ViewPart& part : view_parts(source)) {
        if (part.region != id.region || !passes(part.where, **entry, bindings)) continue;
        std::uint64_t newer = 0;
        const Status scanned = view.for_each(part.region, true, [&](const EntryPtr& other) {
            if (other->id.number <= id.number) return false;
            newer += passes(part.where, *other, bindings) ? 1 : 0;
            return newer < part.last;
        });
        if (!scanned.ok()) return scanned.error();
        if (newer < part.last) return true;
    }
    return false;
}

}  // namespace stele

#include "scheduler/source_view.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "scheduler/evaluate.hpp"

namespace stele {
namespace {

// What the snapshot no longer holds and what `where` drops must not leave the view short, so more are
// asked for than are shown.
constexpr std::size_t candidates_factor = 4;
constexpr std::size_t candidates_extra = 64;

bool by_number(const EntryPtr& a, const EntryPtr& b) { return a->id.number < b->id.number; }

/// The newest `last` that pass.
Result<ViewRegion> newest(const ViewPart& part, const std::vector<EntryPtr>& bindings, const View& view) {
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
    return region;
}

Result<std::uint64_t> count_passing(const ViewPart& part, const std::vector<EntryPtr>& bindings, const View& view) {
    if (part.where.empty()) return view.count(part.region);
    std::uint64_t count = 0;
    const Status scanned = view.for_each(part.region, false, [&](const EntryPtr& entry) {
        count += passes(part.where, *entry, bindings) ? 1 : 0;
        return true;
    });
    if (!scanned.ok()) return scanned.error();
    return count;
}

/// Keeps the `most` best of what it is shown, in space for that many.
class Best {
public:
    Best(const ViewPart& part) : part_(part) {}

    void offer(const EntryPtr& entry) {
        if (part_.top == 0) return;
        Candidate candidate{std::nullopt, entry};
        std::optional<Value> found = value_at(*entry, Attribute::content, part_.top_by);
        if (found && found->is_number()) candidate.number = std::move(found);
        if (heap_.size() == part_.top) {
            if (!is_better(candidate, heap_.front())) return;
            std::pop_heap(heap_.begin(), heap_.end(), is_better);
            heap_.pop_back();
        }
        heap_.push_back(std::move(candidate));
        std::push_heap(heap_.begin(), heap_.end(), is_better);
    }

    [[nodiscard]] std::vector<EntryPtr> take() {
        std::vector<EntryPtr> entries;
        entries.reserve(heap_.size());
        for (Candidate& candidate : heap_) entries.push_back(std::move(candidate.entry));
        return entries;
    }

private:
    struct Candidate {
        std::optional<Value> number;
        EntryPtr entry;
    };
    static bool is_better(const Candidate& a, const Candidate& b) {
        if (a.number.has_value() != b.number.has_value()) return a.number.has_value();
        if (a.number) {
            const std::strong_ordering order = compare(*a.number, *b.number);
            if (order != 0) return order > 0;
        }
        return a.entry->id.number > b.entry->id.number;
    }

    const ViewPart& part_;
    std::vector<Candidate> heap_;  // the worst in front
};

Result<ViewRegion> greatest(const ViewPart& part, const std::vector<EntryPtr>& bindings, const View& view) {
    ViewRegion region;
    region.region = part.region;
    Best best(part);
    const Status scanned = view.for_each(part.region, false, [&](const EntryPtr& entry) {
        if (!passes(part.where, *entry, bindings)) return true;
        ++region.omitted;
        best.offer(entry);
        return true;
    });
    if (!scanned.ok()) return scanned.error();
    region.entries = best.take();
    region.omitted -= region.entries.size();
    return region;
}

std::string text_of(const Operand& operand, const std::vector<EntryPtr>& bindings) {
    if (!operand.reference) return searchable_text(operand.literal);
    const std::optional<Value> value = value_of(*operand.reference, bindings);
    return value ? searchable_text(*value) : std::string();
}

/// The nearest to the text; with `top` as well, the greatest of these.
Result<ViewRegion> nearest(const ViewPart& part, const std::vector<EntryPtr>& bindings, const View& view,
                           TextRanker* ranker) {
    ViewRegion region;
    region.region = part.region;
    const Result<std::uint64_t> passing = count_passing(part, bindings, view);
    if (!passing.ok()) return passing.error();
    const std::string text = text_of(*part.relevant_to, bindings);
    if (ranker != nullptr && !text.empty() && part.relevant > 0) {
        const auto most = static_cast<std::size_t>(part.relevant);
        const Result<std::vector<std::uint64_t>> ranked =
            ranker->rank(part.region, text, most * candidates_factor + candidates_extra);
        if (!ranked.ok()) return ranked.error();
        for (const std::uint64_t number : *ranked) {
            if (region.entries.size() == most) break;
            const Result<EntryPtr> entry = view.find({part.region, number});
            if (!entry.ok()) return entry.error();
            if (*entry && passes(part.where, **entry, bindings)) region.entries.push_back(*entry);
        }
    }
    if (!part.top_by.empty()) {
        Best best(part);
        for (const EntryPtr& entry : region.entries) best.offer(entry);
        region.entries = best.take();
    }
    region.omitted = *passing - region.entries.size();
    return region;
}

Result<ViewRegion> look_at(const ViewPart& part, const std::vector<EntryPtr>& bindings, const View& view,
                           TextRanker* ranker) {
    const bool by_text = part.is_ranked_by_text();
    if (!by_text && part.top_by.empty()) return newest(part, bindings, view);
    Result<ViewRegion> region = by_text ? nearest(part, bindings, view, ranker) : greatest(part, bindings, view);
    if (!region.ok()) return region;
    std::vector<EntryPtr>& entries = region->entries;
    std::sort(entries.begin(), entries.end(), by_number);
    if (part.last_declared && entries.size() > part.last) {
        const auto cut = static_cast<std::size_t>(entries.size() - part.last);
        entries.erase(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(cut));
        region->omitted += cut;
    }
    return region;
}

void append_strings(const Value& value, std::string& text) {
    if (value.is_string()) {
        if (!text.empty()) text += '\n';
        text += value.as_string();
    } else if (value.is_array()) {
        for (const Value& element : value.as_array()) append_strings(element, text);
    } else if (value.is_object()) {
        for (const auto& [name, member] : value.as_object()) append_strings(member, text);
    }
}

}  // namespace

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
                                     TextRanker* ranker) {
    std::vector<ViewRegion> shown;
    for (const ViewPart& part : view_parts(source)) {
        Result<ViewRegion> region = look_at(part, bindings, view, ranker);
        if (!region.ok()) return region.error();
        if (!region->entries.empty() || region->omitted > 0 || part.region != scratch_region_of(source.name)) {
            shown.push_back(std::move(*region));
        }
    }
    return shown;
}

std::string searchable_text(const Value& content) {
    std::string text;
    append_strings(content, text);
    return text;
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

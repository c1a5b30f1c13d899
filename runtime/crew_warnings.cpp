#include <set>

#include "runtime/crew_draft.hpp"
#include "scheduler/consequences.hpp"
#include "scheduler/control.hpp"
#include "scheduler/grounding.hpp"

namespace stele {
namespace {

using Names = std::set<std::string, std::less<>>;

// Who touches which region, collected once.
struct Uses {
    std::map<std::string, std::vector<std::string>, std::less<>> writers;  // sources, by region
    Names seeded;
    Names read;      // granted for reading, watched or wanted by the goal
    Names used;      // shown in a view, watched or wanted by the goal
    Names reserved;  // written and read by the scheduler itself

    [[nodiscard]] bool is_reserved(std::string_view region) const { return reserved.find(region) != reserved.end(); }
    [[nodiscard]] bool has_content(std::string_view region) const {
        if (is_reserved(region)) return true;
        return writers.find(region) != writers.end() || seeded.find(region) != seeded.end();
    }
};

void collect_terms(const std::vector<Term>& terms, Uses& uses) {
    for (const Term& term : terms) {
        if (!term.region.empty()) {
            uses.read.insert(term.region);
            uses.used.insert(term.region);
        }
        for (const std::vector<Term>& alternative : term.alternatives) collect_terms(alternative, uses);
    }
}

Uses collect(const CrewSpec& crew) {
    Uses uses;
    for (const SourceSpec& source : crew.sources) {
        for (const auto& [region, ops] : source.may.write) {
            // Who may only take away writes nothing.
            const auto adds = [](WriteOp op) { return op != WriteOp::retract && op != WriteOp::remove; };
            for (const WriteOp op : ops) {
                if (!adds(op)) continue;
                uses.writers[region].push_back(source.name);
                break;
            }
        }
        for (const std::string& region : source.may.read) {
            uses.read.insert(region);
            // Without a view of its own a source is shown all that it may read.
            const bool is_shown = source.kind != SourceKind::rule && source.kind != SourceKind::mcp;
            if (is_shown && !source.view_declared) uses.used.insert(region);
        }
        for (const ViewPart& part : source.view) uses.used.insert(part.region);
        collect_terms(source.when.terms, uses);
    }
    if (crew.stop.goal.has_value()) collect_terms(crew.stop.goal->terms, uses);
    for (const auto& [region, entry] : crew.seed) uses.seeded.insert(region);
    uses.reserved.emplace(control_region_name);
    if (!crew.control_source.empty()) uses.reserved.emplace(agenda_region_name);
    uses.reserved.emplace(phantoms_region_name);
    if (crew.on_retract != OnRetract::none) uses.reserved.emplace(suspects_region_name);
    return uses;
}

std::string listed(const std::vector<std::string>& names) {
    std::string out;
    for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
    return out;
}

void warn_about_region(CrewDraft& draft, const RegionSpec& region, const Uses& uses) {
    if (uses.is_reserved(region.name)) return;
    const SourcePlace place = draft.place_of(region);
    const std::string what = "region " + in_quotes(region.name);
    const auto writers = uses.writers.find(region.name);
    if (region.policy == PolicyKind::last_writer_wins && writers != uses.writers.end() && writers->second.size() > 1) {
        draft.problems.warn(place, what + " is last_writer_wins and has several writers (" + listed(writers->second) +
                                       "): each overwrites the others without a conflict");
    }
    const bool is_read = uses.read.find(region.name) != uses.read.end();
    if (is_read && !uses.has_content(region.name)) {
        draft.problems.warn(place, what + " is read, but no source may write into it and it has no seed");
    }
    const bool is_used = uses.used.find(region.name) != uses.used.end();
    // What an owner puts, and what a seed holds, may well be for people.
    const bool is_written = writers != uses.writers.end();
    if (!is_used && is_written && region.policy != PolicyKind::single_writer) {
        draft.problems.warn(place,
                            what + " is written, but nothing reads it: no \"when\", no view and no goal names it");
    }
}

void warn_about_source(CrewDraft& draft, const SourceSpec& source, const Uses& uses) {
    for (const Term& term : source.when.terms) {
        if (!term.binds() || uses.has_content(term.region)) continue;
        draft.problems.warn(term.place, "source " + in_quotes(source.name) +
                                            " can never wake by itself: no source may "
                                            "write into region " +
                                            in_quotes(term.region) + " and it has no seed");
        return;
    }
}

void warn_about_wrapping_up(CrewDraft& draft) {
    const bool wraps_up = draft.crew.stop.on_exceed == OnExceed::wrap_up;
    bool has_one = false;
    for (const SourceSpec& source : draft.crew.sources) {
        has_one = has_one || source.wrap_up;
        if (!source.wrap_up || wraps_up) continue;
        draft.problems.warn(source.place, "source " + in_quotes(source.name) +
                                              " has \"wrap_up: true\", but the run stops without wrapping up; say"
                                              " \"on_exceed: wrap_up\" under \"stop\"");
    }
    if (wraps_up && !has_one) {
        draft.problems.warn({}, "the run wraps up when a budget is spent, but no source has \"wrap_up: true\"");
    }
}

}  // namespace

void warn_about(CrewDraft& draft) {
    const Uses uses = collect(draft.crew);
    for (const RegionSpec& region : draft.crew.regions) warn_about_region(draft, region, uses);
    for (const SourceSpec& source : draft.crew.sources) warn_about_source(draft, source, uses);
    warn_about_wrapping_up(draft);
    warn_about_models(draft);
    warn_about_tools(draft);
    warn_about_files(draft);
}

}  // namespace stele

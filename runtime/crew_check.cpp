#include "runtime/crew_check.hpp"
#include "scheduler/consequences.hpp"
#include "scheduler/control.hpp"
#include "scheduler/grounding.hpp"

#include <algorithm>

#include "board/region_policy.hpp"
#include "runtime/condition_text.hpp"
#include "runtime/crew_sheet.hpp"

namespace stele {
namespace {

using sheet::counted;
using sheet::duration;
using sheet::joined;
using sheet::size;

// --- regions ---------------------------------------------------------------------------------

std::string field_text(const FieldSpec& field) {
    std::string type = to_text(field.type);
    if (field.type == FieldType::array && field.element != FieldType::any) {
        type = "[" + std::string(to_text(field.element)) + "]";
    }
    if (!field.choices.empty()) type = joined(field.choices, " | ", "");
    return field.name + ": " + type + (field.optional ? "?" : "");
}

std::string schema_text(const EntrySchema& schema) {
    std::vector<std::string> parts;
    if (schema.is_flat()) {
        for (const FieldSpec& field : schema.fields()) parts.push_back(field_text(field));
        return "{" + joined(parts, ", ", "") + "}";
    }
    const std::vector<std::string> names = schema.field_names();
    if (names.empty()) return "any object";
    return "as its JSON Schema says; fields " + joined(names, ", ", "");
}

std::string key_text(const RegionSpec& region) {
    if (!region.key.empty()) return joined(region.key, ", ", "");
    switch (region.policy) {
        case PolicyKind::set_union:
            return "the whole entry";
        case PolicyKind::single_writer:
        case PolicyKind::last_writer_wins:
            return "none: the region holds one entry";
        case PolicyKind::append_only:
        case PolicyKind::cas:
        case PolicyKind::counter:
            break;
    }
    return "none";
}

std::string merge_text(const RegionSpec& region) {
    std::vector<std::string> parts;
    for (const auto& [field, law] : region.merge) {
        const char* word = law == MergeLaw::min ? "min" : law == MergeLaw::max ? "max" : "union";
        parts.push_back(field + " by " + word);
    }
    return joined(parts, ", ", "");
}

std::string writers_text(const CrewSpec& crew, const RegionSpec& region) {
    std::vector<std::string> parts;
    for (const SourceSpec& source : crew.sources) {
        for (const auto& [name, ops] : source.may.write) {
            if (name != region.name) continue;
            std::vector<std::string> words;
            for (const WriteOp op : ops) words.emplace_back(to_text(op));
            parts.push_back(source.name + " (" + joined(words, ", ", "") + ")");
        }
    }
    const auto is_seed = [&](const auto& seed) { return seed.first == region.name; };
    const auto seeds = static_cast<std::uint64_t>(std::count_if(crew.seed.begin(), crew.seed.end(), is_seed));
    if (seeds > 0) parts.push_back("the seed (" + counted(seeds, "entry", "entries") + ")");
    const bool is_agenda = region.name == agenda_region_name && !crew.control_source.empty();
    const bool is_suspects = region.name == suspects_region_name && crew.on_retract != OnRetract::none;
    const bool is_phantoms = region.name == phantoms_region_name;
    if (is_agenda || is_suspects || is_phantoms) parts.emplace_back("the scheduler");
    return joined(parts, ", ", "no source");
}

std::string readers_text(const CrewSpec& crew, const RegionSpec& region) {
    std::vector<std::string> parts;
    for (const SourceSpec& source : crew.sources) {
        if (source.may.may_read(region.name)) parts.push_back(source.name);
    }
    return joined(parts, ", ", "no source");
}

std::string conflicts_text(const RegionSpec& region) {
    switch (region.policy) {
        case PolicyKind::append_only:
            return "none: the entries of both writers stay, in log order";
        case PolicyKind::set_union:
            return "none: equal keys become one entry with both authors; a remove takes away only adds that its author"
                   " had seen";
        case PolicyKind::single_writer:
            return "none between sources, since only " + region.owner +
                   " may put; a put over a version newer than its snapshot is refused with the current value";
        case PolicyKind::cas:
            return "the second writer is refused with the current value, and tries again on a new snapshot";
        case PolicyKind::last_writer_wins:
            return "the later put stands; the overwritten version stays in history only";
        case PolicyKind::counter:
            return "none: increments add up; one that leaves 64 bits is refused";
    }
    return {};
}

std::string grounded_text(const RegionSpec& region) {
    const std::string what = region.grounded_fields.empty() ? std::string("numbers, quotations, URLs and identifiers")
                                                            : "numbers, quotations, URLs and identifiers in " +
                                                                  joined(region.grounded_fields, ", ", "");
    switch (region.grounded) {
        case Grounding::refuse:
            return what + " that a source had not seen refuse its commit";
        case Grounding::flag:
            return what + " that a source had not seen are named in the region phantoms";
        case Grounding::question:
            return what + " that a source had not seen are asked about in " + region.questions_into;
        case Grounding::none:
            break;
    }
    return {};
}

void describe_region(Sheet& sheet, const CrewSpec& crew, const RegionSpec& region) {
    sheet.heading("Region " + region.name + " (" + to_text(region.policy) + ")");
    if (!region.help.empty()) sheet.line("help", region.help);
    sheet.line("entry", schema_text(region.schema));
    if (region.policy != PolicyKind::append_only && region.policy != PolicyKind::counter) {
        sheet.line("key", key_text(region));
    }
    if (!region.merge.empty()) sheet.line("merged", merge_text(region));
    sheet.line("writers", writers_text(crew, region));
    sheet.line("readers", readers_text(crew, region));
    sheet.line("conflicts", conflicts_text(region));
    if (region.grounded != Grounding::none) sheet.line("grounded", grounded_text(region));
    sheet.line("visible", "to every activation that starts after the commit; never to one that is running");
}

// --- sources ---------------------------------------------------------------------------------

std::string wake_mode_text(const SourceSpec& source) {
    switch (source.wake) {
        case WakeMode::each:
            return source.when.variables.empty() ? "each time all of this comes to hold" : "for each match of";
        case WakeMode::once:
            return "once in a run, for the first match of";
        case WakeMode::batch:
            return "for up to " + counted(source.batch_max, "match", "matches") + " at a time, gathered for " +
                   duration(source.batch_within_ms) + ", of";
    }
    return {};
}

std::string part_text(const ViewPart& part, const std::vector<std::string>& variables) {
    std::vector<std::string> bounds;
    const bool is_ranked = part.top > 0 || part.relevant_to.has_value();
    if (!is_ranked || part.last_declared) bounds.push_back("newest " + std::to_string(part.last));
    if (part.top > 0) bounds.push_back(std::to_string(part.top) + " greatest by " + joined(part.top_by, ".", ""));
    if (part.relevant_to.has_value()) {
        const Operand& to = *part.relevant_to;
        bounds.push_back(std::to_string(part.relevant) + " nearest to " +
                         (to.reference.has_value() ? reference_text(*to.reference, variables) : to_json(to.literal)));
    }
    if (part.tokens > 0) bounds.push_back("at most " + counted(part.tokens, "token", "tokens"));
    if (part.priority != 0) bounds.push_back("priority " + to_json(Value::number(part.priority)));
    return part.region + where_text(part.where, variables) + " (" + joined(bounds, ", ", "") + ")";
}

std::string view_text(const SourceSpec& source) {
    std::vector<std::string> parts;
    for (const ViewPart& part : source.view) {
        parts.push_back(part_text(part, source.when.variables));
    }
    if (!source.view_declared) {
        for (const std::string& region : source.may.read) {
            parts.push_back(region + " (newest " + std::to_string(limits::view_entries_default) + ")");
        }
    }
    return joined(parts, ", ", "its match only");
}

std::string writes_text(const SourceSpec& source) {
    std::vector<std::string> parts;
    for (const auto& [region, ops] : source.may.write) {
        std::vector<std::string> words;
        for (const WriteOp op : ops) words.emplace_back(to_text(op));
        parts.push_back(region + " (" + joined(words, ", ", "") + ")");
    }
    return joined(parts, ", ", "nothing");
}

std::string limits_text(const SourceSpec& source) {
    const SourceLimits& limits = source.limits;
    std::vector<std::string> parts;
    if (source.kind != SourceKind::rule) {
        parts.push_back("timeout " + duration(limits.timeout_ms));
        parts.push_back(counted(limits.attempts, "attempt", "attempts"));
        parts.push_back(counted(limits.conflicts, "conflict", "conflicts"));
        parts.push_back("backoff " + duration(limits.backoff_ms));
        parts.push_back("output " + size(limits.output_bytes));
        for (std::string& cap : sheet::caps(limits.calls)) parts.push_back(std::move(cap));
        if (limits.memory_bytes > 0) parts.push_back("memory " + size(limits.memory_bytes));
    }
    if (limits.concurrency > 0) parts.push_back(std::to_string(limits.concurrency) + " at a time");
    if (limits.activations > 0) parts.push_back(counted(limits.activations, "activation", "activations"));
    if (limits.wall_ms > 0) parts.push_back(duration(limits.wall_ms) + " of running time");
    if (!source.exclusive.empty()) parts.push_back("never beside another source of group " + source.exclusive);
    return joined(parts, ", ", "none of its own");
}

std::string stale_text(OnStale on_stale) {
    switch (on_stale) {
        case OnStale::discard:
            return "nothing is written when an entry that woke it has changed meanwhile";
        case OnStale::strict:
            return "nothing is written when its precondition holds no longer";
        case OnStale::commit:
            return "its writes are committed whatever has changed meanwhile";
    }
    return {};
}

std::string rule_text(const SourceSpec& source) {
    std::vector<std::string> parts;
    for (const RuleWrite& write : source.then) {
        std::string part = std::string(to_text(write.op)) + " ";
        part += write.target.has_value() ? "$" + source.when.variables[*write.target] + " in " + write.region
                                         : write.region;
        if (write.op == WriteOp::increment) part += " by " + std::to_string(write.by);
        parts.push_back(std::move(part));
    }
    return joined(parts, "; ", "nothing");
}

void describe_source(Sheet& sheet, const CrewSpec& crew, const SourceSpec& source) {
    sheet.heading("Source " + source.name + " (" + to_text(source.kind) + ")");
    if (!source.help.empty()) sheet.line("help", source.help);
    if (source.kind == SourceKind::process) sheet.line("runs", joined(source.command, " ", ""));
    describe_calls(sheet, crew, source);
    if (!source.then.empty()) sheet.line("does", rule_text(source));
    sheet.line("wakes", wake_mode_text(source));
    for (const Term& term : source.when.terms) sheet.line("", "- " + term_text(term, source.when.variables));
    if (source.kind != SourceKind::rule && source.kind != SourceKind::mcp) sheet.line("sees", view_text(source));
    sheet.line("writes", writes_text(source));
    sheet.line("stale", stale_text(source.on_stale));
    if (source.priority_field.has_value()) {
        sheet.line("priority", reference_text(*source.priority_field, source.when.variables));
    } else if (source.priority != 0) {
        sheet.line("priority", to_json(Value::number(source.priority)));
    }
    if (source.score != nullptr) {
        sheet.line("score",
                   source.score->text() + (crew.strategy == Strategy::score ? "" : " (while control is score)"));
    }
    sheet.line("limits", limits_text(source));
    if (source.kind != SourceKind::rule) {
        sheet.line("after a crash", source.on_crash == OnCrash::retry ? "an attempt that was running is made again"
                                                                      : "an attempt that was running is skipped");
    }
}

// --- the run ---------------------------------------------------------------------------------

std::string on_cycle_text(const CycleSpec& cycle) {
    switch (cycle.on_cycle) {
        case OnCycle::stop:
            return "when";
        case OnCycle::pause:
            return "never, but sources are paused when";
        case OnCycle::damp:
            return "never, but sources are slowed when";
        case OnCycle::wake:
            return "never, but sources are paused and " + cycle.wake + " is told when";
    }
    return "when";
}

void describe_stop(Sheet& sheet, const CrewSpec& crew) {
    const StopSpec& stop = crew.stop;
    sheet.heading("The run stops");
    if (stop.goal.has_value()) {
        sheet.line("goal", "when all of this holds");
        for (const Term& term : stop.goal->terms) sheet.line("", "- " + term_text(term, stop.goal->variables));
    }
    sheet.line("quiescence", "when nothing is queued, running or due");
    if (stop.activations > 0) sheet.line("budget", "after " + counted(stop.activations, "activation", "activations"));
    describe_budget(sheet, crew);
    if (stop.wall_ms > 0) sheet.line("deadline", "after " + duration(stop.wall_ms));
    if (stop.cycle.enabled) {
        sheet.line("cycle", on_cycle_text(stop.cycle) + " sources wake each other without news (window " +
                                std::to_string(stop.cycle.window) + ", similarity " +
                                to_json(Value::number(stop.cycle.similarity)) + ")");
        const std::uint64_t rounds = stop.cycle.rounds.value_or(stop.goal ? limits::cycle_rounds_default : 0);
        if (rounds != 0) {
            sheet.line("", "or a chain goes round more than " + counted(rounds, "time", "times") +
                               (stop.goal ? " and the goal comes no nearer" : ""));
        }
    } else {
        sheet.line("cycle", "never for a cycle: the detector is off");
    }
    sheet.line("grace", "what runs then may finish and commit within " + duration(stop.grace_ms));
}

std::string retraction_text(OnRetract on_retract) {
    switch (on_retract) {
        case OnRetract::none:
            return "An entry that is retracted leaves the board; what rested on it stays.";
        case OnRetract::flag:
            return "An entry that rests on a retracted one is named in the region suspects.";
        case OnRetract::rerun:
            return "An entry that rests on a retracted one is taken back, and who wrote it runs again where what"
                   " woke it still holds; what came from outside is named in the region suspects.";
        case OnRetract::cascade:
            return "An entry that rests on a retracted one is taken back with it.";
    }
    return {};
}

std::string durability_text(Durability durability) {
    switch (durability) {
        case Durability::sync:
            return "A commit is acknowledged when it is on disk: a crash loses nothing that anyone was told of.";
        case Durability::async:
            return "A commit is acknowledged at once and on disk within " + duration(limits::async_sync_interval_ms) +
                   ": a crash may lose the newest.";
        case Durability::memory:
            return "Commits are kept in memory only: the board ends with the process.";
    }
    return {};
}

}  // namespace

std::string describe_consistency(const CrewSpec& crew) {
    Sheet sheet;
    const auto is_declared = [](const RegionSpec& region) {
        return !region.scratch && region.name != control_region_name;
    };
    const auto regions =
        static_cast<std::uint64_t>(std::count_if(crew.regions.begin(), crew.regions.end(), is_declared));
    sheet.heading("Crew " + crew.name + ": " + counted(regions, "region", "regions") + ", " +
                  counted(crew.sources.size(), "source", "sources") + ", durability " + to_text(crew.durability) +
                  ", agenda by " + to_text(crew.strategy) +
                  (crew.control_source.empty() ? "" : " and as " + crew.control_source + " ranks it") + ", " +
                  std::to_string(crew.concurrency) + " at a time");
    if (!crew.help.empty()) sheet.paragraph(crew.help);
    sheet.heading(
        "The board has one total order of commits. A source reads one snapshot, however long it runs, and"
        " all that it writes is one commit: one refused write refuses the commit, with every refusal listed. " +
        durability_text(crew.durability));
    sheet.heading(retraction_text(crew.on_retract));
    for (const RegionSpec& region : crew.regions) {
        if (is_declared(region)) describe_region(sheet, crew, region);
    }
    describe_outside(sheet, crew);
    for (const SourceSpec& source : crew.sources) describe_source(sheet, crew, source);
    describe_stop(sheet, crew);
    return sheet.take();
}

}  // namespace stele

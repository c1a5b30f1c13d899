#include "runtime/log_stats.hpp"

#include <algorithm>
#include <cmath>

#include "board/record_terms.hpp"
#include "scheduler/outcome.hpp"

namespace stele {
namespace {

constexpr std::size_t versions_kept_max = 200'000;
constexpr std::uint64_t shared_writes_min = 20;
constexpr double shared_share_max = 0.95;

bool is_private(const std::string& region) { return region.starts_with("scratch/"); }

}  // namespace

void LogStats::add(const LoggedRecord& logged) {
    const Record& record = logged.record;
    if (records_++ == 0) first_ = record.time;
    last_ = record.time;
    if (record.author.empty()) return;
    // Only what has to do with activations makes a source of its author.
    const bool of_activation = static_cast<bool>(activation_of(logged)) || !record.members.empty();
    if (record.kind == RecordKind::commit ? false : !of_activation) return;
    SourceStats& source = sources_[record.author];
    if (record.kind == RecordKind::commit && !of_activation) source.is_principal = true;
    switch (record.kind) {
        case RecordKind::claimed:
            if (!logged.verdict.accepted) return;
            ++source.attempts;
            if (!record.activation) ++source.activations;
            return;
        case RecordKind::result:
        case RecordKind::abandoned:
            ++source.outcomes[to_text(static_cast<OutcomeKind>(record.outcome))];
            source.time_ms += record.duration_ms;
            return;
        case RecordKind::called:
            if (logged.verdict.accepted && record.answered_by) ++source.calls_reused;
            return;
        case RecordKind::returned:
            source.spent.calls += record.amounts.calls;
            source.spent.tokens += record.amounts.tokens;
            source.spent.money_micros += record.amounts.money_micros;
            source.spent.wall_ms += record.amounts.wall_ms;
            source.estimated = source.estimated || record.estimated;
            return;
        case RecordKind::dead:
            ++source.dead;
            return;
        case RecordKind::commit:
            return add_commit(logged, source);
        default:
            return;
    }
}

void LogStats::add_commit(const LoggedRecord& logged, SourceStats& source) {
    const Record& record = logged.record;
    if (!logged.verdict.accepted) {
        const auto& refusals = logged.verdict.refusals;
        const bool conflict = std::any_of(refusals.begin(), refusals.end(), [](const Refusal& refusal) {
            return refusal.rule == RefusalRule::conflict || refusal.rule == RefusalRule::stale;
        });
        ++(conflict ? source.conflicts : source.refused);
        return;
    }
    if (is_rule_commit(record)) {
        ++source.activations;
        ++source.attempts;
        ++source.outcomes[to_text(OutcomeKind::ok)];
    }
    ++source.commits;
    std::uint64_t changes = 0;
    for (std::size_t line = 0; line < record.writes.size(); ++line) {
        const EntryId id = written_entry(logged, line);
        if (id.number == 0) continue;
        ++changes;
        if (is_private(id.region)) continue;
        RegionStats& region = regions_[id.region];
        switch (logged.verdict.outcomes[line].effect) {
            case WriteOutcome::Effect::added:
                ++region.added;
                break;
            case WriteOutcome::Effect::updated:
                ++region.updated;
                break;
            case WriteOutcome::Effect::removed:
                ++region.removed;
                break;
            case WriteOutcome::Effect::none:
                break;
        }
        if (!source.is_principal) ++region.writers[record.author];
        if (logged.verdict.outcomes[line].version > 1) note_version(id);
    }
    source.writes += changes;
    if (changes == 0 && !source.is_principal) ++source.idle_wakes;
}

// Versions from the second on are counted. Where more entries than can be kept have some, those with the fewest go:
// the counts of the hottest stay right as long as they are among the hottest all along (Misra and Gries, 1982, keep
// their counters in this spirit).
void LogStats::note_version(const EntryId& id) {
    ++versions_[id];
    for (std::uint64_t few = 1; versions_.size() > versions_kept_max; ++few) {
        std::erase_if(versions_, [&](const auto& one) { return one.second <= few; });
    }
}

std::vector<HotEntry> LogStats::hot_entries(std::size_t count) const {
    std::vector<HotEntry> hot;
    for (const auto& [id, more] : versions_) hot.push_back({id, more + 1});
    std::stable_sort(hot.begin(), hot.end(),
                     [](const HotEntry& a, const HotEntry& b) { return a.versions > b.versions; });
    if (hot.size() > count) hot.resize(count);
    return hot;
}

std::optional<std::string> LogStats::advice(const std::string& region, const CrewSpec* crew) const {
    const RegionSpec* spec = crew != nullptr ? crew->region(region) : nullptr;
    const auto found = regions_.find(region);
    if (spec == nullptr || found == regions_.end() || spec->policy == PolicyKind::single_writer) return std::nullopt;
    std::uint64_t all = 0;
    const std::pair<const std::string, std::uint64_t>* most = nullptr;
    for (const auto& writer : found->second.writers) {
        all += writer.second;
        if (most == nullptr || writer.second > most->second) most = &writer;
    }
    if (most == nullptr || all < shared_writes_min) return std::nullopt;
    const double share = static_cast<double>(most->second) / static_cast<double>(all);
    // A region that several may write and one does; where only one is granted, nothing is shared.
    const auto may_write = static_cast<std::size_t>(
        std::count_if(crew->sources.begin(), crew->sources.end(), [&](const SourceSpec& source) {
            const std::vector<WriteOp> operations = {WriteOp::insert,  WriteOp::add,       WriteOp::put,
                                                     WriteOp::replace, WriteOp::increment, WriteOp::remove};
            return std::any_of(operations.begin(), operations.end(),
                               [&](WriteOp op) { return source.may.may_write(region, op); });
        }));
    if (share < shared_share_max || may_write < 2) return std::nullopt;
    return std::to_string(static_cast<int>(std::floor(share * 100))) + " % of writes come from " + most->first +
           ": declare it single_writer";
}

}  // namespace stele

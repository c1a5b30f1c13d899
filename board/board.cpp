#include "board/board.hpp"

#include <algorithm>
#include <cassert>

#include "board/limits.hpp"

namespace stele {
namespace {

// Two levels less than what can be read back: a conflict shows the entry inside an object, and a
// merge by union may put a field's value into an array.
constexpr std::size_t entry_depth_max = limits::json_depth_max - 2;

// A region as one commit sees it: what was staged by its earlier writes, then what is stored.
class StagedRegion final : public RegionAccess {
public:
    StagedRegion(const EntryStore& entries, const Decision& decision, const RegionSpec& spec, const RegionState& state,
                 const Record& commit, Position position)
        : entries_(entries), decision_(decision), spec_(spec), state_(state), commit_(commit), position_(position) {}

    const RegionSpec& spec() const override { return spec_; }

    Result<std::optional<EntryState>> entry(std::uint64_t number) const override {
        if (const auto staged = decision_.entries.find({state_.number, number}); staged != decision_.entries.end()) {
            return std::optional<EntryState>(staged->second);
        }
        if (number == 0 || number >= state_.next_entry) return std::optional<EntryState>();
        return entries_.newest(state_.number, number);
    }
    Result<std::optional<std::uint64_t>> number_of_key(std::string_view key_text) const override {
        const auto staged = decision_.keys.find({state_.number, std::string(key_text)});
        if (staged != decision_.keys.end()) return std::optional<std::uint64_t>(staged->second);
        return entries_.number_of_key(state_.number, key_text);
    }
    Result<std::string> content(const EntryState& state) const override {
        if (!state.merged_text && state.content_position == position_) return commit_.writes[state.content_line].text;
        return entries_.content(state);
    }
    Result<std::vector<AddTag>> adds(std::uint64_t number) const override {
        const auto staged = decision_.adds.find({state_.number, number});
        if (staged != decision_.adds.end()) return staged->second;
        return entries_.adds(state_.number, number);
    }
    std::uint64_t next_number() const override { return state_.next_entry; }
    std::int64_t sum() const override { return state_.sum; }

private:
    const EntryStore& entries_;
    const Decision& decision_;
    const RegionSpec& spec_;
    const RegionState& state_;
    const Record& commit_;
    Position position_;
};

RegionState& staged_region(Decision& decision, const EntryStore& entries, const RegionSpec& spec) {
    const RegionState* stored = entries.region(spec.name);
    assert(stored != nullptr);
    return decision.regions.try_emplace(stored->number, *stored).first->second;
}

std::string join(const std::vector<WriteOp>& operations) {
    std::string text;
    for (const WriteOp op : operations) text += (text.empty() ? "" : ", ") + std::string(to_text(op));
    return text;
}

bool carries_content(const Write& write) {
    switch (write.op) {
        case WriteOp::insert:
        case WriteOp::add:
        case WriteOp::put:
        case WriteOp::replace:
        case WriteOp::increment:
            return true;
        case WriteOp::remove:
            return write.number == 0;
        case WriteOp::retract:
            return false;
    }
    return false;
}

std::optional<Refusal> refuse_by_size(const Record& commit) {
    if (commit.writes.size() > limits::writes_per_commit_max) {
        return Refusal{0,
                       RefusalRule::limit,
                       "a commit of " + std::to_string(commit.writes.size()) + " writes passes the limit of " +
                           std::to_string(limits::writes_per_commit_max),
                       {}};
    }
    std::size_t bytes = 0;
    for (const Write& write : commit.writes) bytes += write.text.size() + write.why.size();
    if (bytes <= limits::record_bytes_max) return std::nullopt;
    return Refusal{0,
                   RefusalRule::limit,
                   "a commit of " + std::to_string(bytes) + " bytes passes the limit of " +
                       std::to_string(limits::record_bytes_max),
                   {}};
}

bool is_deeper_than(const Value& value, std::size_t levels) {
    const bool is_nested = value.is_array() || value.is_object();
    if (!is_nested) return false;
    if (levels == 0) return true;
    if (value.is_array()) {
        return std::any_of(value.as_array().begin(), value.as_array().end(),
                           [&](const Value& element) { return is_deeper_than(element, levels - 1); });
    }
    return std::any_of(value.as_object().begin(), value.as_object().end(),
                       [&](const Value::Member& member) { return is_deeper_than(member.second, levels - 1); });
}

Refusal too_large(std::size_t bytes, std::uint32_t line) {
    return Refusal{line,
                   RefusalRule::limit,
                   "an entry of " + std::to_string(bytes) + " bytes passes the limit of " +
                       std::to_string(limits::entry_bytes_max),
                   {}};
}

std::optional<Refusal> refuse_content(const RegionSpec& spec, const Write& write, std::uint32_t line) {
    if (write.text.size() > limits::entry_bytes_max) return too_large(write.text.size(), line);
    if (is_deeper_than(write.content, entry_depth_max)) {
        return Refusal{
            line,
            RefusalRule::limit,
            "an entry may hold " + std::to_string(entry_depth_max) + " levels of arrays and objects, not more",
            {}};
    }
    if (const std::optional<SchemaProblem> problem = spec.schema.check(write.content)) {
        return Refusal{line,
                       RefusalRule::schema,
                       "entry for \"" + spec.name + "\" does not fit: " +
                           (problem->path.empty() ? std::string() : problem->path + ": ") + problem->message,
                       {}};
    }
    return std::nullopt;
}

// What can be said without looking at any entry.
std::optional<Refusal> refuse_on_sight(const RegionSpec& spec, const Write& write, const Authority& authority,
                                       std::uint32_t line) {
    const std::vector<WriteOp> operations = operations_of(spec.policy);
    if (std::find(operations.begin(), operations.end(), write.op) == operations.end()) {
        return Refusal{line,
                       RefusalRule::unknown,
                       "region \"" + spec.name + "\" is " + to_text(spec.policy) + ": it takes " + join(operations) +
                           ", not " + to_text(write.op),
                       {}};
    }
    // Taking back one's own needs no grant; decide_retract asks whose it is.
    if (write.op != WriteOp::retract && !authority.may_write(spec.name, write.op)) {
        return Refusal{line,
                       RefusalRule::grant,
                       authority.author + " may not " + to_text(write.op) + " into region \"" + spec.name +
                           "\": grant it under may.write",
                       {}};
    }
    if (carries_content(write) && !write.purged) {
        if (std::optional<Refusal> refusal = refuse_content(spec, write, line)) return refusal;
    }
    if (write.cites.size() > limits::cites_per_write_max) {
        return Refusal{
            line, RefusalRule::limit, "more than " + std::to_string(limits::cites_per_write_max) + " cites", {}};
    }
    for (const Cite& cite : write.cites) {
        if (cite.line != 0 ? cite.line >= line : !authority.has_seen(cite.entry)) {
            return Refusal{line,
                           RefusalRule::cite,
                           "cites " + (cite.line != 0 ? "line " + std::to_string(cite.line) : to_text(cite.entry)) +
                               ", which " + authority.author + " had not seen",
                           {}};
        }
    }
    return std::nullopt;
}

void stage(Decision& decision, RegionState& region, const EntryStore& entries, const RegionSpec& spec,
           const std::optional<EntryState>& before, PolicyDecision made, std::string_view text, Position position) {
    const Decision::EntryPlace place{region.number, made.after.number};
    if (made.adds) {
        decision.adds[place] = std::move(*made.adds);
        region.has_adds = true;
    }
    if (made.new_key) decision.keys[{region.number, std::move(*made.new_key)}] = made.after.number;
    if (made.effect == WriteOutcome::Effect::none) return;

    if (made.after.number >= region.next_entry) region.next_entry = made.after.number + 1;
    const bool was_active = before && before->active;
    region.active_entries += (made.after.active ? 1 : 0);
    region.active_entries -= (was_active ? 1 : 0);
    region.last_change = position;
    if (made.new_sum) {
        region.sum = *made.new_sum;
        // A counter back at nothing is as it was before its first increment.
        region.digest = region.sum == 0 ? Hash128{} : entries.digest_of(spec.name, std::to_string(region.sum));
    } else {
        if (was_active) region.digest -= before->digest;
        if (made.after.active) {
            made.after.digest = entries.digest_of(spec.name, made.after.merged_text ? *made.after.merged_text : text);
            region.digest += made.after.digest;
        }
    }
    decision.entries[place] = std::move(made.after);
}

}  // namespace

bool Decision::changes_content() const {
    return std::any_of(outcomes.begin(), outcomes.end(),
                       [](const WriteOutcome& outcome) { return outcome.effect != WriteOutcome::Effect::none; });
}

std::string resolve_region(std::string_view region, std::string_view author) {
    return region == scratch_name ? scratch_region_of(author) : std::string(region);
}

Result<std::unique_ptr<Board>> Board::open(StateStore& store, BoardNumber number, const FamilyKey& family) {
    std::unique_ptr<Board> board(new Board(store, number, family));
    const Status loaded = board->entries_.load();
    if (!loaded.ok()) return loaded.error();
    return board;
}

Status Board::declare(const std::vector<RegionSpec>& regions) {
    for (const RegionSpec& spec : regions) {
        const RegionState* stored = entries_.region(spec.name);
        const auto before = laws_.find(spec.name);
        if (stored == nullptr || before == laws_.end() || stored->next_entry == 1) continue;
        if (before->second.policy != spec.policy || before->second.key != spec.key) {
            return Error{ErrorCode::refused, "region \"" + spec.name + "\" has entries, so it keeps its policy (" +
                                                 to_text(before->second.policy) +
                                                 ") and key; give the new law another region name"};
        }
    }
    adopt(regions);
    return Done{};
}

void Board::adopt(const std::vector<RegionSpec>& regions) {
    specs_.clear();
    scratch_regions_.clear();
    for (const RegionSpec& spec : regions) {
        specs_.emplace(spec.name, spec);
        laws_.insert_or_assign(spec.name, spec);
        const RegionState& state = entries_.declare_region(spec.name, spec.scratch);
        if (spec.scratch && !spec.durable_scratch) scratch_regions_.push_back(state.number);
    }
}

const RegionSpec* Board::spec(std::string_view region) const {
    const auto found = specs_.find(region);
    return found == specs_.end() ? nullptr : &found->second;
}

Result<Decision> Board::decide(const Record& commit, const Authority& authority) const {
    Decision decision;
    const Position position = next_position();
    if (std::optional<Refusal> refusal = refuse_by_size(commit)) {
        decision.refusals.push_back(std::move(*refusal));
        return decision;
    }
    decision.outcomes.resize(commit.writes.size());
    for (std::uint32_t i = 0; i < commit.writes.size(); ++i) {
        const Write& write = commit.writes[i];
        const std::string region_name = resolve_region(write.region, authority.author);
        const RegionSpec* spec = this->spec(region_name);
        if (spec == nullptr || (spec->scratch && write.region != scratch_name && !authority.acts_as_owner)) {
            decision.refusals.push_back(
                {i + 1, RefusalRule::unknown, "there is no region \"" + write.region + "\"", {}});
            continue;
        }
        if (std::optional<Refusal> refusal = refuse_on_sight(*spec, write, authority, i + 1)) {
            decision.refusals.push_back(std::move(*refusal));
            continue;
        }
        RegionState& region = staged_region(decision, entries_, *spec);
        const StagedRegion access(entries_, decision, *spec, region, commit, position);
        WriteContext context;
        context.author = authority.author;
        context.snapshot = authority.snapshot;
        context.position = position;
        context.line = i;
        context.acts_as_owner = authority.acts_as_owner;
        context.may_retract_others = write.op == WriteOp::retract && authority.may_write(region_name, WriteOp::retract);
        Result<PolicyAnswer> answer = write.op == WriteOp::retract
                                          ? decide_retract(access, context, write)
                                          : policy_of(spec->policy).decide(access, context, write);
        if (!answer.ok()) return answer.error();
        if (answer->refusal) {
            decision.refusals.push_back(std::move(*answer->refusal));
            continue;
        }
        PolicyDecision& made = answer->decision;
        if (made.after.merged_text && made.after.merged_text->size() > limits::entry_bytes_max) {
            decision.refusals.push_back(too_large(made.after.merged_text->size(), i + 1));
            continue;
        }
        std::optional<EntryState> before;
        if (made.after.number != 0 && made.after.number < region.next_entry) {
            Result<std::optional<EntryState>> known = access.entry(made.after.number);
            if (!known.ok()) return known.error();
            before = std::move(*known);
        }
        WriteOutcome& outcome = decision.outcomes[i];
        outcome.effect = made.effect;
        outcome.number = made.after.number;
        outcome.version = made.after.version;
        outcome.merged = made.after.merged_text.has_value();
        stage(decision, region, entries_, *spec, before, std::move(made), write.text, position);
    }
    return decision;
}

Hash128 Board::state_hash_after(const Decision& decision) const {
    Hash128 hash = entries_.state_hash();
    for (const auto& [number, region] : decision.regions) {
        hash -= entries_.regions()[number].digest;
        hash += region.digest;
    }
    return hash;
}

void Board::apply(const Record& record, const Decision* decision, const ChainLink& link, StoreBatch& batch) {
    BoardMeta meta = entries_.meta();
    meta.last = next_position();
    meta.link = link;
    meta.time = std::max(meta.time, record.time);
    if (decision != nullptr) {
        assert(decision->accepted());
        meta.version = meta.last;
        for (const auto& [place, state] : decision->entries) entries_.put_entry(place.first, state, batch);
        for (const auto& [place, adds] : decision->adds) entries_.put_adds(place.first, place.second, adds, batch);
        for (const auto& [key, number] : decision->keys) entries_.put_key(key.first, key.second, number, batch);
        for (const auto& [number, region] : decision->regions) entries_.put_region(region, batch);
        if (!record.idempotency_key.empty()) {
            entries_.put_idempotency_key(record.idempotency_key, meta.last, batch);
        }
    }
    if (record.kind == RecordKind::run_started || record.kind == RecordKind::reconfigured) {
        // The regions that this crew declared become part of the board with it.
        const std::vector<RegionState> declared = entries_.regions();
        for (const RegionState& region : declared) entries_.put_region(region, batch);
    }
    entries_.put_meta(meta, batch);
    if (meta.last.number % limits::region_count_interval == 0) entries_.put_counts(meta.last, batch);
}

Result<std::vector<EntryChange>> Board::changes_of(const LoggedRecord& logged) const {
    std::vector<EntryChange> changes;
    const Record& record = logged.record;
    if (record.kind != RecordKind::commit || !logged.verdict.accepted) return changes;
    // One commit may touch an entry more than once; only what it came to counts.
    std::map<Decision::EntryPlace, bool> touched;
    for (std::size_t i = 0; i < record.writes.size() && i < logged.verdict.outcomes.size(); ++i) {
        const WriteOutcome& outcome = logged.verdict.outcomes[i];
        if (outcome.effect == WriteOutcome::Effect::none) continue;
        const std::string name = resolve_region(record.writes[i].region, record.author);
        const RegionState* region = entries_.region(name);
        if (region == nullptr) return Error{ErrorCode::corrupt, "the log writes to an unknown region " + name};
        const bool added = outcome.effect == WriteOutcome::Effect::added && outcome.version == 1;
        const auto [place, first] = touched.try_emplace({region->number, outcome.number}, added);
        if (!first) continue;
        Result<EntryChange> change = change_of(*region, outcome.number, logged.position, added);
        if (!change.ok()) return change.error();
        if (change->before || change->after) changes.push_back(std::move(*change));
    }
    return changes;
}

Result<EntryChange> Board::change_of(const RegionState& region, std::uint64_t number, Position position,
                                     bool is_new) const {
    EntryChange change;
    change.id = {region.name, number};
    if (!is_new) {
        const Result<std::optional<EntryState>> before = entries_.before(region.number, number, position);
        if (!before.ok()) return before.error();
        if (before->has_value() && (*before)->active) {
            const Result<EntryPtr> entry = entries_.load(region.number, **before);
            if (!entry.ok()) return entry.error();
            change.before = *entry;
        }
    }
    const bool is_newest = position == entries_.meta().last;
    const Result<std::optional<EntryState>> after =
        is_newest ? entries_.newest(region.number, number) : entries_.at(region.number, number, position);
    if (!after.ok()) return after.error();
    if (!after->has_value()) return Error{ErrorCode::corrupt, "the state lacks " + to_text(change.id)};
    if ((*after)->active) {
        const Result<EntryPtr> entry = entries_.load(region.number, **after);
        if (!entry.ok()) return entry.error();
        change.after = *entry;
    }
    change.kind = !change.after   ? EntryChange::Kind::removed
                  : change.before ? EntryChange::Kind::updated
                                  : EntryChange::Kind::added;
    return change;
}

}  // namespace stele

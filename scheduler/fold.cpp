#include "scheduler/fold.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "board/limits.hpp"
#include "board/utf8.hpp"
#include "scheduler/checkpoint.hpp"
#include "scheduler/source_view.hpp"

namespace stele {
namespace {

bool is_of_activation(const Record& record) { return record.activation || !record.members.empty(); }

bool calls_out(SourceKind kind) {
    return kind == SourceKind::llm || kind == SourceKind::http || kind == SourceKind::mcp;
}

/// Keys of the commits that answer for phantoms.
constexpr std::string_view remarks_key = "phantoms/";

bool brings_crew(const Record& record) {
    return record.kind == RecordKind::run_started || record.kind == RecordKind::reconfigured;
}

}  // namespace

std::vector<EntryPtr> first_bindings(const std::vector<MatchPtr>& members) {
    return members.empty() ? std::vector<EntryPtr>() : members.front()->entries;
}

Fold::Fold(Board& board, CrewReader read_crew)
    : board_(board),
      read_crew_(std::move(read_crew)),
      scheduler_([this](const std::string& text, const std::string& base,
                        const std::string& inputs) { return crew_of(text, base, inputs); },
                 [this](Position before, const CommitVisitor& visit) -> Status {
                     for (Position at{1}; at < before; ++at.number) {
                         const Result<std::shared_ptr<const LoggedRecord>> logged = board_.entries().record(at);
                         if (!logged.ok()) return logged.error();
                         const Result<std::vector<EntryChange>> changes = board_.changes_of(**logged);
                         if (!changes.ok()) return changes.error();
                         visit(at, (*logged)->record.time, *changes);
                     }
                     return Done{};
                 }) {}

Result<Judgement> Fold::judge(const Record& record) {
    Judgement judgement;
    judgement.verdict = scheduler_.judge(record);
    judgement.verdict.state_hash = board_.state_hash();
    if (judgement.verdict.accepted && brings_crew(record)) {
        const Result<std::shared_ptr<const CrewSpec>> crew = crew_in(record);
        const Status declared = crew.ok() ? board_.declare((*crew)->regions) : Status(crew.error());
        if (!declared.ok()) {
            judgement.verdict.accepted = false;
            judgement.verdict.refusals.push_back({0, RefusalRule::unknown, declared.error().message, {}});
        }
    }
    if (!judgement.verdict.accepted || record.kind != RecordKind::commit) return judgement;

    if (!record.idempotency_key.empty()) {
        const Result<std::optional<Position>> used = board_.entries().position_of_key(record.idempotency_key);
        if (!used.ok()) return used.error();
        if (used->has_value()) {
            judgement.verdict.accepted = false;
            judgement.verdict.refusals.push_back({0,
                                                  RefusalRule::duplicate,
                                                  "idempotency key \"" + record.idempotency_key +
                                                      "\" was used by record " + std::to_string((*used)->number),
                                                  {}});
            return judgement;
        }
    }
    Result<Decision> decision = board_.decide(record, authority_of(record));
    if (!decision.ok()) return decision.error();
    if (!decision->accepted()) {
        judgement.verdict.accepted = false;
        judgement.verdict.stale_members.clear();
        judgement.verdict.refusals = std::move(decision->refusals);
        return judgement;
    }
    Result<std::vector<Refusal>> phantoms = phantoms_of(record);
    if (!phantoms.ok()) return phantoms.error();
    const auto is_refused = [&](const Refusal& phantom) {
        const RegionSpec* spec = board_.spec(record.writes[phantom.line - 1].region);
        return spec != nullptr && spec->grounded == Grounding::refuse;
    };
    judgement.verdict.refusals = std::move(*phantoms);
    if (std::any_of(judgement.verdict.refusals.begin(), judgement.verdict.refusals.end(), is_refused)) {
        judgement.verdict.accepted = false;
        judgement.verdict.stale_members.clear();
        std::erase_if(judgement.verdict.refusals, [&](const Refusal& phantom) { return !is_refused(phantom); });
        return judgement;
    }
    judgement.verdict.outcomes = decision->outcomes;
    judgement.verdict.state_hash = board_.state_hash_after(*decision);
    judgement.decision = std::move(*decision);
    return judgement;
}

Result<Folded> Fold::apply(std::shared_ptr<const LoggedRecord> logged, const Judgement& judgement, StoreBatch& batch) {
    board_.apply(logged->record, judgement.decision ? &*judgement.decision : nullptr, logged->link, batch);
    board_.entries().remember(logged);
    if (index_) index_->add(logged, batch);
    Folded folded;
    folded.logged = std::move(logged);
    return folded;
}

Status Fold::keep_index(const FamilyKey& family, TaskRunner run) {
    index_.emplace(board_.entries().board(), family, IndexShape{}, std::move(run));
    return index_->open(board_.entries().store(), board_.meta().last,
                        [this](Position position) { return board_.entries().record(position); });
}

Result<Folded> Fold::take(Record record, const Salt& salt, StoreBatch& batch, std::string& frame) {
    Result<Judgement> judgement = judge(record);
    if (!judgement.ok()) return judgement.error();
    auto logged = std::make_shared<LoggedRecord>();
    logged->position = board_.next_position();
    logged->record = std::move(record);
    logged->verdict = judgement->verdict;
    EncodedFrame encoded = encode_frame(logged->record, logged->verdict, logged->position, board_.meta().link, salt,
                                        board_.entries().blob_storer(batch));
    logged->link = encoded.link;
    frame = std::move(encoded.bytes);
    return apply(std::move(logged), *judgement, batch);
}

Result<Folded> Fold::feed(std::shared_ptr<const LoggedRecord> logged) {
    if (logged->verdict.accepted && brings_crew(logged->record)) {
        const Result<std::shared_ptr<const CrewSpec>> crew = crew_in(logged->record);
        if (!crew.ok()) return crew.error();
        // Stored: it was judged when it was new, and the regions may have moved on since.
        board_.adopt((*crew)->regions);
    }
    Folded folded;
    folded.logged = std::move(logged);
    return folded;
}

Status Fold::step(Folded& folded) {
    Result<std::vector<EntryChange>> changes = board_.changes_of(*folded.logged);
    if (!changes.ok()) return changes.error();
    folded.changes = std::move(*changes);
    count_scratch(folded.changes);
    const Status fed = feed_consequences(*folded.logged);
    if (!fed.ok()) return fed;
    feed_remarks(*folded.logged);
    const bool owed = !remarked_.empty() || (consequences_ && consequences_->owes());
    Result<Effects> effects = scheduler_.step(FoldedRecord{*folded.logged, folded.changes, scratch_left(), owed});
    if (!effects.ok()) return effects.error();
    folded.effects = std::move(*effects);
    if (folded.effects.follow_retraction) {
        Result<Record> next = remarked_.empty() ? consequences_->next(folded.logged->position, board_.meta().version)
                                                : answer_remarks(folded.logged->position);
        if (!next.ok()) return next.error();
        folded.effects.append = std::move(*next);
    }
    if (folded.effects.clear_scratch) folded.effects.append = scratch_commit(folded.logged->position);
    return Done{};
}

Authority Fold::authority_of(const Record& record) const {
    Authority authority;
    authority.author = record.author;
    if (!is_of_activation(record)) {
        authority.snapshot = record.snapshot ? record.snapshot : board_.meta().version;
        authority.acts_as_owner = record.author == "seed" || record.author == "system";
        authority.may_write = [](std::string_view, WriteOp) { return true; };
        const View view = board_.view(authority.snapshot);
        authority.has_seen = [view](const EntryId& entry) {
            const Result<EntryPtr> found = view.find(entry);
            return found.ok() && *found != nullptr;
        };
        return authority;
    }
    const Activation* live = scheduler_.activation(record.activation);
    const std::optional<std::uint32_t> index = scheduler_.source_index(record.author);
    const SourceSpec* source = index ? &scheduler_.crew()->sources[*index] : nullptr;
    authority.snapshot = live != nullptr ? live->snapshot : record.snapshot;
    authority.may_write = [source](std::string_view region, WriteOp op) {
        if (source == nullptr) return false;
        if (region == scratch_region_of(source->name)) return true;
        return source->may.may_write(region, op);
    };
    const View view = board_.view(authority.snapshot);
    const std::vector<EntryPtr> bindings = live != nullptr ? first_bindings(live->members) : std::vector<EntryPtr>();
    // Worked out at the first cite that is not of the match, and then for the whole commit.
    const auto shown = std::make_shared<std::optional<std::set<EntryId>>>();
    authority.has_seen = [&record, live, source, view, bindings, shown](const EntryId& entry) {
        const auto is_entry = [&](const BoundEntry& bound) { return bound.id == entry; };
        for (const MatchRecord& member : record.members) {
            if (std::any_of(member.bound.begin(), member.bound.end(), is_entry)) return true;
        }
        if (live == nullptr || source == nullptr) return false;
        for (const MatchPtr& member : live->members) {
            if (std::any_of(member->bound.begin(), member->bound.end(), is_entry)) return true;
        }
        if (live->seen.count(entry) > 0) return true;
        // What these kinds show is on record with each call; a view alone does not tell what was cut.
        if (calls_out(source->kind)) return false;
        if (!*shown) {
            Result<std::set<EntryId>> ids = shown_ids(*source, bindings, view);
            *shown = ids.ok() ? std::move(*ids) : std::set<EntryId>();
        }
        return (*shown)->count(entry) > 0;
    };
    return authority;
}

Result<SeenTexts> Fold::seen_by(const Activation& live, const SourceSpec& source) const {
    SeenTexts seen;
    std::map<EntryId, EntryPtr> entries;
    for (const MatchPtr& member : live.members) {
        for (const EntryPtr& entry : member->entries) {
            if (entry) entries[entry->id] = entry;
        }
    }
    const View view = board_.view(live.snapshot);
    std::set<EntryId> ids = live.seen;
    // What the other kinds are shown is on record with each call.
    if (!calls_out(source.kind)) {
        Result<std::set<EntryId>> shown = shown_ids(source, first_bindings(live.members), view);
        if (!shown.ok()) return shown.error();
        ids.insert(shown->begin(), shown->end());
    }
    for (const EntryId& id : ids) {
        if (entries.count(id) > 0) continue;
        Result<EntryPtr> entry = view.find_any(id);
        if (!entry.ok()) return entry.error();
        if (*entry) entries[id] = std::move(*entry);
    }
    std::map<std::string, std::uint64_t> counts;
    for (const auto& [id, entry] : entries) {
        seen.add(entry->content);
        seen.add_name(to_text(id));
        ++counts[id.region];
    }
    for (const auto& [region, count] : counts) seen.add_count(count);
    seen.add_count(live.members.size());
    for (const auto& [name, value] : scheduler_.crew()->inputs) seen.add(value);
    seen.add_text(source.llm.prompt);
    seen.add_text(source.help);
    for (const Position answer : live.answers_seen) {
        const Result<std::shared_ptr<const LoggedRecord>> logged = board_.entries().record(answer);
        if (!logged.ok()) return logged.error();
        for (const std::string& part : (*logged)->record.parts) {
            const Result<Value> value = parse_json(part);
            if (value.ok()) {
                seen.add(*value);
            } else {
                seen.add_text(part);
            }
        }
    }
    return seen;
}

// Rules write what the crew's author wrote, and what comes from outside has seen more than the board.
Result<std::vector<Refusal>> Fold::phantoms_of(const Record& record) const {
    std::vector<Refusal> refusals;
    const Activation* live = record.activation ? scheduler_.activation(record.activation) : nullptr;
    const std::optional<std::uint32_t> index = scheduler_.source_index(record.author);
    if (live == nullptr || !index) return refusals;
    const SourceSpec& source = scheduler_.crew()->sources[*index];
    std::optional<SeenTexts> seen;
    for (std::uint32_t line = 0; line < record.writes.size(); ++line) {
        const Write& write = record.writes[line];
        const RegionSpec* spec = board_.spec(write.region);
        const bool takes_away = write.op == WriteOp::retract || write.op == WriteOp::remove;
        if (spec == nullptr || spec->grounded == Grounding::none || takes_away) continue;
        if (!seen) {
            Result<SeenTexts> texts = seen_by(*live, source);
            if (!texts.ok()) return texts.error();
            seen = std::move(*texts);
        }
        seen->add_count(write.cites.size());
        for (const Phantom& phantom : phantoms_in(write.content, spec->grounded_fields, *seen)) {
            refusals.push_back({line + 1, RefusalRule::phantom, phantom_text(phantom, record.author),
                                Value::object({{"kind", Value(to_text(phantom.kind))},
                                               {"text", Value(valid_utf8(phantom.text))},
                                               {"path", Value(phantom.path)}})});
        }
    }
    return refusals;
}

void Fold::feed_remarks(const LoggedRecord& logged) {
    const Record& record = logged.record;
    if (record.kind != RecordKind::commit) return;
    if (record.author == "system" && record.idempotency_key.starts_with(remarks_key)) {
        remarked_.erase({std::strtoull(record.idempotency_key.c_str() + remarks_key.size(), nullptr, 10)});
    }
    if (logged.verdict.accepted && !logged.verdict.refusals.empty()) remarked_.insert(logged.position);
}

// One commit for the phantoms of one commit: named in `phantoms`, or asked about where the region says.
Result<Record> Fold::answer_remarks(Position at) const {
    const Result<std::shared_ptr<const LoggedRecord>> remarked = board_.entries().record(*remarked_.begin());
    if (!remarked.ok()) return remarked.error();
    Record commit;
    commit.kind = RecordKind::commit;
    commit.decided_at = at;
    commit.author = "system";
    commit.snapshot = board_.meta().version;
    commit.reason = "it says what its author had not seen";
    commit.idempotency_key = std::string(remarks_key) + std::to_string(remarked_.begin()->number);
    for (const Refusal& remark : (*remarked)->verdict.refusals) {
        const EntryId id = written_entry(**remarked, remark.line - 1);
        const RegionSpec* spec = board_.spec((*remarked)->record.writes[remark.line - 1].region);
        if (spec == nullptr || id.number == 0) continue;
        Write write;
        write.why = remark.message;
        write.cites = {{id, 0}};
        if (spec->grounded == Grounding::question) {
            const RegionSpec* into = board_.spec(spec->questions_into);
            if (into == nullptr) continue;
            write.op = policy_of(into->policy).operations().front();
            write.region = spec->questions_into;
            write.content =
                Value::object({{"text", Value("What is the source of " + to_text(id) + "? " + remark.message)}});
        } else {
            write.op = WriteOp::put;
            write.region = phantoms_region_name;
            write.content = remark.current;
            write.content.set("entry", Value(to_text(id)));
            write.content.set("author", Value((*remarked)->record.author));
        }
        write.seal();
        commit.writes.push_back(std::move(write));
    }
    return commit;
}

// A crew that declares on_retract on an old board learns from its log what rests on what.
Status Fold::feed_consequences(const LoggedRecord& logged) {
    if (logged.verdict.accepted && brings_crew(logged.record)) {
        const Result<std::shared_ptr<const CrewSpec>> crew = crew_in(logged.record);
        if (!crew.ok()) return crew.error();
        note_crew(logged.position, **crew);
        const OnRetract mode = (*crew)->on_retract;
        if (mode == OnRetract::none) {
            consequences_.reset();
        } else if (consequences_) {
            consequences_->set_mode(mode);
        } else {
            consequences_.emplace(mode, [this](Position position) { return board_.entries().record(position); });
            for (Position at{1}; at < logged.position; ++at.number) {
                const Result<std::shared_ptr<const LoggedRecord>> before = board_.entries().record(at);
                if (!before.ok()) return before.error();
                consequences_->feed(**before);
            }
        }
    }
    if (consequences_) consequences_->feed(logged);
    return Done{};
}

void Fold::note_crew(Position position, const CrewSpec& crew) {
    std::set<std::string> names;
    for (const RegionSpec& region : crew.regions) names.insert(region.name);
    for (auto earlier = crews_.begin(); earlier != crews_.end();) {
        std::erase_if(earlier->second, [&](const std::string& name) { return names.count(name) > 0; });
        earlier = earlier->second.empty() ? crews_.erase(earlier) : std::next(earlier);
    }
    crews_.emplace(position, std::move(names));
}

std::string Fold::save() const {
    CheckpointWriter out;
    std::vector<Position> crews;
    for (const auto& [position, regions] : crews_) crews.push_back(position);
    out(crews, scratch_entries_, remarked_);
    if (consequences_) consequences_->save(out);
    scheduler_.save(out);
    return out.take();
}

Status Fold::load(std::string_view bytes) {
    CheckpointLoaders loaders;
    loaders.entry = [this](const EntryId& id, Position position) -> Result<EntryPtr> {
        const RegionState* region = board_.entries().region(id.region);
        if (region == nullptr) return EntryPtr();
        const Result<std::optional<EntryState>> state = board_.entries().made_at(region->number, id.number, position);
        if (!state.ok()) return state.error();
        return state->has_value() ? board_.entries().load(region->number, **state) : EntryPtr();
    };
    loaders.record = [this](Position position) { return board_.entries().record(position); };
    CheckpointReader in(bytes, loaders);
    std::vector<Position> crews;
    in(crews, scratch_entries_, remarked_);
    for (const Position position : crews) {
        const std::shared_ptr<const LoggedRecord> logged = in.record(position);
        if (!logged) break;
        const Result<std::shared_ptr<const CrewSpec>> crew = crew_in(logged->record);
        if (!crew.ok()) return crew.error();
        board_.adopt((*crew)->regions);
        note_crew(position, **crew);
    }
    if (crew_read_ && crew_read_->on_retract != OnRetract::none && in.ok()) {
        consequences_.emplace(crew_read_->on_retract, loaders.record);
        consequences_->load(in);
    }
    scheduler_.load(in);
    return in.finish();
}

// Private regions end with the run: their entries leave the active view and stay in the log.
Record Fold::scratch_commit(Position at) const {
    Record commit;
    commit.kind = RecordKind::commit;
    commit.decided_at = at;
    commit.author = "system";
    commit.reason = "private regions end with the run";
    commit.snapshot = board_.meta().version;
    for (const RegionState& region : board_.entries().regions()) {
        const RegionSpec* spec = board_.spec(region.name);
        if (spec == nullptr || !spec->scratch || spec->durable_scratch || region.active_entries == 0) continue;
        const Status scanned =
            board_.entries().for_each(region.number, board_.meta().last, false, [&](const EntryState& state) {
                if (!state.active) return true;
                // What does not fit into one commit is cleared by the next: the core asks until none is left.
                if (commit.writes.size() == limits::writes_per_commit_max) return false;
                Write write;
                write.op = WriteOp::retract;
                write.region = region.name;
                write.number = state.number;
                write.expected_version = state.version;
                write.why = commit.reason;
                write.seal();
                commit.writes.push_back(std::move(write));
                return true;
            });
        if (!scanned.ok()) break;
    }
    return commit;
}

// Counted along the log: the stored state may be further on than what is being fed.
void Fold::count_scratch(const std::vector<EntryChange>& changes) {
    for (const EntryChange& change : changes) {
        const RegionState* region = board_.entries().region(change.id.region);
        if (region == nullptr || !region->scratch) continue;
        scratch_entries_[region->number] += (change.after ? 1 : 0) - (change.before ? 1 : 0);
    }
}

bool Fold::scratch_left() const {
    return std::any_of(board_.scratch_regions().begin(), board_.scratch_regions().end(), [&](RegionNumber number) {
        const auto counted = scratch_entries_.find(number);
        return counted != scratch_entries_.end() && counted->second > 0;
    });
}

Result<std::shared_ptr<const CrewSpec>> Fold::crew_in(const Record& record) {
    return crew_of(record.parts.empty() ? std::string() : record.parts.front(), record.base_directory, record.inputs);
}

Result<std::shared_ptr<const CrewSpec>> Fold::crew_of(const std::string& text, const std::string& base_directory,
                                                      const std::string& inputs) {
    std::string from = base_directory + '\0' + inputs + '\0' + text;
    if (crew_read_ && from == crew_read_from_) return crew_read_;
    Result<std::shared_ptr<const CrewSpec>> crew = read_crew_(text, base_directory, inputs);
    if (!crew.ok()) return crew.error();
    crew_read_ = *crew;
    crew_read_from_ = std::move(from);
    return crew_read_;
}

}  // namespace stele

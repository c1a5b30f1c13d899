#include "board/provenance.hpp"

#include <algorithm>
#include <set>

namespace stele {
namespace {

void add_once(std::vector<std::string>& names, const std::string& name) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

void add_amounts(Amounts& sum, const Amounts& more) {
    sum.calls += more.calls;
    sum.tokens += more.tokens;
    sum.money_micros += more.money_micros;
    sum.wall_ms += more.wall_ms;
}

void add_seen(std::vector<EntryId>& seen, const std::vector<EntryId>& more) {
    for (const EntryId& id : more) {
        if (std::find(seen.begin(), seen.end(), id) == seen.end()) seen.push_back(id);
    }
}

// The members that the fold left out as stale did not wake what was written.
void add_bound(std::vector<EntryVersion>& bound, const Record& record, const std::vector<std::uint32_t>& stale) {
    for (std::uint32_t i = 0; i < record.members.size(); ++i) {
        if (std::find(stale.begin(), stale.end(), i) != stale.end()) continue;
        for (const BoundEntry& entry : record.members[i].bound) {
            const EntryVersion version{entry.id, entry.version};
            if (std::find(bound.begin(), bound.end(), version) == bound.end()) bound.push_back(version);
        }
    }
}

// The write that made the state: for a tombstone the one that took it away.
std::optional<std::size_t> line_of(const LoggedRecord& logged, const EntryId& id) {
    for (std::size_t line = logged.record.writes.size(); line-- > 0;) {
        if (written_entry(logged, line) == id) return line;
    }
    return std::nullopt;
}

/// What was before its eyes.
Position read_by(const LoggedRecord& commit, const ActivationStory& story) {
    return story.snapshot ? story.snapshot : Position{commit.position.number - 1};
}

}  // namespace

const char* to_text(SupportKind kind) { return kind == SupportKind::cited ? "cites" : "woken by"; }

Provenance::Provenance(const EntryStore& entries, const FamilyKey& family, Position last)
    : entries_(entries),
      last_(last),
      index_(entries.store(), entries.board(), family, entries.meta().last,
             [&entries](Position position) { return entries.record(position); }) {}

EntryVersion Provenance::version_at(const EntryId& id, Position at) const {
    const RegionState* region = entries_.region(id.region);
    if (region == nullptr) return {id, 0};
    const Result<std::optional<EntryState>> state = entries_.at(region->number, id.number, at);
    return {id, state.ok() && state->has_value() ? (*state)->version : 0};
}

Result<ActivationStory> Provenance::story_of(const LoggedRecord& commit) const {
    ActivationStory story;
    story.author = commit.record.author;
    story.committed = commit.position;
    story.snapshot = commit.record.snapshot;
    story.id = activation_of(commit);
    if (!story.id) return story;
    if (is_rule_commit(commit.record)) {
        story.claimed = commit.position;
        story.attempt = 1;
        story.rating = commit.record.rating;
        story.rating_terms = commit.record.rating_terms;
        add_bound(story.bound, commit.record, commit.verdict.stale_members);
        return story;
    }
    story.attempt = commit.record.attempt;
    TimeMs claimed_time = commit.record.time;
    const Status walked = index_.find(
        {{activation_term(story.id)}}, {story.id.number}, commit.position, false, [&](const LoggedRecord& logged) {
            const Record& record = logged.record;
            const bool is_claim = record.kind == RecordKind::claimed && logged.verdict.accepted;
            if (record.attempt != story.attempt) return true;
            if (is_claim) {
                story.claimed = logged.position;
                story.snapshot = record.snapshot;
                story.rating = record.rating;
                story.rating_terms = record.rating_terms;
                claimed_time = record.time;
                story.bound.clear();
                add_bound(story.bound, record, commit.verdict.stale_members);
            } else if (record.kind == RecordKind::called && logged.verdict.accepted) {
                add_once(record.target == CallTarget::model ? story.models : story.tools, record.word);
                if (record.answered_by) ++story.calls_reused;
                add_seen(story.seen, record.seen);
            } else if (record.kind == RecordKind::started) {
                add_seen(story.seen, record.seen);
            } else if (record.kind == RecordKind::returned) {
                add_amounts(story.spent, record.amounts);
                story.estimated = story.estimated || record.estimated;
            }
            return true;
        });
    if (!walked.ok()) return walked.error();
    story.duration_ms = commit.record.time.ms - claimed_time.ms;
    return story;
}

std::vector<Support> Provenance::supports_of(const LoggedRecord& commit, std::size_t line,
                                             const ActivationStory& story) const {
    std::vector<Support> supports;
    const Position before = read_by(commit, story);
    for (const Cite& cite : commit.record.writes[line].cites) {
        const EntryId id = cited_entry(commit, cite);
        if (id.number == 0) continue;
        const Position seen_at = cite.line != 0 ? commit.position : before;
        const Support support{SupportKind::cited, version_at(id, seen_at), seen_at};
        if (std::find(supports.begin(), supports.end(), support) == supports.end()) supports.push_back(support);
    }
    if (!supports.empty()) return supports;
    for (const EntryVersion& bound : story.bound) supports.push_back({SupportKind::bound, bound, before});
    return supports;
}

Result<Derivation> Provenance::derivation(const EntryId& id, Position at) const {
    const RegionState* region = entries_.region(id.region);
    const Error missing{ErrorCode::not_found, "there is no entry " + to_text(id)};
    if (region == nullptr) return missing;
    const Result<std::optional<EntryState>> state = entries_.at(region->number, id.number, at);
    if (!state.ok()) return state.error();
    if (!state->has_value()) return missing;
    Derivation derivation;
    Result<EntryPtr> entry = entries_.load(region->number, **state);
    if (!entry.ok()) return entry.error();
    derivation.entry = std::move(*entry);
    const Result<std::shared_ptr<const LoggedRecord>> commit = entries_.record((*state)->position);
    if (!commit.ok()) return commit.error();
    Result<ActivationStory> story = story_of(**commit);
    if (!story.ok()) return story.error();
    derivation.story = std::move(*story);
    if (const std::optional<std::size_t> line = line_of(**commit, id)) {
        derivation.supports = supports_of(**commit, *line, derivation.story);
    }
    return derivation;
}

Result<std::shared_ptr<const LoggedRecord>> Provenance::commit_of(ActivationId id) const {
    std::shared_ptr<const LoggedRecord> commit;
    const Status walked = index_.find({{activation_term(id)}, {{RecordTermKind::record, "commit"}}}, {id.number}, last_,
                                      false, [&](const LoggedRecord& logged) {
                                          if (!logged.verdict.accepted) return true;
                                          commit = std::make_shared<const LoggedRecord>(logged);
                                          return false;
                                      });
    if (!walked.ok()) return walked.error();
    return commit;
}

Status Provenance::for_each_derived(const EntryId& id, Position since,
                                    const std::function<bool(const Derived&)>& visit) const {
    Status bad = Done{};
    // A commit that both cites the entry and was woken by it is found twice.
    std::set<std::pair<Position, std::size_t>> told;
    bool stopped = false;
    const auto tell = [&](const LoggedRecord& commit, std::size_t line, SupportKind kind, Position read) {
        const EntryId entry = written_entry(commit, line);
        if (entry.number == 0 || !told.emplace(commit.position, line).second) return;
        if (stopped) return;
        const WriteOutcome& outcome = commit.verdict.outcomes[line];
        stopped = !visit(
            {{entry, outcome.version}, commit.position, commit.record.author, activation_of(commit), kind, read});
    };
    const auto tell_bound = [&](const LoggedRecord& commit, Position read) {
        for (std::size_t line = 0; line < commit.record.writes.size(); ++line) {
            if (commit.record.writes[line].cites.empty()) tell(commit, line, SupportKind::bound, read);
        }
    };
    const IndexQuery query = {{entry_term(RecordTermKind::cite, id), entry_term(RecordTermKind::bound, id)}};
    // What stood at `since` was read by nobody before.
    const Status walked = index_.find(query, since, last_, false, [&](const LoggedRecord& logged) {
        if (!logged.verdict.accepted) return true;
        if (logged.record.kind == RecordKind::claimed) {
            if (logged.record.snapshot < since) return true;
            const Result<std::shared_ptr<const LoggedRecord>> commit = commit_of(activation_of(logged));
            if (!commit.ok()) return bad = commit.error(), false;
            if (!*commit || (*commit)->position > last_) return true;
            const Result<ActivationStory> story = story_of(**commit);
            if (!story.ok()) return bad = story.error(), false;
            const auto is_it = [&](const EntryVersion& bound) { return bound.id == id; };
            const bool is_bound = std::any_of(story->bound.begin(), story->bound.end(), is_it);
            if (const Position read = read_by(**commit, *story); is_bound && read >= since) tell_bound(**commit, read);
            return !stopped;
        }
        Position read = logged.position;
        if (since) {
            const Result<ActivationStory> story = story_of(logged);
            if (!story.ok()) return bad = story.error(), false;
            read = read_by(logged, *story);
        }
        for (std::size_t line = 0; line < logged.record.writes.size(); ++line) {
            for (const Cite& cite : logged.record.writes[line].cites) {
                const Position seen_at = cite.line != 0 ? logged.position : read;
                if (seen_at >= since && cited_entry(logged, cite) == id)
                    tell(logged, line, SupportKind::cited, seen_at);
            }
        }
        if (is_rule_commit(logged.record) && read >= since) {
            std::vector<EntryVersion> bound;
            add_bound(bound, logged.record, logged.verdict.stale_members);
            const auto is_it = [&](const EntryVersion& one) { return one.id == id; };
            if (std::any_of(bound.begin(), bound.end(), is_it)) tell_bound(logged, read);
        }
        return !stopped;
    });
    if (!walked.ok()) return walked;
    return bad;
}

Status Provenance::for_each_woken(const EntryId& id, const std::function<bool(const Woken&)>& visit) const {
    Status bad = Done{};
    std::set<ActivationId> told;
    const Status walked =
        index_.find({{entry_term(RecordTermKind::bound, id)}}, {1}, last_, false, [&](const LoggedRecord& logged) {
            const ActivationId activation = activation_of(logged);
            if (!logged.verdict.accepted || !told.insert(activation).second) return true;
            Woken woken{activation, logged.record.author, {}};
            if (is_rule_commit(logged.record)) {
                woken.committed = logged.position;
            } else {
                const Result<std::shared_ptr<const LoggedRecord>> commit = commit_of(activation);
                if (!commit.ok()) return bad = commit.error(), false;
                if (*commit && !(*commit)->record.writes.empty()) woken.committed = (*commit)->position;
            }
            return visit(woken);
        });
    if (!walked.ok()) return walked;
    return bad;
}

Status Provenance::for_each_hit(const TextQuery& query, Position from,
                                const std::function<bool(const TextHit&)>& visit) const {
    // Only commits have words; saying so would make the index look at every one of them.
    Status bad = Done{};
    const Status walked = index_.find(terms_of(query), from, last_, false, [&](const LoggedRecord& logged) {
        std::optional<ActivationStory> story;
        for (std::size_t line = 0; line < logged.record.writes.size(); ++line) {
            const Write& write = logged.record.writes[line];
            TextHit hit;
            hit.content = content_of(write);
            if (!query.is_in_value(hit.content, &hit.path)) {
                if (!query.is_in(write.why)) continue;
                hit.path = "why";
            }
            if (!story) {
                Result<ActivationStory> known = story_of(logged);
                if (!known.ok()) return bad = known.error(), false;
                story = std::move(*known);
            }
            hit.position = logged.position;
            hit.time = logged.record.time;
            hit.author = logged.record.author;
            hit.activation = story->id;
            hit.line = line;
            hit.refused = !logged.verdict.accepted;
            hit.entry.id = written_entry(logged, line);
            if (hit.entry.id.number != 0) hit.entry.version = logged.verdict.outcomes[line].version;
            hit.why = write.why;
            if (!hit.refused) hit.supports = supports_of(logged, line, *story);
            if (!visit(hit)) return false;
        }
        return true;
    });
    if (!walked.ok()) return walked;
    return bad;
}

Result<Position> Provenance::position_at(TimeMs time) const {
    std::uint64_t low = 1;
    std::uint64_t high = last_.number + 1;
    while (low < high) {
        const std::uint64_t middle = low + (high - low) / 2;
        const Result<std::shared_ptr<const LoggedRecord>> logged = entries_.record({middle});
        if (!logged.ok()) return logged.error();
        if ((*logged)->record.time < time) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return Position{low};
}

}  // namespace stele

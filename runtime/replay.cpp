#include "runtime/replay.hpp"

#include <algorithm>
#include <optional>
#include <set>

#include "board/log/buffered_store.hpp"
#include "board/log/memory_store.hpp"
#include "board/log/write_log.hpp"
#include "knowledge_sources/rule_source.hpp"
#include "runtime/activation_request.hpp"
#include "scheduler/fold.hpp"

namespace stele {
namespace {

std::string describe(const Record& record) {
    std::string text = to_text(record.kind);
    if (!record.author.empty()) text += " of " + record.author;
    if (record.activation) text += " #" + std::to_string(record.activation.number);
    if (record.attempt > 0) text += " attempt " + std::to_string(record.attempt);
    if (!record.members.empty()) text += " on match " + to_hex(record.members.front().key);
    if (!record.word.empty()) text += " (" + record.word + ")";
    return text;
}

bool is_caused(const Record& record) { return static_cast<bool>(record.decided_at); }

bool same_writes(const std::vector<Write>& decided, const std::vector<Write>& logged) {
    return std::equal(decided.begin(), decided.end(), logged.begin(), logged.end(), [](const Write& a, const Write& b) {
        return a.op == b.op && a.region == b.region && a.number == b.number &&
               a.expected_version == b.expected_version && a.text == b.text && a.cites == b.cites && a.why == b.why;
    });
}

// A sentence may be worded anew in a later version; what was refused, and by which rule, may not.
bool same_refusals(const std::vector<Refusal>& logged, const std::vector<Refusal>& again) {
    return std::equal(logged.begin(), logged.end(), again.begin(), again.end(),
                      [](const Refusal& a, const Refusal& b) { return a.line == b.line && a.rule == b.rule; });
}

// What two records must share when one is the decision and the other what the log has of it. Rules
// are pure, so their writes are worked out again as well.
bool same_decision(const Record& decided, const Record& logged) {
    if (decided.kind != logged.kind || decided.author != logged.author || decided.activation != logged.activation ||
        decided.attempt != logged.attempt || decided.members != logged.members || decided.snapshot != logged.snapshot ||
        decided.rating != logged.rating || decided.rating_terms != logged.rating_terms || decided.word != logged.word ||
        decided.decided_at != logged.decided_at) {
        return false;
    }
    if (decided.kind == RecordKind::commit) return same_writes(decided.writes, logged.writes);
    return decided.reason == logged.reason && decided.duration_ms == logged.duration_ms;
}

std::optional<std::string> compare_verdicts(const Verdict& logged, const Verdict& again) {
    if (logged.accepted != again.accepted) {
        const Verdict& refused = logged.accepted ? again : logged;
        const std::string why = refused.refusals.empty() ? std::string() : ": " + refused.refusals.front().message;
        return std::string("the log has it ") + (logged.accepted ? "accepted" : "refused") + ", the replay " +
               (again.accepted ? "accepts" : "refuses") + " it" + why;
    }
    if (logged.state_hash != again.state_hash) {
        return "the state hash is " + to_hex(logged.state_hash) + " in the log and " + to_hex(again.state_hash) +
               " in the replay";
    }
    if (logged.outcomes != again.outcomes) return "the writes come to other entries or versions";
    if (logged.stale_members != again.stale_members) return "other members are stale";
    if (!same_refusals(logged.refusals, again.refusals)) return "it is refused for other reasons";
    return std::nullopt;
}

// The log's word on whether a record was accepted, and what the regions make of it then.
Result<Judgement> trust(Fold& fold, const Record& record, const Verdict& logged) {
    if (record.kind == RecordKind::run_started || record.kind == RecordKind::reconfigured) {
        // Takes the crew's regions into force.
        Result<Judgement> judged = fold.judge(record);
        if (!judged.ok()) return judged;
    }
    Judgement judgement;
    judgement.verdict = logged;
    judgement.verdict.state_hash = fold.board().state_hash();
    if (record.kind != RecordKind::commit || !logged.accepted) return judgement;
    Authority authority;
    authority.author = record.author;
    authority.snapshot = record.snapshot ? record.snapshot : fold.board().meta().version;
    authority.acts_as_owner = true;
    authority.may_write = [](std::string_view, WriteOp) { return true; };
    authority.has_seen = [](const EntryId&) { return true; };
    Result<Decision> decision = fold.board().decide(record, authority);
    if (!decision.ok()) return decision.error();
    judgement.verdict.accepted = decision->accepted();
    if (!decision->accepted()) {
        judgement.verdict.refusals = decision->refusals;
        return judgement;
    }
    judgement.verdict.outcomes = decision->outcomes;
    judgement.verdict.state_hash = fold.board().state_hash_after(*decision);
    judgement.decision = std::move(*decision);
    return judgement;
}

void note_hidden(const Record& record, const Verdict& verdict, std::set<EntryId>& hidden) {
    if (record.kind != RecordKind::commit || !verdict.accepted) return;
    for (std::size_t line = 0; line < record.writes.size() && line < verdict.outcomes.size(); ++line) {
        const Write& write = record.writes[line];
        const EntryId id{resolve_region(write.region, record.author), verdict.outcomes[line].number};
        if (write.purged && verdict.outcomes[line].effect != WriteOutcome::Effect::removed) {
            hidden.insert(id);
        } else if (verdict.outcomes[line].effect == WriteOutcome::Effect::removed) {
            hidden.erase(id);
        }
    }
}

}  // namespace

Result<ReplayReport> verify_replay(StateStore& store, const BoardInfo& info, Position until,
                                   const CrewReader& read_crew, StateStore* rebuilt, Position checkpoint) {
    const std::unique_ptr<StateStore> memory = rebuilt == nullptr ? make_memory_store() : nullptr;
    StateStore& again_store = rebuilt == nullptr ? *memory : *rebuilt;
    Result<std::unique_ptr<Board>> board = Board::open(again_store, info.number, info.family);
    if (!board.ok()) return board.error();
    const std::unique_ptr<WriteLog> copy = make_store_log(again_store, info.number);
    Fold fold(**board, read_crew);
    if (rebuilt != nullptr) {
        const Status indexed = fold.keep_index(info.family);
        if (!indexed.ok()) return indexed.error();
    }
    EntryStore original(store, info.number, info.family);
    const std::unique_ptr<WriteLog> log = make_store_log(store, info.number);

    ReplayReport report;
    ChainLink previous{};
    std::optional<Record> decided;  // what the core said must come next
    std::set<EntryId> hidden;       // active entries whose content was purged: the state hash is not known with them
    Status bad = Done{};
    const auto differs = [&](Position at, std::string how) {
        report.differs_at = at;
        report.difference = "record " + std::to_string(at.number) + ": " + std::move(how);
        return false;
    };
    const Status walked = log->read({1}, [&](Position position, std::string_view bytes) {
        if (position > until) return false;
        const Result<ChainLink> link = link_of_frame(position, bytes, previous);
        if (!link.ok()) return bad = link.error(), false;
        Result<LoggedRecord> decoded = decode_frame(position, bytes, DecodeDepth::verified, original.blob_loader());
        if (!decoded.ok()) return bad = decoded.error(), false;
        if (*link != decoded->link) return differs(position, "it breaks the chain of hashes");
        previous = *link;
        const Record& record = decoded->record;

        if (decoded->purged) ++report.purged;
        if (report.purged > 0 && is_caused(record)) {
            ++report.taken_at_its_word;
            decided.reset();
        }
        // What comes from outside may displace a decision (and so does the fence of a new owner); then
        // the core decides again. What it did decide must stand in the log as it would be now.
        if (is_caused(record) && report.purged == 0) {
            if (!decided) {
                return differs(position, "the log has " + describe(record) + ", the replay decides nothing here");
            }
            if (!same_decision(*decided, record)) {
                return differs(position,
                               "the log has " + describe(record) + ", the replay decides " + describe(*decided));
            }
            ++report.decisions;
        }
        decided.reset();

        Record again = record;
        for (std::size_t line = 0; line < again.writes.size(); ++line) {
            Write& write = again.writes[line];
            if (write.purged && line < decoded->verdict.outcomes.size()) {
                const WriteOutcome& outcome = decoded->verdict.outcomes[line];
                write.number = outcome.number;
                if (write.op == WriteOp::add || write.op == WriteOp::remove) {
                    write.expected_version = outcome.effect == WriteOutcome::Effect::none ? 0 : outcome.version;
                }
            }
            if (write.text.empty()) continue;
            Result<Value> content = parse_json(write.text);
            if (!content.ok()) return bad = content.error(), false;
            write.content = std::move(*content);
        }
        Result<Judgement> judgement = report.purged == 0 ? fold.judge(again) : trust(fold, again, decoded->verdict);
        if (!judgement.ok()) return bad = judgement.error(), false;
        if (report.purged > 0) {
            note_hidden(again, judgement->verdict, hidden);
            if (!hidden.empty()) judgement->verdict.state_hash = decoded->verdict.state_hash;
        }
        if (const std::optional<std::string> difference = compare_verdicts(decoded->verdict, judgement->verdict)) {
            return differs(position, describe(record) + ": " + *difference);
        }
        auto logged = std::make_shared<LoggedRecord>(std::move(*decoded));
        logged->record = std::move(again);
        ++report.records;
        if (logged->record.kind == RecordKind::commit && logged->verdict.accepted) ++report.commits;
        StoreBatch batch;
        Result<Folded> folded = fold.apply(std::move(logged), *judgement, batch);
        if (!folded.ok()) return bad = folded.error(), false;
        // Encoded anew, so that large payloads stand in the copy as well.
        EncodedFrame frame = encode_frame(folded->logged->record, folded->logged->verdict, position, ChainLink{},
                                          Salt{}, (*board)->entries().blob_storer(batch));
        const LogFrame frames[] = {{position, std::move(frame.bytes)}};
        Status done = copy->append(frames, std::move(batch));
        if (done.ok()) done = fold.step(*folded);
        if (done.ok() && rebuilt != nullptr && position == checkpoint && report.purged == 0) {
            StoreBatch kept;
            (*board)->entries().put_checkpoint({position, previous, fold.save()}, kept);
            done = again_store.apply(kept);
        }
        if (!done.ok()) return bad = done, false;
        if (folded->effects.append) decided = std::move(folded->effects.append);
        if (folded->effects.fire) {
            RuleFiring& fire = *folded->effects.fire;
            Result<std::vector<Write>> writes =
                apply_rule(fold.scheduler().crew()->sources[fire.source], bindings_of(fire.members));
            if (writes.ok()) fire.commit.writes = std::move(*writes);
            decided = std::move(fire.commit);
        }
        return true;
    });
    if (!walked.ok()) return walked.error();
    if (!bad.ok()) return bad.error();
    report.state_hash = (*board)->state_hash();
    return report;
}

}  // namespace stele

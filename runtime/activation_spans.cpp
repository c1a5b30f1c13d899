#include "runtime/activation_spans.hpp"

#include <algorithm>
#include <utility>

#include "board/record_terms.hpp"
#include "scheduler/outcome.hpp"

namespace stele {
namespace {

void add_bound(std::vector<EntryVersion>& bound, const std::vector<MatchRecord>& members) {
    for (const MatchRecord& member : members) {
        for (const BoundEntry& entry : member.bound) bound.push_back({entry.id, entry.version});
    }
}

void add_written(AttemptSpan& span, const LoggedRecord& logged) {
    for (std::size_t line = 0; line < logged.record.writes.size(); ++line) {
        const EntryId id = written_entry(logged, line);
        if (id.number == 0) continue;
        const WriteOutcome& outcome = logged.verdict.outcomes[line];
        span.wrote.emplace_back(EntryVersion{id, outcome.version}, outcome.effect);
    }
}

std::string first_refusal(const Verdict& verdict) {
    return verdict.refusals.empty() ? std::string() : verdict.refusals.front().message;
}

}  // namespace

std::optional<AttemptSpan> ActivationSpans::add(const LoggedRecord& logged) {
    const Record& record = logged.record;
    now_ = std::max(now_, record.time);
    last_ = logged.position;
    if (is_rule_commit(record)) {
        AttemptSpan span;
        span.activation = {logged.position.number};
        span.source = record.author;
        span.start = span.end = record.time;
        span.claimed = span.ended = logged.position;
        span.snapshot = record.snapshot;
        span.outcome = logged.verdict.accepted ? "ok" : "refused";
        span.error = first_refusal(logged.verdict);
        add_bound(span.bound, record.members);
        if (logged.verdict.accepted) add_written(span, logged);
        return span;
    }
    if (record.kind == RecordKind::claimed) {
        if (!logged.verdict.accepted) return std::nullopt;
        AttemptSpan span;
        span.activation = activation_of(logged);
        span.attempt = record.attempt;
        span.source = record.author;
        span.start = span.end = record.time;
        span.claimed = logged.position;
        span.snapshot = record.snapshot;
        add_bound(span.bound, record.members);
        live_[span.activation] = std::move(span);
        return std::nullopt;
    }
    const auto found = live_.find(record.activation);
    if (!record.activation || found == live_.end() || found->second.attempt != record.attempt) return std::nullopt;
    AttemptSpan& span = found->second;
    const auto end = [&](std::string outcome, std::string error) {
        span.end = record.time;
        span.ended = logged.position;
        span.outcome = std::move(outcome);
        span.error = std::move(error);
        std::optional<AttemptSpan> ended = std::move(span);
        live_.erase(found);
        return ended;
    };
    switch (record.kind) {
        case RecordKind::called: {
            if (!logged.verdict.accepted) return std::nullopt;
            CallSpan call;
            call.call = record.call;
            call.target = record.target;
            call.name = record.word;
            call.start = call.end = record.time;
            call.position = logged.position;
            call.reused = static_cast<bool>(record.answered_by);
            if (call.reused) call.outcome = "ok";
            span.calls.push_back(std::move(call));
            return std::nullopt;
        }
        case RecordKind::returned:
            for (CallSpan& call : span.calls) {
                if (call.call != record.call) continue;
                call.end = record.time;
                call.usage = record.cost;
                call.spent = record.amounts;
                call.outcome = to_text(static_cast<OutcomeKind>(record.outcome));
            }
            return std::nullopt;
        case RecordKind::result:
            // One that is ok ends with its commit.
            if (static_cast<OutcomeKind>(record.outcome) == OutcomeKind::ok) return std::nullopt;
            return end(to_text(static_cast<OutcomeKind>(record.outcome)), record.reason);
        case RecordKind::abandoned:
            return end(record.word.empty() ? "abandoned" : record.word, record.reason);
        case RecordKind::dead:
            return end("dead", record.reason);
        case RecordKind::commit:
            if (logged.verdict.accepted) add_written(span, logged);
            return end(logged.verdict.accepted ? "ok" : "refused",
                       logged.verdict.accepted ? std::string() : first_refusal(logged.verdict));
        default:
            return std::nullopt;
    }
}

std::vector<AttemptSpan> ActivationSpans::open() const {
    std::vector<AttemptSpan> open;
    for (const auto& [id, live] : live_) {
        open.push_back(live);
        open.back().end = now_;
        open.back().ended = last_;
        open.back().outcome = "open";
    }
    return open;
}

}  // namespace stele

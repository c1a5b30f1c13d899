#include "board/record_terms.hpp"

#include <algorithm>

#include "board/board.hpp"
#include "board/text_tokens.hpp"
#include "board/utf8.hpp"

namespace stele {
namespace {

void visit_text(std::string_view text, const VisitTerm& visit) {
    for_each_token(text, [&](TokenKind kind, std::string_view token) {
        visit(kind == TokenKind::word ? RecordTermKind::word : RecordTermKind::number, token);
    });
}

void visit_regions_and_cites(const LoggedRecord& logged, const VisitTerm& visit) {
    const std::vector<Write>& writes = logged.record.writes;
    std::string region;
    for (const Write& write : writes) {
        std::string resolved = resolve_region(write.region, logged.record.author);
        if (resolved != region) visit(RecordTermKind::region, resolved);
        region = std::move(resolved);
        for (const Cite& cite : write.cites) {
            const EntryId id = cited_entry(logged, cite);
            if (id.number != 0) visit(RecordTermKind::cite, to_text(id));
        }
    }
}

void visit_texts(const LoggedRecord& logged, const VisitTerm& visit) {
    for (const Write& write : logged.record.writes) {
        // One that lives in memory still has its content as a value.
        if (write.content.is_null()) {
            for_each_text(content_of(write), [&](std::string_view text) { visit_text(text, visit); });
        } else {
            for_each_text(write.content, [&](std::string_view text) { visit_text(text, visit); });
        }
        visit_text(write.why, visit);
    }
}

bool has_outcome(RecordKind kind) {
    return kind == RecordKind::result || kind == RecordKind::abandoned || kind == RecordKind::returned;
}

bool has_word_for_outcome(RecordKind kind) {
    return kind == RecordKind::signal || kind == RecordKind::dead || kind == RecordKind::abandoned ||
           kind == RecordKind::run_stopped;
}

}  // namespace

RecordTerm outcome_term(OutcomeCode outcome) { return {RecordTermKind::outcome, std::to_string(outcome)}; }
RecordTerm activation_term(ActivationId id) { return {RecordTermKind::activation, std::to_string(id.number)}; }
RecordTerm entry_term(RecordTermKind kind, const EntryId& id) { return {kind, to_text(id)}; }

ActivationId activation_of(const LoggedRecord& logged) {
    const Record& record = logged.record;
    if (record.activation) return record.activation;
    const bool begins = is_rule_commit(record) || (record.kind == RecordKind::claimed && logged.verdict.accepted);
    return begins ? ActivationId{logged.position.number} : ActivationId{};
}

bool is_rule_commit(const Record& record) {
    return record.kind == RecordKind::commit && !record.activation && !record.members.empty();
}

Value content_of(const Write& write) {
    if (!write.content.is_null() || write.text.empty()) return write.content;
    Result<Value> parsed = parse_json(write.text);
    return parsed ? std::move(*parsed) : Value(valid_utf8(write.text));
}

EntryId written_entry(const LoggedRecord& logged, std::size_t line) {
    const Verdict& verdict = logged.verdict;
    if (!verdict.accepted || line >= verdict.outcomes.size() || line >= logged.record.writes.size()) return {};
    const WriteOutcome& outcome = verdict.outcomes[line];
    if (outcome.effect == WriteOutcome::Effect::none || outcome.number == 0) return {};
    return {resolve_region(logged.record.writes[line].region, logged.record.author), outcome.number};
}

EntryId cited_entry(const LoggedRecord& logged, const Cite& cite) {
    if (cite.line == 0) return cite.entry;
    const Verdict& verdict = logged.verdict;
    if (!verdict.accepted || cite.line > verdict.outcomes.size() || cite.line > logged.record.writes.size()) return {};
    // An add that changed nothing is cited as well: the entry is there.
    return {resolve_region(logged.record.writes[cite.line - 1].region, logged.record.author),
            verdict.outcomes[cite.line - 1].number};
}

void for_each_term_but_texts(const LoggedRecord& logged, const VisitTerm& visit) {
    const Record& record = logged.record;
    visit(RecordTermKind::record, to_text(record.kind));
    if (!record.author.empty()) visit(RecordTermKind::author, record.author);
    if (const ActivationId id = activation_of(logged)) visit(RecordTermKind::activation, std::to_string(id.number));
    if (!logged.verdict.accepted) visit(RecordTermKind::outcome, "refused");
    if (has_outcome(record.kind) && record.outcome != 0) visit(RecordTermKind::outcome, std::to_string(record.outcome));
    if (has_word_for_outcome(record.kind) && !record.word.empty()) visit(RecordTermKind::outcome, record.word);
    if (logged.verdict.accepted) {
        for (const MatchRecord& member : record.members) {
            for (const BoundEntry& bound : member.bound) visit(RecordTermKind::bound, to_text(bound.id));
        }
    }
    if (record.kind == RecordKind::commit) visit_regions_and_cites(logged, visit);
}

void for_each_term(const LoggedRecord& logged, const VisitTerm& visit) {
    for_each_term_but_texts(logged, visit);
    if (logged.record.kind == RecordKind::commit) visit_texts(logged, visit);
}

}  // namespace stele

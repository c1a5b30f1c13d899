#include "runtime/record_json.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "board/board.hpp"
#include "board/region_spec.hpp"
#include "runtime/terminal.hpp"
#include "scheduler/outcome.hpp"

namespace stele {

namespace {

class Fields {
public:
    void set(std::string_view name, Value value) { value_.set(name, std::move(value)); }
    void text(std::string_view name, const std::string& text) {
        if (!text.empty()) value_.set(name, valid_utf8(text));
    }
    /// Left out when zero, which means "none" for every number that goes this way.
    void number(std::string_view name, std::uint64_t number);
    void json(std::string_view name, const std::string& text);
    Value take() { return value_.is_null() ? Value::object({}) : std::move(value_); }

private:
    Value value_;
};

/// Programs that read doubles lose digits long before 64 bits; beyond int64 only text is exact.
Value number_value(std::uint64_t number) {
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::to_string(number);
    return static_cast<std::int64_t>(number);
}

void Fields::number(std::string_view name, std::uint64_t number) {
    if (number != 0) value_.set(name, number_value(number));
}

void Fields::json(std::string_view name, const std::string& text) {
    if (text.empty()) return;
    Result<Value> parsed = parse_json(text);
    value_.set(name, parsed ? std::move(*parsed) : Value(valid_utf8(text)));
}

Value id_value(const EntryId& id) { return valid_utf8(to_text(id)); }

const WriteOutcome* outcome_of(const LoggedRecord& logged, std::size_t line) {
    if (!logged.verdict.accepted || line >= logged.verdict.outcomes.size()) return nullptr;
    return &logged.verdict.outcomes[line];
}

/// A cite of an earlier line is that line's entry, once there is one.
Value cite_value(const LoggedRecord& logged, const Cite& cite) {
    if (cite.line == 0) return id_value(cite.entry);
    const WriteOutcome* outcome = outcome_of(logged, cite.line - 1);
    if (outcome == nullptr || outcome->number == 0 || cite.line > logged.record.writes.size()) {
        return "line:" + std::to_string(cite.line);
    }
    return id_value(
        {resolve_region(logged.record.writes[cite.line - 1].region, logged.record.author), outcome->number});
}

Value write_value(const LoggedRecord& logged, std::size_t line) {
    const Write& write = logged.record.writes[line];
    const std::string region = resolve_region(write.region, logged.record.author);
    Fields fields;
    fields.set("op", to_text(write.op));
    fields.text("region", region);
    const WriteOutcome* outcome = outcome_of(logged, line);
    const std::uint64_t number = outcome != nullptr && outcome->number != 0 ? outcome->number : write.number;
    if (number != 0) fields.set("id", id_value({region, number}));
    if (outcome != nullptr) {
        fields.number("version", outcome->version);
        fields.set("effect", to_text(outcome->effect));
        if (outcome->merged) fields.set("merged", true);
    }
    fields.number("expected_version", write.expected_version);
    Value content = content_of(write);
    if (!content.is_null()) fields.set("entry", std::move(content));
    if (write.purged) fields.set("purged", true);
    if (!write.cites.empty()) {
        Value::Array cites;
        for (const Cite& cite : write.cites) cites.push_back(cite_value(logged, cite));
        fields.set("cites", std::move(cites));
    }
    fields.text("why", write.why);
    return fields.take();
}

Value member_value(const MatchRecord& member) {
    Fields fields;
    fields.set("key", to_hex(member.key));
    Value::Array bound;
    for (const BoundEntry& entry : member.bound) {
        bound.push_back(Value::object({{"id", id_value(entry.id)}, {"version", number_value(entry.version)}}));
    }
    fields.set("bound", std::move(bound));
    if (!member.episodes.empty()) {
        Value::Array episodes;
        for (const Position episode : member.episodes) episodes.push_back(number_value(episode.number));
        fields.set("episodes", std::move(episodes));
    }
    return fields.take();
}

Value refusal_value(const Refusal& refusal) {
    Fields fields;
    fields.set("line", number_value(refusal.line));
    fields.set("rule", to_text(refusal.rule));
    fields.set("message", valid_utf8(refusal.message));
    if (!refusal.current.is_null()) fields.set("current", refusal.current);
    return fields.take();
}

void set_process(const Record& record, Fields& fields) {
    if (record.process_group != 0) fields.set("process_group", record.process_group);
    fields.number("process_start", record.process_start);
    fields.text("boot_id", record.boot_id);
}

void set_result(const Record& record, Fields& fields) {
    if (record.outcome != 0) fields.set("outcome", to_text(static_cast<OutcomeKind>(record.outcome)));
    fields.set("exit_code", static_cast<std::int64_t>(record.exit_code));
    fields.set("duration_ms", record.duration_ms);
    if (!record.notes.empty()) {
        Value::Array notes;
        for (const std::string& note : record.notes) notes.push_back(valid_utf8(note));
        fields.set("notes", std::move(notes));
    }
    fields.json("cost", record.cost);
    const bool raw_digest = record.seen_digest.size() == sizeof(Digest256);
    fields.text("seen_digest", raw_digest ? to_hex(record.seen_digest) : record.seen_digest);
    // Absent when only the header was read: then the sizes are not known.
    if (!record.parts.empty()) fields.set("output_bytes", number_value(record.parts[0].size()));
    if (record.parts.size() > 1) {
        fields.set("error_output_bytes", number_value(record.parts[1].size()));
        fields.text("error_output_last_line", std::string(last_line_of(record.parts[1])));
    }
}

Value amounts_value(const Amounts& amounts) {
    return Value::object({{"calls", number_value(amounts.calls)},
                          {"tokens", number_value(amounts.tokens)},
                          {"money_micros", amounts.money_micros},
                          {"wall_ms", amounts.wall_ms}});
}

void set_called(const Record& record, Fields& fields) {
    fields.number("call", record.call);
    fields.set("target", to_text(record.target));
    if (record.call_key != Hash128{}) fields.set("call_key", to_hex(record.call_key));
    fields.set("reserved", amounts_value(record.amounts));
    fields.number("answered_by", record.answered_by.number);
    if (!record.seen.empty()) {
        Value::Array seen;
        for (const EntryId& id : record.seen) seen.push_back(id_value(id));
        fields.set("seen", std::move(seen));
    }
    if (!record.parts.empty()) {
        Value::Array sent;
        for (const std::string& part : record.parts) sent.push_back(valid_utf8(part));
        fields.set("sent", std::move(sent));
    }
}

void set_returned(const Record& record, Fields& fields) {
    fields.number("call", record.call);
    fields.set("outcome", to_text(static_cast<OutcomeKind>(record.outcome)));
    fields.set("duration_ms", record.duration_ms);
    fields.set("spent", amounts_value(record.amounts));
    if (record.estimated) fields.set("estimated", true);
    fields.json("usage", record.cost);
    if (!record.parts.empty()) fields.set("answer", valid_utf8(record.parts[0]));
}

void set_read(const Record& record, Fields& fields) {
    fields.number("snapshot", record.snapshot.number);
    if (record.members.empty()) return;
    if (std::isfinite(record.rating)) fields.set("rating", Value::number(record.rating));
    fields.json("rating_terms", record.rating_terms);
}

void set_body(const LoggedRecord& logged, Fields& fields) {
    const Record& record = logged.record;
    switch (record.kind) {
        case RecordKind::run_started:
        case RecordKind::reconfigured:
            fields.text("base_directory", record.base_directory);
            fields.json("inputs", record.inputs);
            if (!record.parts.empty()) fields.text("crew", record.parts[0]);
            return;
        case RecordKind::fence:
        case RecordKind::started:
            return set_process(record, fields);
        case RecordKind::claimed:
            set_read(record, fields);
            fields.set("timeout_ms", record.duration_ms);
            return;
        case RecordKind::result:
        case RecordKind::abandoned:
            return set_result(record, fields);
        case RecordKind::commit: {
            set_read(record, fields);
            Value::Array writes;
            for (std::size_t i = 0; i < record.writes.size(); ++i) writes.push_back(write_value(logged, i));
            fields.set("writes", std::move(writes));
            return;
        }
        case RecordKind::called:
            return set_called(record, fields);
        case RecordKind::returned:
            return set_returned(record, fields);
        case RecordKind::purged: {
            Value::Array entries;
            for (const EntryId& id : record.seen) entries.push_back(id_value(id));
            fields.set("entries", Value(std::move(entries)));
            Value::Array positions;
            for (const Position position : record.positions) positions.push_back(number_value(position.number));
            fields.set("positions", Value(std::move(positions)));
            return;
        }
        case RecordKind::dead:
        case RecordKind::timer:
        case RecordKind::signal:
        case RecordKind::forked:
        case RecordKind::run_stopped:
            return;
    }
}

}  // namespace

Value to_value(const LoggedRecord& logged) {
    const Record& record = logged.record;
    const Verdict& verdict = logged.verdict;
    Fields fields;
    fields.set("position", number_value(logged.position.number));
    fields.set("kind", to_text(record.kind));
    fields.number("epoch", record.epoch.number);
    fields.set("time", record.time.ms);
    fields.number("decided_at", record.decided_at.number);
    fields.text("author", record.author);
    fields.text("configuration", record.configuration);
    fields.number("activation", activation_of(logged).number);
    fields.number("attempt", record.attempt);
    fields.text("reason", record.reason);
    fields.text("word", record.word);
    fields.text("idempotency_key", record.idempotency_key);
    fields.text("trace", record.trace);
    set_body(logged, fields);
    if (!record.members.empty()) {
        Value::Array members;
        for (const MatchRecord& member : record.members) members.push_back(member_value(member));
        fields.set("members", std::move(members));
    }
    if (logged.purged) fields.set("purged", true);
    fields.set("accepted", verdict.accepted);
    if (!verdict.refusals.empty()) {
        Value::Array refusals;
        for (const Refusal& refusal : verdict.refusals) refusals.push_back(refusal_value(refusal));
        fields.set(verdict.accepted ? "remarks" : "refusals", std::move(refusals));
    }
    if (!verdict.stale_members.empty()) {
        Value::Array stale;
        for (const std::uint32_t member : verdict.stale_members) stale.push_back(number_value(member));
        fields.set("stale_members", std::move(stale));
    }
    if (verdict.state_hash != Hash128{}) fields.set("state_hash", to_hex(verdict.state_hash));
    if (logged.link != Digest256{}) {
        const std::string link(logged.link.begin(), logged.link.end());
        fields.set("link", to_hex(link));
    }
    return fields.take();
}

Value to_value(const Entry& entry) {
    Fields fields;
    fields.set("id", id_value(entry.id));
    fields.set("version", number_value(entry.version));
    fields.set("position", number_value(entry.position.number));
    fields.set("time", entry.time.ms);
    fields.text("author", entry.author);
    if (entry.authors.size() > 1) {
        Value::Array authors;
        for (const std::string& author : entry.authors) authors.push_back(valid_utf8(author));
        fields.set("authors", std::move(authors));
    }
    fields.number("activation", entry.activation.number);
    fields.text("reason", entry.reason);
    if (!entry.cites.empty()) {
        Value::Array cites;
        for (const EntryId& cite : entry.cites) cites.push_back(id_value(cite));
        fields.set("cites", std::move(cites));
    }
    if (!entry.active) fields.set("active", false);
    fields.set("entry", entry.content);
    if (entry.content.is_null()) fields.set("purged", true);
    return fields.take();
}

const char* to_text(WriteOutcome::Effect effect) {
    switch (effect) {
        case WriteOutcome::Effect::none:
            return "none";
        case WriteOutcome::Effect::added:
            return "added";
        case WriteOutcome::Effect::updated:
            return "updated";
        case WriteOutcome::Effect::removed:
            return "removed";
    }
    return "unknown";
}

std::string to_json_line(const Value& value) { return escaped_json(to_json(value)); }

}  // namespace stele

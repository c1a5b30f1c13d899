#include "runtime/record_text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string_view>
#include <utility>

#include "board/board.hpp"
#include "runtime/record_json.hpp"
#include "scheduler/outcome.hpp"

namespace stele {

namespace {

// Without a terminal's width to go by; `long_text` has everything.
constexpr std::size_t line_columns_max = 4'000;
constexpr std::size_t wide_enough_to_align = 80;
constexpr std::size_t bound_shown_max = 4;
constexpr std::size_t ranges_shown_max = 3;
constexpr std::size_t entry_tail_columns_min = 24;
constexpr std::size_t detail_indent = 4;

// In place of a content that the log has no more.
constexpr std::string_view purged_text = "(purged)";

std::string number_text(std::uint64_t number) { return std::to_string(number); }

std::string quoted(const std::string& text) { return "\"" + text + "\""; }

std::string time_column(TimeMs time, const TextOptions& options) {
    switch (options.times) {
        case TextOptions::Times::local:
            return local_time_text(time);
        case TextOptions::Times::utc:
            return utc_time_text(time);
        case TextOptions::Times::relative:
            break;
    }
    // Unsigned, because a damaged record may hold any time.
    const auto since = static_cast<std::uint64_t>(time.ms) - static_cast<std::uint64_t>(options.start.ms);
    const std::string text = since_text(static_cast<std::int64_t>(since));
    constexpr std::size_t usual_columns = 9;
    return text.size() < usual_columns ? std::string(usual_columns - text.size(), ' ') + text : text;
}

Style style_of(const LoggedRecord& logged) {
    if (!logged.verdict.accepted) return Style::red;
    switch (logged.record.kind) {
        case RecordKind::commit:
            return Style::green;
        case RecordKind::dead:
            return Style::red;
        case RecordKind::abandoned:
            return Style::yellow;
        case RecordKind::result:
            return logged.record.outcome == static_cast<OutcomeCode>(OutcomeKind::ok) ? Style::plain : Style::yellow;
        case RecordKind::run_started:
        case RecordKind::reconfigured:
        case RecordKind::forked:
        case RecordKind::purged:
        case RecordKind::run_stopped:
            return Style::bold;
        case RecordKind::signal:
            return Style::cyan;
        case RecordKind::returned:
            return logged.record.outcome == static_cast<OutcomeCode>(OutcomeKind::ok) ? Style::plain : Style::yellow;
        case RecordKind::called:
        case RecordKind::fence:
        case RecordKind::claimed:
        case RecordKind::started:
        case RecordKind::timer:
            return Style::dim;
    }
    return Style::plain;
}

// ---- what a commit wrote ----

struct Touched {
    std::vector<std::uint64_t> added;
    std::vector<std::uint64_t> updated;
    std::vector<std::uint64_t> removed;
    std::uint64_t unchanged = 0;
};

/// "12..14", "3,9", "1..4,7,9,..."
std::string ranges_text(std::vector<std::uint64_t> numbers) {
    std::sort(numbers.begin(), numbers.end());
    numbers.erase(std::unique(numbers.begin(), numbers.end()), numbers.end());
    std::string text;
    std::size_t ranges = 0;
    for (std::size_t i = 0; i < numbers.size();) {
        std::size_t end = i;
        while (end + 1 < numbers.size() && numbers[end + 1] == numbers[end] + 1) ++end;
        if (ranges++ == ranges_shown_max) return text + ",...";
        text += (i == 0 ? "" : ",") + number_text(numbers[i]);
        if (end > i) text += (end == i + 1 ? "," : "..") + number_text(numbers[end]);
        i = end + 1;
    }
    return text;
}

void append_effect(char sign, const std::string& region, const std::vector<std::uint64_t>& numbers, std::string& out) {
    if (numbers.empty()) return;
    out += (out.empty() ? "" : ", ") + std::string(1, sign) + count_text(numbers.size()) + " " + region + "/" +
           ranges_text(numbers);
}

/// What a refused commit would have done.
std::string proposed_text(const Record& record) {
    if (record.writes.empty()) return "no writes";
    std::map<std::pair<std::string, std::string>, std::uint64_t> counts;
    for (const Write& write : record.writes) ++counts[{to_text(write.op), resolve_region(write.region, record.author)}];
    std::string text;
    std::size_t shown = 0;
    for (const auto& [what, count] : counts) {
        if (shown++ == ranges_shown_max) return text + ", ...";
        text += (text.empty() ? "" : ", ") + what.first + " " + count_text(count) + " into " + what.second;
    }
    return text;
}

// ---- what happened, by kind ----

void add_activation(Line& line, const LoggedRecord& logged) {
    const ActivationId activation = activation_of(logged);
    if (activation) line.add("#" + number_text(activation.number) + " ", Style::cyan);
}

void add_attempt(Line& line, const Record& record) { line.add("attempt " + number_text(record.attempt)); }

// The refusals come first: on a narrow line they are what must be seen.
void add_refused(Line& line, const LoggedRecord& logged) {
    const Record& record = logged.record;
    const bool is_commit = record.kind == RecordKind::commit;
    add_activation(line, logged);
    if (!is_commit) line.add(std::string(to_text(record.kind)) + ": ");
    bool first = true;
    for (const Refusal& refusal : logged.verdict.refusals) {
        line.add(first ? "" : "; ").add(refusal_text(refusal));
        first = false;
        if (line.is_cut()) return;
    }
    std::string rest = record.attempt > 0 ? "attempt " + number_text(record.attempt) : "";
    if (is_commit) rest += (rest.empty() ? "" : ", ") + proposed_text(record);
    if (!rest.empty()) line.add(" (" + rest + ")", Style::dim);
}

void add_commit(Line& line, const LoggedRecord& logged) {
    add_activation(line, logged);
    line.add(written_text(logged));
    if (!logged.verdict.refusals.empty()) {
        line.add("  " + counted(logged.verdict.refusals.size(), "phantom", "phantoms"), Style::yellow);
    }
    const std::size_t stale = logged.verdict.stale_members.size();
    if (stale > 0) line.add(", " + counted(stale, "stale match", "stale matches") + " left out", Style::yellow);
    if (const std::string why = why_of(logged.record); !why.empty()) line.add("  ").add(quoted(why));
}

void add_crew(Line& line, const Record& record) {
    line.add("crew");
    if (!record.parts.empty()) line.add(" of " + bytes_text(record.parts[0].size()));
    if (!record.base_directory.empty()) line.add(" from ").add(record.base_directory);
    if (!record.inputs.empty() && record.inputs != "{}") line.add(", inputs ").add(record.inputs);
}

void add_process(Line& line, const LoggedRecord& logged) {
    const Record& record = logged.record;
    if (record.kind == RecordKind::fence) {
        line.add("epoch " + number_text(logged.position.number) + " begins");
    } else {
        add_activation(line, logged);
        add_attempt(line, record);
    }
    if (record.process_group != 0) line.add(", process " + std::to_string(record.process_group));
}

void add_word(Line& line, const LoggedRecord& logged) {
    const Record& record = logged.record;
    add_activation(line, logged);
    line.add(record.word, Style::bold);
    if (!record.reason.empty()) line.add(record.word.empty() ? "" : ": ").add(record.reason);
}

void add_called(Line& line, const LoggedRecord& logged) {
    const Record& record = logged.record;
    add_activation(line, logged);
    line.add("call " + std::to_string(record.call) + " to " + to_text(record.target) + " ").add(record.word);
    if (record.answered_by) {
        line.add(", answered by record " + std::to_string(record.answered_by.number));
    } else if (record.amounts.tokens > 0) {
        line.add(", at most " + counted(record.amounts.tokens, "token", "tokens"));
    }
}

void add_returned(Line& line, const LoggedRecord& logged) {
    const Record& record = logged.record;
    add_activation(line, logged);
    line.add("call " + std::to_string(record.call) + " ").add(returned_text(record));
}

void add_what(Line& line, const LoggedRecord& logged) {
    const Record& record = logged.record;
    if (!logged.verdict.accepted) return add_refused(line, logged);
    switch (record.kind) {
        case RecordKind::run_started:
        case RecordKind::reconfigured:
            return add_crew(line, record);
        case RecordKind::fence:
        case RecordKind::started:
            return add_process(line, logged);
        case RecordKind::claimed: {
            add_activation(line, logged);
            add_attempt(line, record);
            const std::string bound = bound_text(record.members);
            if (!bound.empty()) line.add(" on ").add(bound);
            return;
        }
        case RecordKind::result:
            add_activation(line, logged);
            line.add(result_text(record));
            if (!record.cost.empty()) line.add(", cost ").add(record.cost);
            if (!record.notes.empty()) line.add(", " + counted(record.notes.size(), "note", "notes"));
            return;
        case RecordKind::commit:
            return add_commit(line, logged);
        case RecordKind::abandoned:
            add_activation(line, logged);
            add_attempt(line, record);
            line.add(": ").add(record.reason.empty() ? record.word : record.reason);
            return;
        case RecordKind::dead:
            add_activation(line, logged);
            line.add("after " + counted(record.attempt, "attempt", "attempts") + ": ").add(record.reason);
            return;
        case RecordKind::called:
            return add_called(line, logged);
        case RecordKind::returned:
            return add_returned(line, logged);
        case RecordKind::timer:
            line.add("a time that was waited for has come");
            return;
        case RecordKind::forked:
            line.add("off board ").add(record.word, Style::bold);
            line.add(": what stands above is shared with it");
            return;
        case RecordKind::purged:
            for (const EntryId& id : record.seen) line.add(to_text(id) + " ", Style::bold);
            line.add("payloads of " + counted(record.positions.size(), "record", "records") + " are gone");
            if (!record.reason.empty()) line.add(": ").add(record.reason);
            return;
        case RecordKind::signal:
        case RecordKind::run_stopped:
            return add_word(line, logged);
    }
}

std::string head_line(const LoggedRecord& logged, const TextOptions& options, std::size_t columns_max) {
    const Record& record = logged.record;
    const bool aligned = options.terminal.columns == 0 || options.terminal.columns >= wide_enough_to_align;
    const std::string position = number_text(logged.position.number);
    Line line(columns_max);
    if (aligned && position.size() < options.position_columns) {
        line.add(std::string(options.position_columns - position.size(), ' '));
    }
    line.add(position, Style::dim).add(aligned ? "  " : " ").add(time_column(record.time, options), Style::dim);
    line.add(aligned ? "  " : " ");
    const std::size_t kind_at = line.columns();
    line.add(logged.verdict.accepted ? to_text(record.kind) : "refused", style_of(logged));
    line.pad_to(aligned ? kind_at + 13 : 0);
    const std::size_t author_at = line.columns();
    if (!record.author.empty() || aligned) line.add(record.author, Style::bold).pad_to(aligned ? author_at + 13 : 0);
    add_what(line, logged);
    std::string text = line.text(options.terminal.color);
    while (text.ends_with(' ')) text.pop_back();
    return text;
}

// ---- everything there is ----

/// Indented lines under a record or an entry.
class Details {
public:
    explicit Details(const Terminal& terminal) : color_(terminal.color) {}

    void line(std::string_view label, std::string_view text, std::size_t indent = detail_indent) {
        Line line;
        line.add(std::string(indent, ' '));
        if (!label.empty()) line.add(label, Style::dim).add(text.empty() ? "" : " ");
        finish(line.add(text));
    }
    /// A text of the world's, line by line.
    void block(std::string_view label, std::string_view text, std::size_t indent = detail_indent) {
        const std::vector<std::string_view> lines = lines_of(text);
        if (lines.size() == 1) return line(label, lines[0], indent);
        if (!label.empty()) line(label, {}, indent);
        for (const std::string_view part : lines) line({}, part, indent + (label.empty() ? 0 : 2));
    }
    void json(std::string_view label, const Value& value, std::size_t indent = detail_indent) {
        const bool small = !value.is_object() && !value.is_array();
        block(label, escaped_json(small ? to_json(value) : to_pretty_json(value)), indent);
    }
    std::string take() { return std::move(out_); }

private:
    void finish(const Line& line) { out_ += "\n" + line.text(color_); }

    bool color_;
    std::string out_;
};

std::string effect_text(const LoggedRecord& logged, std::size_t i) {
    const Write& write = logged.record.writes[i];
    const std::string region = resolve_region(write.region, logged.record.author);
    std::string text = to_text(write.op);
    if (!logged.verdict.accepted || i >= logged.verdict.outcomes.size()) {
        text += " into " + region + (write.number != 0 ? "/" + number_text(write.number) : "");
        if (write.expected_version != 0) text += ", expecting version " + number_text(write.expected_version);
        return text;
    }
    const WriteOutcome& outcome = logged.verdict.outcomes[i];
    static constexpr std::array<const char*, 4> effects = {"changed nothing", "added", "updated", "removed"};
    text += " " + region + "/" + number_text(outcome.number) + " v" + number_text(outcome.version);
    const auto effect = static_cast<std::size_t>(outcome.effect);
    text += std::string(", ") + (effect < effects.size() ? effects[effect] : "unknown effect");
    return text + (outcome.merged ? ", merged" : "");
}

std::string cites_text(const Write& write) {
    std::string text;
    for (const Cite& cite : write.cites) {
        text += (text.empty() ? "" : " ") + (cite.line > 0 ? "line:" + number_text(cite.line) : to_text(cite.entry));
    }
    return text;
}

void add_write_details(const LoggedRecord& logged, Details& details) {
    for (std::size_t i = 0; i < logged.record.writes.size(); ++i) {
        const Write& write = logged.record.writes[i];
        details.line(number_text(i + 1) + ".", effect_text(logged, i));
        if (write.purged) details.line("", std::string(purged_text));
        if (const Value content = content_of(write); !content.is_null()) details.json({}, content, detail_indent + 3);
        if (!write.cites.empty()) details.line("cites", cites_text(write), detail_indent + 3);
        if (!write.why.empty()) details.block("why", write.why, detail_indent + 3);
    }
}

void add_header_details(const Record& record, Details& details) {
    std::string text = "epoch " + number_text(record.epoch.number);
    if (record.decided_at) text += ", decided at " + number_text(record.decided_at.number);
    if (record.snapshot) text += ", read version " + number_text(record.snapshot.number);
    if (!record.members.empty() && std::isfinite(record.rating)) {
        text += ", rating " + to_json(Value::number(record.rating));
        if (!record.rating_terms.empty()) text += " made of " + record.rating_terms;
    }
    if (record.kind == RecordKind::claimed) text += ", over after " + duration_text(record.duration_ms);
    details.line({}, text);
    if (!record.idempotency_key.empty()) details.line("idempotency key", record.idempotency_key);
    if (!record.configuration.empty()) details.line("configuration", record.configuration);
}

void add_result_details(const Record& record, Details& details) {
    for (const std::string& note : record.notes) details.block("note", note);
    if (!record.cost.empty()) details.line("cost", record.cost);
    if (record.parts.empty()) return;
    details.line("output", bytes_text(record.parts[0].size()));
    if (record.parts.size() > 1 && !record.parts[1].empty()) details.block("error output", record.parts[1]);
}

std::string joined(const std::vector<EntryId>& ids) {
    std::string text;
    for (const EntryId& id : ids) text += (text.empty() ? "" : " ") + to_text(id);
    return text;
}

std::string authors_text(const Entry& entry) {
    if (entry.authors.size() < 2) return entry.author;
    std::string text;
    for (const std::string& author : entry.authors) text += (text.empty() ? "" : ", ") + author;
    return text;
}

}  // namespace

std::string one_line(const LoggedRecord& logged, const TextOptions& options) {
    return head_line(logged, options, options.terminal.columns != 0 ? options.terminal.columns : line_columns_max);
}

std::string long_text(const LoggedRecord& logged, const TextOptions& options) {
    const Record& record = logged.record;
    Details details(options.terminal);
    add_header_details(record, details);
    if (!record.reason.empty()) details.block("reason", record.reason);
    for (const MatchRecord& member : record.members) {
        std::string bound;
        for (const BoundEntry& entry : member.bound) {
            bound += (bound.empty() ? "" : " ") + to_text(entry.id) + " v" + number_text(entry.version);
        }
        for (const Position episode : member.episodes) {
            bound += (bound.empty() ? "" : " ") + std::string("since ") + number_text(episode.number);
        }
        details.line("match", bound);
    }
    add_write_details(logged, details);
    for (const Refusal& refusal : logged.verdict.refusals) {
        details.block(logged.verdict.accepted ? "remark" : "refused", refusal_text(refusal));
        if (!refusal.current.is_null() && refusal.rule == RefusalRule::conflict)
            details.json("now", refusal.current, detail_indent + 2);
    }
    const bool ended = record.kind == RecordKind::result || record.kind == RecordKind::abandoned;
    if (ended) add_result_details(record, details);
    return one_line(logged, options) + details.take();
}

std::string entry_line(const Entry& entry, const TextOptions& options) {
    const std::size_t columns_max = options.terminal.columns;
    std::string tail;
    if (!entry.reason.empty()) tail += "  " + quoted(entry.reason);
    if (!entry.cites.empty()) tail += "  cites " + joined(entry.cites);
    Line line(columns_max);
    line.add(to_text(entry.id), Style::bold).add(" v" + number_text(entry.version));
    if (!entry.active) line.add(" retracted", Style::yellow);
    line.add("  ").add(authors_text(entry), Style::cyan).add("  ");
    const std::string content = content_text(entry.content);
    if (columns_max == 0) {
        line.add(content);
    } else {
        // The content gives way first, so that the reason and the cites can be seen to be there.
        const std::size_t left = columns_max > line.columns() ? columns_max - line.columns() : 0;
        const std::size_t tail_columns =
            std::min({display_columns(tail), std::max(entry_tail_columns_min, left / 3), left / 2});
        line.add(truncated(content, std::max<std::size_t>(left - tail_columns, 1)));
    }
    return line.add(tail, Style::dim).text(options.terminal.color);
}

std::string content_text(const Value& content) {
    return content.is_null() ? std::string(purged_text) : to_json_line(content);
}

std::string entry_long(const Entry& entry, const TextOptions& options) {
    Line head;
    head.add(to_text(entry.id), Style::bold).add(" v" + number_text(entry.version));
    if (!entry.active) head.add(" retracted", Style::yellow);
    head.add("  ").add(authors_text(entry), Style::cyan);
    Details details(options.terminal);
    details.line("written", time_column(entry.time, options) + " at " + number_text(entry.position.number) +
                                (entry.activation ? " by #" + number_text(entry.activation.number) : ""));
    if (!entry.reason.empty()) details.block("why", entry.reason);
    if (!entry.cites.empty()) details.line("cites", joined(entry.cites));
    if (entry.content.is_null()) {
        details.line("content", std::string(purged_text));
    } else {
        details.json({}, entry.content);
    }
    return head.text(options.terminal.color) + details.take();
}

std::string region_table(const std::vector<RegionRow>& regions, const TextOptions& options) {
    const bool any_sum =
        std::any_of(regions.begin(), regions.end(), [](const RegionRow& row) { return row.sum.has_value(); });
    std::vector<Table::Column> columns = {
        {"region", Align::left}, {"entries", Align::right}, {"changed", Align::right}};
    if (any_sum) columns.push_back({"sum", Align::right});
    columns.push_back({"policy", Align::left});
    Table table(std::move(columns));
    for (const RegionRow& region : regions) {
        std::vector<Table::Cell> row = {
            {region.name, Style::bold},
            {count_text(region.active), Style::plain},
            {region.last_change ? number_text(region.last_change.number) : "-", Style::dim}};
        if (any_sum) row.push_back({region.sum ? std::to_string(*region.sum) : "", Style::plain});
        row.push_back({region.policy, Style::dim});
        table.add(std::move(row));
    }
    return table.text(options.terminal);
}

// ---- parts ----

std::string written_text(const LoggedRecord& logged) {
    const Record& record = logged.record;
    if (!logged.verdict.accepted) return proposed_text(record);
    std::vector<std::string> order;
    std::map<std::string, Touched> regions;
    for (std::size_t i = 0; i < record.writes.size() && i < logged.verdict.outcomes.size(); ++i) {
        const WriteOutcome& outcome = logged.verdict.outcomes[i];
        const std::string region = resolve_region(record.writes[i].region, record.author);
        const auto [touched, first] = regions.try_emplace(region);
        if (first) order.push_back(region);
        switch (outcome.effect) {
            case WriteOutcome::Effect::none:
                ++touched->second.unchanged;
                break;
            case WriteOutcome::Effect::added:
                touched->second.added.push_back(outcome.number);
                break;
            case WriteOutcome::Effect::updated:
                touched->second.updated.push_back(outcome.number);
                break;
            case WriteOutcome::Effect::removed:
                touched->second.removed.push_back(outcome.number);
                break;
        }
    }
    std::string text;
    std::uint64_t unchanged = 0;
    for (const std::string& region : order) {
        const Touched& touched = regions[region];
        append_effect('+', region, touched.added, text);
        append_effect('~', region, touched.updated, text);
        append_effect('-', region, touched.removed, text);
        unchanged += touched.unchanged;
    }
    if (unchanged > 0) text += (text.empty() ? "" : ", ") + count_text(unchanged) + " already there";
    return text.empty() ? "nothing to write" : text;
}

std::string bound_text(const std::vector<BoundEntry>& bound) {
    std::string text;
    for (const BoundEntry& entry : bound) {
        text += (text.empty() ? "" : " ") + to_text(entry.id) + " v" + number_text(entry.version);
    }
    return text.empty() ? "no entry" : text;
}

std::string bound_text(const std::vector<MatchRecord>& members) {
    std::string text;
    std::size_t shown = 0;
    std::size_t total = 0;
    for (const MatchRecord& member : members) {
        for (const BoundEntry& entry : member.bound) {
            ++total;
            if (shown == bound_shown_max) continue;
            ++shown;
            text += (text.empty() ? "" : " ") + to_text(entry.id);
        }
    }
    if (total > shown) text += " and " + count_text(total - shown) + " more";
    if (members.size() < 2) return text;
    return counted(members.size(), "match", "matches") + (text.empty() ? "" : ": " + text);
}

std::string why_of(const Record& record) {
    if (!record.reason.empty()) return record.reason;
    for (const Write& write : record.writes) {
        if (!write.why.empty()) return write.why;
    }
    return {};
}

std::string refusal_text(const Refusal& refusal) {
    const std::string line = refusal.line > 0 ? "line " + number_text(refusal.line) + ", " : "";
    return line + to_text(refusal.rule) + ": " + refusal.message;
}

std::string result_text(const Record& record) {
    const auto outcome = static_cast<OutcomeKind>(record.outcome);
    std::string text = std::string(to_text(outcome)) + " in " + duration_text(record.duration_ms);
    if (outcome == OutcomeKind::ok) return text;
    // A reason that tells the status itself needs no echo.
    const std::string exit_code = std::to_string(record.exit_code);
    const bool told = record.reason.find(exit_code) != std::string::npos;
    if (record.exit_code != 0 && !told) text += ", exit code " + exit_code;
    return record.reason.empty() ? text : text + ": " + record.reason;
}

std::string returned_text(const Record& record) {
    const auto outcome = static_cast<OutcomeKind>(record.outcome);
    std::string text = std::string(to_text(outcome)) + " in " + duration_text(record.duration_ms);
    if (record.amounts.tokens > 0) text += ", " + counted(record.amounts.tokens, "token", "tokens");
    if (record.amounts.money_micros > 0) text += ", " + money_text(record.amounts.money_micros);
    if (record.estimated) text += " (estimated)";
    return record.reason.empty() ? text : text + ": " + record.reason;
}

std::string money_text(std::int64_t micros) {
    const bool negative = micros < 0;
    std::string digits = std::to_string(negative ? -micros : micros);
    if (digits.size() < 7) digits.insert(0, 7 - digits.size(), '0');
    digits.insert(digits.size() - 6, ".");
    // Cents always, the rest as far as it says anything.
    while (digits.back() == '0' && digits.find('.') + 3 < digits.size()) digits.pop_back();
    return (negative ? "-" : "") + digits;
}

std::string untold_error_line(const Record& record) {
    if (record.parts.size() < 2) return {};
    std::string line(last_line_of(record.parts[1]));
    // A reason that quotes the line has plain text only, and not all of a long one.
    constexpr std::size_t telling_bytes = 60;
    std::string as_quoted = line.substr(0, telling_bytes);
    for (char& c : as_quoted) {
        if (c < 0x20 || c >= 0x7F) c = '?';
    }
    return record.reason.find(as_quoted) == std::string::npos ? line : std::string();
}

}  // namespace stele

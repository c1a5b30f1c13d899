#include "runtime/progress.hpp"
#include "scheduler/control.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdio>
#include <limits>
#include <ostream>
#include <utility>

#include "board/entry_store.hpp"
#include "runtime/record_json.hpp"
#include "runtime/record_text.hpp"
#include "scheduler/crew_spec.hpp"
#include "scheduler/outcome.hpp"
#include "scheduler/scheduler.hpp"

namespace stele {

namespace {

// A rule may fire thousands of times a second; nobody reads more of them than this.
constexpr std::uint64_t firings_told_max = 20;
constexpr std::size_t cost_names_max = 64;
constexpr std::size_t pending_bytes_max = 64U << 10;
constexpr std::size_t event_columns_max = 4'000;
constexpr std::size_t event_indent = 11;
constexpr std::size_t author_columns = 20;
constexpr std::size_t wide_enough_to_align = 80;
constexpr std::size_t label_columns = 10;
constexpr std::string_view default_data_directory = ".stele";

std::string id_text(ActivationId id) { return "#" + std::to_string(id.number); }

/// Never negative and never past the end, whatever times a damaged log holds.
std::int64_t milliseconds_between(std::int64_t from, std::int64_t to) {
    if (to <= from) return 0;
    const auto difference = static_cast<std::uint64_t>(to) - static_cast<std::uint64_t>(from);
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return static_cast<std::int64_t>(std::min(difference, most));
}

bool has_rule(const std::vector<Refusal>& refusals, RefusalRule rule) {
    return std::any_of(refusals.begin(), refusals.end(), [&](const Refusal& r) { return r.rule == rule; });
}

/// A source's private region is nobody's business but its own.
bool is_private(const std::string& region) { return region.starts_with("scratch/"); }

std::string shell_quoted(const std::string& text) {
    const auto is_plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("_./-:@%+=,").find(c) != std::string_view::npos;
    };
    if (!text.empty() && std::all_of(text.begin(), text.end(), is_plain)) return text;
    std::string quoted = "'";
    for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return quoted + "'";
}

std::string cost_number(const Value& number) {
    if (!number.is_number()) return "beyond any number";
    if (number.is_int()) {
        const std::int64_t whole = number.as_int();
        return whole < 0 ? std::to_string(whole) : count_text(static_cast<std::uint64_t>(whole));
    }
    std::array<char, 48> text{};
    std::snprintf(text.data(), text.size(), "%.6g", number.as_double());
    return text.data();
}

Style style_of(const std::optional<std::string>& stop_word) {
    if (!stop_word) return Style::red;
    const std::optional<StopReason> reason = stop_reason_from(*stop_word);
    if (reason == StopReason::goal || reason == StopReason::quiescence) return Style::green;
    return reason == StopReason::error || reason == StopReason::incomplete ? Style::red : Style::yellow;
}

Value count_value(std::uint64_t count) { return static_cast<std::int64_t>(count); }

Value counts_value(const std::map<std::string, std::uint64_t>& counts) {
    std::vector<Value::Member> members;
    for (const auto& [name, count] : counts) members.emplace_back(valid_utf8(name), count_value(count));
    return Value::object(std::move(members));
}

std::string counts_text(const std::map<std::string, std::uint64_t>& counts) {
    std::string text;
    for (const auto& [name, count] : counts) text += (text.empty() ? "" : ", ") + count_text(count) + " " + name;
    return text;
}

std::uint64_t total_of(const std::map<std::string, std::uint64_t>& counts) {
    std::uint64_t total = 0;
    for (const auto& [name, count] : counts) total += count;
    return total;
}

}  // namespace

Progress::Progress(ProgressOptions options, std::string board, std::string data_directory)
    : options_(std::move(options)), board_(std::move(board)), data_directory_(std::move(data_directory)) {
    assert(options_.out != nullptr);
    if (!options_.address_arguments.empty()) return;
    options_.address_arguments = "--board " + shell_quoted(board_);
    if (data_directory_ != default_data_directory) {
        options_.address_arguments += " --data " + shell_quoted(data_directory_);
    }
}

void Progress::on_crew(const CrewSpec& crew) {
    crew_name_ = crew.name;
    has_goal_ = crew.stop.goal.has_value();
    // The order of the crew file is the order that its author thinks in.
    for (const RegionSpec& declared : crew.regions) {
        const bool is_control = declared.name == control_region_name;  // shown once it holds anything
        if (!declared.scratch && !is_private(declared.name) && !is_control) region(declared.name);
    }
}

void Progress::on_board(const std::vector<RegionState>& regions, const std::vector<DeadActivation>& dead) {
    for (const RegionState& held : regions) {
        if (!held.scratch && !is_private(held.name))
            region(held.name).active = static_cast<std::int64_t>(held.active_entries);
        version_ = std::max(version_, held.last_change);
    }
    for (const DeadActivation& one : dead) dead_.push_back({one.id, one.source, 0, one.error});
}

void Progress::on_record(const LoggedRecord& logged, const std::vector<EntryChange>& changes) {
    if (!start_ms_) start_ms_ = logged.record.time.ms;
    last_ms_ = records_ == 0 ? logged.record.time.ms : std::max(last_ms_, logged.record.time.ms);
    ++records_;
    // A commit's line tells how its attempt ended, and then the attempt is forgotten.
    if (logged.record.kind == RecordKind::run_started && logged.verdict.accepted) begin_run(logged);
    tell(logged);
    take(logged, changes);
}

void Progress::tick(std::int64_t now_ms) {
    now_ms_ = now_ms;
    options_.terminal.refresh();
    if (options_.terminal.live && !options_.quiet && !options_.json) {
        // One write, so that a slow line shows no half-drawn state.
        std::string text = erase_text() + pending_;
        pending_.clear();
        drawn_.clear();
        if (!stop_word_ && records_ > 0) {
            for (const Line& line : live_lines()) {
                text += line.text(options_.terminal.color) + "\n";
                drawn_.push_back(line.columns());
            }
        }
        *options_.out << text;
    }
    options_.out->flush();
}

void Progress::finish() {
    if (options_.json) {
        options_.out->flush();
        return;
    }
    options_.terminal.refresh();
    const bool events_above = !options_.quiet && records_ > 0;
    *options_.out << erase_text() + pending_ + (events_above ? "\n" : "") + final_text();
    pending_.clear();
    drawn_.clear();
    options_.out->flush();
}

// ---- what the records say ----

void Progress::begin_run(const LoggedRecord& logged) {
    start_ms_ = logged.record.time.ms;
    last_ms_ = logged.record.time.ms;
    records_ = 1;
    running_.clear();
    waiting_.clear();
    attempts_.clear();
    firings_.clear();
    commits_ = refused_commits_ = 0;
    refusals_.clear();
    cost_.clear();
    dead_.clear();
    stop_word_.reset();
    stop_reason_.clear();
    for (Region& known : regions_) known.added = known.updated = known.removed = 0;
}

void Progress::take(const LoggedRecord& logged, const std::vector<EntryChange>& changes) {
    const Record& record = logged.record;
    if (!logged.verdict.accepted) {
        if (record.kind == RecordKind::commit) take_refused_commit(logged);
        return;
    }
    switch (record.kind) {
        case RecordKind::claimed:
            return take_claim(logged);
        case RecordKind::result:
            return take_result(logged);
        case RecordKind::commit:
            return take_commit(logged, changes);
        case RecordKind::abandoned:
            ++attempts_["abandoned"];
            take_cost(record.cost);
            return end_attempt(record.activation, record.word != "stopped");
        case RecordKind::dead:
            end_attempt(record.activation, false);
            dead_.push_back({record.activation, record.author, record.attempt, record.reason});
            return;
        case RecordKind::signal:
            return take_signal(logged);
        case RecordKind::run_stopped:
            running_.clear();
            waiting_.clear();
            stop_word_ = record.word;
            stop_reason_ = record.reason;
            return;
        case RecordKind::run_started:
        case RecordKind::reconfigured:
        case RecordKind::fence:
        case RecordKind::started:
        case RecordKind::timer:
        case RecordKind::forked:
        case RecordKind::purged:
            return;
        case RecordKind::called:
            return take_called(record);
        case RecordKind::returned:
            return take_returned(record);
    }
}

void Progress::on_progress(ActivationId id, const std::string& text) {
    if (const auto live = running_.find(id); live != running_.end()) live->second.doing = text;
}

void Progress::take_called(const Record& record) {
    if (record.answered_by) {
        ++calls_answered_;
        return;
    }
    ++calls_;
    const auto live = running_.find(record.activation);
    if (live != running_.end()) live->second.doing = "asks " + record.word;
}

void Progress::take_returned(const Record& record) {
    tokens_ += record.amounts.tokens;
    money_micros_ += record.amounts.money_micros;
    if (record.estimated) ++calls_estimated_;
    if (const auto live = running_.find(record.activation); live != running_.end()) live->second.doing.clear();
}

void Progress::take_claim(const LoggedRecord& logged) {
    const Record& record = logged.record;
    const ActivationId id = activation_of(logged);
    waiting_.erase(id);
    running_[id] = {record.author, record.attempt, record.time.ms, record.duration_ms, bound_text(record.members), {}};
}

void Progress::take_result(const LoggedRecord& logged) {
    const Record& record = logged.record;
    const auto outcome = static_cast<OutcomeKind>(record.outcome);
    ++attempts_[to_text(outcome)];
    take_cost(record.cost);
    if (outcome != OutcomeKind::ok) return end_attempt(record.activation, outcome != OutcomeKind::cancelled);
    const auto live = running_.find(record.activation);
    if (live != running_.end()) live->second.result = result_text(record);
}

void Progress::take_commit(const LoggedRecord& logged, const std::vector<EntryChange>& changes) {
    version_ = logged.position;
    ++commits_;
    if (is_rule_commit(logged.record)) ++firings_[logged.record.author];
    end_attempt(logged.record.activation, false);
    for (const EntryChange& change : changes) {
        if (is_private(change.id.region)) continue;
        Region& touched = region(change.id.region);
        switch (change.kind) {
            case EntryChange::Kind::added:
                ++touched.added;
                ++touched.active;
                break;
            case EntryChange::Kind::updated:
                ++touched.updated;
                break;
            case EntryChange::Kind::removed:
                ++touched.removed;
                --touched.active;
                break;
        }
    }
}

void Progress::take_refused_commit(const LoggedRecord& logged) {
    const std::vector<Refusal>& refusals = logged.verdict.refusals;
    ++refused_commits_;
    std::set<std::string> rules;
    for (const Refusal& refusal : refusals) rules.insert(to_text(refusal.rule));
    for (const std::string& rule : rules) ++refusals_[rule];
    const auto live = running_.find(logged.record.activation);
    if (live == running_.end() || live->second.attempt != logged.record.attempt) return;
    if (has_rule(refusals, RefusalRule::epoch)) return;
    end_attempt(logged.record.activation, !has_rule(refusals, RefusalRule::stale));
}

void Progress::take_signal(const LoggedRecord& logged) {
    const Record& record = logged.record;
    if (record.word == "retry") {
        const auto is_meant = [&](const Dead& dead) { return !record.activation || dead.id == record.activation; };
        dead_.erase(std::remove_if(dead_.begin(), dead_.end(), is_meant), dead_.end());
    } else if (record.word == "resume") {
        stop_word_.reset();
        stop_reason_.clear();
    }
}

void Progress::take_cost(const std::string& cost) {
    if (cost.empty()) return;
    const Result<Value> parsed = parse_json(cost);
    if (!parsed || !parsed->is_object()) return;
    for (const auto& [name, amount] : parsed->as_object()) {
        if (amount.is_number()) add_cost(name, amount);
    }
}

void Progress::add_cost(const std::string& name, const Value& amount) {
    if (cost_.size() == cost_names_max && cost_.count(name) == 0) {
        cost_cut_ = true;
        return;
    }
    cost_[name].add(amount);
}

void Progress::end_attempt(ActivationId id, bool tried_again) {
    if (!id) return;
    running_.erase(id);
    if (tried_again) {
        waiting_.insert(id);
    } else {
        waiting_.erase(id);
    }
}

// ---- events ----

void Progress::tell(const LoggedRecord& logged) {
    if (options_.quiet) return;
    if (options_.json) {
        *options_.out << to_json_line(to_value(logged)) << "\n";
        return;
    }
    if (!logged.verdict.accepted) return tell_refused(logged);
    const Record& record = logged.record;
    switch (record.kind) {
        case RecordKind::run_started:
            return say(event_line(logged, false).add("the run begins on board \"" + board_ + "\""));
        case RecordKind::reconfigured:
            return say(event_line(logged, false).add("the run goes on with another crew"));
        case RecordKind::claimed: {
            if (options_.terminal.live) return;  // a live line shows it
            Line line = event_line(logged, false);
            line.add("starts");
            if (record.attempt > 1) line.add(" attempt " + std::to_string(record.attempt));
            const std::string bound = bound_text(record.members);
            if (!bound.empty()) line.add(" on ").add(bound);
            return say(line);
        }
        case RecordKind::result:
            return tell_result(logged);
        case RecordKind::commit:
            return tell_commit(logged);
        case RecordKind::abandoned: {
            Line line = event_line(logged, true);
            line.add("attempt " + std::to_string(record.attempt) + " abandoned: ", Style::yellow);
            return say_whole(std::move(line), record.reason.empty() ? record.word : record.reason);
        }
        case RecordKind::dead: {
            Line line = event_line(logged, true);
            line.add("is dead after " + counted(record.attempt, "attempt", "attempts") + ": ", Style::red);
            return say_whole(std::move(line), record.reason);
        }
        case RecordKind::signal: {
            Line line = event_line(logged, true);
            line.add(record.word, Style::bold).add(record.reason.empty() ? "" : ": ");
            return say_whole(std::move(line), record.reason);
        }
        case RecordKind::fence:
        case RecordKind::started:
        case RecordKind::called:
        case RecordKind::returned:
        case RecordKind::timer:
        case RecordKind::forked:
        case RecordKind::purged:
        case RecordKind::run_stopped:
            return;  // the final lines say why
    }
}

void Progress::tell_refused(const LoggedRecord& logged) {
    const Record& record = logged.record;
    std::string what = record.kind == RecordKind::commit ? "refused" : std::string(to_text(record.kind)) + " refused";
    if (record.attempt > 1) what += " at attempt " + std::to_string(record.attempt);
    Line line = event_line(logged, true);
    line.add(what + ": ", Style::red);
    std::string refusals;
    for (const Refusal& refusal : logged.verdict.refusals) refusals += refusal_text(refusal) + "\n";
    say_whole(std::move(line), refusals);
}

void Progress::tell_result(const LoggedRecord& logged) {
    const Record& record = logged.record;
    if (record.outcome == static_cast<OutcomeCode>(OutcomeKind::ok)) return;  // told with its commit
    Line line = event_line(logged, true);
    if (record.attempt > 1) line.add("attempt " + std::to_string(record.attempt) + " ");
    std::string text = result_text(record);
    // The word of the outcome stands out; the rest may be long.
    const std::string word = to_text(static_cast<OutcomeKind>(record.outcome));
    line.add(word, Style::red);
    text.erase(0, word.size());
    const std::string untold = untold_error_line(record);
    if (!untold.empty()) text += "\nlast line of its error output: " + untold;
    say_whole(std::move(line), text);
}

void Progress::tell_commit(const LoggedRecord& logged) {
    const Record& record = logged.record;
    if (is_rule_commit(record)) {
        const auto fired = firings_.find(record.author);
        const std::uint64_t before = fired == firings_.end() ? 0 : fired->second;
        if (before == firings_told_max) {
            Line line = event_line(logged, false);
            return say(line.add("fires again; from here on its firings are only counted", Style::dim));
        }
        if (before > firings_told_max) return;
    }
    Line line = event_line(logged, false);
    const auto live = running_.find(record.activation);
    if (live != running_.end() && !live->second.result.empty()) line.add(live->second.result).add("  ");
    line.add(written_text(logged), Style::green);
    const std::size_t stale = logged.verdict.stale_members.size();
    if (stale > 0) line.add(", " + counted(stale, "stale match", "stale matches") + " left out", Style::yellow);
    if (const std::string why = why_of(record); !why.empty()) line.add("  \"").add(why).add("\"");
    say(line);
}

/// When and who. A whole line is left to the terminal to wrap: no part of a failure is hidden.
Line Progress::event_line(const LoggedRecord& logged, bool whole) const {
    const std::size_t columns = options_.terminal.columns;
    Line line(whole ? 0 : columns != 0 ? columns : event_columns_max);
    const std::string since = since_text(milliseconds_between(start_ms_.value_or(0), logged.record.time.ms));
    line.add(since, Style::dim).add("  ");
    const std::size_t author_at = line.columns();
    const std::string author = logged.record.kind == RecordKind::run_started ? crew_name_ : logged.record.author;
    line.add(author, Style::bold);
    const ActivationId id = is_rule_commit(logged.record) ? ActivationId{} : activation_of(logged);
    if (id) line.add(author.empty() ? "" : " ").add(id_text(id), Style::cyan);
    const bool aligned = columns == 0 || columns >= wide_enough_to_align;
    return std::move(line.pad_to(aligned ? author_at + author_columns : 0));
}

void Progress::say(const Line& line) {
    const std::string text = line.text(options_.terminal.color) + "\n";
    if (!options_.terminal.live) {
        *options_.out << text;
        return;
    }
    pending_ += text;
    // Between two ticks more may happen than should be held back.
    if (pending_.size() <= pending_bytes_max) return;
    *options_.out << erase_text() + pending_;
    pending_.clear();
    drawn_.clear();
}

void Progress::say_whole(Line line, std::string_view text) {
    const std::vector<std::string_view> lines = lines_of(text);
    if (!lines.empty()) line.add(lines[0]);
    say(line);
    for (std::size_t i = 1; i < lines.size(); ++i) {
        Line more;
        say(more.add(std::string(event_indent, ' ')).add(lines[i]));
    }
}

// ---- live lines ----

/// Back to where the live lines begin. A window that has become narrower has wrapped them.
std::string Progress::erase_text() const {
    if (drawn_.empty()) return {};
    const std::size_t columns = std::max<std::size_t>(options_.terminal.columns, 1);
    std::size_t rows = 0;
    for (const std::size_t drawn : drawn_) rows += std::max<std::size_t>(1, (drawn + columns - 1) / columns);
    if (options_.terminal.rows > 1) rows = std::min(rows, options_.terminal.rows - 1);
    return "\r\x1b[" + std::to_string(rows) + "A\x1b[J";
}

std::vector<Line> Progress::live_lines() const {
    // The last column stays free: some terminals wrap as soon as it is filled.
    const std::size_t columns = std::max<std::size_t>(options_.terminal.columns, 2) - 1;
    constexpr std::size_t other_lines = 5;  // the three below, "more", and the cursor's
    const std::size_t rows = options_.terminal.rows;
    const std::size_t running_max = rows > other_lines + 1 ? rows - other_lines : 1;
    std::vector<Line> lines = {state_line(columns)};
    std::size_t shown = 0;
    for (const auto& [id, running] : running_) {
        if (shown++ == running_max) {
            Line more(columns);
            lines.push_back(more.add("  and " + count_text(running_.size() - running_max) + " more", Style::dim));
            break;
        }
        lines.push_back(running_line(id, running, columns));
    }
    if (!firings_.empty()) lines.push_back(firings_line(columns));
    Line held = regions_line(columns);
    if (held.columns() > 0) lines.push_back(std::move(held));
    return lines;
}

Line Progress::state_line(std::size_t columns) const {
    Line line(columns);
    line.add(crew_name_.empty() ? board_ : crew_name_, Style::bold);
    line.add("  " + duration_text(elapsed_ms()) + "  " + count_text(running_.size()) + " running");
    if (!waiting_.empty()) line.add(", " + count_text(waiting_.size()) + " to be tried again", Style::yellow);
    if (const std::uint64_t ended = total_of(attempts_); ended > 0) line.add(", " + count_text(ended) + " ended");
    if (!dead_.empty()) line.add(", " + count_text(dead_.size()) + " dead", Style::red);
    line.add("  version " + count_text(version_.number), Style::dim);
    return line;
}

Line Progress::running_line(ActivationId id, const Running& running, std::size_t columns) const {
    Line line(columns);
    line.add("  ").add(running.source, Style::cyan).add(" " + id_text(id));
    line.add("  " + duration_text(milliseconds_between(running.since_ms, std::max(now_ms_, last_ms_))));
    if (running.timeout_ms > 0) line.add(" of " + duration_text(running.timeout_ms), Style::dim);
    if (running.attempt > 1) line.add("  attempt " + std::to_string(running.attempt), Style::yellow);
    if (!running.doing.empty()) line.add("  ").add(running.doing);
    if (!running.bound.empty()) line.add("  on ").add(running.bound);
    return line;
}

Line Progress::firings_line(std::size_t columns) const {
    Line line(columns);
    line.add("  rules fired", Style::dim);
    for (const auto& [rule, count] : firings_) line.add("  ").add(rule).add(" " + count_text(count));
    return line;
}

Line Progress::regions_line(std::size_t columns) const {
    Line line(columns);
    for (const Region& held : regions_) {
        if (held.active <= 0) continue;
        line.add("  ").add(held.name, Style::dim).add(" " + count_text(static_cast<std::uint64_t>(held.active)));
    }
    return line;
}

// ---- final lines ----

std::string Progress::final_text() const {
    std::string out;
    const auto add = [&](std::string_view label, std::string_view text, Style style = Style::plain) {
        bool first = true;
        for (const std::string_view part : lines_of(text)) {
            Line line;
            line.add(first ? label : "", Style::dim).add(std::string(label_columns - (first ? label.size() : 0), ' '));
            out += line.add(part, style).text(options_.terminal.color) + "\n";
            first = false;
        }
    };
    if (stop_word_) {
        const bool missed = has_goal_ && *stop_word_ == to_text(StopReason::quiescence);
        add("stopped",
            *stop_word_ + (stop_reason_.empty() ? "" : ": " + stop_reason_) +
                (missed ? "; the goal does not hold" : ""),
            missed ? Style::yellow : style_of(stop_word_));
    } else {
        add("stopped", "without a record that says why; the log holds all that was acknowledged", Style::red);
    }
    add("took", duration_text(elapsed_ms()) + ", " + attempts_text());
    if (refused_commits_ > 0) add("refused", refused_text(), Style::yellow);
    for (const Dead& dead : dead_) {
        const std::string after = dead.attempts == 0 ? "" : " after " + counted(dead.attempts, "attempt", "attempts");
        add("dead", dead.source + " " + id_text(dead.id) + after + ": " + dead.error, Style::red);
    }
    const std::string written = written_table();
    if (written.empty()) {
        add("wrote", "nothing");
    } else {
        // The label stands in the indent of the table's first line.
        constexpr std::string_view word = "wrote";
        Line label;
        out += label.add(word, Style::dim).text(options_.terminal.color) + written.substr(word.size());
    }
    add("cost", cost_text());
    add("log", "board \"" + board_ + "\" in " + data_directory_ + ", version " + std::to_string(version_.number));
    add("next", next_command(), Style::bold);
    return out;
}

std::string Progress::attempts_text() const {
    const std::uint64_t attempts = total_of(attempts_);
    std::string text = counted(attempts, "attempt", "attempts");
    if (attempts > 0) text += " (" + counts_text(attempts_) + ")";
    const std::uint64_t fired = total_of(firings_);
    if (fired > 0) text += ", " + counted(fired, "rule firing", "rule firings") + " (" + counts_text(firings_) + ")";
    return text;
}

std::string Progress::refused_text() const {
    const std::string text = counted(refused_commits_, "commit", "commits");
    return refusals_.empty() ? text : text + " (" + counts_text(refusals_) + ")";
}

std::string Progress::cost_text() const {
    std::string text;
    if (calls_ + calls_answered_ > 0) {
        text = counted(calls_, "call", "calls");
        if (calls_answered_ > 0) text += ", " + count_text(calls_answered_) + " more answered from the board";
        if (tokens_ > 0) text += ", " + counted(tokens_, "token", "tokens");
        if (money_micros_ > 0) text += ", " + money_text(money_micros_) + " of money";
        if (calls_estimated_ > 0) text += " (" + counted(calls_estimated_, "call", "calls") + " estimated)";
    }
    for (const auto& [name, sum] : cost_) text += (text.empty() ? "" : ", ") + name + " " + cost_number(sum.sum());
    if (cost_cut_) text += ", and names beyond the first " + std::to_string(cost_names_max);
    return text.empty() ? "no cost reported" : text;
}

std::string Progress::written_table() const {
    Table table({{"region", Align::left},
                 {"added", Align::right},
                 {"updated", Align::right},
                 {"removed", Align::right},
                 {"now", Align::right}});
    bool any = false;
    for (const Region& touched : regions_) {
        if (touched.added + touched.updated + touched.removed == 0) continue;
        any = true;
        table.add({{touched.name, Style::bold},
                   {count_text(touched.added), Style::plain},
                   {count_text(touched.updated), Style::plain},
                   {count_text(touched.removed), Style::plain},
                   {touched.active < 0 ? std::to_string(touched.active)
                                       : count_text(static_cast<std::uint64_t>(touched.active)),
                    Style::plain}});
    }
    return any ? table.text(options_.terminal, label_columns) : std::string();
}

std::string Progress::next_command() const {
    const std::optional<StopReason> reason = stop_word_ ? stop_reason_from(*stop_word_) : std::nullopt;
    std::string verb = "resume";
    if (reason) {
        switch (*reason) {
            case StopReason::goal:
                verb = "show";
                break;
            case StopReason::quiescence:
                verb = has_goal_ ? "log" : "show";
                break;
            case StopReason::incomplete:
                verb = "retry";
                break;
            case StopReason::cycle:
            case StopReason::error:
                verb = "log";
                break;
            case StopReason::waiting:
            case StopReason::budget:
            case StopReason::deadline:
            case StopReason::interrupt:
                break;
        }
    }
    return "stele " + verb + " " + options_.address_arguments;
}

Value Progress::summary() const {
    Value summary = Value::object({{"event", "stopped"},
                                   {"board", valid_utf8(board_)},
                                   {"data_directory", valid_utf8(data_directory_)},
                                   {"elapsed_ms", elapsed_ms()},
                                   {"version", count_value(version_.number)},
                                   {"records", count_value(records_)},
                                   {"attempts", counts_value(attempts_)},
                                   {"rule_firings", counts_value(firings_)},
                                   {"commits", count_value(commits_)},
                                   {"refused_commits", count_value(refused_commits_)},
                                   {"refusals", counts_value(refusals_)},
                                   {"next", valid_utf8(next_command())}});
    if (!crew_name_.empty()) summary.set("crew", valid_utf8(crew_name_));
    if (stop_word_) {
        summary.set("reason", valid_utf8(*stop_word_));
        summary.set("detail", valid_utf8(stop_reason_));
    }
    Value::Array dead;
    for (const Dead& one : dead_) {
        Value value = Value::object({{"activation", count_value(one.id.number)},
                                     {"source", valid_utf8(one.source)},
                                     {"error", valid_utf8(one.error)}});
        if (one.attempts > 0) value.set("attempts", count_value(one.attempts));
        dead.push_back(std::move(value));
    }
    summary.set("dead", std::move(dead));
    Value regions = Value::object({});
    for (const Region& one : regions_) {
        regions.set(valid_utf8(one.name), Value::object({{"added", count_value(one.added)},
                                                         {"updated", count_value(one.updated)},
                                                         {"removed", count_value(one.removed)},
                                                         {"active", one.active}}));
    }
    summary.set("regions", std::move(regions));
    Value cost = Value::object({});
    for (const auto& [name, sum] : cost_) cost.set(name, sum.sum());
    summary.set("cost", std::move(cost));
    summary.set("calls", Value::object({{"made", count_value(calls_)},
                                        {"answered", count_value(calls_answered_)},
                                        {"estimated", count_value(calls_estimated_)},
                                        {"tokens", count_value(tokens_)},
                                        {"money_micros", money_micros_}}));
    return summary;
}

Progress::Region& Progress::region(const std::string& name) {
    const auto [known, first] = region_index_.try_emplace(name, regions_.size());
    if (first) regions_.push_back({name, 0, 0, 0, 0});
    return regions_[known->second];
}

std::int64_t Progress::elapsed_ms() const {
    const std::int64_t end = stop_word_ ? last_ms_ : std::max(now_ms_, last_ms_);
    return start_ms_ ? milliseconds_between(*start_ms_, end) : 0;
}

}  // namespace stele

// `stele why-not`: why a source does not wake, term by term, and what would wake it.
#include <algorithm>
#include <iostream>
#include <map>

#include "board/nearest.hpp"
#include "board/view.hpp"
#include "runtime/commands.hpp"
#include "runtime/condition_text.hpp"
#include "runtime/open_board.hpp"
#include "runtime/pager.hpp"
#include "runtime/record_json.hpp"
#include "runtime/record_text.hpp"
#include "scheduler/control.hpp"
#include "scheduler/outcome.hpp"
#include "scheduler/why_not.hpp"

namespace stele {
namespace {

constexpr std::size_t taken_shown = 5;

std::string number(std::uint64_t value) { return std::to_string(value); }
Value json_of(std::uint64_t value) { return static_cast<std::int64_t>(value); }

// What became of a match that was taken up.
struct Taken {
    ActivationId id;
    Position claimed;
    std::vector<BoundEntry> bound;
};

// A reason beside the precondition for which nothing starts.
using Gates = std::vector<std::string>;

struct Question {
    const OpenBoard& board;
    Position at;
    std::shared_ptr<const CrewSpec> crew;
    const SourceSpec* source = nullptr;
    BoardMoment moment;
    std::uint64_t activations = 0;  // of this run, counted as far as the source may have them
    bool run_stopped = false;
    std::string stop_reason;
};

/// How many activations the source may have in a run; 0: any number.
std::uint64_t activations_allowed(const SourceSpec& source) {
    return source.wake == WakeMode::once ? 1 : source.limits.activations;
}

IndexQuery claims_of(const Question& question) {
    return {{{RecordTermKind::author, question.source->name}},
            {{RecordTermKind::record, "claimed"}, {RecordTermKind::record, "commit"}}};
}

bool is_claim(const LoggedRecord& logged) {
    const Record& record = logged.record;
    if (!logged.verdict.accepted || record.members.empty()) return false;
    return record.kind == RecordKind::claimed || is_rule_commit(record);
}

Status read_moment(Question& question) {
    const OpenBoard& board = question.board;
    BoardMoment& moment = question.moment;
    const Provenance provenance = board.provenance();
    const RecordIndex& index = provenance.index();
    const Result<std::shared_ptr<const LoggedRecord>> newest = board.entries->record(question.at);
    if (!newest.ok()) return newest.error();
    moment.version = question.at;
    moment.now = (*newest)->record.time;

    const IndexQuery begins = {{{RecordTermKind::record, "run_started"}}};
    Status walked = index.find(begins, {1}, question.at, true, [&](const LoggedRecord& logged) {
        if (!logged.verdict.accepted) return true;
        moment.run = logged.position;
        moment.run_time = logged.record.time;
        return false;
    });
    if (!walked.ok() || !moment.run) return walked;
    const IndexQuery ends = {{{RecordTermKind::record, "run_stopped"}, {RecordTermKind::record, "signal"}}};
    walked = index.find(ends, moment.run, question.at, true, [&](const LoggedRecord& logged) {
        const Record& record = logged.record;
        if (!logged.verdict.accepted) return true;
        if (record.kind == RecordKind::signal) return record.word != "resume" && record.word != "retry";
        question.run_stopped = true;
        question.stop_reason = record.word + (record.reason.empty() ? "" : ": " + record.reason);
        return false;
    });
    if (!walked.ok()) return walked;

    const View view(*board.entries, question.at);
    for (const std::string& name : regions_of(question.source->when)) {
        RegionMemory& memory = moment.regions[name];
        const RegionState* region = board.entries->region(name);
        if (region == nullptr) continue;
        const Status read = view.for_each(name, false, [&](const EntryPtr& entry) {
            memory.active[entry->id.number] = entry;
            return true;
        });
        if (!read.ok()) return read;
        const Result<RegionCount> count = board.entries->count_at(region->number, question.at);
        if (!count.ok()) return count.error();
        if (!count->last_change) continue;
        const Result<std::shared_ptr<const LoggedRecord>> changed = board.entries->record(count->last_change);
        if (!changed.ok()) return changed.error();
        memory.last_change = (*changed)->record.time;
    }

    const std::uint64_t allowed = activations_allowed(*question.source);
    if (allowed == 0) return Done{};
    return index.find(claims_of(question), moment.run, question.at, false, [&](const LoggedRecord& logged) {
        if (is_claim(logged) && activation_of(logged).number == logged.position.number) ++question.activations;
        return question.activations < allowed;
    });
}

/// The newest time that a match which holds was taken up.
Result<std::optional<Taken>> taken_up(const Question& question, const std::vector<BoundEntry>& bound) {
    IndexQuery query = claims_of(question);
    Position since = question.moment.run;
    for (const BoundEntry& one : bound) {
        query.push_back({entry_term(RecordTermKind::bound, one.id)});
        const auto& active = question.moment.regions.at(one.id.region).active;
        // Nobody took this version of it up before it was there.
        if (const auto entry = active.find(one.id.number); entry != active.end()) {
            since = std::max(since, entry->second->position);
        }
    }
    std::optional<Taken> taken;
    const Provenance provenance = question.board.provenance();
    const Status walked = provenance.index().find(query, since, question.at, true, [&](const LoggedRecord& logged) {
        if (!is_claim(logged)) return true;
        for (const MatchRecord& member : logged.record.members) {
            if (member.bound == bound) taken = Taken{activation_of(logged), logged.position, bound};
        }
        return !taken;
    });
    if (!walked.ok()) return walked.error();
    return taken;
}

// "committed in record 12", "running", ...
Result<std::string> fate_of(const Question& question, ActivationId id) {
    std::string fate = "running";
    const Provenance provenance = question.board.provenance();
    const Status walked = provenance.index().find(
        {{activation_term(id)}}, {id.number}, question.at, false, [&](const LoggedRecord& logged) {
            const Record& record = logged.record;
            const std::string at = " in record " + number(logged.position.number);
            if (record.kind == RecordKind::commit) {
                fate = logged.verdict.accepted ? "committed" + at : "its commit was refused" + at;
            } else if (record.kind == RecordKind::claimed) {
                fate = record.attempt > 1 ? "running, attempt " + number(record.attempt) : "running";
            } else if (record.kind == RecordKind::result &&
                       record.outcome != static_cast<OutcomeCode>(OutcomeKind::ok)) {
                fate = std::string(to_text(static_cast<OutcomeKind>(record.outcome))) + at +
                       (record.reason.empty() ? "" : ": " + record.reason);
            } else if (record.kind == RecordKind::dead) {
                fate = "dead since record " + number(logged.position.number) +
                       "; try it again: stele retry --activation " + number(id.number);
            } else if (record.kind == RecordKind::abandoned) {
                fate = "abandoned" + at;
            }
            return true;
        });
    if (!walked.ok()) return walked.error();
    return fate;
}

// The control region as it was.
Result<bool> is_paused(const Question& question) {
    bool paused = false;
    const View view(*question.board.entries, question.at);
    const Status read = view.for_each(control_region_name, false, [&](const EntryPtr& entry) {
        const Value* key = entry->content.find("key");
        const Value* value = entry->content.find("value");
        if (key != nullptr && *key == Value("pause/" + question.source->name)) {
            paused = value != nullptr && *value == Value(true);
        }
        return true;
    });
    if (!read.ok()) return read.error();
    return paused;
}

Result<Gates> gates_of(const Question& question) {
    Gates gates;
    const SourceSpec& source = *question.source;
    if (!question.moment.run) gates.push_back("no run has begun");
    if (question.run_stopped) gates.push_back("the run had stopped (" + question.stop_reason + ")");
    const Result<bool> paused = is_paused(question);
    if (!paused.ok()) return paused.error();
    if (*paused) gates.push_back("it is paused; let it go on: stele control resume " + source.name);
    if (source.wake == WakeMode::once && question.activations > 0) {
        gates.push_back("it wakes once in a run (wake: once), and has");
    }
    if (source.limits.activations > 0 && question.activations >= source.limits.activations) {
        gates.push_back("its budget of " + counted(source.limits.activations, "activation", "activations") +
                        " is used up");
    }
    for (const Term& term : source.when.terms) {
        if (term.kind == TermKind::idle) gates.push_back("it waits until nothing else is queued, running or due");
        if (term.kind == TermKind::impasse) gates.push_back("it waits until nothing can go on short of the goal");
    }
    return gates;
}

// Who changed this region last before the version asked for.
std::string last_change_text(const Question& question, const std::string& region) {
    const RegionState* state = question.board.entries->region(region);
    if (state == nullptr) return "nothing was ever written there";
    const Result<RegionCount> count = question.board.entries->count_at(state->number, question.at);
    if (!count.ok() || !count->last_change) return "nothing was ever written there";
    const Result<std::shared_ptr<const LoggedRecord>> logged = question.board.entries->record(count->last_change);
    if (!logged.ok()) return {};
    return "last changed by " + (*logged)->record.author + " in record " + number(count->last_change.number);
}

std::string short_value(const std::optional<Value>& value) { return value ? to_json_line(*value) : "missing"; }

std::string failed_text(const FailedTest& test, const std::vector<std::string>& variables) {
    std::string text = comparison_text(*test.comparison, variables) + ": it is " + short_value(test.value);
    if (test.comparison->operand.reference) text += ", asked for " + short_value(test.wanted);
    return text;
}

// What a term comes to, in a few words.
std::string state_text(const TermState& state) {
    const Term& term = *state.term;
    if (!state.holds) return "nobody can say: it asks about a variable that nothing is bound to";
    std::string text;
    if (term.binds() || term.kind == TermKind::none || term.kind == TermKind::exists) {
        text = number(state.passing) + " of " + counted(state.entries, "entry", "entries");
        if (state.bound) text += ", bound to " + to_text(state.bound->id) + " v" + number(state.bound->version);
    }
    if (term.kind == TermKind::count || term.kind == TermKind::sum || term.kind == TermKind::min ||
        term.kind == TermKind::max || term.kind == TermKind::avg) {
        text = "it is " + short_value(state.value) + ", over " + number(state.passing) + " of " +
               counted(state.entries, "entry", "entries");
    }
    return text;
}

std::string shell_word(const std::string& text) {
    const bool plain = !text.empty() && text.find_first_not_of(
                                            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789_-./") == std::string::npos;
    if (plain) return text;
    std::string quoted = "'";
    for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return quoted + "'";
}

// The command that makes a write.
std::string command_of(const Write& write, const std::string& board) {
    std::string text;
    if (write.op == WriteOp::retract) {
        text = "stele retract " + shell_word(write.region + "/" + number(write.number));
    } else {
        text = "stele write " + shell_word(write.region) + " " + shell_word(to_json(write.content)) + " --op " +
               to_text(write.op);
        if (write.number != 0) text += " --entry " + number(write.number);
        if (write.expected_version != 0) text += " --expect " + number(write.expected_version);
    }
    return text + " --board " + shell_word(board);
}

void print_term(const Question& question, const TermState& state, const TextOptions& text) {
    const std::vector<std::string>& variables = question.source->when.variables;
    Line line(text.terminal.columns);
    if (!state.holds) {
        line.add("  ? ", Style::yellow);
    } else {
        line.add(*state.holds ? "  ✓ " : "  ✗ ", *state.holds ? Style::green : Style::red);
    }
    line.add(term_text(*state.term, variables), state.holds.value_or(true) ? Style::plain : Style::bold);
    std::cout << line.text(text.terminal.color) << "\n";
    const auto under = [&](const std::string& words, Style style = Style::dim) {
        Line below(text.terminal.columns);
        std::cout << below.add("      ").add(words, style).text(text.terminal.color) << "\n";
    };
    const std::string now = state_text(state);
    if (!now.empty()) under(now);
    if (state.holds.value_or(true)) return;
    const auto entry_words = [&](const Entry& entry) {
        return to_text(entry.id) + " v" + number(entry.version) + ", by " + entry.author + " in record " +
               number(entry.position.number) + ": " + to_json_line(entry.content);
    };
    for (const EntryPtr& entry : state.in_the_way) under("in the way: " + entry_words(*entry), Style::plain);
    if (state.in_the_way.size() < state.passing && !state.in_the_way.empty()) {
        under("and " + number(state.passing - state.in_the_way.size()) + " more");
    }
    if (state.nearest) {
        under("nearest: " + entry_words(*state.nearest), Style::plain);
        for (const FailedTest& test : state.failed) under("  " + failed_text(test, variables), Style::yellow);
        if (state.term->kind == TermKind::changed && state.nearest->version == 1) {
            under("  it has had one version so far", Style::yellow);
        }
    }
    if (state.due) {
        under("holds at " + since_text(state.due->ms - text.start.ms) + ", in " +
                  duration_text(state.due->ms - question.moment.now.ms) + ", if nothing else happens",
              Style::plain);
    }
    if (!state.term->region.empty()) under(last_change_text(question, state.term->region));
}

Value json_of(const Question& question, const TermState& state) {
    const std::vector<std::string>& variables = question.source->when.variables;
    const auto entry_json = [](const EntryPtr& entry) {
        return Value::object({{"id", valid_utf8(to_text(entry->id))},
                              {"version", json_of(entry->version)},
                              {"author", valid_utf8(entry->author)},
                              {"position", json_of(entry->position.number)},
                              {"entry", entry->content}});
    };
    Value value = Value::object({{"term", valid_utf8(term_text(*state.term, variables))},
                                 {"kind", to_text(state.term->kind)},
                                 {"holds", state.holds ? Value(*state.holds) : Value()}});
    if (!state.term->region.empty()) {
        value.set("region", state.term->region);
        value.set("entries", json_of(state.entries));
        value.set("passing", json_of(state.passing));
        value.set("last_change", valid_utf8(last_change_text(question, state.term->region)));
    }
    if (state.bound) value.set("bound", entry_json(state.bound));
    if (state.value) value.set("value", *state.value);
    if (state.due) value.set("due_ms", state.due->ms);
    if (state.nearest) {
        Value nearest = entry_json(state.nearest);
        Value::Array failed;
        for (const FailedTest& test : state.failed) failed.push_back(valid_utf8(failed_text(test, variables)));
        nearest.set("failed", Value(std::move(failed)));
        value.set("nearest", std::move(nearest));
    }
    Value::Array in_the_way;
    for (const EntryPtr& entry : state.in_the_way) in_the_way.push_back(entry_json(entry));
    if (!in_the_way.empty()) value.set("in_the_way", Value(std::move(in_the_way)));
    return value;
}

Result<const SourceSpec*> find_source(const CrewSpec& crew, const std::string& name) {
    if (const SourceSpec* source = crew.source(name)) return source;
    std::vector<std::string> names;
    for (const SourceSpec& source : crew.sources) names.push_back(source.name);
    const std::string near = nearest_name(name, names);
    std::string all;
    for (const std::string& known : names) all += (all.empty() ? "" : ", ") + known;
    return Error{ErrorCode::not_found, "crew " + crew.name + " has no source \"" + name + "\"" +
                                           (near.empty() ? "; it has " + all : "; did you mean " + near + "?")};
}

}  // namespace

ExitCode command_why_not(const WhyNotOptions& options) {
    const Result<OpenBoard> board = open_board(options.common);
    if (!board.ok()) return complain(board.error());
    const Result<Position> at = version_or_newest(*board, options.at);
    if (!at.ok()) return complain(at.error());
    Question question{*board, *at, crew_at(*board, *at), nullptr, {}, 0, false, {}};
    if (!question.crew) {
        return complain({ErrorCode::not_found, "no crew had been started on board \"" + board->info.address.board +
                                                   "\" at version " + number(at->number)});
    }
    const Result<const SourceSpec*> source = find_source(*question.crew, options.source);
    if (!source.ok()) return complain(source.error());
    question.source = *source;
    if (const Status read = read_moment(question); !read.ok()) return complain(read.error());
    const Result<Gates> gates = gates_of(question);
    if (!gates.ok()) return complain(gates.error());

    const Condition& when = question.source->when;
    const WhyNot answer =
        why_not(when, question.moment, [&](const std::string& name) { return question.crew->region(name); });
    std::vector<MatchPtr> open;
    std::map<std::vector<BoundEntry>, std::optional<Taken>> asked;
    Status bad = Done{};
    if (answer.holds) {
        open = offered_matches(when, question.moment, [&](const Match& match) {
            const auto [known, first] = asked.try_emplace(match.bound);
            if (first) {
                Result<std::optional<Taken>> found = taken_up(question, match.bound);
                if (!found.ok()) return bad = found.error(), false;
                known->second = std::move(*found);
            }
            return known->second.has_value();
        });
    }
    if (!bad.ok()) return complain(bad.error());
    std::vector<Taken> taken;
    for (const auto& [bound, one] : asked) {
        if (one) taken.push_back(*one);
    }
    std::sort(taken.begin(), taken.end(), [](const Taken& a, const Taken& b) { return a.claimed > b.claimed; });
    std::vector<std::string> fates;
    for (std::size_t i = 0; i < taken.size() && i < taken_shown; ++i) {
        const Result<std::string> fate = fate_of(question, taken[i].id);
        if (!fate.ok()) return complain(fate.error());
        fates.push_back(*fate);
    }
    std::size_t held = 0;
    for (const TermState& state : answer.terms) held += state.holds.value_or(false) ? 1 : 0;

    const TextOptions text = text_options(options.common, *board);
    if (options.common.json) {
        Value::Array terms;
        for (const TermState& state : answer.terms) terms.push_back(json_of(question, state));
        Value::Array ways;
        for (std::size_t i = 0; i < fates.size(); ++i) {
            ways.push_back(Value::object({{"activation", json_of(taken[i].id.number)},
                                          {"claimed", json_of(taken[i].claimed.number)},
                                          {"bound", valid_utf8(bound_text(taken[i].bound))},
                                          {"fate", valid_utf8(fates[i])}}));
        }
        Value::Array held_back;
        for (const std::string& gate : *gates) held_back.push_back(valid_utf8(gate));
        Value::Array edit;
        for (const Write& write : answer.edit) {
            Value one = Value::object({{"op", to_text(write.op)},
                                       {"region", write.region},
                                       {"command", valid_utf8(command_of(write, board->info.address.board))}});
            if (!write.content.is_null()) one.set("entry", write.content);
            if (write.number != 0) one.set("number", json_of(write.number));
            edit.push_back(std::move(one));
        }
        Value value = Value::object({{"source", question.source->name},
                                     {"board", board->info.address.board},
                                     {"version", json_of(at->number)},
                                     {"holds", answer.holds},
                                     {"queued", !open.empty()},
                                     {"held_back", Value(std::move(held_back))},
                                     {"terms", Value(std::move(terms))},
                                     {"taken", Value(std::move(ways))},
                                     {"edit", Value(std::move(edit))}});
        if (!answer.no_edit.empty()) value.set("no_edit", valid_utf8(answer.no_edit));
        if (answer.wait_until) value.set("wait_until_ms", answer.wait_until->ms);
        if (answer.cut) value.set("cut", true);
        std::cout << to_json_line(value) << "\n";
        return ExitCode::done;
    }

    const Pager pager(options.common.pager);
    const auto print = [&](const std::string& words, Style style = Style::plain) {
        Line line(text.terminal.columns);
        std::cout << line.add(words, style).text(text.terminal.color) << "\n";
    };
    print(question.source->name + " at version " + number(at->number) + " (" +
              since_text(question.moment.now.ms - text.start.ms) + "): " + number(held) + " of " +
              counted(answer.terms.size(), "term holds", "terms hold") +
              (answer.holds ? ", so its precondition does" : ""),
          Style::bold);
    for (const std::string& gate : *gates) print("  held back: " + gate, Style::yellow);
    for (const TermState& state : answer.terms) print_term(question, state, text);
    if (answer.cut) print("  (too many combinations to look at: another may come nearer)", Style::yellow);
    if (answer.holds && !open.empty()) {
        print("a match is waiting to run: " + bound_text(open.front()->bound));
        if (gates->empty()) {
            print(
                "  it is queued behind others, waits for a free slot, or for its batch to fill; "
                "see the agenda with: stele replay --step",
                Style::dim);
        }
        return ExitCode::done;
    }
    if (answer.holds) {
        print(
            "every way in which it holds was taken up; a new entry, or a new version of one it binds, wakes it again");
        for (std::size_t i = 0; i < fates.size(); ++i) {
            print("  #" + number(taken[i].id.number) + " woken by " + bound_text(taken[i].bound) + ": " + fates[i]);
        }
        if (taken.size() > fates.size()) print("  and " + number(taken.size() - fates.size()) + " more", Style::dim);
        return ExitCode::done;
    }
    if (answer.edit.empty() && answer.wait_until) {
        print("it holds at " + since_text(answer.wait_until->ms - text.start.ms) + " if nothing else happens");
    } else if (answer.edit.empty()) {
        print("no edit to offer: " + answer.no_edit);
    } else {
        print("this would make it hold" +
              (answer.wait_until ? ", at " + since_text(answer.wait_until->ms - text.start.ms) : std::string()) +
              " (checked against the matcher):");
        // Whole, however wide the terminal is: it is there to be copied.
        for (const Write& write : answer.edit) {
            std::cout << "  " << printable(command_of(write, board->info.address.board)) << "\n";
        }
    }
    return ExitCode::done;
}

}  // namespace stele

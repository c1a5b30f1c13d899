// `stele replay`: a run again, to verify it, to ask what another crew would have done, or step by step.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <iostream>
#include <sstream>

#include "board/nearest.hpp"
#include "runtime/commands.hpp"
#include "runtime/crew_edit.hpp"
#include "runtime/open_board.hpp"
#include "runtime/pager.hpp"
#include "runtime/record_json.hpp"
#include "runtime/record_text.hpp"
#include "runtime/replay.hpp"
#include "runtime/replay_with.hpp"
#include "runtime/stepper.hpp"
#include "runtime/what_if.hpp"

namespace stele {
namespace {

constexpr std::size_t agenda_shown = 5;
constexpr std::size_t agenda_shown_max = 50;

Value json_of(std::uint64_t value) { return static_cast<std::int64_t>(value); }

Value bound_json(const std::vector<BoundEntry>& bound) {
    Value::Array values;
    for (const BoundEntry& entry : bound) {
        values.push_back(Value::object({{"id", valid_utf8(to_text(entry.id))}, {"version", json_of(entry.version)}}));
    }
    return Value(std::move(values));
}

// ---- --verify -----------------------------------------------------------------------------------

ExitCode verify(const CommonOptions& options, const OpenBoard& board) {
    const Result<ReplayReport> report = verify_replay(*board.store, board.info, board.last, make_crew_reader());
    if (!report.ok()) return complain(report.error());
    const std::string name = printable(board.info.address.board);
    if (options.json) {
        Value value = Value::object({{"board", board.info.address.board},
                                     {"records", json_of(report->records)},
                                     {"commits", json_of(report->commits)},
                                     {"decisions", json_of(report->decisions)},
                                     {"purged", json_of(report->purged)},
                                     {"taken_at_its_word", json_of(report->taken_at_its_word)},
                                     {"state_hash", to_hex(report->state_hash)},
                                     {"same", !report->difference}});
        if (report->difference) {
            value.set("difference", *report->difference);
            value.set("position", json_of(report->differs_at.number));
        }
        std::cout << to_json_line(value) << "\n";
    } else if (report->difference) {
        std::cout << "board " << name << ": " << printable(*report->difference) << "\n";
    } else {
        std::cout << "board " << name << ": " << count_text(report->records) << " records, "
                  << count_text(report->commits) << " commits, " << count_text(report->decisions)
                  << " decisions: the same again; state hash " << to_hex(report->state_hash) << "\n";
        if (report->purged > 0) {
            std::cout << counted(report->purged, "record", "records")
                      << " were purged: " << counted(report->taken_at_its_word, "decision", "decisions")
                      << " after the first cannot be worked out again, and were taken as they stand\n";
        }
    }
    return report->difference ? ExitCode::differs : ExitCode::done;
}

// ---- --with -------------------------------------------------------------------------------------

ExitCode compare(const ReplayOptions& options, const OpenBoard& board) {
    const Result<Position> at = version_or_newest(board, options.at);
    if (!at.ok()) return complain(at.error());
    const Result<LoadedCrew> other = crew_to_try({options.crew_file, options.inputs, options.settings}, board, *at);
    if (!other.ok()) {
        if (other.error().code != ErrorCode::refused) return complain(other.error());
        std::cerr << other.error().message << std::endl;
        return ExitCode::usage;
    }
    const std::size_t most = options.limit == 0 ? SIZE_MAX : options.limit;
    const Result<WakeComparison> compared =
        compare_wakes(*board.store, board.info, *at, *other->crew, make_crew_reader(), most);
    if (!compared.ok()) return complain(compared.error());
    if (options.common.json) {
        Value::Array sources;
        for (const SourceWakes& wakes : compared->sources) {
            sources.push_back(Value::object({{"source", wakes.source},
                                             {"in_log", wakes.in_log},
                                             {"in_other", wakes.in_other},
                                             {"waits_for_rest", wakes.waits_for_rest},
                                             {"ran", json_of(wakes.ran)},
                                             {"both", json_of(wakes.both)},
                                             {"only_log", json_of(wakes.only_log)},
                                             {"only_other", json_of(wakes.only_other)}}));
        }
        Value::Array differences;
        for (const WakeDifference& one : compared->differences) {
            Value value = Value::object({{"position", json_of(one.at.number)},
                                         {"time", one.time.ms},
                                         {"source", one.source},
                                         {"under", one.other ? "other" : "log"},
                                         {"bound", bound_json(one.bound)}});
            if (one.later) value.set("later", json_of(one.later.number));
            differences.push_back(std::move(value));
        }
        std::cout << to_json_line(Value::object({{"board", board.info.address.board},
                                                 {"records", json_of(compared->records)},
                                                 {"differences", json_of(compared->difference_count)},
                                                 {"sources", Value(std::move(sources))},
                                                 {"first", Value(std::move(differences))}}))
                  << "\n";
        return ExitCode::done;
    }

    const TextOptions text = text_options(options.common, board);
    const Pager pager(options.common.pager);
    Table table({{"SOURCE"},
                 {"RAN", Align::right},
                 {"TRUE UNDER BOTH", Align::right},
                 {"ONLY THE LOG'S", Align::right},
                 {"ONLY THE OTHER", Align::right},
                 {""}});
    for (const SourceWakes& wakes : compared->sources) {
        std::string note = !wakes.in_log ? "new" : !wakes.in_other ? "gone" : "";
        if (wakes.waits_for_rest) note += (note.empty() ? "" : ", ") + std::string("waits for rest");
        const auto count = [](std::uint64_t number, Style style) {
            return Table::Cell{count_text(number), number == 0 ? Style::dim : style};
        };
        table.add({Table::Cell{wakes.source}, count(wakes.ran, Style::plain), count(wakes.both, Style::plain),
                   count(wakes.only_log, Style::red), count(wakes.only_other, Style::green), Table::Cell{note}});
    }
    std::cout << table.text(text.terminal);
    if (compared->difference_count == 0) {
        std::cout << "the same matches at the same records, " << count_text(compared->records) << " of them\n";
        return ExitCode::done;
    }
    bool first = true;
    for (const WakeDifference& one : compared->differences) {
        Line line(text.terminal.columns);
        line.add(first ? "first  " : "       ", Style::dim)
            .add("record " + std::to_string(one.at.number) + "  " + since_text(one.time.ms - text.start.ms) + "  ");
        line.add(one.source, Style::cyan).add(" for " + bound_text(one.bound) + " ");
        line.add(one.other ? "under the other crew" : "under the log's crew", one.other ? Style::green : Style::red);
        if (one.later) line.add(", under both from record " + std::to_string(one.later.number));
        std::cout << line.text(text.terminal.color) << "\n";
        first = false;
    }
    if (compared->differences.size() < compared->difference_count) {
        std::cout << "there are more: --limit 0 shows all\n";
    }
    return ExitCode::done;
}

// ---- --step -------------------------------------------------------------------------------------

const char* const step_help =
    "next [N], n     N records on              back [N], b      N records back\n"
    "goto N          to record N               end              to the last record\n"
    "continue, c     on to a breakpoint        reverse, r       back to a breakpoint\n"
    "break NAME      at records by this source, or commits that change this region\n"
    "break when TERM where this becomes true, as in: break when {count: evidence, is: {gte: 3}}\n"
    "breaks          list the breakpoints      clear            forget them\n"
    "agenda [N], a   what is queued            board            the regions\n"
    "show NAME       a region or an entry      record           this record in full\n"
    "help, h         this                      quit, q\n"
    "An empty line does the last movement again.\n";

class StepSession {
public:
    StepSession(const ReplayOptions& options, const OpenBoard& board, Stepper& stepper)
        : options_(options), board_(board), stepper_(stepper), text_(text_options(options.common, board)) {}

    ExitCode run() {
        const bool prompts = ::isatty(0) == 1 && !options_.common.json;
        if (prompts) {
            std::cout << "board " << printable(board_.info.address.board) << ", "
                      << counted(stepper_.last().number, "record", "records") << "; help tells the commands\n";
        }
        std::string last = "next";
        for (std::string line; true;) {
            if (prompts) {
                std::cout << "(" << stepper_.at().number << "/" << stepper_.last().number << ") " << std::flush;
            }
            if (!std::getline(std::cin, line)) break;
            if (line.empty()) line = last;
            std::istringstream words(line);
            std::string verb;
            words >> verb;
            std::string rest;
            std::getline(words >> std::ws, rest);
            if (verb == "quit" || verb == "q") break;
            const Status done = obey(verb, rest);
            if (!done.ok()) {
                if (options_.common.json) {
                    std::cout << to_json_line(Value::object({{"error", valid_utf8(done.error().message)}}))
                              << std::endl;
                } else {
                    std::cout << printable(done.error().message) << std::endl;
                }
                if (done.error().code == ErrorCode::corrupt || done.error().code == ErrorCode::io) {
                    return complain(done.error());
                }
                continue;
            }
            if (is_movement(verb)) last = line;
        }
        return ExitCode::done;
    }

private:
    static bool is_movement(const std::string& verb) {
        for (const char* one : {"next", "n", "back", "b", "continue", "c", "reverse", "r"}) {
            if (verb == one) return true;
        }
        return false;
    }

    static Result<std::uint64_t> number_of(const std::string& text, std::uint64_t otherwise) {
        if (text.empty()) return otherwise;
        std::uint64_t number = 0;
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (error != std::errc() || end != text.data() + text.size()) {
            return Error{ErrorCode::invalid_argument, "\"" + text + "\" is no number"};
        }
        return number;
    }

    Status obey(const std::string& verb, const std::string& rest) {
        const auto is = [&](const char* word, const char* letter) { return verb == word || verb == letter; };
        if (is("next", "n") || is("back", "b") || verb == "goto") {
            const Result<std::uint64_t> by = number_of(rest, verb == "goto" ? stepper_.at().number : 1);
            if (!by.ok()) return by.error();
            const std::uint64_t here = stepper_.at().number;
            const std::uint64_t left = stepper_.last().number - here;
            const std::uint64_t to = verb == "goto"    ? *by
                                     : is("next", "n") ? here + std::min(*by, left)
                                                       : here - std::min(*by, here);
            return moved(stepper_.go_to({to}));
        }
        if (verb == "end") return moved(stepper_.go_to(stepper_.last()));
        if (is("continue", "c")) return moved(stepper_.go_on());
        if (is("reverse", "r")) return moved(stepper_.go_back());
        if (is("agenda", "a")) {
            const Result<std::uint64_t> most = number_of(rest, agenda_shown_max);
            if (!most.ok()) return most.error();
            print_agenda(static_cast<std::size_t>(*most));
            return Done{};
        }
        if (verb == "break") return add_break(rest);
        if (verb == "breaks") {
            for (const Breakpoint& breakpoint : stepper_.breakpoints()) {
                std::cout << "  " << printable(breakpoint.text) << "\n";
            }
            if (stepper_.breakpoints().empty()) std::cout << "  none\n";
            return Done{};
        }
        if (verb == "clear") {
            stepper_.clear();
            return Done{};
        }
        if (verb == "board") return show_board();
        if (verb == "show") return show(rest);
        if (verb == "record") {
            if (!stepper_.record()) return Error{ErrorCode::not_found, "before the first record"};
            std::cout << long_text(*stepper_.record(), text_) << std::endl;
            return Done{};
        }
        if (is("help", "h")) {
            std::cout << step_help << std::flush;
            return Done{};
        }
        const std::string near = nearest_name(verb, {"next", "back", "goto", "end", "continue", "reverse", "break",
                                                     "breaks", "clear", "agenda", "board", "show", "record", "quit"});
        return Error{ErrorCode::invalid_argument,
                     "there is no command \"" + verb + "\"" +
                         (near.empty() ? std::string("; help tells them") : "; did you mean " + near + "?")};
    }

    // Prints where we are now.
    Status moved(const Status& status) {
        if (!status.ok()) return status;
        if (options_.common.json) {
            print_json();
            return Done{};
        }
        if (!stepper_.record()) {
            std::cout << "before the first record" << std::endl;
            return Done{};
        }
        std::cout << one_line(*stepper_.record(), text_) << "\n";
        Line reason(text_.terminal.columns);
        std::cout << reason.add("      ").add(stepper_.reason(), Style::dim).text(text_.terminal.color) << "\n";
        for (const std::string& hit : stepper_.hits()) {
            Line line(text_.terminal.columns);
            std::cout << line.add("      breakpoint: " + hit, Style::yellow).text(text_.terminal.color) << "\n";
        }
        print_agenda(agenda_shown);
        return Done{};
    }

    void print_json() {
        Value value = Value::object({{"position", json_of(stepper_.at().number)},
                                     {"queued", json_of(stepper_.scheduler().queued())},
                                     {"agenda", agenda_json(agenda_shown_max)}});
        if (stepper_.record()) {
            value.set("record", to_value(*stepper_.record()));
            value.set("reason", valid_utf8(stepper_.reason()));
        }
        Value::Array hits;
        for (const std::string& hit : stepper_.hits()) hits.push_back(valid_utf8(hit));
        value.set("breakpoints", Value(std::move(hits)));
        std::cout << to_json_line(value) << std::endl;
    }

    Value agenda_json(std::size_t most) {
        Value::Array items;
        for (const QueuedMatch& queued : stepper_.scheduler().agenda(most)) {
            Value item = Value::object({{"source", stepper_.scheduler().crew()->sources[queued.source].name},
                                        {"rating", Value::number(queued.rating)},
                                        {"bound", bound_json(queued.match->bound)}});
            if (!queued.rating_terms.empty()) {
                Result<Value> terms = parse_json(queued.rating_terms);
                if (terms.ok()) item.set("rating_terms", std::move(*terms));
            }
            if (!queued.held_back.empty()) item.set("held_back", valid_utf8(queued.held_back));
            items.push_back(std::move(item));
        }
        return Value(std::move(items));
    }

    void print_agenda(std::size_t most) {
        if (options_.common.json) {
            std::cout << to_json_line(Value::object({{"agenda", agenda_json(most)}})) << std::endl;
            return;
        }
        const Scheduler& scheduler = stepper_.scheduler();
        for (const QueuedMatch& queued : scheduler.agenda(most)) {
            Line line(text_.terminal.columns);
            line.add("      queued  ", Style::dim).add(scheduler.crew()->sources[queued.source].name, Style::cyan);
            line.add("  rating " + to_json(Value::number(queued.rating)) + "  " + bound_text(queued.match->bound));
            if (!queued.held_back.empty()) line.add("  held back: " + queued.held_back, Style::yellow);
            if (!queued.rating_terms.empty()) line.add("  " + queued.rating_terms, Style::dim);
            std::cout << line.text(text_.terminal.color) << "\n";
        }
        if (scheduler.queued() > most) {
            std::cout << "      and " << count_text(scheduler.queued() - most) << " more queued\n";
        }
        std::cout << std::flush;
    }

    Status add_break(const std::string& what) {
        Breakpoint breakpoint;
        breakpoint.text = what;
        // The crew of the end knows all names; where we are none may be in force yet.
        const std::shared_ptr<const CrewSpec> crew = crew_at(board_, stepper_.last());
        if (!crew) return Error{ErrorCode::not_found, "no crew was ever started on this board"};
        if (what.rfind("when", 0) == 0) {
            std::string regions;
            for (const RegionSpec& region : crew->regions) {
                if (!region.scratch) regions += (regions.empty() ? "" : ", ") + region.name;
            }
            // Read as a precondition of this crew, by the reader that all preconditions are read by.
            const Result<std::string> edited =
                edit_crew(crew->text, {"sources.breakpoint={kind: process, command: [\"true\"], when: [" +
                                       what.substr(4) + "], may: {read: [" + regions + "]}}"});
            if (!edited.ok()) return edited.error();
            const LoadedCrew loaded = load_crew(*edited, "break", crew->base_directory, inputs_of(*crew));
            if (!loaded.crew) {
                for (const CrewProblem& problem : loaded.problems) {
                    if (!problem.warning) return Error{ErrorCode::invalid_argument, problem.message};
                }
            }
            breakpoint.holder = loaded.crew;
            breakpoint.condition = &loaded.crew->source("breakpoint")->when;
        } else if (crew->source(what) != nullptr) {
            breakpoint.source = what;
        } else if (crew->region(what) != nullptr) {
            breakpoint.region = what;
        } else {
            std::vector<std::string> names;
            for (const SourceSpec& source : crew->sources) names.push_back(source.name);
            for (const RegionSpec& region : crew->regions) names.push_back(region.name);
            const std::string near = nearest_name(what, names);
            return Error{ErrorCode::not_found,
                         "there is no source and no region \"" + what + "\"" +
                             (near.empty() ? std::string("; or: break when TERM") : "; did you mean " + near + "?")};
        }
        return stepper_.add(std::move(breakpoint));
    }

    Status show_board() {
        std::vector<RegionRow> rows;
        const std::shared_ptr<const CrewSpec>& crew = stepper_.scheduler().crew();
        for (const RegionState& state : board_.entries->regions()) {
            const Result<RegionCount> count = board_.entries->count_at(state.number, stepper_.at());
            if (!count.ok()) return count.error();
            if (!count->last_change) continue;
            const RegionSpec* spec = crew ? crew->region(state.name) : nullptr;
            RegionRow row;
            row.name = state.name;
            row.policy = spec == nullptr ? "" : to_text(spec->policy);
            row.active = count->active_entries;
            row.last_change = count->last_change;
            if (spec != nullptr && spec->policy == PolicyKind::counter) row.sum = count->sum;
            rows.push_back(std::move(row));
        }
        std::cout << (rows.empty() ? "nothing was written yet\n" : region_table(rows, text_)) << std::flush;
        return Done{};
    }

    Status show(const std::string& what) {
        if (what.find('/') != std::string::npos) {
            const Result<EntryId> id = parse_entry_id(what);
            if (id.ok() && board_.entries->region(id->region) != nullptr) {
                const Result<EntryPtr> entry = View(*board_.entries, stepper_.at()).find_any(*id);
                if (!entry.ok()) return entry.error();
                if (!*entry) return Error{ErrorCode::not_found, what + " is not on the board yet"};
                std::cout << entry_long(**entry, text_) << std::endl;
                return Done{};
            }
        }
        if (board_.entries->region(what) == nullptr) {
            return Error{ErrorCode::not_found, "there is no region or entry \"" + what + "\""};
        }
        const Status read = View(*board_.entries, stepper_.at()).for_each(what, false, [&](const EntryPtr& entry) {
            std::cout << entry_line(*entry, text_) << "\n";
            return std::cout.good();
        });
        std::cout << std::flush;
        return read;
    }

    const ReplayOptions& options_;
    const OpenBoard& board_;
    Stepper& stepper_;
    TextOptions text_;
};

ExitCode step(const ReplayOptions& options, const OpenBoard& board) {
    const Result<std::unique_ptr<Stepper>> stepper =
        Stepper::open(*board.store, board.info, board.last, make_crew_reader());
    if (!stepper.ok()) return complain(stepper.error());
    if (options.at != 0) {
        const Result<Position> at = version_or_newest(board, options.at);
        if (!at.ok()) return complain(at.error());
        const Status gone = (*stepper)->go_to(*at);
        if (!gone.ok()) return complain(gone.error());
    }
    return StepSession(options, board, **stepper).run();
}

}  // namespace

ExitCode command_replay(const ReplayOptions& options) {
    const bool with = !options.crew_file.empty() || !options.settings.empty();
    if (int{options.verify} + int{options.step} + int{with} != 1) {
        return complain(
            {ErrorCode::invalid_argument, "say one of: replay --verify, replay --step, replay --with CREW (or --set)"});
    }
    const Result<OpenBoard> board = open_board(options.common);
    if (!board.ok()) return complain(board.error());
    if (options.verify) return verify(options.common, *board);
    return with ? compare(options, *board) : step(options, *board);
}

}  // namespace stele

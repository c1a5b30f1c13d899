// The commands that only read: check, log, show, boards, replay. They work beside an owner, up to
// what it has synced.
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iostream>

#include "board/log/write_log.hpp"
#include "board/nearest.hpp"
#include "runtime/commands.hpp"
#include "runtime/crew_check.hpp"
#include "runtime/record_json.hpp"
#include "runtime/record_text.hpp"
#include "runtime/replay.hpp"

namespace stele {
namespace {

// A board as another process may read it: nothing beyond what was synced.
struct OpenBoard {
    std::unique_ptr<DataDirectory> data;
    BoardInfo info;
    std::unique_ptr<EntryStore> entries;
    Position last;  // of the records that may be read
};

Result<BoardInfo> choose_board(const DataDirectory& data, const std::string& name) {
    const Result<std::vector<BoardInfo>> boards = data.boards();
    if (!boards.ok()) return boards.error();
    if (boards->empty()) {
        std::error_code ignored;
        if (!std::filesystem::is_empty(data.path() + "/heads", ignored) && !ignored) {
            return Error{ErrorCode::corrupt, "a file of " + data.path() +
                                                 "/db is damaged: its catalog names no board, though there are some; "
                                                 "restore the directory from a backup"};
        }
        return Error{ErrorCode::not_found, "there is no board in " + data.path()};
    }
    if (name.empty()) return boards->back();
    std::vector<std::string> names;
    for (const BoardInfo& board : *boards) {
        if (board.address.board == name) return board;
        names.push_back(board.address.board);
    }
    const std::string near = nearest_name(name, names);
    return Error{ErrorCode::not_found,
                 "there is no board \"" + name + "\"" +
                     (near.empty() ? std::string("; stele boards lists them") : "; did you mean " + near + "?")};
}

Result<OpenBoard> open_board(const CommonOptions& options) {
    Result<std::unique_ptr<DataDirectory>> data = DataDirectory::read(options.data);
    if (!data.ok()) return data.error();
    OpenBoard board;
    board.data = std::move(*data);
    Result<BoardInfo> info = choose_board(*board.data, options.board);
    if (!info.ok()) return info.error();
    board.info = *info;
    board.entries = std::make_unique<EntryStore>(board.data->store(), board.info.number, board.info.family);
    const Status loaded = board.entries->load();
    if (!loaded.ok()) return loaded.error();
    const Result<std::optional<HeadMark>> head = board.data->head(board.info.number);
    if (!head.ok()) return head.error();
    // Without a head mark nothing tells what was synced; what is there is better than nothing.
    if (!head->has_value() && board.entries->meta().last) {
        std::cerr << "stele: board \"" << printable(board.info.address.board)
                  << "\" has no head mark: what is shown may not have been synced" << std::endl;
    }
    const Position marked = head->has_value() ? (*head)->position : board.entries->meta().last;
    board.last = std::min(board.entries->meta().last, marked);
    if (marked > board.entries->meta().last) {
        return Error{ErrorCode::corrupt, "the log of board \"" + board.info.address.board + "\" ends at record " +
                                             std::to_string(board.entries->meta().last.number) + ", but record " +
                                             std::to_string(marked.number) + " had been written to disk"};
    }
    return board;
}

TextOptions text_options(const CommonOptions& options) {
    TextOptions text;
    text.terminal = detect_terminal(1, options.color);
    return text;
}

// Policies stand in the crew; the newest one in the log names them.
std::shared_ptr<const CrewSpec> newest_crew(const OpenBoard& board) {
    std::shared_ptr<const CrewSpec> crew;
    const std::unique_ptr<WriteLog> log = make_store_log(board.data->store(), board.info.number);
    const CrewReader read = make_crew_reader();
    const Status walked = log->read({1}, [&](Position position, std::string_view bytes) {
        if (position > board.last) return false;
        const Result<LoggedRecord> header = decode_frame(position, bytes, DecodeDepth::header, {});
        if (!header.ok()) return false;
        const RecordKind kind = header->record.kind;
        if (kind != RecordKind::run_started && kind != RecordKind::reconfigured) return true;
        const Result<std::shared_ptr<const LoggedRecord>> logged = board.entries->record(position);
        if (!logged.ok() || (*logged)->record.parts.empty()) return true;
        const Record& record = (*logged)->record;
        Result<std::shared_ptr<const CrewSpec>> known =
            read(record.parts.front(), record.base_directory, record.inputs);
        if (known.ok()) crew = *known;
        return true;
    });
    return walked.ok() ? crew : nullptr;
}

Result<EntryId> parse_entry_id(const std::string& text) {
    const std::size_t slash = text.rfind('/');
    EntryId id;
    if (slash != std::string::npos) {
        id.region = text.substr(0, slash);
        const char* digits = text.c_str() + slash + 1;
        const auto [end, error] = std::from_chars(digits, text.c_str() + text.size(), id.number);
        if (error != std::errc() || end != text.c_str() + text.size()) id.number = 0;
    }
    if (id.number == 0) {
        return Error{
            ErrorCode::invalid_argument,
            "\"" + text + "\" is no entry; write REGION/NUMBER, as in evidence/12, or --region for a whole region"};
    }
    return id;
}

ExitCode show_entry(const OpenBoard& board, const ShowOptions& options, const View& view) {
    const Result<EntryId> id = parse_entry_id(options.entry);
    if (!id.ok()) return complain(id.error());
    const Result<EntryPtr> entry = view.find_any(*id);
    if (!entry.ok()) return complain(entry.error());
    if (!*entry) {
        return complain({ErrorCode::not_found, "there is no entry " + options.entry + " on board \"" +
                                                   board.info.address.board + "\" at version " +
                                                   std::to_string(view.version().number)});
    }
    if (options.common.json) {
        std::cout << to_json_line(to_value(**entry)) << "\n";
    } else {
        TextOptions text = text_options(options.common);
        text.times = TextOptions::Times::local;
        std::cout << entry_long(**entry, text) << "\n";
    }
    return ExitCode::done;
}

ExitCode show_region(const OpenBoard& board, const ShowOptions& options, const View& view) {
    if (board.entries->region(options.region) == nullptr) {
        std::vector<std::string> names;
        for (const RegionState& region : board.entries->regions()) names.push_back(region.name);
        const std::string near = nearest_name(options.region, names);
        std::string known;
        for (const std::string& name : names) {
            if (name.find('/') == std::string::npos) known += (known.empty() ? "" : ", ") + name;
        }
        return complain(
            {ErrorCode::not_found, "board \"" + board.info.address.board + "\" has no region \"" + options.region +
                                       "\"" + (near.empty() ? "; it has " + known : "; did you mean " + near + "?")});
    }
    const TextOptions text = text_options(options.common);
    const Status shown = view.for_each(options.region, false, [&](const EntryPtr& entry) {
        std::cout << (options.common.json ? to_json_line(to_value(*entry)) : entry_line(*entry, text)) << "\n";
        return std::cout.good();
    });
    return shown.ok() ? ExitCode::done : complain(shown.error());
}

ExitCode show_board(const OpenBoard& board, const ShowOptions& options, const View& view) {
    const std::shared_ptr<const CrewSpec> crew = newest_crew(board);
    std::vector<RegionRow> rows;
    for (const RegionState& region : board.entries->regions()) {
        const RegionSpec* spec = crew ? crew->region(region.name) : nullptr;
        RegionRow row;
        row.name = region.name;
        if (spec != nullptr) row.policy = to_text(spec->policy);
        std::int64_t sum = 0;
        const bool counts = spec != nullptr && spec->policy == PolicyKind::counter;
        const Status counted = view.for_each(region.name, false, [&](const EntryPtr& entry) {
            ++row.active;
            row.last_change = std::max(row.last_change, entry->position);
            if (counts) sum += entry->content.find("by")->as_int();
            return true;
        });
        if (!counted.ok()) return complain(counted.error());
        if (counts) row.sum = sum;
        if (region.scratch && row.active == 0) continue;
        rows.push_back(std::move(row));
    }
    if (options.common.json) {
        for (const RegionRow& row : rows) {
            Value value = Value::object({{"region", row.name},
                                         {"policy", row.policy},
                                         {"active", static_cast<std::int64_t>(row.active)},
                                         {"last_change", static_cast<std::int64_t>(row.last_change.number)}});
            if (row.sum) value.set("sum", *row.sum);
            std::cout << to_json_line(value) << "\n";
        }
        return ExitCode::done;
    }
    std::cout << "board " << printable(board.info.address.board) << " at version " << view.version().number << "\n"
              << region_table(rows, text_options(options.common));
    return ExitCode::done;
}

}  // namespace

ExitCode complain(const Error& error) {
    std::cerr << "stele: " << error.message << std::endl;
    return exit_code_of(error);
}

Result<std::vector<CrewInput>> parse_inputs(const std::vector<std::string>& given) {
    std::vector<CrewInput> inputs;
    for (const std::string& text : given) {
        const std::size_t equals = text.find('=');
        if (equals == std::string::npos || equals == 0) {
            return Error{ErrorCode::invalid_argument, "--input takes NAME=VALUE, not \"" + text + "\""};
        }
        inputs.push_back({text.substr(0, equals), text.substr(equals + 1)});
    }
    return inputs;
}

ExitCode command_check(const CheckOptions& options) {
    const Result<std::vector<CrewInput>> inputs = parse_inputs(options.inputs);
    if (!inputs.ok()) return complain(inputs.error());
    const LoadedCrew loaded = load_crew_file(options.crew_file, *inputs);
    for (const CrewProblem& problem : loaded.problems) {
        if (!options.common.json) {
            std::cerr << to_text(problem) << "\n";
            continue;
        }
        std::cout << to_json_line(Value::object({{"file", problem.file},
                                                 {"line", problem.place.line},
                                                 {"column", problem.place.column},
                                                 {"message", problem.message},
                                                 {"severity", problem.warning ? "warning" : "error"}}))
                  << "\n";
    }
    if (!loaded.crew) return ExitCode::usage;
    if (!options.common.json) std::cout << describe_consistency(*loaded.crew);
    return ExitCode::done;
}

ExitCode command_log(const LogOptions& options) {
    const Result<OpenBoard> board = open_board(options.common);
    if (!board.ok()) return complain(board.error());
    TextOptions text = text_options(options.common);
    std::uint64_t from = std::max<std::uint64_t>(1, options.from);
    if (options.last != 0 && board->last.number > options.last)
        from = std::max(from, board->last.number - options.last + 1);
    const Result<std::shared_ptr<const LoggedRecord>> first =
        board->last ? board->entries->record({1}) : Result<std::shared_ptr<const LoggedRecord>>(nullptr);
    if (first.ok() && *first) text.start = (*first)->record.time;
    text.position_columns = std::max<std::size_t>(4, std::to_string(board->last.number).size());
    const std::unique_ptr<WriteLog> log = make_store_log(board->data->store(), board->info.number);
    Status bad = Done{};
    const Status walked = log->read({from}, [&](Position position, std::string_view bytes) {
        if (position > board->last) return false;
        const Result<LoggedRecord> logged =
            decode_frame(position, bytes, DecodeDepth::full, board->entries->blob_loader());
        if (!logged.ok()) {
            bad = logged.error();
            return false;
        }
        if (options.common.json) {
            std::cout << to_json_line(to_value(*logged)) << "\n";
        } else {
            std::cout << (options.long_form ? long_text(*logged, text) : one_line(*logged, text)) << "\n";
        }
        return std::cout.good();
    });
    if (!walked.ok()) return complain(walked.error());
    return bad.ok() ? ExitCode::done : complain(bad.error());
}

ExitCode command_show(const ShowOptions& options) {
    const Result<OpenBoard> board = open_board(options.common);
    if (!board.ok()) return complain(board.error());
    if (options.at > board->last.number) {
        return complain({ErrorCode::not_found, "board \"" + board->info.address.board + "\" is at record " +
                                                   std::to_string(board->last.number) + "; there is no version " +
                                                   std::to_string(options.at) + " yet"});
    }
    const View view(*board->entries, options.at != 0 ? Position{options.at} : board->last);
    if (!options.entry.empty()) return show_entry(*board, options, view);
    if (!options.region.empty()) return show_region(*board, options, view);
    return show_board(*board, options, view);
}

ExitCode command_boards(const CommonOptions& options) {
    const Result<std::unique_ptr<DataDirectory>> data = DataDirectory::read(options.data);
    if (!data.ok()) return complain(data.error());
    const Result<std::vector<BoardInfo>> boards = (*data)->boards();
    if (!boards.ok()) return complain(boards.error());
    Table table({{"BOARD"}, {"RECORDS", Align::right}, {"VERSION", Align::right}, {"CREATED"}});
    for (const BoardInfo& board : *boards) {
        EntryStore entries((*data)->store(), board.number, board.family);
        const Status loaded = entries.load();
        if (!loaded.ok()) return complain(loaded.error());
        if (options.json) {
            std::cout << to_json_line(
                             Value::object({{"board", board.address.board},
                                            {"tenant", board.address.tenant},
                                            {"records", static_cast<std::int64_t>(entries.meta().last.number)},
                                            {"version", static_cast<std::int64_t>(entries.meta().version.number)},
                                            {"created", board.created.ms}}))
                      << "\n";
        }
        table.add({Table::Cell{board.address.board}, Table::Cell{count_text(entries.meta().last.number)},
                   Table::Cell{count_text(entries.meta().version.number)},
                   Table::Cell{local_time_text(board.created)}});
    }
    if (!options.json) std::cout << table.text(detect_terminal(1, options.color));
    return ExitCode::done;
}

ExitCode command_replay(const CommonOptions& options) {
    const Result<OpenBoard> board = open_board(options);
    if (!board.ok()) return complain(board.error());
    const Result<ReplayReport> report =
        verify_replay(board->data->store(), board->info, board->last, make_crew_reader());
    if (!report.ok()) return complain(report.error());
    if (options.json) {
        Value value = Value::object({{"board", board->info.address.board},
                                     {"records", static_cast<std::int64_t>(report->records)},
                                     {"commits", static_cast<std::int64_t>(report->commits)},
                                     {"decisions", static_cast<std::int64_t>(report->decisions)},
                                     {"state_hash", to_hex(report->state_hash)},
                                     {"same", !report->difference}});
        if (report->difference) {
            value.set("difference", *report->difference);
            value.set("position", static_cast<std::int64_t>(report->differs_at.number));
        }
        std::cout << to_json_line(value) << "\n";
    } else if (report->difference) {
        std::cout << "board " << printable(board->info.address.board) << ": " << printable(*report->difference) << "\n";
    } else {
        std::cout << "board " << printable(board->info.address.board) << ": " << count_text(report->records)
                  << " records, " << count_text(report->commits) << " commits, " << count_text(report->decisions)
                  << " decisions: the same again; state hash " << to_hex(report->state_hash) << "\n";
    }
    return report->difference ? ExitCode::differs : ExitCode::done;
}

}  // namespace stele

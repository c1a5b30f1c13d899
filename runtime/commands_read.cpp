// The commands that only read: check, show, boards, replay. They work beside an owner, up to
// what it has synced.
#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iostream>
#include <set>

#include "board/log/write_log.hpp"
#include "board/nearest.hpp"
#include "runtime/commands.hpp"
#include "runtime/crew_check.hpp"
#include "runtime/open_board.hpp"
#include "runtime/record_json.hpp"
#include "runtime/record_text.hpp"
#include "scheduler/consequences.hpp"

namespace stele {
namespace {

using Hidden = std::set<EntryId>;

// What would not be there without an entry: worked out from the whole log, whatever the crew declares.
Result<Hidden> hidden_without(const OpenBoard& board, const std::string& name, Position at) {
    Hidden hidden;
    if (name.empty()) return hidden;
    const Result<EntryId> id = parse_entry_id(name);
    if (!id.ok()) return id.error();
    const RecordLoader load = [&](Position position) { return board.entries->record(position); };
    Consequences consequences(OnRetract::none, load);
    for (Position position{1}; position <= at; ++position.number) {
        const Result<std::shared_ptr<const LoggedRecord>> logged = load(position);
        if (!logged.ok()) return logged.error();
        consequences.feed(**logged);
    }
    SupportGraph graph = consequences.graph();
    if (!graph.is_active(*id)) {
        return Error{ErrorCode::not_found, "there is no entry " + name + " on board \"" + board.info.address.board +
                                               "\" at version " + std::to_string(at.number)};
    }
    const SupportChange gone{*id, false, {}};
    graph.apply({&gone, 1});
    const Hidden before = consequences.graph().suspects();
    for (const EntryId& suspect : graph.suspects()) {
        if (before.count(suspect) == 0) hidden.insert(suspect);
    }
    hidden.insert(*id);
    return hidden;
}

ExitCode show_entry(const OpenBoard& board, const ShowOptions& options, const View& view, const Hidden& hidden) {
    const Result<EntryId> id = parse_entry_id(options.entry);
    if (!id.ok()) return complain(id.error());
    const Result<EntryPtr> entry = view.find_any(*id);
    if (!entry.ok()) return complain(entry.error());
    if (!*entry || hidden.count(*id) > 0) {
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

ExitCode show_region(const OpenBoard& board, const ShowOptions& options, const View& view, const Hidden& hidden) {
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
        if (hidden.count(entry->id) > 0) return true;
        std::cout << (options.common.json ? to_json_line(to_value(*entry)) : entry_line(*entry, text)) << "\n";
        return std::cout.good();
    });
    return shown.ok() ? ExitCode::done : complain(shown.error());
}

ExitCode show_board(const OpenBoard& board, const ShowOptions& options, const View& view, const Hidden& hidden) {
    const std::shared_ptr<const CrewSpec> crew = crew_at(board, view.version());
    std::vector<RegionRow> rows;
    for (const RegionState& region : board.entries->regions()) {
        const RegionSpec* spec = crew ? crew->region(region.name) : nullptr;
        RegionRow row;
        row.name = region.name;
        if (spec != nullptr) row.policy = to_text(spec->policy);
        const Result<RegionCount> count = board.entries->count_at(region.number, view.version());
        if (!count.ok()) return complain(count.error());
        row.active = count->active_entries;
        row.last_change = count->last_change;
        if (spec != nullptr && spec->policy == PolicyKind::counter) row.sum = count->sum;
        for (const EntryId& id : hidden) {
            if (id.region != region.name) continue;
            const Result<EntryPtr> entry = view.find(id);
            if (!entry.ok()) return complain(entry.error());
            if (!*entry) continue;
            --row.active;
            const Value* by = (*entry)->content.find("by");
            if (row.sum && by != nullptr && by->is_int()) *row.sum -= by->as_int();
        }
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

ExitCode command_show(const ShowOptions& options) {
    const Result<OpenBoard> board = open_board(options.common);
    if (!board.ok()) return complain(board.error());
    const Result<Position> at = version_or_newest(*board, options.at);
    if (!at.ok()) return complain(at.error());
    const View view(*board->entries, *at);
    const Result<Hidden> hidden = hidden_without(*board, options.without, *at);
    if (!hidden.ok()) return complain(hidden.error());
    if (!options.entry.empty()) return show_entry(*board, options, view, *hidden);
    if (!options.region.empty()) return show_region(*board, options, view, *hidden);
    return show_board(*board, options, view, *hidden);
}

ExitCode command_boards(const CommonOptions& options) {
    const Result<std::unique_ptr<DataDirectory>> data = DataDirectory::read(options.data);
    if (!data.ok()) return complain(data.error());
    const Result<std::vector<BoardInfo>> boards = (*data)->boards();
    if (!boards.ok()) return complain(boards.error());
    Table table({{"BOARD"}, {"RECORDS", Align::right}, {"VERSION", Align::right}, {"CREATED"}, {"FORKED OFF"}});
    for (const BoardInfo& board : *boards) {
        const Result<StateStore*> store = (*data)->store_of(board);
        if (!store.ok()) return complain(store.error());
        EntryStore entries(**store, board.number, board.family);
        const Status loaded = entries.load();
        if (!loaded.ok()) return complain(loaded.error());
        if (options.json) {
            Value value = Value::object({{"board", board.address.board},
                                         {"tenant", board.address.tenant},
                                         {"records", static_cast<std::int64_t>(entries.meta().last.number)},
                                         {"version", static_cast<std::int64_t>(entries.meta().version.number)},
                                         {"created", board.created.ms}});
            if (board.parent) {
                value.set("parent", board.parent_name);
                value.set("forked_at", static_cast<std::int64_t>(board.forked_at.number));
            }
            std::cout << to_json_line(value) << "\n";
        }
        table.add({Table::Cell{board.address.board}, Table::Cell{count_text(entries.meta().last.number)},
                   Table::Cell{count_text(entries.meta().version.number)}, Table::Cell{local_time_text(board.created)},
                   Table::Cell{board.parent ? board.parent_name + " at version " + count_text(board.forked_at.number)
                                            : std::string()}});
    }
    if (!options.json) std::cout << table.text(detect_terminal(1, options.color));
    return ExitCode::done;
}

}  // namespace stele

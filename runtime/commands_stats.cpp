// `stele stats`: what a log comes to.
#include <algorithm>
#include <iostream>

#include "runtime/commands.hpp"
#include "runtime/log_stats.hpp"
#include "runtime/open_board.hpp"
#include "runtime/pager.hpp"
#include "runtime/record_json.hpp"

namespace stele {
namespace {

constexpr std::size_t hot_entries_shown = 5;
constexpr std::size_t writers_shown = 4;
constexpr int growth_points = 4;

Value number_of(std::uint64_t number) { return static_cast<std::int64_t>(number); }

Value counts_of(const std::map<std::string, std::uint64_t>& counts) {
    Value value = Value::object({});
    for (const auto& [name, count] : counts) value.set(valid_utf8(name), number_of(count));
    return value;
}

std::string percent_text(std::uint64_t part, std::uint64_t whole) {
    if (whole == 0) return "-";
    return std::to_string((part * 100 + whole / 2) / whole) + " %";
}

// Active entries after each quarter of the log.
Result<std::vector<std::uint64_t>> growth_of(const OpenBoard& board, const std::string& region) {
    std::vector<std::uint64_t> growth;
    const RegionState* state = board.entries->region(region);
    for (int point = 1; state != nullptr && point <= growth_points; ++point) {
        const Position at{board.last.number * static_cast<std::uint64_t>(point) / growth_points};
        const Result<RegionCount> count = board.entries->count_at(state->number, at);
        if (!count.ok()) return count.error();
        growth.push_back(count->active_entries);
    }
    return growth;
}

std::vector<std::pair<std::string, std::uint64_t>> most_first(const std::map<std::string, std::uint64_t>& counts) {
    std::vector<std::pair<std::string, std::uint64_t>> sorted(counts.begin(), counts.end());
    std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    return sorted;
}

void print_json(const LogStats& stats, const CrewSpec* crew,
                const std::map<std::string, std::vector<std::uint64_t>>& growth) {
    for (const auto& [name, source] : stats.sources()) {
        Value value = Value::object({{"source", valid_utf8(name)},
                                     {"principal", source.is_principal},
                                     {"activations", number_of(source.activations)},
                                     {"attempts", number_of(source.attempts)},
                                     {"outcomes", counts_of(source.outcomes)},
                                     {"commits", number_of(source.commits)},
                                     {"writes", number_of(source.writes)},
                                     {"conflicts", number_of(source.conflicts)},
                                     {"refused", number_of(source.refused)},
                                     {"idle_wakes", number_of(source.idle_wakes)},
                                     {"dead", number_of(source.dead)},
                                     {"calls", number_of(source.spent.calls)},
                                     {"calls_reused", number_of(source.calls_reused)},
                                     {"tokens", number_of(source.spent.tokens)},
                                     {"money_micros", source.spent.money_micros},
                                     {"time_ms", source.time_ms}});
        if (source.estimated) value.set("estimated", true);
        std::cout << to_json_line(value) << "\n";
    }
    for (const auto& [name, region] : stats.regions()) {
        Value value = Value::object({{"region", valid_utf8(name)},
                                     {"added", number_of(region.added)},
                                     {"updated", number_of(region.updated)},
                                     {"removed", number_of(region.removed)},
                                     {"writers", counts_of(region.writers)}});
        Value::Array points;
        for (const std::uint64_t point : growth.at(name)) points.push_back(number_of(point));
        value.set("growth", std::move(points));
        if (const std::optional<std::string> advice = stats.advice(name, crew)) value.set("advice", *advice);
        std::cout << to_json_line(value) << "\n";
    }
    for (const HotEntry& hot : stats.hot_entries(hot_entries_shown)) {
        std::cout << to_json_line(
                         Value::object({{"entry", valid_utf8(to_text(hot.id))}, {"versions", number_of(hot.versions)}}))
                  << "\n";
    }
}

Table source_table(const LogStats& stats) {
    Table table({{"source"},
                 {"wakes", Align::right},
                 {"tries", Align::right},
                 {"failed", Align::right},
                 {"idle", Align::right},
                 {"conflicts", Align::right},
                 {"refused", Align::right},
                 {"writes", Align::right},
                 {"tokens", Align::right},
                 {"money", Align::right},
                 {"time", Align::right}});
    const auto number = [](std::uint64_t count, Style style = Style::plain) {
        return Table::Cell{count == 0 ? "-" : count_text(count), count == 0 ? Style::dim : style};
    };
    for (const auto& [name, source] : stats.sources()) {
        std::uint64_t failed = 0;
        for (const auto& [outcome, count] : source.outcomes) failed += outcome == "ok" ? 0 : count;
        table.add({Table::Cell{name, source.is_principal ? Style::dim : Style::bold}, number(source.activations),
                   number(source.attempts), number(failed, Style::yellow), number(source.idle_wakes, Style::yellow),
                   number(source.conflicts, Style::yellow), number(source.refused, Style::yellow),
                   number(source.writes), number(source.spent.tokens),
                   Table::Cell{source.spent.money_micros == 0 ? "-" : money_text(source.spent.money_micros)},
                   Table::Cell{source.time_ms == 0 ? "-" : duration_text(source.time_ms)}});
    }
    return table;
}

Table region_table_of(const LogStats& stats, const std::map<std::string, std::vector<std::uint64_t>>& growth) {
    Table table({{"region"},
                 {"added", Align::right},
                 {"changed", Align::right},
                 {"removed", Align::right},
                 {"growth", Align::left},
                 {"writers", Align::left}});
    for (const auto& [name, region] : stats.regions()) {
        std::uint64_t all = 0;
        for (const auto& [writer, count] : region.writers) all += count;
        std::string writers;
        std::size_t shown = 0;
        for (const auto& [writer, count] : most_first(region.writers)) {
            if (shown++ == writers_shown) {
                writers += " and " + count_text(region.writers.size() - writers_shown) + " more";
                break;
            }
            writers += (writers.empty() ? "" : ", ") + writer + " " + percent_text(count, all);
        }
        std::string points;
        for (const std::uint64_t point : growth.at(name)) points += (points.empty() ? "" : " > ") + count_text(point);
        table.add({Table::Cell{name, Style::bold}, Table::Cell{count_text(region.added)},
                   Table::Cell{count_text(region.updated)}, Table::Cell{count_text(region.removed)},
                   Table::Cell{points, Style::dim}, Table::Cell{writers}});
    }
    return table;
}

}  // namespace

ExitCode command_stats(const CommonOptions& options) {
    const Result<OpenBoard> board = open_board(options);
    if (!board.ok()) return complain(board.error());
    LogStats stats;
    const Status walked = visit_log(*board, {1}, board->last, DecodeDepth::header, [&](const LoggedRecord& logged) {
        stats.add(logged);
        return true;
    });
    if (!walked.ok()) return complain(walked.error());
    const std::shared_ptr<const CrewSpec> crew = crew_at(*board, board->last);
    std::map<std::string, std::vector<std::uint64_t>> growth;
    for (const auto& [name, region] : stats.regions()) {
        Result<std::vector<std::uint64_t>> points = growth_of(*board, name);
        if (!points.ok()) return complain(points.error());
        growth[name] = std::move(*points);
    }
    if (options.json) {
        print_json(stats, crew.get(), growth);
        return ExitCode::done;
    }
    const TextOptions text = text_options(options, *board);
    const Pager pager(options.pager);
    std::cout << "board " << printable(board->info.address.board) << ": "
              << counted(stats.records(), "record", "records") << " in " << duration_text(stats.duration_ms()) << "\n\n"
              << source_table(stats).text(text.terminal) << "\n"
              << region_table_of(stats, growth).text(text.terminal);
    const std::vector<HotEntry> hot = stats.hot_entries(hot_entries_shown);
    if (!hot.empty()) {
        std::string names;
        for (const HotEntry& entry : hot) {
            names += (names.empty() ? "" : ", ") + to_text(entry.id) + " (" + count_text(entry.versions) + ")";
        }
        std::cout << "\n"
                  << Line(text.terminal.columns).add("most often written: ").add(names).text(text.terminal.color)
                  << "\n";
    }
    for (const auto& [name, region] : stats.regions()) {
        if (const std::optional<std::string> advice = stats.advice(name, crew.get())) {
            std::cout << Line(text.terminal.columns)
                             .add("region " + name + ": ", Style::bold)
                             .add(*advice, Style::yellow)
                             .text(text.terminal.color)
                      << "\n";
        }
    }
    return ExitCode::done;
}

}  // namespace stele

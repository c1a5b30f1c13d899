// `stele log`: the records of a board, all or those that pass filters, once or as they come.
#include <algorithm>
#include <chrono>
#include <ctime>
#include <deque>
#include <iostream>
#include <thread>

#include "board/nearest.hpp"
#include "runtime/commands.hpp"
#include "runtime/open_board.hpp"
#include "runtime/pager.hpp"
#include "runtime/record_json.hpp"
#include "runtime/record_text.hpp"
#include "scheduler/outcome.hpp"

namespace stele {
namespace {

constexpr std::chrono::milliseconds follow_interval{200};

struct LogQuery {
    IndexQuery index;
    std::optional<TextQuery> text;
    Position from{1};
    Position until{UINT64_MAX};

    [[nodiscard]] bool is_empty() const { return index.empty() && !text; }
    // What the index cannot say: words in this order, and in one text.
    [[nodiscard]] bool passes(const LoggedRecord& logged) const {
        if (!text) return true;
        const auto& writes = logged.record.writes;
        return std::any_of(writes.begin(), writes.end(), [&](const Write& write) {
            return text->is_in_value(content_of(write)) || text->is_in(write.why);
        });
    }
};

std::vector<RecordTerm> terms_of(RecordTermKind kind, const std::vector<std::string>& texts) {
    std::vector<RecordTerm> terms;
    for (const std::string& text : texts) terms.push_back({kind, text});
    return terms;
}

Result<std::vector<RecordTerm>> kind_terms(const std::vector<std::string>& kinds) {
    std::vector<std::string> known;
    for (int kind = static_cast<int>(RecordKind::run_started); kind <= static_cast<int>(RecordKind::returned); ++kind) {
        known.emplace_back(to_text(static_cast<RecordKind>(kind)));
    }
    for (const std::string& kind : kinds) {
        if (std::find(known.begin(), known.end(), kind) != known.end()) continue;
        const std::string near = nearest_name(kind, known);
        return Error{ErrorCode::invalid_argument,
                     "there is no kind of record \"" + kind + "\"" +
                         (near.empty() ? "; docs/log_format.md lists them" : "; did you mean " + near + "?")};
    }
    return terms_of(RecordTermKind::record, kinds);
}

// The outcomes have numbers in the log; other words stand as they are.
std::vector<RecordTerm> outcome_terms(const std::vector<std::string>& outcomes) {
    std::vector<RecordTerm> terms;
    for (const std::string& outcome : outcomes) {
        terms.push_back({RecordTermKind::outcome, outcome});
        for (int kind = static_cast<int>(OutcomeKind::ok); kind <= static_cast<int>(OutcomeKind::blocked); ++kind) {
            if (outcome == to_text(static_cast<OutcomeKind>(kind))) {
                terms.push_back(outcome_term(static_cast<OutcomeCode>(kind)));
            }
        }
    }
    return terms;
}

// "2026-11-25 14:03[:07]", "14:03[:07]" on the day of `last`, or "+0:12[.340]" since `start`, as `stele log`
// prints times.
Result<TimeMs> parse_time(const std::string& text, TimeMs start, TimeMs last) {
    const Error wrong{ErrorCode::invalid_argument,
                      "\"" + text + "\" is no time; write 2026-11-25 14:03, 14:03:07, or +1:30 since the board began"};
    if (!text.empty() && text[0] == '+') {
        double seconds = 0;
        double part = 0;
        std::string digits;
        for (const char c : text.substr(1) + ":") {
            if (c == ':') {
                char* end = nullptr;
                part = std::strtod(digits.c_str(), &end);
                if (digits.empty() || *end != '\0') return wrong;
                seconds = seconds * 60 + part;
                digits.clear();
            } else if ((c >= '0' && c <= '9') || c == '.') {
                digits += c;
            } else {
                return wrong;
            }
        }
        return TimeMs{start.ms + static_cast<std::int64_t>(seconds * 1000 + 0.5)};
    }
    const std::time_t last_seconds = last.ms / 1000;
    std::tm parts{};
    ::localtime_r(&last_seconds, &parts);
    parts.tm_hour = parts.tm_min = parts.tm_sec = 0;
    parts.tm_isdst = -1;
    for (const char* form : {"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d",
                             "%H:%M:%S", "%H:%M"}) {
        std::tm tried = parts;
        const char* end = ::strptime(text.c_str(), form, &tried);
        if (end == nullptr || *end != '\0') continue;
        return TimeMs{static_cast<std::int64_t>(std::mktime(&tried)) * 1000};
    }
    return wrong;
}

Result<LogQuery> query_of(const OpenBoard& board, const LogOptions& options) {
    LogQuery query;
    query.from = {std::max<std::uint64_t>(1, options.from)};
    if (options.to != 0) query.until = {options.to};
    if (!options.sources.empty()) query.index.push_back(terms_of(RecordTermKind::author, options.sources));
    if (!options.regions.empty()) query.index.push_back(terms_of(RecordTermKind::region, options.regions));
    if (!options.outcomes.empty()) query.index.push_back(outcome_terms(options.outcomes));
    if (!options.kinds.empty()) {
        Result<std::vector<RecordTerm>> kinds = kind_terms(options.kinds);
        if (!kinds.ok()) return kinds.error();
        query.index.push_back(std::move(*kinds));
    }
    if (!options.activations.empty()) {
        query.index.emplace_back();
        for (const std::uint64_t id : options.activations) query.index.back().push_back(activation_term({id}));
    }
    if (!options.text.empty()) {
        Result<TextQuery> text = TextQuery::parse(options.text);
        if (!text.ok()) return text.error();
        for (std::vector<RecordTerm>& any : terms_of(*text)) query.index.push_back(std::move(any));
        query.text = std::move(*text);
    }
    if (options.since.empty() && options.until.empty()) return query;
    const Provenance provenance = board.provenance();
    if (!board.last) return query;
    const auto first = provenance.record({1});
    if (!first.ok()) return first.error();
    const auto last = provenance.record(board.last);
    if (!last.ok()) return last.error();
    const auto position_of = [&](const std::string& text, std::int64_t later_ms) -> Result<Position> {
        const Result<TimeMs> time = parse_time(text, (*first)->record.time, (*last)->record.time);
        if (!time.ok()) return time.error();
        return provenance.position_at({time->ms + later_ms});
    };
    if (!options.since.empty()) {
        const Result<Position> since = position_of(options.since, 0);
        if (!since.ok()) return since.error();
        query.from = std::max(query.from, *since);
    }
    if (!options.until.empty()) {
        const Result<Position> after = position_of(options.until, 1);
        if (!after.ok()) return after.error();
        query.until = std::min(query.until, Position{after->number - 1});
    }
    return query;
}

Status visit_records(const OpenBoard& board, const LogQuery& query, Position from, std::uint64_t last,
                     const std::function<bool(const LoggedRecord&)>& visit) {
    const Position until = std::min(query.until, board.last);
    from = std::max(from, query.from);
    if (query.is_empty()) {
        if (last != 0 && until.number > last) from = std::max(from, Position{until.number - last + 1});
        return visit_log(board, from, until, DecodeDepth::full, visit);
    }
    const Provenance provenance = board.provenance();
    const auto each = [&](bool reverse, const std::function<bool(const LoggedRecord&)>& found) {
        return provenance.index().find(query.index, from, until, reverse, [&](const LoggedRecord& logged) {
            return !query.passes(logged) || found(logged);
        });
    };
    if (last == 0) return each(false, visit);
    std::deque<Position> newest;
    const Status searched = each(true, [&](const LoggedRecord& logged) {
        newest.push_front(logged.position);
        return newest.size() < last;
    });
    if (!searched.ok()) return searched;
    for (const Position position : newest) {
        const auto logged = provenance.record(position);
        if (!logged.ok()) return logged.error();
        if (!visit(**logged)) break;
    }
    return Done{};
}

// Where the board has gone on, by its head mark; the board is opened anew then, since an owner may have come or gone.
Result<bool> has_grown(const OpenBoard& board) {
    const Result<std::optional<HeadMark>> head = board.data->head(board.info.number);
    if (!head.ok()) return head.error();
    return head->has_value() && (*head)->position > board.last;
}

}  // namespace

ExitCode command_log(const LogOptions& options) {
    Result<OpenBoard> board = open_board(options.common);
    if (!board.ok()) return complain(board.error());
    const Result<LogQuery> query = query_of(*board, options);
    if (!query.ok()) return complain(query.error());
    const TextOptions text = text_options(options.common, *board);
    const Pager pager(options.common.pager && !options.common.json && !options.follow);
    const auto print = [&](const LoggedRecord& logged) {
        if (options.common.json) {
            std::cout << to_json_line(to_value(logged)) << "\n";
        } else {
            std::cout << (options.long_form ? long_text(logged, text) : one_line(logged, text)) << "\n";
        }
        return std::cout.good();
    };
    Status shown = visit_records(*board, *query, query->from, options.last, print);
    if (!shown.ok()) return complain(shown.error());
    CommonOptions again = options.common;
    again.board = board->info.address.board;
    while (options.follow && std::cout.flush().good()) {
        std::this_thread::sleep_for(follow_interval);
        const Result<bool> grown = has_grown(*board);
        if (!grown.ok()) return complain(grown.error());
        if (!*grown) continue;
        const Position from{board->last.number + 1};
        board = open_board(again);
        if (!board.ok()) return complain(board.error());
        shown = visit_records(*board, *query, from, 0, print);
        if (!shown.ok()) return complain(shown.error());
    }
    return ExitCode::done;
}

}  // namespace stele

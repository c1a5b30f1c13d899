#include "runtime/open_board.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iostream>

#include "board/log/write_log.hpp"
#include "board/nearest.hpp"
#include "runtime/owner.hpp"

namespace stele {

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
    const Result<StateStore*> store = board.data->store_of(board.info);
    if (!store.ok()) return store.error();
    board.store = *store;
    board.entries = std::make_unique<EntryStore>(*board.store, board.info.number, board.info.family);
    const Status loaded = board.entries->load();
    if (!loaded.ok()) return loaded.error();
    const Result<std::optional<HeadMark>> head = board.data->head(board.info.number);
    if (!head.ok()) return head.error();
    // Without a whole head mark nothing tells what was synced; what is there is better than nothing.
    const bool whole = board.data->is_head_whole(board.info.number);
    if ((!head->has_value() || !whole) && board.entries->meta().last) {
        std::cerr << "stele: board \"" << printable(board.info.address.board) << "\" has "
                  << (whole ? "no head mark" : "a damaged head mark") << ": what is shown may not have been synced"
                  << std::endl;
    }
    const Position marked = head->has_value() ? (*head)->position : board.entries->meta().last;
    board.last = whole ? std::min(board.entries->meta().last, marked) : board.entries->meta().last;
    if (marked > board.entries->meta().last) {
        return Error{ErrorCode::corrupt, "the log of board \"" + board.info.address.board + "\" ends at record " +
                                             std::to_string(board.entries->meta().last.number) + ", but record " +
                                             std::to_string(marked.number) + " had been written to disk"};
    }
    return board;
}

Status visit_log(const OpenBoard& board, Position from, Position until, DecodeDepth depth,
                 const std::function<bool(const LoggedRecord&)>& visit) {
    const std::unique_ptr<WriteLog> log = make_store_log(*board.store, board.info.number);
    Status bad = Done{};
    const Status walked = log->read(from, [&](Position position, std::string_view bytes) {
        if (position > until) return false;
        const Result<LoggedRecord> logged = decode_frame(position, bytes, depth, board.entries->blob_loader());
        if (!logged.ok()) return bad = logged.error(), false;
        return visit(*logged);
    });
    return walked.ok() ? bad : walked;
}

std::shared_ptr<const CrewSpec> crew_at(const OpenBoard& board, Position at) {
    const CrewReader read = make_crew_reader();
    std::shared_ptr<const CrewSpec> crew;
    const Provenance provenance = board.provenance();
    const IndexQuery query = {{{RecordTermKind::record, "run_started"}, {RecordTermKind::record, "reconfigured"}}};
    const Status walked =
        provenance.index().find(query, {1}, std::min(at, board.last), true, [&](const LoggedRecord& logged) {
            const Record& record = logged.record;
            if (!logged.verdict.accepted || record.parts.empty()) return true;
            Result<std::shared_ptr<const CrewSpec>> known =
                read(record.parts.front(), record.base_directory, record.inputs);
            if (known.ok()) crew = std::move(*known);
            return !crew;
        });
    return walked.ok() ? crew : nullptr;
}

Result<Position> version_or_newest(const OpenBoard& board, std::uint64_t version) {
    if (version > board.last.number) {
        return Error{ErrorCode::not_found, "board \"" + board.info.address.board + "\" is at record " +
                                               std::to_string(board.last.number) + "; there is no version " +
                                               std::to_string(version) + " yet"};
    }
    return version != 0 ? Position{version} : board.last;
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

TextOptions text_options(const CommonOptions& options) {
    TextOptions text;
    text.terminal = detect_terminal(1, options.color);
    return text;
}

TextOptions text_options(const CommonOptions& options, const OpenBoard& board) {
    TextOptions text = text_options(options);
    const Result<std::shared_ptr<const LoggedRecord>> first =
        board.last ? board.entries->record({1}) : Result<std::shared_ptr<const LoggedRecord>>(nullptr);
    if (first.ok() && *first) text.start = (*first)->record.time;
    text.position_columns = std::max<std::size_t>(4, std::to_string(board.last.number).size());
    return text;
}

}  // namespace stele

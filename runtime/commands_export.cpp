// `stele export`: the runs of a board in the formats of other tools.
#include <fstream>
#include <iostream>

#include "board/log/write_log.hpp"
#include "runtime/commands.hpp"
#include "runtime/open_board.hpp"
#include "runtime/trace_export.hpp"

namespace stele {

ExitCode command_export(const ExportOptions& options) {
    if (options.format != "trace" && options.format != "otlp") {
        return complain(
            {ErrorCode::invalid_argument, "--format takes trace or otlp, not \"" + printable(options.format) + "\""});
    }
    const Result<OpenBoard> board = open_board(options.common);
    if (!board.ok()) return complain(board.error());
    const std::shared_ptr<const CrewSpec> crew = crew_at(*board, board->last);
    const RecordWalk walk = [&](const std::function<bool(const LoggedRecord&)>& visit) {
        const std::unique_ptr<WriteLog> log = make_store_log(board->data->store(), board->info.number);
        Status bad = Done{};
        const Status walked = log->read({1}, [&](Position position, std::string_view bytes) {
            if (position > board->last) return false;
            const Result<LoggedRecord> logged = decode_frame(position, bytes, DecodeDepth::header, {});
            if (!logged.ok()) return bad = logged.error(), false;
            return visit(*logged);
        });
        return walked.ok() ? bad : walked;
    };
    std::ofstream file;
    if (!options.output.empty()) {
        file.open(options.output, std::ios::binary | std::ios::trunc);
        if (!file) return complain({ErrorCode::io, "cannot write " + printable(options.output)});
    }
    std::ostream& out = options.output.empty() ? std::cout : file;
    const ExportedBoard exported{board->info.address.board, board->info.family, crew.get(), options.version};
    const Status written =
        options.format == "trace" ? write_chrome_trace(exported, walk, out) : write_otlp(exported, walk, out);
    out.flush();
    if (!written.ok()) return complain(written.error());
    if (!out.good() && !options.output.empty()) {
        return complain({ErrorCode::io, "writing " + printable(options.output) + " failed"});
    }
    return ExitCode::done;
}

}  // namespace stele

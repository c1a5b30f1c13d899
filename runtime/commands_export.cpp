// `stele export`: the runs of a board in the formats of other tools.
#include <fstream>
#include <iostream>

#include "runtime/board_transfer.hpp"
#include "runtime/commands.hpp"
#include "runtime/open_board.hpp"
#include "runtime/trace_export.hpp"
#include "runtime/wake_graph.hpp"

namespace stele {

ExitCode command_export(const ExportOptions& options) {
    const std::optional<GraphForm> graph_form = graph_form_from(options.format);
    if (options.format != "trace" && options.format != "otlp" && options.format != "jsonl" && !graph_form) {
        return complain({ErrorCode::invalid_argument, "--format takes jsonl, trace, otlp, dot, mermaid or svg, not \"" +
                                                          printable(options.format) + "\""});
    }
    const Result<OpenBoard> board = open_board(options.common);
    if (!board.ok()) return complain(board.error());
    const std::shared_ptr<const CrewSpec> crew = crew_at(*board, board->last);
    const RecordWalk walk = [&](const std::function<bool(const LoggedRecord&)>& visit) {
        return visit_log(*board, {1}, board->last, DecodeDepth::header, visit);
    };
    std::ofstream file;
    if (!options.output.empty()) {
        file.open(options.output, std::ios::binary | std::ios::trunc);
        if (!file) return complain({ErrorCode::io, "cannot write " + printable(options.output)});
    }
    std::ostream& out = options.output.empty() ? std::cout : file;
    const ExportedBoard exported{board->info.address.board, board->info.family, crew.get(), options.version};
    const auto write = [&]() -> Status {
        if (options.format == "jsonl") return write_board_lines(*board->store, board->info, board->last, out);
        if (options.format == "trace") return write_chrome_trace(exported, walk, out);
        if (options.format == "otlp") return write_otlp(exported, walk, out);
        const Result<Graph> graph = wake_graph(board->info.address.board, *board->entries, walk);
        if (!graph.ok()) return graph.error();
        out << draw(*graph, *graph_form);
        return Done{};
    };
    const Status written = write();
    out.flush();
    if (!written.ok()) return complain(written.error());
    if (!out.good() && !options.output.empty()) {
        return complain({ErrorCode::io, "writing " + printable(options.output) + " failed"});
    }
    return ExitCode::done;
}

}  // namespace stele

// A board as JSON lines, for other programs to read and for another data directory to take in whole:
//
//   {"stele_board": 1, "board": ..., "family": hex, "created": ms, "records": n, ...}
//   {"blob": MAC in hex, "bytes": base64}          before the first record that has it
//   {"position": 1, "kind": ..., ..., "frame": base64}
//   {"end": n, "link": hex}
//
// The fields of a record are those of `stele log --json` (docs/output.md); the frame holds the record as the log
// has it (docs/log_format.md) and is what is taken in. Loop thread.
#pragma once

#include <iosfwd>
#include <string>

#include "board/log/store.hpp"
#include "board/record_codec.hpp"
#include "runtime/data_directory.hpp"
#include "scheduler/scheduler.hpp"

namespace stele {

/// Everything up to `last`. Fails when the log cannot be read; whether `out` took it is the caller's to ask.
Status write_board_lines(StateStore& store, const BoardInfo& board, Position last, std::ostream& out);

/// What the first line says.
struct BoardLinesHeader {
    std::string board;
    std::string parent;  // of a fork; only told
    FamilyKey family{};
    TimeMs created;
    std::uint64_t records = 0;
};

struct BoardLines {
    BoardLinesHeader header;
    std::uint64_t records = 0;
    ChainLink link{};
};

/// Reads all lines, checks the chain, every payload, that fields and frame of each record agree and that the core
/// decides the same again, and leaves the board under `number` in `into`, an empty store. Fails with
/// invalid_argument and the number of the line that is wrong, with corrupt when the records are no log.
Result<BoardLines> read_board_lines(std::istream& in, BoardNumber number, const CrewReader& read_crew,
                                    StateStore& into);

}  // namespace stele

// The commands of the `stele` program, one function each. They print, and return what to exit with.
// runtime/main.cpp parses the command line into these structs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/crew_loader.hpp"
#include "runtime/exit_codes.hpp"
#include "runtime/owner.hpp"
#include "runtime/terminal.hpp"

namespace stele {

struct CommonOptions {
    std::string data = ".stele";
    std::string board;  // empty: the newest
    bool json = false;
    ColorChoice color = ColorChoice::automatic;
    /// Long output goes through a pager when a person watches.
    bool pager = true;
};

struct RunOptions {
    CommonOptions common;
    RunRequest::Verb verb = RunRequest::Verb::run;
    std::string crew_file;
    std::vector<std::string> inputs;  // name=value
    bool go_on = false;
    bool quiet = false;
    std::uint64_t activation = 0;
};
ExitCode command_run(const RunOptions& options);

struct CheckOptions {
    CommonOptions common;
    std::string crew_file;
    std::vector<std::string> inputs;
};
ExitCode command_check(const CheckOptions& options);
/// Asks every model, MCP server and service of a crew whether it is there.
ExitCode command_doctor(const CheckOptions& options);
/// Prints what the first activations would send.
ExitCode command_dry_run(const CheckOptions& options);

struct LogOptions {
    CommonOptions common;
    bool long_form = false;
    std::uint64_t from = 1;
    std::uint64_t to = 0;    // 0: the end
    std::uint64_t last = 0;  // 0: all
    /// Go on with what is written later, until interrupted.
    bool follow = false;
    // Filters: each names what will do; a record must pass all that are given.
    std::vector<std::string> sources;
    std::vector<std::string> regions;
    std::vector<std::string> kinds;
    std::vector<std::string> outcomes;
    std::vector<std::uint64_t> activations;
    std::string text;
    std::string since;
    std::string until;
};
ExitCode command_log(const LogOptions& options);

struct ShowOptions {
    CommonOptions common;
    std::string entry;  // region/number
    std::string region;
    std::uint64_t at = 0;  // 0: now
    /// As if this entry had never been: without it and all that rests on nothing but it.
    std::string without;
};
ExitCode command_show(const ShowOptions& options);

struct TreeOptions {
    CommonOptions common;
    std::string entry;  // region/number
    std::uint64_t at = 0;
    std::size_t depth = 8;  // 0: all
    std::string graph;      // "dot", "mermaid", "svg"; empty: text
};
/// The tree from an entry back to the inputs.
ExitCode command_why(const TreeOptions& options);
/// The tree from an entry to all that came of it.
ExitCode command_impact(const TreeOptions& options);

struct WhyNotOptions {
    CommonOptions common;
    std::string source;
    std::uint64_t at = 0;
};
/// Why a source does not wake, and what would wake it.
ExitCode command_why_not(const WhyNotOptions& options);

struct BlameOptions {
    CommonOptions common;
    std::string text;
    std::size_t limit = 20;  // 0: all
};
/// Who first wrote a text or number, and how it travelled.
ExitCode command_blame(const BlameOptions& options);

struct DiffOptions {
    CommonOptions common;
    std::uint64_t from = 0;
    std::uint64_t to = 0;  // 0: now
    std::string region;
};
ExitCode command_diff(const DiffOptions& options);

struct ExportOptions {
    CommonOptions common;
    std::string format;  // "jsonl", "trace", "otlp", or of the wake graph: "dot", "mermaid", "svg"
    std::string output;  // empty: standard output
    std::string version;
};
/// The runs of a board for other tools.
ExitCode command_export(const ExportOptions& options);

struct ImportOptions {
    CommonOptions common;
    std::string file;  // "-": standard input
    std::string name;  // empty: as it was exported
};
/// Takes in a board that was exported as JSON lines.
ExitCode command_import(const ImportOptions& options);

/// What each source did and cost, and who writes which region.
ExitCode command_stats(const CommonOptions& options);

ExitCode command_boards(const CommonOptions& options);
ExitCode command_boards_rm(const CommonOptions& options, const std::string& board);
/// Writes {key, value} into the board's region `control`.
ExitCode command_control(const CommonOptions& options, const std::string& key, const Value& value);
struct RetractOptions {
    CommonOptions common;
    std::string entry;
    std::string reason;
};
/// Takes an entry back, in a person's name.
ExitCode command_retract(const RetractOptions& options);
struct ForkOptions {
    CommonOptions common;
    std::string parent;    // empty: common.board, or the newest
    std::uint64_t at = 0;  // 0: the newest version
    std::string name;      // empty: the parent's, and "-fork"
    std::string crew_file;
    std::vector<std::string> inputs;
    std::vector<std::string> settings;  // path=value
    bool only_make = false;
    bool quiet = false;
};
/// A new board that goes on from a version of another.
ExitCode command_fork(const ForkOptions& options);
struct PurgeOptions {
    CommonOptions common;
    std::vector<std::string> entries;
    std::vector<std::string> texts;
    std::string reason;
    bool only_plan = false;
};
/// Takes content out of the log, the state, the index and the files for good.
ExitCode command_purge(const PurgeOptions& options);
struct WriteOptions {
    CommonOptions common;
    std::string region;
    std::string entry;  // JSON
    std::string op;     // empty: what the region's law has for a new entry
    std::uint64_t number = 0;
    std::uint32_t expected_version = 0;
    std::string reason;
};
/// One write, in a person's name.
ExitCode command_write(const WriteOptions& options);
ExitCode command_backup(const CommonOptions& options, const std::string& target);
struct ReplayOptions {
    CommonOptions common;
    bool verify = false;
    bool step = false;
    std::uint64_t at = 0;   // step: begin here; with another crew: up to here
    std::string crew_file;  // what would have woken under this crew
    std::vector<std::string> inputs;
    std::vector<std::string> settings;  // path=value
    std::size_t limit = 20;             // differences shown; 0: all
};
/// The core again over a board's log: to compare, to try another crew, or step by step.
ExitCode command_replay(const ReplayOptions& options);
/// The log, and whether what was derived from it is what it makes; with `repair`, makes that anew.
ExitCode command_verify(const CommonOptions& options, bool repair);

/// "name=value" each; a wrong one is an error that shows the form.
Result<std::vector<CrewInput>> parse_inputs(const std::vector<std::string>& given);
/// "stele: message" on standard error, and the code that goes with it.
ExitCode complain(const Error& error);

}  // namespace stele

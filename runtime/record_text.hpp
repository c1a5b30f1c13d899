// Records and entries as lines for people: `stele log`, `stele show`, and the events of a run. Texts
// that sources wrote are made harmless on the way (runtime/terminal.hpp). Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "board/entry.hpp"
#include "board/record.hpp"
#include "runtime/terminal.hpp"

namespace stele {

struct TextOptions {
    Terminal terminal;
    enum class Times { relative, local, utc } times = Times::relative;
    /// What relative times count from.
    TimeMs start;
    /// Columns that positions are aligned in.
    std::size_t position_columns = 6;
};

/// "    12  +0:01.340  commit       churn         #7 +3 evidence/12..14  "counted"". Fits the
/// terminal's width; elsewhere only texts longer than any reader wants are cut. No line break at the
/// end, here and below.
std::string one_line(const LoggedRecord& logged, const TextOptions& options);

/// The same, then indented lines that cut nothing: contents of writes, refusals, what was bound,
/// notes, cost, error output.
std::string long_text(const LoggedRecord& logged, const TextOptions& options);

/// `evidence/12 v1  churn  {"file":"a.c",...}  "counted"  cites files/3`.
std::string entry_line(const Entry& entry, const TextOptions& options);
/// The same over several lines, cutting nothing.
std::string entry_long(const Entry& entry, const TextOptions& options);

/// One region in `stele show`.
struct RegionRow {
    std::string name;
    std::string policy;
    std::uint64_t active = 0;
    Position last_change;
    std::optional<std::int64_t> sum;  // counter
};
/// A table of regions; ends with a line break.
std::string region_table(const std::vector<RegionRow>& regions, const TextOptions& options);

// Parts of lines, for whoever makes lines of their own. Not yet harmless: add them to a Line.

/// What a commit did: "+3 evidence/12..14, ~1 files/3, -1 hypotheses/7", or how much it proposed.
std::string written_text(const LoggedRecord& logged);
/// An entry's content as one line of JSON; "(purged)" where the log has it no more.
std::string content_text(const Value& content);
/// "evidence/3 v1 files/2 v4", or "no entry".
std::string bound_text(const std::vector<BoundEntry>& bound);
/// "evidence/3 evidence/9", "20 matches: files/1 files/2 files/3 and 17 more", or nothing.
std::string bound_text(const std::vector<MatchRecord>& members);
/// Why a commit was made: its own reason, or that of its first write that has one.
std::string why_of(const Record& record);
/// "line 2, conflict: region "plan": expected version 7, found 9".
std::string refusal_text(const Refusal& refusal);
/// "ok in 340 ms", "failed in 340 ms, exit code 3: it said so". The error may have several lines.
std::string result_text(const Record& record);
/// "ok in 2.1 s, 391 tokens, 0.0041".
std::string returned_text(const Record& record);
/// Millionths of the currency as a decimal number: "0.0041", "1.50".
std::string money_text(std::int64_t micros);
/// The last line of a result's error output, unless its reason tells it already.
std::string untold_error_line(const Record& record);

}  // namespace stele

// The words that Stele and a `kind: process` source exchange: one JSON object on its standard
// input, one JSON object a line on its standard output. docs/source_protocol.md is the same for
// people. Pure functions; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "board/value.hpp"
#include "board/write.hpp"
#include "knowledge_sources/knowledge_source.hpp"
#include "scheduler/crew_spec.hpp"

namespace stele {

inline constexpr int process_protocol_version = 1;
/// How many problems of one output are told; the rest would say the same again.
inline constexpr std::size_t output_problems_max = 20;

/// What one attempt reads: one line of JSON with its newline.
std::string make_request(const ActivationRequest& request);

/// What a source wrote. There are writes only when `ok()`; notes and cost are kept either way, because
/// what was spent is spent.
struct ParsedOutput {
    std::vector<Write> writes;  // sealed, in the order of their lines
    std::vector<std::string> notes;
    /// An object of numbers, each summed over all `cost` lines; null when there was none.
    Value cost;
    /// Every problem up to output_problems_max, rule `malformed`, with the line of the output.
    std::vector<Refusal> problems;
    /// True when there were more problems than are listed.
    bool more_problems = false;

    [[nodiscard]] bool ok() const { return problems.empty(); }
    /// All listed problems as one text for people; empty when there are none.
    [[nodiscard]] std::string error() const;
};

/// Reads the whole standard output of one attempt. Never fails on bytes: whatever is wrong with
/// them is in `problems`.
ParsedOutput parse_output(std::string_view stdout_bytes, const SourceSpec& source);

/// The lines that parse_output() reads back as the same writes, for kinds that make writes of their own:
/// with them in the log, the log alone gives the writes again. Takes what parse_output() can make.
std::string make_output(const std::vector<Write>& writes);

}  // namespace stele

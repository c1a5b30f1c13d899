// A model's answer to a source's prompt: the JSON Schema it must fit, derived from the source's grants
// and its regions' schemas, and its way from text to writes, with everything that is wrong with it
// said in sentences that the model can act on. Pure; any thread.
//
// An answer is {"writes": [{"op", "region", "entry", "cites", "why", ...}], "note": text}. The members of
// a write are those of the process protocol.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "board/value.hpp"
#include "board/write.hpp"
#include "knowledge_sources/knowledge_source.hpp"

namespace stele {

/// JSON Schema of the answers of this source, the same bytes each time.
Value answer_schema(const CrewSpec& crew, const SourceSpec& source);

/// JSON Schema of one region's entries, as the crew declares them.
Value entry_json_schema(const RegionSpec& region);

struct CheckedAnswer {
    std::vector<Write> writes;  // sealed; empty when there are problems
    std::string note;
    /// Every problem, up to output_problems_max: not JSON, not the schema's shape, an operation without a
    /// grant, an entry that does not fit, a cite of what was not shown.
    std::vector<Refusal> problems;

    [[nodiscard]] bool ok() const { return problems.empty(); }
};

/// `shown`: entries that may be cited beside the match's. A fence of ``` around the JSON and text before
/// or after it are tolerated when exactly one JSON object stands there; null for an optional member is
/// the same as leaving it out.
CheckedAnswer check_answer(std::string_view text, const ActivationRequest& request, const std::vector<EntryId>& shown);

/// The user's turn after a refused answer: every problem, and what to do.
std::string repair_request(const std::vector<Refusal>& problems);

}  // namespace stele

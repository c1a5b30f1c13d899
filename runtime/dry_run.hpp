// `stele run --dry`: what the first activations of a run would send to models, worked out on a board in
// memory. Rules fire, everything else that would start is shown instead; nothing leaves the process.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "knowledge_sources/llm_source.hpp"
#include "scheduler/crew_spec.hpp"

namespace stele {

struct DryStart {
    std::string source;
    SourceKind kind = SourceKind::process;
    std::vector<std::string> bound;  // entries of the match, as in "evidence/3"
    /// kind llm: the first call as it would be sent. Tools of MCP servers are left out, since asking the
    /// servers for them would start them.
    ModelCall call;
    std::vector<std::pair<std::string, std::uint64_t>> left_out;
};

struct DryReport {
    std::vector<DryStart> starts;
    std::uint64_t rules_fired = 0;
    /// The most that the calls shown would take.
    Amounts most;
};

/// `now`: the board's time. Fails as a run would that cannot begin (a seed that is refused).
Result<DryReport> dry_run(const std::shared_ptr<const CrewSpec>& crew, TimeMs now);

}  // namespace stele

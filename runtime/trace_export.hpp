// A run as other tools draw it: the trace event format of Chrome and Perfetto (activations as slices, wakes
// as arrows), and OpenTelemetry's OTLP/JSON with the conventions for generative AI (invoke_workflow,
// invoke_agent, chat, execute_tool, and memory operations for what is written to the board). Prompts and
// contents are not in it. Pure but for writing to a stream; one thread.
#pragma once

#include <functional>
#include <iosfwd>
#include <string>

#include "board/hash.hpp"
#include "runtime/activation_spans.hpp"
#include "scheduler/crew_spec.hpp"

namespace stele {

struct ExportedBoard {
    std::string name;
    FamilyKey family{};
    /// Names the models' providers; may be null.
    const CrewSpec* crew = nullptr;
    std::string version;  // of this program
};

/// Visits the records of a log in order; stops when `visit` returns false.
using RecordWalk = std::function<Status(const std::function<bool(const LoggedRecord&)>& visit)>;

Status write_chrome_trace(const ExportedBoard& board, const RecordWalk& walk, std::ostream& out);
Status write_otlp(const ExportedBoard& board, const RecordWalk& walk, std::ostream& out);

}  // namespace stele

// Records and entries as JSON, for whoever scripts `--json`; docs/output.md has the fields. What a
// record does not have is left out. Pure; any thread.
#pragma once

#include <string>

#include "board/entry.hpp"
#include "board/record.hpp"
#include "board/record_terms.hpp"
#include "board/value.hpp"

namespace stele {

/// Everything but the raw output of a result, of which only the size is told.
Value to_value(const LoggedRecord& logged);
Value to_value(const Entry& entry);

/// "added", "updated", "removed" or "none".
const char* to_text(WriteOutcome::Effect effect);

/// One line of JSON without its line break, fit for a terminal and for readers that split lines at
/// anything that Unicode calls a line end.
std::string to_json_line(const Value& value);

}  // namespace stele

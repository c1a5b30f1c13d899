// Records and entries as JSON, for whoever scripts `--json`; docs/output.md has the fields. What a
// record does not have is left out. Pure; any thread.
#pragma once

#include <string>

#include "board/entry.hpp"
#include "board/record.hpp"
#include "board/value.hpp"

namespace stele {

/// The activation that a record is about. A first claim and a rule's commit begin one, whose number
/// is their own position; none where the record is about no activation.
ActivationId activation_of(const LoggedRecord& logged);

/// A rule claims, ends and commits in this one record.
bool is_rule_commit(const Record& record);

/// Content as it was proposed: parsed from the text where only that was read. Null when there is none.
Value content_of(const Write& write);

/// Everything but the raw output of a result, of which only the size is told.
Value to_value(const LoggedRecord& logged);
Value to_value(const Entry& entry);

/// One line of JSON without its line break, fit for a terminal and for readers that split lines at
/// anything that Unicode calls a line end.
std::string to_json_line(const Value& value);

}  // namespace stele

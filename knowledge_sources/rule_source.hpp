// The body of a `kind: rule` source: writes made from what the match bound, by declaration only.
// A pure function; the scheduler calls it where it would start another kind. Any thread.
#pragma once

#include <optional>
#include <vector>

#include "board/entry.hpp"
#include "board/result.hpp"
#include "board/value.hpp"
#include "board/write.hpp"
#include "knowledge_sources/knowledge_source.hpp"
#include "scheduler/crew_spec.hpp"

namespace stele {

/// The sealed writes of `then:`, member after member, in the order of the file. A reference to a
/// field that the bound entry lacks leaves its member out of an object and is null in a list.
/// Fails with invalid_argument when a whole entry, or a target, is such a reference.
/// kind mcp: a member's last entry, after those of `when`, is the tool's result.
Result<std::vector<Write>> apply_rule(const SourceSpec& source, const std::vector<Binding>& members);

/// The value of a template over the entries by variable index. Nothing when the whole of it is a reference to
/// what the bound entry does not have.
std::optional<Value> evaluate_template(const TemplateNode& node, const std::vector<EntryPtr>& entries);

}  // namespace stele

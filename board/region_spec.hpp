// The declaration of a region: its name, merge policy and entry schema. Made by the crew loader,
// immutable afterwards.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "board/schema.hpp"

namespace stele {

enum class PolicyKind { append_only, set_union, single_writer, cas, last_writer_wins, counter };
const char* to_text(PolicyKind policy);

/// How a non-key field of a `set_union` entry is merged when equal keys meet. Commutative,
/// associative and idempotent, so the order of the adds does not matter.
enum class MergeLaw { min, max, set_union };

/// What becomes of a write with a phantom: a number, quotation, URL or identifier that is in nothing its author
/// had seen. refuse: the commit is refused; flag: it is named in the region `phantoms`; question: it is asked
/// about in another region. none: nothing is checked.
enum class Grounding { none, refuse, flag, question };

struct RegionSpec {
    std::string name;
    PolicyKind policy = PolicyKind::append_only;
    EntrySchema schema;
    /// Key fields. Empty: `set_union` takes the whole entry as key; `single_writer` and
    /// `last_writer_wins` then hold one entry; `cas` entries have no key.
    std::vector<std::string> key;
    /// `set_union` only: field name to law.
    std::vector<std::pair<std::string, MergeLaw>> merge;
    /// `single_writer` only: the source that may write.
    std::string owner;
    /// Fields the cycle detector ignores.
    std::vector<std::string> volatile_fields;
    Grounding grounded = Grounding::none;
    /// Fields that are checked; empty: all.
    std::vector<std::string> grounded_fields;
    /// question: the region that gets {text}.
    std::string questions_into;
    std::string help;
    /// A source's private region, `scratch/<source>`; left out of progress and of other eyes.
    bool scratch = false;
    bool durable_scratch = false;
};

/// The reserved name under which each source finds its private region.
inline constexpr std::string_view scratch_name = "scratch";
inline std::string scratch_region_of(std::string_view source) { return "scratch/" + std::string(source); }

}  // namespace stele

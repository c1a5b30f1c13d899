// A crew while it is being read, and what the readers of its parts (inputs, regions, conditions,
// sources, rules, stop) need of each other. Seen only by runtime/crew_*.cpp, within one load.
//
// A reader that reports a mistake leaves behind whatever spares the user a second report of the
// same mistake: an unknown policy allows every operation, a bad field accepts every type.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/crew_yaml.hpp"
#include "scheduler/crew_spec.hpp"

namespace stele {

struct CrewDraft {
    explicit CrewDraft(CrewProblems& collector) : problems(collector) {}

    CrewProblems& problems;
    CrewSpec crew;

    /// Every declared input; no value where the declaration or the value given is wrong.
    std::vector<std::pair<std::string, std::optional<Value>>> inputs;
    /// False when the section could not be read, so that its names cannot be judged. Likewise below.
    bool inputs_known = true;
    std::size_t substituted_bytes = 0;

    std::vector<std::string> source_names;  // sorted
    bool sources_known = true;

    /// By region name; indexes are into crew.regions.
    struct RegionFact {
        std::size_t index = 0;
        SourcePlace place;
        bool policy_known = true;
    };
    std::map<std::string, RegionFact, std::less<>> region_facts;
    bool regions_known = true;
    /// One per source; they join crew.regions last, since pointers into it are held until then.
    std::vector<RegionSpec> scratch_regions;

    [[nodiscard]] const RegionSpec* region(std::string_view name) const;
    [[nodiscard]] bool policy_known(const RegionSpec& region) const;
    [[nodiscard]] SourcePlace place_of(const RegionSpec& region) const;
    /// Reports a name that no region has.
    const RegionSpec* resolve_region(std::string_view name, SourcePlace place);
};

/// The private region of a source, as the crew will hold it.
RegionSpec scratch_region(std::string_view source);

// --- crew_inputs.cpp -------------------------------------------------------------------------

void read_inputs(CrewDraft& draft, const YamlNode* node, const std::vector<CrewInput>& given);

/// The text with each `${inputs.x}` replaced. Nothing when an input has no value (reported).
std::optional<std::string> substituted_text(CrewDraft& draft, std::string_view text, SourcePlace place);
/// A scalar with its inputs filled in: typed when it is exactly one `${inputs.x}`.
std::optional<Value> substituted_scalar(CrewDraft& draft, const YamlNode& scalar);
/// Any node as a value, its scalars read by the caller. Every part is read, so that each problem
/// is reported; nothing when one of them has no value.
using ReadScalar = std::function<std::optional<Value>(const YamlNode& scalar)>;
std::optional<Value> value_from(const YamlNode& node, const ReadScalar& read_scalar);
/// Any node as a value, inputs filled in. Nothing when a part of it has no value (reported).
std::optional<Value> substituted_value(CrewDraft& draft, const YamlNode& node);
/// Any node as a value, braces left alone. A number out of range stays text.
Value plain_value(const YamlNode& node);

// --- crew_regions.cpp ------------------------------------------------------------------------

void read_regions(CrewDraft& draft, const YamlNode* node);
void read_seed(CrewDraft& draft, const YamlNode* node);

// --- crew_types.cpp --------------------------------------------------------------------------

/// What is known of a value before there is one.
struct TypeFact {
    FieldType type = FieldType::any;
    FieldType element = FieldType::any;
    std::vector<std::string> choices;
    /// The field may be absent, which compares as null.
    bool may_be_absent = false;
};
/// "a string", "a list", ...
std::string with_article(FieldType type);
TypeFact type_of_value(const Value& value);
TypeFact type_of_attribute(Attribute attribute);
/// Nothing when the region's schema rules the field out.
std::optional<TypeFact> type_of_field(const RegionSpec& region, const std::vector<std::string>& path);
/// False when no value can be both.
bool may_be_equal(FieldType a, FieldType b);
bool may_be_number(FieldType type);
std::string joined_path(const std::vector<std::string>& path);
/// `region "r" has no field "x"; did you mean "y"?`
std::string no_such_field(const RegionSpec& region, const std::vector<std::string>& path);

// --- crew_references.cpp ---------------------------------------------------------------------

/// A variable of a precondition. `region` is null when the term that binds it is wrong.
struct BoundVariable {
    std::string name;
    const RegionSpec* region = nullptr;
    SourcePlace place;
};

/// The variables that a place in the crew may use.
struct Scope {
    std::vector<BoundVariable> variables;
    /// A binding term could not be read, so an unknown variable may be its.
    bool is_incomplete = false;
};

/// A path in `where`, or what follows `$variable.`.
struct FieldPath {
    Attribute attribute = Attribute::content;
    std::vector<std::string> path;
};

/// True for `$name...`; false for `$$text`, `${...}` and everything else.
bool is_reference(const YamlNode& node);
std::optional<FieldPath> read_path(CrewDraft& draft, std::string_view text, SourcePlace place);
/// Reports a malformed reference, an unbound variable and a field that its region does not have.
std::optional<VariableRef> read_reference(CrewDraft& draft, const Scope& scope, const YamlNode& node);
/// `$name` alone: the index of a variable.
std::optional<std::uint32_t> read_variable(CrewDraft& draft, const Scope& scope, const YamlNode& node,
                                           std::string_view what);
/// Any type for a variable that the scope does not have.
TypeFact type_of_reference(const Scope& scope, const VariableRef& reference);
/// A scalar that is no reference: inputs filled in, a leading `$$` made a dollar.
std::optional<Value> read_literal(CrewDraft& draft, const YamlNode& scalar);
/// A literal in which no variable may stand: a scalar, or a list or map of such.
std::optional<Value> read_whole_literal(CrewDraft& draft, const YamlNode& node);

// --- crew_filters.cpp ------------------------------------------------------------------------

/// The tests of a `where:` on entries of `region` (null: types are not checked).
Filter read_filter(CrewDraft& draft, const Scope& scope, const RegionSpec* region, const YamlNode& node,
                   std::string_view what);
/// The tests of an aggregate's `is:`.
Filter read_aggregate_tests(CrewDraft& draft, const Scope& scope, const YamlNode& node, std::string_view what);

// --- crew_conditions.cpp ---------------------------------------------------------------------

/// Who reads and writes: a source with its grants, or the goal, which sees every region.
struct Reader {
    std::string name;  // "source \"x\"", "the goal"
    /// Null: the goal.
    const SourceSpec* source = nullptr;
    /// False when `may` has mistakes, so that a missing grant may be one of them.
    bool reads_known = true;
    bool writes_known = true;
    /// Grants found missing so far; each is reported once.
    std::vector<std::string> reported;
};
/// Reports a region that is unknown or that the reader may not read; null when unknown.
const RegionSpec* resolve_readable(CrewDraft& draft, Reader& reader, std::string_view name, SourcePlace place);

/// Reads `when:` or `goal:`; fills `scope` with its variables.
Condition read_condition(CrewDraft& draft, Reader& reader, const YamlNode& node, Scope& scope);

// --- crew_sources.cpp, crew_rules.cpp, crew_stop.cpp ------------------------------------------

void read_sources(CrewDraft& draft, const YamlNode* node);
std::vector<RuleWrite> read_rule(CrewDraft& draft, Reader& reader, const Scope& scope, const YamlNode& node);
void read_stop(CrewDraft& draft, const YamlNode* node);

// --- crew_warnings.cpp -----------------------------------------------------------------------

/// What is allowed but seldom meant. Only for a crew without errors.
void warn_about(CrewDraft& draft);

}  // namespace stele

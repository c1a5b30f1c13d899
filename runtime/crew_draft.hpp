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

#include "board/result.hpp"
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

    /// `files:`, by path as sources name it.
    struct FileFact {
        std::string content;
        SourcePlace place;
        bool is_used = false;
    };
    std::map<std::string, FileFact, std::less<>> files;
    /// The crew has `files:`, so it carries every file that it names and none is read.
    bool files_declared = false;
    bool files_known = true;
    /// Reads a file that the crew does not carry; null: there is nothing but the text.
    std::function<Result<std::string>(const std::string& path)> read_file;

    /// `prices:`, by a name under `models:` or by provider/model.
    struct PriceFact {
        Price price;
        SourcePlace place;
        bool is_used = false;
    };
    std::map<std::string, PriceFact, std::less<>> prices;
    bool models_known = true;
    bool servers_known = true;
    bool tools_known = true;

    /// A cap on money, which holds only where every model that it covers has a price.
    struct MoneyCap {
        std::string what;  // "money of limits of stop"
        SourcePlace place;
        std::optional<std::uint32_t> model;   // index into crew.models
        std::optional<std::uint32_t> source;  // index into crew.sources; neither: the whole crew
    };
    std::vector<MoneyCap> money_caps;

    [[nodiscard]] const RegionSpec* region(std::string_view name) const;
    [[nodiscard]] bool policy_known(const RegionSpec& region) const;
    [[nodiscard]] SourcePlace place_of(const RegionSpec& region) const;
    /// Some region names its phantoms in the region `phantoms`.
    [[nodiscard]] bool flags_phantoms() const;
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
/// True where `${env.` stands in the text and is not doubled to `$${env.`.
bool names_environment(std::string_view text);
/// Any node as a value, braces left alone. A number out of range stays text.
Value plain_value(const YamlNode& node);

// --- crew_regions.cpp ------------------------------------------------------------------------

void read_regions(CrewDraft& draft, const YamlNode* node);
void read_seed(CrewDraft& draft, const YamlNode* node);
/// The fields of a map from field to type. `owner` is who has them ("region \"x\""), `what` the map.
std::vector<FieldSpec> read_short_form(CrewDraft& draft, const YamlNode& node, std::string_view owner,
                                       const std::string& what);

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
    /// No entry but what a tool has answered: it has the fields of `mcp_result_name`.
    bool is_tool_result = false;
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

// --- crew_fields.cpp -------------------------------------------------------------------------

/// Reports each `${env.X}` of the document that stands where it would not be filled in.
void check_environment_places(CrewDraft& draft, const YamlNode& root);

// Each of these fills in inputs, and reports what is wrong under the name `what`.

/// Text in which `${env.X}` may stand, and stays. No control characters.
std::optional<std::string> read_filled_at_call(CrewDraft& draft, const YamlNode& node, std::string_view what);
/// The same, for an address that begins with http:// or https://, or with `${env.X}`.
std::optional<std::string> read_url(CrewDraft& draft, const YamlNode& node, std::string_view what);
std::vector<std::pair<std::string, std::string>> read_headers(CrewDraft& draft, const YamlNode& node,
                                                              std::string_view what);
/// Text with inputs filled in.
std::optional<std::string> read_filled_text(CrewDraft& draft, const YamlNode& node, std::string_view what);
/// An argument of a program: text without a NUL byte.
std::optional<std::string> read_argument(CrewDraft& draft, const YamlNode& node, std::string_view what);
std::vector<std::string> read_command(CrewDraft& draft, const YamlNode& node, const std::string& what);
/// `fills_environment`: values may hold `${env.X}`.
std::vector<std::pair<std::string, std::string>> read_environment(CrewDraft& draft, const YamlNode& node,
                                                                  const std::string& what, bool fills_environment);
std::vector<std::string> read_passed_environment(CrewDraft& draft, const YamlNode& node, const std::string& what,
                                                 const std::vector<std::pair<std::string, std::string>>& set);
/// The name of an environment variable.
std::optional<std::string> read_secret_variable(CrewDraft& draft, const YamlNode& node, std::string_view what);
std::optional<std::string> read_variable_name(CrewDraft& draft, const YamlNode& node, std::string_view what);
/// A name given to something outside: letters, digits, `_`, `-` and `.`, at most `limits::name_bytes_max` bytes.
void check_outside_name(CrewDraft& draft, std::string_view name, SourcePlace place, std::string_view what);
std::optional<bool> read_flag(CrewDraft& draft, const YamlNode& node, std::string_view what);
/// An amount of the currency, at least `min`, in millionths of it.
std::optional<std::int64_t> read_money(CrewDraft& draft, const YamlNode& node, std::string_view what, std::int64_t min);
/// `tokens`, `money` and `calls`; the place of `money` when it is a cap.
std::optional<SourcePlace> read_call_caps(CrewDraft& draft, MapReader& map, CallCaps& caps);

// --- crew_files.cpp --------------------------------------------------------------------------

void read_files(CrewDraft& draft, const YamlNode* node);
/// What a file of the crew holds; nothing when it cannot be had (reported).
std::optional<std::string> file_content(CrewDraft& draft, const std::string& path, SourcePlace place);
void warn_about_files(CrewDraft& draft);
/// The document with the files that were read as its section `files:`, so that it loads to the same
/// crew wherever it is read; nothing when its form has no place for it (reported).
std::optional<std::string> text_with_files(CrewDraft& draft, const YamlNode& root, std::string_view text);

// --- crew_models.cpp -------------------------------------------------------------------------

void read_models(CrewDraft& draft, const YamlNode* models, const YamlNode* prices);
/// The index of a model named under `models:`, or by provider/model. Reports a name that is neither.
std::optional<std::uint32_t> resolve_model(CrewDraft& draft, const std::string& name, SourcePlace place);
void check_money_caps(CrewDraft& draft);
void warn_about_models(CrewDraft& draft);

// --- crew_tools.cpp --------------------------------------------------------------------------

void read_servers(CrewDraft& draft, const YamlNode* node);
void read_tools(CrewDraft& draft, const YamlNode* node);
void read_callbacks(CrewDraft& draft, const YamlNode* node);
/// `server/tool`. Reports a server that the crew does not have.
std::optional<ToolRef> resolve_server_tool(CrewDraft& draft, std::string_view text, SourcePlace place,
                                           const std::string& what);
/// One of the crew's tools, or `mcp:server/tool`.
std::optional<ToolRef> resolve_tool(CrewDraft& draft, const std::string& text, SourcePlace place,
                                    const std::string& what);
void warn_about_tools(CrewDraft& draft);

// --- crew_views.cpp, crew_calling.cpp --------------------------------------------------------

/// A source while it is being read: what is known of it once its `when` and `may` are.
struct SourceParts {
    CrewDraft& draft;
    MapReader& map;
    SourceSpec& spec;
    Reader& reader;
    const Scope& scope;
    SourcePlace place;
};

void read_view(SourceParts& source, const YamlNode& node, bool kind_known);
void read_llm(SourceParts& source);
void read_http(SourceParts& source);
void read_mcp(SourceParts& source);

// --- crew_sources.cpp, crew_rules.cpp, crew_stop.cpp ------------------------------------------

void read_sources(CrewDraft& draft, const YamlNode* node);
std::vector<RuleWrite> read_rule(CrewDraft& draft, Reader& reader, const Scope& scope, const YamlNode& node);
TemplateNode read_template(CrewDraft& draft, const Scope& scope, const YamlNode& node);
void read_stop(CrewDraft& draft, const YamlNode* node);

// --- crew_warnings.cpp -----------------------------------------------------------------------

/// What is allowed but seldom meant. Only for a crew without errors.
void warn_about(CrewDraft& draft);

}  // namespace stele

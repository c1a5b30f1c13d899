#include <algorithm>
#include <charconv>

#include "board/region_policy.hpp"
#include "runtime/crew_draft.hpp"
#include "scheduler/consequences.hpp"
#include "scheduler/control.hpp"
#include "scheduler/grounding.hpp"

namespace stele {
namespace {

const std::vector<PolicyKind>& policies() {
    static const std::vector<PolicyKind> all = {PolicyKind::append_only,      PolicyKind::set_union,
                                                PolicyKind::single_writer,    PolicyKind::cas,
                                                PolicyKind::last_writer_wins, PolicyKind::counter};
    return all;
}

std::vector<std::string> policy_words() {
    std::vector<std::string> words;
    for (const PolicyKind policy : policies()) words.emplace_back(to_text(policy));
    return words;
}

FieldSpec field_of(std::string name, FieldType type) {
    FieldSpec field;
    field.name = std::move(name);
    field.type = type;
    return field;
}

// A region's declaration with what is needed to report on its parts.
struct RegionReader {
    CrewDraft& draft;
    RegionSpec& spec;
    MapReader map;
    SourcePlace place;
    bool policy_known = false;

    [[nodiscard]] bool is(PolicyKind policy) const { return policy_known && spec.policy == policy; }
};

// `string`, or `[string]` without quotes, which YAML reads as a list of one.
std::optional<std::string> type_word(const YamlNode& node) {
    if (node.is_scalar()) return node.text;
    if (node.is_list() && node.items.size() == 1 && node.items[0].is_scalar()) return "[" + node.items[0].text + "]";
    return std::nullopt;
}

void check_field_name(CrewDraft& draft, const YamlMember& member) {
    const std::string& name = member.key;
    const bool is_path = name.find('.') != std::string::npos || name.starts_with('@') || name.starts_with('$');
    if (!name.empty() && !is_path && name.size() <= limits::name_bytes_max) return;
    draft.problems.error(member.place, in_quotes(name) + " cannot be the name of a field: it has 1 to " +
                                           std::to_string(limits::name_bytes_max) +
                                           " bytes, no \".\", and does not begin with \"@\" or \"$\"");
}

void read_json_schema(RegionReader& region, const YamlNode& node) {
    Result<EntrySchema> schema = EntrySchema::from_json_schema(plain_value(node));
    if (schema.ok()) {
        region.spec.schema = std::move(*schema);
    } else {
        region.draft.problems.error(node.place, region.map.part("schema") + ": " + schema.error().message);
    }
}

void read_schema(RegionReader& region) {
    const YamlMember* entry = region.map.optional_member("entry");
    const YamlMember* schema = region.map.optional_member("schema");
    if (region.is(PolicyKind::counter)) {
        region.spec.schema = EntrySchema::from_fields({field_of("by", FieldType::integer)});
        for (const YamlMember* given : {entry, schema}) {
            if (given == nullptr) continue;
            region.draft.problems.error(
                given->place,
                region.map.what() + " is a counter: its entries are {by: integer}; leave out " + in_quotes(given->key));
        }
        return;
    }
    if (entry != nullptr && schema != nullptr) {
        region.draft.problems.error(schema->place,
                                    region.map.what() + " has both \"entry\" and \"schema\"; keep one of them");
        return;
    }
    if (entry != nullptr) {
        std::vector<FieldSpec> fields =
            read_short_form(region.draft, entry->value, region.map.what(), region.map.part("entry"));
        if (!fields.empty()) region.spec.schema = EntrySchema::from_fields(std::move(fields));
        if (entry->value.is_map() && entry->value.members.empty()) {
            region.draft.problems.error(entry->value.place,
                                        region.map.part("entry") + " names no field; leave it out to allow any object");
        }
    }
    if (schema != nullptr) read_json_schema(region, schema->value);
}

// A list of field names, each of which the schema must have.
std::vector<std::string> read_fields(RegionReader& region, const YamlNode& node, const std::string& key) {
    std::vector<std::string> fields;
    const std::vector<YamlNode>* items = read_list(node, region.map.part(key), region.draft.problems);
    if (items == nullptr) return fields;
    for (const YamlNode& item : *items) {
        const std::optional<std::string> name = read_text(item, region.map.part(key), region.draft.problems);
        if (!name.has_value()) continue;
        if (std::find(fields.begin(), fields.end(), *name) != fields.end()) {
            region.draft.problems.error(item.place, region.map.part(key) + ": " + in_quotes(*name) + " is named twice");
        } else if (!type_of_field(region.spec, {*name}).has_value()) {
            region.draft.problems.error(item.place, no_such_field(region.spec, {*name}));
        } else {
            fields.push_back(*name);
        }
    }
    return fields;
}

void read_key(RegionReader& region) {
    const YamlMember* key = region.map.optional_member("key");
    if (key == nullptr) return;
    if (region.is(PolicyKind::append_only) || region.is(PolicyKind::counter)) {
        region.draft.problems.error(key->place, region.map.what() + " is " + to_text(region.spec.policy) +
                                                    ", whose entries have no key; leave out \"key\"");
        return;
    }
    region.spec.key = read_fields(region, key->value, "key");
    if (key->value.is_list() && key->value.items.empty()) {
        region.draft.problems.error(key->place, region.map.part("key") + " names no field");
    }
}

void read_owner(RegionReader& region) {
    CrewDraft& draft = region.draft;
    const YamlMember* owner = region.map.optional_member("owner");
    if (owner == nullptr) {
        if (region.is(PolicyKind::single_writer)) {
            draft.problems.error(
                region.place, region.map.what() + " is single_writer and needs \"owner\": the source that may write");
        }
        return;
    }
    const std::optional<std::string> name = read_text(owner->value, region.map.part("owner"), draft.problems);
    if (name.has_value()) region.spec.owner = *name;
    if (region.policy_known && !region.is(PolicyKind::single_writer)) {
        draft.problems.error(owner->place, region.map.what() + " is " + to_text(region.spec.policy) +
                                               "; only single_writer has an \"owner\"");
        return;
    }
    if (!name.has_value() || !draft.sources_known) return;
    if (!std::binary_search(draft.source_names.begin(), draft.source_names.end(), *name)) {
        draft.problems.error(owner->value.place, "there is no source " + in_quotes(*name) + " to own " +
                                                     region.map.what() + nearest_hint(*name, draft.source_names));
    }
}

void check_law_fits(RegionReader& region, const YamlMember& member, MergeLaw law, FieldType type) {
    const bool needs_list = law == MergeLaw::set_union;
    if (type == FieldType::any || (type == FieldType::array) == needs_list) {
        if (type != FieldType::object || needs_list) return;
    }
    region.draft.problems.error(member.value.place,
                                "field " + in_quotes(member.key) + " of " + region.map.what() + " is " +
                                    with_article(type) + "; " +
                                    (needs_list ? "union merges lists" : "min and max merge single values"));
}

void read_merge(RegionReader& region) {
    CrewProblems& problems = region.draft.problems;
    const YamlMember* merge = region.map.optional_member("merge");
    if (merge == nullptr) return;
    if (region.policy_known && !region.is(PolicyKind::set_union)) {
        problems.error(merge->place,
                       region.map.what() + " is " + to_text(region.spec.policy) + "; only set_union has \"merge\"");
        return;
    }
    if (!merge->value.is_map()) {
        problems.error(merge->value.place,
                       unexpected(region.map.part("merge"), "a map from field to min, max or union", merge->value));
        return;
    }
    for (const YamlMember& member : merge->value.members) {
        const std::string what = "merge of field " + in_quotes(member.key) + " of " + region.map.what();
        const std::optional<std::size_t> law = read_word(member.value, what, {"min", "max", "union"}, problems);
        const std::optional<TypeFact> fact = type_of_field(region.spec, {member.key});
        const std::vector<std::string>& key = region.spec.key;
        // Even a wrong law is a law: that the field has none is not a second mistake.
        region.spec.merge.emplace_back(member.key, static_cast<MergeLaw>(law.value_or(0)));
        if (!fact.has_value()) {
            problems.error(member.place, no_such_field(region.spec, {member.key}));
        } else if (std::find(key.begin(), key.end(), member.key) != key.end()) {
            problems.error(member.place, "field " + in_quotes(member.key) + " of " + region.map.what() +
                                             " is a key field, and key fields are equal where entries merge");
        } else if (law.has_value()) {
            check_law_fits(region, member, static_cast<MergeLaw>(*law), fact->type);
        }
    }
}

// Fields without a law would depend on the order of the adds.
void check_every_field_merges(RegionReader& region) {
    const RegionSpec& spec = region.spec;
    CrewProblems& problems = region.draft.problems;
    if (!region.is(PolicyKind::set_union)) return;
    if (spec.key.empty()) {
        if (spec.merge.empty()) return;
        problems.error(
            region.place,
            region.map.what() + " has \"merge\" and no \"key\": without key fields the whole entry is the key");
        return;
    }
    // A name that no document gives a field: allowed only where every name is.
    if (spec.schema.type_at("\x01").has_value()) {
        problems.error(region.place, region.map.what() +
                                         " has key fields, so it must say which other fields there are, with \"entry\""
                                         " or a \"schema\" with additionalProperties: false");
        return;
    }
    for (const std::string& field : spec.schema.field_names()) {
        const auto is_merged = [&](const auto& merged) { return merged.first == field; };
        if (std::find(spec.key.begin(), spec.key.end(), field) != spec.key.end()) continue;
        if (std::any_of(spec.merge.begin(), spec.merge.end(), is_merged)) continue;
        problems.error(region.place,
                       "field " + in_quotes(field) + " of " + region.map.what() +
                           " is neither key nor merged; add it to \"key\", or to \"merge\" with min, max or union");
    }
}

// `grounded: true`, or a map that says what becomes of a phantom.
void read_grounded(RegionReader& region) {
    const YamlNode* node = region.map.optional("grounded");
    if (node == nullptr) return;
    RegionSpec& spec = region.spec;
    CrewProblems& problems = region.draft.problems;
    if (region.is(PolicyKind::counter)) {
        problems.error(node->place, region.map.what() + " is a counter: there is nothing in it to be grounded");
    }
    if (!node->is_map()) {
        const std::optional<bool> grounded = read_flag(region.draft, *node, region.map.part("grounded"));
        spec.grounded = grounded.value_or(false) ? Grounding::refuse : Grounding::none;
        return;
    }
    MapReader map(*node, region.map.part("grounded"), problems);
    spec.grounded = Grounding::refuse;
    if (const YamlNode* phantoms = map.optional("phantoms")) {
        const auto index = read_word(*phantoms, map.part("phantoms"), {"refuse", "flag", "question"}, problems);
        const Grounding laws[] = {Grounding::refuse, Grounding::flag, Grounding::question};
        spec.grounded = laws[index.value_or(0)];
    }
    if (const YamlNode* fields = map.optional("fields")) {
        spec.grounded_fields = read_fields(region, *fields, "fields");
    }
    const YamlNode* into = map.optional("into");
    if (spec.grounded == Grounding::question) {
        if (into == nullptr) {
            problems.error(node->place,
                           map.what() + ": \"phantoms: question\" goes with \"into\", the region that is asked in");
        } else {
            spec.questions_into = read_text(*into, map.part("into"), problems).value_or("");
        }
    } else if (into != nullptr) {
        problems.error(into->place, map.what() + ": \"into\" goes with \"phantoms: question\"");
    }
    map.finish();
}

// The region that questions go into takes a {text}.
void check_questions(CrewDraft& draft) {
    for (const RegionSpec& spec : draft.crew.regions) {
        if (spec.questions_into.empty()) continue;
        const RegionSpec* into = draft.resolve_region(spec.questions_into, draft.place_of(spec));
        if (into == nullptr) continue;
        const bool takes = into->policy == PolicyKind::append_only || into->policy == PolicyKind::set_union;
        if (takes && !into->schema.check(Value::object({{"text", "?"}}))) continue;
        draft.problems.error(draft.place_of(spec), "region " + in_quotes(spec.name) + " asks about phantoms in " +
                                                       in_quotes(into->name) +
                                                       ", which must be append_only or set_union and take {text}");
    }
}

RegionSpec read_region(CrewDraft& draft, const YamlMember& member, bool& policy_known) {
    RegionSpec spec;
    spec.name = member.key;
    RegionReader region{draft, spec,
                        MapReader(member.value, "region " + in_quotes(member.key), draft.problems, member.place),
                        member.place};
    if (const YamlNode* policy = region.map.required("policy")) {
        const std::optional<std::size_t> index =
            read_word(*policy, region.map.part("policy"), policy_words(), draft.problems);
        region.policy_known = index.has_value();
        if (index.has_value()) spec.policy = policies()[*index];
    }
    policy_known = region.policy_known;
    const std::size_t errors_before = draft.problems.error_count();
    read_schema(region);
    read_key(region);
    read_merge(region);
    // A misspelt field would be missing here as well: one mistake, one report.
    if (draft.problems.error_count() == errors_before) check_every_field_merges(region);
    read_owner(region);
    read_grounded(region);
    if (const YamlNode* fields = region.map.optional("volatile")) {
        spec.volatile_fields = read_fields(region, *fields, "volatile");
    }
    if (const YamlNode* help = region.map.optional("help")) {
        spec.help = read_text(*help, region.map.part("help"), draft.problems).value_or("");
    }
    region.map.finish();
    return spec;
}

void check_region_name(CrewDraft& draft, const YamlMember& member) {
    check_name(member.key, member.place, "a region", draft.problems);
    if (member.key == scratch_name) {
        draft.problems.error(member.place, "\"scratch\" is every source's private region and is not declared");
    }
    if (member.key == control_region_name) {
        draft.problems.error(member.place, "\"control\" is a region that every crew has; leave it out");
    }
    if (member.key == suspects_region_name && draft.crew.on_retract != OnRetract::none) {
        draft.problems.error(member.place, "\"suspects\" is a region that a crew with on_retract has; leave it out");
    }
    if (member.key == phantoms_region_name) {
        draft.problems.error(member.place,
                             "\"phantoms\" is a region that a crew with flagged regions has; leave it out");
    }
    if (member.key == agenda_region_name && !draft.crew.control_source.empty()) {
        draft.problems.error(member.place,
                             "\"agenda\" is a region that a crew with a source as its control has; leave it out");
    }
}

// --- seed ------------------------------------------------------------------------------------

// RFC 6901: `~1` is a slash and `~0` a tilde.
std::string unescaped(std::string_view step) {
    std::string out;
    for (std::size_t i = 0; i < step.size(); ++i) {
        const bool is_escape = step[i] == '~' && i + 1 < step.size();
        out += is_escape ? (step[++i] == '1' ? '/' : '~') : step[i];
    }
    return out;
}

// The node at a JSON Pointer into a seed entry, or the nearest one above it.
SourcePlace place_at(const YamlNode& entry, std::string_view pointer) {
    const YamlNode* node = &entry;
    while (pointer.starts_with('/')) {
        pointer.remove_prefix(1);
        const std::string_view escaped = pointer.substr(0, pointer.find('/'));
        pointer.remove_prefix(escaped.size());
        const std::string step = unescaped(escaped);
        if (const YamlMember* member = node->find(step)) {
            node = &member->value;
            continue;
        }
        std::size_t index = 0;
        const auto parsed = std::from_chars(step.data(), step.data() + step.size(), index);
        if (parsed.ec != std::errc() || index >= node->items.size()) break;
        node = &node->items[index];
    }
    return node->place;
}

void check_seed_entry(CrewDraft& draft, const RegionSpec& region, const YamlNode& node, const Value& entry) {
    const std::optional<SchemaProblem> problem = region.schema.check(entry);
    if (!problem.has_value()) return;
    const std::string where = problem->path.empty() ? std::string() : " at " + problem->path;
    draft.problems.error(place_at(node, problem->path),
                         "the seed of region " + in_quotes(region.name) + where + ": " + problem->message);
}

void read_seed_entries(CrewDraft& draft, const RegionSpec& region, const YamlNode& node) {
    const std::string what = "the seed of region " + in_quotes(region.name);
    const std::vector<YamlNode>* items = read_list(node, what, draft.problems);
    if (items == nullptr) return;
    std::map<std::string, int> lines_of_keys;
    for (const YamlNode& item : *items) {
        const std::optional<Value> entry = substituted_value(draft, item);
        if (!entry.has_value()) continue;
        check_seed_entry(draft, region, item, *entry);
        // The one policy that refuses a key that is taken.
        if (region.policy == PolicyKind::cas && !region.key.empty()) {
            const auto [first, is_new] = lines_of_keys.emplace(key_text_of(region, *entry, {}), item.place.line);
            if (!is_new) {
                draft.problems.error(item.place, what + ": the key of this entry is taken by the entry on line " +
                                                     std::to_string(first->second));
            }
        }
        draft.crew.seed.emplace_back(region.name, *entry);
    }
}

}  // namespace

const RegionSpec* CrewDraft::region(std::string_view name) const {
    const auto found = region_facts.find(name);
    return found == region_facts.end() ? nullptr : &crew.regions[found->second.index];
}

bool CrewDraft::policy_known(const RegionSpec& region) const {
    const auto found = region_facts.find(region.name);
    return found == region_facts.end() || found->second.policy_known;
}

bool CrewDraft::flags_phantoms() const {
    return std::any_of(crew.regions.begin(), crew.regions.end(),
                       [](const RegionSpec& spec) { return spec.grounded == Grounding::flag; });
}

SourcePlace CrewDraft::place_of(const RegionSpec& region) const {
    const auto found = region_facts.find(region.name);
    return found == region_facts.end() ? SourcePlace{} : found->second.place;
}

const RegionSpec* CrewDraft::resolve_region(std::string_view name, SourcePlace place) {
    const RegionSpec* found = region(name);
    if (found != nullptr || !regions_known || problems.is_full()) return found;
    std::vector<std::string> names;
    for (const RegionSpec& known : crew.regions) {
        if (known.name != control_region_name) names.push_back(known.name);
    }
    problems.error(place, "there is no region " + in_quotes(name) + nearest_hint(name, names));
    return nullptr;
}

std::vector<FieldSpec> read_short_form(CrewDraft& draft, const YamlNode& node, std::string_view owner,
                                       const std::string& what) {
    std::vector<FieldSpec> fields;
    if (!node.is_map()) {
        draft.problems.error(node.place, unexpected(what, "a map from field to type", node));
        return fields;
    }
    for (const YamlMember& member : node.members) {
        check_field_name(draft, member);
        const std::optional<std::string> word = type_word(member.value);
        const std::string field_name = "field " + in_quotes(member.key) + " of " + std::string(owner);
        // A field whose type is wrong takes any value, so that its uses are no mistakes too.
        FieldSpec field = field_of(member.key, FieldType::any);
        if (!word.has_value()) {
            draft.problems.error(
                member.value.place,
                unexpected(field_name, "a type such as string, number?, [string] or low | high", member.value));
        } else {
            Result<FieldSpec> parsed = EntrySchema::parse_field(member.key, *word);
            if (parsed.ok()) {
                field = std::move(*parsed);
            } else {
                draft.problems.error(member.value.place, parsed.error().message);
            }
        }
        fields.push_back(std::move(field));
    }
    return fields;
}

RegionSpec scratch_region(std::string_view source) {
    RegionSpec spec;
    spec.name = scratch_region_of(source);
    spec.policy = PolicyKind::last_writer_wins;
    spec.schema = EntrySchema::from_fields({field_of("key", FieldType::string), field_of("value", FieldType::any)});
    spec.key = {"key"};
    spec.scratch = true;
    return spec;
}

void read_regions(CrewDraft& draft, const YamlNode* node) {
    if (node == nullptr || !node->is_map()) {
        if (node != nullptr)
            draft.problems.error(node->place, unexpected("regions", "a map from name to region", *node));
        draft.regions_known = false;
        return;
    }
    if (node->members.empty()) draft.problems.error(node->place, "regions: a crew needs at least one region");
    for (const YamlMember& member : node->members) {
        check_region_name(draft, member);
        CrewDraft::RegionFact fact;
        fact.index = draft.crew.regions.size();
        fact.place = member.place;
        draft.crew.regions.push_back(read_region(draft, member, fact.policy_known));
        draft.region_facts.emplace(member.key, fact);
    }
    const auto add_reserved = [&draft](RegionSpec region) {
        CrewDraft::RegionFact fact;
        fact.index = draft.crew.regions.size();
        fact.policy_known = true;
        draft.region_facts.emplace(region.name, fact);
        draft.crew.regions.push_back(std::move(region));
    };
    add_reserved(control_region());
    if (!draft.crew.control_source.empty()) add_reserved(agenda_region());
    if (draft.crew.on_retract != OnRetract::none) add_reserved(suspects_region());
    if (draft.flags_phantoms()) add_reserved(phantoms_region());
    check_questions(draft);
}

void read_seed(CrewDraft& draft, const YamlNode* node) {
    if (node == nullptr) return;
    if (!node->is_map()) {
        draft.problems.error(node->place, unexpected("seed", "a map from region to a list of entries", *node));
        return;
    }
    for (const YamlMember& member : node->members) {
        if (member.key == scratch_name) {
            draft.problems.error(member.place, "\"scratch\" is private to each source and cannot be seeded");
            continue;
        }
        const RegionSpec* region = draft.resolve_region(member.key, member.place);
        if (region != nullptr) read_seed_entries(draft, *region, member.value);
    }
}

}  // namespace stele

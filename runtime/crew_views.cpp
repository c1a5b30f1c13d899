// Reads a source's `view:`: which entries of which regions it is shown.
#include <algorithm>

#include "runtime/crew_draft.hpp"

namespace stele {
namespace {

constexpr std::uint64_t count_max = 1'000'000'000;

class ViewReader {
public:
    ViewReader(SourceParts& source, bool is_prompt)
        : source_(source), draft_(source.draft), problems_(source.draft.problems), is_prompt_(is_prompt) {}

    ViewPart read(const YamlNode& node);

private:
    const RegionSpec* read_region(ViewPart& part, const YamlNode& node);
    void read_most(MapReader& map, std::uint64_t& target);
    void read_top(ViewPart& part, const RegionSpec* region, const YamlNode& node, const std::string& what);
    void read_relevant(ViewPart& part, const YamlNode& node, const std::string& what);
    void read_budget(ViewPart& part, MapReader& map);

    SourceParts& source_;
    CrewDraft& draft_;
    CrewProblems& problems_;
    // Only what goes into a prompt is counted in tokens.
    bool is_prompt_;
};

ViewPart ViewReader::read(const YamlNode& node) {
    ViewPart part;
    const std::string what = "a part of " + source_.map.part("view");
    if (!node.is_map()) {
        if (node.is_scalar()) {
            read_region(part, node);
        } else {
            problems_.error(node.place, unexpected(what, "a region or a map with \"region\"", node));
        }
        return part;
    }
    MapReader map(node, what, problems_);
    const YamlNode* name = map.required("region");
    const RegionSpec* region = name == nullptr ? nullptr : read_region(part, *name);
    if (const YamlNode* where = map.optional("where")) {
        part.where = read_filter(draft_, source_.scope, region, *where, map.part("where"));
    }
    if (const YamlNode* last = map.optional("last")) {
        const auto count = read_count(*last, map.part("last"), {.min = 1, .max = count_max}, problems_);
        part.last = count.value_or(part.last);
        part.last_declared = true;
    }
    if (const YamlNode* top = map.optional("top")) read_top(part, region, *top, map.part("top"));
    if (const YamlNode* relevant = map.optional("relevant")) read_relevant(part, *relevant, map.part("relevant"));
    read_budget(part, map);
    map.finish();
    return part;
}

const RegionSpec* ViewReader::read_region(ViewPart& part, const YamlNode& node) {
    const std::string what = source_.map.part("view");
    const std::optional<std::string> name = read_text(node, what, problems_);
    if (!name.has_value()) return nullptr;
    const std::vector<ViewPart>& view = source_.spec.view;
    const auto is_same = [&](const ViewPart& known) { return known.region == *name; };
    if (std::any_of(view.begin(), view.end(), is_same)) {
        problems_.error(node.place, what + ": region " + in_quotes(*name) + " is named twice");
    }
    part.region = *name;
    if (*name != scratch_name) return resolve_readable(draft_, source_.reader, *name, node.place);
    problems_.error(node.place, "\"scratch\" is always in the view of its source; leave it out");
    return nullptr;
}

void ViewReader::read_most(MapReader& map, std::uint64_t& target) {
    const YamlNode* most = map.required("most");
    target = 1;
    if (most == nullptr) return;
    target = read_count(*most, map.part("most"), {.min = 1, .max = count_max}, problems_).value_or(target);
}

void ViewReader::read_top(ViewPart& part, const RegionSpec* region, const YamlNode& node, const std::string& what) {
    MapReader map(node, what, problems_);
    if (const YamlNode* by = map.required("by")) {
        const std::optional<std::string> text = read_text(*by, map.part("by"), problems_);
        const std::optional<FieldPath> path = text.has_value() ? read_path(draft_, *text, by->place) : std::nullopt;
        if (path.has_value()) {
            part.top_by = path->path;
            const std::optional<TypeFact> fact =
                region == nullptr || path->path.empty() ? TypeFact{} : type_of_field(*region, path->path);
            if (path->attribute != Attribute::content) {
                problems_.error(by->place, unexpected(map.part("by"), "a field with a number", *by));
            } else if (!fact.has_value()) {
                problems_.error(by->place, no_such_field(*region, path->path));
            } else if (!may_be_number(fact->type)) {
                problems_.error(by->place, map.part("by") + ": field " + in_quotes(*text) + " is " +
                                               with_article(fact->type) + "; expected one with a number");
            }
        }
    }
    read_most(map, part.top);
    map.finish();
}

void ViewReader::read_relevant(ViewPart& part, const YamlNode& node, const std::string& what) {
    MapReader map(node, what, problems_);
    part.relevant_to.emplace();
    if (const YamlNode* to = map.required("to")) {
        TypeFact fact;
        if (is_reference(*to)) {
            part.relevant_to->reference = read_reference(draft_, source_.scope, *to);
            if (part.relevant_to->reference.has_value()) {
                fact = type_of_reference(source_.scope, *part.relevant_to->reference);
            }
        } else if (const std::optional<std::string> text = read_text(*to, map.part("to"), problems_)) {
            const std::optional<Value> literal = read_literal(draft_, *to);
            if (literal.has_value()) {
                part.relevant_to->literal = *literal;
                fact = type_of_value(*literal);
            }
        }
        if (!may_be_equal(fact.type, FieldType::string)) {
            problems_.error(to->place, map.part("to") + ": " + in_quotes(to->text) + " is " + with_article(fact.type) +
                                           "; expected a text, such as \"$q.text\"");
        }
    }
    read_most(map, part.relevant);
    map.finish();
}

void ViewReader::read_budget(ViewPart& part, MapReader& map) {
    const YamlMember* tokens = map.optional_member("tokens");
    const YamlMember* priority = map.optional_member("priority");
    if (!is_prompt_) {
        for (const YamlMember* member : {tokens, priority}) {
            if (member == nullptr) continue;
            problems_.error(member->place, map.what() +
                                               " is not made into a prompt, which only kind llm has; leave out " +
                                               in_quotes(member->key));
        }
        return;
    }
    if (tokens != nullptr) {
        part.tokens =
            read_count(tokens->value, map.part("tokens"), {.min = 1, .max = count_max}, problems_).value_or(0);
    }
    if (priority != nullptr) part.priority = read_number(priority->value, map.part("priority"), problems_).value_or(0);
}

}  // namespace

void read_view(SourceParts& source, const YamlNode& node, bool kind_known) {
    const std::vector<YamlNode>* items = read_list(node, source.map.part("view"), source.draft.problems);
    source.spec.view_declared = true;
    if (items == nullptr) return;
    ViewReader reader(source, !kind_known || source.spec.kind == SourceKind::llm);
    for (const YamlNode& item : *items) source.spec.view.push_back(reader.read(item));
}

}  // namespace stele

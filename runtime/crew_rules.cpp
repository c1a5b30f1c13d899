// Reads a rule's `then:`: what is written where, and the templates of the entries.
#include <algorithm>
#include <limits>

#include "board/region_policy.hpp"
#include "runtime/crew_draft.hpp"

namespace stele {
namespace {

constexpr WriteOp all_ops[] = {WriteOp::insert,  WriteOp::add,    WriteOp::put,      WriteOp::replace,
                               WriteOp::retract, WriteOp::remove, WriteOp::increment};

// Stands where a template has a mistake, so that the rest of the entry is still checked.
constexpr std::uint32_t unknown_variable = std::numeric_limits<std::uint32_t>::max();

bool names_bound_entry(WriteOp op) { return op == WriteOp::replace || op == WriteOp::retract || op == WriteOp::remove; }

bool has_entry(WriteOp op) {
    return op == WriteOp::insert || op == WriteOp::add || op == WriteOp::put || op == WriteOp::replace;
}

const RegionSpec& any_scratch() {
    static const RegionSpec region = scratch_region("any");
    return region;
}

class RuleReader {
public:
    RuleReader(CrewDraft& draft, Reader& reader, const Scope& scope)
        : draft_(draft), problems_(draft.problems), reader_(reader), scope_(scope) {}

    std::optional<RuleWrite> read(const YamlNode& node);

private:
    const YamlMember* find_op(const YamlNode& node, WriteOp& op);
    const RegionSpec* read_target(RuleWrite& write, const YamlNode& node);
    const RegionSpec* read_named_region(RuleWrite& write, const YamlNode& node);
    void check_operation(const RuleWrite& write, const RegionSpec& region, SourcePlace place);
    void read_entry(RuleWrite& write, const RegionSpec* region, MapReader& map);
    void read_cites(RuleWrite& write, MapReader& map);
    void read_by(RuleWrite& write, MapReader& map);
    void check_against(const RegionSpec& region, const YamlNode& node, const TemplateNode& entry);
    void check_field(const RegionSpec& region, const FieldSpec& field, const YamlMember& member,
                     const TemplateNode& value);

    CrewDraft& draft_;
    CrewProblems& problems_;
    Reader& reader_;
    const Scope& scope_;
};

std::optional<RuleWrite> RuleReader::read(const YamlNode& node) {
    if (!node.is_map()) {
        problems_.error(node.place, unexpected("a write of " + reader_.name, "a map such as {insert: REGION}", node));
        return std::nullopt;
    }
    RuleWrite write;
    write.place = node.place;
    const YamlMember* head = find_op(node, write.op);
    if (head == nullptr) return std::nullopt;
    MapReader map(node, "the " + in_quotes(head->key) + " of " + reader_.name, problems_);
    for (const WriteOp op : all_ops) {
        if (node.find(to_text(op)) != nullptr) (void)map.optional(to_text(op));
    }
    const RegionSpec* region = read_target(write, head->value);
    if (has_entry(write.op)) read_entry(write, region, map);
    if (write.op == WriteOp::increment) read_by(write, map);
    read_cites(write, map);
    if (const YamlNode* why = map.optional("why")) {
        const std::optional<std::string> text = read_text(*why, map.part("why"), problems_);
        if (text.has_value()) write.why = substituted_text(draft_, *text, why->place).value_or("");
    }
    map.finish();
    return write;
}

const YamlMember* RuleReader::find_op(const YamlNode& node, WriteOp& op) {
    const YamlMember* head = nullptr;
    std::vector<std::string> words;
    for (const WriteOp known : all_ops) words.emplace_back(to_text(known));
    for (const YamlMember& member : node.members) {
        const std::optional<WriteOp> found = write_op_from(member.key);
        if (!found.has_value()) continue;
        if (head == nullptr) {
            head = &member;
            op = *found;
        } else {
            problems_.error(member.place, "this write is already " + in_quotes(head->key) + "; write " +
                                              in_quotes(member.key) + " as one of its own");
        }
    }
    if (head == nullptr) {
        const bool is_empty = node.members.empty();
        const std::string hint = is_empty ? std::string() : nearest_hint(node.members[0].key, words);
        problems_.error(is_empty ? node.place : node.members[0].place,
                        "a write of " + reader_.name + " names no operation" + hint +
                            (hint.empty() ? "; expected " : " Expected ") + any_of(words));
    }
    return head;
}

const RegionSpec* RuleReader::read_target(RuleWrite& write, const YamlNode& node) {
    if (!names_bound_entry(write.op)) return read_named_region(write, node);
    write.target = read_variable(draft_, scope_, node, "the " + in_quotes(to_text(write.op)) + " of " + reader_.name);
    if (!write.target.has_value()) return nullptr;
    const RegionSpec* region = scope_.variables[*write.target].region;
    if (region == nullptr) return nullptr;
    write.region = region->name;
    check_operation(write, *region, node.place);
    return region;
}

const RegionSpec* RuleReader::read_named_region(RuleWrite& write, const YamlNode& node) {
    const std::string what = "the " + in_quotes(to_text(write.op)) + " of " + reader_.name;
    if (is_reference(node)) {
        problems_.error(node.place, unexpected(what, "a region", node));
        return nullptr;
    }
    const std::optional<std::string> name = read_text(node, what, problems_);
    if (!name.has_value()) return nullptr;
    write.region = *name;
    const RegionSpec* region = *name == scratch_name ? &any_scratch() : draft_.resolve_region(*name, node.place);
    if (region != nullptr) check_operation(write, *region, node.place);
    return region;
}

void RuleReader::check_operation(const RuleWrite& write, const RegionSpec& region, SourcePlace place) {
    const std::vector<WriteOp> allowed = operations_of(region.policy);
    const std::string op = to_text(write.op);
    const std::string name = region.scratch ? std::string(scratch_name) : region.name;
    if (draft_.policy_known(region) && std::find(allowed.begin(), allowed.end(), write.op) == allowed.end()) {
        std::vector<std::string> words;
        for (const WriteOp known : allowed) words.emplace_back(to_text(known));
        problems_.error(place, "region " + in_quotes(name) + " is " + to_text(region.policy) + " and has no " +
                                   in_quotes(op) + "; expected " + any_of(words));
        return;
    }
    if (region.scratch || !reader_.writes_known || reader_.source->may.may_write(region.name, write.op)) return;
    const std::string key = op + " " + region.name;
    if (std::find(reader_.reported.begin(), reader_.reported.end(), key) != reader_.reported.end()) return;
    reader_.reported.push_back(key);
    problems_.error(place, reader_.name + " may not " + op + " in region " + in_quotes(region.name) + "; add " +
                               region.name + ": [" + op + "] to may.write of " + reader_.name);
}

void RuleReader::read_entry(RuleWrite& write, const RegionSpec* region, MapReader& map) {
    const YamlNode* node = map.required("entry");
    if (node == nullptr) return;
    write.entry = read_template(draft_, scope_, *node);
    const TemplateNode& entry = write.entry;
    const bool is_object = entry.kind == TemplateNode::Kind::object ||
                           (entry.kind == TemplateNode::Kind::reference &&
                            may_be_equal(type_of_reference(scope_, entry.reference).type, FieldType::object));
    if (!is_object) {
        problems_.error(node->place, unexpected(map.part("entry"), "a map from field to value", *node));
    } else if (region != nullptr) {
        check_against(*region, *node, entry);
    }
}

void RuleReader::read_cites(RuleWrite& write, MapReader& map) {
    const YamlNode* cites = map.optional("cites");
    if (cites == nullptr) return;
    const std::vector<YamlNode>* items = read_list(*cites, map.part("cites"), problems_);
    if (items == nullptr) return;
    for (const YamlNode& item : *items) {
        const std::optional<std::uint32_t> variable = read_variable(draft_, scope_, item, map.part("cites"));
        if (!variable.has_value()) continue;
        if (std::find(write.cites.begin(), write.cites.end(), *variable) != write.cites.end()) {
            problems_.error(item.place, map.part("cites") + ": " + in_quotes(item.text) + " is named twice");
        } else {
            write.cites.push_back(*variable);
        }
    }
}

void RuleReader::read_by(RuleWrite& write, MapReader& map) {
    const YamlNode* by = map.optional("by");
    if (by == nullptr) return;
    if (!by->is_scalar() || is_reference(*by)) {
        problems_.error(by->place, unexpected(map.part("by"), "an integer", *by));
        return;
    }
    const std::optional<Value> value = substituted_scalar(draft_, *by);
    if (!value.has_value()) return;
    if (!value->is_int()) {
        problems_.error(by->place, unexpected(map.part("by"), "an integer", *by));
        return;
    }
    write.by = value->as_int();
}

// The value of a template without references; nothing when it has one.
std::optional<Value> literal_of(const TemplateNode& node) {
    switch (node.kind) {
        case TemplateNode::Kind::literal:
            return node.literal;
        case TemplateNode::Kind::reference:
            return std::nullopt;
        case TemplateNode::Kind::array: {
            Value::Array elements;
            for (const TemplateNode& element : node.elements) {
                std::optional<Value> value = literal_of(element);
                if (!value.has_value()) return std::nullopt;
                elements.push_back(std::move(*value));
            }
            return Value(std::move(elements));
        }
        case TemplateNode::Kind::object: {
            std::vector<Value::Member> members;
            for (const auto& [name, member] : node.members) {
                std::optional<Value> value = literal_of(member);
                if (!value.has_value()) return std::nullopt;
                members.emplace_back(name, std::move(*value));
            }
            return Value::object(std::move(members));
        }
    }
    return std::nullopt;
}

void RuleReader::check_against(const RegionSpec& region, const YamlNode& node, const TemplateNode& entry) {
    if (entry.kind == TemplateNode::Kind::reference) return;
    const std::string name = region.scratch ? std::string(scratch_name) : region.name;
    if (!region.schema.is_flat()) {
        const std::optional<Value> literal = literal_of(entry);
        const std::optional<SchemaProblem> problem =
            literal.has_value() ? region.schema.check(*literal) : std::optional<SchemaProblem>();
        if (problem.has_value()) {
            problems_.error(node.place, "this entry does not fit region " + in_quotes(name) +
                                            (problem->path.empty() ? "" : " at " + problem->path) + ": " +
                                            problem->message);
            return;
        }
        for (const YamlMember& member : node.members) {
            if (literal.has_value() || type_of_field(region, {member.key}).has_value()) continue;
            problems_.error(member.place, no_such_field(region, {member.key}));
        }
        return;
    }
    const std::vector<FieldSpec>& fields = region.schema.fields();
    for (std::size_t i = 0; i < node.members.size(); ++i) {
        const YamlMember& member = node.members[i];
        const auto field = std::find_if(fields.begin(), fields.end(),
                                        [&](const FieldSpec& known) { return known.name == member.key; });
        if (field == fields.end()) {
            problems_.error(member.place, no_such_field(region, {member.key}));
        } else {
            check_field(region, *field, member, entry.members[i].second);
        }
    }
    for (const FieldSpec& field : fields) {
        if (field.optional || node.find(field.name) != nullptr) continue;
        problems_.error(node.place,
                        "this entry of region " + in_quotes(name) + " lacks the field " + in_quotes(field.name));
    }
}

void RuleReader::check_field(const RegionSpec& region, const FieldSpec& field, const YamlMember& member,
                             const TemplateNode& value) {
    const std::string name = region.scratch ? std::string(scratch_name) : region.name;
    const std::string what = "field " + in_quotes(field.name) + " of region " + in_quotes(name);
    if (const std::optional<Value> literal = literal_of(value)) {
        // The schema's own judgement, on an entry of this one field.
        const EntrySchema schema = EntrySchema::from_fields({field});
        const std::optional<SchemaProblem> problem = schema.check(Value::object({{field.name, *literal}}));
        if (problem.has_value()) problems_.error(member.value.place, what + ": " + problem->message);
        return;
    }
    TypeFact fact;
    if (value.kind == TemplateNode::Kind::array) fact.type = FieldType::array;
    if (value.kind == TemplateNode::Kind::object) fact.type = FieldType::object;
    if (value.kind == TemplateNode::Kind::reference) fact = type_of_reference(scope_, value.reference);
    if (!may_be_equal(field.type, fact.type)) {
        problems_.error(member.value.place, what + ": expected " + with_article(field.type) + ", found " +
                                                describe(member.value) + ", which is " + with_article(fact.type));
        return;
    }
    for (std::size_t i = 0; i < value.elements.size(); ++i) {
        const TemplateNode& element = value.elements[i];
        if (element.kind != TemplateNode::Kind::reference) continue;
        const FieldType type = type_of_reference(scope_, element.reference).type;
        if (may_be_equal(field.element, type)) continue;
        problems_.error(member.value.items[i].place, what + ": expected " + with_article(field.element) + ", found " +
                                                         describe(member.value.items[i]) + ", which is " +
                                                         with_article(type));
    }
    if (value.kind == TemplateNode::Kind::reference && !may_be_equal(field.element, fact.element)) {
        problems_.error(member.value.place, what + ": expected a list of " + to_text(field.element) + ", found " +
                                                describe(member.value) + ", a list of " + to_text(fact.element));
    }
}

}  // namespace

TemplateNode read_template(CrewDraft& draft, const Scope& scope, const YamlNode& node) {
    TemplateNode result;
    switch (node.kind) {
        case YamlNode::Kind::null:
            break;
        case YamlNode::Kind::scalar:
            if (is_reference(node)) {
                std::optional<VariableRef> reference = read_reference(draft, scope, node);
                result.kind = TemplateNode::Kind::reference;
                result.reference = reference.value_or(VariableRef{unknown_variable, Attribute::content, {}});
            } else if (std::optional<Value> literal = read_literal(draft, node)) {
                result.literal = std::move(*literal);
            } else {
                result.kind = TemplateNode::Kind::reference;
                result.reference.variable = unknown_variable;
            }
            break;
        case YamlNode::Kind::list:
            result.kind = TemplateNode::Kind::array;
            for (const YamlNode& item : node.items) result.elements.push_back(read_template(draft, scope, item));
            break;
        case YamlNode::Kind::map:
            result.kind = TemplateNode::Kind::object;
            for (const YamlMember& member : node.members) {
                result.members.emplace_back(member.key, read_template(draft, scope, member.value));
            }
            break;
    }
    return result;
}

std::vector<RuleWrite> read_rule(CrewDraft& draft, Reader& reader, const Scope& scope, const YamlNode& node) {
    std::vector<RuleWrite> writes;
    const std::string what = "then of " + reader.name;
    const std::vector<YamlNode>* items = read_list(node, what, draft.problems);
    if (items == nullptr) return writes;
    if (items->empty()) draft.problems.error(node.place, what + ": expected at least one write, found an empty list");
    RuleReader rule(draft, reader, scope);
    for (const YamlNode& item : *items) {
        std::optional<RuleWrite> write = rule.read(item);
        if (write.has_value()) writes.push_back(std::move(*write));
    }
    return writes;
}

}  // namespace stele

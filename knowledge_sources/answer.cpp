#include "knowledge_sources/answer.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "board/board.hpp"
#include "board/limits.hpp"
#include "board/nearest.hpp"
#include "knowledge_sources/process_protocol.hpp"

namespace stele {

namespace {

// ---- the schema ----

Value text_schema() { return Value::object({{"type", "string"}}); }

Value only(std::string_view word) { return Value::object({{"const", word}, {"type", "string"}}); }

Value closed_object(Value properties, Value::Array required) {
    return Value::object({{"additionalProperties", false},
                          {"properties", std::move(properties)},
                          {"required", std::move(required)},
                          {"type", "object"}});
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

/// The schema with its local references led to where it will stand. `found`: whether there were any.
Value moved_to(const Value& schema, const std::string& place, bool& found) {
    if (schema.is_array()) {
        Value::Array moved;
        for (const Value& element : schema.as_array()) moved.push_back(moved_to(element, place, found));
        return moved;
    }
    if (!schema.is_object()) return schema;
    Value moved = Value::object({});
    for (const auto& [keyword, argument] : schema.as_object()) {
        const bool is_reference = keyword == "$ref" && argument.is_string() && argument.as_string().starts_with('#');
        if (is_reference) {
            found = true;
            moved.set(keyword, place + argument.as_string().substr(1));
        } else if (is_one_of(keyword, {"enum", "const", "default", "examples"})) {
            moved.set(keyword, argument);  // data, whatever it looks like
        } else if (argument.is_object() &&
                   is_one_of(keyword, {"properties", "patternProperties", "definitions", "$defs", "dependencies"})) {
            // Here the names are no keywords.
            Value named = Value::object({});
            for (const auto& [name, inner] : argument.as_object()) named.set(name, moved_to(inner, place, found));
            moved.set(keyword, std::move(named));
        } else {
            moved.set(keyword, moved_to(argument, place, found));
        }
    }
    return moved;
}

/// A region's schema for use inside another document. One that refers to itself goes into `definitions`.
Value embedded(const RegionSpec& region, Value& definitions) {
    Value schema = entry_json_schema(region);
    if (!schema.is_object()) return Value::object({{"type", "object"}});
    Value::Object members;
    for (const auto& [name, value] : schema.as_object()) {
        // They say where the whole document stands, which is elsewhere now.
        const bool is_about_document = is_one_of(name, {"$schema", "$id", "id"}) && value.is_string();
        if (!is_about_document) members.emplace_back(name, value);
    }
    schema = Value::object(std::move(members));
    const auto says = [&schema](const char* keyword) { return schema.find(keyword) != nullptr; };
    // The board takes objects only, whether or not the schema says so.
    if (!says("type") && !says("$ref") && !says("anyOf") && !says("oneOf") && !says("allOf")) {
        schema.set("type", "object");
    }
    const std::string place = "#/$defs/" + region.name;
    bool refers = false;
    Value moved = moved_to(schema, place, refers);
    if (!refers) return schema;
    definitions.set(region.name, std::move(moved));
    return Value::object({{"$ref", place}});
}

Value write_schema(const RegionSpec& region, WriteOp op, Value& definitions) {
    Value properties = Value::object({{"op", only(to_text(op))},
                                      {"region", only(region.name)},
                                      {"as", text_schema()},
                                      {"cites", Value::object({{"type", "array"}, {"items", text_schema()}})},
                                      {"why", text_schema()}});
    Value::Array required = {"op", "region"};
    const auto needs = [&](const char* name, Value schema) {
        properties.set(name, std::move(schema));
        required.emplace_back(name);
    };
    switch (op) {
        case WriteOp::insert:
        case WriteOp::add:
        case WriteOp::put:
            needs("entry", embedded(region, definitions));
            break;
        case WriteOp::replace:
            needs("id", text_schema());
            needs("expected_version", Value::object({{"type", "integer"}}));
            needs("entry", embedded(region, definitions));
            break;
        case WriteOp::retract:
            needs("id", text_schema());
            needs("why", text_schema());
            break;
        case WriteOp::remove:
            needs("id", text_schema());
            break;
        case WriteOp::increment:
            needs("by", Value::object({{"type", "integer"}}));
            break;
    }
    return closed_object(std::move(properties), std::move(required));
}

}  // namespace

Value entry_json_schema(const RegionSpec& region) { return region.schema.document(); }

Value answer_schema(const CrewSpec& crew, const SourceSpec& source) {
    Value definitions = Value::object({});
    Value::Array writes;
    for (const auto& [name, ops] : source.may.write) {
        const RegionSpec* region = crew.region(name);
        if (region == nullptr || region->scratch) continue;
        for (const WriteOp op : ops) writes.push_back(write_schema(*region, op, definitions));
    }
    Value list = Value::object({{"type", "array"}});
    if (writes.empty()) {
        list.set("items", closed_object(Value::object({}), {}));
        list.set("maxItems", 0);
    } else {
        list.set("items", Value::object({{"anyOf", std::move(writes)}}));
    }
    Value schema =
        closed_object(Value::object({{"note", text_schema()}, {"writes", std::move(list)}}), {Value("writes")});
    if (!definitions.as_object().empty()) schema.set("$defs", std::move(definitions));
    return schema;
}

namespace {

// ---- from text to one object ----

// Brackets that lead nowhere are looked along so often, and over so many bytes beside twice the text.
constexpr std::size_t scans_max = 64;
constexpr std::size_t scanned_bytes_max = 16U << 20;
constexpr const char* shape = "{\"writes\": [...]}";

struct Extracted {
    std::optional<Value> object;
    std::string problem;
};

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
    if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
    const std::size_t first = text.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

/// The bracket that closes the one at `begin`, going by nothing but nesting and quotes.
std::size_t closing_of(std::string_view text, std::size_t begin) {
    std::size_t depth = 0;
    bool in_string = false;
    for (std::size_t i = begin; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') ++i;
            if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            ++depth;
        } else if ((c == '}' || c == ']') && --depth == 0) {
            return i;
        }
    }
    return std::string_view::npos;
}

/// `{` and a quote or `}`: meant as JSON, not as a set in prose.
bool begins_object(std::string_view text, std::size_t at) {
    if (text[at] != '{') return false;
    const std::size_t next = text.find_first_not_of(" \t\r\n", at + 1);
    return next != std::string_view::npos && (text[next] == '"' || text[next] == '}');
}

Extracted from_whole(Value value) {
    if (value.is_object()) return {std::move(value), {}};
    const std::string found = value.is_array() ? "a list" : std::string("of type ") + value.type_name();
    return {std::nullopt, "an answer is one object " + std::string(shape) + "; this one is " + found};
}

Extracted extract(std::string_view whole) {
    const std::string_view text = trimmed(whole);
    if (text.empty()) return {std::nullopt, "the answer is empty; it must be one JSON object " + std::string(shape)};
    if (Result<Value> parsed = parse_json(text)) return from_whole(std::move(*parsed));

    std::optional<Value> object;
    std::size_t objects = 0;
    bool has_list = false;
    std::string broken;
    std::size_t scans = 0;
    std::size_t scanned = 0;
    std::size_t at = 0;
    while (objects < 2 && broken.empty() && scans < scans_max && scanned <= scanned_bytes_max + 2 * text.size()) {
        at = text.find_first_of("{[", at);
        if (at == std::string_view::npos) break;
        const std::size_t end = closing_of(text, at);
        scanned += std::min(end, text.size()) - at;
        const bool is_meant = begins_object(text, at);
        if (end == std::string_view::npos) {
            if (is_meant) broken = "it breaks off before its last bracket";
            ++scans;
            ++at;
            continue;
        }
        Result<Value> parsed = parse_json(text.substr(at, end - at + 1));
        if (!parsed) {
            if (is_meant) broken = parsed.error().message;
            ++scans;
            ++at;
            continue;
        }
        if (parsed->is_object()) {
            ++objects;
            object = std::move(*parsed);
        } else if (!parsed->as_array().empty() && parsed->as_array().front().is_object()) {
            has_list = true;
        }
        at = end + 1;
    }
    if (!broken.empty()) return {std::nullopt, "the JSON of the answer cannot be read: " + broken};
    if (objects > 1) {
        return {std::nullopt, "the answer holds two JSON objects; put all writes into one " + std::string(shape)};
    }
    if (has_list) return from_whole(Value(Value::Array{}));
    if (object) return {std::move(object), {}};
    return {std::nullopt, "the answer holds no JSON object; it must be one, " + std::string(shape)};
}

// ---- from the object to writes ----

std::string in_quotes(std::string_view text) {
    constexpr std::size_t shown_max = 80;
    if (text.size() <= shown_max) return to_json(Value(text));
    std::size_t cut = shown_max;
    while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0U) == 0x80U) --cut;
    return to_json(Value(text.substr(0, cut))) + "...";
}

std::string listed(const std::vector<std::string>& names) {
    std::string text;
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (i > 0) text += i + 1 == names.size() ? " and " : ", ";
        text += names[i];
    }
    return text;
}

std::string meant(std::string_view given, const std::vector<std::string>& known) {
    const std::string name = nearest_name(given, known);
    if (!name.empty()) return "; did you mean " + in_quotes(name) + "?";
    return known.empty() ? std::string() : "; there are " + listed(known);
}

bool carries_entry(WriteOp op) {
    switch (op) {
        case WriteOp::insert:
        case WriteOp::add:
        case WriteOp::put:
        case WriteOp::replace:
            return true;
        case WriteOp::remove:
        case WriteOp::retract:
        case WriteOp::increment:
            return false;
    }
    return false;
}

Value without_nulls(const Value& value) {
    if (value.is_array()) {
        Value::Array kept;
        for (const Value& element : value.as_array()) kept.push_back(without_nulls(element));
        return kept;
    }
    if (!value.is_object()) return value;
    Value::Object kept;
    for (const auto& [name, member] : value.as_object()) {
        if (!member.is_null()) kept.emplace_back(name, without_nulls(member));
    }
    return Value::object(std::move(kept));
}

/// A field that a schema mode forces to be there stands as null where the model had nothing to say.
Value with_absent_fields_absent(const EntrySchema& schema, const Value& entry) {
    if (!entry.is_object()) return entry;
    if (schema.is_flat()) {
        Value::Object kept;
        for (const auto& [name, member] : entry.as_object()) {
            const auto is_it = [&name = name](const FieldSpec& field) { return field.optional && field.name == name; };
            const std::vector<FieldSpec>& fields = schema.fields();
            const bool is_left_out = member.is_null() && std::any_of(fields.begin(), fields.end(), is_it);
            if (!is_left_out) kept.emplace_back(name, member);
        }
        return Value::object(std::move(kept));
    }
    if (!schema.check(entry)) return entry;
    Value pruned = without_nulls(entry);
    return schema.check(pruned) ? entry : pruned;
}

class AnswerReader {
public:
    AnswerReader(const ActivationRequest& request, const std::vector<EntryId>& shown)
        : crew_(*request.crew), source_(*request.source) {
        for (const EntryId& id : shown) seen_.insert(to_text(id));
        for (const Binding& member : request.members) {
            for (const EntryPtr& entry : member.entries) {
                if (entry) see(*entry, true);
            }
        }
        for (const ViewRegion& region : request.view) {
            for (const EntryPtr& entry : region.entries) {
                if (entry) see(*entry, false);
            }
        }
    }

    CheckedAnswer read(std::string_view text) {
        Extracted extracted = extract(text);
        if (!extracted.object) {
            refuse(0, RefusalRule::malformed, std::move(extracted.problem));
            return finished({});
        }
        read_members(*extracted.object);
        const Value* writes = extracted.object->find("writes");
        if (writes == nullptr || !writes->is_array()) return finished({});
        if (writes->as_array().size() > limits::writes_per_commit_max) {
            refuse(0, RefusalRule::limit,
                   "an answer has at most " + std::to_string(limits::writes_per_commit_max) + " writes");
            return finished({});
        }
        std::string lines;
        std::uint32_t line = 0;
        for (const Value& write : writes->as_array()) {
            // A write that is none keeps its line, so that the others keep their numbers.
            if (const std::optional<Value> readable = read_write(write, ++line)) append_json(*readable, lines);
            lines += '\n';
        }
        return finished(parse_output(lines, source_));
    }

private:
    void see(const Entry& entry, bool may_be_cited) {
        const std::string id = to_text(entry.id);
        authors_[id] = entry.author;
        if (may_be_cited) seen_.insert(id);
    }

    void read_members(const Value& object) {
        for (const auto& [name, value] : object.as_object()) {
            if (name == "writes") continue;
            if (name != "note") {
                refuse(0, RefusalRule::malformed,
                       "an answer has no member " + in_quotes(name) + meant(name, {"writes", "note"}));
            } else if (value.is_string()) {
                answer_.note = value.as_string();
            } else if (!value.is_null()) {
                refuse(0, RefusalRule::malformed, std::string("\"note\" must be a string, not ") + value.type_name());
            }
        }
        const Value* writes = object.find("writes");
        if (writes == nullptr) {
            refuse(0, RefusalRule::malformed,
                   "the member \"writes\" is missing; it is the list of what to write, and may be empty");
        } else if (!writes->is_array()) {
            refuse(0, RefusalRule::malformed,
                   std::string("\"writes\" must be a list of objects, not ") + writes->type_name());
        }
    }

    /// The write as a line of the process protocol, with nothing left out that was there; none if it is
    /// none.
    std::optional<Value> read_write(const Value& given, std::uint32_t line) {
        if (!given.is_object()) {
            refuse(line, RefusalRule::malformed,
                   std::string("each write must be an object with \"op\", not ") + given.type_name());
            return std::nullopt;
        }
        Value::Object members;
        for (const auto& [name, value] : given.as_object()) {
            if (!value.is_null() || name == "entry") members.emplace_back(name, value);
        }
        Value write = Value::object(std::move(members));
        const Value* word = write.find("op");
        if (word == nullptr || !word->is_string()) {
            refuse(line, RefusalRule::malformed, "\"op\" must name the operation, as in \"op\": \"insert\"");
            return std::nullopt;
        }
        const std::optional<WriteOp> op = write_op_from(word->as_string());
        if (!op) {
            refuse(line, RefusalRule::unknown,
                   "there is no operation " + in_quotes(word->as_string()) + meant(word->as_string(), operations()));
            return std::nullopt;
        }
        check_target(write, *op, line);
        check_cites(write, line);
        hint_at_quoted_number(write, line);
        return write;
    }

    void check_target(Value& write, WriteOp op, std::uint32_t line) {
        const std::string id = string_at(write, "id");
        std::string name = string_at(write, "region");
        const std::size_t slash = id.rfind('/');
        if (name.empty() && slash != std::string::npos) name = id.substr(0, slash);
        if (name.empty()) {
            // The protocol says so of operations that need a region; the others need an id.
            return;
        }
        if (check_grant(name, id, op, line)) check_entry(write, name, op, line);
        if (!id.empty() && slash != std::string::npos && seen_.count(id) == 0) {
            refuse(line, RefusalRule::unknown,
                   in_quotes(id) + " is no entry that you were shown; \"id\" must be one of those");
        }
    }

    bool check_grant(const std::string& name, const std::string& id, WriteOp op, std::uint32_t line) {
        if (name == scratch_name) return true;
        const RegionSpec* region = crew_.region(name);
        if (region == nullptr || region->scratch) {
            refuse(line, RefusalRule::unknown, "there is no region " + in_quotes(name) + meant(name, writable()));
            return false;
        }
        if (source_.may.may_write(name, op)) return true;
        const auto author = authors_.find(id);
        const bool is_own = author != authors_.end() && author->second == source_.name;
        if (op == WriteOp::retract && is_own) return true;
        const std::vector<std::string> allowed = operations_at(name);
        std::string message = std::string("you may not ") + to_text(op) + " in region " + in_quotes(name);
        if (!allowed.empty()) {
            message += "; there you may " + listed(allowed);
        } else if (!source_.may.write.empty()) {
            message += "; you may write to " + listed(writable());
        }
        refuse(line, RefusalRule::grant, std::move(message));
        return false;
    }

    void check_entry(Value& write, const std::string& name, WriteOp op, std::uint32_t line) {
        const Value* entry = write.find("entry");
        if (entry == nullptr) return;
        const RegionSpec* region = crew_.region(resolve_region(name, source_.name));
        if (region == nullptr) return;
        Value content = with_absent_fields_absent(region->schema, *entry);
        if (carries_entry(op)) {
            if (const std::optional<SchemaProblem> problem = region->schema.check(content)) {
                std::string message = "the entry does not fit region " + in_quotes(name) + ": ";
                if (!problem->path.empty()) message += problem->path + ": ";
                message += problem->message;
                const bool wants_number =
                    problem->message.starts_with("expected integer") || problem->message.starts_with("expected number");
                if (wants_number && problem->message.find("found string") != std::string::npos) {
                    message += "; a number stands without quotes";
                }
                if (content.is_string()) message += "; give the object itself, not JSON within a string";
                refuse(line, RefusalRule::schema, std::move(message));
            }
        }
        write.set("entry", std::move(content));
    }

    void check_cites(const Value& write, std::uint32_t line) {
        const Value* cites = write.find("cites");
        if (cites == nullptr || !cites->is_array()) return;
        if (cites->as_array().size() > limits::cites_per_write_max) {
            refuse(line, RefusalRule::limit,
                   "a write has at most " + std::to_string(limits::cites_per_write_max) + " cites");
            return;
        }
        for (const Value& cite : cites->as_array()) {
            // What is no id at all is the protocol's to refuse.
            if (!cite.is_string() || cite.as_string().starts_with('$')) continue;
            if (cite.as_string().find('/') == std::string::npos || seen_.count(cite.as_string()) > 0) continue;
            refuse(line, RefusalRule::cite,
                   "cites " + in_quotes(cite.as_string()) +
                       ", which you were not shown; cite ids of entries that you " +
                       "were shown, or \"$name\" for an earlier write with \"as\"");
        }
    }

    void hint_at_quoted_number(const Value& write, std::uint32_t line) {
        for (const char* field : {"by", "expected_version"}) {
            const Value* value = write.find(field);
            if (value == nullptr || !value->is_string()) continue;
            const Result<Value> number = parse_json(value->as_string());
            if (number.ok() && number->is_number()) {
                refuse(line, RefusalRule::malformed,
                       "\"" + std::string(field) + "\" is a number in quotes; write " + to_json(*number));
            }
        }
    }

    /// Both kinds of problems in the order of their writes.
    CheckedAnswer finished(ParsedOutput output) {
        for (Refusal& problem : output.problems) problems_.push_back(std::move(problem));
        std::stable_sort(problems_.begin(), problems_.end(),
                         [](const Refusal& a, const Refusal& b) { return a.line < b.line; });
        if (problems_.size() > output_problems_max) problems_.resize(output_problems_max);
        answer_.problems = std::move(problems_);
        if (answer_.ok()) answer_.writes = std::move(output.writes);
        return std::move(answer_);
    }

    void refuse(std::uint32_t line, RefusalRule rule, std::string message) {
        if (problems_.size() < output_problems_max) problems_.push_back({line, rule, std::move(message), Value()});
    }

    static std::string string_at(const Value& object, const char* name) {
        const Value* value = object.find(name);
        return value != nullptr && value->is_string() ? value->as_string() : std::string();
    }

    static std::vector<std::string> operations() {
        std::vector<std::string> names;
        for (const WriteOp op : {WriteOp::insert, WriteOp::add, WriteOp::remove, WriteOp::put, WriteOp::replace,
                                 WriteOp::retract, WriteOp::increment}) {
            names.emplace_back(to_text(op));
        }
        return names;
    }

    [[nodiscard]] std::vector<std::string> writable() const {
        std::vector<std::string> names;
        for (const auto& [name, ops] : source_.may.write) names.push_back(name);
        return names;
    }

    [[nodiscard]] std::vector<std::string> operations_at(const std::string& region) const {
        std::vector<std::string> names;
        for (const auto& [name, ops] : source_.may.write) {
            if (name != region) continue;
            for (const WriteOp op : ops) names.emplace_back(to_text(op));
        }
        return names;
    }

    const CrewSpec& crew_;
    const SourceSpec& source_;
    std::set<std::string, std::less<>> seen_;
    std::map<std::string, std::string> authors_;
    std::vector<Refusal> problems_;
    CheckedAnswer answer_;
};

}  // namespace

CheckedAnswer check_answer(std::string_view text, const ActivationRequest& request, const std::vector<EntryId>& shown) {
    assert(request.crew != nullptr);
    assert(request.source != nullptr);
    return AnswerReader(request, shown).read(text);
}

std::string repair_request(const std::vector<Refusal>& problems) {
    std::string text = "Your answer was not taken; nothing of it is on the board. What is wrong with it:\n";
    for (const Refusal& problem : problems) {
        text += problem.line == 0 ? std::string("- the answer: ") : "- write " + std::to_string(problem.line) + ": ";
        text += problem.message + "\n";
    }
    text += "Answer again with one JSON object, " + std::string(shape) +
            ", that holds all of your writes, the ones that were right as well. Give nothing but that object.";
    return text;
}

}  // namespace stele

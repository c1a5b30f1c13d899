#include "knowledge_sources/process_protocol.hpp"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "board/limits.hpp"
#include "board/nearest.hpp"

namespace stele {

namespace {

// ---- the request ----

void append_member(std::string& out, std::string_view key, const Value& value) {
    if (out.back() != '{') out += ',';
    append_json(Value(key), out);
    out += ':';
    append_json(value, out);
}

void append_key(std::string& out, std::string_view key) {
    if (out.back() != '{') out += ',';
    append_json(Value(key), out);
    out += ':';
}

void append_entry(std::string& out, const Entry& entry) {
    out += '{';
    append_member(out, "id", to_text(entry.id));
    append_member(out, "version", static_cast<std::int64_t>(entry.version));
    append_member(out, "entry", entry.content);
    append_member(out, "author", entry.author);
    append_member(out, "time", entry.time.ms);
    out += '}';
}

void append_match(std::string& out, const std::vector<std::string>& variables, const Binding* member) {
    out += '{';
    if (member != nullptr) {
        const std::size_t count = std::min(variables.size(), member->entries.size());
        for (std::size_t i = 0; i < count; ++i) {
            if (variables[i].empty() || !member->entries[i]) continue;
            append_key(out, variables[i]);
            append_entry(out, *member->entries[i]);
        }
    }
    out += '}';
}

void append_view(std::string& out, const std::vector<ViewRegion>& view) {
    out += '{';
    for (const ViewRegion& part : view) {
        append_key(out, part.region);
        out += '[';
        for (const EntryPtr& entry : part.entries) {
            if (!entry) continue;
            if (out.back() != '[') out += ',';
            append_entry(out, *entry);
        }
        out += ']';
    }
    out += '}';
}

void append_omitted(std::string& out, const std::vector<ViewRegion>& view) {
    out += '{';
    for (const ViewRegion& part : view) {
        if (part.omitted > 0) append_member(out, part.region, static_cast<std::int64_t>(part.omitted));
    }
    out += '}';
}

void append_refusals(std::string& out, const std::vector<Refusal>& refusals) {
    out += '[';
    for (const Refusal& refusal : refusals) {
        if (out.back() != '[') out += ',';
        out += '{';
        append_member(out, "line", static_cast<std::int64_t>(refusal.line));
        append_member(out, "rule", to_text(refusal.rule));
        append_member(out, "message", refusal.message);
        append_member(out, "current", refusal.current);
        out += '}';
    }
    out += ']';
}

}  // namespace

std::string make_request(const ActivationRequest& request) {
    const SourceSpec& source = *request.source;
    const std::vector<std::string>& variables = source.when.variables;
    std::string out = "{";
    append_member(out, "protocol", process_protocol_version);
    append_member(out, "activation", std::to_string(request.activation.number));
    append_member(out, "attempt", static_cast<std::int64_t>(request.attempt));
    append_member(out, "source", source.name);
    append_key(out, "inputs");
    out += '{';
    if (request.crew) {
        for (const auto& [name, value] : request.crew->inputs) append_member(out, name, value);
    }
    out += '}';
    append_member(out, "version", static_cast<std::int64_t>(request.version.number));
    append_key(out, "match");
    append_match(out, variables, request.members.empty() ? nullptr : &request.members.front());
    if (source.wake == WakeMode::batch) {
        append_key(out, "matches");
        out += '[';
        for (const Binding& member : request.members) {
            if (out.back() != '[') out += ',';
            append_match(out, variables, &member);
        }
        out += ']';
    }
    append_key(out, "view");
    append_view(out, request.view);
    append_key(out, "omitted");
    append_omitted(out, request.view);
    append_key(out, "previous");
    append_refusals(out, request.previous);
    append_member(out, "deadline_ms", request.deadline_ms);
    append_member(out, "idempotency_key", request.idempotency_key);
    out += "}\n";
    return out;
}

namespace {

// ---- the output ----

constexpr std::size_t aliases_suggested_max = 1'000;

/// The fields of one operation, "op" apart.
struct Operation {
    std::string_view name;
    std::optional<WriteOp> write;  // none: note and cost
    std::vector<std::string> required;
    std::vector<std::string> optional;
};

const std::vector<Operation>& operations() {
    static const std::vector<Operation> all = {
        {"insert", WriteOp::insert, {"region", "entry"}, {"as", "cites", "why"}},
        {"add", WriteOp::add, {"region", "entry"}, {"as", "cites", "why"}},
        {"put", WriteOp::put, {"region", "entry"}, {"as", "cites", "why"}},
        {"replace", WriteOp::replace, {"id", "expected_version", "entry"}, {"region", "as", "cites", "why"}},
        {"retract", WriteOp::retract, {"id", "why"}, {"region", "expected_version", "as", "cites"}},
        // Which of its two forms is meant shows only in the line itself.
        {"remove", WriteOp::remove, {}, {"id", "region", "entry", "as", "cites", "why"}},
        {"increment", WriteOp::increment, {"region", "by"}, {"as", "cites", "why"}},
        {"note", std::nullopt, {"text"}, {}},
        {"cost", std::nullopt, {}, {}},
    };
    return all;
}

std::string quoted(std::string_view text) {
    // A name of a megabyte is no help to anybody who reads the message.
    constexpr std::size_t shown_max = 80;
    if (text.size() > shown_max) {
        std::size_t cut = shown_max;
        while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0U) == 0x80U) --cut;
        return to_json(Value(text.substr(0, cut))) + "...";
    }
    return to_json(Value(text));
}

std::string listed(const std::vector<std::string>& names) {
    std::string text;
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (i > 0) text += i + 1 == names.size() ? " and " : ", ";
        text += names[i];
    }
    return text;
}

/// The end of a sentence about an unknown name: the one that was meant, or all there are.
std::string what_there_is(std::string_view given, const std::vector<std::string>& known) {
    const std::string name = nearest_name(given, known);
    if (!name.empty()) return "; did you mean \"" + name + "\"?";
    return known.empty() ? std::string() : "; there are " + listed(known);
}

bool is_blank(std::string_view line) {
    return std::all_of(line.begin(), line.end(), [](char c) { return c == ' ' || c == '\t' || c == '\r'; });
}

bool is_alias(std::string_view text) {
    if (text.empty() || text.size() > limits::name_bytes_max) return false;
    return std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    });
}

/// `region/12`. The region may itself hold a slash, as scratch regions do.
std::optional<EntryId> entry_id_from(std::string_view text) {
    const std::size_t slash = text.rfind('/');
    if (slash == std::string_view::npos || slash == 0) return std::nullopt;
    const std::string_view digits = text.substr(slash + 1);
    if (digits.empty() || digits.front() == '0') return std::nullopt;
    std::uint64_t number = 0;
    const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (code != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
    return EntryId{std::string(text.substr(0, slash)), number};
}

class OutputReader {
public:
    ParsedOutput read(std::string_view bytes) {
        for (std::size_t begin = 0; begin < bytes.size() && !stopped_;) {
            std::size_t end = bytes.find('\n', begin);
            if (end == std::string_view::npos) end = bytes.size();
            ++line_;
            std::string_view line = bytes.substr(begin, end - begin);
            if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
            if (!is_blank(line)) read_line(line);
            begin = end + 1;
        }
        if (!output_.ok()) output_.writes.clear();
        return std::move(output_);
    }

private:
    void read_line(std::string_view line) {
        Result<Value> parsed = parse_json(line);
        if (!parsed) {
            refuse_unreadable(line, parsed.error().message);
            return;
        }
        const Value& object = *parsed;
        if (!object.is_object()) {
            refuse(std::string("each line must be an object with \"op\"; this one is ") +
                   with_article(object.type_name()));
            return;
        }
        const Value* op = object.find("op");
        if (op == nullptr) {
            refuse("the field \"op\" is missing; it names the operation, as in {\"op\":\"insert\",...}");
            return;
        }
        if (!op->is_string()) {
            refuse(std::string("\"op\" must be a string, not ") + with_article(op->type_name()));
            return;
        }
        for (const Operation& operation : operations()) {
            if (operation.name == op->as_string()) {
                read_operation(operation, object);
                return;
            }
        }
        std::vector<std::string> known;
        for (const Operation& operation : operations()) known.emplace_back(operation.name);
        refuse("unknown operation " + quoted(op->as_string()) + what_there_is(op->as_string(), known));
    }

    void refuse_unreadable(std::string_view line, const std::string& why) {
        const std::size_t first = line.find_first_not_of(" \t");
        const std::size_t last = line.find_last_not_of(" \t");
        const std::string_view word = line.substr(first, last - first + 1);
        if (word == "{" || word == "[") {
            // An indented object breaks every line that follows in the same way.
            refuse(
                "the line holds only the beginning of a JSON value; write each object on one line "
                "(jq: -c)");
            stopped_ = true;
            return;
        }
        std::string message = "the line is not JSON: " + why;
        if (word.front() != '{') message += "; messages for people belong on standard error";
        refuse(std::move(message));
    }

    void read_operation(const Operation& operation, const Value& object) {
        if (operation.name == "cost") {
            read_cost(object);
            return;
        }
        check_fields(operation, object);
        if (!operation.write) {
            if (const std::string* text = string_field(object, "text")) output_.notes.push_back(*text);
            return;
        }
        Write write;
        write.op = *operation.write;
        read_target(object, write);
        read_content(object, write);
        if (const std::string* why = string_field(object, "why")) write.why = *why;
        read_cites(object, write);
        write.seal();
        output_.writes.push_back(std::move(write));
        // Registered even when the line is refused, so that one mistake is not told once more
        // for every line that cites it.
        read_alias(object);
    }

    void check_fields(const Operation& operation, const Value& object) {
        const std::string name(operation.name);
        for (const std::string& field : operation.required) {
            if (object.find(field) == nullptr) refuse("\"" + name + "\" needs the field \"" + field + "\"");
        }
        std::vector<std::string> known = operation.required;
        known.insert(known.end(), operation.optional.begin(), operation.optional.end());
        for (const auto& [field, value] : object.as_object()) {
            if (field == "op" || std::find(known.begin(), known.end(), field) != known.end()) continue;
            refuse("\"" + name + "\" has no field " + quoted(field) + what_there_is(field, known));
        }
    }

    void read_target(const Value& object, Write& write) {
        if (const std::string* region = string_field(object, "region")) {
            if (region->empty()) refuse("\"region\" is empty");
            write.region = *region;
        }
        if (const std::string* id = string_field(object, "id")) {
            const std::optional<EntryId> parsed = entry_id_from(*id);
            if (!parsed) {
                refuse("\"id\" must be a region and an entry's number, as in \"evidence/12\", not " + quoted(*id));
            } else if (!write.region.empty() && write.region != parsed->region) {
                refuse("\"region\" is " + quoted(write.region) + ", but \"id\" names " + quoted(*id));
            } else {
                write.region = parsed->region;
                write.number = parsed->number;
            }
        }
        if (const Value* version = object.find("expected_version")) {
            constexpr std::int64_t version_max = std::numeric_limits<std::uint32_t>::max();
            if (version->is_int() && version->as_int() >= 1 && version->as_int() <= version_max) {
                write.expected_version = static_cast<std::uint32_t>(version->as_int());
            } else {
                refuse("\"expected_version\" must be the version that was read, an integer from 1, not " +
                       shown(*version));
            }
        }
        if (write.op == WriteOp::remove) check_remove(object);
    }

    void check_remove(const Value& object) {
        const bool by_id = object.find("id") != nullptr;
        const bool by_entry = object.find("entry") != nullptr;
        if (by_id && by_entry) {
            refuse("\"remove\" takes \"id\", or \"region\" and \"entry\", not both");
        } else if (!by_id && !(by_entry && object.find("region") != nullptr)) {
            refuse("\"remove\" needs the field \"id\", or the fields \"region\" and \"entry\"");
        }
    }

    void read_content(const Value& object, Write& write) {
        if (write.op == WriteOp::increment) {
            const Value* by = object.find("by");
            if (by == nullptr) return;
            if (!by->is_int()) refuse("\"by\" must be an integer, not " + shown(*by));
            write.content = Value::object({{"by", *by}});
        } else if (const Value* entry = object.find("entry")) {
            write.content = *entry;
        }
    }

    void read_cites(const Value& object, Write& write) {
        const Value* cites = object.find("cites");
        if (cites == nullptr) return;
        if (!cites->is_array()) {
            refuse("\"cites\" must be a list of strings, not " + with_article(cites->type_name()));
            return;
        }
        for (const Value& cite : cites->as_array()) {
            if (!cite.is_string()) {
                refuse("\"cites\" must hold strings, as in \"evidence/12\" or \"$name\", not " + shown(cite));
                continue;
            }
            const std::string& text = cite.as_string();
            if (!text.empty() && text.front() == '$') {
                read_alias_cite(text, write);
            } else if (std::optional<EntryId> id = entry_id_from(text)) {
                write.cites.push_back(Cite{std::move(*id), 0});
            } else {
                refuse("a cite must be an entry, as in \"evidence/12\", or an earlier line, as in \"$name\", not " +
                       quoted(text));
            }
        }
    }

    void read_alias_cite(const std::string& text, Write& write) {
        const auto found = aliases_.find(std::string_view(text).substr(1));
        if (found != aliases_.end()) {
            write.cites.push_back(Cite{EntryId{}, found->second.write});
            return;
        }
        std::vector<std::string> known;
        for (const auto& [name, place] : aliases_) {
            // Looking through all the names of a huge output, for each wrong cite, would hold up the run.
            if (known.size() == aliases_suggested_max || output_.more_problems) break;
            known.push_back("$" + name);
        }
        const std::string meant = nearest_name(text, known);
        refuse("no earlier line of the output is named " + quoted(text) +
               (meant.empty() ? std::string() : "; did you mean \"" + meant + "\"?"));
    }

    void read_alias(const Value& object) {
        const std::string* name = string_field(object, "as");
        if (name == nullptr) return;
        if (!is_alias(*name)) {
            refuse("\"as\" must be 1 to " + std::to_string(limits::name_bytes_max) +
                   " letters, digits, \"_\" or \"-\", not " + quoted(*name));
            return;
        }
        const AliasPlace place{static_cast<std::uint32_t>(output_.writes.size()), line_};
        const auto [existing, is_new] = aliases_.emplace(*name, place);
        if (!is_new) {
            refuse("the name " + quoted(*name) + " is taken by line " + std::to_string(existing->second.line));
        }
    }

    void read_cost(const Value& object) {
        if (output_.cost.is_null()) output_.cost = Value::object({});
        for (const auto& [name, value] : object.as_object()) {
            if (name == "op") continue;
            if (!value.is_number() || value.as_double() < 0) {
                refuse("the cost " + quoted(name) + " must be a number that is not negative, not " + shown(value));
                continue;
            }
            const Value* before = output_.cost.find(name);
            std::optional<Value> sum = before == nullptr ? value : sum_of(*before, value);
            if (!sum) {
                refuse("the cost " + quoted(name) + " adds up to more than a number can hold");
                continue;
            }
            output_.cost.set(name, std::move(*sum));
        }
    }

    static std::optional<Value> sum_of(const Value& a, const Value& b) {
        std::int64_t whole = 0;
        if (a.is_int() && b.is_int() && !__builtin_add_overflow(a.as_int(), b.as_int(), &whole)) return Value(whole);
        const double sum = a.as_double() + b.as_double();
        if (!std::isfinite(sum)) return std::nullopt;
        return Value::number(sum);
    }

    /// The field if it is there and a string; a refusal if it is there and something else.
    const std::string* string_field(const Value& object, std::string_view name) {
        const Value* value = object.find(name);
        if (value == nullptr) return nullptr;
        if (value->is_string()) return &value->as_string();
        refuse("\"" + std::string(name) + "\" must be a string, not " + with_article(value->type_name()));
        return nullptr;
    }

    static std::string with_article(std::string_view type) {
        if (type == "null") return "null";
        const bool vowel = type == "array" || type == "object" || type == "integer";
        return (vowel ? "an " : "a ") + std::string(type);
    }

    static std::string shown(const Value& value) {
        if (value.is_string()) return quoted(value.as_string());
        if (value.is_number() || value.is_bool()) return to_json(value);
        return with_article(value.type_name());
    }

    void refuse(std::string message) {
        if (output_.problems.size() == output_problems_max) {
            output_.more_problems = true;
            return;
        }
        output_.problems.push_back(Refusal{line_, RefusalRule::malformed, std::move(message), Value()});
    }

    struct AliasPlace {
        std::uint32_t write = 0;  // from 1, counting writes only
        std::uint32_t line = 0;
    };

    ParsedOutput output_;
    std::map<std::string, AliasPlace, std::less<>> aliases_;
    std::uint32_t line_ = 0;
    bool stopped_ = false;
};

}  // namespace

ParsedOutput parse_output(std::string_view stdout_bytes, const SourceSpec&) {
    return OutputReader().read(stdout_bytes);
}

namespace {

// ---- the output, written ----

std::string alias_of(std::uint32_t line) { return "w" + std::to_string(line); }

void append_cites(std::string& out, const std::vector<Cite>& cites) {
    if (cites.empty()) return;
    Value::Array texts;
    texts.reserve(cites.size());
    for (const Cite& cite : cites) {
        texts.emplace_back(cite.line > 0 ? "$" + alias_of(cite.line) : to_text(cite.entry));
    }
    append_member(out, "cites", Value(std::move(texts)));
}

void append_write(std::string& out, const Write& write) {
    const bool by_id = write.op == WriteOp::replace || write.op == WriteOp::retract ||
                       (write.op == WriteOp::remove && write.number > 0);
    if (by_id) {
        append_member(out, "id", to_text(EntryId{write.region, write.number}));
    } else {
        append_member(out, "region", write.region);
    }
    if (write.expected_version > 0 && write.op != WriteOp::remove) {
        append_member(out, "expected_version", static_cast<std::int64_t>(write.expected_version));
    }
    if (write.op == WriteOp::increment) {
        const Value* by = write.content.find("by");
        assert(by != nullptr);
        append_member(out, "by", *by);
    } else if (!by_id || write.op == WriteOp::replace) {
        append_member(out, "entry", write.content);
    }
    if (!write.why.empty() || write.op == WriteOp::retract) append_member(out, "why", write.why);
    append_cites(out, write.cites);
}

}  // namespace

std::string make_output(const std::vector<Write>& writes) {
    std::vector<bool> cited(writes.size() + 1, false);
    for (const Write& write : writes) {
        for (const Cite& cite : write.cites) {
            assert(cite.line <= writes.size());
            cited[cite.line] = true;
        }
    }
    std::string out;
    for (std::uint32_t line = 1; line <= writes.size(); ++line) {
        std::string text = "{";
        append_member(text, "op", to_text(writes[line - 1].op));
        append_write(text, writes[line - 1]);
        if (cited[line]) append_member(text, "as", alias_of(line));
        out += text + "}\n";
    }
    return out;
}

std::string ParsedOutput::error() const {
    if (problems.empty()) return {};
    std::string text = "the output could not be read: ";
    for (std::size_t i = 0; i < problems.size(); ++i) {
        if (i > 0) text += "; ";
        text += "line " + std::to_string(problems[i].line) + ": " + problems[i].message;
    }
    if (more_problems) text += "; and more";
    return text;
}

}  // namespace stele

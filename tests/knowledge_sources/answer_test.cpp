// From a model's text to writes: what is tolerated, what is refused and in which words, and that the
// schema that is asked for and the check that follows say the same.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <random>

#include "board/region_policy.hpp"
#include "knowledge_sources/answer.hpp"
#include "knowledge_sources/process_protocol.hpp"

using namespace stele;

namespace {

Value json(std::string_view text) {
    Result<Value> value = parse_json(text);
    REQUIRE_MESSAGE(value.ok(), std::string(text));
    return *value;
}

EntryPtr entry_of(const std::string& region, std::uint64_t number, const std::string& author = "seed") {
    auto entry = std::make_shared<Entry>();
    entry->id = {region, number};
    entry->author = author;
    entry->content = json(R"({"text":"x"})");
    return entry;
}

EntrySchema fields(const std::vector<std::pair<std::string, std::string>>& declared) {
    std::vector<FieldSpec> made;
    for (const auto& [name, type] : declared) made.push_back(*EntrySchema::parse_field(name, type));
    return EntrySchema::from_fields(std::move(made));
}

RegionSpec region(std::string name, PolicyKind policy, EntrySchema schema = {}) {
    RegionSpec spec;
    spec.name = std::move(name);
    spec.policy = policy;
    spec.schema = std::move(schema);
    return spec;
}

struct World {
    std::shared_ptr<CrewSpec> crew = std::make_shared<CrewSpec>();
    ActivationRequest request;
    std::vector<EntryId> shown = {{"evidence", 12}, {"plan", 3}, {"evidence", 13}};

    World() {
        crew->regions = {region("evidence", PolicyKind::append_only,
                                fields({{"kind", "string"}, {"score", "number"}, {"note", "string?"}})),
                         region("plan", PolicyKind::cas, fields({{"state", "open | done"}})),
                         region("tags", PolicyKind::set_union), region("visits", PolicyKind::counter),
                         region("secret", PolicyKind::append_only)};
        RegionSpec scratch =
            region("scratch/writer", PolicyKind::last_writer_wins, fields({{"key", "string"}, {"value", "any"}}));
        scratch.scratch = true;
        crew->regions.push_back(scratch);
        SourceSpec source;
        source.name = "writer";
        source.kind = SourceKind::llm;
        source.when.variables = {"q"};
        source.may.write = {{"evidence", {WriteOp::insert}},
                            {"plan", {WriteOp::insert, WriteOp::replace, WriteOp::retract}},
                            {"tags", {WriteOp::add, WriteOp::remove}},
                            {"visits", {WriteOp::increment}}};
        crew->sources.push_back(source);
        request.crew = crew;
        request.source = &crew->sources.front();
        request.members = {Binding{{entry_of("questions", 4), nullptr}}};
        request.view = {{"evidence", {entry_of("evidence", 12), entry_of("evidence", 13, "writer")}, 0}};
    }

    CheckedAnswer check(std::string_view text) const { return check_answer(text, request, shown); }
    std::vector<Write> writes(std::string_view text) const {
        CheckedAnswer answer = check(text);
        REQUIRE_MESSAGE(answer.ok(), repair_request(answer.problems));
        return answer.writes;
    }
    /// The message of the only problem.
    std::string problem(std::string_view text, std::uint32_t line = 0) const {
        const CheckedAnswer answer = check(text);
        REQUIRE_MESSAGE(answer.problems.size() == 1, std::string(text) << "\n" << repair_request(answer.problems));
        CHECK(answer.writes.empty());
        CHECK(answer.problems[0].line == line);
        return answer.problems[0].message;
    }
    std::string write_problem(const std::string& write) const { return problem("{\"writes\":[" + write + "]}", 1); }
};

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

const std::string good = R"({"writes":[{"op":"insert","region":"evidence","entry":{"kind":"a","score":1}}]})";

}  // namespace

TEST_CASE("every operation of an answer becomes its write, and cites lead to entries and to earlier writes") {
    const World world;
    const std::vector<Write> writes = world.writes(R"({"note":"done","writes":[
        {"op":"insert","region":"evidence","entry":{"kind":"a","score":0.5},"cites":["questions/4","evidence/12"],
         "as":"first","why":"seen"},
        {"op":"replace","region":"plan","id":"plan/3","expected_version":2,"entry":{"state":"done"},"cites":["$first"]},
        {"op":"retract","region":"plan","id":"plan/3","why":"wrong"},
        {"op":"add","region":"tags","entry":{"any":["thing"]}},
        {"op":"remove","region":"tags","entry":{"t":"x"}},
        {"op":"increment","region":"visits","by":-2},
        {"op":"put","region":"scratch","entry":{"key":"k","value":[1]}}]})");
    REQUIRE(writes.size() == 7);
    CHECK(writes[0].cites == std::vector<Cite>{{{"questions", 4}, 0}, {{"evidence", 12}, 0}});
    CHECK(writes[0].why == "seen");
    CHECK(writes[0].text == R"({"kind":"a","score":0.5})");
    CHECK(writes[1].number == 3);
    CHECK(writes[1].expected_version == 2);
    CHECK(writes[1].cites == std::vector<Cite>{{{}, 1}});
    CHECK(writes[5].content == json(R"({"by":-2})"));
    CHECK(writes[6].region == "scratch");
    CHECK(world.check(R"({"writes":[],"note":"nothing"})").note == "nothing");
}

TEST_CASE("nothing to write is an answer") {
    CHECK(World().writes(R"({"writes":[]})").empty());
    CHECK(World().check(R"({"writes":[],"note":null})").ok());
}

TEST_CASE("one object is found within a fence and among prose") {
    const World world;
    for (const std::string& text :
         {"```json\n" + good + "\n```", "Here it is:\n\n" + good + "\nI hope {it} helps [1].",
          "\xEF\xBB\xBF \n" + good + "\r\n", "<think>{maybe} a set [x, y</think>\n```\n" + good + "```",
          "\"quoted\" said [" + good.substr(0, 0) + "]: " + good}) {
        CHECK_MESSAGE(world.check(text).ok(), text << "\n" << repair_request(world.check(text).problems));
    }
}

TEST_CASE("what is not exactly one object is refused in words that say what came") {
    const World world;
    CHECK(contains(world.problem(""), "is empty"));
    CHECK(contains(world.problem("I cannot do that."), "holds no JSON object"));
    CHECK(contains(world.problem(good + "\n" + good), "two JSON objects"));
    CHECK(contains(world.problem("[" + good + "]"), "this one is a list"));
    CHECK(contains(world.problem("```json\n[{\"op\":\"insert\"}]\n```"), "this one is a list"));
    CHECK(contains(world.problem("\"text\""), "of type string"));
    CHECK(contains(world.problem("so: " + good.substr(0, good.size() - 2)), "breaks off"));
    CHECK(contains(world.problem(R"({"writes":[],})"), "cannot be read: byte"));
    CHECK(contains(world.problem(R"({"note":"x"})"), "\"writes\" is missing"));
    CHECK(contains(world.problem(R"({"writes":{}})"), "must be a list"));
    CHECK(contains(world.problem(R"({"writes":null})"), "must be a list"));
    CHECK(contains(world.problem(R"({"writes":[],"nots":"x"})"), "did you mean \"note\"?"));
    CHECK(contains(world.problem(R"({"writes":[],"note":7})"), "\"note\" must be a string"));
}

TEST_CASE("null for an optional member is the same as leaving it out") {
    const World world;
    const std::vector<Write> writes = world.writes(R"({"note":null,"writes":[
        {"op":"insert","region":"evidence","entry":{"kind":"a","score":1,"note":null},"cites":null,"as":null,"why":null}]})");
    CHECK(writes[0].text == R"({"kind":"a","score":1})");
    CHECK(contains(world.write_problem(R"({"op":"insert","region":"evidence","entry":{"kind":null,"score":1}})"),
                   "/kind"));
}

TEST_CASE("nulls of nested optional fields are left out where the schema wants them absent") {
    World world;
    world.crew->regions[0].schema = *EntrySchema::from_json_schema(json(
        R"({"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"string"}}},"n":{"type":["null","string"]}}})"));
    CHECK(world.writes(R"({"writes":[{"op":"insert","region":"evidence","entry":{"a":{"b":null}}}]})")[0].text ==
          R"({"a":{}})");
    CHECK(world.writes(R"({"writes":[{"op":"insert","region":"evidence","entry":{"n":null}}]})")[0].text ==
          R"({"n":null})");
}

TEST_CASE("a wrong write is refused with what would be right") {
    const World world;
    CHECK(contains(world.write_problem("7"), "must be an object"));
    CHECK(contains(world.write_problem("{}"), "\"op\" must name"));
    CHECK(contains(world.write_problem(R"({"op":"inser","region":"evidence"})"), "did you mean \"insert\"?"));
    CHECK(contains(world.write_problem(R"({"op":"note","text":"x"})"), "no operation \"note\""));
    CHECK(contains(world.write_problem(R"({"op":"insert","region":"evidnce","entry":{}})"),
                   "did you mean \"evidence\"?"));
    CHECK(contains(world.write_problem(R"({"op":"insert","region":"secret","entry":{}})"),
                   "you may write to evidence, plan, tags and visits"));
    CHECK(contains(world.write_problem(R"({"op":"put","region":"evidence","entry":{}})"), "there you may insert"));
    CHECK(contains(world.write_problem(R"({"op":"put","region":"scratch/writer","entry":{}})"), "there is no region"));
    CHECK(contains(world.write_problem(R"({"op":"insert","region":"evidence"})"), "needs the field \"entry\""));
    CHECK(contains(world.write_problem(R"({"op":"insert","region":"evidence","entry":{"kind":"a","score":"1"}})"),
                   "a number stands without quotes"));
    CHECK(contains(world.write_problem(R"({"op":"insert","region":"evidence","entry":"{}"})"),
                   "not JSON within a string"));
    CHECK(contains(world.write_problem(R"({"op":"insert","region":"plan","entry":{"state":"closed"}})"),
                   "\"open\" or \"done\""));
    CHECK(
        contains(world.write_problem(R"({"op":"insert","region":"tags","entry":{}})"), "there you may add and remove"));
    CHECK(
        contains(world.write_problem(R"({"op":"replace","id":"plan/9","expected_version":1,"entry":{"state":"open"}})"),
                 "no entry that you were shown"));
    CHECK(contains(world.write_problem(R"({"op":"retract","id":"plan/3"})"), "needs the field \"why\""));
    const CheckedAnswer quoted = world.check(R"({"writes":[{"op":"increment","region":"visits","by":"3"}]})");
    REQUIRE(!quoted.ok());
    CHECK(contains(quoted.problems[0].message, "number in quotes; write 3"));
}

TEST_CASE("a cite of what was not shown is refused, one of the match or of an earlier write is not") {
    const World world;
    const auto citing = [](const std::string& cite) {
        return R"({"op":"add","region":"tags","entry":{},"cites":[")" + cite + "\"]}";
    };
    CHECK(contains(world.write_problem(citing("evidence/99")), "you were not shown"));
    CHECK(contains(world.write_problem(citing("$later")), "no earlier line"));
    CHECK(contains(world.write_problem(citing("the report")), "a cite must be an entry"));
    world.writes("{\"writes\":[" + citing("questions/4") + "]}");
    // In the request's view, but cut from the prompt.
    World cut;
    cut.shown = {};
    CHECK(contains(cut.write_problem(citing("evidence/12")), "you were not shown"));
}

TEST_CASE("one's own entry may be retracted without a grant, another's not") {
    const World world;
    world.writes(R"({"writes":[{"op":"retract","id":"evidence/13","why":"wrong"}]})");
    CHECK(contains(world.write_problem(R"({"op":"retract","id":"evidence/12","why":"wrong"})"), "you may not retract"));
}

TEST_CASE("all problems are told at once, by the number of their write") {
    const World world;
    const CheckedAnswer answer = world.check(R"({"extra":1,"writes":[
        {"op":"insert","region":"evidence","entry":{"kind":1,"score":1}},
        {"op":"insert","region":"evidence","entry":{"kind":"a","score":1}},
        {"op":"add","region":"tags","entry":{},"cites":["evidence/77","x"],"colour":"red"}]})");
    std::vector<std::uint32_t> lines;
    for (const Refusal& problem : answer.problems) lines.push_back(problem.line);
    CHECK(lines == std::vector<std::uint32_t>{0, 1, 3, 3, 3});
    const std::string text = repair_request(answer.problems);
    CHECK(contains(text, "- the answer: an answer has no member \"extra\""));
    CHECK(contains(text, "- write 3: cites \"evidence/77\""));
    std::string many = R"({"writes":[)";
    for (int i = 0; i < 100; ++i) many += i == 0 ? "1" : ",1";
    CHECK(world.check(many + "]}").problems.size() == output_problems_max);
}

TEST_CASE("the schema names each operation that is granted with the members that it needs") {
    const World world;
    const Value schema = answer_schema(*world.crew, *world.request.source);
    CHECK(to_json(schema) == to_json(answer_schema(*world.crew, *world.request.source)));
    const Value::Array& writes = schema.find("properties")->find("writes")->find("items")->find("anyOf")->as_array();
    REQUIRE(writes.size() == 7);
    CHECK(writes[0] ==
          json(R"({"type":"object","additionalProperties":false,"required":["op","region","entry"],"properties":{
        "op":{"type":"string","const":"insert"},"region":{"type":"string","const":"evidence"},
        "entry":{"type":"object","additionalProperties":false,"required":["kind","score"],
                 "properties":{"kind":{"type":"string"},"score":{"type":"number"},"note":{"type":"string"}}},
        "cites":{"type":"array","items":{"type":"string"}},"why":{"type":"string"},"as":{"type":"string"}}})"));
    CHECK(*writes[2].find("required") == json(R"(["op","region","id","expected_version","entry"])"));
    CHECK(*writes[3].find("required") == json(R"(["op","region","id","why"])"));
    CHECK(*writes[6].find("required") == json(R"(["op","region","by"])"));
}

TEST_CASE("a source that may write nothing can answer with no writes only") {
    World world;
    world.crew->sources[0].may.write.clear();
    const Result<EntrySchema> schema = EntrySchema::from_json_schema(answer_schema(*world.crew, *world.request.source));
    REQUIRE(schema.ok());
    CHECK(!schema->check(json(R"({"writes":[]})")));
    CHECK(schema->check(json(R"({"writes":[{}]})")));
}

TEST_CASE("a region's JSON Schema keeps its references where it stands in the answer's") {
    World world;
    const Value document = json(R"({"$schema":"http://json-schema.org/draft-07/schema#","$id":"http://x/y",
        "properties":{"tree":{"$ref":"#/definitions/node"},"enum":{"$ref":"#/definitions/node"}},
        "required":["tree"],
        "definitions":{"node":{"type":"object","required":["name"],"properties":{
            "name":{"type":"string","default":{"$ref":"#/kept"}},
            "children":{"type":"array","items":{"$ref":"#/definitions/node"}}}}}})");
    world.crew->regions[0].schema = *EntrySchema::from_json_schema(document);
    CHECK(entry_json_schema(world.crew->regions[0]) == document);
    const Value made = answer_schema(*world.crew, *world.request.source);
    CHECK(contains(to_json(made), R"("default":{"$ref":"#/kept"})"));
    CHECK(!contains(to_json(made), "http://"));
    const Result<EntrySchema> schema = EntrySchema::from_json_schema(made);
    REQUIRE_MESSAGE(schema.ok(), (schema.ok() ? "" : schema.error().message));
    const auto fits = [&](const std::string& entry) {
        return !schema->check(json(R"({"writes":[{"op":"insert","region":"evidence","entry":)" + entry + "}]}"));
    };
    CHECK(fits(R"({"tree":{"name":"a","children":[{"name":"b"}]},"enum":{"name":"c"}})"));
    CHECK(!fits(R"({"tree":{"name":"a","children":[{}]}})"));
    CHECK(!fits(R"({"tree":{"name":"a"},"enum":{}})"));
}

namespace {

// Random crews, and random values that fit a schema of the kind that answer_schema makes.
class Maker {
public:
    explicit Maker(std::uint32_t seed) : random_(seed) {}
    std::uint32_t below(std::uint32_t n) { return random_() % n; }

    World world() {
        World made;
        made.crew->regions.resize(0);
        made.crew->sources[0].may.write.clear();
        made.shown.clear();
        const PolicyKind policies[] = {PolicyKind::append_only, PolicyKind::set_union,        PolicyKind::single_writer,
                                       PolicyKind::cas,         PolicyKind::last_writer_wins, PolicyKind::counter};
        for (std::uint32_t i = 1 + below(4); i > 0; --i) {
            RegionSpec spec = region("r" + std::to_string(i), policies[below(6)]);
            if (below(4) != 0 && spec.policy != PolicyKind::counter) spec.schema = schema();
            std::vector<WriteOp> granted;
            for (const WriteOp op : operations_of(spec.policy)) {
                if (below(3) != 0) granted.push_back(op);
            }
            if (!granted.empty()) made.crew->sources[0].may.write.emplace_back(spec.name, granted);
            for (std::uint64_t number = 1; number <= 3; ++number) made.shown.push_back({spec.name, number});
            made.crew->regions.push_back(std::move(spec));
        }
        return made;
    }

    Value answer(const World& world) {
        shown_ = &world.shown;
        aliases_ = 0;
        return fitting(answer_schema(*world.crew, *world.request.source), "");
    }

    /// Something else somewhere.
    Value mutated(const Value& value) {
        if (value.is_object() && !value.as_object().empty() && below(8) != 0) {
            Value::Object members = value.as_object();
            const std::size_t at = below(static_cast<std::uint32_t>(members.size()));
            switch (below(6)) {
                case 0:
                    members.erase(members.begin() + static_cast<std::ptrdiff_t>(at));
                    break;
                case 1:
                    members[at].first += "x";
                    break;
                default:
                    members[at].second = mutated(members[at].second);
            }
            return Value::object(std::move(members));
        }
        if (value.is_array() && !value.as_array().empty() && below(8) != 0) {
            Value::Array elements = value.as_array();
            Value& element = elements[below(static_cast<std::uint32_t>(elements.size()))];
            element = mutated(element);
            return elements;
        }
        switch (below(6)) {
            case 0:
                return Value();
            case 1:
                return Value(static_cast<std::int64_t>(below(3)) - 1);
            case 2:
                return Value(to_json(value));
            case 3:
                return Value(Value::Array{value});
            case 4:
                return Value::object({{"a", value}});
            default:
                return Value(word());
        }
    }

    std::string mutated(std::string text) {
        for (std::uint32_t n = 1 + below(4); n > 0 && !text.empty(); --n) {
            const std::size_t at = below(static_cast<std::uint32_t>(text.size()));
            if (below(3) == 0) text.erase(at, 1 + below(6));
            if (below(3) == 0) text.insert(at, 1, "{}[]\",:\\`\n$/0\xff"[below(14)]);
            if (below(3) == 0 && at < text.size()) text[at] = static_cast<char>(below(256));
        }
        return text;
    }

private:
    EntrySchema schema() {
        const char* types[] = {"string", "integer", "number",   "boolean",   "object",
                               "array",  "any",     "[string]", "low | high"};
        std::vector<std::pair<std::string, std::string>> declared;
        for (std::uint32_t i = 1 + below(4); i > 0; --i) {
            declared.emplace_back("f" + std::to_string(i), std::string(types[below(9)]) + (below(2) == 0 ? "?" : ""));
        }
        return fields(declared);
    }

    std::string word() { return std::string(1 + below(5), static_cast<char>('a' + below(26))); }

    Value fitting(const Value& schema, const std::string& name) {
        if (const Value* only = schema.find("const")) return *only;
        if (const Value* choices = schema.find("enum")) {
            return choices->as_array()[below(static_cast<std::uint32_t>(choices->as_array().size()))];
        }
        if (const Value* any = schema.find("anyOf")) {
            return fitting(any->as_array()[below(static_cast<std::uint32_t>(any->as_array().size()))], name);
        }
        const Value* type = schema.find("type");
        const std::string kind = type == nullptr ? "any" : type->as_string();
        if (kind == "string") return Value(word());
        if (kind == "integer") return Value(static_cast<std::int64_t>(1 + below(5)));
        if (kind == "number") return Value::number(below(100) / 8.0);
        if (kind == "boolean") return Value(below(2) == 0);
        if (kind == "array") {
            Value::Array made;
            const Value* most = schema.find("maxItems");
            for (std::uint32_t n = most != nullptr ? 0 : below(4); n > 0; --n) {
                const Value* items = schema.find("items");
                made.push_back(items == nullptr ? Value(word()) : name == "cites" ? Value(id()) : fitting(*items, ""));
            }
            return made;
        }
        if (kind == "any") return below(2) == 0 ? Value(word()) : Value(Value::Array{Value(1)});
        Value made = Value::object({});
        const Value* properties = schema.find("properties");
        if (properties == nullptr) return Value::object({{word(), Value(word())}});
        const Value::Array& required = schema.find("required")->as_array();
        const bool is_write = properties->find("op") != nullptr;
        for (const auto& [field, inner] : properties->as_object()) {
            const bool needed = std::find(required.begin(), required.end(), Value(field)) != required.end();
            if (!needed && below(2) == 0) continue;
            if (!needed && below(4) == 0) {
                made.set(field, Value());
            } else if (is_write && field == "as") {
                made.set(field, "n" + std::to_string(++aliases_));
            } else if (is_write && field == "id") {
                made.set(field, id_in(properties->find("region")->find("const")->as_string()));
            } else {
                made.set(field, fitting(inner, field));
            }
        }
        return made;
    }

    std::string id() { return to_text((*shown_)[below(static_cast<std::uint32_t>(shown_->size()))]); }
    std::string id_in(const std::string& region) { return region + "/" + std::to_string(1 + below(3)); }

    std::mt19937 random_;
    const std::vector<EntryId>* shown_ = nullptr;
    int aliases_ = 0;
};

}  // namespace

TEST_CASE("what fits the schema passes the check, and what is changed passes or is refused with reasons") {
    const std::uint32_t seed = std::random_device{}();
    CAPTURE(seed);
    Maker maker(seed);
    for (int round = 0; round < 150; ++round) {
        const World world = maker.world();
        const Value document = answer_schema(*world.crew, *world.request.source);
        const Result<EntrySchema> schema = EntrySchema::from_json_schema(document);
        REQUIRE_MESSAGE(schema.ok(), (schema.ok() ? "" : schema.error().message));
        for (int i = 0; i < 8; ++i) {
            const Value answer = maker.answer(world);
            const std::string text = to_json(answer);
            const CheckedAnswer checked = world.check(text);
            REQUIRE_MESSAGE(checked.ok(), text << "\n" << repair_request(checked.problems));
            REQUIRE(checked.writes.size() == answer.find("writes")->as_array().size());
            for (const Write& write : checked.writes) {
                REQUIRE(world.request.source->may.may_write(write.region, write.op));
                REQUIRE(write.text == to_json(write.content));
            }
            const Value changed = maker.mutated(answer);
            const CheckedAnswer judged = world.check(to_json(changed));
            CHECK((judged.ok() || judged.writes.empty()));
            for (const std::string& spoilt :
                 {maker.mutated(text), text.substr(0, maker.below(static_cast<std::uint32_t>(text.size())))}) {
                const CheckedAnswer again = world.check(spoilt);
                CHECK((again.ok() || again.writes.empty()));
                for (const Refusal& problem : again.problems) CHECK(!problem.message.empty());
            }
        }
    }
}

TEST_CASE("brackets without end are refused in little time") {
    const World world;
    for (const char* bracket : {"{", "[", "{\"a\":", "[{", "\"{"}) {
        std::string text = "x";
        while (text.size() < (256U << 10)) text += bracket;
        CHECK(!world.check(text).ok());
    }
}

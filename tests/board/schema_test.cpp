#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "board/nearest.hpp"
#include "board/schema.hpp"
#include "board/value.hpp"

using namespace stele;

namespace {

Value json(std::string_view text) {
    Result<Value> parsed = parse_json(text);
    REQUIRE_MESSAGE(parsed.ok(), std::string(text));
    return *parsed;
}

EntrySchema short_form(const std::vector<std::pair<std::string, std::string>>& declared) {
    std::vector<FieldSpec> fields;
    for (const auto& [name, type] : declared) {
        Result<FieldSpec> field = EntrySchema::parse_field(name, type);
        REQUIRE_MESSAGE(field.ok(), type);
        fields.push_back(*field);
    }
    return EntrySchema::from_fields(fields);
}

EntrySchema json_schema(std::string_view text) {
    Result<EntrySchema> schema = EntrySchema::from_json_schema(json(text));
    REQUIRE_MESSAGE(schema.ok(), (schema.ok() ? "" : schema.error().message));
    return *schema;
}

/// "path: message" of the first problem, or "fits".
std::string verdict_on(const EntrySchema& schema, const Value& entry) {
    const std::optional<SchemaProblem> problem = schema.check(entry);
    return problem ? problem->path + ": " + problem->message : "fits";
}
std::string verdict(const EntrySchema& schema, std::string_view entry) { return verdict_on(schema, json(entry)); }

std::string refusal(std::string_view document) {
    const Result<EntrySchema> schema = EntrySchema::from_json_schema(json(document));
    if (schema) return "accepted";
    CHECK(schema.error().code == ErrorCode::invalid_argument);
    return schema.error().message;
}

std::string type_refusal(std::string_view type) {
    const Result<FieldSpec> field = EntrySchema::parse_field("f", type);
    return field ? "accepted" : field.error().message;
}

std::string type_text(const std::optional<FieldType>& type) { return type ? to_text(*type) : "ruled out"; }

}  // namespace

// --- the short form ---

TEST_CASE("the type words of the short form parse") {
    const auto field = [](std::string_view type) { return *EntrySchema::parse_field("f", type); };
    CHECK(field("string").type == FieldType::string);
    CHECK_FALSE(field("string").optional);
    CHECK(field(" number? ").type == FieldType::number);
    CHECK(field("number?").optional);
    CHECK(field("any").type == FieldType::any);
    CHECK(field("[string]").type == FieldType::array);
    CHECK(field("[string]").element == FieldType::string);
    CHECK(field("[ integer ]?").element == FieldType::integer);
    CHECK(field("[integer]?").optional);
    CHECK(field("low | high").choices == std::vector<std::string>{"low", "high"});
    CHECK(field("low|mid|high?").choices == std::vector<std::string>{"low", "mid", "high"});
    CHECK(field("low | high ?").optional);
    CHECK(field("low | high").type == FieldType::string);
    CHECK(field("number | percent").choices == std::vector<std::string>{"number", "percent"});
}

TEST_CASE("a type word that is none is refused with the nearest one") {
    CHECK(type_refusal("strnig").find(R"(the field "f" has an unknown type "strnig"; did you mean "string"?)") == 0);
    CHECK(type_refusal("[nubmer]").find(R"("nubmer"; did you mean "number"?)") != std::string::npos);
    CHECK(type_refusal("").find("Allowed are string, integer") != std::string::npos);
    CHECK(type_refusal("null") != "accepted");
    CHECK(type_refusal("[[string]]") != "accepted");
    CHECK(type_refusal("string??") != "accepted");
    CHECK(type_refusal("low |") == R"(the field "f" has an empty choice; choices are written like low | high)");
    CHECK(type_refusal("low | low") == R"(the field "f" has the choice "low" twice)");
    CHECK(type_refusal("string | null").find("lists only type words as its choices") != std::string::npos);
}

TEST_CASE("the short form says what is missing, unknown or of another type") {
    const EntrySchema schema = short_form({{"file", "string"},
                                           {"value", "number"},
                                           {"count", "integer?"},
                                           {"level", "low | high"},
                                           {"tags", "[string]"},
                                           {"a/b~c", "any?"}});
    const std::string good = R"("file":"x","value":0.5,"level":"low","tags":["a","b"])";
    const auto with = [&](const std::string& more) { return verdict(schema, "{" + good + "," + more + "}"); };
    CHECK(verdict(schema, "{" + good + "}") == "fits");
    CHECK(with(R"("count":3)") == "fits");
    CHECK(with(R"("count":null)") == "fits");
    CHECK(with(R"("a/b~c":null)") == "fits");
    CHECK(with(R"("count":"x")") == R"(/count: expected integer, or nothing, found string "x")");
    CHECK(with(R"("count":1.5)") == "/count: expected integer, or nothing, found number 1.5");
    CHECK(with(R"("leval":1)") == R"(/leval: there is no field "leval"; did you mean "level"?)");
    CHECK(with(R"("x/y~":1)") == R"(/x~1y~0: there is no field "x/y~".)");
    CHECK(verdict(schema, R"({"file":"x","value":1,"level":"low"})") ==
          R"(: the field "tags" is missing; expected array of string)");
    CHECK(verdict(schema, R"({"file":null,"value":1,"level":"low","tags":[]})") ==
          "/file: expected string, found null");
    CHECK(verdict(schema, R"({"file":"x","value":1,"level":"mid","tags":[]})") ==
          R"(/level: expected "low" or "high", found string "mid")");
    CHECK(verdict(schema, R"({"file":"x","value":1,"level":"low","tags":["a",4]})") ==
          "/tags/1: expected string, found integer 4");
    CHECK(verdict(schema, R"({"file":"x","value":1,"level":"low","tags":"a"})") ==
          R"(/tags: expected array of string, found string "a")");
    CHECK(verdict(schema, "[1]") == ": expected object, found array");
    CHECK(verdict(schema, "{}") == R"(: the field "file" is missing; expected string)");
    CHECK(verdict(EntrySchema::from_fields({}), "{}") == "fits");
    CHECK(verdict(EntrySchema(), R"({"anything":[1]})") == "fits");
    CHECK(verdict(EntrySchema(), "1") == ": expected object, found integer 1");
}

namespace {

const std::vector<std::string> generated_types = {
    "string",     "integer", "number",   "boolean", "array",    "object",    "any",         "[string]",  "[integer]",
    "low | high", "string?", "integer?", "number?", "boolean?", "[number]?", "low | high?", "[boolean]", "object?"};

Value fitting(const FieldSpec& field, FieldType type, std::mt19937_64& random) {
    if (!field.choices.empty()) return Value(field.choices[random() % field.choices.size()]);
    switch (type) {
        case FieldType::string:
            return Value("text " + std::to_string(random() % 100));
        case FieldType::integer:
            return Value(static_cast<std::int64_t>(random()));
        case FieldType::number:
            return random() % 2 == 0 ? Value(7) : Value::number(0.5);
        case FieldType::boolean:
            return Value(random() % 2 == 0);
        case FieldType::object:
            return json(R"({"inner":1})");
        default:
            break;
    }
    if (type != FieldType::array) return Value();
    Value::Array items;
    for (std::size_t n = random() % 4; n > 0; --n) items.push_back(fitting({}, field.element, random));
    return Value(std::move(items));
}

/// A value that does not fit, and where: below the field for an element.
std::pair<Value, std::string> unfit(const FieldSpec& field, std::mt19937_64& random) {
    const std::string path = "/" + field.name;
    if (field.element != FieldType::any && random() % 2 == 0) {
        Value::Array items;
        const std::size_t before = random() % 3;
        for (std::size_t i = 0; i < before; ++i) items.push_back(fitting({}, field.element, random));
        items.push_back(Value(Value::Array()));
        return {Value(std::move(items)), path + "/" + std::to_string(before)};
    }
    if (!field.choices.empty()) return {Value("neither"), path};
    if (field.type == FieldType::string) return {Value(1), path};
    if (field.type == FieldType::integer && random() % 2 == 0) return {Value::number(1.5), path};
    return {Value("a text"), path};
}

}  // namespace

TEST_CASE("a generated record fits its short form, and with one field changed it fails at that field") {
    const std::uint64_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    for (int round = 0; round < 3'000; ++round) {
        std::vector<FieldSpec> fields;
        const std::size_t size = 1 + random() % 8;
        for (std::size_t i = 0; i < size; ++i) {
            const std::string name = std::string(1, static_cast<char>('a' + random() % 26)) + std::to_string(i);
            fields.push_back(*EntrySchema::parse_field(name, generated_types[random() % generated_types.size()]));
        }
        const EntrySchema schema = EntrySchema::from_fields(fields);
        Value record = Value::object({});
        for (const FieldSpec& field : fields) {
            const bool left_out = field.optional && random() % 3 == 0;
            if (!left_out) record.set(field.name, fitting(field, field.type, random));
        }
        REQUIRE(verdict_on(schema, record) == "fits");

        const FieldSpec& changed = fields[random() % fields.size()];
        Value extended = record;
        extended.set("unknown", 1);
        REQUIRE(schema.check(extended)->path == "/unknown");

        if (!changed.optional) {
            std::vector<Value::Member> members = record.as_object();
            std::erase_if(members, [&](const Value::Member& member) { return member.first == changed.name; });
            const std::optional<SchemaProblem> problem = schema.check(Value::object(members));
            REQUIRE(problem);
            REQUIRE(problem->path.empty());
            REQUIRE(problem->message.find("\"" + changed.name + "\" is missing") != std::string::npos);
        }
        if (changed.type == FieldType::any) continue;
        const auto [value, path] = unfit(changed, random);
        Value broken = record;
        broken.set(changed.name, value);
        const std::optional<SchemaProblem> problem = schema.check(broken);
        REQUIRE(problem);
        REQUIRE(problem->path == path);
    }
}

TEST_CASE("a schema gives its document back, and the short form one that says the same") {
    const Value document = json(R"({"$schema":"x","type":"object","properties":{"a":{"minimum":1}}})");
    CHECK(EntrySchema::from_json_schema(document)->document() == document);
    CHECK(EntrySchema().document() == json(R"({"type":"object"})"));
    const EntrySchema schema = short_form(
        {{"z", "string"}, {"any", "any"}, {"level", "low | high"}, {"tags", "[integer]?"}, {"deep", "object?"}});
    const Result<EntrySchema> again = EntrySchema::from_json_schema(schema.document());
    REQUIRE(again.ok());
    CHECK(*schema.document().find("required") == json(R"(["z","any","level"])"));
    for (const char* entry : {R"({"z":"a","any":null,"level":"low"})", R"({"z":"a","any":1,"level":"mid"})",
                              R"({"z":1,"any":1,"level":"low"})", R"({"any":1,"level":"low"})",
                              R"({"z":"a","any":[],"level":"high","tags":[1,2],"deep":{}})",
                              R"({"z":"a","any":[],"level":"high","tags":[1,"2"]})",
                              R"({"z":"a","any":[],"level":"high","more":1})", R"([])"}) {
        CHECK_MESSAGE(schema.check(json(entry)).has_value() == again->check(json(entry)).has_value(), entry);
    }
}

TEST_CASE("the short form knows the types along a path") {
    const EntrySchema schema = short_form(
        {{"s", "string"}, {"o", "object"}, {"a", "[integer]"}, {"l", "array?"}, {"c", "x | y"}, {"z", "any"}});
    CHECK(schema.is_flat());
    CHECK(schema.field_names() == std::vector<std::string>{"s", "o", "a", "l", "c", "z"});
    CHECK(type_text(schema.type_at("s")) == "string");
    CHECK(type_text(schema.type_at("c")) == "string");
    CHECK(type_text(schema.type_at("s.x")) == "ruled out");
    CHECK(type_text(schema.type_at("o.x.y")) == "any");
    CHECK(type_text(schema.type_at("a")) == "array");
    CHECK(type_text(schema.type_at("a.0")) == "integer");
    CHECK(type_text(schema.type_at("a.0.x")) == "ruled out");
    CHECK(type_text(schema.type_at("a.x")) == "ruled out");
    CHECK(type_text(schema.type_at("l.3.x")) == "any");
    CHECK(type_text(schema.type_at("z.x")) == "any");
    CHECK(type_text(schema.type_at("nope")) == "ruled out");
    CHECK(type_text(schema.type_at("")) == "object");
    CHECK(type_text(EntrySchema().type_at("anything.below")) == "any");
    CHECK_FALSE(EntrySchema().is_flat());
}

TEST_CASE("the nearest name is within a third of the letters, transpositions counting one") {
    const std::vector<std::string> known = {"evidence", "hypotheses", "open_questions", "id"};
    CHECK(nearest_name("evidnece", known) == "evidence");
    CHECK(nearest_name("evidenc", known) == "evidence");
    CHECK(nearest_name("hypothesis", known) == "hypotheses");
    CHECK(nearest_name("openquestion", known) == "open_questions");
    CHECK(nearest_name("conclusions", known).empty());
    CHECK(nearest_name("xy", known).empty());
    CHECK(nearest_name("di", known) == "id");
    CHECK(nearest_name("", known).empty());
    CHECK(nearest_name("evidence", {}).empty());
    CHECK(nearest_name(std::string(1'000'000, 'x'), known).empty());
}

// --- JSON Schema ---

TEST_CASE("a JSON Schema names the place and says what was expected and what came") {
    const EntrySchema schema = json_schema(R"({
        "type": "object", "required": ["file", "risk"], "additionalProperties": false,
        "properties": {
            "file": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+\\.c$"},
            "risk": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
            "step": {"multipleOf": 0.01},
            "level": {"enum": ["low", "high", 3, null]},
            "fixed": {"const": {"a": [1]}},
            "when": {"type": "string", "format": "date-time"},
            "day": {"format": "date"},
            "parts": {"type": "array", "minItems": 1, "maxItems": 3, "uniqueItems": true,
                      "items": {"type": "object", "required": ["id"],
                                "properties": {"id": {"type": ["integer", "null"]}}}},
            "bag": {"minProperties": 1, "maxProperties": 2, "additionalProperties": {"type": "boolean"}},
            "never": false, "whatever": true
        }})");
    const auto with = [&](const std::string& more) {
        return verdict(schema, R"({"file":"ab.c","risk":0.5)" + more + "}");
    };
    CHECK(with("") == "fits");
    CHECK(verdict(schema, R"({"file":"ab.c"})") == R"(: the field "risk" is missing)");
    CHECK(verdict(schema, R"({"file":7,"risk":0})") == "/file: expected string, found integer 7");
    CHECK(verdict(schema, R"({"file":"a","risk":0})") ==
          R"(/file: expected a text of at least 2 characters, found string "a")");
    CHECK(verdict(schema, R"({"file":"abcd.c","risk":0})") ==
          R"(/file: expected a text of at most 5 characters, found string "abcd.c")");
    CHECK(verdict(schema, R"({"file":"AB.c","risk":0})") ==
          R"(/file: expected a text with the pattern "^[a-z]+\\.c$", found string "AB.c")");
    CHECK(verdict(schema, R"({"file":"ab.c","risk":1})") == "/risk: expected a number below 1, found integer 1");
    CHECK(verdict(schema, R"({"file":"ab.c","risk":-0.5})") ==
          "/risk: expected a number of at least 0, found number -0.5");
    CHECK(with(R"(,"step":0.07)") == "fits");
    CHECK(with(R"(,"step":0.075)") == "/step: expected a multiple of 0.01, found number 0.075");
    CHECK(with(R"(,"level":null)") == "fits");
    CHECK(with(R"(,"level":3.0)") == "fits");
    CHECK(with(R"(,"level":"mid")") == R"(/level: expected one of "low", "high", 3, null, found string "mid")");
    CHECK(with(R"(,"fixed":{"a":[1]})") == "fits");
    CHECK(with(R"(,"fixed":{"a":[2]})") == R"(/fixed: expected {"a":[1]}, found object)");
    CHECK(with(R"(,"when":"2024-02-29T23:59:60.5+02:00")") == "fits");
    CHECK(with(R"(,"when":"2023-02-29T23:59:00Z")") ==
          R"(/when: expected a date-time as in RFC 3339, found string "2023-02-29T23:59:00Z")");
    CHECK(with(R"(,"day":7)") == "fits");
    CHECK(with(R"(,"day":"2024-13-01")").starts_with("/day: expected a date"));
    CHECK(with(R"(,"parts":[])") == "/parts: expected an array of at least 1 items, found array");
    CHECK(with(R"(,"parts":[{"id":1},{"id":1}])") == "/parts: expected an array without equal items, found array");
    CHECK(with(R"(,"parts":[{"id":1},{"id":"x"}])") == R"(/parts/1/id: expected integer or null, found string "x")");
    CHECK(with(R"(,"parts":[{"id":1},{}])") == R"(/parts/1: the field "id" is missing)");
    CHECK(with(R"(,"bag":{"x/y":1})") == "/bag/x~1y: expected boolean, found integer 1");
    CHECK(with(R"(,"bag":{})") == "/bag: expected an object of at least 1 fields, found object");
    CHECK(with(R"(,"never":1)") == "/never: nothing is allowed here, found integer 1");
    CHECK(with(R"(,"whatever":[{}])") == "fits");
    CHECK(with(R"(,"riks":1)") == R"(/riks: there is no field "riks"; did you mean "risk"?)");
    CHECK(verdict(schema, "[]") == ": expected object, found array");
}

TEST_CASE("combinations of JSON Schemas are checked") {
    const EntrySchema schema = json_schema(R"({
        "properties": {
            "any": {"anyOf": [{"type": "string"}, {"type": "integer", "minimum": 5}]},
            "one": {"oneOf": [{"multipleOf": 3}, {"multipleOf": 5}]},
            "all": {"allOf": [{"minimum": 1}, {"maximum": 9}]},
            "not": {"not": {"type": "string"}},
            "has": {"contains": {"const": 1}},
            "row": {"items": [{"type": "string"}, {"type": "integer"}], "additionalItems": false},
            "map": {"patternProperties": {"^n_": {"type": "integer"}}, "additionalProperties": false},
            "low": {"propertyNames": {"pattern": "^[a-z]+$"}}
        },
        "dependencies": {"card": ["name"], "boss": {"required": ["team"]}},
        "if": {"required": ["kind"]}, "then": {"required": ["size"]}
    })");
    CHECK(verdict(schema, R"({"any":"x"})") == "fits");
    CHECK(verdict(schema, R"({"any":6})") == "fits");
    CHECK(verdict(schema, R"({"any":4})") ==
          "/any: expected a value that fits one of the alternatives, found integer 4 "
          "(the first fails at /any: expected string, found integer 4)");
    CHECK(verdict(schema, R"({"one":6})") == "fits");
    CHECK(verdict(schema, R"({"one":15})") ==
          "/one: expected a value that fits exactly one of the alternatives, not several, found integer 15");
    CHECK(verdict(schema, R"({"one":7})").starts_with("/one: expected a value that fits one of the alternatives"));
    CHECK(verdict(schema, R"({"all":10})") == "/all: expected a number of at most 9, found integer 10");
    CHECK(verdict(schema, R"({"not":"x"})") ==
          R"(/not: expected a value that does not fit the schema under not, found string "x")");
    CHECK(verdict(schema, R"({"has":[2]})") ==
          "/has: expected at least one item that fits the schema under contains, found array");
    CHECK(verdict(schema, R"({"has":[2,1]})") == "fits");
    CHECK(verdict(schema, R"({"row":["a",1]})") == "fits");
    CHECK(verdict(schema, R"({"row":["a","b"]})") == R"(/row/1: expected integer, found string "b")");
    CHECK(verdict(schema, R"({"row":["a",1,2]})") == "/row/2: nothing is allowed here, found integer 2");
    CHECK(verdict(schema, R"({"map":{"n_a":1}})") == "fits");
    CHECK(verdict(schema, R"({"map":{"n_a":"x"}})") == R"(/map/n_a: expected integer, found string "x")");
    CHECK(verdict(schema, R"({"map":{"other":1}})") == "/map/other: nothing is allowed here, found integer 1");
    CHECK(verdict(schema, R"({"low":{"abc":1}})") == "fits");
    CHECK(verdict(schema, R"({"low":{"ABC":1}})") != "fits");
    CHECK(verdict(schema, R"({"card":1})") == R"(: expected the field "name" beside the others, found object)");
    CHECK(verdict(schema, R"({"boss":1})") == R"(: the field "team" is missing)");
    CHECK(verdict(schema, R"({"kind":1})") == R"(: the field "size" is missing)");
    CHECK(verdict(schema, R"({"kind":1,"size":2})") == "fits");
}

TEST_CASE("draft 4 writes exclusive bounds beside the bound") {
    const EntrySchema schema = json_schema(
        R"({"properties":{"x":{"minimum":1,"exclusiveMinimum":true,"maximum":3,"exclusiveMaximum":false}}})");
    CHECK(verdict(schema, R"({"x":1})") == "/x: expected a number above 1, found integer 1");
    CHECK(verdict(schema, R"({"x":3})") == "fits");
}

TEST_CASE("numbers past 2^53 are compared exactly") {
    const EntrySchema schema = json_schema(R"({"properties":{
        "x":{"enum":[9007199254740993]}, "y":{"maximum":9007199254740992}, "z":{"multipleOf":2}}})");
    CHECK(verdict(schema, R"({"x":9007199254740993})") == "fits");
    CHECK(verdict(schema, R"({"x":9007199254740992})") != "fits");
    CHECK(verdict(schema, R"({"y":9007199254740993})") != "fits");
    CHECK(verdict(schema, R"({"z":9007199254740993})") != "fits");
    CHECK(verdict(schema, R"({"z":-9223372036854775808})") == "fits");
    CHECK(verdict(schema, R"({"z":2.5})") != "fits");
}

TEST_CASE("local references are followed, into themselves where the value gets smaller") {
    const EntrySchema schema = json_schema(R"({
        "definitions": {
            "node": {"type": "object", "required": ["name"], "additionalProperties": false,
                     "properties": {"name": {"$ref": "#/definitions/na~1me%25"},
                                    "children": {"type": "array", "items": {"$ref": "#/definitions/node"}}}},
            "na/me%": {"$ref": "#/definitions/text"},
            "text": {"type": "string"}
        },
        "$ref": "#/definitions/node"})");
    CHECK(verdict(schema, R"({"name":"a","children":[{"name":"b","children":[]}]})") == "fits");
    CHECK(verdict(schema, R"({"name":"a","children":[{"name":"b","children":[{"name":4}]}]})") ==
          "/children/0/children/0/name: expected string, found integer 4");
    CHECK(type_text(schema.type_at("name")) == "string");
    CHECK(type_text(schema.type_at("children.0.children.7.name")) == "string");
    CHECK(type_text(schema.type_at("nane")) == "ruled out");
    CHECK(schema.field_names() == std::vector<std::string>{"children", "name"});

    const EntrySchema root = json_schema(R"({"properties":{"next":{"$ref":"#"},"n":{"type":"integer"}}})");
    CHECK(verdict(root, R"({"next":{"next":{"n":1}}})") == "fits");
    CHECK(verdict(root, R"({"next":{"next":{"n":"x"}}})") == R"(/next/next/n: expected integer, found string "x")");
}

TEST_CASE("a deep value of a recursive schema is checked to its end") {
    const EntrySchema schema = json_schema(R"({"properties":{"a":{"$ref":"#"},"n":{"type":"integer"}}})");
    std::string text = R"({"n":"x"})";
    std::string path = "/n";
    for (int i = 0; i < 62; ++i) {
        text = "{\"a\":" + text + "}";
        path = "/a" + path;
    }
    CHECK(schema.check(json(text))->path == path);
}

TEST_CASE("a document that is no JSON Schema is refused with the place") {
    const std::string begin = "the JSON Schema is malformed: ";
    CHECK(refusal("7") == begin + "the document is no schema: expected an object, true or false, found integer 7.");
    CHECK(refusal(R"({"type":"strnig"})") == begin + R"(/type names an unknown type "strnig"; did you mean "string"?)");
    CHECK(refusal(R"({"type":[]})") == begin + "/type takes at least one type, not array.");
    CHECK(refusal(R"({"properties":[]})") == begin + "/properties takes an object of schemas, not array.");
    CHECK(refusal(R"({"properties":{"a":3}})") ==
          begin + "/properties/a is no schema: expected an object, true or false, found integer 3.");
    CHECK(refusal(R"({"required":true})") == begin + "/required takes an array of field names, not boolean true.");
    CHECK(refusal(R"({"allOf":[]})") == begin + "/allOf takes an array of at least one schema, not array.");
    CHECK(refusal(R"({"enum":{}})") == begin + "/enum takes an array of at least one, not object.");
    CHECK(refusal(R"({"minLength":-1})") == begin + "/minLength takes an integer from 0 on, not integer -1.");
    CHECK(refusal(R"({"multipleOf":0})") == begin + "/multipleOf takes a number above 0, not integer 0.");
    CHECK(refusal(R"({"minimum":"1"})") == begin + R"(/minimum takes a number, not string "1".)");
    CHECK(refusal(R"({"exclusiveMinimum":true})") ==
          begin + "/exclusiveMinimum is a boolean without the bound that it belongs to.");
    CHECK(refusal(R"({"items":{"pattern":"(a"}})").starts_with(begin + "/items/pattern has a regular expression"));
    CHECK(refusal(R"({"pattern":"a)(b"})").starts_with(begin + "/pattern has a regular expression"));
    CHECK(refusal(R"({"pattern":"(a)\\1"})").starts_with(begin + "/pattern has a regular expression"));
    CHECK(refusal(R"({"patternProperties":{"[":{}}})").starts_with(begin + "/patternProperties/[ has a regular"));
    CHECK(refusal(R"({"prefixItems":[]})") ==
          begin + "/prefixItems is of a later draft; drafts 4 to 7 are understood.");
    CHECK(refusal(R"({"definitions":{"a":{"type":7}}})").starts_with(begin + "/definitions/a/type takes a type word"));
    CHECK(refusal(R"({"title":"t","description":"d","default":{},"examples":[],"$schema":"x","x-mine":[1]})") ==
          "accepted");
    CHECK(refusal("true") == "accepted");
    CHECK(verdict(json_schema("false"), "{}") == ": nothing is allowed here, found object");
}

TEST_CASE("a reference out of the document, to nowhere or in a circle is refused") {
    const std::string begin = "the JSON Schema is malformed: ";
    CHECK(refusal(R"({"items":{"$ref":"http://localhost/x.json"}})") ==
          begin + R"(/items has the $ref "http://localhost/x.json", which leads out of the document; )" +
              "only references like #/definitions/name are followed.");
    CHECK(refusal(R"({"$ref":"other.json#/a"})").find("leads out of the document") != std::string::npos);
    CHECK(refusal(R"({"$ref":""})").find("leads out of the document") != std::string::npos);
    CHECK(refusal(R"({"$ref":"#/definitions/x"})").find("leads nowhere: there is no /definitions") !=
          std::string::npos);
    CHECK(refusal(R"({"$ref":"#x"})").find("names an anchor") != std::string::npos);
    CHECK(refusal(R"({"$ref":7})") == begin + "the document has a $ref that is no text but integer 7.");
    CHECK(refusal(R"({"$ref":"#"})").find("leads in a circle") != std::string::npos);
    CHECK(refusal(R"({"$ref":"#/a","a":{"$ref":"#/b"},"b":{"$ref":"#/a"}})").find("leads in a circle") !=
          std::string::npos);
    CHECK(refusal(R"({"allOf":[{"$ref":"#"}]})") ==
          begin + "the document refers to itself without going into a field or item, or through more than 32 " +
              "references.");
    CHECK(refusal(R"({"properties":{"x":{"$ref":"#/a"}},"a":{"not":{"$ref":"#/b"}},"b":{"if":{"$ref":"#/a"}}})")
              .find("refers to itself") != std::string::npos);
    CHECK(refusal(R"({"dependencies":{"x":{"$ref":"#"}}})").find("refers to itself") != std::string::npos);
    CHECK(refusal(R"({"properties":{"x":{"$ref":"#"}},"items":{"$ref":"#"},"propertyNames":{"$ref":"#"}})") ==
          "accepted");
    std::string chain = R"({"allOf":[{"$ref":"#/d/0"}],"d":[)";
    for (int i = 1; i < 200; ++i) chain += R"({"allOf":[{"$ref":"#/d/)" + std::to_string(i) + R"("}]},)";
    CHECK(refusal(chain + "true]}").find("through more than 32 references") != std::string::npos);
}

TEST_CASE("an entry cannot hang or overflow a pattern") {
    const EntrySchema schema =
        json_schema(R"({"properties":{"nested":{"pattern":"^(a+)+$"},"wide":{"pattern":"x.*y"}}})");
    const auto start = std::chrono::steady_clock::now();
    CHECK(verdict(schema, R"({"nested":")" + std::string(60'000, 'a') + R"("})") == "fits");
    CHECK(verdict(schema, R"({"nested":")" + std::string(60'000, 'a') + R"(!"})") != "fits");
    CHECK(verdict(schema, R"({"wide":")" + std::string(60'000, 'x') + R"("})") != "fits");
    CHECK(verdict(schema, R"({"wide":"a line\nand x, then y"})") == "fits");
    CHECK(verdict(schema, R"({"wide":")" + std::string(70'000, 'x') + R"("})")
              .starts_with("/wide: expected a text of at most 65536 bytes, as it is held against a pattern, found"));
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

TEST_CASE("what cannot be handed to a JSON Schema check is refused with its place") {
    const EntrySchema schema = json_schema(R"({"properties":{"a":{"enum":["x"]}}})");
    CHECK(verdict(schema, R"({"b":[0,{"c":"x\u0000y"}]})") ==
          "/b/1/c: holds U+0000, which cannot be checked against a JSON Schema");
    CHECK(verdict(schema, R"({"a":"x\u0000"})").starts_with("/a: holds U+0000"));
    CHECK(verdict(schema, R"({"x\u0000":1})").find("holds U+0000") != std::string::npos);
    const EntrySchema patterns = json_schema(R"({"patternProperties":{"^(a|b)*$":{"type":"integer"}}})");
    CHECK(verdict(patterns, R"({")" + std::string(100'000, 'a') + R"(":1})").find("more than 256 bytes") !=
          std::string::npos);
    CHECK(verdict(patterns, R"({")" + std::string(200, 'a') + R"(":"x"})").find("expected integer") !=
          std::string::npos);
}

TEST_CASE("an entry full of problems is refused as quickly as one with a single problem") {
    const EntrySchema schema = json_schema(R"({"properties":{"a":{"items":{"type":"string"}}}})");
    Value::Array items(200'000, Value(1));
    Value entry;
    entry.set("a", Value(std::move(items)));
    CHECK(verdict_on(schema, entry) == "/a/0: expected string, found integer 1");
    const EntrySchema unique = json_schema(R"({"properties":{"a":{"uniqueItems":true}}})");
    Value::Array numbers;
    for (int i = 0; i < 200'000; ++i) numbers.emplace_back(i);
    entry.set("a", Value(std::move(numbers)));
    CHECK(verdict_on(unique, entry) == "fits");
}

TEST_CASE("a JSON Schema knows the types along a path as far as it is plain") {
    const EntrySchema schema = json_schema(R"({
        "additionalProperties": false,
        "properties": {
            "s": {"type": "string"}, "n": {"type": ["number", "null"]}, "m": {"type": ["integer", "number"]},
            "u": {"type": ["string", "integer"]}, "e": {"enum": ["a", "b", null]}, "o": {"anyOf": [{}]},
            "l": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "boolean"}}}},
            "p": {"type": "object", "patternProperties": {"^a": {}}, "additionalProperties": false},
            "q": {"type": "object", "additionalProperties": {"type": "integer"}},
            "0": {"type": "null"}, "no": false
        }})");
    CHECK_FALSE(schema.is_flat());
    CHECK(type_text(schema.type_at("")) == "object");
    CHECK(type_text(schema.type_at("s")) == "string");
    CHECK(type_text(schema.type_at("s.x")) == "ruled out");
    CHECK(type_text(schema.type_at("n")) == "number");
    CHECK(type_text(schema.type_at("m")) == "number");
    CHECK(type_text(schema.type_at("u")) == "any");
    CHECK(type_text(schema.type_at("e")) == "string");
    CHECK(type_text(schema.type_at("o")) == "any");
    CHECK(type_text(schema.type_at("o.x.y")) == "any");
    CHECK(type_text(schema.type_at("l")) == "array");
    CHECK(type_text(schema.type_at("l.0.x")) == "boolean");
    CHECK(type_text(schema.type_at("l.0.y")) == "any");
    CHECK(type_text(schema.type_at("l.x")) == "ruled out");
    CHECK(type_text(schema.type_at("p.b")) == "any");
    CHECK(type_text(schema.type_at("q.anything")) == "integer");
    CHECK(type_text(schema.type_at("0")) == "null");
    CHECK(type_text(schema.type_at("no")) == "ruled out");
    CHECK(type_text(schema.type_at("nope")) == "ruled out");
    CHECK(json_schema(R"({"properties":{"a":{}}})").field_names().empty());
    CHECK(type_text(json_schema(R"({"properties":{"a":{}}})").type_at("b")) == "any");
}

TEST_CASE("several threads may check with one schema") {
    const EntrySchema schema =
        json_schema(R"({"properties":{"a":{"pattern":"^x+$"},"b":{"anyOf":[{"type":"string"}]}}})");
    std::vector<int> wrong(4, 0);
    std::vector<std::thread> threads;
    for (int& count : wrong) {
        threads.emplace_back([&schema, &count] {
            const Value good = *parse_json(R"({"a":"xxx","b":"y"})");
            const Value bad = *parse_json(R"({"a":"xyx","b":1})");
            for (int i = 0; i < 500; ++i) {
                if (schema.check(good) || !schema.check(bad)) ++count;
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == std::vector<int>(4, 0));
}

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "knowledge_sources/process_protocol.hpp"

using namespace stele;

namespace {

Value json(std::string_view text) {
    Result<Value> value = parse_json(text);
    REQUIRE_MESSAGE(value.ok(), text);
    return *value;
}

EntryPtr entry_of(const std::string& region, std::uint64_t number, std::string_view content) {
    auto entry = std::make_shared<Entry>();
    entry->id = {region, number};
    entry->version = 3;
    entry->author = "seeder";
    entry->time = TimeMs{1'700'000'000'123};
    entry->content = json(content);
    return entry;
}

/// A request of source "churn" with one bound variable `q`.
struct World {
    std::shared_ptr<CrewSpec> crew = std::make_shared<CrewSpec>();
    ActivationRequest request;

    World() {
        crew->name = "crew";
        crew->inputs = {{"repo", Value(".")}, {"depth", Value(3)}};
        SourceSpec source;
        source.name = "churn";
        source.when.variables = {"q"};
        crew->sources.push_back(std::move(source));
        request.crew = crew;
        request.source = &crew->sources.front();
        request.activation = {17};
        request.attempt = 2;
        request.version = {41};
        request.members = {Binding{{entry_of("open_questions", 4, R"({"text":"why?\n"})")}}};
        request.deadline_ms = 30'000;
        request.idempotency_key = "17/2";
    }
    SourceSpec& source() { return crew->sources.front(); }
    Value made() const {
        const std::string text = make_request(request);
        REQUIRE(text.back() == '\n');
        REQUIRE(text.find('\n') == text.size() - 1);
        return json(std::string_view(text).substr(0, text.size() - 1));
    }
};

ParsedOutput parse(std::string_view text) { return parse_output(text, SourceSpec{}); }

/// The message of the only problem of an output of one bad line.
std::string problem_of(std::string_view text) {
    const ParsedOutput output = parse(text);
    REQUIRE_MESSAGE(output.problems.size() == 1, output.error());
    CHECK(output.problems[0].rule == RefusalRule::malformed);
    CHECK(output.writes.empty());
    return output.problems[0].message;
}

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a request is one line of JSON that holds all an attempt may know") {
    World world;
    world.request.view = {{"evidence", {entry_of("evidence", 12, R"({"kind":"churn"})")}, 0}, {"scratch", {}, 7}};
    world.request.previous = {{2, RefusalRule::schema, "the field \"kind\" is missing", Value()}};
    const Value made = world.made();
    CHECK(made == json(R"({
        "protocol": 1, "activation": "17", "attempt": 2, "source": "churn",
        "inputs": {"repo": ".", "depth": 3}, "version": 41,
        "match": {"q": {"id": "open_questions/4", "version": 3, "entry": {"text": "why?\n"},
                        "author": "seeder", "time": 1700000000123}},
        "view": {"evidence": [{"id": "evidence/12", "version": 3, "entry": {"kind": "churn"},
                               "author": "seeder", "time": 1700000000123}], "scratch": []},
        "omitted": {"scratch": 7},
        "previous": [{"line": 2, "rule": "schema", "message": "the field \"kind\" is missing", "current": null}],
        "deadline_ms": 30000, "idempotency_key": "17/2"})"));
}

TEST_CASE("a batch gets every match, and the first once more as its match") {
    World world;
    world.source().wake = WakeMode::batch;
    world.request.members.push_back(Binding{{entry_of("open_questions", 5, R"({"text":"how?"})")}});
    const Value made = world.made();
    REQUIRE(made.find("matches") != nullptr);
    const Value::Array& matches = made.find("matches")->as_array();
    REQUIRE(matches.size() == 2);
    CHECK(matches[0] == *made.find("match"));
    CHECK(*matches[1].find("q")->find("id") == Value("open_questions/5"));
}

TEST_CASE("variables without a name and matches without entries are left out of a request") {
    World world;
    world.source().when.variables = {"", "t"};
    world.request.members = {Binding{{entry_of("a", 1, "{}"), entry_of("a", 2, "{}")}}};
    CHECK(world.made().find("match")->as_object().size() == 1);
    CHECK(*world.made().find("match")->find("t")->find("id") == Value("a/2"));
    world.request.members.clear();
    CHECK(world.made().find("match")->as_object().empty());
    CHECK(world.made().find("matches") == nullptr);
}

TEST_CASE("every operation of the protocol becomes its write") {
    const ParsedOutput output = parse(
        R"({"op":"insert","region":"evidence","entry":{"b":1,"a":0.70},"cites":["plan/3"],"why":"seen","as":"h1"})"
        "\n"
        R"({"op":"add","region":"tags","entry":{"t":"x"},"cites":["$h1","scratch/churn/9"]})"
        "\n"
        R"({"op":"note","text":"half way"})"
        "\n"
        R"({"op":"put","region":"scratch","entry":{}})"
        "\n"
        R"({"op":"replace","id":"plan/3","expected_version":2,"entry":{"s":1},"region":"plan"})"
        "\n"
        R"({"op":"retract","id":"evidence/7","why":"wrong","expected_version":1})"
        "\n"
        R"({"op":"remove","id":"tags/2"})"
        "\n"
        R"({"op":"remove","region":"tags","entry":{"t":"y"},"as":"gone"})"
        "\n"
        R"({"op":"increment","region":"visits","by":-4,"cites":["$gone"]})"
        "\n"
        R"({"op":"cost","tokens":10,"money":0.25})"
        "\n"
        R"({"op":"cost","tokens":5,"money":0.5,"calls":1})"
        "\n");
    REQUIRE_MESSAGE(output.ok(), output.error());
    CHECK(output.error().empty());
    REQUIRE(output.writes.size() == 8);
    const std::vector<Write>& writes = output.writes;

    CHECK(writes[0].op == WriteOp::insert);
    CHECK(writes[0].region == "evidence");
    CHECK(writes[0].text == R"({"a":0.7,"b":1})");
    CHECK(writes[0].cites == std::vector<Cite>{Cite{{"plan", 3}, 0}});
    CHECK(writes[0].why == "seen");
    CHECK(writes[1].op == WriteOp::add);
    CHECK(writes[1].cites == std::vector<Cite>{Cite{{}, 1}, Cite{{"scratch/churn", 9}, 0}});
    CHECK(writes[2].op == WriteOp::put);
    CHECK(writes[2].region == "scratch");
    CHECK(writes[3].op == WriteOp::replace);
    CHECK(writes[3].region == "plan");
    CHECK(writes[3].number == 3);
    CHECK(writes[3].expected_version == 2);
    CHECK(writes[4].op == WriteOp::retract);
    CHECK(writes[4].number == 7);
    CHECK(writes[4].expected_version == 1);
    CHECK(writes[4].why == "wrong");
    CHECK(writes[4].text == "null");
    CHECK(writes[5].op == WriteOp::remove);
    CHECK(writes[5].region == "tags");
    CHECK(writes[5].number == 2);
    CHECK(writes[6].number == 0);
    CHECK(writes[6].text == R"({"t":"y"})");
    CHECK(writes[7].op == WriteOp::increment);
    CHECK(writes[7].text == R"({"by":-4})");
    // The seventh write; the note between the lines does not count.
    CHECK(writes[7].cites == std::vector<Cite>{Cite{{}, 7}});

    CHECK(output.notes == std::vector<std::string>{"half way"});
    CHECK(output.cost == json(R"({"calls":1,"money":0.75,"tokens":15})"));
}

TEST_CASE("empty lines, carriage returns and a last line without its newline are fine") {
    CHECK(parse("").ok());
    CHECK(parse("").cost.is_null());
    CHECK(parse("\n\r\n  \t\n").ok());
    const ParsedOutput output = parse("\r\n{\"op\":\"note\",\"text\":\"a\"}\r\n\n  {\"op\":\"note\",\"text\":\"b\"} ");
    REQUIRE_MESSAGE(output.ok(), output.error());
    CHECK(output.notes == std::vector<std::string>{"a", "b"});
}

TEST_CASE("an unknown operation is refused with the nearest known one") {
    CHECK(problem_of(R"({"op":"insrt","region":"a","entry":{}})") ==
          R"(unknown operation "insrt"; did you mean "insert"?)");
    CHECK(contains(problem_of(R"({"op":"xxxxxxxxxxxx"})"), "there are insert, add, put,"));
    CHECK(contains(problem_of(R"({"region":"a","entry":{}})"), "\"op\" is missing"));
    CHECK(contains(problem_of(R"({"op":7})"), "\"op\" must be a string, not an integer"));
}

TEST_CASE("missing and extra fields are named with the operation they belong to") {
    CHECK(problem_of(R"({"op":"insert","entry":{}})") == R"("insert" needs the field "region")");
    CHECK(problem_of(R"({"op":"add","region":"a"})") == R"("add" needs the field "entry")");
    CHECK(problem_of(R"({"op":"put","region":"a","entry":{},"cite":[]})") ==
          R"("put" has no field "cite"; did you mean "cites"?)");
    CHECK(contains(problem_of(R"({"op":"increment","region":"a","by":1,"entry":{}})"), "has no field \"entry\""));
    CHECK(problem_of(R"({"op":"replace","id":"a/1","entry":{}})") == R"("replace" needs the field "expected_version")");
    CHECK(problem_of(R"({"op":"retract","id":"a/1"})") == R"("retract" needs the field "why")");
    CHECK(problem_of(R"({"op":"note"})") == R"("note" needs the field "text")");
    CHECK(contains(problem_of(R"({"op":"note","text":"x","why":"y"})"), "has no field \"why\""));
    CHECK(contains(problem_of(R"({"op":"remove","region":"a"})"), "needs the field \"id\", or"));
    CHECK(contains(problem_of(R"({"op":"remove","id":"a/1","entry":{}})"), "not both"));
}

TEST_CASE("a field of the wrong type is refused with what it should have been") {
    CHECK(problem_of(R"({"op":"insert","region":5,"entry":{}})") == R"("region" must be a string, not an integer)");
    CHECK(problem_of(R"({"op":"insert","region":"","entry":{}})") == R"("region" is empty)");
    CHECK(contains(problem_of(R"({"op":"increment","region":"a","by":0.5})"), "\"by\" must be an integer, not 0.5"));
    CHECK(contains(problem_of(R"({"op":"replace","id":"a/1","expected_version":0,"entry":{}})"), "from 1, not 0"));
    CHECK(contains(problem_of(R"({"op":"replace","id":"a/1","expected_version":4294967296,"entry":{}})"), "from 1"));
    CHECK(contains(problem_of(R"({"op":"insert","region":"a","entry":{},"why":null})"), "must be a string, not null"));
    CHECK(contains(problem_of(R"({"op":"insert","region":"a","entry":{},"cites":"b/1"})"), "must be a list"));
    CHECK(contains(problem_of(R"({"op":"insert","region":"a","entry":{},"as":"two words"})"), "letters, digits"));
    CHECK(contains(problem_of(R"({"op":"cost","tokens":"ten"})"), "\"tokens\" must be a number"));
    CHECK(contains(problem_of(R"({"op":"cost","tokens":-1})"), "not negative, not -1"));
}

TEST_CASE("an id is a region and a number, and nothing near it") {
    for (const char* id : {"12", "/12", "evidence/", "evidence/0", "evidence/012", "evidence/-1", "evidence/+1",
                           "evidence/1 ", "evidence/99999999999999999999", "evidence:12", ""}) {
        CAPTURE(id);
        CHECK(contains(problem_of(std::string(R"({"op":"remove","id":")") + id + "\"}"), "as in \"evidence/12\""));
        CHECK(contains(problem_of(std::string(R"({"op":"insert","region":"a","entry":{},"cites":[")") + id + "\"]}"),
                       "as in \"evidence/12\""));
    }
    CHECK(contains(problem_of(R"({"op":"remove","id":"b/1","region":"a"})"), "but \"id\" names \"b/1\""));
}

TEST_CASE("a name may be given once and cited only by later lines") {
    CHECK(problem_of("{\"op\":\"insert\",\"region\":\"a\",\"entry\":{},\"as\":\"h1\"}\n"
                     "{\"op\":\"insert\",\"region\":\"a\",\"entry\":{},\"as\":\"h1\"}\n") ==
          R"(the name "h1" is taken by line 1)");
    CHECK(problem_of("{\"op\":\"insert\",\"region\":\"a\",\"entry\":{},\"as\":\"summary\"}\n"
                     "{\"op\":\"insert\",\"region\":\"a\",\"entry\":{},\"cites\":[\"$sumary\"]}\n") ==
          R"(no earlier line of the output is named "$sumary"; did you mean "$summary"?)");
    CHECK(contains(problem_of(R"({"op":"insert","region":"a","entry":{},"as":"me","cites":["$me"]})"),
                   "no earlier line"));
    CHECK(contains(problem_of("{\"op\":\"insert\",\"region\":\"a\",\"entry\":{},\"cites\":[\"$later\"]}\n"
                              "{\"op\":\"insert\",\"region\":\"a\",\"entry\":{},\"as\":\"later\"}\n"),
                   "no earlier line"));
}

TEST_CASE("a refused line keeps its name, so that lines citing it are not refused for it") {
    CHECK(problem_of("{\"op\":\"insert\",\"region\":\"a\",\"as\":\"h1\"}\n"
                     "{\"op\":\"insert\",\"region\":\"a\",\"entry\":{},\"cites\":[\"$h1\"]}\n") ==
          R"("insert" needs the field "entry")");
}

TEST_CASE("a line that is not JSON is told with its line and byte") {
    const ParsedOutput output = parse("{\"op\":\"note\",\"text\":\"a\"}\n{\"op\":\"note\",}\n");
    REQUIRE(output.problems.size() == 1);
    CHECK(output.problems[0].line == 2);
    CHECK(contains(output.problems[0].message, "byte 13"));
    CHECK(contains(output.error(), "line 2: the line is not JSON"));
    CHECK(contains(problem_of("Loading the model...\n"), "belong on standard error"));
    CHECK(contains(problem_of("[1,2]"), "this one is an array"));
    CHECK(contains(problem_of("{\n  \"op\": \"note\",\n  \"text\": \"x\"\n}\n"), "write each object on one line"));
    CHECK(contains(problem_of(R"({"op":"note","text":"a","text":"b"})"), "not JSON"));
    CHECK(contains(problem_of("{\"op\":\"note\",\"text\":\"\xff\"}"), "not JSON"));
    CHECK(contains(problem_of(std::string("{\"op\":\"note\",\"text\":\"a\0b\"}", 27)), "not JSON"));
    CHECK(contains(problem_of(R"({"op":"note","text":"half a li)"), "not JSON"));
    CHECK(contains(problem_of(R"({"op":"note","text":"a"} {"op":"note","text":"b"})"), "not JSON"));
    CHECK(contains(problem_of(R"({"op":"insert","region":"a","entry":{"n":99999999999999999999}})"), "not JSON"));
    CHECK(contains(problem_of("{\"op\":\"insert\",\"region\":\"a\",\"entry\":" + std::string(5'000, '[') + "\n"),
                   "not JSON"));
}

TEST_CASE("all problems are told together, up to twenty") {
    const ParsedOutput two = parse("{\"op\":\"note\"}\nx\n");
    REQUIRE(two.problems.size() == 2);
    CHECK(two.problems[0].line == 1);
    CHECK(two.problems[1].line == 2);
    CHECK_FALSE(two.more_problems);

    std::string many;
    for (int i = 0; i < 30; ++i) many += "{\"op\":\"note\"}\n";
    const ParsedOutput output = parse(many + "{\"op\":\"cost\",\"tokens\":3}\n");
    CHECK(output.problems.size() == output_problems_max);
    CHECK(output.more_problems);
    CHECK(contains(output.error(), "; and more"));
    CHECK(output.cost == json(R"({"tokens":3})"));
}

TEST_CASE("costs add up beyond integers and are refused beyond numbers") {
    const std::string most = R"({"op":"cost","n":9223372036854775807})";
    CHECK(parse(most + "\n" + most).cost.find("n")->as_double() == doctest::Approx(1.8446744073709552e19));
    const std::string large = R"({"op":"cost","n":1.7e308})";
    CHECK(contains(problem_of(large + "\n" + large), "more than a number can hold"));
}

TEST_CASE("a name of a megabyte is cut in the message, at a whole character") {
    std::string name;
    for (int i = 0; i < 100'000; ++i) name += "\xc3\xa9";
    const std::string message = problem_of("{\"op\":\"" + name + "\"}");
    CHECK(message.size() < 400);
    CHECK(parse_json(to_json(Value(message))).ok());
}

TEST_CASE("any damaged output is read without a crash and gives either writes or problems") {
    const std::string good =
        "{\"op\":\"insert\",\"region\":\"evidence\",\"entry\":{\"a\":[1,2.5,null]},\"as\":\"h\",\"cites\":[\"x/1\"]}\n"
        "{\"op\":\"replace\",\"id\":\"plan/3\",\"expected_version\":2,\"entry\":{},\"cites\":[\"$h\"]}\n"
        "{\"op\":\"cost\",\"tokens\":5}\n";
    const auto seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 5'000; ++round) {
        std::string bytes = good;
        const int changes = 1 + static_cast<int>(random() % 4);
        for (int i = 0; i < changes && !bytes.empty(); ++i) {
            const std::size_t at = random() % bytes.size();
            switch (random() % 3) {
                case 0:
                    bytes[at] = static_cast<char>(random() % 256);
                    break;
                case 1:
                    bytes.erase(at, 1 + random() % 9);
                    break;
                default:
                    bytes.insert(at, bytes, random() % bytes.size(), random() % 12);
                    break;
            }
        }
        const ParsedOutput output = parse(bytes);
        CAPTURE(bytes);
        if (!output.ok()) REQUIRE(output.writes.empty());
        for (std::size_t i = 0; i < output.writes.size(); ++i) {
            REQUIRE(output.writes[i].text == to_json(output.writes[i].content));
            for (const Cite& cite : output.writes[i].cites) REQUIRE(cite.line <= i);
        }
    }
}

TEST_CASE("writes that a source of another kind made come back from the lines that are kept of them") {
    const unsigned seed = std::random_device{}();
    MESSAGE("seed ", seed);
    std::mt19937 random(seed);
    const auto up_to = [&random](std::uint32_t most) { return static_cast<std::uint32_t>(random() % (most + 1)); };
    const auto text = [&] {
        static const std::vector<std::string> pieces = {"a", "\n", "\"", "$w1", "ü", "\\", "/3", " ", "\r", "{"};
        std::string made;
        for (std::uint32_t i = up_to(6); i > 0; --i) made += pieces[up_to(9)];
        return made;
    };
    const std::vector<std::string> regions = {"evidence", "plan", "scratch/churn", "w1"};
    for (int round = 0; round < 500; ++round) {
        std::vector<Write> writes(up_to(8));
        for (std::uint32_t i = 0; i < writes.size(); ++i) {
            Write& write = writes[i];
            write.op = static_cast<WriteOp>(1 + up_to(6));
            write.region = regions[up_to(3)];
            write.why = text();
            const bool by_id = write.op == WriteOp::replace || write.op == WriteOp::retract ||
                               (write.op == WriteOp::remove && up_to(1));
            if (by_id) write.number = 1 + up_to(1'000);
            if (write.op == WriteOp::replace) write.expected_version = 1 + up_to(9);
            if (write.op == WriteOp::retract) write.expected_version = up_to(9);
            if (write.op == WriteOp::increment) {
                write.content = Value::object({{"by", static_cast<int>(up_to(9)) - 4}});
            } else if (!by_id || write.op == WriteOp::replace) {
                write.content = Value::object({{"t", text()}, {"n", Value::number(up_to(9) / 4.0)}, {"z", Value()}});
            }
            for (std::uint32_t c = up_to(3); c > 0; --c) {
                if (i > 0 && up_to(1) == 0) {
                    write.cites.push_back(Cite{EntryId{}, 1 + up_to(i - 1)});
                } else {
                    write.cites.push_back(Cite{{regions[up_to(3)], 1 + up_to(99)}, 0});
                }
            }
            write.seal();
        }
        const std::string lines = make_output(writes);
        const ParsedOutput output = parse(lines);
        REQUIRE_MESSAGE(output.ok(), output.error(), "\n", lines);
        REQUIRE(output.writes.size() == writes.size());
        for (std::size_t i = 0; i < writes.size(); ++i) {
            INFO(lines);
            CHECK(output.writes[i].op == writes[i].op);
            CHECK(output.writes[i].region == writes[i].region);
            CHECK(output.writes[i].content == writes[i].content);
            CHECK(output.writes[i].text == writes[i].text);
            CHECK(output.writes[i].number == writes[i].number);
            CHECK(output.writes[i].expected_version == writes[i].expected_version);
            CHECK(output.writes[i].cites == writes[i].cites);
            CHECK(output.writes[i].why == writes[i].why);
        }
    }
}

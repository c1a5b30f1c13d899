#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "knowledge_sources/rule_source.hpp"

using namespace stele;

namespace {

EntryPtr entry_of(const std::string& region, std::uint64_t number, std::uint32_t version, std::string_view content) {
    auto entry = std::make_shared<Entry>();
    entry->id = {region, number};
    entry->version = version;
    entry->author = "seeder";
    entry->time = TimeMs{1'234};
    Result<Value> value = parse_json(content);
    REQUIRE(value.ok());
    entry->content = *value;
    return entry;
}

TemplateNode literal(Value value) {
    TemplateNode node;
    node.literal = std::move(value);
    return node;
}

TemplateNode reference(std::uint32_t variable, std::vector<std::string> path = {},
                       Attribute attribute = Attribute::content) {
    TemplateNode node;
    node.kind = TemplateNode::Kind::reference;
    node.reference = VariableRef{variable, attribute, std::move(path)};
    return node;
}

TemplateNode object(std::vector<std::pair<std::string, TemplateNode>> members) {
    TemplateNode node;
    node.kind = TemplateNode::Kind::object;
    node.members = std::move(members);
    return node;
}

TemplateNode list(std::vector<TemplateNode> elements) {
    TemplateNode node;
    node.kind = TemplateNode::Kind::array;
    node.elements = std::move(elements);
    return node;
}

/// Source "hot_spot", variables `c` and `t`.
SourceSpec rule_with(RuleWrite write) {
    SourceSpec source;
    source.name = "hot_spot";
    source.kind = SourceKind::rule;
    source.when.variables = {"c", "t"};
    source.then.push_back(std::move(write));
    return source;
}

Binding bound() {
    return Binding{{entry_of("evidence", 12, 2, R"({"file":"a.cpp","value":30,"at":[{"line":7}]})"),
                    entry_of("plan", 5, 9, R"({"file":"a.cpp"})")}};
}

Write only_write(const SourceSpec& source, const std::vector<Binding>& members) {
    Result<std::vector<Write>> writes = apply_rule(source, members);
    REQUIRE_MESSAGE(writes.ok(), (writes.ok() ? std::string() : writes.error().message));
    REQUIRE(writes->size() == 1);
    return (*writes)[0];
}

}  // namespace

TEST_CASE("a rule fills its template from the bound entries") {
    RuleWrite rule;
    rule.op = WriteOp::insert;
    rule.region = "hypotheses";
    rule.entry = object({{"file", reference(0, {"file"})},
                         {"claim", literal("changes often")},
                         {"line", reference(0, {"at", "0", "line"})},
                         {"whole", reference(1)},
                         {"from", reference(0, {}, Attribute::id)},
                         {"version", reference(0, {}, Attribute::version)},
                         {"who", reference(0, {}, Attribute::author)},
                         {"when", reference(0, {}, Attribute::time)}});
    rule.cites = {0, 1, 0};
    rule.why = "both seen";
    const Write write = only_write(rule_with(rule), {bound()});
    CHECK(write.op == WriteOp::insert);
    CHECK(write.region == "hypotheses");
    CHECK(write.text == R"({"claim":"changes often","file":"a.cpp","from":"evidence/12","line":7,)"
                        R"("version":2,"when":1234,"who":"seeder","whole":{"file":"a.cpp"}})");
    CHECK(write.cites == std::vector<Cite>{Cite{{"evidence", 12}, 0}, Cite{{"plan", 5}, 0}});
    CHECK(write.why == "both seen");
}

TEST_CASE("a field that the bound entry lacks is left out of an object and null in a list") {
    RuleWrite rule;
    rule.region = "hypotheses";
    rule.entry = object({{"kept", reference(0, {"value"})},
                         {"lost", reference(0, {"nothing"})},
                         {"deep", reference(0, {"value", "deeper"})},
                         {"list", list({reference(0, {"nothing"}), reference(0, {"value"})})}});
    CHECK(only_write(rule_with(rule), {bound()}).text == R"({"kept":30,"list":[null,30]})");
}

TEST_CASE("a whole entry that is absent is an error with the place in it") {
    RuleWrite rule;
    rule.region = "hypotheses";
    rule.entry = reference(0, {"nothing", "here"});
    rule.place = {14, 9};
    const Result<std::vector<Write>> writes = apply_rule(rule_with(rule), {bound()});
    REQUIRE_FALSE(writes.ok());
    CHECK(writes.error().message ==
          R"(rule "hot_spot", insert into "hypotheses" (line 14) has no entry to write: $c.nothing.here is not in )"
          "the entry that is bound");
}

TEST_CASE("replace and retract mean the version that is bound, remove means the entry") {
    RuleWrite rule;
    rule.op = WriteOp::replace;
    rule.region = "plan";
    rule.target = 1;
    rule.entry = object({{"done", literal(true)}});
    const Write replace = only_write(rule_with(rule), {bound()});
    CHECK(replace.region == "plan");
    CHECK(replace.number == 5);
    CHECK(replace.expected_version == 9);
    CHECK(replace.text == R"({"done":true})");

    rule.op = WriteOp::retract;
    const Write retract = only_write(rule_with(rule), {bound()});
    CHECK(retract.number == 5);
    CHECK(retract.expected_version == 9);
    CHECK(retract.text == "null");

    rule.op = WriteOp::remove;
    const Write remove = only_write(rule_with(rule), {bound()});
    CHECK(remove.number == 5);
    CHECK(remove.expected_version == 0);
    CHECK(remove.text == "null");

    rule.target.reset();
    const Write by_entry = only_write(rule_with(rule), {bound()});
    CHECK(by_entry.number == 0);
    CHECK(by_entry.text == R"({"done":true})");
}

TEST_CASE("an increment carries its step") {
    RuleWrite rule;
    rule.op = WriteOp::increment;
    rule.region = "visits";
    rule.by = -3;
    CHECK(only_write(rule_with(rule), {bound()}).text == R"({"by":-3})");
}

TEST_CASE("a batch writes for each member in turn") {
    RuleWrite rule;
    rule.region = "hypotheses";
    rule.entry = object({{"file", reference(0, {"file"})}});
    SourceSpec source = rule_with(rule);
    rule.op = WriteOp::increment;
    source.then.push_back(rule);
    Binding second = bound();
    second.entries[0] = entry_of("evidence", 13, 1, R"({"file":"b.cpp"})");
    const Result<std::vector<Write>> writes = apply_rule(source, {bound(), second});
    REQUIRE(writes.ok());
    REQUIRE(writes->size() == 4);
    CHECK((*writes)[0].text == R"({"file":"a.cpp"})");
    CHECK((*writes)[1].text == R"({"by":1})");
    CHECK((*writes)[2].text == R"({"file":"b.cpp"})");
    CHECK((*writes)[3].op == WriteOp::increment);
}

TEST_CASE("a target or cite that the match does not bind is an error, not a crash") {
    RuleWrite rule;
    rule.op = WriteOp::retract;
    rule.region = "plan";
    rule.target = 1;
    const Result<std::vector<Write>> short_of_one = apply_rule(rule_with(rule), {Binding{{bound().entries[0]}}});
    REQUIRE_FALSE(short_of_one.ok());
    CHECK(short_of_one.error().message.find("names $t, which the match does not bind") != std::string::npos);

    rule.target = 0;
    rule.cites = {7};
    const Result<std::vector<Write>> cites_nothing = apply_rule(rule_with(rule), {bound()});
    REQUIRE_FALSE(cites_nothing.ok());
    CHECK(cites_nothing.error().message.find("variable 8") != std::string::npos);
}

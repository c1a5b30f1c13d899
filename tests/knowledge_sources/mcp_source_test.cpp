#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "knowledge_sources/mcp_source.hpp"
#include "knowledge_sources/process_protocol.hpp"
#include "knowledge_sources/tools.hpp"
#include "tests/knowledge_sources/mcp_support.hpp"

using namespace stele;
using namespace stele::test;

namespace {

/// Answers calls with what the test says; never when it says nothing.
class ScriptedMcp : public McpClient {
public:
    explicit ScriptedMcp(boost::asio::io_context& loop) : loop_(loop) {}

    std::vector<std::string> called;
    std::vector<Result<McpToolResult>> answers;
    int dropped = 0;

    std::unique_ptr<McpCall> info(const CrewSpec&, std::uint32_t, Secrets&,
                                  std::function<void(Result<McpServerInfo>)>) override {
        return nullptr;
    }
    std::unique_ptr<McpCall> call(const CrewSpec& crew, std::uint32_t server, const std::string& tool,
                                  const Value& arguments, Secrets&, std::int64_t,
                                  std::function<void(Result<McpToolResult>)> finished) override {
        called.push_back(crew.mcp_servers[server].name + "/" + tool + to_json(arguments));
        auto state = std::make_shared<bool>(false);
        if (called.size() <= answers.size()) {
            boost::asio::post(loop_, [state, finished, answer = answers[called.size() - 1]] {
                if (!std::exchange(*state, true)) finished(answer);
            });
        }
        return std::make_unique<Call>(*this, std::move(state));
    }
    void close(std::function<void()> done) override { boost::asio::post(loop_, std::move(done)); }

private:
    struct Call : McpCall {
        Call(ScriptedMcp& mcp_, std::shared_ptr<bool> over_) : mcp(mcp_), over(std::move(over_)) {}
        ~Call() override {
            if (!std::exchange(*over, true)) ++mcp.dropped;
        }
        ScriptedMcp& mcp;
        std::shared_ptr<bool> over;
    };
    boost::asio::io_context& loop_;
};

TemplateNode reference(std::uint32_t variable, std::vector<std::string> path) {
    TemplateNode node;
    node.kind = TemplateNode::Kind::reference;
    node.reference = VariableRef{variable, Attribute::content, std::move(path)};
    return node;
}

TemplateNode object(std::vector<std::pair<std::string, TemplateNode>> members) {
    TemplateNode node;
    node.kind = TemplateNode::Kind::object;
    node.members = std::move(members);
    return node;
}

/// Source "seeker": asks `search` for the topic of each `$q` and writes down what came.
struct World {
    boost::asio::io_context loop;
    ScriptedMcp mcp{loop};
    Secrets secrets = no_secrets();
    std::shared_ptr<CrewSpec> crew = std::make_shared<CrewSpec>();
    std::shared_ptr<ActivationRequest> request = std::make_shared<ActivationRequest>();
    std::unique_ptr<KnowledgeSource> kind =
        make_mcp_source(loop, mcp, [this](const CrewSpec&) -> Secrets& { return secrets; });
    std::unique_ptr<Attempt> attempt;
    std::vector<CallIntent> intents;
    std::vector<CallEnd> ends;
    std::optional<Outcome> outcome;
    /// Answers each intent; without: go.
    std::function<std::optional<CallPermit>(const CallIntent&)> permit;

    World() {
        McpServerSpec server;
        server.name = "web";
        crew->mcp_servers.push_back(server);
        SourceSpec source;
        source.name = "seeker";
        source.kind = SourceKind::mcp;
        source.when.variables = {"q"};
        source.tool.server = 0;
        source.tool.name = "search";
        source.arguments = object({{"topic", reference(0, {"topic"})}, {"hint", reference(0, {"hint"})}});
        RuleWrite write;
        write.region = "found";
        write.entry = object({{"text", reference(1, {"text"})}, {"rows", reference(1, {"data", "rows"})}});
        write.cites = {0};
        write.why = "asked";
        source.then.push_back(std::move(write));
        crew->sources.push_back(std::move(source));
        request->crew = crew;
        request->source = &crew->sources.front();
        request->deadline_ms = 20'000;
        bind(R"({"topic":"owls"})");
    }

    SourceSpec& source() { return crew->sources.front(); }
    void bind(std::string_view content) {
        auto entry = std::make_shared<Entry>();
        entry->id = {"questions", request->members.size() + 1};
        entry->content = json_of(content);
        request->members.push_back(Binding{{entry}});
    }
    void start() {
        AttemptEvents events;
        events.call = [this](CallIntent intent, const std::function<void(CallPermit)>& permitted) {
            intents.push_back(intent);
            CallPermit go;
            go.kind = CallPermit::Kind::go;
            go.call = static_cast<std::uint32_t>(intents.size());
            const std::optional<CallPermit> answer = permit ? permit(intent) : std::optional<CallPermit>(go);
            if (answer) boost::asio::post(loop, [permitted, answer] { permitted(*answer); });
        };
        events.returned = [this](CallEnd end) {
            CHECK_FALSE(outcome.has_value());
            ends.push_back(std::move(end));
        };
        events.finished = [this](Outcome result) {
            CHECK_FALSE(outcome.has_value());
            outcome = std::move(result);
        };
        attempt = kind->start(request, std::move(events));
        CHECK(intents.empty());
        CHECK_FALSE(outcome.has_value());
    }
    const Outcome& run() {
        start();
        loop.run();
        REQUIRE(outcome.has_value());
        return *outcome;
    }
};

McpToolResult result_of(const std::string& text, std::string_view data = "null", bool is_error = false) {
    McpToolResult result;
    result.text = text;
    result.data = json_of(data);
    result.is_error = is_error;
    return result;
}

}  // namespace

TEST_CASE("each match has its call put on record, made, and its result written down") {
    World world;
    world.bind(R"({"topic":"larks","hint":"early"})");
    world.mcp.answers = {result_of("two owls", R"({"rows":[1,2]})"), result_of("a lark and tok-123456")};
    REQUIRE(world.secrets.secret("TOKEN").has_value());
    const Outcome& outcome = world.run();
    CHECK_MESSAGE(outcome.kind == OutcomeKind::ok, outcome.error);
    CHECK(world.mcp.called ==
          std::vector<std::string>{R"(web/search{"topic":"owls"})", R"(web/search{"hint":"early","topic":"larks"})"});
    REQUIRE(world.intents.size() == 2);
    CHECK(world.intents[0].target == CallTarget::tool);
    CHECK(world.intents[0].name == "mcp:web/search");
    CHECK(world.intents[0].parts == std::vector<std::string>{R"({"topic":"owls"})"});
    CHECK(world.intents[0].reserve.calls == 1);
    CHECK(world.intents[0].key == Hash128{});
    REQUIRE(world.ends.size() == 2);
    CHECK(world.ends[0].call == 1);
    CHECK(world.ends[0].outcome == OutcomeKind::ok);
    CHECK(world.ends[0].answer == R"({"data":{"rows":[1,2]},"is_error":false,"text":"two owls"})");
    CHECK(world.ends[0].spent.calls == 1);
    REQUIRE(outcome.writes.size() == 2);
    CHECK(outcome.writes[0].region == "found");
    CHECK(outcome.writes[0].text == R"({"rows":[1,2],"text":"two owls"})");
    CHECK(outcome.writes[0].cites == std::vector<Cite>{Cite{{"questions", 1}, 0}});
    CHECK(outcome.writes[1].text == R"({"text":"a lark and [TOKEN]"})");
    const ParsedOutput again = parse_output(outcome.raw_output, world.source());
    REQUIRE(again.ok());
    REQUIRE(again.writes.size() == 2);
    CHECK(again.writes[1].text == outcome.writes[1].text);
    CHECK(again.writes[1].cites == outcome.writes[1].cites);
}

TEST_CASE("a pure call bears a key, and one that was answered before is not made") {
    for (const bool by_tool : {false, true}) {
        World world;
        (by_tool ? world.source().tool.pure : world.source().pure) = true;
        world.permit = [](const CallIntent&) {
            CallPermit permit;
            permit.kind = CallPermit::Kind::answered;
            permit.answer = R"({"data":null,"is_error":false,"text":"known"})";
            return permit;
        };
        const Outcome& outcome = world.run();
        CHECK(outcome.kind == OutcomeKind::ok);
        CHECK(world.intents[0].key == tool_call_key("mcp:web/search", json_of(R"({"topic":"owls"})")));
        CHECK(world.mcp.called.empty());
        CHECK(world.ends.empty());
        REQUIRE(outcome.writes.size() == 1);
        CHECK(outcome.writes[0].text == R"({"text":"known"})");
    }
}

TEST_CASE("what goes wrong with a call is how its attempt ends") {
    SUBCASE("no room in a budget") {
        World world;
        world.permit = [](const CallIntent&) {
            CallPermit permit;
            permit.kind = CallPermit::Kind::refused;
            permit.reason = "the crew's calls are used up";
            return permit;
        };
        CHECK(world.run().kind == OutcomeKind::budget);
        CHECK(world.outcome->error == "the crew's calls are used up");
        CHECK(world.ends.empty());
    }
    SUBCASE("the tool says that it failed") {
        World world;
        world.mcp.answers = {result_of("no such index", "null", true)};
        CHECK(world.run().kind == OutcomeKind::failed);
        CHECK(world.outcome->error == "tool mcp:web/search says that it failed: no such index");
        CHECK(world.outcome->writes.empty());
        REQUIRE(world.ends.size() == 1);
        CHECK(world.ends[0].outcome == OutcomeKind::failed);
    }
    SUBCASE("the server cannot be reached") {
        World world;
        world.mcp.answers = {Error{ErrorCode::io, "MCP server \"web\": has ended"}};
        CHECK(world.run().kind == OutcomeKind::failed);
        CHECK(world.outcome->error == "MCP server \"web\": has ended");
        REQUIRE(world.ends.size() == 1);
        CHECK(world.ends[0].error == world.outcome->error);
    }
    SUBCASE("the result lacks what is to be written") {
        World world;
        world.source().then[0].entry = reference(1, {"data", "row"});
        world.mcp.answers = {result_of("x")};
        CHECK(world.run().kind == OutcomeKind::failed);
        CHECK(has(world.outcome->error, "$result.data.row is not in the entry"));
        CHECK(world.ends.size() == 1);
    }
    SUBCASE("its deadline passes") {
        World world;
        world.request->deadline_ms = 50;
        CHECK(world.run().kind == OutcomeKind::timeout);
        CHECK(world.outcome->error == "did not end within its deadline of 50 ms");
        REQUIRE(world.ends.size() == 1);
        CHECK(world.ends[0].outcome == OutcomeKind::timeout);
        CHECK(world.mcp.dropped == 1);
    }
}

TEST_CASE("an attempt that is cancelled ends at once, and one that is destroyed says nothing") {
    World world;
    world.start();
    world.loop.poll();
    CHECK(world.mcp.called.size() == 1);
    world.attempt->cancel();
    world.attempt->cancel();
    CHECK_FALSE(world.outcome.has_value());
    world.loop.restart();
    world.loop.run();
    REQUIRE(world.outcome.has_value());
    CHECK(world.outcome->kind == OutcomeKind::cancelled);
    REQUIRE(world.ends.size() == 1);
    CHECK(world.ends[0].outcome == OutcomeKind::cancelled);
    CHECK(world.mcp.dropped == 1);

    World gone;
    gone.start();
    gone.loop.poll();
    gone.attempt.reset();
    gone.loop.restart();
    gone.loop.run();
    CHECK_FALSE(gone.outcome.has_value());
    CHECK(gone.ends.empty());
    CHECK(gone.mcp.dropped == 1);

    World waiting;
    waiting.permit = [](const CallIntent&) { return std::nullopt; };
    waiting.start();
    waiting.loop.poll();
    waiting.attempt->cancel();
    waiting.loop.restart();
    waiting.loop.run();
    REQUIRE(waiting.outcome.has_value());
    CHECK(waiting.outcome->kind == OutcomeKind::cancelled);
    CHECK(waiting.mcp.called.empty());
}

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "knowledge_sources/tools.hpp"
#include "tests/knowledge_sources/mcp_support.hpp"

using namespace stele;
using namespace stele::test;

namespace {

struct World {
    ScratchFolder folder;
    boost::asio::io_context loop;
    ScriptedHttp http{loop};
    Secrets secrets = no_secrets();
    std::shared_ptr<CrewSpec> crew = std::make_shared<CrewSpec>();
    std::unique_ptr<McpClient> mcp = make_mcp_client(loop, http);
    std::unique_ptr<ToolBox> box = make_tool_box(loop, http, *mcp);
    std::unique_ptr<ToolRun> run;

    World() {
        crew->name = "crew";
        crew->base_directory = folder.path.string();
    }

    ToolSpec& add(const std::string& script) {
        ToolSpec tool;
        tool.name = "tool" + std::to_string(crew->tools.size());
        tool.command = {"sh", "-c", script};
        tool.parameters = json_of(R"({"type":"object"})");
        crew->tools.push_back(std::move(tool));
        return crew->tools.back();
    }
    void add_server(const std::string& name, const std::string& kind) {
        folder.write("server.py", python_server);
        McpServerSpec server;
        server.name = name;
        server.command = "python3";
        server.args = {"-I", "-S", "server.py", kind};
        crew->mcp_servers.push_back(std::move(server));
    }
    ToolRef last() const {
        ToolRef ref;
        ref.tool = static_cast<std::uint32_t>(crew->tools.size() - 1);
        ref.name = crew->tools.back().name;
        return ref;
    }
    static ToolRef of_server(std::uint32_t server, const std::string& name) {
        ToolRef ref;
        ref.server = server;
        ref.name = name;
        return ref;
    }

    ToolAnswer call(const ToolRef& ref, std::string_view arguments = "{}") {
        std::optional<ToolAnswer> got;
        run = box->call(crew, ref, json_of(arguments), secrets, "17/2/1",
                        [&got](ToolAnswer answer) { got = std::move(answer); });
        CHECK_FALSE(got.has_value());
        while (!got) {
            loop.restart();
            REQUIRE(loop.run_one_for(std::chrono::seconds(20)) > 0);
        }
        return *got;
    }
    Result<std::vector<OfferedTool>> offer(std::vector<ToolRef> refs) {
        SourceSpec source;
        source.llm.tools = std::move(refs);
        std::optional<Result<std::vector<OfferedTool>>> got;
        run = box->offer(crew, source, secrets,
                         [&got](Result<std::vector<OfferedTool>> tools) { got = std::move(tools); });
        CHECK_FALSE(got.has_value());
        while (!got) {
            loop.restart();
            REQUIRE(loop.run_one_for(std::chrono::seconds(20)) > 0);
        }
        return *got;
    }
    void close() {
        mcp->close([] {});
        loop.restart();
        loop.run();
        CHECK(no_child_left());
    }
};

}  // namespace

TEST_CASE("a program gets its arguments on standard input, and what it prints is the answer") {
    World world;
    world.add("cat; printf '%s' \"$AUTH\"; printf '\\377'").environment = {{"AUTH", "key ${env.TOKEN}"}};
    const ToolAnswer answer = world.call(world.last(), R"({"b":1,"a":"x"})");
    CHECK_FALSE(answer.is_error);
    CHECK(answer.text == "{\"a\":\"x\",\"b\":1}\nkey [TOKEN]\uFFFD");
    CHECK(answer.data.is_null());
    world.close();
}

TEST_CASE("whatever goes wrong with a program is an answer that says so") {
    World world;
    world.add("echo half an answer; echo out of paper >&2; exit 2");
    ToolAnswer answer = world.call(world.last());
    CHECK(answer.is_error);
    CHECK(answer.text == "the tool exited with status 2: out of paper");
    world.add("exec sleep 60").timeout_ms = 100;
    answer = world.call(world.last());
    CHECK(answer.is_error);
    CHECK(answer.text == "the tool did not answer within its limit of 100 ms");
    world.add("yes & yes").output_bytes = 1'000;
    answer = world.call(world.last());
    CHECK(answer.is_error);
    CHECK(answer.text == "the tool answered more than its limit of 1000 bytes");
    world.add("").command = {"no-such-program-here"};
    answer = world.call(world.last());
    CHECK(answer.is_error);
    CHECK(has(answer.text, "cannot run \"no-such-program-here\": No such file or directory"));
    world.add("true").environment = {{"X", "${env.NOWHERE}"}};
    answer = world.call(world.last());
    CHECK(answer.is_error);
    CHECK(has(answer.text, "NOWHERE"));
    world.close();
}

TEST_CASE("arguments that do not fit are not sent, and the answer names the place") {
    World world;
    world.add("touch ran; cat").parameters =
        json_of(R"({"type":"object","properties":{"depth":{"type":"integer"}},"required":["depth"]})");
    ToolAnswer answer = world.call(world.last(), R"({"depth":"deep"})");
    CHECK(answer.is_error);
    CHECK(has(answer.text, "/depth"));
    CHECK_FALSE(fs::exists(world.folder.path / "ran"));
    answer = world.call(world.last(), "[1]");
    CHECK(answer.is_error);
    CHECK(has(answer.text, "must be an object"));
    CHECK_FALSE(world.call(world.last(), R"({"depth":3})").is_error);
    // What cannot be checked is for the tool to judge.
    world.crew->tools.back().parameters = json_of(R"({"type":"object","$ref":"https://example.test/schema"})");
    CHECK_FALSE(world.call(world.last(), R"({"depth":"deep"})").is_error);
    world.close();
}

TEST_CASE("a call that is given up takes its program with it and answers nobody") {
    World world;
    world.add("sleep 60 & sleep 60");
    bool answered = false;
    world.run = world.box->call(world.crew, world.last(), Value::object({}), world.secrets, "k",
                                [&answered](const ToolAnswer&) { answered = true; });
    world.loop.run_for(std::chrono::milliseconds(50));
    world.run.reset();
    world.close();
    CHECK_FALSE(answered);
}

TEST_CASE("a service is sent the arguments with its headers and the key of the call") {
    World world;
    ToolSpec& tool = world.add("");
    tool.kind = ToolSpec::Kind::http;
    tool.url = "https://example.test/${env.TOKEN}/search";
    tool.headers = {{"Authorization", "Bearer ${env.TOKEN}"}};
    tool.output_bytes = 100;
    ScriptedHttp::Answer answer{200, {}, "found tok-123456", HttpEndKind::complete, {}};
    world.http.answer = [&answer](const HttpRequest&) { return answer; };
    ToolAnswer got = world.call(world.last(), R"({"q":"x"})");
    CHECK_FALSE(got.is_error);
    CHECK(got.text == "found [TOKEN]");
    const HttpRequest& sent = world.http.requests.back();
    CHECK(sent.method == "POST");
    CHECK(sent.url == "https://example.test/tok-123456/search");
    CHECK(sent.body == R"({"q":"x"})");
    CHECK(sent.body_bytes_max == 100);
    CHECK(header_of(sent, "Idempotency-Key") == "17/2/1");
    CHECK(header_of(sent, "Content-Type") == "application/json");
    CHECK(header_of(sent, "Authorization") == "Bearer tok-123456");
    answer = {404, {}, "no such index", HttpEndKind::complete, {}};
    got = world.call(world.last());
    CHECK(got.is_error);
    CHECK(got.text == "the tool answered with status 404: no such index");
    answer = {0, {}, "", HttpEndKind::connect_failed, "example.test refused the connection"};
    got = world.call(world.last());
    CHECK(got.is_error);
    CHECK(got.text == "the tool could not be asked: example.test refused the connection");
    answer = {200, {}, "", HttpEndKind::too_large, ""};
    CHECK(world.call(world.last()).text == "the tool answered more than its limit of 100 bytes");
    world.close();
}

TEST_CASE("tools of servers are called like any other") {
    World world;
    world.add_server("py", "modern");
    ToolAnswer answer = world.call(World::of_server(0, "echo"), R"({"text":"hello"})");
    CHECK_FALSE(answer.is_error);
    CHECK(answer.text == "hello");
    answer = world.call(World::of_server(0, "echo"), R"({"text":7})");
    CHECK(answer.is_error);
    CHECK(has(answer.text, "/text"));
    CHECK(to_json(world.call(World::of_server(0, "structured")).data) == R"({"calls":2,"n":[1,2.5]})");
    answer = world.call(World::of_server(0, "fail"));
    CHECK(answer.is_error);
    CHECK(answer.text == "no luck");
    answer = world.call(World::of_server(0, "die"));
    CHECK(answer.is_error);
    CHECK(answer.text == "MCP server \"py\": has ended: it exited with status 3: disk on fire");
    world.close();
}

TEST_CASE("what is offered has names that a model can tell apart, and says what is pure") {
    World world;
    world.add("true").name = "py_echo";
    world.crew->tools.back().description = "Mine";
    world.add("true").pure = true;
    world.add_server("py", "modern");
    world.add_server("p.y", "legacy");
    ToolRef echo = World::of_server(1, "echo");
    ToolRef silent = World::of_server(1, "silent");
    silent.pure = true;
    ToolRef mine;
    mine.tool = 0;
    const Result<std::vector<OfferedTool>> offered =
        world.offer({mine, world.last(), World::of_server(0, "*"), echo, silent});
    REQUIRE_MESSAGE(offered.ok(), offered.error().message);
    const std::vector<OfferedTool>& tools = *offered;
    REQUIRE(tools.size() == 15);
    CHECK(tools[0].chat.name == "py_echo");
    CHECK(tools[0].chat.description == "Mine");
    CHECK(tools[0].name == "py_echo");
    CHECK_FALSE(tools[0].pure);
    CHECK(tools[1].pure);
    CHECK(tools[2].chat.name == "py_echo_2");
    CHECK(tools[2].name == "mcp:py/echo");
    CHECK(tools[2].ref.name == "echo");
    CHECK(tools[2].ref.server == 0U);
    CHECK(tools[2].pure);
    CHECK(tools[2].chat.parameters.find("required") != nullptr);
    CHECK_FALSE(tools[3].pure);
    CHECK(tools[13].chat.name == "p_y_echo");
    CHECK(tools[13].name == "mcp:p.y/echo");
    CHECK(tools[14].pure);
    CHECK(world.offer({World::of_server(0, "ecko")}).error().message ==
          "MCP server \"py\" has no tool \"ecko\"; did you mean \"echo\"?");
    CHECK(world.offer({})->empty());
    CHECK(tool_call_key("a", json_of(R"({"x":1,"y":2})")) == tool_call_key("a", json_of(R"({"y":2,"x":1})")));
    CHECK(tool_call_key("a", json_of("{}")) != tool_call_key("b", json_of("{}")));
    world.close();
}

#include <doctest/doctest.h>

#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/steady_timer.hpp>

#include "board/limits.hpp"
#include "knowledge_sources/json_rpc.hpp"
#include "knowledge_sources/mcp_client.hpp"
#include "tests/knowledge_sources/mcp_support.hpp"

using namespace stele;
using namespace stele::test;

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

/// One crew with servers of the given kinds, and the client that speaks to them.
struct World {
    ScratchFolder folder;
    boost::asio::io_context loop;
    ScriptedHttp http{loop};
    Secrets secrets = no_secrets();
    CrewSpec crew;
    std::unique_ptr<McpClient> client = make_mcp_client(loop, http);
    std::vector<std::unique_ptr<McpCall>> calls;
    int ends = 0;

    explicit World(const std::vector<std::string>& kinds) {
        folder.write("server.py", python_server);
        crew.name = "crew";
        crew.base_directory = folder.path.string();
        for (const std::string& kind : kinds) {
            McpServerSpec server;
            server.name = kind;
            server.command = "python3";
            server.start_timeout_ms = 15'000;
            server.args = {"-I", "-S", "server.py", kind};
            crew.mcp_servers.push_back(std::move(server));
        }
    }

    void run_until(const std::function<bool()>& is_done) {
        const Clock::time_point until = Clock::now() + std::chrono::seconds(20);
        while (!is_done() && Clock::now() < until) {
            loop.restart();
            loop.run_one_for(Milliseconds(200));
        }
        REQUIRE(is_done());
    }

    void ask_info(std::uint32_t server, std::optional<Result<McpServerInfo>>& into) {
        calls.push_back(client->info(crew, server, secrets, [this, &into](Result<McpServerInfo> info) {
            ++ends;
            into = std::move(info);
        }));
    }
    void ask(std::uint32_t server, const std::string& tool, std::string_view arguments,
             std::optional<Result<McpToolResult>>& into, std::int64_t timeout_ms = 10'000) {
        calls.push_back(client->call(crew, server, tool, json_of(arguments), secrets, timeout_ms,
                                     [this, &into](Result<McpToolResult> result) {
                                         ++ends;
                                         into = std::move(result);
                                     }));
    }

    Result<McpServerInfo> info(std::uint32_t server = 0) {
        std::optional<Result<McpServerInfo>> got;
        ask_info(server, got);
        CHECK_FALSE(got.has_value());
        run_until([&] { return got.has_value(); });
        return *got;
    }
    Result<McpToolResult> call(const std::string& tool, std::string_view arguments = "{}", std::uint32_t server = 0,
                               std::int64_t timeout_ms = 10'000) {
        std::optional<Result<McpToolResult>> got;
        ask(server, tool, arguments, got, timeout_ms);
        CHECK_FALSE(got.has_value());
        run_until([&] { return got.has_value(); });
        return *got;
    }
    std::string text(const std::string& tool, std::string_view arguments = "{}", std::uint32_t server = 0) {
        const Result<McpToolResult> result = call(tool, arguments, server);
        REQUIRE_MESSAGE(result.ok(), result.error().message);
        return result->text;
    }
    void close() {
        bool closed = false;
        client->close([&closed] { closed = true; });
        CHECK_FALSE(closed);
        run_until([&closed] { return closed; });
        loop.restart();
        loop.run();
        CHECK(no_child_left());
    }
};

}  // namespace

TEST_CASE("servers of either era are understood, and all pages of their tools are read") {
    const std::map<std::string, std::string> versions = {
        {"modern", "2026-07-28"},        {"legacy", "2025-11-25"},      {"modern+legacy", "2026-07-28"},
        {"legacy+strict", "2025-06-18"}, {"legacy+dies", "2025-11-25"}, {"legacy+garbage", "2025-11-25"}};
    for (const auto& [kind, version] : versions) {
        CAPTURE(kind);
        World world({kind});
        const Result<McpServerInfo> info = world.info();
        REQUIRE_MESSAGE(info.ok(), info.error().message);
        CHECK(info->name == "py");
        CHECK(info->version == "7");
        CHECK(info->protocol_version == version);
        REQUIRE(info->tools.size() == 11);
        CHECK(info->tools[0].name == "echo");
        CHECK(info->tools[0].read_only);
        CHECK(info->tools[0].input_schema.find("required") != nullptr);
        CHECK(info->tools[10].name == "chatty");
        CHECK_FALSE(info->tools[10].read_only);
        CHECK(world.text("echo", R"({"text":"grüß dich\n"})") == "grüß dich\n");
        world.close();
    }
}

TEST_CASE("a tool's answer keeps its text, its structure and its say that it failed") {
    World world({"modern"});
    const Result<McpToolResult> structured = world.call("structured");
    REQUIRE(structured.ok());
    CHECK(structured->text.empty());
    CHECK(to_json(structured->data) == R"({"calls":1,"n":[1,2.5]})");
    const Result<McpToolResult> failed = world.call("fail");
    REQUIRE(failed.ok());
    CHECK(failed->is_error);
    CHECK(failed->text == "no luck");
    CHECK(world.text("parts") == "one\n[image image/png, 4 bytes of base64]\n[resource file:///x text/plain]\ntwo");
    CHECK(world.call("refuse").error().message ==
          "MCP server \"modern\": tool \"refuse\": error -32602: bad arguments");
    CHECK(world.call("ask").error().message ==
          "MCP server \"modern\": tool \"ask\": wants input from a person, which cannot be given here");
    world.close();
}

TEST_CASE("what a server asks is answered, and answers to nobody's questions are let go") {
    World world({"modern"});
    const Value told = json_of(world.text("chatty"));
    CHECK(told.as_array()[0] == json_of(R"({"jsonrpc":"2.0","id":"p1","result":{}})"));
    CHECK(*told.as_array()[1].find("id") == Value(7));
    CHECK(*told.as_array()[1].find("error")->find("code") == Value(-32601));
    CHECK(world.text("echo", R"({"text":"still here"})") == "still here");
    world.close();
}

TEST_CASE("all calls of a crew share one process, and one that died is started again at the next call") {
    World world({"legacy"});
    std::optional<Result<McpToolResult>> first;
    std::optional<Result<McpToolResult>> second;
    world.ask(0, "pid", "{}", first);
    world.ask(0, "pid", "{}", second);
    world.run_until([&] { return first && second; });
    REQUIRE(first->ok());
    CHECK((*first)->text == (*second)->text);
    std::optional<Result<McpToolResult>> bystander;
    world.ask(0, "silent", "{}", bystander);
    const Result<McpToolResult> dead = world.call("die");
    CHECK(dead.error().message == "MCP server \"legacy\": has ended: it exited with status 3: disk on fire");
    world.run_until([&] { return bystander.has_value(); });
    CHECK_FALSE(bystander->ok());
    const std::string again = world.text("pid");
    CHECK(again != (*first)->text);
    CHECK(world.ends == 5);
    world.close();
}

TEST_CASE("a call that nobody waits for any more, or that takes too long, is cancelled at the server") {
    World world({"modern"});
    std::optional<Result<McpToolResult>> unwanted;
    CHECK(world.text("echo", R"({"text":"up"})") == "up");
    world.ask(0, "silent", "{}", unwanted);
    world.calls.pop_back();
    const Result<McpToolResult> late = world.call("silent", "{}", 0, 100);
    CHECK(late.error().message == "MCP server \"modern\": tool \"silent\": no answer within 100 ms");
    CHECK(world.text("echo", R"({"text":"still up"})") == "still up");
    CHECK_FALSE(unwanted.has_value());
    const std::string cancelled = world.folder.read("cancelled");
    CHECK(has(cancelled, "no longer needed"));
    CHECK(has(cancelled, "it took too long"));
    world.close();
}

TEST_CASE("a server sees the variables that it is meant to see, and a key it tells is blacked out") {
    World world({"modern"});
    ::setenv("STELE_TEST_PASSED", "yes", 1);
    ::setenv("STELE_TEST_HIDDEN", "yes", 1);
    world.crew.mcp_servers[0].environment = {{"AUTH", "Bearer ${env.TOKEN}"}, {"LANG", "C"}};
    world.crew.mcp_servers[0].pass_environment = {"STELE_TEST_PASSED"};
    const Value seen = json_of(world.text("env"));
    CHECK(*seen.find("AUTH") == Value("Bearer tok-123456"));
    CHECK(*seen.find("LANG") == Value("C"));
    CHECK(*seen.find("STELE_TEST_PASSED") == Value("yes"));
    CHECK(seen.find("STELE_TEST_HIDDEN") == nullptr);
    CHECK(seen.find("PATH") != nullptr);
    world.close();
    World lacking({"modern"});
    lacking.crew.mcp_servers[0].environment = {{"AUTH", "${env.NOWHERE}"}};
    CHECK(has(lacking.info().error().message, "NOWHERE"));
    World telling({"modern"});
    telling.crew.mcp_servers[0].command = "sh";
    telling.crew.mcp_servers[0].args = {"-c", "echo cannot log in with $AUTH >&2; exit 1"};
    telling.crew.mcp_servers[0].environment = {{"AUTH", "${env.TOKEN}"}};
    CHECK(telling.info().error().message ==
          "MCP server \"modern\": has ended: it exited with status 1: cannot log in with [TOKEN]");
}

TEST_CASE("a server that cannot be used is an error that says why, and nothing of it stays") {
    const std::map<std::string, std::string> errors = {
        {"hang", "was not ready within 1500 ms: waiting for a licence"},
        {"huge", "has ended: it wrote a line of more than 16777216 bytes and was killed"},
        {"modern+future", "speaks no revision of MCP that is known here, only 2030-01-01"},
        {"legacy+ancient", "speaks MCP \"1999-01-01\", which is not known here"},
        {"modern+circle", "tells its tools in a circle: the page \"again\" comes again"},
        {"neither", "error -32601: unknown method initialize"}};
    for (const auto& [kind, error] : errors) {
        CAPTURE(kind);
        World world({kind});
        if (kind == "hang") world.crew.mcp_servers[0].start_timeout_ms = 1'500;
        CHECK(world.info().error().message == "MCP server \"" + kind + "\": " + error);
        world.loop.restart();
        world.loop.run();
        CHECK(no_child_left());
    }
    World missing({"modern"});
    missing.crew.mcp_servers[0].command = "no-such-program-here";
    CHECK(
        has(missing.info().error().message,
            "MCP server \"modern\": cannot run \"no-such-program-here\": No such file or directory; looked in PATH="));
}

TEST_CASE("slow and stubborn servers cost their time and no more") {
    World world({"legacy+mute", "modern+slow", "modern+stubborn"});
    std::optional<Result<McpServerInfo>> mute;
    std::optional<Result<McpServerInfo>> slow;
    world.ask_info(0, mute);
    world.ask_info(1, slow);
    CHECK(world.text("echo", R"({"text":"x"})", 2) == "x");
    const Clock::time_point begun = Clock::now();
    // Each closes in its own time, so the stubborn one is closed by a client of its own meanwhile.
    World other({"modern+stubborn"});
    CHECK(other.text("echo", R"({"text":"x"})") == "x");
    bool closed = false;
    other.client->close([&closed] { closed = true; });
    std::thread side([&other] {
        other.loop.restart();
        other.loop.run_for(std::chrono::seconds(10));
    });
    world.run_until([&] { return mute && slow; });
    REQUIRE_MESSAGE(mute->ok(), mute->error().message);
    CHECK((*mute)->protocol_version == "2025-11-25");
    REQUIRE_MESSAGE(slow->ok(), slow->error().message);
    CHECK((*slow)->protocol_version == "2026-07-28");
    side.join();
    CHECK(closed);
    CHECK(Clock::now() - begun >= Milliseconds(2 * limits::kill_grace_ms));
    CHECK(Clock::now() - begun < Milliseconds(2 * limits::kill_grace_ms + 2'500));
    const Clock::time_point killed = Clock::now();
    world.client.reset();
    world.loop.restart();
    world.loop.run();
    CHECK(Clock::now() - killed < Milliseconds(1'000));
    CHECK(no_child_left());
}

TEST_CASE("a client that is destroyed leaves no process, and calls nobody") {
    World world({"modern"});
    std::optional<Result<McpToolResult>> got;
    world.ask(0, "silent", "{}", got);
    world.loop.run_for(Milliseconds(300));
    world.client.reset();
    world.calls.clear();
    world.loop.restart();
    world.loop.run();
    CHECK_FALSE(got.has_value());
    CHECK(no_child_left());
}

TEST_CASE("what is in flight when the client closes is an error, and the next call starts anew") {
    World world({"modern"});
    std::optional<Result<McpToolResult>> got;
    world.ask(0, "silent", "{}", got);
    world.loop.run_for(Milliseconds(300));
    world.close();
    REQUIRE(got.has_value());
    CHECK(got->error().message == "MCP server \"modern\": is being closed");
    CHECK(world.text("echo", R"({"text":"again"})") == "again");
    world.close();
}

// ---- over HTTP ----

namespace {

struct HttpWorld : World {
    HttpWorld() : World({"web"}) {
        crew.mcp_servers[0].command.clear();
        crew.mcp_servers[0].url = "https://example.test/mcp";
        crew.mcp_servers[0].headers = {{"Authorization", "Bearer ${env.TOKEN}"}};
        crew.mcp_servers[0].call_timeout_ms = 5'000;
    }
};

ScriptedHttp::Answer json_answer(const HttpRequest& request, std::string_view result) {
    const Value id = *json_of(request.body).find("id");
    return {200, {{"content-type", "application/json"}}, rpc_result(id, json_of(result)), HttpEndKind::complete, {}};
}

std::string method_of(const HttpRequest& request) {
    if (request.body.empty()) return request.method;
    const Value body = json_of(request.body);
    const Value* method = body.find("method");
    return method == nullptr ? "answer" : method->as_string();
}

constexpr const char* web_tools = R"({"tools":[
    {"name":"sql","inputSchema":{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}}}}},
    {"name":"bad","inputSchema":{"type":"object","properties":{"x":{"type":"number","x-mcp-header":"X"}}}},
    {"name":"naïve","inputSchema":{"type":"object"}}]})";

}  // namespace

TEST_CASE("a stateless server gets its headers with every request and keeps no session") {
    HttpWorld world;
    world.http.answer = [](const HttpRequest& request) -> ScriptedHttp::Answer {
        const std::string method = method_of(request);
        if (method == "server/discover") {
            return json_answer(request, R"({"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}})");
        }
        if (method == "tools/list") return json_answer(request, web_tools);
        return json_answer(request, R"({"resultType":"complete","content":[{"type":"text","text":"rows"}]})");
    };
    const Result<McpServerInfo> info = world.info();
    REQUIRE_MESSAGE(info.ok(), info.error().message);
    REQUIRE(info->tools.size() == 2);
    CHECK(info->tools[1].name == "naïve");
    CHECK(world.text("sql", R"({"region":"Zürich","deep":{"n":42}})") == "rows");
    const HttpRequest& sent = world.http.requests.back();
    CHECK(sent.method == "POST");
    CHECK(sent.url == "https://example.test/mcp");
    CHECK(header_of(sent, "Authorization") == "Bearer tok-123456");
    CHECK(header_of(sent, "Accept") == "application/json, text/event-stream");
    CHECK(header_of(sent, "MCP-Protocol-Version") == "2026-07-28");
    CHECK(header_of(sent, "Mcp-Method") == "tools/call");
    CHECK(header_of(sent, "Mcp-Name") == "sql");
    CHECK(header_of(sent, "Mcp-Param-Region") == "=?base64?WsO8cmljaA==?=");
    CHECK(header_of(sent, "Mcp-Param-N") == "42");
    const Value body = json_of(sent.body);
    const Value* meta = body.find("params")->find("_meta");
    REQUIRE(meta != nullptr);
    CHECK(*meta->find("io.modelcontextprotocol/protocolVersion") == Value("2026-07-28"));
    CHECK(meta->find("io.modelcontextprotocol/clientInfo") != nullptr);
    CHECK(meta->find("io.modelcontextprotocol/clientCapabilities") != nullptr);
    CHECK(world.text("naïve") == "rows");
    CHECK(header_of(world.http.requests.back(), "Mcp-Name") == "=?base64?bmHDr3Zl?=");
    const std::size_t sent_before = world.http.requests.size();
    world.close();
    CHECK(world.http.requests.size() == sent_before);
}

TEST_CASE("a server with sessions is initialised, again when it has forgotten the session, and told the end") {
    HttpWorld world;
    int sessions = 0;
    bool forget = false;
    world.http.answer = [&](const HttpRequest& request) -> ScriptedHttp::Answer {
        const std::string method = method_of(request);
        if (method == "initialize") {
            ScriptedHttp::Answer answer = json_answer(
                request, R"({"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"w"}})");
            answer.headers.emplace_back("mcp-session-id", "s" + std::to_string(++sessions));
            return answer;
        }
        if (method == "server/discover") return {400, {}, "Bad Request: no session", HttpEndKind::complete, {}};
        if (header_of(request, "Mcp-Session-Id") != "s" + std::to_string(sessions) || std::exchange(forget, false)) {
            return {404, {}, "no such session", HttpEndKind::complete, {}};
        }
        if (method == "tools/list") return json_answer(request, web_tools);
        if (method == "tools/call") {
            const std::string body =
                "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\r\n\r\n"
                ": still busy\r\n\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"ping\"}\n\n"
                "data: {\"jsonrpc\":\"2.0\",\"id\":" +
                to_json(*json_of(request.body).find("id")) +
                ",\ndata: \"result\":{\"content\":[{\"type\":\"text\",\"text\":\"streamed\"}]}}\n\n";
            return {200, {{"content-type", "text/event-stream; charset=utf-8"}}, body, HttpEndKind::complete, {}};
        }
        return {202, {}, "", HttpEndKind::complete, {}};
    };
    const Result<McpServerInfo> info = world.info();
    REQUIRE_MESSAGE(info.ok(), info.error().message);
    CHECK(info->protocol_version == "2025-06-18");
    CHECK(info->tools.size() == 3);
    CHECK(world.text("sql") == "streamed");
    world.loop.restart();
    world.loop.run();
    CHECK(method_of(world.http.requests.back()) == "answer");
    CHECK(header_of(world.http.requests.back(), "Mcp-Session-Id") == "s1");
    CHECK(header_of(world.http.requests.back(), "MCP-Protocol-Version") == "2025-06-18");
    CHECK(header_of(world.http.requests.back(), "Mcp-Method").empty());
    ++sessions;
    std::optional<Result<McpToolResult>> first;
    std::optional<Result<McpToolResult>> second;
    world.ask(0, "sql", "{}", first);
    world.ask(0, "sql", "{}", second);
    world.run_until([&] { return first && second; });
    REQUIRE_MESSAGE(first->ok(), first->error().message);
    REQUIRE_MESSAGE(second->ok(), second->error().message);
    CHECK(sessions == 3);
    world.close();
    CHECK(world.http.requests.back().method == "DELETE");
    CHECK(header_of(world.http.requests.back(), "Mcp-Session-Id") == "s3");
}

TEST_CASE("what goes wrong on the way to a server is said") {
    HttpWorld world;
    ScriptedHttp::Answer answer;
    world.http.answer = [&answer](const HttpRequest&) { return answer; };
    answer = {0, {}, "", HttpEndKind::connect_failed, "cannot connect to example.test: connection refused"};
    CHECK(world.info().error().message == "MCP server \"web\": cannot connect to example.test: connection refused");
    answer = {401, {}, "", HttpEndKind::complete, ""};
    CHECK(world.info().error().message ==
          "MCP server \"web\": answered with status 401, so it wants other credentials");
    answer = {500, {}, "<html>oops</html>", HttpEndKind::complete, ""};
    CHECK(world.info().error().message == "MCP server \"web\": answered with status 500: <html>oops</html>");
    answer = {200, {{"content-type", "text/event-stream"}}, ": nothing\n\n", HttpEndKind::complete, ""};
    CHECK(world.info().error().message == "MCP server \"web\": answered with status 200 and nothing that is an answer");
    answer = {
        400, {}, R"({"jsonrpc":"2.0","error":{"code":-32020,"message":"Header mismatch"}})", HttpEndKind::complete, ""};
    CHECK(world.info().error().message == "MCP server \"web\": error -32020: Header mismatch");
}

// ---- the words themselves ----

TEST_CASE("how bytes are split decides nothing about lines and events") {
    const unsigned seed = std::random_device{}();
    MESSAGE("seed ", seed);
    std::mt19937 random(seed);
    const std::vector<std::string> pieces = {"data: a", "data:b", "\n",     "\r\n", "\r", "\n\n",         ": c",
                                             "id: 1",   "data",   "{\"x\"", " ",    "ü",  "\xEF\xBB\xBF", "event: e"};
    const auto lines_of = [](const std::string& text, const std::vector<std::size_t>& cuts) {
        LineReader reader(20);
        std::vector<std::string> lines;
        std::size_t at = 0;
        for (const std::size_t cut : cuts) {
            const bool goes_on = reader.feed(std::string_view(text).substr(at, cut - at));
            while (std::optional<std::string> line = reader.next()) lines.push_back(*line);
            if (!goes_on) return lines.push_back("too long"), lines;
            at = cut;
        }
        return lines;
    };
    const auto events_of = [](const std::string& text, const std::vector<std::size_t>& cuts) {
        EventStreamReader reader(40);
        std::vector<std::string> events;
        std::size_t at = 0;
        for (const std::size_t cut : cuts) {
            const bool goes_on = reader.feed(std::string_view(text).substr(at, cut - at));
            while (std::optional<std::string> event = reader.next()) events.push_back(*event);
            if (!goes_on) return events.push_back("too long"), events;
            at = cut;
        }
        reader.end();
        while (std::optional<std::string> event = reader.next()) events.push_back(*event);
        return events;
    };
    for (int round = 0; round < 500; ++round) {
        std::string text;
        for (std::size_t i = random() % 25; i > 0; --i) text += pieces[random() % pieces.size()];
        std::vector<std::size_t> cuts;
        for (std::size_t at = 0; at < text.size(); ++at) {
            if (random() % 3 == 0) cuts.push_back(at);
        }
        cuts.push_back(text.size());
        CHECK(lines_of(text, cuts) == lines_of(text, {text.size()}));
        CHECK(events_of(text, cuts) == events_of(text, {text.size()}));
    }
}

TEST_CASE("a message that is cut anywhere is no message, and whatever reads as one is") {
    const std::string good = R"({"jsonrpc":"2.0","id":3,"result":{"content":[{"type":"text","text":"ü"}]}})";
    REQUIRE(parse_rpc(good).ok());
    CHECK(parse_rpc(good)->front().id == Value(3));
    for (std::size_t size = 0; size < good.size(); ++size) CHECK_FALSE(parse_rpc(good.substr(0, size)).ok());
    CHECK(parse_rpc("[" + good + "," + good + "]")->size() == 2);
    for (const char* bad :
         {"3", "null", "[]", "[3]", "{}", R"({"id":[],"result":1})", R"({"method":3})", R"({"id":1,"error":3})"}) {
        CHECK_MESSAGE(!parse_rpc(bad).ok(), bad);
    }
    CHECK(valid_utf8("a\xff\xc3\xbc\xe2\x82") == "a\uFFFDü\uFFFD\uFFFD");
}

// ---- servers that others have written ----

TEST_CASE("the reference servers answer") {
    const char* modules = std::getenv("STELE_NODE_MODULES");
    if (modules == nullptr) {
        MESSAGE("skipped: STELE_NODE_MODULES names no folder with the servers of tests/mcp_servers");
        return;
    }
    const fs::path servers = fs::path(modules) / "@modelcontextprotocol";
    World world({"everything", "filesystem", "memory"});
    for (McpServerSpec& server : world.crew.mcp_servers) {
        server.command = "node";
        server.args = {(servers / ("server-" + server.name) / "dist" / "index.js").string()};
    }
    world.crew.mcp_servers[1].args.push_back(world.folder.path.string());
    world.crew.mcp_servers[2].environment = {{"MEMORY_FILE_PATH", (world.folder.path / "memory.jsonl").string()}};
    world.folder.write("note.txt", "left here\n");

    const Result<McpServerInfo> everything = world.info(0);
    REQUIRE_MESSAGE(everything.ok(), everything.error().message);
    CHECK(everything->tools.size() > 5);
    CHECK(has(world.text("echo", R"({"message":"round trip"})", 0), "round trip"));
    CHECK(has(world.text("get-sum", R"({"a":2,"b":40})", 0), "42"));
    const Result<McpToolResult> structured = world.call("get-structured-content", R"({"location":"Chicago"})", 0);
    REQUIRE_MESSAGE(structured.ok(), structured.error().message);
    CHECK(structured->data.is_object());
    const Result<McpToolResult> wrong = world.call("echo", R"({"message":7})", 0);
    CHECK((!wrong.ok() || wrong->is_error));

    const std::string note = (world.folder.path / "note.txt").string();
    CHECK(has(world.text("read_text_file", to_json(Value::object({{"path", note}})), 1), "left here"));
    const Result<McpToolResult> outside = world.call("read_text_file", R"({"path":"/etc/passwd"})", 1);
    CHECK((!outside.ok() || outside->is_error));

    world.text("create_entities", R"({"entities":[{"name":"Stele","entityType":"stone","observations":["old"]}]})", 2);
    CHECK(has(world.text("read_graph", "{}", 2), "Stele"));
    world.close();
}

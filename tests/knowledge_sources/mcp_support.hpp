// Small MCP servers in Python and a scripted HTTP client, for the tests of what calls tools.
#pragma once

#include <doctest/doctest.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "knowledge_sources/http_client.hpp"
#include "knowledge_sources/mcp_client.hpp"
#include "knowledge_sources/secrets.hpp"

namespace stele::test {

namespace fs = std::filesystem;

/// A folder that goes with its test.
struct ScratchFolder {
    fs::path path;
    ScratchFolder() {
        std::string name = (fs::temp_directory_path() / "stele_tools_XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~ScratchFolder() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
    void write(const std::string& name, const std::string& text) const {
        std::ofstream(path / name, std::ios::binary) << text;
    }
    [[nodiscard]] std::string read(const std::string& name) const {
        std::ifstream file(path / name, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    }
};

inline Value json_of(std::string_view text) {
    Result<Value> value = parse_json(text);
    REQUIRE_MESSAGE(value.ok(), text);
    return *value;
}

inline bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// True when no child of this process lives or waits to be reaped.
inline bool no_child_left() {
    for (int i = 0; i < 100; ++i) {
        if (::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

inline Secrets no_secrets() {
    Result<Secrets> secrets = Secrets::load("/nonexistent", [](const char* name) -> const char* {
        return std::string_view(name) == "TOKEN" ? "tok-123456" : nullptr;
    });
    REQUIRE(secrets.ok());
    return std::move(*secrets);
}

/// A server whose first argument is its kind, or several of them joined by "+".
inline constexpr const char* python_server = R"py(
import json, os, signal, sys, time

kinds = sys.argv[1].split("+")
modern, legacy = "modern" in kinds, "legacy" in kinds
calls = 0
initialized = False

def send(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()

def result(request, value):
    if modern and "_meta" in request.get("params", {}):
        value["resultType"] = value.get("resultType", "complete")
    send({"jsonrpc": "2.0", "id": request["id"], "result": value})

def error(request, code, message, data=None):
    send({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message, "data": data}})

names = ["echo", "fail", "die", "silent", "structured", "env", "ask", "pid", "parts", "refuse", "chatty"]
tools = [{"name": n, "description": "Tool " + n, "inputSchema": {"type": "object"}} for n in names]
tools[0]["inputSchema"] = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
tools[0]["annotations"] = {"readOnlyHint": True}

def text(request, words):
    result(request, {"content": [{"type": "text", "text": words}]})

def call(request):
    global calls
    calls += 1
    name, arguments = request["params"]["name"], request["params"]["arguments"]
    if name == "echo": text(request, arguments["text"])
    elif name == "fail": result(request, {"content": [{"type": "text", "text": "no luck"}], "isError": True})
    elif name == "die":
        print("first words", file=sys.stderr)
        print("disk on fire", file=sys.stderr)
        sys.exit(3)
    elif name == "silent": pass
    elif name == "structured":
        result(request, {"content": [], "structuredContent": {"n": [1, 2.5], "calls": calls}})
    elif name == "env": text(request, json.dumps(dict(os.environ)))
    elif name == "ask": result(request, {"resultType": "input_required", "inputRequests": {}})
    elif name == "pid": text(request, str(os.getpid()))
    elif name == "parts":
        result(request, {"content": [
            {"type": "text", "text": "one"}, {"type": "image", "mimeType": "image/png", "data": "AAAA"},
            {"type": "resource", "resource": {"uri": "file:///x", "mimeType": "text/plain", "text": "t"}},
            {"type": "text", "text": "two"}]})
    elif name == "refuse": error(request, -32602, "bad arguments")
    elif name == "chatty":
        send({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}})
        send({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x"}})
        send({"jsonrpc": "2.0", "id": 9999, "result": {"content": []}})
        send({"jsonrpc": "2.0", "id": "abc", "result": {"content": []}})
        send({"jsonrpc": "2.0", "id": "p1", "method": "ping"})
        pong = json.loads(sys.stdin.readline())
        send({"jsonrpc": "2.0", "id": 7, "method": "sampling/createMessage", "params": {}})
        refusal = json.loads(sys.stdin.readline())
        text(request, json.dumps([pong, refusal]))
        text(request, "a second answer to the same")

def listed(request):
    if "circle" in kinds: return result(request, {"tools": [], "nextCursor": "again"})
    at = int(request.get("params", {}).get("cursor", "0"))
    page = {"tools": tools[at:at + 4]}
    if at + 4 < len(tools): page["nextCursor"] = str(at + 4)
    result(request, page)

if "stubborn" in kinds: signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "slow" in kinds: time.sleep(2.3)
if "hang" in kinds:
    print("waiting for a licence", file=sys.stderr, flush=True)
    time.sleep(60)
while True:
    line = sys.stdin.readline()
    if not line:
        if "stubborn" in kinds: time.sleep(60)
        break
    request = json.loads(line)
    method = request.get("method")
    if "garbage" in kinds: print("Starting up, please wait...\n\n{\"not\": \"rpc\"}\n[1,", flush=True)
    if "huge" in kinds:
        sys.stdout.write("x" * (17 << 20))
        sys.stdout.flush()
    if method == "notifications/initialized": initialized = True
    elif method == "notifications/cancelled": open("cancelled", "a").write(line)
    elif "id" not in request: pass
    elif method == "server/discover" and modern:
        if "future" in kinds: error(request, -32022, "no", {"supported": ["2030-01-01"]})
        else:
            result(request, {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}},
                             "serverInfo": {"name": "py", "version": "7"}})
    elif method == "server/discover" and "dies" in kinds: sys.exit(1)
    elif method == "server/discover" and "mute" in kinds: pass
    elif method == "initialize" and legacy:
        wanted = request["params"]["protocolVersion"]
        if "strict" in kinds and wanted != "2025-06-18": error(request, -32602, "Unsupported protocol version")
        else:
            result(request, {"protocolVersion": "1999-01-01" if "ancient" in kinds else wanted,
                             "capabilities": {"tools": {}}, "serverInfo": {"name": "py", "version": "7"}})
    elif modern and request["params"].get("_meta", {}).get("io.modelcontextprotocol/protocolVersion") != "2026-07-28":
        error(request, -32022, "every request must say its version", {"supported": ["2026-07-28"]})
    elif legacy and not modern and not initialized: error(request, -32600, "not initialized")
    elif method == "tools/list": listed(request)
    elif method == "tools/call": call(request)
    else: error(request, -32601, "unknown method " + str(method))
)py";

/// Answers each request from a function of the test's, in small pieces.
class ScriptedHttp : public HttpClient {
public:
    struct Answer {
        int status = 200;
        HttpHeaders headers;
        std::string body;
        HttpEndKind end = HttpEndKind::complete;
        std::string message;
    };

    explicit ScriptedHttp(boost::asio::io_context& loop) : loop_(loop) {}

    std::function<Answer(const HttpRequest&)> answer;
    std::vector<HttpRequest> requests;
    int cancelled = 0;

    std::unique_ptr<HttpExchange> start(HttpRequest request, HttpEvents events) override {
        auto state = std::make_shared<State>();
        state->events = std::move(events);
        requests.push_back(request);
        boost::asio::post(loop_, [this, state, request = std::move(request)] { run(*state, answer(request)); });
        return std::make_unique<Exchange>(*this, std::move(state));
    }

private:
    struct State {
        HttpEvents events;
        bool is_over = false;
    };
    struct Exchange : HttpExchange {
        Exchange(ScriptedHttp& http_, std::shared_ptr<State> state_) : http(http_), state(std::move(state_)) {}
        ~Exchange() override { cancel(); }
        void cancel() override {
            if (!std::exchange(state->is_over, true)) ++http.cancelled;
        }
        ScriptedHttp& http;
        std::shared_ptr<State> state;
    };

    static void run(State& state, const Answer& answer) {
        if (state.is_over) return;
        // Kept here: whoever is told may throw the exchange away.
        const HttpEvents events = std::move(state.events);
        HttpEnd end;
        end.kind = answer.end;
        end.message = answer.message;
        if (answer.status > 0) {
            HttpHead head;
            head.status = answer.status;
            head.headers = answer.headers;
            if (events.head) events.head(head);
            for (std::size_t at = 0; at < answer.body.size(); at += 7) {
                if (state.is_over) return;
                if (events.data && !events.data(std::string_view(answer.body).substr(at, 7))) {
                    end.kind = HttpEndKind::stopped;
                    break;
                }
            }
        }
        if (std::exchange(state.is_over, true)) return;
        events.finished(end);
    }

    boost::asio::io_context& loop_;
};

inline std::string header_of(const HttpRequest& request, std::string_view name) {
    for (const auto& [known, value] : request.headers) {
        if (known == name) return value;
    }
    return {};
}

}  // namespace stele::test

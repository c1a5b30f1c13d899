#include "runtime/trace_export.hpp"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <sstream>

#include "runtime/crew_loader.hpp"
#include "tests/scheduler/simulation.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

const char* const crew_text = R"(
stele: 1
crew: test
models: {m: {model: "ollama/small"}}
regions:
  tasks: {policy: append_only, entry: {name: string}}
  done:  {policy: append_only, entry: {name: string}}
sources:
  worker:
    kind: process
    command: [worker]
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {done: [insert]}}
    limits: {attempts: 2, backoff: 1s}
  checker:
    kind: process
    command: [checker]
    when: [{each: done as d}]
    may: {read: [done]}
)";

struct Traced {
    Traced() : loaded(load_crew(crew_text, "crew.yaml", "/crews", {})), world(*loaded.crew) {
        world.script("worker", [](const Call& call) {
            const bool fails = call.activation.attempt == 1 && call.bound(0).id.number == 2;
            Answer made = fails ? failure("no \"luck\" \x1b[2J") : answer({insert("done", R"({"name":"x"})")}, 500);
            ModelAsk ask;
            ask.reserve.tokens = 10;
            ask.spent.tokens = 5;
            made.asks = {ask};
            return made;
        });
        world.script("checker", [](const Call&) { return answer({}, 5); });
        world.commit({insert("tasks", R"({"name":"a"})"), insert("tasks", R"({"name":"b"})"),
                      insert("tasks", R"({"name":"c"})")});
        world.start_run();
        world.run();
    }
    Value exported(Status (*write)(const ExportedBoard&, const RecordWalk&, std::ostream&)) {
        const ExportedBoard board{"board \"one\"", World::family(), loaded.crew.get(), "0"};
        std::ostringstream out;
        const Status written = write(
            board,
            [this](const std::function<bool(const LoggedRecord&)>& visit) -> Status {
                for (const LoggedRecord& logged : world.log) {
                    if (!visit(logged)) break;
                }
                return Done{};
            },
            out);
        REQUIRE(written.ok());
        Result<Value> value = parse_json(out.str());
        REQUIRE_MESSAGE(value.ok(), out.str());
        return *value;
    }
    LoadedCrew loaded;
    World world;
};

std::string text_at(const Value& value, const char* field) {
    const Value* found = value.find(field);
    return found != nullptr && found->is_string() ? found->as_string() : std::string();
}
std::int64_t number_at(const Value& value, const char* field) {
    const Value* found = value.find(field);
    REQUIRE(found != nullptr);
    return found->as_int();
}

}  // namespace

TEST_CASE("the trace has each attempt as a slice, none over another in its row, and an arrow for each wake") {
    Traced traced;
    const Value trace = traced.exported(write_chrome_trace);
    std::map<std::int64_t, std::vector<std::pair<std::int64_t, std::int64_t>>> rows;
    std::map<std::int64_t, int> arrows;
    std::size_t slices = 0;
    std::size_t failed = 0;
    for (const Value& event : trace.find("traceEvents")->as_array()) {
        const std::string phase = text_at(event, "ph");
        CHECK(std::set<std::string>{"M", "X", "i", "b", "e", "s", "f"}.count(phase) == 1);
        if (phase == "X") {
            const std::int64_t from = number_at(event, "ts");
            rows[number_at(event, "tid")].emplace_back(from, from + number_at(event, "dur"));
            slices += text_at(event, "name").find('#') != std::string::npos ? 1 : 0;
            failed += text_at(*event.find("args"), "outcome") == "failed" ? 1 : 0;
        }
        if (phase == "s") arrows[number_at(event, "id")] += 1;
        if (phase == "f") arrows[number_at(event, "id")] += 10;
    }
    std::size_t attempts = traced.world.wakes("worker") + traced.world.wakes("checker");
    CHECK(slices == attempts);
    CHECK(failed == 1);
    for (auto& [tid, row] : rows) {
        std::sort(row.begin(), row.end());
        for (std::size_t i = 1; i < row.size(); ++i) CHECK(row[i - 1].second <= row[i].first);
    }
    CHECK(arrows.size() >= 6);
    for (const auto& [id, ends] : arrows) CHECK(ends == 11);
}

TEST_CASE("the spans are a tree under the run, with links for wakes and the conventions' names") {
    Traced traced;
    const Value trace = traced.exported(write_otlp);
    const Value& scope = trace.find("resourceSpans")->as_array()[0].find("scopeSpans")->as_array()[0];
    std::map<std::string, std::size_t> names;
    std::set<std::string> ids;
    std::size_t links = 0;
    std::size_t errors = 0;
    const Value::Array& spans = scope.find("spans")->as_array();
    for (const Value& span : spans) {
        CHECK(ids.insert(text_at(span, "spanId")).second);
        CHECK(text_at(span, "traceId").size() == 32);
        CHECK(text_at(span, "spanId").size() == 16);
        ++names[text_at(span, "name")];
        if (const Value* found = span.find("links")) links += found->as_array().size();
        errors += span.find("status") != nullptr ? 1 : 0;
    }
    for (const Value& span : spans) {
        if (span.find("parentSpanId") != nullptr) CHECK(ids.count(text_at(span, "parentSpanId")) == 1);
    }
    CHECK(names["invoke_agent worker"] == traced.world.wakes("worker"));
    CHECK(names["chat small"] + names["chat m"] == traced.world.wakes("worker"));
    CHECK(names["create_memory done"] == 3);
    CHECK(names["invoke_workflow test"] >= 1);
    CHECK(links == 3);  // the checker's; what came from outside has no span
    CHECK(errors == 1);
}

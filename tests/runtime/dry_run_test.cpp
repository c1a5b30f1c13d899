// What `stele run --dry` works out: rules fire, what would start is shown as it would be sent, and
// nothing is.
#include "runtime/dry_run.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "runtime/crew_loader.hpp"

using namespace stele;

namespace {

std::shared_ptr<const CrewSpec> crew_of(const std::string& sources, const std::string& rest) {
    const std::string text = R"(
stele: 1
crew: dry
models:
  fast: {model: openai/gpt, max_tokens: 500, context: 100000}
prices:
  openai/gpt: {input: 3.00, output: 15.00}
regions:
  tasks: {policy: append_only, entry: {text: string}}
  notes: {policy: append_only, entry: {text: string}}
)" + rest + "sources:\n" + sources;
    const LoadedCrew loaded = load_crew(text, "crew.yaml", "/nonexistent-crew-directory", {});
    std::string problems;
    for (const CrewProblem& problem : loaded.problems) problems += to_text(problem) + "\n";
    REQUIRE_MESSAGE(loaded.crew != nullptr, problems);
    return loaded.crew;
}

const std::string writer = R"(  writer:
    kind: llm
    model: fast
    role: Writer
    goal: write notes
    prompt: Write a note.
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {notes: [insert]}}
)";
const std::string counter = R"(  count:
    kind: process
    command: [touch, /nonexistent-crew-directory/it-was-run]
    when: [{each: notes as n}]
    may: {read: [notes], write: {tasks: [insert]}}
)";
const std::string copier = R"(  copier:
    kind: rule
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {notes: [insert]}}
    then: [{insert: notes, entry: {text: $t.text}}]
)";
const std::string two_tasks = "seed:\n  tasks: [{text: \"the first of them\"}, {text: \"the second of them\"}]\n";

DryReport report_of(const std::shared_ptr<const CrewSpec>& crew) {
    Result<DryReport> report = dry_run(crew, TimeMs{1'700'000'000'000});
    REQUIRE_MESSAGE(report.ok(), report.error().message);
    return std::move(*report);
}

}  // namespace

TEST_CASE("a model's first call is shown as it would be sent, with what it would take at most") {
    const auto crew = crew_of(writer, two_tasks);
    const DryReport report = report_of(crew);
    REQUIRE(report.starts.size() == 2);
    CHECK(report.rules_fired == 0);
    Amounts sum;
    for (std::size_t i = 0; i < 2; ++i) {
        const DryStart& start = report.starts[i];
        CHECK(start.source == "writer");
        CHECK(start.kind == SourceKind::llm);
        CHECK(start.bound == std::vector<std::string>{"tasks/" + std::to_string(i + 1)});
        REQUIRE(start.call.request.messages.size() == 2);
        CHECK(start.call.request.messages[0].text.find("Writer") != std::string::npos);
        CHECK(start.call.request.messages[1].text.find(i == 0 ? "the first" : "the second") != std::string::npos);
        CHECK(start.call.model->name == "fast");
        CHECK(start.call.prompt_tokens > 0);
        CHECK(start.call.reserve.calls == 1);
        CHECK(start.call.reserve.tokens == start.call.prompt_tokens + 500);
        // 3.00 and 15.00 for a million are 3 and 15 millionths for one.
        CHECK(start.call.reserve.money_micros == static_cast<std::int64_t>(start.call.prompt_tokens) * 3 + 500 * 15);
        sum.tokens += start.call.reserve.tokens;
        sum.money_micros += start.call.reserve.money_micros;
    }
    CHECK(report.most.calls == 2);
    CHECK(report.most.tokens == sum.tokens);
    CHECK(report.most.money_micros == sum.money_micros);
    // The same crew at the same time gives the same.
    CHECK(report_of(crew).starts[0].call.request.messages[1].text == report.starts[0].call.request.messages[1].text);
}

TEST_CASE("rules fire first, and what they wrote wakes others, which are only shown") {
    const DryReport report = report_of(crew_of(copier + counter, two_tasks));
    CHECK(report.rules_fired == 2);
    REQUIRE(report.starts.size() == 2);
    for (const DryStart& start : report.starts) {
        CHECK(start.source == "count");
        CHECK(start.kind == SourceKind::process);
        CHECK(start.call.request.messages.empty());
    }
    CHECK(report.starts[0].bound == std::vector<std::string>{"notes/1"});
    CHECK(report.most == Amounts{});
}

TEST_CASE("no more starts are shown than may run at one time") {
    CHECK(report_of(crew_of(writer, two_tasks + "limits: {concurrency: 1}\n")).starts.size() == 1);
    CHECK(report_of(crew_of(writer + "    limits: {concurrency: 1}\n", two_tasks)).starts.size() == 1);
}

TEST_CASE("rules that wake each other for ever do not keep a dry run going") {
    const std::string back = R"(  back:
    kind: rule
    when: [{each: notes as n}]
    may: {read: [notes], write: {tasks: [insert]}}
    then: [{insert: tasks, entry: {text: $n.text}}]
)";
    const DryReport report = report_of(crew_of(copier + back, two_tasks));
    CHECK(report.rules_fired > 2);
    CHECK(report.rules_fired <= 10'000);
}

TEST_CASE("a run that cannot begin is an error in the dry as well") {
    // The loader refuses such a seed with its place; whatever gets past it, the board refuses.
    auto crew = std::make_shared<CrewSpec>(*crew_of(writer, two_tasks));
    crew->seed.emplace_back("tasks", Value::object({{"colour", "red"}}));
    const Result<DryReport> report = dry_run(crew, TimeMs{1});
    REQUIRE_FALSE(report.ok());
    CHECK(report.error().message.find("seed") != std::string::npos);
}

TEST_CASE("a crew without anything to do shows nothing") {
    const DryReport report = report_of(crew_of(writer, ""));
    CHECK(report.starts.empty());
    CHECK(report.rules_fired == 0);
    CHECK(report.most == Amounts{});
}

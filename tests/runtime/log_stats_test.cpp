#include "runtime/log_stats.hpp"

#include <doctest/doctest.h>

#include "tests/runtime/crew_world.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

const char* const crew_text = R"(
stele: 1
crew: test
regions:
  tasks: {policy: append_only, entry: {name: string}}
  done:  {policy: last_writer_wins, key: [name], entry: {name: string, n: integer}}
  alone: {policy: append_only, entry: {name: string}}
sources:
  worker:
    kind: process
    command: [worker]
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {done: [put], alone: [insert]}}
    limits: {attempts: 2, backoff: 1s}
  idler:
    kind: process
    command: [idler]
    when: [{each: tasks as t}]
    may: {read: [tasks], write: {done: [put]}}
)";

}  // namespace

TEST_CASE("what a log comes to: who did what, what failed, what wrote nothing, who writes where") {
    const CrewSpec crew = crew_from(crew_text);
    World world(crew);
    int count = 0;
    world.script("worker", [&](const Call& call) {
        if (call.activation.attempt == 1 && count == 0) return failure("once");
        ++count;
        Answer made = answer({put("done", R"({"name":"total","n":)" + std::to_string(count) + "}")}, 30);
        if (count <= 3) made.writes.push_back(put("done", R"({"name":"other","n":)" + std::to_string(count) + "}"));
        ModelAsk ask;
        ask.reserve.tokens = 10;
        ask.spent.calls = 1;
        ask.spent.tokens = 5;
        made.asks = {ask};
        return made;
    });
    world.script("idler", [](const Call&) { return answer({}); });
    std::vector<Write> tasks;
    for (int i = 0; i < 30; ++i) tasks.push_back(insert("tasks", R"({"name":"a"})"));
    world.commit(std::move(tasks));
    world.start_run();
    world.run();

    LogStats stats;
    for (const LoggedRecord& logged : world.log) stats.add(logged);
    const SourceStats& worker = stats.sources().at("worker");
    CHECK(worker.activations == 30);
    CHECK(worker.attempts == world.wakes("worker"));
    std::uint64_t failed = 0;
    for (const LoggedRecord& logged : world.of(RecordKind::result, "worker")) {
        failed += logged.record.outcome == static_cast<OutcomeCode>(OutcomeKind::failed) ? 1 : 0;
    }
    REQUIRE(failed > 0);
    CHECK(worker.outcomes.at("failed") == failed);
    CHECK(worker.outcomes.at("ok") == 30);
    CHECK(worker.commits == 30);
    CHECK(worker.writes == 33);
    CHECK(worker.idle_wakes == 0);
    CHECK(worker.spent.tokens == 150);
    CHECK(worker.time_ms >= 900);
    const SourceStats& idler = stats.sources().at("idler");
    CHECK(idler.idle_wakes == 30);
    CHECK(idler.writes == 0);
    CHECK(stats.sources().at("person").is_principal);
    CHECK(stats.sources().at("person").activations == 0);
    CHECK(stats.sources().count("system") == 0);

    const RegionStats& done = stats.regions().at("done");
    CHECK(done.added == 2);
    CHECK(done.updated == 31);
    CHECK(done.writers.at("worker") == 33);
    CHECK(stats.regions().at("tasks").writers.empty());
    CHECK(stats.hot_entries(1).at(0).id == EntryId{"done", 1});
    CHECK(stats.hot_entries(1).at(0).versions == 30);
    CHECK(stats.advice("done", &crew) == "100 % of writes come from worker: declare it single_writer");
    // Only one source may write it, or nobody does.
    CHECK_FALSE(stats.advice("alone", &crew));
    CHECK_FALSE(stats.advice("tasks", &crew));
    CHECK_FALSE(stats.advice("done", nullptr));
}

TEST_CASE("a refused commit counts as a conflict or as refused, by its rule") {
    LogStats stats;
    LoggedRecord logged;
    logged.position = {7};
    logged.record.kind = RecordKind::commit;
    logged.record.author = "worker";
    logged.record.activation = {5};
    logged.verdict.accepted = false;
    logged.verdict.refusals = {{1, RefusalRule::schema, "no", {}}, {2, RefusalRule::conflict, "no", {}}};
    stats.add(logged);
    logged.verdict.refusals = {{1, RefusalRule::grant, "no", {}}};
    stats.add(logged);
    CHECK(stats.sources().at("worker").conflicts == 1);
    CHECK(stats.sources().at("worker").refused == 1);
    CHECK(stats.sources().at("worker").commits == 0);
    CHECK(stats.regions().empty());
}

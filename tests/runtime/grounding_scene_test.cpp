// A synthesiser that cites churn data nobody surfaced: refused, flagged, or turned into an open question.
#include <doctest/doctest.h>

#include "runtime/crew_loader.hpp"
#include "tests/runtime/crew_world.hpp"

using namespace stele;
using namespace stele::simulation;

namespace {

std::string crew_text(const std::string& grounded) {
    return R"(
stele: 1
crew: board_memo
inputs:
  quarter: {type: string, default: Q3 2026}
models: {m: {model: "ollama/small"}}
regions:
  evidence:       {policy: append_only, entry: {topic: string, text: string, value: number?}}
  open_questions: {policy: set_union, entry: {text: string}}
  memo:
    policy: append_only
    entry: {text: string, confidence: number?}
    grounded: )" +
           grounded + R"(
sources:
  synthesiser:
    kind: process
    command: [synthesiser]
    when: [{count: evidence, is: {gte: 2}}]
    view: [evidence]
    may: {read: [evidence], write: {memo: [insert]}}
    limits: {attempts: 3, backoff: 1s}
)";
}

const char* const invented = "In Q3 2026 prices rose by 3 percent, and churn rose to 12.4 %";
const char* const grounded_memo = "In Q3 2026 prices rose by 3 percent; 40 of 1,000 seats are idle (4 %)";

struct Scene : World {
    explicit Scene(const std::string& grounded) : World(crew_from(crew_text(grounded))) {
        script("synthesiser", [this](const Call& call) {
            previous.push_back(call.activation.previous);
            const bool told = !call.activation.previous.empty();
            Write memo = insert("memo", to_json(Value::object({{"text", Value(told ? grounded_memo : invented)}})));
            memo.cites = {{{"evidence", 1}, 0}};
            return answer({memo});
        });
        commit({insert("evidence", R"({"topic":"pricing","text":"prices rose by 3 %"})"),
                insert("evidence", R"({"topic":"seats","text":"40 seats idle","value":1000})")});
        start_run();
        run();
    }
    ~Scene() {
        const std::optional<std::string> difference = replay_difference();
        CHECK_MESSAGE(!difference, difference.value_or(""));
    }
    std::vector<std::vector<Refusal>> previous;
};

}  // namespace

TEST_CASE("refuse: the memo with the figure nobody surfaced is refused, its author is told, and says less") {
    Scene scene("true");
    CHECK(scene.stopped_by() == "quiescence");
    REQUIRE(scene.previous.size() == 2);
    REQUIRE(scene.previous[1].size() == 1);
    CHECK(scene.previous[1][0].rule == RefusalRule::phantom);
    CHECK(scene.previous[1][0].message == "number \"12.4 %\" at /text is in nothing that synthesiser had seen");
    CHECK(scene.contents("memo") == std::vector<std::string>{to_json(Value::object({{"text", Value(grounded_memo)}}))});
}

TEST_CASE("flag: the memo stands, and the phantom is named with its author and place") {
    Scene scene("{phantoms: flag}");
    CHECK(scene.contents("memo").size() == 1);
    CHECK(scene.contents("phantoms") ==
          std::vector<std::string>{
              R"({"author":"synthesiser","entry":"memo/1","kind":"number","path":"/text","text":"12.4 %"})"});
    // The record that names it follows the commit at once, and cites it.
    const std::vector<LoggedRecord> ours = scene.of(RecordKind::commit, "system");
    REQUIRE(ours.size() == 1);
    CHECK(scene.log[ours[0].position.number - 2].record.author == "synthesiser");
    CHECK(ours[0].record.writes[0].cites == std::vector<Cite>{{{"memo", 1}, 0}});
}

TEST_CASE("question: the phantom becomes an open question") {
    Scene scene("{phantoms: question, into: open_questions}");
    CHECK(scene.contents("memo").size() == 1);
    CHECK(
        scene.contents("open_questions") ==
        std::vector<std::string>{
            R"({"text":"What is the source of memo/1? number \"12.4 %\" at /text is in nothing that synthesiser had seen"})"});
}

TEST_CASE("only the fields that are named are checked, and what comes from outside is not") {
    Scene scene("{fields: [confidence]}");
    CHECK(scene.previous.size() == 1);
    CHECK(scene.contents("memo").size() == 1);
    const LoggedRecord outside = scene.commit({insert("memo", R"({"text":"77.7 %","confidence":0.3})")});
    CHECK(outside.verdict.accepted);
    CHECK(outside.verdict.refusals.empty());
}

TEST_CASE("a crash between a phantom and its flag loses neither and doubles neither") {
    const std::string text = crew_text("{phantoms: flag}");
    World world(crew_from(text));
    world.script("synthesiser", [](const Call&) {
        return answer({insert("memo", to_json(Value::object({{"text", Value(invented)}})))});
    });
    world.commit(
        {insert("evidence", R"({"topic":"a","text":"x"})"), insert("evidence", R"({"topic":"b","text":"y"})")});
    world.start_run();
    while (world.contents("memo").empty()) REQUIRE((world.fold_next() || world.end_some_attempt()));
    CHECK(world.contents("phantoms").empty());
    world.crash();
    world.run();
    // "Q3", "2026", "3", "12.4 %": none of it was shown.
    const std::size_t flagged = world.contents("phantoms").size();
    CHECK(flagged >= 2);
    CHECK(world.of(RecordKind::commit, "system").size() == 1);
    world.crash();
    world.run();
    CHECK(world.contents("phantoms").size() == flagged);
}

TEST_CASE("a crew that grounds what cannot be grounded is told so") {
    const auto problems_of = [](const std::string& grounded) {
        const LoadedCrew loaded = load_crew(crew_text(grounded), "crew.yaml", "/crews", {});
        std::string problems;
        for (const CrewProblem& problem : loaded.problems) problems += to_text(problem) + "\n";
        CHECK(loaded.crew == nullptr);
        return problems;
    };
    CHECK(problems_of("{phantoms: drop}").find("\"refuse\", \"flag\" or \"question\"") != std::string::npos);
    CHECK(problems_of("{phantoms: question}").find("\"into\"") != std::string::npos);
    CHECK(problems_of("{phantoms: question, into: evidence}").find("take {text}") != std::string::npos);
    CHECK(problems_of("{phantoms: question, into: open_question}").find("did you mean") != std::string::npos);
    CHECK(problems_of("{fields: [texts]}").find("texts") != std::string::npos);
    CHECK(problems_of("maybe").find("grounded") != std::string::npos);
}

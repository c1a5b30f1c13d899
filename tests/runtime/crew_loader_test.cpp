// The crew loader: everything a crew may say arrives in the CrewSpec, and everything it may get
// wrong is told with its place. The wrong crews are files of their own in wrong_crews/.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "runtime/crew_check.hpp"
#include "runtime/crew_loader.hpp"
#include "scheduler/control.hpp"
#include "scheduler/pattern.hpp"

using namespace stele;

namespace {

const std::filesystem::path tests_directory = std::filesystem::path(STELE_PROJECT_DIR) / "tests" / "runtime";

std::string read_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

LoadedCrew load(const std::string& text, const std::vector<CrewInput>& inputs = {}) {
    return load_crew(text, "crew.yaml", "/crews", inputs);
}

std::string listed(const std::vector<CrewProblem>& problems) {
    std::string out;
    for (const CrewProblem& problem : problems) out += to_text(problem) + "\n";
    return out;
}

std::vector<CrewProblem> errors_of(const LoadedCrew& loaded) {
    std::vector<CrewProblem> errors;
    for (const CrewProblem& problem : loaded.problems) {
        if (!problem.warning) errors.push_back(problem);
    }
    return errors;
}

std::shared_ptr<const CrewSpec> good(const std::string& text, const std::vector<CrewInput>& inputs = {}) {
    const LoadedCrew loaded = load(text, inputs);
    REQUIRE_MESSAGE(loaded.crew != nullptr, listed(loaded.problems));
    return loaded.crew;
}

const std::string regions_text = R"(
regions:
  notes: {policy: append_only, entry: {text: string, score: number, kind: low | high, tags: [string], by: string?}}
  plans: {policy: cas, key: [name], entry: {name: string, step: integer}, volatile: [step], help: what to do}
  links: {policy: set_union, key: [url], merge: {seen: max, from: union}, entry: {url: string, seen: integer, from: [string]}}
  report: {policy: single_writer, owner: worker, key: [name], entry: {name: string}}
  state: {policy: last_writer_wins, schema: {type: object, properties: {mood: {type: string}}}}
  hits: {policy: counter}
)";

// A crew of one source named `worker` that may do anything, with these lines of its own.
std::string crew_with(const std::string& source_lines, const std::string& rest = {}) {
    return "stele: 1\ncrew: all_of_it\n" + regions_text + R"(
sources:
  worker:
    may:
      read: [notes, plans, links, report, state, hits]
      write:
        notes: [insert, retract]
        plans: [insert, replace, retract]
        links: [add, remove, retract]
        report: [put, retract]
        state: [put, retract]
        hits: [increment, retract]
)" + source_lines +
           rest;
}

std::string process(const std::string& lines, const std::string& rest = {}) {
    return crew_with("    kind: process\n    command: [work]\n" + lines, rest);
}

Condition when(const std::string& terms) { return good(process("    when:\n" + terms))->sources[0].when; }

Filter where(const std::string& tests) {
    const Condition condition = when("      - each: plans as q\n      - exists: notes\n        where: " + tests + "\n");
    return condition.terms[1].where;
}

struct Expected {
    std::string place;
    std::string fragment;
};

std::vector<Expected> expectations_of(const std::string& text) {
    const std::string mark = "# expect: ";
    std::vector<Expected> expected;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line) && line.starts_with(mark);) {
        line.erase(0, mark.size());
        const std::size_t end = line.find(": ");
        REQUIRE(end != std::string::npos);
        expected.push_back({line.substr(0, end), line.substr(end + 2)});
    }
    return expected;
}

}  // namespace

TEST_CASE("every wrong crew reports exactly the problems its first lines expect, each at its place") {
    std::size_t files = 0;
    for (const auto& file : std::filesystem::directory_iterator(tests_directory / "wrong_crews")) {
        if (file.path().extension() != ".yaml") continue;
        ++files;
        CAPTURE(file.path().string());
        const std::vector<Expected> expected = expectations_of(read_file(file.path()));
        const LoadedCrew loaded = load_crew_file(file.path().string(), {});
        const std::vector<CrewProblem> errors = errors_of(loaded);
        CHECK(loaded.crew == nullptr);
        REQUIRE_MESSAGE(errors.size() == expected.size(), listed(errors));
        REQUIRE_FALSE(expected.empty());
        for (std::size_t i = 0; i < errors.size(); ++i) {
            const SourcePlace place = errors[i].place;
            CHECK(std::to_string(place.line) + ":" + std::to_string(place.column) == expected[i].place);
            CHECK_MESSAGE(errors[i].message.find(expected[i].fragment) != std::string::npos, errors[i].message,
                          " has no ", expected[i].fragment);
        }
    }
    CHECK(files >= 44);
}

TEST_CASE("a crew with ten mistakes reports all ten") {
    const LoadedCrew loaded = load_crew_file((tests_directory / "wrong_crews" / "ten_mistakes.yaml").string(), {});
    CHECK(errors_of(loaded).size() == 10);
}

TEST_CASE("the example crew of the design loads without a word") {
    const LoadedCrew loaded = load_crew_file((tests_directory / "crews" / "design_example.yaml").string(), {});
    REQUIRE_MESSAGE(loaded.crew != nullptr, listed(loaded.problems));
    CHECK_MESSAGE(loaded.problems.empty(), listed(loaded.problems));
    const CrewSpec& crew = *loaded.crew;
    CHECK(crew.name == "repo_review");
    CHECK(crew.base_directory == (tests_directory / "crews").string());
    CHECK(crew.text == read_file(tests_directory / "crews" / "design_example.yaml"));
    CHECK(crew.regions.size() == 8);
    CHECK(crew.regions[4].name == control_region_name);
    CHECK(crew.regions[5].name == scratch_region_of("churn"));
    CHECK(crew.region("open_questions")->policy == PolicyKind::set_union);
    CHECK(crew.region("open_questions")->schema.fields()[1].optional);
    CHECK(crew.region("conclusions")->owner == "reporter");
    CHECK(crew.region("conclusions")->key == std::vector<std::string>{"file"});

    const SourceSpec& churn = *crew.source("churn");
    CHECK(churn.kind == SourceKind::process);
    CHECK(churn.command ==
          std::vector<std::string>{"python3", "sources/churn.py", std::filesystem::current_path().string()});
    CHECK(churn.limits.timeout_ms == 30'000);
    CHECK(churn.limits.attempts == 2);
    CHECK(churn.when.terms[0].kind == TermKind::start);
    CHECK(churn.may.may_write("evidence", WriteOp::insert));
    CHECK_FALSE(churn.may.may_read("evidence"));

    const SourceSpec& hot_spot = *crew.source("hot_spot");
    CHECK(hot_spot.kind == SourceKind::rule);
    CHECK(hot_spot.when.variables == std::vector<std::string>{"c", "t"});
    const Term& second = hot_spot.when.terms[1];
    CHECK(second.variable == 1U);
    REQUIRE(second.where.size() == 2);
    CHECK(second.where[0].operand.literal == Value("untested"));
    REQUIRE(second.where[1].operand.reference.has_value());
    CHECK(second.where[1].operand.reference->variable == 0);
    CHECK(second.where[1].operand.reference->path == std::vector<std::string>{"file"});
    REQUIRE(hot_spot.then.size() == 1);
    CHECK(hot_spot.then[0].op == WriteOp::insert);
    CHECK(hot_spot.then[0].cites == std::vector<std::uint32_t>{0, 1});
    CHECK(hot_spot.then[0].entry.members[2].second.literal == Value::number(0.6));

    const SourceSpec& reporter = *crew.source("reporter");
    CHECK(reporter.when.has_idle());
    REQUIRE(reporter.view.size() == 2);
    CHECK(reporter.view[0].last == limits::view_entries_default);
    CHECK(reporter.view[1].last == 200);
    REQUIRE(crew.seed.size() == 1);
    CHECK(crew.seed[0].first == "open_questions");
    CHECK(crew.seed[0].second == Value::object({{"text", "where is the risk?"}}));
    REQUIRE(crew.stop.goal.has_value());
    CHECK(crew.stop.goal->terms[0].kind == TermKind::exists);
    CHECK(crew.stop.activations == 500);
    CHECK(crew.stop.wall_ms == 600'000);
    CHECK(crew.stop.cycle.enabled);
    CHECK(crew.stop.cycle.similarity == doctest::Approx(0.95));
}

TEST_CASE("the example crew of the reference loads without a word") {
    const std::string reference = read_file(std::filesystem::path(STELE_PROJECT_DIR) / "docs" / "crew_reference.md");
    const std::string fence = "```yaml\n";
    const std::size_t begin = reference.find(fence + "stele: 1\n");
    REQUIRE(begin != std::string::npos);
    const std::size_t end = reference.find("```", begin + fence.size());
    const LoadedCrew loaded = load(reference.substr(begin + fence.size(), end - begin - fence.size()));
    CHECK(loaded.crew != nullptr);
    CHECK_MESSAGE(loaded.problems.empty(), listed(loaded.problems));
}

TEST_CASE("regions arrive with policy, key, merge laws, volatile fields and schema") {
    const auto crew = good(process("    when: [{start: true}]\n"));
    CHECK(crew->region("plans")->policy == PolicyKind::cas);
    CHECK(crew->region("plans")->volatile_fields == std::vector<std::string>{"step"});
    CHECK(crew->region("plans")->help == "what to do");
    const RegionSpec& links = *crew->region("links");
    CHECK(links.key == std::vector<std::string>{"url"});
    REQUIRE(links.merge.size() == 2);
    CHECK(links.merge[0] == std::pair<std::string, MergeLaw>{"seen", MergeLaw::max});
    CHECK(links.merge[1] == std::pair<std::string, MergeLaw>{"from", MergeLaw::set_union});
    const std::vector<FieldSpec>& fields = crew->region("notes")->schema.fields();
    REQUIRE(fields.size() == 5);
    CHECK(fields[2].choices == std::vector<std::string>{"low", "high"});
    CHECK(fields[3].type == FieldType::array);
    CHECK(fields[3].element == FieldType::string);
    CHECK(fields[4].optional);
    CHECK_FALSE(crew->region("state")->schema.is_flat());
    CHECK(crew->region("state")->schema.type_at("mood") == FieldType::string);
    CHECK(crew->region("hits")->schema.type_at("by") == FieldType::integer);
    CHECK_FALSE(crew->region("hits")->schema.check(Value::object({{"by", 2}})).has_value());
}

TEST_CASE("each source has a private region") {
    const auto crew = good(process("    when: [{start: true}]\n    scratch: durable\n"));
    const RegionSpec* scratch = crew->region("scratch/worker");
    REQUIRE(scratch != nullptr);
    CHECK(scratch->scratch);
    CHECK(scratch->durable_scratch);
    CHECK(scratch->policy == PolicyKind::last_writer_wins);
    CHECK(scratch->key == std::vector<std::string>{"key"});
    CHECK_FALSE(scratch->schema.check(Value::object({{"key", "a"}, {"value", Value::object({{"b", 1}})}})).has_value());
}

TEST_CASE("a source's limits and habits arrive") {
    const auto crew = good(process(R"(    when: [{each: notes as n}]
    help: does it
    wake: batch
    batch: {max: 7, within: 5s}
    limits: {timeout: 1h, attempts: 4, conflicts: 5, backoff: 0ms, concurrency: 2, activations: 9, wall: 10m, output: 10MiB, memory: 1GiB}
    priority: $n.score
    on_stale: strict
    on_crash: skip
    exclusive: disk
    env: {DEPTH: 3, NAME: "a b"}
    pass_env: [PATH]
    view: [{region: notes, where: {text: $n.text}, last: 5}]
)"));
    const SourceSpec& worker = crew->sources[0];
    CHECK(worker.help == "does it");
    CHECK(worker.wake == WakeMode::batch);
    CHECK(worker.batch_max == 7);
    CHECK(worker.batch_within_ms == 5'000);
    CHECK(worker.limits.timeout_ms == 3'600'000);
    CHECK(worker.limits.attempts == 4);
    CHECK(worker.limits.conflicts == 5);
    CHECK(worker.limits.backoff_ms == 0);
    CHECK(worker.limits.concurrency == 2);
    CHECK(worker.limits.activations == 9);
    CHECK(worker.limits.wall_ms == 600'000);
    CHECK(worker.limits.output_bytes == 10U << 20);
    CHECK(worker.limits.memory_bytes == 1U << 30);
    REQUIRE(worker.priority_field.has_value());
    CHECK(worker.priority_field->path == std::vector<std::string>{"score"});
    CHECK(worker.on_stale == OnStale::strict);
    CHECK(worker.on_crash == OnCrash::skip);
    CHECK(worker.exclusive == "disk");
    CHECK(worker.environment == std::vector<std::pair<std::string, std::string>>{{"DEPTH", "3"}, {"NAME", "a b"}});
    CHECK(worker.pass_environment == std::vector<std::string>{"PATH"});
    REQUIRE(worker.view.size() == 1);
    CHECK(worker.view_declared);
    CHECK(worker.view[0].where[0].operand.reference->variable == 0);
}

TEST_CASE("a batch implies its wake, and a view may be empty") {
    const auto crew =
        good(process("    when: [{each: notes}]\n    batch: {max: 2}\n    view: []\n    priority: -2.5\n"));
    CHECK(crew->sources[0].wake == WakeMode::batch);
    CHECK(crew->sources[0].batch_within_ms == limits::batch_within_default_ms);
    CHECK(crew->sources[0].view_declared);
    CHECK(crew->sources[0].view.empty());
    CHECK(crew->sources[0].priority == doctest::Approx(-2.5));
    CHECK(crew->sources[0].when.variables == std::vector<std::string>{""});
}

TEST_CASE("every kind of term arrives") {
    const Condition condition = when(R"(
      - each: notes as n
        where: {score: {gte: 0.5}}
      - changed: plans as p
      - none: links
        where: {url: $n.text}
        again: on_change
      - exists: report
      - count: notes
        where: {kind: high}
        is: {gte: 3, lt: 10}
      - {sum: notes, field: score, is: {lte: 2.5}}
      - {min: plans, field: step, is: 1}
      - {max: plans, field: step, is: {ne: $p.step}}
      - {avg: notes, field: score, is: {in: [1, 2]}}
      - {sum: hits, is: {gt: 5}}
      - quiet: {region: notes, for: 2s}
      - start: true
      - idle: true
      - after: 10m
      - every: 500ms
      - any:
          - exists: notes
          - [{none: notes}, {not: {exists: links}}]
      - not: {count: hits, is: 0}
)");
    const std::vector<Term>& terms = condition.terms;
    const std::vector<TermKind> kinds = {
        TermKind::each, TermKind::changed, TermKind::none,  TermKind::exists, TermKind::count,   TermKind::sum,
        TermKind::min,  TermKind::max,     TermKind::avg,   TermKind::sum,    TermKind::quiet,   TermKind::start,
        TermKind::idle, TermKind::after,   TermKind::every, TermKind::any,    TermKind::negation};
    REQUIRE(terms.size() == kinds.size());
    for (std::size_t i = 0; i < terms.size(); ++i) CHECK(terms[i].kind == kinds[i]);
    CHECK(condition.variables == std::vector<std::string>{"n", "p"});
    CHECK(terms[0].variable == 0U);
    CHECK(terms[1].variable == 1U);
    CHECK(terms[2].again_on_change);
    CHECK_FALSE(terms[3].again_on_change);
    CHECK(terms[2].where[0].operand.reference->variable == 0);
    REQUIRE(terms[4].is.size() == 2);
    CHECK(terms[4].is[1].op == CompareOp::lt);
    CHECK(terms[5].field == std::vector<std::string>{"score"});
    CHECK(terms[6].is[0].op == CompareOp::eq);
    CHECK(terms[7].is[0].operand.reference->variable == 1);
    CHECK(terms[9].field == std::vector<std::string>{"by"});
    CHECK(terms[10].region == "notes");
    CHECK(terms[10].duration_ms == 2'000);
    CHECK(terms[13].duration_ms == 600'000);
    CHECK(terms[14].duration_ms == 500);
    REQUIRE(terms[15].alternatives.size() == 2);
    CHECK(terms[15].alternatives[0].size() == 1);
    REQUIRE(terms[15].alternatives[1].size() == 2);
    CHECK(terms[15].alternatives[1][1].kind == TermKind::negation);
    REQUIRE(terms[16].alternatives.size() == 1);
    CHECK(terms[16].alternatives[0][0].kind == TermKind::count);
    CHECK(terms[0].place.line > 0);
}

TEST_CASE("every comparison arrives, on fields, on paths and on attributes") {
    const Filter filter =
        where(R"({text: {eq: a, ne: b, lt: c, matches: "^x+", has: y, in: [d, e]}, score: {lte: 1, gt: 2, gte: 3},
                 tags: {has: t, eq: [t, u]}, by: {exists: false}, tags.0: v,
                 "@id": $q.@id, "@version": {gte: 2}, "@author": worker, "@time": {lt: 1700000000000}})");
    const std::vector<CompareOp> ops = {
        CompareOp::eq,  CompareOp::ne, CompareOp::lt,  CompareOp::matches, CompareOp::has, CompareOp::in,
        CompareOp::lte, CompareOp::gt, CompareOp::gte, CompareOp::has,     CompareOp::eq,  CompareOp::exists,
        CompareOp::eq,  CompareOp::eq, CompareOp::gte, CompareOp::eq,      CompareOp::lt};
    REQUIRE(filter.size() == ops.size());
    for (std::size_t i = 0; i < ops.size(); ++i) CHECK(filter[i].op == ops[i]);
    REQUIRE(filter[3].pattern != nullptr);
    CHECK(filter[3].pattern->found_in("xx"));
    CHECK_FALSE(filter[3].pattern->found_in("y"));
    CHECK(filter[5].operand.literal == Value(Value::Array{"d", "e"}));
    CHECK(filter[12].path == std::vector<std::string>{"tags", "0"});
    CHECK(filter[13].attribute == Attribute::id);
    CHECK(filter[13].operand.reference->attribute == Attribute::id);
    CHECK(filter[14].attribute == Attribute::version);
    CHECK(filter[15].attribute == Attribute::author);
    CHECK(filter[16].attribute == Attribute::time);
    CHECK(filter[16].operand.literal == Value(std::int64_t{1'700'000'000'000}));
}

TEST_CASE("an entry's id is compared with a field that holds text") {
    CHECK(where("{text: $q.@id}")[0].operand.reference->attribute == Attribute::id);
}

TEST_CASE("an absent field may be compared with null") {
    CHECK(where("{by: null}")[0].operand.literal.is_null());
    CHECK(load(process("    when: [{exists: notes, where: {text: null}}]\n")).crew == nullptr);
}

TEST_CASE("two dollars at the beginning are one dollar of text") {
    CHECK(where("{text: $$q.name}")[0].operand.literal == Value("$q.name"));
    CHECK(where("{text: $$}")[0].operand.literal == Value("$"));
    CHECK(where("{text: a$b}")[0].operand.literal == Value("a$b"));
    CHECK(where("{text: \"$${env.HOME} {x}\"}")[0].operand.literal == Value("${env.HOME} {x}"));
    CHECK(where("{text: \"a $${env.HOME}\"}")[0].operand.literal == Value("a ${env.HOME}"));
}

TEST_CASE("every write of a rule arrives") {
    const auto crew = good(crew_with(R"(    kind: rule
    when:
      - each: plans as p
      - each: links as l
      - each: notes as n
    then:
      - insert: notes
        entry: {text: $p.@id, score: 0.5, kind: low, tags: [$p.name, x, $$y], by: $n.by}
        cites: [$p, $l]
        why: because of it
      - {add: links, entry: $l}
      - {put: report, entry: {name: $p.name}}
      - {put: scratch, entry: {key: last, value: {plan: $p, at: $p.@time}}}
      - {replace: $p, entry: {name: $p.name, step: $p.@version}}
      - {retract: $n, why: done}
      - {remove: $l}
      - {increment: hits, by: -3}
      - {increment: hits}
)"));
    const std::vector<RuleWrite>& then = crew->sources[0].then;
    REQUIRE(then.size() == 9);
    CHECK(then[0].cites == std::vector<std::uint32_t>{0, 1});
    CHECK(then[0].why == "because of it");
    CHECK(then[0].place.line > 0);
    REQUIRE(then[0].entry.kind == TemplateNode::Kind::object);
    CHECK(then[0].entry.members[0].second.reference.attribute == Attribute::id);
    const TemplateNode& tags = then[0].entry.members[3].second;
    REQUIRE(tags.kind == TemplateNode::Kind::array);
    CHECK(tags.elements[0].kind == TemplateNode::Kind::reference);
    CHECK(tags.elements[2].literal == Value("$y"));
    CHECK(then[1].entry.kind == TemplateNode::Kind::reference);
    CHECK(then[1].entry.reference.variable == 1);
    CHECK(then[3].region == "scratch");
    CHECK(then[4].op == WriteOp::replace);
    CHECK(then[4].target == 0U);
    CHECK(then[4].region == "plans");
    CHECK(then[5].target == 2U);
    CHECK(then[6].op == WriteOp::remove);
    CHECK(then[6].region == "links");
    CHECK(then[7].by == -3);
    CHECK(then[8].by == 1);
}

TEST_CASE("inputs are typed, filled in, and have defaults") {
    const std::string text = process(R"(    when:
      - each: notes as n
        where: {score: {gte: "${inputs.least}"}, text: "${inputs.word}!"}
    env: {LEVEL: "${inputs.least}", WORDS: "${inputs.word} $${inputs.word} ${other} ${inputs.word"}
)",
                                     R"(
seed: {notes: [{text: "${inputs.word}", score: "${inputs.least}", kind: low, tags: []}]}
inputs:
  least: {type: number, default: 0.5, help: how much}
  word: {type: string, default: 7}
  deep: {type: boolean, default: false}
  count: {type: integer, default: 3}
  where: {type: path, default: some/./place}
)");
    const auto crew = good(text, {{"least", "2"}, {"deep", "true"}});
    const std::vector<std::pair<std::string, Value>> inputs = {
        {"least", Value(2)},
        {"word", Value("7")},
        {"deep", Value(true)},
        {"count", Value(3)},
        {"where", Value((std::filesystem::current_path() / "some/place").string())}};
    CHECK(crew->inputs == inputs);
    const Filter& filter = crew->sources[0].when.terms[0].where;
    CHECK(filter[0].operand.literal == Value(2));
    CHECK(filter[1].operand.literal == Value("7!"));
    CHECK(crew->sources[0].environment[0].second == "2");
    CHECK(crew->sources[0].environment[1].second == "7 ${inputs.word} ${other} ${inputs.word");
    CHECK(*crew->seed[0].second.find("text") == Value("7"));
    CHECK(*crew->seed[0].second.find("score") == Value(2));
}

TEST_CASE("what an input holds is never read as a variable") {
    const auto crew = good(process("    when: [{each: notes as n, where: {text: \"${inputs.word}\"}}]\n",
                                   "inputs: {word: {type: string}}\n"),
                           {{"word", "$n.text"}});
    CHECK(crew->sources[0].when.terms[0].where[0].operand.literal == Value("$n.text"));
}

TEST_CASE("wrong inputs on the command line are told without a place in the file") {
    const std::string text =
        process("    when: [{start: true}]\n", "inputs: {depth: {type: integer}, word: {type: string}}\n");
    const LoadedCrew loaded = load(text, {{"depth", "deep"}, {"wrod", "a"}, {"depth", "5"}, {"word", "\xFF"}});
    CHECK(loaded.crew == nullptr);
    const std::string problems = listed(loaded.problems);
    CHECK(problems.find("crew.yaml: --input depth=\"deep\": expected an integer") != std::string::npos);
    CHECK(problems.find("--input wrod: the crew has no input of that name; did you mean \"word\"?") !=
          std::string::npos);
    CHECK(problems.find("--input depth is given twice") != std::string::npos);
    CHECK(loaded.problems.size() == 4);
}

TEST_CASE("a missing input is told where it is declared, and how to give it") {
    const LoadedCrew loaded = load(process("    when: [{start: true}]\n", "inputs:\n  word: {type: string}\n"));
    REQUIRE(loaded.problems.size() == 1);
    CHECK(loaded.problems[0].message == "input \"word\" has no default and was not given; add --input word=...");
    CHECK(loaded.problems[0].place.column == 3);
}

TEST_CASE("how a crew runs and stops arrives") {
    const auto crew = good(process("    when: [{start: true}]\n", R"(
help: all of it
control: fair
limits: {concurrency: 3}
durability: async
stop:
  goal:
    - each: notes as n
    - count: links
      where: {url: $n.text}
      is: {gte: 2}
  limits: {activations: 10, wall: 90s}
  grace: 0s
  cycle: {window: 4, similarity: 1, on_cycle: pause}
)"));
    CHECK(crew->help == "all of it");
    CHECK(crew->strategy == Strategy::fair);
    CHECK(crew->concurrency == 3);
    CHECK(crew->durability == Durability::async);
    CHECK(crew->stop.goal->variables == std::vector<std::string>{"n"});
    CHECK(crew->stop.activations == 10);
    CHECK(crew->stop.wall_ms == 90'000);
    CHECK(crew->stop.grace_ms == 0);
    CHECK(crew->stop.cycle.window == 4);
    CHECK(crew->stop.cycle.similarity == doctest::Approx(1));
    CHECK(crew->stop.cycle.on_cycle == OnCycle::pause);
    CHECK_FALSE(good(process("    when: [{start: true}]\n", "stop: {cycle: off}\n"))->stop.cycle.enabled);
    const auto plain = good(process("    when: [{start: true}]\n"));
    CHECK(plain->strategy == Strategy::priority);
    CHECK(plain->durability == Durability::sync);
    CHECK_FALSE(plain->stop.goal.has_value());
}

TEST_CASE("scalars follow the core schema, and quotes make text") {
    const auto crew = good(
        "stele: 1\ncrew: scalars\nregions: {any: {policy: append_only}}\n"
        "sources: {s: {kind: process, command: [a], when: [{start: true}], may: {write: {any: [insert]}}}}\n"
        "seed:\n  any:\n    - {a: 5, b: \"5\", c: 0x1F, d: 0o17, e: +3, f: 1e3, g: .5, h: true, i: 'true', j: ~,\n"
        "       k: yes, l: -0.0, m: 2024-01-01, n: [], o: {}, p: 1_000, q: \"\", r: 007, s: why?, t: null}\n");
    const Value expected = Value::object({{"a", 5},
                                          {"b", "5"},
                                          {"c", 31},
                                          {"d", 15},
                                          {"e", 3},
                                          {"f", 1000},
                                          {"g", Value::number(0.5)},
                                          {"h", true},
                                          {"i", "true"},
                                          {"j", nullptr},
                                          {"k", "yes"},
                                          {"l", 0},
                                          {"m", "2024-01-01"},
                                          {"n", Value::Array{}},
                                          {"o", Value::object({})},
                                          {"p", "1_000"},
                                          {"q", ""},
                                          {"r", 7},
                                          {"s", "why?"},
                                          {"t", nullptr}});
    CHECK(to_json(crew->seed[0].second) == to_json(expected));
}

TEST_CASE("aliases repeat what they name") {
    const auto crew = good(
        "stele: 1\ncrew: aliases\nregions:\n  a: &it {policy: append_only, entry: {x: string}}\n  b: *it\n"
        "sources: {s: {kind: process, command: [a], when: [{start: true}], may: {write: {a: [insert], b: "
        "[insert]}}}}\n");
    CHECK(crew->region("b")->schema.fields().size() == 1);
}

TEST_CASE("a crew that aliases multiply without end is refused before it is built") {
    std::string text = "stele: 1\ncrew: bomb\nhelp: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
    for (int i = 1; i < 10; ++i) {
        const std::string before = "*a" + std::to_string(i - 1);
        text += "k" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
        for (int j = 0; j < 10; ++j) text += before + ", ";
        text += before + "]\n";
    }
    const LoadedCrew loaded = load(text);
    CHECK(loaded.crew == nullptr);
    CHECK(loaded.problems.back().message.find("more than 1000000 values") != std::string::npos);
    const std::string long_text(400'000, 'x');
    std::string repeated = "a: &a " + long_text + "\nb: [";
    for (int i = 0; i < 1000; ++i) repeated += "*a, ";
    CHECK(load(repeated + "]\n").problems.back().message.find("longer than") != std::string::npos);
}

TEST_CASE("bad bytes, depth and size are one error each") {
    CHECK(load("stele: 1\nhelp: \xC3\x28\n").problems[0].message == "the crew file is not UTF-8 from here on");
    CHECK(load("stele: 1\nhelp: \xC3\x28\n").problems[0].place.line == 2);
    CHECK(load("stele: 1\nhelp: \xC3\x28\n").problems[0].place.column == 7);
    CHECK(load(std::string("stele: \0", 8)).problems.size() == 1);
    CHECK(load(std::string(100'000, '[')).problems.size() == 1);
    CHECK(load("a: " + std::string(70, '[') + std::string(70, ']') + "\n").problems[0].message.find("64 levels") !=
          std::string::npos);
    CHECK(load(std::string(limits::crew_text_bytes_max + 1, '#')).problems.size() == 1);
    CHECK(load("").problems.size() == 1);
    CHECK(load("\xEF\xBB\xBFstele: 2\n").problems.size() >= 1);
}

TEST_CASE("more problems than can be read are cut off, and it is said") {
    std::string text = "stele: 1\ncrew: many\n";
    for (int i = 0; i < 1000; ++i) text += "key_" + std::to_string(i) + ": 1\n";
    const LoadedCrew loaded = load(text);
    CHECK(loaded.problems.size() == limits::crew_problems_max + 1);
    CHECK(loaded.problems.back().message.find("only the first 200") != std::string::npos);
}

TEST_CASE("a file that is not there, a directory and a large file are one clear error") {
    const LoadedCrew missing = load_crew_file("no/such/crew.yaml", {});
    REQUIRE(missing.problems.size() == 1);
    CHECK(to_text(missing.problems[0]) == "no/such/crew.yaml: the crew file cannot be read: No such file or directory");
    const LoadedCrew directory = load_crew_file(tests_directory.string(), {});
    REQUIRE(directory.problems.size() == 1);
    CHECK(directory.problems[0].message.find("directory") != std::string::npos);
}

TEST_CASE("what is allowed but seldom meant is warned about") {
    const LoadedCrew loaded = load(R"(stele: 1
crew: warnings
regions:
  shared: {policy: last_writer_wins, entry: {x: string}}
  unread: {policy: append_only}
  unwritten: {policy: append_only}
sources:
  first:
    kind: process
    command: [a]
    when: [{each: unwritten as u}]
    may: {read: [unwritten], write: {shared: [put], unread: [insert]}}
  second:
    kind: process
    command: [a]
    when: [{exists: shared}]
    may: {read: [shared], write: {shared: [put]}}
  silent:
    kind: process
    command: [a]
    when: [{start: true}]
)");
    REQUIRE_MESSAGE(loaded.crew != nullptr, listed(loaded.problems));
    REQUIRE(loaded.problems.size() == 5);
    for (const CrewProblem& problem : loaded.problems) CHECK(problem.warning);
    CHECK(to_text(loaded.problems[0]) ==
          "crew.yaml:4:3: warning: region \"shared\" is last_writer_wins and has several writers (first, second): each"
          " overwrites the others without a conflict");
    CHECK(loaded.problems[1].message.find("\"unread\" is written, but nothing reads it") != std::string::npos);
    CHECK(loaded.problems[2].message.find("\"unwritten\" is read, but no source") != std::string::npos);
    CHECK(loaded.problems[3].message.find("\"first\" can never wake") != std::string::npos);
    CHECK(loaded.problems[4].message.find("\"silent\" has no may.write") != std::string::npos);
}

TEST_CASE("a source's hash is of what it declares, however it is written") {
    const std::string head = "stele: 1\ncrew: hashes\nregions: {a: {policy: append_only}}\nsources:\n  s:";
    const auto hash = [&](const std::string& source) { return good(head + source)->sources[0].configuration_hash; };
    const std::string one =
        hash(" {kind: process, command: [x], when: [{start: true}], may: {write: {a: [insert]}}}\n");
    const std::string same = hash(
        "\n    may: {write: {a: [insert]}}\n    when:\n      - start: true\n    # why\n"
        "    command: [\"x\"]\n    kind: process\n");
    const std::string other =
        hash(" {kind: process, command: [y], when: [{start: true}], may: {write: {a: [insert]}}}\n");
    CHECK(one.size() == 16);
    CHECK(one == same);
    CHECK(one != other);
}

TEST_CASE("the description of a crew names everyone who may do something, within 100 columns") {
    const LoadedCrew loaded = load_crew_file((tests_directory / "crews" / "design_example.yaml").string(), {});
    REQUIRE(loaded.crew != nullptr);
    const std::string text = describe_consistency(*loaded.crew);
    for (const std::string fragment :
         {"Region open_questions (set_union)", "{text: string, file: string?}", "churn (insert)", "the whole entry",
          "none between sources, since only reporter may put", "Source hot_spot (rule)",
          "- each evidence as t where kind = \"untested\" and file = $c.file",
          "- nothing else is queued, running or due", "hypotheses (newest 1000), evidence (newest 200)",
          "after 500 activations", "A commit is acknowledged when it is on disk"}) {
        // The sheet breaks lines between words.
        std::string flat;
        for (const char c : text) {
            if (c != '\n' && !(c == ' ' && flat.ends_with(' '))) flat += c;
            if (c == '\n' && !flat.ends_with(' ')) flat += ' ';
        }
        CHECK_MESSAGE(flat.find(fragment) != std::string::npos, fragment);
    }
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) CHECK(line.size() <= 100);
}

TEST_CASE("the description stays within 100 columns whatever the words") {
    const auto crew = good(process("    when: [{each: notes as n, where: {text: \"" + std::string(500, 'x') +
                                   "\"}}]\n"
                                   "    help: \"" +
                                   std::string(300, 'y') + "\\e[31m\\n ä\"\n"));
    std::istringstream lines(describe_consistency(*crew));
    for (std::string line; std::getline(lines, line);) {
        CHECK(std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xC0) != 0x80; }) <= 100);
        CHECK(line.find('\x1B') == std::string::npos);
    }
}

TEST_CASE("no damage to a crew makes the loader throw or accept without a crew") {
    const std::uint64_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    std::vector<std::string> texts = {read_file(tests_directory / "crews" / "design_example.yaml")};
    for (const auto& file : std::filesystem::directory_iterator(tests_directory / "wrong_crews")) {
        texts.push_back(read_file(file.path()));
    }
    std::sort(texts.begin(), texts.end());
    const std::string marks = "{}[]:,?-*&!|>'\"#%@` \n$.0a";
    for (int round = 0; round < 3000; ++round) {
        std::string text = texts[random() % texts.size()];
        for (std::uint64_t edits = 1 + random() % 4; edits > 0 && !text.empty(); --edits) {
            const std::size_t at = random() % text.size();
            switch (random() % 3) {
                case 0:
                    text[at] = marks[random() % marks.size()];
                    break;
                case 1:
                    text.erase(at, 1 + random() % 8);
                    break;
                default:
                    text.insert(at, 1, marks[random() % marks.size()]);
            }
        }
        const LoadedCrew loaded = load(text);
        CHECK((loaded.crew == nullptr) == !errors_of(loaded).empty());
        if (loaded.crew != nullptr) CHECK_FALSE(describe_consistency(*loaded.crew).empty());
    }
}

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "runtime/record_json.hpp"
#include "runtime/record_text.hpp"
#include "scheduler/outcome.hpp"

using namespace stele;

namespace {

constexpr std::int64_t start_ms = 1'700'000'000'000;

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

LoggedRecord record(RecordKind kind, std::uint64_t position, const std::string& author) {
    LoggedRecord logged;
    logged.position = {position};
    logged.record.kind = kind;
    logged.record.author = author;
    logged.record.epoch = {1};
    logged.record.time = {start_ms + 1'340};
    return logged;
}

Write insert(const std::string& region, Value content, const std::string& why = {}) {
    Write write;
    write.region = region;
    write.content = std::move(content);
    write.why = why;
    write.seal();
    return write;
}

LoggedRecord commit_of(std::uint64_t position, const std::string& author, std::vector<Write> writes,
                       std::vector<WriteOutcome> outcomes) {
    LoggedRecord logged = record(RecordKind::commit, position, author);
    logged.record.writes = std::move(writes);
    logged.verdict.outcomes = std::move(outcomes);
    return logged;
}

WriteOutcome added(std::uint64_t number) { return {WriteOutcome::Effect::added, number, 1, false}; }

TextOptions wide() {
    TextOptions options;
    options.start = {start_ms};
    return options;
}

TextOptions on(std::size_t columns) {
    TextOptions options = wide();
    options.terminal.is_tty = true;
    options.terminal.columns = columns;
    return options;
}

std::string json(const LoggedRecord& logged) { return to_json(to_value(logged)); }

MatchRecord match(std::vector<BoundEntry> bound) { return {{1, 2}, std::move(bound), {}}; }

LoggedRecord refused_commit() {
    LoggedRecord logged = record(RecordKind::commit, 12, "planner");
    logged.record.activation = {7};
    logged.record.attempt = 2;
    Write write = insert("plan", Value::object({{"step", 3}}));
    write.op = WriteOp::replace;
    write.number = 1;
    write.expected_version = 7;
    logged.record.writes = {write};
    logged.verdict.accepted = false;
    Refusal refusal;
    refusal.line = 1;
    refusal.rule = RefusalRule::conflict;
    refusal.message = "region \"plan\": expected version 7, found 9";
    refusal.current = Value::object({{"id", "plan/1"}, {"version", 9}});
    logged.verdict.refusals = {refusal};
    return logged;
}

Entry entry() {
    Entry made;
    made.id = {"evidence", 12};
    made.version = 1;
    made.position = {9};
    made.time = {start_ms + 500};
    made.author = "churn";
    made.activation = {7};
    made.reason = "counted";
    made.cites = {{"files", 3}};
    made.content = Value::object({{"file", "a.c"}, {"value", 7}});
    return made;
}

std::string random_text(std::mt19937_64& random) {
    static const std::vector<std::string> pieces = {"\x1b[2J",
                                                    "\x1b[1A",
                                                    "\xc2\x9b"
                                                    "2J",
                                                    "\r",
                                                    "\n",
                                                    "\xff\xfe",
                                                    "\xe4\xb8\xad",
                                                    "e\xcc\x81",
                                                    "\xe2\x80\xae",
                                                    "word ",
                                                    std::string(400, 'x'),
                                                    std::string(1, '\0'),
                                                    "\"",
                                                    "{"};
    std::string text;
    for (std::size_t n = random() % 9; n > 0; --n) text += pieces[random() % pieces.size()];
    return text;
}

LoggedRecord random_record(std::mt19937_64& random) {
    LoggedRecord logged = record(static_cast<RecordKind>(1 + random() % 12), random(), random_text(random));
    Record& made = logged.record;
    made.time = {static_cast<std::int64_t>(random())};
    made.activation = {random() % 3};
    made.attempt = static_cast<std::uint32_t>(random() % 3);
    made.reason = random_text(random);
    made.word = random_text(random);
    made.inputs = random_text(random);
    made.base_directory = random_text(random);
    made.cost = random_text(random);
    made.outcome = static_cast<OutcomeCode>(random());
    made.duration_ms = static_cast<std::int64_t>(random());
    made.exit_code = static_cast<std::int32_t>(random());
    made.process_start = random();
    made.rating = random() % 3 == 0 ? std::nan("") : 0.5;
    made.notes = {random_text(random)};
    if (random() % 2 == 0) made.parts = {random_text(random), random_text(random)};
    if (random() % 2 == 0) made.members = {match({{{random_text(random), random()}, 1}})};
    if (made.kind == RecordKind::commit) {
        for (std::size_t n = random() % 4; n > 0; --n) {
            Write write;
            write.region = random_text(random);
            write.text = random_text(random);
            write.why = random_text(random);
            write.cites = {{{random_text(random), random()}, 0}, {{}, static_cast<std::uint32_t>(random() % 9)}};
            made.writes.push_back(write);
            if (random() % 4 != 0) {
                logged.verdict.outcomes.push_back(
                    {static_cast<WriteOutcome::Effect>(random() % 4), random(), 1, false});
            }
        }
    }
    logged.verdict.accepted = random() % 2 == 0;
    if (!logged.verdict.accepted) {
        Refusal refusal;
        refusal.message = random_text(random);
        refusal.current = Value(valid_utf8(random_text(random)));
        logged.verdict.refusals = {refusal};
    }
    return logged;
}

}  // namespace

TEST_CASE("a commit is one line: position, time, kind, author, what it wrote and why") {
    const Value content = Value::object({{"value", 1}});
    LoggedRecord logged = commit_of(
        14, "churn", {insert("evidence", content, "counted"), insert("evidence", content), insert("evidence", content)},
        {added(12), added(13), added(14)});
    logged.record.activation = {7};
    CHECK(one_line(logged, wide()) ==
          "    14  +0:01.340  commit       churn        #7 +3 evidence/12..14  \"counted\"");
}

TEST_CASE("a commit tells what it added, changed, took away and found there already") {
    const Value content = Value::object({{"value", 1}});
    using Effect = WriteOutcome::Effect;
    const LoggedRecord logged =
        commit_of(14, "checker",
                  {insert("files", content), insert("files", content), insert("hypotheses", content),
                   insert("scratch", content), insert("files", content), insert("questions", content)},
                  {{Effect::added, 1, 1, false},
                   {Effect::updated, 3, 2, false},
                   {Effect::removed, 7, 1, false},
                   {Effect::added, 1, 1, false},
                   {Effect::added, 9, 1, false},
                   {Effect::none, 4, 1, false}});
    CHECK(written_text(logged) == "+2 files/1,9, ~1 files/3, -1 hypotheses/7, +1 scratch/checker/1, 1 already there");
    CHECK(written_text(commit_of(1, "a", {}, {})) == "nothing to write");
}

TEST_CASE("a claim says what it is bound to, a batch only the first of it") {
    LoggedRecord logged = record(RecordKind::claimed, 17, "hot_spot");
    logged.record.attempt = 1;
    logged.record.members = {match({{{"evidence", 3}, 1}, {{"evidence", 9}, 2}})};
    CHECK(one_line(logged, wide()) ==
          "    17  +0:01.340  claimed      hot_spot     #17 attempt 1 on evidence/3 evidence/9");
    logged.record.members.clear();
    for (std::uint64_t i = 1; i <= 20; ++i) logged.record.members.push_back(match({{{"files", i}, 1}}));
    CHECK(bound_text(logged.record.members) == "20 matches: files/1 files/2 files/3 files/4 and 16 more");
    CHECK(bound_text({match({})}).empty());
}

TEST_CASE("results tell their outcome, how long they took and why they failed") {
    LoggedRecord logged = record(RecordKind::result, 18, "churn");
    logged.record.activation = {17};
    logged.record.outcome = static_cast<OutcomeCode>(OutcomeKind::ok);
    logged.record.duration_ms = 340;
    CHECK(one_line(logged, wide()) == "    18  +0:01.340  result       churn        #17 ok in 340 ms");
    logged.record.outcome = static_cast<OutcomeCode>(OutcomeKind::failed);
    logged.record.exit_code = 3;
    logged.record.reason = "no repository";
    logged.record.cost = R"({"tokens":5})";
    CHECK(one_line(logged, wide()) ==
          "    18  +0:01.340  result       churn        #17 failed in 340 ms, exit code 3: no repository, cost "
          "{\"tokens\":5}");
}

TEST_CASE("a refusal begins with its rule, so that a narrow line still shows it") {
    const LoggedRecord logged = refused_commit();
    CHECK(one_line(logged, wide()) ==
          "    12  +0:01.340  refused      planner      #7 line 1, conflict: region \"plan\": expected version 7, "
          "found 9 "
          "(attempt 2, replace 1 into plan)");
    CHECK(one_line(logged, on(40)) == "12 +0:01.340 refused planner #7 line 1,\u2026");
}

TEST_CASE("a stop says its reason") {
    LoggedRecord logged = record(RecordKind::run_stopped, 99, "system");
    logged.record.word = "quiescence";
    logged.record.reason = "nothing is queued, running or due";
    CHECK(one_line(logged, wide()) ==
          "    99  +0:01.340  run_stopped  system       quiescence: nothing is queued, running or due");
}

TEST_CASE("every kind of record has its line, at any width") {
    for (int kind = 1; kind <= 12; ++kind) {
        LoggedRecord logged = record(static_cast<RecordKind>(kind), 5, "somebody");
        logged.record.reason = "because";
        logged.record.word = "word";
        CAPTURE(to_text(logged.record.kind));
        CHECK(contains(one_line(logged, wide()), to_text(logged.record.kind)));
        CHECK(display_columns(one_line(logged, on(40))) <= 40);
        CHECK(display_columns(one_line(logged, on(200))) <= 200);
    }
}

TEST_CASE("times are relative, local or UTC") {
    TextOptions options = wide();
    const LoggedRecord logged = record(RecordKind::timer, 5, "system");
    CHECK(contains(one_line(logged, options), "  +0:01.340  timer"));
    options.times = TextOptions::Times::utc;
    CHECK(contains(one_line(logged, options), "  2023-11-14T22:13:21.340Z  timer"));
}

TEST_CASE("the long form cuts nothing: contents, cites, refusals and what stands there now") {
    LoggedRecord logged = refused_commit();
    logged.record.snapshot = {11};
    logged.record.writes[0].cites = {{{"evidence", 3}, 0}};
    logged.record.writes[0].why = "first reason\nsecond line";
    const std::string text = long_text(logged, on(40));
    INFO(text);
    CHECK(contains(text, "\n    epoch 1, read version 11"));
    CHECK(contains(text, "\n    1. replace into plan/1, expecting version 7"));
    CHECK(contains(text, "\n         \"step\": 3"));
    CHECK(contains(text, "\n       cites evidence/3"));
    CHECK(contains(text, "\n         second line"));
    CHECK(contains(text, "\n    refused line 1, conflict: region \"plan\": expected version 7, found 9"));
    CHECK(contains(text, "\"version\": 9"));

    LoggedRecord result = record(RecordKind::result, 18, "churn");
    result.record.outcome = static_cast<OutcomeCode>(OutcomeKind::failed);
    result.record.notes = {"looked twice"};
    result.record.parts = {std::string(2'048, 'x'), "first\nsecond \x1b[2J\n"};
    const std::string told = long_text(result, wide());
    INFO(told);
    CHECK(contains(told, "note looked twice"));
    CHECK(contains(told, "output 2.0 KiB"));
    CHECK(contains(told, "\n      first\n      second \\x1b[2J"));
    CHECK_FALSE(contains(told, "xxxx"));
}

TEST_CASE("an entry is one line with its content, reason and cites") {
    CHECK(entry_line(entry(), wide()) ==
          "evidence/12 v1  churn  {\"file\":\"a.c\",\"value\":7}  \"counted\"  cites files/3");
    Entry gone = entry();
    gone.active = false;
    gone.authors = {"churn", "person"};
    CHECK(entry_line(gone, wide()).starts_with("evidence/12 v1 retracted  churn, person  {"));
}

TEST_CASE("a long content gives way before the reason does") {
    Entry made = entry();
    made.content = Value(std::string(5'000, 'x'));
    for (const std::size_t columns : {40, 80, 200}) {
        const std::string line = entry_line(made, on(columns));
        CHECK(display_columns(line) <= columns);
        CHECK(contains(line, "  \"cou"));
    }
    CHECK(entry_line(made, wide()).size() > 5'000);
    CHECK(contains(entry_long(made, on(40)), std::string(5'000, 'x')));
    CHECK(contains(entry_long(made, on(40)), "\n    written +0:00.500 at 9 by #7"));
}

TEST_CASE("regions are a table, with sums where there are counters") {
    const std::vector<RegionRow> rows = {{"evidence", "append_only", 1'234, {17}, std::nullopt},
                                         {"scanned", "counter", 2, {}, 40}};
    CHECK(region_table(rows, wide()) ==
          "region    entries  changed  sum  policy\n"
          "evidence    1,234       17       append_only\n"
          "scanned         2        -   40  counter\n");
}

TEST_CASE("the JSON of a commit has each write with the entry that it became") {
    Write second = insert("hypotheses", Value::object({{"claim", "risky"}}), "because");
    second.cites = {{{"files", 3}, 0}, {{}, 1}};
    LoggedRecord logged =
        commit_of(14, "churn", {insert("evidence", Value::object({{"value", 1}})), second}, {added(12), added(2)});
    logged.record.activation = {7};
    logged.record.attempt = 1;
    logged.record.snapshot = {11};
    logged.record.decided_at = {13};
    CHECK(json(logged) ==
          R"({"accepted":true,"activation":7,"attempt":1,"author":"churn","decided_at":13,"epoch":1,"kind":"commit",)"
          R"("position":14,"snapshot":11,"time":1700000001340,"writes":[)"
          R"({"effect":"added","entry":{"value":1},"id":"evidence/12","op":"insert","region":"evidence","version":1},)"
          R"({"cites":["files/3","evidence/12"],"effect":"added","entry":{"claim":"risky"},"id":"hypotheses/2",)"
          R"("op":"insert","region":"hypotheses","version":1,"why":"because"}]})");
}

TEST_CASE("content that was read from the log as text is the same JSON") {
    LoggedRecord logged = commit_of(14, "churn", {insert("evidence", Value::object({{"value", 1}}))}, {added(12)});
    const std::string before = json(logged);
    logged.record.writes[0].content = Value();
    CHECK(json(logged) == before);
    Write retract;
    retract.op = WriteOp::retract;
    retract.region = "evidence";
    retract.number = 4;
    retract.seal();
    CHECK_FALSE(contains(json(commit_of(15, "churn", {retract}, {})), "\"entry\""));
}

TEST_CASE("the JSON of a refusal has the rule, the sentence and the entry as it is now") {
    const Value value = to_value(refused_commit());
    CHECK_FALSE(value.find("accepted")->as_bool());
    CHECK(
        to_json(*value.find("refusals")) ==
        R"([{"current":{"id":"plan/1","version":9},"line":1,"message":"region \"plan\": expected version 7, found 9",)"
        R"("rule":"conflict"}])");
    CHECK(to_json(value.find("writes")->as_array()[0]) ==
          R"({"entry":{"step":3},"expected_version":7,"id":"plan/1","op":"replace","region":"plan"})");
}

TEST_CASE("the JSON of a result has the size of the raw output, not the output") {
    LoggedRecord logged = record(RecordKind::result, 18, "churn");
    logged.record.activation = {17};
    logged.record.attempt = 2;
    logged.record.outcome = static_cast<OutcomeCode>(OutcomeKind::failed);
    logged.record.exit_code = 3;
    logged.record.duration_ms = 340;
    logged.record.reason = "it failed";
    logged.record.notes = {"looked"};
    logged.record.cost = R"({"tokens":5})";
    logged.record.parts = {"secret output", "one\ntwo \xff\n"};
    CHECK(
        json(logged) ==
        R"({"accepted":true,"activation":17,"attempt":2,"author":"churn","cost":{"tokens":5},"duration_ms":340,)"
        "\"epoch\":1,\"error_output_bytes\":10,\"error_output_last_line\":\"two \xEF\xBF\xBD\",\"exit_code\":3,"
        R"("kind":"result","notes":["looked"],"outcome":"failed","output_bytes":13,"position":18,"reason":"it failed",)"
        R"("time":1700000001340})");
}

TEST_CASE("a first claim and a rule's commit are numbered by their own position") {
    LoggedRecord claim = record(RecordKind::claimed, 17, "churn");
    claim.record.members = {match({{{"files", 3}, 2}})};
    claim.record.rating = 12.5;
    claim.record.duration_ms = 30'000;
    CHECK(to_value(claim).find("activation")->as_int() == 17);
    CHECK(to_json(*to_value(claim).find("members")) ==
          R"([{"bound":[{"id":"files/3","version":2}],"key":"00000000000000020000000000000001"}])");
    CHECK(to_value(claim).find("rating")->as_double() == 12.5);
    CHECK(to_value(claim).find("timeout_ms")->as_int() == 30'000);
    claim.verdict.accepted = false;
    CHECK(to_value(claim).find("activation") == nullptr);
    LoggedRecord firing = commit_of(20, "hot_spot", {}, {});
    firing.record.members = {match({})};
    CHECK(is_rule_commit(firing.record));
    CHECK(activation_of(firing) == ActivationId{20});
    CHECK_FALSE(activation_of(commit_of(21, "seed", {}, {})));
}

TEST_CASE("the JSON of an entry") {
    CHECK(to_json(to_value(entry())) ==
          R"({"activation":7,"author":"churn","cites":["files/3"],"entry":{"file":"a.c","value":7},"id":"evidence/12",)"
          R"("position":9,"reason":"counted","time":1700000000500,"version":1})");
    Entry gone = entry();
    gone.active = false;
    gone.authors = {"churn", "person"};
    CHECK_FALSE(to_value(gone).find("active")->as_bool());
    CHECK(to_json(*to_value(gone).find("authors")) == R"(["churn","person"])");
}

TEST_CASE("no record, however hostile, commands the terminal, breaks a line or breaks its JSON") {
    const std::uint64_t seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937_64 random(seed);
    for (int round = 0; round < 1'000; ++round) {
        const LoggedRecord logged = random_record(random);
        for (const std::size_t columns : {0, 40, 200}) {
            const std::string line = one_line(logged, on(columns));
            CHECK(line.find_first_of(std::string("\n\r\x1b\x00", 4)) == std::string::npos);
            CHECK_FALSE(contains(line, "\xc2\x9b"));
            CHECK(valid_utf8(line) == line);
            if (columns != 0) CHECK(display_columns(line) <= columns);
        }
        const std::string details = long_text(logged, on(40));
        CHECK(details.find_first_of(std::string("\r\x1b\x00", 3)) == std::string::npos);
        CHECK_FALSE(contains(details, "\xc2\x9b"));
        const std::string text = to_json_line(to_value(logged));
        CHECK(text.find_first_of("\n\r\x1b") == std::string::npos);
        CHECK_FALSE(contains(text, "\xc2\x9b"));
        const Result<Value> again = parse_json(text);
        REQUIRE(again.ok());
        CHECK(*again == to_value(logged));
    }
}

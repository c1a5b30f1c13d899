#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "board/entry_store.hpp"
#include "runtime/progress.hpp"
#include "scheduler/crew_spec.hpp"
#include "scheduler/outcome.hpp"
#include "scheduler/scheduler.hpp"

using namespace stele;

namespace {

constexpr std::int64_t start_ms = 1'700'000'000'000;

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::size_t count_of(const std::string& text, std::string_view part) {
    std::size_t count = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
    return count;
}

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

Terminal tty(std::size_t columns, std::size_t rows = 24) {
    Terminal terminal;
    terminal.is_tty = true;
    terminal.live = true;
    terminal.columns = columns;
    terminal.rows = rows;
    return terminal;
}

/// A run told record by record, the way an engine would.
class Told {
public:
    explicit Told(ProgressOptions options = {}, bool goal = true)
        : progress_(with_out(std::move(options)), "review", ".stele") {
        crew_.name = "repo_review";
        RegionSpec evidence;
        evidence.name = "evidence";
        crew_.regions.push_back(evidence);
        if (goal) crew_.stop.goal.emplace();
        progress_.on_crew(crew_);
    }

    Progress& progress() { return progress_; }
    std::string text() const { return out_.str(); }
    Position last() const { return position_; }

    LoggedRecord make(RecordKind kind, const std::string& author, std::int64_t after_ms) {
        LoggedRecord logged;
        logged.position = {++position_.number};
        logged.record.kind = kind;
        logged.record.author = author;
        logged.record.time = {start_ms + after_ms};
        return logged;
    }
    void tell(const LoggedRecord& logged, const std::vector<EntryChange>& changes = {}) {
        progress_.on_record(logged, changes);
    }

    void begin() { tell(make(RecordKind::run_started, "system", 0)); }

    ActivationId claim(const std::string& source, std::int64_t after_ms, ActivationId again = {},
                       std::uint32_t attempt = 1) {
        LoggedRecord claimed = make(RecordKind::claimed, source, after_ms);
        claimed.record.activation = again;
        claimed.record.attempt = attempt;
        claimed.record.duration_ms = 30'000;
        claimed.record.members = {{{1, 2}, {{{"files", 3}, 1}}, {}}};
        tell(claimed);
        return again ? again : ActivationId{claimed.position.number};
    }

    void result(ActivationId id, OutcomeKind outcome, std::int64_t after_ms, const std::string& reason = {},
                const std::string& error_output = {}, const std::string& cost = {}, std::uint32_t attempt = 1) {
        LoggedRecord logged = make(RecordKind::result, "churn", after_ms);
        logged.record.activation = id;
        logged.record.attempt = attempt;
        logged.record.outcome = static_cast<OutcomeCode>(outcome);
        logged.record.exit_code = outcome == OutcomeKind::failed ? 3 : 0;
        logged.record.duration_ms = 340;
        logged.record.reason = reason;
        logged.record.cost = cost;
        logged.record.parts = {"", error_output};
        tell(logged);
    }

    void commit(ActivationId id, const std::string& author, std::int64_t after_ms, std::uint64_t writes,
                bool rule = false) {
        LoggedRecord logged = make(RecordKind::commit, author, after_ms);
        logged.record.activation = id;
        logged.record.attempt = 1;
        if (rule) logged.record.members = {{{3, 4}, {{{"files", 3}, 1}}, {}}};
        std::vector<EntryChange> changes;
        for (std::uint64_t i = 0; i < writes; ++i) {
            Write write;
            write.region = "evidence";
            write.content = Value::object({{"value", 1}});
            write.why = "counted \"twice\"";
            write.seal();
            logged.record.writes.push_back(write);
            logged.verdict.outcomes.push_back({WriteOutcome::Effect::added, ++entries_, 1, false});
            changes.push_back({EntryChange::Kind::added, {"evidence", entries_}, nullptr, nullptr});
        }
        tell(logged, changes);
    }

    void refuse(ActivationId id, std::int64_t after_ms, std::vector<Refusal> refusals, std::uint32_t attempt = 1) {
        LoggedRecord logged = make(RecordKind::commit, "churn", after_ms);
        logged.record.activation = id;
        logged.record.attempt = attempt;
        logged.verdict.accepted = false;
        logged.verdict.refusals = std::move(refusals);
        tell(logged);
    }

    void bury(ActivationId id, std::int64_t after_ms, const std::string& error, std::uint32_t attempt = 2) {
        LoggedRecord logged = make(RecordKind::dead, "churn", after_ms);
        logged.record.activation = id;
        logged.record.attempt = attempt;
        logged.record.reason = error;
        tell(logged);
    }

    void stop(const std::string& word, std::int64_t after_ms, const std::string& why) {
        LoggedRecord logged = make(RecordKind::run_stopped, "system", after_ms);
        logged.record.word = word;
        logged.record.reason = why;
        tell(logged);
    }

private:
    ProgressOptions with_out(ProgressOptions options) {
        options.out = &out_;
        return options;
    }

    std::ostringstream out_;
    Progress progress_;
    CrewSpec crew_;
    Position position_;
    std::uint64_t entries_ = 0;
};

/// What a terminal would show, for the few commands that are used; one column per character.
class Screen {
public:
    explicit Screen(std::size_t columns) : columns_(columns) {}

    void write(const std::string& text) {
        for (std::size_t i = 0; i < text.size(); ++i) {
            if (text[i] == '\n') {
                ++row_;
                column_ = 0;
            } else if (text[i] == '\r') {
                column_ = 0;
            } else if (text[i] == '\x1b') {
                i = command(text, i);
            } else {
                put(text[i]);
            }
            if (row_ >= rows_.size()) rows_.resize(row_ + 1);
        }
    }
    std::string text() const {
        std::string out;
        for (const std::vector<std::string>& row : rows_) {
            for (const std::string& cell : row) out += cell;
            out += "\n";
        }
        return out;
    }
    bool is_strange() const { return strange_; }

private:
    std::size_t command(const std::string& text, std::size_t at) {
        std::size_t number = 0;
        std::size_t i = at + 2;
        while (text[i] >= '0' && text[i] <= '9') number = number * 10 + static_cast<std::size_t>(text[i++] - '0');
        if (text[at + 1] == '[' && text[i] == 'A') {
            row_ -= std::min(row_, number);
        } else if (text[at + 1] == '[' && text[i] == 'J') {
            rows_.resize(row_ + 1);
            rows_[row_].resize(column_);
        } else {
            strange_ = strange_ || text[i] != 'm';
        }
        return i;
    }
    void put(char c) {
        const bool continues = (c & 0xC0) == 0x80;
        if (continues && column_ > 0) {
            rows_[row_][column_ - 1] += c;
            return;
        }
        if (column_ == columns_) {
            ++row_;
            column_ = 0;
        }
        if (row_ >= rows_.size()) rows_.resize(row_ + 1);
        if (rows_[row_].size() <= column_) rows_[row_].resize(column_ + 1, " ");
        rows_[row_][column_++] = std::string(1, c);
    }

    std::size_t columns_;
    std::size_t row_ = 0;
    std::size_t column_ = 0;
    bool strange_ = false;
    std::vector<std::vector<std::string>> rows_ = {{}};
};

ProgressOptions on(const Terminal& terminal) {
    ProgressOptions options;
    options.terminal = terminal;
    return options;
}

}  // namespace

TEST_CASE("a run into a file is plain lines: what began, how it ended, what it wrote") {
    Told told;
    told.begin();
    const ActivationId churn = told.claim("churn", 100);
    told.result(churn, OutcomeKind::ok, 440, {}, {}, R"({"tokens":1200,"usd":0.1})");
    told.commit(churn, "churn", 441, 3);
    told.stop("goal", 1'300, "the goal holds");
    told.progress().finish();
    const std::string text = told.text();
    INFO(text);
    CHECK_FALSE(contains(text, "\x1b"));
    CHECK(contains(text, "+0:00.000  repo_review         the run begins on board \"review\"\n"));
    CHECK(contains(text, "+0:00.100  churn #2            starts on files/3\n"));
    CHECK(contains(text, "+0:00.441  churn #2            ok in 340 ms  +3 evidence/1..3  \"counted \"twice\"\"\n"));
    CHECK(contains(text, "stopped   goal: the goal holds\n"));
    CHECK(contains(text, "took      1.3 s, 1 attempt (1 ok)\n"));
    CHECK(contains(text,
                   "wrote     region    added  updated  removed  now\n"
                   "          evidence      3        0        0    3\n"));
    CHECK(contains(text, "cost      tokens 1,200, usd 0.1\n"));
    CHECK(contains(text, "log       board \"review\" in .stele, version 4\n"));
    CHECK(contains(text, "next      stele show --board review\n"));
}

TEST_CASE("failures and refusals are told in full, with the last line of the error output") {
    Told told(on(tty(40)));
    told.begin();
    const ActivationId churn = told.claim("churn", 100);
    const std::string reason = "it exited with 3 after reading a path that is much longer than forty columns";
    told.result(churn, OutcomeKind::failed, 440, reason, "Traceback\n  ValueError: bad\x1b[2J value\n");
    told.claim("churn", 900, churn, 2);
    Refusal conflict;
    conflict.line = 1;
    conflict.rule = RefusalRule::conflict;
    conflict.message = "region \"plan\": expected version 7, found 9";
    Refusal cite;
    cite.line = 2;
    cite.rule = RefusalRule::cite;
    cite.message = "cites evidence/9, which its author had not seen";
    told.refuse(churn, 1'000, {conflict, cite}, 2);
    told.progress().finish();
    const std::string text = told.text();
    INFO(text);
    CHECK(contains(text, "failed in 340 ms: " + reason + "\n"));
    CHECK(contains(text, "last line of its error output:   ValueError: bad\\x1b[2J value\n"));
    CHECK(contains(text, "refused at attempt 2: line 1, conflict: region \"plan\": expected version 7, found 9\n"));
    CHECK(contains(text, "line 2, cite: cites evidence/9, which its author had not seen\n"));
    CHECK(contains(text, "refused   1 commit (1 cite, 1 conflict)\n"));
    CHECK(contains(text, "stopped   without a record that says why"));
    CHECK(contains(text, "next      stele resume --board review\n"));
}

TEST_CASE("an error line that the reason tells already is not told twice") {
    Told told;
    told.begin();
    told.result(told.claim("churn", 1), OutcomeKind::failed, 2, "exited with status 3: no such file ?",
                "no such file \xc3\n");
    CHECK(count_of(told.text(), "no such file") == 1);
}

TEST_CASE("a rule that fires a thousand times is told twenty times and counted") {
    Told told;
    told.begin();
    for (int i = 0; i < 1'000; ++i) told.commit({}, "hot_spot", 10 + i, 1, true);
    told.stop("quiescence", 2'000, "nothing is queued, running or due");
    told.progress().finish();
    const std::string text = told.text();
    CHECK(count_of(text, "+1 evidence/") == 20);
    CHECK(count_of(text, "from here on its firings are only counted") == 1);
    CHECK(contains(text, "0 attempts, 1,000 rule firings (1,000 hot_spot)"));
    CHECK(contains(text, "evidence  1,000"));
    CHECK(contains(text, "the goal does not hold"));
    CHECK(contains(text, "next      stele log --board review\n"));
    CHECK(contains(text, "no cost reported"));
}

TEST_CASE("a stop with dead activations names each with its last error") {
    Told told;
    told.begin();
    const ActivationId first = told.claim("churn", 1);
    told.result(first, OutcomeKind::timeout, 2, "it was not done after 30 s");
    told.bury(first, 3, "it was not done after 30 s");
    const ActivationId second = told.claim("churn", 4);
    told.bury(second, 5, "exited with status 1: \x1b]0;gotcha\x07");
    told.stop("incomplete", 6, "2 activations are dead");
    told.progress().finish();
    const std::string text = told.text();
    INFO(text);
    CHECK(contains(text, "dead      churn #2 after 2 attempts: it was not done after 30 s\n"));
    CHECK(contains(text, "exited with status 1: \\x1b]0;gotcha\\x07\n"));
    CHECK(contains(text, "next      stele retry --board review\n"));
    CHECK(told.progress().summary().find("dead")->as_array().size() == 2);
}

TEST_CASE("retry reopens the dead, all or one") {
    Told told;
    told.begin();
    const ActivationId first = told.claim("churn", 1);
    told.bury(first, 2, "one");
    told.bury(told.claim("churn", 3), 4, "two");
    LoggedRecord retry = told.make(RecordKind::signal, "person", 5);
    retry.record.word = "retry";
    retry.record.activation = first;
    told.tell(retry);
    CHECK(told.progress().summary().find("dead")->as_array().size() == 1);
    retry.record.activation = {};
    told.tell(retry);
    CHECK(told.progress().summary().find("dead")->as_array().empty());
}

TEST_CASE("a resumed board begins with what it held and with its dead") {
    Told told;
    RegionState held;
    held.name = "evidence";
    held.active_entries = 40;
    DeadActivation dead;
    dead.id = {7};
    dead.source = "churn";
    dead.error = "exited with status 1";
    told.progress().on_board({held}, {dead});
    LoggedRecord resume = told.make(RecordKind::signal, "person", 0);
    resume.record.word = "resume";
    told.tell(resume);
    told.commit({}, "person", 5, 2);
    told.stop("incomplete", 10, "1 activation is dead");
    told.progress().finish();
    INFO(told.text());
    CHECK(contains(told.text(), "evidence      2        0        0   42\n"));
    CHECK(contains(told.text(), "dead      churn #7: exited with status 1\n"));
}

TEST_CASE("quiet tells only the end") {
    ProgressOptions options;
    options.quiet = true;
    options.terminal = tty(80);
    Told told(options);
    told.begin();
    told.result(told.claim("churn", 1), OutcomeKind::failed, 2, "no");
    told.progress().tick(start_ms + 100);
    CHECK(told.text().empty());
    told.stop("budget", 3, "the run has had its 1 activations");
    told.progress().finish();
    CHECK(told.text().starts_with("stopped   budget: "));
    CHECK(contains(told.text(), "next      stele resume"));
}

TEST_CASE("with json each record is one line that parses, and the summary has the rest") {
    ProgressOptions options;
    options.json = true;
    options.terminal = tty(40);
    Told told(options);
    told.begin();
    const ActivationId churn = told.claim("churn", 100);
    told.result(churn, OutcomeKind::ok, 440, {}, "\xff\x1b[2J\n", R"({"tokens":1,"usd":0.25})");
    told.commit(churn, "churn", 441, 2);
    told.stop("goal", 1'300, "the goal holds");
    told.progress().tick(start_ms + 2'000);
    told.progress().finish();
    const std::vector<std::string> lines = split(told.text());
    REQUIRE(lines.size() == 5);
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const Result<Value> parsed = parse_json(lines[i]);
        REQUIRE(parsed.ok());
        CHECK(parsed->find("position")->as_int() == static_cast<std::int64_t>(i + 1));
        CHECK_FALSE(contains(lines[i], "\x1b"));
    }
    const Value summary = told.progress().summary();
    CHECK(summary.find("event")->as_string() == "stopped");
    CHECK(summary.find("reason")->as_string() == "goal");
    CHECK(summary.find("elapsed_ms")->as_int() == 1'300);
    CHECK(to_json(*summary.find("cost")) == R"({"tokens":1,"usd":0.25})");
    CHECK(to_json(*summary.find("regions")) == R"({"evidence":{"active":2,"added":2,"removed":0,"updated":0}})");
    CHECK(to_json(*summary.find("attempts")) == R"({"ok":1})");
}

TEST_CASE("live lines are drawn in place under the events and are gone at the end") {
    for (const std::size_t columns : {40, 80, 200}) {
        CAPTURE(columns);
        Told told(on(tty(columns)));
        Screen screen(columns);
        std::size_t seen = 0;
        const auto look = [&] {
            screen.write(told.text().substr(seen));
            seen = told.text().size();
            return screen.text();
        };
        told.begin();
        const ActivationId first = told.claim("churn", 100);
        const ActivationId second = told.claim("coverage", 100);
        told.progress().tick(start_ms + 1'300);
        std::string text = look();
        INFO(text);
        CHECK(contains(text, "repo_review  1.3 s  2 running"));
        CHECK(contains(text, "  churn #2  1.2 s of 30.0 s"));
        CHECK(contains(text, "  coverage #3  1.2 s of 30.0 s"));
        told.progress().tick(start_ms + 1'400);
        text = look();
        CHECK(count_of(text, "churn #2") == 1);
        CHECK(contains(text, "  churn #2  1.3 s of 30.0 s"));

        told.result(first, OutcomeKind::ok, 1'500);
        told.commit(first, "churn", 1'500, 4);
        for (int i = 0; i < 30; ++i) told.commit({}, "hot_spot", 1'600, 1, true);
        told.progress().tick(start_ms + 1'700);
        text = look();
        CHECK(count_of(text, "churn #2") == 1);
        CHECK(contains(text, "rules fired  hot_spot 30"));
        CHECK(contains(text, "  evidence 34"));
        CHECK(contains(text, "1 running"));

        told.result(second, OutcomeKind::ok, 1'800);
        told.commit(second, "coverage", 1'800, 0);
        told.stop("goal", 1'900, "the goal holds");
        told.progress().finish();
        text = look();
        CHECK_FALSE(contains(text, "running"));
        CHECK_FALSE(contains(text, "rules fired"));
        CHECK(contains(text, "stopped   goal: the goal holds"));
        CHECK_FALSE(screen.is_strange());
    }
}

TEST_CASE("a hundred running sources leave room on a small screen") {
    Told told(on(tty(40, 10)));
    told.begin();
    for (int i = 0; i < 100; ++i) told.claim("churn", 100);
    told.progress().tick(start_ms + 1'000);
    CHECK(split(told.text()).size() <= 11);  // nine live lines and the event that the run began
    CHECK(contains(told.text(), "and 95 more"));
}

TEST_CASE("an attempt that failed is running no more, and is to be tried again") {
    Told told(on(tty(100)));
    told.begin();
    const ActivationId churn = told.claim("churn", 1);
    told.result(churn, OutcomeKind::failed, 2, "no");
    told.progress().tick(start_ms + 10);
    CHECK(contains(told.text(), "0 running, 1 to be tried again, 1 ended"));
    told.claim("churn", 20, churn, 2);
    told.progress().tick(start_ms + 30);
    CHECK(contains(told.text(), "1 running, 1 ended"));
    CHECK(contains(told.text(), "attempt 2"));
}

TEST_CASE("nothing that a source says reaches the terminal as a command") {
    const std::uint64_t seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937_64 random(seed);
    static const std::vector<std::string> pieces = {"\x1b[2J",
                                                    "\x1b]0;x\x07",
                                                    "\xc2\x9b"
                                                    "1A",
                                                    "\r",
                                                    "\n",
                                                    "\xff",
                                                    "\xe4\xb8\xad",
                                                    "\x08\x08",
                                                    "word ",
                                                    std::string(300, 'x'),
                                                    std::string(1, '\0')};
    const auto hostile = [&] {
        std::string text;
        for (std::size_t n = random() % 8; n > 0; --n) text += pieces[random() % pieces.size()];
        return text;
    };
    for (int round = 0; round < 200; ++round) {
        const std::size_t columns = random() % 2 == 0 ? 40 : 200;
        Told told(on(tty(columns)));
        Screen screen(columns);
        told.begin();
        for (int i = 0; i < 5; ++i) {
            const ActivationId id = told.claim(hostile(), 1);
            told.result(id, static_cast<OutcomeKind>(1 + random() % 7), 2, hostile(), hostile(), hostile());
            Refusal refusal;
            refusal.message = hostile();
            told.refuse(id, 3, {refusal});
            told.progress().tick(start_ms + 100);
            if (random() % 2 == 0) told.bury(id, 4, hostile());
        }
        told.stop(hostile(), 5, hostile());
        told.progress().finish();
        const std::string text = told.text();
        screen.write(text);
        CHECK_FALSE(screen.is_strange());
        CHECK_FALSE(contains(text, "\xc2\x9b"));
        CHECK_FALSE(contains(text, "\x08"));
        CHECK_FALSE(contains(text, "\x1b]"));
        CHECK_FALSE(contains(text, "\x1b[2J"));
    }
}

TEST_CASE("times that no clock would tell break nothing") {
    Told told(on(tty(80)));
    told.begin();
    LoggedRecord claimed = told.make(RecordKind::claimed, "churn", 0);
    claimed.record.time = {INT64_MIN};
    claimed.record.duration_ms = INT64_MIN;
    told.tell(claimed);
    told.progress().tick(INT64_MAX);
    LoggedRecord fence = told.make(RecordKind::fence, "system", 0);
    fence.record.time = {INT64_MAX};
    told.tell(fence);
    told.progress().tick(INT64_MIN);
    told.progress().finish();
    CHECK(contains(told.text(), "took "));
}

TEST_CASE("the next command names another data directory and quotes what a shell would split") {
    std::ostringstream out;
    ProgressOptions options;
    options.out = &out;
    Progress plain(options, "review", "/tmp/it's here");
    CHECK(plain.summary().find("next")->as_string() == "stele resume --board review --data '/tmp/it'\\''s here'");
    options.address_arguments = "review";
    Progress given(options, "review", "/tmp/x");
    CHECK(given.summary().find("next")->as_string() == "stele resume review");
}

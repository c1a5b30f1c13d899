#include "scheduler/cycle_detector.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <vector>

using namespace stele;

namespace {

Value json(std::string_view text) {
    Result<Value> value = parse_json(text);
    REQUIRE_MESSAGE(value.ok(), std::string(text));
    return *value;
}

RegionSpec region(std::string name, std::vector<std::string> key = {}, std::vector<std::string> volatile_fields = {}) {
    RegionSpec spec;
    spec.name = std::move(name);
    spec.key = std::move(key);
    spec.volatile_fields = std::move(volatile_fields);
    return spec;
}

double alike(const RegionSpec& spec, std::string_view a, std::string_view b) {
    return similarity(fingerprint(spec, json(a), false), fingerprint(spec, json(b), false));
}

// A board of one append-only and one keyed region, told to the detector commit by commit.
class Story {
public:
    explicit Story(const CycleSpec& spec = {}, std::uint64_t rounds = 0) : detector_(spec, rounds) {}

    /// An append-only insert. Returns its position.
    Position insert(const std::string& source, Position woken_by, const std::string& content,
                    const std::string& where = "notes") {
        const Fingerprint written = fingerprint(region(where), json(content), false);
        regions_[where] += written.exact;
        return tell(source, woken_by, {written}, where);
    }
    /// A put of the one entry called `name`.
    Position put(const std::string& source, Position woken_by, const std::string& name, const std::string& value) {
        const RegionSpec spec = region("state", {"name"});
        const Value content = Value::object({{"name", Value(name)}, {"value", Value(value)}});
        const Fingerprint written = fingerprint(spec, content, false);
        if (const auto before = keyed_.find(name); before != keyed_.end()) regions_["state"] -= before->second;
        keyed_[name] = written.exact;
        regions_["state"] += written.exact;
        return tell(source, woken_by, {written}, "state");
    }
    /// An add to a set, or a removal from it.
    Position toggle(const std::string& source, Position woken_by, const std::string& content, bool add) {
        const RegionSpec spec = region("marks");
        const Fingerprint entry = fingerprint(spec, json(content), false);
        if (add) {
            regions_["marks"] += entry.exact;
        } else {
            regions_["marks"] -= entry.exact;
        }
        return tell(source, woken_by, {add ? entry : fingerprint(spec, json(content), true)}, "marks");
    }

    /// For the next commits: further causes and reads, and whether the goal came nearer.
    std::vector<Position> also_woken_by;
    std::vector<CommitTrace::Read> reads;
    bool nearer = false;

    std::vector<CycleVerdict> verdicts;
    std::size_t commits = 0;
    std::size_t commits_before_verdict = 0;

private:
    Position tell(const std::string& source, Position woken_by, std::vector<Fingerprint> writes,
                  const std::string& where) {
        CommitTrace trace;
        trace.position = {next_};
        next_ += 3;
        trace.source = source;
        if (woken_by) trace.causes = {woken_by};
        for (const Position cause : also_woken_by) trace.causes.push_back(cause);
        trace.reads = reads;
        if (const auto read = written_.find(woken_by); read != written_.end()) {
            trace.reads.push_back({woken_by, read->second});
        }
        written_[trace.position] = writes.front().exact;
        trace.writes = std::move(writes);
        trace.entries = {where + "/" + std::to_string(trace.position.number)};
        trace.regions = {
            {numbers_.try_emplace(where, static_cast<std::uint32_t>(numbers_.size())).first->second, regions_[where]}};
        trace.nearer = nearer;
        const Position position = trace.position;
        ++commits;
        if (std::optional<CycleVerdict> verdict = detector_.on_commit(std::move(trace))) {
            if (verdicts.empty()) commits_before_verdict = commits;
            verdicts.push_back(std::move(*verdict));
        }
        return position;
    }

    CycleDetector detector_;
    std::map<std::string, Hash128> regions_;
    std::map<std::string, std::uint32_t> numbers_;
    std::map<Position, Hash128> written_;
    std::map<std::string, Hash128> keyed_;
    std::uint64_t next_ = 1;
};

using Names = std::vector<std::string>;

// Sources that write in turn, each woken by the one before, until a verdict or `rounds` are over.
void pass_round(Story& story, const Names& sources, const std::function<std::string(std::size_t turn)>& text,
                std::size_t turns) {
    Position at = story.insert("", {}, R"({"text":"begin"})");
    for (std::size_t turn = 0; turn < turns && story.verdicts.empty(); ++turn) {
        at = story.insert(sources[turn % sources.size()], at, text(turn));
    }
}

}  // namespace

TEST_CASE("what says the same in other numbers, times and case is alike") {
    const RegionSpec notes = region("notes");
    CHECK(alike(notes, R"({"text":"please look again"})", R"({"text":"please look again"})") == 1);
    CHECK(alike(notes, R"({"text":"please look again, try 7"})", R"({"text":"Please look again, try 4711"})") == 1);
    CHECK(alike(notes, R"({"text":"it is 12:03:59 on 2024-05-06"})", R"({"text":"it is 09:00:00 on 2031-12-24"})") ==
          1);
    CHECK(alike(notes, R"({"at":"2024-05-06T12:03:59Z"})", R"({"at":"2031-12-24T09:00:00Z"})") == 1);
    CHECK(alike(notes, R"({"text":"please look again"})", R"({"text":"the build is broken since noon"})") < 0.9);
}

TEST_CASE("other numbers, names, shapes, keys and regions are new") {
    const RegionSpec notes = region("notes");
    CHECK(alike(notes, R"({"n":1,"text":"a b"})", R"({"n":2,"text":"a b"})") == 0);
    CHECK(alike(notes, R"({"file":"a1.py"})", R"({"file":"a2.py"})") == 0);
    CHECK(alike(notes, R"({"text":"a b"})", R"({"text":"a b","more":1})") == 0);
    CHECK(alike(notes, R"({"tags":["x"]})", R"({"tags":["x","y"]})") == 0);
    CHECK(alike(region("notes", {"name"}), R"({"name":"step one of 5"})", R"({"name":"step one of 6"})") == 0);
    CHECK(similarity(fingerprint(notes, json(R"({"a":1})"), false),
                     fingerprint(region("other"), json(R"({"a":1})"), false)) == 0);
    CHECK(similarity(fingerprint(notes, json(R"({"a":1})"), false), fingerprint(notes, json(R"({"a":1})"), true)) == 0);
}

TEST_CASE("volatile fields are no news, in the hash of the state neither") {
    const RegionSpec notes = region("notes", {}, {"checked_at", "tries"});
    const Fingerprint a = fingerprint(notes, json(R"({"text":"x","tries":1,"checked_at":"a"})"), false);
    const Fingerprint b = fingerprint(notes, json(R"({"text":"x","tries":2})"), false);
    CHECK(a == b);
}

TEST_CASE("two sources that answer each other the same thing are stopped within a few rounds and named") {
    Story story;
    pass_round(
        story, {"ping", "pong"},
        [](std::size_t turn) { return turn % 2 == 0 ? R"({"text":"your turn"})" : R"({"text":"no, yours"})"; }, 100);
    REQUIRE(story.verdicts.size() == 1);
    CHECK(story.commits <= 8);
    CHECK(Names(story.verdicts[0].sources) == Names{"ping", "pong"});
    CHECK(story.verdicts[0].message.find("ping") != std::string::npos);
    CHECK(story.verdicts[0].message.find("pong") != std::string::npos);
    CHECK(story.verdicts[0].message.find("notes/") != std::string::npos);
    CHECK(story.verdicts[0].message.find("at version") != std::string::npos);
}

TEST_CASE("a round of three, and one that counts or tells the time in its text, is stopped as well") {
    Story three;
    pass_round(
        three, {"a", "b", "c"},
        [](std::size_t turn) { return R"({"text":"words of )" + std::string(1, "abc"[turn % 3]) + "\"}"; }, 100);
    REQUIRE(three.verdicts.size() == 1);
    CHECK(three.verdicts[0].sources.size() == 3);
    CHECK(three.commits <= 1 + 2 * 3);

    Story counting;
    pass_round(
        counting, {"a", "b"},
        [](std::size_t turn) {
            return R"({"text":"round )" + std::to_string(turn) + " at 12:" + std::to_string(10 + turn) +
                   ":01, over to you\"}";
        },
        100);
    REQUIRE(counting.verdicts.size() == 1);
    CHECK(counting.commits <= 8);
}

TEST_CASE("a source that wakes itself with the same words is stopped") {
    Story story;
    pass_round(
        story, {"echo"}, [](std::size_t) { return R"({"text":"again and again"})"; }, 100);
    REQUIRE(story.verdicts.size() == 1);
    CHECK(story.verdicts[0].sources == Names{"echo"});
    CHECK(story.commits <= 6);
}

TEST_CASE("a value that is toggled back and forth is stopped, and the message says that the board came back") {
    Story story;
    Position at = story.put("", {}, "switch", "on");
    for (int turn = 0; turn < 100 && story.verdicts.empty(); ++turn) {
        at = story.put(turn % 2 == 0 ? "off_maker" : "on_maker", at, "switch", turn % 2 == 0 ? "off" : "on");
    }
    REQUIRE(story.verdicts.size() == 1);
    CHECK(story.commits <= 5);
    CHECK(story.verdicts[0].sources.size() == 2);
    CHECK(story.verdicts[0].message.find("the board is again as it was at version") == 0);
}

TEST_CASE("an entry that is added and removed in turns is stopped") {
    Story story;
    Position at = story.insert("", {}, R"({"text":"begin"})");
    for (int turn = 0; turn < 100 && story.verdicts.empty(); ++turn) {
        at = story.toggle(turn % 2 == 0 ? "adder" : "remover", at, R"({"n":1})", turn % 2 == 0);
    }
    REQUIRE(story.verdicts.size() == 1);
    CHECK(story.commits <= 8);
    CHECK(story.verdicts[0].sources.size() == 2);
}

TEST_CASE("bystanders who work on something else do not hide a loop, and are not blamed") {
    Story story;
    Position at = story.insert("", {}, R"({"text":"begin"})");
    Position other = story.insert("", {}, R"({"n":0})", "work");
    for (int turn = 0; turn < 200 && story.verdicts.empty(); ++turn) {
        at = story.insert(turn % 2 == 0 ? "ping" : "pong", at,
                          turn % 2 == 0 ? R"({"text":"your turn"})" : R"({"text":"no, yours"})");
        for (int i = 0; i < 5; ++i) {
            other = story.insert("worker", other, "{\"n\":" + std::to_string(1 + turn * 5 + i) + "}", "work");
        }
    }
    REQUIRE_FALSE(story.verdicts.empty());
    CHECK(story.verdicts[0].sources == Names{"ping", "pong"});
    CHECK(story.commits <= 2 + 8 * 6);
}

TEST_CASE("five thousand activations that each bring a new number or name are left alone") {
    Story story;
    Position at = story.insert("", {}, R"({"n":0})");
    for (int turn = 1; turn <= 5'000; ++turn) {
        at = story.insert(turn % 2 == 0 ? "even" : "odd", at,
                          "{\"n\":" + std::to_string(turn) + R"(,"text":"one more step on the way"})");
    }
    Position name = story.insert("", {}, R"({"file":"f0"})");
    for (int turn = 1; turn <= 5'000; ++turn) {
        name = story.insert(turn % 2 == 0 ? "even" : "odd", name,
                            R"({"file":"src/f)" + std::to_string(turn) + R"(.c","text":"looks fine to me"})");
    }
    CHECK(story.verdicts.empty());
}

TEST_CASE("fan-out is no chain: two hundred equal writes from one wake are left alone") {
    Story story;
    const Position begin = story.insert("", {}, R"({"text":"begin"})");
    const Position split = story.insert("splitter", begin, R"({"text":"here are two hundred"})");
    std::vector<Position> first;
    for (int i = 0; i < 200; ++i) first.push_back(story.insert("worker", split, R"({"text":"nothing to say here"})"));
    for (const Position at : first) story.insert("checker", at, R"({"text":"nothing to say here"})");
    CHECK(story.verdicts.empty());
}

TEST_CASE("answers to the outside are chains of their own, however alike") {
    Story story;
    for (int i = 0; i < 500; ++i) {
        const Position asked = story.insert("", {}, R"({"text":"are you there?"})");
        const Position heard = story.insert("listener", asked, R"({"text":"somebody is asking"})");
        story.insert("answerer", heard, R"({"text":"yes I am"})");
    }
    CHECK(story.verdicts.empty());
}

TEST_CASE("a round in which anything is new starts the count anew") {
    Story story;
    Position at = story.insert("", {}, R"({"text":"begin"})");
    for (int turn = 0; turn < 300; ++turn) {
        const bool news = turn % 4 == 3;
        at = story.insert(turn % 2 == 0 ? "ping" : "pong", at,
                          news ? "{\"found\":" + std::to_string(turn) + "}" : R"({"text":"still looking for it"})");
    }
    CHECK(story.verdicts.empty());
}

TEST_CASE("work that comes and goes is new each time, though the board is empty again after each") {
    Story story;
    Position at = story.insert("", {}, R"({"text":"begin"})");
    for (int turn = 0; turn < 300; ++turn) {
        const std::string task = "{\"n\":" + std::to_string(turn) + "}";
        at = story.toggle("planner", at, task, true);
        at = story.toggle("worker", at, task, false);
    }
    CHECK(story.verdicts.empty());
}

TEST_CASE("a board that comes back by the hand of somebody outside is no loop of the crew") {
    Story story;
    Position at = story.put("", {}, "switch", "on");
    for (int turn = 0; turn < 100; ++turn) {
        story.put("keeper", at, "switch", "off");
        at = story.put("", {}, "switch", "on");
    }
    CHECK(story.verdicts.empty());
}

TEST_CASE("a detector that is off says nothing") {
    CycleSpec spec;
    spec.enabled = false;
    Story story(spec);
    pass_round(
        story, {"echo"}, [](std::size_t) { return R"({"text":"again and again"})"; }, 100);
    CHECK(story.verdicts.empty());
}

TEST_CASE("a ring is stopped in its second round, whatever the number of sources and of things they say") {
    for (std::size_t sources = 1; sources <= 17; ++sources) {
        for (std::size_t period = 1; period <= 16; ++period) {
            CAPTURE(sources);
            CAPTURE(period);
            Story story;
            Names names;
            for (std::size_t i = 0; i < sources; ++i) names.push_back("source_" + std::to_string(i));
            pass_round(
                story, names, [&](std::size_t turn) { return "{\"n\":" + std::to_string(turn % period) + "}"; }, 200);
            REQUIRE(story.verdicts.size() == 1);
            // What is said and by whom come together again after so many.
            CHECK(story.commits <= 1 + std::max<std::size_t>(3, 2 * std::lcm(sources, period)));
            CHECK(story.commits <= 1 + std::max(sources, period) + CycleSpec{}.window);
        }
    }
}

TEST_CASE("a bystander whose commit is the newest cause does not hide the chain") {
    Story story;
    Position at = story.insert("", {}, R"({"text":"begin"})");
    Position tick = story.insert("", {}, R"({"n":0})", "ticks");
    for (int turn = 0; turn < 100 && story.verdicts.empty(); ++turn) {
        // The clock has its own chain, and its number counts up.
        story.also_woken_by.clear();
        tick = story.insert("clock", tick, "{\"n\":" + std::to_string(turn + 1) + "}", "ticks");
        story.also_woken_by = {tick};
        at = story.insert(turn % 2 == 0 ? "ping" : "pong", at,
                          turn % 2 == 0 ? R"({"text":"your turn"})" : R"({"text":"no, yours"})");
    }
    REQUIRE_FALSE(story.verdicts.empty());
    CHECK(story.verdicts[0].sources == Names{"ping", "pong"});
}

TEST_CASE("the same answer to another question is no loop") {
    Story story;
    Position at = story.insert("", {}, R"({"text":"begin"})");
    for (int turn = 0; turn < 300; ++turn) {
        // The worker is woken by its own last word and a new task each time.
        story.reads = {{{1'000'000U + static_cast<unsigned>(turn)}, Hash128{static_cast<std::uint64_t>(turn) + 7, 1}}};
        at = story.insert("worker", at, R"({"text":"done, nothing to report"})");
    }
    CHECK(story.verdicts.empty());
    // Without the tasks the same is one.
    story.reads.clear();
    for (int turn = 0; turn < 3; ++turn) at = story.insert("worker", at, R"({"text":"done, nothing to report"})");
    CHECK_FALSE(story.verdicts.empty());
}

TEST_CASE("prose that says it again in other words is stopped, and prose about something else is not") {
    // Of each slot two ways to say it: 64 texts, all of the same words and few of them equal.
    const std::vector<std::vector<std::string>> slots = {
        {"thank you so much", "thanks a lot"},           {"for the careful review", "for looking at this"},
        {"of the whole draft", "of this long document"}, {"I really do agree", "I fully agree"},
        {"with every single point", "with all of it"},   {"and have nothing to add", "and can add nothing more"}};
    std::size_t stopped = 0;
    constexpr std::size_t runs = 50;
    for (std::size_t seed = 0; seed < runs; ++seed) {
        Story story;
        std::uint64_t dice = seed * 0x9e3779b97f4a7c15ULL + 1;
        pass_round(
            story, {"writer", "reviewer"},
            [&](std::size_t) {
                std::string text;
                for (const auto& slot : slots) {
                    dice = dice * 6364136223846793005ULL + 1442695040888963407ULL;
                    text += (text.empty() ? "" : " ") + slot[dice >> 63];
                }
                return "{\"text\":\"" + text + ".\"}";
            },
            60);
        stopped += story.verdicts.empty() ? 0 : 1;
    }
    CHECK(stopped >= runs * 9 / 10);

    Story names;
    pass_round(
        names, {"checker", "planner"},
        [](std::size_t turn) {
            std::string name;
            for (std::size_t rest = turn + 1; rest > 0; rest /= 26) name += static_cast<char>('a' + rest % 26);
            return R"({"text":"I have looked at the module )" + name + R"( and there is nothing wrong with it"})";
        },
        5'000);
    CHECK(names.verdicts.empty());
}

TEST_CASE("a chain that says something new each time is stopped when it goes round and the goal comes no nearer") {
    const auto count = [](std::size_t turn) { return "{\"n\":" + std::to_string(turn) + "}"; };
    Story story({}, 100);
    pass_round(story, {"even", "odd"}, count, 1'000);
    REQUIRE(story.verdicts.size() == 1);
    CHECK(story.commits >= 200);
    CHECK(story.commits <= 205);
    CHECK(story.verdicts[0].sources.size() == 2);
    CHECK(story.verdicts[0].message.find("has gone round 101 times") != std::string::npos);

    Story nearing({}, 100);
    Position at = nearing.insert("", {}, R"({"text":"begin"})");
    for (std::size_t turn = 0; turn < 2'000; ++turn) {
        nearing.nearer = turn % 150 == 0;
        at = nearing.insert(turn % 2 == 0 ? "even" : "odd", at, count(turn));
    }
    CHECK(nearing.verdicts.empty());
}

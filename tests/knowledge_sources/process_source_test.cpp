#include <doctest/doctest.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "board/limits.hpp"
#include "knowledge_sources/process_protocol.hpp"
#include "knowledge_sources/process_source.hpp"

using namespace stele;

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

/// A folder that goes with its test.
struct Folder {
    fs::path path;
    Folder() {
        std::string name = (fs::temp_directory_path() / "stele_process_XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~Folder() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
    void write(const std::string& name, const std::string& text, bool executable = false) const {
        std::ofstream(path / name, std::ios::binary) << text;
        if (executable) fs::permissions(path / name, fs::perms::owner_all);
    }
};

/// One source, and what became of its attempt.
struct World {
    boost::asio::io_context loop;
    std::unique_ptr<KnowledgeSource> kind = make_process_source(loop);
    std::shared_ptr<CrewSpec> crew = std::make_shared<CrewSpec>();
    std::shared_ptr<ActivationRequest> request = std::make_shared<ActivationRequest>();
    std::unique_ptr<Attempt> attempt;
    std::optional<Outcome> outcome;
    std::vector<ProcessIdentity> started;
    bool may_start = true;
    int finished_calls = 0;

    explicit World(std::vector<std::string> command) {
        crew->base_directory = fs::temp_directory_path().string();
        SourceSpec source;
        source.name = "churn";
        source.command = std::move(command);
        crew->sources.push_back(std::move(source));
        request->crew = crew;
        request->source = &crew->sources.front();
        request->activation = {17};
        request->version = {41};
        request->idempotency_key = "17/1";
        request->deadline_ms = 20'000;
    }

    SourceSpec& source() { return crew->sources.front(); }

    void start() {
        AttemptEvents events;
        events.started = [this](const ProcessIdentity& identity) {
            started.push_back(identity);
            return may_start;
        };
        events.finished = [this](Outcome result) {
            ++finished_calls;
            outcome = std::move(result);
        };
        attempt = kind->start(request, std::move(events));
        CHECK_MESSAGE(finished_calls == 0, "finished must not be called inside start()");
    }

    const Outcome& run() {
        start();
        loop.run();
        REQUIRE(finished_calls == 1);
        return *outcome;
    }
};

World shell(const std::string& script) { return World({"sh", "-c", script}); }

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// Does any process of the group still live? Zombies that init has yet to reap do not.
bool group_lives(std::int64_t group) {
    for (const fs::directory_entry& process : fs::directory_iterator("/proc")) {
        const std::string name = process.path().filename().string();
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        std::ifstream file(process.path() / "stat");
        std::string text;
        std::getline(file, text, '\0');
        const std::size_t name_end = text.rfind(')');
        if (name_end == std::string::npos) continue;
        std::istringstream fields(text.substr(name_end + 1));
        char state = '?';
        std::int64_t parent = 0;
        std::int64_t its_group = 0;
        fields >> state >> parent >> its_group;
        if (its_group == group && state != 'Z' && state != 'X') return true;
    }
    return false;
}

bool group_is_over(std::int64_t group) {
    for (int i = 0; i < 200 && group_lives(group); ++i) std::this_thread::sleep_for(Milliseconds(10));
    return !group_lives(group);
}

bool has_children() { return ::waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD; }

fs::path project_file(const char* name) {
#ifdef STELE_PROJECT_DIR
    return fs::path(STELE_PROJECT_DIR) / name;
#else
    return name;
#endif
}

bool can_run(const std::string& program) {
    const bool found = World({program, "--version"}).run().kind != OutcomeKind::not_started;
    if (!found) MESSAGE("skipped: there is no ", program, " on this machine");
    return found;
}

constexpr const char* prints_good = R"(echo '{"op":"insert","region":"a","entry":{"x":1}}')";

}  // namespace

TEST_CASE("a program that reads its request and answers has its writes proposed") {
    World world = shell(
        "read line; case \"$line\" in '{\"protocol\":1,\"activation\":\"17\"'*) ;; *) exit 9;; esac; "
        "read more && exit 8; "
        "echo '{\"op\":\"insert\",\"region\":\"a\",\"entry\":{\"x\":1}}'; "
        "echo '{\"op\":\"note\",\"text\":\"fine\"}'; echo '{\"op\":\"cost\",\"tokens\":2}'; echo told >&2");
    const Outcome& outcome = world.run();
    CHECK_MESSAGE(outcome.kind == OutcomeKind::ok, outcome.error);
    CHECK(outcome.error.empty());
    REQUIRE(outcome.writes.size() == 1);
    CHECK(outcome.writes[0].text == R"({"x":1})");
    CHECK(outcome.notes == std::vector<std::string>{"fine"});
    CHECK(to_json(outcome.cost) == R"({"tokens":2})");
    CHECK(outcome.exit_code == 0);
    CHECK(outcome.raw_error == "told\n");
    CHECK(contains(outcome.raw_output, "\"fine\""));
    CHECK(outcome.duration_ms < 20'000);
}

TEST_CASE("the identity is told before the program can do anything") {
    const Folder folder;
    World world = shell("echo ran > " + (folder.path / "ran").string());
    world.start();
    REQUIRE(world.started.size() == 1);
    const ProcessIdentity identity = world.started[0];
    CHECK(identity.group > 1);
    CHECK(identity.start_ticks > 0);
    CHECK(identity.boot_id.size() == 36);
    world.loop.run();
    CHECK(fs::exists(folder.path / "ran"));
    CHECK(group_is_over(identity.group));
}

TEST_CASE("a program whose start is not recorded never runs") {
    const Folder folder;
    World world = shell("echo ran > " + (folder.path / "ran").string());
    world.may_start = false;
    const Outcome& outcome = world.run();
    CHECK(outcome.kind == OutcomeKind::not_started);
    CHECK(outcome.error == "cannot run \"sh\": its start was not recorded");
    CHECK_FALSE(fs::exists(folder.path / "ran"));
    CHECK_FALSE(has_children());
}

TEST_CASE("whatever a program does, its attempt ends in time with the right outcome, and nothing lingers") {
    const Folder folder;
    folder.write("not_executable", "#!/bin/sh\n");
    folder.write("no_first_line", "echo hello\n", true);
    folder.write("no_interpreter", "#!/no/such/interpreter\n", true);
    const std::string here = folder.path.string() + "/";

    struct Hostile {
        std::string name;
        std::vector<std::string> command;
        OutcomeKind kind;
        std::string sentence;
        std::size_t writes = 0;
        std::int64_t deadline_ms = 5'000;
    };
    const auto sh = [](const std::string& script) { return std::vector<std::string>{"sh", "-c", script}; };
    const auto py = [](const std::string& script) { return std::vector<std::string>{"python3", "-c", script}; };
    const std::string good = prints_good;
    const std::vector<Hostile> table = {
        {"hangs", sh("sleep 60"), OutcomeKind::timeout,
         "did not end within its deadline of 400 ms; it was ended with SIGTERM", 0, 400},
        {"ignores SIGTERM", sh("trap '' TERM; while :; do sleep 1; done"), OutcomeKind::timeout,
         "deadline of 400 ms; it stayed after SIGTERM and was killed", 0, 400},
        {"stops itself", sh("kill -STOP $$"), OutcomeKind::timeout, "was killed", 0, 400},
        {"closes its output and hangs", sh("exec 1>&- 2>&-; sleep 60"), OutcomeKind::timeout, "deadline", 0, 400},
        {"answers and hangs", sh(good + "; sleep 60"), OutcomeKind::timeout, "deadline", 0, 400},
        {"floods standard error", sh("yes error >&2"), OutcomeKind::timeout, "deadline", 0, 400},
        {"dies by a signal", sh(good + "; kill -SEGV $$"), OutcomeKind::failed, "killed by signal 11 (SIGSEGV)"},
        {"kills its whole group", sh("kill -KILL 0"), OutcomeKind::failed, "killed by signal 9 (SIGKILL)"},
        {"fails after a valid output", sh(good + "; echo one >&2; printf 'no \\033[1mrepository\\n\\n' >&2; exit 3"),
         OutcomeKind::failed, "exited with status 3: no ?[1mrepository"},
        {"fails without a word", sh("exit 3"), OutcomeKind::failed, "exited with status 3"},
        {"floods standard output", sh("yes"), OutcomeKind::flooded, "limit of 200000 bytes"},
        {"floods with one endless line", sh("yes | tr -d '\\n'"), OutcomeKind::flooded, "limit of 200000 bytes"},
        {"floods and ignores SIGTERM", sh("trap '' TERM; yes"), OutcomeKind::flooded, "limit of 200000 bytes"},
        {"passes its limit by one byte", sh("head -c 200001 /dev/zero | tr '\\0' '\\n'"), OutcomeKind::flooded,
         "limit"},
        {"fills its limit to the last byte", sh("head -c 200000 /dev/zero | tr '\\0' '\\n'"), OutcomeKind::ok, ""},
        {"writes one huge line",
         sh("printf '{\"op\":\"insert\",\"region\":\"a\",\"entry\":{\"x\":\"'; "
            "head -c 150000 /dev/zero | tr '\\0' x; printf '\"}}'"),
         OutcomeKind::ok, "", 1},
        {"talks a lot on standard error", sh("head -c 1000000 /dev/zero | tr '\\0' x >&2; " + good), OutcomeKind::ok,
         "", 1},
        {"writes byte by byte",
         py("import sys,time\nfor c in '{\"op\":\"insert\",\"region\":\"a\",\"entry\":{}}':\n"
            " sys.stdout.write(c); sys.stdout.flush(); time.sleep(.005)"),
         OutcomeKind::ok, "", 1},
        {"prints garbage", sh("printf '\\001\\002garbage'"), OutcomeKind::malformed, "line 1: the line is not JSON"},
        {"prints half a line", sh(good + "; printf '{\"op\":\"note\",\"te'"), OutcomeKind::malformed, "line 2:"},
        {"repeats a key", sh("echo '{\"op\":\"note\",\"text\":\"a\",\"text\":\"b\"}'"), OutcomeKind::malformed,
         "line 1:"},
        {"prints bad UTF-8", sh("printf '{\"op\":\"note\",\"text\":\"\\377\"}\\n'"), OutcomeKind::malformed, "line 1:"},
        {"prints a NUL", sh("printf '{\"op\":\"note\",\"text\":\"\\000\"}\\n'"), OutcomeKind::malformed, "line 1:"},
        {"closes its input unread", sh("exec 0<&-; " + good), OutcomeKind::ok, "", 1},
        {"says nothing at all", sh(":"), OutcomeKind::ok, ""},
        {"leaves a grandchild that holds its output", sh("sleep 60 & " + good), OutcomeKind::ok, "", 1},
        {"leaves a stubborn grandchild", sh("(trap '' TERM HUP INT; sleep 60; sleep 60) & " + good), OutcomeKind::ok,
         "", 1},
        {"leaves a grandchild that goes on writing", sh("yes & " + good), OutcomeKind::flooded, "limit"},
        {"leaves twenty grandchildren",
         sh("for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; "
            "do sleep 60 & done; exit 4"),
         OutcomeKind::failed, "exited with status 4"},
        {"needs more memory than it may have", py("x = bytearray(1 << 30)"), OutcomeKind::failed,
         "exited with status 1: MemoryError"},
        {"is not there",
         {"stele-no-such-program"},
         OutcomeKind::not_started,
         "cannot run \"stele-no-such-program\": No such file or directory; looked in PATH=/usr/local/sbin:"},
        {"is not there at its path",
         {"./no/such"},
         OutcomeKind::not_started,
         "cannot run \"./no/such\": No such file or directory; looked in \""},
        {"is not executable", {here + "not_executable"}, OutcomeKind::not_started, "Permission denied"},
        {"is a folder", {here}, OutcomeKind::not_started, "Permission denied"},
        {"lacks its first line",
         {here + "no_first_line"},
         OutcomeKind::not_started,
         "needs a first line such as #!/bin/sh"},
        {"lacks its interpreter", {here + "no_interpreter"}, OutcomeKind::not_started, "the file is there"},
    };
    // Far more than a pipe holds, so that every program that does not read also leaves a full pipe.
    auto large = std::make_shared<Entry>();
    large->id = {"evidence", 1};
    large->content = Value::object({{"text", std::string(300'000, 'x')}});

    for (const Hostile& hostile : table) {
        CAPTURE(hostile.name);
        World world(hostile.command);
        world.request->deadline_ms = hostile.deadline_ms;
        world.request->view = {{"evidence", {large}, 0}};
        world.source().limits.output_bytes = 200'000;
        world.source().limits.memory_bytes = 512U << 20;
        const Clock::time_point begun = Clock::now();
        const Outcome& outcome = world.run();
        const auto took = std::chrono::duration_cast<Milliseconds>(Clock::now() - begun).count();
        CHECK_MESSAGE(outcome.kind == hostile.kind, to_text(outcome.kind), ": ", outcome.error);
        CHECK_MESSAGE(contains(outcome.error, hostile.sentence), outcome.error);
        CHECK(outcome.error.empty() == (hostile.kind == OutcomeKind::ok));
        CHECK(outcome.writes.size() == hostile.writes);
        CHECK(outcome.raw_output.size() <= 200'000);
        CHECK(outcome.raw_error.size() <= limits::stderr_bytes_kept);
        CHECK(took < hostile.deadline_ms + 3'000);
        REQUIRE(world.started.size() == 1);
        CHECK(group_is_over(world.started[0].group));
        CHECK_FALSE(has_children());
    }
}

TEST_CASE("an exit code tells the status, or the signal above 128") {
    CHECK(shell("exit 3").run().exit_code == 3);
    CHECK(shell("kill -KILL $$").run().exit_code == 128 + 9);
    CHECK(World({"stele-no-such-program"}).run().exit_code == 127);
}

TEST_CASE("what a failed attempt spent is kept, its writes are not") {
    const Outcome outcome = shell(std::string(prints_good) + R"(; echo '{"op":"cost","tokens":9}'; exit 1)").run();
    CHECK(outcome.kind == OutcomeKind::failed);
    CHECK(outcome.writes.empty());
    CHECK(to_json(outcome.cost) == R"({"tokens":9})");
}

TEST_CASE("standard error is kept from its end") {
    World world = shell("head -c 100000 /dev/zero | tr '\\0' x >&2; echo last words >&2; exit 1");
    const Outcome& outcome = world.run();
    CHECK(outcome.raw_error.size() == limits::stderr_bytes_kept);
    CHECK(outcome.raw_error.substr(outcome.raw_error.size() - 11) == "last words\n");
}

TEST_CASE("a program gets the declared environment and nothing else") {
    ::setenv("FOO", "secret", 1);
    ::setenv("PASSED", "ours", 1);
    World world({"env"});
    world.source().pass_environment = {"PASSED", "NOT_SET_ANYWHERE"};
    world.source().environment = {{"DECLARED", "a b=c"}};
    const std::string output = world.run().raw_output;
    CHECK(output ==
          "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nLANG=C.UTF-8\nPASSED=ours\n"
          "DECLARED=a b=c\n");

    World other({"/usr/bin/env"});
    other.source().environment = {{"PATH", "/nowhere"}, {"LANG", "C"}};
    CHECK(other.run().raw_output == "PATH=/nowhere\nLANG=C\n");

    World lost({"env"});
    lost.source().environment = {{"PATH", "/nowhere:/no"}};
    CHECK(lost.run().error == "cannot run \"env\": No such file or directory; looked in PATH=/nowhere:/no");
}

TEST_CASE("no shell comes between: arguments arrive as they are declared") {
    World world({"printf", "[%s]", "a b", "$HOME", "*", "'\"", ""});
    CHECK(world.run().raw_output == "[a b][$HOME][*]['\"][]");
}

TEST_CASE("a program starts in the crew's folder, without our descriptors, signals or core files") {
    const Folder folder;
    folder.write("tool", "#!/bin/sh\npwd\nls /proc/self/fd\ngrep -E '^Sig(Blk|Ign)' /proc/self/status\nulimit -c\n",
                 true);
    const int ours = ::dup(1);
    World world({"./tool"});
    world.crew->base_directory = folder.path.string();
    CHECK(world.run().raw_output == fs::canonical(folder.path).string() +
                                        "\n0\n1\n2\n3\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0\n");
    ::close(ours);

    World nowhere = shell("true");
    nowhere.crew->base_directory = "/no/such/folder";
    CHECK(nowhere.run().error ==
          "cannot run \"sh\": its directory \"/no/such/folder\" cannot be entered: No such file or directory");
}

TEST_CASE("a command that cannot be one is told, and finished comes later") {
    World empty({});
    CHECK(empty.run().error == "cannot run source \"churn\": its command is empty");
    CHECK(empty.started.empty());
    World nul({"sh", std::string("a\0b", 3)});
    CHECK(nul.run().error == "cannot run \"sh\": its command or environment holds a NUL byte");
}

TEST_CASE("a request larger than a pipe arrives whole") {
    World world({"wc", "-c"});
    auto entry = std::make_shared<Entry>();
    entry->id = {"evidence", 1};
    entry->content = Value::object({{"text", std::string(3'000'000, 'x')}});
    world.request->view = {{"evidence", {entry}, 0}};
    const std::string size = world.run().raw_output;
    CHECK(std::stoul(size) == make_request(*world.request).size());
}

TEST_CASE("cancelling ends the attempt with kind cancelled, once, and never inside the call") {
    World world = shell("sleep 60");
    world.start();
    boost::asio::steady_timer timer(world.loop, Milliseconds(100));
    timer.async_wait([&world](auto) {
        world.attempt->cancel();
        world.attempt->cancel();
        CHECK(world.finished_calls == 0);
    });
    world.loop.run();
    CHECK(world.finished_calls == 1);
    CHECK(world.outcome->kind == OutcomeKind::cancelled);
    CHECK(contains(world.outcome->error, "because the run stops; it was ended with SIGTERM"));
    world.attempt->cancel();
    world.loop.restart();
    world.loop.run();
    CHECK(world.finished_calls == 1);
    CHECK_FALSE(has_children());
}

TEST_CASE("cancelling right after the start works too") {
    World world = shell("trap '' TERM; sleep 60; sleep 60");
    world.start();
    world.attempt->cancel();
    world.loop.run();
    CHECK(world.outcome->kind == OutcomeKind::cancelled);
    CHECK_FALSE(has_children());
}

TEST_CASE("destroying an attempt in flight kills its group and calls nothing") {
    World world = shell("trap '' TERM; sleep 60 & sleep 60");
    world.start();
    boost::asio::steady_timer timer(world.loop, Milliseconds(100));
    timer.async_wait([&world](auto) { world.attempt.reset(); });
    world.loop.run();
    CHECK(world.finished_calls == 0);
    CHECK(group_is_over(world.started[0].group));
    CHECK_FALSE(has_children());
}

TEST_CASE("an attempt may be destroyed by its own finished") {
    World world = shell("true");
    AttemptEvents events;
    events.finished = [&world](Outcome) {
        world.attempt.reset();
        ++world.finished_calls;
    };
    world.attempt = world.kind->start(world.request, std::move(events));
    world.loop.run();
    CHECK(world.finished_calls == 1);
}

TEST_CASE("a loop that is destroyed with attempts in flight takes their processes along") {
    std::int64_t group = 0;
    {
        World world = shell("trap '' TERM; sleep 60");
        world.start();
        world.loop.poll();
        group = world.started[0].group;
        world.attempt.reset();
    }
    CHECK(group_is_over(group));
    CHECK_FALSE(has_children());
}

TEST_CASE("sixty-four attempts in flight all finish, on one thread") {
    const auto threads = [] {
        return std::distance(fs::directory_iterator("/proc/self/task"), fs::directory_iterator());
    };
    const auto threads_before = threads();
    World world = shell(std::string("cat >/dev/null; sleep 0.2; ") + prints_good);
    std::vector<std::unique_ptr<Attempt>> attempts;
    int good = 0;
    for (int i = 0; i < 64; ++i) {
        AttemptEvents events;
        events.finished = [&good](Outcome outcome) { good += outcome.kind == OutcomeKind::ok ? 1 : 0; };
        attempts.push_back(world.kind->start(world.request, std::move(events)));
    }
    world.loop.run();
    CHECK(good == 64);
    CHECK(threads() == threads_before);
    CHECK_FALSE(has_children());
}

TEST_CASE("a program dies with the process that started it") {
    int pipe_ends[2] = {-1, -1};
    REQUIRE(::pipe(pipe_ends) == 0);
    const pid_t owner = ::fork();
    if (owner == 0) {
        // The kernel's promise is about the program itself. A shell that forked its command first would
        // leave that one to the next owner, who ends the group.
        World world({"sleep", "60"});
        world.start();
        const std::int64_t group = world.started[0].group;
        const bool told = ::write(pipe_ends[1], &group, sizeof group) == static_cast<ssize_t>(sizeof group);
        ::_exit(told ? 0 : 1);
    }
    std::int64_t group = 0;
    REQUIRE(::read(pipe_ends[0], &group, sizeof group) == static_cast<ssize_t>(sizeof group));
    ::close(pipe_ends[0]);
    ::close(pipe_ends[1]);
    REQUIRE(::waitpid(owner, nullptr, 0) == owner);
    CHECK(group_is_over(group));
}

TEST_CASE("what a dead owner left is ended by its identity") {
    World world = shell("trap '' TERM; sleep 60 & sleep 60");
    world.start();
    CHECK(end_leftover_process(world.started[0]));
    world.loop.run();
    CHECK(world.outcome->error == "killed by signal 9 (SIGKILL)");
    CHECK(end_leftover_process(world.started[0]));
}

TEST_CASE("a leftover group whose leader is gone is ended too") {
    const pid_t leader = ::fork();
    if (leader == 0) {
        ::setpgid(0, 0);
        if (::fork() == 0) {
            ::sleep(60);
        }
        ::_exit(0);
    }
    REQUIRE(::waitpid(leader, nullptr, 0) == leader);
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    ProcessIdentity identity;
    std::getline(file, identity.boot_id);
    identity.group = leader;
    identity.start_ticks = 1;
    CHECK(::kill(-leader, 0) == 0);
    CHECK(end_leftover_process(identity));
    CHECK(group_is_over(leader));
}

TEST_CASE("a process that only has the number of a leftover is left alone") {
    World world = shell("sleep 60");
    world.start();
    ProcessIdentity other_start = world.started[0];
    other_start.start_ticks -= 1;
    CHECK(end_leftover_process(other_start));
    ProcessIdentity other_boot = world.started[0];
    other_boot.boot_id = "00000000-0000-0000-0000-000000000000";
    CHECK(end_leftover_process(other_boot));
    CHECK(end_leftover_process(ProcessIdentity{}));
    ProcessIdentity ourselves = world.started[0];
    ourselves.group = ::getpgrp();
    CHECK_FALSE(end_leftover_process(ourselves));
    CHECK(::kill(static_cast<pid_t>(world.started[0].group), 0) == 0);
    world.attempt->cancel();
    world.loop.run();
    CHECK(world.outcome->kind == OutcomeKind::cancelled);
}

TEST_CASE("the examples of the manual run as they are printed") {
    if (!can_run("jq") || !can_run("python3")) return;
    std::ifstream file(project_file("docs/source_protocol.md"));
    const std::string manual((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    REQUIRE_FALSE(manual.empty());
    // The first block of a language that begins with its interpreter.
    const auto block = [&manual](const std::string& opening) {
        const std::size_t begin = manual.find(opening + "\n#!");
        REQUIRE(begin != std::string::npos);
        const std::size_t code = begin + opening.size() + 1;
        return manual.substr(code, manual.find("\n```", code) + 1 - code);
    };
    const Folder folder;
    folder.write("count.sh", block("```sh"));
    folder.write("summarise.py", block("```python"));
    const auto entry = [](const char* region, std::uint64_t number, Value content) {
        auto made = std::make_shared<Entry>();
        made->id = {region, number};
        made->content = std::move(content);
        return made;
    };

    World count({"sh", "count.sh"});
    count.crew->base_directory = folder.path.string();
    count.source().when.variables = {"q"};
    count.request->members = {Binding{{entry("questions", 1, Value::object({{"text", "where is the risk?"}}))}}};
    const Outcome& counted = count.run();
    REQUIRE_MESSAGE(counted.kind == OutcomeKind::ok, counted.error, counted.raw_error);
    REQUIRE(counted.writes.size() == 1);
    CHECK(counted.writes[0].text == R"({"question":"questions/1","words":4})");
    CHECK(counted.writes[0].cites == std::vector<Cite>{Cite{{"questions", 1}, 0}});
    CHECK(counted.notes == std::vector<std::string>{"counted questions/1"});

    World summarise({"python3", "summarise.py"});
    summarise.crew->base_directory = folder.path.string();
    const auto fact = [&entry](std::uint64_t number, const char* question, int words) {
        return entry("facts", number, Value::object({{"question", question}, {"words", words}}));
    };
    summarise.request->view = {{"facts", {fact(1, "questions/1", 4), fact(2, "questions/2", 8)}, 0}};
    summarise.request->previous = {{1, RefusalRule::conflict, "the key was taken", Value()}};
    const Outcome& summarised = summarise.run();
    REQUIRE_MESSAGE(summarised.kind == OutcomeKind::ok, summarised.error, summarised.raw_error);
    REQUIRE(summarised.writes.size() == 1);
    CHECK(summarised.writes[0].text == R"({"name":"longest question","question":"questions/2","words":8})");
    CHECK(summarised.raw_error == "refused last time: the key was taken\n");
    CHECK(to_json(summarised.cost) == R"({"facts_read":2})");
}

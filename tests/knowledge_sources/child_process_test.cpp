#include <doctest/doctest.h>

#include <csignal>
#include <string>
#include <utility>

#include <boost/asio/io_context.hpp>

#include "board/limits.hpp"
#include "knowledge_sources/child_process.hpp"
#include "knowledge_sources/child_runner.hpp"
#include "tests/knowledge_sources/mcp_support.hpp"

using namespace stele;
using namespace stele::test;

namespace {

struct World {
    boost::asio::io_context loop;
    std::unique_ptr<RunningChild> child;
    std::string output;
    ChildEnd end;
    int ends = 0;

    Status start(const std::string& script, EnvironmentList environment = bare_environment()) {
        LaunchOptions options;
        options.command = {"sh", "-c", script};
        options.environment = std::move(environment);
        ChildEvents events;
        events.output = [this](std::string_view bytes) { return output.append(bytes), true; };
        events.ended = [this](const ChildEnd& how) {
            ++ends;
            end = how;
        };
        Result<std::unique_ptr<RunningChild>> made = RunningChild::start(loop, std::move(options), std::move(events));
        if (!made) return made.error();
        child = std::move(*made);
        return Done{};
    }
    void run() {
        loop.restart();
        loop.run();
    }
};

}  // namespace

TEST_CASE("a child reads what it is sent, is read to its last byte, and its end is told once") {
    World world;
    REQUIRE(world.start("cat; echo done; echo last words >&2; exit 4").ok());
    const std::string much(3'000'000, 'x');
    world.child->write(much);
    CHECK(world.child->queued_bytes() > 0);
    world.child->write("end\n");
    world.child->close_input();
    CHECK(world.ends == 0);
    world.run();
    CHECK(world.ends == 1);
    CHECK(world.output == much + "end\ndone\n");
    CHECK(world.end.exit.known);
    CHECK(world.end.exit.code == 4);
    CHECK(world.end.message == "exited with status 4: last words");
    CHECK(no_child_left());
}

TEST_CASE("one child after another on the same loop, each ends by its own end") {
    World world;
    for (int i = 0; i < 20; ++i) {
        REQUIRE(world.start("sleep 0.01; echo out; echo err >&2").ok());
        world.output.clear();
        // Handler by handler, so that the next begins while the loop still holds news of the last.
        while (world.ends == i && world.loop.run_one() > 0) {
        }
        REQUIRE(world.ends == i + 1);
        CHECK(world.output == "out\n");
        CHECK(world.end.exit.known);
        CHECK(world.end.exit.signal == 0);
        world.loop.restart();
    }
    world.child.reset();
    world.run();
    CHECK(no_child_left());
}

TEST_CASE("a child that goes when its input ends is not killed, and whom it left behind goes with it") {
    World world;
    REQUIRE(world.start("sleep 60 >/dev/null 2>&1 & read line; exit 0").ok());
    world.child->end();
    world.run();
    CHECK(world.ends == 1);
    CHECK(world.end.message == "exited with status 0");
    CHECK(no_child_left());
}

TEST_CASE("a child that ignores the end of its input gets SIGTERM") {
    World world;
    REQUIRE(world.start("exec sleep 60").ok());
    world.child->end();
    world.run();
    CHECK(world.end.message == "killed by signal 15 (SIGTERM)");
    CHECK(no_child_left());
}

TEST_CASE("destroying a child kills its whole group at once, and nothing is told") {
    World world;
    REQUIRE(world.start("trap '' TERM; sleep 60 & sleep 60").ok());
    world.loop.run_for(std::chrono::milliseconds(50));
    world.child.reset();
    world.run();
    CHECK(world.ends == 0);
    CHECK(no_child_left());
}

TEST_CASE("a child sees the environment that was laid out for it, and no other") {
    World world;
    EnvironmentList environment = bare_environment();
    set_variable(environment, "LANG", "C");
    set_variable(environment, "MORE", "a=b");
    REQUIRE(world.start("/usr/bin/env | sort | grep -v '^_=\\|^PWD=\\|^SHLVL=\\|^OLDPWD='", environment).ok());
    world.run();
    CHECK(world.output == "LANG=C\nMORE=a=b\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
}

TEST_CASE("what cannot be started is said, before or after the fork") {
    World world;
    EnvironmentList environment = bare_environment();
    set_variable(environment, "BAD", std::string("a\0b", 3));
    CHECK(world.start("true", environment).error().message ==
          "cannot run \"sh\": its command or environment holds a NUL byte");
    LaunchOptions options;
    options.command = {"./missing"};
    options.directory = "/";
    ChildEvents events;
    events.ended = [&world](const ChildEnd& how) { world.end = how; };
    Result<std::unique_ptr<RunningChild>> child = RunningChild::start(world.loop, options, std::move(events));
    REQUIRE(child.ok());
    world.run();
    CHECK(world.end.not_started);
    CHECK(world.end.message == "cannot run \"./missing\": No such file or directory; looked in \"/\"");
    CHECK(no_child_left());
}

TEST_CASE("the last line of an error output is fit for a message") {
    CHECK(last_line_of("") == "");
    CHECK(last_line_of("one\ntwo\n\n \t") == "two");
    CHECK(last_line_of("a\r\nb\x1b[0m") == "b?[0m");
    CHECK(last_line_of(std::string(1'000, 'x')).size() == 300);
}

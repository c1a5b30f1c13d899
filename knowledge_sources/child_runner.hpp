// A child process on the loop: what it prints is handed on, what it is to read is queued, its end is told
// once, and it never outlives its RunningChild. For MCP servers and for tools that are programs; the
// attempts of `kind: process` watch their own. Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "board/result.hpp"
#include "knowledge_sources/child_process.hpp"

namespace boost::asio {
class io_context;
}

namespace stele {

struct ChildEnd {
    ExitStatus exit;
    /// It has never become its program; `message` says why.
    bool not_started = false;
    /// A sentence's end: "exited with status 1: no such file", with the last line of its error output.
    std::string message;
};

struct ChildEvents {
    /// Pieces of standard output as they come; false: no more of it is wanted.
    std::function<bool(std::string_view)> output;
    /// Exactly once, after the last piece of output, from the loop. Nothing follows it.
    std::function<void(const ChildEnd&)> ended;
};

class RunningChild {
public:
    /// Fails with io or invalid_argument when nothing could be started at all. Calls nothing itself.
    static Result<std::unique_ptr<RunningChild>> start(boost::asio::io_context& loop, LaunchOptions options,
                                                       ChildEvents events);
    /// Kills the whole group at once, and nothing is called any more.
    ~RunningChild();
    RunningChild(const RunningChild&) = delete;
    RunningChild& operator=(const RunningChild&) = delete;

    /// Queued; thrown away once the child does not read any more.
    void write(std::string_view bytes);
    /// Once all that is queued has gone.
    void close_input();
    /// The close ladder: closes its input, waits, SIGTERM, waits, SIGKILL of the group; `ended` follows.
    void end();
    /// Bytes that wait for the child to read them.
    [[nodiscard]] std::size_t queued_bytes() const;
    /// The last line of its error output so far.
    [[nodiscard]] std::string last_words() const;

private:
    class State;
    explicit RunningChild(std::shared_ptr<State> state);
    std::shared_ptr<State> state_;
};

}  // namespace stele

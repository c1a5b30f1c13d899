// Child processes: what is laid out before fork, the fork itself, and who a process is afterwards.
// Every child is the leader of a process group of its own, holds no descriptor of ours but its three
// streams, dies with the thread that made it, and waits at a gate until open_gate() lets it become
// its program.
//
// Who watches streams and ends is somebody else's matter. Any thread, but the one that spawns must
// live as long as the child, because the kernel kills the child when it ends.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>
#include <unistd.h>

#include "board/result.hpp"

namespace stele {

class OwnedFd {
public:
    OwnedFd() = default;
    explicit OwnedFd(int fd) : fd_(fd) {}
    OwnedFd(OwnedFd&& other) noexcept : fd_(other.release()) {}
    OwnedFd& operator=(OwnedFd&& other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    ~OwnedFd() { reset(); }

    [[nodiscard]] int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }
    void reset(int fd = -1) {
        if (fd_ >= 0) ::close(fd_);
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

// ---- who a process is ----

struct ProcessStat {
    char state = '?';
    std::int64_t group = 0;
    std::uint64_t start_ticks = 0;
};

/// From /proc; nothing when there is no such process.
std::optional<ProcessStat> read_process_stat(std::int64_t pid);
/// Empty when /proc does not tell.
std::string read_boot_id();

/// How a process ended; `known` is false while it has not, or when somebody else has taken its status.
struct ExitStatus {
    bool known = false;
    int code = 0;
    int signal = 0;
};

/// Leaves the zombie where it is.
ExitStatus peek_exit(pid_t pid);
/// Asks the pidfd, without waiting: the loop may say that it is ready when it is not.
bool has_ended(int handle);
/// "exited with status 3", "killed by signal 9 (SIGKILL)".
std::string exit_text(const ExitStatus& exit);

// ---- starting one ----

using EnvironmentList = std::vector<std::pair<std::string, std::string>>;

/// Sets a variable in a list, in place when it is there.
void set_variable(EnvironmentList& environment, const std::string& name, const std::string& value);
/// What every program of a crew starts from: a plain PATH and LANG, nothing of this process's own.
EnvironmentList bare_environment();
/// Takes over those of the named variables that this process has.
void pass_variables(EnvironmentList& environment, const std::vector<std::string>& names);

struct LaunchOptions {
    std::vector<std::string> command;
    EnvironmentList environment;
    std::string directory;           // empty: this process's own
    std::uint64_t memory_bytes = 0;  // address space; 0: unlimited
};

/// What is needed to become the program, laid out before fork: between fork and exec nothing may
/// allocate, because another thread could have held the allocator's lock.
struct Launch {
    std::vector<std::string> arguments;
    std::vector<std::string> environment;
    std::vector<std::string> candidates;  // where the program may be, tried in order
    std::vector<char*> argv;
    std::vector<char*> envp;
    std::vector<char*> files;
    std::string directory;
    std::string path;
    std::uint64_t memory_bytes = 0;

    Launch() = default;
    Launch(Launch&&) = default;
    Launch& operator=(Launch&&) = default;
};

/// Fails with invalid_argument for a command that no program can be started with. The command must
/// not be empty.
Result<Launch> plan_launch(LaunchOptions options);

/// A child that waits at its gate, and this side of its pipes. Streams do not block.
struct Child {
    pid_t pid = 0;
    OwnedFd handle;  // pidfd
    OwnedFd input;
    OwnedFd output;
    OwnedFd error;
    OwnedFd gate;
    OwnedFd failure;
};

/// Fails with io. The error names the program.
Result<Child> spawn(const Launch& launch);

/// Lets the child become its program; false when it has died before.
bool open_gate(const Child& child);

/// Ends a child that has never become the program. Blocks until it is gone.
void discard_child(pid_t pid);

enum class LaunchStep : int { directory, memory, exec };

struct LaunchFailure {
    LaunchStep step = LaunchStep::exec;
    int error = 0;
};

/// Why the child did not become its program, if it has ended without; from Child::failure.
std::optional<LaunchFailure> read_launch_failure(const OwnedFd& failure);
/// A sentence: `cannot run "x": ...`.
std::string failure_text(const Launch& launch, const LaunchFailure& failure);

/// From here on a child that does not read its input cannot end this process by SIGPIPE, unless a
/// handler is installed already.
void ignore_broken_pipes();

// ---- reading its streams ----

/// The last line of a stream that says anything, fit to be part of a message.
std::string last_line_of(std::string_view text);

enum class ReadEnd { at_end, empty, busy };

/// Reads what there is, `reads_max` times at most; `keep` gets the bytes and ends it with false.
template <class Keep>
ReadEnd read_available(int fd, int reads_max, Keep keep) {
    char buffer[64U << 10];
    for (int i = 0; i < reads_max; ++i) {
        const ssize_t count = ::read(fd, buffer, sizeof buffer);
        if (count > 0) {
            if (!keep(std::string_view(buffer, static_cast<std::size_t>(count)))) return ReadEnd::at_end;
            continue;
        }
        if (count == 0) return ReadEnd::at_end;
        if (errno == EINTR) continue;
        return errno == EAGAIN ? ReadEnd::empty : ReadEnd::at_end;
    }
    return ReadEnd::busy;
}

}  // namespace stele

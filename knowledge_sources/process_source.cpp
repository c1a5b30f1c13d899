#include "knowledge_sources/process_source.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "board/limits.hpp"
#include "knowledge_sources/process_protocol.hpp"

namespace stele {

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;
using Descriptor = boost::asio::posix::stream_descriptor;
using ErrorOf = boost::system::error_code;

constexpr const char* path_default = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr Milliseconds drain_wait{200};
constexpr Milliseconds leftover_wait{2'000};
/// Thirty years; more would overflow the clock's nanoseconds.
constexpr std::int64_t deadline_ms_max = 1'000'000'000'000;
constexpr std::size_t read_bytes = 64U << 10;
/// Reads of one stream before other work of the loop has its turn.
constexpr int reads_in_a_row = 4;
constexpr std::size_t stderr_line_bytes_shown = 300;

std::string system_error_text(int error) { return std::generic_category().message(error); }

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

std::optional<ProcessStat> read_process_stat(std::int64_t pid) {
    const OwnedFd file(::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
    char buffer[4'096];
    // Fails, too, when the process goes away after the file is open.
    const ssize_t size = ::read(file.get(), buffer, sizeof buffer);
    if (size <= 0) return std::nullopt;
    const std::string_view text(buffer, static_cast<std::size_t>(size));
    // The command name stands in parentheses and may hold spaces and parentheses of its own.
    const std::size_t name_end = text.rfind(')');
    if (name_end == std::string_view::npos) return std::nullopt;
    ProcessStat stat;
    std::size_t at = name_end + 1;
    for (int field = 3; field <= 22; ++field) {
        at = text.find_first_not_of(' ', at);
        if (at == std::string_view::npos) return std::nullopt;
        const std::size_t end = std::min(text.find(' ', at), text.size());
        const char* const first = text.data() + at;
        const char* const last = text.data() + end;
        if (field == 3) stat.state = *first;
        if (field == 5) std::from_chars(first, last, stat.group);
        if (field == 22) std::from_chars(first, last, stat.start_ticks);
        at = end;
    }
    return stat;
}

std::string read_boot_id() {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string id;
    std::getline(file, id);
    return id;
}

// ---- becoming the program: everything up to exec ----

struct Pipe {
    OwnedFd read;
    OwnedFd write;
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
};

enum class LaunchStep : int { directory, memory, exec };

struct LaunchFailure {
    LaunchStep step = LaunchStep::exec;
    int error = 0;
};

/// Descriptors of the child while it becomes the program.
enum ChildFd : int { gate_fd = 3, failure_fd = 4, first_other_fd = 5 };
/// Every pipe end of the parent lies above, so that moving them in the child never overwrites one.
constexpr int parent_fd_min = 10;

struct ChildPipes {
    Pipe input;
    Pipe output;
    Pipe error;
    Pipe gate;
    Pipe failure;
};

/// Ends the child with the reason; the parent reads it from the failure pipe.
[[noreturn]] void give_up(LaunchStep step, int error) {
    const LaunchFailure failure{step, error};
    const ssize_t written = ::write(failure_fd, &failure, sizeof failure);
    ::_exit(written == static_cast<ssize_t>(sizeof failure) ? 127 : 126);
}

/// The child's way from fork to exec; only async-signal-safe calls.
[[noreturn]] void become_program(const Launch& launch, const ChildPipes& pipes, pid_t parent) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // The parent may have died before the line above took effect.
    if (::getppid() != parent) ::_exit(127);

    struct sigaction by_default = {};
    by_default.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &by_default, nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);

    const bool moved =
        ::dup2(pipes.input.read.get(), STDIN_FILENO) >= 0 && ::dup2(pipes.output.write.get(), STDOUT_FILENO) >= 0 &&
        ::dup2(pipes.error.write.get(), STDERR_FILENO) >= 0 && ::dup2(pipes.gate.read.get(), gate_fd) >= 0 &&
        ::dup3(pipes.failure.write.get(), failure_fd, O_CLOEXEC) >= 0;
    if (!moved) ::_exit(127);
    if (::close_range(first_other_fd, ~0U, 0) != 0) {
        struct rlimit open_files = {};
        ::getrlimit(RLIMIT_NOFILE, &open_files);
        for (int fd = first_other_fd; fd < static_cast<int>(open_files.rlim_cur); ++fd) ::close(fd);
    }

    // No effect before the parent has the identity on record; its death closes the gate.
    char token = 0;
    ssize_t passed = 0;
    do {
        passed = ::read(gate_fd, &token, 1);
    } while (passed < 0 && errno == EINTR);
    if (passed != 1) ::_exit(127);
    ::close(gate_fd);

    if (!launch.directory.empty() && ::chdir(launch.directory.c_str()) != 0) give_up(LaunchStep::directory, errno);
    const struct rlimit no_core = {0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    if (launch.memory_bytes > 0) {
        const struct rlimit memory = {launch.memory_bytes, launch.memory_bytes};
        if (::setrlimit(RLIMIT_AS, &memory) != 0) give_up(LaunchStep::memory, errno);
    }
    int error = ENOENT;
    for (char* const file : launch.files) {
        ::execve(file, launch.argv.data(), launch.envp.data());
        const int why = errno;
        if (why == EACCES) error = EACCES;
        if (why != EACCES && why != ENOENT && why != ENOTDIR) give_up(LaunchStep::exec, why);
    }
    give_up(LaunchStep::exec, error);
}

std::vector<std::string> environment_of(const SourceSpec& source, std::string& path) {
    std::vector<std::pair<std::string, std::string>> all = {{"PATH", path_default}, {"LANG", "C.UTF-8"}};
    const auto set = [&all](const std::string& name, const std::string& value) {
        for (auto& [known, text] : all) {
            if (known == name) {
                text = value;
                return;
            }
        }
        all.emplace_back(name, value);
    };
    for (const std::string& name : source.pass_environment) {
        if (const char* value = std::getenv(name.c_str())) set(name, value);
    }
    for (const auto& [name, value] : source.environment) set(name, value);
    std::vector<std::string> lines;
    for (const auto& [name, value] : all) {
        lines.push_back(name + "=" + value);
        if (name == "PATH") path = value;
    }
    return lines;
}

std::vector<std::string> candidates_of(const std::string& program, const std::string& path) {
    if (program.find('/') != std::string::npos) return {program};
    std::vector<std::string> files;
    for (std::size_t begin = 0; begin <= path.size();) {
        const std::size_t end = std::min(path.find(':', begin), path.size());
        const std::string directory = path.substr(begin, end - begin);
        files.push_back((directory.empty() ? "." : directory) + "/" + program);
        begin = end + 1;
    }
    return files;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts, bool null_ended) {
    std::vector<char*> pointers;
    for (std::string& text : texts) pointers.push_back(text.data());
    if (null_ended) pointers.push_back(nullptr);
    return pointers;
}

/// Fails with invalid_argument for a command that no program can be started with.
Status plan_launch(const ActivationRequest& request, Launch& launch) {
    const SourceSpec& source = *request.source;
    if (source.command.empty() || source.command.front().empty()) {
        return Error{ErrorCode::invalid_argument, "cannot run source \"" + source.name + "\": its command is empty"};
    }
    launch.arguments = source.command;
    launch.environment = environment_of(source, launch.path);
    for (const std::vector<std::string>* texts : {&launch.arguments, &launch.environment}) {
        for (const std::string& text : *texts) {
            if (text.find('\0') == std::string::npos) continue;
            return Error{ErrorCode::invalid_argument,
                         "cannot run \"" + source.command.front() + "\": its command or environment holds a NUL byte"};
        }
    }
    launch.candidates = candidates_of(launch.arguments.front(), launch.path);
    launch.argv = pointers_to(launch.arguments, true);
    launch.envp = pointers_to(launch.environment, true);
    launch.files = pointers_to(launch.candidates, false);
    if (request.crew) launch.directory = request.crew->base_directory;
    launch.memory_bytes = source.limits.memory_bytes;
    return Done{};
}

/// Both ends are closed at exec; false leaves errno.
bool open_pipe(Pipe& pipe) {
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) return false;
    const OwnedFd low_read(ends[0]);
    const OwnedFd low_write(ends[1]);
    pipe.read.reset(::fcntl(low_read.get(), F_DUPFD_CLOEXEC, parent_fd_min));
    pipe.write.reset(::fcntl(low_write.get(), F_DUPFD_CLOEXEC, parent_fd_min));
    return pipe.read.get() >= 0 && pipe.write.get() >= 0;
}

bool make_non_blocking(int fd) {
    const int flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

/// A child that waits at its gate, and this side of its pipes.
struct Child {
    pid_t pid = 0;
    OwnedFd handle;  // pidfd
    OwnedFd input;
    OwnedFd output;
    OwnedFd error;
    OwnedFd gate;
    OwnedFd failure;
};

/// Ends a child that has never become the program.
void discard_child(pid_t pid) {
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
}

Result<Child> spawn(const Launch& launch) {
    const auto failed = [&launch](const char* what) {
        const int error = errno;
        return Error{ErrorCode::io,
                     "cannot run \"" + launch.arguments.front() + "\": " + what + ": " + system_error_text(error)};
    };
    ChildPipes pipes;
    for (Pipe* pipe : {&pipes.input, &pipes.output, &pipes.error, &pipes.gate, &pipes.failure}) {
        if (!open_pipe(*pipe)) return failed("no pipe could be opened");
    }
    for (const OwnedFd* end : {&pipes.input.write, &pipes.output.read, &pipes.error.read, &pipes.failure.read}) {
        if (!make_non_blocking(end->get())) return failed("a pipe could not be prepared");
    }
    // A handler of ours must not run in the child, where it could write to a pipe both still share.
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    const pid_t self = ::getpid();
    const pid_t pid = ::fork();
    if (pid == 0) become_program(launch, pipes, self);
    const int fork_error = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    errno = fork_error;
    if (pid < 0) return failed("no process could be made");

    // Done on both sides, so that the group exists whoever is first.
    ::setpgid(pid, pid);
    Child child;
    child.pid = pid;
    child.handle.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (child.handle.get() < 0) {
        const Error error = failed("its end could not be watched");
        discard_child(pid);
        return error;
    }
    child.input = std::move(pipes.input.write);
    child.output = std::move(pipes.output.read);
    child.error = std::move(pipes.error.read);
    child.gate = std::move(pipes.gate.write);
    child.failure = std::move(pipes.failure.read);
    return child;
}

std::string failure_text(const Launch& launch, const LaunchFailure& failure) {
    const std::string& program = launch.arguments.front();
    std::string text = "cannot run \"" + program + "\": ";
    switch (failure.step) {
        case LaunchStep::directory:
            return text + "its directory \"" + launch.directory +
                   "\" cannot be entered: " + system_error_text(failure.error);
        case LaunchStep::memory:
            return text + "its memory limit of " + std::to_string(launch.memory_bytes) +
                   " bytes cannot be set: " + system_error_text(failure.error);
        case LaunchStep::exec:
            break;
    }
    text += system_error_text(failure.error);
    if (failure.error == ENOEXEC) return text + "; a script needs a first line such as #!/bin/sh";
    if (program.find('/') == std::string::npos) return text + "; looked in PATH=" + launch.path;
    const std::filesystem::path file = std::filesystem::path(launch.directory) / program;
    std::error_code ignored;
    if (failure.error == ENOENT && std::filesystem::exists(file, ignored)) {
        return text + "; the file is there, so what its #! line names is missing";
    }
    if (program.front() != '/') text += "; looked in \"" + launch.directory + "\"";
    return text;
}

// ---- telling how it ended ----

/// The last line of standard error that says anything, fit to be part of a message.
std::string last_line_of(std::string_view text) {
    while (!text.empty() && (std::isspace(static_cast<unsigned char>(text.back())) || text.back() == '\0')) {
        text.remove_suffix(1);
    }
    const std::size_t newline = text.find_last_of("\r\n");
    if (newline != std::string_view::npos) text.remove_prefix(newline + 1);
    text = text.substr(0, stderr_line_bytes_shown);
    std::string line;
    for (const char c : text) {
        // Anything beyond plain text may be half a character, or a terminal's control sequence.
        line += (c >= 0x20 && c < 0x7f) ? c : '?';
    }
    return line;
}

std::string signal_text(int signal) {
    std::string text = "signal " + std::to_string(signal);
    if (const char* name = ::sigabbrev_np(signal)) text += " (SIG" + std::string(name) + ")";
    return text;
}

/// How a process ended; `known` is false when somebody else has taken its status.
struct ExitStatus {
    bool known = false;
    int code = 0;
    int signal = 0;
};

// ---- one attempt ----

/// Kept alive by its own pending operations, so that the process is reaped even when the Attempt is
/// gone. The zombie is reaped last: until then no other process can have the group's number.
class ProcessRun : public std::enable_shared_from_this<ProcessRun> {
public:
    ProcessRun(boost::asio::io_context& loop, std::shared_ptr<const ActivationRequest> request, AttemptEvents events)
        : loop_(loop),
          request_(std::move(request)),
          events_(std::move(events)),
          exit_(loop),
          input_(loop),
          output_(loop),
          error_(loop),
          deadline_timer_(loop),
          kill_timer_(loop),
          drain_timer_(loop) {}

    ~ProcessRun() {
        if (pid_ <= 0 || reaped_) return;
        // Only when the loop is destroyed with a process in flight; SIGKILL is quick.
        ::kill(-pid_, SIGKILL);
        struct pollfd exit = {exit_.native_handle(), POLLIN, 0};
        ::poll(&exit, 1, 1'000);
        ::waitpid(pid_, nullptr, WNOHANG);
    }

    void begin();
    void cancel() { end_early(OutcomeKind::cancelled); }
    void abandon();

private:
    bool adopt(Child& child);
    void refuse_start(std::string why, int exit_code);
    void watch_exit();
    void on_exit();
    void write_input();
    void read_output();
    void read_error();
    bool drain_output(int reads_max);
    bool drain_error(int reads_max);
    void keep_output(std::string_view bytes);
    void keep_error(std::string_view bytes);
    void end_early(OutcomeKind kind);
    void kill_now();
    void conclude_if_silent();
    void conclude();
    void judge(Outcome& outcome);
    [[nodiscard]] ExitStatus peek_exit() const;
    [[nodiscard]] bool has_exited() const;
    void reap();
    void close_streams();
    void finish(Outcome outcome);

    boost::asio::io_context& loop_;
    std::shared_ptr<const ActivationRequest> request_;
    AttemptEvents events_;
    Launch launch_;
    Descriptor exit_;
    Descriptor input_;
    Descriptor output_;
    Descriptor error_;
    boost::asio::steady_timer deadline_timer_;
    boost::asio::steady_timer kill_timer_;
    boost::asio::steady_timer drain_timer_;
    OwnedFd failure_;
    Clock::time_point begun_ = Clock::now();
    pid_t pid_ = 0;
    std::int64_t deadline_ms_ = 0;
    std::string input_text_;
    std::size_t input_written_ = 0;
    std::string raw_output_;
    std::string raw_error_;
    bool output_open_ = false;
    bool error_open_ = false;
    bool exited_ = false;
    bool reaped_ = false;
    bool term_sent_ = false;
    bool kill_sent_ = false;
    bool finished_ = false;
    bool abandoned_ = false;
    /// Why it is being ended before its own end.
    std::optional<OutcomeKind> ending_;
};

void ProcessRun::begin() {
    Status planned = plan_launch(*request_, launch_);
    if (!planned) return refuse_start(planned.error().message, 127);
    Result<Child> child = spawn(launch_);
    if (!child) return refuse_start(child.error().message, 127);
    pid_ = child->pid;
    const std::string not_run = "cannot run \"" + launch_.arguments.front() + "\": ";
    if (!adopt(*child)) return refuse_start(not_run + "the loop cannot watch its streams", 127);
    watch_exit();

    const std::optional<ProcessStat> stat = read_process_stat(pid_);
    const std::string boot_id = read_boot_id();
    if (!stat || boot_id.empty()) return refuse_start(not_run + "/proc does not tell its identity", 127);
    if (events_.started && !events_.started(ProcessIdentity{pid_, stat->start_ticks, boot_id})) {
        return refuse_start(not_run + "its start was not recorded", 127);
    }
    const char token = 1;
    if (::write(child->gate.get(), &token, 1) != 1) return refuse_start(not_run + "it died before its start", 127);
    failure_ = std::move(child->failure);

    input_text_ = make_request(*request_);
    write_input();
    read_output();
    read_error();
    deadline_ms_ = request_->deadline_ms > 0 ? request_->deadline_ms : request_->source->limits.timeout_ms;
    deadline_ms_ = std::min(deadline_ms_, deadline_ms_max);
    deadline_timer_.expires_at(begun_ + Milliseconds(deadline_ms_));
    deadline_timer_.async_wait([self = shared_from_this()](const ErrorOf& error) {
        // An exit that the loop has not come to yet was in time.
        if (!error && !self->has_exited()) self->end_early(OutcomeKind::timeout);
    });
}

bool ProcessRun::adopt(Child& child) {
    const auto assign = [](Descriptor& descriptor, OwnedFd& fd) {
        ErrorOf error;
        descriptor.assign(fd.get(), error);
        if (!error) fd.release();
        return !error;
    };
    output_open_ = true;
    error_open_ = true;
    if (assign(exit_, child.handle) && assign(input_, child.input) && assign(output_, child.output) &&
        assign(error_, child.error)) {
        return true;
    }
    discard_child(pid_);
    reaped_ = true;
    return false;
}

/// Nothing has run: the child, if there is one, dies at its gate.
void ProcessRun::refuse_start(std::string why, int exit_code) {
    if (pid_ > 0 && !reaped_) ::kill(-pid_, SIGKILL);
    Outcome outcome;
    outcome.kind = OutcomeKind::not_started;
    outcome.error = std::move(why);
    outcome.exit_code = exit_code;
    finish(std::move(outcome));
}

void ProcessRun::watch_exit() {
    exit_.async_wait(Descriptor::wait_read, [self = shared_from_this()](const ErrorOf& error) {
        if (!error) self->on_exit();
    });
}

void ProcessRun::on_exit() {
    exited_ = true;
    if (finished_) {
        reap();
        return;
    }
    ErrorOf ignored;
    input_.close(ignored);
    // A program's own children may hold its streams open for as long as they like.
    drain_timer_.expires_after(drain_wait);
    drain_timer_.async_wait([self = shared_from_this()](const ErrorOf& error) {
        if (!error && !self->finished_) self->conclude();
    });
    conclude_if_silent();
}

void ProcessRun::write_input() {
    while (input_written_ < input_text_.size()) {
        const ssize_t written =
            ::write(input_.native_handle(), input_text_.data() + input_written_, input_text_.size() - input_written_);
        if (written >= 0) {
            input_written_ += static_cast<std::size_t>(written);
            continue;
        }
        if (errno == EINTR) continue;
        // A source that does not care to read its input may still do its work.
        if (errno != EAGAIN) break;
        input_.async_wait(Descriptor::wait_write, [self = shared_from_this()](const ErrorOf& error) {
            if (!error && self->input_.is_open()) self->write_input();
        });
        return;
    }
    ErrorOf ignored;
    input_.close(ignored);
    input_text_ = std::string();
}

void ProcessRun::read_output() {
    output_.async_wait(Descriptor::wait_read, [self = shared_from_this()](const ErrorOf& error) {
        if (error || self->finished_ || !self->output_open_) return;
        if (self->drain_output(reads_in_a_row)) {
            self->read_output();
        } else {
            self->conclude_if_silent();
        }
    });
}

void ProcessRun::read_error() {
    error_.async_wait(Descriptor::wait_read, [self = shared_from_this()](const ErrorOf& error) {
        if (error || self->finished_ || !self->error_open_) return;
        if (self->drain_error(reads_in_a_row)) {
            self->read_error();
        } else {
            self->conclude_if_silent();
        }
    });
}

enum class ReadEnd { at_end, empty, busy };

template <class Keep>
ReadEnd read_available(int fd, int reads_max, Keep keep) {
    char buffer[read_bytes];
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

bool ProcessRun::drain_output(int reads_max) {
    const ReadEnd end = read_available(output_.native_handle(), reads_max, [this](std::string_view bytes) {
        keep_output(bytes);
        return ending_ != OutcomeKind::flooded;
    });
    output_open_ = end != ReadEnd::at_end;
    return output_open_;
}

bool ProcessRun::drain_error(int reads_max) {
    const ReadEnd end = read_available(error_.native_handle(), reads_max, [this](std::string_view bytes) {
        keep_error(bytes);
        return true;
    });
    error_open_ = end != ReadEnd::at_end;
    return error_open_;
}

void ProcessRun::keep_output(std::string_view bytes) {
    const std::size_t room = request_->source->limits.output_bytes - raw_output_.size();
    raw_output_.append(bytes.substr(0, room));
    if (bytes.size() <= room) return;
    if (!ending_) ending_ = OutcomeKind::flooded;
    kill_now();
}

void ProcessRun::keep_error(std::string_view bytes) {
    raw_error_.append(bytes);
    if (raw_error_.size() > 2 * limits::stderr_bytes_kept) {
        raw_error_.erase(0, raw_error_.size() - limits::stderr_bytes_kept);
    }
}

void ProcessRun::end_early(OutcomeKind kind) {
    if (finished_ || ending_) return;
    ending_ = kind;
    if (exited_) {
        conclude();
        return;
    }
    ::kill(-pid_, SIGTERM);
    term_sent_ = true;
    kill_timer_.expires_after(Milliseconds(limits::kill_grace_ms));
    kill_timer_.async_wait([self = shared_from_this()](const ErrorOf& error) {
        if (!error && !self->finished_ && !self->exited_) self->kill_now();
    });
}

void ProcessRun::kill_now() {
    kill_sent_ = true;
    ::kill(-pid_, SIGKILL);
    if (exited_) return;
    // A process that hangs inside the kernel does not die even of this; the run goes on without it.
    kill_timer_.expires_after(Milliseconds(limits::kill_grace_ms));
    kill_timer_.async_wait([self = shared_from_this()](const ErrorOf& error) {
        if (!error && !self->finished_ && !self->exited_) self->conclude();
    });
}

void ProcessRun::conclude_if_silent() {
    if (finished_ || !exited_) return;
    if (output_open_ || error_open_) return;
    conclude();
}

void ProcessRun::conclude() {
    // What was written before the end counts, even when the loop was too busy to read it.
    constexpr int last_reads_max = 1'024;
    if (output_open_) drain_output(last_reads_max);
    if (error_open_) drain_error(last_reads_max);
    Outcome outcome;
    judge(outcome);
    if (exited_) reap();
    outcome.raw_output = std::move(raw_output_);
    if (raw_error_.size() > limits::stderr_bytes_kept) {
        raw_error_.erase(0, raw_error_.size() - limits::stderr_bytes_kept);
    }
    outcome.raw_error = std::move(raw_error_);
    finish(std::move(outcome));
}

void ProcessRun::judge(Outcome& outcome) {
    const ExitStatus exit = peek_exit();
    outcome.exit_code = exit.signal > 0 ? 128 + exit.signal : exit.code;
    ParsedOutput parsed = parse_output(raw_output_, *request_->source);
    outcome.notes = std::move(parsed.notes);
    outcome.cost = std::move(parsed.cost);

    if (ending_) {
        outcome.kind = *ending_;
        const char* how = !exited_     ? "; it has not gone even after SIGKILL"
                          : kill_sent_ ? "; it stayed after SIGTERM and was killed"
                          : term_sent_ ? "; it was ended with SIGTERM"
                                       : "";
        if (outcome.kind == OutcomeKind::timeout) {
            outcome.error = "did not end within its deadline of " + std::to_string(deadline_ms_) + " ms" + how;
        } else if (outcome.kind == OutcomeKind::cancelled) {
            outcome.error = std::string("was cancelled because the run stops") + how;
        } else {
            outcome.error = "wrote more than its limit of " + std::to_string(request_->source->limits.output_bytes) +
                            " bytes to standard output and was killed";
        }
        return;
    }
    LaunchFailure failure;
    if (::read(failure_.get(), &failure, sizeof failure) == static_cast<ssize_t>(sizeof failure)) {
        outcome.kind = OutcomeKind::not_started;
        outcome.error = failure_text(launch_, failure);
        outcome.exit_code = failure.step == LaunchStep::exec && failure.error == EACCES ? 126 : 127;
        return;
    }
    if (exit.known && exit.signal == 0 && exit.code == 0) {
        if (parsed.ok()) {
            outcome.writes = std::move(parsed.writes);
        } else {
            outcome.kind = OutcomeKind::malformed;
            outcome.error = parsed.error();
        }
        return;
    }
    outcome.kind = OutcomeKind::failed;
    if (!exit.known) {
        outcome.error = "ended, but its exit status was taken by another part of this program";
    } else if (exit.signal > 0) {
        outcome.error = "killed by " + signal_text(exit.signal);
    } else {
        outcome.error = "exited with status " + std::to_string(exit.code);
    }
    const std::string last_words = last_line_of(raw_error_);
    if (!last_words.empty()) outcome.error += ": " + last_words;
}

/// Leaves the zombie where it is.
ExitStatus ProcessRun::peek_exit() const {
    siginfo_t info = {};
    ExitStatus exit;
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) {
        return exit;
    }
    exit.known = true;
    if (info.si_code == CLD_EXITED) {
        exit.code = info.si_status;
    } else {
        exit.signal = info.si_status;
    }
    return exit;
}

bool ProcessRun::has_exited() const { return exited_ || reaped_ || peek_exit().known; }

void ProcessRun::reap() {
    if (reaped_) return;
    // Whoever it left behind goes with it, while its zombie still keeps the group's number.
    ::kill(-pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, WNOHANG) < 0 && errno == EINTR) {
    }
    reaped_ = true;
}

void ProcessRun::close_streams() {
    ErrorOf ignored;
    input_.close(ignored);
    output_.close(ignored);
    error_.close(ignored);
    deadline_timer_.cancel();
    kill_timer_.cancel();
    drain_timer_.cancel();
}

void ProcessRun::finish(Outcome outcome) {
    finished_ = true;
    close_streams();
    outcome.duration_ms = std::chrono::duration_cast<Milliseconds>(Clock::now() - begun_).count();
    boost::asio::post(loop_, [self = shared_from_this(), outcome = std::move(outcome)]() mutable {
        if (self->abandoned_) return;
        // Called out of a local: the owner may well destroy the attempt in it.
        const std::function<void(Outcome)> finished = std::move(self->events_.finished);
        self->events_ = AttemptEvents{};
        if (finished) finished(std::move(outcome));
    });
}

void ProcessRun::abandon() {
    abandoned_ = true;
    events_ = AttemptEvents{};
    if (finished_) return;
    finished_ = true;
    ::kill(-pid_, SIGKILL);
    close_streams();
    if (exited_) reap();
}

class ProcessAttempt : public Attempt {
public:
    explicit ProcessAttempt(std::shared_ptr<ProcessRun> run) : run_(std::move(run)) {}
    ~ProcessAttempt() override { run_->abandon(); }
    void cancel() override { run_->cancel(); }

private:
    std::shared_ptr<ProcessRun> run_;
};

class ProcessSource : public KnowledgeSource {
public:
    explicit ProcessSource(boost::asio::io_context& loop) : loop_(loop) {}

    std::unique_ptr<Attempt> start(std::shared_ptr<const ActivationRequest> request, AttemptEvents events) override {
        auto run = std::make_shared<ProcessRun>(loop_, std::move(request), std::move(events));
        run->begin();
        return std::make_unique<ProcessAttempt>(std::move(run));
    }

private:
    boost::asio::io_context& loop_;
};

}  // namespace

std::unique_ptr<KnowledgeSource> make_process_source(boost::asio::io_context& loop) {
    // A source that does not read its input must not end the whole run.
    struct sigaction present = {};
    if (::sigaction(SIGPIPE, nullptr, &present) == 0 && present.sa_handler == SIG_DFL) ::signal(SIGPIPE, SIG_IGN);
    return std::make_unique<ProcessSource>(loop);
}

namespace {

enum class Leftover { gone, ours, strange };

/// Looks for living members of the group.
Leftover look_for_group(const ProcessIdentity& identity) {
    bool found = false;
    std::error_code error;
    for (std::filesystem::directory_iterator at("/proc", error), end; !error && at != end; at.increment(error)) {
        const std::string name = at->path().filename().string();
        std::int64_t pid = 0;
        const auto [last, code] = std::from_chars(name.data(), name.data() + name.size(), pid);
        if (code != std::errc{} || last != name.data() + name.size()) continue;
        const std::optional<ProcessStat> stat = read_process_stat(pid);
        if (!stat) continue;
        // While one member of the old group lives, the kernel gives its number to nobody else. A
        // process of that number with another start therefore means that the group is over.
        if (pid == identity.group && stat->start_ticks != identity.start_ticks) return Leftover::gone;
        if (stat->group != identity.group || stat->state == 'Z' || stat->state == 'X') continue;
        struct stat owner = {};
        const bool same_user = ::stat(at->path().c_str(), &owner) == 0 && owner.st_uid == ::geteuid();
        if (!same_user || stat->start_ticks < identity.start_ticks) return Leftover::strange;
        found = true;
    }
    if (error) return Leftover::strange;
    return found ? Leftover::ours : Leftover::gone;
}

}  // namespace

bool end_leftover_process(const ProcessIdentity& identity) {
    if (identity.group == 0) return true;
    const std::string boot_id = read_boot_id();
    if (boot_id.empty()) return false;
    if (boot_id != identity.boot_id) return true;
    if (identity.group <= 1 || identity.group == ::getpgrp()) return false;
    const Clock::time_point until = Clock::now() + leftover_wait;
    while (true) {
        const Leftover found = look_for_group(identity);
        if (found == Leftover::gone) return true;
        if (found == Leftover::strange) return false;
        ::kill(static_cast<pid_t>(-identity.group), SIGKILL);
        if (Clock::now() >= until) return false;
        std::this_thread::sleep_for(Milliseconds(10));
    }
}

}  // namespace stele

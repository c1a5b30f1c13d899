#include "knowledge_sources/child_process.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace stele {

namespace {

constexpr const char* path_default = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::size_t stderr_line_bytes_shown = 300;

std::string system_error_text(int error) { return std::generic_category().message(error); }

std::string signal_text(int signal) {
    std::string text = "signal " + std::to_string(signal);
    if (const char* name = ::sigabbrev_np(signal)) text += " (SIG" + std::string(name) + ")";
    return text;
}

// ---- becoming the program: everything up to exec ----

struct Pipe {
    OwnedFd read;
    OwnedFd write;
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

}  // namespace

void set_variable(EnvironmentList& environment, const std::string& name, const std::string& value) {
    for (auto& [known, text] : environment) {
        if (known == name) {
            text = value;
            return;
        }
    }
    environment.emplace_back(name, value);
}

EnvironmentList bare_environment() { return {{"PATH", path_default}, {"LANG", "C.UTF-8"}}; }

void pass_variables(EnvironmentList& environment, const std::vector<std::string>& names) {
    for (const std::string& name : names) {
        if (const char* value = std::getenv(name.c_str())) set_variable(environment, name, value);
    }
}

Result<Launch> plan_launch(LaunchOptions options) {
    assert(!options.command.empty());
    Launch launch;
    launch.arguments = std::move(options.command);
    for (const auto& [name, value] : options.environment) {
        launch.environment.push_back(name + "=" + value);
        if (name == "PATH") launch.path = value;
    }
    for (const std::vector<std::string>* texts : {&launch.arguments, &launch.environment}) {
        for (const std::string& text : *texts) {
            if (text.find('\0') == std::string::npos) continue;
            return Error{ErrorCode::invalid_argument, "cannot run \"" + launch.arguments.front() +
                                                          "\": its command or environment holds a NUL byte"};
        }
    }
    launch.candidates = candidates_of(launch.arguments.front(), launch.path);
    launch.argv = pointers_to(launch.arguments, true);
    launch.envp = pointers_to(launch.environment, true);
    launch.files = pointers_to(launch.candidates, false);
    launch.directory = std::move(options.directory);
    launch.memory_bytes = options.memory_bytes;
    return launch;
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

bool open_gate(const Child& child) {
    const char token = 1;
    return ::write(child.gate.get(), &token, 1) == 1;
}

void discard_child(pid_t pid) {
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
}

std::optional<LaunchFailure> read_launch_failure(const OwnedFd& failure) {
    LaunchFailure why;
    if (::read(failure.get(), &why, sizeof why) != static_cast<ssize_t>(sizeof why)) return std::nullopt;
    return why;
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

void ignore_broken_pipes() {
    struct sigaction present = {};
    if (::sigaction(SIGPIPE, nullptr, &present) == 0 && present.sa_handler == SIG_DFL) ::signal(SIGPIPE, SIG_IGN);
}

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

ExitStatus peek_exit(pid_t pid) {
    siginfo_t info = {};
    ExitStatus exit;
    if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) {
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

bool has_ended(int handle) {
    struct pollfd exit = {handle, POLLIN, 0};
    return ::poll(&exit, 1, 0) == 1;
}

std::string exit_text(const ExitStatus& exit) {
    if (!exit.known) return "ended, but its exit status was taken by another part of this program";
    if (exit.signal > 0) return "killed by " + signal_text(exit.signal);
    return "exited with status " + std::to_string(exit.code);
}

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

}  // namespace stele

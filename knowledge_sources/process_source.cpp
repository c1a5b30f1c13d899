#include "knowledge_sources/process_source.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <optional>
#include <string_view>
#include <system_error>
#include <thread>

#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "board/limits.hpp"
#include "knowledge_sources/child_process.hpp"
#include "knowledge_sources/process_protocol.hpp"

namespace stele {

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;
using Descriptor = boost::asio::posix::stream_descriptor;
using ErrorOf = boost::system::error_code;

constexpr Milliseconds drain_wait{200};
constexpr Milliseconds leftover_wait{2'000};
/// Thirty years; more would overflow the clock's nanoseconds.
constexpr std::int64_t deadline_ms_max = 1'000'000'000'000;
/// Reads of one stream before other work of the loop has its turn.
constexpr int reads_in_a_row = 4;

/// Fails with invalid_argument for a command that no program can be started with.
Result<Launch> plan_launch(const ActivationRequest& request) {
    const SourceSpec& source = *request.source;
    if (source.command.empty() || source.command.front().empty()) {
        return Error{ErrorCode::invalid_argument, "cannot run source \"" + source.name + "\": its command is empty"};
    }
    LaunchOptions options;
    options.command = source.command;
    options.environment = bare_environment();
    pass_variables(options.environment, source.pass_environment);
    for (const auto& [name, value] : source.environment) set_variable(options.environment, name, value);
    if (request.crew) options.directory = request.crew->base_directory;
    options.memory_bytes = source.limits.memory_bytes;
    return plan_launch(std::move(options));
}

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
    Result<Launch> planned = plan_launch(*request_);
    if (!planned) return refuse_start(planned.error().message, 127);
    launch_ = std::move(*planned);
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
    if (!open_gate(*child)) return refuse_start(not_run + "it died before its start", 127);
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
        if (error) return;
        // A descriptor that takes the place of one just closed may inherit what was reported for that.
        if (has_ended(self->exit_.native_handle())) {
            self->on_exit();
        } else {
            self->watch_exit();
        }
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
    const ExitStatus exit = peek_exit(pid_);
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
    if (const std::optional<LaunchFailure> failure = read_launch_failure(failure_)) {
        outcome.kind = OutcomeKind::not_started;
        outcome.error = failure_text(launch_, *failure);
        outcome.exit_code = failure->step == LaunchStep::exec && failure->error == EACCES ? 126 : 127;
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
    outcome.error = exit_text(exit);
    const std::string last_words = last_line_of(raw_error_);
    if (!last_words.empty()) outcome.error += ": " + last_words;
}

bool ProcessRun::has_exited() const { return exited_ || reaped_ || peek_exit(pid_).known; }

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
    ignore_broken_pipes();
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

#include "knowledge_sources/child_runner.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <utility>

#include <poll.h>
#include <sys/wait.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include "board/limits.hpp"

namespace stele {

namespace {

using Descriptor = boost::asio::posix::stream_descriptor;
using ErrorOf = boost::system::error_code;
using Milliseconds = std::chrono::milliseconds;

/// After its end: for what its own children may still print.
constexpr Milliseconds drain_wait{200};
constexpr int reads_in_a_row = 4;

}  // namespace

/// Kept alive by its own pending operations, so that the child is reaped even when its RunningChild is
/// gone. The zombie is reaped last: until then no other process can have the group's number.
class RunningChild::State : public std::enable_shared_from_this<State> {
public:
    State(boost::asio::io_context& loop, ChildEvents events)
        : events_(std::move(events)),
          exit_(loop),
          input_(loop),
          output_(loop),
          error_(loop),
          ladder_timer_(loop),
          drain_timer_(loop) {}

    ~State() {
        if (pid_ <= 0 || reaped_) return;
        // Only when the loop is destroyed with a child in flight; SIGKILL is quick.
        ::kill(-pid_, SIGKILL);
        struct pollfd exit = {exit_.native_handle(), POLLIN, 0};
        ::poll(&exit, 1, 1'000);
        ::waitpid(pid_, nullptr, WNOHANG);
    }

    Status begin(LaunchOptions options);
    void write(std::string_view bytes);
    void close_input();
    void end();
    void abandon();
    [[nodiscard]] std::size_t queued_bytes() const { return queue_.size() - written_; }
    [[nodiscard]] std::string last_words() const { return last_line_of(error_text_); }

private:
    enum class Rung { none, closed, terminated, killed };

    bool adopt(Child& child);
    void climb();
    void watch_exit();
    void on_exit();
    void write_some();
    void read_output();
    void read_error();
    bool drain_output(int reads_max);
    bool drain_error(int reads_max);
    void conclude_if_silent();
    void conclude();
    void reap();
    void close_streams();

    ChildEvents events_;
    Launch launch_;
    Descriptor exit_;
    Descriptor input_;
    Descriptor output_;
    Descriptor error_;
    boost::asio::steady_timer ladder_timer_;
    boost::asio::steady_timer drain_timer_;
    OwnedFd failure_;
    pid_t pid_ = 0;
    std::string queue_;
    std::size_t written_ = 0;
    std::string error_text_;
    bool writing_ = false;
    bool closing_input_ = false;
    bool output_open_ = false;
    bool error_open_ = false;
    bool exited_ = false;
    bool reaped_ = false;
    bool over_ = false;
    Rung rung_ = Rung::none;
};

Status RunningChild::State::begin(LaunchOptions options) {
    Result<Launch> planned = plan_launch(std::move(options));
    if (!planned) return planned.error();
    launch_ = std::move(*planned);
    Result<Child> child = spawn(launch_);
    if (!child) return child.error();
    pid_ = child->pid;
    const std::string not_run = "cannot run \"" + launch_.arguments.front() + "\": ";
    if (!adopt(*child)) return Error{ErrorCode::io, not_run + "the loop cannot watch its streams"};
    watch_exit();
    if (!open_gate(*child)) return Error{ErrorCode::io, not_run + "it died before its start"};
    failure_ = std::move(child->failure);
    read_output();
    read_error();
    return Done{};
}

bool RunningChild::State::adopt(Child& child) {
    const auto assign = [](Descriptor& descriptor, OwnedFd& fd) {
        ErrorOf error;
        descriptor.assign(fd.get(), error);
        if (!error) fd.release();
        return !error;
    };
    if (assign(exit_, child.handle) && assign(input_, child.input) && assign(output_, child.output) &&
        assign(error_, child.error)) {
        output_open_ = true;
        error_open_ = true;
        return true;
    }
    discard_child(pid_);
    reaped_ = true;
    return false;
}

void RunningChild::State::write(std::string_view bytes) {
    if (over_ || closing_input_ || !input_.is_open()) return;
    queue_.append(bytes);
    if (!writing_) write_some();
}

void RunningChild::State::close_input() {
    closing_input_ = true;
    if (!writing_) write_some();
}

void RunningChild::State::write_some() {
    writing_ = false;
    while (input_.is_open() && written_ < queue_.size()) {
        const ssize_t count = ::write(input_.native_handle(), queue_.data() + written_, queue_.size() - written_);
        if (count >= 0) {
            written_ += static_cast<std::size_t>(count);
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) {
            closing_input_ = true;
            break;
        }
        queue_.erase(0, std::exchange(written_, 0));
        writing_ = true;
        input_.async_wait(Descriptor::wait_write, [self = shared_from_this()](const ErrorOf& error) {
            if (!error && self->input_.is_open()) self->write_some();
        });
        return;
    }
    queue_.clear();
    written_ = 0;
    ErrorOf ignored;
    if (closing_input_) input_.close(ignored);
}

void RunningChild::State::end() {
    if (over_ || rung_ != Rung::none) return;
    climb();
}

void RunningChild::State::climb() {
    ErrorOf ignored;
    switch (rung_) {
        case Rung::none:
            rung_ = Rung::closed;
            closing_input_ = true;
            input_.close(ignored);
            break;
        case Rung::closed:
            rung_ = Rung::terminated;
            if (!exited_) ::kill(-pid_, SIGTERM);
            break;
        case Rung::terminated:
            rung_ = Rung::killed;
            if (!exited_) ::kill(-pid_, SIGKILL);
            break;
        case Rung::killed:
            // A process that hangs inside the kernel does not die even of this; the run goes on without it.
            conclude();
            return;
    }
    ladder_timer_.expires_after(Milliseconds(limits::kill_grace_ms));
    ladder_timer_.async_wait([self = shared_from_this()](const ErrorOf& error) {
        if (!error && !self->over_) self->climb();
    });
}

void RunningChild::State::watch_exit() {
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

void RunningChild::State::on_exit() {
    exited_ = true;
    if (over_) {
        reap();
        return;
    }
    ErrorOf ignored;
    closing_input_ = true;
    input_.close(ignored);
    drain_timer_.expires_after(drain_wait);
    drain_timer_.async_wait([self = shared_from_this()](const ErrorOf& error) {
        if (!error && !self->over_) self->conclude();
    });
    conclude_if_silent();
}

void RunningChild::State::read_output() {
    output_.async_wait(Descriptor::wait_read, [self = shared_from_this()](const ErrorOf& error) {
        if (error || self->over_ || !self->output_open_) return;
        if (self->drain_output(reads_in_a_row)) {
            self->read_output();
        } else {
            self->conclude_if_silent();
        }
    });
}

void RunningChild::State::read_error() {
    error_.async_wait(Descriptor::wait_read, [self = shared_from_this()](const ErrorOf& error) {
        if (error || self->over_ || !self->error_open_) return;
        if (self->drain_error(reads_in_a_row)) {
            self->read_error();
        } else {
            self->conclude_if_silent();
        }
    });
}

bool RunningChild::State::drain_output(int reads_max) {
    const ReadEnd end = read_available(output_.native_handle(), reads_max, [this](std::string_view bytes) {
        // What is called may destroy the RunningChild, and with it the functions it is in.
        const std::function<bool(std::string_view)> keep = events_.output;
        return (!keep || keep(bytes)) && !over_;
    });
    if (over_) return false;
    output_open_ = end != ReadEnd::at_end;
    return output_open_;
}

bool RunningChild::State::drain_error(int reads_max) {
    const ReadEnd end = read_available(error_.native_handle(), reads_max, [this](std::string_view bytes) {
        error_text_.append(bytes);
        if (error_text_.size() > 2 * limits::stderr_bytes_kept) {
            error_text_.erase(0, error_text_.size() - limits::stderr_bytes_kept);
        }
        return true;
    });
    error_open_ = end != ReadEnd::at_end;
    return error_open_;
}

void RunningChild::State::conclude_if_silent() {
    if (over_ || !exited_ || output_open_ || error_open_) return;
    conclude();
}

void RunningChild::State::conclude() {
    constexpr int last_reads_max = 1'024;
    if (output_open_) drain_output(last_reads_max);
    if (over_) return;
    if (error_open_) drain_error(last_reads_max);
    over_ = true;
    ChildEnd end;
    end.exit = peek_exit(pid_);
    if (const std::optional<LaunchFailure> failure = read_launch_failure(failure_)) {
        end.not_started = true;
        end.message = failure_text(launch_, *failure);
    } else {
        end.message = exited_ ? exit_text(end.exit) : "has not gone even after SIGKILL";
        const std::string last = last_words();
        if (!last.empty()) end.message += ": " + last;
    }
    if (exited_) reap();
    close_streams();
    const std::function<void(const ChildEnd&)> ended = std::move(events_.ended);
    events_ = ChildEvents{};
    if (ended) ended(end);
}

void RunningChild::State::reap() {
    if (reaped_) return;
    // Whoever it left behind goes with it, while its zombie still keeps the group's number.
    ::kill(-pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, WNOHANG) < 0 && errno == EINTR) {
    }
    reaped_ = true;
}

void RunningChild::State::close_streams() {
    ErrorOf ignored;
    input_.close(ignored);
    output_.close(ignored);
    error_.close(ignored);
    ladder_timer_.cancel();
    drain_timer_.cancel();
}

void RunningChild::State::abandon() {
    events_ = ChildEvents{};
    if (over_) return;
    over_ = true;
    // 0 would be this process's own group.
    if (pid_ > 0 && !reaped_) ::kill(-pid_, SIGKILL);
    close_streams();
    if (exited_) reap();
}

Result<std::unique_ptr<RunningChild>> RunningChild::start(boost::asio::io_context& loop, LaunchOptions options,
                                                          ChildEvents events) {
    ignore_broken_pipes();
    auto state = std::make_shared<State>(loop, std::move(events));
    const Status begun = state->begin(std::move(options));
    std::unique_ptr<RunningChild> child(new RunningChild(std::move(state)));
    if (!begun) return begun.error();
    return child;
}

RunningChild::RunningChild(std::shared_ptr<State> state) : state_(std::move(state)) {}
RunningChild::~RunningChild() { state_->abandon(); }
void RunningChild::write(std::string_view bytes) { state_->write(bytes); }
void RunningChild::close_input() { state_->close_input(); }
void RunningChild::end() { state_->end(); }
std::size_t RunningChild::queued_bytes() const { return state_->queued_bytes(); }
std::string RunningChild::last_words() const { return state_->last_words(); }

}  // namespace stele

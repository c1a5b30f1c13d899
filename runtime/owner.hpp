// The process that owns a data directory: the loop, the store, the runs that it hosts, and the Unix
// socket through which other processes ask it to write (docs/architecture.md). Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "board/value.hpp"
#include "runtime/board_engine.hpp"
#include "runtime/crew_loader.hpp"
#include "runtime/exit_codes.hpp"
#include "runtime/purge.hpp"

namespace stele {

/// What a command asks of a board. Goes over the socket as JSON when another process owns it.
struct RunRequest {
    enum class Verb { run, resume, retry } verb = Verb::run;
    /// Empty: a new name after the crew (run), or the newest board (resume, retry).
    std::string board;
    /// run, and resume with another crew.
    std::string crew_text;
    std::string crew_file;
    std::string base_directory;
    std::vector<CrewInput> inputs;
    /// run on a board that exists.
    bool go_on = false;
    /// The asker wants whole records and not only lines of text.
    bool json = false;
    /// retry: one dead activation, or all.
    std::uint64_t activation = 0;
};
Value to_value(const RunRequest& request);
Result<RunRequest> run_request_from(const Value& value);

/// One write in a person's name.
struct WriteRequest {
    std::string board;  // empty: the newest
    Write write;        // sealed
};
Value to_value(const WriteRequest& request);
Result<WriteRequest> write_request_from(const Value& value);

/// A new board off a version of another.
struct ForkRequest {
    std::string board;
    std::string name;
    Position at;
};
Value to_value(const ForkRequest& request);
Result<ForkRequest> fork_request_from(const Value& value);

/// Content that is to go for good.
struct PurgeRequest {
    std::string board;
    PurgeWish wish;
    std::string reason;
};
Value to_value(const PurgeRequest& request);
Result<PurgeRequest> purge_request_from(const Value& value);

/// Where a hosted run tells what happens. Loop thread.
struct RunListener {
    /// Before the first record; the engine shows what the board held before.
    std::function<void(const std::string& board, const CrewSpec& crew, BoardEngine& engine)> on_begin;
    std::function<void(const LoggedRecord&, const std::vector<EntryChange>&)> on_record;
    /// What a source says it is doing right now; may be left out.
    std::function<void(ActivationId, const std::string&)> on_progress;
    /// Last. `message` is empty but for failures.
    std::function<void(ExitCode code, const std::string& message)> on_end;
};

/// A run in this process.
class RunSession {
public:
    virtual ~RunSession() = default;
    /// First lets what runs finish within the grace time, then, asked again, ends it.
    virtual void interrupt() = 0;
    [[nodiscard]] virtual const std::string& board() const = 0;
    [[nodiscard]] virtual BoardEngine& engine() = 0;
};

class Owner {
public:
    /// Fails with in_use when another process owns the directory. `notice` is something to tell the
    /// person (a torn tail that was cut), or empty.
    static Result<std::unique_ptr<Owner>> open(boost::asio::io_context& loop, const std::string& directory,
                                               std::string& notice);
    virtual ~Owner() = default;

    /// Starts a run; what is wrong with the request comes back at once, and nothing was started.
    virtual Result<std::shared_ptr<RunSession>> start(const RunRequest& request, RunListener listener) = 0;
    /// `done` comes when the write is durable, and on a board that rests also what follows from it; or with
    /// why it was refused.
    virtual Status fork(const ForkRequest& request) = 0;
    /// From a file of exported lines; an empty name is that of the export.
    virtual Status import(const std::string& file, const std::string& name) = 0;
    /// Refused while any run goes on in this process, and for a board with forks.
    virtual void purge(const PurgeRequest& request, std::function<void(const Status&)> done) = 0;
    virtual void write(const WriteRequest& request, std::function<void(const Status&)> done) = 0;
    virtual Status backup(const std::string& target) = 0;
    virtual Status remove_board(const std::string& board) = 0;
    /// No session is left, neither its own nor another process's.
    [[nodiscard]] virtual bool is_done() const = 0;
    /// Called when the last session ends.
    std::function<void()> on_done;
};

/// The crew of a record, for folds: text and inputs as `run_started` keeps them.
CrewReader make_crew_reader();
/// Inputs of a crew as the JSON object that goes into the log.
std::string inputs_to_json(const CrewSpec& crew);
/// Problems of a crew file, one a line.
std::string join_problems(const std::vector<CrewProblem>& problems);

/// Asks the owner of `directory` to do what `request` says; prints what it answers line by line.
/// Nothing when nobody owns the directory.
std::optional<ExitCode> ask_owner(const std::string& directory, const Value& request,
                                  const std::function<void(const Value& line)>& on_line,
                                  const std::function<bool()>& interrupted);

}  // namespace stele

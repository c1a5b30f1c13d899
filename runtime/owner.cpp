#include "runtime/owner.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <deque>
#include <filesystem>
#include <fstream>
#include <istream>
#include <map>

#include "board/limits.hpp"
#include "board/log/rocks_store.hpp"
#include "knowledge_sources/secrets.hpp"
#include "runtime/board_import.hpp"
#include "runtime/commands.hpp"
#include "runtime/fork.hpp"
#include "runtime/open_board.hpp"
#include "runtime/record_json.hpp"
#include "runtime/record_text.hpp"
#include "runtime/wall_clock.hpp"

namespace stele {
namespace {

namespace asio = boost::asio;
using Socket = asio::local::stream_protocol::socket;

std::string socket_path(const std::string& directory) { return directory + "/owner.sock"; }

const char* to_text(RunRequest::Verb verb) {
    switch (verb) {
        case RunRequest::Verb::run:
            return "run";
        case RunRequest::Verb::resume:
            return "resume";
        case RunRequest::Verb::retry:
            return "retry";
    }
    return "?";
}

class HostedRun final : public RunSession, public std::enable_shared_from_this<HostedRun> {
public:
    HostedRun(std::string board, RunListener listener) : board_(std::move(board)), listener_(std::move(listener)) {}

    void interrupt() override {
        if (!engine_) return;
        ++interrupts_;
        engine_->signal(interrupts_ == 1 ? "interrupt" : "kill",
                        interrupts_ == 1 ? "interrupted" : "interrupted twice");
    }
    const std::string& board() const override { return board_; }
    BoardEngine& engine() override { return *engine_; }

    RunListener& listener() { return listener_; }
    void take(std::unique_ptr<BoardEngine> engine) { engine_ = std::move(engine); }
    void drop_engine() { engine_.reset(); }

private:
    std::string board_;
    RunListener listener_;
    std::unique_ptr<BoardEngine> engine_;
    int interrupts_ = 0;
};

class LocalOwner final : public Owner {
public:
    LocalOwner(asio::io_context& loop, std::unique_ptr<DataDirectory> data)
        : loop_(loop), data_(std::move(data)), workers_(loop), sources_(make_source_registry(loop)), acceptor_(loop) {}

    ~LocalOwner() override {
        boost::system::error_code ignored;
        acceptor_.close(ignored);
        ::unlink(socket_path(data_->path()).c_str());
    }

    // A socket path has room for about a hundred bytes; without one the runs go on all the same,
    // and other processes are told that the directory is in use.
    void listen() {
        const std::string path = socket_path(data_->path());
        if (path.size() >= sizeof(sockaddr_un{}.sun_path)) return;
        ::unlink(path.c_str());
        boost::system::error_code error;
        acceptor_.open(asio::local::stream_protocol(), error);
        const mode_t before = ::umask(0077);
        if (!error) acceptor_.bind(asio::local::stream_protocol::endpoint(path), error);
        ::umask(before);
        if (!error) acceptor_.listen(16, error);
        if (!error) accept();
    }

    Result<std::shared_ptr<RunSession>> start(const RunRequest& request, RunListener listener) override {
        std::shared_ptr<const CrewSpec> crew;
        if (!request.crew_text.empty()) {
            LoadedCrew loaded = load_crew(request.crew_text, request.crew_file, request.base_directory, request.inputs);
            if (!loaded.crew) return Error{ErrorCode::invalid_argument, join_problems(loaded.problems)};
            crew = std::move(loaded.crew);
        }
        Result<BoardInfo> board = find_board(request, crew.get());
        if (!board.ok()) return board.error();
        for (const auto& session : sessions_) {
            if (session->board() == board->address.board) {
                return Error{ErrorCode::in_use,
                             "board \"" + board->address.board + "\" is running in this process already"};
            }
        }
        auto session = std::make_shared<HostedRun>(board->address.board, std::move(listener));
        EngineHooks hooks;
        std::weak_ptr<HostedRun> weak = session;
        hooks.on_record = [weak](const LoggedRecord& logged, const std::vector<EntryChange>& changes) {
            if (const auto run = weak.lock(); run && run->listener().on_record)
                run->listener().on_record(logged, changes);
        };
        hooks.on_progress = [weak](ActivationId id, const std::string& text) {
            if (const auto run = weak.lock(); run && run->listener().on_progress) run->listener().on_progress(id, text);
        };
        hooks.on_stopped = [this, weak] {
            if (const auto run = weak.lock()) end(run, stop_code(*run), {});
        };
        hooks.on_failure = [this, weak](const Error& error) {
            if (const auto run = weak.lock()) end(run, exit_code_of(error), error.message);
        };
        Result<std::unique_ptr<BoardEngine>> made = make_engine(*board, std::move(hooks));
        if (!made.ok()) return made.error();
        std::unique_ptr<BoardEngine> engine = std::move(*made);
        const Status opened = engine->open();
        if (!opened.ok()) return opened.error();
        Result<std::unique_ptr<RecordedAnswers>> recorded = RecordedAnswers::open(*data_, *board);
        if (!recorded.ok()) return recorded.error();
        engine->set_recorded(std::move(*recorded));
        const Scheduler& scheduler = engine->scheduler();
        if (request.verb == RunRequest::Verb::run && scheduler.is_running()) {
            return Error{ErrorCode::already_exists, "the last run on board \"" + board->address.board +
                                                        "\" did not stop; go on with it: stele resume --board " +
                                                        board->address.board};
        }
        if (request.verb != RunRequest::Verb::run && !scheduler.run()) {
            return Error{ErrorCode::not_found, "no run was started on board \"" + board->address.board + "\""};
        }
        if (crew) {
            if (const Result<Secrets> secrets = Secrets::load(crew->base_directory); !secrets.ok()) {
                return Error{ErrorCode::invalid_argument, secrets.error().message};
            }
            // Asked before anything is written: a refused crew must leave no trace.
            const Status declared = engine->board().declare(crew->regions);
            if (!declared.ok()) return Error{ErrorCode::invalid_argument, declared.error().message};
        }
        if (request.activation != 0) {
            const std::vector<DeadActivation>& dead = scheduler.dead();
            const ActivationId wanted{request.activation};
            if (std::none_of(dead.begin(), dead.end(), [&](const DeadActivation& d) { return d.id == wanted; })) {
                std::string known;
                for (const DeadActivation& d : dead)
                    known += (known.empty() ? "" : ", ") + std::to_string(d.id.number) + " of " + d.source;
                return Error{ErrorCode::not_found, "no activation " + std::to_string(request.activation) + " is dead" +
                                                       (known.empty() ? std::string() : "; dead are " + known)};
            }
        }
        BoardEngine& live = *engine;
        session->take(std::move(engine));
        sessions_.push_back(session);
        live.take_over();
        switch (request.verb) {
            case RunRequest::Verb::run:
                live.start_run(*crew, inputs_to_json(*crew));
                break;
            case RunRequest::Verb::retry:
                live.signal("retry", "asked to try dead activations again", ActivationId{request.activation});
                live.signal("resume", "retry");
                break;
            case RunRequest::Verb::resume:
                if (crew) live.reconfigure(*crew, inputs_to_json(*crew));
                live.signal("resume", "asked to go on");
                break;
        }
        if (session->listener().on_begin) {
            session->listener().on_begin(board->address.board, crew ? *crew : *live.scheduler().crew(), live);
        }
        return std::shared_ptr<RunSession>(session);
    }

    void write(const WriteRequest& request, std::function<void(const Status&)> done) override {
        RunRequest wanted;
        wanted.verb = RunRequest::Verb::resume;
        wanted.board = request.board;
        const Result<BoardInfo> board = find_board(wanted, nullptr);
        if (!board.ok()) return done(board.error());
        for (const auto& session : sessions_) {
            if (session->board() != board->address.board) continue;
            return submit_write(session->engine(), request, std::move(done));
        }
        auto guest = std::make_shared<Visit>();
        guest->done = std::move(done);
        EngineHooks hooks;
        hooks.on_stopped = [] {};
        hooks.on_failure = [this, guest](const Error& error) { leave(guest, error); };
        Result<std::unique_ptr<BoardEngine>> made = make_engine(*board, std::move(hooks));
        if (!made.ok()) return guest->done(made.error());
        guest->engine = std::move(*made);
        const Status opened = guest->engine->open();
        if (!opened.ok()) return guest->done(opened);
        if (!guest->engine->scheduler().run()) {
            return guest->done(
                Error{ErrorCode::not_found, "no run was started on board \"" + board->address.board + "\""});
        }
        visits_.push_back(guest);
        guest->engine->take_over();
        submit_write(*guest->engine, request, [this, guest](const Status& status) { leave_when_idle(guest, status); });
    }

    Status backup(const std::string& target) override { return data_->backup(target); }

    Status fork(const ForkRequest& request) override {
        if (!is_board_name(request.name)) return bad_board_name();
        const Result<std::optional<BoardInfo>> parent = data_->find({.tenant = "default", .board = request.board});
        if (!parent.ok()) return parent.error();
        if (!parent->has_value()) return Error{ErrorCode::not_found, "there is no board \"" + request.board + "\""};
        const Result<BoardInfo> made =
            fork_board(*data_, **parent, request.at, request.name, wall_clock(), make_crew_reader());
        return made.ok() ? Status(Done{}) : made.error();
    }

    Status import(const std::string& file, const std::string& name) override {
        if (!name.empty() && !is_board_name(name)) return bad_board_name();
        if (!sessions_.empty()) {
            return Error{ErrorCode::in_use,
                         "a run goes on in the process that owns this directory, and an import would hold it up; "
                         "wait for it, or import into another directory"};
        }
        std::ifstream lines(file, std::ios::binary);
        if (!lines) return Error{ErrorCode::not_found, "there is no file " + file};
        return import_board(*data_, lines, name, wall_clock(), make_crew_reader());
    }

    void purge(const PurgeRequest& request, std::function<void(const Status&)> done) override {
        if (!sessions_.empty() || !visits_.empty()) {
            return done(
                Error{ErrorCode::in_use, "a run goes on in the process that owns this directory; stop it first"});
        }
        RunRequest wanted;
        wanted.verb = RunRequest::Verb::resume;
        wanted.board = request.board;
        const Result<BoardInfo> board = find_board(wanted, nullptr);
        if (!board.ok()) return done(board.error());
        const Status alone = data_->check_no_forks(*board);
        if (!alone.ok()) return done(alone);
        const Result<StateStore*> store = data_->store_of(*board);
        if (!store.ok()) return done(store.error());
        auto guest = std::make_shared<Visit>();
        EngineHooks hooks;
        hooks.on_stopped = [] {};
        hooks.on_failure = [this, guest](const Error& error) { leave(guest, error); };
        Result<std::unique_ptr<BoardEngine>> made = make_engine(*board, std::move(hooks));
        if (!made.ok()) return done(made.error());
        guest->engine = std::move(*made);
        const Status opened = guest->engine->open();
        if (!opened.ok()) return done(opened);
        if (guest->engine->scheduler().is_running()) {
            // What its owner left half done would be written once the board is taken over, after the plan is made.
            return done(Error{ErrorCode::in_use, "the last run on board \"" + board->address.board +
                                                     "\" did not stop; go on with it first: stele resume --board " +
                                                     board->address.board});
        }
        Result<PurgePlan> plan = plan_purge(**store, *board, guest->engine->board().meta().last, request.wish);
        if (!plan.ok()) return done(plan.error());
        if (plan->parts.empty()) {
            return done(Error{ErrorCode::not_found, "there is nothing to purge: no payload says it"});
        }
        guest->done = [this, board = *board, store = *store, plan = *plan, done](const Status& status) {
            if (!status.ok()) return done(status);
            Status purged = purge_payloads(*store, board, plan, make_crew_reader());
            if (purged.ok()) purged = scrub(data_->store());
            done(purged);
        };
        visits_.push_back(guest);
        guest->engine->take_over();
        const auto put_on_record = [this, guest, plan = *plan, reason = request.reason] {
            Record record;
            record.kind = RecordKind::purged;
            record.author = "person";
            record.reason = reason;
            record.seen.assign(plan.entries.begin(), plan.entries.end());
            for (const auto& [position, parts] : plan.parts) {
                if (!parts.empty()) record.positions.push_back(position);
            }
            guest->engine->submit(std::move(record),
                                  [this, guest](const LoggedRecord&) { leave_when_idle(guest, Done{}); });
        };
        if (plan->active.empty()) return put_on_record();
        Record retracts;
        retracts.kind = RecordKind::commit;
        retracts.author = "person";
        retracts.reason = "to be purged";
        for (const EntryId& id : plan->active) {
            Write write;
            write.op = WriteOp::retract;
            write.region = id.region;
            write.number = id.number;
            write.seal();
            retracts.writes.push_back(std::move(write));
        }
        guest->engine->submit(std::move(retracts), [this, guest, put_on_record](const LoggedRecord& logged) {
            if (logged.verdict.accepted) return put_on_record();
            const std::vector<Refusal>& refusals = logged.verdict.refusals;
            leave(guest, Error{ErrorCode::refused, refusals.empty() ? std::string("the retraction was refused")
                                                                    : refusals.front().message});
        });
    }

    Status remove_board(const std::string& name) override {
        for (const auto& session : sessions_) {
            if (session->board() == name)
                return Error{ErrorCode::in_use, "board \"" + name + "\" is running; stop it first"};
        }
        const Result<std::optional<BoardInfo>> board = data_->find({.tenant = "default", .board = name});
        if (!board.ok()) return board.error();
        if (!board->has_value()) return Error{ErrorCode::not_found, "there is no board \"" + name + "\""};
        return data_->remove(**board);
    }

    bool is_done() const override { return sessions_.empty() && visits_.empty() && telling_ == 0; }

private:
    // One process that asked us to do something.
    struct Guest : std::enable_shared_from_this<Guest> {
        Guest(LocalOwner& owner_in, Socket socket_in)
            : owner(owner_in), socket(std::move(socket_in)), input(limits::socket_line_bytes_max) {}

        LocalOwner& owner;
        Socket socket;
        asio::streambuf input;
        std::deque<std::string> output;
        std::shared_ptr<RunSession> run;
        bool closing = false;
        bool json = false;
        std::string stop_reason;
        std::string stop_detail;

        void read() {
            asio::async_read_until(socket, input, '\n',
                                   [self = shared_from_this()](const boost::system::error_code& error, std::size_t) {
                                       // Gone: as if its terminal had been closed.
                                       if (error) {
                                           if (self->run) self->run->interrupt();
                                           return;
                                       }
                                       std::istream lines(&self->input);
                                       std::string line;
                                       std::getline(lines, line);
                                       self->owner.handle(self, line);
                                       if (!self->closing) self->read();
                                   });
        }
        void send(const Value& value) {
            output.push_back(to_json(value) + "\n");
            if (output.size() > 1) return;
            ++owner.telling_;
            write();
        }
        void write() {
            asio::async_write(socket, asio::buffer(output.front()),
                              [self = shared_from_this()](const boost::system::error_code& error, std::size_t) {
                                  self->output.pop_front();
                                  if (error) self->output.clear();
                                  if (!self->output.empty()) return self->write();
                                  if (self->closing) {
                                      boost::system::error_code ignored;
                                      self->socket.shutdown(Socket::shutdown_both, ignored);
                                  }
                                  --self->owner.telling_;
                                  if (self->owner.is_done() && self->owner.on_done) self->owner.on_done();
                              });
        }
        void finish(ExitCode code, const std::string& message) {
            closing = true;
            Value line = Value::object({{"exit_code", static_cast<std::int64_t>(code)}, {"message", message}});
            if (!stop_reason.empty()) {
                line.set("event", "stopped");
                line.set("reason", stop_reason);
                line.set("detail", stop_detail);
            }
            send(line);
        }
    };

    // A board that rests, opened for one write.
    struct Visit {
        std::unique_ptr<BoardEngine> engine;
        std::function<void(const Status&)> done;
    };

    Result<std::unique_ptr<BoardEngine>> make_engine(const BoardInfo& board, EngineHooks hooks) {
        const Result<StateStore*> store = data_->store_of(board);
        if (!store.ok()) return store.error();
        return std::make_unique<BoardEngine>(loop_, **store, workers_, board, data_->head_path(board.number), *sources_,
                                             make_crew_reader(), std::move(hooks), wall_clock);
    }

    static void submit_write(BoardEngine& engine, const WriteRequest& request,
                             std::function<void(const Status&)> done) {
        Record record;
        record.kind = RecordKind::commit;
        record.author = "person";
        record.reason = request.write.why;
        record.writes.push_back(request.write);
        engine.submit(std::move(record), [done = std::move(done)](const LoggedRecord& logged) {
            if (logged.verdict.accepted) return done(Done{});
            const std::vector<Refusal>& refusals = logged.verdict.refusals;
            done(Error{ErrorCode::refused, refusals.empty() ? std::string("refused") : refusals.front().message});
        });
    }

    // What follows from a retraction is written before the board is left.
    void leave_when_idle(const std::shared_ptr<Visit>& visit, const Status& status) {
        if (!status.ok() || visit->engine->is_idle()) return leave(visit, status);
        auto timer = std::make_shared<asio::steady_timer>(loop_, std::chrono::milliseconds(2));
        timer->async_wait([this, visit, status, timer](const boost::system::error_code&) {
            const auto found = std::find(visits_.begin(), visits_.end(), visit);
            if (found != visits_.end()) leave_when_idle(visit, status);
        });
    }

    // The engine is on the call stack: it goes a little later.
    void leave(const std::shared_ptr<Visit>& visit, const Status& status) {
        asio::post(loop_, [this, visit, status] {
            const auto found = std::find(visits_.begin(), visits_.end(), visit);
            if (found == visits_.end()) return;
            visits_.erase(found);
            visit->engine.reset();
            visit->done(status);
            if (is_done() && on_done) on_done();
        });
    }

    void accept() {
        acceptor_.async_accept([this](const boost::system::error_code& error, Socket socket) {
            if (error) return;
            std::make_shared<Guest>(*this, std::move(socket))->read();
            accept();
        });
    }

    void handle(const std::shared_ptr<Guest>& guest, const std::string& line) {
        const Result<Value> request = parse_json(line);
        const Value* command = request.ok() ? request->find("command") : nullptr;
        if (command == nullptr || !command->is_string()) {
            return guest->finish(ExitCode::usage,
                                 request.ok() ? "a request names its command" : request.error().message);
        }
        if (command->as_string() == "interrupt") {
            if (guest->run) guest->run->interrupt();
            return;
        }
        const Value* name = request->find("name");
        const std::string argument = name != nullptr && name->is_string() ? name->as_string() : std::string();
        if (command->as_string() == "backup") return answer(guest, backup(argument));
        if (command->as_string() == "import") {
            const Value* file = request->find("file");
            const bool named = file != nullptr && file->is_string();
            return answer(guest, named ? import(file->as_string(), argument)
                                       : Status(Error{ErrorCode::invalid_argument, "an import names its file"}));
        }
        if (command->as_string() == "purge") {
            const Result<PurgeRequest> wanted = purge_request_from(*request);
            if (!wanted.ok()) return guest->finish(ExitCode::usage, wanted.error().message);
            return purge(*wanted, [guest](const Status& status) { answer(guest, status); });
        }
        if (command->as_string() == "fork") {
            const Result<ForkRequest> wanted = fork_request_from(*request);
            return answer(guest, wanted.ok() ? fork(*wanted) : Status(wanted.error()));
        }
        if (command->as_string() == "boards_rm") return answer(guest, remove_board(argument));
        if (command->as_string() == "write") {
            const Result<WriteRequest> wanted = write_request_from(*request);
            if (!wanted.ok()) return guest->finish(ExitCode::usage, wanted.error().message);
            return write(*wanted, [guest](const Status& status) { answer(guest, status); });
        }
        const Result<RunRequest> run = run_request_from(*request);
        if (!run.ok()) return guest->finish(ExitCode::usage, run.error().message);
        const Value* json = request->find("json");
        guest->json = json != nullptr && json->is_bool() && json->as_bool();
        RunListener listener;
        std::weak_ptr<Guest> weak = guest;
        listener.on_begin = [weak](const std::string& board, const CrewSpec&, BoardEngine&) {
            if (const auto g = weak.lock()) g->send(Value::object({{"board", board}}));
        };
        TextOptions text;
        text.start = wall_clock();
        listener.on_record = [weak, text](const LoggedRecord& logged, const std::vector<EntryChange>&) {
            const auto g = weak.lock();
            if (!g) return;
            if (logged.record.kind == RecordKind::run_stopped) {
                g->stop_reason = logged.record.word;
                g->stop_detail = logged.record.reason;
            }
            Value line = Value::object({{"text", one_line(logged, text)}});
            if (g->json) line.set("record", stele::to_value(logged));
            g->send(line);
        };
        listener.on_end = [weak](ExitCode code, const std::string& message) {
            if (const auto g = weak.lock()) g->finish(code, message);
        };
        Result<std::shared_ptr<RunSession>> started = start(*run, std::move(listener));
        if (!started.ok()) return guest->finish(exit_code_of(started.error()), started.error().message);
        guest->run = std::move(*started);
    }

    static void answer(const std::shared_ptr<Guest>& guest, const Status& status) {
        if (status.ok()) return guest->finish(ExitCode::done, {});
        guest->finish(exit_code_of(status.error()), status.error().message);
    }

    Result<BoardInfo> find_board(const RunRequest& request, const CrewSpec* crew) {
        const Result<std::vector<BoardInfo>> boards = data_->boards();
        if (!boards.ok()) return boards.error();
        const auto named = [&](const std::string& name) {
            return std::find_if(boards->begin(), boards->end(),
                                [&](const BoardInfo& b) { return b.address.board == name; });
        };
        if (request.verb == RunRequest::Verb::run) {
            if (crew == nullptr) return Error{ErrorCode::invalid_argument, "run needs a crew file"};
            std::string name = request.board;
            if (!name.empty() && !is_board_name(name)) {
                return bad_board_name();
            }
            if (name.empty()) {
                name = crew->name;
                for (int i = 2; named(name) != boards->end() && !request.go_on; ++i)
                    name = crew->name + "-" + std::to_string(i);
            }
            const auto known = named(name);
            if (known == boards->end()) return data_->create({.tenant = "default", .board = name}, wall_clock());
            if (!request.go_on) {
                return Error{
                    ErrorCode::already_exists,
                    "board \"" + name + "\" exists; run on it with --continue, or choose another with --board"};
            }
            return *known;
        }
        if (boards->empty()) return Error{ErrorCode::not_found, "there is no board in " + data_->path()};
        if (request.board.empty()) return boards->back();
        const auto known = named(request.board);
        if (known == boards->end()) return Error{ErrorCode::not_found, "there is no board \"" + request.board + "\""};
        return *known;
    }

    static ExitCode stop_code(HostedRun& run) {
        const Scheduler& scheduler = run.engine().scheduler();
        return exit_code_of(scheduler.stopping().value_or(StopReason::error), scheduler.crew()->stop.goal.has_value());
    }

    void end(const std::shared_ptr<HostedRun>& run, ExitCode code, const std::string& message) {
        // The engine is on the call stack: it goes a little later.
        const auto leave = [this, run, code, message] {
            const auto found = std::find(sessions_.begin(), sessions_.end(), run);
            if (found == sessions_.end()) return;
            sessions_.erase(found);
            if (run->listener().on_end) run->listener().on_end(code, message);
            run->drop_engine();
            if (is_done() && on_done) on_done();
        };
        // What sources started for this process's runs ends with the last of them.
        asio::post(loop_, [this, leave] {
            if (sessions_.size() > 1 || !sources_->close) return leave();
            sources_->close(leave);
        });
    }

    asio::io_context& loop_;
    std::unique_ptr<DataDirectory> data_;
    Workers workers_;
    std::unique_ptr<SourceRegistry> sources_;
    asio::local::stream_protocol::acceptor acceptor_;
    std::vector<std::shared_ptr<HostedRun>> sessions_;
    std::vector<std::shared_ptr<Visit>> visits_;
    std::size_t telling_ = 0;  // guests that have not been told all yet
};

}  // namespace

Result<std::unique_ptr<Owner>> Owner::open(asio::io_context& loop, const std::string& directory, std::string& notice) {
    Result<std::unique_ptr<DataDirectory>> data = DataDirectory::own(directory, notice);
    if (!data.ok()) return data.error();
    auto owner = std::make_unique<LocalOwner>(loop, std::move(*data));
    owner->listen();
    return std::unique_ptr<Owner>(std::move(owner));
}

CrewReader make_crew_reader() {
    return [](const std::string& text, const std::string& base_directory,
              const std::string& inputs_json) -> Result<std::shared_ptr<const CrewSpec>> {
        const Result<Value> inputs = parse_json(inputs_json.empty() ? "{}" : inputs_json);
        if (!inputs.ok()) return inputs.error();
        std::vector<CrewInput> given;
        if (inputs->is_object()) {
            for (const auto& [name, value] : inputs->as_object()) {
                given.push_back({name, value.is_string() ? value.as_string() : to_json(value)});
            }
        }
        LoadedCrew loaded = load_crew(text, "crew", base_directory, given);
        if (!loaded.crew)
            return Error{ErrorCode::refused, "the crew of this record: " + join_problems(loaded.problems)};
        return std::move(loaded.crew);
    };
}

std::string inputs_to_json(const CrewSpec& crew) {
    std::vector<Value::Member> members;
    for (const auto& [name, value] : crew.inputs) members.emplace_back(name, value);
    return to_json(Value::object(std::move(members)));
}

std::string join_problems(const std::vector<CrewProblem>& problems) {
    std::string text;
    for (const CrewProblem& problem : problems) {
        if (!problem.warning) text += (text.empty() ? "" : "\n") + to_text(problem);
    }
    return text;
}

Value to_value(const RunRequest& request) {
    std::vector<Value::Member> inputs;
    for (const CrewInput& input : request.inputs) inputs.emplace_back(input.name, input.value);
    return Value::object({{"command", to_text(request.verb)},
                          {"board", request.board},
                          {"crew_text", request.crew_text},
                          {"crew_file", request.crew_file},
                          {"base_directory", request.base_directory},
                          {"inputs", Value::object(std::move(inputs))},
                          {"continue", request.go_on},
                          {"json", request.json},
                          {"activation", static_cast<std::int64_t>(request.activation)}});
}

Value to_value(const WriteRequest& request) {
    const Write& write = request.write;
    Value value = Value::object({{"command", "write"},
                                 {"name", request.board},
                                 {"op", to_text(write.op)},
                                 {"region", write.region},
                                 {"number", static_cast<std::int64_t>(write.number)},
                                 {"expected_version", static_cast<std::int64_t>(write.expected_version)},
                                 {"why", write.why}});
    if (!write.content.is_null()) value.set("entry", write.content);
    return value;
}

Value to_value(const ForkRequest& request) {
    return Value::object({{"command", "fork"},
                          {"board", request.board},
                          {"name", request.name},
                          {"at", static_cast<std::int64_t>(request.at.number)}});
}

Result<ForkRequest> fork_request_from(const Value& value) {
    ForkRequest request;
    const Value* board = value.find("board");
    const Value* name = value.find("name");
    const Value* at = value.find("at");
    if (board == nullptr || !board->is_string() || name == nullptr || !name->is_string() || at == nullptr ||
        !at->is_int() || at->as_int() < 1) {
        return Error{ErrorCode::invalid_argument, "a fork names a board, a new name and a version"};
    }
    request.board = board->as_string();
    request.name = name->as_string();
    request.at.number = static_cast<std::uint64_t>(at->as_int());
    return request;
}

Value to_value(const PurgeRequest& request) {
    Value::Array entries;
    for (const EntryId& id : request.wish.entries) entries.push_back(to_text(id));
    Value::Array texts;
    for (const std::string& text : request.wish.texts) texts.push_back(text);
    return Value::object({{"command", "purge"},
                          {"board", request.board},
                          {"entries", Value(std::move(entries))},
                          {"texts", Value(std::move(texts))},
                          {"reason", request.reason}});
}

Result<PurgeRequest> purge_request_from(const Value& value) {
    PurgeRequest request;
    const auto list = [&](const char* field) {
        std::vector<std::string> texts;
        const Value* found = value.find(field);
        if (found == nullptr || !found->is_array()) return texts;
        for (const Value& text : found->as_array()) {
            if (text.is_string()) texts.push_back(text.as_string());
        }
        return texts;
    };
    const Value* board = value.find("board");
    const Value* reason = value.find("reason");
    if (board != nullptr && board->is_string()) request.board = board->as_string();
    if (reason != nullptr && reason->is_string()) request.reason = reason->as_string();
    for (const std::string& text : list("entries")) {
        const Result<EntryId> id = parse_entry_id(text);
        if (!id.ok()) return id.error();
        request.wish.entries.push_back(*id);
    }
    request.wish.texts = list("texts");
    if (request.wish.entries.empty() && request.wish.texts.empty()) {
        return Error{ErrorCode::invalid_argument, "a purge names entries or texts"};
    }
    return request;
}

Result<WriteRequest> write_request_from(const Value& value) {
    const auto text = [&](const char* field) {
        const Value* found = value.find(field);
        return found != nullptr && found->is_string() ? found->as_string() : std::string();
    };
    const std::optional<WriteOp> op = write_op_from(text("op"));
    if (!op) return Error{ErrorCode::invalid_argument, "a write names its op"};
    WriteRequest request;
    request.board = text("name");
    request.write.op = *op;
    request.write.region = text("region");
    request.write.why = text("why");
    const Value* number = value.find("number");
    if (number != nullptr && number->is_int() && number->as_int() > 0) {
        request.write.number = static_cast<std::uint64_t>(number->as_int());
    }
    const Value* expected = value.find("expected_version");
    if (expected != nullptr && expected->is_int() && expected->as_int() > 0 && expected->as_int() <= UINT32_MAX) {
        request.write.expected_version = static_cast<std::uint32_t>(expected->as_int());
    }
    if (const Value* entry = value.find("entry")) request.write.content = *entry;
    request.write.seal();
    return request;
}

Result<RunRequest> run_request_from(const Value& value) {
    RunRequest request;
    const auto text = [&](const char* key) {
        const Value* found = value.find(key);
        return found != nullptr && found->is_string() ? found->as_string() : std::string();
    };
    const std::string verb = text("command");
    if (verb == "run") {
        request.verb = RunRequest::Verb::run;
    } else if (verb == "resume") {
        request.verb = RunRequest::Verb::resume;
    } else if (verb == "retry") {
        request.verb = RunRequest::Verb::retry;
    } else {
        return Error{ErrorCode::invalid_argument,
                     "the owner of this data directory does not know the command \"" + verb + "\""};
    }
    request.board = text("board");
    request.crew_text = text("crew_text");
    request.crew_file = text("crew_file");
    request.base_directory = text("base_directory");
    if (const Value* inputs = value.find("inputs"); inputs != nullptr && inputs->is_object()) {
        for (const auto& [name, input] : inputs->as_object()) {
            request.inputs.push_back({name, input.is_string() ? input.as_string() : to_json(input)});
        }
    }
    const Value* go_on = value.find("continue");
    request.go_on = go_on != nullptr && go_on->is_bool() && go_on->as_bool();
    const Value* activation = value.find("activation");
    if (activation != nullptr && activation->is_int())
        request.activation = static_cast<std::uint64_t>(activation->as_int());
    return request;
}

std::optional<ExitCode> ask_owner(const std::string& directory, const Value& request,
                                  const std::function<void(const Value& line)>& on_line,
                                  const std::function<bool()>& interrupted) {
    if (socket_path(directory).size() >= sizeof(sockaddr_un{}.sun_path)) return std::nullopt;
    asio::io_context loop;
    Socket socket(loop);
    boost::system::error_code error;
    socket.connect(asio::local::stream_protocol::endpoint(socket_path(directory)), error);
    if (error) return std::nullopt;
    asio::write(socket, asio::buffer(to_json(request) + "\n"), error);
    asio::streambuf input;  // an owner is trusted with the length of its lines
    std::optional<ExitCode> code;
    bool answered = false;
    std::function<void()> read = [&] {
        asio::async_read_until(socket, input, '\n', [&](const boost::system::error_code& failed, std::size_t) {
            if (failed) return;
            std::istream lines(&input);
            std::string line;
            std::getline(lines, line);
            const Result<Value> value = parse_json(line);
            answered = true;
            if (value.ok()) {
                on_line(*value);
                if (const Value* exit = value->find("exit_code"); exit != nullptr && exit->is_int()) {
                    code = static_cast<ExitCode>(exit->as_int());
                    return;
                }
            }
            read();
        });
    };
    read();
    while (!code && !loop.stopped()) {
        loop.run_for(std::chrono::milliseconds(100));
        if (interrupted()) {
            asio::write(socket, asio::buffer(std::string("{\"command\":\"interrupt\"}\n")), error);
        }
    }
    // An owner that was just leaving has not looked at the request.
    if (!code && !answered) return std::nullopt;
    if (!code) {
        return complain(
            {ErrorCode::closed, "the process that owned " + directory + " ended; go on with: stele resume"});
    }
    return code;
}

}  // namespace stele

// The commands that write: run, resume, retry, backup, boards rm. Each owns the data directory, or
// asks the process that does.
#include <unistd.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>
#include <thread>

#include "board/region_policy.hpp"
#include "runtime/commands.hpp"
#include "runtime/open_board.hpp"
#include "runtime/progress.hpp"
#include "runtime/record_json.hpp"
#include "runtime/verify.hpp"
#include "runtime/wall_clock.hpp"
#include "runtime/what_if.hpp"
#include "scheduler/control.hpp"

namespace stele {
namespace {

namespace asio = boost::asio;

std::atomic<int> interrupts{0};
void count_interrupt(int) { ++interrupts; }

// Checks the crew before anything is opened, so that a wrong file starts nothing.
Result<RunRequest> make_request(const RunOptions& options, std::vector<CrewProblem>& problems) {
    RunRequest request;
    request.verb = options.verb;
    request.board = options.common.board;
    request.go_on = options.go_on;
    request.json = options.common.json && !options.quiet;
    request.activation = options.activation;
    Result<std::vector<CrewInput>> inputs = parse_inputs(options.inputs);
    if (!inputs.ok()) return inputs.error();
    if (options.crew_file.empty() && !inputs->empty()) {
        return Error{ErrorCode::invalid_argument, "--input fills a crew's inputs: name the crew with --crew FILE"};
    }
    request.inputs = std::move(*inputs);
    if (options.crew_file.empty()) return request;
    LoadedCrew loaded = load_crew_file(options.crew_file, request.inputs);
    problems = loaded.problems;
    if (!loaded.crew) return Error{ErrorCode::invalid_argument, join_problems(loaded.problems)};
    request.crew_text = loaded.crew->text;
    request.crew_file = options.crew_file;
    request.base_directory = loaded.crew->base_directory;
    // Paths were made absolute against this process's folder; another one might own the directory.
    request.inputs = inputs_of(*loaded.crew);
    return request;
}

class LocalRun {
public:
    LocalRun(const RunOptions& options, std::unique_ptr<Owner> owner, asio::io_context& loop)
        : options_(options), owner_(std::move(owner)), loop_(loop), signals_(loop, SIGINT, SIGTERM), ticker_(loop) {}

    ExitCode run(const RunRequest& request) {
        RunListener listener;
        listener.on_begin = [this](const std::string& board, const CrewSpec& crew, BoardEngine& engine) {
            ProgressOptions progress;
            progress.quiet = options_.quiet;
            progress.json = options_.common.json;
            progress.terminal = detect_terminal(1, options_.common.color);
            progress.out = &std::cout;
            progress_ = std::make_unique<Progress>(progress, board, options_.common.data);
            progress_->on_crew(crew);
            progress_->on_board(engine.board().entries().regions(), engine.scheduler().dead());
        };
        listener.on_record = [this](const LoggedRecord& logged, const std::vector<EntryChange>& changes) {
            if (progress_) progress_->on_record(logged, changes);
        };
        listener.on_progress = [this](ActivationId id, const std::string& text) {
            if (progress_) progress_->on_progress(id, text);
        };
        listener.on_end = [this](ExitCode code, const std::string& message) { on_end(code, message); };
        Result<std::shared_ptr<RunSession>> session = owner_->start(request, std::move(listener));
        if (!session.ok()) return complain(session.error());
        session_ = *session;
        wait_for_signal();
        tick();
        owner_->on_done = [this] { leave(); };
        loop_.run();
        return code_;
    }

private:
    void on_end(ExitCode code, const std::string& message) {
        code_ = code;
        session_.reset();
        if (progress_) {
            progress_->finish();
            if (options_.common.json) {
                Value summary = progress_->summary();
                summary.set("exit_code", static_cast<std::int64_t>(code));
                std::cout << to_json_line(summary) << std::endl;
            }
        }
        if (!message.empty()) std::cerr << "stele: " << message << std::endl;
        ended_ = true;
        if (owner_->is_done()) return leave();
        if (!options_.common.json && !options_.quiet) {
            std::cerr << "stele: other runs go on in this process; waiting for them" << std::endl;
        }
    }

    void leave() {
        if (!ended_) return;
        signals_.cancel();
        ticker_.cancel();
        loop_.stop();
    }

    void wait_for_signal() {
        signals_.async_wait([this](const boost::system::error_code& error, int) {
            if (error) return;
            if (session_) {
                session_->interrupt();
            } else {
                loop_.stop();  // only other processes' runs are left
            }
            wait_for_signal();
        });
    }

    void tick() {
        ticker_.expires_after(std::chrono::milliseconds(100));
        ticker_.async_wait([this](const boost::system::error_code& error) {
            if (error || ended_) return;
            if (progress_) progress_->tick(wall_clock().ms);
            tick();
        });
    }

    const RunOptions& options_;
    std::unique_ptr<Owner> owner_;
    asio::io_context& loop_;
    asio::signal_set signals_;
    asio::steady_timer ticker_;
    std::unique_ptr<Progress> progress_;
    std::shared_ptr<RunSession> session_;
    ExitCode code_ = ExitCode::failure;
    bool ended_ = false;
};

// Nothing when the owner does not listen yet, or does not any more.
std::optional<ExitCode> run_through_owner(const RunOptions& options, const RunRequest& request) {
    std::signal(SIGINT, count_interrupt);
    std::signal(SIGTERM, count_interrupt);
    int told = 0;
    const auto interrupted = [&told] {
        if (interrupts <= told) return false;
        ++told;
        return true;
    };
    const auto on_line = [&](const Value& line) {
        if (const Value* board = line.find("board"); board != nullptr && !options.common.json) {
            std::cout << "board " << printable(board->as_string()) << ", run by the process that owns "
                      << options.common.data << std::endl;
        }
        const Value* text = line.find("text");
        const Value* record = line.find("record");
        if (options.common.json && !options.quiet && record != nullptr) {
            std::cout << to_json_line(*record) << std::endl;
        } else if (!options.common.json && !options.quiet && text != nullptr && text->is_string()) {
            std::cout << text->as_string() << std::endl;
        }
        const Value* exit = line.find("exit_code");
        const Value* message = line.find("message");
        if (exit == nullptr) return;
        const Value* reason = line.find("reason");
        const Value* detail = line.find("detail");
        if (options.common.json) {
            std::cout << to_json_line(line) << std::endl;
        } else if (reason != nullptr && detail != nullptr) {
            std::cout << "stopped   " << printable(reason->as_string()) << ": " << printable(detail->as_string())
                      << std::endl;
        }
        if (message != nullptr && !message->as_string().empty())
            std::cerr << "stele: " << message->as_string() << std::endl;
    };
    return ask_owner(options.common.data, to_value(request), on_line, interrupted);
}

// For what takes a moment: done here, or by the owner.
ExitCode own_or_ask(const CommonOptions& options, const Value& request,
                    const std::function<Status(Owner&, asio::io_context&)>& here) {
    if (!std::filesystem::exists(options.data)) {
        return complain(
            {ErrorCode::not_found, "there is no data directory " + options.data + "; name it with --data DIR"});
    }
    const auto on_line = [](const Value& line) {
        const Value* message = line.find("message");
        if (message != nullptr && !message->as_string().empty())
            std::cerr << "stele: " << message->as_string() << std::endl;
    };
    asio::io_context loop;
    std::string notice;
    Result<std::unique_ptr<Owner>> owner = Owner::open(loop, options.data, notice);
    for (int attempt = 0; attempt < 20 && !owner.ok() && owner.error().code == ErrorCode::in_use; ++attempt) {
        if (const std::optional<ExitCode> code = ask_owner(options.data, request, on_line, [] { return false; }))
            return *code;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        owner = Owner::open(loop, options.data, notice);
    }
    if (!owner.ok()) return complain(owner.error());
    if (!notice.empty()) std::cerr << "stele: " << notice << std::endl;
    const Status done = here(**owner, loop);
    return done.ok() ? ExitCode::done : complain(done.error());
}

ExitCode run_request(const RunOptions& options, const RunRequest& request) {
    asio::io_context loop;
    std::string notice;
    Result<std::unique_ptr<Owner>> owner = Owner::open(loop, options.common.data, notice);
    // An owner that is starting does not listen yet, and one that is leaving does not any more.
    for (int attempt = 0; attempt < 20 && !owner.ok() && owner.error().code == ErrorCode::in_use; ++attempt) {
        if (const std::optional<ExitCode> code = run_through_owner(options, request)) return *code;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        owner = Owner::open(loop, options.common.data, notice);
    }
    if (!owner.ok()) return complain(owner.error());
    if (!notice.empty()) std::cerr << "stele: " << notice << std::endl;
    LocalRun run(options, std::move(*owner), loop);
    return run.run(request);
}

}  // namespace

ExitCode command_run(const RunOptions& options) {
    std::vector<CrewProblem> problems;
    const Result<RunRequest> request = make_request(options, problems);
    if (!request.ok()) {
        if (!problems.empty()) {
            std::cerr << request.error().message << std::endl;
            return ExitCode::usage;
        }
        return complain(request.error());
    }
    if (options.verb != RunRequest::Verb::run && !std::filesystem::exists(options.common.data)) {
        return complain(
            {ErrorCode::not_found, "there is no data directory " + options.common.data + "; name it with --data DIR"});
    }
    return run_request(options, *request);
}

namespace {

// The crew to go on with, where it is to be another than the log's.
Result<RunRequest> crew_of_fork(const ForkOptions& options, const OpenBoard& board, Position at) {
    RunRequest request;
    request.verb = RunRequest::Verb::resume;
    request.board = options.name;
    request.json = options.common.json && !options.quiet;
    const Result<LoadedCrew> loaded = crew_to_try({options.crew_file, options.inputs, options.settings}, board, at);
    if (!loaded.ok()) return loaded.error();
    if (!loaded->crew) return request;
    request.crew_text = loaded->crew->text;
    request.crew_file = options.crew_file.empty() ? "crew" : options.crew_file;
    request.base_directory = loaded->crew->base_directory;
    request.inputs = inputs_of(*loaded->crew);
    return request;
}

std::string free_name(const std::vector<BoardInfo>& boards, const std::string& wanted) {
    const auto taken = [&](const std::string& name) {
        return std::any_of(boards.begin(), boards.end(), [&](const BoardInfo& b) { return b.address.board == name; });
    };
    std::string name = wanted;
    for (int i = 2; taken(name); ++i) name = wanted + "-" + std::to_string(i);
    return name;
}

}  // namespace

ExitCode command_fork(const ForkOptions& given) {
    ForkOptions options = given;
    if (!options.parent.empty()) options.common.board = options.parent;
    RunRequest request;
    ForkRequest fork;
    {
        const Result<OpenBoard> board = open_board(options.common);
        if (!board.ok()) return complain(board.error());
        const Result<Position> at = version_or_newest(*board, options.at);
        if (!at.ok()) return complain(at.error());
        if (!crew_at(*board, *at)) {
            return complain({ErrorCode::invalid_argument, "no run had begun on board \"" + board->info.address.board +
                                                              "\" at version " + std::to_string(at->number) +
                                                              "; there is nothing to go on with"});
        }
        const Result<std::vector<BoardInfo>> boards = board->data->boards();
        if (!boards.ok()) return complain(boards.error());
        if (options.name.empty()) options.name = free_name(*boards, board->info.address.board + "-fork");
        const Result<RunRequest> made = crew_of_fork(options, *board, *at);
        if (!made.ok()) {
            if (made.error().code != ErrorCode::refused) return complain(made.error());
            std::cerr << made.error().message << std::endl;  // problems of a crew file, each with its place
            return ExitCode::usage;
        }
        request = *made;
        fork = {board->info.address.board, options.name, *at};
    }
    const ExitCode made =
        own_or_ask(options.common, to_value(fork), [&](Owner& owner, asio::io_context&) { return owner.fork(fork); });
    if (made != ExitCode::done) return made;
    if (!options.common.json) {
        std::cout << "board " << printable(fork.name) << " goes on from version " << count_text(fork.at.number)
                  << " of " << printable(fork.board) << std::endl;
    }
    if (options.only_make) {
        if (options.common.json) {
            std::cout << to_json_line(Value::object({{"board", fork.name},
                                                     {"parent", fork.board},
                                                     {"forked_at", static_cast<std::int64_t>(fork.at.number)}}))
                      << std::endl;
        }
        return ExitCode::done;
    }
    RunOptions run;
    run.common = options.common;
    run.common.board = fork.name;
    run.verb = RunRequest::Verb::resume;
    run.quiet = options.quiet;
    return run_request(run, request);
}

ExitCode command_import(const ImportOptions& options) {
    std::string file = options.file;
    std::string copied;
    if (file == "-") {
        // The owner may be another process, which cannot read this one's input.
        copied = (std::filesystem::temp_directory_path() / "stele-import-XXXXXX").string();
        const int made = ::mkstemp(copied.data());
        if (made < 0) return complain({ErrorCode::io, "cannot write a file in " + copied});
        ::close(made);
        std::ofstream copy(copied, std::ios::binary);
        if (std::cin.peek() != std::istream::traits_type::eof()) copy << std::cin.rdbuf();
        copy.close();
        if (!copy) return complain({ErrorCode::io, "standard input could not be copied to " + copied});
        file = copied;
    }
    file = std::filesystem::absolute(file).string();
    std::error_code ignored;
    // No data directory is made for a slip of the pen.
    if (!std::filesystem::exists(file, ignored)) return complain({ErrorCode::not_found, "there is no file " + file});
    std::filesystem::create_directories(options.common.data, ignored);
    const ExitCode code =
        own_or_ask(options.common, Value::object({{"command", "import"}, {"name", options.name}, {"file", file}}),
                   [&](Owner& owner, asio::io_context&) { return owner.import(file, options.name); });
    if (!copied.empty()) std::filesystem::remove(copied, ignored);
    if (code == ExitCode::done) {
        std::cout << (options.name.empty() ? std::string("the board") : "board " + printable(options.name))
                  << " is taken in; look at it with: stele boards --data " << printable(options.common.data)
                  << std::endl;
    }
    return code;
}

ExitCode command_boards_rm(const CommonOptions& options, const std::string& board) {
    const ExitCode code = own_or_ask(options, Value::object({{"command", "boards_rm"}, {"name", board}}),
                                     [&](Owner& owner, asio::io_context&) { return owner.remove_board(board); });
    if (code == ExitCode::done) std::cout << "board " << board << " is gone" << std::endl;
    return code;
}

namespace {

ExitCode write_for_a_person(const CommonOptions& options, Write write) {
    write.seal();
    const WriteRequest request{options.board, std::move(write)};
    return own_or_ask(options, to_value(request), [&](Owner& owner, asio::io_context& loop) {
        std::optional<Status> done;
        owner.write(request, [&](const Status& status) {
            done = status;
            loop.stop();
        });
        if (!done) loop.run();
        return done ? *done : Status(Error{ErrorCode::internal, "the write was not answered"});
    });
}

}  // namespace

ExitCode command_control(const CommonOptions& options, const std::string& key, const Value& value) {
    Write write;
    write.op = WriteOp::put;
    write.region = control_region_name;
    write.content = Value::object({{"key", key}, {"value", value}});
    return write_for_a_person(options, std::move(write));
}

ExitCode command_retract(const RetractOptions& options) {
    const Result<EntryId> id = parse_entry_id(options.entry);
    if (!id.ok()) return complain(id.error());
    Write write;
    write.op = WriteOp::retract;
    write.region = id->region;
    write.number = id->number;
    write.why = options.reason;
    const ExitCode code = write_for_a_person(options.common, std::move(write));
    if (code == ExitCode::done) {
        std::cout << printable(options.entry) << " is retracted; what came of it: stele impact "
                  << printable(options.entry) << std::endl;
    }
    return code;
}

ExitCode command_write(const WriteOptions& options) {
    Result<Value> content = parse_json(options.entry);
    if (!content.ok() || !content->is_object()) {
        return complain(
            {ErrorCode::invalid_argument,
             "an entry is a JSON object" + (content.ok() ? std::string() : ": " + content.error().message)});
    }
    Write write;
    write.region = options.region;
    write.content = std::move(*content);
    write.number = options.number;
    write.expected_version = options.expected_version;
    write.why = options.reason;
    if (!options.op.empty()) {
        const std::optional<WriteOp> op = write_op_from(options.op);
        if (!op || *op == WriteOp::retract) {
            return complain(
                {ErrorCode::invalid_argument, "--op is insert, add, remove, put, replace or increment" +
                                                  std::string(op ? "; to take an entry back: stele retract" : "")});
        }
        write.op = *op;
    } else {
        // The law of the region says which operation makes an entry.
        const Result<OpenBoard> board = open_board(options.common);
        if (!board.ok()) return complain(board.error());
        const std::shared_ptr<const CrewSpec> crew = crew_at(*board, board->last);
        const RegionSpec* region = crew ? crew->region(options.region) : nullptr;
        if (region == nullptr) {
            return complain({ErrorCode::not_found, "board \"" + board->info.address.board + "\" has no region \"" +
                                                       options.region + "\"; see: stele show"});
        }
        write.op = options.number != 0 ? WriteOp::replace : operations_of(region->policy).front();
    }
    const ExitCode code = write_for_a_person(options.common, std::move(write));
    if (code == ExitCode::done) std::cout << "written to " << printable(options.region) << "\n";
    return code;
}

namespace {

std::string joined(const std::set<EntryId>& ids) {
    std::string text;
    for (const EntryId& id : ids) text += (text.empty() ? "" : " ") + to_text(id);
    return text;
}

void print_plan(const PurgePlan& plan, bool json, bool only_plan) {
    if (json) {
        const auto ids = [](const std::set<EntryId>& from) {
            Value::Array values;
            for (const EntryId& id : from) values.push_back(valid_utf8(to_text(id)));
            return Value(std::move(values));
        };
        Value::Array records;
        for (const auto& [position, parts] : plan.parts) records.push_back(static_cast<std::int64_t>(position.number));
        Value::Array stays;
        for (const std::string& text : plan.stays) stays.push_back(valid_utf8(text));
        std::cout << to_json_line(Value::object({{"purged", !only_plan},
                                                 {"records", Value(std::move(records))},
                                                 {"entries", ids(plan.entries)},
                                                 {"retracted", ids(plan.active)},
                                                 {"also_in", ids(plan.also_in)},
                                                 {"stays", Value(std::move(stays))}}))
                  << "\n";
        return;
    }
    std::cout << (only_plan ? "would purge payloads of " : "purged payloads of ")
              << counted(plan.parts.size(), "record", "records");
    if (!plan.entries.empty()) std::cout << ", contents of " << printable(joined(plan.entries));
    std::cout << "\n";
    if (!plan.active.empty()) {
        std::cout << (only_plan ? "would retract " : "retracted ") << printable(joined(plan.active)) << "\n";
    }
    if (!plan.also_in.empty()) {
        std::cout << "the same is said by " << printable(joined(plan.also_in))
                  << ": purge them as well, or name the text with --text\n";
    }
    for (const std::string& text : plan.stays) {
        std::cout << "it stays in " << printable(text) << ", which the chain of hashes or the crew needs\n";
    }
}

}  // namespace

ExitCode command_purge(const PurgeOptions& options) {
    PurgeRequest request;
    request.reason = options.reason;
    request.wish.texts = options.texts;
    for (const std::string& entry : options.entries) {
        const Result<EntryId> id = parse_entry_id(entry);
        if (!id.ok()) return complain(id.error());
        request.wish.entries.push_back(*id);
    }
    if (request.wish.entries.empty() && request.wish.texts.empty()) {
        return complain({ErrorCode::invalid_argument, "name an entry, REGION/NUMBER, or a text with --text"});
    }
    PurgePlan plan;
    {
        const Result<OpenBoard> board = open_board(options.common);
        if (!board.ok()) return complain(board.error());
        request.board = board->info.address.board;
        Result<PurgePlan> made = plan_purge(*board->store, board->info, board->last, request.wish);
        if (!made.ok()) return complain(made.error());
        plan = std::move(*made);
    }
    if (plan.parts.empty()) return complain({ErrorCode::not_found, "there is nothing to purge: no payload says it"});
    if (!options.only_plan) {
        const ExitCode code = own_or_ask(options.common, to_value(request), [&](Owner& owner, asio::io_context& loop) {
            std::optional<Status> done;
            owner.purge(request, [&](const Status& status) {
                done = status;
                loop.stop();
            });
            if (!done) loop.run();
            return done ? *done : Status(Error{ErrorCode::internal, "the purge was not answered"});
        });
        if (code != ExitCode::done) return code;
    }
    print_plan(plan, options.common.json, options.only_plan);
    return ExitCode::done;
}

ExitCode command_verify(const CommonOptions& options, bool repair) {
    std::string notice;
    Result<std::unique_ptr<DataDirectory>> data =
        repair ? DataDirectory::own(options.data, notice) : DataDirectory::read(options.data);
    if (!data.ok()) return complain(data.error());
    const Result<BoardInfo> board = choose_board(**data, options.board);
    if (!board.ok()) return complain(board.error());
    const Result<StateStore*> store = (*data)->store_of(*board);
    if (!store.ok()) return complain(store.error());
    const Result<std::optional<HeadMark>> mark = (*data)->head(board->number);
    if (!mark.ok()) return complain(mark.error());
    Result<VerifyReport> report = verify_board(**store, *board, *mark, make_crew_reader());
    if (!report.ok()) return complain(report.error());
    std::vector<std::string> repaired;
    if (repair && report->is_repairable()) {
        repaired = report->stale;
        const Status mended = repair_board(**store, *board, make_crew_reader());
        if (!mended.ok()) return complain(mended.error());
        report = verify_board(**store, *board, *mark, make_crew_reader());
        if (!report.ok()) return complain(report.error());
    }
    if (!(*data)->is_head_whole(board->number)) {
        std::cerr << "stele: half of the head mark of board \"" << printable(board->address.board)
                  << "\" is damaged; the next run writes it anew" << std::endl;
    }
    if (options.json) {
        const auto list = [](const std::vector<std::string>& texts) {
            Value::Array values;
            for (const std::string& text : texts) values.push_back(valid_utf8(text));
            return Value(std::move(values));
        };
        Value value = Value::object({{"board", board->address.board},
                                     {"records", static_cast<std::int64_t>(report->records)},
                                     {"keys", static_cast<std::int64_t>(report->keys)},
                                     {"state_hash", to_hex(report->state_hash)},
                                     {"whole", report->is_whole()},
                                     {"damage", list(report->damage)},
                                     {"stale", list(report->stale)},
                                     {"repaired", list(repaired)}});
        if (report->difference) value.set("difference", valid_utf8(*report->difference));
        std::cout << to_json_line(value) << "\n";
    } else {
        const std::string name = "board " + printable(board->address.board) + ": ";
        for (const std::string& text : report->damage) std::cout << name << "damaged: " << printable(text) << "\n";
        if (report->difference) std::cout << name << printable(*report->difference) << "\n";
        for (const std::string& text : repaired) std::cout << name << "made anew: " << printable(text) << "\n";
        for (const std::string& text : report->stale) std::cout << name << printable(text) << "\n";
        if (report->is_whole()) {
            std::cout << name << count_text(report->records) << " records, the chain of hashes holds; "
                      << count_text(report->keys) << " keys derived from it are as it makes them; state hash "
                      << to_hex(report->state_hash) << "\n";
        } else if (report->is_repairable()) {
            std::cout << "the log is whole, and this can be made anew from it: stele verify --repair\n";
        } else if (!report->damage.empty()) {
            std::cout << "the log itself is damaged: restore the directory from a backup\n";
        }
    }
    return report->is_whole() ? ExitCode::done : ExitCode::differs;
}

ExitCode command_backup(const CommonOptions& options, const std::string& target) {
    const std::string absolute = std::filesystem::absolute(target).string();
    const ExitCode code = own_or_ask(options, Value::object({{"command", "backup"}, {"name", absolute}}),
                                     [&](Owner& owner, asio::io_context&) { return owner.backup(absolute); });
    if (code == ExitCode::done)
        std::cout << "backup in " << target << "; look at it with: stele boards --data " << target << std::endl;
    return code;
}

}  // namespace stele

// One live board: takes records in, folds them, stores them in group commits, and does what the
// scheduler's effects say: starts sources once their claim is durable, evaluates rules, arms the
// timer. Holds no rules itself. Everything is on the loop thread but the waiting for the disk.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "board/log/buffered_store.hpp"
#include "board/log/head_mark.hpp"
#include "board/log/write_log.hpp"
#include "knowledge_sources/knowledge_source.hpp"
#include "knowledge_sources/relevance.hpp"
#include "runtime/data_directory.hpp"
#include "runtime/recorded_answers.hpp"
#include "runtime/source_registry.hpp"
#include "runtime/workers.hpp"
#include "scheduler/fold.hpp"

namespace boost::asio {
class io_context;
}

namespace stele {

struct EngineHooks {
    /// Each record in order, once it is as durable as the board promises.
    std::function<void(const LoggedRecord&, const std::vector<EntryChange>&)> on_record;
    /// A source says what it is doing right now; not in the log.
    std::function<void(ActivationId, const std::string&)> on_progress;
    /// The run stopped and nothing of it is in flight any more.
    std::function<void()> on_stopped;
    /// The log failed. Nothing was acknowledged that is not stored; nothing goes on.
    std::function<void(const Error&)> on_failure;
};

class BoardEngine {
public:
    /// Milliseconds since the epoch. Replaced in tests.
    using Clock = std::function<TimeMs()>;

    BoardEngine(boost::asio::io_context& loop, StateStore& store, Workers& workers, BoardInfo board,
                std::string head_path, SourceRegistry& sources, CrewReader read_crew, EngineHooks hooks, Clock clock);
    ~BoardEngine();
    BoardEngine(const BoardEngine&) = delete;
    BoardEngine& operator=(const BoardEngine&) = delete;

    /// Reads the board, checks its head mark, and tells the scheduler its log from the last checkpoint on, or the whole
    /// of it where there is none to go by. Fails with `corrupt` when the log came back shorter than it was or a record
    /// that is read is damaged; `stele verify` reads them all.
    Status open();

    /// Appends a fence: from here on this process is the owner. Ends what an owner that died left
    /// running, and gives its unfinished activations back. Call once after open().
    void take_over();

    /// Begins a run of this crew.
    void start_run(const CrewSpec& crew, const std::string& inputs_json);
    /// Appends a signal: "interrupt", "kill", "resume", "retry".
    void signal(std::string word, std::string reason, ActivationId activation = {});
    void reconfigure(const CrewSpec& crew, const std::string& inputs_json);

    /// Told when the record is as durable as the board promises, with its verdict.
    using Acknowledge = std::function<void(const LoggedRecord&)>;
    /// Epoch and time are filled in.
    void submit(Record record, Acknowledge acknowledge = {});

    /// A fork: where answers that its parent got are taken from.
    void set_recorded(std::unique_ptr<RecordedAnswers> recorded) { recorded_ = std::move(recorded); }

    [[nodiscard]] const Scheduler& scheduler() const { return fold_->scheduler(); }
    [[nodiscard]] Board& board() { return *board_; }
    [[nodiscard]] const BoardInfo& info() const { return info_; }
    [[nodiscard]] bool is_idle() const;
    [[nodiscard]] bool has_failed() const { return failed_; }
    /// Overrides the crew's durability (the benchmark's use).
    void set_durability(Durability durability) { forced_durability_ = durability; }
    /// Before open(): the board gets no index of records, and cannot be asked anything (the benchmark's use).
    void leave_index_out() { indexed_ = false; }

private:
    struct Waiting {
        Record record;
        Acknowledge acknowledge;
    };
    struct Told {
        std::shared_ptr<const LoggedRecord> logged;
        std::vector<EntryChange> changes;
        Acknowledge acknowledge;
    };

    // A call that an attempt has asked for and that has no permit yet.
    struct AskedCall {
        ActivationId id;
        std::uint32_t attempt = 0;
        CallIntent intent;
        std::function<void(CallPermit)> permitted;
    };

    void submit_crew(RecordKind kind, const CrewSpec& crew, const std::string& inputs_json);
    void schedule_pump();
    void pump();
    bool fold_one(Record record, Acknowledge acknowledge);
    bool submit_now(Record record);
    Result<Position> load_checkpoint();
    Status begin_fold();
    Status walk_from(Position after);
    Status check_mark(const HeadMark& mark, Position last) const;
    Status keep_checkpoint_if_due(RecordKind after);
    void follow(Folded& folded);
    void flush();
    void request_sync();
    void on_synced(Position target, const Status& status);
    void tell_until(Position position);
    void start_waiting(Position durable);
    void start_attempt(ActivationId id);
    void serve_calls();
    bool serve_call(AskedCall& asked);
    Result<bool> serve_from_record(AskedCall& asked);
    void answer_call(AskedCall& asked, CallPermit permit);
    bool put_on_record(AskedCall& asked, Position answered_by, CallPermit& permit);
    void on_returned(ActivationId id, std::uint32_t attempt, CallEnd end);
    Status index_texts_for(const SourceSpec& source);
    [[nodiscard]] std::string without_secrets(std::string text) const;
    void on_started(ActivationId id, std::uint32_t attempt, const ProcessIdentity& identity, std::vector<EntryId> seen,
                    bool& accepted);
    void on_finished(ActivationId id, std::uint32_t attempt, const std::string& seen_digest, Outcome outcome);
    void commit_writes(const Activation& live, std::vector<Write> writes);
    void end_orphans();
    [[nodiscard]] bool owner_is_alive(Position fence) const;
    void recommit(const Activation& orphan);
    void arm_timer(std::optional<TimeMs> wake_at);
    void arm_interval_sync();
    void check_stopped();
    void fail(const Error& error);
    [[nodiscard]] Durability durability() const;
    [[nodiscard]] TimeMs now() const;

    struct Timers;
    struct Head;

    boost::asio::io_context& loop_;
    StateStore& engine_store_;
    BufferedStore store_;
    Workers& workers_;
    bool indexed_ = true;
    BoardInfo info_;
    std::string head_path_;
    SourceRegistry& sources_;
    CrewReader read_crew_;
    EngineHooks hooks_;
    Clock clock_;
    std::unique_ptr<Board> board_;
    std::unique_ptr<WriteLog> log_;
    std::unique_ptr<Fold> fold_;
    std::shared_ptr<Head> head_;
    std::unique_ptr<Timers> timers_;
    std::optional<Durability> forced_durability_;

    std::deque<Waiting> inbox_;
    /// What the core decided; what comes from outside may displace it, and it decides again.
    std::optional<Record> next_;
    std::size_t in_a_row_ = 0;  // records of the core since the last one from outside
    bool pump_posted_ = false;
    bool folding_ = false;
    bool failed_ = false;
    bool stop_told_ = false;

    Position flushed_;
    Position synced_;
    Position checkpoint_;
    std::size_t checkpoint_bytes_ = 0;
    bool syncing_ = false;
    std::deque<Told> untold_;
    std::multimap<Position, ActivationId> to_start_;
    std::deque<AskedCall> asked_;
    bool serve_posted_ = false;
    /// Permits that wait for their record to be on disk.
    std::multimap<Position, std::function<void()>> to_permit_;
    std::unique_ptr<RecordedAnswers> recorded_;
    std::unique_ptr<RelevanceIndex> relevance_;
    std::shared_ptr<const CrewSpec> relevance_for_;
    std::map<ActivationId, std::unique_ptr<Attempt>> attempts_;
    std::vector<std::unique_ptr<Attempt>> ending_;
    std::size_t running_attempts_ = 0;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

/// What this process is, for fences and for later owners.
ProcessIdentity this_process();

}  // namespace stele

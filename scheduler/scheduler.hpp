// The deterministic core: judges the records of the activation protocol, and decides what happens
// next. It is fed every folded record in log order and nothing else: no clock, no thread, no I/O,
// no chance. So the same log gives the same decisions live, on resume, and in replay. Loop thread.
//
// Activation protocol: claimed (durable before anything starts), started, result, commit; a rule
// does all of it in one commit record. See docs/architecture.md.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "board/entry.hpp"
#include "board/record.hpp"
#include "scheduler/agenda.hpp"
#include "scheduler/budgets.hpp"
#include "scheduler/content_hash.hpp"
#include "scheduler/control.hpp"
#include "scheduler/crew_spec.hpp"
#include "scheduler/cycle_detector.hpp"
#include "scheduler/goal_meter.hpp"
#include "scheduler/matcher.hpp"
#include "scheduler/refraction.hpp"

namespace stele {

enum class StopReason { goal, quiescence, incomplete, waiting, budget, deadline, cycle, interrupt, error };
const char* to_text(StopReason reason);
std::optional<StopReason> stop_reason_from(std::string_view word);

/// A call that is on record and has not returned.
struct LiveCall {
    std::string source;
    std::string model;  // empty: a tool or a service
    Amounts reserved;
    Hash128 key;
};

/// One source woken for one match, or for a batch of them.
struct Activation {
    enum class State { running, waiting };
    ActivationId id;
    State state = State::running;
    std::uint32_t source = 0;
    std::vector<MatchPtr> members;
    /// Counts every claim, from 1.
    std::uint32_t attempt = 1;
    std::uint32_t failures = 0;
    std::uint32_t conflicts = 0;
    Position claimed_at;
    Position snapshot;
    TimeMs claimed_time;
    std::int64_t timeout_ms = 0;
    double rating = 0;
    bool idle = false;
    /// running: its result is in the log, its commit is not.
    Position result_at;
    /// running: the process that a `started` record named.
    std::int64_t process_group = 0;
    std::uint64_t process_start = 0;
    std::string boot_id;
    /// running: its calls by number, how many it has made, and the entries that were shown for them.
    std::map<std::uint32_t, LiveCall> calls;
    std::uint32_t calls_made = 0;
    std::set<EntryId> seen;
    /// Keys of the model's answers that it rests on: an attempt that fails by them must not get them again.
    std::vector<Hash128> answers_used;
    /// Records with what tools and services answered it: seen, like entries.
    std::vector<Position> answers_seen;
    /// Epoch of its claim; older than the board's when its owner died.
    Position epoch;
    /// waiting: not before this.
    TimeMs due;
    std::vector<Refusal> previous;
    std::string last_error;
};

/// An activation that is not tried again.
struct DeadActivation {
    ActivationId id;
    std::string source;
    std::string error;
    std::vector<MatchPtr> members;
};

/// A rule to be worked out now; its commit must be the next record.
struct RuleFiring {
    std::uint32_t source = 0;
    std::vector<MatchPtr> members;
    Record commit;  // everything but the writes
};

/// What a step asks for, in this order. Nothing in it has happened yet.
struct Effects {
    /// To be appended next. Epoch and time are the appender's to fill. A record from outside may come
    /// before it; then it is void, and the next step decides anew.
    std::optional<Record> append;
    std::optional<RuleFiring> fire;
    /// The sources' private regions must be emptied next, by a commit of "system".
    bool clear_scratch = false;
    /// What follows from a retraction must be appended next.
    bool follow_retraction = false;
    /// Start these once the claim just folded is durable.
    std::vector<ActivationId> starts;
    std::vector<ActivationId> cancels;
    /// Append a `timer` record at this time, if nothing else comes before.
    std::optional<TimeMs> wake_at;
};

/// A folded record with what it did.
struct FoldedRecord {
    const LoggedRecord& logged;
    const std::vector<EntryChange>& changes;
    /// Active entries are left in private regions that end with the run.
    bool scratch_left = false;
    /// Something follows from a retraction (scheduler/consequences.hpp): nothing else is decided before.
    bool consequences_owed = false;
};

/// Tells of every record before a position, with what it changed, for a crew that meets an old board.
using CommitVisitor = std::function<void(Position position, TimeMs time, const std::vector<EntryChange>& changes)>;
using BoardHistory = std::function<Status(Position before, const CommitVisitor& visit)>;

/// Reads a crew out of a record's text. The same text and inputs always give the same crew.
using CrewReader = std::function<Result<std::shared_ptr<const CrewSpec>>(
    const std::string& text, const std::string& base_directory, const std::string& inputs)>;

/// A match that could run, as the agenda has it.
struct QueuedMatch {
    std::uint32_t source = 0;
    MatchPtr match;
    double rating = 0;
    /// What the rating is made of, as canonical JSON. Empty: the declared priority alone.
    std::string rating_terms;
    /// Why it would not start now, in words; empty: it would, in its turn.
    std::string held_back;
};

class CheckpointReader;
class CheckpointWriter;

class Scheduler {
public:
    Scheduler(CrewReader read_crew, BoardHistory history);
    ~Scheduler();

    /// All that it knows as of the last step, and how it goes on, as bytes: equal ones for equal states.
    void save(CheckpointWriter& out) const;
    /// Into a scheduler that was told nothing. Costs what is active under the crew's patterns, not the log.
    void load(CheckpointReader& in);

    /// May this record be accepted, as far as runs and activations go? For commits the regions
    /// have their say afterwards. Decides only.
    [[nodiscard]] Verdict judge(const Record& record) const;

    /// Takes one folded record in and says what must follow. Fails only when a record that was
    /// accepted cannot be read again.
    Result<Effects> step(const FoldedRecord& folded);

    // What is so, for whoever shows or serves it.
    [[nodiscard]] const std::shared_ptr<const CrewSpec>& crew() const { return crew_; }
    [[nodiscard]] Position epoch() const { return epoch_; }
    [[nodiscard]] Position run() const { return run_; }
    [[nodiscard]] bool is_running() const { return run_active_; }
    [[nodiscard]] std::optional<StopReason> stopping() const;
    /// Does anything of what an activation was woken for still hold, as its `on_stale` understands it?
    [[nodiscard]] bool still_holds(ActivationId id) const;
    [[nodiscard]] const std::string& stop_detail() const { return stop_detail_; }
    [[nodiscard]] const std::map<ActivationId, Activation>& activations() const { return activations_; }
    [[nodiscard]] const Activation* activation(ActivationId id) const;
    [[nodiscard]] const std::vector<DeadActivation>& dead() const { return dead_; }
    [[nodiscard]] std::uint64_t activations_started() const { return started_; }
    [[nodiscard]] std::size_t queued() const { return agenda_ ? agenda_->size() : 0; }
    [[nodiscard]] TimeMs board_time() const { return now_; }
    [[nodiscard]] std::optional<std::uint32_t> source_index(std::string_view name) const;
    // Calls.
    [[nodiscard]] const Budgets& budgets() const { return budgets_; }
    /// Would a call of this activation, to this model (empty: none), be accepted now?
    [[nodiscard]] BudgetRoom call_room(ActivationId id, std::string_view model, const Amounts& wanted) const;
    /// The `returned` record that answers a call with this key.
    [[nodiscard]] std::optional<Position> answer_of(const Hash128& key) const;
    /// Somebody is making a call with this key right now.
    [[nodiscard]] bool is_being_called(const Hash128& key) const;
    /// Matches that hold and have not run, dead ones left out. For inspection: finds them all anew.
    [[nodiscard]] std::vector<MatchPtr> open_matches() const;
    /// The first `most` of the agenda in its order, and what holds each back. Sources that wait for the run to be
    /// at rest are not on it.
    [[nodiscard]] std::vector<QueuedMatch> agenda(std::size_t most) const;

private:
    /// Matches of an idle source with their episode filled in, as of one content change.
    struct IdleMatches {
        Position episode;
        std::unordered_map<Hash128, MatchPtr> whole;
        std::optional<Agenda> open;  // neither claimed nor closed; none: to be worked out again
    };

    struct SourceState {
        template <class Archive, class Self>
        static void transfer(Archive& archive, Self& self);
        std::uint32_t running = 0;
        std::uint64_t started = 0;
        std::int64_t wall_ms = 0;
        bool once_done = false;
        bool paused = false;
        /// Its loop is slowed: not before `damped_until`, and the next time twice as long.
        std::int64_t damp_ms = 0;
        TimeMs damped_until;
        bool over_budget = false;
        std::optional<TimeMs> batch_opened;
        bool held_back = false;  // by the control region
        /// Sources with `idle`: matches but for that term, by their key without its episode.
        std::map<Hash128, MatchPtr> idle_pool;
        mutable IdleMatches idle;
    };

    // judging
    [[nodiscard]] std::optional<Refusal> judge_claim(const Record& record) const;
    [[nodiscard]] std::optional<Refusal> judge_commit(const Record& record, Verdict& verdict) const;
    [[nodiscard]] std::optional<Refusal> judge_result(const Record& record) const;
    [[nodiscard]] std::optional<Refusal> judge_called(const Record& record) const;
    [[nodiscard]] std::optional<Refusal> judge_returned(const Record& record) const;
    [[nodiscard]] bool is_current(const MatchRecord& member) const;
    /// By the `on_stale` of its source.
    [[nodiscard]] bool holds(const Activation& live, std::size_t member) const;
    [[nodiscard]] MatchPtr find_match(std::uint32_t source, const MatchRecord& member) const;
    [[nodiscard]] MatchPtr match_of_purged(std::uint32_t source, const MatchRecord& member) const;

    // folding
    Status take_crew(const Record& record, Position position, bool new_run);
    Status read_crew(const Record& record, Position position);
    void begin_matching();
    bool go_on_matching(const ResumableMatcher& old_matcher, const std::optional<GoalMeter>& old_meter, bool new_run);
    void measure_active(const EntryPtr& entry);
    Status match_again(Position position);
    void begin_agenda();
    void fold_fence(const Record& record, Position position);
    void fold_claim(const FoldedRecord& folded, Effects& effects);
    void fold_result(const LoggedRecord& logged);
    void fold_called(const Record& record);
    void fold_returned(const LoggedRecord& logged);
    void settle_open_calls(Activation& activation);
    void forget_answers(Activation& activation);
    void fold_spent_budget(Activation& live, const Record& record);
    void begin_wrap_up(std::string why);
    void fold_commit(const FoldedRecord& folded);
    void fold_signal(const Record& record);
    void fold_dead(const Record& record);
    void reopen(const Record& record);
    void absorb_matches();
    void enqueue(const MatchPtr& match);
    void end_attempt(Activation& activation);
    void fail_attempt(Activation& activation, std::string error, bool counts);
    void release(ActivationId id);
    void close(ActivationId id, const std::vector<std::uint32_t>& stale_members);

    // deciding
    void decide(Effects& effects, Position at, bool scratch_left);
    void wind_down(Effects& effects, Position at, bool scratch_left);
    void request_stop(StopReason reason, std::string detail);
    bool try_start(Effects& effects, Position at, bool slots_free);
    bool try_start_idle(Effects& effects, Position at, bool impasse);
    void start(Effects& effects, Position at, std::uint32_t source, std::vector<MatchPtr> members, double rating,
               ActivationId id);
    [[nodiscard]] bool eligible(std::uint32_t source, bool slots_free) const;
    [[nodiscard]] bool has_slot(std::uint32_t source, bool slots_free) const;
    [[nodiscard]] bool batch_ready(std::uint32_t source) const;
    [[nodiscard]] bool idle_holds() const;
    [[nodiscard]] bool waits_for_rest(std::uint32_t condition) const;
    void withdraw(const Match& match);
    void offer(const MatchPtr& match);
    [[nodiscard]] bool work_is_left(std::uint32_t source) const;
    [[nodiscard]] bool may_go_on(std::uint32_t source) const;
    [[nodiscard]] std::string held_back_by(std::uint32_t source) const;
    [[nodiscard]] bool is_damped(std::uint32_t source) const { return sources_[source].damped_until > now_; }
    [[nodiscard]] std::optional<TimeMs> next_wake() const;
    [[nodiscard]] MatchPtr with_idle_episode(const MatchPtr& match) const;
    [[nodiscard]] const IdleMatches& idle_matches(std::uint32_t source) const;
    [[nodiscard]] double rate(std::uint32_t source, const Match& match) const;
    /// What rate() was made of, for the record; empty: the declared priority alone.
    [[nodiscard]] std::string rating_terms(std::uint32_t source, const Match& match) const;
    [[nodiscard]] ScoreFacts score_facts(std::uint32_t source, const Match& match) const;
    [[nodiscard]] Strategy strategy() const { return control_.strategy().value_or(crew_->strategy); }
    void take_control(const std::vector<EntryChange>& changes);
    /// The commit that brings the region `agenda` up to date; nothing when it is.
    [[nodiscard]] std::optional<Record> agenda_commit(Position at) const;
    /// The source that ranks the agenda, while it can.
    [[nodiscard]] std::optional<std::uint32_t> ranking_source() const;
    [[nodiscard]] double base_rating(std::uint32_t source, const Match& match) const;
    void rank_again();
    void open_batch(std::uint32_t source);
    void close_batch(std::uint32_t source);
    [[nodiscard]] std::int64_t wall_spent_ms() const;
    /// From here on only sources with `wrap_up` go on; 0: never by time.
    [[nodiscard]] std::int64_t wrap_up_at_ms() const;
    [[nodiscard]] Record seed_commit(Position at) const;
    [[nodiscard]] Record cycle_commit(Position at) const;
    [[nodiscard]] bool cycle_is_resolved() const;
    void begin_detecting();
    void begin_chains();
    [[nodiscard]] Record caused(RecordKind kind, Position at) const;
    template <class Archive, class Self>
    static void transfer(Archive& archive, Self& self);
    void trace_commit(const FoldedRecord& folded, const std::string& source, const std::vector<MatchPtr>& members);
    void take_verdict(CycleVerdict verdict, const std::string& source);

    CrewReader read_crew_;
    BoardHistory history_;
    std::shared_ptr<const CrewSpec> crew_;
    Position crew_at_;  // the record that brought it
    std::unordered_map<std::string, std::uint32_t> source_index_;
    std::unordered_map<std::string, const RegionSpec*> regions_;
    std::unique_ptr<ResumableMatcher> matcher_;
    std::optional<Agenda> agenda_;
    ControlBoard control_;
    ShownAgenda shown_agenda_;
    bool rated_by_budget_ = false;
    bool ratings_old_ = false;  // what they are made of has changed in this step
    std::set<std::uint32_t> open_batches_;
    std::optional<CycleDetector> cycles_;
    std::optional<GoalMeter> goal_meter_;
    std::vector<SourceState> sources_;

    Position epoch_;
    Position run_;
    Position version_;
    TimeMs run_time_;
    TimeMs now_;
    TimeMs epoch_time_;
    std::int64_t wall_before_ms_ = 0;
    bool run_active_ = false;
    bool held_ = false;  // a new owner has fenced and not yet said `resume`
    bool scratch_stale_ = false;
    bool seeded_ = false;
    std::optional<StopReason> stop_;
    std::string stop_detail_;
    TimeMs stop_deadline_;

    Refraction refraction_;
    std::size_t goals_ = 0;
    Position last_content_change_;  // by a non-idle activation or from outside
    std::map<ActivationId, Activation> activations_;
    std::set<ActivationId> to_bury_;
    std::vector<DeadActivation> dead_;
    std::uint64_t started_ = 0;
    std::uint32_t running_ = 0;
    std::uint32_t running_not_idle_ = 0;
    std::optional<CycleVerdict> cycle_;
    /// wake: `cycle_` is not on the board yet.
    bool cycle_untold_ = false;
    /// wake: how often each set of sources was told of in this epoch.
    std::map<std::set<std::string>, std::uint32_t> cycles_told_;
    std::set<std::uint32_t> damped_;
    Budgets budgets_;
    /// Why only sources with `wrap_up` go on; empty: all do.
    std::string wrapping_up_;
    std::unordered_map<Hash128, Position> answers_;
    std::unordered_map<Hash128, std::uint32_t> being_called_;
    ContentHashes shared_content_;  // of what sources share: no scratch, no control
};

}  // namespace stele

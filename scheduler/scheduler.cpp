#include "scheduler/scheduler.hpp"

#include <algorithm>
#include <cassert>
#include <limits>

#include "board/region_policy.hpp"
#include "scheduler/outcome.hpp"

namespace stele {
namespace {

constexpr TimeMs never{std::numeric_limits<std::int64_t>::max()};

// For a person's line: the first few; all of them stand in the refused record.
std::string join(const std::vector<Refusal>& refusals) {
    constexpr std::size_t shown_max = 3;
    std::string text;
    for (std::size_t i = 0; i < refusals.size() && i < shown_max; ++i) {
        text += (text.empty() ? "" : "; ") + std::string(to_text(refusals[i].rule)) + ": " + refusals[i].message;
    }
    if (refusals.size() > shown_max) text += "; and " + std::to_string(refusals.size() - shown_max) + " more";
    return text;
}

bool any_of_rule(const std::vector<Refusal>& refusals, RefusalRule rule) {
    return std::any_of(refusals.begin(), refusals.end(), [&](const Refusal& r) { return r.rule == rule; });
}

Refusal refuse(RefusalRule rule, std::string message) { return {0, rule, std::move(message), {}}; }

MatchRecord to_record(const Match& match) { return {match.key, match.bound, match.episodes}; }

std::optional<std::size_t> idle_episode_index(const Condition& condition) {
    std::size_t index = 0;
    for (const Term& term : condition.terms) {
        if (term.binds()) continue;
        if (is_idleness(term.kind)) return index;
        ++index;
    }
    return std::nullopt;
}

// The commits that the members are made of, newest first. What a timer let through was caused by what it
// held back, so sources that wake each other slowly are one chain as well.
std::vector<Position> causes_of(const SourceSpec& source, const std::vector<MatchPtr>& members) {
    std::vector<bool> timed;
    for (const Term& term : source.when.terms) {
        if (!term.binds()) timed.push_back(is_timer(term.kind));
    }
    std::vector<Position> causes;
    for (const MatchPtr& member : members) {
        for (const EntryPtr& entry : member->entries) causes.push_back(entry->position);
        for (std::size_t i = 0; i < member->episodes.size(); ++i) {
            if (i >= timed.size() || !timed[i]) causes.push_back(member->episodes[i]);
        }
    }
    std::sort(causes.begin(), causes.end(), std::greater<>());
    causes.erase(std::unique(causes.begin(), causes.end()), causes.end());
    if (causes.size() > limits::chain_causes_max) causes.resize(limits::chain_causes_max);
    return causes;
}

// Only where all matches of a source are rated alike and taken one by one may some wait unseen.
bool needs_all_matches(const SourceSpec& source) {
    return source.priority_field || source.score || source.wake == WakeMode::batch || source.when.has_idle();
}

}  // namespace

const char* to_text(StopReason reason) {
    switch (reason) {
        case StopReason::goal:
            return "goal";
        case StopReason::quiescence:
            return "quiescence";
        case StopReason::incomplete:
            return "incomplete";
        case StopReason::waiting:
            return "waiting";
        case StopReason::budget:
            return "budget";
        case StopReason::deadline:
            return "deadline";
        case StopReason::cycle:
            return "cycle";
        case StopReason::interrupt:
            return "interrupt";
        case StopReason::error:
            return "error";
    }
    return "?";
}

std::optional<StopReason> stop_reason_from(std::string_view word) {
    for (const StopReason reason :
         {StopReason::goal, StopReason::quiescence, StopReason::incomplete, StopReason::waiting, StopReason::budget,
          StopReason::deadline, StopReason::cycle, StopReason::interrupt, StopReason::error}) {
        if (word == to_text(reason)) return reason;
    }
    return std::nullopt;
}

Scheduler::Scheduler(CrewReader read_crew, BoardHistory history)
    : read_crew_(std::move(read_crew)), history_(std::move(history)) {}
Scheduler::~Scheduler() = default;

// ---- judging -------------------------------------------------------------------------------------

Verdict Scheduler::judge(const Record& record) const {
    Verdict verdict;
    std::optional<Refusal> refusal;
    if (record.kind != RecordKind::fence && record.epoch != epoch_) {
        refusal = refuse(RefusalRule::epoch, "written under epoch " + std::to_string(record.epoch.number) +
                                                 ", but the board is at epoch " + std::to_string(epoch_.number));
    } else {
        switch (record.kind) {
            case RecordKind::fence:
            case RecordKind::timer:
            case RecordKind::signal:
            case RecordKind::forked:
            case RecordKind::purged:
                break;
            case RecordKind::run_started:
                if (run_active_) refusal = refuse(RefusalRule::stopped, "a run is in force already");
                break;
            case RecordKind::reconfigured:
                if (!run_) refusal = refuse(RefusalRule::stopped, "there is no run to reconfigure");
                break;
            case RecordKind::run_stopped:
                if (!run_active_) refusal = refuse(RefusalRule::stopped, "no run is in force");
                break;
            case RecordKind::claimed:
                refusal = judge_claim(record);
                break;
            case RecordKind::started:
            case RecordKind::result:
            case RecordKind::abandoned:
                refusal = judge_result(record);
                break;
            case RecordKind::dead:
                if (activation(record.activation) == nullptr) {
                    refusal = refuse(RefusalRule::attempt, "there is no such activation");
                }
                break;
            case RecordKind::commit:
                refusal = judge_commit(record, verdict);
                break;
            case RecordKind::called:
                refusal = judge_called(record);
                break;
            case RecordKind::returned:
                refusal = judge_returned(record);
                break;
        }
    }
    if (refusal) verdict.refusals.push_back(std::move(*refusal));
    verdict.accepted = verdict.refusals.empty();
    return verdict;
}

std::optional<Refusal> Scheduler::judge_claim(const Record& record) const {
    if (!run_active_ || stop_) return refuse(RefusalRule::stopped, "the run is stopping; nothing new starts");
    const std::optional<std::uint32_t> source = source_index(record.author);
    if (!source) return refuse(RefusalRule::unknown, "the crew has no source " + record.author);
    if (crew_->stop.activations != 0 && !record.activation && started_ >= crew_->stop.activations) {
        return refuse(RefusalRule::budget, "the run's budget of activations is spent");
    }
    const Activation* known = activation(record.activation);
    if (record.activation && (known == nullptr || known->state != Activation::State::waiting)) {
        return refuse(RefusalRule::attempt, "the activation is not waiting for an attempt");
    }
    if (record.members.empty()) return refuse(RefusalRule::match_closed, "a claim names at least one match");
    for (const MatchRecord& member : record.members) {
        const std::optional<MatchStatus> status = refraction_.of(member.key);
        const bool ours = status == MatchStatus::claimed && known != nullptr;
        if (status && !ours) {
            return refuse(RefusalRule::match_closed, "match " + to_hex(member.key) + " is claimed, committed or dead");
        }
        if (!find_match(*source, member)) {
            return refuse(RefusalRule::stale, "match " + to_hex(member.key) + " does not hold any more");
        }
    }
    return std::nullopt;
}

std::optional<Refusal> Scheduler::judge_result(const Record& record) const {
    const Activation* live = activation(record.activation);
    if (live == nullptr || live->state != Activation::State::running) {
        return refuse(RefusalRule::attempt,
                      "activation " + std::to_string(record.activation.number) + " is not running");
    }
    if (live->attempt != record.attempt) {
        return refuse(RefusalRule::attempt, "attempt " + std::to_string(record.attempt) + " is over; the live one is " +
                                                std::to_string(live->attempt));
    }
    return std::nullopt;
}

std::optional<Refusal> Scheduler::judge_called(const Record& record) const {
    if (std::optional<Refusal> refusal = judge_result(record)) return refusal;
    const Activation& live = *activation(record.activation);
    if (record.call != live.calls_made + 1) {
        return refuse(RefusalRule::attempt, "call " + std::to_string(record.call) + " is not the next; " +
                                                std::to_string(live.calls_made) + " were made");
    }
    if (record.answered_by) {
        if (answer_of(record.call_key) == record.answered_by) return std::nullopt;
        return refuse(RefusalRule::unknown,
                      "record " + std::to_string(record.answered_by.number) + " is no answer to this call");
    }
    const std::string_view model = record.target == CallTarget::model ? std::string_view(record.word) : "";
    const BudgetRoom room = call_room(record.activation, model, record.amounts);
    if (room.kind == BudgetRoom::Kind::fits) return std::nullopt;
    return refuse(RefusalRule::budget, room.message);
}

std::optional<Refusal> Scheduler::judge_returned(const Record& record) const {
    if (std::optional<Refusal> refusal = judge_result(record)) return refusal;
    if (activation(record.activation)->calls.count(record.call) > 0) return std::nullopt;
    return refuse(RefusalRule::attempt, "call " + std::to_string(record.call) + " is not being made");
}

std::optional<Refusal> Scheduler::judge_commit(const Record& record, Verdict& verdict) const {
    const bool by_rule = !record.activation && !record.members.empty();
    if (!record.activation && !by_rule) return std::nullopt;  // from outside

    if (by_rule) {
        const std::optional<std::uint32_t> source = source_index(record.author);
        if (!run_active_ || stop_) return refuse(RefusalRule::stopped, "the run is stopping; nothing new starts");
        if (!source) return refuse(RefusalRule::unknown, "the crew has no source " + record.author);
        for (const MatchRecord& member : record.members) {
            if (refraction_.knows(member.key)) {
                return refuse(RefusalRule::match_closed,
                              "match " + to_hex(member.key) + " is claimed, committed or dead");
            }
            if (!find_match(*source, member))
                return refuse(RefusalRule::stale, "the rule's match does not hold any more");
        }
        // A rule that could not be worked out says why instead of writing.
        if (record.writes.empty() && !record.reason.empty()) return refuse(RefusalRule::malformed, record.reason);
        return std::nullopt;
    }

    if (std::optional<Refusal> refusal = judge_result(record)) return refusal;
    const Activation& live = *activation(record.activation);
    for (std::uint32_t i = 0; i < live.members.size(); ++i) {
        if (!holds(live, i)) verdict.stale_members.push_back(i);
    }
    if (verdict.stale_members.size() == live.members.size()) {
        verdict.stale_members.clear();
        return refuse(RefusalRule::stale, "what activation " + std::to_string(live.id.number) +
                                              " was bound to has changed since it began; nothing is written");
    }
    return std::nullopt;
}

bool Scheduler::holds(const Activation& live, std::size_t index) const {
    const OnStale on_stale = crew_->sources[live.source].on_stale;
    if (on_stale == OnStale::commit) return true;
    const MatchRecord member = to_record(*live.members[index]);
    return on_stale == OnStale::strict ? find_match(live.source, member) != nullptr : is_current(member);
}

bool Scheduler::still_holds(ActivationId id) const {
    const Activation* live = activation(id);
    if (live == nullptr) return false;
    for (std::size_t i = 0; i < live->members.size(); ++i) {
        if (holds(*live, i)) return true;
    }
    return false;
}

// Do the bound versions still stand? Counters move all the time and never make stale.
bool Scheduler::is_current(const MatchRecord& member) const {
    return std::all_of(member.bound.begin(), member.bound.end(), [&](const BoundEntry& bound) {
        const auto region = regions_.find(bound.id.region);
        if (region != regions_.end() && region->second->policy == PolicyKind::counter) return true;
        return matcher_->current_version(bound.id) == bound.version;
    });
}

MatchPtr Scheduler::find_match(std::uint32_t source, const MatchRecord& member) const {
    if (!waits_for_rest(source)) return matcher_->find(source, member);
    if (sources_[source].idle_pool.empty()) return nullptr;
    const IdleMatches& idle = idle_matches(source);
    const auto found = idle.whole.find(member.key);
    return found == idle.whole.end() ? nullptr : found->second;
}

// Idle matches get their keys from the last content change, so they are worked out when it has moved.
const Scheduler::IdleMatches& Scheduler::idle_matches(std::uint32_t source) const {
    IdleMatches& idle = sources_[source].idle;
    if (idle.open && idle.episode == last_content_change_) return idle;
    idle.episode = last_content_change_;
    idle.whole.clear();
    idle.open.emplace(strategy());
    for (const auto& [base, match] : sources_[source].idle_pool) {
        MatchPtr whole = with_idle_episode(match);
        if (!refraction_.knows(whole->key)) idle.open->add({source, rate(source, *whole), whole});
        idle.whole[whole->key] = std::move(whole);
    }
    return idle;
}

MatchPtr Scheduler::with_idle_episode(const MatchPtr& match) const {
    const SourceSpec& spec = crew_->sources[match->condition];
    const std::optional<std::size_t> index = idle_episode_index(spec.when);
    auto whole = std::make_shared<Match>(*match);
    whole->episodes[*index] = last_content_change_;
    whole->age = std::max(whole->age, last_content_change_);
    whole->key = match_key(spec.name, whole->bound, whole->episodes);
    return whole;
}

// ---- folding -------------------------------------------------------------------------------------

Result<Effects> Scheduler::step(const FoldedRecord& folded) {
    const LoggedRecord& logged = folded.logged;
    const Record& record = logged.record;
    const Position at = logged.position;
    const TimeMs before = now_;
    Effects effects;
    if (record.kind == RecordKind::fence) fold_fence(record, at);
    now_ = std::max(now_, record.time);

    if (logged.verdict.accepted) {
        switch (record.kind) {
            case RecordKind::fence:
            case RecordKind::timer:
            case RecordKind::purged:
                break;
            case RecordKind::forked:
                held_ = run_active_;  // until its first owner says `resume`, perhaps with another crew
                break;
            case RecordKind::run_started:
            case RecordKind::reconfigured: {
                std::vector<ActivationId> running;
                for (const auto& [id, live] : activations_) {
                    if (live.state == Activation::State::running) running.push_back(id);
                }
                const Status taken = take_crew(record, at, record.kind == RecordKind::run_started);
                if (!taken.ok()) return taken.error();
                for (const ActivationId id : running) {
                    if (activation(id) == nullptr) effects.cancels.push_back(id);
                }
                scratch_stale_ = record.kind == RecordKind::run_started && folded.scratch_left;
                break;
            }
            case RecordKind::claimed:
                fold_claim(folded, effects);
                break;
            case RecordKind::started:
                if (const auto live = activations_.find(record.activation); live != activations_.end()) {
                    live->second.seen.insert(record.seen.begin(), record.seen.end());
                    live->second.process_group = record.process_group;
                    live->second.process_start = record.process_start;
                    live->second.boot_id = record.boot_id;
                }
                break;
            case RecordKind::result:
                fold_result(logged);
                break;
            case RecordKind::abandoned: {
                Activation& live = activations_.at(record.activation);
                if (record.word == "stopped") {
                    end_attempt(live);
                    release(live.id);
                } else if (crew_->sources[live.source].on_crash == OnCrash::skip) {
                    end_attempt(live);
                    live.state = Activation::State::waiting;
                    live.due = never;
                    live.last_error = "skipped: its process was lost (" + record.reason + ")";
                    to_bury_.insert(live.id);
                } else {
                    fail_attempt(live, record.reason, true);
                }
                break;
            }
            case RecordKind::commit:
                fold_commit(folded);
                break;
            case RecordKind::called:
                fold_called(record);
                break;
            case RecordKind::returned:
                fold_returned(logged);
                break;
            case RecordKind::dead:
                fold_dead(record);
                break;
            case RecordKind::signal:
                fold_signal(record);
                break;
            case RecordKind::run_stopped:
                wall_before_ms_ = wall_spent_ms();
                run_active_ = false;
                begin_chains();  // as it will when it goes on; till then they would only be carried along
                break;
        }
    } else if (record.kind == RecordKind::commit) {
        fold_commit(folded);
    }
    if (ratings_old_) rank_again();
    ratings_old_ = false;
    if (matcher_ && run_ && now_ > before) matcher_->clock(at, now_);
    absorb_matches();
    if (folded.consequences_owed && run_) {
        effects.follow_retraction = true;
        if (run_active_ && !held_) effects.wake_at = next_wake();
    } else if (run_active_ && !held_) {
        decide(effects, at, folded.scratch_left);
        effects.wake_at = next_wake();
    }
    return effects;
}

void Scheduler::fold_fence(const Record& record, Position position) {
    // Up to the last record of the old owner: downtime is nobody's work.
    if (run_active_) wall_before_ms_ = wall_spent_ms();
    held_ = true;
    epoch_ = position;
    epoch_time_ = std::max(now_, record.time);
}

Status Scheduler::read_crew(const Record& record, Position position) {
    assert(!record.parts.empty());
    Result<std::shared_ptr<const CrewSpec>> crew =
        read_crew_(record.parts.front(), record.base_directory, record.inputs);
    if (!crew.ok()) return crew.error();
    crew_ = std::move(*crew);
    crew_at_ = position;
    source_index_.clear();
    regions_.clear();
    for (std::uint32_t i = 0; i < crew_->sources.size(); ++i) source_index_[crew_->sources[i].name] = i;
    for (const RegionSpec& region : crew_->regions) regions_[region.name] = &region;
    sources_ = std::vector<SourceState>(crew_->sources.size());
    budgets_.configure(*crew_);
    return Done{};
}

// What follows from the crew alone, before anything is known of the board.
void Scheduler::begin_matching() {
    std::vector<WatchedCondition> conditions;
    for (const SourceSpec& source : crew_->sources) {
        conditions.push_back({source.name, &source.when, needs_all_matches(source)});
    }
    if (crew_->stop.goal) conditions.push_back({"stop.goal", &*crew_->stop.goal});
    matcher_ = make_incremental_matcher(std::move(conditions), [this](const Match& match) {
        return !waits_for_rest(match.condition) && refraction_.knows(match.key);
    });
    rated_by_budget_ = std::any_of(crew_->sources.begin(), crew_->sources.end(), [](const SourceSpec& source) {
        return source.score && source.score->depends_on_budget();
    });
    begin_detecting();
    goals_ = 0;
}

Status Scheduler::take_crew(const Record& record, Position position, bool new_run) {
    const std::shared_ptr<const CrewSpec> old_crew = crew_;
    const std::vector<SourceState> old_states = std::move(sources_);
    const std::unique_ptr<ResumableMatcher> old_matcher = std::move(matcher_);
    const std::optional<GoalMeter> old_meter = std::move(goal_meter_);
    const Status read = read_crew(record, position);
    if (!read.ok()) return read;
    wrapping_up_.clear();
    if (new_run) {
        budgets_.begin_run();
        being_called_.clear();
        run_ = position;
        run_time_ = now_;
        run_active_ = true;
        held_ = false;
        started_ = 0;
        wall_before_ms_ = 0;
        epoch_time_ = now_;
        stop_.reset();
        cycle_.reset();
        cycle_untold_ = false;
        dead_.clear();
        to_bury_.clear();
        activations_.clear();
        running_ = running_not_idle_ = 0;
        refraction_.forget_claimed();
    } else {
        for (std::uint32_t i = 0; old_crew && i < old_crew->sources.size(); ++i) {
            const auto kept = source_index_.find(old_crew->sources[i].name);
            if (kept == source_index_.end()) continue;
            SourceState& state = sources_[kept->second];
            state.started = old_states[i].started;
            state.running = old_states[i].running;
            state.wall_ms = old_states[i].wall_ms;
            state.once_done = old_states[i].once_done;
        }
        for (auto at = activations_.begin(); at != activations_.end();) {
            Activation& live = at->second;
            const auto kept = source_index_.find(old_crew->sources[live.source].name);
            if (kept != source_index_.end()) {
                live.source = kept->second;
                ++at;
                continue;
            }
            if (live.state == Activation::State::running) {
                --running_;
                if (!live.idle) --running_not_idle_;
            }
            settle_open_calls(live);
            for (const MatchPtr& member : live.members) refraction_.forget(member->key);
            to_bury_.erase(live.id);
            at = activations_.erase(at);
        }
    }
    for (std::uint32_t i = 0; i < sources_.size(); ++i) {
        const SourceLimits& caps = crew_->sources[i].limits;
        sources_[i].over_budget = (caps.activations != 0 && sources_[i].started >= caps.activations) ||
                                  (caps.wall_ms != 0 && sources_[i].wall_ms >= caps.wall_ms) ||
                                  budgets_.is_spent(crew_->sources[i].name);
    }

    begin_matching();
    damped_.clear();
    open_batches_.clear();
    const bool same_control = old_crew && old_crew->control_source == crew_->control_source;
    if (!old_matcher || !same_control || !go_on_matching(*old_matcher, old_meter, new_run)) {
        const Status matched = match_again(position);
        if (!matched.ok()) return matched;
    }
    if (new_run) matcher_->begin_run(run_, run_time_);
    matcher_->clock(position, now_);
    for (std::uint32_t i = 0; i < sources_.size(); ++i) {
        sources_[i].held_back = control_.is_paused(crew_->sources[i].name);
    }
    begin_agenda();
    return Done{};
}

// With preconditions that are the old ones, as they stood: costs what is active.
bool Scheduler::go_on_matching(const ResumableMatcher& old_matcher, const std::optional<GoalMeter>& old_meter,
                               bool new_run) {
    if (goal_meter_ && !old_meter) return false;
    matcher_->set_order(goes_by_newest(strategy()));
    const bool went_on =
        matcher_->take_over(old_matcher, new_run, [this](const EntryPtr& entry) { measure_active(entry); });
    if (went_on && goal_meter_) goal_meter_->take_over(*old_meter);
    return went_on;
}

void Scheduler::measure_active(const EntryPtr& entry) {
    const EntryChange change{EntryChange::Kind::added, entry->id, nullptr, entry};
    if (goal_meter_) goal_meter_->commit({&change, 1}, true);
}

// With others, and on a board that had none, from the log.
Status Scheduler::match_again(Position position) {
    control_ = {};
    shown_agenda_ = {};
    // What a term's truth was, and since when, is a matter of the board's history, not of this crew's:
    // a new matcher goes through the run as the old one did, ticks and silences included.
    TimeMs board_time;
    return history_(position, [&](Position then, TimeMs time, const std::vector<EntryChange>& changes) {
        if (then == run_) matcher_->begin_run(run_, run_time_);
        const bool later = time > board_time;
        board_time = std::max(board_time, time);
        if (!changes.empty()) {
            for (const EntryChange& change : changes) {
                if (change.id.region == control_region_name) control_.change(change);
                if (change.id.region == agenda_region_name) shown_agenda_.change(change);
            }
            if (goal_meter_) goal_meter_->commit(changes, true);
            matcher_->commit(then, board_time, changes);
        } else if (later && then > run_) {
            matcher_->clock(then, board_time);
        }
    });
}

void Scheduler::begin_agenda() {
    std::vector<bool> needs_slot;
    for (const SourceSpec& source : crew_->sources) needs_slot.push_back(source.kind != SourceKind::rule);
    agenda_.emplace(strategy(), std::move(needs_slot));
    matcher_->set_order(goes_by_newest(strategy()));
}

// What was claimed held when it was; where it does not now, what it was bound to has been purged since.
MatchPtr Scheduler::match_of_purged(std::uint32_t source, const MatchRecord& member) const {
    auto match = std::make_shared<Match>();
    match->condition = source;
    match->bound = member.bound;
    match->episodes = member.episodes;
    match->key = member.key;
    for (const BoundEntry& bound : member.bound) {
        auto entry = std::make_shared<Entry>();
        entry->id = bound.id;
        entry->version = bound.version;
        match->entries.push_back(std::move(entry));
    }
    while (match->entries.size() < crew_->sources[source].when.variables.size()) {
        match->entries.push_back(std::make_shared<Entry>());
    }
    return match;
}

void Scheduler::fold_claim(const FoldedRecord& folded, Effects& effects) {
    const Record& record = folded.logged.record;
    const std::uint32_t source = *source_index(record.author);
    SourceState& state = sources_[source];
    const ActivationId id = record.activation ? record.activation : ActivationId{folded.logged.position.number};
    Activation& claimed = activations_[id];
    if (!record.activation) {
        ++started_;
        ++state.started;
        const std::uint64_t cap = crew_->sources[source].limits.activations;
        state.over_budget = state.over_budget || (cap != 0 && state.started >= cap);
    }
    std::vector<MatchPtr> members;
    for (const MatchRecord& member : record.members) {
        MatchPtr match = find_match(source, member);
        if (!match) match = match_of_purged(source, member);
        agenda_->remove(member.key);
        if (state.idle.open) state.idle.open->remove(member.key);
        refraction_.note(crew_->sources[source], *match, MatchStatus::claimed);
        withdraw(*match);
        members.push_back(std::move(match));
    }
    // Members that a retry leaves behind are open again, if they ever come back.
    for (const MatchPtr& member : claimed.members) {
        const bool kept =
            std::any_of(members.begin(), members.end(), [&](const MatchPtr& m) { return m->key == member->key; });
        if (!kept) refraction_.forget(member->key);
    }
    claimed.id = id;
    claimed.state = Activation::State::running;
    claimed.source = source;
    claimed.members = std::move(members);
    claimed.attempt = record.attempt;
    claimed.claimed_at = folded.logged.position;
    claimed.claimed_time = now_;
    claimed.timeout_ms = record.duration_ms;
    claimed.snapshot = record.snapshot;
    claimed.rating = record.rating;
    claimed.idle = crew_->sources[source].when.has_idle();
    claimed.result_at = {};
    claimed.calls.clear();
    claimed.calls_made = 0;
    claimed.seen.clear();
    claimed.answers_used.clear();
    claimed.answers_seen.clear();
    claimed.process_group = 0;
    claimed.epoch = record.epoch;
    if (crew_->sources[source].wake == WakeMode::once) state.once_done = true;
    if (!record.activation) {
        close_batch(source);
        if (agenda_->size_of(source) > 0 && crew_->sources[source].wake == WakeMode::batch) open_batch(source);
    }
    ++state.running;
    ++running_;
    if (!claimed.idle) ++running_not_idle_;
    agenda_->note_turn(source);
    effects.starts.push_back(id);
}

void Scheduler::fold_result(const LoggedRecord& logged) {
    const Record& record = logged.record;
    Activation& live = activations_.at(record.activation);
    SourceState& state = sources_[live.source];
    state.wall_ms += record.duration_ms;
    const std::int64_t wall_cap = crew_->sources[live.source].limits.wall_ms;
    state.over_budget = state.over_budget || (wall_cap != 0 && state.wall_ms >= wall_cap);
    switch (static_cast<OutcomeKind>(record.outcome)) {
        case OutcomeKind::ok:
            live.result_at = logged.position;
            return;
        case OutcomeKind::cancelled:
            end_attempt(live);
            return release(live.id);
        case OutcomeKind::budget:
            return fold_spent_budget(live, record);
        case OutcomeKind::blocked:
            // Not the source's fault, and not to be tried again before somebody has acted.
            end_attempt(live);
            release(live.id);
            return request_stop(StopReason::waiting, record.author + ": " + record.reason);
        case OutcomeKind::malformed:
            live.previous = {refuse(RefusalRule::malformed, record.reason)};
            forget_answers(live);
            return fail_attempt(live, record.reason, true);
        case OutcomeKind::timeout:
            live.previous.clear();
            return fail_attempt(live, record.reason, true);
        default:
            live.previous.clear();
            forget_answers(live);
            return fail_attempt(live, record.reason, true);
    }
}

void Scheduler::fold_called(const Record& record) {
    Activation& live = activations_.at(record.activation);
    live.calls_made = record.call;
    live.seen.insert(record.seen.begin(), record.seen.end());
    if (record.answered_by) {
        if (record.target == CallTarget::model) live.answers_used.push_back(record.call_key);
        if (record.target != CallTarget::model) live.answers_seen.push_back(record.answered_by);
        return;
    }
    LiveCall call{record.author, record.target == CallTarget::model ? record.word : std::string(), record.amounts,
                  record.call_key};
    budgets_.reserve({call.source, call.model}, call.reserved);
    ratings_old_ = rated_by_budget_;
    if (call.key != Hash128{}) ++being_called_[call.key];
    live.calls.emplace(record.call, std::move(call));
}

void Scheduler::fold_returned(const LoggedRecord& logged) {
    const Record& record = logged.record;
    Activation& live = activations_.at(record.activation);
    const auto found = live.calls.find(record.call);
    const LiveCall call = std::move(found->second);
    live.calls.erase(found);
    budgets_.settle({call.source, call.model}, call.reserved, record.amounts, record.estimated);
    ratings_old_ = rated_by_budget_;
    if (call.model.empty()) live.answers_seen.push_back(logged.position);
    if (call.key == Hash128{}) return;
    if (--being_called_[call.key] == 0) being_called_.erase(call.key);
    if (static_cast<OutcomeKind>(record.outcome) != OutcomeKind::ok) return;
    answers_[call.key] = logged.position;
    if (!call.model.empty()) live.answers_used.push_back(call.key);
}

// Nobody will tell what they cost: they count with all that they had reserved.
void Scheduler::settle_open_calls(Activation& activation) {
    if (!activation.calls.empty()) ratings_old_ = rated_by_budget_;
    for (const auto& [number, call] : activation.calls) {
        budgets_.settle({call.source, call.model}, call.reserved, call.reserved, true);
        if (call.key != Hash128{} && --being_called_[call.key] == 0) being_called_.erase(call.key);
    }
    activation.calls.clear();
}

void Scheduler::forget_answers(Activation& activation) {
    for (const Hash128& key : activation.answers_used) answers_.erase(key);
    activation.answers_used.clear();
}

// The match stays open: with more to spend it may run yet.
void Scheduler::fold_spent_budget(Activation& live, const Record& record) {
    const std::uint32_t source = live.source;
    end_attempt(live);
    release(live.id);
    if (record.word.rfind("crew", 0) != 0) {
        sources_[source].over_budget = true;
        return;
    }
    const std::string why = record.author + " could not go on: " + record.reason;
    const bool wraps_up = crew_->sources[source].wrap_up || !wrapping_up_.empty();
    if (crew_->stop.on_exceed == OnExceed::wrap_up && !wraps_up) return begin_wrap_up(why);
    if (crew_->stop.on_exceed == OnExceed::ask) {
        return request_stop(StopReason::waiting,
                            why + "; raise it in the crew file and go on with: stele resume --crew");
    }
    if (crew_->stop.on_exceed == OnExceed::wrap_up && !crew_->sources[source].wrap_up) return;
    request_stop(StopReason::budget, why);
}

void Scheduler::begin_wrap_up(std::string why) {
    wrapping_up_ = std::move(why);
    std::vector<ActivationId> waiting;
    for (const auto& [id, live] : activations_) {
        if (live.state == Activation::State::waiting && !crew_->sources[live.source].wrap_up) waiting.push_back(id);
    }
    for (const ActivationId id : waiting) {
        if (to_bury_.count(id) == 0) release(id);
    }
}

void Scheduler::fold_commit(const FoldedRecord& folded) {
    const LoggedRecord& logged = folded.logged;
    const Record& record = logged.record;
    const std::vector<Refusal>& refusals = logged.verdict.refusals;
    const bool by_rule = !record.activation && !record.members.empty();
    const bool accepted = logged.verdict.accepted;
    // An owner that is no more has no say, not even a wrong one.
    if (any_of_rule(refusals, RefusalRule::epoch)) return;

    std::vector<MatchPtr> woken_for;
    bool idle = false;
    std::string source_name;
    if (by_rule) {
        const std::optional<std::uint32_t> source = source_index(record.author);
        if (!source) return;
        idle = crew_->sources[*source].when.has_idle();
        source_name = record.author;
        std::vector<MatchPtr> members;
        for (const MatchRecord& member : record.members) {
            agenda_->remove(member.key);
            MatchPtr match = find_match(*source, member);
            if (sources_[*source].idle.open) sources_[*source].idle.open->remove(member.key);
            if (accepted) {
                refraction_.note(crew_->sources[*source], match ? *match : *match_of_purged(*source, member),
                                 MatchStatus::closed);
            }
            if (match) members.push_back(std::move(match));
        }
        woken_for = members;
        SourceState& state = sources_[*source];
        ++started_;
        ++state.started;
        const std::uint64_t cap = crew_->sources[*source].limits.activations;
        state.over_budget = state.over_budget || (cap != 0 && state.started >= cap);
        if (crew_->sources[*source].wake == WakeMode::once) state.once_done = true;
        close_batch(*source);
        if (agenda_->size_of(*source) > 0 && crew_->sources[*source].wake == WakeMode::batch) open_batch(*source);
        agenda_->note_turn(*source);
        if (!accepted && !members.empty()) {
            // A rule would say the same again: refused once is refused for good.
            Activation refused;
            refused.id = {logged.position.number};
            refused.state = Activation::State::waiting;
            refused.source = *source;
            refused.due = never;
            refused.last_error = join(refusals);
            for (const MatchPtr& member : members) {
                refraction_.note(crew_->sources[*source], *member, MatchStatus::claimed);
            }
            refused.members = members;
            to_bury_.insert(refused.id);
            activations_[refused.id] = std::move(refused);
        }
        for (const MatchPtr& member : members) withdraw(*member);
    } else if (record.activation) {
        const auto found = activations_.find(record.activation);
        if (found == activations_.end() || found->second.attempt != record.attempt ||
            found->second.state != Activation::State::running) {
            return;
        }
        Activation& live = found->second;
        woken_for = live.members;
        idle = live.idle;
        source_name = record.author;
        if (accepted) {
            close(live.id, logged.verdict.stale_members);
        } else if (any_of_rule(refusals, RefusalRule::stale)) {
            end_attempt(live);
            release(live.id);
        } else if (any_of_rule(refusals, RefusalRule::conflict)) {
            end_attempt(live);
            live.previous = refusals;
            live.last_error = join(refusals);
            live.state = Activation::State::waiting;
            live.due = now_;
            if (++live.conflicts > crew_->sources[live.source].limits.conflicts) {
                live.due = never;
                live.last_error = "more than " + std::to_string(crew_->sources[live.source].limits.conflicts) +
                                  " conflicts; the last: " + live.last_error;
                to_bury_.insert(live.id);
            }
        } else if (!any_of_rule(refusals, RefusalRule::epoch)) {
            live.previous = refusals;
            forget_answers(live);
            fail_attempt(live, join(refusals), true);
        }
    }
    const bool is_seed = record.author == "seed" && !record.activation && !by_rule;
    seeded_ = seeded_ || is_seed;
    const bool by_system = record.author == "system" && !record.activation && !by_rule;
    if (by_system && !accepted && run_active_ && logged.record.decided_at) {
        request_stop(StopReason::error, "what the scheduler writes was refused: " + join(refusals));
    }
    if (cycle_ && by_system && record.idempotency_key == "cycle/" + std::to_string(cycle_->at.number)) {
        cycle_untold_ = false;
    }
    if (is_seed && !accepted && run_active_) request_stop(StopReason::error, "the seed was refused: " + join(refusals));
    if (!accepted) return;
    version_ = logged.position;
    if (folded.changes.empty()) return;
    const Hash128 content_before = shared_content_.board();
    trace_commit(folded, source_name, woken_for);
    if (!idle && shared_content_.board() != content_before) last_content_change_ = logged.position;
    for (const EntryChange& change : folded.changes) {
        if (change.before) refraction_.moved(change.id);
    }
    if (matcher_) matcher_->commit(logged.position, now_, folded.changes);
    take_control(folded.changes);
}

void Scheduler::take_control(const std::vector<EntryChange>& changes) {
    bool different = false;
    for (const EntryChange& change : changes) {
        if (change.id.region == control_region_name) different = control_.change(change) || different;
        if (crew_ && !crew_->control_source.empty() && change.id.region == agenda_region_name) {
            shown_agenda_.change(change);
        }
    }
    if (!different || !crew_) return;
    for (std::uint32_t i = 0; i < sources_.size(); ++i) {
        sources_[i].held_back = control_.is_paused(crew_->sources[i].name);
    }
    rank_again();
    if (cycle_ && cycle_is_resolved()) {
        cycle_.reset();
        begin_chains();
    }
}

std::optional<std::uint32_t> Scheduler::ranking_source() const {
    if (crew_->control_source.empty()) return std::nullopt;
    const std::optional<std::uint32_t> index = source_index(crew_->control_source);
    return index && may_go_on(*index) && !is_damped(*index) ? index : std::nullopt;
}

std::optional<Record> Scheduler::agenda_commit(Position at) const {
    const std::optional<std::uint32_t> ranking = ranking_source();
    if (!ranking) return std::nullopt;
    const std::vector<AgendaItem> items = agenda_->first_of_all(
        limits::agenda_shown_max, [&](std::uint32_t source) { return source != *ranking && may_go_on(source); });
    std::map<std::string, const AgendaItem*> wanted;
    for (const AgendaItem& item : items) wanted[to_hex(item.match->key)] = &item;

    Record commit = caused(RecordKind::commit, at);
    commit.author = "system";
    commit.snapshot = version_;
    const auto add = [&](WriteOp op, std::string_view region, std::uint64_t number, Value content) {
        Write write;
        write.op = op;
        write.region = region;
        write.number = number;
        write.content = std::move(content);
        write.why = "the agenda";
        write.seal();
        commit.writes.push_back(std::move(write));
    };
    for (const auto& [key, number] : shown_agenda_.entries()) {
        if (wanted.erase(key) > 0) continue;
        add(WriteOp::retract, agenda_region_name, number, {});
        if (const std::uint64_t rank = control_.rank_entry_of(number)) {
            add(WriteOp::retract, control_region_name, rank, {});
        }
    }
    for (const AgendaItem& item : items) {
        if (wanted.count(to_hex(item.match->key)) == 0) continue;
        const SourceSpec& spec = crew_->sources[item.source];
        Value bound = Value::object({});
        for (std::size_t i = 0; i < item.match->bound.size() && i < spec.when.variables.size(); ++i) {
            bound.set(spec.when.variables[i], Value(to_text(item.match->bound[i].id)));
        }
        add(WriteOp::put, agenda_region_name, 0,
            Value::object({{"match", Value(to_hex(item.match->key))},
                           {"source", Value(spec.name)},
                           {"rating", Value::number(base_rating(item.source, *item.match))},
                           {"age", Value(static_cast<std::int64_t>(item.match->age.number))},
                           {"bound", std::move(bound)}}));
    }
    if (commit.writes.empty()) return std::nullopt;
    return commit;
}

void Scheduler::rank_again() {
    if (goes_by_newest(strategy()) != goes_by_newest(agenda_->strategy())) {
        matcher_->set_order(goes_by_newest(strategy()));
        absorb_matches();
    }
    agenda_->rank_again(strategy(), [this](const AgendaItem& item) { return rate(item.source, *item.match); });
    for (SourceState& state : sources_) state.idle.open.reset();
}

void Scheduler::open_batch(std::uint32_t source) {
    sources_[source].batch_opened = now_;
    open_batches_.insert(source);
}

void Scheduler::close_batch(std::uint32_t source) {
    sources_[source].batch_opened.reset();
    open_batches_.erase(source);
}

void Scheduler::begin_detecting() {
    cycles_told_.clear();
    begin_chains();
    goal_meter_.reset();
    if (crew_->stop.goal && crew_->stop.cycle.enabled) goal_meter_.emplace(*crew_->stop.goal);
}

// What was said before somebody looked at it is not held against anybody.
void Scheduler::begin_chains() {
    const CycleSpec& spec = crew_->stop.cycle;
    cycles_.emplace(spec, spec.rounds.value_or(crew_->stop.goal ? limits::cycle_rounds_default : 0));
}

void Scheduler::trace_commit(const FoldedRecord& folded, const std::string& source,
                             const std::vector<MatchPtr>& members) {
    const std::optional<std::uint32_t> index = source.empty() ? std::nullopt : source_index(source);
    SourceState* const author = index ? &sources_[*index] : nullptr;
    const SourceSpec* const declared = index ? &crew_->sources[*index] : nullptr;
    const bool detects = crew_ && crew_->stop.cycle.enabled;
    CommitTrace trace;
    for (const EntryChange& change : folded.changes) {
        const auto region = regions_.find(change.id.region);
        if (region == regions_.end() || region->second->scratch) continue;
        // How it goes on is not what it is about.
        if (change.id.region == control_region_name ||
            (change.id.region == agenda_region_name && !crew_->control_source.empty()))
            continue;
        const RegionSpec& spec = *region->second;
        const std::uint32_t number = shared_content_.change(spec, change);
        if (!detects) continue;
        const auto known = std::find_if(trace.regions.begin(), trace.regions.end(),
                                        [number](const auto& touched) { return touched.first == number; });
        if (known == trace.regions.end()) trace.regions.emplace_back(number, Hash128{});
        const Entry& said = change.after ? *change.after : *change.before;
        if (spec.policy == PolicyKind::counter) {
            const Hash128 sum = shared_content_.region(number);
            trace.writes.push_back({sum, sum, 0, {}});
        } else if (declared != nullptr) {
            trace.writes.push_back(fingerprint(spec, said, !change.after));
        } else {
            trace.writes.push_back({exact_fingerprint(spec, said, !change.after), {}, 0, {}});
        }
        if (trace.entries.size() < 4) trace.entries.push_back(to_text(change.id));
    }
    if (!detects || !cycles_) return;
    trace.nearer = goal_meter_ && goal_meter_->commit(folded.changes, declared == nullptr);
    if (trace.writes.empty()) return;
    trace.position = folded.logged.position;
    for (auto& [number, hash] : trace.regions) hash = shared_content_.region(number);
    if (declared != nullptr) {
        trace.source = source;
        trace.causes = causes_of(*declared, members);
        for (const MatchPtr& member : members) {
            for (const EntryPtr& entry : member->entries) {
                const auto region = regions_.find(entry->id.region);
                if (region == regions_.end()) continue;
                trace.reads.push_back({entry->position, exact_fingerprint(*region->second, *entry, false)});
            }
            if (trace.reads.size() > limits::chain_reads_max) break;
        }
    }
    std::optional<CycleVerdict> verdict = cycles_->on_commit(std::move(trace));
    if (verdict && run_active_) {
        take_verdict(std::move(*verdict), source);
    } else if (author != nullptr) {
        author->damp_ms = 0;
    }
}

void Scheduler::take_verdict(CycleVerdict verdict, const std::string& source) {
    const OnCycle on_cycle = crew_->stop.cycle.on_cycle;
    if (on_cycle == OnCycle::pause) {
        for (const std::string& name : verdict.sources) {
            if (const std::optional<std::uint32_t> index = source_index(name)) sources_[*index].paused = true;
        }
    } else if (on_cycle == OnCycle::damp) {
        // Each source of the loop has its own turn to be slowed, so a round waits once for each.
        const std::uint32_t index = *source_index(source);
        SourceState& state = sources_[index];
        state.damp_ms =
            state.damp_ms == 0 ? limits::cycle_damp_first_ms : std::min(2 * state.damp_ms, limits::cycle_damp_max_ms);
        state.damped_until = {now_.ms + state.damp_ms};
        damped_.insert(index);
    } else if (on_cycle == OnCycle::wake && !cycle_) {
        const std::string& told = crew_->stop.cycle.wake;
        const std::set<std::string> sources(verdict.sources.begin(), verdict.sources.end());
        if (sources == std::set<std::string>{told}) {
            request_stop(StopReason::cycle, verdict.message);
        } else if (cycles_told_[sources]++ == limits::cycle_told_max) {
            request_stop(StopReason::cycle, told + " was woken for it " + std::to_string(limits::cycle_told_max) +
                                                " times and let it go on: " + verdict.message);
        } else {
            cycle_untold_ = true;
        }
    }
    if (!cycle_) cycle_ = std::move(verdict);
}

// Somebody has let go of every source of it.
bool Scheduler::cycle_is_resolved() const {
    if (crew_->stop.cycle.on_cycle != OnCycle::wake || cycle_untold_) return false;
    return std::none_of(cycle_->sources.begin(), cycle_->sources.end(),
                        [this](const std::string& name) { return control_.is_paused(name); });
}

// The verdict as data on the board, which wakes whom it may concern; its sources are held back by it.
Record Scheduler::cycle_commit(Position at) const {
    Record commit = caused(RecordKind::commit, at);
    commit.author = "system";
    commit.idempotency_key = "cycle/" + std::to_string(cycle_->at.number);
    commit.snapshot = version_;
    const auto put = [&](std::string key, Value value) {
        Write write;
        write.op = WriteOp::put;
        write.region = control_region_name;
        write.content = Value::object({{"key", Value(std::move(key))}, {"value", std::move(value)}});
        write.why = "a loop";
        write.seal();
        commit.writes.push_back(std::move(write));
    };
    const auto list = [](const std::vector<std::string>& texts) {
        Value::Array values;
        for (const std::string& text : texts) values.emplace_back(text);
        return Value(std::move(values));
    };
    const std::set<std::string> held(cycle_->sources.begin(), cycle_->sources.end());
    for (const std::string& name : held) {
        if (name != crew_->stop.cycle.wake) put("pause/" + name, Value(true));
    }
    put(commit.idempotency_key, Value::object({{"sources", list(cycle_->sources)},
                                               {"entries", list(cycle_->entries)},
                                               {"message", Value(cycle_->message)}}));
    return commit;
}

void Scheduler::fold_dead(const Record& record) {
    const auto found = activations_.find(record.activation);
    if (found == activations_.end()) return;
    Activation& over = found->second;
    if (over.state == Activation::State::running) end_attempt(over);
    DeadActivation dead{over.id, crew_->sources[over.source].name, record.reason, over.members};
    for (const MatchPtr& member : over.members)
        refraction_.note(crew_->sources[over.source], *member, MatchStatus::dead);
    dead_.push_back(std::move(dead));
    to_bury_.erase(over.id);
    activations_.erase(found);
}

void Scheduler::fold_signal(const Record& record) {
    if (record.word == "interrupt") {
        if (run_active_) request_stop(StopReason::interrupt, record.reason);
    } else if (record.word == "kill") {
        if (run_active_) request_stop(StopReason::interrupt, record.reason);
        stop_deadline_ = now_;
    } else if (record.word == "error") {
        if (run_active_) request_stop(StopReason::error, record.reason);
    } else if (record.word == "retry") {
        std::vector<DeadActivation> kept;
        for (DeadActivation& dead : dead_) {
            if (record.activation && dead.id != record.activation) {
                kept.push_back(std::move(dead));
                continue;
            }
            if (const std::optional<std::uint32_t> source = source_index(dead.source)) {
                sources_[*source].once_done = false;
                sources_[*source].idle.open.reset();
            }
            for (const MatchPtr& member : dead.members) {
                refraction_.forget(member->key);
                offer(member);
            }
        }
        dead_ = std::move(kept);
    } else if (record.word == "rerun") {
        reopen(record);
    } else if (record.word == "resume" && run_) {
        held_ = false;
        stop_.reset();
        stop_detail_.clear();
        wrapping_up_.clear();
        cycle_.reset();
        cycle_untold_ = false;
        if (run_active_) return;
        run_active_ = true;
        cycles_told_.clear();
        begin_chains();
        damped_.clear();
        for (SourceState& state : sources_) {
            state.paused = false;
            state.damp_ms = 0;
            state.damped_until = {};
        }
        epoch_time_ = now_;
    }
}

// What it wrote was taken back. Where what woke it still holds it may run again, as if it never had.
void Scheduler::reopen(const Record& record) {
    const std::optional<std::uint32_t> source = source_index(record.author);
    if (!source || !matcher_) return;
    for (const MatchRecord& member : record.members) {
        // One that cannot come back may have been forgotten.
        if (refraction_.of(member.key).value_or(MatchStatus::closed) != MatchStatus::closed) continue;
        refraction_.forget(member.key);
        sources_[*source].once_done = false;
        sources_[*source].idle.open.reset();
        if (waits_for_rest(*source)) continue;
        if (const MatchPtr match = matcher_->find(*source, member)) matcher_->offer(match);
    }
}

void Scheduler::absorb_matches() {
    if (!matcher_) return;
    const MatchDelta delta = matcher_->take_delta();
    for (const MatchPtr& match : delta.removed) {
        if (match->condition >= sources_.size()) {
            --goals_;
            continue;
        }
        SourceState& state = sources_[match->condition];
        if (waits_for_rest(match->condition)) {
            state.idle_pool.erase(match->key);
            state.idle.open.reset();
            continue;
        }
        agenda_->remove(match->key);
        if (agenda_->size_of(match->condition) == 0) close_batch(match->condition);
    }
    for (const MatchPtr& match : delta.added) {
        if (match->condition >= sources_.size()) {
            ++goals_;
        } else if (waits_for_rest(match->condition)) {
            sources_[match->condition].idle_pool[match->key] = match;
            sources_[match->condition].idle.open.reset();
        } else {
            enqueue(match);
        }
    }
}

void Scheduler::enqueue(const MatchPtr& match) {
    if (refraction_.knows(match->key)) return;
    if (crew_->sources[match->condition].wake == WakeMode::batch && !sources_[match->condition].batch_opened) {
        open_batch(match->condition);
    }
    agenda_->add({match->condition, rate(match->condition, *match), match});
}

void Scheduler::end_attempt(Activation& activation) {
    if (activation.state != Activation::State::running) return;
    settle_open_calls(activation);
    --sources_[activation.source].running;
    --running_;
    if (!activation.idle) --running_not_idle_;
    activation.state = Activation::State::waiting;
}

void Scheduler::fail_attempt(Activation& activation, std::string error, bool counts) {
    end_attempt(activation);
    const SourceLimits& limits = crew_->sources[activation.source].limits;
    activation.last_error = std::move(error);
    if (counts) ++activation.failures;
    if (activation.failures >= limits.attempts) {
        activation.due = never;
        to_bury_.insert(activation.id);
        return;
    }
    std::int64_t wait = limits.backoff_ms;
    for (std::uint32_t i = 1; i < activation.failures && wait < limits::backoff_max_ms; ++i) wait *= 2;
    activation.due = {now_.ms + std::min(wait, limits::backoff_max_ms)};
}

// The activation is over without a word; its matches may be taken up again.
void Scheduler::release(ActivationId id) {
    const auto found = activations_.find(id);
    if (found == activations_.end()) return;
    const std::vector<MatchPtr> members = std::move(found->second.members);
    sources_[found->second.source].once_done = false;
    sources_[found->second.source].idle.open.reset();
    to_bury_.erase(id);
    activations_.erase(found);
    for (const MatchPtr& member : members) {
        refraction_.forget(member->key);
        offer(member);
    }
    absorb_matches();
}

void Scheduler::close(ActivationId id, const std::vector<std::uint32_t>& stale_members) {
    Activation& done = activations_.at(id);
    end_attempt(done);
    for (std::uint32_t i = 0; i < done.members.size(); ++i) {
        const bool stale = std::find(stale_members.begin(), stale_members.end(), i) != stale_members.end();
        if (stale) {
            refraction_.forget(done.members[i]->key);
        } else {
            refraction_.note(crew_->sources[done.source], *done.members[i], MatchStatus::closed);
        }
    }
    activations_.erase(id);
}

// ---- deciding ------------------------------------------------------------------------------------

void Scheduler::decide(Effects& effects, Position at, bool scratch_left) {
    scratch_stale_ = scratch_stale_ && scratch_left;
    if (scratch_stale_) {
        effects.clear_scratch = true;
        return;
    }
    if (!seeded_ && !crew_->seed.empty()) {
        effects.append = seed_commit(at);
        return;
    }
    if (!to_bury_.empty()) {
        const Activation& over = activations_.at(*to_bury_.begin());
        Record dead = caused(RecordKind::dead, at);
        dead.author = crew_->sources[over.source].name;
        dead.activation = over.id;
        dead.attempt = over.attempt;
        dead.reason = over.last_error;
        for (const MatchPtr& member : over.members) dead.members.push_back(to_record(*member));
        effects.append = std::move(dead);
        return;
    }
    if (cycle_untold_) {
        effects.append = cycle_commit(at);
        return;
    }
    if (!stop_ && goals_ > 0) request_stop(StopReason::goal, "the goal holds");
    if (!stop_ && cycle_ && crew_->stop.cycle.on_cycle == OnCycle::stop)
        request_stop(StopReason::cycle, cycle_->message);
    if (!stop_ && crew_->stop.wall_ms != 0 && wall_spent_ms() >= crew_->stop.wall_ms) {
        request_stop(StopReason::deadline,
                     "the run has taken its " + std::to_string(crew_->stop.wall_ms) + " ms of wall time");
    }
    if (!stop_ && wrapping_up_.empty() && wrap_up_at_ms() != 0 && wall_spent_ms() >= wrap_up_at_ms()) {
        begin_wrap_up("the run has taken " + std::to_string(wrap_up_at_ms()) + " of its " +
                      std::to_string(crew_->stop.wall_ms) + " ms of wall time");
    }
    if (!stop_) {
        if (std::optional<Record> shown = agenda_commit(at)) {
            effects.append = std::move(shown);
            return;
        }
        if (try_start(effects, at, running_ < crew_->concurrency)) return;
    }
    if (!stop_ && idle_holds()) {
        if (try_start_idle(effects, at, false)) return;
        // Nothing can go on, and that is not what was wanted: whoever knows a way out is asked.
        if (!stop_ && crew_->stop.goal && goals_ == 0 && try_start_idle(effects, at, true)) return;
        if (!stop_ && running_ == 0) {
            if (!dead_.empty()) {
                const std::size_t count = dead_.size();
                request_stop(StopReason::incomplete,
                             std::to_string(count) + (count == 1 ? " activation is" : " activations are") +
                                 " dead; the last of " + dead_.back().source + ": " + dead_.back().error);
            } else if (cycle_ && !cycle_is_resolved()) {
                request_stop(StopReason::cycle, cycle_->message);
            } else if (!wrapping_up_.empty()) {
                request_stop(StopReason::budget, wrapping_up_ + "; the run was wrapped up");
            } else {
                std::string spent;
                for (std::uint32_t i = 0; i < sources_.size(); ++i) {
                    if (!sources_[i].over_budget) continue;
                    const std::size_t left =
                        agenda_->size_of(i) + (sources_[i].idle_pool.empty() ? 0 : idle_matches(i).open->size());
                    if (left == 0) continue;
                    spent += (spent.empty() ? "" : ", ") + crew_->sources[i].name + " with " + std::to_string(left) +
                             (left == 1 ? " match left" : " matches left");
                }
                std::string paused;
                for (std::uint32_t i = 0; i < sources_.size(); ++i) {
                    const bool retries = std::any_of(activations_.begin(), activations_.end(), [i](const auto& live) {
                        return live.second.source == i && live.second.state == Activation::State::waiting;
                    });
                    if (sources_[i].held_back && (agenda_->size_of(i) > 0 || retries)) {
                        paused += (paused.empty() ? "" : ", ") + crew_->sources[i].name;
                    }
                }
                if (!paused.empty()) {
                    request_stop(StopReason::waiting, "held back by the region control: " + paused +
                                                          "; let go with: stele control resume SOURCE");
                } else if (!spent.empty()) {
                    request_stop(StopReason::budget, "stopped by their own budget: " + spent);
                } else {
                    const bool unmet = crew_->stop.goal && goals_ == 0;
                    request_stop(StopReason::quiescence, std::string("nothing is queued, running or due") +
                                                             (unmet ? ", and the goal is not reached" : ""));
                }
            }
        }
    }
    if (stop_) wind_down(effects, at, scratch_left);
}

// A board is seeded once, by the first crew that has a seed and runs on it.
Record Scheduler::seed_commit(Position at) const {
    Record seed = caused(RecordKind::commit, at);
    seed.author = "seed";
    seed.idempotency_key = "seed";
    seed.snapshot = version_;
    for (const auto& [region, entry] : crew_->seed) {
        Write write;
        write.region = region;
        write.content = entry;
        write.op = policy_of(regions_.at(region)->policy).operations().front();
        write.why = "seed";
        write.seal();
        seed.writes.push_back(std::move(write));
    }
    return seed;
}

void Scheduler::wind_down(Effects& effects, Position at, bool scratch_left) {
    if (running_ > 0) {
        if (now_ < stop_deadline_) return;
        for (auto& [id, live] : activations_) {
            if (live.state != Activation::State::running) continue;
            Record abandoned = caused(RecordKind::abandoned, at);
            abandoned.author = crew_->sources[live.source].name;
            abandoned.activation = id;
            abandoned.attempt = live.attempt;
            abandoned.outcome = static_cast<OutcomeCode>(OutcomeKind::cancelled);
            abandoned.word = "stopped";
            abandoned.reason = "the run stopped before it ended";
            effects.append = std::move(abandoned);
            effects.cancels.push_back(id);
            return;
        }
    }
    const bool over = *stop_ == StopReason::goal || *stop_ == StopReason::quiescence;
    if (over && scratch_left) {
        effects.clear_scratch = true;
        return;
    }
    Record stopped = caused(RecordKind::run_stopped, at);
    stopped.author = "system";
    stopped.word = to_text(*stop_);
    stopped.reason = stop_detail_;
    effects.append = std::move(stopped);
}

void Scheduler::request_stop(StopReason reason, std::string detail) {
    if (stop_) return;  // the first reason stands
    stop_ = reason;
    stop_detail_ = std::move(detail);
    stop_deadline_ = {now_.ms + crew_->stop.grace_ms};
}

bool Scheduler::try_start(Effects& effects, Position at, bool slots_free) {
    // Retries first: they are the oldest work there is.
    std::vector<ActivationId> obviated;
    for (auto& [id, waiting] : activations_) {
        if (waiting.state != Activation::State::waiting || waiting.due > now_ || to_bury_.count(id) > 0) continue;
        if (!wrapping_up_.empty() && !crew_->sources[waiting.source].wrap_up) continue;
        if (sources_[waiting.source].held_back) continue;
        std::vector<MatchPtr> holding;
        for (const MatchPtr& member : waiting.members) {
            if (find_match(waiting.source, to_record(*member))) holding.push_back(member);
        }
        if (holding.empty()) {
            obviated.push_back(id);
            continue;
        }
        if (!has_slot(waiting.source, slots_free)) continue;
        for (const ActivationId gone : obviated) release(gone);
        start(effects, at, waiting.source, std::move(holding), waiting.rating, id);
        return true;
    }
    for (const ActivationId gone : obviated) release(gone);

    // Who ranks the agenda goes first, and alone: what it would have put last must not have started by then.
    const std::optional<std::uint32_t> ranking = ranking_source();
    const bool ranks_now = ranking && std::any_of(activations_.begin(), activations_.end(),
                                                  [&](const auto& live) { return live.second.source == *ranking; });
    if (ranks_now) return false;
    const bool must_rank = ranking && agenda_->size_of(*ranking) > 0;
    const std::optional<AgendaItem> item = agenda_->first(
        [&](std::uint32_t source) { return (!must_rank || source == *ranking) && eligible(source, slots_free); },
        slots_free);
    if (!item) return false;
    if (crew_->stop.activations != 0 && started_ >= crew_->stop.activations) {
        request_stop(StopReason::budget,
                     "the run has had its " + std::to_string(crew_->stop.activations) + " activations");
        return false;
    }
    std::vector<MatchPtr> members = {item->match};
    const SourceSpec& spec = crew_->sources[item->source];
    if (spec.wake == WakeMode::batch) {
        members.clear();
        for (const AgendaItem& member : agenda_->of_source(item->source, spec.batch_max))
            members.push_back(member.match);
    }
    start(effects, at, item->source, std::move(members), item->rating, {});
    return true;
}

bool Scheduler::try_start_idle(Effects& effects, Position at, bool impasse) {
    const auto any = [](std::uint32_t) { return true; };
    Agenda order(strategy());
    for (std::uint32_t source = 0; source < sources_.size(); ++source) {
        if (sources_[source].idle_pool.empty() || crew_->sources[source].when.has_impasse() != impasse) continue;
        if (!eligible(source, running_ < crew_->concurrency)) continue;
        if (std::optional<AgendaItem> first = idle_matches(source).open->first(any)) order.add(std::move(*first));
    }
    const std::optional<AgendaItem> item = order.first(any);
    if (!item) return false;
    if (crew_->stop.activations != 0 && started_ >= crew_->stop.activations) {
        request_stop(StopReason::budget,
                     "the run has had its " + std::to_string(crew_->stop.activations) + " activations");
        return false;
    }
    const SourceSpec& spec = crew_->sources[item->source];
    const std::size_t most = spec.wake == WakeMode::batch ? spec.batch_max : 1;
    std::vector<MatchPtr> members;
    for (const AgendaItem& member : idle_matches(item->source).open->of_source(item->source, most)) {
        members.push_back(member.match);
    }
    start(effects, at, item->source, std::move(members), item->rating, {});
    return true;
}

void Scheduler::start(Effects& effects, Position at, std::uint32_t source, std::vector<MatchPtr> members, double rating,
                      ActivationId id) {
    const SourceSpec& spec = crew_->sources[source];
    Record record = caused(spec.kind == SourceKind::rule ? RecordKind::commit : RecordKind::claimed, at);
    record.author = spec.name;
    record.configuration = spec.configuration_hash;
    record.snapshot = version_;
    record.rating = rating;
    record.rating_terms = rating_terms(source, *members.front());
    for (const MatchPtr& member : members) record.members.push_back(to_record(*member));
    if (spec.kind == SourceKind::rule) {
        record.attempt = 1;
        effects.fire = RuleFiring{source, std::move(members), std::move(record)};
        return;
    }
    record.activation = id;
    const Activation* known = activation(id);
    record.attempt = known == nullptr ? 1 : known->attempt + 1;
    record.duration_ms = spec.limits.timeout_ms;
    effects.append = std::move(record);
}

bool Scheduler::eligible(std::uint32_t source, bool slots_free) const {
    const SourceSpec& spec = crew_->sources[source];
    if (!may_go_on(source) || is_damped(source)) return false;
    if (spec.kind != SourceKind::rule && !has_slot(source, slots_free)) return false;
    return spec.wake != WakeMode::batch || spec.when.has_idle() || batch_ready(source);
}

// Room for one more attempt of this source, by its own cap and its exclusive group.
bool Scheduler::has_slot(std::uint32_t source, bool slots_free) const {
    const SourceSpec& spec = crew_->sources[source];
    if (!slots_free) return false;
    if (spec.limits.concurrency != 0 && sources_[source].running >= spec.limits.concurrency) return false;
    if (spec.exclusive.empty()) return true;
    return std::none_of(activations_.begin(), activations_.end(), [&](const auto& numbered) {
        const Activation& live = numbered.second;
        return live.state == Activation::State::running && crew_->sources[live.source].exclusive == spec.exclusive;
    });
}

bool Scheduler::batch_ready(std::uint32_t source) const {
    const SourceSpec& spec = crew_->sources[source];
    if (agenda_->size_of(source) >= spec.batch_max) return true;
    // Everybody waits for who ranks, so nothing else is gathered meanwhile.
    if (ranking_source() == source) return agenda_->size_of(source) > 0;
    const std::optional<TimeMs>& opened = sources_[source].batch_opened;
    return opened && now_.ms >= opened->ms + spec.batch_within_ms;
}

bool Scheduler::idle_holds() const {
    if (running_not_idle_ > 0) return false;
    if (agenda_->any_source([this](std::uint32_t source) { return work_is_left(source); })) return false;
    for (const auto& [id, live] : activations_) {
        if (live.state != Activation::State::waiting) continue;
        if (sources_[live.source].held_back && to_bury_.count(id) == 0) continue;
        if (wrapping_up_.empty() || crew_->sources[live.source].wrap_up || to_bury_.count(id) > 0) return false;
    }
    // What time would still bring is not waited for when the money is gone.
    return !wrapping_up_.empty() || !matcher_->holds_due();
}

// Its matches are all kept: with each content change they are others, with keys that the matcher does not know.
bool Scheduler::waits_for_rest(std::uint32_t condition) const {
    return condition < sources_.size() && crew_->sources[condition].when.has_idle();
}

void Scheduler::withdraw(const Match& match) {
    if (!waits_for_rest(match.condition)) matcher_->withdraw(match);
}

void Scheduler::offer(const MatchPtr& match) {
    if (!waits_for_rest(match->condition)) matcher_->offer(match);
}

bool Scheduler::work_is_left(std::uint32_t source) const { return may_go_on(source) && agenda_->size_of(source) > 0; }

bool Scheduler::may_go_on(std::uint32_t source) const {
    const SourceState& state = sources_[source];
    if (!wrapping_up_.empty() && !crew_->sources[source].wrap_up) return false;
    return !state.over_budget && !state.paused && !state.once_done && !state.held_back;
}

std::optional<TimeMs> Scheduler::next_wake() const {
    std::optional<TimeMs> next;
    const auto consider = [&](TimeMs time) {
        if (time > now_ && time < never && (!next || time < *next)) next = time;
    };
    if (stop_) {
        if (running_ > 0) consider(stop_deadline_);
        return next;
    }
    if (const std::optional<TimeMs> due = matcher_->next_due()) consider(*due);
    for (const auto& [id, waiting] : activations_) {
        if (waiting.state == Activation::State::waiting) consider(waiting.due);
    }
    for (const std::uint32_t source : damped_) consider(sources_[source].damped_until);
    for (const std::uint32_t source : open_batches_) {
        consider({sources_[source].batch_opened->ms + crew_->sources[source].batch_within_ms});
    }
    if (crew_->stop.wall_ms != 0) consider({now_.ms + crew_->stop.wall_ms - wall_spent_ms()});
    if (wrap_up_at_ms() != 0) consider({now_.ms + wrap_up_at_ms() - wall_spent_ms()});
    return next;
}

double Scheduler::rate(std::uint32_t source, const Match& match) const {
    double rating = base_rating(source, match);
    if (const std::uint64_t shown = shown_agenda_.number_of(match.key)) {
        rating = control_.rank_of(shown).value_or(rating);
    }
    for (const Focus* focus : control_.focus_on(crew_->sources[source].name, match)) rating += focus->weight;
    return rating;
}

double Scheduler::base_rating(std::uint32_t source, const Match& match) const {
    const SourceSpec& spec = crew_->sources[source];
    double rating = spec.priority;
    if (spec.score && strategy() == Strategy::score) {
        rating = spec.score->value(match.entries, score_facts(source, match));
    } else if (spec.priority_field) {
        const std::optional<Value> value = value_of(*spec.priority_field, match.entries);
        if (value && value->is_number()) rating = value->as_double();
    }
    return rating;
}

std::string Scheduler::rating_terms(std::uint32_t source, const Match& match) const {
    const SourceSpec& spec = crew_->sources[source];
    const std::vector<const Focus*> focuses = control_.focus_on(spec.name, match);
    const bool scored = spec.score && strategy() == Strategy::score;
    const std::uint64_t shown = shown_agenda_.number_of(match.key);
    const std::optional<double> rank = shown == 0 ? std::nullopt : control_.rank_of(shown);
    if (focuses.empty() && !scored && !spec.priority_field && !control_.strategy() && !rank) return {};
    Value terms;
    terms.set("strategy", Value(to_text(strategy())));
    if (rank) {
        terms.set("rank", Value::number(*rank));
        terms.set("ranked_by", Value(crew_->control_source));
    } else if (scored) {
        Value parts;
        for (const auto& [word, value] : spec.score->terms(match.entries, score_facts(source, match))) {
            parts.set(word, Value::number(value));
        }
        terms.set("score", Value(spec.score->text()));
        if (!parts.is_null()) terms.set("terms", std::move(parts));
    } else {
        double priority = spec.priority;
        const std::optional<Value> value =
            spec.priority_field ? value_of(*spec.priority_field, match.entries) : std::nullopt;
        if (value && value->is_number()) priority = value->as_double();
        terms.set("priority", Value::number(priority));
    }
    Value weights;
    for (const Focus* focus : focuses) weights.set(focus->name, Value::number(focus->weight));
    if (!weights.is_null()) terms.set("focus", std::move(weights));
    return to_json(terms);
}

ScoreFacts Scheduler::score_facts(std::uint32_t source, const Match& match) const {
    const SourceSpec& spec = crew_->sources[source];
    ScoreFacts facts;
    facts.priority = spec.priority;
    facts.age = -static_cast<double>(match.age.number);
    facts.cost_money = spec.cost_money;
    facts.cost_tokens = spec.cost_tokens;
    const Amounts left = budgets_.left();
    facts.budget_money = static_cast<double>(left.money_micros) / 1e6;
    facts.budget_tokens = static_cast<double>(left.tokens);
    facts.budget_calls = static_cast<double>(left.calls);
    return facts;
}

std::int64_t Scheduler::wall_spent_ms() const {
    return wall_before_ms_ + (run_active_ ? std::max<std::int64_t>(0, now_.ms - epoch_time_.ms) : 0);
}

std::int64_t Scheduler::wrap_up_at_ms() const {
    if (crew_->stop.wall_ms == 0 || crew_->stop.on_exceed != OnExceed::wrap_up) return 0;
    const double share = 1.0 - crew_->stop.reserve;
    return std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<double>(crew_->stop.wall_ms) * share));
}

Record Scheduler::caused(RecordKind kind, Position at) const {
    Record record;
    record.kind = kind;
    record.decided_at = at;
    return record;
}

// ---- answers -------------------------------------------------------------------------------------

std::optional<StopReason> Scheduler::stopping() const { return stop_; }

const Activation* Scheduler::activation(ActivationId id) const {
    const auto found = activations_.find(id);
    return found == activations_.end() ? nullptr : &found->second;
}

std::optional<std::uint32_t> Scheduler::source_index(std::string_view name) const {
    const auto found = source_index_.find(std::string(name));
    return found == source_index_.end() ? std::nullopt : std::optional<std::uint32_t>(found->second);
}

BudgetRoom Scheduler::call_room(ActivationId id, std::string_view model, const Amounts& wanted) const {
    const Activation* live = activation(id);
    if (live == nullptr) return {};
    return budgets_.room({crew_->sources[live->source].name, model}, wanted);
}

std::optional<Position> Scheduler::answer_of(const Hash128& key) const {
    const auto found = key == Hash128{} ? answers_.end() : answers_.find(key);
    return found == answers_.end() ? std::nullopt : std::optional<Position>(found->second);
}

bool Scheduler::is_being_called(const Hash128& key) const { return being_called_.count(key) > 0; }

std::vector<QueuedMatch> Scheduler::agenda(std::size_t most) const {
    std::vector<QueuedMatch> queued;
    if (!agenda_) return queued;
    for (AgendaItem& item : agenda_->first_of_all(most, [](std::uint32_t) { return true; })) {
        QueuedMatch one;
        one.source = item.source;
        one.rating = item.rating;
        one.rating_terms = rating_terms(item.source, *item.match);
        one.held_back = held_back_by(item.source);
        one.match = std::move(item.match);
        queued.push_back(std::move(one));
    }
    return queued;
}

std::string Scheduler::held_back_by(std::uint32_t source) const {
    const SourceState& state = sources_[source];
    const SourceSpec& spec = crew_->sources[source];
    if (!run_active_) return "no run is in force";
    if (held_) return "the board's new owner has not said `resume`";
    if (stop_) return std::string("the run is stopping: ") + to_text(*stop_);
    if (!wrapping_up_.empty() && !spec.wrap_up) return "the run wraps up: " + wrapping_up_;
    if (state.over_budget) return "its budget is used up";
    if (state.once_done) return "it wakes once in a run, and has";
    if (state.paused) return "paused by a loop";
    if (state.held_back) return "paused in the region `control`";
    if (is_damped(source))
        return "its loop is slowed until " + std::to_string(state.damped_until.ms - now_.ms) + " ms on";
    if (spec.wake == WakeMode::batch && !batch_ready(source)) return "its batch is not full";
    if (!eligible(source, running_ < crew_->concurrency)) return "no place is free";
    return {};
}

std::vector<MatchPtr> Scheduler::open_matches() const {
    std::vector<MatchPtr> open;
    for (std::uint32_t source = 0; matcher_ && source < sources_.size(); ++source) {
        if (crew_->sources[source].when.has_idle()) continue;
        for (MatchPtr& match : matcher_->all_matches(source)) {
            if (!refraction_.knows(match->key)) open.push_back(std::move(match));
        }
    }
    std::sort(open.begin(), open.end(), [](const MatchPtr& a, const MatchPtr& b) {
        return a->condition != b->condition ? a->condition < b->condition : a->key < b->key;
    });
    return open;
}

}  // namespace stele

// The scheduler's part of a checkpoint. What follows from the crew or from the active entries is not in it.
#include "scheduler/checkpoint.hpp"
#include "scheduler/scheduler.hpp"

namespace stele {

template <class Archive, TransferOf<LiveCall> T>
void transfer(Archive& archive, T& call) {
    archive(call.source, call.model, call.reserved, call.key);
}

template <class Archive, TransferOf<CycleVerdict> T>
void transfer(Archive& archive, T& verdict) {
    archive(verdict.sources, verdict.entries, verdict.at, verdict.message);
}

void transfer(CheckpointWriter& out, const MatchPtr& match) {
    out(match->condition, match->bound, match->episodes, match->age, match->key, match->entries.size());
    for (const EntryPtr& entry : match->entries) out(entry->id, entry->version, entry->position);
}

void transfer(CheckpointReader& in, MatchPtr& match) {
    auto made = std::make_shared<Match>();
    std::size_t entries = 0;
    in(made->condition, made->bound, made->episodes, made->age, made->key, entries);
    for (std::size_t i = 0; i < entries && in.ok(); ++i) {
        auto named = std::make_shared<Entry>();
        in(named->id, named->version, named->position);
        // Without a position it only stands for one: what the match was bound to had been purged.
        made->entries.push_back(named->position ? in.entry(named->id, named->position) : std::move(named));
    }
    match = std::move(made);
}

template <class Archive, TransferOf<Activation> T>
void transfer(Archive& archive, T& live) {
    archive(live.id, live.state, live.source, live.members, live.attempt, live.failures, live.conflicts,
            live.claimed_at, live.snapshot, live.claimed_time, live.timeout_ms, live.rating, live.idle, live.result_at,
            live.process_group, live.process_start, live.boot_id, live.calls, live.calls_made, live.seen,
            live.answers_used, live.answers_seen, live.epoch, live.due, live.previous, live.last_error);
}

template <class Archive, TransferOf<DeadActivation> T>
void transfer(Archive& archive, T& dead) {
    archive(dead.id, dead.source, dead.error, dead.members);
}

template <class Archive, class Self>
void Scheduler::SourceState::transfer(Archive& archive, Self& self) {
    archive(self.running, self.started, self.wall_ms, self.once_done, self.paused, self.damp_ms, self.damped_until,
            self.over_budget, self.batch_opened, self.held_back);
}

template <class Archive, class Self>
void Scheduler::transfer(Archive& archive, Self& self) {
    archive(self.epoch_, self.run_, self.version_, self.run_time_, self.now_, self.epoch_time_, self.wall_before_ms_,
            self.run_active_, self.held_, self.scratch_stale_, self.seeded_, self.stop_, self.stop_detail_,
            self.stop_deadline_, self.last_content_change_, self.activations_, self.to_bury_, self.dead_, self.started_,
            self.running_, self.running_not_idle_, self.cycle_, self.cycle_untold_, self.damped_, self.wrapping_up_,
            self.answers_, self.being_called_);
}

void Scheduler::save(CheckpointWriter& out) const {
    transfer(out, *this);
    refraction_.save(out);
    shared_content_.save(out);
    budgets_.save(out);
    control_.save(out);
    shown_agenda_.save(out);
    out(crew_at_);
    if (!crew_at_) return;
    matcher_->save(out);
    agenda_->save(out);
    cycles_->save(out);
    if (goal_meter_) goal_meter_->save(out);
    out(sources_, open_batches_, cycles_told_);
}

void Scheduler::load(CheckpointReader& in) {
    transfer(in, *this);
    refraction_.load(in);
    shared_content_.load(in);
    // By name, so the crew may come after them.
    budgets_.load(in);
    control_.load(in);
    shown_agenda_.load(in);
    Position crew_at;
    in(crew_at);
    if (!crew_at || !in.ok()) return;
    const std::shared_ptr<const LoggedRecord> brought = in.record(crew_at);
    if (!brought) return;
    if (brought->record.parts.empty()) return in.fail("no crew stands where it names one");
    const Status read = read_crew(brought->record, crew_at);
    if (!read.ok()) return in.fail(read.error());
    begin_matching();
    begin_agenda();
    matcher_->load(in, [this](const EntryPtr& entry) { measure_active(entry); });
    if (!in.ok()) return;
    agenda_->load(in);
    cycles_->load(in);
    if (goal_meter_) goal_meter_->load(in);
    absorb_matches();
    std::vector<SourceState> states;
    in(states, open_batches_, cycles_told_);
    if (states.size() != sources_.size()) return in.fail("it is of other sources");
    for (std::size_t i = 0; i < states.size(); ++i) {
        states[i].idle_pool = std::move(sources_[i].idle_pool);
        sources_[i] = std::move(states[i]);
    }
    for (const std::uint32_t source : open_batches_) {
        if (source >= sources_.size() || !sources_[source].batch_opened) return in.fail("a batch that is not open");
    }
    const auto is_source = [this](std::uint32_t source) { return source < sources_.size(); };
    const bool known = std::all_of(damped_.begin(), damped_.end(), is_source) &&
                       std::all_of(activations_.begin(), activations_.end(),
                                   [&](const auto& live) { return is_source(live.second.source); });
    if (!known) in.fail("a source that the crew has not");
}

}  // namespace stele

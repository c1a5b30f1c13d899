#include "runtime/stepper.hpp"

#include <algorithm>

#include "board/record_terms.hpp"
#include "runtime/record_text.hpp"
#include "scheduler/outcome.hpp"

namespace stele {

Stepper::Stepper(StateStore& store, const BoardInfo& board, Position last, CrewReader read_crew)
    : store_(store),
      info_(board),
      last_(last),
      read_crew_(std::move(read_crew)),
      log_(make_store_log(store, board.number)) {}

Result<std::unique_ptr<Stepper>> Stepper::open(StateStore& store, const BoardInfo& board, Position last,
                                               CrewReader read_crew) {
    std::unique_ptr<Stepper> stepper(new Stepper(store, board, last, std::move(read_crew)));
    const Status begun = stepper->restart();
    if (!begun.ok()) return begun.error();
    return stepper;
}

Status Stepper::restart() {
    Result<std::unique_ptr<Board>> board = Board::open(store_, info_.number, info_.family);
    if (!board.ok()) return board.error();
    fold_.reset();
    board_ = std::move(*board);
    fold_ = std::make_unique<Fold>(*board_, read_crew_);
    at_ = {};
    record_.reset();
    reason_.clear();
    hits_.clear();
    watch();
    return Done{};
}

void Stepper::watch() {
    std::vector<WatchedCondition> conditions;
    watched_.clear();
    for (std::size_t i = 0; i < breakpoints_.size(); ++i) {
        if (breakpoints_[i].condition == nullptr) continue;
        conditions.push_back({"breakpoint " + std::to_string(i), breakpoints_[i].condition, true});
        watched_.push_back(i);
    }
    matcher_ = conditions.empty() ? nullptr
                                  : make_incremental_matcher(std::move(conditions), [](const Match&) { return false; });
}

Status Stepper::add(Breakpoint breakpoint) {
    const Position here = at_;
    const bool is_condition = breakpoint.condition != nullptr;
    breakpoints_.push_back(std::move(breakpoint));
    if (!is_condition) return Done{};
    // Its matcher has to be told what was.
    const Status begun = restart();
    return begun.ok() ? go_to(here) : begun;
}

void Stepper::clear() {
    breakpoints_.clear();
    hits_.clear();
    watch();
}

Status Stepper::forward(bool tells_reason) {
    const Result<std::shared_ptr<const LoggedRecord>> next = board_->entries().record({at_.number + 1});
    if (!next.ok()) return next.error();
    const LoggedRecord& logged = **next;
    const Record& record = logged.record;
    reason_.clear();
    if (tells_reason) {
        const bool is_decided = static_cast<bool>(record.decided_at);
        const std::vector<QueuedMatch> agenda = is_decided ? fold_->scheduler().agenda(64) : std::vector<QueuedMatch>();
        reason_ = reason_of(logged, agenda, fold_->scheduler().queued());
    }

    Result<Folded> folded = fold_->feed(*next);
    if (!folded.ok()) return folded.error();
    const Status stepped = fold_->step(*folded);
    if (!stepped.ok()) return stepped;
    at_ = logged.position;
    record_ = *next;

    hits_.clear();
    for (const Breakpoint& breakpoint : breakpoints_) {
        const bool by_source = !breakpoint.source.empty() && record.author == breakpoint.source;
        const bool by_region =
            !breakpoint.region.empty() &&
            std::any_of(folded->changes.begin(), folded->changes.end(),
                        [&](const EntryChange& change) { return change.id.region == breakpoint.region; });
        if (by_source || by_region) hits_.push_back(breakpoint.text);
    }
    if (!matcher_) return Done{};
    if (record.kind == RecordKind::run_started && logged.verdict.accepted) matcher_->begin_run(at_, record.time);
    if (folded->changes.empty()) {
        matcher_->clock(at_, record.time);
    } else {
        matcher_->commit(at_, record.time, folded->changes);
    }
    for (const MatchPtr& match : matcher_->take_delta().added) {
        const std::string& text = breakpoints_[watched_[match->condition]].text;
        if (std::find(hits_.begin(), hits_.end(), text) == hits_.end()) hits_.push_back(text);
    }
    return Done{};
}

Status Stepper::go_to(Position position) {
    position = std::min(position, last_);
    if (position < at_) {
        const Status begun = restart();
        if (!begun.ok()) return begun;
    }
    while (at_ < position) {
        const Status moved = forward(at_.number + 1 == position.number);
        if (!moved.ok()) return moved;
    }
    return Done{};
}

Status Stepper::go_on() {
    while (at_ < last_) {
        const Status moved = forward(true);
        if (!moved.ok()) return moved;
        if (!hits_.empty()) return Done{};
    }
    return Done{};
}

Status Stepper::go_back() {
    const Position here = at_;
    Position newest;
    const Status begun = restart();
    if (!begun.ok()) return begun;
    while (at_.number + 1 < here.number) {
        const Status moved = forward(false);
        if (!moved.ok()) return moved;
        if (!hits_.empty()) newest = at_;
    }
    return go_to(newest);
}

std::string Stepper::reason_of(const LoggedRecord& logged, const std::vector<QueuedMatch>& agenda,
                               std::size_t queued) const {
    const Record& record = logged.record;
    const auto woken_by = [&] {
        std::string text = "woken by " + bound_text(record.members);
        if (record.members.empty() || record.members.front().bound.empty()) text = "woken by no entry in particular";
        for (std::size_t i = 0; i < agenda.size(); ++i) {
            if (agenda[i].match->key != record.members.front().key) continue;
            text += "; it stood " + (i == 0 ? std::string("first") : "at place " + std::to_string(i + 1)) + " of " +
                    counted(queued, "match", "matches") + " on the agenda";
            for (std::size_t ahead = 0; ahead < i; ++ahead) {
                if (agenda[ahead].held_back.empty()) continue;
                text += ", behind " + scheduler().crew()->sources[agenda[ahead].source].name + ": " +
                        agenda[ahead].held_back;
                break;
            }
            break;
        }
        text += "; rating " + to_json(Value::number(record.rating));
        if (!record.rating_terms.empty()) text += " by " + record.rating_terms;
        return text;
    };
    if (record.kind == RecordKind::claimed && record.attempt > 1) return "tried again; " + woken_by();
    if (record.kind == RecordKind::claimed || is_rule_commit(record)) return woken_by();
    if (record.activation) return "activation #" + std::to_string(record.activation.number) + " of " + record.author;
    if (!record.decided_at) return record.author == "system" ? "by the process that owns the board" : "from outside";
    if (record.author == "seed") return "the crew's seed";
    switch (record.kind) {
        case RecordKind::timer:
            return "a time had come that some precondition, retry or limit waits for";
        case RecordKind::run_stopped:
            return "the core stopped the run: " + record.word + (record.reason.empty() ? "" : ", " + record.reason);
        default:
            return "the core decided it after record " + std::to_string(record.decided_at.number) +
                   (record.reason.empty() ? std::string() : ": " + record.reason);
    }
}

}  // namespace stele

#include "runtime/board_engine.hpp"

#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cassert>
#include <chrono>
#include <fstream>
#include <sstream>

#include "board/limits.hpp"
#include "knowledge_sources/process_protocol.hpp"
#include "knowledge_sources/process_source.hpp"
#include "knowledge_sources/rule_source.hpp"
#include "runtime/activation_request.hpp"

namespace stele {
namespace {

std::string boot_id() {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string id;
    std::getline(file, id);
    return id;
}

// Field 22 of /proc/PID/stat, 0 when there is no such process; the command before it may hold spaces, so count from its
// last ')'.
std::uint64_t start_ticks(const std::string& process) {
    std::ifstream file("/proc/" + process + "/stat");
    std::string line;
    std::getline(file, line);
    if (line.rfind(')') == std::string::npos) return 0;
    std::istringstream fields(line.substr(line.rfind(')') + 1));
    std::string field;
    for (int i = 3; i <= 22 && fields >> field; ++i) continue;
    return field.empty() ? 0 : std::strtoull(field.c_str(), nullptr, 10);
}

// What the source was shown, in few bytes: which entries at which versions.
std::string digest_of_seen(const ActivationRequest& request) {
    Sha256 sha;
    const auto note = [&](const EntryPtr& entry) {
        if (entry) sha.update(to_text(entry->id) + "@" + std::to_string(entry->version) + "\n");
    };
    for (const Binding& member : request.members) std::for_each(member.entries.begin(), member.entries.end(), note);
    for (const ViewRegion& region : request.view) {
        sha.update(region.region + "\n");
        std::for_each(region.entries.begin(), region.entries.end(), note);
    }
    const Digest256 digest = sha.finish();
    return to_hex(std::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

}  // namespace

ProcessIdentity this_process() {
    ProcessIdentity identity;
    identity.group = ::getpid();
    identity.start_ticks = start_ticks("self");
    identity.boot_id = boot_id();
    return identity;
}

struct BoardEngine::Timers {
    explicit Timers(boost::asio::io_context& loop) : wake(loop), interval(loop), orphans(loop) {}
    boost::asio::steady_timer wake;
    boost::asio::steady_timer interval;
    boost::asio::steady_timer orphans;
    std::optional<TimeMs> armed;  // what `wake` is set to
    bool interval_armed = false;
};

// Used by one job of the worker at a time.
struct BoardEngine::Head {
    HeadMarkFile file;
    std::chrono::steady_clock::time_point synced;
};

BoardEngine::BoardEngine(boost::asio::io_context& loop, StateStore& store, Workers& workers, BoardInfo board,
                         std::string head_path, SourceRegistry& sources, CrewReader read_crew, EngineHooks hooks,
                         Clock clock)
    : loop_(loop),
      engine_store_(store),
      store_(store),
      workers_(workers),
      info_(std::move(board)),
      head_path_(std::move(head_path)),
      sources_(sources),
      read_crew_(std::move(read_crew)),
      hooks_(std::move(hooks)),
      clock_(std::move(clock)),
      timers_(std::make_unique<Timers>(loop)) {}

BoardEngine::~BoardEngine() { *alive_ = false; }

Status BoardEngine::open() {
    Status begun = begin_fold();
    if (!begun.ok()) return begun;
    if (store_.is_durable()) {
        Result<HeadMarkFile> head = HeadMarkFile::open(head_path_);
        if (!head.ok()) return head.error();
        head_ = std::make_shared<Head>(Head{std::move(*head), {}});
    }
    const Position last = board_->meta().last;
    const std::optional<HeadMark> mark = head_ ? head_->file.read() : std::nullopt;
    if (mark && mark->position) {
        const Status marked = check_mark(*mark, last);
        if (!marked.ok()) return marked;
    }
    const Result<Position> checkpoint = load_checkpoint();
    if (!checkpoint.ok()) return checkpoint.error();
    const Status walked = walk_from(*checkpoint);
    if (!walked.ok()) return walked;
    flushed_ = synced_ = last;
    if (!indexed_) return Done{};
    return fold_->keep_index(info_.family,
                             [&workers = workers_](std::function<void()> task) { workers.work_out(std::move(task)); });
}

Status BoardEngine::begin_fold() {
    Result<std::unique_ptr<Board>> board = Board::open(store_, info_.number, info_.family);
    if (!board.ok()) return board.error();
    fold_.reset();
    board_ = std::move(*board);
    log_ = make_store_log(store_, info_.number);
    fold_ = std::make_unique<Fold>(*board_, read_crew_);
    return Done{};
}

// The record up to which the fold knows everything by it. A checkpoint is derived from the log: where it is damaged, or
// another version's, the log says the same at greater length.
Result<Position> BoardEngine::load_checkpoint() {
    const auto without = [](const Error& error) -> Result<Position> {
        return error.code == ErrorCode::corrupt ? Result<Position>(Position{}) : Result<Position>(error);
    };
    Result<std::optional<StoredCheckpoint>> stored = board_->entries().checkpoint();
    if (!stored.ok()) return without(stored.error());
    if (!stored->has_value() || (*stored)->at > board_->meta().last) return Position{};
    const StoredCheckpoint& checkpoint = **stored;
    const Result<std::shared_ptr<const LoggedRecord>> of = board_->entries().record(checkpoint.at);
    if (!of.ok()) return without(of.error());
    if ((*of)->link != checkpoint.link) return Position{};
    const Status loaded = fold_->load(checkpoint.state);
    if (loaded.ok()) {
        checkpoint_ = checkpoint.at;
        checkpoint_bytes_ = checkpoint.state.size();
        return checkpoint.at;
    }
    if (loaded.error().code != ErrorCode::corrupt) return loaded.error();
    const Status begun = begin_fold();
    return begun.ok() ? Result<Position>(Position{}) : Result<Position>(begun.error());
}

Status BoardEngine::walk_from(Position after) {
    ChainLink previous{};
    if (after) {
        const Result<std::shared_ptr<const LoggedRecord>> of = board_->entries().record(after);
        if (!of.ok()) return of.error();
        previous = (*of)->link;
    }
    Position expected{after.number + 1};
    Status bad = Done{};
    const Status walked = log_->read(expected, [&](Position position, std::string_view bytes) {
        const Result<ChainLink> link = link_of_frame(position, bytes, previous);
        Result<LoggedRecord> logged =
            link.ok() ? decode_frame(position, bytes, DecodeDepth::full, board_->entries().blob_loader())
                      : Result<LoggedRecord>(link.error());
        if (!logged.ok()) return bad = logged.error(), false;
        if (position != expected || *link != logged->link) {
            bad =
                Error{ErrorCode::corrupt, "record " + std::to_string(expected.number) + " breaks the chain of hashes"};
            return false;
        }
        previous = *link;
        ++expected.number;
        const auto shared = std::make_shared<const LoggedRecord>(std::move(*logged));
        board_->entries().remember(shared);  // its entries are loaded next
        Result<Folded> folded = fold_->feed(shared);
        if (!folded.ok()) return bad = folded.error(), false;
        const Status stepped = fold_->step(*folded);
        if (!stepped.ok()) return bad = stepped, false;
        return true;
    });
    if (!walked.ok()) return walked;
    if (!bad.ok()) return bad;
    const Position last = board_->meta().last;
    if (expected.number == last.number + 1) return Done{};
    return Error{ErrorCode::corrupt, "the state is at record " + std::to_string(last.number) + ", the log at " +
                                         std::to_string(expected.number - 1)};
}

Status BoardEngine::check_mark(const HeadMark& mark, Position last) const {
    if (mark.position > last) {
        return Error{ErrorCode::corrupt, "the log of board \"" + info_.address.board + "\" ends at record " +
                                             std::to_string(last.number) + ", but record " +
                                             std::to_string(mark.position.number) +
                                             " had been written to disk; restore the directory from a backup"};
    }
    const Result<std::shared_ptr<const LoggedRecord>> marked = board_->entries().record(mark.position);
    if (!marked.ok()) return marked.error();
    const ChainLink& link = (*marked)->link;
    if (mark.link == std::string(link.begin(), link.end())) return Done{};
    return Error{ErrorCode::corrupt,
                 "record " + std::to_string(mark.position.number) + " is not the one that the head mark names"};
}

// So often that what it costs is little beside the records, and so seldom that no more of them have to be read again.
Status BoardEngine::keep_checkpoint_if_due(RecordKind after) {
    if (!store_.is_durable()) return Done{};
    const Position last = board_->meta().last;
    const std::uint64_t least = limits::checkpoint_records_min;
    std::uint64_t interval = std::max(least, checkpoint_bytes_ / limits::checkpoint_bytes_a_record);
    // It may be a while until it goes on; and to take a crew is to go through the whole log, which is better done once.
    const bool is_turn =
        after == RecordKind::run_stopped || after == RecordKind::run_started || after == RecordKind::reconfigured;
    if (is_turn) interval /= limits::checkpoint_turn_share;
    if (last.number < checkpoint_.number + interval) return Done{};
    StoredCheckpoint checkpoint{last, board_->meta().link, fold_->save()};
    StoreBatch batch;
    board_->entries().put_checkpoint(checkpoint, batch);
    checkpoint_ = last;
    checkpoint_bytes_ = checkpoint.state.size();
    return store_.apply(batch);
}

void BoardEngine::take_over() {
    if (info_.parent && board_->meta().last == info_.forked_at) {
        Record forked;
        forked.kind = RecordKind::forked;
        forked.author = "person";
        forked.word = info_.parent_name;
        submit(std::move(forked));
    }
    const ProcessIdentity self = this_process();
    Record fence;
    fence.kind = RecordKind::fence;
    fence.author = "system";
    fence.process_group = self.group;
    fence.process_start = self.start_ticks;
    fence.boot_id = self.boot_id;
    submit(std::move(fence), [this](const LoggedRecord&) { end_orphans(); });
}

void BoardEngine::start_run(const CrewSpec& crew, const std::string& inputs_json) {
    stop_told_ = false;
    submit_crew(RecordKind::run_started, crew, inputs_json);
}

void BoardEngine::signal(std::string word, std::string reason, ActivationId activation) {
    if (word == "resume") stop_told_ = false;
    Record record;
    record.kind = RecordKind::signal;
    record.author = "person";
    record.word = std::move(word);
    record.reason = std::move(reason);
    record.activation = activation;
    submit(std::move(record));
}

void BoardEngine::reconfigure(const CrewSpec& crew, const std::string& inputs_json) {
    submit_crew(RecordKind::reconfigured, crew, inputs_json);
}

void BoardEngine::submit_crew(RecordKind kind, const CrewSpec& crew, const std::string& inputs_json) {
    Record record;
    record.kind = kind;
    record.author = "person";
    record.base_directory = crew.base_directory;
    record.inputs = inputs_json;
    record.parts = {crew.text};
    submit(std::move(record));
}

void BoardEngine::submit(Record record, Acknowledge acknowledge) {
    if (failed_) return;
    inbox_.push_back({std::move(record), std::move(acknowledge)});
    schedule_pump();
}

void BoardEngine::schedule_pump() {
    if (pump_posted_) return;
    pump_posted_ = true;
    boost::asio::post(loop_, [this, alive = alive_] {
        if (!*alive) return;
        pump_posted_ = false;
        pump();
    });
}

// One turn: folds what has gathered, stores it as one batch, and lets the disk be waited for.
void BoardEngine::pump() {
    if (failed_) return;
    std::size_t folded = 0;
    while (!failed_ && folded < limits::group_commit_records_max && (next_ || !inbox_.empty())) {
        // Rules that wake each other for ever must not keep a Ctrl-C out. A decision that is not in
        // the log has not happened: the core takes it again, or another, after what came between.
        if (next_ && !inbox_.empty() && in_a_row_ >= limits::core_records_in_a_row_max) next_.reset();
        if (next_) {
            Record record = std::move(*next_);
            next_.reset();
            ++in_a_row_;
            fold_one(std::move(record), {});
        } else {
            Waiting waiting = std::move(inbox_.front());
            inbox_.pop_front();
            in_a_row_ = 0;
            fold_one(std::move(waiting.record), std::move(waiting.acknowledge));
        }
        ++folded;
    }
    if (folded > 0) serve_calls();
    flush();
    if (next_ || !inbox_.empty()) schedule_pump();
}

bool BoardEngine::fold_one(Record record, Acknowledge acknowledge) {
    assert(!folding_);
    folding_ = true;
    record.epoch = fold_->scheduler().epoch();
    record.time = std::max(now(), record.time);
    StoreBatch batch;
    std::string frame;
    Result<Folded> folded = fold_->take(std::move(record), make_random_salt(), batch, frame);
    Status done = folded.ok() ? Status(Done{}) : Status(folded.error());
    if (done.ok()) {
        const LogFrame frames[] = {{folded->logged->position, std::move(frame)}};
        done = log_->append(frames, std::move(batch));
    }
    if (done.ok()) done = fold_->step(*folded);
    if (done.ok()) done = keep_checkpoint_if_due(folded->logged->record.kind);
    folding_ = false;
    if (!done.ok()) {
        fail(done.error());
        return false;
    }
    if (relevance_ && !folded->changes.empty()) {
        const Status indexed = relevance_->apply(folded->changes);
        if (!indexed.ok()) {
            fail(indexed.error());
            return false;
        }
    }
    const bool accepted = folded->logged->verdict.accepted;
    untold_.push_back({folded->logged, std::move(folded->changes), std::move(acknowledge)});
    follow(*folded);
    return accepted;
}

void BoardEngine::follow(Folded& folded) {
    Effects& effects = folded.effects;
    assert(!next_);
    if (effects.append) {
        next_ = std::move(*effects.append);
    } else if (effects.fire) {
        RuleFiring& fire = *effects.fire;
        const SourceSpec& source = fold_->scheduler().crew()->sources[fire.source];
        Result<std::vector<Write>> writes = apply_rule(source, bindings_of(fire.members));
        if (writes.ok()) {
            fire.commit.writes = std::move(*writes);
        } else {
            fire.commit.reason = writes.error().message;  // refused as malformed by the fold
        }
        next_ = std::move(fire.commit);
    }
    for (const ActivationId id : effects.starts) to_start_.emplace(folded.logged->position, id);
    for (const ActivationId id : effects.cancels) {
        if (const auto attempt = attempts_.find(id); attempt != attempts_.end()) attempt->second->cancel();
    }
    arm_timer(effects.wake_at);
}

// For what must be in the log before its caller goes on: folded and written now, synced later. It
// displaces what the core had decided; the core decides again.
bool BoardEngine::submit_now(Record record) {
    if (failed_) return false;
    next_.reset();
    const bool accepted = fold_one(std::move(record), {});
    flush();
    if (next_) schedule_pump();
    return accepted && !failed_;
}

void BoardEngine::flush() {
    if (failed_ || !store_.has_gathered()) return;
    const Status flushed = store_.flush();
    if (!flushed.ok()) return fail(flushed.error());
    flushed_ = board_->meta().last;
    const Durability promised = durability();
    if (!store_.is_durable() || promised == Durability::memory) {
        synced_ = flushed_;
        tell_until(flushed_);
        start_waiting(flushed_);
        if (!scheduler().is_running() && store_.is_durable()) request_sync();
        return check_stopped();
    }
    if (promised == Durability::async) {
        tell_until(flushed_);
        arm_interval_sync();
        // Nothing leaves the process before all it depends on is on disk, whatever was promised.
        if (to_start_.empty() && to_permit_.empty() && scheduler().is_running()) return check_stopped();
    }
    request_sync();
}

void BoardEngine::request_sync() {
    if (syncing_ || failed_) return;
    syncing_ = true;
    const Position target = flushed_;
    const ChainLink& link = board_->meta().link;
    HeadMark mark{target, std::string(link.begin(), link.end())};
    const bool last = !scheduler().is_running();
    // On the worker's thread, where this engine may be gone already: nothing of it but what is held.
    auto job = [&store = engine_store_, head = head_, mark = std::move(mark), last]() -> Status {
        Status synced = store.sync();
        // The mark may lag behind what is on disk, never run ahead of it.
        if (synced.ok() && head) synced = head->file.write(mark);
        const auto now = std::chrono::steady_clock::now();
        if (synced.ok() && head &&
            (last || now - head->synced > std::chrono::milliseconds(limits::head_mark_interval_ms))) {
            synced = head->file.sync();
            head->synced = now;
        }
        return synced;
    };
    workers_.wait_for_disk(std::move(job), [this, alive = alive_, target](const Status& status) {
        if (*alive) on_synced(target, status);
    });
}

void BoardEngine::on_synced(Position target, const Status& status) {
    syncing_ = false;
    if (!status.ok()) return fail(status.error());
    synced_ = std::max(synced_, target);
    tell_until(synced_);
    start_waiting(synced_);
    const bool is_waited_for = !to_start_.empty() || !to_permit_.empty();
    if (flushed_ > synced_ && (durability() == Durability::sync || is_waited_for)) request_sync();
    check_stopped();
}

void BoardEngine::tell_until(Position position) {
    while (!untold_.empty() && untold_.front().logged->position <= position) {
        const Told told = std::move(untold_.front());
        untold_.pop_front();
        if (hooks_.on_record) hooks_.on_record(*told.logged, told.changes);
        if (told.acknowledge) told.acknowledge(*told.logged);
    }
}

void BoardEngine::start_waiting(Position durable) {
    while (!to_start_.empty() && to_start_.begin()->first <= durable && !failed_) {
        const ActivationId id = to_start_.begin()->second;
        to_start_.erase(to_start_.begin());
        start_attempt(id);
    }
    while (!to_permit_.empty() && to_permit_.begin()->first <= durable && !failed_) {
        const std::function<void()> permit = std::move(to_permit_.begin()->second);
        to_permit_.erase(to_permit_.begin());
        permit();
    }
}

void BoardEngine::start_attempt(ActivationId id) {
    const Activation* live = scheduler().activation(id);
    if (live == nullptr || live->state != Activation::State::running) return;
    const SourceSpec& source = scheduler().crew()->sources[live->source];
    const Status indexed = index_texts_for(source);
    if (!indexed.ok()) return fail(indexed.error());
    Result<std::shared_ptr<ActivationRequest>> made =
        make_activation_request(scheduler(), *board_, info_.address.board, info_.family, *live, relevance_.get());
    if (!made.ok()) return fail(made.error());
    const std::shared_ptr<ActivationRequest> request = std::move(*made);

    const auto kind = sources_.kinds.find(source.kind);
    const std::uint32_t attempt = live->attempt;
    if (kind == sources_.kinds.end()) {
        Outcome outcome;
        outcome.kind = OutcomeKind::not_started;
        outcome.error = std::string("this program runs no sources of kind ") + to_text(source.kind);
        return on_finished(id, attempt, {}, std::move(outcome));
    }
    AttemptEvents events;
    std::vector<EntryId> seen;
    if (ranks_by_text(source)) {
        for (const ViewRegion& region : request->view) {
            for (const EntryPtr& entry : region.entries) seen.push_back(entry->id);
        }
    }
    events.started = [this, alive = alive_, id, attempt, seen](const ProcessIdentity& identity) {
        bool accepted = false;
        if (*alive) on_started(id, attempt, identity, seen, accepted);
        return accepted;
    };
    events.finished = [this, alive = alive_, id, attempt, seen = digest_of_seen(*request)](Outcome outcome) {
        if (*alive) on_finished(id, attempt, seen, std::move(outcome));
    };
    events.call = [this, alive = alive_, id, attempt](CallIntent intent, std::function<void(CallPermit)> permitted) {
        if (!*alive) return;
        asked_.push_back({id, attempt, std::move(intent), std::move(permitted)});
        // Not from here: what asks is on the call stack, and others may ask in the same turn.
        if (serve_posted_) return;
        serve_posted_ = true;
        boost::asio::post(loop_, [this, alive] {
            if (!*alive) return;
            serve_posted_ = false;
            if (failed_) return;
            serve_calls();
            flush();
            if (next_) schedule_pump();
        });
    };
    events.returned = [this, alive = alive_, id, attempt](CallEnd end) {
        if (*alive) on_returned(id, attempt, std::move(end));
    };
    events.progress = [this, alive = alive_, id](const std::string& text) {
        if (*alive && hooks_.on_progress) hooks_.on_progress(id, without_secrets(text));
    };
    ++running_attempts_;
    attempts_[id] = kind->second->start(request, std::move(events));
}

void BoardEngine::on_started(ActivationId id, std::uint32_t attempt, const ProcessIdentity& identity,
                             std::vector<EntryId> seen, bool& accepted) {
    const Activation* live = scheduler().activation(id);
    if (live == nullptr) return;
    Record started;
    started.kind = RecordKind::started;
    started.author = scheduler().crew()->sources[live->source].name;
    started.activation = id;
    started.attempt = attempt;
    started.process_group = identity.group;
    started.process_start = identity.start_ticks;
    started.boot_id = identity.boot_id;
    started.seen = std::move(seen);
    const bool written = submit_now(std::move(started));
    // The record may have been what ended it: a deadline passed, or the grace of a stop.
    const Activation* after = scheduler().activation(id);
    accepted = written && after != nullptr && after->attempt == attempt && after->state == Activation::State::running;
}

void BoardEngine::on_finished(ActivationId id, std::uint32_t attempt, const std::string& seen_digest, Outcome outcome) {
    if (const auto ended = attempts_.find(id); ended != attempts_.end()) {
        // It is still on the call stack: destroyed a little later.
        ending_.push_back(std::move(ended->second));
        attempts_.erase(ended);
        --running_attempts_;
        boost::asio::post(loop_, [this, alive = alive_] {
            if (!*alive) return;
            ending_.clear();
            check_stopped();
        });
    }
    const Activation* live = scheduler().activation(id);
    if (failed_ || live == nullptr || live->attempt != attempt || live->state != Activation::State::running) return;
    Record result;
    result.kind = RecordKind::result;
    result.author = scheduler().crew()->sources[live->source].name;
    result.configuration = scheduler().crew()->sources[live->source].configuration_hash;
    result.activation = id;
    result.attempt = attempt;
    result.outcome = static_cast<OutcomeCode>(outcome.kind);
    result.exit_code = outcome.exit_code;
    result.duration_ms = outcome.duration_ms;
    for (std::string& note : outcome.notes) result.notes.push_back(without_secrets(std::move(note)));
    if (!outcome.cost.is_null()) result.cost = to_json(outcome.cost);
    result.seen_digest = seen_digest;
    result.reason = without_secrets(std::move(outcome.error));
    result.word = std::move(outcome.budget);
    result.parts = {without_secrets(std::move(outcome.raw_output)), without_secrets(std::move(outcome.raw_error))};
    submit(std::move(result));
    if (outcome.kind == OutcomeKind::ok) commit_writes(*live, std::move(outcome.writes));
}

// Made at the first view that asks for it, and anew for each crew; from then on kept by fold_one.
Status BoardEngine::index_texts_for(const SourceSpec& source) {
    if (!ranks_by_text(source) || relevance_for_ == scheduler().crew()) return Done{};
    if (!relevance_) relevance_ = make_relevance_index();
    relevance_for_ = scheduler().crew();
    return relevance_->declare(*scheduler().crew(), board_->view(board_->meta().version));
}

// In the order they were asked in, but one that must wait holds up nobody behind it.
void BoardEngine::serve_calls() {
    for (std::size_t i = 0; i < asked_.size() && !failed_;) {
        if (serve_call(asked_[i])) {
            asked_.erase(asked_.begin() + static_cast<std::ptrdiff_t>(i));
        } else {
            ++i;
        }
    }
}

// False: it has to wait, for another's answer or for what others have reserved.
bool BoardEngine::serve_call(AskedCall& asked) {
    const Activation* live = scheduler().activation(asked.id);
    CallPermit permit;
    if (live == nullptr || live->attempt != asked.attempt || live->state != Activation::State::running) {
        answer_call(asked, std::move(permit));
        return true;
    }
    const Hash128& key = asked.intent.key;
    if (const std::optional<Position> answer = scheduler().answer_of(key)) {
        const Result<std::shared_ptr<const LoggedRecord>> logged = board_->entries().record(*answer);
        if (!logged.ok()) {
            fail(logged.error());
            return true;
        }
        if (!(*logged)->record.parts.empty()) permit.answer = (*logged)->record.parts.front();
        permit.kind = CallPermit::Kind::answered;
        if (!put_on_record(asked, *answer, permit)) permit.kind = CallPermit::Kind::over;
        answer_call(asked, std::move(permit));
        return true;
    }
    // Nothing is paid for what nobody needs any more; once a first call is paid, the rest may still be worth it.
    if (live->calls_made == 0 && !scheduler().still_holds(asked.id)) {
        permit.reason = "what it was woken for does not hold any more; no call was made";
        answer_call(asked, std::move(permit));
        return true;
    }
    if (scheduler().is_being_called(key)) return false;
    const Result<bool> recorded = serve_from_record(asked);
    if (!recorded.ok()) fail(recorded.error());
    if (!recorded.ok() || *recorded) return true;
    const std::string model = asked.intent.target == CallTarget::model ? asked.intent.name : std::string();
    const BudgetRoom room = scheduler().call_room(asked.id, model, asked.intent.reserve);
    if (room.kind == BudgetRoom::Kind::wait) return false;
    if (room.kind == BudgetRoom::Kind::spent) {
        permit.kind = CallPermit::Kind::refused;
        permit.budget = room.budget;
        permit.reason = room.message;
        answer_call(asked, std::move(permit));
        return true;
    }
    permit.kind = CallPermit::Kind::go;
    if (!put_on_record(asked, {}, permit)) {
        permit.kind = CallPermit::Kind::over;
        answer_call(asked, std::move(permit));
        return true;
    }
    // Nothing leaves the process before its record is on disk.
    auto send = [this, id = asked.id, attempt = asked.attempt, permit, permitted = std::move(asked.permitted)] {
        CallPermit given = permit;
        const Activation* still = scheduler().activation(id);
        if (still == nullptr || still->attempt != attempt || still->state != Activation::State::running) {
            given.kind = CallPermit::Kind::over;
        }
        if (attempts_.count(id) > 0) permitted(std::move(given));
    };
    to_permit_.emplace(board_->meta().last, std::move(send));
    return true;
}

// True: the parent was answered the same question, and that is the answer.
Result<bool> BoardEngine::serve_from_record(AskedCall& asked) {
    if (!recorded_) return false;
    const Activation& live = *scheduler().activation(asked.id);
    CallIntent intent = asked.intent;
    if (intent.target == CallTarget::service) intent.name = without_secrets(std::move(intent.name));
    for (std::string& part : intent.parts) part = without_secrets(std::move(part));
    Result<std::optional<RecordedAnswer>> found =
        recorded_->take(intent, scheduler().crew()->sources[live.source].configuration_hash);
    if (!found.ok()) return found.error();
    if (!found->has_value()) return false;
    CallPermit permit;
    permit.kind = CallPermit::Kind::answered;
    asked.intent.reserve = {};
    if (!put_on_record(asked, {}, permit)) {
        permit.kind = CallPermit::Kind::over;
        answer_call(asked, std::move(permit));
        return true;
    }
    Record returned;
    returned.kind = RecordKind::returned;
    returned.author = scheduler().crew()->sources[live.source].name;
    returned.activation = asked.id;
    returned.attempt = asked.attempt;
    returned.call = permit.call;
    returned.outcome = static_cast<OutcomeCode>(OutcomeKind::ok);
    returned.word = (*found)->note;
    returned.parts = {(*found)->answer};
    next_.reset();
    if (!fold_one(std::move(returned), {}) || failed_) permit.kind = CallPermit::Kind::over;
    permit.answer = std::move((*found)->answer);
    answer_call(asked, std::move(permit));
    return true;
}

void BoardEngine::answer_call(AskedCall& asked, CallPermit permit) {
    auto permitted = std::move(asked.permitted);
    boost::asio::post(loop_, [this, alive = alive_, id = asked.id, attempt = asked.attempt, permit = std::move(permit),
                              permitted = std::move(permitted)]() mutable {
        if (!*alive || attempts_.count(id) == 0) return;
        const Activation* still = scheduler().activation(id);
        if (still == nullptr || still->attempt != attempt) permit.kind = CallPermit::Kind::over;
        permitted(std::move(permit));
    });
}

bool BoardEngine::put_on_record(AskedCall& asked, Position answered_by, CallPermit& permit) {
    const Activation& live = *scheduler().activation(asked.id);
    permit.call = live.calls_made + 1;
    Record called;
    called.kind = RecordKind::called;
    called.author = scheduler().crew()->sources[live.source].name;
    called.activation = asked.id;
    called.attempt = asked.attempt;
    called.configuration = scheduler().crew()->sources[live.source].configuration_hash;
    called.call = permit.call;
    called.target = asked.intent.target;
    called.word = asked.intent.name;
    if (called.target == CallTarget::service) called.word = without_secrets(std::move(called.word));
    called.call_key = asked.intent.key;
    called.answered_by = answered_by;
    if (!answered_by) called.amounts = asked.intent.reserve;
    called.seen = std::move(asked.intent.seen);
    for (std::string& part : asked.intent.parts) called.parts.push_back(without_secrets(std::move(part)));
    next_.reset();
    return fold_one(std::move(called), {}) && !failed_;
}

void BoardEngine::on_returned(ActivationId id, std::uint32_t attempt, CallEnd end) {
    const Activation* live = scheduler().activation(id);
    if (failed_ || live == nullptr || live->attempt != attempt || live->calls.count(end.call) == 0) return;
    Record returned;
    returned.kind = RecordKind::returned;
    returned.author = scheduler().crew()->sources[live->source].name;
    returned.activation = id;
    returned.attempt = attempt;
    returned.call = end.call;
    returned.outcome = static_cast<OutcomeCode>(end.outcome);
    returned.duration_ms = end.duration_ms;
    returned.amounts = end.spent;
    returned.estimated = end.estimated;
    returned.word = std::move(end.request_id);
    returned.reason = without_secrets(std::move(end.error));
    if (!end.usage.is_null()) returned.cost = to_json(end.usage);
    returned.parts = {without_secrets(std::move(end.answer))};
    submit(std::move(returned));
}

std::string BoardEngine::without_secrets(std::string text) const {
    if (!sources_.redact || !scheduler().crew()) return text;
    return sources_.redact(*scheduler().crew(), std::move(text));
}

void BoardEngine::commit_writes(const Activation& live, std::vector<Write> writes) {
    const SourceSpec& source = scheduler().crew()->sources[live.source];
    Record commit;
    commit.kind = RecordKind::commit;
    commit.author = source.name;
    commit.configuration = source.configuration_hash;
    commit.activation = live.id;
    commit.attempt = live.attempt;
    commit.snapshot = live.snapshot;
    for (Write& write : writes) {
        std::string text = without_secrets(write.text);
        write.why = without_secrets(std::move(write.why));
        if (text == write.text) continue;
        // A model or a service that says a key back must not bring it onto the board.
        if (Result<Value> content = parse_json(text); content.ok()) {
            write.content = std::move(*content);
            write.seal();
        }
    }
    commit.writes = std::move(writes);
    submit(std::move(commit));
}

// What an owner that died had claimed: its processes are ended before anything is tried again.
void BoardEngine::end_orphans() {
    std::vector<ActivationId> orphans;
    for (const auto& [id, live] : scheduler().activations()) {
        if (live.state == Activation::State::running && live.epoch < scheduler().epoch()) orphans.push_back(id);
    }
    bool waiting = false;
    for (const ActivationId id : orphans) {
        const Activation& orphan = *scheduler().activation(id);
        if (orphan.result_at) {
            recommit(orphan);
            continue;
        }
        ProcessIdentity identity{orphan.process_group, orphan.process_start, orphan.boot_id};
        const TimeMs deadline{orphan.claimed_time.ms + orphan.timeout_ms + limits::kill_grace_ms};
        // A copy of a directory whose owner is alive, or a fork: what another board's owner started is not ours to end.
        const bool is_copy = orphan.claimed_at <= info_.forked_at || owner_is_alive(orphan.epoch);
        if (identity.group == 0 || is_copy || end_leftover_process(identity) || now() > deadline) {
            Record abandoned;
            abandoned.kind = RecordKind::abandoned;
            abandoned.author = scheduler().crew()->sources[orphan.source].name;
            abandoned.activation = id;
            abandoned.attempt = orphan.attempt;
            abandoned.outcome = static_cast<OutcomeCode>(OutcomeKind::cancelled);
            abandoned.word = "crash";
            abandoned.reason = orphan.claimed_at <= info_.forked_at
                                   ? "it belongs to the board that this one was forked off"
                                   : "its owner ended before it did";
            submit(std::move(abandoned));
        } else {
            waiting = true;
        }
    }
    if (!waiting) return;
    timers_->orphans.expires_after(std::chrono::milliseconds(500));
    timers_->orphans.async_wait([this, alive = alive_](const boost::system::error_code& error) {
        if (!error && *alive) end_orphans();
    });
}

// Does the process that wrote this fence still run?
bool BoardEngine::owner_is_alive(Position fence) const {
    const Result<std::shared_ptr<const LoggedRecord>> logged = board_->entries().record(fence);
    if (!logged.ok()) return false;
    const Record& owner = (*logged)->record;
    if (owner.boot_id != boot_id() || owner.process_group == ::getpid()) return false;
    return owner.process_start != 0 && start_ticks(std::to_string(owner.process_group)) == owner.process_start;
}

// Its result is in the log, its commit is not: what it said is taken from there, and not paid again.
void BoardEngine::recommit(const Activation& orphan) {
    const Result<std::shared_ptr<const LoggedRecord>> result = board_->entries().record(orphan.result_at);
    if (!result.ok()) return fail(result.error());
    const std::vector<std::string>& parts = (*result)->record.parts;
    ParsedOutput output =
        parse_output(parts.empty() ? std::string() : parts.front(), scheduler().crew()->sources[orphan.source]);
    commit_writes(orphan, std::move(output.writes));
}

void BoardEngine::arm_timer(std::optional<TimeMs> wake_at) {
    if (wake_at == timers_->armed) return;
    timers_->armed = wake_at;
    if (!wake_at) {
        timers_->wake.cancel();
        return;
    }
    timers_->wake.expires_after(std::chrono::milliseconds(std::max<std::int64_t>(0, wake_at->ms - now().ms)));
    timers_->wake.async_wait([this, alive = alive_, at = *wake_at](const boost::system::error_code& error) {
        if (error || !*alive) return;
        timers_->armed.reset();
        Record timer;
        timer.kind = RecordKind::timer;
        timer.author = "system";
        timer.time = at;  // a timer that fires early must not be told the time before it
        submit(std::move(timer));
    });
}

void BoardEngine::arm_interval_sync() {
    if (timers_->interval_armed) return;
    timers_->interval_armed = true;
    timers_->interval.expires_after(std::chrono::milliseconds(limits::async_sync_interval_ms));
    timers_->interval.async_wait([this, alive = alive_](const boost::system::error_code& error) {
        if (error || !*alive) return;
        timers_->interval_armed = false;
        if (flushed_ > synced_) request_sync();
    });
}

bool BoardEngine::is_idle() const {
    return inbox_.empty() && !next_ && untold_.empty() && !syncing_ && running_attempts_ == 0 && ending_.empty();
}

void BoardEngine::check_stopped() {
    if (failed_ || stop_told_ || scheduler().is_running() || !scheduler().run()) return;
    if (!is_idle() || pump_posted_ || flushed_ > synced_) return;
    stop_told_ = true;
    timers_->wake.cancel();
    timers_->armed.reset();
    if (hooks_.on_stopped) hooks_.on_stopped();
}

void BoardEngine::fail(const Error& error) {
    if (failed_) return;
    failed_ = true;
    next_.reset();
    inbox_.clear();
    asked_.clear();
    to_permit_.clear();
    timers_->wake.cancel();
    attempts_.clear();  // destroying an attempt ends its process
    if (hooks_.on_failure) hooks_.on_failure(error);
}

Durability BoardEngine::durability() const {
    if (forced_durability_) return *forced_durability_;
    return scheduler().crew() ? scheduler().crew()->durability : Durability::sync;
}

TimeMs BoardEngine::now() const { return std::max(clock_(), board_ ? board_->meta().time : TimeMs{}); }

}  // namespace stele

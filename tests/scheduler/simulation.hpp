// A board, its fold and a world around them that obeys: time passes when told, sources answer as
// scripted, and the power can fail between any two records. Does what runtime/board_engine.cpp does,
// one record at a time and from one seed. Every record is kept, so a run can be asked about afterwards.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "board/log/memory_store.hpp"
#include "board/log/write_log.hpp"
#include "scheduler/fold.hpp"
#include "scheduler/outcome.hpp"

namespace stele::simulation {

/// Of many crews alike, under sanitizers one in this many plays: what they look for does not need all.
#ifdef __SANITIZE_ADDRESS__
inline constexpr std::uint32_t one_crew_in = 7;
#else
inline constexpr std::uint32_t one_crew_in = 1;
#endif

inline Value json(std::string_view text) {
    Result<Value> value = parse_json(text);
    REQUIRE_MESSAGE(value.ok(), "this test has no JSON: " << std::string(text));
    return *value;
}

// ---- what sources write --------------------------------------------------------------------------

inline Write write(WriteOp op, std::string region, Value content) {
    Write made;
    made.op = op;
    made.region = std::move(region);
    made.content = std::move(content);
    made.seal();
    return made;
}
inline Write insert(std::string region, std::string_view content) {
    return write(WriteOp::insert, std::move(region), json(content));
}
inline Write add(std::string region, std::string_view content) {
    return write(WriteOp::add, std::move(region), json(content));
}
inline Write remove(std::string region, std::string_view content) {
    return write(WriteOp::remove, std::move(region), json(content));
}
inline Write put(std::string region, std::string_view content) {
    return write(WriteOp::put, std::move(region), json(content));
}
inline Write increment(std::string region, std::int64_t by) {
    return write(WriteOp::increment, std::move(region), Value::object({{"by", Value(by)}}));
}
inline Write replace(const EntryId& id, std::uint32_t expected_version, std::string_view content) {
    Write made = write(WriteOp::replace, id.region, json(content));
    made.number = id.number;
    made.expected_version = expected_version;
    return made;
}
inline Write retract(const EntryId& id, std::uint32_t expected_version = 0) {
    Write made = write(WriteOp::retract, id.region, Value());
    made.number = id.number;
    made.expected_version = expected_version;
    return made;
}

// ---- the script ----------------------------------------------------------------------------------

/// What an attempt is given.
struct Call {
    Activation activation;
    const SourceSpec& source;
    View view;
    std::mt19937& dice;

    [[nodiscard]] const Entry& bound(std::size_t variable, std::size_t member = 0) const {
        return *activation.members.at(member)->entries.at(variable);
    }
};

/// A call to a model that an attempt makes before it ends, and what it turns out to cost.
struct ModelAsk {
    std::string model = "m";  // empty: a service
    Amounts reserve;
    Amounts spent;
    Hash128 key{};
};

/// How it ends, after `latency_ms`.
struct Answer {
    std::vector<Write> writes;
    std::int64_t latency_ms = 10;
    OutcomeKind outcome = OutcomeKind::ok;
    std::string error;
    std::vector<ModelAsk> asks{};
};
inline Answer answer(std::vector<Write> writes, std::int64_t latency_ms = 10) {
    return {std::move(writes), latency_ms, OutcomeKind::ok, {}, {}};
}
inline Answer failure(std::string error, OutcomeKind outcome = OutcomeKind::failed, std::int64_t latency_ms = 10) {
    return {{}, latency_ms, outcome, std::move(error), {}};
}

using Body = std::function<Answer(const Call&)>;
using RuleBody = std::function<Result<std::vector<Write>>(const SourceSpec&, const std::vector<MatchPtr>&)>;

/// Everything the core goes by, in one text: two schedulers that agree on it go on alike.
inline std::string describe(const Scheduler& scheduler) {
    std::string text = "epoch " + std::to_string(scheduler.epoch().number) + " run " +
                       std::to_string(scheduler.run().number) + (scheduler.is_running() ? " running" : " stopped") +
                       " started " + std::to_string(scheduler.activations_started()) + " queued " +
                       std::to_string(scheduler.queued()) + " time " + std::to_string(scheduler.board_time().ms) + "\n";
    if (scheduler.stopping())
        text += std::string("stopping: ") + to_text(*scheduler.stopping()) + ": " + scheduler.stop_detail() + "\n";
    for (const auto& [id, live] : scheduler.activations()) {
        text += "#" + std::to_string(id.number) + (live.state == Activation::State::running ? " runs" : " waits") +
                " source " + std::to_string(live.source) + " attempt " + std::to_string(live.attempt) + " failures " +
                std::to_string(live.failures) + " conflicts " + std::to_string(live.conflicts) + " result " +
                std::to_string(live.result_at.number) + " due " + std::to_string(live.due.ms) + ":";
        for (const MatchPtr& member : live.members) text += " " + to_hex(member->key);
        text += "\n";
    }
    for (const DeadActivation& dead : scheduler.dead()) {
        text += "dead #" + std::to_string(dead.id.number) + " " + dead.source + ": " + dead.error + "\n";
    }
    for (const MatchPtr& open : scheduler.open_matches()) {
        text += "open " + std::to_string(open->condition) + " " + to_hex(open->key) + "\n";
    }
    return text;
}

// ---- the world -----------------------------------------------------------------------------------

class World {
public:
    explicit World(CrewSpec crew, std::uint32_t seed = 1) : dice(seed), store_(make_memory_store()) {
        crew_ = register_crew(std::move(crew));
        open();
        fence();
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    std::mt19937 dice;
    TimeMs clock{1'000'000};
    /// Attempts end in any order, not by their latency.
    bool random_order = false;
    /// What comes from outside is sometimes folded before what the core had decided, which is void then.
    bool displaces = false;
    std::vector<LoggedRecord> log;
    /// Called after each record.
    std::function<void(const Scheduler&)> watch;
    /// Highest numbers seen at one time, by source name; "" is the whole crew.
    std::map<std::string, std::size_t> most_running;

    // The script.
    World& script(const std::string& source, Body body) {
        bodies_[source] = std::move(body);
        return *this;
    }
    World& rules(RuleBody body) {
        rule_body_ = std::move(body);
        return *this;
    }

    // From outside.
    Position start_run() {
        submit(crew_record(RecordKind::run_started));
        return last_submitted_;
    }
    Position start_run(CrewSpec crew) {
        crew_ = register_crew(std::move(crew));
        return start_run();
    }
    void reconfigure(CrewSpec crew) {
        crew_ = register_crew(std::move(crew));
        Record record = crew_record(RecordKind::reconfigured);
        submit(std::move(record));
    }
    void signal(std::string word, std::string reason = "asked to", ActivationId activation = {}) {
        Record record;
        record.kind = RecordKind::signal;
        record.author = "person";
        record.word = std::move(word);
        record.reason = std::move(reason);
        record.activation = activation;
        submit(std::move(record));
    }
    /// A commit from outside, and all that follows from it at once. Returns its record. On a new
    /// board a crew of the same regions and no sources has its run first, so that there is a law.
    LoggedRecord commit(std::vector<Write> writes, std::string author = "person") {
        if (!scheduler().run()) {
            const std::shared_ptr<const CrewSpec> crew = crew_;
            CrewSpec bare = *crew;
            bare.text = "the regions alone";
            bare.sources.clear();
            bare.seed.clear();
            bare.stop.goal.reset();
            start_run(std::move(bare));
            crew_ = crew;
        }
        Record record;
        record.kind = RecordKind::commit;
        record.author = std::move(author);
        record.writes = std::move(writes);
        submit(std::move(record));
        return log[last_submitted_.number - 1];
    }
    /// A commit from outside that waits in the inbox.
    void post(std::vector<Write> writes) {
        Record record;
        record.kind = RecordKind::commit;
        record.author = "person";
        record.writes = std::move(writes);
        inbox_.push_back(std::move(record));
    }
    void post_signal(std::string word) {
        Record record;
        record.kind = RecordKind::signal;
        record.author = "person";
        record.word = std::move(word);
        inbox_.push_back(std::move(record));
    }
    /// Any record, in front of everything that waits; the epoch stays as given when it is not zero.
    LoggedRecord propose(Record record) {
        settle();
        REQUIRE(fold_one(std::move(record)));
        const LoggedRecord proposed = log.back();
        settle();
        return proposed;
    }

    // Time.
    /// The next thing that is under way: false when nothing is.
    bool turn() {
        if (settle()) return true;
        std::optional<std::size_t> next;
        if (random_order && !in_flight_.empty()) {
            next = std::uniform_int_distribution<std::size_t>(0, in_flight_.size() - 1)(dice);
        } else {
            for (std::size_t i = 0; i < in_flight_.size(); ++i) {
                if (!next || in_flight_[i].ends < in_flight_[*next].ends) next = i;
            }
        }
        const bool timer_first = wake_at_ && (!next || (*wake_at_ < in_flight_[*next].ends && !random_order) ||
                                              (random_order && roll(4) == 0));
        if (timer_first) {
            ring();
        } else if (next) {
            end_attempt(*next);
        } else {
            return false;
        }
        settle();
        return true;
    }
    /// Until the run has stopped, or nothing is under way.
    void run(std::size_t turns_max = 100'000) {
        settle();
        for (std::size_t i = 0; i < turns_max && scheduler().is_running(); ++i) {
            if (!turn()) return;
        }
        CHECK_MESSAGE(!scheduler().is_running(), "the run does not end");
    }
    /// Everything that happens within that time.
    void advance(std::int64_t ms) {
        settle();
        const TimeMs until{clock.ms + ms};
        while (true) {
            std::optional<TimeMs> next = wake_at_;
            for (const InFlight& one : in_flight_) {
                if (!next || one.ends < *next) next = one.ends;
            }
            if (!next || *next > until) break;
            turn();
        }
        clock = until;
    }
    /// One record only, if one waits to be folded.
    bool fold_next() {
        if (!next_ && inbox_.empty()) return false;
        if (displaces && next_ && !inbox_.empty() && roll(3) == 0) next_.reset();
        Record record;
        if (next_) {
            record = std::move(*next_);
            next_.reset();
        } else {
            record = std::move(inbox_.front());
            inbox_.pop_front();
            last_submitted_ = board_->next_position();
        }
        REQUIRE(fold_one(std::move(record)));
        return true;
    }
    /// Puts what an attempt came to into the inbox, without folding it.
    bool end_some_attempt() {
        if (in_flight_.empty()) return false;
        end_attempt(roll(static_cast<std::uint32_t>(in_flight_.size())));
        return true;
    }
    bool ring_if_due() {
        if (!wake_at_) return false;
        ring();
        return true;
    }
    std::uint32_t roll(std::uint32_t below) { return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(dice); }

    /// All that was in flight is gone; the board comes back from its log, and a new owner takes over.
    void crash(bool resume = true) {
        inbox_.clear();
        next_.reset();
        in_flight_.clear();
        wake_at_.reset();
        const std::string before = describe(scheduler());
        open();
        CHECK_MESSAGE(describe(scheduler()) == before, "the scheduler comes back from its log as another");
        fence();
        std::vector<Activation> orphans;
        for (const auto& [id, live] : scheduler().activations()) {
            if (live.state == Activation::State::running && live.epoch < scheduler().epoch()) orphans.push_back(live);
        }
        for (const Activation& orphan : orphans) {
            if (orphan.result_at) {
                submit(commit_of(orphan, outputs_.at(log[orphan.result_at.number - 1].record.parts.at(0))));
            } else {
                submit(abandoned(orphan));
            }
        }
        if (resume) signal("resume");
    }

    /// All that is known now, and whether another fold can go on from such bytes.
    [[nodiscard]] std::string checkpoint() const { return fold_->save(); }
    [[nodiscard]] Status load_checkpoint(std::string_view bytes) { return Fold(*board_, reader()).load(bytes); }

    // Asking.
    [[nodiscard]] const Scheduler& scheduler() const { return fold_->scheduler(); }
    [[nodiscard]] Board& board() { return *board_; }
    [[nodiscard]] std::size_t in_flight() const { return in_flight_.size(); }
    [[nodiscard]] std::optional<TimeMs> wake_at() const { return wake_at_; }
    [[nodiscard]] bool has_waiting_records() const { return next_ || !inbox_.empty(); }
    /// The reason of the newest stop.
    [[nodiscard]] std::string stopped_by() const {
        for (auto at = log.rbegin(); at != log.rend(); ++at) {
            if (at->record.kind == RecordKind::run_stopped) return at->record.word;
        }
        return "nothing";
    }
    [[nodiscard]] std::string stop_message() const {
        for (auto at = log.rbegin(); at != log.rend(); ++at) {
            if (at->record.kind == RecordKind::run_stopped) return at->record.reason;
        }
        return "";
    }
    [[nodiscard]] std::vector<LoggedRecord> of(RecordKind kind, std::string_view author = {}) const {
        std::vector<LoggedRecord> found;
        for (const LoggedRecord& logged : log) {
            if (logged.record.kind == kind && (author.empty() || logged.record.author == author))
                found.push_back(logged);
        }
        return found;
    }
    /// Accepted claims, and for rules commits: how often a source was woken.
    [[nodiscard]] std::size_t wakes(std::string_view source) const {
        std::size_t count = 0;
        for (const LoggedRecord& logged : log) {
            const Record& record = logged.record;
            if (record.author != source || !logged.verdict.accepted) continue;
            const bool rule = record.kind == RecordKind::commit && !record.activation;
            if (record.kind == RecordKind::claimed || rule) ++count;
        }
        return count;
    }
    /// Who was woken, in order.
    [[nodiscard]] std::vector<std::string> woken() const {
        std::vector<std::string> names;
        for (const LoggedRecord& logged : log) {
            const Record& record = logged.record;
            const bool rule = record.kind == RecordKind::commit && !record.activation && !record.members.empty();
            if (logged.verdict.accepted && (record.kind == RecordKind::claimed || rule)) names.push_back(record.author);
        }
        return names;
    }
    /// Canonical texts of the active entries of a region, by number.
    [[nodiscard]] std::vector<std::string> contents(const std::string& region) const {
        std::vector<std::string> texts;
        const Status read = board_->view(board_->meta().last).for_each(region, false, [&](const EntryPtr& entry) {
            texts.push_back(to_json(entry->content));
            return true;
        });
        REQUIRE(read.ok());
        return texts;
    }

    [[nodiscard]] CrewReader reader() const {
        return [crews = crews_](const std::string& text, const std::string&,
                                const std::string&) -> Result<std::shared_ptr<const CrewSpec>> {
            const auto found = crews->find(text);
            if (found == crews->end()) return Error{ErrorCode::invalid_argument, "no crew has the text " + text};
            return found->second;
        };
    }

    [[nodiscard]] StateStore& store() { return *store_; }

    static FamilyKey family() {
        FamilyKey key{};
        key[0] = 7;
        return key;
    }

    /// Runs the whole core again over the kept log: the first difference in words, or nothing.
    [[nodiscard]] std::optional<std::string> replay_difference() const {
        const std::unique_ptr<StateStore> store = make_memory_store();
        Result<std::unique_ptr<Board>> board = Board::open(*store, {1}, family());
        REQUIRE(board.ok());
        const std::unique_ptr<WriteLog> copy = make_store_log(*store, {1});
        Fold fold(**board, reader());
        std::optional<Record> decided;
        for (const LoggedRecord& logged : log) {
            const std::string at =
                "record " + std::to_string(logged.position.number) + " (" + to_text(logged.record.kind) + "): ";
            // What comes from outside, or from a new owner, may displace a decision; then it is void.
            if (logged.record.decided_at) {
                if (!decided) return at + "the second run decides nothing here";
                if (!same_decision(*decided, logged.record)) {
                    return at + "the second run decides " + to_text(decided->kind) + " of " + decided->author;
                }
            }
            decided.reset();
            StoreBatch batch;
            std::string frame;
            Result<Folded> folded = fold.take(logged.record, Salt{}, batch, frame);
            REQUIRE(folded.ok());
            if (!(folded->logged->verdict == logged.verdict)) return at + "the verdicts differ";
            if (folded->logged->link != logged.link) return at + "the chain differs";
            const LogFrame frames[] = {{logged.position, std::move(frame)}};
            REQUIRE(copy->append(frames, std::move(batch)).ok());
            const Status stepped = fold.step(*folded);
            REQUIRE(stepped.ok());
            if (folded->effects.append) decided = std::move(folded->effects.append);
            if (folded->effects.fire) decided = std::move(folded->effects.fire->commit);
        }
        if ((*board)->state_hash() != board_->state_hash()) return "the state hashes differ";
        if (describe(fold.scheduler()) != describe(scheduler())) {
            return "the schedulers differ:\n" + describe(fold.scheduler()) + "live:\n" + describe(scheduler());
        }
        if (fold.save() != fold_->save()) return "what the folds know differs";
        return std::nullopt;
    }

    /// The promises of the activation protocol, checked on the log alone: at most one live attempt
    /// and at most one commit for each match.
    [[nodiscard]] std::optional<std::string> protocol_violation() const {
        std::map<Hash128, ActivationId> live;
        std::set<Hash128> committed;
        struct Claim {
            std::uint32_t attempt = 0;
            std::string source;
            std::vector<Hash128> members;
        };
        std::map<ActivationId, Claim> claims;
        const auto end = [&](ActivationId id) {
            for (const Hash128& key : claims[id].members) live.erase(key);
        };
        for (const LoggedRecord& logged : log) {
            const Record& record = logged.record;
            const std::string at = "record " + std::to_string(logged.position.number) + ": ";
            const bool by_rule = record.kind == RecordKind::commit && !record.activation && !record.members.empty();
            if (record.kind == RecordKind::claimed && logged.verdict.accepted) {
                const ActivationId id = record.activation ? record.activation : ActivationId{logged.position.number};
                std::vector<Hash128> keys;
                for (const MatchRecord& member : record.members) {
                    if (live.count(member.key) > 0) return at + "a second attempt of a match that has a live one";
                    if (committed.count(member.key) > 0) return at + "an attempt of a match that has committed";
                    live[member.key] = id;
                    keys.push_back(member.key);
                }
                claims[id] = {record.attempt, record.author, std::move(keys)};
            } else if (record.kind == RecordKind::reconfigured && logged.verdict.accepted) {
                // Whose source leaves the crew is over.
                std::vector<ActivationId> left;
                for (const auto& [id, claim] : claims) {
                    if (crews_->at(record.parts.at(0))->source(claim.source) == nullptr) left.push_back(id);
                }
                for (const ActivationId id : left) {
                    end(id);
                    claims.erase(id);
                }
            } else if (by_rule && logged.verdict.accepted) {
                for (const MatchRecord& member : record.members) {
                    if (live.count(member.key) > 0) return at + "a rule commits a match that has a live attempt";
                    if (!committed.insert(member.key).second) return at + "a rule commits a match twice";
                }
            } else if (record.activation && record.kind != RecordKind::signal) {
                const auto claim = claims.find(record.activation);
                const bool is_live = claim != claims.end() && claim->second.attempt == record.attempt;
                if (record.kind == RecordKind::commit && logged.verdict.accepted) {
                    if (!is_live) return at + "a commit of an attempt that is not the live one";
                    for (std::size_t i = 0; i < claim->second.members.size(); ++i) {
                        const auto& stale = logged.verdict.stale_members;
                        if (std::find(stale.begin(), stale.end(), i) != stale.end()) continue;
                        if (!committed.insert(claim->second.members[i]).second) return at + "a match commits twice";
                    }
                    end(record.activation);
                } else if (record.kind == RecordKind::commit || record.kind == RecordKind::result) {
                    if (logged.verdict.accepted && !is_live)
                        return at + "a result of an attempt that is not the live one";
                    const bool of_another = std::any_of(
                        logged.verdict.refusals.begin(), logged.verdict.refusals.end(), [](const Refusal& r) {
                            return r.rule == RefusalRule::epoch || r.rule == RefusalRule::attempt;
                        });
                    const bool ends = record.kind == RecordKind::commit ||
                                      record.outcome != static_cast<OutcomeCode>(OutcomeKind::ok);
                    if (is_live && ends && !of_another) end(record.activation);
                } else if ((record.kind == RecordKind::abandoned || record.kind == RecordKind::dead) &&
                           logged.verdict.accepted) {
                    end(record.activation);
                }
            }
        }
        return std::nullopt;
    }

private:
    struct InFlight {
        ActivationId id;
        std::uint32_t attempt = 0;
        TimeMs ends;
        Answer answer;
    };

    static bool same_decision(const Record& decided, const Record& logged) {
        return decided.kind == logged.kind && decided.author == logged.author &&
               decided.activation == logged.activation && decided.attempt == logged.attempt &&
               decided.members == logged.members && decided.snapshot == logged.snapshot &&
               decided.rating == logged.rating && decided.word == logged.word && decided.reason == logged.reason &&
               decided.decided_at == logged.decided_at &&
               (decided.kind == RecordKind::commit || decided.duration_ms == logged.duration_ms);
    }

    std::shared_ptr<const CrewSpec> register_crew(CrewSpec crew) {
        if (crew.text.empty()) crew.text = "crew " + std::to_string(crews_->size() + 1);
        auto shared = std::make_shared<const CrewSpec>(std::move(crew));
        (*crews_)[shared->text] = shared;
        return shared;
    }

    // The long way, by the whole log, is the oracle of the short one, from the last checkpoint on; the board goes on
    // from either.
    void open() {
        fold_.reset();
        open_from({});
        if (checkpoint_.at) {
            const std::string by_the_log = fold_->save();
            const std::string described = describe(scheduler());
            const std::unique_ptr<Board> whole_board = std::move(board_);
            const std::unique_ptr<Fold> whole = std::move(fold_);
            open_from(checkpoint_);
            CHECK_MESSAGE(describe(scheduler()) == described,
                          "from its checkpoint at " << checkpoint_.at.number << " the scheduler comes back as another");
            CHECK_MESSAGE(fold_->save() == by_the_log,
                          "what is known differs from the checkpoint at " << checkpoint_.at.number << " on");
        }
        REQUIRE(fold_->keep_index(family()).ok());
    }

    struct Checkpoint {
        Position at;
        std::string bytes;
    };

    // In the middle of whatever goes on, another fold takes over, which knows the last checkpoint and the records after
    // it: so every test of what a crew does is one of what it does when it is resumed.
    void exchange_fold() {
        const std::string known = fold_->save();
        const std::string described = describe(scheduler());
        const std::unique_ptr<Fold> before = std::exchange(fold_, std::make_unique<Fold>(*board_, reader()));
        const Status loaded = fold_->load(checkpoint_.bytes);
        REQUIRE_MESSAGE(loaded.ok(), (loaded.ok() ? "" : loaded.error().message));
        walk_from(checkpoint_.at);
        CHECK_MESSAGE(describe(scheduler()) == described, "resumed, the scheduler is another");
        CHECK_MESSAGE(fold_->save() == known, "resumed from " << checkpoint_.at.number << ", it knows something else");
        REQUIRE(fold_->keep_index(family()).ok());
    }

    void walk_from(Position after) {
        const Status walked = writer_->read({after.number + 1}, [&](Position position, std::string_view bytes) {
            Result<LoggedRecord> decoded =
                decode_frame(position, bytes, DecodeDepth::full, board_->entries().blob_loader());
            REQUIRE(decoded.ok());
            Result<Folded> folded = fold_->feed(std::make_shared<const LoggedRecord>(std::move(*decoded)));
            REQUIRE_MESSAGE(folded.ok(), (folded.ok() ? "" : folded.error().message));
            const Status stepped = fold_->step(*folded);
            REQUIRE(stepped.ok());
            return true;
        });
        REQUIRE(walked.ok());
    }

    void open_from(const Checkpoint& checkpoint) {
        Result<std::unique_ptr<Board>> board = Board::open(*store_, {1}, family());
        REQUIRE(board.ok());
        fold_.reset();
        board_ = std::move(*board);
        writer_ = make_store_log(*store_, {1});
        fold_ = std::make_unique<Fold>(*board_, reader());
        if (checkpoint.at) {
            const Status loaded = fold_->load(checkpoint.bytes);
            REQUIRE_MESSAGE(loaded.ok(), (loaded.ok() ? "" : loaded.error().message));
            CHECK_MESSAGE(fold_->save() == checkpoint.bytes, "a checkpoint that was taken up is another");
        }
        walk_from(checkpoint.at);
    }

    void fence() {
        Record record;
        record.kind = RecordKind::fence;
        record.author = "system";
        REQUIRE(fold_one(std::move(record)));
    }

    Record crew_record(RecordKind kind) const {
        Record record;
        record.kind = kind;
        record.author = "person";
        record.parts = {crew_->text};
        record.inputs = "{}";
        return record;
    }

    void submit(Record record) {
        inbox_.push_back(std::move(record));
        settle();
    }
    bool settle() {
        std::size_t folded = 0;
        while (fold_next()) {
            REQUIRE_MESSAGE(++folded < 20'000, "the core decides on and on without waiting for anything");
        }
        return folded > 0;
    }

    bool fold_one(Record record) {
        // As the engine does it, but for tests of records from another epoch.
        if (!record.epoch) record.epoch = scheduler().epoch();
        record.time = std::max({clock, record.time, board_->meta().time});
        clock = record.time;
        StoreBatch batch;
        std::string frame;
        Result<Folded> folded = fold_->take(std::move(record), Salt{}, batch, frame);
        REQUIRE_MESSAGE(folded.ok(), (folded.ok() ? "" : folded.error().message));
        const LogFrame frames[] = {{folded->logged->position, std::move(frame)}};
        REQUIRE(writer_->append(frames, std::move(batch)).ok());
        const Status stepped = fold_->step(*folded);
        REQUIRE(stepped.ok());
        log.push_back(*folded->logged);
        // By dice of their own, so that a seed means what it meant; more seldom as the log grows, or a long run would
        // be quadratic.
        const std::size_t about_every = 24 + log.size() / 4;
        if (checkpoint_dice_() % about_every == 0) checkpoint_ = {folded->logged->position, fold_->save()};
        if (checkpoint_.at && checkpoint_dice_() % about_every == 0) exchange_fold();
        if (watch) watch(scheduler());
        follow(folded->effects);
        return true;
    }

    void follow(Effects& effects) {
        REQUIRE_FALSE(next_.has_value());
        if (effects.append) {
            next_ = std::move(effects.append);
        } else if (effects.fire) {
            RuleFiring& fire = *effects.fire;
            REQUIRE_MESSAGE(rule_body_, "this world has no rules");
            Result<std::vector<Write>> writes = rule_body_(scheduler().crew()->sources[fire.source], fire.members);
            REQUIRE(writes.ok());
            fire.commit.writes = std::move(*writes);
            next_ = std::move(fire.commit);
        }
        for (const ActivationId id : effects.starts) start_attempt(id);
        for (const ActivationId id : effects.cancels) {
            in_flight_.erase(
                std::remove_if(in_flight_.begin(), in_flight_.end(), [&](const InFlight& one) { return one.id == id; }),
                in_flight_.end());
        }
        wake_at_ = effects.wake_at;
    }

    void start_attempt(ActivationId id) {
        const Activation* live = scheduler().activation(id);
        if (live == nullptr || live->state != Activation::State::running) return;
        const SourceSpec& source = scheduler().crew()->sources[live->source];
        const auto body = bodies_.find(source.name);
        const Call call{*live, source, board_->view(live->snapshot), dice};
        InFlight one;
        one.id = id;
        one.attempt = live->attempt;
        one.answer = body == bodies_.end() ? Answer{} : body->second(call);
        if (one.answer.latency_ms > live->timeout_ms)
            one.answer = failure("took too long", OutcomeKind::timeout, live->timeout_ms);
        one.ends = {clock.ms + one.answer.latency_ms};
        ask_next(one.id, one.attempt, one.answer, 0);
        in_flight_.push_back(std::move(one));
        note_running();
    }

    // The next call of an attempt; answered at once by what the log has, where it has it.
    void ask_next(ActivationId id, std::uint32_t attempt, const Answer& answer, std::uint32_t made) {
        if (made >= answer.asks.size()) return;
        const ModelAsk& ask = answer.asks[made];
        Record called;
        called.kind = RecordKind::called;
        called.author = scheduler().crew()->sources[scheduler().activation(id)->source].name;
        called.activation = id;
        called.attempt = attempt;
        called.call = made + 1;
        called.target = ask.model.empty() ? CallTarget::service : CallTarget::model;
        called.word = ask.model.empty() ? "http://service" : ask.model;
        called.call_key = ask.key;
        if (const std::optional<Position> answered = scheduler().answer_of(ask.key)) {
            called.answered_by = *answered;
        } else {
            called.amounts = ask.reserve;
        }
        inbox_.push_back(std::move(called));
    }

    // True when the attempt is not over yet: a call has just been made, or waits for room or for another's answer.
    bool goes_on_calling(InFlight& one) {
        const Activation& live = *scheduler().activation(one.id);
        if (live.calls_made > 0 && live.calls.count(live.calls_made) > 0) {
            Record returned;
            returned.kind = RecordKind::returned;
            returned.author = scheduler().crew()->sources[live.source].name;
            returned.activation = one.id;
            returned.attempt = one.attempt;
            returned.call = live.calls_made;
            returned.outcome = static_cast<OutcomeCode>(OutcomeKind::ok);
            returned.amounts = one.answer.asks[live.calls_made - 1].spent;
            inbox_.push_back(std::move(returned));
            if (live.calls_made == one.answer.asks.size()) return false;
            ask_next(one.id, one.attempt, one.answer, live.calls_made);
            return true;
        }
        if (live.calls_made == one.answer.asks.size()) return false;
        const ModelAsk& ask = one.answer.asks[live.calls_made];
        const BudgetRoom room = scheduler().call_room(one.id, ask.model, ask.reserve);
        if (room.kind == BudgetRoom::Kind::spent && !scheduler().answer_of(ask.key)) {
            one.answer.outcome = OutcomeKind::budget;
            one.answer.error = room.message;
            budget_words_[one.id] = room.budget;
            return false;
        }
        ask_next(one.id, one.attempt, one.answer, live.calls_made);
        return true;
    }

    void note_running() {
        std::map<std::string, std::size_t> now;
        for (const auto& [id, live] : scheduler().activations()) {
            if (live.state != Activation::State::running) continue;
            ++now[scheduler().crew()->sources[live.source].name];
            ++now[""];
        }
        for (const auto& [name, count] : now) most_running[name] = std::max(most_running[name], count);
    }

    void end_attempt(std::size_t index) {
        InFlight one = std::move(in_flight_[index]);
        in_flight_.erase(in_flight_.begin() + static_cast<std::ptrdiff_t>(index));
        clock = std::max(clock, one.ends);
        const Activation* live = scheduler().activation(one.id);
        if (live == nullptr || live->attempt != one.attempt || live->state != Activation::State::running) return;
        if (!one.answer.asks.empty() && one.answer.outcome == OutcomeKind::ok && goes_on_calling(one)) {
            one.ends = {clock.ms + 10};
            in_flight_.push_back(std::move(one));
            return;
        }
        Record result;
        result.kind = RecordKind::result;
        result.author = scheduler().crew()->sources[live->source].name;
        result.activation = one.id;
        result.attempt = one.attempt;
        result.outcome = static_cast<OutcomeCode>(one.answer.outcome);
        result.duration_ms = one.answer.latency_ms;
        result.reason = one.answer.error;
        if (const auto word = budget_words_.find(one.id); word != budget_words_.end()) result.word = word->second;
        const std::string output = std::to_string(one.id.number) + "/" + std::to_string(one.attempt);
        result.parts = {output, ""};
        outputs_[output] = one.answer.writes;
        inbox_.push_back(std::move(result));
        if (one.answer.outcome == OutcomeKind::ok) inbox_.push_back(commit_of(*live, one.answer.writes));
    }

    Record commit_of(const Activation& live, std::vector<Write> writes) const {
        Record commit;
        commit.kind = RecordKind::commit;
        commit.author = scheduler().crew()->sources[live.source].name;
        commit.activation = live.id;
        commit.attempt = live.attempt;
        commit.snapshot = live.snapshot;
        commit.writes = std::move(writes);
        return commit;
    }

    Record abandoned(const Activation& orphan) const {
        Record record;
        record.kind = RecordKind::abandoned;
        record.author = scheduler().crew()->sources[orphan.source].name;
        record.activation = orphan.id;
        record.attempt = orphan.attempt;
        record.outcome = static_cast<OutcomeCode>(OutcomeKind::cancelled);
        record.word = "crash";
        record.reason = "its owner ended before it did";
        return record;
    }

    void ring() {
        clock = std::max(clock, *wake_at_);
        Record timer;
        timer.kind = RecordKind::timer;
        timer.author = "system";
        timer.time = *wake_at_;
        wake_at_.reset();
        inbox_.push_back(std::move(timer));
    }

    std::unique_ptr<StateStore> store_;
    std::shared_ptr<std::map<std::string, std::shared_ptr<const CrewSpec>>> crews_ =
        std::make_shared<std::map<std::string, std::shared_ptr<const CrewSpec>>>();
    std::shared_ptr<const CrewSpec> crew_;
    std::unique_ptr<Board> board_;
    std::unique_ptr<WriteLog> writer_;
    std::unique_ptr<Fold> fold_;
    std::mt19937 checkpoint_dice_{1};
    Checkpoint checkpoint_;
    std::map<std::string, Body> bodies_;
    RuleBody rule_body_;
    std::map<std::string, std::vector<Write>> outputs_;
    std::map<ActivationId, std::string> budget_words_;
    std::deque<Record> inbox_;
    std::optional<Record> next_;
    std::vector<InFlight> in_flight_;
    std::optional<TimeMs> wake_at_;
    Position last_submitted_;
};

}  // namespace stele::simulation

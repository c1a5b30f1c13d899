#include "runtime/replay_with.hpp"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "board/board.hpp"
#include "board/log/write_log.hpp"
#include "board/record_codec.hpp"
#include "board/record_terms.hpp"

namespace stele {
namespace {

struct Past {
    Position position;
    TimeMs time;
    std::vector<EntryChange> changes;
    bool begins_run = false;
};

// Which preconditions of one crew are true as the board goes on.
class Watcher {
public:
    /// A crew that meets a board goes through all that was, as the scheduler's does.
    void take(const CrewSpec& crew, const std::vector<Past>& past) {
        crew_ = &crew;
        std::vector<WatchedCondition> conditions;
        for (const SourceSpec& source : crew.sources) conditions.push_back({source.name, &source.when, true});
        matcher_ = make_incremental_matcher(std::move(conditions), [](const Match&) { return false; });
        now_ = {};
        for (const Past& one : past) feed(one);
    }

    void feed(const Past& one) {
        if (!matcher_) return;
        const bool later = one.time > now_;
        now_ = std::max(now_, one.time);
        if (one.begins_run) matcher_->begin_run(one.position, now_);
        if (!one.changes.empty()) {
            matcher_->commit(one.position, now_, one.changes);
        } else if (later) {
            matcher_->clock(one.position, now_);
        }
    }

    std::vector<MatchPtr> came() {
        if (!matcher_) return {};
        std::vector<MatchPtr> added = matcher_->take_delta().added;
        std::sort(added.begin(), added.end(), [](const MatchPtr& a, const MatchPtr& b) {
            return a->condition != b->condition ? a->condition < b->condition : a->bound < b->bound;
        });
        return added;
    }

    [[nodiscard]] const std::string& name_of(const Match& match) const { return crew_->sources[match.condition].name; }

private:
    const CrewSpec* crew_ = nullptr;
    std::unique_ptr<Matcher> matcher_;
    TimeMs now_;
};

class WakeLedger {
public:
    WakeLedger(const CrewSpec& other, std::size_t most) : most_(most) {
        for (const SourceSpec& source : other.sources) {
            SourceWakes& wakes = wakes_of(source.name);
            wakes.in_other = true;
            wakes.waits_for_rest = source.when.has_idle();
        }
    }

    void log_crew(const CrewSpec& crew) {
        for (const SourceSpec& source : crew.sources) {
            SourceWakes& wakes = wakes_of(source.name);
            wakes.in_log = true;
            wakes.waits_for_rest = wakes.waits_for_rest || source.when.has_idle();
        }
    }

    void ran(const std::string& source) { ++wakes_of(source).ran; }

    void take(Position at, TimeMs time, Watcher& log, Watcher& other) {
        const std::vector<MatchPtr> by_log = log.came();
        const std::vector<MatchPtr> by_other = other.came();
        for (const MatchPtr& match : by_log) note(*match, log.name_of(*match), at, false);
        for (const MatchPtr& match : by_other) note(*match, other.name_of(*match), at, true);
        for (const MatchPtr& match : by_log) settle(*match, log.name_of(*match), at, time, false);
        for (const MatchPtr& match : by_other) settle(*match, other.name_of(*match), at, time, true);
    }

    WakeComparison finish() {
        WakeComparison result;
        result.sources = std::move(sources_);
        result.differences = std::move(differences_);
        for (const SourceWakes& wakes : result.sources) result.difference_count += wakes.only_log + wakes.only_other;
        return result;
    }

private:
    // A match wakes once, however often it comes and goes.
    struct Seen {
        bool log = false;
        bool other = false;
        bool settled = false;
        std::size_t difference = SIZE_MAX;
    };

    void note(const Match& match, const std::string& source, Position at, bool other) {
        Seen& seen = seen_[match.key];
        bool& mine = other ? seen.other : seen.log;
        if (mine) return;
        mine = true;
        if (!seen.settled) return;
        // The other side had it before.
        SourceWakes& wakes = wakes_of(source);
        ++wakes.both;
        --(other ? wakes.only_log : wakes.only_other);
        if (seen.difference < differences_.size()) differences_[seen.difference].later = at;
    }

    void settle(const Match& match, const std::string& source, Position at, TimeMs time, bool other) {
        Seen& seen = seen_[match.key];
        if (seen.settled) return;
        seen.settled = true;
        SourceWakes& wakes = wakes_of(source);
        if (seen.log && seen.other) {
            ++wakes.both;
            return;
        }
        ++(other ? wakes.only_other : wakes.only_log);
        if (differences_.size() >= most_) return;
        seen.difference = differences_.size();
        differences_.push_back({at, time, source, match.bound, other, {}});
    }

    SourceWakes& wakes_of(const std::string& source) {
        const auto [known, fresh] = by_name_.try_emplace(source, sources_.size());
        if (fresh) sources_.emplace_back().source = source;
        return sources_[known->second];
    }

    std::size_t most_;
    std::vector<SourceWakes> sources_;
    std::map<std::string, std::size_t> by_name_;
    std::unordered_map<Hash128, Seen> seen_;
    std::vector<WakeDifference> differences_;
};

}  // namespace

Result<WakeComparison> compare_wakes(StateStore& store, const BoardInfo& info, Position until, const CrewSpec& other,
                                     const CrewReader& read_crew, std::size_t differences_max) {
    Result<std::unique_ptr<Board>> board = Board::open(store, info.number, info.family);
    if (!board.ok()) return board.error();
    const std::unique_ptr<WriteLog> log = make_store_log(store, info.number);

    WakeLedger comparison(other, differences_max);
    std::shared_ptr<const CrewSpec> crew;
    Watcher logged_watcher;
    Watcher other_watcher;
    std::vector<Past> past;
    std::uint64_t records = 0;
    Status bad = Done{};
    const Status walked = log->read({1}, [&](Position position, std::string_view bytes) {
        if (position > until) return false;
        const Result<LoggedRecord> logged =
            decode_frame(position, bytes, DecodeDepth::full, (*board)->entries().blob_loader());
        if (!logged.ok()) return bad = logged.error(), false;
        ++records;
        const Record& record = logged->record;
        Past now{position, record.time, {}, false};
        const bool brings_crew = (record.kind == RecordKind::run_started || record.kind == RecordKind::reconfigured) &&
                                 logged->verdict.accepted && !record.parts.empty();
        if (record.kind == RecordKind::commit && logged->verdict.accepted) {
            Result<std::vector<EntryChange>> changes = (*board)->changes_of(*logged);
            if (!changes.ok()) return bad = changes.error(), false;
            now.changes = std::move(*changes);
        }
        now.begins_run = brings_crew && record.kind == RecordKind::run_started;
        past.push_back(now);
        if (brings_crew) {
            Result<std::shared_ptr<const CrewSpec>> read =
                read_crew(record.parts.front(), record.base_directory, record.inputs);
            if (!read.ok()) return bad = read.error(), false;
            // The old one is watched until here.
            const std::shared_ptr<const CrewSpec> old = std::move(crew);
            crew = std::move(*read);
            comparison.log_crew(*crew);
            logged_watcher.take(*crew, past);
            other_watcher.take(other, past);
        } else {
            logged_watcher.feed(now);
            other_watcher.feed(now);
        }
        const bool begins =
            record.kind == RecordKind::claimed || (record.kind == RecordKind::commit && is_rule_commit(record));
        if (begins && logged->verdict.accepted && activation_of(*logged).number == position.number) {
            comparison.ran(record.author);
        }
        comparison.take(position, record.time, logged_watcher, other_watcher);
        return true;
    });
    if (!walked.ok()) return walked.error();
    if (!bad.ok()) return bad.error();
    WakeComparison result = comparison.finish();
    result.records = records;
    return result;
}

}  // namespace stele

#include "runtime/verify.hpp"

#include <map>
#include <set>

#include "board/entry_store.hpp"
#include "board/log/memory_store.hpp"
#include "board/log/write_log.hpp"
#include "board/record_codec.hpp"

namespace stele {
namespace {

std::string name_of(const DataDirectory::KeyRange& range) {
    switch (range.column) {
        case Column::entries:
            return "the versions of entries";
        case Column::terms:
            return "the index of records";
        default:
            break;
    }
    switch (range.from.front()) {
        case 'B':
            return "the head of the board";
        case 'R':
            return "the table of regions";
        case 'K':
            return "the keys of entries";
        case 'A':
            return "the adds of set unions";
        case 'I':
            return "the idempotency keys";
        case 'C':
            return "the checkpoint";
        default:
            return "the counts of regions";
    }
}

bool is_checkpoint(const DataDirectory::KeyRange& range) {
    return range.column == Column::meta && range.from.front() == 'C';
}

using Keys = std::map<std::string, std::string>;

Result<Keys> keys_in(const StateStore& store, const DataDirectory::KeyRange& range) {
    Keys keys;
    const Status scanned =
        store.scan(range.column, range.from, range.to, false, [&](std::string_view key, std::string_view value) {
            keys.emplace(key, value);
            return true;
        });
    if (!scanned.ok()) return scanned.error();
    return keys;
}

// "3 keys are missing, 1 is another", or nothing.
std::string difference_of(const Keys& found, const Keys& wanted) {
    std::uint64_t missing = 0;
    std::uint64_t other = 0;
    for (const auto& [key, value] : wanted) {
        const auto stored = found.find(key);
        if (stored == found.end()) {
            ++missing;
        } else if (stored->second != value) {
            ++other;
        }
    }
    const std::uint64_t extra = found.size() + missing - wanted.size();
    std::string text;
    const auto add = [&](std::uint64_t count, const char* what) {
        if (count > 0) text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + what;
    };
    add(missing, "missing");
    add(other, "other than the log makes them");
    add(extra, "too many");
    return text;
}

// The position of the last record in the log itself: what is stored about it may be wrong.
Result<Position> last_record(StateStore& store, BoardNumber board) { return make_store_log(store, board)->last(); }

// None where there is no checkpoint, or none to be read: then none will be made.
Result<Position> checkpoint_at(StateStore& store, const BoardInfo& info) {
    const EntryStore entries(store, info.number, info.family);
    const Result<std::optional<StoredCheckpoint>> checkpoint = entries.checkpoint();
    if (!checkpoint.ok() && checkpoint.error().code != ErrorCode::corrupt) return checkpoint.error();
    return checkpoint.ok() && checkpoint->has_value() ? (*checkpoint)->at : Position{};
}

Status check_log(StateStore& store, const BoardInfo& info, const std::optional<HeadMark>& mark, Position last,
                 VerifyReport& report) {
    EntryStore entries(store, info.number, info.family);
    const std::unique_ptr<WriteLog> log = make_store_log(store, info.number);
    ChainLink previous{};
    Position expected{1};
    bool marked = false;
    std::set<Position> emptied;  // records without some of their payload
    std::set<Position> named;    // those that were purged, by the records that say so
    const auto damaged = [&](Position at, const std::string& how) {
        report.damage.push_back("record " + std::to_string(at.number) + ": " + how);
        return false;
    };
    const Status walked = log->read({1}, [&](Position position, std::string_view bytes) {
        if (position != expected) return damaged(expected, "it is missing");
        const Result<ChainLink> link = link_of_frame(position, bytes, previous);
        if (!link.ok()) return damaged(position, link.error().message);
        const Result<LoggedRecord> logged = decode_frame(position, bytes, DecodeDepth::verified, entries.blob_loader());
        if (!logged.ok()) return damaged(position, logged.error().message);
        if (*link != logged->link) return damaged(position, "it breaks the chain of hashes");
        if (logged->purged) emptied.insert(position);
        if (logged->record.kind == RecordKind::purged && logged->verdict.accepted) {
            named.insert(logged->record.positions.begin(), logged->record.positions.end());
        }
        if (mark && mark->position == position) {
            marked = true;
            if (mark->link != std::string(link->begin(), link->end())) {
                return damaged(position, "it is not the record that the head mark names");
            }
        }
        previous = *link;
        ++expected.number;
        ++report.records;
        return true;
    });
    if (!walked.ok()) {
        if (walked.error().code != ErrorCode::corrupt) return walked;
        report.damage.push_back(walked.error().message);
    }
    for (const Position position : emptied) {
        if (named.count(position) == 0) damaged(position, "its payload is gone, and no record says that it was purged");
    }
    for (const Position position : named) {
        if (emptied.count(position) > 0) continue;
        damaged(position, "it was to be purged, and its payload is there: the purge was cut short; run it again");
    }
    if (report.damage.empty() && mark && mark->position && !marked) {
        report.damage.push_back("the log ends at record " + std::to_string(last.number) + ", but record " +
                                std::to_string(mark->position.number) + " had been written to disk");
    }
    return Done{};
}

}  // namespace

Result<VerifyReport> verify_board(StateStore& store, const BoardInfo& info, const std::optional<HeadMark>& mark,
                                  const CrewReader& read_crew) {
    VerifyReport report;
    const Result<Position> last = last_record(store, info.number);
    if (!last.ok()) {
        if (last.error().code != ErrorCode::corrupt) return last.error();
        report.damage.push_back(last.error().message);
        return report;
    }
    const Status checked = check_log(store, info, mark, *last, report);
    if (!checked.ok()) return checked.error();
    if (!report.damage.empty()) return report;
    const std::unique_ptr<StateStore> rebuilt = make_memory_store();
    const Result<Position> checkpoint = checkpoint_at(store, info);
    if (!checkpoint.ok()) return checkpoint.error();
    const Result<ReplayReport> replayed = verify_replay(store, info, *last, read_crew, rebuilt.get(), *checkpoint);
    if (!replayed.ok()) {
        if (replayed.error().code != ErrorCode::corrupt) return replayed.error();
        report.damage.push_back(replayed.error().message);
        return report;
    }
    report.difference = replayed->difference;
    report.state_hash = replayed->state_hash;
    if (report.difference) return report;
    for (const DataDirectory::KeyRange& range : DataDirectory::derived_ranges(info.number)) {
        const Result<Keys> wanted = keys_in(*rebuilt, range);
        if (!wanted.ok()) return wanted.error();
        // What led to it cannot all be worked out again.
        if (is_checkpoint(range) && *checkpoint && replayed->purged > 0) continue;
        const Result<Keys> found = keys_in(store, range);
        std::string difference;
        if (!found.ok()) {
            if (found.error().code != ErrorCode::corrupt) return found.error();
            difference = found.error().message;
        } else {
            report.keys += wanted->size();
            difference = difference_of(*found, *wanted);
        }
        if (!difference.empty()) report.stale.push_back(name_of(range) + ": " + difference);
    }
    return report;
}

Status repair_board(StateStore& store, const BoardInfo& info, const CrewReader& read_crew) {
    const Result<Position> last = last_record(store, info.number);
    if (!last.ok()) return last.error();
    const std::unique_ptr<StateStore> rebuilt = make_memory_store();
    const Result<Position> checkpoint = checkpoint_at(store, info);
    if (!checkpoint.ok()) return checkpoint.error();
    const Result<ReplayReport> replayed = verify_replay(store, info, *last, read_crew, rebuilt.get(), *checkpoint);
    if (!replayed.ok()) return replayed.error();
    if (replayed->difference) return Error{ErrorCode::corrupt, *replayed->difference};
    StoreBatch batch;
    for (const DataDirectory::KeyRange& range : DataDirectory::derived_ranges(info.number)) {
        const Result<Keys> wanted = keys_in(*rebuilt, range);
        if (!wanted.ok()) return wanted.error();
        const Result<Keys> found = keys_in(store, range);
        if (!found.ok()) return found.error();
        for (const auto& [key, value] : *found) {
            if (wanted->count(key) == 0) batch.erase(range.column, key);
        }
        for (const auto& [key, value] : *wanted) {
            const auto stored = found->find(key);
            if (stored == found->end() || stored->second != value) batch.put(range.column, key, value);
        }
    }
    const Status applied = store.apply(batch);
    return applied.ok() ? store.sync() : applied;
}

}  // namespace stele

#include "runtime/purge.hpp"

#include <algorithm>

#include "board/board.hpp"
#include "board/bytes.hpp"
#include "board/entry_store.hpp"
#include "board/log/buffered_store.hpp"
#include "board/log/keys.hpp"
#include "board/log/write_log.hpp"
#include "board/record_codec.hpp"
#include "board/record_terms.hpp"
#include "runtime/verify.hpp"

namespace stele {
namespace {

/// A text of an entry that is shorter than this says too little to be looked for by itself.
constexpr std::size_t mark_bytes_min = 8;
constexpr std::size_t stays_max = 20;

// The longest stretch that stands the same however often the text was escaped on its way through JSON.
std::string longest_plain_run(const std::string& text) {
    std::string longest;
    std::string run;
    for (const char c : text) {
        const bool plain = static_cast<unsigned char>(c) >= 0x20 && static_cast<unsigned char>(c) < 0x7F && c != '"' &&
                           c != '\\' && c != '/';
        if (plain) {
            run.push_back(c);
            if (run.size() > longest.size()) longest = run;
        } else {
            run.clear();
        }
    }
    return longest;
}

void note_mark(const std::string& text, std::set<std::string>& marks) {
    if (text.size() < mark_bytes_min) return;
    const std::string run = longest_plain_run(text);
    marks.insert(run.size() >= mark_bytes_min ? run : text);
}

// A text that was named, as it stands in JSON, and in JSON that stands in JSON.
std::set<std::string> spellings_of(const std::string& text) {
    std::set<std::string> spellings;
    std::string spelled = text;
    for (int depth = 0; depth < 3; ++depth) {
        spellings.insert(spelled);
        const std::string escaped = to_json(Value(spelled));
        spelled = escaped.substr(1, escaped.size() - 2);
    }
    return spellings;
}

void note_texts(const Value& value, std::set<std::string>& marks) {
    if (value.is_string()) note_mark(value.as_string(), marks);
    if (value.is_array()) {
        for (const Value& element : value.as_array()) note_texts(element, marks);
    }
    if (value.is_object()) {
        for (const Value::Member& member : value.as_object()) note_texts(member.second, marks);
    }
}

bool tells(std::string_view text, const std::set<std::string>& marks) {
    return std::any_of(marks.begin(), marks.end(),
                       [&](const std::string& mark) { return text.find(mark) != std::string_view::npos; });
}

class Planner {
public:
    Planner(StateStore& store, const BoardInfo& board, Position last, const PurgeWish& wish)
        : log_(make_store_log(store, board.number)),
          entries_(store, board.number, board.family),
          board_(board),
          last_(last),
          wish_(wish) {}

    Result<PurgePlan> plan() {
        Status done = entries_.load();
        if (done.ok()) done = check_wish();
        for (const std::string& text : wish_.texts) named_.merge(spellings_of(text));
        if (done.ok()) done = walk([this](const LoggedRecord& logged) { return gather(logged); });
        if (!done.ok()) return done.error();
        plan_.marks.insert(named_.begin(), named_.end());
        done = walk([this](const LoggedRecord& logged) { return look_at(logged); });
        if (done.ok()) done = note_active();
        if (!done.ok()) return done.error();
        for (const auto& [position, parts] : plan_.parts) {
            if (position > board_.forked_at) continue;
            return Error{ErrorCode::refused, "record " + std::to_string(position.number) + " belongs to board \"" +
                                                 board_.parent_name +
                                                 "\", off which this one was forked: purge it there"};
        }
        return std::move(plan_);
    }

private:
    Status walk(const std::function<Status(const LoggedRecord&)>& visit) {
        Status bad = Done{};
        const Status walked = log_->read({1}, [&](Position position, std::string_view bytes) {
            if (position > last_) return false;
            const Result<LoggedRecord> logged =
                decode_frame(position, bytes, DecodeDepth::full, entries_.blob_loader());
            bad = logged.ok() ? visit(*logged) : Status(logged.error());
            return bad.ok();
        });
        return walked.ok() ? bad : walked;
    }

    Status check_wish() {
        for (const EntryId& id : wish_.entries) {
            const RegionState* region = entries_.region(id.region);
            const Result<std::optional<EntryState>> state = region == nullptr
                                                                ? Result<std::optional<EntryState>>(std::nullopt)
                                                                : entries_.newest(region->number, id.number);
            if (!state.ok()) return state.error();
            if (!state->has_value()) return Error{ErrorCode::not_found, "there is no entry " + to_text(id)};
        }
        for (const std::string& text : wish_.texts) {
            if (text.size() >= 3) continue;
            return Error{ErrorCode::invalid_argument,
                         "\"" + text + "\" stands in too much: a text to purge has at least 3 bytes"};
        }
        return Done{};
    }

    // Which entries are meant, and what those that were asked for said. An entry loses all its contents or none:
    // with a part of them it could not be told what the others come to.
    Status gather(const LoggedRecord& logged) {
        for (std::size_t line = 0; line < logged.record.writes.size(); ++line) {
            const Write& write = logged.record.writes[line];
            const EntryId id = entry_of(logged, line);
            if (id.number != 0 && write.op != WriteOp::retract && tells(write.text, named_)) meant_.insert(id);
            if (std::find(wish_.entries.begin(), wish_.entries.end(), id) == wish_.entries.end()) continue;
            meant_.insert(id);
            if (write.op == WriteOp::increment) {
                return Error{ErrorCode::invalid_argument,
                             "an increment says nothing but a number: retract it instead of purging it"};
            }
            if (write.purged || write.op == WriteOp::retract) continue;
            plan_.marks.insert(write.text);
            const Result<Value> content = parse_json(write.text);
            if (content.ok()) note_texts(*content, plan_.marks);
        }
        return Done{};
    }

    [[nodiscard]] bool is_meant(const LoggedRecord& logged, std::size_t line) const {
        return meant_.count(entry_of(logged, line)) > 0;
    }

    // Also where the write changed nothing: an equal add says it as well.
    static EntryId entry_of(const LoggedRecord& logged, std::size_t line) {
        if (!logged.verdict.accepted || line >= logged.verdict.outcomes.size()) return {};
        return {resolve_region(logged.record.writes[line].region, logged.record.author),
                logged.verdict.outcomes[line].number};
    }

    Status look_at(const LoggedRecord& logged) {
        const Record& record = logged.record;
        std::set<std::size_t> parts;
        if (record.kind == RecordKind::commit) {
            for (std::size_t line = 0; line < record.writes.size(); ++line) look_at_write(logged, line, parts);
        } else if (record.kind == RecordKind::run_started || record.kind == RecordKind::reconfigured) {
            if (!record.parts.empty() && tells(record.parts.front(), plan_.marks)) stays(logged, "the crew's text");
            if (tells(record.inputs, plan_.marks)) stays(logged, "an input of the crew");
        } else {
            for (std::size_t part = 0; part < record.parts.size(); ++part) {
                if (tells(record.parts[part], plan_.marks)) parts.insert(part);
            }
        }
        look_at_header(logged);
        bool quoted = false;
        for (const Refusal& refusal : logged.verdict.refusals) {
            quoted = quoted || tells(refusal.message, plan_.marks) ||
                     (!refusal.current.is_null() && tells(to_json(refusal.current), plan_.marks));
        }
        if (!parts.empty() || quoted) plan_.parts[logged.position] = std::move(parts);
        return Done{};
    }

    void look_at_write(const LoggedRecord& logged, std::size_t line, std::set<std::size_t>& parts) {
        const Write& write = logged.record.writes[line];
        if (tells(write.why, plan_.marks)) stays(logged, "the reason of a write");
        if (write.op == WriteOp::retract) return;
        const EntryId id = entry_of(logged, line);
        if (is_meant(logged, line)) {
            plan_.entries.insert(id);
            if (!write.purged) parts.insert(line);
            return;
        }
        if (write.purged || !tells(write.text, plan_.marks)) return;
        if (id.number == 0) {
            parts.insert(line);
        } else {
            plan_.also_in.insert(id);
        }
    }

    void look_at_header(const LoggedRecord& logged) {
        const Record& record = logged.record;
        if (tells(record.reason, plan_.marks)) stays(logged, "its reason");
        if (tells(record.word, plan_.marks)) stays(logged, "its word");
        if (tells(record.cost, plan_.marks)) stays(logged, "its cost");
        for (const std::string& note : record.notes) {
            if (tells(note, plan_.marks)) stays(logged, "a note");
        }
    }

    void stays(const LoggedRecord& logged, const std::string& what) {
        if (plan_.stays.size() < stays_max) {
            plan_.stays.push_back("record " + std::to_string(logged.position.number) + ": " + what);
        } else if (plan_.stays.size() == stays_max) {
            plan_.stays.emplace_back("and more");
        }
    }

    Status note_active() {
        for (const EntryId& id : plan_.entries) {
            const RegionState* region = entries_.region(id.region);
            if (region == nullptr) continue;
            const Result<std::optional<EntryState>> state = entries_.newest(region->number, id.number);
            if (!state.ok()) return state.error();
            if (state->has_value() && (*state)->active) plan_.active.insert(id);
        }
        return Done{};
    }

    std::unique_ptr<WriteLog> log_;
    EntryStore entries_;
    const BoardInfo& board_;
    Position last_;
    const PurgeWish& wish_;
    std::set<std::string> named_;  // the texts of the wish
    std::set<EntryId> meant_;
    PurgePlan plan_;
};

}  // namespace

Result<PurgePlan> plan_purge(StateStore& store, const BoardInfo& board, Position last, const PurgeWish& wish) {
    return Planner(store, board, last, wish).plan();
}

Status purge_payloads(StateStore& store, const BoardInfo& board, const PurgePlan& plan, const CrewReader& read_crew) {
    StoreBatch batch;
    std::map<Hash128, std::uint64_t> uses;  // of blobs, in what stays
    std::set<Hash128> dropped;
    Status bad = Done{};
    const Status walked =
        make_store_log(store, board.number)->read({1}, [&](Position position, std::string_view bytes) {
            const Result<std::vector<Hash128>> before = blobs_of_frame(position, bytes);
            if (!before.ok()) return bad = before.error(), false;
            const auto planned = plan.parts.find(position);
            if (planned == plan.parts.end()) {
                for (const Hash128& mac : *before) ++uses[mac];
                return true;
            }
            Result<std::string> frame = purge_frame(
                position, bytes, [&](std::size_t part) { return planned->second.count(part) > 0; },
                [&](std::string_view text) { return tells(text, plan.marks); });
            if (!frame.ok()) return bad = frame.error(), false;
            const Result<std::vector<Hash128>> after = blobs_of_frame(position, *frame);
            if (!after.ok()) return bad = after.error(), false;
            dropped.insert(before->begin(), before->end());
            for (const Hash128& mac : *after) ++uses[mac];
            std::string key;
            append_be64(key, board.number.number);
            append_be64(key, position.number);
            batch.put(Column::log, std::move(key), std::move(*frame));
            return true;
        });
    if (!walked.ok()) return walked;
    if (!bad.ok()) return bad;
    for (const Hash128& mac : dropped) {
        const auto left = uses.find(mac);
        if (left == uses.end()) {
            batch.erase(Column::blobs, blob_key(board.number, 'b', mac));
            batch.erase(Column::blobs, blob_key(board.number, 'c', mac));
        } else {
            ByteWriter count;
            count.varint(left->second);
            batch.put(Column::blobs, blob_key(board.number, 'c', mac), count.take());
        }
    }
    // What was derived from the log is made anew from what is left of it; all of it is stored, or nothing.
    BufferedStore buffered(store);
    Status done = buffered.apply(batch);
    if (done.ok()) done = repair_board(buffered, board, read_crew);
    if (done.ok()) done = buffered.flush();
    return done.ok() ? store.sync() : done;
}

}  // namespace stele

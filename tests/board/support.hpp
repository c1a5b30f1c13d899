// A board on a store in memory and a writer's short hand: commits take the way that the fold gives
// them (decide, verdict, frame, apply, append), so tests see what a run would see. Besides, a naive
// model of the same laws that keeps everything in plain maps: the oracle of the property tests.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "board/board.hpp"
#include "board/log/memory_store.hpp"
#include "board/log/write_log.hpp"

namespace stele::board_test {

inline Value json(std::string_view text) {
    Result<Value> value = parse_json(text);
    REQUIRE_MESSAGE(value.ok(), "this test has no JSON: " << std::string(text));
    return *value;
}

inline RegionSpec region(std::string name, PolicyKind policy, std::vector<std::string> key = {}) {
    RegionSpec spec;
    spec.name = std::move(name);
    spec.policy = policy;
    spec.key = std::move(key);
    return spec;
}

inline RegionSpec owned_region(std::string name, std::string owner, std::vector<std::string> key = {}) {
    RegionSpec spec = region(std::move(name), PolicyKind::single_writer, std::move(key));
    spec.owner = std::move(owner);
    return spec;
}

inline RegionSpec scratch_region(std::string_view author, PolicyKind policy, std::vector<std::string> key = {}) {
    RegionSpec spec = region(scratch_region_of(author), policy, std::move(key));
    spec.scratch = true;
    return spec;
}

inline Write write(WriteOp op, std::string region, Value content) {
    Write made;
    made.op = op;
    made.region = std::move(region);
    made.content = std::move(content);
    made.seal();
    return made;
}
inline Write write(WriteOp op, std::string region, const char* content) {
    return write(op, std::move(region), json(content));
}

/// A write that names an entry: retract, or remove by number.
inline Write take(WriteOp op, std::string region, std::uint64_t number, std::uint32_t expected_version = 0) {
    Write made = write(op, std::move(region), Value());
    made.number = number;
    made.expected_version = expected_version;
    return made;
}

inline Write replace(std::string region, std::uint64_t number, std::uint32_t expected_version, Value content) {
    Write made = write(WriteOp::replace, std::move(region), std::move(content));
    made.number = number;
    made.expected_version = expected_version;
    return made;
}

inline Write increment(std::string region, std::int64_t by) {
    return write(WriteOp::increment, std::move(region), Value::object({{"by", by}}));
}

class TestBoard {
public:
    using MayWrite = std::function<bool(std::string_view author, std::string_view region, WriteOp op)>;
    using HasSeen = std::function<bool(const EntryId& entry)>;

    explicit TestBoard(std::vector<RegionSpec> regions) : regions_(std::move(regions)) {
        open();
        Record run;
        run.kind = RecordKind::run_started;
        run.author = "person";
        run.parts = {"a crew"};
        append(std::move(run), Verdict{}, nullptr);
    }

    /// What the fold does with a commit. A refused one becomes a record too.
    Decision commit(const std::string& author, std::vector<Write> writes, std::optional<Position> snapshot = {},
                    std::string idempotency_key = {}) {
        Record record;
        record.kind = RecordKind::commit;
        record.author = author;
        record.time = {++time_ms_};
        record.snapshot = snapshot.value_or(last());
        record.idempotency_key = std::move(idempotency_key);
        record.writes = std::move(writes);

        Result<Decision> decided = board_->decide(record, authority(author, record.snapshot));
        REQUIRE(decided.ok());
        Decision decision = std::move(*decided);
        Verdict verdict;
        verdict.accepted = decision.accepted();
        verdict.refusals = decision.refusals;
        verdict.state_hash = board_->state_hash();
        if (verdict.accepted) {
            verdict.outcomes = decision.outcomes;
            verdict.state_hash = board_->state_hash_after(decision);
        }
        append(std::move(record), verdict, verdict.accepted ? &decision : nullptr);
        REQUIRE(board_->state_hash() == verdict.state_hash);
        return decision;
    }

    /// Reads everything from the store again, as the next process would.
    void reopen() {
        board_.reset();
        open();
    }

    [[nodiscard]] Board& board() { return *board_; }
    [[nodiscard]] StateStore& store() { return *store_; }
    [[nodiscard]] Position last() const { return board_->meta().last; }
    [[nodiscard]] View view() const { return board_->view(last()); }
    [[nodiscard]] View view(Position at) const { return board_->view(at); }
    [[nodiscard]] const std::vector<std::shared_ptr<const LoggedRecord>>& logged() const { return logged_; }

    /// The active entry; fails the test when there is none.
    [[nodiscard]] EntryPtr entry(const std::string& region, std::uint64_t number) const {
        const Result<EntryPtr> found = view().find({region, number});
        REQUIRE(found.ok());
        REQUIRE_MESSAGE(*found != nullptr, "there is no " << region << "/" << number);
        return *found;
    }
    [[nodiscard]] bool is_active(const std::string& region, std::uint64_t number) const {
        const Result<EntryPtr> found = view().find({region, number});
        REQUIRE(found.ok());
        return *found != nullptr;
    }
    [[nodiscard]] std::vector<EntryPtr> entries(const std::string& region) const { return entries(view(), region); }
    [[nodiscard]] static std::vector<EntryPtr> entries(const View& view, const std::string& region,
                                                       bool reverse = false) {
        std::vector<EntryPtr> found;
        const Status walked = view.for_each(region, reverse, [&](const EntryPtr& entry) {
            found.push_back(entry);
            return true;
        });
        REQUIRE(walked.ok());
        return found;
    }
    [[nodiscard]] const RegionState& state(const std::string& region) const {
        const RegionState* found = board_->entries().region(region);
        REQUIRE(found != nullptr);
        return *found;
    }
    [[nodiscard]] std::vector<EntryChange> changes(const LoggedRecord& record) const {
        Result<std::vector<EntryChange>> changes = board_->changes_of(record);
        REQUIRE(changes.ok());
        return std::move(*changes);
    }

    [[nodiscard]] Authority authority(const std::string& author, Position snapshot) const {
        Authority made;
        made.author = author;
        made.snapshot = snapshot;
        made.acts_as_owner = acts_as_owner;
        made.may_write = [this, author](std::string_view region, WriteOp op) { return may_write(author, region, op); };
        made.has_seen = has_seen;
        if (!made.has_seen) {
            made.has_seen = [seen = view(snapshot)](const EntryId& id) {
                const Result<EntryPtr> found = seen.find(id);
                return found.ok() && *found != nullptr;
            };
        }
        return made;
    }

    // How commits are judged; a test that is about grants or cites replaces them. By default
    // everything is granted but taking back what others wrote.
    MayWrite may_write = [](std::string_view, std::string_view, WriteOp op) { return op != WriteOp::retract; };
    HasSeen has_seen;  // none: what the writer's snapshot shows
    bool acts_as_owner = false;

private:
    void open() {
        Result<std::unique_ptr<Board>> opened = Board::open(*store_, board_number, family);
        REQUIRE(opened.ok());
        board_ = std::move(*opened);
        REQUIRE(board_->declare(regions_).ok());
        log_ = make_store_log(*store_, board_number);
    }

    void append(Record record, const Verdict& verdict, const Decision* decision) {
        auto logged = std::make_shared<LoggedRecord>();
        logged->position = board_->next_position();
        logged->record = std::move(record);
        logged->verdict = verdict;
        StoreBatch batch;
        const Salt salt{7};
        EncodedFrame frame = encode_frame(logged->record, verdict, logged->position, board_->meta().link, salt,
                                          board_->entries().blob_storer(batch));
        logged->link = frame.link;
        board_->apply(logged->record, decision, frame.link, batch);
        board_->entries().remember(logged);
        const LogFrame frames[] = {{logged->position, std::move(frame.bytes)}};
        REQUIRE(log_->append(frames, std::move(batch)).ok());
        logged_.push_back(std::move(logged));
    }

    static constexpr BoardNumber board_number{3};
    static constexpr FamilyKey family{1, 2, 3};

    std::vector<RegionSpec> regions_;
    std::unique_ptr<StateStore> store_ = make_memory_store();
    std::unique_ptr<Board> board_;
    std::unique_ptr<WriteLog> log_;
    std::vector<std::shared_ptr<const LoggedRecord>> logged_;
    std::int64_t time_ms_ = 1'700'000'000'000;
};

/// The refusals, one a line, for messages.
inline std::string refusals_text(const Decision& decision) {
    std::string text;
    for (const Refusal& refusal : decision.refusals) {
        text += std::to_string(refusal.line) + " " + to_text(refusal.rule) + ": " + refusal.message + "\n";
    }
    return text;
}

inline void check_accepted(const Decision& decision) { CHECK_MESSAGE(decision.accepted(), refusals_text(decision)); }

/// Exactly one refusal: of this line, by this rule, with these words in its message.
inline void check_refused(const Decision& decision, std::uint32_t line, RefusalRule rule, std::string_view words) {
    const std::string text = refusals_text(decision);
    REQUIRE_MESSAGE(decision.refusals.size() == 1, "expected one refusal, got:\n" << text);
    const Refusal& refusal = decision.refusals.front();
    CHECK_MESSAGE(refusal.line == line, text);
    CHECK_MESSAGE(refusal.rule == rule, text);
    CHECK_MESSAGE(refusal.message.find(words) != std::string::npos, text);
    CHECK_MESSAGE(refusal.current.is_null() == (rule != RefusalRule::conflict), text);
}

// The model: each law written down a second time, the slow and obvious way. It keeps every add of
// a set union apart, searches keys by walking over all entries, and copies the world for a commit.

struct ModelAdd {
    std::uint64_t position = 0;
    std::string author;
    Value content;
};

struct ModelEntry {
    std::uint64_t number = 0;
    std::uint32_t version = 1;
    bool active = true;
    std::uint64_t position = 0;
    std::string author;
    Value content;
    std::vector<ModelAdd> adds;
};

struct ModelOutcome {
    WriteOutcome::Effect effect = WriteOutcome::Effect::none;
    std::uint64_t number = 0;
    std::uint32_t version = 0;
};

using ModelState = std::map<std::string, std::map<std::uint64_t, ModelEntry>>;

class ModelBoard {
public:
    using MayWrite = TestBoard::MayWrite;

    ModelBoard(const std::vector<RegionSpec>& regions, MayWrite may_write) : may_write_(std::move(may_write)) {
        for (const RegionSpec& spec : regions) {
            specs_[spec.name] = spec;
            state_[spec.name];
        }
    }

    /// Takes a commit in if every write is lawful; the refused lines with their rules otherwise.
    std::map<std::uint32_t, RefusalRule> commit(const std::string& author, const std::vector<Write>& writes,
                                                std::uint64_t snapshot, std::uint64_t position) {
        author_ = author;
        snapshot_ = snapshot;
        position_ = position;
        staged_ = state_;
        outcomes_.assign(writes.size(), {});
        std::map<std::uint32_t, RefusalRule> refused;
        for (std::size_t i = 0; i < writes.size(); ++i) {
            const std::optional<RefusalRule> rule = judge(writes[i], outcomes_[i]);
            if (rule) refused[static_cast<std::uint32_t>(i + 1)] = *rule;
        }
        if (refused.empty()) state_ = staged_;
        return refused;
    }

    [[nodiscard]] const ModelState& state() const { return state_; }
    [[nodiscard]] const std::vector<ModelOutcome>& outcomes() const { return outcomes_; }
    [[nodiscard]] const std::map<std::string, RegionSpec>& specs() const { return specs_; }

    [[nodiscard]] static std::optional<std::int64_t> sum(const std::map<std::uint64_t, ModelEntry>& entries) {
        __extension__ __int128 sum = 0;
        for (const auto& [number, entry] : entries) {
            if (entry.active) sum += entry.content.find("by")->as_int();
        }
        if (sum > INT64_MAX || sum < INT64_MIN) return std::nullopt;
        return static_cast<std::int64_t>(sum);
    }

private:
    using Effect = WriteOutcome::Effect;

    std::optional<RefusalRule> judge(const Write& write, ModelOutcome& outcome) {
        const bool to_scratch = write.region == "scratch";
        const std::string name = to_scratch ? "scratch/" + author_ : write.region;
        const auto found = specs_.find(name);
        if (found == specs_.end() || (found->second.scratch && !to_scratch)) return RefusalRule::unknown;
        spec_ = &found->second;
        entries_ = &staged_[name];
        if (!takes(spec_->policy, write.op)) return RefusalRule::unknown;
        if (write.op != WriteOp::retract && !may_write_(author_, name, write.op)) return RefusalRule::grant;
        switch (write.op) {
            case WriteOp::insert:
                return insert(write, outcome);
            case WriteOp::increment:
                return increment(write, outcome);
            case WriteOp::put:
                return put(write, outcome);
            case WriteOp::replace:
                return replace(write, outcome);
            case WriteOp::add:
                return add(write, outcome);
            case WriteOp::remove:
                return remove(write, outcome);
            case WriteOp::retract:
                return retract(write, outcome);
        }
        return RefusalRule::unknown;
    }

    static bool takes(PolicyKind policy, WriteOp op) {
        if (op == WriteOp::retract) return true;
        switch (policy) {
            case PolicyKind::append_only:
                return op == WriteOp::insert;
            case PolicyKind::set_union:
                return op == WriteOp::add || op == WriteOp::remove;
            case PolicyKind::single_writer:
            case PolicyKind::last_writer_wins:
                return op == WriteOp::put;
            case PolicyKind::cas:
                return op == WriteOp::insert || op == WriteOp::replace;
            case PolicyKind::counter:
                return op == WriteOp::increment;
        }
        return false;
    }

    std::optional<RefusalRule> insert(const Write& write, ModelOutcome& outcome) {
        ModelEntry* same = spec_->policy == PolicyKind::cas && !spec_->key.empty() ? with_key(write.content) : nullptr;
        if (same == nullptr) return fresh(write.content, outcome);
        if (same->active) return RefusalRule::conflict;
        return next(*same, write.content, outcome);
    }

    std::optional<RefusalRule> increment(const Write& write, ModelOutcome& outcome) {
        const std::map<std::uint64_t, ModelEntry> before = *entries_;
        fresh(write.content, outcome);
        if (sum(*entries_)) return std::nullopt;
        *entries_ = before;
        return RefusalRule::overflow;
    }

    std::optional<RefusalRule> put(const Write& write, ModelOutcome& outcome) {
        if (spec_->policy == PolicyKind::single_writer && spec_->owner != author_) return RefusalRule::owner;
        ModelEntry* same = with_key(write.content);
        if (same == nullptr) return fresh(write.content, outcome);
        if (spec_->policy == PolicyKind::single_writer && is_unseen(same->position)) return RefusalRule::conflict;
        return next(*same, write.content, outcome);
    }

    std::optional<RefusalRule> replace(const Write& write, ModelOutcome& outcome) {
        if (write.expected_version == 0) return RefusalRule::unknown;
        const auto found = entries_->find(write.number);
        if (found == entries_->end()) return RefusalRule::unknown;
        ModelEntry& entry = found->second;
        if (!entry.active || entry.version != write.expected_version) return RefusalRule::conflict;
        if (!spec_->key.empty() && !same_key(entry.content, write.content)) return RefusalRule::schema;
        return next(entry, write.content, outcome);
    }

    std::optional<RefusalRule> add(const Write& write, ModelOutcome& outcome) {
        const ModelAdd made{position_, author_, write.content};
        ModelEntry* same = with_key(write.content);
        if (same == nullptr) {
            fresh(merged({made}), outcome);
            entries_->rbegin()->second.adds = {made};
            return std::nullopt;
        }
        same->adds.push_back(made);
        return settle(*same, outcome);
    }

    std::optional<RefusalRule> remove(const Write& write, ModelOutcome& outcome) {
        ModelEntry* entry = nullptr;
        if (write.number != 0) {
            const auto found = entries_->find(write.number);
            if (found == entries_->end()) return RefusalRule::unknown;
            entry = &found->second;
        } else {
            entry = with_key(write.content);
        }
        if (entry == nullptr) return std::nullopt;
        std::vector<ModelAdd> unseen;
        for (const ModelAdd& add : entry->adds) {
            if (is_unseen(add.position)) unseen.push_back(add);
        }
        entry->adds = unseen;
        return settle(*entry, outcome);
    }

    std::optional<RefusalRule> retract(const Write& write, ModelOutcome& outcome) {
        const auto found = entries_->find(write.number);
        if (found == entries_->end() || !found->second.active) return RefusalRule::unknown;
        ModelEntry& entry = found->second;
        if (entry.author != author_ && !may_write_(author_, spec_->name, WriteOp::retract)) return RefusalRule::grant;
        if (write.expected_version != 0 && write.expected_version != entry.version) return RefusalRule::conflict;
        const bool versioned = spec_->policy != PolicyKind::append_only && spec_->policy != PolicyKind::counter;
        if (write.expected_version == 0 && versioned && is_unseen(entry.position)) return RefusalRule::conflict;
        entry.active = false;
        if (spec_->policy == PolicyKind::counter && !sum(*entries_)) {
            entry.active = true;
            return RefusalRule::overflow;
        }
        entry.position = position_;
        entry.adds.clear();
        outcome = {Effect::removed, entry.number, entry.version};
        return std::nullopt;
    }

    // What a set union's entry comes to once its adds have changed.
    std::optional<RefusalRule> settle(ModelEntry& entry, ModelOutcome& outcome) {
        outcome = {Effect::none, entry.number, entry.version};
        if (entry.adds.empty()) {
            if (!entry.active) return std::nullopt;
            entry.active = false;
            entry.position = position_;
            outcome.effect = Effect::removed;
            return std::nullopt;
        }
        const Value content = merged(entry.adds);
        if (entry.active && content == entry.content) return std::nullopt;
        return next(entry, content, outcome);
    }

    [[nodiscard]] Value merged(const std::vector<ModelAdd>& adds) const {
        if (spec_->key.empty()) return adds.front().content;
        Value content = Value::object({});
        for (const std::string& field : spec_->key) {
            if (!field_of(adds.front().content, field).is_null()) {
                content.set(field, field_of(adds.front().content, field));
            }
        }
        for (const auto& [field, law] : spec_->merge) {
            Value::Array values;
            for (const ModelAdd& add : adds) {
                const Value value = field_of(add.content, field);
                if (value.is_null()) continue;
                if (law == MergeLaw::set_union && value.is_array()) {
                    values.insert(values.end(), value.as_array().begin(), value.as_array().end());
                } else {
                    values.push_back(value);
                }
            }
            const bool any = std::any_of(adds.begin(), adds.end(), [&field = field](const ModelAdd& add) {
                return !field_of(add.content, field).is_null();
            });
            if (!any) continue;
            std::sort(values.begin(), values.end(), [](const Value& a, const Value& b) { return compare(a, b) < 0; });
            values.erase(std::unique(values.begin(), values.end()), values.end());
            switch (law) {
                case MergeLaw::min:
                    content.set(field, values.front());
                    break;
                case MergeLaw::max:
                    content.set(field, values.back());
                    break;
                case MergeLaw::set_union:
                    content.set(field, Value(std::move(values)));
                    break;
            }
        }
        return content;
    }

    std::optional<RefusalRule> fresh(const Value& content, ModelOutcome& outcome) {
        ModelEntry entry;
        entry.number = entries_->empty() ? 1 : entries_->rbegin()->first + 1;
        entry.position = position_;
        entry.author = author_;
        entry.content = content;
        outcome = {Effect::added, entry.number, 1};
        entries_->emplace(entry.number, std::move(entry));
        return std::nullopt;
    }

    std::optional<RefusalRule> next(ModelEntry& entry, const Value& content, ModelOutcome& outcome) const {
        outcome = {entry.active ? Effect::updated : Effect::added, entry.number, entry.version + 1};
        entry.version += 1;
        entry.active = true;
        entry.position = position_;
        entry.author = author_;
        entry.content = content;
        return std::nullopt;
    }

    [[nodiscard]] bool is_unseen(std::uint64_t position) const { return position > snapshot_ && position != position_; }

    ModelEntry* with_key(const Value& content) {
        for (auto& [number, entry] : *entries_) {
            if (same_key(entry.content, content)) return &entry;
        }
        return nullptr;
    }
    [[nodiscard]] bool same_key(const Value& a, const Value& b) const {
        if (spec_->policy == PolicyKind::set_union && spec_->key.empty()) return a == b;
        return std::all_of(spec_->key.begin(), spec_->key.end(),
                           [&](const std::string& field) { return field_of(a, field) == field_of(b, field); });
    }
    static Value field_of(const Value& content, const std::string& field) {
        const Value* value = content.find(field);
        return value == nullptr ? Value() : *value;
    }

    MayWrite may_write_;
    std::map<std::string, RegionSpec> specs_;
    ModelState state_;
    ModelState staged_;
    std::vector<ModelOutcome> outcomes_;

    // The write in hand.
    std::string author_;
    std::uint64_t snapshot_ = 0;
    std::uint64_t position_ = 0;
    const RegionSpec* spec_ = nullptr;
    std::map<std::uint64_t, ModelEntry>* entries_ = nullptr;
};

/// The first difference between a region as a view shows it and as the model had it; empty if none.
inline std::string difference(const std::vector<EntryPtr>& shown, const std::map<std::uint64_t, ModelEntry>& expected) {
    std::size_t at = 0;
    for (const auto& [number, entry] : expected) {
        if (!entry.active) continue;
        if (at == shown.size()) return "entry " + std::to_string(number) + " is not shown";
        const Entry& other = *shown[at++];
        if (other.id.number != number) {
            return "entry " + std::to_string(other.id.number) + " is shown instead of " + std::to_string(number);
        }
        if (other.version != entry.version || other.position.number != entry.position || other.author != entry.author ||
            other.content != entry.content || !other.active) {
            return "entry " + std::to_string(number) + " is " + to_json(other.content) + " version " +
                   std::to_string(other.version) + " by " + other.author + " of " +
                   std::to_string(other.position.number) + ", not " + to_json(entry.content) + " version " +
                   std::to_string(entry.version) + " by " + entry.author + " of " + std::to_string(entry.position);
        }
    }
    return at == shown.size() ? "" : "entry " + std::to_string(shown[at]->id.number) + " should not be there";
}

}  // namespace stele::board_test

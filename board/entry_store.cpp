#include "board/entry_store.hpp"

#include <algorithm>
#include <cassert>
#include <utility>

#include "board/bytes.hpp"
#include "board/limits.hpp"
#include "board/log/keys.hpp"

namespace stele {
namespace {

constexpr std::size_t records_cached_max = 512;
constexpr std::size_t versions_passed_max = 32;  // to look for a key costs as much as to pass so many
// Counts up whenever what a checkpoint holds, or what it means, changes.
constexpr std::uint64_t checkpoint_format = 1;

std::string board_key(char kind, BoardNumber board) {
    std::string key(1, kind);
    append_be64(key, board.number);
    return key;
}

std::string region_key(char kind, BoardNumber board, RegionNumber region) {
    std::string key = board_key(kind, board);
    append_be32(key, region);
    return key;
}

std::string entry_prefix(BoardNumber board, RegionNumber region) {
    std::string key;
    append_be64(key, board.number);
    append_be32(key, region);
    return key;
}

// Positions are stored inverted, so that the newest version comes first.
std::string entry_key(BoardNumber board, RegionNumber region, std::uint64_t number, Position position) {
    std::string key = entry_prefix(board, region);
    append_be64(key, number);
    append_be64(key, ~position.number);
    return key;
}

std::string encode_state(const EntryState& state) {
    ByteWriter out;
    out.u8(static_cast<std::uint8_t>((state.active ? 1 : 0) | (state.merged_text ? 2 : 0)));
    out.varint(state.version);
    out.varint(state.content_position.number);
    out.varint(state.content_line);
    out.hash(state.digest);
    out.text(state.author);
    if (state.merged_text) out.text(*state.merged_text);
    return out.take();
}

Result<EntryState> decode_state(std::string_view key, std::string_view bytes) {
    EntryState state;
    ByteReader in(bytes);
    const std::uint8_t flags = in.u8();
    if (flags > 3) in.fail("unknown entry flags");
    state.active = (flags & 1) != 0;
    state.version = in.varint32();
    state.content_position.number = in.varint();
    state.content_line = in.varint32();
    state.digest = in.hash();
    state.author = in.text();
    if ((flags & 2) != 0) state.merged_text = std::string(in.text());
    if (key.size() != 28) in.fail("the key has the wrong length");
    if (!in.ok() || !in.at_end()) {
        return Error{ErrorCode::corrupt, std::string("a stored entry is damaged: ") + in.why()};
    }
    state.number = read_be64(key.substr(12));
    state.position.number = ~read_be64(key.substr(20));
    return state;
}

std::string encode_region(const RegionState& region) {
    ByteWriter out;
    out.text(region.name);
    out.varint(region.next_entry);
    out.varint(region.active_entries);
    out.zigzag(region.sum);
    out.hash(region.digest);
    out.varint(region.last_change.number);
    out.u8(static_cast<std::uint8_t>((region.scratch ? 1 : 0) | (region.has_adds ? 2 : 0)));
    return out.take();
}

Result<RegionState> decode_region(RegionNumber number, std::string_view bytes) {
    RegionState region;
    region.number = number;
    ByteReader in(bytes);
    region.name = in.text();
    region.next_entry = in.varint();
    region.active_entries = in.varint();
    region.sum = in.zigzag();
    region.digest = in.hash();
    region.last_change.number = in.varint();
    const std::uint8_t flags = in.u8();
    if (flags > 3) in.fail("unknown region flags");
    region.scratch = (flags & 1) != 0;
    region.has_adds = (flags & 2) != 0;
    if (!in.ok() || !in.at_end()) {
        return Error{ErrorCode::corrupt, "the stored state of region " + std::to_string(number) + " is damaged"};
    }
    return region;
}

std::string region_written(const Record& record, const Write& write) {
    return write.region == scratch_name ? scratch_region_of(record.author) : write.region;
}

// What a write adds to the sum of its region, when that is a counter.
std::int64_t increment_of(const Write& write) {
    if (write.op != WriteOp::increment) return 0;
    const Result<Value> content = parse_json(write.text);
    const Value* by = content.ok() ? content->find("by") : nullptr;
    return by != nullptr && by->is_int() ? by->as_int() : 0;
}

// The write that made this version: the content's own, or for a tombstone the one that took it.
// Only tombstones are searched for, or loading the entries of a large commit would be quadratic.
std::optional<std::size_t> line_that_made(const EntryId& id, const EntryState& state, const LoggedRecord& logged) {
    const std::vector<Write>& writes = logged.record.writes;
    std::size_t line = std::min(writes.size(), logged.verdict.outcomes.size());
    if (state.active) return state.content_line < line ? std::optional<std::size_t>(state.content_line) : std::nullopt;
    while (line-- > 0) {
        const WriteOutcome& outcome = logged.verdict.outcomes[line];
        if (outcome.effect == WriteOutcome::Effect::none || outcome.number != state.number) continue;
        if (region_written(logged.record, writes[line]) == id.region) return line;
    }
    return std::nullopt;
}

}  // namespace

EntryStore::EntryStore(StateStore& store, BoardNumber board, const FamilyKey& family)
    : store_(store), board_(board), family_(family) {}

Status EntryStore::load() {
    const Result<std::optional<std::string>> stored = store_.get(Column::meta, board_key('B', board_));
    if (!stored.ok()) return stored.error();
    meta_ = {};
    if (stored->has_value()) {
        ByteReader in(**stored);
        meta_.last.number = in.varint();
        meta_.version.number = in.varint();
        meta_.time.ms = in.zigzag();
        const std::string_view link = in.raw(32);
        if (!in.ok() || !in.at_end()) return Error{ErrorCode::corrupt, "the board's stored head is damaged"};
        std::copy(link.begin(), link.end(), meta_.link.begin());
    }
    regions_.clear();
    state_hash_ = {};
    by_name_.clear();
    newest_.clear();
    replaced_.clear();
    replaced_at_ = {};
    keys_.clear();
    entries_.clear();  // an entry's authors change without a new version
    Status decoded = Done{};
    const Status scanned = store_.scan(Column::meta, region_key('R', board_, 0), region_key('R', board_, UINT32_MAX),
                                       false, [&](std::string_view key, std::string_view bytes) {
                                           Result<RegionState> region = decode_region(read_be32(key.substr(9)), bytes);
                                           if (!region.ok()) {
                                               decoded = region.error();
                                               return false;
                                           }
                                           if (region->number != regions_.size()) {
                                               decoded = Error{ErrorCode::corrupt, "the table of regions has a hole"};
                                               return false;
                                           }
                                           by_name_[region->name] = region->number;
                                           state_hash_ += region->digest;
                                           regions_.push_back(std::move(*region));
                                           return true;
                                       });
    if (!scanned.ok()) return scanned;
    return decoded;
}

const RegionState* EntryStore::region(std::string_view name) const {
    const auto found = by_name_.find(std::string(name));
    return found == by_name_.end() ? nullptr : &regions_[found->second];
}

void EntryStore::put_counts(Position position, StoreBatch& batch) const {
    for (const RegionState& region : regions_) {
        if (region.last_change.number + limits::region_count_interval <= position.number) continue;
        std::string key = region_key('H', board_, region.number);
        append_be64(key, ~position.number);
        ByteWriter out;
        out.varint(region.active_entries);
        out.zigzag(region.sum);
        out.varint(region.last_change.number);
        batch.put(Column::meta, std::move(key), out.take());
    }
}

Result<RegionCount> EntryStore::count_at(RegionNumber number, Position at) const {
    const RegionState& region = regions_[number];
    if (at >= region.last_change) return RegionCount{region.active_entries, region.sum, region.last_change};
    RegionCount count;
    const std::uint64_t counted = at.number / limits::region_count_interval * limits::region_count_interval;
    std::string from = region_key('H', board_, number);
    const std::string to = from + std::string(9, '\xff');
    append_be64(from, ~counted);
    Status decoded = Done{};
    const Status scanned = store_.scan(Column::meta, from, to, false, [&](std::string_view, std::string_view bytes) {
        ByteReader in(bytes);
        count.active_entries = in.varint();
        count.sum = in.zigzag();
        count.last_change.number = in.varint();
        if (!in.ok() || !in.at_end()) decoded = Error{ErrorCode::corrupt, "a stored count of a region is damaged"};
        return false;
    });
    if (!scanned.ok()) return scanned.error();
    if (!decoded.ok()) return decoded.error();
    // The rest of the way, record by record.
    for (std::uint64_t position = counted + 1; position <= at.number; ++position) {
        const Result<std::shared_ptr<const LoggedRecord>> logged = record({position});
        if (!logged.ok()) return logged.error();
        const Record& written = (*logged)->record;
        const Verdict& verdict = (*logged)->verdict;
        if (written.kind != RecordKind::commit || !verdict.accepted) continue;
        for (std::size_t line = 0; line < written.writes.size() && line < verdict.outcomes.size(); ++line) {
            const WriteOutcome& outcome = verdict.outcomes[line];
            if (outcome.effect == WriteOutcome::Effect::none) continue;
            if (region_written(written, written.writes[line]) != region.name) continue;
            count.last_change = {position};
            if (outcome.effect == WriteOutcome::Effect::updated) continue;
            const bool added = outcome.effect == WriteOutcome::Effect::added;
            count.active_entries += added ? 1 : -1;
            if (added) {
                count.sum += increment_of(written.writes[line]);
                continue;
            }
            const Result<std::optional<EntryState>> gone = this->at(number, outcome.number, {position});
            if (!gone.ok()) return gone.error();
            if (!gone->has_value()) continue;
            const Result<std::shared_ptr<const LoggedRecord>> made = record((*gone)->content_position);
            if (!made.ok()) return made.error();
            const std::vector<Write>& writes = (*made)->record.writes;
            if ((*gone)->content_line < writes.size()) count.sum -= increment_of(writes[(*gone)->content_line]);
        }
    }
    return count;
}

Result<std::optional<EntryState>> EntryStore::before(RegionNumber region, std::uint64_t number,
                                                     Position position) const {
    if (position == replaced_at_) {
        if (const auto known = replaced_.find(EntryKey{region, number}); known != replaced_.end()) {
            return std::optional<EntryState>(known->second);
        }
    }
    return at(region, number, {position.number - 1});
}

Result<std::optional<EntryState>> EntryStore::newest(RegionNumber region, std::uint64_t number) const {
    const EntryKey cache_key{region, number};
    if (const auto cached = newest_.find(cache_key); cached != newest_.end()) {
        return std::optional<EntryState>(cached->second);
    }
    Result<std::optional<EntryState>> found = at(region, number, Position{UINT64_MAX});
    if (found.ok() && found->has_value()) {
        if (newest_.size() >= limits::entry_cache_entries_max) newest_.clear();
        newest_[cache_key] = **found;
    }
    return found;
}

Result<std::optional<EntryState>> EntryStore::at(RegionNumber region, std::uint64_t number, Position at) const {
    // Positions are stored inverted: the first key from here on is the newest version not after `at`.
    std::string from = entry_prefix(board_, region);
    append_be64(from, number);
    const std::string to = from + std::string(9, '\xff');
    append_be64(from, ~at.number);
    std::optional<EntryState> found;
    Status decoded = Done{};
    const Status scanned =
        store_.scan(Column::entries, from, to, false, [&](std::string_view key, std::string_view bytes) {
            Result<EntryState> state = decode_state(key, bytes);
            if (state.ok()) {
                found = std::move(*state);
            } else {
                decoded = state.error();
            }
            return false;
        });
    if (!scanned.ok()) return scanned.error();
    if (!decoded.ok()) return decoded.error();
    return found;
}

Result<std::optional<EntryState>> EntryStore::made_at(RegionNumber region, std::uint64_t number,
                                                      Position position) const {
    const std::string key = entry_key(board_, region, number, position);
    const Result<std::optional<std::string>> stored = store_.get(Column::entries, key);
    if (!stored.ok()) return stored.error();
    if (!stored->has_value()) return std::optional<EntryState>();
    Result<EntryState> state = decode_state(key, **stored);
    if (!state.ok()) return state.error();
    return std::optional<EntryState>(std::move(*state));
}

Result<std::optional<std::uint64_t>> EntryStore::number_of_key(RegionNumber region, std::string_view key_text) const {
    const Hash128 digest = key_digest(region, key_text);
    if (const auto cached = keys_.find(digest); cached != keys_.end()) {
        return std::optional<std::uint64_t>(cached->second);
    }
    ByteWriter key;
    key.raw(region_key('K', board_, region));
    key.hash(digest);
    const Result<std::optional<std::string>> stored = store_.get(Column::meta, key.bytes());
    if (!stored.ok()) return stored.error();
    if (!stored->has_value()) return std::optional<std::uint64_t>();
    ByteReader in(**stored);
    const std::uint64_t number = in.varint();
    if (!in.ok() || !in.at_end()) return Error{ErrorCode::corrupt, "a stored key is damaged"};
    if (keys_.size() >= limits::entry_cache_entries_max) keys_.clear();
    keys_[digest] = number;
    return std::optional<std::uint64_t>(number);
}

Result<std::vector<AddTag>> EntryStore::adds(RegionNumber region, std::uint64_t number) const {
    std::string key = region_key('A', board_, region);
    append_be64(key, number);
    const Result<std::optional<std::string>> stored = store_.get(Column::meta, key);
    if (!stored.ok()) return stored.error();
    std::vector<AddTag> adds;
    if (!stored->has_value()) return adds;
    ByteReader in(**stored);
    adds.resize(in.count(3));
    for (AddTag& add : adds) {
        add.position.number = in.varint();
        add.author = in.text();
        add.text = in.text();
    }
    if (!in.ok() || !in.at_end()) return Error{ErrorCode::corrupt, "the stored adds of an entry are damaged"};
    return adds;
}

Result<std::string> EntryStore::content(const EntryState& state) const {
    if (state.merged_text) return *state.merged_text;
    const Result<std::shared_ptr<const LoggedRecord>> logged = record(state.content_position);
    if (!logged.ok()) return logged.error();
    const std::vector<Write>& writes = (*logged)->record.writes;
    if (state.content_line >= writes.size()) {
        return Error{ErrorCode::corrupt, "record " + std::to_string(state.content_position.number) + " has no write " +
                                             std::to_string(state.content_line + 1)};
    }
    return writes[state.content_line].text;
}

Result<Value> EntryStore::content_value(const EntryState& state, const LoggedRecord& written) const {
    // A record that was just folded still has its contents as values.
    if (!state.merged_text && written.position == state.content_position &&
        state.content_line < written.record.writes.size() &&
        !written.record.writes[state.content_line].content.is_null()) {
        return written.record.writes[state.content_line].content;
    }
    const Result<std::string> text = content(state);
    if (!text.ok()) return text.error();
    Result<Value> value = parse_json(*text);
    if (!value.ok()) return Error{ErrorCode::corrupt, "stored content: " + value.error().message};
    return value;
}

Result<EntryPtr> EntryStore::load(RegionNumber region, const EntryState& state) const {
    const EntryKey cache_key{region, state.number};
    if (const auto cached = entries_.find(cache_key); cached != entries_.end()) {
        const Entry& entry = *cached->second;
        if (entry.position == state.position && entry.version == state.version && entry.active == state.active) {
            return cached->second;
        }
    }
    const Result<std::shared_ptr<const LoggedRecord>> logged = record(state.position);
    if (!logged.ok()) return logged.error();
    const Record& written = (*logged)->record;
    Result<Value> value = content_value(state, **logged);
    if (!value.ok()) return value.error();

    auto entry = std::make_shared<Entry>();
    entry->id = {regions_[region].name, state.number};
    entry->version = state.version;
    entry->position = state.position;
    entry->time = written.time;
    entry->author = state.author;
    entry->activation = written.activation        ? written.activation
                        : written.members.empty() ? ActivationId{}
                                                  : ActivationId{state.position.number};
    entry->content = std::move(*value);
    entry->digest = state.digest;
    entry->active = state.active;
    if (const std::optional<std::size_t> made = line_that_made(entry->id, state, **logged)) {
        entry->reason = written.writes[*made].why;
        for (const Cite& cite : written.writes[*made].cites) {
            if (cite.line == 0) {
                entry->cites.push_back(cite.entry);
            } else if (cite.line <= *made && (*logged)->verdict.outcomes[cite.line - 1].number != 0) {
                entry->cites.push_back({region_written(written, written.writes[cite.line - 1]),
                                        (*logged)->verdict.outcomes[cite.line - 1].number});
            }
        }
    }
    entry->authors = {state.author};
    if (regions_[region].has_adds) {
        const Result<std::vector<AddTag>> tags = adds(region, state.number);
        if (!tags.ok()) return tags.error();
        for (const AddTag& tag : *tags) {
            if (std::find(entry->authors.begin(), entry->authors.end(), tag.author) == entry->authors.end()) {
                entry->authors.push_back(tag.author);
            }
        }
    }
    EntryPtr shared = std::move(entry);
    remember(region, shared);
    return shared;
}

Status EntryStore::for_each(RegionNumber region, Position at, bool reverse,
                            const std::function<bool(const EntryState&)>& visit) const {
    // Versions of one entry stand newest first. Forward, the first one not after `at` is the one in
    // force; in reverse it is the last such one before the entry changes.
    std::string from = entry_prefix(board_, region);
    std::string to = from + std::string(17, '\xff');
    std::optional<EntryState> candidate;
    std::uint64_t done_number = 0;
    bool stopped = false;
    while (!stopped) {
        bool whole = true;
        Status decoded = Done{};
        std::uint64_t passing = 0;
        std::size_t passed = 0;
        const auto on_key = [&](std::string_view key, std::string_view bytes) {
            const std::uint64_t number = key.size() == 28 ? read_be64(key.substr(12)) : 0;
            const Position position{key.size() == 28 ? ~read_be64(key.substr(20)) : 0};
            if (reverse && candidate && candidate->number != number) {
                stopped = !visit(*std::exchange(candidate, std::nullopt));
                if (stopped) return false;
            }
            passed = number == passing ? passed + 1 : 1;
            passing = number;
            whole = passed < versions_passed_max;  // the rest of a long history is jumped over
            if (!whole) return false;
            const bool is_done = number == done_number && number != 0;
            if (position > at || is_done) return true;
            Result<EntryState> state = decode_state(key, bytes);
            if (!state.ok()) {
                decoded = state.error();
                return false;
            }
            if (reverse) {
                candidate = std::move(*state);
                return true;
            }
            done_number = number;
            stopped = !visit(*state);
            return !stopped;
        };
        const Status scanned = store_.scan(Column::entries, from, to, reverse, on_key);
        if (!scanned.ok()) return scanned;
        if (!decoded.ok()) return decoded;
        if (whole) break;
        if (reverse) {
            Result<std::optional<EntryState>> in_force = this->at(region, passing, at);
            if (!in_force.ok()) return in_force.error();
            candidate = std::move(*in_force);
            to = entry_key(board_, region, passing, Position{UINT64_MAX});
        } else {
            from = passing == done_number ? entry_key(board_, region, passing + 1, Position{UINT64_MAX})
                                          : entry_key(board_, region, passing, at);
        }
    }
    if (reverse && candidate && !stopped) visit(*candidate);
    return Done{};
}

Result<std::shared_ptr<const LoggedRecord>> EntryStore::record(Position position) const {
    if (const auto cached = records_.find(position); cached != records_.end()) return cached->second;
    const Result<std::optional<std::string>> stored = store_.get(Column::log, log_key(board_, position));
    if (!stored.ok()) return stored.error();
    if (!stored->has_value()) {
        return Error{ErrorCode::corrupt, "record " + std::to_string(position.number) + " is missing from the log"};
    }
    Result<LoggedRecord> decoded = decode_frame(position, **stored, DecodeDepth::full, blob_loader());
    if (!decoded.ok()) return decoded.error();
    auto shared = std::make_shared<const LoggedRecord>(std::move(*decoded));
    remember(shared);
    return std::shared_ptr<const LoggedRecord>(shared);
}

Result<std::optional<Position>> EntryStore::position_of_key(std::string_view idempotency_key) const {
    const Result<std::optional<std::string>> stored =
        store_.get(Column::meta, board_key('I', board_) + std::string(idempotency_key));
    if (!stored.ok()) return stored.error();
    if (!stored->has_value()) return std::optional<Position>();
    ByteReader in(**stored);
    const Position position{in.varint()};
    if (!in.ok() || !in.at_end()) return Error{ErrorCode::corrupt, "a stored idempotency key is damaged"};
    return std::optional<Position>(position);
}

Result<std::optional<StoredCheckpoint>> EntryStore::checkpoint() const {
    const Result<std::optional<std::string>> stored = store_.get(Column::meta, board_key('C', board_));
    if (!stored.ok()) return stored.error();
    if (!stored->has_value()) return std::optional<StoredCheckpoint>();
    StoredCheckpoint checkpoint;
    ByteReader in(**stored);
    if (in.varint() != checkpoint_format) in.fail("it is of another version");
    checkpoint.at.number = in.varint();
    const std::string_view link = in.raw(checkpoint.link.size());
    std::copy(link.begin(), link.end(), checkpoint.link.begin());
    const Hash128 digest = in.hash();
    checkpoint.state = in.text();
    if (in.ok() && keyed_digest(family_, checkpoint.state) != digest) in.fail("it does not match its digest");
    if (!in.ok() || !in.at_end()) {
        return Error{ErrorCode::corrupt, std::string("the checkpoint is damaged: ") + in.why()};
    }
    return std::optional<StoredCheckpoint>(std::move(checkpoint));
}

Hash128 EntryStore::digest_of(std::string_view region, std::string_view text) const {
    thread_local std::string buffer;
    buffer.assign(region);
    buffer += '\0';
    buffer += text;
    return keyed_digest(family_, buffer);
}

LoadBlob EntryStore::blob_loader() const {
    return [this](const Hash128& mac) -> Result<std::string> {
        Result<std::optional<std::string>> stored = store_.get(Column::blobs, blob_key(board_, 'b', mac));
        if (!stored.ok()) return stored.error();
        if (!stored->has_value()) return Error{ErrorCode::corrupt, "payload " + to_hex(mac) + " is missing"};
        if (keyed_digest(family_, **stored) != mac) {
            return Error{ErrorCode::corrupt, "payload " + to_hex(mac) + " does not match its MAC"};
        }
        return std::move(**stored);
    };
}

StoreBlob EntryStore::blob_storer(StoreBatch& batch) const {
    return [this, &batch, counts = std::unordered_map<Hash128, std::uint64_t>()](std::string_view bytes) mutable {
        const Hash128 mac = keyed_digest(family_, bytes);
        auto [count, first] = counts.try_emplace(mac, 0);
        if (first) {
            const Result<std::optional<std::string>> stored = store_.get(Column::blobs, blob_key(board_, 'c', mac));
            if (stored.ok() && stored->has_value()) count->second = ByteReader(**stored).varint();
        }
        if (++count->second == 1) batch.put(Column::blobs, blob_key(board_, 'b', mac), std::string(bytes));
        ByteWriter value;
        value.varint(count->second);
        batch.put(Column::blobs, blob_key(board_, 'c', mac), value.take());
        return mac;
    };
}

RegionState& EntryStore::declare_region(std::string_view name, bool scratch) {
    if (const auto found = by_name_.find(std::string(name)); found != by_name_.end()) return regions_[found->second];
    RegionState region;
    region.number = static_cast<RegionNumber>(regions_.size());
    region.name = name;
    region.scratch = scratch;
    by_name_[region.name] = region.number;
    regions_.push_back(std::move(region));
    return regions_.back();
}

void EntryStore::put_region(const RegionState& region, StoreBatch& batch) {
    state_hash_ -= regions_[region.number].digest;
    state_hash_ += region.digest;
    regions_[region.number] = region;
    batch.put(Column::meta, region_key('R', board_, region.number), encode_region(region));
}

void EntryStore::put_meta(const BoardMeta& meta, StoreBatch& batch) {
    meta_ = meta;
    ByteWriter out;
    out.varint(meta.last.number);
    out.varint(meta.version.number);
    out.zigzag(meta.time.ms);
    out.raw({reinterpret_cast<const char*>(meta.link.data()), meta.link.size()});
    batch.put(Column::meta, board_key('B', board_), out.take());
}

void EntryStore::put_entry(RegionNumber region, const EntryState& state, StoreBatch& batch) {
    batch.put(Column::entries, entry_key(board_, region, state.number, state.position), encode_state(state));
    if (state.position != replaced_at_) replaced_.clear();
    replaced_at_ = state.position;
    if (newest_.size() >= limits::entry_cache_entries_max) newest_.clear();
    const auto [known, first] = newest_.try_emplace(EntryKey{region, state.number}, state);
    if (first) return;
    replaced_.try_emplace(known->first, known->second);
    known->second = state;
}

void EntryStore::put_key(RegionNumber region, std::string_view key_text, std::uint64_t number, StoreBatch& batch) {
    const Hash128 digest = key_digest(region, key_text);
    ByteWriter key;
    key.raw(region_key('K', board_, region));
    key.hash(digest);
    ByteWriter value;
    value.varint(number);
    batch.put(Column::meta, key.take(), value.take());
    if (keys_.size() >= limits::entry_cache_entries_max) keys_.clear();
    keys_[digest] = number;
}

void EntryStore::put_adds(RegionNumber region, std::uint64_t number, const std::vector<AddTag>& adds,
                          StoreBatch& batch) {
    std::string key = region_key('A', board_, region);
    append_be64(key, number);
    entries_.erase(EntryKey{region, number});  // its authors may have changed
    ByteWriter out;
    out.varint(adds.size());
    for (const AddTag& add : adds) {
        out.varint(add.position.number);
        out.text(add.author);
        out.text(add.text);
    }
    batch.put(Column::meta, std::move(key), out.take());
}

void EntryStore::put_checkpoint(const StoredCheckpoint& checkpoint, StoreBatch& batch) const {
    ByteWriter out;
    out.varint(checkpoint_format);
    out.varint(checkpoint.at.number);
    out.raw({reinterpret_cast<const char*>(checkpoint.link.data()), checkpoint.link.size()});
    out.hash(keyed_digest(family_, checkpoint.state));
    out.text(checkpoint.state);
    batch.put(Column::meta, board_key('C', board_), out.take());
}

void EntryStore::put_idempotency_key(std::string_view key, Position position, StoreBatch& batch) {
    ByteWriter value;
    value.varint(position.number);
    batch.put(Column::meta, board_key('I', board_) + std::string(key), value.take());
}

void EntryStore::remember(std::shared_ptr<const LoggedRecord> record) const {
    const Position position = record->position;
    if (!records_.emplace(position, std::move(record)).second) return;
    record_order_.push_back(position);
    if (record_order_.size() > records_cached_max) {
        records_.erase(record_order_.front());
        record_order_.pop_front();
    }
}

void EntryStore::remember(RegionNumber region, EntryPtr entry) const {
    if (entries_.size() >= limits::entry_cache_entries_max) entries_.clear();
    const EntryKey key{region, entry->id.number};
    entries_[key] = std::move(entry);
}

Hash128 EntryStore::key_digest(RegionNumber region, std::string_view key_text) const {
    thread_local std::string buffer;
    buffer.assign(1, 'K');
    append_be32(buffer, region);
    buffer += key_text;
    return keyed_digest(family_, buffer);
}

}  // namespace stele

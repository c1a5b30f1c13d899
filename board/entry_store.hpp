// Reads entries out of a StateStore: the newest state of an entry, its state at an old version, and
// its content out of the log. Owns the table of regions and the caches. One thread: the loop's, or
// a reading process's only one. docs/log_format.md lists the keys.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "board/entry.hpp"
#include "board/hash.hpp"
#include "board/log/store.hpp"
#include "board/record.hpp"
#include "board/record_codec.hpp"
#include "board/region_policy.hpp"

namespace stele {

/// Small number of a region inside one board, in order of first declaration.
using RegionNumber = std::uint32_t;

/// What the fold keeps of a region as a whole.
struct RegionState {
    RegionNumber number = 0;
    std::string name;
    std::uint64_t next_entry = 1;
    std::uint64_t active_entries = 0;
    std::int64_t sum = 0;  // counter
    Hash128 digest;        // of its content, independent of order
    Position last_change;
    bool scratch = false;
    bool has_adds = false;  // a set union: its entries carry add tags
};

/// How full a region was at some version.
struct RegionCount {
    std::uint64_t active_entries = 0;
    std::int64_t sum = 0;  // counter
    Position last_change;
};

/// What the fold keeps of a board as a whole.
struct BoardMeta {
    Position last;     // of any record
    Position version;  // of the last accepted commit
    ChainLink link{};
    TimeMs time;
};

/// What the fold knew as of a record, beside what is stored of the board itself; see scheduler/fold.hpp.
struct StoredCheckpoint {
    Position at;
    /// Of the record at that position.
    ChainLink link{};
    std::string state;
};

class EntryStore {
public:
    EntryStore(StateStore& store, BoardNumber board, const FamilyKey& family);

    /// Reads the board's and its regions' state; called once, and again by a reader that has
    /// caught up with the writer.
    Status load();

    [[nodiscard]] const BoardMeta& meta() const { return meta_; }
    [[nodiscard]] const std::vector<RegionState>& regions() const { return regions_; }
    [[nodiscard]] const RegionState* region(std::string_view name) const;

    /// As it stood before the record at `position`: of the newest one without reading, as a rule.
    [[nodiscard]] Result<std::optional<EntryState>> before(RegionNumber region, std::uint64_t number,
                                                           Position position) const;
    [[nodiscard]] Result<std::optional<EntryState>> newest(RegionNumber region, std::uint64_t number) const;
    [[nodiscard]] Result<std::optional<EntryState>> at(RegionNumber region, std::uint64_t number, Position at) const;
    /// The version that the commit at this very position made.
    [[nodiscard]] Result<std::optional<EntryState>> made_at(RegionNumber region, std::uint64_t number,
                                                            Position position) const;
    [[nodiscard]] Result<std::optional<std::uint64_t>> number_of_key(RegionNumber region,
                                                                     std::string_view key_text) const;
    [[nodiscard]] Result<std::vector<AddTag>> adds(RegionNumber region, std::uint64_t number) const;
    [[nodiscard]] Result<std::string> content(const EntryState& state) const;
    [[nodiscard]] Result<EntryPtr> load(RegionNumber region, const EntryState& state) const;
    /// States as of a position, tombstones too, by number; until `visit` returns false.
    Status for_each(RegionNumber region, Position at, bool reverse,
                    const std::function<bool(const EntryState&)>& visit) const;

    /// Costs a few reads and at most limits::region_count_interval records, however old `at` is.
    [[nodiscard]] Result<RegionCount> count_at(RegionNumber region, Position at) const;

    [[nodiscard]] Result<std::shared_ptr<const LoggedRecord>> record(Position position) const;
    [[nodiscard]] Result<std::optional<Position>> position_of_key(std::string_view idempotency_key) const;

    /// The newest checkpoint. Fails with `corrupt` when it is damaged or another version's: then the log has it all.
    [[nodiscard]] Result<std::optional<StoredCheckpoint>> checkpoint() const;

    [[nodiscard]] Hash128 digest_of(std::string_view region, std::string_view text) const;
    /// Over the whole board's content, kept up with each region.
    [[nodiscard]] Hash128 state_hash() const { return state_hash_; }
    [[nodiscard]] LoadBlob blob_loader() const;
    /// Stores a blob through `batch`, counting its uses.
    [[nodiscard]] StoreBlob blob_storer(StoreBatch& batch) const;

    // For the fold only.
    RegionState& declare_region(std::string_view name, bool scratch);
    void put_region(const RegionState& region, StoreBatch& batch);
    void put_meta(const BoardMeta& meta, StoreBatch& batch);
    /// Keeps how full the regions are that changed within the interval that ends at `position`.
    void put_counts(Position position, StoreBatch& batch) const;
    void put_entry(RegionNumber region, const EntryState& state, StoreBatch& batch);
    void put_key(RegionNumber region, std::string_view key_text, std::uint64_t number, StoreBatch& batch);
    void put_adds(RegionNumber region, std::uint64_t number, const std::vector<AddTag>& adds, StoreBatch& batch);
    void put_checkpoint(const StoredCheckpoint& checkpoint, StoreBatch& batch) const;
    void put_idempotency_key(std::string_view key, Position position, StoreBatch& batch);
    /// Lets readers find a record without decoding its bytes again.
    void remember(std::shared_ptr<const LoggedRecord> record) const;
    void remember(RegionNumber region, EntryPtr entry) const;

    [[nodiscard]] const StateStore& store() const { return store_; }
    [[nodiscard]] BoardNumber board() const { return board_; }

private:
    struct EntryKey {
        RegionNumber region;
        std::uint64_t number;
        bool operator==(const EntryKey&) const = default;
    };
    struct EntryKeyHash {
        std::size_t operator()(const EntryKey& key) const { return key.number * 0x9e3779b97f4a7c15ULL + key.region; }
    };

    [[nodiscard]] Result<Value> content_value(const EntryState& state, const LoggedRecord& written) const;
    [[nodiscard]] Hash128 key_digest(RegionNumber region, std::string_view key_text) const;

    StateStore& store_;
    BoardNumber board_;
    FamilyKey family_;
    BoardMeta meta_;
    std::vector<RegionState> regions_;
    Hash128 state_hash_;
    std::unordered_map<std::string, RegionNumber> by_name_;
    // Caches: looked up only, never walked, so their order reaches nothing.
    mutable std::unordered_map<EntryKey, EntryState, EntryKeyHash> newest_;
    /// What the newest record that changed entries took the place of, where that was known.
    std::unordered_map<EntryKey, EntryState, EntryKeyHash> replaced_;
    Position replaced_at_;
    mutable std::unordered_map<Hash128, std::uint64_t> keys_;
    mutable std::unordered_map<EntryKey, EntryPtr, EntryKeyHash> entries_;
    mutable std::unordered_map<Position, std::shared_ptr<const LoggedRecord>> records_;
    mutable std::deque<Position> record_order_;
};

}  // namespace stele

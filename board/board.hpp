// One board: decides commits by the regions' merge laws and applies what was decided. This is the
// board's half of the fold; the scheduler judges activations (scheduler/activations.hpp). Pure but
// for reading the StateStore it was opened on; what it changes goes into a batch. Loop thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "board/entry_store.hpp"
#include "board/record.hpp"
#include "board/region_spec.hpp"
#include "board/view.hpp"

namespace stele {

/// On whose behalf a commit is judged.
struct Authority {
    std::string author;
    /// The version its author had read.
    Position snapshot;
    /// The crew's seed may fill regions that have an owner.
    bool acts_as_owner = false;
    std::function<bool(std::string_view region, WriteOp op)> may_write;
    /// May this entry be cited: was it in the author's match or view?
    std::function<bool(const EntryId& entry)> has_seen;
};

/// The answer to a commit, ready to be applied. Valid until the next apply().
struct Decision {
    std::vector<Refusal> refusals;
    std::vector<WriteOutcome> outcomes;

    // For apply() only.
    using EntryPlace = std::pair<RegionNumber, std::uint64_t>;
    std::map<EntryPlace, EntryState> entries;
    std::map<std::pair<RegionNumber, std::string>, std::uint64_t> keys;
    std::map<EntryPlace, std::vector<AddTag>> adds;
    std::map<RegionNumber, RegionState> regions;

    [[nodiscard]] bool accepted() const { return refusals.empty(); }
    /// True when some entry's content, presence or version differs afterwards.
    [[nodiscard]] bool changes_content() const;
};

class Board {
public:
    static Result<std::unique_ptr<Board>> open(StateStore& store, BoardNumber number, const FamilyKey& family);

    /// Takes a crew's regions into force. New ones get their numbers with the next record.
    /// A region with entries keeps its policy and key: anything else is refused.
    Status declare(const std::vector<RegionSpec>& regions);
    /// The same without asking, for a crew that the log accepted: its board may have gone on since.
    void adopt(const std::vector<RegionSpec>& regions);
    [[nodiscard]] const RegionSpec* spec(std::string_view region) const;

    /// Decides a commit at the next position: every refusal, or what it will do. Fails only when
    /// stored bytes cannot be read.
    [[nodiscard]] Result<Decision> decide(const Record& commit, const Authority& authority) const;

    /// The state hash once `decision` is applied.
    [[nodiscard]] Hash128 state_hash_after(const Decision& decision) const;

    /// Takes a record's effects into the state at the next position. `decision` is null for records
    /// that are no accepted commits. Cannot refuse.
    void apply(const Record& record, const Decision* decision, const ChainLink& link, StoreBatch& batch);

    /// What an applied commit did, with the entries as they are after it. `position` must be that
    /// commit's; works for old ones too.
    [[nodiscard]] Result<std::vector<EntryChange>> changes_of(const LoggedRecord& logged) const;

    [[nodiscard]] Position next_position() const { return {entries_.meta().last.number + 1}; }
    [[nodiscard]] const BoardMeta& meta() const { return entries_.meta(); }
    [[nodiscard]] Hash128 state_hash() const { return entries_.state_hash(); }
    /// Private regions that end with the run.
    [[nodiscard]] const std::vector<RegionNumber>& scratch_regions() const { return scratch_regions_; }
    [[nodiscard]] const EntryStore& entries() const { return entries_; }
    [[nodiscard]] EntryStore& entries() { return entries_; }
    [[nodiscard]] View view(Position at) const { return View(entries_, at); }

private:
    Board(StateStore& store, BoardNumber number, const FamilyKey& family) : entries_(store, number, family) {}

    [[nodiscard]] Result<EntryChange> change_of(const RegionState& region, std::uint64_t number, Position position,
                                                bool is_new) const;

    EntryStore entries_;
    std::map<std::string, RegionSpec, std::less<>> specs_;
    // The newest declaration of each region, also of those that the crew in force has dropped.
    std::map<std::string, RegionSpec, std::less<>> laws_;
    std::vector<RegionNumber> scratch_regions_;
};

/// The region a write means: `scratch` is the author's own.
std::string resolve_region(std::string_view region, std::string_view author);

}  // namespace stele

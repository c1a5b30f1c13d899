// A region's merge law: may this write happen, and what does it make of the entry? One class per
// policy, each in a file of its own and registered with one line in region_policy.cpp. Policies
// decide only; the board stages and applies what they answer. Pure, stateless, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "board/hash.hpp"
#include "board/ids.hpp"
#include "board/record.hpp"
#include "board/region_spec.hpp"
#include "board/result.hpp"
#include "board/write.hpp"

namespace stele {

/// The newest version of an entry, as the fold keeps it.
struct EntryState {
    std::uint64_t number = 0;
    std::uint32_t version = 0;
    bool active = true;
    /// The commit that made this version.
    Position position;
    /// Where the content is: write `content_line` (from 0) of the commit at `content_position`,
    /// unless the fold made it (`merged_text`).
    Position content_position;
    std::uint32_t content_line = 0;
    std::optional<std::string> merged_text;
    /// Keyed digest of region and content; its share of the state hash.
    Hash128 digest;
    std::string author;
};

/// One add to a `set_union` entry that no remove has taken away.
struct AddTag {
    Position position;
    std::string author;
    std::string text;  // what was added; empty when the whole entry is the key
    bool operator==(const AddTag&) const = default;
};

/// What a policy may ask about its region: the state including the earlier writes of this commit.
class RegionAccess {
public:
    virtual ~RegionAccess() = default;
    [[nodiscard]] virtual const RegionSpec& spec() const = 0;
    [[nodiscard]] virtual Result<std::optional<EntryState>> entry(std::uint64_t number) const = 0;
    [[nodiscard]] virtual Result<std::optional<std::uint64_t>> number_of_key(std::string_view key_text) const = 0;
    [[nodiscard]] virtual Result<std::string> content(const EntryState& state) const = 0;
    [[nodiscard]] virtual Result<std::vector<AddTag>> adds(std::uint64_t number) const = 0;
    [[nodiscard]] virtual std::uint64_t next_number() const = 0;
    /// counter: the sum of the active increments.
    [[nodiscard]] virtual std::int64_t sum() const = 0;
};

/// Who writes, and from where.
struct WriteContext {
    std::string author;
    /// The version that the author had read.
    Position snapshot;
    /// Where the commit lands.
    Position position;
    /// The write's line in the commit, from 0.
    std::uint32_t line = 0;
    /// The crew's own seed may write into a region that has an owner.
    bool acts_as_owner = false;
    /// A grant to retract what others wrote.
    bool may_retract_others = false;
};

/// What an accepted write does. `effect` none: nothing about the entry's content changes.
struct PolicyDecision {
    WriteOutcome::Effect effect = WriteOutcome::Effect::none;
    EntryState after;
    /// A key that from now on leads to this entry.
    std::optional<std::string> new_key;
    std::optional<std::vector<AddTag>> adds;
    std::optional<std::int64_t> new_sum;
};

struct PolicyAnswer {
    std::optional<Refusal> refusal;
    PolicyDecision decision;

    PolicyAnswer(PolicyDecision d) : decision(std::move(d)) {}
    PolicyAnswer(Refusal r) : refusal(std::move(r)) {}
};

class RegionPolicy {
public:
    virtual ~RegionPolicy() = default;
    [[nodiscard]] virtual PolicyKind kind() const = 0;
    /// What writers may do; `retract` is decided by the board for every policy alike.
    [[nodiscard]] virtual std::span<const WriteOp> operations() const = 0;
    /// Decides any of operations(). Fails only when stored bytes cannot be read.
    [[nodiscard]] virtual Result<PolicyAnswer> decide(const RegionAccess& region, const WriteContext& context,
                                                      const Write& write) const = 0;
};

const RegionPolicy& policy_of(PolicyKind kind);
/// The operations of a policy and `retract`.
std::vector<WriteOp> operations_of(PolicyKind kind);

/// Retraction, the same law for every region.
Result<PolicyAnswer> decide_retract(const RegionAccess& region, const WriteContext& context, const Write& write);

/// The canonical text a keyed entry is found by: its key fields as a JSON array, or for a
/// `set_union` without key fields the whole entry.
std::string key_text_of(const RegionSpec& spec, const Value& content, std::string_view content_text);
/// The entry that a write means by its key; by its number where its content, and so its key, was purged.
Result<std::optional<std::uint64_t>> number_meant(const RegionAccess& region, const Write& write,
                                                  std::string_view key_text);
/// A set union's tags of an entry after one more add.
void record_add(std::vector<AddTag>& adds, AddTag add);
/// True for regions whose entries are found by key.
bool has_keys(const RegionSpec& spec);

/// For the policies' use: a fresh entry, the next version of one, and a conflict that shows the
/// entry as it is now.
PolicyDecision fresh_entry(const RegionAccess& region, const WriteContext& context);
PolicyDecision next_version(const EntryState& before, const WriteContext& context);
Result<PolicyAnswer> conflict_with(const RegionAccess& region, const WriteContext& context, const EntryState& current,
                                   std::string why);

}  // namespace stele

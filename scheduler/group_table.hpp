// Counts and aggregates of a region's entries per group: what `none`, `exists`, `count`, `sum`, `min`,
// `max` and `avg` ask about, kept up to date entry by entry. Every term that asks the same of the same
// groups shares them. For the incremental matcher alone. Loop thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "board/ids.hpp"
#include "scheduler/condition.hpp"
#include "scheduler/entry_index.hpp"
#include "scheduler/exact_sum.hpp"

namespace stele::matching {

/// What a term asks of a group.
struct Predicate {
    TermKind kind = TermKind::none;
    Filter is;  // literals only
    std::vector<std::string> field;
    bool again_on_change = false;
};

struct ValueLess {
    bool operator()(const Value& a, const Value& b) const { return compare(a, b) < 0; }
};

/// Of one number field over the entries of one group.
struct Aggregate {
    ExactSum sum;
    std::map<Value, std::uint32_t, ValueLess> numbers;  // only where `min` or `max` asks
};

/// The values that a group has in common, by field.
using GroupKey = std::shared_ptr<const std::vector<Value>>;

struct Group {
    Hash128 key;
    std::int64_t count = 0;
    /// First of the offered matches that rest on it, in the matcher's lists; 0: none.
    std::uint32_t first_node = 0;
    /// In the matcher's list of what the present commit touched, counted from 1.
    std::uint32_t touched = 0;
    struct Extra {
        /// Position at which a predicate last became true, for those that ever did; by ascending predicate.
        std::vector<std::pair<std::uint32_t, Position>> since;
        std::vector<Aggregate> aggregates;
        /// What the key was made of, as of when the group was emptied; null while it has entries, which tell.
        GroupKey values;
    };
    std::unique_ptr<Extra> extra;
};

class GroupTable {
public:
    GroupTable(std::string region, std::vector<Field> fields, Filter filter, std::string identity)
        : region_(std::move(region)),
          fields_(std::move(fields)),
          filter_(std::move(filter)),
          identity_(std::move(identity)) {}

    [[nodiscard]] const std::string& region() const { return region_; }
    [[nodiscard]] const std::vector<Field>& fields() const { return fields_; }
    /// What an entry must pass to be counted at all; literals only.
    [[nodiscard]] const Filter& filter() const { return filter_; }
    [[nodiscard]] const std::string& identity() const { return identity_; }

    /// The number of an equal predicate, or of a new one. `entries`: what the table counts over, for a
    /// new predicate that needs an aggregate nobody has kept so far.
    std::uint32_t predicate(const Term& term, const EntryTable& entries);
    [[nodiscard]] const std::vector<Predicate>& predicates() const { return predicates_; }

    [[nodiscard]] Group* find(const Hash128& key);
    Group& get(const Hash128& key);
    /// Forgets a group that says no more than a missing one would.
    void forget_if_plain(Group& group);

    void add(Group& group, const Entry& entry);
    void remove(Group& group, const Entry& entry);
    /// A missing group (null) is an empty one.
    [[nodiscard]] bool holds(std::uint32_t predicate, const Group* group) const;

    // A write asks which predicates changed. Those that compare one number, as a count or a sum, with constants
    // are found by it: only constants that it passed can have changed an answer.
    /// The predicates that must be asked one by one.
    [[nodiscard]] const std::vector<std::uint32_t>& asked_singly() const { return asked_singly_; }
    /// How many numbers the other predicates look at.
    [[nodiscard]] std::size_t measures() const { return measures_.size(); }
    /// None: there is nothing to take it of.
    [[nodiscard]] std::optional<Value> measure(std::size_t which, const Group* group) const;
    /// Appends every predicate whose answer may differ between the two, and may append others.
    void find_passed(std::size_t measure, const std::optional<Value>& before, const std::optional<Value>& after,
                     std::vector<std::uint32_t>& predicates) const;
    /// The answer of a predicate that looks at a measure of this value.
    [[nodiscard]] bool holds_at(std::uint32_t predicate, const std::optional<Value>& value) const;
    [[nodiscard]] Position since(std::uint32_t predicate, const Group* group) const;
    void note_since(std::uint32_t predicate, Group& group, Position position);

    /// What the entries do not tell of a group: since when what holds of it has held.
    struct Standing {
        template <class Archive, class Self>
        static void transfer(Archive& archive, Self& self) {
            archive(self.key, self.values, self.since);
        }
        Hash128 key;
        std::optional<std::vector<Value>> values;  // of an empty group
        std::vector<std::pair<std::uint32_t, Position>> since;
    };
    /// Of all groups, by key.
    [[nodiscard]] std::vector<Standing> standing() const;

    std::uint32_t users = 0;

private:
    struct AggregateSpec {
        std::vector<std::string> field;
        bool sum = false;
        bool ordered = false;
    };
    static void change(const AggregateSpec& spec, Aggregate& aggregate, const Entry& entry, bool add);
    [[nodiscard]] std::optional<Value> result(std::uint32_t predicate, const Group* group) const;
    void index_predicate(std::uint32_t predicate);

    std::string region_;
    std::vector<Field> fields_;
    Filter filter_;
    std::string identity_;
    std::vector<Predicate> predicates_;
    std::vector<std::uint32_t> aggregate_of_;  // by predicate; none for counts
    std::vector<AggregateSpec> aggregates_;
    struct Measure {
        std::vector<std::uint32_t> predicates;                    // that look at it: one at least
        std::vector<std::pair<double, std::uint32_t>> constants;  // ascending, with the predicate
    };
    std::vector<std::uint32_t> asked_singly_;
    std::vector<Measure> measures_;
    boost::unordered_flat_map<Hash128, std::uint32_t, std::hash<Hash128>> by_key_;
    std::deque<Group> groups_;
    std::vector<std::uint32_t> free_;
};

}  // namespace stele::matching

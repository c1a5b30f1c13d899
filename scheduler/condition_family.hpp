// Conditions that are the same but for their constants, and how they are matched: which of them an
// entry concerns, and in which order their variables are bound from there. Ten thousand sources cut
// from one pattern are one family, so that an entry finds those it concerns by hash or by interval and
// not one by one. For the incremental matcher alone. Loop thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "scheduler/condition.hpp"
#include "scheduler/entry_index.hpp"
#include "scheduler/group_table.hpp"
#include "scheduler/interval_index.hpp"

namespace stele::matching {

/// Can a condition be matched by groups and seeds, or must its bindings be kept one by one? The latter
/// where a term looks at the clock, at several others (`any`, `not`), or compares with a variable by
/// anything but equality.
bool is_indexable(const Condition& condition);

/// Equal for conditions of one family.
std::string family_identity(const Condition& condition);

/// May the members of a family compare with different constants here?
bool is_own_literal(const Term& term, const Comparison& comparison);
/// Those of one condition, in order: what it does not share with its family.
std::vector<Value> own_literals(const Condition& condition);

/// Where one part of a look-up key comes from.
struct KeyPart {
    enum class From { constant, variable, group } from = From::constant;
    std::size_t comparison = 0;  // constant: index into the `where` of the term that is looked up
    VariableRef reference;       // variable
    std::size_t field = 0;       // group: index into the group's key
};

/// Binds one variable.
struct PlanStep {
    std::uint32_t variable = 0;
    /// None: every entry of the region is tried.
    Arrangement* arrangement = nullptr;
    std::vector<KeyPart> parts;
    /// The id is known, so that there is nothing to look up.
    std::optional<KeyPart> id;
    /// Variables bound before whose own tests refer to this one.
    std::vector<std::uint32_t> tested_again;
    /// Terms that bind nothing and can be asked once this is bound.
    std::vector<std::uint32_t> ready_terms;
};

struct Plan {
    std::vector<PlanStep> steps;
    /// Terms that can be asked before any step.
    std::vector<std::uint32_t> ready_terms;
    /// The steps go by ascending variable, so that bindings come in the order of their ids.
    bool ascending = true;
};

/// Which members of a family an entry may concern as one of its variables, or a group by its key.
class Dispatch {
public:
    [[nodiscard]] bool tells_apart() const { return !fields_.empty() || ranged_.has_value(); }
    /// For a term that binds: its equalities and memberships with constants, and one range.
    static Dispatch over_entries(const Term& term);
    /// For a group: the constants among the fields of its key.
    static Dispatch over_groups(const Term& term, const std::vector<std::size_t>& comparisons);

    void add(const Term& term, std::uint32_t member);
    void remove(const Term& term, std::uint32_t member);
    void find(const Entry& entry, std::vector<std::uint32_t>& members) const;
    void find(const std::vector<Value>& group_key, std::vector<std::uint32_t>& members) const;

private:
    struct Set {
        std::vector<std::uint32_t> members;  // without a range
        IntervalIndex numbers;
        IntervalIndex texts;
    };
    [[nodiscard]] std::vector<std::uint64_t> keys_of(const Term& term) const;
    void find(std::uint64_t key, const Entry* entry, std::vector<std::uint32_t>& members) const;

    std::vector<Field> fields_;
    std::vector<std::size_t> comparisons_;   // by field
    std::vector<std::size_t> group_fields_;  // groups: index into the group's key, by field
    std::optional<std::size_t> in_;          // the field that is a membership
    std::optional<Field> ranged_;
    boost::unordered_flat_map<std::uint64_t, Set> sets_;
};

struct Family {
    std::uint32_t id = 0;
    std::string identity;
    /// The terms that its members have in common, each test with its place among the literals that each
    /// member has of its own, or `shared`. Kept here, and not read from the member's condition, since a write
    /// finds what one family has in the cache and what ten thousand conditions have in memory.
    static constexpr std::uint32_t shared = ~std::uint32_t{0};
    struct Shape {
        Term term;
        std::vector<std::uint32_t> literal;  // by index into the term's `where`
    };
    std::vector<Shape> terms;
    /// Terms that bind, by variable; index into Condition::terms.
    std::vector<std::uint32_t> binding;
    std::vector<EntryTable*> tables;            // by variable
    std::vector<std::string> regions;           // by variable
    std::vector<std::uint32_t> region_numbers;  // by variable: what the matcher calls them
    std::vector<Dispatch> dispatch;             // by variable
    /// Where a variable tells no members apart: another one that does, found from it by key.
    struct Refinement {
        std::uint32_t variable = 0;
        Arrangement* arrangement = nullptr;
        std::vector<KeyPart> parts;
    };
    std::vector<std::optional<Refinement>> refine;  // by variable
    /// A variable that some plan looks up by constants alone. While no entry has them nothing can match, as for a
    /// rule that waits for its stage, so nothing need be looked for.
    struct Gate {
        std::uint32_t variable = 0;
        Arrangement* arrangement = nullptr;
        std::vector<KeyPart> parts;
    };
    std::vector<Gate> gates;  // one a variable at most

    /// A term that asks about groups.
    struct GroupTerm {
        std::uint32_t term = 0;
        std::shared_ptr<GroupTable> table;
        std::uint32_t predicate = 0;
        std::vector<KeyPart> parts;  // by field of the table
        Dispatch dispatch;
        /// Where its key tells no members apart: a variable it refers to, found from the key.
        std::optional<Refinement> refine;
        Plan plan;
    };
    std::vector<GroupTerm> groups;
    std::vector<std::uint32_t> starts;  // terms
    Plan whole;                         // from nothing
    std::vector<Plan> from_variable;    // from one bound variable

    std::vector<std::uint32_t> members;  // condition indices, ascending
    /// Regions of binding terms that are empty; with any there is nothing to match.
    std::uint32_t empty_sides = 0;
    /// Everything arranged for it, to be given back.
    std::vector<std::pair<EntryTable*, Arrangement*>> arranged;
};

/// Gives the parts that families are made of; the same for equal asks.
class IndexMaker {
public:
    virtual ~IndexMaker() = default;
    virtual EntryTable& table(const std::string& region) = 0;
    virtual std::shared_ptr<GroupTable> groups(const std::string& region, const std::vector<Field>& fields,
                                               const Filter& filter) = 0;
};

std::unique_ptr<Family> make_family(const Condition& condition, std::uint32_t id, IndexMaker& maker);

/// Of values under the arrangement's hash.
std::uint64_t key_hash(const std::vector<Value>& values);

}  // namespace stele::matching

// Conditions whose bindings must be held one by one, because a term looks at the clock, at several
// terms at once, or compares with a variable by more than equality. The bindings come from the
// matcher, which joins them; here each knows what its terms count and since when they have held, so that a
// changed entry is compared with just the bindings it shares its equalities with, and time wakes just
// those whose time has come. For the incremental matcher alone. Loop thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "scheduler/condition.hpp"
#include "scheduler/entry_index.hpp"
#include "scheduler/evaluate.hpp"
#include "scheduler/group_table.hpp"
#include "scheduler/matcher.hpp"

namespace stele::matching {

class HeldConditions {
public:
    /// Is told of every match that comes and goes.
    struct Listener {
        virtual ~Listener() = default;
        virtual void came(const MatchPtr& match) = 0;
        virtual void went(const MatchPtr& match) = 0;
    };
    using TableOf = std::function<EntryTable&(const std::string& region)>;

    HeldConditions(TableOf table_of, Listener& listener) : table_of_(std::move(table_of)), listener_(listener) {}

    void add(std::uint32_t index, const WatchedCondition& condition);
    void remove(std::uint32_t index);
    [[nodiscard]] bool has(std::uint32_t index) const { return index < conditions_.size() && conditions_[index]; }

    /// A binding came or went: entries by variable. Known by the ids and versions.
    void add_binding(std::uint32_t index, const Bindings& entries);
    void drop_binding(std::uint32_t index, const Bindings& entries);

    void begin_run(Position run, TimeMs time);
    /// A commit begins.
    void begin_commit(TimeMs now) { now_ = std::max(now_, now); }
    /// One entry of it, told after the tables have changed.
    void change(const EntryPtr& before, const EntryPtr& after);
    /// All of the commit has been told; bindings that it ended are gone, those it made have not come yet.
    void settle(Position position);
    void clock(Position position, TimeMs now);

    [[nodiscard]] std::optional<TimeMs> next_due() const;
    [[nodiscard]] bool holds_due() const { return waiting_ > 0; }
    [[nodiscard]] MatchPtr find(std::uint32_t index, const MatchRecord& record) const;
    /// In the order of their bindings.
    [[nodiscard]] std::vector<MatchPtr> all_matches(std::uint32_t index) const;

    void save(CheckpointWriter& out) const;
    /// In two steps: the clock before any binding comes, since when their terms have held when all of them have.
    /// Without `in_run` as if no run had begun.
    void load_clock(CheckpointReader& in, bool in_run);
    void load_terms(CheckpointReader& in, bool in_run);

private:
    // A term that looks at a region, at the top or inside `any` or `not`.
    struct Leaf {
        const Term* term = nullptr;
        std::uint32_t top = 0;  // the term of the condition that it is part of
        std::vector<Field> fields;
        std::vector<std::size_t> equalities;  // by field, into the term's `where`
        EntryTable* table = nullptr;
        Arrangement* arrangement = nullptr;  // none: no equalities, every entry is looked at
        boost::unordered_flat_map<std::uint64_t, std::vector<std::uint32_t>> bindings;
    };
    struct LeafState {
        std::uint64_t key = 0;
        std::int64_t count = 0;
        std::unique_ptr<Aggregate> aggregate;
    };
    struct TermState {
        template <class Archive, class Self>
        static void transfer(Archive& archive, Self& self);
        bool holds = false;
        Position since;
        std::int64_t tick_ms = 0;
        // In the present commit.
        bool asked = false;
        bool borne = false;
    };
    // Bound versions in variable order: what tells one binding from another.
    using BindingKey = std::vector<std::pair<std::uint64_t, std::uint32_t>>;
    struct Held {
        std::uint32_t condition = 0;
        Bindings entries;
        std::vector<LeafState> leaves;
        std::vector<TermState> terms;
        MatchPtr match;
        std::optional<TimeMs> flips;  // as it stands in flips_
        std::optional<TimeMs> wakes;
        bool waits = false;
        bool asked = false;
    };
    struct Watched {
        std::string name;
        const Condition* condition = nullptr;
        std::vector<const Term*> others;
        std::vector<Leaf> leaves;
        std::vector<std::uint32_t> first_leaf;  // by term, in the order in which a walk meets them
        bool timed = false;
        std::map<BindingKey, std::uint32_t> bindings;
    };

    static BindingKey key_of_binding(const Bindings& entries);
    void collect_leaves(Watched& watched, const Term& term, std::uint32_t top);
    [[nodiscard]] static std::uint64_t leaf_key(const Leaf& leaf, const Bindings& entries);
    static void count(const Leaf& leaf, LeafState& state, const Entry& entry, bool add);
    void count_all(const Leaf& leaf, LeafState& state, const Bindings& entries);
    void change_leaf(std::uint32_t condition, std::size_t leaf, const Entry& entry, bool add);

    // `leaf` walks along with the terms.
    [[nodiscard]] bool truth(const Term& term, const Held& held, std::size_t& leaf) const;
    [[nodiscard]] bool leaf_truth(const Term& term, const Held& held, const LeafState& state) const;
    [[nodiscard]] std::int64_t newest_tick_ms(const Term& term, const Held& held, std::size_t& leaf) const;
    void collect_dues(const Term& term, const Held& held, std::vector<TimeMs>& waits, std::vector<TimeMs>& ticks) const;
    [[nodiscard]] TimeMs after_due(const Term& term, const Held& held) const;
    [[nodiscard]] TimeMs quiet_due(const Term& term) const;
    [[nodiscard]] std::int64_t ticks(const Term& term) const;

    void ask(std::uint32_t binding, Position position, bool by_time);
    void bring_in_line(std::uint32_t binding);
    void plan_time(std::uint32_t binding);
    void unplan_time(std::uint32_t binding);

    TableOf table_of_;
    Listener& listener_;
    std::vector<std::unique_ptr<Watched>> conditions_;
    std::vector<Held> held_;
    std::vector<std::uint32_t> free_;
    std::map<std::string, std::vector<std::pair<std::uint32_t, std::size_t>>, std::less<>> watchers_;
    std::map<std::string, TimeMs, std::less<>> last_change_;
    std::vector<std::uint32_t> asked_;
    std::set<std::pair<TimeMs, std::uint32_t>> flips_;  // when a term could change by time alone
    std::set<std::pair<TimeMs, std::uint32_t>> wakes_;  // the same, where nothing but time is missing
    std::size_t waiting_ = 0;
    Position run_;
    TimeMs run_time_;
    TimeMs now_;
};

}  // namespace stele::matching

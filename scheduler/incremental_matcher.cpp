// How it works. Every active entry of a watched region stands in tables that find it by the values of
// some fields (entry_index), and is counted in the groups that terms ask about (group_table). A match has
// one *seed*: what made it as new as it is, which is the newest of its entries or, where that is newer,
// the group that last made one of its terms true. A commit makes seeds of what it changed, for just those
// conditions that the change may concern (condition_family). A seed binds the other variables outward by
// look-ups, and offers the first match it finds; the next one when that is taken up or gone. So no
// partial match is stored, an offered match stands for all that its seed holds back, and a seed that finds
// nothing is forgotten: whatever could still make a match will be a seed itself.
//
// After Miranker's TREAT (no partial matches), the lazy matching of Miranker and Brant's LEAPS (seeds in
// order of age), Doorenbos's unlinking (conditions with an empty side cost nothing) and the groups of
// Drools's accumulate.
#include <algorithm>
#include <cassert>
#include <functional>
#include <map>
#include <tuple>

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>

#include "scheduler/checkpoint.hpp"
#include "scheduler/condition_family.hpp"
#include "scheduler/evaluate.hpp"
#include "scheduler/group_table.hpp"
#include "scheduler/held_conditions.hpp"
#include "scheduler/matcher.hpp"

namespace stele {
namespace {

using matching::Arrangement;
using matching::EntryTable;
using matching::Family;
using matching::Field;
using matching::Group;
using matching::GroupKey;
using matching::GroupTable;
using matching::KeyHasher;
using matching::KeyPart;
using matching::Plan;
using matching::PlanStep;

using Numbers = std::vector<std::uint64_t>;
using OnEntry = std::function<void(const EntryPtr&)>;

struct Member {
    std::uint32_t index = 0;
    std::uint32_t first_seed = 0;
    Family* family = nullptr;
    /// What its condition does not share with its family's.
    std::vector<Value> literals;
    std::string name;
    const Condition* condition = nullptr;
    bool offer_all = false;
    Hash128 fingerprint;  // of its condition, whole
    /// Its matches are the bindings of a condition that is held binding by binding; `condition` is then
    /// this, which has but the terms that bind.
    std::unique_ptr<const Condition> binding_terms;
    /// What its terms did up to here is not known.
    Position added_at;
    std::vector<std::uint64_t> gate_keys;  // by index into Family::gates
};

struct Seed {
    enum class Kind { free, nothing, entry, group, start, one } kind = Kind::free;
    std::uint32_t member = 0;
    std::uint32_t which = 0;   // entry: the variable; group: index into Family::groups; start: the term
    std::uint64_t number = 0;  // entry: of the entry
    Position position;
    GroupKey group_key;
    MatchPtr head;
    /// Bindings still to be looked at, by number and variable, where they could not be had in order.
    Numbers gathered;
    std::size_t gathered_at = 0;
    std::uint32_t first_node = 0;
    std::uint32_t previous = 0;  // of the same member; 0: none
    std::uint32_t next = 0;
    bool to_advance = false;
};

// An offered match in the list of something that it rests on: an entry, or a group.
struct Node {
    std::uint32_t seed = 0;
    std::uint32_t previous = 0;
    std::uint32_t next = 0;
    std::uint32_t next_of_seed = 0;
    Group* group = nullptr;  // none: an entry
    GroupTable* table = nullptr;
    std::uint32_t region = 0;
    std::uint64_t number = 0;
};

struct Region {
    std::string name;
    std::uint32_t index = 0;
    EntryTable entries;
    std::vector<GroupTable*> groups;
    struct Watcher {
        Family* family = nullptr;
        std::uint32_t variable = 0;
        bool operator==(const Watcher&) const = default;
    };
    /// Families that could find a match: none of their sides is empty.
    std::vector<Watcher> linked;
    std::vector<Watcher> watchers;
};

struct Touched {
    GroupTable* table = nullptr;
    Group* group = nullptr;
    GroupKey key;
    std::size_t answers = 0;   // where those of predicates asked one by one stand in `answers_`
    std::size_t measured = 0;  // where its measures stand in `measured_`
    std::size_t began = 0;     // from here in `began_`, up to the next one's: predicates that began to hold
};

class IncrementalMatcher final : public ResumableMatcher,
                                 private matching::IndexMaker,
                                 private matching::HeldConditions::Listener {
public:
    IncrementalMatcher(std::vector<WatchedCondition> conditions, Refracted refracted)
        : refracted_(std::move(refracted)),
          held_([this](const std::string& name) -> EntryTable& { return region(name).entries; }, *this) {
        seeds_.emplace_back();
        nodes_.emplace_back();
        for (std::uint32_t i = 0; i < conditions.size(); ++i) add(i, conditions[i], {});
    }

    void begin_run(Position run, TimeMs time) override {
        run_ = run;
        now_ = std::max(now_, time);
        held_.begin_run(run, time);
        for (const std::uint32_t index : starting_) {
            Member& member = *members_[index];
            forget_seeds(member);
            plant(member, seed_of(Seed::Kind::start, member.family->starts.front(), run));
        }
        newest_ = std::max(newest_, run);
    }

    void commit(Position position, TimeMs time, std::span<const EntryChange> changes) override {
        newest_ = std::max(newest_, position);
        now_ = std::max(now_, time);
        held_.begin_commit(now_);
        touched_.clear();
        answers_.clear();
        measured_.clear();
        fresh_.clear();
        for (const EntryChange& change : changes) apply(change);
        settle_groups(position);
        held_.settle(position);
        for (std::size_t i = 0; i < to_advance_.size(); ++i) {
            const std::uint32_t seed = to_advance_[i];
            seeds_[seed].to_advance = false;
            advance(seed);
        }
        to_advance_.clear();
        for (const auto& [region, entry] : fresh_) {
            if (region->entries.find(entry->id.number) == entry) plant_entry(*region, entry, position);
        }
        plant_groups(position);
        held_.clock(position, now_);
    }

    void clock(Position position, TimeMs now) override {
        now_ = std::max(now_, now);
        newest_ = std::max(newest_, position);
        held_.clock(position, now_);
    }

    MatchDelta take_delta() override {
        MatchDelta delta;
        for (MatchPtr& match : removed_) delta.removed.push_back(std::move(match));
        for (MatchPtr& match : added_) {
            if (untold_.count(match.get()) > 0) delta.added.push_back(std::move(match));
        }
        removed_.clear();
        added_.clear();
        // Emptying a table costs its capacity, which one large delta would leave behind for all that follow.
        if (untold_.bucket_count() > untold_kept) {
            untold_ = {};
        } else {
            untold_.clear();
        }
        return delta;
    }

    MatchPtr find(std::uint32_t condition, const MatchRecord& record) const override {
        if (condition >= members_.size() || !members_[condition]) return nullptr;
        if (held_.has(condition)) return held_.find(condition, record);
        const Member& member = *members_[condition];
        const Family& family = *member.family;
        if (record.bound.size() != family.binding.size()) return nullptr;
        Bindings bindings(family.binding.size());
        for (std::size_t variable = 0; variable < bindings.size(); ++variable) {
            const BoundEntry& bound = record.bound[variable];
            if (bound.id.region != family.regions[variable]) return nullptr;
            const EntryPtr& entry = family.tables[variable]->find(bound.id.number);
            if (!entry || entry->version != bound.version) return nullptr;
            bindings[variable] = entry;
            if (!fits(member, static_cast<std::uint32_t>(variable), *entry, bindings)) return nullptr;
        }
        std::vector<Group*> groups;
        if (!ask_terms(member, bindings, groups)) return nullptr;
        MatchPtr match = make_match(member, bindings, groups);
        return match->key == record.key ? match : nullptr;
    }

    void set_order(bool higher_first) override {
        if (higher_first == higher_first_) return;
        higher_first_ = higher_first;
        // What was taken up is refracted, so each seed can begin again from the other end.
        for (std::uint32_t index = 1; index < seeds_.size(); ++index) {
            if (!seeds_[index].head || seeds_[index].kind == Seed::Kind::one) continue;
            take_head(index, true);
            seeds_[index].gathered.clear();
            seeds_[index].gathered_at = 0;
            if (!plan_of(seeds_[index]).ascending) gather(seeds_[index]);
            advance(index);
        }
    }

    void withdraw(const Match& match) override {
        if (held_offered_.erase(match.key) > 0) {
            untold_.erase(&match);
            return;
        }
        const auto found = by_key_.find(match.key);
        if (found == by_key_.end()) return;
        const std::uint32_t seed = found->second;
        take_head(seed, false);
        advance(seed);
    }

    void offer(const MatchPtr& match) override {
        if (by_key_.count(match->key) > 0 || held_offered_.count(match->key) > 0) return;
        MatchPtr found = find(match->condition, {match->key, match->bound, match->episodes});
        if (!found) return;
        if (held_.has(match->condition)) return came(found);
        const std::uint32_t seed = new_seed(*members_[match->condition]);
        seeds_[seed].kind = Seed::Kind::one;
        set_head(seed, std::move(found));
    }

    std::vector<MatchPtr> all_matches(std::uint32_t condition) const override {
        std::vector<MatchPtr> matches;
        if (condition >= members_.size() || !members_[condition]) return matches;
        if (held_.has(condition)) {
            matches = held_.all_matches(condition);
        } else {
            const Member& member = *members_[condition];
            Search search(member, member.family->whole, kept_);
            run(search, [&](Search& found) {
                matches.push_back(make_match(member, found.bindings, found.groups));
                return true;
            });
        }
        std::sort(matches.begin(), matches.end(), [](const MatchPtr& a, const MatchPtr& b) { return a->key < b->key; });
        return matches;
    }

    void add(std::uint32_t index, const WatchedCondition& watched, const RegionReader& entries) override {
        if (index >= members_.size()) members_.resize(index + 1);
        assert(!members_[index]);
        reader_ = &entries;
        auto made = std::make_unique<Member>();
        Member& member = *made;
        members_[index] = std::move(made);
        member.index = index;
        member.name = watched.name;
        member.condition = watched.condition;
        member.offer_all = watched.offer_all;
        member.fingerprint = watched.condition->fingerprint();
        hides_time_ = hides_time_ || watched.condition->hides_time();
        member.added_at = newest_;
        if (!matching::is_indexable(*watched.condition)) {
            auto binding_terms = std::make_unique<Condition>();
            binding_terms->variables = watched.condition->variables;
            for (const Term& term : watched.condition->terms) {
                if (term.binds()) binding_terms->terms.push_back(term);
            }
            member.binding_terms = std::move(binding_terms);
            member.condition = member.binding_terms.get();
            member.offer_all = true;
            held_.add(index, watched);
        }
        member.family = &family_of(*member.condition);
        member.literals = matching::own_literals(*member.condition);
        for (const Family::Gate& gate : member.family->gates) {
            const std::uint32_t term = member.family->binding[gate.variable];
            KeyHasher hasher;
            for (const KeyPart& part : gate.parts) add_part(hasher, member, term, part, {}, nullptr);
            member.gate_keys.push_back(hasher.finish().low);
        }
        Family& family = *member.family;
        family.members.insert(std::lower_bound(family.members.begin(), family.members.end(), index), index);
        for (std::size_t variable = 0; variable < family.binding.size(); ++variable) {
            family.dispatch[variable].add(member.condition->terms[family.binding[variable]], index);
        }
        for (Family::GroupTerm& group : family.groups) group.dispatch.add(member.condition->terms[group.term], index);
        if (!family.starts.empty())
            starting_.insert(std::lower_bound(starting_.begin(), starting_.end(), index), index);
        reader_ = nullptr;
        plant_all(member);
    }

    void remove(std::uint32_t index) override {
        Member& member = *members_[index];
        forget_seeds(member);
        Family& family = *member.family;
        for (std::size_t variable = 0; variable < family.binding.size(); ++variable) {
            family.dispatch[variable].remove(member.condition->terms[family.binding[variable]], index);
        }
        for (Family::GroupTerm& group : family.groups) {
            group.dispatch.remove(member.condition->terms[group.term], index);
        }
        family.members.erase(std::lower_bound(family.members.begin(), family.members.end(), index));
        if (!family.starts.empty()) starting_.erase(std::lower_bound(starting_.begin(), starting_.end(), index));
        if (held_.has(index)) held_.remove(index);
        members_[index].reset();
        if (family.members.empty()) drop_family(family);
    }

    std::optional<TimeMs> next_due() const override { return held_.next_due(); }
    bool holds_due() const override { return held_.holds_due(); }

    std::uint32_t current_version(const EntryId& id) const override {
        const auto region = region_index_.find(id.region);
        if (region == region_index_.end()) return 0;
        const EntryPtr& entry = regions_[region->second]->entries.find(id.number);
        return entry ? entry->version : 0;
    }

    void save(CheckpointWriter& out) const override {
        out(shape(), run_, newest_, now_);
        for (const auto& [name, index] : region_index_) {
            const EntryTable& entries = regions_[index]->entries;
            out(entries.size());
            std::uint64_t number = 0;
            std::uint64_t position = 0;
            for (std::uint64_t next = entries.next(1); next != 0; next = entries.next(next + 1)) {
                const std::uint64_t made = entries.find(next)->position.number;
                out(next - number, static_cast<std::int64_t>(made - position));
                number = next;
                position = made;
            }
        }
        for (const auto& [identity, table] : group_tables_) out(table->standing());
        out(offered_again());
        held_.save(out);
    }

    void load(CheckpointReader& in, const OnEntry& on_entry) override { load(in, on_entry, Loading::all); }

    bool take_over(const ResumableMatcher& other, bool new_run, const OnEntry& on_entry) override {
        const auto* const same = dynamic_cast<const IncrementalMatcher*>(&other);
        if (same == nullptr || same->shape() != shape() || (new_run && hides_time_)) return false;
        const std::string bytes = checkpoint_of(*same);
        CheckpointLoaders loaders;
        loaders.entry = [same](const EntryId& id, Position) -> Result<EntryPtr> {
            return same->regions_[same->region_index_.find(id.region)->second]->entries.find(id.number);
        };
        CheckpointReader in(bytes, loaders);
        load(in, on_entry, new_run ? Loading::without_run : Loading::anew);
        assert(in.finish().ok());
        return true;
    }

private:
    // ---- checkpoint ------------------------------------------------------------------------------

    enum class Loading {
        all,
        anew,        // seeds begin at their first match: what they passed over once stands before them again
        without_run  // and no run has begun
    };

    // Every match that holds has one seed: plant all that there could be, and what holds is found again.
    void load(CheckpointReader& in, const OnEntry& on_entry, Loading loading) {
        Hash128 shaped;
        in(shaped, run_, newest_, now_);
        if (shaped != shape()) return in.fail("it is of other conditions");
        if (loading == Loading::without_run) run_ = {};
        for (const auto& member : members_) {
            if (member) forget_seeds(*member);
        }
        for (const auto& [name, index] : region_index_) {
            if (!load_entries(in, *regions_[index], on_entry)) return;
        }
        std::vector<Began> began;
        for (const auto& [identity, table] : group_tables_) {
            if (!load_standing(in, *table, began)) return;
        }
        std::vector<Again> again;
        in(again);
        held_.load_clock(in, loading != Loading::without_run);
        if (!in.ok()) return;
        if (loading != Loading::all) again.clear();
        for (const Again& one : again) {
            const MatchPtr match = find(one.condition, one.match);
            if (!match) return in.fail("a match that does not hold");
            offer(match);
        }
        for (const auto& member : members_) {
            if (member && member->family->binding.empty() && member->family->starts.empty()) {
                plant(*member, seed_of(Seed::Kind::nothing, 0, {}));
            }
        }
        for (const std::uint32_t index : starting_) {
            if (run_)
                plant(*members_[index], seed_of(Seed::Kind::start, members_[index]->family->starts.front(), run_));
        }
        for (const auto& [name, index] : region_index_) {
            Region& region = *regions_[index];
            for (std::uint64_t at = region.entries.next(1); at != 0; at = region.entries.next(at + 1)) {
                const EntryPtr entry = region.entries.find(at);
                plant_entry(region, entry, entry->position);
            }
        }
        for (const Began& one : began) plant_group(*one.table, one.predicate, one.key, one.since);
        held_.load_terms(in, loading != Loading::without_run);
    }

    // A predicate that holds of a group.
    struct Began {
        GroupTable* table = nullptr;
        std::uint32_t predicate = 0;
        GroupKey key;
        Position since;
    };

    // A match that its seed has passed over, since it was refracted then.
    struct Again {
        template <class Archive, class Self>
        static void transfer(Archive& archive, Self& self) {
            archive(self.condition, self.match.key, self.match.bound, self.match.episodes);
        }
        std::uint32_t condition = 0;
        MatchRecord match;
    };

    [[nodiscard]] std::vector<Again> offered_again() const {
        std::vector<Again> all;
        for (const Seed& seed : seeds_) {
            if (seed.kind != Seed::Kind::one || !seed.head || members_[seed.member]->offer_all) continue;
            all.push_back({seed.head->condition, {seed.head->key, seed.head->bound, seed.head->episodes}});
        }
        std::sort(all.begin(), all.end(), [](const Again& a, const Again& b) {
            return a.condition != b.condition ? a.condition < b.condition : a.match.key < b.match.key;
        });
        return all;
    }

    // What is watched and how it is numbered: a checkpoint fits where it is the same.
    [[nodiscard]] Hash128 shape() const {
        std::string text;
        for (const auto& member : members_) {
            if (member) text += member->name + '\0' + to_hex(member->fingerprint) + (member->offer_all ? '\1' : '\0');
        }
        for (const auto& [name, index] : region_index_) text += name + '\0';
        for (const auto& [identity, table] : group_tables_) {
            text += identity + '\0' + std::to_string(table->predicates().size()) + '\0';
        }
        return fixed_digest(text);
    }

    bool load_entries(CheckpointReader& in, Region& region, const OnEntry& on_entry) {
        std::size_t count = 0;
        in(count);
        EntryId id{region.name, 0};
        Position position;
        for (std::size_t i = 0; i < count; ++i) {
            std::uint64_t step = 0;
            std::int64_t moved = 0;
            in(step, moved);
            if (step == 0) in.fail("the same entry twice");
            id.number += step;
            position.number += static_cast<std::uint64_t>(moved);
            const EntryPtr entry = in.entry(id, position);
            if (!entry) return false;
            region.entries.put(entry);
            for (GroupTable* table : region.groups) {
                if (passes(table->filter(), *entry, {}))
                    table->add(table->get(key_of(*entry, table->fields())), *entry);
            }
            on_entry(entry);
        }
        if (count > 0) set_side(region, false);
        return in.ok();
    }

    bool load_standing(CheckpointReader& in, GroupTable& table, std::vector<Began>& began) {
        std::vector<GroupTable::Standing> all;
        in(all);
        if (!in.ok()) return false;
        std::map<Hash128, const GroupTable::Standing*> open;
        for (const GroupTable::Standing& standing : all) open.emplace(standing.key, &standing);
        const auto settle = [&](const GroupTable::Standing& standing, Group& group, const GroupKey& key) {
            for (const auto& [predicate, since] : standing.since) {
                if (predicate >= table.predicates().size()) return in.fail("a predicate that nobody asks");
                table.note_since(predicate, group, since);
                began.push_back({&table, predicate, key, since});
            }
            if (standing.values) group.extra->values = key;
        };
        const EntryTable& entries = region(table.region()).entries;
        for (std::uint64_t at = entries.next(1); at != 0 && !open.empty(); at = entries.next(at + 1)) {
            const Entry& entry = *entries.find(at);
            if (!passes(table.filter(), entry, {})) continue;
            const auto found = open.find(key_of(entry, table.fields()));
            if (found == open.end() || found->second->values) continue;
            settle(*found->second, table.get(found->first), key_values(table, entry));
            open.erase(found);
        }
        for (const auto& [key, standing] : open) {
            const bool sound = standing->values && standing->values->size() == table.fields().size();
            if (!sound || table.find(key) != nullptr) return in.fail("a group without entries"), false;
            settle(*standing, table.get(key), std::make_shared<const std::vector<Value>>(*standing->values));
        }
        return in.ok();
    }

    void plant_group(GroupTable& table, std::uint32_t predicate, const GroupKey& key, Position position) {
        const auto subscribed = subscribers_.find({&table, predicate});
        if (subscribed == subscribers_.end()) return;
        for (const auto& [family, term] : subscribed->second) {
            if (family->empty_sides == 0) plant_group(*family, term, key, position);
        }
    }

    // ---- what conditions are made of -------------------------------------------------------------

    EntryTable& table(const std::string& name) override { return region(name).entries; }

    Region& region(const std::string& name) {
        const auto [at, fresh] = region_index_.try_emplace(name, static_cast<std::uint32_t>(regions_.size()));
        if (!fresh) return *regions_[at->second];
        regions_.push_back(std::make_unique<Region>());
        Region& made = *regions_.back();
        made.name = name;
        made.index = at->second;
        if (reader_ != nullptr && *reader_) {
            (*reader_)(name, [&](const EntryPtr& entry) { made.entries.put(entry); });
        }
        return made;
    }

    std::shared_ptr<GroupTable> groups(const std::string& name, const std::vector<Field>& fields,
                                       const Filter& filter) override {
        Term shape;
        shape.kind = TermKind::none;  // so that every constant counts
        shape.region = name;
        shape.where = filter;
        std::string identity = matching::family_identity({{shape}, {}}) + '|';
        for (const Field& field : fields) {
            identity += static_cast<char>('0' + static_cast<int>(field.attribute));
            for (const std::string& step : field.path) identity += std::to_string(step.size()) + ':' + step;
            identity += ',';
        }
        // A weak table of everything counted: the families that use one keep it.
        const auto known = group_tables_.find(identity);
        if (known != group_tables_.end()) return known->second;
        auto made = std::make_shared<GroupTable>(name, fields, filter, identity);
        Region& counted = region(name);
        counted.groups.push_back(made.get());
        for (std::uint64_t number = counted.entries.next(1); number != 0; number = counted.entries.next(number + 1)) {
            const Entry& entry = *counted.entries.find(number);
            if (passes(made->filter(), entry, {})) made->add(made->get(key_of(entry, fields)), entry);
        }
        group_tables_.emplace(std::move(identity), made);
        return made;
    }

    Family& family_of(const Condition& condition) {
        std::string identity = matching::family_identity(condition);
        const auto known = families_.find(identity);
        if (known != families_.end()) return *known->second;
        std::unique_ptr<Family> made = matching::make_family(condition, next_family_++, *this);
        Family& family = *made;
        for (std::uint32_t variable = 0; variable < family.binding.size(); ++variable) {
            Region& watched = region(family.regions[variable]);
            family.region_numbers.push_back(watched.index);
            watched.watchers.push_back({&family, variable});
        }
        if (family.empty_sides == 0) link(family);
        for (std::uint32_t i = 0; i < family.groups.size(); ++i) {
            subscribers_[{family.groups[i].table.get(), family.groups[i].predicate}].push_back({&family, i});
        }
        families_.emplace(std::move(identity), std::move(made));
        return family;
    }

    void drop_family(Family& family) {
        if (family.empty_sides == 0) unlink(family);
        for (std::uint32_t variable = 0; variable < family.binding.size(); ++variable) {
            erase_one(region(family.regions[variable]).watchers, {&family, variable});
        }
        for (std::uint32_t i = 0; i < family.groups.size(); ++i) {
            GroupTable* table = family.groups[i].table.get();
            auto& subscribed = subscribers_[{table, family.groups[i].predicate}];
            erase_one(subscribed, {&family, i});
            if (subscribed.empty()) subscribers_.erase({table, family.groups[i].predicate});
            if (--table->users > 0) continue;
            erase_one(region(table->region()).groups, table);
            group_tables_.erase(table->identity());
        }
        for (const auto& [entries, arrangement] : family.arranged) entries->release(arrangement);
        families_.erase(std::string(family.identity));
    }

    template <class T>
    static void erase_one(std::vector<T>& all, const T& one) {
        all.erase(std::find(all.begin(), all.end(), one));
    }

    void link(Family& family) {
        for (std::uint32_t variable = 0; variable < family.binding.size(); ++variable) {
            region(family.regions[variable]).linked.push_back({&family, variable});
        }
    }
    void unlink(Family& family) {
        for (std::uint32_t variable = 0; variable < family.binding.size(); ++variable) {
            erase_one(region(family.regions[variable]).linked, {&family, variable});
        }
    }

    // ---- a commit --------------------------------------------------------------------------------

    void apply(const EntryChange& change) {
        const auto found = region_index_.find(change.id.region);
        if (found == region_index_.end()) return;
        Region& region = *regions_[found->second];
        if (region.entries.find(change.id.number)) drop_matches_of(region, change.id.number);
        const EntryPtr before =
            change.after ? region.entries.put(change.after) : region.entries.erase(change.id.number);
        for (GroupTable* table : region.groups) {
            if (before && passes(table->filter(), *before, {})) {
                table->remove(touch(*table, *before), *before);
            }
            if (change.after && passes(table->filter(), *change.after, {})) {
                table->add(touch(*table, *change.after), *change.after);
            }
        }
        if (before || change.after) held_.change(before, change.after);
        if (change.after) fresh_.emplace_back(&region, change.after);
        if (!before && change.after && region.entries.size() == 1) set_side(region, false);
        if (before && !change.after && region.entries.size() == 0) set_side(region, true);
    }

    void set_side(Region& region, bool empty) {
        for (const Region::Watcher& watcher : region.watchers) {
            Family& family = *watcher.family;
            if (empty) {
                if (family.empty_sides++ == 0) unlink(family);
            } else if (--family.empty_sides == 0) {
                link(family);
            }
        }
    }

    static GroupKey key_values(const GroupTable& table, const Entry& entry) {
        auto key = std::make_shared<std::vector<Value>>();
        static const Value null;
        for (const Field& field : table.fields()) {
            const std::optional<Value> value = value_at(entry, field.attribute, field.path);
            key->push_back(value ? *value : null);
        }
        return key;
    }

    Group& touch(GroupTable& table, const Entry& entry) {
        Group& group = table.get(key_of(entry, table.fields()));
        if (group.touched != 0) return group;
        touched_.push_back({&table, &group, key_values(table, entry), answers_.size(), measured_.size(), 0});
        group.touched = static_cast<std::uint32_t>(touched_.size());
        for (const std::uint32_t predicate : table.asked_singly()) answers_.push_back(table.holds(predicate, &group));
        for (std::size_t i = 0; i < table.measures(); ++i) measured_.push_back(table.measure(i, &group));
        return group;
    }

    void drop_matches_of(Region& region, std::uint64_t number) {
        std::vector<std::uint32_t> resting;
        for (std::uint32_t node = region.entries.mark(number); node != 0; node = nodes_[node].next) {
            resting.push_back(nodes_[node].seed);
        }
        for (const std::uint32_t seed : resting) {
            if (seeds_[seed].head) drop_head(seed);
        }
    }

    // The match is gone; its seed must look for another.
    void drop_head(std::uint32_t seed) {
        take_head(seed, true);
        if (seeds_[seed].to_advance) return;
        seeds_[seed].to_advance = true;
        to_advance_.push_back(seed);
    }

    void settle_groups(Position position) {
        began_.clear();
        for (Touched& touched : touched_) {
            touched.began = began_.size();
            if (!answer_again(touched)) continue;
            // By ascending number, so that what follows does not depend on how they were found.
            std::sort(began_.begin() + static_cast<long>(touched.began), began_.end());
            for (std::size_t i = touched.began; i < began_.size(); ++i) {
                touched.table->note_since(began_[i], *touched.group, position);
            }
            std::vector<std::uint32_t> resting;
            for (std::uint32_t node = touched.group->first_node; node != 0; node = nodes_[node].next) {
                resting.push_back(nodes_[node].seed);
            }
            for (const std::uint32_t seed : resting) {
                if (seeds_[seed].head && !still_holds(*seeds_[seed].head)) drop_head(seed);
            }
        }
    }

    // Gathers the predicates that began to hold. Is any answer another one, or to be told again?
    bool answer_again(const Touched& touched) {
        const GroupTable& table = *touched.table;
        bool moved = false;
        const auto compare = [&](std::uint32_t predicate, bool was, bool now) {
            const bool again = was && now && table.predicates()[predicate].again_on_change;
            if (now && (again || !was)) began_.push_back(predicate);
            moved = moved || was != now || again;
        };
        for (std::size_t i = 0; i < table.asked_singly().size(); ++i) {
            const std::uint32_t predicate = table.asked_singly()[i];
            compare(predicate, answers_[touched.answers + i] != 0, table.holds(predicate, touched.group));
        }
        for (std::size_t i = 0; i < table.measures(); ++i) {
            const std::optional<Value>& before = measured_[touched.measured + i];
            const std::optional<Value> after = table.measure(i, touched.group);
            passed_.clear();
            table.find_passed(i, before, after, passed_);
            std::sort(passed_.begin(), passed_.end());
            passed_.erase(std::unique(passed_.begin(), passed_.end()), passed_.end());
            for (const std::uint32_t predicate : passed_) {
                compare(predicate, table.holds_at(predicate, before), table.holds_at(predicate, after));
            }
        }
        return moved;
    }

    bool still_holds(const Match& match) const {
        const Member& member = *members_[match.condition];
        std::vector<Group*> groups;
        return ask_terms(member, match.entries, groups) &&
               episodes_of(member, groups, birth_of(match.entries)) == match.episodes;
    }

    void plant_groups(Position position) {
        for (std::size_t at = 0; at < touched_.size(); ++at) {
            const Touched& touched = touched_[at];
            const std::size_t end = at + 1 < touched_.size() ? touched_[at + 1].began : began_.size();
            for (std::size_t i = touched.began; i < end; ++i) {
                plant_group(*touched.table, began_[i], touched.key, position);
            }
        }
        for (const Touched& touched : touched_) {
            touched.group->touched = 0;
            if (touched.group->extra) touched.group->extra->values = touched.group->count == 0 ? touched.key : nullptr;
            touched.table->forget_if_plain(*touched.group);
        }
    }

    // ---- seeds -----------------------------------------------------------------------------------

    void plant_entry(Region& region, const EntryPtr& entry, Position position) {
        // By index: planting links nothing, but a copy of what may grow costs more than care.
        for (std::size_t i = 0; i < region.linked.size(); ++i) {
            const Region::Watcher watcher = region.linked[i];
            Family& family = *watcher.family;
            found_.clear();
            members_for(family, watcher.variable, *entry, found_);
            for (const std::uint32_t index : found_) {
                Member& member = *members_[index];
                if (is_barred(member, watcher.variable)) continue;
                if (!fits(member, watcher.variable, *entry, unbound(family))) continue;
                Seed seed = seed_of(Seed::Kind::entry, watcher.variable, position);
                seed.number = entry->id.number;
                plant(member, std::move(seed));
            }
        }
    }

    void plant_group(Family& family, std::uint32_t which, const GroupKey& key, Position position) {
        const Family::GroupTerm& term = family.groups[which];
        found_.clear();
        if (term.dispatch.tells_apart()) {
            term.dispatch.find(*key, found_);
        } else if (family.members.size() <= few_members || !term.refine) {
            found_ = family.members;
        } else {
            members_by(family, *term.refine, nullptr, key.get(), found_);
        }
        for (const std::uint32_t index : found_) {
            if (is_barred(*members_[index], {})) continue;
            Seed seed = seed_of(Seed::Kind::group, which, position);
            seed.group_key = key;
            plant(*members_[index], std::move(seed));
        }
    }

    const Bindings& unbound(const Family& family) {
        if (unbound_.size() < family.binding.size()) unbound_.resize(family.binding.size());
        return unbound_;
    }

    // Is there a variable, but for one that is bound, that no entry can be bound to?
    static bool is_barred(const Member& member, std::optional<std::uint32_t> bound) {
        const std::vector<Family::Gate>& gates = member.family->gates;
        for (std::size_t i = 0; i < gates.size(); ++i) {
            if (gates[i].variable != bound && !gates[i].arrangement->contains(member.gate_keys[i])) return true;
        }
        return false;
    }

    // A condition that came: everything that could be the newest of a match.
    void plant_all(Member& member) {
        const Family& family = *member.family;
        if (family.empty_sides > 0) return;
        if (family.binding.empty()) {
            if (family.starts.empty()) return plant(member, seed_of(Seed::Kind::nothing, 0, {}));
            if (run_) plant(member, seed_of(Seed::Kind::start, family.starts.front(), run_));
            return;
        }
        for (std::uint32_t variable = 0; variable < family.binding.size(); ++variable) {
            EntryTable& entries = *family.tables[variable];
            const Term& term = member.condition->terms[family.binding[variable]];
            std::map<Field, const Value*> constants;
            for (const Comparison& comparison : term.where) {
                if (comparison.op != CompareOp::eq || comparison.operand.reference) continue;
                constants.try_emplace({comparison.attribute, comparison.path}, &comparison.operand.literal);
            }
            std::vector<Field> fields;
            KeyHasher hasher;
            for (const auto& [field, value] : constants) {
                fields.push_back(field);
                hasher.add(*value);
            }
            Arrangement* arrangement = fields.empty() ? nullptr : entries.arrange(fields);
            const std::uint64_t key = hasher.finish().low;
            std::uint64_t number = 0;
            while (true) {
                number = arrangement != nullptr ? arrangement->next(key, number + 1) : entries.next(number + 1);
                if (number == 0) break;
                const EntryPtr& entry = entries.find(number);
                if (!fits(member, variable, *entry, unbound(family))) continue;
                Seed seed = seed_of(Seed::Kind::entry, variable, entry->position);
                seed.number = number;
                plant(member, std::move(seed));
            }
            // The next of its family will ask for the same.
            if (arrangement != nullptr) member.family->arranged.emplace_back(&entries, arrangement);
        }
        if (!family.starts.empty() && run_) {
            plant(member, seed_of(Seed::Kind::start, family.starts.front(), run_));
        }
    }

    static Seed seed_of(Seed::Kind kind, std::uint32_t which, Position position) {
        Seed seed;
        seed.kind = kind;
        seed.which = which;
        seed.position = position;
        return seed;
    }

    static constexpr std::size_t few_members = 4;

    void members_for(const Family& family, std::uint32_t variable, const Entry& entry,
                     std::vector<std::uint32_t>& found) const {
        const bool told_apart = family.dispatch[variable].tells_apart();
        // A few are tested one by one sooner than they are told apart.
        if (family.members.size() <= few_members || (!told_apart && !family.refine[variable])) {
            found.insert(found.end(), family.members.begin(), family.members.end());
        } else if (told_apart) {
            family.dispatch[variable].find(entry, found);
        } else {
            members_by(family, *family.refine[variable], &entry, nullptr, found);
        }
    }

    void members_by(const Family& family, const Family::Refinement& refinement, const Entry* bound,
                    const std::vector<Value>* group_key, std::vector<std::uint32_t>& found) const {
        KeyHasher hasher;
        for (const KeyPart& part : refinement.parts) {
            if (part.from == KeyPart::From::group) {
                hasher.add((*group_key)[part.field]);
            } else {
                hasher.add(*bound, {part.reference.attribute, part.reference.path});
            }
        }
        const std::uint64_t key = hasher.finish().low;
        const std::size_t begin = found.size();
        const EntryTable& entries = *family.tables[refinement.variable];
        for (std::uint64_t number = refinement.arrangement->next(key, 1); number != 0;
             number = refinement.arrangement->next(key, number + 1)) {
            members_for(family, refinement.variable, *entries.find(number), found);
        }
        std::sort(found.begin() + static_cast<long>(begin), found.end());
        found.erase(std::unique(found.begin() + static_cast<long>(begin), found.end()), found.end());
    }

    void plant(Member& member, Seed seed) {
        seed.member = member.index;
        if (member.offer_all) return offer_all_of(member, seed);
        const std::uint32_t index = new_seed(member);
        Seed& planted = seeds_[index];
        planted.kind = seed.kind;
        planted.which = seed.which;
        planted.number = seed.number;
        planted.position = seed.position;
        planted.group_key = std::move(seed.group_key);
        if (!plan_of(planted).ascending) gather(planted);
        advance(index);
    }

    void offer_all_of(Member& member, const Seed& seed) {
        std::vector<MatchPtr> matches;
        search_from(seed, {}, [&](Search& found) {
            if (MatchPtr match = own_match(seed, found)) matches.push_back(std::move(match));
            return true;
        });
        std::sort(matches.begin(), matches.end(),
                  [](const MatchPtr& a, const MatchPtr& b) { return a->bound < b->bound; });
        for (MatchPtr& match : matches) {
            if (by_key_.count(match->key) > 0 || (!member.binding_terms && refracted_(*match))) continue;
            const std::uint32_t index = new_seed(member);
            seeds_[index].kind = Seed::Kind::one;
            set_head(index, std::move(match));
        }
    }

    // All that the seed can bind, in order.
    void gather(Seed& seed) {
        std::vector<Numbers> bindings;
        search_from(seed, {}, [&](Search& found) {
            if (!owns(seed, found)) return true;
            Numbers numbers;
            for (const EntryPtr& entry : found.bindings) numbers.push_back(entry->id.number);
            bindings.push_back(std::move(numbers));
            return true;
        });
        std::sort(bindings.begin(), bindings.end());
        if (higher_first_) std::reverse(bindings.begin(), bindings.end());
        for (const Numbers& numbers : bindings)
            seed.gathered.insert(seed.gathered.end(), numbers.begin(), numbers.end());
    }

    // Offers the next match of a seed that offers none; forgets the seed when there is none.
    void advance(std::uint32_t index) {
        assert(!seeds_[index].head);
        MatchPtr next = next_match(seeds_[index]);
        if (!next) return forget(index);
        set_head(index, std::move(next));
    }

    MatchPtr next_match(Seed& seed) {
        if (seed.kind == Seed::Kind::one) return nullptr;
        const Member& member = *members_[seed.member];
        const Family& family = *member.family;
        MatchPtr next;
        const auto take = [&](Search& found) {
            MatchPtr match = own_match(seed, found);
            if (!match || by_key_.count(match->key) > 0 || refracted_(*match)) return true;
            next = std::move(match);
            return false;
        };
        if (plan_of(seed).ascending) {
            search_from(seed, seed.gathered, take);  // from what was offered last, if anything
            if (!next) return next;
            seed.gathered.clear();
            for (const EntryPtr& entry : next->entries) seed.gathered.push_back(entry->id.number);
            return next;
        }
        const std::size_t width = family.binding.size();
        while (!next && seed.gathered_at < seed.gathered.size()) {
            Search search(member, family.whole, kept_);
            bool all = true;
            for (std::size_t variable = 0; all && variable < width; ++variable) {
                const EntryPtr& entry = family.tables[variable]->find(seed.gathered[seed.gathered_at + variable]);
                all = entry && entry->position <= seed.position;
                if (!all) break;
                search.bindings[variable] = entry;
                all = fits(member, static_cast<std::uint32_t>(variable), *entry, search.bindings);
            }
            seed.gathered_at += width;
            if (all && ask_terms(member, search.bindings, search.groups)) take(search);
        }
        return next;
    }

    const Plan& plan_of(const Seed& seed) const {
        const Family& family = *members_[seed.member]->family;
        if (seed.kind == Seed::Kind::entry) return family.from_variable[seed.which];
        if (seed.kind == Seed::Kind::group) return family.groups[seed.which].plan;
        return family.whole;
    }

    std::uint32_t new_seed(Member& member) {
        std::uint32_t index = 0;
        if (free_seeds_.empty()) {
            index = static_cast<std::uint32_t>(seeds_.size());
            seeds_.emplace_back();
        } else {
            index = free_seeds_.back();
            free_seeds_.pop_back();
        }
        Seed& seed = seeds_[index];
        seed.member = member.index;
        seed.next = member.first_seed;
        if (seed.next != 0) seeds_[seed.next].previous = index;
        member.first_seed = index;
        return index;
    }

    void forget(std::uint32_t index) {
        Seed& seed = seeds_[index];
        assert(!seed.head);
        if (seed.previous != 0) {
            seeds_[seed.previous].next = seed.next;
        } else {
            members_[seed.member]->first_seed = seed.next;
        }
        if (seed.next != 0) seeds_[seed.next].previous = seed.previous;
        seed = Seed{};
        free_seeds_.push_back(index);
    }

    void forget_seeds(Member& member) {
        while (member.first_seed != 0) {
            if (seeds_[member.first_seed].head) take_head(member.first_seed, true);
            forget(member.first_seed);
        }
    }

    // ---- offered matches -------------------------------------------------------------------------

    void set_head(std::uint32_t index, MatchPtr match) {
        const Member& member = *members_[match->condition];
        const Family& family = *member.family;
        by_key_[match->key] = index;
        for (std::size_t variable = 0; variable < match->entries.size(); ++variable) {
            Node node;
            node.region = family.region_numbers[variable];
            node.number = match->entries[variable]->id.number;
            std::uint32_t& first = regions_[node.region]->entries.mark(node.number);
            first = new_node(index, node, first);
        }
        for (const Family::GroupTerm& term : family.groups) {
            Node node;
            node.group = &term.table->get(group_key(member, term, match->entries));
            node.table = term.table.get();
            node.group->first_node = new_node(index, node, node.group->first_node);
        }
        if (member.binding_terms) {
            held_.add_binding(member.index, match->entries);
        } else {
            added_.push_back(match);
            untold_.insert(match.get());
        }
        seeds_[index].head = std::move(match);
    }

    std::uint32_t new_node(std::uint32_t seed, Node node, std::uint32_t first) {
        std::uint32_t index = 0;
        if (free_nodes_.empty()) {
            index = static_cast<std::uint32_t>(nodes_.size());
            nodes_.emplace_back();
        } else {
            index = free_nodes_.back();
            free_nodes_.pop_back();
        }
        node.seed = seed;
        node.next = first;
        if (first != 0) nodes_[first].previous = index;
        node.next_of_seed = std::exchange(seeds_[seed].first_node, index);
        nodes_[index] = node;
        return index;
    }

    // `tell`: whoever was offered it is told that it is gone.
    void take_head(std::uint32_t index, bool tell) {
        Seed& seed = seeds_[index];
        const MatchPtr match = std::move(seed.head);
        seed.head = nullptr;
        by_key_.erase(match->key);
        for (std::uint32_t at = std::exchange(seed.first_node, 0); at != 0;) {
            const Node node = nodes_[at];
            if (node.next != 0) nodes_[node.next].previous = node.previous;
            if (node.previous != 0) {
                nodes_[node.previous].next = node.next;
            } else if (node.group != nullptr) {
                node.group->first_node = node.next;
                if (node.next == 0) node.table->forget_if_plain(*node.group);
            } else {
                regions_[node.region]->entries.mark(node.number) = node.next;
            }
            nodes_[at] = Node{};
            free_nodes_.push_back(at);
            at = node.next_of_seed;
        }
        if (members_[match->condition]->binding_terms) {
            return held_.drop_binding(match->condition, match->entries);
        }
        // What came and went between two deltas is not told at all.
        if (untold_.erase(match.get()) == 0 && tell) removed_.push_back(match);
    }

    // Of conditions that are held binding by binding, everything is on offer.
    void came(const MatchPtr& match) override {
        if (refracted_(*match)) return;
        held_offered_.insert(match->key);
        added_.push_back(match);
        untold_.insert(match.get());
    }
    void went(const MatchPtr& match) override {
        if (held_offered_.erase(match->key) == 0) return;
        if (untold_.erase(match.get()) == 0) removed_.push_back(match);
    }

    // ---- searching -------------------------------------------------------------------------------

    // What a search fills, kept from one to the next: most find one match, and room for it would be most of
    // what they cost.
    struct Scratch {
        Bindings bindings;
        std::vector<Group*> groups;  // by Family::groups; null for an empty group
    };

    struct Search {
        Search(const Member& of_member, const Plan& by_plan, Scratch& kept)
            : member(of_member),
              plan(by_plan),
              bindings(std::move(kept.bindings)),
              groups(std::move(kept.groups)),
              scratch(kept) {
            bindings.assign(of_member.family->binding.size(), nullptr);
            groups.assign(of_member.family->groups.size(), nullptr);
        }
        ~Search() {
            bindings.clear();
            scratch.bindings = std::move(bindings);
            scratch.groups = std::move(groups);
        }
        Search(const Search&) = delete;
        Search& operator=(const Search&) = delete;

        const Member& member;
        const Plan& plan;
        Bindings bindings;
        std::vector<Group*> groups;
        Scratch& scratch;
        const std::vector<Value>* group_key = nullptr;
        /// No entry may be newer; those of variables below `exact_from` must be older.
        Position newest{~std::uint64_t{0}};
        std::uint32_t exact_from = 0;
        /// Bindings up to these numbers, by variable, have been seen; none: everything is new.
        const Numbers* after = nullptr;
    };
    using Found = std::function<bool(Search&)>;  // false: enough

    void search_from(const Seed& seed, const Numbers& after, const Found& found) const {
        const Member& member = *members_[seed.member];
        Search search(member, plan_of(seed), kept_);
        if (!after.empty()) search.after = &after;
        switch (seed.kind) {
            case Seed::Kind::entry: {
                const EntryPtr& entry = member.family->tables[seed.which]->find(seed.number);
                if (!entry || entry->position != seed.position) return;
                search.bindings[seed.which] = entry;
                search.newest = seed.position;
                search.exact_from = seed.which;
                break;
            }
            case Seed::Kind::group:
                search.group_key = seed.group_key.get();
                search.newest = seed.position;
                search.exact_from = static_cast<std::uint32_t>(search.bindings.size());
                break;
            case Seed::Kind::start:
                search.newest = seed.position;
                search.exact_from = static_cast<std::uint32_t>(search.bindings.size());
                break;
            default:
                break;
        }
        run(search, found);
    }

    bool run(Search& search, const Found& found) const {
        if (!search.member.family->starts.empty() && !run_) return true;
        if (!ask_ready(search, search.plan.ready_terms)) return true;
        return bind(search, 0, search.after != nullptr, found);
    }

    // `seen_before`: so far the binding is as far as the search had come.
    bool bind(Search& search, std::size_t depth, bool seen_before, const Found& found) const {
        if (depth == search.plan.steps.size()) return seen_before || found(search);
        const PlanStep& step = search.plan.steps[depth];
        const EntryTable& entries = *search.member.family->tables[step.variable];
        constexpr std::uint64_t last = ~std::uint64_t{0} >> 2;
        std::uint64_t from = seen_before ? (*search.after)[step.variable] : higher_first_ ? last : 1;
        std::uint64_t key = 0;
        if (step.id) {
            const std::uint64_t only = number_of(search, step);
            if (only == 0 || (higher_first_ ? only > from : only < from)) return true;
            from = only;
        } else if (step.arrangement != nullptr) {
            key = key_of_step(search, step);
        }
        while (true) {
            std::uint64_t number = from;
            if (!step.id && higher_first_) {
                number = step.arrangement != nullptr ? step.arrangement->previous(key, from) : entries.previous(from);
            } else if (!step.id) {
                number = step.arrangement != nullptr ? step.arrangement->next(key, from) : entries.next(from);
            }
            if (number == 0) return true;
            const EntryPtr& entry = entries.find(number);
            if (entry &&
                !try_entry(search, depth, entry, seen_before && number == (*search.after)[step.variable], found)) {
                return false;
            }
            if (step.id) return true;
            from = higher_first_ ? number - 1 : number + 1;
            if (from == 0) return true;
        }
    }

    bool try_entry(Search& search, std::size_t depth, const EntryPtr& entry, bool seen_before,
                   const Found& found) const {
        const PlanStep& step = search.plan.steps[depth];
        if (entry->position > search.newest) return true;
        if (step.variable < search.exact_from && entry->position == search.newest) return true;
        if (!fits(search.member, step.variable, *entry, search.bindings)) return true;
        search.bindings[step.variable] = entry;
        bool go_on = true;
        const bool agrees = std::all_of(step.tested_again.begin(), step.tested_again.end(), [&](std::uint32_t other) {
            return fits(search.member, other, *search.bindings[other], search.bindings);
        });
        if (agrees && ask_ready(search, step.ready_terms)) go_on = bind(search, depth + 1, seen_before, found);
        search.bindings[step.variable] = nullptr;
        return go_on;
    }

    static bool fits(const Member& member, std::uint32_t variable, const Entry& entry, const Bindings& bindings) {
        const Family::Shape& shape = member.family->terms[member.family->binding[variable]];
        if (shape.term.kind == TermKind::changed && entry.version < 2) return false;
        for (std::size_t i = 0; i < shape.term.where.size(); ++i) {
            const Comparison& comparison = shape.term.where[i];
            if (comparison.operand.reference && !bindings[comparison.operand.reference->variable]) continue;
            if (!passes_one(comparison, literal_of(member, shape, i), entry, bindings)) return false;
        }
        return true;
    }

    static const Value& literal_of(const Member& member, const Family::Shape& shape, std::size_t comparison) {
        const std::uint32_t own = shape.literal[comparison];
        return own == Family::shared ? shape.term.where[comparison].operand.literal : member.literals[own];
    }

    static void add_part(KeyHasher& hasher, const Member& member, std::uint32_t term, const KeyPart& part,
                         const Bindings& bindings, const std::vector<Value>* group_key) {
        switch (part.from) {
            case KeyPart::From::constant:
                return hasher.add(literal_of(member, member.family->terms[term], part.comparison));
            case KeyPart::From::variable:
                return hasher.add(*bindings[part.reference.variable], {part.reference.attribute, part.reference.path});
            case KeyPart::From::group:
                return hasher.add((*group_key)[part.field]);
        }
    }

    static std::uint64_t key_of_step(const Search& search, const PlanStep& step) {
        const std::uint32_t term = search.member.family->binding[step.variable];
        KeyHasher hasher;
        for (const KeyPart& part : step.parts) {
            add_part(hasher, search.member, term, part, search.bindings, search.group_key);
        }
        return hasher.finish().low;
    }

    // Of the entry that must be bound, where its id is known; 0: there is no such entry.
    static std::uint64_t number_of(const Search& search, const PlanStep& step) {
        const Family::Shape& shape = search.member.family->terms[search.member.family->binding[step.variable]];
        const Term& term = shape.term;
        std::optional<Value> id;
        switch (step.id->from) {
            case KeyPart::From::constant:
                id = literal_of(search.member, shape, step.id->comparison);
                break;
            case KeyPart::From::variable:
                id = value_of(step.id->reference, search.bindings);
                break;
            case KeyPart::From::group:
                id = (*search.group_key)[step.id->field];
                break;
        }
        if (!id || !id->is_string()) return 0;
        const std::string& text = id->as_string();
        const std::size_t slash = term.region.size();
        if (text.size() <= slash + 1 || text[slash] != '/' || text.compare(0, slash, term.region) != 0) return 0;
        std::uint64_t number = 0;
        for (std::size_t i = slash + 1; i < text.size(); ++i) {
            if (text[i] < '0' || text[i] > '9' || number > std::uint64_t{1} << 56) return 0;
            number = number * 10 + static_cast<std::uint64_t>(text[i] - '0');
        }
        return number;
    }

    static Hash128 group_key(const Member& member, const Family::GroupTerm& term, const Bindings& bindings) {
        KeyHasher hasher;
        for (const KeyPart& part : term.parts) {
            add_part(hasher, member, term.term, part, bindings, nullptr);
        }
        return hasher.finish();
    }

    bool ask_ready(Search& search, const std::vector<std::uint32_t>& terms) const {
        for (const std::uint32_t which : terms) {
            const Family::GroupTerm& term = search.member.family->groups[which];
            Group* group = term.table->find(group_key(search.member, term, search.bindings));
            if (!term.table->holds(term.predicate, group)) return false;
            search.groups[which] = group;
        }
        return true;
    }

    bool ask_terms(const Member& member, const Bindings& bindings, std::vector<Group*>& groups) const {
        if (!member.family->starts.empty() && !run_) return false;
        groups.clear();
        for (const Family::GroupTerm& term : member.family->groups) {
            groups.push_back(term.table->find(group_key(member, term, bindings)));
            if (!term.table->holds(term.predicate, groups.back())) return false;
        }
        return true;
    }

    // ---- matches ---------------------------------------------------------------------------------

    static Position birth_of(const Bindings& bindings) {
        Position birth;
        for (const EntryPtr& entry : bindings) birth = std::max(birth, entry->position);
        return birth;
    }

    std::vector<Position> episodes_of(const Member& member, const std::vector<Group*>& groups, Position birth) const {
        std::vector<Position> episodes;
        std::size_t next_group = 0;
        for (const Family::Shape& shape : member.family->terms) {
            const Term& term = shape.term;
            if (term.binds()) continue;
            if (term.kind == TermKind::start) {
                episodes.push_back(run_);
            } else if (is_idleness(term.kind)) {
                episodes.emplace_back();
            } else {
                const Family::GroupTerm& group = member.family->groups[next_group];
                const Position toggled = group.table->since(group.predicate, groups[next_group]);
                episodes.push_back(toggled > member.added_at ? std::max(birth, toggled) : birth);
                ++next_group;
            }
        }
        return episodes;
    }

    MatchPtr make_match(const Member& member, const Bindings& bindings, const std::vector<Group*>& groups) const {
        auto match = std::make_shared<Match>();
        match->condition = member.index;
        match->entries = bindings;
        match->bound.reserve(bindings.size());
        for (const EntryPtr& entry : bindings) match->bound.push_back({entry->id, entry->version});
        match->age = birth_of(bindings);
        match->episodes = episodes_of(member, groups, match->age);
        for (const Position episode : match->episodes) match->age = std::max(match->age, episode);
        match->key = match_key(member.name, match->bound, match->episodes);
        return match;
    }

    // Is this seed the one that the binding belongs to? Every match has exactly one.
    bool owns(const Seed& seed, const Search& found) const {
        const Member& member = found.member;
        if (!member.family->starts.empty() && !run_) return false;
        const Position birth = birth_of(found.bindings);
        Position age = birth;
        // The first term, in order, that is as new as the match.
        std::optional<std::uint32_t> group_owner;
        bool start_owner = false;
        std::size_t next_group = 0;
        for (const Family::Shape& shape : member.family->terms) {
            const Term& term = shape.term;
            if (term.binds() || is_idleness(term.kind)) continue;
            Position since = run_;
            const bool is_start = term.kind == TermKind::start;
            if (!is_start) {
                const Family::GroupTerm& group = member.family->groups[next_group];
                since = group.table->since(group.predicate, found.groups[next_group]);
                if (since <= member.added_at) since = {};
                ++next_group;
            }
            if (since <= age) continue;
            age = since;
            start_owner = is_start;
            group_owner = is_start ? std::nullopt : std::optional<std::uint32_t>(next_group - 1);
        }
        switch (seed.kind) {
            case Seed::Kind::nothing:
                return !age;
            case Seed::Kind::entry:
                return age == birth && age == seed.position;
            case Seed::Kind::group:
                return group_owner == seed.which && age == seed.position;
            case Seed::Kind::start:
                return start_owner && age == seed.position;
            default:
                return false;
        }
    }

    MatchPtr own_match(const Seed& seed, const Search& found) const {
        return owns(seed, found) ? make_match(found.member, found.bindings, found.groups) : nullptr;
    }

    Refracted refracted_;
    matching::HeldConditions held_;
    boost::unordered_flat_set<Hash128, std::hash<Hash128>> held_offered_;
    std::vector<std::unique_ptr<Member>> members_;
    std::vector<std::uint32_t> starting_;  // members with `start`, ascending
    std::map<std::string, std::unique_ptr<Family>> families_;
    std::uint32_t next_family_ = 1;
    std::map<std::string, std::uint32_t, std::less<>> region_index_;
    std::vector<std::unique_ptr<Region>> regions_;
    std::map<std::string, std::shared_ptr<GroupTable>> group_tables_;
    std::map<std::pair<GroupTable*, std::uint32_t>, std::vector<std::pair<Family*, std::uint32_t>>> subscribers_;
    const RegionReader* reader_ = nullptr;

    std::vector<Seed> seeds_;  // 0 is nobody's
    std::vector<std::uint32_t> free_seeds_;
    std::vector<Node> nodes_;  // 0 is nobody's
    std::vector<std::uint32_t> free_nodes_;
    boost::unordered_flat_map<Hash128, std::uint32_t, std::hash<Hash128>> by_key_;

    bool hides_time_ = false;  // of some condition
    bool higher_first_ = false;
    Position run_;
    Position newest_;
    TimeMs now_;
    std::vector<Touched> touched_;
    std::vector<char> answers_;
    std::vector<std::optional<Value>> measured_;
    std::vector<std::uint32_t> began_;
    std::vector<std::uint32_t> passed_;
    std::vector<std::pair<Region*, EntryPtr>> fresh_;
    std::vector<std::uint32_t> to_advance_;
    std::vector<std::uint32_t> found_;
    Bindings unbound_;
    mutable Scratch kept_;
    std::vector<MatchPtr> added_;
    std::vector<MatchPtr> removed_;
    static constexpr std::size_t untold_kept = 64;    // places
    boost::unordered_flat_set<const Match*> untold_;  // added since the last delta; asked for, never walked
};

}  // namespace

std::unique_ptr<ResumableMatcher> make_incremental_matcher(std::vector<WatchedCondition> conditions,
                                                           Matcher::Refracted refracted) {
    return std::make_unique<IncrementalMatcher>(std::move(conditions), std::move(refracted));
}

}  // namespace stele

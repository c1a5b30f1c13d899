#include "scheduler/held_conditions.hpp"

#include <algorithm>
#include <cassert>

#include "scheduler/checkpoint.hpp"

namespace stele::matching {
namespace {

bool is_ordered(TermKind kind) { return kind == TermKind::min || kind == TermKind::max; }
bool has_aggregate(TermKind kind) { return is_ordered(kind) || kind == TermKind::sum || kind == TermKind::avg; }

}  // namespace

HeldConditions::BindingKey HeldConditions::key_of_binding(const Bindings& entries) {
    BindingKey key;
    for (const EntryPtr& entry : entries) key.emplace_back(entry->id.number, entry->version);
    return key;
}

// ---- conditions ----------------------------------------------------------------------------------

void HeldConditions::add(std::uint32_t index, const WatchedCondition& condition) {
    if (index >= conditions_.size()) conditions_.resize(index + 1);
    auto watched = std::make_unique<Watched>();
    watched->name = condition.name;
    watched->condition = condition.condition;
    for (const Term& term : condition.condition->terms) {
        if (term.binds()) continue;
        watched->first_leaf.push_back(static_cast<std::uint32_t>(watched->leaves.size()));
        watched->others.push_back(&term);
        watched->timed = watched->timed || depends_on_time(term);
        collect_leaves(*watched, term, static_cast<std::uint32_t>(watched->others.size() - 1));
    }
    for (std::size_t leaf = 0; leaf < watched->leaves.size(); ++leaf) {
        watchers_[watched->leaves[leaf].term->region].emplace_back(index, leaf);
    }
    conditions_[index] = std::move(watched);
}

void HeldConditions::remove(std::uint32_t index) {
    assert(conditions_[index]->bindings.empty());
    for (const Leaf& leaf : conditions_[index]->leaves) {
        if (leaf.arrangement != nullptr) leaf.table->release(leaf.arrangement);
        auto& watching = watchers_.find(leaf.term->region)->second;
        watching.erase(std::remove_if(watching.begin(), watching.end(),
                                      [index](const auto& watcher) { return watcher.first == index; }),
                       watching.end());
    }
    conditions_[index].reset();
}

void HeldConditions::collect_leaves(Watched& watched, const Term& term, std::uint32_t top) {
    if (!term.region.empty()) {
        Leaf leaf;
        leaf.term = &term;
        leaf.top = top;
        for (std::size_t i = 0; i < term.where.size(); ++i) {
            if (term.where[i].op != CompareOp::eq) continue;
            leaf.fields.push_back({term.where[i].attribute, term.where[i].path});
            leaf.equalities.push_back(i);
        }
        leaf.table = &table_of_(term.region);
        if (!leaf.fields.empty()) leaf.arrangement = leaf.table->arrange(leaf.fields);
        watched.leaves.push_back(std::move(leaf));
    }
    for (const auto& alternative : term.alternatives) {
        for (const Term& inner : alternative) collect_leaves(watched, inner, top);
    }
}

// ---- bindings ------------------------------------------------------------------------------------

std::uint64_t HeldConditions::leaf_key(const Leaf& leaf, const Bindings& entries) {
    static const Value null;
    KeyHasher hasher;
    for (const std::size_t i : leaf.equalities) {
        const Operand& operand = leaf.term->where[i].operand;
        if (operand.reference) {
            hasher.add(*entries[operand.reference->variable], {operand.reference->attribute, operand.reference->path});
        } else {
            hasher.add(operand.literal);
        }
    }
    return hasher.finish().low;
}

void HeldConditions::count(const Leaf& leaf, LeafState& state, const Entry& entry, bool add) {
    state.count += add ? 1 : -1;
    if (!has_aggregate(leaf.term->kind)) return;
    const Value* value = content_at(entry, leaf.term->field);
    if (value == nullptr || !value->is_number()) return;
    if (!state.aggregate) state.aggregate = std::make_unique<Aggregate>();
    if (!is_ordered(leaf.term->kind)) {
        if (add) {
            state.aggregate->sum.add(*value);
        } else {
            state.aggregate->sum.remove(*value);
        }
    } else if (add) {
        ++state.aggregate->numbers[*value];
    } else if (const auto at = state.aggregate->numbers.find(*value); --at->second == 0) {
        state.aggregate->numbers.erase(at);
    }
}

void HeldConditions::count_all(const Leaf& leaf, LeafState& state, const Bindings& entries) {
    state.key = leaf_key(leaf, entries);
    if (leaf.term->kind == TermKind::quiet) return;
    std::uint64_t number = 0;
    while (true) {
        number =
            leaf.arrangement != nullptr ? leaf.arrangement->next(state.key, number + 1) : leaf.table->next(number + 1);
        if (number == 0) return;
        const EntryPtr& entry = leaf.table->find(number);
        if (passes(leaf.term->where, *entry, entries)) count(leaf, state, *entry, true);
    }
}

void HeldConditions::add_binding(std::uint32_t index, const Bindings& entries) {
    Watched& watched = *conditions_[index];
    std::uint32_t binding = 0;
    if (free_.empty()) {
        binding = static_cast<std::uint32_t>(held_.size());
        held_.emplace_back();
    } else {
        binding = free_.back();
        free_.pop_back();
    }
    Held& held = held_[binding];
    held.condition = index;
    held.entries = entries;
    Position birth;
    for (const EntryPtr& entry : entries) birth = std::max(birth, entry->position);
    for (Leaf& leaf : watched.leaves) {
        held.leaves.emplace_back();
        count_all(leaf, held.leaves.back(), entries);
        leaf.bindings[held.leaves.back().key].push_back(binding);
    }
    for (std::size_t i = 0; i < watched.others.size(); ++i) {
        const Term& term = *watched.others[i];
        TermState state;
        std::size_t leaf = watched.first_leaf[i];
        state.holds = truth(term, held, leaf);
        state.since = term.kind == TermKind::start ? run_ : birth;
        leaf = watched.first_leaf[i];
        state.tick_ms = newest_tick_ms(term, held, leaf);
        held.terms.push_back(state);
    }
    watched.bindings.emplace(key_of_binding(entries), binding);
    bring_in_line(binding);
    plan_time(binding);
}

void HeldConditions::drop_binding(std::uint32_t index, const Bindings& entries) {
    Watched& watched = *conditions_[index];
    const auto found = watched.bindings.find(key_of_binding(entries));
    assert(found != watched.bindings.end());
    const std::uint32_t binding = found->second;
    watched.bindings.erase(found);
    Held& held = held_[binding];
    if (held.match) listener_.went(held.match);
    unplan_time(binding);
    for (std::size_t i = 0; i < watched.leaves.size(); ++i) {
        const auto bucket = watched.leaves[i].bindings.find(held.leaves[i].key);
        std::vector<std::uint32_t>& here = bucket->second;
        *std::find(here.begin(), here.end(), binding) = here.back();
        here.pop_back();
        if (here.empty()) watched.leaves[i].bindings.erase(bucket);
    }
    // It may stand among those to be asked: its place is used again only after that.
    const bool asked = held.asked;
    held = Held{};
    held.asked = asked;
    if (!asked) free_.push_back(binding);
}

// ---- a commit ------------------------------------------------------------------------------------

void HeldConditions::change(const EntryPtr& before, const EntryPtr& after) {
    const std::string& region = after ? after->id.region : before->id.region;
    const auto watching = watchers_.find(region);
    if (watching == watchers_.end()) return;
    last_change_[region] = now_;
    for (const auto& [condition, leaf] : watching->second) {
        if (before) change_leaf(condition, leaf, *before, false);
        if (after) change_leaf(condition, leaf, *after, true);
    }
}

void HeldConditions::change_leaf(std::uint32_t condition, std::size_t leaf_index, const Entry& entry, bool add) {
    Leaf& leaf = conditions_[condition]->leaves[leaf_index];
    const auto bucket = leaf.bindings.find(key_of(entry, leaf.fields).low);
    if (bucket == leaf.bindings.end()) return;
    for (const std::uint32_t binding : bucket->second) {
        Held& held = held_[binding];
        TermState& top = held.terms[leaf.top];
        const bool silence = leaf.term->kind == TermKind::quiet;
        if (!silence) {
            if (!passes(leaf.term->where, entry, held.entries)) continue;
            count(leaf, held.leaves[leaf_index], entry, add);
        }
        top.asked = true;
        top.borne = true;
        if (held.asked) continue;
        held.asked = true;
        asked_.push_back(binding);
    }
}

void HeldConditions::settle(Position position) {
    for (std::size_t i = 0; i < asked_.size(); ++i) {
        const std::uint32_t binding = asked_[i];
        held_[binding].asked = false;
        if (held_[binding].entries.empty() && held_[binding].terms.empty()) {
            free_.push_back(binding);  // dropped in the meantime
            continue;
        }
        ask(binding, position, false);
    }
    asked_.clear();
}

void HeldConditions::begin_run(Position run, TimeMs time) {
    run_ = run;
    run_time_ = time;
    now_ = std::max(now_, time);
    for (const auto& watched : conditions_) {
        if (!watched) continue;
        for (const auto& [key, binding] : watched->bindings) ask(binding, run, true);
    }
}

void HeldConditions::clock(Position position, TimeMs now) {
    now_ = std::max(now_, now);
    std::vector<std::uint32_t> due;
    for (auto at = flips_.begin(); at != flips_.end() && at->first <= now_; ++at) due.push_back(at->second);
    for (const std::uint32_t binding : due) ask(binding, position, true);
}

void HeldConditions::ask(std::uint32_t binding, Position position, bool by_time) {
    Held& held = held_[binding];
    const Watched& watched = *conditions_[held.condition];
    bool changed = false;
    for (std::size_t i = 0; i < watched.others.size(); ++i) {
        const Term& term = *watched.others[i];
        TermState& state = held.terms[i];
        const bool borne = state.borne;
        // Time has gone on with the commit, and what it brought must not be planned past.
        const bool asked = by_time || state.asked || depends_on_time(term);
        state.asked = state.borne = false;
        if (!asked) continue;
        std::size_t leaf = watched.first_leaf[i];
        const bool holds_now = truth(term, held, leaf);
        leaf = watched.first_leaf[i];
        const std::int64_t tick_ms = newest_tick_ms(term, held, leaf);
        const bool again = holds_now && state.holds &&
                           ((term.again_on_change && borne) || tick_ms > state.tick_ms ||
                            (term.kind == TermKind::start && state.since != run_));
        if (holds_now != state.holds || again) {
            changed = true;
            if (holds_now) state.since = term.kind == TermKind::start ? run_ : position;
            state.holds = holds_now;
        }
        state.tick_ms = std::max(state.tick_ms, tick_ms);
    }
    if (changed) bring_in_line(binding);
    plan_time(binding);
}

// ---- truth ---------------------------------------------------------------------------------------

bool HeldConditions::truth(const Term& term, const Held& held, std::size_t& leaf) const {
    const std::size_t own = leaf;
    if (!term.region.empty()) ++leaf;
    switch (term.kind) {
        case TermKind::start:
            return static_cast<bool>(run_);
        case TermKind::after:
            return run_ && now_ >= after_due(term, held);
        case TermKind::every:
            return run_ && ticks(term) >= 1;
        case TermKind::quiet:
            return run_ && now_ >= quiet_due(term);
        case TermKind::any: {
            bool any = false;
            for (const auto& alternative : term.alternatives) {
                bool all = true;
                for (const Term& inner : alternative) all = truth(inner, held, leaf) && all;
                any = any || all;
            }
            return any;
        }
        case TermKind::negation:
            return !truth(term.alternatives.front().front(), held, leaf);
        case TermKind::each:
        case TermKind::changed:
        case TermKind::idle:
        case TermKind::impasse:
            return true;
        default:
            return leaf_truth(term, held, held.leaves[own]);
    }
}

bool HeldConditions::leaf_truth(const Term& term, const Held& held, const LeafState& state) const {
    static const Aggregate nothing;
    const Aggregate& aggregate = state.aggregate ? *state.aggregate : nothing;
    std::optional<Value> result;
    switch (term.kind) {
        case TermKind::none:
            return state.count == 0;
        case TermKind::exists:
            return state.count > 0;
        case TermKind::count:
            result = Value(state.count);
            break;
        case TermKind::sum:
            result = aggregate.sum.sum();
            break;
        case TermKind::avg:
            if (aggregate.sum.count() > 0) result = aggregate.sum.average();
            break;
        case TermKind::min:
            if (!aggregate.numbers.empty()) result = aggregate.numbers.begin()->first;
            break;
        default:
            if (!aggregate.numbers.empty()) result = aggregate.numbers.rbegin()->first;
            break;
    }
    return result && std::all_of(term.is.begin(), term.is.end(),
                                 [&](const Comparison& comparison) { return holds(comparison, result, held.entries); });
}

TimeMs HeldConditions::after_due(const Term& term, const Held& held) const {
    TimeMs base = run_time_;
    bool bound = false;
    for (const EntryPtr& entry : held.entries) {
        base = bound ? std::max(base, entry->time) : entry->time;
        bound = true;
    }
    return {base.ms + term.duration_ms};
}

TimeMs HeldConditions::quiet_due(const Term& term) const {
    const auto last = last_change_.find(term.region);
    return {(last == last_change_.end() ? run_time_ : last->second).ms + term.duration_ms};
}

std::int64_t HeldConditions::ticks(const Term& term) const {
    return term.duration_ms <= 0 ? 0 : (now_.ms - run_time_.ms) / term.duration_ms;
}

// The newest tick of `every` that this term, if it holds, holds by: in milliseconds since the run began.
std::int64_t HeldConditions::newest_tick_ms(const Term& term, const Held& held, std::size_t& leaf) const {
    if (!term.region.empty()) ++leaf;
    std::int64_t newest = 0;
    if (term.kind == TermKind::every) return run_ ? ticks(term) * term.duration_ms : 0;
    for (const auto& alternative : term.alternatives) {
        std::size_t again = leaf;
        bool all = true;
        for (const Term& inner : alternative) all = truth(inner, held, leaf) && all;
        for (const Term& inner : alternative) {
            const std::int64_t tick = newest_tick_ms(inner, held, again);
            if (all && run_ && term.kind == TermKind::any) newest = std::max(newest, tick);
        }
    }
    return newest;
}

// ---- time ----------------------------------------------------------------------------------------

void HeldConditions::collect_dues(const Term& term, const Held& held, std::vector<TimeMs>& waits,
                                  std::vector<TimeMs>& ticks_due) const {
    switch (term.kind) {
        case TermKind::quiet:
            if (quiet_due(term) > now_) waits.push_back(quiet_due(term));
            return;
        case TermKind::after:
            if (after_due(term, held) > now_) waits.push_back(after_due(term, held));
            return;
        case TermKind::every:
            if (term.duration_ms > 0) ticks_due.push_back({run_time_.ms + (ticks(term) + 1) * term.duration_ms});
            return;
        default:
            for (const auto& alternative : term.alternatives) {
                for (const Term& inner : alternative) collect_dues(inner, held, waits, ticks_due);
            }
            return;
    }
}

void HeldConditions::plan_time(std::uint32_t binding) {
    Held& held = held_[binding];
    const Watched& watched = *conditions_[held.condition];
    if (!watched.timed) return;
    unplan_time(binding);
    if (!run_) return;
    bool only_time = true;
    std::vector<TimeMs> dues;
    bool waits = false;
    for (std::size_t i = 0; i < watched.others.size(); ++i) {
        const Term& term = *watched.others[i];
        if (!depends_on_time(term)) {
            only_time = only_time && held.terms[i].holds;
            continue;
        }
        std::vector<TimeMs> to_come;
        std::vector<TimeMs> ticks_due;
        collect_dues(term, held, to_come, ticks_due);
        waits = waits || (!held.terms[i].holds && !to_come.empty());
        dues.insert(dues.end(), to_come.begin(), to_come.end());
        dues.insert(dues.end(), ticks_due.begin(), ticks_due.end());
    }
    if (dues.empty()) return;
    held.flips = *std::min_element(dues.begin(), dues.end());
    flips_.emplace(*held.flips, binding);
    if (!only_time) return;
    held.wakes = held.flips;
    wakes_.emplace(*held.wakes, binding);
    held.waits = waits;
    waiting_ += waits ? 1 : 0;
}

void HeldConditions::unplan_time(std::uint32_t binding) {
    Held& held = held_[binding];
    if (held.flips) flips_.erase({*held.flips, binding});
    if (held.wakes) wakes_.erase({*held.wakes, binding});
    waiting_ -= held.waits ? 1 : 0;
    held.flips.reset();
    held.wakes.reset();
    held.waits = false;
}

std::optional<TimeMs> HeldConditions::next_due() const {
    return wakes_.empty() ? std::nullopt : std::optional<TimeMs>(wakes_.begin()->first);
}

// ---- matches -------------------------------------------------------------------------------------

void HeldConditions::bring_in_line(std::uint32_t binding) {
    Held& held = held_[binding];
    const Watched& watched = *conditions_[held.condition];
    MatchPtr next;
    if (std::all_of(held.terms.begin(), held.terms.end(), [](const TermState& state) { return state.holds; })) {
        auto match = std::make_shared<Match>();
        match->condition = held.condition;
        match->entries = held.entries;
        for (const EntryPtr& entry : held.entries) {
            match->bound.push_back({entry->id, entry->version});
            match->age = std::max(match->age, entry->position);
        }
        for (std::size_t i = 0; i < held.terms.size(); ++i) {
            const bool idle = is_idleness(watched.others[i]->kind);
            match->episodes.push_back(idle ? Position{} : held.terms[i].since);
            match->age = std::max(match->age, match->episodes.back());
        }
        match->key = match_key(watched.name, match->bound, match->episodes);
        next = std::move(match);
    }
    if (held.match && next && held.match->key == next->key) return;
    if (held.match) listener_.went(held.match);
    held.match = next;
    if (next) listener_.came(next);
}

MatchPtr HeldConditions::find(std::uint32_t index, const MatchRecord& record) const {
    BindingKey key;
    for (const BoundEntry& entry : record.bound) key.emplace_back(entry.id.number, entry.version);
    const auto found = conditions_[index]->bindings.find(key);
    if (found == conditions_[index]->bindings.end()) return nullptr;
    const MatchPtr& match = held_[found->second].match;
    return match && match->key == record.key ? match : nullptr;
}

std::vector<MatchPtr> HeldConditions::all_matches(std::uint32_t index) const {
    std::vector<MatchPtr> matches;
    for (const auto& [key, binding] : conditions_[index]->bindings) {
        if (held_[binding].match) matches.push_back(held_[binding].match);
    }
    return matches;
}

// ---- checkpoint ----------------------------------------------------------------------------------

template <class Archive, class Self>
void HeldConditions::TermState::transfer(Archive& archive, Self& self) {
    archive(self.holds, self.since, self.tick_ms);
}

void HeldConditions::save(CheckpointWriter& out) const {
    out(run_, run_time_, now_, last_change_);
    for (const auto& watched : conditions_) {
        if (!watched) continue;
        out(watched->bindings.size());
        for (const auto& [key, binding] : watched->bindings) out(key, held_[binding].terms);
    }
}

void HeldConditions::load_clock(CheckpointReader& in, bool in_run) {
    in(run_, run_time_, now_, last_change_);
    if (in_run) return;
    run_ = {};
    run_time_ = {};
}

void HeldConditions::load_terms(CheckpointReader& in, bool in_run) {
    for (const auto& watched : conditions_) {
        if (!watched) continue;
        std::size_t count = 0;
        in(count);
        if (count != watched->bindings.size())
            return in.fail("it holds other bindings of a condition than its entries make");
        for (const auto& [known, binding] : watched->bindings) {
            BindingKey key;
            std::vector<TermState> terms;
            in(key, terms);
            if (!in.ok()) return;
            if (key != known || terms.size() != held_[binding].terms.size()) {
                return in.fail("it holds another binding of a condition than its entries make");
            }
            for (std::size_t i = 0; i < terms.size(); ++i) {
                // Without a run it is as it was when the binding came.
                const bool by_run = watched->others[i]->kind == TermKind::start || depends_on_time(*watched->others[i]);
                if (in_run || !by_run) held_[binding].terms[i] = terms[i];
            }
            bring_in_line(binding);
            plan_time(binding);
        }
    }
}

}  // namespace stele::matching

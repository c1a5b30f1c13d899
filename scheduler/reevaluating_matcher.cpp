#include <algorithm>
#include <cassert>
#include <map>
#include <set>
#include <tuple>
#include <unordered_set>

#include "board/bytes.hpp"
#include "scheduler/matcher.hpp"
#include "scheduler/term_truth.hpp"

namespace stele {
namespace {

// The newest tick of `every` that this term, if it holds, holds by: in milliseconds since the run began.
std::int64_t newest_tick_ms(const Term& term, const Moment& moment, const Bindings& bindings) {
    if (!moment.run) return 0;
    if (term.kind == TermKind::every) return ticks(term, moment) * term.duration_ms;
    std::int64_t newest = 0;
    if (term.kind != TermKind::any) return newest;
    for (const auto& alternative : term.alternatives) {
        const bool all = std::all_of(alternative.begin(), alternative.end(),
                                     [&](const Term& inner) { return truth(inner, moment, bindings); });
        if (!all) continue;
        for (const Term& inner : alternative) newest = std::max(newest, newest_tick_ms(inner, moment, bindings));
    }
    return newest;
}

// When a false term, or a part of one, may change by time alone.
void collect_dues(const Term& term, const Moment& moment, const Bindings& bindings, std::vector<TimeMs>& waits,
                  std::vector<TimeMs>& ticks_due) {
    switch (term.kind) {
        case TermKind::quiet:
            if (quiet_due(term, moment) > moment.now) waits.push_back(quiet_due(term, moment));
            return;
        case TermKind::after:
            if (after_due(term, moment, bindings) > moment.now) waits.push_back(after_due(term, moment, bindings));
            return;
        case TermKind::every:
            if (term.duration_ms > 0) {
                ticks_due.push_back({moment.run_time.ms + (ticks(term, moment) + 1) * term.duration_ms});
            }
            return;
        case TermKind::any:
        case TermKind::negation:
            for (const auto& alternative : term.alternatives) {
                for (const Term& inner : alternative) collect_dues(inner, moment, bindings, waits, ticks_due);
            }
            return;
        default:
            return;
    }
}

void collect_regions(const Term& term, std::set<std::string>& regions) {
    if (!term.region.empty()) regions.insert(term.region);
    for (const auto& alternative : term.alternatives) {
        for (const Term& inner : alternative) collect_regions(inner, regions);
    }
}

// Does this change bear on what the term looks at (for `again: on_change`)?
bool concerns(const Term& term, const EntryPtr& before, const EntryPtr& after, const Bindings& bindings) {
    const auto here = [&](const EntryPtr& entry) {
        return entry && entry->id.region == term.region && passes(term.where, *entry, bindings);
    };
    if (here(before) || here(after)) return true;
    return std::any_of(term.alternatives.begin(), term.alternatives.end(), [&](const auto& alternative) {
        return std::any_of(alternative.begin(), alternative.end(),
                           [&](const Term& inner) { return concerns(inner, before, after, bindings); });
    });
}

class ReevaluatingMatcher final : public Matcher {
public:
    explicit ReevaluatingMatcher(const std::vector<WatchedCondition>& conditions) {
        for (std::uint32_t i = 0; i < conditions.size(); ++i) add(i, conditions[i], {});
    }

    void add(std::uint32_t index, const WatchedCondition& condition, const RegionReader& entries) override {
        if (index >= watched_.size()) watched_.resize(index + 1);
        Watched watched;
        watched.name = condition.name;
        watched.condition = condition.condition;
        for (const Term& term : watched.condition->terms) {
            (term.binds() ? watched.binding : watched.others).push_back(&term);
            watched.timed = watched.timed || depends_on_time(term);
            collect_regions(term, watched.regions);
        }
        for (const std::string& region : watched.regions) {
            const auto [memory, fresh] = regions_.try_emplace(region);
            if (fresh && entries) {
                entries(region,
                        [&memory = memory->second](const EntryPtr& entry) { memory.active[entry->id.number] = entry; });
            }
            watchers_[region].push_back(index);
        }
        watched_[index] = std::move(watched);
        if (watched_[index].timed) timed_.push_back(index);
        // A condition that binds nothing has one binding from the outset: the empty one.
        Bindings bindings(watched_[index].condition->variables.size());
        const std::size_t nobody = watched_[index].binding.size();
        join(index, 0, nobody, nullptr, bindings);
    }

    void remove(std::uint32_t index) override {
        for (const auto& [key, state] : watched_[index].bindings) {
            if (state.match) tell_removed(state.match);
        }
        for (const std::string& region : watched_[index].regions) {
            std::vector<std::uint32_t>& watchers = watchers_[region];
            watchers.erase(std::find(watchers.begin(), watchers.end(), index));
        }
        if (watched_[index].timed) timed_.erase(std::find(timed_.begin(), timed_.end(), index));
        watched_[index] = Watched{};
    }

    MatchPtr find(std::uint32_t condition, const MatchRecord& record) const override {
        if (condition >= watched_.size()) return nullptr;
        BindingKey key;
        for (const BoundEntry& entry : record.bound) key.emplace_back(entry.id.number, entry.version);
        const auto state = watched_[condition].bindings.find(key);
        if (state == watched_[condition].bindings.end() || !state->second.match) return nullptr;
        return state->second.match->key == record.key ? state->second.match : nullptr;
    }

    // Everything is on offer at all times.
    void set_order(bool) override {}
    void withdraw(const Match&) override {}
    void offer(const MatchPtr& match) override {
        const MatchPtr found = find(match->condition, {match->key, match->bound, match->episodes});
        if (!found || untold_.count(found.get()) > 0) return;
        delta_.added.push_back(found);
        untold_.insert(found.get());
    }

    std::vector<MatchPtr> all_matches(std::uint32_t condition) const override {
        std::vector<MatchPtr> matches;
        if (condition >= watched_.size()) return matches;
        for (const auto& [key, state] : watched_[condition].bindings) {
            if (state.match) matches.push_back(state.match);
        }
        std::sort(matches.begin(), matches.end(), [](const MatchPtr& a, const MatchPtr& b) { return a->key < b->key; });
        return matches;
    }

    void begin_run(Position run, TimeMs time) override {
        run_ = run;
        run_time_ = time;
        now_ = std::max(now_, time);
        for (std::uint32_t i = 0; i < watched_.size(); ++i) {
            if (watched_[i].condition != nullptr) ask_again(i, run, {}, true);
        }
    }

    void commit(Position position, TimeMs time, std::span<const EntryChange> changes) override {
        now_ = std::max(now_, time);
        std::vector<Replaced> replaced;
        std::set<std::uint32_t> touched;
        for (const EntryChange& change : changes) {
            const auto region = regions_.find(change.id.region);
            if (region == regions_.end()) continue;
            Replaced one;
            const auto known = region->second.active.find(change.id.number);
            if (known != region->second.active.end()) one.before = known->second;
            one.after = change.after;
            one.id = change.id;
            if (change.after) {
                region->second.active[change.id.number] = change.after;
            } else if (known != region->second.active.end()) {
                region->second.active.erase(known);
            }
            region->second.last_change = now_;
            replaced.push_back(std::move(one));
            const std::vector<std::uint32_t>& watchers = watchers_[change.id.region];
            touched.insert(watchers.begin(), watchers.end());
        }
        for (const std::uint32_t index : touched) {
            drop_bindings(index, replaced);
            ask_again(index, position, replaced, false);
            seed_bindings(index, replaced);
        }
        clock(position, now_);
    }

    void clock(Position position, TimeMs now) override {
        now_ = std::max(now_, now);
        for (const std::uint32_t index : timed_) ask_again(index, position, {}, true);
    }

    MatchDelta take_delta() override {
        MatchDelta delta;
        delta.removed = std::move(delta_.removed);
        for (MatchPtr& match : delta_.added) {
            if (untold_.count(match.get()) > 0) delta.added.push_back(std::move(match));
        }
        delta_ = {};
        untold_.clear();
        return delta;
    }

    std::optional<TimeMs> next_due() const override {
        std::vector<TimeMs> waits;
        std::vector<TimeMs> ticks_due;
        for (const std::uint32_t index : timed_) collect_dues_of(watched_[index], false, waits, ticks_due);
        waits.insert(waits.end(), ticks_due.begin(), ticks_due.end());
        if (waits.empty()) return std::nullopt;
        return *std::min_element(waits.begin(), waits.end());
    }

    bool holds_due() const override {
        std::vector<TimeMs> waits;
        std::vector<TimeMs> ticks_due;
        for (const std::uint32_t index : timed_) collect_dues_of(watched_[index], true, waits, ticks_due);
        return !waits.empty();
    }

    std::uint32_t current_version(const EntryId& id) const override {
        const auto region = regions_.find(id.region);
        if (region == regions_.end()) return 0;
        const auto entry = region->second.active.find(id.number);
        return entry == region->second.active.end() ? 0 : entry->second->version;
    }

private:
    struct Replaced {
        EntryId id;
        EntryPtr before;
        EntryPtr after;
    };
    struct TermState {
        bool holds = false;
        Position since;
        std::int64_t tick_ms = 0;
    };
    // Bound versions in variable order: what tells one binding from another.
    using BindingKey = std::vector<std::pair<std::uint64_t, std::uint32_t>>;
    struct BindingState {
        Bindings entries;
        std::vector<TermState> terms;  // by Watched::others
        MatchPtr match;
    };
    struct Watched {
        std::string name;
        const Condition* condition = nullptr;
        std::vector<const Term*> binding;
        std::vector<const Term*> others;
        std::set<std::string> regions;
        bool timed = false;
        std::map<BindingKey, BindingState> bindings;
        // Which bindings an entry is in, so that its next version finds them.
        std::map<std::pair<std::string, std::uint64_t>, std::set<BindingKey>> by_entry;
    };

    Moment moment() const { return {regions_, run_, run_time_, now_}; }

    void drop_bindings(std::uint32_t index, const std::vector<Replaced>& replaced) {
        Watched& watched = watched_[index];
        for (const Replaced& one : replaced) {
            const auto found = watched.by_entry.find({one.id.region, one.id.number});
            if (found == watched.by_entry.end()) continue;
            const std::set<BindingKey> keys = std::move(found->second);
            watched.by_entry.erase(found);
            for (const BindingKey& key : keys) {
                const auto state = watched.bindings.find(key);
                if (state == watched.bindings.end()) continue;
                if (state->second.match) tell_removed(state->second.match);
                for (const EntryPtr& entry : state->second.entries) {
                    const auto other = watched.by_entry.find({entry->id.region, entry->id.number});
                    if (other != watched.by_entry.end()) other->second.erase(key);
                }
                watched.bindings.erase(state);
            }
        }
    }

    // Each complete binding that a new or changed entry takes part in.
    void seed_bindings(std::uint32_t index, const std::vector<Replaced>& replaced) {
        const Watched& watched = watched_[index];
        for (const Replaced& one : replaced) {
            if (!one.after) continue;
            for (std::size_t seed = 0; seed < watched.binding.size(); ++seed) {
                if (watched.binding[seed]->region != one.id.region) continue;
                Bindings bindings(watched.condition->variables.size());
                join(index, 0, seed, one.after, bindings);
            }
        }
    }

    void join(std::uint32_t index, std::size_t term_index, std::size_t seed, const EntryPtr& seed_entry,
              Bindings& bindings) {
        const Watched& watched = watched_[index];
        if (term_index == watched.binding.size()) return add_binding(index, bindings);
        const Term& term = *watched.binding[term_index];
        const auto try_entry = [&](const EntryPtr& entry) {
            if (term.kind == TermKind::changed && entry->version < 2) return;
            if (!passes(term.where, *entry, bindings)) return;
            bindings[*term.variable] = entry;
            join(index, term_index + 1, seed, seed_entry, bindings);
            bindings[*term.variable] = nullptr;
        };
        if (term_index == seed) return try_entry(seed_entry);
        // By index of a stable map: add_binding never touches the regions.
        for (const auto& [number, entry] : regions_.find(term.region)->second.active) try_entry(entry);
    }

    void add_binding(std::uint32_t index, const Bindings& bindings) {
        Watched& watched = watched_[index];
        BindingKey key;
        Position birth;
        for (const EntryPtr& entry : bindings) {
            key.emplace_back(entry->id.number, entry->version);
            birth = std::max(birth, entry->position);
        }
        const auto [place, fresh] = watched.bindings.try_emplace(key);
        if (!fresh) return;
        BindingState& state = place->second;
        state.entries = bindings;
        state.terms.resize(watched.others.size());
        for (std::size_t i = 0; i < watched.others.size(); ++i) {
            const Term& term = *watched.others[i];
            state.terms[i].holds = truth(term, moment(), bindings);
            state.terms[i].since = term.kind == TermKind::start ? run_ : birth;
            state.terms[i].tick_ms = newest_tick_ms(term, moment(), bindings);
        }
        for (const EntryPtr& entry : bindings) watched.by_entry[{entry->id.region, entry->id.number}].insert(key);
        settle(index, state);
    }

    // Asks the terms that bind nothing again, for each binding.
    void ask_again(std::uint32_t index, Position position, const std::vector<Replaced>& replaced, bool by_time) {
        Watched& watched = watched_[index];
        std::vector<std::size_t> asked_terms;
        for (std::size_t i = 0; i < watched.others.size(); ++i) {
            if (by_time || touches(*watched.others[i], replaced)) asked_terms.push_back(i);
        }
        if (asked_terms.empty()) return;
        const Moment at = moment();
        for (auto& [key, state] : watched.bindings) {
            bool changed = false;
            for (const std::size_t i : asked_terms) {
                const Term& term = *watched.others[i];
                // Where nothing that passes its filters came or went, a term says what it said.
                if (!by_time && !depends_on_time(term) && !bears(term, replaced, state.entries)) continue;
                TermState& asked = state.terms[i];
                const bool holds_now = truth(term, at, state.entries);
                const std::int64_t tick_ms = newest_tick_ms(term, at, state.entries);
                const bool again = holds_now && asked.holds &&
                                   ((term.again_on_change && bears(term, replaced, state.entries)) ||
                                    tick_ms > asked.tick_ms || (term.kind == TermKind::start && asked.since != run_));
                if (holds_now != asked.holds || again) {
                    changed = true;
                    if (holds_now) asked.since = term.kind == TermKind::start ? run_ : position;
                    asked.holds = holds_now;
                }
                asked.tick_ms = std::max(asked.tick_ms, tick_ms);
            }
            if (changed) settle(index, state);
        }
    }

    static bool touches(const Term& term, const std::vector<Replaced>& replaced) {
        std::set<std::string> regions;
        collect_regions(term, regions);
        return std::any_of(replaced.begin(), replaced.end(),
                           [&](const Replaced& one) { return regions.count(one.id.region) > 0; });
    }

    static bool bears(const Term& term, const std::vector<Replaced>& replaced, const Bindings& bindings) {
        return std::any_of(replaced.begin(), replaced.end(),
                           [&](const Replaced& one) { return concerns(term, one.before, one.after, bindings); });
    }

    // What came and went between two deltas is not told at all.
    void tell_removed(const MatchPtr& match) {
        if (untold_.erase(match.get()) == 0) delta_.removed.push_back(match);
    }

    // Brings the match of a binding in line with its terms.
    void settle(std::uint32_t index, BindingState& state) {
        const Watched& watched = watched_[index];
        const bool all =
            std::all_of(state.terms.begin(), state.terms.end(), [](const TermState& t) { return t.holds; });
        MatchPtr next;
        if (all) {
            auto match = std::make_shared<Match>();
            match->condition = index;
            match->entries = state.entries;
            for (const EntryPtr& entry : state.entries) {
                match->bound.push_back({entry->id, entry->version});
                match->age = std::max(match->age, entry->position);
            }
            for (std::size_t i = 0; i < state.terms.size(); ++i) {
                const bool idle = is_idleness(watched.others[i]->kind);
                match->episodes.push_back(idle ? Position{} : state.terms[i].since);
                match->age = std::max(match->age, match->episodes.back());
            }
            match->key = match_key(watched.name, match->bound, match->episodes);
            next = std::move(match);
        }
        if (state.match && next && state.match->key == next->key) return;
        if (state.match) tell_removed(state.match);
        if (next) {
            delta_.added.push_back(next);
            untold_.insert(next.get());
        }
        state.match = std::move(next);
    }

    // `to_come`: only what may still make a match, not what may end one.
    void collect_dues_of(const Watched& watched, bool to_come, std::vector<TimeMs>& waits,
                         std::vector<TimeMs>& ticks_due) const {
        if (!run_) return;
        for (const auto& [key, state] : watched.bindings) {
            // A wait counts only if nothing but time keeps the condition from holding.
            bool only_time = true;
            for (std::size_t i = 0; i < state.terms.size(); ++i) {
                only_time = only_time && (state.terms[i].holds || depends_on_time(*watched.others[i]));
            }
            if (!only_time) continue;
            for (std::size_t i = 0; i < state.terms.size(); ++i) {
                if (to_come && state.terms[i].holds) continue;
                collect_dues(*watched.others[i], moment(), state.entries, waits, ticks_due);
            }
        }
    }

    std::vector<Watched> watched_;
    std::vector<std::uint32_t> timed_;
    std::map<std::string, RegionMemory, std::less<>> regions_;
    std::map<std::string, std::vector<std::uint32_t>> watchers_;
    Position run_;
    TimeMs run_time_;
    TimeMs now_;
    MatchDelta delta_;
    std::unordered_set<const Match*> untold_;  // added since the last delta; asked for, never walked
};

}  // namespace

Hash128 match_key(std::string_view name, const std::vector<BoundEntry>& bound, const std::vector<Position>& episodes) {
    ByteWriter out;
    out.text(name);
    out.varint(bound.size());
    for (const BoundEntry& entry : bound) {
        out.text(entry.id.region);
        out.varint(entry.id.number);
        out.varint(entry.version);
    }
    out.varint(episodes.size());
    for (const Position episode : episodes) out.varint(episode.number);
    return fixed_digest(out.bytes());
}

std::unique_ptr<Matcher> make_reevaluating_matcher(std::vector<WatchedCondition> conditions) {
    return std::make_unique<ReevaluatingMatcher>(conditions);
}

}  // namespace stele

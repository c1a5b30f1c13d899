// Whole histories of a board under crews of many conditions, as the scheduler leads a matcher through
// them: commits, the clock, runs that begin again, matches taken up in the agenda's order or behind its
// back, closed ones opened again, conditions that come and go, and deltas that are fetched seldom. The
// incremental matcher must say at every step what the re-evaluating one says. A program is data, so one
// that fails is cut down before it is printed.
//
// STELE_MATCHER_SEED is the first seed, STELE_MATCHER_PROGRAMS how many programs there are.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "scheduler/checkpoint.hpp"
#include "scheduler/matcher.hpp"
#include "tests/scheduler/match_worlds.hpp"

using namespace stele;
using namespace stele::match_worlds;

namespace {

// ---- programs ------------------------------------------------------------------------------------

struct WriteStep {
    EntryId id;
    std::optional<Value> content;  // none: the entry is retracted
    std::string author;
};

struct Step {
    enum class Kind { commit, clock, run, take, take_unseen, give_back, add, remove } kind = Kind::commit;
    std::int64_t later_ms = 0;
    std::vector<WriteStep> writes;
    std::uint32_t which = 0;    // take: which sources are eligible; others: which match or condition
    bool newest_first = false;  // take
    bool fetches_delta = true;
};

struct Watch {
    std::string name;
    Condition condition;
    bool offer_all = false;
    double rating = 0;
    bool from_outset = true;
};

struct Program {
    std::vector<Watch> watches;
    std::vector<Step> steps;
};

void vary_constants(Dice& dice, std::vector<Term>& terms) {
    for (Term& term : terms) {
        for (Comparison& comparison : term.where) {
            if (!comparison.operand.reference && roll(dice, 4) != 0) give_literal(dice, comparison);
        }
        for (Comparison& comparison : term.is) {
            if (roll(dice, 2) == 0) comparison.operand.literal = Value(static_cast<std::int64_t>(roll(dice, 4)));
        }
        for (std::vector<Term>& alternative : term.alternatives) vary_constants(dice, alternative);
    }
}

// What generated crews are full of: a selective entry, what it is joined with, and what must not be there.
Condition typical_condition(Dice& dice) {
    const auto joined = [&](std::uint32_t variable) {
        Comparison join;
        join.path = {roll(dice, 3) == 0 ? "b" : "a"};
        VariableRef reference;
        reference.variable = variable;
        if (roll(dice, 8) == 0) {
            join.attribute = Attribute::id;
            join.path.clear();
            reference.path = {"b"};
        } else {
            reference.path = {roll(dice, 3) == 0 ? "b" : "a"};
        }
        join.operand.reference = std::move(reference);
        return join;
    };
    Condition condition;
    const std::uint32_t variables = 1 + roll(dice, 3);
    for (std::uint32_t i = 0; i < variables; ++i) {
        Term term;
        term.kind = roll(dice, 7) == 0 ? TermKind::changed : TermKind::each;
        term.region = region_names[roll(dice, 3)];
        term.variable = i;
        term.where = random_filter(dice, 0);
        if (i > 0 && roll(dice, 5) != 0) term.where.push_back(joined(roll(dice, i)));
        if (i > 0 && roll(dice, 5) == 0) term.where.push_back(random_comparison(dice, i));
        condition.variables.push_back("v" + std::to_string(i));
        condition.terms.push_back(std::move(term));
        if (roll(dice, 2) == 0) {
            Term test = random_test(dice, i + 1, 0);
            if (!test.region.empty() && roll(dice, 3) != 0) test.where.push_back(joined(roll(dice, i + 1)));
            condition.terms.push_back(std::move(test));
        }
    }
    if (roll(dice, 12) == 0) {
        Term idle;
        idle.kind = roll(dice, 2) == 0 ? TermKind::idle : TermKind::impasse;
        condition.terms.push_back(std::move(idle));
    }
    return condition;
}

// Who wrote an entry and when are looked at more rarely than what it says.
void look_at_attributes(Dice& dice, Condition& condition) {
    for (Term& term : condition.terms) {
        for (Comparison& comparison : term.where) {
            if (comparison.attribute != Attribute::content || comparison.op != CompareOp::eq) continue;
            if (roll(dice, 20) == 0) {
                comparison.attribute = Attribute::author;
                comparison.path.clear();
                if (!comparison.operand.reference) comparison.operand.literal = Value("x");
            } else if (comparison.operand.reference && roll(dice, 20) == 0) {
                comparison.op = CompareOp::lte;
                comparison.attribute = Attribute::time;
                comparison.path.clear();
                comparison.operand.reference->attribute = Attribute::time;
                comparison.operand.reference->path.clear();
            }
        }
    }
}

Step random_step(Dice& dice, std::uint32_t entries, std::size_t watches) {
    Step step;
    step.later_ms = roll(dice, 60);
    step.fetches_delta = roll(dice, 6) != 0;
    step.which = dice();
    step.newest_first = roll(dice, 2) == 0;
    const std::uint32_t kind = roll(dice, 40);
    if (kind < 20) {
        std::set<EntryId> touched;
        for (std::uint32_t i = 1 + roll(dice, 5); i > 0; --i) {
            WriteStep write;
            write.id = {region_names[roll(dice, 3)], 1 + roll(dice, entries)};
            if (!touched.insert(write.id).second) continue;
            if (roll(dice, 4) != 0) write.content = random_content(dice);
            write.author = roll(dice, 2) == 0 ? "x" : "y";
            step.writes.push_back(std::move(write));
        }
    } else if (kind < 23) {
        step.kind = Step::Kind::clock;
    } else if (kind < 32) {
        step.kind = Step::Kind::take;
    } else if (kind < 34) {
        step.kind = Step::Kind::take_unseen;
    } else if (kind < 37) {
        step.kind = Step::Kind::give_back;
    } else if (kind == 37) {
        step.kind = Step::Kind::run;
    } else {
        step.kind = kind == 38 ? Step::Kind::add : Step::Kind::remove;
        step.which = roll(dice, static_cast<std::uint32_t>(watches));
    }
    return step;
}

Program random_program(std::uint32_t seed) {
    Dice dice(seed);
    Program program;
    const bool families = roll(dice, 3) == 0;
    for (std::uint32_t shapes = 1 + roll(dice, 4); shapes > 0; --shapes) {
        Condition shape = roll(dice, 2) == 0 ? typical_condition(dice) : random_condition(dice);
        look_at_attributes(dice, shape);
        const bool offer_all = roll(dice, 4) == 0;
        const std::uint32_t members = families ? 1 + roll(dice, 30) : 1 + roll(dice, 3);
        for (std::uint32_t i = 0; i < members; ++i) {
            Watch watch;
            watch.name = "source" + std::to_string(program.watches.size());
            watch.condition = shape;
            if (i > 0) vary_constants(dice, watch.condition.terms);
            watch.offer_all = offer_all;
            watch.rating = roll(dice, 3);
            watch.from_outset = roll(dice, 5) != 0;
            program.watches.push_back(std::move(watch));
        }
    }
    const std::uint32_t entries = 2 + roll(dice, 7);
    for (std::uint32_t steps = 15 + roll(dice, 25); steps > 0; --steps) {
        program.steps.push_back(random_step(dice, entries, program.watches.size()));
    }
    return program;
}

// ---- two matchers led through one program --------------------------------------------------------

struct Disagreement {
    std::string what;
    std::size_t step = 0;
};

std::string told_match(const MatchPtr& match) {
    if (!match) return "nothing";
    std::string text = "condition " + std::to_string(match->condition) + ":";
    for (const BoundEntry& bound : match->bound) text += " " + to_text(bound.id) + "@" + std::to_string(bound.version);
    text += " since";
    for (const Position since : match->episodes) text += " " + std::to_string(since.number);
    return text;
}

std::string told_all(const std::vector<MatchPtr>& matches) {
    std::string text;
    for (const MatchPtr& match : matches) text += "\n    " + told_match(match);
    return text.empty() ? " nothing" : text;
}

bool same_keys(const std::vector<MatchPtr>& a, const std::vector<MatchPtr>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const MatchPtr& one, const MatchPtr& other) { return one->key == other->key; });
}

MatchRecord record_of(const Match& match) { return {match.key, match.bound, match.episodes}; }

class Pair {
public:
    explicit Pair(const Program& program) : program_(program), is_present_(program.watches.size()) {
        // Everything comes by `add`, at the outset or late: it is one way in.
        slow_ = make_reevaluating_matcher({});
        fast_ = make_incremental_matcher({}, [this](const Match& match) { return taken_.count(match.key) > 0; });
        for (std::uint32_t i = 0; i < program.watches.size(); ++i) {
            if (program.watches[i].from_outset) add(i);
        }
    }

    void run() {
        check(true);
        for (at_ = 0; at_ < program_.steps.size(); ++at_) {
            const Step& step = program_.steps[at_];
            act(step);
            check(step.fetches_delta || at_ + 1 == program_.steps.size());
            if (resume_dice_() % 8 == 0) resume();
        }
    }

private:
    [[noreturn]] void disagree(const std::string& what) const { throw Disagreement{what, at_}; }

    template <class Do>
    void both(const Do& act) {
        act(*slow_);
        act(*fast_);
    }

    void act(const Step& step) {
        const Position position{++position_};
        switch (step.kind) {
            case Step::Kind::commit: {
                time_ += step.later_ms;
                const std::vector<EntryChange> changes = write(step, position);
                return both([&](Matcher& matcher) { matcher.commit(position, {time_}, changes); });
            }
            case Step::Kind::clock:
                time_ += step.later_ms;
                return both([&](Matcher& matcher) { matcher.clock(position, {time_}); });
            case Step::Kind::run:
                time_ += step.later_ms;
                return both([&](Matcher& matcher) { matcher.begin_run(position, {time_}); });
            case Step::Kind::take:
                return take(step);
            case Step::Kind::take_unseen:
                return take_unseen(step);
            case Step::Kind::give_back:
                return give_back(step);
            case Step::Kind::add:
                if (step.which < is_present_.size() && !is_present_[step.which]) add(step.which);
                return;
            case Step::Kind::remove:
                if (step.which < is_present_.size() && is_present_[step.which]) remove(step.which);
                return;
        }
    }

    std::vector<EntryChange> write(const Step& step, Position position) {
        std::vector<EntryChange> changes;
        for (const WriteStep& write : step.writes) {
            EntryChange change;
            change.id = write.id;
            const auto known = state_.find(write.id);
            if (known != state_.end()) change.before = known->second;
            if (!write.content && !change.before) continue;
            if (write.content) {
                change.kind = change.before ? EntryChange::Kind::updated : EntryChange::Kind::added;
                auto entry = std::make_shared<Entry>();
                entry->id = write.id;
                entry->version = ++versions_[write.id];
                entry->position = position;
                entry->time = {time_};
                entry->author = write.author;
                entry->content = *write.content;
                change.after = entry;
                state_[write.id] = change.after;
            } else {
                change.kind = EntryChange::Kind::removed;
                ++versions_[write.id];
                state_.erase(known);
            }
            changes.push_back(std::move(change));
        }
        return changes;
    }

    void add(std::uint32_t index) {
        const Watch& watch = program_.watches[index];
        const WatchedCondition watched{watch.name, &watch.condition, watch.offer_all};
        const Matcher::RegionReader reader = [&](const std::string& region, const auto& tell) {
            for (const auto& [id, entry] : state_) {
                if (id.region == region) tell(entry);
            }
        };
        both([&](Matcher& matcher) { matcher.add(index, watched, reader); });
        is_present_[index] = true;
    }

    // Another matcher goes on from where this one is, and offers the same. Not where conditions have come late or
    // gone: a crew's are all there from the outset.
    void resume() {
        std::vector<WatchedCondition> watched;
        for (std::uint32_t i = 0; i < is_present_.size(); ++i) {
            const Watch& watch = program_.watches[i];
            if (!is_present_[i] || !watch.from_outset || have_gone_) return;
            watched.push_back({watch.name, &watch.condition, watch.offer_all});
        }
        fetch();
        const std::string bytes = checkpoint_of(*fast_);
        std::unique_ptr<ResumableMatcher> resumed = make_incremental_matcher(
            std::move(watched), [this](const Match& match) { return taken_.count(match.key) > 0; });
        CheckpointLoaders loaders;
        loaders.entry = [this](const EntryId& id, Position position) -> Result<EntryPtr> {
            const auto found = state_.find(id);
            return found != state_.end() && found->second->position == position ? found->second : nullptr;
        };
        CheckpointReader in(bytes, loaders);
        resumed->load(in, [](const EntryPtr&) {});
        const Status loaded = in.finish();
        if (!loaded.ok()) disagree("a checkpoint: " + loaded.error().message);
        if (checkpoint_of(*resumed) != bytes) disagree("a checkpoint that was taken up is another");
        fast_ = std::move(resumed);
        std::map<Hash128, MatchPtr> before = std::exchange(offered_, {});
        fetch();
        for (const auto& [key, match] : before) {
            if (offered_.count(key) == 0) disagree("after a checkpoint it does not offer " + told_match(match));
        }
        for (const auto& [key, match] : offered_) {
            if (before.count(key) == 0) disagree("after a checkpoint it offers " + told_match(match));
        }
    }

    void remove(std::uint32_t index) {
        have_gone_ = true;
        both([&](Matcher& matcher) { matcher.remove(index); });
        is_present_[index] = false;
        kept_.erase(std::remove_if(kept_.begin(), kept_.end(),
                                   [&](const MatchPtr& match) { return match->condition == index; }),
                    kept_.end());
    }

    // The agenda's order among sources of constant ratings.
    [[nodiscard]] bool before(const Match& a, const Match& b, bool newest_first) const {
        const double rating_a = program_.watches[a.condition].rating;
        const double rating_b = program_.watches[b.condition].rating;
        if (rating_a != rating_b) return rating_a > rating_b;
        if (a.age != b.age) return newest_first ? a.age > b.age : a.age < b.age;
        if (a.condition != b.condition) return a.condition < b.condition;
        if (a.bound != b.bound) return a.bound < b.bound;
        return a.key < b.key;
    }

    [[nodiscard]] MatchPtr first(const std::map<Hash128, MatchPtr>& agenda, const Step& step) const {
        MatchPtr first;
        for (const auto& [key, match] : agenda) {
            if (taken_.count(key) > 0) continue;
            // Sources that are busy are passed over.
            if ((step.which >> (match->condition % 8) & 1) != 0) continue;
            if (!first || before(*match, *first, step.newest_first)) first = match;
        }
        return first;
    }

    void take(const Step& step) {
        fetch();
        const MatchPtr expected = first(all_, step);
        const MatchPtr found = first(offered_, step);
        if (!expected != !found || (expected && expected->key != found->key)) {
            disagree("the agenda begins with " + told_match(expected) + ", offered is " + told_match(found));
        }
        if (found) take_up(found);
    }

    // A log may hold claims of matches that are kept back here.
    void take_unseen(const Step& step) {
        fetch();
        std::vector<MatchPtr> kept_back;
        for (const auto& [key, match] : all_) {
            if (taken_.count(key) == 0 && offered_.count(key) == 0) kept_back.push_back(match);
        }
        if (!kept_back.empty()) take_up(kept_back[step.which % kept_back.size()]);
    }

    void take_up(const MatchPtr& match) {
        taken_.insert(match->key);
        kept_.push_back(match);
        offered_.erase(match->key);
        fast_->withdraw(*match);
    }

    void give_back(const Step& step) {
        if (kept_.empty()) return;
        const std::size_t which = step.which % kept_.size();
        const MatchPtr match = kept_[which];
        kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(which));
        taken_.erase(match->key);
        fast_->offer(match);
        fetch();
        if (offered_.count(match->key) != all_.count(match->key)) {
            disagree("given back " + told_match(match) + (all_.count(match->key) > 0 ? ": it is not" : ": it is") +
                     " offered");
        }
    }

    void fetch() {
        const MatchDelta slow = slow_->take_delta();
        for (const MatchPtr& match : slow.removed) all_.erase(match->key);
        for (const MatchPtr& match : slow.added) {
            all_[match->key] = match;
            if (seen_.size() < 400) seen_.push_back(match);
        }
        const MatchDelta fast = fast_->take_delta();
        for (const MatchPtr& match : fast.removed) {
            if (offered_.erase(match->key) != 1) disagree("removed but not offered: " + told_match(match));
        }
        for (const MatchPtr& match : fast.added) {
            if (!offered_.emplace(match->key, match).second) disagree("offered twice: " + told_match(match));
        }
    }

    void check(bool fetches_delta) {
        check_what_holds();
        check_time();
        if (!fetches_delta) return;
        fetch();
        check_offers();
        check_find();
    }

    void check_what_holds() const {
        for (std::uint32_t i = 0; i < is_present_.size(); ++i) {
            if (!is_present_[i]) continue;
            const std::vector<MatchPtr> expected = slow_->all_matches(i);
            const std::vector<MatchPtr> found = fast_->all_matches(i);
            if (!same_keys(expected, found)) {
                disagree("condition " + std::to_string(i) + " holds for" + told_all(expected) + "\n  found are" +
                         told_all(found));
            }
        }
        for (const auto& [id, version] : versions_) {
            if (slow_->current_version(id) != fast_->current_version(id)) disagree("the version of " + to_text(id));
        }
    }

    void check_time() const {
        const auto told_due = [](const std::optional<TimeMs>& due) { return due ? std::to_string(due->ms) : "never"; };
        if (slow_->next_due() != fast_->next_due()) {
            disagree("due at " + told_due(slow_->next_due()) + ", found " + told_due(fast_->next_due()));
        }
        if (slow_->holds_due() != fast_->holds_due()) disagree("whether anything is due");
    }

    void check_offers() const {
        std::vector<std::size_t> open(is_present_.size());
        std::vector<std::size_t> offered(is_present_.size());
        for (const auto& [key, match] : all_) open[match->condition] += taken_.count(key) == 0 ? 1 : 0;
        for (const auto& [key, match] : offered_) {
            if (all_.count(key) == 0) disagree("offered but does not hold: " + told_match(match));
            if (taken_.count(key) > 0) disagree("offered but taken: " + told_match(match));
            ++offered[match->condition];
        }
        for (std::uint32_t i = 0; i < is_present_.size(); ++i) {
            if ((open[i] == 0) == (offered[i] == 0) && (!program_.watches[i].offer_all || open[i] == offered[i])) {
                continue;
            }
            disagree("condition " + std::to_string(i) + " has " + std::to_string(open[i]) +
                     " open matches and offers " + std::to_string(offered[i]));
        }
    }

    // Of those that held at any time, exactly those that hold now are found.
    void check_find() const {
        for (const MatchPtr& match : seen_) {
            const bool holds = all_.count(match->key) > 0;
            const MatchPtr found = fast_->find(match->condition, record_of(*match));
            if (holds != static_cast<bool>(found)) {
                disagree((holds ? "not found: " : "found though it does not hold: ") + told_match(match));
            }
            if (found && found->key != match->key) disagree("found another than " + told_match(match));
            MatchRecord other = record_of(*match);
            other.key.low ^= 1;
            if (fast_->find(match->condition, other)) disagree("found by another key: " + told_match(match));
            if (other.bound.empty()) continue;
            other = record_of(*match);
            other.bound.pop_back();
            if (fast_->find(match->condition, other)) disagree("found by fewer entries: " + told_match(match));
        }
    }

    const Program& program_;
    std::vector<bool> is_present_;
    bool have_gone_ = false;
    std::unique_ptr<Matcher> slow_;
    std::unique_ptr<ResumableMatcher> fast_;
    std::mt19937 resume_dice_{1};  // so that a seed means what it meant
    std::map<EntryId, EntryPtr> state_;
    std::map<EntryId, std::uint32_t> versions_;
    std::uint64_t position_ = 0;
    std::int64_t time_ = 0;
    std::size_t at_ = 0;
    std::map<Hash128, MatchPtr> all_;
    std::map<Hash128, MatchPtr> offered_;
    std::set<Hash128> taken_;
    std::vector<MatchPtr> kept_;
    std::vector<MatchPtr> seen_;
};

std::optional<Disagreement> run(const Program& program) {
    try {
        Pair(program).run();
    } catch (const Disagreement& disagreement) {
        return disagreement;
    }
    return std::nullopt;
}

// ---- a failing program, cut down and printed -----------------------------------------------------

class Shrinker {
public:
    explicit Shrinker(Program program) : program_(std::move(program)) {}

    Program shrink() {
        for (bool smaller = true; smaller && tries_left_ > 0;) {
            smaller = drop_each(
                program_.steps, [](Program & one) -> auto& { return one.steps; });
            for (std::size_t i = 0; i < program_.steps.size(); ++i) {
                smaller |= drop_each(
                    program_.steps[i].writes, [i](Program & one) -> auto& { return one.steps[i].writes; });
            }
            for (std::size_t i = 0; i < program_.watches.size(); ++i) smaller |= simplify(i);
        }
        return program_;
    }

private:
    // Conditions keep their numbers: one that is not needed comes to have no terms that matter.
    bool simplify(std::size_t which) {
        bool smaller = false;
        smaller |= attempt([which](Program& one) {
            Watch& watch = one.watches[which];
            if (watch.condition.terms.empty() && !watch.from_outset) return false;
            watch.condition = Condition();
            watch.from_outset = false;
            return true;
        });
        for (std::size_t i = program_.watches[which].condition.terms.size(); i-- > 0;) {
            smaller |= attempt([which, i](Program& one) {
                std::vector<Term>& terms = one.watches[which].condition.terms;
                if (terms[i].binds()) return false;
                terms.erase(terms.begin() + static_cast<std::ptrdiff_t>(i));
                return true;
            });
        }
        for (std::size_t i = 0; i < program_.watches[which].condition.terms.size(); ++i) {
            smaller |= drop_each(
                program_.watches[which].condition.terms[i].where,
                [ which, i ](Program & one) -> auto& { return one.watches[which].condition.terms[i].where; });
        }
        return smaller;
    }

    template <class Items, class Of>
    bool drop_each(const Items& items, const Of& of) {
        bool smaller = false;
        for (std::size_t i = items.size(); i-- > 0;) {
            smaller |= attempt([&](Program& one) {
                auto& from = of(one);
                from.erase(from.begin() + static_cast<std::ptrdiff_t>(i));
                return true;
            });
        }
        return smaller;
    }

    template <class Change>
    bool attempt(const Change& change) {
        if (tries_left_ == 0) return false;
        Program smaller = program_;
        if (!change(smaller)) return false;
        --tries_left_;
        if (!run(smaller)) return false;
        program_ = std::move(smaller);
        return true;
    }

    Program program_;
    int tries_left_ = 3'000;
};

std::string told(const Step& step) {
    static const char* const names[] = {"commit", "clock", "run", "take", "take unseen", "give back", "add", "remove"};
    std::string text = names[static_cast<int>(step.kind)];
    const bool tells_time =
        step.kind == Step::Kind::commit || step.kind == Step::Kind::clock || step.kind == Step::Kind::run;
    text += tells_time ? " after " + std::to_string(step.later_ms) + " ms" : " " + std::to_string(step.which);
    if (step.kind == Step::Kind::take) text += step.newest_first ? ", newest first" : ", oldest first";
    for (const WriteStep& write : step.writes) {
        text += "\n      " + to_text(write.id) + " " + (write.content ? to_json(*write.content) : "retracted") +
                " by " + write.author;
    }
    if (!step.fetches_delta) text += "\n      (no delta is fetched)";
    return text;
}

std::string told(const Program& program) {
    std::string text;
    for (std::size_t i = 0; i < program.watches.size(); ++i) {
        const Watch& watch = program.watches[i];
        if (watch.condition.terms.empty() && !watch.from_outset) continue;
        text += "  condition " + std::to_string(i) + (watch.from_outset ? "" : " (late)") +
                (watch.offer_all ? " (all offered)" : "") + ": " + match_worlds::told(watch.condition) + "\n";
    }
    for (std::size_t i = 0; i < program.steps.size(); ++i) {
        text += "  step " + std::to_string(i) + ": " + told(program.steps[i]) + "\n";
    }
    return text;
}

std::uint32_t from_environment(const char* name, std::uint32_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10));
}

}  // namespace

TEST_CASE("both matchers say the same at every step of random histories under random crews") {
    const std::uint32_t first = from_environment("STELE_MATCHER_SEED", 1);
    const std::uint32_t count = from_environment("STELE_MATCHER_PROGRAMS", 800);
    for (std::uint32_t seed = first; seed < first + count; ++seed) {
        const Program program = random_program(seed);
        if (!run(program)) continue;
        const Program smaller = Shrinker(program).shrink();
        const std::optional<Disagreement> disagreement = run(smaller);
        REQUIRE(disagreement);
        FAIL("STELE_MATCHER_SEED=" << seed << ": at step " << disagreement->step << ", " << disagreement->what << "\n"
                                   << told(smaller));
    }
}

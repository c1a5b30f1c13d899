// Many conditions cut from few patterns, as generated crews have them: the incremental matcher against
// the re-evaluating one, match by match, with matches taken up, closed and opened again in the order of
// the agenda, and conditions that come and go while the board is full.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "scheduler/checkpoint.hpp"
#include "scheduler/matcher.hpp"
#include "tests/scheduler/match_worlds.hpp"

using namespace stele;
using namespace stele::match_worlds;

namespace {

using Keys = std::set<Hash128>;

Keys keys_of(const std::vector<MatchPtr>& matches) {
    Keys keys;
    for (const MatchPtr& match : matches) keys.insert(match->key);
    return keys;
}

std::string told_all(const std::vector<MatchPtr>& matches) {
    std::string text;
    for (const MatchPtr& match : matches) {
        for (const BoundEntry& bound : match->bound)
            text += to_text(bound.id) + "@" + std::to_string(bound.version) + " ";
        text += "since";
        for (const Position since : match->episodes) text += " " + std::to_string(since.number);
        text += "; ";
    }
    return text;
}

// What is on offer, in the agenda's order for one source.
struct ByAge {
    bool newest_first = false;
    bool operator()(const MatchPtr& a, const MatchPtr& b) const {
        if (a->age != b->age) return newest_first ? a->age > b->age : a->age < b->age;
        if (a->bound != b->bound) return newest_first ? b->bound < a->bound : a->bound < b->bound;
        return a->key < b->key;
    }
};

class MatcherComparison {
public:
    MatcherComparison(std::uint32_t seed, bool offer_all) : dice_(seed), offer_all_(offer_all) {
        patterns_ = 1 + roll(dice_, 3);
        for (std::uint32_t i = 0; i < patterns_; ++i) shapes_.push_back(random_condition(dice_));
        const std::uint32_t count = patterns_ * (1 + roll(dice_, 14));
        for (std::uint32_t i = 0; i < count; ++i) add_condition();
        std::vector<WatchedCondition> watched = watched_;
        slow_ = make_reevaluating_matcher(watched);
        fast_ = make_incremental_matcher(watched, [this](const Match& match) { return taken_.count(match.key) > 0; });
        present_.assign(watched_.size(), true);
    }

    void run() {
        const std::uint32_t steps = 8 + roll(dice_, 10);
        const std::uint32_t run_at = roll(dice_, steps);
        for (step_ = 1; step_ <= steps; ++step_) {
            const Position position{10 * step_};
            time_ += roll(dice_, 60);
            const TimeMs time{time_};
            if (step_ == run_at + 1) {
                feed(true, [position, time](Matcher& matcher) { matcher.begin_run(position, time); });
            } else if (roll(dice_, 5) == 0) {
                feed(true, [position, time](Matcher& matcher) { matcher.clock(position, time); });
            } else {
                now_ = random_version(dice_, now_.state, position, versions_, time_);
                feed(false, [position, time, changes = now_.changes](Matcher& matcher) {
                    matcher.commit(position, time, changes);
                });
            }
            check();
            for (std::uint32_t i = roll(dice_, 6); i > 0; --i) take_one();
            if (roll(dice_, 6) == 0) {
                newest_first_ = !newest_first_;
                fast_->set_order(newest_first_);
                take_offers();
            }
            if (roll(dice_, 3) == 0) return_one();
            if (roll(resume_dice_, 4) == 0) resume();
            if (roll(resume_dice_, 4) == 0) compare_with_one_fed_again();
        }
    }

    // Conditions that come late: only what is bound can be compared with a matcher that saw everything.
    void run_with_newcomers() {
        const std::uint32_t steps = 10;
        for (step_ = 1; step_ <= steps; ++step_) {
            const Position position{10 * step_};
            now_ = random_version(dice_, now_.state, position, versions_, ++time_);
            both([&](Matcher& matcher) { matcher.commit(position, {time_}, now_.changes); });
            if (step_ == 2) both([&](Matcher& matcher) { matcher.begin_run({25}, {time_}); });
            fast_->take_delta();
            if (step_ >= 3) {
                if (roll(dice_, 2) == 0) {
                    add_condition();
                    const auto index = static_cast<std::uint32_t>(watched_.size() - 1);
                    present_.push_back(true);
                    late_.insert(index);
                    const Matcher::RegionReader reader = [&](const std::string& region, const auto& tell) {
                        for (const auto& [id, entry] : now_.state) {
                            if (id.region == region) tell(entry);
                        }
                    };
                    both([&](Matcher& matcher) { matcher.add(index, watched_[index], reader); });
                } else {
                    const std::uint32_t index = roll(dice_, static_cast<std::uint32_t>(watched_.size()));
                    if (present_[index]) both([&](Matcher& matcher) { matcher.remove(index); });
                    present_[index] = false;
                }
            }
            for (std::uint32_t i = 0; i < watched_.size(); ++i) {
                if (!present_[i]) continue;
                REQUIRE(bound_of(slow_->all_matches(i)) == bound_of(fast_->all_matches(i)));
            }
        }
    }

private:
    void feed(bool is_of_run, const std::function<void(Matcher&)>& step) {
        both(step);
        fed_.push_back({is_of_run, step});
    }

    // One that goes on with another crew, or in another run, from where this one is, against one that is fed all of it.
    void compare_with_one_fed_again() {
        const auto refracted = [this](const Match& match) { return taken_.count(match.key) > 0; };
        for (const bool new_run : {false, true}) {
            const std::unique_ptr<ResumableMatcher> going_on = make_incremental_matcher(watched_, refracted);
            going_on->set_order(newest_first_);
            const bool hides_time = std::any_of(watched_.begin(), watched_.end(),
                                                [](const auto& watched) { return watched.condition->hides_time(); });
            REQUIRE(going_on->take_over(*fast_, new_run, [](const EntryPtr&) {}) == !(new_run && hides_time));
            if (new_run && hides_time) continue;
            const std::unique_ptr<ResumableMatcher> fed_again = make_incremental_matcher(watched_, refracted);
            for (const Fed& fed : fed_) {
                if (!new_run || !fed.is_of_run) fed.step(*fed_again);
            }
            fed_again->set_order(newest_first_);
            std::set<Hash128> offered[2];
            std::string known[2];
            for (const int which : {0, 1}) {
                ResumableMatcher& matcher = which == 0 ? *going_on : *fed_again;
                const Position position{10 * step_ + 5};
                if (new_run) matcher.begin_run(position, {time_});
                matcher.clock(position, {time_});
                for (const MatchPtr& match : matcher.take_delta().added) offered[which].insert(match->key);
                known[which] = checkpoint_of(matcher);
            }
            REQUIRE(offered[0] == offered[1]);
            REQUIRE(known[0] == known[1]);
        }
    }

    // Another matcher goes on from where this one is, and offers the same.
    void resume() {
        take_offers();
        const std::string bytes = checkpoint_of(*fast_);
        std::unique_ptr<ResumableMatcher> resumed =
            make_incremental_matcher(watched_, [this](const Match& match) { return taken_.count(match.key) > 0; });
        resumed->set_order(newest_first_);
        CheckpointLoaders loaders;
        loaders.entry = [this](const EntryId& id, Position position) -> Result<EntryPtr> {
            const auto found = now_.state.find(id);
            return found != now_.state.end() && found->second->position == position ? found->second : nullptr;
        };
        CheckpointReader in(bytes, loaders);
        resumed->load(in, [](const EntryPtr&) {});
        const Status loaded = in.finish();
        REQUIRE_MESSAGE(loaded.ok(), (loaded.ok() ? "" : loaded.error().message));
        REQUIRE(checkpoint_of(*resumed) == bytes);
        fast_ = std::move(resumed);
        const std::map<Hash128, MatchPtr> before = std::exchange(offered_, {});
        take_offers();
        REQUIRE(before.size() == offered_.size());
        for (const auto& [key, match] : before) REQUIRE(offered_.count(key) == 1);
    }

    template <class Do>
    void both(const Do& act) {
        act(*slow_);
        act(*fast_);
    }

    void add_condition() {
        const Condition& shape = shapes_[conditions_.size() % patterns_];
        conditions_.push_back(std::make_unique<Condition>(with_other_constants(dice_, shape)));
        watched_.push_back({"source" + std::to_string(conditions_.size()), conditions_.back().get(), offer_all_});
    }

    static std::set<std::vector<BoundEntry>> bound_of(const std::vector<MatchPtr>& matches) {
        std::set<std::vector<BoundEntry>> bound;
        for (const MatchPtr& match : matches) bound.insert(match->bound);
        return bound;
    }

    void check() {
        const MatchDelta slow = slow_->take_delta();
        for (const MatchPtr& match : slow.removed) all_.erase(match->key);
        for (const MatchPtr& match : slow.added) all_[match->key] = match;
        take_offers();
        REQUIRE(slow_->next_due() == fast_->next_due());
        REQUIRE(slow_->holds_due() == fast_->holds_due());
        for (std::uint32_t i = 0; i < watched_.size(); ++i) {
            const std::vector<MatchPtr> expected = slow_->all_matches(i);
            REQUIRE_MESSAGE(keys_of(expected) == keys_of(fast_->all_matches(i)),
                            "condition " << i << " (" << told(*conditions_[i]) << ") after step " << step_
                                         << ": expected " << told_all(expected) << " found "
                                         << told_all(fast_->all_matches(i)));
            std::size_t open = 0;
            for (const MatchPtr& match : expected) {
                REQUIRE(fast_->find(i, {match->key, match->bound, match->episodes}));
                open += taken_.count(match->key) == 0 ? 1 : 0;
            }
            std::size_t offered = 0;
            for (const auto& [key, match] : offered_) offered += match->condition == i ? 1 : 0;
            REQUIRE((open == 0) == (offered == 0));
            if (offer_all_) REQUIRE(open == offered);
        }
        for (const auto& [key, match] : offered_) {
            REQUIRE(all_.count(key) == 1);
            REQUIRE(taken_.count(key) == 0);
        }
        for (const auto& [id, entry] : now_.state) REQUIRE(slow_->current_version(id) == fast_->current_version(id));
    }

    void take_offers() {
        const MatchDelta delta = fast_->take_delta();
        for (const MatchPtr& match : delta.removed) REQUIRE(offered_.erase(match->key) == 1);
        for (const MatchPtr& match : delta.added) REQUIRE(offered_.emplace(match->key, match).second);
    }

    // The first in the order of the agenda, which must be the same whether or not some are held back.
    void take_one() {
        const std::uint32_t condition = roll(dice_, static_cast<std::uint32_t>(watched_.size()));
        const ByAge before{newest_first_};
        MatchPtr expected;
        for (const auto& [key, match] : all_) {
            if (match->condition != condition || taken_.count(key) > 0) continue;
            if (!expected || before(match, expected)) expected = match;
        }
        MatchPtr first;
        for (const auto& [key, match] : offered_) {
            if (match->condition == condition && (!first || before(match, first))) first = match;
        }
        REQUIRE(static_cast<bool>(expected) == static_cast<bool>(first));
        if (!first) return;
        REQUIRE_MESSAGE(expected->key == first->key, told(*conditions_[condition]) << " after step " << step_);
        taken_.insert(first->key);
        kept_.push_back(first);
        offered_.erase(first->key);
        fast_->withdraw(*first);
        take_offers();
    }

    void return_one() {
        if (kept_.empty()) return;
        const std::uint32_t which = roll(dice_, static_cast<std::uint32_t>(kept_.size()));
        const MatchPtr match = kept_[which];
        kept_.erase(kept_.begin() + which);
        taken_.erase(match->key);
        fast_->offer(match);
        take_offers();
        REQUIRE(offered_.count(match->key) == all_.count(match->key));
    }

    Dice dice_;
    bool offer_all_;
    bool newest_first_ = false;
    std::uint32_t patterns_ = 0;
    std::vector<Condition> shapes_;
    std::vector<std::unique_ptr<Condition>> conditions_;
    std::vector<WatchedCondition> watched_;
    std::vector<bool> present_;
    std::set<std::uint32_t> late_;
    struct Fed {
        bool is_of_run;
        std::function<void(Matcher&)> step;
    };
    std::vector<Fed> fed_;
    std::unique_ptr<Matcher> slow_;
    std::unique_ptr<ResumableMatcher> fast_;
    Dice resume_dice_{1};  // so that a seed means what it meant
    std::map<EntryId, std::uint32_t> versions_;
    Version now_;
    std::uint64_t step_ = 0;
    std::int64_t time_ = 0;
    std::map<Hash128, MatchPtr> all_;
    std::map<Hash128, MatchPtr> offered_;
    std::set<Hash128> taken_;
    std::vector<MatchPtr> kept_;
};

std::uint32_t from_environment(const char* name, std::uint32_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10));
}

}  // namespace

TEST_CASE("the incremental matcher offers what the re-evaluating one finds, in the agenda's order") {
    const std::uint32_t first = from_environment("STELE_MATCHER_SEED", 1);
    const std::uint32_t count = from_environment("STELE_MATCHER_PROGRAMS", 1'500);
    for (std::uint32_t seed = first; seed < first + count; ++seed) {
        CAPTURE(seed);
        MatcherComparison(seed, seed % 4 == 0).run();
    }
}

TEST_CASE("conditions come and go while the board is full") {
    for (std::uint32_t seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        MatcherComparison(seed, seed % 4 == 0).run_with_newcomers();
    }
}

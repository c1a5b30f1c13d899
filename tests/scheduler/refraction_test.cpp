// Refraction against one that never forgets: whatever match could come back is known alike, and what cannot is not
// kept.
#include <doctest/doctest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "scheduler/checkpoint.hpp"
#include "scheduler/refraction.hpp"

using namespace stele;

namespace {

// Entries that change, and matches of two or fewer of them, some with episodes.
class World {
public:
    explicit World(std::uint32_t seed) : dice_(seed) {
        for (std::uint64_t i = 0; i < entries_.size(); ++i) write(i);
    }

    void run() {
        for (int step = 0; step < 300; ++step) {
            switch (roll(8)) {
                case 0:
                    write(roll(entries_.size()));
                    break;
                case 1:
                    ++episode_;  // a term flips, for every match that has one
                    break;
                case 2:
                    resume();
                    break;
                case 3:
                    if (!taken_.empty()) give_back(roll(taken_.size()));
                    break;
                case 4:
                    if (roll(20) == 0) {
                        quick_.forget_claimed();
                        std::erase_if(slow_, [](const auto& known) { return known.second == MatchStatus::claimed; });
                        taken_.clear();
                    }
                    break;
                default:
                    take(some_match());
            }
            check();
        }
        for (std::uint64_t i = 0; i < entries_.size(); ++i) write(i);
        ++episode_;
        // What binds nothing is known by its last episode alone; what is claimed stays until it is over.
        CHECK(quick_.size() <= taken_.size() + 3);
    }

private:
    std::size_t roll(std::size_t below) { return std::uniform_int_distribution<std::size_t>(0, below - 1)(dice_); }

    void write(std::uint64_t which) {
        auto entry = std::make_shared<Entry>();
        entry->id = {which % 2 == 0 ? "a" : "b", which + 1};
        entry->version = entries_[which] ? entries_[which]->version + 1 : 1;
        entry->position = {++position_};
        if (entries_[which]) quick_.moved(entry->id);
        entries_[which] = entry;
    }

    Match some_match() {
        Match match;
        match.condition = static_cast<std::uint32_t>(roll(3));
        for (std::size_t bound = roll(3); bound > 0; --bound) {
            match.entries.push_back(entries_[roll(entries_.size())]);
            match.bound.push_back({match.entries.back()->id, match.entries.back()->version});
        }
        if (match.condition != 0) match.episodes.push_back({episode_});
        match.key = match_key(name_of(match), match.bound, match.episodes);
        return match;
    }
    static std::string name_of(const Match& match) { return "source" + std::to_string(match.condition); }

    [[nodiscard]] bool can_come_back(const Match& match) const {
        for (std::size_t i = 0; i < match.bound.size(); ++i) {
            if (entries_[match.bound[i].id.number - 1]->version != match.bound[i].version) return false;
        }
        return match.episodes.empty() || match.episodes.front().number == episode_;
    }

    void take(const Match& match) {
        if (slow_.count(match.key) > 0) return;
        seen_[match.key] = match;
        note(match, MatchStatus::claimed);
        if (roll(3) == 0) {
            taken_.push_back(match);
        } else {
            note(match, MatchStatus::closed);
        }
    }

    void give_back(std::size_t which) {
        const Match match = taken_[which];
        taken_.erase(taken_.begin() + static_cast<std::ptrdiff_t>(which));
        switch (roll(3)) {
            case 0:
                slow_.erase(match.key);
                return quick_.forget(match.key);
            case 1:
                return note(match, MatchStatus::closed);
            default:
                return note(match, MatchStatus::dead);
        }
    }

    void note(const Match& match, MatchStatus status) {
        slow_[match.key] = status;
        SourceSpec source;
        source.name = name_of(match);
        quick_.note(source, match, status);
    }

    void resume() {
        const std::string bytes = checkpoint_of(quick_);
        const CheckpointLoaders none;
        CheckpointReader in(bytes, none);
        quick_ = {};
        quick_.load(in);
        REQUIRE(in.finish().ok());
        REQUIRE(checkpoint_of(quick_) == bytes);
    }

    void check() const {
        for (const auto& [key, match] : seen_) {
            const auto known = slow_.find(key);
            const bool claimed = known != slow_.end() && known->second == MatchStatus::claimed;
            if (!can_come_back(match) && !claimed) continue;
            REQUIRE(quick_.of(key) ==
                    (known == slow_.end() ? std::nullopt : std::optional<MatchStatus>(known->second)));
        }
    }

    std::mt19937 dice_;
    std::uint64_t position_ = 0;
    std::uint64_t episode_ = 1;
    std::vector<EntryPtr> entries_ = std::vector<EntryPtr>(6);
    Refraction quick_;
    std::map<Hash128, MatchStatus> slow_;
    std::map<Hash128, Match> seen_;
    std::vector<Match> taken_;
};

}  // namespace

TEST_CASE("every match that could come back is known as by one who never forgets, and no other is kept") {
    for (std::uint32_t seed = 1; seed <= 300; ++seed) {
        CAPTURE(seed);
        World(seed).run();
    }
}

TEST_CASE("a source that ticks a hundred thousand times leaves one match behind, a task that is done none") {
    Refraction refraction;
    SourceSpec ticker;
    ticker.name = "ticker";
    SourceSpec worker;
    worker.name = "worker";
    Match tick;
    for (std::uint64_t at = 1; at <= 100'000; ++at) {
        tick.episodes = {{at}};
        tick.key = match_key("ticker", {}, tick.episodes);
        refraction.note(ticker, tick, MatchStatus::claimed);
        refraction.note(ticker, tick, MatchStatus::closed);
    }
    CHECK(refraction.size() == 1);
    for (std::uint64_t number = 1; number <= 1'000; ++number) {
        auto task = std::make_shared<Entry>();
        task->id = {"tasks", number};
        task->position = {number};
        Match match;
        match.entries = {task};
        match.bound = {{task->id, 1}};
        match.key = match_key("worker", match.bound, {});
        refraction.note(worker, match, MatchStatus::claimed);
        refraction.moved(task->id);  // it is marked as done by the very commit that closes the match
        CHECK(refraction.of(match.key) == MatchStatus::claimed);
        refraction.note(worker, match, MatchStatus::closed);
    }
    CHECK(refraction.size() == 1);
}

#include "scheduler/cycle_detector.hpp"

#include <algorithm>
#include <set>
#include <string_view>

#include "board/limits.hpp"
#include "scheduler/checkpoint.hpp"

namespace stele {
namespace {

std::string join(const std::vector<std::string>& words, const char* between) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
    return text;
}

std::string describe(const CommitTrace& trace) {
    std::vector<std::string> shown(
        trace.entries.begin(),
        trace.entries.begin() + static_cast<long>(std::min<std::size_t>(3, trace.entries.size())));
    if (trace.writes.size() > shown.size()) shown.emplace_back("...");
    return trace.source + " wrote " + join(shown, ", ") + " at version " + std::to_string(trace.position.number);
}

// `round`: oldest first. The message gets " -> " after its last source, to the first.
CycleVerdict verdict_on(const std::vector<const CommitTrace*>& round, const std::string& head) {
    CycleVerdict verdict;
    std::vector<std::string> told;
    for (const CommitTrace* trace : round) {
        verdict.sources.push_back(trace->source);
        verdict.entries.insert(verdict.entries.end(), trace->entries.begin(), trace->entries.end());
        told.push_back(describe(*trace));
    }
    verdict.at = round.back()->position;
    verdict.message =
        head + ": " + join(verdict.sources, " -> ") + " -> " + verdict.sources.front() + " (" + join(told, "; ") + ")";
    return verdict;
}

}  // namespace

std::optional<CycleVerdict> CycleDetector::on_commit(CommitTrace trace) {
    if (!spec_.enabled) return std::nullopt;
    Step step;
    step.trace = std::move(trace);
    const bool outside = step.trace.source.empty();
    const Position position = step.trace.position;
    if (step.trace.nearer) last_nearer_ = position;

    std::optional<CycleVerdict> verdict;
    if (!outside) {
        step.said = fixed_digest(step.trace.source);
        for (const Fingerprint& write : step.trace.writes) step.said += write.exact;
        const Chain chain = choose_chain(step.trace);
        count(step, chain);
        verdict = returning_state(step, chain);
        if (!verdict) verdict = repeating_chain(step, chain);
        if (!verdict) verdict = endless_chain(step, chain);
    }
    remember_writes(step.trace);
    if (!outside) remember(std::move(step));  // else no step: a chain that comes to it ends there
    return verdict;
}

// ---- what is remembered --------------------------------------------------------------------------

void CycleDetector::remember(Step step) {
    const Position position = step.trace.position;
    writes_kept_ += step.trace.writes.size();
    steps_.emplace(position, std::move(step));
    order_.push_back(position);
    while (order_.size() > limits::chain_activations_kept || writes_kept_ > limits::chain_writes_kept) {
        if (order_.size() == 1) break;
        const auto oldest = steps_.find(order_.front());
        writes_kept_ -= oldest->second.trace.writes.size();
        steps_.erase(oldest);
        order_.pop_front();
    }
}

void CycleDetector::remember_writes(const CommitTrace& trace) {
    if (first_written_.size() > limits::chain_writes_kept) {
        first_written_before_ = std::move(first_written_);
        first_written_ = {};
    }
    for (const Fingerprint& write : trace.writes) {
        if (first_written_before_.count(write.exact) == 0) first_written_.try_emplace(write.exact, trace.position);
    }
    for (const auto& [region, hash] : trace.regions) {
        if (states_.size() <= region) states_.resize(region + 1);
        std::deque<State>& states = states_[region];
        if (!states.empty() && states.back().hash == hash) continue;
        states.push_back({trace.position, hash});
        if (states.size() > 4 * std::size_t{spec_.window}) states.pop_front();
    }
}

const CycleDetector::Step* CycleDetector::step_at(Position position) const {
    const auto found = steps_.find(position);
    return found == steps_.end() ? nullptr : &found->second;
}

// The region's content as a commit left it; nothing where that is too long ago.
std::optional<Hash128> CycleDetector::region_at(std::uint32_t region, Position position) const {
    if (states_.size() <= region) return std::nullopt;
    const std::deque<State>& states = states_[region];
    const auto after = std::upper_bound(states.begin(), states.end(), position,
                                        [](Position at, const State& state) { return at < state.position; });
    if (after == states.begin()) return std::nullopt;
    return std::prev(after)->hash;
}

bool CycleDetector::was_written(const Fingerprint& write, Position at_last) const {
    if (first_written_before_.count(write.exact) > 0) return true;
    const auto first = first_written_.find(write.exact);
    return first != first_written_.end() && first->second <= at_last;
}

// ---- chains --------------------------------------------------------------------------------------

// A commit from outside, or a timer, begins a chain.
CycleDetector::Chain CycleDetector::chain_from(Position cause) const {
    Chain chain;
    const std::size_t most = 2 * std::size_t{spec_.window};
    for (const Step* at = step_at(cause); at != nullptr && chain.size() < most; at = step_at(at->parent)) {
        chain.push_back(at);
    }
    return chain;
}

// What wakes a source may be made of several commits, and the newest of them a bystander's: the chain that
// matters is the one that the source has been in before.
CycleDetector::Chain CycleDetector::choose_chain(const CommitTrace& trace) const {
    Chain newest;
    for (const Position cause : trace.causes) {
        Chain chain = chain_from(cause);
        const bool knows_source = std::any_of(chain.begin(), chain.end(),
                                              [&](const Step* step) { return step->trace.source == trace.source; });
        if (knows_source) return chain;
        if (newest.empty()) newest = std::move(chain);
    }
    return newest;
}

void CycleDetector::count(Step& step, const Chain& chain) const {
    if (chain.empty()) return;
    step.parent = chain.front()->trace.position;
    for (std::size_t i = 0; i < chain.size() && step.period == 0; ++i) {
        if (chain[i]->trace.source == step.trace.source) step.period = static_cast<std::uint32_t>(i + 1);
    }
    if (step.period == 0) return;
    const Step& last_time = *chain[step.period - 1];
    step.rounds = last_time.trace.position > last_nearer_ ? last_time.rounds + 1 : 1;
    const News news = news_in(step, chain);
    if (news == News::some) return;
    step.alike = chain.front()->alike + 1;
    if (news == News::none) step.same = chain.front()->same + 1;
}

CycleDetector::News CycleDetector::news_in(Step& now, const Chain& chain) const {
    const CommitTrace& trace = now.trace;
    if (trace.writes.empty()) return News::some;
    News news = News::none;
    for (const Fingerprint& write : trace.writes) {
        bool same = false;
        bool alike = false;
        for (std::size_t back = 0; back < chain.size() && !same; ++back) {
            for (const Fingerprint& earlier : chain[back]->trace.writes) {
                same = earlier.exact == write.exact;
                const bool echoes = same || (!alike && similarity(write, earlier) >= spec_.similarity);
                if (echoes && !alike) now.echo = std::max(now.echo, static_cast<std::uint32_t>(back + 1));
                alike = alike || echoes;
                if (same) break;
            }
        }
        if (same) continue;
        if (!alike) return News::some;
        // A word that the chain has not used so far may be all that the text is about.
        const bool known_words = std::all_of(write.words.begin(), write.words.end(), [&](std::uint32_t word) {
            return std::any_of(chain.begin(), chain.end(), [&](const Step* step) {
                return std::any_of(step->trace.writes.begin(), step->trace.writes.end(), [&](const Fingerprint& said) {
                    return std::binary_search(said.words.begin(), said.words.end(), word);
                });
            });
        });
        if (!known_words) return News::some;
        news = News::hardly;
    }
    // The same answer to another question is news: what it read must come out of the chain as well, or
    // have been read by this source before.
    const bool knows_reads = std::all_of(trace.reads.begin(), trace.reads.end(), [&](const CommitTrace::Read& read) {
        return std::any_of(chain.begin(), chain.end(), [&](const Step* step) {
            const CommitTrace& earlier = step->trace;
            if (earlier.position == read.position) return true;
            if (earlier.source == trace.source &&
                std::any_of(earlier.reads.begin(), earlier.reads.end(),
                            [&](const CommitTrace::Read& before) { return before.exact == read.exact; })) {
                return true;
            }
            return std::any_of(earlier.writes.begin(), earlier.writes.end(),
                               [&](const Fingerprint& write) { return write.exact == read.exact; });
        });
    });
    return knows_reads ? news : News::some;
}

// ---- verdicts ------------------------------------------------------------------------------------

std::optional<CycleVerdict> CycleDetector::returning_state(const Step& step, const Chain& chain) const {
    if (step.period == 0) return std::nullopt;
    std::vector<std::pair<std::uint32_t, Hash128>> regions = step.trace.regions;
    std::vector<const CommitTrace*> round = {&step.trace};
    for (const Step* then : chain) {
        const Position since = then->trace.position;
        const bool nothing_new = std::all_of(round.back()->writes.begin(), round.back()->writes.end(),
                                             [&](const Fingerprint& write) { return was_written(write, since); });
        if (!nothing_new) return std::nullopt;
        const bool as_then = std::all_of(regions.begin(), regions.end(),
                                         [&](const auto& now) { return region_at(now.first, since) == now.second; });
        // All of the round must have been said by then.
        const bool round_known =
            as_then && std::all_of(round.begin(), round.end(), [&](const CommitTrace* one) {
                return std::all_of(one->writes.begin(), one->writes.end(),
                                   [&](const Fingerprint& write) { return was_written(write, since); });
            });
        if (round_known && round.size() >= step.period) {
            std::reverse(round.begin(), round.end());
            return verdict_on(round, "the board is again as it was at version " + std::to_string(since.number) +
                                         " and nothing written since was new");
        }
        round.push_back(&then->trace);
        for (const auto& [region, hash] : then->trace.regions) {
            const bool known = std::any_of(regions.begin(), regions.end(),
                                           [number = region](const auto& now) { return now.first == number; });
            if (known) continue;
            // As it stands now: what was written there last.
            if (states_.size() > region && !states_[region].empty()) {
                regions.emplace_back(region, states_[region].back().hash);
            }
        }
    }
    return std::nullopt;
}

// The length of a round that the chain has just gone twice in the same words, with nothing new between; 0:
// it has not. Of a source that answers itself three times are asked: one answer given twice is no loop.
std::size_t CycleDetector::repetition(const Step& step, const Chain& chain) {
    const auto said = [&](std::size_t back) { return back == 0 ? step.said : chain[back - 1]->said; };
    for (std::size_t length = step.period; 2 * length <= chain.size() + 1 && length <= step.same; ++length) {
        const std::size_t compared = std::max<std::size_t>(length, 2);
        if (compared + length > chain.size() + 1 || compared > step.same) continue;
        bool repeats = true;
        for (std::size_t back = 0; back < compared && repeats; ++back) repeats = said(back) == said(back + length);
        if (repeats) return length;
    }
    return 0;
}

// The last steps that are one round of everybody who said nothing new: back to every source among them, and
// where all of it is word for word, back to where it was last said.
std::size_t CycleDetector::reach(const Step& step, const Chain& chain) {
    std::set<std::string_view> sources = {step.trace.source};
    const bool word_for_word = step.same == step.alike;
    std::size_t length = word_for_word ? std::max<std::size_t>(1, step.echo) : 1;
    for (std::size_t i = 0; i < chain.size() && i + 1 < step.alike; ++i) {
        if (word_for_word) length = std::max<std::size_t>(length, chain[i]->echo);
        if (sources.insert(chain[i]->trace.source).second) length = std::max(length, i + 2);
    }
    return std::min(length, chain.size() + 1);
}

std::optional<CycleVerdict> CycleDetector::repeating_chain(const Step& step, const Chain& chain) const {
    if (step.period == 0 || step.alike == 0) return std::nullopt;
    std::size_t length = repetition(step, chain);
    if (length == 0) {
        // In other words or another order, two whole rounds of everybody who takes part are asked for.
        const std::size_t everybody = reach(step, chain);
        if (step.alike < std::min<std::size_t>(std::max<std::size_t>(3, 2 * everybody), spec_.window)) {
            return std::nullopt;
        }
        length = everybody;
    }
    std::vector<const CommitTrace*> round;
    for (std::size_t i = length - 1; i-- > 0;) round.push_back(&chain[i]->trace);
    round.push_back(&step.trace);
    return verdict_on(round, "the last " + std::to_string(step.alike) +
                                 " activations of one wake chain wrote nothing that the chain had not said before");
}

std::optional<CycleVerdict> CycleDetector::endless_chain(const Step& step, const Chain& chain) const {
    if (rounds_max_ == 0 || step.rounds <= rounds_max_) return std::nullopt;
    std::vector<const CommitTrace*> round;
    for (std::size_t i = step.period - 1; i-- > 0;) round.push_back(&chain[i]->trace);
    round.push_back(&step.trace);
    return verdict_on(round, "one wake chain has gone round " + std::to_string(step.rounds) +
                                 " times, and no stop condition came nearer");
}

// ---- checkpoint ----------------------------------------------------------------------------------

template <class Archive, TransferOf<Fingerprint> T>
void transfer(Archive& archive, T& write) {
    archive(write.exact, write.hard, write.soft, write.words);
}

template <class Archive, TransferOf<CommitTrace::Read> T>
void transfer(Archive& archive, T& read) {
    archive(read.position, read.exact);
}

template <class Archive, TransferOf<CommitTrace> T>
void transfer(Archive& archive, T& trace) {
    archive(trace.position, trace.source, trace.causes, trace.reads, trace.writes, trace.entries, trace.regions,
            trace.nearer);
}

template <class Archive, class Self>
void CycleDetector::Step::transfer(Archive& archive, Self& self) {
    archive(self.trace, self.parent, self.said, self.period, self.same, self.alike, self.echo, self.rounds);
}

template <class Archive, class Self>
void CycleDetector::State::transfer(Archive& archive, Self& self) {
    archive(self.position, self.hash);
}

void CycleDetector::save(CheckpointWriter& out) const {
    out(last_nearer_, steps_, states_, first_written_, first_written_before_);
}

void CycleDetector::load(CheckpointReader& in) {
    in(last_nearer_, steps_, states_, first_written_, first_written_before_);
    order_.clear();
    writes_kept_ = 0;
    for (const auto& [position, step] : steps_) {
        order_.push_back(position);
        writes_kept_ += step.trace.writes.size();
    }
    std::sort(order_.begin(), order_.end());
}

}  // namespace stele

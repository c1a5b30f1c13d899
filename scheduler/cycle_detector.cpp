#include "scheduler/cycle_detector.hpp"

#include <algorithm>
#include <bit>
#include <cctype>
#include <set>

#include "board/bytes.hpp"
#include "board/limits.hpp"

namespace stele {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Digits, and what joins them in dates, clock times, decimals and versions.
bool is_time_or_number(std::string_view word) {
    bool digit = false;
    for (const char c : word) {
        if (is_digit(c)) {
            digit = true;
        } else if (std::string_view(":-./,+TZ%").find(c) == std::string_view::npos) {
            return false;
        }
    }
    return digit;
}

std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> words;
    std::size_t at = 0;
    while (at < text.size()) {
        while (at < text.size() && is_space(text[at])) ++at;
        const std::size_t begin = at;
        while (at < text.size() && !is_space(text[at])) ++at;
        if (at > begin) words.push_back(text.substr(begin, at - begin));
    }
    return words;
}

std::string masked(std::string_view word) {
    if (is_time_or_number(word)) return "#";
    std::string out;
    for (const char c : word) {
        if (is_digit(c)) {
            if (out.empty() || out.back() != '#') out += '#';
        } else {
            out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        }
    }
    return out;
}

// A single word is a name, a path, a status: it must be equal. Several words are prose. A lone time
// stamp or number written as text says nothing by itself.
bool is_free_text(const std::vector<std::string_view>& words, std::string_view text) {
    return words.size() > 1 || (text.size() >= 8 && is_time_or_number(text));
}

struct Collector {
    ByteWriter hard;
    std::vector<std::uint64_t> shingles;

    void collect(const Value& value) {
        if (value.is_string()) return collect_text(value.as_string());
        if (value.is_array()) {
            hard.u8('[');
            for (const Value& element : value.as_array()) collect(element);
            return hard.u8(']');
        }
        if (value.is_object()) {
            hard.u8('{');
            for (const auto& [key, member] : value.as_object()) {
                hard.text(key);
                collect(member);
            }
            return hard.u8('}');
        }
        hard.u8('v');
        hard.text(to_json(value));
    }

    void collect_text(std::string_view text) {
        const std::vector<std::string_view> words = words_of(text);
        if (!is_free_text(words, text)) {
            hard.u8('s');
            return hard.text(text);
        }
        hard.u8('t');
        std::uint64_t before = 0;
        for (const std::string_view word : words) {
            const std::uint64_t now = fixed_digest(masked(word)).low;
            shingles.push_back(now);
            if (before != 0) shingles.push_back((before * 0x9e3779b97f4a7c15ULL ^ now) * 0xff51afd7ed558ccdULL);
            before = now;
        }
    }
};

// Counts per bit are kept in bit planes: one addition with carry counts all 64 bits at once.
std::uint64_t simhash(const std::vector<std::uint64_t>& shingles) {
    std::uint64_t planes[32] = {};
    for (const std::uint64_t hash : shingles) {
        std::uint64_t carry = hash;
        for (int plane = 0; carry != 0 && plane < 32; ++plane) {
            const std::uint64_t next = planes[plane] & carry;
            planes[plane] ^= carry;
            carry = next;
        }
    }
    std::uint64_t out = 0;
    for (int bit = 0; bit < 64; ++bit) {
        std::uint64_t count = 0;
        for (int plane = 0; plane < 32; ++plane) count |= (planes[plane] >> bit & 1) << plane;
        if (2 * count > shingles.size()) out |= std::uint64_t{1} << bit;
    }
    return out;
}

Value without_volatile(const RegionSpec& region, const Value& content) {
    if (region.volatile_fields.empty() || !content.is_object()) return content;
    const std::vector<std::string>& ignored = region.volatile_fields;
    std::vector<Value::Member> members;
    for (const Value::Member& member : content.as_object()) {
        if (std::find(ignored.begin(), ignored.end(), member.first) == ignored.end()) members.push_back(member);
    }
    return Value::object(std::move(members));
}

std::string join(const std::vector<std::string>& words, const char* between) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
    return text;
}

std::string describe(const CommitTrace& trace) {
    std::vector<std::string> shown(
        trace.entries.begin(),
        trace.entries.begin() + static_cast<long>(std::min<std::size_t>(3, trace.entries.size())));
    if (trace.entries.size() > shown.size()) shown.emplace_back("...");
    return trace.source + " wrote " + join(shown, ", ") + " at version " + std::to_string(trace.position.number);
}

}  // namespace

Hash128 exact_fingerprint(const RegionSpec& region, const Entry& entry, bool removed) {
    Hash128 exact = entry.digest;
    if (exact == Hash128{} || !region.volatile_fields.empty()) {
        exact = fixed_digest(region.name + '\0' + to_json(without_volatile(region, entry.content)));
    }
    // Taking something away is another thing to say than writing it.
    if (removed) exact += Hash128{1, 1};
    return exact;
}

Fingerprint fingerprint(const RegionSpec& region, const Entry& entry, bool removed) {
    Collector collector;
    collector.hard.u8(removed ? 'r' : 'w');
    collector.hard.text(region.name);
    // A key names which thing is meant, so however it reads, another key is another thing.
    for (const std::string& field : region.key) {
        const Value* key = entry.content.find(field);
        collector.hard.text(key == nullptr ? std::string() : to_json(*key));
    }
    collector.collect(region.volatile_fields.empty() ? entry.content : without_volatile(region, entry.content));
    return {exact_fingerprint(region, entry, removed), fixed_digest(collector.hard.bytes()),
            simhash(collector.shingles)};
}

Fingerprint fingerprint(const RegionSpec& region, const Value& content, bool removed) {
    Entry entry;
    entry.content = content;
    return fingerprint(region, entry, removed);
}

double similarity(const Fingerprint& a, const Fingerprint& b) {
    if (a.hard != b.hard) return 0;
    return 1.0 - std::popcount(a.soft ^ b.soft) / 64.0;
}

std::optional<CycleVerdict> CycleDetector::on_commit(CommitTrace trace) {
    if (!spec_.enabled) return std::nullopt;
    Step step;
    step.trace = std::move(trace);
    const bool outside = step.trace.source.empty();
    const Position position = step.trace.position;

    std::optional<CycleVerdict> verdict;
    if (!outside) {
        const std::vector<const Step*> ancestors = ancestors_of(step.trace, 2 * std::size_t{spec_.window});
        if (says_nothing_new(step.trace, ancestors)) {
            step.repeats = 1 + (ancestors.empty() ? 0 : ancestors.front()->repeats);
        }
        verdict = returning_state(step, ancestors);
        if (!verdict) verdict = repeating_chain(step, ancestors);
    }

    for (const Fingerprint& write : step.trace.writes) first_written_.try_emplace(write.exact, position);
    if (first_written_.size() > 10 * limits::chain_activations_kept) first_written_.clear();
    states_.push_back({position, step.trace.state});
    if (states_.size() > 2 * std::size_t{spec_.window}) states_.pop_front();
    if (outside) return verdict;  // no step: a chain that comes to it ends there
    steps_.emplace(position, std::move(step));
    order_.push_back(position);
    if (order_.size() > limits::chain_activations_kept) {
        steps_.erase(order_.front());
        order_.pop_front();
    }
    return verdict;
}

const CycleDetector::Step* CycleDetector::step_at(Position position) const {
    const auto found = steps_.find(position);
    return found == steps_.end() ? nullptr : &found->second;
}

// From the one that woke it backwards. A commit from outside, or a timer, begins a chain.
std::vector<const CycleDetector::Step*> CycleDetector::ancestors_of(const CommitTrace& trace, std::size_t most) const {
    std::vector<const Step*> ancestors;
    const Step* at = step_at(trace.woken_by);
    while (at != nullptr && ancestors.size() < most) {
        ancestors.push_back(at);
        at = step_at(at->trace.woken_by);
    }
    return ancestors;
}

bool CycleDetector::says_nothing_new(const CommitTrace& trace, const std::vector<const Step*>& ancestors) const {
    if (trace.writes.empty()) return false;
    const bool source_known = std::any_of(ancestors.begin(), ancestors.end(),
                                          [&](const Step* step) { return step->trace.source == trace.source; });
    if (!source_known) return false;
    return std::all_of(trace.writes.begin(), trace.writes.end(), [&](const Fingerprint& write) {
        return std::any_of(ancestors.begin(), ancestors.end(), [&](const Step* step) {
            return std::any_of(step->trace.writes.begin(), step->trace.writes.end(), [&](const Fingerprint& earlier) {
                return similarity(write, earlier) >= spec_.similarity;
            });
        });
    });
}

std::optional<CycleVerdict> CycleDetector::returning_state(const Step& step,
                                                           const std::vector<const Step*>& ancestors) const {
    // The newest earlier time at which the board said the same.
    const auto same = std::find_if(states_.rbegin(), states_.rend(),
                                   [&](const State& state) { return state.hash == step.trace.state; });
    if (same == states_.rend()) return std::nullopt;
    const Position since = same->position;
    std::vector<const Step*> round = {&step};
    for (const Step* ancestor : ancestors) {
        if (ancestor->trace.position <= since) break;
        round.push_back(ancestor);
    }
    // It must be the source's own doing: awake again through the chain that this round is made of.
    const std::size_t beyond = round.size() - 1;
    if (ancestors.size() <= beyond || ancestors[beyond]->trace.source != step.trace.source) return std::nullopt;
    for (const State& state : states_) {
        if (state.position <= since) continue;
        const Step* between = step_at(state.position);
        if (between == nullptr) return std::nullopt;  // news from outside
        for (const Fingerprint& write : between->trace.writes) {
            const auto first = first_written_.find(write.exact);
            if (first == first_written_.end() || first->second > since) return std::nullopt;
        }
    }
    for (const Fingerprint& write : step.trace.writes) {
        const auto first = first_written_.find(write.exact);
        if (first == first_written_.end() || first->second > since) return std::nullopt;
    }
    std::reverse(round.begin(), round.end());
    CycleVerdict verdict;
    std::vector<std::string> told;
    for (const Step* one : round) {
        verdict.sources.push_back(one->trace.source);
        told.push_back(describe(one->trace));
    }
    verdict.message = "the board is again as it was at version " + std::to_string(since.number) +
                      " and nothing written since was new: " + join(verdict.sources, " -> ") + " (" + join(told, "; ") +
                      ")";
    return verdict;
}

std::optional<CycleVerdict> CycleDetector::repeating_chain(const Step& step,
                                                           const std::vector<const Step*>& ancestors) const {
    if (step.repeats == 0) return std::nullopt;
    std::vector<const Step*> run = {&step};
    for (const Step* ancestor : ancestors) {
        if (run.size() >= step.repeats) break;
        run.push_back(ancestor);
    }
    std::set<std::string> sources;
    for (const Step* one : run) sources.insert(one->trace.source);
    // Two whole rounds of it, so that one answer given twice is no loop yet.
    const std::size_t needed = std::min<std::size_t>(std::max<std::size_t>(2 * sources.size(), 3), spec_.window);
    if (step.repeats < needed) return std::nullopt;
    CycleVerdict verdict;
    std::vector<std::string> told;
    for (std::size_t i = std::min(sources.size(), run.size()); i-- > 0;) {
        verdict.sources.push_back(run[i]->trace.source);
        told.push_back(describe(run[i]->trace));
    }
    verdict.message = "the last " + std::to_string(step.repeats) +
                      " activations of one wake chain wrote nothing that the chain had not said before: " +
                      join(verdict.sources, " -> ") + " -> " + verdict.sources.front() + " (" + join(told, "; ") + ")";
    return verdict;
}

}  // namespace stele

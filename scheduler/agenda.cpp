#include "scheduler/agenda.hpp"

#include <algorithm>

#include "scheduler/checkpoint.hpp"

namespace stele {

bool goes_by_newest(Strategy strategy) { return strategy == Strategy::lifo || strategy == Strategy::depth; }

bool Agenda::Before::operator()(const AgendaItem& a, const AgendaItem& b) const {
    const bool by_age_alone = strategy == Strategy::fifo || strategy == Strategy::lifo;
    if (!by_age_alone && a.rating != b.rating) return a.rating > b.rating;
    if (a.match->age != b.match->age) {
        return goes_by_newest(strategy) ? a.match->age > b.match->age : a.match->age < b.match->age;
    }
    if (a.source != b.source) return a.source < b.source;
    if (a.match->bound != b.match->bound) {
        return goes_by_newest(strategy) ? b.match->bound < a.match->bound : a.match->bound < b.match->bound;
    }
    return a.match->key < b.match->key;
}

bool Agenda::HeadBefore::operator()(const Head& a, const Head& b) const {
    return a.turn != b.turn ? a.turn < b.turn : Before{strategy}(a.item, b.item);
}

Agenda::Agenda(Strategy strategy, std::vector<bool> needs_slot)
    : strategy_(strategy), needs_slot_(std::move(needs_slot)), heads_(2, Heads(HeadBefore{strategy})) {}

void Agenda::add(AgendaItem item) {
    Queue& queue = queues_.try_emplace(item.source, Before{strategy_}).first->second;
    const Hash128 key = item.match->key;
    const std::uint32_t source = item.source;
    if (queue.count(item) > 0) return;
    take_head(source);
    queue.insert(item);
    put_head(source);
    ++size_;
    by_match_[key] = std::move(item);
}

bool Agenda::remove(const Hash128& match_key) {
    const auto found = by_match_.find(match_key);
    if (found == by_match_.end()) return false;
    const std::uint32_t source = found->second.source;
    take_head(source);
    const auto queue = queues_.find(source);
    size_ -= queue->second.erase(found->second);
    if (queue->second.empty()) queues_.erase(queue);
    put_head(source);
    by_match_.erase(found);
    return true;
}

void Agenda::rank_again(Strategy strategy, const std::function<double(const AgendaItem&)>& rate) {
    std::vector<AgendaItem> items;
    for (auto& [source, queue] : queues_) items.insert(items.end(), queue.begin(), queue.end());
    strategy_ = strategy;
    queues_.clear();
    by_match_.clear();
    heads_.assign(2, Heads(HeadBefore{strategy}));
    size_ = 0;
    for (AgendaItem& item : items) {
        item.rating = rate(item);
        add(std::move(item));
    }
}

std::optional<AgendaItem> Agenda::first(const std::function<bool(std::uint32_t source)>& eligible,
                                        bool slots_free) const {
    const Head* best = nullptr;
    for (std::size_t lane = 0; lane < (slots_free ? 2 : 1); ++lane) {
        for (const Head& head : heads_[lane]) {
            if (best != nullptr && !HeadBefore{strategy_}(head, *best)) break;
            if (!eligible(head.item.source)) continue;
            best = &head;
            break;
        }
    }
    return best == nullptr ? std::nullopt : std::optional<AgendaItem>(best->item);
}

std::vector<AgendaItem> Agenda::of_source(std::uint32_t source, std::size_t most) const {
    std::vector<AgendaItem> items;
    const auto queue = queues_.find(source);
    if (queue == queues_.end()) return items;
    for (const AgendaItem& item : queue->second) {
        if (items.size() == most) break;
        items.push_back(item);
    }
    return items;
}

std::vector<AgendaItem> Agenda::first_of_all(std::size_t most,
                                             const std::function<bool(std::uint32_t source)>& wanted) const {
    using Place = Queue::const_iterator;
    std::vector<std::pair<Place, Place>> open;  // what is left of a queue that may have something to give
    const auto later = [this](const auto& a, const auto& b) { return Before{strategy_}(*b.first, *a.first); };
    for (const Heads& heads : heads_) {
        std::size_t taken = 0;
        for (const Head& head : heads) {
            // By turns, the heads are not in the order that is asked for.
            if (taken == most && strategy_ != Strategy::fair) break;
            if (!wanted(head.item.source)) continue;
            const Queue& queue = queues_.at(head.item.source);
            open.emplace_back(queue.begin(), queue.end());
            ++taken;
        }
    }
    std::make_heap(open.begin(), open.end(), later);
    std::vector<AgendaItem> items;
    while (items.size() < most && !open.empty()) {
        std::pop_heap(open.begin(), open.end(), later);
        auto& [next, end] = open.back();
        items.push_back(*next);
        if (++next == end) {
            open.pop_back();
        } else {
            std::push_heap(open.begin(), open.end(), later);
        }
    }
    return items;
}

std::size_t Agenda::size_of(std::uint32_t source) const {
    const auto queue = queues_.find(source);
    return queue == queues_.end() ? 0 : queue->second.size();
}

bool Agenda::any_source(const std::function<bool(std::uint32_t source)>& wanted) const {
    return std::any_of(queues_.begin(), queues_.end(), [&](const auto& queue) { return wanted(queue.first); });
}

void Agenda::note_turn(std::uint32_t source) {
    if (strategy_ == Strategy::fair) take_head(source);
    turns_[source] = ++turn_;
    if (strategy_ == Strategy::fair) put_head(source);
}

std::size_t Agenda::lane_of(std::uint32_t source) const {
    return source < needs_slot_.size() && needs_slot_[source] ? 1 : 0;
}

Agenda::Head Agenda::head_of(const Queue& queue) const {
    Head head;
    head.item = *queue.begin();
    const auto turn = strategy_ == Strategy::fair ? turns_.find(head.item.source) : turns_.end();
    if (turn != turns_.end()) head.turn = turn->second;
    return head;
}

void Agenda::take_head(std::uint32_t source) {
    const auto queue = queues_.find(source);
    if (queue != queues_.end() && !queue->second.empty()) heads_[lane_of(source)].erase(head_of(queue->second));
}

void Agenda::put_head(std::uint32_t source) {
    const auto queue = queues_.find(source);
    if (queue != queues_.end() && !queue->second.empty()) heads_[lane_of(source)].insert(head_of(queue->second));
}

void Agenda::save(CheckpointWriter& out) const { out(turns_, turn_); }
void Agenda::load(CheckpointReader& in) { in(turns_, turn_); }

}  // namespace stele

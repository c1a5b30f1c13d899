#include "scheduler/agenda.hpp"

namespace stele {

bool Agenda::Before::operator()(const AgendaItem& a, const AgendaItem& b) const {
    const bool by_rating = strategy == Strategy::priority || strategy == Strategy::fair;
    if (by_rating && a.rating != b.rating) return a.rating > b.rating;
    if (a.match->age != b.match->age) {
        return strategy == Strategy::lifo ? a.match->age > b.match->age : a.match->age < b.match->age;
    }
    if (a.source != b.source) return a.source < b.source;
    if (a.match->bound != b.match->bound) return a.match->bound < b.match->bound;
    return a.match->key < b.match->key;
}

void Agenda::add(AgendaItem item) {
    Queue& queue = queues_.try_emplace(item.source, Before{strategy_}).first->second;
    if (!queue.insert(item).second) return;
    ++size_;
    const Hash128 key = item.match->key;
    by_match_[key] = std::move(item);
}

bool Agenda::remove(const Hash128& match_key) {
    const auto found = by_match_.find(match_key);
    if (found == by_match_.end()) return false;
    const auto queue = queues_.find(found->second.source);
    size_ -= queue->second.erase(found->second);
    if (queue->second.empty()) queues_.erase(queue);
    by_match_.erase(found);
    return true;
}

std::optional<AgendaItem> Agenda::first(const std::function<bool(std::uint32_t source)>& eligible) const {
    const AgendaItem* best = nullptr;
    std::uint64_t best_turn = 0;
    const Before before{strategy_};
    for (const auto& [source, queue] : queues_) {
        if (!eligible(source)) continue;
        const AgendaItem& item = *queue.begin();
        const auto turn = turns_.find(source);
        const std::uint64_t last_turn = turn == turns_.end() ? 0 : turn->second;
        const bool fairer = strategy_ == Strategy::fair && best != nullptr && last_turn != best_turn;
        if (best == nullptr || (fairer ? last_turn < best_turn : before(item, *best))) {
            best = &item;
            best_turn = last_turn;
        }
    }
    return best == nullptr ? std::nullopt : std::optional<AgendaItem>(*best);
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

std::size_t Agenda::size_of(std::uint32_t source) const {
    const auto queue = queues_.find(source);
    return queue == queues_.end() ? 0 : queue->second.size();
}

std::vector<std::uint32_t> Agenda::sources() const {
    std::vector<std::uint32_t> sources;
    for (const auto& [source, queue] : queues_) sources.push_back(source);
    return sources;
}

void Agenda::note_turn(std::uint32_t source) { turns_[source] = ++turn_; }

}  // namespace stele

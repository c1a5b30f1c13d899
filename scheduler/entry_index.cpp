#include "scheduler/entry_index.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "scheduler/evaluate.hpp"

namespace stele::matching {

KeyHasher::KeyHasher() {}  // bytes_ is left as it is: what is hashed has been written before

void KeyHasher::put(const void* bytes, std::size_t size) {
    if (size > bytes_.size() - size_) {
        const XXH128_hash_t before = XXH3_128bits(bytes_.data(), size_);
        std::memcpy(bytes_.data(), &before, sizeof before);
        size_ = sizeof before;
        if (size > bytes_.size() - size_) {
            const XXH128_hash_t long_one = XXH3_128bits(bytes, size);
            std::memcpy(bytes_.data() + size_, &long_one, sizeof long_one);
            size_ += sizeof long_one;
            return;
        }
    }
    std::memcpy(bytes_.data() + size_, bytes, size);
    size_ += size;
}

void KeyHasher::add(const Value& value) {
    if (value.is_int()) {
        const char tag = 'i';
        const std::int64_t number = value.as_int();
        put(&tag, 1);
        put(&number, sizeof number);
    } else if (value.is_string()) {
        const std::string& text = value.as_string();
        const auto size = static_cast<std::uint32_t>(text.size());
        const char tag = 's';
        put(&tag, 1);
        put(&size, sizeof size);
        put(text.data(), text.size());
    } else if (value.is_null()) {
        put("n", 1);
    } else {
        const std::string text = to_json(value);
        const char tag = 'j';
        const auto size = static_cast<std::uint32_t>(text.size());
        put(&tag, 1);
        put(&size, sizeof size);
        put(text.data(), text.size());
    }
}

void KeyHasher::add(const Entry& entry, const Field& field) {
    static const Value null;
    if (field.attribute == Attribute::content) {
        const Value* value = content_at(entry, field.path);
        return add(value == nullptr ? null : *value);
    }
    const std::optional<Value> value = value_at(entry, field.attribute, field.path);
    add(value ? *value : null);
}

Hash128 KeyHasher::finish() const {
    const XXH128_hash_t hash = XXH3_128bits(bytes_.data(), size_);
    return {hash.low64, hash.high64};
}

Hash128 key_of(const Entry& entry, const std::vector<Field>& fields) {
    KeyHasher hasher;
    for (const Field& field : fields) hasher.add(entry, field);
    return hasher.finish();
}

namespace {

// Comparing costs a fraction of hashing, and most of a new version is as before.
bool has_same(const Entry& before, const Entry& after, const Field& field) {
    if (field.attribute != Attribute::content) {
        return value_at(before, field.attribute, field.path) == value_at(after, field.attribute, field.path);
    }
    const Value* const a = content_at(before, field.path);
    const Value* const b = content_at(after, field.path);
    return a == nullptr || b == nullptr ? a == b : *a == *b;
}

}  // namespace

// ---- arrangements --------------------------------------------------------------------------------

// Ascending. What was taken out of a long one stays as a gap (its lowest bit set) until there are many.
// One block of memory, header and all, since most look-ups come to one that is in no cache.
class Arrangement::Numbers {
public:
    static Numbers* make() { return new (::operator new(bytes_for(least))) Numbers(least); }
    static void destroy(Numbers* numbers) { ::operator delete(numbers); }

    [[nodiscard]] std::uint32_t live() const { return live_; }
    /// Returns where it is now.
    static Numbers* insert(Numbers* in, std::uint64_t number) {
        std::uint64_t* at = in->place(number);
        if (at != in->end() && *at >> 1 == number) {
            in->live_ += *at & 1;
            *at = number << 1;
            return in;
        }
        if (in->size_ == in->capacity_) {
            auto* larger = new (::operator new(bytes_for(2 * in->capacity_))) Numbers(2 * in->capacity_);
            larger->size_ = in->size_;
            larger->live_ = in->live_;
            std::copy(in->begin(), in->end(), larger->begin());
            at = larger->begin() + (at - in->begin());
            destroy(in);
            in = larger;
        }
        std::copy_backward(at, in->end(), in->end() + 1);
        *at = number << 1;
        ++in->size_;
        ++in->live_;
        return in;
    }
    void erase(std::uint64_t number) {
        std::uint64_t* at = place(number);
        if (at == end() || *at >> 1 != number || (*at & 1) != 0) return;
        *at |= 1;
        --live_;
        if (size_ < 32 || live_ * 2 > size_) return;
        size_ = static_cast<std::uint32_t>(
            std::remove_if(begin(), end(), [](std::uint64_t m) { return (m & 1) != 0; }) - begin());
    }
    [[nodiscard]] std::uint64_t next(std::uint64_t from) const {
        const std::uint64_t* at = std::lower_bound(begin(), end(), from << 1);
        while (at != end() && (*at & 1) != 0) ++at;
        return at == end() ? 0 : *at >> 1;
    }
    [[nodiscard]] std::uint64_t previous(std::uint64_t from) const {
        const std::uint64_t* at = std::upper_bound(begin(), end(), from << 1 | 1);
        while (at != begin()) {
            if ((*--at & 1) == 0) return *at >> 1;
        }
        return 0;
    }

private:
    static constexpr std::uint32_t least = 2;
    static std::size_t bytes_for(std::uint32_t capacity) {
        return sizeof(Numbers) + std::size_t{capacity} * sizeof(std::uint64_t);
    }
    explicit Numbers(std::uint32_t capacity) : capacity_(capacity) {}
    // number * 2 + (gap ? 1 : 0), after the header.
    [[nodiscard]] std::uint64_t* begin() { return reinterpret_cast<std::uint64_t*>(this + 1); }
    [[nodiscard]] std::uint64_t* end() { return begin() + size_; }
    [[nodiscard]] const std::uint64_t* begin() const { return reinterpret_cast<const std::uint64_t*>(this + 1); }
    [[nodiscard]] const std::uint64_t* end() const { return begin() + size_; }
    [[nodiscard]] std::uint64_t* place(std::uint64_t number) {
        if (size_ == 0 || *(end() - 1) < number << 1) return end();
        return std::lower_bound(begin(), end(), number << 1);
    }

    alignas(8) std::uint32_t capacity_;
    std::uint32_t size_ = 0;
    std::uint32_t live_ = 0;
};

Arrangement::~Arrangement() {
    for (const auto& [key, bucket] : buckets_) {
        if ((bucket & 1) == 0) Numbers::destroy(numbers_of(bucket));
    }
}

void Arrangement::insert(const Entry& entry) { insert(key_of(entry, fields_).low, entry.id.number); }

void Arrangement::erase(const Entry& entry) { erase(key_of(entry, fields_).low, entry.id.number); }

void Arrangement::replace(const Entry& before, const Entry& after) {
    const bool same =
        std::all_of(fields_.begin(), fields_.end(), [&](const Field& field) { return has_same(before, after, field); });
    if (same) return;
    const std::uint64_t key_before = key_of(before, fields_).low;
    const std::uint64_t key_after = key_of(after, fields_).low;
    if (key_before == key_after) return;
    erase(key_before, before.id.number);
    insert(key_after, after.id.number);
}

void Arrangement::insert(std::uint64_t key, std::uint64_t number) {
    const auto [at, fresh] = buckets_.try_emplace(key, number << 1 | 1);
    if (fresh) return;
    if ((at->second & 1) != 0) {
        const std::uint64_t other = at->second >> 1;
        if (other == number) return;
        Numbers* numbers = Numbers::make();
        numbers = Numbers::insert(numbers, std::min(other, number));
        numbers = Numbers::insert(numbers, std::max(other, number));
        at->second = reinterpret_cast<Bucket>(numbers);
        return;
    }
    at->second = reinterpret_cast<Bucket>(Numbers::insert(numbers_of(at->second), number));
}

void Arrangement::erase(std::uint64_t key, std::uint64_t number) {
    const auto at = buckets_.find(key);
    if (at == buckets_.end()) return;
    if ((at->second & 1) != 0) {
        if (at->second >> 1 == number) buckets_.erase(at);
        return;
    }
    Numbers* numbers = numbers_of(at->second);
    numbers->erase(number);
    if (numbers->live() > 0) return;
    Numbers::destroy(numbers);
    buckets_.erase(at);
}

std::uint64_t Arrangement::next(std::uint64_t key, std::uint64_t from) const {
    const auto at = buckets_.find(key);
    if (at == buckets_.end()) return 0;
    if ((at->second & 1) != 0) return at->second >> 1 >= from ? at->second >> 1 : 0;
    return numbers_of(at->second)->next(from);
}

std::uint64_t Arrangement::previous(std::uint64_t key, std::uint64_t from) const {
    const auto at = buckets_.find(key);
    if (at == buckets_.end()) return 0;
    if ((at->second & 1) != 0) return at->second >> 1 <= from ? at->second >> 1 : 0;
    return numbers_of(at->second)->previous(from);
}

// ---- tables --------------------------------------------------------------------------------------

const EntryPtr& EntryTable::find(std::uint64_t number) const {
    static const EntryPtr none;
    const std::size_t chunk = number / chunk_entries;
    if (chunk >= chunks_.size() || !chunks_[chunk]) return none;
    return chunks_[chunk]->entries[number % chunk_entries];
}

EntryPtr EntryTable::put(EntryPtr entry) {
    const std::uint64_t number = entry->id.number;
    const std::size_t chunk = number / chunk_entries;
    if (chunk >= chunks_.size()) chunks_.resize(chunk + 1);
    if (!chunks_[chunk]) chunks_[chunk] = std::make_unique<Chunk>();
    EntryPtr& slot = chunks_[chunk]->entries[number % chunk_entries];
    EntryPtr before = std::move(slot);
    slot = std::move(entry);
    for (const auto& arrangement : arrangements_) {
        if (before) {
            arrangement->replace(*before, *slot);
        } else {
            arrangement->insert(*slot);
        }
    }
    if (!before) {
        ++size_;
        ++chunks_[chunk]->used;
    }
    return before;
}

EntryPtr EntryTable::erase(std::uint64_t number) {
    const std::size_t chunk = number / chunk_entries;
    if (chunk >= chunks_.size() || !chunks_[chunk]) return nullptr;
    EntryPtr before = std::move(chunks_[chunk]->entries[number % chunk_entries]);
    chunks_[chunk]->entries[number % chunk_entries] = nullptr;
    if (!before) return nullptr;
    for (const auto& arrangement : arrangements_) arrangement->erase(*before);
    --size_;
    if (--chunks_[chunk]->used == 0) chunks_[chunk].reset();
    return before;
}

std::uint64_t EntryTable::next(std::uint64_t from) const {
    for (std::size_t chunk = from / chunk_entries; chunk < chunks_.size(); ++chunk) {
        if (!chunks_[chunk]) continue;
        std::size_t at = chunk == from / chunk_entries ? from % chunk_entries : 0;
        for (; at < chunk_entries; ++at) {
            if (chunks_[chunk]->entries[at]) return chunk * chunk_entries + at;
        }
    }
    return 0;
}

std::uint64_t EntryTable::previous(std::uint64_t from) const {
    if (chunks_.empty()) return 0;
    from = std::min(from, chunks_.size() * chunk_entries - 1);
    for (std::size_t chunk = from / chunk_entries + 1; chunk-- > 0;) {
        if (!chunks_[chunk]) continue;
        std::size_t at = chunk == from / chunk_entries ? from % chunk_entries + 1 : chunk_entries;
        while (at-- > 0) {
            if (chunks_[chunk]->entries[at]) return chunk * chunk_entries + at;
        }
    }
    return 0;
}

Arrangement* EntryTable::arrange(const std::vector<Field>& fields) {
    for (const auto& known : arrangements_) {
        if (known->fields() != fields) continue;
        ++known->users;
        return known.get();
    }
    arrangements_.push_back(std::make_unique<Arrangement>(fields));
    Arrangement* fresh = arrangements_.back().get();
    fresh->users = 1;
    for (std::uint64_t number = next(1); number != 0; number = next(number + 1)) fresh->insert(*find(number));
    return fresh;
}

void EntryTable::release(Arrangement* arrangement) {
    if (--arrangement->users > 0) return;
    arrangements_.erase(std::find_if(arrangements_.begin(), arrangements_.end(),
                                     [&](const auto& known) { return known.get() == arrangement; }));
}

}  // namespace stele::matching

// The active entries of the regions that preconditions look at, and where among them the ones with
// given values are. For the incremental matcher alone. Loop thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/unordered/unordered_flat_map.hpp>

#include "board/entry.hpp"
#include "board/hash.hpp"
#include "scheduler/condition.hpp"

namespace stele::matching {

/// What a test looks at in an entry.
struct Field {
    Attribute attribute = Attribute::content;
    std::vector<std::string> path;
    auto operator<=>(const Field&) const = default;
};

/// Two values get the same hash when they are equal; a field that is missing counts as null, as in
/// comparisons. XXH3-128 over the canonical bytes: equal on every machine. Where entries are looked up
/// by it, what is found is tested again; groups go by it alone.
class KeyHasher {
public:
    KeyHasher();
    void add(const Value& value);
    void add(const Entry& entry, const Field& field);
    [[nodiscard]] Hash128 finish() const;

private:
    void put(const void* bytes, std::size_t size);
    // Keys are short; what is longer is hashed in steps.
    std::array<char, 248> bytes_;
    std::size_t size_ = 0;
};

Hash128 key_of(const Entry& entry, const std::vector<Field>& fields);

/// Entries of one region by the values of some fields, by ascending number.
class Arrangement {
public:
    explicit Arrangement(std::vector<Field> fields) : fields_(std::move(fields)) {}
    ~Arrangement();
    Arrangement(const Arrangement&) = delete;
    Arrangement& operator=(const Arrangement&) = delete;

    void insert(const Entry& entry);
    void erase(const Entry& entry);
    /// Another version of the same entry.
    void replace(const Entry& before, const Entry& after);
    [[nodiscard]] const std::vector<Field>& fields() const { return fields_; }
    /// The least number at or after `from` under the key; 0 for none. Hashes may collide: test what you get.
    [[nodiscard]] std::uint64_t next(std::uint64_t key, std::uint64_t from) const;
    /// The greatest number at or before `from`; 0 for none.
    [[nodiscard]] std::uint64_t previous(std::uint64_t key, std::uint64_t from) const;
    [[nodiscard]] bool contains(std::uint64_t key) const { return buckets_.count(key) > 0; }

    std::uint32_t users = 0;

private:
    // One number, as most keys have, is kept in place: number * 2 + 1; more of them behind a pointer.
    class Numbers;
    using Bucket = std::uint64_t;
    void insert(std::uint64_t key, std::uint64_t number);
    void erase(std::uint64_t key, std::uint64_t number);
    static Numbers* numbers_of(Bucket bucket) { return reinterpret_cast<Numbers*>(bucket); }

    std::vector<Field> fields_;
    boost::unordered_flat_map<std::uint64_t, Bucket> buckets_;
};

/// The active entries of one region by number, and their arrangements.
class EntryTable {
public:
    [[nodiscard]] const EntryPtr& find(std::uint64_t number) const;
    /// A number that the matcher keeps with an active entry; 0 until it is set. It stays from version to version.
    [[nodiscard]] std::uint32_t& mark(std::uint64_t number) {
        return chunks_[number / chunk_entries]->marks[number % chunk_entries];
    }
    /// Takes the place of the version before it, which is returned.
    EntryPtr put(EntryPtr entry);
    EntryPtr erase(std::uint64_t number);
    [[nodiscard]] std::size_t size() const { return size_; }
    /// The least active number at or after `from`; 0 for none.
    [[nodiscard]] std::uint64_t next(std::uint64_t from) const;
    /// The greatest at or before `from`; 0 for none.
    [[nodiscard]] std::uint64_t previous(std::uint64_t from) const;

    /// Made when nobody has asked for it before. Counted: give it back with release().
    Arrangement* arrange(const std::vector<Field>& fields);
    void release(Arrangement* arrangement);

private:
    static constexpr std::size_t chunk_entries = 512;
    struct Chunk {
        std::array<EntryPtr, chunk_entries> entries;
        std::array<std::uint32_t, chunk_entries> marks{};
        std::size_t used = 0;
    };
    // Numbers count up from 1 in each region, so that a plain table is the smallest.
    std::vector<std::unique_ptr<Chunk>> chunks_;
    std::size_t size_ = 0;
    std::vector<std::unique_ptr<Arrangement>> arrangements_;
};

}  // namespace stele::matching

// Writing down and taking up again what the scheduler knows, so that a board is resumed from a checkpoint and
// the records after it instead of from its whole log. One field list per type serves both ways:
//
//     template <class Archive, class Self> static void transfer(Archive& archive, Self& self) {
//         archive(self.one, self.other);
//     }
//
// Equal states give equal bytes, however they came about: what has no order of its own is written in
// ascending order. A reader trusts no byte; after its first failure everything reads as empty. What a
// checkpoint does not hold, entries above all, it names, and the loaders find it. Loop thread only.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "board/bytes.hpp"
#include "board/entry.hpp"
#include "board/record.hpp"
#include "board/result.hpp"
#include "board/value.hpp"

namespace stele {

/// Where a checkpoint's reader finds what it only names.
struct CheckpointLoaders {
    /// The version of an entry that the commit at a position made.
    std::function<Result<EntryPtr>(const EntryId& id, Position position)> entry;
    std::function<Result<std::shared_ptr<const LoggedRecord>>(Position position)> record;
};

namespace checkpoint {

template <class T>
concept Numbered = requires(T value) {
    { value.number } -> std::same_as<std::uint64_t&>;
    requires sizeof(T) == sizeof(std::uint64_t);
};
template <class T>
concept Listed = requires(T value) {
    value.push_back(std::declval<typename T::value_type>());
    value.size();
};
template <class T>
concept Mapped = requires {
    typename T::mapped_type;
};
template <class T>
concept Ordered = requires {
    typename T::key_compare;
};
template <class T, class Archive>
concept HasTransfer = requires(T& value, Archive& archive) {
    T::transfer(archive, value);
};

}  // namespace checkpoint

class CheckpointWriter {
public:
    static constexpr bool reads = false;

    template <class... T>
    void operator()(const T&... values) {
        (put(values), ...);
    }
    std::string take() { return out_.take(); }

private:
    template <class T>
    void put(const T& value) {
        if constexpr (std::is_same_v<T, bool>) {
            out_.u8(value ? 1 : 0);
        } else if constexpr (std::is_enum_v<T>) {
            out_.varint(static_cast<std::uint64_t>(value));
        } else if constexpr (std::is_floating_point_v<T>) {
            out_.real(value);
        } else if constexpr (std::is_unsigned_v<T>) {
            out_.varint(value);
        } else if constexpr (std::is_integral_v<T>) {
            out_.zigzag(value);
        } else if constexpr (std::is_same_v<T, std::string>) {
            out_.text(value);
        } else if constexpr (std::is_same_v<T, Hash128>) {
            out_.hash(value);
        } else if constexpr (std::is_same_v<T, Value>) {
            out_.text(to_json(value));
        } else if constexpr (std::is_same_v<T, TimeMs>) {
            out_.zigzag(value.ms);
        } else if constexpr (std::is_same_v<T, EntryId>) {
            (*this)(value.region, value.number);
        } else if constexpr (checkpoint::Numbered<T>) {
            out_.varint(value.number);
        } else if constexpr (requires { value.has_value(); }) {
            put(value.has_value());
            if (value) put(*value);
        } else if constexpr (requires { value.first, value.second; }) {
            (*this)(value.first, value.second);
        } else if constexpr (checkpoint::Mapped<T> && !checkpoint::Ordered<T>) {
            std::vector<const typename T::value_type*> sorted;
            for (const auto& item : value) sorted.push_back(&item);
            std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
            out_.varint(sorted.size());
            for (const auto* item : sorted) put(*item);
        } else if constexpr (checkpoint::Ordered<T> || checkpoint::Listed<T>) {
            out_.varint(value.size());
            for (const auto& item : value) put(item);
        } else if constexpr (checkpoint::HasTransfer<const T, CheckpointWriter>) {
            T::transfer(*this, value);
        } else {
            transfer(*this, value);
        }
    }

    ByteWriter out_;
};

/// What is saved, as bytes.
template <class State>
std::string checkpoint_of(const State& state) {
    CheckpointWriter out;
    state.save(out);
    return out.take();
}

class CheckpointReader {
public:
    static constexpr bool reads = true;

    CheckpointReader(std::string_view bytes, const CheckpointLoaders& loaders) : in_(bytes), loaders_(loaders) {}

    template <class... T>
    void operator()(T&... values) {
        (get(values), ...);
    }

    [[nodiscard]] bool ok() const { return in_.ok() && failure_.ok(); }
    /// Nothing failed and nothing is left over.
    [[nodiscard]] Status finish() const {
        if (!failure_.ok()) return failure_;
        if (!in_.ok()) return Error{ErrorCode::corrupt, std::string("the checkpoint is damaged: ") + in_.why()};
        if (!in_.at_end()) return Error{ErrorCode::corrupt, "the checkpoint is damaged: bytes are left over"};
        return Done{};
    }
    void fail(const char* why) { in_.fail(why); }
    void fail(const Error& error) {
        if (failure_.ok()) failure_ = error;
        in_.fail("what it names is not there");
    }
    /// Null after a failure.
    EntryPtr entry(const EntryId& id, Position position) {
        if (!ok()) return nullptr;
        Result<EntryPtr> loaded = loaders_.entry(id, position);
        if (!loaded.ok()) return fail(loaded.error()), nullptr;
        if (!*loaded) return fail("it names a version of an entry that there is not"), nullptr;
        return std::move(*loaded);
    }
    std::shared_ptr<const LoggedRecord> record(Position position) {
        if (!ok()) return nullptr;
        Result<std::shared_ptr<const LoggedRecord>> loaded = loaders_.record(position);
        if (!loaded.ok()) return fail(loaded.error()), nullptr;
        return std::move(*loaded);
    }

private:
    template <class T>
    void get(T& value) {
        if constexpr (std::is_same_v<T, bool>) {
            value = in_.flag();
        } else if constexpr (std::is_enum_v<T>) {
            value = static_cast<T>(in_.varint());
        } else if constexpr (std::is_floating_point_v<T>) {
            value = in_.real();
        } else if constexpr (std::is_unsigned_v<T>) {
            const std::uint64_t number = in_.varint();
            if (number > std::numeric_limits<T>::max()) in_.fail("number too large");
            value = static_cast<T>(in_.ok() ? number : 0);
        } else if constexpr (std::is_integral_v<T>) {
            value = in_.zigzag();
        } else if constexpr (std::is_same_v<T, std::string>) {
            value = in_.text();
        } else if constexpr (std::is_same_v<T, Hash128>) {
            value = in_.hash();
        } else if constexpr (std::is_same_v<T, Value>) {
            Result<Value> parsed = parse_json(in_.ok() ? in_.text() : "null");
            if (parsed.ok()) {
                value = std::move(*parsed);
            } else {
                in_.fail("a value that is no JSON");
            }
        } else if constexpr (std::is_same_v<T, TimeMs>) {
            value.ms = in_.zigzag();
        } else if constexpr (std::is_same_v<T, EntryId>) {
            (*this)(value.region, value.number);
        } else if constexpr (checkpoint::Numbered<T>) {
            value.number = in_.varint();
        } else if constexpr (requires { value.has_value(); }) {
            value.reset();
            if (in_.flag()) get(value.emplace());
        } else if constexpr (requires { value.first, value.second; }) {
            (*this)(value.first, value.second);
        } else if constexpr (checkpoint::Mapped<T>) {
            value.clear();
            for (std::uint64_t left = in_.count(2); left > 0 && ok(); --left) {
                typename T::key_type key{};
                typename T::mapped_type mapped{};
                (*this)(key, mapped);
                if (!value.emplace(std::move(key), std::move(mapped)).second) in_.fail("the same key twice");
            }
        } else if constexpr (checkpoint::Ordered<T>) {
            value.clear();
            for (std::uint64_t left = in_.count(1); left > 0 && ok(); --left) {
                typename T::value_type item{};
                get(item);
                value.insert(value.end(), std::move(item));
            }
        } else if constexpr (checkpoint::Listed<T>) {
            value.clear();
            for (std::uint64_t left = in_.count(1); left > 0 && ok(); --left) {
                typename T::value_type item{};
                get(item);
                value.push_back(std::move(item));
            }
        } else if constexpr (checkpoint::HasTransfer<T, CheckpointReader>) {
            T::transfer(*this, value);
        } else {
            transfer(*this, value);
        }
    }

    ByteReader in_;
    const CheckpointLoaders& loaders_;
    Status failure_ = Done{};
};

/// Is `T` this type, to be read into or written? For field lists of types that have none of their own.
template <class T, class Type>
concept TransferOf = std::same_as<std::remove_const_t<T>, Type>;

template <class Archive, TransferOf<Amounts> T>
void transfer(Archive& archive, T& amounts) {
    archive(amounts.calls, amounts.tokens, amounts.money_micros, amounts.wall_ms);
}

template <class Archive, TransferOf<BoundEntry> T>
void transfer(Archive& archive, T& bound) {
    archive(bound.id, bound.version);
}

template <class Archive, TransferOf<Refusal> T>
void transfer(Archive& archive, T& refusal) {
    archive(refusal.line, refusal.rule, refusal.message, refusal.current);
}

}  // namespace stele

// The names and numbers everything else is addressed by. Each has its own type, so that a
// position cannot be passed where an entry number is meant.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

namespace stele {

/// A distinct integer per `Tag`. Zero means "none" for every one of them.
template <class Tag>
struct StrongNumber {
    std::uint64_t number = 0;
    auto operator<=>(const StrongNumber&) const = default;
    explicit operator bool() const { return number != 0; }
};

/// Place of a record in a board's log; the first record is 1. A board's version is the position
/// of its last accepted commit.
using Position = StrongNumber<struct PositionTag>;
/// The activation's first claim's position (for a rule: its commit's position).
using ActivationId = StrongNumber<struct ActivationTag>;
/// Small number of a board inside one data directory; never leaves it.
using BoardNumber = StrongNumber<struct BoardTag>;

/// Milliseconds since the Unix epoch, as told by whoever wrote the record.
struct TimeMs {
    std::int64_t ms = 0;
    auto operator<=>(const TimeMs&) const = default;
};

/// The typed namespace of a board. Never assembled by joining strings.
struct BoardAddress {
    std::string tenant = "default";
    std::string board;
    auto operator<=>(const BoardAddress&) const = default;
};

/// `region/number`, as in `evidence/12`. Numbers start at 1 and are given by the fold.
struct EntryId {
    std::string region;
    std::uint64_t number = 0;
    auto operator<=>(const EntryId&) const = default;
};

inline std::string to_text(const EntryId& id) { return id.region + "/" + std::to_string(id.number); }

}  // namespace stele

template <class Tag>
struct std::hash<stele::StrongNumber<Tag>> {
    std::size_t operator()(stele::StrongNumber<Tag> n) const noexcept { return std::hash<std::uint64_t>{}(n.number); }
};

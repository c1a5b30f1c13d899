// One version of one entry, as readers see it. Immutable once made; shared between snapshots.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "board/hash.hpp"
#include "board/ids.hpp"
#include "board/value.hpp"

namespace stele {

struct Entry {
    EntryId id;
    /// 1 for the first content, then counting up; a retraction does not reset it.
    std::uint32_t version = 1;
    /// The commit that wrote this version.
    Position position;
    TimeMs time;
    /// Source name, or the principal of a commit from outside.
    std::string author;
    /// Equal adds to a `set_union` are one entry with every author; otherwise just `author`.
    std::vector<std::string> authors;
    ActivationId activation;
    std::string reason;
    std::vector<EntryId> cites;
    Value content;
    /// Of region and content, under the board family's key; zero for entries that no board made.
    Hash128 digest;
    /// False: this version is a tombstone, `content` is the last content.
    bool active = true;
};
using EntryPtr = std::shared_ptr<const Entry>;

/// What a commit did to one entry: the version before it (none when added) and the one now in force
/// (none when it left).
struct EntryChange {
    enum class Kind { added, updated, removed } kind = Kind::added;
    EntryId id;
    EntryPtr before;
    EntryPtr after;
};

}  // namespace stele

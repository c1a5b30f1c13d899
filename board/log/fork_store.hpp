// The keys of a board that was forked off another at some version: its own, and below them those of its
// parent as of that version, which are read in place and never copied. What a parent wrote later is not seen.
// docs/log_format.md, "Forks", says which key shows when it was written.
#pragma once

#include <memory>

#include "board/log/store.hpp"

namespace stele {

struct ForkPoint {
    BoardNumber child;
    BoardNumber parent;
    /// The last record that both share.
    Position at;
};

/// `store` holds both boards, or is itself the store of a fork when the parent is one; it outlives what is
/// returned. Keys of other boards, and all writes, go through. Erasing a key of the child bares the parent's:
/// whoever writes for a fork overwrites instead. Loop thread only, but for sync().
std::unique_ptr<StateStore> make_fork_store(StateStore& store, const ForkPoint& fork);

}  // namespace stele

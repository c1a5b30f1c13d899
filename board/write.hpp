// What a writer wants done to the board, and what the board answers. Plain data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "board/ids.hpp"
#include "board/value.hpp"

namespace stele {

enum class WriteOp : std::uint8_t { insert = 1, add, remove, put, replace, retract, increment };
const char* to_text(WriteOp op);
std::optional<WriteOp> write_op_from(std::string_view text);

/// A citation: an entry, or (when `line` > 0) the line-th write of the same commit, from 1.
struct Cite {
    EntryId entry;
    std::uint32_t line = 0;
    bool operator==(const Cite&) const = default;
};

struct Write {
    WriteOp op = WriteOp::insert;
    std::string region;
    /// Content of insert, add, put, replace; for `remove` the entry to remove (or name it by
    /// `number`); for `increment` the object {"by": n}.
    Value content;
    /// Canonical text of `content`; filled by `seal()`.
    std::string text;
    /// Target of replace and retract, optional for remove.
    std::uint64_t number = 0;
    /// replace and retract in keyed regions: the version the writer had read. 0: not given.
    std::uint32_t expected_version = 0;
    std::vector<Cite> cites;
    std::string why;
    /// Its content is gone from the log: null stands for it. In a replay, which has no other way to tell, `number` is
    /// then the entry that it wrote, and for a set union `expected_version` the version that it made; 0: none.
    bool purged = false;

    void seal() { text = to_json(content); }
};

/// The rule that refused a write or a record; stable words for programs.
enum class RefusalRule : std::uint8_t {
    grant = 1,     // the source may not do this
    schema,        // the entry does not fit the region's schema
    cite,          // cites what its author had not seen
    unknown,       // no such region, entry or operation for this policy
    conflict,      // compare-and-set, owner's put or key already taken
    owner,         // single_writer: not the owner
    overflow,      // counter beyond int64
    limit,         // a bound of limits.hpp
    epoch,         // written under an epoch that is over
    match_closed,  // the match was committed, is claimed, or is dead
    attempt,       // the attempt is not the live one
    stale,         // what the activation was bound to has changed
    duplicate,     // the idempotency key was used before
    budget,        // a cap would be passed
    stopped,       // no run is in force
    malformed,     // the source's output could not be read
    phantom,       // says what its author had not seen
};
const char* to_text(RefusalRule rule);

struct Refusal {
    /// Which write of the commit, from 1; 0: the record as a whole.
    std::uint32_t line = 0;
    RefusalRule rule = RefusalRule::unknown;
    std::string message;
    /// conflict: the entry as it is now ({"id","version","entry"}); phantom: {"kind","text","path"}; otherwise null.
    Value current;
    bool operator==(const Refusal&) const = default;
};

}  // namespace stele

// Taking content out of a board for good: out of the log's payloads, the state, the index and the files. The
// chain of hashes covers hashes of payloads and not payloads, so it still verifies. docs/decisions/0018. The
// board must not be running. Loop thread.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "board/log/store.hpp"
#include "runtime/data_directory.hpp"
#include "scheduler/scheduler.hpp"

namespace stele {

struct PurgeWish {
    /// Every version of these, and every payload that tells what they said: outputs, prompts, answers, and
    /// contents that were refused.
    std::vector<EntryId> entries;
    /// Every payload that has one of these texts in it, contents of any entry among them.
    std::vector<std::string> texts;
};

struct PurgePlan {
    /// Which payload parts go, by record. An empty set: only what refusals quote.
    std::map<Position, std::set<std::size_t>> parts;
    /// Entries that lose content; those still active must be retracted first.
    std::set<EntryId> entries;
    std::set<EntryId> active;
    /// Other entries that say the same, and are not part of the wish.
    std::set<EntryId> also_in;
    /// Where it stands and cannot be taken out, in words: headers, which the chain covers, and crews.
    std::vector<std::string> stays;
    /// What was looked for.
    std::set<std::string> marks;
};

/// Reads the whole log, twice. Fails with not_found for an entry that never was, invalid_argument for one that
/// cannot be purged.
Result<PurgePlan> plan_purge(StateStore& store, const BoardInfo& board, Position last, const PurgeWish& wish);

/// Does it: rewrites the frames, erases blobs, makes what is derived anew from what is left. Afterwards the
/// files must be scrubbed. Doing it again does the same.
Status purge_payloads(StateStore& store, const BoardInfo& board, const PurgePlan& plan, const CrewReader& read_crew);

}  // namespace stele

// What an attempt is given, made from the scheduler's activation and the board's snapshot. The engine
// makes it for attempts that start, `stele run --dry` for those that would. Loop thread only.
#pragma once

#include <memory>

#include "board/board.hpp"
#include "board/entry_store.hpp"
#include "knowledge_sources/knowledge_source.hpp"
#include "scheduler/scheduler.hpp"

namespace stele {

/// `board_name` and `family` are the board's; `ranker` may be null where no view ranks by text.
Result<std::shared_ptr<ActivationRequest>> make_activation_request(const Scheduler& scheduler, const Board& board,
                                                                   const std::string& board_name,
                                                                   const FamilyKey& family, const Activation& live,
                                                                   TextRanker* ranker);

std::vector<Binding> bindings_of(const std::vector<MatchPtr>& members);
/// Does a part of its view rank entries by text?
bool ranks_by_text(const SourceSpec& source);

}  // namespace stele

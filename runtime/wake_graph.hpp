// Who woke whom in the runs of a board: sources as nodes, and for each pair how many activations of the one were
// woken by entries of the other, by region. One thread, like the store.
#pragma once

#include <functional>

#include "board/entry_store.hpp"
#include "runtime/graph.hpp"
#include "runtime/trace_export.hpp"

namespace stele {

/// `walk` gives the log's records, at least their headers; `entries` tells who wrote what woke them.
Result<Graph> wake_graph(const std::string& board, const EntryStore& entries, const RecordWalk& walk);

}  // namespace stele

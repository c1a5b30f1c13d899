// A StateStore in memory, for tests and for `durability: memory`. Gone with the process.
#pragma once

#include <memory>

#include "board/log/store.hpp"

namespace stele {

/// Loop thread only. `visit` of a scan must not apply to the store that it scans.
std::unique_ptr<StateStore> make_memory_store();

}  // namespace stele

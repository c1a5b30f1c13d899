// What a crew promises, in words: the text of `stele check`.
#pragma once

#include <string>

#include "scheduler/crew_spec.hpp"

namespace stele {

/// The consistency model as it applies to this crew: per region who may read and write, how
/// conflicts end and when a write is visible; per source when it wakes, what it reads and writes
/// and its limits; then when the run stops and what is durable. At most 100 columns wide.
std::string describe_consistency(const CrewSpec& crew);

}  // namespace stele

// The six merge laws, one file each. Seen only by region_policy.cpp.
#pragma once

#include "board/region_policy.hpp"

namespace stele {

const RegionPolicy& append_only_policy();
const RegionPolicy& set_union_policy();
const RegionPolicy& single_writer_policy();
const RegionPolicy& cas_policy();
const RegionPolicy& last_writer_wins_policy();
const RegionPolicy& counter_policy();

}  // namespace stele

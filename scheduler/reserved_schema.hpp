// The entry schemas of the regions that the scheduler keeps itself. Pure; any thread.
#pragma once

#include <string_view>

#include "board/schema.hpp"

namespace stele {

/// Of a JSON Schema that stands in this program; a wrong one is a mistake of ours and ends it.
EntrySchema reserved_schema(std::string_view json);

}  // namespace stele

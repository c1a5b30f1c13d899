// The known name a misspelt one probably meant, for messages. Any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace stele {

/// The first of the names at the smallest Damerau-Levenshtein distance (transposed neighbours
/// count one). Empty when none is near: at most a third of the wanted name's length, but at
/// least 2, and never the whole of it.
std::string nearest_name(std::string_view wanted, const std::vector<std::string>& known);

}  // namespace stele

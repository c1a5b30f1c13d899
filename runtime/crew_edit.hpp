// A crew file with some of its values set anew, for forks and replays of "what if". Pure.
#pragma once

#include <string>
#include <vector>

#include "board/result.hpp"

namespace stele {

/// Each setting is `PATH=VALUE`: the path names a source and a field of it (`critic.llm.temperature`), or begins
/// with a key of the document (`stop.limits.activations`); the value is YAML. A path that names nothing yet is
/// made. The answer says the same as the text in everything else, without its comments and anchors. Fails with
/// invalid_argument.
Result<std::string> edit_crew(const std::string& text, const std::vector<std::string>& settings);

}  // namespace stele

// Another crew for a board, as forks and replays are given one. Reads files; any thread.
#pragma once

#include <string>
#include <vector>

#include "runtime/crew_loader.hpp"
#include "runtime/open_board.hpp"

namespace stele {

struct CrewToTry {
    std::string file;                   // empty: the crew that was in force
    std::vector<std::string> inputs;    // name=value, with a file
    std::vector<std::string> settings;  // path=value; see runtime/crew_edit.hpp
};

/// A crew's inputs as they would be given to it.
std::vector<CrewInput> inputs_of(const CrewSpec& crew);

/// No crew in it where nothing was asked for. Fails with invalid_argument for a setting or input that is wrong, with
/// refused and every problem in its message for a crew that is.
Result<LoadedCrew> crew_to_try(const CrewToTry& wanted, const OpenBoard& board, Position at);

}  // namespace stele

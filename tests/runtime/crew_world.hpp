// A simulated world (tests/scheduler/simulation.hpp) with a crew out of YAML, as the tests of this folder use it.
#pragma once

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "knowledge_sources/rule_source.hpp"
#include "runtime/activation_request.hpp"
#include "runtime/crew_loader.hpp"
#include "runtime/data_directory.hpp"
#include "tests/scheduler/simulation.hpp"

namespace stele::simulation {

/// The test ends here, with every problem, where the text makes no crew.
inline CrewSpec crew_from(const std::string& text) {
    const LoadedCrew loaded = load_crew(text, "crew.yaml", "/crews", {});
    std::string problems;
    for (const CrewProblem& problem : loaded.problems) problems += to_text(problem) + "\n";
    REQUIRE_MESSAGE(loaded.crew != nullptr, problems);
    return *loaded.crew;
}

/// Rules as they are declared: for World::rules().
inline Result<std::vector<Write>> declared_rules(const SourceSpec& source, const std::vector<MatchPtr>& members) {
    return apply_rule(source, bindings_of(members));
}

/// A world's board, as those know it who are given a BoardInfo.
inline BoardInfo world_board(std::uint64_t number = 1) {
    BoardInfo board;
    board.number = {number};
    board.address.board = "test";
    board.family = World::family();
    return board;
}

}  // namespace stele::simulation

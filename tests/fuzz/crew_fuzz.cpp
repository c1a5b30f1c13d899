// Any bytes at all as a crew file: the loader answers with a crew or with problems, never both and
// never neither, and throws nothing. A crew that loads can be described and loads the same again.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "runtime/crew_check.hpp"
#include "runtime/crew_loader.hpp"

namespace {

void require(bool fact, const char* sentence) {
    if (fact) return;
    std::fprintf(stderr, "%s\n", sentence);
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const std::vector<stele::CrewInput> inputs = {{"repo", "/somewhere"}};
    const stele::LoadedCrew loaded = stele::load_crew(text, "crew.yaml", "/", inputs);
    bool has_errors = false;
    for (const stele::CrewProblem& problem : loaded.problems) {
        has_errors = has_errors || !problem.warning;
        require(problem.place.line >= 0 && problem.place.column >= 0, "a place is negative");
        require(!stele::to_text(problem).empty(), "a problem has no text");
    }
    require((loaded.crew == nullptr) == has_errors, "a crew was given together with errors, or neither");
    if (loaded.crew == nullptr) return 0;
    const std::string description = stele::describe_consistency(*loaded.crew);
    const stele::LoadedCrew again = stele::load_crew(loaded.crew->text, "crew.yaml", "/", inputs);
    require(again.crew != nullptr, "a crew that loaded does not load again");
    require(stele::describe_consistency(*again.crew) == description, "the same text gave another crew");
    return 0;
}

#include "runtime/what_if.hpp"

#include "runtime/commands.hpp"
#include "runtime/crew_edit.hpp"
#include "runtime/owner.hpp"

namespace stele {

std::vector<CrewInput> inputs_of(const CrewSpec& crew) {
    std::vector<CrewInput> inputs;
    for (const auto& [name, value] : crew.inputs) {
        inputs.push_back({name, value.is_string() ? value.as_string() : to_json(value)});
    }
    return inputs;
}

Result<LoadedCrew> crew_to_try(const CrewToTry& wanted, const OpenBoard& board, Position at) {
    if (wanted.file.empty() && !wanted.inputs.empty()) {
        return Error{ErrorCode::invalid_argument, "--input fills a crew's inputs: name the crew with --crew FILE"};
    }
    if (wanted.file.empty() && wanted.settings.empty()) return LoadedCrew{};
    std::string text;
    std::string base_directory;
    std::string file = "crew";
    std::vector<CrewInput> inputs;
    if (!wanted.file.empty()) {
        const Result<std::vector<CrewInput>> given = parse_inputs(wanted.inputs);
        if (!given.ok()) return given.error();
        LoadedCrew loaded = load_crew_file(wanted.file, *given);
        if (!loaded.crew) return Error{ErrorCode::refused, join_problems(loaded.problems)};
        if (wanted.settings.empty()) return loaded;
        text = loaded.crew->text;
        base_directory = loaded.crew->base_directory;
        file = wanted.file;
        inputs = *given;
    } else {
        const std::shared_ptr<const CrewSpec> crew = crew_at(board, at);
        if (!crew) {
            return Error{ErrorCode::invalid_argument,
                         "no run had begun at version " + std::to_string(at.number) + "; there is no crew to change"};
        }
        text = crew->text;
        base_directory = crew->base_directory;
        inputs = inputs_of(*crew);
    }
    const Result<std::string> edited = edit_crew(text, wanted.settings);
    if (!edited.ok()) return edited.error();
    LoadedCrew loaded = load_crew(*edited, file, base_directory, inputs);
    if (!loaded.crew) return Error{ErrorCode::refused, join_problems(loaded.problems)};
    return loaded;
}

}  // namespace stele

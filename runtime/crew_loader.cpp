#include "runtime/crew_loader.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "runtime/crew_draft.hpp"

namespace stele {
namespace {

void read_head(CrewDraft& draft, MapReader& document) {
    if (const YamlNode* format = document.required("stele")) {
        const std::optional<Value> version = format->is_scalar() ? scalar_value(*format) : std::nullopt;
        if (!version.has_value() || *version != Value(1)) {
            draft.problems.error(format->place, unexpected("the format version \"stele\"", "1", *format));
        }
    }
    if (const YamlNode* name = document.required("crew")) {
        const std::optional<std::string> text = read_text(*name, "the name of the crew", draft.problems);
        if (text.has_value()) {
            check_name(*text, name->place, "a crew", draft.problems);
            draft.crew.name = *text;
        }
    }
    if (const YamlNode* help = document.optional("help")) {
        draft.crew.help = read_text(*help, document.part("help"), draft.problems).value_or("");
    }
}

void read_running(CrewDraft& draft, MapReader& document) {
    if (const YamlNode* control = document.optional("control")) {
        const auto index = read_word(*control, "control", {"priority", "fifo", "lifo", "fair"}, draft.problems);
        draft.crew.strategy = static_cast<Strategy>(index.value_or(0));
    }
    if (const YamlNode* node = document.optional("limits")) {
        MapReader map(*node, "limits of the crew", draft.problems);
        if (const YamlNode* concurrency = map.optional("concurrency")) {
            const auto count =
                read_count(*concurrency, map.part("concurrency"), {.min = 1, .max = 10'000}, draft.problems);
            if (count.has_value()) draft.crew.concurrency = static_cast<std::uint32_t>(*count);
        }
        map.finish();
    }
    if (const YamlNode* durability = document.optional("durability")) {
        const auto index = read_word(*durability, "durability", {"sync", "async", "memory"}, draft.problems);
        draft.crew.durability = static_cast<Durability>(index.value_or(0));
    }
}

// Owners are checked while regions are read, which is before sources are.
void collect_source_names(CrewDraft& draft, const YamlNode* sources) {
    draft.sources_known = sources != nullptr && sources->is_map();
    if (!draft.sources_known) return;
    for (const YamlMember& member : sources->members) draft.source_names.push_back(member.key);
    std::sort(draft.source_names.begin(), draft.source_names.end());
}

void read_document(CrewDraft& draft, const YamlNode& root, const std::vector<CrewInput>& inputs) {
    MapReader document(root, "the crew", draft.problems);
    if (!document.is_map()) return;
    read_head(draft, document);
    read_inputs(draft, document.optional("inputs"), inputs);
    const YamlNode* regions = document.required("regions");
    const YamlNode* sources = document.required("sources");
    collect_source_names(draft, sources);
    read_regions(draft, regions);
    read_sources(draft, sources);
    read_seed(draft, document.optional("seed"));
    read_running(draft, document);
    read_stop(draft, document.optional("stop"));
    document.finish();
    if (draft.problems.error_count() == 0) warn_about(draft);
    for (RegionSpec& scratch : draft.scratch_regions) draft.crew.regions.push_back(std::move(scratch));
}

LoadedCrew only_problem(std::string_view file, std::string message) {
    LoadedCrew loaded;
    loaded.problems.push_back(CrewProblem{std::string(file), {}, std::move(message), false});
    return loaded;
}

std::string too_large() {
    return "the crew file is larger than " + std::to_string(limits::crew_text_bytes_max) + " bytes";
}

}  // namespace

std::string to_text(const CrewProblem& problem) {
    std::string text = problem.file + ":";
    if (problem.place.line > 0) {
        text += std::to_string(problem.place.line) + ":" + std::to_string(problem.place.column) + ":";
    }
    return text + (problem.warning ? " warning: " : " ") + problem.message;
}

LoadedCrew load_crew(std::string_view text, std::string_view file_name, std::string_view base_directory,
                     const std::vector<CrewInput>& inputs) {
    if (text.size() > limits::crew_text_bytes_max) return only_problem(file_name, too_large());
    CrewProblems problems(file_name);
    CrewDraft draft(problems);
    if (const std::optional<YamlNode> root = parse_yaml(text, problems)) read_document(draft, *root, inputs);
    LoadedCrew loaded;
    if (problems.error_count() == 0) {
        draft.crew.text = text;
        draft.crew.base_directory = base_directory;
        loaded.crew = std::make_shared<const CrewSpec>(std::move(draft.crew));
    }
    loaded.problems = problems.take();
    return loaded;
}

LoadedCrew load_crew_file(const std::string& path, const std::vector<CrewInput>& inputs) {
    std::error_code failure;
    if (std::filesystem::is_directory(path, failure)) {
        return only_problem(path, "this is a directory; name the crew file in it");
    }
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    if (!file) return only_problem(path, std::string("the crew file cannot be read: ") + std::strerror(errno));
    std::string text(limits::crew_text_bytes_max + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (file.bad()) return only_problem(path, std::string("the crew file cannot be read: ") + std::strerror(errno));
    text.resize(static_cast<std::size_t>(file.gcount()));
    if (text.size() > limits::crew_text_bytes_max) return only_problem(path, too_large());
    const std::filesystem::path absolute = std::filesystem::absolute(path, failure);
    if (failure) return only_problem(path, "the crew file's directory is unknown: " + failure.message());
    return load_crew(text, path, absolute.parent_path().string(), inputs);
}

}  // namespace stele

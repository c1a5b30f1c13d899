#include "runtime/crew_loader.hpp"
#include "scheduler/control.hpp"

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

const std::vector<std::string>& strategy_words() {
    static const std::vector<std::string> words = {"priority", "fifo", "lifo", "fair", "depth", "breadth", "score"};
    return words;
}

void read_control_source(CrewDraft& draft, const YamlNode& node) {
    const std::vector<std::string>& names = draft.source_names;
    if (!draft.sources_known) return;
    if (node.is_scalar() && std::binary_search(names.begin(), names.end(), node.text)) {
        draft.crew.control_source = node.text;
        return;
    }
    const std::string hint = node.is_scalar() ? nearest_hint(node.text, names) : std::string();
    draft.problems.error(node.place, unexpected("source of control", "a source of this crew", node) + hint);
}

std::string control_words() {
    std::string words;
    for (const std::string& word : strategy_words()) words += (words.empty() ? "" : ", ") + in_quotes(word);
    return words + " or a source of this crew";
}

// A strategy, a source that ranks the agenda, or both.
void read_control(CrewDraft& draft, const YamlNode* node) {
    if (node == nullptr) return;
    if (node->is_map()) {
        MapReader map(*node, "control", draft.problems);
        if (const YamlNode* strategy = map.optional("strategy")) {
            const auto index = read_word(*strategy, map.part("strategy"), strategy_words(), draft.problems);
            draft.crew.strategy = static_cast<Strategy>(index.value_or(0));
        }
        if (const YamlNode* source = map.optional("source")) read_control_source(draft, *source);
        map.finish();
        return;
    }
    if (node->is_scalar()) {
        if (const std::optional<Strategy> strategy = strategy_from(node->text)) {
            draft.crew.strategy = *strategy;
            return;
        }
        const std::vector<std::string>& names = draft.source_names;
        // Also where it is misspelt, so that what is said of the region agenda is not a mistake as well.
        draft.crew.control_source = node->text;
        if (!draft.sources_known || std::binary_search(names.begin(), names.end(), node->text)) return;
        std::vector<std::string> known = names;
        known.insert(known.end(), strategy_words().begin(), strategy_words().end());
        draft.problems.error(node->place,
                             unexpected("control", control_words(), *node) + nearest_hint(node->text, known));
        return;
    }
    draft.problems.error(node->place, unexpected("control", control_words(), *node));
}

void read_running(CrewDraft& draft, MapReader& document) {
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
    check_environment_places(draft, root);
    read_files(draft, document.optional("files"));
    const YamlNode* models = document.optional("models");
    read_models(draft, models, document.optional("prices"));
    read_servers(draft, document.optional("mcpServers"));
    read_tools(draft, document.optional("tools"));
    read_callbacks(draft, document.optional("callbacks"));
    const YamlNode* regions = document.required("regions");
    const YamlNode* sources = document.required("sources");
    collect_source_names(draft, sources);
    read_control(draft, document.optional("control"));
    if (const YamlNode* on_retract = document.optional("on_retract")) {
        const auto index = read_word(*on_retract, "on_retract", {"none", "flag", "rerun", "cascade"}, draft.problems);
        draft.crew.on_retract = static_cast<OnRetract>(index.value_or(0));
    }
    read_regions(draft, regions);
    read_sources(draft, sources);
    read_seed(draft, document.optional("seed"));
    read_running(draft, document);
    read_stop(draft, document.optional("stop"));
    document.finish();
    check_money_caps(draft);
    if (draft.problems.error_count() == 0) warn_about(draft);
    for (RegionSpec& scratch : draft.scratch_regions) draft.crew.regions.push_back(std::move(scratch));
}

constexpr const char* crew_file = "the crew file";

std::string too_large(const std::string& what) {
    return what + " is larger than " + std::to_string(limits::crew_text_bytes_max) + " bytes";
}

LoadedCrew only_problem(std::string_view file, std::string message) {
    LoadedCrew loaded;
    loaded.problems.push_back(CrewProblem{std::string(file), {}, std::move(message), false});
    return loaded;
}

Result<std::string> bytes_of(const std::filesystem::path& path, const std::string& what) {
    std::error_code failure;
    if (std::filesystem::is_directory(path, failure)) {
        return Error{ErrorCode::invalid_argument,
                     what == crew_file ? "this is a directory; name the crew file in it" : what + " is a directory"};
    }
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    if (!file) return Error{ErrorCode::not_found, what + " cannot be read: " + std::strerror(errno)};
    std::string text(limits::crew_text_bytes_max + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (file.bad()) return Error{ErrorCode::io, what + " cannot be read: " + std::strerror(errno)};
    text.resize(static_cast<std::size_t>(file.gcount()));
    if (text.size() > limits::crew_text_bytes_max) return Error{ErrorCode::invalid_argument, too_large(what)};
    return text;
}

LoadedCrew load(std::string_view text, std::string_view file_name, std::string_view base_directory,
                const std::vector<CrewInput>& inputs, decltype(CrewDraft::read_file) read_file) {
    if (text.size() > limits::crew_text_bytes_max) return only_problem(file_name, too_large(crew_file));
    CrewProblems problems(file_name);
    CrewDraft draft(problems);
    draft.read_file = std::move(read_file);
    if (const std::optional<YamlNode> root = parse_yaml(text, problems)) {
        read_document(draft, *root, inputs);
        if (problems.error_count() == 0) draft.crew.text = text_with_files(draft, *root, text).value_or("");
    }
    LoadedCrew loaded;
    if (problems.error_count() == 0) {
        draft.crew.base_directory = base_directory;
        loaded.crew = std::make_shared<const CrewSpec>(std::move(draft.crew));
    }
    loaded.problems = problems.take();
    return loaded;
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
    return load(text, file_name, base_directory, inputs, nullptr);
}

LoadedCrew load_crew_file(const std::string& path, const std::vector<CrewInput>& inputs) {
    const Result<std::string> text = bytes_of(path, crew_file);
    if (!text.ok()) return only_problem(path, text.error().message);
    std::error_code failure;
    const std::filesystem::path absolute = std::filesystem::absolute(path, failure);
    if (failure) return only_problem(path, "the crew file's directory is unknown: " + failure.message());
    const std::filesystem::path directory = absolute.parent_path();
    const auto read_file = [&](const std::string& name) { return bytes_of(directory / name, "the file " + name); };
    return load(*text, path, directory.string(), inputs, read_file);
}
}  // namespace stele

// From the text of a crew file to a CrewSpec: reads, checks and fills in inputs. Every mistake is
// found in one pass and told with its place; nothing is thrown. Pure but for `load_crew_file`,
// which reads the file, and `path` inputs, which ask for the working directory. Any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/crew_spec.hpp"

namespace stele {

struct CrewProblem {
    std::string file;
    /// 0:0 when the problem is not in the file, as with a wrong `--input`.
    SourcePlace place;
    /// What is wrong, what was expected and, where there is one, the nearest known name.
    std::string message;
    bool warning = false;
};

/// `file:line:column: message`, with "warning: " before the message of a warning.
std::string to_text(const CrewProblem& problem);

/// One `--input name=value`, as given.
struct CrewInput {
    std::string name;
    std::string value;
};

struct LoadedCrew {
    /// Null when `problems` holds an error.
    std::shared_ptr<const CrewSpec> crew;
    /// In the order of the file; those without a place first. At most `limits::crew_problems_max`
    /// and one line that says that there are more.
    std::vector<CrewProblem> problems;
};

/// `file_name` is used in problems only; `base_directory` is kept for the sources to start in.
LoadedCrew load_crew(std::string_view text, std::string_view file_name, std::string_view base_directory,
                     const std::vector<CrewInput>& inputs);

/// The base directory is the file's own. A file that cannot be read, or is too large, is one error.
LoadedCrew load_crew_file(const std::string& path, const std::vector<CrewInput>& inputs);

}  // namespace stele

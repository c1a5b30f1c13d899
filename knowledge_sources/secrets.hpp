// Where keys come from, and the one place that knows them: the process's environment, then the `.env`
// file beside the crew. What was read as a secret is blacked out of every text that is kept or shown.
// Loop thread only.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "board/result.hpp"

namespace stele {

class Secrets {
public:
    using Environment = std::function<const char*(const char* name)>;

    /// Reads `directory`/.env if it is there (KEY=value lines, `export`, quotes, comments, as dotenv has
    /// them; a line that is none is an error with its number, which quotes nothing). Without `environment`: the
    /// process's own.
    static Result<Secrets> load(const std::string& directory, Environment environment = {});

    /// The value of a variable: the environment's, else the file's. A variable whose value is empty counts
    /// as unset. What is asked for here is blacked out from then on if it has at least 6 bytes.
    std::optional<std::string> secret(const std::string& variable);
    /// The same for what is no secret (a base URL).
    [[nodiscard]] std::optional<std::string> plain(const std::string& variable) const;
    /// "environment", ".env" or "": where secret() finds it. For `stele doctor`.
    [[nodiscard]] std::string origin(const std::string& variable) const;

    /// Fills in each `${env.X}`. Fails with not_found, naming the variable, or with invalid_argument for a
    /// `${env.` that is none. What is put in counts as secret.
    Result<std::string> fill(std::string_view text);

    /// The text with each known secret replaced by "[NAME]"; also its JSON-escaped (once or twice),
    /// URL-encoded and base64-encoded spellings, the last also within a longer encoded text.
    [[nodiscard]] std::string redact(std::string text) const;

private:
    Environment environment_;
    std::map<std::string, std::string> file_;
    std::map<std::string, std::string> known_;  // value or a spelling of it, to the variable's name
};

/// The names of the variables in `${env.X}` of a text.
std::vector<std::string> env_names(std::string_view text);

}  // namespace stele

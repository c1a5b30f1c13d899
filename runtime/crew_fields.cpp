// Readers of what several parts of a crew have: commands and their environment, addresses and
// headers, amounts of money, caps on calls; and where `${env.X}` may stand.
#include <algorithm>
#include <array>

#include "runtime/crew_draft.hpp"

namespace stele {
namespace {

constexpr std::string_view environment_opening = "${env.";
constexpr std::uint64_t count_max = 1'000'000'000;
constexpr int money_places = 6;
constexpr std::int64_t money_micros_max = std::int64_t{1'000'000'000} * 1'000'000;

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lowered(std::string_view text) {
    std::string out;
    for (const char c : text) out += lower(c);
    return out;
}

// --- where the environment may stand ---------------------------------------------------------

using Path = std::vector<std::string_view>;

bool may_fill(const Path& path) {
    if (path.size() < 3) return false;
    const std::string_view section = path[0];
    const std::string_view field = path[2];
    if (path.size() == 3) {
        return (section == "models" && field == "base_url") || (section == "mcpServers" && field == "url") ||
               (section == "tools" && field == "url") || (section == "sources" && field == "url");
    }
    if (path.size() != 4) return false;
    if (field == "headers") {
        return section == "models" || section == "mcpServers" || section == "tools" || section == "sources";
    }
    return field == "env" && (section == "mcpServers" || section == "tools");
}

void check_places(CrewDraft& draft, const YamlNode& node, Path& path) {
    if (node.is_scalar() && names_environment(node.text) && !may_fill(path)) {
        draft.problems.error(node.place, in_quotes(node.text) +
                                             ": \"${env.X}\" is filled in only in base_url and headers of models, in"
                                             " env, url and headers of MCP servers and tools, and in url and headers"
                                             " of http sources; for these letters as text, double the dollar");
    }
    for (const YamlNode& item : node.items) {
        path.emplace_back();
        check_places(draft, item, path);
        path.pop_back();
    }
    for (const YamlMember& member : node.members) {
        // What the files hold is judged where they are used.
        if (path.empty() && member.key == "files") continue;
        path.emplace_back(member.key);
        check_places(draft, member.value, path);
        path.pop_back();
    }
}

std::size_t openings_in(std::string_view text) {
    std::size_t count = 0;
    for (std::size_t at = text.find(environment_opening); at != std::string_view::npos;
         at = text.find(environment_opening, at + 1)) {
        ++count;
    }
    return count;
}

// The references as they are written, before inputs are filled in.
bool check_references(CrewDraft& draft, const YamlNode& node, std::string_view what) {
    const std::string_view text = node.text;
    for (std::size_t at = text.find(environment_opening); at != std::string_view::npos;
         at = text.find(environment_opening, at + 1)) {
        const std::size_t begin = at + environment_opening.size();
        const std::size_t end = text.find('}', begin);
        if (at > 0 && text[at - 1] == '$') {
            draft.problems.error(node.place, std::string(what) + ": \"${env.\" cannot stand here as text");
            return false;
        }
        if (end == std::string_view::npos || !is_identifier(text.substr(begin, end - begin))) {
            draft.problems.error(node.place, std::string(what) + ": " + in_quotes(text) +
                                                 " names no environment variable; expected \"${env.NAME}\"");
            return false;
        }
    }
    return true;
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; }

// --- headers ---------------------------------------------------------------------------------

// RFC 9110, a token.
bool is_header_name(std::string_view name) {
    constexpr std::string_view others = "!#$%&'*+-.^_`|~";
    return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
        return is_letter_or_digit(c) || others.find(c) != std::string_view::npos;
    });
}

bool is_name_of_secret(std::string_view name) {
    const std::string word = lowered(name);
    if (word == "authorization" || word == "proxy-authorization" || word == "cookie") return true;
    for (const std::string_view ending : {"key", "token", "secret", "password"}) {
        if (word.ends_with(ending)) return true;
    }
    return false;
}

void warn_about_secret(CrewDraft& draft, const YamlMember& member, std::string_view what) {
    const std::string& text = member.value.text;
    if (!is_name_of_secret(member.key) || text.empty() || text.find(environment_opening) != std::string::npos) return;
    draft.problems.warn(member.value.place, std::string(what) +
                                                " looks like a secret, and the crew's text is kept in the log; take it"
                                                " from the environment with \"${env.NAME}\"");
}

}  // namespace

void check_environment_places(CrewDraft& draft, const YamlNode& root) {
    Path path;
    check_places(draft, root, path);
}

std::optional<std::string> read_filled_text(CrewDraft& draft, const YamlNode& node, std::string_view what) {
    const std::optional<std::string> text = read_text(node, what, draft.problems);
    if (!text.has_value()) return std::nullopt;
    return substituted_text(draft, *text, node.place);
}

std::optional<std::string> read_filled_at_call(CrewDraft& draft, const YamlNode& node, std::string_view what) {
    if (!read_text(node, what, draft.problems).has_value()) return std::nullopt;
    if (!check_references(draft, node, what)) return std::nullopt;
    std::optional<std::string> filled = substituted_text(draft, node.text, node.place);
    if (!filled.has_value()) return std::nullopt;
    if (openings_in(*filled) != openings_in(node.text)) {
        draft.problems.error(node.place,
                             std::string(what) + ": an input that is filled in here may not hold \"${env.\"");
        return std::nullopt;
    }
    if (std::any_of(filled->begin(), filled->end(), is_control)) {
        draft.problems.error(node.place, std::string(what) + ": no control characters may stand here");
        return std::nullopt;
    }
    return filled;
}

std::optional<std::string> read_url(CrewDraft& draft, const YamlNode& node, std::string_view what) {
    std::optional<std::string> url = read_filled_at_call(draft, node, what);
    if (!url.has_value()) return std::nullopt;
    if (url->starts_with(environment_opening)) return url;
    for (const std::string_view scheme : {"http://", "https://"}) {
        const std::string_view rest = lowered(url->substr(0, scheme.size())) == scheme
                                          ? std::string_view(*url).substr(scheme.size())
                                          : std::string_view();
        if (!rest.empty() && rest[0] != '/' && rest.find(' ') == std::string_view::npos) return url;
    }
    draft.problems.error(node.place, unexpected(what, "an address such as \"https://host/path\"", node));
    return std::nullopt;
}

std::vector<std::pair<std::string, std::string>> read_headers(CrewDraft& draft, const YamlNode& node,
                                                              std::string_view what) {
    std::vector<std::pair<std::string, std::string>> headers;
    if (!node.is_map()) {
        draft.problems.error(node.place, unexpected(what, "a map from name to value", node));
        return headers;
    }
    for (const YamlMember& member : node.members) {
        const auto is_same = [&](const auto& known) { return lowered(known.first) == lowered(member.key); };
        if (!is_header_name(member.key)) {
            draft.problems.error(member.place, in_quotes(member.key) + " cannot be the name of a header");
        } else if (std::any_of(headers.begin(), headers.end(), is_same)) {
            draft.problems.error(member.place, std::string(what) + ": " + in_quotes(member.key) + " is given twice");
        }
        const std::string part = member.key + " in " + std::string(what);
        std::optional<std::string> value = read_filled_at_call(draft, member.value, part);
        if (!value.has_value()) continue;
        warn_about_secret(draft, member, part);
        headers.emplace_back(member.key, std::move(*value));
    }
    return headers;
}

std::optional<std::string> read_argument(CrewDraft& draft, const YamlNode& node, std::string_view what) {
    std::optional<std::string> filled = read_filled_text(draft, node, what);
    if (filled.has_value() && filled->find('\0') != std::string::npos) {
        draft.problems.error(node.place, std::string(what) + ": a process cannot be given a text with a NUL byte");
        return std::nullopt;
    }
    return filled;
}

std::vector<std::string> read_command(CrewDraft& draft, const YamlNode& node, const std::string& what) {
    std::vector<std::string> command;
    const std::vector<YamlNode>* items = read_list(node, what, draft.problems);
    if (items == nullptr) return command;
    if (items->empty() || (items->front().is_scalar() && items->front().text.empty())) {
        draft.problems.error(node.place, what + ": the program to run is missing");
    }
    for (const YamlNode& item : *items) {
        std::optional<std::string> argument = read_argument(draft, item, what);
        if (argument.has_value()) command.push_back(std::move(*argument));
    }
    return command;
}

std::vector<std::pair<std::string, std::string>> read_environment(CrewDraft& draft, const YamlNode& node,
                                                                  const std::string& what, bool fills_environment) {
    std::vector<std::pair<std::string, std::string>> environment;
    if (!node.is_map()) {
        draft.problems.error(node.place, unexpected(what, "a map from name to value", node));
        return environment;
    }
    for (const YamlMember& member : node.members) {
        if (!is_identifier(member.key)) {
            draft.problems.error(member.place,
                                 in_quotes(member.key) + " cannot be the name of an environment variable");
        }
        const std::string part = member.key + " in " + what;
        std::optional<std::string> value = fills_environment ? read_filled_at_call(draft, member.value, part)
                                                             : read_argument(draft, member.value, part);
        if (!value.has_value()) continue;
        if (fills_environment) warn_about_secret(draft, member, part);
        environment.emplace_back(member.key, std::move(*value));
    }
    return environment;
}

std::vector<std::string> read_passed_environment(CrewDraft& draft, const YamlNode& node, const std::string& what,
                                                 const std::vector<std::pair<std::string, std::string>>& set) {
    std::vector<std::string> passed;
    const std::vector<YamlNode>* items = read_list(node, what, draft.problems);
    if (items == nullptr) return passed;
    for (const YamlNode& item : *items) {
        const std::optional<std::string> name = read_variable_name(draft, item, what);
        if (!name.has_value()) continue;
        const auto is_set = [&](const auto& variable) { return variable.first == *name; };
        if (std::any_of(set.begin(), set.end(), is_set)) {
            draft.problems.error(item.place, what + ": " + in_quotes(*name) + " is already set in \"env\"");
        } else {
            passed.push_back(*name);
        }
    }
    return passed;
}

std::optional<std::string> read_variable_name(CrewDraft& draft, const YamlNode& node, std::string_view what) {
    std::optional<std::string> name = read_text(node, what, draft.problems);
    if (!name.has_value() || is_identifier(*name)) return name;
    draft.problems.error(node.place, in_quotes(*name) + " cannot be the name of an environment variable");
    return std::nullopt;
}

std::optional<std::string> read_secret_variable(CrewDraft& draft, const YamlNode& node, std::string_view what) {
    std::optional<std::string> name = read_text(node, what, draft.problems);
    if (!name.has_value() || is_identifier(*name)) return name;
    // What stands here instead may be the secret itself, so it is not repeated.
    draft.problems.error(node.place, std::string(what) +
                                         ": expected the name of an environment variable; a secret "
                                         "itself has no place in a crew file");
    return std::nullopt;
}

void check_outside_name(CrewDraft& draft, std::string_view name, SourcePlace place, std::string_view what) {
    const bool is_good = !name.empty() && name.size() <= limits::name_bytes_max &&
                         std::all_of(name.begin(), name.end(),
                                     [](char c) { return is_letter_or_digit(c) || c == '_' || c == '-' || c == '.'; });
    if (is_good) return;
    draft.problems.error(place, in_quotes(name) + " cannot be the name of " + std::string(what) + ": a name is 1 to " +
                                    std::to_string(limits::name_bytes_max) +
                                    " letters, digits, \"_\", \"-\" and \".\"");
}

std::optional<bool> read_flag(CrewDraft& draft, const YamlNode& node, std::string_view what) {
    const std::optional<Value> value = node.is_scalar() ? scalar_value(node) : std::nullopt;
    if (value.has_value() && value->is_bool()) return value->as_bool();
    draft.problems.error(node.place, unexpected(what, "true or false", node));
    return std::nullopt;
}

std::optional<std::int64_t> read_money(CrewDraft& draft, const YamlNode& node, std::string_view what,
                                       std::int64_t min) {
    // By its digits: a double would lose the last places.
    std::int64_t micros = 0;
    int places = -1;
    bool is_good = node.is_scalar() && !node.text.empty() && node.text.front() != '.' && node.text.back() != '.';
    for (const char c : is_good ? node.text : std::string()) {
        if (c == '.' && places < 0) {
            places = 0;
            continue;
        }
        const bool is_digit = c >= '0' && c <= '9';
        if (places >= 0) ++places;
        // Zeros beyond the last place change nothing.
        if (is_digit && places > money_places && c == '0') continue;
        if (!is_digit || places > money_places || micros > money_micros_max) {
            is_good = false;
            break;
        }
        micros = micros * 10 + (c - '0');
    }
    for (int place = std::clamp(places, 0, money_places); is_good && place < money_places; ++place) {
        micros *= 10;
        is_good = micros <= money_micros_max;
    }
    if (is_good && micros >= min && micros <= money_micros_max) return micros;
    draft.problems.error(node.place, unexpected(what,
                                                std::string("an amount ") + (min > 0 ? "above 0 " : "") +
                                                    "such as 5 or 0.25, with at most 6 places",
                                                node));
    return std::nullopt;
}

std::optional<SourcePlace> read_call_caps(CrewDraft& draft, MapReader& map, CallCaps& caps) {
    if (const YamlNode* tokens = map.optional("tokens")) {
        constexpr std::uint64_t tokens_max = 1'000'000'000'000;
        caps.tokens =
            read_count(*tokens, map.part("tokens"), {.min = 1, .max = tokens_max}, draft.problems).value_or(0);
    }
    if (const YamlNode* calls = map.optional("calls")) {
        caps.calls = read_count(*calls, map.part("calls"), {.min = 1, .max = count_max}, draft.problems).value_or(0);
    }
    const YamlNode* money = map.optional("money");
    if (money == nullptr) return std::nullopt;
    const std::optional<std::int64_t> micros = read_money(draft, *money, map.part("money"), 1);
    caps.money_micros = micros.value_or(0);
    if (!micros.has_value()) return std::nullopt;
    return money->place;
}

}  // namespace stele

#include "knowledge_sources/secrets.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <system_error>
#include <utility>

#include "board/limits.hpp"
#include "board/value.hpp"
#include "knowledge_sources/encodings.hpp"

namespace stele {

namespace {

constexpr std::size_t secret_bytes_min = 6;
constexpr std::size_t spelling_bytes_min = 6;
constexpr std::string_view reference_begin = "${env.";

bool is_name_character(char c, bool is_first) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!is_first && c >= '0' && c <= '9');
}

/// How many characters at the beginning are a variable's name.
std::size_t name_length(std::string_view text) {
    std::size_t length = 0;
    while (length < text.size() && is_name_character(text[length], length == 0)) ++length;
    return length;
}

// ---- the file ----

/// Reads KEY=value lines. Errors say where and what is missing and quote nothing, as it may be a key.
class DotenvReader {
public:
    DotenvReader(std::string_view text, std::string path) : text_(text), path_(std::move(path)) {}

    Result<std::map<std::string, std::string>> read() {
        constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
        if (text_.starts_with(byte_order_mark)) at_ = byte_order_mark.size();
        if (text_.find('\0') != std::string_view::npos) return error("the file holds a NUL byte");
        while (skip_to_line()) {
            Status line = read_line();
            if (!line) return line.error();
        }
        return std::move(values_);
    }

private:
    /// To the next line that says anything.
    bool skip_to_line() {
        while (at_ < text_.size()) {
            skip_blanks();
            if (at_ == text_.size()) return false;
            if (text_[at_] == '#') skip_comment();
            if (at_ == text_.size()) return false;
            if (text_[at_] != '\n' && text_[at_] != '\r') return true;
            if (text_[at_] == '\n') ++line_;
            ++at_;
        }
        return false;
    }

    Status read_line() {
        std::size_t length = key_length();
        if (text_.substr(at_, length) == "export" && at_ + length < text_.size() && is_blank(text_[at_ + length])) {
            at_ += length;
            skip_blanks();
            length = key_length();
        }
        const std::string name(text_.substr(at_, length));
        at_ += length;
        skip_blanks();
        if (name.empty() || at_ == text_.size() || text_[at_] != '=') return error("this line is not KEY=value");
        ++at_;
        skip_blanks();
        const char first = at_ < text_.size() ? text_[at_] : '\n';
        if (first != '"' && first != '\'' && first != '`') {
            values_[name] = read_bare();
            return Done{};
        }
        Result<std::string> value = read_quoted(first);
        if (!value) return value.error();
        values_[name] = std::move(*value);
        return Done{};
    }

    /// Up to the end of the line or a comment, which begins after white space: a key may hold a '#'.
    std::string read_bare() {
        std::string value;
        while (at_ < text_.size() && text_[at_] != '\n' && text_[at_] != '\r') {
            const bool begins_word = value.empty() || is_blank(value.back());
            if (text_[at_] == '#' && begins_word) {
                skip_comment();
                break;
            }
            value += text_[at_++];
        }
        while (!value.empty() && is_blank(value.back())) value.pop_back();
        return value;
    }

    /// A quoted value may go over several lines; only within double quotes does a backslash mean anything.
    Result<std::string> read_quoted(char quote) {
        const std::size_t line_of_quote = line_;
        std::string value;
        for (++at_; at_ < text_.size() && text_[at_] != quote; ++at_) {
            char c = text_[at_];
            if (c == '\n') ++line_;
            if (c == '\\' && quote == '"' && at_ + 1 < text_.size()) {
                c = text_[++at_];
                switch (c) {
                    case 'n':
                        c = '\n';
                        break;
                    case 'r':
                        c = '\r';
                        break;
                    case 't':
                        c = '\t';
                        break;
                    case '"':
                    case '\\':
                    case '$':
                        break;
                    case '\n':
                        ++line_;
                        [[fallthrough]];
                    default:
                        value += '\\';
                }
            }
            value += c;
        }
        if (at_ == text_.size()) {
            line_ = line_of_quote;
            return error("a quoted value is not closed");
        }
        ++at_;
        skip_blanks();
        if (at_ < text_.size() && text_[at_] == '#') skip_comment();
        if (at_ < text_.size() && text_[at_] != '\n' && text_[at_] != '\r') {
            return error("something follows a quoted value");
        }
        return value;
    }

    /// Other tools' keys may have dots and hyphens in them.
    [[nodiscard]] std::size_t key_length() const {
        std::size_t end = at_ + name_length(text_.substr(at_));
        while (end > at_ && end < text_.size()) {
            if (!is_name_character(text_[end], false) && text_[end] != '.' && text_[end] != '-') break;
            ++end;
        }
        return end - at_;
    }
    static bool is_blank(char c) { return c == ' ' || c == '\t'; }
    void skip_blanks() {
        while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
    }
    void skip_comment() { at_ = std::min(text_.find('\n', at_), text_.size()); }

    [[nodiscard]] Error error(const std::string& what) const {
        return Error{ErrorCode::invalid_argument, path_ + ":" + std::to_string(line_) + ": " + what};
    }

    std::string_view text_;
    std::string path_;
    std::size_t at_ = 0;
    std::size_t line_ = 1;
    std::map<std::string, std::string> values_;
};

struct FileClose {
    void operator()(std::FILE* file) const { std::fclose(file); }
};

/// Empty when there is no file.
Result<std::string> read_file(const std::string& path) {
    const std::unique_ptr<std::FILE, FileClose> file(std::fopen(path.c_str(), "rbe"));
    int error = errno;
    std::string text;
    if (file) {
        char buffer[4'096];
        std::size_t count = 0;
        errno = 0;
        while ((count = std::fread(buffer, 1, sizeof buffer, file.get())) > 0) {
            text.append(buffer, count);
            if (text.size() > limits::crew_text_bytes_max) {
                return Error{ErrorCode::invalid_argument,
                             path + " is longer than " + std::to_string(limits::crew_text_bytes_max) + " bytes"};
            }
        }
        if (std::ferror(file.get()) == 0) return text;
        error = errno;
    }
    if (error == ENOENT || error == ENOTDIR) return std::string();
    return Error{error == EACCES ? ErrorCode::permission : ErrorCode::io,
                 "cannot read " + path + ": " + std::generic_category().message(error)};
}

// ---- spellings ----

std::string lower_hex_of(std::string_view percent_encoded) {
    std::string out(percent_encoded);
    for (std::size_t i = 0; i + 2 < out.size(); ++i) {
        if (out[i] != '%') continue;
        for (std::size_t k = 1; k <= 2; ++k) {
            if (out[i + k] >= 'A' && out[i + k] <= 'F') out[i + k] = static_cast<char>(out[i + k] - 'A' + 'a');
        }
        i += 2;
    }
    return out;
}

std::string replaced(std::string text, std::string_view what, std::string_view with) {
    for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) {
        text.replace(at, what.size(), with);
    }
    return text;
}

/// The inside of a JSON string with all but printable ASCII as \uXXXX. Bytes that are no UTF-8 stay.
std::string ascii_json(std::string_view text) {
    std::string out;
    const auto append_unit = [&out](std::uint32_t unit) {
        constexpr std::string_view digits = "0123456789abcdef";
        out += "\\u";
        for (int shift = 12; shift >= 0; shift -= 4) out += digits[(unit >> shift) & 15];
    };
    for (std::size_t i = 0; i < text.size();) {
        const auto byte = static_cast<unsigned char>(text[i]);
        const std::size_t length = byte < 0x80 ? 1 : byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
        if (length == 1 || i + length > text.size()) {
            out += text[i++];
            continue;
        }
        std::uint32_t code = byte & (0xFF >> (length + 1));
        for (std::size_t k = 1; k < length; ++k) code = code << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3F);
        if (code >= 0x10000) {
            append_unit(0xD800 + ((code - 0x10000) >> 10));
            append_unit(0xDC00 + ((code - 0x10000) & 0x3FF));
        } else {
            append_unit(code);
        }
        i += length;
    }
    return out;
}

std::string inside_json(const std::string& text) {
    const std::string quoted = to_json(Value(text));
    return quoted.substr(1, quoted.size() - 2);
}

void add_json_spellings(const std::string& value, std::set<std::string>& out) {
    const std::string once = inside_json(value);
    std::set<std::string> forms = {once, ascii_json(once)};
    for (const std::string& form : {once, ascii_json(once)}) {
        forms.insert(replaced(form, "/", "\\/"));
        std::string for_web = form;
        const std::pair<const char*, const char*> escapes[] = {
            {"&", "\\u0026"}, {"<", "\\u003c"}, {">", "\\u003e"}, {"'", "\\u0027"}};
        for (const auto& [character, escape] : escapes) for_web = replaced(for_web, character, escape);
        forms.insert(for_web);
    }
    // A tool's arguments are JSON within a string of JSON.
    for (const std::string& form : forms) {
        out.insert(form);
        out.insert(inside_json(form));
    }
}

/// Wherever in a longer encoded text the value begins, the digits that it alone decides.
void add_base64_spellings(const std::string& value, std::set<std::string>& out) {
    for (std::size_t before = 0; before < 3; ++before) {
        const std::string encoded = to_base64(std::string(before, '\0') + value);
        const std::size_t skipped = (before * 8 + 5) / 6;
        const std::size_t decided = (before + value.size()) * 8 / 6 - skipped;
        std::string inner = encoded.substr(skipped, decided);
        out.insert(inner);
        inner = replaced(replaced(inner, "+", "-"), "/", "_");
        out.insert(inner);
    }
    const std::string whole = to_base64(value);
    out.insert(whole);
    out.insert(replaced(replaced(whole, "+", "-"), "/", "_"));
    const std::string unpadded = whole.substr(0, whole.find('='));
    out.insert(unpadded);
    out.insert(replaced(replaced(unpadded, "+", "-"), "/", "_"));
}

void add_url_spellings(const std::string& value, std::set<std::string>& out) {
    const std::string strict = percent_encode(value);
    // Forms write a blank as '+'; browsers leave !'()* as they are, and paths some more.
    std::string browser = strict;
    for (const auto& [escape, character] : {std::pair{"%21", "!"}, std::pair{"%27", "'"}, std::pair{"%28", "("},
                                            std::pair{"%29", ")"}, std::pair{"%2A", "*"}}) {
        browser = replaced(browser, escape, character);
    }
    std::string path = browser;
    for (const auto& [escape, character] : {std::pair{"%2F", "/"}, std::pair{"%3A", ":"}, std::pair{"%40", "@"},
                                            std::pair{"%24", "$"}, std::pair{"%26", "&"}, std::pair{"%2B", "+"},
                                            std::pair{"%2C", ","}, std::pair{"%3B", ";"}, std::pair{"%3D", "="}}) {
        path = replaced(path, escape, character);
    }
    for (const std::string& form : {strict, browser, path, replaced(strict, "%2F", "/")}) {
        out.insert(form);
        out.insert(lower_hex_of(form));
        out.insert(replaced(form, "%20", "+"));
        out.insert(lower_hex_of(replaced(form, "%20", "+")));
    }
}

/// Each spelling of a secret, and the variable that it is of.
void learn(const std::string& variable, const std::string& value, std::map<std::string, std::string>& known) {
    if (value.size() < secret_bytes_min || known.count(value) > 0) return;
    std::set<std::string> spellings;
    add_json_spellings(value, spellings);
    add_base64_spellings(value, spellings);
    add_url_spellings(value, spellings);
    known.emplace(value, variable);
    for (const std::string& spelling : spellings) {
        if (spelling.size() >= spelling_bytes_min) known.emplace(spelling, variable);
    }
}

// ---- references ----

struct Reference {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::string name;
    bool is_well_formed = false;
};

/// The next `${env.` of a text, well formed or not.
std::optional<Reference> find_reference(std::string_view text, std::size_t from) {
    const std::size_t begin = text.find(reference_begin, from);
    if (begin == std::string_view::npos) return std::nullopt;
    Reference reference;
    reference.begin = begin;
    const std::size_t name_begin = begin + reference_begin.size();
    const std::size_t length = name_length(text.substr(name_begin));
    reference.name = text.substr(name_begin, length);
    reference.end = name_begin + length;
    reference.is_well_formed = length > 0 && reference.end < text.size() && text[reference.end] == '}';
    if (reference.is_well_formed) ++reference.end;
    return reference;
}

}  // namespace

Result<Secrets> Secrets::load(const std::string& directory, Environment environment) {
    Secrets secrets;
    secrets.environment_ = std::move(environment);
    if (!secrets.environment_) secrets.environment_ = [](const char* name) { return std::getenv(name); };
    const std::string path = (directory.empty() ? "." : directory) + "/.env";
    const Result<std::string> text = read_file(path);
    if (!text) return text.error();
    Result<std::map<std::string, std::string>> values = DotenvReader(*text, path).read();
    if (!values) return values.error();
    secrets.file_ = std::move(*values);
    return secrets;
}

std::optional<std::string> Secrets::secret(const std::string& variable) {
    std::optional<std::string> value = plain(variable);
    if (value) learn(variable, *value, known_);
    return value;
}

std::optional<std::string> Secrets::plain(const std::string& variable) const {
    const char* const value = environment_(variable.c_str());
    if (value != nullptr && *value != '\0') return std::string(value);
    const auto at = file_.find(variable);
    if (at == file_.end() || at->second.empty()) return std::nullopt;
    return at->second;
}

std::string Secrets::origin(const std::string& variable) const {
    const char* const value = environment_(variable.c_str());
    if (value != nullptr && *value != '\0') return "environment";
    return plain(variable) ? ".env" : "";
}

Result<std::string> Secrets::fill(std::string_view text) {
    std::string filled;
    std::size_t at = 0;
    while (const std::optional<Reference> reference = find_reference(text, at)) {
        filled += text.substr(at, reference->begin - at);
        if (!reference->is_well_formed) {
            return Error{ErrorCode::invalid_argument,
                         "\"${env." + reference->name + "\" is no variable: it is written ${env.NAME}"};
        }
        const std::optional<std::string> value = secret(reference->name);
        if (!value) {
            return Error{ErrorCode::not_found,
                         "the variable " + reference->name + " is set neither in the environment nor in .env"};
        }
        filled += *value;
        at = reference->end;
    }
    filled += text.substr(at);
    return filled;
}

std::string Secrets::redact(std::string text) const {
    if (known_.empty()) return text;
    bool begins_one[256] = {};
    for (const auto& [spelling, name] : known_) begins_one[static_cast<unsigned char>(spelling.front())] = true;
    std::string out;
    std::size_t kept_from = 0;
    std::size_t black_end = 0;  // of the black stretch that is being put together
    std::size_t longest = 0;    // match within it, which gives it its name
    const std::string* black_name = nullptr;
    const auto close_stretch = [&] {
        if (black_name == nullptr) return;
        out += "[" + *black_name + "]";
        kept_from = black_end;
        black_name = nullptr;
        longest = 0;
    };
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (black_name != nullptr && i >= black_end) close_stretch();
        if (!begins_one[static_cast<unsigned char>(text[i])]) continue;
        // Matches that overlap are one stretch: the rest of the second must not be left over.
        const std::string_view rest = std::string_view(text).substr(i);
        for (auto at = known_.lower_bound(std::string(1, text[i])); at != known_.end(); ++at) {
            if (at->first.front() != text[i]) break;
            if (!rest.starts_with(at->first)) continue;
            if (black_name == nullptr) {
                out += std::string_view(text).substr(kept_from, i - kept_from);
                black_end = i;
            }
            black_end = std::max(black_end, i + at->first.size());
            if (black_name == nullptr || at->first.size() > longest) {
                black_name = &at->second;
                longest = at->first.size();
            }
        }
    }
    close_stretch();
    out += std::string_view(text).substr(kept_from);
    return out;
}

std::vector<std::string> env_names(std::string_view text) {
    std::vector<std::string> names;
    std::size_t at = 0;
    while (const std::optional<Reference> reference = find_reference(text, at)) {
        const bool is_new = std::find(names.begin(), names.end(), reference->name) == names.end();
        if (reference->is_well_formed && is_new) names.push_back(reference->name);
        at = reference->end;
    }
    return names;
}

}  // namespace stele

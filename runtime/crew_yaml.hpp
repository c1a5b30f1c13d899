// The reading half of the crew loader: a YAML document as a plain tree with a place at every node,
// the collector of problems, and readers for maps, words, durations and sizes. Nothing here knows
// what a region or a source is. Used by runtime/crew_*.cpp within one load.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "board/value.hpp"
#include "runtime/crew_loader.hpp"

namespace stele {

struct YamlMember;

/// Aliases are expanded, so the tree owns everything and has no cycles.
struct YamlNode {
    enum class Kind { null, scalar, list, map } kind = Kind::null;
    std::string text;  // of a scalar, as written (after quotes and escapes)
    /// Scalar: unquoted, so that the YAML 1.2 core schema decides its type.
    bool plain = false;
    SourcePlace place;
    std::vector<YamlNode> items;
    std::vector<YamlMember> members;  // keys are unique

    [[nodiscard]] bool is_null() const { return kind == Kind::null; }
    [[nodiscard]] bool is_scalar() const { return kind == Kind::scalar; }
    [[nodiscard]] bool is_list() const { return kind == Kind::list; }
    [[nodiscard]] bool is_map() const { return kind == Kind::map; }
    /// Member of a map, or nullptr.
    [[nodiscard]] const YamlMember* find(std::string_view key) const;
};

struct YamlMember {
    std::string key;
    SourcePlace place;
    YamlNode value;
};

/// Collects problems. Beyond `limits::crew_problems_max` they are only counted.
class CrewProblems {
public:
    explicit CrewProblems(std::string_view file) : file_(file) {}

    void error(SourcePlace place, std::string message);
    void warn(SourcePlace place, std::string message);
    /// Counts also those that are not kept; two readings tell whether a part is free of mistakes.
    [[nodiscard]] std::size_t error_count() const { return error_count_; }
    /// True when another message would not be kept, so that making it is wasted.
    [[nodiscard]] bool is_full() const { return full_; }
    /// In the order of the file, without repetitions.
    [[nodiscard]] std::vector<CrewProblem> take();

private:
    void add(SourcePlace place, std::string message, bool warning);

    std::string file_;
    std::vector<CrewProblem> problems_;
    std::size_t error_count_ = 0;
    bool full_ = false;
};

/// The one document in `text`. Nothing when the text is no YAML at all (reported); a repeated key
/// or a foreign tag is reported and the rest is kept.
std::optional<YamlNode> parse_yaml(std::string_view text, CrewProblems& problems);

/// Offset of the first byte that is no UTF-8, or a control character that YAML forbids.
std::optional<std::size_t> first_bad_byte(std::string_view text);

/// In double quotes, on one line, cut where it gets long.
std::string in_quotes(std::string_view text);
/// `a, b or c`, every word quoted.
std::string any_of(const std::vector<std::string>& words);
/// The nearest known name, or nothing.
std::string nearest_of(std::string_view name, const std::vector<std::string>& known);
/// `; did you mean "x"?`, or nothing.
std::string nearest_hint(std::string_view name, const std::vector<std::string>& known);
/// "a map", "the number 5", "nothing": for "expected ..., found ...".
std::string describe(const YamlNode& node);
/// `what: expected ..., found a map`.
std::string unexpected(std::string_view what, std::string_view expected, const YamlNode& found);

/// A scalar by the YAML 1.2 core schema. Nothing for an integer beyond int64 or a number that is
/// not finite.
std::optional<Value> scalar_value(const YamlNode& scalar);

/// Reads the known keys of a map and, at the end, reports the others.
class MapReader {
public:
    /// Reports a node that is no map; every key is then absent, without a word. What is missing is
    /// reported at `place`, or at the map itself.
    MapReader(const YamlNode& node, std::string what, CrewProblems& problems, SourcePlace place = {});

    [[nodiscard]] bool is_map() const { return node_->is_map(); }
    [[nodiscard]] const YamlNode* optional(std::string_view key);
    [[nodiscard]] const YamlMember* optional_member(std::string_view key);
    /// As optional(); finish() reports the key when it is missing.
    [[nodiscard]] const YamlNode* required(std::string_view key);
    /// Reports each key that was not asked for, then each missing one that none of those was meant
    /// to be.
    void finish();

    [[nodiscard]] const std::string& what() const { return what_; }
    /// `key of what`.
    [[nodiscard]] std::string part(std::string_view key) const;

private:
    const YamlNode* node_;
    std::string what_;
    CrewProblems* problems_;
    SourcePlace place_;
    std::vector<std::string> known_;
    std::vector<std::string> missing_;
};

// Each reads one node, or reports it under the name `what` and returns nothing.

std::optional<std::string> read_text(const YamlNode& node, std::string_view what, CrewProblems& problems);
/// Index into `words`.
std::optional<std::size_t> read_word(const YamlNode& node, std::string_view what, const std::vector<std::string>& words,
                                     CrewProblems& problems);
struct CountRange {
    std::uint64_t min = 0;
    std::uint64_t max = 1'000'000'000;
};
std::optional<std::uint64_t> read_count(const YamlNode& node, std::string_view what, CountRange range,
                                        CrewProblems& problems);
std::optional<double> read_number(const YamlNode& node, std::string_view what, CrewProblems& problems);
/// `500ms`, `2s`, `10m`, `1h`, in milliseconds.
std::optional<std::int64_t> read_duration(const YamlNode& node, std::string_view what, std::int64_t min_ms,
                                          CrewProblems& problems);
/// `512KiB`, `10MiB`, `1GiB` or plain bytes; at least 1.
std::optional<std::uint64_t> read_size(const YamlNode& node, std::string_view what, CrewProblems& problems);
/// The items of a list; nullptr when it is none.
const std::vector<YamlNode>* read_list(const YamlNode& node, std::string_view what, CrewProblems& problems);

/// `[a-z][a-z0-9_]*`, at most `limits::name_bytes_max`: names of crews, regions and sources.
/// Reports what is wrong; the caller may go on with the name, so that its uses are no mistakes too.
void check_name(std::string_view name, SourcePlace place, std::string_view what, CrewProblems& problems);
bool is_identifier(std::string_view text);

}  // namespace stele

// Prompt files. A board is read again from its log, when the files may have changed or gone, so the
// text of a crew that goes into the log carries what they held, in a section `files:` at its end.
// A crew that has the section already carries all its files, and none is read.
#include <algorithm>

#include "runtime/crew_draft.hpp"

namespace stele {
namespace {

bool same_tree(const YamlNode& a, const YamlNode& b);

bool same_members(const std::vector<YamlMember>& a, const std::vector<YamlMember>& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const YamlMember& one, const YamlMember& other) {
        return one.key == other.key && same_tree(one.value, other.value);
    });
}

bool same_tree(const YamlNode& a, const YamlNode& b) {
    return a.kind == b.kind && a.text == b.text && a.plain == b.plain && same_members(a.members, b.members) &&
           std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), same_tree);
}

std::vector<std::string> paths_of(const CrewDraft& draft) {
    std::vector<std::string> paths;
    for (const auto& [path, fact] : draft.files) paths.push_back(path);
    return paths;
}

std::optional<std::string> content_read(CrewDraft& draft, const std::string& path, SourcePlace place) {
    if (!draft.read_file) {
        draft.problems.error(place, "the file " + in_quotes(path) +
                                        " is not at hand, since only the crew's text is; put what it holds into a"
                                        " section \"files\"");
        return std::nullopt;
    }
    Result<std::string> content = draft.read_file(path);
    if (!content.ok()) {
        draft.problems.error(place, content.error().message);
        return std::nullopt;
    }
    if (const std::optional<std::size_t> bad = first_bad_byte(*content)) {
        const auto line = 1 + std::count(content->begin(), content->begin() + static_cast<std::ptrdiff_t>(*bad), '\n');
        draft.problems.error(place, "the file " + in_quotes(path) +
                                        " is not UTF-8 text without control characters: see its line " +
                                        std::to_string(line));
        return std::nullopt;
    }
    return std::move(*content);
}

}  // namespace

void read_files(CrewDraft& draft, const YamlNode* node) {
    if (node == nullptr) return;
    draft.files_declared = true;
    if (!node->is_map()) {
        draft.problems.error(node->place, unexpected("files", "a map from path to text", *node));
        draft.files_known = false;
        return;
    }
    for (const YamlMember& member : node->members) {
        const std::optional<std::string> content =
            read_text(member.value, "file " + in_quotes(member.key) + " of files", draft.problems);
        draft.files.emplace(member.key, CrewDraft::FileFact{content.value_or(""), member.place, false});
    }
}

std::optional<std::string> file_content(CrewDraft& draft, const std::string& path, SourcePlace place) {
    const auto found = draft.files.find(path);
    if (found != draft.files.end()) {
        found->second.is_used = true;
        return found->second.content;
    }
    if (!draft.files_declared) {
        std::optional<std::string> content = content_read(draft, path, place);
        if (content.has_value()) draft.files.emplace(path, CrewDraft::FileFact{*content, place, true});
        return content;
    }
    if (draft.files_known) {
        const std::string hint = nearest_hint(path, paths_of(draft));
        draft.problems.error(place, "there is no file " + in_quotes(path) + " under \"files\"" + hint +
                                        (hint.empty() ? "; a" : " A") +
                                        " crew that has this section carries every file that it names");
    }
    return std::nullopt;
}

void warn_about_files(CrewDraft& draft) {
    for (const auto& [path, fact] : draft.files) {
        if (!fact.is_used) draft.problems.warn(fact.place, "file " + in_quotes(path) + " is used by no source");
    }
}

std::optional<std::string> text_with_files(CrewDraft& draft, const YamlNode& root, std::string_view text) {
    if (draft.files_declared || draft.files.empty()) return std::string(text);
    const auto column = root.members.empty() ? 1 : std::max(root.members[0].place.column, 1);
    const std::string indent(static_cast<std::size_t>(column - 1), ' ');
    std::string out(text);
    if (!out.ends_with('\n')) out += '\n';
    YamlNode expected = root;
    YamlMember files;
    files.key = "files";
    files.value.kind = YamlNode::Kind::map;
    out += indent + "files:\n";
    for (const auto& [path, fact] : draft.files) {
        // A text in JSON is the same text in YAML.
        out += indent + "  " + to_json(Value(path)) + ": " + to_json(Value(fact.content)) + "\n";
        YamlMember file;
        file.key = path;
        file.value.kind = YamlNode::Kind::scalar;
        file.value.text = fact.content;
        files.value.members.push_back(std::move(file));
    }
    expected.members.push_back(std::move(files));
    if (out.size() > limits::crew_text_bytes_max) {
        draft.problems.error({}, "the crew file and the files that it names are larger than " +
                                     std::to_string(limits::crew_text_bytes_max) + " bytes together");
        return std::nullopt;
    }
    // A document in braces, or one that was ended by "...", has no place for another section.
    CrewProblems unseen("");
    const std::optional<YamlNode> again = parse_yaml(out, unseen);
    if (again.has_value() && unseen.error_count() == 0 && same_tree(*again, expected)) return out;
    draft.problems.error({},
                         "what the prompt files hold cannot be put at the end of this crew file; write the crew as a"
                         " block without braces around it, end it with a line, and leave out \"...\"");
    return std::nullopt;
}

}  // namespace stele

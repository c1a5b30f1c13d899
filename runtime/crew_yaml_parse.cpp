// The only file that sees yaml-cpp. It is used as a parser of events, so that places, aliases and
// bounds are ours to keep: the tree is bounded before it is built, whatever the aliases multiply.
#include <algorithm>
#include <exception>
#include <map>
#include <sstream>
#include <unordered_map>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include "board/limits.hpp"
#include "runtime/crew_yaml.hpp"

namespace stele {
namespace {

// All scalars and keys together, aliases expanded.
constexpr std::size_t expanded_bytes_max = 8 * limits::crew_text_bytes_max;

// yaml-cpp ends a plain scalar in a flow map at any `?`, though YAML does so only at its beginning,
// and `file: string?` is how a field is optional. Within a word the parser is shown this byte
// instead, which no UTF-8 text has and no escape makes.
constexpr char hidden_question_mark = '\xF8';

std::string with_question_marks_hidden(std::string_view text) {
    constexpr std::string_view before_a_word = " \t\r\n,[]{}";
    std::string hidden(text);
    for (std::size_t i = 1; i < hidden.size(); ++i) {
        const bool within_word = before_a_word.find(hidden[i - 1]) == std::string_view::npos;
        if (hidden[i] == '?' && within_word) hidden[i] = hidden_question_mark;
    }
    return hidden;
}

std::string with_question_marks(std::string text) {
    std::replace(text.begin(), text.end(), hidden_question_mark, '?');
    return text;
}

// Ends the parse; the problem is reported where it is thrown. Never leaves this file.
struct StopParsing {};

// yaml-cpp counts bytes; people and editors count characters. Counts on from the last place asked
// for, since a whole crew may stand on one line.
class Places {
public:
    explicit Places(std::string_view text) : text_(text) {
        line_starts_.push_back(0);
        for (std::size_t at = 0; at < text.size(); ++at) {
            if (text[at] == '\n') line_starts_.push_back(at + 1);
        }
    }

    [[nodiscard]] SourcePlace of(const YAML::Mark& mark) {
        if (mark.line < 0 || mark.column < 0) return {};
        return at(static_cast<std::size_t>(mark.line), static_cast<std::size_t>(mark.column));
    }
    [[nodiscard]] SourcePlace of_offset(std::size_t offset) {
        const auto after = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset);
        const auto line = static_cast<std::size_t>(after - line_starts_.begin()) - 1;
        return at(line, offset - line_starts_[line]);
    }

private:
    [[nodiscard]] SourcePlace at(std::size_t line, std::size_t column_bytes) {
        if (line >= line_starts_.size()) return {static_cast<int>(line) + 1, 1};
        const std::size_t offset = std::min(line_starts_[line] + column_bytes, text_.size());
        if (line != last_line_) {
            last_line_ = line;
            last_offset_ = line_starts_[line];
            last_column_ = 1;
        }
        const std::size_t from = std::min(offset, last_offset_);
        const std::string_view between = text_.substr(from, std::max(offset, last_offset_) - from);
        const auto characters =
            static_cast<int>(std::count_if(between.begin(), between.end(), [](char c) { return (c & 0xC0) != 0x80; }));
        last_column_ += offset >= last_offset_ ? characters : -characters;
        last_offset_ = offset;
        return {static_cast<int>(line) + 1, last_column_};
    }

    std::string_view text_;
    std::vector<std::size_t> line_starts_;
    std::size_t last_line_ = 0;
    std::size_t last_offset_ = 0;
    int last_column_ = 1;
};

class TreeBuilder final : public YAML::EventHandler {
public:
    TreeBuilder(Places& places, CrewProblems& problems) : places_(places), problems_(problems) {}

    std::optional<YamlNode> root;

    void OnDocumentStart(const YAML::Mark& mark) override {
        if (++documents_ > 1) stop(places_.of(mark), "a crew file holds one document; here a second one begins");
    }
    void OnDocumentEnd() override {}

    void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        YamlNode node;
        node.place = places_.of(mark);
        charge(node);
        deliver(std::move(node), anchor);
    }

    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  const std::string& value) override {
        YamlNode node;
        node.kind = YamlNode::Kind::scalar;
        node.place = places_.of(mark);
        node.text = with_question_marks(value);
        node.plain = tag != "!" && tag != "tag:yaml.org,2002:str";
        if (node.plain) check_tag(tag, "", node.place);
        charge(node);
        deliver(std::move(node), anchor);
    }

    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                         YAML::EmitterStyle::value) override {
        check_tag(tag, "tag:yaml.org,2002:seq", places_.of(mark));
        open(YamlNode::Kind::list, places_.of(mark), anchor);
    }
    void OnSequenceEnd() override { close(); }

    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                    YAML::EmitterStyle::value) override {
        check_tag(tag, "tag:yaml.org,2002:map", places_.of(mark));
        open(YamlNode::Kind::map, places_.of(mark), anchor);
    }
    void OnMapEnd() override { close(); }

    void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
        const auto found = anchors_.find(anchor);
        if (found == anchors_.end()) stop(places_.of(mark), "this alias stands inside the value that it names");
        charge_tree(found->second, open_.size());
        YamlNode copy = found->second;
        copy.place = places_.of(mark);
        deliver(std::move(copy), 0);
    }

private:
    struct OpenNode {
        YamlNode node;
        YAML::anchor_t anchor = 0;
        // Maps: the key that waits for its value. Nothing kept: the pair was reported.
        bool has_key = false;
        bool key_is_good = false;
        YamlMember member;
        std::unordered_map<std::string, int> lines_of_keys;
    };

    [[noreturn]] void stop(SourcePlace place, std::string message) {
        problems_.error(place, std::move(message));
        throw StopParsing{};
    }

    void charge(const YamlNode& node) {
        if (++nodes_ > limits::crew_nodes_max) {
            stop(node.place, "the crew has more than " + std::to_string(limits::crew_nodes_max) +
                                 " values, each alias counted with all that it repeats");
        }
        bytes_ += node.text.size();
        if (bytes_ > expanded_bytes_max) {
            stop(node.place, "the crew's texts are longer than " + std::to_string(expanded_bytes_max) +
                                 " bytes together, each alias counted with all that it repeats");
        }
    }

    void check_depth(std::size_t depth, SourcePlace place) {
        if (depth <= limits::json_depth_max) return;
        stop(place, "values are nested more than " + std::to_string(limits::json_depth_max) + " levels deep");
    }

    void charge_tree(const YamlNode& node, std::size_t depth) {
        check_depth(depth, node.place);
        charge(node);
        for (const YamlNode& item : node.items) charge_tree(item, depth + 1);
        for (const YamlMember& member : node.members) {
            bytes_ += member.key.size();
            charge_tree(member.value, depth + 1);
        }
    }

    void check_tag(const std::string& tag, std::string_view allowed, SourcePlace place) {
        if (tag.empty() || tag == "?" || tag == "!" || tag == allowed) return;
        problems_.error(
            place, "the tag " + in_quotes(with_question_marks(tag)) + " has no meaning in a crew file; leave it out");
    }

    void open(YamlNode::Kind kind, SourcePlace place, YAML::anchor_t anchor) {
        check_depth(open_.size() + 1, place);
        OpenNode opened;
        opened.node.kind = kind;
        opened.node.place = place;
        opened.anchor = anchor;
        charge(opened.node);
        open_.push_back(std::move(opened));
    }

    void close() {
        YamlNode node = std::move(open_.back().node);
        const YAML::anchor_t anchor = open_.back().anchor;
        open_.pop_back();
        deliver(std::move(node), anchor);
    }

    void deliver(YamlNode node, YAML::anchor_t anchor) {
        if (anchor != 0) {
            charge_tree(node, open_.size());
            anchors_[anchor] = node;
        }
        if (open_.empty()) {
            root = std::move(node);
            return;
        }
        OpenNode& parent = open_.back();
        if (parent.node.is_list()) {
            parent.node.items.push_back(std::move(node));
        } else if (!parent.has_key) {
            take_key(parent, std::move(node));
        } else {
            take_value(parent, std::move(node));
        }
    }

    void take_key(OpenNode& map, YamlNode key) {
        map.has_key = true;
        map.key_is_good = key.is_scalar();
        if (!key.is_scalar()) {
            problems_.error(key.place, "a key must be a word, found " + describe(key));
            return;
        }
        const auto [first, is_new] = map.lines_of_keys.emplace(key.text, key.place.line);
        if (!is_new) {
            map.key_is_good = false;
            problems_.error(key.place, "the key " + in_quotes(key.text) + " is given twice; the first is on line " +
                                           std::to_string(first->second));
        }
        map.member.key = std::move(key.text);
        map.member.place = key.place;
    }

    void take_value(OpenNode& map, YamlNode value) {
        map.has_key = false;
        if (!map.key_is_good) return;
        // An absent value is marked where the next token stands, which may be lines away.
        if (value.is_null() && value.place.line != map.member.place.line) value.place = map.member.place;
        map.member.value = std::move(value);
        map.node.members.push_back(std::move(map.member));
        map.member = YamlMember();
    }

    Places& places_;
    CrewProblems& problems_;
    std::vector<OpenNode> open_;
    std::map<YAML::anchor_t, YamlNode> anchors_;
    std::size_t documents_ = 0;
    std::size_t nodes_ = 0;
    std::size_t bytes_ = 0;
};

}  // namespace

std::optional<std::size_t> first_bad_byte(std::string_view text) {
    std::size_t at = 0;
    while (at < text.size()) {
        const auto lead = static_cast<unsigned char>(text[at]);
        if (lead < 0x80) {
            if ((lead < 0x20 && lead != '\t' && lead != '\n' && lead != '\r') || lead == 0x7F) return at;
            ++at;
            continue;
        }
        const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
        if (lead < 0xC2 || lead > 0xF4 || at + length > text.size()) return at;
        std::uint32_t point = lead & (0x7FU >> length);
        for (std::size_t i = 1; i < length; ++i) {
            const auto byte = static_cast<unsigned char>(text[at + i]);
            if ((byte & 0xC0) != 0x80) return at;
            point = (point << 6) | (byte & 0x3FU);
        }
        const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
        if (overlong || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return at;
        at += length;
    }
    return std::nullopt;
}

std::optional<YamlNode> parse_yaml(std::string_view text, CrewProblems& problems) {
    if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
    Places places(text);
    if (const std::optional<std::size_t> bad = first_bad_byte(text)) {
        const auto byte = static_cast<unsigned char>(text[*bad]);
        problems.error(places.of_offset(*bad), byte < 0x80 ? "a control character cannot stand in a crew file"
                                                           : "the crew file is not UTF-8 from here on");
        return std::nullopt;
    }
    TreeBuilder builder(places, problems);
    try {
        std::istringstream stream(with_question_marks_hidden(text));
        YAML::Parser parser(stream);
        while (parser.HandleNextDocument(builder)) {
        }
    } catch (const StopParsing&) {
        return std::nullopt;
    } catch (const YAML::Exception& exception) {
        problems.error(places.of(exception.mark), "this is not YAML: " + with_question_marks(exception.msg));
        return std::nullopt;
    } catch (const std::exception& exception) {
        problems.error({}, "this is not YAML: " + std::string(exception.what()));
        return std::nullopt;
    }
    if (!builder.root.has_value()) problems.error({1, 1}, "the crew file is empty");
    return std::move(builder.root);
}

}  // namespace stele

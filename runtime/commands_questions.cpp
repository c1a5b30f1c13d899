// The commands that ask the log a question: why, impact, blame, diff.
#include <algorithm>
#include <iostream>
#include <map>
#include <set>

#include "runtime/commands.hpp"
#include "runtime/graph.hpp"
#include "runtime/open_board.hpp"
#include "runtime/pager.hpp"
#include "runtime/record_json.hpp"
#include "runtime/record_text.hpp"

namespace stele {
namespace {

constexpr std::size_t tree_nodes_max = 5'000;
constexpr std::size_t label_columns_max = 48;
constexpr std::size_t tree_indent = 3;

std::string number(std::uint64_t value) { return std::to_string(value); }

std::string name_of(const EntryVersion& version) { return to_text(version.id) + " v" + number(version.version); }

Value json_of(std::uint64_t value) { return static_cast<std::int64_t>(value); }

Value json_of(const EntryVersion& version) {
    return Value::object({{"id", valid_utf8(to_text(version.id))}, {"version", json_of(version.version)}});
}

// An entry as it was; null where it cannot be read any more.
EntryPtr entry_at(const OpenBoard& board, const EntryId& id, Position at) {
    const RegionState* region = board.entries->region(id.region);
    if (region == nullptr) return nullptr;
    const Result<std::optional<EntryState>> state = board.entries->at(region->number, id.number, at);
    if (!state.ok() || !state->has_value()) return nullptr;
    const Result<EntryPtr> entry = board.entries->load(region->number, **state);
    return entry.ok() ? *entry : nullptr;
}

bool is_retracted_now(const OpenBoard& board, const EntryId& id) {
    const EntryPtr entry = entry_at(board, id, board.last);
    return entry && !entry->active;
}

// ---- trees ------------------------------------------------------------------------------------

struct TreeNode {
    EntryVersion version;
    Position at;
    /// How it hangs on the node above: "cites", "woken by".
    std::string relation;
    std::size_t depth = 0;
    EntryPtr entry;
    std::optional<Derivation> derivation;  // why
    std::optional<Derived> derived;        // impact, but for its root
    std::vector<std::size_t> children;     // by index, in order
    /// Told elsewhere in the tree: its children stand there.
    std::optional<std::size_t> same_as;
    /// It has more below than was asked for.
    bool cut = false;
};

struct Tree {
    std::vector<TreeNode> nodes;
    bool cut = false;  // the bound on nodes was reached
};

/// Fills a node in, which is to be the tree's `index`th: where it was told already, or its children, in order. It need
/// not look for more than `children_max`.
using Expand =
    std::function<Result<std::vector<TreeNode>>(TreeNode& node, std::size_t index, std::size_t children_max)>;

// Grows breadth first, so that what is cut off is what is far away.
Result<Tree> grow(TreeNode root, std::size_t depth_max, const Expand& expand) {
    Tree tree;
    tree.nodes.push_back(std::move(root));
    for (std::size_t at = 0; at < tree.nodes.size(); ++at) {
        const bool is_deepest = tree.nodes[at].depth >= depth_max;
        const std::size_t one_too_many = tree_nodes_max - tree.nodes.size() + 1;
        Result<std::vector<TreeNode>> children = expand(tree.nodes[at], at, is_deepest ? 1 : one_too_many);
        if (!children.ok()) return children.error();
        if (is_deepest) {
            tree.nodes[at].cut = !children->empty();
            continue;
        }
        for (TreeNode& child : *children) {
            if (tree.nodes.size() >= tree_nodes_max) {
                tree.cut = true;
                break;
            }
            child.depth = tree.nodes[at].depth + 1;
            tree.nodes[at].children.push_back(tree.nodes.size());
            tree.nodes.push_back(std::move(child));
        }
    }
    return tree;
}

void print_tree(const Tree& tree,
                const std::function<void(const TreeNode&, const std::string& lead, const std::string& under)>& print) {
    struct Frame {
        std::size_t node;
        std::string lead;   // of its first line
        std::string under;  // of the lines below it
    };
    std::vector<Frame> stack = {{0, "", ""}};
    while (!stack.empty() && std::cout.good()) {
        const Frame frame = std::move(stack.back());
        stack.pop_back();
        const TreeNode& node = tree.nodes[frame.node];
        const bool has_children = !node.children.empty();
        print(node, frame.lead, frame.under + (has_children ? "│  " : "   "));
        for (std::size_t i = node.children.size(); i-- > 0;) {
            const bool last = i + 1 == node.children.size();
            stack.push_back(
                {node.children[i], frame.under + (last ? "└─ " : "├─ "), frame.under + (last ? "   " : "│  ")});
        }
    }
}

Graph graph_of(const Tree& tree, const std::string& title, bool downward) {
    Graph graph;
    graph.title = title;
    std::map<std::size_t, std::size_t> place;  // of a tree's node
    for (std::size_t i = 0; i < tree.nodes.size(); ++i) {
        const TreeNode& node = tree.nodes[i];
        if (node.same_as) continue;
        place[i] = graph.nodes.size();
        Graph::Node drawn;
        drawn.rank = node.depth;
        drawn.lines.push_back(name_of(node.version));
        if (node.entry) {
            drawn.lines.push_back(node.entry->author + ", record " + number(node.entry->position.number));
            drawn.lines.push_back(truncated(to_json(node.entry->content), label_columns_max));
        }
        graph.nodes.push_back(std::move(drawn));
    }
    for (std::size_t i = 0; i < tree.nodes.size(); ++i) {
        for (const std::size_t child : tree.nodes[i].children) {
            const TreeNode& node = tree.nodes[child];
            const std::size_t to = place[node.same_as.value_or(child)];
            graph.edges.push_back(downward ? Graph::Edge{place[i], to, node.relation}
                                           : Graph::Edge{to, place[i], node.relation});
        }
    }
    return graph;
}

// The lead, the relation, the entry: the content gives way first.
void print_node_head(const OpenBoard& board, const TreeNode& node, const std::string& lead, const TextOptions& text) {
    Line line(text.terminal.columns);
    line.add(lead, Style::dim);
    if (!node.relation.empty()) line.add(node.relation + " ", Style::dim);
    line.add(to_text(node.version.id), Style::bold).add(" v" + number(node.version.version));
    if (is_retracted_now(board, node.version.id)) line.add(" since retracted", Style::yellow);
    if (!node.entry) {
        std::cout << line.add("  not on the board at that version", Style::yellow).text(text.terminal.color) << "\n";
        return;
    }
    line.add("  ").add(node.entry->author, Style::cyan).add("  ");
    if (node.same_as) {
        line.add("(told elsewhere)", Style::dim);
    } else {
        line.add(content_text(node.entry->content));
    }
    std::cout << line.text(text.terminal.color) << "\n";
}

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
}

// ---- why --------------------------------------------------------------------------------------

std::string when_text(TimeMs time, const TextOptions& text) { return since_text(time.ms - text.start.ms); }

std::string story_text(const Derivation& derivation, const TextOptions& text) {
    const ActivationStory& story = derivation.story;
    std::string line =
        "record " + number(derivation.entry->position.number) + "  " + when_text(derivation.entry->time, text);
    if (!story.id) return line + "  from outside";
    line += "  #" + number(story.id.number);
    if (story.attempt > 1) line += ", attempt " + number(story.attempt);
    if (story.snapshot) line += ", read version " + number(story.snapshot.number);
    if (story.duration_ms > 0) line += ", " + duration_text(story.duration_ms);
    if (!story.models.empty()) line += ", " + joined(story.models);
    if (story.spent.tokens > 0) line += ", " + counted(story.spent.tokens, "token", "tokens");
    if (story.spent.money_micros > 0) line += ", " + money_text(story.spent.money_micros);
    if (story.estimated) line += " (estimated)";
    if (story.calls_reused > 0) line += ", " + counted(story.calls_reused, "answer", "answers") + " used again";
    if (!story.tools.empty()) line += ", called " + joined(story.tools);
    if (!story.seen.empty()) line += ", was shown " + counted(story.seen.size(), "entry", "entries");
    return line;
}

Value story_json(const ActivationStory& story) {
    Value value = Value::object({{"author", valid_utf8(story.author)}});
    if (!story.id) return value;
    value.set("activation", json_of(story.id.number));
    value.set("attempt", json_of(story.attempt));
    value.set("claimed", json_of(story.claimed.number));
    value.set("committed", json_of(story.committed.number));
    if (story.snapshot) value.set("snapshot", json_of(story.snapshot.number));
    value.set("duration_ms", story.duration_ms);
    value.set("rating", Value::number(story.rating));
    if (!story.rating_terms.empty()) {
        Result<Value> terms = parse_json(story.rating_terms);
        if (terms.ok()) value.set("rating_terms", std::move(*terms));
    }
    Value::Array bound;
    for (const EntryVersion& version : story.bound) bound.push_back(json_of(version));
    value.set("bound", std::move(bound));
    const auto set_names = [&](const char* field, const std::vector<std::string>& names) {
        if (names.empty()) return;
        Value::Array list;
        for (const std::string& name : names) list.push_back(valid_utf8(name));
        value.set(field, std::move(list));
    };
    set_names("models", story.models);
    set_names("tools", story.tools);
    if (story.spent != Amounts{}) {
        value.set("spent", Value::object({{"calls", json_of(story.spent.calls)},
                                          {"tokens", json_of(story.spent.tokens)},
                                          {"money_micros", story.spent.money_micros},
                                          {"wall_ms", story.spent.wall_ms}}));
    }
    if (story.estimated) value.set("estimated", true);
    if (story.calls_reused > 0) value.set("calls_reused", json_of(story.calls_reused));
    if (!story.seen.empty()) {
        Value::Array seen;
        for (const EntryId& id : story.seen) seen.push_back(valid_utf8(to_text(id)));
        value.set("seen", std::move(seen));
    }
    return value;
}

void print_why_json(const Tree& tree) {
    for (const TreeNode& node : tree.nodes) {
        if (node.same_as) continue;
        Value value = node.entry ? to_value(*node.entry) : json_of(node.version);
        value.set("depth", json_of(node.depth));
        if (node.derivation) {
            value.set("by", story_json(node.derivation->story));
            Value::Array supports;
            for (const Support& support : node.derivation->supports) {
                Value one = json_of(support.entry);
                one.set("kind", support.kind == SupportKind::cited ? "cited" : "bound");
                supports.push_back(std::move(one));
            }
            value.set("supports", std::move(supports));
        }
        std::cout << to_json_line(value) << "\n";
    }
}

ExitCode print_graph(const Tree& tree, const std::string& title, bool downward, const std::string& form) {
    const std::optional<GraphForm> known = graph_form_from(form);
    if (!known) {
        return complain({ErrorCode::invalid_argument, "--graph takes dot, mermaid or svg, not \"" + form + "\""});
    }
    std::cout << draw(graph_of(tree, title, downward), *known);
    return ExitCode::done;
}

void print_what_was_cut(const Tree& tree, std::size_t depth, const char* below) {
    const auto cut = static_cast<std::uint64_t>(
        std::count_if(tree.nodes.begin(), tree.nodes.end(), [](const TreeNode& node) { return node.cut; }));
    if (cut > 0) {
        std::cout << counted(cut, "entry has", "entries have") << " more " << below << ": --depth " << (depth * 2)
                  << " shows it\n";
    }
    if (tree.cut) std::cout << "cut at " << count_text(tree_nodes_max) << " entries\n";
}

std::size_t depth_of(const TreeOptions& options) { return options.depth == 0 ? SIZE_MAX : options.depth; }

// ---- impact -----------------------------------------------------------------------------------

/// What came of single versions of entries. All uses of an entry are read at once, for they stand together.
class Uses {
public:
    Uses(const OpenBoard& board, const Provenance& provenance) : board_(board), provenance_(provenance) {}

    /// The version came to be at `at`.
    Status for_each(const EntryVersion& version, Position at, const std::function<bool(const Derived&)>& visit) {
        const auto [found, first] = known_.try_emplace(version.id);
        Known& known = found->second;
        if (first || at < known.since) {
            known = {at, {}};
            std::size_t count = 0;
            const Status walked = provenance_.for_each_derived(version.id, at, [&](const Derived& derived) {
                const EntryPtr used = entry_at(board_, version.id, derived.read);
                if (used) known.by_version[used->version].push_back(derived);
                return ++count < uses_max;
            });
            if (!walked.ok()) return walked;
            cut_ = cut_ || count == uses_max;
        }
        for (const Derived& derived : known.by_version[version.version]) {
            if (!visit(derived)) break;
        }
        return Done{};
    }
    /// Not all uses of some entry were looked at.
    [[nodiscard]] bool is_cut() const { return cut_; }

    static constexpr std::size_t uses_max = 5'000;

private:
    struct Known {
        Position since;
        std::map<std::uint32_t, std::vector<Derived>> by_version;
    };

    const OpenBoard& board_;
    const Provenance& provenance_;
    std::map<EntryId, Known> known_;
    bool cut_ = false;
};

void print_impact_json(const OpenBoard& board, const Tree& tree, const std::vector<Woken>& idle) {
    for (const TreeNode& node : tree.nodes) {
        Value value = node.entry ? to_value(*node.entry) : json_of(node.version);
        value.set("depth", json_of(node.depth));
        if (!node.relation.empty()) value.set("kind", node.derived->kind == SupportKind::cited ? "cited" : "bound");
        if (is_retracted_now(board, node.version.id)) value.set("retracted", true);
        if (node.same_as) value.set("told", true);
        Value::Array supports;
        for (const std::size_t child : node.children) supports.push_back(json_of(tree.nodes[child].version));
        value.set("supported", std::move(supports));
        std::cout << to_json_line(value) << "\n";
    }
    for (const Woken& woken : idle) {
        std::cout << to_json_line(Value::object(
                         {{"woken", json_of(woken.id.number)}, {"author", valid_utf8(woken.author)}, {"wrote", false}}))
                  << "\n";
    }
}

}  // namespace

ExitCode command_why(const TreeOptions& options) {
    const Result<OpenBoard> board = open_board(options.common);
    if (!board.ok()) return complain(board.error());
    const Result<EntryId> id = parse_entry_id(options.entry);
    if (!id.ok()) return complain(id.error());
    const Result<Position> at = version_or_newest(*board, options.at);
    if (!at.ok()) return complain(at.error());
    const Provenance provenance = board->provenance();
    TreeNode root;
    root.version.id = *id;
    root.at = *at;
    bool is_root = true;
    std::map<EntryVersion, std::size_t> told;
    const Result<Tree> tree =
        grow(std::move(root), depth_of(options),
             [&](TreeNode& node, std::size_t index, std::size_t) -> Result<std::vector<TreeNode>> {
                 std::vector<TreeNode> children;
                 Result<Derivation> derivation = provenance.derivation(node.version.id, node.at);
                 if (!derivation.ok()) {
                     if (is_root || derivation.error().code != ErrorCode::not_found) return derivation.error();
                     return children;
                 }
                 is_root = false;
                 node.entry = derivation->entry;
                 node.version.version = derivation->entry->version;
                 const auto [known, first] = told.try_emplace(node.version, index);
                 node.derivation = std::move(*derivation);
                 if (!first) {
                     node.same_as = known->second;
                     return children;
                 }
                 for (const Support& support : node.derivation->supports) {
                     TreeNode child;
                     child.version = support.entry;
                     child.at = support.at;
                     child.relation = to_text(support.kind);
                     children.push_back(std::move(child));
                 }
                 return children;
             });
    if (!tree.ok()) {
        if (tree.error().code != ErrorCode::not_found) return complain(tree.error());
        return complain({ErrorCode::not_found, "there is no entry " + options.entry + " on board \"" +
                                                   board->info.address.board + "\" at version " + number(at->number)});
    }
    if (!options.graph.empty()) return print_graph(*tree, "why " + options.entry, false, options.graph);
    if (options.common.json) {
        print_why_json(*tree);
        return ExitCode::done;
    }
    const TextOptions text = text_options(options.common, *board);
    const Pager pager(options.common.pager);
    print_tree(*tree, [&](const TreeNode& node, const std::string& lead, const std::string& under) {
        print_node_head(*board, node, lead, text);
        if (node.same_as || !node.derivation) return;
        Line line(text.terminal.columns);
        line.add(under, Style::dim).add(story_text(*node.derivation, text), Style::dim);
        if (!node.entry->reason.empty()) line.add("  \"" + node.entry->reason + "\"", Style::dim);
        std::cout << line.text(text.terminal.color) << "\n";
    });
    print_what_was_cut(*tree, options.depth, "below it");
    return ExitCode::done;
}

ExitCode command_impact(const TreeOptions& options) {
    const Result<OpenBoard> board = open_board(options.common);
    if (!board.ok()) return complain(board.error());
    const Result<EntryId> id = parse_entry_id(options.entry);
    if (!id.ok()) return complain(id.error());
    const EntryPtr entry = entry_at(*board, *id, board->last);
    if (!entry) {
        return complain({ErrorCode::not_found,
                         "there is no entry " + options.entry + " on board \"" + board->info.address.board + "\""});
    }
    const Provenance provenance = board->provenance();
    TreeNode root;
    root.version = {*id, entry->version};
    root.entry = entry;
    // Of the root whatever came of any version; below it, of the version that is in the tree.
    Uses uses(*board, provenance);
    std::map<EntryVersion, std::size_t> told;
    const Result<Tree> tree =
        grow(std::move(root), depth_of(options),
             [&](TreeNode& node, std::size_t index, std::size_t children_max) -> Result<std::vector<TreeNode>> {
                 std::vector<TreeNode> children;
                 const auto hang = [&](const Derived& derived) {
                     TreeNode child;
                     child.version = derived.entry;
                     child.at = derived.position;
                     child.relation = derived.kind == SupportKind::cited ? "cited by" : "woke";
                     child.entry = entry_at(*board, derived.entry.id, derived.position);
                     child.derived = derived;
                     children.push_back(std::move(child));
                     return children.size() < children_max;
                 };
                 if (node.relation.empty()) {
                     const Status walked = provenance.for_each_derived(node.version.id, {}, hang);
                     if (!walked.ok()) return walked.error();
                     return children;
                 }
                 const auto [known, first] = told.try_emplace(node.version, index);
                 if (!first) {
                     node.same_as = known->second;
                     return children;
                 }
                 const Status walked = uses.for_each(node.version, node.at, hang);
                 if (!walked.ok()) return walked.error();
                 return children;
             });
    if (!tree.ok()) return complain(tree.error());
    if (!options.graph.empty()) return print_graph(*tree, "impact of " + options.entry, true, options.graph);
    std::vector<Woken> idle;
    std::size_t woken_count = 0;
    const Status woken = provenance.for_each_woken(*id, [&](const Woken& one) {
        if (!one.committed) idle.push_back(one);
        return ++woken_count < tree_nodes_max;
    });
    if (!woken.ok()) return complain(woken.error());
    if (options.common.json) {
        print_impact_json(*board, *tree, idle);
        return ExitCode::done;
    }
    const TextOptions text = text_options(options.common, *board);
    const Pager pager(options.common.pager);
    print_tree(*tree, [&](const TreeNode& node, const std::string& lead, const std::string&) {
        print_node_head(*board, node, lead, text);
    });
    std::set<EntryId> entries;
    std::set<std::string> authors;
    for (const TreeNode& node : tree->nodes) {
        if (node.relation.empty()) continue;
        entries.insert(node.version.id);
        if (node.entry) authors.insert(node.entry->author);
    }
    Line line(text.terminal.columns);
    line.add(entries.empty()
                 ? "nothing came of it"
                 : counted(entries.size(), "entry", "entries") + " by " + counted(authors.size(), "author", "authors"));
    if (!idle.empty()) {
        line.add("; it woke " + counted(idle.size(), "activation", "activations") + " that wrote nothing");
        if (woken_count == tree_nodes_max) line.add(", of the first " + count_text(woken_count));
    }
    std::cout << line.text(text.terminal.color) << "\n";
    print_what_was_cut(*tree, options.depth, "that came of it");
    if (uses.is_cut())
        std::cout << "of entries that are used more than " << count_text(Uses::uses_max)
                  << " times, not all was followed\n";
    return ExitCode::done;
}

// ---- blame ------------------------------------------------------------------------------------

namespace {

// How a later write came by the text: from an earlier write that it cites or was woken by.
std::vector<EntryId> sources_of(const TextHit& hit, const std::set<EntryId>& carriers) {
    std::vector<EntryId> from;
    for (const Support& support : hit.supports) {
        if (carriers.count(support.entry.id) > 0) from.push_back(support.entry.id);
    }
    return from;
}

std::string joined_ids(const std::vector<EntryId>& ids) {
    std::string text;
    for (const EntryId& id : ids) text += (text.empty() ? "" : " ") + to_text(id);
    return text;
}

Value hit_json(const TextHit& hit, const std::vector<EntryId>& from, bool first) {
    Value value = Value::object({{"position", json_of(hit.position.number)},
                                 {"time", hit.time.ms},
                                 {"author", valid_utf8(hit.author)},
                                 {"write", json_of(hit.line + 1)},
                                 {"path", valid_utf8(hit.path)},
                                 {"first", first},
                                 {"content", hit.content}});
    if (hit.activation) value.set("activation", json_of(hit.activation.number));
    if (hit.entry.id.number != 0) {
        value.set("id", valid_utf8(to_text(hit.entry.id)));
        value.set("version", json_of(hit.entry.version));
    }
    if (hit.refused) value.set("refused", true);
    if (!hit.why.empty()) value.set("why", valid_utf8(hit.why));
    Value::Array list;
    for (const EntryId& id : from) list.push_back(valid_utf8(to_text(id)));
    value.set("from", std::move(list));
    return value;
}

void print_hit(const OpenBoard& board, const TextHit& hit, const std::vector<EntryId>& from, bool first,
               const TextOptions& text) {
    Line line(text.terminal.columns);
    line.add(first ? "first  " : "then   ", first ? Style::green : Style::dim);
    line.add("record " + number(hit.position.number)).add("  " + when_text(hit.time, text) + "  ", Style::dim);
    line.add(hit.author, Style::cyan).add("  ");
    if (hit.entry.id.number != 0) {
        line.add(to_text(hit.entry.id), Style::bold).add(" v" + number(hit.entry.version));
        if (is_retracted_now(board, hit.entry.id)) line.add(" since retracted", Style::yellow);
    } else {
        line.add(hit.refused ? "refused" : "changed nothing", Style::yellow);
    }
    line.add("  " + hit.path, Style::dim);
    if (!first && !hit.refused) {
        if (from.empty()) {
            line.add("  on its own: neither cites nor was woken by any of the above", Style::yellow);
        } else {
            line.add("  from ").add(joined_ids(from), Style::bold);
        }
    }
    std::cout << line.text(text.terminal.color) << "\n";
    Line content(text.terminal.columns);
    content.add("       ").add(hit.path == "why" ? "\"" + hit.why + "\"" : to_json_line(hit.content), Style::dim);
    std::cout << content.text(text.terminal.color) << "\n";
}

}  // namespace

ExitCode command_blame(const BlameOptions& options) {
    const Result<TextQuery> query = TextQuery::parse(options.text);
    if (!query.ok()) return complain(query.error());
    const Result<OpenBoard> board = open_board(options.common);
    if (!board.ok()) return complain(board.error());
    const TextOptions text = text_options(options.common, *board);
    const Pager pager(options.common.pager && !options.common.json);
    std::set<EntryId> carriers;
    std::size_t shown = 0;
    bool more = false;
    const Status walked = board->provenance().for_each_hit(*query, {1}, [&](const TextHit& hit) {
        if (options.limit != 0 && shown == options.limit) return more = true, false;
        const std::vector<EntryId> from = sources_of(hit, carriers);
        const bool first = shown++ == 0;
        if (options.common.json) {
            std::cout << to_json_line(hit_json(hit, from, first)) << "\n";
        } else {
            print_hit(*board, hit, from, first, text);
        }
        if (hit.entry.id.number != 0) carriers.insert(hit.entry.id);
        return std::cout.good();
    });
    if (!walked.ok()) return complain(walked.error());
    if (shown == 0) {
        return complain({ErrorCode::not_found, "\"" + printable(options.text) + "\" appears in no write of board \"" +
                                                   board->info.address.board + "\""});
    }
    if (more && !options.common.json) std::cout << "there are more: --limit 0 shows all\n";
    return ExitCode::done;
}

// ---- diff -------------------------------------------------------------------------------------

namespace {

// "confidence 0.4 -> 0.7, note gone", by fields where both are objects.
std::string changes_text(const Value& before, const Value& after) {
    if (!before.is_object() || !after.is_object()) return to_json_line(before) + " -> " + to_json_line(after);
    std::string text;
    const auto add = [&](const std::string& change) { text += (text.empty() ? "" : ", ") + change; };
    for (const auto& [name, value] : before.as_object()) {
        const Value* now = after.find(name);
        if (now == nullptr) {
            add(name + " gone");
        } else if (*now != value) {
            add(name + " " + to_json_line(value) + " -> " + to_json_line(*now));
        }
    }
    for (const auto& [name, value] : after.as_object()) {
        if (before.find(name) == nullptr) add(name + " " + to_json_line(value) + " is new");
    }
    return text.empty() ? "the same content" : text;
}

void print_difference(const EntryPtr& before, const EntryPtr& after, const TextOptions& text) {
    Line line(text.terminal.columns);
    if (before && after) {
        line.add("~ ", Style::yellow).add(to_text(after->id), Style::bold);
        line.add(" v" + number(before->version) + " -> v" + number(after->version) + "  ")
            .add(after->author, Style::cyan);
        line.add("  ").add(changes_text(before->content, after->content));
    } else {
        const Entry& entry = after ? *after : *before;
        line.add(after ? "+ " : "- ", after ? Style::green : Style::red).add(to_text(entry.id), Style::bold);
        line.add(" v" + number(entry.version) + "  ").add(entry.author, Style::cyan);
        line.add("  ").add(content_text(entry.content));
    }
    std::cout << line.text(text.terminal.color) << "\n";
}

void print_difference_json(const EntryPtr& before, const EntryPtr& after) {
    const Entry& entry = after ? *after : *before;
    Value value = Value::object({{"id", valid_utf8(to_text(entry.id))},
                                 {"change", before && after ? "updated"
                                            : after         ? "added"
                                                            : "removed"}});
    if (before) value.set("before", to_value(*before));
    if (after) value.set("after", to_value(*after));
    std::cout << to_json_line(value) << "\n";
}

}  // namespace

ExitCode command_diff(const DiffOptions& options) {
    const Result<OpenBoard> board = open_board(options.common);
    if (!board.ok()) return complain(board.error());
    const Result<Position> from = version_or_newest(*board, options.from);
    if (!from.ok()) return complain(from.error());
    const Result<Position> to = version_or_newest(*board, options.to);
    if (!to.ok()) return complain(to.error());
    if (options.from == 0 || *from > *to) {
        return complain({ErrorCode::invalid_argument, "diff takes two versions, the older one first"});
    }
    IndexQuery query = {{{RecordTermKind::record, "commit"}}};
    if (!options.region.empty()) query = {{{RecordTermKind::region, options.region}}};
    std::set<EntryId> touched;
    const Status walked =
        board->provenance().index().find(query, {from->number + 1}, *to, false, [&](const LoggedRecord& logged) {
            for (std::size_t line = 0; line < logged.record.writes.size(); ++line) {
                EntryId id = written_entry(logged, line);
                if (id.number == 0 || (!options.region.empty() && id.region != options.region)) continue;
                touched.insert(std::move(id));
            }
            return true;
        });
    if (!walked.ok()) return complain(walked.error());
    const TextOptions text = text_options(options.common, *board);
    const Pager pager(options.common.pager && !options.common.json);
    std::uint64_t counts[3] = {};  // added, updated, removed
    for (const EntryId& id : touched) {
        EntryPtr before = entry_at(*board, id, *from);
        EntryPtr after = entry_at(*board, id, *to);
        if (before && !before->active) before = nullptr;
        if (after && !after->active) after = nullptr;
        if ((!before && !after) || (before && after && before->version == after->version)) continue;
        ++counts[before ? (after ? 1 : 2) : 0];
        if (options.common.json) {
            print_difference_json(before, after);
        } else {
            print_difference(before, after, text);
        }
        if (!std::cout.good()) return ExitCode::done;
    }
    if (!options.common.json) {
        std::cout << count_text(counts[0]) << " added, " << count_text(counts[1]) << " changed, "
                  << count_text(counts[2]) << " gone\n";
    }
    return ExitCode::done;
}

}  // namespace stele

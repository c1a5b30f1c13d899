// A small directed graph drawn as text that other tools read: Graphviz dot, Mermaid, or an SVG that
// stands alone. Labels come from sources and are escaped for each form. Pure; any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stele {

struct Graph {
    struct Node {
        /// Lines of its label.
        std::vector<std::string> lines;
        /// Row it is drawn in, from the top.
        std::size_t rank = 0;
    };
    /// By index into `nodes`.
    struct Edge {
        std::size_t from = 0;
        std::size_t to = 0;
        std::string label;
    };
    std::string title;
    std::vector<Node> nodes;
    std::vector<Edge> edges;
};

enum class GraphForm { dot, mermaid, svg };
std::optional<GraphForm> graph_form_from(std::string_view text);
/// Ends with a line break.
std::string draw(const Graph& graph, GraphForm form);

}  // namespace stele

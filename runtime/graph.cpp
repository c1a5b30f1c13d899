#include "runtime/graph.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include "runtime/terminal.hpp"

namespace stele {
namespace {

// Of the SVG, in pixels. The width of a column is an estimate for a monospaced font.
constexpr int column_width = 7;
constexpr int line_height = 15;
constexpr int padding = 8;
constexpr int gap_across = 24;
constexpr int gap_down = 56;
constexpr int margin = 16;
constexpr int title_height = 24;

std::string dot_text(std::string_view text) {
    std::string out;
    for (const char c : printable(text)) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out;
}

std::string dot(const Graph& graph) {
    std::string out = "digraph \"" + dot_text(graph.title) + "\" {\n  node [shape=box, fontname=\"monospace\"];\n";
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
        out += "  n" + std::to_string(i) + " [label=\"";
        for (const std::string& line : graph.nodes[i].lines) out += dot_text(line) + "\\l";
        out += "\"];\n";
    }
    for (const Graph::Edge& edge : graph.edges) {
        out += "  n" + std::to_string(edge.from) + " -> n" + std::to_string(edge.to);
        if (!edge.label.empty()) out += " [label=\"" + dot_text(edge.label) + "\"]";
        out += ";\n";
    }
    return out + "}\n";
}

std::string xml_text(std::string_view text) {
    std::string out;
    for (const char c : printable(text)) {
        switch (c) {
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '&':
                out += "&amp;";
                break;
            case '"':
                out += "&quot;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

// Mermaid knows numbered character entities, and nearly every other sign means something to it.
std::string mermaid_text(std::string_view text) {
    std::string out;
    for (const char c : printable(text)) {
        const bool plain = static_cast<unsigned char>(c) >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                           (c >= 'A' && c <= 'Z') || c == ' ' || c == '/' || c == '_' || c == '.' || c == ',' ||
                           c == '-' || c == '%';
        out += plain ? std::string(1, c) : "#" + std::to_string(static_cast<int>(c)) + ";";
    }
    return out;
}

std::string mermaid(const Graph& graph) {
    std::string out = "flowchart TD\n";
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
        out += "  n" + std::to_string(i) + "[\"";
        for (std::size_t line = 0; line < graph.nodes[i].lines.size(); ++line) {
            out += (line == 0 ? "" : "<br/>") + mermaid_text(graph.nodes[i].lines[line]);
        }
        out += "\"]\n";
    }
    for (const Graph::Edge& edge : graph.edges) {
        out += "  n" + std::to_string(edge.from) + " -->";
        if (!edge.label.empty()) out += "|\"" + mermaid_text(edge.label) + "\"|";
        out += " n" + std::to_string(edge.to) + "\n";
    }
    return out;
}

struct Box {
    int x = 0;
    int y = 0;
    int width = 0;
    int height = 0;
};

int text_width(std::string_view text) { return static_cast<int>(display_columns(text)) * column_width; }

// Rows by rank. Within a row by the mean place of the neighbours in the row above, which keeps most
// edges from crossing (Sugiyama, Tagawa and Toda, 1981: one sweep of their ordering).
std::vector<Box> layout(const Graph& graph, int& width, int& height) {
    std::map<std::size_t, std::vector<std::size_t>> rows;
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) rows[graph.nodes[i].rank].push_back(i);
    std::vector<Box> boxes(graph.nodes.size());
    int y = margin + title_height;
    width = margin + text_width(graph.title);
    for (auto& [rank, row] : rows) {
        std::vector<double> wish(graph.nodes.size(), 0);
        for (const std::size_t node : row) {
            double sum = 0;
            int count = 0;
            for (const Graph::Edge& edge : graph.edges) {
                const std::size_t other = edge.from == node ? edge.to : edge.to == node ? edge.from : node;
                if (other == node || graph.nodes[other].rank >= rank) continue;
                sum += boxes[other].x + boxes[other].width / 2.0;
                ++count;
            }
            wish[node] = count == 0 ? 0 : sum / count;
        }
        std::stable_sort(row.begin(), row.end(), [&](std::size_t a, std::size_t b) { return wish[a] < wish[b]; });
        int x = margin;
        int tallest = 0;
        for (const std::size_t node : row) {
            Box& box = boxes[node];
            for (const std::string& line : graph.nodes[node].lines) {
                box.width = std::max(box.width, text_width(line) + 2 * padding);
            }
            box.height = static_cast<int>(graph.nodes[node].lines.size()) * line_height + 2 * padding;
            box.x = x;
            box.y = y;
            x += box.width + gap_across;
            tallest = std::max(tallest, box.height);
        }
        width = std::max(width, x);
        y += tallest + gap_down;
    }
    width += margin;
    height = y - gap_down + margin;
    return boxes;
}

std::string attribute(const char* name, int value) {
    return std::string(" ") + name + "=\"" + std::to_string(value) + "\"";
}

std::string svg(const Graph& graph) {
    int width = 0;
    int height = 0;
    const std::vector<Box> boxes = layout(graph, width, height);
    std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"" +
                      attribute("width", width) + attribute("height", height) +
                      " font-family=\"monospace\" font-size=\"11\">\n"
                      "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"7\" "
                      "markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#666\"/></marker></defs>\n"
                      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text" +
                      attribute("x", margin) + attribute("y", margin + 8) + " font-weight=\"bold\">" +
                      xml_text(graph.title) + "</text>\n";
    for (const Graph::Edge& edge : graph.edges) {
        const bool downward = boxes[edge.from].y <= boxes[edge.to].y;
        const Box& from = boxes[edge.from];
        const Box& to = boxes[edge.to];
        const int x1 = from.x + from.width / 2;
        const int y1 = downward ? from.y + from.height : from.y;
        const int x2 = to.x + to.width / 2;
        const int y2 = downward ? to.y : to.y + to.height;
        out += "<line" + attribute("x1", x1) + attribute("y1", y1) + attribute("x2", x2) + attribute("y2", y2) +
               " stroke=\"#666\" marker-end=\"url(#tip)\"/>\n";
        if (!edge.label.empty()) {
            out += "<text" + attribute("x", (x1 + x2) / 2 + 4) + attribute("y", (y1 + y2) / 2) + " fill=\"#666\">" +
                   xml_text(edge.label) + "</text>\n";
        }
    }
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
        const Box& box = boxes[i];
        out += "<rect" + attribute("x", box.x) + attribute("y", box.y) + attribute("width", box.width) +
               attribute("height", box.height) + " rx=\"4\" fill=\"#f6f6f2\" stroke=\"#333\"/>\n";
        for (std::size_t line = 0; line < graph.nodes[i].lines.size(); ++line) {
            out += "<text" + attribute("x", box.x + padding) +
                   attribute("y", box.y + padding + static_cast<int>(line + 1) * line_height - 4) +
                   (line == 0 ? " font-weight=\"bold\"" : "") + ">" + xml_text(graph.nodes[i].lines[line]) +
                   "</text>\n";
        }
    }
    return out + "</svg>\n";
}

}  // namespace

std::optional<GraphForm> graph_form_from(std::string_view text) {
    if (text == "dot") return GraphForm::dot;
    if (text == "mermaid") return GraphForm::mermaid;
    if (text == "svg") return GraphForm::svg;
    return std::nullopt;
}

std::string draw(const Graph& graph, GraphForm form) {
    switch (form) {
        case GraphForm::dot:
            return dot(graph);
        case GraphForm::mermaid:
            return mermaid(graph);
        case GraphForm::svg:
            return svg(graph);
    }
    return {};
}

}  // namespace stele

#include "runtime/graph.hpp"

#include <doctest/doctest.h>

using namespace stele;

namespace {

Graph hostile() {
    Graph graph;
    graph.title = "why \"a\" <b> & c\\";
    graph.nodes.push_back({{"conclusions/1 v1", "x\" onload=\"</text><script>", "line\nbreak \x1b[2J"}, 0});
    graph.nodes.push_back({{"evidence/1 v1", "];} end \\"}, 1});
    graph.nodes.push_back({{"evidence/2 v1", "| subgraph ]"}, 1});
    graph.edges = {{1, 0, "cites"}, {2, 0, "\"woken\" by"}};
    return graph;
}

std::size_t count_of(const std::string& text, const std::string& part) {
    std::size_t count = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
    return count;
}

}  // namespace

TEST_CASE("a graph names its forms, and no other") {
    CHECK(graph_form_from("dot") == GraphForm::dot);
    CHECK(graph_form_from("mermaid") == GraphForm::mermaid);
    CHECK(graph_form_from("svg") == GraphForm::svg);
    CHECK_FALSE(graph_form_from("png"));
}

TEST_CASE("what sources wrote stays a label in each form") {
    const std::string dot = draw(hostile(), GraphForm::dot);
    CHECK(count_of(dot, "label=") == 5);
    CHECK(dot.find("x\\\" onload") != std::string::npos);
    CHECK(dot.find('\x1b') == std::string::npos);
    CHECK(count_of(dot, "\n") == 8);
    const std::string mermaid = draw(hostile(), GraphForm::mermaid);
    CHECK(count_of(mermaid, "\n") == 6);
    CHECK(mermaid.find("<script") == std::string::npos);
    CHECK(count_of(mermaid, "\"") == 10);
    const std::string svg = draw(hostile(), GraphForm::svg);
    CHECK(svg.find("<script") == std::string::npos);
    CHECK(svg.find("&lt;script&gt;") != std::string::npos);
    CHECK(count_of(svg, "<rect") == 4);
    CHECK(count_of(svg, "<line") == 2);
    CHECK(svg.find('\x1b') == std::string::npos);
}

TEST_CASE("boxes of one rank stand side by side, ranks below each other") {
    Graph graph;
    for (std::size_t rank = 0; rank < 3; ++rank) {
        for (int i = 0; i < 3; ++i) graph.nodes.push_back({{"node"}, rank});
    }
    const std::string svg = draw(graph, GraphForm::svg);
    CHECK(count_of(svg, "x=\"16\"") >= 3);
    CHECK(count_of(svg, "y=\"40\"") == 3);
    CHECK(draw(Graph{}, GraphForm::svg).find("</svg>") != std::string::npos);
}

// The sheet that `stele check` prints: headings, labelled lines broken between words at 100 columns,
// and the words for amounts that it shares. Used by runtime/crew_check*.cpp; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/crew_spec.hpp"

namespace stele {

class Sheet {
public:
    void heading(std::string_view text);
    void paragraph(std::string_view text);
    /// `text` under `label`, continued under its own beginning.
    void line(std::string label, std::string_view text);
    std::string take() { return std::move(out_); }

private:
    void wrap(std::string_view label, std::string_view text, std::size_t indent);
    void finish(const std::string& text);

    std::string out_;
};

namespace sheet {

/// The parts with `between` between them; `otherwise` when there is none.
std::string joined(const std::vector<std::string>& parts, std::string_view between, std::string_view otherwise);
std::string counted(std::uint64_t number, std::string_view one, std::string_view many);
std::string duration(std::int64_t ms);
std::string size(std::uint64_t bytes);
/// Millionths as a decimal number without needless zeros.
std::string money(std::int64_t micros);
/// "50000 tokens", "0.25 of money", "10 calls"; nothing for what has no cap.
std::vector<std::string> caps(const CallCaps& caps);

}  // namespace sheet

// --- crew_check_calls.cpp --------------------------------------------------------------------

/// Models, MCP servers, tools and where late answers come in.
void describe_outside(Sheet& sheet, const CrewSpec& crew);
/// What a source that calls something outside calls and is told.
void describe_calls(Sheet& sheet, const CrewSpec& crew, const SourceSpec& source);
/// What happens when a budget of the crew is spent.
void describe_budget(Sheet& sheet, const CrewSpec& crew);

}  // namespace stele

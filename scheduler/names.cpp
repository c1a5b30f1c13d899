#include "scheduler/condition.hpp"
#include "scheduler/crew_spec.hpp"

#include <algorithm>
#include <array>

namespace stele {

const char* to_text(CompareOp op) {
    switch (op) {
        case CompareOp::eq:
            return "eq";
        case CompareOp::ne:
            return "ne";
        case CompareOp::lt:
            return "lt";
        case CompareOp::lte:
            return "lte";
        case CompareOp::gt:
            return "gt";
        case CompareOp::gte:
            return "gte";
        case CompareOp::in:
            return "in";
        case CompareOp::has:
            return "has";
        case CompareOp::matches:
            return "matches";
        case CompareOp::exists:
            return "exists";
    }
    return "unknown";
}

std::optional<CompareOp> compare_op_from(std::string_view text) {
    constexpr std::array all = {CompareOp::eq,  CompareOp::ne, CompareOp::lt,  CompareOp::lte,     CompareOp::gt,
                                CompareOp::gte, CompareOp::in, CompareOp::has, CompareOp::matches, CompareOp::exists};
    for (const CompareOp op : all) {
        if (text == to_text(op)) return op;
    }
    return std::nullopt;
}

const char* to_text(TermKind kind) {
    switch (kind) {
        case TermKind::each:
            return "each";
        case TermKind::changed:
            return "changed";
        case TermKind::none:
            return "none";
        case TermKind::exists:
            return "exists";
        case TermKind::count:
            return "count";
        case TermKind::sum:
            return "sum";
        case TermKind::min:
            return "min";
        case TermKind::max:
            return "max";
        case TermKind::avg:
            return "avg";
        case TermKind::quiet:
            return "quiet";
        case TermKind::start:
            return "start";
        case TermKind::idle:
            return "idle";
        case TermKind::impasse:
            return "impasse";
        case TermKind::after:
            return "after";
        case TermKind::every:
            return "every";
        case TermKind::any:
            return "any";
        case TermKind::negation:
            return "not";
    }
    return "unknown";
}

const char* to_text(SourceKind kind) {
    switch (kind) {
        case SourceKind::process:
            return "process";
        case SourceKind::rule:
            return "rule";
        case SourceKind::native:
            return "native";
        case SourceKind::llm:
            return "llm";
        case SourceKind::http:
            return "http";
        case SourceKind::mcp:
            return "mcp";
    }
    return "unknown";
}

const char* to_text(WakeMode mode) {
    switch (mode) {
        case WakeMode::each:
            return "each";
        case WakeMode::once:
            return "once";
        case WakeMode::batch:
            return "batch";
    }
    return "unknown";
}

const char* to_text(OnRetract on_retract) {
    switch (on_retract) {
        case OnRetract::none:
            return "none";
        case OnRetract::flag:
            return "flag";
        case OnRetract::rerun:
            return "rerun";
        case OnRetract::cascade:
            return "cascade";
    }
    return "unknown";
}

const char* to_text(OnCycle on_cycle) {
    switch (on_cycle) {
        case OnCycle::stop:
            return "stop";
        case OnCycle::pause:
            return "pause";
        case OnCycle::damp:
            return "damp";
        case OnCycle::wake:
            return "wake";
    }
    return "unknown";
}

const char* to_text(Strategy strategy) {
    switch (strategy) {
        case Strategy::priority:
            return "priority";
        case Strategy::fifo:
            return "fifo";
        case Strategy::lifo:
            return "lifo";
        case Strategy::fair:
            return "fair";
        case Strategy::depth:
            return "depth";
        case Strategy::breadth:
            return "breadth";
        case Strategy::score:
            return "score";
    }
    return "unknown";
}

std::optional<Strategy> strategy_from(std::string_view word) {
    for (const Strategy strategy : {Strategy::priority, Strategy::fifo, Strategy::lifo, Strategy::fair, Strategy::depth,
                                    Strategy::breadth, Strategy::score}) {
        if (word == to_text(strategy)) return strategy;
    }
    return std::nullopt;
}

const char* to_text(Durability durability) {
    switch (durability) {
        case Durability::sync:
            return "sync";
        case Durability::async:
            return "async";
        case Durability::memory:
            return "memory";
    }
    return "unknown";
}

bool Grants::may_read(std::string_view region) const {
    return std::find(read.begin(), read.end(), region) != read.end();
}

bool Grants::may_write(std::string_view region, WriteOp op) const {
    for (const auto& [granted, ops] : write) {
        if (granted == region && std::find(ops.begin(), ops.end(), op) != ops.end()) return true;
    }
    return false;
}

const RegionSpec* CrewSpec::region(std::string_view name) const {
    for (const RegionSpec& region : regions) {
        if (region.name == name) return &region;
    }
    return nullptr;
}

const SourceSpec* CrewSpec::source(std::string_view name) const {
    const std::optional<std::uint32_t> index = source_index(name);
    return index ? &sources[*index] : nullptr;
}

std::optional<std::uint32_t> CrewSpec::source_index(std::string_view name) const {
    for (std::size_t i = 0; i < sources.size(); ++i) {
        if (sources[i].name == name) return static_cast<std::uint32_t>(i);
    }
    return std::nullopt;
}

const char* to_text(ModelApi api) {
    switch (api) {
        case ModelApi::openai_chat:
            return "chat";
        case ModelApi::openai_responses:
            return "responses";
        case ModelApi::anthropic_messages:
            return "messages";
        case ModelApi::ollama_chat:
            return "ollama";
    }
    return "unknown";
}

const char* to_text(StructuredOutput structured) {
    switch (structured) {
        case StructuredOutput::schema:
            return "schema";
        case StructuredOutput::json:
            return "json";
        case StructuredOutput::prompt:
            return "prompt";
    }
    return "unknown";
}

}  // namespace stele

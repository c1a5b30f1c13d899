// A crew as the scheduler sees it: what the YAML document says, checked, with inputs filled in.
// Made by runtime/crew_loader, immutable afterwards.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "board/limits.hpp"
#include "board/region_spec.hpp"
#include "board/write.hpp"
#include "scheduler/call_spec.hpp"
#include "scheduler/condition.hpp"
#include "scheduler/score.hpp"

namespace stele {

enum class SourceKind { process, rule, native, llm, http, mcp };
const char* to_text(SourceKind kind);

enum class WakeMode { each, once, batch };
enum class OnStale { discard, strict, commit };
enum class OnCrash { retry, skip };
enum class Strategy { priority, fifo, lifo, fair, depth, breadth, score };
enum class OnCycle { stop, pause, damp, wake };
const char* to_text(OnCycle on_cycle);
/// What becomes of entries that rest on one that was retracted.
enum class OnRetract { none, flag, rerun, cascade };
const char* to_text(OnRetract on_retract);
enum class Durability { sync, async, memory };
const char* to_text(WakeMode mode);
const char* to_text(Strategy strategy);
std::optional<Strategy> strategy_from(std::string_view word);
const char* to_text(Durability durability);

/// What a source may do. Nothing that is not here.
struct Grants {
    std::vector<std::string> read;
    std::vector<std::pair<std::string, std::vector<WriteOp>>> write;

    [[nodiscard]] bool may_read(std::string_view region) const;
    [[nodiscard]] bool may_write(std::string_view region, WriteOp op) const;
};

/// One region in a source's view.
struct ViewPart {
    std::string region;
    Filter where;  // literal operands, or variables of the source's own `when`
    /// At most this many of the newest entries that pass `where`.
    std::uint64_t last = limits::view_entries_default;
    bool last_declared = false;
    /// `top: {by: field, most: n}`: of those that pass, the n with the greatest number there. Empty: not asked.
    std::vector<std::string> top_by;
    std::uint64_t top = 0;
    /// `relevant: {to: $q.text, most: n}`: of those that pass, the n nearest to a text (BM25).
    std::optional<Operand> relevant_to;
    std::uint64_t relevant = 0;
    /// Tokens its rendered entries may take; 0: no bound of its own. Kinds that render prompts.
    std::uint64_t tokens = 0;
    /// Where there is not room for all, what has the greater number keeps its entries longer.
    double priority = 0;

    /// True when what is shown is no function of the snapshot and the bindings alone, so that the
    /// record of the call says which entries were shown.
    [[nodiscard]] bool is_ranked_by_text() const { return relevant_to.has_value(); }
};

/// In `then:` of kind mcp, the name that the tool's result stands under: {text, data, is_error}.
inline constexpr std::string_view mcp_result_name = "result";

/// One line of a rule's `then:`. Values are templates: literals, or `$variable...` references.
struct TemplateNode {
    enum class Kind { literal, reference, object, array } kind = Kind::literal;
    Value literal;
    VariableRef reference;
    std::vector<std::pair<std::string, TemplateNode>> members;  // object
    std::vector<TemplateNode> elements;                         // array

    TemplateNode() {}  // clang 14 needs it spelled out in a type that holds a vector of itself
};
struct RuleWrite {
    WriteOp op = WriteOp::insert;
    std::string region;
    TemplateNode entry;
    /// replace, retract, remove: the bound variable whose entry (and version) is meant.
    std::optional<std::uint32_t> target;
    std::int64_t by = 1;               // increment
    std::vector<std::uint32_t> cites;  // variables
    std::string why;
    SourcePlace place;
};

struct SourceLimits {
    std::int64_t timeout_ms = limits::timeout_default_ms;
    std::uint32_t attempts = limits::attempts_default;
    std::uint32_t conflicts = limits::conflicts_default;
    std::int64_t backoff_ms = limits::backoff_default_ms;  // doubled at each failed attempt
    /// Activations of this source at one time; 0: as many as the crew allows.
    std::uint32_t concurrency = 0;
    /// Budgets; 0: none.
    std::uint64_t activations = 0;
    std::int64_t wall_ms = 0;  // summed running time of its attempts
    std::size_t output_bytes = limits::output_bytes_default;
    std::uint64_t memory_bytes = 0;  // process: address space; 0: unlimited
    /// Kinds that make calls: what those of all its activations may cost. `wall_ms` stands above.
    CallCaps calls;
};

struct SourceSpec {
    std::string name;
    SourceKind kind = SourceKind::process;
    Condition when;
    WakeMode wake = WakeMode::each;
    std::uint32_t batch_max = limits::batch_max_default;
    std::int64_t batch_within_ms = limits::batch_within_default_ms;
    Grants may;
    /// Empty: every region in `may.read`, each with its newest entries.
    std::vector<ViewPart> view;
    bool view_declared = false;
    SourceLimits limits;
    /// Rating: a number, or a bound entry's field.
    double priority = 0;
    std::optional<VariableRef> priority_field;
    /// The rating where the strategy is `score`.
    std::shared_ptr<const Score> score;
    /// What one activation is declared to cost; for scores alone.
    double cost_money = 0;
    double cost_tokens = 0;
    OnStale on_stale = OnStale::discard;
    OnCrash on_crash = OnCrash::retry;
    /// Sources of one group never run at the same time. Empty: none.
    std::string exclusive;
    /// process
    std::vector<std::string> command;
    std::vector<std::pair<std::string, std::string>> environment;
    std::vector<std::string> pass_environment;
    /// rule; mcp: `then` may name the tool's result, variable `mcp_result` beside those of `when`.
    std::vector<RuleWrite> then;
    LlmSpec llm;
    HttpSourceSpec http;
    /// mcp: the tool, and its arguments made from what the match bound.
    ToolRef tool;
    TemplateNode arguments;
    /// The same input always gives the same output: answered from the board when it was asked before.
    bool pure = false;
    /// Goes on while the run wraps up, and may use what the crew's budget keeps back.
    bool wrap_up = false;
    std::string help;
    /// First 8 bytes, in hex, of the SHA-256 of the source's canonical declaration.
    std::string configuration_hash;
    SourcePlace place;
};

struct CycleSpec {
    bool enabled = true;
    std::uint32_t window = limits::cycle_window_default;
    double similarity = limits::cycle_similarity_default;
    /// How often a chain may go round while no stop condition comes nearer; 0: for ever. Unless declared,
    /// limits::cycle_rounds_default where the crew has a goal, else for ever.
    std::optional<std::uint64_t> rounds;
    OnCycle on_cycle = OnCycle::stop;
    /// wake: who is woken.
    std::string wake;
};

struct StopSpec {
    std::optional<Condition> goal;
    std::uint64_t activations = 0;  // 0: no limit
    std::int64_t wall_ms = 0;       // 0: no limit
    std::int64_t grace_ms = limits::stop_grace_default_ms;
    CycleSpec cycle;
    /// What all calls of the run may cost; its `wall_ms` is not used (see above).
    CallCaps calls;
    OnExceed on_exceed = OnExceed::stop;
    /// wrap_up: the share of each cap that only sources with `wrap_up: true` may use, 0 to 1.
    double reserve = limits::wrap_up_reserve_default;
};

struct CrewSpec {
    std::string name;
    std::string help;
    /// Input name to value, defaults filled in.
    std::vector<std::pair<std::string, Value>> inputs;
    /// Declared regions, then one scratch region per source.
    std::vector<RegionSpec> regions;
    std::vector<SourceSpec> sources;
    std::vector<ModelSpec> models;
    std::vector<McpServerSpec> mcp_servers;
    std::vector<ToolSpec> tools;
    std::optional<CallbackSpec> callbacks;
    std::vector<std::pair<std::string, Value>> seed;  // region, entry; in file order
    Strategy strategy = Strategy::priority;
    /// The source that is shown the agenda and ranks it; empty: none.
    std::string control_source;
    std::uint32_t concurrency = limits::concurrency_default;
    Durability durability = Durability::sync;
    OnRetract on_retract = OnRetract::none;
    StopSpec stop;
    /// The document as given, for the log.
    std::string text;
    /// Directory that relative commands and paths start from (the crew file's).
    std::string base_directory;

    [[nodiscard]] const RegionSpec* region(std::string_view name) const;
    [[nodiscard]] const SourceSpec* source(std::string_view name) const;
    [[nodiscard]] std::optional<std::uint32_t> source_index(std::string_view name) const;
};

}  // namespace stele

// A crew as the scheduler sees it: what the YAML document says, checked, with inputs filled in.
// Made by runtime/crew_loader, immutable afterwards.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "board/limits.hpp"
#include "board/region_spec.hpp"
#include "board/write.hpp"
#include "scheduler/condition.hpp"

namespace stele {

enum class SourceKind { process, rule, native };
const char* to_text(SourceKind kind);

enum class WakeMode { each, once, batch };
enum class OnStale { discard, strict, commit };
enum class OnCrash { retry, skip };
enum class Strategy { priority, fifo, lifo, fair };
enum class OnCycle { stop, pause };
enum class Durability { sync, async, memory };
const char* to_text(WakeMode mode);
const char* to_text(Strategy strategy);
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
};

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
    OnStale on_stale = OnStale::discard;
    OnCrash on_crash = OnCrash::retry;
    /// Sources of one group never run at the same time. Empty: none.
    std::string exclusive;
    /// process
    std::vector<std::string> command;
    std::vector<std::pair<std::string, std::string>> environment;
    std::vector<std::string> pass_environment;
    /// rule
    std::vector<RuleWrite> then;
    std::string help;
    /// First 8 bytes, in hex, of the SHA-256 of the source's canonical declaration.
    std::string configuration_hash;
    SourcePlace place;
};

struct CycleSpec {
    bool enabled = true;
    std::uint32_t window = limits::cycle_window_default;
    double similarity = limits::cycle_similarity_default;
    OnCycle on_cycle = OnCycle::stop;
};

struct StopSpec {
    std::optional<Condition> goal;
    std::uint64_t activations = 0;  // 0: no limit
    std::int64_t wall_ms = 0;       // 0: no limit
    std::int64_t grace_ms = limits::stop_grace_default_ms;
    CycleSpec cycle;
};

struct CrewSpec {
    std::string name;
    std::string help;
    /// Input name to value, defaults filled in.
    std::vector<std::pair<std::string, Value>> inputs;
    /// Declared regions, then one scratch region per source.
    std::vector<RegionSpec> regions;
    std::vector<SourceSpec> sources;
    std::vector<std::pair<std::string, Value>> seed;  // region, entry; in file order
    Strategy strategy = Strategy::priority;
    std::uint32_t concurrency = limits::concurrency_default;
    Durability durability = Durability::sync;
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

// A precondition as data: patterns over regions, joined by variables. Built and type-checked by
// the crew loader; evaluated by the matcher. Immutable after loading. docs/crew_reference.md,
// "Preconditions", says what each term means.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "board/hash.hpp"
#include "board/value.hpp"

namespace stele {

/// A place in the crew file, 1-based; 0 when there is none.
struct SourcePlace {
    int line = 0;
    int column = 0;
};

/// What a path or a `$variable` may ask of an entry.
enum class Attribute { content, id, version, author, time };

/// `$q.topic`, `$q.@id`, `$q`: an attribute of the entry bound to a variable; for content, the
/// value at `path` (empty: the whole content).
struct VariableRef {
    std::uint32_t variable = 0;  // index into Condition::variables
    Attribute attribute = Attribute::content;
    std::vector<std::string> path;
};

/// A literal, or something bound earlier in the same precondition.
struct Operand {
    Value literal;
    std::optional<VariableRef> reference;
};

enum class CompareOp { eq, ne, lt, lte, gt, gte, in, has, matches, exists };
const char* to_text(CompareOp op);
std::optional<CompareOp> compare_op_from(std::string_view text);

class Pattern;  // a compiled regular expression; see pattern.hpp

/// One test on one entry: the value at the path (or the attribute) against the operand.
/// `matches` takes a literal pattern only and looks for it anywhere in the text.
struct Comparison {
    Attribute attribute = Attribute::content;
    std::vector<std::string> path;
    CompareOp op = CompareOp::eq;
    Operand operand;
    std::shared_ptr<const Pattern> pattern;
    SourcePlace place;
};

/// A conjunction of tests on one entry.
using Filter = std::vector<Comparison>;

enum class TermKind {
    each,     // binds: one match per entry
    changed,  // binds: one match per version after an entry's first
    none,     // no entry passes the filter
    exists,   // at least one does
    count,    // aggregates over the entries that pass; `is` judges the result
    sum,
    min,
    max,
    avg,
    quiet,     // the region has not changed for `duration_ms`
    start,     // once per run
    idle,      // nothing else is queued, running or due
    impasse,   // idle, no idle source can start, and the goal is not reached
    after,     // `duration_ms` after the run began, or after the newest bound entry was written
    every,     // each `duration_ms` since the run began
    any,       // one of `alternatives` holds
    negation,  // `not:` the alternatives' only member does not hold
};
const char* to_text(TermKind kind);
/// True on the board at all times: the scheduler knows when, and gives the episode.
inline bool is_idleness(TermKind kind) { return kind == TermKind::idle || kind == TermKind::impasse; }
/// Looks at the clock.
inline bool is_timer(TermKind kind) {
    return kind == TermKind::quiet || kind == TermKind::after || kind == TermKind::every;
}

struct Term {
    TermKind kind = TermKind::each;
    std::string region;
    /// each and changed: index into Condition::variables.
    std::optional<std::uint32_t> variable;
    Filter where;
    /// sum, min, max, avg: path of the number.
    std::vector<std::string> field;
    /// Aggregates: tests on the result, with attribute content and an empty path. An aggregate
    /// over nothing is 0 for count and sum, and no value (every test fails) for min, max, avg.
    Filter is;
    std::int64_t duration_ms = 0;
    /// `again: on_change`: a new match at each change while it holds.
    bool again_on_change = false;
    /// any: each alternative is a conjunction of terms that bind nothing. negation: exactly one.
    std::vector<std::vector<Term>> alternatives;
    SourcePlace place;

    [[nodiscard]] bool binds() const { return kind == TermKind::each || kind == TermKind::changed; }
};

/// It is a timer, or one stands inside it.
bool depends_on_time(const Term& term);

/// A conjunction. Terms may refer only to variables bound by earlier terms.
struct Condition {
    std::vector<Term> terms;
    /// Names without `$`, in binding order; variable i is bound by the i-th binding term.
    std::vector<std::string> variables;

    /// Equal for conditions that ask the same, wherever in the crew file they stand.
    [[nodiscard]] Hash128 fingerprint() const;
    /// A term of time, or `start`, stands inside `any` or `not`. Before a run begins none of them holds, so the next
    /// run may begin with an episode that an earlier run had left behind. Of its own such a term holds since some
    /// record of its run.
    [[nodiscard]] bool hides_time() const;

    /// Waits for the run to come to rest: what wakes it is no match of the board alone.
    [[nodiscard]] bool has_idle() const {
        for (const Term& term : terms) {
            if (is_idleness(term.kind)) return true;
        }
        return false;
    }
    [[nodiscard]] bool has_impasse() const {
        for (const Term& term : terms) {
            if (term.kind == TermKind::impasse) return true;
        }
        return false;
    }
};

}  // namespace stele

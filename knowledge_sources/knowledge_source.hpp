// What a knowledge source is to the rest of Stele: given an activation and what it may see, it
// ends once with an outcome. Adding a kind is one new file and one line in source_registry.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "board/entry.hpp"
#include "board/record.hpp"
#include "board/write.hpp"
#include "scheduler/crew_spec.hpp"
#include "scheduler/outcome.hpp"
#include "scheduler/source_view.hpp"

namespace stele {

/// The entries bound to the variables of one match, in the order of Condition::variables.
struct Binding {
    std::vector<EntryPtr> entries;
};

/// Everything one attempt is given. Owned by the caller, immutable while it runs.
struct ActivationRequest {
    ActivationId activation;
    std::uint32_t attempt = 1;
    std::shared_ptr<const CrewSpec> crew;  // keeps `source` alive
    const SourceSpec* source = nullptr;
    /// The snapshot that the whole attempt reads.
    Position version;
    /// One member unless `wake: batch`.
    std::vector<Binding> members;
    std::vector<ViewRegion> view;
    std::vector<Refusal> previous;
    std::int64_t deadline_ms = 0;  // from its start
    std::string idempotency_key;   // activation/attempt of this board
    /// A word of this board that nobody who writes to it can guess: fences data in prompts.
    std::string fence;
};

struct Outcome {
    OutcomeKind kind = OutcomeKind::ok;
    std::vector<Write> writes;  // sealed
    /// A sentence for people when kind is not ok.
    std::string error;
    /// budget: which one (CallPermit::budget).
    std::string budget;
    /// process: exit status; killed by signal n: 128 + n.
    int exit_code = 0;
    std::int64_t duration_ms = 0;
    /// As it came, before anything was made of it.
    std::string raw_output;
    std::string raw_error;
    std::vector<std::string> notes;
    /// What the source says it spent, as it said it: an object of numbers, or null.
    Value cost;
};

/// Identity of an operating system process, so that a later owner can end it.
struct ProcessIdentity {
    std::int64_t group = 0;         // process group id, 0: no process
    std::uint64_t start_ticks = 0;  // field 22 of /proc/PID/stat
    std::string boot_id;
};

/// A call to a model, a tool or a service that an attempt wants to make. It is put on record, with
/// what it may cost, before it leaves the process.
struct CallIntent {
    CallTarget target = CallTarget::service;
    /// model: ModelSpec::name. tool: its name, "mcp:server/tool" for one of a server's. service: the URL's
    /// origin.
    std::string name;
    /// What is sent, for the log; large parts are stored once however often they are sent.
    std::vector<std::string> parts;
    /// At most this much will be spent.
    Amounts reserve;
    /// Equal keys ask for the same thing. Zero: nobody else's answer will do.
    Hash128 key;
    /// The entries that were shown for it beside the match: what may be cited.
    std::vector<EntryId> seen;
};

/// The answer to an intent.
struct CallPermit {
    enum class Kind {
        go,        // it is on record and on disk: make the call, then say returned
        answered,  // the same was asked before: `answer` is what came then. Nothing is to be made or returned.
        refused,   // a budget has no room for it, now or later: end with OutcomeKind::budget and `reason`
        over,      // the attempt has been ended, or is not wanted any more (`reason`): no call may be made
    } kind = Kind::over;
    std::uint32_t call = 0;
    std::string answer;
    /// refused: the budget ("crew", "source", "model NAME") and what it counts, as in "crew tokens".
    std::string budget;
    std::string reason;
};

/// How a permitted call ended.
struct CallEnd {
    std::uint32_t call = 0;
    OutcomeKind outcome = OutcomeKind::ok;
    /// As much as is needed to go on from it later: what a permit of kind `answered` will bring. Canonical JSON
    /// of the source's own making, or bytes as they came.
    std::string answer;
    Amounts spent;
    /// The other side did not say what it counted.
    bool estimated = false;
    std::string error;
    /// What the other side calls this request.
    std::string request_id;
    std::int64_t duration_ms = 0;
    /// Tokens by kind and what else is worth keeping, an object of numbers, or null.
    Value usage;
};

/// How an attempt speaks to the loop. All are called on the loop thread.
struct AttemptEvents {
    /// At most once, before the source can have any effect; when it returns false the source must
    /// not run. Kinds without a process of their own never call it.
    std::function<bool(const ProcessIdentity&)> started;
    /// Kinds that call out: asks for one call. `permitted` follows exactly once, posted, unless the attempt
    /// is destroyed before; at most one intent of an attempt may be unanswered for each call it wants to
    /// make at the same time.
    std::function<void(CallIntent, std::function<void(CallPermit)> permitted)> call;
    /// Ends a call that was permitted with `go`; exactly once for each, before finished.
    std::function<void(CallEnd)> returned;
    /// A line for the terminal about what is going on ("answering, 312 tokens"); not recorded.
    std::function<void(std::string)> progress;
    /// Exactly once.
    std::function<void(Outcome)> finished;
};

/// One attempt in flight. Destroying it after `finished` is free; before, it cancels.
class Attempt {
public:
    virtual ~Attempt() = default;
    /// Ends it soon: `finished` follows with kind cancelled. Idempotent.
    virtual void cancel() = 0;
};

/// Starts attempts of one kind. Loop thread only.
class KnowledgeSource {
public:
    virtual ~KnowledgeSource() = default;
    virtual std::unique_ptr<Attempt> start(std::shared_ptr<const ActivationRequest> request, AttemptEvents events) = 0;
};

}  // namespace stele

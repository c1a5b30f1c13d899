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
};

struct Outcome {
    OutcomeKind kind = OutcomeKind::ok;
    std::vector<Write> writes;  // sealed
    /// A sentence for people when kind is not ok.
    std::string error;
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

/// How an attempt speaks to the loop. All are called on the loop thread.
struct AttemptEvents {
    /// At most once, before the source can have any effect; when it returns false the source must
    /// not run. Kinds without a process of their own never call it.
    std::function<bool(const ProcessIdentity&)> started;
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

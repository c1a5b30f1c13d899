// The attempts of a log as spans of time: when each was claimed and ended, what woke it, what it called and
// wrote. Fed with each record once, in order; for whoever draws or exports a run. Pure; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "board/provenance.hpp"
#include "board/record.hpp"

namespace stele {

struct CallSpan {
    std::uint32_t call = 0;
    CallTarget target = CallTarget::service;
    std::string name;
    TimeMs start;
    TimeMs end;
    Position position;
    /// As canonical JSON, what the provider counted; or empty.
    std::string usage;
    Amounts spent;
    bool reused = false;
    /// "ok", "failed", ...; "open" when it had not returned.
    std::string outcome = "open";
};

struct AttemptSpan {
    ActivationId activation;
    std::uint32_t attempt = 1;
    std::string source;
    TimeMs start;
    TimeMs end;
    Position claimed;
    Position ended;
    Position snapshot;
    /// "ok", an outcome's word, "refused", or the word of what ended it.
    std::string outcome;
    /// A sentence where the outcome is not "ok".
    std::string error;
    std::vector<EntryVersion> bound;
    /// What its commit changed, with what it did to each ("added", "updated", "removed").
    std::vector<std::pair<EntryVersion, WriteOutcome::Effect>> wrote;
    std::vector<CallSpan> calls;
};

class ActivationSpans {
public:
    /// The attempt that this record ends, if it ends one.
    std::optional<AttemptSpan> add(const LoggedRecord& logged);
    /// Attempts that have begun and not ended, up to the last record.
    [[nodiscard]] std::vector<AttemptSpan> open() const;

private:
    std::map<ActivationId, AttemptSpan> live_;
    TimeMs now_;
    Position last_;
};

}  // namespace stele

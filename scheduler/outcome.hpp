// How an attempt ended, before its writes were judged. The numbers stand in the log.
#pragma once

#include <cstdint>

namespace stele {

enum class OutcomeKind : std::uint8_t {
    ok = 1,       // its writes are proposed
    failed,       // exit code, exception
    timeout,      // ended at its deadline
    flooded,      // passed its output limit
    malformed,    // output that is not the protocol's
    cancelled,    // ended because the run stops
    not_started,  // could not be started at all
    budget,       // a budget has no room for the next call
    blocked,      // a person must act first: a key is refused, a quota is used up
};
const char* to_text(OutcomeKind kind);

}  // namespace stele

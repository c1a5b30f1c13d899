// What `stele` exits with; docs/cli.md has the table.
#pragma once

#include <optional>

#include "board/result.hpp"
#include "scheduler/scheduler.hpp"

namespace stele {

enum class ExitCode : int {
    done = 0,         // goal reached; or nothing left to do and no goal was declared
    failure = 1,      // anything not listed
    usage = 2,        // wrong command line or crew file; nothing was started
    data = 3,         // the data directory: in use, no permission, full, damaged, other format
    not_found = 4,    // no such board, entry, region
    quiescence = 10,  // nothing left to do, and the declared goal does not hold
    incomplete = 11,  // nothing left to do but dead activations
    waiting = 12,     // a person must act first: a key, a quota, a budget to raise
    budget = 13,
    deadline = 14,
    cycle = 15,
    error = 16,
    differs = 20,  // replay --verify found a difference
    interrupt = 130,
};

inline ExitCode exit_code_of(StopReason reason, bool has_goal) {
    switch (reason) {
        case StopReason::goal:
            return ExitCode::done;
        case StopReason::quiescence:
            return has_goal ? ExitCode::quiescence : ExitCode::done;
        case StopReason::incomplete:
            return ExitCode::incomplete;
        case StopReason::waiting:
            return ExitCode::waiting;
        case StopReason::budget:
            return ExitCode::budget;
        case StopReason::deadline:
            return ExitCode::deadline;
        case StopReason::cycle:
            return ExitCode::cycle;
        case StopReason::interrupt:
            return ExitCode::interrupt;
        case StopReason::error:
            return ExitCode::error;
    }
    return ExitCode::failure;
}

inline ExitCode exit_code_of(const Error& error) {
    switch (error.code) {
        case ErrorCode::invalid_argument:
        case ErrorCode::already_exists:
            return ExitCode::usage;
        case ErrorCode::not_found:
            return ExitCode::not_found;
        case ErrorCode::in_use:
        case ErrorCode::permission:
        case ErrorCode::no_space:
        case ErrorCode::corrupt:
        case ErrorCode::wrong_format:
        case ErrorCode::io:
        case ErrorCode::closed:
            return ExitCode::data;
        case ErrorCode::refused:
        case ErrorCode::internal:
            return ExitCode::failure;
    }
    return ExitCode::failure;
}

}  // namespace stele

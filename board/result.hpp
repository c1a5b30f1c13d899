// The outcome of anything the world can refuse: a value, or an error that reads as a sentence.
// Programmer errors assert; foreign exceptions are caught in the file that calls the library.
#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace stele {

enum class ErrorCode {
    invalid_argument,  // the caller's text or value is malformed
    not_found,         // no such board, region, entry, file
    already_exists,    // a board or file is there already
    refused,           // a rule of the board said no
    in_use,            // another process owns the data directory
    permission,        // the operating system said no
    no_space,          // the disk is full
    corrupt,           // stored bytes are damaged; the message names the position
    wrong_format,      // stored bytes are of another format version
    io,                // any other failure of the operating system
    closed,            // the log was poisoned by an earlier failure, or is shut
    internal,          // a bug of ours, said rather than hidden
};

/// One failure. `message` is a whole sentence with the thing in it and, where there is one, the
/// next thing to do.
struct Error {
    ErrorCode code = ErrorCode::internal;
    std::string message;
};

/// A `T` or an `Error`. Check before use: `value()` on an error is a programming mistake.
template <class T>
class [[nodiscard]] Result {
public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

    [[nodiscard]] bool ok() const { return state_.index() == 0; }
    explicit operator bool() const { return ok(); }

    T& value() & {
        assert(ok());
        return *std::get_if<0>(&state_);
    }
    const T& value() const& {
        assert(ok());
        return *std::get_if<0>(&state_);
    }
    T&& value() && {
        assert(ok());
        return std::move(*std::get_if<0>(&state_));
    }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T&& operator*() && { return std::move(*this).value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

    [[nodiscard]] const Error& error() const {
        assert(!ok());
        return *std::get_if<1>(&state_);
    }

private:
    std::variant<T, Error> state_;
};

/// Success carries nothing.
struct Done {};
using Status = Result<Done>;

}  // namespace stele

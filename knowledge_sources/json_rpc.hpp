// JSON-RPC 2.0 as MCP speaks it: messages as text and back, lines out of a stream of bytes, events out of
// an event stream. Whatever the bytes are, reading them ends with messages or a sentence. Values only;
// any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "board/result.hpp"
#include "board/utf8.hpp"
#include "board/value.hpp"
#include "knowledge_sources/event_stream.hpp"

namespace stele {

inline constexpr std::int64_t rpc_method_not_found = -32601;
inline constexpr std::int64_t rpc_invalid_params = -32602;

struct RpcMessage {
    enum class Kind { request, notification, result, error } kind = Kind::notification;
    /// A string, a number, or null: there is none.
    Value id;
    std::string method;  // request, notification
    Value params;        // request, notification; null when there are none
    Value result;        // result
    std::int64_t code = 0;
    std::string message;  // error
    Value data;           // error
};

/// The messages of one JSON text: one, or those of a batch. Fails with invalid_argument when any of it is
/// no JSON-RPC.
Result<std::vector<RpcMessage>> parse_rpc(std::string_view text);

/// One line each, without its newline.
std::string rpc_request(std::int64_t id, std::string_view method, const Value& params);
std::string rpc_notification(std::string_view method, const Value& params);
std::string rpc_result(const Value& id, const Value& result);
std::string rpc_error(const Value& id, std::int64_t code, std::string_view message);

/// Cuts a stream of bytes into lines. A line without its newline is kept for the next bytes.
class LineReader {
public:
    explicit LineReader(std::size_t line_bytes_max) : line_bytes_max_(line_bytes_max) {}

    /// False from the first line on that is longer than the bound.
    bool feed(std::string_view bytes);
    /// The next whole line, without "\n" or "\r\n". Nothing when there is none yet.
    std::optional<std::string> next();

private:
    std::size_t line_bytes_max_;
    std::string buffer_;
    std::size_t begin_ = 0;    // of the line that comes next
    std::size_t scanned_ = 0;  // no newline before this
    std::size_t open_ = 0;     // bytes of the last line, that has no newline yet
    bool too_long_ = false;
};

/// Takes the `data` of events out of a text/event-stream. Event names and ids are not needed.
class EventStreamReader {
public:
    explicit EventStreamReader(std::size_t event_bytes_max) : stream_(event_bytes_max) {}

    /// False from the first event on that is longer than the bound.
    bool feed(std::string_view bytes);
    /// The data of the next whole event that has some.
    std::optional<std::string> next();
    /// The stream is over: an event that only lacks its empty line counts.
    void end();

private:
    EventStream stream_;
    std::vector<std::string> ready_;
    std::size_t given_ = 0;
};

}  // namespace stele

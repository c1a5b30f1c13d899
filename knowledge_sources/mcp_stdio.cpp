#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "board/limits.hpp"
#include "knowledge_sources/child_runner.hpp"
#include "knowledge_sources/mcp_transport.hpp"

namespace stele {

namespace {

/// What waits for a server that does not read; more, and it is taken for dead.
constexpr std::size_t queued_bytes_max = limits::response_line_bytes_max;

struct StdioState {
    McpTransportEvents events;
    std::unique_ptr<RunningChild> child;
    LineReader lines{limits::response_line_bytes_max};
    /// Lines of standard output that are no JSON-RPC: log lines, banners.
    std::uint64_t stray_lines = 0;
    std::function<void()> closed;
    bool over = false;
};

/// Kept by value: the functions of the state may be thrown away while one of them runs.
void tell_message(const std::shared_ptr<StdioState>& state, const RpcMessage& message) {
    const std::function<void(const RpcMessage&)> told = state->events.message;
    if (told) told(message);
}

void tell_end(const std::shared_ptr<StdioState>& state, const std::string& how) {
    if (std::exchange(state->over, true)) return;
    const std::function<void(const std::string&)> ended = std::move(state->events.ended);
    const std::function<void()> closed = std::move(state->closed);
    state->events = McpTransportEvents{};
    if (closed) {
        closed();
    } else if (ended) {
        ended(how);
    }
}

bool take_output(const std::shared_ptr<StdioState>& state, std::string_view bytes) {
    const bool in_bounds = state->lines.feed(bytes);
    while (std::optional<std::string> line = state->lines.next()) {
        if (line->find_first_not_of(" \t") == std::string::npos) continue;
        const Result<std::vector<RpcMessage>> messages = parse_rpc(*line);
        if (!messages) {
            ++state->stray_lines;
            continue;
        }
        for (const RpcMessage& message : *messages) {
            tell_message(state, message);
            if (state->over) return false;
        }
    }
    if (in_bounds) return true;
    state->child.reset();
    tell_end(state,
             "wrote a line of more than " + std::to_string(limits::response_line_bytes_max) + " bytes and was killed");
    return false;
}

class StdioTransport : public McpTransport {
public:
    StdioTransport(boost::asio::io_context& loop, std::shared_ptr<StdioState> state)
        : loop_(loop), state_(std::move(state)) {}
    ~StdioTransport() override {
        state_->over = true;
        state_->events = McpTransportEvents{};
        state_->closed = nullptr;
        state_->child.reset();
    }

    void send(McpOutgoing outgoing) override {
        if (!state_->child) return;
        state_->child->write(outgoing.text + "\n");
        if (state_->child->queued_bytes() <= queued_bytes_max) return;
        state_->child.reset();
        boost::asio::post(loop_, [state = state_] { tell_end(state, "does not read its input and was killed"); });
    }

    bool drop(std::int64_t) override { return false; }

    void close(std::function<void()> done) override {
        state_->events.message = nullptr;
        if (!state_->child) {
            boost::asio::post(loop_, std::move(done));
            return;
        }
        state_->closed = std::move(done);
        state_->child->end();
    }

    std::string last_words() const override {
        std::string words = state_->child ? state_->child->last_words() : std::string();
        if (state_->stray_lines > 0) {
            if (!words.empty()) words += "; ";
            words += std::to_string(state_->stray_lines) + " of its output lines were no JSON-RPC";
        }
        return words;
    }

private:
    boost::asio::io_context& loop_;
    std::shared_ptr<StdioState> state_;
};

}  // namespace

Result<std::unique_ptr<McpTransport>> start_mcp_stdio(boost::asio::io_context& loop, LaunchOptions options,
                                                      McpTransportEvents events) {
    auto state = std::make_shared<StdioState>();
    state->events = std::move(events);
    ChildEvents child_events;
    // The child's functions go with its end or with the transport, so the circle is not for ever.
    child_events.output = [state](std::string_view bytes) { return take_output(state, bytes); };
    child_events.ended = [state](const ChildEnd& end) { tell_end(state, end.message); };
    Result<std::unique_ptr<RunningChild>> child =
        RunningChild::start(loop, std::move(options), std::move(child_events));
    if (!child) return child.error();
    state->child = std::move(*child);
    return std::unique_ptr<McpTransport>(std::make_unique<StdioTransport>(loop, std::move(state)));
}

}  // namespace stele

#include "knowledge_sources/mcp_source.hpp"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <optional>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "knowledge_sources/process_protocol.hpp"
#include "knowledge_sources/rule_source.hpp"
#include "knowledge_sources/tools.hpp"

namespace stele {

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr std::int64_t deadline_ms_max = 1'000'000'000'000;
constexpr std::size_t tool_error_bytes_shown = 500;

std::string cut(std::string text) {
    if (text.size() <= tool_error_bytes_shown) return text;
    std::size_t end = tool_error_bytes_shown;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
    return text.substr(0, end) + "...";
}

std::int64_t ms_since(Clock::time_point begin) {
    return std::chrono::duration_cast<Milliseconds>(Clock::now() - begin).count();
}

class McpRun : public std::enable_shared_from_this<McpRun> {
public:
    McpRun(boost::asio::io_context& loop, McpClient& mcp, Secrets& secrets,
           std::shared_ptr<const ActivationRequest> request, AttemptEvents events)
        : loop_(loop),
          mcp_(mcp),
          secrets_(secrets),
          request_(std::move(request)),
          events_(std::move(events)),
          deadline_timer_(loop) {}

    void begin() {
        name_ = tool_name(*request_->crew, source().tool);
        deadline_ms_ = request_->deadline_ms > 0 ? request_->deadline_ms : source().limits.timeout_ms;
        deadline_ms_ = std::clamp<std::int64_t>(deadline_ms_, 1, deadline_ms_max);
        deadline_timer_.expires_at(begun_ + Milliseconds(deadline_ms_));
        deadline_timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
            if (error) return;
            self->end(OutcomeKind::timeout,
                      "did not end within its deadline of " + std::to_string(self->deadline_ms_) + " ms");
        });
        // Posted, so that start() calls nothing.
        boost::asio::post(loop_, [self = shared_from_this()] { self->next_member(); });
    }

    void cancel() { end(OutcomeKind::cancelled, "was cancelled because the run stops"); }

    void abandon() {
        over_ = true;
        events_ = AttemptEvents{};
        call_.reset();
        deadline_timer_.cancel();
    }

private:
    const SourceSpec& source() const { return *request_->source; }

    void next_member() {
        if (over_) return;
        if (member_ == request_->members.size()) {
            Outcome outcome;
            outcome.raw_output = make_output(writes_);
            // Cites of this attempt's own lines do not arise: a rule cites what is bound.
            outcome.writes = std::move(writes_);
            finish(std::move(outcome));
            return;
        }
        std::optional<Value> arguments = evaluate_template(source().arguments, request_->members[member_].entries);
        arguments_ = arguments && !arguments->is_null() ? std::move(*arguments) : Value::object({});
        if (!arguments_.is_object()) {
            end(OutcomeKind::failed,
                "the arguments of " + name_ + " must be an object, not of type " + arguments_.type_name());
            return;
        }
        CallIntent intent;
        intent.target = CallTarget::tool;
        intent.name = name_;
        intent.parts = {to_json(arguments_)};
        intent.reserve.calls = 1;
        if (source().pure || source().tool.pure) intent.key = tool_call_key(name_, arguments_);
        assert(events_.call);
        events_.call(std::move(intent),
                     [self = shared_from_this()](CallPermit permit) { self->on_permit(std::move(permit)); });
    }

    void on_permit(CallPermit permit) {
        if (over_) {
            if (permit.kind == CallPermit::Kind::go) report_unused(permit.call);
            return;
        }
        switch (permit.kind) {
            case CallPermit::Kind::go:
                make_call(permit.call);
                return;
            case CallPermit::Kind::answered:
                take_answer(permit.answer);
                return;
            case CallPermit::Kind::refused:
                end(OutcomeKind::budget, permit.reason);
                return;
            case CallPermit::Kind::over:
                end(OutcomeKind::cancelled,
                    permit.reason.empty() ? "was ended before its call was made" : permit.reason);
                return;
        }
    }

    /// It was permitted while the attempt ended: nothing has been called, and that is how it ended.
    void report_unused(std::uint32_t number) {
        if (!events_.returned) return;
        CallEnd end;
        end.call = number;
        end.outcome = OutcomeKind::cancelled;
        end.error = "was not made, because the attempt had ended";
        events_.returned(std::move(end));
    }

    void make_call(std::uint32_t number) {
        open_call_ = number;
        call_begun_ = Clock::now();
        if (events_.progress) events_.progress("calling " + name_);
        const ToolRef& tool = source().tool;
        assert(tool.server);
        const std::int64_t timeout_ms = request_->crew->mcp_servers[*tool.server].call_timeout_ms;
        call_ = mcp_.call(*request_->crew, *tool.server, tool.name, arguments_, secrets_, timeout_ms,
                          [self = shared_from_this()](Result<McpToolResult> result) { self->on_result(result); });
    }

    void on_result(const Result<McpToolResult>& result) {
        if (over_) return;
        if (!result) {
            close_call(OutcomeKind::failed, {}, result.error().message);
            end(OutcomeKind::failed, result.error().message);
            return;
        }
        // A server may well say a key that it was given.
        const std::string answer = secrets_.redact(
            to_json(Value::object({{"text", result->text}, {"data", result->data}, {"is_error", result->is_error}})));
        close_call(result->is_error ? OutcomeKind::failed : OutcomeKind::ok, answer,
                   result->is_error ? told_error(secrets_.redact(result->text)) : std::string());
        take_answer(answer);
    }

    void take_answer(const std::string& answer) {
        Result<Value> content = parse_json(answer);
        if (!content || !content->is_object()) {
            end(OutcomeKind::malformed, "the answer of " + name_ + " that is on record cannot be read");
            return;
        }
        const Value* is_error = content->find("is_error");
        if (is_error != nullptr && is_error->is_bool() && is_error->as_bool()) {
            const Value* text = content->find("text");
            end(OutcomeKind::failed, told_error(text != nullptr && text->is_string() ? text->as_string() : ""));
            return;
        }
        Binding member = request_->members[member_];
        member.entries.resize(source().when.variables.size());
        auto entry = std::make_shared<Entry>();
        entry->content = std::move(*content);
        member.entries.push_back(std::move(entry));
        Result<std::vector<Write>> made = apply_rule(source(), {std::move(member)});
        if (!made) {
            end(OutcomeKind::failed, made.error().message);
            return;
        }
        for (Write& write : *made) writes_.push_back(std::move(write));
        ++member_;
        next_member();
    }

    std::string told_error(const std::string& text) const {
        return "tool " + name_ + " says that it failed" + (text.empty() ? std::string() : ": " + cut(text));
    }

    void close_call(OutcomeKind kind, std::string answer, std::string error) {
        if (!open_call_) return;
        CallEnd end;
        end.call = *open_call_;
        end.outcome = kind;
        end.answer = std::move(answer);
        end.spent.calls = 1;
        end.error = std::move(error);
        end.duration_ms = ms_since(call_begun_);
        open_call_.reset();
        call_.reset();
        if (events_.returned) events_.returned(std::move(end));
    }

    void end(OutcomeKind kind, std::string why) {
        if (over_) return;
        close_call(kind, {}, why);
        Outcome outcome;
        outcome.kind = kind;
        outcome.error = std::move(why);
        finish(std::move(outcome));
    }

    void finish(Outcome outcome) {
        over_ = true;
        deadline_timer_.cancel();
        outcome.duration_ms = ms_since(begun_);
        boost::asio::post(loop_, [self = shared_from_this(), outcome = std::move(outcome)]() mutable {
            // Called out of a local: the owner may well destroy the attempt in it.
            const std::function<void(Outcome)> finished = std::move(self->events_.finished);
            self->events_ = AttemptEvents{};
            if (finished) finished(std::move(outcome));
        });
    }

    boost::asio::io_context& loop_;
    McpClient& mcp_;
    Secrets& secrets_;
    std::shared_ptr<const ActivationRequest> request_;
    AttemptEvents events_;
    boost::asio::steady_timer deadline_timer_;
    Clock::time_point begun_ = Clock::now();
    Clock::time_point call_begun_ = begun_;
    std::string name_;
    std::int64_t deadline_ms_ = 0;
    std::size_t member_ = 0;
    Value arguments_;
    std::optional<std::uint32_t> open_call_;
    std::unique_ptr<McpCall> call_;
    std::vector<Write> writes_;
    bool over_ = false;
};

class McpAttempt : public Attempt {
public:
    explicit McpAttempt(std::shared_ptr<McpRun> run) : run_(std::move(run)) {}
    ~McpAttempt() override { run_->abandon(); }
    void cancel() override { run_->cancel(); }

private:
    std::shared_ptr<McpRun> run_;
};

class McpSource : public KnowledgeSource {
public:
    McpSource(boost::asio::io_context& loop, McpClient& mcp, std::function<Secrets&(const CrewSpec&)> secrets)
        : loop_(loop), mcp_(mcp), secrets_(std::move(secrets)) {}

    std::unique_ptr<Attempt> start(std::shared_ptr<const ActivationRequest> request, AttemptEvents events) override {
        Secrets& secrets = secrets_(*request->crew);
        auto run = std::make_shared<McpRun>(loop_, mcp_, secrets, std::move(request), std::move(events));
        run->begin();
        return std::make_unique<McpAttempt>(std::move(run));
    }

private:
    boost::asio::io_context& loop_;
    McpClient& mcp_;
    std::function<Secrets&(const CrewSpec&)> secrets_;
};

}  // namespace

std::unique_ptr<KnowledgeSource> make_mcp_source(boost::asio::io_context& loop, McpClient& mcp,
                                                 std::function<Secrets&(const CrewSpec&)> secrets) {
    return std::make_unique<McpSource>(loop, mcp, std::move(secrets));
}

}  // namespace stele

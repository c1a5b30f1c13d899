#include "knowledge_sources/llm_source.hpp"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cassert>
#include <chrono>
#include <map>
#include <optional>

#include "board/hash.hpp"
#include "board/limits.hpp"
#include "knowledge_sources/answer.hpp"
#include "knowledge_sources/chat_wire.hpp"
#include "knowledge_sources/process_protocol.hpp"

namespace stele {

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

/// How often a prompt that is too long for its model is tried with half as much of the board.
constexpr int shrinks_max = 3;

bool is_timed(const Condition& condition) {
    return std::any_of(condition.terms.begin(), condition.terms.end(), [](const Term& term) {
        return term.kind == TermKind::every || term.kind == TermKind::after || term.kind == TermKind::quiet;
    });
}

const char* role_name(ChatMessage::Role role) {
    switch (role) {
        case ChatMessage::Role::system:
            return "system";
        case ChatMessage::Role::user:
            return "user";
        case ChatMessage::Role::assistant:
            return "assistant";
        case ChatMessage::Role::tool:
            return "tool";
    }
    return "?";
}

// A message as the log keeps it: the text alone where there is nothing else, so that equal texts are
// stored once.
std::string message_part(const ChatMessage& message) {
    if (message.tool_calls.empty() && message.provider_items.is_null() && message.tool_call_id.empty()) {
        return message.text;
    }
    Value value = Value::object({{"role", role_name(message.role)}, {"text", message.text}});
    if (!message.tool_call_id.empty()) value.set("tool_call_id", message.tool_call_id);
    if (!message.tool_name.empty()) value.set("tool", message.tool_name);
    Value::Array calls;
    for (const ChatToolCall& call : message.tool_calls) {
        calls.push_back(Value::object({{"id", call.id}, {"name", call.name}, {"arguments", call.arguments}}));
    }
    if (!calls.empty()) value.set("tool_calls", std::move(calls));
    return to_json(value);
}

std::vector<std::string> parts_of(const ChatRequest& request) {
    std::vector<std::string> parts;
    for (const ChatMessage& message : request.messages) parts.push_back(message_part(message));
    return parts;
}

Value usage_value(const ChatUsage& usage, std::uint32_t tries) {
    const auto number = [](std::uint64_t n) { return static_cast<std::int64_t>(n); };
    Value value =
        Value::object({{"input_tokens", number(usage.input_tokens)}, {"output_tokens", number(usage.output_tokens)}});
    if (usage.cached_input_tokens > 0) value.set("cached_input_tokens", number(usage.cached_input_tokens));
    if (usage.cache_write_tokens > 0) value.set("cache_write_tokens", number(usage.cache_write_tokens));
    if (usage.reasoning_tokens > 0) value.set("reasoning_tokens", number(usage.reasoning_tokens));
    if (tries > 1) value.set("tries", number(tries));
    return value;
}

std::string joined(const std::vector<Refusal>& problems) {
    std::string text;
    for (const Refusal& problem : problems) {
        if (!text.empty()) text += "; ";
        if (problem.line > 0) text += "write " + std::to_string(problem.line) + ": ";
        text += problem.message;
    }
    return text;
}

OutcomeKind outcome_of(ChatErrorKind kind) {
    switch (kind) {
        case ChatErrorKind::timeout:
            return OutcomeKind::timeout;
        case ChatErrorKind::cancelled:
            return OutcomeKind::cancelled;
        case ChatErrorKind::quota:
        case ChatErrorKind::authentication:
            return OutcomeKind::blocked;
        case ChatErrorKind::malformed:
            return OutcomeKind::malformed;
        default:
            return OutcomeKind::failed;
    }
}

/// Was the prompt, or some of it, worked on, though nobody said what that came to?
bool may_have_cost(const ChatError& error) {
    switch (error.kind) {
        case ChatErrorKind::interrupted:
        case ChatErrorKind::timeout:
        case ChatErrorKind::cancelled:
            return true;
        default:
            return error.received_bytes > 0;
    }
}

class LlmRun : public std::enable_shared_from_this<LlmRun> {
public:
    LlmRun(boost::asio::io_context& loop, LlmServices& services, std::shared_ptr<const ActivationRequest> request,
           AttemptEvents events)
        : loop_(loop),
          services_(services),
          request_(std::move(request)),
          events_(std::move(events)),
          deadline_(loop),
          begun_(Clock::now()) {}

    void begin();
    void cancel();
    /// Nothing is called any more.
    void abandon();

private:
    struct ToolCallState {
        ChatToolCall call;
        const OfferedTool* tool = nullptr;
        std::uint32_t number = 0;
        Clock::time_point begun;
        std::unique_ptr<ToolRun> run;
        std::optional<ToolAnswer> answer;
    };

    [[nodiscard]] const SourceSpec& source() const { return *request_->source; }
    [[nodiscard]] const ModelSpec& model() const { return request_->crew->models[source().llm.models[model_]]; }
    [[nodiscard]] Secrets& secrets() const { return services_.secrets(*request_->crew); }
    [[nodiscard]] std::int64_t left_ms() const;

    void render(std::uint64_t view_tokens);
    void ask_model();
    void on_permit(CallPermit permit);
    void on_model_end(ChatEnd end);
    void tell_returned(const ChatEnd& end);
    void on_response(const ChatResponse& response);
    void on_error(const ChatError& error);
    void call_tools(const std::vector<ChatToolCall>& calls);
    void start_tool(std::size_t index);
    void on_tool_permit(std::size_t index, CallPermit permit);
    void on_tool_answer(std::size_t index, ToolAnswer answer);
    void tools_done_if_all_are();
    void check(const std::string& text, bool cut_off);
    void say(const std::string& text);
    void end(OutcomeKind kind, std::string error);
    void finish(Outcome outcome);

    boost::asio::io_context& loop_;
    LlmServices& services_;
    std::shared_ptr<const ActivationRequest> request_;
    AttemptEvents events_;
    boost::asio::steady_timer deadline_;
    Clock::time_point begun_;

    std::vector<OfferedTool> tools_;
    std::unique_ptr<ToolRun> offering_;
    std::size_t model_ = 0;
    std::vector<ChatMessage> conversation_;
    Value schema_;
    std::vector<EntryId> shown_;
    std::uint64_t view_tokens_ = 0;
    int shrinks_ = 0;
    std::uint32_t turns_ = 0;
    std::uint32_t breaks_ = 0;
    bool repaired_ = false;
    std::vector<std::string> notes_;
    std::string last_text_;

    /// The model call that is being made.
    std::optional<ModelCall> planned_;
    std::uint32_t call_ = 0;  // 0: none is permitted
    std::unique_ptr<ChatExchange> exchange_;
    Clock::time_point call_begun_;
    std::size_t received_ = 0;
    std::vector<ToolCallState> tool_calls_;
    std::size_t tools_left_ = 0;
    bool finished_ = false;
    bool abandoned_ = false;
};

std::int64_t LlmRun::left_ms() const {
    const auto spent = std::chrono::duration_cast<Milliseconds>(Clock::now() - begun_).count();
    return std::max<std::int64_t>(1, request_->deadline_ms - spent);
}

void LlmRun::begin() {
    deadline_.expires_after(Milliseconds(request_->deadline_ms));
    deadline_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
        if (error || self->finished_) return;
        self->end(OutcomeKind::timeout,
                  "did not end within its deadline of " + std::to_string(self->request_->deadline_ms) + " ms");
    });
    // Nothing may be called from within start().
    boost::asio::post(loop_, [self = shared_from_this()] {
        if (self->finished_) return;
        if (self->source().llm.tools.empty()) {
            self->render(0);
            return self->ask_model();
        }
        self->offering_ = self->services_.tools->offer(
            self->request_->crew, self->source(), self->secrets(), [self](Result<std::vector<OfferedTool>> offered) {
                if (self->finished_) return;
                if (!offered.ok()) return self->end(OutcomeKind::failed, offered.error().message);
                self->tools_ = std::move(*offered);
                self->render(0);
                self->ask_model();
            });
    });
}

void LlmRun::render(std::uint64_t view_tokens) {
    const PromptOptions options = prompt_options(*request_, model(), *services_.estimate, view_tokens, !tools_.empty());
    RenderedPrompt prompt = render_prompt(*request_, options);
    conversation_ = std::move(prompt.messages);
    schema_ = std::move(prompt.answer_schema);
    shown_ = std::move(prompt.shown);
    view_tokens_ = options.view_tokens;
}

void LlmRun::ask_model() {
    std::vector<ChatTool> tools;
    // The repair turn asks for the answer and for nothing else.
    if (!repaired_) {
        for (const OfferedTool& tool : tools_) tools.push_back(tool.chat);
    }
    planned_ = plan_model_call(model(), conversation_, std::move(tools), schema_, *services_.estimate);
    CallIntent intent;
    intent.target = CallTarget::model;
    intent.name = model().name;
    intent.parts = parts_of(planned_->request);
    intent.reserve = planned_->reserve;
    intent.seen = shown_;
    const bool tools_are_pure =
        std::all_of(tools_.begin(), tools_.end(), [](const OfferedTool& tool) { return tool.pure; });
    if (source().llm.reuse && tools_are_pure && !is_timed(source().when)) {
        std::string asked = "model";
        for (const std::string& part : {source().name, source().configuration_hash, model().name,
                                        wire_of(model().api).body(model(), planned_->request)}) {
            asked += '\0' + part;
        }
        intent.key = fixed_digest(asked);
    }
    events_.call(std::move(intent), [self = shared_from_this()](CallPermit permit) {
        if (!self->finished_) self->on_permit(std::move(permit));
    });
}

void LlmRun::on_permit(CallPermit permit) {
    switch (permit.kind) {
        case CallPermit::Kind::over:
            return end(OutcomeKind::cancelled, permit.reason.empty() ? "was ended" : permit.reason);
        case CallPermit::Kind::refused: {
            Outcome outcome;
            outcome.kind = OutcomeKind::budget;
            outcome.budget = std::move(permit.budget);
            outcome.error = std::move(permit.reason);
            return finish(std::move(outcome));
        }
        case CallPermit::Kind::answered: {
            const Result<Value> value = parse_json(permit.answer);
            const std::optional<ChatResponse> response =
                value.ok() ? chat_response_from(*value) : std::optional<ChatResponse>();
            if (!response) return end(OutcomeKind::failed, "the recorded answer cannot be read");
            return on_response(*response);
        }
        case CallPermit::Kind::go:
            break;
    }
    call_ = permit.call;
    call_begun_ = Clock::now();
    received_ = 0;
    ChatEvents events;
    events.text = [self = shared_from_this()](std::string_view text) {
        self->received_ += text.size();
        if (!self->finished_)
            self->say("is answered by " + self->model().name + ", " + std::to_string(self->received_) + " bytes");
    };
    events.finished = [self = shared_from_this()](ChatEnd end) {
        if (!self->finished_) self->on_model_end(std::move(end));
    };
    exchange_ = services_.chat->start(model(), planned_->request, secrets(), left_ms(), std::move(events));
}

void LlmRun::on_model_end(ChatEnd ended) {
    tell_returned(ended);
    if (const ChatResponse* response = std::get_if<ChatResponse>(&ended.result)) return on_response(*response);
    on_error(std::get<ChatError>(ended.result));
}

void LlmRun::tell_returned(const ChatEnd& ended) {
    CallEnd call;
    call.call = std::exchange(call_, 0);
    call.request_id = ended.request_id;
    call.duration_ms = std::chrono::duration_cast<Milliseconds>(Clock::now() - call_begun_).count();
    call.spent.calls = 1;
    call.spent.wall_ms = call.duration_ms;
    ChatUsage usage;
    if (const ChatResponse* response = std::get_if<ChatResponse>(&ended.result)) {
        usage = response->usage;
        call.answer = to_json(to_value(*response));
        if (!usage.known) {
            usage.input_tokens = planned_->prompt_tokens;
            usage.output_tokens = services_.estimate->tokens(model().name, response->text.size());
            call.estimated = true;
        } else {
            services_.estimate->learn(model().name, planned_->prompt_bytes, usage.input_tokens);
        }
    } else {
        const ChatError& error = std::get<ChatError>(ended.result);
        call.outcome = outcome_of(error.kind);
        call.error = error.message;
        usage = error.usage;
        if (!usage.known && may_have_cost(error)) {
            usage.input_tokens = planned_->prompt_tokens;
            usage.output_tokens = std::min<std::uint64_t>(
                services_.estimate->tokens(model().name, error.received_bytes), planned_->request.max_tokens);
            call.estimated = true;
        }
    }
    call.spent.tokens = usage.input_tokens + usage.output_tokens;
    if (model().price) call.spent.money_micros = money_micros(*model().price, usage);
    call.usage = usage_value(usage, ended.tries);
    exchange_.reset();
    events_.returned(std::move(call));
}

void LlmRun::on_error(const ChatError& error) {
    const bool another = model_ + 1 < source().llm.models.size();
    if (error.may_fall_back() && another) {
        notes_.push_back(model().name + " could not answer (" + error.message + "); asked " +
                         request_->crew->models[source().llm.models[model_ + 1]].name + " instead");
        ++model_;
        say("falls back to " + model().name);
        return ask_model();
    }
    // What broke off may be asked again; it is a call of its own, since the first one may have cost.
    if (error.kind == ChatErrorKind::interrupted && ++breaks_ < limits::model_tries_max) {
        notes_.push_back(error.message + "; asked again");
        return ask_model();
    }
    const bool at_the_prompt = conversation_.size() <= 2;
    if (error.kind == ChatErrorKind::context_overflow && at_the_prompt && shrinks_ < shrinks_max && !shown_.empty()) {
        ++shrinks_;
        const std::uint64_t shown = services_.estimate->tokens(model().name, conversation_.back().text.size());
        const std::uint64_t half =
            std::max<std::uint64_t>(1, (view_tokens_ == 0 ? shown : std::min(view_tokens_, shown)) / 2);
        notes_.push_back(model().name + " has no room for the prompt; asked again with half of the view");
        render(half);
        return ask_model();
    }
    end(outcome_of(error.kind), error.message);
}

void LlmRun::on_response(const ChatResponse& response) {
    ChatMessage said;
    said.role = ChatMessage::Role::assistant;
    said.text = response.text;
    said.tool_calls = response.tool_calls;
    said.provider_items = response.provider_items;
    conversation_.push_back(std::move(said));
    last_text_ = response.text;
    ++turns_;
    if (response.stop == ChatStop::refusal) {
        return end(OutcomeKind::failed, model().name + " refused to answer" +
                                            (response.refusal.empty() ? std::string() : ": " + response.refusal));
    }
    if (response.stop == ChatStop::filter) {
        return end(OutcomeKind::failed, "the answer of " + model().name + " was cut by its provider's filter");
    }
    if (response.tool_calls.empty()) return check(response.text, response.stop == ChatStop::length);
    if (turns_ >= source().llm.turns_max) {
        return end(OutcomeKind::failed,
                   "called tools for " + std::to_string(turns_) + " turns and gave no answer; max_turns says how many");
    }
    call_tools(response.tool_calls);
}

// ---- tools ----

void LlmRun::call_tools(const std::vector<ChatToolCall>& calls) {
    tool_calls_.clear();
    for (const ChatToolCall& call : calls) {
        ToolCallState state;
        state.call = call;
        const auto found = std::find_if(tools_.begin(), tools_.end(),
                                        [&](const OfferedTool& tool) { return tool.chat.name == call.name; });
        if (found != tools_.end()) state.tool = &*found;
        tool_calls_.push_back(std::move(state));
    }
    tools_left_ = tool_calls_.size();
    for (std::size_t i = 0; i < tool_calls_.size() && !finished_; ++i) start_tool(i);
    tools_done_if_all_are();
}

void LlmRun::start_tool(std::size_t index) {
    ToolCallState& state = tool_calls_[index];
    const auto answer_now = [&](std::string text) {
        state.answer = ToolAnswer{true, std::move(text), {}};
        --tools_left_;
    };
    if (state.tool == nullptr) return answer_now("there is no tool \"" + state.call.name + "\"");
    if (index >= limits::tool_calls_per_turn_max) {
        return answer_now("more than " + std::to_string(limits::tool_calls_per_turn_max) + " calls in one turn");
    }
    const Result<Value> arguments = parse_json(state.call.arguments.empty() ? "{}" : state.call.arguments);
    if (!arguments.ok() || !arguments->is_object()) {
        return answer_now("the arguments are no JSON object" +
                          (arguments.ok() ? std::string() : ": " + arguments.error().message));
    }
    CallIntent intent;
    intent.target = CallTarget::tool;
    intent.name = state.tool->name;
    intent.parts = {to_json(*arguments)};
    intent.reserve.calls = 1;
    intent.seen = {};
    if (state.tool->pure) intent.key = tool_call_key(intent.name, *arguments);
    say("calls " + intent.name);
    events_.call(std::move(intent), [self = shared_from_this(), index](CallPermit permit) {
        if (!self->finished_) self->on_tool_permit(index, std::move(permit));
    });
}

void LlmRun::on_tool_permit(std::size_t index, CallPermit permit) {
    ToolCallState& state = tool_calls_[index];
    switch (permit.kind) {
        case CallPermit::Kind::over:
            return end(OutcomeKind::cancelled, permit.reason.empty() ? "was ended" : permit.reason);
        case CallPermit::Kind::refused: {
            Outcome outcome;
            outcome.kind = OutcomeKind::budget;
            outcome.budget = std::move(permit.budget);
            outcome.error = std::move(permit.reason);
            return finish(std::move(outcome));
        }
        case CallPermit::Kind::answered: {
            ToolAnswer answer;
            if (const Result<Value> value = parse_json(permit.answer); value.ok()) {
                if (const Value* text = value->find("text"); text != nullptr && text->is_string()) {
                    answer.text = text->as_string();
                }
                if (const Value* data = value->find("data")) answer.data = *data;
            }
            state.answer = std::move(answer);
            --tools_left_;
            return tools_done_if_all_are();
        }
        case CallPermit::Kind::go:
            break;
    }
    state.number = permit.call;
    state.begun = Clock::now();
    const Result<Value> arguments = parse_json(state.call.arguments.empty() ? "{}" : state.call.arguments);
    assert(arguments.ok());
    state.run = services_.tools->call(request_->crew, state.tool->ref, *arguments, secrets(),
                                      request_->idempotency_key + "/" + std::to_string(permit.call),
                                      [self = shared_from_this(), index](ToolAnswer answer) {
                                          if (!self->finished_) self->on_tool_answer(index, std::move(answer));
                                      });
}

void LlmRun::on_tool_answer(std::size_t index, ToolAnswer answer) {
    ToolCallState& state = tool_calls_[index];
    CallEnd call;
    call.call = std::exchange(state.number, 0);
    call.outcome = answer.is_error ? OutcomeKind::failed : OutcomeKind::ok;
    call.answer = to_json(Value::object({{"text", answer.text}, {"data", answer.data}, {"is_error", answer.is_error}}));
    call.spent.calls = 1;
    call.duration_ms = std::chrono::duration_cast<Milliseconds>(Clock::now() - state.begun).count();
    call.spent.wall_ms = call.duration_ms;
    if (answer.is_error) call.error = answer.text.substr(0, answer.text.find('\n'));
    state.answer = std::move(answer);
    --tools_left_;
    events_.returned(std::move(call));
    tools_done_if_all_are();
}

void LlmRun::tools_done_if_all_are() {
    if (finished_ || tools_left_ > 0 || tool_calls_.empty()) return;
    for (ToolCallState& state : tool_calls_) {
        ChatMessage message;
        message.role = ChatMessage::Role::tool;
        message.tool_call_id = state.call.id;
        message.tool_name = state.call.name;
        message.is_error = state.answer->is_error;
        message.text = std::move(state.answer->text);
        if (message.text.empty() && !state.answer->data.is_null()) message.text = to_json(state.answer->data);
        conversation_.push_back(std::move(message));
    }
    tool_calls_.clear();
    ask_model();
}

// ---- the answer ----

void LlmRun::check(const std::string& text, bool cut_off) {
    CheckedAnswer answer = check_answer(text, *request_, shown_);
    if (answer.ok() && !cut_off) {
        Outcome outcome;
        outcome.writes = std::move(answer.writes);
        // In the words of the process protocol, from which the log alone can give the writes again.
        outcome.raw_output = make_output(outcome.writes);
        if (!answer.note.empty()) notes_.push_back(std::move(answer.note));
        return finish(std::move(outcome));
    }
    if (cut_off) {
        answer.problems.insert(answer.problems.begin(),
                               Refusal{0,
                                       RefusalRule::malformed,
                                       "the answer was cut off at " + std::to_string(planned_->request.max_tokens) +
                                           " tokens; it must be shorter",
                                       {}});
    }
    if (repaired_) {
        return end(OutcomeKind::malformed,
                   "the answer of " + model().name +
                       " is not usable, nor was it after one repair turn: " + joined(answer.problems));
    }
    repaired_ = true;
    ChatMessage repair;
    repair.role = ChatMessage::Role::user;
    repair.text = repair_request(answer.problems);
    conversation_.push_back(std::move(repair));
    notes_.push_back("one repair turn: " + joined(answer.problems));
    say("is asked to repair its answer");
    ask_model();
}

void LlmRun::say(const std::string& text) {
    if (events_.progress) events_.progress(text);
}

void LlmRun::end(OutcomeKind kind, std::string error) {
    Outcome outcome;
    outcome.kind = kind;
    outcome.error = std::move(error);
    if (kind == OutcomeKind::malformed) outcome.raw_output = last_text_;
    finish(std::move(outcome));
}

void LlmRun::cancel() {
    if (!finished_) end(OutcomeKind::cancelled, "was cancelled because the run stops");
}

void LlmRun::finish(Outcome outcome) {
    if (finished_) return;
    deadline_.cancel();
    offering_.reset();
    // A call that is cut off here has cost something, though nobody will say how much.
    if (call_ != 0) {
        ChatError cut;
        cut.kind = outcome.kind == OutcomeKind::timeout ? ChatErrorKind::timeout : ChatErrorKind::cancelled;
        cut.message = outcome.error;
        cut.received_bytes = received_;
        tell_returned(ChatEnd{cut, {}, 1, 0});
    }
    for (ToolCallState& state : tool_calls_) {
        if (state.number == 0) continue;
        CallEnd call;
        call.call = std::exchange(state.number, 0);
        call.outcome = OutcomeKind::cancelled;
        call.error = outcome.error;
        call.spent.calls = 1;
        call.estimated = true;
        events_.returned(std::move(call));
    }
    finished_ = true;
    exchange_.reset();
    outcome.notes = std::move(notes_);
    outcome.duration_ms = std::chrono::duration_cast<Milliseconds>(Clock::now() - begun_).count();
    boost::asio::post(loop_, [self = shared_from_this(), outcome = std::move(outcome)]() mutable {
        if (self->abandoned_) return;
        self->tool_calls_.clear();
        const std::function<void(Outcome)> finished = std::move(self->events_.finished);
        self->events_ = AttemptEvents{};
        if (finished) finished(std::move(outcome));
    });
}

void LlmRun::abandon() {
    abandoned_ = true;
    finished_ = true;
    deadline_.cancel();
    offering_.reset();
    exchange_.reset();
    tool_calls_.clear();
    events_ = AttemptEvents{};
}

class LlmAttempt : public Attempt {
public:
    explicit LlmAttempt(std::shared_ptr<LlmRun> run) : run_(std::move(run)) {}
    ~LlmAttempt() override { run_->abandon(); }
    void cancel() override { run_->cancel(); }

private:
    std::shared_ptr<LlmRun> run_;
};

class LlmSource : public KnowledgeSource {
public:
    LlmSource(boost::asio::io_context& loop, LlmServices services) : loop_(loop), services_(std::move(services)) {}

    std::unique_ptr<Attempt> start(std::shared_ptr<const ActivationRequest> request, AttemptEvents events) override {
        auto run = std::make_shared<LlmRun>(loop_, services_, std::move(request), std::move(events));
        run->begin();
        return std::make_unique<LlmAttempt>(std::move(run));
    }

private:
    boost::asio::io_context& loop_;
    LlmServices services_;
};

}  // namespace

std::unique_ptr<KnowledgeSource> make_llm_source(boost::asio::io_context& loop, LlmServices services) {
    return std::make_unique<LlmSource>(loop, std::move(services));
}

ModelCall plan_model_call(const ModelSpec& model, std::vector<ChatMessage> conversation, std::vector<ChatTool> tools,
                          const Value& answer_schema, const TokenEstimate& estimate) {
    ModelCall call;
    call.model = &model;
    call.request.messages = std::move(conversation);
    call.request.tools = std::move(tools);
    call.request.answer_schema = answer_schema;
    call.request.max_tokens = model.max_tokens;
    // The body is longer than what the model reads of it, so this errs on the careful side.
    call.prompt_bytes = wire_of(model.api).body(model, call.request).size();
    call.prompt_tokens = estimate.tokens(model.name, call.prompt_bytes);
    call.reserve.calls = 1;
    call.reserve.tokens = call.prompt_tokens + call.request.max_tokens;
    if (model.price) {
        ChatUsage most;
        most.input_tokens = call.prompt_tokens;
        most.output_tokens = call.request.max_tokens;
        call.reserve.money_micros = money_micros(*model.price, most);
    }
    return call;
}

PromptOptions prompt_options(const ActivationRequest& request, const ModelSpec& model, const TokenEstimate& estimate,
                             std::uint64_t view_tokens, bool has_tools) {
    PromptOptions options;
    options.has_tools = has_tools;
    options.fence = request.fence;
    const bool is_enforced = !has_tools && model.structured == StructuredOutput::schema &&
                             model.api != ModelApi::ollama_chat &&
                             (model.api != ModelApi::anthropic_messages ||
                              closed_schema(answer_schema(*request.crew, *request.source)).has_value());
    options.schema_in_text = !is_enforced;
    options.count_tokens = [&estimate, name = model.name](std::size_t bytes) { return estimate.tokens(name, bytes); };
    options.view_tokens = view_tokens != 0 ? view_tokens : request.source->llm.view_tokens;
    if (options.view_tokens == 0 && model.context_tokens > model.max_tokens) {
        // The instructions, the match and the answer need room as well.
        options.view_tokens = std::max<std::uint64_t>(1, (model.context_tokens - model.max_tokens) * 7 / 10);
    }
    return options;
}

}  // namespace stele

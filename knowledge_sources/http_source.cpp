#include "knowledge_sources/http_source.hpp"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <chrono>
#include <map>
#include <optional>

#include "board/hash.hpp"
#include "board/limits.hpp"
#include "knowledge_sources/http_listener.hpp"
#include "knowledge_sources/process_protocol.hpp"
#include "knowledge_sources/webhook_signature.hpp"

namespace stele {

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr std::string_view callback_path = "/callbacks/";
constexpr std::int64_t first_wait_ms = 500;
constexpr std::int64_t wait_max_ms = 8'000;
constexpr std::size_t error_bytes_shown = 300;

std::int64_t unix_seconds() {
    return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
}

std::string first_line(std::string_view text) {
    text = text.substr(0, std::min(text.find('\n'), error_bytes_shown));
    std::string line(text);
    for (char& c : line) {
        if (static_cast<unsigned char>(c) < 0x20) c = ' ';
    }
    return line;
}

/// Where services that answer later do so; one for each address that crews name.
class CallbackHub {
public:
    using Take = std::function<HttpReply(const ReceivedRequest&)>;

    explicit CallbackHub(boost::asio::io_context& loop) : loop_(loop) {}

    /// The URL that a service answers to under this token.
    Result<std::string> expect(const CallbackSpec& spec, const std::string& token, Take take) {
        std::unique_ptr<HttpListener>& listener = listeners_[spec.listen];
        if (!listener) {
            ListenOptions options;
            options.address = spec.listen;
            Result<std::unique_ptr<HttpListener>> listening =
                listen_http(loop_, options, [this](const ReceivedRequest& request) { return receive(request); });
            if (!listening.ok()) return listening.error();
            listener = std::move(*listening);
        }
        expected_[token] = std::move(take);
        std::string base = spec.url.empty() ? "http://" + listener->address() : spec.url;
        if (!base.empty() && base.back() == '/') base.pop_back();
        return base + std::string(callback_path) + token;
    }

    void forget(const std::string& token) { expected_.erase(token); }

private:
    HttpReply receive(const ReceivedRequest& request) {
        if (request.target.rfind(callback_path, 0) != 0) return {404, {}, "there is nothing here\n"};
        if (request.method != "POST") return {405, {{"Allow", "POST"}}, "answers are posted\n"};
        const auto found = expected_.find(request.target.substr(callback_path.size()));
        // An answer that comes twice, or after its time, changes nothing.
        if (found == expected_.end()) return {410, {}, "no answer is waited for here, or not any more\n"};
        const Take take = found->second;
        return take(request);
    }

    boost::asio::io_context& loop_;
    std::map<std::string, std::unique_ptr<HttpListener>> listeners_;
    std::map<std::string, Take> expected_;
};

class HttpRun : public std::enable_shared_from_this<HttpRun> {
public:
    HttpRun(boost::asio::io_context& loop, HttpClient& http, CallbackHub& hub, Secrets& secrets,
            std::shared_ptr<const ActivationRequest> request, AttemptEvents events)
        : loop_(loop),
          http_(http),
          hub_(hub),
          secrets_(secrets),
          request_(std::move(request)),
          events_(std::move(events)),
          deadline_(loop),
          wait_(loop),
          begun_(Clock::now()) {}

    void begin();
    void cancel() {
        if (!finished_) end(OutcomeKind::cancelled, "was cancelled because the run stops");
    }
    void abandon();

private:
    [[nodiscard]] const HttpSourceSpec& spec() const { return request_->source->http; }
    [[nodiscard]] std::int64_t left_ms() const {
        const auto spent = std::chrono::duration_cast<Milliseconds>(Clock::now() - begun_).count();
        return std::max<std::int64_t>(1, request_->deadline_ms - spent);
    }

    void ask();
    void on_permit(CallPermit permit);
    void send();
    Status fill(HttpRequest& message);
    void on_answer(const HttpEnd& end);
    bool try_again(std::int64_t wait_ms, const std::string& why);
    HttpReply on_callback(const ReceivedRequest& received);
    void take_output(std::string output);
    void settle(OutcomeKind kind, const std::string& error, std::string answer);
    void end(OutcomeKind kind, std::string error);
    void finish(Outcome outcome);

    boost::asio::io_context& loop_;
    HttpClient& http_;
    CallbackHub& hub_;
    Secrets& secrets_;
    std::shared_ptr<const ActivationRequest> request_;
    AttemptEvents events_;
    boost::asio::steady_timer deadline_;
    boost::asio::steady_timer wait_;
    Clock::time_point begun_;
    Clock::time_point call_begun_;
    std::string url_;
    std::string where_;  // for messages
    std::string body_;
    std::string callback_url_;
    std::string token_;
    std::uint32_t call_ = 0;
    std::uint32_t tries_ = 0;
    std::unique_ptr<HttpExchange> exchange_;
    std::optional<HttpHead> head_;
    std::string received_;
    std::vector<std::string> notes_;
    bool finished_ = false;
    bool abandoned_ = false;
};

void HttpRun::begin() {
    deadline_.expires_after(Milliseconds(request_->deadline_ms));
    deadline_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
        if (error || self->finished_) return;
        self->end(OutcomeKind::timeout, self->where_ + " gave no answer within its deadline of " +
                                            std::to_string(self->request_->deadline_ms) + " ms");
    });
    // Nothing may be called from within start().
    boost::asio::post(loop_, [self = shared_from_this()] {
        if (!self->finished_) self->ask();
    });
}

void HttpRun::ask() {
    Result<std::string> url = secrets_.fill(spec().url);
    if (!url.ok()) return end(OutcomeKind::blocked, url.error().message);
    url_ = std::move(*url);
    const std::unique_ptr<UrlParts> parts = parse_url(url_);
    if (!parts)
        return end(OutcomeKind::not_started, "the url of source \"" + request_->source->name + "\" is no http URL");
    where_ = (parts->tls ? "https://" : "http://") + parts->host + ":" + std::to_string(parts->port);
    body_ = make_request(*request_);
    if (!spec().secret_env.empty() && request_->crew->callbacks) {
        // Nobody can guess it, and it names no board.
        const std::array<std::uint8_t, 16> random = make_random_salt();
        token_ = to_hex(std::string_view(reinterpret_cast<const char*>(random.data()), random.size()));
        Result<std::string> callback =
            hub_.expect(*request_->crew->callbacks, token_, [weak = weak_from_this()](const ReceivedRequest& received) {
                const std::shared_ptr<HttpRun> self = weak.lock();
                return self ? self->on_callback(received) : HttpReply{410, {}, "no answer is waited for any more\n"};
            });
        if (!callback.ok()) return end(OutcomeKind::not_started, "callbacks: " + callback.error().message);
        callback_url_ = std::move(*callback);
    }
    CallIntent intent;
    intent.target = CallTarget::service;
    intent.name = where_;
    intent.parts = {body_};
    intent.reserve.calls = 1;
    for (const ViewRegion& region : request_->view) {
        for (const EntryPtr& entry : region.entries) intent.seen.push_back(entry->id);
    }
    if (request_->source->pure) {
        // What is asked, without what only this attempt has.
        ActivationRequest same = *request_;
        same.activation = {};
        same.attempt = 1;
        same.version = {};
        same.idempotency_key.clear();
        intent.key = fixed_digest("service" + ('\0' + url_) + '\0' + make_request(same));
    }
    const auto call = events_.call;
    call(std::move(intent), [self = shared_from_this()](CallPermit permit) {
        if (!self->finished_) self->on_permit(std::move(permit));
    });
}

void HttpRun::on_permit(CallPermit permit) {
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
        case CallPermit::Kind::answered:
            return take_output(std::move(permit.answer));
        case CallPermit::Kind::go:
            call_ = permit.call;
            call_begun_ = Clock::now();
            return send();
    }
}

Status HttpRun::fill(HttpRequest& message) {
    message.url = url_;
    message.body = body_;
    message.timeout_ms = message.idle_timeout_ms = left_ms();
    message.body_bytes_max = request_->source->limits.output_bytes;
    message.headers = {{"Content-Type", "application/json"},
                       {"Accept", "application/x-ndjson"},
                       {"Idempotency-Key", request_->idempotency_key},
                       {"Stele-Source", request_->source->name}};
    for (const auto& [name, value] : spec().headers) {
        Result<std::string> filled = secrets_.fill(value);
        if (!filled.ok()) return filled.error();
        message.headers.emplace_back(name, std::move(*filled));
    }
    if (spec().secret_env.empty()) return Done{};
    const std::optional<std::string> secret = secrets_.secret(spec().secret_env);
    if (!secret) return Error{ErrorCode::not_found, "the variable " + spec().secret_env + " is not set"};
    const std::int64_t now = unix_seconds();
    message.headers.emplace_back("webhook-id", request_->idempotency_key);
    message.headers.emplace_back("webhook-timestamp", std::to_string(now));
    message.headers.emplace_back("webhook-signature",
                                 webhook_signature(*secret, {request_->idempotency_key, now, body_}));
    if (!callback_url_.empty()) message.headers.emplace_back("Stele-Callback", callback_url_);
    return Done{};
}

void HttpRun::send() {
    HttpRequest message;
    const Status filled = fill(message);
    if (!filled.ok()) return end(OutcomeKind::blocked, filled.error().message);
    ++tries_;
    head_.reset();
    received_.clear();
    HttpEvents events;
    events.head = [self = shared_from_this()](const HttpHead& head) { self->head_ = head; };
    events.data = [self = shared_from_this()](std::string_view bytes) {
        self->received_.append(bytes);
        return true;
    };
    events.finished = [self = shared_from_this()](const HttpEnd& end) {
        if (!self->finished_) self->on_answer(end);
    };
    exchange_ = http_.start(std::move(message), std::move(events));
}

void HttpRun::on_answer(const HttpEnd& ended) {
    exchange_.reset();
    if (ended.kind == HttpEndKind::too_large) {
        return end(OutcomeKind::flooded, where_ + " answered with more than " +
                                             std::to_string(request_->source->limits.output_bytes) + " bytes");
    }
    if (ended.kind != HttpEndKind::complete || !head_) {
        // The idempotency key makes asking again safe, whatever became of the first try.
        if (try_again(-1, ended.message)) return;
        return end(ended.kind == HttpEndKind::timeout ? OutcomeKind::timeout : OutcomeKind::failed, ended.message);
    }
    const int status = head_->status;
    if (status == 200 || status == 201) return settle(OutcomeKind::ok, {}, std::move(received_));
    if (status == 204) return settle(OutcomeKind::ok, {}, {});
    if (status == 202) {
        if (!callback_url_.empty()) {
            const auto progress = events_.progress;
            if (progress) progress("waits for the callback of " + where_);
            return;
        }
        return end(OutcomeKind::failed, where_ +
                                            " will answer later (202), but the source declares no secret_env, or "
                                            "the crew no callbacks, to take that in");
    }
    const std::string said = first_line(received_);
    const std::string why =
        where_ + " answered " + std::to_string(status) + (said.empty() ? std::string() : ": " + said);
    if (status == 401 || status == 403) return end(OutcomeKind::blocked, why);
    if (status == 408 || status == 425 || status == 429 || status >= 500) {
        std::int64_t wait_s = 0;
        const std::string* after = head_->find("retry-after");
        const bool told = after != nullptr &&
                          std::from_chars(after->data(), after->data() + after->size(), wait_s).ec == std::errc{} &&
                          wait_s >= 0;
        if (try_again(told ? std::min(wait_s, limits::retry_after_max_ms / 1000) * 1000 : -1, why)) return;
    }
    end(OutcomeKind::failed, why);
}

/// `wait_ms` below 0: as long as the tries so far suggest.
bool HttpRun::try_again(std::int64_t wait_ms, const std::string& why) {
    if (tries_ >= spec().tries) return false;
    if (wait_ms < 0) wait_ms = std::min(wait_max_ms, first_wait_ms << std::min<std::uint32_t>(tries_ - 1, 10));
    if (wait_ms >= left_ms()) return false;
    notes_.push_back(why + "; asked again");
    wait_.expires_after(Milliseconds(wait_ms));
    wait_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
        if (!error && !self->finished_) self->send();
    });
    return true;
}

HttpReply HttpRun::on_callback(const ReceivedRequest& received) {
    if (finished_ || call_ == 0) return {410, {}, "no answer is waited for any more\n"};
    const std::string* id = received.find("webhook-id");
    const std::string* timestamp = received.find("webhook-timestamp");
    const std::string* signature = received.find("webhook-signature");
    const std::optional<std::string> secret = secrets_.secret(spec().secret_env);
    if (id == nullptr || timestamp == nullptr || signature == nullptr || !secret) {
        return {401, {}, "webhook-id, webhook-timestamp and webhook-signature are needed\n"};
    }
    std::int64_t time_s = 0;
    std::from_chars(timestamp->data(), timestamp->data() + timestamp->size(), time_s);
    const Status verified = verify_webhook(*secret, {*id, time_s, received.body}, *signature, unix_seconds());
    if (!verified.ok()) return {401, {}, verified.error().message + "\n"};
    if (*id != request_->idempotency_key) return {401, {}, "webhook-id is not the request's Idempotency-Key\n"};
    exchange_.reset();
    wait_.cancel();
    const std::string* outcome = received.find("stele-outcome");
    if (outcome != nullptr && *outcome != "ok") {
        end(OutcomeKind::failed,
            where_ + " called back with " + first_line(*outcome) + ": " + first_line(received.body));
        return {204, {}, {}};
    }
    if (received.body.size() > request_->source->limits.output_bytes) {
        end(OutcomeKind::flooded,
            where_ + " called back with more than " + std::to_string(request_->source->limits.output_bytes) + " bytes");
        return {413, {}, "the answer is too large\n"};
    }
    settle(OutcomeKind::ok, {}, received.body);
    return {204, {}, {}};
}

void HttpRun::settle(OutcomeKind kind, const std::string& error, std::string answer) {
    if (call_ != 0) {
        CallEnd call;
        call.call = std::exchange(call_, 0);
        call.outcome = kind;
        call.error = error;
        call.answer = answer;
        call.spent.calls = 1;
        call.duration_ms = std::chrono::duration_cast<Milliseconds>(Clock::now() - call_begun_).count();
        call.spent.wall_ms = call.duration_ms;
        // Whoever is told may drop the attempt, and what it was told with.
        const auto returned = events_.returned;
        returned(std::move(call));
    }
    if (kind == OutcomeKind::ok) take_output(std::move(answer));
}

void HttpRun::take_output(std::string output) {
    ParsedOutput parsed = parse_output(output, *request_->source);
    Outcome outcome;
    outcome.raw_output = std::move(output);
    outcome.cost = std::move(parsed.cost);
    for (std::string& note : parsed.notes) notes_.push_back(std::move(note));
    if (parsed.ok()) {
        outcome.writes = std::move(parsed.writes);
    } else {
        outcome.kind = OutcomeKind::malformed;
        outcome.error = parsed.error();
    }
    finish(std::move(outcome));
}

void HttpRun::end(OutcomeKind kind, std::string error) {
    settle(kind, error, {});
    Outcome outcome;
    outcome.kind = kind;
    outcome.error = std::move(error);
    finish(std::move(outcome));
}

void HttpRun::finish(Outcome outcome) {
    if (finished_) return;
    finished_ = true;
    deadline_.cancel();
    wait_.cancel();
    exchange_.reset();
    if (!token_.empty()) hub_.forget(token_);
    outcome.notes = std::move(notes_);
    outcome.duration_ms = std::chrono::duration_cast<Milliseconds>(Clock::now() - begun_).count();
    boost::asio::post(loop_, [self = shared_from_this(), outcome = std::move(outcome)]() mutable {
        if (self->abandoned_) return;
        const std::function<void(Outcome)> finished = std::move(self->events_.finished);
        self->events_ = AttemptEvents{};
        if (finished) finished(std::move(outcome));
    });
}

void HttpRun::abandon() {
    abandoned_ = true;
    finished_ = true;
    deadline_.cancel();
    wait_.cancel();
    exchange_.reset();
    if (!token_.empty()) hub_.forget(token_);
    events_ = AttemptEvents{};
}

class HttpAttempt : public Attempt {
public:
    explicit HttpAttempt(std::shared_ptr<HttpRun> run) : run_(std::move(run)) {}
    ~HttpAttempt() override { run_->abandon(); }
    void cancel() override { run_->cancel(); }

private:
    std::shared_ptr<HttpRun> run_;
};

class HttpSource : public KnowledgeSource {
public:
    HttpSource(boost::asio::io_context& loop, HttpClient& http, std::function<Secrets&(const CrewSpec&)> secrets)
        : loop_(loop), http_(http), hub_(loop), secrets_(std::move(secrets)) {}

    std::unique_ptr<Attempt> start(std::shared_ptr<const ActivationRequest> request, AttemptEvents events) override {
        Secrets& secrets = secrets_(*request->crew);
        auto run = std::make_shared<HttpRun>(loop_, http_, hub_, secrets, std::move(request), std::move(events));
        run->begin();
        return std::make_unique<HttpAttempt>(std::move(run));
    }

private:
    boost::asio::io_context& loop_;
    HttpClient& http_;
    CallbackHub hub_;
    std::function<Secrets&(const CrewSpec&)> secrets_;
};

}  // namespace

std::unique_ptr<KnowledgeSource> make_http_source(boost::asio::io_context& loop, HttpClient& http,
                                                  std::function<Secrets&(const CrewSpec&)> secrets) {
    return std::make_unique<HttpSource>(loop, http, std::move(secrets));
}

}  // namespace stele

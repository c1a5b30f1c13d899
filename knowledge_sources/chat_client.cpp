#include "knowledge_sources/chat_client.hpp"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cmath>
#include <deque>
#include <limits>
#include <map>
#include <random>

#include "board/limits.hpp"

namespace stele {

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr std::int64_t first_delay_ms = 500;
constexpr std::int64_t delay_max_ms = 8'000;
/// Bytes of English, code and JSON for one token: fewer than most tokenizers need, so that the count errs
/// on the careful side.
constexpr double tokens_per_byte_first = 0.34;
constexpr double learned_margin = 1.05;

std::int64_t unix_ms() {
    return std::chrono::duration_cast<Milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// What may pass in a minute, coming back evenly. One request may be larger than all there is: it passes
/// when the bucket is full.
class Bucket {
public:
    void set_rate(std::uint64_t per_minute) {
        if (rate_ == per_minute) return;
        rate_ = per_minute;
        level_ = static_cast<double>(per_minute);
        filled_ = Clock::now();
    }
    /// How long until so much may pass; 0: now.
    [[nodiscard]] std::int64_t wait_ms(std::uint64_t amount) {
        if (rate_ == 0) return 0;
        fill();
        const double wanted = std::min(static_cast<double>(amount), static_cast<double>(rate_));
        if (level_ >= wanted) return 0;
        return static_cast<std::int64_t>(std::ceil((wanted - level_) / static_cast<double>(rate_) * 60'000.0));
    }
    void take(std::uint64_t amount) {
        if (rate_ != 0) level_ -= static_cast<double>(amount);
    }

private:
    void fill() {
        const Clock::time_point now = Clock::now();
        const double minutes = std::chrono::duration<double>(now - filled_).count() / 60.0;
        level_ = std::min(static_cast<double>(rate_), level_ + minutes * static_cast<double>(rate_));
        filled_ = now;
    }

    std::uint64_t rate_ = 0;
    double level_ = 0;
    Clock::time_point filled_;
};

/// Whoever waits for a turn at a model.
struct Waiter {
    std::uint64_t tokens = 0;
    std::function<void()> go;
    bool gone = false;
};

/// The limits of one model: in the order in which they came.
class Gate {
public:
    explicit Gate(boost::asio::io_context& loop) : timer_(loop) {}

    void declare(const ModelSpec& model) {
        concurrency_ = model.concurrency;
        requests_.set_rate(model.requests_per_minute);
        tokens_.set_rate(model.tokens_per_minute);
    }
    std::shared_ptr<Waiter> enter(std::uint64_t tokens, std::function<void()> go) {
        auto waiter = std::make_shared<Waiter>(Waiter{tokens, std::move(go), false});
        waiting_.push_back(waiter);
        pump();
        return waiter;
    }
    void leave() {
        --running_;
        pump();
    }
    /// Whoever waited in front may have held up others that ask for less.
    void give_up(Waiter& waiter) {
        if (waiter.gone) return;
        waiter.gone = true;
        pump();
    }
    /// Nothing starts before then: the provider says that nothing is left.
    void hold(std::int64_t ms) {
        held_until_ = std::max(held_until_, Clock::now() + Milliseconds(std::min(ms, limits::retry_after_max_ms)));
    }

private:
    void pump() {
        while (!waiting_.empty()) {
            if (waiting_.front()->gone) {
                waiting_.pop_front();
                continue;
            }
            if (concurrency_ != 0 && running_ >= concurrency_) return;
            const std::shared_ptr<Waiter> next = waiting_.front();
            const auto held = std::chrono::duration_cast<Milliseconds>(held_until_ - Clock::now()).count();
            const std::int64_t wait =
                std::max({static_cast<std::int64_t>(held), requests_.wait_ms(1), tokens_.wait_ms(next->tokens)});
            if (wait > 0) return come_back(wait);
            waiting_.pop_front();
            requests_.take(1);
            tokens_.take(next->tokens);
            ++running_;
            next->go();
        }
    }
    void come_back(std::int64_t ms) {
        timer_.expires_after(Milliseconds(ms));
        timer_.async_wait([this](const boost::system::error_code& error) {
            if (!error) pump();
        });
    }

    boost::asio::steady_timer timer_;
    std::deque<std::shared_ptr<Waiter>> waiting_;
    std::uint32_t concurrency_ = 0;
    std::uint32_t running_ = 0;
    Bucket requests_;
    Bucket tokens_;
    Clock::time_point held_until_{};
};

class Exchange;

class Client final : public ChatClient {
public:
    Client(boost::asio::io_context& loop, HttpClient& http) : loop_(loop), http_(http), dice_(std::random_device{}()) {}

    std::unique_ptr<ChatExchange> start(const ModelSpec& model, ChatRequest request, Secrets& secrets,
                                        std::int64_t deadline_ms, ChatEvents events) override;

    Gate& gate(const ModelSpec& model) {
        std::unique_ptr<Gate>& gate = gates_[model.name];
        if (!gate) gate = std::make_unique<Gate>(loop_);
        gate->declare(model);
        return *gate;
    }
    boost::asio::io_context& loop() { return loop_; }
    HttpClient& http() { return http_; }
    /// Between half and all of it, so that many who failed together do not come back together.
    std::int64_t jittered(std::int64_t ms) {
        return ms / 2 + std::uniform_int_distribution<std::int64_t>(0, std::max<std::int64_t>(1, ms / 2))(dice_);
    }

private:
    boost::asio::io_context& loop_;
    HttpClient& http_;
    std::mt19937 dice_;
    std::map<std::string, std::unique_ptr<Gate>> gates_;
};

class Exchange final : public std::enable_shared_from_this<Exchange> {
public:
    Exchange(Client& client, const ModelSpec& model, ChatRequest request, Secrets& secrets, std::int64_t deadline_ms,
             ChatEvents events)
        : client_(client),
          model_(model),
          wire_(wire_of(model.api)),
          secrets_(secrets),
          events_(std::move(events)),
          gate_(client.gate(model)),
          retry_(client.loop()),
          deadline_(client.loop()),
          begun_(Clock::now()),
          deadline_ms_(std::min(deadline_ms, model.timeout_ms)),
          body_(wire_.body(model, request)),
          tokens_(static_cast<std::uint64_t>(static_cast<double>(body_.size()) * tokens_per_byte_first) +
                  (request.max_tokens != 0 ? request.max_tokens : model.max_tokens)) {}

    void begin() {
        Result<std::string> url = model_url(model_, secrets_);
        if (!url.ok()) return end_with(ChatErrorKind::authentication, url.error().message);
        url_ = *url + wire_.path();
        if (!model_.key_env.empty()) {
            std::optional<std::string> key = secrets_.secret(model_.key_env);
            if (!key && !model_.key_optional) {
                return end_with(ChatErrorKind::authentication,
                                "model " + model_.name + " needs a key: set " + model_.key_env +
                                    " in the environment, or in .env beside the crew file");
            }
            key_ = key.value_or("");
        }
        deadline_.expires_after(Milliseconds(deadline_ms_));
        deadline_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
            if (!error && !self->over_)
                self->end_with(ChatErrorKind::timeout, self->model_.name + " gave no answer within " +
                                                           std::to_string(self->deadline_ms_) + " ms");
        });
        ask();
    }

    void drop() {
        over_ = true;
        events_ = {};
        clear();
    }

private:
    void clear() {
        const std::shared_ptr<Waiter> waiter = std::move(waiter_);
        retry_.cancel();
        deadline_.cancel();
        http_.reset();
        if (inside_) {
            inside_ = false;
            gate_.leave();
        }
        if (waiter) gate_.give_up(*waiter);
    }

    void ask() {
        waiter_ = gate_.enter(tokens_, [weak = weak_from_this()] {
            if (const std::shared_ptr<Exchange> self = weak.lock()) self->send();
        });
    }

    void send() {
        inside_ = true;
        waiter_.reset();
        ++tries_;
        request_id_.clear();
        decoder_ = wire_.decoder(model_, unix_ms());
        HttpRequest request;
        request.url = url_;
        request.headers = wire_.headers(model_, key_);
        request.headers.emplace_back("Content-Type", "application/json");
        request.headers.emplace_back(
            "Accept", model_.stream ? "text/event-stream, application/x-ndjson, application/json" : "application/json");
        for (const auto& [name, value] : model_.headers) {
            Result<std::string> filled = secrets_.fill(value);
            if (!filled.ok()) return end_with(ChatErrorKind::authentication, filled.error().message);
            request.headers.emplace_back(name, std::move(*filled));
        }
        request.body = body_;
        request.timeout_ms = left_ms();
        request.idle_timeout_ms = std::min(model_.idle_timeout_ms, left_ms());
        HttpEvents events;
        events.head = [self = shared_from_this()](const HttpHead& head) {
            self->decoder_->head(head);
            if (const std::string* id = head.find("x-request-id")) self->request_id_ = *id;
            if (const std::string* id = head.find("request-id")) self->request_id_ = *id;
        };
        events.data = [self = shared_from_this()](std::string_view bytes) {
            const bool more = self->decoder_->data(bytes);
            if (const std::string text = self->decoder_->take_text(); !text.empty() && self->events_.text) {
                // Whoever is told may drop the exchange, and what it was told with.
                const auto tell = self->events_.text;
                tell(text);
            }
            return more;
        };
        events.finished = [self = shared_from_this()](const HttpEnd& end) {
            if (!self->over_) self->on_end(end);
        };
        http_ = client_.http().start(std::move(request), std::move(events));
    }

    void on_end(const HttpEnd& ended) {
        ChatResult result = decoder_->finish(ended);
        const RateHeaders& rates = decoder_->rates();
        if (rates.requests_remaining == 0u && rates.requests_reset_ms) gate_.hold(*rates.requests_reset_ms);
        if (rates.tokens_remaining == 0u && rates.tokens_reset_ms) gate_.hold(*rates.tokens_reset_ms);
        http_.reset();
        if (inside_) {
            inside_ = false;
            gate_.leave();
        }
        if (ChatError* error = std::get_if<ChatError>(&result)) {
            // Nothing was answered, so nothing was paid for; what broke off is another's to decide.
            const bool unanswered = error->received_bytes == 0 && error->kind != ChatErrorKind::interrupted;
            if (unanswered && error->may_retry() && tries_ < limits::model_tries_max && try_again(*error)) return;
            error->message = secrets_.redact(std::move(error->message));
            if (error->request_id.empty()) error->request_id = request_id_;
        }
        end(std::move(result));
    }

    bool try_again(const ChatError& error) {
        std::int64_t wait =
            client_.jittered(std::min(delay_max_ms, first_delay_ms << std::min<std::uint32_t>(tries_ - 1, 6)));
        if (error.retry_after_ms) {
            if (*error.retry_after_ms > limits::retry_after_max_ms) return false;
            wait = *error.retry_after_ms;
        }
        if (wait >= left_ms()) return false;
        retry_.expires_after(Milliseconds(wait));
        retry_.async_wait([self = shared_from_this()](const boost::system::error_code& failed) {
            if (!failed && !self->over_) self->ask();
        });
        return true;
    }

    [[nodiscard]] std::int64_t left_ms() const {
        const auto spent = std::chrono::duration_cast<Milliseconds>(Clock::now() - begun_).count();
        return std::max<std::int64_t>(1, deadline_ms_ - spent);
    }

    void end_with(ChatErrorKind kind, std::string message) {
        ChatError error;
        error.kind = kind;
        error.message = secrets_.redact(std::move(message));
        error.request_id = request_id_;
        if (decoder_ && inside_) {
            // What had come until then may have been paid for.
            HttpEnd cut;
            cut.kind = kind == ChatErrorKind::timeout ? HttpEndKind::timeout : HttpEndKind::cancelled;
            const ChatResult so_far = decoder_->finish(cut);
            if (const ChatError* broken = std::get_if<ChatError>(&so_far)) {
                error.received_bytes = broken->received_bytes;
                error.usage = broken->usage;
            }
        }
        end(std::move(error));
    }

    void end(ChatResult result) {
        if (over_) return;
        over_ = true;
        ChatEnd ended;
        ended.result = std::move(result);
        ended.request_id = request_id_;
        ended.tries = tries_;
        ended.duration_ms = std::chrono::duration_cast<Milliseconds>(Clock::now() - begun_).count();
        clear();
        boost::asio::post(client_.loop(), [self = shared_from_this(), ended = std::move(ended)]() mutable {
            const auto finished = std::move(self->events_.finished);
            self->events_ = {};
            if (finished) finished(std::move(ended));
        });
    }

    Client& client_;
    const ModelSpec& model_;
    const ChatWire& wire_;
    Secrets& secrets_;
    ChatEvents events_;
    Gate& gate_;
    boost::asio::steady_timer retry_;
    boost::asio::steady_timer deadline_;
    Clock::time_point begun_;
    std::int64_t deadline_ms_;
    std::string body_;
    std::uint64_t tokens_;
    std::string url_;
    std::string key_;
    std::string request_id_;
    std::uint32_t tries_ = 0;
    std::shared_ptr<Waiter> waiter_;
    std::unique_ptr<ChatDecoder> decoder_;
    std::unique_ptr<HttpExchange> http_;
    bool inside_ = false;
    bool over_ = false;
};

class Handle final : public ChatExchange {
public:
    explicit Handle(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
    ~Handle() override { exchange_->drop(); }

private:
    std::shared_ptr<Exchange> exchange_;
};

std::unique_ptr<ChatExchange> Client::start(const ModelSpec& model, ChatRequest request, Secrets& secrets,
                                            std::int64_t deadline_ms, ChatEvents events) {
    auto exchange =
        std::make_shared<Exchange>(*this, model, std::move(request), secrets, deadline_ms, std::move(events));
    exchange->begin();
    return std::make_unique<Handle>(std::move(exchange));
}

}  // namespace

std::unique_ptr<ChatClient> make_chat_client(boost::asio::io_context& loop, HttpClient& http) {
    return std::make_unique<Client>(loop, http);
}

namespace {

/// What servers are told to listen at, made into a URL to ask them at: ":11434", "0.0.0.0", "box:8080/api".
std::string with_scheme(std::string url, ModelApi api) {
    const std::size_t colon = url.find("://");
    const bool has_scheme = colon != std::string::npos;
    const std::string scheme = has_scheme ? url.substr(0, colon + 3) : "http://";
    std::string place = has_scheme ? url.substr(colon + 3) : std::move(url);
    const std::size_t end = std::min(place.find_first_of("/?#"), place.size());
    std::string rest = place.substr(end);
    place.resize(end);
    const std::size_t bracket = place.rfind(']');
    const std::size_t port_at = place.find(':', bracket == std::string::npos ? 0 : bracket);
    std::string host = place.substr(0, port_at);
    std::string port = port_at == std::string::npos ? "" : place.substr(port_at);
    // A server that listens everywhere is asked here.
    if (host == "0.0.0.0" || (host.empty() && !port.empty())) host = "127.0.0.1";
    if (host == "[::]") host = "[::1]";
    if (!has_scheme && port.empty() && api == ModelApi::ollama_chat) port = ":11434";
    return scheme + host + port + rest;
}

}  // namespace

Result<std::string> model_url(const ModelSpec& model, Secrets& secrets) {
    std::string url;
    if (!model.base_url.empty()) {
        Result<std::string> filled = secrets.fill(model.base_url);
        if (!filled.ok()) return filled.error();
        url = std::move(*filled);
    } else {
        if (!model.base_url_env.empty()) url = secrets.plain(model.base_url_env).value_or("");
        if (url.empty()) url = model.base_url_default;
    }
    if (url.empty()) {
        return Error{ErrorCode::not_found,
                     "model " + model.name + " has no base_url" +
                         (model.base_url_env.empty() ? std::string() : ", and " + model.base_url_env + " is not set")};
    }
    url = with_scheme(std::move(url), model.api);
    while (!url.empty() && url.back() == '/') url.pop_back();
    if (!parse_url(url)) {
        return Error{ErrorCode::invalid_argument, "the base_url of model " + model.name + " is no http or https URL"};
    }
    return url;
}

std::uint64_t TokenEstimate::tokens(std::string_view model, std::size_t bytes) const {
    double ratio = tokens_per_byte_first;
    for (const auto& [name, learned] : ratios_) {
        if (name == model) ratio = std::max(ratio, learned);
    }
    return static_cast<std::uint64_t>(std::ceil(static_cast<double>(bytes) * ratio));
}

void TokenEstimate::learn(std::string_view model, std::size_t bytes, std::uint64_t tokens) {
    // A few words say nothing: what providers add to every prompt would weigh too much.
    constexpr std::size_t bytes_min = 200;
    if (bytes < bytes_min) return;
    const double ratio = std::min(1.0, static_cast<double>(tokens) / static_cast<double>(bytes) * learned_margin);
    for (auto& [name, learned] : ratios_) {
        if (name != model) continue;
        learned = std::max(learned, ratio);
        return;
    }
    ratios_.emplace_back(model, ratio);
}

std::int64_t money_micros(const Price& price, const ChatUsage& usage) {
    const std::uint64_t cached = std::min(usage.cached_input_tokens, usage.input_tokens);
    const std::int64_t cached_pico = price.cached_input_pico != 0 ? price.cached_input_pico : price.input_pico;
    __extension__ using Wide = unsigned __int128;
    const Wide pico = static_cast<Wide>(usage.input_tokens - cached) * price.input_pico +
                      static_cast<Wide>(cached) * cached_pico +
                      static_cast<Wide>(usage.output_tokens) * price.output_pico;
    constexpr Wide pico_per_micro = 1'000'000;
    const Wide micros = (pico + pico_per_micro - 1) / pico_per_micro;
    constexpr Wide most = std::numeric_limits<std::int64_t>::max();
    return static_cast<std::int64_t>(micros > most ? most : micros);
}

}  // namespace stele

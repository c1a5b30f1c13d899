// How a model is asked over HTTP: where, with what, when again, and what is left when nobody wants it
// any more. The provider is a script.
#include "knowledge_sources/chat_client.hpp"

#include <doctest/doctest.h>

#include <boost/asio/io_context.hpp>
#include <limits>
#include <map>
#include <random>

#include "board/limits.hpp"
#include "tests/knowledge_sources/fake_http.hpp"

using namespace stele;
using fake::header;
using fake::Step;

namespace {

std::map<std::string, std::string> environment;

Secrets secrets_with(std::map<std::string, std::string> variables) {
    environment = std::move(variables);
    Result<Secrets> secrets = Secrets::load("/nonexistent-crew-directory", [](const char* name) -> const char* {
        const auto found = environment.find(name);
        return found == environment.end() ? nullptr : found->second.c_str();
    });
    REQUIRE(secrets.ok());
    return std::move(*secrets);
}

const HttpHeaders stream_type = {{"content-type", "text/event-stream"}};

std::string piece(const std::string& text) {
    return R"(data: {"id":"c1","choices":[{"index":0,"delta":{"content":")" + text + "\"}}]}\n\n";
}
const std::string last_piece =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n";

Step good() {
    Step step;
    step.headers = stream_type;
    step.pieces = {piece("hel"), piece("lo"), last_piece};
    return step;
}
Step refused(int status, HttpHeaders headers = {{"retry-after-ms", "1"}},
             std::string body = R"({"error":{"message":"no"}})") {
    Step step;
    step.status = status;
    step.headers = std::move(headers);
    step.pieces = {std::move(body)};
    return step;
}
Step unreachable() {
    Step step;
    step.status = 0;
    step.end = HttpEndKind::connect_failed;
    step.message = "models.test refused the connection";
    step.nothing_sent = true;
    return step;
}
Step hanging(std::vector<std::string> pieces = {}) {
    Step step;
    step.headers = stream_type;
    step.pieces = std::move(pieces);
    step.hangs = true;
    return step;
}

struct Told {
    std::vector<std::string> text;
    std::optional<ChatEnd> end;
    int finished = 0;
    std::unique_ptr<ChatExchange> exchange;

    [[nodiscard]] const ChatError* error() const { return end ? std::get_if<ChatError>(&end->result) : nullptr; }
    [[nodiscard]] const ChatResponse* response() const {
        return end ? std::get_if<ChatResponse>(&end->result) : nullptr;
    }
};

struct World {
    boost::asio::io_context loop;
    fake::Http http{loop};
    Secrets secrets = secrets_with({{"MODEL_KEY", "sk-very-secret"}, {"TEAM", "blue-team-7"}});
    ModelSpec model;
    std::unique_ptr<ChatClient> client = make_chat_client(loop, http);

    World() {
        model.name = "fast";
        model.provider = "openai";
        model.model = "gpt";
        model.base_url = "http://models.test/v1";
        model.key_env = "MODEL_KEY";
        model.max_tokens = 100;
    }

    void start(Told& told, std::int64_t deadline_ms = 5'000, std::string prompt = "hi") {
        ChatRequest request;
        request.messages.push_back({ChatMessage::Role::user, std::move(prompt), {}, {}, {}, false, {}});
        ChatEvents events;
        events.text = [&told](std::string_view text) { told.text.emplace_back(text); };
        events.finished = [&told](ChatEnd end) {
            ++told.finished;
            told.end = std::move(end);
        };
        told.exchange = client->start(model, std::move(request), secrets, deadline_ms, std::move(events));
        CHECK(told.finished == 0);
    }
    void run() {
        loop.restart();
        loop.run();
    }
    Told ask(std::deque<Step> script, std::int64_t deadline_ms = 5'000) {
        http.script = std::move(script);
        Told told;
        start(told, deadline_ms);
        run();
        CHECK(told.finished == 1);
        CHECK(http.in_flight == 0);
        told.exchange.reset();
        run();
        CHECK(told.finished == 1);
        return told;
    }
    void run_until(const std::function<bool()>& done) {
        loop.restart();
        const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(5);
        while (!done() && std::chrono::steady_clock::now() < limit && loop.run_one() != 0) {
        }
        REQUIRE(done());
    }
};

}  // namespace

TEST_CASE("a request carries its key, its headers filled in, and its text comes in pieces") {
    World world;
    world.model.headers = {{"X-Team", "team ${env.TEAM}"}};
    Step step = good();
    step.headers.emplace_back("x-request-id", "req-9");
    const Told told = world.ask({step});
    REQUIRE(told.response() != nullptr);
    CHECK(told.response()->text == "hello");
    CHECK(told.response()->usage.input_tokens == 11);
    CHECK(told.text == std::vector<std::string>{"hel", "lo"});
    CHECK(told.end->request_id == "req-9");
    CHECK(told.end->tries == 1);
    CHECK(told.end->duration_ms >= 0);
    const HttpRequest& asked = world.http.asked.at(0);
    CHECK(asked.url == "http://models.test/v1/chat/completions");
    CHECK(asked.method == "POST");
    CHECK(*header(asked, "Authorization") == "Bearer sk-very-secret");
    CHECK(*header(asked, "X-Team") == "team blue-team-7");
    CHECK(*header(asked, "Content-Type") == "application/json");
    CHECK(asked.timeout_ms <= 5'000);
    CHECK(asked.idle_timeout_ms <= asked.timeout_ms);
    CHECK(asked.body.find("sk-very-secret") == std::string::npos);
}

TEST_CASE("a missing key ends the call unsent, unless the server can do without") {
    World world;
    world.model.key_env = "OTHER_KEY";
    const Told told = world.ask({});
    REQUIRE(told.error() != nullptr);
    CHECK(told.error()->kind == ChatErrorKind::authentication);
    CHECK(told.error()->message.find("OTHER_KEY") != std::string::npos);
    CHECK(told.end->tries == 0);
    CHECK(world.http.asked.empty());

    world.model.key_optional = true;
    CHECK(world.ask({good()}).response() != nullptr);
    CHECK(header(world.http.asked.at(0), "Authorization") == nullptr);

    world.model.key_env.clear();
    world.model.key_optional = false;
    CHECK(world.ask({good()}).response() != nullptr);
}

TEST_CASE("a header that lacks its variable ends the call unsent and gives its turn back") {
    World world;
    world.model.concurrency = 1;
    world.model.headers = {{"X-Team", "${env.NOT_SET}"}};
    const Told told = world.ask({});
    REQUIRE(told.error() != nullptr);
    CHECK(told.error()->kind == ChatErrorKind::authentication);
    CHECK(told.error()->message.find("NOT_SET") != std::string::npos);
    CHECK(world.http.asked.empty());
    world.model.headers.clear();
    CHECK(world.ask({good()}).response() != nullptr);
}

TEST_CASE("a model's URL is its own, else its variable's, else its default") {
    struct Row {
        ModelApi api;
        const char* base;
        const char* variable;
        const char* fallback;
        const char* expected;  // nullptr: an error
    };
    const ModelApi ollama = ModelApi::ollama_chat;
    const ModelApi openai = ModelApi::openai_chat;
    const Row rows[] = {
        {openai, "http://a.test/v1", "http://b.test", "http://c.test", "http://a.test/v1"},
        {openai, "", "http://b.test", "http://c.test", "http://b.test"},
        {openai, "", "", "http://c.test", "http://c.test"},
        {openai, "", "", "", nullptr},
        {openai, "https://a.test/v1//", "", "", "https://a.test/v1"},
        {openai, "http://${env.HOST_PART}/v1", "", "", "http://box.test:81/v1"},
        {openai, "http://${env.NOT_SET}/v1", "", "", nullptr},
        {openai, "a.test:8080/v1", "", "", "http://a.test:8080/v1"},
        {openai, "ftp://a.test", "", "", nullptr},
        {openai, "http://", "", "", nullptr},
        {openai, "http://a b", "", "", nullptr},
        {ollama, "", "", "http://127.0.0.1:11434", "http://127.0.0.1:11434"},
        {ollama, "", "0.0.0.0", "", "http://127.0.0.1:11434"},
        {ollama, "", "0.0.0.0:8080", "", "http://127.0.0.1:8080"},
        {ollama, "", "http://0.0.0.0:11434", "", "http://127.0.0.1:11434"},
        {ollama, "", ":8080", "", "http://127.0.0.1:8080"},
        {ollama, "", "box", "", "http://box:11434"},
        {ollama, "", "box:80", "", "http://box:80"},
        {ollama, "", "box/", "", "http://box:11434"},
        {ollama, "", "box/api", "", "http://box:11434/api"},
        {ollama, "", "http://box", "", "http://box"},
        {ollama, "", "https://box:443/", "", "https://box:443"},
        {ollama, "", "[::1]", "", "http://[::1]:11434"},
        {ollama, "", "[::]:8080", "", "http://[::1]:8080"},
        {ollama, "", "[::1]:8080", "", "http://[::1]:8080"},
        {ollama, "", "0.0.0.0.example.test", "", "http://0.0.0.0.example.test:11434"},
    };
    for (const Row& row : rows) {
        CAPTURE(row.base);
        CAPTURE(row.variable);
        Secrets secrets = secrets_with({{"SERVER", row.variable}, {"HOST_PART", "box.test:81"}});
        ModelSpec model;
        model.name = "fast";
        model.api = row.api;
        model.base_url = row.base;
        model.base_url_env = "SERVER";
        model.base_url_default = row.fallback;
        const Result<std::string> url = model_url(model, secrets);
        REQUIRE(url.ok() == (row.expected != nullptr));
        if (row.expected != nullptr) CHECK(*url == row.expected);
        if (row.expected == nullptr) CHECK_FALSE(url.error().message.empty());
    }
}

TEST_CASE("a model without a URL ends its call unsent") {
    World world;
    world.model.base_url.clear();
    const Told told = world.ask({});
    REQUIRE(told.error() != nullptr);
    CHECK(told.error()->message.find("base_url") != std::string::npos);
    CHECK(world.http.asked.empty());
}

TEST_CASE("where nothing was answered the same is asked again") {
    for (const Step& first : {refused(429), refused(500), refused(502), refused(503), refused(529), refused(408)}) {
        CAPTURE(first.status);
        World world;
        const Told told = world.ask({first, good()});
        REQUIRE(told.response() != nullptr);
        CHECK(told.end->tries == 2);
        REQUIRE(world.http.asked.size() == 2);
        CHECK(world.http.asked[0].body == world.http.asked[1].body);
        CHECK(told.text == std::vector<std::string>{"hel", "lo"});
    }
    World world;
    CHECK(world.ask({unreachable(), good()}).response() != nullptr);
    // Between half and all of the first delay.
    CHECK(world.http.ms_between(0, 1) >= 240);
    CHECK(world.http.ms_between(0, 1) <= 1'000);
}

TEST_CASE("what asking again cannot help is asked once") {
    const HttpHeaders none;
    const Step rows[] = {
        refused(400, none),
        refused(401, none),
        refused(403, none),
        refused(404, none),
        refused(413, none),
        refused(422, none),
        refused(402, none),
        refused(429, none, R"({"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}})"),
        refused(200, {{"content-type", "text/html"}}, "<html>"),
    };
    for (const Step& row : rows) {
        CAPTURE(row.status);
        World world;
        const Told told = world.ask({row});
        REQUIRE(told.error() != nullptr);
        CHECK(told.end->tries == 1);
        CHECK(told.error()->received_bytes == (row.status == 200 ? 6 : 0));
    }
}

TEST_CASE("a provider's word on asking again is obeyed both ways") {
    World no;
    const Told once = no.ask({refused(500, {{"x-should-retry", "false"}})});
    REQUIRE(once.error() != nullptr);
    CHECK(once.end->tries == 1);
    CHECK(once.error()->kind == ChatErrorKind::server);
    World yes;
    const Told twice = yes.ask({refused(400, {{"x-should-retry", "true"}, {"retry-after-ms", "1"}}), good()});
    CHECK(twice.response() != nullptr);
    CHECK(twice.end->tries == 2);
}

TEST_CASE("retry-after is waited for, unless it is longer than the limit or the deadline") {
    World world;
    CHECK(world.ask({refused(429, {{"retry-after-ms", "120"}}), good()}).response() != nullptr);
    CHECK(world.http.ms_between(0, 1) >= 118);

    World above;
    const Told told =
        above.ask({refused(429, {{"retry-after-ms", std::to_string(limits::retry_after_max_ms + 1)}})}, 1'000'000'000);
    REQUIRE(told.error() != nullptr);
    CHECK(told.end->tries == 1);
    CHECK(told.error()->retry_after_ms == limits::retry_after_max_ms + 1);

    World late;
    const Told ended = late.ask({refused(429, {{"retry-after", "2"}})}, 1'000);
    REQUIRE(ended.error() != nullptr);
    CHECK(ended.error()->kind == ChatErrorKind::rate_limited);
    CHECK(ended.end->tries == 1);
    CHECK(ended.end->duration_ms < 900);
}

TEST_CASE("a call gives up after its tries, with what was said last") {
    World world;
    world.http.repeats = true;
    Step step = refused(503, {{"retry-after-ms", "1"}, {"x-request-id", "req-3"}});
    const Told told = world.ask({step});
    REQUIRE(told.error() != nullptr);
    CHECK(told.end->tries == limits::model_tries_max);
    CHECK(world.http.asked.size() == limits::model_tries_max);
    CHECK(told.error()->kind == ChatErrorKind::overloaded);
    CHECK(told.error()->request_id == "req-3");
}

TEST_CASE("an answer that broke off after a good head is not asked for again") {
    const HttpEndKind ends[] = {HttpEndKind::closed_early, HttpEndKind::idle_timeout, HttpEndKind::malformed,
                                HttpEndKind::too_large, HttpEndKind::complete};
    for (const HttpEndKind end : ends) {
        for (const std::size_t pieces : {0U, 1U, 2U}) {
            CAPTURE(to_text(end));
            CAPTURE(pieces);
            World world;
            Step step = good();
            step.pieces.resize(pieces);
            step.end = end;
            const Told told = world.ask({step});
            REQUIRE(told.error() != nullptr);
            CHECK(told.end->tries == 1);
            CHECK((told.error()->received_bytes > 0) == (pieces > 0));
            CHECK(told.text.size() == pieces);
        }
    }
    // A request that may have been acted on without an answer is not sent twice either.
    World world;
    Step lost;
    lost.status = 0;
    lost.end = HttpEndKind::closed_early;
    const Told told = world.ask({lost});
    REQUIRE(told.error() != nullptr);
    CHECK(told.error()->kind == ChatErrorKind::interrupted);
    CHECK(told.end->tries == 1);
}

TEST_CASE("the request id told is that of the try that ended the call") {
    World world;
    const Told told = world.ask({refused(500, {{"retry-after-ms", "1"}, {"x-request-id", "first"}}), good()});
    REQUIRE(told.response() != nullptr);
    CHECK(told.end->request_id.empty());
}

TEST_CASE("the deadline ends a call wherever it is") {
    World world;
    const Told hung = world.ask({hanging({piece("half")})}, 60);
    REQUIRE(hung.error() != nullptr);
    CHECK(hung.error()->kind == ChatErrorKind::timeout);
    CHECK(hung.error()->received_bytes == piece("half").size());
    CHECK(hung.end->duration_ms >= 55);
    CHECK(world.http.destroyed_in_flight == 1);

    // The model's own timeout is one too.
    World own;
    own.model.timeout_ms = 40;
    const Told short_one = own.ask({hanging()}, 60'000);
    REQUIRE(short_one.error() != nullptr);
    CHECK(short_one.error()->kind == ChatErrorKind::timeout);
    CHECK(own.http.asked.at(0).timeout_ms <= 40);

    // Also while it waits for its turn.
    World busy;
    busy.model.concurrency = 1;
    busy.http.script = {hanging()};
    Told first, second;
    busy.start(first, 10'000);
    busy.start(second, 50);
    busy.run_until([&] { return second.finished == 1; });
    REQUIRE(second.error() != nullptr);
    CHECK(second.error()->kind == ChatErrorKind::timeout);
    CHECK(second.end->tries == 0);
    CHECK(busy.http.asked.size() == 1);
    first.exchange.reset();
    busy.run();
    CHECK(first.finished == 0);
}

TEST_CASE("a call that is dropped in flight after any event is told nothing more, and frees its place") {
    // Head, pieces, end: each is one step of the loop, and the destruction falls between any two of them.
    for (int steps = 0; steps < 12; ++steps) {
        CAPTURE(steps);
        World world;
        world.model.concurrency = 1;
        world.http.script = {good(), good()};
        Told dropped, next;
        world.start(dropped);
        world.start(next);
        for (int i = 0; i < steps; ++i) world.loop.poll_one();
        const int finished = dropped.finished;
        const std::size_t text = dropped.text.size();
        dropped.exchange.reset();
        world.run();
        CHECK(dropped.finished == finished);
        CHECK(dropped.text.size() == text);
        CHECK(next.finished == 1);
        CHECK(next.response() != nullptr);
        CHECK(world.http.in_flight == 0);
        CHECK(world.http.most_in_flight == 1);
    }
}

TEST_CASE("a call may be dropped from within its own text") {
    World world;
    world.model.concurrency = 1;
    world.http.script = {good(), good()};
    std::unique_ptr<ChatExchange> exchange;
    int finished = 0;
    std::vector<std::string> heard;
    ChatEvents events;
    const std::string captured(100, 'x');
    events.text = [&, captured](std::string_view text) {
        exchange.reset();
        heard.emplace_back(text);
        CHECK(captured == std::string(100, 'x'));
    };
    events.finished = [&](const ChatEnd&) { ++finished; };
    exchange = world.client->start(world.model, {}, world.secrets, 5'000, std::move(events));
    Told next;
    world.start(next);
    world.run();
    CHECK(heard == std::vector<std::string>{"hel"});
    CHECK(finished == 0);
    CHECK(next.response() != nullptr);
    CHECK(world.http.in_flight == 0);
}

TEST_CASE("a call may be dropped while it waits for its turn or to ask again") {
    World world;
    world.model.concurrency = 1;
    world.http.script = {hanging(), good()};
    Told running, waiting, last;
    world.start(running);
    world.start(waiting);
    world.start(last);
    waiting.exchange.reset();
    running.exchange.reset();
    world.run();
    CHECK(world.http.asked.size() == 2);
    CHECK(running.finished + waiting.finished == 0);
    CHECK(last.response() != nullptr);

    World retrying;
    retrying.model.concurrency = 1;
    retrying.http.script = {refused(503, {{"retry-after-ms", "60000"}}), good()};
    Told dropped, next;
    retrying.start(dropped, 100'000);
    retrying.run_until([&] { return retrying.http.asked.size() == 1 && retrying.http.in_flight == 0; });
    // Whoever waits to ask again takes up no place.
    retrying.start(next);
    retrying.run_until([&] { return next.finished == 1; });
    CHECK(next.response() != nullptr);
    dropped.exchange.reset();
    const auto begun = std::chrono::steady_clock::now();
    retrying.run();
    CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(2));
    CHECK(dropped.finished == 0);
    CHECK(retrying.http.asked.size() == 2);
}

TEST_CASE("random drops leave no call, no exchange and no place taken") {
    const auto seed = std::random_device{}();
    MESSAGE("seed " << seed);
    std::mt19937 dice(seed);
    for (int round = 0; round < 40; ++round) {
        World world;
        world.model.concurrency = 1 + dice() % 3;
        world.http.repeats = true;
        world.http.script.clear();
        for (int i = 0; i < 30; ++i) {
            Step step = dice() % 3 == 0 ? refused(503) : good();
            step.after_ms = dice() % 3;
            world.http.script.push_back(step);
        }
        world.http.script.push_back(good());
        std::vector<Told> calls(12);
        for (Told& told : calls) {
            world.start(told);
            for (std::size_t i = dice() % 6; i > 0; --i) world.loop.poll_one();
        }
        std::vector<int> finished(calls.size(), -1);
        for (std::size_t i = 0; i < calls.size(); ++i) {
            for (std::size_t k = dice() % 4; k > 0; --k) world.loop.poll_one();
            if (dice() % 2 == 0) continue;
            finished[i] = calls[i].finished;
            calls[i].exchange.reset();
        }
        world.run();
        for (std::size_t i = 0; i < calls.size(); ++i) {
            CHECK(calls[i].finished == (finished[i] < 0 ? 1 : finished[i]));
        }
        CHECK(world.http.in_flight == 0);
        CHECK(world.http.most_in_flight <= static_cast<int>(world.model.concurrency));
        Told last;
        world.start(last);
        world.run();
        CHECK(last.finished == 1);
    }
}

TEST_CASE("fifty calls keep to the model's concurrency, and another model's do not count") {
    World world;
    world.model.concurrency = 4;
    world.http.repeats = true;
    Step step = good();
    step.after_ms = 1;
    world.http.script = {step};
    std::vector<Told> calls(50);
    for (Told& told : calls) world.start(told);
    world.run();
    for (const Told& told : calls) CHECK(told.response() != nullptr);
    CHECK(world.http.most_in_flight == 4);
    CHECK(world.http.asked.size() == 50);

    World two;
    two.model.concurrency = 1;
    two.http.script = {hanging(), good()};
    Told first, other;
    two.start(first);
    ModelSpec second = two.model;
    second.name = "other";
    ChatEvents events;
    events.finished = [&other](const ChatEnd&) { ++other.finished; };
    other.exchange = two.client->start(second, {}, two.secrets, 5'000, std::move(events));
    two.run_until([&] { return other.finished == 1; });
    first.exchange.reset();
    two.run();
}

TEST_CASE("requests and tokens per minute hold the next call back, and only as long as needed") {
    // 600 in a minute is one each 100 ms, once the minute's own are gone.
    World requests;
    requests.model.requests_per_minute = 600;
    requests.http.repeats = true;
    requests.http.script = {good()};
    std::vector<Told> calls(603);
    for (Told& told : calls) requests.start(told);
    CHECK(requests.http.asked.size() >= 600);
    CHECK(requests.http.asked.size() < 603);
    requests.run();
    for (const Told& told : calls) CHECK(told.response() != nullptr);
    CHECK(requests.http.ms_between(0, 602) >= 295);
    CHECK(requests.http.ms_between(0, 602) < 2'000);

    // One request may take all the tokens of a minute; what comes after it waits for its own.
    World tokens;
    tokens.model.max_tokens = 1'000;
    tokens.model.tokens_per_minute = 600'000;
    tokens.http.script = {good(), good()};
    Told first, second;
    tokens.start(first, 5'000, std::string(1'764'000, 'x'));  // 599,760 tokens and a little
    tokens.start(second, 5'000);
    CHECK(tokens.http.asked.size() == 1);
    tokens.run();
    CHECK(second.response() != nullptr);
    CHECK(tokens.http.ms_between(0, 1) >= 90);
    CHECK(tokens.http.ms_between(0, 1) < 1'000);
}

TEST_CASE("whoever leaves the queue lets those behind it through") {
    World world;
    world.model.tokens_per_minute = 60'000;
    world.http.script = {good(), good()};
    Told first, large, small;
    world.start(first, 60'000, std::string(20'000, 'x'));
    world.start(large, 60'000, std::string(200'000, 'x'));
    world.start(small, 60'000);
    CHECK(world.http.asked.size() == 1);
    large.exchange.reset();
    CHECK(world.http.asked.size() == 2);
    world.run_until([&] { return small.finished == 1; });
    CHECK(small.response() != nullptr);
}

TEST_CASE("a provider that says nothing is left is not asked before its reset") {
    for (const char* what : {"requests", "tokens"}) {
        CAPTURE(what);
        World world;
        Step step = good();
        step.headers.emplace_back(std::string("x-ratelimit-remaining-") + what, "0");
        step.headers.emplace_back(std::string("x-ratelimit-reset-") + what, "150ms");
        world.http.script = {step, good()};
        Told first, second;
        world.start(first);
        world.run_until([&] { return first.finished == 1; });
        world.start(second);
        CHECK(world.http.asked.size() == 1);
        world.run();
        CHECK(second.response() != nullptr);
        CHECK(world.http.ms_between(0, 1) >= 145);
        CHECK(world.http.ms_between(0, 1) < 1'000);
    }
}

TEST_CASE("a secret that comes back in an error is blacked out") {
    World world;
    world.model.headers = {{"X-Team", "${env.TEAM}"}};
    const Told told = world.ask({refused(401, {}, R"({"error":{"message":"bad key sk-very-secret of blue-team-7"}})")});
    REQUIRE(told.error() != nullptr);
    CHECK(told.error()->message.find("sk-very-secret") == std::string::npos);
    CHECK(told.error()->message.find("blue-team-7") == std::string::npos);
    CHECK(told.error()->message.find("[MODEL_KEY]") != std::string::npos);
    CHECK(told.error()->kind == ChatErrorKind::authentication);
}

TEST_CASE("money is rounded up to a millionth and never runs over") {
    const auto cost = [](Price price, std::uint64_t in, std::uint64_t out, std::uint64_t cached = 0) {
        return money_micros(price, {true, in, out, cached, 0, 0});
    };
    const Price price{3'000'000, 15'000'000, 300'000};
    CHECK(cost(price, 0, 0) == 0);
    CHECK(cost(price, 100, 20) == 600);
    CHECK(cost(price, 1'000'000, 1'000'000) == 18'000'000);
    CHECK(cost({1, 0, 0}, 1, 0) == 1);
    CHECK(cost({1, 0, 0}, 1'000'000, 0) == 1);
    CHECK(cost({1, 0, 0}, 1'000'001, 0) == 2);
    // One rounding for the whole, not one for each kind of token.
    CHECK(cost({1, 1, 1}, 2, 1, 1) == 1);
    CHECK(cost(price, 100, 0, 100) == 30);
    CHECK(cost(price, 100, 0, 60) == 40 * 3 + 18);
    // More cached than there was, and a price that says nothing of cached ones.
    CHECK(cost(price, 100, 0, 1'000) == 30);
    CHECK(cost({3'000'000, 0, 0}, 100, 0, 60) == 300);
    constexpr std::uint64_t most_tokens = std::numeric_limits<std::uint64_t>::max();
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    CHECK(cost({most, most, most}, most_tokens, most_tokens, most_tokens / 2) == most);
    CHECK(cost({1'000'000, 0, 0}, static_cast<std::uint64_t>(most), 0) == most);
}

TEST_CASE("an estimate is never below a count by bytes, and learns upward only") {
    TokenEstimate estimate;
    CHECK(estimate.tokens("fast", 0) == 0);
    CHECK(estimate.tokens("fast", 1) == 1);
    CHECK(estimate.tokens("fast", 1'000) == 340);
    estimate.learn("fast", 1'000, 100);
    CHECK(estimate.tokens("fast", 1'000) == 340);
    estimate.learn("fast", 1'000, 600);
    CHECK(estimate.tokens("fast", 1'000) >= 630);
    CHECK(estimate.tokens("fast", 1'000) <= 631);
    estimate.learn("fast", 1'000, 200);
    CHECK(estimate.tokens("fast", 1'000) >= 630);
    CHECK(estimate.tokens("other", 1'000) == 340);
    // A short prompt says nothing, and nothing has more tokens than bytes.
    estimate.learn("other", 10, 200);
    CHECK(estimate.tokens("other", 1'000) == 340);
    estimate.learn("other", 1'000, 1'000'000);
    CHECK(estimate.tokens("other", 1'000) == 1'000);
}

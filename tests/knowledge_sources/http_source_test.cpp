// Sources of kind http against a scripted service, and callbacks over a real socket: what is sent, what
// each answer comes to, who may call back, and what is left behind.
#include "knowledge_sources/http_source.hpp"

#include <doctest/doctest.h>
#include <openssl/evp.h>

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <ctime>
#include <map>
#include <random>

#include "knowledge_sources/process_protocol.hpp"
#include "knowledge_sources/webhook_signature.hpp"
#include "tests/knowledge_sources/fake_http.hpp"

using namespace stele;
using boost::asio::ip::tcp;
using fake::header;
using fake::Step;

namespace {

// ---- signatures, made here a second way: HMAC as RFC 2104 writes it, over SHA-256 alone ----

std::string sha256(const std::string& text) {
    std::array<unsigned char, 32> digest{};
    unsigned int size = 0;
    REQUIRE(EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) == 1);
    return std::string(reinterpret_cast<const char*>(digest.data()), size);
}

std::string base64(const std::string& bytes) {
    constexpr std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
        std::uint32_t three = 0;
        const std::size_t there = std::min<std::size_t>(3, bytes.size() - i);
        for (std::size_t k = 0; k < 3; ++k) {
            three = three << 8U | (k < there ? static_cast<unsigned char>(bytes[i + k]) : 0U);
        }
        for (std::size_t k = 0; k < 4; ++k) text += k <= there ? letters[three >> (18 - 6 * k) & 63U] : '=';
    }
    return text;
}

std::string plain_signature(std::string key, const std::string& id, std::int64_t time_s, const std::string& body) {
    if (key.size() > 64) key = sha256(key);
    key.resize(64, '\0');
    std::string inner, outer;
    for (const char c : key) {
        inner += static_cast<char>(c ^ 0x36);
        outer += static_cast<char>(c ^ 0x5c);
    }
    return "v1," + base64(sha256(outer + sha256(inner + id + "." + std::to_string(time_s) + "." + body)));
}

constexpr const char* secret = "a-shared-secret";

// ---- the world ----

constexpr const char* good_line = R"({"op":"insert","region":"notes","entry":{"text":"hi"},"cites":["tasks/1"]})";

Step answers(int status, std::string body = {}, HttpHeaders headers = {}) {
    Step step;
    step.status = status;
    step.headers = std::move(headers);
    if (!body.empty()) step.pieces = {body.substr(0, body.size() / 2), body.substr(body.size() / 2)};
    return step;
}
Step breaks(HttpEndKind kind, bool with_head = true) {
    Step step;
    step.status = with_head ? 200 : 0;
    step.end = kind;
    step.message = "service.test broke off";
    return step;
}
Step hangs() {
    Step step;
    step.hangs = true;
    return step;
}

/// One request over a socket of its own; the reply's status when it is whole.
class RawPost {
public:
    RawPost(boost::asio::io_context& loop, std::uint16_t port, std::string request)
        : socket_(loop), request_(std::move(request)) {
        socket_.async_connect(tcp::endpoint(boost::asio::ip::address_v4::loopback(), port),
                              [this](const boost::system::error_code& error) {
                                  REQUIRE_MESSAGE(!error, error.message());
                                  boost::asio::async_write(
                                      socket_, boost::asio::buffer(request_),
                                      [this](const boost::system::error_code&, std::size_t) { read(); });
                              });
    }
    bool done = false;
    std::string reply;
    [[nodiscard]] int status() const { return reply.size() > 12 ? std::stoi(reply.substr(9, 3)) : 0; }

private:
    void read() {
        socket_.async_read_some(
            boost::asio::buffer(bytes_), [this](const boost::system::error_code& error, std::size_t size) {
                reply.append(bytes_.data(), size);
                done = static_cast<bool>(error);  // the request asks for the connection to be closed
                if (!done) read();
            });
    }
    tcp::socket socket_;
    std::string request_;
    std::array<char, 4096> bytes_{};
};

struct World {
    boost::asio::io_context loop;
    fake::Http http{loop};
    std::map<std::string, std::string> variables = {
        {"SERVICE_SECRET", secret}, {"SERVICE_KEY", "key-of-service"}, {"SERVICE_PATH", "hidden-path"}};
    Secrets secrets = load_secrets();
    std::unique_ptr<KnowledgeSource> kind;
    std::shared_ptr<CrewSpec> crew = std::make_shared<CrewSpec>();
    std::shared_ptr<ActivationRequest> request = std::make_shared<ActivationRequest>();
    std::unique_ptr<Attempt> attempt;

    std::vector<CallIntent> intents;
    std::vector<CallEnd> ends;
    std::vector<std::string> progress;
    std::optional<Outcome> outcome;
    int finished = 0;
    CallPermit permit;

    Secrets load_secrets() {
        Result<Secrets> loaded = Secrets::load("/nonexistent-crew-directory", [this](const char* name) -> const char* {
            const auto found = variables.find(name);
            return found == variables.end() ? nullptr : found->second.c_str();
        });
        REQUIRE(loaded.ok());
        return std::move(*loaded);
    }

    World() {
        permit.kind = CallPermit::Kind::go;
        permit.call = 1;
        kind = make_http_source(loop, http, [this](const CrewSpec&) -> Secrets& { return secrets; });
        for (const char* name : {"tasks", "notes"}) {
            RegionSpec region;
            region.name = name;
            region.schema = EntrySchema::from_fields({*EntrySchema::parse_field("text", "string")});
            crew->regions.push_back(region);
        }
        SourceSpec source;
        source.name = "worker";
        source.kind = SourceKind::http;
        source.may.read = {"tasks"};
        source.may.write = {{"notes", {WriteOp::insert}}};
        source.http.url = "http://service.test:8080/work";
        source.when.variables = {"t"};
        crew->sources.push_back(source);
        auto entry = std::make_shared<Entry>();
        entry->id = {"tasks", 1};
        entry->content = Value::object({{"text", "say hi"}});
        request->crew = crew;
        request->source = &crew->sources.front();
        request->activation = {7};
        request->version = {6};
        request->members = {Binding{{entry}}};
        request->view = {ViewRegion{"tasks", {entry}, 0}};
        request->deadline_ms = 5'000;
        request->idempotency_key = "b:7/1";
    }

    SourceSpec& source() { return crew->sources.front(); }
    void with_callbacks() {
        source().http.secret_env = "SERVICE_SECRET";
        crew->callbacks = CallbackSpec{"127.0.0.1:0", ""};
    }

    void start() {
        AttemptEvents events;
        events.call = [this](CallIntent intent, std::function<void(CallPermit)> permitted) {
            intents.push_back(std::move(intent));
            boost::asio::post(loop, [given = permit, permitted = std::move(permitted)] { permitted(given); });
        };
        events.returned = [this](CallEnd end) {
            CHECK(finished == 0);
            CHECK(end.call == 1);
            ends.push_back(std::move(end));
        };
        events.progress = [this](std::string line) { progress.push_back(std::move(line)); };
        events.finished = [this](Outcome result) {
            ++finished;
            outcome = std::move(result);
        };
        attempt = kind->start(request, std::move(events));
        CHECK(intents.empty());
        CHECK(finished == 0);
    }
    // The listener keeps the loop busy, so the loop is run until there is something to see.
    void run_until(const std::function<bool()>& done) {
        loop.restart();
        const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(5);
        while (!done() && std::chrono::steady_clock::now() < limit) loop.run_one_for(std::chrono::milliseconds(200));
        REQUIRE(done());
    }
    void settle() {
        loop.restart();
        while (loop.poll_one() != 0) {
        }
    }
    const Outcome& run() {
        start();
        return run_on();
    }
    const Outcome& run_on() {
        run_until([this] { return finished != 0; });
        settle();
        CHECK(finished == 1);
        CHECK(http.in_flight == 0);
        return *outcome;
    }
    const Outcome& run(std::deque<Step> script) {
        http.script = std::move(script);
        return run();
    }
    void start_and_wait_for_callback() {
        with_callbacks();
        http.script = {answers(202)};
        start();
        run_until([this] { return !progress.empty(); });
    }

    // ---- calling back ----
    [[nodiscard]] std::string callback_url() const {
        const std::string* url = header(http.asked.at(0), "Stele-Callback");
        REQUIRE(url != nullptr);
        return *url;
    }
    struct Callback {
        std::string body;
        std::string id = "b:7/1";
        std::int64_t time_s = std::time(nullptr);
        std::string signature = {};  // empty: the right one
        std::string outcome = {};
        std::string method = "POST";
        bool is_signed = true;
    };
    int call_back(const std::string& url, const Callback& callback) {
        const std::unique_ptr<UrlParts> parts = parse_url(url);
        REQUIRE(parts);
        std::string text =
            callback.method + " " + parts->target +
            " HTTP/1.1\r\nHost: stele\r\nConnection: close\r\nContent-Length: " + std::to_string(callback.body.size()) +
            "\r\n";
        if (callback.is_signed) {
            const std::string signature = callback.signature.empty()
                                              ? plain_signature(secret, callback.id, callback.time_s, callback.body)
                                              : callback.signature;
            text += "webhook-id: " + callback.id + "\r\nwebhook-timestamp: " + std::to_string(callback.time_s) +
                    "\r\nwebhook-signature: " + signature + "\r\n";
        }
        if (!callback.outcome.empty()) text += "stele-outcome: " + callback.outcome + "\r\n";
        RawPost post(loop, parts->port, text + "\r\n" + callback.body);
        run_until([&post] { return post.done; });
        return post.status();
    }
};

}  // namespace

TEST_CASE("an answer with lines becomes writes") {
    World world;
    const Outcome& outcome = world.run({answers(
        200, std::string(good_line) + "\n{\"op\":\"note\",\"text\":\"n\"}\n" + "{\"op\":\"cost\",\"pages\":2}\n")});
    REQUIRE_MESSAGE(outcome.kind == OutcomeKind::ok, outcome.error);
    REQUIRE(outcome.writes.size() == 1);
    CHECK(outcome.writes[0].text == R"({"text":"hi"})");
    CHECK(outcome.notes == std::vector<std::string>{"n"});
    CHECK(to_json(outcome.cost) == R"({"pages":2})");
    CHECK(outcome.raw_output.rfind(good_line, 0) == 0);

    REQUIRE(world.intents.size() == 1);
    const CallIntent& intent = world.intents[0];
    CHECK(intent.target == CallTarget::service);
    CHECK(intent.name == "http://service.test:8080");
    CHECK(intent.parts == std::vector<std::string>{make_request(*world.request)});
    CHECK(intent.reserve.calls == 1);
    CHECK(intent.seen == std::vector<EntryId>{EntryId{"tasks", 1}});
    CHECK(intent.key == Hash128{});
    REQUIRE(world.ends.size() == 1);
    CHECK(world.ends[0].outcome == OutcomeKind::ok);
    CHECK(world.ends[0].answer == outcome.raw_output);
    CHECK(world.ends[0].spent.calls == 1);

    const HttpRequest& asked = world.http.asked.at(0);
    CHECK(asked.method == "POST");
    CHECK(asked.url == "http://service.test:8080/work");
    CHECK(asked.body == make_request(*world.request));
    CHECK(*header(asked, "Content-Type") == "application/json");
    CHECK(*header(asked, "Idempotency-Key") == "b:7/1");
    CHECK(*header(asked, "Stele-Source") == "worker");
    CHECK(header(asked, "webhook-signature") == nullptr);
    CHECK(header(asked, "Stele-Callback") == nullptr);
    CHECK(asked.timeout_ms <= 5'000);
    CHECK(asked.body_bytes_max == world.source().limits.output_bytes);
}

TEST_CASE("each status has its outcome") {
    struct Row {
        Step step;
        OutcomeKind kind;
        std::size_t writes;
        const char* says;
    };
    const Row rows[] = {
        {answers(200), OutcomeKind::ok, 0, ""},
        {answers(201, good_line), OutcomeKind::ok, 1, ""},
        {answers(204), OutcomeKind::ok, 0, ""},
        {answers(200, "<html>"), OutcomeKind::malformed, 0, "line 1"},
        {answers(200, std::string(good_line) + "\n{\"op\":\"dance\"}"), OutcomeKind::malformed, 0, "dance"},
        {answers(202), OutcomeKind::failed, 0, "secret_env"},
        {answers(301), OutcomeKind::failed, 0, "301"},
        {answers(400, "no such task\nsecond line"), OutcomeKind::failed, 0, "400: no such task"},
        {answers(404), OutcomeKind::failed, 0, "404"},
        {answers(401, "who are you"), OutcomeKind::blocked, 0, "401: who are you"},
        {answers(403), OutcomeKind::blocked, 0, "403"},
        {breaks(HttpEndKind::too_large), OutcomeKind::flooded, 0, "more than"},
    };
    for (const Row& row : rows) {
        CAPTURE(row.step.status);
        CAPTURE(row.says);
        World world;
        const Outcome& outcome = world.run({row.step});
        CHECK(outcome.kind == row.kind);
        CHECK(outcome.writes.size() == row.writes);
        CHECK(outcome.error.find(row.says) != std::string::npos);
        CHECK(outcome.error.find("second line") == std::string::npos);
        CHECK(outcome.error.empty() == (row.kind == OutcomeKind::ok));
        CHECK(world.http.asked.size() == 1);
        REQUIRE(world.ends.size() == 1);
        // Malformed is what the attempt came to; the call itself was answered.
        CHECK(world.ends[0].outcome == (row.kind == OutcomeKind::malformed ? OutcomeKind::ok : row.kind));
    }
}

TEST_CASE("what may pass is asked again with the same key, up to the tries") {
    for (const Step& step : {answers(500, "x", {{"retry-after", "0"}}), answers(503, "", {{"retry-after", "0"}}),
                             answers(429, "", {{"retry-after", "0"}}), answers(408, "", {{"retry-after", "0"}})}) {
        CAPTURE(step.status);
        World world;
        CHECK(world.run({step, answers(200, good_line)}).kind == OutcomeKind::ok);
        REQUIRE(world.http.asked.size() == 2);
        CHECK(*header(world.http.asked[0], "Idempotency-Key") == *header(world.http.asked[1], "Idempotency-Key"));
        CHECK(world.http.asked[0].body == world.http.asked[1].body);
        CHECK(world.outcome->notes.size() == 1);
        CHECK(world.outcome->raw_output == good_line);
        CHECK(world.intents.size() == 1);

        World always;
        always.http.repeats = true;
        always.source().http.tries = 4;
        CHECK(always.run({step}).kind == OutcomeKind::failed);
        CHECK(always.http.asked.size() == 4);
        CHECK(always.outcome->error.find(std::to_string(step.status)) != std::string::npos);
        CHECK(always.ends.size() == 1);
    }
    // Without a word from the service: half a second, then a whole one.
    World world;
    CHECK(
        world.run({breaks(HttpEndKind::connect_failed, false), breaks(HttpEndKind::closed_early), answers(204)}).kind ==
        OutcomeKind::ok);
    CHECK(world.http.ms_between(0, 1) >= 490);
    CHECK(world.http.ms_between(1, 2) >= 990);

    World one;
    one.source().http.tries = 1;
    CHECK(one.run({breaks(HttpEndKind::closed_early)}).kind == OutcomeKind::failed);
    CHECK(one.outcome->error == "service.test broke off");
}

TEST_CASE("retry-after is waited for, and not beyond the deadline") {
    World world;
    CHECK(world.run({answers(503, "", {{"retry-after", "1"}}), answers(204)}).kind == OutcomeKind::ok);
    CHECK(world.http.ms_between(0, 1) >= 990);

    World late;
    late.request->deadline_ms = 1'500;
    CHECK(late.run({answers(503, "busy", {{"retry-after", "2"}})}).kind == OutcomeKind::failed);
    CHECK(late.outcome->duration_ms < 1'000);
    CHECK(late.http.asked.size() == 1);
}

TEST_CASE("an attempt ends at its deadline, in flight or waiting for a callback") {
    World world;
    world.request->deadline_ms = 60;
    CHECK(world.run({hangs()}).kind == OutcomeKind::timeout);
    CHECK(world.outcome->error.find("http://service.test:8080") != std::string::npos);
    CHECK(world.http.destroyed_in_flight == 1);
    REQUIRE(world.ends.size() == 1);
    CHECK(world.ends[0].outcome == OutcomeKind::timeout);

    World waiting;
    waiting.request->deadline_ms = 100;
    waiting.start_and_wait_for_callback();
    const std::string url = waiting.callback_url();
    CHECK(waiting.run_on().kind == OutcomeKind::timeout);
    CHECK(waiting.call_back(url, {good_line}) == 410);
    CHECK(waiting.finished == 1);
}

TEST_CASE("cancelling ends an attempt once, and its call") {
    for (const int steps : {0, 1, 2, 3, 4}) {
        CAPTURE(steps);
        World world;
        world.http.script = {hangs()};
        world.start();
        for (int i = 0; i < steps; ++i) world.loop.poll_one();
        const std::size_t let_through = world.http.asked.size();
        world.attempt->cancel();
        world.attempt->cancel();
        CHECK(world.finished == 0);
        CHECK(world.run_on().kind == OutcomeKind::cancelled);
        CHECK(world.ends.size() == let_through);
        for (const CallEnd& end : world.ends) CHECK(end.outcome == OutcomeKind::cancelled);
        CHECK(world.http.asked.size() == let_through);
    }
}

TEST_CASE("an attempt destroyed at any moment says nothing more and leaves nothing") {
    for (const bool later : {false, true}) {
        for (int steps = 0; steps < 14; ++steps) {
            CAPTURE(later);
            CAPTURE(steps);
            World world;
            world.with_callbacks();
            world.http.script = {answers(503, "busy", {{"retry-after", "0"}}),
                                 later ? answers(202) : answers(200, good_line)};
            world.start();
            for (int i = 0; i < steps; ++i) {
                world.loop.run_one_for(std::chrono::milliseconds(5));
            }
            const std::size_t ends = world.ends.size();
            const std::size_t intents = world.intents.size();
            const int finished = world.finished;
            world.attempt.reset();
            world.settle();
            CHECK(world.finished == finished);
            CHECK(world.ends.size() == ends);
            CHECK(world.intents.size() == intents);
            CHECK(world.http.in_flight == 0);
            if (!world.http.asked.empty()) CHECK(world.call_back(world.callback_url(), {good_line}) == 410);
        }
    }
}

TEST_CASE("an attempt may be destroyed from within what it says") {
    for (const std::string moment : {"call", "returned", "progress", "finished"}) {
        CAPTURE(moment);
        World world;
        world.with_callbacks();
        world.http.script = {moment == "progress" ? answers(202) : answers(200, good_line)};
        bool is_gone = false;
        int finished = 0;
        const std::string captured(100, 'x');
        const auto at = [&world, &is_gone, captured](bool now) {
            if (!now) return;
            world.attempt.reset();
            is_gone = true;
            CHECK(captured == std::string(100, 'x'));
        };
        AttemptEvents events;
        events.call = [&world, at, moment](const CallIntent&, std::function<void(CallPermit)> permitted) {
            boost::asio::post(world.loop, [given = world.permit, permitted] { permitted(given); });
            at(moment == "call");
        };
        events.returned = [at, moment](const CallEnd&) { at(moment == "returned"); };
        events.progress = [at, moment](const std::string&) { at(moment == "progress"); };
        events.finished = [&finished, at, moment](const Outcome&) {
            ++finished;
            at(moment == "finished");
        };
        world.attempt = world.kind->start(world.request, std::move(events));
        world.run_until([&] { return is_gone; });
        world.settle();
        CHECK(finished == (moment == "finished" ? 1 : 0));
        CHECK(world.http.in_flight == 0);
    }
}

TEST_CASE("what the budget and the board say is kept to") {
    World refused;
    refused.permit.kind = CallPermit::Kind::refused;
    refused.permit.budget = "crew calls";
    refused.permit.reason = "the crew's calls are spent";
    CHECK(refused.run({}).kind == OutcomeKind::budget);
    CHECK(refused.outcome->budget == "crew calls");
    CHECK(refused.outcome->error == "the crew's calls are spent");

    World answered;
    answered.permit.kind = CallPermit::Kind::answered;
    answered.permit.answer = good_line;
    CHECK(answered.run({}).kind == OutcomeKind::ok);
    CHECK(answered.outcome->writes.size() == 1);

    World over;
    over.permit.kind = CallPermit::Kind::over;
    CHECK(over.run({}).kind == OutcomeKind::cancelled);
    for (const World* world : {&refused, &answered, &over}) {
        CHECK(world->http.asked.empty());
        CHECK(world->ends.empty());
    }
}

TEST_CASE("the key of a pure source is that of its input, whichever attempt asks") {
    const auto key_of = [](const std::function<void(World&)>& change) {
        World world;
        world.source().pure = true;
        change(world);
        world.run({answers(204)});
        return world.intents.at(0).key;
    };
    const Hash128 same = key_of([](World&) {});
    CHECK(same != Hash128{});
    CHECK(same == key_of([](World& w) {
              w.request->activation = {99};
              w.request->attempt = 3;
              w.request->version = {1234};
              w.request->idempotency_key = "other";
          }));
    CHECK(same != key_of([](World& w) { w.source().http.url = "http://service.test:8080/other"; }));
    CHECK(same != key_of([](World& w) { w.request->previous = {{1, RefusalRule::schema, "no", {}}}; }));
    CHECK(same != key_of([](World& w) { w.request->members.clear(); }));
    CHECK(same != key_of([](World& w) { w.request->view.clear(); }));
    CHECK(Hash128{} == key_of([](World& w) { w.source().pure = false; }));
}

TEST_CASE("variables are filled in when it is sent, and are not in what is recorded") {
    World world;
    world.source().http.url = "https://service.test/${env.SERVICE_PATH}/work";
    world.source().http.headers = {{"Authorization", "Bearer ${env.SERVICE_KEY}"}};
    world.with_callbacks();
    CHECK(world.run({answers(204)}).kind == OutcomeKind::ok);
    CHECK(world.http.asked.at(0).url == "https://service.test/hidden-path/work");
    CHECK(*header(world.http.asked.at(0), "Authorization") == "Bearer key-of-service");
    std::string told = world.intents.at(0).name;
    for (const std::string& part : world.intents.at(0).parts) told += part;
    for (const char* hidden : {"hidden-path", "key-of-service", secret, "/callbacks/"}) {
        CHECK(told.find(hidden) == std::string::npos);
    }
    CHECK(world.intents.at(0).name == "https://service.test:443");

    World no_url;
    no_url.source().http.url = "http://${env.NOT_SET}/";
    CHECK(no_url.run({}).kind == OutcomeKind::blocked);
    CHECK(no_url.outcome->error.find("NOT_SET") != std::string::npos);
    World no_header;
    no_header.source().http.headers = {{"X", "${env.NOT_SET}"}};
    CHECK(no_header.run({}).kind == OutcomeKind::blocked);
    CHECK(no_header.ends.size() == 1);
    World no_secret;
    no_secret.source().http.secret_env = "NOT_SET";
    CHECK(no_secret.run({}).kind == OutcomeKind::blocked);
    World bad_url;
    bad_url.source().http.url = "ftp://service.test/";
    CHECK(bad_url.run({}).kind == OutcomeKind::not_started);
    for (const World* one : {&no_url, &no_header, &no_secret, &bad_url}) CHECK(one->http.asked.empty());
}

TEST_CASE("with a secret each request is signed, also the one that is sent again") {
    World world;
    world.source().http.secret_env = "SERVICE_SECRET";
    CHECK(world.run({answers(503, "", {{"retry-after", "0"}}), answers(204)}).kind == OutcomeKind::ok);
    REQUIRE(world.http.asked.size() == 2);
    for (const HttpRequest& asked : world.http.asked) {
        CHECK(*header(asked, "webhook-id") == "b:7/1");
        const std::int64_t time_s = std::stoll(*header(asked, "webhook-timestamp"));
        CHECK(std::abs(time_s - std::time(nullptr)) <= 5);
        CHECK(*header(asked, "webhook-signature") == plain_signature(secret, "b:7/1", time_s, asked.body));
        CHECK(header(asked, "Stele-Callback") == nullptr);
    }
}

TEST_CASE("a service that answers later calls back, once") {
    World world;
    world.start_and_wait_for_callback();
    CHECK(world.ends.empty());
    CHECK(world.http.in_flight == 0);
    const std::string url = world.callback_url();
    CHECK(url.rfind("http://127.0.0.1:", 0) == 0);
    CHECK(world.call_back(url, {good_line}) == 204);
    CHECK(world.run_on().kind == OutcomeKind::ok);
    CHECK(world.outcome->writes.size() == 1);
    REQUIRE(world.ends.size() == 1);
    CHECK(world.ends[0].answer == good_line);
    CHECK(world.call_back(url, {good_line}) == 410);
    world.attempt.reset();
    CHECK(world.call_back(url, {good_line}) == 410);
    CHECK(world.finished == 1);
    CHECK(world.ends.size() == 1);
}

TEST_CASE("a callback that cannot show who it is from is refused, and the attempt goes on") {
    World world;
    world.start_and_wait_for_callback();
    const std::string url = world.callback_url();
    const std::int64_t now = std::time(nullptr);
    using Callback = World::Callback;
    std::vector<Callback> bad;
    Callback one{good_line};
    one.is_signed = false;
    bad.push_back(one);
    one = {good_line};
    one.signature = plain_signature("another secret", one.id, one.time_s, one.body);
    bad.push_back(one);
    one.signature = plain_signature(secret, one.id, one.time_s, "another body");
    bad.push_back(one);
    one.signature = plain_signature(secret, one.id, one.time_s + 1, one.body);
    bad.push_back(one);
    one.signature = "v1,";
    bad.push_back(one);
    one = {good_line};
    one.time_s = now - 400;
    bad.push_back(one);
    one.time_s = now + 400;
    bad.push_back(one);
    one = {good_line};
    one.id = "b:8/1";  // signed well, for another request
    bad.push_back(one);
    for (const Callback& callback : bad) CHECK(world.call_back(url, callback) == 401);
    one = {good_line};
    one.method = "PUT";
    CHECK(world.call_back(url, one) == 405);
    CHECK(world.call_back(url + "0", {good_line}) == 410);
    CHECK(world.call_back(url.substr(0, url.find("/callbacks")) + "/", {good_line}) == 404);
    CHECK(world.finished == 0);
    CHECK(world.ends.empty());
    CHECK(world.call_back(url, {good_line}) == 204);
    CHECK(world.run_on().kind == OutcomeKind::ok);
}

TEST_CASE("a callback can say that the work failed, be malformed or be too much") {
    World failed;
    failed.start_and_wait_for_callback();
    World::Callback callback{"the disk is full\nsecond line"};
    callback.outcome = "failed";
    CHECK(failed.call_back(failed.callback_url(), callback) == 204);
    CHECK(failed.run_on().kind == OutcomeKind::failed);
    CHECK(failed.outcome->error.find("the disk is full") != std::string::npos);
    CHECK(failed.outcome->error.find("second line") == std::string::npos);

    World malformed;
    malformed.start_and_wait_for_callback();
    CHECK(malformed.call_back(malformed.callback_url(), {"nonsense"}) == 204);
    CHECK(malformed.run_on().kind == OutcomeKind::malformed);

    World flooded;
    flooded.source().limits.output_bytes = 100;
    flooded.start_and_wait_for_callback();
    CHECK(flooded.call_back(flooded.callback_url(), {std::string(101, ' ')}) == 413);
    CHECK(flooded.run_on().kind == OutcomeKind::flooded);
}

TEST_CASE("a callback may come before the request is answered, and at the address that the crew names") {
    World world;
    world.with_callbacks();
    world.http.script = {hangs()};
    world.start();
    world.run_until([&] { return !world.http.asked.empty(); });
    CHECK(world.call_back(world.callback_url(), {good_line}) == 204);
    CHECK(world.run_on().kind == OutcomeKind::ok);
    CHECK(world.http.destroyed_in_flight == 1);

    World named;
    named.with_callbacks();
    named.crew->callbacks->url = "https://board.test/stele/";
    CHECK(named.run({answers(204)}).kind == OutcomeKind::ok);
    CHECK(named.callback_url().rfind("https://board.test/stele/callbacks/", 0) == 0);

    World taken;
    taken.with_callbacks();
    taken.crew->callbacks->listen = "no such address";
    CHECK(taken.run({}).kind == OutcomeKind::not_started);
    CHECK(taken.outcome->error.find("callbacks") != std::string::npos);
}

TEST_CASE("signatures are those of the Standard Webhooks specification") {
    // The known digest of "abc" proves the second way of making them.
    CHECK(base64(sha256("abc")) == "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    const auto seed = std::random_device{}();
    MESSAGE("seed " << seed);
    std::mt19937 dice(seed);
    for (int round = 0; round < 200; ++round) {
        std::string key, body;
        for (std::size_t i = dice() % 100; i > 0; --i) key += static_cast<char>(dice());
        for (std::size_t i = dice() % 300; i > 0; --i) body += static_cast<char>(dice());
        if (key.rfind("whsec_", 0) == 0) continue;
        const std::int64_t time_s = 1'700'000'000 + round;
        const std::string id = "msg_" + std::to_string(dice());
        const std::string expected = plain_signature(key, id, time_s, body);
        CHECK(webhook_signature(key, {id, time_s, body}) == expected);
        CHECK(webhook_signature("whsec_" + base64(key), {id, time_s, body}) == expected);
        CHECK(verify_webhook(key, {id, time_s, body}, expected, time_s).ok());
        CHECK_FALSE(verify_webhook(key, {id, time_s + 1, body}, expected, time_s).ok());
        CHECK_FALSE(verify_webhook(key, {id, time_s, body + "x"}, expected, time_s).ok());
        CHECK_FALSE(verify_webhook(key, {id + "x", time_s, body}, expected, time_s).ok());
        CHECK_FALSE(verify_webhook(key + "x", {id, time_s, body}, expected, time_s).ok());
        CHECK_FALSE(verify_webhook(key, {id, time_s, body}, expected.substr(0, expected.size() - 1), time_s).ok());
    }
    // No base64 after the prefix: the secret is what it is.
    CHECK(webhook_signature("whsec_?", {"m", 1, ""}) == plain_signature("whsec_?", "m", 1, ""));
}

TEST_CASE("one fitting signature among several is enough, and its time must be near") {
    const std::string right = plain_signature(secret, "m", 1'000'000, "body");
    const WebhookMessage message{"m", 1'000'000, "body"};
    for (const std::string& list : {right, "v1,AAAA " + right, right + " v1,AAAA", "v1a,x  " + right, " " + right}) {
        CHECK(verify_webhook(secret, message, list, 1'000'000).ok());
    }
    for (const std::string& list : {std::string(), std::string(" "), right.substr(3), "v2" + right.substr(2)}) {
        CHECK_FALSE(verify_webhook(secret, message, list, 1'000'000).ok());
    }
    CHECK(verify_webhook(secret, message, right, 1'000'300).ok());
    CHECK(verify_webhook(secret, message, right, 999'700).ok());
    CHECK(verify_webhook(secret, message, right, 1'000'301).error().code == ErrorCode::permission);
    CHECK_FALSE(verify_webhook(secret, message, right, 999'699).ok());
}

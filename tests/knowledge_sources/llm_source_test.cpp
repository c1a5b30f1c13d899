// One attempt of kind llm against a scripted model and scripted tools: what it asks, what it says of
// each call, and how it ends.
#include "knowledge_sources/llm_source.hpp"

#include <doctest/doctest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <deque>
#include <random>

#include "knowledge_sources/process_protocol.hpp"

using namespace stele;

namespace {

/// Answers in the order of its script; `never` hangs until it is cancelled.
class ScriptedChat : public ChatClient {
public:
    explicit ScriptedChat(boost::asio::io_context& loop) : loop_(loop) {}

    struct Step {
        std::optional<ChatResult> result;
    };
    std::deque<Step> script;
    std::vector<std::pair<std::string, ChatRequest>> asked;
    int in_flight = 0;
    int cut = 0;

    std::unique_ptr<ChatExchange> start(const ModelSpec& model, ChatRequest request, Secrets&, std::int64_t,
                                        ChatEvents events) override {
        asked.emplace_back(model.name, std::move(request));
        REQUIRE_MESSAGE(!script.empty(), "asked more often than the script has answers");
        const Step step = std::move(script.front());
        script.pop_front();
        auto exchange = std::make_unique<Exchange>(*this);
        ++in_flight;
        if (!step.result) {
            events.text("half an ");
            return exchange;
        }
        boost::asio::post(loop_, [live = exchange->live, result = *step.result, events] {
            if (!*live) return;
            *live = false;
            events.finished({result, "req-1", 1, 5});
        });
        return exchange;
    }

private:
    struct Exchange : ChatExchange {
        explicit Exchange(ScriptedChat& owner_in) : owner(owner_in) {}
        ~Exchange() override {
            --owner.in_flight;
            if (*live) ++owner.cut;
            *live = false;
        }
        ScriptedChat& owner;
        std::shared_ptr<bool> live = std::make_shared<bool>(true);
    };

    boost::asio::io_context& loop_;
};

class ScriptedTools : public ToolBox {
public:
    explicit ScriptedTools(boost::asio::io_context& loop) : loop_(loop) {}
    std::vector<OfferedTool> offered;
    std::function<ToolAnswer(const std::string& tool, const Value& arguments)> body;
    std::vector<std::string> called;
    std::optional<Error> failure;

    std::unique_ptr<ToolRun> offer(std::shared_ptr<const CrewSpec>, const SourceSpec&, Secrets&,
                                   std::function<void(Result<std::vector<OfferedTool>>)> finished) override {
        boost::asio::post(loop_, [this, finished] {
            if (failure) return finished(*failure);
            finished(offered);
        });
        return std::make_unique<ToolRun>();
    }
    std::unique_ptr<ToolRun> call(std::shared_ptr<const CrewSpec>, const ToolRef& ref, const Value& arguments, Secrets&,
                                  const std::string&, std::function<void(ToolAnswer)> finished) override {
        called.push_back(ref.name + " " + to_json(arguments));
        boost::asio::post(loop_, [answer = body(ref.name, arguments), finished] { finished(answer); });
        return std::make_unique<ToolRun>();
    }

private:
    boost::asio::io_context& loop_;
};

ChatResult says(std::string text, std::uint64_t in = 100, std::uint64_t out = 20) {
    ChatResponse response;
    response.text = std::move(text);
    response.usage = {true, in, out, 0, 0, 0};
    return response;
}
ChatResult wants(std::vector<ChatToolCall> calls) {
    ChatResponse response;
    response.tool_calls = std::move(calls);
    response.stop = ChatStop::tool_calls;
    response.usage = {true, 50, 10, 0, 0, 0};
    response.provider_items = Value(Value::Array{Value("keep me")});
    return response;
}
ChatResult fails(ChatErrorKind kind, std::string message = "it said no") {
    ChatError error;
    error.kind = kind;
    error.message = std::move(message);
    return error;
}

constexpr const char* good =
    R"({"writes":[{"op":"insert","region":"notes","entry":{"text":"hi"},"cites":["tasks/1"]}],"note":"done"})";

struct World {
    boost::asio::io_context loop;
    ScriptedChat chat{loop};
    ScriptedTools tools{loop};
    TokenEstimate estimate;
    Secrets secrets;
    std::unique_ptr<KnowledgeSource> kind;
    std::shared_ptr<CrewSpec> crew = std::make_shared<CrewSpec>();
    std::shared_ptr<ActivationRequest> request = std::make_shared<ActivationRequest>();
    std::unique_ptr<Attempt> attempt;

    // What the attempt said.
    std::vector<CallIntent> intents;
    std::vector<CallEnd> ends;
    std::optional<Outcome> outcome;
    int finished = 0;
    /// Decides each intent; go by default.
    std::function<CallPermit(const CallIntent&)> permit;

    World() {
        LlmServices services{&chat, &tools, &estimate, [this](const CrewSpec&) -> Secrets& { return secrets; }};
        kind = make_llm_source(loop, std::move(services));
        for (const char* name : {"fast", "other"}) {
            ModelSpec model;
            model.name = name;
            model.provider = "openai";
            model.model = "gpt";
            model.max_tokens = 500;
            model.price = Price{3'000'000, 15'000'000, 0};
            crew->models.push_back(model);
        }
        for (const char* name : {"tasks", "notes"}) {
            RegionSpec region;
            region.name = name;
            region.schema = EntrySchema::from_fields({*EntrySchema::parse_field("text", "string")});
            crew->regions.push_back(region);
        }
        SourceSpec source;
        source.name = "writer";
        source.kind = SourceKind::llm;
        source.may.read = {"tasks"};
        source.may.write = {{"notes", {WriteOp::insert}}};
        source.llm.models = {0};
        source.llm.role = "Writer";
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
        request->deadline_ms = 5'000;
        request->idempotency_key = "b:7/1";
        request->fence = "f00d";
    }

    SourceSpec& source() { return crew->sources.front(); }

    void start() {
        AttemptEvents events;
        events.call = [this](CallIntent intent, std::function<void(CallPermit)> permitted) {
            CallPermit given;
            given.kind = CallPermit::Kind::go;
            if (permit) given = permit(intent);
            if (given.kind == CallPermit::Kind::go) given.call = static_cast<std::uint32_t>(intents.size() + 1);
            intents.push_back(std::move(intent));
            boost::asio::post(loop, [given, permitted] { permitted(given); });
        };
        events.returned = [this](CallEnd end) {
            CHECK(finished == 0);
            ends.push_back(std::move(end));
        };
        events.finished = [this](Outcome result) {
            ++finished;
            outcome = std::move(result);
        };
        attempt = kind->start(request, std::move(events));
        CHECK(intents.empty());
    }
    const Outcome& run() {
        start();
        loop.run();
        REQUIRE(finished == 1);
        // Every call that was let through is told, once.
        CHECK(chat.in_flight == 0);
        return *outcome;
    }
    void offer_search(bool pure) {
        OfferedTool tool;
        tool.chat.name = "search";
        tool.name = "mcp:web/search";
        tool.ref.name = "search";
        tool.pure = pure;
        tools.offered = {tool};
        source().llm.tools = {tool.ref};
    }
};

}  // namespace

TEST_CASE("an answer becomes writes, and the log alone can give them again") {
    World world;
    world.chat.script = {{says(good)}};
    const Outcome& outcome = world.run();
    REQUIRE_MESSAGE(outcome.kind == OutcomeKind::ok, outcome.error);
    REQUIRE(outcome.writes.size() == 1);
    CHECK(outcome.writes[0].text == R"({"text":"hi"})");
    CHECK(outcome.writes[0].cites == std::vector<Cite>{Cite{{"tasks", 1}, 0}});
    CHECK(outcome.notes == std::vector<std::string>{"done"});
    const ParsedOutput again = parse_output(outcome.raw_output, world.source());
    REQUIRE(again.ok());
    REQUIRE(again.writes.size() == 1);
    CHECK(again.writes[0].text == outcome.writes[0].text);

    REQUIRE(world.intents.size() == 1);
    const CallIntent& intent = world.intents[0];
    CHECK(intent.target == CallTarget::model);
    CHECK(intent.name == "fast");
    CHECK(intent.reserve.calls == 1);
    CHECK(intent.reserve.tokens > 500);
    CHECK(intent.reserve.money_micros >= 500 * 15);
    CHECK(intent.key != Hash128{});
    REQUIRE(intent.parts.size() == 2);
    CHECK(intent.parts[0].find("Writer") != std::string::npos);
    CHECK(intent.parts[1].find("say hi") != std::string::npos);
    REQUIRE(world.ends.size() == 1);
    CHECK(world.ends[0].outcome == OutcomeKind::ok);
    CHECK(world.ends[0].spent.tokens == 120);
    CHECK(world.ends[0].spent.money_micros == 100 * 3 + 20 * 15);
    CHECK_FALSE(world.ends[0].estimated);
}

TEST_CASE("the key is the rendered input's and nothing else's") {
    const auto key_of = [](const std::function<void(World&)>& change) {
        World world;
        change(world);
        world.chat.script = {{says(good)}};
        world.run();
        return world.intents.at(0).key;
    };
    const Hash128 same = key_of([](World&) {});
    CHECK(same == key_of([](World& w) {
              w.request->activation = {99};
              w.request->attempt = 3;
              w.request->version = {1234};
              w.request->idempotency_key = "other";
          }));
    CHECK(same != key_of([](World& w) { w.source().llm.role = "Poet"; }));
    CHECK(same != key_of([](World& w) { w.source().configuration_hash = "1"; }));
    CHECK(same != key_of([](World& w) { w.crew->models[0].temperature = 0.5; }));
    CHECK(same != key_of([](World& w) { w.request->previous = {{1, RefusalRule::schema, "no such field", {}}}; }));
    CHECK(Hash128{} == key_of([](World& w) { w.source().llm.reuse = false; }));
    CHECK(Hash128{} == key_of([](World& w) {
              Term term;
              term.kind = TermKind::every;
              w.source().when.terms.push_back(term);
          }));
}

TEST_CASE("an answer from the board is used as if the model had just given it") {
    World world;
    world.permit = [](const CallIntent&) {
        CallPermit permit;
        permit.kind = CallPermit::Kind::answered;
        permit.answer = to_json(to_value(std::get<ChatResponse>(says(good))));
        return permit;
    };
    CHECK(world.run().kind == OutcomeKind::ok);
    CHECK(world.chat.asked.empty());
    CHECK(world.ends.empty());
    CHECK(world.outcome->writes.size() == 1);
}

TEST_CASE("a refused budget and a blocked key end the attempt with their own outcome") {
    World world;
    world.permit = [](const CallIntent&) {
        CallPermit permit;
        permit.kind = CallPermit::Kind::refused;
        permit.budget = "crew tokens";
        permit.reason = "the crew's budget is spent";
        return permit;
    };
    CHECK(world.run().kind == OutcomeKind::budget);
    CHECK(world.outcome->budget == "crew tokens");
    CHECK(world.outcome->error == "the crew's budget is spent");

    for (const ChatErrorKind kind : {ChatErrorKind::quota, ChatErrorKind::authentication}) {
        World blocked;
        blocked.chat.script = {{fails(kind, "the key was refused")}};
        CHECK(blocked.run().kind == OutcomeKind::blocked);
        CHECK(blocked.outcome->error == "the key was refused");
        CHECK(blocked.ends.at(0).spent.tokens == 0);
    }
}

TEST_CASE("overload and quota fall back to the next model, a bad request does not") {
    for (const ChatErrorKind kind : {ChatErrorKind::overloaded, ChatErrorKind::quota, ChatErrorKind::rate_limited}) {
        World world;
        world.source().llm.models = {0, 1};
        world.chat.script = {{fails(kind)}, {says(good)}};
        CHECK(world.run().kind == OutcomeKind::ok);
        CHECK(world.chat.asked.at(1).first == "other");
        CHECK(world.outcome->notes.size() == 2);
    }
    World world;
    world.source().llm.models = {0, 1};
    world.chat.script = {{fails(ChatErrorKind::bad_request)}};
    CHECK(world.run().kind == OutcomeKind::failed);
}

TEST_CASE("a broken-off answer is a call of its own that may have cost, and is asked again") {
    World world;
    ChatError broken;
    broken.kind = ChatErrorKind::interrupted;
    broken.message = "the stream broke off";
    broken.received_bytes = 400;
    world.chat.script = {{ChatResult(broken)}, {says(good)}};
    CHECK(world.run().kind == OutcomeKind::ok);
    REQUIRE(world.ends.size() == 2);
    CHECK(world.ends[0].estimated);
    CHECK(world.ends[0].spent.tokens > 100);
    World forever;
    forever.chat.script = {{ChatResult(broken)}, {ChatResult(broken)}, {ChatResult(broken)}};
    CHECK(forever.run().kind == OutcomeKind::failed);
}

TEST_CASE("a wrong answer gets one repair turn with the exact problems, and then the recorded outcome") {
    const std::string wrong = R"({"writes":[{"op":"insert","region":"secrets","entry":{"text":"hi"}}]})";
    World world;
    world.chat.script = {{says(wrong)}, {says(good)}};
    CHECK(world.run().kind == OutcomeKind::ok);
    const std::vector<ChatMessage>& repaired = world.chat.asked.at(1).second.messages;
    REQUIRE(repaired.size() == 4);
    CHECK(repaired[2].text == wrong);
    CHECK(repaired[3].text.find("secrets") != std::string::npos);
    CHECK(world.intents.at(1).key != world.intents.at(0).key);

    World hopeless;
    hopeless.chat.script = {{says("I'd rather talk")}, {says("about the weather")}};
    CHECK(hopeless.run().kind == OutcomeKind::malformed);
    CHECK(hopeless.outcome->raw_output == "about the weather");
    CHECK(hopeless.outcome->writes.empty());
    CHECK(hopeless.chat.asked.size() == 2);

    World cited;
    cited.chat.script = {
        {says(R"({"writes":[{"op":"insert","region":"notes","entry":{"text":"a"},"cites":["tasks/2"]}]})")},
        {says(good)}};
    CHECK(cited.run().kind == OutcomeKind::ok);
    CHECK(cited.chat.asked.at(1).second.messages.back().text.find("tasks/2") != std::string::npos);
}

TEST_CASE("an answer that the length cut off, a refusal and a filter are no answers") {
    World world;
    ChatResponse cut = std::get<ChatResponse>(says(R"({"writes":[)"));
    cut.stop = ChatStop::length;
    world.chat.script = {{ChatResult(cut)}, {says(good)}};
    CHECK(world.run().kind == OutcomeKind::ok);
    CHECK(world.chat.asked.at(1).second.messages.back().text.find("500 tokens") != std::string::npos);
    for (const ChatStop stop : {ChatStop::refusal, ChatStop::filter}) {
        World refused;
        ChatResponse response = std::get<ChatResponse>(says(good));
        response.stop = stop;
        refused.chat.script = {{ChatResult(response)}};
        CHECK(refused.run().kind == OutcomeKind::failed);
    }
}

TEST_CASE("tools are called, told and answered in order, and the model goes on from them") {
    World world;
    world.offer_search(true);
    world.tools.body = [](const std::string&, const Value& arguments) {
        return ToolAnswer{false, "found " + arguments.find("q")->as_string(), {}};
    };
    world.chat.script = {{wants({{"a", "search", R"({"q":"one"})"}, {"b", "search", R"({"q":"two"})"}})}, {says(good)}};
    CHECK(world.run().kind == OutcomeKind::ok);
    CHECK(world.tools.called == std::vector<std::string>{R"(search {"q":"one"})", R"(search {"q":"two"})"});
    REQUIRE(world.intents.size() == 4);
    CHECK(world.intents[1].target == CallTarget::tool);
    CHECK(world.intents[1].name == "mcp:web/search");
    CHECK(world.intents[1].parts == std::vector<std::string>{R"({"q":"one"})"});
    CHECK(world.intents[1].key != Hash128{});
    CHECK(world.intents[1].key != world.intents[2].key);
    CHECK(world.ends.size() == 4);
    const std::vector<ChatMessage>& messages = world.chat.asked.at(1).second.messages;
    REQUIRE(messages.size() == 5);
    CHECK(messages[2].tool_calls.size() == 2);
    CHECK_FALSE(messages[2].provider_items.is_null());
    CHECK(messages[3].tool_call_id == "a");
    CHECK(messages[3].text == "found one");
    CHECK(messages[4].text == "found two");
}

TEST_CASE("what is wrong with a call of a tool is told to the model and calls nothing") {
    World world;
    world.offer_search(false);
    world.tools.body = [](const std::string&, const Value&) { return ToolAnswer{true, "no such page\nmore", {}}; };
    world.chat.script = {{wants({{"a", "serach", "{}"}, {"b", "search", "{not json"}, {"c", "search", "{}"}})},
                         {says(good)}};
    CHECK(world.run().kind == OutcomeKind::ok);
    CHECK(world.tools.called.size() == 1);
    const std::vector<ChatMessage>& messages = world.chat.asked.at(1).second.messages;
    CHECK(messages.at(3).is_error);
    CHECK(messages.at(3).text == "there is no tool \"serach\"");
    CHECK(messages.at(4).text.find("no JSON object") != std::string::npos);
    CHECK(messages.at(5).text == "no such page\nmore");
    CHECK(world.ends.at(1).outcome == OutcomeKind::failed);
    CHECK(world.intents.at(0).key == Hash128{});
}

TEST_CASE("a model that calls tools for ever is ended, and tools that cannot be had fail the attempt") {
    World world;
    world.offer_search(true);
    world.source().llm.turns_max = 3;
    world.tools.body = [](const std::string&, const Value&) { return ToolAnswer{false, "x", {}}; };
    for (int i = 0; i < 3; ++i) world.chat.script.push_back({wants({{"a", "search", "{}"}})});
    CHECK(world.run().kind == OutcomeKind::failed);
    CHECK(world.outcome->error.find("3 turns") != std::string::npos);
    World missing;
    missing.offer_search(true);
    missing.tools.failure = Error{ErrorCode::io, "server \"web\" did not start"};
    CHECK(missing.run().kind == OutcomeKind::failed);
    CHECK(missing.outcome->error == "server \"web\" did not start");
}

TEST_CASE("a prompt that the model has no room for is tried with less of the board") {
    World world;
    ViewRegion region;
    region.region = "tasks";
    for (std::uint64_t i = 1; i <= 200; ++i) {
        auto entry = std::make_shared<Entry>();
        entry->id = {"tasks", i};
        entry->position = {i};
        entry->content = Value::object({{"text", "task " + std::to_string(i)}});
        region.entries.push_back(entry);
    }
    world.request->view = {region};
    world.chat.script = {{fails(ChatErrorKind::context_overflow)}, {says(good)}};
    CHECK(world.run().kind == OutcomeKind::ok);
    CHECK(world.chat.asked.at(1).second.messages.at(1).text.size() <
          world.chat.asked.at(0).second.messages.at(1).text.size());
    CHECK(world.intents.at(1).seen.size() < world.intents.at(0).seen.size());
}

TEST_CASE("cancelled or out of time in the middle of an answer, it says what that may have cost") {
    World world;
    world.chat.script = {{{}}};
    world.start();
    while (world.chat.in_flight == 0) world.loop.run_one();
    world.attempt->cancel();
    world.loop.run();
    CHECK(world.outcome->kind == OutcomeKind::cancelled);
    CHECK(world.chat.cut == 1);
    REQUIRE(world.ends.size() == 1);
    CHECK(world.ends[0].estimated);
    CHECK(world.ends[0].spent.tokens > 0);

    World late;
    late.request->deadline_ms = 30;
    late.chat.script = {{{}}};
    CHECK(late.run().kind == OutcomeKind::timeout);
    CHECK(late.chat.cut == 1);
    CHECK(late.ends.size() == 1);
}

TEST_CASE("an attempt that is destroyed at any moment says nothing more and holds nothing") {
    for (int steps = 0; steps < 12; ++steps) {
        CAPTURE(steps);
        World world;
        world.offer_search(true);
        world.tools.body = [](const std::string&, const Value&) { return ToolAnswer{false, "x", {}}; };
        world.chat.script = {{wants({{"a", "search", "{}"}})}, {says(good)}};
        world.start();
        for (int i = 0; i < steps; ++i) world.loop.poll_one();
        const std::size_t told = world.ends.size() + static_cast<std::size_t>(world.finished);
        world.attempt.reset();
        world.loop.restart();
        world.loop.run();
        CHECK(world.ends.size() + static_cast<std::size_t>(world.finished) == told);
        CHECK(world.chat.in_flight == 0);
    }
}

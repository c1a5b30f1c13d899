// What it costs that a board stands between a crew and its models: time beside a raw client, tokens
// beside sending everything, memory of those who wait, and what cancelling leaves behind. The model is
// a clock in a process of its own (model_server.hpp). docs/performance.md says what bounds each figure.
// usage: stele_bench_agents [--json FILE] [--only WORD] [--rounds N]
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "benchmarks/model_server.hpp"
#include "benchmarks/support.hpp"
#include "knowledge_sources/answer.hpp"
#include "knowledge_sources/chat_wire.hpp"
#include "knowledge_sources/llm_source.hpp"
#include "knowledge_sources/prompt.hpp"
#include "knowledge_sources/relevance.hpp"
#include "runtime/activation_request.hpp"
#include "runtime/board_engine.hpp"
#include "runtime/crew_loader.hpp"
#include "runtime/data_directory.hpp"
#include "runtime/owner.hpp"
#include "runtime/wall_clock.hpp"

namespace stele {
namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr std::size_t in_flight = 64;

// ---- our side ---------------------------------------------------------------------------------

std::shared_ptr<const CrewSpec> crew_from(const std::string& text, const std::string& directory) {
    LoadedCrew loaded = load_crew(text, "agents_bench", directory, {});
    if (!loaded.crew) give_up(join_problems(loaded.problems));
    return std::move(loaded.crew);
}

/// When an activation came to each of its steps: as its record was begun, or told as durable.
struct Steps {
    Steady::time_point claimed;    // begun
    Steady::time_point called;     // told: the request may go out
    Steady::time_point answered;   // begun: the last byte of the answer has been read
    Steady::time_point committed;  // told
    double pauses_ms = 0;          // the server's
};

double ms_between(Steady::time_point from, Steady::time_point to) {
    return std::chrono::duration<double, std::milli>(to - from).count();
}

/// A data directory with one board and its engine, driven from here.
class LiveBoard {
public:
    LiveBoard(const std::string& directory, const std::string& crew_text) {
        std::string torn_tail;
        data_ = take(DataDirectory::own(directory, torn_tail));
        workers_ = std::make_unique<Workers>(loop_);
        sources_ = make_source_registry(loop_);
        crew_ = crew_from(crew_text, directory);
        info_ = take(data_->create({.tenant = "default", .board = "bench"}, wall_clock()));
        EngineHooks hooks;
        hooks.on_record = [this](const LoggedRecord& logged, const std::vector<EntryChange>&) { note(logged); };
        hooks.on_stopped = [this] {
            stopped_ = true;
            loop_.stop();
        };
        hooks.on_failure = [](const Error& error) { give_up(error.message); };
        engine_ = std::make_unique<BoardEngine>(loop_, data_->store(), *workers_, info_, data_->head_path(info_.number),
                                                *sources_, make_crew_reader(), std::move(hooks), [this] {
                                                    // Asked right before a record is folded, last of all.
                                                    if (engine_) begun_[next_position()] = Steady::now();
                                                    return wall_clock();
                                                });
        check(engine_->open());
        engine_->take_over();
    }

    void start() { engine_->start_run(*crew_, inputs_to_json(*crew_)); }

    double run_to_its_stop() {
        const auto begin = Steady::now();
        start();
        loop_.restart();
        loop_.run();
        if (!stopped_) give_up("the run came to no end");
        if (engine_->scheduler().stopping() != StopReason::quiescence) {
            give_up("the run stopped: " + engine_->scheduler().stop_detail());
        }
        return seconds_since(begin);
    }

    template <class Holds>
    void run_until(const Holds& holds) {
        loop_.restart();
        while (!holds()) {
            if (loop_.run_one_for(std::chrono::seconds(30)) == 0) give_up("nothing happens any more");
        }
    }
    void run_until_idle() {
        run_until([&] { return engine_->scheduler().is_running() && engine_->is_idle(); });
    }
    void run_for(Milliseconds time) {
        loop_.restart();
        loop_.run_for(time);
    }

    /// Entries for one region, one commit.
    void insert(const std::string& region, std::vector<Value> contents) {
        Record record;
        record.kind = RecordKind::commit;
        record.author = "person";
        for (Value& content : contents) {
            Write write;
            write.op = WriteOp::insert;
            write.region = region;
            write.content = std::move(content);
            write.seal();
            record.writes.push_back(std::move(write));
        }
        engine_->submit(std::move(record), [](const LoggedRecord& logged) {
            if (!logged.verdict.accepted) give_up("a commit was refused: " + logged.verdict.refusals.front().message);
        });
    }

    [[nodiscard]] BoardEngine& engine() { return *engine_; }
    [[nodiscard]] const BoardInfo& info() const { return info_; }
    [[nodiscard]] const std::shared_ptr<const CrewSpec>& crew() const { return crew_; }
    [[nodiscard]] const std::map<ActivationId, Steps>& steps() const { return steps_; }
    /// Of each call in order, what was sent to the model.
    [[nodiscard]] const std::vector<std::vector<std::string>>& prompts() const { return prompts_; }

private:
    [[nodiscard]] std::uint64_t next_position() { return engine_->board().meta().last.number + 1; }

    void note(const LoggedRecord& logged) {
        const Record& record = logged.record;
        const auto begun = begun_.find(logged.position.number);
        const Steady::time_point at = begun == begun_.end() ? Steady::now() : begun->second;
        if (begun != begun_.end()) begun_.erase(begun);
        const bool is_new = record.kind == RecordKind::claimed && !record.activation;
        // The record that claims a match first gives the activation its name.
        const ActivationId id = is_new ? ActivationId{logged.position.number} : record.activation;
        if (!id) return;
        if (!logged.verdict.accepted) give_up("a record was refused: " + logged.verdict.refusals.front().message);
        Steps& steps = steps_[id];
        switch (record.kind) {
            case RecordKind::claimed:
                steps.claimed = at;
                break;
            case RecordKind::called:
                steps.called = Steady::now();
                prompts_.push_back(record.parts);
                break;
            case RecordKind::returned:
                steps.answered = at;
                if (const Result<Value> usage = parse_json(record.cost); usage.ok()) {
                    const Value* tokens = usage->find("output_tokens");
                    if (tokens != nullptr) steps.pauses_ms = tokens->as_double() / 1e3;
                }
                break;
            case RecordKind::result:
                if (record.outcome != static_cast<OutcomeCode>(OutcomeKind::ok)) give_up("it failed: " + record.reason);
                break;
            case RecordKind::commit:
                steps.committed = Steady::now();
                break;
            default:
                break;
        }
    }

    boost::asio::io_context loop_{1};
    std::unique_ptr<DataDirectory> data_;
    std::unique_ptr<SourceRegistry> sources_;
    std::shared_ptr<const CrewSpec> crew_;
    BoardInfo info_;
    std::unordered_map<std::uint64_t, Steady::time_point> begun_;
    std::map<ActivationId, Steps> steps_;
    std::vector<std::vector<std::string>> prompts_;
    std::unique_ptr<BoardEngine> engine_;
    std::unique_ptr<Workers> workers_;  // its last job ends before the engine does
    bool stopped_ = false;
};

/// Prose whose words are as unequal as those of people.
class Prose {
public:
    Prose() {
        static const std::string letters = "etaoinshrdlucmfwypvbgkjqxz";
        for (std::string& word : words_) {
            for (std::uint64_t left = 2 + random_() % 8; left > 0; --left) word += letters[random_() % letters.size()];
        }
    }

    std::string text(std::size_t bytes) {
        std::string out;
        while (out.size() < bytes) {
            const double chance = std::uniform_real_distribution<double>(0, 1)(random_);
            out += words_[static_cast<std::size_t>(std::pow(chance, 3) * static_cast<double>(words_.size()))] + ' ';
        }
        out.resize(bytes);
        return out;
    }

private:
    std::mt19937_64 random_{20'260'101};
    std::array<std::string, 4'096> words_;
};

std::string text_entry(const std::string& text) { return "{text: " + to_json(Value(text)) + "}"; }

std::string model_text(std::uint16_t port, Pace pace) {
    return "models:\n"
           "  clock: {model: openai/clock, api: chat, base_url: \"" +
           base_url(port, pace) + "\", key_env: null, max_tokens: 500}\n";
}

// ---- streams ----------------------------------------------------------------------------------

std::string streams_crew(std::uint16_t port, Pace pace, const std::string& durability, std::size_t tasks) {
    Prose prose;
    std::string text =
        "stele: 1\n"
        "crew: streams\n" +
        model_text(port, pace) +
        "regions:\n"
        "  tasks: {policy: append_only, entry: {text: string}}\n"
        "  notes: {policy: append_only, entry: {text: string}}\n"
        "  answers: {policy: append_only, entry: {text: string}}\n"
        "sources:\n"
        "  worker:\n"
        "    kind: llm\n"
        "    model: clock\n"
        "    role: a clerk of a housing office\n"
        "    goal: every question gets an answer that rests on the notes\n"
        "    prompt: Answer the question from the notes.\n"
        "    reuse: false\n"
        "    when: [{each: tasks as t}]\n"
        "    view: [{region: notes, last: 20}]\n"
        "    limits: {concurrency: " +
        std::to_string(in_flight) +
        "}\n"
        "    may: {read: [tasks, notes], write: {answers: [insert]}}\n"
        "limits: {concurrency: " +
        std::to_string(in_flight) +
        "}\n"
        "durability: " +
        durability +
        "\n"
        "stop: {cycle: off}\n"
        "seed:\n"
        "  notes:\n";
    for (int i = 0; i < 20; ++i) text += "    - " + text_entry(prose.text(200)) + "\n";
    text += "  tasks:\n";
    for (std::size_t i = 0; i < tasks; ++i) text += "    - " + text_entry(prose.text(60)) + "\n";
    return text;
}

/// The body that the first call of the board had.
std::string body_of(const LiveBoard& board) {
    const CrewSpec& crew = *board.crew();
    ChatRequest request;
    const std::vector<std::string>& parts = board.prompts().front();
    for (const std::string& part : parts) {
        ChatMessage message;
        message.role = request.messages.empty() ? ChatMessage::Role::system : ChatMessage::Role::user;
        message.text = part;
        request.messages.push_back(std::move(message));
    }
    request.answer_schema = answer_schema(crew, crew.sources.front());
    request.max_tokens = crew.models.front().max_tokens;
    return wire_of(crew.models.front().api).body(crew.models.front(), request);
}

struct OurRun {
    std::vector<double> whole_ms;   // of each activation, from its claim to its commit's acknowledgement
    std::vector<double> beyond_ms;  // the same without the server's pauses
    std::vector<double> before_ms;
    std::vector<double> after_ms;
    double seconds = 0;
    std::string body;
};

OurRun run_streams(const std::string& directory, const std::string& crew, std::size_t tasks) {
    LiveBoard board(directory, crew);
    OurRun run;
    run.seconds = board.run_to_its_stop();
    if (board.steps().size() != tasks) give_up("there were " + std::to_string(board.steps().size()) + " activations");
    for (const auto& [id, steps] : board.steps()) {
        run.whole_ms.push_back(ms_between(steps.claimed, steps.committed));
        run.beyond_ms.push_back(run.whole_ms.back() - steps.pauses_ms);
        run.before_ms.push_back(ms_between(steps.claimed, steps.called));
        run.after_ms.push_back(ms_between(steps.answered, steps.committed));
    }
    run.body = body_of(board);
    return run;
}

void measure_streams(Report& report, const ModelServer& server, const std::string& directory, Pace pace,
                     const std::string& durability, std::size_t tasks, int rounds) {
    const bool burst = tasks == in_flight;
    Row whole;
    whole.name = std::string("streams_64: ") + (burst ? "all at one moment, " : "64 in flight, ") + durability;
    whole.unit = "ms";
    whole.peer_name = "raw client, the same requests, 64 at once, on the same server";
    whole.more_is_better = false;
    Row beyond = whole;
    beyond.name += ", beyond the raw client";
    beyond.peer_name = "the raw client's whole exchange";
    beyond.most = 2;
    std::vector<double> each;
    std::vector<double> before;
    std::vector<double> after;
    for (int round = 0; round < rounds; ++round) {
        const std::string place = directory + "/" + durability + std::to_string(tasks) + "_" + std::to_string(round);
        const OurRun ours = run_streams(place, streams_crew(server.port(), pace, durability, tasks), tasks);
        const RawRun peer = ask_raw(server.port(), pace, ours.body, in_flight, tasks);
        whole.rounds.ours.push_back(median(ours.whole_ms));
        whole.rounds.peer.push_back(median(peer.exchange_ms));
        beyond.rounds.ours.push_back(median(ours.beyond_ms) - median(peer.beyond_ms));
        beyond.rounds.peer.push_back(median(peer.exchange_ms));
        each.push_back((ours.seconds - peer.seconds) * 1e3 / static_cast<double>(tasks));
        before.push_back(median(ours.before_ms));
        after.push_back(median(ours.after_ms));
    }
    report.add(whole);
    report.add(beyond);
    char text[160];
    std::snprintf(text, sizeof text,
                  "claim until the request may leave %.2f ms, answer until acknowledged %.2f ms; the whole run, for "
                  "each, %.2f ms more than the raw client's",
                  median(before), median(after), median(each));
    report.note(text);
}

void measure_throughput(Report& report, const ModelServer& server, const std::string& directory,
                        const std::string& durability, int rounds) {
    constexpr std::size_t tasks = 2'000;
    Row row;
    row.name = "streams_64: answered at once, " + durability;
    row.unit = "a second";
    row.peer_name = "raw client, the same requests, 64 at once, on the same server";
    for (int round = 0; round < rounds; ++round) {
        const std::string place = directory + "/now_" + durability + std::to_string(round);
        const OurRun ours = run_streams(place, streams_crew(server.port(), Pace::now, durability, tasks), tasks);
        const RawRun peer = ask_raw(server.port(), Pace::now, ours.body, in_flight, tasks);
        row.rounds.ours.push_back(tasks / ours.seconds);
        row.rounds.peer.push_back(tasks / peer.seconds);
    }
    report.add(row);
}

// ---- prompts ----------------------------------------------------------------------------------

constexpr std::size_t questions = 8;

// What is due in an hour keeps the run from becoming quiescent.
constexpr const char* in_an_hour =
    "  in_an_hour:\n"
    "    kind: rule\n"
    "    when: [{after: 1h}]\n"
    "    then: [{insert: answers, entry: {text: an hour has passed}}]\n"
    "    may: {write: {answers: [insert]}}\n";

std::string prompts_crew(std::uint16_t port) {
    return "stele: 1\n"
           "crew: prompts\n" +
           model_text(port, Pace::hold) +
           "regions:\n"
           "  tasks: {policy: append_only, entry: {text: string}}\n"
           "  findings: {policy: append_only, entry: {text: string}}\n"
           "  messages: {policy: append_only, entry: {text: string}}\n"
           "  answers: {policy: append_only, entry: {text: string}}\n"
           "sources:\n"
           "  worker:\n"
           "    kind: llm\n"
           "    model: clock\n"
           "    role: a clerk of a housing office\n"
           "    goal: every question gets an answer that rests on what was found\n"
           "    prompt: Answer the question from the findings and the latest messages.\n"
           "    reuse: false\n"
           "    when: [{each: tasks as t}]\n"
           "    view:\n"
           "      - {region: findings, relevant: {to: $t.text, most: 8}, priority: 2}\n"
           "      - {region: messages, last: 20, priority: 1}\n"
           "    view_tokens: 4000\n"
           "    may: {read: [tasks, findings, messages], write: {answers: [insert]}}\n" +
           in_an_hour +
           "durability: memory\n"
           "stop: {cycle: off}\n";
}

struct PromptFigures {
    double tokens = 0;         // of one activation's prompt
    double whole_tokens = 0;   // of one that is sent the whole board
    double look_us = 0;        // picking what is shown, ranked by text
    double render_us = 0;      // of that
    double render_all_us = 0;  // of the whole board
    double index_ms = 0;       // indexing the whole board, once
};

PromptFigures measure_board(const ModelServer& server, const std::string& directory, std::size_t entries) {
    constexpr std::size_t writes_a_commit = 500;
    LiveBoard board(directory, prompts_crew(server.port()));
    board.start();
    board.run_until_idle();
    Prose prose;
    for (const std::string region : {"findings", "messages"}) {
        for (std::size_t made = 0; made < entries / 2;) {
            std::vector<Value> contents;
            while (made < entries / 2 && contents.size() < writes_a_commit) {
                contents.push_back(Value::object({{"text", prose.text(200)}}));
                ++made;
            }
            board.insert(region, std::move(contents));
            board.run_until_idle();
        }
    }
    std::vector<Value> tasks;
    for (std::size_t i = 0; i < questions; ++i) tasks.push_back(Value::object({{"text", prose.text(60)}}));
    board.insert("tasks", std::move(tasks));
    board.run_until([&] { return board.prompts().size() == questions; });

    PromptFigures figures;
    const TokenEstimate estimate;
    const ModelSpec& model = board.crew()->models.front();
    const Scheduler& scheduler = board.engine().scheduler();
    const std::unique_ptr<RelevanceIndex> index = make_relevance_index();
    auto start = Steady::now();
    check(index->declare(*board.crew(), board.engine().board().view(board.engine().board().meta().version)));
    figures.index_ms = seconds_since(start) * 1e3;
    std::vector<double> look;
    std::vector<double> render;
    std::vector<double> tokens;
    std::vector<double> fixed_bytes;
    for (int again = 0; again < 5; ++again) {
        for (const auto& [id, live] : scheduler.activations()) {
            start = Steady::now();
            const auto request = take(make_activation_request(scheduler, board.engine().board(), "bench",
                                                              board.info().family, live, index.get()));
            look.push_back(seconds_since(start) * 1e6);
            start = Steady::now();
            const RenderedPrompt prompt = render_prompt(*request, prompt_options(*request, model, estimate, 0, false));
            render.push_back(seconds_since(start) * 1e6);
            std::size_t bytes = 0;
            for (const ChatMessage& message : prompt.messages) bytes += message.text.size();
            if (prompt.shown.size() < 20 || prompt.shown.size() > 28)
                give_up("a view showed " + std::to_string(prompt.shown.size()) + " entries");
            for (const ViewRegion& region : request->view) {
                for (const EntryPtr& entry : region.entries) bytes -= prompt_line(*entry).size() + 1;
            }
            fixed_bytes.push_back(static_cast<double>(bytes));
        }
    }
    // As the engine sent them.
    for (const std::vector<std::string>& parts : board.prompts()) {
        std::size_t bytes = 0;
        for (const std::string& part : parts) bytes += part.size();
        tokens.push_back(static_cast<double>(estimate.tokens(model.name, bytes)));
    }
    start = Steady::now();
    const View view = board.engine().board().view(board.engine().board().meta().version);
    auto whole = static_cast<std::size_t>(median(fixed_bytes));
    for (const char* region : {"findings", "messages"}) {
        check(view.for_each(region, false, [&](const EntryPtr& entry) {
            whole += prompt_line(*entry).size() + 1;
            return true;
        }));
    }
    figures.render_all_us = seconds_since(start) * 1e6;
    figures.tokens = median(tokens);
    figures.whole_tokens = static_cast<double>(estimate.tokens(model.name, whole));
    figures.look_us = median(look);
    figures.render_us = median(render);
    return figures;
}

void measure_prompts(Report& report, const ModelServer& server, const std::string& directory) {
    constexpr double agents = 5;
    const auto row = [&](const std::string& name, const std::string& unit, const std::string& peer_name, double ours,
                         double peer) {
        Row made;
        made.name = name;
        made.unit = unit;
        made.peer_name = peer_name;
        made.more_is_better = false;
        made.rounds.ours = {ours};
        made.rounds.peer = {peer};
        report.add(made);
    };
    std::map<std::size_t, PromptFigures> all;
    for (const std::size_t entries : {100U, 1'000U, 10'000U, 100'000U}) {
        all[entries] = measure_board(server, directory + "/" + std::to_string(entries), entries);
        const PromptFigures& figures = all[entries];
        const std::string name = "prompt_tokens: a board of " + std::to_string(entries) + " entries";
        row(name, "tokens", "the whole board in the prompt", figures.tokens, figures.whole_tokens);
        row(name + ", rank and render", "us", "reading and rendering the whole board",
            figures.look_us + figures.render_us, figures.render_all_us);
        char text[120];
        std::snprintf(text, sizeof text, "choosing what is shown %.0f us, rendering %.0f us; indexing, once, %.1f ms",
                      figures.look_us, figures.render_us, figures.index_ms);
        report.note(text);
    }
    const PromptFigures& most = all[100'000];
    row("prompt_tokens: 100000 entries, against a crew of 5", "tokens",
        "the whole board to each of 5 agents, for one step", most.tokens, most.whole_tokens * agents);
    Row flat;
    flat.name = "prompt_tokens: 100000 entries, against ours of 1000";
    flat.unit = "tokens";
    flat.peer_name = "ours with 1000 entries: 1 is flat";
    flat.more_is_better = false;
    flat.rounds.ours = {most.tokens};
    flat.rounds.peer = {all[1'000].tokens};
    report.add(flat);
}

// ---- memory -----------------------------------------------------------------------------------

std::string idle_crew(std::uint16_t port, std::size_t sources) {
    std::string text =
        "stele: 1\n"
        "crew: idle\n" +
        model_text(port, Pace::hold) +
        "regions:\n"
        "  tasks: {policy: append_only, entry: {text: string, for: string}}\n"
        "  answers: {policy: append_only, entry: {text: string}}\n"
        "sources:\n";
    for (std::size_t i = 0; i < sources; ++i) {
        const std::string name = "clerk_" + std::to_string(i);
        text += "  " + name +
                ":\n"
                "    kind: llm\n"
                "    model: clock\n"
                "    role: clerk number " +
                std::to_string(i) +
                " of a housing office\n"
                "    goal: every question of this desk gets an answer that rests on what the board says\n"
                "    prompt: Answer the question from what you see. Say so where it does not suffice, and ask for\n"
                "      what you would need; do not answer what was asked of another desk.\n"
                "    when: [{each: tasks as t, where: {for: " +
                name +
                "}}]\n"
                "    may: {read: [tasks, answers], write: {answers: [insert]}}\n";
    }
    return text + in_an_hour + "durability: memory\nstop: {cycle: off}\n";
}

std::string waiting_crew(std::uint16_t port, std::size_t tasks) {
    std::string text = streams_crew(port, Pace::hold, "async", tasks);
    const std::string one_at_a_time = "{concurrency: " + std::to_string(in_flight) + "}";
    for (std::size_t at = text.find(one_at_a_time); at != std::string::npos; at = text.find(one_at_a_time, at)) {
        text.replace(at, one_at_a_time.size(), "{concurrency: 1000}");
    }
    return text;
}

/// In a process of its own, whose heap holds nothing else.
double measure_resident(const std::string& what, std::size_t count, std::uint16_t port, const std::string& directory) {
    LiveBoard board(directory, what == "idle" ? idle_crew(port, count) : waiting_crew(port, count));
    board.start();
    if (what == "idle") {
        board.run_until_idle();
        Prose prose;
        std::vector<Value> nobodys;
        for (int i = 0; i < 100; ++i) {
            nobodys.push_back(Value::object({{"text", prose.text(100)}, {"for", "another_desk"}}));
        }
        board.insert("tasks", std::move(nobodys));
        board.run_until_idle();
    } else {
        board.run_until([&] { return board.prompts().size() == count; });
    }
    board.run_for(Milliseconds(300));
    return resident_mb();
}

double resident_of(const std::string& what, std::size_t count, const ModelServer& server, const std::string& folder) {
    const std::string place = folder + "/" + what + std::to_string(count);
    const std::string command = std::filesystem::read_symlink("/proc/self/exe").string() + " --resident " + what + " " +
                                std::to_string(count) + " " + std::to_string(server.port()) + " '" + place + "'";
    std::FILE* output = ::popen(command.c_str(), "r");
    if (output == nullptr) give_up("cannot start " + command);
    double figure = 0;
    const bool read = std::fscanf(output, "%lf", &figure) == 1;
    if (::pclose(output) != 0 || !read) give_up("failed: " + command);
    return figure;
}

void measure_memory(Report& report, const ModelServer& server, const std::string& folder) {
    const auto row = [&](const std::string& what, const std::string& name, const std::string& peer, double most) {
        Row made;
        made.name = name;
        made.unit = "MB";
        made.peer_name = peer;
        made.more_is_better = false;
        made.most = most;
        const double one = resident_of(what, 1, server, folder);
        made.rounds.ours = {resident_of(what, 1'000, server, folder) - one};
        made.rounds.peer = {one};
        report.add(made);
    };
    row("idle", "idle_sources: 1000 that wait for a match, beyond 1", "resident with 1 such source", 50);
    row("waiting", "idle_sources: 1000 that wait for an answer, beyond 1", "resident with 1 such activation", 0);
}

// ---- cancelling -------------------------------------------------------------------------------

std::size_t count_children() {
    std::size_t count = 0;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
        std::ifstream file(thread.path() / "children");
        for (std::string child; file >> child;) ++count;
    }
    return count;
}

/// Keeps 64 attempts going; each is left alone, cancelled, or destroyed at a random moment.
class Canceller {
public:
    Canceller(const std::shared_ptr<const CrewSpec>& crew, std::size_t attempts)
        : sources_(make_source_registry(loop_)), left_(attempts) {
        auto task = std::make_shared<Entry>();
        task->id = {"tasks", 1};
        task->content = Value::object({{"text", "when does the lease end?"}});
        request_.crew = crew;
        request_.source = crew->sources.data();
        request_.members = {Binding{{task}}};
        request_.deadline_ms = 60'000;
        request_.idempotency_key = "bench:1/1";
        request_.fence = "board-0123456789ab";
    }

    void run() {
        std::vector<std::unique_ptr<Slot>> slots;
        for (std::size_t i = 0; i < in_flight; ++i) slots.push_back(std::make_unique<Slot>(loop_));
        for (auto& slot : slots) begin(*slot);
        loop_.restart();
        while (running_ > 0) {
            if (loop_.run_one_for(std::chrono::seconds(30)) == 0) give_up("an attempt came to no end");
        }
    }

    [[nodiscard]] std::string told() const {
        return std::to_string(answered_) + " were answered, " + std::to_string(cancelled_) + " cancelled, " +
               std::to_string(destroyed_) + " destroyed";
    }

private:
    struct Slot {
        explicit Slot(boost::asio::io_context& loop) : moment(loop) {}
        std::unique_ptr<Attempt> attempt;
        boost::asio::steady_timer moment;
        std::uint64_t turn = 0;
    };

    void begin(Slot& slot) {
        if (left_ == 0) return;
        --left_;
        ++running_;
        const std::uint64_t turn = ++slot.turn;
        AttemptEvents events;
        events.started = [](const ProcessIdentity&) { return true; };
        events.call = [this](const CallIntent&, std::function<void(CallPermit)> permitted) {
            boost::asio::post(loop_, [permitted = std::move(permitted)] {
                CallPermit permit;
                permit.kind = CallPermit::Kind::go;
                permit.call = 1;
                permitted(std::move(permit));
            });
        };
        events.returned = [](const CallEnd&) {};
        events.progress = [](const std::string&) {};
        events.finished = [this, &slot, turn](const Outcome& outcome) {
            if (slot.turn != turn) give_up("what was destroyed has spoken");
            if (outcome.kind == OutcomeKind::ok) {
                ++answered_;
            } else if (outcome.kind == OutcomeKind::cancelled) {
                ++cancelled_;
            } else {
                give_up("an attempt failed: " + outcome.error);
            }
            // It is still on the call stack.
            boost::asio::post(loop_, [this, &slot, turn] {
                if (slot.turn == turn) next(slot);
            });
        };
        slot.attempt = sources_->kinds.at(SourceKind::llm)
                           ->start(std::make_shared<ActivationRequest>(request_), std::move(events));
        const auto fate = random_() % 3;
        if (fate == 0) return;
        slot.moment.expires_after(std::chrono::microseconds(random_() % 25'000));
        slot.moment.async_wait([this, &slot, turn, fate](const boost::system::error_code& error) {
            if (error || slot.turn != turn || !slot.attempt) return;
            if (fate == 1) return slot.attempt->cancel();
            ++destroyed_;
            next(slot);
        });
    }

    void next(Slot& slot) {
        ++slot.turn;
        slot.moment.cancel();
        slot.attempt.reset();
        --running_;
        begin(slot);
    }

    boost::asio::io_context loop_{1};
    std::unique_ptr<SourceRegistry> sources_;
    ActivationRequest request_;
    std::mt19937_64 random_{20'260'102};
    std::size_t left_;
    std::size_t running_ = 0;
    std::size_t answered_ = 0;
    std::size_t cancelled_ = 0;
    std::size_t destroyed_ = 0;
};

void measure_cancelling(Report& report, const ModelServer& server, const std::string& directory) {
    constexpr std::size_t attempts = 10'000;
    const auto crew = crew_from(streams_crew(server.port(), Pace::quick, "memory", 1), directory);
    const std::size_t at_server = server.open_descriptors();
    Canceller(crew, attempts / 10).run();  // what happens once
    const std::size_t descriptors = count_descriptors("self");
    const std::size_t children = count_children();
    const double resident = resident_mb();
    std::string told;
    {
        Canceller canceller(crew, attempts);
        canceller.run();
        told = canceller.told();
    }
    const auto row = [&](const std::string& name, const std::string& unit, double after, double before) {
        Row made;
        made.name = "cancelled_10000: " + name;
        made.unit = unit;
        made.peer_name = "before them, after the first 1000";
        made.more_is_better = false;
        made.rounds.ours = {after};
        made.rounds.peer = {before};
        report.add(made);
    };
    row("descriptors", "open", static_cast<double>(count_descriptors("self")), static_cast<double>(descriptors));
    row("child processes", "running", static_cast<double>(count_children()), static_cast<double>(children));
    row("resident", "MB", resident_mb(), resident);
    report.note(told);
    // The server hears of the last ones a little later.
    for (int tries = 0; tries < 100 && server.open_descriptors() > at_server; ++tries) ::usleep(10'000);
    report.note("the server had " + std::to_string(at_server) + " descriptors before and " +
                std::to_string(server.open_descriptors()) + " after");
}

// ---- the run ----------------------------------------------------------------------------------

void run(const Options& options) {
    // Forks, so it comes first.
    const ModelServer server;
    const WorkingDirectory work("agents");
    Report report;
    const auto wanted = [&](const std::string& part) { return options.only.empty() || part.find(options.only) == 0; };
    if (wanted("cancelled")) {
        report.heading("10,000 attempts of kind llm, left alone, cancelled or destroyed at random moments");
        work.with_folder("cancelled", [&](const std::string& folder) { measure_cancelling(report, server, folder); });
    }
    if (wanted("streams")) {
        report.heading("A streamed answer of 20 pieces, from its claim to its commit acknowledged");
        work.with_folder("streams", [&](const std::string& folder) {
            for (const char* durability : {"sync", "async"}) {
                measure_streams(report, server, folder, Pace::spread, durability, in_flight * 8, options.rounds);
            }
            for (const char* durability : {"sync", "async"}) {
                measure_streams(report, server, folder, Pace::even, durability, in_flight, options.rounds);
            }
        });
    }
    if (wanted("throughput")) {
        report.heading("The same, answered at once");
        work.with_folder("throughput", [&](const std::string& folder) {
            for (const char* durability : {"sync", "async"}) {
                measure_throughput(report, server, folder, durability, options.rounds);
            }
        });
    }
    if (wanted("prompts")) {
        report.heading("What one activation is sent: 8 findings near to the question and the last 20 messages");
        work.with_folder("prompts", [&](const std::string& folder) { measure_prompts(report, server, folder); });
    }
    if (wanted("memory")) {
        report.heading("Memory of those who wait");
        work.with_folder("memory", [&](const std::string& folder) { measure_memory(report, server, folder); });
    }
    if (!options.json.empty()) report.write_json(options.json);
}

// A thousand connections on either side.
void raise_descriptor_limit() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

int print_resident(char** arguments) {
    try {
        std::printf("%.3f\n", measure_resident(arguments[2], std::strtoul(arguments[3], nullptr, 10),
                                               static_cast<std::uint16_t>(std::atoi(arguments[4])), arguments[5]));
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "agents benchmark: %s\n", problem.what());
        return 1;
    }
    return 0;
}

}  // namespace
}  // namespace stele

int main(int count, char** arguments) {
    // A proxy would be measured otherwise.
    ::setenv("NO_PROXY", "127.0.0.1", 1);
    stele::raise_descriptor_limit();
    if (count == 6 && std::strcmp(arguments[1], "--resident") == 0) return stele::print_resident(arguments);
    return stele::run_benchmark({.name = "agents", .parts = "cancelled|streams|throughput|prompts|memory", .rounds = 5},
                                count, arguments, stele::run);
}

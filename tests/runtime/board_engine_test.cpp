// An engine that opens a board again: from its checkpoint, with the records after it, or by the whole log.
#include "runtime/board_engine.hpp"

#include <doctest/doctest.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <memory>
#include <string>

#include "board/log/keys.hpp"
#include "runtime/crew_loader.hpp"
#include "runtime/data_directory.hpp"
#include "runtime/owner.hpp"
#include "tests/runtime/crew_world.hpp"
#include "tests/support/temporary_directory.hpp"

using namespace stele;

namespace {

constexpr const char* crew_text = R"(
stele: 1
crew: doubling
regions:
  facts:   {policy: append_only, entry: {n: integer}}
  doubled: {policy: append_only, entry: {of: string}}
sources:
  double:
    kind: rule
    when: [{each: facts as f}, {none: doubled, where: {of: nothing}}]
    then: [{insert: doubled, entry: {of: $f.@id}}]
    may: {read: [facts, doubled], write: {doubled: [insert]}}
)";

// One process's time with the board.
class Engine {
public:
    explicit Engine(const std::string& path) {
        std::string torn_tail;
        Result<std::unique_ptr<DataDirectory>> data = DataDirectory::own(path, torn_tail);
        REQUIRE(data.ok());
        data_ = std::move(*data);
        const Result<std::vector<BoardInfo>> boards = data_->boards();
        REQUIRE(boards.ok());
        if (boards->empty()) {
            const Result<BoardInfo> made = data_->create({.tenant = "default", .board = "test"}, {1'000});
            REQUIRE(made.ok());
            info_ = *made;
        } else {
            info_ = boards->front();
        }
        sources_ = make_source_registry(loop_);
        workers_ = std::make_unique<Workers>(loop_);
        EngineHooks hooks;
        hooks.on_stopped = [this] { stopped_ = true; };
        hooks.on_failure = [](const Error& error) { FAIL(error.message); };
        engine_ = std::make_unique<BoardEngine>(loop_, data_->store(), *workers_, info_, data_->head_path(info_.number),
                                                *sources_, make_crew_reader(), std::move(hooks),
                                                [this] { return TimeMs{++clock_}; });
    }
    ~Engine() {
        engine_.reset();
        workers_.reset();
        loop_.poll();
    }

    Status open() { return engine_->open(); }
    BoardEngine& operator*() { return *engine_; }
    [[nodiscard]] std::string described() const { return simulation::describe(engine_->scheduler()); }
    StateStore& store() { return data_->store(); }
    [[nodiscard]] BoardNumber number() const { return info_.number; }

    void take_over() {
        engine_->take_over();
        settle();
    }
    void start_run() {
        const std::shared_ptr<const CrewSpec> crew = load_crew(crew_text, "crew.yaml", "/crews", {}).crew;
        REQUIRE(crew != nullptr);
        engine_->start_run(*crew, inputs_to_json(*crew));
        until_stopped();
    }
    void resume() {
        engine_->signal("resume", "");
        until_stopped();
    }
    void commit_facts(int count) {
        for (int n = 0; n < count; ++n) {
            Record record;
            record.author = "person";
            record.writes = {simulation::insert("facts", "{\"n\":" + std::to_string(n) + "}")};
            engine_->submit(std::move(record), [](const LoggedRecord& logged) { REQUIRE(logged.verdict.accepted); });
        }
        settle();
    }
    [[nodiscard]] Position last() { return engine_->board().meta().last; }
    [[nodiscard]] Position checkpoint() {
        const Result<std::optional<StoredCheckpoint>> stored = engine_->board().entries().checkpoint();
        REQUIRE(stored.ok());
        return stored->has_value() ? (*stored)->at : Position{};
    }
    [[nodiscard]] std::uint64_t entries_in(const char* region) {
        return engine_->board().entries().region(region)->active_entries;
    }

private:
    void settle() {
        do {
            loop_.restart();
            loop_.run_one();
        } while (!engine_->is_idle());
    }
    void until_stopped() {
        stopped_ = false;
        while (!stopped_) {
            loop_.restart();
            loop_.run_one();
        }
    }

    boost::asio::io_context loop_;
    std::unique_ptr<DataDirectory> data_;
    BoardInfo info_;
    std::unique_ptr<SourceRegistry> sources_;
    std::unique_ptr<Workers> workers_;
    std::unique_ptr<BoardEngine> engine_;
    bool stopped_ = false;
    std::int64_t clock_ = 1'000;
};

// A run that left more records than it takes to keep a checkpoint when it stops, and some after it.
std::string make_board(const std::string& path) {
    Engine engine(path);
    REQUIRE(engine.open().ok());
    engine.take_over();
    engine.start_run();
    CHECK(engine.checkpoint() == Position{});  // so few records are read sooner
    engine.commit_facts(150);
    engine.resume();
    const Position checkpoint = engine.checkpoint();
    CHECK(checkpoint.number > 300);
    CHECK(checkpoint == engine.last());
    engine.commit_facts(20);
    CHECK(engine.checkpoint() == checkpoint);
    CHECK(engine.entries_in("doubled") == 150);
    return engine.described();
}

void put(StateStore& store, Column column, const std::string& key, std::string value) {
    StoreBatch batch;
    batch.put(column, key, std::move(value));
    REQUIRE(store.apply(batch).ok());
}

std::string checkpoint_key(StateStore& store) {
    std::string key;
    REQUIRE(store
                .scan(Column::meta, "C", "D", false,
                      [&](std::string_view found, std::string_view) { return key = found, true; })
                .ok());
    REQUIRE_FALSE(key.empty());
    return key;
}

// The record is readable and stands after others than it did.
void break_the_chain(Engine& engine, Position position) {
    const EntryStore entries(engine.store(), engine.number(), {});
    const Result<std::shared_ptr<const LoggedRecord>> logged = entries.record(position);
    REQUIRE(logged.ok());
    StoreBatch batch;
    std::string frame =
        encode_frame((*logged)->record, (*logged)->verdict, position, ChainLink{}, Salt{}, entries.blob_storer(batch))
            .bytes;
    put(engine.store(), Column::log, log_key(engine.number(), position), std::move(frame));
}

}  // namespace

TEST_CASE("a stopped board is resumed from its checkpoint, without a look at the records before it") {
    const TemporaryDirectory directory;
    const std::string before = make_board(directory.path());
    {
        Engine engine(directory.path());
        break_the_chain(engine, {3});
        const Status opened = engine.open();
        REQUIRE_MESSAGE(opened.ok(), (opened.ok() ? "" : opened.error().message));
        CHECK(engine.described() == before);
        engine.take_over();
        engine.resume();
        CHECK(engine.entries_in("doubled") == 170);
    }
    Engine engine(directory.path());
    StoreBatch batch;
    batch.erase(Column::meta, checkpoint_key(engine.store()));
    REQUIRE(engine.store().apply(batch).ok());
    const Status opened = engine.open();
    REQUIRE_FALSE(opened.ok());
    CHECK(opened.error().code == ErrorCode::corrupt);
}

TEST_CASE("a damaged record after the checkpoint is found when the board is opened") {
    const TemporaryDirectory directory;
    make_board(directory.path());
    Engine engine(directory.path());
    const std::string key = log_key(engine.number(), {310});
    const Result<std::optional<std::string>> stored = engine.store().get(Column::log, key);
    REQUIRE(stored.ok());
    REQUIRE(stored->has_value());
    std::string damaged = **stored;
    damaged[damaged.size() / 2] ^= 1;
    put(engine.store(), Column::log, key, damaged);
    const Status opened = engine.open();
    REQUIRE_FALSE(opened.ok());
    CHECK(opened.error().code == ErrorCode::corrupt);
}

TEST_CASE("where the checkpoint is damaged, or of another log, the whole log says the same") {
    const TemporaryDirectory directory;
    const std::string before = make_board(directory.path());
    for (const std::size_t at : {0, 1, 5, 40, 60, 200}) {
        CAPTURE(at);
        Engine engine(directory.path());
        const std::string key = checkpoint_key(engine.store());
        const Result<std::optional<std::string>> stored = engine.store().get(Column::meta, key);
        REQUIRE(stored.ok());
        std::string damaged = stored->value();
        damaged[at] ^= 1;
        put(engine.store(), Column::meta, key, damaged);
        const Status opened = engine.open();
        REQUIRE_MESSAGE(opened.ok(), (opened.ok() ? "" : opened.error().message));
        CHECK(engine.described() == before);
        put(engine.store(), Column::meta, key, stored->value());
    }
}

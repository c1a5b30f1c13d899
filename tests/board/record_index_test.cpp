// The index of records against its oracle: looking at every record.
#include "board/record_index.hpp"

#include <doctest/doctest.h>

#include <random>

#include "board/log/memory_store.hpp"
#include "board/text_tokens.hpp"

using namespace stele;

namespace {

constexpr IndexShape small{4, 12, 2, 5};
const FamilyKey family{1, 2, 3};

// A log in memory, indexed as it grows.
struct World {
    explicit World(IndexShape index_shape = small) : shape(index_shape), writer({1}, family, index_shape) {}

    RecordLoader loader() {
        return [this](Position at) -> Result<std::shared_ptr<const LoggedRecord>> {
            ++loads;
            REQUIRE(at.number >= 1);
            REQUIRE(at.number <= log.size());
            return log[at.number - 1];
        };
    }
    void append(Record record, Verdict verdict) {
        auto logged = std::make_shared<LoggedRecord>();
        logged->position = {log.size() + 1};
        logged->record = std::move(record);
        logged->verdict = std::move(verdict);
        log.push_back(logged);
        StoreBatch batch;
        writer.add(logged, batch);
        REQUIRE(store->apply(batch).ok());
    }
    void reopen() {
        writer = RecordIndexWriter({1}, family, shape);
        REQUIRE(writer.open(*store, {log.size()}, loader()).ok());
    }
    std::vector<std::uint64_t> find(const IndexQuery& query, std::uint64_t from, std::uint64_t until, bool reverse,
                                    std::size_t count_max = SIZE_MAX) {
        std::vector<std::uint64_t> found;
        const RecordIndex index(*store, {1}, family, {log.size()}, loader(), shape);
        const Status looked = index.find(query, {from}, {until}, reverse, [&](const LoggedRecord& logged) {
            found.push_back(logged.position.number);
            return found.size() < count_max;
        });
        REQUIRE(looked.ok());
        return found;
    }
    // Every record looked at.
    std::vector<std::uint64_t> oracle(const IndexQuery& query, std::uint64_t from, std::uint64_t until, bool reverse,
                                      std::size_t count_max = SIZE_MAX) {
        std::vector<std::uint64_t> found;
        for (const auto& logged : log) {
            const std::uint64_t at = logged->position.number;
            bool all = at >= from && at <= until;
            for (const std::vector<RecordTerm>& any : query) {
                bool one = false;
                for_each_term(*logged, [&](RecordTermKind kind, std::string_view text) {
                    for (const RecordTerm& term : any) one = one || (term.kind == kind && term.text == text);
                });
                all = all && one;
            }
            if (all) found.push_back(at);
        }
        if (reverse) std::reverse(found.begin(), found.end());
        if (found.size() > count_max) found.resize(count_max);
        return found;
    }

    IndexShape shape;
    std::unique_ptr<StateStore> store = make_memory_store();
    RecordIndexWriter writer;
    std::vector<std::shared_ptr<const LoggedRecord>> log;
    std::size_t loads = 0;
};

Write insert(const std::string& region, const std::string& json, std::vector<Cite> cites = {}) {
    Write write;
    write.op = WriteOp::insert;
    write.region = region;
    write.content = *parse_json(json);
    write.seal();
    write.cites = std::move(cites);
    return write;
}

const std::vector<std::string> words = {"churn", "price", "risk", "test", "slow", "rare"};
const std::vector<std::string> authors = {"scout", "critic", "lead"};

void append_random(World& world, std::mt19937& random) {
    Record record;
    Verdict verdict;
    record.author = authors[random() % authors.size()];
    switch (random() % 5) {
        case 0:
            record.kind = RecordKind::claimed;
            record.members.push_back({{}, {{{"evidence", random() % 20 + 1}, 1}}, {}});
            break;
        case 1:
            record.kind = RecordKind::result;
            record.activation = {random() % 30 + 1};
            record.outcome = static_cast<OutcomeCode>(random() % 3 + 1);
            break;
        default: {
            record.kind = RecordKind::commit;
            record.activation = {random() % 30 + 1};
            verdict.accepted = random() % 8 != 0;
            for (std::uint64_t i = random() % 3 + 1; i > 0; --i) {
                const std::string& word = words[random() % (random() % 10 == 0 ? words.size() : words.size() - 1)];
                Write write = insert(random() % 2 == 0 ? "evidence" : "claims",
                                     R"({"text":")" + word + R"(","n":)" + std::to_string(random() % 9) + "}");
                if (random() % 3 == 0) write.cites.push_back({{"evidence", random() % 20 + 1}, 0});
                if (!record.writes.empty() && random() % 4 == 0) write.cites.push_back({{}, 1});
                write.why = random() % 4 == 0 ? words[random() % words.size()] : "";
                record.writes.push_back(std::move(write));
                verdict.outcomes.push_back({WriteOutcome::Effect::added, random() % 20 + 1, 1, false});
            }
            if (!verdict.accepted) verdict.outcomes.clear();
        }
    }
    world.append(std::move(record), std::move(verdict));
}

RecordTerm random_term(std::mt19937& random) {
    switch (random() % 9) {
        case 0:
            return {RecordTermKind::author, authors[random() % authors.size()]};
        case 1:
            return activation_term({random() % 31 + 1});
        case 2:
            return {RecordTermKind::region, random() % 2 == 0 ? "evidence" : "claims"};
        case 3:
            return {RecordTermKind::outcome, random() % 2 == 0 ? "refused" : std::to_string(random() % 3 + 1)};
        case 4:
            return entry_term(RecordTermKind::cite, {"evidence", random() % 20 + 1});
        case 5:
            return entry_term(RecordTermKind::bound, {"evidence", random() % 20 + 1});
        case 6:
            return {RecordTermKind::record, random() % 2 == 0 ? "commit" : "result"};
        case 7:
            return {RecordTermKind::number, std::to_string(random() % 9) + "e0"};
        default:
            return {RecordTermKind::word, words[random() % words.size()]};
    }
}

}  // namespace

TEST_CASE("the index answers as looking at every record does, whatever the length of the log") {
    std::mt19937 random(11);
    // Lists are bitmaps where those are shorter: nearly always in the first shape, hardly ever in the last.
    const std::vector<IndexShape> shapes = {small, {8, 8, 0, 0}, {32, 64, 10, 40}, {64, 640, 64, 1'000}};
    for (int round = 0; round < 60; ++round) {
        const IndexShape& shape = shapes[random() % shapes.size()];
        World world(shape);
        const std::size_t length = random() % (3 * shape.segment_records + shape.segment_lag);
        for (std::size_t i = 0; i < length; ++i) {
            append_random(world, random);
            if (random() % 20 == 0) world.reopen();
        }
        for (int question = 0; question < 40; ++question) {
            IndexQuery query(random() % 4);
            for (std::vector<RecordTerm>& any : query) {
                for (std::uint64_t i = random() % 2 + 1; i > 0; --i) any.push_back(random_term(random));
            }
            const std::uint64_t from = random() % 3 == 0 ? random() % (length + 1) : 1;
            const std::uint64_t until = random() % 3 == 0 ? random() % (length + 5) : UINT64_MAX;
            const bool reverse = random() % 2 == 0;
            const std::size_t count_max = random() % 3 == 0 ? random() % 4 + 1 : SIZE_MAX;
            CHECK(world.find(query, from, until, reverse, count_max) ==
                  world.oracle(query, std::max<std::uint64_t>(1, from), until, reverse, count_max));
        }
    }
}

TEST_CASE("a rare term costs a few records, however long the log is") {
    World world({16, 64, 8, 32});
    std::mt19937 random(3);
    for (int i = 0; i < 5'000; ++i) {
        Record record;
        record.kind = RecordKind::commit;
        record.author = "scout";
        record.writes.push_back(insert("evidence", i == 777 ? R"({"text":"needle in it"})" : R"({"text":"hay"})"));
        Verdict verdict;
        verdict.outcomes.push_back({WriteOutcome::Effect::added, static_cast<std::uint64_t>(i + 1), 1, false});
        world.append(std::move(record), std::move(verdict));
    }
    world.loads = 0;
    CHECK(world.find({{{RecordTermKind::author, "scout"}}, {{RecordTermKind::word, "needle"}}}, 1, UINT64_MAX, false) ==
          std::vector<std::uint64_t>{778});
    CHECK(world.loads <= 16);
    world.loads = 0;
    CHECK(world.find({{{RecordTermKind::author, "scout"}}}, 1, UINT64_MAX, true, 3) ==
          std::vector<std::uint64_t>{5'000, 4'999, 4'998});
    CHECK(world.loads == 3);
}

TEST_CASE("a damaged index is said to be damaged, and nothing crashes") {
    std::mt19937 random(5);
    World world;
    for (int i = 0; i < 80; ++i) append_random(world, random);
    std::vector<std::pair<std::string, std::string>> keys;
    for (const auto& [from, to] : index_key_ranges({1})) {
        const Status scanned =
            world.store->scan(Column::terms, from, to, false, [&](std::string_view key, std::string_view value) {
                keys.emplace_back(key, value);
                return true;
            });
        REQUIRE(scanned.ok());
    }
    REQUIRE(keys.size() > 20);
    std::size_t told = 0;
    std::size_t refused = 0;  // by who goes on with it
    for (const auto& [key, value] : keys) {
        StoreBatch batch;
        std::string damaged = value;
        if (random() % 2 == 0) damaged.resize(random() % damaged.size());
        for (char& byte : damaged) byte = random() % 3 == 0 ? static_cast<char>(random()) : byte;
        batch.put(Column::terms, key, damaged);
        REQUIRE(world.store->apply(batch).ok());
        const RecordIndex index(*world.store, {1}, family, {world.log.size()}, world.loader(), small);
        for (const std::string& word : words) {
            const Status looked = index.find({{{RecordTermKind::word, word}}}, {1}, {80}, false,
                                             [](const LoggedRecord&) { return true; });
            if (!looked.ok()) {
                ++told;
                CHECK(looked.error().code == ErrorCode::corrupt);
            }
        }
        RecordIndexWriter writer({1}, family, small);
        const Status taken_up = writer.open(*world.store, {world.log.size()}, world.loader());
        if (!taken_up.ok()) {
            ++refused;
            CHECK(taken_up.error().code == ErrorCode::corrupt);
        }
        batch.clear();
        batch.put(Column::terms, key, value);
        REQUIRE(world.store->apply(batch).ok());
    }
    CHECK(told > 0);
    CHECK(refused > 0);
}

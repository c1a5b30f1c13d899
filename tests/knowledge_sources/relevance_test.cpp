// The text index against BM25 worked out by hand, and against what is no text at all.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <random>

#include "knowledge_sources/relevance.hpp"
#include "tests/board/support.hpp"

using namespace stele;
using namespace stele::board_test;

namespace {

using Numbers = std::vector<std::uint64_t>;

CrewSpec crew_ranking(const std::vector<std::string>& regions) {
    CrewSpec crew;
    SourceSpec source;
    source.name = "reader";
    source.view_declared = true;
    for (const std::string& region : regions) {
        ViewPart part;
        part.region = region;
        part.relevant_to = Operand{Value("x"), std::nullopt};
        part.relevant = 5;
        source.view.push_back(part);
    }
    ViewPart plain;
    plain.region = "plain";
    source.view.push_back(plain);
    crew.sources.push_back(std::move(source));
    return crew;
}

EntryChange added(std::string region, std::uint64_t number, std::string text) {
    auto entry = std::make_shared<Entry>();
    entry->id = {region, number};
    entry->content = Value::object({{"text", Value(std::move(text))}});
    return {EntryChange::Kind::added, entry->id, nullptr, entry};
}
EntryChange removed(std::string region, std::uint64_t number) {
    return {EntryChange::Kind::removed, {std::move(region), number}, nullptr, nullptr};
}

struct Index {
    TestBoard board{{region("notes", PolicyKind::append_only), region("plain", PolicyKind::append_only)}};
    std::unique_ptr<RelevanceIndex> index = make_relevance_index();

    Index() { REQUIRE(index->declare(crew_ranking({"notes"}), board.view()).ok()); }
    void apply(const std::vector<EntryChange>& changes) { REQUIRE(index->apply(changes).ok()); }
    Numbers rank(std::string_view text, std::size_t most = 10, std::string_view region = "notes") {
        Result<Numbers> ranked = index->rank(region, text, most);
        REQUIRE_MESSAGE(ranked.ok(), ranked.error().message);
        return *ranked;
    }
};

}  // namespace

TEST_CASE("the nearest come first, and equals in order of number") {
    Index index;
    index.apply({added("notes", 1, "rivers and lakes"), added("notes", 2, "the river floods the river bank"),
                 added("notes", 3, "mountains"), added("notes", 4, "rivers and lakes"),
                 added("notes", 5, "nothing of the kind"), added("notes", 6, "still nothing at all here"),
                 added("notes", 7, "one more that is about cities"), added("notes", 8, "and villages")});
    CHECK(index.rank("Which RIVER floods?") == Numbers{2, 1, 4});
    CHECK(index.rank("river", 2) == Numbers{2, 1});
    CHECK(index.rank("river", 0).empty());
    CHECK(index.rank("ocean").empty());
}

TEST_CASE("words are found without their accents, in any case and by their stem") {
    Index index;
    index.apply({added("notes", 1, "Ein schönes Café"), added("notes", 2, "running quickly"), added("notes", 3, "x")});
    CHECK(index.rank("cafe") == Numbers{1});
    CHECK(index.rank("SCHONES") == Numbers{1});
    CHECK(index.rank("runs") == Numbers{2});
}

TEST_CASE("a region that no view ranks is not indexed") {
    Index index;
    index.apply({added("plain", 1, "river"), added("elsewhere", 1, "river")});
    CHECK(index.rank("river", 10, "plain").empty());
    CHECK(index.rank("river", 10, "elsewhere").empty());
}

TEST_CASE("entries that change are found by what they are now, and those that leave not at all") {
    Index index;
    index.apply({added("notes", 1, "river"), added("notes", 2, "lake"), added("notes", 3, "river")});
    index.apply({added("notes", 1, "mountain"), removed("notes", 3), removed("notes", 77)});
    CHECK(index.rank("river").empty());
    CHECK(index.rank("mountain lake") == Numbers{1, 2});
}

TEST_CASE("declaring reads what the board holds, drops what is no longer ranked and keeps the rest") {
    TestBoard board({region("notes", PolicyKind::append_only), region("facts", PolicyKind::append_only)});
    board.commit("a", {write(WriteOp::insert, "notes", R"({"text":"a river"})"),
                       write(WriteOp::insert, "facts", R"({"deep":[{"text":"another river"}]})")});
    const std::unique_ptr<RelevanceIndex> index = make_relevance_index();
    const auto rank = [&](const char* region) { return *index->rank(region, "river", 5); };
    CHECK(rank("notes").empty());
    REQUIRE(index->declare(crew_ranking({"notes", "facts"}), board.view()).ok());
    CHECK(rank("notes") == Numbers{1});
    CHECK(rank("facts") == Numbers{1});
    REQUIRE(index->apply({added("notes", 2, "a second river")}).ok());
    REQUIRE(index->declare(crew_ranking({"notes"}), board.view()).ok());
    CHECK(rank("notes").size() == 2);
    CHECK(rank("facts").empty());
    REQUIRE(index->declare(crew_ranking({"notes", "facts"}), board.view()).ok());
    CHECK(rank("facts") == Numbers{1});
}

TEST_CASE("any text can be asked with") {
    Index index;
    index.apply({added("notes", 1, "alpha \"beta\" gamma"), added("notes", 2, std::string("nul\0inside", 10)),
                 added("notes", 3, "")});
    CHECK(index.rank("\"beta").size() == 1);
    CHECK(index.rank("alpha AND (NOT gamma) OR * ^ : NEAR(").size() == 1);
    CHECK(index.rank(std::string("inside\0nul", 10)) == Numbers{2});
    CHECK(index.rank("").empty());
    CHECK(index.rank("\xff\xfe \xc3").empty());
    CHECK(index.rank(std::string(1U << 20, 'a')).empty());
    const std::uint32_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    for (int i = 0; i < 2'000; ++i) {
        std::string text;
        for (std::uint32_t n = random() % 40; n > 0; --n) text += static_cast<char>(random() % 256);
        index.rank(text);
    }
}

TEST_CASE("only the first words of a long text count") {
    Index index;
    index.apply({added("notes", 1, "needle"), added("notes", 2, "word3")});
    std::string text;
    for (std::size_t i = 0; i < query_words_max; ++i) text += "word" + std::to_string(i) + " word1 ";
    CHECK(index.rank(text + "needle") == Numbers{2});
    CHECK(index.rank("needle " + text) == Numbers{1, 2});
}

TEST_CASE("the order is that of BM25, through any sequence of changes") {
    const std::uint32_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    const std::vector<std::string> vocabulary = {"aa", "bb", "cc", "dd", "ee", "ff", "gg", "hh", "kk", "mm"};
    Index index;
    std::map<std::uint64_t, std::vector<std::string>> texts;
    for (int step = 0; step < 300; ++step) {
        const std::uint64_t number = 1 + random() % 60;
        if (random() % 4 == 0) {
            index.apply({removed("notes", number)});
            texts.erase(number);
        } else {
            std::vector<std::string> words;
            std::string text;
            for (std::uint32_t n = 1 + random() % 12; n > 0; --n) {
                words.push_back(vocabulary[std::min(random() % 10, random() % 10)]);
                text += words.back() + " ";
            }
            index.apply({added("notes", number, text)});
            texts[number] = words;
        }
        if (step % 10 != 9) continue;
        const std::vector<std::string> asked = {vocabulary[random() % 5], vocabulary[5 + random() % 5]};
        double length = 0;
        for (const auto& [n, words] : texts) length += static_cast<double>(words.size());
        length /= static_cast<double>(texts.size());
        std::map<std::uint64_t, double> scores;
        for (const std::string& word : asked) {
            double with = 0;
            const auto times = [&](const std::vector<std::string>& words) {
                return static_cast<double>(std::count(words.begin(), words.end(), word));
            };
            for (const auto& [n, words] : texts) with += times(words) > 0 ? 1 : 0;
            const double idf =
                std::max(1e-6, std::log((static_cast<double>(texts.size()) - with + 0.5) / (with + 0.5)));
            for (const auto& [n, words] : texts) {
                const double tf = times(words);
                if (tf == 0) continue;
                scores[n] += idf * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * static_cast<double>(words.size()) / length));
            }
        }
        const Numbers ranked = index.rank(asked[0] + " " + asked[1], 100);
        REQUIRE(ranked.size() == scores.size());
        for (std::size_t i = 1; i < ranked.size(); ++i) {
            CHECK(scores[ranked[i - 1]] >= scores[ranked[i]] - 1e-9);
        }
    }
}

TEST_CASE("a question costs what is found: a hundred thousand entries rank in milliseconds") {
    Index index;
    std::mt19937 random(7);
    const auto started = std::chrono::steady_clock::now();
    std::vector<EntryChange> changes;
    for (std::uint64_t number = 1; number <= 100'000; ++number) {
        std::string text = "the";
        // Zipf's law, roughly: word n is found in a share of 1/n of all texts.
        for (int i = 0; i < 12; ++i) {
            const double u = (random() % 1'000'000 + 1) / 1'000'001.0;
            text += " w" + std::to_string(static_cast<int>(std::pow(20'000.0, u)));
        }
        changes.push_back(added("notes", number, std::move(text)));
        if (changes.size() == 10'000) {
            index.apply(changes);
            changes.clear();
        }
    }
    const auto filled = std::chrono::steady_clock::now();
    const auto milliseconds = [](auto span) { return std::chrono::duration<double, std::milli>(span).count(); };
    MESSAGE("100,000 entries taken up in " << milliseconds(filled - started) << " ms");
    std::string wordy = "the";
    for (int i = 1; i <= 60; ++i) wordy += " w" + std::to_string(i * i);
    for (const std::string& text :
         {std::string("w15000 w9000 w777"), std::string("the"), std::string("the w1 w2 w3"), wordy}) {
        const auto asked = std::chrono::steady_clock::now();
        const Numbers found = index.rank(text, 164);
        const double took = milliseconds(std::chrono::steady_clock::now() - asked);
        MESSAGE(text.substr(0, 20) << ": " << found.size() << " in " << took << " ms");
        CHECK(!found.empty());
        CHECK(took < 500);  // a few in truth; sanitizers and busy machines are given room
    }
}

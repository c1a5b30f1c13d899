// A log of 100,000 writes by 200 sources is asked what the index can answer, and read whole for comparison.
#include <doctest/doctest.h>

#include <algorithm>
#include <set>

#include "board/log/memory_store.hpp"
#include "board/provenance.hpp"
#include "tests/support/log_generator.hpp"

using namespace stele;

TEST_CASE("a long log gives the answers that reading all of it gives") {
    const std::unique_ptr<StateStore> store = make_memory_store();
    const FamilyKey family{4, 2};
    LogGenerator generator(*store, {1}, family, GeneratedLog{});
    generator.run();
    REQUIRE(generator.written() == 100'000);
    EntryStore entries(*store, {1}, family);
    REQUIRE(entries.load().ok());
    const Position last = entries.meta().last;
    REQUIRE(last == generator.last());
    const Provenance provenance(entries, family, last);

    // One walk over everything, which keeps for each question the records that answer it.
    std::mt19937_64 dice(5);
    std::vector<IndexQuery> queries;
    for (const std::string& phrase : generator.rare_phrases()) queries.push_back(terms_of(*TextQuery::parse(phrase)));
    for (int i = 0; i < 10; ++i) {
        const std::string author = "source_" + std::to_string(dice() % 200);
        queries.push_back({{{RecordTermKind::author, author}}});
        queries.push_back({{{RecordTermKind::author, author}}, {{RecordTermKind::region, "report"}}});
        queries.push_back(terms_of(*TextQuery::parse(std::to_string(dice() % 1'000) + ".5 %")));
        const EntryId id{"evidence", dice() % (entries.region("evidence")->next_entry - 1) + 1};
        queries.push_back({{entry_term(RecordTermKind::cite, id), entry_term(RecordTermKind::bound, id)}});
        queries.push_back({{activation_term({dice() % last.number + 1})}});
    }
    std::vector<std::vector<std::uint64_t>> expected(queries.size());
    for (Position at{1}; at <= last; ++at.number) {
        const Result<std::shared_ptr<const LoggedRecord>> logged = provenance.record(at);
        REQUIRE(logged.ok());
        std::set<RecordTerm> terms;
        for_each_term(**logged, [&](RecordTermKind kind, std::string_view text) {
            terms.insert({kind, std::string(text)});
        });
        for (std::size_t i = 0; i < queries.size(); ++i) {
            const auto has_one = [&](const std::vector<RecordTerm>& any) {
                return std::any_of(any.begin(), any.end(),
                                   [&](const RecordTerm& term) { return terms.count(term) > 0; });
            };
            if (std::all_of(queries[i].begin(), queries[i].end(), has_one)) expected[i].push_back(at.number);
        }
    }
    std::size_t found_all = 0;
    for (std::size_t i = 0; i < queries.size(); ++i) {
        for (const bool reverse : {false, true}) {
            std::vector<std::uint64_t> found;
            REQUIRE(provenance.index()
                        .find(queries[i], {1}, last, reverse,
                              [&](const LoggedRecord& logged) {
                                  found.push_back(logged.position.number);
                                  return true;
                              })
                        .ok());
            if (reverse) std::reverse(found.begin(), found.end());
            CHECK(found == expected[i]);
            found_all += found.size();
        }
    }
    CHECK(found_all > 2'000);
    for (const std::string& phrase : generator.rare_phrases()) {
        std::size_t hits = 0;
        REQUIRE(provenance
                    .for_each_hit(*TextQuery::parse(phrase), {1},
                                  [&](const TextHit& hit) {
                                      CHECK(hit.path == "/text");
                                      ++hits;
                                      return true;
                                  })
                    .ok());
        CHECK(hits == 1);
    }
}

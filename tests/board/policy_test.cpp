// The merge laws case by case: what each refuses, with which words, and what it makes of a write.
#include "tests/board/support.hpp"

#include "board/limits.hpp"

using namespace stele;
using namespace stele::board_test;

namespace {

using Effect = WriteOutcome::Effect;

EntrySchema flat_schema(std::string_view field, std::string_view type) {
    const Result<FieldSpec> spec = EntrySchema::parse_field(field, type);
    REQUIRE(spec.ok());
    return EntrySchema::from_fields({*spec});
}

std::string text_of(const EntryPtr& entry) { return to_json(entry->content); }

}  // namespace

TEST_CASE("two writers with old snapshots both stay in an append_only region, in log order") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    const Position start = board.last();
    check_accepted(board.commit("web", {write(WriteOp::insert, "notes", R"({"n":1})")}, start));
    check_accepted(board.commit("docs", {write(WriteOp::insert, "notes", R"({"n":1})")}, start));
    const std::vector<EntryPtr> notes = board.entries("notes");
    REQUIRE(notes.size() == 2);
    CHECK(notes[0]->author == "web");
    CHECK(notes[1]->author == "docs");
    CHECK(notes[0]->id.number == 1);
    CHECK(notes[1]->id.number == 2);
    CHECK(notes[1]->version == 1);
}

TEST_CASE("each policy takes its own operations and retract, and refuses all others by name") {
    struct Case {
        PolicyKind policy;
        std::vector<WriteOp> taken;
        const char* words;
    };
    const Case cases[] = {
        {PolicyKind::append_only, {WriteOp::insert}, "is append_only: it takes insert, retract, not "},
        {PolicyKind::set_union, {WriteOp::add, WriteOp::remove}, "is set_union: it takes add, remove, retract, not "},
        {PolicyKind::single_writer, {WriteOp::put}, "is single_writer: it takes put, retract, not "},
        {PolicyKind::cas, {WriteOp::insert, WriteOp::replace}, "is cas: it takes insert, replace, retract, not "},
        {PolicyKind::last_writer_wins, {WriteOp::put}, "is last_writer_wins: it takes put, retract, not "},
        {PolicyKind::counter, {WriteOp::increment}, "is counter: it takes increment, retract, not "},
    };
    const WriteOp all[] = {WriteOp::insert,  WriteOp::add,     WriteOp::remove,   WriteOp::put,
                           WriteOp::replace, WriteOp::retract, WriteOp::increment};
    for (const Case& each : cases) {
        RegionSpec spec = region("r", each.policy);
        spec.owner = "web";
        TestBoard board({spec});
        for (const WriteOp op : all) {
            if (op == WriteOp::retract) continue;
            CAPTURE(to_text(each.policy));
            CAPTURE(to_text(op));
            Write made = write(op, "r", R"({"by":1})");
            if (op == WriteOp::replace) made.expected_version = 1;
            const Decision decision = board.commit("web", {made});
            if (std::find(each.taken.begin(), each.taken.end(), op) == each.taken.end()) {
                check_refused(decision, 1, RefusalRule::unknown,
                              "region \"r\" " + std::string(each.words) + to_text(op));
            } else if (op == WriteOp::replace) {
                check_refused(decision, 1, RefusalRule::unknown, "there is no entry r/0");
            } else {
                check_accepted(decision);
            }
        }
    }
}

TEST_CASE("what was not granted is refused with the grant to ask for, and writes nothing") {
    TestBoard board({region("notes", PolicyKind::append_only), region("plan", PolicyKind::last_writer_wins)});
    board.may_write = [](std::string_view author, std::string_view region, WriteOp op) {
        return author == "web" && region == "notes" && op == WriteOp::insert;
    };
    check_accepted(board.commit("web", {write(WriteOp::insert, "notes", "{}")}));
    check_refused(board.commit("docs", {write(WriteOp::insert, "notes", "{}")}), 1, RefusalRule::grant,
                  "docs may not insert into region \"notes\": grant it under may.write");
    check_refused(board.commit("web", {write(WriteOp::put, "plan", "{}")}), 1, RefusalRule::grant,
                  "web may not put into region \"plan\"");
    CHECK(board.entries("notes").size() == 1);
    CHECK(board.entries("plan").empty());
}

TEST_CASE("a write into a region that nobody declared is refused") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    check_refused(board.commit("web", {write(WriteOp::insert, "note", "{}")}), 1, RefusalRule::unknown,
                  "there is no region \"note\"");
}

TEST_CASE("an entry that does not fit the schema is refused with its path") {
    RegionSpec spec = region("notes", PolicyKind::append_only);
    spec.schema = flat_schema("text", "string");
    TestBoard board({spec});
    check_refused(board.commit("web", {write(WriteOp::insert, "notes", R"({"text":1})")}), 1, RefusalRule::schema,
                  "entry for \"notes\" does not fit: /text: ");
    check_refused(board.commit("web", {write(WriteOp::insert, "notes", R"([1])")}), 1, RefusalRule::schema,
                  "entry for \"notes\" does not fit: ");
    check_accepted(board.commit("web", {write(WriteOp::insert, "notes", R"({"text":"1"})")}));
}

TEST_CASE("entries, cites and commits past their limits are refused") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    Write large = write(WriteOp::insert, "notes", "{}");
    large.text.assign(limits::entry_bytes_max + 1, ' ');
    check_refused(board.commit("web", {large}), 1, RefusalRule::limit, "passes the limit of 16777216");

    Write learned = write(WriteOp::insert, "notes", "{}");
    learned.cites.resize(limits::cites_per_write_max + 1);
    check_refused(board.commit("web", {learned}), 1, RefusalRule::limit, "more than 1000 cites");

    const std::vector<Write> many(limits::writes_per_commit_max + 1, write(WriteOp::insert, "notes", "{}"));
    check_refused(board.commit("web", many), 0, RefusalRule::limit,
                  "a commit of 100001 writes passes the limit of 100000");

    // Decided only: the log of this test need not hold it.
    Record explained;
    explained.author = "web";
    explained.writes.push_back(write(WriteOp::insert, "notes", "{}"));
    explained.writes.back().why.assign(limits::record_bytes_max, 'x');
    const Result<Decision> decision = board.board().decide(explained, board.authority("web", board.last()));
    REQUIRE(decision.ok());
    check_refused(*decision, 0, RefusalRule::limit, "a commit of 268435458 bytes passes the limit of 268435456");
    CHECK(board.entries("notes").empty());
}

TEST_CASE("the deepest entry that is accepted can be shown in a conflict and read again") {
    RegionSpec merged = region("facts", PolicyKind::set_union, {"k"});
    merged.merge = {{"v", MergeLaw::set_union}};
    TestBoard board({region("cell", PolicyKind::cas), merged});
    const auto nested = [](std::size_t levels) {
        Value value = 1;
        for (std::size_t i = 1; i < levels; ++i) value = Value::object({{"v", value}});
        return Value::object({{"k", 1}, {"v", value}});
    };
    const std::size_t deepest = limits::json_depth_max - 2;
    check_refused(board.commit("web", {write(WriteOp::insert, "cell", nested(deepest + 1))}), 1, RefusalRule::limit,
                  "an entry may hold 62 levels of arrays and objects, not more");
    check_accepted(board.commit(
        "web", {write(WriteOp::insert, "cell", nested(deepest)), write(WriteOp::add, "facts", nested(deepest))}));
    check_refused(board.commit("docs", {replace("cell", 1, 7, nested(1))}), 1, RefusalRule::conflict, "found 1");
    const Position conflict = board.last();
    board.reopen();
    CHECK(board.entry("cell", 1)->content == nested(deepest));
    CHECK(board.entry("facts", 1)->content.find("v")->is_array());
    const Result<std::shared_ptr<const LoggedRecord>> record = board.board().entries().record(conflict);
    REQUIRE(record.ok());
    CHECK(*(*record)->verdict.refusals.at(0).current.find("entry") == nested(deepest));
}

TEST_CASE("a merge that grows past the limit of an entry is refused") {
    RegionSpec spec = region("facts", PolicyKind::set_union, {"k"});
    spec.merge = {{"all", MergeLaw::set_union}};
    TestBoard board({spec});
    const auto half = [](char filler) {
        return write(WriteOp::add, "facts",
                     Value::object({{"k", 1}, {"all", std::string(limits::entry_bytes_max / 2, filler)}}));
    };
    check_accepted(board.commit("web", {half('a')}));
    check_refused(board.commit("docs", {half('b')}), 1, RefusalRule::limit, "passes the limit of 16777216");
    CHECK(board.entry("facts", 1)->version == 1);
}

TEST_CASE("one refused write refuses the commit, and every refusal is listed") {
    TestBoard board({region("notes", PolicyKind::append_only), owned_region("plan", "planner"),
                     region("spend", PolicyKind::counter)});
    const Hash128 before = board.board().state_hash();
    const Decision decision = board.commit("web", {
                                                      write(WriteOp::insert, "notes", "{}"),
                                                      write(WriteOp::put, "plan", "{}"),
                                                      increment("spend", 5),
                                                      write(WriteOp::insert, "nowhere", "{}"),
                                                      write(WriteOp::insert, "notes", "{}"),
                                                      write(WriteOp::increment, "spend", R"({"by":0.5})"),
                                                  });
    REQUIRE(decision.refusals.size() == 3);
    CHECK(decision.refusals[0].line == 2);
    CHECK(decision.refusals[0].rule == RefusalRule::owner);
    CHECK(decision.refusals[1].line == 4);
    CHECK(decision.refusals[1].rule == RefusalRule::unknown);
    CHECK(decision.refusals[2].line == 6);
    CHECK(decision.refusals[2].rule == RefusalRule::schema);
    CHECK(board.entries("notes").empty());
    CHECK(board.entries("spend").empty());
    CHECK(board.state("spend").sum == 0);
    CHECK(board.board().state_hash() == before);
    CHECK(board.board().meta().version < board.board().meta().last);
    check_accepted(board.commit("web", {write(WriteOp::insert, "notes", "{}")}));
    CHECK(board.entries("notes").front()->id.number == 1);
}

TEST_CASE("an equal add to a set_union is one entry with both authors and no new version") {
    TestBoard board({region("open_questions", PolicyKind::set_union)});
    const Position start = board.last();
    board.commit("web", {write(WriteOp::add, "open_questions", R"({"text":"why?"})")}, start);
    const Decision second =
        board.commit("docs", {write(WriteOp::add, "open_questions", R"({ "text" : "why?" })")}, start);
    check_accepted(second);
    CHECK_FALSE(second.changes_content());
    CHECK(second.outcomes[0].effect == Effect::none);
    CHECK(second.outcomes[0].number == 1);
    CHECK(board.changes(*board.logged().back()).empty());
    const EntryPtr entry = board.entry("open_questions", 1);
    CHECK(entry->version == 1);
    CHECK(entry->author == "web");
    CHECK(entry->authors == std::vector<std::string>{"web", "docs"});
    CHECK(board.entries("open_questions").size() == 1);
}

TEST_CASE("two specialists write the same open_questions at the same time and nothing is overwritten") {
    TestBoard board({region("open_questions", PolicyKind::set_union)});
    board.commit("seed", {write(WriteOp::add, "open_questions", R"({"text":"where is the risk?"})")});
    const Position snapshot = board.last();
    const auto question = [](const char* text) {
        return write(WriteOp::add, "open_questions", Value::object({{"text", text}}));
    };
    check_accepted(board.commit("web", {question("who pays?"), question("since when?")}, snapshot));
    check_accepted(board.commit("docs", {question("which version?"), question("who pays?")}, snapshot));

    std::map<std::string, std::vector<std::string>> authors;
    for (const EntryPtr& entry : board.entries("open_questions")) {
        authors[entry->content.find("text")->as_string()] = entry->authors;
    }
    const std::map<std::string, std::vector<std::string>> expected = {{"where is the risk?", {"seed"}},
                                                                      {"who pays?", {"web", "docs"}},
                                                                      {"since when?", {"web"}},
                                                                      {"which version?", {"docs"}}};
    CHECK(authors == expected);
}

TEST_CASE("a remove takes away the adds that its author had seen, and one that it had not seen wins") {
    TestBoard board({region("tags", PolicyKind::set_union)});
    const Write add = write(WriteOp::add, "tags", R"({"t":"x"})");
    const Write remove = write(WriteOp::remove, "tags", R"({"t":"x"})");
    board.commit("web", {add});
    const Position seen = board.last();
    board.commit("docs", {add}, seen);

    SUBCASE("an add unseen by the remove keeps the entry, without its removed author") {
        const Decision removed = board.commit("web", {remove}, seen);
        check_accepted(removed);
        CHECK(removed.outcomes[0].effect == Effect::none);
        CHECK(board.is_active("tags", 1));
        check_accepted(board.commit("web", {remove}));
        CHECK_FALSE(board.is_active("tags", 1));
    }
    SUBCASE("a remove that had seen every add takes the entry away") {
        const Decision removed = board.commit("planner", {remove});
        CHECK(removed.outcomes[0].effect == Effect::removed);
        CHECK_FALSE(board.is_active("tags", 1));
        const Decision again = board.commit("web", {remove});
        check_accepted(again);
        CHECK(again.outcomes[0].effect == Effect::none);
    }
    SUBCASE("an add after a remove continues the versions of that entry") {
        board.commit("planner", {take(WriteOp::remove, "tags", 1)});
        const Decision added = board.commit("docs", {add});
        CHECK(added.outcomes[0].effect == Effect::added);
        CHECK(added.outcomes[0].number == 1);
        CHECK(board.entry("tags", 1)->version == 2);
        CHECK(board.entry("tags", 1)->authors == std::vector<std::string>{"docs"});
    }
    SUBCASE("adding and removing in one commit leaves nothing") {
        const Write other = write(WriteOp::add, "tags", R"({"t":"y"})");
        check_accepted(board.commit("web", {other, write(WriteOp::remove, "tags", R"({"t":"y"})")}, seen));
        CHECK(board.entries("tags").size() == 1);
        CHECK(board.changes(*board.logged().back()).empty());
    }
}

TEST_CASE("removing what was never there changes nothing, and an unknown number is refused") {
    TestBoard board({region("tags", PolicyKind::set_union)});
    const Decision nothing = board.commit("web", {write(WriteOp::remove, "tags", R"({"t":"x"})")});
    check_accepted(nothing);
    CHECK_FALSE(nothing.changes_content());
    check_refused(board.commit("web", {take(WriteOp::remove, "tags", 9)}), 1, RefusalRule::unknown,
                  "there is no entry tags/9");
}

TEST_CASE("fields beside the key of a set_union are merged by their laws") {
    RegionSpec spec = region("facts", PolicyKind::set_union, {"name"});
    spec.merge = {{"low", MergeLaw::min}, {"high", MergeLaw::max}, {"seen_in", MergeLaw::set_union}};
    TestBoard board({spec});
    const Position start = board.last();
    board.commit("web", {write(WriteOp::add, "facts", R"({"name":"a","low":3,"high":3,"seen_in":["w","a"]})")}, start);
    CHECK(text_of(board.entry("facts", 1)) == R"({"high":3,"low":3,"name":"a","seen_in":["a","w"]})");
    const Position only_web = board.last();
    const Decision second = board.commit(
        "docs", {write(WriteOp::add, "facts", R"({"name":"a","low":2,"high":2.5,"seen_in":["b","a"]})")}, start);
    CHECK(second.outcomes[0].effect == Effect::updated);
    CHECK(second.outcomes[0].merged);
    CHECK(text_of(board.entry("facts", 1)) == R"({"high":3,"low":2,"name":"a","seen_in":["a","b","w"]})");
    CHECK(board.entry("facts", 1)->version == 2);

    const Decision weaker = board.commit("docs", {write(WriteOp::add, "facts", R"({"name":"a","low":5})")});
    CHECK_FALSE(weaker.changes_content());

    const Decision removed = board.commit("web", {take(WriteOp::remove, "facts", 1)}, only_web);
    CHECK(removed.outcomes[0].effect == Effect::updated);
    CHECK(text_of(board.entry("facts", 1)) == R"({"high":2.5,"low":2,"name":"a","seen_in":["a","b"]})");
}

TEST_CASE("a key field that is null and one that is absent are one key, whoever comes first") {
    const RegionSpec spec = region("facts", PolicyKind::set_union, {"name", "unit"});
    TestBoard null_first({spec});
    TestBoard absent_first({spec});
    const Write with_null = write(WriteOp::add, "facts", R"({"name":"a","unit":null})");
    const Write without = write(WriteOp::add, "facts", R"({"name":"a"})");
    null_first.commit("web", {with_null});
    null_first.commit("docs", {without});
    absent_first.commit("docs", {without});
    absent_first.commit("web", {with_null});
    CHECK(null_first.entries("facts").size() == 1);
    CHECK(text_of(null_first.entry("facts", 1)) == text_of(absent_first.entry("facts", 1)));
    CHECK(null_first.board().state_hash() == absent_first.board().state_hash());
}

TEST_CASE("a single_writer region is written by its owner only") {
    TestBoard board({owned_region("plan", "planner", {"step"})});
    check_accepted(board.commit("planner", {write(WriteOp::put, "plan", R"({"step":1,"do":"read"})")}));
    check_refused(board.commit("web", {write(WriteOp::put, "plan", R"({"step":2})")}), 1, RefusalRule::owner,
                  "region \"plan\" is written by its owner planner only, not by web");
    board.acts_as_owner = true;
    check_accepted(board.commit("seed", {write(WriteOp::put, "plan", R"({"step":2})")}));
    CHECK(board.entries("plan").size() == 2);
}

TEST_CASE("an owner's put over a version newer than its snapshot is a conflict that shows the entry") {
    TestBoard board({owned_region("plan", "planner", {"step"})});
    const Position start = board.last();
    board.commit("planner", {write(WriteOp::put, "plan", R"({"step":1,"do":"read"})")}, start);
    const Decision stale = board.commit("planner", {write(WriteOp::put, "plan", R"({"step":1,"do":"write"})")}, start);
    check_refused(stale, 1, RefusalRule::conflict,
                  "region \"plan\": plan/1 is at version 1, newer than the owner's snapshot");
    CHECK(*stale.refusals[0].current.find("id") == Value("plan/1"));
    CHECK(*stale.refusals[0].current.find("version") == Value(1));
    CHECK(*stale.refusals[0].current.find("entry") == json(R"({"step":1,"do":"read"})"));
    check_accepted(board.commit("planner", {write(WriteOp::put, "plan", R"({"step":1,"do":"write"})")}));
    CHECK(board.entry("plan", 1)->version == 2);

    SUBCASE("its own earlier put in the same commit is no conflict, and the last one stands") {
        check_accepted(board.commit("planner", {write(WriteOp::put, "plan", R"({"step":1,"do":"a"})"),
                                                write(WriteOp::put, "plan", R"({"step":1,"do":"b"})")}));
        CHECK(text_of(board.entry("plan", 1)) == R"({"do":"b","step":1})");
        CHECK(board.entry("plan", 1)->version == 4);
        CHECK(board.changes(*board.logged().back()).size() == 1);
    }
}

TEST_CASE("a replace must name the version it had read, and the second of two gets the current value") {
    TestBoard board({region("cell", PolicyKind::cas)});
    board.commit("web", {write(WriteOp::insert, "cell", R"({"n":0})")});
    check_refused(board.commit("web", {replace("cell", 1, 0, json(R"({"n":1})"))}), 1, RefusalRule::unknown,
                  "replace of cell/1 must name the version that was read");
    check_refused(board.commit("web", {replace("cell", 2, 1, json(R"({"n":1})"))}), 1, RefusalRule::unknown,
                  "there is no entry cell/2");
    check_accepted(board.commit("web", {replace("cell", 1, 1, json(R"({"n":1})"))}));
    const Decision second = board.commit("docs", {replace("cell", 1, 1, json(R"({"n":2})"))});
    check_refused(second, 1, RefusalRule::conflict, "region \"cell\": expected version 1 of cell/1, found 2");
    CHECK(second.refusals[0].current == json(R"({"active":true,"entry":{"n":1},"id":"cell/1","version":2})"));

    check_accepted(board.commit("web", {take(WriteOp::retract, "cell", 1)}));
    const Decision gone = board.commit("docs", {replace("cell", 1, 2, json(R"({"n":2})"))});
    check_refused(gone, 1, RefusalRule::conflict, "cell/1 has been retracted");
    CHECK(*gone.refusals[0].current.find("active") == Value(false));
}

TEST_CASE("a key of a cas region is taken once, is not changed by a replace, and is free after a retraction") {
    TestBoard board({region("items", PolicyKind::cas, {"k"})});
    board.commit("web", {write(WriteOp::insert, "items", R"({"k":"a","n":1})")});
    check_refused(board.commit("docs", {write(WriteOp::insert, "items", R"({"k":"a","n":2})")}), 1,
                  RefusalRule::conflict, "there is an entry with the key [\"a\"] already, items/1; replace it instead");
    check_refused(board.commit("web", {replace("items", 1, 1, json(R"({"k":"b"})"))}), 1, RefusalRule::schema,
                  "replace may not change the key of items/1");
    check_accepted(board.commit("web", {take(WriteOp::retract, "items", 1, 1)}));
    const Decision back = board.commit("docs", {write(WriteOp::insert, "items", R"({"k":"a","n":3})")});
    check_accepted(back);
    CHECK(back.outcomes[0].effect == Effect::added);
    CHECK(board.entry("items", 1)->version == 2);
    CHECK(board.entry("items", 1)->author == "docs");
    check_refused(board.commit("web", {replace("items", 1, 1, json(R"({"k":"a"})"))}), 1, RefusalRule::conflict,
                  "expected version 1 of items/1, found 2");
}

TEST_CASE("one key inserted twice in one commit is refused at the second line") {
    TestBoard board({region("items", PolicyKind::cas, {"k"})});
    const Write insert = write(WriteOp::insert, "items", R"({"k":"a"})");
    const Decision twice = board.commit("web", {insert, insert});
    check_refused(twice, 2, RefusalRule::conflict, "there is an entry with the key [\"a\"] already");
    CHECK(*twice.refusals[0].current.find("entry") == json(R"({"k":"a"})"));
    CHECK(board.entries("items").empty());
}

TEST_CASE("the last writer wins, and the version it overwrote stays readable") {
    TestBoard board({region("status", PolicyKind::last_writer_wins, {"k"})});
    const Position start = board.last();
    board.commit("web", {write(WriteOp::put, "status", R"({"k":1,"v":"a"})")}, start);
    const Position first = board.last();
    check_accepted(board.commit("docs", {write(WriteOp::put, "status", R"({"k":1,"v":"b"})")}, start));
    CHECK(text_of(board.entry("status", 1)) == R"({"k":1,"v":"b"})");
    const Result<EntryPtr> before = board.view(first).find({"status", 1});
    REQUIRE(before.ok());
    REQUIRE(*before != nullptr);
    CHECK(text_of(*before) == R"({"k":1,"v":"a"})");
    CHECK((*before)->author == "web");
}

TEST_CASE("regions of puts without key fields hold one entry") {
    TestBoard board({region("status", PolicyKind::last_writer_wins), owned_region("plan", "web")});
    board.commit("web", {write(WriteOp::put, "status", R"({"v":1})"), write(WriteOp::put, "plan", R"({"v":1})")});
    board.commit("web", {write(WriteOp::put, "status", R"({"v":2})"), write(WriteOp::put, "plan", R"({"v":2})")});
    REQUIRE(board.entries("status").size() == 1);
    REQUIRE(board.entries("plan").size() == 1);
    CHECK(board.entry("status", 1)->version == 2);
}

TEST_CASE("a counter sums its active increments, and a retraction takes one out again") {
    TestBoard board({region("spend", PolicyKind::counter)});
    const Hash128 empty = board.board().state_hash();
    board.commit("web", {increment("spend", 5), increment("spend", -2)});
    CHECK(board.state("spend").sum == 3);
    CHECK(board.entries("spend").size() == 2);
    check_accepted(board.commit("web", {take(WriteOp::retract, "spend", 1)}));
    CHECK(board.state("spend").sum == -2);
    check_accepted(board.commit("web", {take(WriteOp::retract, "spend", 2)}));
    CHECK(board.state("spend").sum == 0);
    CHECK(board.board().state_hash() == empty);
}

TEST_CASE("an increment is one integer and stays within int64") {
    TestBoard board({region("spend", PolicyKind::counter)});
    const std::string words = "an increment is {\"by\": integer}, got ";
    for (const char* content : {"{}", R"({"by":"1"})", R"({"by":1.5})", R"({"by":1,"of":2})"}) {
        check_refused(board.commit("web", {write(WriteOp::increment, "spend", content)}), 1, RefusalRule::schema,
                      words);
    }
    check_accepted(board.commit("web", {increment("spend", INT64_MAX)}));
    check_refused(board.commit("web", {increment("spend", 1)}), 1, RefusalRule::overflow,
                  "counter \"spend\" is at 9223372036854775807; adding 1 passes int64");
    check_accepted(board.commit("docs", {increment("spend", -10), increment("spend", 10)}));
    check_accepted(board.commit("docs", {increment("spend", INT64_MIN), increment("spend", -1)}));
    CHECK(board.state("spend").sum == -2);
    check_refused(board.commit("web", {take(WriteOp::retract, "spend", 1)}), 1, RefusalRule::overflow,
                  "retracting spend/1 takes the sum of spend beyond int64");
}

TEST_CASE("an entry is retracted by its author or by who was granted it, and once only") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    board.may_write = [](std::string_view author, std::string_view, WriteOp op) {
        return op != WriteOp::retract || author == "editor";
    };
    board.commit("web", {write(WriteOp::insert, "notes", R"({"n":1})"), write(WriteOp::insert, "notes", R"({"n":2})")});
    check_refused(board.commit("docs", {take(WriteOp::retract, "notes", 1)}), 1, RefusalRule::grant,
                  "docs may not retract notes/1, which web wrote: grant it `retract` on notes");
    check_refused(board.commit("web", {take(WriteOp::retract, "notes", 3)}), 1, RefusalRule::unknown,
                  "there is no entry notes/3");
    check_accepted(board.commit("web", {take(WriteOp::retract, "notes", 1)}));
    const std::string at = std::to_string(board.last().number);
    check_accepted(board.commit("editor", {take(WriteOp::retract, "notes", 2)}));
    CHECK(board.entries("notes").empty());
    check_refused(board.commit("editor", {take(WriteOp::retract, "notes", 1)}), 1, RefusalRule::unknown,
                  "notes/1 was already retracted at version " + at + " of the board");
    check_accepted(board.commit("web", {write(WriteOp::insert, "notes", "{}")}));
    CHECK(board.entries("notes").front()->id.number == 3);
}

TEST_CASE("a tombstone keeps the content and tells who took it back and why") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    board.commit("web", {write(WriteOp::insert, "notes", R"({"n":1})")});
    Write retraction = take(WriteOp::retract, "notes", 1);
    retraction.why = "the source was wrong";
    board.commit("web", {retraction});
    const Result<EntryPtr> tombstone = board.view().find_any({"notes", 1});
    REQUIRE(tombstone.ok());
    REQUIRE(*tombstone != nullptr);
    CHECK_FALSE((*tombstone)->active);
    CHECK((*tombstone)->reason == "the source was wrong");
    CHECK((*tombstone)->version == 1);
    CHECK(text_of(*tombstone) == R"({"n":1})");
    const std::vector<EntryChange> changes = board.changes(*board.logged().back());
    REQUIRE(changes.size() == 1);
    CHECK(changes[0].kind == EntryChange::Kind::removed);
    CHECK(changes[0].after == nullptr);
}

TEST_CASE("where entries change under their id a retraction means the version that its author had read") {
    for (const RegionSpec& spec : {region("r", PolicyKind::cas), region("r", PolicyKind::cas, {"k"}),
                                   region("r", PolicyKind::last_writer_wins, {"k"})}) {
        CAPTURE(to_text(spec.policy));
        CAPTURE(spec.key.size());
        TestBoard board({spec});
        board.may_write = [](std::string_view, std::string_view, WriteOp) { return true; };
        const bool is_cas = spec.policy == PolicyKind::cas;
        board.commit("web", {write(is_cas ? WriteOp::insert : WriteOp::put, "r", R"({"k":1,"n":1})")});
        const Position read = board.last();
        const Value newer = json(R"({"k":1,"n":2})");
        check_accepted(board.commit("docs", {is_cas ? replace("r", 1, 1, newer) : write(WriteOp::put, "r", newer)}));
        const Decision unseen = board.commit("editor", {take(WriteOp::retract, "r", 1)}, read);
        check_refused(unseen, 1, RefusalRule::conflict, "r/1 has a version that its retractor had not read");
        CHECK(*unseen.refusals[0].current.find("entry") == newer);
        check_refused(board.commit("editor", {take(WriteOp::retract, "r", 1, 1)}), 1, RefusalRule::conflict,
                      "expected version 1 of r/1, found 2");
        check_accepted(board.commit("editor", {take(WriteOp::retract, "r", 1, 2)}, read));
        CHECK_FALSE(board.is_active("r", 1));
    }
}

TEST_CASE("a put after a retraction continues the versions of the same id") {
    TestBoard board({region("status", PolicyKind::last_writer_wins, {"k"})});
    board.commit("web", {write(WriteOp::put, "status", R"({"k":1,"v":"a"})")});
    board.commit("web", {take(WriteOp::retract, "status", 1)});
    const Decision back = board.commit("docs", {write(WriteOp::put, "status", R"({"k":1,"v":"a"})")});
    CHECK(back.outcomes[0].effect == Effect::added);
    CHECK(back.outcomes[0].number == 1);
    CHECK(board.entry("status", 1)->version == 2);
    const std::vector<EntryChange> changes = board.changes(*board.logged().back());
    REQUIRE(changes.size() == 1);
    CHECK(changes[0].kind == EntryChange::Kind::added);
    CHECK(changes[0].before == nullptr);
}

TEST_CASE("retracting and putting again in one commit is one update") {
    TestBoard board({region("status", PolicyKind::last_writer_wins, {"k"})});
    board.commit("web", {write(WriteOp::put, "status", R"({"k":1,"v":"a"})")});
    check_accepted(
        board.commit("web", {take(WriteOp::retract, "status", 1), write(WriteOp::put, "status", R"({"k":1})")}));
    const std::vector<EntryChange> changes = board.changes(*board.logged().back());
    REQUIRE(changes.size() == 1);
    CHECK(changes[0].kind == EntryChange::Kind::updated);
    CHECK(changes[0].before->version == 1);
    CHECK(changes[0].after->version == 2);
    CHECK(board.state("status").active_entries == 1);
}

TEST_CASE("a cite names what its author had seen or an earlier line of the same commit") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    const Position before = board.last();
    board.commit("web", {write(WriteOp::insert, "notes", R"({"n":1})")});
    Write citing = write(WriteOp::insert, "notes", R"({"n":2})");
    citing.cites = {{{"notes", 1}, 0}};
    check_refused(board.commit("docs", {citing}, before), 1, RefusalRule::cite,
                  "cites notes/1, which docs had not seen");
    check_accepted(board.commit("docs", {citing}));
    CHECK(board.entry("notes", 2)->cites == std::vector<EntryId>{{"notes", 1}});

    Write later = write(WriteOp::insert, "notes", R"({"n":3})");
    later.cites = {{{}, 2}};
    check_refused(board.commit("docs", {later, citing}), 1, RefusalRule::cite, "cites line 2, which docs had not seen");
    later.cites = {{{}, 1}};
    check_refused(board.commit("docs", {later}), 1, RefusalRule::cite, "cites line 1, which docs had not seen");

    Write earlier = write(WriteOp::insert, "notes", R"({"n":4})");
    earlier.cites = {{{}, 1}, {{"notes", 1}, 0}};
    check_accepted(board.commit("docs", {write(WriteOp::insert, "notes", "{}"), earlier}));
    CHECK(board.entry("notes", 4)->cites == std::vector<EntryId>{{"notes", 3}, {"notes", 1}});
}

TEST_CASE("reason and cites are those of the line that made the version, not of an equal one after it") {
    TestBoard board({region("tags", PolicyKind::set_union), region("notes", PolicyKind::append_only)});
    board.commit("web", {write(WriteOp::insert, "notes", "{}")});
    Write first = write(WriteOp::add, "tags", R"({"t":1})");
    first.why = "seen in the logs";
    first.cites = {{{"notes", 1}, 0}};
    Write second = write(WriteOp::add, "tags", R"({"t":1})");
    second.why = "said again";
    check_accepted(board.commit("web", {first, second}));
    CHECK(board.entry("tags", 1)->reason == "seen in the logs");
    CHECK(board.entry("tags", 1)->cites.size() == 1);
}

TEST_CASE("a private region is found under its one name by its author only") {
    TestBoard board({scratch_region("web", PolicyKind::last_writer_wins, {"k"}),
                     scratch_region("docs", PolicyKind::last_writer_wins, {"k"}),
                     region("notes", PolicyKind::append_only)});
    check_accepted(board.commit("web", {write(WriteOp::put, "scratch", R"({"k":1,"v":"w"})")}));
    check_accepted(board.commit("docs", {write(WriteOp::put, "scratch", R"({"k":1,"v":"d"})")}));
    CHECK(text_of(board.entry("scratch/web", 1)) == R"({"k":1,"v":"w"})");
    CHECK(text_of(board.entry("scratch/docs", 1)) == R"({"k":1,"v":"d"})");
    check_refused(board.commit("docs", {write(WriteOp::put, "scratch/web", R"({"k":2})")}), 1, RefusalRule::unknown,
                  "there is no region \"scratch/web\"");
    check_refused(board.commit("planner", {write(WriteOp::put, "scratch", R"({"k":2})")}), 1, RefusalRule::unknown,
                  "there is no region \"scratch\"");
    check_accepted(board.commit("web", {take(WriteOp::retract, "scratch", 1)}));
    CHECK(board.entries("scratch/web").empty());
    CHECK(board.changes(*board.logged().back()).size() == 1);

    Write citing = write(WriteOp::put, "scratch", R"({"k":3})");
    citing.cites = {{{}, 1}};
    check_accepted(board.commit("docs", {write(WriteOp::put, "scratch", R"({"k":2})"), citing}));
    CHECK(board.entry("scratch/docs", 3)->cites == std::vector<EntryId>{{"scratch/docs", 2}});
}

TEST_CASE("a region with entries keeps its policy and key, also when a crew had dropped it meanwhile") {
    TestBoard board({region("notes", PolicyKind::append_only), region("empty", PolicyKind::append_only)});
    board.commit("web", {write(WriteOp::insert, "notes", "{}")});
    const Status other_law = board.board().declare({region("notes", PolicyKind::cas)});
    REQUIRE_FALSE(other_law.ok());
    CHECK(other_law.error().message.find("region \"notes\" has entries, so it keeps its policy (append_only)") == 0);
    CHECK(board.board().spec("empty") != nullptr);

    REQUIRE(board.board().declare({region("empty", PolicyKind::cas, {"k"})}).ok());
    CHECK(board.board().spec("notes") == nullptr);
    check_refused(board.commit("web", {write(WriteOp::insert, "notes", "{}")}), 1, RefusalRule::unknown,
                  "there is no region \"notes\"");
    CHECK_FALSE(board.board().declare({region("notes", PolicyKind::cas)}).ok());
    REQUIRE(board.board().declare({region("notes", PolicyKind::append_only)}).ok());
    check_accepted(board.commit("web", {write(WriteOp::insert, "notes", "{}")}));
    CHECK(board.entries("notes").size() == 2);
}

TEST_CASE("a crew that the log accepted is taken into force though its board has gone on since") {
    TestBoard board({region("r", PolicyKind::cas, {"k"})});
    board.commit("web", {write(WriteOp::insert, "r", R"({"k":1})")});
    board.reopen();
    board.board().adopt({region("r", PolicyKind::append_only)});
    board.board().adopt({region("r", PolicyKind::cas, {"k"})});
    CHECK_FALSE(board.board().declare({region("r", PolicyKind::append_only)}).ok());
    CHECK(board.board().declare({region("r", PolicyKind::cas, {"k"})}).ok());
}

TEST_CASE("an accepted commit leaves its idempotency key behind, a refused one does not") {
    TestBoard board({region("notes", PolicyKind::append_only)});
    board.commit("person", {write(WriteOp::insert, "notes", "{}")}, {}, "once");
    const Position taken = board.last();
    board.commit("person", {write(WriteOp::insert, "nowhere", "{}")}, {}, "refused");
    const Result<std::optional<Position>> once = board.board().entries().position_of_key("once");
    const Result<std::optional<Position>> refused = board.board().entries().position_of_key("refused");
    REQUIRE(once.ok());
    REQUIRE(refused.ok());
    CHECK(*once == std::optional<Position>(taken));
    CHECK_FALSE(refused->has_value());
}

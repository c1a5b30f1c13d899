// The threads beside the loop: order, and that what is worked out there depends on the log alone.
#include "runtime/workers.hpp"

#include <doctest/doctest.h>

#include <boost/asio/io_context.hpp>
#include <map>
#include <vector>

#include "board/log/memory_store.hpp"
#include "tests/support/log_generator.hpp"

using namespace stele;

namespace {

constexpr BoardNumber board_number{1};
constexpr FamilyKey family{4, 2};

std::map<std::string, std::string> index_of(TaskRunner run, std::uint64_t writes) {
    const std::unique_ptr<StateStore> store = make_memory_store();
    GeneratedLog shape;
    shape.writes = writes;
    shape.run = std::move(run);
    LogGenerator(*store, board_number, family, shape).run();
    std::map<std::string, std::string> keys;
    for (const auto& [from, to] : index_key_ranges(board_number)) {
        const Status scanned =
            store->scan(Column::terms, from, to, false, [&](std::string_view key, std::string_view value) {
                keys.emplace(key, value);
                return true;
            });
        REQUIRE(scanned.ok());
    }
    return keys;
}

}  // namespace

TEST_CASE("tasks run in order, and a worker that goes finishes them") {
    std::vector<int> seen;
    {
        WorkerThread worker;
        for (int i = 0; i < 1'000; ++i) worker.run([&seen, i] { seen.push_back(i); });
    }
    REQUIRE(seen.size() == 1'000);
    CHECK(std::is_sorted(seen.begin(), seen.end()));
}

TEST_CASE("what is waited for comes back to the loop, in order, and keeps it running until then") {
    boost::asio::io_context loop;
    std::vector<int> done;
    Workers workers(loop);
    for (int i = 0; i < 100; ++i) {
        workers.wait_for_disk(
            [i]() -> Status {
                if (i % 2 == 0) return Done{};
                return Error{ErrorCode::io, "no disk"};
            },
            [&done, i](const Status& status) {
                CHECK(status.ok() == (i % 2 == 0));
                done.push_back(i);
            });
    }
    loop.run();
    REQUIRE(done.size() == 100);
    CHECK(std::is_sorted(done.begin(), done.end()));
}

TEST_CASE("the index of records is the same bytes, whichever thread works it out") {
    WorkerThread worker;
    const auto beside = index_of([&](std::function<void()> task) { worker.run(std::move(task)); }, 45'000);
    CHECK(beside == index_of(make_inline_runner(), 45'000));
    CHECK(beside.size() > 1'000);  // two segments and some blocks
}

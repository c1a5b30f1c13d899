// Boards in a data directory: what was left by an import that was cut short reaches no board, and a parent stays as
// long as it has forks.
#include "runtime/data_directory.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "board/log/keys.hpp"
#include "tests/support/temporary_directory.hpp"

using namespace stele;

namespace {

class Folder : public TemporaryDirectory {
public:
    [[nodiscard]] std::string data() const { return path() + "/data"; }
};

std::string log_key(std::uint64_t board, std::uint64_t position) {
    std::string key;
    append_be64(key, board);
    append_be64(key, position);
    return key;
}

std::size_t keys_of(const StateStore& store, std::uint64_t board) {
    std::size_t count = 0;
    REQUIRE(store
                .scan(Column::log, log_key(board, 0), log_key(board + 1, 0), false,
                      [&](std::string_view, std::string_view) { return ++count > 0; })
                .ok());
    return count;
}

BoardAddress named(const std::string& name) { return {.tenant = "default", .board = name}; }

}  // namespace

TEST_CASE("what an import left that was cut short is in no board") {
    const Folder folder;
    std::string notice;
    Result<std::unique_ptr<DataDirectory>> data = DataDirectory::own(folder.data(), notice);
    REQUIRE(data.ok());
    for (const int way : {0, 1}) {
        StoreBatch left;
        for (std::uint64_t number = 1; number < 4; ++number) {
            left.put(Column::log, log_key(number, 1), "left behind");
            left.put(Column::log, log_key(number, 2), "left behind");
        }
        REQUIRE((*data)->store().apply(left).ok());
        const auto keys = [](BoardNumber number, StateStore& into) -> Result<BoardInfo> {
            StoreBatch batch;
            batch.put(Column::log, log_key(number.number, 1), "taken in");
            const Status applied = into.apply(batch);
            if (!applied.ok()) return applied.error();
            BoardInfo info;
            info.number = number;
            info.address = named("imported");
            return info;
        };
        const Result<BoardInfo> board =
            way == 0 ? (*data)->create(named("created"), {1}) : (*data)->create_import(named("imported"), keys);
        REQUIRE(board.ok());
        CHECK(keys_of((*data)->store(), board->number.number) == (way == 0 ? 0 : 1));
    }
    // A name that is taken, or is none, leaves nothing.
    const auto nothing = [](BoardNumber number, StateStore&) -> Result<BoardInfo> {
        BoardInfo info;
        info.number = number;
        info.address = named("../x");
        return info;
    };
    CHECK((*data)->create_import({}, nothing).error().code == ErrorCode::invalid_argument);
    CHECK((*data)->create_import(named("created"), nothing).error().code == ErrorCode::already_exists);
    CHECK((*data)->boards()->size() == 2);
}

TEST_CASE("a board with forks stays, and a fork goes alone") {
    const Folder folder;
    std::string notice;
    Result<std::unique_ptr<DataDirectory>> data = DataDirectory::own(folder.data(), notice);
    REQUIRE(data.ok());
    const Result<BoardInfo> parent = (*data)->create(named("parent"), {1});
    REQUIRE(parent.ok());
    StoreBatch batch;
    for (std::uint64_t position = 1; position < 6; ++position) {
        batch.put(Column::log, log_key(parent->number.number, position), "record");
    }
    REQUIRE((*data)->store().apply(batch).ok());
    const Result<BoardInfo> child =
        (*data)->create_fork(named("child"), {2}, *parent, {3}, [](const BoardInfo& made, StoreBatch& own) -> Status {
            own.put(Column::log, log_key(made.number.number, 4), "its own");
            return Done{};
        });
    REQUIRE(child.ok());
    const Result<std::optional<BoardInfo>> read = (*data)->find(named("child"));
    REQUIRE(read.ok());
    REQUIRE(read->has_value());
    CHECK((*read)->parent == parent->number);
    CHECK((*read)->parent_name == "parent");
    CHECK((*read)->forked_at == Position{3});
    CHECK((*read)->family == parent->family);
    const Result<StateStore*> store = (*data)->store_of(**read);
    REQUIRE(store.ok());
    CHECK(keys_of(**store, child->number.number) == 4);  // three of the parent's and its own
    CHECK(keys_of((*data)->store(), child->number.number) == 1);

    CHECK((*data)->remove(*parent).error().code == ErrorCode::refused);
    CHECK((*data)->create_fork(named("parent"), {2}, *parent, {3}, {}).error().code == ErrorCode::already_exists);
    REQUIRE((*data)->remove(**read).ok());
    CHECK(keys_of((*data)->store(), child->number.number) == 0);
    CHECK(keys_of((*data)->store(), parent->number.number) == 5);
    CHECK((*data)->remove(*parent).ok());
    CHECK((*data)->boards()->empty());
}

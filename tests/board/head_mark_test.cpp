#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include <stdlib.h>

#include "board/log/head_mark.hpp"
#include "tests/support/temporary_directory.hpp"

using namespace stele;

namespace {

constexpr std::size_t slot_bytes = 4096;

class HeadFolder {
public:
    HeadFolder() { std::filesystem::create_directory(directory_.path() + "/heads"); }

    std::string path() const { return head_mark_path(directory_.path(), BoardNumber{7}); }
    std::string bytes() const {
        std::ifstream file(path(), std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }
    void set_bytes(const std::string& bytes) const { std::ofstream(path(), std::ios::binary) << bytes; }

private:
    TemporaryDirectory directory_;
};

HeadMark mark(std::uint64_t position) {
    return HeadMark{Position{position}, std::string(32, static_cast<char>(position))};
}

/// Marks 1 to `last`, each synced.
void write_marks(const std::string& path, std::uint64_t last) {
    Result<HeadMarkFile> head = HeadMarkFile::open(path);
    REQUIRE(head.ok());
    for (std::uint64_t position = 1; position <= last; ++position) {
        REQUIRE(head->write(mark(position)).ok());
        REQUIRE(head->sync().ok());
    }
}

}  // namespace

TEST_CASE("a head mark is read back by its owner and by another process's reader") {
    const HeadFolder folder;
    CHECK(folder.path().find("/heads/7.head") != std::string::npos);
    REQUIRE(read_head_mark(folder.path()).ok());
    CHECK_FALSE(read_head_mark(folder.path())->has_value());
    {
        Result<HeadMarkFile> head = HeadMarkFile::open(folder.path());
        REQUIRE(head.ok());
        CHECK_FALSE(head->read().has_value());
        CHECK(head->sync().ok());
        for (std::uint64_t position = 1; position <= 20; ++position) {
            REQUIRE(head->write(mark(position)).ok());
            CHECK(head->read() == mark(position));
            CHECK(*read_head_mark(folder.path()) == mark(position));
            if (position % 3 == 0) REQUIRE(head->sync().ok());
        }
    }
    const Result<HeadMarkFile> again = HeadMarkFile::open(folder.path());
    REQUIRE(again.ok());
    CHECK(again->read() == mark(20));
}

TEST_CASE("synced head marks take turns between the two slots") {
    const HeadFolder folder;
    write_marks(folder.path(), 1);
    std::string before = folder.bytes();
    REQUIRE(before.size() == 2 * slot_bytes);
    for (std::uint64_t position = 2; position <= 9; ++position) {
        {
            Result<HeadMarkFile> head = HeadMarkFile::open(folder.path());
            REQUIRE(head.ok());
            REQUIRE(head->write(mark(position)).ok());
            REQUIRE(head->sync().ok());
        }
        const std::string after = folder.bytes();
        const std::size_t kept = position % 2 == 0 ? 0 : slot_bytes;
        CHECK(after.substr(kept, slot_bytes) == before.substr(kept, slot_bytes));
        CHECK(after.substr(slot_bytes - kept, slot_bytes) != before.substr(slot_bytes - kept, slot_bytes));
        before = after;
    }
}

TEST_CASE("marks that are not synced never touch the slot that is on disk") {
    const HeadFolder folder;
    write_marks(folder.path(), 4);
    const std::string synced = folder.bytes();
    Result<HeadMarkFile> head = HeadMarkFile::open(folder.path());
    REQUIRE(head.ok());
    for (std::uint64_t position = 5; position <= 12; ++position) {
        REQUIRE(head->write(mark(position)).ok());
        CHECK(folder.bytes().substr(slot_bytes) == synced.substr(slot_bytes));
    }
    CHECK(*read_head_mark(folder.path()) == mark(12));
}

TEST_CASE("a torn slot leaves the other one's mark, whichever is torn and at whatever byte") {
    for (const std::uint64_t last : {std::uint64_t{8}, std::uint64_t{9}}) {
        const HeadFolder folder;
        write_marks(folder.path(), last);
        const std::string whole = folder.bytes();
        const std::size_t newest_at = last % 2 == 0 ? slot_bytes : 0;
        for (const bool newest_torn : {true, false}) {
            const std::size_t torn_at = newest_torn ? newest_at : slot_bytes - newest_at;
            for (std::size_t from = 0; from < 72; ++from) {
                std::string torn = whole;
                for (std::size_t i = torn_at + from; i < torn_at + 72; ++i) torn[i] = static_cast<char>(torn[i] ^ 0x5a);
                folder.set_bytes(torn);
                const Result<std::optional<HeadMark>> read = read_head_mark(folder.path());
                REQUIRE(read.ok());
                REQUIRE(*read == mark(newest_torn ? last - 1 : last));
            }
        }
        // The next mark goes over the torn slot, so that the whole one stays.
        std::string torn = whole;
        torn[newest_at + 40] ^= 1;
        folder.set_bytes(torn);
        Result<HeadMarkFile> head = HeadMarkFile::open(folder.path());
        REQUIRE(head.ok());
        CHECK(head->read() == mark(last - 1));
        REQUIRE(head->write(mark(last)).ok());
        const std::size_t kept = slot_bytes - newest_at;
        CHECK(folder.bytes().substr(kept, slot_bytes) == whole.substr(kept, slot_bytes));
        CHECK(*read_head_mark(folder.path()) == mark(last));
    }
}

TEST_CASE("a head file without a whole slot is corrupt, and one that was cut keeps its first slot") {
    const HeadFolder folder;
    write_marks(folder.path(), 3);
    const std::string whole = folder.bytes();
    for (const std::string& bytes : {std::string(), std::string(10, 'x'), std::string(2 * slot_bytes, '\0'),
                                     whole.substr(0, 71), std::string(20'000, 'y')}) {
        folder.set_bytes(bytes);
        CHECK(read_head_mark(folder.path()).error().code == ErrorCode::corrupt);
        CHECK(HeadMarkFile::open(folder.path()).error().code == ErrorCode::corrupt);
    }
    folder.set_bytes(whole.substr(0, slot_bytes + 30));
    CHECK(*read_head_mark(folder.path()) == mark(3));
}

TEST_CASE("random damage to a head file never gives a mark that was not written") {
    const std::uint64_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const HeadFolder folder;
    write_marks(folder.path(), 6);
    const std::string whole = folder.bytes();
    for (int round = 0; round < 500; ++round) {
        std::string bytes = whole;
        for (int flips = 0; flips < 3; ++flips) {
            const std::size_t at = (random() % 2) * slot_bytes + random() % 80;
            bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8)));
        }
        folder.set_bytes(bytes);
        const Result<std::optional<HeadMark>> read = read_head_mark(folder.path());
        if (!read.ok()) {
            CHECK(read.error().code == ErrorCode::corrupt);
        } else {
            CHECK((*read == mark(5) || *read == mark(6)));
            if (is_head_mark_whole(folder.path())) CHECK(*read == mark(6));
        }
        // What stands behind the checksum says nothing.
        constexpr std::size_t said_bytes = 72;
        bool same = true;
        for (const std::size_t slot : {std::size_t{0}, slot_bytes}) {
            same = same && bytes.compare(slot, said_bytes, whole, slot, said_bytes) == 0;
        }
        CHECK(is_head_mark_whole(folder.path()) == same);
    }
}

TEST_CASE("a head mark with a link of another length is refused and a missing folder is said") {
    const HeadFolder folder;
    Result<HeadMarkFile> head = HeadMarkFile::open(folder.path());
    REQUIRE(head.ok());
    CHECK(head->write(HeadMark{Position{1}, "short"}).error().code == ErrorCode::internal);
    CHECK(head->write(mark(1)).ok());

    Result<HeadMarkFile> nowhere = HeadMarkFile::open(folder.path() + ".none/1.head");
    REQUIRE(nowhere.ok());
    const Status written = nowhere->write(mark(1));
    REQUIRE_FALSE(written.ok());
    CHECK(written.error().message.find(".none/1.head") != std::string::npos);
    CHECK(nowhere->write(mark(1)).error().code == ErrorCode::closed);
    CHECK(nowhere->sync().error().code == ErrorCode::closed);
}

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include <stdlib.h>

#include "board/log/wal_tail.hpp"
#include "tests/support/temporary_directory.hpp"

using namespace stele;

namespace {

constexpr std::size_t block_bytes = 32768;
constexpr std::size_t header_bytes = 7;

// Bit by bit, so that it shares nothing with the table it checks.
std::uint32_t masked_crc(unsigned char type, const std::string& payload) {
    std::uint32_t crc = 0xffffffffu;
    const auto take = [&](unsigned char byte) {
        crc ^= byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
    };
    take(type);
    for (const char c : payload) take(static_cast<unsigned char>(c));
    crc = ~crc;
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

void append_fragment(std::string& wal, unsigned char type, const std::string& payload) {
    const std::uint32_t crc = masked_crc(type, payload);
    for (int i = 0; i < 4; ++i) wal.push_back(static_cast<char>((crc >> (8 * i)) & 0xff));
    wal.push_back(static_cast<char>(payload.size() & 0xff));
    wal.push_back(static_cast<char>(payload.size() >> 8));
    wal.push_back(static_cast<char>(type));
    wal += payload;
}

void append_record(std::string& wal, std::string payload) {
    bool begun = false;
    while (true) {
        const std::size_t room = block_bytes - wal.size() % block_bytes;
        if (room < header_bytes) {
            wal.append(room, '\0');
            continue;
        }
        const std::size_t part = std::min(payload.size(), room - header_bytes);
        const bool ends = part == payload.size();
        const unsigned char type = begun ? (ends ? 4 : 3) : (ends ? 1 : 2);
        append_fragment(wal, type, payload.substr(0, part));
        payload.erase(0, part);
        begun = true;
        if (ends) return;
    }
}

struct SmallWal {
    std::string bytes;
    std::vector<std::size_t> ends{0};  // where records end, beginning with the empty file
};

SmallWal make_wal(const std::vector<std::size_t>& payload_sizes) {
    SmallWal wal;
    for (std::size_t i = 0; i < payload_sizes.size(); ++i) {
        append_record(wal.bytes, std::string(payload_sizes[i], static_cast<char>('a' + i % 26)));
        wal.ends.push_back(wal.bytes.size());
    }
    return wal;
}

}  // namespace

TEST_CASE("a write-ahead log cut at any byte tells which records are whole and how much is torn") {
    // Small records, one over three blocks, one whose end leaves room for a bare header.
    const SmallWal wal = make_wal({5, 0, 40, 70'000, 300, 17, 27'000});
    std::size_t whole = 0;
    for (std::size_t cut = 0; cut <= wal.bytes.size(); cut += (cut < 200 || cut + 200 > wal.bytes.size()) ? 1 : 13) {
        while (whole + 1 < wal.ends.size() && wal.ends[whole + 1] <= cut) ++whole;
        const WalTail tail = inspect_wal_bytes(std::string_view(wal.bytes).substr(0, cut), WalCheck::checksums);
        CAPTURE(cut);
        REQUIRE_FALSE(tail.damaged_at.has_value());
        REQUIRE(tail.records == whole);
        REQUIRE(tail.whole_bytes == wal.ends[whole]);
        REQUIRE(tail.torn_bytes == cut - wal.ends[whole]);
    }
}

TEST_CASE("a write-ahead log cut anywhere around the edge of a block is no damage") {
    for (std::size_t room = 0; room <= 9; ++room) {
        // `room` bytes are left in the first block when the second record begins.
        const SmallWal wal = make_wal({block_bytes - header_bytes - room, 20});
        CAPTURE(room);
        for (std::size_t cut = wal.ends[1]; cut <= wal.bytes.size(); ++cut) {
            const WalTail tail = inspect_wal_bytes(std::string_view(wal.bytes).substr(0, cut), WalCheck::checksums);
            CAPTURE(cut);
            REQUIRE_FALSE(tail.damaged_at.has_value());
            REQUIRE(tail.records == (cut == wal.bytes.size() ? 2 : 1));
            // The padding of a full block belongs to no record.
            const bool only_padding = room < header_bytes && cut == block_bytes;
            REQUIRE(tail.torn_bytes == (cut == wal.bytes.size() || only_padding ? 0 : cut - wal.ends[1]));
        }
    }
}

TEST_CASE("a flipped bit is found and placed, unless it makes the last record look torn") {
    const SmallWal wal = make_wal({100, 100, 100, 100});
    for (std::size_t bit = 0; bit < 8 * wal.bytes.size(); ++bit) {
        std::string bytes = wal.bytes;
        bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
        const WalTail tail = inspect_wal_bytes(bytes, WalCheck::checksums);
        CAPTURE(bit);
        std::size_t record = 0;
        while (wal.ends[record + 1] <= bit / 8) ++record;
        REQUIRE(tail.whole_bytes == wal.ends[record]);
        if (record < 3) REQUIRE(tail.damaged_at.has_value());
        if (tail.damaged_at) {
            REQUIRE(*tail.damaged_at == wal.ends[record]);
        } else {
            REQUIRE(tail.torn_bytes == wal.bytes.size() - wal.ends[3]);
        }
    }
}

TEST_CASE("zeros at the end of a write-ahead log are a torn tail and zeros in front of a record are damage") {
    const SmallWal wal = make_wal({30, 30});
    const WalTail tail = inspect_wal_bytes(wal.bytes + std::string(70'000, '\0'), WalCheck::structure);
    CHECK_FALSE(tail.damaged_at.has_value());
    CHECK(tail.records == 2);
    CHECK(tail.torn_bytes == 70'000);

    std::string hole = wal.bytes;
    hole.resize(block_bytes, '\0');
    append_record(hole, "later");
    const WalTail holed = inspect_wal_bytes(hole, WalCheck::structure);
    REQUIRE(holed.damaged_at.has_value());
    CHECK(*holed.damaged_at == wal.bytes.size());
}

TEST_CASE("random bytes never crash the look at a write-ahead log") {
    const std::uint64_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    for (int round = 0; round < 3'000; ++round) {
        std::string bytes;
        if (round % 2 == 0) {
            bytes.resize(random() % (round % 100 == 0 ? 100'000 : 300));
            for (char& c : bytes) c = static_cast<char>(random());
        } else {
            const std::size_t third = round % 101 == 0 ? random() % 90'000 : random() % 50;
            bytes = make_wal({random() % 50, random() % 50, third}).bytes;
            for (int flips = static_cast<int>(random() % 4); flips >= 0; --flips) {
                bytes[random() % bytes.size()] = static_cast<char>(random() % 6);
            }
        }
        for (const WalCheck check : {WalCheck::structure, WalCheck::checksums}) {
            const WalTail tail = inspect_wal_bytes(bytes, check);
            REQUIRE(tail.whole_bytes + tail.torn_bytes <= bytes.size());
            if (tail.damaged_at) REQUIRE(*tail.damaged_at < bytes.size());
            if (!tail.damaged_at) REQUIRE(tail.whole_bytes + tail.torn_bytes + header_bytes > bytes.size());
        }
    }
}

TEST_CASE("the newest write-ahead log with bytes in it is the one that is looked at") {
    const TemporaryDirectory made;
    const std::string& directory = made.path();
    const auto put = [&](const std::string& name, const std::string& bytes) {
        std::ofstream(directory + "/" + name, std::ios::binary) << bytes;
    };
    const SmallWal wal = make_wal({10, 40'000, 10});
    CHECK(inspect_newest_wal(directory, WalCheck::structure)->file.empty());
    put("000009.log", wal.bytes);
    put("000010.log", wal.bytes.substr(0, wal.bytes.size() - 3));
    put("000011.log", "");
    put("LOG", "text");
    put("x.log", "text");
    const Result<WalTail> tail = inspect_newest_wal(directory, WalCheck::structure);
    REQUIRE(tail.ok());
    CHECK(tail->file == "000010.log");
    CHECK(torn_tail_sentence(*tail) == "cut a torn record of 14 bytes at the end of 000010.log");
    const Result<WalTail> whole = inspect_wal_file(directory + "/000009.log", WalCheck::checksums);
    REQUIRE(whole.ok());
    CHECK(whole->records == 3);
    CHECK(torn_tail_sentence(*whole).empty());
    CHECK(list_wal_files(directory)->size() == 3);
    CHECK(list_wal_files(directory + "/none").error().code == ErrorCode::not_found);
}

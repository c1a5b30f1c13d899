#include "board/log/wal_tail.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "board/log/disk_file.hpp"

namespace stele {
namespace {

// The file is a row of blocks; a record is cut into fragments so that none crosses a block. A
// fragment: masked CRC-32C (4, little-endian), payload length (2), type (1), payload. Less than a
// header's room at the end of a block is padding.
constexpr std::size_t block_bytes = 32768;
constexpr std::size_t header_bytes = 7;

enum FragmentType : unsigned { zero = 0, full = 1, first = 2, middle = 3, last = 4 };

constexpr std::array<std::uint32_t, 256> make_crc_table() {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
        std::uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
        table[byte] = crc;
    }
    return table;
}
constexpr std::array<std::uint32_t, 256> crc_table = make_crc_table();

unsigned byte_at(std::string_view bytes, std::size_t at) { return static_cast<unsigned char>(bytes[at]); }

bool checksum_fits(std::string_view fragment) {
    std::uint32_t stored = 0;
    for (std::size_t i = 0; i < 4; ++i) stored |= static_cast<std::uint32_t>(byte_at(fragment, i)) << (8 * i);
    std::uint32_t crc = 0xffffffffu;
    for (const char c : fragment.substr(header_bytes - 1)) {
        crc = (crc >> 8) ^ crc_table[(crc ^ static_cast<unsigned char>(c)) & 0xff];
    }
    crc = ~crc;
    return stored == ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

/// A length with a flipped bit can point beyond the end of the file, and RocksDB then takes every
/// record behind it for one torn record. What was written behind it gives it away.
bool holds_whole_fragment(std::string_view bytes) {
    for (std::size_t at = 0; at + header_bytes <= bytes.size(); ++at) {
        const unsigned type = byte_at(bytes, at + 6);
        if (type < full || type > last) continue;
        const std::size_t length = byte_at(bytes, at + 4) | (byte_at(bytes, at + 5) << 8);
        if (length > bytes.size() - at - header_bytes) continue;
        if (checksum_fits(bytes.substr(at, header_bytes + length))) return true;
    }
    return false;
}

bool all_zero(std::string_view bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; });
}

/// Takes the blocks of one file in order.
class WalWalker {
public:
    explicit WalWalker(WalCheck check) : check_(check) {}

    /// `ends_file`: nothing follows this block.
    void take(std::string_view block, bool ends_file) {
        if (tail_.damaged_at) return;
        if (zeros_from_) {
            if (!all_zero(block)) tail_.damaged_at = *zeros_from_;
        } else {
            walk_fragments(block, ends_file);
        }
        block_start_ += block.size();
    }

    WalTail finish() {
        if (tail_.damaged_at) return tail_;
        if (in_record_ || zeros_from_ || cut_short_) tail_.torn_bytes = block_start_ - tail_.whole_bytes;
        return tail_;
    }

private:
    void walk_fragments(std::string_view block, bool ends_file) {
        std::size_t at = 0;
        while (at < block.size()) {
            const std::string_view rest = block.substr(at);
            if (rest.size() < header_bytes) {
                cut_short_ = block.size() < block_bytes;
                return;
            }
            const std::size_t length = byte_at(rest, 4) | (byte_at(rest, 5) << 8);
            const unsigned type = byte_at(rest, 6);
            if (type == zero && length == 0) {
                // RocksDB skips the rest of the block in silence. At the end of the file that is a
                // tail whose bytes never reached the disk; anywhere else it would be a hole.
                zeros_from_ = block_start_ + at;
                if (!all_zero(rest)) tail_.damaged_at = *zeros_from_;
                return;
            }
            if (header_bytes + length > rest.size()) {
                if (ends_file && !holds_whole_fragment(rest.substr(header_bytes))) {
                    cut_short_ = true;
                } else {
                    tail_.damaged_at = block_start_ + at;
                }
                return;
            }
            if (!take_fragment(rest.substr(0, header_bytes + length), type)) {
                tail_.damaged_at = block_start_ + at;
                return;
            }
            at += header_bytes + length;
            if (!in_record_) {
                ++tail_.records;
                tail_.whole_bytes = block_start_ + at;
            }
        }
    }

    bool take_fragment(std::string_view fragment, unsigned type) {
        if (check_ == WalCheck::checksums && !checksum_fits(fragment)) return false;
        switch (type) {
            case full:
                return !in_record_;
            case first:
                return !std::exchange(in_record_, true);
            case middle:
                return in_record_;
            case last:
                return std::exchange(in_record_, false);
            default:
                return false;
        }
    }

    WalCheck check_;
    WalTail tail_;
    std::uint64_t block_start_ = 0;
    bool in_record_ = false;
    bool cut_short_ = false;
    std::optional<std::uint64_t> zeros_from_;
};

/// The number in "000012.log"; nothing for any other name.
std::optional<std::uint64_t> wal_number(const std::string& name) {
    constexpr std::string_view suffix = ".log";
    if (name.size() <= suffix.size() || name.size() > suffix.size() + 19) return std::nullopt;
    if (name.compare(name.size() - suffix.size(), suffix.size(), suffix) != 0) return std::nullopt;
    std::uint64_t number = 0;
    for (const char c : std::string_view(name).substr(0, name.size() - suffix.size())) {
        if (c < '0' || c > '9') return std::nullopt;
        number = number * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return number;
}

/// Bytes read into `block`, less than its size only at the end of the file.
Result<std::size_t> read_block(int file, const std::string& path, std::string& block) {
    std::size_t filled = 0;
    while (filled < block.size()) {
        const ssize_t got = ::read(file, block.data() + filled, block.size() - filled);
        if (got < 0) {
            if (errno == EINTR) continue;
            return disk_error("read", path, errno);
        }
        if (got == 0) break;
        filled += static_cast<std::size_t>(got);
    }
    return filled;
}

}  // namespace

WalTail inspect_wal_bytes(std::string_view bytes, WalCheck check) {
    WalWalker walker(check);
    for (std::size_t at = 0; at < bytes.size(); at += block_bytes) {
        walker.take(bytes.substr(at, block_bytes), bytes.size() - at <= block_bytes);
    }
    return walker.finish();
}

Result<WalTail> inspect_wal_file(const std::string& path, WalCheck check) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return disk_error("open", path, errno);
    WalWalker walker(check);
    std::string block(block_bytes, '\0');
    std::string following(block_bytes, '\0');
    Result<std::size_t> got = read_block(file, path, block);
    while (got.ok() && *got > 0) {
        // Whether a block is the last one shows only when the next is asked for.
        const std::size_t size = *got;
        got = read_block(file, path, following);
        if (!got.ok()) break;
        walker.take(std::string_view(block).substr(0, size), *got == 0);
        block.swap(following);
    }
    ::close(file);
    if (!got.ok()) return got.error();
    WalTail tail = walker.finish();
    tail.file = std::filesystem::path(path).filename().string();
    return tail;
}

Result<std::vector<std::string>> list_wal_files(const std::string& db_directory) {
    std::vector<std::pair<std::uint64_t, std::string>> found;
    std::error_code failure;
    std::filesystem::directory_iterator at(db_directory, failure);
    while (!failure && at != std::filesystem::directory_iterator()) {
        const std::string name = at->path().filename().string();
        if (const std::optional<std::uint64_t> number = wal_number(name)) found.emplace_back(*number, name);
        at.increment(failure);
    }
    if (failure) return disk_error("list directory", db_directory, failure.value());
    std::sort(found.begin(), found.end());
    std::vector<std::string> names;
    for (auto& [number, name] : found) names.push_back(std::move(name));
    return names;
}

Result<WalTail> inspect_newest_wal(const std::string& db_directory, WalCheck check) {
    const Result<std::vector<std::string>> names = list_wal_files(db_directory);
    if (!names.ok()) return names.error();
    for (auto name = names->rbegin(); name != names->rend(); ++name) {
        const std::string path = db_directory + "/" + *name;
        std::error_code failure;
        const std::uintmax_t size = std::filesystem::file_size(path, failure);
        if (failure) return disk_error("look at", path, failure.value());
        if (size > 0) return inspect_wal_file(path, check);
    }
    return WalTail{};
}

std::string torn_tail_sentence(const WalTail& tail) {
    if (tail.torn_bytes == 0) return {};
    return "cut a torn record of " + std::to_string(tail.torn_bytes) + " bytes at the end of " + tail.file;
}

}  // namespace stele

#include "board/log/head_mark.hpp"

#include <cassert>
#include <cerrno>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "board/log/disk_file.hpp"
#include "board/log/keys.hpp"

namespace stele {
namespace {

// A slot fills what a disk writes as one, so that tearing one cannot touch the other. In it:
// magic (8), format (4), zero (4), sequence (8), position (8), link (32), XXH3-64 of these (8).
constexpr std::size_t slot_bytes = 4096;
constexpr std::size_t checked_bytes = 64;
constexpr std::size_t link_bytes = 32;
constexpr std::uint32_t head_format = 1;
constexpr std::string_view magic = "STELHEAD";
constexpr int reads_max = 4;

struct Slot {
    std::uint64_t sequence = 0;
    std::uint32_t format = 0;
    HeadMark mark;
};

struct NewestSlot {
    Slot slot;
    int index = 0;
};

std::string encode_slot(std::uint64_t sequence, const HeadMark& mark) {
    std::string bytes(magic);
    append_be32(bytes, head_format);
    append_be32(bytes, 0);
    append_be64(bytes, sequence);
    append_be64(bytes, mark.position.number);
    bytes += mark.link;
    assert(bytes.size() == checked_bytes);
    append_be64(bytes, XXH3_64bits(bytes.data(), bytes.size()));
    bytes.resize(slot_bytes, '\0');
    return bytes;
}

/// Nothing for a slot that was torn, damaged or never written.
std::optional<Slot> decode_slot(std::string_view bytes) {
    if (bytes.size() < checked_bytes + 8) return std::nullopt;
    if (bytes.substr(0, magic.size()) != magic) return std::nullopt;
    if (read_be64(bytes.substr(checked_bytes)) != XXH3_64bits(bytes.data(), checked_bytes)) return std::nullopt;
    Slot slot;
    slot.format = read_be32(bytes.substr(8));
    slot.sequence = read_be64(bytes.substr(16));
    slot.mark.position.number = read_be64(bytes.substr(24));
    slot.mark.link = std::string(bytes.substr(32, link_bytes));
    return slot;
}

/// Nothing when there is no file.
Result<std::optional<NewestSlot>> read_newest_slot(const std::string& path) {
    // The owner may be in the middle of a write; a slot that looks torn is looked at again.
    for (int attempt = 0; attempt < reads_max; ++attempt) {
        const Result<std::string> bytes = read_file_start(path, 2 * slot_bytes);
        if (!bytes.ok()) {
            if (bytes.error().code == ErrorCode::not_found) return std::optional<NewestSlot>();
            return bytes.error();
        }
        std::optional<NewestSlot> newest;
        for (int index = 0; index < 2; ++index) {
            const std::size_t from = static_cast<std::size_t>(index) * slot_bytes;
            if (bytes->size() <= from) break;
            const std::optional<Slot> slot = decode_slot(std::string_view(*bytes).substr(from, slot_bytes));
            if (slot && (!newest || slot->sequence > newest->slot.sequence)) newest = NewestSlot{*slot, index};
        }
        if (!newest) continue;
        if (newest->slot.format != head_format) {
            return Error{ErrorCode::wrong_format, "head file \"" + path + "\" has format " +
                                                      std::to_string(newest->slot.format) +
                                                      "; this release reads format " + std::to_string(head_format)};
        }
        return newest;
    }
    return Error{ErrorCode::corrupt, "head file \"" + path + "\": both slots are damaged, at byte 0 and at byte " +
                                         std::to_string(slot_bytes)};
}

}  // namespace

std::string head_mark_path(const std::string& data_directory, BoardNumber board) {
    return data_directory + "/heads/" + std::to_string(board.number) + ".head";
}

Result<std::optional<HeadMark>> read_head_mark(const std::string& path) {
    const Result<std::optional<NewestSlot>> newest = read_newest_slot(path);
    if (!newest.ok()) return newest.error();
    if (!*newest) return std::optional<HeadMark>();
    return std::optional<HeadMark>((*newest)->slot.mark);
}

bool is_head_mark_whole(const std::string& path) {
    // The owner may be in the middle of a write.
    for (int attempt = 0; attempt < reads_max; ++attempt) {
        const Result<std::string> bytes = read_file_start(path, 2 * slot_bytes);
        if (!bytes.ok()) return bytes.error().code == ErrorCode::not_found;
        bool whole = true;
        for (std::size_t from = 0; from < bytes->size(); from += slot_bytes) {
            const std::string_view slot = std::string_view(*bytes).substr(from, slot_bytes);
            whole = whole && (decode_slot(slot) || slot.find_first_not_of('\0') == std::string_view::npos);
        }
        if (whole) return true;
    }
    return false;
}

Result<HeadMarkFile> HeadMarkFile::open(std::string path) {
    HeadMarkFile head(std::move(path));
    const Result<std::optional<NewestSlot>> newest = read_newest_slot(head.path_);
    if (!newest.ok()) return newest.error();
    if (!*newest) return head;
    head.file_ = ::open(head.path_.c_str(), O_RDWR | O_CLOEXEC);
    if (head.file_ < 0) return disk_error("open", head.path_, errno);
    head.mark_ = (*newest)->slot.mark;
    head.sequence_ = (*newest)->slot.sequence;
    head.slot_ = (*newest)->index;
    // The last owner may have died before its sync. Until the newest mark is on disk, the other
    // slot is the only one that is, and must not be written over.
    head.unsynced_ = true;
    const Status synced = head.sync();
    if (!synced.ok()) return synced.error();
    return head;
}

HeadMarkFile::HeadMarkFile(HeadMarkFile&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::exchange(other.file_, -1)),
      mark_(std::move(other.mark_)),
      sequence_(other.sequence_),
      slot_(other.slot_),
      unsynced_(other.unsynced_),
      failure_(std::move(other.failure_)) {}

HeadMarkFile& HeadMarkFile::operator=(HeadMarkFile&& other) noexcept {
    if (this == &other) return *this;
    if (file_ >= 0) ::close(file_);
    path_ = std::move(other.path_);
    file_ = std::exchange(other.file_, -1);
    mark_ = std::move(other.mark_);
    sequence_ = other.sequence_;
    slot_ = other.slot_;
    unsynced_ = other.unsynced_;
    failure_ = std::move(other.failure_);
    return *this;
}

HeadMarkFile::~HeadMarkFile() {
    if (file_ >= 0) ::close(file_);
}

Status HeadMarkFile::write(const HeadMark& mark) {
    if (failure_) return *failure_;
    if (mark.link.size() != link_bytes) {
        return Error{ErrorCode::internal, "head file \"" + path_ + "\" was given a link of " +
                                              std::to_string(mark.link.size()) + " bytes where " +
                                              std::to_string(link_bytes) + " are expected"};
    }
    if (file_ < 0) return create(mark);
    // While the newest mark is not on disk it is replaced in place: the other slot stays whole.
    const int slot = unsynced_ ? slot_ : 1 - slot_;
    const std::string bytes = encode_slot(sequence_ + 1, mark);
    ssize_t written = 0;
    do {
        written = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(slot) * off_t{slot_bytes});
    } while (written < 0 && errno == EINTR);
    if (written < 0) return fail(disk_error("write", path_, errno));
    if (static_cast<std::size_t>(written) != bytes.size()) return fail(disk_error("write all of", path_, ENOSPC));
    slot_ = slot;
    sequence_ += 1;
    mark_ = mark;
    unsynced_ = true;
    return Done{};
}

Status HeadMarkFile::sync() {
    if (failure_) return *failure_;
    if (!unsynced_) return Done{};
    if (::fdatasync(file_) != 0) return fail(disk_error("sync", path_, errno));
    unsynced_ = false;
    return Done{};
}

/// The first mark comes with the file, whole or not at all, so that a file without a whole slot is
/// always damage and never a first write that was cut short.
Status HeadMarkFile::create(const HeadMark& mark) {
    std::string bytes = encode_slot(1, mark);
    bytes.resize(2 * slot_bytes, '\0');
    const Status created = replace_file(path_, bytes);
    if (!created.ok()) return fail(created.error());
    file_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    if (file_ < 0) return fail(disk_error("open", path_, errno));
    mark_ = mark;
    sequence_ = 1;
    slot_ = 0;
    unsynced_ = false;
    return Done{};
}

Error HeadMarkFile::fail(Error cause) {
    failure_ = Error{ErrorCode::closed, "head file was closed by an earlier failure: " + cause.message};
    return cause;
}

}  // namespace stele

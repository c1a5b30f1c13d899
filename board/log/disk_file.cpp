#include "board/log/disk_file.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace stele {
namespace {

ErrorCode code_of(int system_errno) {
    switch (system_errno) {
        case EACCES:
        case EPERM:
        case EROFS:
            return ErrorCode::permission;
        case ENOSPC:
        case EDQUOT:
            return ErrorCode::no_space;
        case ENOENT:
            return ErrorCode::not_found;
        case EEXIST:
            return ErrorCode::already_exists;
        default:
            return ErrorCode::io;
    }
}

Status write_all(int file, const std::string& path, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(file, bytes.data(), bytes.size());
        if (written < 0) {
            if (errno == EINTR) continue;
            return disk_error("write", path, errno);
        }
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
    return Done{};
}

}  // namespace

Error disk_error(std::string_view action, const std::string& path, int system_errno) {
    return Error{code_of(system_errno),
                 "cannot " + std::string(action) + " \"" + path + "\": " + std::strerror(system_errno)};
}

Result<std::string> read_file_start(const std::string& path, std::size_t bytes_max) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return disk_error("open", path, errno);
    std::string bytes(bytes_max, '\0');
    std::size_t filled = 0;
    while (filled < bytes_max) {
        const ssize_t got = ::read(file, bytes.data() + filled, bytes_max - filled);
        if (got < 0) {
            if (errno == EINTR) continue;
            const Error error = disk_error("read", path, errno);
            ::close(file);
            return error;
        }
        if (got == 0) break;
        filled += static_cast<std::size_t>(got);
    }
    ::close(file);
    bytes.resize(filled);
    return bytes;
}

Status replace_file(const std::string& path, std::string_view bytes) {
    const std::string fresh = path + ".new";
    const int file = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0) return disk_error("create", fresh, errno);
    const Status written = write_all(file, fresh, bytes);
    if (!written.ok()) {
        ::close(file);
        ::unlink(fresh.c_str());
        return written;
    }
    if (::fdatasync(file) != 0) {
        const Error error = disk_error("sync", fresh, errno);
        ::close(file);
        ::unlink(fresh.c_str());
        return error;
    }
    ::close(file);
    if (::rename(fresh.c_str(), path.c_str()) != 0) return disk_error("replace", path, errno);
    return sync_directory(parent_directory(path));
}

Status sync_directory(const std::string& path) {
    const int directory = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return disk_error("open directory", path, errno);
    const int outcome = ::fsync(directory);
    const int failure = errno;
    ::close(directory);
    if (outcome != 0) return disk_error("sync directory", path, failure);
    return Done{};
}

Status make_directories(const std::string& path) {
    std::error_code failure;
    std::filesystem::create_directories(path, failure);
    if (failure) return disk_error("create directory", path, failure.value());
    return Done{};
}

std::string parent_directory(const std::string& path) {
    const std::string parent = std::filesystem::path(path).parent_path().string();
    return parent.empty() ? "." : parent;
}

}  // namespace stele

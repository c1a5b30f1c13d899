// The few file operations that the log's engines need, with errors that name the path.
// No state; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "board/result.hpp"

namespace stele {

/// `cannot <action> "<path>": <what the system says>`, with the code that fits `system_errno`.
Error disk_error(std::string_view action, const std::string& path, int system_errno);

/// At most `bytes_max` bytes of a file. Fails with not_found when there is none.
Result<std::string> read_file_start(const std::string& path, std::size_t bytes_max);

/// Replaces the file as a whole: after a crash it holds the old bytes or the new ones. On disk on
/// return. Uses `path` + ".new" on the way.
Status replace_file(const std::string& path, std::string_view bytes);

/// Makes the names inside a directory durable.
Status sync_directory(const std::string& path);

/// Creates a directory with its parents. An existing one is fine.
Status make_directories(const std::string& path);

/// The directory a path lies in; "." for a bare name.
std::string parent_directory(const std::string& path);

}  // namespace stele

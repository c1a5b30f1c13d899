// A directory of a test's own, gone with it.
#pragma once

#include <doctest/doctest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

namespace stele {

class TemporaryDirectory {
public:
    TemporaryDirectory() {
        path_ = (std::filesystem::temp_directory_path() / "stele-test-XXXXXX").string();
        REQUIRE(::mkdtemp(path_.data()) != nullptr);
    }
    ~TemporaryDirectory() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
};

}  // namespace stele

#include "runtime/pager.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

namespace stele {

Pager::Pager(bool wanted) {
    const char* term = std::getenv("TERM");
    if (!wanted || ::isatty(STDOUT_FILENO) == 0 || term == nullptr || std::string(term) == "dumb") return;
    const char* chosen = std::getenv("PAGER");
    const std::string command = chosen != nullptr && *chosen != '\0' ? chosen : "less -FRX";
    if (command == "cat") return;
    int ends[2];
    if (::pipe(ends) != 0) return;
    std::cout.flush();
    child_ = ::fork();
    if (child_ == 0) {
        ::dup2(ends[0], STDIN_FILENO);
        ::close(ends[0]);
        ::close(ends[1]);
        // Where there is no such program the output is shown as it is.
        const std::string script = "command -v ${1%% *} >/dev/null 2>&1 && exec $1; exec cat";
        ::execl("/bin/sh", "sh", "-c", script.c_str(), "sh", command.c_str(), static_cast<char*>(nullptr));
        std::_Exit(127);
    }
    ::close(ends[0]);
    if (child_ < 0) {
        ::close(ends[1]);
        return;
    }
    standard_output_ = ::dup(STDOUT_FILENO);
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[1]);
}

Pager::~Pager() {
    if (child_ <= 0) return;
    std::cout.flush();
    ::dup2(standard_output_, STDOUT_FILENO);
    ::close(standard_output_);
    int status = 0;
    while (::waitpid(child_, &status, 0) < 0 && errno == EINTR) {
    }
}

}  // namespace stele

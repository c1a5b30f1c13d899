// The one doctest main of each test binary.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <csignal>

namespace {
// A source that ends before it has read its input closes the pipe; that is an outcome to test,
// not a reason for the test binary to die.
const bool sigpipe_ignored = std::signal(SIGPIPE, SIG_IGN) != SIG_ERR;
}  // namespace

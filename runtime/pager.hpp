// Long output goes through the reader's pager when a person watches: $PAGER, or less. One at a time.
#pragma once

#include <sys/types.h>

namespace stele {

class Pager {
public:
    /// Takes standard output over when it is a terminal and a pager can be had; does nothing otherwise.
    /// Ask what the terminal can do before.
    explicit Pager(bool wanted);
    /// Waits until the person has closed it.
    ~Pager();
    Pager(const Pager&) = delete;
    Pager& operator=(const Pager&) = delete;

private:
    pid_t child_ = -1;
    int standard_output_ = -1;
};

}  // namespace stele

// The one place that asks the operating system for the time of day.
#pragma once

#include <chrono>

#include "board/ids.hpp"

namespace stele {

inline TimeMs wall_clock() {
    return {std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
                .count()};
}

}  // namespace stele

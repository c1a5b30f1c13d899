// The ordered log of one board, as the core sees it. Frames are opaque bytes here; record_codec.hpp
// owns what is in them. Loop thread only.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "board/ids.hpp"
#include "board/log/store.hpp"
#include "board/result.hpp"

namespace stele {

struct LogFrame {
    Position position;
    std::string bytes;
};

class WriteLog {
public:
    virtual ~WriteLog() = default;

    /// Appends frames at the positions they carry, which must follow the last one without a gap.
    /// `derived` is what the fold made of them: an engine that keeps state writes both as one;
    /// one that is only a log ignores it and folds on arrival.
    virtual Status append(std::span<const LogFrame> frames, StoreBatch derived) = 0;

    /// Visits frames from `from` in order until `visit` returns false. Fails with `corrupt`, naming
    /// the position, at a gap or at damaged bytes.
    virtual Status read(Position from, const std::function<bool(Position, std::string_view bytes)>& visit) const = 0;

    /// Position of the last frame; none for an empty log.
    [[nodiscard]] virtual Result<Position> last() const = 0;
};

/// A board's log inside a StateStore, in Column::log under board number and position.
std::unique_ptr<WriteLog> make_store_log(StateStore& store, BoardNumber board);

}  // namespace stele

#include <limits>
#include <optional>

#include "board/log/keys.hpp"
#include "board/log/write_log.hpp"

namespace stele {
namespace {

constexpr std::size_t log_key_bytes = 16;

class StoreLog final : public WriteLog {
public:
    StoreLog(StateStore& store, BoardNumber board) : store_(store), board_(board) {}

    Status append(std::span<const LogFrame> frames, StoreBatch derived) override {
        const Status follows = check_positions(frames);
        if (!follows.ok()) return follows;
        derived.operations.reserve(derived.operations.size() + frames.size());
        for (const LogFrame& frame : frames) {
            derived.put(Column::log, log_key(board_, frame.position), frame.bytes);
        }
        const Status applied = store_.apply(derived);
        if (!applied.ok()) {
            last_.reset();
            return applied;
        }
        if (!frames.empty()) last_ = frames.back().position;
        return Done{};
    }

    Status read(Position from, const std::function<bool(Position, std::string_view)>& visit) const override {
        std::uint64_t expected = from.number == 0 ? 1 : from.number;
        std::optional<Error> damage;
        const Status scanned = store_.scan(Column::log, log_key(board_, {expected}), end_key(), false,
                                           [&](std::string_view key, std::string_view bytes) {
                                               damage = check_key(key, expected);
                                               if (damage) return false;
                                               return visit(Position{expected++}, bytes);
                                           });
        if (damage) return *damage;
        if (!scanned.ok()) {
            return Error{scanned.error().code, name() + ": record " + std::to_string(expected) +
                                                   " cannot be read: " + scanned.error().message};
        }
        return Done{};
    }

    Result<Position> last() const override {
        if (last_) return *last_;
        Position last;
        std::optional<Error> damage;
        const Status scanned =
            store_.scan(Column::log, log_key(board_, {}), end_key(), true, [&](std::string_view key, std::string_view) {
                if (key.size() == log_key_bytes) {
                    last.number = read_be64(key.substr(8));
                } else {
                    damage = bad_key(key);
                }
                return false;
            });
        if (damage) return *damage;
        if (!scanned.ok()) {
            return Error{scanned.error().code, name() + ": its end cannot be read: " + scanned.error().message};
        }
        return last;
    }

private:
    Status check_positions(std::span<const LogFrame> frames) {
        if (!last_) {
            const Result<Position> found = last();
            if (!found.ok()) return found.error();
            last_ = *found;
        }
        std::uint64_t before = last_->number;
        for (const LogFrame& frame : frames) {
            // The log of a fork begins above the version it was forked at, so an empty log takes
            // its first position as given.
            const bool follows = before == 0 ? frame.position.number != 0 : frame.position.number == before + 1;
            if (!follows) {
                return Error{ErrorCode::internal, name() + ": record " + std::to_string(frame.position.number) +
                                                      " does not follow record " + std::to_string(before)};
            }
            before = frame.position.number;
        }
        return Done{};
    }

    std::optional<Error> check_key(std::string_view key, std::uint64_t expected) const {
        if (key.size() != log_key_bytes) return bad_key(key);
        if (read_be64(key.substr(8)) == expected) return std::nullopt;
        return Error{ErrorCode::corrupt, name() + ": record " + std::to_string(expected) + " is missing"};
    }

    Error bad_key(std::string_view key) const {
        return Error{ErrorCode::corrupt, name() + " has a key of " + std::to_string(key.size()) + " bytes where " +
                                             std::to_string(log_key_bytes) + " are expected"};
    }

    /// Above every key of this board, also when the board's number is the greatest there is.
    std::string end_key() const { return log_key(board_, {std::numeric_limits<std::uint64_t>::max()}) + '\0'; }

    std::string name() const { return "log of board " + std::to_string(board_.number); }

    StateStore& store_;
    BoardNumber board_;
    std::optional<Position> last_;  // known once looked up; a zero means that the log is empty
};

}  // namespace

std::unique_ptr<WriteLog> make_store_log(StateStore& store, BoardNumber board) {
    return std::make_unique<StoreLog>(store, board);
}

}  // namespace stele

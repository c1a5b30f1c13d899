// The two small interfaces between the core and an engine: `WriteLog`, an ordered durable log, and
// `StateStore`, what the fold derived from it. The embedded engine folds first and writes both in
// one batch, so one class usually implements both; an engine that is only a log implements the
// first. Loop thread only, except where a method says otherwise.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "board/ids.hpp"
#include "board/result.hpp"

namespace stele {

/// Keyspaces of the state. Keys inside one sort by bytes.
enum class Column : std::uint8_t { log = 0, entries = 1, meta = 2, blobs = 3, terms = 4 };
inline constexpr std::size_t column_count = 5;

/// Puts and erasures that become visible together. Later operations on a key win.
struct StoreBatch {
    struct Operation {
        Column column;
        std::string key;
        std::optional<std::string> value;  // nothing: erase
    };
    std::vector<Operation> operations;

    void put(Column column, std::string key, std::string value) {
        operations.push_back({column, std::move(key), std::move(value)});
    }
    void erase(Column column, std::string key) { operations.push_back({column, std::move(key), std::nullopt}); }
    [[nodiscard]] bool empty() const { return operations.empty(); }
    void clear() { operations.clear(); }
};

class StateStore {
public:
    virtual ~StateStore() = default;

    /// The value, or not_found; corrupt when the stored block is damaged.
    [[nodiscard]] virtual Result<std::optional<std::string>> get(Column column, std::string_view key) const = 0;

    /// Visits keys in [from, to) in order, or in reverse order from the greatest below `to`, until
    /// `visit` returns false. The views are valid during the call only. Sees every applied batch.
    virtual Status scan(Column column, std::string_view from, std::string_view to, bool reverse,
                        const std::function<bool(std::string_view key, std::string_view value)>& visit) const = 0;

    /// Applies a batch: at once visible to get and scan, durable at a later sync. A failure
    /// poisons the store: every later call fails with `closed` and the first cause.
    virtual Status apply(const StoreBatch& batch) = 0;

    /// Forces everything applied so far to disk. May be called from another thread than the
    /// loop's while the loop applies; only one sync at a time. A failure poisons the store.
    virtual Status sync() = 0;

    /// True when sync() really reaches a disk.
    [[nodiscard]] virtual bool is_durable() const = 0;
};

/// How far a board's log had been synced, kept outside the engine so that a log that comes back
/// shorter is noticed, and so that readers in other processes stop at what is durable.
struct HeadMark {
    Position position;
    std::string link;  // 32 bytes: the chain link there
    auto operator<=>(const HeadMark&) const = default;
};

}  // namespace stele

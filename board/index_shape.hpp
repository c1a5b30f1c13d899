// How the index of records (record_index.hpp) is cut, and how much of it is stored for a log of some length. Part of
// what is on disk. Pure; any thread.
#pragma once

#include <cstdint>

#include "board/ids.hpp"
#include "board/limits.hpp"

namespace stele {

struct IndexShape {
    std::uint32_t block_records = limits::index_block_records;
    std::uint32_t segment_records = limits::index_segment_records;
    /// What the last record of a block or segment completes is stored with the record so many later, and may be worked
    /// out meanwhile. A segment has no smaller one than its blocks.
    std::uint32_t block_lag = limits::index_block_lag;
    std::uint32_t segment_lag = limits::index_segment_lag;

    [[nodiscard]] std::uint64_t blocks_per_segment() const { return segment_records / block_records; }
    /// Blocks and segments whose time has come; a block goes when its segment comes.
    [[nodiscard]] std::uint64_t blocks_due(Position last) const {
        return last.number < block_lag ? 0 : (last.number - block_lag) / block_records;
    }
    [[nodiscard]] std::uint64_t segments_due(Position last) const {
        return last.number < segment_lag ? 0 : (last.number - segment_lag) / segment_records;
    }
    /// The first block that is in no segment.
    [[nodiscard]] std::uint64_t first_block(Position last) const { return segments_due(last) * blocks_per_segment(); }
};

}  // namespace stele

// Every bound in one place, with its unit. Reaching one is a named outcome that the operator sees.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stele::limits {

inline constexpr std::size_t json_depth_max = 64;
inline constexpr std::size_t entry_bytes_max = 16U << 20;
inline constexpr std::size_t writes_per_commit_max = 100'000;
inline constexpr std::size_t cites_per_write_max = 1'000;
inline constexpr std::size_t record_bytes_max = 256U << 20;
inline constexpr std::size_t blob_bytes_min = 4'096;  // parts at least this long are stored once, by MAC

inline constexpr std::size_t crew_text_bytes_max = 16U << 20;
inline constexpr std::size_t crew_nodes_max = 1'000'000;
inline constexpr std::size_t crew_problems_max = 200;
inline constexpr std::size_t name_bytes_max = 64;

inline constexpr std::size_t score_nodes_max = 1'000;
inline constexpr std::size_t terms_per_when_max = 32;
inline constexpr std::size_t matches_per_source_max = 1'000'000;

inline constexpr std::uint32_t attempts_default = 3;
inline constexpr std::uint32_t conflicts_default = 16;
inline constexpr std::int64_t timeout_default_ms = 60'000;
inline constexpr std::int64_t backoff_default_ms = 500;
inline constexpr std::int64_t backoff_max_ms = 60'000;
inline constexpr std::int64_t kill_grace_ms = 2'000;  // SIGTERM, this long, then SIGKILL
inline constexpr std::int64_t stop_grace_default_ms = 10'000;
inline constexpr std::size_t output_bytes_default = 8U << 20;
inline constexpr std::size_t stderr_bytes_kept = 16U << 10;
inline constexpr std::uint32_t concurrency_default = 8;
inline constexpr std::size_t view_entries_default = 1'000;
inline constexpr std::uint32_t batch_max_default = 50;
inline constexpr std::int64_t batch_within_default_ms = 1'000;

inline constexpr std::uint64_t model_tokens_default = 4'096;  // of one answer
inline constexpr std::int64_t model_timeout_default_ms = 600'000;
inline constexpr std::int64_t model_idle_timeout_default_ms = 120'000;
inline constexpr std::int64_t llm_source_timeout_default_ms = 900'000;
inline constexpr std::uint32_t llm_turns_default = 8;
inline constexpr double wrap_up_reserve_default = 0.1;
inline constexpr std::size_t tool_calls_per_turn_max = 64;
inline constexpr std::int64_t tool_timeout_default_ms = 60'000;
inline constexpr std::size_t tool_output_bytes_default = 256U << 10;
inline constexpr std::int64_t mcp_start_timeout_default_ms = 30'000;
inline constexpr std::size_t mcp_tools_max = 1'000;  // of one server
inline constexpr std::int64_t connect_timeout_ms = 10'000;
inline constexpr std::size_t response_bytes_max = 64U << 20;
inline constexpr std::size_t response_line_bytes_max = 16U << 20;  // one event of a stream
inline constexpr std::size_t response_head_bytes_max = 64U << 10;
inline constexpr std::uint32_t model_tries_max = 3;  // of one call, when nothing was answered
inline constexpr std::int64_t retry_after_max_ms = 120'000;
inline constexpr std::size_t called_part_blob_bytes_min = 256;  // prompts are stored once from here on

inline constexpr std::size_t agenda_shown_max = 64;  // to a source that ranks it

inline constexpr std::uint32_t cycle_window_default = 64;
inline constexpr double cycle_similarity_default = 0.85;
inline constexpr std::uint64_t cycle_rounds_default = 10'000;  // of a crew with a goal
inline constexpr std::uint32_t cycle_told_max = 3;  // how often a source that was named is woken for one loop
inline constexpr std::int64_t cycle_damp_first_ms = 1'000;
inline constexpr std::int64_t cycle_damp_max_ms = 300'000;
inline constexpr std::size_t chain_activations_kept = 100'000;
inline constexpr std::size_t chain_writes_kept = 250'000;
inline constexpr std::size_t chain_causes_max = 8;   // of one activation, the newest
inline constexpr std::size_t chain_reads_max = 256;  // of one activation; with more, what it read counts as new

inline constexpr std::size_t export_line_bytes_max = 512U << 20;  // of an exported board
inline constexpr std::uint32_t index_block_records = 128;
inline constexpr std::uint32_t index_segment_records = 8'192;  // a multiple of the block
inline constexpr std::uint32_t index_block_lag = 64;           // records; index_shape.hpp
inline constexpr std::uint32_t index_segment_lag = 1'024;
inline constexpr std::uint64_t checkpoint_records_min = 8'192;   // in force: from one checkpoint to the next
inline constexpr std::uint64_t checkpoint_bytes_a_record = 128;  // or as many records as make it cost this much each
inline constexpr std::uint64_t checkpoint_turn_share = 64;       // when a run begins or stops, after so much less
inline constexpr std::uint64_t region_count_interval = 256;      // records from one count of a region to the next
inline constexpr std::size_t group_commit_records_max = 256;
inline constexpr std::size_t core_records_in_a_row_max = 64;  // then what waits from outside comes first
inline constexpr std::int64_t async_sync_interval_ms = 200;
inline constexpr std::int64_t head_mark_interval_ms = 1'000;
inline constexpr std::size_t socket_line_bytes_max = 64U << 20;  // a crew as a JSON text, which may be twice as long
inline constexpr std::size_t entry_cache_entries_max = 65'536;

}  // namespace stele::limits

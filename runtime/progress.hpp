// What a person sees of a run: events as they come, on a terminal with live lines under them, and
// at the end why it stopped, what it wrote, what it cost and what to type next. Everything comes
// from the records; nothing is asked of the scheduler. Loop thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "board/entry.hpp"
#include "board/record.hpp"
#include "board/value.hpp"
#include "runtime/terminal.hpp"
#include "scheduler/exact_sum.hpp"

namespace stele {

struct CrewSpec;
struct RegionState;
struct DeadActivation;

struct ProgressOptions {
    /// Only the final lines.
    bool quiet = false;
    /// Each record as one line of JSON (docs/output.md), and no other line.
    bool json = false;
    Terminal terminal;
    /// Events and final lines. Not owned.
    std::ostream* out = nullptr;
    /// What follows the command in the next thing to type, shell-quoted, as in
    /// "--board review --data runs". Empty: made from the board and the data directory.
    std::string address_arguments;
};

class Progress {
public:
    Progress(ProgressOptions options, std::string board, std::string data_directory);

    /// At the start of a run, on resume and after `reconfigured`.
    void on_crew(const CrewSpec& crew);
    /// What the board held, and which activations were dead, before the first record that is told
    /// here. For runs on a board that exists; before the first on_record.
    void on_board(const std::vector<RegionState>& regions, const std::vector<DeadActivation>& dead);
    /// Every folded record, in order.
    void on_record(const LoggedRecord& logged, const std::vector<EntryChange>& changes);
    /// What a source says it is doing right now: on its live line until its next record.
    void on_progress(ActivationId id, const std::string& text);
    /// About ten times a second: draws the live lines again where there are any.
    void tick(std::int64_t now_ms);
    /// Once, at the end. With `json` it prints nothing: the caller adds "exit_code" to summary()
    /// and prints that as the last line.
    void finish();

    /// {"event": "stopped", "reason": ..., ...}; docs/output.md has the fields.
    [[nodiscard]] Value summary() const;

private:
    struct Running {
        std::string source;
        std::uint32_t attempt = 0;
        std::int64_t since_ms = 0;
        std::int64_t timeout_ms = 0;
        std::string bound;
        /// Its result is known, its commit is not.
        std::string result;
        std::string doing{};
    };
    struct Region {
        std::string name;
        std::uint64_t added = 0;
        std::uint64_t updated = 0;
        std::uint64_t removed = 0;
        std::int64_t active = 0;
    };
    struct Dead {
        ActivationId id;
        std::string source;
        std::uint32_t attempts = 0;  // 0: died before what is told here
        std::string error;
    };

    // What the records say.
    void take(const LoggedRecord& logged, const std::vector<EntryChange>& changes);
    void begin_run(const LoggedRecord& logged);
    void take_claim(const LoggedRecord& logged);
    void take_result(const LoggedRecord& logged);
    void take_commit(const LoggedRecord& logged, const std::vector<EntryChange>& changes);
    void take_refused_commit(const LoggedRecord& logged);
    void take_signal(const LoggedRecord& logged);
    void take_called(const Record& record);
    void take_returned(const Record& record);
    void add_cost(const std::string& name, const Value& amount);
    void take_cost(const std::string& cost);
    void end_attempt(ActivationId id, bool tried_again);

    // Events.
    void tell(const LoggedRecord& logged);
    void tell_refused(const LoggedRecord& logged);
    void tell_result(const LoggedRecord& logged);
    void tell_commit(const LoggedRecord& logged);
    [[nodiscard]] Line event_line(const LoggedRecord& logged, bool whole) const;
    void say(const Line& line);
    void say_whole(Line line, std::string_view text);

    // Live lines.
    [[nodiscard]] std::string erase_text() const;
    [[nodiscard]] std::vector<Line> live_lines() const;
    [[nodiscard]] Line state_line(std::size_t columns) const;
    [[nodiscard]] Line running_line(ActivationId id, const Running& running, std::size_t columns) const;
    [[nodiscard]] Line firings_line(std::size_t columns) const;
    [[nodiscard]] Line regions_line(std::size_t columns) const;

    // Final lines.
    [[nodiscard]] std::string final_text() const;
    [[nodiscard]] std::string attempts_text() const;
    [[nodiscard]] std::string refused_text() const;
    [[nodiscard]] std::string cost_text() const;
    [[nodiscard]] std::string written_table() const;
    [[nodiscard]] std::string next_command() const;

    Region& region(const std::string& name);
    [[nodiscard]] std::int64_t elapsed_ms() const;

    ProgressOptions options_;
    std::string board_;
    std::string data_directory_;
    std::string crew_name_;
    bool has_goal_ = false;

    // What the records said.
    std::optional<std::int64_t> start_ms_;
    std::int64_t last_ms_ = 0;
    std::int64_t now_ms_ = 0;
    Position version_;
    std::uint64_t records_ = 0;
    std::map<ActivationId, Running> running_;
    std::set<ActivationId> waiting_;  // to be tried again
    std::vector<Region> regions_;
    std::map<std::string, std::size_t> region_index_;
    std::map<std::string, std::uint64_t> attempts_;  // by outcome
    std::map<std::string, std::uint64_t> firings_;   // by rule
    std::uint64_t commits_ = 0;
    std::uint64_t refused_commits_ = 0;
    std::map<std::string, std::uint64_t> refusals_;  // refused commits, by the rule that refused
    std::map<std::string, ExactSum> cost_;
    bool cost_cut_ = false;
    std::uint64_t calls_ = 0;
    std::uint64_t calls_answered_ = 0;  // from the board, without being made
    std::uint64_t calls_estimated_ = 0;
    std::uint64_t tokens_ = 0;
    std::int64_t money_micros_ = 0;
    std::vector<Dead> dead_;
    std::optional<std::string> stop_word_;
    std::string stop_reason_;

    // What is on the screen.
    std::string pending_;
    std::vector<std::size_t> drawn_;  // columns of each live line
};

}  // namespace stele

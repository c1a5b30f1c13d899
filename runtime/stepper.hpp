// Goes through a run record by record, forward and backward: the state of the core after each record of a log,
// and why the next one came. Reads only, calls nothing. Backward means from the start again: it costs what lies
// before. One thread, like the store.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "board/log/store.hpp"
#include "board/log/write_log.hpp"
#include "runtime/data_directory.hpp"
#include "scheduler/fold.hpp"

namespace stele {

/// Where to stop.
struct Breakpoint {
    std::string text;    // as it was asked for
    std::string source;  // a record by this author; or
    std::string region;  // a commit that changes this region; or
    /// the first of its terms' matches that comes true.
    std::shared_ptr<const CrewSpec> holder;
    const Condition* condition = nullptr;
};

class Stepper {
public:
    static Result<std::unique_ptr<Stepper>> open(StateStore& store, const BoardInfo& board, Position last,
                                                 CrewReader read_crew);

    /// Where we are: the last record taken in; none before the first.
    [[nodiscard]] Position at() const { return at_; }
    [[nodiscard]] Position last() const { return last_; }
    /// The record we are at; null before the first.
    [[nodiscard]] const std::shared_ptr<const LoggedRecord>& record() const { return record_; }
    [[nodiscard]] const Scheduler& scheduler() const { return fold_->scheduler(); }
    [[nodiscard]] View view() const { return board_->view(at_); }
    /// Why this record came, in a sentence.
    [[nodiscard]] const std::string& reason() const { return reason_; }
    /// The breakpoints that it hit, as they were asked for.
    [[nodiscard]] const std::vector<std::string>& hits() const { return hits_; }

    /// Also backward. A position beyond the end means the end.
    Status go_to(Position position);
    /// On to the next record that hits a breakpoint, or to the end; backward to the one before, or to the start.
    Status go_on();
    Status go_back();

    [[nodiscard]] const std::vector<Breakpoint>& breakpoints() const { return breakpoints_; }
    /// Takes part from the record after this one.
    Status add(Breakpoint breakpoint);
    void clear();

private:
    Stepper(StateStore& store, const BoardInfo& board, Position last, CrewReader read_crew);

    Status restart();
    /// `tells_reason`: somebody may stop at the next record; working its reason out costs a look at the agenda.
    Status forward(bool tells_reason);
    void watch();
    [[nodiscard]] std::string reason_of(const LoggedRecord& logged, const std::vector<QueuedMatch>& agenda,
                                        std::size_t queued) const;

    StateStore& store_;
    BoardInfo info_;
    Position last_;
    CrewReader read_crew_;
    std::unique_ptr<WriteLog> log_;
    std::unique_ptr<Board> board_;
    std::unique_ptr<Fold> fold_;
    Position at_;
    std::shared_ptr<const LoggedRecord> record_;
    std::string reason_;
    std::vector<std::string> hits_;
    std::vector<Breakpoint> breakpoints_;
    std::unique_ptr<Matcher> matcher_;  // of the breakpoints that are conditions
    std::vector<std::size_t> watched_;  // its conditions, by breakpoint
};

}  // namespace stele

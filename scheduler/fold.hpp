// The whole fold: what a record means at its position. Judges it (runs and activations by the
// scheduler, writes by the regions), applies it to the board, and asks the scheduler what follows.
// A function of the records alone; the caller brings salts, does the I/O, and appends what the
// effects say. Loop thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "board/board.hpp"
#include "board/record_codec.hpp"
#include "board/record_index.hpp"
#include "scheduler/consequences.hpp"
#include "scheduler/grounding.hpp"
#include "scheduler/scheduler.hpp"

namespace stele {

/// A record judged at the next position, not yet applied.
struct Judgement {
    Verdict verdict;
    std::optional<Decision> decision;  // accepted commits
};

struct Folded {
    std::shared_ptr<const LoggedRecord> logged;
    std::vector<EntryChange> changes;  // filled by step()
    Effects effects;                   // filled by step()
};

class Fold {
public:
    /// `board` outlives the fold. The same reader must give the same crew for the same text.
    Fold(Board& board, CrewReader read_crew);

    /// What the fold says of a record at the next position. May take the regions of a crew into
    /// force; changes nothing else.
    Result<Judgement> judge(const Record& record);

    /// Applies a judged record's state into `batch`. Then the log and the batch must be readable
    /// (stored, or buffered) before step().
    Result<Folded> apply(std::shared_ptr<const LoggedRecord> logged, const Judgement& judgement, StoreBatch& batch);

    /// judge, encode, apply: one new record. The frame's bytes go to `frame`.
    Result<Folded> take(Record record, const Salt& salt, StoreBatch& batch, std::string& frame);

    /// From now on each record that apply() takes goes into the index of records too. Called once, when all
    /// that is in the log has been fed.
    Status keep_index(const FamilyKey& family, TaskRunner run = make_inline_runner());

    /// A record whose state is stored already: takes its crew into force, if it brings one.
    Result<Folded> feed(std::shared_ptr<const LoggedRecord> logged);

    /// Tells the scheduler, and says what the record changed and what must follow.
    Status step(Folded& folded);

    /// What is known as of the last step, beside the board's own state: equal bytes for equal states.
    [[nodiscard]] std::string save() const;
    /// Goes on from there: the next record is the one after it. Into a fold that was fed nothing; after a failure the
    /// fold and its board are of no use.
    Status load(std::string_view bytes);

    [[nodiscard]] const Scheduler& scheduler() const { return scheduler_; }
    [[nodiscard]] Board& board() { return board_; }
    /// What rests on what; none unless the crew in force declares `on_retract`.
    [[nodiscard]] const SupportGraph* support() const { return consequences_ ? &consequences_->graph() : nullptr; }

private:
    [[nodiscard]] Authority authority_of(const Record& record) const;
    [[nodiscard]] Record scratch_commit(Position at) const;
    void count_scratch(const std::vector<EntryChange>& changes);
    [[nodiscard]] bool scratch_left() const;
    Status feed_consequences(const LoggedRecord& logged);
    /// The phantoms in a commit of an activation, for each write into a grounded region.
    [[nodiscard]] Result<std::vector<Refusal>> phantoms_of(const Record& record) const;
    [[nodiscard]] Result<SeenTexts> seen_by(const Activation& live, const SourceSpec& source) const;
    void feed_remarks(const LoggedRecord& logged);
    void note_crew(Position position, const CrewSpec& crew);
    [[nodiscard]] Result<Record> answer_remarks(Position at) const;
    /// The crew that a record brings.
    Result<std::shared_ptr<const CrewSpec>> crew_in(const Record& record);
    Result<std::shared_ptr<const CrewSpec>> crew_of(const std::string& text, const std::string& base_directory,
                                                    const std::string& inputs);

    Board& board_;
    /// Active entries of each private region as of the last step.
    std::map<RegionNumber, std::int64_t> scratch_entries_;
    CrewReader read_crew_;
    // The last crew read: judging, the scheduler and the region table all ask for the same one.
    std::string crew_read_from_;
    std::shared_ptr<const CrewSpec> crew_read_;
    /// The records that brought the crews whose word on some region is still the last.
    std::map<Position, std::set<std::string>> crews_;
    std::optional<RecordIndexWriter> index_;
    std::optional<Consequences> consequences_;
    /// Accepted commits with phantoms that are not flagged or asked about yet.
    std::set<Position> remarked_;
    Scheduler scheduler_;
};

/// The activation a record belongs to and its source, members bound: for judging cites.
std::vector<EntryPtr> first_bindings(const std::vector<MatchPtr>& members);

}  // namespace stele

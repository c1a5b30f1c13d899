// What the board that a fork was forked off was answered after the fork: asked the same, the fork is given the
// same answer and pays nothing. Answers to equal questions are given in the order in which they came, each
// once. Reads the parent's log; loop thread.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "board/entry_store.hpp"
#include "knowledge_sources/knowledge_source.hpp"
#include "runtime/data_directory.hpp"

namespace stele {

struct RecordedAnswer {
    std::string answer;
    /// What the fork's `returned` record says of it: "recorded:" and the parent's position.
    std::string note;
};

class RecordedAnswers {
public:
    /// Of a fork; null for a board that is none, or whose parent was asked nothing later. What the fork's own
    /// log has used already is not given again.
    static Result<std::unique_ptr<RecordedAnswers>> open(DataDirectory& data, const BoardInfo& fork);

    /// The next answer to this; `configuration` is that of the source that asks.
    Result<std::optional<RecordedAnswer>> take(const CallIntent& intent, const std::string& configuration);

private:
    RecordedAnswers(StateStore& store, const BoardInfo& parent) : entries_(store, parent.number, parent.family) {}

    EntryStore entries_;
    std::map<Hash128, std::deque<Position>> answers_;  // the `returned` records
};

}  // namespace stele

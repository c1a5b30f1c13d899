#include "runtime/recorded_answers.hpp"

#include <charconv>
#include <set>

#include "board/provenance.hpp"
#include "scheduler/outcome.hpp"

namespace stele {
namespace {

constexpr std::string_view note_prefix = "recorded:";

// Of a service's request: what only one attempt has.
constexpr std::string_view of_one_attempt[] = {"activation", "attempt", "version", "deadline_ms", "idempotency_key"};

std::string without_attempt(const std::string& body) {
    const Result<Value> request = parse_json(body);
    if (!request.ok() || !request->is_object()) return body;
    std::vector<Value::Member> kept;
    for (const Value::Member& member : request->as_object()) {
        bool one = false;
        for (const std::string_view field : of_one_attempt) one = one || member.first == field;
        if (!one) kept.push_back(member);
    }
    return to_json(Value::object(std::move(kept)));
}

// Equal for calls that ask the same. A key says so itself; without one it is what is sent, by a source that is
// declared the same.
Hash128 question(const Hash128& key, CallTarget target, const std::string& name, const std::string& configuration,
                 const std::vector<std::string>& parts) {
    if (key != Hash128{}) return key;
    std::string text = std::string(to_text(target)) + '\0' + name + '\0' + configuration;
    for (const std::string& part : parts) {
        text += '\0';
        text += target == CallTarget::service ? without_attempt(part) : part;
    }
    return fixed_digest(text);
}

}  // namespace

Result<std::unique_ptr<RecordedAnswers>> RecordedAnswers::open(DataDirectory& data, const BoardInfo& fork) {
    using Answers = std::unique_ptr<RecordedAnswers>;
    if (!fork.parent) return Answers();
    const Result<std::vector<BoardInfo>> boards = data.boards();
    if (!boards.ok()) return boards.error();
    const BoardInfo* parent = nullptr;
    for (const BoardInfo& board : *boards) {
        if (board.number == fork.parent) parent = &board;
    }
    if (parent == nullptr) return Error{ErrorCode::corrupt, "the board that this one was forked off is gone"};
    const Result<StateStore*> parent_store = data.store_of(*parent);
    if (!parent_store.ok()) return parent_store.error();
    const Result<StateStore*> fork_store = data.store_of(fork);
    if (!fork_store.ok()) return fork_store.error();
    const Result<std::optional<HeadMark>> head = data.head(parent->number);
    if (!head.ok()) return head.error();
    const Position last = head->has_value() ? (*head)->position : Position{};

    std::set<std::uint64_t> used;
    EntryStore own(**fork_store, fork.number, fork.family);
    Status done = own.load();
    if (!done.ok()) return done.error();
    const Provenance own_log(own, fork.family, own.meta().last);
    done = own_log.index().find({{{RecordTermKind::record, "returned"}}}, {fork.forked_at.number + 1}, own.meta().last,
                                false, [&](const LoggedRecord& logged) {
                                    std::string_view word = logged.record.word;
                                    if (word.substr(0, note_prefix.size()) != note_prefix) return true;
                                    word.remove_prefix(note_prefix.size());
                                    std::uint64_t position = 0;
                                    std::from_chars(word.data(), word.data() + word.size(), position);
                                    used.insert(position);
                                    return true;
                                });
    if (!done.ok()) return done.error();

    Answers answers(new RecordedAnswers(**parent_store, *parent));
    done = answers->entries_.load();
    if (!done.ok()) return done.error();
    const Provenance log(answers->entries_, parent->family, last);
    std::map<std::pair<ActivationId, std::uint32_t>, Hash128> asked;  // by activation and call
    const auto note_question = [&](const Record& record) {
        if (record.answered_by) return;
        asked[{record.activation, record.call}] =
            question(record.call_key, record.target, record.word, record.configuration, record.parts);
    };
    Status bad = Done{};
    const IndexQuery calls = {{{RecordTermKind::record, "called"}, {RecordTermKind::record, "returned"}}};
    done = log.index().find(calls, {fork.forked_at.number + 1}, last, false, [&](const LoggedRecord& logged) {
        const Record& record = logged.record;
        if (!logged.verdict.accepted) return true;
        if (record.kind == RecordKind::called) {
            note_question(record);
            return true;
        }
        auto call = asked.find({record.activation, record.call});
        if (call == asked.end()) {
            // Asked before the fork, answered after.
            bad = log.index().find({{activation_term(record.activation)}, {{RecordTermKind::record, "called"}}},
                                   {record.activation.number}, fork.forked_at, false, [&](const LoggedRecord& before) {
                                       if (before.record.call == record.call && before.verdict.accepted) {
                                           note_question(before.record);
                                       }
                                       return true;
                                   });
            if (!bad.ok()) return false;
            call = asked.find({record.activation, record.call});
            if (call == asked.end()) return true;
        }
        const bool is_answer = record.outcome == static_cast<OutcomeCode>(OutcomeKind::ok) && !record.parts.empty();
        if (is_answer && used.count(logged.position.number) == 0) {
            answers->answers_[call->second].push_back(logged.position);
        }
        asked.erase(call);
        return true;
    });
    if (!done.ok()) return done.error();
    if (!bad.ok()) return bad.error();
    if (answers->answers_.empty()) return Answers();
    return answers;
}

Result<std::optional<RecordedAnswer>> RecordedAnswers::take(const CallIntent& intent,
                                                            const std::string& configuration) {
    const auto known = answers_.find(question(intent.key, intent.target, intent.name, configuration, intent.parts));
    if (known == answers_.end()) return std::optional<RecordedAnswer>();
    const Position position = known->second.front();
    known->second.pop_front();
    if (known->second.empty()) answers_.erase(known);
    const Result<std::shared_ptr<const LoggedRecord>> logged = entries_.record(position);
    if (!logged.ok()) return logged.error();
    return std::optional<RecordedAnswer>(
        RecordedAnswer{(*logged)->record.parts.front(), std::string(note_prefix) + std::to_string(position.number)});
}

}  // namespace stele

// What a record can be found by: a term is a kind and a text. The index of records
// (record_index.hpp) leads from a term to the positions of the records that have it. Pure; any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "board/record.hpp"

namespace stele {

enum class RecordTermKind : std::uint8_t {
    record = 1,  // kind of the record: "commit"
    author,      // source or principal
    activation,  // its number
    region,      // that a commit wrote, or tried to
    outcome,     // "refused", the number of an outcome, or the record's word ("interrupt", "budget")
    cite,        // an entry that some write cites: "evidence/12"
    bound,       // an entry that woke the activation which this record begins
    word,        // of the contents and reasons of a commit's writes
    number,      // the same, canonical (text_tokens.hpp)
};

struct RecordTerm {
    RecordTermKind kind = RecordTermKind::record;
    std::string text;
    auto operator<=>(const RecordTerm&) const = default;
};

RecordTerm outcome_term(OutcomeCode outcome);
RecordTerm activation_term(ActivationId id);
RecordTerm entry_term(RecordTermKind kind, const EntryId& id);

/// The activation that a record is about. A first claim and a rule's commit begin one, whose number
/// is their own position; none where the record is about no activation.
ActivationId activation_of(const LoggedRecord& logged);
/// A rule claims, ends and commits in this one record.
bool is_rule_commit(const Record& record);
/// Content as it was proposed: parsed from the text where only that was read. Null when there is none.
Value content_of(const Write& write);
/// The entry that a write of a commit made or changed; number 0 where it was refused or did nothing new.
EntryId written_entry(const LoggedRecord& logged, std::size_t line);
/// The entry that a cite of write `line` names, one of the same commit too; number 0 where there is none.
EntryId cited_entry(const LoggedRecord& logged, const Cite& cite);

using VisitTerm = std::function<void(RecordTermKind, std::string_view)>;
/// Visits every term of a record; one may come more than once. The view is valid during the call only.
void for_each_term(const LoggedRecord& logged, const VisitTerm& visit);
/// All but words and numbers, which are most of the work.
void for_each_term_but_texts(const LoggedRecord& logged, const VisitTerm& visit);

}  // namespace stele

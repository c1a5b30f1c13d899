// One record of a board's log: what a writer proposed, and the verdict the fold gave at its
// position. docs/log_format.md has the bytes; record_codec.hpp reads and writes them. Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "board/hash.hpp"
#include "board/ids.hpp"
#include "board/write.hpp"

namespace stele {

enum class RecordKind : std::uint8_t {
    run_started = 1,  // a crew takes up work; part 0: the crew's text
    reconfigured,     // the same run goes on with another crew; part 0: its text
    fence,            // a new owner; its epoch is this record's position
    claimed,          // an attempt is about to start
    started,          // its process exists
    result,           // its raw output; part 0: output, part 1: error output
    commit,           // writes, all or nothing; part i: content of write i
    abandoned,        // an attempt whose result will never come
    dead,             // a match that is not tried again
    timer,            // the clock passed a time that the core had asked for
    signal,           // a person or the system asks: interrupt, kill, retry
    run_stopped,      // why the run ended
    called,           // a call to a model, a tool or a service is about to be made; parts: what is sent
    returned,         // its answer; part 0: as it came
    forked,           // what comes from here on is this board's alone; the word names the board it was forked off
    purged,           // payloads of earlier records are gone from the log
};
const char* to_text(RecordKind kind);

/// An entry version that a match is bound to.
struct BoundEntry {
    EntryId id;
    std::uint32_t version = 0;
    auto operator<=>(const BoundEntry&) const = default;
};

/// One way in which a precondition holds. `key` is what refraction goes by.
struct MatchRecord {
    Hash128 key;
    std::vector<BoundEntry> bound;
    /// One per term that binds nothing, in the order of the terms: since when it has held.
    std::vector<Position> episodes;
    bool operator==(const MatchRecord&) const = default;
};

/// How an attempt ended before its writes were judged; 0 where the record is no result.
using OutcomeCode = std::uint8_t;

/// What is called.
enum class CallTarget : std::uint8_t { model = 1, tool, service };
const char* to_text(CallTarget target);

/// What calls cost, or may cost. Money is in millionths of the currency that prices are in.
struct Amounts {
    std::uint64_t calls = 0;
    std::uint64_t tokens = 0;
    std::int64_t money_micros = 0;
    std::int64_t wall_ms = 0;
    bool operator==(const Amounts&) const = default;
};

struct Record {
    RecordKind kind = RecordKind::commit;
    /// Position of the fence under which it was written.
    Position epoch;
    TimeMs time;
    /// Last position that the core had folded when it decided this; none for what came from outside.
    Position decided_at;
    /// Source name, or the principal of what came from outside ("seed", "person", "system").
    std::string author;
    /// Hash of the source's declaration; empty for what came from outside.
    std::string configuration;
    ActivationId activation;
    std::uint32_t attempt = 0;
    std::string reason;
    std::string idempotency_key;
    std::string trace;

    /// claimed; commit of a rule (which claims, ends and commits in one record).
    std::vector<MatchRecord> members;
    /// claimed and commit: the version that was read.
    Position snapshot;
    /// claimed and rule commits: the rating it was picked with.
    double rating = 0;
    /// The same: what the rating was made of, as canonical JSON. Empty: the declared priority alone.
    std::string rating_terms;
    /// claimed: after this the attempt is over, whoever ran it. result: how long it took.
    std::int64_t duration_ms = 0;

    /// commit
    std::vector<Write> writes;

    /// result and abandoned
    OutcomeCode outcome = 0;
    std::int32_t exit_code = 0;
    std::vector<std::string> notes;
    std::string cost;         // canonical JSON or empty
    std::string seen_digest;  // result: SHA-256 of what the source was given, or empty

    /// started: process group, start ticks and boot id; fence: the owner's.
    std::int64_t process_group = 0;
    std::uint64_t process_start = 0;
    std::string boot_id;

    /// run_started, reconfigured: where relative commands start from, and the inputs as JSON.
    std::string base_directory;
    std::string inputs;

    /// signal, dead, abandoned, run_stopped: the word for it ("interrupt", "budget", ...); forked: the parent's name.
    std::string word;

    /// called and returned: which call of the attempt, from 1.
    std::uint32_t call = 0;
    /// called: what is called; its name is in `word`.
    CallTarget target = CallTarget::service;
    /// called: equal keys ask for the same thing; zero: nobody else's answer will do.
    Hash128 call_key;
    /// called: at most this; returned: this.
    Amounts amounts;
    /// called: nothing is called, the answer is that of this `returned` record.
    Position answered_by;
    /// called, and started where a view is no function of the snapshot: the entries that were shown. purged: those
    /// that were purged.
    std::vector<EntryId> seen;
    /// purged: the records that lost payloads.
    std::vector<Position> positions;
    /// returned: the other side did not say what it counted.
    bool estimated = false;

    /// Payload parts other than the contents of `writes`.
    std::vector<std::string> parts;
};

/// What the fold made of one write.
struct WriteOutcome {
    enum class Effect : std::uint8_t { none = 0, added, updated, removed };
    Effect effect = Effect::none;
    std::uint64_t number = 0;
    std::uint32_t version = 0;
    /// The content is the fold's (a set union's merge), not the write's.
    bool merged = false;
    bool operator==(const WriteOutcome&) const = default;
};

struct Verdict {
    bool accepted = true;
    /// Why it was refused. Of an accepted commit: remarks, phantoms that its regions let pass.
    std::vector<Refusal> refusals;
    /// commit: one per write.
    std::vector<WriteOutcome> outcomes;
    /// commit of an activation: members that no longer held and were left out.
    std::vector<std::uint32_t> stale_members;
    /// Hash of the whole board's content after this record.
    Hash128 state_hash;
    bool operator==(const Verdict&) const = default;
};

/// A record as it stands in the log.
struct LoggedRecord {
    Position position;
    Record record;
    Verdict verdict;
    Digest256 link{};
    /// Some of its payload was purged.
    bool purged = false;
};

}  // namespace stele

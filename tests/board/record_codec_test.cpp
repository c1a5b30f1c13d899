// Records to bytes and back, and what becomes of bytes that are not as they were written.
#include "board/record_codec.hpp"

#include <doctest/doctest.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <bit>
#include <cstring>
#include <limits>
#include <map>
#include <random>
#include <tuple>
#include <vector>

#include "board/bytes.hpp"
#include "board/limits.hpp"

using namespace stele;

namespace {

constexpr RecordKind all_kinds[] = {
    RecordKind::run_started, RecordKind::reconfigured, RecordKind::fence,  RecordKind::claimed,
    RecordKind::started,     RecordKind::result,       RecordKind::commit, RecordKind::abandoned,
    RecordKind::dead,        RecordKind::timer,        RecordKind::signal, RecordKind::run_stopped,
    RecordKind::called,      RecordKind::returned,     RecordKind::forked, RecordKind::purged,
};

const ChainLink first_link{};

/// Blobs by MAC, with the number of times each was stored.
class Blobs {
public:
    StoreBlob storer() {
        return [this](std::string_view bytes) {
            const Hash128 mac = fixed_digest(bytes);
            blobs_[mac] = bytes;
            ++counts_[mac];
            return mac;
        };
    }
    [[nodiscard]] LoadBlob loader() const {
        return [this](const Hash128& mac) -> Result<std::string> {
            const auto found = blobs_.find(mac);
            if (found == blobs_.end()) return Error{ErrorCode::corrupt, "payload " + to_hex(mac) + " is missing"};
            return found->second;
        };
    }
    [[nodiscard]] std::map<Hash128, std::string>& blobs() { return blobs_; }
    [[nodiscard]] const std::map<Hash128, int>& counts() const { return counts_; }

private:
    std::map<Hash128, std::string> blobs_;
    std::map<Hash128, int> counts_;
};

class RandomRecords {
public:
    explicit RandomRecords(std::uint64_t seed) : engine_(seed) {}

    // Everything that this kind of record carries, and nothing else.
    Record record(RecordKind kind) {
        Record made;
        made.kind = kind;
        made.epoch = {number()};
        made.time = {signed_number()};
        made.decided_at = {number()};
        made.author = text();
        made.configuration = text();
        made.activation = {number()};
        made.attempt = small();
        made.reason = text();
        made.idempotency_key = text();
        made.trace = text();
        switch (kind) {
            case RecordKind::run_started:
            case RecordKind::reconfigured:
                made.base_directory = text();
                made.inputs = text();
                break;
            case RecordKind::fence:
            case RecordKind::started:
                made.process_group = signed_number();
                made.process_start = number();
                made.boot_id = text();
                if (kind == RecordKind::started) made.seen = seen();
                break;
            case RecordKind::claimed:
                made.members = members();
                made.snapshot = {number()};
                made.rating = real();
                made.duration_ms = signed_number();
                break;
            case RecordKind::result:
            case RecordKind::abandoned:
                made.outcome = static_cast<OutcomeCode>(engine_());
                made.exit_code = static_cast<std::int32_t>(engine_());
                made.duration_ms = signed_number();
                for (std::size_t n = engine_() % 3; n > 0; --n) made.notes.push_back(text());
                made.cost = text();
                made.seen_digest = text();
                made.word = text();
                break;
            case RecordKind::commit:
                made.members = members();
                made.snapshot = {number()};
                made.rating = real();
                for (std::size_t n = engine_() % 4; n > 0; --n) made.writes.push_back(write());
                break;
            case RecordKind::dead:
                made.members = members();
                made.word = text();
                break;
            case RecordKind::timer:
                break;
            case RecordKind::signal:
            case RecordKind::run_stopped:
                made.word = text();
                break;
            case RecordKind::called:
                made.call = small();
                made.target = static_cast<CallTarget>(1 + engine_() % 3);
                made.word = text();
                made.call_key = {number(), number()};
                made.amounts = amounts();
                made.answered_by = {number()};
                made.seen = seen();
                break;
            case RecordKind::forked:
                made.word = text();
                break;
            case RecordKind::purged:
                made.seen = seen();
                for (int i = 0; i < 3; ++i) made.positions.push_back({number()});
                break;
            case RecordKind::returned:
                made.call = small();
                made.outcome = static_cast<OutcomeCode>(engine_());
                made.duration_ms = signed_number();
                made.amounts = amounts();
                made.estimated = engine_() % 2 == 0;
                made.cost = text();
                made.word = text();
                break;
        }
        if (kind != RecordKind::commit) {
            for (std::size_t n = engine_() % 3; n > 0; --n) made.parts.push_back(part());
        }
        return made;
    }

    Verdict verdict(const Record& record) {
        Verdict made;
        made.accepted = engine_() % 2 == 0;
        for (std::size_t n = engine_() % 3; n > 0; --n) {
            Refusal refusal;
            refusal.line = small();
            refusal.rule = static_cast<RefusalRule>(1 + engine_() % static_cast<int>(RefusalRule::malformed));
            refusal.message = text();
            if (engine_() % 2 == 0)
                refusal.current = Value::object({{"id", "r/1"}, {"version", 7}, {"entry", Value()}});
            made.refusals.push_back(refusal);
        }
        for (std::size_t i = 0; i < record.writes.size(); ++i) {
            made.outcomes.push_back(
                {static_cast<WriteOutcome::Effect>(engine_() % 4), number(), small(), engine_() % 2 == 0});
        }
        for (std::size_t n = engine_() % 3; n > 0; --n) made.stale_members.push_back(small());
        made.state_hash = {number(), number()};
        return made;
    }

    Salt salt() {
        Salt made{};
        for (std::uint8_t& byte : made) byte = static_cast<std::uint8_t>(engine_());
        return made;
    }

private:
    // Numbers of every length, so that each size of varint comes up.
    std::uint64_t number() { return engine_() >> engine_() % 64; }
    std::int64_t signed_number() { return static_cast<std::int64_t>(engine_()) >> engine_() % 64; }
    std::uint32_t small() { return static_cast<std::uint32_t>(engine_()) >> engine_() % 32; }
    double real() { return std::bit_cast<double>(engine_()); }
    std::string text() {
        std::string made(engine_() % 3 == 0 ? 0 : engine_() % 12, '\0');
        for (char& byte : made) byte = static_cast<char>(engine_());
        return made;
    }
    std::string part() {
        if (engine_() % 4 == 0)
            return std::string(limits::blob_bytes_min - 1 + engine_() % 3, static_cast<char>(engine_()));
        return text();
    }
    Amounts amounts() { return {number(), number(), signed_number(), signed_number()}; }
    std::vector<EntryId> seen() {
        std::vector<EntryId> made;
        for (std::size_t n = engine_() % 3; n > 0; --n) made.push_back({text(), number()});
        return made;
    }
    std::vector<MatchRecord> members() {
        std::vector<MatchRecord> made(engine_() % 3);
        for (MatchRecord& member : made) {
            member.key = {number(), number()};
            for (std::size_t n = engine_() % 3; n > 0; --n) member.bound.push_back({{text(), number()}, small()});
            for (std::size_t n = engine_() % 3; n > 0; --n) member.episodes.push_back({number()});
        }
        return made;
    }
    Write write() {
        Write made;
        made.op = static_cast<WriteOp>(1 + engine_() % static_cast<int>(WriteOp::increment));
        made.region = text();
        made.text = part();
        made.number = number();
        made.expected_version = small();
        made.why = text();
        for (std::size_t n = engine_() % 3; n > 0; --n) {
            Cite cite;
            cite.line = engine_() % 2 == 0 ? 0 : 1 + small() / 2;
            if (cite.line == 0) cite.entry = {text(), number()};
            made.cites.push_back(cite);
        }
        return made;
    }

    std::mt19937_64 engine_;
};

bool same_writes(const std::vector<Write>& a, const std::vector<Write>& b, bool with_texts) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const auto all = [](const Write& w) {
            return std::tie(w.op, w.region, w.number, w.expected_version, w.cites, w.why);
        };
        if (all(a[i]) != all(b[i])) return false;
        if (b[i].text != (with_texts ? a[i].text : std::string())) return false;
    }
    return true;
}

void check_same(const Record& written, const Record& read, DecodeDepth depth) {
    const auto common = [](const Record& r) {
        return std::tie(r.kind, r.epoch, r.time, r.decided_at, r.author, r.configuration, r.activation, r.attempt,
                        r.reason, r.idempotency_key, r.trace);
    };
    const auto rest = [](const Record& r) {
        return std::tie(r.members, r.snapshot, r.duration_ms, r.outcome, r.exit_code, r.notes, r.cost, r.seen_digest,
                        r.process_group, r.process_start, r.boot_id, r.base_directory, r.inputs, r.word);
    };
    CHECK((common(written) == common(read)));
    CHECK((rest(written) == rest(read)));
    const auto called = [](const Record& r) {
        return std::tie(r.call, r.target, r.call_key, r.amounts, r.answered_by, r.seen, r.positions, r.estimated);
    };
    CHECK((called(written) == called(read)));
    CHECK(std::bit_cast<std::uint64_t>(written.rating) == std::bit_cast<std::uint64_t>(read.rating));
    CHECK(same_writes(written.writes, read.writes, depth != DecodeDepth::header));
    CHECK(read.parts == (depth == DecodeDepth::header ? std::vector<std::string>() : written.parts));
}

/// The checksum made right again, as a forger would.
void forge_checksum(std::string& frame) {
    const std::uint64_t checksum = XXH3_64bits(frame.data(), frame.size() - 8);
    ByteWriter tail;
    tail.fixed(checksum);
    frame.replace(frame.size() - 8, 8, tail.bytes());
}

struct Sample {
    Record record;
    Verdict verdict;
    EncodedFrame frame;
};

Sample sample(RecordKind kind, std::uint64_t seed, Blobs& blobs) {
    RandomRecords random(seed);
    Sample made;
    made.record = random.record(kind);
    made.verdict = random.verdict(made.record);
    made.frame = encode_frame(made.record, made.verdict, {seed}, first_link, random.salt(), blobs.storer());
    return made;
}

// A commit of known shape for the tests that look at every byte.
Sample small_commit(Blobs& blobs) {
    Sample made;
    made.record.author = "web";
    made.record.reason = "because";
    Write write;
    write.region = "notes";
    write.content = Value::object({{"n", 1}});
    write.seal();
    made.record.writes = {write, write};
    made.record.writes[1].cites = {{{"notes", 1}, 0}, {{}, 1}};
    made.record.writes[1].text.assign(limits::blob_bytes_min, 'x');
    made.verdict.outcomes = {{WriteOutcome::Effect::added, 1, 1, false}, {WriteOutcome::Effect::added, 2, 1, false}};
    made.verdict.refusals = {{1, RefusalRule::conflict, "a", Value::object({{"id", "notes/1"}})}};
    made.frame = encode_frame(made.record, made.verdict, {5}, first_link, Salt{1, 2, 3}, blobs.storer());
    return made;
}

}  // namespace

TEST_CASE("records of every kind come back as they were written, at every depth") {
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        for (const RecordKind kind : all_kinds) {
            CAPTURE(seed);
            CAPTURE(to_text(kind));
            Blobs blobs;
            const Sample written = sample(kind, seed, blobs);
            for (const DecodeDepth depth : {DecodeDepth::header, DecodeDepth::full, DecodeDepth::verified}) {
                const Result<LoggedRecord> read = decode_frame({seed}, written.frame.bytes, depth, blobs.loader());
                REQUIRE_MESSAGE(read.ok(), read.error().message);
                CHECK(read->position == Position{seed});
                CHECK(read->link == written.frame.link);
                CHECK(read->verdict == written.verdict);
                check_same(written.record, read->record, depth);
            }
        }
    }
}

TEST_CASE("large parts are kept outside the frame, equal ones once, and counted") {
    Blobs blobs;
    Record record;
    record.kind = RecordKind::result;
    const std::string large(limits::blob_bytes_min, 'x');
    record.parts = {large, std::string(limits::blob_bytes_min - 1, 'y'), large, ""};
    const EncodedFrame frame = encode_frame(record, {}, {1}, first_link, Salt{}, blobs.storer());
    REQUIRE(blobs.blobs().size() == 1);
    CHECK(blobs.counts().begin()->second == 2);
    CHECK(frame.bytes.size() < 2 * limits::blob_bytes_min);
    const Result<LoggedRecord> read = decode_frame({1}, frame.bytes, DecodeDepth::verified, blobs.loader());
    REQUIRE(read.ok());
    CHECK(read->record.parts == record.parts);

    const Result<LoggedRecord> header = decode_frame({1}, frame.bytes, DecodeDepth::header, Blobs().loader());
    CHECK(header.ok());
    const Result<LoggedRecord> missing = decode_frame({1}, frame.bytes, DecodeDepth::full, Blobs().loader());
    REQUIRE_FALSE(missing.ok());
    CHECK(missing.error().code == ErrorCode::corrupt);

    blobs.blobs().begin()->second.pop_back();
    const Result<LoggedRecord> shorter = decode_frame({1}, frame.bytes, DecodeDepth::full, blobs.loader());
    REQUIRE_FALSE(shorter.ok());
    CHECK(shorter.error().message == "record 1: a payload has 4095 bytes, not 4096");
    blobs.blobs().begin()->second += 'z';
    CHECK(decode_frame({1}, frame.bytes, DecodeDepth::full, blobs.loader()).ok());
    const Result<LoggedRecord> other = decode_frame({1}, frame.bytes, DecodeDepth::verified, blobs.loader());
    REQUIRE_FALSE(other.ok());
    CHECK(other.error().message == "record 1: the payload does not match its hash");
}

TEST_CASE("a frame with any one bit flipped is refused at every depth") {
    Blobs blobs;
    std::vector<std::string> frames = {small_commit(blobs).frame.bytes};
    for (const RecordKind kind : all_kinds) frames.push_back(sample(kind, 42, blobs).frame.bytes);
    for (const std::string& whole : frames) {
        std::string frame = whole;
        for (std::size_t bit = 0; bit < 8 * std::min<std::size_t>(frame.size(), 3'000); ++bit) {
            frame[bit / 8] = static_cast<char>(frame[bit / 8] ^ 1 << bit % 8);
            const bool header = decode_frame({5}, frame, DecodeDepth::header, blobs.loader()).ok();
            const bool full = decode_frame({5}, frame, DecodeDepth::full, blobs.loader()).ok();
            const bool link = link_of_frame({5}, frame, first_link).ok() || stored_link({5}, frame).ok();
            REQUIRE_MESSAGE((!header && !full && !link), "bit " << bit);
            frame[bit / 8] = whole[bit / 8];
        }
    }
}

TEST_CASE("a flipped bit with a forged checksum is still found by the payload hash or the chain") {
    Blobs blobs;
    const Sample written = small_commit(blobs);
    const std::string& whole = written.frame.bytes;
    ByteReader in(whole);
    in.raw(2);
    in.text();
    in.raw(16);
    REQUIRE(in.ok());
    const std::size_t parts_begin = in.offset();
    const std::size_t parts_end = parts_begin + 1 + 2 + written.record.writes[0].text.size() + 1 + 2 + 16;
    const std::size_t link_begin = whole.size() - 8 - 32;
    for (std::size_t bit = 0; bit < 8 * (whole.size() - 8); ++bit) {
        // The verdict is the fold's own, outside the chain: who doubts it folds the log again.
        if (bit / 8 >= parts_end && bit / 8 < link_begin) continue;
        std::string frame = whole;
        frame[bit / 8] = static_cast<char>(frame[bit / 8] ^ 1 << bit % 8);
        forge_checksum(frame);
        const Result<LoggedRecord> read = decode_frame({5}, frame, DecodeDepth::verified, blobs.loader());
        const Result<ChainLink> expected = link_of_frame({5}, frame, first_link);
        const Result<ChainLink> stored = stored_link({5}, frame);
        const bool in_order = read.ok() && expected.ok() && stored.ok() && *expected == *stored;
        REQUIRE_MESSAGE(!in_order, "bit " << bit);
    }
}

TEST_CASE("a frame cut anywhere, or with a byte too much, is refused as corrupt") {
    Blobs blobs;
    for (const RecordKind kind : all_kinds) {
        const std::string whole = sample(kind, 7, blobs).frame.bytes;
        CAPTURE(to_text(kind));
        for (std::size_t size = 0; size < whole.size(); ++size) {
            for (const bool forged : {false, true}) {
                std::string cut = whole.substr(0, size);
                if (forged && size >= 8) forge_checksum(cut);
                const Result<LoggedRecord> read = decode_frame({7}, cut, DecodeDepth::full, blobs.loader());
                REQUIRE_MESSAGE(!read.ok(), "cut to " << size);
                REQUIRE(read.error().code == ErrorCode::corrupt);
                REQUIRE(read.error().message.find("record 7: ") == 0);
            }
        }
        std::string longer = whole;
        longer.insert(longer.size() - 8, 1, '\0');
        CHECK_FALSE(decode_frame({7}, longer, DecodeDepth::full, blobs.loader()).ok());
        forge_checksum(longer);
        CHECK_FALSE(decode_frame({7}, longer, DecodeDepth::full, blobs.loader()).ok());
    }
}

TEST_CASE("a frame of another format is named as that and not called damaged") {
    Blobs blobs;
    std::string frame = small_commit(blobs).frame.bytes;
    frame[1] = frame_format + 1;
    forge_checksum(frame);
    const Result<LoggedRecord> read = decode_frame({5}, frame, DecodeDepth::header, blobs.loader());
    REQUIRE_FALSE(read.ok());
    CHECK(read.error().code == ErrorCode::wrong_format);
    CHECK(read.error().message == "record 5: frame format 2, this program reads format 1");
    CHECK(stored_link({5}, frame).error().code == ErrorCode::wrong_format);
    CHECK(link_of_frame({5}, frame, first_link).error().code == ErrorCode::wrong_format);
}

TEST_CASE("the chain covers order, position and header, and no later verdict") {
    Blobs blobs;
    ChainLink previous{};
    std::vector<ChainLink> links;
    for (std::uint64_t position = 1; position <= 20; ++position) {
        RandomRecords random(position);
        const Record record = random.record(all_kinds[position % std::size(all_kinds)]);
        const Salt salt = random.salt();
        const EncodedFrame frame =
            encode_frame(record, random.verdict(record), {position}, previous, salt, blobs.storer());
        const Result<ChainLink> recomputed = link_of_frame({position}, frame.bytes, previous);
        const Result<ChainLink> stored = stored_link({position}, frame.bytes);
        REQUIRE(recomputed.ok());
        REQUIRE(stored.ok());
        CHECK(*recomputed == frame.link);
        CHECK(*stored == frame.link);

        CHECK(*link_of_frame({position + 1}, frame.bytes, previous) != frame.link);
        ChainLink other = previous;
        other[31] ^= 1;
        CHECK(*link_of_frame({position}, frame.bytes, other) != frame.link);
        const EncodedFrame other_verdict = encode_frame(record, {}, {position}, previous, salt, blobs.storer());
        CHECK(other_verdict.link == frame.link);
        Salt other_salt = salt;
        other_salt[0] ^= 1;
        CHECK(encode_frame(record, {}, {position}, previous, other_salt, blobs.storer()).link != frame.link);
        previous = frame.link;
    }
}

TEST_CASE("a payload hash cannot be moved between parts that read the same when joined") {
    Blobs blobs;
    Record one;
    one.kind = RecordKind::result;
    one.parts = {"ab", "c"};
    Record other = one;
    other.parts = {"a", "bc"};
    const Salt salt{};
    CHECK(encode_frame(one, {}, {1}, first_link, salt, blobs.storer()).link !=
          encode_frame(other, {}, {1}, first_link, salt, blobs.storer()).link);
}

TEST_CASE("bytes that spell a record in a second way are refused") {
    Blobs blobs;
    Record record;
    record.kind = RecordKind::commit;
    Verdict verdict;
    verdict.refusals = {{1, RefusalRule::conflict, "m", Value::object({{"a", 1}})}};
    const EncodedFrame frame = encode_frame(record, verdict, {1}, first_link, Salt{}, blobs.storer());
    const auto changed = [&](const std::string& from, const std::string& to) {
        REQUIRE(from.size() == to.size());
        std::string bytes = frame.bytes;
        const std::size_t at = bytes.find(from);
        REQUIRE(at != std::string::npos);
        bytes.replace(at, from.size(), to);
        forge_checksum(bytes);
        return decode_frame({1}, bytes, DecodeDepth::full, blobs.loader()).ok();
    };
    CHECK(changed(R"({"a":1})", R"({"a":2})"));
    CHECK_FALSE(changed(R"({"a":1})", R"({"a"1:})"));
    CHECK_FALSE(changed(R"({"a":1})", R"({ "a":})"));
    CHECK_FALSE(changed(R"({"a":1})", R"(  1    )"));
    CHECK_FALSE(changed(R"({"a":1})", R"(null   )"));
}

#include "board/record_codec.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cassert>
#include <cstring>
#include <span>

#include "board/bytes.hpp"
#include "board/limits.hpp"

// frame   := 'S' format:u8 header:text salt:16 parts verdict:text link:32 checksum:8
// parts   := n:varint part*n
// part    := 0 bytes:text | 1 length:varint mac:16 | 2 length:varint      (inline, blob, purged)
// header  := kind:u8 common body payload_hash:32
// Numbers are LEB128 varints in their shortest form, signed ones zigzag; text is length and bytes.

namespace stele {
namespace {

constexpr char frame_magic = 'S';

std::string_view view_of(const Digest256& digest) {
    return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}
std::string_view view_of(const Salt& salt) { return {reinterpret_cast<const char*>(salt.data()), salt.size()}; }

std::int32_t get_int32(ByteReader& in) {
    const std::int64_t value = in.zigzag();
    if (value < INT32_MIN || value > INT32_MAX) in.fail("number too large");
    return static_cast<std::int32_t>(value);
}

void put_entry_id(ByteWriter& out, const EntryId& id) {
    out.text(id.region);
    out.varint(id.number);
}
EntryId get_entry_id(ByteReader& in) {
    EntryId id;
    id.region = in.text();
    id.number = in.varint();
    return id;
}

void put_members(ByteWriter& out, const std::vector<MatchRecord>& members) {
    out.varint(members.size());
    for (const MatchRecord& member : members) {
        out.hash(member.key);
        out.varint(member.bound.size());
        for (const BoundEntry& bound : member.bound) {
            put_entry_id(out, bound.id);
            out.varint(bound.version);
        }
        out.varint(member.episodes.size());
        for (const Position episode : member.episodes) out.varint(episode.number);
    }
}
void get_members(ByteReader& in, std::vector<MatchRecord>& members) {
    members.resize(in.count(18));
    for (MatchRecord& member : members) {
        member.key = in.hash();
        member.bound.resize(in.count(3));
        for (BoundEntry& bound : member.bound) {
            bound.id = get_entry_id(in);
            bound.version = in.varint32();
        }
        member.episodes.resize(in.count(1));
        for (Position& episode : member.episodes) episode.number = in.varint();
    }
}

void put_write(ByteWriter& out, const Write& write) {
    out.u8(static_cast<std::uint8_t>(write.op));
    out.text(write.region);
    out.varint(write.number);
    out.varint(write.expected_version);
    out.text(write.why);
    out.varint(write.cites.size());
    for (const Cite& cite : write.cites) {
        out.varint(cite.line);
        if (cite.line == 0) put_entry_id(out, cite.entry);
    }
}
void get_write(ByteReader& in, Write& write) {
    const std::uint8_t op = in.u8();
    if (op < 1 || op > static_cast<std::uint8_t>(WriteOp::increment)) in.fail("unknown operation");
    write.op = static_cast<WriteOp>(op);
    write.region = in.text();
    write.number = in.varint();
    write.expected_version = in.varint32();
    write.why = in.text();
    write.cites.resize(in.count(1));
    for (Cite& cite : write.cites) {
        cite.line = in.varint32();
        if (cite.line == 0) cite.entry = get_entry_id(in);
    }
}

void put_amounts(ByteWriter& out, const Amounts& amounts) {
    out.varint(amounts.calls);
    out.varint(amounts.tokens);
    out.zigzag(amounts.money_micros);
    out.zigzag(amounts.wall_ms);
}
Amounts get_amounts(ByteReader& in) {
    Amounts amounts;
    amounts.calls = in.varint();
    amounts.tokens = in.varint();
    amounts.money_micros = in.zigzag();
    amounts.wall_ms = in.zigzag();
    return amounts;
}

void put_seen(ByteWriter& out, const std::vector<EntryId>& seen) {
    out.varint(seen.size());
    for (const EntryId& id : seen) put_entry_id(out, id);
}
void get_seen(ByteReader& in, std::vector<EntryId>& seen) {
    seen.resize(in.count(2));
    for (EntryId& id : seen) id = get_entry_id(in);
}

void put_body(ByteWriter& out, const Record& record) {
    switch (record.kind) {
        case RecordKind::run_started:
        case RecordKind::reconfigured:
            out.text(record.base_directory);
            out.text(record.inputs);
            return;
        case RecordKind::fence:
        case RecordKind::started:
            out.zigzag(record.process_group);
            out.varint(record.process_start);
            out.text(record.boot_id);
            out.text(record.word);
            if (record.kind == RecordKind::started) put_seen(out, record.seen);
            return;
        case RecordKind::claimed:
            put_members(out, record.members);
            out.varint(record.snapshot.number);
            out.real(record.rating);
            out.zigzag(record.duration_ms);
            if (!record.rating_terms.empty()) out.text(record.rating_terms);
            return;
        case RecordKind::result:
        case RecordKind::abandoned:
            out.u8(record.outcome);
            out.zigzag(record.exit_code);
            out.zigzag(record.duration_ms);
            out.varint(record.notes.size());
            for (const std::string& note : record.notes) out.text(note);
            out.text(record.cost);
            out.text(record.seen_digest);
            out.text(record.word);
            return;
        case RecordKind::commit:
            put_members(out, record.members);
            out.varint(record.snapshot.number);
            out.real(record.rating);
            out.varint(record.writes.size());
            for (const Write& write : record.writes) put_write(out, write);
            if (!record.rating_terms.empty()) out.text(record.rating_terms);
            return;
        case RecordKind::dead:
            put_members(out, record.members);
            out.text(record.word);
            return;
        case RecordKind::timer:
            return;
        case RecordKind::signal:
            out.text(record.word);
            if (!record.members.empty()) put_members(out, record.members);
            return;
        case RecordKind::purged:
            put_seen(out, record.seen);
            out.varint(record.positions.size());
            for (const Position position : record.positions) out.varint(position.number);
            return;
        case RecordKind::forked:
        case RecordKind::run_stopped:
            out.text(record.word);
            return;
        case RecordKind::called:
            out.varint(record.call);
            out.u8(static_cast<std::uint8_t>(record.target));
            out.text(record.word);
            out.hash(record.call_key);
            put_amounts(out, record.amounts);
            out.varint(record.answered_by.number);
            put_seen(out, record.seen);
            return;
        case RecordKind::returned:
            out.varint(record.call);
            out.u8(record.outcome);
            out.zigzag(record.duration_ms);
            put_amounts(out, record.amounts);
            out.u8(record.estimated ? 1 : 0);
            out.text(record.cost);
            out.text(record.word);
            return;
    }
}

constexpr std::size_t payload_hash_bytes = 32;

// Left out where there is nothing to say; what follows the body is the payload's hash.
void get_rating_terms(ByteReader& in, Record& record) {
    if (!in.ok() || in.remaining() <= payload_hash_bytes) return;
    record.rating_terms = in.text();
    if (record.rating_terms.empty()) in.fail("a rating made of nothing");
}

void get_body(ByteReader& in, Record& record) {
    switch (record.kind) {
        case RecordKind::run_started:
        case RecordKind::reconfigured:
            record.base_directory = in.text();
            record.inputs = in.text();
            return;
        case RecordKind::fence:
        case RecordKind::started:
            record.process_group = in.zigzag();
            record.process_start = in.varint();
            record.boot_id = in.text();
            record.word = in.text();
            if (record.kind == RecordKind::started) get_seen(in, record.seen);
            return;
        case RecordKind::claimed:
            get_members(in, record.members);
            record.snapshot.number = in.varint();
            record.rating = in.real();
            record.duration_ms = in.zigzag();
            get_rating_terms(in, record);
            return;
        case RecordKind::result:
        case RecordKind::abandoned:
            record.outcome = in.u8();
            record.exit_code = get_int32(in);
            record.duration_ms = in.zigzag();
            record.notes.resize(in.count(1));
            for (std::string& note : record.notes) note = in.text();
            record.cost = in.text();
            record.seen_digest = in.text();
            record.word = in.text();
            return;
        case RecordKind::commit: {
            get_members(in, record.members);
            record.snapshot.number = in.varint();
            record.rating = in.real();
            record.writes.resize(in.count(6));
            for (Write& write : record.writes) get_write(in, write);
            get_rating_terms(in, record);
            return;
        }
        case RecordKind::dead:
            get_members(in, record.members);
            record.word = in.text();
            return;
        case RecordKind::timer:
            return;
        case RecordKind::signal:
            record.word = in.text();
            if (!in.ok() || in.remaining() <= payload_hash_bytes) return;
            get_members(in, record.members);
            if (record.members.empty()) in.fail("an empty list of members");
            return;
        case RecordKind::purged:
            get_seen(in, record.seen);
            record.positions.resize(in.count(1));
            for (Position& position : record.positions) position.number = in.varint();
            return;
        case RecordKind::forked:
        case RecordKind::run_stopped:
            record.word = in.text();
            return;
        case RecordKind::called: {
            record.call = in.varint32();
            const std::uint8_t target = in.u8();
            if (target < 1 || target > static_cast<std::uint8_t>(CallTarget::service)) in.fail("unknown call target");
            record.target = static_cast<CallTarget>(target);
            record.word = in.text();
            record.call_key = in.hash();
            record.amounts = get_amounts(in);
            record.answered_by.number = in.varint();
            get_seen(in, record.seen);
            return;
        }
        case RecordKind::returned:
            record.call = in.varint32();
            record.outcome = in.u8();
            record.duration_ms = in.zigzag();
            record.amounts = get_amounts(in);
            record.estimated = in.flag();
            record.cost = in.text();
            record.word = in.text();
            return;
    }
    in.fail("unknown record kind");
}

void put_header(ByteWriter& out, const Record& record, const Digest256& payload_hash) {
    out.u8(static_cast<std::uint8_t>(record.kind));
    out.varint(record.epoch.number);
    out.zigzag(record.time.ms);
    out.varint(record.decided_at.number);
    out.text(record.author);
    out.text(record.configuration);
    out.varint(record.activation.number);
    out.varint(record.attempt);
    out.text(record.reason);
    out.text(record.idempotency_key);
    out.text(record.trace);
    put_body(out, record);
    out.raw(view_of(payload_hash));
}

void get_header(ByteReader& in, Record& record, std::string_view& payload_hash) {
    const std::uint8_t kind = in.u8();
    if (kind < 1 || kind > static_cast<std::uint8_t>(RecordKind::purged)) in.fail("unknown record kind");
    record.kind = static_cast<RecordKind>(kind);
    record.epoch.number = in.varint();
    record.time.ms = in.zigzag();
    record.decided_at.number = in.varint();
    record.author = in.text();
    record.configuration = in.text();
    record.activation.number = in.varint();
    record.attempt = in.varint32();
    record.reason = in.text();
    record.idempotency_key = in.text();
    record.trace = in.text();
    if (in.ok()) get_body(in, record);
    payload_hash = in.raw(payload_hash_bytes);
    if (in.ok() && !in.at_end()) in.fail("bytes left over in the header");
}

void put_verdict(ByteWriter& out, const Verdict& verdict) {
    out.u8(verdict.accepted ? 1 : 0);
    out.varint(verdict.refusals.size());
    for (const Refusal& refusal : verdict.refusals) {
        out.varint(refusal.line);
        out.u8(static_cast<std::uint8_t>(refusal.rule));
        out.text(refusal.message);
        out.text(refusal.current.is_null() ? std::string() : to_json(refusal.current));
    }
    out.varint(verdict.outcomes.size());
    for (const WriteOutcome& outcome : verdict.outcomes) {
        out.u8(static_cast<std::uint8_t>(static_cast<std::uint8_t>(outcome.effect) | (outcome.merged ? 4 : 0)));
        out.varint(outcome.number);
        out.varint(outcome.version);
    }
    out.varint(verdict.stale_members.size());
    for (const std::uint32_t member : verdict.stale_members) out.varint(member);
    out.hash(verdict.state_hash);
}

void get_verdict(ByteReader& in, Verdict& verdict) {
    verdict.accepted = in.flag();
    verdict.refusals.resize(in.count(4));
    for (Refusal& refusal : verdict.refusals) {
        refusal.line = in.varint32();
        const std::uint8_t rule = in.u8();
        if (rule < 1 || rule > static_cast<std::uint8_t>(RefusalRule::phantom)) in.fail("unknown refusal rule");
        refusal.rule = static_cast<RefusalRule>(rule);
        refusal.message = in.text();
        const std::string_view current = in.text();
        if (in.ok() && !current.empty()) {
            Result<Value> value = parse_json(current);
            // Null is written as no text at all, so that each value has one spelling.
            if (value.ok() && !value->is_null() && to_json(*value) == current) {
                refusal.current = std::move(*value);
            } else {
                in.fail("refusal carries no canonical JSON");
            }
        }
    }
    verdict.outcomes.resize(in.count(3));
    for (WriteOutcome& outcome : verdict.outcomes) {
        const std::uint8_t bits = in.u8();
        if (bits > 7) in.fail("unknown write outcome");
        outcome.effect = static_cast<WriteOutcome::Effect>(bits & 3);
        outcome.merged = (bits & 4) != 0;
        outcome.number = in.varint();
        outcome.version = in.varint32();
    }
    verdict.stale_members.resize(in.count(1));
    for (std::uint32_t& member : verdict.stale_members) member = in.varint32();
    verdict.state_hash = in.hash();
    if (in.ok() && !in.at_end()) in.fail("bytes left over in the verdict");
}

// What is sent in a call is sent again and again in part, so it is stored once from a smaller size on.
std::size_t blob_bytes_min(RecordKind kind) {
    return kind == RecordKind::called ? limits::called_part_blob_bytes_min : limits::blob_bytes_min;
}

std::vector<std::string_view> parts_of(const Record& record) {
    std::vector<std::string_view> parts;
    if (record.kind == RecordKind::commit) {
        parts.reserve(record.writes.size());
        for (const Write& write : record.writes) parts.push_back(write.text);
    } else {
        parts.assign(record.parts.begin(), record.parts.end());
    }
    return parts;
}

Digest256 hash_payload(const Salt& salt, std::span<const std::string_view> parts) {
    thread_local Sha256 sha;
    sha.update(view_of(salt));
    for (const std::string_view part : parts) sha.update_number(part.size()).update(part);
    return sha.finish();
}

ChainLink chain(const ChainLink& previous, Position position, std::string_view header) {
    thread_local Sha256 sha;
    return sha.update(view_of(previous)).update_number(position.number).update(header).finish();
}

Error damaged(Position position, const ByteReader& in, const char* where) {
    return {ErrorCode::corrupt, "record " + std::to_string(position.number) + ": " + in.why() + " (" + where +
                                    ", byte " + std::to_string(in.offset()) + ")"};
}

struct FramePieces {
    std::string_view header;
    std::string_view salt;
    std::string_view parts;  // from the count on
    std::string_view verdict;
    std::string_view link;
};

Result<FramePieces> take_apart(Position position, std::string_view bytes) {
    const std::string where = "record " + std::to_string(position.number);
    if (bytes.size() < 10) return Error{ErrorCode::corrupt, where + ": the frame is too short"};
    if (bytes[0] != frame_magic) return Error{ErrorCode::corrupt, where + ": this is no frame"};
    const std::uint64_t checksum = XXH3_64bits(bytes.data(), bytes.size() - 8);
    ByteReader tail(bytes.substr(bytes.size() - 8));
    if (tail.fixed() != checksum) return Error{ErrorCode::corrupt, where + ": checksum does not match"};
    if (static_cast<std::uint8_t>(bytes[1]) != frame_format) {
        return Error{ErrorCode::wrong_format, where + ": frame format " +
                                                  std::to_string(static_cast<std::uint8_t>(bytes[1])) +
                                                  ", this program reads format " + std::to_string(frame_format)};
    }
    const std::string_view body = bytes.substr(2, bytes.size() - 10);
    ByteReader in(body);
    FramePieces pieces;
    pieces.header = in.text();
    pieces.salt = in.raw(16);
    const std::size_t parts_begin = in.offset();
    const std::uint64_t part_count = in.count(2);
    for (std::uint64_t i = 0; i < part_count && in.ok(); ++i) {
        const std::uint8_t storage = in.u8();
        if (storage == 0) {
            in.text();
        } else if (storage == 1) {
            in.varint();
            in.raw(16);
        } else if (storage == 2) {
            in.varint();
        } else {
            in.fail("unknown part storage");
        }
    }
    if (!in.ok()) return damaged(position, in, "parts");
    pieces.parts = body.substr(parts_begin, in.offset() - parts_begin);
    pieces.verdict = in.text();
    pieces.link = in.raw(32);
    if (in.ok() && !in.at_end()) in.fail("bytes left over in the frame");
    if (!in.ok()) return damaged(position, in, "frame");
    return pieces;
}

struct LoadedParts {
    std::vector<std::string> bytes;
    std::vector<bool> purged;
    bool any_purged = false;
};

Result<LoadedParts> load_parts(Position position, std::string_view bytes, const LoadBlob& load_blob) {
    ByteReader in(bytes);
    LoadedParts loaded;
    loaded.bytes.resize(in.count(2));
    loaded.purged.resize(loaded.bytes.size());
    for (std::size_t i = 0; i < loaded.bytes.size(); ++i) {
        std::string& part = loaded.bytes[i];
        const std::uint8_t storage = in.u8();
        if (storage == 0) {
            part = in.text();
            continue;
        }
        const std::uint64_t length = in.varint();
        if (storage == 2) {
            loaded.purged[i] = true;
            loaded.any_purged = true;
            continue;
        }
        Result<std::string> blob = load_blob(in.hash());
        if (!blob.ok()) return blob.error();
        if (blob->size() != length) {
            return Error{ErrorCode::corrupt, "record " + std::to_string(position.number) + ": a payload has " +
                                                 std::to_string(blob->size()) + " bytes, not " +
                                                 std::to_string(length)};
        }
        part = std::move(*blob);
    }
    return loaded;
}

}  // namespace

EncodedFrame encode_frame(const Record& record, const Verdict& verdict, Position position, const ChainLink& previous,
                          const Salt& salt, const StoreBlob& store_blob) {
    const std::vector<std::string_view> parts = parts_of(record);
    ByteWriter header;
    header.reserve(256);
    put_header(header, record, hash_payload(salt, parts));

    const std::size_t blob_min = blob_bytes_min(record.kind);
    std::size_t inline_bytes = 0;
    for (const std::string_view part : parts) inline_bytes += part.size() < blob_min ? part.size() : 0;
    ByteWriter frame;
    frame.reserve(header.bytes().size() + inline_bytes + 24 * parts.size() + 160);
    frame.u8(static_cast<std::uint8_t>(frame_magic));
    frame.u8(frame_format);
    frame.text(header.bytes());
    frame.raw(view_of(salt));
    frame.varint(parts.size());
    for (const std::string_view part : parts) {
        if (part.size() < blob_min) {
            frame.u8(0);
            frame.text(part);
        } else {
            frame.u8(1);
            frame.varint(part.size());
            frame.hash(store_blob(part));
        }
    }
    ByteWriter verdict_bytes;
    put_verdict(verdict_bytes, verdict);
    frame.text(verdict_bytes.bytes());

    EncodedFrame encoded;
    encoded.link = chain(previous, position, header.bytes());
    frame.raw(view_of(encoded.link));
    frame.fixed(XXH3_64bits(frame.bytes().data(), frame.bytes().size()));
    encoded.bytes = frame.take();
    return encoded;
}

Result<LoggedRecord> decode_frame(Position position, std::string_view bytes, DecodeDepth depth,
                                  const LoadBlob& load_blob) {
    const Result<FramePieces> pieces = take_apart(position, bytes);
    if (!pieces.ok()) return pieces.error();

    LoggedRecord logged;
    logged.position = position;
    std::memcpy(logged.link.data(), pieces->link.data(), logged.link.size());
    ByteReader header(pieces->header);
    std::string_view payload_hash;
    get_header(header, logged.record, payload_hash);
    if (!header.ok()) return damaged(position, header, "header");
    ByteReader verdict(pieces->verdict);
    get_verdict(verdict, logged.verdict);
    if (!verdict.ok()) return damaged(position, verdict, "verdict");
    if (depth == DecodeDepth::header) return logged;

    Result<LoadedParts> parts = load_parts(position, pieces->parts, load_blob);
    if (!parts.ok()) return parts.error();
    logged.purged = parts->any_purged;
    // The hash is over all parts and the salt, which goes with the first part that does.
    if (depth == DecodeDepth::verified && !logged.purged) {
        Salt salt;
        std::memcpy(salt.data(), pieces->salt.data(), salt.size());
        const std::vector<std::string_view> views(parts->bytes.begin(), parts->bytes.end());
        if (view_of(hash_payload(salt, views)) != payload_hash) {
            return Error{ErrorCode::corrupt,
                         "record " + std::to_string(position.number) + ": the payload does not match its hash"};
        }
    }
    if (logged.record.kind == RecordKind::commit) {
        if (parts->bytes.size() != logged.record.writes.size()) {
            return Error{ErrorCode::corrupt, "record " + std::to_string(position.number) + ": " +
                                                 std::to_string(logged.record.writes.size()) + " writes but " +
                                                 std::to_string(parts->bytes.size()) + " payload parts"};
        }
        for (std::size_t i = 0; i < parts->bytes.size(); ++i) {
            Write& write = logged.record.writes[i];
            write.purged = parts->purged[i];
            write.text = write.purged ? std::string("null") : std::move(parts->bytes[i]);
        }
    } else {
        logged.record.parts = std::move(parts->bytes);
    }
    return logged;
}

Result<std::string> purge_frame(Position position, std::string_view bytes,
                                const std::function<bool(std::size_t part)>& purges,
                                const std::function<bool(std::string_view text)>& tells) {
    const Result<FramePieces> pieces = take_apart(position, bytes);
    if (!pieces.ok()) return pieces.error();
    ByteReader verdict_bytes(pieces->verdict);
    Verdict verdict;
    get_verdict(verdict_bytes, verdict);
    if (!verdict_bytes.ok()) return damaged(position, verdict_bytes, "verdict");

    ByteWriter parts;
    bool any = false;
    ByteReader in(pieces->parts);
    const std::uint64_t count = in.count(2);
    parts.varint(count);
    for (std::size_t i = 0; i < count && in.ok(); ++i) {
        const std::size_t begin = in.offset();
        const std::uint8_t storage = in.u8();
        std::uint64_t length = 0;
        if (storage == 0) {
            length = in.text().size();
        } else {
            length = in.varint();
            if (storage == 1) in.hash();
        }
        any = any || storage == 2 || purges(i);
        if (storage != 2 && purges(i)) {
            parts.u8(2);
            parts.varint(length);
        } else {
            parts.raw(pieces->parts.substr(begin, in.offset() - begin));
        }
    }
    for (Refusal& refusal : verdict.refusals) {
        if (tells(refusal.message)) refusal.message = "purged";
        if (!refusal.current.is_null() && tells(to_json(refusal.current))) refusal.current = Value();
    }
    ByteWriter frame;
    frame.u8(static_cast<std::uint8_t>(frame_magic));
    frame.u8(frame_format);
    frame.text(pieces->header);
    frame.raw(any ? view_of(Salt{}) : pieces->salt);
    frame.raw(parts.bytes());
    ByteWriter new_verdict;
    put_verdict(new_verdict, verdict);
    frame.text(new_verdict.bytes());
    frame.raw(pieces->link);
    frame.fixed(XXH3_64bits(frame.bytes().data(), frame.bytes().size()));
    return frame.take();
}

Result<ChainLink> link_of_frame(Position position, std::string_view bytes, const ChainLink& previous) {
    const Result<FramePieces> pieces = take_apart(position, bytes);
    if (!pieces.ok()) return pieces.error();
    return chain(previous, position, pieces->header);
}

Result<std::vector<Hash128>> blobs_of_frame(Position position, std::string_view bytes) {
    const Result<FramePieces> pieces = take_apart(position, bytes);
    if (!pieces.ok()) return pieces.error();
    std::vector<Hash128> blobs;
    ByteReader in(pieces->parts);
    for (std::uint64_t left = in.count(2); left > 0 && in.ok(); --left) {
        const std::uint8_t storage = in.u8();
        if (storage == 0) {
            in.text();
            continue;
        }
        in.varint();
        if (storage == 1) blobs.push_back(in.hash());
    }
    return blobs;
}

Result<ChainLink> stored_link(Position position, std::string_view bytes) {
    const Result<FramePieces> pieces = take_apart(position, bytes);
    if (!pieces.ok()) return pieces.error();
    ChainLink link;
    std::memcpy(link.data(), pieces->link.data(), link.size());
    return link;
}

}  // namespace stele

#include "runtime/board_transfer.hpp"

#include <cstring>
#include <istream>
#include <ostream>
#include <unordered_set>

#include "board/entry_store.hpp"
#include "board/limits.hpp"
#include "board/log/keys.hpp"
#include "board/log/memory_store.hpp"
#include "board/log/write_log.hpp"
#include "board/record_codec.hpp"
#include "knowledge_sources/encodings.hpp"
#include "runtime/record_json.hpp"
#include "runtime/replay.hpp"

namespace stele {
namespace {

constexpr int lines_format = 1;

std::string hex_of(const Digest256& digest) {
    return to_hex(std::string_view(reinterpret_cast<const char*>(digest.data()), digest.size()));
}

std::optional<std::string> from_hex(std::string_view text) {
    if (text.size() % 2 != 0) return std::nullopt;
    std::string bytes;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        int value = 0;
        for (const char c : text.substr(i, 2)) {
            value <<= 4;
            if (c >= '0' && c <= '9') {
                value |= c - '0';
            } else if (c >= 'a' && c <= 'f') {
                value |= c - 'a' + 10;
            } else {
                return std::nullopt;
            }
        }
        bytes.push_back(static_cast<char>(value));
    }
    return bytes;
}

std::string text_of(const Value& value, const char* field) {
    const Value* found = value.find(field);
    return found != nullptr && found->is_string() ? found->as_string() : std::string();
}

std::uint64_t number_of(const Value& value, const char* field) {
    const Value* found = value.find(field);
    return found != nullptr && found->is_int() && found->as_int() >= 0 ? static_cast<std::uint64_t>(found->as_int())
                                                                       : 0;
}

class LinesReader {
public:
    LinesReader(std::istream& in, BoardNumber number, StateStore& log) : in_(in), number_(number), log_(log) {}

    Status read() {
        std::string line;
        while (next_line(line)) {
            const Status taken = take(line);
            if (!taken.ok()) return taken;
        }
        if (in_.bad()) return Error{ErrorCode::io, "the lines cannot be read"};
        if (too_long_) return wrong("it is longer than any record is");
        if (!headed_) return Error{ErrorCode::invalid_argument, "there is no line: this is no exported board"};
        if (!ended_) {
            return Error{ErrorCode::invalid_argument, "the lines end after record " + std::to_string(result_.records) +
                                                          " of " + std::to_string(result_.header.records) +
                                                          ": the end of the export is missing"};
        }
        return Done{};
    }

    BoardLines result_;

private:
    bool next_line(std::string& line) {
        line.clear();
        ++line_;
        for (int c = in_.get(); c != std::istream::traits_type::eof(); c = in_.get()) {
            if (c == '\n') return true;
            line.push_back(static_cast<char>(c));
            if (line.size() > limits::export_line_bytes_max) {
                too_long_ = true;
                return false;
            }
        }
        return !line.empty();
    }

    [[nodiscard]] Error wrong(const std::string& how) const {
        return Error{ErrorCode::invalid_argument, "line " + std::to_string(line_) + ": " + how};
    }

    Status take(const std::string& line) {
        if (line.empty()) return wrong("it is empty");
        const Result<Value> value = parse_json(line);
        if (!value.ok()) return wrong("it is no JSON: " + value.error().message);
        if (!value->is_object()) return wrong("it is no object");
        if (ended_) return wrong("it stands after the end");
        if (!headed_) return take_header(*value);
        if (value->find("blob") != nullptr) return take_blob(*value);
        if (value->find("end") != nullptr) return take_end(*value);
        return take_record(*value);
    }

    Status take_header(const Value& value) {
        const Value* format = value.find("stele_board");
        if (format == nullptr)
            return wrong("this is no exported board: the first line names its format, {\"stele_board\": 1, ...}");
        if (*format != Value(lines_format)) {
            return wrong("format " + to_json(*format) + " of exported boards; this program reads " +
                         std::to_string(lines_format));
        }
        const std::optional<std::string> family = from_hex(text_of(value, "family"));
        if (!family || family->size() != result_.header.family.size()) return wrong("`family` is no key in hex");
        std::memcpy(result_.header.family.data(), family->data(), family->size());
        result_.header.board = text_of(value, "board");
        result_.header.parent = text_of(value, "parent");
        const Value* created = value.find("created");
        if (created != nullptr && created->is_int()) result_.header.created.ms = created->as_int();
        result_.header.records = number_of(value, "records");
        entries_ = std::make_unique<EntryStore>(log_, number_, result_.header.family);
        headed_ = true;
        return Done{};
    }

    Status take_blob(const Value& value) {
        const std::optional<std::string> bytes = from_base64(text_of(value, "bytes"));
        if (!bytes) return wrong("a blob has its MAC in hex and its bytes in base64");
        const Hash128 mac = keyed_digest(result_.header.family, *bytes);
        if (to_hex(mac) != text_of(value, "blob")) return wrong("the blob does not match its MAC");
        StoreBatch batch;
        batch.put(Column::blobs, blob_key(number_, 'b', mac), *bytes);
        return log_.apply(batch);
    }

    Status take_record(const Value& value) {
        const std::optional<std::string> frame = from_base64(text_of(value, "frame"));
        if (!frame) return wrong("a record has its frame, in base64");
        const Position position{result_.records + 1};
        const Result<ChainLink> link = link_of_frame(position, *frame, result_.link);
        if (!link.ok()) return wrong(link.error().message);
        const Result<LoggedRecord> logged =
            decode_frame(position, *frame, DecodeDepth::verified, entries_->blob_loader());
        if (!logged.ok()) return wrong(logged.error().message);
        if (*link != logged->link)
            return wrong("record " + std::to_string(position.number) + " breaks the chain of hashes");
        Value told = to_value(*logged);
        told.set("frame", text_of(value, "frame"));
        if (told != value) {
            return wrong("the fields of record " + std::to_string(position.number) +
                         " do not agree with its frame: one of them was changed");
        }
        StoreBatch batch;
        batch.put(Column::log, log_key(number_, position), *frame);
        result_.link = *link;
        result_.records = position.number;
        return log_.apply(batch);
    }

    Status take_end(const Value& value) {
        if (number_of(value, "end") != result_.records || text_of(value, "link") != hex_of(result_.link)) {
            return wrong("the end is that of another export, or records are missing");
        }
        ended_ = true;
        return Done{};
    }

    std::istream& in_;
    BoardNumber number_;
    StateStore& log_;
    std::unique_ptr<EntryStore> entries_;
    std::uint64_t line_ = 0;
    bool headed_ = false;
    bool ended_ = false;
    bool too_long_ = false;
};

}  // namespace

Status write_board_lines(StateStore& store, const BoardInfo& board, Position last, std::ostream& out) {
    const EntryStore entries(store, board.number, board.family);
    const LoadBlob load_blob = entries.blob_loader();
    Value header = Value::object(
        {{"stele_board", lines_format},
         {"board", board.address.board},
         {"family", to_hex(std::string_view(reinterpret_cast<const char*>(board.family.data()), board.family.size()))},
         {"created", board.created.ms},
         {"records", static_cast<std::int64_t>(last.number)}});
    if (board.parent) {
        header.set("parent", board.parent_name);
        header.set("forked_at", static_cast<std::int64_t>(board.forked_at.number));
    }
    out << to_json_line(header) << "\n";
    std::unordered_set<Hash128> written;
    ChainLink link{};
    Position at;
    Status bad = Done{};
    const Status walked =
        make_store_log(store, board.number)->read({1}, [&](Position position, std::string_view bytes) {
            if (position > last) return false;
            const Result<std::vector<Hash128>> blobs = blobs_of_frame(position, bytes);
            if (!blobs.ok()) return bad = blobs.error(), false;
            for (const Hash128& mac : *blobs) {
                if (!written.insert(mac).second) continue;
                const Result<std::string> blob = load_blob(mac);
                if (!blob.ok()) return bad = blob.error(), false;
                out << to_json(Value::object({{"blob", to_hex(mac)}, {"bytes", to_base64(*blob)}})) << "\n";
            }
            const Result<LoggedRecord> logged = decode_frame(position, bytes, DecodeDepth::verified, load_blob);
            if (!logged.ok()) return bad = logged.error(), false;
            Value value = to_value(*logged);
            value.set("frame", to_base64(bytes));
            out << to_json_line(value) << "\n";
            link = logged->link;
            at = position;
            return out.good();
        });
    if (!walked.ok()) return walked;
    if (!bad.ok()) return bad;
    out << to_json(Value::object({{"end", static_cast<std::int64_t>(at.number)}, {"link", hex_of(link)}})) << "\n";
    return Done{};
}

Result<BoardLines> read_board_lines(std::istream& in, BoardNumber number, const CrewReader& read_crew,
                                    StateStore& into) {
    const std::unique_ptr<StateStore> log = make_memory_store();
    LinesReader reader(in, number, *log);
    const Status read = reader.read();
    if (!read.ok()) return read.error();
    BoardInfo info;
    info.number = number;
    info.address.board = reader.result_.header.board;
    info.family = reader.result_.header.family;
    const Result<ReplayReport> replayed = verify_replay(*log, info, {reader.result_.records}, read_crew, &into);
    if (!replayed.ok()) return replayed.error();
    if (replayed->difference) {
        return Error{
            ErrorCode::corrupt,
            "the records are a whole log, but not one that this program would have written: " + *replayed->difference};
    }
    // What was derived stands there; the frames, which were encoded anew for it, are those of the export.
    StoreBatch batch;
    const auto take = [&](std::string_view key, std::string_view value) {
        batch.put(Column::log, std::string(key), std::string(value));
        return true;
    };
    const Status walked = log->scan(Column::log, log_key(number, {}), log_key({number.number + 1}, {}), false, take);
    if (!walked.ok()) return walked.error();
    const Status applied = into.apply(batch);
    if (!applied.ok()) return applied.error();
    return std::move(reader.result_);
}

}  // namespace stele

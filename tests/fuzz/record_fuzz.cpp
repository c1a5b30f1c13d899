// Whatever bytes stand in a log, decoding them ends without a crash, at every depth; and what
// decodes encodes to the same bytes again, but for hashes and for where parts are kept. The
// checksum is made right first, or nothing would ever get past it.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

#include "board/bytes.hpp"
#include "board/record_codec.hpp"

using namespace stele;

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

struct Pieces {
    std::string_view header;  // without the payload hash
    Salt salt{};
    std::string_view verdict;
};

Pieces take_apart(std::string_view frame) {
    Pieces pieces;
    ByteReader in(frame.substr(0, frame.size() - 8));
    in.raw(2);
    const std::string_view header = in.text();
    pieces.header = header.substr(0, header.size() - 32);
    std::memcpy(pieces.salt.data(), in.raw(16).data(), pieces.salt.size());
    for (std::uint64_t left = in.count(2); left > 0; --left) {
        const std::uint8_t storage = in.u8();
        if (storage == 0) {
            in.text();
        } else {
            in.varint();
            if (storage == 1) in.raw(16);
        }
    }
    pieces.verdict = in.text();
    in.raw(32);
    require(in.ok() && in.at_end());
    return pieces;
}

// Small payloads for every MAC but one in four, which are missing.
Result<std::string> load_any(const Hash128& mac) {
    if (mac.low % 4 == 0) return Error{ErrorCode::corrupt, "payload " + to_hex(mac) + " is missing"};
    return std::string(mac.low % 64, 'x');
}

void check_again(Position position, std::string_view frame, const LoggedRecord& logged) {
    std::map<Hash128, std::string> blobs;
    const StoreBlob store = [&](std::string_view bytes) {
        const Hash128 mac = fixed_digest(bytes);
        blobs[mac] = bytes;
        return mac;
    };
    const LoadBlob load = [&](const Hash128& mac) -> Result<std::string> { return blobs.at(mac); };
    const Pieces before = take_apart(frame);
    const EncodedFrame again = encode_frame(logged.record, logged.verdict, position, ChainLink{}, before.salt, store);
    const Pieces after = take_apart(again.bytes);
    require(after.header == before.header);
    require(after.verdict == before.verdict);

    const Result<LoggedRecord> read = decode_frame(position, again.bytes, DecodeDepth::verified, load);
    require(read.ok());
    require(read->verdict == logged.verdict);
    require(encode_frame(read->record, read->verdict, position, ChainLink{}, before.salt, store).bytes == again.bytes);
    const Result<ChainLink> link = link_of_frame(position, again.bytes, ChainLink{});
    require(link.ok() && *link == again.link);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const Position position{7};
    std::string frame(reinterpret_cast<const char*>(data), size);
    const bool as_given = decode_frame(position, frame, DecodeDepth::verified, load_any).ok();
    if (size < 10) {
        require(!as_given);
        return 0;
    }
    ByteWriter checksum;
    checksum.fixed(XXH3_64bits(frame.data(), frame.size() - 8));
    frame.replace(frame.size() - 8, 8, checksum.bytes());

    const Result<LoggedRecord> header = decode_frame(position, frame, DecodeDepth::header, load_any);
    const Result<LoggedRecord> full = decode_frame(position, frame, DecodeDepth::full, load_any);
    const Result<LoggedRecord> verified = decode_frame(position, frame, DecodeDepth::verified, load_any);
    require(!full.ok() || header.ok());
    require(!verified.ok() || full.ok());
    if (header.ok()) {
        require(link_of_frame(position, frame, ChainLink{}).ok());
        require(*stored_link(position, frame) == header->link);
    } else {
        require(header.error().message.find("record 7: ") == 0);
    }
    if (full.ok()) check_again(position, frame, *full);
    return 0;
}

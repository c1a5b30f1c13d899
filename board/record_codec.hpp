// Records to bytes and back. The grammar is in docs/log_format.md; a frame holds the header (what
// the chain covers), the payload parts (covered by a salted hash in the header, so that they can be
// purged), the verdict and the chain link. Decoding rejects whatever it does not know, naming the
// position and the offset, and never crashes on bytes. Pure; any thread.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "board/record.hpp"
#include "board/result.hpp"

namespace stele {

inline constexpr std::uint8_t frame_format = 1;

using Salt = std::array<std::uint8_t, 16>;

/// Stores a large part elsewhere; returns its MAC, 16 bytes.
using StoreBlob = std::function<Hash128(std::string_view bytes)>;
/// Fetches it back.
using LoadBlob = std::function<Result<std::string>(const Hash128& mac)>;

/// The link of a board's first record follows on 32 zero bytes.
using ChainLink = Digest256;

struct EncodedFrame {
    std::string bytes;
    ChainLink link{};
};

/// `record.writes` must be sealed. Parts of at least limits::blob_bytes_min go to `store_blob`.
EncodedFrame encode_frame(const Record& record, const Verdict& verdict, Position position, const ChainLink& previous,
                          const Salt& salt, const StoreBlob& store_blob);

enum class DecodeDepth {
    header,   // parts and write texts stay empty
    full,     // parts and write texts are filled; contents are not parsed
    verified  // full, and the payload hash is checked
};

/// Fails with `corrupt` (damage) or `wrong_format` (a frame of another format).
Result<LoggedRecord> decode_frame(Position position, std::string_view bytes, DecodeDepth depth,
                                  const LoadBlob& load_blob);

/// The link that a frame should carry, recomputed from its header bytes. For walking the chain.
Result<ChainLink> link_of_frame(Position position, std::string_view bytes, const ChainLink& previous);
/// The same frame without the parts that `purges` names, and without the salt, so that what they said cannot be
/// found by trying; texts of refusals that `tells` accepts are replaced. Header and link stay as they are. What
/// stood in blobs is the caller's to erase.
Result<std::string> purge_frame(Position position, std::string_view bytes,
                                const std::function<bool(std::size_t part)>& purges,
                                const std::function<bool(std::string_view text)>& tells);
/// The MACs of the parts that a frame has in blobs, in order.
Result<std::vector<Hash128>> blobs_of_frame(Position position, std::string_view bytes);
/// The link that a frame does carry.
Result<ChainLink> stored_link(Position position, std::string_view bytes);

}  // namespace stele

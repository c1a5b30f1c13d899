// Whatever bytes an MCP server sends: how they are split decides nothing, what reads as a message is one,
// and everything else is refused with a sentence.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "knowledge_sources/json_rpc.hpp"

using namespace stele;

namespace {

constexpr std::size_t bytes_max = 256;

void require(bool holds) {
    if (!holds) std::abort();
}

struct Read {
    std::vector<std::string> texts;
    bool in_bounds = true;
    bool operator==(const Read&) const = default;
};

template <class Reader>
void take_all(Reader& reader, Read& read) {
    while (std::optional<std::string> text = reader.next()) read.texts.push_back(std::move(*text));
}

template <class Reader>
Read read_in_pieces(std::string_view bytes, std::size_t piece) {
    Reader reader(bytes_max);
    Read read;
    for (std::size_t at = 0; at < bytes.size() && read.in_bounds; at += piece) {
        read.in_bounds = reader.feed(bytes.substr(at, piece));
        take_all(reader, read);
    }
    return read;
}

template <class Reader>
Read read_however(std::string_view bytes, std::size_t piece) {
    const Read whole = read_in_pieces<Reader>(bytes, bytes.size() + 1);
    require(whole == read_in_pieces<Reader>(bytes, piece));
    for (const std::string& text : whole.texts) require(text.size() <= bytes_max);
    return whole;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
    const std::size_t piece = 1 + data[0] % 16;
    Read read = read_however<LineReader>(bytes, piece);
    for (std::string& text : read_however<EventStreamReader>(bytes, piece).texts) read.texts.push_back(std::move(text));
    read.texts.emplace_back(bytes);
    for (const std::string& text : read.texts) {
        const Result<std::vector<RpcMessage>> messages = parse_rpc(text);
        if (!messages) {
            require(messages.error().message.starts_with("this is no JSON-RPC message: "));
            continue;
        }
        require(!messages->empty());
        for (const RpcMessage& message : *messages) {
            require((message.kind == RpcMessage::Kind::request) <= !message.id.is_null());
        }
    }
    require(parse_json(to_json(Value(valid_utf8(bytes)))).ok());
    return 0;
}

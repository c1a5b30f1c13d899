// An answer and a request read the same whole and in pieces, never more than their bounds come out, and
// nothing that was cut is complete. The first byte of the input chooses the pieces.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "knowledge_sources/http_message.hpp"

using namespace stele;

namespace {

constexpr std::size_t body_bytes_max = 10'000;

void require(bool holds) {
    if (!holds) std::abort();
}

struct Read {
    HttpAnswerReader::State state = HttpAnswerReader::State::more;
    std::string body;
    int heads = 0;
};

Read read_answer(std::string_view text, std::size_t piece_bytes) {
    Read read;
    HttpAnswerReader::Options options;
    options.body_bytes_max = body_bytes_max;
    HttpAnswerReader::Events events;
    events.head = [&read](const HttpHead&) {
        ++read.heads;
        return true;
    };
    events.data = [&read](std::string_view bytes) {
        require(!bytes.empty());
        read.body += bytes;
        return true;
    };
    HttpAnswerReader reader(options, events);
    for (std::size_t at = 0; at < text.size(); at += piece_bytes) reader.feed(text.substr(at, piece_bytes));
    read.state = reader.end();
    require(read.state != HttpAnswerReader::State::more);
    require(read.body.size() <= body_bytes_max);
    require(reader.problem().empty() == (read.state == HttpAnswerReader::State::complete));
    return read;
}

void check_answer(std::string_view text, std::size_t piece_bytes) {
    using State = HttpAnswerReader::State;
    const Read whole = read_answer(text, text.size() + 1);
    const Read pieces = read_answer(text, piece_bytes);
    // In pieces a bad head is known for one when it is there as a whole.
    const bool is_cut_head = pieces.state == State::closed_early && whole.state == State::malformed;
    require(is_cut_head || pieces.state == whole.state);
    require(pieces.body == whole.body);
    require(pieces.heads == whole.heads);
    require(whole.heads <= 1);
}

/// All bodies, and how many.
std::string read_requests(std::string_view text, std::size_t piece_bytes) {
    HttpRequestReader reader(body_bytes_max);
    std::string all;
    for (std::size_t at = 0; at < text.size(); at += piece_bytes) {
        reader.feed(text.substr(at, piece_bytes));
        while (reader.state() == HttpRequestReader::State::complete) {
            const ReceivedRequest request = reader.take();
            require(request.body.size() <= body_bytes_max);
            all += request.method + " " + request.target + " " + request.body + "\n";
        }
    }
    return all;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::size_t piece_bytes = data[0] % 64 + 1;
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
    check_answer(text, piece_bytes);
    require(read_requests(text, text.size() + 1) == read_requests(text, piece_bytes));
    return 0;
}

#include "knowledge_sources/inflate.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include <zlib.h>

namespace stele {

namespace {

constexpr int gzip_window = 15 + 16;
constexpr int zlib_window = 15;
constexpr int bare_window = -15;
constexpr std::size_t piece_bytes = 16U << 10;

/// The two bytes with which zlib's wrapping begins: the method, and a sum that 31 divides.
bool begins_zlib(unsigned char first, unsigned char second) {
    return (first & 0x0F) == Z_DEFLATED && (first * 256 + second) % 31 == 0;
}

}  // namespace

struct Inflater::Stream {
    Coding coding = Coding::gzip;
    State state = State::more;
    bool open = false;
    std::string beginning;  // of deflate, until its wrapping is known
    z_stream zlib = {};

    ~Stream() { close(); }

    bool begin(int window) {
        close();
        zlib = {};
        open = inflateInit2(&zlib, window) == Z_OK;
        return open;
    }
    void close() {
        if (open) inflateEnd(&zlib);
        open = false;
    }
    void read(std::string_view bytes, const Sink& sink);
    State read_once(const Sink& sink);
};

Inflater::Inflater(Coding coding) : stream_(std::make_unique<Stream>()) { stream_->coding = coding; }
Inflater::~Inflater() = default;

Inflater::State Inflater::state() const { return stream_->state; }

Inflater::State Inflater::feed(std::string_view bytes, const Sink& sink) {
    Stream& stream = *stream_;
    if (stream.coding == Coding::gzip) {
        if (!bytes.empty()) stream.read(bytes, sink);
        return stream.state;
    }
    if (stream.open) {
        stream.read(bytes, sink);
        return stream.state;
    }
    stream.beginning += bytes;
    if (stream.beginning.size() < 2) return stream.state;
    const bool wrapped =
        begins_zlib(static_cast<unsigned char>(stream.beginning[0]), static_cast<unsigned char>(stream.beginning[1]));
    if (!stream.begin(wrapped ? zlib_window : bare_window)) return stream.state = State::broken;
    const std::string beginning = std::move(stream.beginning);
    stream.read(beginning, sink);
    return stream.state;
}

void Inflater::Stream::read(std::string_view bytes, const Sink& sink) {
    while (!bytes.empty() && (state == State::more || state == State::complete)) {
        if (state == State::complete && coding == Coding::deflate) {
            state = State::broken;
            return;
        }
        // A further member of gzip goes on where the last one ended.
        if ((!open || state == State::complete) && !begin(gzip_window)) {
            state = State::broken;
            return;
        }
        const std::size_t size = std::min<std::size_t>(bytes.size(), std::numeric_limits<int>::max());
        zlib.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
        zlib.avail_in = static_cast<uInt>(size);
        state = read_once(sink);
        bytes.remove_prefix(size - zlib.avail_in);
    }
}

/// Until the input is used up or its end is read.
Inflater::State Inflater::Stream::read_once(const Sink& sink) {
    char piece[piece_bytes];
    while (true) {
        zlib.next_out = reinterpret_cast<Bytef*>(piece);
        zlib.avail_out = sizeof piece;
        const int code = inflate(&zlib, Z_SYNC_FLUSH);
        const std::size_t size = sizeof piece - zlib.avail_out;
        if (size > 0 && !sink(std::string_view(piece, size))) return State::stopped;
        if (code == Z_STREAM_END) return State::complete;
        // No progress was possible: nothing is wrong, the rest has yet to come.
        if (code == Z_BUF_ERROR) return State::more;
        if (code != Z_OK) return State::broken;
        if (zlib.avail_in == 0 && zlib.avail_out > 0) return State::more;
    }
}

}  // namespace stele

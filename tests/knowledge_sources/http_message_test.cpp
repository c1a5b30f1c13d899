#include <doctest/doctest.h>

#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <zlib.h>

#include "knowledge_sources/encodings.hpp"
#include "knowledge_sources/http_message.hpp"
#include "knowledge_sources/inflate.hpp"

using namespace stele;

namespace {

using State = HttpAnswerReader::State;

constexpr int gzip_window = 31;
constexpr int zlib_window = 15;
constexpr int bare_window = -15;

std::string deflated(std::string_view text, int window) {
    z_stream stream = {};
    REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    std::string out(deflateBound(&stream, text.size()) + 64, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
}

std::string with_length(std::string_view headers, const std::string& body) {
    return "HTTP/1.1 200 OK\r\n" + std::string(headers) + "Content-Length: " + std::to_string(body.size()) +
           "\r\n\r\n" + body;
}

struct Read {
    State state = State::more;
    std::vector<HttpHead> heads;
    std::string body;
    std::string problem;
    bool is_reusable = false;
};

/// Feeds the pieces of `text` that the cuts make, then the end of the connection if it is asked for.
Read read_pieces(std::string_view text, const std::vector<std::size_t>& cuts, bool ends,
                 std::size_t body_bytes_max = 1U << 20) {
    Read read;
    HttpAnswerReader::Options options;
    options.body_bytes_max = body_bytes_max;
    HttpAnswerReader::Events events;
    events.head = [&read](const HttpHead& head) {
        read.heads.push_back(head);
        return true;
    };
    events.data = [&read](std::string_view bytes) {
        CHECK(!bytes.empty());
        read.body += bytes;
        return true;
    };
    HttpAnswerReader reader(options, std::move(events));
    std::size_t begin = 0;
    for (const std::size_t cut : cuts) {
        reader.feed(text.substr(begin, cut - begin));
        begin = cut;
    }
    read.state = reader.feed(text.substr(begin));
    if (ends) read.state = reader.end();
    read.problem = reader.problem();
    read.is_reusable = reader.is_reusable();
    return read;
}

Read read_whole(std::string_view text, std::size_t body_bytes_max = 1U << 20) {
    return read_pieces(text, {}, true, body_bytes_max);
}

const std::string chunked =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    "5;name=value;other=\"a;b\"\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nX-Trailer: late\r\n\r\n";

/// Answers that are complete without the end of the connection; all say "hello world".
std::vector<std::string> complete_answers() {
    const std::string hello = "hello world";
    return {
        with_length("Content-Type: text/plain\r\n", hello),
        chunked,
        with_length("Content-Encoding: gzip\r\n", deflated(hello, gzip_window)),
        with_length("Content-Encoding: x-gzip\r\n", deflated("hello ", gzip_window) + deflated("world", gzip_window)),
        with_length("Content-Encoding: deflate\r\n", deflated(hello, zlib_window)),
        with_length("content-encoding: DEFLATE\r\n", deflated(hello, bare_window)),
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" + with_length("", hello)};
}

}  // namespace

TEST_CASE("an answer reads the same however its bytes are split") {
    for (const std::string& text : complete_answers()) {
        CAPTURE(text);
        const Read whole = read_pieces(text, {}, false);
        CHECK(whole.state == State::complete);
        CHECK(whole.body == "hello world");
        CHECK(whole.heads.size() == 1);
        CHECK(whole.is_reusable);
        std::vector<std::size_t> every;
        for (std::size_t cut = 1; cut < text.size(); ++cut) {
            every.push_back(cut);
            const Read read = read_pieces(text, {cut}, false);
            CHECK(read.state == State::complete);
            CHECK(read.body == "hello world");
            CHECK(read.heads.size() == 1);
        }
        const Read read = read_pieces(text, every, false);
        CHECK(read.state == State::complete);
        CHECK(read.body == "hello world");
    }
}

TEST_CASE("an answer that is cut anywhere is not taken for complete") {
    for (const std::string& text : complete_answers()) {
        for (std::size_t size = 0; size < text.size(); ++size) {
            CAPTURE(text.substr(0, size));
            CHECK(read_pieces(text.substr(0, size), {}, false).state == State::more);
            CHECK(read_whole(text.substr(0, size)).state == State::closed_early);
        }
    }
}

TEST_CASE("a body without a length ends with its connection, and one that is compressed at its own end") {
    const Read plain = read_whole("HTTP/1.1 200 OK\r\n\r\nhello");
    CHECK(plain.state == State::complete);
    CHECK(plain.body == "hello");
    CHECK_FALSE(plain.is_reusable);
    const std::string packed = deflated("hello", gzip_window);
    const std::string head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";
    CHECK(read_whole(head + packed).state == State::complete);
    CHECK(read_whole(head + packed.substr(0, packed.size() - 1)).state == State::closed_early);
}

TEST_CASE("names come in lower case, in order, and trailers are no headers") {
    const Read read = read_whole(
        "HTTP/1.1 429 Slow\r\nRetry-After: 3\r\nX-A: 1\r\nx-a:  2 \r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\nX-Late: 1\r\n\r\n");
    REQUIRE(read.heads.size() == 1);
    const HttpHead& head = read.heads[0];
    CHECK(head.status == 429);
    CHECK(head.headers.size() == 4);
    REQUIRE(head.find("x-a") != nullptr);
    CHECK(*head.find("x-a") == "1");
    CHECK(head.headers[2].second == "2");
    CHECK(head.find("x-late") == nullptr);
}

TEST_CASE("answers without a body are complete with their head") {
    for (const char* text :
         {"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Encoding: gzip\r\n\r\n"}) {
        const Read read = read_pieces(text, {}, false);
        CHECK(read.state == State::complete);
        CHECK(read.body.empty());
        CHECK(read.is_reusable);
    }
}

TEST_CASE("a connection is used again only if the other side keeps it and said no more than its answer") {
    CHECK_FALSE(read_whole("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").is_reusable);
    CHECK_FALSE(read_whole("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").is_reusable);
    CHECK_FALSE(read_whole("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200").is_reusable);
    CHECK(read_whole("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n").is_reusable);
}

TEST_CASE("what is no HTTP is called so, without quoting it") {
    const std::string bad[] = {
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 20x OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nsecret-thing\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: secret\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsecret\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcsecret\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: secret\r\n\r\n",
        with_length("Content-Encoding: br\r\n", "x"),
        with_length("Content-Encoding: gzip, gzip\r\n", "x"),
        with_length("Content-Encoding: gzip\r\n", "this is no gzip at all"),
        with_length("Content-Encoding: gzip\r\n", deflated("hello", gzip_window) + "junk"),
        with_length("Content-Encoding: deflate\r\n", deflated("hello", zlib_window) + "junk"),
        with_length("Content-Encoding: gzip\r\n", deflated("hello world", gzip_window).substr(0, 20)),
    };
    for (const std::string& text : bad) {
        CAPTURE(text);
        const Read read = read_whole(text);
        CHECK(read.state == State::malformed);
        CHECK_FALSE(read.problem.empty());
        CHECK(read.problem.find("secret") == std::string::npos);
    }
}

TEST_CASE("interim answers without end are no answer") {
    std::string text;
    for (int i = 0; i < 100; ++i) text += "HTTP/1.1 100 Continue\r\n\r\n";
    CHECK(read_whole(text).state == State::malformed);
}

TEST_CASE("heads, chunk lines and bodies have bounds") {
    const std::string long_text(limits::response_head_bytes_max + 10, 'x');
    const std::string chunk_head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (const std::string& text : {"HTTP/1.1 200 " + long_text, "HTTP/1.1 200 OK\r\nX: " + long_text,
                                    "HTTP/1.1 200 OK\r\nX: " + long_text + "\r\n\r\n", chunk_head + "1;" + long_text,
                                    chunk_head + "0\r\nX: " + long_text}) {
        CHECK(read_pieces(text, {}, false).state == State::too_large);
        CHECK(read_pieces(text, {100, 1'000, 30'000}, false).state == State::too_large);
    }
    const Read announced = read_whole(with_length("", "hello world"), 10);
    CHECK(announced.state == State::too_large);
    CHECK(announced.body.empty());
    CHECK(read_whole(with_length("", "hello world"), 11).state == State::complete);
    CHECK(read_whole(chunked, 10).state == State::too_large);
    CHECK(read_whole(chunked, 11).state == State::complete);
    CHECK(read_whole("HTTP/1.1 200 OK\r\n\r\nhello world", 10).state == State::too_large);
}

TEST_CASE("a body that swells when it is unpacked is stopped at its bound") {
    const std::string bomb = deflated(std::string(32U << 20, '\0'), gzip_window);
    REQUIRE(bomb.size() < 64U << 10);
    const Read read = read_whole(with_length("Content-Encoding: gzip\r\n", bomb), 1U << 20);
    CHECK(read.state == State::too_large);
    CHECK(read.body.size() <= 1U << 20);
    // Empty blocks: many bytes that stand for none.
    std::string nothing = "\x78\x9c";
    for (int i = 0; i < 10'000; ++i) nothing += std::string("\0\0\0\xff\xff", 5);
    CHECK(read_whole(with_length("Content-Encoding: deflate\r\n", nothing), 100).state == State::too_large);
}

TEST_CASE("a compressed stream is handed on as far as it came") {
    z_stream stream = {};
    REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, gzip_window, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    std::string out(256, '\0');
    std::string text = "data: one\n\n";
    stream.next_in = reinterpret_cast<Bytef*>(text.data());
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    REQUIRE(deflate(&stream, Z_SYNC_FLUSH) == Z_OK);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    CHECK(read_pieces("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + out, {}, false).body == text);
}

TEST_CASE("a callback that says no ends the reading at once") {
    HttpAnswerReader::Events events;
    int pieces = 0;
    events.data = [&pieces](std::string_view) {
        ++pieces;
        return false;
    };
    HttpAnswerReader reader({}, std::move(events));
    CHECK(reader.feed(chunked) == State::stopped);
    CHECK(reader.feed(chunked) == State::stopped);
    CHECK(pieces == 1);
    HttpAnswerReader::Events other;
    other.head = [](const HttpHead&) { return false; };
    HttpAnswerReader stopped({}, std::move(other));
    CHECK(stopped.feed(chunked) == State::stopped);
    CHECK_FALSE(stopped.is_reusable());
}

TEST_CASE("damaged answers never do harm, and read the same in whatever pieces") {
    const std::uint32_t seed = std::random_device{}();
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto below = [&random](std::size_t bound) { return static_cast<std::size_t>(random() % bound); };
    const std::vector<std::string> answers = complete_answers();
    for (int round = 0; round < 2'000; ++round) {
        std::string text = answers[below(answers.size())] + answers[below(answers.size())];
        for (std::size_t damage = below(4); damage > 0; --damage) {
            text[below(text.size())] = static_cast<char>(below(256));
        }
        text.resize(below(text.size() + 1));
        std::vector<std::size_t> cuts;
        for (std::size_t at = below(20); at < text.size(); at += 1 + below(20)) cuts.push_back(at);
        CAPTURE(text);
        const Read whole = read_pieces(text, {}, true);
        const Read pieces = read_pieces(text, cuts, true);
        // A head that comes in pieces is looked at when it is there, so a cut one is not always known for a bad one.
        if (pieces.state == State::closed_early) {
            CHECK((whole.state == State::closed_early || whole.state == State::malformed));
        } else {
            CHECK(pieces.state == whole.state);
        }
        CHECK(pieces.body == whole.body);
        CHECK(pieces.heads.size() == whole.heads.size());
        CHECK(pieces.is_reusable == whole.is_reusable);
    }
}

TEST_CASE("requests are read one after the other, in any pieces") {
    const std::string text =
        "POST /done?id=7 HTTP/1.1\r\nHost: x\r\nX-Key: v\r\nContent-Length: 3\r\n\r\nabc"
        "POST /again HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n";
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        HttpRequestReader reader(100);
        std::vector<ReceivedRequest> requests;
        for (const std::string_view piece :
             {std::string_view(text).substr(0, cut), std::string_view(text).substr(cut)}) {
            reader.feed(piece);
            while (reader.state() == HttpRequestReader::State::complete) {
                CHECK(reader.keeps_connection());
                requests.push_back(reader.take());
            }
        }
        REQUIRE(requests.size() == 2);
        CHECK(requests[0].method == "POST");
        CHECK(requests[0].target == "/done?id=7");
        CHECK(requests[0].body == "abc");
        REQUIRE(requests[0].find("x-key") != nullptr);
        CHECK(*requests[0].find("x-key") == "v");
        CHECK(requests[1].target == "/again");
        CHECK(requests[1].body == "de");
        CHECK_FALSE(reader.is_begun());
    }
}

TEST_CASE("requests have bounds") {
    using RequestState = HttpRequestReader::State;
    const auto state_of = [](const std::string& text) { return HttpRequestReader(10).feed(text); };
    CHECK(state_of("POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n") == RequestState::body_too_large);
    CHECK(state_of("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world") ==
          RequestState::body_too_large);
    CHECK(state_of("POST /" + std::string(70'000, 'x')) == RequestState::head_too_large);
    CHECK(state_of("POST / HTTP/1.1\r\nX: " + std::string(70'000, 'x')) == RequestState::head_too_large);
    CHECK(state_of("hello\r\n\r\n") == RequestState::malformed);
    CHECK(state_of("\x16\x03\x01\x02") == RequestState::malformed);
    CHECK(state_of("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n") == RequestState::malformed);
    CHECK(state_of("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n") ==
          RequestState::malformed);
}

TEST_CASE("texts are encoded as the standards have it") {
    CHECK(to_base64("").empty());
    CHECK(to_base64("f") == "Zg==");
    CHECK(to_base64("fo") == "Zm8=");
    CHECK(to_base64("foo") == "Zm9v");
    CHECK(to_base64("foobar") == "Zm9vYmFy");
    CHECK(to_base64("\xff\xfe\xfd") == "//79");
    CHECK(percent_encode("a b/\xc3\xa9~") == "a%20b%2F%C3%A9~");
    CHECK(percent_decode("a%20b%2f%C3%A9%zz%4") == "a b/\xc3\xa9%zz%4");
}

// Takes the compression off a body that comes in pieces. What comes out goes to a sink in small pieces,
// so a body that swells to a thousand times its size costs no more memory than one that does not; the
// sink says when it is enough. Not for two threads at once.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

namespace stele {

class Inflater {
public:
    enum class Coding { gzip, deflate };
    enum class State {
        more,      // the compressed text goes on
        complete,  // its end was read
        broken,    // this is no such text, or something follows its end
        stopped,   // the sink returned false
    };
    using Sink = std::function<bool(std::string_view)>;

    /// deflate: with zlib's wrapping, as the standard has it, or bare, as some servers send it. gzip: one
    /// member or several.
    explicit Inflater(Coding coding);
    ~Inflater();
    Inflater(const Inflater&) = delete;
    Inflater& operator=(const Inflater&) = delete;

    /// Hands on at once all that the bytes so far stand for. After broken or stopped nothing is read.
    State feed(std::string_view bytes, const Sink& sink);
    [[nodiscard]] State state() const;

private:
    struct Stream;
    std::unique_ptr<Stream> stream_;
};

}  // namespace stele

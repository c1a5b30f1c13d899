// Bytes of a provider's answer, in pieces of any size: read without harm, and the same as at once.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "knowledge_sources/chat_wire.hpp"

using namespace stele;

namespace {

ChatResult decode(const ModelSpec& model, const HttpHead& head, std::string_view bytes, std::size_t piece) {
    const std::unique_ptr<ChatDecoder> decoder = wire_of(model.api).decoder(model, 0);
    decoder->head(head);
    HttpEnd end;
    end.kind = HttpEndKind::complete;
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
        if (!decoder->data(bytes.substr(at, piece))) {
            end.kind = HttpEndKind::stopped;
            break;
        }
    }
    return decoder->finish(end);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 3) return 0;
    ModelSpec model;
    model.provider = "p";
    model.api = static_cast<ModelApi>(data[0] % 4);
    HttpHead head;
    head.status = data[1] % 8 == 0 ? 400 + data[1] : 200;
    constexpr const char* types[] = {"text/event-stream", "application/x-ndjson", "application/json", "text/html"};
    head.headers = {{"content-type", types[data[0] / 4 % 4]}};
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 3, size - 3);
    const ChatResult whole = decode(model, head, bytes, bytes.size() + 1);
    const ChatResult pieces = decode(model, head, bytes, 1 + data[2] % 16);
    if (whole.index() != pieces.index()) std::abort();
    if (const ChatResponse* response = std::get_if<ChatResponse>(&whole)) {
        const Value value = to_value(*response);
        if (to_value(std::get<ChatResponse>(pieces)) != value) std::abort();
        const std::optional<ChatResponse> again = chat_response_from(value);
        if (!again || to_value(*again) != value) std::abort();
    }
    return 0;
}

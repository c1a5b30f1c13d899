// Any text is a score or refused with a column; what is one has a finite value.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "scheduler/score.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace stele;
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto resolve = [](std::string_view reference) -> Result<VariableRef> {
        VariableRef found;
        found.path = {std::string(reference)};
        return found;
    };
    const Result<std::shared_ptr<const Score>> score = Score::parse(text, resolve);
    if (!score.ok()) return score.error().message.rfind("column ", 0) == 0 ? 0 : (std::abort(), 0);
    auto entry = std::make_shared<Entry>();
    entry->content = Value::object({{"$a", Value(3)}});
    if (!std::isfinite((*score)->value({entry}, {}))) std::abort();
    return 0;
}

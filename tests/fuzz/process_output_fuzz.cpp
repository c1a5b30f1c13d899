// Whatever bytes a program writes, reading them ends without a crash and holds its promises:
// writes or problems, never both; writes sealed; cites of lines only backwards; messages valid UTF-8.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "knowledge_sources/process_protocol.hpp"

using namespace stele;

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const SourceSpec source;
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const ParsedOutput output = parse_output(bytes, source);

    require(output.ok() || output.writes.empty());
    require(output.problems.size() <= output_problems_max);
    require(output.error().empty() == output.ok());
    require(output.cost.is_null() || output.cost.is_object());
    for (const Refusal& problem : output.problems) {
        require(problem.rule == RefusalRule::malformed);
        require(problem.line > 0);
        require(parse_json(to_json(Value(problem.message))).ok());
    }
    for (std::size_t i = 0; i < output.writes.size(); ++i) {
        const Write& write = output.writes[i];
        require(write.text == to_json(write.content));
        require(!write.region.empty());
        for (const Cite& cite : write.cites) {
            require(cite.line <= i);
            require((cite.line == 0) == !cite.entry.region.empty());
        }
    }
    return 0;
}

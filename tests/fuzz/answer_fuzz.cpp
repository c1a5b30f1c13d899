// Whatever a model says, reading it ends without a crash and holds its promises: writes or problems,
// never both; no write without a grant or outside its schema; no cite of what was not shown.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "knowledge_sources/answer.hpp"
#include "knowledge_sources/process_protocol.hpp"

using namespace stele;

namespace {

void require(bool holds) {
    if (!holds) std::abort();
}

ActivationRequest make_world() {
    auto crew = std::make_shared<CrewSpec>();
    FieldSpec text;
    text.name = "t";
    text.type = FieldType::string;
    FieldSpec number;
    number.name = "n";
    number.type = FieldType::number;
    number.optional = true;
    const std::pair<const char*, PolicyKind> regions[] = {{"a", PolicyKind::append_only},
                                                          {"c", PolicyKind::cas},
                                                          {"s", PolicyKind::set_union},
                                                          {"n", PolicyKind::counter}};
    for (const auto& [name, policy] : regions) {
        RegionSpec region;
        region.name = name;
        region.policy = policy;
        if (policy != PolicyKind::counter) region.schema = EntrySchema::from_fields({text, number});
        crew->regions.push_back(std::move(region));
    }
    SourceSpec source;
    source.name = "w";
    source.may.write = {{"a", {WriteOp::insert}},
                        {"c", {WriteOp::insert, WriteOp::replace, WriteOp::retract}},
                        {"s", {WriteOp::add, WriteOp::remove}},
                        {"n", {WriteOp::increment}}};
    crew->sources.push_back(std::move(source));
    ActivationRequest request;
    request.source = &crew->sources.front();
    request.crew = std::move(crew);
    return request;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const ActivationRequest request = make_world();
    static const std::vector<EntryId> shown = {{"a", 1}, {"c", 2}, {"s", 3}};
    const CheckedAnswer answer =
        check_answer(std::string_view(reinterpret_cast<const char*>(data), size), request, shown);

    require(answer.ok() || answer.writes.empty());
    require(answer.problems.size() <= output_problems_max);
    for (const Refusal& problem : answer.problems) require(!problem.message.empty());
    require(answer.ok() || parse_json(to_json(Value(repair_request(answer.problems)))).ok());
    for (std::size_t i = 0; i < answer.writes.size(); ++i) {
        const Write& write = answer.writes[i];
        require(write.text == to_json(write.content));
        if (write.region == scratch_name) continue;
        const RegionSpec* region = request.crew->region(write.region);
        require(region != nullptr);
        require(request.source->may.may_write(write.region, write.op));
        const bool carries = write.op == WriteOp::insert || write.op == WriteOp::add || write.op == WriteOp::replace;
        require(!carries || !region->schema.check(write.content));
        for (const Cite& cite : write.cites) {
            const bool is_shown = std::find(shown.begin(), shown.end(), cite.entry) != shown.end();
            require(cite.line == 0 ? is_shown : cite.line <= i);
        }
    }
    return 0;
}

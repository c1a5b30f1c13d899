#include "runtime/activation_request.hpp"

#include <algorithm>

#include "scheduler/fold.hpp"
#include "scheduler/source_view.hpp"

namespace stele {

Result<std::shared_ptr<ActivationRequest>> make_activation_request(const Scheduler& scheduler, const Board& board,
                                                                   const std::string& board_name,
                                                                   const FamilyKey& family, const Activation& live,
                                                                   TextRanker* ranker) {
    auto request = std::make_shared<ActivationRequest>();
    request->crew = scheduler.crew();
    request->source = &request->crew->sources[live.source];
    request->activation = live.id;
    request->attempt = live.attempt;
    request->version = live.snapshot;
    request->members = bindings_of(live.members);
    request->previous = live.previous;
    request->deadline_ms = request->source->limits.timeout_ms;
    request->idempotency_key = board_name + ":" + std::to_string(live.id.number) + "/" + std::to_string(live.attempt);
    constexpr std::size_t fence_digits = 12;
    request->fence = "board-" + to_hex(keyed_digest(family, "fence")).substr(0, fence_digits);
    Result<std::vector<ViewRegion>> view =
        look(*request->source, first_bindings(live.members), board.view(live.snapshot), ranker);
    if (!view.ok()) return view.error();
    request->view = std::move(*view);
    return request;
}

std::vector<Binding> bindings_of(const std::vector<MatchPtr>& members) {
    std::vector<Binding> bindings;
    for (const MatchPtr& member : members) bindings.push_back({member->entries});
    return bindings;
}

bool ranks_by_text(const SourceSpec& source) {
    return std::any_of(source.view.begin(), source.view.end(),
                       [](const ViewPart& part) { return part.is_ranked_by_text(); });
}

}  // namespace stele

#include "runtime/dry_run.hpp"

#include <optional>

#include "board/limits.hpp"
#include "board/log/buffered_store.hpp"
#include "board/log/memory_store.hpp"
#include "board/log/write_log.hpp"
#include "knowledge_sources/prompt.hpp"
#include "knowledge_sources/relevance.hpp"
#include "knowledge_sources/rule_source.hpp"
#include "runtime/activation_request.hpp"
#include "scheduler/fold.hpp"

namespace stele {
namespace {

/// Rules that wake each other for ever must not keep a dry run going.
constexpr std::size_t records_max = 10'000;

class DryWorld {
public:
    DryWorld(std::shared_ptr<const CrewSpec> crew, TimeMs now) : crew_(std::move(crew)), now_(now) {}

    Result<DryReport> run() {
        Result<std::unique_ptr<Board>> board = Board::open(*store_, {1}, family_);
        if (!board.ok()) return board.error();
        board_ = std::move(*board);
        log_ = make_store_log(*store_, {1});
        fold_ = std::make_unique<Fold>(
            *board_,
            [crew = crew_](const std::string&, const std::string&,
                           const std::string&) -> Result<std::shared_ptr<const CrewSpec>> { return crew; });
        Record fence;
        fence.kind = RecordKind::fence;
        fence.author = "system";
        Record started;
        started.kind = RecordKind::run_started;
        started.author = "person";
        started.parts = {crew_->text};
        for (Record* record : {&fence, &started}) {
            const Status folded = fold_all_from(std::move(*record));
            if (!folded.ok()) return folded.error();
        }
        if (fold_->scheduler().stopping() == StopReason::error) {
            return Error{ErrorCode::invalid_argument, fold_->scheduler().stop_detail()};
        }
        return std::move(report_);
    }

private:
    // The record, and everything that follows from it without anything from outside.
    Status fold_all_from(Record record) {
        std::optional<Record> next = std::move(record);
        for (std::size_t folded = 0; next && folded < records_max; ++folded) {
            next->epoch = fold_->scheduler().epoch();
            next->time = now_;
            StoreBatch batch;
            std::string frame;
            Result<Folded> taken = fold_->take(std::move(*next), Salt{}, batch, frame);
            next.reset();
            if (!taken.ok()) return taken.error();
            const LogFrame frames[] = {{taken->logged->position, std::move(frame)}};
            Status done = log_->append(frames, std::move(batch));
            if (done.ok()) done = fold_->step(*taken);
            for (const ActivationId id : taken->effects.starts) {
                if (done.ok()) done = note_start(id);
            }
            if (!done.ok()) return done;
            // Where it would end, it has not begun.
            if (fold_->scheduler().stopping()) return Done{};
            if (taken->effects.append) {
                next = std::move(taken->effects.append);
            } else if (taken->effects.fire) {
                RuleFiring& fire = *taken->effects.fire;
                Result<std::vector<Write>> writes = apply_rule(crew_->sources[fire.source], bindings_of(fire.members));
                if (writes.ok()) {
                    fire.commit.writes = std::move(*writes);
                } else {
                    fire.commit.reason = writes.error().message;
                }
                ++report_.rules_fired;
                next = std::move(fire.commit);
            }
        }
        return Done{};
    }

    Status note_start(ActivationId id) {
        const Activation& live = *fold_->scheduler().activation(id);
        const SourceSpec& source = crew_->sources[live.source];
        DryStart start;
        start.source = source.name;
        start.kind = source.kind;
        for (const MatchPtr& member : live.members) {
            for (const BoundEntry& bound : member->bound) start.bound.push_back(to_text(bound.id));
        }
        if (source.kind == SourceKind::llm) {
            if (ranks_by_text(source)) {
                if (!relevance_) relevance_ = make_relevance_index();
                const Status declared = relevance_->declare(*crew_, board_->view(board_->meta().version));
                if (!declared.ok()) return declared;
            }
            const Result<std::shared_ptr<ActivationRequest>> request =
                make_activation_request(fold_->scheduler(), *board_, crew_->name, family_, live, relevance_.get());
            if (!request.ok()) return request.error();
            const ModelSpec& model = crew_->models[source.llm.models.front()];
            const bool has_tools = !source.llm.tools.empty();
            RenderedPrompt prompt = render_prompt(**request, prompt_options(**request, model, estimate_, 0, has_tools));
            std::vector<ChatTool> tools;
            for (const ToolRef& ref : source.llm.tools) {
                if (!ref.tool) continue;
                const ToolSpec& tool = crew_->tools[*ref.tool];
                tools.push_back({tool.name, tool.description, tool.parameters});
            }
            start.left_out = std::move(prompt.left_out);
            start.call =
                plan_model_call(model, std::move(prompt.messages), std::move(tools), prompt.answer_schema, estimate_);
            report_.most = add(report_.most, start.call.reserve);
        }
        report_.starts.push_back(std::move(start));
        return Done{};
    }

    std::shared_ptr<const CrewSpec> crew_;
    TimeMs now_;
    FamilyKey family_{};
    std::unique_ptr<StateStore> store_ = make_memory_store();
    std::unique_ptr<Board> board_;
    std::unique_ptr<WriteLog> log_;
    std::unique_ptr<Fold> fold_;
    std::unique_ptr<RelevanceIndex> relevance_;
    TokenEstimate estimate_;
    DryReport report_;
};

}  // namespace

Result<DryReport> dry_run(const std::shared_ptr<const CrewSpec>& crew, TimeMs now) { return DryWorld(crew, now).run(); }

}  // namespace stele

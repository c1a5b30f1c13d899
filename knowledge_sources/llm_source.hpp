// `kind: llm`: asks a model what to write. One attempt is a bounded conversation: the prompt, calls of
// tools and their answers, the answer, and at most one repair turn with the exact problems. Every call
// to a model or a tool is asked for and told first (AttemptEvents::call), so budgets hold and nothing
// is paid for twice. Loop thread only.
#pragma once

#include <functional>
#include <memory>

#include "knowledge_sources/chat_client.hpp"
#include "knowledge_sources/knowledge_source.hpp"
#include "knowledge_sources/prompt.hpp"
#include "knowledge_sources/secrets.hpp"
#include "knowledge_sources/tools.hpp"

namespace boost::asio {
class io_context;
}

namespace stele {

/// What all llm sources of a process share; outlives them.
struct LlmServices {
    ChatClient* chat = nullptr;
    ToolBox* tools = nullptr;
    TokenEstimate* estimate = nullptr;
    /// The secrets of a crew.
    std::function<Secrets&(const CrewSpec&)> secrets;
};

std::unique_ptr<KnowledgeSource> make_llm_source(boost::asio::io_context& loop, LlmServices services);

/// One request to a model as an attempt would make it, with what it reserves.
struct ModelCall {
    const ModelSpec* model = nullptr;
    ChatRequest request;
    std::size_t prompt_bytes = 0;     // of the request's body
    std::uint64_t prompt_tokens = 0;  // at most, by the estimate
    Amounts reserve;
};
/// `conversation` begins with the rendered prompt.
ModelCall plan_model_call(const ModelSpec& model, std::vector<ChatMessage> conversation, std::vector<ChatTool> tools,
                          const Value& answer_schema, const TokenEstimate& estimate);

/// How a source's prompt is to be rendered for a model. `view_tokens` 0: as declared, or what the model's
/// context leaves.
PromptOptions prompt_options(const ActivationRequest& request, const ModelSpec& model, const TokenEstimate& estimate,
                             std::uint64_t view_tokens, bool has_tools);

}  // namespace stele

// The kinds of sources that this program runs, and what they share: HTTP connections, models' rate
// limits, MCP servers, secrets. One for each process; loop thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "knowledge_sources/knowledge_source.hpp"

namespace boost::asio {
class io_context;
}

namespace stele {

struct SourceRegistry {
    /// What the kinds stand on; goes after them.
    std::shared_ptr<void> shared;
    /// A new kind is one line where it is filled (source_registry.cpp).
    std::map<SourceKind, std::unique_ptr<KnowledgeSource>> kinds;
    /// The text without the secrets that sources of this crew were given. Unset: nothing is secret.
    std::function<std::string(const CrewSpec& crew, std::string text)> redact;
    /// Ends what outlives an attempt (MCP servers); `done` is posted. Unset: there is nothing.
    std::function<void(std::function<void()> done)> close;
};

std::unique_ptr<SourceRegistry> make_source_registry(boost::asio::io_context& loop);

}  // namespace stele

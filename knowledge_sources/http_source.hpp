// `kind: http`: an activation is posted to a service, which answers at once (200) or says that it will
// (202) and calls back, signed. The body is the process protocol's request, the answer its lines. Loop
// thread only. docs/source_protocol.md is the same for people.
#pragma once

#include <functional>
#include <memory>

#include "knowledge_sources/http_client.hpp"
#include "knowledge_sources/knowledge_source.hpp"
#include "knowledge_sources/secrets.hpp"

namespace boost::asio {
class io_context;
}

namespace stele {

/// `http` outlives the source. Callbacks are taken in at the crew's `callbacks:` address, from the first
/// attempt that may need one until the source goes.
std::unique_ptr<KnowledgeSource> make_http_source(boost::asio::io_context& loop, HttpClient& http,
                                                  std::function<Secrets&(const CrewSpec&)> secrets);

}  // namespace stele

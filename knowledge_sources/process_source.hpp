// `kind: process`: a program of any language, spoken to over its standard streams and never trusted.
// Every attempt is a process group of its own that does not outlive the attempt.
//
// Loop thread only; the thread that runs the loop must live as long as the attempts, because the
// kernel kills their programs when it ends. No other thread is made. SIGPIPE is ignored in this
// process from the first make_process_source() on, unless a handler is installed already.
#pragma once

#include <memory>

#include "knowledge_sources/knowledge_source.hpp"

namespace boost::asio {
class io_context;
}

namespace stele {

/// `finished` is always posted to `loop`, never called by start() or cancel(). Destroying an Attempt
/// in flight kills its process group at once, and nothing is called any more.
std::unique_ptr<KnowledgeSource> make_process_source(boost::asio::io_context& loop);

/// Ends what a dead owner left running: the process group, if it is still the one that `identity`
/// describes. Blocks for at most two seconds. True when the group is known to be over.
bool end_leftover_process(const ProcessIdentity& identity);

}  // namespace stele

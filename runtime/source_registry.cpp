#include <boost/asio/io_context.hpp>

#include "knowledge_sources/process_source.hpp"
#include "runtime/board_engine.hpp"

namespace stele {

std::unique_ptr<SourceRegistry> make_source_registry(boost::asio::io_context& loop) {
    auto registry = std::make_unique<SourceRegistry>();
    registry->emplace(SourceKind::process, make_process_source(loop));
    return registry;
}

}  // namespace stele

#include "knowledge_sources/knowledge_source.hpp"

namespace stele {

const char* to_text(OutcomeKind kind) {
    switch (kind) {
        case OutcomeKind::ok:
            return "ok";
        case OutcomeKind::failed:
            return "failed";
        case OutcomeKind::timeout:
            return "timeout";
        case OutcomeKind::flooded:
            return "flooded";
        case OutcomeKind::malformed:
            return "malformed";
        case OutcomeKind::cancelled:
            return "cancelled";
        case OutcomeKind::not_started:
            return "not_started";
        case OutcomeKind::budget:
            return "budget";
        case OutcomeKind::blocked:
            return "blocked";
    }
    return "unknown";
}

}  // namespace stele

#include "board/record.hpp"

namespace stele {

const char* to_text(RecordKind kind) {
    switch (kind) {
        case RecordKind::run_started:
            return "run_started";
        case RecordKind::reconfigured:
            return "reconfigured";
        case RecordKind::fence:
            return "fence";
        case RecordKind::claimed:
            return "claimed";
        case RecordKind::started:
            return "started";
        case RecordKind::result:
            return "result";
        case RecordKind::commit:
            return "commit";
        case RecordKind::abandoned:
            return "abandoned";
        case RecordKind::dead:
            return "dead";
        case RecordKind::timer:
            return "timer";
        case RecordKind::signal:
            return "signal";
        case RecordKind::run_stopped:
            return "run_stopped";
        case RecordKind::called:
            return "called";
        case RecordKind::returned:
            return "returned";
        case RecordKind::forked:
            return "forked";
        case RecordKind::purged:
            return "purged";
    }
    return "?";
}

const char* to_text(CallTarget target) {
    switch (target) {
        case CallTarget::model:
            return "model";
        case CallTarget::tool:
            return "tool";
        case CallTarget::service:
            return "service";
    }
    return "?";
}

}  // namespace stele

#include "board/region_spec.hpp"
#include "board/write.hpp"

#include <array>

namespace stele {

const char* to_text(WriteOp op) {
    switch (op) {
        case WriteOp::insert:
            return "insert";
        case WriteOp::add:
            return "add";
        case WriteOp::remove:
            return "remove";
        case WriteOp::put:
            return "put";
        case WriteOp::replace:
            return "replace";
        case WriteOp::retract:
            return "retract";
        case WriteOp::increment:
            return "increment";
    }
    return "unknown";
}

std::optional<WriteOp> write_op_from(std::string_view text) {
    constexpr std::array all = {WriteOp::insert,  WriteOp::add,     WriteOp::remove,   WriteOp::put,
                                WriteOp::replace, WriteOp::retract, WriteOp::increment};
    for (const WriteOp op : all) {
        if (text == to_text(op)) return op;
    }
    return std::nullopt;
}

const char* to_text(RefusalRule rule) {
    switch (rule) {
        case RefusalRule::grant:
            return "grant";
        case RefusalRule::schema:
            return "schema";
        case RefusalRule::cite:
            return "cite";
        case RefusalRule::unknown:
            return "unknown";
        case RefusalRule::conflict:
            return "conflict";
        case RefusalRule::owner:
            return "owner";
        case RefusalRule::overflow:
            return "overflow";
        case RefusalRule::limit:
            return "limit";
        case RefusalRule::epoch:
            return "epoch";
        case RefusalRule::match_closed:
            return "match_closed";
        case RefusalRule::attempt:
            return "attempt";
        case RefusalRule::stale:
            return "stale";
        case RefusalRule::duplicate:
            return "duplicate";
        case RefusalRule::budget:
            return "budget";
        case RefusalRule::stopped:
            return "stopped";
        case RefusalRule::malformed:
            return "malformed";
        case RefusalRule::phantom:
            return "phantom";
    }
    return "unknown";
}

const char* to_text(PolicyKind policy) {
    switch (policy) {
        case PolicyKind::append_only:
            return "append_only";
        case PolicyKind::set_union:
            return "set_union";
        case PolicyKind::single_writer:
            return "single_writer";
        case PolicyKind::cas:
            return "cas";
        case PolicyKind::last_writer_wins:
            return "last_writer_wins";
        case PolicyKind::counter:
            return "counter";
    }
    return "unknown";
}

}  // namespace stele

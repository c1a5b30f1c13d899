#include "scheduler/condition.hpp"

#include <algorithm>

#include "scheduler/checkpoint.hpp"

namespace stele {
namespace {

bool tells_time(const Term& term) {
    switch (term.kind) {
        case TermKind::start:
        case TermKind::quiet:
        case TermKind::after:
        case TermKind::every:
            return true;
        default:
            return std::any_of(term.alternatives.begin(), term.alternatives.end(), [](const auto& alternative) {
                return std::any_of(alternative.begin(), alternative.end(), tells_time);
            });
    }
}

}  // namespace

template <class Archive, TransferOf<VariableRef> T>
void transfer(Archive& archive, T& reference) {
    archive(reference.variable, reference.attribute, reference.path);
}

// The pattern is what the literal says.
template <class Archive, TransferOf<Comparison> T>
void transfer(Archive& archive, T& comparison) {
    archive(comparison.attribute, comparison.path, comparison.op, comparison.operand.literal,
            comparison.operand.reference);
}

template <class Archive, TransferOf<Term> T>
void transfer(Archive& archive, T& term) {
    archive(term.kind, term.region, term.variable, term.where, term.field, term.is, term.duration_ms,
            term.again_on_change, term.alternatives);
}

Hash128 Condition::fingerprint() const {
    CheckpointWriter out;
    out(terms, variables);
    return fixed_digest(out.take());
}

bool Condition::hides_time() const {
    return std::any_of(terms.begin(), terms.end(),
                       [](const Term& term) { return !term.alternatives.empty() && tells_time(term); });
}

}  // namespace stele

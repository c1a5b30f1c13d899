#include "scheduler/condition.hpp"

#include <algorithm>

#include "scheduler/checkpoint.hpp"

namespace stele {
namespace {

template <class Is>
bool contains(const Term& term, const Is& is) {
    return is(term.kind) ||
           std::any_of(term.alternatives.begin(), term.alternatives.end(), [&](const std::vector<Term>& alternative) {
               return std::any_of(alternative.begin(), alternative.end(),
                                  [&](const Term& inner) { return contains(inner, is); });
           });
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

bool depends_on_time(const Term& term) { return contains(term, is_timer); }

Hash128 Condition::fingerprint() const {
    CheckpointWriter out;
    out(terms, variables);
    return fixed_digest(out.take());
}

bool Condition::hides_time() const {
    const auto tells_time = [](TermKind kind) { return is_timer(kind) || kind == TermKind::start; };
    return std::any_of(terms.begin(), terms.end(),
                       [&](const Term& term) { return !term.alternatives.empty() && contains(term, tells_time); });
}

}  // namespace stele

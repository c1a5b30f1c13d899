// The headers of CLIPS are C of 2014: this file alone is compiled so that they pass.
#include "tests/clips/clips_engine.hpp"

extern "C" {
#include <clips/clips.h>
}

#include <stdexcept>

namespace stele {
namespace {

// CLIPS takes text that it does not change by plain pointers.
char* text_of(const std::string& text) { return const_cast<char*>(text.c_str()); }

[[noreturn]] void refuse(const std::string& what) { throw std::runtime_error("CLIPS does not take " + what); }

}  // namespace

ClipsEngine::ClipsEngine() : environment_(CreateEnvironment()) {}
ClipsEngine::~ClipsEngine() { DestroyEnvironment(environment_); }

void ClipsEngine::build(const std::string& construct) {
    if (!EnvBuild(environment_, text_of(construct))) refuse(construct);
}

void ClipsEngine::load(const std::string& path) {
    if (EnvLoad(environment_, text_of(path)) != 1) refuse(path);
}

void ClipsEngine::load_facts(const std::string& path) {
    if (!EnvLoadFacts(environment_, text_of(path))) refuse(path);
}

void ClipsEngine::evaluate(const std::string& expression) {
    DATA_OBJECT result;
    if (!EnvEval(environment_, text_of(expression), &result)) refuse(expression);
}

void ClipsEngine::reset() { EnvReset(environment_); }

ClipsEngine::Handle ClipsEngine::deftemplate(const std::string& name) const {
    Handle found = EnvFindDeftemplate(environment_, text_of(name));
    if (found == nullptr) refuse("a template " + name);
    return found;
}

ClipsEngine::Handle ClipsEngine::assert_fact(Handle deftemplate, const Slots& slots) {
    Handle fact = EnvCreateFact(environment_, deftemplate);
    for (const auto& [name, value] : slots) {
        DATA_OBJECT data;
        if (const auto* integer = std::get_if<std::int64_t>(&value)) {
            data.type = INTEGER;
            data.value = EnvAddLong(environment_, *integer);
        } else if (const auto* number = std::get_if<double>(&value)) {
            data.type = FLOAT;
            data.value = EnvAddDouble(environment_, *number);
        } else {
            data.type = SYMBOL;
            data.value = EnvAddSymbol(environment_, text_of(std::get<std::string>(value)));
        }
        if (!EnvPutFactSlot(environment_, fact, text_of(name), &data)) refuse("the slot " + name);
    }
    EnvAssignFactSlotDefaults(environment_, fact);
    fact = EnvAssert(environment_, fact);
    if (fact == nullptr) refuse("a fact");
    return fact;
}

ClipsEngine::Handle ClipsEngine::assert_text(const std::string& fact) {
    Handle made = EnvAssertString(environment_, text_of(fact));
    if (made == nullptr) refuse(fact);
    return made;
}

void ClipsEngine::retract(Handle fact) {
    if (!EnvRetract(environment_, fact)) refuse("a retraction");
}

std::vector<ClipsEngine::Activation> ClipsEngine::agenda() const {
    std::vector<Activation> agenda;
    for (void* at = EnvGetNextActivation(environment_, nullptr); at != nullptr;
         at = EnvGetNextActivation(environment_, at)) {
        Activation activation;
        activation.rule = EnvGetActivationName(environment_, at);
        const partialMatch* basis = EnvGetActivationBasis(environment_, at);
        for (unsigned short i = 0; i < basis->bcount; ++i) {
            const alphaMatch* match = basis->binds[i].gm.theMatch;
            if (match != nullptr && match->matchingItem != nullptr) activation.facts.push_back(match->matchingItem);
        }
        agenda.push_back(std::move(activation));
    }
    return agenda;
}

std::int64_t ClipsEngine::run(std::int64_t most) { return EnvRun(environment_, most); }

std::size_t ClipsEngine::fact_count() const {
    std::size_t count = 0;
    for (void* at = EnvGetNextFact(environment_, nullptr); at != nullptr; at = EnvGetNextFact(environment_, at)) {
        ++count;
    }
    return count;
}

}  // namespace stele

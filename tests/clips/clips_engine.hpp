// CLIPS 6.30 in this process: a rule engine of another school, to be compared and timed with. Only where
// libclips-dev is installed (STELE_HAS_CLIPS). Errors of CLIPS are printed by it and thrown here. One thread.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace stele {

class ClipsEngine {
public:
    /// A fact, or a deftemplate. CLIPS owns it; a fact's is good until the fact is retracted.
    using Handle = void*;
    /// Text is a symbol.
    using SlotValue = std::variant<std::int64_t, double, std::string>;
    using Slots = std::vector<std::pair<std::string, SlotValue>>;

    struct Activation {
        std::string rule;
        /// In the order of the patterns. One that is negated, or asks for existence, has none.
        std::vector<Handle> facts;
    };

    ClipsEngine();
    ~ClipsEngine();
    ClipsEngine(const ClipsEngine&) = delete;
    ClipsEngine& operator=(const ClipsEngine&) = delete;

    /// A construct: `(defrule ...)`, `(deftemplate ...)`.
    void build(const std::string& construct);
    /// A file of constructs.
    void load(const std::string& path);
    /// A file of facts, or constructs in text, one after the other.
    void load_facts(const std::string& path);
    /// An expression, for what has no call of its own: `(set-strategy depth)`.
    void evaluate(const std::string& expression);
    /// No facts but those that CLIPS and `deffacts` give.
    void reset();

    [[nodiscard]] Handle deftemplate(const std::string& name) const;
    Handle assert_fact(Handle deftemplate, const Slots& slots);
    /// From text as one would type it: `(guest (name n1))`.
    Handle assert_text(const std::string& fact);
    void retract(Handle fact);

    /// What is about to fire, first things first.
    [[nodiscard]] std::vector<Activation> agenda() const;
    /// Fires at most so many rules, without a bound if negative; answers how many.
    std::int64_t run(std::int64_t most);
    [[nodiscard]] std::size_t fact_count() const;

private:
    void* environment_;
};

}  // namespace stele

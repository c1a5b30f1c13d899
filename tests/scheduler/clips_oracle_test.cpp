// The incremental matcher against a rule engine of another school. Random conditions are told to CLIPS 6.30
// as rules, every commit as asserts and retracts; after each, what CLIPS would fire is what we hold open.
// Rules fire in CLIPS one by one, and the same match is taken up here, so refraction is compared as well.
// What CLIPS has no words for (sums, averages, time, `again`) is left to the other oracle.
//
// STELE_MATCHER_SEED is the first seed, STELE_CLIPS_PROGRAMS how many programs there are.
#include <doctest/doctest.h>

#ifdef STELE_HAS_CLIPS

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "scheduler/matcher.hpp"
#include "tests/clips/clips_engine.hpp"
#include "tests/scheduler/match_worlds.hpp"

using namespace stele;
using namespace stele::match_worlds;

namespace {

using Bound = std::vector<BoundEntry>;
/// A rule and what it is bound to.
using Open = std::pair<std::uint32_t, Bound>;

// ---- conditions that both can say ----------------------------------------------------------------

// `k` and `t` hold things to be equal, `n` numbers, `r` the id of an entry; each may be missing.
const std::vector<std::string> slots = {"k", "t", "n", "r"};

Value random_thing(Dice& dice) {
    return roll(dice, 3) == 0 ? Value(roll(dice, 2) == 0 ? "x" : "y") : Value(static_cast<std::int64_t>(roll(dice, 4)));
}
Value random_number(Dice& dice) { return Value::number(static_cast<double>(roll(dice, 16)) / 2 - 2); }

Value random_content_for_both(Dice& dice) {
    Value content = Value::object({});
    if (roll(dice, 6) != 0) content.set("k", random_thing(dice));
    if (roll(dice, 6) != 0) content.set("t", random_thing(dice));
    if (roll(dice, 5) != 0) content.set("n", random_number(dice));
    if (roll(dice, 2) == 0) {
        content.set("r", Value(to_text(EntryId{region_names[roll(dice, 3)], 1 + roll(dice, 5)})));
    }
    return content;
}

VariableRef reference_to(std::uint32_t variable, Attribute attribute, const std::string& slot) {
    VariableRef reference;
    reference.variable = variable;
    reference.attribute = attribute;
    if (attribute == Attribute::content) reference.path = {slot};
    return reference;
}

Comparison equality(Dice& dice, std::uint32_t variables) {
    Comparison comparison;
    comparison.op = roll(dice, 5) == 0 ? CompareOp::ne : CompareOp::eq;
    comparison.path = {slots[roll(dice, 2)]};
    if (variables > 0 && roll(dice, 5) < 3) {
        const std::uint32_t variable = roll(dice, variables);
        switch (roll(dice, 6)) {
            case 0:  // an entry that names another
                comparison.path = {"r"};
                comparison.operand.reference = reference_to(variable, Attribute::id, "");
                return comparison;
            case 1:
                comparison.attribute = Attribute::id;
                comparison.path.clear();
                comparison.operand.reference = reference_to(variable, Attribute::content, "r");
                return comparison;
            default:
                comparison.operand.reference = reference_to(variable, Attribute::content, slots[roll(dice, 2)]);
                return comparison;
        }
    }
    if (roll(dice, 4) == 0) {
        comparison.op = CompareOp::in;
        comparison.operand.literal = Value(Value::Array{random_thing(dice), random_thing(dice)});
    } else if (roll(dice, 6) == 0) {
        comparison.op = CompareOp::exists;
        comparison.operand.literal = Value(roll(dice, 3) != 0);
    } else {
        comparison.operand.literal = roll(dice, 8) == 0 ? Value() : random_thing(dice);
    }
    return comparison;
}

Comparison order(Dice& dice, std::uint32_t variables) {
    static constexpr CompareOp ops[] = {CompareOp::lt, CompareOp::lte, CompareOp::gt, CompareOp::gte};
    Comparison comparison;
    comparison.op = ops[roll(dice, 4)];
    comparison.path = {"n"};
    comparison.operand.literal = random_number(dice);
    if (roll(dice, 6) == 0) {
        comparison.attribute = Attribute::version;
        comparison.path.clear();
        comparison.operand.literal = Value(static_cast<std::int64_t>(1 + roll(dice, 3)));
        if (variables > 0 && roll(dice, 2) == 0) {
            comparison.operand.reference = reference_to(roll(dice, variables), Attribute::version, "");
        }
    } else if (variables > 0 && roll(dice, 3) == 0) {
        comparison.operand.reference = reference_to(roll(dice, variables), Attribute::content, "n");
    }
    return comparison;
}

Filter filter_for_both(Dice& dice, std::uint32_t variables) {
    Filter filter;
    for (std::uint32_t i = roll(dice, 4); i > 0; --i) {
        filter.push_back(roll(dice, 3) == 0 ? order(dice, variables) : equality(dice, variables));
    }
    return filter;
}

Term test_for_both(Dice& dice, std::uint32_t variables) {
    Term term;
    term.region = region_names[roll(dice, 3)];
    term.where = filter_for_both(dice, variables);
    term.kind = roll(dice, 3) == 0 ? TermKind::exists : TermKind::none;
    Comparison is;
    switch (roll(dice, 6)) {
        case 0: {
            const bool any = term.kind == TermKind::exists;
            term.kind = TermKind::count;
            is.op = any ? CompareOp::gte : CompareOp::eq;
            is.operand.literal = Value(any ? 1 : 0);
            term.is = {is};
            return term;
        }
        case 1:
            term.kind = roll(dice, 2) == 0 ? TermKind::min : TermKind::max;
            term.field = {"n"};
            is.op = roll(dice, 2) == 0 ? CompareOp::lt : CompareOp::gte;
            is.operand.literal = random_number(dice);
            term.is = {is};
            return term;
        case 2: {
            Term negation;
            negation.kind = TermKind::negation;
            negation.alternatives.push_back({term});
            return negation;
        }
        default:
            return term;
    }
}

Condition condition_for_both(Dice& dice) {
    Condition condition;
    for (std::uint32_t i = 1 + roll(dice, 4); i > 0; --i) {
        const auto variables = static_cast<std::uint32_t>(condition.variables.size());
        if (variables == 3 || roll(dice, 5) >= 3) {
            condition.terms.push_back(test_for_both(dice, variables));
            continue;
        }
        Term term;
        term.kind = roll(dice, 6) == 0 ? TermKind::changed : TermKind::each;
        term.region = region_names[roll(dice, 3)];
        term.variable = variables;
        term.where = filter_for_both(dice, variables);
        condition.variables.push_back("v" + std::to_string(variables));
        condition.terms.push_back(std::move(term));
    }
    return condition;
}

// ---- told to CLIPS -------------------------------------------------------------------------------

std::string slot_of(Attribute attribute, const std::vector<std::string>& path) {
    if (attribute == Attribute::id) return "id";
    if (attribute == Attribute::version) return "version";
    return path.front();
}

// What is missing is `nil`, so that it equals what else is missing, as null does here.
std::string literal(const Value& value) {
    if (value.is_null()) return "nil";
    return value.is_string() ? value.as_string() : to_json(value);
}

// CLIPS 6.30 forgets the predicates of a slot that has a constant as well: `?x&:(eq ?x 2)&y` finds y. So a
// slot with several tests has predicates only.
std::string constraint(const Comparison& comparison, const std::string& variable, bool is_only) {
    std::string wanted = literal(comparison.operand.literal);
    if (comparison.operand.reference) {
        const VariableRef& reference = *comparison.operand.reference;
        wanted = "?v" + std::to_string(reference.variable) + slot_of(reference.attribute, reference.path);
    }
    const auto compared = [&](const std::string& how) {
        return "&:(and (numberp " + variable + ") (numberp " + wanted + ") (" + how + " " + variable + " " + wanted +
               "))";
    };
    switch (comparison.op) {
        case CompareOp::eq:
            return is_only ? "&" + wanted : "&:(eq " + variable + " " + wanted + ")";
        case CompareOp::ne:
            return is_only ? "&~" + wanted : "&:(neq " + variable + " " + wanted + ")";
        case CompareOp::exists:
            return comparison.operand.literal.as_bool() ? "&:(neq " + variable + " nil)"
                                                        : "&:(eq " + variable + " nil)";
        case CompareOp::lt:
            return compared("<");
        case CompareOp::lte:
            return compared("<=");
        case CompareOp::gt:
            return compared(">");
        case CompareOp::gte:
            return compared(">=");
        case CompareOp::in: {
            std::string alternatives;
            for (const Value& one : comparison.operand.literal.as_array()) {
                alternatives += " (eq " + variable + " " + literal(one) + ")";
            }
            return "&:(or" + alternatives + ")";
        }
        default:
            FAIL("CLIPS is not told this comparison");
            return "";
    }
}

// `more` are constraints on `n`, for the aggregates.
std::string pattern(const Term& term, const std::string& prefix, const std::string& more = "") {
    std::string text = "(" + term.region;
    for (const std::string slot : {"id", "version", "k", "t", "n", "r"}) {
        const std::string variable = "?" + prefix + slot;
        text += " (" + slot + " " + variable;
        std::vector<const Comparison*> tests;
        for (const Comparison& comparison : term.where) {
            if (slot_of(comparison.attribute, comparison.path) == slot) tests.push_back(&comparison);
        }
        const bool has_more = (slot == "version" && term.kind == TermKind::changed) || (slot == "n" && !more.empty());
        for (const Comparison* test : tests) text += constraint(*test, variable, tests.size() == 1 && !has_more);
        if (slot == "version" && term.kind == TermKind::changed) text += "&:(> " + variable + " 1)";
        if (slot == "n") text += more;
        text += ")";
    }
    return text + ")";
}

std::string test_element(const Term& term, const std::string& prefix) {
    const auto number_with = [&](const std::string& test) {
        const std::string variable = "?" + prefix + "n";
        std::string more = "&:(numberp " + variable + ")";
        if (!test.empty()) {
            more = "&:(and (numberp " + variable + ") (" + test + " " + variable + " ";
            more += literal(term.is.front().operand.literal) + "))";
        }
        return pattern(term, prefix, more);
    };
    switch (term.kind) {
        case TermKind::none:
            return "(not " + pattern(term, prefix) + ")";
        case TermKind::exists:
            return "(exists " + pattern(term, prefix) + ")";
        case TermKind::count:
            return (term.is.front().op == CompareOp::eq ? "(not " : "(exists ") + pattern(term, prefix) + ")";
        case TermKind::min:
            if (term.is.front().op == CompareOp::lt) return "(exists " + number_with("<") + ")";
            return "(exists " + number_with("") + ") (not " + number_with("<") + ")";
        case TermKind::max:
            if (term.is.front().op == CompareOp::gte) return "(exists " + number_with(">=") + ")";
            return "(exists " + number_with("") + ") (not " + number_with(">=") + ")";
        case TermKind::negation: {
            Term inner = term.alternatives.front().front();
            inner.kind = inner.kind == TermKind::none ? TermKind::exists : TermKind::none;
            return test_element(inner, prefix);
        }
        default:
            FAIL("CLIPS is not told this term");
            return "";
    }
}

std::string rule(const std::string& name, const Condition& condition) {
    std::string text = "(defrule " + name;
    std::size_t tests = 0;
    for (const Term& term : condition.terms) {
        text += "\n    ";
        text += term.binds() ? pattern(term, "v" + std::to_string(*term.variable))
                             : test_element(term, "t" + std::to_string(tests++));
    }
    return text + "\n    =>)";
}

ClipsEngine::Slots slots_of(const Entry& entry) {
    ClipsEngine::Slots told = {{"id", to_text(entry.id)}, {"version", std::int64_t{entry.version}}};
    for (const std::string& slot : slots) {
        const Value* value = entry.content.find(slot);
        if (value == nullptr) continue;
        if (value->is_int()) {
            told.emplace_back(slot, value->as_int());
        } else if (value->is_double()) {
            told.emplace_back(slot, value->as_double());
        } else {
            told.emplace_back(slot, value->as_string());
        }
    }
    return told;
}

// ---- both led through one program ----------------------------------------------------------------

class ClipsComparison {
public:
    explicit ClipsComparison(std::uint32_t seed) : dice_(seed) {
        for (const std::string& region : region_names) {
            clips_.build("(deftemplate " + region + " (slot id) (slot version) (slot k) (slot t) (slot n) (slot r))");
        }
        static constexpr const char* strategies[] = {"depth", "breadth", "random"};
        clips_.evaluate(std::string("(set-strategy ") + strategies[roll(dice_, 3)] + ")");
        // A pattern that nothing can match is a pattern too.
        clips_.evaluate("(set-static-constraint-checking FALSE)");
        clips_.reset();
        matcher_ = make_incremental_matcher({}, [this](const Match& match) { return taken_.count(match.key) > 0; });
        for (std::uint32_t i = 1 + roll(dice_, 5); i > 0; --i) add_rule();
        compare();
    }

    void run() {
        for (std::uint32_t steps = 10 + roll(dice_, 20); steps > 0; --steps) {
            switch (roll(dice_, 12)) {
                case 0:
                    add_rule();
                    break;
                case 1:
                    remove_rule();
                    break;
                case 2:
                case 3:
                case 4:
                    fire();
                    break;
                default:
                    commit();
            }
            compare();
        }
    }

private:
    static std::string name_of(std::size_t index) { return "rule" + std::to_string(index); }

    void add_rule() {
        const auto index = static_cast<std::uint32_t>(conditions_.size());
        // Often a pattern that is there, with one constant changed or none: engines share what is equal.
        auto condition = std::make_unique<Condition>(
            index == 0 || roll(dice_, 2) == 0 ? condition_for_both(dice_) : *conditions_[roll(dice_, index)]);
        for (Term& term : condition->terms) {
            for (Comparison& comparison : term.where) {
                const bool is_thing = comparison.op == CompareOp::eq && !comparison.operand.reference;
                if (is_thing && roll(dice_, 3) == 0) comparison.operand.literal = random_thing(dice_);
            }
        }
        conditions_.push_back(std::move(condition));
        present_.insert(index);
        trace_ += rule(name_of(index), *conditions_[index]) + "  ; " + told(*conditions_[index]) + "\n";
        clips_.build(rule(name_of(index), *conditions_[index]));
        const Matcher::RegionReader reader = [&](const std::string& region, const auto& tell) {
            for (const auto& [id, entry] : now_.state) {
                if (id.region == region) tell(entry);
            }
        };
        offers_all_.push_back(roll(dice_, 2) == 0);
        matcher_->add(index, {name_of(index), conditions_[index].get(), offers_all_.back()}, reader);
    }

    void remove_rule() {
        if (present_.empty()) return;
        const std::uint32_t index =
            *std::next(present_.begin(), roll(dice_, static_cast<std::uint32_t>(present_.size())));
        present_.erase(index);
        trace_ += "(undefrule " + name_of(index) + ")\n";
        clips_.evaluate("(undefrule " + name_of(index) + ")");
        matcher_->remove(index);
    }

    // All asserts before all retracts: so what holds before and after a commit holds in between as well.
    void commit() {
        ++position_;
        const auto time = static_cast<std::int64_t>(position_);
        now_ = random_version(dice_, now_.state, Position{position_}, versions_, time);
        for (EntryChange& change : now_.changes) {
            if (!change.after) continue;
            auto entry = std::make_shared<Entry>(*change.after);
            entry->content = random_content_for_both(dice_);
            change.after = entry;
            now_.state[change.id] = change.after;
        }
        for (const EntryChange& change : now_.changes) {
            if (!change.after) continue;
            const ClipsEngine::Handle fact =
                clips_.assert_fact(clips_.deftemplate(change.id.region), slots_of(*change.after));
            bound_[fact] = {change.id, change.after->version};
            facts_[bound_[fact]] = fact;
            trace_ += "; " + to_text(change.id) + "@" + std::to_string(change.after->version) + " " +
                      to_json(change.after->content) + "\n";
        }
        for (const EntryChange& change : now_.changes) {
            if (!change.before) continue;
            const BoundEntry left{change.id, change.before->version};
            clips_.retract(facts_.at(left));
            bound_.erase(facts_.at(left));
            facts_.erase(left);
            trace_ += "; retract " + to_text(change.id) + "@" + std::to_string(left.version) + "\n";
        }
        matcher_->commit(Position{position_}, {static_cast<std::int64_t>(position_)}, now_.changes);
    }

    [[nodiscard]] Open open_of(const ClipsEngine::Activation& activation) const {
        Open open;
        open.first = static_cast<std::uint32_t>(std::stoul(activation.rule.substr(4)));
        for (const ClipsEngine::Handle fact : activation.facts) {
            const auto known = bound_.find(fact);
            if (known != bound_.end()) open.second.push_back(known->second);  // or else it is (initial-fact)
        }
        return open;
    }

    void fire() {
        const std::vector<ClipsEngine::Activation> agenda = clips_.agenda();
        if (agenda.empty()) return;
        const Open first = open_of(agenda.front());
        REQUIRE(clips_.run(1) == 1);
        trace_ += "(run 1) ; " + name_of(first.first) + "\n";
        for (const MatchPtr& match : matcher_->all_matches(first.first)) {
            if (match->bound != first.second) continue;
            taken_.insert(match->key);
            offered_.erase(match->key);
            return matcher_->withdraw(*match);
        }
        FAIL("what CLIPS fires does not hold here\n" << trace_);
    }

    static std::string told_open(const std::set<Open>& all) {
        std::string text;
        for (const Open& open : all) {
            text += "\n    " + name_of(open.first);
            for (const BoundEntry& entry : open.second) {
                text += " " + to_text(entry.id) + "@" + std::to_string(entry.version);
            }
        }
        return text.empty() ? " nothing" : text;
    }

    void compare() {
        std::set<Open> expected;
        for (const ClipsEngine::Activation& activation : clips_.agenda()) expected.insert(open_of(activation));
        std::set<Open> found;
        for (const std::uint32_t index : present_) {
            for (const MatchPtr& match : matcher_->all_matches(index)) {
                if (taken_.count(match->key) == 0) found.emplace(index, match->bound);
            }
        }
        REQUIRE_MESSAGE(expected == found, "CLIPS would fire" << told_open(expected) << "\n  open here are"
                                                              << told_open(found) << "\n"
                                                              << trace_);
        compare_offers(expected);
    }

    void compare_offers(const std::set<Open>& expected) {
        const MatchDelta delta = matcher_->take_delta();
        for (const MatchPtr& match : delta.removed) REQUIRE_MESSAGE(offered_.erase(match->key) == 1, trace_);
        for (const MatchPtr& match : delta.added) {
            REQUIRE_MESSAGE(offered_.emplace(match->key, match).second, trace_);
        }
        std::set<Open> offered;
        std::set<std::uint32_t> offering;
        for (const auto& [key, match] : offered_) {
            offered.emplace(match->condition, match->bound);
            offering.insert(match->condition);
        }
        REQUIRE_MESSAGE(std::includes(expected.begin(), expected.end(), offered.begin(), offered.end()), trace_);
        for (const Open& open : expected) {
            REQUIRE_MESSAGE(offering.count(open.first) == 1, trace_);
            if (offers_all_[open.first]) REQUIRE_MESSAGE(offered.count(open) == 1, trace_);
        }
    }

    Dice dice_;
    ClipsEngine clips_;
    std::unique_ptr<Matcher> matcher_;
    std::vector<std::unique_ptr<Condition>> conditions_;
    std::vector<bool> offers_all_;
    std::set<std::uint32_t> present_;
    std::map<EntryId, std::uint32_t> versions_;
    Version now_;
    std::uint64_t position_ = 0;
    std::map<ClipsEngine::Handle, BoundEntry> bound_;
    std::map<BoundEntry, ClipsEngine::Handle> facts_;
    std::map<Hash128, MatchPtr> offered_;
    std::set<Hash128> taken_;
    std::string trace_;  // the program so far, in the words of CLIPS
};

std::uint32_t from_environment(const char* name, std::uint32_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10));
}

}  // namespace

TEST_CASE("what CLIPS would fire is what is open here, after every step of random programs") {
    const std::uint32_t first = from_environment("STELE_MATCHER_SEED", 1);
    const std::uint32_t count = from_environment("STELE_CLIPS_PROGRAMS", 500);
    for (std::uint32_t seed = first; seed < first + count; ++seed) {
        CAPTURE(seed);
        ClipsComparison(seed).run();
    }
}

#else

TEST_CASE("what CLIPS would fire is what is open here, after every step of random programs") {
    MESSAGE("skipped: this was built without libclips-dev");
}

#endif

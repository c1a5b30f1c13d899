// The matcher against a model made from the words of the design alone: which bindings there are at
// each version, which terms hold for each, and since when they have. The model forgets nothing and
// is asked anew at every version; the matcher is fed commits and answers with what came and went.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "scheduler/matcher.hpp"

using namespace stele;

namespace {

using Dice = std::mt19937;
std::uint32_t roll(Dice& dice, std::uint32_t below) {
    return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(dice);
}

const std::vector<std::string> region_names = {"facts", "notes", "plans"};

// ---- the model -----------------------------------------------------------------------------------

// Active entries by id, as of one version.
using State = std::map<EntryId, EntryPtr>;

struct Version {
    Position position;
    State state;
    std::vector<EntryChange> changes;
};

std::optional<Value> shown(const Entry& entry, Attribute attribute, const std::vector<std::string>& path) {
    if (attribute == Attribute::id) return Value(to_text(entry.id));
    if (attribute == Attribute::version) return Value(static_cast<std::int64_t>(entry.version));
    if (path.empty()) return entry.content;
    const Value* field = entry.content.find(path.front());
    return field == nullptr ? std::nullopt : std::optional<Value>(*field);
}

bool model_test(CompareOp op, const std::optional<Value>& value, const Value& wanted) {
    const bool absent = !value || value->is_null();
    const auto order = [&]() -> std::optional<int> {
        if (absent) return std::nullopt;
        if (value->is_number() && wanted.is_number()) {
            return value->as_double() < wanted.as_double() ? -1 : value->as_double() > wanted.as_double() ? 1 : 0;
        }
        if (value->is_string() && wanted.is_string()) return value->as_string().compare(wanted.as_string());
        return std::nullopt;
    };
    switch (op) {
        case CompareOp::eq:
            return absent ? wanted.is_null() : to_json(*value) == to_json(wanted);
        case CompareOp::ne:
            return absent ? !wanted.is_null() : to_json(*value) != to_json(wanted);
        case CompareOp::lt:
            return order() && *order() < 0;
        case CompareOp::lte:
            return order() && *order() <= 0;
        case CompareOp::gt:
            return order() && *order() > 0;
        case CompareOp::gte:
            return order() && *order() >= 0;
        case CompareOp::in:
            for (const Value& element : wanted.as_array()) {
                if (value && to_json(element) == to_json(*value)) return true;
            }
            return false;
        case CompareOp::exists:
            return wanted.as_bool() == !absent;
        case CompareOp::has:
        case CompareOp::matches:
            return false;
    }
    return false;
}

bool model_passes(const Filter& filter, const Entry& entry, const std::vector<EntryPtr>& bound) {
    for (const Comparison& comparison : filter) {
        Value wanted = comparison.operand.literal;
        if (comparison.operand.reference) {
            const VariableRef& reference = *comparison.operand.reference;
            wanted = shown(*bound[reference.variable], reference.attribute, reference.path).value_or(Value());
        }
        if (!model_test(comparison.op, shown(entry, comparison.attribute, comparison.path), wanted)) return false;
    }
    return true;
}

bool model_holds(const Term& term, const State& state, bool run_began, const std::vector<EntryPtr>& bound) {
    std::vector<const Entry*> passing;
    for (const auto& [id, entry] : state) {
        if (id.region == term.region && model_passes(term.where, *entry, bound)) passing.push_back(entry.get());
    }
    // Fields hold quarters, so that long doubles add them without loss.
    std::vector<long double> numbers;
    for (const Entry* entry : passing) {
        if (term.field.empty()) continue;
        const std::optional<Value> value = shown(*entry, Attribute::content, term.field);
        if (value && value->is_number()) numbers.push_back(value->as_double());
    }
    const auto is = [&](std::optional<long double> result) {
        if (!result) return false;
        return std::all_of(term.is.begin(), term.is.end(), [&](const Comparison& comparison) {
            return model_test(comparison.op, Value::number(static_cast<double>(*result)), comparison.operand.literal);
        });
    };
    long double total = 0;
    for (const long double number : numbers) total += number;
    switch (term.kind) {
        case TermKind::none:
            return passing.empty();
        case TermKind::exists:
            return !passing.empty();
        case TermKind::count:
            return is(passing.size());
        case TermKind::sum:
            return is(total);
        case TermKind::avg:
            return is(numbers.empty() ? std::nullopt : std::optional<long double>(total / numbers.size()));
        case TermKind::min:
            return is(numbers.empty() ? std::nullopt
                                      : std::optional<long double>(*std::min_element(numbers.begin(), numbers.end())));
        case TermKind::max:
            return is(numbers.empty() ? std::nullopt
                                      : std::optional<long double>(*std::max_element(numbers.begin(), numbers.end())));
        case TermKind::start:
            return run_began;
        case TermKind::any:
            for (const std::vector<Term>& alternative : term.alternatives) {
                bool all = true;
                for (const Term& inner : alternative) all = all && model_holds(inner, state, run_began, bound);
                if (all) return true;
            }
            return false;
        case TermKind::negation:
            return !model_holds(term.alternatives.at(0).at(0), state, run_began, bound);
        default:
            FAIL("the model has no such term");
            return false;
    }
}

// Did this commit change an entry that the term looks at?
bool model_looks_at(const Term& term, const std::vector<EntryChange>& changes, const std::vector<EntryPtr>& bound) {
    for (const EntryChange& change : changes) {
        if (change.id.region != term.region) continue;
        if (change.before && model_passes(term.where, *change.before, bound)) return true;
        if (change.after && model_passes(term.where, *change.after, bound)) return true;
    }
    for (const std::vector<Term>& alternative : term.alternatives) {
        for (const Term& inner : alternative) {
            if (model_looks_at(inner, changes, bound)) return true;
        }
    }
    return false;
}

using Bound = std::vector<BoundEntry>;
using Matches = std::map<Bound, std::vector<Position>>;

class Model {
public:
    explicit Model(const Condition& condition) : condition_(condition) {}

    // A version of the board, or the record at which the run began (which changes nothing).
    void add(const Version& version, bool run_began) {
        Table table;
        table.position = version.position;
        std::vector<EntryPtr> bound;
        bind(version, run_began, 0, bound, table);
        tables_.push_back(std::move(table));
        if (run_began && !run_) run_ = version.position;
    }

    [[nodiscard]] Matches matches() const {
        Matches matches;
        for (const auto& [bound, now] : tables_.back().bindings) {
            std::vector<Position> episodes;
            bool all = true;
            for (std::size_t term = 0; term < now.size(); ++term) {
                all = all && now[term].holds;
                episodes.push_back(since(bound, term));
            }
            if (all) matches[bound] = episodes;
        }
        return matches;
    }

private:
    struct Asked {
        bool holds = false;
        bool looked_at = false;
    };
    struct Table {
        Position position;
        std::map<Bound, std::vector<Asked>> bindings;
    };

    void bind(const Version& version, bool run_began, std::size_t from, std::vector<EntryPtr>& bound,
              Table& table) const {
        for (std::size_t i = from; i < condition_.terms.size(); ++i) {
            const Term& term = condition_.terms[i];
            if (!term.binds()) continue;
            for (const auto& [id, entry] : version.state) {
                if (id.region != term.region || !model_passes(term.where, *entry, bound)) continue;
                if (term.kind == TermKind::changed && entry->version == 1) continue;
                bound.push_back(entry);
                bind(version, run_began, i + 1, bound, table);
                bound.pop_back();
            }
            return;
        }
        Bound key;
        for (const EntryPtr& entry : bound) key.push_back({entry->id, entry->version});
        std::vector<Asked> asked;
        for (const Term& term : condition_.terms) {
            if (term.binds()) continue;
            asked.push_back(
                {model_holds(term, version.state, run_began, bound), model_looks_at(term, version.changes, bound)});
        }
        table.bindings[key] = std::move(asked);
    }

    // The position at which the term last became true for this binding.
    [[nodiscard]] Position since(const Bound& bound, std::size_t index) const {
        std::size_t which = 0;
        const Term* term = nullptr;
        for (const Term& one : condition_.terms) {
            if (one.binds()) continue;
            if (which++ == index) term = &one;
        }
        if (term->kind == TermKind::start) return run_;
        Position since;
        for (std::size_t i = tables_.size(); i-- > 0;) {
            const auto binding = tables_[i].bindings.find(bound);
            if (binding == tables_[i].bindings.end() || !binding->second[index].holds) break;
            since = tables_[i].position;
            if (term->again_on_change && binding->second[index].looked_at) break;
        }
        return since;
    }

    const Condition& condition_;
    std::vector<Table> tables_;
    Position run_;
};

// ---- random programs -----------------------------------------------------------------------------

Value random_field(Dice& dice) {
    switch (roll(dice, 8)) {
        case 0:
            return Value();
        case 1:
            return Value(roll(dice, 2) == 0 ? "x" : "y");
        case 2:
        case 3:
            return Value::number(static_cast<double>(roll(dice, 12)) / 4 - 1);
        default:
            return Value(static_cast<std::int64_t>(roll(dice, 3)));
    }
}

Value random_content(Dice& dice) {
    std::vector<Value::Member> members;
    for (const char* name : {"a", "b"}) {
        if (roll(dice, 6) != 0) members.emplace_back(name, random_field(dice));
    }
    return Value::object(std::move(members));
}

Comparison random_comparison(Dice& dice, std::uint32_t variables) {
    Comparison comparison;
    if (roll(dice, 8) == 0) {
        comparison.attribute = Attribute::version;
    } else {
        comparison.path = {roll(dice, 2) == 0 ? "a" : "b"};
    }
    static constexpr CompareOp ops[] = {CompareOp::eq, CompareOp::eq, CompareOp::ne,  CompareOp::lt,    CompareOp::lte,
                                        CompareOp::gt, CompareOp::in, CompareOp::gte, CompareOp::exists};
    comparison.op = ops[roll(dice, 9)];
    if (comparison.op == CompareOp::exists) {
        comparison.operand.literal = Value(roll(dice, 2) == 0);
    } else if (comparison.op == CompareOp::in) {
        comparison.operand.literal = Value(Value::Array{random_field(dice), random_field(dice)});
    } else if (variables > 0 && roll(dice, 2) == 0) {
        VariableRef reference;
        reference.variable = roll(dice, variables);
        if (roll(dice, 6) == 0) {
            reference.attribute = roll(dice, 2) == 0 ? Attribute::version : Attribute::id;
        } else {
            reference.path = {roll(dice, 2) == 0 ? "a" : "b"};
        }
        comparison.operand.reference = std::move(reference);
    } else {
        comparison.operand.literal = random_field(dice);
    }
    return comparison;
}

Filter random_filter(Dice& dice, std::uint32_t variables) {
    Filter filter;
    for (std::uint32_t i = roll(dice, 3); i > 0; --i) filter.push_back(random_comparison(dice, variables));
    return filter;
}

Term random_test(Dice& dice, std::uint32_t variables, int depth) {
    Term term;
    static constexpr TermKind kinds[] = {TermKind::none, TermKind::exists,  TermKind::count, TermKind::sum,
                                         TermKind::min,  TermKind::max,     TermKind::avg,   TermKind::start,
                                         TermKind::any,  TermKind::negation};
    term.kind = kinds[roll(dice, depth > 0 ? 10 : 8)];
    if (term.kind == TermKind::start) return term;
    term.again_on_change = roll(dice, 3) == 0;
    if (term.kind == TermKind::any) {
        for (std::uint32_t i = 1 + roll(dice, 2); i > 0; --i) {
            std::vector<Term> alternative;
            for (std::uint32_t k = 1 + roll(dice, 2); k > 0; --k)
                alternative.push_back(random_test(dice, variables, depth - 1));
            term.alternatives.push_back(std::move(alternative));
        }
        return term;
    }
    if (term.kind == TermKind::negation) {
        term.alternatives.push_back({random_test(dice, variables, depth - 1)});
        return term;
    }
    term.region = region_names[roll(dice, 3)];
    term.where = random_filter(dice, variables);
    if (term.kind == TermKind::none || term.kind == TermKind::exists) return term;
    if (term.kind != TermKind::count) term.field = {roll(dice, 2) == 0 ? "a" : "b"};
    Comparison is;
    static constexpr CompareOp ops[] = {CompareOp::eq, CompareOp::ne, CompareOp::lt, CompareOp::gte};
    is.op = ops[roll(dice, 4)];
    is.operand.literal = Value(static_cast<std::int64_t>(roll(dice, 4)));
    term.is = {is};
    return term;
}

Condition random_condition(Dice& dice) {
    Condition condition;
    for (std::uint32_t i = 1 + roll(dice, 4); i > 0; --i) {
        const auto variables = static_cast<std::uint32_t>(condition.variables.size());
        if (variables < 3 && roll(dice, 2) == 0) {
            Term term;
            term.kind = roll(dice, 4) == 0 ? TermKind::changed : TermKind::each;
            term.region = region_names[roll(dice, 3)];
            term.variable = variables;
            term.where = random_filter(dice, variables);
            condition.variables.push_back("v" + std::to_string(variables));
            condition.terms.push_back(std::move(term));
        } else {
            condition.terms.push_back(random_test(dice, variables, 2));
        }
    }
    return condition;
}

EntryPtr made(const EntryId& id, std::uint32_t version, Position position, Value content) {
    auto entry = std::make_shared<Entry>();
    entry->id = id;
    entry->version = version;
    entry->position = position;
    entry->time = {static_cast<std::int64_t>(position.number)};
    entry->author = "anyone";
    entry->content = std::move(content);
    return entry;
}

// Writes of any kind to any entry: new ones, new versions, retractions, and returns of what was retracted.
Version random_version(Dice& dice, const State& before, Position position, std::map<EntryId, std::uint32_t>& versions) {
    Version next;
    next.position = position;
    next.state = before;
    std::set<EntryId> touched;
    for (std::uint32_t i = 1 + roll(dice, 3); i > 0; --i) {
        const EntryId id{region_names[roll(dice, 3)], 1 + roll(dice, 4)};
        if (!touched.insert(id).second) continue;
        EntryChange change;
        change.id = id;
        const auto known = next.state.find(id);
        if (known != next.state.end()) change.before = known->second;
        if (change.before && roll(dice, 3) == 0) {
            next.state.erase(id);
            change.kind = EntryChange::Kind::removed;
        } else {
            change.kind = change.before ? EntryChange::Kind::updated : EntryChange::Kind::added;
            change.after = made(id, ++versions[id], position, random_content(dice));
            next.state[id] = change.after;
        }
        next.changes.push_back(std::move(change));
    }
    return next;
}

std::string told(const Matches& matches) {
    std::string text;
    for (const auto& [bound, episodes] : matches) {
        for (const BoundEntry& entry : bound) text += to_text(entry.id) + "@" + std::to_string(entry.version) + " ";
        text += "since";
        for (const Position episode : episodes) text += " " + std::to_string(episode.number);
        text += "; ";
    }
    return text;
}

// What a reader of the matcher's deltas believes.
class Follower {
public:
    void take(const MatchDelta& delta) {
        for (const MatchPtr& match : delta.removed) {
            CHECK_MESSAGE(present_[match->condition].erase(match->key) == 1, "a match left that was not there");
        }
        for (const MatchPtr& match : delta.added) {
            CHECK_MESSAGE(present_[match->condition].emplace(match->key, match).second, "a match came that was there");
        }
    }
    [[nodiscard]] Matches matches(std::uint32_t condition) const {
        Matches matches;
        const auto found = present_.find(condition);
        if (found == present_.end()) return matches;
        for (const auto& [key, match] : found->second) matches[match->bound] = match->episodes;
        return matches;
    }
    [[nodiscard]] std::size_t size(std::uint32_t condition) const {
        const auto found = present_.find(condition);
        return found == present_.end() ? 0 : found->second.size();
    }

private:
    std::map<std::uint32_t, std::map<Hash128, MatchPtr>> present_;
};

// Runs one random program of `conditions` conditions; `asked_rarely` lets deltas gather.
void compare_one_program(std::uint32_t seed, std::size_t conditions_count, bool asked_rarely) {
    Dice dice(seed);
    std::vector<Condition> conditions;
    for (std::size_t i = 0; i < conditions_count; ++i) conditions.push_back(random_condition(dice));
    std::vector<WatchedCondition> watched;
    std::vector<Model> models;
    for (std::size_t i = 0; i < conditions.size(); ++i) {
        watched.push_back({"source" + std::to_string(i), &conditions[i]});
        models.emplace_back(conditions[i]);
    }
    // The simple matcher, the incremental one with everything on offer, and as it is used.
    std::vector<WatchedCondition> all_offered = watched;
    for (WatchedCondition& one : all_offered) one.offer_all = true;
    const auto never = [](const Match&) { return false; };
    const std::unique_ptr<Matcher> matchers[] = {make_reevaluating_matcher(watched),
                                                 make_incremental_matcher(all_offered, never),
                                                 make_incremental_matcher(watched, never)};
    Follower followers[3];
    std::map<EntryId, std::uint32_t> versions;
    Version now;
    for (Model& model : models) model.add(now, false);

    const std::uint64_t steps = 6 + roll(dice, 8);
    const std::uint64_t run_at = 1 + roll(dice, static_cast<std::uint32_t>(steps));
    for (std::uint64_t step = 1; step <= steps; ++step) {
        const Position position{10 * step};
        if (step == run_at) {
            now.position = position;
            now.changes.clear();
            for (const auto& matcher : matchers) {
                matcher->begin_run(position, {static_cast<std::int64_t>(position.number)});
            }
        } else {
            now = random_version(dice, now.state, position, versions);
            for (const auto& matcher : matchers) {
                matcher->commit(position, {static_cast<std::int64_t>(position.number)}, now.changes);
            }
        }
        for (Model& model : models) model.add(now, step >= run_at);
        if (asked_rarely && step < steps && roll(dice, 3) != 0) continue;
        for (std::size_t which = 0; which < 3; ++which) followers[which].take(matchers[which]->take_delta());
        for (std::uint32_t i = 0; i < conditions.size(); ++i) {
            const Matches expected = models[i].matches();
            for (std::size_t which = 0; which < 2; ++which) {
                const Matches found = followers[which].matches(i);
                REQUIRE_MESSAGE(expected == found, "condition " << i << " after step " << step << ", matcher " << which
                                                                << ": the model has " << told(expected)
                                                                << " the matcher " << told(found));
                REQUIRE(followers[which].size(i) == expected.size());
            }
            Matches listed;
            for (const MatchPtr& match : matchers[2]->all_matches(i)) listed[match->bound] = match->episodes;
            REQUIRE_MESSAGE(expected == listed, "condition " << i << " after step " << step << ": the model has "
                                                             << told(expected) << " listed are " << told(listed));
            // What it offers is among them, and is something wherever there is anything.
            REQUIRE(followers[2].matches(i).empty() == expected.empty());
            for (const auto& [bound, episodes] : followers[2].matches(i)) {
                REQUIRE(expected.count(bound) == 1);
                REQUIRE(expected.at(bound) == episodes);
            }
        }
    }
    // Regions that some condition watches are known by their versions.
    for (const auto& [id, entry] : now.state) {
        for (const auto& matcher : matchers) {
            const std::uint32_t known = matcher->current_version(id);
            REQUIRE((known == entry->version || known == 0));
        }
    }
}

}  // namespace

TEST_CASE("random conditions over random commits match what the design says, with the same episodes") {
    for (std::uint32_t seed = 1; seed <= 2'500; ++seed) {
        CAPTURE(seed);
        compare_one_program(seed, 1, false);
    }
}

TEST_CASE("several conditions in one matcher do not disturb each other") {
    for (std::uint32_t seed = 100'001; seed <= 100'300; ++seed) {
        CAPTURE(seed);
        compare_one_program(seed, 4, false);
    }
}

TEST_CASE("whoever asks seldom is told what came and stayed, and nothing that came and went") {
    for (std::uint32_t seed = 200'001; seed <= 200'400; ++seed) {
        CAPTURE(seed);
        compare_one_program(seed, 2, true);
    }
}

#include "scheduler/why_not.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "board/region_policy.hpp"

namespace stele {
namespace {

constexpr std::size_t entry_tests_max = 500'000;
constexpr std::size_t shown_in_the_way = 5;
/// An edit of more writes than this helps nobody.
constexpr std::size_t writes_max = 20;
constexpr std::size_t rounds_max = 12;
constexpr const char* depends = "it would take writes that depend on what others come to";

void collect_regions(const Term& term, std::vector<std::string>& regions) {
    if (!term.region.empty() && std::find(regions.begin(), regions.end(), term.region) == regions.end()) {
        regions.push_back(term.region);
    }
    for (const std::vector<Term>& alternative : term.alternatives) {
        for (const Term& inner : alternative) collect_regions(inner, regions);
    }
}

bool refers_only_to_bound(const Filter& filter, const Bindings& bindings) {
    return std::all_of(filter.begin(), filter.end(), [&](const Comparison& comparison) {
        return !comparison.operand.reference || bindings[comparison.operand.reference->variable];
    });
}

bool refers_only_to_bound(const Term& term, const Bindings& bindings) {
    if (!refers_only_to_bound(term.where, bindings) || !refers_only_to_bound(term.is, bindings)) return false;
    for (const std::vector<Term>& alternative : term.alternatives) {
        for (const Term& inner : alternative) {
            if (!refers_only_to_bound(inner, bindings)) return false;
        }
    }
    return true;
}

std::optional<Value> wanted_by(const Comparison& comparison, const Bindings& bindings) {
    if (!comparison.operand.reference) return comparison.operand.literal;
    return value_of(*comparison.operand.reference, bindings);
}

std::vector<FailedTest> failed_tests(const Filter& filter, const Entry& entry, const Bindings& bindings) {
    std::vector<FailedTest> failed;
    for (const Comparison& comparison : filter) {
        std::optional<Value> value = value_at(entry, comparison.attribute, comparison.path);
        if (holds(comparison, value, bindings)) continue;
        failed.push_back({&comparison, std::move(value), wanted_by(comparison, bindings)});
    }
    return failed;
}

bool may_bind(const Term& term, const Entry& entry, const Bindings& bindings) {
    return (term.kind != TermKind::changed || entry.version > 1) && passes(term.where, entry, bindings);
}

bool is_aggregate(TermKind kind) {
    return kind == TermKind::count || kind == TermKind::sum || kind == TermKind::min || kind == TermKind::max ||
           kind == TermKind::avg;
}

// ---- what comes nearest -------------------------------------------------------------------------

class Search {
public:
    Search(const Condition& condition, const Moment& moment) : condition_(condition), moment_(moment) {}

    struct Found {
        Bindings bindings;
        std::size_t held = 0;
        bool all = false;
    };

    Found run() {
        Bindings bindings(condition_.variables.size());
        descend(0, bindings, 0, true);
        return best_;
    }
    [[nodiscard]] bool is_cut() const { return tests_ >= entry_tests_max; }

private:
    void descend(std::size_t at, Bindings& bindings, std::size_t held, bool all) {
        while (at < condition_.terms.size() && !condition_.terms[at].binds()) ++at;
        if (at == condition_.terms.size()) return take(bindings, held, all);
        const Term& term = condition_.terms[at];
        const std::size_t variable = *term.variable;
        bool bound = false;
        if (refers_only_to_bound(term.where, bindings)) {
            const RegionMemory& memory = memory_of(moment_, term.region);
            for (auto entry = memory.active.rbegin(); entry != memory.active.rend(); ++entry) {
                if (++tests_ >= entry_tests_max || best_.all) break;
                if (!may_bind(term, *entry->second, bindings)) continue;
                bound = true;
                bindings[variable] = entry->second;
                descend(at + 1, bindings, held + 1, all);
                bindings[variable] = nullptr;
            }
        }
        if (!bound && !best_.all) descend(at + 1, bindings, held, false);
    }

    // Terms that bind nothing are asked of the whole binding: `after` goes by the newest entry in it.
    void take(const Bindings& bindings, std::size_t held, bool all) {
        for (const Term& term : condition_.terms) {
            if (term.binds()) continue;
            tests_ += 1 + memory_of(moment_, term.region).active.size();
            const bool holds = refers_only_to_bound(term, bindings) && truth(term, moment_, bindings);
            held += holds ? 1 : 0;
            all = all && holds;
        }
        if (!any_ || held > best_.held || (all && !best_.all)) best_ = {bindings, held, all};
        any_ = true;
    }

    const Condition& condition_;
    const Moment& moment_;
    Found best_;
    bool any_ = false;
    std::size_t tests_ = 0;
};

TermState state_of(const Term& term, const Moment& moment, const Bindings& bindings) {
    TermState state;
    state.term = &term;
    const RegionMemory& memory = memory_of(moment, term.region);
    state.entries = memory.active.size();
    if (term.binds()) {
        state.bound = bindings[*term.variable];
        if (!refers_only_to_bound(term.where, bindings)) return state;
        state.holds = state.bound != nullptr;
    } else {
        if (!refers_only_to_bound(term, bindings)) return state;
        state.holds = truth(term, moment, bindings);
    }
    if (!term.region.empty() && term.kind != TermKind::quiet) {
        std::size_t fewest = SIZE_MAX;
        // Newest first: of equals, what was written last is what a person has in mind.
        for (auto entry = memory.active.rbegin(); entry != memory.active.rend(); ++entry) {
            if (term.binds() ? may_bind(term, *entry->second, bindings)
                             : passes(term.where, *entry->second, bindings)) {
                ++state.passing;
                if (term.kind == TermKind::none && state.in_the_way.size() < shown_in_the_way) {
                    state.in_the_way.push_back(entry->second);
                }
                continue;
            }
            std::vector<FailedTest> failed = failed_tests(term.where, *entry->second, bindings);
            if (failed.size() >= fewest) continue;
            fewest = failed.size();
            state.nearest = entry->second;
            state.failed = std::move(failed);
        }
        if (state.passing > 0) {
            state.nearest = nullptr;
            state.failed.clear();
        }
    }
    if (is_aggregate(term.kind)) state.value = aggregate(term, memory, bindings);
    if (!*state.holds && moment.run) {
        if (term.kind == TermKind::quiet) state.due = quiet_due(term, moment);
        if (term.kind == TermKind::after) state.due = after_due(term, moment, bindings);
        if (term.kind == TermKind::every) {
            state.due = TimeMs{moment.run_time.ms + (ticks(term, moment) + 1) * term.duration_ms};
        }
    }
    return state;
}

// ---- edits --------------------------------------------------------------------------------------

Value shifted(const Value& number, int by, bool whole) {
    if (number.is_int()) return Value(number.as_int() + by);
    const double moved = number.as_double() + by;
    return Value::number(whole ? (by < 0 ? std::floor(moved) : std::ceil(moved)) : moved);
}

// A value that passes `value OP wanted`, as near to what is there as can be told; nothing when it takes
// imagination.
std::optional<Value> value_that_passes(CompareOp op, const std::optional<Value>& value, const Value& wanted,
                                       FieldType type, const std::vector<std::string>& choices) {
    const bool whole = type == FieldType::integer;
    switch (op) {
        case CompareOp::eq:
            return wanted;
        case CompareOp::ne:
            for (const std::string& choice : choices) {
                if (Value(choice) != wanted) return Value(choice);
            }
            if (wanted.is_bool()) return Value(!wanted.as_bool());
            if (wanted.is_number()) return shifted(wanted, 1, whole);
            if (wanted.is_string()) return Value("not " + wanted.as_string());
            return std::nullopt;
        case CompareOp::lt:
            return wanted.is_number() ? std::optional<Value>(shifted(wanted, -1, whole)) : std::nullopt;
        case CompareOp::gt:
            if (wanted.is_string()) return Value(wanted.as_string() + "~");
            return wanted.is_number() ? std::optional<Value>(shifted(wanted, 1, whole)) : std::nullopt;
        case CompareOp::lte:
            if (whole && wanted.is_double()) return Value::number(std::floor(wanted.as_double()));
            return wanted;
        case CompareOp::gte:
            if (whole && wanted.is_double()) return Value::number(std::ceil(wanted.as_double()));
            return wanted;
        case CompareOp::in:
            if (!wanted.is_array() || wanted.as_array().empty()) return std::nullopt;
            return wanted.as_array().front();
        case CompareOp::has:
            if (type == FieldType::array || (value && value->is_array())) {
                Value list = value && value->is_array() ? *value : Value(Value::Array{});
                list.push_back(wanted);
                return list;
            }
            if (!wanted.is_string()) return std::nullopt;
            return Value((value && value->is_string() ? value->as_string() : std::string()) + wanted.as_string());
        case CompareOp::exists:
            if (wanted == Value(false)) return Value();
            if (type == FieldType::boolean) return Value(true);
            if (type == FieldType::integer || type == FieldType::number) return Value(0);
            if (!choices.empty()) return Value(choices.front());
            return type == FieldType::string || type == FieldType::any ? std::optional<Value>(Value("x"))
                                                                       : std::nullopt;
        case CompareOp::matches:
            return std::nullopt;
    }
    return std::nullopt;
}

bool set_at(Value& content, const std::vector<std::string>& path, std::size_t at, const Value& value) {
    if (at == path.size()) {
        content = value;
        return true;
    }
    if (content.is_array()) return false;
    if (!content.is_object()) content = Value::object({});
    const Value* inner = content.find(path[at]);
    Value changed = inner == nullptr ? Value() : *inner;
    if (!set_at(changed, path, at + 1, value)) return false;
    if (changed.is_null() && at + 1 == path.size()) {
        std::vector<Value::Member> kept;
        for (const Value::Member& member : content.as_object()) {
            if (member.first != path[at]) kept.push_back(member);
        }
        content = Value::object(std::move(kept));
        return true;
    }
    content.set(path[at], std::move(changed));
    return true;
}

std::string dotted(const std::vector<std::string>& path) {
    std::string text;
    for (const std::string& step : path) text += (text.empty() ? "" : ".") + step;
    return text;
}

std::vector<std::string> choices_of(const RegionSpec& spec, const std::vector<std::string>& path) {
    if (path.size() != 1 || !spec.schema.is_flat()) return {};
    for (const FieldSpec& field : spec.schema.fields()) {
        if (field.name == path.front()) return field.choices;
    }
    return {};
}

// The least that fits a region's schema, where that can be told.
Value example_of(const RegionSpec& spec) {
    Value example = Value::object({});
    if (!spec.schema.is_flat()) return example;
    for (const FieldSpec& field : spec.schema.fields()) {
        if (field.optional) continue;
        switch (field.type) {
            case FieldType::string:
                example.set(field.name, Value(field.choices.empty() ? std::string("x") : field.choices.front()));
                break;
            case FieldType::boolean:
                example.set(field.name, Value(false));
                break;
            case FieldType::array:
                example.set(field.name, Value(Value::Array{}));
                break;
            case FieldType::object:
                example.set(field.name, Value::object({}));
                break;
            case FieldType::null:
                break;
            default:
                example.set(field.name, Value(0));
        }
    }
    return example;
}

class Editor {
public:
    Editor(const BoardMoment& moment, const std::function<const RegionSpec*(const std::string&)>& spec)
        : board_(moment), spec_(spec) {}

    [[nodiscard]] Moment moment() const { return {board_.regions, board_.run, board_.run_time, board_.now}; }
    [[nodiscard]] const BoardMoment& board() const { return board_; }
    std::vector<Write> writes;
    std::string failure;
    std::optional<TimeMs> wait_until;

    // Makes a term that does not hold hold; false with `failure` where it cannot.
    bool mend(const Term& term, const Bindings& bindings) {
        switch (term.kind) {
            case TermKind::each:
            case TermKind::exists:
                return make_one_pass(term, bindings, {});
            case TermKind::changed:
                return make_change(term, bindings);
            case TermKind::none:
                return retract_passing(term, bindings, 0);
            case TermKind::count:
                return mend_count(term, bindings);
            case TermKind::sum:
            case TermKind::min:
            case TermKind::max:
            case TermKind::avg:
                return mend_number(term, bindings);
            case TermKind::quiet:
                return wait(quiet_due(term, moment()));
            case TermKind::after:
                return wait(after_due(term, moment(), bindings));
            case TermKind::every:
                return wait({board_.run_time.ms + (ticks(term, moment()) + 1) * term.duration_ms});
            case TermKind::start:
                return fail("no run has begun");
            case TermKind::any:
                return mend_any(term, bindings);
            case TermKind::negation:
                return mend_negation(term, bindings);
            case TermKind::idle:
            case TermKind::impasse:
                return true;
        }
        return false;
    }

private:
    bool fail(std::string why) {
        if (failure.empty()) failure = std::move(why);
        return false;
    }

    bool wait(TimeMs until) {
        if (!board_.run) return fail("no run has begun");
        board_.now = std::max(board_.now, until);
        wait_until = board_.now;
        return true;
    }

    RegionMemory& memory(const std::string& region) { return board_.regions[region]; }

    // The content with every test of the filter passed, or nothing.
    std::optional<Value> fitted(Value content, const RegionSpec& spec, const Filter& filter, const Bindings& bindings) {
        // Equalities last: they leave no choice, and what was chosen for another test gives way.
        for (const bool equalities : {false, true}) {
            for (const Comparison& comparison : filter) {
                if ((comparison.op == CompareOp::eq) != equalities) continue;
                Entry probe;
                probe.content = content;
                const std::optional<Value> value = value_at(probe, comparison.attribute, comparison.path);
                if (holds(comparison, value, bindings)) continue;
                if (comparison.attribute != Attribute::content) {
                    fail("a test asks for the " +
                         std::string(comparison.attribute == Attribute::author ? "author" : "number or time") +
                         " of an entry of " + spec.name + ", which no content can give it");
                    return std::nullopt;
                }
                const std::optional<VariableRef>& reference = comparison.operand.reference;
                if (reference && reference->attribute != Attribute::content &&
                    made_.count(bindings[reference->variable]->id) > 0) {
                    fail(depends);
                    return std::nullopt;
                }
                const std::optional<Value> wanted = wanted_by(comparison, bindings);
                const std::optional<Value> passing =
                    value_that_passes(comparison.op, value, wanted ? *wanted : Value(),
                                      spec.schema.type_at(dotted(comparison.path)).value_or(FieldType::any),
                                      choices_of(spec, comparison.path));
                if (!passing || !set_at(content, comparison.path, 0, *passing)) {
                    fail("no content can be named that passes the test on " + dotted(comparison.path) + " of " +
                         spec.name);
                    return std::nullopt;
                }
            }
        }
        return content;
    }

    const RegionSpec* known(const std::string& region) {
        const RegionSpec* spec = spec_(region);
        if (spec == nullptr) fail("region " + region + " is not declared");
        return spec;
    }

    EntryPtr active_with_key(const RegionSpec& spec, const Value& content) {
        if (!has_keys(spec)) return nullptr;
        const std::string key = key_text_of(spec, content, to_json(content));
        for (const auto& [number, entry] : memory(spec.name).active) {
            if (key_text_of(spec, entry->content, to_json(entry->content)) == key) return entry;
        }
        return nullptr;
    }

    void change_board(const std::string& region, std::uint64_t number, Value content) {
        RegionMemory& memory = this->memory(region);
        const auto known = memory.active.find(number);
        auto entry = std::make_shared<Entry>();
        entry->id = {region, number};
        entry->version = known == memory.active.end() ? 1 : known->second->version + 1;
        entry->position = {board_.version.number + 1};
        entry->time = board_.now;
        entry->author = "person";
        entry->authors = {"person"};
        entry->content = std::move(content);
        if (known == memory.active.end()) made_.insert(entry->id);
        memory.active[number] = std::move(entry);
        memory.last_change = board_.now;
    }

    // Writes content into a region by the operation that its law asks for.
    bool write(const RegionSpec& spec, const EntryPtr& replaced, Value content) {
        if (writes.size() >= writes_max)
            return fail("it would take more than " + std::to_string(writes_max) + " writes");
        if (const std::optional<SchemaProblem> problem = spec.schema.check(content)) {
            return fail("the entry that would do, " + to_json(content) + ", does not fit the schema of " + spec.name);
        }
        Write write;
        write.region = spec.name;
        write.content = content;
        // Which number it will be is the board's to say; here it must only be nobody else's.
        std::uint64_t number = memory(spec.name).active.empty() ? 1 : memory(spec.name).active.rbegin()->first + 1;
        while (made_.count({spec.name, number}) > 0) ++number;
        switch (spec.policy) {
            case PolicyKind::append_only:
                write.op = WriteOp::insert;
                break;
            case PolicyKind::counter:
                write.op = WriteOp::increment;
                break;
            case PolicyKind::set_union:
                write.op = WriteOp::add;
                if (active_with_key(spec, content)) {
                    return fail("an entry of " + spec.name + " with that key is there already, and would be merged");
                }
                break;
            case PolicyKind::cas:
                write.op = WriteOp::insert;
                if (replaced) {
                    if (made_.count(replaced->id) > 0) return fail(depends);
                    write.op = WriteOp::replace;
                    write.number = number = replaced->id.number;
                    write.expected_version = replaced->version;
                }
                break;
            case PolicyKind::single_writer:
            case PolicyKind::last_writer_wins:
                write.op = WriteOp::put;
                if (const EntryPtr same = active_with_key(spec, content)) number = same->id.number;
                break;
        }
        write.seal();
        writes.push_back(std::move(write));
        change_board(spec.name, number, std::move(content));
        return true;
    }

    bool retract(const EntryPtr& entry) {
        if (made_.count(entry->id) > 0) return fail(depends);
        if (writes.size() >= writes_max)
            return fail("it would take more than " + std::to_string(writes_max) + " writes");
        Write write;
        write.op = WriteOp::retract;
        write.region = entry->id.region;
        write.number = entry->id.number;
        writes.push_back(std::move(write));
        memory(entry->id.region).active.erase(entry->id.number);
        memory(entry->id.region).last_change = board_.now;
        return true;
    }

    // `value`: what its number must be, beside what the filter asks for.
    bool make_one_pass(const Term& term, const Bindings& bindings, const std::optional<Value>& value) {
        const RegionSpec* spec = known(term.region);
        if (spec == nullptr) return false;
        const TermState now = state_of(term, moment(), bindings);
        EntryPtr base = now.nearest;
        if (now.passing > 0) {
            for (const auto& [number, entry] : memory(term.region).active) {
                if (passes(term.where, *entry, bindings)) base = entry;
            }
        }
        std::optional<Value> content = fitted(base ? base->content : example_of(*spec), *spec, term.where, bindings);
        if (!content) return false;
        if (value && !set_at(*content, term.field, 0, *value)) return fail("its number cannot be set");
        // One more, where one that passes is there: it needs a key of its own.
        const bool one_more = now.passing > 0;
        if (one_more && has_keys(*spec)) {
            if (!give_new_key(*spec, *content)) return false;
            Entry probe;
            probe.content = *content;
            if (!passes(term.where, probe, bindings)) return fail("its key is what the tests ask for");
        }
        return write(*spec, one_more ? nullptr : base, std::move(*content));
    }

    bool give_new_key(const RegionSpec& spec, Value& content) {
        std::vector<std::string> fields = spec.key;
        if (fields.empty()) {
            if (spec.policy != PolicyKind::set_union) return fail("region " + spec.name + " holds one entry");
            for (const Value::Member& member : content.as_object()) fields.push_back(member.first);
        }
        for (const std::string& field : fields) {
            const Value* value = content.find(field);
            if (value == nullptr || !choices_of(spec, {field}).empty()) continue;
            const Value before = *value;
            for (int i = 2; i < 1'000 && (before.is_string() || before.is_int()); ++i) {
                content.set(field, before.is_string() ? Value(before.as_string() + "-" + std::to_string(i))
                                                      : Value(before.as_int() + i));
                if (!active_with_key(spec, content)) return true;
            }
            content.set(field, before);
        }
        return fail("no other key for an entry of " + spec.name + " can be named");
    }

    bool make_change(const Term& term, const Bindings& bindings) {
        const RegionSpec* spec = known(term.region);
        if (spec == nullptr) return false;
        if (spec->policy == PolicyKind::append_only || spec->policy == PolicyKind::counter) {
            return fail("entries of " + term.region + " never change");
        }
        for (const auto& [number, entry] : memory(term.region).active) {
            if (passes(term.where, *entry, bindings)) {
                return fail("a new version of " + to_text(entry->id) + " that still passes would do");
            }
        }
        const TermState now = state_of(term, moment(), bindings);
        if (!now.nearest || spec->policy == PolicyKind::set_union) {
            return fail("it waits for the second version of an entry");
        }
        std::optional<Value> content = fitted(now.nearest->content, *spec, term.where, bindings);
        if (!content) return false;
        if (!write(*spec, now.nearest, *content)) return false;
        return memory(term.region).active.count(now.nearest->id.number) > 0 &&
                       may_bind(term, *memory(term.region).active[now.nearest->id.number], bindings)
                   ? true
                   : fail("the change would make another entry");
    }

    // All but `keep` of those that pass, the newest first.
    bool retract_passing(const Term& term, const Bindings& bindings, std::size_t keep) {
        std::vector<EntryPtr> passing;
        for (const auto& [number, entry] : memory(term.region).active) {
            if (passes(term.where, *entry, bindings)) passing.push_back(entry);
        }
        while (passing.size() > keep) {
            if (!retract(passing.back())) return false;
            passing.pop_back();
        }
        return true;
    }

    static bool is_right(const Term& term, const Value& value, const Bindings& bindings) {
        return std::all_of(term.is.begin(), term.is.end(),
                           [&](const Comparison& comparison) { return holds(comparison, value, bindings); });
    }

    bool mend_count(const Term& term, const Bindings& bindings) {
        const std::int64_t count = aggregate(term, memory(term.region), bindings)->as_int();
        for (std::int64_t by = 1; by <= static_cast<std::int64_t>(writes_max); ++by) {
            if (is_right(term, Value(count + by), bindings)) {
                for (std::int64_t i = 0; i < by; ++i) {
                    if (!make_one_pass(term, bindings, {})) return false;
                }
                return true;
            }
            if (count >= by && is_right(term, Value(count - by), bindings)) {
                return retract_passing(term, bindings, static_cast<std::size_t>(count - by));
            }
        }
        return fail("the count of " + term.region + " is more than " + std::to_string(writes_max) +
                    " entries away from what is asked for");
    }

    // A result that is right, as near as can be told to what it is.
    std::optional<Value> target_of(const Term& term, const Bindings& bindings, const std::optional<Value>& now) {
        std::optional<Value> best;
        for (const Comparison& comparison : term.is) {
            const std::optional<Value> wanted = wanted_by(comparison, bindings);
            if (!wanted || !wanted->is_number()) continue;
            for (const int by : {0, 1, -1}) {
                const Value candidate = by == 0 ? *wanted : shifted(*wanted, by, false);
                if (!is_right(term, candidate, bindings)) continue;
                const auto distance = [&](const Value& value) {
                    return now && now->is_number() ? std::abs(value.as_double() - now->as_double()) : 0.0;
                };
                if (!best || distance(candidate) < distance(*best)) best = candidate;
            }
        }
        return best;
    }

    static Value difference(const Value& a, const Value& b) {
        if (a.is_int() && b.is_int()) {
            std::int64_t result = 0;
            if (!__builtin_sub_overflow(a.as_int(), b.as_int(), &result)) return Value(result);
        }
        return Value::number(a.as_double() - b.as_double());
    }

    bool mend_number(const Term& term, const Bindings& bindings) {
        const std::optional<Value> now = aggregate(term, memory(term.region), bindings);
        const std::optional<Value> target = target_of(term, bindings, now);
        if (!target) return fail("no number can be named for " + dotted(term.field) + " of " + term.region);
        Value value = *target;
        if (term.kind == TermKind::sum && now && now->is_number()) value = difference(*target, *now);
        if (term.kind == TermKind::avg && now) {
            std::int64_t count = 0;
            for (const auto& [number, entry] : memory(term.region).active) {
                const std::optional<Value> field = value_at(*entry, Attribute::content, term.field);
                count += passes(term.where, *entry, bindings) && field && field->is_number() ? 1 : 0;
            }
            value = Value::number(target->as_double() * static_cast<double>(count + 1) -
                                  now->as_double() * static_cast<double>(count));
        }
        if (now && (term.kind == TermKind::max || term.kind == TermKind::min)) {
            // What is beyond the target must go first.
            std::vector<EntryPtr> beyond;
            for (const auto& [number, entry] : memory(term.region).active) {
                const std::optional<Value> field = value_at(*entry, Attribute::content, term.field);
                if (!passes(term.where, *entry, bindings) || !field || !field->is_number()) continue;
                const auto order = compare(*field, *target);
                if (term.kind == TermKind::max ? order > 0 : order < 0) beyond.push_back(entry);
            }
            for (const EntryPtr& entry : beyond) {
                if (!retract(entry)) return false;
            }
            const std::optional<Value> left = aggregate(term, memory(term.region), bindings);
            if (left && is_right(term, *left, bindings)) return true;
        }
        return make_one_pass(term, bindings, value);
    }

    bool mend_any(const Term& term, const Bindings& bindings) {
        const BoardMoment before = board_;
        const std::vector<Write> written = writes;
        const std::optional<TimeMs> waited = wait_until;
        for (const std::vector<Term>& alternative : term.alternatives) {
            bool mended = true;
            for (const Term& inner : alternative) {
                mended = mended && (truth(inner, moment(), bindings) || mend(inner, bindings));
            }
            if (mended) {
                failure.clear();
                return true;
            }
            board_ = before;
            writes = written;
            wait_until = waited;
        }
        return fail("no alternative of `any` can be made to hold");
    }

    bool mend_negation(const Term& term, const Bindings& bindings) {
        const Term& inner = term.alternatives.front().front();
        if (inner.kind == TermKind::exists) return retract_passing(inner, bindings, 0);
        if (inner.kind == TermKind::none) return make_one_pass(inner, bindings, {});
        return fail("what `not` negates cannot be undone by a write that could be named");
    }

    BoardMoment board_;
    std::set<EntryId> made_;  // entries that the edit makes
    const std::function<const RegionSpec*(const std::string&)>& spec_;
};

}  // namespace

std::vector<std::string> regions_of(const Condition& condition) {
    std::vector<std::string> regions;
    for (const Term& term : condition.terms) collect_regions(term, regions);
    return regions;
}

std::vector<MatchPtr> offered_matches(const Condition& condition, const BoardMoment& moment,
                                      const Matcher::Refracted& refracted) {
    WatchedCondition watched;
    watched.name = "why not";
    watched.condition = &condition;
    const std::unique_ptr<Matcher> matcher = make_incremental_matcher({watched}, refracted);
    // In the order and at the times that things came to be.
    struct Step {
        TimeMs time;
        std::vector<EntryChange> changes;
    };
    std::map<Position, Step> steps;
    const auto note = [&](Position at, TimeMs time, EntryChange change) {
        Step& step = steps[at];
        step.time = std::max(step.time, time);
        step.changes.push_back(std::move(change));
    };
    for (const auto& [name, region] : moment.regions) {
        TimeMs newest;
        for (const auto& [number, entry] : region.active) {
            note(entry->position, entry->time, {EntryChange::Kind::added, entry->id, nullptr, entry});
            newest = std::max(newest, entry->time);
        }
        if (!region.last_change || *region.last_change <= newest) continue;
        // What went last is not among them, and `quiet` counts from there: something came and went.
        auto gone = std::make_shared<Entry>();
        gone->id = {name, region.active.empty() ? 1 : region.active.rbegin()->first + 1};
        gone->position = moment.version;
        gone->time = *region.last_change;
        note(gone->position, gone->time, {EntryChange::Kind::added, gone->id, nullptr, gone});
        note({gone->position.number + 1}, gone->time, {EntryChange::Kind::removed, gone->id, gone, nullptr});
    }
    bool begun = false;
    const auto begin = [&] {
        if (moment.run && !begun) matcher->begin_run(moment.run, moment.run_time);
        begun = true;
    };
    Position last;
    for (const auto& [at, step] : steps) {
        if (at > moment.run) begin();
        matcher->commit(at, step.time, step.changes);
        last = at;
    }
    begin();
    matcher->clock({std::max(last, moment.version).number + 1}, moment.now);
    return matcher->take_delta().added;
}

WhyNot why_not(const Condition& condition, const BoardMoment& board,
               const std::function<const RegionSpec*(const std::string&)>& spec) {
    WhyNot answer;
    const Moment moment{board.regions, board.run, board.run_time, board.now};
    Search search(condition, moment);
    const Search::Found nearest = search.run();
    answer.holds = nearest.all;
    answer.cut = search.is_cut() && !nearest.all;
    for (const Term& term : condition.terms) answer.terms.push_back(state_of(term, moment, nearest.bindings));
    if (answer.holds) return answer;

    Editor editor(board, spec);
    for (std::size_t round = 0; round < rounds_max; ++round) {
        const Moment now = editor.moment();
        Search again(condition, now);
        const Search::Found found = again.run();
        if (found.all) break;
        const Term* broken = nullptr;
        for (const Term& term : condition.terms) {
            const TermState state = state_of(term, now, found.bindings);
            if (!state.holds.value_or(true)) {
                broken = &term;
                break;
            }
        }
        if (broken == nullptr || !editor.mend(*broken, found.bindings)) {
            answer.no_edit = editor.failure.empty() ? "no writes were found that would make it hold" : editor.failure;
            return answer;
        }
    }
    if (offered_matches(condition, editor.board(), [](const Match&) { return false; }).empty()) {
        answer.no_edit = "no few writes were found that would make it hold";
        return answer;
    }
    answer.edit = std::move(editor.writes);
    answer.wait_until = editor.wait_until;
    return answer;
}

}  // namespace stele

// Reads `when:` and `goal:`: which kind each term is, what the kind takes, what it binds.
#include <algorithm>

#include "runtime/crew_draft.hpp"

namespace stele {
namespace {

constexpr TermKind all_kinds[] = {
    TermKind::each,    TermKind::changed, TermKind::none,  TermKind::exists, TermKind::count,   TermKind::sum,
    TermKind::min,     TermKind::max,     TermKind::avg,   TermKind::quiet,  TermKind::start,   TermKind::idle,
    TermKind::impasse, TermKind::after,   TermKind::every, TermKind::any,    TermKind::negation};

const std::vector<std::string>& kind_words() {
    static const std::vector<std::string> words = [] {
        std::vector<std::string> all;
        for (const TermKind kind : all_kinds) all.emplace_back(to_text(kind));
        return all;
    }();
    return words;
}

std::optional<TermKind> kind_from(std::string_view word) {
    for (const TermKind kind : all_kinds) {
        if (word == to_text(kind)) return kind;
    }
    return std::nullopt;
}

bool is_aggregate(TermKind kind) {
    return kind == TermKind::count || kind == TermKind::sum || kind == TermKind::min || kind == TermKind::max ||
           kind == TermKind::avg;
}

bool has_filter(TermKind kind) {
    return kind == TermKind::each || kind == TermKind::changed || kind == TermKind::none || kind == TermKind::exists ||
           is_aggregate(kind);
}

// Kinds whose truth follows entries; only these can be true again at a change.
bool follows_entries(TermKind kind) {
    return kind == TermKind::none || kind == TermKind::exists || is_aggregate(kind) || kind == TermKind::any ||
           kind == TermKind::negation;
}

std::string quoted_kind(TermKind kind) { return in_quotes(to_text(kind)); }

class ConditionReader {
public:
    ConditionReader(CrewDraft& draft, Reader& reader, Scope& scope)
        : draft_(draft), problems_(draft.problems), reader_(reader), scope_(scope) {}

    Condition read(const YamlNode& node);

private:
    std::optional<Term> read_term(const YamlNode& node, bool nested);
    void read_head(Term& term, const YamlNode& node);
    void read_binding(Term& term, const YamlNode& node, bool nested, std::string& name);
    void read_region(Term& term, const YamlNode& node);
    void read_quiet(Term& term, const YamlNode& node);
    void read_flag(const Term& term, const YamlNode& node);
    void read_any(Term& term, const YamlNode& node);
    void read_negation(Term& term, const YamlNode& node);
    void read_rest(Term& term, MapReader& map);
    void read_field(Term& term, MapReader& map);
    void read_tests(Term& term, MapReader& map);
    void read_again(Term& term, MapReader& map);
    void bind(Term& term, std::string name);
    void check_place_allows(TermKind kind, SourcePlace place, bool nested);

    CrewDraft& draft_;
    CrewProblems& problems_;
    Reader& reader_;
    Scope& scope_;
    Condition condition_;
    /// The region of the term being read; null when unknown.
    const RegionSpec* region_ = nullptr;
    std::size_t terms_ = 0;
};

Condition ConditionReader::read(const YamlNode& node) {
    const std::string what = (reader_.source == nullptr ? "" : "when of ") + reader_.name;
    const std::vector<YamlNode>* items = read_list(node, what, problems_);
    if (items == nullptr) {
        scope_.is_incomplete = true;
        return {};
    }
    if (items->empty()) problems_.error(node.place, what + ": expected at least one term, found an empty list");
    for (const YamlNode& item : *items) {
        std::optional<Term> term = read_term(item, false);
        if (term.has_value()) condition_.terms.push_back(std::move(*term));
    }
    if (terms_ > limits::terms_per_when_max) {
        problems_.error(node.place, what + " has " + std::to_string(terms_) + " terms; at most " +
                                        std::to_string(limits::terms_per_when_max) + " are allowed");
    }
    return std::move(condition_);
}

std::optional<Term> ConditionReader::read_term(const YamlNode& node, bool nested) {
    ++terms_;
    if (!node.is_map()) {
        problems_.error(node.place, unexpected("a term of " + reader_.name, "a map such as {exists: REGION}", node));
        scope_.is_incomplete = true;
        return std::nullopt;
    }
    const YamlMember* head = nullptr;
    std::vector<const YamlMember*> more_heads;
    for (const YamlMember& member : node.members) {
        if (!kind_from(member.key).has_value()) continue;
        if (head == nullptr) {
            head = &member;
        } else {
            more_heads.push_back(&member);
        }
    }
    if (head == nullptr) {
        std::string message = "a term of " + reader_.name + " says nothing of its kind";
        std::string hint;
        SourcePlace place = node.place;
        if (!node.members.empty()) {
            place = node.members[0].place;
            message = "unknown kind of term " + in_quotes(node.members[0].key);
            hint = nearest_hint(node.members[0].key, kind_words());
        }
        problems_.error(place, message + hint + (hint.empty() ? "; expected " : " Expected ") + any_of(kind_words()));
        scope_.is_incomplete = true;
        return std::nullopt;
    }
    for (const YamlMember* other : more_heads) {
        problems_.error(other->place, "this term is already " + in_quotes(head->key) + "; write " +
                                          in_quotes(other->key) + " as a term of its own");
        scope_.is_incomplete = true;
    }
    Term term;
    term.kind = *kind_from(head->key);
    term.place = node.place;
    region_ = nullptr;
    check_place_allows(term.kind, head->place, nested);
    MapReader map(node, "the term " + in_quotes(head->key) + " of " + reader_.name, problems_);
    (void)map.optional(head->key);
    for (const YamlMember* other : more_heads) (void)map.optional(other->key);

    std::string variable;
    if (term.binds()) {
        read_binding(term, head->value, nested, variable);
    } else {
        read_head(term, head->value);
    }
    read_rest(term, map);
    map.finish();
    // Bound last: a term's own filter may use only what earlier terms bind.
    if (term.binds() && !nested) bind(term, std::move(variable));
    return term;
}

void ConditionReader::check_place_allows(TermKind kind, SourcePlace place, bool nested) {
    const bool binds = kind == TermKind::each || kind == TermKind::changed;
    if (nested && binds) {
        problems_.error(place, quoted_kind(kind) +
                                   " cannot stand inside \"any\" or \"not\", where nothing is bound;"
                                   " use \"exists\"");
    }
    if (nested && is_idleness(kind)) {
        problems_.error(place, quoted_kind(kind) + " cannot stand inside \"any\" or \"not\"");
    }
    const bool is_about_time =
        is_idleness(kind) || kind == TermKind::start || kind == TermKind::after || kind == TermKind::every;
    if (reader_.source == nullptr && is_about_time) {
        problems_.error(place, quoted_kind(kind) + " cannot stand in a goal, which is about what the board holds");
    }
}

void ConditionReader::read_head(Term& term, const YamlNode& node) {
    const std::string what = "the term " + quoted_kind(term.kind) + " of " + reader_.name;
    switch (term.kind) {
        case TermKind::each:
        case TermKind::changed:
            return;
        case TermKind::none:
        case TermKind::exists:
        case TermKind::count:
        case TermKind::sum:
        case TermKind::min:
        case TermKind::max:
        case TermKind::avg:
            return read_region(term, node);
        case TermKind::quiet:
            return read_quiet(term, node);
        case TermKind::start:
        case TermKind::idle:
        case TermKind::impasse:
            return read_flag(term, node);
        case TermKind::after:
            term.duration_ms = read_duration(node, what, 0, problems_).value_or(0);
            return;
        case TermKind::every:
            term.duration_ms = read_duration(node, what, 1, problems_).value_or(1);
            return;
        case TermKind::any:
            return read_any(term, node);
        case TermKind::negation:
            return read_negation(term, node);
    }
}

// `REGION as NAME`, or `REGION` alone.
void ConditionReader::read_binding(Term& term, const YamlNode& node, bool nested, std::string& name) {
    const std::string what = "the term " + quoted_kind(term.kind) + " of " + reader_.name;
    std::vector<std::string> words;
    if (node.is_scalar()) {
        std::string word;
        for (const char c : node.text + " ") {
            if (c != ' ' && c != '\t') {
                word += c;
            } else if (!word.empty()) {
                words.push_back(std::move(word));
                word.clear();
            }
        }
    }
    const bool is_good = words.size() == 1 || (words.size() == 3 && words[1] == "as");
    if (!is_good) {
        problems_.error(node.place, unexpected(what, "\"REGION as NAME\" or \"REGION\"", node));
        scope_.is_incomplete = true;
        return;
    }
    if (words.size() == 3) {
        name = words[2].starts_with('$') ? words[2].substr(1) : words[2];
        if (!is_identifier(name)) {
            problems_.error(node.place, in_quotes(words[2]) +
                                            " cannot be the name of a variable: it is letters, digits"
                                            " and _, and does not begin with a digit");
            scope_.is_incomplete = true;
            name.clear();
        }
    }
    region_ = resolve_readable(draft_, reader_, words[0], node.place);
    term.region = words[0];
    if (nested || term.kind != TermKind::changed || region_ == nullptr || !draft_.policy_known(*region_)) return;
    const PolicyKind policy = region_->policy;
    if (policy == PolicyKind::single_writer || policy == PolicyKind::last_writer_wins || policy == PolicyKind::cas) {
        return;
    }
    problems_.error(node.place, "entries of region " + in_quotes(region_->name) + " never change, since it is " +
                                    to_text(policy) + "; \"changed\" needs single_writer, cas or last_writer_wins");
}

void ConditionReader::bind(Term& term, std::string name) {
    for (const BoundVariable& variable : scope_.variables) {
        if (name.empty() || variable.name != name) continue;
        problems_.error(term.place, "the variable " + in_quotes("$" + name) + " is already bound by the term on line " +
                                        std::to_string(variable.place.line));
    }
    term.variable = static_cast<std::uint32_t>(scope_.variables.size());
    condition_.variables.push_back(name);
    scope_.variables.push_back(BoundVariable{std::move(name), region_, term.place});
}

void ConditionReader::read_region(Term& term, const YamlNode& node) {
    const std::string what = "the term " + quoted_kind(term.kind) + " of " + reader_.name;
    const std::optional<std::string> name = read_text(node, what, problems_);
    if (!name.has_value()) return;
    term.region = *name;
    const std::size_t dot = name->find('.');
    const bool has_field = is_aggregate(term.kind) && term.kind != TermKind::count && dot != std::string::npos;
    if (has_field && draft_.region(name->substr(0, dot)) != nullptr) {
        problems_.error(node.place,
                        what + ": write the region alone, and beside it \"field: " + name->substr(dot + 1) + "\"");
        term.field = {name->substr(dot + 1)};
        return;
    }
    const std::size_t as = name->find(" as ");
    if (as != std::string::npos && draft_.region(name->substr(0, as)) != nullptr) {
        problems_.error(node.place, what + " binds no variable; write the region alone");
        return;
    }
    region_ = resolve_readable(draft_, reader_, *name, node.place);
}

void ConditionReader::read_quiet(Term& term, const YamlNode& node) {
    MapReader map(node, "the term \"quiet\" of " + reader_.name, problems_);
    if (const YamlNode* region = map.required("region")) read_region(term, *region);
    if (const YamlNode* duration = map.required("for")) {
        term.duration_ms = read_duration(*duration, map.part("for"), 1, problems_).value_or(1);
    }
    map.finish();
}

void ConditionReader::read_flag(const Term& term, const YamlNode& node) {
    const std::optional<Value> value = node.is_scalar() ? scalar_value(node) : std::nullopt;
    if (value.has_value() && *value == Value(true)) return;
    problems_.error(node.place, unexpected("the term " + quoted_kind(term.kind) + " of " + reader_.name, "true", node));
}

void ConditionReader::read_any(Term& term, const YamlNode& node) {
    const std::string what = "the term \"any\" of " + reader_.name;
    const std::vector<YamlNode>* items = read_list(node, what, problems_);
    if (items == nullptr) return;
    if (items->empty()) problems_.error(node.place, what + ": expected at least one term, found an empty list");
    for (const YamlNode& item : *items) {
        std::vector<Term> alternative;
        if (item.is_list()) {
            if (item.items.empty()) {
                problems_.error(item.place, what + ": expected at least one term, found an empty list");
            }
            for (const YamlNode& part : item.items) {
                std::optional<Term> member = read_term(part, true);
                if (member.has_value()) alternative.push_back(std::move(*member));
            }
        } else {
            std::optional<Term> member = read_term(item, true);
            if (member.has_value()) alternative.push_back(std::move(*member));
        }
        term.alternatives.push_back(std::move(alternative));
    }
}

void ConditionReader::read_negation(Term& term, const YamlNode& node) {
    std::optional<Term> member = read_term(node, true);
    std::vector<Term> alternative;
    if (member.has_value()) alternative.push_back(std::move(*member));
    term.alternatives.push_back(std::move(alternative));
}

void ConditionReader::read_rest(Term& term, MapReader& map) {
    if (has_filter(term.kind)) {
        if (const YamlNode* where = map.optional("where")) {
            term.where = read_filter(draft_, scope_, region_, *where, map.part("where"));
        }
    }
    if (is_aggregate(term.kind)) {
        read_field(term, map);
        read_tests(term, map);
    }
    if (follows_entries(term.kind)) read_again(term, map);
}

void ConditionReader::read_field(Term& term, MapReader& map) {
    if (term.kind == TermKind::count) return;
    const bool counts = region_ != nullptr && draft_.policy_known(*region_) && region_->policy == PolicyKind::counter;
    // A region that is not known may be a counter; a field in the wrong place was reported there.
    const bool is_required = region_ != nullptr && !counts && term.field.empty();
    const YamlNode* field = is_required ? map.required("field") : map.optional("field");
    if (field == nullptr) {
        if (counts) term.field = {"by"};
        return;
    }
    const std::optional<std::string> text = read_text(*field, map.part("field"), problems_);
    const std::optional<FieldPath> path =
        text.has_value() ? read_path(draft_, *text, field->place) : std::optional<FieldPath>();
    if (!path.has_value()) return;
    if (path->attribute != Attribute::content) {
        problems_.error(field->place,
                        map.part("field") + ": expected a field of the content, found " + in_quotes(*text));
        return;
    }
    term.field = path->path;
    if (region_ == nullptr) return;
    const std::optional<TypeFact> fact = type_of_field(*region_, path->path);
    if (!fact.has_value()) {
        problems_.error(field->place, no_such_field(*region_, path->path));
    } else if (!may_be_number(fact->type)) {
        problems_.error(field->place, "field " + in_quotes(*text) + " of region " + in_quotes(region_->name) + " is " +
                                          with_article(fact->type) + "; " + quoted_kind(term.kind) + " needs a number");
    }
}

void ConditionReader::read_tests(Term& term, MapReader& map) {
    const YamlNode* tests = map.required("is");
    if (tests == nullptr) return;
    term.is = read_aggregate_tests(draft_, scope_, *tests, "the result of " + map.what());
}

void ConditionReader::read_again(Term& term, MapReader& map) {
    const YamlNode* again = map.optional("again");
    if (again == nullptr) return;
    term.again_on_change = read_word(*again, map.part("again"), {"on_change"}, problems_).has_value();
}

}  // namespace

const RegionSpec* resolve_readable(CrewDraft& draft, Reader& reader, std::string_view name, SourcePlace place) {
    if (name == scratch_name) {
        draft.problems.error(place, "\"scratch\" is private to a source: it wakes nobody and cannot be tested here");
        return nullptr;
    }
    const RegionSpec* region = draft.resolve_region(name, place);
    if (region == nullptr || reader.source == nullptr || !reader.reads_known) return region;
    if (reader.source->may.may_read(name)) return region;
    const std::string key = "read " + std::string(name);
    if (std::find(reader.reported.begin(), reader.reported.end(), key) != reader.reported.end()) return region;
    reader.reported.push_back(key);
    draft.problems.error(place, reader.name + " may not read region " + in_quotes(name) + "; add " + std::string(name) +
                                    " to may.read of " + reader.name);
    return region;
}

Condition read_condition(CrewDraft& draft, Reader& reader, const YamlNode& node, Scope& scope) {
    return ConditionReader(draft, reader, scope).read(node);
}

}  // namespace stele

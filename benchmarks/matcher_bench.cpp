// What a write costs the matcher: 10,000 sources of one shape over a board of 1,000,000 entries, beside CLIPS
// 6.30 in the same process with the same rules, at the size of board that it can hold. Ours and the peer
// take turns, round by round. A write is a commit of one new entry and the delta that is fetched after it.
// docs/performance.md says what bounds each figure.
//
// usage: stele_bench_matcher [--json FILE] [--only SHAPE] [--rounds N]
//        stele_bench_matcher --instructions SHAPE
// The second form makes 1,000 writes to a board of 100,000 entries, for counting instructions:
//   valgrind --tool=callgrind --toggle-collect='*make_counted_writes*' stele_bench_matcher --instructions range
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "benchmarks/support.hpp"
#include "board/board.hpp"
#include "board/log/buffered_store.hpp"
#include "board/log/memory_store.hpp"
#include "board/log/write_log.hpp"
#include "knowledge_sources/rule_source.hpp"
#include "runtime/activation_request.hpp"
#include "runtime/crew_loader.hpp"
#include "runtime/owner.hpp"
#include "scheduler/content_hash.hpp"
#include "scheduler/cycle_detector.hpp"
#include "scheduler/fingerprint.hpp"
#include "scheduler/fold.hpp"
#include "scheduler/matcher.hpp"
#ifdef STELE_HAS_CLIPS
#include "tests/clips/clips_engine.hpp"
#endif

namespace stele {
namespace {

constexpr std::uint32_t sources = 10'000;
constexpr std::size_t board_entries = 1'000'000;
constexpr std::size_t writes_per_round = 1'000;
constexpr double p50_most_us = 5;
constexpr double p99_most_us = 25;
constexpr double index_bytes_most = 250;

using Dice = std::mt19937_64;
std::int64_t roll(Dice& dice, std::int64_t below) {
    return static_cast<std::int64_t>(dice() % static_cast<std::uint64_t>(below));
}

// ---- shapes -----------------------------------------------------------------------------------

struct Fact {
    char region = 'e';  // e: evidence, q: questions, c: what must not be there
    std::int64_t topic = 0;
    double confidence = 0;
    std::int64_t id = 0;
};

/// Many sources that differ in constants, and a board that they have something to do with.
struct Shape {
    std::string name;
    std::string says;
    /// Of source `which` among `count`.
    Condition (*condition)(std::uint32_t which, std::uint32_t count) = nullptr;
    std::string (*rule)(std::uint32_t which) = nullptr;  // the same for CLIPS, if it can say it
    /// The fact at `place` on a board of `size`, or one that is written later (place: none of the board's).
    Fact (*fact)(Dice& dice, std::size_t place, std::size_t size) = nullptr;
};

Comparison compared(const std::string& field, CompareOp op, Value literal) {
    Comparison comparison;
    comparison.path = {field};
    comparison.op = op;
    comparison.operand.literal = std::move(literal);
    return comparison;
}

Comparison joined(const std::string& field) {
    Comparison comparison;
    comparison.path = {field};
    VariableRef reference;
    reference.path = {field};
    comparison.operand.reference = std::move(reference);
    return comparison;
}

Term term_of(TermKind kind, const std::string& region, Filter where) {
    Term term;
    term.kind = kind;
    term.region = region;
    term.where = std::move(where);
    return term;
}

Condition condition_of(std::vector<Term> terms) {
    Condition condition;
    for (Term& term : terms) {
        if (!term.binds()) continue;
        term.variable = static_cast<std::uint32_t>(condition.variables.size());
        condition.variables.push_back("v" + std::to_string(*term.variable));
    }
    condition.terms = std::move(terms);
    return condition;
}

Value topic(std::int64_t which) { return Value("t" + std::to_string(which)); }

Condition range_condition(std::uint32_t which, std::uint32_t count) {
    const double width = static_cast<double>(sources) / count;
    return condition_of({term_of(TermKind::each, "e",
                                 {compared("confidence", CompareOp::gte, Value::number(which * width)),
                                  compared("confidence", CompareOp::lt, Value::number((which + 1) * width))}),
                         term_of(TermKind::each, "q", {joined("id")})});
}

std::string range_rule(std::uint32_t which) {
    const std::string k = std::to_string(which);
    return "(defrule r" + k + " (e (confidence ?c&:(and (>= ?c " + k + ") (< ?c " + std::to_string(which + 1) +
           "))) (id ?i)) (q (id ?i)) =>)";
}

// Every entry has ten partners.
Fact range_fact(Dice& dice, std::size_t place, std::size_t size) {
    const double confidence = static_cast<double>(roll(dice, sources * 1'000)) / 1'000;
    return {place % 2 == 0 ? 'e' : 'q', roll(dice, sources), confidence,
            roll(dice, static_cast<std::int64_t>(size / 20))};
}

Condition constant_condition(std::uint32_t which, std::uint32_t) {
    const Comparison about = compared("topic", CompareOp::eq, topic(which));
    return condition_of({term_of(TermKind::each, "e", {about, compared("confidence", CompareOp::gt, Value(80))}),
                         term_of(TermKind::each, "q", {about, joined("id")}), term_of(TermKind::none, "c", {about})});
}

std::string constant_rule(std::uint32_t which) {
    const std::string k = std::to_string(which);
    return "(defrule r" + k + " (e (topic t" + k + ") (confidence ?c&:(> ?c 80)) (id ?i)) (q (topic t" + k +
           ") (id ?i)) (not (c (topic t" + k + "))) =>)";
}

// One partner within the topic, whatever the size of the board; a topic in a hundred has an objection.
Fact constant_fact(Dice& dice, std::size_t place, std::size_t size) {
    if (place < sources / 100) return {'c', static_cast<std::int64_t>(place) * 100, 0, 0};
    const std::int64_t ids = std::max<std::int64_t>(1, static_cast<std::int64_t>(size / (2 * sources)));
    return {place % 2 == 0 ? 'e' : 'q', roll(dice, sources), static_cast<double>(roll(dice, 100)), roll(dice, ids)};
}

Condition constant_free_condition(std::uint32_t which, std::uint32_t) {
    return condition_of({term_of(TermKind::each, "e", {}),
                         term_of(TermKind::each, "q", {joined("id"), compared("topic", CompareOp::eq, topic(which))}),
                         term_of(TermKind::none, "c", {joined("topic")})});
}

std::string constant_free_rule(std::uint32_t which) {
    const std::string k = std::to_string(which);
    return "(defrule r" + k + " (e (topic ?t) (id ?i)) (q (id ?i) (topic t" + k + ")) (not (c (topic ?t))) =>)";
}

// One partner on average, and so one source that wakes: with ten, a write would cost ten offers.
Fact constant_free_fact(Dice& dice, std::size_t place, std::size_t size) {
    if (place < size / 10'000) return {'c', static_cast<std::int64_t>(place), 0, 0};
    return {place % 2 == 0 ? 'e' : 'q', roll(dice, sources), static_cast<double>(roll(dice, 100)),
            roll(dice, static_cast<std::int64_t>(size / 2))};
}

// A count, a sum or a maximum per topic, half of them about the topic of an entry that is bound. Thresholds
// are such that a write now and then crosses one.
Condition aggregate_condition(std::uint32_t which, std::uint32_t) {
    const double per_topic = static_cast<double>(board_entries) / sources;
    const Comparison about = compared("topic", CompareOp::eq, topic(which));
    Term aggregate = term_of(TermKind::count, "e", {which % 2 == 0 ? about : joined("topic")});
    Comparison is;
    is.op = CompareOp::gte;
    switch (which / 2 % 3) {
        case 0:
            is.operand.literal = Value::number(per_topic + which % 10);
            break;
        case 1:
            aggregate.kind = TermKind::sum;
            is.operand.literal = Value::number(500 * (per_topic + which % 10));
            break;
        default:
            aggregate.kind = TermKind::max;
            is.operand.literal = Value(995);
    }
    if (aggregate.kind != TermKind::count) aggregate.field = {"confidence"};
    aggregate.is = {is};
    return condition_of({term_of(TermKind::each, "q", {about}), std::move(aggregate)});
}

Fact aggregate_fact(Dice& dice, std::size_t place, std::size_t) {
    if (place < sources) return {'q', static_cast<std::int64_t>(place), 0, 0};
    return {'e', roll(dice, sources), static_cast<double>(roll(dice, 1'000)), roll(dice, 1'000'000)};
}

const std::vector<Shape>& shapes() {
    static const std::vector<Shape> all = {
        {"range", "a range of a number, joined by id", range_condition, range_rule, range_fact},
        {"constant_free", "no constant on the first entry, a join, a negation", constant_free_condition,
         constant_free_rule, constant_free_fact},
        {"constant", "a topic, a join and a negation", constant_condition, constant_rule, constant_fact},
        {"aggregate", "a count, a sum or a maximum per topic", aggregate_condition, nullptr, aggregate_fact},
    };
    return all;
}

const Shape& shape_named(const std::string& name) {
    for (const Shape& shape : shapes()) {
        if (shape.name == name) return shape;
    }
    give_up("there is no shape " + name);
}

// ---- our side ---------------------------------------------------------------------------------

double us_since(Steady::time_point start) {
    return std::chrono::duration<double, std::micro>(Steady::now() - start).count();
}

double quantile(std::vector<double> samples, double part) {
    std::sort(samples.begin(), samples.end());
    return samples[static_cast<std::size_t>(part * static_cast<double>(samples.size() - 1))];
}

std::string figures(const std::vector<double>& samples) {
    char text[120];
    std::snprintf(text, sizeof text, "p50 %.2f us, p99 %.2f us, slowest %.0f us of %zu", quantile(samples, 0.5),
                  quantile(samples, 0.99), quantile(samples, 1), samples.size());
    return text;
}

/// Entries that others hold, numbered by region.
class BoardMaker {
public:
    explicit BoardMaker(const Shape& shape) : shape_(shape) {}

    EntryPtr make(std::size_t place, std::size_t size) { return make(shape_.fact(dice_, place, size)); }

    EntryPtr make(const Fact& fact) {
        auto entry = std::make_shared<Entry>();
        entry->id = {std::string(1, fact.region), ++numbers_[static_cast<unsigned char>(fact.region)]};
        entry->position = {++position_};
        entry->author = "seed";
        entry->content = Value::object(
            {{"topic", topic(fact.topic)}, {"confidence", Value::number(fact.confidence)}, {"id", Value(fact.id)}});
        return entry;
    }

    Fact fact_of_evidence(std::size_t size) {
        Fact fact = shape_.fact(dice_, size, size);
        while (fact.region != 'e') fact = shape_.fact(dice_, size, size);
        return fact;
    }

    Position next_position() { return {++position_}; }
    Dice& dice() { return dice_; }

private:
    const Shape& shape_;
    Dice dice_{20'260'101};
    std::uint64_t position_ = 1;
    std::uint64_t numbers_[256] = {};
};

std::vector<EntryPtr> make_board(BoardMaker& maker, std::size_t size) {
    std::vector<EntryPtr> entries;
    entries.reserve(size);
    for (std::size_t place = 0; place < size; ++place) entries.push_back(maker.make(place, size));
    return entries;
}

/// A matcher with its sources. What it offers is kept, as the agenda would keep it.
class OurMatcher {
public:
    OurMatcher(const Shape& shape, std::uint32_t count, bool all_taken = false) : all_taken_(all_taken) {
        std::vector<WatchedCondition> watched;
        for (std::uint32_t which = 0; which < count; ++which) {
            conditions_.push_back(std::make_unique<const Condition>(shape.condition(which, count)));
            watched.push_back({"source" + std::to_string(which), conditions_.back().get()});
        }
        matcher_ = make_incremental_matcher(std::move(watched), [this](const Match& match) {
            return all_taken_ || (!taken_.empty() && taken_.count(match.key) > 0);
        });
        matcher_->begin_run({1}, {0});
    }

    void load(const std::vector<EntryPtr>& entries) {
        for (const EntryPtr& entry : entries) {
            commit(change_of(nullptr, entry), entry->position);
            matcher_->take_delta();
        }
    }

    /// Microseconds. What is offered is left in `offered`.
    double write(const EntryChange& change, Position position) {
        const auto start = Steady::now();
        commit(change, position);
        MatchDelta delta = matcher_->take_delta();
        const double us = us_since(start);
        offered = std::move(delta.added);
        return us;
    }

    /// Microseconds for taking up all that the last write made match, one after the other.
    double drain() {
        std::vector<MatchPtr> heads = std::move(offered);
        const auto start = Steady::now();
        while (!heads.empty()) {
            for (const MatchPtr& match : heads) {
                taken_.insert(match->key);
                matcher_->withdraw(*match);
                ++drained;
            }
            heads = matcher_->take_delta().added;
        }
        return us_since(start);
    }

    static EntryChange change_of(EntryPtr before, EntryPtr after) {
        EntryChange change;
        change.id = after ? after->id : before->id;
        change.kind = !after   ? EntryChange::Kind::removed
                      : before ? EntryChange::Kind::updated
                               : EntryChange::Kind::added;
        change.before = std::move(before);
        change.after = std::move(after);
        return change;
    }

    std::vector<MatchPtr> offered;
    std::size_t drained = 0;

private:
    void commit(const EntryChange& change, Position position) { matcher_->commit(position, {0}, {&change, 1}); }

    bool all_taken_;
    std::vector<std::unique_ptr<const Condition>> conditions_;
    std::unordered_set<Hash128> taken_;
    std::unique_ptr<Matcher> matcher_;
};

/// A round of new pieces of evidence, each written alone.
std::vector<double> write_evidence(OurMatcher& ours, BoardMaker& maker, std::size_t size, std::size_t count) {
    std::vector<double> samples;
    for (std::size_t i = 0; i < count; ++i) {
        const EntryPtr entry = maker.make(maker.fact_of_evidence(size));
        samples.push_back(ours.write(OurMatcher::change_of(nullptr, entry), entry->position));
    }
    return samples;
}

void append(std::vector<double>& all, const std::vector<double>& more) {
    all.insert(all.end(), more.begin(), more.end());
}

void note_limits(Report& report, const std::string& what, const std::vector<double>& samples) {
    const bool within = quantile(samples, 0.5) <= p50_most_us && quantile(samples, 0.99) <= p99_most_us;
    report.note(what + ": " + figures(samples) + (within ? "" : "  ABOVE the limits of 5 and 25 us"));
}

/// Other writes than the row's: new versions, retractions, entries of the other side, which wake a source for
/// each partner, and all that a write made match taken up.
void note_other_writes(Report& report, OurMatcher& ours, BoardMaker& maker, const std::vector<EntryPtr>& board) {
    std::vector<double> updates;
    std::vector<double> retractions;
    std::vector<double> questions;
    std::vector<double> drained;
    std::size_t woken = 0;
    ours.drained = 0;
    for (std::size_t i = 0; i < writes_per_round; ++i) {
        const EntryPtr& before = board[board.size() / 2 + i * 2];
        auto after = std::make_shared<Entry>(*maker.make(maker.fact_of_evidence(board.size())));
        after->id = before->id;
        after->version = 2;
        updates.push_back(ours.write(OurMatcher::change_of(before, after), after->position));
        retractions.push_back(ours.write(OurMatcher::change_of(after, nullptr), maker.next_position()));
        Fact fact = maker.fact_of_evidence(board.size());
        const EntryPtr entry = maker.make(fact);
        const double us = ours.write(OurMatcher::change_of(nullptr, entry), entry->position);
        drained.push_back(us + ours.drain());
        fact.region = 'q';
        const EntryPtr question = maker.make(fact);
        questions.push_back(ours.write(OurMatcher::change_of(nullptr, question), question->position));
        woken += ours.offered.size();
    }
    note_limits(report, "new versions", updates);
    note_limits(report, "retractions", retractions);
    char text[80];
    std::snprintf(text, sizeof text, "new questions, %.1f offers each", static_cast<double>(woken) / writes_per_round);
    report.note(text + (": " + figures(questions)));
    std::snprintf(text, sizeof text, "new entries, all of %.1f matches each taken up",
                  static_cast<double>(ours.drained) / writes_per_round);
    report.note(text + (": " + figures(drained)));
}

// ---- beside CLIPS -----------------------------------------------------------------------------

#ifdef STELE_HAS_CLIPS
class Clips {
public:
    Clips(const Shape& shape, std::size_t size, std::size_t evidence) : shape_(shape), size_(size) {
        for (const char* name : {"e", "q", "c"}) {
            engine_.build("(deftemplate " + std::string(name) + " (slot topic) (slot confidence) (slot id))");
        }
        for (std::uint32_t which = 0; which < sources; ++which) engine_.build(shape.rule(which));
        // Facts that say the same are two, as they are two entries.
        engine_.evaluate("(set-fact-duplication TRUE)");
        engine_.reset();
        std::size_t left = evidence;
        for (std::size_t place = 0; place < size; ++place) {
            Fact fact = shape.fact(dice_, place, size);
            // Loading so much evidence would take minutes where each piece is tried by every rule.
            if (fact.region == 'e' && left == 0) fact.region = 'q';
            if (fact.region == 'e') --left;
            assert_fact(fact);
        }
    }

    std::vector<double> write_evidence(std::size_t count) {
        std::vector<double> samples;
        for (std::size_t i = 0; i < count; ++i) {
            Fact fact = shape_.fact(dice_, size_, size_);
            fact.region = 'e';
            samples.push_back(assert_fact(fact));
        }
        return samples;
    }

private:
    double assert_fact(const Fact& fact) {
        const ClipsEngine::Slots slots = {
            {"topic", "t" + std::to_string(fact.topic)}, {"confidence", fact.confidence}, {"id", fact.id}};
        ClipsEngine::Handle& known = templates_[static_cast<unsigned char>(fact.region)];
        if (known == nullptr) known = engine_.deftemplate(std::string(1, fact.region));
        const auto start = Steady::now();
        engine_.assert_fact(known, slots);
        return us_since(start);
    }

    const Shape& shape_;
    std::size_t size_;
    ClipsEngine engine_;
    Dice dice_{20'260'101};
    ClipsEngine::Handle templates_[256] = {};
};

struct Against {
    std::string shape;
    std::size_t clips_size;
    std::size_t clips_evidence;
    std::size_t clips_writes;  // a round
    std::size_t our_size;
    double goal;
};

void measure_against_clips(Report& report, const Against& against, int rounds) {
    const Shape& shape = shape_named(against.shape);
    report.heading(shape.name + ": " + shape.says + "; " + std::to_string(sources) + " sources");
    BoardMaker maker(shape);
    const std::vector<EntryPtr> board = make_board(maker, against.our_size);
    OurMatcher ours(shape, sources);
    ours.load(board);
    Clips clips(shape, against.clips_size, against.clips_evidence);
    write_evidence(ours, maker, board.size(), writes_per_round / 2);
    clips.write_evidence(against.clips_writes / 10);

    Row row;
    row.name = shape.name;
    row.unit = "us a write";
    row.more_is_better = false;
    row.goal = against.goal;
    row.peer_name = "CLIPS 6.30, the same " + std::to_string(sources) + " rules, " +
                    std::to_string(against.clips_size) + " facts (ours: " + std::to_string(board.size()) + " entries)";
    std::vector<double> all_ours;
    std::vector<double> all_clips;
    for (int round = 0; round < rounds; ++round) {
        const std::vector<double> our_us = write_evidence(ours, maker, board.size(), writes_per_round);
        const std::vector<double> clips_us = clips.write_evidence(against.clips_writes);
        row.rounds.ours.push_back(quantile(our_us, 0.5));
        row.rounds.peer.push_back(quantile(clips_us, 0.5));
        append(all_ours, our_us);
        append(all_clips, clips_us);
    }
    report.add(row);
    note_limits(report, "ours", all_ours);
    report.note("CLIPS: " + figures(all_clips));
    note_other_writes(report, ours, maker, board);
}
#endif

/// Flat from a board of 100,000 entries to one of 1,000,000?
void note_flatness(Report& report, const Shape& shape, int rounds) {
    std::vector<double> medians;
    BoardMaker small_maker(shape);
    BoardMaker large_maker(shape);
    const std::vector<EntryPtr> small_board = make_board(small_maker, board_entries / 10);
    const std::vector<EntryPtr> large_board = make_board(large_maker, board_entries);
    OurMatcher small(shape, sources);
    OurMatcher large(shape, sources);
    small.load(small_board);
    large.load(large_board);
    std::vector<double> small_us;
    std::vector<double> large_us;
    for (int round = 0; round < rounds; ++round) {
        append(small_us, write_evidence(small, small_maker, small_board.size(), writes_per_round));
        append(large_us, write_evidence(large, large_maker, large_board.size(), writes_per_round));
    }
    report.note("at   100,000 entries: " + figures(small_us));
    report.note("at 1,000,000 entries: " + figures(large_us));
}

// ---- alone ------------------------------------------------------------------------------------

void measure_aggregate(Report& report, int rounds) {
    const Shape& shape = shape_named("aggregate");
    report.heading(shape.name + ": " + shape.says + "; " + std::to_string(sources) + " sources");
    BoardMaker maker(shape);
    const std::vector<EntryPtr> board = make_board(maker, board_entries);
    OurMatcher ours(shape, sources);
    ours.load(board);
    write_evidence(ours, maker, board.size(), writes_per_round / 2);
    Row row;
    row.name = shape.name;
    row.unit = "us a write";
    row.more_is_better = false;
    row.most = p50_most_us;
    row.peer_name = "the goal for the median: CLIPS has no aggregates";
    std::vector<double> all;
    for (int round = 0; round < rounds; ++round) {
        const std::vector<double> us = write_evidence(ours, maker, board.size(), writes_per_round);
        row.rounds.ours.push_back(quantile(us, 0.5));
        row.rounds.peer.push_back(p50_most_us);
        append(all, us);
    }
    report.add(row);
    note_limits(report, "ours", all);
    note_other_writes(report, ours, maker, board);
}

/// The same board and the same writes, each of which concerns a source, for many sources and for few.
void measure_scale(Report& report, int rounds) {
    constexpr std::uint32_t few = 10;
    report.heading("scale: 10,000 sources and 10, on boards of 1,000,000 entries");
    Row row;
    row.name = "scale";
    row.unit = "us a write";
    row.more_is_better = false;
    row.goal = 1 / 1.3;
    double worst = 0;
    for (const char* name : {"range", "constant", "aggregate"}) {
        const Shape& shape = shape_named(name);
        BoardMaker maker(shape);
        const std::vector<EntryPtr> board = make_board(maker, board_entries);
        OurMatcher many_sources(shape, sources);
        OurMatcher few_sources(shape, few);
        many_sources.load(board);
        few_sources.load(board);
        Rounds medians;
        for (int round = -1; round < rounds; ++round) {
            std::vector<double> many_us;
            std::vector<double> few_us;
            for (std::size_t i = 0; i < writes_per_round; ++i) {
                Fact fact = maker.fact_of_evidence(board.size());
                fact.topic = roll(maker.dice(), few);
                const EntryPtr entry = maker.make(fact);
                const EntryChange change = OurMatcher::change_of(nullptr, entry);
                many_us.push_back(many_sources.write(change, entry->position));
                few_us.push_back(few_sources.write(change, entry->position));
            }
            if (round < 0) continue;  // caches, and tables that grow once
            medians.ours.push_back(quantile(many_us, 0.5));
            medians.peer.push_back(quantile(few_us, 0.5));
        }
        const double times = median(medians.ours) / median(medians.peer);
        char text[120];
        std::snprintf(text, sizeof text, "%s: %.2f us with 10,000 sources, %.2f us with 10: %.2f times", name,
                      median(medians.ours), median(medians.peer), times);
        report.note(text);
        if (times <= worst) continue;
        worst = times;
        row.rounds = medians;
        row.peer_name = "ourselves with 10 sources, shape " + std::string(name) + " (the worst of three)";
    }
    report.add(row);
}

double used_bytes() {
    const struct mallinfo2 info = ::mallinfo2();
    return static_cast<double>(info.uordblks) + static_cast<double>(info.hblkhd);
}

/// What the matcher itself keeps for an entry: entries are held by the board, and what is offered is the
/// agenda's, so nothing is on offer here.
void measure_memory(Report& report) {
    report.heading("memory: what the matcher keeps for an entry, of 1,000,000");
    Row row;
    row.name = "memory";
    row.unit = "bytes";
    row.more_is_better = false;
    row.most = index_bytes_most;
    double worst = 0;
    for (const Shape& shape : shapes()) {
        BoardMaker maker(shape);
        const std::vector<EntryPtr> board = make_board(maker, board_entries);
        double bytes[2] = {};
        for (const bool all_taken : {true, false}) {
            OurMatcher ours(shape, sources, all_taken);
            const double before = used_bytes();
            ours.load(board);
            bytes[all_taken ? 0 : 1] = (used_bytes() - before) / static_cast<double>(board_entries);
        }
        char text[160];
        std::snprintf(text, sizeof text, "%s: %.0f bytes an entry; %.0f with every first match of an entry on offer",
                      shape.name.c_str(), bytes[0], bytes[1]);
        report.note(text);
        if (bytes[0] <= worst) continue;
        worst = bytes[0];
        row.rounds = {{worst}, {index_bytes_most}};
        row.peer_name = "the goal; ours in the worst of the shapes, " + shape.name;
    }
    report.add(row);
}

// ---- classic programs -------------------------------------------------------------------------

/// A crew of rules and its facts as one crew text: what its source of facts would insert is its seed.
struct Classic {
    std::string name;
    std::string crew_file;
    std::string facts_script;
    std::string size;
    std::string program;  // the same for CLIPS
    std::uint64_t firings = 0;
};

std::string output_of(const std::string& command) {
    std::string text;
    std::FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) give_up("cannot run " + command);
    char buffer[4096];
    for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, got);
    if (::pclose(pipe) != 0) give_up(command + " failed");
    return text;
}

std::shared_ptr<const CrewSpec> seeded_crew(const Classic& classic, const std::string& folder) {
    std::string text = output_of("cat " + folder + classic.crew_file);
    const std::size_t begin = text.find("  facts:\n");
    const std::size_t end = text.find("\n  ", text.find("may:", begin));
    text.erase(begin, end + 1 - begin);
    std::map<std::string, std::string> seed;
    const std::string facts = output_of("python3 " + folder + classic.facts_script + " " + classic.size);
    for (std::size_t at = 0; at < facts.size();) {
        const std::size_t line_end = facts.find('\n', at);
        const Value operation = take(parse_json(facts.substr(at, line_end - at)));
        std::string& entries = seed[operation.find("region")->as_string()];
        entries += (entries.empty() ? "" : ", ") + to_json(*operation.find("entry"));
        at = line_end + 1;
    }
    text += "seed:\n";
    for (const auto& [region, entries] : seed) text += "  " + region + ": [" + entries + "]\n";
    LoadedCrew loaded = load_crew(text, classic.crew_file, folder, {});
    if (!loaded.crew) give_up(join_problems(loaded.problems));
    return loaded.crew;
}

/// Seconds from the start of the run to its stop: fold, matcher, agenda, rules, records, on the memory log.
/// `at`: seconds at each thousandth firing.
double run_crew(const std::shared_ptr<const CrewSpec>& crew, std::uint64_t& firings,
                std::vector<double>* at = nullptr) {
    const std::unique_ptr<StateStore> store = make_memory_store();
    const std::unique_ptr<Board> board = take(Board::open(*store, {1}, FamilyKey{}));
    const std::unique_ptr<WriteLog> log = make_store_log(*store, {1});
    Fold fold(*board,
              [crew](const std::string&, const std::string&,
                     const std::string&) -> Result<std::shared_ptr<const CrewSpec>> { return crew; });
    Record fence;
    fence.kind = RecordKind::fence;
    fence.author = "system";
    Record started;
    started.kind = RecordKind::run_started;
    started.author = "person";
    started.parts = {crew->text};
    firings = 0;
    const auto start = Steady::now();
    for (Record* first : {&fence, &started}) {
        std::optional<Record> next = std::move(*first);
        while (next) {
            next->epoch = fold.scheduler().epoch();
            next->time = {1};
            StoreBatch batch;
            std::string frame;
            Folded taken = take(fold.take(std::move(*next), Salt{}, batch, frame));
            next.reset();
            const LogFrame frames[] = {{taken.logged->position, std::move(frame)}};
            check(log->append(frames, std::move(batch)));
            check(fold.step(taken));
            if (taken.effects.append) {
                next = std::move(taken.effects.append);
            } else if (taken.effects.fire) {
                RuleFiring& fire = *taken.effects.fire;
                fire.commit.writes = take(apply_rule(crew->sources[fire.source], bindings_of(fire.members)));
                if (++firings % 1'000 == 0 && at != nullptr) at->push_back(seconds_since(start));
                next = std::move(fire.commit);
            }
        }
    }
    const double seconds = seconds_since(start);
    if (fold.scheduler().stopping() != StopReason::goal) give_up("the crew did not reach its goal");
    return seconds;
}

#ifdef STELE_HAS_CLIPS
double run_clips(const std::string& program, const std::string& facts, std::uint64_t& firings) {
    ClipsEngine clips;
    clips.load(program);
    clips.evaluate("(set-strategy depth)");
    clips.reset();
    const auto start = Steady::now();
    clips.load_facts(facts);
    firings = static_cast<std::uint64_t>(clips.run(-1));
    return seconds_since(start);
}

void measure_classic(Report& report, const Classic& classic, int rounds) {
    report.heading(classic.name + ": the whole program, agenda and all, on the memory log");
    const std::string folder = std::string(STELE_PROJECT_DIR) + "/configs/classics/";
    const std::shared_ptr<const CrewSpec> crew = seeded_crew(classic, folder);
    const WorkingDirectory directory("matcher_" + classic.name);
    Row row;
    row.name = classic.name;
    row.unit = "ms";
    row.more_is_better = false;
    row.goal = 3;
    row.peer_name = "CLIPS on the same rules and facts";
    directory.with_folder("facts", [&](const std::string& made) {
        const std::string facts = made + "/facts.clp";
        output_of("python3 " + folder + classic.facts_script + " " + classic.size + " --clips > " + facts);
        for (int round = -1; round < rounds; ++round) {
            std::uint64_t ours = 0;
            std::uint64_t theirs = 0;
            const double our_ms = 1e3 * run_crew(crew, ours);
            const double peer_ms =
                1e3 * run_clips(std::string(STELE_PROJECT_DIR) + "/tests/classics/" + classic.program, facts, theirs);
            if (ours != classic.firings || theirs != classic.firings) give_up("not the published number of firings");
            if (round < 0) continue;  // pages and caches
            row.rounds.ours.push_back(our_ms);
            row.rounds.peer.push_back(peer_ms);
        }
    });
    report.add(row);
}
#endif

// ---- many small writes ------------------------------------------------------------------------

/// A rule that refines one entry 99,000 times, a number at a time: what the last of the writes cost beside
/// the first, on the memory log.
void measure_flood(Report& report, int rounds) {
    report.heading("flood: one entry refined 99,000 times by a rule");
    // The seed is one commit, which takes no more than 100,000 writes.
    constexpr int steps = 99'000;
    std::string text = R"(stele: 1
crew: flood
durability: memory
regions:
  state: {policy: last_writer_wins, entry: {n: integer}}
  numbers: {policy: append_only, entry: {n: integer, next: integer}}
sources:
  step:
    kind: rule
    when: [{each: state as s}, {each: numbers as x, where: {n: $s.n}}]
    then: [{put: state, entry: {n: $x.next}}]
    may: {read: [state, numbers], write: {state: [put]}}
stop: {cycle: {rounds: off}, goal: [{exists: state, where: {n: )" +
                       std::to_string(steps) + "}}]}\nseed:\n  state: [{n: 0}]\n  numbers:\n";
    for (int n = 0; n < steps; ++n) {
        text += "    - {n: " + std::to_string(n) + ", next: " + std::to_string(n + 1) + "}\n";
    }
    const LoadedCrew loaded = load_crew(text, "flood.yaml", "/", {});
    if (!loaded.crew) give_up("the crew of the flood does not load");
    Row row;
    row.name = "flood";
    row.unit = "us a write";
    row.more_is_better = false;
    row.goal = 0.8;
    row.peer_name = "ourselves from the 5,000th to the 25,000th write";
    for (int round = 0; round < std::min(rounds, 3); ++round) {
        std::uint64_t firings = 0;
        std::vector<double> at;
        run_crew(loaded.crew, firings, &at);
        if (firings != steps) give_up("the flood took another number of steps");
        row.rounds.ours.push_back(1e6 * (at[97] - at[77]) / 20'000);
        row.rounds.peer.push_back(1e6 * (at[24] - at[4]) / 20'000);
    }
    report.add(row);
}

// ---- loops ------------------------------------------------------------------------------------

constexpr double hash_most_ns = 100;

/// What the hash per region and board costs a write that puts a new version of an entry in place of another;
/// the entries are as a board makes them.
void measure_state_hash(Report& report, int rounds) {
    report.heading("state_hash: keeping the hash of region and board, a write of a new version");
    constexpr std::size_t entries = 10'000;
    std::vector<EntryPtr> versions[2];
    for (std::vector<EntryPtr>& made : versions) {
        for (std::size_t i = 0; i < entries; ++i) {
            auto entry = std::make_shared<Entry>();
            const auto number = static_cast<std::int64_t>(i);
            entry->id = {"status", i + 1};
            entry->content = Value::object({{"file", Value("src/file_" + std::to_string(i) + ".cpp")},
                                            {"changes", Value(number * (&made == versions ? 1 : 3))},
                                            {"author", Value("someone")},
                                            {"at", Value(number * 17)}});
            entry->digest = fixed_digest(to_json(entry->content));
            made.push_back(std::move(entry));
        }
    }
    Row row;
    row.name = "state_hash";
    row.unit = "ns";
    row.more_is_better = false;
    row.goal = 1;
    row.most = hash_most_ns;
    double worst = 0;
    for (const bool has_volatile : {false, true}) {
        RegionSpec region;
        region.name = "status";
        if (has_volatile) region.volatile_fields = {"at"};
        Rounds ns;
        for (int round = -1; round < rounds; ++round) {
            ContentHashes hashes;
            std::vector<EntryChange> changes;
            for (std::size_t i = 0; i < entries; ++i) {
                hashes.change(region, OurMatcher::change_of(nullptr, versions[0][i]));
                changes.push_back(OurMatcher::change_of(versions[0][i], versions[1][i]));
            }
            const auto start = Steady::now();
            for (const EntryChange& change : changes) hashes.change(region, change);
            if (round < 0) continue;
            ns.ours.push_back(1e3 * us_since(start) / entries);
            ns.peer.push_back(hash_most_ns);
        }
        char text[120];
        std::snprintf(text, sizeof text, "%s: %.0f ns",
                      has_volatile ? "with a volatile field" : "without volatile fields", median(ns.ours));
        report.note(text);
        if (median(ns.ours) <= worst) continue;
        worst = median(ns.ours);
        row.rounds = ns;
        row.peer_name =
            has_volatile ? "the goal; ours with a volatile field" : "the goal; ours without volatile fields";
    }
    report.add(row);

    // A chain that never says the same, which the detector looks at longest.
    RegionSpec notes;
    notes.name = "notes";
    std::vector<double> us;
    CycleDetector detector({}, 0);
    Dice dice(7);
    for (std::uint64_t i = 1; i <= entries; ++i) {
        std::string text;
        for (int word = 0; word < 20; ++word) text += "word" + std::to_string(dice() % 5'000) + " ";
        Entry entry;
        entry.id = {"notes", i};
        entry.content = Value::object({{"n", Value(static_cast<std::int64_t>(i))}, {"text", Value(text)}});
        entry.digest = fixed_digest(text);
        const auto start = Steady::now();
        CommitTrace trace;
        trace.position = {i};
        trace.source = i % 2 == 0 ? "a" : "b";
        trace.causes = {{i - 1}};
        trace.writes = {fingerprint(notes, entry, false)};
        trace.regions = {{0, entry.digest}};
        if (detector.on_commit(std::move(trace))) give_up("a chain that says something new was taken for a loop");
        us.push_back(us_since(start));
    }
    report.note("the detector, an activation that writes 20 words, in a chain of 10,000: " + figures(us));
}

// ---- instructions -----------------------------------------------------------------------------

__attribute__((noinline)) void make_counted_writes(OurMatcher& ours, const std::vector<EntryPtr>& entries) {
    for (const EntryPtr& entry : entries) ours.write(OurMatcher::change_of(nullptr, entry), entry->position);
}

void count_instructions(const std::string& name) {
    constexpr std::size_t size = 100'000;
    const Shape& shape = shape_named(name);
    BoardMaker maker(shape);
    OurMatcher ours(shape, sources);
    ours.load(make_board(maker, size));
    write_evidence(ours, maker, size, writes_per_round);
    std::vector<EntryPtr> entries;
    for (std::size_t i = 0; i < writes_per_round; ++i) entries.push_back(maker.make(maker.fact_of_evidence(size)));
    make_counted_writes(ours, entries);
    std::printf("%zu writes; divide what make_counted_writes collected by it\n", entries.size());
}

// ---- all of it --------------------------------------------------------------------------------

void run(const Options& options) {
    Report report;
    const auto wanted = [&](const std::string& part) { return options.only.empty() || options.only == part; };
#ifdef STELE_HAS_CLIPS
    const Against all_against[] = {
        {"range", 100'000, 5'000, 400, board_entries, 300},
        {"constant_free", 2'000, 2'000, 250, board_entries, 1'000},
        {"constant", 100'000, 100'000, writes_per_round, board_entries / 10, 1},
    };
    for (const Against& against : all_against) {
        if (wanted(against.shape)) measure_against_clips(report, against, options.rounds);
    }
    if (wanted("constant")) note_flatness(report, shape_named("constant"), options.rounds);
#else
    report.note("built without libclips-dev: no rows against CLIPS");
#endif
#ifdef STELE_HAS_CLIPS
    if (wanted("manners_128")) {
        measure_classic(report, {"manners_128", "manners.yaml", "guests.py", "128", "manners.clp", 8'639},
                        options.rounds);
    }
    if (wanted("waltz_50")) {
        measure_classic(report, {"waltz_50", "waltz.yaml", "drawing.py", "50", "waltz.clp", 14'064}, options.rounds);
    }
#endif
    if (wanted("aggregate")) measure_aggregate(report, options.rounds);
    if (wanted("scale")) measure_scale(report, options.rounds);
    if (wanted("memory")) measure_memory(report);
    if (wanted("flood")) measure_flood(report, options.rounds);
    if (wanted("state_hash")) measure_state_hash(report, options.rounds);
    if (!options.json.empty()) report.write_json(options.json);
}

}  // namespace
}  // namespace stele

int main(int count, char** arguments) {
    if (count == 3 && std::string(arguments[1]) == "--instructions") {
        try {
            stele::count_instructions(arguments[2]);
        } catch (const std::exception& problem) {
            std::fprintf(stderr, "matcher benchmark: %s\n", problem.what());
            return 1;
        }
        return 0;
    }
    return stele::run_benchmark(
        {"matcher", "range|constant_free|constant|aggregate|scale|memory|manners_128|waltz_50|flood|state_hash", 5},
        count, arguments, stele::run);
}

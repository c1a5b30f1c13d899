// How near the goal is, and whether a commit brought it nearer than it ever was: what a loop that writes
// something new each time is judged by. Fed every commit; keeps a number per term. Loop thread only.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "board/entry.hpp"
#include "board/value.hpp"
#include "scheduler/condition.hpp"
#include "scheduler/exact_sum.hpp"

namespace stele {

class CheckpointReader;
class CheckpointWriter;

/// Measures the terms of a condition that a number can tell of: what is counted or summed up against what
/// `is` asks, how many entries `none` still finds, and how near the nearest entry came to a pattern (tests
/// that fail, and for a test of a number by how much). Tests against variables, `not:` and terms of time
/// are left out. Not for one term beside the others: each is nearer or not by itself.
class GoalMeter {
public:
    /// `goal` outlives the meter.
    explicit GoalMeter(const Condition& goal);

    /// Takes a commit in: true when some term is nearer than it ever was. What comes from outside may move
    /// the goal, so a term that it touches counts as nearer, and is measured anew from there.
    bool commit(std::span<const EntryChange> changes, bool outside);

    /// As if everything that the other saw had come from outside. Into a meter of the same goal that has been told of
    /// every active entry.
    void take_over(const GoalMeter& other);

    void save(CheckpointWriter& out) const;
    /// Into a meter of the same goal that has been told of every active entry.
    void load(CheckpointReader& in);

private:
    struct ValueLess {
        bool operator()(const Value& a, const Value& b) const { return compare(a, b) < 0; }
    };
    struct Gauge {
        const Term* term;
        std::int64_t count = 0;
        ExactSum sum;
        std::map<Value, std::uint32_t, ValueLess> numbers;  // min, max
        double nearest = 0;                                 // of the entries of a pattern, since the outset
        double now = 0;
        double best = 0;
    };
    void add_terms(const std::vector<Term>& terms);
    static void take(Gauge& gauge, const EntryChange& change);
    static double distance(const Gauge& gauge);

    std::vector<Gauge> gauges_;
};

}  // namespace stele

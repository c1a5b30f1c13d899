#include "scheduler/budgets.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "scheduler/checkpoint.hpp"

namespace stele {
namespace {

std::uint64_t sum(std::uint64_t a, std::uint64_t b) {
    std::uint64_t result = 0;
    return __builtin_add_overflow(a, b, &result) ? std::numeric_limits<std::uint64_t>::max() : result;
}

std::int64_t sum(std::int64_t a, std::int64_t b) {
    std::int64_t result = 0;
    return __builtin_add_overflow(a, b, &result) ? std::numeric_limits<std::int64_t>::max() : result;
}

Amounts minus(const Amounts& a, const Amounts& b) {
    return {a.calls - std::min(a.calls, b.calls), a.tokens - std::min(a.tokens, b.tokens),
            a.money_micros - std::min(a.money_micros, b.money_micros), a.wall_ms - std::min(a.wall_ms, b.wall_ms)};
}

/// One thing that is counted, of one cap.
struct Count {
    const char* what;
    std::uint64_t cap;
    std::uint64_t spent;
    std::uint64_t reserved;
    std::uint64_t wanted;
};

std::uint64_t whole(std::int64_t amount) { return amount > 0 ? static_cast<std::uint64_t>(amount) : 0; }

std::string in_words(const char* what, std::uint64_t amount) {
    if (std::string_view(what) != "money") return std::to_string(amount) + " " + what;
    std::string digits = std::to_string(amount);
    if (digits.size() < 7) digits.insert(0, 7 - digits.size(), '0');
    return digits.insert(digits.size() - 6, ".") + " of money";
}

std::optional<BudgetRoom> judge(const std::string& whose, const std::string& name, const Count& count) {
    if (count.cap == 0) return std::nullopt;
    const std::uint64_t taken = sum(count.spent, count.reserved);
    if (sum(taken, count.wanted) <= count.cap) return std::nullopt;
    BudgetRoom room;
    const bool may_come_free = count.reserved > 0 && sum(count.spent, count.wanted) <= count.cap;
    room.kind = may_come_free ? BudgetRoom::Kind::wait : BudgetRoom::Kind::spent;
    room.budget = name + " " + count.what;
    const std::uint64_t left = count.cap - std::min(count.cap, taken);
    room.message = whose + " budget of " + in_words(count.what, count.cap) + " has " + in_words(count.what, left) +
                   " left; the call may take " + in_words(count.what, count.wanted);
    return room;
}

std::optional<BudgetRoom> judge(const std::string& whose, const std::string& name, const CallCaps& caps,
                                const Ledger& ledger, const Amounts& wanted) {
    std::optional<BudgetRoom> worst;
    for (const Count& count : {Count{"tokens", caps.tokens, ledger.spent.tokens, ledger.reserved.tokens, wanted.tokens},
                               Count{"money", whole(caps.money_micros), whole(ledger.spent.money_micros),
                                     whole(ledger.reserved.money_micros), whole(wanted.money_micros)},
                               Count{"calls", caps.calls, ledger.spent.calls, ledger.reserved.calls, wanted.calls},
                               // Time is not known ahead: one more call may begin while there is any left.
                               Count{"ms of calls", whole(caps.wall_ms), whole(ledger.spent.wall_ms), 0, 1}}) {
        std::optional<BudgetRoom> room = judge(whose, name, count);
        if (room && (!worst || room->kind == BudgetRoom::Kind::spent)) worst = std::move(room);
        if (worst && worst->kind == BudgetRoom::Kind::spent) return worst;
    }
    return worst;
}

const Ledger& ledger_of(const std::map<std::string, Ledger, std::less<>>& ledgers, std::string_view name) {
    static const Ledger empty;
    const auto found = ledgers.find(name);
    return found == ledgers.end() ? empty : found->second;
}

// What sources that do not wrap up must leave alone.
CallCaps without_reserve(const StopSpec& stop) {
    const auto part = [&](auto cap) {
        using Cap = decltype(cap);
        if (cap <= 0) return cap;
        // A cap that is cut down to nothing is still a cap.
        return std::max<Cap>(1, static_cast<Cap>(std::floor(static_cast<double>(cap) * (1.0 - stop.reserve))));
    };
    return {part(stop.calls.calls), part(stop.calls.tokens), part(stop.calls.money_micros), 0};
}

const ModelSpec* model_named(const CrewSpec& crew, std::string_view name) {
    for (const ModelSpec& model : crew.models) {
        if (model.name == name) return &model;
    }
    return nullptr;
}

}  // namespace

Amounts add(const Amounts& a, const Amounts& b) {
    return {sum(a.calls, b.calls), sum(a.tokens, b.tokens), sum(a.money_micros, b.money_micros),
            sum(a.wall_ms, b.wall_ms)};
}

void Budgets::configure(const CrewSpec& crew) { spec_ = &crew; }

void Budgets::begin_run() {
    crew_ = {};
    sources_.clear();
    models_.clear();
}

BudgetRoom Budgets::room(const Caller& caller, const Amounts& wanted) const {
    const SourceSpec* source = spec_->source(caller.source);
    const ModelSpec* model = model_named(*spec_, caller.model);
    const bool keeps_back = spec_->stop.on_exceed == OnExceed::wrap_up && (source == nullptr || !source->wrap_up);
    CallCaps crew_caps = keeps_back ? without_reserve(spec_->stop) : spec_->stop.calls;
    crew_caps.wall_ms = 0;
    std::optional<BudgetRoom> waits;
    const auto consider = [&](std::optional<BudgetRoom> room) {
        if (room && room->kind == BudgetRoom::Kind::spent) return room;
        if (room) waits = std::move(room);
        return std::optional<BudgetRoom>();
    };
    if (auto room = consider(judge("the crew's", "crew", crew_caps, crew_, wanted))) return *room;
    if (source != nullptr) {
        const std::string whose = "source \"" + source->name + "\"'s";
        if (auto room =
                consider(judge(whose, "source", source->limits.calls, ledger_of(sources_, source->name), wanted))) {
            return *room;
        }
    }
    if (model != nullptr) {
        const std::string whose = "model \"" + model->name + "\"'s";
        if (auto room =
                consider(judge(whose, "model " + model->name, model->caps, ledger_of(models_, model->name), wanted))) {
            return *room;
        }
    }
    return waits ? *waits : BudgetRoom{};
}

void Budgets::reserve(const Caller& caller, const Amounts& amounts) {
    const auto take = [&](Ledger& ledger) { ledger.reserved = add(ledger.reserved, amounts); };
    take(crew_);
    take(sources_[std::string(caller.source)]);
    if (!caller.model.empty()) take(models_[std::string(caller.model)]);
}

void Budgets::settle(const Caller& caller, const Amounts& reserved, const Amounts& spent, bool uncertain) {
    const auto take = [&](Ledger& ledger) {
        ledger.reserved = minus(ledger.reserved, reserved);
        ledger.spent = add(ledger.spent, spent);
        ledger.uncertain += uncertain ? 1 : 0;
    };
    take(crew_);
    take(sources_[std::string(caller.source)]);
    if (!caller.model.empty()) take(models_[std::string(caller.model)]);
}

Amounts Budgets::left() const {
    Amounts left;
    if (spec_ == nullptr) return left;
    const CallCaps& caps = spec_->stop.calls;
    const auto rest = [](auto cap, auto spent, auto reserved) {
        return cap <= spent || cap - spent <= reserved ? decltype(cap){0} : cap - spent - reserved;
    };
    left.tokens = rest(caps.tokens, crew_.spent.tokens, crew_.reserved.tokens);
    left.calls = rest(caps.calls, crew_.spent.calls, crew_.reserved.calls);
    left.money_micros = rest(caps.money_micros, crew_.spent.money_micros, crew_.reserved.money_micros);
    return left;
}

bool Budgets::is_spent(std::string_view source) const {
    const SourceSpec* spec = spec_->source(source);
    if (spec == nullptr) return false;
    const CallCaps& caps = spec->limits.calls;
    const Amounts& spent = ledger_of(sources_, source).spent;
    return (caps.tokens != 0 && spent.tokens >= caps.tokens) || (caps.calls != 0 && spent.calls >= caps.calls) ||
           (caps.money_micros != 0 && spent.money_micros >= caps.money_micros);
}

template <class Archive, TransferOf<Ledger> T>
void transfer(Archive& archive, T& ledger) {
    archive(ledger.spent, ledger.reserved, ledger.uncertain);
}

void Budgets::save(CheckpointWriter& out) const { out(crew_, sources_, models_); }
void Budgets::load(CheckpointReader& in) { in(crew_, sources_, models_); }

}  // namespace stele

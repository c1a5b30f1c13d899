// What the calls of a run have spent and may still spend: by the crew, by each source and by each
// model. A call reserves the most it can cost before it is made and settles what it did cost after; at
// no instant do spent and reserved together pass a cap. A function of the records alone. Loop thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "scheduler/crew_spec.hpp"

namespace stele {

class CheckpointReader;
class CheckpointWriter;

struct Ledger {
    Amounts spent;
    Amounts reserved;
    /// Calls whose cost nobody told, or that a crash cut off: they count with all they had reserved.
    std::uint64_t uncertain = 0;
};

/// Is there room for a call?
struct BudgetRoom {
    enum class Kind {
        fits,
        wait,  // not now, but what is reserved may come free
        spent
    } kind = Kind::fits;
    /// "crew tokens", "source money", "model fast calls".
    std::string budget;
    /// "the crew's budget of 20000 tokens has 412 left; the call may take 4500".
    std::string message;
};

/// Who calls what. `model` is empty for tools and services.
struct Caller {
    std::string_view source;
    std::string_view model;
};

class Budgets {
public:
    /// The caps in force from now on. What was spent stays, by name. The crew outlives the budgets.
    void configure(const CrewSpec& crew);
    /// Forgets what earlier runs spent.
    void begin_run();

    [[nodiscard]] BudgetRoom room(const Caller& caller, const Amounts& wanted) const;
    void reserve(const Caller& caller, const Amounts& amounts);
    /// Gives a reservation back and counts what was spent instead, be it more or less.
    void settle(const Caller& caller, const Amounts& reserved, const Amounts& spent, bool uncertain);
    /// A cap of this source is used up to the last bit.
    [[nodiscard]] bool is_spent(std::string_view source) const;

    /// What the crew's caps leave, less what is reserved; 0 where there is no cap.
    [[nodiscard]] Amounts left() const;

    [[nodiscard]] const Ledger& crew() const { return crew_; }
    [[nodiscard]] const std::map<std::string, Ledger, std::less<>>& sources() const { return sources_; }
    [[nodiscard]] const std::map<std::string, Ledger, std::less<>>& models() const { return models_; }

    void save(CheckpointWriter& out) const;
    /// Into budgets that have been configured.
    void load(CheckpointReader& in);

private:
    const CrewSpec* spec_ = nullptr;
    Ledger crew_;
    std::map<std::string, Ledger, std::less<>> sources_;
    std::map<std::string, Ledger, std::less<>> models_;
};

/// Sums that end at the greatest number instead of beginning anew.
Amounts add(const Amounts& a, const Amounts& b);

}  // namespace stele

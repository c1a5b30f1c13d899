// The rating of a match as arithmetic: `$q.value * 2 - cost.money / budget.money`. Parsed once by the
// crew loader, worked out by the scheduler for each match. Pure: the same match, declared cost and
// budget give the same number on every machine (IEEE double, one operation at a time).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "board/result.hpp"
#include "scheduler/condition.hpp"
#include "scheduler/evaluate.hpp"

namespace stele {

/// What an expression may speak of beside bound entries.
struct ScoreFacts {
    double priority = 0;
    /// Greater the older: minus the position of the newest thing that the match is made of.
    double age = 0;
    /// As the source declares them for one activation.
    double cost_money = 0;
    double cost_tokens = 0;
    /// What the crew's caps leave, less what is reserved; 0 where there is no cap.
    double budget_money = 0;
    double budget_tokens = 0;
    double budget_calls = 0;
};

class Score {
public:
    /// Resolves `$name.path` to a variable; an error says what is wrong with it.
    using Resolve = std::function<Result<VariableRef>(std::string_view reference)>;

    /// Numbers, `$variable.path`, the names of ScoreFacts (`cost.money`), + - * /, unary minus,
    /// parentheses, min(a, b, ...) and max(a, b, ...). Fails with invalid_argument and the column, from 1.
    static Result<std::shared_ptr<const Score>> parse(std::string_view text, const Resolve& resolve);

    /// A field that is missing or no number counts as 0, and so does a division by 0 and whatever is not finite.
    [[nodiscard]] double value(const Bindings& entries, const ScoreFacts& facts) const;
    /// The value of each field and name in it, as written, in order of appearance, each once.
    [[nodiscard]] std::vector<std::pair<std::string, double>> terms(const Bindings& entries,
                                                                    const ScoreFacts& facts) const;
    /// It must be worked out again when money or tokens are spent.
    [[nodiscard]] bool depends_on_budget() const;
    [[nodiscard]] const std::string& text() const { return text_; }

private:
    enum class Op { number, reference, fact, add, subtract, multiply, divide, negate, least, greatest };
    struct Node {
        Op op = Op::number;
        double number = 0;
        std::string word;  // as written
        VariableRef reference;
        double ScoreFacts::*fact = nullptr;
        std::vector<std::uint32_t> arguments;
    };
    class Parser;

    Score() = default;
    [[nodiscard]] double work_out(std::uint32_t node, const Bindings& entries, const ScoreFacts& facts) const;

    std::string text_;
    std::vector<Node> nodes_;
    std::uint32_t root_ = 0;
};

}  // namespace stele

#include "scheduler/score.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "board/limits.hpp"
#include "board/nearest.hpp"

namespace stele {
namespace {

struct FactName {
    std::string_view name;
    double ScoreFacts::*fact;
};
constexpr FactName fact_names[] = {
    {"priority", &ScoreFacts::priority},         {"age", &ScoreFacts::age},
    {"cost.money", &ScoreFacts::cost_money},     {"cost.tokens", &ScoreFacts::cost_tokens},
    {"budget.money", &ScoreFacts::budget_money}, {"budget.tokens", &ScoreFacts::budget_tokens},
    {"budget.calls", &ScoreFacts::budget_calls},
};

double finite(double number) { return std::isfinite(number) ? number : 0; }

bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '@';
}

}  // namespace

class Score::Parser {
public:
    Parser(std::string_view text, const Resolve& resolve, Score& score)
        : text_(text), resolve_(resolve), score_(score) {}

    Status parse() {
        score_.root_ = sum(0);
        skip();
        if (!failed_ && at_ < text_.size()) fail(at_, "expected an operator, found " + found());
        if (failed_) return *failed_;
        return Done{};
    }

private:
    std::uint32_t sum(std::size_t depth) {
        std::uint32_t left = product(depth);
        while (!failed_) {
            skip();
            if (at_ >= text_.size() || (text_[at_] != '+' && text_[at_] != '-')) break;
            const Op op = text_[at_++] == '+' ? Op::add : Op::subtract;
            const std::uint32_t right = product(depth);
            left = node(op, {left, right});
        }
        return left;
    }

    std::uint32_t product(std::size_t depth) {
        std::uint32_t left = factor(depth);
        while (!failed_) {
            skip();
            if (at_ >= text_.size() || (text_[at_] != '*' && text_[at_] != '/')) break;
            const Op op = text_[at_++] == '*' ? Op::multiply : Op::divide;
            const std::uint32_t right = factor(depth);
            left = node(op, {left, right});
        }
        return left;
    }

    std::uint32_t factor(std::size_t depth) {
        if (failed_) return 0;
        if (depth > limits::json_depth_max) return fail(at_, "the expression is nested too deeply");
        skip();
        if (at_ >= text_.size()) return fail(at_, "the expression ends too early");
        const char c = text_[at_];
        if (c == '-') {
            ++at_;
            return node(Op::negate, {factor(depth + 1)});
        }
        if (c == '(') {
            ++at_;
            const std::uint32_t inner = sum(depth + 1);
            expect(')');
            return inner;
        }
        if ((c >= '0' && c <= '9') || c == '.') return number();
        if (c == '$') return reference();
        if (is_word(c)) return word(depth);
        return fail(at_, "expected a number, a name or \"$variable.field\", found " + found());
    }

    std::uint32_t number() {
        double value = 0;
        const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
        if (error != std::errc() || !std::isfinite(value)) return fail(at_, "this is no number: " + found());
        at_ = static_cast<std::size_t>(end - text_.data());
        const std::uint32_t made = node(Op::number, {});
        if (!failed_) score_.nodes_[made].number = value;
        return made;
    }

    std::uint32_t reference() {
        const std::size_t begin = at_++;
        while (at_ < text_.size() && is_word(text_[at_])) ++at_;
        const std::string_view written = text_.substr(begin, at_ - begin);
        Result<VariableRef> resolved = resolve_(written);
        if (!resolved.ok()) return fail(begin, resolved.error().message);
        const std::uint32_t made = node(Op::reference, {});
        if (failed_) return 0;
        score_.nodes_[made].word = written;
        score_.nodes_[made].reference = std::move(*resolved);
        return made;
    }

    std::uint32_t word(std::size_t depth) {
        const std::size_t begin = at_;
        while (at_ < text_.size() && is_word(text_[at_])) ++at_;
        const std::string_view name = text_.substr(begin, at_ - begin);
        if (name == "min" || name == "max") return call(name == "min" ? Op::least : Op::greatest, depth);
        for (const FactName& known : fact_names) {
            if (known.name != name) continue;
            const std::uint32_t made = node(Op::fact, {});
            if (failed_) return 0;
            score_.nodes_[made].word = name;
            score_.nodes_[made].fact = known.fact;
            return made;
        }
        return fail(begin, unknown(name));
    }

    std::uint32_t call(Op op, std::size_t depth) {
        expect('(');
        std::vector<std::uint32_t> arguments;
        while (!failed_) {
            arguments.push_back(sum(depth + 1));
            skip();
            if (failed_ || at_ >= text_.size() || text_[at_] != ',') break;
            ++at_;
        }
        expect(')');
        return node(op, std::move(arguments));
    }

    static std::string unknown(std::string_view name) {
        std::vector<std::string> names = {"min", "max"};
        for (const FactName& known : fact_names) names.emplace_back(known.name);
        const std::string nearest = nearest_name(name, names);
        return "there is no name \"" + std::string(name) + "\"" +
               (nearest.empty() ? std::string() : "; did you mean \"" + nearest + "\"?");
    }
    void skip() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) ++at_;
    }
    void expect(char wanted) {
        skip();
        if (failed_) return;
        if (at_ < text_.size() && text_[at_] == wanted) {
            ++at_;
        } else {
            fail(at_, std::string("expected \"") + wanted + "\", found " + found());
        }
    }
    [[nodiscard]] std::string found() const {
        return at_ < text_.size() ? "\"" + std::string(text_.substr(at_, 12)) + "\"" : std::string("its end");
    }
    std::uint32_t node(Op op, std::vector<std::uint32_t> arguments) {
        if (failed_) return 0;
        if (score_.nodes_.size() >= limits::score_nodes_max) return fail(at_, "the expression is too long");
        Node made;
        made.op = op;
        made.arguments = std::move(arguments);
        score_.nodes_.push_back(std::move(made));
        return static_cast<std::uint32_t>(score_.nodes_.size() - 1);
    }
    std::uint32_t fail(std::size_t at, const std::string& message) {
        if (!failed_) {
            failed_ = Error{ErrorCode::invalid_argument, "column " + std::to_string(at + 1) + ": " + message};
        }
        return 0;
    }

    std::string_view text_;
    const Resolve& resolve_;
    Score& score_;
    std::size_t at_ = 0;
    std::optional<Error> failed_;
};

Result<std::shared_ptr<const Score>> Score::parse(std::string_view text, const Resolve& resolve) {
    std::shared_ptr<Score> score(new Score());
    score->text_ = text;
    const Status parsed = Parser(text, resolve, *score).parse();
    if (!parsed.ok()) return parsed.error();
    return std::shared_ptr<const Score>(std::move(score));
}

double Score::value(const Bindings& entries, const ScoreFacts& facts) const { return work_out(root_, entries, facts); }

double Score::work_out(std::uint32_t index, const Bindings& entries, const ScoreFacts& facts) const {
    const Node& node = nodes_[index];
    const auto argument = [&](std::size_t i) { return work_out(node.arguments[i], entries, facts); };
    switch (node.op) {
        case Op::number:
            return node.number;
        case Op::reference: {
            const std::optional<Value> value = value_of(node.reference, entries);
            return value && value->is_number() ? value->as_double() : 0;
        }
        case Op::fact:
            return finite(facts.*node.fact);
        case Op::add:
            return finite(argument(0) + argument(1));
        case Op::subtract:
            return finite(argument(0) - argument(1));
        case Op::multiply:
            return finite(argument(0) * argument(1));
        case Op::divide: {
            const double divisor = argument(1);
            return divisor == 0 ? 0 : finite(argument(0) / divisor);
        }
        case Op::negate:
            return 0 - argument(0);
        case Op::least:
        case Op::greatest: {
            double best = argument(0);
            for (std::size_t i = 1; i < node.arguments.size(); ++i) {
                best = node.op == Op::least ? std::min(best, argument(i)) : std::max(best, argument(i));
            }
            return best;
        }
    }
    return 0;
}

std::vector<std::pair<std::string, double>> Score::terms(const Bindings& entries, const ScoreFacts& facts) const {
    std::vector<std::pair<std::string, double>> terms;
    for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
        const Node& node = nodes_[i];
        if (node.op != Op::reference && node.op != Op::fact) continue;
        const bool known =
            std::any_of(terms.begin(), terms.end(), [&](const auto& term) { return term.first == node.word; });
        if (!known) terms.emplace_back(node.word, work_out(i, entries, facts));
    }
    return terms;
}

bool Score::depends_on_budget() const {
    return std::any_of(nodes_.begin(), nodes_.end(),
                       [](const Node& node) { return node.op == Op::fact && node.word.rfind("budget.", 0) == 0; });
}

}  // namespace stele

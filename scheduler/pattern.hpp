// A regular expression for `matches` (RE2 syntax: linear time, no back-references). Hides RE2.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "board/result.hpp"

namespace stele {

class Pattern {
public:
    /// Fails with invalid_argument and RE2's own explanation.
    static Result<std::shared_ptr<const Pattern>> compile(std::string_view expression);
    ~Pattern();
    Pattern(const Pattern&) = delete;
    Pattern& operator=(const Pattern&) = delete;

    /// True when the expression is found anywhere in `text`.
    [[nodiscard]] bool found_in(std::string_view text) const;

private:
    struct Implementation;
    explicit Pattern(std::unique_ptr<const Implementation> implementation);
    std::unique_ptr<const Implementation> implementation_;
};

}  // namespace stele

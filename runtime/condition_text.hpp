// Preconditions in words, for people. `variables` are the condition's, in binding order. Pure.
#pragma once

#include <string>
#include <vector>

#include "scheduler/condition.hpp"

namespace stele {

/// `$q.topic`.
std::string reference_text(const VariableRef& reference, const std::vector<std::string>& variables);
/// `topic = "churn"`, `size > $q.size`.
std::string comparison_text(const Comparison& comparison, const std::vector<std::string>& variables);
/// The same for each test, with "and" between them; empty for none.
std::string filter_text(const Filter& filter, const std::vector<std::string>& variables);
/// " where ..." or nothing.
std::string where_text(const Filter& filter, const std::vector<std::string>& variables);
/// `each evidence as e where topic = "churn"`.
std::string term_text(const Term& term, const std::vector<std::string>& variables);

}  // namespace stele

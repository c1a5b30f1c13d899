#include "scheduler/pattern.hpp"

#include <re2/re2.h>

#include <utility>

namespace stele {

namespace {

constexpr std::int64_t memory_bytes_max = 8 << 20;

RE2::Options options() {
    RE2::Options options;
    options.set_encoding(RE2::Options::EncodingUTF8);
    options.set_max_mem(memory_bytes_max);
    options.set_log_errors(false);
    return options;
}

}  // namespace

struct Pattern::Implementation {
    explicit Implementation(std::string_view text)
        : expression(re2::StringPiece(text.data(), text.size()), options()) {}
    RE2 expression;
};

Result<std::shared_ptr<const Pattern>> Pattern::compile(std::string_view expression) {
    auto implementation = std::make_unique<const Implementation>(expression);
    if (!implementation->expression.ok()) {
        const std::string& explanation = implementation->expression.error();
        return Error{ErrorCode::invalid_argument,
                     "the pattern \"" + std::string(expression) + "\" is no regular expression: " + explanation};
    }
    return std::shared_ptr<const Pattern>(new Pattern(std::move(implementation)));
}

Pattern::Pattern(std::unique_ptr<const Implementation> implementation) : implementation_(std::move(implementation)) {}
Pattern::~Pattern() = default;

bool Pattern::found_in(std::string_view text) const {
    return RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), implementation_->expression);
}

}  // namespace stele

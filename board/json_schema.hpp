// The JSON Schema side of EntrySchema, apart so that only one file sees the library behind it.
// Internal to board/schema.cpp. Immutable after parsing; any thread may check with it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "board/result.hpp"
#include "board/schema.hpp"
#include "board/value.hpp"

namespace stele {

class JsonSchema {
public:
    /// Fails with invalid_argument, naming the place in the document: malformed keywords, references
    /// that lead nowhere, out of the document or in a circle, patterns that do not compile.
    static Result<std::shared_ptr<const JsonSchema>> parse(const Value& document);
    ~JsonSchema();
    JsonSchema(const JsonSchema&) = delete;
    JsonSchema& operator=(const JsonSchema&) = delete;

    [[nodiscard]] std::optional<SchemaProblem> check(const Value& entry) const;
    [[nodiscard]] std::optional<FieldType> type_at(std::string_view dotted_path) const;
    [[nodiscard]] std::vector<std::string> field_names() const;
    /// As it was given.
    [[nodiscard]] const Value& document() const;

private:
    struct Implementation;
    explicit JsonSchema(std::unique_ptr<const Implementation> implementation);
    std::unique_ptr<const Implementation> implementation_;
};

/// "string", "integer" and so on, as the short form and JSON Schema's `type` name them, and "null".
std::optional<FieldType> field_type_from(std::string_view word);

/// What came, for messages: `string "x"`, `integer 7`, `null`, `array`; long texts are cut.
std::string found_text(const Value& value);

/// Appends `/part` to a JSON Pointer, escaped.
void append_pointer(std::string& pointer, std::string_view part);

/// `"foo"; did you mean "food"?`, or just the quoted name when nothing is near.
std::string unknown_text(std::string_view name, const std::vector<std::string>& known);

/// Takes the first part off a dotted path.
std::string_view next_path_part(std::string_view& dotted_path);
bool is_index(std::string_view path_part);

}  // namespace stele

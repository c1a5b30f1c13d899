// What an entry of a region must look like: the short form for flat records, or JSON Schema.
// Immutable after parsing; any thread may check with it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "board/result.hpp"
#include "board/value.hpp"

namespace stele {

/// What a field can hold as far as the schema tells; `any` when it does not.
enum class FieldType { any, string, integer, number, boolean, array, object, null };
const char* to_text(FieldType type);

/// One field of the short form: `name: string`, `name: number?`, `name: [string]`, `name: a | b`.
struct FieldSpec {
    std::string name;
    FieldType type = FieldType::any;
    FieldType element = FieldType::any;  // of an array
    bool optional = false;
    std::vector<std::string> choices;  // for `low | high`: the strings allowed
};

/// Where an entry does not fit: a JSON Pointer to the field and a sentence.
struct SchemaProblem {
    std::string path;
    std::string message;
};

class EntrySchema {
public:
    /// Accepts every object.
    EntrySchema();
    ~EntrySchema();
    EntrySchema(const EntrySchema&);
    EntrySchema& operator=(const EntrySchema&);

    /// The short form: exactly these fields, no others.
    static EntrySchema from_fields(std::vector<FieldSpec> fields);
    /// A JSON Schema document (drafts 4 to 7, by the valijson library). Fails with
    /// invalid_argument when the document itself is none.
    static Result<EntrySchema> from_json_schema(const Value& document);

    /// Parses one type word of the short form ("string", "number?", "[string]", "low | high").
    static Result<FieldSpec> parse_field(std::string_view name, std::string_view type);

    /// The first problem, or none.
    [[nodiscard]] std::optional<SchemaProblem> check(const Value& entry) const;

    /// The type of the field at a dotted path, `any` if the schema leaves it open, nothing if the
    /// schema rules the field out. For type-checking preconditions.
    [[nodiscard]] std::optional<FieldType> type_at(std::string_view dotted_path) const;
    /// Names of the top-level fields, for "nearest known name". Empty when open.
    [[nodiscard]] std::vector<std::string> field_names() const;
    /// True for the short form.
    [[nodiscard]] bool is_flat() const;
    [[nodiscard]] const std::vector<FieldSpec>& fields() const;
    /// The JSON Schema as it was given, or the one that says the same as the short form, but for the null
    /// that check() lets stand in an optional field's place.
    [[nodiscard]] Value document() const;

private:
    struct Implementation;
    std::shared_ptr<const Implementation> implementation_;
};

}  // namespace stele

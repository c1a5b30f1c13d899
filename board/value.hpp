// An immutable-by-convention JSON value in Stele's one canonical form: text as given in UTF-8,
// object keys sorted by bytes and unique, integers int64, other numbers finite doubles that are
// not integral. Equality, set keys, hashes and reuse all go by it (docs/crew_reference.md).
// Plain data: no thread rules beyond those of any value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "board/result.hpp"

namespace stele {

class Value {
public:
    using Array = std::vector<Value>;
    using Member = std::pair<std::string, Value>;
    /// Sorted by key bytes, keys unique.
    using Object = std::vector<Member>;

    Value() = default;
    Value(std::nullptr_t) {}
    Value(bool b) : data_(b) {}
    Value(std::int64_t i) : data_(i) {}
    Value(int i) : data_(static_cast<std::int64_t>(i)) {}
    Value(std::string s) : data_(std::move(s)) {}
    Value(std::string_view s) : data_(std::string(s)) {}
    Value(const char* s) : data_(std::string(s)) {}
    Value(Array a) : data_(std::move(a)) {}

    /// A double; integral ones that fit become integers, -0 becomes 0. Must be finite.
    static Value number(double d);
    /// An object from members in any order. A repeated key keeps the last one.
    static Value object(std::vector<Member> members);

    [[nodiscard]] bool is_null() const { return data_.index() == 0; }
    [[nodiscard]] bool is_bool() const { return data_.index() == 1; }
    [[nodiscard]] bool is_int() const { return data_.index() == 2; }
    [[nodiscard]] bool is_double() const { return data_.index() == 3; }
    [[nodiscard]] bool is_number() const { return is_int() || is_double(); }
    [[nodiscard]] bool is_string() const { return data_.index() == 4; }
    [[nodiscard]] bool is_array() const { return data_.index() == 5; }
    [[nodiscard]] bool is_object() const { return data_.index() == 6; }

    [[nodiscard]] bool as_bool() const { return std::get<1>(data_); }
    [[nodiscard]] std::int64_t as_int() const { return std::get<2>(data_); }
    /// Any number as a double.
    [[nodiscard]] double as_double() const { return is_int() ? static_cast<double>(as_int()) : std::get<3>(data_); }
    [[nodiscard]] const std::string& as_string() const { return std::get<4>(data_); }
    [[nodiscard]] const Array& as_array() const { return std::get<5>(data_); }
    [[nodiscard]] const Object& as_object() const { return std::get<6>(data_); }

    /// Member of an object, or nullptr (also when this is no object).
    [[nodiscard]] const Value* find(std::string_view key) const;
    /// Sets a member of an object (null becomes an object), keeping the order.
    void set(std::string_view key, Value value);
    /// Appends to an array (null becomes an array).
    void push_back(Value value);

    /// "null", "boolean", "integer", "number", "string", "array" or "object".
    [[nodiscard]] const char* type_name() const;

    bool operator==(const Value&) const = default;

private:
    std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> data_;
};

/// A total order over all values, for sorted output and comparisons: null, booleans, numbers by
/// exact value, strings by bytes, arrays and objects element by element.
std::strong_ordering compare(const Value& a, const Value& b);

/// Parses one JSON text (RFC 8259). Refuses duplicate keys, bad UTF-8, integers beyond int64,
/// numbers beyond double, more than `limits::json_depth_max` levels, and anything after the value.
/// The error names the byte offset.
Result<Value> parse_json(std::string_view text);

/// The canonical text: no white space, shortest numbers ("0.7", "1e+300"), only the escapes that
/// JSON requires.
std::string to_json(const Value& value);
void append_json(const Value& value, std::string& out);

/// The same value over several lines, two spaces a level, for people.
std::string to_pretty_json(const Value& value);

}  // namespace stele

#include "scheduler/reserved_schema.hpp"

#include <cassert>

namespace stele {

EntrySchema reserved_schema(std::string_view json) {
    const Result<Value> document = parse_json(json);
    assert(document.ok());
    Result<EntrySchema> made = EntrySchema::from_json_schema(*document);
    assert(made.ok());
    return *made;
}

}  // namespace stele

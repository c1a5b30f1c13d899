"""JSON Schema, as far as the fake provider needs it: making an instance, and finding what a strict
provider would refuse. No network, no state."""


def instance(schema, full=False):
    """The smallest value that fits; with `full`, optional members too and one item in each list.

    Always the same for the same schema. `pattern` is not followed: a pattern has no smallest text.
    """
    return _instance(schema, schema, full, 0)


def _instance(schema, root, full, depth):
    if schema is True or schema == {} or not isinstance(schema, dict):
        return "text"
    if "$ref" in schema and depth < 40:
        return _instance(_resolve(schema["$ref"], root), root, full, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "default" in schema and not full:
        return schema["default"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            rest = {name: value for name, value in schema.items() if name not in (key, "$defs", "definitions")}
            return _instance(_merged([rest, _choice(schema[key], full)], root), root, full, depth + 1)
    if schema.get("allOf"):
        rest = {name: value for name, value in schema.items() if name != "allOf"}
        return _instance(_merged([rest, *schema["allOf"]], root), root, full, depth + 1)
    return _of_type(_type_of(schema, full), schema, root, full, depth)


def _choice(choices, full):
    """A full instance prefers something over null."""
    if full:
        for choice in choices:
            if choice.get("type") != "null":
                return choice
    return choices[0]


def _type_of(schema, full):
    kind = schema.get("type")
    if isinstance(kind, list):
        if full:
            return next((one for one in kind if one != "null"), "null")
        return "null" if "null" in kind else kind[0]
    if kind:
        return kind
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def _of_type(kind, schema, root, full, depth):
    if kind == "object":
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        wanted = [name for name in properties if name in required or (full and depth < 40)]
        made = {name: _instance(properties[name], root, full, depth + 1) for name in wanted}
        made.update({name: "text" for name in required if name not in made})
        return made
    if kind == "array":
        count = max(schema.get("minItems", 0), 1 if full and depth < 40 and schema.get("maxItems", 1) > 0 else 0)
        first = list(schema.get("prefixItems", []))
        items = [first[i] if i < len(first) else schema.get("items", True) for i in range(count)]
        return [_instance(item, root, full, depth + 1) for item in items]
    if kind in ("integer", "number"):
        return _number(kind, schema)
    if kind == "boolean":
        return False
    if kind == "null":
        return None
    return _text(schema, full)


def _number(kind, schema):
    low = schema.get("minimum")
    if "exclusiveMinimum" in schema:
        low = schema["exclusiveMinimum"] + (1 if kind == "integer" else 0.5)
    high = schema.get("maximum")
    if "exclusiveMaximum" in schema:
        high = schema["exclusiveMaximum"] - (1 if kind == "integer" else 0.5)
    number = 0
    if low is not None and low > 0:
        number = low
    elif high is not None and high < 0:
        number = high
    step = schema.get("multipleOf")
    if step:
        number = -(-number // step) * step
    return int(number) if kind == "integer" or number == int(number) else number


def _text(schema, full):
    formats = {"date": "2026-01-01", "date-time": "2026-01-01T00:00:00Z", "time": "00:00:00Z", "email": "a@example.org",
               "uri": "https://example.org/", "uuid": "00000000-0000-4000-8000-000000000000"}
    if schema.get("format") in formats:
        return formats[schema["format"]]
    text = "text" if full else ""
    text = text + "x" * (schema.get("minLength", 0) - len(text))
    return text[:schema["maxLength"]] if "maxLength" in schema else text


def _resolve(reference, root):
    place = root
    for part in reference.lstrip("#/").split("/"):
        if part:
            place = place[part.replace("~1", "/").replace("~0", "~")]
    return place


def _merged(parts, root):
    merged = {}
    for part in parts:
        if "$ref" in part:
            part = _resolve(part["$ref"], root)
        for key, value in part.items():
            if key == "properties":
                merged.setdefault(key, {}).update(value)
            elif key == "required":
                merged[key] = merged.get(key, []) + value
            else:
                merged[key] = value
    return merged


def strict_problem(schema, openai):
    """What a provider's strict mode would refuse in this schema, as a sentence, or None.

    Both want closed objects. OpenAI's wants every property required and knows no oneOf and allOf;
    Anthropic's knows no bounds on numbers, on the length of texts and on the number of items (but 0 and 1).
    """
    if openai and (schema.get("type") != "object" or "anyOf" in schema):
        return "schema must be a JSON Schema of 'type: \"object\"'"
    unknown = (("oneOf", "allOf", "not", "if", "dependentRequired", "dependentSchemas", "patternProperties")
               if openai else
               ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
                "maxItems", "uniqueItems", "minProperties", "maxProperties", "not", "if", "patternProperties"))
    return _strict_problem(schema, openai, unknown, "()")


def _strict_problem(schema, openai, unknown, place):
    if not isinstance(schema, dict):
        return None
    for key in unknown:
        if key in schema:
            return f"In context={place}, '{key}' is not permitted." if openai else \
                f"For '{schema.get('type')}' type, property '{key}' is not supported"
    if not openai and schema.get("minItems", 0) > 1:
        return "For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    kind = schema.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind):
        if schema.get("additionalProperties") is not False:
            return f"In context={place}, 'additionalProperties' is required to be supplied and to be false."
        missing = sorted(set(schema.get("properties", {})) - set(schema.get("required", [])))
        if openai and missing:
            return (f"In context={place}, 'required' is required to be supplied and to be an array including every "
                    f"key in properties. Missing '{missing[0]}'.")
    children = [(name, child) for key in ("properties", "$defs") for name, child in schema.get(key, {}).items()]
    children += [("items", schema[key]) for key in ("items",) if key in schema]
    children += [(key, child) for key in ("anyOf", "oneOf", "allOf") for child in schema.get(key, [])]
    for name, child in children:
        problem = _strict_problem(child, openai, unknown, f"{place[:-1]}'{name}',)")
        if problem:
            return problem
    return None

// What another process asks to be written, as JSON over the socket: read back as it was said, and any JSON survived.
#include <doctest/doctest.h>

#include <random>

#include "runtime/owner.hpp"

using namespace stele;

TEST_CASE("a write goes over the socket and comes out the same") {
    for (const WriteOp op : {WriteOp::insert, WriteOp::put, WriteOp::retract, WriteOp::increment}) {
        WriteRequest request;
        request.board = "one \"board\"";
        request.write.op = op;
        request.write.region = "evidence";
        request.write.why = "withdrawn\n";
        if (op == WriteOp::retract) {
            request.write.number = 12;
        } else {
            request.write.content = *parse_json(R"({"by":3,"deep":[null,{"a":0.5}]})");
        }
        request.write.seal();
        const Result<Value> over = parse_json(to_json(to_value(request)));
        REQUIRE(over.ok());
        const Result<WriteRequest> read = write_request_from(*over);
        REQUIRE(read.ok());
        CHECK(read->board == request.board);
        CHECK(read->write.op == op);
        CHECK(read->write.region == "evidence");
        CHECK(read->write.why == request.write.why);
        CHECK(read->write.number == request.write.number);
        CHECK(read->write.text == request.write.text);
    }
}

TEST_CASE("any JSON is a write or a clear error") {
    std::mt19937 random(3);
    const std::vector<std::string> fields = {"op", "region", "number", "entry", "why", "name", "more"};
    const std::vector<std::string> values = {"\"insert\"", "\"retract\"", "\"drop\"",     "12",
                                             "-1",         "0.5",         "null",         "true",
                                             "[]",         "{\"a\":1}",   "\"evidence\"", "9223372036854775807"};
    std::size_t read = 0;
    for (int round = 0; round < 2'000; ++round) {
        Value value = Value::object({});
        for (std::size_t i = random() % 6; i > 0; --i) {
            value.set(fields[random() % fields.size()], *parse_json(values[random() % values.size()]));
        }
        const Result<WriteRequest> request = write_request_from(value);
        if (request.ok()) {
            ++read;
            CHECK(to_json(request->write.content) == request->write.text);
        } else {
            CHECK(request.error().message == "a write names its op");
        }
    }
    CHECK(read > 100);
    CHECK_FALSE(write_request_from(Value("text")).ok());
}

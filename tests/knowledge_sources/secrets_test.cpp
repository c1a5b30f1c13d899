#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

#include "board/value.hpp"
#include "knowledge_sources/encodings.hpp"
#include "knowledge_sources/secrets.hpp"

using namespace stele;

namespace {

/// A folder with a `.env`, and an environment of its own.
struct World {
    std::string folder;
    std::map<std::string, std::string> environment;

    explicit World(std::string_view dotenv) {
        std::string name = (std::filesystem::temp_directory_path() / "stele-secrets-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        folder = name;
        std::ofstream(folder + "/.env", std::ios::binary) << dotenv;
    }
    ~World() { std::filesystem::remove_all(folder); }
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    Result<Secrets> load() const {
        return Secrets::load(folder, [this](const char* name) -> const char* {
            const auto at = environment.find(name);
            return at == environment.end() ? nullptr : at->second.c_str();
        });
    }
    Secrets loaded() const {
        Result<Secrets> secrets = load();
        REQUIRE_MESSAGE(secrets.ok(), (secrets.ok() ? "" : secrets.error().message));
        return std::move(*secrets);
    }
};

std::string error_of(std::string_view dotenv) {
    const World world(dotenv);
    const Result<Secrets> secrets = world.load();
    REQUIRE_FALSE(secrets.ok());
    CHECK(secrets.error().code == ErrorCode::invalid_argument);
    CHECK(secrets.error().message.find("hush") == std::string::npos);
    const std::string& message = secrets.error().message;
    REQUIRE(message.starts_with(world.folder + "/.env:"));
    return message.substr(world.folder.size() + 6);
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

TEST_CASE("every form of a dotenv line is read") {
    const World world(
        "\xEF\xBB\xBF# a comment\r\n"
        "PLAIN=value\r\n"
        "\r\n"
        "  SPACED =  two words  \n"
        "export EXPORTED=yes\n"
        "export=odd\n"
        "HASH=a#b # comment\n"
        "SINGLE='it''s \\n $x # kept' \n"
        "DOUBLE=\"a \\\"b\\\" \\n\\t\\\\ \\$ \\q #\" # comment\n"
        "TICKS=`a 'b' \"c\"`\n"
        "LINES=\"one\n"
        "two\"\n"
        "EMPTY=\n"
        "NOTHING= # only a comment\n"
        "my.key-1=dotted\n"
        "URL=https://x.example/?a=b=c\n"
        "TWICE=first\n"
        "TWICE=second\n"
        "LAST=end");
    const Result<Secrets> bad = world.load();
    REQUIRE_FALSE(bad.ok());  // 'it''s': something follows a quoted value
    CHECK(contains(bad.error().message, ".env:8: "));

    const World good(
        "\xEF\xBB\xBF# a comment\r\n"
        "PLAIN=value\r\n"
        "\r\n"
        "  SPACED =  two words  \n"
        "export EXPORTED=yes\n"
        "export=odd\n"
        "HASH=a#b # comment\n"
        "SINGLE='a \\n $x # kept' \n"
        "DOUBLE=\"a \\\"b\\\" \\n\\t\\\\ \\$ \\q #\" # comment\n"
        "TICKS=`a 'b' \"c\"`\n"
        "LINES=\"one\n"
        "two\"\n"
        "EMPTY=\n"
        "NOTHING= # only a comment\n"
        "my.key-1=dotted\n"
        "URL=https://x.example/?a=b=c\n"
        "TWICE=first\n"
        "TWICE=second\n"
        "LAST=end");
    const Secrets secrets = good.loaded();
    CHECK(secrets.plain("PLAIN") == "value");
    CHECK(secrets.plain("SPACED") == "two words");
    CHECK(secrets.plain("EXPORTED") == "yes");
    CHECK(secrets.plain("export") == "odd");
    CHECK(secrets.plain("HASH") == "a#b");
    CHECK(secrets.plain("SINGLE") == "a \\n $x # kept");
    CHECK(secrets.plain("DOUBLE") == "a \"b\" \n\t\\ $ \\q #");
    CHECK(secrets.plain("TICKS") == "a 'b' \"c\"");
    CHECK(secrets.plain("LINES") == "one\ntwo");
    CHECK_FALSE(secrets.plain("EMPTY"));
    CHECK_FALSE(secrets.plain("NOTHING"));
    CHECK(secrets.plain("my.key-1") == "dotted");
    CHECK(secrets.plain("URL") == "https://x.example/?a=b=c");
    CHECK(secrets.plain("TWICE") == "second");
    CHECK(secrets.plain("LAST") == "end");
    CHECK_FALSE(secrets.plain("MISSING"));
}

TEST_CASE("a line that is none is an error with its number, and quotes nothing") {
    CHECK(error_of("A=1\nhush\n").starts_with("2: "));
    CHECK(error_of("A=1\n\n# c\nhush hush=1\n").starts_with("4: "));
    CHECK(error_of("=hush\n").starts_with("1: "));
    CHECK(error_of("1A=hush\n").starts_with("1: "));
    CHECK(error_of("export hush\n").starts_with("1: "));
    CHECK(error_of("A=1\nB=\"hush\nC=2\n") == "2: a quoted value is not closed");
    CHECK(error_of("A=\"one\ntwo\"\nB='x' hush\n").starts_with("3: "));
    CHECK(error_of(std::string("A=hu\0sh\n", 8)).starts_with("1: "));
}

TEST_CASE("without a file there is only the environment; a file that cannot be read is an error") {
    World world("");
    std::filesystem::remove(world.folder + "/.env");
    world.environment["A"] = "a";
    CHECK(world.loaded().plain("A") == "a");
    std::filesystem::create_directory(world.folder + "/.env");
    const Result<Secrets> secrets = world.load();
    REQUIRE_FALSE(secrets.ok());
    CHECK(secrets.error().code == ErrorCode::io);
    const Result<Secrets> own = Secrets::load(world.folder + "/none");
    REQUIRE(own.ok());
    const char* path = std::getenv("PATH");
    REQUIRE(path != nullptr);
    CHECK(own->plain("PATH") == path);
}

TEST_CASE("the environment comes before the file, unless it is empty") {
    World world("A=file\nB=file\nC=\n");
    world.environment = {{"A", "environment"}, {"B", ""}, {"C", ""}};
    Secrets secrets = world.loaded();
    CHECK(secrets.secret("A") == "environment");
    CHECK(secrets.origin("A") == "environment");
    CHECK(secrets.secret("B") == "file");
    CHECK(secrets.origin("B") == ".env");
    CHECK_FALSE(secrets.secret("C"));
    CHECK(secrets.origin("C").empty());
}

TEST_CASE("references are filled in, and what they stand for is a secret") {
    World world("KEY=topsecret\nOTHER=another-one\n");
    Secrets secrets = world.loaded();
    CHECK(secrets.redact("topsecret") == "topsecret");
    Result<std::string> filled = secrets.fill("Bearer ${env.KEY}, ${env.OTHER}${env.KEY} $KEY ${x} ${env}");
    REQUIRE(filled.ok());
    CHECK(*filled == "Bearer topsecret, another-onetopsecret $KEY ${x} ${env}");
    CHECK(secrets.redact(*filled) == "Bearer [KEY], [OTHER][KEY] $KEY ${x} ${env}");

    const Result<std::string> missing = secrets.fill("${env.KEY}${env.NOT_THERE}");
    REQUIRE_FALSE(missing.ok());
    CHECK(missing.error().code == ErrorCode::not_found);
    CHECK(contains(missing.error().message, "NOT_THERE"));
    CHECK_FALSE(contains(missing.error().message, "topsecret"));
    for (const char* text : {"${env.", "${env.}", "${env.KEY", "${env.KE Y}", "${env.1}", "${env.KEY:-x}"}) {
        const Result<std::string> bad = secrets.fill(text);
        REQUIRE_FALSE(bad.ok());
        CHECK(bad.error().code == ErrorCode::invalid_argument);
    }
    CHECK(env_names("${env.A} ${env.B_2} ${env.A} ${env.} ${env.C") == std::vector<std::string>{"A", "B_2"});
}

TEST_CASE("a secret is blacked out in every spelling") {
    const std::string value = "pa\"ss/wo+rd =\\ \xc3\xa9 <&'>\n!";
    World world("SHORT=12345\nSIX=123456\n");
    world.environment["KEY"] = value;
    Secrets secrets = world.loaded();
    REQUIRE(secrets.secret("KEY") == value);
    REQUIRE(secrets.secret("SHORT") == "12345");
    REQUIRE(secrets.secret("SIX") == "123456");
    CHECK(secrets.redact("a " + value + " b " + value) == "a [KEY] b [KEY]");
    CHECK(secrets.redact("12345") == "12345");
    CHECK(secrets.redact("x123456789") == "x[SIX]789");
    CHECK(secrets.redact("").empty());

    const std::string json = to_json(Value(value));
    CHECK(secrets.redact(json) == "\"[KEY]\"");
    CHECK(secrets.redact(to_json(Value(json))) == "\"\\\"[KEY]\\\"\"");
    CHECK(secrets.redact(R"("pa\"ss/wo+rd =\\ \u00e9 <&'>\n!")") == "\"[KEY]\"");
    CHECK(secrets.redact(R"("pa\"ss\/wo+rd =\\ \u00e9 <&'>\n!")") == "\"[KEY]\"");
    CHECK(secrets.redact("?k=" + percent_encode(value) + "&") == "?k=[KEY]&");
    CHECK(secrets.redact("pa%22ss%2fwo%2brd%20%3d%5c%20%c3%a9%20%3c%26%27%3e%0a%21") == "[KEY]");
    CHECK(secrets.redact("pa%22ss%2Fwo%2Brd+%3D%5C+%C3%A9+%3C%26%27%3E%0A%21") == "[KEY]");
    CHECK(secrets.redact("pa%22ss%2Fwo%2Brd%20%3D%5C%20%C3%A9%20%3C%26'%3E%0A!") == "[KEY]");
    CHECK(secrets.redact(to_base64(value)) == "[KEY]");
    for (const std::string before : {"", "u", "us", "user:"}) {
        for (const std::string after : {"", "x", "yz"}) {
            const std::string redacted = secrets.redact("Basic " + to_base64(before + value + after));
            CAPTURE(redacted);
            CHECK(contains(redacted, "[KEY]"));
            CHECK(redacted.size() < 30);
        }
    }
}

TEST_CASE("of secrets that overlap nothing is left over") {
    World world("INNER=abcdef\nOUTER=abcdefghij\nNEXT=ghijklmn\nSAME=zzzzzz\n");
    Secrets secrets = world.loaded();
    for (const char* name : {"INNER", "OUTER", "NEXT", "SAME"}) REQUIRE(secrets.secret(name));
    CHECK(secrets.redact("-abcdef-abcdefghij-") == "-[INNER]-[OUTER]-");
    CHECK(secrets.redact("-abcdefghijklmn-") == "-[OUTER]-");
    CHECK(secrets.redact("zzzzzzzzz") == "[SAME]");
}

TEST_CASE("a secret that is no UTF-8 is blacked out as well") {
    World world("");
    const std::string value = "\xff\xfe raw \xf0\x9f";
    world.environment["RAW"] = value;
    Secrets secrets = world.loaded();
    REQUIRE(secrets.secret("RAW") == value);
    CHECK(secrets.redact("x" + value + "y") == "x[RAW]y");
    CHECK(secrets.redact(to_base64(value)) == "[RAW]");
}

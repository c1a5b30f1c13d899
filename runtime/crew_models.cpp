// Reads `models:` and `prices:`, knows the providers that need no address, and holds caps on money
// against prices.
#include <algorithm>

#include "runtime/crew_draft.hpp"

namespace stele {
namespace {

constexpr std::uint64_t count_max = 1'000'000'000;
constexpr std::size_t models_listed_max = 8;

struct Provider {
    const char* name;
    ModelApi api;
    const char* base_url_default;  // empty: the crew or the environment names it
    const char* base_url_env;
    const char* key_env;
    bool key_optional;
};

constexpr Provider providers[] = {
    {"openai", ModelApi::openai_chat, "https://api.openai.com/v1", "OPENAI_BASE_URL", "OPENAI_API_KEY", false},
    {"anthropic", ModelApi::anthropic_messages, "https://api.anthropic.com", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY",
     false},
    {"ollama", ModelApi::ollama_chat, "http://127.0.0.1:11434", "OLLAMA_HOST", "OLLAMA_API_KEY", true},
    {"openrouter", ModelApi::openai_chat, "https://openrouter.ai/api/v1", "", "OPENROUTER_API_KEY", false},
    {"groq", ModelApi::openai_chat, "https://api.groq.com/openai/v1", "", "GROQ_API_KEY", false},
    {"gemini", ModelApi::openai_chat, "https://generativelanguage.googleapis.com/v1beta/openai", "", "GEMINI_API_KEY",
     false},
    {"vllm", ModelApi::openai_chat, "", "VLLM_BASE_URL", "VLLM_API_KEY", true},
    {"hosted_vllm", ModelApi::openai_chat, "", "VLLM_BASE_URL", "VLLM_API_KEY", true},
    {"llamacpp", ModelApi::openai_chat, "", "", "LLAMACPP_API_KEY", true},
};

const Provider* find_provider(std::string_view name) {
    for (const Provider& provider : providers) {
        if (provider.name == name) return &provider;
    }
    return nullptr;
}

std::vector<std::string> provider_names() {
    std::vector<std::string> names;
    for (const Provider& provider : providers) names.emplace_back(provider.name);
    return names;
}

std::vector<std::string> declared_names(const CrewDraft& draft) {
    std::vector<std::string> names;
    for (const ModelSpec& model : draft.crew.models) {
        if (model.name.find('/') == std::string::npos) names.push_back(model.name);
    }
    return names;
}

// "my-box" has its key in MY_BOX_API_KEY.
std::string usual_key_env(std::string_view provider) {
    std::string name;
    for (const char c : provider) {
        const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        const bool is_digit = c >= '0' && c <= '9';
        if (name.empty() && is_digit) name = "_";
        name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : is_letter || is_digit ? c : '_';
    }
    return name + "_API_KEY";
}

bool is_whole(std::string_view part) {
    return !part.empty() && std::all_of(part.begin(), part.end(),
                                        [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7F; });
}

// "provider/name", split at the first slash, since names of models have slashes too.
bool split(std::string_view text, ModelSpec& model) {
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return false;
    model.provider = text.substr(0, slash);
    model.model = text.substr(slash + 1);
    return is_whole(model.provider) && is_whole(model.model);
}

// What goes without saying for the provider; what the crew says comes on top.
void set_defaults(ModelSpec& model) {
    const Provider* provider = find_provider(model.provider);
    if (provider == nullptr) {
        model.key_env = usual_key_env(model.provider);
        model.key_optional = true;
        return;
    }
    model.api = provider->api;
    model.base_url_default = provider->base_url_default;
    model.base_url_env = provider->base_url_env;
    model.key_env = provider->key_env;
    model.key_optional = provider->key_optional;
}

void apply_price(CrewDraft& draft, ModelSpec& model) {
    for (const std::string& name : {model.name, model.provider + "/" + model.model}) {
        const auto found = draft.prices.find(name);
        if (found == draft.prices.end()) continue;
        found->second.is_used = true;
        if (!model.price.has_value()) model.price = found->second.price;
    }
}

Price read_price(CrewDraft& draft, const YamlNode& node, const std::string& what) {
    Price price;
    MapReader map(node, what, draft.problems);
    // For a million tokens in millionths of the currency is for one token in millionths of those.
    const auto read = [&](std::string_view key, std::string_view other) -> std::optional<std::int64_t> {
        const YamlMember* first = node.find(key);
        const YamlMember* second = other.empty() ? nullptr : map.optional_member(other);
        if (first != nullptr && second != nullptr) {
            draft.problems.error(second->place, what + " has both " + in_quotes(key) + " and " + in_quotes(other) +
                                                    "; keep one of them");
        }
        const bool may_be_missing = second != nullptr || other.empty();
        (void)(may_be_missing ? map.optional(key) : map.required(key));
        const YamlMember* member = first != nullptr ? first : second;
        if (member == nullptr) return std::nullopt;
        return read_money(draft, member->value, map.part(member->key), 0).value_or(0);
    };
    const std::optional<std::int64_t> input = read("input", "in");
    const std::optional<std::int64_t> output = read("output", "out");
    const std::optional<std::int64_t> cached = read("cached_input", "");
    map.finish();
    price.input_pico = input.value_or(0);
    price.output_pico = output.value_or(0);
    price.cached_input_pico = cached.value_or(price.input_pico);
    return price;
}

class ModelReader {
public:
    ModelReader(CrewDraft& draft, const YamlMember& member, MapReader& map)
        : draft_(draft), problems_(draft.problems), member_(member), map_(map) {
        model_.name = member.key;
        model_.place = member.place;
    }

    ModelSpec read();

private:
    void read_address();
    void read_request();
    void read_limits();
    void count(MapReader& map, std::string_view key, std::uint64_t max, std::uint64_t& target);
    void duration(std::string_view key, std::int64_t& target);

    CrewDraft& draft_;
    CrewProblems& problems_;
    const YamlMember& member_;
    MapReader& map_;
    ModelSpec model_;
    bool provider_known_ = false;
};

ModelSpec ModelReader::read() {
    check_name(member_.key, member_.place, "a model", problems_);
    if (const YamlNode* node = map_.required("model")) {
        const std::optional<std::string> text = read_filled_text(draft_, *node, map_.part("model"));
        provider_known_ = text.has_value() && split(*text, model_);
        if (text.has_value() && !provider_known_) {
            problems_.error(node->place,
                            unexpected(map_.part("model"), "provider/name such as \"ollama/qwen3:8b\"", *node));
        }
    }
    if (provider_known_) set_defaults(model_);
    read_address();
    read_request();
    read_limits();
    if (const YamlMember* price = map_.optional_member("price")) {
        model_.price = read_price(draft_, price->value, map_.part("price"));
        if (draft_.prices.find(model_.name) != draft_.prices.end()) {
            problems_.error(price->place, map_.what() + " has a price under \"prices\" already; keep one of them");
        }
    }
    map_.finish();
    apply_price(draft_, model_);
    return std::move(model_);
}

void ModelReader::read_address() {
    const YamlNode* base_url = map_.optional("base_url");
    // An input that was left empty means the provider's own address.
    if (base_url != nullptr && base_url->is_scalar() &&
        substituted_text(draft_, base_url->text, base_url->place) == "") {
        base_url = nullptr;
    }
    if (base_url != nullptr) model_.base_url = read_url(draft_, *base_url, map_.part("base_url")).value_or("");
    const Provider* provider = find_provider(model_.provider);
    if (provider_known_ && base_url == nullptr && model_.base_url_default.empty() && model_.base_url_env.empty()) {
        const std::string hint = provider == nullptr ? nearest_hint(model_.provider, provider_names()) : "";
        problems_.error(member_.place, map_.what() + ": provider " + in_quotes(model_.provider) +
                                           " has no address of its own; say \"base_url\"" + hint);
    }
    if (const YamlNode* api = map_.optional("api")) {
        const auto index = read_word(*api, map_.part("api"), {"chat", "responses", "messages", "ollama"}, problems_);
        const bool was_openai = model_.api == ModelApi::openai_chat;
        const ModelApi usual = model_.api;
        if (index.has_value()) model_.api = static_cast<ModelApi>(*index);
        const bool is_openai = model_.api == ModelApi::openai_chat || model_.api == ModelApi::openai_responses;
        if (provider != nullptr && base_url == nullptr && model_.api != usual && !(was_openai && is_openai)) {
            problems_.error(api->place, map_.what() + ": " + in_quotes(model_.provider) +
                                            " does not answer to this API at its usual address; say \"base_url\"");
        }
    }
    if (base_url != nullptr) model_.key_optional = true;
    if (const YamlNode* key = map_.optional("key_env")) {
        model_.key_optional = key->is_null();
        model_.key_env =
            key->is_null() ? "" : read_secret_variable(draft_, *key, map_.part("key_env")).value_or(model_.key_env);
    }
    if (const YamlNode* headers = map_.optional("headers")) {
        model_.headers = read_headers(draft_, *headers, map_.part("headers"));
    }
}

void ModelReader::count(MapReader& map, std::string_view key, std::uint64_t max, std::uint64_t& target) {
    const YamlNode* node = map.optional(key);
    if (node == nullptr) return;
    target = read_count(*node, map.part(key), {.min = 1, .max = max}, problems_).value_or(target);
}

void ModelReader::duration(std::string_view key, std::int64_t& target) {
    const YamlNode* node = map_.optional(key);
    if (node != nullptr) target = read_duration(*node, map_.part(key), 1, problems_).value_or(target);
}

void ModelReader::read_request() {
    count(map_, "context", count_max, model_.context_tokens);
    const YamlNode* max_tokens = map_.optional("max_tokens");
    if (max_tokens != nullptr) count(map_, "max_tokens", count_max, model_.max_tokens);
    if (model_.context_tokens > 0 && model_.max_tokens >= model_.context_tokens) {
        problems_.error(max_tokens != nullptr ? max_tokens->place : member_.place,
                        map_.what() + ": an answer of " + std::to_string(model_.max_tokens) +
                            " tokens (\"max_tokens\") leaves nothing of a context of " +
                            std::to_string(model_.context_tokens));
    }
    if (const YamlNode* temperature = map_.optional("temperature")) {
        model_.temperature = read_number(*temperature, map_.part("temperature"), problems_);
        if (model_.temperature.has_value() && *model_.temperature < 0) {
            problems_.error(temperature->place,
                            unexpected(map_.part("temperature"), "a number that is not negative", *temperature));
        }
    }
    if (const YamlNode* seed = map_.optional("seed")) {
        const std::optional<Value> value = seed->is_scalar() ? scalar_value(*seed) : std::nullopt;
        if (value.has_value() && value->is_int()) {
            model_.seed = value->as_int();
        } else {
            problems_.error(seed->place, unexpected(map_.part("seed"), "an integer", *seed));
        }
    }
    if (const YamlNode* options = map_.optional("options")) {
        if (!options->is_map()) {
            problems_.error(options->place, unexpected(map_.part("options"), "a map", *options));
        } else {
            for (const YamlMember& member : options->members) {
                for (const std::string_view own : {"model", "messages", "input", "stream", "tools"}) {
                    if (member.key != own) continue;
                    problems_.error(member.place, map_.part("options") + ": Stele sets " + in_quotes(own) + " itself");
                }
            }
            model_.options = substituted_value(draft_, *options).value_or(Value());
        }
    }
    if (const YamlNode* structured = map_.optional("structured")) {
        const auto index = read_word(*structured, map_.part("structured"), {"schema", "json", "prompt"}, problems_);
        model_.structured = static_cast<StructuredOutput>(index.value_or(0));
    }
    if (const YamlNode* stream = map_.optional("stream")) {
        model_.stream = read_flag(draft_, *stream, map_.part("stream")).value_or(true);
    }
    duration("timeout", model_.timeout_ms);
    duration("idle_timeout", model_.idle_timeout_ms);
}

void ModelReader::read_limits() {
    const YamlNode* node = map_.optional("limits");
    if (node == nullptr) return;
    MapReader map(*node, map_.part("limits"), problems_);
    if (const std::optional<SourcePlace> money = read_call_caps(draft_, map, model_.caps)) {
        draft_.money_caps.push_back(
            {map.part("money"), *money, static_cast<std::uint32_t>(draft_.crew.models.size()), std::nullopt});
    }
    if (const YamlNode* wall = map.optional("wall")) {
        model_.caps.wall_ms = read_duration(*wall, map.part("wall"), 1, problems_).value_or(0);
    }
    std::uint64_t concurrency = 0;
    count(map, "concurrency", 10'000, concurrency);
    model_.concurrency = static_cast<std::uint32_t>(concurrency);
    count(map, "requests_per_minute", count_max, model_.requests_per_minute);
    count(map, "tokens_per_minute", 1'000 * count_max, model_.tokens_per_minute);
    map.finish();
}

// `fast: ollama/qwen3:8b` is short for `fast: {model: ollama/qwen3:8b}`.
YamlMember in_full(const YamlMember& member) {
    YamlMember full;
    full.key = member.key;
    full.place = member.place;
    full.value.kind = YamlNode::Kind::map;
    full.value.place = member.value.place;
    full.value.members.push_back(YamlMember{"model", member.value.place, member.value});
    return full;
}

void read_prices(CrewDraft& draft, const YamlNode& node, const YamlNode* models) {
    if (!node.is_map()) {
        draft.problems.error(node.place, unexpected("prices", "a map from model to price", node));
        return;
    }
    std::vector<std::string> names;
    if (models != nullptr) {
        for (const YamlMember& member : models->members) names.push_back(member.key);
    }
    for (const YamlMember& member : node.members) {
        CrewDraft::PriceFact fact;
        fact.place = member.place;
        fact.price = read_price(draft, member.value, "the price of " + in_quotes(member.key));
        ModelSpec parts;
        const bool is_named = std::find(names.begin(), names.end(), member.key) != names.end();
        if (!is_named && !split(member.key, parts)) {
            draft.problems.error(member.place, "prices: there is no model " + in_quotes(member.key) +
                                                   nearest_hint(member.key, names) +
                                                   (names.empty() ? "; expected provider/name" : ""));
        }
        draft.prices.emplace(member.key, fact);
    }
}

std::string models_hint(const CrewDraft& draft, const std::string& name) {
    const std::vector<std::string> names = declared_names(draft);
    const std::string hint = nearest_hint(name, names);
    if (!hint.empty()) return hint;
    std::string text = "; expected ";
    if (!names.empty() && names.size() <= models_listed_max) text += any_of(names) + ", or ";
    return text + "provider/name such as \"ollama/qwen3:8b\"";
}

}  // namespace

void read_models(CrewDraft& draft, const YamlNode* models, const YamlNode* prices) {
    if (models != nullptr && !models->is_map()) {
        draft.problems.error(models->place, unexpected("models", "a map from name to model", *models));
        draft.models_known = false;
        models = nullptr;
    }
    if (prices != nullptr) read_prices(draft, *prices, models);
    if (models == nullptr) return;
    for (const YamlMember& given : models->members) {
        const YamlMember member = given.value.is_scalar() ? in_full(given) : given;
        MapReader map(member.value, "model " + in_quotes(member.key), draft.problems, member.place);
        draft.crew.models.push_back(ModelReader(draft, member, map).read());
    }
}

std::optional<std::uint32_t> resolve_model(CrewDraft& draft, const std::string& name, SourcePlace place) {
    std::vector<ModelSpec>& models = draft.crew.models;
    for (std::size_t i = 0; i < models.size(); ++i) {
        if (models[i].name == name) return static_cast<std::uint32_t>(i);
    }
    ModelSpec model;
    model.name = name;
    model.place = place;
    if (!split(name, model)) {
        if (!draft.models_known) return std::nullopt;
        draft.problems.error(place, "there is no model " + in_quotes(name) + models_hint(draft, name));
        return std::nullopt;
    }
    set_defaults(model);
    if (model.base_url_default.empty() && model.base_url_env.empty()) {
        const bool is_known = find_provider(model.provider) != nullptr;
        draft.problems.error(place, "provider " + in_quotes(model.provider) +
                                        " has no address of its own; name the model under \"models\" with a"
                                        " \"base_url\"" +
                                        (is_known ? "" : nearest_hint(model.provider, provider_names())));
        return std::nullopt;
    }
    apply_price(draft, model);
    models.push_back(std::move(model));
    return static_cast<std::uint32_t>(models.size() - 1);
}

void check_money_caps(CrewDraft& draft) {
    const std::vector<ModelSpec>& models = draft.crew.models;
    for (const CrewDraft::MoneyCap& cap : draft.money_caps) {
        std::vector<bool> covered(models.size(), false);
        if (cap.model.has_value()) covered[*cap.model] = true;
        for (std::size_t i = 0; i < draft.crew.sources.size() && !cap.model.has_value(); ++i) {
            if (cap.source.has_value() && *cap.source != i) continue;
            for (const std::uint32_t model : draft.crew.sources[i].llm.models) covered[model] = true;
        }
        std::string without;
        for (std::size_t i = 0; i < models.size(); ++i) {
            if (covered[i] && !models[i].price.has_value()) {
                without += (without.empty() ? "" : ", ") + in_quotes(models[i].name);
            }
        }
        if (without.empty()) continue;
        draft.problems.error(cap.place, cap.what + " cannot be held without a price of " + without +
                                            "; add it to \"prices\" (0 for what is free)");
    }
}

void warn_about_models(CrewDraft& draft) {
    std::vector<bool> used(draft.crew.models.size(), false);
    for (const SourceSpec& source : draft.crew.sources) {
        for (const std::uint32_t model : source.llm.models) used[model] = true;
    }
    for (std::size_t i = 0; i < used.size(); ++i) {
        if (used[i]) continue;
        const ModelSpec& model = draft.crew.models[i];
        draft.problems.warn(model.place, "model " + in_quotes(model.name) + " is used by no source");
    }
    for (const auto& [name, fact] : draft.prices) {
        if (fact.is_used) continue;
        draft.problems.warn(fact.place, "the price of " + in_quotes(name) + " is of no model of this crew");
    }
}

}  // namespace stele

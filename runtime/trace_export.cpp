#include "runtime/trace_export.hpp"

#include <algorithm>
#include <map>
#include <ostream>
#include <set>

#include "board/record_terms.hpp"
#include "board/utf8.hpp"
#include "runtime/record_json.hpp"

namespace stele {
namespace {

constexpr std::size_t arrows_max = 8;  // wakes drawn for one activation, the newest
constexpr std::int64_t us_per_ms = 1'000;
constexpr std::int64_t instant_us = 1;  // a slice of no length is not drawn

Value text_of(const std::string& text) { return valid_utf8(text); }
Value number_of(std::uint64_t number) { return static_cast<std::int64_t>(number); }

// ---- Chrome's trace events ----------------------------------------------------------------------

class ChromeTrace {
public:
    ChromeTrace(const ExportedBoard& board, std::ostream& out) : out_(out) {
        out_ << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
        Value name = event("M", 0, 0);
        name.set("name", "process_name");
        name.set("args", Value::object({{"name", text_of("board " + board.name)}}));
        put(std::move(name));
    }

    void add(const LoggedRecord& logged) {
        const Record& record = logged.record;
        if (!begun_) {
            start_ = record.time;
            begun_ = true;
        }
        if (std::optional<AttemptSpan> span = spans_.add(logged)) {
            draw(*span);
            return;
        }
        // From outside: seeds and people write as well, and wake others.
        const bool outside = record.kind == RecordKind::commit && !activation_of(logged);
        if (outside && logged.verdict.accepted) {
            AttemptSpan span;
            span.source = record.author;
            span.start = span.end = record.time;
            span.ended = span.claimed = logged.position;
            span.outcome = "ok";
            for (std::size_t line = 0; line < record.writes.size(); ++line) {
                const EntryId id = written_entry(logged, line);
                if (id.number == 0) continue;
                const WriteOutcome& outcome = logged.verdict.outcomes[line];
                span.wrote.emplace_back(EntryVersion{id, outcome.version}, outcome.effect);
            }
            draw(span);
        }
        const bool marks = record.kind == RecordKind::run_started || record.kind == RecordKind::run_stopped ||
                           record.kind == RecordKind::signal || record.kind == RecordKind::reconfigured;
        if (!marks) return;
        Value mark = event("i", 0, us(record.time));
        mark.set("name",
                 text_of(std::string(stele::to_text(record.kind)) + (record.word.empty() ? "" : " " + record.word)));
        mark.set("s", "g");
        put(std::move(mark));
    }

    void finish() {
        for (const AttemptSpan& span : spans_.open()) draw(span);
        out_ << "\n]}\n";
    }

private:
    struct Lane {
        std::int64_t tid = 0;
        std::int64_t free_at = 0;
    };
    struct Written {
        std::int64_t tid = 0;
        std::int64_t ts = 0;
    };

    [[nodiscard]] std::int64_t us(TimeMs time) const { return (time.ms - start_.ms) * us_per_ms; }

    static Value event(const char* phase, std::int64_t tid, std::int64_t ts) {
        // Readers ask for a category of every event; those that are about something have one of their own.
        const char* category = phase[0] == 'M' ? "__metadata" : "run";
        return Value::object({{"ph", phase}, {"pid", 1}, {"tid", tid}, {"ts", ts}, {"cat", category}});
    }

    void put(Value value) {
        if (!first_) out_ << ",\n";
        first_ = false;
        out_ << to_json_line(value);
    }

    // A source that runs twice at a time takes a second row.
    Lane& lane_of(const std::string& source, std::int64_t from) {
        std::vector<Lane>& lanes = lanes_[source];
        for (Lane& lane : lanes) {
            if (lane.free_at <= from) return lane;
        }
        lanes.push_back({++last_tid_, 0});
        Value name = event("M", last_tid_, 0);
        name.set("name", "thread_name");
        const std::string row = lanes.size() == 1 ? source : source + " " + std::to_string(lanes.size());
        name.set("args", Value::object({{"name", text_of(row)}}));
        put(std::move(name));
        return lanes.back();
    }

    void draw(const AttemptSpan& span) {
        const std::int64_t from = us(span.start);
        const std::int64_t length = std::max(us(span.end) - from, instant_us);
        Lane& lane = lane_of(span.source, from);
        lane.free_at = from + length;
        Value slice = event("X", lane.tid, from);
        slice.set("dur", length);
        slice.set("name",
                  text_of(span.activation ? span.source + " #" + std::to_string(span.activation.number) : span.source));
        slice.set("cat", span.outcome == "ok" ? "activation" : "activation,failed");
        Value details = Value::object({{"outcome", text_of(span.outcome)},
                                       {"attempt", number_of(span.attempt)},
                                       {"claimed", number_of(span.claimed.number)},
                                       {"ended", number_of(span.ended.number)}});
        if (!span.error.empty()) details.set("error", text_of(span.error));
        Amounts spent;
        for (const CallSpan& call : span.calls) {
            spent.tokens += call.spent.tokens;
            spent.money_micros += call.spent.money_micros;
        }
        if (spent.tokens > 0) details.set("tokens", number_of(spent.tokens));
        if (spent.money_micros > 0) details.set("money_micros", spent.money_micros);
        details.set("woken_by", ids_of(span.bound));
        std::vector<EntryVersion> wrote;
        for (const auto& [version, effect] : span.wrote) wrote.push_back(version);
        details.set("wrote", ids_of(wrote));
        slice.set("args", std::move(details));
        put(std::move(slice));
        for (const CallSpan& call : span.calls) draw_call(call, lane.tid);
        draw_arrows(span, lane.tid, from);
        for (const EntryVersion& version : wrote) written_[version.id] = {lane.tid, from + length - instant_us};
    }

    static Value ids_of(const std::vector<EntryVersion>& versions) {
        Value::Array ids;
        for (const EntryVersion& version : versions) {
            ids.push_back(text_of(stele::to_text(version.id) + " v" + std::to_string(version.version)));
        }
        return ids;
    }

    // Several may be in flight at a time, so they are no slices of the row but a track of their own.
    void draw_call(const CallSpan& call, std::int64_t tid) {
        for (const bool begin : {true, false}) {
            Value edge = event(begin ? "b" : "e", tid, begin ? us(call.start) : std::max(us(call.end), us(call.start)));
            edge.set("cat", "call");
            edge.set("name", text_of(call.name));
            edge.set("id", number_of(call.position.number));
            if (begin) {
                edge.set("args", Value::object({{"target", stele::to_text(call.target)},
                                                {"outcome", text_of(call.outcome)},
                                                {"tokens", number_of(call.spent.tokens)},
                                                {"reused", call.reused}}));
            }
            put(std::move(edge));
        }
    }

    void draw_arrows(const AttemptSpan& span, std::int64_t tid, std::int64_t at) {
        std::size_t drawn = 0;
        for (auto bound = span.bound.rbegin(); bound != span.bound.rend() && drawn < arrows_max; ++bound) {
            const auto written = written_.find(bound->id);
            if (written == written_.end() || written->second.ts > at) continue;
            ++drawn;
            ++arrow_ids_;
            for (const bool begin : {true, false}) {
                Value end =
                    event(begin ? "s" : "f", begin ? written->second.tid : tid, begin ? written->second.ts : at);
                end.set("cat", "wake");
                end.set("name", text_of("wake by " + stele::to_text(bound->id)));
                end.set("id", arrow_ids_);
                if (!begin) end.set("bp", "e");
                put(std::move(end));
            }
        }
    }

    std::ostream& out_;
    ActivationSpans spans_;
    bool first_ = true;
    bool begun_ = false;
    TimeMs start_;
    std::map<std::string, std::vector<Lane>> lanes_;
    std::int64_t last_tid_ = 0;
    std::map<EntryId, Written> written_;
    std::int64_t arrow_ids_ = 0;
};

// ---- OTLP ---------------------------------------------------------------------------------------

Value attribute(const std::string& key, Value value) {
    Value typed = value.is_int()    ? Value::object({{"intValue", std::to_string(value.as_int())}})
                  : value.is_bool() ? Value::object({{"boolValue", value}})
                                    : Value::object({{"stringValue", std::move(value)}});
    return Value::object({{"key", key}, {"value", std::move(typed)}});
}

std::string nanos(TimeMs time) { return std::to_string(time.ms) + "000000"; }

// Memory operations of the GenAI conventions for what a commit does to the board.
const char* memory_operation(WriteOutcome::Effect effect) {
    switch (effect) {
        case WriteOutcome::Effect::added:
            return "create_memory";
        case WriteOutcome::Effect::removed:
            return "delete_memory";
        default:
            return "update_memory";
    }
}

class OtlpTrace {
public:
    OtlpTrace(const ExportedBoard& board, std::ostream& out) : board_(board), out_(out) {
        Value resource =
            Value::object({{"attributes", Value(Value::Array{attribute("service.name", "stele"),
                                                             attribute("service.version", text_of(board.version)),
                                                             attribute("stele.board", text_of(board.name))})}});
        out_ << "{\"resourceSpans\":[{\"resource\":" << to_json(resource)
             << ",\"scopeSpans\":[{\"scope\":" << to_json(Value::object({{"name", "stele"}})) << ",\"spans\":[\n";
    }

    void add(const LoggedRecord& logged) {
        const Record& record = logged.record;
        now_ = record.time;
        if (record.kind == RecordKind::run_started && logged.verdict.accepted) {
            end_run("");
            run_ = logged.position;
            run_started_ = record.time;
        }
        if (std::optional<AttemptSpan> span = spans_.add(logged)) put_attempt(*span);
        if (record.kind == RecordKind::run_stopped && logged.verdict.accepted) end_run(record.word);
    }

    void finish() {
        for (const AttemptSpan& span : spans_.open()) put_attempt(span);
        end_run("");
        out_ << "\n]}]}]}\n";
    }

private:
    [[nodiscard]] std::string trace_id() const {
        return to_hex(keyed_digest(board_.family, board_.name + "/run/" + std::to_string(run_.number)));
    }
    [[nodiscard]] std::string span_id(const std::string& what) const {
        return to_hex(keyed_digest(board_.family, board_.name + "/span/" + what)).substr(0, 16);
    }
    [[nodiscard]] std::string run_span() const { return span_id("run/" + std::to_string(run_.number)); }

    void put(const Value& span) {
        if (!first_) out_ << ",\n";
        first_ = false;
        out_ << to_json_line(span);
    }

    Value span_of(const std::string& name, const std::string& id, const std::string& parent, TimeMs from, TimeMs to,
                  int kind) const {
        Value span = Value::object({{"traceId", trace_id()},
                                    {"spanId", id},
                                    {"name", text_of(name)},
                                    {"kind", kind},
                                    {"startTimeUnixNano", nanos(from)},
                                    {"endTimeUnixNano", nanos(std::max(from, to))}});
        if (!parent.empty()) span.set("parentSpanId", parent);
        return span;
    }

    static void set_status(Value& span, const std::string& outcome, const std::string& error) {
        if (outcome == "ok" || outcome == "open") return;
        span.set("status", Value::object({{"code", 2}, {"message", text_of(error.empty() ? outcome : error)}}));
    }

    void end_run(const std::string& word) {
        if (!run_ || run_ended_ == run_) return;
        run_ended_ = run_;
        const std::string crew = board_.crew != nullptr ? board_.crew->name : board_.name;
        Value span = span_of("invoke_workflow " + crew, run_span(), "", run_started_, now_, internal);
        span.set("attributes", Value(Value::Array{attribute("gen_ai.operation.name", "invoke_workflow"),
                                                  attribute("gen_ai.workflow.name", text_of(crew)),
                                                  attribute("stele.stop", text_of(word)),
                                                  attribute("stele.run", number_of(run_.number))}));
        put(span);
    }

    void put_attempt(const AttemptSpan& attempt) {
        const std::string id = span_id("attempt/" + std::to_string(attempt.claimed.number));
        Value span = span_of("invoke_agent " + attempt.source, id, run_span(), attempt.start, attempt.end, internal);
        Value::Array attributes = {attribute("gen_ai.operation.name", "invoke_agent"),
                                   attribute("gen_ai.agent.name", text_of(attempt.source)),
                                   attribute("stele.activation", number_of(attempt.activation.number)),
                                   attribute("stele.attempt", number_of(attempt.attempt)),
                                   attribute("stele.position", number_of(attempt.claimed.number)),
                                   attribute("stele.snapshot", number_of(attempt.snapshot.number)),
                                   attribute("stele.outcome", text_of(attempt.outcome))};
        if (attempt.outcome != "ok" && attempt.outcome != "open") {
            attributes.push_back(attribute("error.type", text_of(attempt.outcome)));
        }
        span.set("attributes", std::move(attributes));
        set_status(span, attempt.outcome, attempt.error);
        Value::Array links;
        std::set<std::string> linked;
        for (const EntryVersion& bound : attempt.bound) {
            const auto writer = written_by_.find(bound.id);
            if (writer == written_by_.end() || links.size() == arrows_max || !linked.insert(writer->second).second) {
                continue;
            }
            links.push_back(Value::object(
                {{"traceId", trace_id()},
                 {"spanId", writer->second},
                 {"attributes", Value(Value::Array{attribute("stele.wake", text_of(stele::to_text(bound.id)))})}}));
        }
        if (!links.empty()) span.set("links", std::move(links));
        put(span);
        for (const CallSpan& call : attempt.calls) put_call(call, id);
        put_writes(attempt, id);
    }

    void put_call(const CallSpan& call, const std::string& parent) {
        const bool model = call.target == CallTarget::model;
        const bool tool = call.target == CallTarget::tool;
        const std::string operation = model ? "chat" : tool ? "execute_tool" : "call";
        Value span = span_of(operation + " " + call.name, span_id("call/" + std::to_string(call.position.number)),
                             parent, call.start, call.end, client);
        Value::Array attributes = {attribute("stele.call", number_of(call.call)),
                                   attribute("stele.reused", call.reused)};
        if (model || tool) attributes.push_back(attribute("gen_ai.operation.name", operation));
        if (tool) attributes.push_back(attribute("gen_ai.tool.name", text_of(call.name)));
        if (model) {
            std::string provider = call.name.substr(0, call.name.find('/'));
            std::string name = call.name;
            if (board_.crew != nullptr) {
                for (const ModelSpec& spec : board_.crew->models) {
                    if (spec.name != call.name) continue;
                    provider = spec.provider;
                    name = spec.model;
                }
            }
            attributes.push_back(attribute("gen_ai.provider.name", text_of(provider)));
            attributes.push_back(attribute("gen_ai.request.model", text_of(name)));
            add_usage(attributes, call.usage);
        }
        span.set("attributes", std::move(attributes));
        set_status(span, call.outcome, "");
        put(span);
    }

    static void add_usage(Value::Array& attributes, const std::string& usage) {
        const Result<Value> counted = parse_json(usage);
        if (!counted.ok()) return;
        static const std::pair<const char*, const char*> names[] = {
            {"input_tokens", "gen_ai.usage.input_tokens"},
            {"output_tokens", "gen_ai.usage.output_tokens"},
            {"cached_input_tokens", "gen_ai.usage.cache_read.input_tokens"},
            {"cache_write_tokens", "gen_ai.usage.cache_creation.input_tokens"},
            {"reasoning_tokens", "gen_ai.usage.reasoning.output_tokens"}};
        for (const auto& [ours, theirs] : names) {
            const Value* count = counted->find(ours);
            if (count != nullptr && count->is_int()) attributes.push_back(attribute(theirs, *count));
        }
    }

    // One span for each region and kind of change, at the commit.
    void put_writes(const AttemptSpan& attempt, const std::string& parent) {
        std::map<std::pair<std::string, WriteOutcome::Effect>, std::uint64_t> changes;
        for (const auto& [version, effect] : attempt.wrote) {
            ++changes[{version.id.region, effect}];
            written_by_[version.id] = parent;
        }
        for (const auto& [change, count] : changes) {
            const auto& [region, effect] = change;
            const std::string operation = memory_operation(effect);
            Value span =
                span_of(operation + " " + region,
                        span_id("write/" + std::to_string(attempt.ended.number) + "/" + region + "/" + to_text(effect)),
                        parent, attempt.end, attempt.end, internal);
            span.set("attributes", Value(Value::Array{attribute("gen_ai.operation.name", operation),
                                                      attribute("stele.region", text_of(region)),
                                                      attribute("stele.entries", number_of(count)),
                                                      attribute("stele.position", number_of(attempt.ended.number))}));
            put(span);
        }
    }

    static constexpr int internal = 1;
    static constexpr int client = 3;

    const ExportedBoard& board_;
    std::ostream& out_;
    ActivationSpans spans_;
    bool first_ = true;
    Position run_;
    Position run_ended_;
    TimeMs run_started_;
    TimeMs now_;
    std::map<EntryId, std::string> written_by_;
};

template <class Trace>
Status write_trace(const ExportedBoard& board, const RecordWalk& walk, std::ostream& out) {
    Trace trace(board, out);
    const Status walked = walk([&](const LoggedRecord& logged) {
        trace.add(logged);
        return out.good();
    });
    trace.finish();
    return walked;
}

}  // namespace

Status write_chrome_trace(const ExportedBoard& board, const RecordWalk& walk, std::ostream& out) {
    return write_trace<ChromeTrace>(board, walk, out);
}

Status write_otlp(const ExportedBoard& board, const RecordWalk& walk, std::ostream& out) {
    return write_trace<OtlpTrace>(board, walk, out);
}

}  // namespace stele

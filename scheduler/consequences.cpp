#include "scheduler/consequences.hpp"

#include <algorithm>
#include <charconv>

#include "board/board.hpp"
#include "board/limits.hpp"
#include "scheduler/checkpoint.hpp"
#include "scheduler/control.hpp"
#include "scheduler/grounding.hpp"
#include "scheduler/reserved_schema.hpp"

namespace stele {
namespace {

constexpr std::string_view system_author = "system";
/// Commits of ours that took entries back, so that they are known again in the log.
constexpr std::string_view taken_back_key = "on_retract/";
constexpr std::size_t because_named_max = 8;

constexpr std::string_view schema_text = R"({
    "type": "object",
    "properties": {
        "entry": {"type": "string"},
        "region": {"type": "string"},
        "because": {"type": "array", "items": {"type": "string"}}
    },
    "required": ["entry", "region", "because"],
    "additionalProperties": false
})";

std::string because_text(const std::vector<EntryId>& failed) {
    std::string text;
    for (std::size_t i = 0; i < failed.size() && i < because_named_max; ++i) {
        text += (i == 0 ? "" : ", ") + to_text(failed[i]);
    }
    if (failed.size() > because_named_max) {
        text += " and " + std::to_string(failed.size() - because_named_max) + " more";
    }
    return "rested on " + text + ", which " + (failed.size() == 1 ? "is" : "are") + " not held up any more";
}

std::optional<EntryId> entry_id_of(const Value* text) {
    if (text == nullptr || !text->is_string()) return std::nullopt;
    const std::string& name = text->as_string();
    const std::size_t slash = name.rfind('/');
    EntryId id;
    if (slash == std::string::npos) return std::nullopt;
    id.region = name.substr(0, slash);
    const auto [end, error] = std::from_chars(name.data() + slash + 1, name.data() + name.size(), id.number);
    if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
    return id;
}

// What the scheduler itself keeps on the board holds up nothing, nor do private notes, which end with the run.
bool is_apart(const std::string& region) {
    return region == suspects_region_name || region == control_region_name || region == agenda_region_name ||
           region == phantoms_region_name || region.starts_with(std::string(scratch_name) + "/");
}

void add_supports(std::vector<EntryId>& supports, const std::vector<EntryId>& more) {
    for (const EntryId& id : more) {
        const bool known = std::find(supports.begin(), supports.end(), id) != supports.end();
        if (id.number != 0 && !known && !is_apart(id.region)) supports.push_back(id);
    }
}

}  // namespace

RegionSpec suspects_region() {
    static const EntrySchema schema = reserved_schema(schema_text);
    RegionSpec spec;
    spec.name = suspects_region_name;
    spec.policy = PolicyKind::last_writer_wins;
    spec.schema = schema;
    spec.key = {"entry"};
    spec.help = "entries that rest on something that was taken back";
    return spec;
}

void Consequences::set_mode(OnRetract mode) {
    mode_ = mode;
    std::vector<EntryId> all(graph_.suspects().begin(), graph_.suspects().end());
    for (const auto& [id, number] : marks_) all.push_back(id);
    settle(all);
}

void Consequences::feed(const LoggedRecord& logged) {
    const Record& record = logged.record;
    if (!logged.verdict.accepted) {
        // Ours: it would be refused again and again.
        if (record.kind == RecordKind::commit && record.author == system_author && record.decided_at) owed_.clear();
        return;
    }
    switch (record.kind) {
        case RecordKind::claimed: {
            Claim& claim = claims_[activation_of(logged)];
            claim = {logged.position, {}};
            for (const MatchRecord& member : record.members) {
                claim.members.emplace_back();
                for (const BoundEntry& bound : member.bound) claim.members.back().push_back(bound.id);
            }
            return;
        }
        case RecordKind::dead:
            claims_.erase(record.activation);
            return;
        case RecordKind::run_started:
            claims_.clear();
            return;
        case RecordKind::signal:
            if (record.word == "rerun" && !to_rerun_.empty()) to_rerun_.pop_front();
            return;
        case RecordKind::commit:
            return feed_commit(logged);
        default:
            return;
    }
}

void Consequences::feed_commit(const LoggedRecord& logged) {
    const Record& record = logged.record;
    Origin origin{activation_of(logged), {}};
    std::vector<EntryId> bound;
    const auto add_members = [&](const auto& members, const auto& ids_of) {
        for (std::uint32_t i = 0; i < members.size(); ++i) {
            const std::vector<std::uint32_t>& stale = logged.verdict.stale_members;
            if (std::find(stale.begin(), stale.end(), i) == stale.end()) ids_of(members[i]);
        }
    };
    if (is_rule_commit(record)) {
        origin.claimed = logged.position;
        add_members(record.members, [&](const MatchRecord& member) {
            for (const BoundEntry& one : member.bound) bound.push_back(one.id);
        });
    } else if (const auto claim = claims_.find(record.activation); record.activation && claim != claims_.end()) {
        origin.claimed = claim->second.position;
        add_members(claim->second.members, [&](const std::vector<EntryId>& member) {
            bound.insert(bound.end(), member.begin(), member.end());
        });
        claims_.erase(claim);
    }
    feed_marks(logged);
    const bool took_back = record.author == system_author && record.idempotency_key.starts_with(taken_back_key);
    std::map<EntryId, SupportChange> changes;
    for (std::size_t line = 0; line < record.writes.size(); ++line) {
        const Write& write = record.writes[line];
        const WriteOutcome& outcome = logged.verdict.outcomes[line];
        const EntryId id{resolve_region(write.region, record.author), outcome.number};
        if (id.number == 0 || is_apart(id.region)) continue;
        const auto [found, first] = changes.try_emplace(id);
        SupportChange& change = found->second;
        if (first) {
            change.id = id;
            change.active = graph_.is_active(id);
            if (const auto* known = graph_.justifications(id)) change.justifications = *known;
        }
        const bool removes = outcome.effect == WriteOutcome::Effect::removed;
        if (removes && took_back && mode_ == OnRetract::rerun) {
            if (const std::optional<Origin> from = origin_of(id); from && from->claimed) {
                const auto same = [&](const Rerun& one) { return one.claimed == from->claimed; };
                if (std::none_of(to_rerun_.begin(), to_rerun_.end(), same)) {
                    to_rerun_.push_back({from->activation, from->claimed, id});
                }
            }
        }
        switch (write.op) {
            case WriteOp::retract:
                if (!removes) break;
                change.active = false;
                change.justifications.clear();
                break;
            case WriteOp::remove: {
                // Away goes what its author had seen; an add that it had not seen holds the entry up.
                if (removes) {
                    removed_.insert(id);
                    break;
                }
                const Position seen = record.snapshot ? record.snapshot : Position{logged.position.number - 1};
                std::erase_if(change.justifications, [&](const Justification& one) {
                    return one.position <= seen || one.position == logged.position;
                });
                break;
            }
            default: {
                Justification made{logged.position, {}};
                std::vector<EntryId> cited;
                for (const Cite& cite : write.cites) cited.push_back(cited_entry(logged, cite));
                add_supports(made.supports, write.cites.empty() ? bound : cited);
                if (write.op != WriteOp::add || !change.active || removed_.count(id) > 0) {
                    change.justifications.clear();
                }
                removed_.erase(id);
                change.active = true;
                change.justifications.push_back(std::move(made));
            }
        }
    }
    if (changes.empty()) return;
    if (origin.claimed) origins_[logged.position] = origin;
    std::vector<SupportChange> list;
    for (auto& [id, change] : changes) {
        dealt_with_.erase(id);
        list.push_back(std::move(change));
    }
    std::vector<EntryId> changed = graph_.apply(list);
    for (const SupportChange& change : list) changed.push_back(change.id);
    settle(changed);
}

// Which entries are marked as suspect, and which marks somebody has taken away.
void Consequences::feed_marks(const LoggedRecord& logged) {
    const Record& record = logged.record;
    for (std::size_t line = 0; line < record.writes.size(); ++line) {
        const Write& write = record.writes[line];
        if (write.region != suspects_region_name) continue;
        const WriteOutcome& outcome = logged.verdict.outcomes[line];
        if (outcome.effect == WriteOutcome::Effect::removed) {
            const auto marked = marked_.find(outcome.number);
            if (marked == marked_.end()) continue;
            const EntryId id = marked->second;
            if (record.author != system_author) dealt_with_.insert(id);
            marks_.erase(id);
            marked_.erase(marked);
            settle({id});
            continue;
        }
        const Value content = content_of(write);
        const std::optional<EntryId> id = entry_id_of(content.find("entry"));
        if (!id) continue;
        marks_[*id] = outcome.number;
        marked_[outcome.number] = *id;
        settle({*id});
    }
}

std::optional<Consequences::Origin> Consequences::origin_of(const EntryId& id) const {
    const std::vector<Justification>* justifications = graph_.justifications(id);
    if (justifications == nullptr || justifications->empty()) return std::nullopt;
    const auto found = origins_.find(justifications->back().position);
    return found == origins_.end() ? std::nullopt : std::optional<Origin>(found->second);
}

// rerun: what nobody can work out again is marked instead.
bool Consequences::is_taken_back(const EntryId& id) const {
    if (mode_ == OnRetract::cascade) return true;
    if (mode_ != OnRetract::rerun) return false;
    const std::optional<Origin> origin = origin_of(id);
    return origin && origin->claimed;
}

bool Consequences::is_owed(const EntryId& id) const {
    if (mode_ == OnRetract::none) return false;
    const bool marked = marks_.count(id) > 0;
    if (!graph_.is_suspect(id) || removed_.count(id) > 0) return marked;
    return is_taken_back(id) || (!marked && dealt_with_.count(id) == 0);
}

void Consequences::settle(const std::vector<EntryId>& changed) {
    for (const EntryId& id : changed) {
        if (is_owed(id)) {
            owed_.insert(id);
        } else {
            owed_.erase(id);
        }
    }
}

Result<Record> Consequences::next(Position at, Position version) const {
    Record record;
    record.decided_at = at;
    if (!to_rerun_.empty()) {
        const Rerun& rerun = to_rerun_.front();
        const Result<std::shared_ptr<const LoggedRecord>> claimed = load_(rerun.claimed);
        if (!claimed.ok()) return claimed.error();
        record.kind = RecordKind::signal;
        record.word = "rerun";
        record.author = (*claimed)->record.author;
        record.activation = rerun.activation;
        record.members = (*claimed)->record.members;
        record.reason = "what it wrote into " + to_text(rerun.entry) + " was taken back";
        return record;
    }
    record.kind = RecordKind::commit;
    record.author = system_author;
    record.snapshot = version;
    record.reason = "what rested on a retracted entry";
    bool takes_back = false;
    for (const EntryId& id : owed_) {
        if (record.writes.size() == limits::writes_per_commit_max) break;
        Write write;
        const std::vector<EntryId> failed = graph_.failed_supports(id);
        if (!graph_.is_suspect(id) || removed_.count(id) > 0) {
            write.op = WriteOp::retract;
            write.region = suspects_region_name;
            write.number = marks_.at(id);
            write.why = to_text(id) + " is held up again, or gone";
        } else if (is_taken_back(id)) {
            takes_back = true;
            write.op = WriteOp::retract;
            write.region = id.region;
            write.number = id.number;
            write.why = because_text(failed);
        } else {
            Value::Array because;
            for (std::size_t i = 0; i < failed.size() && i < because_named_max; ++i) {
                because.push_back(Value(to_text(failed[i])));
            }
            write.op = WriteOp::put;
            write.region = suspects_region_name;
            write.content = Value::object(
                {{"entry", Value(to_text(id))}, {"region", Value(id.region)}, {"because", std::move(because)}});
            write.why = because_text(failed);
        }
        write.seal();
        record.writes.push_back(std::move(write));
    }
    if (takes_back) record.idempotency_key = std::string(taken_back_key) + std::to_string(at.number);
    return record;
}

template <class Archive, class Self>
void Consequences::Origin::transfer(Archive& archive, Self& self) {
    archive(self.activation, self.claimed);
}

template <class Archive, class Self>
void Consequences::Claim::transfer(Archive& archive, Self& self) {
    archive(self.position, self.members);
}

template <class Archive, class Self>
void Consequences::Rerun::transfer(Archive& archive, Self& self) {
    archive(self.activation, self.claimed, self.entry);
}

template <class Archive, TransferOf<Justification> T>
void transfer(Archive& archive, T& justification) {
    archive(justification.position, justification.supports);
}

template <class Archive, TransferOf<SupportChange> T>
void transfer(Archive& archive, T& change) {
    archive(change.id, change.active, change.justifications);
}

void Consequences::save(CheckpointWriter& out) const {
    out(graph_.all(), claims_, origins_, marks_, marked_, dealt_with_, removed_, owed_, to_rerun_);
}

void Consequences::load(CheckpointReader& in) {
    std::vector<SupportChange> entries;
    in(entries, claims_, origins_, marks_, marked_, dealt_with_, removed_, owed_, to_rerun_);
    graph_.apply(entries);
}

}  // namespace stele

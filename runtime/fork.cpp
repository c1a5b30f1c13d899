#include "runtime/fork.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "board/board.hpp"
#include "board/entry_store.hpp"
#include "board/log/fork_store.hpp"
#include "board/log/head_mark.hpp"
#include "board/provenance.hpp"
#include "board/region_policy.hpp"

namespace stele {
namespace {

class Fork {
public:
    Fork(StateStore& parent_store, const BoardInfo& parent, const BoardInfo& child, Position parent_last)
        : child_(child),
          at_(child.forked_at),
          parent_last_(parent_last),
          store_(make_fork_store(parent_store, {child.number, parent.number, at_})),
          old_(parent_store, parent.number, parent.family),
          made_(*store_, child.number, child.family) {}

    Status fill(const CrewReader& read_crew, StoreBatch& batch) {
        Status done = old_.load();
        if (done.ok()) done = made_.load();
        if (done.ok()) old_log_.emplace(old_, child_.family, parent_last_);
        if (done.ok()) done = fill_head(batch);
        if (done.ok()) done = fill_regions(read_crew, batch);
        if (!done.ok()) return done;
        RecordIndexWriter index(child_.number, child_.family);
        return index.begin(
            at_, [this](Position position) { return made_.record(position); }, batch);
    }

private:
    // What the fold keeps of the board as a whole, as it was.
    Status fill_head(StoreBatch& batch) {
        const Result<std::shared_ptr<const LoggedRecord>> last = made_.record(at_);
        if (!last.ok()) return last.error();
        BoardMeta meta;
        meta.last = at_;
        meta.link = (*last)->link;
        state_hash_ = (*last)->verdict.state_hash;
        for (Position at = at_; at && !meta.version; --at.number) {
            const Result<std::shared_ptr<const LoggedRecord>> logged = made_.record(at);
            if (!logged.ok()) return logged.error();
            if ((*logged)->record.kind == RecordKind::commit && (*logged)->verdict.accepted) meta.version = at;
        }
        meta.time = (*last)->record.time;  // the owner's clock never goes back
        made_.put_meta(meta, batch);
        return Done{};
    }

    Status fill_regions(const CrewReader& read_crew, StoreBatch& batch) {
        const Result<std::size_t> known = regions_known(read_crew);
        if (!known.ok()) return known.error();
        Hash128 hash;
        for (std::size_t i = 0; i < *known; ++i) {
            const Result<RegionState> state = region_as_it_was(old_.regions()[i]);
            if (!state.ok()) return state.error();
            made_.declare_region(state->name, state->scratch);
            made_.put_region(*state, batch);
            hash += state->digest;
            if (!state->has_adds) continue;
            const Status filled = fill_adds(*state, batch);
            if (!filled.ok()) return filled;
        }
        if (hash != state_hash_) {
            return Error{ErrorCode::corrupt, "the stored state does not make version " + std::to_string(at_.number) +
                                                 " what its record says; look at it with: stele verify"};
        }
        return Done{};
    }

    // Regions are numbered in the order in which crews declared them; those of later crews come after.
    Result<std::size_t> regions_known(const CrewReader& read_crew) {
        const IndexQuery crews = {{{RecordTermKind::record, "run_started"}, {RecordTermKind::record, "reconfigured"}}};
        bool later = false;
        Status walked = old_log_->index().find(crews, {at_.number + 1}, parent_last_, false,
                                               [&](const LoggedRecord&) { return later = true, false; });
        if (!walked.ok()) return walked.error();
        std::size_t count = 0;
        Status bad = Done{};
        walked = old_log_->index().find(crews, {1}, at_, false, [&](const LoggedRecord& logged) {
            if (!logged.verdict.accepted || logged.record.parts.empty()) return true;
            const Record& record = logged.record;
            Result<std::shared_ptr<const CrewSpec>> crew =
                read_crew(record.parts.front(), record.base_directory, record.inputs);
            if (!crew.ok()) return bad = crew.error(), false;
            for (const RegionSpec& spec : (*crew)->regions) {
                if (const RegionState* region = old_.region(spec.name)) {
                    count = std::max(count, std::size_t{region->number} + 1);
                }
                laws_.insert_or_assign(spec.name, spec);
            }
            return true;
        });
        if (!walked.ok()) return walked.error();
        if (!bad.ok()) return bad.error();
        return later ? count : old_.regions().size();
    }

    Result<RegionState> region_as_it_was(const RegionState& now) {
        if (now.last_change <= at_) return now;
        RegionState then = now;
        const Result<RegionCount> count = old_.count_at(now.number, at_);
        if (!count.ok()) return count.error();
        then.active_entries = count->active_entries;
        then.sum = count->sum;
        then.last_change = count->last_change;
        then.next_entry = 1;
        Hash128 digest;
        const Status read = old_.for_each(now.number, at_, false, [&](const EntryState& state) {
            then.next_entry = std::max(then.next_entry, state.number + 1);
            if (state.active) digest += state.digest;
            return true;
        });
        if (!read.ok()) return read.error();
        then.has_adds = now.has_adds && then.next_entry > 1;
        const auto law = laws_.find(now.name);
        if (law != laws_.end() && law->second.policy == PolicyKind::counter) {
            digest = then.sum == 0 ? Hash128{} : old_.digest_of(now.name, std::to_string(then.sum));
        }
        then.digest = digest;
        return then;
    }

    // Tags of a set union are kept as they are now. Those that changed since are made anew from the commits.
    Status fill_adds(const RegionState& region, StoreBatch& batch) {
        const RecordIndex& index = old_log_->index();
        const IndexQuery written = {{{RecordTermKind::region, region.name}}};
        std::set<std::uint64_t> touched;
        const auto each_write = [&](const LoggedRecord& logged, const auto& visit) {
            if (logged.record.kind != RecordKind::commit || !logged.verdict.accepted) return;
            for (std::size_t line = 0; line < logged.record.writes.size(); ++line) {
                const Write& write = logged.record.writes[line];
                if (line >= logged.verdict.outcomes.size()) return;
                if (resolve_region(write.region, logged.record.author) != region.name) continue;
                visit(write, logged.verdict.outcomes[line].number);
            }
        };
        Status walked = index.find(written, {at_.number + 1}, parent_last_, false, [&](const LoggedRecord& logged) {
            each_write(logged, [&](const Write&, std::uint64_t number) {
                if (number != 0 && number < region.next_entry) touched.insert(number);
            });
            return true;
        });
        if (!walked.ok() || touched.empty()) return walked;
        const auto law = laws_.find(region.name);
        const bool whole_entry_is_key = law != laws_.end() && law->second.key.empty();
        std::map<std::uint64_t, std::vector<AddTag>> tags;
        walked = index.find(written, {1}, at_, false, [&](const LoggedRecord& logged) {
            each_write(logged, [&](const Write& write, std::uint64_t number) {
                if (touched.count(number) == 0) return;
                std::vector<AddTag>& adds = tags[number];
                const Position snapshot =
                    logged.record.snapshot ? logged.record.snapshot : Position{logged.position.number - 1};
                switch (write.op) {
                    case WriteOp::add:
                        record_add(adds, {logged.position, logged.record.author,
                                          whole_entry_is_key ? std::string() : write.text});
                        return;
                    case WriteOp::remove:
                        adds.erase(std::remove_if(adds.begin(), adds.end(),
                                                  [&](const AddTag& add) {
                                                      return add.position <= snapshot ||
                                                             add.position == logged.position;
                                                  }),
                                   adds.end());
                        return;
                    default:
                        adds.clear();  // retracted
                }
            });
            return true;
        });
        if (!walked.ok()) return walked;
        for (const auto& [number, adds] : tags) made_.put_adds(region.number, number, adds, batch);
        return Done{};
    }

    const BoardInfo& child_;
    Position at_;
    Position parent_last_;
    std::unique_ptr<StateStore> store_;
    EntryStore old_;
    EntryStore made_;
    std::optional<Provenance> old_log_;
    std::map<std::string, RegionSpec> laws_;
    Hash128 state_hash_;
};

}  // namespace

Status fill_fork(StateStore& parent_store, const BoardInfo& parent, Position parent_last, const BoardInfo& child,
                 const CrewReader& read_crew, StoreBatch& batch) {
    return Fork(parent_store, parent, child, parent_last).fill(read_crew, batch);
}

Result<BoardInfo> fork_board(DataDirectory& data, const BoardInfo& parent, Position at, const std::string& name,
                             TimeMs now, const CrewReader& read_crew) {
    const Result<std::optional<HeadMark>> head = data.head(parent.number);
    if (!head.ok()) return head.error();
    const Position last = head->has_value() ? (*head)->position : Position{};
    if (!at || at > last) {
        return Error{ErrorCode::invalid_argument, "board \"" + parent.address.board + "\" has the versions 1 to " +
                                                      std::to_string(last.number) + "; there is no " +
                                                      std::to_string(at.number) + " to fork at"};
    }
    const Result<StateStore*> store = data.store_of(parent);
    if (!store.ok()) return store.error();
    ChainLink link{};
    Result<BoardInfo> made = data.create_fork({.tenant = parent.address.tenant, .board = name}, now, parent, at,
                                              [&](const BoardInfo& child, StoreBatch& batch) -> Status {
                                                  EntryStore entries(**store, parent.number, parent.family);
                                                  const Result<std::shared_ptr<const LoggedRecord>> shared =
                                                      entries.record(at);
                                                  if (!shared.ok()) return shared.error();
                                                  link = (*shared)->link;
                                                  return fill_fork(**store, parent, last, child, read_crew, batch);
                                              });
    if (!made.ok()) return made;
    Result<HeadMarkFile> mark = HeadMarkFile::open(data.head_path(made->number));
    if (!mark.ok()) return mark.error();
    Status marked = mark->write({at, std::string(link.begin(), link.end())});
    if (marked.ok()) marked = mark->sync();
    if (!marked.ok()) return marked.error();
    return made;
}

}  // namespace stele

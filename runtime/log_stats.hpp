// What a log comes to: per source what it did, cost and wasted; per region who writes it. Fed with each
// record once, in order; contents are not looked at. Pure; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "board/record.hpp"
#include "scheduler/crew_spec.hpp"

namespace stele {

struct SourceStats {
    std::uint64_t activations = 0;
    std::uint64_t attempts = 0;
    /// Attempts by how they ended; a rule's firings are "ok".
    std::map<std::string, std::uint64_t> outcomes;
    std::uint64_t commits = 0;
    std::uint64_t writes = 0;  // that changed something
    std::uint64_t conflicts = 0;
    std::uint64_t refused = 0;  // commits, for any other reason
    /// Activations that ended well and changed nothing.
    std::uint64_t idle_wakes = 0;
    std::uint64_t dead = 0;
    Amounts spent;
    std::uint64_t calls_reused = 0;
    bool estimated = false;
    /// Attempts end to end.
    std::int64_t time_ms = 0;
    /// From outside: a principal, not a source.
    bool is_principal = false;
};

struct RegionStats {
    std::uint64_t added = 0;
    std::uint64_t updated = 0;
    std::uint64_t removed = 0;
    /// Changes by author, sources only.
    std::map<std::string, std::uint64_t> writers;
};

struct HotEntry {
    EntryId id;
    std::uint64_t versions = 0;
};

class LogStats {
public:
    void add(const LoggedRecord& logged);

    [[nodiscard]] const std::map<std::string, SourceStats>& sources() const { return sources_; }
    [[nodiscard]] const std::map<std::string, RegionStats>& regions() const { return regions_; }
    /// The entries that were written most often, more than once, the hottest first.
    [[nodiscard]] std::vector<HotEntry> hot_entries(std::size_t count) const;
    /// "97 % of writes come from lead: declare it single_writer", for shared regions that are not shared.
    [[nodiscard]] std::optional<std::string> advice(const std::string& region, const CrewSpec* crew) const;
    [[nodiscard]] std::uint64_t records() const { return records_; }
    [[nodiscard]] std::int64_t duration_ms() const { return records_ == 0 ? 0 : last_.ms - first_.ms; }

private:
    void add_commit(const LoggedRecord& logged, SourceStats& source);
    void note_version(const EntryId& id);

    std::map<std::string, SourceStats> sources_;
    std::map<std::string, RegionStats> regions_;
    /// Bounded: what has few versions when it is full is forgotten (see note_version).
    std::map<EntryId, std::uint64_t> versions_;
    std::uint64_t records_ = 0;
    TimeMs first_;
    TimeMs last_;
};

}  // namespace stele

// Which matches have been taken up, so that no source runs twice for one. Forgets those that cannot come back: a
// match is gone for good when one of its bound entries has another version, or when the same entries have since
// matched in a later episode. So what is kept goes by what is active and not by how long the board has run; but of a
// condition with a term of time inside `any` or `not` every episode is kept. Deterministic. Loop thread only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "board/hash.hpp"
#include "scheduler/crew_spec.hpp"
#include "scheduler/matcher.hpp"

namespace stele {

enum class MatchStatus : std::uint8_t { claimed, closed, dead };

class Refraction {
public:
    [[nodiscard]] std::optional<MatchStatus> of(const Hash128& key) const;
    [[nodiscard]] bool knows(const Hash128& key) const { return known_.count(key) > 0; }
    [[nodiscard]] std::size_t size() const { return known_.size(); }

    /// `source`: whose match it is, as declared now.
    void note(const SourceSpec& source, const Match& match, MatchStatus status);
    /// It may run again.
    void forget(const Hash128& key);
    void forget_claimed();
    /// The entry has another version now, or left the board. Claimed matches stay until they are closed.
    void moved(const EntryId& id);

    void save(CheckpointWriter& out) const;
    void load(CheckpointReader& in);

private:
    struct Known {
        template <class Archive, class Self>
        static void transfer(Archive& archive, Self& self);
        MatchStatus status = MatchStatus::claimed;
        bool gone = false;  // claimed: it cannot come back
        /// Sum of its episodes' positions, where they only ever grow: of two matches that bind the same, the later has
        /// more. 0: it has none, or they do not.
        std::uint64_t episodes = 0;
        std::uint64_t place = 0;  // of its newest bound entry; 0: it binds none
        Hash128 binding;          // what it binds, by whom; episodes of another declaration tell nothing of its own
    };
    [[nodiscard]] std::uint64_t place_of(const EntryId& id);

    std::unordered_map<Hash128, Known> known_;
    std::map<std::string, std::uint32_t, std::less<>> regions_;
    // Of matches with episodes the latest that is closed or dead, by what it binds.
    std::unordered_map<Hash128, Hash128> latest_;
    // By place. A key may be forgotten already, but what it stood for is bound to that entry's present version.
    std::unordered_map<std::uint64_t, std::vector<Hash128>> bound_;
};

}  // namespace stele

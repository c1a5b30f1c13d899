// Where an entry comes from, what came of it, and how a text travelled: answered from the log by way
// of the index of records, so that a question costs what it finds. An entry is supported by what its
// author cites, or by the entries that woke its author where it cites none. One thread, like the store.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "board/entry_store.hpp"
#include "board/record_index.hpp"
#include "board/text_tokens.hpp"

namespace stele {

enum class SupportKind : std::uint8_t { cited = 1, bound };
const char* to_text(SupportKind kind);

/// One version of an entry.
struct EntryVersion {
    EntryId id;
    std::uint32_t version = 0;
    auto operator<=>(const EntryVersion&) const = default;
};

struct Support {
    SupportKind kind = SupportKind::cited;
    EntryVersion entry;
    /// A version of the board at which it stood so.
    Position at;
    bool operator==(const Support&) const = default;
};

/// The attempt that a commit ended.
struct ActivationStory {
    ActivationId id;  // none: from outside
    std::uint32_t attempt = 0;
    std::string author;
    Position claimed;
    Position committed;
    /// What it read.
    Position snapshot;
    std::vector<EntryVersion> bound;
    double rating = 0;
    std::string rating_terms;
    /// How long from its claim to its commit.
    std::int64_t duration_ms = 0;
    /// Models, tools and services it called, each once, in order of first use.
    std::vector<std::string> models;
    std::vector<std::string> tools;
    /// Of this attempt's calls; answers that were used again cost nothing.
    Amounts spent;
    std::uint64_t calls_reused = 0;
    bool estimated = false;
    /// The entries that the log says were shown beside the match; empty where the view is a function
    /// of the snapshot.
    std::vector<EntryId> seen;
};

/// Where one version of an entry comes from.
struct Derivation {
    EntryPtr entry;
    ActivationStory story;
    std::vector<Support> supports;
};

/// A version of an entry that another supports.
struct Derived {
    EntryVersion entry;
    Position position;
    std::string author;
    ActivationId activation;
    SupportKind kind = SupportKind::cited;
    /// The version of the board that its author read; told where for_each_derived() was given a `since`.
    Position read;
};

/// An activation that an entry woke.
struct Woken {
    ActivationId id;
    std::string author;
    /// None: nothing was written, or nothing yet.
    Position committed;
};

/// A write in which a text appears.
struct TextHit {
    Position position;
    TimeMs time;
    std::string author;
    ActivationId activation;
    /// From 0, in its commit.
    std::size_t line = 0;
    /// Number 0: the commit was refused, or the write changed nothing.
    EntryVersion entry;
    bool refused = false;
    /// Where in the content, as a JSON pointer; "why" where it is in the reason.
    std::string path;
    Value content;
    std::string why;
    std::vector<Support> supports;
};

class Provenance {
public:
    /// Looks at the log up to `last`.
    Provenance(const EntryStore& entries, const FamilyKey& family, Position last);

    /// The version in force at `at`, also a retracted one. Fails with not_found.
    [[nodiscard]] Result<Derivation> derivation(const EntryId& id, Position at) const;
    /// What this entry supports directly as it stood at `since` or later (0: of any version), in order of position;
    /// until `visit` returns false.
    Status for_each_derived(const EntryId& id, Position since, const std::function<bool(const Derived&)>& visit) const;
    /// The activations that it woke, in order.
    Status for_each_woken(const EntryId& id, const std::function<bool(const Woken&)>& visit) const;
    /// Every write of the text, in order of position.
    Status for_each_hit(const TextQuery& query, Position from, const std::function<bool(const TextHit&)>& visit) const;

    [[nodiscard]] const RecordIndex& index() const { return index_; }
    [[nodiscard]] Result<std::shared_ptr<const LoggedRecord>> record(Position at) const { return entries_.record(at); }
    /// The commit that closed this attempt with writes; null when there is none.
    [[nodiscard]] Result<std::shared_ptr<const LoggedRecord>> commit_of(ActivationId id) const;
    /// The first position whose record is not older than `time`; one past the last when all are.
    [[nodiscard]] Result<Position> position_at(TimeMs time) const;

private:
    [[nodiscard]] Result<ActivationStory> story_of(const LoggedRecord& commit) const;
    [[nodiscard]] std::vector<Support> supports_of(const LoggedRecord& commit, std::size_t line,
                                                   const ActivationStory& story) const;
    [[nodiscard]] EntryVersion version_at(const EntryId& id, Position at) const;

    const EntryStore& entries_;
    Position last_;
    RecordIndex index_;
};

}  // namespace stele

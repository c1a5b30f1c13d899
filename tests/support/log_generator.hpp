// Writes a long log of many sources, as a run of activations leaves it: claims, commits of a few writes
// with cites, sentences with numbers in them. The same seed gives the same log. For benchmarks, and for
// tests that ask a long log the questions that a short one is asked.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "board/board.hpp"
#include "board/log/buffered_store.hpp"
#include "board/log/write_log.hpp"
#include "board/record_index.hpp"

namespace stele {

struct GeneratedLog {
    std::uint64_t writes = 100'000;
    std::uint32_t sources = 200;
    std::uint32_t writes_per_commit = 5;
    std::uint32_t words_per_text = 10;
    bool indexed = true;
    TaskRunner run = make_inline_runner();
    std::uint64_t seed = 1;
};

class LogGenerator {
public:
    LogGenerator(StateStore& store, BoardNumber board, const FamilyKey& family, GeneratedLog shape)
        : buffered_(store), family_(family), shape_(shape), dice_(shape.seed) {
        Result<std::unique_ptr<Board>> opened = Board::open(buffered_, board, family);
        if (!opened.ok()) throw std::runtime_error(opened.error().message);
        board_ = std::move(*opened);
        std::vector<RegionSpec> regions;
        for (const char* name : {"evidence", "claims", "report", "status"}) {
            RegionSpec spec;
            spec.name = name;
            spec.policy = std::string(name) == "status" ? PolicyKind::last_writer_wins : PolicyKind::append_only;
            if (std::string(name) == "status") spec.key = {"name"};
            regions.push_back(std::move(spec));
        }
        must(board_->declare(regions));
        log_ = make_store_log(buffered_, board);
        if (shape_.indexed) index_.emplace(board, family, IndexShape{}, shape_.run);
        Record fence;
        fence.kind = RecordKind::fence;
        fence.author = "system";
        append(std::move(fence), {}, nullptr);
        Record run;
        run.kind = RecordKind::run_started;
        run.author = "person";
        run.parts = {"generated"};
        append(std::move(run), {}, nullptr);
    }

    /// One activation more: its claim and its commit. False when all is written.
    bool step() {
        if (written_ >= shape_.writes) {
            flush();
            return false;
        }
        const std::string author = "source_" + std::to_string(dice_() % shape_.sources);
        const Position snapshot = board_->meta().last;
        evidence_seen_ = evidence_;
        claims_seen_ = claims_;
        Record claim;
        claim.kind = RecordKind::claimed;
        claim.author = author;
        claim.snapshot = snapshot;
        claim.duration_ms = 60'000;
        if (evidence_ > 0) claim.members.push_back({{}, {{{"evidence", recent(evidence_seen_)}, 1}}, {}});
        append(std::move(claim), {}, nullptr);
        Record commit;
        commit.kind = RecordKind::commit;
        commit.author = author;
        commit.activation = {board_->meta().last.number};
        commit.attempt = 1;
        commit.snapshot = snapshot;
        for (std::uint32_t i = 0; i < shape_.writes_per_commit; ++i) commit.writes.push_back(make_write());
        written_ += shape_.writes_per_commit;
        const auto begun = std::chrono::steady_clock::now();
        Authority authority;
        authority.author = author;
        authority.snapshot = snapshot;
        authority.may_write = [](std::string_view, WriteOp) { return true; };
        authority.has_seen = [](const EntryId&) { return true; };
        Result<Decision> decision = board_->decide(commit, authority);
        if (!decision.ok()) throw std::runtime_error(decision.error().message);
        if (!decision->accepted()) throw std::runtime_error(decision->refusals.front().message);
        Verdict verdict;
        verdict.outcomes = decision->outcomes;
        verdict.state_hash = board_->state_hash_after(*decision);
        append(std::move(commit), verdict, &*decision);
        if (board_->meta().last.number % 256 < 2) flush();
        appending_ += std::chrono::steady_clock::now() - begun;
        return true;
    }
    void run() {
        while (step()) {
        }
    }
    void flush() { must(buffered_.flush()); }

    [[nodiscard]] Position last() const { return board_->meta().last; }
    [[nodiscard]] std::uint64_t written() const { return written_; }
    [[nodiscard]] const Board& board() const { return *board_; }
    /// What the appends of commits took, apart from making up what they say.
    [[nodiscard]] std::chrono::duration<double> appending() const { return appending_; }
    /// A phrase that some write holds, and few others.
    [[nodiscard]] const std::vector<std::string>& rare_phrases() const { return rare_; }

private:
    static void must(const Status& status) {
        if (!status.ok()) throw std::runtime_error(status.error().message);
    }

    // Words as they come in texts: few of them often, most of them rarely.
    std::string word() {
        static const std::vector<std::string> syllables = {"ka", "lo", "mi", "ru", "te", "so", "ne", "vi", "da", "po"};
        const double share = std::uniform_real_distribution<double>(0, 1)(dice_);
        auto rank = static_cast<std::uint64_t>(20'000 * share * share * share);
        std::string text;
        do {
            text += syllables[rank % syllables.size()];
            rank /= syllables.size();
        } while (rank > 0);
        return text;
    }
    std::string sentence() {
        std::string text;
        for (std::uint32_t i = 0; i < shape_.words_per_text; ++i) text += (i == 0 ? "" : " ") + word();
        return text + " by " + std::to_string(dice_() % 1'000) + "." + std::to_string(dice_() % 10) + " %";
    }
    /// One of the newest thousand.
    std::uint64_t recent(std::uint64_t count) { return count - dice_() % std::min<std::uint64_t>(count, 1'000); }

    Write make_write() {
        Write write;
        write.op = WriteOp::insert;
        const std::uint64_t kind = dice_() % 10;
        std::string text = sentence();
        if (kind < 9 && written_ % 20'011 < shape_.writes_per_commit && rare_.size() < 1'000) {
            rare_.push_back("needle" + std::to_string(rare_.size()) + "x in hay");
            text += " " + rare_.back();
        }
        const auto file = Value("src/" + word() + ".cpp");
        if (kind < 5) {
            write.region = "evidence";
            write.content = Value::object({{"file", file}, {"text", std::move(text)}});
            ++evidence_;
        } else if (kind < 8) {
            write.region = "claims";
            write.content =
                Value::object({{"file", file}, {"text", std::move(text)}, {"confidence", Value::number(0.5)}});
            if (evidence_seen_ > 3)
                write.cites = {{{"evidence", recent(evidence_seen_)}, 0}, {{"evidence", recent(evidence_seen_)}, 0}};
            ++claims_;
        } else if (kind == 8) {
            write.region = "report";
            write.content = Value::object({{"text", std::move(text)}});
            if (claims_seen_ > 3)
                write.cites = {{{"claims", recent(claims_seen_)}, 0}, {{"claims", recent(claims_seen_)}, 0}};
        } else {
            write.op = WriteOp::put;
            write.region = "status";
            write.content = Value::object({{"name", Value("s" + std::to_string(dice_() % 5'000))}, {"text", word()}});
        }
        write.seal();
        return write;
    }

    void append(Record record, Verdict verdict, const Decision* decision) {
        record.epoch = {1};
        record.time = {1'700'000'000'000 + static_cast<std::int64_t>(board_->meta().last.number) * 3};
        auto logged = std::make_shared<LoggedRecord>();
        logged->position = board_->next_position();
        logged->record = std::move(record);
        logged->verdict = std::move(verdict);
        StoreBatch batch;
        Salt salt{};
        for (std::uint8_t& byte : salt) byte = static_cast<std::uint8_t>(dice_());
        EncodedFrame frame = encode_frame(logged->record, logged->verdict, logged->position, board_->meta().link, salt,
                                          board_->entries().blob_storer(batch));
        logged->link = frame.link;
        board_->apply(logged->record, decision, frame.link, batch);
        board_->entries().remember(logged);
        if (index_) index_->add(logged, batch);
        const LogFrame frames[] = {{logged->position, std::move(frame.bytes)}};
        must(log_->append(frames, std::move(batch)));
    }

    BufferedStore buffered_;
    FamilyKey family_;
    GeneratedLog shape_;
    std::mt19937_64 dice_;
    std::unique_ptr<Board> board_;
    std::unique_ptr<WriteLog> log_;
    std::optional<RecordIndexWriter> index_;
    std::chrono::duration<double> appending_{};
    std::uint64_t written_ = 0;
    std::uint64_t evidence_ = 0;
    std::uint64_t claims_ = 0;
    std::uint64_t evidence_seen_ = 0;
    std::uint64_t claims_seen_ = 0;
    std::vector<std::string> rare_;
};

}  // namespace stele

#include "board/record_index.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <deque>
#include <optional>

#include "board/bytes.hpp"
#include "board/log/keys.hpp"

namespace stele {
namespace {

constexpr char segment_kind = 's';
constexpr char block_kind = 'y';
// A term is 48 bits of a hash: the upper ones say in which bucket of a segment it is, the next 32 stand there.
constexpr int place_bits = 16;
constexpr int bucket_bits = 10;
constexpr int term_bits = 48;
constexpr std::size_t fetched_first = 4;  // segments of one term found at once; doubled up to fetched_max
constexpr std::size_t fetched_max = 64;
constexpr std::uint8_t as_list = 0;
constexpr std::uint8_t as_bitmap = 1;

// Seeded with the key of the board's family, so that boards of other families do not share their terms.
std::uint64_t hash_of(const FamilyKey& family, RecordTermKind kind, std::string_view text) {
    const std::string_view key(reinterpret_cast<const char*>(family.data()), family.size());
    const std::uint64_t seed = read_be64(key) ^ (read_be64(key.substr(8)) + static_cast<std::uint64_t>(kind));
    return XXH3_64bits_withSeed(text.data(), text.size(), seed) >> place_bits;
}

std::uint64_t bucket_of(std::uint64_t term) { return term >> (term_bits - bucket_bits); }
std::uint32_t rest_of(std::uint64_t term) { return static_cast<std::uint32_t>(term >> (term_bits - bucket_bits - 32)); }

std::string bucket_prefix(BoardNumber board, std::uint64_t bucket) {
    std::string key(1, segment_kind);
    append_be64(key, board.number);
    key.push_back(static_cast<char>(bucket >> 8));
    key.push_back(static_cast<char>(bucket & 0xff));
    return key;
}

std::string segment_key(BoardNumber board, std::uint64_t bucket, std::uint32_t segment) {
    std::string key = bucket_prefix(board, bucket);
    append_be32(key, segment);
    return key;
}

std::string block_key(BoardNumber board, std::uint64_t block) {
    std::string key(1, block_kind);
    append_be64(key, board.number);
    append_be64(key, block);
    return key;
}

Error damaged(const char* why) {
    return Error{ErrorCode::corrupt, std::string("the index of records is damaged (") + why +
                                         "); it is made from the log: stele verify --repair makes it anew"};
}

/// The places of one term in a bucket; nothing when it is not there. `damaged` when the bucket cannot be read.
std::optional<std::string> find_in_bucket(std::string_view bucket, std::uint32_t rest, bool& damaged) {
    ByteReader in(bucket);
    while (in.ok() && !in.at_end()) {
        const std::uint32_t found = read_be32(in.raw(4));
        const std::string_view places = in.text();
        if (!in.ok()) break;
        if (found == rest) return std::string(places);
        if (found > rest) return std::nullopt;  // they stand in order
    }
    damaged = damaged || !in.ok();
    return std::nullopt;
}

std::string encode_places(const std::vector<std::uint64_t>& postings, std::size_t from, std::size_t to,
                          std::uint32_t segment_records) {
    ByteWriter list;
    list.u8(as_list);
    std::uint64_t next = 0;
    for (std::size_t i = from; i < to; ++i) {
        const std::uint64_t place = postings[i] & 0xffff;
        list.varint(place - next);
        next = place + 1;
    }
    const std::size_t bitmap_bytes = (segment_records + 7) / 8;
    if (list.bytes().size() <= bitmap_bytes + 1) return list.take();
    std::string bitmap(1 + bitmap_bytes, '\0');
    bitmap[0] = static_cast<char>(as_bitmap);
    for (std::size_t i = from; i < to; ++i) {
        const std::uint64_t place = postings[i] & 0xffff;
        bitmap[1 + place / 8] = static_cast<char>(bitmap[1 + place / 8] | (1 << (place % 8)));
    }
    return bitmap;
}

/// Which records of a segment, by place.
class PlaceSet {
public:
    explicit PlaceSet(std::uint32_t size) : size_(size), words_((size + 63) / 64) {}

    void insert(std::uint64_t place) { words_[place / 64] |= 1ULL << (place % 64); }
    [[nodiscard]] bool contains(std::uint64_t place) const { return (words_[place / 64] >> (place % 64) & 1) != 0; }
    void keep_only(const PlaceSet& other) {
        for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
    }
    bool insert_encoded(std::string_view bytes) {
        ByteReader in(bytes);
        const std::uint8_t form = in.u8();
        if (form == as_bitmap) {
            const std::string_view bits = in.raw((size_ + 7) / 8);
            if (!in.ok() || !in.at_end()) return false;
            for (std::uint64_t place = 0; place < size_; ++place) {
                if ((static_cast<unsigned char>(bits[place / 8]) >> (place % 8) & 1) != 0) insert(place);
            }
            return true;
        }
        if (form != as_list) return false;
        std::uint64_t next = 0;
        while (in.ok() && !in.at_end()) {
            const std::uint64_t step = in.varint();
            if (step >= size_ || next + step >= size_) return false;
            insert(next + step);
            next += step + 1;
        }
        return in.ok();
    }

private:
    std::uint32_t size_;
    std::vector<std::uint64_t> words_;
};

/// The segments that have a term, in one direction, read a few at a time.
class TermCursor {
public:
    TermCursor(const StateStore& store, BoardNumber board, std::uint64_t term, bool reverse)
        : store_(store), board_(board), term_(term), reverse_(reverse) {}

    /// The nearest segment from `segment` to `limit`, in the cursor's direction, that has the term. What lies
    /// beyond is not looked at: a spelling that never occurs must not cost a walk over the whole log.
    Result<std::optional<std::uint32_t>> seek(std::uint32_t segment, std::uint32_t limit) {
        while (!fetched_.empty() && is_before(fetched_.front().segment, segment)) fetched_.pop_front();
        if (fetched_.empty()) {
            const Status read = fetch(segment, limit);
            if (!read.ok()) return read.error();
        }
        if (fetched_.empty() || is_before(limit, fetched_.front().segment)) return std::optional<std::uint32_t>();
        return std::optional<std::uint32_t>(fetched_.front().segment);
    }
    /// Of the segment that seek() found.
    [[nodiscard]] const std::string& places() const { return fetched_.front().places; }

private:
    struct Fetched {
        std::uint32_t segment;
        std::string places;
    };

    [[nodiscard]] bool is_before(std::uint32_t a, std::uint32_t b) const { return reverse_ ? a > b : a < b; }

    Status fetch(std::uint32_t segment, std::uint32_t limit) {
        const std::int64_t step = reverse_ ? -1 : 1;
        std::int64_t first = segment;
        if (looked_to_) first = reverse_ ? std::min(first, *looked_to_) : std::max(first, *looked_to_);
        if (reverse_ ? first < limit : first > limit) return Done{};
        const std::uint64_t bucket = bucket_of(term_);
        const auto low = static_cast<std::uint32_t>(reverse_ ? limit : first);
        const auto high = static_cast<std::uint32_t>(reverse_ ? first : limit);
        bool unreadable = false;
        std::size_t wanted = count_;
        const std::size_t prefix_bytes = bucket_prefix(board_, bucket).size();
        const Status scanned =
            store_.scan(Column::terms, segment_key(board_, bucket, low), segment_key(board_, bucket, high) + '\0',
                        reverse_, [&](std::string_view key, std::string_view value) {
                            unreadable = unreadable || key.size() != prefix_bytes + 4;
                            if (unreadable) return false;
                            std::optional<std::string> places = find_in_bucket(value, rest_of(term_), unreadable);
                            if (places) {
                                fetched_.push_back({read_be32(key.substr(prefix_bytes)), std::move(*places)});
                                --wanted;
                            }
                            return wanted > 0 && !unreadable;
                        });
        if (!scanned.ok()) return scanned;
        if (unreadable) return damaged("a bucket cannot be read");
        looked_to_ = (wanted > 0 ? std::int64_t{limit} : std::int64_t{fetched_.back().segment}) + step;
        count_ = std::min(count_ * 2, fetched_max);
        return Done{};
    }

    const StateStore& store_;
    BoardNumber board_;
    std::uint64_t term_;
    bool reverse_;
    /// The next segment that has not been looked at, in its direction.
    std::optional<std::int64_t> looked_to_;
    std::size_t count_ = fetched_first;
    std::deque<Fetched> fetched_;
};

}  // namespace

// ---- writing ----------------------------------------------------------------------------------

RecordIndexWriter::RecordIndexWriter(BoardNumber board, const FamilyKey& family, IndexShape shape)
    : board_(board), family_(family), shape_(shape) {
    assert(shape.segment_records % shape.block_records == 0 && shape.segment_records <= 1U << place_bits);
}

Status RecordIndexWriter::open(Position last, const RecordLoader& load) {
    postings_.clear();
    block_from_ = 0;
    for (std::uint64_t at = last.number / shape_.segment_records * shape_.segment_records + 1; at <= last.number;
         ++at) {
        const Result<std::shared_ptr<const LoggedRecord>> logged = load({at});
        if (!logged.ok()) return logged.error();
        note(**logged);
        if (at % shape_.block_records == 0) block_from_ = postings_.size();
    }
    return Done{};
}

Status RecordIndexWriter::begin(Position last, const RecordLoader& load, StoreBatch& batch) {
    postings_.clear();
    block_from_ = 0;
    for (std::uint64_t at = last.number / shape_.segment_records * shape_.segment_records + 1; at <= last.number;
         ++at) {
        const Result<std::shared_ptr<const LoggedRecord>> logged = load({at});
        if (!logged.ok()) return logged.error();
        add(**logged, batch);
    }
    return Done{};
}

void RecordIndexWriter::note(const LoggedRecord& logged) {
    const std::uint64_t place = (logged.position.number - 1) % shape_.segment_records;
    const std::size_t from = postings_.size();
    for_each_term(logged, [&](RecordTermKind kind, std::string_view text) {
        postings_.push_back(hash_of(family_, kind, text) << place_bits | place);
    });
    const auto begin = postings_.begin() + static_cast<std::ptrdiff_t>(from);
    std::sort(begin, postings_.end());
    postings_.erase(std::unique(begin, postings_.end()), postings_.end());
}

void RecordIndexWriter::add(const LoggedRecord& logged, StoreBatch& batch) {
    note(logged);
    const std::uint64_t count = logged.position.number;
    if (count % shape_.segment_records == 0) {
        write_segment(count / shape_.segment_records - 1, batch);
    } else if (count % shape_.block_records == 0) {
        write_block(count / shape_.block_records - 1, batch);
    }
}

void RecordIndexWriter::write_block(std::uint64_t block, StoreBatch& batch) {
    ByteWriter out;
    std::size_t at = block_from_;
    const std::uint64_t first_place = block * shape_.block_records % shape_.segment_records;
    for (std::uint64_t place = first_place; place < first_place + shape_.block_records; ++place) {
        std::size_t end = at;
        while (end < postings_.size() && (postings_[end] & 0xffff) == place) ++end;
        out.varint(end - at);
        for (; at < end; ++at) {
            // The upper half of a term will do: what is found is checked against the record.
            for (int shift = 56; shift >= 32; shift -= 8) out.u8(static_cast<std::uint8_t>(postings_[at] >> shift));
        }
    }
    batch.put(Column::terms, block_key(board_, block), out.take());
    block_from_ = postings_.size();
}

void RecordIndexWriter::write_segment(std::uint64_t segment, StoreBatch& batch) {
    std::sort(postings_.begin(), postings_.end());
    for (std::size_t from = 0; from < postings_.size();) {
        const std::uint64_t bucket = bucket_of(postings_[from] >> place_bits);
        ByteWriter out;
        while (from < postings_.size() && bucket_of(postings_[from] >> place_bits) == bucket) {
            const std::uint32_t rest = rest_of(postings_[from] >> place_bits);
            std::size_t to = from;
            while (to < postings_.size() && bucket_of(postings_[to] >> place_bits) == bucket &&
                   rest_of(postings_[to] >> place_bits) == rest) {
                ++to;
            }
            for (int shift = 24; shift >= 0; shift -= 8) out.u8(static_cast<std::uint8_t>(rest >> shift));
            out.text(encode_places(postings_, from, to, shape_.segment_records));
            from = to;
        }
        batch.put(Column::terms, segment_key(board_, bucket, static_cast<std::uint32_t>(segment)), out.take());
    }
    const std::uint64_t blocks = shape_.segment_records / shape_.block_records;
    for (std::uint64_t block = segment * blocks; block + 1 < (segment + 1) * blocks; ++block) {
        batch.erase(Column::terms, block_key(board_, block));
    }
    postings_.clear();
    block_from_ = 0;
}

// ---- reading ----------------------------------------------------------------------------------

struct RecordIndex::Search {
    const RecordIndex& index;
    const IndexQuery& query;
    Position from;
    Position until;
    bool reverse = false;
    const std::function<bool(const LoggedRecord&)>& visit;
    bool stopped = false;

    Status look_at(std::uint64_t position) {
        if (position < from.number || position > until.number) return Done{};
        const Result<std::shared_ptr<const LoggedRecord>> logged = index.load_({position});
        if (!logged.ok()) return logged.error();
        if (answers(**logged, query) && !visit(**logged)) stopped = true;
        return Done{};
    }

    // `first` and `last` positions that are worth a look by `is_worth`, in the search's direction.
    template <class IsWorth>
    Status look_through(std::uint64_t first, std::uint64_t last, const IsWorth& is_worth) {
        const std::uint64_t low = std::max(first, from.number);
        const std::uint64_t high = std::min(last, until.number);
        for (std::uint64_t i = low; i <= high && !stopped; ++i) {
            const std::uint64_t position = reverse ? low + high - i : i;
            if (!is_worth(position)) continue;
            const Status looked = look_at(position);
            if (!looked.ok()) return looked;
        }
        return Done{};
    }

    Status segments() {
        const std::uint64_t size = index.shape_.segment_records;
        const std::uint64_t sealed = index.last_.number / size;
        if (sealed == 0 || from.number > until.number || from.number > sealed * size) return Done{};
        const auto low = static_cast<std::uint32_t>((from.number - 1) / size);
        const auto high = static_cast<std::uint32_t>(std::min((until.number - 1) / size, sealed - 1));
        std::vector<std::vector<TermCursor>> groups;
        for (const std::vector<RecordTerm>& any : query) {
            groups.emplace_back();
            for (const RecordTerm& term : any) {
                groups.back().emplace_back(index.store_, index.board_, hash_of(index.family_, term.kind, term.text),
                                           reverse);
            }
        }
        std::uint32_t segment = reverse ? high : low;
        while (!stopped && segment >= low && segment <= high) {
            // Each group says where it goes on; who is furthest wins, until all agree.
            bool agreed = true;
            for (std::vector<TermCursor>& group : groups) {
                std::optional<std::uint32_t> nearest;
                for (TermCursor& cursor : group) {
                    const std::uint32_t limit = nearest.value_or(reverse ? low : high);
                    const Result<std::optional<std::uint32_t>> found = cursor.seek(segment, limit);
                    if (!found.ok()) return found.error();
                    if (found->has_value() && (!nearest || (reverse ? **found > *nearest : **found < *nearest))) {
                        nearest = **found;
                    }
                }
                if (!nearest) return Done{};
                if (*nearest != segment) {
                    segment = *nearest;
                    agreed = false;
                }
            }
            if (!agreed) continue;
            const Status looked = one_segment(segment, groups);
            if (!looked.ok()) return looked;
            if (segment == (reverse ? low : high)) break;
            segment += reverse ? -1 : 1;
        }
        return Done{};
    }

    Status one_segment(std::uint32_t segment, std::vector<std::vector<TermCursor>>& groups) {
        const std::uint32_t size = index.shape_.segment_records;
        std::optional<PlaceSet> all;
        for (std::vector<TermCursor>& group : groups) {
            PlaceSet any(size);
            for (TermCursor& cursor : group) {
                const Result<std::optional<std::uint32_t>> found = cursor.seek(segment, segment);
                if (!found.ok()) return found.error();
                if (!found->has_value()) continue;
                if (!any.insert_encoded(cursor.places())) return damaged("a list of records cannot be read");
            }
            if (all) {
                all->keep_only(any);
            } else {
                all = std::move(any);
            }
        }
        const std::uint64_t first = std::uint64_t{segment} * size + 1;
        return look_through(first, first + size - 1,
                            [&](std::uint64_t position) { return !all || all->contains(position - first); });
    }

    Status blocks() {
        const std::uint64_t size = index.shape_.block_records;
        const std::uint64_t per_segment = index.shape_.segment_records / size;
        const std::uint64_t first = index.last_.number / index.shape_.segment_records * per_segment;
        const std::uint64_t end = index.last_.number / size;
        for (std::uint64_t i = first; i < end && !stopped; ++i) {
            const Status looked = one_block(reverse ? first + end - 1 - i : i);
            if (!looked.ok()) return looked;
        }
        return Done{};
    }

    Status one_block(std::uint64_t block) {
        const std::uint64_t size = index.shape_.block_records;
        const std::uint64_t first = block * size + 1;
        if (first > until.number || first + size - 1 < from.number) return Done{};
        const Result<std::optional<std::string>> stored =
            index.store_.get(Column::terms, block_key(index.board_, block));
        if (!stored.ok()) return stored.error();
        if (!stored->has_value()) return damaged("a block is missing");
        // Terms as they stand in the block: what is compared most often is compared as bytes.
        std::vector<std::vector<std::string>> wanted;
        for (const std::vector<RecordTerm>& any : query) {
            wanted.emplace_back();
            for (const RecordTerm& term : any) {
                std::string bytes;
                append_be32(bytes, static_cast<std::uint32_t>(hash_of(index.family_, term.kind, term.text) >> 16));
                wanted.back().push_back(std::move(bytes));
            }
        }
        std::vector<bool> worth;
        ByteReader in(**stored);
        const auto has = [](std::string_view terms, const std::string& term) {
            std::uint32_t sought = 0;
            std::memcpy(&sought, term.data(), sizeof sought);
            for (std::size_t at = 0; at < terms.size(); at += sizeof sought) {
                std::uint32_t found = 0;
                std::memcpy(&found, terms.data() + at, sizeof found);
                if (found == sought) return true;
            }
            return false;
        };
        for (std::uint64_t place = 0; place < size; ++place) {
            const std::string_view terms = in.raw(in.count(4) * 4);
            worth.push_back(std::all_of(wanted.begin(), wanted.end(), [&](const std::vector<std::string>& any) {
                return std::any_of(any.begin(), any.end(), [&](const std::string& term) { return has(terms, term); });
            }));
        }
        if (!in.ok() || !in.at_end()) return damaged("a block cannot be read");
        return look_through(first, first + size - 1,
                            [&](std::uint64_t position) { return bool(worth[position - first]); });
    }

    Status tail() {
        const std::uint64_t first = index.last_.number / index.shape_.block_records * index.shape_.block_records + 1;
        return look_through(first, index.last_.number, [](std::uint64_t) { return true; });
    }
};

RecordIndex::RecordIndex(const StateStore& store, BoardNumber board, const FamilyKey& family, Position last,
                         RecordLoader load, IndexShape shape)
    : store_(store), board_(board), family_(family), last_(last), load_(std::move(load)), shape_(shape) {}

Status RecordIndex::find(const IndexQuery& query, Position from, Position until, bool reverse,
                         const std::function<bool(const LoggedRecord&)>& visit) const {
    Search search{*this, query, std::max(from, Position{1}), std::min(until, last_), reverse, visit};
    if (query.empty()) return search.look_through(1, last_.number, [](std::uint64_t) { return true; });
    using Part = Status (Search::*)();
    std::vector<Part> parts = {&Search::segments, &Search::blocks, &Search::tail};
    if (reverse) std::reverse(parts.begin(), parts.end());
    for (const Part part : parts) {
        const Status looked = (search.*part)();
        if (!looked.ok() || search.stopped) return looked;
    }
    return Done{};
}

IndexQuery terms_of(const TextQuery& text) {
    IndexQuery terms;
    for (const std::vector<TextToken>& spellings : text.tokens()) {
        terms.emplace_back();
        for (const TextToken& token : spellings) {
            terms.back().push_back(
                {token.kind == TokenKind::word ? RecordTermKind::word : RecordTermKind::number, token.text});
        }
    }
    return terms;
}

bool answers(const LoggedRecord& logged, const IndexQuery& query) {
    std::vector<bool> has(query.size(), false);
    for_each_term(logged, [&](RecordTermKind kind, std::string_view text) {
        for (std::size_t group = 0; group < query.size(); ++group) {
            if (has[group]) continue;
            has[group] = std::any_of(query[group].begin(), query[group].end(),
                                     [&](const RecordTerm& term) { return term.kind == kind && term.text == text; });
        }
    });
    return std::all_of(has.begin(), has.end(), [](bool one) { return one; });
}

std::vector<std::pair<std::string, std::string>> index_key_ranges(BoardNumber board) {
    std::vector<std::pair<std::string, std::string>> ranges;
    for (const char kind : {segment_kind, block_kind}) {
        std::string from(1, kind);
        append_be64(from, board.number);
        std::string to(1, kind);
        append_be64(to, board.number + 1);
        ranges.emplace_back(std::move(from), std::move(to));
    }
    return ranges;
}

}  // namespace stele

#include "board/record_index.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <deque>
#include <iterator>
#include <optional>
#include <utility>

#include "board/bytes.hpp"
#include "board/log/keys.hpp"

namespace stele {
namespace {

constexpr char segment_kind = 's';
constexpr char block_kind = 'y';
// A term is 32 bits of a hash. The upper ones say in which bucket of a segment it is, the rest stands there.
constexpr int bucket_bits = 10;
constexpr int rest_bits = 32 - bucket_bits;
constexpr std::size_t rest_bytes = (rest_bits + 7) / 8;
constexpr std::size_t term_bytes = 4;
constexpr std::size_t fetched_first = 4;  // segments of one term found at once; doubled up to fetched_max
constexpr std::size_t fetched_max = 64;
constexpr std::size_t handed_over = 32;  // records in one task: a task costs as much as noting a few

// Seeded with the key of the board's family, so that boards of other families do not share their terms.
class TermHash {
public:
    explicit TermHash(const FamilyKey& family) {
        const std::string_view key(reinterpret_cast<const char*>(family.data()), family.size());
        high_ = read_be64(key);
        low_ = read_be64(key.substr(8));
    }
    std::uint32_t operator()(RecordTermKind kind, std::string_view text) const {
        const std::uint64_t seed = high_ ^ (low_ + static_cast<std::uint64_t>(kind));
        return static_cast<std::uint32_t>(XXH3_64bits_withSeed(text.data(), text.size(), seed) >> 32);
    }

private:
    std::uint64_t high_ = 0;
    std::uint64_t low_ = 0;
};

std::uint32_t bucket_of(std::uint32_t term) { return term >> rest_bits; }
std::uint32_t rest_of(std::uint32_t term) { return term & ((1U << rest_bits) - 1); }

// A posting is a term and, below it, the place of a record that has it.
std::uint32_t term_of(std::uint64_t posting) { return static_cast<std::uint32_t>(posting >> 32); }
std::uint32_t place_of(std::uint64_t posting) { return static_cast<std::uint32_t>(posting); }

/// Sorts by the upper 32 bits; what is equal there stays in its order. By digits of 11 bits from the lowest one (radix
/// sort; Knuth, The Art of Computer Programming 3, section 5.2.5): half of what an append cost was sorting by
/// comparison.
void sort_by_term(std::vector<std::uint64_t>& postings, std::vector<std::uint64_t>& other) {
    constexpr int digit_bits = 11;
    constexpr std::size_t digits = std::size_t{1} << digit_bits;
    if (postings.size() < digits / 8) {
        std::stable_sort(postings.begin(), postings.end(),
                         [](std::uint64_t a, std::uint64_t b) { return term_of(a) < term_of(b); });
        return;
    }
    other.resize(postings.size());
    std::array<std::array<std::uint32_t, digits>, (32 + digit_bits - 1) / digit_bits> starts{};
    const auto digit_of = [](std::uint64_t posting, std::size_t digit) {
        return static_cast<std::size_t>(posting >> (32 + digit_bits * digit)) & (digits - 1);
    };
    for (const std::uint64_t posting : postings) {
        for (std::size_t digit = 0; digit < starts.size(); ++digit) ++starts[digit][digit_of(posting, digit)];
    }
    for (std::size_t digit = 0; digit < starts.size(); ++digit) {
        std::uint32_t next = 0;
        for (std::uint32_t& start : starts[digit]) next += std::exchange(start, next);
        for (const std::uint64_t posting : postings) other[starts[digit][digit_of(posting, digit)]++] = posting;
        postings.swap(other);
    }
}

std::string bucket_prefix(BoardNumber board, std::uint32_t bucket) {
    std::string key(1, segment_kind);
    append_be64(key, board.number);
    key.push_back(static_cast<char>(bucket >> 8));
    key.push_back(static_cast<char>(bucket & 0xff));
    return key;
}

std::string segment_key(BoardNumber board, std::uint32_t bucket, std::uint32_t segment) {
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

std::size_t bitmap_bytes(std::uint32_t size) { return (size + 7) / 8; }

/// False when these are no places below `size`.
template <class Visit>
bool for_each_place(std::string_view bytes, std::uint32_t size, const Visit& visit) {
    if (bytes.size() == bitmap_bytes(size)) {
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            for (unsigned bits = static_cast<unsigned char>(bytes[i]); bits != 0; bits &= bits - 1) {
                const auto place =
                    static_cast<std::uint32_t>(8 * i) + static_cast<std::uint32_t>(std::countr_zero(bits));
                if (place >= size) return false;
                visit(place);
            }
        }
        return true;
    }
    ByteReader in(bytes);
    std::uint64_t next = 0;
    while (!in.at_end()) {
        const std::uint64_t step = in.varint();
        if (!in.ok() || step >= size || next + step >= size) return false;
        visit(static_cast<std::uint32_t>(next + step));
        next += step + 1;
    }
    return true;
}

/// Makes a TermList, term by term in order. Places below `size` are a list of the distances between them where that is
/// shorter than a bit for each place. Which of the two it is, the length tells.
class TermListWriter {
public:
    TermListWriter(std::size_t bytes, std::uint32_t size)
        : term_bytes_(bytes), bitmap_bytes_(bitmap_bytes(size)), encoded_(bitmap_bytes_ + varint_bytes_max, '\0') {}

    void add(std::uint32_t term, const std::vector<std::uint32_t>& places) {
        for (std::size_t byte = term_bytes_; byte-- > 0;) terms_ += static_cast<char>(term >> (8 * byte));
        const std::string_view encoded = encode(places);
        char length[varint_bytes_max];
        lengths_.append(length, put_varint(length, static_cast<std::uint32_t>(encoded.size())));
        places_.append(encoded);
        ++count_;
    }
    std::string take() {
        ByteWriter out;
        out.reserve(terms_.size() + lengths_.size() + places_.size() + 2 * varint_bytes_max);
        out.varint(std::exchange(count_, 0));
        out.raw(terms_);
        out.text(lengths_);
        out.raw(places_);
        for (std::string* part : {&terms_, &lengths_, &places_}) part->clear();
        return out.take();
    }

private:
    static constexpr std::size_t varint_bytes_max = 5;

    static char* put_varint(char* at, std::uint32_t value) {
        for (; value >= 0x80; value >>= 7) *at++ = static_cast<char>(value | 0x80);
        *at++ = static_cast<char>(value);
        return at;
    }

    std::string_view encode(const std::vector<std::uint32_t>& places) {
        char* at = encoded_.data();
        const char* const too_long = at + bitmap_bytes_;
        std::uint32_t next = 0;
        for (std::size_t i = 0; i < places.size() && at < too_long; ++i) {
            at = put_varint(at, places[i] - next);
            next = places[i] + 1;
        }
        if (at < too_long) return {encoded_.data(), at};
        std::fill_n(encoded_.begin(), bitmap_bytes_, '\0');
        for (const std::uint32_t place : places) {
            encoded_[place / 8] = static_cast<char>(encoded_[place / 8] | 1 << (place % 8));
        }
        return std::string_view(encoded_).substr(0, bitmap_bytes_);
    }

    std::size_t term_bytes_;
    std::size_t bitmap_bytes_;
    std::string encoded_;
    std::uint64_t count_ = 0;
    std::string terms_;
    std::string lengths_;
    std::string places_;
};

/// The terms of a block or bucket, in order, and the places of each: terms first, so that one is found by halving.
class TermList {
public:
    TermList(std::string_view bytes, std::size_t term_bytes) : term_bytes_(term_bytes) {
        ByteReader in(bytes);
        count_ = in.count(term_bytes);
        terms_ = in.raw(count_ * term_bytes);
        lengths_ = in.text();
        places_ = in.raw(in.remaining());
        readable_ = in.ok();
    }

    /// Visits all; false when they cannot be read or are not in order.
    template <class Visit>
    bool for_each(const Visit& visit) const {
        if (!readable_) return false;
        ByteReader lengths(lengths_);
        ByteReader places(places_);
        for (std::size_t i = 0; i < count_; ++i) {
            const std::string_view one = places.raw(lengths.varint());
            if (!lengths.ok() || !places.ok() || (i > 0 && term(i - 1) >= term(i))) return false;
            visit(term(i), one);
        }
        return lengths.at_end() && places.at_end();
    }

    /// Empty when it is not there.
    [[nodiscard]] Result<std::string_view> places_of(std::uint32_t sought) const {
        std::size_t low = 0;
        for (std::size_t high = count_; low < high;) {
            const std::size_t middle = low + (high - low) / 2;
            if (term(middle) < sought) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if (readable_ && (low == count_ || term(low) != sought)) return std::string_view();
        ByteReader lengths(lengths_);
        std::uint64_t from = 0;
        for (std::size_t i = 0; i < low && lengths.ok(); ++i) from += lengths.varint();
        const std::uint64_t length = lengths.varint();
        if (!readable_ || !lengths.ok() || from > places_.size() || length > places_.size() - from) {
            return damaged("a list of terms cannot be read");
        }
        return places_.substr(from, length);
    }

private:
    [[nodiscard]] std::uint32_t term(std::size_t i) const {
        std::uint32_t term = 0;
        for (const char byte : terms_.substr(i * term_bytes_, term_bytes_)) {
            term = term << 8 | static_cast<unsigned char>(byte);
        }
        return term;
    }

    std::size_t term_bytes_;
    std::uint64_t count_ = 0;
    std::string_view terms_;
    std::string_view lengths_;
    std::string_view places_;
    bool readable_ = false;
};

bool is_block(std::string_view terms, std::uint32_t size) {
    bool readable = true;
    const bool in_order = TermList(terms, term_bytes).for_each([&](std::uint32_t, std::string_view places) {
        readable = readable && for_each_place(places, size, [](std::uint32_t) {});
    });
    return in_order && readable;
}

/// Which records of a segment or block, by place.
class PlaceSet {
public:
    explicit PlaceSet(std::uint32_t size) : size_(size), words_((size + 63) / 64) {}

    [[nodiscard]] bool contains(std::uint64_t place) const { return (words_[place / 64] >> (place % 64) & 1) != 0; }
    void keep_only(const PlaceSet& other) {
        for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
    }
    Status insert_encoded(std::string_view bytes) {
        const bool readable = for_each_place(
            bytes, size_, [this](std::uint32_t place) { words_[place / 64] |= std::uint64_t{1} << (place % 64); });
        if (!readable) return damaged("a list of records cannot be read");
        return Done{};
    }

private:
    std::uint32_t size_;
    std::vector<std::uint64_t> words_;
};

/// The segments that have a term, in one direction, read a few at a time.
class TermCursor {
public:
    TermCursor(const StateStore& store, BoardNumber board, std::uint32_t term, bool reverse)
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
        const std::uint32_t bucket = bucket_of(term_);
        const auto low = static_cast<std::uint32_t>(reverse_ ? limit : first);
        const auto high = static_cast<std::uint32_t>(reverse_ ? first : limit);
        Status bad = Done{};
        std::size_t wanted = count_;
        const std::size_t prefix_bytes = bucket_prefix(board_, bucket).size();
        const Status scanned = store_.scan(
            Column::terms, segment_key(board_, bucket, low), segment_key(board_, bucket, high) + '\0', reverse_,
            [&](std::string_view key, std::string_view value) {
                if (key.size() != prefix_bytes + 4) {
                    bad = damaged("a key is too short or too long");
                    return false;
                }
                const Result<std::string_view> places = TermList(value, rest_bytes).places_of(rest_of(term_));
                if (!places.ok()) return bad = places.error(), false;
                if (!places->empty()) {
                    fetched_.push_back({read_be32(key.substr(prefix_bytes)), std::string(*places)});
                    --wanted;
                }
                return wanted > 0;
            });
        if (!scanned.ok()) return scanned;
        if (!bad.ok()) return bad;
        looked_to_ = (wanted > 0 ? std::int64_t{limit} : std::int64_t{fetched_.back().segment}) + step;
        count_ = std::min(count_ * 2, fetched_max);
        return Done{};
    }

    const StateStore& store_;
    BoardNumber board_;
    std::uint32_t term_;
    bool reverse_;
    /// The next segment that has not been looked at, in its direction.
    std::optional<std::int64_t> looked_to_;
    std::size_t count_ = fetched_first;
    std::deque<Fetched> fetched_;
};

Result<std::string> stored_block(const StateStore& store, BoardNumber board, std::uint64_t block) {
    Result<std::optional<std::string>> stored = store.get(Column::terms, block_key(board, block));
    if (!stored.ok()) return stored.error();
    if (!stored->has_value()) return damaged("a block is missing");
    return std::move(**stored);
}

}  // namespace

// ---- writing ----------------------------------------------------------------------------------

TaskRunner make_inline_runner() {
    return [](const std::function<void()>& task) { task(); };
}

/// What is known of the blocks and segments in the making.
class RecordIndexWriter::Work {
public:
    Work(BoardNumber board, const FamilyKey& family, IndexShape shape) : board_(board), hash_(family), shape_(shape) {}

    /// A block that is stored; false when it cannot be read.
    bool take_up(std::string block) {
        if (!is_block(block, shape_.block_records)) return false;
        blocks_.push_back(std::move(block));
        return true;
    }
    void note(const LoggedRecord& logged) {
        const std::uint64_t place = (logged.position.number - 1) % shape_.block_records;
        for_each_term(logged, [&](RecordTermKind kind, std::string_view text) {
            postings_.push_back(std::uint64_t{hash_(kind, text)} << 32 | place);
        });
    }
    StoreBatch finish_block(std::uint64_t block);
    StoreBatch finish_segment(std::uint64_t segment);

private:
    BoardNumber board_;
    TermHash hash_;
    IndexShape shape_;
    std::vector<std::uint64_t> postings_;  // of the block in the making: term above, place in the block below
    std::vector<std::uint64_t> scratch_;
    std::deque<std::string> blocks_;  // that are in no segment, as they are stored
};

StoreBatch RecordIndexWriter::Work::finish_block(std::uint64_t block) {
    sort_by_term(postings_, scratch_);
    TermListWriter terms(term_bytes, shape_.block_records);
    std::vector<std::uint32_t> places;
    for (std::size_t at = 0; at < postings_.size();) {
        const std::uint32_t term = term_of(postings_[at]);
        places.clear();
        for (; at < postings_.size() && term_of(postings_[at]) == term; ++at) {
            const std::uint32_t place = place_of(postings_[at]);
            if (places.empty() || places.back() != place) places.push_back(place);
        }
        terms.add(term, places);
    }
    blocks_.push_back(terms.take());
    postings_.clear();
    StoreBatch made;
    made.put(Column::terms, block_key(board_, block), blocks_.back());
    return made;
}

StoreBatch RecordIndexWriter::Work::finish_segment(std::uint64_t segment) {
    struct Listed {
        std::uint32_t first_place;
        std::string_view places;
    };
    std::vector<Listed> lists;
    std::vector<std::uint64_t> order;  // by term, then by block: the term above the number of its list
    const std::size_t count = shape_.blocks_per_segment();
    assert(blocks_.size() >= count);
    for (std::size_t block = 0; block < count; ++block) {
        const auto first_place = static_cast<std::uint32_t>(block * shape_.block_records);
        TermList(blocks_[block], term_bytes).for_each([&](std::uint32_t term, std::string_view list) {
            order.push_back(std::uint64_t{term} << 32 | lists.size());
            lists.push_back({first_place, list});
        });
    }
    sort_by_term(order, scratch_);
    StoreBatch made;
    TermListWriter terms(rest_bytes, shape_.segment_records);
    std::vector<std::uint32_t> places;
    for (std::size_t at = 0; at < order.size();) {
        const std::uint32_t bucket = bucket_of(term_of(order[at]));
        while (at < order.size() && bucket_of(term_of(order[at])) == bucket) {
            const std::uint32_t term = term_of(order[at]);
            places.clear();
            for (; at < order.size() && term_of(order[at]) == term; ++at) {
                const Listed& list = lists[place_of(order[at])];
                for_each_place(list.places, shape_.block_records,
                               [&](std::uint32_t place) { places.push_back(list.first_place + place); });
            }
            terms.add(rest_of(term), places);
        }
        made.put(Column::terms, segment_key(board_, bucket, static_cast<std::uint32_t>(segment)), terms.take());
    }
    for (std::size_t block = 0; block < count; ++block) {
        made.erase(Column::terms, block_key(board_, segment * count + block));
        blocks_.pop_front();
    }
    return made;
}

RecordIndexWriter::RecordIndexWriter(BoardNumber board, const FamilyKey& family, IndexShape shape, TaskRunner run)
    : board_(board), shape_(shape), run_(std::move(run)), work_(std::make_shared<Work>(board, family, shape)) {
    assert(shape.segment_records % shape.block_records == 0 && shape.block_lag <= shape.segment_lag);
}

Status RecordIndexWriter::open(const StateStore& store, Position last, const RecordLoader& load) {
    const std::uint64_t stored = shape_.blocks_due(last);
    for (std::uint64_t block = shape_.first_block(last); block < stored; ++block) {
        Result<std::string> terms = stored_block(store, board_, block);
        if (!terms.ok()) return terms.error();
        if (!work_->take_up(std::move(*terms))) return damaged("a block cannot be read");
        if ((block + 1) % shape_.blocks_per_segment() == 0) end_segment((block + 1) * shape_.block_records);
    }
    for (std::uint64_t at = stored * shape_.block_records + 1; at <= last.number; ++at) {
        Result<std::shared_ptr<const LoggedRecord>> logged = load({at});
        if (!logged.ok()) return logged.error();
        feed(std::move(*logged));
    }
    return Done{};
}

Status RecordIndexWriter::begin(Position last, const RecordLoader& load, StoreBatch& batch) {
    for (std::uint64_t at = shape_.first_block(last) * shape_.block_records + 1; at <= last.number; ++at) {
        Result<std::shared_ptr<const LoggedRecord>> logged = load({at});
        if (!logged.ok()) return logged.error();
        add(std::move(*logged), batch);
    }
    return Done{};
}

void RecordIndexWriter::add(std::shared_ptr<const LoggedRecord> logged, StoreBatch& batch) {
    const std::uint64_t position = logged->position.number;
    feed(std::move(logged));
    while (!due_.empty() && due_.begin()->first <= position) {
        StoreBatch made = due_.begin()->second.get();
        due_.erase(due_.begin());
        std::move(made.operations.begin(), made.operations.end(), std::back_inserter(batch.operations));
    }
}

void RecordIndexWriter::feed(std::shared_ptr<const LoggedRecord> logged) {
    const std::uint64_t position = logged->position.number;
    fed_.push_back(std::move(logged));
    const bool ends_block = position % shape_.block_records == 0;
    if (fed_.size() >= handed_over || ends_block) hand_over();
    if (!ends_block) return;
    const std::uint64_t block = position / shape_.block_records - 1;
    due_at(position + shape_.block_lag, [block](Work& work) { return work.finish_block(block); });
    if (position % shape_.segment_records == 0) end_segment(position);
}

void RecordIndexWriter::hand_over() {
    run_([work = work_, records = std::exchange(fed_, {})] {
        for (const std::shared_ptr<const LoggedRecord>& logged : records) work->note(*logged);
    });
}

void RecordIndexWriter::end_segment(std::uint64_t position) {
    const std::uint64_t segment = position / shape_.segment_records - 1;
    due_at(position + shape_.segment_lag, [segment](Work& work) { return work.finish_segment(segment); });
}

void RecordIndexWriter::due_at(std::uint64_t position, std::function<StoreBatch(Work&)> make) {
    const auto made = std::make_shared<std::promise<StoreBatch>>();
    due_.emplace(position, made->get_future());
    run_([work = work_, make = std::move(make), made] { made->set_value(make(*work)); });
}

// ---- reading ----------------------------------------------------------------------------------

struct RecordIndex::Search {
    const RecordIndex& index;
    const IndexQuery& query;
    Position from;
    Position until;
    bool reverse = false;
    const std::function<bool(const LoggedRecord&)>& visit;
    std::vector<std::vector<std::uint32_t>> terms;  // of the query, hashed
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
        const std::uint64_t sealed = index.shape_.segments_due(index.last_);
        if (sealed == 0 || from.number > until.number || from.number > sealed * size) return Done{};
        const auto low = static_cast<std::uint32_t>((from.number - 1) / size);
        const auto high = static_cast<std::uint32_t>(std::min((until.number - 1) / size, sealed - 1));
        std::vector<std::vector<TermCursor>> groups;
        for (const std::vector<std::uint32_t>& any : terms) {
            groups.emplace_back();
            for (const std::uint32_t term : any) {
                groups.back().emplace_back(index.store_, index.board_, term, reverse);
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

    // The records of a part of the log that have, for each element of the query, one of its terms. `places_of(group,
    // i)` gives the places of one term there, empty where there are none.
    template <class PlacesOf>
    Status one_part(std::uint64_t first, std::uint32_t size, const PlacesOf& places_of) {
        std::optional<PlaceSet> all;
        for (std::size_t group = 0; group < query.size(); ++group) {
            PlaceSet any(size);
            for (std::size_t i = 0; i < query[group].size(); ++i) {
                const Result<std::string_view> places = places_of(group, i);
                if (!places.ok()) return places.error();
                if (places->empty()) continue;
                const Status inserted = any.insert_encoded(*places);
                if (!inserted.ok()) return inserted;
            }
            if (all) {
                all->keep_only(any);
            } else {
                all = std::move(any);
            }
        }
        return look_through(first, first + size - 1,
                            [&](std::uint64_t position) { return !all || all->contains(position - first); });
    }

    Status one_segment(std::uint32_t segment, std::vector<std::vector<TermCursor>>& groups) {
        const std::uint32_t size = index.shape_.segment_records;
        return one_part(std::uint64_t{segment} * size + 1, size,
                        [&](std::size_t group, std::size_t i) -> Result<std::string_view> {
                            TermCursor& cursor = groups[group][i];
                            const Result<std::optional<std::uint32_t>> found = cursor.seek(segment, segment);
                            if (!found.ok()) return found.error();
                            return found->has_value() ? std::string_view(cursor.places()) : std::string_view();
                        });
    }

    Status blocks() {
        const std::uint64_t first = index.shape_.first_block(index.last_);
        const std::uint64_t end = index.shape_.blocks_due(index.last_);
        for (std::uint64_t i = first; i < end && !stopped; ++i) {
            const Status looked = one_block(reverse ? first + end - 1 - i : i);
            if (!looked.ok()) return looked;
        }
        return Done{};
    }

    Status one_block(std::uint64_t block) {
        const std::uint32_t size = index.shape_.block_records;
        const std::uint64_t first = block * size + 1;
        if (first > until.number || first + size - 1 < from.number) return Done{};
        const Result<std::string> stored = stored_block(index.store_, index.board_, block);
        if (!stored.ok()) return stored.error();
        const TermList list(*stored, term_bytes);
        return one_part(first, size, [&](std::size_t group, std::size_t i) { return list.places_of(terms[group][i]); });
    }

    Status tail() {
        const std::uint64_t first = index.shape_.blocks_due(index.last_) * index.shape_.block_records + 1;
        return look_through(first, index.last_.number, [](std::uint64_t) { return true; });
    }
};

RecordIndex::RecordIndex(const StateStore& store, BoardNumber board, const FamilyKey& family, Position last,
                         RecordLoader load, IndexShape shape)
    : store_(store), board_(board), family_(family), last_(last), load_(std::move(load)), shape_(shape) {}

Status RecordIndex::find(const IndexQuery& query, Position from, Position until, bool reverse,
                         const std::function<bool(const LoggedRecord&)>& visit) const {
    Search search{*this, query, std::max(from, Position{1}), std::min(until, last_), reverse, visit, {}};
    const TermHash hash(family_);
    for (const std::vector<RecordTerm>& any : query) {
        search.terms.emplace_back();
        for (const RecordTerm& term : any) search.terms.back().push_back(hash(term.kind, term.text));
    }
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
    const auto look = [&](RecordTermKind kind, std::string_view text) {
        for (std::size_t group = 0; group < query.size(); ++group) {
            if (has[group]) continue;
            has[group] = std::any_of(query[group].begin(), query[group].end(),
                                     [&](const RecordTerm& term) { return term.kind == kind && term.text == text; });
        }
    };
    const bool of_texts = std::any_of(query.begin(), query.end(), [](const std::vector<RecordTerm>& any) {
        return std::any_of(any.begin(), any.end(), [](const RecordTerm& term) {
            return term.kind == RecordTermKind::word || term.kind == RecordTermKind::number;
        });
    });
    if (of_texts) {
        for_each_term(logged, look);
    } else {
        for_each_term_but_texts(logged, look);
    }
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

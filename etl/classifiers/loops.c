/* The two inner loops of the linear classifier: the features of documents, and the sums of their rows.

   They give the same numbers as the NumPy code in `features.py` and `linear.py`, bit for bit, which is tested, and
   take a quarter of its time: each token is looked at once, where NumPy makes an array for each step.
   `loops.py` calls them and says what the arguments are. Nothing here allocates, and no index is taken on trust:
   a token beyond the vocabulary counts as the last one, as `take(mode="clip")` has it. */

#include <stdint.h>

#define MAX_LETTERS 64
#define WORD_BUCKETS (1u << 16)
#define BLOCK 16
#define AHEAD 16

#ifdef __GNUC__
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)(address))
#endif

/* The finaliser of MurmurHash3 (Appleby, 2008). */
static inline uint32_t mixed(uint32_t value) {
    value ^= value >> 16;
    value *= 0x85EBCA6Bu;
    value ^= value >> 13;
    value *= 0xC2B2AE35u;
    return value ^ value >> 16;
}

/* Version of the arguments below; `loops.py` calls no other one. */
int64_t dmix_loops_interface(void) { return 1; }

struct words {
    int64_t size;
    const uint8_t *opens, *closes, *plural;
    const uint32_t *alone, *share, *letters, *powers;
};

/* The hash of the word that begins at token `at`; `*next` becomes the token after it, at most `end`. */
static inline uint32_t word_hash(
    const uint32_t *ids, int64_t at, int64_t end, const struct words *table, int64_t *next
) {
    int64_t token = ids[at] < table->size ? ids[at] : table->size - 1;
    const int64_t first = token;
    uint32_t hash = 0, letters = 0;
    int64_t place = at;
    for (;;) {
        const uint32_t power = table->powers[letters < MAX_LETTERS ? letters : MAX_LETTERS - 1];
        hash += table->share[token] * power;
        letters += table->letters[token];
        if (++place == end || table->closes[token]) break;
        const int64_t following = ids[place] < table->size ? ids[place] : table->size - 1;
        if (table->opens[following]) break;
        token = following;
    }
    *next = place;
    if (place == at + 1) return table->alone[first];
    if (table->plural[token] && letters > 3 && letters <= MAX_LETTERS)
        hash -= (uint32_t)'s' * table->powers[letters - 1];
    return hash;
}

/* Writes the features of one document, each word and the pair that it makes with the next one; returns how many. */
static int64_t features_of(const uint32_t *ids, int64_t at, int64_t end, const struct words *table, int32_t *found) {
    int64_t count = 0;
    if (at == end) return 0;
    uint32_t hash = word_hash(ids, at, end, table, &at);
    while (at < end) {
        const uint32_t next = word_hash(ids, at, end, table, &at);
        found[count++] = (int32_t)(mixed(hash) >> 16);
        found[count++] = (int32_t)((mixed(hash * 0x9E3779B1u + next * 0x85EBCA77u) >> 17) + WORD_BUCKETS);
        hash = next;
    }
    /* the last word has no neighbour, and stands for the pair as well */
    found[count++] = (int32_t)(mixed(hash) >> 16);
    found[count++] = (int32_t)(mixed(hash) >> 16);
    return count;
}

/* Writes the distinct features of each document into `kept` and how many there are into `sizes`; returns their sum.

   Of the places of a feature the last one stays, so each document is walked from its end. `seen` has a byte for each
   feature, all zero before and after; `found` has room for twice the tokens of the longest document, `kept` for
   twice the tokens of all. */
int64_t dmix_document_features(
    const uint32_t *ids, const int64_t *lengths, int64_t documents,
    int64_t size, const uint8_t *opens, const uint8_t *closes, const uint8_t *plural,
    const uint32_t *alone, const uint32_t *share, const uint32_t *letters, const uint32_t *powers,
    uint8_t *seen, int32_t *found, int32_t *kept, int64_t *sizes
) {
    const struct words table = {size, opens, closes, plural, alone, share, letters, powers};
    int64_t at = 0, total = 0;
    for (int64_t document = 0; document < documents; ++document) {
        const int64_t end = at + lengths[document];
        const int64_t count = features_of(ids, at, end, &table, found);
        int64_t first = count;  /* the kept ones gather at the end of `found` */
        for (int64_t place = count - 1; place >= 0; --place) {
            const int32_t feature = found[place];
            found[first - 1] = feature;
            first -= !seen[feature];
            seen[feature] = 1;
        }
        for (int64_t place = first; place < count; ++place) {
            seen[found[place]] = 0;
            kept[total++] = found[place];
        }
        sizes[document] = count - first;
        at = end;
    }
    return total;
}

/* Adds up rows of `table`, `columns` wide: row after row, so that the last bits are always the same.

   Sum n is of the rows `features[ends[n]]` to `features[ends[n + 1] - 1]`; Rows lie anywhere in
   a table that is larger than the cache, so each is asked for AHEAD rows before it is needed, and a sum
   stays in registers, BLOCK columns at a time. */
void dmix_row_sums(
    const int32_t *features, const int32_t *ends, int64_t documents, const float *table, int64_t columns, float *sums
) {
    for (int64_t document = 0; document < documents; ++document) {
        const int32_t begin = ends[document], end = ends[document + 1];
        for (int64_t column = 0; column < columns; column += BLOCK) {
            float block[BLOCK] = {0};
            const float *const here = table + column;
            for (int32_t place = begin; place < end; ++place) {
                const int32_t ahead = place + AHEAD < end ? place + AHEAD : end - 1;
                PREFETCH(here + features[ahead] * columns);
                const float *const row = here + features[place] * columns;
                for (int k = 0; k < BLOCK; ++k) block[k] += row[k];
            }
            for (int k = 0; k < BLOCK; ++k) sums[document * columns + column + k] = block[k];
        }
    }
}

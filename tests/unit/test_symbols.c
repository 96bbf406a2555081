/* Tables of symbols, and their coder: every slot has its symbol, and what was coded is what comes out, block by block.
 */
#include "common/delta/symbol_coder.h"
#include "tests/unit/unit.h"

#include <stdlib.h>

enum { ROUNDS = 3 * SYMBOL_BLOCK / 2, PLAIN = 1000, STREAM_MAX = 1 << 20, TABLES = 3 };

static uint32_t random_next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(*seed >> 33);
}

/* All slots in order: symbols never go back, and the bounds say the same. */
static void slots_check(const symbols_lanes *lanes, unsigned symbols, uint32_t least)
{
    uint32_t counts[SYMBOLS_MANY] = {0};
    for (uint32_t slot = 0; slot < SYMBOLS_TOTAL; slot++) {
        const unsigned symbol = symbols_find(lanes, symbols, slot);
        assert_in_range(symbol, 0, symbols - 1);
        assert_in_range(slot, symbols_from(lanes, symbol), symbols_to(lanes, symbols, symbol) - 1);
        counts[symbol]++;
    }
    for (unsigned i = 0; i < symbols; i++)
        assert_in_range(counts[i], least, SYMBOLS_TOTAL);
}

static void test_slots(void **state)
{
    (void)state;
    uint64_t seed = 1;
    struct symbols few;
    struct symbols_many many;
    symbols_start(few.lanes, SYMBOLS, 1);
    symbols_start(many.lanes, SYMBOLS_MANY, 1);
    slots_check(few.lanes, SYMBOLS, SYMBOLS_TOTAL / SYMBOLS);
    slots_check(many.lanes, SYMBOLS_MANY, SYMBOLS_TOTAL / SYMBOLS_MANY);
    for (int round = 0; round < 40; round++) {
        /* one symbol for long, at both ends too, then others */
        const unsigned symbol = round % 4 == 0 ? 0 : round % 4 == 1 ? 15 : random_next(&seed) % SYMBOLS;
        for (int i = 0; i < 300; i++) {
            const unsigned came = i < 250 ? symbol : random_next(&seed) % SYMBOLS;
            symbols_learn(few.lanes, SYMBOLS, came, SYMBOL_LEAST, (int8_t)(2 + round % 5));
            symbols_learn(many.lanes, SYMBOLS_MANY, came * 2 + (unsigned)i % 2, SYMBOL_LEAST, (int8_t)(2 + round % 5));
            if (i == 249 || i == 299) {
                const struct symbols both = symbols_between(&few, &few);
                slots_check(few.lanes, SYMBOLS, SYMBOL_LEAST);
                slots_check(many.lanes, SYMBOLS_MANY, SYMBOL_LEAST);
                slots_check(both.lanes, SYMBOLS, SYMBOL_LEAST);
            }
        }
    }
}

/* What came often is likely, and two tables are between both. */
static void test_learning(void **state)
{
    (void)state;
    struct symbols a;
    struct symbols b;
    symbols_start(a.lanes, SYMBOLS, 1);
    symbols_start(b.lanes, SYMBOLS, 1);
    for (int i = 0; i < 100; i++) {
        symbols_learn(a.lanes, SYMBOLS, 3, SYMBOL_LEAST, 5);
        symbols_learn(b.lanes, SYMBOLS, 12, SYMBOL_LEAST, 5);
    }
    const struct symbols both = symbols_between(&a, &b);
    assert_true(symbols_to(a.lanes, SYMBOLS, 3) - symbols_from(a.lanes, 3) > SYMBOLS_TOTAL * 9 / 10);
    assert_in_range(symbols_to(both.lanes, SYMBOLS, 3) - symbols_from(both.lanes, 3), SYMBOLS_TOTAL / 3,
                    SYMBOLS_TOTAL * 2 / 3);
    assert_in_range(symbols_to(both.lanes, SYMBOLS, 12) - symbols_from(both.lanes, 12), SYMBOLS_TOTAL / 3,
                    SYMBOLS_TOTAL * 2 / 3);
}

/* ---- the coder ---- */

struct stream {
    uint8_t *bytes;
    size_t len, at;
};

static enum err stream_write(void *user, const void *bytes, size_t len)
{
    struct stream *s = user;
    assert_true(s->len + len <= STREAM_MAX);
    memcpy(s->bytes + s->len, bytes, len);
    s->len += len;
    return ERR_OK;
}

static enum err stream_read(void *user, void *bytes, size_t len)
{
    struct stream *s = user;
    assert_true(s->at + len <= s->len);
    memcpy(bytes, s->bytes + s->at, len);
    s->at += len;
    return ERR_OK;
}

/* One pass over the same random symbols, raw numbers and plain bytes: encodes them, or counts how many came out wrong.
 */
static size_t pass(struct symbol_coder *c, const bool encoding)
{
    uint64_t seed = 7;
    size_t wrong = 0;
    struct symbols tables[TABLES];
    uint8_t plain[PLAIN];
    uint8_t found[PLAIN];
    symbols_start(tables[0].lanes, SYMBOLS, TABLES);
    struct symbol_state s = c->state;
    for (size_t i = 0; i < ROUNDS; i++) {
        const unsigned even = random_next(&seed);
        const unsigned skewed = even & random_next(&seed) & (SYMBOLS - 1);
        const unsigned raw = random_next(&seed) & ((1U << SYMBOL_RAW_BITS) - 1);
        symbol_coder_turn(c, &s, encoding);
        wrong += symbol_code(&s, encoding, encoding ? skewed : 0, &tables[0], 6) != skewed;
        wrong += symbol_code_mixed(&s, encoding, encoding ? skewed : 0, &tables[1], &tables[2], 4) != skewed;
        if (i % 100 == 0)
            wrong += symbol_raw(&s, encoding, encoding ? raw : 0, SYMBOL_RAW_BITS) != raw;
        if (i % 50000 == 49999) {
            for (size_t k = 0; k < PLAIN; k++)
                plain[k] = (uint8_t)random_next(&seed);
            c->state = s;
            symbol_plain_start(c);
            if (encoding)
                symbol_plain_write(c, plain, PLAIN);
            else
                symbol_plain_read(c, found, PLAIN);
            wrong += !encoding && memcmp(plain, found, PLAIN) != 0;
            s = c->state;
        }
    }
    c->state = s;
    return wrong;
}

static enum err decode(struct stream *stream, size_t *ret_wrong)
{
    struct symbol_coder c;
    stream->at = 0;
    assert_int_equal(symbol_decode_start(&c, (struct coded_pipe){.read = stream_read, .user = stream}, stream->len),
                     ERR_OK);
    *ret_wrong = pass(&c, false);
    const enum err e = symbol_decode_end(&c);
    symbol_coder_free(&c);
    return e;
}

static void test_coder(void **state)
{
    (void)state;
    struct symbol_coder c;
    struct stream stream = {.bytes = malloc(STREAM_MAX)};
    size_t wrong = 0;
    assert_non_null(stream.bytes);
    assert_int_equal(symbol_encode_start(&c, (struct coded_pipe){.write = stream_write, .user = &stream}), ERR_OK);
    assert_int_equal(pass(&c, true), 0);
    assert_int_equal(symbol_encode_end(&c), ERR_OK);
    assert_int_equal(c.written, stream.len);
    symbol_coder_free(&c);
    assert_int_equal(decode(&stream, &wrong), ERR_OK);
    assert_int_equal(wrong, 0);
    /* A byte too many, some too few, and changed ones: never an end that looks right. */
    stream.len++;
    assert_int_equal(decode(&stream, &wrong), ERR_CORRUPT);
    stream.len -= 5;
    assert_int_equal(decode(&stream, &wrong), ERR_CORRUPT);
    stream.len += 4;
    for (size_t at = 0; at < stream.len; at += stream.len / 37) {
        stream.bytes[at] ^= 0x10;
        assert_true(decode(&stream, &wrong) != ERR_OK || wrong > 0);
        stream.bytes[at] ^= 0x10;
    }
    free(stream.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_learning),
        cmocka_unit_test(test_coder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

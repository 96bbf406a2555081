#pragma once
/* Where the parts of a program went, learnt from its operands. Code that is inserted or linked in another order changes
 * no instruction but the numbers in it, and each of those by how far its target went less how far itself did: one that
 * is known tells the others. Nothing is known of any processor: a number of four bytes is an address, from where it
 * stands or as it is, if that came true. Internal to common/delta; inline because it is in the inner loop. */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum {
    MOVES_BITS = 12,
    MOVES_NEAR = 12, /* targets in so many bits of addresses are one neighbourhood */
    OPERAND_BYTES = 4
};

/* What a number may have become. */
enum moves_way {
    MOVES_TARGET, /* an address from where it stands, its target went where it went the last time */
    MOVES_NEARBY, /* the same, but where the neighbours went */
    MOVES_PLAIN,  /* an address as it is, moved as its neighbours were */
    MOVES_WAYS
};

/* How much is known of a target. */
enum moves_known { MOVES_NEW, MOVES_AGREED, MOVES_OWN, MOVES_KNOWN };

struct moves {
    struct {
        uint32_t target, by;
    } targets[1 << MOVES_BITS];
    uint32_t nearby[1 << MOVES_BITS], plain[1 << MOVES_BITS];
};

/* One number. */
struct operand {
    uint32_t old, new;
    uint32_t target; /* where it pointed to */
    uint32_t shift;  /* how far it went itself */
    unsigned bits;   /* of new that are known, 32 at most */
    bool is_inside;  /* there were four bytes for it */
};

[[gnu::always_inline]] static inline uint32_t operand_get(const uint8_t *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static inline uint32_t moves_slot(uint32_t key)
{
    return key * 0x9e3779b1u >> (32 - MOVES_BITS);
}

/* What the number at `at` of the old file may be now that it is `shift` further on in the new one. */
[[gnu::always_inline]] static inline enum moves_known moves_tell(const struct moves *m, const uint8_t *old, int64_t at,
                                                                 uint32_t shift, struct operand *ret_operand,
                                                                 uint32_t ret_told[MOVES_WAYS])
{
    const uint32_t value = operand_get(old);
    const uint32_t target = value + (uint32_t)at;
    const uint32_t slot = moves_slot(target);
    const uint32_t nearby = m->nearby[moves_slot(target >> MOVES_NEAR)];
    const bool is_own = m->targets[slot].target == target;
    const uint32_t own = is_own ? m->targets[slot].by : nearby;
    *ret_operand = (struct operand){.old = value, .new = value, .target = target, .shift = shift, .is_inside = true};
    ret_told[MOVES_TARGET] = value + own - shift;
    ret_told[MOVES_NEARBY] = value + nearby - shift;
    ret_told[MOVES_PLAIN] = value + m->plain[moves_slot(value >> MOVES_NEAR)];
    return !is_own ? MOVES_NEW : own == nearby ? MOVES_AGREED : MOVES_OWN;
}

/* What it has become. */
[[gnu::always_inline]] static inline void moves_learn(struct moves *m, const struct operand *o)
{
    const uint32_t by = o->new - o->old;
    const uint32_t slot = moves_slot(o->target);
    m->targets[slot].target = o->target;
    m->targets[slot].by = by + o->shift;
    m->nearby[moves_slot(o->target >> MOVES_NEAR)] = by + o->shift;
    m->plain[moves_slot(o->old >> MOVES_NEAR)] = by;
}

/* A byte of it differs by that much. */
[[gnu::always_inline]] static inline void operand_add(struct operand *o, uint8_t old, uint8_t difference)
{
    if (o->bits < 32) {
        o->new ^= (uint32_t)(uint8_t)(old ^ (old + difference)) << o->bits;
        o->bits += 8;
    }
}

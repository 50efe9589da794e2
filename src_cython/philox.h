/* Philox4x64-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
 * 1, 2, 3" (SC 2011): ten rounds of two wide products, with the key moved on between them. Four 64-bit words a block.
 */
#ifndef FASTNN_PHILOX_H
#define FASTNN_PHILOX_H

#include <stdint.h>

#if defined(__SIZEOF_INT128__)
static inline uint64_t philox_high(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide_t;
    return (uint64_t)(((wide_t)a * b) >> 64);
}
#else
static inline uint64_t philox_high(uint64_t a, uint64_t b)
{
    uint64_t al = a & 0xffffffffu, ah = a >> 32, bl = b & 0xffffffffu, bh = b >> 32;
    uint64_t middle = ah * bl + ((al * bl) >> 32);          /* at most (2^32 - 1)^2 + 2^32 - 1: no overflow */
    uint64_t other = al * bh + (middle & 0xffffffffu);
    return ah * bh + (middle >> 32) + (other >> 32);
}
#endif

/* out = the block at counter (block, step, 0, 0) under key (seed, op). */
static inline void philox_block(uint64_t seed, uint64_t op, uint64_t block, uint64_t step, uint64_t *out)
{
    const uint64_t m0 = 0xD2E7470EE14C6C93u, m1 = 0xCA5A826395121157u;
    uint64_t c0 = block, c1 = step, c2 = 0, c3 = 0, k0 = seed, k1 = op;
    for (int round = 0; round < 10; round++) {
        uint64_t high0 = philox_high(m0, c0), low0 = m0 * c0;
        uint64_t high1 = philox_high(m1, c2), low1 = m1 * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B97F4A7C15u;   /* the golden ratio */
        k1 += 0xBB67AE8584CAA73Bu;   /* sqrt(3) - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

#endif

/* minGRU and minLSTM from the inputs of their gates to all states in one pass, and back.

   p (B, T, G N + N) has the gates of a timestep before σ (G = 1: z; G = 2: f and i), then the
   candidate before g. h0 is (B, N), h (B, T, N); all are contiguous. With e(x) = exp(-x):

       minGRU   a = e(z) / (1 + e(z))                      i = 1 / (1 + e(z))
       minLSTM  a = (1 + e(i)) / (2 + e(f) + e(i))         i = (1 + e(f)) / (2 + e(f) + e(i))
       both     h_t = a h_{t-1} + i g(v)                   g(v) = v + ½ for v ≥ 0, else σ(v)

   This file includes itself once for each type. */

#ifndef REAL

#include "elementary.h"

#define REAL float
#define FUNCTION(name) name##_float32
#include "minimal.c"
#undef REAL
#undef FUNCTION

#define REAL double
#define FUNCTION(name) name##_float64
#include "minimal.c"

#else

#define EXP FUNCTION(exp)

static inline REAL FUNCTION(candidate)(REAL v) { return v >= 0 ? v + (REAL)0.5 : 1 / (1 + EXP(-v)); }

/* The weights a and i of one state, and the numbers 1 + e that they are made of. */
static inline void FUNCTION(weights)(int64_t gates, const REAL *p, int64_t N, REAL *a, REAL *i,
                                     REAL *f1, REAL *i1) {
    *f1 = 1 + EXP(-p[0]);
    *i1 = gates == 1 ? *f1 - 1 : 1 + EXP(-p[N]);
    REAL scale = gates == 1 ? 1 / *f1 : 1 / (*f1 + *i1);
    *a = *i1 * scale;
    *i = gates == 1 ? scale : *f1 * scale;
}

/* Inlined with a constant number of gates, so that the loops have no branches. GCC forgets `restrict`
   when it does so, which the pragma makes up for. */
static inline __attribute__((always_inline)) void FUNCTION(forward_row)(
    int64_t N, int64_t gates, const REAL *restrict p, const REAL *restrict before,
    REAL *restrict h) {
#pragma GCC ivdep
    for (int64_t n = 0; n < N; n++) {
        REAL a, i, f1, i1;
        FUNCTION(weights)(gates, p + n, N, &a, &i, &f1, &i1);
        h[n] = a * before[n] + i * FUNCTION(candidate)(p[gates * N + n]);
    }
}

int FUNCTION(minimal)(int64_t B, int64_t T, int64_t N, int64_t gates, const REAL *p,
                      const REAL *h0, REAL *h) {
    for (int64_t row = 0; row < B; row++)
        for (int64_t t = 0; t < T; t++) {
            int64_t at = row * T + t;
            const REAL *p_t = p + at * (gates + 1) * N, *before = h0 + row * N;
            if (t) before = h + (at - 1) * N;
            if (gates == 1)
                FUNCTION(forward_row)(N, 1, p_t, before, h + at * N);
            else
                FUNCTION(forward_row)(N, 2, p_t, before, h + at * N);
        }
    return 0;
}

/* d = g + carry is the gradient by h_t, and a d the carry to h_{t-1}. */
static inline __attribute__((always_inline)) void FUNCTION(backward_row)(
    int64_t N, int64_t gates, const REAL *restrict p, const REAL *restrict before,
    const REAL *restrict g, REAL *restrict carry, REAL *restrict dp) {
#pragma GCC ivdep
    for (int64_t n = 0; n < N; n++) {
        REAL a, i, f1, i1, v = p[gates * N + n];
        FUNCTION(weights)(gates, p + n, N, &a, &i, &f1, &i1);
        REAL d = g[n] + carry[n], c = FUNCTION(candidate)(v);
        REAL by_gate = d * (c - before[n]) * a * i;
        dp[n] = gates == 1 ? by_gate : -by_gate * (f1 - 1) / f1;
        if (gates == 2) dp[N + n] = by_gate * (i1 - 1) / i1;
        dp[gates * N + n] = d * i * (v >= 0 ? (REAL)1 : c * (1 - c));
        carry[n] = a * d;
    }
}

/* Gradients by p and h0, from the gradient g by h. */
int FUNCTION(minimal_backward)(int64_t B, int64_t T, int64_t N, int64_t gates, const REAL *p,
                               const REAL *h0, const REAL *h, const REAL *g, REAL *dp,
                               REAL *dh0) {
    memset(dh0, 0, B * N * sizeof(REAL));
    for (int64_t row = 0; row < B; row++)
        for (int64_t t = T - 1; t >= 0; t--) {
            int64_t at = row * T + t;
            const REAL *p_t = p + at * (gates + 1) * N, *before = h0 + row * N;
            REAL *dp_t = dp + at * (gates + 1) * N, *carry = dh0 + row * N;
            if (t) before = h + (at - 1) * N;
            if (gates == 1)
                FUNCTION(backward_row)(N, 1, p_t, before, g + at * N, carry, dp_t);
            else
                FUNCTION(backward_row)(N, 2, p_t, before, g + at * N, carry, dp_t);
        }
    return 0;
}

#undef EXP

#endif

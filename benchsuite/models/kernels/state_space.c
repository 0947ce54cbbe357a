/* Diagonal state spaces from their inputs to their outputs, without keeping all states.

   Each of H features has N states, and vectors run over the H features. Parameters, states and their
   gradients are laid out (…, N, H) therefore, complex ones as two such planes, real before imaginary.

       s4d        s_t = λ s_{t-1} + u_t                       y_t = Σ_n Re(c s_t)
       selective  s_t = exp(Δ_t A) s_{t-1} + Δ_t B_t u_t      y_t = Σ_n C_t s_t

   with u, Δ and y (B, T, H), B and C (B, T, N), A (N, H), λ and c (2, N, H). States are (B, N, H) or
   (B, 2, N, H): `first` is the one before the first timestep, and `last` that after the last one.

   The state before each BLOCK timesteps is kept in `kept` (B, blocks, state), from which the way
   back computes those inside of a block again; NULL where there is no way back.

   This file includes itself once for each type. */

#ifndef REAL

#include <stdlib.h>
#include "elementary.h"

#define BLOCK 16

#define REAL float
#define FUNCTION(name) name##_float32
#include "state_space.c"
#undef REAL
#undef FUNCTION

#define REAL double
#define FUNCTION(name) name##_float64
#include "state_space.c"

#else

/* One timestep, all features: `before` may be `s`. y is added to. */
static inline void FUNCTION(s4d_step)(int64_t N, int64_t H, const REAL *factor, const REAL *c,
                                      const REAL *u, const REAL *before, REAL *s, REAL *y) {
    int64_t plane = N * H;
    for (int64_t k = 0; k < plane; k += H)
#pragma GCC ivdep
        for (int64_t h = 0; h < H; h++) {
            int64_t re = k + h, im = plane + re;
            REAL p = before[re], q = before[im];
            REAL x = factor[re] * p - factor[im] * q + u[h];
            REAL z = factor[re] * q + factor[im] * p;
            s[re] = x;
            s[im] = z;
            y[h] += c[re] * x - c[im] * z;
        }
}

int FUNCTION(s4d)(int64_t B, int64_t T, int64_t H, int64_t N, const REAL *factor, const REAL *c,
                  const REAL *u, const REAL *first, REAL *y, REAL *last, REAL *kept) {
    int64_t state = 2 * N * H;
    memcpy(last, first, B * state * sizeof(REAL));
    memset(y, 0, B * T * H * sizeof(REAL));
    for (int64_t row = 0; row < B; row++)
        for (int64_t t = 0; t < T; t++) {
            REAL *s = last + row * state;
            int64_t at = (row * T + t) * H;
            if (kept && t % BLOCK == 0) {
                memcpy(kept, s, state * sizeof(REAL));
                kept += state;
            }
            FUNCTION(s4d_step)(N, H, factor, c, u + at, s, s, y + at);
        }
    return 0;
}

/* Gradients from those by y and by the last state, `carry`, which becomes that by the first state.
   dfactor and dc are (B, 2, N, H): row by row. */
int FUNCTION(s4d_backward)(int64_t B, int64_t T, int64_t H, int64_t N, const REAL *factor,
                           const REAL *c, const REAL *u, const REAL *kept, const REAL *g,
                           REAL *carry, REAL *dfactor, REAL *dc, REAL *du) {
    int64_t plane = N * H, state = 2 * plane, blocks = (T + BLOCK - 1) / BLOCK;
    REAL *scratch = malloc(((BLOCK + 3) * state + H) * sizeof(REAL));
    if (!scratch) return 1;
    REAL *states = scratch, *own_factor = states + (BLOCK + 1) * state;
    REAL *own_c = own_factor + state, *unused = own_c + state;
    memset(unused, 0, H * sizeof(REAL));
    memset(du, 0, B * T * H * sizeof(REAL));
    memset(dfactor, 0, B * state * sizeof(REAL));
    memset(dc, 0, B * state * sizeof(REAL));
    for (int64_t row = 0; row < B; row++)
        for (int64_t block = blocks - 1; block >= 0; block--) {
            int64_t start = block * BLOCK, end = start + BLOCK < T ? start + BLOCK : T;
            REAL *d = carry + row * state;
            memcpy(states, kept + (row * blocks + block) * state, state * sizeof(REAL));
            for (int64_t t = start; t < end; t++) {
                REAL *s = states + (t - start) * state;
                FUNCTION(s4d_step)(N, H, factor, c, u + (row * T + t) * H, s, s + state, unused);
            }
            memset(own_factor, 0, 2 * state * sizeof(REAL));
            for (int64_t t = end - 1; t >= start; t--) {
                const REAL *before = states + (t - start) * state, *s = before + state;
                const REAL *g_t = g + (row * T + t) * H;
                REAL *du_t = du + (row * T + t) * H;
                for (int64_t k = 0; k < plane; k += H)
#pragma GCC ivdep
                    for (int64_t h = 0; h < H; h++) {
                        int64_t re = k + h, im = plane + re;
                        REAL x = d[re] + g_t[h] * c[re], z = d[im] - g_t[h] * c[im];
                        own_c[re] += g_t[h] * s[re];
                        own_c[im] -= g_t[h] * s[im];
                        own_factor[re] += x * before[re] + z * before[im];
                        own_factor[im] += z * before[re] - x * before[im];
                        du_t[h] += x;
                        d[re] = factor[re] * x + factor[im] * z;
                        d[im] = factor[re] * z - factor[im] * x;
                    }
            }
            for (int64_t k = 0; k < state; k++) {
                dfactor[row * state + k] += own_factor[k];
                dc[row * state + k] += own_c[k];
            }
        }
    free(scratch);
    return 0;
}

/* As s4d_step; `a` receives exp(Δ A). */
static inline void FUNCTION(selective_step)(int64_t N, int64_t H, const REAL *A, const REAL *step,
                                            const REAL *u, const REAL *in, const REAL *out,
                                            const REAL *before, REAL *s, REAL *a, REAL *y) {
    for (int64_t n = 0; n < N; n++)
#pragma GCC ivdep
        for (int64_t h = 0; h < H; h++) {
            int64_t k = n * H + h;
            REAL weight = FUNCTION(exp)(step[h] * A[k]);
            REAL x = weight * before[k] + step[h] * u[h] * in[n];
            a[k] = weight;
            s[k] = x;
            y[h] += out[n] * x;
        }
}

int FUNCTION(selective)(int64_t B, int64_t T, int64_t H, int64_t N, const REAL *A, const REAL *step,
                        const REAL *u, const REAL *in, const REAL *out, const REAL *first, REAL *y,
                        REAL *last, REAL *kept) {
    int64_t state = N * H;
    REAL *unused = malloc(state * sizeof(REAL));
    if (!unused) return 1;
    memcpy(last, first, B * state * sizeof(REAL));
    memset(y, 0, B * T * H * sizeof(REAL));
    for (int64_t row = 0; row < B; row++)
        for (int64_t t = 0; t < T; t++) {
            REAL *s = last + row * state;
            int64_t at = row * T + t;
            if (kept && t % BLOCK == 0) {
                memcpy(kept, s, state * sizeof(REAL));
                kept += state;
            }
            FUNCTION(selective_step)(N, H, A, step + at * H, u + at * H, in + at * N, out + at * N,
                                     s, s, unused, y + at * H);
        }
    free(unused);
    return 0;
}

/* As s4d_backward; dA is (B, N, H): row by row. */
int FUNCTION(selective_backward)(int64_t B, int64_t T, int64_t H, int64_t N, const REAL *A,
                                 const REAL *step, const REAL *u, const REAL *in, const REAL *out,
                                 const REAL *kept, const REAL *g, REAL *carry, REAL *dA,
                                 REAL *dstep, REAL *du, REAL *din, REAL *dout) {
    int64_t state = N * H, blocks = (T + BLOCK - 1) / BLOCK;
    REAL *scratch = malloc(((2 * BLOCK + 2) * state + H) * sizeof(REAL));
    if (!scratch) return 1;
    REAL *states = scratch, *weights = states + (BLOCK + 1) * state;
    REAL *own_A = weights + BLOCK * state, *unused = own_A + state;
    memset(unused, 0, H * sizeof(REAL));
    memset(dstep, 0, B * T * H * sizeof(REAL));
    memset(du, 0, B * T * H * sizeof(REAL));
    memset(dA, 0, B * state * sizeof(REAL));
    for (int64_t row = 0; row < B; row++)
        for (int64_t block = blocks - 1; block >= 0; block--) {
            int64_t start = block * BLOCK, end = start + BLOCK < T ? start + BLOCK : T;
            REAL *d = carry + row * state;
            memcpy(states, kept + (row * blocks + block) * state, state * sizeof(REAL));
            for (int64_t t = start; t < end; t++) {
                int64_t at = row * T + t;
                REAL *s = states + (t - start) * state;
                FUNCTION(selective_step)(N, H, A, step + at * H, u + at * H, in + at * N,
                                         out + at * N, s, s + state,
                                         weights + (t - start) * state, unused);
            }
            memset(own_A, 0, state * sizeof(REAL));
            for (int64_t t = end - 1; t >= start; t--) {
                const REAL *before = states + (t - start) * state, *s = before + state;
                const REAL *a = weights + (t - start) * state;
                int64_t at = row * T + t;
                const REAL *g_t = g + at * H, *step_t = step + at * H, *u_t = u + at * H;
                REAL *dstep_t = dstep + at * H, *du_t = du + at * H;
                for (int64_t n = 0; n < N; n++) {
                    REAL from_in = in[at * N + n], to_out = out[at * N + n];
                    REAL by_in = 0, by_out = 0;
#pragma omp simd reduction(+ : by_in, by_out)
                    for (int64_t h = 0; h < H; h++) {
                        int64_t k = n * H + h;
                        REAL x = d[k] + g_t[h] * to_out, by_weight = x * before[k] * a[k];
                        by_out += g_t[h] * s[k];
                        by_in += x * step_t[h] * u_t[h];
                        own_A[k] += by_weight * step_t[h];
                        dstep_t[h] += by_weight * A[k] + x * u_t[h] * from_in;
                        du_t[h] += x * step_t[h] * from_in;
                        d[k] = a[k] * x;
                    }
                    din[at * N + n] = by_in;
                    dout[at * N + n] = by_out;
                }
            }
            for (int64_t k = 0; k < state; k++) dA[row * state + k] += own_A[k];
        }
    free(scratch);
    return 0;
}

#endif

/* Linear recurrences h_t = a_t h_{t-1} + b_t over all timesteps in one call, and their gradients.

   Tensors are (B, T, N), contiguous; complex numbers are pairs (real, imaginary). `a` is read at
   a + row * a_row + t * a_step, so steps of zero make it the same at every timestep. `h0`, (B, N) or
   NULL for zeros, comes before the first timestep. `h` may be `b`.

   The loops over N have independent lanes, which compilers turn into vector instructions without
   reordering anything. This file includes itself once for each type. */

#ifndef REAL

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Timesteps whose gradients of a constant `a` are added up before they are added to the total,
   which keeps the rounding error of a long sum small. */
#define BLOCK 128

#define REAL float
#define FUNCTION(name) name##_float32
#include "linear_scan.c"
#undef REAL
#undef FUNCTION

#define REAL double
#define FUNCTION(name) name##_float64
#include "linear_scan.c"

#else

/* h = a before + b */
static inline void FUNCTION(real_step)(int64_t n, const REAL *restrict a,
                                       const REAL *restrict before, const REAL *b, REAL *h) {
#pragma GCC ivdep
    for (int64_t i = 0; i < n; i++) h[i] = a[i] * before[i] + b[i];
}

static inline void FUNCTION(complex_step)(int64_t n, const REAL *restrict a,
                                          const REAL *restrict before, const REAL *b,
                                          REAL *h) {
#pragma GCC ivdep
    for (int64_t i = 0; i < 2 * n; i += 2) {
        REAL x = before[i], y = before[i + 1];
        h[i] = a[i] * x - a[i + 1] * y + b[i];
        h[i + 1] = a[i] * y + a[i + 1] * x + b[i + 1];
    }
}

/* d = g + conj(a) d_after */
static inline void FUNCTION(complex_step_back)(int64_t n, const REAL *restrict a,
                                               const REAL *restrict after, const REAL *restrict g,
                                               REAL *restrict d) {
    for (int64_t i = 0; i < 2 * n; i += 2) {
        REAL x = after[i], y = after[i + 1];
        d[i] = a[i] * x + a[i + 1] * y + g[i];
        d[i + 1] = a[i] * y - a[i + 1] * x + g[i + 1];
    }
}

/* da = d conj(before), or da += where `add` */
static inline void FUNCTION(real_product)(int64_t n, const REAL *restrict d,
                                          const REAL *restrict before, REAL *restrict da, int add) {
    if (add)
        for (int64_t i = 0; i < n; i++) da[i] += d[i] * before[i];
    else
        for (int64_t i = 0; i < n; i++) da[i] = d[i] * before[i];
}

static inline void FUNCTION(complex_product)(int64_t n, const REAL *restrict d,
                                             const REAL *restrict before, REAL *restrict da,
                                             int add) {
    for (int64_t i = 0; i < 2 * n; i += 2) {
        REAL x = d[i] * before[i] + d[i + 1] * before[i + 1];
        REAL y = d[i + 1] * before[i] - d[i] * before[i + 1];
        da[i] = add ? da[i] + x : x;
        da[i + 1] = add ? da[i + 1] + y : y;
    }
}

int FUNCTION(linear_scan)(int64_t B, int64_t T, int64_t N, int64_t is_complex,
                          const REAL *a, int64_t a_row, int64_t a_step, const REAL *b,
                          const REAL *h0, REAL *h) {
    int64_t width = is_complex ? 2 * N : N;
    for (int64_t row = 0; row < B; row++) {
        const REAL *before = h0 ? h0 + row * width : NULL;
        for (int64_t t = 0; t < T; t++) {
            int64_t at = (row * T + t) * width;
            const REAL *a_t = a + row * a_row + t * a_step;
            if (!before)
                memmove(h + at, b + at, width * sizeof(REAL));
            else if (is_complex)
                FUNCTION(complex_step)(N, a_t, before, b + at, h + at);
            else
                FUNCTION(real_step)(N, a_t, before, b + at, h + at);
            before = h + at;
        }
    }
    return 0;
}

/* Gradients of linear_scan by `b` and `a`, from the gradient `g` by h:

       db_t = g_t + conj(a_{t+1}) db_{t+1}        da_t = db_t conj(h_{t-1})

   Where a_step is 0, `da` is (B, N): the sum over a row's timesteps. The value is nonzero if there
   is no memory for the N partial sums. */
int FUNCTION(linear_scan_backward)(int64_t B, int64_t T, int64_t N, int64_t is_complex,
                                   const REAL *a, int64_t a_row, int64_t a_step, const REAL *h,
                                   const REAL *h0, const REAL *g, REAL *da, REAL *db) {
    int64_t width = is_complex ? 2 * N : N;
    REAL *sum = a_step ? NULL : calloc(width, sizeof(REAL));
    if (!a_step && !sum) return 1;
    for (int64_t row = 0; row < B; row++) {
        REAL *total = da + row * width;
        if (sum) memset(total, 0, width * sizeof(REAL));
        for (int64_t t = T - 1; t >= 0; t--) {
            int64_t at = (row * T + t) * width;
            const REAL *a_next = a + row * a_row + (t + 1) * a_step;
            const REAL *before = t ? h + at - width : h0 ? h0 + row * width : NULL;
            if (t == T - 1)
                memcpy(db + at, g + at, width * sizeof(REAL));
            else if (is_complex)
                FUNCTION(complex_step_back)(N, a_next, db + at + width, g + at, db + at);
            else
                FUNCTION(real_step)(N, a_next, db + at + width, g + at, db + at);
            REAL *da_t = sum ? sum : da + at;
            if (!before)
                memset(da_t, 0, sum ? 0 : width * sizeof(REAL));
            else if (is_complex)
                FUNCTION(complex_product)(N, db + at, before, da_t, sum != NULL);
            else
                FUNCTION(real_product)(N, db + at, before, da_t, sum != NULL);
            if (sum && t % BLOCK == 0) {
                for (int64_t i = 0; i < width; i++) total[i] += sum[i];
                memset(sum, 0, width * sizeof(REAL));
            }
        }
    }
    free(sum);
    return 0;
}

#endif

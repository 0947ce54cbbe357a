/* LSTM and GRU layers over all timesteps in one call, forward and backward.

   A layer's input enters as `gates`, the projected input W_ih x_t + b of every timestep; the caller
   computes it, and the gradients of all weights, as large matrix products. What is left, and here,
   is what must go step by step: the product of the state with W_hh, the activations, and the same
   backward.

   Timestep t of row b starts at (t * step + b * row) * features, so that (T, B, features) and
   (B, T, features) are read as they are. With `reverse` time runs backward. `first` and `last` are
   the rows to compute: rows are independent, and threads may share them.

   The product is computed in tiles of up to ROWS rows and one panel: LANES hidden units of every
   gate, or COLUMNS vectors of units in the backward pass, so that sums stay in registers from the
   first to the last term and all gates of a unit meet in one place. W_hh is packed into panels, with
   zeros where the number of units is not a multiple of LANES.

   This file includes itself once for each type. */

#ifndef REAL

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define BYTES 64
#define ROWS 6
#elif defined(__AVX__)
#define BYTES 32
#define ROWS 3
#elif defined(__aarch64__)
#define BYTES 16
#define ROWS 6
#else
#define BYTES 16
#define ROWS 3
#endif
/* Vectors of a backward panel, and of a forward panel of the LSTM (its gates). */
#define COLUMNS 4
#define INLINE static inline __attribute__((always_inline))
#define ROUND(n, to) (((n) + (to) - 1) / (to) * (to))

typedef struct {
    int64_t steps, rows, units, step, row, first, last;
    int32_t reverse;
    int32_t initial; /* whether the gradients of the states before the first timestep are wanted */
} Shape;

#define REAL float
#define WHOLE int32_t
#define SINGLE 1
#define FUNCTION(name) name##_float32
#include "recurrent.c"
#undef REAL
#undef WHOLE
#undef SINGLE
#undef FUNCTION

#define REAL double
#define WHOLE int64_t
#define SINGLE 0
#define FUNCTION(name) name##_float64
#include "recurrent.c"

#else

#define LANES ((int64_t)(BYTES / sizeof(REAL)))
#define VECTOR FUNCTION(vector)
#define LOOSE FUNCTION(loose)
#define BITS FUNCTION(bits)

typedef REAL VECTOR __attribute__((vector_size(BYTES)));
typedef WHOLE BITS __attribute__((vector_size(BYTES)));
typedef REAL LOOSE __attribute__((vector_size(BYTES), aligned(sizeof(REAL)), may_alias));

INLINE VECTOR FUNCTION(load)(const REAL *from, int64_t count) {
    if (count >= LANES) return *(const LOOSE *)from;
    VECTOR v = {0};
    memcpy(&v, from, count * sizeof(REAL));
    return v;
}

INLINE void FUNCTION(store)(REAL *to, VECTOR v, int64_t count) {
    if (count >= LANES)
        *(LOOSE *)to = v;
    else
        memcpy(to, &v, count * sizeof(REAL));
}

INLINE VECTOR FUNCTION(clamp)(VECTOR x, REAL bound) {
    VECTOR limit = (VECTOR){0} + bound;
    BITS over = x > limit, under = x < -limit;
    return (VECTOR)(((BITS)limit & over) | ((BITS)-limit & under) | ((BITS)x & ~over & ~under));
}

#if SINGLE
/* Odd rational function with the smallest largest relative error for |x| <= 8: 6e-9, below the
   4e-7 of rounding. A polynomial and a division less than by way of expm1. */
INLINE VECTOR FUNCTION(tangent)(VECTOR x) {
    static const float above[] = {1.0f, 0.13444502f, 3.5716029e-3f, 2.1894743e-5f, 1.5230533e-8f};
    static const float below[] = {1.0f, 0.46777829f, 2.6164461e-2f, 3.4113000e-4f, 8.5224931e-7f};
    x = FUNCTION(clamp)(x, 8);
    VECTOR square = x * x, p = (VECTOR){0} + above[4], q = (VECTOR){0} + below[4];
#pragma GCC unroll 4
    for (int term = 3; term >= 0; term--) {
        p = p * square + above[term];
        q = q * square + below[term];
    }
    return x * p / q;
}

INLINE VECTOR FUNCTION(logistic)(VECTOR x) { return FUNCTION(tangent)(x / 2) / 2 + 0.5f; }
#else
/* e^x - 1, with a small relative error near 0: x = n ln 2 + r, |r| <= ln(2) / 2, and a Taylor
   polynomial of r. NaN stays NaN. */
INLINE VECTOR FUNCTION(expm1)(VECTOR x) {
    static const double inverse[] = {
        1.0 / 2,     1.0 / 6,      1.0 / 24,      1.0 / 120,      1.0 / 720,       1.0 / 5040,
        1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
    const double magic = (double)((int64_t)3 << 51); /* its last bits hold a whole number */
    x = FUNCTION(clamp)(x, 700);
    VECTOR shifted = x * 1.44269504088896340736 + magic, n = shifted - magic;
    VECTOR r = x - n * 0x1.62e42fefap-1 - n * 0x1.cf79abc9e3b39p-40; /* ln 2 in two parts */
    VECTOR sum = (VECTOR){0} + inverse[11];
#pragma GCC unroll 16
    for (int term = 10; term >= 0; term--) sum = sum * r + inverse[term];
    VECTOR scale = (VECTOR)(((BITS)shifted << 52) + ((int64_t)1023 << 52));
    return (sum * r * r + r) * scale + (scale - 1);
}

INLINE VECTOR FUNCTION(logistic)(VECTOR x) { return 1 / (2 + FUNCTION(expm1)(-x)); }

INLINE VECTOR FUNCTION(tangent)(VECTOR x) {
    VECTOR e = FUNCTION(expm1)(x + x);
    return e / (e + 2);
}
#endif

/* sum[r][c] = the products of row r of `a` with column vector c of the panel */
INLINE void FUNCTION(multiply)(const int rows, const int columns, int64_t terms, const REAL *a,
                               int64_t stride, const REAL *panel, VECTOR *sum) {
    /* Few sums wait for each other: a single row has two of each. */
    VECTOR even[ROWS * COLUMNS], odd[COLUMNS];
#pragma GCC unroll 32
    for (int i = 0; i < rows * columns; i++) even[i] = (VECTOR){0};
#pragma GCC unroll 32
    for (int i = 0; i < columns; i++) odd[i] = (VECTOR){0};
    int64_t k = 0;
    if (rows == 1)
        for (; k + 1 < terms; k += 2) {
            const VECTOR *w = (const VECTOR *)panel + k * columns;
#pragma GCC unroll 8
            for (int c = 0; c < columns; c++) even[c] += a[k] * w[c];
#pragma GCC unroll 8
            for (int c = 0; c < columns; c++) odd[c] += a[k + 1] * w[columns + c];
        }
    for (; k < terms; k++) {
        const VECTOR *w = (const VECTOR *)panel + k * columns;
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
            for (int c = 0; c < columns; c++) even[r * columns + c] += a[r * stride + k] * w[c];
    }
#pragma GCC unroll 32
    for (int i = 0; i < rows * columns; i++) sum[i] = even[i];
    if (rows == 1)
#pragma GCC unroll 8
        for (int c = 0; c < columns; c++) sum[c] += odd[c];
}

#if ROWS == 6
#define BY_ROWS(count, call) \
    switch (count) { \
    case 1: call(1); break; \
    case 2: call(2); break; \
    case 3: call(3); break; \
    case 4: call(4); break; \
    case 5: call(5); break; \
    default: call(6); \
    }
#else
#define BY_ROWS(count, call) \
    switch (count) { \
    case 1: call(1); break; \
    case 2: call(2); break; \
    default: call(3); \
    }
#endif

/* Panels of W_hh, (gates * units, units): packed[panel][k][gate][lane] is the weight from unit k. */
INLINE void FUNCTION(pack)(const int gates, int64_t units, const REAL *weight, REAL *packed) {
    int64_t padded = ROUND(units, LANES);
    for (int64_t unit = 0; unit < padded; unit++)
        for (int gate = 0; gate < gates; gate++) {
            REAL *to = packed + (unit / LANES) * padded * gates * LANES + gate * LANES + unit % LANES;
            const REAL *from = weight + (gate * units + unit) * units;
            int64_t count = unit < units ? units : 0;
            for (int64_t k = 0; k < count; k++) to[k * gates * LANES] = from[k];
            for (int64_t k = count; k < padded; k++) to[k * gates * LANES] = 0;
        }
}

/* Panels of the transposed product: packed[panel][k][lane] for each row k of W_hh. */
INLINE void FUNCTION(pack_back)(const int gates, int64_t units, const REAL *weight, REAL *packed) {
    const int64_t width = COLUMNS * LANES;
    for (int64_t start = 0; start < units; start += width) {
        int64_t count = units - start < width ? units - start : width;
        for (int64_t k = 0; k < gates * units; k++, packed += width) {
            memcpy(packed, weight + k * units + start, count * sizeof(REAL));
            memset(packed + count, 0, (width - count) * sizeof(REAL));
        }
    }
}

/* out[r] = sum over k of a[r][k] W_hh[k]: (rows, gates * units) to (rows, units) */
INLINE void FUNCTION(multiply_back)(int64_t rows, int64_t terms, int64_t units, const REAL *a,
                                    int64_t stride, const REAL *packed, REAL *out,
                                    int64_t out_stride, int add, int odd) {
    const int64_t width = COLUMNS * LANES, panels = ROUND(units, width) / width;
    for (int64_t turn = 0; turn < panels; turn++) {
        const int64_t panel = odd ? panels - 1 - turn : turn, start = panel * width;
        for (int64_t r = 0; r < rows; r += ROWS) {
            int64_t count = rows - r < ROWS ? rows - r : ROWS;
            VECTOR sum[ROWS * COLUMNS];
#define CALL(n) \
    FUNCTION(multiply)(n, COLUMNS, terms, a + r * stride, stride, packed + start * terms, sum)
            BY_ROWS(count, CALL)
#undef CALL
            for (int64_t i = 0; i < count; i++)
                for (int64_t c = 0; c < COLUMNS; c++) {
                    LOOSE *to = (LOOSE *)(out + (r + i) * out_stride + start + c * LANES);
                    VECTOR total = sum[i * COLUMNS + c];
                    if (add) total += *to;
                    *to = total;
                }
        }
    }
}

INLINE REAL *FUNCTION(scratch)(int64_t count) {
    return aligned_alloc(64, ROUND(count * (int64_t)sizeof(REAL), 64));
}

/* (rows, units) into rows of the padded width; zeros for NULL. */
INLINE void FUNCTION(padded_copy)(const Shape *s, const REAL *from, REAL *to, int64_t width) {
    memset(to, 0, (s->last - s->first) * width * sizeof(REAL));
    if (from)
        for (int64_t b = s->first; b < s->last; b++)
            memcpy(to + (b - s->first) * width, from + b * s->units, s->units * sizeof(REAL));
}

INLINE void FUNCTION(copy_out)(const Shape *s, const REAL *from, REAL *to, int64_t width) {
    for (int64_t b = s->first; b < s->last; b++)
        memcpy(to + b * s->units, from + (b - s->first) * width, s->units * sizeof(REAL));
}

INLINE int64_t FUNCTION(at)(const Shape *s, int64_t t, int64_t b) {
    return (s->reverse ? s->steps - 1 - t : t) * s->step + b * s->row;
}

/* LSTM. gates: in, the projected input (…, 4 * units); with `cells`, out, the gates i, f, g, o.
   y: h of every timestep. cells: c of every timestep, or NULL. h_last, c_last: (rows, units).
   Returns 0, or 1 if memory is exhausted. */
int FUNCTION(lstm)(const Shape *s, const REAL *weight, REAL *gates, const REAL *h0, const REAL *c0,
                   REAL *y, REAL *cells, REAL *h_last, REAL *c_last) {
    const int64_t units = s->units, width = ROUND(units, LANES), rows = s->last - s->first;
    REAL *packed = FUNCTION(scratch)(4 * width * width);
    REAL *state = FUNCTION(scratch)(3 * rows * width);
    if (!packed || !state) {
        free(packed);
        free(state);
        return 1;
    }
    REAL *h = state, *next = h + rows * width, *c = next + rows * width;
    FUNCTION(pack)(4, units, weight, packed);
    FUNCTION(padded_copy)(s, h0, h, width);
    FUNCTION(padded_copy)(s, c0, c, width);
    for (int64_t t = 0; t < s->steps; t++) {
        for (int64_t turn = 0; turn < width; turn += LANES) {
            /* To and fro, so that a step begins with the weights that are still in the cache. */
            const int64_t u = t % 2 ? width - LANES - turn : turn;
            const REAL *panel = packed + u * width * 4;
            const int64_t lanes = units - u < LANES ? units - u : LANES;
            for (int64_t r = 0; r < rows; r += ROWS) {
                int64_t count = rows - r < ROWS ? rows - r : ROWS;
                VECTOR sum[ROWS * 4];
#define CALL(n) FUNCTION(multiply)(n, 4, width, h + r * width, width, panel, sum)
                BY_ROWS(count, CALL)
#undef CALL
                for (int64_t b = r; b < r + count; b++) {
                    const VECTOR *product = sum + (b - r) * 4;
                    const int64_t place = FUNCTION(at)(s, t, s->first + b);
                    REAL *gate = gates + place * 4 * units + u;
                    VECTOR i = FUNCTION(logistic)(product[0] + FUNCTION(load)(gate, lanes));
                    VECTOR f = FUNCTION(logistic)(product[1] + FUNCTION(load)(gate + units, lanes));
                    VECTOR g =
                        FUNCTION(tangent)(product[2] + FUNCTION(load)(gate + 2 * units, lanes));
                    VECTOR o =
                        FUNCTION(logistic)(product[3] + FUNCTION(load)(gate + 3 * units, lanes));
                    VECTOR *cell = (VECTOR *)(c + b * width + u);
                    VECTOR now = f * *cell + i * g, out = o * FUNCTION(tangent)(now);
                    *cell = now;
                    *(VECTOR *)(next + b * width + u) = out;
                    FUNCTION(store)(y + place * units + u, out, lanes);
                    if (cells) {
                        FUNCTION(store)(gate, i, lanes);
                        FUNCTION(store)(gate + units, f, lanes);
                        FUNCTION(store)(gate + 2 * units, g, lanes);
                        FUNCTION(store)(gate + 3 * units, o, lanes);
                        FUNCTION(store)(cells + place * units + u, now, lanes);
                    }
                }
            }
        }
        REAL *swap = h;
        h = next;
        next = swap;
    }
    FUNCTION(copy_out)(s, h, h_last, width);
    FUNCTION(copy_out)(s, c, c_last, width);
    free(packed);
    free(state);
    return 0;
}

/* Gradients of `lstm`. gates, cells: as it left them. dy: of y, or NULL. dh, dc: (rows, units), in,
   of the last states; out, of h0 and c0. dgates: out, of the projected input. */
int FUNCTION(lstm_back)(const Shape *s, const REAL *weight, const REAL *gates, const REAL *c0,
                        const REAL *cells, const REAL *dy, REAL *dh, REAL *dc, REAL *dgates) {
    const int64_t units = s->units, width = ROUND(units, COLUMNS * LANES);
    const int64_t rows = s->last - s->first;
    REAL *packed = FUNCTION(scratch)(4 * units * width);
    REAL *state = FUNCTION(scratch)(2 * rows * width);
    if (!packed || !state) {
        free(packed);
        free(state);
        return 1;
    }
    REAL *h_grad = state, *c_grad = h_grad + rows * width;
    FUNCTION(pack_back)(4, units, weight, packed);
    FUNCTION(padded_copy)(s, dh, h_grad, width);
    FUNCTION(padded_copy)(s, dc, c_grad, width);
    for (int64_t t = s->steps - 1; t >= 0; t--) {
        for (int64_t b = 0; b < rows; b++) {
            const int64_t place = FUNCTION(at)(s, t, s->first + b);
            const REAL *before = t ? cells + FUNCTION(at)(s, t - 1, s->first + b) * units
                                   : (c0 ? c0 + (s->first + b) * units : NULL);
            for (int64_t u = 0; u < units; u += LANES) {
                const int64_t lanes = units - u < LANES ? units - u : LANES;
                const REAL *gate = gates + place * 4 * units + u;
                REAL *d = dgates + place * 4 * units + u;
                VECTOR *above = (VECTOR *)(c_grad + b * width + u);
                VECTOR i = FUNCTION(load)(gate, lanes), f = FUNCTION(load)(gate + units, lanes);
                VECTOR g = FUNCTION(load)(gate + 2 * units, lanes);
                VECTOR o = FUNCTION(load)(gate + 3 * units, lanes);
                VECTOR tanh_c =
                    FUNCTION(tangent)(FUNCTION(load)(cells + place * units + u, lanes));
                VECTOR c = before ? FUNCTION(load)(before + u, lanes) : (VECTOR){0};
                VECTOR h = *(VECTOR *)(h_grad + b * width + u);
                if (dy) h += FUNCTION(load)(dy + place * units + u, lanes);
                VECTOR down = *above + h * o * (1 - tanh_c * tanh_c);
                *above = down * f;
                FUNCTION(store)(d, down * g * i * (1 - i), lanes);
                FUNCTION(store)(d + units, down * c * f * (1 - f), lanes);
                FUNCTION(store)(d + 2 * units, down * i * (1 - g * g), lanes);
                FUNCTION(store)(d + 3 * units, h * tanh_c * o * (1 - o), lanes);
            }
        }
        if (!t && !s->initial) break;
        FUNCTION(multiply_back)(rows, 4 * units, units,
                                dgates + FUNCTION(at)(s, t, s->first) * 4 * units,
                                s->row * 4 * units, packed, h_grad, width, 0, t % 2);
    }
    FUNCTION(copy_out)(s, h_grad, dh, width);
    FUNCTION(copy_out)(s, c_grad, dc, width);
    free(packed);
    free(state);
    return 0;
}

/* GRU, as torch has it: n = tanh(W x + b_in + r (U h + b_hn)). gates: in, the projected input
   (…, 3 * units) with the hidden biases of r and z; with `hidden`, out, r, z, n. bias: b_hn, or NULL.
   hidden: U h + b_hn of every timestep, or NULL. */
int FUNCTION(gru)(const Shape *s, const REAL *weight, const REAL *bias, REAL *gates, const REAL *h0,
                  REAL *y, REAL *hidden, REAL *h_last) {
    const int64_t units = s->units, width = ROUND(units, LANES), rows = s->last - s->first;
    REAL *packed = FUNCTION(scratch)(3 * width * width);
    REAL *state = FUNCTION(scratch)(2 * rows * width);
    if (!packed || !state) {
        free(packed);
        free(state);
        return 1;
    }
    REAL *h = state, *next = h + rows * width;
    FUNCTION(pack)(3, units, weight, packed);
    FUNCTION(padded_copy)(s, h0, h, width);
    for (int64_t t = 0; t < s->steps; t++) {
        for (int64_t turn = 0; turn < width; turn += LANES) {
            /* To and fro, so that a step begins with the weights that are still in the cache. */
            const int64_t u = t % 2 ? width - LANES - turn : turn;
            const REAL *panel = packed + u * width * 3;
            const int64_t lanes = units - u < LANES ? units - u : LANES;
            const VECTOR offset = bias ? FUNCTION(load)(bias + u, lanes) : (VECTOR){0};
            for (int64_t r = 0; r < rows; r += ROWS) {
                int64_t count = rows - r < ROWS ? rows - r : ROWS;
                VECTOR sum[ROWS * 3];
#define CALL(n) FUNCTION(multiply)(n, 3, width, h + r * width, width, panel, sum)
                BY_ROWS(count, CALL)
#undef CALL
                for (int64_t b = r; b < r + count; b++) {
                    const VECTOR *product = sum + (b - r) * 3;
                    const int64_t place = FUNCTION(at)(s, t, s->first + b);
                    REAL *gate = gates + place * 3 * units + u;
                    VECTOR reset = FUNCTION(logistic)(product[0] + FUNCTION(load)(gate, lanes));
                    VECTOR z = FUNCTION(logistic)(product[1] + FUNCTION(load)(gate + units, lanes));
                    VECTOR inner = product[2] + offset;
                    VECTOR n = FUNCTION(tangent)(FUNCTION(load)(gate + 2 * units, lanes) +
                                                 reset * inner);
                    VECTOR out = n + z * (*(VECTOR *)(h + b * width + u) - n);
                    *(VECTOR *)(next + b * width + u) = out;
                    FUNCTION(store)(y + place * units + u, out, lanes);
                    if (hidden) {
                        FUNCTION(store)(gate, reset, lanes);
                        FUNCTION(store)(gate + units, z, lanes);
                        FUNCTION(store)(gate + 2 * units, n, lanes);
                        FUNCTION(store)(hidden + place * units + u, inner, lanes);
                    }
                }
            }
        }
        REAL *swap = h;
        h = next;
        next = swap;
    }
    FUNCTION(copy_out)(s, h, h_last, width);
    free(packed);
    free(state);
    return 0;
}

/* Gradients of `gru`. dgates: of the projected state, (…, 3 * units); dn: of the projected input's
   last third, which differs from it by the reset gate. */
int FUNCTION(gru_back)(const Shape *s, const REAL *weight, const REAL *gates, const REAL *h0,
                       const REAL *y, const REAL *hidden, const REAL *dy, REAL *dh, REAL *dgates,
                       REAL *dn) {
    const int64_t units = s->units, width = ROUND(units, COLUMNS * LANES);
    const int64_t rows = s->last - s->first;
    REAL *packed = FUNCTION(scratch)(3 * units * width);
    REAL *h_grad = FUNCTION(scratch)(rows * width);
    if (!packed || !h_grad) {
        free(packed);
        free(h_grad);
        return 1;
    }
    FUNCTION(pack_back)(3, units, weight, packed);
    FUNCTION(padded_copy)(s, dh, h_grad, width);
    for (int64_t t = s->steps - 1; t >= 0; t--) {
        for (int64_t b = 0; b < rows; b++) {
            const int64_t place = FUNCTION(at)(s, t, s->first + b);
            const REAL *before = t ? y + FUNCTION(at)(s, t - 1, s->first + b) * units
                                   : (h0 ? h0 + (s->first + b) * units : NULL);
            for (int64_t u = 0; u < units; u += LANES) {
                const int64_t lanes = units - u < LANES ? units - u : LANES;
                const REAL *gate = gates + place * 3 * units + u;
                REAL *d = dgates + place * 3 * units + u;
                VECTOR *grad = (VECTOR *)(h_grad + b * width + u);
                VECTOR r = FUNCTION(load)(gate, lanes), z = FUNCTION(load)(gate + units, lanes);
                VECTOR n = FUNCTION(load)(gate + 2 * units, lanes);
                VECTOR inner = FUNCTION(load)(hidden + place * units + u, lanes);
                VECTOR h = before ? FUNCTION(load)(before + u, lanes) : (VECTOR){0};
                VECTOR down = *grad;
                if (dy) down += FUNCTION(load)(dy + place * units + u, lanes);
                VECTOR inside = down * (1 - z) * (1 - n * n);
                *grad = down * z;
                FUNCTION(store)(dn + place * units + u, inside, lanes);
                FUNCTION(store)(d, inside * inner * r * (1 - r), lanes);
                FUNCTION(store)(d + units, down * (h - n) * z * (1 - z), lanes);
                FUNCTION(store)(d + 2 * units, inside * r, lanes);
            }
        }
        if (!t && !s->initial) break;
        FUNCTION(multiply_back)(rows, 3 * units, units,
                                dgates + FUNCTION(at)(s, t, s->first) * 3 * units,
                                s->row * 3 * units, packed, h_grad, width, 1, t % 2);
    }
    FUNCTION(copy_out)(s, h_grad, dh, width);
    free(packed);
    free(h_grad);
    return 0;
}

#endif

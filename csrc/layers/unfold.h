/* unfold: copy between an image and the patches under its windows, for convolution. A patch is a
 * row of elements in the order (height, width, channels) of the window; any range of its columns
 * can be copied. Whole vectors are copied if that is safe, because pieces are short: 5 elements in
 * the first layer of LeNet. Does not depend on weights. This is a header because its short copies
 * must be inlined where they are used. */
#ifndef EP_LAYERS_UNFOLD_H
#define EP_LAYERS_UNFOLD_H

#include "vector.h"
#include "window.h"

#include <string.h>

/* Columns j0 .. j1 of the patches at positions q0 .. q1 (in output order) of one image. Rows of
 * patches start j1 - j0 elements apart. */
typedef struct {
    int64_t q0, q1;
    int64_t j0, j1;
} ep_unfold;

/* A run of n elements that is contiguous both in an image row and in a patch. In the image it
 * starts in row kh of the window, `at` elements after the window's first column. In the patch it
 * starts `to` elements after column j0, the first column that is copied. */
typedef struct {
    int64_t kh, at, n, to;
} ep_piece;

enum { EP_PIECES = 32 };

/* Copy exactly n elements. The last two vectors may overlap. */
EP_INLINE void ep_unfold_move(int64_t n, ep_real *to, const ep_real *from) {
    int64_t i = 0;
    for (; i + (int64_t)EP_LINE <= n; i += (int64_t)EP_LINE) {
        *(ep_line *)(to + i) = *(const ep_line *)(from + i);
    }
    for (; i + 4 <= n; i += 4) {
        *(ep_quad *)(to + i) = *(const ep_quad *)(from + i);
    }
    if (n >= 4) {
        *(ep_quad *)(to + n - 4) = *(const ep_quad *)(from + n - 4);
        return;
    }
    for (; i < n; i++) {
        to[i] = from[i];
    }
}

/* List the pieces of columns *j .. j1 of a patch, at most EP_PIECES, and advance *j past them. A
 * piece is a whole row of the window if its taps are contiguous, else one tap. */
static inline int ep_unfold_pieces(const ep_window *g, int64_t j0, int64_t j1, int64_t *j,
                                   ep_piece piece[EP_PIECES]) {
    bool row = g->w.step == 1;
    int64_t length = row ? g->w.size * g->c : g->c, across = row ? 1 : g->w.size;
    int n = 0;
    for (; *j < j1 && n < EP_PIECES; n++) {
        int64_t i = *j / length, at = *j - i * length;
        piece[n] = (ep_piece){.kh = i / across,
                              .at = i % across * g->w.step * g->c + at,
                              .n = ep_min(length - at, j1 - *j),
                              .to = *j - j0};
        *j += piece[n].n;
    }
    return n;
}

/* Copy a piece that may cross the edges of the image, with zeros outside. The window begins at
 * element x of image row y. */
EP_INLINE void ep_unfold_clipped(const ep_window *g, const ep_piece *p, int64_t y, int64_t x,
                                 const ep_real *image, ep_real *to) {
    int64_t limit = g->w.in * g->c, row = y + p->kh * g->h.step, from = x + p->at;
    bool inside = row >= 0 && row < g->h.in;
    int64_t low = inside ? ep_min(p->n, ep_max(0, -from)) : p->n;
    int64_t high = inside ? ep_max(low, ep_min(p->n, limit - from)) : p->n;
    memset(to, 0, (size_t)low * sizeof *to);
    memset(to + high, 0, (size_t)(p->n - high) * sizeof *to);
    if (high > low) {
        ep_unfold_move(high - low, to + low, image + row * limit + from + low);
    }
}

/* Copy the pieces of a patch that lies inside the image. With `spill`, copy whole vectors, which
 * may reach past the end of a piece; `single` states that no piece is longer than one vector. */
EP_INLINE void ep_unfold_copy(bool spill, bool single, int n, const ep_piece *piece,
                              const int64_t *from, const ep_real *window, ep_real *patch) {
    for (int i = 0; i < n; i++) {
        const ep_real *of = window + from[i];
        ep_real *to = patch + piece[i].to;
        if (!spill) {
            ep_unfold_move(piece[i].n, to, of);
        } else if (single) {
            *(ep_line *)to = *(const ep_line *)of;
        } else {
            for (int64_t v = 0; v < piece[i].n; v += (int64_t)EP_LINE) {
                *(ep_line *)(to + v) = *(const ep_line *)(of + v);
            }
        }
    }
}

/* Write the patches: copy the elements under each window, with 0 outside the image. If all pieces
 * of a patch are copied at once, copy whole vectors: the next piece overwrites what spills past the
 * end of a piece, and up to one vector is written after the patches. Never read past the end of the
 * image, where another worker may be writing. */
static inline void ep_unfold_gather(const ep_window *g, const ep_unfold *u, const ep_real *image,
                                    ep_real *patches) {
    int64_t width = u->j1 - u->j0, limit = g->w.in * g->c, step = g->w.stride * g->c;
    ep_piece piece[EP_PIECES];
    for (int64_t j = u->j0; j < u->j1 && u->q0 < u->q1;) {
        int n = ep_unfold_pieces(g, u->j0, u->j1, &j, piece);
        bool spill = piece[0].to == 0 && j == u->j1, single = true;
        int64_t low = piece[0].at, high = 0, reach = 0, from[EP_PIECES];
        for (int i = 0; i < n; i++) {
            low = ep_min(low, piece[i].at);
            high = ep_max(high, piece[i].at + piece[i].n);
            single = single && piece[i].n <= (int64_t)EP_LINE;
            from[i] = piece[i].kh * g->h.step * limit + piece[i].at;
            int64_t lines = (piece[i].n + (int64_t)EP_LINE - 1) / (int64_t)EP_LINE;
            reach = ep_max(reach, from[i] + lines * (int64_t)EP_LINE);
        }
        int64_t oy = u->q0 / g->w.out, ox = u->q0 - oy * g->w.out;
        ep_real *to = patches;
        for (int64_t q = u->q0; q < u->q1; oy++, ox = 0) {
            int64_t end = ep_min(u->q1, q + g->w.out - ox);
            int64_t y = oy * g->h.stride - g->h.pad, x = ox * step - g->w.pad * g->c;
            bool tall = y + piece[0].kh * g->h.step >= 0 &&
                        y + piece[n - 1].kh * g->h.step < g->h.in;
            for (; q < end; q++, x += step, to += width) {
                const ep_real *window = image + (tall ? y * limit + x : 0);
                if (!tall || x + low < 0 || x + high > limit) {
                    for (int i = 0; i < n; i++) {
                        ep_unfold_clipped(g, &piece[i], y, x, image, to + piece[i].to);
                    }
                } else if (!spill || window - image + reach > g->h.in * limit) {
                    ep_unfold_copy(false, false, n, piece, from, window, to);
                } else if (single) {
                    ep_unfold_copy(true, true, n, piece, from, window, to);
                } else {
                    ep_unfold_copy(true, false, n, piece, from, window, to);
                }
            }
        }
    }
}

/* Add n elements of `from` to `to` at each of `count` places, which are `step` apart in `to` and
 * `width` apart in `from`. */
EP_INLINE void ep_unfold_add(int64_t n, int64_t count, ep_real *to, int64_t step,
                             const ep_real *from, int64_t width) {
    int64_t i = 0;
    for (; i + (int64_t)EP_LINE <= n; i += (int64_t)EP_LINE) {
        for (int64_t q = 0; q < count; q++) {
            *(ep_line *)(to + i + q * step) += *(const ep_line *)(from + i + q * width);
        }
    }
    for (; i + 4 <= n; i += 4) {
        for (int64_t q = 0; q < count; q++) {
            *(ep_quad *)(to + i + q * step) += *(const ep_quad *)(from + i + q * width);
        }
    }
    for (; i < n; i++) {
        for (int64_t q = 0; q < count; q++) {
            to[i + q * step] += from[i + q * width];
        }
    }
}

/* Add the patches to the image, one tap at a time: neighboring windows overlap, and reading back
 * elements just written at another offset is slow. */
static inline void ep_unfold_scatter(const ep_window *g, const ep_unfold *u, ep_real *image,
                                     const ep_real *patches) {
    int64_t width = u->j1 - u->j0, limit = g->w.in * g->c, step = g->w.stride * g->c;
    int64_t y0 = u->q0 < u->q1 ? u->q0 / g->w.out : 0;
    for (int64_t j = u->j0, n; j < u->j1 && u->q0 < u->q1; j += n) {
        int64_t tap = j / g->c, at = j - tap * g->c;
        n = ep_min(g->c - at, u->j1 - j);
        /* Image column under this tap if the window is the first of its row; negative in the
         * padding. */
        int64_t right = tap % g->w.size * g->w.step - g->w.pad;
        int64_t first = right < 0 ? (-right + g->w.stride - 1) / g->w.stride : 0;
        int64_t past = right < g->w.in ? (g->w.in - 1 - right) / g->w.stride + 1 : 0;
        int64_t row = y0 * g->h.stride - g->h.pad + tap / g->w.size * g->h.step;
        int64_t to = row * limit + right * g->c + at;
        int64_t from = (y0 * g->w.out - u->q0) * width + j - u->j0;
        for (int64_t q = u->q0, line = y0 * g->w.out; q < u->q1; line += g->w.out) {
            int64_t end = ep_min(u->q1, line + g->w.out);
            int64_t o0 = ep_max(q - line, first), o1 = ep_min(end - line, past);
            if (row >= 0 && row < g->h.in && o0 < o1) {
                ep_unfold_add(n, o1 - o0, image + to + o0 * step, step, patches + from + o0 * width,
                              width);
            }
            q = end;
            row += g->h.stride;
            to += g->h.stride * limit;
            from += g->w.out * width;
        }
    }
}

#endif

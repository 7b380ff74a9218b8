"""The C functions that an exported file may need, with their dependencies on each other.

`EP_` is a placeholder for the prefix of names. Arrays are (rows, features), features last. A
comment states where `y` may alias `x`.
"""

from __future__ import annotations

__all__ = ["PARTS", "needed", "uses_math"]


def _each_window(channels: str) -> str:
    """Return C code that opens a loop over windows; y advances by g->`channels` each time."""
    return f"""\
    for (int oy = 0; oy < g->oh; oy++) {{
        for (int ox = 0; ox < g->ow; ox++, y += g->{channels}) {{
            const int top = oy * g->sh - g->ph, left = ox * g->sw - g->pw;
            int y0, y1, x0, x1;
            EP_inside(top, g->dh, g->kh, g->h, &y0, &y1);
            EP_inside(left, g->dw, g->kw, g->w, &x0, &x1);
"""


PARTS = {
    "window": """\
/* Windows over (h, w, c): `oh` x `ow` of them, each of `kh` x `kw` positions, `sh` and `sw` apart,
 * the positions `dh` and `dw` apart, beginning `ph` and `pw` before the input. */
typedef struct {
    int h, w, c, oh, ow, f, kh, kw, sh, sw, dh, dw, ph, pw;
} EP_window;
""",
    "inside": """\
/* The first and the last + 1 of `size` positions, `step` apart from `start` on, within 0 .. n. */
static void EP_inside(int start, int step, int size, int n, int *first, int *end)
{
    *first = start < 0 ? (-start + step - 1) / step : 0;
    *end = start >= n ? 0 : (n - 1 - start) / step + 1;
    if (*end > size) {
        *end = size;
    }
}
""",
    "add_products": """\
/* y (m) += x (n) w (n, m): eight sums at a time, which a compiler keeps in registers. */
static void EP_add_products(const float *x, const float *w, int n, int m, float *y)
{
    int o = 0;
    for (; o + 8 <= m; o += 8) {
        const float *v = w + o;
        float a = y[o], b = y[o + 1], c = y[o + 2], d = y[o + 3];
        float e = y[o + 4], f = y[o + 5], g = y[o + 6], h = y[o + 7];
        for (int i = 0; i < n; i++, v += m) {
            const float z = x[i];
            a += z * v[0];
            b += z * v[1];
            c += z * v[2];
            d += z * v[3];
            e += z * v[4];
            f += z * v[5];
            g += z * v[6];
            h += z * v[7];
        }
        y[o] = a;
        y[o + 1] = b;
        y[o + 2] = c;
        y[o + 3] = d;
        y[o + 4] = e;
        y[o + 5] = f;
        y[o + 6] = g;
        y[o + 7] = h;
    }
    for (; o < m; o++) {
        const float *v = w + o;
        float sum = y[o];
        for (int i = 0; i < n; i++, v += m) {
            sum += x[i] * *v;
        }
        y[o] = sum;
    }
}
""",
    "set_bias": """\
/* y (n) = bias (n), or 0 without one. */
static void EP_set_bias(const float *bias, int n, float *y)
{
    for (int i = 0; i < n; i++) {
        y[i] = bias ? bias[i] : 0.0f;
    }
}
""",
    "dense": """\
/* y (rows, m) = x (rows, n) w (n, m) + bias (m). */
static void EP_dense(const float *x, const float *w, const float *bias, int rows, int n, int m,
                     float *y)
{
    for (int r = 0; r < rows; r++, x += n, y += m) {
        EP_set_bias(bias, m, y);
        EP_add_products(x, w, n, m, y);
    }
}
""",
    "conv2d": """\
/* y (oh, ow, f) = the sum over windows of x (h, w, c) times w (kh, kw, c, f), + bias (f). */
static void EP_conv2d(const EP_window *g, const float *x, const float *w, const float *bias,
                      float *y)
{
"""
    + _each_window("f")
    + """\
            EP_set_bias(bias, g->f, y);
            for (int ky = y0; ky < y1; ky++) {
                const int run = g->dw == 1 ? x1 - x0 : 1; /* adjacent positions go together */
                for (int kx = x0; kx < x1; kx += run) {
                    const float *from = x + ((top + ky * g->dh) * g->w + left + kx * g->dw) * g->c;
                    const float *tap = w + (ky * g->kw + kx) * g->c * g->f;
                    EP_add_products(from, tap, run * g->c, g->f, y);
                }
            }
        }
    }
}
""",
    "depthwise": """\
/* y (oh, ow, c) = the sum over windows of x (h, w, c) times w (kh, kw, c), + bias (c). */
static void EP_depthwise(const EP_window *g, const float *x, const float *w, const float *bias,
                         float *y)
{
"""
    + _each_window("c")
    + """\
            EP_set_bias(bias, g->c, y);
            for (int ky = y0; ky < y1; ky++) {
                for (int kx = x0; kx < x1; kx++) {
                    const float *from = x + ((top + ky * g->dh) * g->w + left + kx * g->dw) * g->c;
                    const float *tap = w + (ky * g->kw + kx) * g->c;
                    for (int i = 0; i < g->c; i++) {
                        y[i] += from[i] * tap[i];
                    }
                }
            }
        }
    }
}
""",
    "pool": """\
/* y (oh, ow, c) = the largest value of every window of x (h, w, c), or with `mean` their mean;
 * positions beyond the input do not count. */
static void EP_pool(const EP_window *g, int mean, const float *x, float *y)
{
"""
    + _each_window("c")
    + """\
            for (int ky = y0; ky < y1; ky++) {
                for (int kx = x0; kx < x1; kx++) {
                    const float *from = x + ((top + ky * g->dh) * g->w + left + kx * g->dw) * g->c;
                    const int first = ky == y0 && kx == x0;
                    for (int i = 0; i < g->c; i++) {
                        if (first) {
                            y[i] = from[i];
                        } else if (mean) {
                            y[i] += from[i];
                        } else if (from[i] > y[i]) {
                            y[i] = from[i];
                        }
                    }
                }
            }
            for (int i = 0; mean && i < g->c; i++) {
                y[i] /= (float)((y1 - y0) * (x1 - x0));
            }
        }
    }
}
""",
    "read": """\
/* y (n) = (x - shift) * scale, by periods of `period` values; `pick` names the entries of x. */
static void EP_read(const float *x, const int *pick, const float *shift, const float *scale, int n,
                    int period, float *y)
{
    for (int i = 0; i < n; i += period) {
        for (int j = 0; j < period; j++) {
            y[i + j] = (x[pick ? pick[i + j] : i + j] - shift[j]) * scale[j];
        }
    }
}
""",
    "affine": """\
/* y (rows, n) = x * factor (n) + shift (n); y may be x. */
static void EP_affine(const float *x, const float *factor, const float *shift, int rows, int n,
                      float *y)
{
    for (int r = 0; r < rows; r++, x += n, y += n) {
        for (int i = 0; i < n; i++) {
            y[i] = x[i] * factor[i] + shift[i];
        }
    }
}
""",
    "add_along": """\
/* y (outer, n, inner) = x + v (n); y may be x. */
static void EP_add_along(const float *x, const float *v, int outer, int n, int inner, float *y)
{
    for (int o = 0; o < outer; o++) {
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < inner; j++) {
                *y++ = *x++ + v[i];
            }
        }
    }
}
""",
    "scale_along": """\
/* y (outer, n, inner) = x * v (n); y may be x. */
static void EP_scale_along(const float *x, const float *v, int outer, int n, int inner, float *y)
{
    for (int o = 0; o < outer; o++) {
        for (int i = 0; i < n; i++) {
            for (int j = 0; j < inner; j++) {
                *y++ = *x++ * v[i];
            }
        }
    }
}
""",
    "relu": """\
/* y may be x. */
static void EP_relu(const float *x, int n, float *y)
{
    for (int i = 0; i < n; i++) {
        y[i] = x[i] < 0.0f ? 0.0f : x[i];
    }
}
""",
    "leaky_relu": """\
/* y may be x. */
static void EP_leaky_relu(const float *x, int n, float slope, float *y)
{
    for (int i = 0; i < n; i++) {
        y[i] = x[i] < 0.0f ? slope * x[i] : x[i];
    }
}
""",
    "gelu": """\
/* The tanh form; y may be x. */
static void EP_gelu(const float *x, int n, float *y)
{
    for (int i = 0; i < n; i++) {
        const float u = 1.5957691216f * (x[i] + 0.044715f * x[i] * x[i] * x[i]);
        y[i] = x[i] / (1.0f + expf(-u));
    }
}
""",
    "silu": """\
/* y may be x. */
static void EP_silu(const float *x, int n, float *y)
{
    for (int i = 0; i < n; i++) {
        y[i] = x[i] / (1.0f + expf(-x[i]));
    }
}
""",
    "tanh": """\
/* y may be x. */
static void EP_tanh(const float *x, int n, float *y)
{
    for (int i = 0; i < n; i++) {
        y[i] = tanhf(x[i]);
    }
}
""",
    "sigmoid": """\
/* y may be x. */
static void EP_sigmoid(const float *x, int n, float *y)
{
    for (int i = 0; i < n; i++) {
        y[i] = 1.0f / (1.0f + expf(-x[i]));
    }
}
""",
    "norm": """\
/* y (rows, n) = (x - mean) / sqrt(variance + epsilon) * gain + bias; without `center` the mean
 * counts as 0. Features that are gone, `born` - n of them, count as zeros. y may be x. */
static void EP_norm(const float *x, const float *gain, const float *bias, int rows, int n, int born,
                    int center, float epsilon, float *y)
{
    for (int r = 0; r < rows; r++, x += n, y += n) {
        float mean = 0.0f, variance = 0.0f;
        for (int i = 0; center && i < n; i++) {
            mean += x[i];
        }
        mean /= (float)born;
        for (int i = 0; i < n; i++) {
            variance += (x[i] - mean) * (x[i] - mean);
        }
        variance = (variance + (float)(born - n) * mean * mean) / (float)born;
        const float scale = 1.0f / sqrtf(variance + epsilon);
        for (int i = 0; i < n; i++) {
            y[i] = (x[i] - mean) * scale * (gain ? gain[i] : 1.0f) + (bias ? bias[i] : 0.0f);
        }
    }
}
""",
    "attention": """\
/* y = softmax(scale q k') v, all (positions, heads, dims); p holds `positions` weights. */
static void EP_attention(const float *q, const float *k, const float *v, int positions, int heads,
                         int dims, float scale, int causal, float *p, float *y)
{
    const int width = heads * dims;
    for (int i = 0; i < positions; i++) {
        const int seen = causal ? i + 1 : positions;
        for (int h = 0; h < heads; h++) {
            const float *query = q + i * width + h * dims;
            float *to = y + i * width + h * dims, largest = 0.0f, sum = 0.0f;
            for (int j = 0; j < seen; j++) {
                const float *key = k + j * width + h * dims;
                p[j] = 0.0f;
                for (int d = 0; d < dims; d++) {
                    p[j] += query[d] * key[d];
                }
                p[j] *= scale;
                largest = j == 0 || p[j] > largest ? p[j] : largest;
            }
            for (int j = 0; j < seen; j++) {
                p[j] = expf(p[j] - largest);
                sum += p[j];
            }
            for (int d = 0; d < dims; d++) {
                to[d] = 0.0f;
            }
            for (int j = 0; j < seen; j++) {
                const float *value = v + j * width + h * dims, weight = p[j] / sum;
                for (int d = 0; d < dims; d++) {
                    to[d] += weight * value[d];
                }
            }
        }
    }
}
""",
    "embed": """\
/* y (rows, n) = rows of the table (size, n) by code; NaN for a code outside it. */
static void EP_embed(const EP_code *x, const float *table, int size, int rows, int n, float *y)
{
    for (int r = 0; r < rows; r++) {
        const int inside = x[r] >= 0 && x[r] < size, code = inside ? (int)x[r] : 0;
        const int known = inside && (EP_code)code == x[r];
        for (int i = 0; i < n; i++) {
            *y++ = known ? table[code * n + i] : NAN;
        }
    }
}
""",
    "add": """\
/* y = x + z; y may be either. */
static void EP_add(const float *x, const float *z, int n, float *y)
{
    for (int i = 0; i < n; i++) {
        y[i] = x[i] + z[i];
    }
}
""",
    "mean_rows": """\
/* y (n) = the mean of the rows of x (rows, n). */
static void EP_mean_rows(const float *x, int rows, int n, float *y)
{
    for (int i = 0; i < n; i++) {
        float sum = 0.0f;
        for (int r = 0; r < rows; r++) {
            sum += x[r * n + i];
        }
        y[i] = sum / (float)rows;
    }
}
""",
    "patches": """\
/* y (h / kh * w / kw, kh, kw, c) = patches of x (h, w, c), row by row. */
static void EP_patches(const float *x, int h, int w, int c, int kh, int kw, float *y)
{
    for (int top = 0; top + kh <= h; top += kh) {
        for (int left = 0; left + kw <= w; left += kw) {
            for (int row = 0; row < kh; row++, y += kw * c) {
                memcpy(y, x + ((top + row) * w + left) * c, (size_t)(kw * c) * sizeof *y);
            }
        }
    }
}
""",
    "shortcut": """\
/* y (oh, ow, m) = every sh-th and sw-th position of x (h, w, c), channel source (m), -1 for 0. */
static void EP_shortcut(const float *x, const int *source, int h, int w, int c, int sh, int sw,
                        int m, float *y)
{
    for (int i = 0; i < h; i += sh) {
        for (int j = 0; j < w; j += sw) {
            for (int o = 0; o < m; o++) {
                *y++ = source[o] < 0 ? 0.0f : x[(i * w + j) * c + source[o]];
            }
        }
    }
}
""",
}

CALLS = {
    "dense": ("set_bias", "add_products"),
    "conv2d": ("window", "inside", "set_bias", "add_products"),
    "depthwise": ("window", "inside", "set_bias"),
    "pool": ("window", "inside"),
}


def needed(used: set[str]) -> str:
    """Return the C source of the parts named in `used` and of the parts on which they depend."""
    whole = used | {called for part in used for called in CALLS.get(part, ())}
    return "\n".join(text for part, text in PARTS.items() if part in whole)


def uses_math(text: str) -> bool:
    """True if the text calls functions of <math.h>, so that -lm may be needed."""
    return any(call in text for call in ("expf(", "tanhf(", "sqrtf("))

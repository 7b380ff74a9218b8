/* Vectors and elementary functions at the instruction set of this build, on arrays that end
 * exactly at the last element. */
#include "check.h"
#include "elementary.h"

#include <stdlib.h>

/* Partial loads and stores access the first n elements and no others. */
static void test_lanes(void) {
    for (int64_t n = 1; n <= EP_LANES; n++) {
        ep_real *exact = malloc((size_t)n * sizeof *exact), sum = 0;
        for (int i = 0; i < n; i++) {
            exact[i] = (ep_real)(i + 1);
            sum += exact[i];
        }
        ep_vec v = ep_vec_get(exact, n),
               less = ep_vec_where_less(v, ep_vec_all(3), ep_vec_all(-1), v),
               one = ep_vec_first(ep_vec_all(1), n);
        CHECK(ep_vec_sum(v) == sum);
        CHECK(ep_vec_sum(one) == (ep_real)n);
        for (int i = 0; i < EP_LANES; i++) {
            ep_real number = i < n ? (ep_real)(i + 1) : 0;
            CHECK(v[i] == number);
            CHECK(less[i] == (number < 3 ? -1 : number));
            CHECK(ep_vec_max(v, ep_vec_all(2))[i] == (number > 2 ? number : 2));
            CHECK(ep_vec_min(v, ep_vec_all(2))[i] == (number < 2 ? number : 2));
            CHECK(ep_vec_rounded(v)[i] == number);
        }
        ep_vec_put(exact, 2 * v, n);
        for (int i = 0; i < n; i++) {
            CHECK(exact[i] == (ep_real)(2 * i + 2));
        }
        free(exact);
    }
    const ep_vec nan = ep_vec_all((ep_real)NAN), one = ep_vec_all(1);
    CHECK(ep_vec_max(nan, one)[0] == 1 && ep_vec_max(one, nan)[0] != ep_vec_max(one, nan)[0]);
    CHECK(ep_vec_min(nan, one)[0] == 1 && ep_vec_min(one, nan)[0] != ep_vec_min(one, nan)[0]);
    CHECK(ep_vec_where_less(nan, one, one, nan)[0] != 1 &&
          ep_vec_where_less(one, nan, one, nan)[0] != 1);
}

/* For floats of all magnitudes, results are in the range of each function, NaN stays NaN, and no
 * sanitizer reports an error. The 67 elements of a call fill whole vectors and part of one. */
static void test_elementary_everywhere(void) {
    enum { MANY = 67 };
    ep_real x[MANY], e[MANY], t[MANY], s[MANY];
    for (uint64_t step = 0, n; step < (UINT64_C(1) << 32);) {
        for (n = 0; n < MANY; n++, step += 65521) {
            uint32_t bits = (uint32_t)step;
            float number;
            memcpy(&number, &bits, sizeof number);
            x[n] = (ep_real)number;
        }
        ep_map(ep_exp, MANY, x, e);
        ep_map(ep_tanh, MANY, x, t);
        ep_map(ep_sigmoid, MANY, x, s);
        for (n = 0; n < MANY; n++) {
            bool number = x[n] == x[n];
            CHECK(number == (e[n] >= 0));
            CHECK(number == (t[n] >= -1 && t[n] <= 1));
            CHECK(number == (s[n] >= 0 && s[n] <= 1));
            CHECK(number || ep_log(x[n]) != ep_log(x[n]));
            CHECK(!(x[n] >= 0) || ep_log(x[n]) <= (ep_real)INFINITY);
        }
    }
}

int main(void) {
    test_lanes();
    test_elementary_everywhere();
    return failures != 0;
}

/* Tests of shapes and gathering: layouts whose size overflows, arrays of every rank compared with a
 * plain loop, batches from tables of every number type, and a network that loses populations. */
#include "catalogue.h"
#include "compact.h"
#include "gather.h"

#include "check.h"

#include <string.h>

/* ---- sizes and places ------------------------------------------------------------------------ */

static void test_layout(void) {
    ep_axis axes[3] = {{.n = 5}, {.n = 40}, {.n = INT32_MAX}};
    const int both[] = {0, 1}, huge[] = {2, 2, 2, 2};
    CHECK(ep_axes_size(axes, 0, NULL) == 1);
    CHECK(ep_axes_size(axes, 2, both) == 200);
    CHECK(ep_axes_size(axes, 2, huge) == (int64_t)INT32_MAX * INT32_MAX);
    CHECK(ep_axes_size(axes, 3, huge) == -1 && ep_axes_size(axes, 4, huge) == -1);
    int64_t begin[EP_ROLES + 1];
    ep_tensor tensors[] = {{.role = EP_TRACKED, .rank = 1, .axis = {0}},
                           {.role = EP_DECAYED, .rank = 2, .axis = {0, 1}},
                           {.role = EP_EVOLVED, .rank = 1, .axis = {1}},
                           {.role = EP_DECAYED, .rank = 1, .axis = {1}}};
    int64_t size = ep_layout(axes, tensors, 4, begin);
    CHECK(begin[0] == 0 && begin[EP_ROLES] == size && begin[EP_FREE] == begin[EP_EVOLVED]);
    CHECK(tensors[1].at == 0 && tensors[3].at >= 200 && tensors[2].at == begin[EP_EVOLVED]);
    for (int i = 0; i < 4; i++) {
        CHECK(tensors[i].at % (int64_t)EP_LINE == 0);
        CHECK(tensors[i].at >= begin[tensors[i].role]);
        CHECK(tensors[i].at + tensors[i].n <= begin[tensors[i].role + 1]);
    }
    ep_tensor large = {.role = EP_FREE, .rank = 3, .axis = {2, 2, 2}};
    CHECK(ep_layout(axes, &large, 1, begin) == -1);
    ep_tensor many[] = {large, large};
    many[0].rank = many[1].rank = 2;
    axes[2].n = INT64_C(1) << 28; /* 2^56 elements each: one fits, two do not */
    CHECK(ep_layout(axes, many, 1, begin) == INT64_C(1) << 56);
    CHECK(ep_layout(axes, many, 2, begin) == -1);
    axes[0].n = 0;
    CHECK(ep_layout(axes, tensors, 4, begin) >= 0 && tensors[1].n == 0);
}

/* Return about `share` tenths of the indices below n, ascending, and set *kept to their number. */
static int32_t *some(int64_t n, uint64_t seed, int share, int64_t *kept) {
    int32_t *index = malloc((size_t)(n + 1) * sizeof *index);
    *kept = 0;
    for (int64_t i = 0; i < n; i++) {
        ep_real x = any_number(&seed);
        if ((int)(x * 7 + 700) % 10 < share) {
            index[(*kept)++] = (int32_t)i;
        }
    }
    return index;
}

/* Return, for every new place along an axis of length `size`, the old place that is copied to it:
 * first some old places at random, then some again, both in ascending order. Every few places, -1
 * stands for a place that nothing is copied to. Set *n to the number of new places. */
static int32_t *sources(int64_t size, uint64_t seed, int64_t *n) {
    int64_t stay, born;
    int32_t *these = some(size, seed, 6, &stay), *again = some(size, seed + 1, 3, &born);
    int32_t *source = malloc((size_t)(stay + born + 3) * sizeof *source);
    *n = 0;
    for (int64_t j = 0; j < stay + born; j++) {
        source[(*n)++] = j < stay ? these[j] : again[j - stay];
        if (j % 4 == 3) {
            source[(*n)++] = -1;
            j += 1;
        }
    }
    free(these), free(again);
    return source;
}

static void test_gather_of_every_rank(void) {
    for (int round = 0; round < 400; round++) {
        int rank = round % (EP_RANK + 1);
        int64_t size[EP_RANK], left[EP_RANK], place[EP_RANK] = {0}, from_n = 1, to_n = 1;
        int32_t *source[EP_RANK] = {NULL};
        ep_choice choice[EP_RANK] = {{0}};
        ep_run runs[EP_RANK][16];
        for (int d = 0; d < rank; d++) {
            size[d] = (round * 31 + d * 17) % 7;
            left[d] = size[d];
            if ((round >> d) & 4) {
                source[d] = sources(size[d], (uint64_t)(round + d), &left[d]);
                choice[d] = (ep_choice){left[d], ep_runs_of(source[d], left[d], runs[d]), runs[d]};
                CHECK(left[d] <= 16 && choice[d].n_runs <= left[d]);
            }
            from_n *= size[d];
            to_n *= left[d];
        }
        ep_real *from = numbers(from_n, 1), *to = numbers(to_n, 2), *before = numbers(to_n, 2);
        ep_gather(to, from, rank, size, choice);
        for (int64_t i = 0; i < to_n; i++) {
            int64_t at = 0;
            for (int d = 0; d < rank; d++) {
                int64_t j = source[d] ? source[d][place[d]] : place[d];
                at = at < 0 || j < 0 ? -1 : at * size[d] + j;
            }
            CHECK(to[i] == (at < 0 ? before[i] : from[at]));
            for (int d = rank - 1; d >= 0 && ++place[d] == left[d]; d--) {
                place[d] = 0;
            }
        }
        for (int d = 0; d < rank; d++) {
            free(source[d]);
        }
        free(from), free(to), free(before);
    }
}

static void test_runs_are_as_long_as_possible(void) {
    const int32_t source[] = {0, 1, 4, 5, 6, -1, 7, 2, 3, 3};
    const ep_run expected[] = {{0, 0, 2}, {2, 4, 3}, {6, 7, 1}, {7, 2, 2}, {9, 3, 1}};
    ep_run run[EP_COUNT(source)];
    CHECK(ep_runs_of(source, EP_COUNT(source), run) == EP_COUNT(expected));
    for (int i = 0; i < EP_COUNT(expected); i++) {
        CHECK(run[i].to == expected[i].to && run[i].from == expected[i].from);
        CHECK(run[i].n == expected[i].n);
    }
    CHECK(ep_runs_of(source, 0, run) == 0);
}

/* ---- batches --------------------------------------------------------------------------------- */

static void test_every_row_once_an_epoch(void) {
    const int64_t sizes[] = {1, 2, 7, 64, 100}, batches[] = {1, 3, 64, 100, 1000};
    for (int s = 0; s < EP_COUNT(sizes); s++) {
        for (int b = 0; b < EP_COUNT(batches); b++) {
            int64_t rows = sizes[s], batch = batches[b], n = ep_batches(rows, batch);
            int64_t *order = malloc((size_t)ep_min(rows, batch) * sizeof *order);
            for (int64_t epoch = 0; epoch < 3; epoch++) {
                int seen[100] = {0};
                int64_t total = 0;
                for (int64_t i = 0; i < n; i++) {
                    int64_t count = ep_batch_order(rows, batch, epoch * n + i, true, 5, order);
                    CHECK(count == (i < n - 1 ? batch : rows - i * batch));
                    for (int64_t k = 0; k < count; k++) {
                        CHECK(order[k] >= 0 && order[k] < rows && seen[order[k]]++ == 0);
                    }
                    total += count;
                    count = ep_batch_order(rows, batch, epoch * n + i, false, 5, order);
                    CHECK(count == 0 || order[0] == i * batch);
                }
                CHECK(total == rows);
            }
            free(order);
        }
    }
}

enum { ROWS = 5, H = 4, W = 3, C = 2, WIDTH = H * W * C };

/* Return element (row, j) of the test data: a value that every number type can represent. */
static int64_t datum(int64_t row, int64_t j) { return (row * 29 + j * 3) % 120; }

#define FILL(tag, type)                                                             \
    case tag:                                                                       \
        for (int64_t j = 0; j < WIDTH; j++) {                                       \
            ((type *)(void *)((char *)at + row * stride))[j] = (type)datum(row, j); \
        }                                                                           \
        break;

static void *filled(ep_number type, int64_t stride) {
    void *at = malloc((size_t)((ROWS - 1) * stride) + 8 * WIDTH);
    for (int64_t row = 0; row < ROWS; row++) {
        switch (type) {
            FILL(EP_FLOAT32, float)
            FILL(EP_FLOAT64, double)
            FILL(EP_UINT8, uint8_t)
            FILL(EP_INT8, int8_t)
            FILL(EP_UINT16, uint16_t)
            FILL(EP_INT16, int16_t)
            FILL(EP_UINT32, uint32_t)
            FILL(EP_INT32, int32_t)
            FILL(EP_INT64, int64_t)
        case EP_NUMBER_TYPES: break;
        }
    }
    return at;
}

static void test_rows_of_every_type(void) {
    const int64_t order[] = {4, 0, 3, 3}, map[ROWS] = {2, 4, 4, 0, 1}, same[] = {0, 1, 2, 3, 4};
    double shift[WIDTH], scale[WIDTH];
    ep_real near_shift[WIDTH], near_scale[WIDTH];
    int64_t width;
    int32_t *living = some(WIDTH, 3, 6, &width);
    for (int j = 0; j < WIDTH; j++) {
        shift[j] = near_shift[j] = (ep_real)j / 4;
        scale[j] = near_scale[j] = (ep_real)(j + 1) / 2;
    }
    for (int type = 0; type < EP_NUMBER_TYPES; type++) {
        for (int how = 0; how < 8; how++) {
            bool each = how & 1, fewer = how & 2, chosen = how & 4;
            int64_t stride = 8 * WIDTH + (how ? 24 : 0), n = fewer ? width : WIDTH;
            void *at = filled((ep_number)type, stride);
            ep_table table = {.at = at,
                              .map = chosen ? map : NULL,
                              .type = (ep_number)type,
                              .rows = ROWS,
                              .width = WIDTH,
                              .stride = stride};
            int first = each ? 0 : 5; /* scale each feature on its own, or all like the sixth */
            ep_intake intake = {.shift = shift + first,
                                .scale = scale + first,
                                .near_shift = near_shift + first,
                                .near_scale = near_scale + first,
                                .exact = true,
                                .each = each,
                                .width = n};
            intake.living = fewer ? living : NULL;
            const int64_t *row = chosen ? map : same;
            ep_real *to = numbers(3 * n, 1);
            ep_gather_inputs(&table, &intake, order, 1, 4, 0, to);
            for (int64_t i = 0; i < 3; i++) {
                for (int64_t j = 0; j < n; j++) {
                    int64_t f = fewer ? living[j] : j, s = each ? f : 5;
                    ep_real x = ((ep_real)datum(row[order[1 + i]], f) - near_shift[s]) *
                                near_scale[s];
                    CHECK(to[i * n + j] == x);
                }
            }
            int64_t found = 0, classes[2 * WIDTH];
            int64_t most = 0; /* the largest element of the rows that the table maps */
            for (int64_t j = 0; j < ROWS * WIDTH; j++) {
                most = ep_max(most, datum(row[j / WIDTH], j % WIDTH));
            }
            CHECK(ep_table_outside(&table, 0, most, &found) == -1);
            CHECK(ep_table_outside(&table, 0, most - 1, &found) >= 0 && found == most);
            ep_gather_classes(&table, NULL, 3, 5, classes);
            for (int64_t j = 0; j < 2 * WIDTH; j++) {
                CHECK(classes[j] == datum(row[3 + j / WIDTH], j % WIDTH));
            }
            free(to), free(at);
        }
    }
    free(living);
}

/* Every augmented image is the original, shifted by up to one pixel along each axis and possibly
 * mirrored, and all 18 variants occur. */
static void test_moved_images(void) {
    void *at = filled(EP_UINT8, WIDTH);
    ep_table table = {.at = at, .type = EP_UINT8, .rows = ROWS, .width = WIDTH, .stride = WIDTH};
    const double shift = 1, scale = 2;
    const ep_real near_shift = 1, near_scale = 2;
    ep_intake intake = {.shift = &shift,
                        .scale = &scale,
                        .near_shift = &near_shift,
                        .near_scale = &near_scale,
                        .exact = true,
                        .width = WIDTH,
                        .move = 1,
                        .flip = true,
                        .height = H,
                        .breadth = W,
                        .channels = C,
                        .noise = {7, 8}};
    int seen[18] = {0};
    for (int64_t number = 0; number < 60; number++) {
        ep_real to[ROWS * WIDTH], again[2 * WIDTH];
        ep_gather_inputs(&table, &intake, NULL, 0, ROWS, number, to);
        ep_gather_inputs(&table, &intake, NULL, 2, 4, number, again); /* rows 2 and 3 only */
        CHECK(memcmp(to + 2 * WIDTH, again, sizeof again) == 0);
        for (int64_t row = 0; row < ROWS; row++) {
            int matches = 0;
            for (int how = 0; how < 18; how++) {
                int down = how / 2 % 3 - 1, right = how / 6 - 1, mirror = how % 2;
                bool same = true;
                for (int64_t j = 0; j < WIDTH; j++) {
                    int64_t c = j % C, w = j / C % W, h = j / C / W - down;
                    w = (mirror ? W - 1 - w : w) - right;
                    bool inside = h >= 0 && h < H && w >= 0 && w < W;
                    ep_real x = inside ? (ep_real)datum(row, (h * W + w) * C + c) : 0;
                    same = same && to[row * WIDTH + j] == (x - shift) * scale;
                }
                matches += same;
                seen[how] += same;
            }
            CHECK(matches >= 1);
        }
    }
    for (int how = 0; how < 18; how++) {
        CHECK(seen[how] > 0);
    }
    free(at);
}

/* ---- a network that shrinks ------------------------------------------------------------------ */

static int add(ep_net *net, const char *kind, const char *name, int input, double units) {
    const ep_kind *k = ep_catalogue_kind(kind);
    ep_error error = {EP_OK, ""};
    void *config = calloc(1, k->config_size);
    ep_fields_init(k->fields, config);
    const ep_field *field = ep_field_find(k->fields, "units");
    if (field) {
        CHECK(ep_field_set_vector(field, config, &units, 1, name, &error));
    }
    int value = ep_net_add(net, k, name, 1, &input, config, &error);
    CHECK(value >= 0);
    ep_fields_free(k->fields, config);
    free(config);
    return value;
}

static void test_survivors_keep_their_numbers(void) {
    const int64_t width = 6;
    ep_error error = {EP_OK, ""};
    ep_net *net = ep_net_new(3, 1, &width, &error);
    int value = add(net, "populations", "features", 0, 0);
    value = add(net, "dense", "first", value, 21);
    value = add(net, "populations", "hidden", value, 0);
    add(net, "dense", "second", value, 4);
    CHECK(ep_net_build(net, &error) && ep_net_reserve(net, 9, &error));
    net->rows = 9;
    for (uint64_t round = 0; round < 12 && net->axes[net->populations[1].axis].n; round++) {
        ep_slab *slabs[] = {net->numbers, net->gradients, net->first, net->second, net->x, net->dx};
        ep_real *copies[EP_COUNT(slabs)];
        uint64_t state = round;
        for (int s = 0; s < EP_COUNT(slabs); s++) {
            for (int64_t i = 0; i < slabs[s]->n; i++) {
                slabs[s]->at[i] = any_number(&state);
            }
            copies[s] = malloc((size_t)slabs[s]->n * sizeof(ep_real));
            memcpy(copies[s], slabs[s]->at, (size_t)slabs[s]->n * sizeof(ep_real));
        }
        ep_slab *seen = ep_slab_keep(net->numbers); /* a reference, as a view has */
        const int hidden = net->populations[1].axis, first = ep_net_tensor(net, "first.weight");
        ep_axis *axes = malloc((size_t)net->n_axes * sizeof *axes);
        memcpy(axes, net->axes, (size_t)net->n_axes * sizeof *axes);
        ep_tensor old = net->tensors[first];
        const ep_value out = net->values[value];
        int32_t births[32], **keep = calloc((size_t)net->n_axes, sizeof *keep);
        int64_t *kept = calloc((size_t)net->n_axes, sizeof *kept);
        memcpy(births, axes[hidden].birth, (size_t)axes[hidden].n * sizeof *births);
        for (int p = 0; p < net->n_populations; p++) {
            int axis = net->populations[p].axis;
            if (p == 1 || round % 3 == 0) {
                keep[axis] = some(axes[axis].n, round + 9, round < 10 ? 7 : 0, &kept[axis]);
            }
        }
        ep_places *places = calloc((size_t)net->n_axes, sizeof *places);
        int32_t **ids = calloc((size_t)net->n_axes, sizeof *ids);
        for (int i = 0; i < net->n_axes; i++) {
            ids[i] = keep[i] ? calloc((size_t)kept[i] + 1, sizeof **ids) : NULL;
            for (int64_t j = 0; j < kept[i]; j++) {
                ids[i][j] = axes[i].birth[keep[i][j]];
            }
            places[i] = (ep_places){keep[i], ids[i], kept[i], 0};
        }
        CHECK(ep_resize(net, places, 0, &error));
        for (int i = 0; i < net->n_axes; i++) {
            free(ids[i]);
        }
        free(places), free(ids);
        const int in_axis = net->populations[0].axis;
        const ep_tensor *now = &net->tensors[first];
        const int64_t n = net->axes[hidden].n, m = net->axes[in_axis].n;
        CHECK(n == kept[hidden] && now->n == m * n && net->axes[hidden].founded == 21);
        for (int64_t j = 0; j < n; j++) {
            CHECK(net->axes[hidden].birth[j] == births[keep[hidden][j]]);
            for (int64_t i = 0; i < m; i++) {
                int64_t from_i = keep[in_axis] ? keep[in_axis][i] : i;
                int64_t at = old.at + from_i * axes[hidden].n + keep[hidden][j];
                ep_slab *four[] = {net->numbers, net->gradients, net->first, net->second};
                for (int s = 0; s < 4; s++) {
                    CHECK(four[s]->at[now->at + i * n + j] == copies[s][at]);
                }
            }
            for (int64_t row = 0; row < 9; row++) {
                int64_t to = net->values[value].at * net->capacity + row * n + j;
                int64_t at = out.at * net->capacity + row * axes[hidden].n + keep[hidden][j];
                CHECK(net->x->at[to] == copies[4][at] && net->dx->at[to] == copies[5][at]);
            }
        }
        CHECK(memcmp(seen->at, copies[0], (size_t)seen->n * sizeof(ep_real)) == 0);
        ep_slab_drop(seen);
        for (int s = 0; s < EP_COUNT(slabs); s++) {
            free(copies[s]);
        }
        for (int i = 0; i < net->n_axes; i++) {
            free(keep[i]);
        }
        free(axes), free(keep), free(kept);
    }
    CHECK(net->axes[net->populations[1].axis].n == 0);
    ep_net_free(net);
}

int main(void) {
    test_layout();
    test_gather_of_every_rank();
    test_runs_are_as_long_as_possible();
    test_every_row_once_an_epoch();
    test_rows_of_every_type();
    test_moved_images();
    test_survivors_keep_their_numbers();
    return failures != 0;
}

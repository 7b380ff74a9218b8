/* gather: copies rows of the user's arrays into a batch, shuffled, normalized and augmented. The
 * arrays may have any number type and any row stride (memory-mapped files, overlapping windows).
 * Never copies the whole data set; reads only living input features. */
#ifndef EP_GATHER_H
#define EP_GATHER_H

#include "net.h"

typedef enum {
    EP_FLOAT32,
    EP_FLOAT64,
    EP_UINT8,
    EP_INT8,
    EP_UINT16,
    EP_INT16,
    EP_UINT32,
    EP_INT32,
    EP_INT64,
    EP_NUMBER_TYPES
} ep_number;

/* A table with rows of `width` contiguous elements and a row stride of `stride` bytes. If `map` is
 * not NULL, row i of the table is stored row map[i]. */
typedef struct {
    const void *at;
    const int64_t *map;
    ep_number type;
    int64_t rows, width, stride;
} ep_table;

/* The transformation of an input row: augment the image, then x -> (x - shift) * scale. The shift
 * is subtracted in double if rounding x or the shift to ep_real first could lose digits of the
 * difference; 8-bit types use the rounded copies, which are faster. */
typedef struct {
    const double *shift, *scale;         /* one value, or one per founding feature */
    const ep_real *near_shift, *near_scale; /* shift and scale, rounded to ep_real */
    bool each;                           /* shift and scale have one value per feature */
    bool exact;                          /* near_shift equals shift: rounding changed no shift */
    const int32_t *living;             /* founding index of every living feature; NULL: all */
    int64_t width;                     /* number of living features */
    int64_t move;                      /* largest move of an image in pixels; 0: none */
    bool flip;                         /* mirror images left to right with probability 1/2 */
    int64_t height, breadth, channels; /* image shape, used only with `move` or `flip` */
    ep_noise noise;                    /* random stream of augmentation */
} ep_intake;

/* Returns an intake that does not change elements. */
ep_intake ep_intake_plain(int64_t width);

/* Fills `order` (room for `batch`) with the row numbers of batch `number` and returns their count.
 * Batches are counted over all epochs; the last batch of an epoch may be short. */
int64_t ep_batch_order(int64_t rows, int64_t batch, int64_t number, bool shuffle, uint64_t seed,
                       int64_t *order);
int64_t ep_batches(int64_t rows, int64_t batch);

/* Copies rows order[i0] .. order[i1 - 1] of the table, or rows i0 .. i1 - 1 if `order` is NULL, to
 * `to` (i1 - i0, intake->width), and applies the transformation of `intake` to them. The batch
 * number `number` selects the random numbers of augmentation. */
void ep_gather_inputs(const ep_table *table, const ep_intake *intake, const int64_t *order,
                      int64_t i0, int64_t i1, int64_t number, ep_real *to);
/* Copy targets as the losses read them: int64 classes (-1: ignored) or ep_real. */
void ep_gather_classes(const ep_table *table, const int64_t *order, int64_t i0, int64_t i1,
                       int64_t *to);
void ep_gather_reals(const ep_table *table, const int64_t *order, int64_t i0, int64_t i1,
                     ep_real *to);
/* Allowed values of a table after shifting and scaling: low to high, only integers if `whole`. */
typedef struct {
    double low, high;
    bool whole;
} ep_range;
/* The position and value of an element outside the range. */
typedef struct {
    int64_t row, column;
    double value;
} ep_misfit;
/* True if rows i0 .. i1 - 1 of the table lie in the range; else sets *misfit to the first element
 * that does not. Extinct features are not read. `room`: buffer (intake->width). */
bool ep_table_within(const ep_table *table, const ep_intake *intake, int64_t i0, int64_t i1,
                     ep_range range, ep_real *room, ep_misfit *misfit);
/* Returns the stored row (ignoring the map) of the first element outside [low, high] and sets
 * *found to its value; -1 if there is none. */
int64_t ep_table_outside(const ep_table *table, int64_t low, int64_t high, int64_t *found);

/* Writes the founding indices of the living input features to `living`, in order, and returns true.
 * Returns false and writes nothing if all input features are living. */
bool ep_living_inputs(const ep_net *net, int32_t *living);

#endif

/* gather: rows of the user's arrays into a batch: any number type, any row stride (memory-mapped
 * files, overlapping windows), shuffled, normalised, augmented; never a copy of the data set. It
 * reads only living input features and knows nothing of what a network does with them. */
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

/* Rows of `width` numbers, contiguous within a row, `stride` bytes from row to row; row i is the
 * map[i]-th of them where there is a map. */
typedef struct {
    const void *at;
    const int64_t *map;
    ep_number type;
    int64_t rows, width, stride;
} ep_table;

/* What is done to an input row on its way: x -> (x - shift) * scale, after moving an image.
 * The shift is subtracted in double wherever rounding x or the shift to ep_real first could lose
 * digits that the difference needs; types of 8 bits use the rounded copies, which are faster. */
typedef struct {
    const double *shift, *scale;         /* one number, or one per founding feature */
    const ep_real *near_shift, *near_scale; /* the same, rounded */
    bool each;                           /* one per feature */
    bool exact;                          /* rounding changed no shift */
    const int32_t *living;             /* founding index of every living feature; NULL: all */
    int64_t width;                     /* of living features */
    int64_t move;                      /* images move by up to so many pixels; 0: not */
    bool flip;                         /* and are mirrored left to right, half of the time */
    int64_t height, breadth, channels; /* of the image, where it moves or flips */
    ep_noise noise;                    /* of augmentation */
} ep_intake;

/* The intake that leaves elements as they are. */
ep_intake ep_intake_plain(int64_t width);

/* The order of batch `number` (counted from the beginning of the data, epoch after epoch; the last
 * of an epoch may be short): fills order[<= batch] with row numbers and returns how many. */
int64_t ep_batch_order(int64_t rows, int64_t batch, int64_t number, bool shuffle, uint64_t seed,
                       int64_t *order);
int64_t ep_batches(int64_t rows, int64_t batch);

/* to[i] (width numbers) = row order[i] of the table, i in i0 .. i1. `number` keys augmentation. */
void ep_gather_inputs(const ep_table *table, const ep_intake *intake, const int64_t *order,
                      int64_t i0, int64_t i1, int64_t number, ep_real *to);
/* Targets as the losses take them: int64 classes (-1: ignored) or ep_real. */
void ep_gather_classes(const ep_table *table, const int64_t *order, int64_t i0, int64_t i1,
                       int64_t *to);
void ep_gather_reals(const ep_table *table, const int64_t *order, int64_t i0, int64_t i1,
                     ep_real *to);
/* Values that a table may have once shifted and scaled: from low to high, whole numbers or any. */
typedef struct {
    double low, high;
    bool whole;
} ep_range;
/* Where a table leaves its range: row i of the table, the column, and the value that stands there. */
typedef struct {
    int64_t row, column;
    double value;
} ep_misfit;
/* True if rows i0 .. i1 of the table lie in the range; else *misfit is the first value that does
 * not. Extinct features are not read. `room`: intake->width elements. */
bool ep_table_within(const ep_table *table, const ep_intake *intake, int64_t i0, int64_t i1,
                     ep_range range, ep_real *room, ep_misfit *misfit);
/* First element of the table outside [low, high]: its row, as
 * numbered without the map, else -1; `found` is its value. */
int64_t ep_table_outside(const ep_table *table, int64_t low, int64_t high, int64_t *found);

#endif

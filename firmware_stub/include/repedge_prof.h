/* Marks that tell a profiler which layer runs: before layer k starts, k is stored to prof_marks[k].
 * Define REPEDGE_NO_PROF_MARKS to compile them out. */
#ifndef REPEDGE_PROF_H
#define REPEDGE_PROF_H

#include <stdint.h>

/* Marks there are; a model has fewer layers than this. */
#define REPEDGE_PROF_MARKS 64u

/* The mark after the last layer. */
#define REPEDGE_PROF_END 63u

#ifdef REPEDGE_NO_PROF_MARKS
static inline void prof_mark(unsigned k)
{
    (void)k;
}
#else
extern volatile uint32_t prof_marks[REPEDGE_PROF_MARKS];

/* Store k to prof_marks[k]; k < REPEDGE_PROF_MARKS. */
void prof_mark(unsigned k);
#endif

#endif

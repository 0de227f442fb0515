#include "repedge_prof.h"

#ifdef REPEDGE_NO_PROF_MARKS
typedef int repedge_prof_is_compiled_out; /* ISO C forbids an empty file */
#else
volatile uint32_t prof_marks[REPEDGE_PROF_MARKS];

/* never inlined or cloned: a profiler finds the store by this function's address range */
__attribute__((noinline, noclone)) void prof_mark(unsigned k)
{
    prof_marks[k] = k;
}
#endif

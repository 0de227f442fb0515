/* The example on this machine, or on an emulated Cortex-M by semihosting. */
#include "classify.h"

#ifdef EXAMPLE_SEMIHOSTING
#include "semihosting.h"

int main(void)
{
    return classify(semihosting_print);
}
#else
#include <stdio.h>

static void print(const char *text)
{
    fputs(text, stdout);
}

int main(void)
{
    return classify(print);
}
#endif

#include <stdio.h>

#include "classify.h"

static void print(const char *text)
{
    fputs(text, stdout);
}

void app_main(void)
{
    classify(print);
}

#include <stdio.h>

#include "classify.h"

static void print(const char *text)
{
    fputs(text, stdout);
}

int main(void)
{
    return classify(print);
}

#include <zephyr/sys/printk.h>

#include "classify.h"

static void print(const char *text)
{
    printk("%s", text);
}

int main(void)
{
    return classify(print);
}

#include "classify.h"

static void print(const char *text)
{
    Serial.print(text);
}

void setup()
{
    Serial.begin(115200);
    while (!Serial) {
    }
    classify(print);
}

void loop()
{
}

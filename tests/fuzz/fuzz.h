#pragma once
/* The entry point of a fuzz target. libFuzzer calls it (`make fuzz`), and so does replay.c with the files of
 * tests/fuzz/corpus/<target>/ (`make test`). It never fails by its return value, but by abort() or a sanitizer. */

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

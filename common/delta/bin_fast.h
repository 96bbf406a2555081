#pragma once
/* The model of files that are no tensors at "fast" (bin_op.h): everything is told in symbols of four bits, each with
 * one table that learns (symbols.h); equal bytes of a copy with differences are told by their number. About 20 symbols
 * make what would be a hundred mixed decisions. Internal to common/delta. */

#include "common/delta/bin_op.h"

extern const struct bin_coding bin_fast_coding;

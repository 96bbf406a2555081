#pragma once
/* The model of files that are no tensors at "fast" (bin_op.h): everything is told in symbols of four bits, by one table
 * that learns or by two (symbols.h); bytes of a copy with differences are told to be equal by their number. No bit is a
 * decision of its own. Internal to common/delta. */

#include "common/delta/bin_op.h"

extern const struct bin_coding bin_fast_coding;

#pragma once
/* The model of files that are no tensors at "fast" (bin_op.h): everything is told in symbols of four bits, by one table
 * that learns or by two (symbols.h); where bytes of a copy differ is told by likely places, and operands by where their
 * targets went (bin_moves.h). No bit is a decision of its own. Internal to common/delta. */

#include "common/delta/bin_op.h"

extern const struct bin_coding bin_fast_coding;

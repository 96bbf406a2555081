#pragma once
/* The model of files that are no tensors at "best" (bin_op.h): decisions in several contexts, mixed (mix.h). Internal
 * to common/delta. */

#include "common/delta/bin_op.h"

extern const struct bin_coding bin_model_coding;

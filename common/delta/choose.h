#pragma once
/* Finds how a tensor is predicted best, and codes it so. Internal to common/delta. */

#include "common/delta/tensor_encode.h"

[[nodiscard]] enum err choose_and_encode(struct tensor_encoder *encoder, const struct tensor_data *data,
                                         struct buf *out, enum method *ret_method);

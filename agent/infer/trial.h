#pragma once
/* The self-test of a model before it is switched to: it loads, it is what the manifest lists, and it answers. */

#include "agent/infer/load.h"

enum { TRIAL_TEXT_MAX = 160 };

/* Runs the model on the samples of the manifest's `selftest` and compares its first output with the signed ones;
 * without such samples, once on zeros. ret_text: what was seen, for people. Errors are those of loaded_open(), and
 * ERR_CORRUPT: an answer is wrong; ERR_INVALID: samples and outputs do not fit the model; ERR_INTERNAL: the runtime
 * failed. All have text in info. */
[[nodiscard]] enum err trial_run(const struct load_settings *settings, char ret_text[TRIAL_TEXT_MAX],
                                 struct err_info *info);

#pragma once
/* Keeps ONNX Runtime from writing on stderr while it loads: Debian 13's library says there, in two hundred lines, that
 * its libonnx has registered every operator before. That is harmless, and would hide the one line that we may have to
 * say; what matters comes back as a status. */

/* From here on stderr goes nowhere. Not while other threads write to it. */
int quiet_begin(void);

/* stderr is back. token: what quiet_begin() returned. */
void quiet_end(int token);

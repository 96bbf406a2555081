#pragma once
/* Makes an idle agent small. */

/* Gives back what only the start, or an update, has needed: free heap, and program text. Text is mapped again from the
 * page cache when it is run. To be called when nothing is going on; takes about a millisecond. */
void memory_trim(void);

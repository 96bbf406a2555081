#pragma once
/* Text that came from a file or another program and goes into JSON. Pure. */

/* Makes the text printable: control characters become '?', and unless it is UTF-8 so does all that is not ASCII. */
void clean_text(char *text);

#include "server/mqtt/hints.h"

#include "common/base/text.h"

#include <stdlib.h>

void hints_put(struct queue *hints, const char *device, bool urgent)
{
    struct hint *hint = malloc(sizeof *hint);
    if (hint == NULL)
        return;
    *hint = (struct hint){.node.size = sizeof *hint, .urgent = urgent};
    if (text_copy(hint->device, sizeof hint->device, device))
        (void)queue_push(hints, &hint->node);
    else
        free(hint);
}

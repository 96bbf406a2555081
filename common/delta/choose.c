#include "common/delta/choose.h"

enum err choose_and_encode(struct tensor_encoder *encoder, const struct tensor_data *data, struct buf *out,
                           enum method *ret_method)
{
    const size_t bytes = data->view.rows * data->view.cols * tensor_type_size(data->view.type);
    struct plan plan = {.base = data->old == NULL ? BASE_NOTHING : BASE_OLD};
    if (data->old != NULL && memcmp(data->old, data->new, bytes) == 0) {
        *ret_method = METHOD_SAME;
        return plan_write(out, METHOD_SAME, &plan);
    }
    *ret_method = plan_method(&plan);
    enum err e = plan_write(out, *ret_method, &plan);
    return e != ERR_OK ? e : tensor_encode(encoder, data, &plan, NULL, out);
}

/* Until tensors are predicted: pairing.c finds none, so none of this is ever asked for. */
#include "common/delta/tensors.h"

enum err tensors_encode(const struct tensor_files *files, const struct tensor_pair *pairs, size_t count,
                        const struct delta_options *options, const struct tensor_sink *sink, int *ret_methods,
                        int64_t *ret_bytes, struct err_info *info)
{
    (void)files, (void)pairs, (void)count, (void)options, (void)sink, (void)ret_methods, (void)ret_bytes;
    return err_code(info, ERR_UNSUPPORTED, "delta_unsupported", "tensors are not predicted yet");
}

enum err tensors_decode(int old_fd, int new_fd, const struct tensor_pair *pairs, size_t count, enum delta_effort effort,
                        const struct tensor_source *source, size_t memory_max, struct err_info *info)
{
    (void)old_fd, (void)new_fd, (void)pairs, (void)count, (void)effort, (void)source, (void)memory_max;
    return err_code(info, ERR_UNSUPPORTED, "delta_unsupported", "tensors are not predicted yet");
}

const char *tensors_method_name(int method)
{
    (void)method;
    return NULL;
}

size_t tensor_type_size(enum tensor_type type)
{
    static const size_t sizes[] = {4, 2, 2, 8, 1, 1, 2, 4, 8};
    return sizes[type];
}

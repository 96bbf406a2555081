#include "common/delta/format.h"

#include "common/base/cleanup.h"
#include "common/base/file.h"
#include "common/base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

enum {
    VERSION = 1,
    CHECK = 4,
    CHECK_AT = FORMAT_HEAD - CHECK,
    PAIR_BYTES_MAX = 80, /* of one pair in the directory */
    SIZE_BYTES = 6
};

static const char magic[6] = {'m', 'd', 'e', 'l', 't', 'a'};

/* ---- varints ---- */

static size_t varint_put(uint8_t *out, uint64_t value)
{
    size_t n = 0;
    for (; value >= 128; value >>= 7)
        out[n++] = (uint8_t)(value | 128);
    out[n++] = (uint8_t)value;
    return n;
}

/* What is left of a directory or notes; after an error all is 0. */
struct reader {
    const uint8_t *at, *end;
    bool broken;
};

static uint64_t varint_get(struct reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; !r->broken; shift += 7) {
        if (r->at == r->end || shift > 63)
            break;
        uint8_t byte = *r->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return value;
    }
    r->broken = true;
    return 0;
}

static uint64_t zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

/* A number of the file that is a place or a step: far below 2^62, so that sums do not wrap. */
static int64_t step_get(struct reader *r)
{
    uint64_t value = varint_get(r);
    int64_t step = (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
    if (step > (int64_t)1 << 60 || step < -((int64_t)1 << 60)) {
        r->broken = true;
        return 0;
    }
    return step;
}

/* ---- directory ---- */

int64_t format_pair_bytes(const struct tensor_pair *pair)
{
    return (int64_t)(pair->rows * pair->cols * tensor_type_size(pair->type));
}

/* Where the next tensor is expected: behind the last one of each file, as far behind as in the other. */
struct places {
    int64_t new_end, old_end, new_scales, old_scales;
};

enum { HAS_OLD = 16, HAS_SCALES = 32, ONE_SCALE = 64, MORE = 128 };

static void places_next(struct places *at, const struct tensor_pair *pair)
{
    at->new_end = pair->new_offset + format_pair_bytes(pair);
    if (pair->old_offset >= 0)
        at->old_end = pair->old_offset + format_pair_bytes(pair);
    if (pair->scale_count > 0) {
        at->new_scales = pair->new_scales;
        at->old_scales = pair->old_scales;
    }
}

static size_t pair_put(uint8_t *out, const struct tensor_pair *pair, struct places *at)
{
    bool scales = pair->scale_count > 0;
    size_t n = 0;
    int64_t gap = pair->new_offset - at->new_end;
    out[n++] = (uint8_t)((unsigned)pair->type | (pair->old_offset >= 0 ? HAS_OLD : 0u) | (scales ? HAS_SCALES : 0u) |
                         (scales && pair->scale_count == 1 && pair->rows != 1 ? ONE_SCALE : 0u));
    n += varint_put(out + n, pair->rows);
    n += varint_put(out + n, pair->cols);
    n += varint_put(out + n, pair->kernel);
    n += varint_put(out + n, zigzag(gap));
    if (pair->old_offset >= 0)
        n += varint_put(out + n, zigzag(pair->old_offset - at->old_end - gap));
    if (scales) {
        n += varint_put(out + n, zigzag(pair->new_scales - at->new_scales));
        n += varint_put(out + n, zigzag(pair->old_scales - at->old_scales));
    }
    places_next(at, pair);
    return n;
}

enum err format_directory_make(const struct tensor_pair *pairs, size_t count, struct buf *out, uint32_t *ret_size)
{
    cleanup_free uint8_t *plain = malloc(count * PAIR_BYTES_MAX + 16);
    struct places at = {0};
    size_t n = 0;
    if (plain == NULL)
        return ERR_NO_MEMORY;
    if (count == 0) {
        *ret_size = 0;
        return ERR_OK;
    }
    n = varint_put(plain, count);
    for (size_t i = 0; i < count; i++)
        n += pair_put(plain + n, &pairs[i], &at);
    if (n > FORMAT_DIRECTORY_MAX)
        return ERR_TOO_LARGE;
    size_t bound = ZSTD_compressBound(n);
    cleanup_free uint8_t *coded = malloc(bound);
    if (coded == NULL)
        return ERR_NO_MEMORY;
    size_t size = ZSTD_compress(coded, bound, plain, n, 19);
    if (ZSTD_isError(size))
        return ERR_NO_MEMORY;
    *ret_size = (uint32_t)n;
    return size < n ? buf_add(out, coded, size) : buf_add(out, plain, n);
}

/* Inside a file of that size, and no overflow on the way there. */
static bool fits(int64_t offset, uint64_t size, int64_t file_size)
{
    return offset >= 0 && offset <= file_size && size <= (uint64_t)(file_size - offset);
}

static bool pair_ok(const struct tensor_pair *p, const struct format_head *head)
{
    uint64_t elements = 0;
    uint64_t bytes = 0;
    if (p->rows == 0 || p->cols == 0 || p->kernel == 0 || p->cols % p->kernel != 0 ||
        __builtin_mul_overflow(p->rows, p->cols, &elements) ||
        __builtin_mul_overflow(elements, tensor_type_size(p->type), &bytes))
        return false;
    if (!fits(p->new_offset, bytes, head->new_size) ||
        (p->old_offset != -1 && !fits(p->old_offset, bytes, head->old_size)))
        return false;
    bool int8 = p->type == TENSOR_I8 || p->type == TENSOR_U8;
    return p->scale_count == 0 ||
           (int8 && p->old_offset >= 0 && fits(p->new_scales, p->scale_count * 4, head->new_size) &&
            fits(p->old_scales, p->scale_count * 4, head->old_size));
}

static void pair_get(struct reader *r, struct tensor_pair *pair, struct places *at)
{
    unsigned flags = r->at < r->end ? *r->at++ : MORE;
    if ((flags & MORE) != 0 || (flags & 15) > TENSOR_I64) {
        r->broken = true;
        return;
    }
    *pair = (struct tensor_pair){
        .type = (enum tensor_type)(flags & 15), .old_offset = -1, .old_scales = -1, .new_scales = -1};
    pair->rows = varint_get(r);
    pair->cols = varint_get(r);
    uint64_t kernel = varint_get(r);
    pair->kernel = kernel > UINT32_MAX ? 0 : (uint32_t)kernel;
    int64_t gap = step_get(r);
    pair->new_offset = at->new_end + gap;
    if ((flags & HAS_OLD) != 0)
        pair->old_offset = at->old_end + gap + step_get(r);
    if ((flags & HAS_SCALES) != 0) {
        pair->new_scales = at->new_scales + step_get(r);
        pair->old_scales = at->old_scales + step_get(r);
        pair->scale_count = (flags & ONE_SCALE) != 0 ? 1 : pair->rows;
    }
}

static enum err directory_parse(struct format_file *f, const uint8_t *plain, size_t len)
{
    struct reader r = {.at = plain, .end = plain + len};
    struct places at = {0};
    uint64_t count = varint_get(&r);
    if (r.broken || count == 0 || count > FORMAT_PAIRS_MAX || count > len)
        return ERR_CORRUPT;
    f->pairs = calloc(count, sizeof *f->pairs);
    if (f->pairs == NULL)
        return ERR_NO_MEMORY;
    for (; f->pair_count < count; f->pair_count++) {
        struct tensor_pair *pair = &f->pairs[f->pair_count];
        pair_get(&r, pair, &at);
        if (r.broken || !pair_ok(pair, &f->head))
            return ERR_CORRUPT;
        places_next(&at, pair);
    }
    return r.at == r.end ? ERR_OK : ERR_CORRUPT;
}

/* ---- what is no tensor ---- */

static int span_order(const void *a, const void *b)
{
    const struct span *x = a;
    const struct span *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Sorted and put together; false when two overlap. */
static bool spans_sort(struct span *spans, size_t *count)
{
    bool apart = true;
    size_t kept = 0;
    qsort(spans, *count, sizeof *spans, span_order);
    for (size_t i = 0; i < *count; i++) {
        struct span *last = kept == 0 ? NULL : &spans[kept - 1];
        if (last == NULL || spans[i].offset >= last->offset + last->size) {
            spans[kept++] = spans[i];
            continue;
        }
        apart = false;
        int64_t end = spans[i].offset + spans[i].size;
        if (end > last->offset + last->size)
            last->size = end - last->offset;
    }
    *count = kept;
    return apart;
}

enum err format_rest(const struct tensor_pair *pairs, size_t count, int64_t old_size, int64_t new_size,
                     struct span_list *ret_old, struct span_list *ret_new)
{
    cleanup_free struct span *spans = calloc(count + 1, sizeof *spans);
    size_t n = 0;
    if (spans == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        if (pairs[i].old_offset >= 0)
            spans[n++] = (struct span){.offset = pairs[i].old_offset, .size = format_pair_bytes(&pairs[i])};
    (void)spans_sort(spans, &n);
    struct span_list old = {0};
    enum err e = span_list_rest(spans, n, old_size, &old);
    n = count;
    for (size_t i = 0; i < count; i++)
        spans[i] = (struct span){.offset = pairs[i].new_offset, .size = format_pair_bytes(&pairs[i])};
    if (e == ERR_OK && !spans_sort(spans, &n))
        e = ERR_CORRUPT;
    if (e == ERR_OK)
        e = span_list_rest(spans, n, new_size, ret_new);
    if (e != ERR_OK)
        span_list_free(&old);
    else
        *ret_old = old;
    return e;
}

/* ---- notes ---- */

enum err format_notes_make(const struct tensor_pair *pairs, size_t count, const int *methods, const int64_t *bytes,
                           struct buf *out)
{
    uint64_t sums[FORMAT_METHODS_MAX][3] = {0};
    enum err e = ERR_OK;
    for (size_t i = 0; i < count; i++) {
        size_t m = methods[i] >= 0 && (size_t)methods[i] < FORMAT_METHODS_MAX ? (size_t)methods[i] : 0;
        sums[m][0]++;
        sums[m][1] += (uint64_t)format_pair_bytes(&pairs[i]);
        sums[m][2] += (uint64_t)bytes[i];
    }
    for (size_t m = 0; e == ERR_OK && m < FORMAT_METHODS_MAX; m++) {
        uint8_t line[40];
        size_t n = varint_put(line, m);
        for (size_t k = 0; k < 3; k++)
            n += varint_put(line + n, sums[m][k]);
        if (sums[m][0] > 0)
            e = buf_add(out, line, n);
    }
    return e;
}

static void notes_read(const struct format_file *f, struct delta_info *info)
{
    struct reader r = {.at = (const uint8_t *)f->notes, .end = (const uint8_t *)f->notes + f->head.notes_size};
    while (r.at < r.end && info->method_count < FORMAT_METHODS_MAX) {
        uint64_t method = varint_get(&r);
        int64_t tensors = (int64_t)(varint_get(&r) & INT64_MAX);
        int64_t bytes = (int64_t)(varint_get(&r) & INT64_MAX);
        int64_t encoded = (int64_t)(varint_get(&r) & INT64_MAX);
        const char *name = method < FORMAT_METHODS_MAX ? tensors_method_name((int)method) : NULL;
        if (r.broken)
            return;
        size_t i = info->method_count++;
        info->methods[i].name = name == NULL ? "unknown" : name;
        info->methods[i].tensors = tensors;
        info->methods[i].bytes = bytes;
        info->methods[i].encoded_bytes = encoded;
    }
}

void format_info(const struct format_file *f, int64_t size, struct delta_info *ret_info)
{
    static const char *const names[FORMAT_CONTAINERS] = {"binary", "onnx", "safetensors"};
    const struct format_head *h = &f->head;
    *ret_info = (struct delta_info){.effort = h->effort,
                                    .format = names[h->container],
                                    .old_size = h->old_size,
                                    .new_size = h->new_size,
                                    .delta_size = size,
                                    .tensors = (int64_t)f->pair_count,
                                    .apply_memory = (int64_t)h->memory * 1024};
    text_hex(h->old_sha256, SHA256_SIZE, ret_info->old_sha256);
    text_hex(h->new_sha256, SHA256_SIZE, ret_info->new_sha256);
    notes_read(f, ret_info);
}

/* ---- head ---- */

static uint8_t *number_put(uint8_t *out, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * i));
    return out + bytes;
}

static uint64_t number_get(const uint8_t **in, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)(*in)[i] << (8 * i);
    *in += bytes;
    return value;
}

static enum err check_make(const uint8_t *head, const struct format_head *h, const void *directory, const void *notes,
                           uint8_t *ret_check)
{
    cleanup_sha256 struct sha256 *hash = NULL;
    char hex[SHA256_HEX];
    enum err e = sha256_new(&hash);
    if (e == ERR_OK)
        e = sha256_add(hash, head, CHECK_AT);
    if (e == ERR_OK && h->directory_coded > 0)
        e = sha256_add(hash, directory, h->directory_coded);
    if (e == ERR_OK && h->notes_size > 0)
        e = sha256_add(hash, notes, h->notes_size);
    if (e == ERR_OK)
        e = sha256_end(hash, hex);
    if (e == ERR_OK)
        hex[(size_t)2 * CHECK] = '\0';
    return e == ERR_OK ? text_unhex(hex, CHECK, ret_check) : e;
}

enum err format_head_make(const struct format_head *h, const void *directory, const void *notes, uint8_t *out)
{
    uint8_t *at = out;
    memset(out, 0, FORMAT_HEAD);
    memcpy(at, magic, sizeof magic);
    at = number_put(at + sizeof magic, VERSION, 1);
    at = number_put(at, (unsigned)h->effort | (unsigned)h->container << 4, 1);
    memcpy(at, h->old_sha256, SHA256_SIZE);
    memcpy(at + SHA256_SIZE, h->new_sha256, SHA256_SIZE);
    at += (size_t)2 * SHA256_SIZE;
    at = number_put(at, (uint64_t)h->old_size, SIZE_BYTES);
    at = number_put(at, (uint64_t)h->new_size, SIZE_BYTES);
    at = number_put(at, (uint64_t)h->rest_coded, SIZE_BYTES);
    at = number_put(at, (uint64_t)h->tensors_coded, SIZE_BYTES);
    at = number_put(at, h->directory_coded, 4);
    at = number_put(at, h->directory_size, 4);
    at = number_put(at, h->notes_size, 4);
    (void)number_put(at, h->memory, 4);
    return check_make(out, h, directory, notes, out + CHECK_AT);
}

static void head_parse(const uint8_t *in, struct format_head *h)
{
    const uint8_t *at = in + 8;
    h->effort = (in[7] & 15) == DELTA_BEST ? DELTA_BEST : DELTA_FAST;
    h->container = (enum format_container)(in[7] >> 4);
    memcpy(h->old_sha256, at, SHA256_SIZE);
    memcpy(h->new_sha256, at + SHA256_SIZE, SHA256_SIZE);
    at += (size_t)2 * SHA256_SIZE;
    h->old_size = (int64_t)number_get(&at, SIZE_BYTES);
    h->new_size = (int64_t)number_get(&at, SIZE_BYTES);
    h->rest_coded = (int64_t)number_get(&at, SIZE_BYTES);
    h->tensors_coded = (int64_t)number_get(&at, SIZE_BYTES);
    h->directory_coded = (uint32_t)number_get(&at, 4);
    h->directory_size = (uint32_t)number_get(&at, 4);
    h->notes_size = (uint32_t)number_get(&at, 4);
    h->memory = (uint32_t)number_get(&at, 4);
}

/* ---- opening ---- */

static enum err invalid(struct err_info *info, const char *why)
{
    enum err e = err_code(info, ERR_CORRUPT, "delta_invalid", "this is no sound delta: %s", why);
    err_next(info, "Fetch or make the delta again, or use the full file.");
    return e;
}

static enum err head_check(const uint8_t *raw, const struct format_head *h, int64_t size, struct err_info *info)
{
    if (memcmp(raw, magic, sizeof magic) != 0)
        return invalid(info, "it does not begin like one");
    if (raw[6] != VERSION || (raw[7] & 15) > DELTA_BEST || h->container >= FORMAT_CONTAINERS) {
        enum err e = err_code(info, ERR_UNSUPPORTED, "delta_unsupported", "this delta has format %d.%d, known is %d",
                              raw[6], raw[7], VERSION);
        err_next(info, "Update Muster here, or use the full file.");
        return e;
    }
    if (h->directory_size > FORMAT_DIRECTORY_MAX || h->directory_coded > h->directory_size ||
        h->notes_size > FORMAT_NOTES_MAX)
        return invalid(info, "its directory is too large");
    if (size != FORMAT_HEAD + (int64_t)h->directory_coded + h->rest_coded + h->tensors_coded + h->notes_size)
        return invalid(info, "its size is not what it says; it may be cut off");
    return ERR_OK;
}

static enum err memory_check(const struct format_head *h, struct err_info *info)
{
    if (h->memory <= DELTA_APPLY_MEMORY_MAX / 1024)
        return ERR_OK;
    enum err e = err_code(info, ERR_UNSUPPORTED, "delta_unsupported",
                          "the delta needs %u KiB of memory, allowed are %d", h->memory, DELTA_APPLY_MEMORY_MAX / 1024);
    err_next(info, "Use the full file.");
    return e;
}

static enum err directory_open(struct format_file *f, const uint8_t *coded)
{
    const struct format_head *h = &f->head;
    if (h->directory_size == 0)
        return h->tensors_coded == 0 ? ERR_OK : ERR_CORRUPT;
    if (h->directory_coded == h->directory_size)
        return directory_parse(f, coded, h->directory_size);
    cleanup_free uint8_t *plain = malloc(h->directory_size);
    if (plain == NULL)
        return ERR_NO_MEMORY;
    if (ZSTD_decompress(plain, h->directory_size, coded, h->directory_coded) != h->directory_size)
        return ERR_CORRUPT;
    return directory_parse(f, plain, h->directory_size);
}

static enum err parts_open(struct format_file *f, const uint8_t *raw, struct err_info *info)
{
    const struct format_head *h = &f->head;
    uint8_t check[CHECK];
    cleanup_free uint8_t *directory = malloc((size_t)h->directory_coded + 1);
    f->notes = calloc(1, (size_t)h->notes_size + 1);
    if (directory == NULL || f->notes == NULL)
        return ERR_NO_MEMORY;
    f->rest_at = FORMAT_HEAD + (int64_t)h->directory_coded;
    f->tensors_at = f->rest_at + h->rest_coded;
    enum err e = file_pread(f->fd, directory, h->directory_coded, FORMAT_HEAD);
    if (e == ERR_OK)
        e = file_pread(f->fd, f->notes, h->notes_size, f->tensors_at + h->tensors_coded);
    if (e == ERR_OK)
        e = check_make(raw, h, directory, f->notes, check);
    if (e == ERR_OK && memcmp(check, raw + CHECK_AT, CHECK) != 0)
        return invalid(info, "its head is damaged");
    if (e == ERR_OK)
        e = memory_check(h, info);
    if (e == ERR_OK)
        e = directory_open(f, directory);
    if (e == ERR_OK)
        e = format_rest(f->pairs, f->pair_count, h->old_size, h->new_size, &f->old_rest, &f->new_rest);
    if (e == ERR_OK && (f->new_rest.size == 0) != (h->rest_coded == 0) && f->new_rest.size == 0)
        e = ERR_CORRUPT;
    return e == ERR_CORRUPT ? invalid(info, "its directory is damaged") : e;
}

enum err format_open(int fd, struct format_file *ret_file, struct err_info *info)
{
    uint8_t raw[FORMAT_HEAD];
    struct format_file f = {.fd = fd};
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_set(info, ERR_IO, "cannot read the delta: %s", strerror(errno));
    if (st.st_size < FORMAT_HEAD)
        return invalid(info, "it is too short");
    enum err e = file_pread(fd, raw, sizeof raw, 0);
    if (e != ERR_OK)
        return err_set(info, e, "cannot read the delta");
    head_parse(raw, &f.head);
    e = head_check(raw, &f.head, st.st_size, info);
    if (e == ERR_OK)
        e = parts_open(&f, raw, info);
    if (e == ERR_OK)
        *ret_file = f;
    else
        format_close(&f);
    return e;
}

void format_close(struct format_file *f)
{
    free(f->pairs);
    free(f->notes);
    span_list_free(&f->old_rest);
    span_list_free(&f->new_rest);
    *f = (struct format_file){.fd = -1};
}

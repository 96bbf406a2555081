#include "server/http/password.h"

#include "common/base/crypt.h"
#include "common/base/text.h"

#include <argon2.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PASSES = 1, MEMORY_KIB = 46 * 1024, LANES = 1, SALT_BYTES = 16, HASH_BYTES = 32, AT_ONCE = 2, WAIT_S = 5 };

struct passwords {
    sem_t turns;
    char nobody[PASSWORD_HASH_SIZE]; /* hash of a password that nobody has */
};

/* Without taking turns. */
static enum err hash_make(const char *password, char ret_hash[PASSWORD_HASH_SIZE])
{
    uint8_t salt[SALT_BYTES];
    enum err e = random_bytes(salt, sizeof salt);
    if (e != ERR_OK)
        return e;
    int code = argon2id_hash_encoded(PASSES, MEMORY_KIB, LANES, password, strlen(password), salt, sizeof salt,
                                     HASH_BYTES, ret_hash, PASSWORD_HASH_SIZE);
    return code == ARGON2_OK ? ERR_OK : code == ARGON2_MEMORY_ALLOCATION_ERROR ? ERR_NO_MEMORY : ERR_INTERNAL;
}

enum err passwords_new(struct passwords **ret_passwords)
{
    char unknown[PASSWORD_ONE_TIME_SIZE];
    struct passwords *p = calloc(1, sizeof *p);
    if (p == NULL)
        return ERR_NO_MEMORY;
    enum err e = password_one_time(unknown);
    if (e == ERR_OK)
        e = hash_make(unknown, p->nobody);
    if (e != ERR_OK) {
        free(p);
        return e;
    }
    (void)sem_init(&p->turns, 0, AT_ONCE);
    *ret_passwords = p;
    return ERR_OK;
}

void passwords_free(struct passwords *p)
{
    if (p == NULL)
        return;
    (void)sem_destroy(&p->turns);
    free(p);
}

static enum err turn_take(struct passwords *p, struct err_info *info)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WAIT_S;
    if (sem_clockwait(&p->turns, CLOCK_MONOTONIC, &until) == 0)
        return ERR_OK;
    return err_code(info, ERR_UNAVAILABLE, "busy", "too many people log in at once");
}

enum err passwords_hash(struct passwords *p, const char *password, char ret_hash[PASSWORD_HASH_SIZE],
                        struct err_info *info)
{
    enum err e = turn_take(p, info);
    if (e != ERR_OK)
        return e;
    e = hash_make(password, ret_hash);
    (void)sem_post(&p->turns);
    return e;
}

enum err passwords_verify(struct passwords *p, const char *hash, const char *password, bool *ret_right,
                          struct err_info *info)
{
    enum err e = turn_take(p, info);
    if (e != ERR_OK)
        return e;
    int code = argon2id_verify(hash == NULL ? p->nobody : hash, password, strlen(password));
    (void)sem_post(&p->turns);
    if (code == ARGON2_MEMORY_ALLOCATION_ERROR)
        return ERR_NO_MEMORY;
    *ret_right = hash != NULL && code == ARGON2_OK;
    return ERR_OK;
}

enum err password_one_time(char ret_password[PASSWORD_ONE_TIME_SIZE])
{
    uint8_t random[13];
    char text[(sizeof random * 8 + 4) / 5 + 1];
    enum err e = random_bytes(random, sizeof random);
    if (e != ERR_OK)
        return e;
    text_base32(random, sizeof random, text);
    (void)snprintf(ret_password, PASSWORD_ONE_TIME_SIZE, "%.5s-%.5s-%.5s-%.5s", text, text + 5, text + 10, text + 15);
    return ERR_OK;
}

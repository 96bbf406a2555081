#pragma once
/* The one closed set of errors, and text for people beside it. */

enum err {
    ERR_OK = 0,
    ERR_INVALID,         /* the caller's input is wrong; err_info says where and what to do */
    ERR_UNAUTHENTICATED, /* no or wrong credentials */
    ERR_FORBIDDEN,       /* known, but not allowed */
    ERR_NOT_FOUND,
    ERR_METHOD,      /* the thing exists, the verb does not */
    ERR_CONFLICT,    /* the state has changed, or the name is taken */
    ERR_TOO_LARGE,   /* over a limit */
    ERR_UNSUPPORTED, /* content type, format or version not known */
    ERR_UNTRUSTED,   /* a signature is missing, wrong or not of a trusted key */
    ERR_CORRUPT,     /* bytes do not match their digest or their format */
    ERR_RATE,        /* too many attempts */
    ERR_TIMEOUT,
    ERR_UNAVAILABLE, /* database, broker or peer is away: try again */
    ERR_NO_SPACE,
    ERR_NO_MEMORY,
    ERR_IO,
    ERR_INTERNAL,
    ERR_COUNT_
};

enum { ERR_TEXT_MAX = 400, ERR_CODE_MAX = 48, ERR_FIELD_MAX = 96 };

/* Filled by whoever finds the error; optional everywhere (NULL is fine). */
struct err_info {
    char code[ERR_CODE_MAX];   /* for programs, snake_case; empty: the error's own name */
    char text[ERR_TEXT_MAX];   /* for people: what is wrong */
    char next[ERR_TEXT_MAX];   /* for people: what to do; may be empty */
    char field[ERR_FIELD_MAX]; /* which input field; may be empty */
    int offset;                /* byte offset inside that field, -1 when unknown */
    int retry_after_s;         /* when to try again; 0 when unknown */
};

/* Writes text (and, by the other two, code or field) into info, and returns e, so that it can end a function. info may
 * be NULL. */
[[nodiscard, gnu::format(printf, 3, 4)]] enum err err_set(struct err_info *info, enum err e, const char *fmt, ...);
[[nodiscard, gnu::format(printf, 4, 5)]] enum err err_code(struct err_info *info, enum err e, const char *code,
                                                           const char *fmt, ...);
[[nodiscard, gnu::format(printf, 4, 5)]] enum err err_field(struct err_info *info, enum err e, const char *field,
                                                            const char *fmt, ...);

/* Adds what to do. */
[[gnu::format(printf, 2, 3)]] void err_next(struct err_info *info, const char *fmt, ...);

/* Snake-case name of an error, static; never NULL. */
const char *err_name(enum err e);

/* The same for people, as the end of a sentence about a file. */
const char *err_words(enum err e);

/* The error that stands for errno, for example ENOSPC -> ERR_NO_SPACE. */
enum err err_from_errno(int number);

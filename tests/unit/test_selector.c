/* The query language: what it accepts, and where it says that something is wrong. */
#include "server/core/selector.h"

#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fields(void **state)
{
    (void)state;
    cleanup_selector struct selector *s = NULL;
    const char *text =
        "id:abc name:edge-* site:berlin hardware:\"Intel NUC\" tag:lab status:off* liveness:lost model:digits@2.*";
    assert_int_equal(selector_parse(text, &s, NULL), ERR_OK);
    assert_int_equal(s->count, 8);
    static const char *const like[] = {"abc", "edge-%", "berlin", "Intel NUC", "lab", "off%", "lost", "digits"};
    for (size_t i = 0; i < s->count; i++) {
        assert_int_equal(s->terms[i].field, i);
        assert_false(s->terms[i].negated);
        assert_string_equal(s->terms[i].like, like[i]);
    }
    assert_string_equal(s->terms[SELECTOR_MODEL].like_version, "2.%");
    assert_null(s->terms[SELECTOR_NAME].like_version);
}

static void negation_and_spaces(void **state)
{
    (void)state;
    cleanup_selector struct selector *s = NULL;
    assert_int_equal(selector_parse("  site:a \t -tag:b  ", &s, NULL), ERR_OK);
    assert_int_equal(s->count, 2);
    assert_false(s->terms[0].negated);
    assert_true(s->terms[1].negated);
    assert_string_equal(s->terms[1].like, "b");
}

static void like_is_escaped(void **state)
{
    (void)state;
    cleanup_selector struct selector *s = NULL;
    assert_int_equal(selector_parse("name:a_b%c\\d*", &s, NULL), ERR_OK);
    assert_string_equal(s->terms[0].like, "a\\_b\\%c\\\\d%");
}

static void errors_say_where(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int offset;
        const char *says;
    } table[] = {
        {"", 0, "empty"},
        {"   ", 0, "empty"},
        {"edge-1", 0, "field:value"},
        {"site:a edge-1", 7, "field:value"},
        {"-", 1, "field:value"},
        {":a", 0, "field:value"},
        {"colour:red", 0, "no field “colour”"},
        {"-colour:red", 1, "no field “colour”"},
        {"site:", 5, "missing"},
        {"site: name:a", 5, "missing"},
        {"site:\"\"", 5, "missing"},
        {"site:\"a", 5, "never closed"},
        {"site:\"a\"b", 8, "space"},
        {"site:a\"b\"", 6, "space"},
        {"status:blue", 7, "not one of the values"},
        {"liveness:x* site:a", 9, "not one of the values"},
        {"model:digits", 6, "SLOT@VERSION"},
        {"model:@1", 6, "SLOT@VERSION"},
        {"model:digits@", 6, "SLOT@VERSION"},
        {"model:digits@<1.4", 13, "character"},
        {"site:a (hw:b)", 7, "no field “(hw”"},
        {"name:a\xff", 0, "UTF-8"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct selector *s = NULL;
        struct err_info info = {0};
        assert_int_equal(selector_parse(table[i].text, &s, &info), ERR_INVALID);
        assert_null(s);
        assert_string_equal(info.field, "q");
        if (info.offset != table[i].offset || strstr(info.text, table[i].says) == NULL)
            fail_msg("“%s”: offset %d, “%s”", table[i].text, info.offset, info.text);
    }
}

static void limits(void **state)
{
    (void)state;
    struct selector *s = NULL;
    struct err_info info = {0};
    char many[13 * 7 + 1] = "";
    for (int i = 0; i < 13; i++)
        strcat(many, "site:a ");
    assert_int_equal(selector_parse(many, &s, &info), ERR_INVALID);
    assert_int_equal(info.offset, 12 * 7);
    many[12 * 7] = '\0';
    assert_int_equal(selector_parse(many, &s, &info), ERR_OK);
    selector_free(s);

    char text[SELECTOR_TEXT_MAX + 2];
    memset(text, 'a', sizeof text);
    memcpy(text, "name:", 5);
    text[SELECTOR_TEXT_MAX] = '\0';
    assert_int_equal(selector_parse(text, &s, &info), ERR_OK);
    selector_free(s);
    text[SELECTOR_TEXT_MAX] = 'a';
    text[SELECTOR_TEXT_MAX + 1] = '\0';
    assert_int_equal(selector_parse(text, &s, &info), ERR_INVALID);
}

/* Whatever the bytes are: an error with an offset inside the text, or a selector whose patterns are whole. */
static void random_text(void **state)
{
    (void)state;
    static const char alphabet[] = "abmodelsitetagname:::@@\"\"*** --%_\\<(.0\xc3\xa9";
    uint64_t seed = 88172645463325252U;
    int good = 0;
    for (int round = 0; round < 200000; round++) {
        char text[40];
        size_t len = 0;
        for (seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17; len < seed % (sizeof text - 6); len++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            text[len] = alphabet[(seed >> 20) % (sizeof alphabet - 1)];
            if (len == 0 && (seed >> 40) % 2 == 0) {
                memcpy(text, "site:", 5);
                len = 4;
            }
        }
        text[len] = '\0';
        struct selector *s = NULL;
        struct err_info info = {0};
        if (selector_parse(text, &s, &info) == ERR_OK) {
            good++;
            assert_in_range(s->count, 1, SELECTOR_TERMS_MAX);
            for (size_t i = 0; i < s->count; i++)
                assert_true(strlen(s->terms[i].like) > 0);
        } else {
            assert_in_range(info.offset, 0, len);
            assert_true(strlen(info.text) > 0);
        }
        selector_free(s);
    }
    assert_true(good > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields),          cmocka_unit_test(negation_and_spaces),
        cmocka_unit_test(like_is_escaped), cmocka_unit_test(errors_say_where),
        cmocka_unit_test(limits),          cmocka_unit_test(random_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

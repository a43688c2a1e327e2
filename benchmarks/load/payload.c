#define _GNU_SOURCE
#include "payload.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS 8
#define ID_AT 7 /* in {"id":"00000000","values":[ */
#define CHECK_EVERY 8 /* of the computed results; their ids are all checked */
#define LONGEST 4096

void payloads_make(struct payloads *payloads) {
    uint32_t random = 12345;
    for (int v = 0; v < VARIANTS; v++) {
        char *at = payloads->text[v];
        double sum = 0, squares = 0, least = INFINITY, most = -INFINITY;
        at += sprintf(at, "{\"id\":\"%0*d\",\"values\":[", DIGITS, 0);
        for (int i = 0; i < VALUES; i++) {
            random = random * 1664525u + 1013904223u;
            char *number = at + (i > 0);
            at += sprintf(at, "%s%.3f", i ? "," : "", 20 + (random >> 8) % 10000 / 1000.0);
            double value = payloads->value[v][i] = strtod(number, NULL);
            sum += value;
            least = fmin(least, value);
            most = fmax(most, value);
        }
        at += sprintf(at, "]}");
        payloads->length = at - payloads->text[v];
        payloads->mean[v] = sum / VALUES;
        for (int i = 0; i < VALUES; i++)
            squares += pow(payloads->value[v][i] - payloads->mean[v], 2);
        payloads->std[v] = sqrt(squares / VALUES);
        payloads->min[v] = least;
        payloads->max[v] = most;
    }
}

void payload_write(const struct payloads *payloads, uint32_t id, uint8_t *at) {
    memcpy(at, payloads->text[id % VARIANTS], payloads->length);
    for (int i = DIGITS - 1; i >= 0; i--, id /= 10) at[ID_AT + i] = '0' + id % 10;
}

static int64_t read_id(const uint8_t *digits) {
    int64_t id = 0;
    for (int i = 0; i < DIGITS; i++) {
        if (!isdigit(digits[i])) return -1;
        id = id * 10 + digits[i] - '0';
    }
    return id;
}

/* What stands behind "key": in a result; NULL without it. */
static const char *value_of(const char *text, const char *key) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    const char *at = strstr(text, quoted);
    if (!at) return NULL;
    at += strlen(quoted);
    while (*at == ':' || *at == ' ') at++;
    return at;
}

static int is(const char *text, const char *key, double wanted) {
    const char *at = value_of(text, key);
    return at && fabs(strtod(at, NULL) - wanted) < 1e-6;
}

static int converted_right(const struct payloads *payloads, int v, const char *text) {
    char *at = (char *)value_of(text, "converted");
    if (!at || *at != '[') return 0;
    for (int i = 0; i < VALUES; i++) {
        while (*at == '[' || *at == ',' || *at == ' ') at++;
        char *end;
        double value = strtod(at, &end);
        if (end == at || fabs(value - (payloads->value[v][i] * 1.8 + 32)) > 1e-6) return 0;
        at = end;
    }
    return *at == ']';
}

static int64_t check_computed(const struct payloads *payloads, const uint8_t *payload,
                              size_t length) {
    char text[LONGEST];
    if (length >= sizeof text) return -1;
    memcpy(text, payload, length);
    text[length] = 0;
    const char *at = value_of(text, "id");
    if (!at || *at != '"' || strlen(at) < 1 + DIGITS) return -1;
    int64_t id = read_id((const uint8_t *)at + 1);
    if (id < 0 || id % CHECK_EVERY) return id;
    int v = id % VARIANTS;
    int right = is(text, "mean", payloads->mean[v]) && is(text, "std", payloads->std[v]) &&
                is(text, "min", payloads->min[v]) && is(text, "max", payloads->max[v]);
    return right && converted_right(payloads, v, text) ? id : -1;
}

int64_t payload_check(const struct payloads *payloads, enum work work, const uint8_t *at,
                      size_t length) {
    if (work == COMPUTE) return check_computed(payloads, at, length);
    if (length != payloads->length) return -1;
    int64_t id = read_id(at + ID_AT);
    if (id < 0) return -1;
    const char *wanted = payloads->text[id % VARIANTS];
    size_t behind = ID_AT + DIGITS;
    if (memcmp(at, wanted, ID_AT) || memcmp(at + behind, wanted + behind, length - behind))
        return -1;
    return id;
}

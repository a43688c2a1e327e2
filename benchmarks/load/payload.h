/* The messages: each has a number of its own, so that a lost or a changed one is found. */
#ifndef PAYLOAD_H
#define PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

enum work { IDENTITY, COMPUTE };

#define VALUES 20
#define VARIANTS 256
#define LAST_ID 99999999u

struct payloads {
    char text[VARIANTS][256];
    size_t length; /* of each of them */
    double value[VARIANTS][VALUES];
    double mean[VARIANTS], std[VARIANTS], min[VARIANTS], max[VARIANTS];
};

void payloads_make(struct payloads *payloads);
/* Write message `id`, `payloads->length` bytes. */
void payload_write(const struct payloads *payloads, uint32_t id, uint8_t *at);
/* The id of a result, or -1 when it isn't what `work` makes of that message. */
int64_t payload_check(const struct payloads *payloads, enum work work, const uint8_t *at,
                      size_t length);

#endif

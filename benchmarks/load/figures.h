/* What the programs reckon with, apart from sockets: when a message is due, and percentiles. */
#ifndef FIGURES_H
#define FIGURES_H

#include <stdint.h>

/* Single messages at an even distance.
 *
 * One that is late doesn't bring the next ones in a burst: they follow at half the usual distance
 * at least until the schedule is met again. More than half a second late, it starts anew. */
struct pace {
    double period; /* ns */
    int64_t origin, next, last;
    uint32_t number;          /* of messages since the origin */
    uint32_t gaps, uneven;    /* of all gaps, those over one and a half times the usual one */
};

void pace_start(struct pace *pace, double rate, int64_t now);
int pace_is_due(const struct pace *pace, int64_t now);
/* A message has been sent: plan the next one. */
void pace_sent(struct pace *pace, int64_t now);
/* How many ns there are until the next one. */
int64_t pace_wait(const struct pace *pace, int64_t now);

/* The value below which `share` of them are; sorts them. 0 when there are none. */
double percentile(uint32_t *values, uint32_t count, double share);

#endif

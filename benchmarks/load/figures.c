#include "figures.h"

#include <math.h>
#include <stdlib.h>

#define MOST_LATE_NS 500000000LL

void pace_start(struct pace *pace, double rate, int64_t now) {
    *pace = (struct pace){.period = 1e9 / rate, .origin = now, .next = now};
}

int pace_is_due(const struct pace *pace, int64_t now) { return now >= pace->next; }

void pace_sent(struct pace *pace, int64_t now) {
    if (pace->last) {
        pace->gaps++;
        if (now - pace->last > 1.5 * pace->period) pace->uneven++;
    }
    pace->last = now;
    if (now - pace->next > MOST_LATE_NS) {
        pace->origin = now;
        pace->number = 0;
    }
    pace->next = pace->origin + (int64_t)(++pace->number * pace->period);
    int64_t earliest = now + (int64_t)(pace->period / 2);
    if (pace->next < earliest) pace->next = earliest;
}

int64_t pace_wait(const struct pace *pace, int64_t now) {
    return pace->next > now ? pace->next - now : 0;
}

static int ascending(const void *one, const void *other) {
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return (a > b) - (a < b);
}

double percentile(uint32_t *values, uint32_t count, double share) {
    if (!count) return 0;
    qsort(values, count, sizeof *values, ascending);
    uint32_t rank = ceil(share * count);
    return values[rank ? rank - 1 : 0];
}

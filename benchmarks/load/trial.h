/* One trial: what is sent, what has come back, and what it cost the processes under test.
 *
 * It runs for `warmup` seconds, is measured for `seconds`, and then waits for what is still out.
 * With `count` exactly so many messages are sent, and all of it is measured.
 */
#ifndef TRIAL_H
#define TRIAL_H

#include <stdint.h>

#include "figures.h"
#include "payload.h"

#define MOST_PIDS 2048
#define MOST_MESSAGES 20000000u

struct reading {
    int64_t at;
    uint32_t received;
    int64_t cpu[MOST_PIDS]; /* ns */
};

struct trial {
    /* given */
    enum work work;
    int qos, topics, port;
    uint32_t window;
    double warmup, seconds, rate;
    int lossy; /* what is lost is told, and no failure */
    uint32_t count;
    int pid_count, pids[MOST_PIDS];
    const char *in, *out;
    /* counted */
    uint32_t sent, received, duplicates, bad, reordered, early_acks;
    int64_t last_id;
    uint8_t *seen;
    int64_t *sent_at;
    int64_t started, last_progress;
    int sending;
    struct reading before, after;
    int measuring, measured;
    uint32_t *latency; /* ns, of results in the measured time */
    uint32_t latencies;
    struct pace pace; /* with a rate */
    struct payloads payloads;
};

/* Options common to both programs; see usage() in trial.c. */
void trial_options(struct trial *trial, int argc, char **argv);
void trial_pids(struct trial *trial, const char *list);
void trial_start(struct trial *trial);
/* How many messages may be sent now. */
uint32_t trial_due(const struct trial *trial, int64_t now);
/* Note that the next message is on its way: its id. */
uint32_t trial_sent(struct trial *trial, int64_t now);
/* Topic of the next message; its length is always the same. */
void trial_topic(const struct trial *trial, char *topic);
/* Count a result; gives its id, or -1 when it counts for nothing. */
int64_t trial_result(struct trial *trial, const uint8_t *payload, size_t length, int64_t now);
/* Move on from warm-up to measuring to the end; 0 when all is over. */
int trial_goes_on(struct trial *trial, int64_t now);
/* One line of JSON; gives the exit code, 1 when something was lost or wrong. */
int trial_report(struct trial *trial);

#endif

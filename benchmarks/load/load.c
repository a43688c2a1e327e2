/* Generator and collector: publishes numbered messages through a broker, and counts and checks
 * what a worker made of them. Prints one line of JSON at its end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "trial.h"
#include "wire.h"

#define PROBE_NS 100000000LL
#define QUIET_NS 300000000LL
#define READY_NS 30000000000LL
#define BATCH_BYTES (64 << 10)

struct load {
    struct trial trial;
    struct wire in, out; /* to the worker, from it */
    char topic[128];
    int64_t last_result;
    int publish_only, collect_only;
};

static void connect_to(struct wire *wire, int port, const char *role) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    wire_open(wire, fd, 4);
    char id[32];
    int length = snprintf(id, sizeof id, "%s-%d", role, (int)getpid());
    uint8_t *at = wire_room(wire, 14 + length);
    memcpy(at, "\x10\0\0\4MQTT\4\2\0\0\0", 13);
    at[1] = 12 + length;
    at[13] = length;
    memcpy(at + 14, id, length);
    wire_flush(wire);
}

static void subscribe(struct wire *wire, const char *filter, int qos) {
    size_t length = strlen(filter);
    uint8_t *at = wire_room(wire, 7 + length);
    at[0] = SUBSCRIBE << 4 | 2;
    at[1] = 5 + length;
    at[2] = 0;
    at[3] = 1;
    at[4] = length >> 8;
    at[5] = length & 0xff;
    memcpy(at + 6, filter, length);
    at[6 + length] = qos;
    wire_flush(wire);
}

static void await(struct wire *wire, int type) {
    struct pollfd poll_in = {wire->fd, POLLIN, 0};
    struct packet packet;
    while (!wire_next(wire, &packet)) {
        errno = ETIMEDOUT;
        if (poll(&poll_in, 1, 10000) <= 0) die("no answer of the broker");
        if (!wire_read(wire)) die("the broker hung up");
    }
    if (packet.type != type) die("another answer than expected");
}

static void publish(struct load *load, uint32_t id) {
    struct trial *trial = &load->trial;
    unsigned mid = id % 65535 + 1;
    uint8_t *at = wire_publish(&load->in, load->topic, strlen(load->topic), trial->qos, mid,
                               trial->payloads.length);
    payload_write(&trial->payloads, id, at);
}

static void fill(struct load *load, int64_t now) {
    struct trial *trial = &load->trial;
    if (wire_waiting(&load->in)) return;
    uint32_t due = trial_due(trial, now);
    while (due-- && wire_waiting(&load->in) < BATCH_BYTES) {
        trial_topic(trial, load->topic);
        publish(load, trial_sent(trial, now));
    }
}

static void take_results(struct load *load) {
    struct packet packet;
    struct publish result;
    if (!wire_read(&load->out)) die("the broker hung up on the collector");
    int64_t now = now_ns();
    while (wire_next(&load->out, &packet)) {
        if (packet.type != PUBLISH || !parse_publish(&load->out, &packet, &result)) continue;
        load->last_result = now;
        trial_result(&load->trial, result.payload, result.length, now);
        if (result.qos) wire_puback(&load->out, result.mid);
    }
}

static void take_acks(struct load *load) {
    struct packet packet;
    if (!wire_read(&load->in)) die("the broker hung up on the generator");
    while (wire_next(&load->in, &packet))
        if (load->publish_only && packet.type == PUBACK) {
            load->trial.received++; /* the broker has it: that's all there is to wait for */
            load->trial.last_progress = now_ns();
        }
}

/* Wait for `timeout` ns at most, then do whatever can be done. */
static void turn(struct load *load, int64_t timeout) {
    struct pollfd polled[2] = {{load->in.fd, POLLIN, 0}, {load->out.fd, POLLIN, 0}};
    struct timespec time = {timeout / 1000000000, timeout % 1000000000};
    if (wire_waiting(&load->in)) polled[0].events |= POLLOUT;
    if (wire_waiting(&load->out)) polled[1].events |= POLLOUT;
    if (ppoll(polled, 2, &time, NULL) < 0 && errno != EINTR) die("poll");
    if (polled[1].revents & ~POLLOUT) take_results(load);
    if (polled[0].revents & ~POLLOUT) take_acks(load);
}

/* Publish probes until one comes back: the worker has subscribed and publishes. */
static void await_worker(struct load *load) {
    int64_t started = now_ns(), probed = 0, now;
    while ((now = now_ns()) < started + READY_NS) {
        if (!load->last_result && now > probed + PROBE_NS) {
            publish(load, LAST_ID);
            probed = now;
        }
        if (load->last_result && now > load->last_result + QUIET_NS) return;
        wire_flush(&load->in);
        wire_flush(&load->out);
        turn(load, PROBE_NS / 4);
    }
    errno = ETIMEDOUT;
    die("no worker answers");
}

static int64_t pause_ns(const struct trial *trial, int64_t now) {
    if (trial->rate <= 0 || !trial->sending) return 50000000;
    return trial_due(trial, INT64_MAX) ? pace_wait(&trial->pace, now) : 50000000;
}

static int run(struct load *load) {
    struct trial *trial = &load->trial;
    trial_start(trial);
    for (int64_t now; trial_goes_on(trial, now = now_ns());) {
        fill(load, now);
        wire_flush(&load->in);
        wire_flush(&load->out);
        turn(load, wire_waiting(&load->in) ? 50000000 : pause_ns(trial, now_ns()));
    }
    return trial_report(trial);
}

/* Messages of a rate come from elsewhere: what they are sent by waits for nobody here, if it may. */
static void take_precedence(void) {
    struct sched_param first = {.sched_priority = 1};
    sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first);
}

/* The two halves of a backlog: fill the broker, and take what a worker makes of it. */
static void take_mode(struct load *load, int *argc, char ***argv) {
    if (*argc < 2) return;
    load->publish_only = !strcmp((*argv)[1], "publish");
    load->collect_only = !strcmp((*argv)[1], "collect");
    if (load->publish_only || load->collect_only) {
        (*argv)[1] = (*argv)[0];
        ++*argv;
        --*argc;
    }
}

int main(int argc, char **argv) {
    struct load *load = calloc(1, sizeof *load);
    if (!load) die("memory");
    struct trial *trial = &load->trial;
    take_mode(load, &argc, &argv);
    int publish_only = load->publish_only, collect_only = load->collect_only;
    trial_options(trial, argc, argv);
    prctl(PR_SET_TIMERSLACK, 1);
    if (trial->rate > 0) take_precedence();
    snprintf(load->topic, sizeof load->topic, "%s/00000", trial->in);
    connect_to(&load->in, trial->port, "generator");
    await(&load->in, CONNACK);
    connect_to(&load->out, trial->port, "collector");
    await(&load->out, CONNACK);
    if (!publish_only) {
        subscribe(&load->out, trial->out, trial->qos);
        await(&load->out, SUBACK);
    }
    if (collect_only) {
        trial_start(trial);
        trial->sent = trial->count; /* by somebody else, before */
        puts("ready");
        fflush(stdout);
    } else if (!publish_only) {
        await_worker(load);
    }
    return run(load);
}

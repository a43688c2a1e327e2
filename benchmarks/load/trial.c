#define _GNU_SOURCE
#include "trial.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

#define GIVE_UP_NS 10000000000LL
#define TOPIC_DIGITS 5

static void usage(const char *name) {
    fprintf(stderr,
            "%s [--port N] [--work identity|compute] [--qos 0|1] [--window MESSAGES]\n"
            "  [--warmup SECONDS] [--seconds SECONDS] [--count MESSAGES] [--rate PER_SECOND]\n"
            "  [--topics N] [--in TOPIC] [--out FILTER] [--pids PID,PID…] [--lossy 0|1]\n",
            name);
    exit(64);
}

void trial_options(struct trial *trial, int argc, char **argv) {
    static const struct option options[] = {
        {"port", 1, 0, 'p'},    {"work", 1, 0, 'w'},  {"qos", 1, 0, 'q'},   {"window", 1, 0, 'o'},
        {"warmup", 1, 0, 'u'},  {"seconds", 1, 0, 's'}, {"count", 1, 0, 'c'}, {"rate", 1, 0, 'r'},
        {"topics", 1, 0, 't'},  {"in", 1, 0, 'i'},    {"out", 1, 0, 'x'},   {"pids", 1, 0, 'd'},
        {"lossy", 1, 0, 'l'},   {0, 0, 0, 0}};
    int option;
    memset(trial, 0, sizeof *trial);
    trial->window = 1000;
    trial->warmup = 0.5;
    trial->seconds = 2;
    trial->topics = 1;
    trial->in = "bench/in";
    trial->out = "bench/out";
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) switch (option) {
        case 'p': trial->port = atoi(optarg); break;
        case 'w': trial->work = strcmp(optarg, "compute") ? IDENTITY : COMPUTE; break;
        case 'q': trial->qos = atoi(optarg); break;
        case 'o': trial->window = atoi(optarg); break;
        case 'u': trial->warmup = atof(optarg); break;
        case 's': trial->seconds = atof(optarg); break;
        case 'c': trial->count = atoi(optarg); break;
        case 'r': trial->rate = atof(optarg); break;
        case 't': trial->topics = atoi(optarg); break;
        case 'i': trial->in = optarg; break;
        case 'x': trial->out = optarg; break;
        case 'l': trial->lossy = atoi(optarg); break;
        case 'd': trial_pids(trial, optarg); break;
        default: usage(argv[0]);
        }
    if (optind != argc || trial->window < 1 || trial->topics < 1 || trial->qos < 0 ||
        trial->qos > 1 || trial->count >= MOST_MESSAGES)
        usage(argv[0]);
    trial->seen = calloc(MOST_MESSAGES, 1);
    trial->sent_at = calloc(MOST_MESSAGES, sizeof *trial->sent_at);
    trial->latency = calloc(MOST_MESSAGES, sizeof *trial->latency);
    if (!trial->seen || !trial->sent_at || !trial->latency) die("memory");
    payloads_make(&trial->payloads);
}

void trial_pids(struct trial *trial, const char *list) {
    for (char *end; *list && *list != '\n'; list = end + (*end == ',')) {
        long pid = strtol(list, &end, 10);
        if (end == list || trial->pid_count == MOST_PIDS) die("--pids");
        trial->pids[trial->pid_count++] = pid;
    }
}

/* CPU time of all threads of a process, also of those that are gone. */
static int64_t cpu_of(int pid) {
    clockid_t clock;
    struct timespec time;
    errno = clock_getcpuclockid(pid, &clock);
    if (errno || clock_gettime(clock, &time)) die("a process under test is gone");
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void take(const struct trial *trial, struct reading *reading) {
    reading->at = now_ns();
    reading->received = trial->received;
    for (int i = 0; i < trial->pid_count; i++) reading->cpu[i] = cpu_of(trial->pids[i]);
}

void trial_start(struct trial *trial) {
    trial->started = trial->last_progress = now_ns();
    trial->sending = 1;
    if (trial->rate > 0) pace_start(&trial->pace, trial->rate, trial->started);
    trial->last_id = -1;
    if (trial->count) {
        take(trial, &trial->before);
        trial->measuring = 1;
    }
}

uint32_t trial_due(const struct trial *trial, int64_t now) {
    uint32_t limit = trial->count ? trial->count : MOST_MESSAGES;
    uint32_t out = trial->sent - trial->received;
    if (!trial->sending || out >= trial->window || trial->sent >= limit) return 0;
    if (trial->rate > 0) return pace_is_due(&trial->pace, now);
    uint32_t due = trial->window - out;
    return due < limit - trial->sent ? due : limit - trial->sent;
}

uint32_t trial_sent(struct trial *trial, int64_t now) {
    if (trial->rate > 0) pace_sent(&trial->pace, now);
    trial->sent_at[trial->sent] = now;
    return trial->sent++;
}

void trial_topic(const struct trial *trial, char *topic) {
    unsigned number = trial->sent % trial->topics;
    size_t prefix = strlen(trial->in);
    for (int i = TOPIC_DIGITS - 1; i >= 0; i--, number /= 10)
        topic[prefix + 1 + i] = '0' + number % 10;
}

int64_t trial_result(struct trial *trial, const uint8_t *payload, size_t length, int64_t now) {
    int64_t id = payload_check(&trial->payloads, trial->work, payload, length);
    if (id == LAST_ID) return -1; /* a probe */
    if (id < 0 || id >= trial->sent) {
        trial->bad++;
        return -1;
    }
    if (trial->seen[id]) {
        trial->duplicates++;
        return -1;
    }
    trial->seen[id] = 1;
    trial->received++;
    trial->last_progress = now;
    if (id < trial->last_id) trial->reordered++;
    trial->last_id = id;
    if (trial->measuring && !trial->measured)
        trial->latency[trial->latencies++] = now - trial->sent_at[id];
    return id;
}

int trial_goes_on(struct trial *trial, int64_t now) {
    double elapsed = (now - trial->started) / 1e9;
    if (trial->count) {
        if (trial->sent == trial->count) trial->sending = 0;
    } else if (!trial->measuring && elapsed >= trial->warmup) {
        take(trial, &trial->before);
        trial->measuring = 1;
    } else if (trial->sending && elapsed >= trial->warmup + trial->seconds) {
        take(trial, &trial->after);
        trial->measured = 1;
        trial->sending = 0;
    }
    if (trial->bad ||
        (trial->received < trial->sent && now - trial->last_progress > GIVE_UP_NS)) {
        trial->sending = 0;
    } else if (trial->sending || trial->received < trial->sent) {
        return 1;
    }
    if (!trial->measured) {
        if (!trial->measuring) trial->before.at = trial->started;
        take(trial, &trial->after);
        trial->measured = 1;
    }
    return 0;
}

static double rss_mb(int pid) {
    char name[64];
    long pages = 0;
    snprintf(name, sizeof name, "/proc/%d/statm", pid);
    FILE *file = fopen(name, "r");
    if (!file || fscanf(file, "%*d %ld", &pages) != 1) die(name);
    fclose(file);
    return pages * sysconf(_SC_PAGESIZE) / 1e6;
}

int trial_report(struct trial *trial) {
    uint32_t lost = trial->sent - trial->received;
    uint32_t measured = trial->after.received - trial->before.received;
    double seconds = (trial->after.at - trial->before.at) / 1e9;
    const struct pace *pace = &trial->pace;
    double p50 = percentile(trial->latency, trial->latencies, 0.5) / 1e3;
    double p99 = percentile(trial->latency, trial->latencies, 0.99) / 1e3;
    printf("{\"sent\": %u, \"received\": %u, \"lost\": %u, \"duplicates\": %u, \"bad\": %u, "
           "\"reordered\": %u, \"early_acks\": %u, \"measured\": %u, \"seconds\": %.6f, "
           "\"rate\": %.1f, \"uneven\": %.5f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"cpu_us\": [",
           trial->sent, trial->received, lost, trial->duplicates, trial->bad, trial->reordered,
           trial->early_acks, measured, seconds, measured / seconds,
           pace->gaps ? (double)pace->uneven / pace->gaps : 0, p50, p99);
    for (int i = 0; i < trial->pid_count; i++)
        printf("%s%.1f", i ? ", " : "", (trial->after.cpu[i] - trial->before.cpu[i]) / 1e3);
    printf("], \"rss_mb\": [");
    for (int i = 0; i < trial->pid_count; i++)
        printf("%s%.2f", i ? ", " : "", rss_mb(trial->pids[i]));
    printf("]}\n");
    fflush(stdout);
    return (lost && !trial->lossy) || trial->bad || !measured;
}

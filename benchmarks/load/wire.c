#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FIRST_SIZE (1 << 20)

void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

void wire_open(struct wire *wire, int fd, int version) {
    int on = 1;
    memset(wire, 0, sizeof *wire);
    wire->fd = fd;
    wire->version = version;
    wire->in_size = wire->out_size = FIRST_SIZE;
    wire->in = malloc(wire->in_size);
    wire->out = malloc(wire->out_size);
    if (!wire->in || !wire->out) die("memory");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void wire_close(struct wire *wire) {
    if (wire->fd >= 0) close(wire->fd);
    free(wire->in);
    free(wire->out);
    memset(wire, 0, sizeof *wire);
    wire->fd = -1;
}

/* Have `need` more bytes behind *end. */
static void make_room(uint8_t **buffer, size_t *start, size_t *end, size_t *size, size_t need) {
    if (*end + need <= *size) return;
    if (*start) {
        memmove(*buffer, *buffer + *start, *end - *start);
        *end -= *start;
        *start = 0;
    }
    while (*end + need > *size) *size *= 2;
    *buffer = realloc(*buffer, *size);
    if (!*buffer) die("memory");
}

int wire_read(struct wire *wire) {
    if (wire->in_start == wire->in_end) wire->in_start = wire->in_end = 0;
    make_room(&wire->in, &wire->in_start, &wire->in_end, &wire->in_size, FIRST_SIZE / 2);
    ssize_t got = recv(wire->fd, wire->in + wire->in_end, wire->in_size - wire->in_end,
                       MSG_DONTWAIT);
    if (got > 0) {
        wire->in_end += got;
        return 1;
    }
    return got < 0 && (errno == EAGAIN || errno == EINTR);
}

/* A number of 1 to 4 bytes; gives its size, or 0 when it isn't complete. */
static size_t variable(const uint8_t *at, size_t available, size_t *value) {
    *value = 0;
    for (size_t i = 0; i < 4 && i < available; i++) {
        *value |= (size_t)(at[i] & 0x7f) << (7 * i);
        if (!(at[i] & 0x80)) return i + 1;
    }
    return 0;
}

int wire_next(struct wire *wire, struct packet *packet) {
    const uint8_t *at = wire->in + wire->in_start;
    size_t available = wire->in_end - wire->in_start, length, size;
    if (available < 2) return 0;
    size = variable(at + 1, available - 1, &length);
    if (!size || available < 1 + size + length) return 0;
    packet->type = at[0] >> 4;
    packet->flags = at[0] & 15;
    packet->body = at + 1 + size;
    packet->length = length;
    wire->in_start += 1 + size + length;
    return 1;
}

unsigned two_bytes(const uint8_t *at) {
    return at[0] << 8 | at[1];
}

int parse_publish(const struct wire *wire, const struct packet *packet, struct publish *publish) {
    const uint8_t *at = packet->body, *end = packet->body + packet->length;
    if (packet->length < 2) return 0;
    at += 2 + two_bytes(at);
    publish->qos = packet->flags >> 1 & 3;
    publish->mid = 0;
    if (publish->qos) {
        if (at + 2 > end) return 0;
        publish->mid = two_bytes(at);
        at += 2;
    }
    if (wire->version == 5) {
        size_t properties, size;
        if (at >= end || !(size = variable(at, end - at, &properties))) return 0;
        at += size + properties;
    }
    if (at > end) return 0;
    publish->payload = at;
    publish->length = end - at;
    return 1;
}

uint8_t *wire_room(struct wire *wire, size_t length) {
    if (wire->out_start == wire->out_end) wire->out_start = wire->out_end = 0;
    make_room(&wire->out, &wire->out_start, &wire->out_end, &wire->out_size, length);
    uint8_t *at = wire->out + wire->out_end;
    wire->out_end += length;
    return at;
}

uint8_t *wire_publish(struct wire *wire, const char *topic, size_t topic_length, int qos,
                      unsigned mid, size_t length) {
    size_t rest = 2 + topic_length + (qos ? 2 : 0) + (wire->version == 5) + length;
    size_t left = rest, head = 1;
    uint8_t first[5] = {PUBLISH << 4 | qos << 1};
    do {
        first[head++] = (left & 0x7f) | (left > 0x7f ? 0x80 : 0);
        left >>= 7;
    } while (left);
    uint8_t *at = wire_room(wire, head + rest);
    memcpy(at, first, head);
    at += head;
    *at++ = topic_length >> 8;
    *at++ = topic_length & 0xff;
    memcpy(at, topic, topic_length);
    at += topic_length;
    if (qos) {
        *at++ = mid >> 8;
        *at++ = mid & 0xff;
    }
    if (wire->version == 5) *at++ = 0;
    return at;
}

void wire_puback(struct wire *wire, unsigned mid) {
    uint8_t *at = wire_room(wire, 4);
    at[0] = PUBACK << 4;
    at[1] = 2;
    at[2] = mid >> 8;
    at[3] = mid & 0xff;
}

void wire_flush(struct wire *wire) {
    if (wire->fd < 0 || !wire_waiting(wire)) return;
    ssize_t sent = send(wire->fd, wire->out + wire->out_start, wire_waiting(wire),
                        MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) wire->out_start += sent;
}

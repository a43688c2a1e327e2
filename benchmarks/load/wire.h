/* MQTT packets on a non-blocking socket: only what the load and the stub need. */
#ifndef WIRE_H
#define WIRE_H

#include <stddef.h>
#include <stdint.h>

enum { CONNECT = 1, CONNACK, PUBLISH, PUBACK, SUBSCRIBE = 8, SUBACK, UNSUBSCRIBE, UNSUBACK,
       PINGREQ, PINGRESP, DISCONNECT };

struct wire {
    int fd;       /* -1: closed */
    int version;  /* 4: MQTT 3.1.1, 5 */
    uint8_t *in, *out;
    size_t in_start, in_end, in_size;
    size_t out_start, out_end, out_size;
};

struct packet {
    int type, flags;
    const uint8_t *body;
    size_t length;
};

struct publish {
    int qos;
    unsigned mid;
    const uint8_t *payload;
    size_t length;
};

void die(const char *what) __attribute__((noreturn));
int64_t now_ns(void);

void wire_open(struct wire *wire, int fd, int version);
void wire_close(struct wire *wire);

/* Read what is there; 0 when the other side has hung up. */
int wire_read(struct wire *wire);
/* The next complete packet of what was read; 0 when there is none. */
int wire_next(struct wire *wire, struct packet *packet);
int parse_publish(const struct wire *wire, const struct packet *packet, struct publish *publish);
unsigned two_bytes(const uint8_t *at);

/* Room for `length` bytes to be sent; all of it is used. */
uint8_t *wire_room(struct wire *wire, size_t length);
/* The head of a PUBLISH; gives where its payload of `length` bytes has to be written. */
uint8_t *wire_publish(struct wire *wire, const char *topic, size_t topic_length, int qos,
                      unsigned mid, size_t length);
void wire_puback(struct wire *wire, unsigned mid);
/* Send as much as the socket takes. */
void wire_flush(struct wire *wire);

static inline size_t wire_waiting(const struct wire *wire) {
    return wire->out_end - wire->out_start;
}

#endif

/* A broker that costs next to nothing: streams numbered messages to whoever subscribes, as fast as
 * the client takes them, and counts and checks what comes back on any of its connections.
 *
 * Prints its port, waits for a line with the pids to measure on its standard input, and for a
 * subscriber; prints one line of JSON at its end. One client under test, with any number of
 * connections.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "trial.h"
#include "wire.h"

#define MOST_CLIENTS 16
#define QUIET_NS 500000000LL
#define READY_NS 30000000000LL
#define BATCH_BYTES (256 << 10)

struct stub {
    struct trial trial;
    struct wire clients[MOST_CLIENTS];
    int client_count, listener, subscriber; /* -1: nobody has subscribed */
    unsigned receive_maximum[MOST_CLIENTS];
    char topic[128];
    int64_t last_control; /* when somebody connected or subscribed */
    int64_t id_of[65536]; /* by packet id, what is not acknowledged; -1: free */
    unsigned in_flight;
    uint32_t turn, *turn_of; /* in which a result came, by its id; 0: not yet */
};

static int listen_at(int port, int *bound) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) || listen(fd, 16)) die("listen");
    if (getsockname(fd, (struct sockaddr *)&address, &size)) die("getsockname");
    *bound = ntohs(address.sin_port);
    return fd;
}

static void reply(struct wire *wire, const void *bytes, size_t length) {
    memcpy(wire_room(wire, length), bytes, length);
}

/* The receive maximum among the properties of a CONNECT by MQTT 5. */
static unsigned receive_maximum(const uint8_t *at, const uint8_t *end) {
    size_t length = 0;
    for (int shift = 0; at < end; shift += 7) {
        length |= (size_t)(*at & 0x7f) << shift;
        if (!(*at++ & 0x80)) break;
    }
    if (at + length < end) end = at + length;
    while (at + 2 < end) switch (*at) {
        case 0x21: return two_bytes(at + 1);
        case 0x11: case 0x27: at += 5; break;
        case 0x22: at += 3; break;
        case 0x17: case 0x19: at += 2; break;
        case 0x15: case 0x16: at += 3 + two_bytes(at + 1); break;
        case 0x26:
            at += 3 + two_bytes(at + 1);
            at += 2 + two_bytes(at);
            break;
        default: return 65535;
        }
    return 65535;
}

static void on_connect(struct stub *stub, int client, const struct packet *packet) {
    struct wire *wire = &stub->clients[client];
    const uint8_t *at = packet->body + 2 + two_bytes(packet->body);
    wire->version = at[0];
    stub->receive_maximum[client] = 65535;
    if (wire->version == 5) {
        stub->receive_maximum[client] = receive_maximum(at + 4, packet->body + packet->length);
        reply(wire, "\x20\3\0\0\0", 5);
    } else {
        reply(wire, "\x20\2\0\0", 4);
    }
}

static void on_subscribe(struct stub *stub, int client, const struct packet *packet) {
    struct wire *wire = &stub->clients[client];
    uint8_t answer[] = {SUBACK << 4, 3 + (wire->version == 5), packet->body[0], packet->body[1],
                        wire->version == 5 ? 0 : stub->trial.qos, stub->trial.qos};
    reply(wire, answer, 2 + answer[1]);
    stub->subscriber = client;
}

static void on_puback(struct stub *stub, unsigned mid) {
    int64_t id = stub->id_of[mid];
    if (id < 0) {
        stub->trial.bad++;
        return;
    }
    /* The PUBACK of a result goes out in the turn after it. */
    if (!stub->turn_of[id] || stub->turn_of[id] == stub->turn) stub->trial.early_acks++;
    stub->id_of[mid] = -1;
    stub->in_flight--;
}

static void handle(struct stub *stub, int client, const struct packet *packet, int64_t now) {
    struct wire *wire = &stub->clients[client];
    struct publish result;
    switch (packet->type) {
    case PUBLISH: {
        if (!parse_publish(wire, packet, &result)) die("a malformed PUBLISH");
        int64_t id = trial_result(&stub->trial, result.payload, result.length, now);
        if (id >= 0) stub->turn_of[id] = stub->turn;
        if (result.qos) wire_puback(wire, result.mid);
        return;
    }
    case PUBACK: on_puback(stub, two_bytes(packet->body)); return;
    case PINGREQ: reply(wire, "\xd0\0", 2); return;
    case CONNECT: on_connect(stub, client, packet); break;
    case SUBSCRIBE: on_subscribe(stub, client, packet); break;
    case UNSUBSCRIBE: {
        uint8_t answer[] = {UNSUBACK << 4, 2, packet->body[0], packet->body[1], 0, 0};
        if (wire->version == 5) answer[1] = 4;
        reply(wire, answer, 2 + answer[1]);
        break;
    }
    default: break;
    }
    stub->last_control = now;
}

static void serve(struct stub *stub, int client) {
    struct wire *wire = &stub->clients[client];
    struct packet packet;
    if (!wire_read(wire)) {
        if (stub->subscriber == client) die("the subscriber hung up");
        wire_close(wire);
        return;
    }
    int64_t now = now_ns();
    while (wire_next(wire, &packet)) handle(stub, client, &packet, now);
}

static void greet(struct stub *stub) {
    int fd = accept(stub->listener, NULL, NULL);
    if (fd < 0) die("accept");
    if (stub->client_count == MOST_CLIENTS) die("too many connections");
    wire_open(&stub->clients[stub->client_count++], fd, 4);
}

static void fill(struct stub *stub, int64_t now) {
    struct trial *trial = &stub->trial;
    struct wire *wire = &stub->clients[stub->subscriber];
    uint32_t due = trial_due(trial, now);
    while (due-- && wire_waiting(wire) < BATCH_BYTES) {
        unsigned mid = trial->sent % 65535 + 1;
        if (trial->qos) {
            if (stub->in_flight >= stub->receive_maximum[stub->subscriber] ||
                stub->id_of[mid] >= 0)
                return;
            stub->id_of[mid] = trial->sent;
            stub->in_flight++;
        }
        trial_topic(trial, stub->topic);
        uint8_t *at = wire_publish(wire, stub->topic, strlen(stub->topic), trial->qos, mid,
                                   trial->payloads.length);
        payload_write(&trial->payloads, trial_sent(trial, now), at);
    }
}

/* One round over everything that is ready; with `go` also over the standard input. */
static void turn(struct stub *stub, int timeout, int *go) {
    struct pollfd polled[MOST_CLIENTS + 2];
    int count = stub->client_count;
    stub->turn++;
    for (int i = 0; i < count; i++) {
        struct wire *wire = &stub->clients[i];
        wire_flush(wire);
        short events = wire->fd >= 0 && wire_waiting(wire) ? POLLIN | POLLOUT : POLLIN;
        polled[i] = (struct pollfd){wire->fd, events, 0};
    }
    polled[count] = (struct pollfd){stub->listener, POLLIN, 0};
    polled[count + 1] = (struct pollfd){go && !*go ? STDIN_FILENO : -1, POLLIN, 0};
    if (poll(polled, count + 2, timeout) < 0 && errno != EINTR) die("poll");
    for (int i = 0; i < count; i++)
        if (polled[i].revents & ~POLLOUT) serve(stub, i);
    if (polled[count].revents) greet(stub);
    if (polled[count + 1].revents) {
        char line[16384];
        ssize_t got = read(STDIN_FILENO, line, sizeof line - 1);
        if (got <= 0) exit(0); /* whoever started this is gone */
        line[got] = 0;
        trial_pids(&stub->trial, line);
        *go = 1;
    }
}

static void await_client(struct stub *stub) {
    int64_t now, give_up = now_ns() + READY_NS;
    int go = 0;
    do {
        turn(stub, 50, &go);
        now = now_ns();
        if (!go) give_up = now + READY_NS;
        errno = ETIMEDOUT;
        if (now > give_up) die("nobody subscribed");
    } while (!go || stub->subscriber < 0 || now < stub->last_control + QUIET_NS);
}

int main(int argc, char **argv) {
    struct stub *stub = calloc(1, sizeof *stub);
    if (!stub) die("memory");
    struct trial *trial = &stub->trial;
    trial_options(trial, argc, argv);
    snprintf(stub->topic, sizeof stub->topic, "%s/00000", trial->in);
    memset(stub->id_of, -1, sizeof stub->id_of);
    stub->subscriber = -1;
    stub->turn_of = calloc(MOST_MESSAGES, sizeof *stub->turn_of);
    if (!stub->turn_of) die("memory");
    stub->listener = listen_at(trial->port, &trial->port);
    printf("%d\n", trial->port);
    fflush(stdout);
    await_client(stub);
    trial_start(trial);
    for (int64_t now; trial_goes_on(trial, now = now_ns());) {
        fill(stub, now);
        turn(stub, 20, NULL);
    }
    return trial_report(trial);
}

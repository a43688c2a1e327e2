/* The floor: a client on libmosquitto that publishes what it gets, unchanged.
 *
 *   mosq PORT QOS identity
 *
 * libmosquitto acknowledges an input before it calls back: QoS 1 is not end to end here. Its best
 * settings: TCP_NODELAY, no limit of its own on what is in flight.
 */
#include <mosquitto.h>
#include <stdio.h>
#include <stdlib.h>

static void on_connect(struct mosquitto *client, void *qos, int code) {
    if (code || mosquitto_subscribe(client, NULL, "bench/in/#", *(int *)qos)) exit(1);
}

static void on_message(struct mosquitto *client, void *qos,
                       const struct mosquitto_message *message) {
    if (mosquitto_publish(client, NULL, "bench/out", message->payloadlen, message->payload,
                          *(int *)qos, false))
        exit(1);
}

int main(int argc, char **argv) {
    if (argc != 4) return 64;
    int qos = atoi(argv[2]);
    mosquitto_lib_init();
    struct mosquitto *client = mosquitto_new(NULL, true, &qos);
    mosquitto_int_option(client, MOSQ_OPT_TCP_NODELAY, 1);
    mosquitto_max_inflight_messages_set(client, 0);
    mosquitto_connect_callback_set(client, on_connect);
    mosquitto_message_callback_set(client, on_message);
    if (mosquitto_connect(client, "127.0.0.1", atoi(argv[1]), 60)) return 1;
    return mosquitto_loop_forever(client, -1, 1);
}

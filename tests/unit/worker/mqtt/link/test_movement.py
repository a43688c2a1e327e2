from __future__ import annotations

import socket

from pyboot_svc.worker.mqtt.link.movement import Movement, bytes_moved


def test_what_moves_is_more_than_pings_and_needs_something_to_compare_with() -> None:
    movement = Movement()
    counts = [50_000, 50_004, 60_000, 60_000, 61_024, 62_049]
    assert [movement.seen(count) for count in counts] == [False, False, True, False, False, True]
    movement.forget()
    assert not movement.seen(90_000)
    assert movement.seen(100_000)


def test_what_moves_is_counted_by_the_kernel() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as near,
        server.accept()[0] as far,
    ):
        before = bytes_moved(near.fileno())
        far.sendall(b"x" * 5000)
        near.recv(5000, socket.MSG_WAITALL)
        assert bytes_moved(near.fileno()) - before == 5000
        near.sendall(b"x" * 3000)
        far.recv(3000, socket.MSG_WAITALL)
        far.sendall(b"x")  # with it comes the acknowledgement
        near.recv(1)
        assert bytes_moved(near.fileno()) - before == 8001
    assert bytes_moved(-1) == 0

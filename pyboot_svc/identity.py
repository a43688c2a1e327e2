"""What an instance of a model is called: in units, metrics, MQTT sessions and the process list."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyboot_svc.errors import UsageError

NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
MODEL_PATTERN = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
# `edge-model@NAME-INSTANCE.service` has to fit into systemd's 255 characters.
NAME_MAX_LENGTH = 200
# What Kubernetes draws the ends of names from.
_POD_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
MASTER = "master"
MASTER_TITLE = f"pyboot: {MASTER}"


@dataclass(frozen=True, order=True)
class InstanceId:
    """One instance of one model, `NAME-NUMBER`; numbers count from 1."""

    model: str
    number: int

    @classmethod
    def parse(cls, text: str) -> InstanceId:
        """Read `NAME-NUMBER`; the number is what stands after the last `-`."""
        name, dash, number = text.rpartition("-")
        if (
            not dash
            or not NAME_PATTERN.fullmatch(name)
            or not re.fullmatch("[1-9][0-9]{0,8}", number)
        ):
            raise UsageError(
                f"{text!r} is not an instance; write NAME-NUMBER, as in telm_temperature-1"
            )
        return cls(name, int(number))

    @classmethod
    def of_pod(cls, model: str, pod: str) -> InstanceId:
        """The instance that a pod of this name runs.

        A StatefulSet's pods are numbered from 0; a Deployment's end in five letters drawn at
        random, no two the same at a time, which are read as a number.
        """
        end = pod.rpartition("-")[2]
        if NAME_PATTERN.fullmatch(model) and re.fullmatch("0|[1-9][0-9]{0,3}", end):
            return cls(model, int(end) + 1)
        if NAME_PATTERN.fullmatch(model) and re.fullmatch(f"[{_POD_LETTERS}]{{5}}", end):
            digits = reversed([_POD_LETTERS.index(letter) for letter in end])
            return cls(
                model, 1 + sum(d * len(_POD_LETTERS) ** place for place, d in enumerate(digits))
            )
        raise UsageError(
            f"{pod!r} is not a pod of a StatefulSet or Deployment of a model {model!r}"
        )

    def __str__(self) -> str:
        return f"{self.model}-{self.number}"

    @property
    def metrics_name(self) -> str:
        return f"sub_process_{self.model}_{self.number}"

    @property
    def share_group(self) -> str:
        """The shared subscription's group, the same for all instances of the model."""
        return f"pyboot-{self.model}"

    def title(self, pre_queue: int, post_queue: int) -> str:
        return f"edge-model: {self} [pre {pre_queue} post {post_queue}]"

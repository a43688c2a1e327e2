"""Which devices a model keeps something of: those it was told of, or the newest of any."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from pyboot_svc.logs import RateLimit
from pyboot_svc.models._options import Options, shown

if TYPE_CHECKING:
    import logging

# So often it is said that series were forgotten.
_SAY_SECONDS = 60.0


class Population:
    """Takes the options `max_devices` (default 10000) and `devices`, names of those to take, where
    `*` stands for anything; without it any device is one.

    Who publishes may make devices up, and so have the real ones forgotten: that is said in the log.
    """

    def __init__(self, options: Options, logger: logging.Logger) -> None:
        self.most = options.whole("max_devices", 10_000, 1, 10_000_000)
        self._names = options.words("devices", ())
        self._logger = logger
        self._limit = RateLimit(1, _SAY_SECONDS)
        self._forgotten = 0

    def admit(self, device: str) -> None:
        """Raises ValueError for one that is not to be taken."""
        if self._names and not any(fnmatchcase(device, name) for name in self._names):
            raise ValueError(f"device: {shown(device)} is none of those in the option `devices`")

    def forgot(self, series: str) -> None:
        """One was not heard for longest, and there were too many."""
        self._forgotten += 1
        if self._limit.admit("forgot") is not None:
            self._logger.warning(
                "forgot %s, which was silent for longest: more than %d devices send "
                "(`max_devices`); %d were forgotten since the start. If some are made up, name the "
                "real ones in the option `devices`",
                shown(series),
                self.most,
                self._forgotten,
            )

"""The secrets of a model: texts of files that its edge names, read when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pyboot_svc.config.settings import SECRET_ROLE, credential_name
from pyboot_svc.credentials import delivered, read_credential


class Secrets:
    """By the names of `files`. Nothing of them is kept, or told in an error."""

    def __init__(self, files: Mapping[str, str] = MappingProxyType({})) -> None:
        self._files = files

    def read(self, name: str) -> str:
        """The file's text without the line's end at its end.

        Raises LookupError for one that the edge doesn't name, OSError for a file that can't be read
        and ValueError for one that is no text.
        """
        if name not in self._files:
            raise LookupError(
                f"there is no secret {name}: name its file in the edge, `secrets: {{{name}: FILE}}`"
            )
        file = self._files[name]
        try:
            data = read_credential(delivered(file, credential_name(SECRET_ROLE, name)))
        except OSError as error:
            reason = f"the secret {name} can't be read: {error.strerror}"
            raise OSError(error.errno, reason, file) from None
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            # Without its cause, which quotes what it stumbled over.
            raise ValueError(f"the secret {name} is not UTF-8 text: {file}") from None
        return text.removesuffix("\n").removesuffix("\r")

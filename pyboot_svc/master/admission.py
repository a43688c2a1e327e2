"""Whom the master takes reports of."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from pyboot_svc.identity import InstanceId

UNKNOWN = "a hello of an instance that is not configured"
NO_TOKEN = "a hello without a token"
WRONG_TOKEN = "a hello with another token than the instance's"


@dataclass(frozen=True)
class Admission:
    """These instances, and all of these models; where there are `hashes` of tokens, by instance,
    only who has the one whose hash that is."""

    instances: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    hashes: Mapping[str, str] | None = None

    def refusal(self, instance: InstanceId, token: object) -> str:
        """Why it isn't taken; empty for one that is."""
        if str(instance) not in self.instances and instance.model not in self.models:
            return UNKNOWN
        if self.hashes is None:
            return ""
        if not isinstance(token, str) or not token:
            return NO_TOKEN
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
        known = self.hashes.get(str(instance))
        if not isinstance(known, str) or not hmac.compare_digest(digest, known):
            return WRONG_TOKEN
        return ""

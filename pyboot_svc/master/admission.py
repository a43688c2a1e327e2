"""Whom the master takes reports of."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Set
from dataclasses import dataclass

from pyboot_svc.identity import InstanceId
from pyboot_svc.metrics.tokens import shared_name

UNKNOWN = "a hello of an instance that is not configured"
NO_TOKEN = "a hello without a token"
WRONG_TOKEN = "a hello with another token than the instance's"
NO_CERTIFICATE = "a hello without the instance's certificate"


@dataclass(frozen=True)
class Admission:
    """These instances, and all of these models; where there are `hashes` of tokens, by instance,
    only who has the one whose hash that is, or its certificate."""

    instances: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
    hashes: Mapping[str, str] | None = None

    def refusal(
        self, instance: InstanceId, token: object, certified: Set[str] | None = None
    ) -> str:
        """Why it isn't taken; empty for one that is. `certified` are the names in its certificate,
        None where certificates count for nothing."""
        if str(instance) not in self.instances and instance.model not in self.models:
            return UNKNOWN
        # Pods that come and go have one for all of their model.
        holders = (str(instance), shared_name(instance.model))
        if certified and not certified.isdisjoint(holders):
            return ""
        if self.hashes is None:
            return "" if certified is None else NO_CERTIFICATE
        if not isinstance(token, str) or not token:
            return NO_TOKEN
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
        known = [hash for holder in holders if isinstance(hash := self.hashes.get(holder), str)]
        return "" if any(hmac.compare_digest(digest, hash) for hash in known) else WRONG_TOKEN

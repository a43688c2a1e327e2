"""Service managers: siblings behind one small protocol."""

from pyboot_svc.services.base import ServiceManager, ServiceState

__all__ = ["ServiceManager", "ServiceState"]

"""The Python environment: locked, fetched as wheels on the driver, installed alike on every node."""

from provisioning.resources.environment.resource import EnvironmentResource
from provisioning.resources.environment.rollback import Rollback

__all__ = ["EnvironmentResource", "Rollback"]

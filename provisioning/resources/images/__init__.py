"""The algorithm images: built on the driver, loaded on every node, proven by identity in each image store's own way."""

from provisioning.resources.images.resource import ImagesResource

__all__ = ["ImagesResource"]

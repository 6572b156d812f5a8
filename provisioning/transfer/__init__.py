"""How folders with a manifest travel: from the driver to all places, and from all nodes to the driver."""

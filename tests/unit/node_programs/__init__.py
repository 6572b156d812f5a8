"""Programs that tests send to a node."""

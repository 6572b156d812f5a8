"""What must be equal on every node: one module per resource."""

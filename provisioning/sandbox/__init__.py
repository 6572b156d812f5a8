"""A practice cluster of containers on one machine: each node has its own sshd, address, file system and engine."""

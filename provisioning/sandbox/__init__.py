"""A practice cluster of containers on one machine: nodes with their own sshd, address, file system and Docker Engine."""

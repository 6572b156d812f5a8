"""Make every node of a cluster equal in what an evaluation depends on, and prove it."""

"""Engines carry attempts to the place where they are computed; they decide nothing."""

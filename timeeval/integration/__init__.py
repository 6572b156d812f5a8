"""Modules that accompany an evaluation, e.g. a parameter search by Optuna."""

from timeeval.integration.base import TimeEvalModule

__all__ = ["TimeEvalModule"]

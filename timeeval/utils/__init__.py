"""Helpers that several parts of TimeEval share."""

"""Samplers: what draws responses from a student."""

"""Faults on real servers: what was acknowledged is there exactly once, whatever breaks."""

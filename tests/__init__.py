"""The tests of kairos."""

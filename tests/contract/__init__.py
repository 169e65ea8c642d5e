"""One suite that every backend passes: what a series promises, sentence by sentence."""

"""The engine: the nouns, the registry, scoring, running, storing and the command line."""

"""Reference methods, one paper a file, and the floors that every real method must beat."""

"""What the loaders offer: formats and procedural tasks."""

SPECS: tuple[object, ...] = ()

"""Training data: the prepared format, crops of it, and rendering it from scores and sound fonts; without torch."""

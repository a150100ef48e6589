"""Concept vectors in networks of recordings, and their hierarchy (Afchar, Hennequin, Guigue, ISMIR 2022)."""

"""How good a translation is: what of the notes it keeps (content), and how much it sounds like its target (style)."""

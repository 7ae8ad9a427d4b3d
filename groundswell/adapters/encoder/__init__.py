"""Neural embedding models in a process of their own, whose crashes and lack of memory stay its own."""

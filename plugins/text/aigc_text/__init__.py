"""Language models: aigc's text backend. Imported for every listing, so it imports no torch."""

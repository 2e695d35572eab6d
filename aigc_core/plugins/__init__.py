"""How backends are found, taken one by one, and named where they are missing."""

"""The admission server: judges and annotates what the API server asks about, and writes nothing."""

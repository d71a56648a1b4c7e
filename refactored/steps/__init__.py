"""Bodies that exist only between the base and the end of the series."""

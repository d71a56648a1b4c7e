"""Tools of the repository; never in the wheel."""

"""Tables of the systems that start, build and host programs: launchers, CI systems, clouds."""

"""Looking without touching: what rules would make of a notification, over the very functions that the daemon runs."""

"""From records to counts: integer tables that merge by addition."""
